#!/usr/bin/env bash
# depthcast-view: its window on a screen in memory with keys sent to it, and servers in the old style in both pairs of numpy
# and OpenCV. Screenshots are left in target/system.
. "$(dirname "$0")/lib.sh"
need Xvfb xvfb
need xdotool xdotool
need import imagemagick
# A window manager: without one there is neither full screen nor a button that closes.
need openbox openbox
need wmctrl wmctrl
venv new
NEW=$PYTHON
venv old
export DEPTHCAST_VIEW=${DEPTHCAST_VIEW:-${CARGO_TARGET_DIR:-$ROOT/target}/debug/depthcast-view}
# `cargo test` has built it; nothing here is a matter of speed.
[ -x "$DEPTHCAST_VIEW" ] || (cd "$ROOT" && cargo build --quiet -p depthcast-view)
"$PYTHON" "$ROOT/tests/system/depthcast_view.py" "$PYTHON" "$NEW"
