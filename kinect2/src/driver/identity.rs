//! What a sensor says of itself.

use std::fmt;

use super::Name;
use crate::depth::Intrinsics;

/// Who a sensor is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Identity {
    /// Serial number, from its page 1; the kernel's list has the same.
    pub serial: Name,
    /// Version of its firmware.
    pub firmware: Firmware,
    /// Lens of its depth camera.
    pub lens: Intrinsics,
}

/// Version of a firmware, shown as `4.0.3912.0`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Firmware {
    /// First number.
    pub major: u16,
    /// Second number.
    pub minor: u16,
    /// Third number.
    pub revision: u32,
    /// Fourth number.
    pub build: u32,
}

impl Firmware {
    /// The version in a reply to [`crate::protocol::Command::Firmware`]: entry 3 of several of 16 bytes each, as
    /// libfreenect2 shows it. `None` if the reply is too short.
    #[must_use]
    pub fn from_reply(reply: &[u8]) -> Option<Self> {
        const ENTRY: std::ops::Range<usize> = 48..64;
        let entry = reply.get(ENTRY)?;
        let word = |at: usize| u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]);
        Some(Firmware {
            major: (word(0) >> 16) as u16,
            minor: word(0) as u16,
            revision: word(4),
            build: word(8),
        })
    }
}

impl fmt::Display for Firmware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}.{}", self.major, self.minor, self.revision, self.build)
    }
}

/// The serial number in a reply to [`crate::protocol::Command::Serial`]: every second byte until a zero. What is not
/// printable ASCII becomes `?`.
#[must_use]
pub fn serial_from_reply(reply: &[u8]) -> Name {
    let mut text = [0; Name::CAPACITY];
    let mut length = 0;
    for (to, &byte) in text.iter_mut().zip(reply.iter().step_by(2).take_while(|byte| **byte != 0)) {
        *to = if byte.is_ascii_graphic() || byte == b' ' { byte } else { b'?' };
        length += 1;
    }
    // ASCII by the line above.
    Name::new(std::str::from_utf8(&text[..length]).unwrap_or_default())
}

/// The status in a reply to [`crate::protocol::Command::Status`]; `None` if the reply is too short.
#[must_use]
pub fn status_from_reply(reply: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(*reply.first_chunk()?))
}
