//! What a WebSocket viewer says comes to the same however it is cut, and what we answer is what its rules demand.
#![no_main]

use std::time::Duration;

use depthcast::proto::websocket::{Accept, DepthHead, Machine, Next};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let (cut, bytes) = data.split_first().unwrap_or((&0, data));
    assert_eq!(play(bytes, 1 + usize::from(*cut)), play(bytes, usize::MAX));
    if let Some(head) = DepthHead::parse(bytes) {
        // All but the flags, which are not read.
        let written = head.to_bytes();
        assert_eq!((&written[..6], &written[8..]), (&bytes[..6], &bytes[8..32]));
    }
    let _ = Accept::new(bytes);
});

/// What a viewer is answered when its bytes come in pieces.
fn play(bytes: &[u8], cut: usize) -> (Next, Vec<u8>) {
    let accept = Accept::new(b"dGhlIHNhbXBsZSBub25jZQ==").expect("a key");
    let mut machine = Machine::new(accept, Duration::ZERO);
    machine.begun(Next::Head(accept), 0, Duration::ZERO);
    machine.begun(Next::State, 0, Duration::ZERO);
    for piece in bytes.chunks(cut) {
        machine.receive(piece);
    }
    let next = machine.next(0, Duration::ZERO);
    assert!(matches!(next, Next::Depth | Next::Pong | Next::Close(_)), "{next:?}");
    (next, machine.echo().to_vec())
}
