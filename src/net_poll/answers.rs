//! What HTTP is answered with: pages, statistics, frames and streams of them, and why not.

use std::fmt::{self, Write};
use std::time::Duration;

use super::conn::{Body, Conn, Got, Phase, Text};
use super::describe;
use super::world::{Stats, Verdict, World, rounded};
use crate::access::{Claim, Rules};
use crate::clock::Now;
use crate::limits::{READ_MAX, READY_WITHIN, SHORT_ANSWER_MAX};
use crate::proto::http::{self, Content, Depth, FieldNames, Image, METHODS, PictureFacts, Status, Target};
use crate::proto::query::Tag;
use crate::proto::{Close, multipart, websocket};
use crate::ring::Form;
use crate::source::{HEIGHT, WIDTH};

impl World {
    pub(super) fn respond(
        &mut self,
        conn: &mut Conn,
        text: &mut Text,
        request: http::Request,
        now: Now,
    ) -> Option<Verdict> {
        if !self.hear_claim(conn, text, request, now) {
            return None;
        }
        match request.target {
            Target::Options(names) => {
                let cors = Preflight(&self.settings.rules, names);
                let fields = format_args!("Allow: {METHODS}\r\n{cors}");
                self.answer(conn, text, request, Status::Ok, PLAIN, fields, b"");
            }
            Target::Config => {
                self.body.clear();
                let whole = describe::write_config(&mut self.body, &self.renderer, &self.feed);
                debug_assert!(whole.is_ok(), "state_bound is too small for /config.json");
                self.answer_body(conn, text, request, Status::Ok, JSON);
            }
            Target::Page => self.answer(conn, text, request, Status::Ok, HTML, PAGE_FIELDS, PAGE),
            Target::PageScript => {
                self.answer(conn, text, request, Status::Ok, SCRIPT, "", PAGE_SCRIPT);
            }
            Target::PageStyle => self.answer(conn, text, request, Status::Ok, STYLE, "", PAGE_STYLE),
            Target::PageNoScript => {
                self.answer(conn, text, request, Status::Ok, STYLE, "", PAGE_NO_SCRIPT);
            }
            Target::State => return Some(Verdict::Stats(Stats::State)),
            Target::Metrics => return Some(Verdict::Stats(Stats::Metrics)),
            Target::Healthz => self.answer(conn, text, request, Status::Ok, PLAIN, "", b"ok\n"),
            Target::Readyz => {
                self.body.clear();
                let status = self.write_ready(now);
                self.answer_body(conn, text, request, status, PLAIN);
            }
            Target::Refused(status, why) => self.refuse(conn, text, request, status, why),
            Target::Stream(Content::Infrared(_), _) | Target::Frame(Content::Infrared(_))
                if !self.feed.has_infrared() =>
            {
                self.refuse(conn, text, request, Status::NotFound, NO_INFRARED);
            }
            Target::Stream(Content::Depth(_), _) | Target::Frame(Content::Depth(_))
                if self.feed.gone(now).is_some() =>
            {
                // A source that gives frames on demand comes back only if there is some.
                self.wanted = true;
                self.unavailable(conn, text, request, NO_DEPTH);
            }
            Target::Stream(content, options) if request.head_only => {
                text.clear();
                let fields = format_args!("{}{}", Cors(&self.settings.rules), embedding(content));
                let _ = multipart::write_head(text, self.cookie(conn.id, options.key), fields);
                // All but the first boundary, which is body.
                let head = text.len() - (multipart::TAIL.len() - 2);
                conn.out.begin(head, Body::None, b"", &self.ring);
            }
            Target::Stream(content, options) => {
                if self.take_place(conn, text, request) {
                    conn.phase = Phase::Stream(multipart::Machine::new(content, options));
                }
            }
            Target::WebSocket(accept) => {
                if self.take_place(conn, text, request) {
                    let mut viewer = websocket::Machine::new(accept, now.mono);
                    if let Phase::Http(machine) = &conn.phase {
                        viewer.receive(machine.rest());
                    }
                    conn.phase = Phase::WebSocket(viewer);
                }
            }
            Target::Frame(content) => return self.frame(conn, text, request, content, now),
        }
        None
    }

    /// Takes note of what a request's credentials are worth; if its peer has guessed too often, answers so and returns false.
    fn hear_claim(&mut self, conn: &mut Conn, text: &mut Text, request: http::Request, now: Now) -> bool {
        let guarded = !matches!(request.target, Target::Healthz | Target::Readyz);
        if request.claim == Claim::Wrong && guarded {
            self.counters.wrong_tokens += 1;
            self.warnings.wrong_token(now.mono, conn.peer);
            // Right tokens always pass: who shares an address with a guesser, as behind a proxy, is not locked out.
            if self.failures.is_barred(conn.peer, now.mono) {
                let why = "too many wrong tokens came from this address; wait a minute";
                if let Phase::Http(machine) = &mut conn.phase {
                    machine.end();
                }
                let request = http::Request { keep_alive: false, ..request };
                self.refuse(conn, text, request, Status::TooManyRequests, why);
                return false;
            }
            self.failures.note(conn.peer, now.mono);
        }
        if let Claim::Right(token) = request.claim {
            conn.token = token;
        }
        true
    }

    /// Takes one of the places for viewers; if there is none, answers so and returns false.
    fn take_place(&mut self, conn: &mut Conn, text: &mut Text, request: http::Request) -> bool {
        if self.viewers >= self.settings.viewers_max {
            self.counters.closed[Close::Full.number()] += 1;
            self.unavailable(conn, text, request, "all places for viewers are taken");
            return false;
        }
        self.viewers += 1;
        conn.had = if self.feed.on_demand() { conn.had } else { 0 };
        true
    }

    /// Answers with one frame; waits for one if there is none yet.
    fn frame(
        &mut self,
        conn: &mut Conn,
        text: &mut Text,
        request: http::Request,
        content: Content,
        now: Now,
    ) -> Option<Verdict> {
        let had = if self.feed.on_demand() { conn.had } else { 0 };
        let Some((body, facts)) = self.give(conn, form_of(content), had, now) else {
            return Some(Verdict::Idle);
        };
        let length = self.length(&body);
        text.clear();
        let fields = Fields(facts, content);
        let fields = format_args!("{}{fields}", Cors(&self.settings.rules));
        let media_type = content.media_type();
        let written = http::write_head(text, Status::Ok, media_type, length, request.keep_alive, fields);
        debug_assert!(written.is_ok(), "RESPONSE_HEAD_MAX is too small");
        if request.head_only {
            if let Body::Slot(pin, _) = body {
                self.ring.release(pin);
            }
            conn.out.begin(text.len(), Body::None, b"", &self.ring);
        } else {
            conn.out.begin(text.len(), body, b"", &self.ring);
        }
        None
    }

    /// Answers with a body that is part of the program.
    #[expect(clippy::too_many_arguments, reason = "one line of a response head each")]
    fn answer(
        &self,
        conn: &mut Conn,
        text: &mut Text,
        request: http::Request,
        status: Status,
        content_type: &str,
        fields: impl fmt::Display,
        body: &'static [u8],
    ) {
        text.clear();
        let length = body.len();
        let fields = format_args!("{}{NOT_EMBEDDED}{fields}", Cors(&self.settings.rules));
        let written = http::write_head(text, status, content_type, length, request.keep_alive, fields);
        debug_assert!(written.is_ok(), "RESPONSE_HEAD_MAX is too small");
        let body = if request.head_only { Body::None } else { Body::Fixed(body) };
        conn.out.begin(text.len(), body, b"", &self.ring);
    }

    /// Answers with what was written to `self.body`.
    pub(super) fn answer_body(
        &mut self,
        conn: &mut Conn,
        text: &mut Text,
        request: http::Request,
        status: Status,
        content_type: &str,
    ) {
        let length = self.body.len();
        let mut body = Body::None;
        if length > SHORT_ANSWER_MAX && !request.head_only {
            let Some(lease) = self.pool.keep(&mut self.body) else {
                return self.unavailable(conn, text, request, "too many answers are still on their way");
            };
            body = Body::Lent(lease);
        }
        text.clear();
        let retry = if status == Status::Unavailable { "Retry-After: 1\r\n" } else { "" };
        let fields = format_args!("{}{NOT_EMBEDDED}{retry}", Cors(&self.settings.rules));
        let mut written = http::write_head(text, status, content_type, length, request.keep_alive, fields);
        if !request.head_only && matches!(body, Body::None) {
            written = written.and_then(|()| text.write_bytes(self.body.bytes()));
        }
        debug_assert!(written.is_ok(), "a connection's text is too small");
        conn.out.begin(text.len(), body, b"", &self.ring);
    }

    fn unavailable(&mut self, conn: &mut Conn, text: &mut Text, request: http::Request, why: &str) {
        self.refuse(conn, text, request, Status::Unavailable, why);
    }

    fn refuse(
        &mut self,
        conn: &mut Conn,
        text: &mut Text,
        request: http::Request,
        status: Status,
        why: &str,
    ) {
        self.body.clear();
        // Reasons are short constants, well below SHORT_ANSWER_MAX; the buffer is for a whole /state.
        let _ = writeln!(self.body, "{}: {why}", status.line());
        self.answer_body(conn, text, request, status, PLAIN);
    }

    /// Writes why the server is not ready, or that it is.
    fn write_ready(&mut self, now: Now) -> Status {
        let quiet = self.feed.quiet(now);
        let unready = quiet > READY_WITHIN || (self.frame.is_none() && !self.feed.on_demand());
        // Short texts into a buffer for a whole /state.
        let _ = match (unready, self.feed.gone(now)) {
            (false, _) => writeln!(self.body, "ready"),
            (true, Some(error)) => {
                writeln!(self.body, "no frame for {:.1} s: {error}", quiet.as_secs_f64())
            }
            (true, None) => writeln!(self.body, "no frame yet"),
        };
        if unready { Status::Unavailable } else { Status::Ok }
    }

    pub(super) fn stream(&mut self, conn: &mut Conn, text: &mut Text, now: Now) -> Option<Verdict> {
        // What a viewer says on a stream means nothing, but leaving it unread would hide its end from us.
        if conn.readable && conn.read(&mut [0; READ_MAX], now.mono) == Got::Failed {
            return Some(Verdict::Close(Close::Broken));
        }
        let Phase::Stream(machine) = &conn.phase else {
            return None;
        };
        let (content, options) = (machine.content(), machine.options());
        match machine.next(now.mono) {
            multipart::Next::Head => {
                text.clear();
                let cookie = self.cookie(conn.id, options.key);
                let fields = format_args!("{}{}", Cors(&self.settings.rules), embedding(content));
                let mut written = multipart::write_head(text, cookie, fields);
                if options.advance_headers {
                    written =
                        written.and_then(|()| multipart::write_advance_head(text, content, now.wall_us));
                }
                debug_assert!(written.is_ok(), "RESPONSE_HEAD_MAX is too small");
                conn.out.begin(text.len(), Body::None, b"", &self.ring);
                None
            }
            multipart::Next::Wait(until) => {
                conn.wake = Some(until);
                Some(Verdict::Idle)
            }
            multipart::Next::Part => self.part(conn, text, now),
        }
    }

    /// Begins a part with the newest frame, or with the last one again, if it is time for either.
    fn part(&mut self, conn: &mut Conn, text: &mut Text, now: Now) -> Option<Verdict> {
        let Phase::Stream(machine) = &conn.phase else {
            return None;
        };
        let (content, options) = (machine.content(), machine.options());
        let mut had = conn.had;
        let again = self.ring.newest().is_some_and(|slot| slot.serial() == had);
        if again && let Some(at) = machine.repeat_at() {
            // A time that has passed would wake the loop for ever while the kernel's queue drains.
            if at > now.mono {
                conn.wake = Some(at);
            } else {
                had -= 1;
            }
        }
        let Some((body, facts)) = self.give(conn, form_of(content), had, now) else {
            return Some(Verdict::Idle);
        };
        if let Phase::Stream(machine) = &mut conn.phase {
            machine.begun(now.mono, again);
        }
        let watched = now.since(conn.opened).as_secs_f64();
        let extra = multipart::Extra {
            width: WIDTH,
            height: HEIGHT,
            client_fps: rounded(if watched > 0.0 { conn.sent as f64 / watched } else { 0.0 }),
            captured: now.mono.saturating_sub(facts.age_ms.map_or(Duration::ZERO, Duration::from_millis)),
            now: now.mono,
        };
        let body = if options.zero_data { self.withhold(conn, body) } else { body };
        let length = self.length(&body);
        text.clear();
        let mut written = Ok(());
        if !options.advance_headers {
            let extra = options.extra_headers.then_some(extra);
            written = multipart::write_part_head(text, content, length, &facts, extra);
        }
        let head = text.len();
        if options.advance_headers {
            written = multipart::write_advance_head(text, content, now.wall_us);
        }
        debug_assert!(written.is_ok(), "RESPONSE_HEAD_MAX is too small");
        conn.out.begin(head, body, multipart::TAIL, &self.ring);
        conn.out.end_with(text.len() - head);
        None
    }

    /// Lets go of a frame that is only to be announced.
    fn withhold(&mut self, conn: &mut Conn, body: Body) -> Body {
        if let Body::Slot(pin, _) = body {
            self.ring.release(pin);
            conn.sent += 1;
        }
        Body::None
    }

    /// The name of a viewer of the stream, for the viewer itself.
    fn cookie(&self, id: u64, key: Tag) -> multipart::Cookie {
        multipart::Cookie { instance: self.settings.instance, key, id }
    }
}

/// The header fields that let pages of another origin read an answer; none unless configured.
struct Cors<'a>(&'a Rules);

impl fmt::Display for Cors<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(origin) = &self.0.allow_origin else { return Ok(()) };
        write!(f, "Access-Control-Allow-Origin: {origin}\r\n")?;
        if !origin.is_any() {
            f.write_str("Access-Control-Allow-Credentials: true\r\n")?;
        }
        EXPOSED.iter().try_for_each(|names| write!(f, "Access-Control-Expose-Headers: {names}\r\n"))
    }
}

/// What pages may read of an answer's head, beside what they always may; in lines that ffmpeg, with its 128 bytes for one, keeps
/// whole. `*` would not hold for requests with credentials.
const EXPOSED: [&str; 3] = [
    "X-Timestamp, X-Depthcast-Seq, X-Depthcast-Age-Ms, X-Depthcast-Online, X-Depthcast-Dropped",
    "X-Depthcast-Min-Mm, X-Depthcast-Max-Mm, Retry-After",
    "X-UStreamer-Online, X-UStreamer-Width, X-UStreamer-Height",
];

/// What else a page of another origin is told that asks beforehand: the methods, and the fields it asked for. None of them
/// means anything here but `Authorization`, so that all are harmless.
struct Preflight<'a>(&'a Rules, FieldNames);

impl fmt::Display for Preflight<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Preflight(rules, names) = self;
        if rules.allow_origin.is_none() {
            return Ok(());
        }
        let comma = if names.is_empty() { "" } else { ", " };
        write!(f, "Access-Control-Allow-Methods: {METHODS}\r\n")?;
        write!(f, "Access-Control-Allow-Headers: Authorization{comma}{names}\r\n")
    }
}

/// The header fields of a picture, as [`http::write_head`] takes them.
struct Fields(PictureFacts, Content);

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fields(facts, content) = self;
        http::write_timestamp(f, facts.captured_us)?;
        f.write_str(embedding(*content))?;
        if !matches!(content, Content::Depth(_)) {
            // What programs made for µStreamer look for in a snapshot.
            write!(f, "X-UStreamer-Online: {}\r\n", facts.online)?;
            write!(f, "X-UStreamer-Width: {WIDTH}\r\nX-UStreamer-Height: {HEIGHT}\r\n")?;
        }
        facts.write(f)
    }
}

/// Who may show it in a page, by the field `Cross-Origin-Resource-Policy` (Fetch standard). Pictures are there to be embedded,
/// `<img src>` in a dashboard of any origin, isolated or not. Nothing else is loaded as part of other pages by anybody but
/// those who want to find out what they may not read. CORS, where configured, is not touched by it.
fn embedding(content: Content) -> &'static str {
    match content {
        Content::Picture(_) | Content::Infrared(_) => "Cross-Origin-Resource-Policy: cross-origin\r\n",
        Content::Depth(_) => NOT_EMBEDDED,
    }
}

const NOT_EMBEDDED: &str = "Cross-Origin-Resource-Policy: same-origin\r\n";

/// What is made in a ring slot for what was asked for.
fn form_of(content: Content) -> Form {
    match content {
        Content::Picture(Image::Jpeg) => Form::Jpeg,
        Content::Picture(Image::Png) => Form::Png,
        Content::Infrared(Image::Jpeg) => Form::InfraredJpeg,
        Content::Infrared(Image::Png) => Form::InfraredPng,
        Content::Depth(Depth::Png) => Form::DepthPng,
        Content::Depth(Depth::Rvl) => Form::Rvl,
        Content::Depth(Depth::Raw) => Form::Raw,
    }
}

/// Why there is no infrared.
const NO_INFRARED: &str =
    "this source has no infrared: these are recorded pictures; a sensor, raw recordings and the demo have it";

/// Why there is no depth: what viewers of pictures see in the placeholder.
const NO_DEPTH: &str = "the sensor gives no depth now";

const PLAIN: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
pub(super) const JSON: &str = "application/json";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
/// The viewer page, and what belongs to it; nothing else is loaded.
const PAGE: &[u8] = include_bytes!("../../web/index.html");
const PAGE_SCRIPT: &[u8] = include_bytes!("../../web/page.js");
const PAGE_STYLE: &[u8] = include_bytes!("../../web/page.css");
const PAGE_NO_SCRIPT: &[u8] = include_bytes!("../../web/noscript.css");
/// The page may load nothing but what this server has, and runs no code that stands in it. Who may frame it is not said:
/// dashboards do, and there is nothing on it that a click could change.
const PAGE_FIELDS: &str = "Referrer-Policy: no-referrer\r\nContent-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; \
img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'\r\n";
