//! HTTP/1.x: request heads in, response heads out.
//!
//! `httparse` takes the head apart; what is here decides what was asked for and what is refused. Only GET, HEAD and
//! OPTIONS are served and a request with a body is refused, so nothing but heads ever needs room.

// What a path and a query ask for.
mod target;

// Heads of answers.
mod answer;

// What a page of another origin asks beforehand.
mod preflight;

use crate::access::{Claim, Rules};
use crate::limits::{REQUEST_FIELDS_MAX, REQUEST_HEAD_MAX};
use crate::proto::Close;
use crate::proto::websocket::Accept;

pub use self::answer::{METHODS, NO_STORE, PictureFacts, Status, write_head, write_timestamp};
pub use self::preflight::FieldNames;
pub use self::target::{Content, Depth, Image, Target};

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
                Target::Refused(status, _) if !request.keep_alive && status.is_bad_request() => {
                    State::Ended(Close::BadRequest)
                }
                _ if !request.keep_alive => State::Ended(Close::Answered),
                _ => State::Reading,
            };
            self.read(rules);
        }
    }

    /// Makes the coming answer the last on this connection; its head must say `Connection: close`, which is up to the
    /// caller.
    pub fn end(&mut self) {
        if let State::Answering(request) = &mut self.state {
            request.keep_alive = false;
        }
    }

    /// What arrived behind the request that is being answered.
    pub fn rest(&self) -> &[u8] {
        &self.head
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
                const { assert!(REQUEST_HEAD_MAX == 8192, "the next line says so") };
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
    let mut headers = [httparse::EMPTY_HEADER; REQUEST_FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => {
            return Request::refused(Status::BadRequest, "the request head is not complete");
        }
        Err(httparse::Error::TooManyHeaders) => {
            const { assert!(REQUEST_FIELDS_MAX == 64, "the next line says so") };
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
    // The answer to HEAD has no body, whatever it is.
    let head_only = parsed.method == Some("HEAD");
    let refused = |status, why| Request { head_only, ..Request::refused(status, why) };
    let Fields { keep_alive, foreign, authorization, names } = match fields(&parsed, rules) {
        Ok(fields) => fields,
        Err((status, why)) => return refused(status, why),
    };
    let method = parsed.method.unwrap_or_default();
    if method == "OPTIONS" {
        // Browsers ask this without credentials.
        return Request {
            target: Target::Options(FieldNames::new(names)),
            head_only: false,
            keep_alive,
            claim: Claim::None,
        };
    }
    let (path, query) = path_and_query(parsed.path.unwrap_or_default());
    // Some clients of mjpg-streamer post to the stream, which changes nothing.
    if !matches!(method, "GET" | "HEAD") && (method, path) != ("POST", "/stream") {
        return refused(Status::MethodNotAllowed, "only GET, HEAD and OPTIONS are served");
    }
    let claim = if rules.tokens.is_empty() { Claim::Right(None) } else { rules.claim(authorization) };
    let target = match path {
        // Whoever looks after the machine need not be one who may watch.
        "/healthz" | "/readyz" => Target::new(path, query),
        _ if !matches!(claim, Claim::Right(_)) => {
            Target::Refused(Status::Unauthorized, "a token is needed, as the password of any user")
        }
        // Whoever has named the camera's names expects to be asked for by no other.
        _ if foreign && !rules.names.is_empty() => Target::Refused(Status::Forbidden, FOREIGN),
        "/ws" => upgrade(&parsed, rules),
        _ => Target::new(path, query),
    };
    let keep_alive = keep_alive && !matches!(target, Target::Stream(..));
    Request { target, head_only, keep_alive, claim }
}

/// What a request's header fields say.
struct Fields<'a> {
    keep_alive: bool,
    /// It is for a name that this camera is not known to have.
    foreign: bool,
    /// Value of `Authorization`.
    authorization: Option<&'a [u8]>,
    /// Value of `Access-Control-Request-Headers`.
    names: &'a [u8],
}

/// Reads the header fields that matter, or says how to refuse the request.
fn fields<'a>(
    request: &httparse::Request<'_, 'a>,
    rules: &Rules,
) -> Result<Fields<'a>, (Status, &'static str)> {
    let mut keep_alive = request.version == Some(1);
    let mut close = false;
    let (mut hosts, mut lengths, mut authorization) = (0, 0, None);
    let mut foreign = false;
    let mut names = &[][..];
    for field in request.headers.iter() {
        let says = |token: &str| {
            field.value.split(|b| *b == b',').any(|v| v.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
        };
        if field.name.eq_ignore_ascii_case("connection") {
            // `close` holds whatever else is said, also by another line (RFC 9112, section 9.3).
            close |= says("close");
            keep_alive |= says("keep-alive");
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err((Status::NotImplemented, "requests with a body are not taken"));
        } else if field.name.eq_ignore_ascii_case("content-length") {
            lengths += 1;
            if field.value.trim_ascii() != b"0" {
                return Err((Status::ContentTooLarge, "requests with a body are not taken"));
            }
        } else if field.name.eq_ignore_ascii_case("host") {
            hosts += 1;
            foreign |= !str::from_utf8(field.value).is_ok_and(|host| rules.is_host(host.trim_ascii()));
        } else if field.name.eq_ignore_ascii_case("access-control-request-headers") {
            names = field.value;
        } else if field.name.eq_ignore_ascii_case("authorization")
            && authorization.replace(field.value).is_some()
        {
            return Err((Status::BadRequest, "Authorization may be given once"));
        }
    }
    // Two that disagree are how requests are smuggled past a proxy (RFC 9112, sections 3.2 and 6.3).
    if hosts > 1 || lengths > 1 {
        return Err((Status::BadRequest, "Host and Content-Length may be given once"));
    }
    Ok(Fields { keep_alive: keep_alive && !close, foreign, authorization, names })
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
        return refused(Status::Forbidden, FOREIGN);
    }
    let origin = |origin: &[u8]| str::from_utf8(origin).is_ok_and(|origin| rules.is_origin(origin, host));
    if !all("origin").all(origin) {
        return refused(Status::Forbidden, "pages of this origin may not connect; see http.names");
    }
    Target::WebSocket(accept)
}

const FOREIGN: &str = "this name is not in http.names; an address, localhost or .local needs not be";

#[cfg(test)]
mod tests;
