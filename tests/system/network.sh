#!/usr/bin/env bash
# What happens to the network of a box that nobody touches: interface down and up, short and long; address changed; IPv6
# only; no address at start; port taken. In two network namespaces with a cable between them (veth).
#
# Needs root, and a kernel with veth; SKIPPED where they are not.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/checks.sh"
[ "$(id -u)" = 0 ] || { say 'SKIPPED: this test wants root' && exit 0; }
need ip iproute2
need curl curl
"$DEPTHCAST" --version

BOX=depthcast-box-$$ LAN=depthcast-lan-$$ LOG=$OUT/network.log
# The kernel sends again after 0.2, 0.6, 1.4, 3 and 6.2 s: after some three seconds of nothing the next try comes in time.
STALL=10
trouble() { tail -n 5 "$LOG"; }
box() { ip netns exec "$BOX" "$@"; }
lan() { ip netns exec "$LAN" "$@"; }
SERVER='' VIEWER=''
tidy() {
    for pid in $SERVER $VIEWER; do kill "$pid" 2>/dev/null || true; done
    ip netns del "$BOX" 2>/dev/null || true
    ip netns del "$LAN" 2>/dev/null || true
}
trap tidy EXIT
served() { lan curl -gfsS --max-time 3 -o /dev/null "http://$1:8080/snapshot.png"; }
descriptors() { find "/proc/$SERVER/fd" -mindepth 1 | wc -l; }
lost_nothing() { [ "$(descriptors)" -le "$BASE" ]; }
# Not through a function: $! is to be the program itself.
start() {
    rm -f "$LOG"
    ip netns exec "$BOX" "$DEPTHCAST" run --source demo --config "$OUT/network.toml" "$@" >"$LOG" 2>&1 &
    SERVER=$!
    until_ok 10 grep -q 'listening on' "$LOG"
}
# A viewer that says, for each picture, its number and its age in ms by the clock that both namespaces share.
watch() {
    ip netns exec "$LAN" python3 -u - "$1" >"$OUT/network-viewer.txt" 2>&1 <<'P' &
import re, socket, sys, time
s = socket.create_connection((sys.argv[1], 8080), timeout=60)
s.sendall(b"GET /stream?format=png HTTP/1.1\r\nHost: box\r\n\r\n")
data = b""
while True:
    part = s.recv(1 << 16)
    if not part:
        print("closed")
        break
    data += part
    for found in re.finditer(rb"X-Timestamp: ([\d.]+)\r\nX-Depthcast-Seq: (\d+)", data):
        print(int(found[2]), int(1000 * (time.time() - float(found[1]))))
    data = data[-200:] if b"X-Depthcast-Seq" not in data[-200:] else b""
P
    VIEWER=$!
}
pictures() { wc -l <"$OUT/network-viewer.txt"; }
more() { [ "$(pictures)" -gt $(($1 + 10)) ]; }
fresh() { tail -n 1 "$OUT/network-viewer.txt" | awk '{ exit !($2 < 1000) }'; }
alive() { kill -0 "$VIEWER"; }

printf '[viewers]\nstall_s = %s\n' "$STALL" >"$OUT/network.toml"
if ! { ip netns add "$BOX" && ip netns add "$LAN" && ip -n "$BOX" link add eth0 type veth peer name lan0 netns "$LAN"; }; then
    say 'SKIPPED: no network namespaces or no veth here' && exit 0
fi
ip -n "$LAN" addr add 192.0.2.1/24 dev lan0
ip -n "$LAN" addr add 198.51.100.1/24 dev lan0
ip -n "$LAN" addr add 2001:db8::1/64 dev lan0 nodad
ip -n "$LAN" link set lan0 up

# Not even loopback is up.
start --listen '[::]:8080'
check 'starts without a network' grep -q depthcast "/proc/$SERVER/comm"
sleep 1
BASE=$(descriptors)
ip -n "$BOX" addr add 192.0.2.2/24 dev eth0
ip -n "$BOX" link set eth0 up
check 'an address that comes later is served' until_ok 10 served 192.0.2.2

watch 192.0.2.2
check 'a viewer watches' until_ok 10 more 0
check 'which takes a descriptor' [ "$(descriptors)" -gt "$BASE" ]
ip -n "$BOX" link set eth0 down
sleep 3
before=$(pictures)
ip -n "$BOX" link set eth0 up
check 'three seconds without the cable: the same connection goes on' eval 'until_ok 15 more "$before" && alive'
check 'and shows what is now, not what was' until_ok 5 fresh
say "NOTE first pictures after it, number and age in ms: $(tail -n "+$((before + 1))" "$OUT/network-viewer.txt" | head -n 4 | tr '\n' ';')"

ip -n "$BOX" link set eth0 down
check "without it for longer than stall_s, the viewer is let go" until_ok $((STALL + 15)) lost_nothing
ip -n "$BOX" link set eth0 up
kill "$VIEWER" 2>/dev/null || true
check 'whoever comes back is served' until_ok 10 served 192.0.2.2

watch 192.0.2.2
check 'a viewer watches again' until_ok 10 more 0
ip -n "$BOX" addr del 192.0.2.2/24 dev eth0
ip -n "$BOX" addr add 198.51.100.2/24 dev eth0
check 'another address is served at once' until_ok 5 served 198.51.100.2
check 'the viewer of the old one is let go' until_ok $((STALL + 15)) lost_nothing
kill "$VIEWER" 2>/dev/null || true

ip -n "$BOX" -4 addr flush dev eth0
ip -n "$BOX" addr add 2001:db8::2/64 dev eth0 nodad
check 'IPv6 only' until_ok 10 served '[2001:db8::2]'
link=$(ip -n "$BOX" -6 -o addr show dev eth0 scope link | awk '{ sub("/.*", "", $4); print $4 }')
check 'the address of the link alone' until_ok 10 served "[$link%25lan0]"

# The cable is pulled out together with its adaptor.
watch 2001:db8::2
check 'a viewer watches over IPv6' until_ok 10 more 0
ip -n "$BOX" link del eth0
check 'the interface is gone: the viewer is let go' until_ok $((STALL + 15)) lost_nothing
kill "$VIEWER" 2>/dev/null || true
ip -n "$BOX" link add eth0 type veth peer name lan0 netns "$LAN"
ip -n "$LAN" addr add 192.0.2.1/24 dev lan0
ip -n "$LAN" link set lan0 up
ip -n "$BOX" addr add 192.0.2.7/24 dev eth0
ip -n "$BOX" link set eth0 up
check 'another one is served' until_ok 10 served 192.0.2.7

code() { wait "$1"; }
other() { box timeout 20 "$DEPTHCAST" demo --listen "$1" >"$OUT/network-other.log" 2>&1; [ $? = "$2" ]; }
check 'the port is taken: exit 2' other 192.0.2.7:8080 2
check 'and it says so' grep -q 'another program does' "$OUT/network-other.log"
check 'an address that is not there: exit 2' other 192.0.2.99:8080 2
say "NOTE it says: $(cat "$OUT/network-other.log")"
kill "$SERVER"
check 'TERM ends it with 0' code "$SERVER"
SERVER=''
check 'its log complains of nobody but the viewers it let go' eval "! grep -E 'error|panicked' '$LOG'"
say "$passed checks passed, $failed failed"
[ "$failed" = 0 ] || die "see $LOG"
