"""Viewers on a link that carries a sixth of their stream: every picture is fresh, and a fast viewer misses none.

Ages are measured, not believed: the clock when a picture's last byte has been read, less its time of capture. Server
and viewers run on one machine and so by one clock.
"""

import hashlib
import os
import statistics
import tempfile
import time

from harness import HEAD, Failed, Server, main, need, step
from watch import Stream, Witness, connect, state

FPS = 30
SECONDS, SETTLE = 10, 2
OLDEST = 1.0  # seconds
CHUNK = 4096
SMALL = 64 << 10  # receive buffer in bytes


class Paced:
    """Stands in for a socket's recv: small pieces at no more than `rate` bytes a second, time lost not made up for."""

    def __init__(self, sock, rate):
        self.socket, self.rate = sock, rate
        self.next = time.monotonic()

    def __call__(self, size):
        now = time.monotonic()
        time.sleep(max(0, self.next - now))
        part = self.socket.recv(min(size, CHUNK))
        self.next = max(self.next, now - 0.05) + len(part) / self.rate
        return part


class Python:
    """A viewer of the Python protocol; `ahead` is how many pictures it asks for before it has had one."""

    def __init__(self, sock, recv=None, ahead=1):
        self.socket = sock
        self.recv = recv or sock.recv
        self.bytes = 0
        sock.sendall(b"0" * ahead)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def _exactly(self, size):
        data = bytearray()
        while len(data) < size:
            part = self.recv(min(size - len(data), 1 << 16))
            need(part, "the server closed")
            data += part
        self.bytes += size
        return bytes(data)

    def picture(self):
        """The next picture as it is in its pickle; the bytes of a protocol-0 pickle stand for code points."""
        length, _ = HEAD.unpack(self._exactly(HEAD.size))
        payload = self._exactly(length)
        self.socket.sendall(b"0")
        return payload


def png(payload):
    """The PNG inside a protocol-0 pickle: pickled text of code points 0 to 255, without numpy to load it."""
    begin = payload.index(b"V\x89PNG")
    end = payload.index(b"\n", begin)
    return payload[begin + 1 : end].decode("raw-unicode-escape").encode("latin-1")


def rate_of(address, kind):
    """Bytes a second that a viewer takes who reads as fast as it can; nobody else watches."""
    with kind(connect(address, 8 << 20)) as viewer:
        viewer.picture()
        begun, before = time.monotonic(), viewer.bytes
        while time.monotonic() < begun + 2:
            viewer.picture()
        return (viewer.bytes - before) / (time.monotonic() - begun)


def slow(server, address, viewer, taken_at):
    """Watches for a while, then checks the ages and what /state says; `taken_at` gives a picture's time of capture."""
    local = ("127.0.0.1", server.port)
    known = set(state(local)["stream"]["clients_stat"])
    ages = []
    begun = time.monotonic()
    with viewer() as watching:
        while (now := time.monotonic()) < begun + SECONDS:
            picture = watching.picture()
            read = time.time()
            # What a picture shows is looked up later: the fast viewer may have it a moment after.
            ages.append((now >= begun + SETTLE, read, picture))
        new = {k: v for k, v in state(local)["stream"]["clients_stat"].items() if k not in known}
        need(len(new) == 1, f"/state shows {len(new)} new viewers")
        me = next(iter(new.values()))
    late = [read - taken_at(picture) for settled, read, picture in ages if settled]
    need(len(late) >= 5, f"only {len(late)} pictures in {SECONDS - SETTLE} s")
    print(f"      {len(ages)} pictures; age: median {statistics.median(late):.2f} s, most {max(late):.2f} s; /state: {me}")
    need(max(late) <= OLDEST, f"a picture was {max(late):.2f} s old")
    need(min(late) > -0.01, f"a picture from the future: {min(late):.3f} s")
    need(me["sent"] > 0 and me["skipped"] > 0, f"/state: {me}")
    need(me["age_ms"] is not None and me["age_ms"] <= 1000 * OLDEST, f"/state: {me}")


def run():
    """a viewer at a sixth of its stream's rate sees pictures at most a second old"""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "s")
        with Server("staleness", "demo", "--fps", str(FPS), "--listen", f"unix:{path}") as server:
            tcp = ("127.0.0.1", server.port)
            with step("the rates of both streams"):
                rates = {Stream: rate_of(tcp, Stream), Python: rate_of(tcp, Python)}
            print(f"      /stream {rates[Stream] / 1e6:.2f} MB/s, Python {rates[Python] / 1e6:.2f} MB/s")
            taken = {}

            def note(fields, body):
                taken[hashlib.sha256(body).digest()] = float(fields["X-Timestamp"])

            def by_picture(payload):
                key = hashlib.sha256(png(payload)).digest()
                if key not in taken:
                    raise Failed("a picture of the Python protocol was on no stream")
                return taken[key]

            def by_stamp(part):
                return float(part[0]["X-Timestamp"])

            def on(kind, address, receive, **more):
                sock = connect(address, receive)
                return kind(sock, Paced(sock, rates[kind] / 6), **more)

            cases = (
                ("/stream, a small receive buffer", tcp, lambda: on(Stream, tcp, SMALL), by_stamp),
                ("/stream, the usual receive buffer", tcp, lambda: on(Stream, tcp, None), by_stamp),
                ("/stream on a Unix socket", path, lambda: on(Stream, path, None), by_stamp),
                ("Python, a small receive buffer", tcp, lambda: on(Python, tcp, SMALL), by_picture),
                ("Python, the usual receive buffer, eight asked for ahead", tcp, lambda: on(Python, tcp, None, ahead=8), by_picture),
                ("Python on a Unix socket", path, lambda: on(Python, path, None), by_picture),
            )
            for what, address, viewer, taken_at in cases:
                with step(what), Witness(tcp, note) as witness:
                    witness.wait(2)
                    slow(server, address, viewer, taken_at)
                    witness.check()
                    need(witness.frames > 0.5 * FPS * SECONDS, f"the fast viewer had only {witness.frames} pictures")
                    print(f"      the fast viewer had {witness.frames} in a row")


if __name__ == "__main__":
    main(run)
