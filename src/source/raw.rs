//! A folder of raw Kinect v2 frames ([`kinect2::recording`]), decoded live and played in a loop.
//!
//! All files are read and checked in [`Raw::open`], so that serving never waits for a disk; a raw frame is turned into
//! millimetres when it is its turn, by the decoder that a sensor's frames go through.

use std::fmt;
use std::path::{Path, PathBuf};

use kinect2::depth::{Decoder, FRAME_BYTES, Intrinsics, Settings};
use kinect2::recording::{self, Recording, read_frame};

use crate::limits::RAW_FRAMES_MAX;

/// A raw recording, whole in memory, and the decoder for its sensor.
pub struct Raw {
    decoder: Decoder,
    lens: Intrinsics,
    /// Frame after frame, [`FRAME_BYTES`] each; at least one.
    frames: Vec<u8>,
}

impl Raw {
    /// Reads the folder into memory, 2,984,960 bytes a frame.
    ///
    /// # Errors
    /// [`Error`] names the file and what is wrong with it; nothing is kept then.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let Recording { files, lens, tables, .. } = Recording::open(folder)?;
        if files.len() > RAW_FRAMES_MAX {
            return Err(Error::TooMany { folder: folder.into(), found: files.len() });
        }
        let mut frames = Vec::new();
        if frames.try_reserve_exact(files.len() * FRAME_BYTES).is_err() {
            return Err(Error::NoMemory { folder: folder.into(), frames: files.len() });
        }
        for file in files {
            frames.extend_from_slice(&read_frame(&file)?);
        }
        let settings = Settings { infrared: false, ..Settings::default() };
        let decoder = Decoder::new(&tables, settings).map_err(|e| Error::Decoder(e.to_string()))?;
        Ok(Self { decoder, lens, frames })
    }

    /// Frames in the recording: 1 to [`RAW_FRAMES_MAX`].
    pub fn frame_count(&self) -> usize {
        self.frames.len() / FRAME_BYTES
    }

    /// The lens of the sensor that was recorded.
    pub fn intrinsics(&self) -> Intrinsics {
        self.lens
    }

    /// Decodes frame `n` modulo [`Raw::frame_count`] into `depth`, and into `infrared` if that is given.
    ///
    /// * `depth`: millimetres, row-major, 424 rows × 512 columns; 0 means no return. Overwritten whole.
    /// * `infrared`: brightness, the same shape; 65,535 is saturated. Overwritten whole.
    ///
    /// Never allocates.
    ///
    /// # Panics
    /// If `depth` or `infrared` is not 512 × 424 long.
    pub fn decode(&mut self, n: u64, depth: &mut [u16], infrared: Option<&mut [u16]>) {
        let at = usize::try_from(n % self.frame_count() as u64).expect("below a usize") * FRAME_BYTES;
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
        f.debug_struct("Raw").field("frames", &self.frame_count()).finish_non_exhaustive()
    }
}

/// Why a raw recording cannot be played.
#[derive(Debug)]
pub enum Error {
    /// The folder is none, or a file in it is bad.
    Recording(recording::Error),
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
    /// The decoder's settings.
    Decoder(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Recording(e) => e.fmt(f),
            Error::TooMany { folder, found } => write!(
                f,
                "{}: {found} raw frames are more than {RAW_FRAMES_MAX}; play a part of them",
                folder.display()
            ),
            Error::NoMemory { folder, frames } => {
                write!(f, "{}: no memory for {frames} raw frames of 3 MB", folder.display())
            }
            Error::Decoder(why) => write!(f, "the decoder refuses its settings: {why}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<recording::Error> for Error {
    fn from(error: recording::Error) -> Self {
        Error::Recording(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::PIXELS;
    use kinect2::depth::Tables;
    use kinect2::recording::parse_lens;
    use std::fs;

    const LENS: &str = r#"{"fx":365.4,"fy":365.4,"cx":260.9,"cy":205.6,"k1":0.09,"k2":-0.27,"p1":0,"p2":0,"k3":0.09,
                           "serial":"x"}"#;

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("depthcast-raw-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a temporary folder");
        path
    }

    #[test]
    fn the_demo_seen_by_a_model_of_the_sensor_is_the_demo() {
        use crate::source::demo::Demo;
        use std::time::Duration;

        let p0 = kinect2_sim::depth::made_up_p0(2);
        let lens = parse_lens(LENS.as_bytes()).expect("good");
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
        let lens = parse_lens(LENS.as_bytes()).expect("good");
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
        assert_eq!(played.frame_count(), 2);
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
