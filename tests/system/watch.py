"""What the tests of slow and of hostile viewers share: a viewer of /stream, and a witness that notes every gap."""

import contextlib
import json
import socket
import threading
import time

from harness import WAIT, Failed, need

SO_RCVBUFFORCE = 33  # Linux; Python does not name it


def connect(address, receive=None):
    """A socket to (host, port) or to the path of a Unix socket; `receive` is its receive buffer in bytes."""
    sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    try:
        sock.settimeout(WAIT)
        if receive:
            try:
                sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, receive)
            except OSError:  # beyond the system's limit only root may go
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


class Stream:
    """A viewer of /stream on a connected socket; `recv` stands in for the socket's own, to read slowly."""

    def __init__(self, sock, recv=None):
        self.socket = sock
        self.recv = recv or sock.recv
        self.data = bytearray()
        self.bytes = 0
        sock.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        line = self._until(b"\r\n\r\n").partition(b"\r\n")[0]
        need(b" 200 " in line, f"/stream answers {line!r}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def _more(self):
        part = self.recv(1 << 16)
        need(part, "the server closed the stream")
        self.bytes += len(part)
        self.data += part

    def _until(self, end):
        while (at := self.data.find(end)) < 0:
            need(len(self.data) < 1 << 16, "a head without an end")
            self._more()
        head = bytes(self.data[:at])
        del self.data[: at + len(end)]
        return head

    def picture(self):
        """The next part: its fields and its picture, as soon as the picture's last byte is here."""
        fields = {}
        for line in self._until(b"\r\n\r\n").decode().split("\r\n"):
            name, _, value = line.partition(": ")
            fields[name] = value
        need("Content-Length" in fields, f"a part without Content-Length: {fields}")
        length = int(fields["Content-Length"])
        while len(self.data) < length:
            self._more()
        body = bytes(self.data[:length])
        del self.data[:length]
        return fields, body


class Witness(threading.Thread):
    """A viewer of /stream that reads as fast as it can and notes each sequence number that it misses.

    Its receive buffer holds many pictures, so that a gap is the server's doing and not a crowded machine's.
    `seen` is called with each part's fields and picture.
    """

    def __init__(self, address, seen=None):
        super().__init__(daemon=True)
        self.stream = Stream(connect(address, 8 << 20))
        self.seen = seen
        self.fields = {}
        self.frames = self.bytes = 0
        self.gaps = []
        self.error = None
        self.leaving = False
        self.start()

    def run(self):
        last = None
        try:
            while not self.leaving:
                fields, body = self.stream.picture()
                number, dropped = int(fields["X-Depthcast-Seq"]), int(fields["X-Depthcast-Dropped"])
                if last is not None and (number != last + 1 or dropped):
                    self.gaps.append(f"{last} -> {number}, X-Depthcast-Dropped {dropped}")
                last = number
                if self.seen:
                    self.seen(fields, body)
                self.fields = fields
                self.bytes = self.stream.bytes
                self.frames += 1
        except (Failed, OSError, ValueError, KeyError) as error:
            if not self.leaving:
                self.error = f"{type(error).__name__}: {error}"

    def check(self):
        """No gap so far, and still served."""
        need(self.error is None, f"the witness was cut off after {self.frames} pictures: {self.error}")
        need(not self.gaps, f"the witness missed pictures: {'; '.join(self.gaps[:5])}")

    def wait(self, frames, seconds=3 * WAIT):
        """So many more pictures, without a gap."""
        target, deadline = self.frames + frames, time.monotonic() + seconds
        while self.frames < target and not self.error:
            need(time.monotonic() < deadline, f"the witness had no {frames} pictures in {seconds} s")
            time.sleep(0.02)
        self.check()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.leaving = True
        with contextlib.suppress(OSError):
            self.stream.socket.shutdown(socket.SHUT_RDWR)
        self.join(WAIT)
        self.stream.socket.close()


def get(address, path="/state"):
    """One request on its own connection: the status line and the body."""
    with connect(address) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = bytearray()
        while part := sock.recv(1 << 16):
            answer += part
    head, _, body = bytes(answer).partition(b"\r\n\r\n")
    return head.partition(b"\r\n")[0].decode(errors="replace"), body


def state(address):
    """What /state says now."""
    line, body = get(address)
    need(" 200 " in line, f"/state answers {line}")
    return json.loads(body)["result"]


def closed(address):
    """How many connections were closed, by reason."""
    return state(address)["counters"]["closed"]
