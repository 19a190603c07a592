#!/usr/bin/env bash
# The package with everything real but the sensor: a virtual machine with Debian's kernel, udev and systemd, in it the
# installed .deb as it is, and on this side of the wire the simulated sensor as a USB/IP server.
#
# vm_guest.sh is what runs in the machine, and prints PASS or FAIL for each check; this script counts them. The machine is
# emulated (no KVM): nothing here says anything about speed. What is made once lies below target/system/vm (1 GB).
# Run by hand: five minutes. Needs root and a Debian of amd64; DEPTHCAST_DEB, or what deploy/package makes.
. "$(dirname "$0")/lib.sh"
cd "$ROOT"
[ "$(id -u)" = 0 ] || die 'this test wants root'
LAB=$OUT/vm
export BUILT=${CARGO_TARGET_DIR:-$ROOT/target}/debug
. "$(dirname "$0")/machine.sh"
LIMIT=${DEPTHCAST_VM_LIMIT:-900}
DEB=${DEPTHCAST_DEB:-$(deploy/package | tail -n 1)}
# Where the console is, what the machine waits for before it is done, and the disk.
MODULES=(virtio_pci virtio_blk ext4)

need mke2fs e2fsprogs
if [ ! -e "$LAB/full.done" ]; then
    say 'unpacking a kernel'
    unpack "$LAB/full" linux-image-amd64,kmod,busybox-static,libc-bin,bash
    touch "$LAB/full.done"
fi
if [ ! -e "$LAB/clean.done" ]; then
    say 'making a root'
    rm -rf "$LAB/clean"
    again mmdebstrap --quiet --mode=root --variant=minbase \
        --include=systemd,systemd-sysv,dbus,udev,kmod,usbip,procps,iproute2,curl "$RELEASE" "$LAB/clean" "$(mirror)" \
        >"$OUT/mmdebstrap.log" 2>&1 || die "mmdebstrap, see $OUT/mmdebstrap.log"
    touch "$LAB/clean.done"
fi
emulator
VERSION=$(ls "$LAB/full/lib/modules")
say "kernel $VERSION, $("${QEMU[@]}" --version | head -n 1)"
cargo build --quiet -p kinect2-sim-usbip
sensor "$OUT/vm-sensor.txt" --frames demo

# The root: the package as apt would install it, and a few modules.
rm -rf "$LAB/root"
cp -a --reflink=auto "$LAB/clean" "$LAB/root"
cp "$DEB" "$LAB/root/depthcast.deb"
chroot "$LAB/root" dpkg -i /depthcast.deb >"$OUT/vm-dpkg.log" 2>&1 || { cat "$OUT/vm-dpkg.log"; die 'dpkg -i'; }
rm -rf "$LAB/root/depthcast.deb" "$LAB"/root/usr/share/{doc,man,locale} "$LAB"/root/var/{lib/apt,cache}
chroot "$LAB/full" depmod "$VERSION"
load_order() {
    local module
    for module in "$@"; do chroot "$LAB/full" modprobe -S "$VERSION" --show-depends "$module"; done |
        awk '$1 == "insmod" && !seen[$2]++ { print $2 }'
}
load_order "${MODULES[@]}" virtio_net vhci-hcd | while read -r path; do
    install -D -m 644 "$LAB/full/$path" "$LAB/root/$path"
done
cp "$LAB"/full/lib/modules/"$VERSION"/modules.{builtin,order} "$LAB/root/lib/modules/$VERSION"
chroot "$LAB/root" depmod "$VERSION"
cat tests/system/{checks,vm_guest}.sh >"$LAB/root/guest.sh"
printf 'PORT=%s\n' "$PORT" >"$LAB/root/parameters"
cat >"$LAB/root/etc/systemd/system/guest.service" <<'UNIT'
[Unit]
After=multi-user.target depthcast.service
[Service]
Type=oneshot
ExecStart=/bin/bash /guest.sh
ExecStopPost=/bin/systemctl poweroff --force --force
StandardOutput=tty
StandardError=tty
TTYPath=/dev/console
TimeoutStartSec=infinity
[Install]
WantedBy=multi-user.target
UNIT
chroot "$LAB/root" systemctl enable --quiet guest.service
ln -sf /lib/systemd/system/multi-user.target "$LAB/root/etc/systemd/system/default.target"
rm -f "$HERE/vm.img"
mke2fs -q -t ext4 -d "$LAB/root" "$HERE/vm.img" 600M

# What finds the disk.
rm -rf "$LAB/early"
mkdir -p "$LAB"/early/{bin,dev,proc,new,modules}
cp "$LAB/full/bin/busybox" "$LAB/early/bin"
cp "$LAB/full/bin/busybox" "$LAB/busybox"
load_order "${MODULES[@]}" | while read -r path; do
    cp "$LAB/full/$path" "$LAB/early/modules"
    basename "$path"
done >"$LAB/early/order"
cat >"$LAB/early/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
while read -r module; do insmod "/modules/$module"; done </order
until [ -b /dev/vda ]; do sleep 0.1; done
mount -t ext4 /dev/vda /new
umount /proc
exec switch_root /new /lib/systemd/systemd
INIT
chmod +x "$LAB/early/init"
archive "$LAB/early" "$HERE/initrd"
cp "$LAB/full/boot/vmlinuz-$VERSION" "$HERE/vmlinuz"
CHECKS=$(grep -c "^check '" tests/system/vm_guest.sh)

say 'starting the machine'
begun=$SECONDS
passed=0 failed=0 ended=
while IFS= read -r line; do
    line=${line%$'\r'}
    printf '%4d s  %s\n' $((SECONDS - begun)) "$line" >&4
    case $line in
    *'PASS '*) passed=$((passed + 1)) && say "$line" ;;
    *'FAIL '*) failed=$((failed + 1)) && say "$line" ;;
    *'NOTE '*) say "$line" ;;
    *'ORDER '*) printf '%s\n' "${line##*ORDER }" >&3 ;;
    *GUEST-END*) ended=1 ;;
    esac
done 4>"$OUT/vm-console.txt" < <(
    timeout "$LIMIT" "${QEMU[@]}" -accel tcg,thread=multi -machine q35 -m 1024 -nodefaults -display none \
        -serial stdio -no-reboot -kernel "$INSIDE/vmlinuz" -initrd "$INSIDE/initrd" \
        -append 'console=ttyS0 quiet loglevel=3 panic=-1 root=/dev/vda net.ifnames=0 systemd.show_status=0' \
        -drive "file=$INSIDE/vm.img,if=virtio,format=raw,snapshot=on" \
        -netdev user,id=n0 -device virtio-net-pci,netdev=n0,romfile= </dev/null 2>&1
)
say "the machine ran for $((SECONDS - begun)) s; $passed of $CHECKS checks passed, $failed failed"
if [ -z "$ended" ] || [ "$failed" != 0 ] || [ "$passed" != "$CHECKS" ]; then
    tail -n 100 "$OUT/vm-console.txt"
    die "what the machine printed is in $OUT/vm-console.txt, the sensor's side in $OUT/vm-sensor.txt"
fi
