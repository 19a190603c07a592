# What boot.sh runs in the booted container, behind checks.sh: PASS or FAIL for each check, and what it saw as NOTE.
show() { systemctl show depthcast.service -p "$1" --value; }
active() { [ "$(show ActiveState)/$(show SubState)" = active/running ]; }
pid() { show MainPID; }
restarted() { [ "$(pid)" != "$1" ] && [ "$(pid)" != 0 ] && active; }
ready() { curl -fsS --max-time 10 "http://127.0.0.1:${1:-8080}/readyz"; }
status_has() { show StatusText | grep -qE "$1"; }
# systemd 237 writes JSON with blanks around the colon.
logged() { journalctl -u depthcast.service -o json --no-pager | grep -F "$1" | grep -qE "\"PRIORITY\" ?: ?\"$2\""; }
fault() { systemctl set-environment FAULT="$1"; }
CONFIG=/etc/depthcast/config.toml
# What this systemd does not know of the units is what they mark as "later", and it complains of nothing else.
later=$(awk '/^#/ { on = /^# Later/ || (on && comment); comment = 1; next } { comment = 0 } /^$/ { on = 0 }
    on { sub("=.*", ""); print }' /lib/systemd/system/depthcast.service | paste -sd '|')
said() { journalctl -q --no-pager -o cat _PID=1 | grep -E 'depthcast\.(service|socket):[0-9]+: '; }
understood() { [ -n "$later" ] && ! said | grep -vE "Unknown (lvalue|key name) '($later)' in section"; }

# Installed and started.
# What it says at its start is said before there is a journal.
systemctl daemon-reload
journalctl --sync
echo "NOTE not known to this systemd: $(said | grep -oE "'($later)'" | sort -u | tr '\n' ' ')"
check 'the units are understood, but for what they mark as later' understood
check 'the service is active: it said READY' until_ok 20 active
check 'frames within two seconds of each other' until_ok 10 ready
check 'the status line tells of source, rate and viewers' until_ok 15 status_has '^demo: [0-9.]+ frames/s, [0-9]+ viewers?$'
echo "NOTE $(show StatusText); $(show MemoryCurrent) bytes, $(show TasksCurrent) tasks"
check 'it runs as the system user depthcast' [ "$(ps -o user= -p "$(pid)")" = depthcast ]
check 'without a capability' grep -q '^CapEff:[[:space:]]*0*$' "/proc/$(pid)/status"
check 'without a way to new privileges, with a filter for system calls' grep -Pzq 'NoNewPrivs:\t1\n.*(.*\n)*Seccomp:\t2' "/proc/$(pid)/status"
check 'it goes before others for the processor' [ "$(ps -o ni= -p "$(pid)" | tr -d ' ')" = -10 ]
check 'the port was handed over by systemd' logged 'inherited: `listen` does not count' 6
check 'IPv6 on the same port' curl -fsS --max-time 10 'http://[::1]:8080/healthz'

# HUP.
old=$(pid)
sed -i 's/^#location = .*/location = "Roof"/' "$CONFIG"
check 'a reload is taken' systemctl reload depthcast.service
check 'it says what changed, as information' until_ok 5 logged 'changed: camera.location' 6
check 'it is ready again after the reload' until_ok 5 active
printf 'nonsense = 1\n' | cat - "$CONFIG" >/tmp/bad && cp "$CONFIG" /tmp/good && cp /tmp/bad "$CONFIG"
systemctl reload depthcast.service
check 'a bad configuration is an error in the journal' until_ok 5 logged 'the configuration is bad and the old one stays' 3
check 'and the old one goes on serving, in the same process' eval "ready && [ '$old' = '$(pid)' ] && until_ok 5 active"

# A bad configuration at start: exit 1, tried again, healed by mending it. Whoever connects meanwhile waits.
systemctl restart depthcast.service 2>/dev/null
check 'at start it is refused with exit 1' until_ok 10 eval '[ "$(show ExecMainStatus)" = 1 ]'
check 'the reason stands in the journal as an error' logged 'nonsense' 3
curl -fsS --max-time 30 http://127.0.0.1:8080/healthz >/tmp/waited 2>&1 &
waiting=$!
sleep 1
cp /tmp/good "$CONFIG"
check 'mended, it starts by itself' until_ok 20 active
check 'whoever connected in between was served, not refused' wait "$waiting"

# A restart loses nobody.
python3 - >/tmp/tries <<'P' &
import socket, time
refused = served = 0
end = time.monotonic() + 8
while time.monotonic() < end:
    try:
        with socket.create_connection(("127.0.0.1", 8080), timeout=15) as s:
            s.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            s.settimeout(15)
            served += b" 200 " in s.recv(100)
    except ConnectionRefusedError:
        refused += 1
    except OSError:
        pass
    time.sleep(0.05)
print(refused, served)
P
tries=$!
sleep 1
systemctl restart depthcast.service
sleep 2
systemctl restart depthcast.service
wait "$tries"
echo "NOTE during two restarts, connections refused and served: $(cat /tmp/tries)"
check 'not one connection was refused during restarts' grep -qE '^0 [1-9]' /tmp/tries

# Killed, and out of memory.
old=$(pid)
kill -9 "$old"
check 'kill -9 is survived' until_ok 15 restarted "$old"
# A new form of the picture wants memory.
hungry() { curl -fsS --max-time 2 -o /dev/null "http://127.0.0.1:8080/$1" 2>/dev/null; }
starved() { for form in depth.png snapshot.jpg snapshot.png depth.rvl state; do hungry "$form"; done; [ "$(pid)" != "$old" ]; }
old=$(pid)
if [ "$(show MemoryCurrent)" != '[not set]' ]; then
    systemctl set-property --runtime depthcast.service MemoryMax=4M
    gone=$(until_ok 15 starved && echo yes)
    systemctl set-property --runtime depthcast.service MemoryMax=256M
elif [ -e /oom-possible ]; then
    # boot.sh puts it where there is no memory; what it has touched before that is its own.
    echo "$old" >/oom-wanted
    until_ok 20 eval '[ ! -e /oom-wanted ]'
    gone=$(until_ok 20 starved && echo yes)
else
    gone=skipped
fi
if [ "$gone" = skipped ]; then
    echo 'SKIPPED out of memory is survived: the container has no memory controller'
else
    check 'out of memory is survived' eval '[ -n "$gone" ] && until_ok 20 active && until_ok 10 ready'
fi
echo "NOTE restarts so far: $(show NRestarts), last result $(journalctl -u depthcast.service --no-pager -q | grep -oE "result '[a-z-]+'" | sort | uniq -c | tr '\n' ';')"
stopped() { systemctl stop depthcast.service depthcast.socket; }

# The watchdog: a stopped process, then a source that neither delivers nor tries. The limit is shortened for the test.
mkdir -p /run/systemd/system/depthcast.service.d
printf '[Service]\nWatchdogSec=4\n' >/run/systemd/system/depthcast.service.d/watchdog.conf
systemctl daemon-reload
systemctl restart depthcast.service
old=$(pid)
sleep 6
check 'a process that is well is not killed by the watchdog' [ "$(pid)" = "$old" ]
kill -STOP "$old"
check 'one that hangs is killed by the watchdog and started again' until_ok 30 restarted "$old"
check 'the journal says that it was the watchdog' eval "journalctl -u depthcast.service --no-pager | grep -q 'Watchdog timeout'"
fault '--fault=stall@1+600'
systemctl restart depthcast.service
old=$(pid)
check 'a source that is silent for 40 s is an error in the journal' until_ok 60 logged 'the watchdog will restart' 3
check 'and the watchdog starts the program again' until_ok 30 restarted "$old"
fault '--fault=vanish@1+600'
systemctl restart depthcast.service
old=$(pid)
sleep 50
check 'a source that is looked for in vain for 50 s is left in peace' [ "$(pid)" = "$old" ]
check 'the status says why there is no picture' status_has '^demo: no picture, .*: sensor'
fault ''

# Network: the port taken, by another program and without the socket unit; interface down and up.
stopped
python3 -c 'import socket, time; s = socket.create_server(("", 8080)); time.sleep(300)' &
other=$!
sleep 1
systemctl start depthcast.service 2>/dev/null
check 'a port that is taken is exit 2, not the end' until_ok 10 eval '[ "$(show ExecMainStatus)" = 2 ]'
kill "$other"
check 'healed by systemd once the port is free' until_ok 20 active
check 'on the address of the configuration' until_ok 10 ready
systemctl stop depthcast.service
systemctl start depthcast.socket depthcast.service
# Loopback stands in for an interface: the host's kernel may have no other to give.
ip addr add 192.0.2.1/24 dev lo
check 'an address that came later is served' until_ok 5 curl -fsS --max-time 5 http://192.0.2.1:8080/healthz
ip link set lo down
ip addr del 192.0.2.1/24 dev lo
ip link set lo up
ip -6 addr add 2001:db8::1/128 dev lo nodad
check 'another address, IPv6 only, after the interface was down' until_ok 5 curl -fsS --max-time 5 'http://[2001:db8::1]:8080/healthz'
check 'TERM: stopped with 0' eval 'systemctl stop depthcast.service && [ "$(show ExecMainStatus)/$(show Result)" = 0/success ]'
[ "$failed" = 0 ] || { journalctl -u depthcast.service --no-pager | tail -n 80; systemctl status depthcast.service --no-pager; }
