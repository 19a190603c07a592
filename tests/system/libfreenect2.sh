#!/usr/bin/env bash
# The second backend: libfreenect2, built by somebody else, over the simulated sensor under the name of libusb-1.0.
#
#   DEPTHCAST_LIBFREENECT2   where the library is installed (its lib/pkgconfig/freenect2.pc); without it all is skipped
#   DEPTHCAST_LF2_FRAMES     raw frames to send: *.depth, p0.bin, ir_params.json, and NAME.truth beside NAME.depth, the
#                            true depth in mm as little-endian floats; without it the demo, turned into raw frames
#   DEPTHCAST_LF2_LIFE       start/stop rounds in one process (500)
#   DEPTHCAST_LF2_COUNT      frames, as fast as they are taken (10000)
#   DEPTHCAST_LF2_PARTS      of `shim behaviour figures`, those to run (all)
# The program with the feature is built in a folder of its own, so that it is not mistaken for the other one.
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

PREFIX=${DEPTHCAST_LIBFREENECT2:-}
if [ -z "$PREFIX" ]; then
    say 'SKIPPED: no libfreenect2; set DEPTHCAST_LIBFREENECT2 to where it is installed'
    exit 0
fi
PC=$(find "$PREFIX" -name freenect2.pc -print -quit)
[ -n "$PC" ] || die "no freenect2.pc below $PREFIX"
need pkg-config pkg-config
need g++ g++
PKG_CONFIG_PATH=$(dirname "$PC")
export PKG_CONFIG_PATH
say "libfreenect2 $(pkg-config --modversion freenect2)"
PARTS=${DEPTHCAST_LF2_PARTS:-shim behaviour figures}
LAB=$OUT/libfreenect2
mkdir -p "$LAB/lib"

# All three in one folder: the program, and the simulated sensor in its two shapes.
export CARGO_TARGET_DIR=${DEPTHCAST_LF2_TARGET:-$LAB/target}
cargo build --release --quiet --features libfreenect2 --bin depthcast
cargo build --release --quiet -p kinect2-sim-libusb -p kinect2-sim-usbfs
BUILT=$CARGO_TARGET_DIR/release
ln -sf "$BUILT/libkinect2_sim_libusb.so" "$LAB/lib/libusb-1.0.so.0"
LIBRARIES=$LAB/lib:$(pkg-config --variable=libdir freenect2)

# A build without says so, and does not try.
if [ -x "$DEPTHCAST" ] && "$DEPTHCAST" --version | grep -q 'without libfreenect2'; then
    code=0
    "$DEPTHCAST" run --source libfreenect2 --listen 127.0.0.1:0 >"$LAB/without.txt" 2>&1 || code=$?
    [ "$code" = 1 ] || die "a build without libfreenect2 ends with $code, not with 1"
    grep -q -e '--features libfreenect2' "$LAB/without.txt" || die "it does not say what to do: $(cat "$LAB/without.txt")"
    say "  ok  $(cat "$LAB/without.txt")"
else
    say "SKIPPED: no build without libfreenect2 at $DEPTHCAST"
fi

if [[ " $PARTS " = *' shim '* ]]; then
    # The structures as the build script states them.
    LAYOUT=$(find "$BUILT/build" -name lf2_layout.h -print -quit)
    [ -n "$LAYOUT" ] || die 'the build script has left no lf2_layout.h'
    read -ra FLAGS < <(pkg-config --cflags --libs freenect2)
    compile() {
        local out=$1
        shift
        g++ -std=c++11 -g "$@" -Wall -Wextra -Werror -I libfreenect2-sys/shim -I "$(dirname "$LAYOUT")" -o "$LAB/$out" \
            tests/system/libfreenect2_shim.cpp libfreenect2-sys/shim/lf2.cpp "${FLAGS[@]}" -pthread
    }
    compile shim-sanitized -O1 -fsanitize=address,undefined -fno-sanitize-recover=all
    compile shim -O2
    # libfreenect2 keeps one reference to the USB device too many (its issue 1169); outside of the shim.
    printf 'leak:libusb_get_device_list\n' >"$LAB/suppressions"
    shim() {
        local program=$1
        shift
        env LD_LIBRARY_PATH="$LIBRARIES" KINECT2_SIM_PACE=demand LSAN_OPTIONS="suppressions=$LAB/suppressions:print_suppressions=0" \
            "$LAB/$program" "$@" >"$LAB/$program-$1.txt" 2>&1 || { cat "$LAB/$program-$1.txt"; die "$program $*"; }
        say "  ok  $program: $(tail -n 1 "$LAB/$program-$1.txt")"
    }
    say 'the shim under the sanitizers for addresses, leaks and undefined behaviour'
    shim shim-sanitized misuse
    shim shim-sanitized life "${DEPTHCAST_LF2_LIFE:-500}" raw
    shim shim-sanitized life 20 cpu
    shim shim-sanitized frames "${DEPTHCAST_LF2_COUNT:-10000}" raw
    say 'and without them, for its memory'
    shim shim life "${DEPTHCAST_LF2_LIFE:-500}" raw
    shim shim frames "${DEPTHCAST_LF2_COUNT:-10000}" raw
fi

FRAMES=${DEPTHCAST_LF2_FRAMES:-}
if [ -z "$FRAMES" ]; then
    # Seven, so that a decoder that takes every fourth or sixth frame still shows different ones.
    FRAMES=$LAB/raw
    rm -rf "$LAB/pictures" "$FRAMES"
    LD_LIBRARY_PATH=$LIBRARIES "$BUILT/depthcast" record --source demo --frames 7 -o "$LAB/pictures"
    LD_LIBRARY_PATH=$LIBRARIES "$BUILT/depthcast" convert "$LAB/pictures" "$FRAMES"
fi
DEPTHCAST=$BUILT/depthcast LF2_LIBRARIES=$LIBRARIES LF2_FRAMES=$FRAMES LF2_PICTURES=$LAB/pictures LF2_LAB=$LAB \
    LF2_USBFS=$BUILT/libkinect2_sim_usbfs.so python3 tests/system/libfreenect2.py $PARTS
