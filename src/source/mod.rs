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

// What supervises a source.
mod feed;

use std::fmt;
use std::os::fd::RawFd;
use std::path::Path;
use std::time::Duration;

use kinect2::depth::Intrinsics;
use kinect2::driver::Trouble;
use kinect2::recording::Recording;

use crate::clock::Now;

pub use self::feed::{Feed, Outcome, Step};

// Every depth buffer of this crate has `PIXELS` values, row-major, row 0 at the top.
pub use kinect2::depth::{HEIGHT, PIXELS, WIDTH};

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
        if Recording::is_one(folder) {
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
            Source::Replay(replay) => Some(replay.frame_count() as u64),
            Source::Raw(raw) => Some(raw.frame_count() as u64),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hung_call_is_not_healthy_a_busy_processor_is() {
        use kinect2::driver::Step;
        assert!(SourceError::Kinect(Trouble::Hung(Step::Close)).is_hung());
        assert!(SourceError::Library(life::Fault::Hung).is_hung());
        assert!(!SourceError::Kinect(Trouble::Hung(Step::Prepare)).is_hung());
        assert!(!SourceError::Kinect(Trouble::NotFound).is_hung());
    }
}
