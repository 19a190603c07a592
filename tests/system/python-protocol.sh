#!/usr/bin/env bash
# The Python protocol, in both pairs of numpy and OpenCV, with warnings as errors.
. "$(dirname "$0")/lib.sh"
for pair in old new; do
    venv "$pair"
    "$PYTHON" -W error "$ROOT/tests/system/python_protocol.py"
done
