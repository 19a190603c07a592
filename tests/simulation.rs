//! The whole server from a seed: viewers of every kind, faults of the source, a virtual clock that also jumps.
//!
//! 256 seeds in every run; `DEPTHCAST_SEED=n` replays one, `DEPTHCAST_SEEDS=n` runs that many. Sockets are Unix
//! ones, whose bytes move at once, so the same seed is the same story.

use std::env;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use depthcast::access::Rules;
use depthcast::camera::{Camera, LocalClock};
use depthcast::clock::Now;
use depthcast::colormap::Range;
use depthcast::encode::png;
use depthcast::net_poll::{Address, Server, Settings};
use depthcast::peer::THIS_MACHINE;
use depthcast::proto::pickle;
use depthcast::proto::query::Tag;
use depthcast::render::Renderer;
use depthcast::service::Notifier;
use depthcast::source::replay::Replay;
use depthcast::source::{Feed, HEIGHT, PIXELS, Source, WIDTH};
use depthcast::view::{Spec, View};

#[test]
fn every_seed_ends_well() {
    let folder = env::temp_dir().join(format!("depthcast-simulation-{}", std::process::id()));
    recordings(&folder);
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("DEPTHCAST_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("DEPTHCAST_SEEDS").unwrap_or(256),
    };
    let mut pictures = 0;
    let count = seeds.end - seeds.start;
    for seed in seeds {
        eprintln!("seed {seed}: replay it with DEPTHCAST_SEED={seed}");
        pictures += Story::new(seed, &folder).play();
    }
    fs::remove_dir_all(&folder).expect("removed");
    assert!(pictures > 10 * count, "only {pictures} pictures in {count} stories: nothing was tried");
}

/// One server and its viewers.
struct Story {
    random: Random,
    server: Server,
    socket: PathBuf,
    now: Now,
    viewers: Vec<Viewer>,
    pictures: u64,
}

impl Story {
    fn new(seed: u64, folder: &Path) -> Self {
        let mut random = Random(seed);
        let now = Now { mono: Duration::from_secs(random.below(1000)), wall_us: 0 };
        let faults = (0..random.below(4)).map(|_| {
            let kind = ["stall", "vanish", "torn"][random.index(3)];
            let fault = format!("{kind}@{}+{}", random.below(8), random.below(4));
            fault.parse().expect("a fault")
        });
        let faults = faults.collect();
        let fps = [0, 1, 5, 30][random.index(4)];
        let source = Source::Replay(Replay::open(folder).expect("good recordings"));
        let spec = Spec { overlay: seed.is_multiple_of(2), clip_mm: Some(4000), ..Spec::default() };
        let renderer = Renderer::new(Range::PYTHON, Camera::default(), LocalClock::utc(), View::new(&spec));
        let socket = folder.join(format!("{seed}.sock"));
        let settings = Settings {
            listen: vec![Address::Unix(socket.clone())],
            viewers_max: 1 + random.index(8),
            stall: Duration::from_secs(1 + random.below(5)),
            pickle: [pickle::Style::Protocol0, pickle::Style::Compact][random.index(2)],
            shutdown_from: THIS_MACHINE[..2].to_vec(),
            allow: Vec::new(),
            rules: Rules::default(),
            instance: Tag::NONE,
        };
        let feed = Feed::new(source, fps, faults, now);
        let server = Server::new(Vec::new(), settings, feed, renderer, None, Notifier::default(), now)
            .expect("started");
        Self { random, server, socket, now, viewers: Vec::new(), pictures: 0 }
    }

    fn play(mut self) -> u64 {
        for _ in 0..150 {
            self.step();
        }
        self.leave()
    }

    fn step(&mut self) {
        if self.viewers.len() < 60 && self.random.below(3) == 0 {
            let kind =
                [Kind::Python, Kind::Stream, Kind::Snapshot, Kind::Noise, Kind::Mute][self.random.index(5)];
            let stream = UnixStream::connect(&self.socket).expect("the backlog is longer than this story");
            stream.set_nonblocking(true).expect("set");
            self.viewers.push(Viewer { kind, stream, heard: Vec::new(), seq: 0, ended: false });
        }
        for n in (0..self.viewers.len()).rev() {
            let viewer = &mut self.viewers[n];
            match self.random.below(8) {
                0..=2 => viewer.ask(&mut self.random),
                3..=5 => self.pictures += viewer.read(1 << (8 + self.random.below(12))),
                6 if self.random.below(20) == 0 => drop(self.viewers.swap_remove(n)),
                7 if self.random.below(20) == 0 => {
                    let _ = viewer.stream.shutdown(Shutdown::Write);
                }
                _ => {}
            }
        }
        if self.random.below(40) == 0 {
            self.now.wall_us = [0, i64::MAX, i64::MIN, 4_102_444_800_000_000][self.random.index(4)];
        }
        let step = Duration::from_millis(self.random.below(120));
        self.turn(step);
    }

    /// Lets time pass, then turns until nothing is left to do at that moment. Nothing may spin.
    fn turn(&mut self, step: Duration) {
        self.now.mono += step;
        self.now.wall_us = self.now.wall_us.saturating_add(1_000);
        let mut turns = 0;
        loop {
            self.server.wait(Some(Duration::ZERO)).expect("polled");
            assert_eq!(self.server.turn(self.now), None, "nobody here may stop the server");
            turns += 1;
            assert!(turns < 2000, "the loop spins");
            if self.server.timeout(self.now) != Some(Duration::ZERO) {
                break;
            }
        }
    }

    /// Everybody leaves; a viewer who comes then is served as if nothing had been.
    fn leave(mut self) -> u64 {
        for viewer in &mut self.viewers {
            self.pictures += viewer.read(usize::MAX);
        }
        self.viewers.clear();
        for _ in 0..40 {
            self.turn(Duration::from_millis(500));
        }
        let mut last = UnixStream::connect(&self.socket).expect("connected");
        last.set_nonblocking(true).expect("set");
        last.write_all(b"0").expect("written");
        let mut viewer = Viewer { kind: Kind::Python, stream: last, heard: Vec::new(), seq: 0, ended: false };
        for _ in 0..200 {
            self.turn(Duration::from_millis(50));
            if viewer.read(usize::MAX) > 0 {
                return self.pictures + 1;
            }
        }
        panic!("the last viewer was not served");
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Python,
    Stream,
    Snapshot,
    Noise,
    Mute,
}

struct Viewer {
    kind: Kind,
    stream: UnixStream,
    heard: Vec<u8>,
    seq: u64,
    ended: bool,
}

impl Viewer {
    fn ask(&mut self, random: &mut Random) {
        let mut noise = [0; 40];
        let bytes = match self.kind {
            Kind::Python => &b"0000"[..1 + random.index(4)],
            Kind::Stream => b"GET /stream HTTP/1.1\r\n\r\n",
            Kind::Snapshot => {
                let asks: [&[u8]; 4] = [
                    b"GET /snapshot HTTP/1.1\r\n\r\n",
                    b"GET /depth.png HTTP/1.1\r\n\r\nHEAD / HTTP/1.1\r\n\r\n",
                    b"GET /state HTTP/1.1\r\n\r\nGET /readyz HTTP/1.1\r\n\r\n",
                    b"GET /nowhere HTTP/1.1\r\nA: b\r\n\r\n",
                ];
                asks[random.index(4)]
            }
            Kind::Noise => {
                noise.fill_with(|| random.next().to_le_bytes()[0]);
                &noise
            }
            Kind::Mute => &[],
        };
        // A server that has closed, or a full socket, is part of the story.
        let _ = self.stream.write(bytes);
    }

    /// Reads at most so many bytes and returns the pictures completed; each must be whole and newer than the last.
    fn read(&mut self, most: usize) -> u64 {
        let mut buffer = [0; 4096];
        let mut left = most;
        while left > 0 && !self.ended {
            let room = left.min(buffer.len());
            match self.stream.read(&mut buffer[..room]) {
                Ok(0) => self.ended = true,
                Ok(n) => {
                    self.heard.extend_from_slice(&buffer[..n]);
                    left -= n;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.ended = true,
            }
        }
        match self.kind {
            Kind::Python => self.messages(),
            Kind::Stream => self.parts(),
            Kind::Snapshot | Kind::Noise | Kind::Mute => {
                let fine = self.heard.is_empty()
                    || self.kind != Kind::Snapshot
                    || self.heard.starts_with(b"HTTP/1.1 ");
                assert!(fine, "an answer begins with something else");
                0
            }
        }
    }

    fn messages(&mut self) -> u64 {
        let mut pictures = 0;
        while let Some(header) = self.heard.first_chunk::<4>() {
            let end = pickle::HEADER_LEN + u32::from_be_bytes(*header) as usize;
            assert!(end < 4 << 20, "a message of {end} bytes");
            let Some(message) = self.heard.get(..end) else { break };
            assert!(message[4..].starts_with(b"Cam_Info_List\n"));
            assert!(message.ends_with(b"."), "a pickle ends with a full stop");
            self.heard.drain(..end);
            pictures += 1;
        }
        pictures
    }

    fn parts(&mut self) -> u64 {
        let mut pictures = 0;
        while let Some(at) = find(&self.heard, b"\r\n\r\n") {
            let head = String::from_utf8(self.heard[..at].to_vec()).expect("heads are ASCII");
            if head.starts_with("HTTP/1.1 503 ") {
                return 0;
            }
            if head.starts_with("HTTP/") {
                let Some(end) = find(&self.heard, b"--boundarydonotcross\r\n") else { break };
                self.heard.drain(..end + 22);
                continue;
            }
            let field = |name: &str| head.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": "));
            let length: usize = field("Content-Length").and_then(|n| n.parse().ok()).expect("a length");
            let end = at + 4 + length + b"\r\n--boundarydonotcross\r\n".len();
            let Some(part) = self.heard.get(at + 4..end) else { break };
            assert!(part.starts_with(b"\xff\xd8\xff\xe0") && part.ends_with(b"\r\n--boundarydonotcross\r\n"));
            let seq: u64 = field("X-Depthcast-Seq").and_then(|n| n.parse().ok()).expect("a number");
            let online = field("X-Depthcast-Online") == Some("true");
            // Only what has been the newest for a second may come again.
            let idle =
                field("X-Depthcast-Age-Ms").and_then(|n| n.parse::<u64>().ok()).is_some_and(|ms| ms >= 1000);
            assert!(seq > self.seq || seq == self.seq && (!online || idle), "{seq} after {}", self.seq);
            self.seq = seq;
            self.heard.drain(..end);
            pictures += 1;
        }
        pictures
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn index(&mut self, n: usize) -> usize {
        usize::try_from(self.below(n as u64)).expect("below a usize")
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|w| w == wanted)
}

/// Three frames that differ, as files.
fn recordings(folder: &Path) {
    fs::create_dir_all(folder).expect("a temporary folder");
    let mut encoder = png::Encoder::new(WIDTH, HEIGHT);
    let mut out = vec![0; png::depth_bound(WIDTH, HEIGHT)];
    for n in 0..3u16 {
        let depth: Vec<u16> =
            (0..PIXELS).map(|i| 500 + n * 700 + u16::try_from(i % WIDTH).expect("small")).collect();
        let len = encoder.depth(&depth, "", &mut out);
        fs::write(folder.join(format!("{n}.png")), &out[..len]).expect("written");
    }
}
