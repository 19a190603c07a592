"""What hostile and broken peers do, each beside a viewer that must not miss a frame, in memory that must not grow.

Only the standard library. Clocks set to 1970 and 2100 are the business of the loop's own tests, on a virtual clock: a
time namespace does not cover the wall clock.
"""

import contextlib
import json
import os
import random
import re
import resource
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from harness import BINARY, Server, Viewer, main, need, step

GROWTH = 1024  # KiB that one kind of abuse may cost


class Witness(threading.Thread):
    """Watches the stream all the time and keeps the sequence numbers."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.socket = server.connect()
        self.socket.sendall(b"GET /stream HTTP/1.1\r\n\r\n")
        self.sequence, self.over = [], False
        self.start()

    def run(self):
        text = b""
        while not self.over:
            part = self.socket.recv(1 << 20)
            if not part:
                return
            text += part
            found = list(re.finditer(rb"X-Depthcast-Seq: (\d+)\r\n", text))
            self.sequence += [int(match[1]) for match in found]
            text = text[found[-1].end() if found else 0 :][-64:] if found else text[-64:]


def resident(server):
    """KiB of memory that the server has touched."""
    with open(f"/proc/{server.process.pid}/status", encoding="ascii") as status:
        return int(re.search(r"VmRSS:\s*(\d+)", status.read())[1])


def ticks(server):
    """Hundredths of a second of processor time."""
    with open(f"/proc/{server.process.pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def closed(server):
    """How many connections were closed, by reason."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/state", timeout=10) as answer:
        return json.load(answer)["result"]["counters"]["closed"]


def until(what, true):
    """Waits for something that must come."""
    deadline = time.monotonic() + 60
    while not true():
        need(time.monotonic() < deadline, f"after 60 s still not: {what}")
        time.sleep(0.1)


@contextlib.contextmanager
def abuse(server, witness, what):
    """One step: no gap for the witness, no growth, no panic, and a viewer who comes then is served."""
    memory, seen = resident(server), len(witness.sequence)
    with step(what):
        yield
        until("five more frames", lambda: len(witness.sequence) > seen + 5)
        with Viewer(server) as viewer:
            need(viewer.ask() is not None, "no reply")
        got = witness.sequence[max(seen - 1, 0) :]
        need(got == list(range(got[0], got[-1] + 1)), f"the witness missed frames: {got}")
        need(server.process.poll() is None, "the server is gone")
        need("panicked" not in server.log(), "the server panicked")
        grown = resident(server) - memory
        need(grown <= GROWTH, f"memory grew by {grown} KiB")
    print(f"      memory {grown:+d} KiB, {len(got)} frames in a row")


class Plain:
    """Just enough of a reply for a viewer without numpy: the payload is left pickled."""

    @staticmethod
    def reply(viewer):
        length, _ = struct.unpack(">L280s", viewer.exactly(284))
        return viewer.exactly(length)


Viewer.reply = Plain.reply


def never_reads(server):
    with server.connect() as peer:
        before = closed(server)["stalled"]
        peer.settimeout(0.1)
        with contextlib.suppress(OSError):
            for _ in range(600):
                peer.sendall(b"0" * 64)
                if closed(server)["stalled"] > before:
                    return
                time.sleep(0.1)
        until("it is closed for stalling", lambda: closed(server)["stalled"] > before)


def trickle(server):
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.connect(("127.0.0.1", server.port))
        peer.sendall(b"GET /stream HTTP/1.1\r\n\r\n")
        peer.settimeout(10)
        with contextlib.suppress(OSError):
            for _ in range(50):
                peer.recv(100)
                time.sleep(0.1)


def thousand(server):
    peers = [server.connect() for _ in range(1000)]
    time.sleep(1)
    for peer in peers:
        peer.close()


def silent(server):
    peers = [server.connect() for _ in range(20)]
    before = closed(server)
    until("silent ones are closed", lambda: closed(server)["silent"] >= before["silent"] + 20)
    for peer in peers:
        peer.close()


def half_closed(server):
    for request in (b"000", b"GET /state HTTP/1.1\r\n\r\n", b"GET /snapshot HTTP/1.1\r\n\r\n"):
        with server.connect() as peer:
            peer.sendall(request)
            peer.shutdown(socket.SHUT_WR)
            data = b""
            while part := peer.recv(1 << 20):
                data += part
            need(len(data) > 500, f"only {len(data)} bytes for {request[:12]}")


def resets(server):
    for request in (b"0" * 10, b"GET /stream HTTP/1.1\r\n\r\n", b"GET /depth.png HTTP/1.1\r\n\r\n") * 20:
        peer = server.connect()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.sendall(request)
        peer.recv(1000)
        peer.close()


def garbage(server):
    chance = random.Random(1)
    kinds = [b"\x16\x03\x01\x02\x00", b"SSH-2.0-x\r\n", b"\0" * 100, b"GET\r\n\r\n", b"0\xff", b"PRI * HTTP/2.0\r\n\r\n"]
    for n in range(200):
        with server.connect() as peer, contextlib.suppress(OSError):
            peer.sendall(kinds[n] if n < len(kinds) else chance.randbytes(chance.randrange(1, 5000)))
            peer.settimeout(0.01)
            peer.recv(1000)


def huge_head(server):
    with server.connect() as peer, contextlib.suppress(OSError):
        peer.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * (1 << 20))
        need(peer.recv(100).startswith(b"HTTP/1.1 431 "), "no 431")


def pipelined(server):
    with Viewer(server) as viewer:
        viewer.socket.settimeout(60)
        threading.Thread(target=lambda: viewer.send(b"0" * 100), daemon=True).start()
        for _ in range(70):
            viewer.reply()
    with server.connect() as peer:
        peer.settimeout(60)
        requests = b"GET /healthz HTTP/1.1\r\n\r\n" * 2000
        threading.Thread(target=lambda: peer.sendall(requests), daemon=True).start()
        data = b""
        while data.count(b"\r\n\r\nok\n") < 2000:
            part = peer.recv(1 << 20)
            need(part, "closed in the middle")
            data += part


def stop_from_elsewhere(server):
    with Viewer(server) as viewer:
        viewer.send(b"2")
        need(viewer.socket.recv(1) == b"", "not closed")
    need("legacy.shutdown_from" in server.log(), "not logged")


def port_taken(server):
    second = subprocess.run(
        [BINARY, "demo", "--listen", f"127.0.0.1:{server.port}"], capture_output=True, text=True, timeout=30
    )
    need(second.returncode == 2, f"exit code {second.returncode}")
    need(f"127.0.0.1:{server.port}: another program" in second.stderr, second.stderr)


def come_and_go(server):
    chance = random.Random(2)

    def one(seed):
        mine = random.Random(seed)
        for _ in range(6):
            with server.connect() as peer, contextlib.suppress(OSError):
                peer.sendall(mine.choice([b"0", b"000", b"GET /stream HTTP/1.1\r\n\r\n", b"GET /snapshot HTTP/1.0\r\n\r\n"]))
                peer.settimeout(mine.random())
                while mine.random() > 0.1 and peer.recv(1 << 16):
                    pass

    # One place is the witness's.
    threads = [threading.Thread(target=one, args=(chance.random(),), daemon=True) for _ in range(63)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)


ABUSES = [
    ("a viewer that never reads", never_reads),
    ("a viewer at 1 kB/s", trickle),
    ("1,000 connections at once", thousand),
    ("connections that say nothing", silent),
    ("half-closed connections", half_closed),
    ("resets in the middle of a frame", resets),
    ("garbage", garbage),
    ("a head of 1 MB", huge_head),
    ("pipelined thousands", pipelined),
    ("a stop from somewhere that may not", stop_from_elsewhere),
    ("a second server on the same port", port_taken),
    ("63 viewers that come and go", come_and_go),
]


def few_descriptors(folder):
    """A process that may open hardly any files waits for better times instead of spinning."""
    run = ["bash", "-c", 'ulimit -n 24; exec "$0" demo --fps 10 --listen 127.0.0.1:0', BINARY]
    log = os.path.join(folder, "few.log")
    with open(log, "wb") as out:
        process = subprocess.Popen(run, stdout=out, stderr=out)
    try:
        found = None
        until("it listens", lambda: re.search(r"listening on 127\.0\.0\.1:(\d+)", open(log, encoding="utf-8").read()))
        found = re.search(r"listening on 127\.0\.0\.1:(\d+)", open(log, encoding="utf-8").read())
        server = type("Small", (), {"port": int(found[1]), "process": process, "connect": Server.connect})()
        witness = Witness(server)
        peers = [server.connect() for _ in range(60)]
        time.sleep(1)
        before, seen = ticks(server), len(witness.sequence)
        time.sleep(3)
        share = (ticks(server) - before) / 300
        need(share < 0.5, f"{share:.0%} of a core while no descriptor was free")
        until("frames go on", lambda: len(witness.sequence) > seen + 5)
        need("cannot take a connection" in open(log, encoding="utf-8").read(), "not logged")
        for peer in peers:
            peer.close()
        print(f"      {share:.0%} of a core while no descriptor was free")
    finally:
        process.terminate()
        process.wait(10)


def run():
    """hostile peers cost others no frame, no memory and no panic"""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "config.toml")
        with open(path, "w", encoding="utf-8") as file:
            file.write("[viewers]\nstall_s = 2\n[legacy]\nshutdown_from = []\n")
        with Server("abuse", "demo", "--fps", "10", "--config", path) as server:
            witness = Witness(server)
            # Touch everything once, so that what grows later is growth.
            come_and_go(server)
            # Those that were left hanging are closed before anything is counted.
            time.sleep(3)
            for name, what in ABUSES:
                with abuse(server, witness, name):
                    what(server)
            witness.over = True
        with step("few descriptors"):
            few_descriptors(folder)
        with step("HUP: what may change does, a bad file changes nothing"):
            with Server("abuse-hup", "demo", "--config", path) as server:
                with Viewer(server) as viewer:
                    viewer.ask()
                    with open(path, "w", encoding="utf-8") as file:
                        file.write('[camera]\nname = "ramp"\n[viewers]\nmax = 5\n')
                    server.process.send_signal(1)
                    until("it says so", lambda: "changed: " in server.log())
                    need("restart brings it: viewers.max" in server.log(), server.log())
                    for _ in range(3):
                        viewer.send(b"0")
                        length, text = struct.unpack(">L280s", viewer.exactly(284))
                        viewer.exactly(length)
                    need(b"-Name: ramp\n" in text, "the new name does not show")
                    with open(path, "w", encoding="utf-8") as file:
                        file.write("[camera]\nname = 5\n")
                    server.process.send_signal(1)
                    until("the old one stays", lambda: "the old one stays" in server.log())
                    need("config.toml:2: camera.name" in server.log(), server.log())
                    viewer.ask()
        with step("networks that may not watch"):
            with open(path, "w", encoding="utf-8") as file:
                file.write('[viewers]\nallow = ["10.0.0.0/8"]\n')
            with Server("abuse-allow", "demo", "--config", path) as server:
                with server.connect() as peer:
                    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                        peer.sendall(b"0")
                        need(peer.recv(1) == b"", "served")
                need("viewers.allow" in server.log(), "not logged")
        with Server("abuse-stop", "demo") as server:
            peers = [server.connect() for _ in range(64)]
            for peer in peers:
                peer.sendall(b"GET /stream HTTP/1.1\r\n\r\n")
                peer.recv(1000)
            begun = time.monotonic()
            # Leaving the block sends TERM and needs exit code 0 within a second.
        print(f"  ok  TERM with 64 viewers: {time.monotonic() - begun:.2f} s")


if __name__ == "__main__":
    main(run)
    sys.exit(0)
