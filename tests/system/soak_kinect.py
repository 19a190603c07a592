"""The simulated sensor below the box of soak.py: one fault after the other, by chance from the seed.

Of each fault that lasts, `/readyz` must say the reason while it lasts; each that a reset or a restart heals must be
noticed; and when a fault is over the picture must come back, to every viewer that was there, without anybody's doing.
"""

import asyncio
import atexit
import hashlib
import http.client
import json
import os
import pathlib
import shutil
import subprocess
import time

from harness import BINARY, OUT, WAIT, Failed, Server, need

LIBRARY = os.environ.get("KINECT2_SIM_LIBRARY", "")
FRAMES = OUT / "soak-frames"  # raw frames, played by the simulator in a loop
COUNT = 6  # of them: 18 MB in the process that is watched
PATIENCE = 90  # seconds: for what takes a sensor ten, on a machine that has little time for us

# What lasts until it is taken away: its words, and what /state may call it.
LASTING = {
    "unplugged": ("unplug", {"disconnected", "not_found", "no_power"}),
    "no permission": ("no-permission", {"no_permission"}),
    "owned": ("owned=snd-usb-audio", {"owned_by_other"}),
    "USB 2": ("usb2", {"slow_link"}),
    "usbfs memory": ("usbfs-memory=8", {"usbfs_memory"}),
    "no bandwidth": ("no-bandwidth", {"no_bandwidth"}),
    "never ready": ("never-ready", {"not_ready"}),
    "stuck": ("stuck", {"stuck"}),
}
# What a reset or a restart heals: it must have come to that.
HEALED = {"wedged": "wedge", "silent": "silent"}
# What may pass without a loss, or cost frames, or keep a sensor that is plugged in from starting for a while.
PASSING = [
    "loss=0.0005", "loss=0.01", "missed=0.001", "packet-error=0.001", "narrow", "short-missing~0.02", "subsequence",
    "footer-length", "footer-magic~0.05", "lost-separators~0.5", "half-frame", "cancel-delay=300ms",
]
STARTING = [
    "slow-replies=200ms", "slow-start=12", "stale-reply", "completion-first", "wrong-sequence~0.2", "stale-completion~0.5",
    "no-reply~0.1", "no-data~0.1", "short-reply~0.1", "stall~0.1", "reply-stall~0.2", "reset-not-found=2",
    "cancel-delay=50ms",
]


def plan(chance, seconds):
    """What the sensor suffers: (pause before it, name, words, what is done with it, how long it lasts)."""
    faults, planned = [], 0.0
    while planned < seconds:
        pause, hold = chance.expovariate(1 / 6), chance.choice([0.3, 1.0, 3.0, 8.0])
        kind = chance.choices(["lasting", "healed", "passing", "starting"], [10, 4, 5, 5])[0]
        if kind == "lasting":
            name = chance.choice(["unplugged"] * 4 + list(LASTING))
            words = LASTING[name][0]
        elif kind == "healed":
            name = chance.choice(list(HEALED))
            words = HEALED[name]
        else:
            name = words = chance.choice(PASSING if kind == "passing" else STARTING)
        faults.append((pause, name, f"seed={chance.randrange(1 << 30)} {words}", kind, hold))
        planned += pause + hold
    return faults


class Kinect:
    """The driver above the simulated sensor, which gives frames as fast as they are taken."""

    name = "kinect"
    pace = "as fast as they are decoded"
    threads = 3  # the loop, the simulator's, and the helper while the sensor is opened
    # Beside what the demo has: raw frames in the simulator, its copies of 60 transfers, the driver's own, the decoder's.
    resident_mib = 48 + COUNT * 3 + 2 * 16 + 16
    descriptors = 8  # what opening a sensor takes for a moment

    def __init__(self, chance, seconds):
        self.faults = plan(chance, seconds)
        self.words = ""
        self.known = set()
        self.spans = []  # (begun, ended, name)
        self.counts = {"faults": 0, "depths": 0}
        memory = pathlib.Path("/dev/shm")
        self.root = (memory if os.access(memory, os.W_OK) else OUT) / f"depthcast-soak-{os.getpid()}"
        atexit.register(shutil.rmtree, self.root, ignore_errors=True)

    def prepare(self, configs):
        """Raw frames for the simulator, and what depth they are under these configurations, decoded offline."""
        pictures = OUT / "soak-pictures"
        for folder in (pictures, FRAMES):
            shutil.rmtree(folder, ignore_errors=True)
        for arguments in (("record", "-o", pictures, "--source", "demo", "--frames", COUNT, "--fps", 5),
                          ("convert", pictures, FRAMES)):
            subprocess.run([BINARY, *map(str, arguments)], check=True, capture_output=True, timeout=10 * WAIT)
        for config in configs:
            path = OUT / "soak-offline.toml"
            path.write_text(config)
            found, end = set(), time.monotonic() + PATIENCE
            source = f"replay:{FRAMES}"
            with Server("soak-offline", "run", "--source", source, "--fps", "20", "--config", str(path)) as server:
                while len(found) < COUNT and time.monotonic() < end:
                    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT)
                    connection.request("GET", "/depth.raw")
                    answer = connection.getresponse()
                    body = answer.read()
                    connection.close()
                    if answer.status == 200:
                        found.add(hashlib.sha256(body).digest())
            need(len(found) == COUNT, f"{len(found)} different frames of {COUNT}")
            self.known |= found

    def arguments(self):
        return ["--source", "kinect", "--sysfs", f"{self.root}/sys", "--devfs", f"{self.root}/dev"]

    def environment(self):
        return {"LD_PRELOAD": LIBRARY, "KINECT2_SIM_ROOT": str(self.root), "KINECT2_SIM_FRAMES": str(FRAMES),
                "KINECT2_SIM_PACE": "demand", "KINECT2_SIM_FAULTS": self.words}

    def depth(self, body):
        """A depth image that was sent must be one of the sensor's, whole."""
        if hashlib.sha256(body).digest() not in self.known:
            (OUT / "soak-never-sent.raw").write_bytes(body)
            raise Failed(f"a depth image that the sensor has never sent, see {OUT}/soak-never-sent.raw")
        self.counts["depths"] += 1

    async def give(self, box, words):
        """Has these faults instead of those there are; a process that starts meanwhile begins with them."""
        self.words = words
        path = self.root / "faults"
        path.with_suffix(".new").write_text(words)
        path.with_suffix(".new").rename(path)
        await until(box, "taken as faults", lambda _: not path.exists())

    async def run(self, box, watchers, begun):
        """Lets the sensor suffer what the plan says, until the box is to end."""
        for pause, name, words, kind, hold in self.faults:
            await asyncio.sleep(pause)
            if box.finishing:
                return
            start = time.monotonic() - begun
            before = await until(box, "streaming", lambda s: s["source"]["online"])
            life = box.life
            if kind == "lasting" and name != "unplugged" or kind == "starting":
                # It shows when the sensor is opened: have it plugged in anew.
                await self.give(box, f"unplug {words}")
                await until(box, "offline", lambda s: not s["source"]["online"])
            await self.give(box, words)
            if kind == "lasting":
                await self.reason(box, name)
            elif kind == "healed":
                healings = lambda s: s["sensor"]["usb"]["resets"] + s["sensor"]["usb"]["restarts"]
                await until(box, "reset or restarted", lambda s: box.life != life or healings(s) > healings(before))
            await asyncio.sleep(hold)
            await self.give(box, "")
            await self.back(box, watchers, name)
            self.counts["faults"] += 1
            self.spans.append((start, time.monotonic() - begun, name))

    async def reason(self, box, name):
        """Until /readyz says why there is no picture, and the pictures that are sent are not sent as live ones."""
        async def told():
            status, body = await box.get("/readyz")
            return status == 503 and body.decode()
        states = LASTING[name][1]
        def holds(state):
            return state["sensor"]["state"] in states and not state["source"]["online"]
        end, said, state = time.monotonic() + PATIENCE, None, None
        while time.monotonic() < end:
            state = await until(box, f"{name}, that is one of {states}", holds)
            try:
                said = await told()
            except (OSError, IndexError, asyncio.TimeoutError):
                continue
            if said and state["sensor"]["reason"] in said:
                return
            await asyncio.sleep(0.1)
        raise Failed(f"/readyz says {said!r} of {state['sensor']}")

    async def back(self, box, watchers, name):
        """Until frames come again, and everybody who was there has one."""
        gone = await until(box, "answering", lambda _: True)
        life, number = box.life, gone["depth"]["seq"]
        await until(box, f"streaming after {name}", lambda s: s["source"]["online"] and s["depth"]["seq"] > number)
        if life != box.life:
            return
        there = [w for w in watchers if w.life == life and not w.task.done()]
        served = lambda w: w.task.done() or box.life != life or w.last > number
        await until(box, f"back on every screen after {name}", lambda _: all(map(served, there)))

    async def whole(self, box):
        """Looks at depth all the time."""
        while True:
            await asyncio.sleep(0.3)
            try:
                status, body = await box.get("/depth.raw")
            except (OSError, IndexError, asyncio.TimeoutError):
                continue
            if status == 200:
                self.depth(body)


async def until(box, what, holds):
    """Polls the state until this holds of it. The time begins anew with a new life of the box."""
    life, end, state = box.life, time.monotonic() + PATIENCE, None
    while True:
        try:
            state = json.loads((await box.get("/state"))[1])["result"]
            if holds(state):
                return state
        except (OSError, IndexError, asyncio.TimeoutError, ValueError):
            pass
        if box.life != life:
            life, end = box.life, time.monotonic() + PATIENCE
        if time.monotonic() > end:
            raise Failed(f"after {PATIENCE} s not {what}: {state and state['sensor']}: {box.tail()}")
        await asyncio.sleep(0.1)
