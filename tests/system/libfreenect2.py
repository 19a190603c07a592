"""The appliance over libfreenect2 over the simulated sensor: viewers, faults, and what it costs beside the native driver.

Started by libfreenect2.sh, which says where everything is. Arguments are the parts to run.
"""

import array
import json
import os
import pathlib
import shutil
import signal
import sys
import time
import urllib.error
import urllib.request
import zlib

from harness import HEAD, OUT, Server, Viewer, main, need, step

LIBRARIES = os.environ["LF2_LIBRARIES"]
FRAMES = pathlib.Path(os.environ["LF2_FRAMES"])
PICTURES = pathlib.Path(os.environ["LF2_PICTURES"])
LAB = pathlib.Path(os.environ["LF2_LAB"])
WIDTH, HEIGHT = 512, 424
SECONDS = 20  # of each measurement


def server(name, pipeline, *arguments, faults="", frames=FRAMES, source="libfreenect2"):
    """The appliance over the library."""
    config = LAB / f"{pipeline}.toml"
    config.write_text(f'libfreenect2.pipeline = "{pipeline}"\n')
    prefix = ["env", f"LD_LIBRARY_PATH={LIBRARIES}", f"KINECT2_SIM_FRAMES={frames}", f"KINECT2_SIM_FAULTS={faults}"]
    return Server(name, "run", "--config", str(config), "--source", source, *arguments, prefix=prefix)


def native(name, frames=FRAMES):
    """The same without the library: the driver over the simulated usbfs."""
    root = LAB / "usbfs"
    shutil.rmtree(root, ignore_errors=True)
    prefix = ["env", f"LD_PRELOAD={os.environ['LF2_USBFS']}", f"KINECT2_SIM_ROOT={root}"]
    prefix += [f"KINECT2_SIM_FRAMES={frames}", "KINECT2_SIM_PROGRAM=depthcast", f"LD_LIBRARY_PATH={LIBRARIES}"]
    return Server(name, "run", "--source", "kinect", "--sysfs", f"{root}/sys", "--devfs", f"{root}/dev", prefix=prefix)


def way(name, part, frames=FRAMES):
    """One of the three ways."""
    label = f"lf2-{part}-{name}"
    return native(label, frames) if name == "native" else server(label, name, frames=frames)


def get(server, path):
    """Status, fields and body."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=10) as reply:
            return reply.status, reply.headers, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def state(server):
    """What /state says."""
    return json.loads(get(server, "/state")[2])["result"]


def until(what, truth, seconds=15):
    """Waits for something; its value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := truth():
            return value
        time.sleep(0.05)
    need(False, f"not within {seconds} s: {what}")


def online(server):
    """The sequence number of a live picture, 0 for the placeholder."""
    _, fields, body = get(server, "/snapshot.png")
    need(body.startswith(b"\x89PNG"), "no PNG")
    return int(fields["X-Depthcast-Seq"]) if fields["X-Depthcast-Online"] == "true" else 0


def message(viewer):
    """One reply to an old viewer, not unpickled."""
    viewer.send(b"0")
    length, text = HEAD.unpack(viewer.exactly(HEAD.size))
    need(text.startswith(b"Cam_Info_List"), "not its text")
    return viewer.exactly(length)


def pixels_of(png):
    """Samples of a PNG with one of 8 or 16 bits per pixel, by a decoder that shares nothing with ours."""
    need(png.startswith(b"\x89PNG"), "no PNG")
    at, data = 8, b""
    while at < len(png):
        length, kind = int.from_bytes(png[at : at + 4], "big"), png[at + 4 : at + 8]
        if kind == b"IDAT":
            data += png[at + 8 : at + 8 + length]
        at += 12 + length
    wide = png[24] // 8
    raw, stride = zlib.decompress(data), WIDTH * wide
    need(len(raw) == HEIGHT * (stride + 1), "another size")
    above, out = bytearray(stride), bytearray()
    for row in range(HEIGHT):
        begin = row * (stride + 1)
        kind, line = raw[begin], bytearray(raw[begin + 1 : begin + 1 + stride])
        for i in range(stride if kind else 0):
            left = line[i - wide] if i >= wide else 0
            corner = above[i - wide] if i >= wide else 0
            if kind == 1:
                add = left
            elif kind == 2:
                add = above[i]
            elif kind == 3:
                add = (left + above[i]) // 2
            else:
                guess = left + above[i] - corner
                near = [abs(guess - left), abs(guess - above[i]), abs(guess - corner)]
                add = (left, above[i], corner)[near.index(min(near))]
            line[i] = (line[i] + add) & 255
        out += line
        above = line
    pixels = array.array("BH"[wide - 1], bytes(out))
    pixels.byteswap()
    return pixels


def truths():
    """True depths in mm of the frames that are sent, in their order."""
    found = []
    for frame in sorted(FRAMES.glob("*.depth")):
        truth = frame.with_suffix(".truth")
        if truth.exists():
            found.append(array.array("f", truth.read_bytes()))
    if not found and PICTURES.is_dir():
        found = [pixels_of(picture.read_bytes()) for picture in sorted(PICTURES.glob("*.png"))]
    return found


def errors(depth, truth):
    """Differences in mm where both have depth, and the share of true depths that were found."""
    wanted = [i for i in range(len(truth)) if 500 <= truth[i] <= 4500]
    both = [i for i in wanted if depth[i]]
    return [depth[i] - truth[i] for i in both], len(both) / max(1, len(wanted))


def one_frame(frame):
    """A folder for a sensor that sees nothing else."""
    alone = LAB / "alone"
    shutil.rmtree(alone, ignore_errors=True)
    alone.mkdir()
    for file in (frame, FRAMES / "p0.bin", FRAMES / "ir_params.json"):
        (alone / file.name).symlink_to(file.resolve())
    return alone


def pictures(name):
    """What becomes of each frame when the sensor sees nothing else."""
    seen = []
    for frame in sorted(FRAMES.glob("*.depth")):
        with way(name, "alone", one_frame(frame)) as one:
            until("a live picture", lambda: online(one), 30)
            seen.append(pixels_of(get(one, "/depth.png")[2]))
    return seen


def accuracy(seen, truth):
    """Errors in mm, median and 95th percentile: of all, and of the 40 rows at either edge; the share that was found."""
    near, shares, edge = [], [], []
    for depth, true in zip(seen, truth):
        found, share = errors(depth, true)
        near += [abs(mm) for mm in found]
        shares.append(share)
        rows = 40 * WIDTH
        for part in (slice(0, rows), slice(len(depth) - rows, None)):
            edge += [abs(mm) for mm in errors(depth[part], true[part])[0]]
    near.sort()
    edge.sort()
    at = lambda values, share: values[int(share * (len(values) - 1))] if values else float("nan")
    return at(near, 0.5), at(near, 0.95), at(edge, 0.5), at(edge, 0.95), sum(shares) / len(shares)


def threads(pid):
    """Processor seconds of each thread, by its name."""
    used = {}
    tick = os.sysconf("SC_CLK_TCK")
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        text = (task / "stat").read_text()
        name, rest = text[text.index("(") + 1 : text.rindex(")")], text[text.rindex(")") + 2 :].split()
        own = name if task.name != str(pid) else "loop"
        used[own] = used.get(own, 0.0) + (int(rest[11]) + int(rest[12])) / tick
    return used


def behaviour():
    """Viewers of both protocols, a sensor that is late, that goes, that is another one."""
    for pipeline in ("raw", "cpu"):
        with step(f"{pipeline}: frames reach both kinds of viewers"), server(f"lf2-{pipeline}", pipeline) as one:
            first = until("a live picture", lambda: online(one))
            with Viewer(one) as viewer:
                payloads = [message(viewer) for _ in range(5)]
            need(len(set(payloads)) > 1, "always the same picture")
            need(online(one) > first, "numbers do not rise")
            need(get(one, "/depth.png")[0] == 200, "no depth")
            usb = state(one)["sensor"]["usb"]
            need(usb["pipeline"] == pipeline and usb["serial"] == "005697142447", f"{usb}")
            need(usb["frames_bad"] == 0, f"{usb}")
            said = "cpu uses the X and Z tables upside down" in one.log()
            need(said == (pipeline == "cpu"), f"the log of {pipeline}: {one.log()}")
    for pipeline in ("raw", "cpu"):
        with step(f"{pipeline}: unplugged and plugged in again, nobody reconnects"):
            with server(f"lf2-unplug-{pipeline}", pipeline, faults="unplug@5+4") as one, Viewer(one) as viewer:
                before = until("a live picture", lambda: online(one))
                message(viewer)
                begun = time.monotonic()
                until("the placeholder", lambda: not online(one))
                lost = time.monotonic() - begun
                until("the reason", lambda: state(one)["sensor"]["state"] == "not_found")
                # It turns two seconds after the last frame.
                until("not ready", lambda: get(one, "/readyz")[0] == 503, 3)
                need(get(one, "/depth.png")[0] == 503, "depth without a sensor")
                message(viewer)
                after = until("a live picture again", lambda: online(one))
                message(viewer)
                need(after > before, "numbers began anew")
                now = state(one)["sensor"]
                need(now["reopened"] == 1 and now["usb"]["resets"] >= 2, f"{now}")
                need(lost < 8, f"{lost:.1f} s until the placeholder")
    with step("infrared: the native driver's picture by raw, within a grey level by cpu; the lens is the sensor's"):
        alone = one_frame(sorted(FRAMES.glob("*.depth"))[0])
        seen = {}
        for name in ("native", "raw", "cpu"):
            with way(name, "infrared", alone) as one:
                until("a live picture", lambda: online(one), 30)
                status, fields, body = get(one, "/ir.png")
                need(status == 200 and fields["X-Depthcast-Online"] == "true", f"{name}: {status} {fields}")
                config = json.loads(get(one, "/config.json")[2])
                need(config["infrared"] is True, f"{name}: {config}")
                seen[name] = pixels_of(body), config["intrinsics"]
                need(get(one, "/depth.png")[0] == 200, f"{name}: no depth beside infrared")
        (native, lens), (raw, raw_lens), (cpu, cpu_lens) = seen.values()
        need(max(native) - min(native) > 50, "a picture of nothing")
        need(raw == native, "raw frames through the library become another picture")
        off = [abs(a - b) for a, b in zip(cpu, native)]
        need(max(off) <= 1, f"cpu is up to {max(off)} levels off, {sum(o > 1 for o in off)} pixels by more than one")
        need(lens and raw_lens == lens and cpu_lens == lens, f"{lens} {raw_lens} {cpu_lens}")
    with step("no sensor at start: served all the same, and the picture comes when it is plugged in"):
        with server("lf2-late", "raw", faults="unplug@0+5") as one:
            need(not online(one), "a picture without a sensor")
            until("the reason", lambda: state(one)["sensor"]["state"] == "not_found", 3)
            until("a live picture", lambda: online(one))
    with step("cpu: new settings on HUP reach the library's decoder, again and again, and memory does not grow"):
        with server("lf2-reload", "cpu") as one:
            until("a live picture", lambda: online(one))
            sizes = []
            for turn in range(12):
                least = (500, 2500)[turn % 2 == 0]
                config = f'libfreenect2.pipeline = "cpu"\nkinect.min_mm = {least}\n'
                (LAB / "cpu.toml").write_text(config)
                one.process.send_signal(signal.SIGHUP)
                until("it is opened again", lambda: state(one)["sensor"]["usb"]["resets"] >= turn + 2)

                def obeyed():
                    status, _, body = get(one, "/depth.png")
                    return status == 200 and (min(mm for mm in pixels_of(body) if mm) >= 2500) == (least == 2500)

                until("depths within the new range", obeyed)
                pages = int(pathlib.Path(f"/proc/{one.process.pid}/statm").read_text().split()[1])
                sizes.append(pages * os.sysconf("SC_PAGESIZE") >> 20)
            # What the allocator keeps goes up and down by 40 MiB; what leaks raises the floor, by a dozen MiB each time.
            need(min(sizes[6:]) <= min(sizes[1:6]) + 16, f"MiB resident after each: {sizes}")
            print(f"      MiB resident after each of {len(sizes)}: {sizes}")
    with step("a serial number that is not there is named, one that is there is taken"):
        with server("lf2-serial", "raw", source="libfreenect2:111") as one:
            until("the reason", lambda: state(one)["sensor"]["state"] == "serial_not_found")
            need("serial 111" in state(one)["sensor"]["reason"], "it does not say which")
        with server("lf2-named", "raw", source="libfreenect2:005697142447") as one:
            until("a live picture", lambda: online(one))


def figures():
    """The same frames three ways, one after the other, one old viewer that asks all the time."""
    truth = truths()
    print(f"  {len(truth)} frames with their truth, {SECONDS} s each, {os.cpu_count()} processors; load {os.getloadavg()}")
    need(truth, "no true depths beside the frames")
    seen = {name: pictures(name) for name in ("native", "raw", "cpu")}
    need(seen["native"] == seen["raw"], "raw frames through the library become other depths")
    print("  native and raw: the same depths, pixel for pixel")
    rows = []
    for name in seen:
        accurate = accuracy(seen[name], truth)
        with way(name, "figures") as one:
            until("a live picture", lambda: online(one), 30)
            pid = one.process.pid
            simulated = lambda: [int(n) / 1e6 for n in (LAB / "usbfs/cpu").read_text().split()]
            # It is written about once a second.
            sim = until("the simulator's own time", (LAB / "usbfs/cpu").exists) and simulated() if name == "native" else None
            frames, used, begun = state(one)["counters"]["captured"], threads(pid), time.monotonic()
            with Viewer(one) as viewer:
                while time.monotonic() < begun + SECONDS:
                    message(viewer)
            elapsed = time.monotonic() - begun
            frames = state(one)["counters"]["captured"] - frames
            used = {thread: seconds - used.get(thread, 0.0) for thread, seconds in threads(pid).items()}
            need(frames > 0, "no frames")
            loop = used.pop("loop")
            others = sum(used.values())
            if sim:
                # The third number: of the simulator inside ioctl, which is the loop's thread. The rest is its own thread.
                loop -= simulated()[2] - sim[2]
                others = 0.0
            detail = ", ".join(f"{thread} {1000 * seconds / frames:.1f}" for thread, seconds in sorted(used.items()) if seconds > 0.005 * elapsed)
            rows.append((name, frames / elapsed, 1000 * loop / frames, 1000 * others / frames, accurate, detail))
    print("| | frames/s | loop, ms/frame | library, ms/frame | error median, 95 % | in the outer 40 rows | depths found |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, rate, loop, others, (half, most, edge_half, edge_most, share), _ in rows:
        right = f"{half:.1f}, {most:.1f} mm | {edge_half:.1f}, {edge_most:.1f} mm | {100 * share:.1f} %"
        print(f"| {name} | {rate:.1f} | {loop:.1f} | {others:.1f} | {right} |")
    for name, *_, detail in rows:
        print(f"  {name}: threads beside the loop, ms/frame: {detail}")
    print("  library: its threads, and in them the simulated libusb; of native the simulated kernel is left out")


def body():
    """libfreenect2 over the simulated sensor."""
    parts = sys.argv[1:]
    if "behaviour" in parts:
        behaviour()
    if "figures" in parts:
        figures()


main(body)
