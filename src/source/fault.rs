//! Faults on demand: what a real sensor does on a bad day, at a moment that a test chooses.
//!
//! A fault is written `KIND@START+LENGTH`, both in seconds after the source was started: `vanish@5+3` unplugs it
//! at five seconds and plugs it in again at eight.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What goes wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// The source is there but gives nothing.
    Stall,
    /// The source leaves the bus and cannot be opened.
    Vanish,
    /// Frames arrive with their lower half missing.
    Torn,
}

/// One fault and when it happens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fault {
    kind: Kind,
    start: Duration,
    end: Duration,
}

impl FromStr for Fault {
    type Err = BadFault;

    fn from_str(text: &str) -> Result<Self, BadFault> {
        let (kind, when) = text.split_once('@').ok_or(BadFault)?;
        let (start, length) = when.split_once('+').ok_or(BadFault)?;
        let kind = match kind {
            "stall" => Kind::Stall,
            "vanish" => Kind::Vanish,
            "torn" => Kind::Torn,
            _ => return Err(BadFault),
        };
        let seconds = |text: &str| {
            let number = text.parse::<f64>().ok().ok_or(BadFault)?;
            Duration::try_from_secs_f64(number).map_err(|_| BadFault)
        };
        let start = seconds(start)?;
        let end = start.checked_add(seconds(length)?).ok_or(BadFault)?;
        Ok(Self { kind, start, end })
    }
}

/// A text that is no fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BadFault;

impl fmt::Display for BadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a fault is KIND@START+SECONDS with KIND one of stall, vanish, torn; for example vanish@5+3",
        )
    }
}

impl std::error::Error for BadFault {}

/// All faults of a run; of several at one time the first listed wins.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Plan {
    faults: Vec<Fault>,
}

impl Plan {
    /// What is wrong `time` after the source was started.
    pub fn at(&self, time: Duration) -> Option<Kind> {
        self.faults.iter().find(|f| f.start <= time && time < f.end).map(|f| f.kind)
    }
}

impl FromIterator<Fault> for Plan {
    fn from_iter<I: IntoIterator<Item = Fault>>(faults: I) -> Self {
        Self { faults: faults.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_last_as_long_as_they_say() {
        let plan: Plan =
            ["vanish@5+3", "torn@6+10"].iter().map(|f| f.parse::<Fault>().expect("good")).collect();
        let at = |s: f64| plan.at(Duration::from_secs_f64(s));
        assert_eq!(at(4.9), None);
        assert_eq!(at(5.0), Some(Kind::Vanish));
        assert_eq!(at(7.9), Some(Kind::Vanish));
        assert_eq!(at(8.0), Some(Kind::Torn));
        assert_eq!(at(16.0), None);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in
            ["", "vanish", "vanish@", "vanish@1", "melt@1+1", "stall@-1+1", "stall@1+nan", "torn@1+1e400"]
        {
            assert_eq!(text.parse::<Fault>(), Err(BadFault), "{text}");
        }
    }
}
