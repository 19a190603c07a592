//! The forward model: what a Kinect v2 would send of a scene whose depth is known.
//!
//! A pixel's depth gives the phase of each modulation frequency; the pixel's amplitude and P0 give nine exposures; noise,
//! saturation and light from beyond edges are added; the exposures become 11-bit codes. All of it is deterministic: the
//! same input and seed give the same frame on the same platform.
//!
//! Source: the decoder's formulas (see [`kinect2::depth`]) solved for the measurements.

use kinect2::depth::{
    FRAME_BYTES, HEIGHT, PIXELS, ROW_BYTES, SUB_IMAGE_BYTES, SUB_IMAGES, SUB_IMAGES_USED, Tables,
    UNAMBIGUOUS_MM, WIDTH, image_row,
};
use std::f64::consts::{PI, TAU};
use std::fmt;

/// The conditions of a picture. The default is a noise-free one: only the codes' steps are lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scene {
    /// Amplitude that a surface at 1 m has; it falls with the square of the distance along the ray. Infrared is 16 times
    /// the amplitude. 800 is a light wall.
    pub amplitude_at_1m: f32,
    /// Largest amplitude; nearer or brighter surfaces are no brighter than this (`f32::INFINITY`: no limit). Keeps a near
    /// scene from saturating where that is not what is wanted.
    pub amplitude_max: f32,
    /// Amplitude from which all exposures of a pixel are saturated.
    pub saturation: f32,
    /// Standard deviation of an exposure without light, in its own unit.
    pub read_noise: f32,
    /// Variance of an exposure that each unit of amplitude adds: the noise of the light itself.
    pub shot_noise: f32,
    /// Share of its light, 0 to 1, that a pixel beside a depth step takes from its 3x3 neighbourhood.
    pub edge_mixing: f32,
    /// Depth step to a neighbour, mm, from which a pixel lies beside an edge.
    pub edge_step_mm: f32,
    /// Seed of the noise. Take another for every frame of a film.
    pub seed: u64,
}

impl Default for Scene {
    fn default() -> Self {
        Scene {
            amplitude_at_1m: 800.0,
            amplitude_max: f32::INFINITY,
            saturation: 5000.0,
            read_noise: 0.0,
            shot_noise: 0.0,
            edge_mixing: 0.0,
            edge_step_mm: 40.0,
            seed: 0,
        }
    }
}

impl Scene {
    /// A picture as a real sensor takes it: some millimetres of noise at 3 m, flying pixels at edges.
    #[must_use]
    pub fn real(seed: u64) -> Self {
        Scene { read_noise: 1.5, shot_noise: 0.05, edge_mixing: 0.6, seed, ..Scene::default() }
    }
}

/// One sensor, ready to make frames. About 13 MB, allocated in [`Model::new`].
pub struct Model {
    /// Cosine and sine of each frequency's P0 angle.
    waves: [Vec<(f32, f32)>; 3],
    /// For each pixel: mm per unit of phase, and the parallax of the emitter in units of phase.
    rays: Vec<(f32, f32)>,
    /// Light of the frame being made: amplitude and phase of each frequency as a complex number.
    light: Vec<[(f32, f32); 3]>,
}

/// Half the travel path of one unit of phase, mm.
const UNIT_DISTANCE: f64 = 2083.333;
/// Gain of each frequency's exposures in the decoder: 80, 16 and 120 MHz.
const FREQUENCY_SCALE: [f64; 3] = [1.322_581, 1.0, 1.612_903];
/// Units of 0.3 phase after which each frequency repeats.
const LAPS: [f64; 3] = [3.0, 15.0, 2.0];
/// What real sensors send in the outermost columns of each P0 table, in at least half of the rows.
const P0_BORDER: [u16; 3] = [0x2c9a, 0x08ec, 0x42e8];
/// The code of a saturated exposure.
const SATURATED: u16 = 1024;

impl Model {
    /// A sensor with these tables; whoever decodes its frames needs the same ones.
    #[must_use]
    pub fn new(tables: &Tables) -> Self {
        let waves = [0, 1, 2].map(|frequency| {
            let wave = |p0: &u16| {
                let q = -f64::from(*p0) * 0.000_031 * PI;
                (q.cos() as f32, q.sin() as f32)
            };
            tables.p0(frequency).iter().map(wave).collect()
        });
        let ray = |(x, z): (&f32, &f32)| {
            let parallax = f64::from(*z) * f64::from(*x) * 90.0 / (8192.0 * (2.0 * UNIT_DISTANCE).powi(2));
            (*z, parallax as f32)
        };
        Model {
            waves,
            rays: tables.x().iter().zip(tables.z()).map(ray).collect(),
            light: vec![[(0.0, 0.0); 3]; PIXELS],
        }
    }

    /// Makes the raw frame of a depth image.
    ///
    /// * `depth`: mm along the optical axis, row-major 424 x 512, row 0 at the top, as in the tables. Anything
    ///   but a number above 0 and up to [`UNAMBIGUOUS_MM`] is a pixel without light.
    /// * `reflectance`: the same shape, factor on the amplitude, for what a texture looks like in infrared; 1 without it.
    /// * `raw`: [`FRAME_BYTES`], overwritten whole: ten sub-images, the last of them only noise.
    ///
    /// Never allocates.
    ///
    /// # Errors
    /// [`ShapeError`] if a slice has another length; `raw` is then untouched.
    pub fn frame(
        &mut self,
        depth: &[f32],
        reflectance: Option<&[f32]>,
        scene: &Scene,
        raw: &mut [u8],
    ) -> Result<(), ShapeError> {
        if depth.len() != PIXELS || reflectance.is_some_and(|image| image.len() != PIXELS) {
            return Err(ShapeError);
        }
        self.make(|i| depth[i], |i| reflectance.map_or(1.0, |image| image[i]), scene, raw)
    }

    /// The same for a depth image of integers, as a replay folder has them; 0 is a pixel without light.
    ///
    /// # Errors
    /// As for [`Model::frame`].
    pub fn frame_of_mm(&mut self, depth: &[u16], scene: &Scene, raw: &mut [u8]) -> Result<(), ShapeError> {
        if depth.len() != PIXELS {
            return Err(ShapeError);
        }
        self.make(|i| f32::from(depth[i]), |_| 1.0, scene, raw)
    }

    fn make(
        &mut self,
        depth: impl Fn(usize) -> f32,
        reflectance: impl Fn(usize) -> f32,
        scene: &Scene,
        raw: &mut [u8],
    ) -> Result<(), ShapeError> {
        if raw.len() != FRAME_BYTES {
            return Err(ShapeError);
        }
        for (i, light) in self.light.iter_mut().enumerate() {
            *light = shine(depth(i), reflectance(i), self.rays[i], scene);
        }
        for (number, stored) in raw.chunks_exact_mut(ROW_BYTES).enumerate() {
            let (sub_image, row) = (number / HEIGHT, image_row(number % HEIGHT));
            let mut codes = [0; WIDTH];
            for (column, code) in codes.iter_mut().enumerate().take(WIDTH - 1).skip(1) {
                let i = row * WIDTH + column;
                let light = self.light_at(i, sub_image / 3, &depth, scene);
                *code = self.expose(i, sub_image, light, scene);
            }
            pack(&codes, stored);
        }
        Ok(())
    }

    /// A pixel's light of one frequency, with what comes over an edge.
    fn light_at(
        &self,
        i: usize,
        frequency: usize,
        depth: &impl Fn(usize) -> f32,
        scene: &Scene,
    ) -> (f32, f32) {
        if frequency > 2 {
            return (0.0, 0.0);
        }
        let own = self.light[i][frequency];
        let (row, column) = (i / WIDTH, i % WIDTH);
        if scene.edge_mixing <= 0.0 || row == 0 || row == HEIGHT - 1 || column == 0 || column == WIDTH - 1 {
            return own;
        }
        let window =
            [i - WIDTH - 1, i - WIDTH, i - WIDTH + 1, i - 1, i + 1, i + WIDTH - 1, i + WIDTH, i + WIDTH + 1];
        let z = depth(i);
        if !window.iter().any(|j| (depth(*j) - z).abs() > scene.edge_step_mm) {
            return own;
        }
        let mixing = scene.edge_mixing.min(1.0);
        let mut mixed = (own.0 * (1.0 - mixing), own.1 * (1.0 - mixing));
        for j in window {
            let other = self.light[j][frequency];
            mixed.0 += other.0 * mixing / 8.0;
            mixed.1 += other.1 * mixing / 8.0;
        }
        mixed
    }

    /// The code of one exposure of a pixel.
    fn expose(&self, i: usize, sub_image: usize, light: (f32, f32), scene: &Scene) -> u16 {
        let (re, im) = (f64::from(light.0), f64::from(light.1));
        let amplitude = re.hypot(im);
        if amplitude >= f64::from(scene.saturation) {
            return SATURATED;
        }
        let mut exposure = 0.0;
        if sub_image < SUB_IMAGES_USED {
            let frequency = sub_image / 3;
            let (cos, sin) = self.waves[frequency][i];
            let (step_sin, step_cos) = ((sub_image % 3) as f64 * TAU / 3.0).sin_cos();
            let (cos, sin) = (f64::from(cos), f64::from(sin));
            let (cos, sin) = (cos * step_cos - sin * step_sin, sin * step_cos + cos * step_sin);
            exposure = (re * cos - im * sin) / FREQUENCY_SCALE[frequency];
        }
        let (read, shot) = (f64::from(scene.read_noise), f64::from(scene.shot_noise));
        if read > 0.0 || shot > 0.0 {
            let deviation = (read * read + shot.max(0.0) * amplitude).sqrt();
            exposure += deviation * gauss(scene.seed, (sub_image * PIXELS + i) as u64);
        }
        code(exposure)
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").finish_non_exhaustive()
    }
}

/// A slice that is not 424 x 512 values, or not a raw frame of 2,984,960 bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ShapeError;

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "images must be {HEIGHT} x {WIDTH}, raw frames {FRAME_BYTES} bytes")
    }
}

impl std::error::Error for ShapeError {}

/// P0 tables such as a sensor might have: its border constants, smooth rows, and half a turn between rows as they are read.
///
/// * `seed`: another sensor for each.
#[must_use]
pub fn made_up_p0(seed: u64) -> [Vec<u16>; 3] {
    [0, 1, 2].map(|table| {
        let start = random(seed, table as u64) as u16;
        let slope = 160 + (random(seed, 3 + table as u64) % 170) as usize;
        let value = |i: usize| match (i % WIDTH, i / WIDTH) {
            (0 | 511, _) => P0_BORDER[table],
            (column, row) => start.wrapping_add((column * slope + row * 23 + row % 2 * 32_768) as u16),
        };
        (0..PIXELS).map(value).collect()
    })
}

/// The reply to the P0 request (command 0x22, page 2) of a sensor with these tables. The header and the pads are zeros.
///
/// # Panics
/// If a table has more than 424 x 512 values.
#[must_use]
pub fn p0_reply(tables: [&[u16]; 3]) -> Vec<u8> {
    let mut reply = vec![0; kinect2::depth::P0_REPLY_MIN];
    for (table, offset) in tables.into_iter().zip([34, 434_214, 868_394]) {
        assert!(table.len() <= PIXELS, "a P0 table has 424 x 512 values");
        for (value, to) in table.iter().zip(reply[offset..].chunks_exact_mut(2)) {
            to.copy_from_slice(&value.to_le_bytes());
        }
    }
    reply
}

/// The light that comes back to a pixel, for each frequency.
fn shine(mm: f32, reflectance: f32, (z_scale, parallax): (f32, f32), scene: &Scene) -> [(f32, f32); 3] {
    let lit = mm > 0.0 && mm <= f32::from(UNAMBIGUOUS_MM) && reflectance > 0.0;
    if !lit {
        return [(0.0, 0.0); 3];
    }
    let (mm, z_scale, parallax) = (f64::from(mm), f64::from(z_scale), f64::from(parallax));
    // z = z_scale p² / (p - parallax), solved for the p that is near z / z_scale.
    let Some(root) = Some(mm * mm - 4.0 * z_scale * mm * parallax).filter(|square| *square >= 0.0) else {
        return [(0.0, 0.0); 3];
    };
    let p = (mm + root.sqrt()) / (2.0 * z_scale);
    let metres = p * UNIT_DISTANCE / 1000.0;
    let amplitude = f64::from(scene.amplitude_at_1m) * f64::from(reflectance) / (metres * metres);
    let amplitude = amplitude.min(f64::from(scene.amplitude_max)).max(0.0);
    LAPS.map(|lap| {
        let (sin, cos) = (TAU * (p / 0.3 / lap).fract()).sin_cos();
        ((amplitude * cos) as f32, (amplitude * sin) as f32)
    })
}

/// The nearest code of a measurement; never the one of saturation.
fn code(measurement: f64) -> u16 {
    const LARGEST: u32 = 16_320;
    if measurement.is_nan() {
        return 0;
    }
    let magnitude = measurement.abs().min(f64::from(LARGEST));
    // Above 255 a code has eight significant bits, the first of them implied.
    let mut shift = 0;
    while magnitude / f64::from(1_u32 << shift) >= 255.5 {
        shift += 1;
    }
    let mantissa = (magnitude / f64::from(1_u32 << shift)).round() as u16;
    let magnitude = if mantissa < 128 { mantissa } else { mantissa - 128 + ((shift + 1) << 7) };
    if measurement < 0.0 && magnitude > 0 { 1024 + magnitude } else { magnitude }
}

/// Writes a row: four planes of 128 codes, the plane being the column modulo 4; little-endian bits.
fn pack(codes: &[u16; WIDTH], row: &mut [u8]) {
    row.fill(0);
    for (column, code) in codes.iter().enumerate() {
        let bit = 11 * ((column >> 2) + WIDTH / 4 * (column & 3));
        let spread = u32::from(*code) << (bit % 8);
        for (byte, spread) in row[bit / 8..].iter_mut().zip(spread.to_le_bytes()) {
            *byte |= spread;
        }
    }
}

/// A number of the standard normal distribution for each `at`.
fn gauss(seed: u64, at: u64) -> f64 {
    let unit = |bits: u64| ((bits >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    let (u, v) = (unit(random(seed, 2 * at)), unit(random(seed, 2 * at + 1)));
    (-2.0 * u.ln()).sqrt() * (TAU * v).cos()
}

/// 64 random bits for each `at`. Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (SplitMix64).
pub(crate) fn random(seed: u64, at: u64) -> u64 {
    let mix = |mut bits: u64| {
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    };
    mix(mix(seed.wrapping_add(0x9e37_79b9_7f4a_7c15)).wrapping_add(at.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

const _: () = assert!(SUB_IMAGE_BYTES * SUB_IMAGES == FRAME_BYTES);

#[cfg(test)]
mod tests;
