"""What the system tests share: a running server, a viewer of the Python protocol, and steps that say what they prove.

Only the standard library, so that every environment can import it.
"""

import contextlib
import os
import pathlib
import pickle
import re
import signal
import socket
import struct
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "target" / "system"
DATA = pathlib.Path(os.environ.get("DEPTHCAST_DATA", ROOT / ".." / "shared" / "data"))
BINARY = os.environ.get("DEPTHCAST", str(ROOT / "target" / "release" / "depthcast"))
WAIT = 10  # seconds: longest wait for anything that should come at once
HEAD = struct.Struct(">L280s")


class Failed(Exception):
    """A proof that did not hold, in words."""


def need(truth, why):
    """Fails with `why` unless `truth`; asserts would vanish under -O."""
    if not truth:
        raise Failed(why)


@contextlib.contextmanager
def step(what):
    """Prints what is proved and how long that took."""
    start = time.monotonic()
    yield
    print(f"  ok  {time.monotonic() - start:6.2f} s  {what}", flush=True)


def main(body):
    """Runs a test program: exit 1 and the reason when a proof fails."""
    print(f"{pathlib.Path(sys.argv[0]).name}: {(body.__doc__ or '').strip()}", flush=True)
    try:
        body()
    except (Failed, OSError, subprocess.SubprocessError) as error:
        import traceback

        where = traceback.extract_tb(error.__traceback__)
        place = next((f for f in reversed(where) if f.filename == sys.argv[0]), where[-1])
        name = pathlib.Path(place.filename).name
        print(f"FAILED: {name}:{place.lineno}: {type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)


class Server:
    """`depthcast` on a free port of loopback; the log goes to target/system/NAME.log and fails no test by its amount.

    `prefix` is a command that starts it, for limits; `env` is added to the environment.
    """

    def __init__(self, name, *arguments, port=0, prefix=(), env=None):
        need(os.access(BINARY, os.X_OK), f"no program at {BINARY}: cargo build --release, or set DEPTHCAST")
        OUT.mkdir(parents=True, exist_ok=True)
        self.log_path = OUT / f"{name}.log"
        self.started = time.monotonic()
        with open(self.log_path, "wb") as log:
            command = [*prefix, BINARY, *arguments, "--listen", f"127.0.0.1:{port}"]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env={**os.environ, **(env or {})})
        try:
            self.port = self._port()
        except Failed:
            self.process.kill()
            raise

    def _port(self):
        while time.monotonic() < self.started + WAIT:
            if found := re.search(r"listening on 127\.0\.0\.1:(\d+)", self.log()):
                return int(found[1])
            code = self.process.poll()
            need(code is None, f"the server ended at once with {code}: {self.log()[-500:]}")
            time.sleep(0.01)
        raise Failed(f"the server does not say where it listens, see {self.log_path}")

    def log(self):
        """What it has logged so far."""
        return self.log_path.read_text(errors="replace")

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        """TERM must end it with 0 within a second; not asked when the test has failed already."""
        if self.process.poll() is not None:
            need(kind is not None or self.process.returncode == 0, f"exit code {self.process.returncode}")
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(1 if kind is None else WAIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            need(kind is not None, "TERM did not stop the server within a second")
        else:
            need(kind is not None or code == 0, f"exit code {code} after TERM: {self.log()[-500:]}")

    def connect(self):
        """A socket that will not wait for ever."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=WAIT)


class Viewer:
    """The network half of the old Python viewer; `text` and `payload` of the last reply are kept."""

    def __init__(self, server):
        self.socket = server.connect()
        self.text = self.payload = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, commands):
        """Sends command bytes as they are."""
        self.socket.sendall(commands)

    def exactly(self, size):
        """That many bytes, or Failed."""
        data = bytearray()
        while len(data) < size:
            part = self.socket.recv(min(size - len(data), 1 << 20))
            need(part, f"the server closed after {len(data)} of {size} bytes")
            data += part
        return bytes(data)

    def reply(self):
        """One reply: its header taken apart, its payload unpickled."""
        length, text = HEAD.unpack(self.exactly(HEAD.size))
        need(0 < length < 1 << 22, f"a payload of {length} bytes")
        self.text = text
        self.payload = self.exactly(length)
        return pickle.loads(self.payload)

    def ask(self):
        """Asks for one frame and takes it."""
        self.send(b"0")
        return self.reply()

    def closed(self):
        """The server closes without another byte."""
        try:
            rest = self.socket.recv(1)
        except ConnectionResetError:
            rest = b""
        except socket.timeout:
            raise Failed(f"still open after {WAIT} s") from None
        need(not rest, "the server sent more instead of closing")
