"""Real clients on /stream and /snapshot.

The source is a replay whose pictures show their own number, as eight fields of red or blue and below them their
complements: whatever a client does to a picture, the number it decoded can be read off, and nothing else passes for one.
A client has passed when it decoded thirty different ones. All watch at once; none has to keep up.
"""

import collections
import concurrent.futures
import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import zlib

import cv2
import numpy as np
import websockets.sync.client
from playwright.sync_api import sync_playwright

from harness import OUT, WAIT, Server, main, need, step

WIDTH, HEIGHT, NUMBERS, WANTED, FPS = 512, 424, 128, 30, 15
PATIENCE = 120  # seconds for a client to decode its pictures; a bound, not a measure
FIELD = WIDTH // 8
NEAR, FAR = 100, 1400  # millimetres: blue and red at the range 0 to 1500

# The same reading in a browser, of what an <img> shows.
BROWSER = """(async () => {
  const img = new Image();
  img.src = '/stream';
  document.body.append(img);
  const canvas = document.createElement('canvas');
  canvas.width = 512;
  canvas.height = 424;
  const context = canvas.getContext('2d', { willReadFrequently: true });
  const red = (x, y) => { const [r, , b] = context.getImageData(x, y, 1, 1).data; return r > b; };
  const numbers = new Set(), end = performance.now() + 1000 * PATIENCE;
  while (numbers.size < WANTED + 5 && performance.now() < end) {
    await new Promise(done => setTimeout(done, 20));
    if (!img.naturalWidth) continue;
    // Firefox draws an <img> itself as it was at first.
    const bitmap = await createImageBitmap(img);
    context.drawImage(bitmap, 0, 0);
    bitmap.close();
    let number = 0, fine = true;
    for (let i = 0; i < 8; i += 1) {
      const bit = red(64 * i + 32, 106);
      fine &&= bit !== red(64 * i + 32, 318);
      number = 2 * number + bit;
    }
    if (fine) numbers.add(number);
  }
  return JSON.stringify([...numbers]);
})()""".replace("PATIENCE", str(PATIENCE)).replace("WANTED", str(WANTED))


def write_frames(folder):
    """The pictures, as 16-bit grey PNGs of millimetres."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    for number in range(NUMBERS):
        bits = [number >> (7 - i) & 1 for i in range(8)]
        rows = b""
        for half in (bits, [1 - bit for bit in bits]):
            rows += (b"\0" + b"".join(struct.pack(">H", FAR if bit else NEAR) * FIELD for bit in half)) * (HEIGHT // 2)
        header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 0, 0, 0, 0)
        png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")
        (folder / f"{number:03}.png").write_bytes(png)


def number_in(image):
    """The number that a BGR picture shows, or None. VLC's are padded below."""
    if image is None or image.shape[1] != WIDTH or not HEIGHT <= image.shape[0] <= HEIGHT + 32:
        return None
    columns = FIELD // 2 + FIELD * np.arange(8)
    rows = image[[HEIGHT // 4, 3 * HEIGHT // 4]][:, columns].astype(int)
    red = rows[..., 2] > rows[..., 0]
    if not (red[0] != red[1]).all():
        return None
    return int(np.packbits(red[0])[0])


def decode(data):
    """The number in an encoded picture."""
    return number_in(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))


class Parts:
    """Reads a multipart stream by go2rtc's rules: a boundary is a line that starts with two dashes, a head ends with an
    empty line ended by CRLF, every field has a colon, and every part states its length."""

    def __init__(self, data):
        self.data = data

    def __iter__(self):
        while True:
            line = self.data.readline()
            need(line, "the stream ended")
            if line == b"\r\n":
                continue
            need(line.startswith(b"--") and line.endswith(b"\r\n"), f"no boundary: {line[:60]!r}")
            head = collections.OrderedDict()
            while (line := self.data.readline()) != b"\r\n":
                need(line.endswith(b"\r\n") and b":" in line, f"no header field: {line[:60]!r}")
                name, _, value = line.decode().partition(":")
                head[name] = value.strip()
            need("Content-Length" in head, "no content length")
            body = self.data.read(int(head["Content-Length"]))
            need(len(body) == int(head["Content-Length"]) > 0, "a part that is cut off or empty")
            yield head, body, time.time()


@contextlib.contextmanager
def stream(port, path="/stream", version="1.1"):
    """Status line, header lines and parts of a stream."""
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT) as sock:
        sock.sendall(f"GET {path} HTTP/{version}\r\nHost: camera\r\n\r\n".encode())
        with sock.makefile("rb") as data:
            lines = []
            while (line := data.readline()) not in (b"\r\n", b""):
                lines.append(line.decode().rstrip())
            yield lines, Parts(data)


def get(port, path):
    """A whole answer: status, head, body and the seconds it took."""
    begun = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT)
    connection.request("GET", path, headers={"User-Agent": "snapshot"})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers, body, time.monotonic() - begun


# --- Clients: each gives the numbers that it decoded ---


def gather(source):
    """Different numbers, until there are enough or time is up."""
    numbers, end = set(), time.monotonic() + PATIENCE
    for number in source:
        if number is not None:
            numbers.add(number)
        if len(numbers) >= WANTED + 5 or time.monotonic() > end:
            break
    return numbers


def go2rtc(url, _):
    """Not the program, its rules; the numbers must be those of the sequence numbers stated."""
    port = int(url.split(":")[2].split("/")[0])
    offsets = set()

    def pictures(parts):
        for head, body, _ in parts:
            number = decode(body)
            need(head["Content-Type"] == "image/jpeg" and body[:3] == b"\xff\xd8\xff", f"not a JPEG: {head}")
            need(number is not None, "a picture without a number")
            offsets.add((int(head["X-Depthcast-Seq"]) - number) % NUMBERS)
            yield number

    with stream(port) as (_, parts):
        numbers = gather(pictures(parts))
    need(len(offsets) == 1, f"sequence numbers and pictures do not go together: {offsets}")
    return numbers


def pipe(command, size, environment=None, log=subprocess.DEVNULL):
    """Raw RGB pictures that a program writes to its output."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=environment)
    timer = kill_late(process)
    try:
        while len(data := process.stdout.read(size)) == size:
            yield number_in(np.frombuffer(data, np.uint8).reshape(HEIGHT, WIDTH, 3)[..., ::-1])
    finally:
        timer.cancel()
        end(process)


def kill_late(process):
    """Ends a program that gives nothing."""
    import threading

    timer = threading.Timer(PATIENCE, process.kill)
    timer.start()
    return timer


def end(process):
    """Ends a program that was started here, and its output."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout:
        process.stdout.close()


def ffmpeg(url, _):
    """ffmpeg, by its own guess of the format."""
    command = ["ffmpeg", "-loglevel", "error", "-i", url, "-vsync", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    return gather(pipe(command, WIDTH * HEIGHT * 3))


def gstreamer(url, _):
    """GStreamer with its multipart demultiplexer."""
    command = ["gst-launch-1.0", "-q", "souphttpsrc", f"location={url}", "!", "multipartdemux", "!", "jpegdec", "!",
               "videoconvert", "!", "video/x-raw,format=RGB", "!", "fdsink", "fd=1"]
    return gather(pipe(command, WIDTH * HEIGHT * 3))


def opencv(url, _):
    """OpenCV's VideoCapture, over the ffmpeg in its wheel."""
    capture = cv2.VideoCapture(url)
    need(capture.isOpened(), "cannot open")

    def pictures():
        while True:
            fine, image = capture.read()
            if not fine:
                return
            yield number_in(image)

    try:
        return gather(pictures())
    finally:
        capture.release()


def curl(url, _):
    """curl, which hands over bytes; taken apart here."""
    process = subprocess.Popen(["curl", "-sSN", url], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    timer = kill_late(process)
    try:
        return gather(decode(body) for _, body, _ in Parts(process.stdout))
    finally:
        timer.cancel()
        end(process)


def from_files(command, folder, environment=None):
    """Numbers in the picture files that a program writes."""
    with open(OUT / f"client-{folder.name}.log", "wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
    read, numbers, end_at = set(), set(), time.monotonic() + PATIENCE
    try:
        while len(numbers) < WANTED + 5 and time.monotonic() < end_at:
            time.sleep(0.5)
            # The last file may not be whole yet.
            for path in sorted(p for p in folder.iterdir() if p.suffix in (".png", ".jpg"))[:-1]:
                if path not in read:
                    read.add(path)
                    if (number := number_in(cv2.imread(str(path)))) is not None:
                        numbers.add(number)
    finally:
        end(process)
    return numbers


def vlc(url, folder):
    """VLC, which writes every picture that it shows. It refuses to run as root."""
    command = ["vlc", "-I", "dummy", "--no-audio", "--no-video-title-show", "--vout=vdummy", "--video-filter=scene",
               "--scene-format=png", "--scene-ratio=1", "--scene-prefix=shown", f"--scene-path={folder}", url]
    if os.geteuid() == 0:
        command = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", *command]
    return from_files(command, folder, {**os.environ, "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)})


def mpv(url, folder):
    """mpv, which writes every picture that it shows."""
    command = ["mpv", "--no-config", "--vo=image", "--vo-image-format=png", f"--vo-image-outdir={folder}", "--no-audio", url]
    return from_files(command, folder)


def motion(url, folder):
    """Motion, told that everything moves, so that it keeps every picture."""
    config = folder / "motion.conf"
    config.write_text(f"daemon off\nsetup_mode off\nnetcam_url {url}\nwidth {WIDTH}\nheight {HEIGHT}\nframerate {FPS}\n"
                      f"target_dir {folder}\nemulate_motion on\npicture_output on\npicture_quality 95\nmovie_output off\n"
                      "picture_filename %H%M%S-%q\nstream_port 0\nwebcontrol_port 0\ntext_right\nlog_level 5\n")
    return from_files(["motion", "-n", "-c", str(config), "-p", str(folder / "pid")], folder)


def chromium(url, _):
    """Chromium, an <img>."""
    with sync_playwright() as playwright:
        program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            page = browser.new_page()
            page.goto(url.replace("/stream", "/"))
            return set(json.loads(page.evaluate(BROWSER)))
        finally:
            browser.close()


def firefox(url, folder):
    """Firefox, an <img>; driven through its own WebDriver BiDi."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["firefox-esr", "--headless", "--no-remote", "--profile", str(folder), "--remote-debugging-port", str(port)]
    with open(OUT / "client-firefox.log", "wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                   env={**os.environ, "HOME": str(folder), "MOZ_DISABLE_CONTENT_SANDBOX": "1"})
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                connection = websockets.sync.client.connect(f"ws://127.0.0.1:{port}/session", max_size=None, ping_interval=None)
                break
            except (OSError, websockets.exceptions.WebSocketException):
                need(time.monotonic() < deadline and process.poll() is None, "firefox does not start")
                time.sleep(0.2)
        with connection:
            number = 0

            def call(method, **params):
                nonlocal number
                number += 1
                connection.send(json.dumps({"id": number, "method": method, "params": params}))
                while (answer := json.loads(connection.recv(timeout=PATIENCE + 30))).get("id") != number:
                    pass
                need(answer["type"] == "success", f"{method}: {answer}")
                return answer["result"]

            call("session.new", capabilities={})
            tab = call("browsingContext.getTree")["contexts"][0]["context"]
            call("browsingContext.navigate", context=tab, url=url.replace("/stream", "/"), wait="interactive")
            result = call("script.evaluate", expression=BROWSER, target={"context": tab}, awaitPromise=True)
            need(result["type"] == "success", f"{result}")
            return set(json.loads(result["result"]["value"]))
    finally:
        end(process)


CLIENTS = (go2rtc, ffmpeg, gstreamer, opencv, curl, vlc, mpv, motion, chromium, firefox)


def watch(server, clients):
    """All clients at once."""
    url = f"http://127.0.0.1:{server.port}/stream"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        os.chmod(scratch, 0o755)

        def one(client):
            folder = pathlib.Path(scratch) / client.__name__
            folder.mkdir()
            os.chmod(folder, 0o777)
            begun = time.monotonic()
            try:
                return client, client(url, folder), time.monotonic() - begun, ""
            except Exception as error:  # one client's failure must not hide the others'
                return client, set(), time.monotonic() - begun, f"{type(error).__name__}: {error}"

        with concurrent.futures.ThreadPoolExecutor(len(clients)) as pool:
            results = list(pool.map(one, clients))
    for client, numbers, seconds, error in results:
        print(f"      {client.__name__:10} {len(numbers):3} different pictures in {seconds:5.1f} s {error}", flush=True)
    for client, numbers, _, error in results:
        need(len(numbers) >= WANTED, f"{client.__name__} decoded {len(numbers)} different pictures: {error}")


# --- Snapshots, as two programs take them ---


def octoprint(port):
    """A GET with a timeout; the answer must be a picture, whatever the sensor does."""
    status, head, body, seconds = get(port, "/?action=snapshot")
    need(status == 200 and head["Content-Type"] == "image/jpeg", f"{status} {head['Content-Type']}")
    need(seconds < 5, f"an answer after {seconds:.1f} s")
    return head, body


def home_assistant(port):
    """`mjpeg` without a still URL: from the stream, what stands between FF D8 and the first FF D9."""
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT) as sock:
        sock.sendall(b"GET /stream HTTP/1.1\r\nHost: camera\r\n\r\n")
        data = b""
        while True:
            start = data.find(b"\xff\xd8")
            stop = data.find(b"\xff\xd9", start)
            if start >= 0 and stop >= 0:
                return data[start:stop + 2]
            part = sock.recv(1 << 16)
            need(part, "the stream ended before a picture")
            data += part


def snapshots(server, online):
    """Both ways."""
    head, body = octoprint(server.port)
    need(head["X-Depthcast-Online"] == str(online).lower(), f"online: {head['X-Depthcast-Online']}")
    for data in (body, home_assistant(server.port)):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        need(image is not None and image.shape == (HEIGHT, WIDTH, 3), "not a picture")
        need((number_in(image) is not None) == online, "the wrong picture")


# --- Beside µStreamer ---


@contextlib.contextmanager
def ustreamer():
    """Debian's, without a camera: it serves its own placeholder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with open(OUT / "ustreamer.log", "wb") as log:
        process = subprocess.Popen(["ustreamer", "--host=127.0.0.1", f"--port={port}", "--device=/dev/none"],
                                   stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + WAIT
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            need(time.monotonic() < deadline and process.poll() is None, "ustreamer does not start")
            time.sleep(0.1)
        yield port
    finally:
        end(process)


def fields(lines):
    """Header lines by lower-case name."""
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def beside_ustreamer(server):
    """Everything that µStreamer says about a stream, a part and a snapshot, we say too, in the same words."""
    with ustreamer() as port:
        heads = []
        for peer in (port, server.port):
            with stream(peer) as (lines, parts):
                need(lines[0] == "HTTP/1.0 200 OK", f"{lines[0]!r}")
                head, _, _ = next(iter(parts))
                heads.append((fields(lines[1:]), head))
        (their_head, their_part), (our_head, our_part) = heads
        missing = their_head.keys() - our_head.keys()
        need(missing <= OPTIONAL, f"no {missing} in the head of the stream")
        for name in their_head.keys() & our_head.keys() - {"set-cookie"}:
            need(our_head[name] == their_head[name], f"{name}: {our_head[name]!r}, µStreamer's is {their_head[name]!r}")
        print(f"      more than µStreamer's: {', '.join(sorted(our_head.keys() - their_head.keys()))}")
        need(list(our_part)[:len(their_part)] == list(their_part), f"part fields {list(our_part)}, theirs {list(their_part)}")
        need(our_part["Content-Type"] == their_part["Content-Type"], f"{our_part['Content-Type']!r}")
        ours, theirs = (get(peer, "/snapshot")[1] for peer in (server.port, port))
        missing = {name.lower() for name in theirs.keys()} - {name.lower() for name in ours.keys()}
        # Its own stages, and what it dropped, are not ours.
        missing = {name for name in missing if not re.match("x-ustreamer-(dropped|.*timestamp)", name)} - OPTIONAL
        need(not missing, f"no {missing} in the head of a snapshot")
        for name in ("Content-Type", "Cache-Control", "Pragma", "Expires"):
            need(ours[name] == theirs[name], f"{name}: {ours[name]!r}, µStreamer's is {theirs[name]!r}")


def beside_ustreamer_options(server):
    """Cookie, `extra_headers`, `advance_headers`, `zero_data` and /state as µStreamer has them, to the byte where both can."""

    def begin(port, query):
        """The first bytes of a stream, up to the end of the second part's head."""
        with socket.create_connection(("127.0.0.1", port), timeout=WAIT) as sock:
            sock.sendall(f"GET /stream?{query} HTTP/1.1\r\nHost: camera\r\n\r\n".encode())
            data = b""
            while data.count(b"\r\n\r\n") < 3:
                part = sock.recv(1 << 16)
                need(part, f"?{query}: the stream ended")
                data += part
            return data

    def same_but_for_numbers(query):
        """Both answer with the same text, figures aside."""
        texts = []
        for port in (server.port, peer):
            head, _, parts = begin(port, query).partition(b"\r\n\r\n")
            cookie = fields(head.decode().split("\r\n")[1:])["set-cookie"]
            text = b"\r\n\r\n".join(parts.split(b"\r\n\r\n")[:2])
            texts.append((re.sub(r"[0-9a-f]{16}", "N", cookie), re.sub(rb"[\d.]+", b"N", text)))
        need(texts[0] == texts[1], f"?{query}: {texts[0]}, µStreamer's is {texts[1]}")

    with ustreamer() as peer:
        same_but_for_numbers("advance_headers=1&zero_data=true&key=a1-_.~B")
        same_but_for_numbers("advance_headers=yes&zero_data=1x&extra_headers=1")
        for query in ("extra_headers=1&key=me", "EXTRA_HEADERS=TRUE&zero_data=1", "%65xtra_headers=1&extra_headers=0"):
            names = []
            for port in (server.port, peer):
                part = begin(port, query).partition(b"\r\n\r\n")[2].partition(b"\r\n\r\n")[0]
                names.append([line.split(b":")[0].decode() for line in part.split(b"\r\n")[1:]])
            ours = [name for name in names[0] if not name.startswith("X-Depthcast-")]
            # Those of its own stages, and the names that later versions gave them.
            theirs = [name for name in names[1] if not re.search("-(Encode|Expose)-|-Grab-Time", name)]
            need([name for name in ours if "-Grab-" not in name] == theirs, f"?{query}: {ours}, µStreamer's {theirs}")
        with contextlib.ExitStack() as stack:
            stats = []
            for port in (server.port, peer):
                stack.enter_context(stream(port, "/stream?key=me&zero_data=1&advance_headers=1"))
                state = json.loads(get(port, "/state")[2])["result"]
                stats.append(next(iter(state["stream"]["clients_stat"].values())))
            need(stats[1].keys() <= stats[0].keys(), f"/state lacks {stats[1].keys() - stats[0].keys()}")
            for name in stats[1].keys() - {"fps"}:
                need(stats[0][name] == stats[1][name], f"/state: {name} is {stats[0][name]}, µStreamer's {stats[1][name]}")


# What a client cannot miss: the day that a server thinks it is.
OPTIONAL = {"date", "access-control-allow-origin"}


# --- Behind nginx ---


@contextlib.contextmanager
def nginx(upstream):
    """A stock one: nothing but proxy_pass."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o755)
        config = pathlib.Path(folder) / "nginx.conf"
        temporary = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        config.write_text(f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
                          f"http {{ access_log off; {temporary}\nserver {{ listen 127.0.0.1:{port};\n"
                          f"location / {{ proxy_pass http://127.0.0.1:{upstream}; }} }} }}\n")
        process = subprocess.Popen(["nginx", "-e", f"{folder}/error.log", "-c", str(config)], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + WAIT
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                need(time.monotonic() < deadline and process.poll() is None, "nginx does not start")
                time.sleep(0.1)
            yield port
        finally:
            process.terminate()
            process.wait()


def behind_nginx(folder):
    """A proxy that holds a frame back hands it over when the next one comes: a whole interval late, here a second."""
    with Server("clients-nginx", "run", "--source", f"replay:{folder}", "--fps", "1") as server, nginx(server.port) as port:
        ages = []
        with stream(port, version="1.0") as (lines, parts):
            need(" 200 " in lines[0], lines[0])
            for head, body, arrived in parts:
                need(decode(body) is not None, "a picture without a number")
                ages.append(arrived - float(head["X-Timestamp"]))
                if len(ages) == 6:
                    break
        # The first was there before we asked, and is as old as it happens to be.
        ages = sorted(ages[1:])
        need(ages[len(ages) // 2] < 0.9, f"ages behind nginx: {ages}")
        print(f"      ages behind nginx at 1 fps: {', '.join(f'{1000 * age:.0f}' for age in ages)} ms")


def run():
    """every client decodes, snapshots are answered with and without a sensor, nginx holds nothing back"""
    named = [client for client in CLIENTS if client.__name__ in sys.argv[1:]] or CLIENTS
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        folder = pathlib.Path(scratch)
        write_frames(folder)
        with Server("clients", "run", "--source", f"replay:{folder}", "--fps", str(FPS)) as server:
            with step(f"{len(named)} clients at once decode {WANTED} different pictures each"):
                watch(server, named)
            if len(named) < len(CLIENTS):
                return
            with step("snapshots as OctoPrint and Home Assistant take them"):
                snapshots(server, online=True)
            with step("what µStreamer says in its heads, we say too"):
                beside_ustreamer(server)
            with step("its query options do what they do there"):
                beside_ustreamer_options(server)
        with step("behind a stock nginx no frame is held back"):
            behind_nginx(folder)
        with Server("clients-gone", "run", "--source", f"replay:{folder}", "--fault", "vanish@1+3600") as server:
            with step("the same snapshots without a sensor: at once, the placeholder"):
                deadline = time.monotonic() + WAIT
                while get(server.port, "/snapshot")[1]["X-Depthcast-Online"] == "true":
                    need(time.monotonic() < deadline, "the sensor does not go")
                    time.sleep(0.1)
                snapshots(server, online=False)


if __name__ == "__main__":
    main(run)
