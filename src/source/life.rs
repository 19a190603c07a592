//! The life of a sensor behind a library that says little: what to do next, and why there are no frames.
//!
//! ```text
//!             +------- failed, closed: a pause, longer each time ------+
//!             v                                                        |
//!  Waiting ─ open ─▶ Opening ─ opened ─▶ Streaming ─ no frame ─▶ Closing ─▶ ShutDown
//! ```
//!
//! No library, thread or clock is in here: [`Life::next`] names the one job that is to be begun, [`Life::done`] is told
//! how it went, and [`Life::frame`] that the library delivers. That it does not is the only sign of an unplugged sensor
//! that libfreenect2 gives.

use std::fmt;
use std::time::Duration;

use kinect2::depth::TablesError;
use kinect2::driver::Name;

use crate::limits::{GONE_AFTER, LIBRARY_CALL, LIBRARY_FIRST_FRAME, LOOK_AGAIN, REOPEN_FIRST, REOPEN_MAX};

/// Who makes depth of raw frames: the key `libfreenect2.pipeline`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Pipeline {
    /// The library's CUDA or OpenCL, if it has them and they work; else [`Pipeline::Raw`].
    #[default]
    Auto,
    /// The library, by CUDA.
    Cuda,
    /// The library, by OpenCL.
    Cl,
    /// The library, by OpenGL; needs a display.
    Gl,
    /// The library, on the processor.
    Cpu,
    /// This program: the library only carries the frames.
    Raw,
}

impl Pipeline {
    /// All of them, by name.
    pub const NAMES: [(&'static str, Pipeline); 6] = [
        ("auto", Pipeline::Auto),
        ("cuda", Pipeline::Cuda),
        ("cl", Pipeline::Cl),
        ("gl", Pipeline::Gl),
        ("cpu", Pipeline::Cpu),
        ("raw", Pipeline::Raw),
    ];

    /// As it is called in a configuration.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, pipeline)| *pipeline == self).map_or("", |(name, _)| name)
    }

    /// Whether it reads the X and Z tables upside down: up to 2 % short at the top of the picture, as much too long at
    /// the bottom. Source: libfreenect2 at fd64c5d, `cpu_depth_packet_processor.cpp` and the OpenGL shaders index them
    /// by a row from the bottom, OpenCL and CUDA by one from the top.
    pub fn is_upside_down(self) -> bool {
        matches!(self, Pipeline::Cpu | Pipeline::Gl)
    }
}

/// Why there are no frames. `{}` says what to do too, `{:#}` only what is wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// The library sees no sensor.
    NotFound,
    /// It sees none with this serial number.
    SerialNotFound(Name),
    /// It cannot open the sensor; why stands in the log only.
    OpenFailed,
    /// It cannot start the sensor; likewise.
    StartFailed,
    /// After its reset the sensor was in another place, and the library took another one.
    OtherSensor,
    /// The pipeline cannot be made.
    NoPipeline(Pipeline),
    /// The library threw an exception, or a thread could not be started.
    Broken,
    /// What the sensor says of its lens and its phases cannot be.
    BadTables(TablesError),
    /// No frame for a second.
    NoFrames,
    /// A call into the library does not come back.
    Hung,
}

impl Fault {
    /// One word, for machines.
    pub fn word(self) -> &'static str {
        match self {
            Fault::NotFound => "not_found",
            Fault::SerialNotFound(_) => "serial_not_found",
            Fault::OpenFailed => "open_failed",
            Fault::StartFailed => "start_failed",
            Fault::OtherSensor => "other_sensor",
            Fault::NoPipeline(_) => "no_pipeline",
            Fault::Broken => "broken",
            Fault::BadTables(_) => "bad_tables",
            Fault::NoFrames => "no_frames",
            Fault::Hung => "hung",
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Fault::NotFound => {
                "plug in the sensor and its power supply; `depthcast probe` sees what libfreenect2 cannot"
            }
            Fault::SerialNotFound(_) => {
                "ask for a serial number that is there, or for none to take the first sensor"
            }
            Fault::OpenFailed | Fault::StartFailed => {
                "it is tried again; `depthcast probe` says what stands in the way"
            }
            Fault::OtherSensor => "it is tried again",
            Fault::NoPipeline(_) => "choose another libfreenect2.pipeline; raw always works",
            Fault::Broken => "it is tried again; see the log",
            Fault::BadTables(_) => "it is asked again",
            Fault::NoFrames => "it is opened again; check its plug, its power supply and the USB port",
            Fault::Hung => "restart this program; if that does not help, unplug the sensor",
        }
    }

    /// Whether it was found by a look at the bus: another look costs little.
    fn is_from_a_look(self) -> bool {
        matches!(self, Fault::NotFound | Fault::SerialNotFound(_))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NotFound => f.write_str("libfreenect2 finds no Kinect v2")?,
            Fault::SerialNotFound(serial) => {
                write!(f, "libfreenect2 finds no Kinect v2 with serial {serial}")?;
            }
            Fault::OpenFailed => f.write_str("libfreenect2 cannot open the sensor")?,
            Fault::StartFailed => f.write_str("libfreenect2 cannot start the sensor")?,
            Fault::OtherSensor => f.write_str("libfreenect2 opened another sensor than it was asked for")?,
            Fault::NoPipeline(pipeline) => {
                write!(f, "libfreenect2 has no pipeline {} here", pipeline.name())?;
            }
            Fault::Broken => f.write_str("libfreenect2 failed")?,
            Fault::BadTables(error) => write!(f, "the sensor's tables are bad: {error}")?,
            Fault::NoFrames => f.write_str("libfreenect2 has delivered no frame for a second")?,
            Fault::Hung => f.write_str("a call into libfreenect2 does not come back")?,
        }
        if f.alternate() { Ok(()) } else { write!(f, ": {}", self.remedy()) }
    }
}

/// What `/state` tells of a sensor behind the library. Counters rise from the start of the program on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// Serial number, once known.
    pub serial: Option<Name>,
    /// Version of the firmware, once known.
    pub firmware: Option<Name>,
    /// Where the sensor is in its life, one word.
    pub step: &'static str,
    /// Who makes the depth.
    pub pipeline: Pipeline,
    /// Frames that the library did not deliver, by the sensor's numbering.
    pub frames_lost: u64,
    /// Frames that it delivered and that a newer one overtook before this program was ready for them.
    pub frames_overtaken: u64,
    /// Frames that it marked as bad, or that had an unknown form.
    pub frames_bad: u64,
    /// Times the sensor was opened, which resets it.
    pub resets: u64,
}

/// A job that blocks, to be done elsewhere.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Task {
    /// Find, open and start the sensor.
    Open,
    /// Stop and close it, if it is open.
    Close,
    /// The same, and let go of the library.
    Leave,
}

/// Where a sensor is in its life; see the module.
#[derive(Debug)]
pub struct Life {
    state: State,
    fault: Option<Fault>,
    /// Failures since the last frame.
    failures: u32,
    /// Times it was opened.
    opened: u64,
    /// To be closed and opened again, though nothing is wrong.
    again: bool,
    leaving: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Waiting { until: Duration },
    Opening { hung_at: Duration },
    Streaming { frame_by: Duration },
    Closing { hung_at: Duration, last: bool },
    ShutDown,
}

impl Life {
    /// A sensor that is to be opened at once.
    pub fn new(now: Duration) -> Self {
        let state = State::Waiting { until: now };
        Life { state, fault: None, failures: 0, opened: 0, again: false, leaving: false }
    }

    /// The job to begin now, if one is due: to be asked after everything that happens, and at [`Life::due`].
    pub fn next(&mut self, now: Duration) -> Option<Task> {
        match self.state {
            State::Waiting { .. } if self.leaving => Some(self.close(now)),
            State::Waiting { until } if now >= until => {
                self.again = false;
                self.state = State::Opening { hung_at: now + LIBRARY_CALL };
                Some(Task::Open)
            }
            State::Streaming { frame_by } if now >= frame_by => {
                self.fault = Some(Fault::NoFrames);
                self.failures = self.failures.saturating_add(1);
                Some(self.close(now))
            }
            State::Streaming { .. } if self.leaving || self.again => Some(self.close(now)),
            State::Opening { hung_at } | State::Closing { hung_at, .. } if now >= hung_at => {
                self.fault = Some(Fault::Hung);
                None
            }
            _ => None,
        }
    }

    fn close(&mut self, now: Duration) -> Task {
        self.state = State::Closing { hung_at: now + LIBRARY_CALL, last: self.leaving };
        if self.leaving { Task::Leave } else { Task::Close }
    }

    /// The job is done.
    pub fn done(&mut self, result: Result<(), Fault>, now: Duration) {
        match (self.state, result) {
            (State::Opening { .. }, Ok(())) => {
                self.opened += 1;
                self.state = State::Streaming { frame_by: now + LIBRARY_FIRST_FRAME };
                if self.fault == Some(Fault::Hung) {
                    self.fault = None;
                }
            }
            (State::Opening { .. }, Err(fault)) => {
                self.fault = Some(fault);
                let pause = if fault.is_from_a_look() {
                    LOOK_AGAIN
                } else {
                    self.failures = self.failures.saturating_add(1);
                    pause(self.failures)
                };
                self.state = State::Waiting { until: now + pause };
            }
            (State::Closing { last: true, .. }, _) => self.state = State::ShutDown,
            (State::Closing { .. }, _) => self.state = State::Waiting { until: now + pause(self.failures) },
            // Answers to nothing that was asked.
            (State::Waiting { .. } | State::Streaming { .. } | State::ShutDown, _) => {}
        }
    }

    /// A frame came.
    pub fn frame(&mut self, now: Duration) {
        if let State::Streaming { .. } = self.state {
            self.state = State::Streaming { frame_by: now + GONE_AFTER };
            self.failures = 0;
            self.fault = None;
        }
    }

    /// Have it closed and opened again: what it was told at start has changed.
    pub fn reopen(&mut self) {
        self.again = true;
    }

    /// Have it closed, and nothing after that.
    pub fn leave(&mut self) {
        self.leaving = true;
    }

    /// When [`Life::next`] is to be asked though nothing happened.
    pub fn due(&self) -> Option<Duration> {
        match self.state {
            State::Waiting { .. } | State::Streaming { .. } if self.leaving => Some(Duration::ZERO),
            State::Streaming { .. } if self.again => Some(Duration::ZERO),
            State::Waiting { until } => Some(until),
            State::Streaming { frame_by } => Some(frame_by),
            State::Opening { hung_at } | State::Closing { hung_at, .. } => {
                (self.fault != Some(Fault::Hung)).then_some(hung_at)
            }
            State::ShutDown => None,
        }
    }

    /// Why there are no frames; `None` while they come, or while it is opened for the first time.
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Whether frames may come.
    pub fn is_streaming(&self) -> bool {
        matches!(self.state, State::Streaming { .. })
    }

    /// Whether nothing is left to do.
    pub fn is_over(&self) -> bool {
        self.state == State::ShutDown
    }

    /// How often it was opened.
    pub fn opened(&self) -> u64 {
        self.opened
    }

    /// One word for where it is.
    pub fn word(&self) -> &'static str {
        match self.state {
            State::Waiting { .. } => "waiting",
            State::Opening { .. } => "opening",
            State::Streaming { .. } => "streaming",
            State::Closing { .. } => "closing",
            State::ShutDown => "shut_down",
        }
    }
}

/// The pause after so many failures without a frame between them: none after the first two, then twice as long each time.
fn pause(failures: u32) -> Duration {
    match failures.checked_sub(3) {
        None => Duration::ZERO,
        Some(doublings) => REOPEN_FIRST.saturating_mul(1 << doublings.min(16)).min(REOPEN_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn streaming(now: Duration) -> Life {
        let mut life = Life::new(now);
        assert_eq!(life.next(now), Some(Task::Open));
        life.done(Ok(()), now);
        life.frame(now);
        life
    }

    #[test]
    fn a_sensor_that_is_not_there_is_looked_for_every_second() {
        let mut life = Life::new(ms(0));
        for second in 0..20 {
            let now = ms(second * 1000);
            assert_eq!(life.next(now), Some(Task::Open));
            assert_eq!(life.next(now), None, "one job at a time");
            life.done(Err(Fault::NotFound), now);
            assert_eq!(life.due(), Some(now + ms(1000)));
            assert_eq!(life.next(now + ms(999)), None);
        }
        assert_eq!(life.fault(), Some(Fault::NotFound));
        assert_eq!(life.opened(), 0);
    }

    #[test]
    fn pauses_grow_from_the_third_failure_to_eight_seconds() {
        let mut life = Life::new(ms(0));
        let mut now = ms(0);
        let mut pauses = Vec::new();
        for _ in 0..10 {
            assert_eq!(life.next(now), Some(Task::Open));
            life.done(Err(Fault::OpenFailed), now);
            let due = life.due().expect("waits");
            pauses.push((due - now).as_millis());
            now = due;
        }
        assert_eq!(pauses, [0, 0, 250, 500, 1000, 2000, 4000, 8000, 8000, 8000]);
        assert_eq!(pause(u32::MAX), REOPEN_MAX);
    }

    #[test]
    fn a_second_without_a_frame_closes_and_opens_again() {
        let mut life = streaming(ms(0));
        life.frame(ms(500));
        assert_eq!(life.due(), Some(ms(1500)));
        assert_eq!(life.next(ms(1499)), None);
        assert_eq!(life.next(ms(1500)), Some(Task::Close));
        assert_eq!(life.fault(), Some(Fault::NoFrames));
        life.done(Ok(()), ms(1700));
        assert_eq!(life.next(ms(1700)), Some(Task::Open));
        life.done(Ok(()), ms(2000));
        assert_eq!(life.fault(), Some(Fault::NoFrames), "open is not yet frames");
        life.frame(ms(2100));
        assert_eq!((life.fault(), life.opened()), (None, 2));
    }

    #[test]
    fn the_first_frame_may_take_three_seconds_and_a_barren_start_counts_as_a_failure() {
        let mut life = Life::new(ms(0));
        let mut now = ms(0);
        for pause in [0, 0, 250, 500] {
            assert_eq!(life.next(now), Some(Task::Open));
            life.done(Ok(()), now);
            assert_eq!(life.next(now + ms(2999)), None);
            now += ms(3000);
            assert_eq!(life.next(now), Some(Task::Close));
            life.done(Ok(()), now);
            assert_eq!(life.due(), Some(now + ms(pause)));
            now += ms(pause);
        }
    }

    #[test]
    fn a_call_that_does_not_come_back_is_told_once_and_forgiven_when_it_does() {
        let mut life = Life::new(ms(0));
        assert_eq!(life.next(ms(0)), Some(Task::Open));
        assert_eq!(life.next(ms(29_999)), None);
        assert_eq!(life.fault(), None);
        assert_eq!(life.next(ms(30_000)), None, "another job would wait for the same thing");
        assert_eq!((life.fault(), life.due()), (Some(Fault::Hung), None));
        life.done(Ok(()), ms(40_000));
        assert_eq!((life.fault(), life.is_streaming()), (None, true));
    }

    #[test]
    fn leaving_closes_whatever_it_is_at() {
        let mut waiting = Life::new(ms(0));
        waiting.leave();
        let mut opening = Life::new(ms(0));
        opening.next(ms(0));
        opening.leave();
        assert_eq!(opening.next(ms(10)), None, "not before it is open");
        opening.done(Ok(()), ms(20));
        let mut closing = streaming(ms(0));
        closing.next(ms(1000));
        closing.leave();
        closing.done(Ok(()), ms(1010));
        let mut playing = streaming(ms(0));
        playing.leave();
        for mut life in [waiting, opening, closing, playing] {
            assert_eq!(life.due(), Some(Duration::ZERO), "{life:?}");
            assert_eq!(life.next(ms(1020)), Some(Task::Leave));
            assert!(!life.is_over());
            life.done(Ok(()), ms(1030));
            assert!(life.is_over());
            assert_eq!((life.next(ms(60_000)), life.due()), (None, None));
        }
    }

    #[test]
    fn other_settings_open_it_again_at_once_and_only_once() {
        let mut life = streaming(ms(0));
        life.reopen();
        assert_eq!(life.next(ms(10)), Some(Task::Close));
        life.done(Ok(()), ms(20));
        assert_eq!(life.next(ms(20)), Some(Task::Open));
        life.done(Ok(()), ms(30));
        assert_eq!((life.next(ms(40)), life.fault()), (None, None));
    }

    #[test]
    fn every_fault_has_a_word_and_a_remedy() {
        let faults = [
            Fault::NotFound,
            Fault::SerialNotFound(Name::new("1")),
            Fault::OpenFailed,
            Fault::StartFailed,
            Fault::OtherSensor,
            Fault::NoPipeline(Pipeline::Cuda),
            Fault::Broken,
            Fault::NoFrames,
            Fault::Hung,
        ];
        for (n, fault) in faults.iter().enumerate() {
            assert!(format!("{fault}").starts_with(&format!("{fault:#}: ")), "{fault}");
            assert!(faults[..n].iter().all(|other| other.word() != fault.word()));
        }
        assert_eq!(
            Pipeline::NAMES.map(|(_, pipeline)| pipeline.name()),
            Pipeline::NAMES.map(|(name, _)| name)
        );
    }
}
