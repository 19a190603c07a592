//! One frame after the other: one endless `multipart/x-mixed-replace` response, framed as µStreamer frames it.
//!
//! The first boundary follows the response head at once and every part is followed by the next boundary in the
//! same write: a browser shows a part when it has seen the boundary behind it, and one that waits for the next
//! frame's would always be a frame late. Each part states its length, which go2rtc insists on.
//!
//! What a viewer may ask for ([`Options`]) is µStreamer's, and a pace of its own.

use std::fmt::{self, Write};
use std::num::NonZeroU8;
use std::time::Duration;

use super::http::{Content, NO_STORE, PictureFacts, write_timestamp};
use super::query::{Name, Query, Tag};
use crate::limits::{STREAM_FINAL, STREAM_IDLE};

/// What follows each part.
pub const TAIL: &[u8] = b"\r\n--boundarydonotcross\r\n";

/// How a viewer wants its stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Options {
    /// What it calls itself.
    pub key: Tag,
    /// Most parts a second; all that there are if `None`.
    pub fps: Option<NonZeroU8>,
    /// `X-UStreamer-` fields in each part.
    pub extra_headers: bool,
    /// The head of the next part right behind each frame, without what is not known yet: Chromium then shows a frame at
    /// once (its issue 527446). Takes precedence over `extra_headers`, as there.
    pub advance_headers: bool,
    /// The last picture before a pause twice: WebKit then shows it at once.
    pub dual_final_frames: bool,
    /// Heads only.
    pub zero_data: bool,
}

impl Options {
    /// What a query asks for.
    ///
    /// # Errors
    /// What to answer to a query that cannot be served.
    pub fn new(query: &Query) -> Result<Self, &'static str> {
        Ok(Self {
            key: query.key()?,
            fps: query.fps()?,
            extra_headers: query.is_true(Name::ExtraHeaders),
            advance_headers: query.is_true(Name::AdvanceHeaders),
            dual_final_frames: query.is_true(Name::DualFinalFrames),
            zero_data: query.is_true(Name::ZeroData),
        })
    }
}

/// What a stream wants next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// The response head.
    Head,
    /// Nothing before this time: the viewer wants no more frames than it asked for.
    Wait(Duration),
    /// The newest frame, as one part.
    Part,
}

/// One viewer of a stream.
#[derive(Debug)]
pub struct Machine {
    content: Content,
    options: Options,
    begun: bool,
    /// Before this time there is no part.
    due: Duration,
    /// When the last part was begun.
    last: Option<Duration>,
    /// Whether that brought the same frame as the one before it.
    repeated: bool,
}

impl Machine {
    /// A viewer who wants this, and wants it so.
    pub fn new(content: Content, options: Options) -> Self {
        Self { content, options, begun: false, due: Duration::ZERO, last: None, repeated: false }
    }

    /// What comes next at `now`.
    pub fn next(&self, now: Duration) -> Next {
        match self.begun {
            false => Next::Head,
            true if now < self.due => Next::Wait(self.due),
            true => Next::Part,
        }
    }

    /// When the last frame is to be sent again unless a newer one comes; `None` for never: before the first, and for
    /// depth, which is not made to look newer than it is.
    ///
    /// µStreamer does so after a second, so that nobody takes the connection for dead.
    pub fn repeat_at(&self) -> Option<Duration> {
        let pause = if self.options.dual_final_frames && !self.repeated { STREAM_FINAL } else { STREAM_IDLE };
        self.last.filter(|_| !matches!(self.content, Content::Depth(_))).map(|last| last + pause)
    }

    /// A part was begun at `now`, with a frame that the viewer has had if `repeated`.
    pub fn begun(&mut self, now: Duration, repeated: bool) {
        self.last = Some(now);
        self.repeated = repeated;
        if let Some(fps) = self.options.fps {
            // By the clock, so that the pace is kept in the mean; what was missed is not made up for.
            let interval = Duration::from_secs(1) / u32::from(fps.get());
            self.due = (self.due + interval).max(now + interval / 2);
        }
    }

    /// The head, or a part with what follows it, has left whole.
    pub fn sent(&mut self) {
        self.begun = true;
    }

    /// What is sent.
    pub fn content(&self) -> Content {
        self.content
    }

    /// How the viewer wants it.
    pub fn options(&self) -> Options {
        self.options
    }
}

/// A viewer as the cookie of its stream names it, for a page that looks for itself in `/state`.
#[derive(Clone, Copy, Debug)]
pub struct Cookie {
    /// Name of the server among others on one host.
    pub instance: Tag,
    /// What the viewer calls itself.
    pub key: Tag,
    /// What the server calls it.
    pub id: u64,
}

/// µStreamer's, to the byte.
impl fmt::Display for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cookie { instance, key, id } = self;
        let (instance, key) = (instance.as_str(), key.or_zero());
        let dash = if instance.is_empty() { "" } else { "_" };
        write!(f, "stream_client{dash}{instance}={key}/{id:016x}; path=/; max-age=30")
    }
}

/// Writes the response head and the first boundary.
///
/// HTTP/1.0 without a length: the stream ends with its connection, which is what all clients were built against.
/// Proxies are told not to hold frames back. `extra` are whole header lines.
///
/// # Errors
/// When `out` is full; [`RESPONSE_HEAD_MAX`](crate::limits::RESPONSE_HEAD_MAX) bytes are enough.
pub fn write_head(out: &mut impl Write, cookie: Cookie, extra: impl fmt::Display) -> fmt::Result {
    write!(
        out,
        "HTTP/1.0 200 OK\r\n{NO_STORE}X-Accel-Buffering: no\r\n{extra}Set-Cookie: {cookie}\r\n\
         Content-Type: multipart/x-mixed-replace;boundary=boundarydonotcross\r\n\r\n--boundarydonotcross\r\n"
    )
}

/// Writes the head of one part whose body has `length` bytes.
///
/// # Errors
/// When `out` is full; [`RESPONSE_HEAD_MAX`](crate::limits::RESPONSE_HEAD_MAX) bytes are enough.
pub fn write_part_head(
    out: &mut impl Write,
    content: Content,
    length: usize,
    facts: &PictureFacts,
    extra: Option<Extra>,
) -> fmt::Result {
    // One space after each colon and nothing after the type: GStreamer and ffmpeg read at fixed places.
    write!(out, "Content-Type: {}\r\nContent-Length: {length}\r\n", content.media_type())?;
    write_timestamp(out, facts.captured_us)?;
    if let Some(extra) = extra {
        extra.write(out, facts)?;
    }
    facts.write(out)?;
    out.write_str("\r\n")
}

/// Writes the head of a part whose frame does not exist yet.
///
/// * `now_us`: the wall clock, microseconds since 1970; when the frame will be captured nobody knows.
///
/// # Errors
/// When `out` is full; 128 bytes are enough.
pub fn write_advance_head(out: &mut impl Write, content: Content, now_us: i64) -> fmt::Result {
    write!(out, "Content-Type: {}\r\n", content.media_type())?;
    write_timestamp(out, now_us)?;
    out.write_str("\r\n")
}

/// What µStreamer tells with `extra_headers`, as far as there is such a thing here: its stages between grabbing and sending
/// are not ours. Times are those of the server's monotonic clock, as there.
#[derive(Clone, Copy, Debug)]
pub struct Extra {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Parts a second that this viewer gets.
    pub client_fps: u32,
    /// When the frame was captured.
    pub captured: Duration,
    /// When it is sent.
    pub now: Duration,
}

impl Extra {
    fn write(&self, out: &mut impl Write, facts: &PictureFacts) -> fmt::Result {
        let Extra { width, height, client_fps, captured, now } = *self;
        write!(out, "X-UStreamer-Online: {}\r\n", facts.online)?;
        write!(out, "X-UStreamer-Dropped: {}\r\n", facts.skipped)?;
        write!(out, "X-UStreamer-Width: {width}\r\nX-UStreamer-Height: {height}\r\n")?;
        write!(out, "X-UStreamer-Client-FPS: {client_fps}\r\n")?;
        write!(out, "X-UStreamer-Grab-Begin-Time: {:.6}\r\n", captured.as_secs_f64())?;
        write!(out, "X-UStreamer-Send-Time: {:.6}\r\n", now.as_secs_f64())?;
        let latency = now.saturating_sub(captured).as_secs_f64();
        write!(out, "X-UStreamer-Latency: {latency:.6}\r\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::RESPONSE_HEAD_MAX;
    use crate::proto::http::{Depth, Image};

    const JPEG: Content = Content::Picture(Image::Jpeg);

    fn options(query: &str) -> Options {
        Options::new(&Query::new(query)).expect("a good query")
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn framing_to_the_byte() {
        let mut out = String::new();
        let cookie = Cookie { instance: Tag::NONE, key: Tag::NONE, id: 0x2a };
        write_head(&mut out, cookie, "").expect("a String");
        assert!(out.starts_with("HTTP/1.0 200 OK\r\n"));
        assert!(out.ends_with(
            "\r\nSet-Cookie: stream_client=0/000000000000002a; path=/; max-age=30\r\n\
             Content-Type: multipart/x-mixed-replace;boundary=boundarydonotcross\r\n\r\n--boundarydonotcross\r\n"
        ));
        let cookie =
            Cookie { instance: "garage".parse().expect("a tag"), key: options("key=me.1").key, id: u64::MAX };
        assert_eq!(cookie.to_string(), "stream_client_garage=me.1/ffffffffffffffff; path=/; max-age=30");
        out.clear();
        let facts = PictureFacts {
            captured_us: 1_605_016_534_000_007,
            seq: 3,
            age_ms: Some(2),
            online: true,
            skipped: 0,
            range_mm: Some((0, 1500)),
        };
        write_part_head(&mut out, JPEG, 9, &facts, None).expect("a String");
        let ours = "X-Depthcast-Seq: 3\r\nX-Depthcast-Age-Ms: 2\r\nX-Depthcast-Online: true\r\nX-Depthcast-Dropped: 0\r\n\
             X-Depthcast-Min-Mm: 0\r\nX-Depthcast-Max-Mm: 1500\r\n\r\n";
        let first = "Content-Type: image/jpeg\r\nContent-Length: 9\r\nX-Timestamp: 1605016534.000007\r\n";
        assert_eq!(out, format!("{first}{ours}"));
        out.clear();
        let extra = Extra { width: 512, height: 424, client_fps: 30, captured: ms(1500), now: ms(1502) };
        write_part_head(&mut out, JPEG, 9, &facts, Some(extra)).expect("a String");
        let theirs = "X-UStreamer-Online: true\r\nX-UStreamer-Dropped: 0\r\nX-UStreamer-Width: 512\r\n\
             X-UStreamer-Height: 424\r\nX-UStreamer-Client-FPS: 30\r\nX-UStreamer-Grab-Begin-Time: 1.500000\r\n\
             X-UStreamer-Send-Time: 1.502000\r\nX-UStreamer-Latency: 0.002000\r\n";
        assert_eq!(out, format!("{first}{theirs}{ours}"));
        out.clear();
        write_advance_head(&mut out, JPEG, 1_605_016_534_000_007).expect("a String");
        assert_eq!(out, "Content-Type: image/jpeg\r\nX-Timestamp: 1605016534.000007\r\n\r\n");
    }

    #[test]
    fn heads_are_within_their_bound() {
        let facts = PictureFacts {
            captured_us: i64::MIN,
            seq: u64::MAX,
            age_ms: Some(u64::MAX),
            online: false,
            skipped: u64::MAX,
            range_mm: Some((u16::MAX, u16::MAX)),
        };
        let extra = Extra {
            width: usize::MAX,
            height: usize::MAX,
            client_fps: u32::MAX,
            captured: Duration::ZERO,
            now: Duration::MAX,
        };
        let mut out = String::new();
        let content = Content::Depth(Depth::Rvl);
        write_part_head(&mut out, content, usize::MAX, &facts, Some(extra)).expect("a String");
        write_advance_head(&mut out, content, i64::MIN).expect("a String");
        assert!(out.len() <= RESPONSE_HEAD_MAX, "{} bytes", out.len());
        assert!(out.lines().all(|line| line.len() < 128), "ffmpeg cuts lines at 128 bytes");
    }

    #[test]
    fn a_head_and_then_parts() {
        let mut machine = Machine::new(JPEG, options(""));
        assert_eq!(machine.next(ms(0)), Next::Head);
        machine.sent();
        assert_eq!((machine.next(ms(0)), machine.repeat_at()), (Next::Part, None));
        machine.begun(ms(0), false);
        machine.sent();
        assert_eq!((machine.next(ms(0)), machine.repeat_at()), (Next::Part, Some(STREAM_IDLE)));
    }

    #[test]
    fn a_pace_is_kept_in_the_mean_and_nothing_is_made_up_for() {
        // Frames come every 33 ms, 20 a second are wanted.
        let mut machine = Machine::new(JPEG, options("fps=20"));
        machine.sent();
        let play = |machine: &mut Machine, from: u64, to: u64| {
            let (mut had, mut taken) = (None, 0);
            for at in from..to {
                let newest = Some(at / 33);
                if newest != had && machine.next(ms(at)) == Next::Part {
                    machine.begun(ms(at), false);
                    (had, taken) = (newest, taken + 1);
                }
            }
            taken
        };
        let taken = play(&mut machine, 0, 10_000);
        assert!((195..=201).contains(&taken), "{taken} in ten seconds");
        let taken = play(&mut machine, 60_000, 61_000);
        assert!((19..=21).contains(&taken), "{taken} in the second after a pause");
    }

    #[test]
    fn the_last_picture_comes_again_depth_does_not() {
        let mut machine = Machine::new(JPEG, options("dual_final_frames=1"));
        machine.sent();
        machine.begun(ms(0), false);
        assert_eq!(machine.repeat_at(), Some(STREAM_FINAL));
        machine.begun(STREAM_FINAL, true);
        assert_eq!(machine.repeat_at(), Some(STREAM_FINAL + STREAM_IDLE), "twice, not for ever");
        machine.begun(ms(5000), false);
        assert_eq!(machine.repeat_at(), Some(ms(5000) + STREAM_FINAL));
        let mut machine = Machine::new(Content::Depth(Depth::Raw), options("dual_final_frames=1"));
        machine.sent();
        machine.begun(ms(0), false);
        assert_eq!(machine.repeat_at(), None);
    }
}
