#!/usr/bin/env bash
# The driver against the kernel's own usbfs: a virtual machine with the distribution's kernel, in it vhci-hcd, and on
# this side of the wire the simulated sensor as a USB/IP server.
#
# kernel_guest.sh is what runs in the machine, and prints a line PASS or FAIL for each check; this script counts them.
# The machine is emulated (no KVM), so nothing here says anything about speed. Everything that does not depend on the
# project is made once, below target/system/kernel (some 250 MB); remove that folder to have it made again.
# Needs root or sudo, and a Debian of amd64. DEPTHCAST_KERNEL_FAULTS goes to the simulated sensor.
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

LAB=$OUT/kernel
# How long the machine may take, from power on to power off.
LIMIT=${DEPTHCAST_KERNEL_LIMIT:-600}
# Changes with whatever is made once.
RECIPE=2

. "$(dirname "$0")/machine.sh"

# Kernel, and a system that lives in memory: busybox, usbip, the C library, and the few modules.
make_base() {
    local full=$LAB/full base=$LAB/base version modules=(virtio_pci virtio_net vhci-hcd)
    unpack "$full" linux-image-amd64,usbip,kmod,busybox-static,diffutils,libc-bin,bash
    "${root[@]}" chown -R "$(id -u):$(id -g)" "$full"
    version=$(ls "$full/lib/modules")
    cp "$full/boot/vmlinuz-$version" "$LAB/vmlinuz"
    cp "$full/bin/busybox" "$LAB/busybox"
    "${root[@]}" chroot "$full" depmod "$version"
    rm -rf "$base"
    mkdir -p "$base"/{programs,bin,sbin,lib64,lib/modules,lib/x86_64-linux-gnu,dev,proc,sys,tmp,run,var/run}
    cp "$LAB/busybox" "$base/bin"
    # cmp of busybox takes a second for a frame here; by name its shell would take that one all the same.
    cp "$full/usr/sbin/usbip" "$full/usr/bin/cmp" "$base/programs"
    cp -L "$full/lib64/ld-linux-x86-64.so.2" "$base/lib64"
    local library
    for library in libc.so.6 libm.so.6 libgcc_s.so.1 libudev.so.1; do
        cp -L "$(find "$full/lib" "$full/usr/lib" -name "$library" | head -n 1)" "$base/lib/x86_64-linux-gnu"
    done
    local module path
    for module in "${modules[@]}"; do
        "${root[@]}" chroot "$full" modprobe -S "$version" --show-depends "$module"
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >"$LAB/modules"
    while read -r path; do
        cp "$full/$path" "$base/lib/modules"
        basename "$path"
    done <"$LAB/modules" >"$base/lib/modules/order"
    cat >"$base/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
exec </dev/console >/dev/console 2>&1
while read -r module; do
    insmod "/lib/modules/$module" || echo "FAIL insmod $module"
done </lib/modules/order
ifconfig lo up
ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
export PATH=/programs:/bin:/sbin
sh /test/guest.sh
echo GUEST-END
poweroff -f
INIT
    chmod +x "$base/init"
    archive "$base" "$LAB/base.cpio.gz"
    "${root[@]}" rm -rf "$full" "$base"
    printf '%s\n' "$version" >"$LAB/version"
}

stamp="$RECIPE $RELEASE"
if [ "$(cat "$LAB/stamp" 2>/dev/null)" != "$stamp" ]; then
    say 'unpacking a kernel and a system for it'
    begun=$SECONDS
    make_base
    printf '%s\n' "$stamp" >"$LAB/stamp"
    say "unpacked in $((SECONDS - begun)) s"
fi
emulator
say "kernel $(cat "$LAB/version"), $("${QEMU[@]}" --version | head -n 1)"

# Of kernel_guest.sh: a machine that stops half way has not passed.
CHECKS=$(grep -c "^check '" tests/system/kernel_guest.sh)

begun=$SECONDS
cargo build --quiet -p kinect2 --example capture
cargo build --quiet -p kinect2-sim-usbip
BUILT=${CARGO_TARGET_DIR:-$ROOT/target}/debug
say "built in $((SECONDS - begun)) s"

rm -rf "$LAB/payload"
mkdir -p "$LAB/payload/test/input"
sensor "$OUT/kernel-sensor.txt" --frames "${DEPTHCAST_KERNEL_FRAMES:-demo}" \
    --faults "${DEPTHCAST_KERNEL_FAULTS:-}" --write "$LAB/payload/test/input"

cp "$BUILT/examples/capture" "$LAB/payload/test/capture"
strip "$LAB/payload/test/capture" 2>/dev/null || true
cat tests/system/{checks,kernel_guest}.sh >"$LAB/payload/test/guest.sh"
printf 'PORT=%s\nFRAMES=%s\n' "$PORT" "$(find "$LAB/payload/test/input" -name '*.depth' | wc -l)" \
    >"$LAB/payload/test/parameters"
archive "$LAB/payload" "$LAB/payload.cpio.gz"
[ "$HERE" = "$LAB" ] || cp "$LAB/vmlinuz" "$HERE"
cat "$LAB/base.cpio.gz" "$LAB/payload.cpio.gz" >"$HERE/initrd"

say 'starting the machine'
begun=$SECONDS
passed=0 failed=0 ended=
while IFS= read -r line; do
    line=${line%$'\r'}
    printf '%4d s  %s\n' $((SECONDS - begun)) "$line" >&4
    case $line in
    'PASS '*) passed=$((passed + 1)) && say "$line" ;;
    'FAIL '*) failed=$((failed + 1)) && say "$line" ;;
    'NOTE '*) say "$line" ;;
    'ORDER '*) printf '%s\n' "${line#ORDER }" >&3 ;;
    GUEST-END) ended=1 ;;
    esac
done 4>"$OUT/kernel-console.txt" < <(
    # One processor: with two, and no more on this side, it is no faster. `snapshot` and the like are not needed, for
    # there is no disk.
    timeout "$LIMIT" "${QEMU[@]}" -accel tcg,thread=multi -machine q35 -m 1024 -nodefaults -display none \
        -serial stdio -no-reboot -kernel "$INSIDE/vmlinuz" -initrd "$INSIDE/initrd" \
        -append 'console=ttyS0 quiet loglevel=3 panic=-1' \
        -netdev user,id=n0 -device virtio-net-pci,netdev=n0,romfile= </dev/null 2>&1
)
say "the machine ran for $((SECONDS - begun)) s; $passed of $CHECKS checks passed, $failed failed"
[ -n "$ended" ] && [ "$failed" = 0 ] && [ "$passed" = "$CHECKS" ] || {
    tail -n 100 "$OUT/kernel-console.txt"
    die "what the machine printed is in $OUT/kernel-console.txt, the sensor's side in $OUT/kernel-sensor.txt"
}
