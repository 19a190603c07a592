#!/usr/bin/env bash
# The units as the system's own systemd reads them: each line understood, and no more open than they promise.
. "$(dirname "$0")/lib.sh"
need systemd-analyze systemd

LAB=$OUT/units
# Times ten, as systemd-analyze wants it.
EXPOSURE_MAX=20
rm -rf "$LAB"
mkdir -p "$LAB"
cp "$ROOT/systemd/depthcast.socket" "$LAB"
# A program that is there, else that is what is found wrong.
sed "s|^ExecStart=/usr/bin/depthcast |ExecStart=$(realpath "$DEPTHCAST") |" "$ROOT/systemd/depthcast.service" >"$LAB/depthcast.service"

units() { systemd-analyze verify --man=no "$1/depthcast.service" "$1/depthcast.socket" 2>&1; }
exposed() { systemd-analyze security --offline=yes --threshold=$EXPOSURE_MAX --no-pager "$1/depthcast.service" 2>&1; }

said=$(units "$LAB") || die "the units are refused: $said"
# What concerns others on this machine is not ours.
ours=$(grep depthcast <<<"$said" || true)
[ -z "$ours" ] || die "the units are not understood: $ours"
say '  ok  each line is understood'
said=$(exposed "$LAB") || die "the service is too open: $(tail -n 1 <<<"$said")"
say "  ok  $(tail -n 1 <<<"$said")"

# Both would have found what is wrong.
mkdir -p "$LAB/bad"
cp "$LAB/depthcast.socket" "$LAB/bad"
sed -e 's/^NoNewPrivileges=/NoNewPrivilege=/' -e '/^\(Protect\|Restrict\|CapabilityBoundingSet\)/d' "$LAB/depthcast.service" \
    >"$LAB/bad/depthcast.service"
units "$LAB/bad" | grep -q NoNewPrivilege || die 'an unknown directive is not noticed'
if exposed "$LAB/bad" >/dev/null; then die 'a service without its walls is not noticed'; fi
say '  ok  an unknown directive and missing walls are noticed'
