//! A folder of raw Kinect v2 frames, decoded live and played in a loop.
//!
//! | file | content |
//! | --- | --- |
//! | `*.depth` | one raw frame each: ten sub-images of 298,496 bytes, as the sensor sends them |
//! | `p0.bin` | the sensor's reply to the P0 request (command 0x22, page 2), as it came |
//! | `ir_params.json` | the lens: `fx`, `fy`, `cx`, `cy`, `k1`, `k2`, `p1`, `p2`, `k3` in pixels, one JSON object |
//!
//! Frames are played in the order of their names, compared byte by byte. All files are read and checked in
//! [`Raw::open`], so that serving never waits for a disk; a raw frame is turned into millimetres when it is its turn,
//! by the decoder that a sensor's frames go through.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kinect2::depth::{Decoder, FRAME_BYTES, Intrinsics, Settings, Tables, TablesError};

use crate::limits::{RAW_FRAMES_MAX, RAW_PARAMETERS_MAX};

/// A raw recording, whole in memory, and the decoder for its sensor.
pub struct Raw {
    decoder: Decoder,
    lens: Intrinsics,
    /// Frame after frame, [`FRAME_BYTES`] each; at least one.
    frames: Vec<u8>,
}

impl Raw {
    /// Whether `folder` holds raw frames rather than pictures: at least one `*.depth`.
    pub fn is_raw(folder: &Path) -> bool {
        list(folder).is_ok_and(|files| !files.is_empty())
    }

    /// Reads the folder into memory, 2,984,960 bytes a frame.
    ///
    /// # Errors
    /// [`Error`] names the file and what is wrong with it; nothing is kept then.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let files = list(folder).map_err(|e| Error::Read(folder.into(), e))?;
        if files.is_empty() {
            return Err(Error::Empty(folder.into()));
        }
        if files.len() > RAW_FRAMES_MAX {
            return Err(Error::TooMany { folder: folder.into(), found: files.len() });
        }
        let (reply, intrinsics) = read_sensor(folder)?;
        let tables = Tables::from_p0_reply(&reply, &intrinsics)
            .map_err(|e| Error::Tables(folder.join("p0.bin"), e))?;
        let mut frames = Vec::new();
        if frames.try_reserve_exact(files.len() * FRAME_BYTES).is_err() {
            return Err(Error::NoMemory { folder: folder.into(), frames: files.len() });
        }
        for file in files {
            let bytes = read(&file, 2 * FRAME_BYTES as u64)?;
            if bytes.len() != FRAME_BYTES {
                return Err(Error::Length { file, found: bytes.len() });
            }
            frames.extend_from_slice(&bytes);
        }
        let settings = Settings { infrared: false, ..Settings::default() };
        let lens = intrinsics;
        let decoder = Decoder::new(&tables, settings).map_err(|e| Error::Decoder(e.to_string()))?;
        Ok(Self { decoder, lens, frames })
    }

    /// Frames in the recording: 1 to [`RAW_FRAMES_MAX`].
    pub fn len(&self) -> usize {
        self.frames.len() / FRAME_BYTES
    }

    /// Always false: an empty folder is an error of [`Raw::open`].
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The lens of the sensor that was recorded.
    pub fn intrinsics(&self) -> Intrinsics {
        self.lens
    }

    /// Decodes frame `n` modulo [`Raw::len`] into `depth`, and into `infrared` if that is given.
    ///
    /// * `depth`: millimetres, row-major, 424 rows × 512 columns; 0 means no return. Overwritten whole.
    /// * `infrared`: brightness, the same shape; 65,535 is saturated. Overwritten whole.
    ///
    /// Never allocates.
    ///
    /// # Panics
    /// If `depth` or `infrared` is not 512 × 424 long.
    pub fn decode(&mut self, n: u64, depth: &mut [u16], infrared: Option<&mut [u16]>) {
        let at = usize::try_from(n % self.len() as u64).expect("below a usize") * FRAME_BYTES;
        let frame = &self.frames[at..at + FRAME_BYTES];
        let settings = Settings { infrared: infrared.is_some(), ..*self.decoder.settings() };
        self.decoder.set(settings).expect("the decoder has these settings but for one that is always good");
        self.decoder
            .decode(frame, depth, infrared)
            .expect("every frame was checked for its length when it was read");
    }
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raw").field("frames", &self.len()).finish_non_exhaustive()
    }
}

/// Reads `p0.bin`, as it is, and `ir_params.json` of a folder.
///
/// # Errors
/// [`Error`] names the file that is missing or bad.
pub fn read_sensor(folder: &Path) -> Result<(Vec<u8>, Intrinsics), Error> {
    let parameters = folder.join("ir_params.json");
    let text = read(&parameters, RAW_PARAMETERS_MAX)?;
    let intrinsics = parse_intrinsics(&text).map_err(|why| Error::Parameters(parameters, why))?;
    let reply = read(&folder.join("p0.bin"), 2 * FRAME_BYTES as u64)?;
    Ok((reply, intrinsics))
}

/// Writes the nine numbers of a lens as [`parse_intrinsics`] reads them.
pub fn format_intrinsics(lens: &Intrinsics) -> String {
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
pub fn parse_intrinsics(text: &[u8]) -> Result<Intrinsics, String> {
    let value: serde_json::Value =
        serde_json::from_slice(text).map_err(|e| format!("it is not JSON: {e}"))?;
    let number = |key: &str| {
        let found = value.get(key).ok_or_else(|| format!("{key} is missing"))?;
        // A lens is known to some seven digits: a float holds all of them.
        #[expect(clippy::cast_possible_truncation, reason = "narrowing is meant")]
        let number = found.as_f64().ok_or_else(|| format!("{key} is not a number"))? as f32;
        Ok::<f32, String>(number)
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

/// Why a raw recording cannot be played.
#[derive(Debug)]
pub enum Error {
    /// A file or the folder cannot be read.
    Read(PathBuf, io::Error),
    /// The folder holds no `*.depth`.
    Empty(PathBuf),
    /// More than [`RAW_FRAMES_MAX`] frames.
    TooMany {
        /// The folder.
        folder: PathBuf,
        /// Frames in it.
        found: usize,
    },
    /// The system has no memory for them.
    NoMemory {
        /// The folder.
        folder: PathBuf,
        /// Frames in it.
        frames: usize,
    },
    /// A frame of another length.
    Length {
        /// The frame.
        file: PathBuf,
        /// Its bytes.
        found: usize,
    },
    /// A file that is far too large to be what it should be.
    TooLarge(PathBuf, u64),
    /// The lens.
    Parameters(PathBuf, String),
    /// The P0 tables.
    Tables(PathBuf, TablesError),
    /// The decoder's settings.
    Decoder(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Read(path, e) => write!(f, "{}: cannot be read: {e}", path.display()),
            Error::Empty(folder) => write!(f, "{}: holds no *.depth", folder.display()),
            Error::TooMany { folder, found } => write!(
                f,
                "{}: {found} raw frames are more than {RAW_FRAMES_MAX}; play a part of them",
                folder.display()
            ),
            Error::NoMemory { folder, frames } => {
                write!(f, "{}: no memory for {frames} raw frames of 3 MB", folder.display())
            }
            Error::Length { file, found } => {
                write!(f, "{}: a raw frame has {FRAME_BYTES} bytes, this one {found}", file.display())
            }
            Error::TooLarge(path, bytes) => write!(f, "{}: {bytes} bytes are far too many", path.display()),
            Error::Parameters(path, why) => write!(f, "{}: {why}", path.display()),
            Error::Tables(path, e) => write!(f, "{}: {e}", path.display()),
            Error::Decoder(why) => write!(f, "the decoder refuses its settings: {why}"),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::PIXELS;

    const LENS: &str = r#"{"fx":365.4,"fy":365.4,"cx":260.9,"cy":205.6,"k1":0.09,"k2":-0.27,"p1":0,"p2":0,"k3":0.09,
                           "serial":"x"}"#;

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("depthcast-raw-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a temporary folder");
        path
    }

    fn complaint(folder: &Path) -> String {
        Raw::open(folder).expect_err("bad").to_string()
    }

    #[test]
    fn every_bad_file_is_named() {
        let folder = folder("bad");
        assert!(complaint(&folder).contains("holds no *.depth"));
        assert!(!Raw::is_raw(&folder));
        fs::write(folder.join("0.depth"), vec![0; 7]).expect("written");
        assert!(Raw::is_raw(&folder));
        assert!(complaint(&folder).contains("ir_params.json: cannot be read"));
        fs::write(folder.join("ir_params.json"), "{").expect("written");
        assert!(complaint(&folder).contains("ir_params.json: it is not JSON"));
        fs::write(folder.join("ir_params.json"), LENS.replace("\"cy\"", "\"c\"")).expect("written");
        assert!(complaint(&folder).contains("ir_params.json: cy is missing"));
        fs::write(folder.join("ir_params.json"), LENS).expect("written");
        assert!(complaint(&folder).contains("p0.bin: cannot be read"));
        fs::write(folder.join("p0.bin"), vec![0; 9]).expect("written");
        assert!(complaint(&folder).contains("p0.bin: "));
        fs::remove_dir_all(&folder).expect("removed");
    }

    #[test]
    fn lenses_are_read_and_checked() {
        let lens = parse_intrinsics(LENS.as_bytes()).expect("good");
        assert_eq!(parse_intrinsics(format_intrinsics(&lens).as_bytes()), Ok(lens));
        assert!((lens.fx - 365.4).abs() < 1e-3 && lens.k3 > 0.08);
        let no_lens = LENS.replace("365.4", "0");
        assert!(parse_intrinsics(no_lens.as_bytes()).is_err());
        assert!(parse_intrinsics(b"[]").expect_err("bad").contains("fx is missing"));
        assert!(parse_intrinsics(b"\xff").is_err());
    }

    #[test]
    fn the_demo_seen_by_a_model_of_the_sensor_is_the_demo() {
        use crate::source::demo::Demo;
        use std::time::Duration;

        let p0 = kinect2_sim::depth::made_up_p0(2);
        let lens = parse_intrinsics(LENS.as_bytes()).expect("good");
        let tables = Tables::from_parts([&p0[0], &p0[1], &p0[2]], &lens).expect("good");
        let mut truth = vec![0.0; PIXELS];
        Demo::new(1).truth(Duration::from_secs(11), &mut truth);
        let mut raw = vec![0; FRAME_BYTES];
        let scene = kinect2_sim::depth::Scene::real(3);
        kinect2_sim::depth::Model::new(&tables)
            .frame(&truth, None, &scene, &mut raw)
            .expect("the shapes are right");
        let mut depth = vec![0; PIXELS];
        let mut decoder = Decoder::new(&tables, Settings::default()).expect("good");
        decoder.decode(&raw, &mut depth, None).expect("whole");
        let seen = truth.iter().zip(&depth).filter(|(t, _)| (600.0..4400.0).contains(*t));
        let near = seen.clone().filter(|(t, d)| (f32::from(**d) - **t).abs() <= 20.0).count();
        let all = seen.count();
        assert!(
            all > PIXELS / 3 && near > all * 9 / 10,
            "{near} of {all} pixels are within 20 mm of the truth"
        );
    }

    #[test]
    fn what_a_model_of_the_sensor_sends_is_played_in_millimetres() {
        let folder = folder("model");
        let p0 = kinect2_sim::depth::made_up_p0(1);
        let reply = kinect2_sim::depth::p0_reply([&p0[0], &p0[1], &p0[2]]);
        let lens = parse_intrinsics(LENS.as_bytes()).expect("good");
        let tables = Tables::from_p0_reply(&reply, &lens).expect("good");
        let mut model = kinect2_sim::depth::Model::new(&tables);
        let truth = vec![2000_u16; PIXELS];
        let mut raw = vec![0; FRAME_BYTES];
        let scene = kinect2_sim::depth::Scene::real(1);
        model.frame_of_mm(&truth, &scene, &mut raw).expect("the shapes are right");
        fs::write(folder.join("p0.bin"), &reply).expect("written");
        fs::write(folder.join("ir_params.json"), LENS).expect("written");
        for name in ["a.depth", "b.depth"] {
            fs::write(folder.join(name), &raw).expect("written");
        }
        let mut played = Raw::open(&folder).expect("good");
        assert_eq!(played.len(), 2);
        let mut depth = vec![1; PIXELS];
        played.decode(4, &mut depth, None);
        let without = depth.clone();
        let mut infrared = vec![0; PIXELS];
        played.decode(5, &mut depth, Some(&mut infrared));
        assert_eq!(depth, without, "infrared changes nothing else");
        infrared.sort_unstable();
        let (median, demo) = (f32::from(infrared[PIXELS / 2]), crate::source::demo::INFRARED_AT_1M / 4.0);
        assert!((median / demo - 1.0).abs() < 0.05, "a wall at 2 m is {median} bright, the demo's {demo}");
        fs::remove_dir_all(&folder).expect("removed");
        let near = depth.iter().filter(|d| d.abs_diff(2000) <= 10).count();
        assert!(near > PIXELS * 8 / 10, "only {near} of {PIXELS} pixels are within 10 mm of the truth");
    }
}
