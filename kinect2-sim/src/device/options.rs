//! What sensor to simulate: options, frames, folders.

use std::path::Path;
use std::sync::Arc;

use kinect2::depth::{FRAME_BYTES, HEIGHT, Intrinsics, PIXELS, Tables, WIDTH};
use kinect2::recording::{self, Recording};

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

    /// A sensor that was [recorded](kinect2::recording). All is read into memory. Its serial number is that of
    /// [`Options::demo`].
    ///
    /// # Errors
    /// They name the file and what is wrong with it.
    pub fn folder(folder: &Path) -> Result<Self, recording::Error> {
        let Recording { files, p0, lens, .. } = Recording::open(folder)?;
        let frames: Result<_, _> =
            files.iter().map(|file| recording::read_frame(file).map(Arc::from)).collect();
        Ok(Options {
            serial: DEMO_SERIAL.to_owned(),
            seed: 0,
            frames: Frames::Raw(frames?),
            p0,
            lens,
            faults: Faults::default(),
            mid_frame: true,
            audio: true,
        })
    }
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
