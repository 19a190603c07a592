//! The life of a sensor: found, opened, started, watched, started again, closed.
//!
//! Owns no descriptor and no clock. It says what to do next, and is told how that ended:
//!
//! ```text
//!            Action ──▶ owner of the descriptor ──▶ kernel
//! Driver ──┤                                          │
//!            Done ◀──────────────────────────────────┘
//! ```
//!
//! At most one action is in flight. Every `now` is of the same monotonic clock.

mod identity;
mod trouble;

use std::fmt;
use std::time::Duration;

pub use identity::{Firmware, Identity, serial_from_reply, status_from_reply};
pub use trouble::{Name, Step, Trouble};

use crate::depth::TablesError;
use crate::protocol::Setup;

/// What the owner of the descriptor has to do next.
///
/// Each is answered by one [`Done`], except [`Action::Cancel`], which has none of its own. Only [`Action::Cancel`] and
/// [`Action::Close`] may come while another is in flight.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action<'a> {
    /// Job: find the sensor, diagnose, open, reset, find it again by its serial number if it came back as another,
    /// claim both interfaces, choose alternate setting 0. [`Done::Opened`], or closed again and [`Done::Failed`].
    Open {
        /// The sensor that is wanted; the first if `None`.
        serial: Option<&'a str>,
    },
    /// Job: choose this alternate setting of the depth interface.
    Alternate(u8),
    /// Job: clear the halt of this endpoint.
    ClearHalt(u8),
    /// Job: tables and decoder. Comes only when the replies differ from those of the last one that ended well.
    Prepare {
        /// Reply to [`crate::protocol::Command::P0`].
        p0: &'a [u8],
        /// Reply to [`crate::protocol::Command::DepthLens`], its first [`crate::command::REPLY_KEPT`] bytes at most.
        lens: &'a [u8],
    },
    /// Job: release and close. Ends whatever is pending, isochronous transfers too: no [`Done`] comes for it any more.
    Close,
    /// Submit a request to endpoint 0.
    Control(Setup),
    /// Submit a command to [`crate::protocol::COMMAND_OUT`].
    Send(&'a [u8]),
    /// Submit a read of [`crate::protocol::REPLY_IN`].
    Receive {
        /// Bytes of room: a multiple of 1,024, so that nothing overflows on the bus.
        max: usize,
    },
    /// Discard the control, send or receive in flight. Its own [`Done`] still comes: [`Done::Cancelled`], or how it
    /// ended if it was faster.
    Cancel,
    /// Submit all isochronous transfers.
    StartStream,
    /// Discard all isochronous transfers; done when all have come back, or 500 ms are over.
    StopStream,
}

/// How an action ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Done<'a> {
    /// Well. Of a send: with all its bytes.
    Ok,
    /// The sensor is open.
    Opened {
        /// As the kernel lists it; empty if it has none.
        serial: &'a str,
        /// Speed of the link in Mbit/s; 0 if the kernel does not know.
        speed_mbit: u32,
    },
    /// What a receive brought; may be nothing.
    Received(&'a [u8]),
    /// It was discarded.
    Cancelled,
    /// Not well.
    Failed(Failure),
}

/// Why an action did not end well.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Failure {
    /// The sensor has left the bus: `ENODEV`, `ESHUTDOWN`.
    Gone,
    /// The endpoint stalled: `EPIPE`.
    Stall,
    /// No memory: `ENOMEM`.
    NoMemory,
    /// No bandwidth: `ENOSPC`.
    NoBandwidth,
    /// Another number of the operating system.
    Io(i32),
    /// What the diagnosis at opening found.
    Trouble(Trouble),
    /// The replies make no tables.
    BadTables(TablesError),
}

/// Where a sensor is in its life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// Closed; opened at this time.
    Waiting {
        /// On the clock of `now`.
        until: Duration,
    },
    /// Being found and opened.
    Opening,
    /// Being started: this step.
    Starting(Step),
    /// Streams. Whether frames come says [`Driver::trouble`].
    Streaming,
    /// Being stopped, or a failed start is taken back: this step.
    Stopping(Step),
    /// Being closed.
    Closing,
    /// At the end; nothing happens any more.
    ShutDown,
}

impl State {
    /// One word, for machines.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            State::Waiting { .. } => "waiting",
            State::Opening => "opening",
            State::Starting(_) => "starting",
            State::Streaming => "streaming",
            State::Stopping(_) => "stopping",
            State::Closing => "closing",
            State::ShutDown => "shut_down",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::Starting(step) => write!(f, "starting ({step})"),
            State::Stopping(step) => write!(f, "stopping ({step})"),
            state => f.write_str(state.word()),
        }
    }
}

/// What happened since [`Driver::new`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Times the sensor was opened, and so reset.
    pub opened: u64,
    /// Times it came to stream.
    pub started: u64,
    /// Starts that failed.
    pub failed_starts: u64,
    /// Times it left the bus while open.
    pub disconnects: u64,
    /// Times no transfer came back for a second.
    pub silences: u64,
    /// Times transfers came and no whole frame.
    pub droughts: u64,
    /// Steps of opening that may fail and did: delay, U1, U2, suspend.
    pub optional_failures: u64,
    /// Steps of stopping, or of taking back a failed start, that failed.
    pub stop_failures: u64,
    /// Actions that had to be cancelled, or were not answered at all.
    pub timeouts: u64,
    /// Answers to nothing that was asked.
    pub unexpected: u64,
    /// What the command channel counts.
    pub channel: crate::command::Counters,
}

/// The driver of one sensor.
#[derive(Debug)]
pub struct Driver {
    counters: Counters,
}

impl Driver {
    /// A driver that opens a sensor at its first [`Driver::next`].
    ///
    /// * `serial`: the sensor that is wanted; the first if `None`.
    ///
    /// Allocates what it will ever need.
    #[must_use]
    pub fn new(serial: Option<String>, now: Duration) -> Self {
        let _ = (serial, now);
        todo!()
    }

    /// What to do next, if something is. To be called after every other call and at [`Driver::deadline`].
    pub fn next(&mut self, now: Duration) -> Option<Action<'_>> {
        let _ = now;
        todo!()
    }

    /// How the action in flight ended.
    pub fn done(&mut self, done: Done<'_>, now: Duration) {
        let _ = (done, now);
        todo!()
    }

    /// When [`Driver::next`] must be called although nothing happened; in the past if something is to be done at once.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        todo!()
    }

    /// An isochronous transfer came back.
    pub fn completion(&mut self, now: Duration) {
        let _ = now;
        todo!()
    }

    /// A whole frame came.
    pub fn frame(&mut self, now: Duration) {
        let _ = now;
        todo!()
    }

    /// The sensor has left the bus. May be said at any time and more than once.
    pub fn gone(&mut self, now: Duration) {
        let _ = now;
        todo!()
    }

    /// Stops and closes in order. [`State::ShutDown`] is reached within 500 ms, whatever answers.
    pub fn shut_down(&mut self, now: Duration) {
        let _ = now;
        todo!()
    }

    /// Where it is.
    #[must_use]
    pub fn state(&self) -> State {
        todo!()
    }

    /// Why there are no frames now; `None` while they come, and until something went wrong.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        todo!()
    }

    /// Who the sensor is, once it has said so; forgotten when it leaves the bus.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        todo!()
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}
