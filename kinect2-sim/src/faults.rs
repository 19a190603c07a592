//! What goes wrong, from text: see [`Faults`].

use std::fmt;
use std::str::FromStr;

/// Faults of a sensor and its bus. Empty by default: all goes well.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {}

impl FromStr for Faults {
    type Err = FaultsError;

    fn from_str(text: &str) -> Result<Self, FaultsError> {
        let _ = text;
        todo!()
    }
}

/// A word that is no fault; names it, and the words that there are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FaultsError {
    word: String,
}

impl fmt::Display for FaultsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.word)
    }
}

impl std::error::Error for FaultsError {}
