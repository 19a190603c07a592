//! The sensor at the level of USB requests. It has no clock of its own, and no threads: time comes as an argument.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kinect2::depth::Intrinsics;
use kinect2::protocol::Setup;

use crate::faults::Faults;

/// How something ended that did not end well.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The device refused: EPIPE.
    Stall,
    /// The device is not there (any more): ENODEV.
    Gone,
    /// The host has no memory for it: ENOMEM.
    NoMemory,
    /// The host has no bandwidth for the alternate setting: ENOSPC.
    NoBandwidth,
    /// No such endpoint, interface or setting; of a reset: the device came back as another one. ENOENT.
    NotFound,
    /// The interface belongs to somebody else: EBUSY.
    Busy,
    /// The transfer makes no sense: EINVAL.
    Invalid,
    /// More came than there was room for: EOVERFLOW.
    Overflow,
    /// The transaction failed on the wire: EPROTO.
    Error,
    /// The host controller came too late for the interval: EXDEV.
    Missed,
    /// Taken back, as [`Host::cancel`](crate::host::Host::cancel), a reset or a change of the setting does: ENOENT.
    Cancelled,
}

impl Fault {
    /// Linux's number for it, positive.
    #[must_use]
    pub const fn errno(self) -> i32 {
        match self {
            Fault::NotFound | Fault::Cancelled => 2,
            Fault::NoMemory => 12,
            Fault::Busy => 16,
            Fault::Missed => 18,
            Fault::Gone => 19,
            Fault::Invalid => 22,
            Fault::NoBandwidth => 28,
            Fault::Stall => 32,
            Fault::Error => 71,
            Fault::Overflow => 75,
        }
    }
}

/// Speed of the link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Speed {
    /// USB 2, 480 Mbit/s: what a bad cable gives, and not enough for a stream.
    High,
    /// USB 3, 5 Gbit/s.
    Super,
}

/// Raw frames that are sent in a loop.
#[derive(Clone, Debug)]
pub enum Frames {
    /// [`FRAME_BYTES`](kinect2::depth::FRAME_BYTES) each; at least one.
    Raw(Vec<Arc<[u8]>>),
}

/// What sensor to simulate.
#[derive(Clone, Debug)]
pub struct Options {
    /// Serial number, in the string descriptor and in page 1; up to 63 ASCII characters.
    pub serial: String,
    /// Seed of what the sensor decides by chance, such as where in a frame its stream begins. Faults have their own.
    pub seed: u64,
    /// What it sees.
    pub frames: Frames,
    /// Its reply to the P0 request (command 0x22, page 2).
    pub p0: Vec<u8>,
    /// The lens of its depth camera (page 3).
    pub lens: Intrinsics,
    /// What goes wrong.
    pub faults: Faults,
    /// A stream begins in the middle of a frame, as a real one does; otherwise with the first packet of one.
    pub mid_frame: bool,
    /// With the two audio interfaces; without, the configuration ends after interface 1.
    pub audio: bool,
}

impl Options {
    /// A sensor before a scene of four made-up frames.
    ///
    /// * `seed`: another scene and another sensor for each.
    #[must_use]
    pub fn demo(seed: u64) -> Self {
        let _ = seed;
        todo!()
    }

    /// The same sensor with `count` frames of random bytes: for tests that look at bytes only, made in milliseconds.
    #[must_use]
    pub fn noise(seed: u64, count: usize) -> Self {
        let _ = (seed, count);
        todo!()
    }

    /// A sensor that was recorded: `*.depth` in the order of their names, `p0.bin`, `ir_params.json`.
    ///
    /// # Errors
    /// [`FolderError`] names the file and what is wrong with it.
    pub fn folder(folder: &Path) -> Result<Self, FolderError> {
        let _ = folder;
        todo!()
    }
}

/// Why a folder is no recording.
#[derive(Debug)]
pub enum FolderError {
    /// A file or the folder cannot be read.
    Read(PathBuf, std::io::Error),
    /// There is no `*.depth` in it.
    Empty(PathBuf),
    /// A file is not what it should be; the text says why.
    Bad(PathBuf, String),
}

impl fmt::Display for FolderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FolderError::Read(path, error) => write!(f, "{}: cannot be read: {error}", path.display()),
            FolderError::Empty(path) => write!(f, "{}: holds no *.depth", path.display()),
            FolderError::Bad(path, why) => write!(f, "{}: {why}", path.display()),
        }
    }
}

impl std::error::Error for FolderError {}

/// The sensor.
#[derive(Debug)]
pub struct Device {}

impl Device {
    /// A sensor that was just plugged in and configured.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let _ = options;
        todo!()
    }

    /// The device descriptor.
    #[must_use]
    pub fn device_descriptor(&self) -> [u8; 18] {
        todo!()
    }

    /// The configuration descriptor with all that belongs to it.
    #[must_use]
    pub fn config_descriptor(&self) -> &[u8] {
        todo!()
    }

    /// The binary device object store with all its capabilities.
    #[must_use]
    pub fn bos(&self) -> &[u8] {
        todo!()
    }

    /// A string by its index in the descriptors, as text; `None` for 0 and what there is not.
    #[must_use]
    pub fn string(&self, index: u8) -> Option<&str> {
        let _ = index;
        todo!()
    }

    /// Speed of the link.
    #[must_use]
    pub fn speed(&self) -> Speed {
        todo!()
    }

    /// The current configuration: 0 or 1.
    #[must_use]
    pub fn configuration(&self) -> u8 {
        todo!()
    }

    /// The current alternate setting of an interface; 0 for one that there is not.
    #[must_use]
    pub fn alternate(&self, interface: u8) -> u8 {
        let _ = interface;
        todo!()
    }

    /// The input frame that a footer's sequence number stands for.
    #[must_use]
    pub fn frame_of(&self, sequence: u32) -> &Arc<[u8]> {
        let _ = sequence;
        todo!()
    }

    /// A control request.
    ///
    /// * `data`: what is sent, or room for what comes; at most `setup.length` of it count.
    ///
    /// Returns how many bytes went over the wire.
    ///
    /// # Errors
    /// [`Fault::Stall`] for what it does not know.
    pub fn control(&mut self, setup: Setup, data: &mut [u8], now: Duration) -> Result<usize, Fault> {
        let _ = (setup, data, now);
        todo!()
    }
}
