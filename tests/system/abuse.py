"""Hostile viewers, one step each. In every step a witness on /stream misses no sequence number, the server's memory
grows by at most 1 MiB, nothing panics, and afterwards a new viewer of each protocol is served.

Not here: the wall clock set to 1970 and to 2100. A time namespace shifts the monotonic and the boot-time clock only, so
that is proved by the loop's own tests on a virtual clock.
"""

import contextlib
import itertools
import os
import pathlib
import random
import re
import resource
import selectors
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

from harness import BINARY, HEAD, WAIT, Server, Viewer, main, need, step
from watch import Stream, Witness, closed, connect, get, state

FPS = 10
STALL = 2  # seconds, viewers.stall_s
GROWTH = 1024  # KiB
PLACES, LOBBY = 64, 32  # viewers.max, and connections beside the viewers
SEED = 1
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset
STREAM = b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"
CONFIG = """\
fps = {fps}
[range]
max_mm = {max_mm}
[camera]
name = "{name}"
[viewers]
max = {places}
stall_s = {stall}
allow = [{allow}]
[legacy]
shutdown_from = []
"""
# With a mistake in its third line.
BAD_CONFIG = 'fps = 10\n[range]\nmax_mm = "far"\n[camera]\nname = "bad"\n'


def config(path, max_mm=4500, name="before", allow=""):
    """Writes a configuration."""
    text = CONFIG.format(fps=FPS, max_mm=max_mm, name=name, places=PLACES, stall=STALL, allow=allow)
    pathlib.Path(path).write_text(text)


def resident(server):
    """KiB of memory it has touched."""
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def cpu(server):
    """Seconds of processor time it has used."""
    fields = pathlib.Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def until(true, why, seconds=WAIT):
    """Waits for `true()` and gives what it gave."""
    deadline = time.monotonic() + seconds
    while not (result := true()):
        need(time.monotonic() < deadline, f"{why} within {seconds} s")
        time.sleep(0.05)
    return result


def served(server):
    """New viewers of both protocols and a plain request are served."""
    address = ("127.0.0.1", server.port)
    with Stream(connect(address)) as viewer:
        viewer.picture()
    with Python(server) as viewer:
        viewer.picture()
        viewer.send(b"1")
        viewer.closed()
    for path in ("/snapshot", "/healthz"):
        line, body = get(address, path)
        need(" 200 " in line and body, f"{path} answers {line}")


def unharmed(server):
    """Runs, and has not panicked."""
    need(server.process.poll() is None, f"the server ended with {server.process.returncode}: {server.log()[-500:]}")
    need("panicked" not in server.log(), f"it panicked: {server.log()[-1000:]}")


@contextlib.contextmanager
def abuse(server, witness, what):
    """A step with all that must hold in every one."""
    with step(what):
        witness.wait(1)
        before = resident(server)
        yield
        unharmed(server)
        # The server is at work again when pictures come that were captured after the abuse.
        witness.wait(3)
        served(server)
        until(lambda: state(("127.0.0.1", server.port))["stream"]["clients"] == 1, "viewers that are gone stay")
        grown = resident(server) - before
        print(f"      memory {before} KiB, grown by {grown} KiB", flush=True)
        need(grown <= GROWTH, f"memory grew by {grown} KiB")
        unharmed(server)


class Python(Viewer):
    """A viewer of the Python protocol that takes pictures without numpy."""

    def picture(self, ask=True):
        """One reply: its text and its payload."""
        if ask:
            self.send(b"0")
        length, text = HEAD.unpack(self.exactly(HEAD.size))
        return text.rstrip(b"\0").decode(), self.exactly(length)


def to_end(sock, most=1 << 24):
    """All that comes until the server closes; a reset is an end too."""
    data = bytearray()
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while part := sock.recv(1 << 16):
            data += part
            need(len(data) < most, "it never ends")
    return bytes(data)


def ended(sock):
    """Whether the server has closed this non-blocking socket; what comes before is read and dropped."""
    try:
        while sock.recv(1 << 16):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


class Crowd(threading.Thread):
    """Viewers that read all they are sent. `tend` is called between reads, for those who come and go."""

    def __init__(self, tend=None):
        super().__init__(daemon=True)
        self.selector = selectors.DefaultSelector()
        self.tend, self.leaving, self.bytes, self.error = tend, False, 0, None

    def join_in(self, address, python):
        """One more viewer."""
        sock = connect(address)
        sock.sendall(b"0" if python else STREAM)
        sock.setblocking(False)
        self.selector.register(sock, selectors.EVENT_READ, python)
        return sock

    def leave(self, sock, how):
        """One less: with a goodbye, without, or with a reset."""
        self.selector.unregister(sock)
        with contextlib.suppress(OSError):
            if how == "goodbye":
                sock.sendall(b"1")
            elif how == "reset":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        sock.close()

    def all(self):
        """Those who are there."""
        return [key.fileobj for key in self.selector.get_map().values()]

    def run(self):
        try:
            while not self.leaving:
                for key, _ in self.selector.select(0.02):
                    try:
                        part = key.fileobj.recv(1 << 18)
                        if part and key.data:
                            key.fileobj.sendall(b"0")
                    except BlockingIOError:  # more is asked than the server takes: it has enough to answer
                        continue
                    except OSError:
                        part = b""
                    self.bytes += len(part)
                    if not part:
                        self.leave(key.fileobj, "close")
                if self.tend:
                    self.tend(self)
        except Exception as error:  # told by whoever started it
            self.error = error

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.leaving = True
        self.join(WAIT)
        for sock in self.all():
            self.leave(sock, "close")
        self.selector.close()


def warm_up(server, path):
    """Touches all that may be touched: every slot with every picture, every connection's memory, the configuration."""
    address = ("127.0.0.1", server.port)
    for max_mm in (3000, 4500):
        pathlib.Path(path).write_text(BAD_CONFIG)
        server.process.send_signal(signal.SIGHUP)
        until(lambda: "the old one stays" in server.log(), "the bad file is not noticed")
        config(path, max_mm=max_mm)
        server.process.send_signal(signal.SIGHUP)
        until(lambda: state(address)["depth"]["max_mm"] == max_mm, "the range does not change")
    long_head = b"GET /state HTTP/1.1\r\n" + b"Cookie: " + b"x" * 7900 + b"\r\n\r\n"
    with contextlib.ExitStack() as all_viewers:
        for viewers in (0, 31, 31):
            for _ in range(viewers):
                viewer = all_viewers.enter_context(Stream(connect(address)))
                viewer.picture()
            with contextlib.ExitStack() as lobby:
                plain = [lobby.enter_context(connect(address)) for _ in range(LOBBY)]
                for sock in plain:
                    sock.sendall(long_head)
                for sock in plain:
                    need(sock.recv(1 << 16).startswith(b"HTTP/1.1 200"), "/state is not answered")
    until(lambda: not state(address)["stream"]["clients"], "viewers that are gone stay")
    # Viewers that hold on to their pictures, so that the newest is in another slot each time.
    for _ in range(2):
        with contextlib.ExitStack() as holding:
            for _ in range(12):
                for request in (STREAM, b"0" * 8):
                    sock = holding.enter_context(connect(address, 4096))
                    sock.sendall(request)
                with Python(server) as viewer:
                    viewer.picture()
                for path in ("/snapshot", "/depth.png"):
                    get(address, path)
                time.sleep(1 / FPS)
        until(lambda: not state(address)["stream"]["clients"], "viewers that are gone stay")


def never_reads(server, witness, unix):
    """Viewers that never read are closed for it, whatever they go on sending."""
    address = ("127.0.0.1", server.port)
    kinds = (
        ("a Python viewer that never reads and asks on and on", b"0", b"0"),
        ("a viewer of /stream that never reads and talks on and on", STREAM, b"x"),
        ("a client that asks for snapshots on and on and never reads",) + (b"GET /snapshot HTTP/1.1\r\nHost: x\r\n\r\n",) * 2,
    )
    # Small buffers are full in the middle of a picture; where a whole one fits, nothing is left to send, only not taken.
    places = (("TCP", address, 4096), ("TCP with room for a picture", address, 32 << 10), ("Unix", unix, None))
    for (what, first, again), (kind, where, receive) in itertools.product(kinds, places):
        with abuse(server, witness, f"{what}, {kind}: closed as stalled"):
            known, before = set(state(address)["stream"]["clients_stat"]), closed(address)
            with connect(where, receive) as sock:
                sock.sendall(first)
                sock.setblocking(False)
                begun = time.monotonic()
                while True:
                    now = state(address)
                    end = now["counters"]["closed"]
                    if end["stalled"] > before["stalled"] and set(now["stream"]["clients_stat"]) <= known:
                        break
                    need(end["broken"] == before["broken"], "counted as broken, not as stalled")
                    need(time.monotonic() < begun + STALL + WAIT, f"still open after {STALL + WAIT} s")
                    with contextlib.suppress(OSError):
                        sock.send(again)
                    time.sleep(0.1)
            print(f"      closed after {time.monotonic() - begun:.1f} s; viewers.stall_s is {STALL}")


def leaving(server, witness):
    """Who closes in good order is no fault, and makes room at once."""
    address = ("127.0.0.1", server.port)
    with abuse(server, witness, "20 viewers of /stream and 20 Python viewers close: gone at once, not counted as stalled"):
        before = closed(address)
        for _ in range(20):
            with Stream(connect(address)) as viewer:
                viewer.picture()
            with Python(server) as viewer:
                viewer.picture()
                viewer.send(b"0")
        begun = time.monotonic()
        until(lambda: state(address)["stream"]["clients"] <= 1, "viewers that are gone stay")
        need(closed(address)["stalled"] == before["stalled"], "they were counted as stalled")
        print(f"      after {time.monotonic() - begun:.2f} s")


def slow_reader(server, witness):
    """1 kB/s is progress, or it is not; nobody else feels it."""
    address = ("127.0.0.1", server.port)
    for kind, request in (("/stream", STREAM), ("Python", b"0" * 8)):
        with abuse(server, witness, f"a reader of 1 kB/s, {kind}"):
            before = closed(address)
            with connect(address, 2048) as sock:
                sock.sendall(request)
                took = 0
                for _ in range(60):
                    with contextlib.suppress(ConnectionResetError):
                        took += len(sock.recv(100))
                    time.sleep(0.1)
            after = closed(address)
            end = [reason for reason in after if after[reason] > before[reason] and reason != "answered"]
            print(f"      {took} bytes in 6 s; closed by the server: {', '.join(end) or 'no'}")


def floods(server, witness):
    """Many connections at once, and silent ones."""
    address = ("127.0.0.1", server.port)
    with abuse(server, witness, "1,000 connects at once, held, then closed"):
        before = state(address)["counters"]["accepted"]
        with contextlib.ExitStack() as held:
            socks = []
            for _ in range(1000):
                sock = held.enter_context(socket.socket())
                sock.setblocking(False)
                sock.connect_ex(address)
                socks.append(sock)
            # Where the system's queue is short, whoever finds it full tries again after 1 s, 3 s and so on: TCP does that.
            begun, asked = time.monotonic(), 0
            while True:
                counters, asked = state(address)["counters"], asked + 1
                accepted = counters["accepted"] - before - asked
                if accepted >= 1000:
                    break
                need(time.monotonic() < begun + 60, f"only {accepted} were accepted")
                time.sleep(0.1)
            took = time.monotonic() - begun
            until(lambda: sum(ended(sock) for sock in socks) >= 1000 - LOBBY, "those beyond the lobby stay")
            print(f"      all accepted after {took:.2f} s; {closed(address)['evicted']} evicted")

    with abuse(server, witness, "40 connections that say nothing: evicted, or closed after 10 s"):
        before = closed(address)
        begun = time.monotonic()
        with contextlib.ExitStack() as held:
            socks = [held.enter_context(connect(address)) for _ in range(40)]
            for sock in socks:
                sock.setblocking(False)
            until(lambda: all(ended(sock) for sock in socks), "silent connections stay", 10 + WAIT)
        need(time.monotonic() - begun > 9, "closed too soon")
        after = closed(address)
        gone = {reason: after[reason] - before[reason] for reason in ("silent", "evicted")}
        need(gone["silent"] > 0 and sum(gone.values()) >= 40, f"closed: {gone}")
        print(f"      after {time.monotonic() - begun:.1f} s; {gone}")


def half_closed(server, witness):
    """After a half-close what is owed is still sent."""
    address = ("127.0.0.1", server.port)
    with abuse(server, witness, "half-closed: Python, a request, /stream, nothing said"):
        with Python(server) as viewer:
            viewer.send(b"000")
            viewer.socket.shutdown(socket.SHUT_WR)
            for _ in range(3):
                viewer.picture(ask=False)
            viewer.closed()
        with connect(address) as sock:
            sock.sendall(b"GET /snapshot HTTP/1.1\r\nHost: x\r\n\r\n")
            sock.shutdown(socket.SHUT_WR)
            answer = to_end(sock)
            need(answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"\xff\xd9"), "no whole picture")
        with Stream(connect(address)) as viewer:
            viewer.socket.shutdown(socket.SHUT_WR)
            for _ in range(3):
                viewer.picture()
        with connect(address) as sock:
            sock.shutdown(socket.SHUT_WR)
            need(to_end(sock) == b"", "an answer to nothing")

    with abuse(server, witness, "90 resets in the middle of a picture"):
        for _ in range(30):
            for request in (STREAM, b"000", b"GET /snapshot HTTP/1.1\r\nHost: x\r\n\r\n"):
                with connect(address, 4096) as sock:
                    sock.sendall(request)
                    sock.recv(1000)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        # A reset that found the server waiting for a frame is noticed with the next one.
        until(lambda: state(address)["stream"]["clients"] <= 1, "viewers that are gone stay")


def garbage(server, witness):
    """What no viewer says."""
    address = ("127.0.0.1", server.port)
    chance = random.Random(SEED)
    hello = bytes.fromhex("16030100c8010000c40303") + chance.randbytes(190)
    kinds = [
        b"\0" * 1000, b"\xff" * 1000, b"get / http/1.1\r\n\r\n", b"9", b"\n", b"\r\n\r\n", b"0x", b"0\n", b"\x80\x80",
        hello, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"SSH-2.0-x\r\n", b"GET", b"G" * 5000, b"GET " + bytes(range(256)) + b"\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\n\xff\xfe: \x00\r\n\r\n", b"GET /%00%ff%zz?&&==;; HTTP/1.1\r\n\r\n",
        b"POST /snapshot HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n" + b"x" * 10000,
        b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n",
    ] + [chance.randbytes(chance.randrange(1, 5000)) for _ in range(200)]
    with abuse(server, witness, f"garbage of {len(kinds)} kinds"):
        for data in kinds:
            with connect(address) as sock, contextlib.suppress(ConnectionResetError, BrokenPipeError):
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                to_end(sock)

    with abuse(server, witness, "a head of 1 MB: 431, or a reset for going on"):
        with connect(address) as sock:
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                sock.sendall(b"GET / HTTP/1.1\r\n" + b"Cookie: " + b"x" * 1_000_000 + b"\r\n\r\n")
            answer = to_end(sock)
        need(not answer or answer.startswith(b"HTTP/1.1 431"), f"{answer[:60]!r}")
        print(f"      {answer.partition(bytes([13]))[0].decode() or 'reset'}")

    with abuse(server, witness, "10,000 pictures asked for in one go: 30 taken, then gone"):
        with Python(server) as viewer:
            viewer.send(b"0" * 10_000)
            for _ in range(30):
                viewer.picture(ask=False)

    with abuse(server, witness, "2,000 requests in one go: 2,000 answers"):
        with connect(address) as sock:
            request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
            last = request[:-2] + b"Connection: close\r\n\r\n"
            sending = threading.Thread(target=sock.sendall, args=(request * 1999 + last,), daemon=True)
            sending.start()
            answers = to_end(sock).count(b"HTTP/1.1 200 OK\r\n")
            sending.join(WAIT)
        need(answers == 2000, f"{answers} answers")

    with abuse(server, witness, "2 from where it is not allowed: a goodbye"):
        for commands in (b"2", b"02"):
            with Python(server) as viewer:
                viewer.send(commands)
                for _ in range(commands.count(b"0")):
                    viewer.picture(ask=False)
                viewer.closed()


def port_in_use(server, witness):
    """A second server on the port says so."""
    with abuse(server, witness, "a second server on the port: exit code 2, the address named"):
        listen = f"127.0.0.1:{server.port}"
        second = subprocess.run([BINARY, "demo", "--listen", listen], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WAIT)
        need(second.returncode == 2, f"exit code {second.returncode}: {second.stderr}")
        need(listen in second.stderr, f"the address is not named: {second.stderr}")


def coming_and_going(server, witness):
    """Viewers join and leave at random."""
    address = ("127.0.0.1", server.port)
    chance = random.Random(SEED)
    count = {"joined": 0, "left": 0, "next": 0.0}

    def tend(crowd):
        if time.monotonic() < count["next"]:
            return
        count["next"] = time.monotonic() + 0.02
        for _ in range(2):
            here = crowd.all()
            # The witness and the viewer that is tried afterwards have places of their own.
            if len(here) < PLACES - 2 and chance.random() < 0.7:
                crowd.join_in(address, python=chance.random() < 0.5)
                count["joined"] += 1
            elif here:
                crowd.leave(chance.choice(here), chance.choice(("goodbye", "close", "reset")))
                count["left"] += 1

    with abuse(server, witness, f"up to {PLACES - 2} viewers joining and leaving at random for 10 s (seed {SEED})"):
        before = closed(address)
        with Crowd(tend) as crowd:
            time.sleep(10)
        need(crowd.error is None, f"{type(crowd.error).__name__}: {crowd.error}")
        print(f"      {count['joined']} joined, {count['left']} left, {crowd.bytes / 1e6:.0f} MB")
        after = closed(address)
        print(f"      closed: { {reason: after[reason] - before[reason] for reason in after if after[reason] > before[reason]} }")
        until(lambda: state(address)["stream"]["clients"] <= 1, "viewers that are gone stay")


def reload(server, witness, path):
    """HUP: what may change does, and a bad file changes nothing."""
    with abuse(server, witness, "HUP: range and name change while viewers stay"):
        with Python(server) as viewer:
            text, _ = viewer.picture()
            need("Name: before" in text, f"{text!r}")
            config(path, max_mm=3000, name="after")
            server.process.send_signal(signal.SIGHUP)
            until(lambda: witness.fields["X-Depthcast-Max-Mm"] == "3000", "the range does not change")
            viewer.picture()  # may be of a frame from before
            text, _ = viewer.picture()
            need("Name: after" in text, f"{text!r}")

            named = server.log().count(f"{path}:3:")
            pathlib.Path(path).write_text(BAD_CONFIG)
            server.process.send_signal(signal.SIGHUP)
            until(lambda: server.log().count(f"{path}:3:") > named, "file and line of the mistake are not named")
            witness.wait(3)
            need(witness.fields["X-Depthcast-Max-Mm"] == "3000", "a bad file changed the range")
            text, _ = viewer.picture()
            need("Name: after" in text, f"a bad file changed the name: {text!r}")
            config(path)
            server.process.send_signal(signal.SIGHUP)
            until(lambda: witness.fields["X-Depthcast-Max-Mm"] == "4500", "the good file is not taken after a bad one")

    with abuse(server, witness, "HUP 50 times"):
        for n in range(50):
            config(path, max_mm=3000 + n)
            server.process.send_signal(signal.SIGHUP)
            until(lambda: witness.fields["X-Depthcast-Max-Mm"] == str(3000 + n), "the range does not change")


def few_descriptors(path):
    """No descriptor for a connection: nobody else feels it, and the server does not spin."""
    prefix = ("sh", "-c", 'ulimit -n 40 && exec "$@"', "sh")
    with Server("abuse-emfile", "demo", "--config", path, prefix=prefix) as server:
        address = ("127.0.0.1", server.port)
        with Witness(address) as witness:
            witness.wait(20)
            with abuse(server, witness, "40 descriptors, 80 connections: no spinning"):
                with contextlib.ExitStack() as held:
                    for _ in range(80):
                        sock = held.enter_context(socket.socket())
                        sock.setblocking(False)
                        sock.connect_ex(address)
                    until(lambda: "cannot take a connection now" in server.log(), "descriptors never run out")
                    before = cpu(server)
                    time.sleep(2)
                    share = (cpu(server) - before) / 2
                    said = server.log().count("cannot take a connection now")
                print(f"      {share:.1%} of a core while it lasts; {said} lines in the log")
                need(share < 0.5, f"it spins: {share:.1%} of a core")
                need(said <= 2, f"the log is filled: {said} lines")


def not_allowed(folder):
    """Who may not watch is closed without a word."""
    path, unix = os.path.join(folder, "allow.toml"), os.path.join(folder, "s")
    config(path, allow='"192.0.2.0/24", "unix"')
    with Server("abuse-allow", "demo", "--config", path, "--listen", f"unix:{unix}") as server, Witness(unix) as witness:
        with step("viewers.allow without loopback: closed, counted as not_allowed; a Unix socket may"):
            before = closed(unix)["not_allowed"]
            for request in (b"", b"0", STREAM):
                with server.connect() as sock:
                    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                        sock.sendall(request)
                    need(to_end(sock) == b"", "it was served")
            need(closed(unix)["not_allowed"] == before + 3, f"{closed(unix)}")
            witness.wait(3)
            unharmed(server)


def stop_under_load(path):
    """TERM while everybody watches."""
    server = Server("abuse-term", "demo", "--config", path)
    try:
        address = ("127.0.0.1", server.port)
        with step(f"{PLACES} viewers come at once and are served; TERM: exit code 0"):
            crowd = Crowd()
            for n in range(PLACES):
                crowd.join_in(address, python=n % 2 == 0)
            with crowd:
                until(lambda: state(address)["stream"]["clients"] == PLACES, "not all are served")
                time.sleep(1)
                asked = time.monotonic()
                server.process.send_signal(signal.SIGTERM)
                code = server.process.wait(3)
                took = time.monotonic() - asked
            need(code == 0, f"exit code {code}: {server.log()[-500:]}")
            need("panicked" not in server.log(), "it panicked")
            print(f"      after {took:.2f} s")
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()


def run():
    """hostile viewers harm nobody but themselves"""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2048 if hard == resource.RLIM_INFINITY else min(2048, hard)
    need(wanted >= 1100, f"the system allows {hard} open files, 1,100 are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "abuse.toml")
        config(path)
        unix = os.path.join(folder, "abuse.sock")
        with Server("abuse", "demo", "--config", path, "--listen", f"unix:{unix}") as server:
            with step("warm-up"):
                before = resident(server)
                warm_up(server, path)
            print(f"      memory {before} KiB, then {resident(server)} KiB")
            with Witness(("127.0.0.1", server.port)) as witness:
                never_reads(server, witness, unix)
                for body in (leaving, slow_reader, floods, half_closed, garbage, port_in_use, coming_and_going):
                    body(server, witness)
                reload(server, witness, path)
            print(f"      the witness had {witness.frames} pictures in a row")
            unharmed(server)
        few_descriptors(path)
        not_allowed(folder)
        stop_under_load(path)


if __name__ == "__main__":
    main(run)
