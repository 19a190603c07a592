"""Our PNGs as others read them. Run by png.sh, with numpy, OpenCV, Pillow and pngcheck."""

import hashlib
import http.client
import io
import shutil
import subprocess

import cv2
import numpy as np
from PIL import Image

from harness import DATA, OUT, WAIT, Server, main, need, step

RANGES = (1500, 4500, 8000)
SHAPE = (424, 512)


def made_up():
    """What no sensor delivers: {name: depth}."""
    random = np.random.default_rng(1)
    place = np.add.outer(np.arange(SHAPE[0]), np.arange(SHAPE[1]))
    return {
        "noise-of-all-values": random.integers(0, 65536, SHAPE),
        "noise-of-few-values": 1000 + random.integers(0, 8, SHAPE),
        "noise-in-spots": np.where(random.random(SHAPE) < 0.02, random.integers(0, 65536, SHAPE), 900),
        "flat-nothing": np.zeros(SHAPE),
        "flat-near": np.full(SHAPE, 700),
        "flat-most": np.full(SHAPE, 65535),
        "both-ends-in-turn": place % 2 * 65535,
        "slope": place * 8,
        "columns": np.broadcast_to(np.arange(SHAPE[1]) * 37 % 9000, SHAPE),
        "rows": np.broadcast_to((np.arange(SHAPE[0]) * 4099 % 65536)[:, None], SHAPE),
        "one-pixel": np.where(place == 0, 65535, 0),
        "last-pixel": np.where(place == SHAPE[0] + SHAPE[1] - 2, 1, 0),
    }


def sha(image):
    """Names an array by what is in it."""
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()


def get(server, path):
    """The body of a 200."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT)
    connection.request("GET", path)
    reply = connection.getresponse()
    body = reply.read()
    connection.close()
    need(reply.status == 200, f"{path}: {reply.status}")
    return body


def pngcheck(files):
    """Not a word but that they are good."""
    run = subprocess.run(["pngcheck", "-v", *map(str, files)], capture_output=True, text=True)
    said = run.stdout + run.stderr
    for word in ("warning", "error", "invalid", "private", "unknown"):
        bad = [line for line in said.splitlines() if word in line.lower() and not line.startswith("No errors")]
        need(not bad, f"pngcheck: {bad[:3]}")
    need(run.returncode == 0 and said.count("No errors detected") == len(files), f"pngcheck: {said[-500:]}")


def ask_for_all(server, path, expected, read, folder):
    """Asks until every picture of {SHA-256: name} came; each must be one of them, as all readers see it."""
    missing = set(expected)
    files = []
    for _ in range(4 * len(expected)):
        if not missing:
            break
        png = get(server, path)
        views = {name: sha(pixels) for name, pixels in read(png).items()}
        need(len(set(views.values())) == 1, f"{path}: the readers differ: {views}")
        seen = next(iter(views.values()))
        need(seen in expected, f"{path}: a picture of no frame")
        if seen in missing:
            missing.remove(seen)
            files.append(folder / f"{expected[seen]}.png")
            files[-1].write_bytes(png)
    need(not missing, f"{path}: {[expected[name] for name in missing]} never came")
    pngcheck(files)


def colours(png):
    """An indexed picture as RGB, by each reader."""
    opened = Image.open(io.BytesIO(png))
    need(opened.mode == "P" and "Comment" in opened.text, f"Pillow sees {opened.mode}, {opened.text}")
    bgr = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    return {"Pillow": np.asarray(opened.convert("RGB")), "OpenCV": bgr[:, :, ::-1]}


def millimetres(png):
    """A 16-bit picture, by each reader."""
    opened = Image.open(io.BytesIO(png))
    need(opened.mode.startswith("I;16"), f"Pillow sees {opened.mode}")
    return {
        "Pillow": np.asarray(opened).astype(np.uint16),
        "OpenCV": cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED),
    }


def recording(work):
    """A fresh folder in `work` that can be played, and the frames in it, recorded and made up, by their names."""
    shutil.rmtree(work, ignore_errors=True)
    source = work / "source"
    source.mkdir(parents=True)
    frames = {name: depth.astype(np.uint16) for name, depth in made_up().items()}
    recorded = sorted((DATA / "depth").glob("*.png"))
    if not recorded:
        print(f"  SKIPPED: no {DATA}/depth: only made-up frames; set DEPTHCAST_DATA", flush=True)
    frames.update({path.stem: cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in recorded})
    for name, depth in frames.items():
        need(cv2.imwrite(str(source / f"{name}.png"), depth), f"cannot write {name}")
    return source, frames


def run():
    """recorded frames and made-up ones are the same to pngcheck, Pillow and OpenCV, and what OpenCV paints"""
    print(f"  OpenCV {cv2.__version__}, Pillow {Image.__version__}")
    work = OUT / "png"
    source, frames = recording(work)
    for max_mm in RANGES:
        folder = work / str(max_mm)
        folder.mkdir()
        painted = {}
        for name, depth in frames.items():
            bgr = cv2.applyColorMap(cv2.convertScaleAbs(depth, alpha=255 / max_mm), cv2.COLORMAP_JET)
            painted[sha(bgr[:, :, ::-1])] = name
        server = Server(f"png-{max_mm}", "run", "--source", f"replay:{source}", "--fps", "0", "--max-mm", str(max_mm))
        with server, step(f"{len(painted)} pictures at 0-{max_mm} mm"):
            ask_for_all(server, "/snapshot?format=png", painted, colours, folder)
    folder = work / "depth"
    folder.mkdir()
    with Server("png-depth", "run", "--source", f"replay:{source}", "--fps", "0") as server:
        with step(f"{len(frames)} 16-bit pictures"):
            ask_for_all(server, "/depth.png", {sha(depth): name for name, depth in frames.items()}, millimetres, folder)
    # The program reads its own files back, with the `png` crate.
    with Server("png-again", "run", "--source", f"replay:{folder}", "--fps", "0") as server:
        with step("the same, read back by the server and sent as they are"):
            expected = {sha(depth.astype("<u2")) for depth in frames.values()}
            for _ in range(4 * len(frames)):
                raw = sha(np.frombuffer(get(server, "/depth.raw"), "<u2").reshape(SHAPE))
                expected.discard(raw)
                if not expected:
                    break
            need(not expected, f"{len(expected)} frames never came")


if __name__ == "__main__":
    main(run)
