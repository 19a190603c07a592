"""A box's life at eight times its pace, with everything that may happen to it happening at random.

soak.py [--seed N] [--minutes N]: the plan is made from the seed before anything starts, so that a seed that fails can be
run again. What it must not do, whatever happens: end, leave a descriptor or memory behind, answer /healthz late, give a
viewer an older frame than it had, show an old frame as a live one.
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
import struct
import sys
import time

from harness import BINARY, OUT, Failed, need

FPS = 240
NOMINAL = 30
ANSWER_S = 5  # seconds: a health check on a machine that has other work too
AGE_MS = 3000  # how old a picture sent as live may be there; `online` is to be false from one second on
RESIDENT_MIB = 48  # 24 are promised with 64 viewers; what other forms than the promised ones touch comes on top
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


def plan(seed, seconds):
    """What happens when: (time, what, how). The sensor's faults are those of each life of the process."""
    chance, events, now = random.Random(seed), [], 1.0
    kinds = {"join": 40, "leave": 16, "stall": 6, "hostile": 22, "poll": 20, "reload": 6, "clock": 5, "freeze": 2,
             "term": 0.2, "kill": 0.2}
    while now < seconds - 10:
        kind = chance.choices(list(kinds), list(kinds.values()))[0]
        events.append((now, kind, chance.random()))
        now += chance.expovariate(3.0)
    lives = []
    for _ in range(2 + sum(kind in ("term", "kill") for _, kind, _ in events)):
        faults, at = [], 4.0
        while at < seconds:
            at += chance.expovariate(1 / 25)
            length = chance.choice([0.1, 0.5, 2.0, 5.0])
            faults.append(f"--fault={chance.choice(['vanish', 'vanish', 'stall', 'torn'])}@{at:.1f}+{length}")
            at += length
        lives.append(faults[:60])
    return events, lives


class Box:
    """The process, its lives, and what was seen of it."""

    def __init__(self, seed, lives):
        self.lives = iter(lives)
        self.life = 0
        self.folder = OUT / f"soak-{seed}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config, self.clock = self.folder / "config.toml", self.folder / "clock"
        self.log_path = self.folder / "log.txt"
        self.log_path.write_bytes(b"")
        self.captured_before = 0
        self.frozen_until = 0.0
        self.ending = False
        self.process = None
        self.port = None
        self.base = None

    async def start(self, config=""):
        """A new life."""
        self.life += 1
        self.configure(config)
        self.clock.write_text("+0\n")
        env = {**os.environ, "LD_PRELOAD": FAKETIME, "FAKETIME_TIMESTAMP_FILE": str(self.clock), "FAKETIME_NO_CACHE": "1",
               "DONT_FAKE_MONOTONIC": "1"}
        port = self.port or 0
        begun, already = time.monotonic(), self.log_path.stat().st_size
        with self.log_path.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                BINARY, "run", "--source", "demo", "--fps", str(FPS), "--config", str(self.config), "--listen",
                f"127.0.0.1:{port}", *next(self.lives), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env=env)
        while b"listening on" not in (said := self.log_path.read_bytes()[already:]):
            need(self.process.returncode is None, f"it ended at its start: {said[-500:]}")
            need(time.monotonic() < begun + 20, "it does not start")
            await asyncio.sleep(0.02)
        self.port = int(said.split(b"listening on 127.0.0.1:")[1].split()[0])
        self.started = time.monotonic()
        self.ending = False
        if self.base is None:
            await asyncio.sleep(0.3)
            self.base = self.descriptors()

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

    async def get(self, path, timeout=ANSWER_S):
        """Status and body of a request on a connection of its own."""
        async def ask():
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
                answer = await reader.read()
            finally:
                writer.close()
            head, _, body = answer.partition(b"\r\n\r\n")
            return int(head.split()[1]), body
        return await asyncio.wait_for(ask(), timeout)


class Watcher:
    """A viewer that keeps the rules; it ends with the process, or when it is told to."""

    def __init__(self, box, kind, seen):
        self.box, self.kind, self.seen, self.life = box, kind, seen, box.life
        self.paused = 0.0
        self.was_slow = False
        self.told = False
        self.last = 0
        self.task = asyncio.create_task(self.run())

    async def run(self):
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.box.port, limit=1 << 16)
        except OSError:
            return
        try:
            await getattr(self, self.kind)(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            # By its own doing: it did not read, or all places were taken. By the box's: its life ended.
            if self.life == self.box.life and not (self.box.ending or self.told or self.was_slow or self.last == 0):
                await asyncio.sleep(0.5)
                if self.life == self.box.life and not self.box.ending:
                    self.seen["cut"] += 1
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
            self.seen["ages"].append(age_ms)
            frozen = time.monotonic() < self.box.frozen_until + 1
            if age_ms > AGE_MS and not frozen:
                raise Failed(f"{self.kind}: a frame {age_ms} ms old is sent as live")
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
            self.note(int(fields["X-Depthcast-Seq"]), int(fields["X-Depthcast-Age-Ms"]),
                      fields["X-Depthcast-Online"] == "true")
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
    try:
        status, _ = await box.get(paths[int(which * len(paths))])
        need(status in (200, 404, 503), f"{status}")
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
            "lost": counters["lost"], "pictures": seen["pictures"],
        })
        box.captured = counters["captured"]
        newest = samples[-1]
        need(newest["resident"] < RESIDENT_MIB, f"{newest['resident']:.1f} MiB are resident")
        need(newest["threads"] == 1, f"{newest['threads']} threads")
        # Viewers, the lobby of 32, and what a reload opens for a moment.
        need(newest["descriptors"] <= box.base + PLACES + 32 + 4, f"{newest['descriptors']} descriptors")


async def act(box, kind, how, watchers, seen):
    """One event of the plan."""
    alive = [w for w in watchers if not w.task.done()]
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
        box.frozen_until = time.monotonic() + 0.2 + 2 * how
        box.signal(signal.SIGSTOP)
        await asyncio.sleep(box.frozen_until - time.monotonic())
        box.signal(signal.SIGCONT)
    elif kind in ("term", "kill"):
        box.captured_before += getattr(box, "captured", 0)
        box.captured = 0
        await box.end(signal.SIGTERM if kind == "term" else signal.SIGKILL)
        await box.start(CONFIGS[int(how * 6)])
    return None


async def live(seed, minutes):
    """The whole of it; returns the samples, the events and what else was seen."""
    events, lives = plan(seed, 60 * minutes)
    box, samples, watchers, others = Box(seed, lives), [], [], set()
    seen = {"ages": [], "pictures": 0, "cut": 0}
    await box.start()
    begun = time.monotonic()
    sampler = asyncio.create_task(sample(box, samples, seen, begun))
    done = []
    failure = None
    try:
        for at, kind, how in events:
            while (wait := begun + at - time.monotonic()) > 0:
                await asyncio.sleep(min(wait, 0.2))
            for task in [sampler, *others, *(w.task for w in watchers)]:
                if task.done() and not task.cancelled():
                    task.result()
            watchers = [w for w in watchers if not w.task.done()]
            others = {t for t in others if not t.done()}
            if task := await act(box, kind, how, watchers, seen):
                others.add(task)
            done.append((time.monotonic() - begun, kind))
        # Everybody leaves, and what they had must be given back.
        for watcher in watchers:
            watcher.leave()
        await asyncio.gather(*others, return_exceptions=True)
        end = time.monotonic() + 30
        while box.descriptors() > box.base:
            need(time.monotonic() < end, f"{box.descriptors()} descriptors when all have left, {box.base} at the start")
            await asyncio.sleep(0.5)
        need(seen["cut"] == 0, f"{seen['cut']} viewers that kept the rules were cut off")
    except Failed as error:
        failure = error
    sampler.cancel()
    if failure is None:
        await box.end(signal.SIGTERM)
        if "panicked" in box.log_path.read_text(errors="replace"):
            failure = Failed(f"it panicked, see {box.log_path}")
    elif box.process.returncode is None:
        box.process.kill()
    frames = box.captured_before + getattr(box, "captured", 0)
    return samples, done, frames, seen, box, failure


def draw(path, seed, samples, done, frames):
    """Memory, descriptors, ages and drops over time."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    scale = 1 / 60
    times = [s["t"] * scale for s in samples]
    rows, plots = pyplot.subplots(4, 1, figsize=(14, 12), sharex=True)
    memory, files, ages, rates = plots
    memory.plot(times, [s["resident"] for s in samples], color="tab:blue")
    memory.set_ylabel("resident, MiB")
    files.plot(times, [s["descriptors"] for s in samples], color="tab:blue", label="descriptors")
    files.plot(times, [s["viewers"] for s in samples], color="tab:orange", label="viewers")
    files.legend(loc="upper right")
    ages.plot(times, [s["age"] for s in samples], label="median")
    ages.plot(times, [s["oldest"] for s in samples], label="oldest", linewidth=0.7)
    ages.set_ylabel("age when sent, ms")
    ages.legend(loc="upper right")
    for key in ("captured", "closed", "torn", "lost"):
        steps = [max(0, b[key] - a[key]) / max(0.1, b["t"] - a["t"]) if a["life"] == b["life"] else 0
                 for a, b in zip(samples, samples[1:])]
        rates.plot(times[1:], steps, label=f"{key}/s", linewidth=0.8)
    rates.set_yscale("symlog")
    rates.legend(loc="upper right")
    rates.set_xlabel(f"minutes; {frames} frames, at {NOMINAL} a second {frames / NOMINAL / 3600:.2f} hours of a box")
    colours = {"term": "red", "kill": "black", "reload": "green", "clock": "purple", "freeze": "orange"}
    for at, kind in done:
        if kind in colours:
            for plot in plots:
                plot.axvline(at * scale, color=colours[kind], alpha=0.35, linewidth=0.7)
    memory.set_title(f"seed {seed}; lines: " + ", ".join(f"{kind} {colour}" for kind, colour in colours.items()))
    rows.tight_layout()
    rows.savefig(path, dpi=70)


def main():
    """Lives, draws, and says what was seen."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--minutes", type=float, default=8)
    options = parser.parse_args()
    need(os.path.exists(FAKETIME), "no libfaketime")
    print(f"soak: seed {options.seed}, {options.minutes:g} minutes at {FPS} frames a second", flush=True)
    samples, done, frames, seen, box, failure = asyncio.run(live(options.seed, options.minutes))
    picture = OUT / f"soak-{options.seed}.png"
    if samples:
        draw(picture, options.seed, samples, done, frames)
        kinds = {kind: sum(k == kind for _, k in done) for kind in dict.fromkeys(k for _, k in done)}
        residents = [s["resident"] for s in samples]
        print(f"{frames} frames captured, {frames / NOMINAL / 3600:.2f} hours of a box, {box.life} lives; "
              f"{seen['pictures']} pictures to viewers")
        print(f"events: {kinds}")
        print(f"resident {min(residents):.1f} to {max(residents):.1f} MiB, last {residents[-1]:.1f}; descriptors "
              f"{box.base} to {max(s['descriptors'] for s in samples)}; "
              f"median age {sorted(s['age'] for s in samples)[len(samples) // 2]} ms, oldest {max(s['oldest'] for s in samples)} ms")
        print(f"plotted in {picture}")
    if failure is not None:
        print(f"FAILED: {failure}\nagain: tests/system/soak.sh --seed {options.seed} --minutes {options.minutes:g}",
              file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
