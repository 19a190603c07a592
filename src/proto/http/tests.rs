use super::*;
use crate::limits::RESPONSE_HEAD_MAX;
use proptest::prelude::*;

fn get(path: &str) -> Target {
    parse(format!("GET {path} HTTP/1.1\r\nHost: box\r\n\r\n").as_bytes(), &Rules::default()).target
}

fn streamed(path: &str) -> Option<Content> {
    match get(path) {
        Target::Stream(content, _) => Some(content),
        _ => None,
    }
}

fn status(head: &str) -> Option<Status> {
    match parse(head.as_bytes(), &Rules::default()).target {
        Target::Refused(status, _) => Some(status),
        _ => None,
    }
}

#[test]
fn paths_and_their_old_names() {
    assert_eq!(get("/"), Target::Page);
    assert_eq!(get("/?"), Target::Page);
    assert_eq!(get("/?x=1&theme=dark"), Target::Page);
    for path in ["/stream", "/stream?junk&format=jpg", "/?action=stream", "/?action=stream_0&x.mjpg"] {
        assert_eq!(streamed(path), Some(Content::Picture(Image::Jpeg)), "{path}");
    }
    for path in ["/snapshot", "/snapshot.jpg?format=png", "/?action=snapshot", "/?a=b&action=snapshot"] {
        assert_eq!(get(path), Target::Frame(Content::Picture(Image::Jpeg)), "{path}");
    }
    assert_eq!(streamed("/stream?format=png&junk"), Some(Content::Picture(Image::Png)));
    for (path, depth) in [
        ("/depth/stream", Depth::Png),
        ("/depth/stream?format=RVL", Depth::Rvl),
        ("/depth/stream?format=raw&x", Depth::Raw),
    ] {
        assert_eq!(streamed(path), Some(Content::Depth(depth)), "{path}");
    }
    for path in [
        "/depth/stream?format=jpeg",
        "/stream?format=rvl",
        "/stream?fps=x",
        "/stream?key=%0d%0a",
        "/snapshot?format=x",
    ] {
        assert!(matches!(get(path), Target::Refused(Status::BadRequest, _)), "{path}");
    }
    assert_eq!(streamed("/stream?view=ir"), Some(Content::Infrared(Image::Jpeg)));
    assert_eq!(streamed("/?action=stream&view=IR&format=png"), Some(Content::Infrared(Image::Png)));
    assert_eq!(streamed("/stream?view=depth&view=ir"), Some(Content::Picture(Image::Jpeg)));
    assert_eq!(get("/ir.png?t=3"), Target::Frame(Content::Infrared(Image::Png)));
    assert_eq!(get("/snapshot.jpg?view=ir"), Target::Frame(Content::Infrared(Image::Jpeg)));
    assert!(matches!(get("/snapshot?view=rgb"), Target::Refused(Status::BadRequest, _)));
    assert_eq!(
        get("/snapshot?fps=x&key=%0a"),
        Target::Frame(Content::Picture(Image::Jpeg)),
        "not its business"
    );
    for path in ["/snapshot.png?t=12", "/snapshot?t&format=png", "/?action=snapshot&format=png"] {
        assert_eq!(get(path), Target::Frame(Content::Picture(Image::Png)), "{path}");
    }
    assert!(matches!(get("/stream?format=gif"), Target::Refused(Status::BadRequest, _)));
    assert_eq!(get("http://10.0.0.7:8080/state?x"), Target::State);
    assert_eq!(get("http://10.0.0.7"), Target::Page);
    assert!(matches!(get("/../etc/passwd"), Target::Refused(Status::NotFound, _)));
    assert!(matches!(get("/?action=command"), Target::Refused(Status::NotFound, _)));
}

#[test]
fn requests_are_refused_with_the_right_status() {
    assert_eq!(status("POST / HTTP/1.1\r\n\r\n"), Some(Status::MethodNotAllowed));
    assert_eq!(status("DELETE /stream HTTP/1.1\r\n\r\n"), Some(Status::MethodNotAllowed));
    assert_eq!(status("POST /stream HTTP/1.1\r\nContent-Length: 0\r\n\r\n"), None);
    assert_eq!(status("POST /stream HTTP/1.1\r\nContent-Length: 1\r\n\r\nx"), Some(Status::ContentTooLarge));
    for smuggled in [
        "Content-Length: 0\r\nContent-Length: 0",
        "Host: a\r\nHost: b",
        "Authorization: a\r\nAuthorization: b",
        "Content-Length : 0",
        "A: b\r\n c: d",
        "A: b\rC: d",
        "A: b\0",
        " A: b",
        "A\r\n",
        "A: b\r\n\tc",
    ] {
        let head = format!("GET / HTTP/1.1\r\n{smuggled}\r\n\r\n");
        assert_eq!(status(&head), Some(Status::BadRequest), "{smuggled:?}");
    }
    assert_eq!(status("GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"), Some(Status::ContentTooLarge));
    assert_eq!(status("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"), Some(Status::NotImplemented));
    assert_eq!(status("GET / HTTP/2.0\r\n\r\n"), Some(Status::VersionNotSupported));
    assert_eq!(status("GIMME\r\n\r\n"), Some(Status::BadRequest));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(REQUEST_FIELDS_MAX + 1));
    assert_eq!(status(&many), Some(Status::HeadTooLarge));
    assert_eq!(status("GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"), None);
    for fields in ["Transfer-Encoding: chunked", "Content-Length: 1", "Host: a\r\nHost: b"] {
        let head = format!("HEAD / HTTP/1.1\r\n{fields}\r\n\r\n");
        assert!(parse(head.as_bytes(), &Rules::default()).head_only, "a body behind the answer to {head}");
    }
}

#[test]
fn once_names_are_configured_no_other_is_answered_to() {
    let named = Rules { names: vec!["garage.example".parse().expect("a name")], ..Rules::default() };
    let asked = |host: &str, path: &str, rules: &Rules| {
        parse(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes(), rules).target
    };
    for path in [
        "/",
        "/stream",
        "/snapshot",
        "/depth.raw",
        "/depth/stream",
        "/ir.png",
        "/state",
        "/metrics",
        "/nowhere",
    ] {
        let refused = asked("evil.example", path, &named);
        assert!(matches!(refused, Target::Refused(Status::Forbidden, _)), "{path}");
        for host in ["garage.example:8080", "192.168.1.7", "localhost", "cam.local", "[::1]:80"] {
            assert_eq!(asked(host, path, &named), asked("x", path, &Rules::default()), "{path} as {host}");
        }
    }
    assert_eq!(asked("evil.example", "/healthz", &named), Target::Healthz, "tells nothing");
    let old = parse(b"GET /snapshot HTTP/1.0\r\n\r\n", &named).target;
    assert_eq!(old, Target::Frame(Content::Picture(Image::Jpeg)), "no browser, and no name to go by");
}

#[test]
fn connections_stay_open_as_the_version_and_the_client_say() {
    let keep = |head: &str| parse(head.as_bytes(), &Rules::default()).keep_alive;
    assert!(keep("GET / HTTP/1.1\r\n\r\n"));
    assert!(!keep("GET / HTTP/1.1\r\nConnection: Close\r\n\r\n"));
    assert!(!keep("GET / HTTP/1.0\r\n\r\n"));
    assert!(keep("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
    assert!(!keep("GET /stream HTTP/1.1\r\n\r\n"), "a stream ends with its connection");
    for version in ["1.0", "1.1"] {
        for fields in ["keep-alive, close", "close\r\nConnection: keep-alive", "x\r\nConnection: close, x"] {
            let head = format!("GET / HTTP/{version}\r\nConnection: {fields}\r\n\r\n");
            assert!(!keep(&head), "close outweighs the rest in {head}");
        }
    }
}

#[test]
fn a_conversation_on_one_connection() {
    let mut machine = Machine::default();
    machine.receive(b"GET /healthz HTT", &Rules::default());
    assert_eq!(machine.next(), Next::Read);
    machine.receive(
        b"P/1.1\r\n\r\n\r\nHEAD /snapshot HTTP/1.1\n\nGET /nowhere HTTP/1.0\r\n\r\n",
        &Rules::default(),
    );
    let Next::Respond(first) = machine.next() else { panic!("no answer") };
    assert_eq!((first.target, first.head_only), (Target::Healthz, false));
    machine.sent(&Rules::default());
    let Next::Respond(second) = machine.next() else { panic!("no second answer") };
    assert_eq!((second.target, second.head_only), (Target::Frame(Content::Picture(Image::Jpeg)), true));
    machine.sent(&Rules::default());
    assert!(matches!(machine.next(), Next::Respond(r) if matches!(r.target, Target::Refused(..))));
    machine.sent(&Rules::default());
    assert_eq!(machine.next(), Next::Close(Close::Answered));
}

#[test]
fn a_head_too_long_is_answered() {
    let mut machine = Machine::default();
    machine.receive(b"GET / HTTP/1.1\r\nX: ", &Rules::default());
    while machine.room() > 0 {
        machine.receive(&[b'x'; 1000], &Rules::default());
    }
    let Next::Respond(request) = machine.next() else { panic!("no answer") };
    assert!(matches!(request.target, Target::Refused(Status::HeadTooLarge, _)));
    assert!(!request.keep_alive);
}

#[test]
fn bytes_that_end_no_head_are_looked_at_once() {
    let mut machine = Machine::default();
    machine.receive(b"\r\nGET / HTTP/1.1\r\n", &Rules::default());
    assert_eq!(machine.scanned, 16);
    machine.consume(0);
    assert_eq!(machine.scanned, 16);
    for byte in b"\r\n" {
        machine.receive(&[*byte], &Rules::default());
    }
    assert!(matches!(machine.next(), Next::Respond(_)));
}

#[test]
fn a_half_closed_client_is_answered_first() {
    let mut machine = Machine::default();
    machine.receive(b"GET /state HTTP/1.1\r\n\r\n", &Rules::default());
    machine.half_closed();
    assert!(matches!(machine.next(), Next::Respond(_)));
    machine.sent(&Rules::default());
    assert_eq!(machine.next(), Next::Close(Close::PeerClosed));
}

#[test]
fn heads_are_within_their_bound() {
    let facts = PictureFacts {
        captured_us: i64::MIN,
        seq: u64::MAX,
        age_ms: Some(u64::MAX),
        online: false,
        skipped: u64::MAX,
        range_mm: Some((u16::MAX, u16::MAX)),
    };
    let mut extra = String::new();
    write_timestamp(&mut extra, facts.captured_us).expect("a String");
    extra += "X-UStreamer-Online: false\r\nX-UStreamer-Width: 512\r\nX-UStreamer-Height: 424\r\n";
    facts.write(&mut extra).expect("a String");
    let mut head = String::new();
    write_head(&mut head, Status::HeadTooLarge, "text/plain; charset=utf-8", usize::MAX, true, &extra)
        .expect("a String");
    assert!(head.len() <= RESPONSE_HEAD_MAX, "{} bytes", head.len());
    assert!(head.lines().all(|line| line.len() < 128), "ffmpeg cuts lines at 128 bytes");
    assert!(head.contains("X-Timestamp: -9223372036854.775808\r\n"));
}

proptest! {
    /// However the bytes are cut into segments, the same requests are answered in the same order.
    #[test]
    fn splits_do_not_matter(
        parts in prop::collection::vec(prop_oneof![
            Just(b"GET /state HTTP/1.1\r\n\r\n".to_vec()),
            Just(b"HEAD / HTTP/1.1\r\nA: b\r\n\r\n".to_vec()),
            Just(b"\r\n".to_vec()),
            prop::collection::vec(any::<u8>(), 0..40),
        ], 0..8),
        cut in 1usize..60,
    ) {
        let bytes = parts.concat();
        let play = |cut: usize| {
            let mut machine = Machine::default();
            let (mut answers, mut rest) = (Vec::new(), &bytes[..]);
            loop {
                match machine.next() {
                    Next::Respond(request) => { answers.push(request); machine.sent(&Rules::default()); }
                    Next::Read if !rest.is_empty() => {
                        let n = rest.len().min(cut).min(machine.room());
                        machine.receive(&rest[..n], &Rules::default());
                        rest = &rest[n..];
                    }
                    _ => break answers,
                }
            }
        };
        prop_assert_eq!(play(cut), play(usize::MAX));
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut machine = Machine::default();
        machine.receive(&bytes, &Rules::default());
        machine.half_closed();
        let _ = (parse(&bytes, &Rules::default()), machine.next());
    }
}
