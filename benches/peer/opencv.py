"""OpenCV's stages and Python's pickle beside ours: the same frames, the same machine, the same run, taking turns.

opencv.py FOLDER ROUNDS COMMAND...: COMMAND is our bench with everything but its folder; it prints one JSON object a
line: range_mm, stage, median_us, bytes. Both sides measure CPU time on one thread, frame by frame. Printed is a
Markdown table: medians, and ours divided by OpenCV's.
"""

import json
import os
import pathlib
import pickle
import platform
import statistics
import subprocess
import sys
import time

import cv2
import numpy as np

RANGES = (1500, 4500, 8000)
# Our stages, and the peer's stages that together do the same.
PAIRS = (
    ("depth_to_png", "depth to PNG", ("scale", "colour", "png")),
    ("depth_to_protocol0", "depth to pickled message", ("scale", "colour", "png", "pickle")),
    ("depth_to_jpeg", "depth to JPEG", ("scale", "colour", "jpeg")),
)
# The server's default.
JPEG = (cv2.IMWRITE_JPEG_QUALITY, 80, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420)


def stages(depth, range_mm):
    """One frame through the Python server's stages, and to JPEG: seconds of each, bytes of PNG, pickle and JPEG."""
    marks = [time.process_time()]
    grey = cv2.convertScaleAbs(depth, alpha=255 / range_mm)
    marks.append(time.process_time())
    colour = cv2.applyColorMap(grey, cv2.COLORMAP_JET)
    marks.append(time.process_time())
    done, png = cv2.imencode(".png", colour)
    marks.append(time.process_time())
    message = pickle.dumps(png.reshape(-1), 0)
    marks.append(time.process_time())
    done_too, jpeg = cv2.imencode(".jpg", colour, JPEG)
    marks.append(time.process_time())
    if not (done and done_too):
        sys.exit("imencode failed")
    times = {name: marks[n + 1] - marks[n] for n, name in enumerate(("scale", "colour", "png", "pickle", "jpeg"))}
    return times, png.size, len(message), jpeg.size


def ours(command, folder):
    """One run of our bench: {(range, stage): (microseconds, bytes)}."""
    run = subprocess.run([*command, str(folder)], stdout=subprocess.PIPE, text=True)
    if run.returncode:
        sys.exit(f"our bench ended with {run.returncode}")
    lines = (json.loads(line) for line in run.stdout.splitlines() if line.startswith("{"))
    found = {(line["range_mm"], line["stage"]): (line["median_us"], line["bytes"]) for line in lines}
    wanted = [(range_mm, stage) for range_mm in RANGES for stage, _, _ in PAIRS]
    if missing := [key for key in wanted if key not in found]:
        sys.exit(f"our bench says nothing of {missing}")
    return found


def machine():
    """What this was measured on."""
    info = pathlib.Path("/proc/cpuinfo").read_text()
    model = next((line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")),
                 platform.machine())
    rustc = subprocess.run(["rustc", "--version"], capture_output=True, text=True).stdout.strip()
    return (f"{model}, {os.cpu_count()} cores; Linux {platform.release()}; OpenCV {cv2.__version__}, "
            f"numpy {np.__version__}, Python {platform.python_version()}; {rustc}")


def main(folder, rounds, *command):
    """Measures and prints."""
    cv2.setNumThreads(1)
    folder = pathlib.Path(folder)
    frames = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted(folder.glob("*.png"))]
    if not frames or any(frame is None or frame.dtype != np.uint16 for frame in frames):
        sys.exit(f"{folder}: no folder of 16-bit PNGs")
    stages(frames[0], RANGES[0])

    times = {}   # (range, stage): seconds, every frame of every round
    sizes = {}   # (range, stage of ours): bytes, every frame
    mine = []    # one result of ours() each round
    for n in range(int(rounds)):
        for range_mm in RANGES:
            for depth in frames:
                took, png, message, jpeg = stages(depth, range_mm)
                for stage, _, parts in PAIRS:
                    times.setdefault((range_mm, stage), []).append(sum(took[part] for part in parts))
                for part, seconds in took.items():
                    times.setdefault((range_mm, part), []).append(seconds)
                sizes.setdefault((range_mm, "depth_to_png"), []).append(png)
                # The message has a header of 284 bytes in front, the same on both sides.
                sizes.setdefault((range_mm, "depth_to_protocol0"), []).append(message + 284)
                sizes.setdefault((range_mm, "depth_to_jpeg"), []).append(jpeg)
        mine.append(ours(command, folder))
        print(f"round {n + 1} of {rounds} done", file=sys.stderr, flush=True)

    print(f"{len(frames)} frames of {folder.name}, {rounds} rounds in turn, CPU time on one thread, medians (bytes: means).")
    print(f"{machine()}.\n")
    print("| range mm | work | OpenCV µs | ours µs | time, ours/OpenCV | OpenCV bytes | our bytes | bytes, ours/OpenCV |")
    print("| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for range_mm in RANGES:
        for stage, words, _ in PAIRS:
            peer_us = statistics.median(times[range_mm, stage]) * 1e6
            our_us = statistics.median(result[range_mm, stage][0] for result in mine)
            peer_bytes = statistics.mean(sizes[range_mm, stage])
            our_bytes = mine[0][range_mm, stage][1]
            print(f"| {range_mm} | {words} | {peer_us:.0f} | {our_us:.0f} | 1/{peer_us / our_us:.1f} | "
                  f"{peer_bytes:.0f} | {our_bytes} | {our_bytes / peer_bytes:.2f} |")
    print("\nOpenCV and Python by stage, median µs:\n")
    print("| range mm | convertScaleAbs | applyColorMap | imencode .png | pickle.dumps | imencode .jpg |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for range_mm in RANGES:
        row = (f"{statistics.median(times[range_mm, part]) * 1e6:.0f}" for part in ("scale", "colour", "png", "pickle", "jpeg"))
        print(f"| {range_mm} | {' | '.join(row)} |")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
