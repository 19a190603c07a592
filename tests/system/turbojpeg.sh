#!/usr/bin/env bash
# JPEG through the system's libjpeg-turbo: the server built with the feature, its JPEG tests, and real decoders on what it sends.
# By hand, because it builds the server twice more: minutes.
. "$(dirname "$0")/lib.sh"
need pkg-config pkg-config
# A library is no program: none is called so.
pkg-config --exists libturbojpeg || need libturbojpeg libturbojpeg0-dev
need djpeg libjpeg-turbo-progs
cd "$ROOT"
# Beside the usual build, so that the next test does not find a program with another encoder.
target=$OUT/turbojpeg
cargo test --quiet --target-dir "$target" --features turbojpeg --lib encode::jpeg
cargo test --quiet --target-dir "$target" --features turbojpeg --test no_alloc
cargo build --release --quiet --target-dir "$target" --features turbojpeg
program=$target/release/depthcast
"$program" --version | grep -q turbojpeg || die "$("$program" --version)"
ldd "$program" | grep -q libturbojpeg || die 'the library is not linked'

"$program" demo --listen 127.0.0.1:0 2>"$OUT/turbojpeg.log" &
server=$!
trap 'kill $server 2>/dev/null || true' EXIT
address=
for _ in {1..100}; do
    address=$(sed -n 's/.*listening on \([0-9.:]*\).*/\1/p' "$OUT/turbojpeg.log")
    [ -z "$address" ] || break
    sleep 0.1
done
[ -n "$address" ] || die "$(cat "$OUT/turbojpeg.log")"
curl -fsS "http://$address/snapshot" -o "$OUT/turbojpeg.jpg"
djpeg -ppm -outfile "$OUT/turbojpeg.ppm" "$OUT/turbojpeg.jpg"
[ "$(head -c 15 "$OUT/turbojpeg.ppm" | tr '\n' ' ')" = 'P6 512 424 255 ' ] || die 'djpeg sees something else'
# The comment stands right behind the JFIF segment: its marker at byte 20.
[ "$(od -An -tx1 -j20 -N2 "$OUT/turbojpeg.jpg" | tr -d ' ')" = fffe ] || die 'no comment segment'
venv new
"$PYTHON" - "$address" "$OUT/turbojpeg.jpg" <<'PYTHON'
import sys, urllib.request
import cv2, numpy
snapshot = cv2.imread(sys.argv[2])
assert snapshot.shape == (424, 512, 3), snapshot.shape
capture = cv2.VideoCapture(f"http://{sys.argv[1]}/stream")
for _ in range(30):
    good, picture = capture.read()
    assert good and picture.shape == (424, 512, 3)
# The same scene without loss, a moment later: most of it has not moved.
png = urllib.request.urlopen(f"http://{sys.argv[1]}/snapshot.png").read()
lossless = cv2.imdecode(numpy.frombuffer(png, numpy.uint8), cv2.IMREAD_COLOR)
jpeg = cv2.imdecode(numpy.frombuffer(urllib.request.urlopen(f"http://{sys.argv[1]}/snapshot").read(), numpy.uint8), cv2.IMREAD_COLOR)
apart = numpy.median(numpy.abs(lossless.astype(int) - jpeg))
assert apart < 8, apart
print(f"30 pictures decoded; the median sample is {apart:.0f} from the lossless one")
PYTHON
