#!/usr/bin/env bash
# What our JPEGs are to others: the bytes of OpenCV's libjpeg-turbo, and without a warning to djpeg, ffmpeg, Pillow and OpenCV.
. "$(dirname "$0")/lib.sh"
need djpeg libjpeg-turbo-progs
need ffmpeg ffmpeg
venv pictures
"$PYTHON" -W error "$ROOT/tests/system/jpeg.py"
