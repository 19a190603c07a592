//! What the fuzz targets share: how an input is cut into segments, conversations played over the machines, and a
//! sensor's packets with a way to lose them ([`StreamTalk`]).
//!
//! An input for a machine is one byte of options, up to 15 cuts, and the bytes that the peer sends:
//!
//! ```text
//!   options: number of cuts (low four bits), may_stop 0x40, the peer half-closes at the end 0x80
//!   cut:     length of a segment, 1 + n²/2 with n its low seven bits; one reply leaves after it 0x80
//! ```
//!
//! Cuts are used over and over; without any, everything arrives at once.

use std::time::Duration;

use depthcast::access::Rules;
use depthcast::limits;
use depthcast::proto::{Close, http, legacy};
use kinect2::protocol::{FOOTER_BYTES, Footer, LAST_PACKET_BYTES, PACKET_BYTES};
use kinect2::stream::{Counters, FrameInfo, PacketStatus, Rows, Stream};

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
    let rules = Rules::default();
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
                machine.sent(&rules);
            }
            http::Next::Read if !rest.is_empty() => {
                let (length, _) = segments.next().expect("endless");
                let offered = &rest[..rest.len().min(length)];
                let room = machine.room();
                assert!(room > 0, "more is asked for and nothing is taken");
                machine.receive(offered, &rules);
                rest = &rest[offered.len().min(room)..];
            }
            http::Next::Read if input.half_close => machine.half_closed(),
            next => return (requests, next),
        }
    }
}

/// The value of the first pair of a query with this key, decoded, the plain way.
pub fn query_value(query: &str, key: &str) -> Option<Vec<u8>> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut values = pairs.filter(|(k, _)| k.eq_ignore_ascii_case(key));
    values.next().map(|(_, value)| unescape(value))
}

/// `+` as a space, `%41` as `A`, what is no escape as it stands.
fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes
            .get(at + 1..at + 3)
            .filter(|hex| bytes[at] == b'%' && hex.iter().all(u8::is_ascii_hexdigit));
        match hex.and_then(|hex| str::from_utf8(hex).ok()) {
            Some(hex) => {
                out.push(u8::from_str_radix(hex, 16).expect("two digits"));
                at += 3;
            }
            None => {
                out.push(if bytes[at] == b'+' { b' ' } else { bytes[at] });
                at += 1;
            }
        }
    }
    out
}

/// A sensor, and two parsers that get the same of it: one for a decoder, one for a recorder.
///
/// An input is a row of bytes, the upper three bits what happens, the lower five `n` how often or much:
///
/// ```text
///   0x00  n + 1 intervals arrive as they are            0x80  the next has a bad status and 1300 n bytes
///   0x20  8 n + 8 intervals                             0xa0  the next has 1100 n + 1 bytes
///   0x40  n + 1 intervals are not even seen             0xc0  the next footer says something else: `lie`
///   0x60  n + 1 intervals seem empty                    0xe0  n frames' time is not seen; the stream restarts for 0
/// ```
#[derive(Debug)]
pub struct StreamTalk {
    /// The interval that is next, since the sensor was switched on.
    interval: u32,
    /// A footer lied about its place, so a frame can be said to be whole that is not.
    lied: bool,
    streams: [(Stream, Tags); 2],
    packet: Vec<u8>,
}

/// A target: of all rows only what the sensor wrote at the start of their packet.
#[derive(Debug)]
struct Tags {
    last_sub_image: usize,
    /// Frame, sub-image and packet.
    tags: Vec<[u32; 3]>,
    /// The last frame that was handed out since the last start. In front of the first loss cannot be known.
    frame: Option<FrameInfo>,
}

impl Rows for Tags {
    fn last_sub_image(&self) -> usize {
        self.last_sub_image
    }

    fn begin(&mut self) {
        self.tags.clear();
    }

    fn take(&mut self, sub_image: usize, first_row: usize, bytes: &[u8]) -> bool {
        assert_eq!(sub_image * 9 + first_row / 48, self.tags.len(), "rows out of order");
        assert_eq!(bytes.len(), 704 * if first_row < 384 { 48 } else { 40 });
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        self.tags.push([0, 4, 8].map(word));
        true
    }
}

/// Intervals after which the rest of an input is left.
const INTERVALS_MAX: u32 = 12 * 266;

impl StreamTalk {
    /// Plays an input from the start and returns what the two parsers counted, frames complete as if dropped.
    ///
    /// # Panics
    /// If a frame is handed out that is not whole, is made of two, or is the recorder's alone.
    pub fn play(data: &[u8]) -> (Counters, Counters) {
        let stream = |last_sub_image| {
            (Stream::new(), Tags { last_sub_image, tags: Vec::with_capacity(90), frame: None })
        };
        let mut talk =
            StreamTalk { interval: 0, lied: false, streams: [stream(8), stream(9)], packet: vec![0; 50_000] };
        for byte in data {
            if talk.interval >= INTERVALS_MAX {
                break;
            }
            talk.obey(byte & 0xe0, u32::from(byte & 0x1f));
        }
        let counters = talk.streams.map(|(mut stream, _)| {
            stream.restart();
            let count = *stream.counters();
            let frames_dropped = count.frames_dropped + count.frames_complete;
            Counters { frames_complete: 0, frames_dropped, ..count }
        });
        counters.into()
    }

    fn obey(&mut self, what: u8, n: u32) {
        match what {
            0x00 => (0..=n).for_each(|_| self.send(|_, _| {})),
            0x20 => (0..8 * n + 8).for_each(|_| self.send(|_, _| {})),
            0x40 => self.interval += n + 1,
            0x60 => (0..=n).for_each(|_| self.send(|length, _| *length = 0)),
            0x80 => {
                let length = 1300 * n as usize;
                self.give(PacketStatus::Bad, length);
                self.interval += 1;
            }
            0xa0 => self.send(|length, _| *length = 1100 * n as usize + 1),
            0xc0 => {
                while !matches!(content(self.interval % 266), Some((_, 8))) {
                    self.send(|_, _| {});
                }
                self.lied |= !matches!(n, 10..=17);
                self.send(|_, footer| lie(footer, n));
            }
            _ if n == 0 => {
                for (stream, tags) in &mut self.streams {
                    stream.restart();
                    tags.frame = None;
                }
            }
            _ => self.interval += n * 266,
        }
    }

    /// The next interval; `change` may do something to the length of its packet and to its footer.
    fn send(&mut self, change: impl Fn(&mut usize, &mut Footer)) {
        let (frame, place) = (self.interval / 266, self.interval % 266);
        let mut length = 0;
        // From just before the wrap.
        let mut footer = Footer::new(frame * 266, (65_530 + frame) & 0xffff, 0);
        if let Some((sub_image, packet)) = content(place) {
            length = if packet == 8 { LAST_PACKET_BYTES } else { PACKET_BYTES };
            for (to, word) in self.packet.chunks_exact_mut(4).zip([frame, sub_image, packet]) {
                to.copy_from_slice(&word.to_le_bytes());
            }
            footer.subsequence = sub_image;
        }
        change(&mut length, &mut footer);
        self.packet[LAST_PACKET_BYTES - FOOTER_BYTES..LAST_PACKET_BYTES].copy_from_slice(&footer.to_bytes());
        self.give(PacketStatus::Good, length);
        self.interval += 1;
    }

    fn give(&mut self, status: PacketStatus, length: usize) {
        let now = Duration::from_micros(u64::from(self.interval) * 125);
        for (stream, tags) in &mut self.streams {
            let Some(info) = stream.packet(now, status, &self.packet[..length], tags) else { continue };
            assert_eq!(tags.tags.len(), 9 * (tags.last_sub_image + 1));
            if tags.frame.replace(info).is_some() && !self.lied {
                let frame = self.interval / 266;
                for (number, tag) in (0..).zip(&tags.tags) {
                    assert_eq!(*tag, [frame, number / 9, number % 9], "a frame of two");
                }
            }
        }
        let [(_, decoded), (recorder, recorded)] = &self.streams;
        if recorder.counters().frames_complete > 0 && recorded.tags.len() == 90 {
            assert_eq!(recorded.frame, decoded.frame, "a decoder had no such frame");
        }
    }
}

/// Sub-image and packet of an interval of a frame, if it has data.
fn content(place: u32) -> Option<(u32, u32)> {
    (place < 120 && place % 12 < 9).then_some((place / 12, place % 12))
}

/// What else a footer can say.
fn lie(footer: &mut Footer, n: u32) {
    match n {
        0..10 => footer.subsequence = n,
        10..14 => footer.subsequence = 10 << (8 * (n - 10)),
        14 => footer.length = 0,
        15 => footer.length = u32::MAX,
        16 => footer.magic = [9, 0],
        17 => footer.timestamp = u32::MAX,
        18..25 => footer.sequence += n - 17,
        _ => footer.sequence = footer.sequence.wrapping_sub(1 << (n - 25)),
    }
}
