"""A box's life at several times its pace, with everything that may happen to it happening at random.

soak.py [--source demo|kinect] [--seed N] [--minutes N]: the plan is made from the seed before anything starts, so that a
seed that fails can be run again. What it must not do, whatever happens: end, leave a descriptor or memory behind, answer
/healthz late, give a viewer an older frame than it had, show an old frame as a live one. What is more with the simulated
sensor is in soak_kinect.py.
"""

import argparse
import asyncio
import base64
import glob
import json
import os
import pathlib
import random
import re
import signal
import socket
import struct
import sys
import time

from harness import BINARY, OUT, Failed, need
from soak_kinect import Kinect

NOMINAL = 30
ANSWER_S = 5  # seconds: a health check on a machine that has other work too
AGE_MS = 3000  # how old a picture sent as live may be there; `online` is to be false from one second on
QUEUED_S = 20  # seconds that a picture may wait in the kernel for a viewer that does not read
LEVEL_MIB = 4  # what a life of some minutes may take in its last third more than in the one before
LEVEL_S = 360  # seconds that such a life lasts: by then every form of a frame was asked for in nearly every slot
PLACES = 24
HEAD = struct.Struct("<4sHHQqII")
FAKETIME = next(iter(glob.glob("/usr/lib/*/faketime/libfaketime.so.1")), "")

CONFIGS = [
    "",
    "[camera]\nlocation = \"Roof\"\n",
    "overlay = true\n[range]\nmax_mm = 4500\n",
    "rotate = 180\nmasks = [[[0, 0], [100, 0], [100, 424], [0, 424]]]\n",
    "[jpeg]\nquality = 30\n",
    "[legacy]\npickle = \"compact\"\n",
    "nonsense = 1\n",
    "rotate = ",
]
HOSTILE = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
    b"9" * 50,
    b"0" * 3000,
    b"2",
    b"GET /" + b"a" * 9000,
    b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 100 + b"\r\n",
    b"GET /stream HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    b"G",
    b"",
]


def plan(chance, seconds):
    """What happens when: (time, what, how)."""
    events, now = [], 1.0
    kinds = {"join": 40, "leave": 16, "stall": 6, "hostile": 22, "poll": 20, "reload": 6, "clock": 5, "freeze": 2,
             "term": 0.06, "kill": 0.06}
    while now < seconds - 10:
        kind = chance.choices(list(kinds), list(kinds.values()))[0]
        events.append((now, kind, chance.random()))
        now += chance.expovariate(3.0)
    return events


class Demo:
    """The built-in car park at eight times a sensor's pace; its faults are planned for each life of the process."""

    name = "demo"
    pace = "240 frames a second"
    threads = 1
    resident_mib = 48  # 24 are promised with 64 viewers; what other forms than the promised ones touch comes on top
    descriptors = 4  # what a reload opens for a moment

    def __init__(self, chance, seconds):
        self.lives = chance
        self.seconds = seconds
        self.counts = {}
        self.spans = []

    def prepare(self, configs):
        """It needs nothing."""

    def arguments(self):
        faults, at = [], 4.0
        while at < self.seconds and len(faults) < 60:
            at += self.lives.expovariate(1 / 25)
            length = self.lives.choice([0.1, 0.5, 2.0, 5.0])
            faults.append(f"--fault={self.lives.choice(['vanish', 'vanish', 'stall', 'torn'])}@{at:.1f}+{length}")
            at += length
        return ["--source", "demo", "--fps", "240", *faults]

    def environment(self):
        return {}

    def depth(self, body):
        """Any depth is good."""

    async def run(self, box, watchers, begun):
        """Its faults come by themselves."""

    async def whole(self, box):
        """It cannot be known what it should be."""


class Box:
    """The process, its lives, and what was seen of it."""

    def __init__(self, seed, source):
        self.source = source
        self.life = 0
        self.folder = OUT / f"soak-{source.name}-{seed}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config, self.clock = self.folder / "config.toml", self.folder / "clock"
        self.log_path = self.folder / "log.txt"
        self.log_path.write_bytes(b"")
        self.captured = self.captured_before = 0
        self.closed, self.too_slow_before = {}, 0
        self.finishing = False
        self.frozen_until = 0.0
        self.freezes = []  # (begun, ended)
        self.ending = False
        self.process = None
        self.port = None
        self.base = None

    async def start(self, config=""):
        """A new life."""
        self.life += 1
        self.configure(config)
        self.clock.write_text("+0\n")
        env = {**os.environ, "FAKETIME_TIMESTAMP_FILE": str(self.clock), "FAKETIME_NO_CACHE": "1",
               "DONT_FAKE_MONOTONIC": "1", **self.source.environment()}
        env["LD_PRELOAD"] = f"{FAKETIME} {env.get('LD_PRELOAD', '')}"
        port = self.port or 0
        begun, already = time.monotonic(), self.log_path.stat().st_size
        with self.log_path.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                BINARY, "run", *self.source.arguments(), "--config", str(self.config), "--listen", f"127.0.0.1:{port}",
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env=env)
        while b"listening on" not in (said := self.log_path.read_bytes()[already:]):
            need(self.process.returncode is None, f"it ended at its start: {said[-500:]}")
            need(time.monotonic() < begun + 20, "it does not start")
            await asyncio.sleep(0.02)
        self.port = int(said.split(b"listening on 127.0.0.1:")[1].split()[0])
        self.started = time.monotonic()
        self.ending = False
        if self.base is None:
            while b" 200 " not in (await self.raw("/readyz"))[:15]:
                need(time.monotonic() < begun + 60, f"no frame: {self.tail()}")
                await asyncio.sleep(0.1)
            await asyncio.sleep(0.3)
            self.base = self.descriptors()

    def frozen(self, since):
        """Seconds that it was stopped since then."""
        return sum(ended - max(begun, since) for begun, ended in self.freezes if ended > since)

    def configure(self, text):
        """Writes the configuration as an editor would: complete or not at all."""
        new = self.config.with_suffix(".new")
        table = re.search(r"^\[", text, re.M)
        top, tables = (text[:table.start()], text[table.start():]) if table else (text, "")
        # Whoever attacks may say "2" too.
        shutdown = "[legacy]\nshutdown_from = []\n"
        tables = tables.replace("[legacy]\n", shutdown) if "[legacy]" in tables else tables + shutdown
        new.write_text(f"{top}\n[viewers]\nmax = {PLACES}\nstall_s = 3\n{tables}")
        new.rename(self.config)

    def descriptors(self):
        """Open files."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def status(self, key):
        """A number of /proc/PID/status."""
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.split(f"{key}:")[1].split()[0])

    async def end(self, how):
        """TERM or KILL, and what comes of it."""
        self.ending = True
        self.signal(how)
        code = await asyncio.wait_for(self.process.wait(), 10)
        need(code == (0 if how == signal.SIGTERM else -9), f"exit code {code} after {how.name}")

    def signal(self, which):
        """Sends a signal, unless it has ended, which is a failure."""
        need(self.process.returncode is None, f"it ended by itself with {self.process.returncode}: {self.tail()}")
        self.process.send_signal(which)

    def tail(self):
        """The end of its log."""
        return self.log_path.read_text(errors="replace")[-800:]

    async def raw(self, path):
        """The answer to a request on a connection of its own."""
        async def ask():
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
                return await reader.read()
            finally:
                writer.close()
        return await asyncio.wait_for(ask(), ANSWER_S)

    async def get(self, path):
        """Status and body of an answer; one that was cut off, because the box was killed, is none."""
        head, _, body = (await self.raw(path)).partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        if length and len(body) != int(length[1]):
            raise ConnectionResetError
        return int(head.split()[1]), body


class Watcher:
    """A viewer that keeps the rules; it ends with the process, or when it is told to, which one that stays never is."""

    def __init__(self, box, kind, seen, stays=False):
        self.box, self.kind, self.seen, self.life, self.stays = box, kind, seen, box.life, stays
        self.begun = time.monotonic()
        self.paused = 0.0
        self.was_slow = False
        self.told = False
        self.last = 0
        self.task = asyncio.create_task(self.run())

    async def run(self):
        own = socket.socket()
        # Or a minute's pictures would wait here for one that reads slowly.
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 15)
        own.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(own, ("127.0.0.1", self.box.port))
            reader, writer = await asyncio.open_connection(sock=own, limit=1 << 15)
        except OSError:
            own.close()
            return
        try:
            await getattr(self, self.kind)(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            # By its own doing: it did not read, or all places were taken. By the box's: its life ended.
            if self.life == self.box.life and not (self.box.ending or self.told or self.was_slow or self.last == 0):
                await asyncio.sleep(0.5)
                if self.life == self.box.life and not self.box.ending:
                    self.seen["cut"].append(f"{self.kind} after {time.monotonic() - self.begun:.1f} s")
        finally:
            writer.transport.abort()

    def leave(self):
        self.told = True
        self.task.cancel()

    async def pause(self):
        if self.paused:
            self.was_slow = True
            await asyncio.sleep(self.paused)
            self.paused = 0.0

    def note(self, sequence, age_ms, online):
        """Holds one picture against the one before."""
        if online:
            if sequence <= self.last:
                raise Failed(f"{self.kind}: frame {sequence} after {self.last}")
            self.last = sequence
            # A stopped process is not to blame for the time; when the picture was sent is not known, only that it was here.
            if age_ms > 0:
                age_ms -= int(1000 * self.box.frozen(time.monotonic() - QUEUED_S - age_ms / 1000))
            self.seen["ages"].append(max(0, age_ms))
            need(age_ms <= AGE_MS, f"{self.kind}: a frame {age_ms} ms old is sent as live")
        self.seen["pictures"] += 1

    async def rest(self):
        """As long as the plan says, and a little anyhow: the time is the box's, not that of two dozen viewers here."""
        await self.pause()
        await asyncio.sleep(0.05)

    async def python(self, reader, writer):
        while True:
            writer.write(b"0")
            length = struct.unpack(">L", (await reader.readexactly(284))[:4])[0]
            data = await reader.readexactly(length)
            # The picture says of itself which it is; protocol 0 of pickle writes these letters as they are.
            if (at := data.find(b'"seq":')) >= 0 and b'"online":true' in data[at:at + 200]:
                self.note(int(data[at + 6:at + 30].split(b",")[0]), 0, True)
            await self.rest()

    async def stream(self, reader, writer, query="?format=png"):
        writer.write(f"GET /stream{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head:
            return
        while True:
            fields = dict(line.split(": ", 1) for line in (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                          if ": " in line)
            await reader.readexactly(int(fields["Content-Length"]))
            # Before the first frame there is no age.
            online = fields["X-Depthcast-Online"] == "true"
            self.note(int(fields["X-Depthcast-Seq"]), int(fields["X-Depthcast-Age-Ms"]) if online else None, online)
            await self.rest()

    async def jpeg(self, reader, writer):
        await self.stream(reader, writer, "")

    async def websocket(self, reader, writer):
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(f"GET /ws HTTP/1.1\r\nHost: localhost:{self.box.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode())
        if b" 101 " not in await reader.readuntil(b"\r\n\r\n"):
            return
        while True:
            kind, length = await reader.readexactly(2)
            if length > 125:
                length = int.from_bytes(await reader.readexactly(2 if length == 126 else 8), "big")
            data = await reader.readexactly(length)
            if kind & 15 == 2:
                magic, _, _, sequence, _, age_ms, _ = HEAD.unpack_from(data)
                need(magic == b"DPC1", f"{magic}")
                self.note(sequence, age_ms, True)
            elif kind & 15 == 9:
                # A pong, its mask being zeros.
                writer.write(bytes([0x8A, 0x80 | length, 0, 0, 0, 0]) + data)
            elif kind & 15 == 8:
                return
            await self.rest()


async def attack(box, which):
    """Something that no viewer says; held open for a while."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", box.port)
        writer.write(HOSTILE[int(which * len(HOSTILE))])
        await asyncio.wait_for(reader.read(1 << 16), 1 + 3 * which)
        if which > 0.5:
            writer.transport.abort()
        else:
            writer.close()
    except (OSError, asyncio.TimeoutError):
        pass


async def poll(box, which):
    """One request of many kinds; 503 while there is no depth is an answer too."""
    paths = ["/snapshot", "/snapshot.png", "/depth.png", "/depth.rvl", "/depth.raw", "/state", "/metrics", "/config.json",
             "/", "/nonsense", "/readyz"]
    path = paths[int(which * len(paths))]
    try:
        status, body = await box.get(path)
        need(status in (200, 404, 503), f"{path} is answered with {status}")
        if path == "/depth.raw" and status == 200:
            box.source.depth(body)
    except (OSError, IndexError, asyncio.TimeoutError):
        # While it restarts, or is stopped.
        pass


async def sample(box, samples, seen, begun):
    """Once a second: what it has, and whether it answers."""
    while True:
        await asyncio.sleep(1)
        life, now = box.life, time.monotonic()
        if now < box.frozen_until + 1 or now < box.started + 1:
            continue
        try:
            status, _ = await box.get("/healthz")
            need(status == 200, f"/healthz says {status}")
            state = json.loads((await box.get("/state"))[1])["result"]
        except (OSError, IndexError, asyncio.TimeoutError, ValueError):
            if life == box.life and not box.ending and time.monotonic() > box.frozen_until + 1:
                raise Failed(f"/healthz is not answered within {ANSWER_S} s: {box.tail()}") from None
            continue
        if life != box.life or box.ending:
            continue
        ages, seen["ages"] = sorted(seen["ages"]) or [0], []
        counters = state["counters"]
        samples.append({
            "t": time.monotonic() - begun, "life": life, "resident": box.status("VmRSS") / 1024,
            "descriptors": box.descriptors(), "threads": box.status("Threads"), "viewers": state["stream"]["clients"],
            "age": ages[len(ages) // 2], "oldest": ages[-1], "online": state["source"]["online"],
            "captured": counters["captured"], "closed": sum(counters["closed"].values()), "torn": counters["torn"],
            "lost": counters["lost"], "pictures": seen["pictures"], **usb(state["sensor"]),
        })
        box.captured, box.closed = counters["captured"], counters["closed"]
        newest = samples[-1]
        need(newest["resident"] < box.source.resident_mib, f"{newest['resident']:.1f} MiB are resident")
        need(newest["threads"] <= box.source.threads, f"{newest['threads']} threads")
        # Viewers, and the lobby of 32.
        most = box.base + PLACES + 32 + box.source.descriptors
        need(newest["descriptors"] <= most, f"{newest['descriptors']} descriptors, at most {most} may be")


def usb(sensor):
    """What the driver says of its frames."""
    told = sensor.get("usb") or {}
    return {"dropped": told.get("frames_dropped", 0) + told.get("frames_lost", 0), "reopened": told.get("resets", 0)}


def level(samples):
    """Whether the memory of every long life had stopped growing."""
    for life in {s["life"] for s in samples}:
        of = [s for s in samples if s["life"] == life]
        first, last = of[0]["t"], of[-1]["t"]
        third = (last - first) / 3
        if last - first < LEVEL_S:
            continue
        before = max(s["resident"] for s in of if s["t"] < last - third)
        after = max(s["resident"] for s in of if s["t"] >= last - third)
        need(after < before + LEVEL_MIB, f"life {life}: {before:.1f} MiB, and {after:.1f} in its last third")


async def act(box, kind, how, watchers, seen):
    """One event of the plan."""
    alive = [w for w in watchers if not w.task.done() and not w.stays]
    if kind == "join":
        if len(alive) < PLACES + 2:
            watchers.append(Watcher(box, ["python", "python", "stream", "jpeg", "websocket"][int(how * 5)], seen))
    elif kind == "leave" and alive:
        alive[int(how * len(alive))].leave()
    elif kind == "stall" and alive:
        alive[int(how * len(alive))].paused = 0.5 + 8 * how
    elif kind == "hostile":
        return asyncio.create_task(attack(box, how))
    elif kind == "poll":
        return asyncio.create_task(poll(box, how))
    elif kind == "reload":
        box.configure(CONFIGS[int(how * len(CONFIGS))])
        box.signal(signal.SIGHUP)
    elif kind == "clock":
        # 1970, tomorrow, an hour ago, a second on.
        box.clock.write_text(random.Random(how).choice(["@1970-01-01 00:00:10", "+1d", "-1h", "+1", "+0"]) + "\n")
    elif kind == "freeze":
        begun = time.monotonic()
        box.frozen_until = begun + 0.2 + 2 * how
        box.signal(signal.SIGSTOP)
        await asyncio.sleep(box.frozen_until - time.monotonic())
        box.signal(signal.SIGCONT)
        box.freezes.append((begun, time.monotonic()))
    elif kind in ("term", "kill"):
        box.captured_before += box.captured
        box.too_slow_before += box.closed.get("too_slow", 0)
        box.captured, box.closed = 0, {}
        await box.end(signal.SIGTERM if kind == "term" else signal.SIGKILL)
        await box.start(CONFIGS[int(how * 6)])
    return None


def stay(box, watchers, seen):
    """Somebody watches in the old way and somebody in a browser, from the beginning of each life to its end."""
    for kind in ("python", "jpeg"):
        if not any(w.stays and w.kind == kind and w.life == box.life and not w.task.done() for w in watchers):
            watchers.append(Watcher(box, kind, seen, stays=True))


async def live(seed, minutes, kind):
    """The whole of it; returns the samples, the events and what else was seen."""
    chance = random.Random(seed)
    events, source = plan(chance, 60 * minutes), kind(chance, 60 * minutes)
    source.prepare(CONFIGS[:6])
    box, samples, watchers, others = Box(seed, source), [], [], set()
    seen = {"ages": [], "pictures": 0, "cut": []}
    await box.start()
    begun = time.monotonic()
    sampler = asyncio.create_task(sample(box, samples, seen, begun))
    sensor = asyncio.create_task(source.run(box, watchers, begun))
    whole = asyncio.create_task(source.whole(box))
    done = []
    failure = None
    try:
        for at, kind, how in events:
            while (wait := begun + at - time.monotonic()) > 0:
                await asyncio.sleep(min(wait, 0.2))
            for task in [sampler, sensor, whole, *others, *(w.task for w in watchers)]:
                if task.done() and not task.cancelled():
                    task.result()
            watchers[:] = [w for w in watchers if not w.task.done()]
            stay(box, watchers, seen)
            others = {t for t in others if not t.done()}
            if task := await act(box, kind, how, watchers, seen):
                others.add(task)
            done.append((time.monotonic() - begun, kind))
        box.finishing = True
        await sensor
        # Everybody leaves, and what they had must be given back.
        whole.cancel()
        for watcher in watchers:
            watcher.leave()
        await asyncio.gather(*others, return_exceptions=True)
        end = time.monotonic() + 30
        while box.descriptors() > box.base:
            need(time.monotonic() < end, f"{box.descriptors()} descriptors when all have left, {box.base} at the start")
            await asyncio.sleep(0.5)
        # At this pace slow viewers may hold all slots of the ring, and then pay for it; a kill takes the last count along.
        paid = box.too_slow_before + box.closed.get("too_slow", 0) + box.life - 1
        need(len(seen["cut"]) <= paid, f"viewers that kept the rules were cut off: {seen['cut']}; closed: {box.closed}")
        level(samples)
        sampler.cancel()
        await box.end(signal.SIGTERM)
        broken = re.search("panicked|kinect2-sim-usbfs: .*", box.log_path.read_text(errors="replace"))
        need(not broken, f"{broken and broken[0]}, see {box.log_path}")
    except Failed as error:
        failure = error
    finally:
        for task in (sampler, sensor, whole):
            task.cancel()
        if box.process.returncode is None:
            box.process.kill()
            await box.process.wait()
    return samples, done, box.captured_before + box.captured, seen, box, failure


def draw(path, title, samples, done, spans, frames):
    """Memory, descriptors, ages, frames and drops over time, and what happened meanwhile."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = ["kill", "term", "freeze", "clock", "reload", "hostile", "stall", "no picture"]
    rows += sorted({name for _, _, name in spans})
    times, high = [s["t"] / 60 for s in samples], 0.22 * len(rows)
    page, plots = pyplot.subplots(5, 1, figsize=(16, 11 + high), sharex=True, height_ratios=[2.5] * 4 + [high])
    memory, files, ages, rates, happened = plots
    memory.set_title(title)
    memory.set_ylabel("resident, MiB")
    memory.plot(times, [s["resident"] for s in samples], color="tab:blue")
    files.set_ylabel("number")
    for key in ("descriptors", "viewers", "threads"):
        files.plot(times, [s[key] for s in samples], label=key, linewidth=0.8)
    ages.set_ylabel("age when sent, ms\n(less what it was frozen)")
    ages.plot(times, [s["oldest"] for s in samples], label="oldest in a second", linewidth=0.7, color="tab:orange")
    ages.plot(times, [s["age"] for s in samples], label="median", linewidth=0.8, color="tab:blue")
    ages.axhline(AGE_MS, color="red", linewidth=0.7, label="at most")
    rates.set_ylabel("per second")
    words = {"captured": "frames captured", "dropped": "dropped or lost by the driver", "torn": "torn",
             "closed": "connections closed", "lost": "sensor lost", "reopened": "sensor reset"}
    for key, label in words.items():
        steps = [max(0, b[key] - a[key]) / max(0.1, b["t"] - a["t"]) if a["life"] == b["life"] else 0
                 for a, b in zip(samples, samples[1:])]
        if any(steps):
            rates.plot(times[1:], steps, label=label, linewidth=0.8)
    rates.set_yscale("symlog")
    for plot in (files, ages, rates):
        plot.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize="small", frameon=False)
    for row, kind in enumerate(rows):
        marks = [at / 60 for at, k in done if k == kind]
        happened.plot(marks, [row] * len(marks), "|", color="black", markersize=5)
        bars = [(begun / 60, (ended - begun) / 60) for begun, ended, name in spans if name == kind]
        if kind == "no picture":
            bars = [(s["t"] / 60 - 1 / 60, 1 / 60) for s in samples if not s["online"]]
        happened.broken_barh(bars, (row - 0.35, 0.7), color="tab:red" if kind == "no picture" else "tab:purple")
    happened.set_yticks(range(len(rows)), rows, fontsize="small")
    happened.set_ylim(-0.7, len(rows) - 0.3)
    happened.set_xlabel(f"minutes; {frames} frames, at {NOMINAL} a second {frames / NOMINAL / 3600:.2f} hours of a box")
    for at, kind in done:
        if kind in ("term", "kill"):
            for plot in plots:
                plot.axvline(at / 60, color="red", alpha=0.5, linewidth=0.8)
    for plot in plots:
        plot.grid(alpha=0.3)
    page.tight_layout()
    page.savefig(path, dpi=70)


def main():
    """Lives, draws, and says what was seen."""
    parser = argparse.ArgumentParser()
    sources = {"demo": Demo, "kinect": Kinect}
    parser.add_argument("--source", choices=sources, default="demo")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--minutes", type=float, default=8)
    options = parser.parse_args()
    kind = sources[options.source]
    need(os.path.exists(FAKETIME), "no libfaketime")
    print(f"soak: {kind.name}, seed {options.seed}, {options.minutes:g} minutes at {kind.pace}", flush=True)
    samples, done, frames, seen, box, failure = asyncio.run(live(options.seed, options.minutes, kind))
    if samples:
        picture = OUT / f"soak-{kind.name}-{options.seed}.png"
        draw(picture, f"{kind.name}, seed {options.seed}", samples, done, box.source.spans, frames)
        kinds = {kind: sum(k == kind for _, k in done) for kind in dict.fromkeys(k for _, k in done)}
        residents = [s["resident"] for s in samples]
        minutes = samples[-1]["t"] / 60
        print(f"{frames} frames captured in {minutes:.1f} minutes, {frames / NOMINAL / 3600:.2f} hours of a box, "
              f"{box.life} lives; {seen['pictures']} pictures to viewers")
        print(f"events: {kinds} {box.source.counts or ''}")
        print(f"resident {min(residents):.1f} to {max(residents):.1f} MiB, last {residents[-1]:.1f}; descriptors "
              f"{box.base} to {max(s['descriptors'] for s in samples)}; median age "
              f"{sorted(s['age'] for s in samples)[len(samples) // 2]} ms, oldest {max(s['oldest'] for s in samples)} ms")
        print(f"too slow were {box.too_slow_before + box.closed.get('too_slow', 0)} viewers; plotted in {picture}")
    if failure is not None:
        print(f"FAILED: {failure}\nagain: tests/system/soak.sh --source {kind.name} --seed {options.seed} "
              f"--minutes {options.minutes:g}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
