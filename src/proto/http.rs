//! HTTP/1.x: request heads in, response heads out.
//!
//! `httparse` takes the head apart; what is here decides what was asked for and what is refused. Only GET, HEAD and
//! OPTIONS are served and a request with a body is refused, so nothing but heads ever needs room.

use std::fmt::{self, Write};

use crate::access::{Claim, Rules};
use crate::limits::{REQUEST_FIELDS_MAX, REQUEST_HEAD_MAX};
use crate::proto::Close;
use crate::proto::websocket::Accept;

/// What a client asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Target {
    /// The viewer page.
    Page,
    /// What belongs to it.
    PageScript,
    /// What belongs to it.
    PageStyle,
    /// What belongs to it, for browsers that run no script.
    PageNoScript,
    /// The picture stream.
    Stream(Image),
    /// The newest picture.
    Snapshot(Image),
    /// One lossless depth frame.
    Depth(Depth),
    /// Depth and state over a WebSocket.
    WebSocket(Accept),
    /// What viewers need to know.
    Config,
    /// The answer to a page that asks what it may do.
    Options,
    /// What the server is doing.
    State,
    /// What is counted, for Prometheus.
    Metrics,
    /// Whether the process is up.
    Healthz,
    /// Whether a fresh frame exists.
    Readyz,
    /// Something that cannot be had.
    Refused(Status, &'static str),
}

/// How lossless depth is packed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Depth {
    /// 16-bit grey.
    Png,
    /// RVL in ROS' compressedDepth layout.
    Rvl,
    /// 424 rows of 512 little-endian numbers of 16 bits.
    Raw,
}

impl Depth {
    /// The media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Depth::Png => "image/png",
            // Neither has a registered one.
            Depth::Rvl | Depth::Raw => "application/octet-stream",
        }
    }
}

/// How a picture is packed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Image {
    /// What every client takes.
    #[default]
    Jpeg,
    /// Lossless.
    Png,
}

impl Image {
    /// The media type, without parameters: ffmpeg compares the whole value.
    pub fn media_type(self) -> &'static str {
        match self {
            Image::Jpeg => "image/jpeg",
            Image::Png => "image/png",
        }
    }
}

/// A request that was understood, or the reason to refuse it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Request {
    /// What was asked for.
    pub target: Target,
    /// HEAD: everything but the body.
    pub head_only: bool,
    /// Whether the connection stays open after the reply.
    pub keep_alive: bool,
    /// What its credentials are worth, where tokens are asked for.
    pub claim: Claim,
}

impl Request {
    fn refused(status: Status, why: &'static str) -> Self {
        Self { target: Target::Refused(status, why), head_only: false, keep_alive: false, claim: Claim::None }
    }
}

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
    InternalError,
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
            Status::InternalError => "500 Internal Server Error",
            Status::NotImplemented => "501 Not Implemented",
            Status::Unavailable => "503 Service Unavailable",
            Status::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }
}

/// What a connection wants next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// More of a request.
    Read,
    /// An answer, then [`Machine::sent`].
    Respond(Request),
    /// To be closed.
    Close(Close),
}

/// One HTTP connection.
#[derive(Debug, Default)]
pub struct Machine {
    /// What arrived of the request that is being read, and of those behind it.
    head: heapless::Vec<u8, REQUEST_HEAD_MAX>,
    /// Bytes of `head` known not to end a head.
    scanned: usize,
    state: State,
    half_closed: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Reading,
    Answering(Request),
    Ended(Close),
}

impl Machine {
    /// Bytes that [`Machine::receive`] takes now.
    pub fn room(&self) -> usize {
        match self.state {
            State::Reading if !self.half_closed => REQUEST_HEAD_MAX - self.head.len(),
            _ => 0,
        }
    }

    /// Takes bytes, at most [`Machine::room`] of them (what is beyond that is ignored).
    pub fn receive(&mut self, bytes: &[u8], rules: &Rules) {
        let n = bytes.len().min(self.room());
        self.head.extend_from_slice(&bytes[..n]).expect("no more than there is room for");
        self.read(rules);
    }

    /// The peer will send nothing more.
    pub fn half_closed(&mut self) {
        self.half_closed = true;
    }

    /// What comes next.
    pub fn next(&self) -> Next {
        match self.state {
            State::Reading if self.half_closed => Next::Close(Close::PeerClosed),
            State::Reading => Next::Read,
            State::Answering(request) => Next::Respond(request),
            State::Ended(close) => Next::Close(close),
        }
    }

    /// The answer has left whole. The next request may be here already.
    pub fn sent(&mut self, rules: &Rules) {
        if let State::Answering(request) = self.state {
            self.state = match request.target {
                Target::Refused(status, _) if !request.keep_alive && status != Status::Unavailable => {
                    State::Ended(Close::BadRequest)
                }
                _ if !request.keep_alive => State::Ended(Close::Answered),
                _ => State::Reading,
            };
            self.read(rules);
        }
    }

    /// What arrived behind the request that is being answered.
    pub fn rest(&self) -> &[u8] {
        &self.head
    }

    /// Whether part of a request is here and the rest is awaited.
    pub fn is_mid_request(&self) -> bool {
        matches!(self.state, State::Reading) && !self.head.is_empty()
    }

    /// Parses the first head in the buffer, if it is whole.
    fn read(&mut self, rules: &Rules) {
        if !matches!(self.state, State::Reading) {
            return;
        }
        // Empty lines before a request are to be ignored (RFC 9112, section 2.2).
        let blank = self.head.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        self.consume(blank);
        let Some(end) = self.head_end() else {
            if self.head.is_full() {
                let why = "the request head is longer than 8192 bytes";
                self.state = State::Answering(Request::refused(Status::HeadTooLarge, why));
            }
            return;
        };
        let request = parse(&self.head[..end], rules);
        self.consume(end);
        self.state = State::Answering(request);
    }

    /// Length of the first head with the empty line that ends it. Each byte is looked at once, however the head
    /// arrives, so that a peer who sends it in single bytes costs no more than any other.
    fn head_end(&mut self) -> Option<usize> {
        let from = self.scanned.saturating_sub(3);
        for at in from..self.head.len() {
            let rest = &self.head[at..];
            let end = if rest.starts_with(b"\n\r\n") {
                3
            } else if rest.starts_with(b"\n\n") {
                2
            } else {
                continue;
            };
            return Some(at + end);
        }
        self.scanned = self.head.len();
        None
    }

    fn consume(&mut self, n: usize) {
        // Nothing moved, so what was looked at stays looked at.
        if n == 0 {
            return;
        }
        let left = self.head.len() - n;
        self.head.copy_within(n.., 0);
        self.head.truncate(left);
        self.scanned = 0;
    }
}

/// Understands one whole request head.
///
/// Never panics, whatever the bytes: what cannot be understood is a [`Target::Refused`] that says why.
pub fn parse(head: &[u8], rules: &Rules) -> Request {
    let mut fields = [httparse::EMPTY_HEADER; REQUEST_FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut fields);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => {
            return Request::refused(Status::BadRequest, "the request head is not complete");
        }
        Err(httparse::Error::TooManyHeaders) => {
            return Request::refused(Status::HeadTooLarge, "the request has more than 64 header fields");
        }
        Err(httparse::Error::Version) => {
            return Request::refused(
                Status::VersionNotSupported,
                "only HTTP/1.0 and HTTP/1.1 are spoken here",
            );
        }
        Err(_) => return Request::refused(Status::BadRequest, "this is not an HTTP/1.x request"),
    }
    let mut keep_alive = parsed.version == Some(1);
    let (mut hosts, mut lengths, mut authorization) = (0, 0, None);
    for field in parsed.headers.iter() {
        let says = |token: &str| {
            field.value.split(|b| *b == b',').any(|v| v.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
        };
        if field.name.eq_ignore_ascii_case("connection") {
            if says("close") {
                keep_alive = false;
            } else if says("keep-alive") {
                keep_alive = true;
            }
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            return Request::refused(Status::NotImplemented, "requests with a body are not taken");
        } else if field.name.eq_ignore_ascii_case("content-length") {
            lengths += 1;
            if field.value.trim_ascii() != b"0" {
                return Request::refused(Status::ContentTooLarge, "requests with a body are not taken");
            }
        } else if field.name.eq_ignore_ascii_case("host") {
            hosts += 1;
        } else if field.name.eq_ignore_ascii_case("authorization")
            && authorization.replace(field.value).is_some()
        {
            return Request::refused(Status::BadRequest, "Authorization may be given once");
        }
    }
    // Two that disagree are how requests are smuggled past a proxy (RFC 9112, sections 3.2 and 6.3).
    if hosts > 1 || lengths > 1 {
        return Request::refused(Status::BadRequest, "Host and Content-Length may be given once");
    }
    let method = parsed.method.unwrap_or_default();
    if method == "OPTIONS" {
        // Browsers ask this without credentials.
        return Request { target: Target::Options, head_only: false, keep_alive, claim: Claim::None };
    }
    let (path, query) = path_and_query(parsed.path.unwrap_or_default());
    // Some clients of mjpg-streamer post to the stream, which changes nothing.
    if !matches!(method, "GET" | "HEAD") && (method, path) != ("POST", "/stream") {
        return Request::refused(Status::MethodNotAllowed, "only GET, HEAD and OPTIONS are served");
    }
    let claim = if rules.tokens.is_empty() { Claim::Right } else { rules.claim(authorization) };
    let target = match path {
        // Whoever looks after the machine need not be one who may watch.
        "/healthz" | "/readyz" => target(path, query),
        _ if claim != Claim::Right => {
            Target::Refused(Status::Unauthorized, "a token is needed, as the password of any user")
        }
        "/ws" => upgrade(&parsed, rules),
        _ => target(path, query),
    };
    let keep_alive = keep_alive && !matches!(target, Target::Stream(_));
    Request { target, head_only: method == "HEAD", keep_alive, claim }
}

fn path_and_query(uri: &str) -> (&str, &str) {
    // The absolute form is for proxies, but servers must take it (RFC 9112, section 3.2.2).
    let uri = uri.strip_prefix("http://").map_or(uri, |rest| rest.find('/').map_or("/", |at| &rest[at..]));
    uri.split_once('?').unwrap_or((uri, ""))
}

/// A request to go on as a WebSocket, if it is one that may.
fn upgrade(request: &httparse::Request<'_, '_>, rules: &Rules) -> Target {
    let refused = Target::Refused;
    let all = |name: &'static str| {
        request
            .headers
            .iter()
            .filter(move |f| f.name.eq_ignore_ascii_case(name))
            .map(|f| f.value.trim_ascii())
    };
    let one = |name| {
        let mut values = all(name);
        values.next().filter(|_| values.next().is_none())
    };
    let says = |name, token: &[u8]| {
        all(name).any(|v| v.split(|b| *b == b',').any(|v| v.trim_ascii().eq_ignore_ascii_case(token)))
    };
    let asks = says("upgrade", b"websocket") && says("connection", b"upgrade");
    if request.method != Some("GET") || request.version != Some(1) || !asks {
        return refused(Status::UpgradeRequired, "this path speaks WebSocket only");
    }
    if one("sec-websocket-version") != Some(b"13") {
        return refused(Status::UpgradeRequired, "only version 13 of WebSocket is spoken here");
    }
    let Some(accept) = one("sec-websocket-key").and_then(Accept::new) else {
        return refused(Status::BadRequest, "Sec-WebSocket-Key must be the Base64 of 16 bytes");
    };
    let host = one("host").and_then(|host| str::from_utf8(host).ok()).unwrap_or_default();
    if !rules.is_host(host) {
        return refused(
            Status::Forbidden,
            "this name is not in http.names; an address, localhost or .local needs not be",
        );
    }
    let origin = |origin: &[u8]| str::from_utf8(origin).is_ok_and(|origin| rules.is_origin(origin, host));
    if !all("origin").all(origin) {
        return refused(Status::Forbidden, "pages of this origin may not connect; see http.names");
    }
    Target::WebSocket(accept)
}

fn target(path: &str, query: &str) -> Target {
    let picture = |target: fn(Image) -> Target| match image(query) {
        Some(image) => target(image),
        None => Target::Refused(Status::BadRequest, "the formats are jpeg and png"),
    };
    match path {
        // mjpg-streamer's names for the same; its users add all kinds of keys behind them.
        "/" | "/index.html" => match query.split('&').find_map(|pair| pair.strip_prefix("action=")) {
            Some(action) if action == "stream" || action.starts_with("stream_") => picture(Target::Stream),
            Some(action) if action == "snapshot" || action.starts_with("snapshot_") => {
                picture(Target::Snapshot)
            }
            Some(_) => Target::Refused(Status::NotFound, "the only actions are stream and snapshot"),
            None => Target::Page,
        },
        "/page.js" => Target::PageScript,
        "/page.css" => Target::PageStyle,
        "/noscript.css" => Target::PageNoScript,
        "/stream" => picture(Target::Stream),
        "/snapshot" => picture(Target::Snapshot),
        "/snapshot.jpg" => Target::Snapshot(Image::Jpeg),
        "/snapshot.png" => Target::Snapshot(Image::Png),
        "/depth.png" => Target::Depth(Depth::Png),
        "/depth.rvl" => Target::Depth(Depth::Rvl),
        "/depth.raw" => Target::Depth(Depth::Raw),
        "/config.json" => Target::Config,
        "/state" => Target::State,
        "/metrics" => Target::Metrics,
        "/healthz" => Target::Healthz,
        "/readyz" => Target::Readyz,
        _ => Target::Refused(
            Status::NotFound,
            "there is no such page; see / /stream /snapshot /depth.png /depth.rvl /depth.raw /ws /config.json /state /metrics /healthz /readyz",
        ),
    }
}

/// The format that a query asks for; `None` if there is no such one. Keys that mean nothing are left to those they mean
/// something to.
fn image(query: &str) -> Option<Image> {
    match query.split('&').find_map(|pair| pair.strip_prefix("format=")) {
        None => Some(Image::default()),
        Some("jpeg" | "jpg") => Some(Image::Jpeg),
        Some("png") => Some(Image::Png),
        Some(_) => None,
    }
}

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
    pub dropped: u64,
    /// Depth at index 0, in millimetres.
    pub min_mm: u16,
    /// Depth at index 255, in millimetres.
    pub max_mm: u16,
}

impl PictureFacts {
    /// Writes the header fields that every picture carries.
    ///
    /// # Errors
    /// When `out` is full.
    pub fn write(&self, out: &mut impl Write) -> fmt::Result {
        let sign = if self.captured_us < 0 { "-" } else { "" };
        let us = self.captured_us.unsigned_abs();
        write!(out, "X-Timestamp: {sign}{}.{:06}\r\n", us / 1_000_000, us % 1_000_000)?;
        write!(out, "X-Depthcast-Seq: {}\r\n", self.seq)?;
        if let Some(age) = self.age_ms {
            write!(out, "X-Depthcast-Age-Ms: {age}\r\n")?;
        }
        write!(out, "X-Depthcast-Online: {}\r\nX-Depthcast-Dropped: {}\r\n", self.online, self.dropped)?;
        write!(out, "X-Depthcast-Min-Mm: {}\r\nX-Depthcast-Max-Mm: {}\r\n", self.min_mm, self.max_mm)
    }
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
    let connection = if keep_alive { "keep-alive" } else { "close" };
    write!(out, "HTTP/1.1 {}\r\nConnection: {connection}\r\n", status.line())?;
    write!(out, "Content-Type: {content_type}\r\nContent-Length: {length}\r\n")?;
    match status {
        Status::MethodNotAllowed => out.write_str("Allow: GET, HEAD, OPTIONS\r\n")?,
        // RFC 6455, section 4.4.
        Status::Unauthorized => {
            out.write_str("WWW-Authenticate: Basic realm=\"depthcast\", charset=\"UTF-8\"\r\n")?;
        }
        Status::TooManyRequests => out.write_str("Retry-After: 60\r\n")?,
        Status::UpgradeRequired => out.write_str("Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n")?,
        _ => {}
    }
    write!(out, "{NO_STORE}X-Content-Type-Options: nosniff\r\n{extra}\r\n")
}

/// A live picture is never to be kept: the same fields as µStreamer sends.
pub const NO_STORE: &str = "Cache-Control: no-store, no-cache, must-revalidate, proxy-revalidate, \
pre-check=0, post-check=0, max-age=0\r\nPragma: no-cache\r\nExpires: Mon, 3 Jan 2000 12:34:56 GMT\r\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::RESPONSE_HEAD_MAX;
    use proptest::prelude::*;

    fn get(path: &str) -> Target {
        parse(format!("GET {path} HTTP/1.1\r\nHost: box\r\n\r\n").as_bytes(), &Rules::default()).target
    }

    fn status(head: &str) -> Option<Status> {
        match parse(head.as_bytes(), &Rules::default()).target {
            Target::Refused(status, _) => Some(status),
            _ => None,
        }
    }

    #[test]
    fn paths_and_their_old_names() {
        assert_eq!(get("/"), Target::Page);
        assert_eq!(get("/?"), Target::Page);
        assert_eq!(get("/?x=1&theme=dark"), Target::Page);
        for path in ["/stream", "/stream?junk&format=jpg", "/?action=stream", "/?action=stream_0&x.mjpg"] {
            assert_eq!(get(path), Target::Stream(Image::Jpeg), "{path}");
        }
        for path in ["/snapshot", "/snapshot.jpg?format=png", "/?action=snapshot", "/?a=b&action=snapshot"] {
            assert_eq!(get(path), Target::Snapshot(Image::Jpeg), "{path}");
        }
        assert_eq!(get("/stream?format=png&junk"), Target::Stream(Image::Png));
        for path in ["/snapshot.png?t=12", "/snapshot?t&format=png", "/?action=snapshot&format=png"] {
            assert_eq!(get(path), Target::Snapshot(Image::Png), "{path}");
        }
        assert!(matches!(get("/stream?format=gif"), Target::Refused(Status::BadRequest, _)));
        assert_eq!(get("http://10.0.0.7:8080/state?x"), Target::State);
        assert_eq!(get("http://10.0.0.7"), Target::Page);
        assert!(matches!(get("/../etc/passwd"), Target::Refused(Status::NotFound, _)));
        assert!(matches!(get("/?action=command"), Target::Refused(Status::NotFound, _)));
    }

    #[test]
    fn requests_are_refused_with_the_right_status() {
        assert_eq!(status("POST / HTTP/1.1\r\n\r\n"), Some(Status::MethodNotAllowed));
        assert_eq!(status("DELETE /stream HTTP/1.1\r\n\r\n"), Some(Status::MethodNotAllowed));
        assert_eq!(status("POST /stream HTTP/1.1\r\nContent-Length: 0\r\n\r\n"), None);
        assert_eq!(
            status("POST /stream HTTP/1.1\r\nContent-Length: 1\r\n\r\nx"),
            Some(Status::ContentTooLarge)
        );
        for smuggled in [
            "Content-Length: 0\r\nContent-Length: 0",
            "Host: a\r\nHost: b",
            "Authorization: a\r\nAuthorization: b",
            "Content-Length : 0",
            "A: b\r\n c: d",
            "A: b\rC: d",
            "A: b\0",
            " A: b",
            "A\r\n",
            "A: b\r\n\tc",
        ] {
            let head = format!("GET / HTTP/1.1\r\n{smuggled}\r\n\r\n");
            assert_eq!(status(&head), Some(Status::BadRequest), "{smuggled:?}");
        }
        assert_eq!(status("GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"), Some(Status::ContentTooLarge));
        assert_eq!(
            status("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Some(Status::NotImplemented)
        );
        assert_eq!(status("GET / HTTP/2.0\r\n\r\n"), Some(Status::VersionNotSupported));
        assert_eq!(status("GIMME\r\n\r\n"), Some(Status::BadRequest));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(REQUEST_FIELDS_MAX + 1));
        assert_eq!(status(&many), Some(Status::HeadTooLarge));
        assert_eq!(status("GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"), None);
    }

    #[test]
    fn connections_stay_open_as_the_version_and_the_client_say() {
        let keep = |head: &str| parse(head.as_bytes(), &Rules::default()).keep_alive;
        assert!(keep("GET / HTTP/1.1\r\n\r\n"));
        assert!(!keep("GET / HTTP/1.1\r\nConnection: Close\r\n\r\n"));
        assert!(!keep("GET / HTTP/1.0\r\n\r\n"));
        assert!(keep("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
        assert!(!keep("GET /stream HTTP/1.1\r\n\r\n"), "a stream ends with its connection");
    }

    #[test]
    fn a_conversation_on_one_connection() {
        let mut machine = Machine::default();
        machine.receive(b"GET /healthz HTT", &Rules::default());
        assert_eq!(machine.next(), Next::Read);
        assert!(machine.is_mid_request());
        machine.receive(
            b"P/1.1\r\n\r\n\r\nHEAD /snapshot HTTP/1.1\n\nGET /nowhere HTTP/1.0\r\n\r\n",
            &Rules::default(),
        );
        let Next::Respond(first) = machine.next() else { panic!("no answer") };
        assert_eq!((first.target, first.head_only), (Target::Healthz, false));
        machine.sent(&Rules::default());
        let Next::Respond(second) = machine.next() else { panic!("no second answer") };
        assert_eq!((second.target, second.head_only), (Target::Snapshot(Image::Jpeg), true));
        machine.sent(&Rules::default());
        assert!(matches!(machine.next(), Next::Respond(r) if matches!(r.target, Target::Refused(..))));
        machine.sent(&Rules::default());
        assert_eq!(machine.next(), Next::Close(Close::BadRequest));
    }

    #[test]
    fn a_head_too_long_is_answered() {
        let mut machine = Machine::default();
        machine.receive(b"GET / HTTP/1.1\r\nX: ", &Rules::default());
        while machine.room() > 0 {
            machine.receive(&[b'x'; 1000], &Rules::default());
        }
        let Next::Respond(request) = machine.next() else { panic!("no answer") };
        assert!(matches!(request.target, Target::Refused(Status::HeadTooLarge, _)));
        assert!(!request.keep_alive);
    }

    #[test]
    fn bytes_that_end_no_head_are_looked_at_once() {
        let mut machine = Machine::default();
        machine.receive(b"\r\nGET / HTTP/1.1\r\n", &Rules::default());
        assert_eq!(machine.scanned, 16);
        machine.consume(0);
        assert_eq!(machine.scanned, 16);
        for byte in b"\r\n" {
            machine.receive(&[*byte], &Rules::default());
        }
        assert!(matches!(machine.next(), Next::Respond(_)));
    }

    #[test]
    fn a_half_closed_client_is_answered_first() {
        let mut machine = Machine::default();
        machine.receive(b"GET /state HTTP/1.1\r\n\r\n", &Rules::default());
        machine.half_closed();
        assert!(matches!(machine.next(), Next::Respond(_)));
        machine.sent(&Rules::default());
        assert_eq!(machine.next(), Next::Close(Close::PeerClosed));
    }

    #[test]
    fn heads_are_within_their_bound() {
        let facts = PictureFacts {
            captured_us: i64::MIN,
            seq: u64::MAX,
            age_ms: Some(u64::MAX),
            online: false,
            dropped: u64::MAX,
            min_mm: u16::MAX,
            max_mm: u16::MAX,
        };
        let mut extra = String::new();
        facts.write(&mut extra).expect("a String");
        let mut head = String::new();
        write_head(&mut head, Status::HeadTooLarge, "text/plain; charset=utf-8", usize::MAX, true, &extra)
            .expect("a String");
        assert!(head.len() <= RESPONSE_HEAD_MAX, "{} bytes", head.len());
        assert!(head.lines().all(|line| line.len() < 128), "ffmpeg cuts lines at 128 bytes");
        assert!(head.contains("X-Timestamp: -9223372036854.775808\r\n"));
    }

    proptest! {
        /// However the bytes are cut into segments, the same requests are answered in the same order.
        #[test]
        fn splits_do_not_matter(
            parts in prop::collection::vec(prop_oneof![
                Just(b"GET /state HTTP/1.1\r\n\r\n".to_vec()),
                Just(b"HEAD / HTTP/1.1\r\nA: b\r\n\r\n".to_vec()),
                Just(b"\r\n".to_vec()),
                prop::collection::vec(any::<u8>(), 0..40),
            ], 0..8),
            cut in 1usize..60,
        ) {
            let bytes = parts.concat();
            let play = |cut: usize| {
                let mut machine = Machine::default();
                let (mut answers, mut rest) = (Vec::new(), &bytes[..]);
                loop {
                    match machine.next() {
                        Next::Respond(request) => { answers.push(request); machine.sent(&Rules::default()); }
                        Next::Read if !rest.is_empty() => {
                            let n = rest.len().min(cut).min(machine.room());
                            machine.receive(&rest[..n], &Rules::default());
                            rest = &rest[n..];
                        }
                        _ => break answers,
                    }
                }
            };
            prop_assert_eq!(play(cut), play(usize::MAX));
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut machine = Machine::default();
            machine.receive(&bytes, &Rules::default());
            machine.half_closed();
            let _ = (parse(&bytes, &Rules::default()), machine.next());
        }
    }
}
