//! What sensor to simulate: options, frames, folders.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kinect2::depth::{FRAME_BYTES, HEIGHT, Intrinsics, PIXELS, Tables, WIDTH};
use kinect2::protocol::PAGE_MAX;

use crate::depth::{Model, Scene, made_up_p0, p0_reply, random};
use crate::faults::Faults;

/// Raw frames that are sent in a loop.
#[derive(Clone, Debug)]
pub enum Frames {
    /// [`FRAME_BYTES`] each; at least one.
    Raw(Vec<Arc<[u8]>>),
}

impl Frames {
    /// Frames of random bytes: no pictures, but every byte tells where it belongs. Made in milliseconds.
    #[must_use]
    pub fn noise(seed: u64, count: usize) -> Self {
        let frame = |number: usize| {
            let words = (0..FRAME_BYTES / 8).map(|at| random(seed ^ number as u64, at as u64).to_le_bytes());
            words.flatten().collect()
        };
        Frames::Raw((0..count).map(frame).collect())
    }

    /// A made-up room with a ball that flies through it.
    #[must_use]
    fn demo(seed: u64, tables: &Tables) -> Self {
        let mut model = Model::new(tables);
        let mut depth = vec![0.0; PIXELS];
        let frame = |number: usize| {
            let place = random(seed, number as u64);
            let (ball_row, ball_column) = ((100 + place % 200) as f32, (100 + (place >> 32) % 300) as f32);
            for (i, depth) in depth.iter_mut().enumerate() {
                let (row, column) = ((i / WIDTH) as f32, (i % WIDTH) as f32);
                let away = (row - ball_row).hypot(column - ball_column);
                // A back wall at a slant, a floor that comes nearer, a ball before both.
                let wall = 2500.0 + column * 1.5;
                let floor = 520_000.0 / (row - 200.0).max(1.0);
                *depth = if away < 50.0 { 1500.0 - (2500.0 - away * away).sqrt() } else { wall.min(floor) };
            }
            let mut raw = vec![0; FRAME_BYTES];
            model.frame(&depth, None, &Scene::real(place), &mut raw).expect("both are of the right size");
            raw.into()
        };
        Frames::Raw((0..DEMO_FRAMES).map(frame).collect())
    }

    /// The frame for a number, counted round.
    ///
    /// # Panics
    /// If there are none.
    pub(crate) fn get(&self, number: u32) -> &Arc<[u8]> {
        let Frames::Raw(frames) = self;
        &frames[number as usize % frames.len()]
    }

    /// How many there are before they come again.
    #[must_use]
    pub fn len(&self) -> usize {
        let Frames::Raw(frames) = self;
        frames.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the sensor can send them.
    pub(crate) fn are_whole(&self) -> bool {
        let Frames::Raw(frames) = self;
        !frames.is_empty() && frames.iter().all(|frame| frame.len() == FRAME_BYTES)
    }
}

/// What sensor to simulate.
#[derive(Clone, Debug)]
pub struct Options {
    /// Serial number, in the string descriptor and in page 1; what is not ASCII or beyond 63 characters is left out.
    pub serial: String,
    /// Seed of what the sensor decides by chance: where in a frame its stream begins. Faults have their own.
    pub seed: u64,
    /// What it sees.
    pub frames: Frames,
    /// Its reply to the P0 request (command 0x22, page 2).
    pub p0: Vec<u8>,
    /// The lens of its depth camera (page 3).
    pub lens: Intrinsics,
    /// What goes wrong.
    pub faults: Faults,
    /// A stream begins in the middle of a frame, as a real one does; otherwise with the first packet of one. The faults
    /// `half-frame` and `whole-frame` have the last word.
    pub mid_frame: bool,
    /// With the two audio interfaces; without, the configuration ends after interface 1.
    pub audio: bool,
}

impl Options {
    /// A sensor before a scene of four made-up frames.
    ///
    /// * `seed`: another scene and another sensor for each.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn demo(seed: u64) -> Self {
        let mut options = Self::noise(seed, 0);
        let tables = Tables::from_p0_reply(&options.p0, &options.lens).expect("the made-up reply is sound");
        options.frames = Frames::demo(seed, &tables);
        options
    }

    /// The same sensor with `count` frames of random bytes, at least one: for tests that look at bytes only.
    #[must_use]
    pub fn noise(seed: u64, count: usize) -> Self {
        let p0 = made_up_p0(seed);
        Options {
            serial: DEMO_SERIAL.to_owned(),
            seed,
            frames: Frames::noise(seed, count),
            p0: p0_reply([&p0[0], &p0[1], &p0[2]]),
            lens: DEMO_LENS,
            faults: Faults::default(),
            mid_frame: true,
            audio: true,
        }
    }

    /// A sensor that was recorded.
    ///
    /// | file | content |
    /// | --- | --- |
    /// | `*.depth` | one raw frame each, [`FRAME_BYTES`] long; sent in the order of their names |
    /// | `p0.bin` | the sensor's reply to the P0 request, as it came |
    /// | `ir_params.json` | the lens: `fx`, `fy`, `cx`, `cy`, `k1`, `k2`, `p1`, `p2`, `k3` in pixels, one JSON object |
    ///
    /// All is read into memory. Its serial number is that of [`Options::demo`].
    ///
    /// # Errors
    /// [`FolderError`] names the file and what is wrong with it.
    pub fn folder(folder: &Path) -> Result<Self, FolderError> {
        let files = list(folder).map_err(|e| FolderError::Read(folder.into(), e))?;
        if files.is_empty() {
            return Err(FolderError::Empty(folder.into()));
        }
        let lens = folder.join("ir_params.json");
        let intrinsics = parse_lens(&read(&lens)?).map_err(|why| FolderError::Bad(lens, why))?;
        let reply = folder.join("p0.bin");
        let p0 = read(&reply)?;
        if p0.len() > PAGE_MAX {
            let why = format!("{} bytes are more than a reply has, {PAGE_MAX}", p0.len());
            return Err(FolderError::Bad(reply, why));
        }
        Tables::from_p0_reply(&p0, &intrinsics).map_err(|e| FolderError::Bad(reply, e.to_string()))?;
        let mut frames = Vec::with_capacity(files.len());
        for file in files {
            let bytes = read(&file)?;
            if bytes.len() != FRAME_BYTES {
                let why = format!("{} bytes, but a raw frame has {FRAME_BYTES}", bytes.len());
                return Err(FolderError::Bad(file, why));
            }
            frames.push(bytes.into());
        }
        Ok(Options {
            serial: DEMO_SERIAL.to_owned(),
            seed: 0,
            frames: Frames::Raw(frames),
            p0,
            lens: intrinsics,
            faults: Faults::default(),
            mid_frame: true,
            audio: true,
        })
    }
}

/// Why a folder is no recording.
#[derive(Debug)]
pub enum FolderError {
    /// A file or the folder cannot be read.
    Read(PathBuf, io::Error),
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

fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new("depth")) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<Vec<u8>, FolderError> {
    fs::read(path).map_err(|e| FolderError::Read(path.into(), e))
}

fn parse_lens(text: &[u8]) -> Result<Intrinsics, String> {
    let value: serde_json::Value =
        serde_json::from_slice(text).map_err(|e| format!("it is not JSON: {e}"))?;
    let number = |key: &str| {
        let found = value.get(key).ok_or_else(|| format!("{key} is missing"))?;
        Ok::<f32, String>(found.as_f64().ok_or_else(|| format!("{key} is not a number"))? as f32)
    };
    Ok(Intrinsics {
        fx: number("fx")?,
        fy: number("fy")?,
        cx: number("cx")?,
        cy: number("cy")?,
        k1: number("k1")?,
        k2: number("k2")?,
        k3: number("k3")?,
        p1: number("p1")?,
        p2: number("p2")?,
    })
}

const DEMO_FRAMES: usize = 4;
/// Of the shape that sensors have: twelve digits.
const DEMO_SERIAL: &str = "005697142447";
/// Of one real sensor (libfreenect2 issue 248).
const DEMO_LENS: Intrinsics = Intrinsics {
    fx: 365.861,
    fy: 365.861,
    cx: 254.502,
    cy: 205.253,
    k1: 0.096_405_6,
    k2: -0.275_756,
    k3: 0.092_148_9,
    p1: 0.0,
    p2: 0.0,
};
const _: () = assert!(WIDTH * HEIGHT == PIXELS);
