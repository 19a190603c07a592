"""The viewer page in Debian's Chromium, driven by Playwright.

Nothing depends on speed: frames that a busy machine does not draw must be in the page's own count of drops. Leaves
target/system/page-desktop.png, page-infrared.png, page-phone.png, page-nosignal.png and page-noscript.png.
"""

import contextlib
import hashlib
import re
import shutil
import time

from harness import OUT, Failed, Server, main, need, step
from playwright.sync_api import Error, sync_playwright

FRAMES = 90
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}
# Runs before the page's own script and notes what it draws: every sequence number, and of the last frames everything.
NOTES = """
window.drawn = []; window.frames = new Map();
addEventListener('drawn', ({ detail: { seq, drops, depth, image } }) => {
  drawn.push([seq, drops]);
  const text = document.getElementById('distance');
  frames.set(seq, { text: text.hidden ? null : text.textContent, pixels: image.data.slice(), depth: depth.slice() });
  if (frames.size > 20) frames.delete(frames.keys().next().value);
}, true);
"""
# What a proxy does that knows no WebSocket.
NO_SOCKET = """
window.WebSocket = class {
  constructor() { setTimeout(() => this.onclose({ code: 1006, reason: '' }), 20); }
  close() {}
};
"""
# One depth frame by plain HTTP, and what the page said of the same frame; null if it did not draw that one.
HOVER = """async ([x, y]) => {
  const answer = await fetch('depth.raw', { cache: 'no-store' });
  const seq = Number(answer.headers.get('X-Depthcast-Seq')), data = new DataView(await answer.arrayBuffer());
  for (let i = 0; i < 50 && !drawn.some(([s]) => s >= seq); i += 1) await new Promise(done => setTimeout(done, 20));
  const frame = frames.get(seq);
  if (!frame) return null;
  let wrong = 0;
  for (let i = 0; i < frame.depth.length; i += 1) wrong += data.getUint16(2 * i, true) !== frame.depth[i];
  return { seq, bytes: data.byteLength, wrong, mm: data.getUint16(2 * (512 * y + x), true), text: frame.text };
}"""
# The server's own lossless picture, and how many pixels of the same frame's the page has in other colours.
COLOURS = """async () => {
  const answer = await fetch('snapshot.png', { cache: 'no-store' });
  const seq = Number(answer.headers.get('X-Depthcast-Seq'));
  const bitmap = await createImageBitmap(await answer.blob());
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height), context = canvas.getContext('2d');
  context.drawImage(bitmap, 0, 0);
  const theirs = new Uint32Array(context.getImageData(0, 0, bitmap.width, bitmap.height).data.buffer);
  for (let i = 0; i < 50 && !drawn.some(([s]) => s >= seq); i += 1) await new Promise(done => setTimeout(done, 20));
  const frame = frames.get(seq);
  if (!frame) return null;
  const ours = new Uint32Array(frame.pixels.buffer);
  let measured = 0, wrong = 0;
  for (let i = 0; i < ours.length; i += 1) {
    measured += frame.depth[i] > 0;
    wrong += frame.depth[i] > 0 && ours[i] !== theirs[i];
  }
  return { seq, measured, wrong, colours: new Set(ours).size };
}"""


@contextlib.contextmanager
def chromium():
    """Debian's browser."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    need(program, "no chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            yield browser
        finally:
            browser.close()


class Page:
    """A tab with the page in it, and what its console said."""

    def __init__(self, browser, server, before="", who="", **options):
        self.trouble = []
        self.context = browser.new_context(**(options or {"viewport": DESKTOP}))
        self.context.add_init_script(NOTES + before)
        self.tab = self.context.new_page()
        self.tab.on("console", lambda message: self.trouble.append(f"{message.type}: {message.text}"))
        self.tab.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.tab.goto(f"http://{who}127.0.0.1:{server.port}/")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()

    def until(self, what, seconds=60):
        """Waits until the page says that it is `live`, `nosignal`, `lost`."""
        try:
            self.tab.wait_for_selector(f'html[data-link="{what}"]', timeout=1000 * seconds, state="attached")
        except Error:
            says = self.tab.evaluate("document.body.innerText")
            raise Failed(f"not {what} within {seconds} s; the page says {says!r} {self.trouble}") from None

    def wait(self, truth, seconds=60):
        """Waits until an expression is true. Playwright's own way needs `eval`, which the page forbids."""
        deadline = time.monotonic() + seconds
        while not self.tab.evaluate(truth):
            need(time.monotonic() < deadline, f"not within {seconds} s: {truth}; {self.trouble}")
            time.sleep(0.05)

    def text(self, name):
        """What an element says."""
        return self.tab.inner_text(f"#{name}")

    def drawn(self, count):
        """Waits for so many frames more; gives all that were noted since now."""
        begun = self.tab.evaluate("drawn.length")
        self.wait(f"drawn.length >= {begun + count}", 120)
        return self.tab.evaluate(f"drawn.slice({begun})")

    def shoot(self, name):
        """A screenshot for people."""
        self.tab.screenshot(path=str(OUT / f"page-{name}.png"))

    def quiet(self):
        """The console is empty."""
        need(not self.trouble, f"the console says: {self.trouble}")


def matches(page, code, argument, wanted):
    """Asks until `wanted` answers are of a frame that the page drew too."""
    found, deadline = [], time.monotonic() + 60
    while len(found) < wanted:
        need(time.monotonic() < deadline, f"only {len(found)} frames were both drawn and fetched")
        if answer := page.tab.evaluate(code, argument):
            found.append(answer)
    return found


def live(page):
    """Frames in order, the point's distance, the colours, the slider, the keyboard."""
    with step(f"{FRAMES} frames: numbers rise, and every gap is in the count of drops"):
        page.until("live")
        notes = page.drawn(FRAMES)
        gaps = 0
        for (before, drops_before), (after, drops_after) in zip(notes, notes[1:], strict=False):
            need(after > before, f"frame {after} behind {before}")
            gaps += after - before - 1
            need(after - before - 1 == drops_after - drops_before, f"{before} to {after}, but drops {drops_before} to {drops_after}")
        need(re.fullmatch(r"[\d.]+ m?s", page.text("age")), f"age: {page.text('age')!r}")
    print(f"      {gaps} of {gaps + len(notes)} not drawn; {page.text('rate')}, {page.text('age')} old")

    box = page.tab.locator("#canvas").bounding_box()
    for x, y in ((256, 330), (100, 200), (400, 120)):
        with step(f"the distance at {x}, {y} is that of /depth.raw of the same frame, as are all others"):
            page.tab.mouse.move(box["x"] + (x + 0.5) * box["width"] / 512, box["y"] + (y + 0.5) * box["height"] / 424)
            page.drawn(1)
            for answer in matches(page, HOVER, [x, y], 3):
                need(answer["bytes"] == 2 * 512 * 424 and answer["wrong"] == 0, f"other depths: {answer}")
                wanted = f"{answer['mm'] / 1000:.3f} m" if answer["mm"] else "no return"
                need(answer["text"] == wanted, f"the page says {answer['text']}, it is {wanted}")
    with step("colours equal those of /snapshot.png of the same frame"):
        for answer in matches(page, COLOURS, None, 3):
            need(answer["wrong"] == 0 and answer["measured"] > 100_000 and answer["colours"] > 50, f"{answer}")
    page.shoot("desktop")

    with step("the slider recolours and the address keeps it; the keyboard moves the point"):
        page.tab.focus("#far")
        page.tab.keyboard.press("ArrowLeft")
        page.wait("location.hash === '#0-4490'")
        need(page.text("far-text") == "4.49 m", page.text("far-text"))
        page.tab.click("#reset")
        page.wait("location.hash === ''")
        page.tab.mouse.move(1, 1)
        need(page.tab.is_hidden("#distance"), "a distance without a pointer")
        page.tab.focus("#canvas")
        page.tab.keyboard.press("ArrowRight")
        need(page.tab.is_visible("#distance"), "no distance at the keyboard's point")


# What an <img> shows: its size, the mean of its pixels, and how many of them have a colour.
SHOWN = """id => {
  const img = document.getElementById(id), canvas = new OffscreenCanvas(512, 424), context = canvas.getContext('2d');
  if (img.naturalWidth !== 512 || img.naturalHeight !== 424) return null;
  context.drawImage(img, 0, 0);
  const { data } = context.getImageData(0, 0, 512, 424);
  let sum = 0, coloured = 0;
  for (let i = 0; i < data.length; i += 4) {
    sum += data[i];
    coloured += Math.abs(data[i] - data[i + 2]) > 16;
  }
  return { mean: sum / 512 / 424, coloured };
}"""


def in_infrared(page):
    """The other view, and back."""
    with step("infrared over the depth: grey, measured like the colours, and gone again"):
        page.tab.click("#infrared")
        page.wait("document.getElementById('ir').naturalWidth === 512")
        shown = page.tab.evaluate(SHOWN, "ir")
        need(shown["mean"] > 20 and shown["coloured"] == 0, f"no infrared picture: {shown}")
        box = page.tab.locator("#canvas").bounding_box()
        page.tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.8)
        page.drawn(1)
        need(re.fullmatch(r"[\d.]+ m", page.text("distance")), f"no distance: {page.text('distance')!r}")
        page.shoot("infrared")
        page.tab.click("#infrared")
        need(page.tab.is_hidden("#ir"), "infrared does not go")
        page.drawn(1)


def with_token(browser):
    """Where a token is asked for: the browser gives it to the page, its parts and its WebSocket."""
    configuration = OUT / "page-token.toml"
    configuration.write_text(f'camera.name = "Tor 7"\nhttp.tokens = ["{hashlib.sha256(b"secret").hexdigest()}"]\n')
    with Server("page-token", "run", "--source", "demo", "--config", str(configuration)) as server:
        answers = {"username": "any", "password": "secret"}
        for how, who, options in (("its question answered", "", {"http_credentials": answers}),
                                  ("an address with the token in it", "any:secret@", {})):
            with step(f"with a token, {how}: live, and the camera's name"):
                with Page(browser, server, who=who, viewport=DESKTOP, **options) as page:
                    page.until("live")
                    page.drawn(5)
                    page.wait("document.getElementById('name').textContent === 'Tor 7'")
                    need(page.text("far-text") == "1.50 m", f"not the camera's range: {page.text('far-text')}")
                    page.quiet()
        with step("without: the question, and nothing to be seen"):
            context = browser.new_context()
            try:
                context.new_page().goto(f"http://127.0.0.1:{server.port}/")
                raise Failed("the page came without a token")
            except Error as error:
                need("ERR_INVALID_AUTH_CREDENTIALS" in str(error), f"{error}")
            finally:
                context.close()


def lost(page):
    """The sensor leaves and comes back."""
    with step("the sensor leaves: NO SIGNAL and the reason"):
        page.until("live")
        page.tab.evaluate("window.mark = 1")
        page.until("nosignal")
        page.wait("/sensor|camera|USB/.test(document.getElementById('reason').textContent)")
        need(page.tab.is_visible("#notice"), "no notice over the picture")
        page.shoot("nosignal")
    with step("it comes back: LIVE, without a reload, nothing in the console"):
        page.until("live")
        page.drawn(5)
        need(page.tab.evaluate("window.mark") == 1, "the page was loaded again")
        page.quiet()


def run():
    """the page draws every frame, measures rightly, and says so when it is not live"""
    OUT.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        with contextlib.ExitStack() as stack:
            with Server("page", "demo") as server:
                page = stack.enter_context(Page(browser, server))
                live(page)
                in_infrared(page)
                page.quiet()
                with step("a phone: the same, and nothing sticks out"), Page(browser, server, **PHONE) as phone:
                    phone.until("live")
                    box = phone.tab.locator("#canvas").bounding_box()
                    phone.tab.touchscreen.tap(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.7)
                    phone.drawn(5)
                    need(phone.tab.is_visible("#distance"), "no distance where the finger was")
                    width = phone.tab.evaluate("[document.documentElement.scrollWidth, innerWidth]")
                    # A phone widens its window to what would not fit.
                    need(width[0] <= width[1] == PHONE["viewport"]["width"], f"{width[0]} px in a window of {width[1]}")
                    phone.shoot("phone")
                    phone.quiet()
                with step("where no WebSocket passes: the stream as a picture"):
                    with Page(browser, server, before=NO_SOCKET, viewport=DESKTOP) as still:
                        still.until("still")
                        still.wait("document.getElementById('still').naturalWidth === 512")
                        box = still.tab.locator("#still").bounding_box()
                        need(box["y"] + box["height"] <= DESKTOP["height"], f"a picture at {box}")
                        still.quiet()
                with step("without JavaScript: the stream as a picture"):
                    with Page(browser, server, viewport=DESKTOP, java_script_enabled=False) as plain:
                        picture = plain.tab.locator("#frame img:visible")
                        picture.wait_for(timeout=30_000)
                        box = picture.bounding_box()
                        inside = box["y"] >= 0 and box["y"] + box["height"] <= DESKTOP["height"]
                        need(box["height"] > 300 and inside, f"a picture at {box}")
                        deadline = time.monotonic() + 30
                        while picture.evaluate("img => img.naturalWidth") != 512:
                            need(time.monotonic() < deadline, "the picture does not come")
                            time.sleep(0.1)
                        plain.shoot("noscript")
                page.tab.evaluate("window.mark = 2")
            with step("the server stops: no longer live"):
                page.until("lost")
                need(page.text("badge") == "RECONNECTING", page.text("badge"))
            with step("it comes back on the same port: LIVE, without a reload"):
                with Server("page-back", "demo", port=server.port):
                    page.until("live")
                    page.drawn(5)
                    need(page.tab.evaluate("window.mark") == 2, "the page was loaded again")
            # That nobody was there is all it may complain of.
            other = [line for line in page.trouble if "ERR_CONNECTION" not in line]
            need(not other, f"the console says: {other}")
        with_token(browser)
        with Server("page-gone", "demo", "--fault", "vanish@5+10") as server, Page(browser, server) as page:
            lost(page)


if __name__ == "__main__":
    main(run)
