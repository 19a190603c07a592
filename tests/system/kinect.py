"""The server above the simulated sensor: every frame, to the bit, and the right reason whenever there is none.

The simulator keeps a real sensor's time, so on a busy machine its queue of transfers runs dry and frames are lost, as with
a real one. No proof rests on that not happening: what is missing must be what the server counts, and may be missing only
if the queue was empty once.

kinect.py [NAME...]: only these proofs. KINECT_REPLUGS: how often the sensor is plugged in again (40; the figures are of
200, which takes five minutes).
"""

import atexit
import contextlib
import hashlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import cv2
import numpy as np

from harness import BINARY, OUT, WAIT, Failed, Server, Viewer, main, need, step

LIBRARY = os.environ["KINECT2_SIM_LIBRARY"]
FRAMES = OUT / "kinect-frames"  # raw frames, played by the simulator in a loop
DEPTH = OUT / "kinect-depth"  # the same, decoded offline
COUNT = 30  # of them; also how far a gap can be measured
PATIENCE = 60  # seconds: for what takes a sensor seconds, on a machine that has little time for us
SERIAL = "005697142447"
RANGE = ("--max-mm", "4500", "--pickle", "compact")


def run(*arguments, env=None, code=0):
    """Runs the program to its end; its standard output."""
    done = subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=10 * WAIT,
                          env={**os.environ, **(env or {})}, check=False)
    need(done.returncode == code, f"{arguments}: exit code {done.returncode}, not {code}: {done.stderr[-500:]}")
    return done.stdout


def simulator(name, faults="", frames=FRAMES):
    """The environment below which there is a sensor, and the options that make the program look there."""
    # In memory, as the kernel's own trees are: on a disk that others write to, plugging in can take seconds.
    memory = pathlib.Path("/dev/shm")
    root = (memory if os.access(memory, os.W_OK) else OUT) / f"depthcast-sim-{os.getpid()}-{name}"
    shutil.rmtree(root, ignore_errors=True)
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    env = {"LD_PRELOAD": LIBRARY, "KINECT2_SIM_ROOT": str(root), "KINECT2_SIM_FRAMES": str(frames),
           "KINECT2_SIM_FAULTS": faults, "KINECT2_SIM_SERIAL": SERIAL}
    return env, ("--sysfs", f"{root}/sys", "--devfs", f"{root}/dev")


class Sensor(Server):
    """`depthcast run` with the simulated sensor."""

    def __init__(self, name, faults="", *arguments):
        env, roots = simulator(name, faults)
        self.root = pathlib.Path(env["KINECT2_SIM_ROOT"])
        super().__init__(f"kinect-{name}", "run", *RANGE, *roots, *arguments, env=env)

    def get(self, path):
        """Status, header and body of a request on its own connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT)
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, answer.headers, body

    def state(self):
        """The result of /state."""
        return json.loads(self.get("/state")[2])["result"]

    def sensor(self):
        """What /state says of the sensor."""
        return self.state()["sensor"]

    def give(self, faults):
        """These faults and no others, from now on."""
        (self.root / "faults.new").write_text(faults)
        (self.root / "faults.new").rename(self.root / "faults")
        end = time.monotonic() + PATIENCE
        while (self.root / "faults").exists():
            need(time.monotonic() < end, f"nobody takes {faults}: {self.log()[-500:]}")
            time.sleep(0.02)

    def until(self, what, done):
        """Polls the state until `done` holds of it; returns that state, and every sensor state word seen."""
        words, end = set(), time.monotonic() + PATIENCE
        while time.monotonic() < end:
            state = self.state()
            words.add(state["sensor"]["state"])
            if done(state):
                return state, words
            time.sleep(0.03)
        raise Failed(f"after {PATIENCE} s not {what}: {words}, {state['sensor']}, log: {self.log()[-800:]}")

    def until_streaming(self, after=0):
        """Until a frame newer than number `after` is there."""
        return self.until("streaming", lambda s: s["source"]["online"] and s["depth"]["seq"] > after)

    def until_word(self, word):
        """Until the sensor's state is this word, and the picture is the placeholder that says so."""
        return self.until(word, lambda s: s["sensor"]["state"] == word and not s["source"]["online"])


class Watching(threading.Thread):
    """A viewer that stays connected for as long as the test runs; `error` says why it did not."""

    def __init__(self, server, known):
        super().__init__(daemon=True)
        self.known = known
        self.viewer = Viewer(server)
        self.viewer.socket.settimeout(PATIENCE)
        self.error = None
        self.stopped = False
        self.pictures = []  # (number or None, which frame or None for the placeholder, dropped)
        self.start()

    def run(self):
        try:
            self.watch()
        except (Failed, OSError, ValueError, KeyError) as error:
            if not self.stopped:
                self.error = f"{type(error).__name__}: {error}"

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.stopped = True
        with contextlib.suppress(OSError):
            self.viewer.socket.shutdown(socket.SHUT_RDWR)
        self.join(WAIT)
        need(kind is not None or self.error is None, f"a viewer was left alone: {self.error}")

    def frames(self):
        """How many pictures were no placeholders."""
        return sum(which is not None for _, which, _ in self.pictures)

    def which(self, png):
        """The frame that a picture shows; a placeholder is none of them."""
        return self.known.get(fingerprint(png))


class Python(Watching):
    """A viewer of the Python protocol."""

    def watch(self):
        while not self.stopped:
            self.pictures.append((None, self.which(self.viewer.ask().tobytes()), 0))


class Stream(Watching):
    """A viewer of /stream."""

    def watch(self):
        for head, png in parts(self.viewer):
            online = head["x-depthcast-online"] == "true"
            which = self.which(png)
            need(online == (which is not None), f"a picture of no frame, online {online}, number {head['x-depthcast-seq']}")
            self.pictures.append((int(head["x-depthcast-seq"]), which, int(head["x-depthcast-dropped"])))
            if self.stopped:
                break


def parts(viewer):
    """The parts of /stream in PNG, each with its head."""
    viewer.send(b"GET /stream?format=png HTTP/1.1\r\nHost: x\r\n\r\n")
    file, head = viewer.socket.makefile("rb"), {}
    while line := file.readline():
        name, colon, value = line.decode().strip().partition(":")
        if colon:
            head[name.lower()] = value.strip()
        elif not name:
            if "content-length" in head:
                yield head, file.read(int(head["content-length"]))
            head = {}
    raise Failed("the stream ended")


def fingerprint(png):
    """A hash of what a picture shows: of its image data and palette, not of what it says about itself."""
    shown, at = hashlib.sha256(), 8
    while at < len(png):
        length, kind = int.from_bytes(png[at : at + 4], "big"), png[at + 4 : at + 8]
        if kind in (b"IHDR", b"PLTE", b"IDAT"):
            shown.update(png[at : at + 12 + length])
        at += 12 + length
    return shown.digest()


def prepare():
    """Raw frames for the simulator, and what they are decoded to offline: depth as files, pictures by their hash."""
    pictures = OUT / "kinect-pictures"
    for folder in (pictures, FRAMES, DEPTH):
        shutil.rmtree(folder, ignore_errors=True)
    run("record", "-o", pictures, "--source", "demo", "--frames", COUNT, "--fps", 5)
    run("convert", pictures, FRAMES)
    run("convert", FRAMES, DEPTH)
    known = {}
    with Server("kinect-offline", "run", "--source", f"replay:{FRAMES}", "--fps", "20", *RANGE) as server:
        with Viewer(server) as viewer:
            for head, png in parts(viewer):
                known[fingerprint(png)] = (int(head["x-depthcast-seq"]) - 1) % COUNT
                if len(set(known.values())) == COUNT:
                    break
    need(len(known) == COUNT, f"{len(known)} different pictures of {COUNT} frames")
    return known


def gaps(pictures):
    """How many of the sensor's frames are missing in a row of pictures, and how many of those the server skipped."""
    missing = skipped = 0
    for (_, before, _), (_, after, dropped) in zip(pictures, pictures[1:]):
        missing += (after - before - 1) % COUNT
        skipped += dropped
    return missing, skipped


def check_probe():
    env, roots = simulator("probe")
    with step("probe finds nothing in the way of a healthy sensor"):
        found = json.loads(run("probe", "--json", *roots, env=env))
        need(found["ok"], f"{found}")
        kinds = {finding["kind"]: finding for finding in found["findings"]}
        need(SERIAL in kinds["sensor"]["text"] and kinds["link"]["severity"] == "ok", f"{kinds}")
    for faults, kind, part in (("usb2", "link", "USB 3 port"), ("no-permission", "permission", "udev rule"),
                               ("owned", "owner", "end it"), ("usbfs-memory=8", "memory", "usbfs_memory_mb"),
                               ("unplug", "sensor", "power supply")):
        env, roots = simulator("probe", faults)
        with step(f"probe: {faults} is an error about {kind}, with its remedy"):
            found = json.loads(run("probe", "--json", *roots, env=env, code=2))
            errors = [f for f in found["findings"] if f["severity"] == "error"]
            need([f["kind"] for f in errors] == [kind] and part in errors[0]["remedy"], f"{errors}")
    table = run("probe", *roots, env=env, code=2)
    need("remedy: give the adaptor" in table and "No frame will come" in table, table)


def check_report():
    """What an acceptance test wants to know, as far as a program can see it."""
    env, roots = simulator("report")
    with step("probe --report: what the sensor delivered in three seconds, and who it is"):
        text = run("probe", "--report", "--seconds", 3, *roots, env=env)
        rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]*) \|$", text, re.M))
        need(rows["sensor's serial number"] == SERIAL, rows)
        frames, seconds, rate = map(float, re.match(r"(\d+) in ([\d.]+) s: ([\d.]+) a second", rows["frames"]).groups())
        lost = sum(map(int, re.findall(r"\d+", rows["frames dropped, lost"])))
        need(abs(frames + lost - 90) <= 6 and abs(seconds - 3) < 0.5 and rate <= 31, rows)
        need(50 < float(rows["pixels with a depth"].rstrip(" %")) <= 100, rows)
        verdict = re.search(r"\*\*Verdict: (.*)\.\*\*", text)[1]
        good = lost == 0 and rate >= 29.5
        need(verdict == ("all that a program can see is well" if good else "frames come, but see above"), text)
    with step("probe --report: a sensor on USB 2 is not started, and the report says why"):
        env, roots = simulator("report-usb2", "usb2")
        text = run("probe", "--report", *roots, env=env, code=2)
        need("None: something stands in the way" in text and "| error | link | " in text, text)


def check_frames(known, frames=1800):
    with step(f"{frames} frames to three viewers, none missing, each equal to the offline decode"):
        with Sensor("frames") as server:
            server.until_streaming()
            with Stream(server, known) as stream, Python(server, known) as python:
                files, depths, end = sorted(DEPTH.iterdir()), 0, time.monotonic() + frames / 30 * 5 + PATIENCE
                by_number = {}
                while stream.frames() < frames and time.monotonic() < end:
                    need(stream.error is None and python.error is None, f"{stream.error}, {python.error}")
                    status, head, body = server.get("/depth.png")
                    by_number.update((number, which) for number, which, _ in stream.pictures[-100:])
                    number = int(head["X-Depthcast-Seq"]) if status == 200 else None
                    time.sleep(0.2)
                    by_number.update((number, which) for number, which, _ in stream.pictures[-100:])
                    which = by_number.get(number)
                    if which is not None:
                        file = files[which].read_bytes()
                        need(fingerprint(body) == fingerprint(file), f"the depth of frame {number} is not that of {files[which]}")
                        depths += 1
                state = server.state()
                usb = state["sensor"]["usb"]
                need(stream.frames() >= frames, f"only {stream.frames()} frames came: {state}")
                lost = usb["frames_dropped"] + usb["frames_lost"]
                told = f"{lost} frames lost by the sensor ({usb['packets_lost']} packets), the queue at its emptiest " \
                       f"{usb['queue_low']} of {usb['transfers']}"
                need(depths >= 10, f"only {depths} depth pictures could be compared")
                for name, pictures in (("stream", stream.pictures[:]), ("Python", python.pictures[:])):
                    need(all(which is not None for _, which, _ in pictures), f"{name}: a placeholder between frames")
                    missing, skipped = gaps(pictures)
                    # The Python protocol has no numbers: there the state has what the viewer was too slow for.
                    if name == "Python":
                        skipped = max(v["skipped"] for v in state["stream"]["clients_stat"].values()
                                      if v["protocol"] == "python")
                    need(missing <= lost + skipped, f"{name}: {missing} missing, {skipped} skipped, {told}")
                    told += f"; {name}: {len(pictures)} pictures, {skipped} skipped"
                numbers = [(number, dropped) for number, _, dropped in stream.pictures]
                need(all(b - a - 1 == dropped for (a, _), (b, dropped) in zip(numbers, numbers[1:])),
                     "a gap in the numbers that is not said")
                need(state["sensor"]["usb"]["serial"] == SERIAL, f"{state['sensor']}")
        print(f"        {told}; {depths} depth pictures compared", flush=True)


def check_stop():
    with step("TERM while streaming stops the sensor and exits with 0 within a second"):
        with Sensor("stop") as server:
            server.until_streaming()
        need("has not stopped in time" not in server.log(), server.log())


def check_record(known):
    folder = OUT / "kinect-recording"
    shutil.rmtree(folder, ignore_errors=True)
    env, roots = simulator("record")
    with step("record writes the sensor's frames to the bit, and replay plays them"):
        said = run("record", "-o", folder, "--frames", 20, *roots, env=env)
        need("20 frames" in said, said)
        frames = sorted(folder.glob("*.depth"))
        names = [frame.stem.split("_") for frame in frames]
        need(len(frames) == 20 and [int(n[0]) for n in names] == list(range(1, 21)), f"{frames}")
        originals = {hashlib.sha256(f.read_bytes()).digest(): n for n, f in enumerate(sorted(FRAMES.glob("*.depth")))}
        for frame, (_, timestamp, sequence) in zip(frames, names):
            need(hashlib.sha256(frame.read_bytes()).digest() in originals, f"{frame} is no frame of the sensor's")
            need(int(timestamp) >= 0 and int(sequence) >= 0, f"{frame}")
        need((folder / "p0.bin").read_bytes() == (FRAMES / "p0.bin").read_bytes(), "p0.bin is not what the sensor said")
        lens, given = (json.loads((f / "ir_params.json").read_text()) for f in (folder, FRAMES))
        need(all(abs(lens[key] - given[key]) < 1e-4 * abs(given[key]) + 1e-6 for key in given), f"{lens}, not {given}")
        need(not list(folder.glob("*.part")), "half a file")
        with Server("kinect-replay", "run", "--source", f"replay:{folder}", *RANGE) as server:
            with Viewer(server) as viewer:
                png = viewer.ask().tobytes()
                need(fingerprint(png) in known, "the recording shows something else")
        run("record", "-o", folder, "--frames", 1, *roots, env=env, code=2)
    with step("record ends in good order when it is interrupted"):
        shutil.rmtree(folder)
        env, roots = simulator("record")
        process = subprocess.Popen([BINARY, "record", "-o", folder, *roots], env={**os.environ, **env},
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        end = time.monotonic() + PATIENCE
        while len(list(folder.glob("*.depth"))) < 3 and time.monotonic() < end:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        said, complained = process.communicate(timeout=PATIENCE)
        need(process.returncode == 0, f"{process.returncode}: {complained}")
        need(f"{len(list(folder.glob('*.depth')))} frames" in said, said)
    with step("record says why there is no sensor, and exits with 2"):
        shutil.rmtree(folder)
        env, roots = simulator("record", "usb2")
        run("record", "-o", folder, "--frames", 1, *roots, env=env, code=2)


def outage(known, name, faults, words, *, ready=None):
    """Frames, the placeholder with one of these words, and frames again; both viewers stay."""
    with step(f"{faults}: frames, {' or '.join(words)}, and frames again, without anybody reconnecting"):
        with Sensor(name, faults) as server, Stream(server, known) as stream, Python(server, known) as python:
            before = server.until_streaming()[0]["depth"]["seq"]
            state, _ = server.until("gone", lambda s: not s["source"]["online"])
            seen = {state["sensor"]["state"]}
            reasons = {state["sensor"]["reason"]}
            gone = state["depth"]["seq"]
            need(gone >= before, f"the numbers went from {before} to {gone}")
            told = ""
            end = time.monotonic() + PATIENCE
            while time.monotonic() < end and not state["source"]["online"]:
                status, _, body = server.get("/readyz")
                told = body.decode() if status == 503 and ready and ready in body.decode() else told
                state = server.state()
                if not state["source"]["online"]:
                    seen.add(state["sensor"]["state"])
                    reasons.add(state["sensor"]["reason"])
                time.sleep(0.02)
            need(state["source"]["online"], f"the frames do not come back: {seen}, {server.log()[-500:]}")
            need(seen & set(words), f"the state was {seen}, not one of {words}")
            need(ready is None or told, f"/readyz never said {ready}: {reasons}")
            after = server.until_streaming(gone + 5)[0]
            need(after["sensor"]["reopened"] >= 1, f"{after['sensor']}")
            need(stream.error is None and python.error is None, f"{stream.error}, {python.error}")
            # Both saw frames, the placeholder, and frames.
            end = time.monotonic() + PATIENCE
            for viewer in (stream, python):
                shape = []
                while time.monotonic() < end and shape[:3] != [True, False, True]:
                    kinds = [which is not None for _, which, _ in viewer.pictures]
                    shape = [kind for n, kind in enumerate(kinds) if n == 0 or kinds[n - 1] != kind]
                    # A viewer that came before the first frame may have begun with a placeholder.
                    shape = shape[1:] if shape[:1] == [False] else shape
                    time.sleep(0.05)
                need(shape[:3] == [True, False, True], f"{type(viewer).__name__} saw {shape}")
            numbers = [number for number, which, _ in stream.pictures if which is not None]
            need(numbers == sorted(set(numbers)), "the numbers do not rise")


def refusal(known, name, faults, word, part):
    """The placeholder, at once and for good, with this reason."""
    with step(f"{faults}: served at once, and the placeholder says {word}"):
        with Sensor(name, faults) as server, Stream(server, known) as stream, Python(server, known) as python:
            state, _ = server.until_word(word)
            need(part in state["sensor"]["reason"], f"{state['sensor']}")
            status, _, body = server.get("/readyz")
            need(status == 503, f"/readyz says {status}")
            end = time.monotonic() + PATIENCE
            while time.monotonic() < end and part not in body.decode():
                time.sleep(0.1)
                status, _, body = server.get("/readyz")
            need(part in body.decode(), f"/readyz says {body}")
            need(server.get("/depth.png")[0] == 503 and server.get("/snapshot")[0] == 200, "depth from nowhere")
            while time.monotonic() < end and not (stream.pictures and python.pictures):
                time.sleep(0.05)
            need(stream.pictures and python.pictures, "a viewer waits in vain")
            need(stream.frames() == python.frames() == 0, "a frame from nowhere")
            need(part in server.log(), f"the log does not say it: {server.log()}")


def check_loss(known):
    with step("loss=0.01: frames that lack a packet are dropped, all others are whole"):
        with Sensor("loss", "seed=1 loss=0.01") as server, Stream(server, known) as stream:
            server.until_streaming(60)
            usb = server.sensor()["usb"]
            need(usb["packets_lost"] > 0 and usb["sub_images_damaged"] > 0 and usb["frames_dropped"] > 0, f"{usb}")
            need(stream.error is None and stream.frames() > 0, f"{stream.error}")


def check_infrared(known):
    with step("infrared is decoded while somebody wants it, depth stays as it is, and the lens is the sensor's"):
        with Sensor("infrared") as server, Stream(server, known) as stream:
            server.until_streaming(5)
            need(server.state()["counters"]["made"]["infrared"] == 0, "infrared that nobody asked for")
            status, head, body = server.get("/ir.png")
            need(status == 200 and head["X-Depthcast-Online"] == "true", f"{status} {head['X-Depthcast-Online']}")
            image = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_GRAYSCALE)
            need(image.shape == (424, 512) and image.std() > 5, f"no picture: {image.shape}, {image.std():.1f}")
            config = json.loads(server.get("/config.json")[2])
            need(config["infrared"] is True and 300 < config["intrinsics"]["fx"] < 450, f"{config['intrinsics']}")
            seq = server.state()["depth"]["seq"]
            server.until_streaming(seq + 10)
            need(stream.error is None and stream.frames() > 0, f"{stream.error}")


def check_slow(known):
    with step("slow-replies=200ms: it starts, only later"):
        with Sensor("slow", "slow-replies=200ms") as server, Stream(server, known) as stream:
            server.until_streaming(5)
            need(server.sensor()["usb"]["restarts"] == 0, f"{server.sensor()}")
            need(stream.error is None, f"{stream.error}")


def check_slow_host(known):
    with step("slow-host=3000ms: a host controller that dies keeps nobody waiting but the sensor"):
        with Sensor("slow-host") as server, Stream(server, known) as stream, Python(server, known) as python:
            seq = server.until_streaming()[0]["depth"]["seq"]
            server.give("wedge slow-host=3000")
            longest, end = 0.0, time.monotonic() + 12
            words = set()
            while time.monotonic() < end:
                begin = time.monotonic()
                words.add(server.sensor()["state"])
                longest = max(longest, time.monotonic() - begin)
                time.sleep(0.02)
            # Its calls take 3 s each, and it never learns that they are in vain.
            need(longest < 2.5, f"the loop stood still for {longest:.1f} s")
            need("silent" in words, f"{words}")
            server.give("")
            server.until_streaming(seq + 10)
            need(stream.error is None and python.error is None, f"{stream.error}, {python.error}")
            print(f"  the longest answer took {1000 * longest:.0f} ms; {', '.join(sorted(words))}")


def check_reload(known):
    with step("HUP: depths are clipped at once, the queue needs a restart, and the sensor is not touched"):
        config = OUT / "kinect.toml"
        config.write_text("[kinect]\nmax_mm = 4500\n")
        with Sensor("reload", "", "--config", str(config)) as server, Stream(server, known) as stream:
            seq = server.until_streaming()[0]["depth"]["seq"]
            config.write_text("[kinect]\nmax_mm = 600\ntransfers = 50\n")
            server.process.send_signal(signal.SIGHUP)
            end = time.monotonic() + WAIT
            while "kinect.max_mm" not in server.log() and time.monotonic() < end:
                time.sleep(0.05)
            need("changed: kinect.max_mm" in server.log(), server.log())
            need("only a restart brings it: kinect.transfers" in server.log(), server.log())
            server.until_streaming(seq + 10)
            usb = server.sensor()["usb"]
            need((usb["resets"], usb["restarts"], usb["transfers"]) == (1, 0, 60), f"{usb}")
            clipped = server.get("/depth.png")[2]
            need(clipped not in [f.read_bytes() for f in DEPTH.iterdir()], "nothing changed")
            need(len(clipped) < 20_000, f"{len(clipped)} bytes of depth up to 0.6 m in a car park")
            # Its pictures are none of those known; that is its only complaint.
            need(stream.error is None or "a picture of no frame" in stream.error, f"{stream.error}")
            stream.stopped, stream.error = True, None


def resources(pid):
    """Descriptors, threads and resident KiB of a process."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    field = lambda name: int(status.split(f"{name}:")[1].split()[0])
    return len(os.listdir(f"/proc/{pid}/fd")), field("Threads"), field("VmRSS")


def check_leaks(replugs=int(os.environ.get("KINECT_REPLUGS", "40"))):
    with step(f"{replugs} quick replugs: no descriptor, thread or memory is left behind"):
        with Sensor("leaks", "unplug@4+0.1/1.5") as server, Viewer(server) as viewer:
            server.until_streaming()
            pid, steady, end = server.process.pid, None, time.monotonic() + replugs * 6 + PATIENCE
            viewer.socket.settimeout(PATIENCE)
            last, seen = 0, []
            while time.monotonic() < end:
                viewer.ask()
                sensor = server.sensor()
                resets = sensor["usb"]["resets"]
                if resets >= last + 10 and sensor["state"] == "streaming":
                    last = resets
                    # The helper thread comes and goes: the least of a few looks counts.
                    looks = []
                    for _ in range(10):
                        looks.append(resources(pid))
                        time.sleep(0.02)
                    least = tuple(min(values) for values in zip(*looks))
                    seen.append(least)
                    steady = steady or (least if resets >= 20 else None)
                if last >= replugs:
                    break
                time.sleep(0.02)
            need(last >= replugs, f"only {last} replugs: {server.log()[-500:]}")
            descriptors, threads, memory = seen[-1]
            need(descriptors <= steady[0] and threads <= steady[1], f"from {steady} to {seen[-1]}: {seen}")
            need(memory <= steady[2] + 2048, f"from {steady[2]} to {memory} KiB: {seen}")
            need(server.state()["stream"]["clients"] == 1, "the viewer is gone")
        print(f"        {last} times opened; {descriptors} descriptors, {threads} threads, {steady[2]} to {memory} KiB",
              flush=True)


def proofs(known):
    """Name and proof, in the order in which they are worth reading."""
    return {
        "probe": check_probe,
        "frames": lambda: check_frames(known),
        "stop": check_stop,
        "report": check_report,
        "record": lambda: check_record(known),
        "unplug": lambda: outage(known, "unplug", "unplug@10+4/14", {"disconnected", "not_found", "no_power"},
                                 ready="plug"),
        "wedge": lambda: outage(known, "wedge", "wedge@10+100/110", {"silent", "no_frames", "no_reply"}),
        "silent": lambda: outage(known, "silent", "silent@10+100/110", {"no_frames"}),
        "infrared": lambda: check_infrared(known),
        "loss": lambda: check_loss(known),
        "slow": lambda: check_slow(known),
        "slow-host": lambda: check_slow_host(known),
        "never-ready": lambda: refusal(known, "never-ready", "never-ready", "not_ready", "does not get ready"),
        "stuck": lambda: refusal(known, "stuck", "stuck", "stuck", "status 0x0400"),
        "no-permission": lambda: refusal(known, "no-permission", "no-permission", "no_permission", "no permission"),
        "usb2": lambda: refusal(known, "usb2", "usb2", "slow_link", "480 Mbit/s"),
        "owned": lambda: refusal(known, "owned", "owned", "owned_by_other", "in use by"),
        "memory": lambda: refusal(known, "memory", "usbfs-memory=8", "usbfs_memory", "usbfs_memory_mb"),
        "reload": lambda: check_reload(known),
        "leaks": check_leaks,
    }


def body():
    """The simulated sensor below the server."""
    need(os.path.exists(LIBRARY), f"no simulator at {LIBRARY}")
    known = prepare()
    all_proofs = proofs(known)
    for name in sys.argv[1:] or all_proofs:
        need(name in all_proofs, f"no such proof: {name}; there are {', '.join(all_proofs)}")
        all_proofs[name]()


if __name__ == "__main__":
    main(body)
