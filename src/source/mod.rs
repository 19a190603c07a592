//! Stage 1: depth comes in.
//!
//! A [`Source`] gives depth images; a [`Feed`] is a source under supervision: it paces those that have no pace of
//! their own, numbers and stamps what is captured, notices when nothing comes any more, and reopens what has gone
//! with growing pauses, while the sequence numbers go on rising. A sensor keeps its own pace and reopens itself: the
//! feed only steps it and says what came of that.

// The built-in synthetic car park.
pub mod demo;

// Recorded frames from a folder.
pub mod replay;

// Raw Kinect v2 frames from a folder, decoded live.
pub mod raw;

// A Kinect v2.
pub mod kinect;

// The same through libfreenect2: its life, what its threads hand over, and the library itself.
pub mod life;
pub mod triple;

#[cfg(feature = "libfreenect2")]
pub mod libfreenect2;

// Faults on demand, for tests.
pub mod fault;

use std::fmt;
use std::os::fd::RawFd;
use std::path::Path;
use std::time::Duration;

use kinect2::depth::Intrinsics;
use kinect2::driver::Trouble;

use crate::clock::Now;
use crate::limits::{GONE_AFTER, INFRARED_FOR, REOPEN_FIRST, REOPEN_MAX, SIGN_OF_LIFE_WITHIN};

/// Columns of a Kinect v2 depth image.
pub const WIDTH: usize = 512;
/// Rows of a Kinect v2 depth image.
pub const HEIGHT: usize = 424;
/// Pixels of a depth image; every depth buffer of this crate has this length, row-major, row 0 at the top.
pub const PIXELS: usize = WIDTH * HEIGHT;

/// Frames per second of a Kinect v2, and of sources that are not asked for another pace.
pub const NOMINAL_FPS: u32 = 30;

/// Where depth comes from.
#[derive(Debug)]
pub enum Source {
    /// The built-in synthetic car park.
    Demo(Box<demo::Demo>),
    /// Recorded frames, played in a loop.
    Replay(replay::Replay),
    /// Raw recorded frames, decoded and played in a loop.
    Raw(Box<raw::Raw>),
    /// A Kinect v2, event-driven.
    Kinect(Box<kinect::Kinect>),
    /// A Kinect v2 through libfreenect2.
    #[cfg(feature = "libfreenect2")]
    Libfreenect2(Box<libfreenect2::Libfreenect2>),
}

/// The version of libfreenect2 that this was built for; `None` if it was built without.
pub const LIBFREENECT2: Option<&str> = {
    #[cfg(feature = "libfreenect2")]
    let version = Some(libfreenect2_sys::VERSION);
    #[cfg(not(feature = "libfreenect2"))]
    let version = None;
    version
};

impl Source {
    /// Opens a folder of recorded frames, raw ones (`*.depth`) or pictures (`*.png`).
    ///
    /// # Errors
    /// A text that names the bad files and what is wrong with them.
    pub fn open_replay(folder: &Path) -> Result<Self, String> {
        if raw::Raw::is_raw(folder) {
            return raw::Raw::open(folder).map(|raw| Source::Raw(Box::new(raw))).map_err(|e| e.to_string());
        }
        replay::Replay::open(folder).map(Source::Replay).map_err(|e| e.to_string())
    }

    /// Writes frame `n`, captured `time` after the source was started, in millimetres; 0 means no return. A sensor is not
    /// asked: it says when it has a frame. If `infrared` is given, and if there is such a picture, it is written too.
    fn read(&mut self, n: u64, time: Duration, depth: &mut [u16], infrared: Option<&mut [u16]>) {
        match self {
            Source::Demo(demo) => {
                demo.render(n, time, depth);
                if let Some(infrared) = infrared {
                    demo.infrared(n, infrared);
                }
            }
            Source::Replay(replay) => replay.copy_frame(n, depth),
            Source::Raw(raw) => raw.decode(n, depth, infrared),
            _ => debug_assert!(self.driven().is_some(), "a sensor is not asked"),
        }
    }

    /// Whether it has infrared pictures beside depth.
    fn has_infrared(&self) -> bool {
        !matches!(self, Source::Replay(_))
    }

    /// The lens that its pictures are seen through, in pixels, if it is known.
    fn intrinsics(&self) -> Option<Intrinsics> {
        match self {
            Source::Demo(_) => Some(demo::INTRINSICS.single()),
            Source::Raw(raw) => Some(raw.intrinsics()),
            Source::Replay(_) => None,
            _ => self.driven().and_then(Driven::intrinsics),
        }
    }

    /// Frames that it has before it begins anew; `None` if it does not.
    pub fn frames(&self) -> Option<u64> {
        match self {
            Source::Replay(replay) => Some(replay.len() as u64),
            Source::Raw(raw) => Some(raw.len() as u64),
            _ => None,
        }
    }

    /// The name by which logs and `/state` call this kind of source.
    pub fn kind(&self) -> &'static str {
        match self {
            Source::Demo(_) => "demo",
            Source::Replay(_) | Source::Raw(_) => "replay",
            Source::Kinect(_) => "kinect",
            #[cfg(feature = "libfreenect2")]
            Source::Libfreenect2(_) => "libfreenect2",
        }
    }

    /// The source as a sensor, if it is one.
    fn driven(&self) -> Option<&dyn Driven> {
        match self {
            Source::Kinect(kinect) => Some(&**kinect),
            #[cfg(feature = "libfreenect2")]
            Source::Libfreenect2(sensor) => Some(&**sensor),
            Source::Demo(_) | Source::Replay(_) | Source::Raw(_) => None,
        }
    }

    fn driven_mut(&mut self) -> Option<&mut dyn Driven> {
        match self {
            Source::Kinect(kinect) => Some(&mut **kinect),
            #[cfg(feature = "libfreenect2")]
            Source::Libfreenect2(sensor) => Some(&mut **sensor),
            Source::Demo(_) | Source::Replay(_) | Source::Raw(_) => None,
        }
    }
}

/// A sensor: it has a pace and a will of its own, and opens itself again.
trait Driven {
    /// Steps it. Bounded, never blocks, and allocates nothing while frames come.
    fn turn(&mut self, now: Now) -> Progress;
    /// Hands out the frame that the last turn completed, and when it was captured: when its first packet came.
    ///
    /// * `depth`: millimetres, row-major, 424 rows x 512 columns; 0 means no return. Overwritten whole.
    /// * `infrared`: where its infrared picture goes, the same shape, if that is wanted; the answer says whether it is there.
    ///
    /// `None` if there is none; what was given is then worthless. Never allocates.
    fn take(&mut self, now: Now, depth: &mut [u16], infrared: Option<&mut [u16]>) -> Option<(Now, bool)>;
    /// Asks for infrared pictures, from the next frame on that begins, or no more.
    fn want_infrared(&mut self, wanted: bool);
    /// Its lens, once known.
    fn intrinsics(&self) -> Option<Intrinsics>;
    /// Why there are no frames now, at least not for long enough to say so; `None` while they come.
    fn trouble(&self) -> Option<SourceError>;
    /// What an overdue frame means if it knows of no trouble.
    fn overdue(&self) -> SourceError;
    /// When a turn is due although no descriptor is ready.
    fn due(&self) -> Option<Duration>;
    /// A descriptor that is readable when it has work; the same all the time.
    fn job(&self) -> RawFd;
    /// The open device, if it has one that is writable when it has work: to be watched anew with each generation.
    fn node(&self) -> Option<(u64, RawFd)>;
    /// Changes what is made of frames.
    fn set(&mut self, settings: &kinect::Settings);
    /// Begins to stop in order; go on with turns until [`Driven::is_shut_down`].
    fn shut_down(&mut self, now: Now);
    /// Whether nothing is left to do.
    fn is_shut_down(&self) -> bool;
    /// What `/state` tells of it.
    fn report(&self) -> Report;
    /// Where it is in its life: another value with each step that it takes.
    fn step(&self) -> StepOfLife;
}

/// A step in the life of a sensor, to tell one from the next.
#[derive(Clone, Copy, Debug, PartialEq)]
enum StepOfLife {
    /// Of one driven by this program.
    Usb(kinect2::driver::State),
    /// Of one behind a library.
    #[cfg(feature = "libfreenect2")]
    Library(&'static str),
}

/// What a turn of a sensor came to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Progress {
    /// Nothing, before a descriptor or the deadline says so.
    Idle,
    /// There may be more to do.
    More,
    /// A frame is complete: take it before the next turn.
    Frame,
    /// Frames have stopped coming.
    Lost(SourceError),
    /// There are still none, for another reason.
    Still(SourceError),
    /// Frames come: for the first time, or again.
    Flowing {
        /// Whether they came before.
        again: bool,
    },
}

/// A moment on both clocks, by that on the monotonic one.
fn when(now: Now, mono: Duration) -> Now {
    let mono = mono.min(now.mono);
    let ago = i64::try_from((now.mono - mono).as_micros()).unwrap_or(i64::MAX);
    Now { mono, wall_us: now.wall_us.saturating_sub(ago) }
}

/// What `/state` tells of a sensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Report {
    /// Driven by this program.
    Usb(kinect::Report),
    /// Behind a library.
    Library(life::Report),
}

/// Which frame it is and when it was captured.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stamp {
    /// Rises by one with each captured frame, also across reopening; the first frame is 1.
    pub seq: u64,
    /// Both clocks at the moment of capture.
    pub captured: Now,
}

/// Why there are no frames. `{}` says what to do too, where something is to be done; `{:#}` of a sensor does not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SourceError {
    /// No device matches; looked for again later.
    NotFound,
    /// The device left; it is looked for and opened again.
    Disconnected,
    /// The device is there but gives nothing; it is watched.
    Silent,
    /// Nothing has been asked of the source yet.
    Starting,
    /// A sensor is being opened and started, which takes a second or two.
    Opening,
    /// What a sensor's driver says.
    Kinect(Trouble),
    /// What became of a sensor behind a library.
    Library(life::Fault),
}

impl SourceError {
    /// One word for `/state` and metrics.
    pub fn word(self) -> &'static str {
        match self {
            SourceError::NotFound => "not_found",
            SourceError::Disconnected => "disconnected",
            SourceError::Silent => "silent",
            SourceError::Starting | SourceError::Opening => "starting",
            SourceError::Kinect(trouble) => trouble.word(),
            SourceError::Library(fault) => fault.word(),
        }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SourceError::Kinect(trouble) => return trouble.fmt(f),
            SourceError::Library(fault) => return fault.fmt(f),
            SourceError::NotFound => "sensor not found: check its power and USB cable",
            SourceError::Disconnected => "sensor disconnected: check its power and USB cable",
            SourceError::Silent => "the sensor is connected but sends no frames",
            SourceError::Starting => "starting",
            SourceError::Opening => "the sensor is being started",
        })
    }
}

impl SourceError {
    /// Whether a call into the kernel or a library does not come back: only another process can go on. The making of a
    /// sensor's tables is no such call: it ends when the processor has time for it.
    fn is_hung(self) -> bool {
        match self {
            SourceError::Kinect(Trouble::Hung(step)) => step != kinect2::driver::Step::Prepare,
            SourceError::Library(fault) => fault == life::Fault::Hung,
            _ => false,
        }
    }
}

impl std::error::Error for SourceError {}

/// What [`Feed::step`] found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Nothing to do; step again when [`Feed::due`] says or a descriptor is ready.
    Idle,
    /// There may be more to do at once.
    More,
    /// Give [`Feed::poll`] a buffer now: a frame is complete, or may be made.
    Poll,
    /// Something happened that needs no buffer; there may be more to do at once.
    Happened(Outcome),
}

/// What [`Feed::poll`] did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// The buffer holds a new frame.
    Captured(Stamp),
    /// A frame arrived incomplete; the buffer is worthless.
    Torn,
    /// Nothing new; ask again when [`Feed::due`] says.
    Nothing,
    /// The source has just gone.
    Lost(SourceError),
    /// It has not come back, or not come at all, for a reason that was not said yet.
    Still(SourceError),
    /// The source has just been opened for the first time, if that takes time.
    Opened,
    /// The source has just been opened again.
    Reopened,
}

/// A source under supervision.
#[derive(Debug)]
pub struct Feed {
    source: Source,
    pace: Pace,
    faults: fault::Plan,
    state: State,
    opened: Duration,
    /// Number of the next frame within the source.
    next: u64,
    seq: u64,
    /// Since when nothing has come that should have: the newest frame of a paced source, or the first unanswered
    /// demand on one that is asked.
    quiet_since: Option<Duration>,
    reopened: u64,
    /// The last frame, or the last step towards one.
    alive: Duration,
    /// Where a sensor was then.
    step: Option<StepOfLife>,
    /// The infrared picture of the newest frame; empty if there are none from this source.
    infrared: Box<[u16]>,
    /// Until when infrared is wanted.
    infrared_until: Duration,
    /// Whether the source was asked for it.
    infrared_asked: bool,
    /// Whether `infrared` belongs to the newest frame.
    infrared_here: bool,
}

impl Feed {
    /// Supervises `source`, which gives `fps` frames a second, or one whenever it is asked if that is 0. A sensor gives
    /// [`NOMINAL_FPS`] and heeds no `faults`.
    pub fn new(source: Source, fps: u32, faults: fault::Plan, now: Now) -> Self {
        let fps = if source.driven().is_some() { NOMINAL_FPS } else { fps };
        let infrared = if source.has_infrared() { PIXELS } else { 0 };
        Self {
            infrared: vec![0; infrared].into_boxed_slice(),
            infrared_until: Duration::ZERO,
            infrared_asked: false,
            infrared_here: false,
            source,
            pace: Pace::new(fps, now.mono),
            faults,
            state: State::Streaming,
            opened: now.mono,
            next: 0,
            seq: 0,
            quiet_since: (fps > 0).then_some(now.mono),
            reopened: 0,
            alive: now.mono,
            step: None,
        }
    }

    /// When [`Feed::step`] is next worth calling; `None` while nobody wants a frame that is made on demand, or only a
    /// sensor's descriptors can tell.
    pub fn due(&self, wanted: bool) -> Option<Duration> {
        if let Some(sensor) = self.source.driven() {
            return sensor.due();
        }
        match (self.state, self.pace.interval) {
            (State::Lost { retry, .. }, _) => Some(retry),
            (State::Streaming, Some(_)) => Some(self.pace.next),
            (State::Streaming, None) => wanted.then_some(self.pace.next),
        }
    }

    /// Steps a sensor, or says whether a frame is due. To be called in every turn of the loop.
    ///
    /// Never blocks, and allocates nothing while frames come.
    pub fn step(&mut self, now: Now, wanted: bool) -> Step {
        let Some(sensor) = self.source.driven_mut() else {
            let due = self.due(wanted).is_some_and(|due| due <= now.mono);
            return if due { Step::Poll } else { Step::Idle };
        };
        let progress = sensor.turn(now);
        let step = Some(sensor.step());
        if step != self.step {
            self.step = step;
            self.alive = now.mono;
        }
        match progress {
            Progress::Idle => Step::Idle,
            Progress::More => Step::More,
            Progress::Frame => Step::Poll,
            Progress::Lost(error) => Step::Happened(Outcome::Lost(error)),
            Progress::Still(error) => Step::Happened(Outcome::Still(error)),
            Progress::Flowing { again: false } => Step::Happened(Outcome::Opened),
            Progress::Flowing { again: true } => {
                self.reopened += 1;
                Step::Happened(Outcome::Reopened)
            }
        }
    }

    /// Captures a frame into `depth` (see [`PIXELS`]) if one is due, or tries to reopen what was lost. To be called when
    /// [`Feed::step`] says [`Step::Poll`].
    ///
    /// Never blocks and never allocates.
    pub fn poll(&mut self, now: Now, depth: &mut [u16]) -> Outcome {
        let wanted = now.mono < self.infrared_until;
        self.infrared_here = false;
        if let Some(sensor) = self.source.driven_mut() {
            if std::mem::replace(&mut self.infrared_asked, wanted) != wanted {
                sensor.want_infrared(wanted);
            }
            let infrared = wanted.then_some(&mut *self.infrared);
            let Some((captured, infrared_here)) = sensor.take(now, depth, infrared) else {
                return Outcome::Torn;
            };
            self.infrared_here = infrared_here;
            self.seq += 1;
            self.quiet_since = Some(now.mono);
            self.alive = now.mono;
            return Outcome::Captured(Stamp { seq: self.seq, captured });
        }
        let since_start = now.mono.saturating_sub(self.opened);
        let fault = self.faults.at(since_start);
        if let State::Lost { pause, .. } = self.state {
            self.alive = now.mono;
            if fault == Some(fault::Kind::Vanish) {
                let pause = (pause * 2).min(REOPEN_MAX);
                self.state = State::Lost { error: SourceError::NotFound, retry: now.mono + pause, pause };
                return Outcome::Nothing;
            }
            self.state = State::Streaming;
            self.pace.restart(now.mono);
            self.reopened += 1;
            return Outcome::Reopened;
        }
        self.pace.advance(now.mono);
        match fault {
            Some(fault::Kind::Vanish) => {
                let error = SourceError::Disconnected;
                self.state = State::Lost { error, retry: now.mono + REOPEN_FIRST, pause: REOPEN_FIRST };
                self.quiet_since.get_or_insert(now.mono);
                Outcome::Lost(error)
            }
            Some(fault::Kind::Stall) => {
                self.quiet_since.get_or_insert(now.mono);
                self.pace.hold_back(now.mono);
                Outcome::Nothing
            }
            Some(fault::Kind::Torn) => {
                self.source.read(self.next, self.scene_time(), depth, None);
                depth[PIXELS / 2..].fill(0);
                self.next += 1;
                self.pace.hold_back(now.mono);
                Outcome::Torn
            }
            None => {
                let time = self.scene_time();
                self.infrared_here = wanted && !self.infrared.is_empty();
                let infrared = self.infrared_here.then_some(&mut *self.infrared);
                self.source.read(self.next, time, depth, infrared);
                self.next += 1;
                self.seq += 1;
                self.alive = now.mono;
                self.quiet_since = self.pace.interval.map(|_| now.mono);
                Outcome::Captured(Stamp { seq: self.seq, captured: now })
            }
        }
    }

    /// Whether the source has infrared pictures beside depth.
    pub fn has_infrared(&self) -> bool {
        !self.infrared.is_empty()
    }

    /// Somebody wants infrared: frames have it from the next one or two on, for [`INFRARED_FOR`] from `now` on.
    pub fn want_infrared(&mut self, now: Duration) {
        self.infrared_until = now + INFRARED_FOR;
    }

    /// The infrared picture of the frame captured last, if it has one: brightness without a unit, row-major, 424 rows of
    /// 512, 65,535 is saturated. To be changed before it is shown: what must not be seen is in it still.
    pub fn infrared(&mut self) -> Option<&mut [u16]> {
        self.infrared_here.then_some(&mut *self.infrared)
    }

    /// The lens that the source's pictures are seen through, before they are turned; `None` if it is not known, or not yet.
    pub fn intrinsics(&self) -> Option<Intrinsics> {
        self.source.intrinsics()
    }

    /// Why viewers should see the placeholder at `now`, if they should.
    pub fn gone(&self, now: Now) -> Option<SourceError> {
        let overdue = self.gone_at().is_some_and(|at| at <= now.mono);
        if let Some(sensor) = self.source.driven() {
            return match sensor.trouble() {
                Some(error) => (self.seq == 0 || overdue).then_some(error),
                None => overdue.then(|| sensor.overdue()),
            };
        }
        match self.state {
            State::Lost { error, .. } if self.seq == 0 || overdue => Some(error),
            State::Streaming if overdue => Some(SourceError::Silent),
            State::Lost { .. } | State::Streaming => None,
        }
    }

    /// When [`Feed::gone`] turns if no frame comes until then; `None` if none is awaited.
    pub fn gone_at(&self) -> Option<Duration> {
        let limit = GONE_AFTER.max(self.pace.interval.unwrap_or_default() * 2);
        self.quiet_since.map(|since| since + limit)
    }

    /// Whether frames come, or something is done about it at `now`: a sensor that is looked for in vain is healthy, a call
    /// that never comes back is not, nor is silence without a step for [`SIGN_OF_LIFE_WITHIN`]. Who is asked for frames
    /// and is not, is healthy.
    pub fn is_healthy(&self, now: Now) -> bool {
        let hung = self.source.driven().and_then(Driven::trouble).is_some_and(SourceError::is_hung);
        let overdue = |since: Duration| now.mono.saturating_sub(since.max(self.alive)) >= SIGN_OF_LIFE_WITHIN;
        !hung && !self.quiet_since.is_some_and(overdue)
    }

    /// How long a frame has been awaited at `now`; zero if none is.
    pub fn quiet(&self, now: Now) -> Duration {
        self.quiet_since.map_or(Duration::ZERO, |since| now.mono.saturating_sub(since))
    }

    /// Sequence number of the newest frame, 0 before the first.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// How often the source was opened again.
    pub fn reopened(&self) -> u64 {
        self.reopened
    }

    /// Frames per second the source was asked for; 0 means on demand.
    pub fn fps(&self) -> u32 {
        self.pace.fps
    }

    /// One word for what the source is at: `streaming`, `starting` before the first frame, or why there is none.
    pub fn word(&self, now: Now) -> &'static str {
        match self.gone(now) {
            Some(error) => error.word(),
            None if self.seq == 0 && self.source.driven().is_some() => SourceError::Opening.word(),
            None => "streaming",
        }
    }

    /// The descriptor of a sensor that is readable when it has work; the same all the time.
    pub fn job(&self) -> Option<RawFd> {
        self.source.driven().map(Driven::job)
    }

    /// The open device of a sensor, writable when it has work. With another generation it is another descriptor, perhaps
    /// with the same number; the one before is closed, or will be, which ends its being watched.
    pub fn node(&self) -> Option<(u64, RawFd)> {
        self.source.driven().and_then(Driven::node)
    }

    /// Changes what is made of a sensor's frames; the queue stays as it is.
    pub fn set(&mut self, settings: &kinect::Settings) {
        if let Some(sensor) = self.source.driven_mut() {
            sensor.set(settings);
        }
    }

    /// What is known of a sensor.
    pub fn report(&self) -> Option<Report> {
        self.source.driven().map(Driven::report)
    }

    /// Begins to stop a sensor in order; go on with [`Feed::step`] until [`Feed::is_shut_down`].
    pub fn shut_down(&mut self, now: Now) {
        if let Some(sensor) = self.source.driven_mut() {
            sensor.shut_down(now);
        }
    }

    /// Whether there is no sensor that has still to stop.
    pub fn is_shut_down(&self) -> bool {
        self.source.driven().is_none_or(Driven::is_shut_down)
    }

    /// Whether a frame is made only when one is wanted.
    pub fn on_demand(&self) -> bool {
        self.pace.interval.is_none()
    }

    /// The kind of source, see [`Source::kind`].
    pub fn kind(&self) -> &'static str {
        self.source.kind()
    }

    /// Scenes move by frame count, so that a recording is the same whatever the pace kept.
    fn scene_time(&self) -> Duration {
        let fps = if self.pace.fps == 0 { NOMINAL_FPS } else { self.pace.fps };
        Duration::from_nanos(self.next.saturating_mul(1_000_000_000 / u64::from(fps)))
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    Streaming,
    Lost { error: SourceError, retry: Duration, pause: Duration },
}

/// When the next frame of a paced source is due.
#[derive(Debug)]
struct Pace {
    fps: u32,
    /// `None` if frames are made on demand.
    interval: Option<Duration>,
    next: Duration,
}

impl Pace {
    fn new(fps: u32, now: Duration) -> Self {
        let interval = (fps > 0).then(|| Duration::from_secs(1) / fps);
        Self { fps, interval, next: now }
    }

    /// Steps on by one interval, or starts anew if that was missed: late frames are skipped, never made up for.
    fn advance(&mut self, now: Duration) {
        // A source that is asked may be asked again at once, unless it did not answer: see `Feed::poll`.
        let interval = self.interval.unwrap_or_default();
        self.next += interval;
        if self.next < now {
            self.next = now + interval;
        }
    }

    /// Without a frame, nobody asks again at once: that would spin.
    fn hold_back(&mut self, now: Duration) {
        self.next = self.next.max(now + Duration::from_secs(1) / NOMINAL_FPS);
    }

    fn restart(&mut self, now: Duration) {
        self.next = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now { mono: Duration::from_millis(ms), wall_us: 0 }
    }

    fn feed(fps: u32, faults: &str) -> Feed {
        let plan = faults.split_whitespace().map(|f| f.parse().expect("a fault")).collect();
        Feed::new(Source::Demo(Box::new(demo::Demo::new(1))), fps, plan, at(0))
    }

    /// Polls whenever the feed says, until `end_ms`, and returns what happened and when, plain waiting left out.
    fn play(feed: &mut Feed, end_ms: u64) -> Vec<(u64, Outcome)> {
        let mut depth = vec![0; PIXELS];
        let mut seen = Vec::new();
        while let Some(due) = feed.due(true).filter(|due| *due <= Duration::from_millis(end_ms)) {
            let ms = u64::try_from(due.as_millis()).expect("short");
            match feed.poll(Now { mono: due, wall_us: 0 }, &mut depth) {
                Outcome::Nothing => {}
                outcome => seen.push((ms, outcome)),
            }
        }
        seen
    }

    #[test]
    fn frames_come_at_the_pace_asked_for_and_are_numbered() {
        let seen = play(&mut feed(10, ""), 1000);
        assert_eq!(seen.len(), 11);
        for (n, (ms, outcome)) in seen.iter().enumerate() {
            assert_eq!(*ms, n as u64 * 100);
            assert!(matches!(outcome, Outcome::Captured(stamp) if stamp.seq == n as u64 + 1));
        }
    }

    #[test]
    fn a_late_poll_skips_frames_instead_of_making_up_for_them() {
        let mut feed = feed(10, "");
        let mut depth = vec![0; PIXELS];
        feed.poll(at(0), &mut depth);
        feed.poll(at(5000), &mut depth);
        assert_eq!(feed.due(false), Some(Duration::from_millis(5100)));
    }

    #[test]
    fn on_demand_means_only_when_wanted() {
        let mut feed = feed(0, "");
        assert_eq!(feed.due(false), None);
        assert!(feed.due(true).is_some_and(|due| due <= Duration::from_millis(7)));
        assert!(matches!(feed.poll(at(7), &mut vec![0; PIXELS]), Outcome::Captured(_)));
        assert_eq!(feed.gone(at(60_000)), None, "nobody asked");
    }

    #[test]
    fn a_vanished_source_is_reopened_with_growing_pauses_and_goes_on_counting() {
        let mut feed = feed(10, "vanish@1+5");
        let seen = play(&mut feed, 10_000);
        let lost = seen.iter().position(|(_, o)| matches!(o, Outcome::Lost(_))).expect("lost");
        assert_eq!(seen[lost], (1000, Outcome::Lost(SourceError::Disconnected)));
        // Retries at 1.25, 1.75, 2.75, 4.75 s fail; the one at 8.75 s finds the source again.
        assert_eq!(seen[lost + 1], (8750, Outcome::Reopened));
        let Outcome::Captured(before) = seen[lost - 1].1 else { panic!("no frame before") };
        let Outcome::Captured(after) = seen[lost + 2].1 else { panic!("no frame after") };
        assert_eq!(after.seq, before.seq + 1);
        assert_eq!(feed.reopened(), 1);
    }

    #[test]
    fn gone_is_no_frame_for_a_second() {
        let mut feed = feed(10, "stall@1+3");
        play(&mut feed, 1000);
        assert_eq!(feed.gone(at(1800)), None);
        assert_eq!(feed.gone(at(1950)), Some(SourceError::Silent));
        assert_eq!(feed.gone_at(), Some(Duration::from_millis(1900)));
        play(&mut feed, 4000);
        assert_eq!(feed.gone(at(4000)), None, "frames are back");
    }

    #[test]
    fn healthy_is_who_delivers_or_tries() {
        let mut gone = feed(10, "vanish@1+600");
        play(&mut gone, 500_000);
        assert!(gone.is_healthy(at(500_000)), "it is looked for every eight seconds");
        let mut silent = feed(10, "stall@1+600");
        play(&mut silent, 40_000);
        assert!(silent.is_healthy(at(40_000)), "not for long enough");
        play(&mut silent, 41_000);
        assert!(!silent.is_healthy(at(41_000)), "it neither delivers nor tries");
        play(&mut silent, 602_000);
        assert!(silent.is_healthy(at(602_000)), "frames are back");
        let mut asked = feed(0, "stall@100+600");
        assert!(asked.is_healthy(at(99_000)), "nobody asked");
        asked.poll(at(101_000), &mut vec![0; PIXELS]);
        assert!(asked.is_healthy(at(140_000)), "it was asked 39 s ago");
        assert!(!asked.is_healthy(at(141_000)));
    }

    #[test]
    fn a_hung_call_is_not_healthy_a_busy_processor_is() {
        use kinect2::driver::Step;
        assert!(SourceError::Kinect(Trouble::Hung(Step::Close)).is_hung());
        assert!(SourceError::Library(life::Fault::Hung).is_hung());
        assert!(!SourceError::Kinect(Trouble::Hung(Step::Prepare)).is_hung());
        assert!(!SourceError::Kinect(Trouble::NotFound).is_hung());
    }

    #[test]
    fn a_torn_frame_has_no_number() {
        let seen = play(&mut feed(10, "torn@0.5+0.2"), 1000);
        let torn = seen.iter().filter(|(_, o)| *o == Outcome::Torn).count();
        assert_eq!(torn, 2);
        let seqs = seen.iter().filter_map(|(_, o)| match o {
            Outcome::Captured(stamp) => Some(stamp.seq),
            _ => None,
        });
        assert!(seqs.eq(1..=9), "numbers have a gap");
    }
}
