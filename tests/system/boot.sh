#!/usr/bin/env bash
# The package under a real systemd: installed in a Debian that systemd-nspawn boots. boot_guest.sh is what runs in it and
# prints PASS or FAIL for each check; this script counts them. Then it is booted once more with a root that is read-only.
#
# Run by hand: a minute, and three for the root that is made once below target/system/boot. Needs root and a package:
# DEPTHCAST_DEB, or what deploy/package makes. There is no USB and there are no udev events in a container.
# Another systemd: DEPTHCAST_BOOT_LAB names a folder with a root that has it in `clean`, and an empty file `complete`.
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

[ "$(id -u)" = 0 ] || die 'this test wants root'
need mmdebstrap mmdebstrap
need systemd-nspawn systemd-container
LAB=${DEPTHCAST_BOOT_LAB:-$OUT/boot}
DEB=${DEPTHCAST_DEB:-$(deploy/package | tail -n 1)}
RELEASE=$(. /etc/os-release && echo "$VERSION_CODENAME")
MIRROR=$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p' /etc/apt/sources.list.d/*.sources 2>/dev/null | head -n 1)
mkdir -p "$LAB"

if [ ! -e "$LAB/complete" ]; then
    say 'making a root'
    rm -rf "$LAB/clean"
    again mmdebstrap --quiet --mode=root --variant=minbase \
        --include=systemd,systemd-sysv,dbus,udev,procps,iproute2,curl,python3-minimal "$RELEASE" "$LAB/clean" "$MIRROR" \
        >"$OUT/mmdebstrap.log" 2>&1 || die "mmdebstrap, see $OUT/mmdebstrap.log"
    touch "$LAB/complete"
fi
rm -rf "$LAB/root"
cp -a --reflink=auto "$LAB/clean" "$LAB/root"
cp "$DEB" "$LAB/root/depthcast.deb"
chroot "$LAB/root" dpkg -i /depthcast.deb >"$OUT/boot-dpkg.log" 2>&1 || { cat "$OUT/boot-dpkg.log"; die 'dpkg -i'; }
# No sensor in a container: the car park, and a fault that a file turns on.
mkdir -p "$LAB/root/etc/systemd/system/depthcast.service.d"
printf '[Service]\nExecStart=\nExecStart=/usr/bin/depthcast run --source demo --config /etc/depthcast/config.toml $FAULT\n' \
    >"$LAB/root/etc/systemd/system/depthcast.service.d/demo.conf"
ln -sf /lib/systemd/system/multi-user.target "$LAB/root/etc/systemd/system/default.target"
cat tests/system/{checks,boot_guest}.sh >"$LAB/root/guest.sh"
cat tests/system/{checks,boot_readonly_guest}.sh >"$LAB/root/readonly.sh"
CHECKS=$(cat tests/system/boot_guest.sh tests/system/boot_readonly_guest.sh | grep -c "^ *check '")
: >"$OUT/boot-guest.txt"

# Where the kernel's memory controller is of the old kind, containers do not get it, and this script stands in: the guest
# names a process in /oom-wanted, and it is put where the kernel kills it for want of memory.
OLD_MEMORY=/sys/fs/cgroup/memory/depthcast-boot
rm -f "$LAB/root/oom-possible"
if mkdir -p "$OLD_MEMORY" 2>/dev/null && [ -e "$OLD_MEMORY/memory.limit_in_bytes" ]; then
    touch "$LAB/root/oom-possible"
fi
starve() {
    local wanted status
    until [ -s "$LAB/root/oom-wanted" ]; do sleep 0.2; done
    wanted=$(cat "$LAB/root/oom-wanted")
    echo 131072 >"$OLD_MEMORY/memory.limit_in_bytes"
    # Its number on this side.
    for status in /proc/[0-9]*/status; do
        if grep -qs "^NSpid:.*[[:space:]]$wanted$" "$status" && grep -qs '^Name:[[:space:]]depthcast$' "$status"; then
            basename "$(dirname "$status")" >"$OLD_MEMORY/cgroup.procs"
        fi
    done
    rm "$LAB/root/oom-wanted"
}

NSPAWN=''
# timeout → systemd-nspawn → the container's first process.
leader() { pgrep -P "$(pgrep -P "$NSPAWN" | head -n 1)" 2>/dev/null | head -n 1; }
stop() {
    [ -n "$NSPAWN" ] || return 0
    [ -z "$(leader)" ] || kill -s RTMIN+4 "$(leader)" 2>/dev/null || true
    wait "$NSPAWN" 2>/dev/null || true
    NSPAWN=''
}
tidy() {
    [ -z "${STARVE:-}" ] || kill "$STARVE" 2>/dev/null || true
    stop
    rmdir "$OLD_MEMORY" 2>/dev/null || true
}
trap tidy EXIT

# boot SCRIPT OPTIONS...: boots the root and runs the script in it.
boot() {
    local script=$1
    shift
    timeout 420 systemd-nspawn --quiet --register=no --keep-unit --private-network -D "$LAB/root" "$@" -b --console=pipe \
        </dev/null >"$OUT/boot-console.txt" 2>&1 &
    NSPAWN=$!
    for _ in $(seq 100); do
        LEADER=$(leader || true)
        [ -n "$LEADER" ] && nsenter -t "$LEADER" -a systemctl is-system-running 2>/dev/null | grep -qE 'running|degraded' && break
        kill -0 "$NSPAWN" 2>/dev/null || break
        sleep 0.3
    done
    [ -n "${LEADER:-}" ] || { cat "$OUT/boot-console.txt"; die 'the container does not boot'; }
    say "booted: $(nsenter -t "$LEADER" -a systemctl --version | head -n 1), $(nsenter -t "$LEADER" -a systemctl is-system-running || true)"
    nsenter -t "$LEADER" -a bash "/$script" 2>&1 | tee -a "$OUT/boot-guest.txt" || true
    stop
}

starve &
STARVE=$!
boot guest.sh
[ ! -e "$OLD_MEMORY/memory.oom_control" ] || say "NOTE killed by the kernel for want of memory: $(grep 'oom_kill ' "$OLD_MEMORY/memory.oom_control")"
boot readonly.sh --volatile=state
passed=$(grep -c '^PASS' "$OUT/boot-guest.txt" || true)
failed=$(grep -c '^FAIL' "$OUT/boot-guest.txt" || true)
skipped=$(grep -c '^SKIPPED' "$OUT/boot-guest.txt" || true)
say "$passed of $CHECKS checks passed, $failed failed, $skipped SKIPPED"
[ "$failed" = 0 ] && [ $((passed + skipped)) = "$CHECKS" ] || die "see $OUT/boot-guest.txt"
