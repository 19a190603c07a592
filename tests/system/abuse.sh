#!/usr/bin/env bash
# Hostile viewers harm nobody but themselves.
. "$(dirname "$0")/lib.sh"
python3 "$ROOT/tests/system/abuse.py"
python3 "$ROOT/tests/system/hostile_http.py"
