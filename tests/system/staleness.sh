#!/usr/bin/env bash
# Slow viewers see fresh pictures.
. "$(dirname "$0")/lib.sh"
python3 "$ROOT/tests/system/staleness.py"
