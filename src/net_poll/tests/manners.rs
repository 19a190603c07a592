//! How peers are treated that behave oddly, and those beside them.

use std::os::unix::net::UnixStream;

use super::*;

/// Whether something more comes, now that nobody has to be waited for.
fn is_open(rig: &mut Rig, stream: &mut TcpStream) -> bool {
    !rig.hear(stream, |_| false).1
}

#[test]
fn who_guesses_too_often_loses_the_connection_with_the_answer() {
    let mut rig = Rig::with(1, "", |s| s.rules.tokens = vec![TokenHash::of(b"secret")]);
    let guess = b"GET /state HTTP/1.1\r\nAuthorization: Bearer guess\r\n\r\n";
    let mut guesser = rig.connect();
    for _ in 0..10 {
        guesser.write_all(guess).expect("written");
        let (heard, closed) = rig.hear(&mut guesser, |_| false);
        assert!(heard.starts_with(b"HTTP/1.1 401 ") && !closed, "{}", heard.escape_ascii());
    }
    guesser.write_all(guess).expect("written");
    let (heard, closed) = rig.hear(&mut guesser, |_| false);
    assert!(heard.starts_with(b"HTTP/1.1 429 "), "{}", heard.escape_ascii());
    assert_eq!(rig.server.world.counters.wrong_tokens, 11);
    assert_eq!(rig.server.world.warnings.held_back(Warning::WrongToken), 10, "one line, and a count");
    assert!(closed, "the answer says that the connection is closed");
}

#[test]
fn a_connection_that_was_answered_may_end_without_a_warning() {
    let mut rig = Rig::new(1, "");
    let mut browser = rig.say(b"GET /healthz HTTP/1.1\r\n\r\n");
    assert!(is_open(&mut rig, &mut browser));
    rig.pass(KEEP_ALIVE + Duration::from_secs(1));
    assert_eq!((rig.closed(Close::Answered), rig.closed(Close::Silent)), (1, 0));
    assert!(!Close::Answered.is_fault());
}

#[test]
fn only_requests_that_are_none_are_bad_requests() {
    let mut rig = Rig::with(1, "", |s| s.rules.tokens = vec![TokenHash::of(b"secret")]);
    let right = "Authorization: Bearer secret\r\n";
    for (request, status) in [
        ("GET /state HTTP/1.0\r\n\r\n".into(), "401"),
        (format!("GET /nowhere HTTP/1.0\r\n{right}\r\n"), "404"),
        (format!("GET /ws HTTP/1.0\r\n{right}\r\n"), "426"),
    ] {
        let answer = rig.response(&request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    assert_eq!((rig.closed(Close::Answered), rig.closed(Close::BadRequest)), (3, 0));
    for (request, status) in [
        ("GET\r\n\r\n".into(), "400"),
        (format!("POST / HTTP/1.1\r\n{right}\r\n"), "405"),
        (format!("GET / HTTP/1.1\r\n{right}Content-Length: 3\r\n\r\nabc"), "413"),
        (format!("GET / HTTP/1.1\r\n{right}Transfer-Encoding: chunked\r\n\r\n"), "501"),
    ] {
        let answer = rig.response(&request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    assert_eq!((rig.closed(Close::Answered), rig.closed(Close::BadRequest)), (3, 4));
}

#[test]
fn nobody_fills_the_journal_by_asking_the_server_to_stop() {
    let mut rig = Rig::with(1, "", |s| s.shutdown_from.clear());
    for _ in 0..20 {
        let mut peer = rig.say(b"2");
        assert!(!is_open(&mut rig, &mut peer));
    }
    assert_eq!(rig.closed(Close::Goodbye), 20);
    let held_back = |rig: &Rig| rig.server.world.warnings.held_back(Warning::MayNotStop);
    assert_eq!(held_back(&rig), 19, "one line, and a count");
    rig.pass(WARN_EVERY);
    let mut peer = rig.say(b"2");
    assert!(!is_open(&mut rig, &mut peer));
    assert_eq!(held_back(&rig), 0, "the next line tells of those before it");
}

#[test]
fn a_crowd_at_one_address_does_not_keep_another_waiting() {
    let path = std::env::temp_dir().join(format!("depthcast-crowd-{}", std::process::id()));
    let mut rig = Rig::with(1, "", |s| s.listen.push(Address::Unix(path.clone())));
    rig.settle();
    let crowd: Vec<_> = (0..4 * ACCEPTS_PER_TURN).map(|_| rig.connect()).collect();
    let local = UnixStream::connect(&path).expect("connected");
    let waiting =
        |rig: &Rig| !rig.server.entries.iter().any(|e| e.conn.as_ref().is_some_and(|c| c.peer == Peer::Unix));
    let patience = Instant::now() + Duration::from_secs(20);
    while rig.server.listeners.iter().filter(|l| l.ready).count() < 2 {
        assert!(Instant::now() < patience, "the kernel does not tell of both");
        rig.server.wait(Some(Duration::from_millis(1))).expect("polled");
    }
    assert_eq!(rig.server.turn(rig.now), None);
    assert!(!waiting(&rig), "it waits behind {} others", crowd.len());
    drop(local);
}

#[test]
fn who_may_not_watch_any_more_is_sent_away_with_the_reload() {
    let path = std::env::temp_dir().join(format!("depthcast-allow-{}", std::process::id()));
    let mut rig = Rig::with(10, "", |s| s.listen.push(Address::Unix(path.clone())));
    let mut viewers = [rig.say(b"0"), rig.say(b"GET /stream HTTP/1.1\r\n\r\n")];
    let mut idle = rig.say(b"GET /healthz HTTP/1.1\r\n\r\n");
    let mut local = UnixStream::connect(&path).expect("connected");
    local.write_all(b"0").expect("written");
    for stream in viewers.iter_mut().chain([&mut idle]) {
        assert!(is_open(&mut rig, stream));
    }
    rig.settle();
    assert_eq!((rig.connections(), rig.server.world.viewers), (4, 3));
    let allow = vec![Network::Unix, "10.0.0.0/8".parse().expect("a network")];
    let settings = Settings { allow, ..rig.server.world.settings.clone() };
    let renderer =
        Renderer::new(Range::PYTHON, Camera::default(), LocalClock::utc(), View::new(&Spec::default()));
    rig.server.apply(settings, renderer, &kinect::Settings::default(), rig.now);
    assert_eq!((rig.connections(), rig.server.world.viewers), (1, 1));
    assert_eq!(rig.closed(Close::NotAllowed), 3);
    assert!(viewers.iter_mut().chain([&mut idle]).all(|stream| !is_open(&mut rig, stream)));
}

#[test]
fn who_watches_with_a_token_that_is_taken_out_is_sent_away_with_the_reload() {
    let [lost, kept] = [b"lost", b"kept"].map(|token| TokenHash::of(token));
    let mut rig = Rig::with(10, "", |s| s.rules.tokens = vec![lost, kept]);
    let stream = |rig: &mut Rig, token: &str| {
        rig.say(format!("GET /stream HTTP/1.1\r\nAuthorization: Bearer {token}\r\n\r\n").as_bytes())
    };
    let (mut sent_away, mut stays) = (stream(&mut rig, "lost"), stream(&mut rig, "kept"));
    let mut python = rig.say(b"0");
    rig.settle();
    assert_eq!(rig.server.world.viewers, 3);
    let apply = |rig: &mut Rig, tokens: Vec<TokenHash>| {
        let mut settings = rig.server.world.settings.clone();
        settings.rules.tokens = tokens;
        let renderer =
            Renderer::new(Range::PYTHON, Camera::default(), LocalClock::utc(), View::new(&Spec::default()));
        rig.server.apply(settings, renderer, &kinect::Settings::default(), rig.now);
    };
    apply(&mut rig, vec![kept]);
    assert_eq!(rig.closed(Close::TokenGone), 1);
    assert!(!is_open(&mut rig, &mut sent_away));
    assert!(is_open(&mut rig, &mut stays) && is_open(&mut rig, &mut python), "they have done nothing");
    // Nobody is asked, then somebody is again: who came meanwhile has no token.
    apply(&mut rig, Vec::new());
    let mut without = rig.say(b"GET /stream HTTP/1.1\r\n\r\n");
    rig.settle();
    assert!(is_open(&mut rig, &mut without));
    apply(&mut rig, vec![kept]);
    assert!(!is_open(&mut rig, &mut without));
    assert!(is_open(&mut rig, &mut stays), "its token is asked for again");
    assert_eq!(rig.closed(Close::TokenGone), 2);
}

#[test]
fn who_comes_while_the_server_stops_is_refused_at_once() {
    let mut rig = Rig::new(1, "");
    rig.server.leave(&Clock::start()).expect("left");
    let refused = TcpStream::connect(("127.0.0.1", rig.port)).expect_err("nobody listens any more");
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn a_rate_that_is_told_was_measured() {
    let fps = |rig: &mut Rig| {
        let answer = rig.response("GET /state HTTP/1.0\r\n\r\n");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        let state: serde_json::Value = serde_json::from_str(body).expect("JSON");
        state["result"]["source"]["captured_fps"].as_f64().expect("a number")
    };
    let bus = Bus::new();
    let mut rig = Rig::of(bus.feed(START), &Spec::default(), |_| {});
    assert_eq!(fps(&mut rig), 0.0, "there is no sensor");
    let mut rig = Rig::new(0, "");
    rig.pass(Duration::from_secs(6));
    let mut viewer = rig.say(b"GET /stream?fps=10 HTTP/1.1\r\n\r\n");
    for _ in 0..60 {
        rig.hear(&mut viewer, |_| false);
        rig.pass(Duration::from_millis(100));
    }
    let watched = fps(&mut rig);
    assert!((5.0..15.0).contains(&watched), "{watched}");
    drop(viewer);
    rig.pass(Duration::from_secs(6));
    assert_eq!(fps(&mut rig), 0.0, "nobody asks for frames any more");
}

#[test]
fn depth_on_demand_comes_back_with_its_source() {
    let mut rig = Rig::new(0, "vanish@1+1");
    let depth = |rig: &mut Rig| rig.response("GET /depth.rvl HTTP/1.0\r\n\r\n");
    assert!(depth(&mut rig).starts_with("HTTP/1.1 200 "));
    rig.pass(Duration::from_millis(1200));
    // Nobody else is there to ask for frames.
    let mut asked = rig.say(b"GET /depth.rvl HTTP/1.0\r\n\r\n");
    rig.pass(Duration::from_secs(5));
    let (heard, _) = rig.hear(&mut asked, |_| false);
    assert!(heard.starts_with(b"HTTP/1.1 503 "), "{}", heard.escape_ascii());
    // That answer may still be a refusal, but it has the source asked.
    depth(&mut rig);
    rig.pass(Duration::from_millis(100));
    assert!(depth(&mut rig).starts_with("HTTP/1.1 200 "), "depth does not come back");
}

#[test]
fn readers_that_take_for_ever_give_their_places_to_others() {
    let mut rig = Rig::new(1, "");
    let mut slow: Vec<_> = (0..LOBBY).map(|_| greedy(&rig)).collect();
    rig.settle();
    let mut before = rig.server.world.counters.bytes;
    let sip = |slow: &mut Vec<TcpStream>| {
        for stream in slow {
            let (mut taken, mut buffer) = (0, [0; 4096]);
            while taken < 100_000
                && let Ok(n @ 1..) = stream.read(&mut buffer)
            {
                taken += n;
            }
        }
    };
    let served = |rig: &mut Rig| rig.response("GET /healthz HTTP/1.0\r\n\r\n").contains(" 200 OK");
    assert!(!served(&mut rig), "all places are taken by answers that are on their way");
    for _ in 0..3 {
        rig.pass(Duration::from_secs(4));
        sip(&mut slow);
        rig.settle();
        let sent = rig.server.world.counters.bytes;
        assert!(sent > std::mem::replace(&mut before, sent), "nobody took anything: they would be stalled");
    }
    assert!(served(&mut rig), "{} connections that sip keep everybody else out", LOBBY);
    assert_eq!(rig.closed(Close::Evicted), 1);
}
