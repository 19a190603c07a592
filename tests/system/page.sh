#!/usr/bin/env bash
# The viewer page in headless Chromium.
. "$(dirname "$0")/lib.sh"
command -v chromium >/dev/null || need chromium chromium
venv browser
"$PYTHON" "$ROOT/tests/system/page.py"
