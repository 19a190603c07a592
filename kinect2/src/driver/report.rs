//! What can be seen of a driver.

use std::fmt;
use std::time::Duration;

use super::Step;

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
    /// Streams. Whether frames come says [`super::Driver::trouble`].
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

/// What happened since [`super::Driver::new`].
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
}
