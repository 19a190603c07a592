//! What goes over the wire between a host and a Kinect v2: identities, endpoints, requests, commands, footers.
//!
//! Layouts and values are those that libfreenect2 (commit fd64c5d) sends and checks, unless another source is named.
//! All integers are little-endian. Parsing never panics; what a real sensor might vary is handed on, not judged.

use std::fmt;

use crate::depth::{ROW_BYTES, SUB_IMAGE_BYTES};

/// Vendor of the sensor: Microsoft.
pub const VENDOR: u16 = 0x045E;
/// Products that are the sensor; which of the two says nothing about the model.
pub const PRODUCTS: [u16; 2] = [0x02C4, 0x02D8];
/// The adaptor's hub, which is there even when the sensor behind it is not powered.
pub const ADAPTOR: u16 = 0x02D9;

/// The only configuration.
pub const CONFIGURATION: u8 = 1;
/// Interface of commands, replies and colour.
pub const CONTROL_INTERFACE: u8 = 0;
/// Interface of the depth stream: alternate setting 0 is idle, 1 streams.
pub const DEPTH_INTERFACE: u8 = 1;
/// Bulk OUT: commands.
pub const COMMAND_OUT: u8 = 0x02;
/// Bulk IN: replies and completions.
pub const REPLY_IN: u8 = 0x81;
/// Bulk IN: the colour stream, never read by this crate.
pub const COLOR_IN: u8 = 0x83;
/// Isochronous IN: the depth stream.
pub const DEPTH_IN: u8 = 0x84;

/// Bytes of a full isochronous packet: 48 image rows.
pub const PACKET_BYTES: usize = 33_792;
/// Bytes of the last packet of a sub-image: 40 image rows and the footer.
pub const LAST_PACKET_BYTES: usize = 28_312;
/// Rows in a full packet.
pub const PACKET_ROWS: usize = PACKET_BYTES / ROW_BYTES;
/// Rows in the last packet of a sub-image.
pub const LAST_PACKET_ROWS: usize = (LAST_PACKET_BYTES - FOOTER_BYTES) / ROW_BYTES;
/// Bytes of the footer behind each sub-image.
pub const FOOTER_BYTES: usize = 152;
/// Microseconds from one isochronous packet to the next: one service interval.
pub const INTERVAL_US: u64 = 125;
/// Service intervals from frame to frame, in the mean (30 a second).
pub const INTERVALS_PER_FRAME: f64 = 266.667;

/// A control request on endpoint 0, without data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Setup {
    /// `bmRequestType`.
    pub request_type: u8,
    /// `bRequest`.
    pub request: u8,
    /// `wValue`.
    pub value: u16,
    /// `wIndex`.
    pub index: u16,
    /// `wLength`.
    pub length: u16,
}

impl Setup {
    /// SET_ISOCH_DELAY, 40 ns.
    pub const ISOCH_DELAY: Setup = Setup::plain(0x00, 0x31, 40, 0);
    /// SET_FEATURE(U1_ENABLE).
    pub const U1_ENABLE: Setup = Setup::plain(0x00, 0x03, 48, 0);
    /// SET_FEATURE(U2_ENABLE).
    pub const U2_ENABLE: Setup = Setup::plain(0x00, 0x03, 49, 0);
    /// SET_FEATURE(FUNCTION_SUSPEND) of the video function: low power, remote wake.
    pub const SUSPEND: Setup = Setup::plain(0x01, 0x03, 0, 0x0300);
    /// SET_FEATURE(FUNCTION_SUSPEND) with no option: the video function is on.
    pub const RESUME: Setup = Setup::plain(0x01, 0x03, 0, 0x0000);

    const fn plain(request_type: u8, request: u8, value: u16, index: u16) -> Self {
        Setup { request_type, request, value, index, length: 0 }
    }

    /// The eight bytes on the wire.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 8] {
        let [v0, v1] = self.value.to_le_bytes();
        let [i0, i1] = self.index.to_le_bytes();
        let [l0, l1] = self.length.to_le_bytes();
        [self.request_type, self.request, v0, v1, i0, i1, l0, l1]
    }

    /// The request that eight bytes are.
    #[must_use]
    pub const fn from_bytes(b: [u8; 8]) -> Self {
        Setup {
            request_type: b[0],
            request: b[1],
            value: u16::from_le_bytes([b[2], b[3]]),
            index: u16::from_le_bytes([b[4], b[5]]),
            length: u16::from_le_bytes([b[6], b[7]]),
        }
    }
}

/// Starts every command.
pub const COMMAND_MAGIC: u32 = 0x0602_2009;
/// Starts every completion.
pub const COMPLETION_MAGIC: u32 = 0x0A6F_E000;
/// Bytes of a completion.
pub const COMPLETION_BYTES: usize = 16;
/// Bytes of the longest command: a head of five words and four parameters.
pub const COMMAND_MAX: usize = 36;
/// Most bytes that a page read may return, and what must be asked for.
pub const PAGE_MAX: usize = 0x1C_0000;
/// The status register; bit 0 is "ready".
pub const STATUS_REGISTER: u32 = 0x0009_0000;
/// Bit of the status that says the sensor may be started.
pub const STATUS_READY: u32 = 1;

/// What a sensor can be told or asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Command {
    /// Firmware versions: 512 bytes.
    Firmware,
    /// Hardware information: 92 bytes, opaque.
    Hardware,
    /// Page 1: the serial number in every second byte, 128 bytes.
    Serial,
    /// Page 2: the P0 tables, [`crate::depth::P0_REPLY_MIN`] bytes and more.
    P0,
    /// Page 3: the lens of the depth camera, 92 bytes and more.
    DepthLens,
    /// Page 4: the lens of the colour camera. Not needed for depth.
    ColorLens,
    /// The status register: 4 bytes.
    Status,
    /// Prepare the streams.
    InitStreams,
    /// Streams on or off.
    Streaming(bool),
    /// Stop.
    Stop,
}

impl Command {
    /// The operation code.
    #[must_use]
    pub const fn opcode(self) -> u32 {
        match self {
            Command::Firmware => 0x02,
            Command::Hardware => 0x14,
            Command::Serial | Command::P0 | Command::DepthLens | Command::ColorLens => 0x22,
            Command::Status => 0x16,
            Command::InitStreams => 0x09,
            Command::Streaming(_) => 0x2B,
            Command::Stop => 0x0A,
        }
    }

    /// The parameter, where there is one.
    #[must_use]
    pub const fn parameter(self) -> Option<u32> {
        match self {
            Command::Serial => Some(1),
            Command::P0 => Some(2),
            Command::DepthLens => Some(3),
            Command::ColorLens => Some(4),
            Command::Status => Some(STATUS_REGISTER),
            Command::Streaming(on) => Some(on as u32),
            Command::Firmware | Command::Hardware | Command::InitStreams | Command::Stop => None,
        }
    }

    /// Most bytes of data that are asked for; 0 means none, only the completion comes.
    #[must_use]
    pub const fn reply_max(self) -> usize {
        match self {
            Command::Firmware => 0x200,
            Command::Hardware => 0x5C,
            Command::Serial => 0x80,
            Command::P0 | Command::DepthLens | Command::ColorLens => PAGE_MAX,
            Command::Status => 4,
            Command::InitStreams | Command::Streaming(_) | Command::Stop => 0,
        }
    }

    /// Fewest bytes that make a whole reply.
    #[must_use]
    pub const fn reply_min(self) -> usize {
        match self {
            Command::P0 => crate::depth::P0_REPLY_MIN,
            Command::DepthLens => crate::depth::INTRINSICS_REPLY_MIN,
            Command::ColorLens => 12_981,
            other => other.reply_max(),
        }
    }

    /// The bytes on the wire and how many of them count.
    #[must_use]
    pub fn to_bytes(self, sequence: u32) -> ([u8; COMMAND_MAX], usize) {
        let mut bytes = [0; COMMAND_MAX];
        let max = u32::try_from(self.reply_max()).expect("below 4 GiB");
        let words = [COMMAND_MAGIC, sequence, max, self.opcode(), 0, self.parameter().unwrap_or(0)];
        for (to, word) in bytes.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        (bytes, if self.parameter().is_some() { 24 } else { 20 })
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Command::Firmware => "read firmware versions (0x02)",
            Command::Hardware => "read hardware information (0x14)",
            Command::Serial => "read serial number (0x22/1)",
            Command::P0 => "read P0 tables (0x22/2)",
            Command::DepthLens => "read depth lens (0x22/3)",
            Command::ColorLens => "read colour lens (0x22/4)",
            Command::Status => "read status (0x16)",
            Command::InitStreams => "prepare streams (0x09)",
            Command::Streaming(true) => "streaming on (0x2B)",
            Command::Streaming(false) => "streaming off (0x2B)",
            Command::Stop => "stop (0x0A)",
        })
    }
}

/// The end of a command's answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Completion {
    /// Sequence number of the command that is complete.
    pub sequence: u32,
    /// Two words of unknown meaning, the first perhaps a status; not looked at.
    pub rest: [u32; 2],
}

impl Completion {
    /// The completion that `bytes` are, if they are one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; COMPLETION_BYTES] = bytes.try_into().ok()?;
        (word(bytes, 0) == COMPLETION_MAGIC)
            .then(|| Completion { sequence: word(bytes, 4), rest: [word(bytes, 8), word(bytes, 12)] })
    }

    /// The bytes on the wire.
    #[must_use]
    pub fn to_bytes(self) -> [u8; COMPLETION_BYTES] {
        let mut bytes = [0; COMPLETION_BYTES];
        for (to, word) in
            bytes.chunks_exact_mut(4).zip([COMPLETION_MAGIC, self.sequence, self.rest[0], self.rest[1]])
        {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}

/// What stands behind the rows of a sub-image.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Footer {
    /// Clock of the sensor in steps of 0.125 ms; starts with the device, wraps after 6.2 days.
    pub timestamp: u32,
    /// Number of the frame; wraps at 65 536 in practice.
    pub sequence: u32,
    /// Which sub-image, 0 to 9 if all is well.
    pub subsequence: u32,
    /// Bytes before the footer; a whole sub-image has [`SUB_IMAGE_BYTES`].
    pub length: u32,
    /// Two words in front that are 0 and 9 in every recording known.
    pub magic: [u32; 2],
}

impl Footer {
    /// The two words in front of every footer known.
    pub const MAGIC: [u32; 2] = [0, 9];

    /// A footer as a sensor sends it.
    #[must_use]
    pub fn new(timestamp: u32, sequence: u32, subsequence: u32) -> Self {
        let length = u32::try_from(SUB_IMAGE_BYTES).expect("below 4 GiB");
        Footer { timestamp, sequence, subsequence, length, magic: Self::MAGIC }
    }

    /// Takes the fields as they are.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; FOOTER_BYTES]) -> Self {
        Footer {
            magic: [word(bytes, 0), word(bytes, 4)],
            timestamp: word(bytes, 8),
            sequence: word(bytes, 12),
            subsequence: word(bytes, 16),
            length: word(bytes, 20),
        }
    }

    /// The bytes on the wire; what is behind the fields known is zero.
    #[must_use]
    pub fn to_bytes(self) -> [u8; FOOTER_BYTES] {
        let mut bytes = [0; FOOTER_BYTES];
        let words =
            [self.magic[0], self.magic[1], self.timestamp, self.sequence, self.subsequence, self.length];
        for (to, word) in bytes.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}

fn word<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_whole_rows() {
        assert_eq!((PACKET_ROWS, LAST_PACKET_ROWS), (48, 40));
        assert_eq!(PACKET_ROWS * ROW_BYTES, PACKET_BYTES);
        assert_eq!(8 * PACKET_BYTES + LAST_PACKET_BYTES, SUB_IMAGE_BYTES + FOOTER_BYTES);
    }

    #[test]
    fn a_command_is_20_or_24_bytes() {
        let (bytes, length) = Command::Status.to_bytes(7);
        let expected =
            [0x09, 0x20, 0x02, 0x06, 7, 0, 0, 0, 4, 0, 0, 0, 0x16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0];
        assert_eq!(&bytes[..length], &expected);
        assert_eq!(Command::Stop.to_bytes(0).1, 20);
    }

    #[test]
    fn completions_and_footers_survive_the_wire() {
        let completion = Completion { sequence: 0x0102_0304, rest: [5, 6] };
        assert_eq!(Completion::from_bytes(&completion.to_bytes()), Some(completion));
        assert_eq!(Completion::from_bytes(&[0; COMPLETION_BYTES]), None);
        assert_eq!(Completion::from_bytes(&completion.to_bytes()[1..]), None);
        let footer = Footer::new(1, 65_535, 9);
        assert_eq!(Footer::from_bytes(&footer.to_bytes()), footer);
        assert_eq!(footer.to_bytes()[20..24], 298_496u32.to_le_bytes());
    }

    #[test]
    fn a_setup_is_eight_bytes() {
        assert_eq!(Setup::SUSPEND.to_bytes(), [1, 3, 0, 0, 0, 3, 0, 0]);
        assert_eq!(Setup::from_bytes(Setup::ISOCH_DELAY.to_bytes()), Setup::ISOCH_DELAY);
    }
}
