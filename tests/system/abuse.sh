#!/usr/bin/env bash
# Hostile and broken peers.
. "$(dirname "$0")/lib.sh"
python3 "$ROOT/tests/system/abuse.py"
