# What kernel.sh runs inside the virtual machine, behind checks.sh: no bash here, and only what busybox has.
#
# Prints PASS or FAIL and a name for each check, NOTE for a figure, and ORDER for what kernel.sh shall tell the
# simulated sensor. /test has the program, the frames that the sensor sends, and `parameters`.
cd /test
. ./parameters # PORT, FRAMES: how many frames the sensor repeats.
OUT=/tmp/frames
# What a program says is for the log.
CHECK_LOG=/dev/console

seconds() { cut -d ' ' -f 1 /proc/uptime; }

# The sensor's folder in sysfs, if it is there.
sensor() { grep -l 045e /sys/bus/usb/devices/*/idVendor 2>/dev/null | head -n 1 | sed 's:/idVendor::' | grep .; }
no_sensor() { ! sensor >/dev/null; }
configured() { [ "$(cat "$(sensor)/bConfigurationValue")" = 1 ]; }
attach() { usbip --tcp-port "$PORT" attach -r 10.0.2.2 -b 1-1; }
fast() { [ "$(cat "$(sensor)/speed")" = 5000 ]; }
frames() { ls "$OUT" | grep -c '\.depth$'; }
has_frames() { [ "$(frames)" -ge "$1" ]; }

# Every recorded frame is the one that the sensor sent under its sequence number: NUMBER_TIMESTAMP_SEQUENCE.depth.
equal() {
    local file sequence wrong=0
    for file in "$OUT"/*.depth; do
        sequence=${file##*_}
        sequence=${sequence%.depth}
        /programs/cmp "$file" "input/$((sequence % FRAMES)).depth" || wrong=$((wrong + 1))
    done
    [ "$wrong" = 0 ] && has_frames "$1"
}

# No frame is missing between the first and the last.
gapless() {
    local file sequence next=
    for file in "$OUT"/*.depth; do
        sequence=${file##*_}
        sequence=${sequence%.depth}
        [ -z "$next" ] || [ "$sequence" = "$next" ] || { echo "$file instead of $next"; return 1; }
        next=$((sequence + 1))
    done
}

# A new folder for frames.
fresh() { rm -rf "$OUT" && mkdir -p "$OUT"; }

# record FRAMES SECONDS: its output is kept for the log.
record() {
    ./capture --frames "$1" --seconds "$2" --out "$OUT" >/tmp/capture.txt 2>&1
    local code=$?
    sed 's/^/    /' /tmp/capture.txt
    return "$code"
}

# What the program counted.
counted() { grep -q "$1" /tmp/capture.txt; }

check 'attached to vhci-hcd' attach
check 'enumerated and configured by the kernel' until_ok 20 configured
check 'the link is SuperSpeed' fast
echo "NOTE usbfs_memory_mb is $(cat /sys/module/usbcore/parameters/usbfs_memory_mb)"

fresh
begun=$(seconds)
check '30 frames recorded through usbfs' record 30 120
echo "NOTE $(grep 'frames in' /tmp/capture.txt); with start and stop $begun s to $(seconds) s"
echo "NOTE $(grep 'emptiest' /tmp/capture.txt)"
check '30 frames equal to the input, bit for bit' equal 30
check 'not one frame lost' gapless

# Unplugged while it streams: the program stays, and goes on when the sensor is back.
fresh
record 40 240 &
recorder=$!
check 'streams again in a second program' until_ok 60 has_frames 5
echo 'ORDER unplug'
check 'the kernel sees it go' until_ok 20 no_sensor
sleep 2
before=$(frames)
check 'unplugged in the middle' [ "$before" -lt 40 ]
echo 'ORDER plug'
check 'attached again' until_ok 20 attach
plugged=$(seconds)
check 'frames come again to the same program' until_ok 60 has_frames $((before + 1))
echo "NOTE $before frames, unplugged, and the next within $(seconds) - $plugged s of being attached"
check 'the program ends well' wait "$recorder"
check 'it saw one disconnect, and opened twice' counted 'opened: 2, .*disconnects: 1,'
check '40 frames equal to the input, bit for bit' equal 40

# The other way: the client's side lets go.
detached() { usbip detach -p "$(usbip port 2>/dev/null | sed -n 's/^Port \([0-9]*\):.*/\1/p' | head -n 1)"; }
fresh
record 40 240 &
recorder=$!
check 'streams in a third program' until_ok 60 has_frames 5
check 'detached' detached
check 'the kernel sees it go again' until_ok 20 no_sensor
check 'attached a third time' until_ok 20 attach
check 'the third program ends well' wait "$recorder"
check 'it saw one disconnect, and opened twice, too' counted 'opened: 2, .*disconnects: 1,'
check '40 more frames equal to the input, bit for bit' equal 40

complaints() { dmesg | grep -E 'WARNING|BUG|Oops|Call Trace|page allocation failure|total length of iso'; }
check 'the kernel has nothing to complain of' [ -z "$(complaints)" ]
[ "$failed" = 0 ] || dmesg | tail -n 60
