//! What the fuzz targets share: how an input is cut into segments, and conversations played over the machines.
//!
//! An input for a machine is one byte of options, up to 15 cuts, and the bytes that the peer sends:
//!
//! ```text
//!   options: number of cuts (low four bits), may_stop 0x40, the peer half-closes at the end 0x80
//!   cut:     length of a segment, 1 + n²/2 with n its low seven bits; one reply leaves after it 0x80
//! ```
//!
//! Cuts are used over and over; without any, everything arrives at once.

use depthcast::limits;
use depthcast::proto::{Close, http, legacy};

/// An input, taken apart.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The peer may stop the server.
    pub may_stop: bool,
    /// The peer closes its side after its last byte.
    pub half_close: bool,
    /// Where the bytes are cut, as in the module's docs.
    pub cuts: &'a [u8],
    /// What the peer sends.
    pub bytes: &'a [u8],
}

impl<'a> Input<'a> {
    /// Takes any input apart.
    pub fn new(data: &'a [u8]) -> Self {
        let (&options, rest) = data.split_first().unwrap_or((&0, data));
        let (cuts, bytes) = rest.split_at(rest.len().min(usize::from(options & 0x0f)));
        Self { may_stop: options & 0x40 != 0, half_close: options & 0x80 != 0, cuts, bytes }
    }

    /// The same, arriving at once.
    pub fn uncut(self) -> Self {
        Self { cuts: &[], ..self }
    }

    /// Lengths of the segments, endlessly, and whether a reply leaves after each.
    fn segments(self) -> impl Iterator<Item = (usize, bool)> {
        let one = |cut: u8| (1 + usize::from(cut & 0x7f).pow(2) / 2, cut & 0x80 != 0);
        self.cuts.iter().map(move |cut| one(*cut)).cycle().chain(std::iter::repeat((usize::MAX, false)))
    }
}

/// A conversation of the Python protocol: pictures sent, what came after them, and whether a stop was refused.
///
/// # Panics
/// If the machine is owed more than [`limits::OWED_MAX`], or its room is not what is left of that.
pub fn legacy_talk(input: Input) -> (usize, legacy::Next, bool) {
    let mut machine = legacy::Machine::default();
    let (mut pictures, mut obeyed, mut rest) = (0, true, input.bytes);
    let mut segments = input.segments();
    // The machine must ignore what is beyond its room, so it is offered more.
    while !rest.is_empty()
        && let Some((length, sends)) = segments.next()
    {
        let offered = &rest[..rest.len().min(length)];
        let room = machine.room();
        assert!(room <= usize::from(limits::OWED_MAX));
        obeyed &= machine.receive(offered, input.may_stop);
        rest = &rest[offered.len().min(room)..];
        if machine.next() == legacy::Next::Picture && (sends || machine.room() == 0) {
            machine.sent();
            pictures += 1;
        } else if machine.room() == 0 {
            break;
        }
    }
    if input.half_close {
        machine.half_closed();
    }
    let mut owed = 0;
    while machine.next() == legacy::Next::Picture {
        machine.sent();
        owed += 1;
    }
    assert!(owed <= usize::from(limits::OWED_MAX), "{owed} replies were owed");
    (pictures + owed, machine.next(), !obeyed)
}

/// What [`legacy_talk`] must come to, from the table of the protocol alone.
pub fn legacy_expected(input: Input) -> (usize, legacy::Next, bool) {
    let pictures = input.bytes.iter().take_while(|byte| **byte == b'0').count();
    let (next, refused) = match input.bytes.get(pictures) {
        None if input.half_close => (legacy::Next::Close(Close::PeerClosed), false),
        None => (legacy::Next::Read, false),
        Some(b'1') => (legacy::Next::Close(Close::Goodbye), false),
        Some(b'2') if input.may_stop => (legacy::Next::Shutdown, false),
        Some(b'2') => (legacy::Next::Close(Close::Goodbye), true),
        Some(other) => (legacy::Next::Close(Close::UnknownByte(*other)), false),
    };
    (pictures, next, refused)
}

/// An HTTP conversation: all requests in their order, and what came after them.
///
/// # Panics
/// If the machine asks for more and has no room, or an answer is longer than its bound.
pub fn http_talk(input: Input) -> (Vec<http::Request>, http::Next) {
    let mut machine = http::Machine::default();
    let (mut requests, mut rest) = (Vec::new(), input.bytes);
    let mut segments = input.segments();
    loop {
        match machine.next() {
            http::Next::Respond(request) => {
                assert_eq!(machine.room(), 0, "the next request waits in the kernel");
                if let http::Target::Refused(status, why) = request.target {
                    let mut head = String::new();
                    http::write_head(&mut head, status, "text/plain", why.len(), request.keep_alive, "")
                        .expect("a String");
                    assert!(head.len() <= limits::RESPONSE_HEAD_MAX);
                }
                requests.push(request);
                machine.sent();
            }
            http::Next::Read if !rest.is_empty() => {
                let (length, _) = segments.next().expect("endless");
                let offered = &rest[..rest.len().min(length)];
                let room = machine.room();
                assert!(room > 0, "more is asked for and nothing is taken");
                machine.receive(offered);
                rest = &rest[offered.len().min(room)..];
            }
            http::Next::Read if input.half_close => machine.half_closed(),
            next => return (requests, next),
        }
    }
}
