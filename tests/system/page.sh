#!/usr/bin/env bash
# The viewer page in headless Chromium.
. "$(dirname "$0")/lib.sh"
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null ||
    need chromium chromium
python3 "$ROOT/tests/system/page.py"
