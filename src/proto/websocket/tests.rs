use super::*;
use proptest::prelude::*;
use std::io::{self, Read};
use tungstenite::protocol::{Role, WebSocket};
use tungstenite::{Message as Said, Utf8Bytes};

const START: Duration = Duration::from_secs(100);

/// A viewer's frame, masked.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        n @ 0..=125 => bytes.push(0x80 | n as u8),
        n @ 126..=0xffff => bytes.extend([&[0xfe][..], &(n as u16).to_be_bytes()].concat()),
        n => bytes.extend([&[0xff][..], &(n as u64).to_be_bytes()].concat()),
    }
    let mask = [0x5a, 0, 0xff, 7];
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

fn open() -> Machine {
    let accept = Accept::new(b"dGhlIHNhbXBsZSBub25jZQ==").expect("a key");
    let mut machine = Machine::new(accept, START);
    machine.begun(Next::Head(accept), 0, START);
    machine.begun(Next::State, 0, START);
    machine
}

/// What becomes of a connection on which a viewer says this.
fn heard(bytes: &[u8]) -> Next {
    let mut machine = open();
    machine.receive(bytes);
    machine.next(0, START)
}

fn refused(bytes: &[u8]) -> Option<Code> {
    match heard(bytes) {
        Next::Close(code) => code,
        next => panic!("{next:?}"),
    }
}

#[test]
fn the_key_of_the_standard_is_answered_as_in_the_standard() {
    let accept = Accept::new(b"dGhlIHNhbXBsZSBub25jZQ==").expect("a key");
    assert_eq!(accept.as_str(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    for bad in ["", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZSE=", "!GhlIHNhbXBsZSBub25jZQ==", "AAAA"]
    {
        assert_eq!(Accept::new(bad.as_bytes()), None, "{bad}");
    }
    let mut head = String::new();
    write_head(&mut head, accept).expect("a String");
    assert!(
        head.len() <= 256 && head.ends_with("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
    );
}

#[test]
fn a_head_of_depth_to_the_byte() {
    let head = DepthHead { seq: 0x0102_0304_0506_0708, captured_us: -2, age_ms: 0x0a0b, length: 0x0001_0000 };
    let bytes = head.to_bytes();
    assert_eq!(
        bytes,
        *b"DPC1\x01\0\0\0\x08\x07\x06\x05\x04\x03\x02\x01\xfe\xff\xff\xff\xff\xff\xff\xff\x0b\x0a\0\0\0\0\x01\0"
    );
    assert_eq!(DepthHead::parse(&bytes), Some(head));
    assert_eq!(DepthHead::parse(&bytes[..31]), None);
    assert_eq!(DepthHead::parse(&[&bytes[..4], &[2, 0], &bytes[6..]].concat()), None, "another version");
}

#[test]
fn first_the_answer_then_the_state_then_depth() {
    let accept = Accept::new(b"dGhlIHNhbXBsZSBub25jZQ==").expect("a key");
    let mut machine = Machine::new(accept, START);
    for (next, state) in [(Next::Head(accept), 7), (Next::State, 7), (Next::Depth, 7), (Next::State, 8)] {
        assert_eq!(machine.next(state, START), next);
        machine.begun(next, state, START);
    }
    assert_eq!(machine.next(8, START), Next::Depth);
    assert_eq!(machine.next(8, START + WS_PING_EVERY), Next::Ping);
    machine.begun(Next::Ping, 8, START + WS_PING_EVERY);
    assert_eq!(machine.next(8, START + WS_PING_EVERY), Next::Depth);
}

#[test]
fn pings_are_answered_the_newest_first_and_only() {
    let mut machine = open();
    machine.receive(&[frame(0x89, b"one"), frame(0x8a, b"unasked"), frame(0x89, &[b'2'; 125])].concat());
    assert_eq!((machine.next(0, START), machine.echo()), (Next::Pong, &[b'2'; 125][..]));
    machine.begun(Next::Pong, 0, START);
    assert_eq!(machine.next(0, START), Next::Depth);
}

#[test]
fn a_goodbye_is_returned_and_ends_it() {
    for (payload, code) in
        [(&b""[..], None), (b"\x03\xe8", Some(Code::Normal)), (b"\x0f\xa0bye", Some(Code::Normal))]
    {
        let mut machine = open();
        machine.receive(&[frame(0x88, payload), frame(0x89, b"too late"), vec![0xff]].concat());
        assert_eq!(machine.next(0, START), Next::Close(code));
        machine.begun(Next::Close(code), 0, START);
        assert_eq!(machine.next(0, START), Next::End(Close::Goodbye));
    }
}

#[test]
fn text_is_heard_and_forgotten() {
    let umlaut = "ä€😀".as_bytes();
    let mut frames = frame(0x81, b"hello");
    frames.extend(frame(0x01, &umlaut[..1]));
    frames.extend(frame(0x89, b"between"));
    for byte in &umlaut[1..umlaut.len() - 1] {
        frames.extend(frame(0x00, &[*byte]));
    }
    frames.extend(frame(0x80, &umlaut[umlaut.len() - 1..]));
    frames.extend(frame(0x81, &[b'x'; WS_MESSAGE_MAX]));
    assert_eq!(heard(&frames), Next::Pong);
}

#[test]
fn broken_rules_are_named() {
    use Code::{InvalidPayload, PolicyViolation, ProtocolError, TooBig, UnsupportedData};
    let cases: &[(&str, Code, Vec<u8>)] = &[
        ("unmasked", ProtocolError, b"\x81\x01a".to_vec()),
        ("a reserved bit", ProtocolError, frame(0xc1, b"a")),
        ("an unknown opcode", ProtocolError, frame(0x83, b"")),
        ("an unknown control opcode", ProtocolError, frame(0x8b, b"")),
        ("binary", UnsupportedData, frame(0x82, b"a")),
        ("a ping in fragments", ProtocolError, frame(0x09, b"a")),
        ("a ping too long", ProtocolError, frame(0x89, &[0; 126])),
        ("a continuation of nothing", ProtocolError, frame(0x80, b"a")),
        ("a message within another", ProtocolError, [frame(0x01, b"a"), frame(0x81, b"b")].concat()),
        ("a length longer than needed", ProtocolError, b"\x81\xfe\0\x01\0\0\0\0a".to_vec()),
        ("the same with eight bytes", ProtocolError, b"\x81\xff\0\0\0\0\0\0\xff\xff\0\0\0\0".to_vec()),
        ("a negative length", ProtocolError, b"\x81\xff\x80\0\0\0\0\0\0\0\0\0\0\0".to_vec()),
        ("too big", TooBig, frame(0x81, &[b'x'; WS_MESSAGE_MAX + 1])),
        ("the biggest", TooBig, b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff".to_vec()),
        ("too big in two", TooBig, [frame(0x01, &[b'x'; WS_MESSAGE_MAX]), frame(0x80, b"x")].concat()),
        ("endless", PolicyViolation, [frame(0x01, b""), frame(0x00, b"").repeat(WS_FRAGMENTS_MAX)].concat()),
        ("no UTF-8", InvalidPayload, frame(0x81, b"\xff")),
        ("half a character", InvalidPayload, frame(0x81, b"\xe2\x82")),
        (
            "a surrogate in fragments",
            InvalidPayload,
            [frame(0x01, b"\xed"), frame(0x80, b"\xa0\x80")].concat(),
        ),
        ("half a close code", ProtocolError, frame(0x88, b"\x03")),
        ("a close code of nobody", ProtocolError, frame(0x88, b"\x03\xed")),
        ("a close reason that is no UTF-8", InvalidPayload, frame(0x88, b"\x03\xe8\xff")),
    ];
    for (what, code, bytes) in cases {
        assert_eq!(refused(bytes), Some(*code), "{what}");
        for n in 1..bytes.len().min(40) {
            let mut machine = open();
            bytes.chunks(n).for_each(|bytes| machine.receive(bytes));
            assert_eq!(machine.next(0, START), Next::Close(Some(*code)), "{what} in pieces of {n}");
        }
    }
}

/// What one end wrote, for the other to read.
#[derive(Default)]
struct Wire {
    sent: Vec<u8>,
    to_read: io::Cursor<Vec<u8>>,
}

impl io::Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sent.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Wire {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self.to_read.read(bytes)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            n => Ok(n),
        }
    }
}

proptest! {
    /// Whatever we send, another implementation understands, at all lengths of a length.
    #[test]
    fn frames_are_read_by_another_implementation(
        length in prop_oneof![0usize..=130, 65_530usize..65_540, Just(300_000)],
        binary in any::<bool>(),
    ) {
        let payload = vec![b'a'; length];
        let opcode = if binary { Opcode::Binary } else { Opcode::Text };
        let bytes = [&frame_head(opcode, length), &payload[..]].concat();
        let wire = Wire { to_read: io::Cursor::new(bytes), ..Wire::default() };
        let read = WebSocket::from_raw_socket(wire, Role::Client, None).read().expect("a message");
        prop_assert_eq!(read.is_binary(), binary);
        prop_assert_eq!(read.into_data(), payload);
    }

    /// Whatever another implementation sends is understood.
    #[test]
    fn frames_of_another_implementation_are_read(text in ".{0,300}", ping in prop::collection::vec(any::<u8>(), 0..126)) {
        let mut peer = WebSocket::from_raw_socket(Wire::default(), Role::Client, None);
        peer.send(Said::Text(Utf8Bytes::from(text))).expect("sent");
        peer.send(Said::Ping(ping.clone().into())).expect("sent");
        let mut machine = open();
        machine.receive(&peer.get_ref().sent);
        prop_assert_eq!((machine.next(0, START), machine.echo()), (Next::Pong, &ping[..]));
        peer.close(None).expect("sent");
        machine = open();
        machine.receive(&peer.get_ref().sent);
        prop_assert_eq!(machine.next(0, START), Next::Close(None));
    }

    /// However bytes are cut, the same becomes of them, and nothing panics.
    #[test]
    fn cuts_do_not_matter(
        parts in prop::collection::vec(prop_oneof![
            (any::<u8>(), prop::collection::vec(any::<u8>(), 0..200)).prop_map(|(first, payload)| frame(first, &payload)),
            (prop_oneof![Just(0x81u8), Just(0x01), Just(0x00), Just(0x80), Just(0x89)], ".{0,40}")
                .prop_map(|(first, text)| frame(first, text.as_bytes())),
            prop::collection::vec(any::<u8>(), 0..20),
        ], 0..12),
        cut in 1usize..50,
    ) {
        let bytes = parts.concat();
        let play = |cut: usize| {
            let mut machine = open();
            bytes.chunks(cut).for_each(|bytes| machine.receive(bytes));
            (machine.next(0, START), machine.echo().to_vec())
        };
        prop_assert_eq!(play(cut), play(usize::MAX));
    }
}
