#!/usr/bin/env bash
# Hours of a box's life in minutes: the demo at eight times its pace, or the driver above the simulated Kinect as fast as
# it takes frames, and at random from a seed a sensor that has faults, viewers that come, go, stop reading or attack, HUP,
# restarts, kill -9, a stopped process, a clock that jumps.
#
# Run by hand: soak.sh [--source demo|kinect] [--seed N] [--minutes N]. The seed is printed; the same one gives the same
# plan again. Memory, descriptors, ages and drops over the time are in target/system/soak-SOURCE-SEED.png: look at it.
. "$(dirname "$0")/lib.sh"
need faketime faketime
if [[ " $* " == *kinect* ]]; then
    export KINECT2_SIM_LIBRARY=${KINECT2_SIM_LIBRARY:-$(dirname "$DEPTHCAST")/libkinect2_sim_usbfs.so}
    [ -e "$KINECT2_SIM_LIBRARY" ] || (cd "$ROOT" && cargo build --release --quiet -p kinect2-sim-usbfs)
    [ -e "$KINECT2_SIM_LIBRARY" ] || die "no simulator at $KINECT2_SIM_LIBRARY; set KINECT2_SIM_LIBRARY"
fi
venv soak
"$PYTHON" "$ROOT/tests/system/soak.py" "$@"
