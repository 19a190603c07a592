#!/usr/bin/env bash
# The sensor that is not there: the server above the simulated Kinect v2, which is preloaded below it.
. "$(dirname "$0")/lib.sh"
export KINECT2_SIM_LIBRARY=${KINECT2_SIM_LIBRARY:-$(dirname "$DEPTHCAST")/libkinect2_sim_usbfs.so}
if [ ! -e "$KINECT2_SIM_LIBRARY" ]; then
    say "building $KINECT2_SIM_LIBRARY"
    (cd "$ROOT" && cargo build --release --quiet -p kinect2-sim-usbfs)
fi
[ -e "$KINECT2_SIM_LIBRARY" ] || die "no simulator at $KINECT2_SIM_LIBRARY; set KINECT2_SIM_LIBRARY"
venv old
"$PYTHON" "$ROOT/tests/system/kinect.py" "$@"
