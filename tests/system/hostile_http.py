"""Hostile HTTP: requests that forge, hide or never end, and WebSocket frames that break a rule. Meanwhile a witness on
/stream misses no picture, and the server grows by at most 1 MiB.
"""

import contextlib
import pathlib
import socket
import struct

from harness import Server, main, need, step
from watch import Witness, connect

GROWTH = 1024  # KiB
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def to_end(sock, most=1 << 24):
    """All that comes until the server closes; a reset is an end too."""
    data = bytearray()
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while part := sock.recv(1 << 16):
            data += part
            need(len(data) < most, "it never ends")
    return bytes(data)


def answer(server, request):
    """All that a request is answered, until the server closes."""
    with connect(("127.0.0.1", server.port)) as sock:
        sock.sendall(request)
        sock.shutdown(socket.SHUT_WR)
        return to_end(sock)


def smuggled(server):
    """Requests that a proxy might read otherwise, and values that would forge fields: each refused, none obeyed."""
    secret = b"GET /healthz HTTP/1.1\r\n\r\n"
    for fields, status in [
        (b"Transfer-Encoding: chunked\r\nContent-Length: 5", 501),
        (b"Content-Length: 0\r\nTransfer-Encoding: identity", 501),
        (b"Content-Length: 0\r\nContent-Length: 27", 413),
        (b"Content-Length: 0\r\nContent-Length: 0", 400),
        (b"Content-Length: 0, 27", 413),
        (b"Content-Length: +0", 413),
        (b"Content-Length : 27", 400),
        (b"A: b\r\n Content-Length: 27", 400),
        (b"A: b\rContent-Length: 27", 400),
        (b"A: b\0", 400),
        (b"Host: a\r\nHost: b", 400),
        (b"\r\n".join(b"A%d: b" % n for n in range(65)), 431),
    ]:
        heard = answer(server, b"GET /state HTTP/1.1\r\n" + fields + b"\r\n\r\n" + secret)
        need(heard.startswith(b"HTTP/1.1 %d " % status), f"{fields[:60]!r}: {heard[:80]!r}")
        need(heard.count(b"HTTP/1.1 ") == 1, f"{fields[:60]!r}: what stood behind was answered too")
    for target in [b"/../etc/passwd", b"/%2e%2e/", b"//", b"/stream/", b"/snapshot%00.jpg", b"/ws?", b"/?action=x",
                   b"/stream%0d%0aSet-Cookie:%20a=b", b"/" + b"a" * 8000, b"/?" + b"&" * 8000, b"*", b"/%", b"/state\\"]:
        heard = answer(server, b"GET " + target + b" HTTP/1.0\r\n\r\n")
        need(heard.startswith(b"HTTP/1.1 ") and b"Set-Cookie: a" not in heard, f"{target[:40]!r}: {heard[:80]!r}")
        need(b"root:" not in heard, f"{target[:40]!r} was read from the disk")
    for query in [b"key=a%0d%0aSet-Cookie:%20b=c", b"key=a%0aX:y", b"key=a;Path=/x", b"key=" + b"k" * 65, b"key=%ff", b"key=a,b",
                  b"fps=0", b"fps=1e9", b"fps=-1", b"format=%00", b"view=rgb", b"format=" + b"%41" * 2000]:
        heard = answer(server, b"GET /stream?" + query + b" HTTP/1.0\r\n\r\n")
        need(heard.startswith(b"HTTP/1.1 400 ") and b"Cookie" not in heard, f"{query[:40]!r}: {heard[:80]!r}")


def bad_frames(server):
    """WebSocket frames that break a rule: each connection is told which, and closed."""
    mask = b"\x82\x80\0\0\0\0"
    for frames, code in [
        (b"\x81\x01a", 1002),
        (mask, 1003),
        (b"\x81\xff\x7f" + b"\xff" * 11, 1009),
        (b"\x81\x81\0\0\0\0\xff", 1007),
        (b"\x01\x80\0\0\0\0" + b"\x00\x80\0\0\0\0" * 10_000, 1008),
        (b"\xf1\x80\0\0\0\0", 1002),
        (b"\x89\xfe\x00\x7e\0\0\0\0" + b"a" * 126, 1002),
    ]:
        with connect(("127.0.0.1", server.port)) as sock:
            sock.sendall(UPGRADE)
            with contextlib.suppress(OSError):
                sock.sendall(frames)
            heard = to_end(sock)
        need(b"HTTP/1.1 101 " in heard, f"{heard[:80]!r}")
        need(b"\x88\x02" + struct.pack(">H", code) in heard[-200_000:], f"{frames[:12]!r}: not closed with {code}")
    for change in [(b"Host: 127.0.0.1", b"Host: evil.example"), (b"Host", b"Origin: http://evil.example\r\nHost")]:
        heard = answer(server, UPGRADE.replace(*change))
        need(heard.startswith(b"HTTP/1.1 403 "), f"{change[1]!r}: {heard[:80]!r}")


def ten_thousand(server):
    """10,000 requests on one connection, a hundred at a time."""
    with connect(("127.0.0.1", server.port)) as sock:
        for _ in range(100):
            sock.sendall(b"GET /healthz HTTP/1.1\r\n\r\n" * 100)
            heard = b""
            while heard.count(b"\r\n\r\nok\n") < 100:
                more = sock.recv(1 << 16)
                need(more, "the connection was closed")
                heard += more


def slow_heads(server):
    """A head in single bytes is answered when it is whole; one that never ends is refused at 8 KiB."""
    with connect(("127.0.0.1", server.port)) as sock:
        for byte in b"GET /healthz HTTP/1.0\r\nA: " + b"b" * 200 + b"\r\n\r\n":
            sock.sendall(bytes([byte]))
        need(to_end(sock).endswith(b"ok\n"), "a slow head was not answered")
    heard = b""
    with connect(("127.0.0.1", server.port)) as sock:
        with contextlib.suppress(OSError):
            sock.sendall(b"GET / HTTP/1.1\r\n" + b"A: " + b"b" * (1 << 20))
        heard = to_end(sock)
    # The rest of the megabyte may turn the answer into a reset.
    need(not heard or heard.startswith(b"HTTP/1.1 431 "), f"{heard[:80]!r}")


def resident(server):
    """KiB of memory it has touched."""
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def run():
    """hostile HTTP is refused, and harms nobody"""
    with Server("hostile-http", "demo", "--fps", "10") as server:
        with Witness(("127.0.0.1", server.port)) as witness:
            for body in (smuggled, bad_frames, slow_heads, ten_thousand):
                # What the first of a kind touches is not growth.
                witness.wait(1)
                body(server)
                before = resident(server)
                with step(body.__doc__.splitlines()[0]):
                    body(server)
                    witness.check()
                grown = resident(server) - before
                need(grown <= GROWTH, f"memory grew by {grown} KiB")
            # Pictures that were captured after all of it.
            witness.wait(3)
            witness.check()
        need(server.process.poll() is None and "panicked" not in server.log(), "it panicked")


if __name__ == "__main__":
    main(run)
