#!/usr/bin/env bash
# The HTTP side.
. "$(dirname "$0")/lib.sh"
venv old
"$PYTHON" -W error "$ROOT/tests/system/http_surface.py"
