"""depthcast-view with a real window, against depthcast and against servers in the old style.

depthcast_view.py PYTHON...: interpreters with numpy and OpenCV, each of which runs old_server.py. Needs Xvfb, openbox,
xdotool, wmctrl and ImageMagick's import; DEPTHCAST_VIEW names the program. Leaves screenshots in target/system.
"""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import time
import urllib.request

import cv2
import numpy as np

import old_server
from harness import OUT, WAIT, Failed, Server, main, need, step
from viewers import display, jet_pixels

HERE = pathlib.Path(__file__).parent
VIEW = os.environ["DEPTHCAST_VIEW"]
# Inks of viewer/src/screen.rs, as OpenCV orders colours.
GROUND, PLAIN, GOOD, WARNING = ((b, g, r) for r, g, b in ((0x18, 0x1B, 0x20), (0xD8, 0xDE, 0xE6), (0x73, 0xD9, 0x8C), (0xFF, 0xB4, 0x54)))


def view(server, *arguments):
    """Runs it without a window, and gives what it printed."""
    done = subprocess.run([VIEW, f"127.0.0.1:{server.port}", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=60, text=True)
    need(done.returncode == 0, f"{arguments}: {done.returncode}, {done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


class OldServer:
    """old_server.py, run by an interpreter."""

    def __init__(self, python):
        self.process = subprocess.Popen([python, str(HERE / "old_server.py")], stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def left(self):
        """What it says of the viewer that has just left."""
        return json.loads(self.process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class Window:
    """The viewer in a window, alone on its screen."""

    def __init__(self, screen, server, *arguments):
        self.screen = {**os.environ, "DISPLAY": screen}
        self.process = subprocess.Popen([VIEW, f"127.0.0.1:{server.port}", *arguments], env=self.screen,
                                        stderr=subprocess.PIPE, text=True)
        self.id = "root"
        self.id = self.wait("window", lambda: self.xdotool("search", "--onlyvisible", "--name", str(server.port)).split())[0]
        self.wait("the focus", lambda: self.xdotool("windowactivate", self.id) + self.xdotool("getactivewindow").strip() == self.id)

    def xdotool(self, *arguments):
        """Runs it; what it says, which may be nothing."""
        return subprocess.run(["xdotool", *arguments], env=self.screen, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              timeout=WAIT, text=True).stdout

    def wait(self, what, truth):
        """Until something is true, and that."""
        deadline = time.monotonic() + WAIT
        while time.monotonic() < deadline:
            need(self.process.poll() is None, f"the viewer ended with {self.process.returncode}")
            if found := truth():
                return found
            time.sleep(0.05)
        self.shot("failed")
        raise Failed(f"no {what} within {WAIT} s, see view-failed.png")

    def shot(self, name):
        """A picture of the window, kept."""
        path = OUT / f"view-{name}.png"
        command = ["import", "-window", self.id, "-quality", "11", str(path)]
        subprocess.run(command, env=self.screen, check=True, timeout=WAIT)
        return cv2.imread(str(path))

    def ink(self, name, colour, at_least=40):
        """Until the window has so many pixels of a colour."""
        return self.wait(f"{name} in the window", lambda: (self.shot(name) == colour).all(2).sum() >= at_least)

    def key(self, key):
        """Presses it."""
        self.xdotool("key", key)

    def ends(self):
        """It ends, and well."""
        try:
            code = self.process.wait(WAIT)
        except subprocess.TimeoutExpired:
            raise Failed("the viewer did not end") from None
        need(code == 0, f"the viewer ended with {code}: {self.process.stderr.read()}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def old_servers(python, folder):
    """Every protocol, shape and kind of picture of one pair, pixel for pixel."""
    with OldServer(python) as server:
        for turn, (protocol, two, kind) in enumerate(old_server.TURNS):
            target = folder / f"{turn}"
            lines = view(server, "--frames", "2", "--print", "--save", str(target))
            left = server.left()
            need(left["commands"] == "0.0.0.1.", f"the server was told {left['commands']}")
            need(lines[1]["text"]["Event_Info_List"]["StartTime"] == "2020:11:10:13:55:34", f"{lines[1]}")
            saved = cv2.imread(str(target / "000002.png"), cv2.IMREAD_UNCHANGED)
            sent = cv2.imdecode(old_server.picture(kind, left["last"] - 1), cv2.IMREAD_UNCHANGED)
            # JPEG decoders may round otherwise.
            near = 4 if kind == "jpeg" else 0
            differ = cv2.absdiff(saved, sent).max() if saved.shape == sent.shape else 255
            need(differ <= near, f"protocol {protocol}, {kind}: {saved.shape} instead of {sent.shape}, off by {differ}")
        return subprocess.run([python, "-c", "import numpy, cv2; print('numpy', numpy.__version__, 'OpenCV', cv2.__version__)"],
                              stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def viewers(server):
    """How many the server counts."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/state", timeout=WAIT) as answer:
        return json.load(answer)["result"]["stream"]["clients"]


def window_on_depthcast(screen, folder):
    """Everything that keys do, and a server that goes away."""
    with Server("view-window", "demo") as server, Window(screen, server, "--save", str(folder)) as window:
        port = server.port
        with step("live, with a title, colours and the distance under the pointer"):
            window.wait("title", lambda: window.xdotool("getwindowname", window.id).strip() == f"camera01 - 127.0.0.1:{port}")
            window.xdotool("mousemove", "1199", "999")
            window.ink("live", GOOD)
            time.sleep(0.5)
            live = (window.shot("live") == GOOD).all(2).sum()
            window.xdotool("mousemove", "--window", window.id, "200", "300")
            # LIVE is green, and so is a distance: where there is no return the scene moves on.
            window.ink("distance", GOOD, live + 40)
            area, colours = jet_pixels(window.shot("distance"))
            need(area > 400 * 400 and colours > 50, f"{area} pixels in {colours} colours")
        with step("space freezes the picture, and lets it go"):
            window.key("space")
            window.ink("frozen", WARNING)
            # The picture's part of the window stands still, as soon as the word is there.
            first = window.shot("frozen")[:400]
            time.sleep(0.5)
            need((first == window.shot("frozen")[:400]).all(), "a frozen picture moved")
            window.key("space")
            window.wait("movement", lambda: not (window.shot("live")[:400] == first).all())
        with step("`?` shows the keys, `f` fills the screen, both go away again"):
            text = (window.shot("live") == PLAIN).all(2).sum()
            window.key("question")
            window.ink("help", PLAIN, text + 4000)
            window.key("Escape")
            window.wait("picture without the keys", lambda: (window.shot("live") == PLAIN).all(2).sum() < text + 2000)
            window.key("f")
            window.wait("full screen", lambda: window.shot("full").shape[:2] == (1000, 1200))
            need(jet_pixels(window.shot("full"))[0] > 600_000, "the picture did not grow")
            window.key("f")
            window.wait("window", lambda: window.shot("live").shape[:2] != (1000, 1200))
        with step("`s` saves the picture and its depth, which depthcast can replay"):
            window.key("s")
            window.wait("two files", lambda: len(list(folder.glob("*.png"))) == 2)
            depth = cv2.imread(str(next(folder.glob("*-depth.png"))), cv2.IMREAD_UNCHANGED)
            need(depth.dtype == np.uint16 and depth.shape == (424, 512) and (depth > 500).mean() > 0.5, "the depth is none")
            with Server("view-replay", "run", "--source", f"replay:{depth_folder(folder)}") as replay:
                (line,) = view(replay, "--frames", "1", "--print", "--format", "png16")
                need(line["valid"] == int((depth > 0).sum()), f"{line}")
        with step("a small window still says that it is live"):
            window.xdotool("windowsize", window.id, "240", "260")
            window.wait("small window", lambda: window.shot("small").shape[1] == 240)
            window.ink("small", GOOD, 20)
        with step("`x` and `n` stop nothing"):
            window.key("x")
            window.ink("stop", PLAIN)
            window.key("n")
            time.sleep(0.2)
            need(viewers(server) == 2, f"{viewers(server)} viewers, not one and its depth")
        server.process.terminate()
        server.process.wait(WAIT)
        with step("a server that is gone is said to be, and found again when it is back"):
            window.ink("lost", WARNING)
            window.wait("darkness", lambda: jet_pixels(window.shot("lost"))[0] < 1000)
            with Server("view-window-again", "demo", port=port) as again:
                window.ink("back", GOOD, 20)
                window.key("q")
                window.ends()
                deadline = time.monotonic() + WAIT
                while viewers(again):
                    need(time.monotonic() < deadline, "a viewer that left is counted")
                    time.sleep(0.05)


def depth_folder(folder):
    """The saved depth alone in a folder."""
    target = folder / "replay"
    target.mkdir()
    depth = next(folder.glob("*-depth.png"))
    (target / depth.name).write_bytes(depth.read_bytes())
    return target


def leaving(screen, python):
    """What the old server hears when a window is closed, and when the server is to stop."""
    with OldServer(python) as server:
        with step("closing the window says `1`"), Window(screen, server) as window:
            window.ink("old", GOOD)
            subprocess.run(["wmctrl", "-i", "-c", window.id], env=window.screen, check=True, timeout=WAIT)
            window.ends()
            commands = server.left()["commands"]
            need(commands.startswith("0.0.") and commands.endswith(".1.") and commands.count("1") == 1, commands[-20:])
        with step("`x` and `y` say `2`, and the Python server stops"), Window(screen, server) as window:
            window.ink("old", GOOD)
            window.key("x")
            time.sleep(0.2)
            window.key("y")
            window.ends()
            need(server.left()["commands"].endswith(".2."), "the server was not told")
            need(server.process.wait(WAIT) == 0, "the server did not stop")


@contextlib.contextmanager
def managed(screen):
    """A window manager on that screen."""
    manager = subprocess.Popen(["openbox", "--sm-disable"], env={**os.environ, "DISPLAY": screen}, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    try:
        # A window that comes before its manager is neither placed nor given the keys.
        deadline = time.monotonic() + WAIT
        while subprocess.run(["wmctrl", "-d"], env={**os.environ, "DISPLAY": screen}, capture_output=True).returncode:
            need(time.monotonic() < deadline, "openbox does not start")
            time.sleep(0.05)
        yield
    finally:
        manager.terminate()
        manager.wait()


def run():
    """reads what Python servers of two pairs send, and does in a window what its keys say"""
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        for number, python in enumerate(sys.argv[1:]):
            with step(f"{len(old_server.TURNS)} viewers of an old server: protocols 0 to 5, both shapes, grey, JPEG"):
                pair = old_servers(python, scratch / f"{number}")
            print(f"      {pair}")
        with display("1200x1000") as screen, managed(screen):
            (scratch / "window").mkdir()
            window_on_depthcast(screen, scratch / "window")
            leaving(screen, sys.argv[1])


if __name__ == "__main__":
    main(run)
