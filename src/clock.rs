//! Time, read once per turn of the loop and handed down as a value.
//!
//! Durations come from the monotonic clock, dates from the wall clock. Boards without a battery clock start in
//! 1970 and jump when the network tells them the time, so nothing here compares two wall-clock readings.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Now {
    /// Time since the clock was made; never goes back.
    pub mono: Duration,
    /// Microseconds since 1970-01-01 00:00 UTC; may jump either way and may be negative.
    pub wall_us: i64,
}

impl Now {
    /// Time since `earlier`, or zero if that lies in the future.
    pub fn since(self, earlier: Now) -> Duration {
        self.mono.saturating_sub(earlier.mono)
    }
}

/// The real clocks. Tests make their own [`Now`] instead.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock whose monotonic zero is this moment.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Reads both clocks.
    pub fn now(&self) -> Now {
        let wall_us = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |us| -us),
        };
        Now { mono: self.start.elapsed(), wall_us }
    }
}
