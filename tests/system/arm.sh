#!/usr/bin/env bash
# The tests for aarch64 of the appliance and of the decoder, whose instructions are others there: built with the
# distribution's cross toolchain, run under qemu-user, no container. The driver and the simulator have no such code, and
# their random tests take too long there.
#
# A green run says that the code is right for the architecture's instructions, sizes and calls. It says nothing about
# speed, nor about memory ordering, for qemu on x86 keeps x86's. The compiler is the distribution's, as there is no
# other source of its standard library for aarch64, so its lints are not ours: warnings do not fail this.
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

# Tests that hang under qemu must not hang the checks.
LIMIT=20m

packages=(rustc-web libstd-rust-web-dev:arm64 gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static)
missing=()
for package in "${packages[@]}"; do
    # One package may be installed for several architectures; the name's is asked for.
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' || missing+=("$package")
done
if [ ${#missing[@]} != 0 ]; then
    say "installing ${missing[*]}"
    root=()
    [ "$(id -u)" = 0 ] || root=(sudo)
    "${root[@]}" dpkg --add-architecture arm64
    again "${root[@]}" apt-get -qq update || die "cannot read the package lists; install by hand: ${missing[*]}"
    again "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
        "${missing[@]}" >"$OUT/apt-arm.log" 2>&1 || die "cannot install ${missing[*]}, see $OUT/apt-arm.log"
fi

# The first cargo on the path drives the distribution's compiler. Its artefacts and ours do not mix.
unset RUSTFLAGS
export RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc
export CARGO_TARGET_DIR=$ROOT/target/cross
export CARGO_BUILD_TARGET=aarch64-unknown-linux-gnu
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
# Without -L: with it the loader and the C library come from two packages of different versions, and tests hang.
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER=qemu-aarch64-static
# Tests that run the program itself need it, too.
export DEPTHCAST_RUNNER=qemu-aarch64-static

# qemu is some ten times slower than the machine: fewer stories of the
# simulation than the 256, and fewer frames without an allocation than the 300, of an ordinary run.
export DEPTHCAST_SEEDS=${DEPTHCAST_SEEDS:-12} DEPTHCAST_FRAMES=${DEPTHCAST_FRAMES:-60}

"$RUSTC" --version
begun=$SECONDS
cargo test -p depthcast -p kinect2 --no-run --quiet || die 'the tests do not build for aarch64'
say "built in $((SECONDS - begun)) s"
begun=$SECONDS
for tests in '-p depthcast' '-p kinect2 --lib depth' '-p kinect2 --test oracle'; do
    read -ra tests <<<"$tests"
    timeout "$LIMIT" cargo test --quiet "${tests[@]}" ||
        die "the tests on aarch64: ${tests[*]}, after $((SECONDS - begun)) s (limit $LIMIT)"
done
say "tested on aarch64 in $((SECONDS - begun)) s"
