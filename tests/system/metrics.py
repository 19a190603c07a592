"""/metrics: clean for promtool, true to what was done, and scraped by a real Prometheus."""

import contextlib
import json
import re
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

from harness import HEAD, OUT, Server, Viewer, main, need, step

SAMPLE = re.compile(r'(\w+)(\{[^}]*\})? (\S+)')
FRAMES = 20


def get(port, path, seconds=10):
    """Head fields and body of an answer."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=seconds) as answer:
        return answer.headers, answer.read()


def scrape(server):
    """Every sample by its name with labels."""
    _, body = get(server.port, "/metrics")
    samples = {}
    for line in body.decode().splitlines():
        if not line.startswith("#"):
            match = SAMPLE.fullmatch(line)
            need(match, f"no sample: {line!r}")
            samples[match[1] + (match[2] or "")] = float(match[3])
    return samples


def until(what, truth, seconds=30):
    """Asks until it is true."""
    deadline = time.monotonic() + seconds
    while not (answer := truth()):
        need(time.monotonic() < deadline, f"{what}: not within {seconds} s")
        time.sleep(0.1)
    return answer


def watched(server):
    """Counters move by what was done, no more and no less."""
    before = scrape(server)
    with Viewer(server) as viewer:
        for _ in range(FRAMES):
            # Without numpy the payload cannot be unpickled, and need not be.
            viewer.send(b"0")
            viewer.exactly(HEAD.unpack(viewer.exactly(HEAD.size))[0])
        during = scrape(server)
        need(during['depthcast_client_connections{proto="python"}'] == 1, "the viewer is not counted")
    files = during["process_open_fds"]
    need(5 <= files < during["process_max_fds"], f"{files} files are open")
    with contextlib.ExitStack() as silent:
        for _ in range(10):
            silent.enter_context(server.connect())
        # Connections of scrapes before may still have been closing.
        until("open files", lambda: files + 8 <= scrape(server)["process_open_fds"] <= files + 11)
    get(server.port, "/snapshot")
    until("the viewer's end", lambda: scrape(server)['depthcast_client_connections{proto="python"}'] == 0)
    with server.connect() as sock:
        sock.sendall(b"\x7f")
        need(not sock.recv(1), "a byte that is no command is answered")
    # The connection counts as closed when both sides have closed it.
    unknown = 'depthcast_connections_closed_total{reason="unknown_byte"}'
    until("the close of a connection", lambda: scrape(server)[unknown] > before.get(unknown, 0))
    after = scrape(server)

    def rise(name):
        return after[name] - before.get(name, 0)

    need(rise('depthcast_frames_sent_total{proto="python",format="pickle0"}') == FRAMES, "pictures sent are miscounted")
    need(rise(unknown) == 1, "a bad first byte is not counted")
    need(rise('depthcast_frames_encoded_total{format="pickle0"}') == FRAMES, "messages made are miscounted")
    need(rise('depthcast_encode_seconds_count{format="pickle0"}') == FRAMES, "times of encoding are miscounted")
    need(rise("depthcast_frame_age_seconds_count") >= FRAMES + 1, "ages are not counted")
    need(rise("depthcast_decode_seconds_count") == rise("depthcast_frames_captured_total") > 0, "decodings are miscounted")
    need(rise("depthcast_sent_bytes_total") > FRAMES * 10000, "bytes are not counted")
    need(after["depthcast_sensor_up"] == 1 and after['depthcast_sensor_state{state="streaming"}'] == 1, "not streaming")
    need(after["process_resident_memory_bytes"] > 1 << 20 and after["process_cpu_seconds_total"] > 0, "no process_*")
    need(abs(after["process_start_time_seconds"] - time.time()) < 120, "not the time of the start")


class Prometheus:
    """A real one that scrapes a server every second; its files go when it does."""

    def __init__(self, server):
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        config = f"{self.folder.name}/prometheus.yml"
        with open(config, "w") as file:
            file.write("global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n- job_name: depthcast\n"
                       f"  static_configs: [{{targets: ['127.0.0.1:{server.port}']}}]\n")
        with open(OUT / "prometheus.log", "wb") as log:
            self.process = subprocess.Popen(
                ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={self.folder.name}/data",
                 f"--web.listen-address=127.0.0.1:{self.port}"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.folder.cleanup()

    def ask(self, query):
        """The value of a query, or None while there is none."""
        need(self.process.poll() is None, f"prometheus ended, see {OUT / 'prometheus.log'}")
        try:
            _, body = get(self.port, "/api/v1/query?" + urllib.parse.urlencode({"query": query}))
        except (urllib.error.URLError, ConnectionError):
            return None
        result = json.loads(body)["data"]["result"]
        return float(result[0]["value"][1]) if result else None


def run():
    """promtool has nothing to complain of, the counters are true, and Prometheus scrapes them"""
    with Server("metrics", "demo", "--fault", "vanish@20+3600") as server:
        with step(f"counters move by what was done: {FRAMES} frames, a snapshot, a bad byte"):
            watched(server)
        with step("promtool check metrics: no complaint"):
            head, body = get(server.port, "/metrics")
            need(head["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8", head["Content-Type"])
            answer = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True, timeout=60)
            need(answer.returncode == 0 and not answer.stdout + answer.stderr, f"{answer.stdout} {answer.stderr}")
        print(f"      {len(scrape(server))} samples, {len(body)} bytes")
        with Prometheus(server) as prometheus:
            with step("Prometheus scrapes it: up, every sample taken"):
                until("up", lambda: prometheus.ask("up") == 1, 60)
                kept = until("samples", lambda: prometheus.ask("scrape_samples_post_metric_relabeling"))
                need(kept >= 60, f"only {kept} samples")
                need(prometheus.ask('depthcast_build_info{version!=""}') == 1, "no version")
                until("ages", lambda: prometheus.ask("depthcast_frame_age_seconds_count"))
            with step("the sensor goes: an alert on depthcast_sensor_up would fire, and the state says why"):
                until("sensor_up == 0", lambda: prometheus.ask("depthcast_sensor_up == 0") == 0, 60)
                states = ('depthcast_sensor_state{state="disconnected"}', 'depthcast_sensor_state{state="not_found"}')
                until("a state", lambda: any(prometheus.ask(state) == 1 for state in states))
                need(prometheus.ask('depthcast_sensor_lost_total') == 1, "the loss is not counted")


if __name__ == "__main__":
    main(run)
