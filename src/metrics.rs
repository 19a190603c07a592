//! What is counted, and the JSON that `/state` answers with.

// What `/metrics` answers with.
pub mod exposition;

// How long things take.
pub mod histogram;

use std::fmt::{self, Write};
use std::time::Duration;

use self::histogram::Histogram;
use crate::camera::Camera;
use crate::proto::query::Tag;
use crate::proto::{Close, multipart};
use crate::ring::Form;
use crate::source::{HEIGHT, WIDTH};
use crate::source::{Report, life};

/// Counters since the start; they only rise.
#[derive(Debug, Default)]
pub struct Counters {
    /// Frames captured whole.
    pub captured: u64,
    /// Frames that arrived incomplete.
    pub torn: u64,
    /// Placeholders shown.
    pub placeholders: u64,
    /// Times the source was lost.
    pub lost: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Pictures sent whole.
    pub pictures: u64,
    /// The same by [`Protocol`] and [`Form`].
    pub sent: [[u64; Form::ALL.len()]; Protocol::ALL.len()],
    /// Frames that viewers of each [`Protocol`] did not get.
    pub skipped: [u64; Protocol::ALL.len()],
    /// Bytes handed to the kernel.
    pub bytes: u64,
    /// Requests with a wrong token.
    pub wrong_tokens: u64,
    /// Connections closed, by [`Close::number`].
    pub closed: [u64; Close::WORDS.len()],
}

impl Counters {
    /// Counts a picture that was sent whole.
    pub fn count_sent(&mut self, protocol: Protocol, form: Form) {
        self.pictures += 1;
        self.sent[protocol as usize][form as usize] += 1;
    }
}

/// What a connection speaks, for counters and for `/state`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// Nothing yet.
    None,
    /// The Python protocol.
    Python,
    /// Requests and answers.
    Http,
    /// The picture stream.
    Stream,
    /// Depth over a WebSocket.
    WebSocket,
}

impl Protocol {
    /// All of them, each at its own number.
    pub const ALL: [Protocol; 5] =
        [Protocol::None, Protocol::Python, Protocol::Http, Protocol::Stream, Protocol::WebSocket];

    /// Those that watch: they hold one of the places for viewers.
    pub const VIEWERS: [Protocol; 3] = [Protocol::Python, Protocol::Stream, Protocol::WebSocket];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::None => "none",
            Protocol::Python => "python",
            Protocol::Http => "http",
            Protocol::Stream => "stream",
            Protocol::WebSocket => "websocket",
        }
    }
}

/// How long things took since the start.
#[derive(Clone, Copy, Debug)]
pub struct Timings {
    /// Reading or decoding a frame of the source to depth.
    pub decode: Histogram,
    /// Making each [`Form`].
    pub encode: [Histogram; Form::ALL.len()],
    /// Ages of frames when their last byte was handed to the kernel.
    pub age: Histogram,
}

impl Default for Timings {
    fn default() -> Self {
        let work = Histogram::new(histogram::WORK);
        Self { decode: work, encode: [work; Form::ALL.len()], age: Histogram::new(histogram::AGE) }
    }
}

/// Frames a second over the last five seconds, in a fixed amount of memory.
#[derive(Debug)]
pub struct Rate {
    /// Frames in each tenth of a second; a ring, `newest` is the current tenth.
    tenths: [u16; TENTHS],
    newest: u64,
    begun: u64,
}

impl Rate {
    /// Starts counting at `now`.
    pub fn new(now: Duration) -> Self {
        Self { tenths: [0; TENTHS], newest: tenth(now), begun: tenth(now) }
    }

    /// Forgets what was counted: what comes now is to be measured by itself.
    pub fn restart(&mut self, now: Duration) {
        *self = Self::new(now);
    }

    /// Counts one frame.
    pub fn count(&mut self, now: Duration) {
        self.advance(now);
        let at = self.place();
        self.tenths[at] = self.tenths[at].saturating_add(1);
    }

    /// Mean frames a second of the last five seconds; `None` before five seconds have passed.
    pub fn mean(&mut self, now: Duration) -> Option<f64> {
        self.advance(now);
        if self.newest - self.begun < TENTHS as u64 {
            return None;
        }
        // The current tenth is not over: leave it out, and so its length.
        let current = self.tenths[self.place()];
        let sum: u32 = self.tenths.iter().map(|&n| u32::from(n)).sum::<u32>() - u32::from(current);
        Some(f64::from(sum) / ((TENTHS - 1) as f64 / 10.0))
    }

    fn advance(&mut self, now: Duration) {
        let target = tenth(now).max(self.newest);
        let steps = (target - self.newest).min(TENTHS as u64);
        self.newest = target - steps;
        for _ in 0..steps {
            self.newest += 1;
            let at = self.place();
            self.tenths[at] = 0;
        }
    }

    fn place(&self) -> usize {
        usize::try_from(self.newest % TENTHS as u64).expect("below 50")
    }
}

/// Everything `/state` tells but the viewers.
#[expect(missing_debug_implementations, reason = "the reason in words is only Display")]
pub struct State<'a> {
    /// Name of the server among others on one host.
    pub instance: Tag,
    /// Who and where.
    pub camera: &'a Camera,
    /// Kind of source.
    pub source: &'a str,
    /// `streaming`, or one word for why not.
    pub sensor: &'a str,
    /// The reason in words; empty while streaming.
    pub reason: &'a dyn fmt::Display,
    /// Whether the newest picture shows the sensor's view.
    pub online: bool,
    /// Frames a second asked for; 0 means on demand.
    pub desired_fps: u32,
    /// Frames a second as captured.
    pub captured_fps: f64,
    /// Sequence number of the newest frame.
    pub seq: u64,
    /// Its age in milliseconds.
    pub age_ms: Option<u64>,
    /// Depth at index 0, in millimetres.
    pub min_mm: u16,
    /// Depth at index 255, in millimetres.
    pub max_mm: u16,
    /// Time since the start.
    pub uptime: Duration,
    /// How often the source was opened again.
    pub reopened: u64,
    /// What is known of a sensor; `None` if the source is none.
    pub report: Option<Report>,
    /// Places for viewers.
    pub viewers_max: usize,
    /// Counters.
    pub counters: &'a Counters,
    /// Quality of JPEG pictures.
    pub jpeg_quality: u8,
    /// How often each [`Form`] was made.
    pub made: [u64; Form::ALL.len()],
}

/// One viewer in `/state`.
#[derive(Clone, Copy, Debug)]
pub struct Viewer {
    /// Stays the same while the viewer is connected.
    pub id: u64,
    /// [`Protocol::name`].
    pub protocol: &'static str,
    /// Pictures sent whole.
    pub sent: u64,
    /// Frames it was too slow for, or did not ask for.
    pub skipped: u64,
    /// How it wants its stream, if it watches one.
    pub options: Option<multipart::Options>,
    /// Age of the frame it was sent last, in milliseconds.
    pub age_ms: Option<u64>,
    /// Pictures a second since it connected.
    pub fps: f64,
}

/// Writes the JSON of `/state`: µStreamer's shape, and more beside it.
///
/// # Errors
/// When `out` is full.
pub fn write_state(
    out: &mut impl Write,
    state: &State<'_>,
    viewers: impl Iterator<Item = Viewer> + Clone,
) -> fmt::Result {
    let Camera { uid, name, kind, location } = state.camera;
    let count = viewers.clone().count();
    write!(out, r#"{{"ok":true,"result":{{"instance_id":"{}","#, state.instance.as_str())?;
    write!(out, r#""encoder":{{"type":"CPU","#)?;
    write!(out, r#""quality":{}}},"#, state.jpeg_quality)?;
    write!(
        out,
        r#""source":{{"resolution":{{"width":{WIDTH},"height":{HEIGHT}}},"online":{},"#,
        state.online
    )?;
    write!(out, r#""desired_fps":{},"captured_fps":{:.1}}},"#, state.desired_fps, state.captured_fps)?;
    write!(out, r#""stream":{{"queued_fps":{:.1},"clients":{count},"clients_stat":{{"#, state.captured_fps)?;
    for (n, viewer) in viewers.enumerate() {
        let comma = if n > 0 { "," } else { "" };
        write!(out, r#"{comma}"{:016x}":{{"fps":{:.1},"#, viewer.id, viewer.fps)?;
        let options = viewer.options;
        let said = |wish: fn(&multipart::Options) -> bool| options.as_ref().is_some_and(wish);
        write!(out, r#""extra_headers":{},"#, said(|o| o.extra_headers))?;
        write!(out, r#""advance_headers":{},"#, said(|o| o.advance_headers))?;
        write!(out, r#""dual_final_frames":{},"#, said(|o| o.dual_final_frames))?;
        write!(out, r#""zero_data":{},"#, said(|o| o.zero_data))?;
        // Nothing in a tag needs an escape.
        write!(out, r#""key":"{}","#, options.map_or(Tag::NONE, |o| o.key).or_zero())?;
        write!(
            out,
            r#""protocol":"{}","sent":{},"skipped":{},"#,
            viewer.protocol, viewer.sent, viewer.skipped
        )?;
        write!(out, r#""age_ms":{}}}"#, OrNull(viewer.age_ms))?;
    }
    write!(out, r#"}},"clients_max":{}}},"#, state.viewers_max)?;
    write!(out, r#""depth":{{"min_mm":{},"max_mm":{},"unit":"mm","#, state.min_mm, state.max_mm)?;
    write!(out, r#""seq":{},"age_ms":{}}},"#, state.seq, OrNull(state.age_ms))?;
    write!(out, r#""sensor":{{"source":"{}","state":"{}","#, state.source, state.sensor)?;
    write!(out, r#""reason":"{}","reopened":{},"usb":"#, Json(state.reason), state.reopened)?;
    write_report(out, state.report.as_ref())?;
    out.write_str("},")?;
    write!(out, r#""camera":{{"uid":"{}","name":"{}","#, Json(uid), Json(name))?;
    write!(out, r#""type":"{}","location":"{}"}},"#, Json(kind), Json(location))?;
    let c = state.counters;
    write!(out, r#""uptime_s":{},"counters":{{"captured":{},"#, state.uptime.as_secs(), c.captured)?;
    write!(out, r#""torn":{},"placeholders":{},"lost":{},"#, c.torn, c.placeholders, c.lost)?;
    write!(out, r#""accepted":{},"pictures":{},"bytes":{},"#, c.accepted, c.pictures, c.bytes)?;
    write!(out, r#""wrong_tokens":{},"made":{{"#, c.wrong_tokens)?;
    for (n, (form, made)) in Form::ALL.into_iter().zip(state.made).enumerate() {
        let comma = if n > 0 { "," } else { "" };
        write!(out, r#"{comma}"{}":{made}"#, form.name())?;
    }
    out.write_str(r#"},"closed":{"#)?;
    for (n, (word, count)) in Close::WORDS.iter().zip(c.closed).enumerate() {
        let comma = if n > 0 { "," } else { "" };
        write!(out, r#"{comma}"{word}":{count}"#)?;
    }
    out.write_str("}}}}\n")
}

/// Writes what is known of a sensor, or `null`.
fn write_report(out: &mut impl Write, report: Option<&Report>) -> fmt::Result {
    let r = match report {
        None => return out.write_str("null"),
        Some(Report::Library(r)) => return write_library(out, r),
        Some(Report::Usb(r)) => r,
    };
    out.write_str(r#"{"serial":"#)?;
    write_name(out, r.serial)?;
    match r.firmware {
        Some(firmware) => write!(out, r#","firmware":"{firmware}","#)?,
        None => out.write_str(r#","firmware":null,"#)?,
    }
    write!(out, r#""step":"{}","packets_lost":{},"#, r.step, r.packets_lost)?;
    write!(out, r#""sub_images_damaged":{},"frames_dropped":{},"#, r.sub_images_damaged, r.frames_dropped)?;
    write!(out, r#""frames_lost":{},"restarts":{},"resets":{},"#, r.frames_lost, r.restarts, r.resets)?;
    write!(out, r#""transfers":{},"queue_low":{},"queue_dry":{},"#, r.transfers, r.queue_low, r.queue_dry)?;
    write!(out, r#""transfers_refused":{}}}"#, r.transfers_refused)
}

/// The same of a sensor behind a library.
fn write_library(out: &mut impl Write, r: &life::Report) -> fmt::Result {
    out.write_str(r#"{"serial":"#)?;
    write_name(out, r.serial)?;
    out.write_str(r#","firmware":"#)?;
    write_name(out, r.firmware)?;
    write!(out, r#","step":"{}","pipeline":"{}","#, r.step, r.pipeline.name())?;
    write!(out, r#""frames_lost":{},"frames_overtaken":{},"#, r.frames_lost, r.frames_overtaken)?;
    write!(out, r#""frames_bad":{},"resets":{}}}"#, r.frames_bad, r.resets)
}

fn write_name(out: &mut impl Write, name: Option<impl fmt::Display>) -> fmt::Result {
    match name {
        Some(name) => write!(out, r#""{}""#, Json(name)),
        None => out.write_str("null"),
    }
}

/// Bytes of `/state` that are enough for `viewers` of them and any camera of `camera_bytes` bytes of text.
pub const fn state_bound(viewers: usize, camera_bytes: usize) -> usize {
    // A control character takes six bytes in JSON; a viewer with the longest numbers and key 360; a sensor with the longest
    // numbers and name 800, and the reason for not having one 400.
    3500 + 6 * camera_bytes + 360 * viewers
}

const TENTHS: usize = 50;

fn tenth(now: Duration) -> u64 {
    u64::try_from(now.as_millis() / 100).unwrap_or(u64::MAX)
}

/// `null` for what is not known.
struct OrNull(Option<u64>);

impl fmt::Display for OrNull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(n) => write!(f, "{n}"),
            None => f.write_str("null"),
        }
    }
}

/// Text as the inside of a JSON string (RFC 8259, section 7).
pub(crate) struct Json<T>(pub(crate) T);

impl<T: fmt::Display> fmt::Display for Json<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '"' | '\\' => write!(self.0, "\\{c}")?,
                c if c < ' ' => write!(self.0, "\\u{:04x}", u32::from(c))?,
                c => self.0.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::limits::QUERY_VALUE_MAX;
    use crate::proto::multipart::Options;
    use crate::proto::query::Query;
    use crate::source::kinect;
    use kinect2::driver::{Firmware, Name};

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn the_rate_is_a_mean_of_five_seconds() {
        let mut rate = Rate::new(ms(0));
        for n in 0..300 {
            assert_eq!(rate.mean(ms(n * 33)).is_some(), n * 33 >= 5000);
            rate.count(ms(n * 33));
        }
        let fps = rate.mean(ms(300 * 33)).expect("five seconds have passed");
        assert!((fps - 30.3).abs() < 0.5, "{fps}");
        assert_eq!(rate.mean(ms(300 * 33 + 5100)), Some(0.0), "nothing for five seconds");
        assert_eq!(rate.mean(ms(10_000_000)), Some(0.0), "a long sleep");
    }

    /// Calls `with` with the longest state that there can be.
    pub(crate) fn longest<T>(
        camera: &Camera,
        reason: &str,
        viewers: usize,
        with: impl FnOnce(&State<'_>) -> T,
    ) -> T {
        let counters = Counters {
            captured: u64::MAX,
            bytes: u64::MAX,
            closed: [u64::MAX; Close::WORDS.len()],
            sent: [[u64::MAX; Form::ALL.len()]; Protocol::ALL.len()],
            skipped: [u64::MAX; Protocol::ALL.len()],
            ..Counters::default()
        };
        let longest = Tag::new(&[b'x'; QUERY_VALUE_MAX]).expect("a tag");
        with(&State {
            instance: longest,
            camera,
            source: "demo",
            sensor: "streaming",
            reason: &reason,
            online: true,
            desired_fps: 30,
            captured_fps: 29.97,
            seq: u64::MAX,
            age_ms: Some(u64::MAX),
            min_mm: 0,
            max_mm: u16::MAX,
            uptime: Duration::MAX,
            reopened: u64::MAX,
            report: Some(Report::Usb(kinect::Report {
                serial: Some(Name::new(&"\"".repeat(99))),
                firmware: Some(Firmware {
                    major: u16::MAX,
                    minor: u16::MAX,
                    revision: u32::MAX,
                    build: u32::MAX,
                }),
                step: "streaming",
                packets_lost: u64::MAX,
                sub_images_damaged: u64::MAX,
                frames_dropped: u64::MAX,
                frames_lost: u64::MAX,
                restarts: u64::MAX,
                resets: u64::MAX,
                transfers: usize::MAX,
                queue_low: usize::MAX,
                queue_dry: u64::MAX,
                transfers_refused: u64::MAX,
            })),
            viewers_max: viewers,
            counters: &counters,
            jpeg_quality: 100,
            made: [u64::MAX; Form::ALL.len()],
        })
    }

    fn state_text(camera: &Camera, reason: &str, viewers: usize) -> String {
        let viewer = Viewer {
            id: u64::MAX,
            protocol: "python",
            sent: u64::MAX,
            skipped: u64::MAX,
            options: Some(Options::new(&Query::new(&format!("key={}", "x".repeat(64)))).expect("good")),
            age_ms: Some(u64::MAX),
            fps: 99_999.9,
        };
        let mut out = String::new();
        longest(camera, reason, viewers, |state| {
            write_state(&mut out, state, std::iter::repeat_n(viewer, viewers)).expect("a String");
        });
        out
    }

    #[test]
    fn protocols_stand_at_their_numbers() {
        for (n, protocol) in Protocol::ALL.into_iter().enumerate() {
            assert_eq!(protocol as usize, n, "{protocol:?}");
        }
    }

    #[test]
    fn state_is_escaped_and_within_its_bound() {
        let camera = Camera { name: "a\"b\\c\nd".into(), ..Camera::default() };
        let text = state_text(&camera, "no \"signal\"", 2);
        assert!(text.contains(r#""name":"a\"b\\c\u000ad""#), "{text}");
        assert!(text.contains(r#""reason":"no \"signal\"""#), "{text}");
        let camera = Camera {
            uid: "\u{1}".repeat(100),
            name: "\u{1}".repeat(100),
            kind: "\u{1}".repeat(100),
            location: "\u{1}".repeat(100),
        };
        for viewers in [0, 1, 64, 1000] {
            let len = state_text(&camera, &"r".repeat(400), viewers).len();
            assert!(len <= state_bound(viewers, 400), "{len} bytes for {viewers} viewers");
        }
    }
}
