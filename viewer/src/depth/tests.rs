use super::*;

use depthcast::proto::websocket::{Opcode, frame_head};
use proptest::prelude::*;

const WIDTH: usize = 20;

fn mm() -> Vec<u16> {
    (0..WIDTH as u16 * 15).map(|n| if n % 7 == 0 { 0 } else { 500 + 13 * n }).collect()
}

/// A message as depthcast sends it.
fn message(seq: u64) -> Vec<u8> {
    let depth = mm();
    let mut image = vec![0; rvl::bound(depth.len())];
    let length = rvl::encode(&depth, WIDTH, &mut image);
    let head = DepthHead { seq, captured_us: 5, age_ms: 6, length: u32::try_from(length).unwrap() };
    [&head.to_bytes()[..], &image[..length]].concat()
}

fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    [&frame_head(opcode, payload.len())[..], payload].concat()
}

/// The answer that belongs to what the client asks.
fn answer(client: &Client) -> Vec<u8> {
    let request = str::from_utf8(client.to_send()).unwrap();
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
    let accept = Accept::new(key.as_bytes()).unwrap();
    let mut head = String::new();
    depthcast::proto::websocket::write_head(&mut head, accept).unwrap();
    head.into_bytes()
}

/// All that comes of `bytes` in pieces of `cut`.
fn hear(client: &mut Client, bytes: &[u8], cut: usize) -> Result<Vec<u64>, Broken> {
    let mut heard = Vec::new();
    for mut piece in bytes.chunks(cut) {
        while let Some(depth) = client.receive(&mut piece)? {
            assert_eq!((depth.width, depth.height, &depth.mm), (WIDTH, 15, &mm()));
            heard.push(depth.head.seq);
        }
    }
    Ok(heard)
}

#[test]
fn asking_is_what_the_server_understands() {
    let client = Client::new("camera:8080", Some("s3cret"));
    let request = str::from_utf8(client.to_send()).unwrap();
    assert!(
        request.starts_with("GET /ws HTTP/1.1\r\nHost: camera:8080\r\n") && request.ends_with("\r\n\r\n")
    );
    assert!(request.contains("\r\nAuthorization: Bearer s3cret\r\n"));
    let mut machine = depthcast::proto::http::Machine::default();
    machine.receive(
        client.to_send(),
        &depthcast::access::Rules { names: vec!["camera".parse().unwrap()], ..Default::default() },
    );
    let depthcast::proto::http::Next::Respond(request) = machine.next() else { panic!("no request") };
    assert!(matches!(request.target, depthcast::proto::http::Target::WebSocket(_)), "{request:?}");
    assert!(!str::from_utf8(Client::new("c:1", None).to_send()).unwrap().contains("Authorization"));
}

#[test]
fn depth_comes_however_it_is_cut() {
    for cut in [1, 2, 3, 7, 100, 1000, 100_000] {
        let mut client = Client::new("c:1", None);
        let mut bytes = answer(&client);
        bytes.extend(frame(Opcode::Text, br#"{"online":true}"#));
        bytes.extend(frame(Opcode::Binary, &message(1)));
        bytes.extend(frame(Opcode::Ping, b"are you there"));
        bytes.extend(frame(Opcode::Binary, &message(2)));
        let request = client.to_send().len();
        client.sent(request);
        assert_eq!(hear(&mut client, &bytes, cut), Ok(vec![1, 2]), "{cut}");
        // The pong, masked: unmasked it says what the ping said.
        let pong = client.to_send();
        assert_eq!(pong[..2], [0x8a, 0x80 | 13]);
        let unmasked: Vec<u8> = pong[6..].iter().zip(pong[2..6].iter().cycle()).map(|(a, b)| a ^ b).collect();
        assert_eq!(unmasked, b"are you there");
    }
}

#[test]
fn a_message_in_fragments_is_one() {
    let mut client = Client::new("c:1", None);
    let whole = message(9);
    let (a, b) = whole.split_at(50);
    let mut bytes = answer(&client);
    let mut first = frame(Opcode::Binary, a);
    first[0] &= 0x7f;
    let mut last = frame(Opcode::Binary, b);
    last[0] = 0x80;
    bytes.extend([first, frame(Opcode::Ping, b""), last].concat());
    assert_eq!(hear(&mut client, &bytes, 11), Ok(vec![9]));
}

#[test]
fn refusals_are_told() {
    let refused = |answer: &str| Client::new("c:1", None).receive(&mut answer.as_bytes()).unwrap_err();
    assert_eq!(refused("HTTP/1.1 401 Unauthorized\r\n\r\n"), Broken::Token);
    let other = refused("HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nthis name is not\n");
    assert_eq!(other, Broken::Answer(403, "this name is not".into()));
    assert!(matches!(refused("SSH-2.0-OpenSSH\r\n\r\n"), Broken::Protocol(_)));
    assert!(matches!(refused("HTTP/1.1 101 x\r\nSec-WebSocket-Accept: AAAA\r\n\r\n"), Broken::Protocol(_)));
    assert!(matches!(refused(&"x".repeat(10_000)), Broken::Protocol(_)));
    assert!(Broken::Token.to_string().contains("--token"));
}

#[test]
fn what_breaks_a_rule_ends_it() {
    let hears = |bytes: &[u8]| {
        let mut client = Client::new("c:1", None);
        let answer = answer(&client);
        hear(&mut client, &[&answer, bytes].concat(), 64)
    };
    assert_eq!(hears(&[0x82, 127, 0, 0, 0, 1, 0, 0, 0, 0]), Err(Broken::TooLarge), "4 GB");
    assert_eq!(hears(&[0x82, 127, 0xff, 0, 0, 1, 0, 0, 0, 0]), Err(Broken::TooLarge));
    for broken in [
        &[0xc2, 0][..],
        &[0x82, 0x80],
        &[0x80, 0],
        &[0x89, 126, 0, 200],
        &[0x09, 0],
        &[0x83, 0],
        &[0x02, 0, 0x82, 0],
    ] {
        assert!(matches!(hears(broken), Err(Broken::Protocol(_))), "{broken:x?}");
    }
    assert_eq!(hears(&frame(Opcode::Close, &[3, 232])), Err(Broken::Closed));
    assert_eq!(hears(&frame(Opcode::Binary, b"short")), Err(Broken::Head));
    let mut longer = message(1);
    longer.push(0);
    assert_eq!(
        hears(&frame(Opcode::Binary, &longer)),
        Err(Broken::Head),
        "the head's length is that of the rest"
    );
    let mut vast = message(1);
    vast[DEPTH_HEAD_LEN + 12..][..8].fill(0xff);
    assert_eq!(hears(&frame(Opcode::Binary, &vast)), Err(Broken::TooLarge));
    let mut empty = message(1);
    empty[DEPTH_HEAD_LEN + 12..][..8].fill(0);
    assert_eq!(hears(&frame(Opcode::Binary, &empty)), Err(Broken::Head));
    let mut lying = message(1);
    lying[DEPTH_HEAD_LEN + 12] += 1;
    assert!(matches!(hears(&frame(Opcode::Binary, &lying)), Err(Broken::Rvl(_))));
}

proptest! {
    #[test]
    fn any_bytes_come_to_the_same_however_cut(bytes in prop::collection::vec(any::<u8>(), 0..600), cut in 1usize..50) {
        let hears = |cut| {
            let mut client = Client::new("c:1", None);
            let answer = answer(&client);
            hear(&mut client, &answer, 4096).unwrap();
            hear(&mut client, &bytes, cut)
        };
        prop_assert_eq!(hears(cut), hears(usize::MAX));
    }
}
