#!/usr/bin/env bash
# Real clients on /stream and /snapshot, a stock nginx between, and µStreamer's own header fields.
. "$(dirname "$0")/lib.sh"
need ffmpeg ffmpeg
need gst-launch-1.0 gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good
need vlc vlc-bin vlc-plugin-base
need mpv mpv
need motion motion
need curl curl
need nginx nginx-light
need ustreamer ustreamer
need firefox-esr firefox-esr
command -v chromium >/dev/null || need chromium chromium
venv clients
"$PYTHON" "$ROOT/tests/system/clients.py" "$@"
