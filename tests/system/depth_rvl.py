"""RVL from the server, recorded frames and made-up ones, bit for bit as the package `rvl` writes it and read by `re_rvl`.

    depth_rvl.py FOLDER       leaves NAME.rvl and NAME.raw of each frame there, for the decoder in Rust
"""

import array
import pathlib
import shutil
import struct
import sys
import urllib.request

import cv2
import numpy
import rvl
from harness import DATA, Server, main, need, step

WIDTH, HEIGHT = 512, 424
# What the package takes for negative, and writes otherwise.
SIGNED_MAX = 32767
FOLDER = pathlib.Path(sys.argv[1])


def invented():
    """Frames that no sensor gives, by name."""
    chance = numpy.random.default_rng(1)
    noise = lambda top: chance.integers(0, top + 1, (HEIGHT, WIDTH)).astype(numpy.uint16)
    full = lambda value: numpy.full((HEIGHT, WIDTH), value, numpy.uint16)
    rows, columns = numpy.mgrid[0:HEIGHT, 0:WIDTH]
    yield "nothing", full(0)
    yield "one", full(1)
    yield "largest-signed", full(SIGNED_MAX)
    yield "largest", full(65535)
    yield "noise-signed", noise(SIGNED_MAX)
    yield "noise", noise(65535)
    yield "small-steps", 1000 + noise(3)
    yield "every-other", ((rows + columns) % 2 * 8000).astype(numpy.uint16)
    yield "far-apart", numpy.where((rows + columns) % 2, 1, 65535).astype(numpy.uint16)
    yield "slope", (500 + 9 * columns + rows).astype(numpy.uint16)
    yield "gaps", numpy.where(noise(9) < 3, 0, 700 + noise(3000)).astype(numpy.uint16)
    last = full(0)
    last[-1, -1] = 65535
    yield "last-pixel", last


def frames_of(folder):
    """Name and depth of each PNG, in the order in which they are served."""
    for path in sorted(folder.glob("*.png")):
        yield path.stem, cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def fetch(server):
    """Sequence number and body of the next frame."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/depth.rvl", timeout=10) as answer:
        return int(answer.headers["X-Depthcast-Seq"]), answer.read()


def compare(folder):
    """Serves a folder and returns how many frames were compared, and how many of them with the package."""
    frames = list(frames_of(folder))
    written = 0
    # At pace 0 each request is for a frame of its own.
    with Server("rvl", "run", "--source", f"replay:{folder}", "--fps", "0") as server:
        for _ in frames:
            seq, body = fetch(server)
            name, depth = frames[(seq - 1) % len(frames)]
            need(struct.unpack("<IffII", body[:20]) == (0, 0.0, 0.0, WIDTH, HEIGHT), f"{name}: {body[:20].hex()}")
            if depth.max() <= SIGNED_MAX:
                theirs = bytes(rvl.compress(array.array("h", depth.tobytes())))
                # The package has a head of its own, the number of pixels.
                need(theirs[:4] == struct.pack("<I", WIDTH * HEIGHT), f"{name}: {theirs[:4].hex()}")
                need(body[20:] == theirs[4:], f"{name}: {len(body) - 20} bytes, and {len(theirs) - 4} by the package")
                written += 1
            (FOLDER / f"{name}.rvl").write_bytes(body)
            (FOLDER / f"{name}.raw").write_bytes(depth.astype("<u2").tobytes())
    return len(frames), written


def body():
    """RVL, bit for bit."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    pictures = FOLDER / "pictures"
    pictures.mkdir(parents=True)
    for name, depth in invented():
        need(cv2.imwrite(str(pictures / f"{name}.png"), depth), f"cannot write {name}")
    with step("made-up frames"):
        every, written = compare(pictures)
        need((every, written) == (12, 8), f"{written} of {every}: what the package can write has changed")
    if not (DATA / "depth").is_dir():
        print(f"  SKIPPED recorded frames: no {DATA / 'depth'}")
        return
    with step("recorded frames"):
        every, written = compare(DATA / "depth")
        need(every == written > 50, f"{written} of {every} recorded frames")
        print(f"      {every} of them")


main(body)
