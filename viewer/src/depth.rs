//! Lossless depth from `/ws` of a depthcast server: a WebSocket (RFC 6455), the client's side.
//!
//! Owns neither socket nor clock. The server speaks: depth in binary messages, its state in text messages, which nothing
//! here needs. What is sent is the request, pongs, and a close.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;

use data_encoding::BASE64;
use depthcast::encode::rvl;
use depthcast::proto::websocket::{Accept, DEPTH_HEAD_LEN, DepthHead};

use crate::limits::{DEPTH_MESSAGE_MAX, PIXELS_MAX, RESPONSE_FIELDS_MAX, RESPONSE_HEAD_MAX, SIDE_MAX};

/// One frame of depth.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Depth {
    /// Sequence number, capture time and age when it was sent.
    pub head: DepthHead,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Millimetres, row-major; 0 means no return.
    pub mm: Vec<u16>,
}

impl Depth {
    /// Millimetres at a pixel; `None` outside. 0 means no return.
    pub fn at(&self, x: usize, y: usize) -> Option<u16> {
        if x < self.width && y < self.height { self.mm.get(y * self.width + x).copied() } else { None }
    }

    fn parse(message: &[u8]) -> Result<Self, Broken> {
        let head = DepthHead::parse(message).ok_or(Broken::Head)?;
        let image = &message[DEPTH_HEAD_LEN..];
        if image.len() != head.length as usize {
            return Err(Broken::Head);
        }
        let (width, height) = rvl::sides(image).map_err(Broken::Rvl)?;
        if width > SIDE_MAX || height > SIDE_MAX || u64::from(width) * u64::from(height) > PIXELS_MAX as u64 {
            return Err(Broken::TooLarge);
        }
        if width == 0 || height == 0 {
            return Err(Broken::Head);
        }
        let (width, height) = (width as usize, height as usize);
        let mut mm = vec![0; width * height];
        rvl::decode(image, &mut mm).map_err(Broken::Rvl)?;
        Ok(Self { head, width, height, mm })
    }
}

/// Why depth does not come.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Broken {
    /// The server wants a token, or another than was given.
    Token,
    /// It answered otherwise: the status, and the first words of why.
    Answer(u16, String),
    /// It does not speak HTTP or WebSocket.
    Protocol(&'static str),
    /// A message or an image that is larger than any sensor's.
    TooLarge,
    /// A message that does not begin as depth does.
    Head,
    /// An image that is none.
    Rvl(rvl::DecodeError),
    /// The server closed.
    Closed,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token => write!(f, "the server wants a valid token (--token)"),
            Self::Answer(status, why) => write!(f, "the server answered {status}: {why}"),
            Self::Protocol(what) => write!(f, "the server {what}"),
            Self::TooLarge => write!(f, "a message is too large"),
            Self::Head => write!(f, "a message is no depth"),
            Self::Rvl(error) => write!(f, "depth cannot be decoded: {error}"),
            Self::Closed => write!(f, "the server closed the connection"),
        }
    }
}

impl std::error::Error for Broken {}

/// A client that has asked for depth.
#[derive(Debug)]
pub struct Client {
    accept: Accept,
    /// Bytes of the answer, until it is whole; then `None`.
    answer: Option<Vec<u8>>,
    /// To be sent: the request, then pongs.
    out: Vec<u8>,
    head: Vec<u8>,
    frame: Option<Frame>,
    payload: Vec<u8>,
    message: Option<Message>,
    mask: [u8; 4],
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    last: bool,
    opcode: u8,
    length: usize,
}

/// A message of several frames.
#[derive(Debug)]
struct Message {
    binary: bool,
    bytes: Vec<u8>,
}

impl Client {
    /// Asks for depth.
    ///
    /// * `host`: as a URL names the server: `name:port`.
    /// * `token`: for servers that want one.
    pub fn new(host: &str, token: Option<&str>) -> Self {
        // Not secret: it shows that the answer is to this request, and masks against proxies that would not be here.
        let random = RandomState::new();
        let mut key = [0; 16];
        key[..8].copy_from_slice(&random.hash_one(0).to_le_bytes());
        key[8..].copy_from_slice(&random.hash_one(1).to_le_bytes());
        let mask = random.hash_one(2).to_le_bytes()[..4].try_into().expect("four bytes");
        let mut text = [0; 24];
        BASE64.encode_mut(&key, &mut text);
        let key = str::from_utf8(&text).expect("Base64 is ASCII");
        let mut out = format!(
            "GET /ws HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        );
        if let Some(token) = token {
            out += &format!("Authorization: Bearer {token}\r\n");
        }
        out += "\r\n";
        Self {
            accept: Accept::new(key.as_bytes()).expect("the Base64 of 16 bytes"),
            answer: Some(Vec::new()),
            out: out.into_bytes(),
            head: Vec::new(),
            frame: None,
            payload: Vec::new(),
            message: None,
            mask,
        }
    }

    /// What is to be sent; [`Client::sent`] takes it away.
    pub fn to_send(&self) -> &[u8] {
        &self.out
    }

    /// So many bytes have left.
    pub fn sent(&mut self, bytes: usize) {
        self.out.drain(..bytes);
    }

    /// Reads on to the next frame of depth; `None` when all bytes are read and it is not whole yet.
    ///
    /// # Errors
    /// [`Broken`]; the connection is then of no more use.
    pub fn receive(&mut self, bytes: &mut &[u8]) -> Result<Option<Depth>, Broken> {
        if self.answer.is_some() && !self.read_answer(bytes)? {
            return Ok(None);
        }
        while let Some((frame, payload)) = self.read_frame(bytes)? {
            if let Some(message) = self.take_frame(frame, payload)? {
                return Depth::parse(&message).map(Some);
            }
        }
        Ok(None)
    }

    /// Reads the answer to the request; true once it is whole and right.
    fn read_answer(&mut self, bytes: &mut &[u8]) -> Result<bool, Broken> {
        let Some(answer) = &mut self.answer else { return Ok(true) };
        while !answer.ends_with(b"\r\n\r\n") {
            let Some((first, rest)) = bytes.split_first() else { return Ok(false) };
            if answer.len() == RESPONSE_HEAD_MAX {
                return Err(Broken::Protocol("answers without end"));
            }
            answer.push(*first);
            *bytes = rest;
        }
        let mut fields = [httparse::EMPTY_HEADER; RESPONSE_FIELDS_MAX];
        let mut response = httparse::Response::new(&mut fields);
        if !matches!(response.parse(answer), Ok(httparse::Status::Complete(_))) {
            return Err(Broken::Protocol("does not answer in HTTP"));
        }
        match response.code {
            Some(101) => {}
            Some(401) => return Err(Broken::Token),
            Some(code) => {
                // Refusals of depthcast are short, and come in the same segment.
                let why: String = String::from_utf8_lossy(bytes).chars().take(200).collect();
                let why = why.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
                return Err(Broken::Answer(code, why.trim().to_owned()));
            }
            None => return Err(Broken::Protocol("does not answer in HTTP")),
        }
        let accepted = response.headers.iter().any(|f| {
            f.name.eq_ignore_ascii_case("sec-websocket-accept") && f.value == self.accept.as_str().as_bytes()
        });
        if !accepted {
            return Err(Broken::Protocol("does not speak WebSocket"));
        }
        self.answer = None;
        Ok(true)
    }

    /// Reads one frame; `None` when it is not whole yet.
    fn read_frame(&mut self, bytes: &mut &[u8]) -> Result<Option<(Frame, Vec<u8>)>, Broken> {
        let frame = match self.frame {
            Some(frame) => frame,
            None => {
                let Some(frame) = self.read_head(bytes)? else { return Ok(None) };
                self.frame = Some(frame);
                frame
            }
        };
        let (taken, rest) = bytes.split_at(bytes.len().min(frame.length - self.payload.len()));
        self.payload.extend_from_slice(taken);
        *bytes = rest;
        if self.payload.len() < frame.length {
            return Ok(None);
        }
        self.frame = None;
        Ok(Some((frame, std::mem::take(&mut self.payload))))
    }

    fn read_head(&mut self, bytes: &mut &[u8]) -> Result<Option<Frame>, Broken> {
        loop {
            let wanted = match self.head.get(1).map(|length| length & 0x7f) {
                Some(126) => 4,
                Some(127) => 10,
                _ => 2,
            };
            if self.head.len() == wanted {
                break;
            }
            let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
            self.head.push(*first);
            *bytes = rest;
        }
        let head = std::mem::take(&mut self.head);
        if head[0] & 0x70 != 0 || head[1] & 0x80 != 0 {
            return Err(Broken::Protocol("breaks a rule of WebSocket"));
        }
        let length = match head.len() {
            2 => u64::from(head[1]),
            _ => head[2..].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
        };
        let length = usize::try_from(length).ok().filter(|length| *length <= DEPTH_MESSAGE_MAX);
        let length = length.ok_or(Broken::TooLarge)?;
        let (last, opcode) = (head[0] & 0x80 != 0, head[0] & 0x0f);
        if opcode >= 8 && (!last || length > 125) {
            return Err(Broken::Protocol("breaks a rule of WebSocket"));
        }
        Ok(Some(Frame { last, opcode, length }))
    }

    /// What a frame means; the whole message when it ends a binary one.
    fn take_frame(&mut self, frame: Frame, payload: Vec<u8>) -> Result<Option<Vec<u8>>, Broken> {
        match (frame.opcode, &mut self.message) {
            (0, Some(message)) => {
                if message.bytes.len() + payload.len() > DEPTH_MESSAGE_MAX {
                    return Err(Broken::TooLarge);
                }
                message.bytes.extend_from_slice(&payload);
            }
            (1 | 2, None) => self.message = Some(Message { binary: frame.opcode == 2, bytes: payload }),
            (8, _) => return Err(Broken::Closed),
            // Only the newest ping needs an answer, and nobody pings faster than a pong leaves.
            (9, _) if self.out.len() < RESPONSE_HEAD_MAX => {
                self.say(0x8a, &payload);
                return Ok(None);
            }
            (9 | 10, _) => return Ok(None),
            _ => return Err(Broken::Protocol("breaks a rule of WebSocket")),
        }
        let whole = if frame.last { self.message.take() } else { None };
        Ok(whole.filter(|message| message.binary).map(|message| message.bytes))
    }

    /// A masked control frame.
    fn say(&mut self, opcode: u8, payload: &[u8]) {
        self.out.extend_from_slice(&[opcode, 0x80 | payload.len() as u8]);
        self.out.extend_from_slice(&self.mask);
        self.out.extend(payload.iter().zip(self.mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    }

    /// Says goodbye; nothing is to be received after that.
    pub fn close(&mut self) {
        self.say(0x88, &1000u16.to_be_bytes());
    }
}

#[cfg(test)]
mod tests;
