#!/usr/bin/env bash
# Viewers in the old style, with windows on a screen in memory.
. "$(dirname "$0")/lib.sh"
need Xvfb xvfb
need import imagemagick
venv window
"$PYTHON" "$ROOT/tests/system/viewers.py"
