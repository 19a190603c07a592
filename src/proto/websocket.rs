//! WebSocket (RFC 6455), the server's side: `/ws` for the page and for programs.
//!
//! The server speaks: depth in binary messages, its state in text messages. What a viewer may say is little, so no
//! message of a viewer is ever stored: control frames have a small buffer, text is checked and forgotten, and whatever
//! breaks a rule ends the connection with the close code that names it.

use std::fmt::{self, Write};
use std::time::Duration;

use data_encoding::BASE64;
use sha1::{Digest, Sha1};

use crate::limits::{WS_FRAGMENTS_MAX, WS_MESSAGE_MAX, WS_PING_EVERY};
use crate::proto::Close;

/// The answer to the client's key, which proves that the request was understood.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Accept([u8; 28]);

impl Accept {
    /// The answer to `key`, the value of `Sec-WebSocket-Key`; `None` unless that is the Base64 of 16 bytes.
    pub fn new(key: &[u8]) -> Option<Self> {
        let mut decoded = [0; 18];
        if key.len() != 24 || BASE64.decode_mut(key, &mut decoded).ok() != Some(16) {
            return None;
        }
        // RFC 6455, section 4.2.2.
        let hash =
            Sha1::new().chain_update(key).chain_update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize();
        let mut accept = [0; 28];
        BASE64.encode_mut(&hash, &mut accept);
        Some(Self(accept))
    }

    /// The value of `Sec-WebSocket-Accept`.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("Base64 is ASCII")
    }
}

/// Writes the answer after which the connection speaks WebSocket.
///
/// # Errors
/// When `out` is full; 256 bytes are enough.
pub fn write_head(out: &mut impl Write, accept: Accept) -> fmt::Result {
    write!(
        out,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        accept.as_str()
    )
}

/// Why a WebSocket is closed, as the other side is told (RFC 6455, section 7.4.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names are the standard's")]
pub enum Code {
    Normal,
    ProtocolError,
    GoingAway,
    UnsupportedData,
    InvalidPayload,
    PolicyViolation,
    TooBig,
}

impl Code {
    /// The number on the wire.
    pub fn number(self) -> u16 {
        match self {
            Code::Normal => 1000,
            Code::GoingAway => 1001,
            Code::ProtocolError => 1002,
            Code::UnsupportedData => 1003,
            Code::InvalidPayload => 1007,
            Code::PolicyViolation => 1008,
            Code::TooBig => 1009,
        }
    }
}

/// What kind of frame is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names are the standard's")]
pub enum Opcode {
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

/// Longest head of a frame that a server sends.
pub const FRAME_HEAD_MAX: usize = 10;

/// The head of a whole message in one frame, unmasked, whose payload has `length` bytes.
pub fn frame_head(opcode: Opcode, length: usize) -> heapless::Vec<u8, FRAME_HEAD_MAX> {
    let mut head = heapless::Vec::new();
    // No push fails: 2, 4 or 10 bytes.
    let _ = head.push(0x80 | opcode as u8);
    if let Ok(short) = u8::try_from(length)
        && short <= CONTROL_MAX as u8
    {
        let _ = head.push(short);
    } else if let Ok(medium) = u16::try_from(length) {
        let _ = head.push(126);
        let _ = head.extend_from_slice(&medium.to_be_bytes());
    } else {
        let _ = head.push(127);
        let _ = head.extend_from_slice(&(length as u64).to_be_bytes());
    }
    head
}

/// Bytes of [`DepthHead`] on the wire.
pub const DEPTH_HEAD_LEN: usize = 32;

/// What a binary message says of its depth, in front of it. All numbers are little-endian:
///
/// | bytes | what |
/// | --- | --- |
/// | 0..4 | `DPC1` |
/// | 4..6 | version, 1 |
/// | 6..8 | flags, none yet: 0 |
/// | 8..16 | sequence number |
/// | 16..24 | capture time, microseconds since 1970, signed |
/// | 24..28 | age in milliseconds when the message was begun |
/// | 28..32 | bytes that follow: RVL in ROS compressedDepth layout |
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DepthHead {
    /// Sequence number of the frame.
    pub seq: u64,
    /// Wall clock at capture, microseconds since 1970.
    pub captured_us: i64,
    /// Age of the frame in milliseconds; the most that fits if it is older.
    pub age_ms: u32,
    /// Bytes behind this head.
    pub length: u32,
}

impl DepthHead {
    /// The head on the wire.
    pub fn to_bytes(self) -> [u8; DEPTH_HEAD_LEN] {
        let mut bytes = [0; DEPTH_HEAD_LEN];
        bytes[0..4].copy_from_slice(MAGIC);
        bytes[4..6].copy_from_slice(&VERSION.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.seq.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.captured_us.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.age_ms.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.length.to_le_bytes());
        bytes
    }

    /// What a head says; `None` if these bytes begin no message of this version. For viewers written in Rust.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; DEPTH_HEAD_LEN] = bytes.first_chunk()?;
        let (magic, rest) = bytes.split_first_chunk::<4>()?;
        let (version, rest) = rest.split_first_chunk()?;
        let (_flags, rest) = rest.split_first_chunk::<2>()?;
        let (seq, rest) = rest.split_first_chunk()?;
        let (captured_us, rest) = rest.split_first_chunk()?;
        let (age_ms, rest) = rest.split_first_chunk()?;
        let (length, _) = rest.split_first_chunk()?;
        (magic == MAGIC && u16::from_le_bytes(*version) == VERSION).then_some(Self {
            seq: u64::from_le_bytes(*seq),
            captured_us: i64::from_le_bytes(*captured_us),
            age_ms: u32::from_le_bytes(*age_ms),
            length: u32::from_le_bytes(*length),
        })
    }
}

/// What a WebSocket wants next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// The answer to the request, see [`write_head`].
    Head(Accept),
    /// A pong with [`Machine::echo`] in it.
    Pong,
    /// A ping without payload.
    Ping,
    /// The state, which has changed since it was told last.
    State,
    /// The newest depth, if there is one that the viewer has not had.
    Depth,
    /// A close frame with this code, or with none.
    Close(Option<Code>),
    /// To be closed: the close frame has left.
    End(Close),
}

/// One viewer behind a WebSocket.
#[derive(Debug)]
pub struct Machine {
    /// The answer to the request, until it has left.
    accept: Option<Accept>,
    input: Input,
    /// Payload of the newest ping; longer than that of any other control frame we send.
    echo: heapless::Vec<u8, CONTROL_MAX>,
    pong: bool,
    close: Option<Closing>,
    /// The number of the state that the viewer knows.
    told: Option<u64>,
    /// When a frame last left, or the connection was opened.
    quiet_since: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Closing {
    code: Option<Code>,
    why: Close,
    sent: bool,
}

impl Machine {
    /// A connection that was asked to become a WebSocket at `now`.
    pub fn new(accept: Accept, now: Duration) -> Self {
        Self {
            accept: Some(accept),
            input: Input::default(),
            echo: heapless::Vec::new(),
            pong: false,
            close: None,
            told: None,
            quiet_since: now,
        }
    }

    /// Takes bytes of the viewer. What comes after its close frame, or after it broke a rule, is ignored.
    pub fn receive(&mut self, mut bytes: &[u8]) {
        while self.close.is_none()
            && let Some(event) = self.input.take(&mut bytes)
        {
            match event {
                Event::Ping(payload) => {
                    // Only the newest needs an answer (RFC 6455, section 5.5.3).
                    self.echo = payload;
                    self.pong = true;
                }
                Event::Close(code) => {
                    let code = code.map(|_| Code::Normal);
                    self.close = Some(Closing { code, why: Close::Goodbye, sent: false });
                }
                Event::Broken(code) => {
                    let why = Close::BadFrame(code.number());
                    self.close = Some(Closing { code: Some(code), why, sent: false });
                }
            }
        }
    }

    /// The server stops: the viewer is told, behind what is on its way to it, so that it knows to come again.
    pub fn leave(&mut self) {
        let leaving = Closing { code: Some(Code::GoingAway), why: Close::Stopping, sent: false };
        self.close.get_or_insert(leaving);
    }

    /// What comes next at `now`, when the number of the state is `state`.
    pub fn next(&self, state: u64, now: Duration) -> Next {
        match (self.accept, self.close) {
            (Some(accept), _) => Next::Head(accept),
            (None, Some(Closing { code, sent: false, .. })) => Next::Close(code),
            (None, Some(Closing { why, .. })) => Next::End(why),
            (None, None) if self.pong => Next::Pong,
            (None, None) if self.told != Some(state) => Next::State,
            (None, None) if self.ping_at() <= now => Next::Ping,
            (None, None) => Next::Depth,
        }
    }

    /// When a ping is due if nothing else is sent before.
    pub fn ping_at(&self) -> Duration {
        self.quiet_since + WS_PING_EVERY
    }

    /// The payload of a pong.
    pub fn echo(&self) -> &[u8] {
        &self.echo
    }

    /// What [`Machine::next`] named is being sent from `now` on; `state` as there.
    pub fn begun(&mut self, what: Next, state: u64, now: Duration) {
        self.quiet_since = now;
        match what {
            Next::Head(_) => self.accept = None,
            Next::Pong => self.pong = false,
            Next::State => self.told = Some(state),
            Next::Close(_) => {
                if let Some(closing) = &mut self.close {
                    closing.sent = true;
                }
            }
            Next::Ping | Next::Depth | Next::End(_) => {}
        }
    }
}

/// What came in that matters.
#[derive(Debug, PartialEq)]
enum Event {
    Ping(heapless::Vec<u8, CONTROL_MAX>),
    Close(Option<u16>),
    Broken(Code),
}

/// Takes frames apart, however they are cut.
#[derive(Debug, Default)]
struct Input {
    head: heapless::Vec<u8, 14>,
    /// The frame whose payload is being read.
    frame: Option<Frame>,
    /// Payload of a control frame.
    control: heapless::Vec<u8, CONTROL_MAX>,
    /// The text message that is being read, if one is.
    message: Option<Message>,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    last: bool,
    opcode: u8,
    length: usize,
    mask: [u8; 4],
    /// Payload bytes read.
    read: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Message {
    length: usize,
    fragments: usize,
    /// The bytes of a character whose end has not come yet.
    open: [u8; 4],
    open_len: usize,
}

impl Input {
    /// Reads on to the next event; `None` when all bytes are read and there was none.
    fn take(&mut self, bytes: &mut &[u8]) -> Option<Event> {
        loop {
            let Some(frame) = self.frame else {
                let (&byte, rest) = bytes.split_first()?;
                *bytes = rest;
                // Cannot be full: the longest head has 14 bytes and is taken when it is whole.
                let _ = self.head.push(byte);
                match self.head() {
                    Ok(None) => continue,
                    Ok(Some(frame)) => {
                        self.head.clear();
                        self.frame = Some(frame);
                    }
                    Err(code) => return Some(Event::Broken(code)),
                }
                continue;
            };
            let left = frame.length - frame.read;
            if left > 0 && bytes.is_empty() {
                return None;
            }
            let (now, rest) = bytes.split_at(bytes.len().min(left).min(CHUNK));
            *bytes = rest;
            let mut plain = [0; CHUNK];
            for (n, (to, from)) in plain.iter_mut().zip(now).enumerate() {
                *to = from ^ frame.mask[(frame.read + n) % 4];
            }
            let read = frame.read + now.len();
            self.frame = (read < frame.length).then_some(Frame { read, ..frame });
            match self.payload(frame, &plain[..now.len()], read == frame.length) {
                Ok(None) => {}
                Ok(Some(event)) => return Some(event),
                Err(code) => return Some(Event::Broken(code)),
            }
        }
    }

    /// The frame that begins, once its head is whole, and judged as early as its bytes allow.
    fn head(&mut self) -> Result<Option<Frame>, Code> {
        let head = &self.head[..];
        let first = head[0];
        let (last, opcode) = (first & 0x80 != 0, first & 0x0f);
        let control = opcode & 8 != 0;
        // No extension was agreed on that would use the reserved bits.
        if first & 0x70 != 0 || !matches!(opcode, 0..=2 | 8..=10) || (control && !last) {
            return Err(Code::ProtocolError);
        }
        match (opcode, &self.message) {
            (0, None) | (1 | 2, Some(_)) => return Err(Code::ProtocolError),
            (2, None) => return Err(Code::UnsupportedData),
            _ => {}
        }
        let Some(&second) = head.get(1) else { return Ok(None) };
        if second & 0x80 == 0 || (control && second & 0x7f > 125) {
            return Err(Code::ProtocolError);
        }
        let extra = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some(extended) = head.get(2..2 + extra) else { return Ok(None) };
        let length = match extra {
            0 => u64::from(second & 0x7f),
            _ => extended.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)),
        };
        // The shortest form is the only one (section 5.2).
        if (extra == 2 && length < 126) || (extra == 8 && (length <= 0xffff || length >> 63 != 0)) {
            return Err(Code::ProtocolError);
        }
        if !control {
            let Message { length: before, fragments, .. } = self.message.unwrap_or_default();
            if length > (WS_MESSAGE_MAX - before) as u64 {
                return Err(Code::TooBig);
            }
            if fragments >= WS_FRAGMENTS_MAX {
                return Err(Code::PolicyViolation);
            }
        }
        let Some(mask) = head.get(2 + extra..6 + extra).and_then(|m| m.first_chunk()) else {
            return Ok(None);
        };
        let length = usize::try_from(length).map_err(|_| Code::TooBig)?;
        if control {
            self.control.clear();
        } else {
            let message = self.message.get_or_insert_default();
            message.length += length;
            message.fragments += 1;
        }
        Ok(Some(Frame { last, opcode, length, mask: *mask, read: 0 }))
    }

    /// Takes the next part of a payload; `whole` if that is its end.
    fn payload(&mut self, frame: Frame, plain: &[u8], whole: bool) -> Result<Option<Event>, Code> {
        if frame.opcode & 8 == 0 {
            let message = self.message.get_or_insert_default();
            message.text(plain)?;
            if whole && frame.last {
                let cut = message.open_len > 0;
                self.message = None;
                return if cut { Err(Code::InvalidPayload) } else { Ok(None) };
            }
            return Ok(None);
        }
        // At most 125 bytes, by the head.
        let _ = self.control.extend_from_slice(plain);
        match frame.opcode {
            _ if !whole => Ok(None),
            8 => close_code(&self.control).map(|code| Some(Event::Close(code))),
            9 => Ok(Some(Event::Ping(self.control.clone()))),
            // Nobody waits for a pong: the connection's own keepalive finds dead peers.
            _ => Ok(None),
        }
    }
}

impl Message {
    /// Checks that the text goes on as UTF-8, whose characters may be cut anywhere.
    fn text(&mut self, mut bytes: &[u8]) -> Result<(), Code> {
        while self.open_len > 0
            && let Some((&byte, rest)) = bytes.split_first()
        {
            bytes = rest;
            self.open[self.open_len] = byte;
            self.open_len += 1;
            match str::from_utf8(&self.open[..self.open_len]) {
                Ok(_) => self.open_len = 0,
                Err(e) if e.error_len().is_some() => return Err(Code::InvalidPayload),
                Err(_) => {}
            }
        }
        if let Err(e) = str::from_utf8(bytes) {
            if e.error_len().is_some() {
                return Err(Code::InvalidPayload);
            }
            let rest = &bytes[e.valid_up_to()..];
            self.open[..rest.len()].copy_from_slice(rest);
            self.open_len = rest.len();
        }
        Ok(())
    }
}

/// The code in a close frame's payload, which may have none.
fn close_code(payload: &[u8]) -> Result<Option<u16>, Code> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(None) } else { Err(Code::ProtocolError) };
    };
    let code = u16::from_be_bytes(*code);
    // Section 7.4.2; 1004 to 1006 and 1015 are never on the wire.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Code::ProtocolError);
    }
    if str::from_utf8(reason).is_err() {
        return Err(Code::InvalidPayload);
    }
    Ok(Some(code))
}

/// Longest payload of a control frame (RFC 6455, section 5.5).
const CONTROL_MAX: usize = 125;
/// Bytes unmasked at once.
const CHUNK: usize = 256;
const MAGIC: &[u8; 4] = b"DPC1";
const VERSION: u16 = 1;

#[cfg(test)]
mod tests;
