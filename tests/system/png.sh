#!/usr/bin/env bash
# What reads our PNGs: pngcheck without a warning, Pillow and OpenCV with the same pixels.
. "$(dirname "$0")/lib.sh"
need pngcheck pngcheck
venv pictures
"$PYTHON" -W error "$ROOT/tests/system/png.py"
