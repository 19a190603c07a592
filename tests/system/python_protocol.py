"""The Python protocol against real Python, numpy and OpenCV. Run it with -W error: a warning is a failure.

Arguments: none. Environment: DEPTHCAST (the program), DEPTHCAST_DATA (the folder of recordings).
"""

import hashlib
import json
import pickle
import re
import socket
import struct
import sys
import time

import cv2
import numpy as np

from harness import DATA, WAIT, Failed, Server, Viewer, main, need, step

TEXT = re.compile(
    r"Cam_Info_List\n"
    r"    -UID: camera0x11\n"
    r"    -Name: camera01\n"
    r"    -Type: 3D Depth Camera\n"
    r"    -Location: Underground Parking\(B2\)\n"
    r"    -Resolution: 512X424\n"
    r"    -FrameRate: \d+fps\n"
    r"Event_Info_List\n"
    r"    -StartTime: (\d{4}:\d\d:\d\d:\d\d:\d\d:\d\d)\n"
    r"    -EndTime: (\d{4}:\d\d:\d\d:\d\d:\d\d:\d\d)\n"
    r"    -EventID: 0"
)


def sha(image):
    """Names a picture by its pixels."""
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()


def oracle(folder, golden):
    """What OpenCV makes of each file: {SHA-256 of the BGR picture: names}.

    The figures of the original Python server are compared too, so that an OpenCV that changed its mind is noticed.
    """
    pictures = {}
    recorded = json.loads(golden.read_text())
    for path in sorted(folder.glob("*.png")):
        depth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        need(depth is not None and depth.dtype == np.uint16 and depth.shape == (424, 512), f"{path}: not a depth frame")
        bgr = cv2.applyColorMap(cv2.convertScaleAbs(depth, alpha=255 / 1500), cv2.COLORMAP_JET)
        known = recorded.get(path.name) or recorded.get(path.stem)
        if known:
            need(known["bgr"] == sha(bgr), f"{path}: this OpenCV differs from the one the Python server ran on")
        pictures.setdefault(sha(bgr), []).append(path.name)
    need(pictures, f"{folder}: no PNG files")
    return pictures


def check_text(text):
    """The 280 bytes are the block of the specification, NUL-padded, and its times are those of now."""
    found = TEXT.fullmatch(text.decode().rstrip("\0"))
    need(found, f"another text block: {text!r}")
    need(found[1] == found[2], "before any event both times are the capture time")
    then = time.mktime(time.strptime(found[1], "%Y:%m:%d:%H:%M:%S"))
    need(abs(time.time() - then) < WAIT, f"{found[1]} is not the local time of a frame captured now")


def check_payload(array, payload, form):
    """The array is what the viewers expect, the bytes are what Python would have written."""
    need(type(array) is np.ndarray and array.dtype == np.uint8 and array.ndim == 1, f"unpickled to {array!r}")
    png = array.tobytes()
    need(png[:8] == b"\x89PNG\r\n\x1a\n", "not a PNG")
    if form == "compact":
        expected = b"cnumpy\nfrombuffer\n(B" + struct.pack("<I", len(png)) + png + b"VB\ntR."
    else:
        expected = pickle.dumps(np.array(array), 0)
        # Only the module of the constructor may differ: numpy 1 cannot load what numpy 2 writes.
        expected = expected.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n", 1)
    if payload != expected:
        at = next((i for i, (a, b) in enumerate(zip(payload, expected)) if a != b), min(len(payload), len(expected)))
        near = slice(max(0, at - 20), at + 20)
        raise Failed(f"{form}: byte {at} differs: {payload[near]!r}, Python writes {expected[near]!r}")


def identify(array, pictures):
    """The files that this picture can come from."""
    bgr = cv2.imdecode(array, cv2.IMREAD_COLOR)
    need(bgr is not None and bgr.shape == (424, 512, 3), "OpenCV cannot decode the picture")
    key = sha(bgr)
    need(key in pictures, "the pixels are not what OpenCV makes of any file of the folder")
    return key


def pictures_and_bytes(folder, pictures, form):
    """Every file arrives, each reply right in text, bytes and pixels."""
    with Server(f"python-{folder.parent.name}-{form}", "run", "--source", f"replay:{folder}", "--fps", "0",
                "--pickle", form) as server, Viewer(server) as viewer:
        files = sum(map(len, pictures.values()))
        seen = set()
        for _ in range(files + 5):
            array = viewer.ask()
            check_text(viewer.text)
            check_payload(array, viewer.payload, form)
            seen.add(identify(array, pictures))
        missing = [name for key, names in pictures.items() if key not in seen for name in names]
        need(not missing, f"not seen in {files + 5} replies: {missing}")
        viewer.send(b"1")
        viewer.closed()


def conversation(folder, pictures):
    """Commands: each byte is one, obeyed in order, and none harms another viewer."""
    arguments = ("run", "--source", f"replay:{folder}", "--fps", "0")
    with Server("python-commands", *arguments) as server, Viewer(server) as other:
        other.ask()

        with step("`00` in one segment: two replies, different frames"), Viewer(server) as viewer:
            viewer.send(b"00")
            first, second = (identify(viewer.reply(), pictures) for _ in range(2))
            need(first != second, "the same frame twice")

        with step("200 requests before the first read: 200 replies in order"), Viewer(server) as viewer:
            viewer.send(b"0" * 200)
            last = None
            for n in range(200):
                key = identify(viewer.reply(), pictures)
                need(key != last, f"reply {n} repeats the frame before")
                last = key

        with step("`1` closes this viewer only, after the replies owed; also before any `0`"):
            with Viewer(server) as viewer:
                viewer.send(b"01")
                viewer.reply()
                viewer.closed()
            with Viewer(server) as viewer:
                viewer.send(b"1")
                viewer.closed()
            other.ask()

        with step("an unknown byte closes this viewer only, with a reason in the log"):
            before = len(server.log())
            with Viewer(server) as viewer:
                viewer.ask()
                viewer.send(b"x")
                viewer.closed()
            with Viewer(server) as viewer:
                viewer.send(b"x")
                viewer.closed()
            time.sleep(0.1)
            need("closed: " in server.log()[before:], "no reason in the log")
            other.ask()

        with step("after a half-close the replies owed still come, then the end"), Viewer(server) as viewer:
            viewer.send(b"000")
            viewer.socket.shutdown(socket.SHUT_WR)
            for _ in range(3):
                identify(viewer.reply(), pictures)
            viewer.closed()

        with step("a viewer that vanishes mid-reply harms nobody"):
            for _ in range(5):
                with Viewer(server) as viewer:
                    viewer.send(b"0" * 20)
                    viewer.socket.recv(1000)
            other.ask()

        with step("`2` from loopback stops the server with exit code 0"):
            with Viewer(server) as viewer:
                viewer.send(b"2")
                need(server.process.wait(WAIT) == 0, f"exit code {server.process.returncode}")
            other.closed()
    with step("`2` behind a `0`: the picture first, then the stop"):
        with Server("python-stop", *arguments) as server, Viewer(server) as viewer:
            viewer.send(b"02")
            viewer.reply()
            need(server.process.wait(WAIT) == 0, f"exit code {server.process.returncode}")

    with step("a `0` waits for a frame that this viewer has not had"):
        with Server("python-pace", "run", "--source", f"replay:{folder}", "--fps", "20") as server, Viewer(server) as viewer:
            viewer.ask()
            start = time.monotonic()
            last = None
            for _ in range(20):
                key = identify(viewer.ask(), pictures)
                need(key != last, "the same frame twice")
                last = key
            took = time.monotonic() - start
            need(0.9 < took < 2, f"20 frames at 20 a second took {took:.2f} s")


def run():
    """unpickles without a warning, byte for byte as Python writes it, pixel for pixel as OpenCV paints it"""
    print(f"  Python {sys.version.split()[0]}, numpy {np.__version__}, OpenCV {cv2.__version__}")
    need(sys.warnoptions == ["error"], "run with python -W error")
    small = DATA / "seed-golden" / "depth"
    for folder, golden in ((small, "frames.json"), (DATA / "depth", "real_frames.json")):
        if not folder.is_dir():
            print(f"  SKIPPED: no {folder}: pictures were NOT compared; set DEPTHCAST_DATA", flush=True)
            continue
        pictures = oracle(folder, DATA / "seed-golden" / golden)
        for form in ("protocol0", "compact"):
            with step(f"{folder.parent.name}/{folder.name}, {form}: {sum(map(len, pictures.values()))} files"):
                pictures_and_bytes(folder, pictures, form)
        if folder == small:
            conversation(folder, pictures)


if __name__ == "__main__":
    main(run)
