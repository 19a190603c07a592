//! One connection: its socket, what it speaks, what it is being sent, and how long that may take.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use super::pool::{Lease, Pool};
use super::socket::Stream;
use crate::access::TokenHash;
use crate::clock::Now;
use crate::limits::{DRAINED, FIRST_BYTE, GATE_EVERY, KEEP_ALIVE, REQUEST_TIME};
use crate::metrics::Protocol;
use crate::peer::Peer;
use crate::proto::{Close, http, legacy, multipart, websocket};
use crate::ring::{Form, Pin, Ring};

/// What a connection speaks.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "places are set aside at start: a box would allocate per connection"
)]
pub(super) enum Phase {
    /// Nothing yet: its first byte will tell.
    Unspoken,
    /// The Python protocol.
    Legacy(legacy::Machine),
    /// Requests and answers.
    Http(http::Machine),
    /// The picture stream.
    Stream(multipart::Machine),
    /// Depth and state over a WebSocket.
    WebSocket(websocket::Machine),
    /// The last answer has left; what the peer still sends is read, so that no reset overtakes the answer.
    Draining {
        /// Why the connection ends.
        close: Close,
        /// When to stop waiting for the peer.
        until: Duration,
    },
}

/// One connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) stream: Stream,
    pub(super) peer: Peer,
    pub(super) id: u64,
    pub(super) phase: Phase,
    pub(super) out: Out,
    /// The kernel has, or may have, something to read or room to write; cleared when it says that it has not.
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// The kernel says that the connection has ended both ways; what it says of the queue then means nothing.
    pub(super) dead: bool,
    /// When it was accepted.
    pub(super) opened: Now,
    /// When a byte last moved, either way; what a viewer of the stream says does not count.
    pub(super) progress: Duration,
    /// When the kernel first refused part of what was to be sent; `None` once the peer has had all it asked for.
    pub(super) blocked: Option<Duration>,
    /// When the request that is being read was begun.
    pub(super) request_begun: Option<Duration>,
    /// What a viewer of a stream or a WebSocket was let in with.
    pub(super) token: Option<TokenHash>,
    /// Serial number of the newest frame given.
    pub(super) had: u64,
    /// Sequence number and capture time of the picture being sent, or sent last.
    pub(super) shown: Option<(u64, Duration)>,
    pub(super) sent: u64,
    pub(super) skipped: u64,
    /// When to look again whether the kernel's queue has drained, while a newer frame waits for that.
    pub(super) gate: Option<Duration>,
    /// When something is to be sent though nothing happened.
    pub(super) wake: Option<Duration>,
    /// Bytes that the kernel still had queued at the last look.
    queued: usize,
}

/// What came of reading.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Got {
    Bytes(usize),
    End,
    Nothing,
    Failed,
}

/// What came of writing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Put {
    /// All that was to be sent has left.
    All,
    /// The kernel takes no more for now.
    Blocked,
    Failed,
}

impl Conn {
    pub(super) fn new(stream: Stream, peer: Peer, id: u64, now: Now) -> Self {
        Self {
            stream,
            peer,
            id,
            phase: Phase::Unspoken,
            out: Out::default(),
            readable: true,
            writable: true,
            dead: false,
            opened: now,
            progress: now.mono,
            blocked: None,
            request_begun: None,
            token: None,
            had: 0,
            shown: None,
            sent: 0,
            skipped: 0,
            gate: None,
            wake: None,
            queued: 0,
        }
    }

    /// Whether it holds one of the places for viewers.
    pub(super) fn is_viewer(&self) -> bool {
        matches!(self.phase, Phase::Legacy(_) | Phase::Stream(_) | Phase::WebSocket(_))
    }

    /// What it speaks, for counters and `/state`.
    pub(super) fn protocol(&self) -> Protocol {
        match self.phase {
            Phase::Unspoken => Protocol::None,
            Phase::Legacy(_) => Protocol::Python,
            Phase::Http(_) | Phase::Draining { .. } => Protocol::Http,
            Phase::Stream(_) => Protocol::Stream,
            Phase::WebSocket(_) => Protocol::WebSocket,
        }
    }

    /// How it wants its stream, if it is one.
    pub(super) fn options(&self) -> Option<multipart::Options> {
        match &self.phase {
            Phase::Stream(machine) => Some(machine.options()),
            _ => None,
        }
    }

    /// When to give up on the peer, and what for. `None`: never; it is waiting for us.
    pub(super) fn deadline(&self, stall: Duration) -> Option<(Duration, Close)> {
        if self.out.is_pending() || self.gate.is_some() {
            return Some((self.progress + stall, Close::Stalled));
        }
        match &self.phase {
            Phase::Unspoken => Some((self.opened.mono + FIRST_BYTE, Close::Silent)),
            Phase::Http(machine) => match (machine.next(), self.request_begun) {
                (http::Next::Read, Some(begun)) => Some((begun + REQUEST_TIME, Close::SlowRequest)),
                (http::Next::Read, None) => Some((self.progress + KEEP_ALIVE, Close::Answered)),
                _ => None,
            },
            Phase::Draining { close, until } => Some((*until, *close)),
            Phase::Legacy(_) | Phase::Stream(_) | Phase::WebSocket(_) => None,
        }
    }

    /// Whether all but the last bytes of what was sent have arrived; if not, asks to be looked at again soon.
    pub(super) fn has_drained(&mut self, now: Duration) -> bool {
        // After a reset the queue keeps its length for ever. Sending tells what has become of the connection.
        let queued = if self.dead { 0 } else { self.stream.queued() };
        if queued < self.queued {
            self.progress = now;
        }
        self.queued = queued;
        let drained = queued <= DRAINED;
        self.gate = (!drained).then_some(now + GATE_EVERY);
        drained
    }

    /// Reads once. Never clears readiness on a short read: only the kernel's "would block" counts.
    pub(super) fn read(&mut self, buffer: &mut [u8], now: Duration) -> Got {
        loop {
            if !self.readable {
                self.blocked = None;
                return Got::Nothing;
            }
            match self.stream.read(buffer) {
                Ok(0) => {
                    self.readable = false;
                    return Got::End;
                }
                Ok(n) => {
                    // Talking does not excuse a viewer from reading.
                    if !matches!(self.phase, Phase::Stream(_) | Phase::WebSocket(_)) {
                        self.progress = now;
                    }
                    return Got::Bytes(n);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Got::Failed,
            }
        }
    }

    /// Sends what is pending until it has left or the kernel takes no more, and says how many bytes that were.
    ///
    /// Head, picture and tail leave in one `writev` from where they are: the only copy is the kernel's own. That copy is
    /// two thirds of what a frame costs to send (6.6 of 10 us for 41 kB on loopback, `perf`; the look at the queue before
    /// it is half a microsecond). `MSG_ZEROCOPY` would save it, and is not used:
    ///
    /// * On loopback nothing is saved, for the kernel copies when the bytes reach the other socket: 23 us instead of 12 for
    ///   41 kB, 68 instead of 51 for 217 kB (100 receivers, medians of three; every notification said "copied").
    /// * To a real network a gigabit a second takes 125 MB/s at most, which a small board copies in 3 to 6 % of one core. Against
    ///   that stand, for each frame and viewer, pinning and releasing some ten pages and a `recvmsg` for the notification.
    /// * A slot could be used again only when the slowest viewer's last segment is acknowledged, not when the kernel has
    ///   its bytes. With eight slots that makes viewers on thin links `too_slow` who are not.
    /// * Who has not acknowledged locks memory (`RLIMIT_MEMLOCK`, `net.core.optmem_max`), and is refused with `ENOBUFS`.
    pub(super) fn write(&mut self, text: &Text, ring: &Ring, pool: &Pool, now: Duration) -> (Put, usize) {
        let mut total = 0;
        while self.out.is_pending() {
            if !self.writable {
                self.blocked.get_or_insert(now);
                return (Put::Blocked, total);
            }
            match self.out.write_once(&mut self.stream, text, ring, pool) {
                Ok(0) => return (Put::Failed, total),
                Ok(n) => {
                    self.progress = now;
                    total += n;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return (Put::Failed, total),
            }
        }
        (Put::All, total)
    }
}

/// What a connection is being sent: text of its own, then a body that others may share, then a tail, then more text.
#[derive(Debug, Default)]
pub(super) struct Out {
    /// Bytes of the connection's [`Text`] that belong to the message.
    pub(super) text: usize,
    pub(super) body: Body,
    pub(super) tail: &'static [u8],
    /// Bytes of the [`Text`] that follow the tail; they stand behind the first ones.
    after: usize,
    /// Bytes sent of all four together.
    sent: usize,
    /// All four together.
    total: usize,
}

/// The middle of a message.
#[derive(Debug, Default)]
pub(super) enum Body {
    #[default]
    None,
    /// Part of the program.
    Fixed(&'static [u8]),
    /// One representation of a pinned frame.
    Slot(Pin, Form),
    /// A long answer in a buffer that is lent for it.
    Lent(Lease),
}

impl Out {
    /// Begins a message; its `text` bytes are in the connection's [`Text`].
    pub(super) fn begin(&mut self, text: usize, body: Body, tail: &'static [u8], ring: &Ring) {
        let body_len = match &body {
            Body::None => 0,
            Body::Fixed(bytes) => bytes.len(),
            Body::Slot(pin, form) => slot_bytes(ring, pin, *form).len(),
            Body::Lent(lease) => lease.len(),
        };
        *self = Out { text, body, tail, after: 0, sent: 0, total: text + body_len + tail.len() };
    }

    /// Has the message just begun end with `after` bytes of the connection's [`Text`] that were written behind those.
    pub(super) fn end_with(&mut self, after: usize) {
        self.after = after;
        self.total += after;
    }

    /// Whether a message was begun and [`Out::end`] has not ended it.
    pub(super) fn is_begun(&self) -> bool {
        self.total > 0
    }

    /// Whether something is still to be sent.
    pub(super) fn is_pending(&self) -> bool {
        self.sent < self.total
    }

    /// Which representation of a frame the message brings, and in which slot it is.
    pub(super) fn picture(&self) -> Option<(&Pin, Form)> {
        match &self.body {
            Body::Slot(pin, form) => Some((pin, *form)),
            Body::None | Body::Fixed(_) | Body::Lent(_) => None,
        }
    }

    /// The pin that the message holds.
    pub(super) fn pin(&self) -> Option<&Pin> {
        match &self.body {
            Body::Slot(pin, _) => Some(pin),
            Body::None | Body::Fixed(_) | Body::Lent(_) => None,
        }
    }

    /// Ends the message, sent or not, and gives back what it held.
    pub(super) fn end(&mut self, ring: &mut Ring, pool: &mut Pool) {
        match std::mem::take(self).body {
            Body::Slot(pin, _) => ring.release(pin),
            Body::Lent(lease) => pool.give_back(lease),
            Body::None | Body::Fixed(_) => {}
        }
    }

    fn write_once(
        &mut self,
        stream: &mut Stream,
        text: &Text,
        ring: &Ring,
        pool: &Pool,
    ) -> io::Result<usize> {
        let (text, after) = text.bytes()[..self.text + self.after].split_at(self.text);
        let body = match &self.body {
            Body::None => &[][..],
            Body::Fixed(bytes) => bytes,
            Body::Slot(pin, form) => slot_bytes(ring, pin, *form),
            Body::Lent(lease) => pool.bytes(lease),
        };
        // Usually nothing of the text is left after the first write, or there was none: then one plain slice goes.
        let mut skip = self.sent;
        let parts = [text, body, self.tail, after].map(|part| {
            let rest = &part[skip.min(part.len())..];
            skip = skip.saturating_sub(part.len());
            IoSlice::new(rest)
        });
        let n = stream.write_vectored(&parts)?;
        self.sent += n;
        Ok(n)
    }
}

fn slot_bytes<'a>(ring: &'a Ring, pin: &Pin, form: Form) -> &'a [u8] {
    // A message is begun only when its representation is made, and a pinned slot keeps what it has.
    ring.slot(pin).bytes(form).unwrap_or_default()
}

/// Text of bounded length in memory that is set aside once.
#[derive(Debug, Default)]
pub(super) struct Text<R = Box<[u8]>> {
    buffer: R,
    len: usize,
}

impl Text {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self::new(vec![0; bytes].into_boxed_slice())
    }
}

impl<R: DerefMut<Target = [u8]>> Text<R> {
    pub(super) fn new(buffer: R) -> Self {
        Self { buffer, len: 0 }
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// Appends bytes, all or none.
    pub(super) fn write_bytes(&mut self, bytes: &[u8]) -> fmt::Result {
        let end = self.len + bytes.len();
        self.buffer.get_mut(self.len..end).ok_or(fmt::Error)?.copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }
}

impl<R: Deref<Target = [u8]>> Text<R> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn capacity(&self) -> usize {
        self.buffer.len()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}

impl<R: DerefMut<Target = [u8]>> fmt::Write for Text<R> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.write_bytes(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    #[test]
    fn text_is_full_when_it_is_full_and_keeps_what_fitted() {
        let mut text = Text::with_capacity(5);
        write!(text, "abc").expect("fits");
        assert!(write!(text, "def").is_err());
        assert_eq!(text.bytes(), b"abc");
        text.clear();
        write!(text, "12345").expect("fits");
        assert_eq!(text.bytes(), b"12345");
    }
}
