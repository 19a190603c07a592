//! Turns a recording into one of the other kind: raw frames into pictures in millimetres, and back.
//!
//! Raw to PNG goes through the decoder that `replay:` uses. PNG to raw goes through the model of a sensor
//! (`kinect2-sim`), with the tables and the lens of a real one if a folder with them is given: what comes out is what
//! that sensor would send of such a scene, with no noise but that of the picture itself.

use std::fmt;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use kinect2::depth::{FRAME_BYTES, Tables};
use kinect2::recording::{Recording, format_lens, read_sensor};
use kinect2_sim::depth::{Model, Scene, made_up_p0, p0_reply};

use crate::encode::png;
use crate::files::write_whole;
use crate::source::demo::INTRINSICS;
use crate::source::raw::{self, Raw};
use crate::source::replay::{self, Replay};
use crate::source::{HEIGHT, PIXELS, WIDTH};

/// Converts the recording in `from` into the folder `to`, which is made and must not hold a recording yet.
///
/// * `sensor`: a folder with `p0.bin` and `ir_params.json`, for PNG to raw; a made-up sensor otherwise.
///
/// Returns the number of frames. Draws a progress bar on standard error if that is a terminal.
///
/// # Errors
/// [`Error`] names the file and what is wrong; frames written until then stay, each whole.
pub fn convert(from: &Path, to: &Path, sensor: Option<&Path>) -> Result<usize, Error> {
    fs::create_dir_all(to).map_err(|e| Error::Folder(to.into(), e))?;
    let mut there = fs::read_dir(to).map_err(|e| Error::Folder(to.into(), e))?;
    if there.next().is_some() {
        return Err(Error::NotEmpty(to.into()));
    }
    if Recording::is_one(from) { to_pictures(from, to) } else { to_raw(from, to, sensor) }
}

fn to_pictures(from: &Path, to: &Path) -> Result<usize, Error> {
    let mut recording = Raw::open(from).map_err(Error::Raw)?;
    let mut depth = vec![0; PIXELS];
    let mut encoder = png::Encoder::new(WIDTH, HEIGHT);
    let mut out = vec![0; png::depth_bound(WIDTH, HEIGHT)];
    let mut progress = Progress::new(recording.frame_count());
    for n in 0..recording.frame_count() {
        recording.decode(n as u64, &mut depth, None);
        let len = encoder.depth(&depth, "", &mut out);
        write(&to.join(format!("{n:06}.png")), &out[..len])?;
        progress.step();
    }
    Ok(recording.frame_count())
}

fn to_raw(from: &Path, to: &Path, sensor: Option<&Path>) -> Result<usize, Error> {
    let recording = Replay::open(from).map_err(Error::Replay)?;
    let (reply, lens) = match sensor {
        Some(folder) => read_sensor(folder).map_err(|e| Error::Raw(e.into()))?,
        None => {
            let p0 = made_up_p0(0);
            (p0_reply([&p0[0], &p0[1], &p0[2]]), INTRINSICS.single())
        }
    };
    let tables = Tables::from_p0_reply(&reply, &lens).map_err(|e| Error::Sensor(e.to_string()))?;
    let mut model = Model::new(&tables);
    let scene = Scene { amplitude_max: AMPLITUDE_MAX, ..Scene::default() };
    write(&to.join("p0.bin"), &reply)?;
    write(&to.join("ir_params.json"), format_lens(&lens).as_bytes())?;
    let mut depth = vec![0; PIXELS];
    let mut frame = vec![0; FRAME_BYTES];
    let mut progress = Progress::new(recording.frame_count());
    for n in 0..recording.frame_count() {
        recording.copy_frame(n as u64, &mut depth);
        model.frame_of_mm(&depth, &scene, &mut frame).map_err(|e| Error::Sensor(e.to_string()))?;
        write(&to.join(format!("{n:06}.depth")), &frame)?;
        progress.step();
    }
    Ok(recording.frame_count())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_whole(path, bytes).map_err(|e| Error::Write(path.into(), e))
}

/// Why a recording was not converted.
#[derive(Debug)]
pub enum Error {
    /// The raw recording is bad.
    Raw(raw::Error),
    /// The pictures are bad.
    Replay(replay::Error),
    /// The sensor's tables and lens make no sense together.
    Sensor(String),
    /// The folder to write to holds something.
    NotEmpty(PathBuf),
    /// The folder to write to cannot be made or read.
    Folder(PathBuf, io::Error),
    /// A file cannot be written.
    Write(PathBuf, io::Error),
}

impl Error {
    /// Whether nothing had begun yet.
    pub fn is_at_start(&self) -> bool {
        match self {
            Error::Raw(_) | Error::Replay(_) | Error::Sensor(_) | Error::NotEmpty(_) | Error::Folder(..) => {
                true
            }
            Error::Write(..) => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Raw(e) => e.fmt(f),
            Error::Replay(e) => e.fmt(f),
            Error::Sensor(why) => write!(f, "the sensor: {why}"),
            Error::NotEmpty(path) => write!(f, "{}: is not empty; name a new folder", path.display()),
            Error::Folder(path, e) => write!(f, "{}: cannot be written to: {e}", path.display()),
            Error::Write(path, e) => write!(f, "{}: cannot be written: {e}", path.display()),
        }
    }
}

impl std::error::Error for Error {}

/// A bar on a terminal, nothing elsewhere.
struct Progress {
    done: usize,
    all: usize,
    shown: bool,
}

impl Progress {
    fn new(all: usize) -> Self {
        Self { done: 0, all, shown: io::stderr().is_terminal() }
    }

    fn step(&mut self) {
        self.done += 1;
        if self.shown {
            let full = BAR * self.done / self.all;
            let end = if self.done == self.all { "\n" } else { "" };
            // A terminal that is gone is no reason to stop.
            let _ = write!(
                io::stderr(),
                "\r[{:#<full$}{:.<rest$}] {}/{} frames{end}",
                "",
                "",
                self.done,
                self.all,
                rest = BAR - full
            );
        }
    }
}

/// Columns of the bar.
const BAR: usize = 40;

/// Near surfaces would saturate the model's sensor at its usual light, and lose their depth: half of what does.
const AMPLITUDE_MAX: f32 = 2500.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_is_the_same_depth() {
        let folder = std::env::temp_dir().join(format!("depthcast-convert-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let (pictures, raw, back) = (folder.join("a"), folder.join("b"), folder.join("c"));
        fs::create_dir_all(&pictures).expect("a temporary folder");
        // A wall that leans: no edges, and all of it within the range that the decoder keeps.
        let depth: Vec<u16> =
            (0..PIXELS).map(|i| 1000 + u16::try_from(i / WIDTH).expect("small") * 5).collect();
        let mut out = vec![0; png::depth_bound(WIDTH, HEIGHT)];
        let len = png::Encoder::new(WIDTH, HEIGHT).depth(&depth, "", &mut out);
        fs::write(pictures.join("0.png"), &out[..len]).expect("written");

        assert_eq!(convert(&pictures, &raw, None).expect("to raw"), 1);
        assert_eq!(convert(&raw, &back, None).expect("and back"), 1);
        let again = convert(&raw, &back, None).expect_err("the folder is not empty").to_string();
        assert!(again.ends_with("is not empty; name a new folder"), "{again}");
        // The tables of one recording serve for another.
        assert_eq!(convert(&pictures, &folder.join("d"), Some(&raw)).expect("with a sensor's tables"), 1);
        assert_eq!(
            fs::read(raw.join("p0.bin")).expect("read"),
            fs::read(folder.join("d/p0.bin")).expect("read")
        );

        let mut found = vec![0; PIXELS];
        Replay::open(&back).expect("good").copy_frame(0, &mut found);
        fs::remove_dir_all(&folder).expect("removed");
        let close = found.iter().zip(&depth).filter(|(a, b)| a.abs_diff(**b) <= 3).count();
        assert!(close > PIXELS * 98 / 100, "only {close} of {PIXELS} pixels are within 3 mm");
    }

    #[test]
    fn an_empty_folder_is_named() {
        let folder = std::env::temp_dir().join(format!("depthcast-convert-empty-{}", std::process::id()));
        fs::create_dir_all(folder.join("a")).expect("a temporary folder");
        let error = convert(&folder.join("a"), &folder.join("b"), None).expect_err("empty").to_string();
        fs::remove_dir_all(&folder).expect("removed");
        assert!(error.contains("depthcast-convert-empty"), "{error}");
    }
}
