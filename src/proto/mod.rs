//! The protocols, as machines that own no socket, no clock and no heap.
//!
//! The loop hands a machine the bytes that arrived and asks what comes next; the machine answers with a verdict
//! and the loop alone reads, writes and closes:
//!
//! ```text
//!   bytes --> receive() --> machine --> next() --> Read | Picture | Respond | Close(why)
//!                              ^                              |
//!                              +---------- sent() <-----------+  when the reply has left whole
//! ```
//!
//! A machine takes at most `room()` bytes, so what it cannot take yet stays in the kernel. Nothing a peer sends
//! makes a machine panic; what it must not send ends in [`Close`].

// The Python viewers' protocol: `0`, `1`, `2`.
pub mod legacy;

// The message in it: header, text, pickle.
pub mod pickle;

// Request heads in, response heads out.
pub mod http;

// What stands behind the question mark.
pub mod query;

// The picture stream of browsers and NVRs.
pub mod multipart;

// Depth for the page and for programs.
pub mod websocket;

use std::fmt;

/// Why a connection ended; logged, and counted one by one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Close {
    /// The viewer said goodbye.
    Goodbye,
    /// The peer closed its side and was owed nothing.
    PeerClosed,
    /// The connection broke (reset, no route, timed out in the kernel).
    Broken,
    /// All that was asked is answered: the reply said that the connection would be closed, or nothing more was asked in time.
    Answered,
    /// The first byte, or a byte of the Python protocol, is no command.
    UnknownByte(u8),
    /// The request could not be understood, or is of a kind that is not served; the peer was told.
    BadRequest,
    /// A WebSocket viewer broke a rule; the peer was told this close code.
    BadFrame(u16),
    /// Nothing was said in time.
    Silent,
    /// A request was begun and not ended in time.
    SlowRequest,
    /// No byte of a reply could be sent for too long.
    Stalled,
    /// The viewer held the oldest frame when the ring had no slot left.
    TooSlow,
    /// All places for viewers are taken.
    Full,
    /// The place was needed for somebody else.
    Evicted,
    /// The peer is not in a network that may watch.
    NotAllowed,
    /// The token that the viewer came with is no longer valid, or one is asked for now.
    TokenGone,
    /// The server stops.
    Stopping,
}

impl Close {
    /// All reasons, in the order of [`Close::number`].
    pub const WORDS: [&'static str; 16] = [
        "goodbye",
        "peer_closed",
        "broken",
        "answered",
        "unknown_byte",
        "bad_request",
        "silent",
        "slow_request",
        "stalled",
        "too_slow",
        "full",
        "evicted",
        "not_allowed",
        "bad_frame",
        "stopping",
        "token_gone",
    ];

    /// Position in [`Close::WORDS`], for counters.
    pub fn number(self) -> usize {
        match self {
            Close::Goodbye => 0,
            Close::PeerClosed => 1,
            Close::Broken => 2,
            Close::Answered => 3,
            Close::UnknownByte(_) => 4,
            Close::BadRequest => 5,
            Close::Silent => 6,
            Close::SlowRequest => 7,
            Close::Stalled => 8,
            Close::TooSlow => 9,
            Close::Full => 10,
            Close::Evicted => 11,
            Close::NotAllowed => 12,
            Close::BadFrame(_) => 13,
            Close::Stopping => 14,
            Close::TokenGone => 15,
        }
    }

    /// Whether the peer broke a rule or was too slow: worth a warning. The rest is everyday life.
    pub fn is_fault(self) -> bool {
        use Close::{Answered, Broken, Evicted, Goodbye, PeerClosed, Stopping};
        !matches!(self, Goodbye | PeerClosed | Broken | Answered | Evicted | Stopping)
    }
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Close::UnknownByte(byte) => {
                write!(f, "byte 0x{byte:02x} is no command: viewers send 0, 1 or 2, or an HTTP request")
            }
            Close::Goodbye => f.write_str("the viewer said goodbye"),
            Close::PeerClosed => f.write_str("the peer closed"),
            Close::Broken => f.write_str("the connection broke"),
            Close::Answered => f.write_str("the request was answered"),
            Close::BadRequest => f.write_str("the request was refused"),
            Close::BadFrame(code) => write!(f, "it broke a rule of WebSocket (close code {code})"),
            Close::Silent => f.write_str("nothing was asked in time"),
            Close::SlowRequest => f.write_str("the request did not end in time"),
            Close::Stalled => f.write_str("no progress in sending"),
            Close::TooSlow => f.write_str("it held the oldest frame when all slots were taken"),
            Close::Full => f.write_str("all places for viewers are taken"),
            Close::Evicted => f.write_str("its place was needed"),
            Close::NotAllowed => f.write_str("it is in no network of viewers.allow"),
            Close::TokenGone => f.write_str("its token is not valid any more"),
            Close::Stopping => f.write_str("the server stops"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `PeerClosed` becomes `peer_closed`; what a variant holds is left out.
    fn word_of(close: Close) -> String {
        let name = format!("{close:?}");
        let name = name.split('(').next().expect("a name");
        let mut word = String::new();
        for c in name.chars() {
            if c.is_uppercase() && !word.is_empty() {
                word.push('_');
            }
            word.push(c.to_ascii_lowercase());
        }
        word
    }

    #[test]
    fn every_reason_stands_at_its_number_by_its_name() {
        let every = [
            Close::Goodbye,
            Close::PeerClosed,
            Close::Broken,
            Close::Answered,
            Close::UnknownByte(7),
            Close::BadRequest,
            Close::BadFrame(1002),
            Close::Silent,
            Close::SlowRequest,
            Close::Stalled,
            Close::TooSlow,
            Close::Full,
            Close::Evicted,
            Close::NotAllowed,
            Close::TokenGone,
            Close::Stopping,
        ];
        let mut numbers = every.map(Close::number);
        for (close, number) in every.into_iter().zip(numbers) {
            assert_eq!(Close::WORDS[number], word_of(close));
        }
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..Close::WORDS.len()), "{numbers:?}");
    }
}
