//! The loop on a virtual clock: real sockets, invented time.

// What viewers of streams may ask for.
mod stream;

// Peers that behave oddly.
mod manners;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use super::socket::{CALLS, Calls};
use super::warnings::Warning;
use super::*;
use crate::access::{Rules, TokenHash};
use crate::camera::{Camera, LocalClock};
use crate::colormap::Range;
use crate::encode::rvl;
use crate::limits::{
    CORS_NAMES_MAX, DRAIN_TIME, FAILURE_COST, KEEP_ALIVE, LOBBY, RING_SLOTS, VIEWERS_LIMIT, WARN_EVERY,
    WS_PING_EVERY,
};
use crate::metrics::Protocol;
use crate::peer::THIS_MACHINE;
use crate::proto::multipart;
use crate::proto::websocket::{DEPTH_HEAD_LEN, DepthHead};
use crate::ring::Form;
use crate::source::demo::Demo;
use crate::source::kinect::tests::Bus;
use crate::source::{NOMINAL_FPS, PIXELS, Source, WIDTH};
use crate::view::{Spec, View};

/// 2020-11-10 13:55:34 UTC.
const START: Now = Now { mono: Duration::from_secs(100), wall_us: 1_605_016_534_000_000 };

/// A server whose clock only moves when it is told to.
struct Rig {
    server: Server,
    now: Now,
    port: u16,
}

impl Rig {
    fn new(fps: u32, faults: &str) -> Self {
        Self::with(fps, faults, |_| {})
    }

    fn with(fps: u32, faults: &str, change: impl FnOnce(&mut Settings)) -> Self {
        Self::seen(fps, faults, &Spec::default(), change)
    }

    fn seen(fps: u32, faults: &str, view: &Spec, change: impl FnOnce(&mut Settings)) -> Self {
        let faults = faults.split_whitespace().map(|f| f.parse().expect("a fault")).collect();
        let feed = Feed::new(Source::Demo(Box::new(Demo::new(1))), fps, faults, START);
        Self::of(feed, view, change)
    }

    fn of(feed: Feed, view: &Spec, change: impl FnOnce(&mut Settings)) -> Self {
        let now = START;
        let renderer = Renderer::new(Range::PYTHON, Camera::default(), LocalClock::utc(), View::new(view));
        let mut settings = Settings {
            listen: vec![Address::Tcp(([127, 0, 0, 1], 0).into())],
            viewers_max: 4,
            stall: Duration::from_secs(10),
            pickle: pickle::Style::Compact,
            shutdown_from: THIS_MACHINE.to_vec(),
            allow: Vec::new(),
            rules: Rules::default(),
            instance: Tag::NONE,
        };
        change(&mut settings);
        let server = Server::new(Vec::new(), settings, feed, renderer, None, Notifier::default(), now)
            .expect("started");
        let Some(Address::Tcp(address)) = server.addresses().next() else { panic!("no address") };
        Self { server, now, port: address.port() }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("connected");
        stream.set_read_timeout(Some(Duration::from_millis(1))).expect("set");
        stream
    }

    fn say(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(bytes).expect("written");
        stream
    }

    /// The same, of a peer that has room for any frame at once.
    fn roomy(&self, bytes: &[u8]) -> TcpStream {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(1 << 20).expect("set");
        socket.connect(&std::net::SocketAddr::from(([127, 0, 0, 1], self.port)).into()).expect("connected");
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(Duration::from_millis(1))).expect("set");
        stream.write_all(bytes).expect("written");
        stream
    }

    /// Turns until nothing is left to do at this moment; the clock stands still.
    fn settle(&mut self) -> Option<Stop> {
        let mut idle = 0;
        while idle < 3 {
            // A moment for the kernel to move bytes between the two ends.
            self.server.wait(Some(Duration::from_millis(1))).expect("polled");
            let stop = self.server.turn(self.now);
            if stop.is_some() {
                return stop;
            }
            idle = if self.server.events.is_empty() && !self.server.busy { idle + 1 } else { 0 };
        }
        None
    }

    /// Lets time pass in steps of 10 ms.
    fn pass(&mut self, time: Duration) {
        let end = self.now.mono + time;
        while self.now.mono < end {
            self.now.mono += Duration::from_millis(10);
            self.now.wall_us += 10_000;
            self.server.wait(Some(Duration::ZERO)).expect("polled");
            assert_eq!(self.server.turn(self.now), None);
        }
    }

    /// Reads what `stream` is sent, turning meanwhile, until `enough` says so or nothing more comes.
    fn hear(&mut self, stream: &mut TcpStream, enough: impl Fn(&[u8]) -> bool) -> (Vec<u8>, bool) {
        let mut heard = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        let patience = Instant::now() + Duration::from_secs(20);
        while !enough(&heard) && Instant::now() < patience {
            match stream.read(&mut buffer) {
                Ok(0) => return (heard, true),
                Ok(n) => heard.extend_from_slice(&buffer[..n]),
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    if self.server.timeout(self.now) != Some(Duration::ZERO) && self.settle().is_none() {
                        // Nothing moved: one long look, then it is silence.
                        stream.set_read_timeout(Some(Duration::from_millis(20))).expect("set");
                        let last = stream.read(&mut buffer);
                        stream.set_read_timeout(Some(Duration::from_millis(1))).expect("set");
                        match last {
                            Ok(0) => return (heard, true),
                            Ok(n) => heard.extend_from_slice(&buffer[..n]),
                            Err(_) => return (heard, false),
                        }
                    }
                    self.server.wait(Some(Duration::ZERO)).expect("polled");
                    self.server.turn(self.now);
                }
                Err(_) => return (heard, true),
            }
        }
        (heard, false)
    }

    /// Reads a stream up to the newest frame.
    fn follow(&mut self, stream: &mut TcpStream, heard: &mut Vec<u8>) {
        let newest = format!("X-Depthcast-Seq: {}\r\n", self.server.world.feed.seq());
        let before = std::mem::take(heard);
        let there = |more: &[u8]| {
            let all = [&before, more].concat();
            all.ends_with(multipart::TAIL) && all.windows(newest.len()).any(|w| w == newest.as_bytes())
        };
        while !there(heard) {
            let (more, closed) = self.hear(stream, |_| false);
            heard.extend(more);
            assert!(!closed, "the stream ended");
        }
        *heard = [before, std::mem::take(heard)].concat();
    }

    fn message(&mut self, stream: &mut TcpStream) -> Vec<u8> {
        let whole = |heard: &[u8]| {
            heard.len() >= 4
                && heard.len()
                    >= pickle::HEADER_LEN
                        + u32::from_be_bytes([heard[0], heard[1], heard[2], heard[3]]) as usize
        };
        self.hear(stream, whole).0
    }

    fn response(&mut self, request: &str) -> String {
        let mut stream = self.say(request.as_bytes());
        let (heard, _) = self.hear(&mut stream, |_| false);
        String::from_utf8_lossy(&heard).into_owned()
    }

    /// Connections closed for this reason, once those that linger for their peer have ended.
    fn closed(&mut self, close: Close) -> u64 {
        self.pass(DRAIN_TIME);
        self.server.world.counters.closed[close.number()]
    }

    /// How often one form was made.
    fn made(&self, form: Form) -> u64 {
        self.server.world.renderer.made()[form as usize]
    }

    fn connections(&self) -> usize {
        self.server.entries.iter().filter(|e| e.conn.is_some()).count()
    }
}

fn text_of(message: &[u8]) -> String {
    String::from_utf8(message[4..pickle::HEADER_LEN].to_vec()).expect("UTF-8").trim_end_matches('\0').into()
}

#[test]
fn a_viewer_asks_and_is_answered_with_each_frame_once() {
    let mut rig = Rig::new(10, "");
    let mut viewer = rig.say(b"0");
    let first = rig.message(&mut viewer);
    assert!(text_of(&first).contains("-StartTime: 2020:11:10:13:55:34"), "{}", text_of(&first));
    viewer.write_all(b"0").expect("written");
    assert_eq!(rig.hear(&mut viewer, |_| false).0, b"", "the same frame twice");
    rig.pass(Duration::from_millis(100));
    let second = rig.message(&mut viewer);
    assert!(second.len() > pickle::HEADER_LEN && second != first);
    viewer.write_all(b"1").expect("written");
    assert!(rig.hear(&mut viewer, |_| false).1, "goodbye did not close");
    assert_eq!(rig.closed(Close::Goodbye), 1);
    assert_eq!(rig.server.world.viewers, 0);
    assert_eq!(rig.server.world.ring.free(), RING_SLOTS - 1, "a slot is still pinned");
}

#[test]
fn with_nobody_watching_nothing_is_encoded() {
    let mut rig = Rig::new(30, "");
    rig.pass(Duration::from_secs(2));
    assert_eq!(rig.server.world.renderer.made(), [0; Form::ALL.len()]);
    assert!(rig.server.world.counters.captured >= 50);
}

#[test]
fn each_form_is_made_once_and_shared() {
    let mut rig = Rig::new(10, "");
    let mut viewers: Vec<_> = (0..3).map(|_| rig.say(b"0")).collect();
    let messages: Vec<_> = viewers.iter_mut().map(|v| rig.message(v)).collect();
    assert!(messages.iter().all(|m| *m == messages[0] && m.len() > 1000));
    for path in ["/snapshot", "/snapshot.png", "/snapshot.jpg", "/snapshot?format=png"] {
        let kind = if path.ends_with("png") { "image/png" } else { "image/jpeg" };
        let head = rig.response(&format!("GET {path} HTTP/1.0\r\n\r\n"));
        assert!(head.contains(&format!("\r\nContent-Type: {kind}\r\n")), "{path}: {head}");
    }
    let made =
        [Form::Index, Form::Png, Form::Jpeg, Form::Protocol0, Form::Compact].map(|form| rig.made(form));
    assert_eq!(made, [1, 1, 1, 0, 1]);
}

#[test]
fn a_viewer_may_stop_the_server_only_from_where_it_is_allowed() {
    let mut rig = Rig::new(10, "");
    let _viewer = rig.say(b"2");
    assert_eq!(rig.settle(), Some(Stop::Viewer));
    let mut rig = Rig::with(10, "", |s| s.shutdown_from.clear());
    let mut viewer = rig.say(b"2");
    assert!(rig.hear(&mut viewer, |_| false).1, "treated as a goodbye");
    assert_eq!(rig.closed(Close::Goodbye), 1);
}

#[test]
fn a_half_closed_viewer_gets_the_replies_it_is_owed() {
    let mut rig = Rig::new(0, "");
    let mut viewer = rig.say(b"000");
    viewer.shutdown(Shutdown::Write).expect("half closed");
    let (heard, closed) = rig.hear(&mut viewer, |_| false);
    assert!(closed);
    let mut rest = &heard[..];
    for n in 0..3 {
        let len = u32::from_be_bytes(rest[..4].try_into().expect("a header")) as usize;
        rest = rest.get(pickle::HEADER_LEN + len..).unwrap_or_else(|| panic!("reply {n} is cut"));
    }
    assert!(rest.is_empty());
    assert_eq!(rig.server.world.feed.seq(), 3, "three requests, three frames");
}

#[test]
fn garbage_ends_one_connection_and_is_counted() {
    let mut rig = Rig::new(10, "");
    for bytes in [&b"\x16\x03\x01"[..], b"get / HTTP/1.1\r\n\r\n", b"\0", b"0x"] {
        let mut peer = rig.say(bytes);
        assert!(rig.hear(&mut peer, |_| false).1, "{bytes:?} stayed");
    }
    assert_eq!(rig.closed(Close::UnknownByte(0)), 4);
    assert!(rig.response("GIMME\r\n\r\n").starts_with("HTTP/1.1 400 Bad Request\r\n"));
    assert!(rig.response("GET /nowhere HTTP/1.1\r\n\r\n").contains("there is no such page"));
}

#[test]
fn a_head_of_a_megabyte_is_answered_and_closed() {
    let mut rig = Rig::new(10, "");
    let mut peer = rig.connect();
    peer.set_nonblocking(true).expect("set");
    let mut head = b"GET / HTTP/1.1\r\nX: ".to_vec();
    head.resize(1 << 20, b'x');
    let mut rest = &head[..];
    let mut heard = Vec::new();
    for _ in 0..2000 {
        if let Ok(n) = peer.write(rest) {
            rest = &rest[n..];
        }
        rig.settle();
        let mut buffer = [0; 4096];
        match peer.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => heard.extend_from_slice(&buffer[..n]),
            Err(_) => {}
        }
        if rest.is_empty() {
            break;
        }
    }
    let heard = String::from_utf8_lossy(&heard).into_owned();
    assert!(heard.starts_with("HTTP/1.1 431 "), "{heard}");
    assert!(heard.contains("longer than 8192 bytes"));
}

#[test]
fn http_says_what_it_is_asked() {
    let mut rig = Rig::new(10, "");
    assert!(rig.response("GET /healthz HTTP/1.1\r\n\r\n").ends_with("\r\n\r\nok\n"));
    assert!(rig.response("GET /readyz HTTP/1.1\r\n\r\n").ends_with("\r\n\r\nready\n"));
    assert!(rig.response("GET / HTTP/1.1\r\n\r\n").contains("Content-Security-Policy: default-src 'none'"));
    let state = rig.response("GET /state HTTP/1.1\r\n\r\n");
    assert!(state.contains(r#""online":true"#) && state.contains(r#""seq":1,"#), "{state}");
    let metrics = rig.response("GET /metrics HTTP/1.1\r\n\r\n");
    assert!(metrics.contains("\ndepthcast_frames_captured_total 1\n"), "{metrics}");
    assert!(metrics.contains("\ndepthcast_client_connections{proto=\"python\"} 0\n"), "{metrics}");
    let snapshot = rig.response("GET /snapshot HTTP/1.1\r\n\r\n");
    for field in [
        "X-Timestamp: 1605016534.000000",
        "X-Depthcast-Seq: 1",
        "X-Depthcast-Online: true",
        "X-Depthcast-Max-Mm: 1500",
    ] {
        assert!(snapshot.contains(field), "no {field}");
    }
    let head = rig.response("HEAD /snapshot HTTP/1.1\r\n\r\n");
    assert!(head.ends_with("\r\n\r\n") && head.contains("Content-Length: "));
    let head = rig.response("HEAD /stream HTTP/1.1\r\n\r\n");
    assert!(head.ends_with("boundary=boundarydonotcross\r\n\r\n"), "{head}");
    let both = rig.response("GET /healthz HTTP/1.1\r\n\r\nGET /nowhere HTTP/1.1\r\n\r\n");
    assert_eq!(both.matches("HTTP/1.1 ").count(), 2);
    assert_eq!(rig.server.world.ring.free(), RING_SLOTS - 1, "a slot is still pinned");
}

#[test]
fn the_stream_has_every_frame_and_a_boundary_behind_each() {
    let mut rig = Rig::new(10, "");
    let mut viewer = rig.say(b"GET /stream HTTP/1.1\r\n\r\n");
    let mut heard = rig.hear(&mut viewer, |_| false).0;
    for _ in 0..5 {
        rig.pass(Duration::from_millis(100));
        rig.follow(&mut viewer, &mut heard);
    }
    let text = String::from_utf8_lossy(&heard);
    let seqs: Vec<_> = text.lines().filter_map(|l| l.strip_prefix("X-Depthcast-Seq: ")).collect();
    assert_eq!(seqs, ["1", "2", "3", "4", "5", "6"]);
    assert!(!text.contains("X-Depthcast-Dropped: 1"));
}

#[test]
fn a_silent_connection_is_closed_and_a_waiting_viewer_is_not() {
    let mut rig = Rig::new(1, "stall@0.5+60");
    let mut silent = rig.connect();
    let mut slow = rig.say(b"GET / HT");
    let mut viewer = rig.say(b"0");
    rig.message(&mut viewer);
    rig.pass(Duration::from_secs(9));
    assert_eq!(rig.connections(), 3);
    rig.pass(Duration::from_secs(3));
    assert_eq!(rig.connections(), 1);
    assert_eq!((rig.closed(Close::Silent), rig.closed(Close::SlowRequest)), (1, 1));
    assert!(rig.hear(&mut silent, |_| false).1 && rig.hear(&mut slow, |_| false).1);
    viewer.write_all(b"0").expect("written");
    assert!(rig.message(&mut viewer).len() > pickle::HEADER_LEN, "the placeholder");
}

#[test]
fn a_viewer_that_never_reads_is_closed_and_holds_nobody_up() {
    let mut rig = Rig::new(10, "");
    let stuck = rig.say(&[b'0'; 2000]);
    let mut good = rig.say(b"GET /stream HTTP/1.1\r\n\r\n");
    let (mut heard, mut part) = (Vec::new(), Vec::new());
    // Until the kernel's buffers are full, and the stall limit beyond.
    let stalled = |rig: &Rig| rig.server.world.counters.closed[Close::Stalled.number()];
    for _ in 0..1200 {
        rig.pass(Duration::from_millis(100));
        rig.follow(&mut good, &mut part);
        heard.extend(part.split_off(0));
        if stalled(&rig) > 0 {
            break;
        }
    }
    let last = rig.server.world.feed.seq();
    assert_eq!(stalled(&rig), 1);
    let text = String::from_utf8_lossy(&heard);
    let seqs = text.lines().filter_map(|l| l.strip_prefix("X-Depthcast-Seq: ")?.parse::<u64>().ok());
    assert!(seqs.eq(1..=last), "the other viewer missed a frame");
    drop(stuck);
}

#[test]
fn one_viewer_too_many_is_refused_and_told() {
    let mut rig = Rig::new(10, "");
    let viewers: Vec<_> = (0..4).map(|_| rig.say(b"0")).collect();
    rig.settle();
    assert!(rig.response("GET /stream HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 503 "));
    let mut fifth = rig.say(b"0");
    assert_eq!(rig.hear(&mut fifth, |_| false), (Vec::new(), true));
    assert_eq!(rig.closed(Close::Full), 2);
    assert!(rig.response("GET /healthz HTTP/1.1\r\n\r\n").contains("200 OK"), "the lobby is open");
    drop(viewers);
    rig.settle();
    rig.pass(Duration::from_millis(200));
    let mut next = rig.say(b"0");
    assert!(rig.message(&mut next).len() > pickle::HEADER_LEN, "places are free again");
}

/// System calls for `frames` frames to three viewers that read all they are sent, and ask again with `again`.
fn calls_for(frames: u64, hello: &[u8], again: &[u8], change: impl FnOnce(&mut Settings)) -> Calls {
    let mut rig = Rig::with(10, "", change);
    rig.settle();
    let mut viewers: Vec<_> = (0..3).map(|_| rig.roomy(hello)).collect();
    for viewer in &mut viewers {
        assert!(rig.hear(viewer, |_| false).0.len() > 1000, "the first frame");
    }
    CALLS.set(Calls::default());
    for n in 1..=frames {
        for viewer in &mut viewers {
            viewer.write_all(again).expect("written");
        }
        rig.pass(Duration::from_millis(100));
        // The kernel takes its time to acknowledge what came before.
        while rig.server.world.counters.pictures < 3 * (n + 1) {
            for viewer in &mut viewers {
                rig.hear(viewer, |_| false);
            }
        }
    }
    let calls = CALLS.get();
    assert_eq!(
        rig.server.world.counters.skipped,
        <[u64; Protocol::ALL.len()]>::default(),
        "no frame was missed"
    );
    calls
}

#[test]
fn each_frame_is_one_write_to_each_viewer() {
    let stream = &b"GET /stream HTTP/1.1\r\n\r\n"[..];
    let lossless = &b"GET /stream?format=png HTTP/1.1\r\n\r\n"[..];
    for hello in [stream, lossless, UPGRADE] {
        let calls = calls_for(5, hello, b"", |_| {});
        assert_eq!((calls.writes, calls.reads), (15, 0), "{}", String::from_utf8_lossy(hello));
        assert!(calls.looks >= 15, "before each the queue must have drained");
    }
    for form in [pickle::Style::Protocol0, pickle::Style::Compact] {
        let calls = calls_for(5, b"0", b"0", |s| s.pickle = form);
        // One read brings the request, one says that there is no other.
        assert_eq!((calls.writes, calls.reads), (15, 30), "{form:?}");
    }
}

/// Asks for `/state` so often that the answers fill what the kernel keeps for a viewer that does not read.
fn greedy(rig: &Rig) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("set");
    socket.connect(&std::net::SocketAddr::from(([127, 0, 0, 1], rig.port)).into()).expect("connected");
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_millis(1))).expect("set");
    stream.write_all(&STATE.repeat(GREED)).expect("written");
    stream
}

const STATE: &[u8] = b"GET /state HTTP/1.1\r\n\r\n";
const GREED: usize = 300;

/// The JSON of each whole answer.
fn answers_of(mut heard: &[u8]) -> Vec<serde_json::Value> {
    let mut answers = Vec::new();
    while let Some(end) = heard.windows(4).position(|w| w == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&heard[..end]);
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let length = head.lines().find_map(|l| l.strip_prefix("Content-Length: ")).expect("a length");
        let length: usize = length.parse().expect("a number");
        let Some(body) = heard.get(end + 4..end + 4 + length) else { break };
        answers.push(serde_json::from_slice(body).expect("JSON, and of one answer"));
        heard = &heard[end + 4 + length..];
    }
    answers
}

#[test]
fn long_answers_share_a_few_buffers_and_the_one_too_many_is_told() {
    let mut rig = Rig::new(10, "");
    rig.server.world.pool = Pool::new(2, rig.server.world.body.capacity());
    let mut slow = [greedy(&rig), greedy(&rig)];
    rig.settle();
    assert_eq!(rig.server.world.pool.free(), 0, "both wait with an answer half sent");
    let refused = rig.response("GET /metrics HTTP/1.0\r\n\r\n");
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("too many answers"), "{refused}");
    assert!(refused.contains("\r\nRetry-After: 1\r\n"), "{refused}");
    assert!(
        rig.response("GET /readyz HTTP/1.0\r\n\r\n").ends_with("\r\n\r\nready\n"),
        "short ones need none"
    );
    let (mut viewer, heard) = rig.web_socket();
    assert!(!frames_of(&heard).0.iter().any(|f| f.0 == 0x81), "the state has no buffer yet");

    // What waited is whole, whatever others were told meanwhile.
    for slow in &mut slow {
        let (heard, closed) = rig.hear(slow, |heard| answers_of(heard).len() == GREED);
        let answers = answers_of(&heard);
        assert_eq!((answers.len(), closed), (GREED, false));
        assert!(answers.iter().all(|a| a["ok"] == true));
    }
    rig.pass(Duration::from_millis(20));
    let heard = rig.hear(&mut viewer, |_| false).0;
    assert_eq!(frames_of(&heard).0.iter().filter(|f| f.0 == 0x81).count(), 1, "now the state has");
    assert!(rig.response("GET /metrics HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 200 "));

    // Those who vanish in the middle hold nothing.
    let vanishing = greedy(&rig);
    rig.settle();
    assert_eq!(rig.server.world.pool.free(), 0, "one is being sent, one is the state for the next viewer");
    drop(vanishing);
    rig.settle();
    assert_eq!(rig.server.world.pool.free(), 1);
}

#[test]
fn what_web_sockets_are_told_is_written_once() {
    let mut rig = Rig::new(10, "");
    rig.settle();
    let free = rig.server.world.pool.free();
    let states: Vec<_> = (0..4)
        .map(|_| {
            let (viewer, heard) = rig.web_socket();
            let (frames, _) = frames_of(&heard);
            assert_eq!(rig.server.world.pool.free(), free - 1);
            (viewer, frames[0].clone())
        })
        .collect();
    assert!(states.iter().all(|(_, state)| *state == states[0].1 && state.0 == 0x81));
}

#[test]
fn a_place_for_a_viewer_costs_little_and_a_thousand_are_no_matter() {
    let mapped = |viewers| Rig::with(10, "", |s| s.viewers_max = viewers).server.mapped_bytes().1;
    let (few, many) = (mapped(100), mapped(1100));
    let per_viewer = (many - few) / 1000;
    // Half of it is its line in each of the long answers, which touch it only if there are so many viewers; of the rest most
    // is the longest request head that a connection may send before it is a viewer.
    assert!(per_viewer < 24 * 1024, "{per_viewer} bytes of address space a viewer");
    assert!(many < 28 << 20, "{many} bytes of address space");
}

#[test]
fn silent_connections_make_room_for_others() {
    let mut rig = Rig::new(10, "");
    let silent: Vec<_> = (0..LOBBY + 20).map(|_| rig.connect()).collect();
    rig.settle();
    assert_eq!(rig.connections(), LOBBY);
    assert_eq!(rig.closed(Close::Evicted), 20);
    let mut viewer = rig.say(b"0");
    assert!(rig.message(&mut viewer).len() > pickle::HEADER_LEN);
    drop(silent);
}

#[test]
fn a_vanished_source_shows_the_placeholder_and_comes_back() {
    let mut rig = Rig::new(10, "vanish@1+3");
    let mut viewer = rig.say(b"GET /stream HTTP/1.1\r\n\r\n");
    let mut heard = Vec::new();
    for _ in 0..80 {
        rig.pass(Duration::from_millis(100));
        heard.extend(rig.hear(&mut viewer, |_| false).0);
        match rig.now.mono.as_millis() {
            102_500 => {
                assert!(
                    rig.response("GET /readyz HTTP/1.1\r\n\r\n").contains("200 OK"),
                    "not before two seconds"
                );
                let state = rig.response("GET /state HTTP/1.1\r\n\r\n");
                assert!(
                    state.contains(r#""state":"not_found""#) && state.contains(r#""online":false"#),
                    "{state}"
                );
                assert!(rig.response("GET /snapshot HTTP/1.1\r\n\r\n").contains("X-Depthcast-Online: false"));
                let depth = rig.response("GET /depth.png HTTP/1.1\r\n\r\n");
                assert!(
                    depth.starts_with("HTTP/1.1 503 ") && depth.contains("Retry-After: 1\r\n"),
                    "{depth}"
                );
            }
            103_500 => {
                let ready = rig.response("GET /readyz HTTP/1.1\r\n\r\n");
                assert!(ready.starts_with("HTTP/1.1 503 ") && ready.contains("sensor not found"), "{ready}");
            }
            _ => {}
        }
    }
    let text = String::from_utf8_lossy(&heard);
    let online: Vec<_> = text.lines().filter_map(|l| l.strip_prefix("X-Depthcast-Online: ")).collect();
    let gone = online.iter().filter(|o| **o == "false").count();
    assert!((3..=5).contains(&gone), "{gone} placeholders in about four seconds");
    assert_eq!(online.last(), Some(&"true"));
    let seqs: Vec<u64> =
        text.lines().filter_map(|l| l.strip_prefix("X-Depthcast-Seq: ")?.parse().ok()).collect();
    assert!(seqs.is_sorted(), "{seqs:?}");
    assert!(rig.response("GET /readyz HTTP/1.1\r\n\r\n").ends_with("ready\n"));
}

#[test]
fn the_wall_clock_may_jump() {
    let mut rig = Rig::new(10, "");
    let mut viewer = rig.say(b"GET /stream HTTP/1.1\r\n\r\n");
    let mut heard = rig.hear(&mut viewer, |_| false).0;
    for wall in [0, 4_102_444_800_000_000, i64::MIN, i64::MAX - 1_000_000_000, 1] {
        rig.now.wall_us = wall;
        rig.pass(Duration::from_millis(100));
        rig.follow(&mut viewer, &mut heard);
        let mut python = rig.say(b"01");
        assert!(text_of(&rig.message(&mut python)).contains("-StartTime: "));
    }
    let text = String::from_utf8_lossy(&heard);
    let seqs = text.lines().filter_map(|l| l.strip_prefix("X-Depthcast-Seq: ")?.parse::<u64>().ok());
    assert!(seqs.eq(1..=6));
}

#[test]
fn late_events_do_not_touch_the_next_tenant() {
    for (place, generation) in [(0, 0), (5, 1), (VIEWERS_LIMIT + LOBBY, u16::MAX)] {
        assert_eq!(from_token(to_token(place, generation).0), (place, generation));
    }
    const { assert!(VIEWERS_LIMIT + LOBBY < 1 << PLACE_BITS) };
}

#[test]
fn a_turn_with_nothing_to_do_waits_for_the_next_frame() {
    let mut rig = Rig::new(NOMINAL_FPS, "");
    rig.settle();
    let wait = rig.server.timeout(rig.now).expect("a frame is due");
    assert!(wait > Duration::from_millis(30) && wait <= Duration::from_millis(34), "{wait:?}");
}

/// The samples of a PNG, one or two bytes a pixel as they are in the file.
fn pixels_of(png: &[u8]) -> Vec<u8> {
    let mut decoder = png::Decoder::new(io::Cursor::new(png));
    decoder.set_transformations(png::Transformations::IDENTITY);
    let mut reader = decoder.read_info().expect("a PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("fits")];
    reader.next_frame(&mut pixels).expect("whole");
    pixels
}

#[test]
fn what_must_not_be_seen_never_leaves() {
    let hidden = |i: usize| (100..=300).contains(&(i % WIDTH)) && (50..=380).contains(&(i / WIDTH));
    let view = Spec {
        rotate_180: true,
        clip_mm: Some(3000),
        masks: vec![vec![[100, 50], [300, 50], [300, 380], [100, 380]]],
        overlay: true,
        ..Spec::default()
    };
    let pictures = |view: &Spec| {
        // The first frame is the same for all: the demo has no chance in it.
        let mut rig = Rig::seen(10, "", view, |_| {});
        ["/depth.png", "/snapshot.png"].map(|path| {
            let mut stream = rig.say(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes());
            let (heard, _) = rig.hear(&mut stream, |_| false);
            let head = heard.windows(4).position(|w| w == b"\r\n\r\n").expect("a head");
            pixels_of(&heard[head + 4..])
        })
    };
    let [depth, index] = pictures(&view);
    let [plain_depth, plain_index] = pictures(&Spec::default());
    let mm = |depth: &[u8], i: usize| u16::from_be_bytes([depth[2 * i], depth[2 * i + 1]]);
    let (mut masked, mut clipped, mut seen, mut written) = (0, 0, 0, 0);
    for i in 0..PIXELS {
        let was = mm(&plain_depth, PIXELS - 1 - i);
        let now = mm(&depth, i);
        if hidden(i) {
            masked += usize::from(was != 0);
            assert_eq!((now, index[i]), (0, 0), "pixel {i} is masked");
        } else if was > 3000 {
            clipped += 1;
            assert_eq!(now, 0, "pixel {i} is too far away");
        } else {
            seen += usize::from(was != 0);
            assert_eq!(now, was, "pixel {i} is nobody's business");
        }
        let expected = if now == 0 { 0 } else { plain_index[PIXELS - 1 - i] };
        if index[i] != expected {
            written += 1;
            assert!(i / WIDTH >= 400, "pixel {i}: the overlay is below");
        }
    }
    assert!(masked > 10_000 && clipped > 10_000 && seen > 10_000, "{masked} {clipped} {seen}");
    assert!(written > 1000, "no overlay");
}

#[test]
fn a_crowd_of_silent_connections_does_not_push_out_who_has_spoken() {
    let mut rig = Rig::new(10, "");
    let mut viewer = rig.say(b"0");
    let crowd: Vec<_> = (0..100).map(|_| rig.connect()).collect();
    assert!(rig.message(&mut viewer).len() > pickle::HEADER_LEN, "the viewer was not heard");
    rig.settle();
    assert_eq!(rig.connections(), LOBBY + 1);
    drop(crowd);
}

#[test]
fn only_allowed_networks_are_let_in() {
    let elsewhere = vec!["10.0.0.0/8".parse().expect("a network"), Network::Unix];
    let mut rig = Rig::with(10, "", |s| s.allow = elsewhere);
    let mut viewer = rig.say(b"0");
    assert_eq!(rig.hear(&mut viewer, |_| false), (Vec::new(), true));
    assert_eq!(rig.closed(Close::NotAllowed), 1);
}

#[test]
fn pipelined_thousands_are_answered_in_order() {
    let mut rig = Rig::new(10, "");
    let mut peer = rig.say(&b"GET /healthz HTTP/1.1\r\n\r\n".repeat(2000));
    let (heard, closed) =
        rig.hear(&mut peer, |heard| heard.windows(4).filter(|w| w == b"ok\n\n").count() > 0);
    let text = String::from_utf8_lossy(&heard);
    assert_eq!((text.matches("HTTP/1.1 200 OK\r\n").count(), closed), (2000, false));
}

#[test]
fn a_changed_configuration_shows_on_the_next_frame_and_nobody_is_dropped() {
    let mut rig = Rig::new(10, "");
    let mut viewer = rig.say(b"0");
    assert!(text_of(&rig.message(&mut viewer)).contains("-Name: camera01\n"));
    let camera = Camera { name: "ramp".into(), ..Camera::default() };
    let range = Range::new(500, 4500).expect("not empty");
    let renderer = Renderer::new(range, camera, LocalClock::utc(), View::new(&Spec::default()));
    let settings = Settings { viewers_max: 1, listen: Vec::new(), ..rig.server.world.settings.clone() };
    rig.server.apply(settings, renderer, &kinect::Settings::default(), rig.now);
    rig.pass(Duration::from_millis(100));
    viewer.write_all(b"0").expect("written");
    assert!(text_of(&rig.message(&mut viewer)).contains("-Name: ramp\n"));
    assert!(rig.response("GET /snapshot HTTP/1.1\r\n\r\n").contains("X-Depthcast-Min-Mm: 500\r\n"));
    assert_eq!(rig.server.world.settings.viewers_max, 4, "needs a restart");
    assert_eq!(rig.server.world.settings.listen.len(), 1, "likewise");
}

/// Turns until the sensor's driver, which asks the system in real time, is at `word`; the clock stands still.
fn until_word(rig: &mut Rig, word: &str) {
    let patience = Instant::now() + Duration::from_secs(20);
    while rig.server.world.feed.word(rig.now) != word {
        assert!(Instant::now() < patience, "still {}", rig.server.world.feed.word(rig.now));
        rig.server.wait(Some(Duration::from_millis(1))).expect("polled");
        rig.server.turn(rig.now);
    }
}

#[test]
fn a_missing_sensor_is_no_failure_and_its_reason_is_shown_at_once() {
    let bus = Bus::new();
    let mut rig = Rig::of(bus.feed(START), &Spec::default(), |_| {});
    let mut viewer = rig.say(b"0");
    assert!(rig.response("GET /readyz HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 503"));
    until_word(&mut rig, "not_found");
    let placeholder = rig.message(&mut viewer);
    assert!(text_of(&placeholder).contains("-FrameRate: 30fps"), "{}", text_of(&placeholder));
    assert_eq!((rig.server.world.counters.placeholders, rig.server.world.counters.lost), (1, 0));
    let state = rig.response("GET /state HTTP/1.0\r\n\r\n");
    for part in [
        r#""online":false,"desired_fps":30"#,
        r#""source":"kinect","state":"not_found","reason":"no Kinect v2 on the bus; plug the adaptor"#,
        r#""usb":{"serial":null,"firmware":null,"step":"waiting","packets_lost":0"#,
    ] {
        assert!(state.contains(part), "{state}\n  without {part}");
    }
    assert!(rig.response("GET /snapshot HTTP/1.0\r\n\r\n").contains("X-Depthcast-Online: false"));
    assert!(rig.response("GET /depth.png HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 503"));

    // Nothing is to be done until the placeholder or the sensor is due again: the loop sleeps.
    rig.settle();
    let timeout = rig.server.timeout(rig.now).expect("something is due");
    assert!(timeout >= Duration::from_millis(100), "the loop wakes after {timeout:?}");

    rig.pass(Duration::from_secs(6));
    let ready = rig.response("GET /readyz HTTP/1.0\r\n\r\n");
    assert!(ready.contains("no frame for 6.0 s: no Kinect v2 on the bus"), "{ready}");
    viewer.write_all(b"0").expect("written");
    assert!(
        text_of(&rig.message(&mut viewer)).contains("-FrameRate: 0fps"),
        "none has come for five seconds"
    );
    assert_eq!(rig.server.world.counters.placeholders, 7);

    bus.plug("000012345678", 480);
    rig.pass(Duration::from_secs(2));
    until_word(&mut rig, "slow_link");
    let ready = rig.response("GET /readyz HTTP/1.0\r\n\r\n");
    assert!(ready.contains("the sensor's link runs at 480 Mbit/s"), "{ready}");
}

#[test]
fn stopping_waits_for_the_sensor_but_not_long() {
    let bus = Bus::new();
    let mut rig = Rig::of(bus.feed(START), &Spec::default(), |_| {});
    until_word(&mut rig, "not_found");
    let begun = Instant::now();
    let clock = Clock::start();
    rig.server.leave(&clock).expect("polled");
    assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
    // A source that is no sensor has nothing to stop.
    Rig::new(30, "").server.leave(&clock).expect("polled");
}

const UPGRADE: &[u8] = b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://127.0.0.1:8080\r\n\r\n";

/// Messages of a WebSocket: opcode and payload of each whole frame, and what is left.
fn frames_of(mut bytes: &[u8]) -> (Vec<(u8, Vec<u8>)>, usize) {
    let mut frames = Vec::new();
    while bytes.len() >= 2 {
        let (from, length) = match bytes[1] {
            126 if bytes.len() >= 4 => (4, u16::from_be_bytes([bytes[2], bytes[3]]) as usize),
            127 if bytes.len() >= 10 => {
                (10, u64::from_be_bytes(bytes[2..10].try_into().expect("eight")) as usize)
            }
            126 | 127 => break,
            short => (2, short as usize),
        };
        let Some(payload) = bytes.get(from..from + length) else { break };
        frames.push((bytes[0], payload.to_vec()));
        bytes = &bytes[from + length..];
    }
    (frames, bytes.len())
}

impl Rig {
    /// A WebSocket that was just opened, and what came behind the answer.
    fn web_socket(&mut self) -> (TcpStream, Vec<u8>) {
        let mut viewer = self.say(UPGRADE);
        let (heard, closed) = self.hear(&mut viewer, |_| false);
        assert!(!closed);
        let end = heard.windows(4).position(|w| w == b"\r\n\r\n").expect("a head") + 4;
        let head = String::from_utf8_lossy(&heard[..end]).into_owned();
        assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        (viewer, heard[end..].to_vec())
    }
}

#[test]
fn a_web_socket_is_told_the_state_and_given_each_depth_once() {
    let mut rig = Rig::new(10, "");
    rig.settle();
    let (mut viewer, mut heard) = rig.web_socket();
    for _ in 0..3 {
        rig.pass(Duration::from_millis(100));
        heard.extend(rig.hear(&mut viewer, |_| false).0);
    }
    let (frames, left) = frames_of(&heard);
    assert_eq!(left, 0);
    assert_eq!(frames[0].0, 0x81, "the state first");
    let state: serde_json::Value = serde_json::from_slice(&frames[0].1).expect("JSON");
    assert_eq!(state["online"], true);
    assert_eq!(state["config"]["range"]["max_mm"], 1500);
    assert_eq!(state["config"]["palette"]["rgb"].as_str().map(str::len), Some(256 * 6));
    let heads = frames[1..].iter().map(|(opcode, payload)| {
        assert_eq!(*opcode, 0x82);
        let head = DepthHead::parse(payload).expect("a head");
        assert_eq!(head.length as usize, payload.len() - DEPTH_HEAD_LEN);
        let mut depth = vec![0; PIXELS];
        rvl::decode(&payload[DEPTH_HEAD_LEN..], &mut depth).expect("depth");
        assert!(depth.iter().any(|mm| *mm > 0));
        (head.seq, head.captured_us - START.wall_us)
    });
    assert_eq!(heads.collect::<Vec<_>>(), [(1, 0), (2, 100_000), (3, 200_000), (4, 300_000)]);
    assert_eq!(rig.server.world.viewers, 1);
    assert_eq!(rig.made(Form::Png), 0, "nobody wants pictures");
}

#[test]
fn a_web_socket_hears_of_a_loss_and_of_the_return_and_gets_no_numbers_between() {
    let mut rig = Rig::new(10, "vanish@1+3");
    let (mut viewer, mut heard) = rig.web_socket();
    for _ in 0..80 {
        rig.pass(Duration::from_millis(100));
        heard.extend(rig.hear(&mut viewer, |_| false).0);
    }
    let (frames, _) = frames_of(&heard);
    let states: Vec<_> = frames.iter().enumerate().filter(|(_, f)| f.0 == 0x81).collect();
    let online = |n: usize| {
        let value: serde_json::Value = serde_json::from_slice(&states[n].1.1).expect("JSON");
        (value["online"].as_bool(), value["reason"].as_str().map(str::is_empty))
    };
    let told: Vec<_> = (0..states.len()).map(online).collect();
    assert!(told.contains(&(Some(false), Some(false))), "{told:?}");
    assert_eq!(told.last(), Some(&(Some(true), Some(true))), "{told:?}");
    let lost = states.iter().find(|s| s.1.1.starts_with(b"{\"online\":false")).expect("the loss").0;
    assert_eq!(frames[lost + 1].0, 0x81, "depth without a sensor");
}

#[test]
fn a_web_socket_is_told_that_the_server_goes_away() {
    let mut rig = Rig::new(10, "");
    let (mut viewer, _) = rig.web_socket();
    let clock = crate::clock::Clock::start();
    rig.server.leave(&clock).expect("left");
    let (heard, _) = rig.hear(&mut viewer, |_| false);
    let (frames, left) = frames_of(&heard);
    assert_eq!((frames.last(), left), (Some(&(0x88, 1001u16.to_be_bytes().to_vec())), 0));
    assert_eq!(rig.closed(Close::Stopping), 1);
}

#[test]
fn a_web_socket_that_breaks_a_rule_is_told_and_closed() {
    let mut rig = Rig::new(10, "");
    for (bytes, answer) in [
        (&b"\x81\x01a"[..], &b"\x88\x02\x03\xea"[..]),
        (b"\x82\x80\0\0\0\0", b"\x88\x02\x03\xeb"),
        (b"\x81\x81\0\0\0\0\xff", b"\x88\x02\x03\xef"),
        (b"\x88\x82\0\0\0\0\x03\xe8", b"\x88\x02\x03\xe8"),
        (b"\x89\x82\0\0\0\0hi\x88\x80\0\0\0\0", b"\x88\x00"),
    ] {
        let (mut viewer, _) = rig.web_socket();
        viewer.write_all(bytes).expect("written");
        let (heard, closed) = rig.hear(&mut viewer, |_| false);
        assert!(closed && heard.ends_with(answer), "{bytes:?}: {heard:?}");
    }
    assert_eq!(rig.closed(Close::BadFrame(0)), 3);
    assert_eq!(rig.server.world.viewers, 0);
    assert_eq!(rig.server.world.ring.free(), RING_SLOTS - 1, "a slot is still pinned");
}

#[test]
fn a_quiet_web_socket_is_pinged() {
    let mut rig = Rig::new(10, "vanish@1+600");
    let (mut viewer, _) = rig.web_socket();
    rig.pass(Duration::from_secs(5));
    rig.hear(&mut viewer, |_| false);
    rig.pass(WS_PING_EVERY);
    let heard = rig.hear(&mut viewer, |_| false).0;
    assert!(frames_of(&heard).0.contains(&(0x89, vec![])), "{heard:?}");
    assert_eq!(rig.connections(), 1);
}

#[test]
fn a_web_socket_is_opened_for_our_own_pages_only() {
    let mut rig = Rig::new(10, "");
    let text = String::from_utf8_lossy(UPGRADE).into_owned();
    for (from, to, status) in [
        ("Host: 127.0.0.1:8080", "Host: evil.example", "403 "),
        ("Host: 127.0.0.1:8080\r\n", "", "403 "),
        ("Origin: http://127.0.0.1:8080", "Origin: http://evil.example", "403 "),
        ("Origin: http://127.0.0.1:8080", "Origin: null", "403 "),
        ("Upgrade: websocket\r\n", "", "426 "),
        ("Version: 13", "Version: 12", "426 "),
        ("dGhlIHNhbXBsZSBub25jZQ==", "short", "400 "),
    ] {
        let answer = rig.response(&text.replacen(from, to, 1));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{to}: {answer}");
        let named = answer.contains("\r\nConnection: keep-alive, Upgrade\r\n");
        assert_eq!(named, answer.contains("\r\nUpgrade: "), "{to}: {answer}");
    }
}

#[test]
fn with_tokens_only_who_has_one_watches_and_who_guesses_is_slowed() {
    let tokens = vec![TokenHash::of(b"secret")];
    let mut rig = Rig::with(10, "", |s| s.rules.tokens = tokens);
    let get = |path: &str, claim: &str| format!("GET {path} HTTP/1.0\r\n{claim}\r\n");
    let basic = "Authorization: Basic YW55OnNlY3JldA==\r\n";
    for path in
        ["/", "/stream", "/snapshot", "/depth.png", "/state", "/metrics", "/config.json", "/ws", "/nowhere"]
    {
        let answer = rig.response(&get(path, ""));
        assert!(
            answer.starts_with("HTTP/1.1 401 ") && answer.contains("\r\nWWW-Authenticate: Basic "),
            "{path}"
        );
        assert!(!rig.response(&get(path, basic)).starts_with("HTTP/1.1 401 "), "{path} with a token");
    }
    for path in ["/healthz", "/readyz"] {
        assert!(rig.response(&get(path, "")).starts_with("HTTP/1.1 200 "), "{path}");
    }
    let right = get("/state", "authorization: bearer secret\r\n");
    for n in 0..10 {
        assert!(rig.response(&right).starts_with("HTTP/1.1 200 "), "after {n}");
        assert!(rig.response(&get("/state", "Authorization: Bearer guess\r\n")).starts_with("HTTP/1.1 401 "));
    }
    let barred = rig.response("GET /state HTTP/1.1\r\nAuthorization: Bearer guess\r\n\r\n");
    assert!(barred.starts_with("HTTP/1.1 429 ") && barred.contains("\r\nRetry-After: "), "{barred}");
    assert!(barred.contains("\r\nConnection: close\r\n"), "each guess costs a connection");
    assert!(
        rig.response(&right).starts_with("HTTP/1.1 200 "),
        "who has a token is not locked out by who has none"
    );
    assert!(rig.response(&get("/healthz", "")).starts_with("HTTP/1.1 200 "));
    rig.pass(FAILURE_COST);
    assert!(rig.response(&get("/state", "Authorization: Bearer guess\r\n")).starts_with("HTTP/1.1 401 "));
    let mut viewer = rig.say(b"0");
    assert!(rig.message(&mut viewer).len() > 1000, "the Python protocol asks for none");
}

#[test]
fn other_pages_may_read_only_if_configured() {
    let mut rig = Rig::new(10, "");
    let with_origin = "GET /state HTTP/1.0\r\nOrigin: https://panel.example\r\n\r\n";
    assert!(!rig.response(with_origin).contains("Access-Control"));
    let allow = Some("https://panel.example".parse().expect("an origin"));
    let mut rig = Rig::with(10, "", |s| s.rules.allow_origin = allow);
    for path in ["/state", "/snapshot", "/stream", "/healthz", "/nowhere"] {
        let answer = rig.response(&format!("HEAD {path} HTTP/1.0\r\n\r\n"));
        assert!(
            answer.contains("\r\nAccess-Control-Allow-Origin: https://panel.example\r\n"),
            "{path}: {answer}"
        );
        let exposed: Vec<_> =
            answer.lines().filter_map(|l| l.strip_prefix("Access-Control-Expose-Headers: ")).collect();
        for name in answer.lines().filter_map(|line| line.split_once(": ")).map(|(name, _)| name) {
            let needed =
                ["X-Timestamp", "X-Depthcast-", "X-UStreamer-"].iter().any(|ours| name.starts_with(ours));
            assert!(
                !needed || exposed.iter().any(|names| names.split(", ").any(|n| n == name)),
                "{path}: {name} cannot be read"
            );
        }
    }
    let preflight = |asked: &str| {
        let method = "OPTIONS /stream HTTP/1.0\r\nAccess-Control-Request-Method: GET";
        format!("{method}\r\nAccess-Control-Request-Headers: {asked}\r\n\r\n")
    };
    let names = "x".repeat(CORS_NAMES_MAX);
    for (asked, allowed) in [
        ("", "Authorization"),
        ("cache-control,range", "Authorization, cache-control,range"),
        ("range, x\ty", "Authorization"),
        (&names, &format!("Authorization, {names}")),
        (&format!("{names}y"), "Authorization"),
    ] {
        let answer = rig.response(&preflight(asked));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains("\r\nAccess-Control-Allow-Methods: GET, HEAD, OPTIONS\r\n"), "{answer}");
        let line = format!("\r\nAccess-Control-Allow-Headers: {allowed}\r\n");
        assert!(answer.contains(&line), "{asked}: {answer}");
    }
    let upgrade = String::from_utf8_lossy(UPGRADE)
        .replace("Origin: http://127.0.0.1:8080", "Origin: https://panel.example");
    assert!(rig.response(&upgrade).starts_with("HTTP/1.1 101 "));
    // The longest of all that is configured fits into every head.
    let longest = format!("https://{}", "a".repeat(192)).parse().expect("an origin");
    rig = Rig::with(10, "", |s| s.rules.allow_origin = Some(longest));
    for path in ["/", "/state", "/snapshot", "/stream", "/depth.png", "/nowhere"] {
        let answer = rig.response(&format!("HEAD {path} HTTP/1.0\r\n\r\n"));
        assert!(answer.ends_with("\r\n\r\n"), "{path}: {answer}");
    }
    assert!(rig.response(&preflight(&names)).contains(&names));
}

#[test]
fn what_viewers_need_to_know_is_json_whatever_the_camera_is_called() {
    let mut rig = Rig::new(10, "");
    let name = "\"\\\u{1}".repeat(CAMERA_TEXT_MAX / 3);
    let camera = Camera { uid: name.clone(), name: name.clone(), kind: name.clone(), location: name.clone() };
    let renderer = Renderer::new(Range::PYTHON, camera, LocalClock::utc(), View::new(&Spec::default()));
    let settings = rig.server.world.settings.clone();
    rig.server.apply(settings, renderer, &kinect::Settings::default(), rig.now);
    let answer = rig.response("GET /config.json HTTP/1.0\r\n\r\n");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    let config: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!((&config["width"], &config["camera"]["location"]), (&512.into(), &name.into()));
    assert_eq!(config["palette"]["rgb"].as_str().map(|rgb| rgb[..6].to_owned()).as_deref(), Some("000080"));
}

#[test]
fn lossless_depth_is_the_same_in_each_form_and_has_the_pictures_number() {
    let mut rig = Rig::new(10, "");
    let mut get = |path: &str| {
        let mut stream = rig.say(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes());
        let heard = rig.hear(&mut stream, |_| false).0;
        let end = heard.windows(4).position(|w| w == b"\r\n\r\n").expect("a head") + 4;
        let head = String::from_utf8_lossy(&heard[..end]).into_owned();
        assert!(
            head.starts_with("HTTP/1.1 200 ") && head.contains("\r\nX-Depthcast-Seq: 1\r\n"),
            "{path}: {head}"
        );
        heard[end..].to_vec()
    };
    let raw = get("/depth.raw");
    let mut depth = vec![0; PIXELS];
    rvl::decode(&get("/depth.rvl"), &mut depth).expect("depth");
    assert_eq!(raw.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect::<Vec<_>>(), depth);
    let png = get("/depth.png");
    let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().expect("a PNG");
    let mut pixels = vec![0; 2 * PIXELS];
    reader.next_frame(&mut pixels).expect("pixels");
    assert_eq!(pixels.chunks_exact(2).map(|b| u16::from_be_bytes([b[0], b[1]])).collect::<Vec<_>>(), depth);
    get("/snapshot");
    let mut rig = Rig::new(10, "vanish@0+60");
    rig.pass(Duration::from_secs(2));
    for path in ["/depth.png", "/depth.rvl", "/depth.raw"] {
        let answer = rig.response(&format!("GET {path} HTTP/1.0\r\n\r\n"));
        assert!(
            answer.starts_with("HTTP/1.1 503 ") && answer.contains("\r\nRetry-After: 1\r\n"),
            "{path}: {answer}"
        );
    }
}
