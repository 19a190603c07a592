"""Our JPEGs as others write and read them. Run by jpeg.sh, with numpy, OpenCV, Pillow, ffmpeg and djpeg."""

import io
import json
import subprocess

import cv2
import numpy as np
from PIL import Image

from harness import OUT, Server, main, need, step
from png import SHAPE, get, recording

# Quality, subsampling, and the far end of the range.
SETTINGS = (
    (80, "4:2:0", 1500),
    (1, "4:2:0", 4500),
    (50, "4:2:2", 8000),
    (95, "4:2:2", 1500),
    (100, "4:4:4", 4500),
    (100, "4:2:0", 8000),
)
FACTORS = {
    "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    "4:2:2": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
}
START = 20  # bytes in front of the comment: SOI and the JFIF segment


def without_comment(jpeg):
    """The file without the segment that no other writes, and what that says."""
    need(jpeg[START:START + 2] == b"\xff\xfe", f"no comment behind the JFIF segment: {jpeg[:40]}")
    end = START + 2 + int.from_bytes(jpeg[START + 2:START + 4], "big")
    return jpeg[:START] + jpeg[end:], json.loads(jpeg[START + 4:end])


def decoded(jpeg, painted):
    """What Python's readers make of it: the same to all but for how they round, and as much like the original."""
    opened = Image.open(io.BytesIO(jpeg))
    need(opened.mode == "RGB" and opened.size == SHAPE[::-1], f"Pillow sees {opened.mode}, {opened.size}")
    need(opened.info["comment"].startswith(b"{"), f"Pillow sees no comment: {opened.info}")
    pillow = np.asarray(opened)
    ours = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    apart = int(np.abs(pillow[:, :, ::-1].astype(int) - ours).max())
    need(apart <= 4, f"Pillow and OpenCV see pictures {apart} apart")
    return cv2.PSNR(painted, ours)


def quiet(*command):
    """Runs a decoder that must not say a word."""
    run = subprocess.run(command, capture_output=True, text=True)
    need(run.returncode == 0 and not run.stderr.strip(), f"{command[0]}: {run.stderr[:500]}")


def by_programs(folder):
    """ffmpeg reads all files of a folder, djpeg some."""
    files = sorted(folder.glob("*.jpg"))
    joined = folder / "all.mjpeg"
    joined.write_bytes(b"".join(path.read_bytes() for path in files))
    ffmpeg = ["ffmpeg", "-v", "warning", "-xerror", "-err_detect", "explode", "-f", "mjpeg", "-i", str(joined)]
    raw = folder / "all.raw"
    # No conversion: its own warnings about ranges of colour are not about the files.
    quiet(*ffmpeg, "-f", "rawvideo", "-fps_mode", "passthrough", "-y", str(raw))
    samples = {"4:2:0": 3 / 2, "4:2:2": 2, "4:4:4": 3}[folder.name.split("-")[1]]
    need(raw.stat().st_size == len(files) * SHAPE[0] * SHAPE[1] * samples, f"ffmpeg: {raw.stat().st_size} bytes")
    raw.unlink()
    for path in files[::5]:
        quiet("djpeg", "-strict", "-outfile", "/dev/null", str(path))


def psnr_of_all(folder, source, frames, quality, subsampling, max_mm):
    """Every frame through the server at one setting: the mean of its PSNR, and of its bytes."""
    folder.mkdir()
    config = folder / "config.toml"
    config.write_text(f'range.max_mm = {max_mm}\njpeg.quality = {quality}\njpeg.subsampling = "{subsampling}"\n')
    wanted, pictures = {}, {}
    for name, depth in frames.items():
        painted = cv2.applyColorMap(cv2.convertScaleAbs(depth, alpha=255 / max_mm), cv2.COLORMAP_JET)
        options = (cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, FACTORS[subsampling])
        done, jpeg = cv2.imencode(".jpg", painted, options)
        need(done, "imencode failed")
        wanted[jpeg.tobytes()] = name
        pictures[name] = painted
    missing = set(wanted)
    ratios = []
    arguments = ("run", "--config", str(config), "--source", f"replay:{source}", "--fps", "0")
    with Server(f"jpeg-{folder.name}", *arguments) as server:
        for _ in range(4 * len(wanted)):
            if not missing:
                break
            jpeg = get(server, "/snapshot")
            bare, comment = without_comment(jpeg)
            need(bare in wanted, f"{folder.name}: not the bytes of OpenCV's libjpeg-turbo, picture {comment['seq']}")
            if bare not in missing:
                continue
            missing.remove(bare)
            name = wanted[bare]
            (folder / f"{name}.jpg").write_bytes(jpeg)
            ratio = decoded(jpeg, pictures[name])
            if np.isfinite(ratio):
                ratios.append(ratio)
    need(not missing, f"{[wanted[jpeg] for jpeg in missing]} never came")
    by_programs(folder)
    return len(wanted), np.mean(ratios), np.mean([len(jpeg) for jpeg in wanted])


def run():
    """recorded frames and made-up ones become OpenCV's bytes at several settings, and all readers take them"""
    print(f"  OpenCV {cv2.__version__}, Pillow {Image.__version__}")
    work = OUT / "jpeg"
    source, frames = recording(work)
    for quality, subsampling, max_mm in SETTINGS:
        name = f"{quality}-{subsampling}-{max_mm}"
        with step(f"quality {quality}, {subsampling}, 0-{max_mm} mm"):
            count, psnr, size = psnr_of_all(work / name, source, frames, quality, subsampling, max_mm)
            print(f"        {count} pictures, {psnr:.1f} dB, {size:.0f} bytes")


if __name__ == "__main__":
    main(run)
