# What the tests with a virtual machine share. Sourced by kernel.sh and vm.sh after lib.sh; wants LAB, a folder for what is
# made once, and BUILT, the folder of programs; sets `root` (what runs a command as root) and RELEASE.

# shellcheck shell=bash disable=SC2034
[ "$(dpkg --print-architecture)" = amd64 ] || die 'this test wants amd64'
root=()
[ "$(id -u)" = 0 ] || root=(sudo)
# The programs are built here and run there: the same release, from the mirror that this machine uses.
RELEASE=$(. /etc/os-release && echo "$VERSION_CODENAME")
mkdir -p "$LAB"

mirror() {
    cat /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list.d/*.sources 2>/dev/null |
        sed -n 's/^URIs: *\([^ ]*\).*/\1/p' | head -n 1 | grep . ||
        sed -n 's/^deb  *\(\[[^]]*\] *\)\{0,1\}\([^ ]*\).*/\2/p' /etc/apt/sources.list | head -n 1 | grep . ||
        die 'no Debian mirror in the sources of apt'
}

# unpack FOLDER PACKAGES: packages with all that they depend on, unpacked, not configured.
unpack() {
    need mmdebstrap mmdebstrap
    "${root[@]}" rm -rf "$1"
    again "${root[@]}" mmdebstrap --quiet --mode=root --variant=extract --include="$2" \
        --aptopt='APT::Install-Recommends "false"' "$RELEASE" "$1" "$(mirror)" >"$OUT/mmdebstrap.log" 2>&1 ||
        die "mmdebstrap for $2, see $OUT/mmdebstrap.log"
}

# archive FOLDER FILE: what the kernel unpacks into the memory of the machine when it boots.
archive() { (cd "$1" && find . | "$LAB/busybox" cpio -o -H newc 2>/dev/null | gzip -1) >"$2"; }

# emulator: QEMU is how it is called, HERE the folder that it sees, INSIDE its name there.
emulator() {
    # Debian's qemu can be in the way of what is installed: unless it is there, it gets a folder of its own.
    QEMU=(qemu-system-x86_64)
    HERE=$LAB
    if ! command -v qemu-system-x86_64 >/dev/null; then
        if [ ! -e "$LAB/qemu/complete" ]; then
            say 'unpacking an emulator'
            begun=$SECONDS
            unpack "$LAB/qemu" qemu-system-x86,qemu-system-data,seabios,libc-bin,bash,coreutils
            "${root[@]}" mkdir -p "$LAB/qemu/lab"
            "${root[@]}" chown "$(id -u):$(id -g)" "$LAB/qemu/lab" "$LAB/qemu"
            touch "$LAB/qemu/complete"
            say "unpacked in $((SECONDS - begun)) s"
        fi
        QEMU=("${root[@]}" chroot "$LAB/qemu" qemu-system-x86_64)
        HERE=$LAB/qemu/lab
    fi
    INSIDE=$HERE
    [ "$HERE" = "$LAB" ] || INSIDE=/lab
}

# sensor LOG OPTIONS: starts the simulated sensor as a USB/IP server; it takes its orders from a pipe that descriptor 3 holds
# open. Sets SENSOR and PORT.
sensor() {
    local log=$1
    shift
    rm -f "$LAB/orders"
    mkfifo "$LAB/orders"
    exec 3<>"$LAB/orders"
    "$BUILT/kinect2-sim-usbip" --port 0 "$@" <&3 >"$log" 2>&1 &
    SENSOR=$!
    trap 'kill "$SENSOR" 2>/dev/null || true' EXIT
    for _ in $(seq 100); do
        PORT=$(sed -n 's/^listening on .*:\([0-9]*\)$/\1/p' "$log")
        [ -z "$PORT" ] || return 0
        kill -0 "$SENSOR" 2>/dev/null || break
        sleep 0.1
    done
    cat "$log"
    die 'the simulated sensor does not start'
}
