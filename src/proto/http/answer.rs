//! Heads of answers.

use std::fmt::{self, Write};

/// Status codes in use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names are the standard's")]
pub enum Status {
    Ok,
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    ContentTooLarge,
    UpgradeRequired,
    TooManyRequests,
    HeadTooLarge,
    NotImplemented,
    Unavailable,
    VersionNotSupported,
}

impl Status {
    /// The code and its reason phrase (RFC 9110, section 15).
    pub fn line(self) -> &'static str {
        match self {
            Status::Ok => "200 OK",
            Status::BadRequest => "400 Bad Request",
            Status::Unauthorized => "401 Unauthorized",
            Status::Forbidden => "403 Forbidden",
            Status::NotFound => "404 Not Found",
            Status::MethodNotAllowed => "405 Method Not Allowed",
            Status::ContentTooLarge => "413 Content Too Large",
            Status::UpgradeRequired => "426 Upgrade Required",
            Status::TooManyRequests => "429 Too Many Requests",
            Status::HeadTooLarge => "431 Request Header Fields Too Large",
            Status::NotImplemented => "501 Not Implemented",
            Status::Unavailable => "503 Service Unavailable",
            Status::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }

    /// Whether it answers what HTTP does not know or this server does not take, from anybody, whatever the path.
    pub fn is_bad_request(self) -> bool {
        match self {
            Status::BadRequest
            | Status::MethodNotAllowed
            | Status::ContentTooLarge
            | Status::HeadTooLarge
            | Status::NotImplemented
            | Status::VersionNotSupported => true,
            Status::Ok
            | Status::Unauthorized
            | Status::Forbidden
            | Status::NotFound
            | Status::UpgradeRequired
            | Status::TooManyRequests
            | Status::Unavailable => false,
        }
    }
}

/// The methods that are served.
pub const METHODS: &str = "GET, HEAD, OPTIONS";

/// Where a picture comes from, for its header fields.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PictureFacts {
    /// Wall clock at capture, microseconds since 1970.
    pub captured_us: i64,
    /// Sequence number of the newest frame from the sensor.
    pub seq: u64,
    /// Age of that frame in milliseconds; `None` if there has been none.
    pub age_ms: Option<u64>,
    /// Whether the picture shows the sensor's view and not the placeholder.
    pub online: bool,
    /// Frames skipped for this viewer since its picture before.
    pub skipped: u64,
    /// Depths of the first and the last colour, in millimetres; `None` where colours are no depths.
    pub range_mm: Option<(u16, u16)>,
}

impl PictureFacts {
    /// Writes the header fields that every picture carries, but for [`write_timestamp`].
    ///
    /// # Errors
    /// When `out` is full.
    pub fn write(&self, out: &mut impl Write) -> fmt::Result {
        write!(out, "X-Depthcast-Seq: {}\r\n", self.seq)?;
        if let Some(age) = self.age_ms {
            write!(out, "X-Depthcast-Age-Ms: {age}\r\n")?;
        }
        write!(out, "X-Depthcast-Online: {}\r\nX-Depthcast-Dropped: {}\r\n", self.online, self.skipped)?;
        let Some((min, max)) = self.range_mm else { return Ok(()) };
        write!(out, "X-Depthcast-Min-Mm: {min}\r\nX-Depthcast-Max-Mm: {max}\r\n")
    }
}

/// Writes the field that says when something was; `us` are microseconds since 1970.
///
/// # Errors
/// When `out` is full.
pub fn write_timestamp(out: &mut impl Write, us: i64) -> fmt::Result {
    let sign = if us < 0 { "-" } else { "" };
    let us = us.unsigned_abs();
    write!(out, "X-Timestamp: {sign}{}.{:06}\r\n", us / 1_000_000, us % 1_000_000)
}

/// Writes a response head whose body has `length` bytes; `extra` are whole header lines.
///
/// # Errors
/// When `out` is full; [`RESPONSE_HEAD_MAX`](crate::limits::RESPONSE_HEAD_MAX) bytes are enough.
pub fn write_head(
    out: &mut impl Write,
    status: Status,
    content_type: &str,
    length: usize,
    keep_alive: bool,
    extra: impl fmt::Display,
) -> fmt::Result {
    let connection = match (keep_alive, status) {
        // Who sends `Upgrade` names it here (RFC 9110, section 7.8).
        (true, Status::UpgradeRequired) => "keep-alive, Upgrade",
        (false, Status::UpgradeRequired) => "close, Upgrade",
        (true, _) => "keep-alive",
        (false, _) => "close",
    };
    write!(out, "HTTP/1.1 {}\r\nConnection: {connection}\r\n", status.line())?;
    write!(out, "Content-Type: {content_type}\r\nContent-Length: {length}\r\n")?;
    match status {
        Status::MethodNotAllowed => write!(out, "Allow: {METHODS}\r\n")?,
        Status::Unauthorized => {
            out.write_str("WWW-Authenticate: Basic realm=\"depthcast\", charset=\"UTF-8\"\r\n")?;
        }
        Status::TooManyRequests => out.write_str("Retry-After: 60\r\n")?,
        // RFC 6455, section 4.4.
        Status::UpgradeRequired => out.write_str("Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n")?,
        _ => {}
    }
    write!(out, "{NO_STORE}X-Content-Type-Options: nosniff\r\n{extra}\r\n")
}

/// A live picture is never to be kept: the same fields as µStreamer sends.
pub const NO_STORE: &str = "Cache-Control: no-store, no-cache, must-revalidate, proxy-revalidate, \
pre-check=0, post-check=0, max-age=0\r\nPragma: no-cache\r\nExpires: Mon, 3 Jan 2000 12:34:56 GMT\r\n";
