"""A reader at a sixth of the stream's rate sees pictures at most a second old; a fast one beside it misses none.

Only the standard library. The age of a picture is the clock of this machine, which is the server's, less the picture's
capture time, when its last byte has been read. The Python protocol states seconds only: there the picture is looked up
among those that a fast viewer of the stream was sent, by its bytes.
"""

import hashlib
import socket
import tempfile
import threading
import time

from harness import HEAD, Failed, Server, main, need, step

SECONDS, SETTLE, LIMIT, TRIES = 10, 2, 1.0, 3
TAIL = b"\r\n--boundarydonotcross\r\n"


class Stream:
    """A viewer of /stream that reads at most `rate` bytes a second (None: as fast as it can)."""

    def __init__(self, address, rate=None, receive_buffer=None):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.socket = socket.socket(family)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(10)
        self.socket.connect(address)
        self.rate, self.taken, self.begun, self.data = rate, 0, time.time(), bytearray()

    def more(self):
        """Reads some bytes, no sooner than the rate allows."""
        if self.rate:
            time.sleep(max(0, self.begun + self.taken / self.rate - time.time()))
        part = self.socket.recv(4096 if self.rate else 1 << 20)
        need(part, "the server closed the connection")
        self.taken += len(part)
        self.data += part

    def take(self, size):
        """Exactly that many bytes."""
        while len(self.data) < size:
            self.more()
        part = bytes(self.data[:size])
        del self.data[:size]
        return part

    def head(self):
        """Up to an empty line."""
        while (at := self.data.find(b"\r\n\r\n")) < 0:
            self.more()
        return self.take(at + 4).decode("ascii")

    def start(self, query=""):
        """Asks for the stream."""
        self.socket.sendall(f"GET /stream{query} HTTP/1.1\r\n\r\n".encode())
        self.head()
        need(self.take(len(TAIL) - 2) == TAIL[2:], "no first boundary")
        return self

    def part(self):
        """One part: its fields and its picture."""
        fields = dict(line.split(": ", 1) for line in self.head().split("\r\n") if line)
        picture = self.take(int(fields["Content-Length"]))
        need(self.take(len(TAIL)) == TAIL, "no boundary behind a part")
        return fields, picture


class Fast(threading.Thread):
    """Watches the stream as fast as it comes, in PNG, which the Python protocol has too, and remembers when each picture was captured."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.stream = Stream(("127.0.0.1", server.port)).start("?format=png")
        self.captured, self.sequence, self.bytes, self.over = {}, [], 0, False
        self.start()

    def run(self):
        while not self.over:
            try:
                fields, picture = self.stream.part()
            except Failed:
                return  # the server has stopped
            self.captured[hashlib.sha256(picture).digest()] = float(fields["X-Timestamp"])
            self.sequence.append(int(fields["X-Depthcast-Seq"]))
            self.bytes += len(picture)


def watch(begin):
    """Collects the ages of pictures for a while; the first seconds do not count.

    On a crowded machine the reader itself falls behind, which says nothing of the server: it has three tries.
    """
    for _ in range(TRIES):
        end, settled, found = time.time() + SECONDS, time.time() + SETTLE, []
        for age in begin():
            if time.time() > settled:
                found.append(age)
            if time.time() > end:
                break
        need(len(found) > 5, f"only {len(found)} pictures in {SECONDS} s")
        found.sort()
        print(f"      {len(found)} pictures, age {found[len(found) // 2]:.2f} s in the middle, {found[-1]:.2f} s at most")
        if found[-1] <= LIMIT:
            return
    need(False, f"in each of {TRIES} tries a picture was more than {LIMIT} s old")


def stream_ages(stream):
    """Ages of the parts of /stream."""
    stream.start()
    while True:
        fields, _ = stream.part()
        yield time.time() - float(fields["X-Timestamp"])


def python_ages(viewer, fast):
    """Ages of the replies of the Python protocol; `compact` pickles hold the picture as it is."""
    while True:
        viewer.socket.sendall(b"0")
        length, _ = HEAD.unpack(viewer.take(HEAD.size))
        payload, now = viewer.take(length), time.time()
        at = payload.index(b"\x89PNG")
        key = hashlib.sha256(payload[at : payload.index(b"IEND\xaeB`\x82", at) + 8]).digest()
        for _ in range(100):
            if key in fast.captured:
                break
            time.sleep(0.02)
        need(key in fast.captured, "a picture that the fast viewer was not sent")
        yield now - fast.captured[key]


def run():
    """slow readers on every protocol see pictures at most a second old, a fast one sees every frame"""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/http.sock"
        with Server("staleness", "demo", "--pickle", "compact", "--listen", f"unix:{path}") as server:
            fast = Fast(server)
            time.sleep(2)
            before, begun = fast.bytes, time.time()
            time.sleep(2)
            sixth = (fast.bytes - before) / (time.time() - begun) / 6
            print(f"      a sixth of the stream is {sixth / 1000:.0f} kB/s")
            tcp = ("127.0.0.1", server.port)
            with step("/stream over TCP, receive buffer of 64 KiB"):
                watch(lambda: stream_ages(Stream(tcp, sixth, 65536)))
            with step("/stream over TCP, the system's receive buffer"):
                watch(lambda: stream_ages(Stream(tcp, sixth)))
            with step("/stream over a Unix socket"):
                watch(lambda: stream_ages(Stream(path, sixth)))
            with step("the Python protocol, receive buffer of 64 KiB"):
                watch(lambda: python_ages(Stream(tcp, sixth, 65536), fast))
            with step("the fast viewer has missed no frame"):
                fast.over = True
                fast.join(10)
                got = fast.sequence
                need(got == list(range(got[0], got[-1] + 1)), "the fast viewer missed a frame")
                need(len(got) > 300, f"only {len(got)} frames")


if __name__ == "__main__":
    main(run)
