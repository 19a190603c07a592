#!/usr/bin/env bash
# Hours of a box's life in minutes: the demo at eight times its pace, and at random from a seed a sensor that vanishes,
# viewers that come, go, stop reading or attack, HUP, restarts, kill -9, a stopped process, a clock that jumps.
#
# Run by hand: soak.sh [--seed N] [--minutes N]. The seed is printed; the same one gives the same plan again. Memory,
# descriptors, ages and drops over the time are in target/system/soak-SEED.png: look at it.
. "$(dirname "$0")/lib.sh"
need faketime faketime
venv soak
"$PYTHON" "$ROOT/tests/system/soak.py" "$@"
