"""The HTTP side, with plain sockets: every path, its framing to the byte, and refusals that say why.

Needs OpenCV (any of the environments) to read pictures.
"""

import email.message
import http.client
import json
import re
import time

import cv2
import numpy as np

from harness import DATA, WAIT, Failed, Server, Viewer, main, need, step

BOUNDARY = b"--boundarydonotcross\r\n"
FACTS = ("X-Timestamp", "X-Depthcast-Seq", "X-Depthcast-Age-Ms", "X-Depthcast-Online", "X-Depthcast-Min-Mm",
         "X-Depthcast-Max-Mm")


def get(server, path, method="GET"):
    """One request on its own connection: status, header fields, body."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT)
    connection.request(method, path)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers, body


def raw(server, request):
    """Bytes out, everything that comes until the server closes; a reset after the answer is the server's right."""
    with server.connect() as sock:
        sock.sendall(request)
        answer = bytearray()
        try:
            while part := sock.recv(1 << 16):
                answer += part
        except ConnectionResetError:
            pass
        return bytes(answer)


def check_facts(head, online=True, low=0, high=1500):
    """Every picture says when it was taken, which frame it is, how old, and what its colours mean."""
    for name in FACTS:
        need(head[name] is not None, f"no {name} in {list(head.keys())}")
    need(re.fullmatch(r"\d+\.\d{6}", head["X-Timestamp"]), f"X-Timestamp: {head['X-Timestamp']}")
    need(abs(float(head["X-Timestamp"]) - time.time()) < WAIT, f"captured at {head['X-Timestamp']}, not now")
    need(re.fullmatch(r"\d+", head["X-Depthcast-Seq"]), f"X-Depthcast-Seq: {head['X-Depthcast-Seq']}")
    need(int(head["X-Depthcast-Age-Ms"]) < 1000 * WAIT, f"X-Depthcast-Age-Ms: {head['X-Depthcast-Age-Ms']}")
    need(head["X-Depthcast-Online"] == str(online).lower(), f"X-Depthcast-Online: {head['X-Depthcast-Online']}")
    scale = head["X-Depthcast-Min-Mm"], head["X-Depthcast-Max-Mm"]
    need(scale == (str(low), str(high)), f"a range of {scale}")


def check_jpeg(head, body):
    """Baseline JFIF whose comment says which frame it is; nothing inside looks like its end."""
    need(body[:4] == b"\xff\xd8\xff\xe0" and body[6:11] == b"JFIF\0", f"no JFIF: {body[:20]!r}")
    need(body[20:22] == b"\xff\xfe", f"no comment behind the JFIF segment: {body[18:30]!r}")
    need(body.count(b"\xff\xd9") == 1 and body.endswith(b"\xff\xd9"), "an end within the picture")
    check_text(head, body[24:22 + int.from_bytes(body[22:24], "big")])
    return check_image(head, body, "image/jpeg")


def check_png(head, body):
    """A PNG whose text says which frame it is."""
    at = body.index(b"tEXtComment\0")
    check_text(head, body[at + 12 : at + 4 + int.from_bytes(body[at - 4 : at], "big")])
    return check_image(head, body, "image/png")


def check_text(head, text):
    """What a picture says of itself is what is said about it."""
    said = json.loads(text.decode("ascii"))
    need(said["seq"] == int(head["X-Depthcast-Seq"]), f"the text in the picture says {said}")
    need(f"{said['captured']:.6f}" == head["X-Timestamp"], f"the text in the picture says {said}")
    need(str(said["online"]).lower() == head["X-Depthcast-Online"], f"the text in the picture says {said}")
    need((said["valid"] is not None) == said["online"], f"the text in the picture says {said}")
    need((said["name"], said["uid"]) == ("camera01", "camera0x11"), f"the text in the picture says {said}")


def check_image(head, body, kind):
    """A picture of that kind and of the right length, which OpenCV decodes to 512x424."""
    need(head["Content-Type"] == kind, f"Content-Type: {head['Content-Type']}")
    need(int(head["Content-Length"]) == len(body), f"Content-Length {head['Content-Length']} of {len(body)}")
    image = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_UNCHANGED)
    need(image is not None and image.shape[:2] == (424, 512), "OpenCV cannot decode the picture")
    return image


def single(server, frames):
    """Pages that are answered once."""
    for path in ("/healthz", "/readyz"):
        with step(f"{path}: 200"):
            status, _, body = get(server, path)
            need(status == 200, f"{status}: {body!r}")

    with step("/: the page, whole, without outside resources"):
        status, head, body = get(server, "/")
        need(status == 200 and head["Content-Type"].startswith("text/html"), f"{status} {head['Content-Type']}")
        need(body.rstrip().endswith(b"</html>"), "the page is cut off")
        outside = re.findall(rb'(?:src|href)\s*=\s*["\']?(?:https?:)?//[^"\'> ]+', body)
        need(not outside, f"outside resources: {outside}")

    with step("/state: JSON in µStreamer's shape, with depth beside it"):
        status, head, body = get(server, "/state")
        need(status == 200 and head["Content-Type"].startswith("application/json"), f"{status} {head['Content-Type']}")
        state = json.loads(body)
        need(state["ok"] is True, "ok is not true")
        result = state["result"]
        need(result["source"]["resolution"] == {"width": 512, "height": 424}, f"{result['source']}")
        need(result["source"]["online"] is True, "not online")
        need({"desired_fps", "captured_fps"} <= result["source"].keys(), f"source has {list(result['source'])}")
        need({"queued_fps", "clients", "clients_stat"} <= result["stream"].keys(), f"stream has {list(result['stream'])}")
        depth = result["depth"]
        need((depth["min_mm"], depth["max_mm"]) == (0, 1500), f"depth: {depth}")

    for path in ("/snapshot", "/snapshot.jpg?format=png", "/?action=snapshot", "/?action=snapshot_0&ignored.jpg",
                 "/snapshot?t=1&x", "/snapshot.png", "/snapshot?x&format=png"):
        with step(f"{path}: a picture with its facts"):
            check = check_png if path.endswith(("/snapshot.png", "x&format=png")) else check_jpeg
            status, head, body = get(server, path)
            need(status == 200, f"{status}: {body[:200]!r}")
            check_facts(head)
            need("no-store" in head["Cache-Control"], f"Cache-Control: {head['Cache-Control']}")
            check(head, body)

    with step("the JPEG shows what the PNG shows"):
        for _ in range(20):
            (_, lossy, jpeg), (_, lossless, png) = get(server, "/snapshot"), get(server, "/snapshot.png")
            if lossy["X-Depthcast-Seq"] == lossless["X-Depthcast-Seq"]:
                break
        else:
            raise Failed("the same frame was never had twice")
        picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
        apart = cv2.absdiff(check_jpeg(lossy, jpeg), picture).mean()
        # Noise loses more than a scene does: OpenCV's own JPEG of the same quality says how much.
        peer = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
        theirs = cv2.absdiff(cv2.imdecode(peer, cv2.IMREAD_COLOR), picture).mean()
        need(apart <= 1.1 * theirs + 0.5, f"colours are {apart:.1f} apart in the mean, OpenCV's {theirs:.1f}")

    with step("/depth.png: 16 bits, every value of a file"):
        status, head, body = get(server, "/depth.png?unknown=1")
        need(status == 200, f"{status}: {body[:200]!r}")
        check_facts(head)
        depth = check_png(head, body)
        need(depth.dtype == np.uint16 and depth.ndim == 2, f"{depth.dtype} {depth.shape}")
        need(any(np.array_equal(depth, frame) for frame in frames), "not the depth of any file of the folder")

    with step("/ir.png: 404 and why, from a source that has none; the lens is not known"):
        status, _, body = get(server, "/ir.png")
        need(status == 404 and b"no infrared" in body, f"{status} {body!r}")
        config = json.loads(get(server, "/config.json")[2])
        need(config["infrared"] is False and config["intrinsics"] is None, f"{config}")

    with step("/depth/stream: every value of a file, in each form, with the pictures' numbers"):
        for kind in ("png", "rvl", "raw"):
            with server.connect() as sock, sock.makefile("rb") as data:
                sock.sendall(f"GET /depth/stream?format={kind}&fps=10 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                for head, body in few_parts(data, 2):
                    check_facts(head)
                    if kind == "png":
                        depth = check_png(head, body)
                    elif kind == "raw":
                        depth = np.frombuffer(body, "<u2").reshape(424, 512)
                    else:
                        need(body[12:20] == (512).to_bytes(4, "little") + (424).to_bytes(4, "little"), f"{body[:20]!r}")
                        continue
                    need(any(np.array_equal(depth, frame) for frame in frames), f"{kind}: not the depth of any file")

    with step("fps: no more than asked for, and none older for it"):
        with server.connect() as sock, sock.makefile("rb") as data:
            sock.sendall(b"GET /stream?fps=4 HTTP/1.1\r\nHost: x\r\n\r\n")
            begun, count = time.monotonic(), 0
            for head, _ in few_parts(data, 5):
                count += 1
                # The first may have been there for a while; those behind it are fresh unless the machine is busy.
                need(int(head["X-Depthcast-Age-Ms"]) < 1000, f"{head['X-Depthcast-Age-Ms']} ms old")
            need(time.monotonic() - begun > 0.8, f"{count} in {time.monotonic() - begun:.2f} s")

    with step("HEAD: the same head, no body"):
        for path in ("/", "/snapshot", "/depth.png", "/state", "/healthz", "/readyz", "/nowhere"):
            answer = raw(server, f"HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            head, _, rest = answer.partition(b"\r\n\r\n")
            wanted = b"HTTP/1.1 404 " if path == "/nowhere" else b"HTTP/1.1 200 "
            need(head.startswith(wanted), f"{path}: {head[:60]!r}")
            need(b"\r\nContent-Length: " in head and not rest, f"{path}: {len(rest)} bytes behind the head")
        head, _, rest = raw(server, b"HEAD /stream HTTP/1.1\r\nHost: x\r\n\r\n").partition(b"\r\n\r\n")
        need(b" 200 " in head and not rest, f"/stream: {head[:60]!r} and {len(rest)} bytes behind")

    with step("keep-alive: three requests on one connection, the last two in one segment"):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT)
        connection.request("GET", "/snapshot")
        first = connection.getresponse()
        check_jpeg(first.headers, first.read())
        sock = connection.sock
        need(sock is not None, "the server closes after one answer")
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /state HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        rest = bytearray()
        while part := sock.recv(1 << 16):
            rest += part
        need(rest.count(b"HTTP/1.1 200 OK\r\n") == 2, f"{rest[:300]!r}")
        connection.close()


def few_parts(data, count):
    """Heads and bodies of the first parts of a stream."""
    while data.readline() not in (b"\r\n", b""):
        pass
    for _ in range(count):
        need(data.readline() == BOUNDARY, "no boundary")
        head = email.message.Message()
        while (line := data.readline()) not in (b"\r\n", b""):
            name, _, value = line[:-2].decode().partition(": ")
            head[name] = value
        yield head, data.read(int(head["Content-Length"]))
        need(data.readline() == b"\r\n", "more than the length says")


def infrared(server):
    """What the demo's lamp lights."""
    with step("/ir.png, ?view=ir: grey, with its facts but no range of depths"):
        for path, kind in (("/ir.png", "image/png"), ("/snapshot?view=ir", "image/jpeg"), ("/snapshot.png?view=ir", "image/png")):
            status, head, body = get(server, path)
            need(status == 200 and head["X-Depthcast-Online"] == "true" and head["X-Depthcast-Min-Mm"] is None, f"{path}: {status}")
            image = check_image(head, body, kind)
            channels = image.reshape(424, 512, -1).astype(int)
            need((np.ptp(channels, axis=2) <= 2).all() and channels.std() > 5, f"{path}: no grey picture")
        with server.connect() as sock, sock.makefile("rb") as data:
            sock.sendall(b"GET /stream?view=ir HTTP/1.1\r\nHost: x\r\n\r\n")
            seqs = [int(head["X-Depthcast-Seq"]) for head, _ in few_parts(data, 3)]
            need(seqs == sorted(set(seqs)), f"numbers {seqs}")
        lens = json.loads(get(server, "/config.json")[2])["intrinsics"]
        need(abs(lens["fx"] - 365.4028) < 1e-3 and lens.keys() == set("fx fy cx cy k1 k2 p1 p2 k3".split()), f"{lens}")


def refusals(server):
    """Bad requests: the status, a reason in words, and the next client is served."""
    cases = (
        ("404", b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
        ("405", b"DELETE /snapshot HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
        ("400", b"GET /stream?format=gif HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
        ("400", b"GET  HTTP/1.1 oh no\r\n\r\n"),
        ("400", b"GET / HTTP/1.1\r\nno colon here\r\n\r\n"),
        ("431", b"GET / HTTP/1.1\r\nCookie: " + b"x" * 20000 + b"\r\n\r\n"),
        ("431", b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 500 + b"\r\n"),
    )
    for status, request in cases:
        with step(f"{status} for {request[:28]!r}…"):
            answer = raw(server, request)
            head, _, body = answer.partition(b"\r\n\r\n")
            need(head.startswith(f"HTTP/1.1 {status} ".encode()), f"{head[:80]!r}")
            need(len(body.split()) >= 3, f"no reason in words: {body!r}")
            need(get(server, "/healthz")[0] == 200, "the server is no longer there")


def stream(server, request):
    """The head and three parts, to the byte."""
    with server.connect() as sock:
        sock.sendall(request)
        with sock.makefile("rb") as data:
            need(data.readline() == b"HTTP/1.0 200 OK\r\n", "the status line is not HTTP/1.0 200 OK")
            lines = []
            while (line := data.readline()) not in (b"\r\n", b""):
                lines.append(line)
            kind = b"Content-Type: multipart/x-mixed-replace;boundary=boundarydonotcross\r\n"
            need(kind in lines, f"no such line: {kind!r} in {lines}")
            for line in lines:
                name = line.split(b":")[0].lower()
                need(name not in (b"content-length", b"connection", b"transfer-encoding"), f"{line!r} in the head")
            need(b"Cache-Control: no-store, no-cache, must-revalidate, proxy-revalidate, pre-check=0, post-check=0, "
                 b"max-age=0\r\n" in lines, "not the usual Cache-Control")
            need(data.readline() == BOUNDARY, "the first boundary does not follow the head at once")
            sequence = -1
            for _ in range(3):
                head = email.message.Message()
                order = []
                while (line := data.readline()) not in (b"\r\n", b""):
                    need(line.endswith(b"\r\n") and len(line) < 128, f"a header line that clients trip over: {line!r}")
                    name, _, value = line[:-2].decode().partition(": ")
                    head[name] = value
                    order.append(name)
                need(order[:3] == ["Content-Type", "Content-Length", "X-Timestamp"], f"part header in order {order}")
                check_facts(head)
                check = check_png if b"format=png" in request else check_jpeg
                check(head, data.read(int(head["Content-Length"])))
                need(data.readline() == b"\r\n" and data.readline() == BOUNDARY, "no boundary right behind the picture")
                need(int(head["X-Depthcast-Seq"]) > sequence, "the sequence does not rise")
                sequence = int(head["X-Depthcast-Seq"])


def gone(server, start):
    """The source leaves at `start` and comes back: nobody is lied to, nobody has to reconnect."""
    with Viewer(server) as viewer:
        viewer.ask()
        with step("source gone: /readyz 503 with the reason, /snapshot the placeholder, /depth.png 503"):
            deadline = server.started + start + 10
            while get(server, "/readyz")[0] == 200:
                need(time.monotonic() < deadline, "/readyz never turns")
                time.sleep(0.1)
            status, _, body = get(server, "/readyz")
            need(status == 503 and len(body.split()) >= 3, f"{status} {body!r}")
            need(get(server, "/healthz")[0] == 200, "the process is up all the same")
            asked = time.monotonic()
            status, head, body = get(server, "/snapshot")
            need(time.monotonic() - asked < 0.5, "/snapshot is slow without a source")
            need(status == 200 and head["X-Depthcast-Online"] == "false", f"{status} {head['X-Depthcast-Online']}")
            need(check_jpeg(head, body).max(axis=2).min() < 64, "no placeholder")
            for path in ("/depth.png", "/depth/stream"):
                status, head, body = get(server, path)
                need(status == 503 and head["Retry-After"], f"{path}: {status}, Retry-After {head['Retry-After']}")
            status, head, body = get(server, "/ir.png")
            need(status == 200 and head["X-Depthcast-Online"] == "false", f"/ir.png: {status}")
            state = json.loads(get(server, "/state")[2])["result"]
            need(state["source"]["online"] is False, "/state says online")
            viewer.ask()
        with step("source back: the picture returns on the connections that are open"):
            deadline = time.monotonic() + 15
            while get(server, "/readyz")[0] != 200:
                need(time.monotonic() < deadline, "/readyz never turns back")
                time.sleep(0.1)
            viewer.ask()
            _, head, _ = get(server, "/snapshot")
            check_facts(head, high=4500)


def run():
    """every path of the HTTP side answers as specified"""
    folder = DATA / "seed-golden" / "depth"
    if folder.is_dir():
        frames = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted(folder.glob("*.png"))]
        with Server("http", "run", "--source", f"replay:{folder}", "--fps", "20") as server:
            single(server, frames)
            for request in (b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n",
                            b"GET /stream?format=png&unknown=1&key=me HTTP/1.0\r\n\r\n",
                            b"GET /?action=stream&ignored.mjpg HTTP/1.1\r\nHost: x\r\n\r\n"):
                with step(f"{request.split()[1].decode()}: framing as µStreamer's, three parts"):
                    stream(server, request)
            refusals(server)
    else:
        print(f"  SKIPPED: no {folder}: paths were NOT tried on recordings; set DEPTHCAST_DATA", flush=True)
    start = 3
    with Server("http-gone", "demo", "--fault", f"vanish@{start}+4") as server:
        infrared(server)
        gone(server, start)
        with step("405 names what is allowed (RFC 9110, 15.5.6)"):
            _, head, _ = get(server, "/snapshot", "DELETE")
            need("GET" in (head["Allow"] or ""), "no Allow field in the answer")


if __name__ == "__main__":
    main(run)
