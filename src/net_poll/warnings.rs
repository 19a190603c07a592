//! Warnings about peers, limited per reason so that nobody can fill the journal.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::limits::WARN_EVERY;
use crate::peer::Peer;
use crate::proto::Close;

/// What is warned of; those of one kind are limited together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Warning {
    /// A connection was closed by a peer's fault.
    Closed(Close),
    /// The system has no descriptor or no memory for a connection.
    System,
    /// The sensor's device cannot be waited for.
    Sensor,
    /// A viewer of the Python protocol asked the server to stop.
    MayNotStop,
    /// A request came with a wrong token.
    WrongToken,
}

impl Warning {
    fn number(self) -> usize {
        match self {
            Warning::Closed(close) => close.number(),
            Warning::System => Close::WORDS.len(),
            Warning::Sensor => Close::WORDS.len() + 1,
            Warning::MayNotStop => Close::WORDS.len() + 2,
            Warning::WrongToken => Close::WORDS.len() + 3,
        }
    }
}

const KINDS: usize = Close::WORDS.len() + 4;

/// What was said, and what was held back since.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    last: [Option<Duration>; KINDS],
    suppressed: [u64; KINDS],
}

impl Warnings {
    pub(super) fn closed(&mut self, now: Duration, peer: Peer, close: Close) {
        if let Some(suppressed) = self.allow(Warning::Closed(close), now) {
            log::warn!("{peer}: closed: {close}{suppressed}");
        }
    }

    pub(super) fn system(&mut self, now: Duration, error: &io::Error) {
        if let Some(suppressed) = self.allow(Warning::System, now) {
            log::warn!("cannot take a connection now: {error}{suppressed}");
        }
    }

    pub(super) fn sensor(&mut self, now: Duration, error: &io::Error) {
        if let Some(suppressed) = self.allow(Warning::Sensor, now) {
            log::warn!(
                "cannot wait for the sensor's device, which is looked at now and then: {error}{suppressed}"
            );
        }
    }

    pub(super) fn may_not_stop(&mut self, now: Duration, peer: Peer) {
        if let Some(suppressed) = self.allow(Warning::MayNotStop, now) {
            log::warn!("{peer}: asked the server to stop and may not; see legacy.shutdown_from{suppressed}");
        }
    }

    pub(super) fn wrong_token(&mut self, now: Duration, peer: Peer) {
        if let Some(suppressed) = self.allow(Warning::WrongToken, now) {
            log::warn!("{peer}: came with a wrong token{suppressed}");
        }
    }

    /// How many of this kind were held back since the last line.
    #[cfg(test)]
    pub(super) fn held_back(&self, warning: Warning) -> u64 {
        self.suppressed[warning.number()]
    }

    /// How many were held back since the last of this kind, if it is time for one again.
    fn allow(&mut self, warning: Warning, now: Duration) -> Option<Suppressed> {
        let kind = warning.number();
        if self.last[kind].is_some_and(|last| now < last + WARN_EVERY) {
            self.suppressed[kind] += 1;
            return None;
        }
        self.last[kind] = Some(now);
        Some(Suppressed(std::mem::take(&mut self.suppressed[kind])))
    }
}

struct Suppressed(u64);

impl fmt::Display for Suppressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { Ok(()) } else { write!(f, " ({} more like this were not logged)", self.0) }
    }
}
