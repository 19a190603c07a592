//! Why the program ends otherwise than it was asked to, and with which exit code.

use std::fmt;

/// Its words are for the user, and say what was wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Failure {
    /// What was asked for makes no sense; exit code 1.
    Usage(String),
    /// There is no window, or no first picture; exit code 2.
    CannotStart(String),
    /// It was running; exit code 3.
    Failed(String),
}

impl Failure {
    /// As the server's: `depthcast`'s documented exit codes.
    pub fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 1,
            Self::CannotStart(_) => 2,
            Self::Failed(_) => 3,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(why) | Self::CannotStart(why) | Self::Failed(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Failure {}
