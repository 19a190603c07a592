#!/usr/bin/env bash
# The age of what slow readers see.
. "$(dirname "$0")/lib.sh"
python3 "$ROOT/tests/system/staleness.py"
