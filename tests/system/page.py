"""The viewer page in headless Chromium, driven through its debugging pipe (no port, no library).

Leaves target/system/page.png (live) and page-lost.png (after the server has gone).
"""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

from harness import OUT, Failed, Server, main, need, step

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1100,900",
         "--remote-debugging-pipe")
# What the page shows: its words, and how many colours its canvas has.
LOOK = """(() => {
  const canvas = document.querySelector('canvas');
  const data = new Uint32Array(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.buffer);
  let sum = 0;
  for (const pixel of data) sum = (sum * 31 + pixel) >>> 0;
  return { text: document.body.innerText, title: document.title, colours: new Set(data).size, sum,
           width: canvas.width, height: canvas.height };
})()"""


class Browser:
    """One tab. Messages of the DevTools protocol are JSON ended by a zero byte on descriptors 3 and 4."""

    def __init__(self, commands, answers):
        self.commands, self.answers = commands, answers
        self.number, self.buffer, self.session = 0, b"", None
        self.trouble = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        """Sends a command and waits for its answer."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.message(time.monotonic() + 30)
            need(answer is not None, f"the browser does not answer {method}")
            if answer.get("id") == self.number:
                need("error" not in answer, f"{method}: {answer.get('error')}")
                return answer["result"]

    def message(self, deadline):
        """The next message, or None. What the page complains of is kept in `trouble`."""
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.answers], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                return None
            data = os.read(self.answers, 1 << 20)
            need(data, "the browser has ended")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\0", 1)
        message = json.loads(line)
        if message.get("method") == "Runtime.exceptionThrown":
            self.trouble.append(json.dumps(message["params"]["exceptionDetails"])[:500])
        if message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
            entry = message["params"]["entry"]
            self.trouble.append(f"{entry['text']} {entry.get('url', '')}")
        return message

    def look(self):
        """What the page shows now."""
        answer = self.call("Runtime.evaluate", expression=LOOK, returnByValue=True)
        need("exceptionDetails" not in answer, f"cannot look at the page: {answer}")
        return answer["result"]["value"]

    def until(self, word, seconds):
        """Looks until the text has that word."""
        deadline = time.monotonic() + seconds
        while word not in (seen := self.look())["text"]:
            need(time.monotonic() < deadline, f"no {word} within {seconds} s; the page says {seen['text']!r}")
            time.sleep(0.1)
        return seen

    def screenshot(self, name):
        """Saves what a person would see."""
        data = self.call("Page.captureScreenshot", format="png")["data"]
        (OUT / name).write_bytes(base64.b64decode(data))


@contextlib.contextmanager
def chromium():
    """A browser with a new profile."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    need(program, "no chromium")
    to_browser, from_us = os.pipe()
    from_browser, to_us = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, open(OUT / "chromium.log", "wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{to_browser} 4>&{to_us}', "browser", program, *FLAGS,
             f"--user-data-dir={profile}", "about:blank"],
            pass_fds=[to_browser, to_us], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        os.close(to_browser)
        os.close(to_us)
        try:
            yield Browser(from_us, from_browser)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            os.close(from_us)
            os.close(from_browser)


def run():
    """the page shows a moving picture and says LIVE, and says so when it no longer is"""
    OUT.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        with Server("page", "demo") as server:
            with step("LIVE, a picture in colours that changes, no complaint in the console"):
                browser.call("Page.navigate", url=f"http://127.0.0.1:{server.port}/")
                deadline = time.monotonic() + 10
                while True:
                    with contextlib.suppress(Failed):  # the page may not have its canvas yet
                        if "LIVE" in browser.look()["text"]:
                            break
                    need(time.monotonic() < deadline, "the page does not say LIVE within 10 s")
                    time.sleep(0.1)
                time.sleep(3)
                first = browser.look()
                browser.screenshot("page.png")
                time.sleep(0.5)
                second = browser.look()
                for seen in first, second:
                    need("LIVE" in seen["text"], f"not LIVE: {seen['text']!r}")
                    need((seen["width"], seen["height"]) == (512, 424), f"a canvas of {seen['width']}x{seen['height']}")
                    need(seen["colours"] > 50, f"only {seen['colours']} colours in the canvas")
                need(first["sum"] != second["sum"], "the picture does not change")
                need(not browser.trouble, f"the console says: {browser.trouble}")
            print(f"      {first['colours']} colours; {' | '.join(first['text'].split(chr(10)))}")
        with step("the server stops: the page no longer says LIVE"):
            seen = browser.until("RECONNECTING", 10)
            need("LIVE" not in seen["text"], f"the page says {seen['text']!r}")
            browser.screenshot("page-lost.png")
        with step("the server comes back on the same port: LIVE again, without a reload"):
            with Server("page-back", "demo", port=server.port):
                browser.until("LIVE", 15)


if __name__ == "__main__":
    main(run)
