//! A folder of raw frames, as `depthcast record` writes it: to be played by whoever has a decoder, or by a sensor.
//!
//! | file | content |
//! | --- | --- |
//! | `*.depth` | one raw frame each: ten sub-images of 298,496 bytes, as the sensor sends them |
//! | `p0.bin` | the sensor's reply to the P0 request (command 0x22, page 2), as it came |
//! | `ir_params.json` | the lens: `fx`, `fy`, `cx`, `cy`, `k1`, `k2`, `p1`, `p2`, `k3` in pixels, one JSON object |
//!
//! Frames are in the order of their names, compared byte by byte.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::depth::{FRAME_BYTES, Intrinsics, Tables, TablesError};
use crate::protocol::PAGE_MAX;

/// A recording whose frames are still to be read.
#[derive(Debug)]
pub struct Recording {
    /// One or more frames, by name.
    pub files: Vec<PathBuf>,
    /// The reply to the P0 request.
    pub p0: Vec<u8>,
    /// The lens.
    pub lens: Intrinsics,
    /// What both make together.
    pub tables: Tables,
}

impl Recording {
    /// Reads all of a folder but its frames.
    ///
    /// # Errors
    /// [`Error`] names the file and what is wrong with it.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let files = list(folder).map_err(|e| Error::Read(folder.into(), e))?;
        if files.is_empty() {
            return Err(Error::Empty(folder.into()));
        }
        let (p0, lens) = read_sensor(folder)?;
        let tables = Tables::from_p0_reply(&p0, &lens).map_err(|e| Error::Tables(folder.join(REPLY), e))?;
        Ok(Recording { files, p0, lens, tables })
    }

    /// Whether `folder` holds raw frames: at least one `*.depth`.
    #[must_use]
    pub fn is_one(folder: &Path) -> bool {
        list(folder).is_ok_and(|files| !files.is_empty())
    }
}

/// Reads a raw frame, [`FRAME_BYTES`] long.
///
/// # Errors
/// [`Error`] names the file and what is wrong with it.
pub fn read_frame(file: &Path) -> Result<Vec<u8>, Error> {
    let bytes = read(file, 2 * FRAME_BYTES as u64)?;
    if bytes.len() == FRAME_BYTES { Ok(bytes) } else { Err(Error::Length(file.into(), bytes.len())) }
}

/// Reads `p0.bin`, as it is, and `ir_params.json` of a folder.
///
/// # Errors
/// [`Error`] names the file that is missing or bad.
pub fn read_sensor(folder: &Path) -> Result<(Vec<u8>, Intrinsics), Error> {
    let parameters = folder.join(PARAMETERS);
    let text = read(&parameters, PARAMETERS_MAX)?;
    let lens = parse_lens(&text).map_err(|why| Error::Parameters(parameters, why))?;
    Ok((read(&folder.join(REPLY), PAGE_MAX as u64)?, lens))
}

/// Writes the nine numbers of a lens as [`parse_lens`] reads them.
#[must_use]
pub fn format_lens(lens: &Intrinsics) -> String {
    let Intrinsics { fx, fy, cx, cy, k1, k2, k3, p1, p2 } = *lens;
    let numbers = serde_json::json!({
        "fx": fx, "fy": fy, "cx": cx, "cy": cy, "k1": k1, "k2": k2, "k3": k3, "p1": p1, "p2": p2
    });
    format!("{numbers}\n")
}

/// Reads the nine numbers of a lens from a JSON object; other keys are ignored.
///
/// # Errors
/// A text that says which number is missing or what is wrong with it.
pub fn parse_lens(text: &[u8]) -> Result<Intrinsics, String> {
    let value: serde_json::Value =
        serde_json::from_slice(text).map_err(|e| format!("it is not JSON: {e}"))?;
    let number = |key: &str| {
        let found = value.get(key).ok_or_else(|| format!("{key} is missing"))?;
        // A lens is known to some seven digits: a float holds all of them.
        Ok::<f32, String>(found.as_f64().ok_or_else(|| format!("{key} is not a number"))? as f32)
    };
    let lens = Intrinsics {
        fx: number("fx")?,
        fy: number("fy")?,
        cx: number("cx")?,
        cy: number("cy")?,
        k1: number("k1")?,
        k2: number("k2")?,
        k3: number("k3")?,
        p1: number("p1")?,
        p2: number("p2")?,
    };
    lens.check().map_err(|e| e.to_string())?;
    Ok(lens)
}

/// Why a folder is no recording.
#[derive(Debug)]
pub enum Error {
    /// A file or the folder cannot be read.
    Read(PathBuf, io::Error),
    /// There is no `*.depth` in it.
    Empty(PathBuf),
    /// A frame of another length, in bytes.
    Length(PathBuf, usize),
    /// A file that is too large to be what it should be, in bytes.
    TooLarge(PathBuf, u64),
    /// The lens.
    Parameters(PathBuf, String),
    /// The P0 tables.
    Tables(PathBuf, TablesError),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Read(path, e) => write!(f, "{}: cannot be read: {e}", path.display()),
            Error::Empty(folder) => write!(f, "{}: holds no *.depth", folder.display()),
            Error::Length(file, found) => {
                write!(f, "{}: a raw frame has {FRAME_BYTES} bytes, this one {found}", file.display())
            }
            Error::TooLarge(path, bytes) => write!(f, "{}: {bytes} bytes are far too many", path.display()),
            Error::Parameters(path, why) => write!(f, "{}: {why}", path.display()),
            Error::Tables(path, e) => write!(f, "{}: {e}", path.display()),
        }
    }
}

impl std::error::Error for Error {}

/// The `*.depth` of a folder, by name.
fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new("depth")) {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>, Error> {
    let fault = |e| Error::Read(path.into(), e);
    let meta = fs::metadata(path).map_err(fault)?;
    if !meta.is_file() {
        return Err(fault(io::ErrorKind::InvalidInput.into()));
    }
    if meta.len() > most {
        return Err(Error::TooLarge(path.into(), meta.len()));
    }
    fs::read(path).map_err(fault)
}

const REPLY: &str = "p0.bin";
const PARAMETERS: &str = "ir_params.json";
/// Most bytes of a file with the numbers of a lens.
const PARAMETERS_MAX: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::depth::P0_REPLY_MIN;

    const LENS: &str = r#"{"fx":365.4,"fy":365.4,"cx":260.9,"cy":205.6,"k1":0.09,"k2":-0.27,"p1":0,"p2":0,"k3":0.09,
                           "serial":"x"}"#;

    #[test]
    fn a_folder_is_read_and_every_bad_file_is_named() {
        let folder = std::env::temp_dir().join(format!("kinect2-recording-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let complaint = || Recording::open(&folder).unwrap_err().to_string();
        assert!(complaint().contains("holds no *.depth"));
        assert!(!Recording::is_one(&folder));
        fs::write(folder.join("b.depth"), vec![7; FRAME_BYTES]).unwrap();
        fs::write(folder.join("a.depth"), vec![0; 7]).unwrap();
        assert!(Recording::is_one(&folder));
        assert!(complaint().contains("ir_params.json: cannot be read"));
        fs::write(folder.join("ir_params.json"), "{").unwrap();
        assert!(complaint().contains("ir_params.json: it is not JSON"));
        fs::write(folder.join("ir_params.json"), LENS.replace("\"cy\"", "\"c\"")).unwrap();
        assert!(complaint().contains("ir_params.json: cy is missing"));
        fs::write(folder.join("ir_params.json"), LENS).unwrap();
        assert!(complaint().contains("p0.bin: cannot be read"));
        fs::write(folder.join("p0.bin"), [0; 100]).unwrap();
        assert!(complaint().contains("p0.bin: P0 reply: 100 bytes"));
        fs::write(folder.join("p0.bin"), vec![0; PAGE_MAX + 1]).unwrap();
        assert!(complaint().contains("are far too many"));
        let p0 = vec![5; P0_REPLY_MIN];
        fs::write(folder.join("p0.bin"), &p0).unwrap();
        let recording = Recording::open(&folder).unwrap();
        assert_eq!((recording.p0, recording.files.len()), (p0, 2));
        let first = read_frame(&recording.files[0]).unwrap_err().to_string();
        assert!(first.contains("a.depth: a raw frame has 2984960 bytes, this one 7"), "{first}");
        assert_eq!(read_frame(&recording.files[1]).unwrap()[9], 7);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn lenses_are_read_and_checked() {
        let lens = parse_lens(LENS.as_bytes()).unwrap();
        assert_eq!(parse_lens(format_lens(&lens).as_bytes()), Ok(lens));
        assert!((lens.fx - 365.4).abs() < 1e-3 && lens.k3 > 0.08);
        assert!(parse_lens(LENS.replace("365.4", "0").as_bytes()).is_err());
        assert!(parse_lens(b"[]").unwrap_err().contains("fx is missing"));
        assert!(parse_lens(b"\xff").is_err());
    }
}
