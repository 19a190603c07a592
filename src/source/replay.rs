//! A folder of recorded depth frames, played in a loop.
//!
//! A folder holds 16-bit grey PNG files of 512 × 424 pixels, one frame each: millimetres, 0 = no return. They are
//! played in the order of their names (compared byte by byte, so `frame_10.png` comes before `frame_9.png`: pad numbers
//! with zeros). The ending `.png` is matched without regard to case; files with any other ending are ignored, and
//! folders within the folder are not entered.
//!
//! Everything is read, decoded and checked in [`Replay::open`], so that serving never waits for a disk. A folder with one
//! bad file is refused as a whole: a recording with silent gaps would be a different recording.

use std::error::Error as StdError;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use png::{BitDepth, ColorType, Decoder, DecodingError, Limits, Transformations};

use super::{HEIGHT, PIXELS, WIDTH};
use crate::limits::{REPLAY_FAULTS_NAMED, REPLAY_FILE_MAX, REPLAY_FRAMES_MAX, REPLAY_PNG_MEMORY};

/// A recording, whole in memory.
pub struct Replay {
    /// Millimetres, frame after frame, [`PIXELS`] values each.
    ///
    /// Invariant: at least one frame.
    depth: Vec<u16>,
}

impl Replay {
    /// Reads every `*.png` of the folder `path` into memory.
    ///
    /// Takes 434,176 bytes of memory a frame, and time in proportion.
    ///
    /// # Errors
    /// [`Error`] names the folder or every file that is not a depth frame; nothing is kept then.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let files = list(path)?;
        if files.is_empty() {
            return Err(Error::Empty(path.into()));
        }
        if files.len() > REPLAY_FRAMES_MAX {
            return Err(Error::TooMany { folder: path.into(), found: files.len() });
        }
        let mut depth = Vec::new();
        if depth.try_reserve_exact(files.len() * PIXELS).is_err() {
            return Err(Error::NoMemory { folder: path.into(), frames: files.len() });
        }
        depth.resize(files.len() * PIXELS, 0);

        let mut bytes = Vec::new();
        let mut bad = Vec::new();
        for (file, frame) in files.iter().zip(depth.chunks_exact_mut(PIXELS)) {
            if let Err(fault) = load(&path.join(file), &mut bytes, frame) {
                bad.push(BadFile { file: path.join(file), fault });
            }
        }
        if !bad.is_empty() {
            return Err(Error::BadFiles { files: bad, of: files.len() });
        }
        Ok(Self { depth })
    }

    /// Frames in the recording: 1 to [`REPLAY_FRAMES_MAX`].
    pub fn frame_count(&self) -> usize {
        self.depth.len() / PIXELS
    }

    /// Copies frame `n` modulo [`Replay::frame_count`] to `depth`.
    ///
    /// * `depth`: millimetres, row-major, 424 rows × 512 columns; 0 means no return. Overwritten whole.
    ///
    /// Never allocates.
    ///
    /// # Panics
    /// If `depth` is not [`PIXELS`] long.
    pub fn copy_frame(&self, n: u64, depth: &mut [u16]) {
        assert_eq!(depth.len(), PIXELS, "a depth buffer holds 512 × 424 pixels");
        // The remainder is below a usize, so neither cast loses anything.
        let start = (n % self.frame_count() as u64) as usize * PIXELS;
        depth.copy_from_slice(&self.depth[start..start + PIXELS]);
    }
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay").field("frames", &self.frame_count()).finish_non_exhaustive()
    }
}

/// Decodes one file of a recording.
///
/// * `bytes`: a whole PNG file, 16-bit grey, 512 × 424, interlaced or not. Bytes after its last chunk are ignored, as
///   the PNG specification leaves them without meaning.
/// * `depth`: millimetres, row-major, 424 rows × 512 columns, in the machine's byte order; overwritten whole.
///
/// Size and format are checked before anything is decompressed; whatever `bytes` holds, it costs about 1 MiB of
/// memory beside the two slices.
///
/// # Errors
/// [`FrameError`] if `bytes` is anything else; `depth` is then untouched.
///
/// # Panics
/// If `depth` is not [`PIXELS`] long.
pub fn decode_frame(bytes: &[u8], depth: &mut [u16]) -> Result<(), FrameError> {
    assert_eq!(depth.len(), PIXELS, "a depth buffer holds 512 × 424 pixels");
    let signature = &bytes[..bytes.len().min(SIGNATURE.len())];
    if !SIGNATURE.starts_with(signature) {
        return Err(FrameError::NotPng);
    }
    if signature.len() < SIGNATURE.len() {
        return Err(FrameError::Truncated);
    }

    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: REPLAY_PNG_MEMORY });
    decoder.set_transformations(Transformations::IDENTITY);
    // Neither says anything about depth, and both may be compressed.
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let head = decoder.read_header_info()?;
    if (head.width, head.height) != (WIDTH as u32, HEIGHT as u32) {
        return Err(FrameError::Size { width: head.width, height: head.height });
    }
    if (head.color_type, head.bit_depth) != (ColorType::Grayscale, BitDepth::Sixteen) {
        return Err(FrameError::Format { colour: head.color_type, bits: head.bit_depth as u8 });
    }

    let mut reader = decoder.read_info()?;
    // An animation may begin with a picture smaller than the canvas.
    if reader.info().animation_control.is_some() {
        return Err(FrameError::Animated);
    }
    let mut big_endian = vec![0; PIXELS * 2];
    reader.next_frame(&mut big_endian)?;
    // Reads on to the end chunk, without which the file is cut off, even if after the last pixel.
    reader.finish()?;
    for (mm, bytes) in depth.iter_mut().zip(big_endian.chunks_exact(2)) {
        *mm = u16::from_be_bytes([bytes[0], bytes[1]]);
    }
    Ok(())
}

/// Why a folder cannot be played. Nothing here mends itself: tell the operator and stop.
#[derive(Debug)]
pub enum Error {
    /// The folder does not exist, is no folder, or the system refuses to list it.
    Folder {
        /// The folder as it was given.
        folder: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// No `*.png` in the folder.
    Empty(PathBuf),
    /// More than [`REPLAY_FRAMES_MAX`] files.
    TooMany {
        /// The folder as it was given.
        folder: PathBuf,
        /// How many `*.png` it holds.
        found: usize,
    },
    /// The system gives no memory for that many frames.
    NoMemory {
        /// The folder as it was given.
        folder: PathBuf,
        /// How many `*.png` it holds.
        frames: usize,
    },
    /// Files that are not depth frames: all of them, in the order of their names.
    BadFiles {
        /// Each bad file and what is wrong with it.
        files: Vec<BadFile>,
        /// How many `*.png` the folder holds, good and bad.
        of: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder { folder, cause } => {
                let folder = folder.display();
                match cause.kind() {
                    io::ErrorKind::NotFound => {
                        write!(f, "{folder}: no such folder; give the folder of the recording")
                    }
                    io::ErrorKind::NotADirectory => {
                        write!(f, "{folder}: not a folder; give the folder that holds the PNG files")
                    }
                    _ => write!(f, "{folder}: cannot be listed ({cause}); check its permissions"),
                }
            }
            Self::Empty(folder) => write!(
                f,
                "{}: no *.png in this folder; a recording is 16-bit grey {WIDTH}x{HEIGHT} PNG files, one a frame",
                folder.display()
            ),
            Self::TooMany { folder, found } => write!(
                f,
                "{}: {found} frames, but at most {REPLAY_FRAMES_MAX} are held in memory (1 GB); split the recording into \
                 smaller folders",
                folder.display()
            ),
            Self::NoMemory { folder, frames } => write!(
                f,
                "{}: no memory for {frames} frames ({} MB); play a smaller folder",
                folder.display(),
                frames * PIXELS * 2 / 1_000_000
            ),
            Self::BadFiles { files, of } => {
                write!(f, "{} of {of} files are not depth frames; mend or remove them:", files.len())?;
                for file in files.iter().take(REPLAY_FAULTS_NAMED) {
                    write!(f, "\n  {file}")?;
                }
                match files.len().saturating_sub(REPLAY_FAULTS_NAMED) {
                    0 => Ok(()),
                    more => write!(f, "\n  and {more} more"),
                }
            }
        }
    }
}

impl StdError for Error {}

/// One file that is not a depth frame.
#[derive(Debug)]
pub struct BadFile {
    /// The file, with its folder.
    pub file: PathBuf,
    /// What is wrong with it.
    pub fault: Fault,
}

impl fmt::Display for BadFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.fault)
    }
}

/// What is wrong with a file of a recording.
#[derive(Debug)]
pub enum Fault {
    /// The system refuses to open or to read it.
    Unreadable(io::Error),
    /// A folder, a pipe or a device is named like a picture.
    NotAFile,
    /// More than [`REPLAY_FILE_MAX`] bytes.
    TooBig(u64),
    /// Its bytes are not a depth frame.
    Frame(FrameError),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(cause) => write!(f, "cannot be read: {cause}"),
            Self::NotAFile => write!(f, "not a regular file"),
            Self::TooBig(bytes) => {
                write!(f, "{bytes} bytes; a depth frame takes under half a million (limit {REPLAY_FILE_MAX})")
            }
            Self::Frame(error) => error.fmt(f),
        }
    }
}

/// Why bytes are not a depth frame; the file is at fault in each case.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FrameError {
    /// No PNG signature at the start.
    NotPng,
    /// The bytes end before the picture does.
    Truncated,
    /// A PNG, but not 512 × 424.
    Size {
        /// Columns found.
        width: u32,
        /// Rows found.
        height: u32,
    },
    /// A PNG of the right size, but not 16-bit grey.
    Format {
        /// Colour type found.
        colour: ColorType,
        /// Bits per channel found: 1, 2, 4, 8 or 16.
        bits: u8,
    },
    /// An animated PNG: a recording is one file a frame.
    Animated,
    /// It asks for more memory than a depth frame needs.
    TooLarge,
    /// A chunk or the compressed data is damaged; the text is the decoder's.
    Damaged(String),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPng => write!(f, "not a PNG file"),
            Self::Truncated => write!(f, "truncated: the file ends before the picture does; copy it again"),
            Self::Size { width, height } => write!(f, "{width}x{height} pixels instead of {WIDTH}x{HEIGHT}"),
            Self::Format { colour, bits } => {
                let colour = match colour {
                    ColorType::Grayscale => "grey",
                    ColorType::Rgb => "RGB",
                    ColorType::Indexed => "palette",
                    ColorType::GrayscaleAlpha => "grey with alpha",
                    ColorType::Rgba => "RGB with alpha",
                };
                write!(
                    f,
                    "{bits}-bit {colour} instead of 16-bit grey; was it saved as a picture, not as depth?"
                )
            }
            Self::Animated => write!(f, "an animated PNG; write one file a frame"),
            Self::TooLarge => write!(f, "needs more memory than a depth frame does"),
            Self::Damaged(what) => write!(f, "damaged: {what}"),
        }
    }
}

impl StdError for FrameError {}

impl From<DecodingError> for FrameError {
    fn from(error: DecodingError) -> Self {
        match error {
            // The reader is a slice: its only error is to end.
            DecodingError::IoError(_) => Self::Truncated,
            DecodingError::LimitsExceeded => Self::TooLarge,
            other => Self::Damaged(other.to_string()),
        }
    }
}

/// Names of the `*.png` in `folder`, sorted.
pub(super) fn list(folder: &Path) -> Result<Vec<OsString>, Error> {
    let refused = |cause| Error::Folder { folder: folder.into(), cause };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(refused)? {
        let name = entry.map_err(refused)?.file_name();
        if Path::new(&name).extension().is_some_and(|ending| ending.eq_ignore_ascii_case("png")) {
            files.push(name);
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// Reads and decodes one file; `bytes` is scratch, kept for its capacity.
fn load(file: &Path, bytes: &mut Vec<u8>, depth: &mut [u16]) -> Result<(), Fault> {
    // Asked before opening, for opening a pipe waits for its writer.
    let metadata = fs::metadata(file).map_err(Fault::Unreadable)?;
    if !metadata.is_file() {
        return Err(Fault::NotAFile);
    }
    if metadata.len() > REPLAY_FILE_MAX {
        return Err(Fault::TooBig(metadata.len()));
    }
    bytes.clear();
    // A file may grow between the question and the reading.
    File::open(file)
        .and_then(|file| file.take(REPLAY_FILE_MAX).read_to_end(bytes))
        .map_err(Fault::Unreadable)?;
    decode_frame(bytes, depth).map_err(Fault::Frame)
}

/// PNG specification (third edition), section 5.2.
const SIGNATURE: [u8; 8] = [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n'];

#[cfg(test)]
mod tests;
