# What vm.sh runs inside the virtual machine, behind checks.sh: PASS or FAIL and a name for each check, NOTE for a figure,
# and ORDER for what vm.sh shall tell the simulated sensor.
. /parameters # PORT
show() { systemctl show depthcast.service -p "$1" --value; }
active() { [ "$(show ActiveState)/$(show SubState)" = active/running ]; }
ready() { curl -fsS --max-time 10 http://127.0.0.1:8080/readyz; }
reason() { curl -sS --max-time 10 http://127.0.0.1:8080/state | grep -qE "\"sensor\":\{\"source\":\"kinect\",\"state\":\"($1)\""; }
state() { curl -sS --max-time 10 http://127.0.0.1:8080/state | grep -oE "\"$1\":[^,}]*" | head -n 1; }
pid() { show MainPID; }
restarted() { [ "$(pid)" != "$1" ] && [ "$(pid)" != 0 ] && active; }
attach() { usbip --tcp-port "$PORT" attach -r 10.0.2.2 -b 1-1; }
sensor() { grep -l 045e /sys/bus/usb/devices/*/idVendor | head -n 1 | sed 's:/idVendor::' | grep .; }
node() { printf '/dev/bus/usb/%03d/%03d' "$(cat "$(sensor)/busnum")" "$(cat "$(sensor)/devnum")"; }
more_frames() { local seq; seq=$(state seq); sleep 3; [ "$(state seq)" != "$seq" ]; }

# Emulated, it makes a frame a second: between two there is no depth.
picture() { curl -fsS --max-time 20 -o /tmp/p.png http://127.0.0.1:8080/depth.png && [ "$(stat -c %s /tmp/p.png)" -gt 15000 ]; }

modprobe -a virtio_net vhci-hcd
until_ok 30 ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
check 'the service is active without a sensor' until_ok 60 active
check 'and says that there is none' until_ok 60 reason 'not_found'
echo "NOTE $(systemctl --version | head -n 1), kernel $(uname -r), $(systemctl is-system-running)"
echo "NOTE $(show StatusText)"
old=$(pid)
check 'attached' until_ok 60 attach
[ "$failed" = 0 ] || { attach; ip addr; lsmod; }
check 'the kernel has the sensor' until_ok 30 sensor
check 'udev gives its node to the group depthcast' until_ok 20 eval '[ "$(stat -c %G:%a "$(node)")" = depthcast:660 ]'
check 'and forbids it to sleep' [ "$(cat "$(sensor)/power/control")" = on ]
check 'and raises the memory of usbfs' [ "$(cat /sys/module/usbcore/parameters/usbfs_memory_mb)" = 64 ]
check 'ready: the service has opened it by itself' until_ok 120 ready
check 'frames come' until_ok 60 more_frames
echo "NOTE $(show StatusText); $(show MemoryCurrent) bytes; $(state packets_lost)"
check 'depth of it' until_ok 60 picture
check 'as the system user, in the same process as before' eval '[ "$(ps -o user= -p "$(pid)")" = depthcast ] && [ "$(pid)" = "$old" ]'
echo 'ORDER unplug'
check 'unplugged: it says so' until_ok 60 reason 'disconnected|not_found'
not_ready() { ! ready; }
check 'unplugged: not ready' until_ok 20 not_ready
echo 'ORDER plug'
check 'attached again' until_ok 30 attach
check 'ready again, without a hand' until_ok 120 ready
check 'in the same process' [ "$(pid)" = "$old" ]
systemctl set-property --runtime depthcast.service MemoryMax=4M
killed() { [ "$(pid)" != "$old" ]; }
check 'out of memory: killed' until_ok 60 killed
systemctl set-property --runtime depthcast.service MemoryMax=256M
check 'out of memory: started again' until_ok 60 restarted "$old"
echo "NOTE $(journalctl -u depthcast.service --no-pager -q | grep -oE "result '[a-z-]+'" | sort | uniq -c | tr '\n' ';')"
check 'out of memory: ready again with the sensor' until_ok 180 ready
old=$(pid)
kill -9 "$old"
check 'kill -9 while it streams: started again' until_ok 60 restarted "$old"
check 'kill -9 while it streams: ready again with the sensor' until_ok 180 ready
check 'a stop leaves the sensor and ends with 0' eval 'systemctl stop depthcast.service && [ "$(show ExecMainStatus)/$(show Result)" = 0/success ]'
systemctl start depthcast.service
check 'started again, it streams again' until_ok 180 ready
systemctl stop depthcast.service depthcast.socket
setpriv --reuid=depthcast --regid=depthcast --clear-groups depthcast probe --report --seconds 5 >/tmp/report.md
sed 's/^/NOTE /' /tmp/report.md
check 'probe --report as that user knows the sensor' grep -q "^| sensor's serial number | [0-9]" /tmp/report.md
[ "$failed" = 0 ] || { journalctl -u depthcast.service --no-pager | tail -n 60; dmesg | tail -n 30; }
echo GUEST-END
