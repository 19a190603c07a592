//! The command channel: one command at a time, its answer read until the completion that has its number.

use std::fmt;

/// What was wrong with an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flaw {
    /// The completion came and no data before it.
    NoData,
    /// Data of this many bytes: too few or too many.
    Length(usize),
    /// The completion of a command that was never sent.
    Sequence {
        /// Number of the command.
        sent: u32,
        /// Number that came.
        came: u32,
    },
    /// Old replies without end.
    Flood,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::NoData => f.write_str("a completion instead of data"),
            Flaw::Length(bytes) => write!(f, "{bytes} bytes of data"),
            Flaw::Sequence { sent, came } => write!(f, "the completion of command {came} for command {sent}"),
            Flaw::Flood => f.write_str("old replies without end"),
        }
    }
}

/// Bytes that are kept of a reply other than the P0 tables.
pub const REPLY_KEPT: usize = 1024;

/// What happened on the channel.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Commands sent, retries not counted.
    pub commands: u64,
    /// Commands sent again after a stall.
    pub retries: u64,
    /// Replies that belonged to no command or to an older one.
    pub stale: u64,
    /// Completions whose last two words were not zero.
    pub odd_completions: u64,
    /// Those words of the last such completion.
    pub last_odd: [u32; 2],
}
