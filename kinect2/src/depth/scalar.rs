//! The reference: the formulas as they are written down, a pixel at a time, in single precision.
//!
//! Source: libfreenect2 (commit fd64c5d), `src/cpu_depth_packet_processor.cpp`.

use super::params::*;
use super::{HEIGHT, PIXELS, ROW_BYTES, SUB_IMAGES_USED, Settings, Tables, WIDTH, image_row};
use std::f32::consts::TAU;

/// One frame's measurements, and the images made of them. Row-major, row 0 at the top.
pub(super) struct Frame {
    /// Cosine and sine of q + θ for each frequency and phase step.
    waves: [Vec<[(f32, f32); 3]>; 3],
    x: Vec<f32>,
    z: Vec<f32>,
    measurements: [Vec<i16>; SUB_IMAGES_USED],
    vectors: [Vec<Vector>; 3],
    filtered: [Vec<Vector>; 3],
    not_edge: Vec<bool>,
    raw_depth: Vec<f32>,
    amplitude: Vec<f32>,
    depth: Vec<f32>,
    infrared: Vec<f32>,
}

/// What one frequency says of one pixel: amplitude and phase as a complex number.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Vector {
    pub(super) a: f32,
    pub(super) b: f32,
}

impl Frame {
    pub(super) fn new(tables: &Tables) -> Self {
        let waves = [0, 1, 2].map(|frequency| tables.p0(frequency).iter().map(|&p0| waves(p0)).collect());
        Frame {
            waves,
            x: tables.x().to_vec(),
            z: tables.z().to_vec(),
            measurements: [(); SUB_IMAGES_USED].map(|()| vec![0; PIXELS]),
            vectors: [(); 3].map(|()| vec![Vector::default(); PIXELS]),
            filtered: [(); 3].map(|()| vec![Vector::default(); PIXELS]),
            not_edge: vec![true; PIXELS],
            raw_depth: vec![0.0; PIXELS],
            amplitude: vec![0.0; PIXELS],
            depth: vec![0.0; PIXELS],
            infrared: vec![0.0; PIXELS],
        }
    }

    /// Unpacks rows as stored.
    pub(super) fn rows(&mut self, sub_image: usize, first_row: usize, bytes: &[u8]) {
        for (number, bytes) in bytes.chunks_exact(ROW_BYTES).enumerate() {
            let row = image_row(first_row + number);
            let measurements = &mut self.measurements[sub_image][row * WIDTH..][..WIDTH];
            for (column, measurement) in measurements.iter_mut().enumerate() {
                *measurement = linearise(code(bytes, column));
            }
            measurements[0] = 0;
            measurements[WIDTH - 1] = 0;
        }
    }

    /// Everything else.
    pub(super) fn finish(&mut self, settings: &Settings) {
        for i in 0..PIXELS {
            let mut sum = 0.0;
            for frequency in 0..3 {
                let m = [0, 1, 2].map(|step| self.measurements[3 * frequency + step][i]);
                let (vector, amplitude) = vector(frequency, m, &self.waves[frequency][i]);
                self.vectors[frequency][i] = vector;
                sum += amplitude;
            }
            self.infrared[i] = infrared(sum);
        }
        for row in 0..HEIGHT {
            for column in 0..WIDTH {
                let i = row * WIDTH + column;
                self.not_edge[i] = true;
                for frequency in 0..3 {
                    let vectors = &self.vectors[frequency];
                    let inner = (1..WIDTH - 1).contains(&column) && (1..HEIGHT - 1).contains(&row);
                    self.filtered[frequency][i] = if settings.bilateral && inner {
                        let (filtered, not_edge) = bilateral(&neighbourhood(vectors, i));
                        self.not_edge[i] &= not_edge;
                        filtered
                    } else {
                        vectors[i]
                    };
                }
                let (p, amplitude) = phase([0, 1, 2].map(|frequency| self.filtered[frequency][i]));
                self.amplitude[i] = amplitude;
                self.raw_depth[i] = depth(p, self.x[i], self.z[i]);
            }
        }
        for row in 0..HEIGHT {
            for column in 0..WIDTH {
                let i = row * WIDTH + column;
                let inner = (1..WIDTH - 1).contains(&column) && (1..HEIGHT - 1).contains(&row);
                let z = self.raw_depth[i];
                let in_range = z >= f32::from(settings.min_mm) && z <= f32::from(settings.max_mm);
                let kept = !settings.edge || in_range && (!inner || self.passes_edge_filter(i));
                self.depth[i] = if kept { z } else { 0.0 };
            }
        }
    }

    pub(super) fn depth(&self) -> &[f32] {
        &self.depth
    }

    pub(super) fn infrared(&self) -> &[f32] {
        &self.infrared
    }

    /// Whether the inner pixel `i` is no flying pixel between two surfaces: those are of uneven amplitude and away from
    /// both the nearest and the farthest neighbour.
    fn passes_edge_filter(&self, i: usize) -> bool {
        let z = self.raw_depth[i];
        let amplitudes = neighbourhood(&self.amplitude, i);
        let sum: f32 = amplitudes.iter().sum();
        let squares: f32 = amplitudes.iter().map(|a| a * a).sum();
        let (mut low, mut high) = (z, z);
        for (depth, not_edge) in
            neighbourhood(&self.raw_depth, i).iter().zip(neighbourhood(&self.not_edge, i))
        {
            if not_edge && *depth > 0.0 {
                low = low.min(*depth);
                high = high.max(*depth);
            }
        }
        // The root of a negative number, which rounding can give, is NaN: not above the threshold.
        let deviation = (9.0 * squares - sum * sum).sqrt() / 9.0 / (sum / 9.0).max(EDGE_MIN_MEAN);
        let (to_low, to_high) = ((z - low).abs(), (z - high).abs());
        let flying = deviation >= EDGE_DEVIATION
            && to_low > EDGE_CLOSE_DELTA
            && to_high > EDGE_FAR_DELTA
            && to_low.max(to_high) > EDGE_MAX_DELTA;
        self.not_edge[i] && !flying
    }
}

/// The 11-bit code of a column in a row of 704 bytes: four planes of 128 codes, the plane being the column modulo 4.
pub(super) fn code(row: &[u8], column: usize) -> u16 {
    let bit = 11 * ((column >> 2) + 128 * (column & 3));
    let byte = |i: usize| u32::from(row.get(bit / 8 + i).copied().unwrap_or(0));
    (((byte(0) | byte(1) << 8 | byte(2) << 16) >> (bit % 8)) & 0x7ff) as u16
}

/// The measurement of a code: sign and magnitude, logarithmic above 255.
pub(super) const fn linearise(code: u16) -> i16 {
    if code == 1024 {
        return SATURATED;
    }
    let m = (code & 1023) as i16;
    let value = if m < 256 { m } else { ((m & 127) + 128) << ((m >> 7) - 1) };
    if code < 1024 { value } else { -value }
}

/// The reference waves of a pixel at a frequency: cosine and sine of q + θ at the three steps.
pub(super) fn waves(p0: u16) -> [(f32, f32); 3] {
    let q = (-f64::from(p0) * P0_SCALE * std::f64::consts::PI) as f32;
    PHASE_STEPS.map(|step| ((q + step).cos(), (q + step).sin()))
}

/// Vector and amplitude of one frequency from its three exposures.
pub(super) fn vector(frequency: usize, m: [i16; 3], waves: &[(f32, f32); 3]) -> (Vector, f32) {
    if m.contains(&SATURATED) {
        return (Vector::default(), SATURATED_AMPLITUDE);
    }
    let (mut a, mut b) = (0.0, 0.0);
    for (m, (cos, sin)) in m.iter().zip(waves) {
        a += f32::from(*m) * cos;
        b -= f32::from(*m) * sin;
    }
    let (a, b) = (a * FREQUENCY_SCALE[frequency], b * FREQUENCY_SCALE[frequency]);
    (Vector { a, b }, AMPLITUDE_SCALE * (a * a + b * b).sqrt())
}

/// Infrared of the three amplitudes' sum.
pub(super) fn infrared(sum: f32) -> f32 {
    (sum * 0.333_333_3 * INFRARED_SCALE).min(SATURATED_AMPLITUDE)
}

/// The centre (index 4) of a 3x3 window smoothed with the neighbours that resemble it, and whether it is off edges.
pub(super) fn bilateral(window: &[Vector; 9]) -> (Vector, bool) {
    const GAUSS: [f32; 9] = [
        GAUSS_CORNER,
        GAUSS_SIDE,
        GAUSS_CORNER,
        GAUSS_SIDE,
        GAUSS_CENTRE,
        GAUSS_SIDE,
        GAUSS_CORNER,
        GAUSS_SIDE,
        GAUSS_CORNER,
    ];
    let squared = |v: Vector| v.a * v.a + v.b * v.b;
    let centre = window[4];
    let weak = squared(centre) < STRONG_SQUARED;
    let (threshold, decay) = if weak { (0.0, 0.0) } else { (STRONG_SQUARED, DISTANCE_DECAY) };
    let (mut weight, mut distances) = (GAUSS_CENTRE, 0.0);
    let mut sum = Vector { a: GAUSS_CENTRE * centre.a, b: GAUSS_CENTRE * centre.b };
    for (j, (v, gauss)) in window.iter().zip(GAUSS).enumerate() {
        if j == 4 || squared(*v) < threshold {
            continue;
        }
        let cosine = (v.a * centre.a + v.b * centre.b) / (squared(*v).sqrt() * squared(centre).sqrt());
        let distance = 0.5 * (1.0 - cosine);
        let w = gauss * (-decay * distance).exp();
        distances += distance;
        weight += w;
        sum.a += w * v.a;
        sum.b += w * v.b;
    }
    // A vector of no length has no direction: the distance is NaN, and so are weight and sum of distances.
    let filtered =
        if weight > 0.0 { Vector { a: sum.a / weight, b: sum.b / weight } } else { Vector::default() };
    (filtered, distances < MAX_EDGE)
}

/// Unwrapped phase in turns of the common unit (0: none, or not to be trusted) and the sum of the amplitudes.
pub(super) fn phase(vectors: [Vector; 3]) -> (f32, f32) {
    let amplitudes = vectors.map(|v| AMPLITUDE_SCALE * (v.a * v.a + v.b * v.b).sqrt());
    let sum = amplitudes[0] + amplitudes[1] + amplitudes[2];
    let least = amplitudes[0].min(amplitudes[1]).min(amplitudes[2]);
    let most = amplitudes[0].max(amplitudes[1]).max(amplitudes[2]);
    if least < MIN_AMPLITUDE || sum < MIN_AMPLITUDE_SUM {
        return (0.0, sum);
    }
    let phases = vectors.map(|v| {
        let angle = v.b.atan2(v.a);
        if angle < 0.0 { angle + TAU } else { angle }
    });
    let t0 = LAPS[0] * phases[0] / TAU;
    let mut t1 = LAPS[1] * phases[1] / TAU;
    let t2 = LAPS[2] * phases[2] / TAU;

    let mut u = t0 + 3.0 * ((t1 - t0) * 0.333_333 + 0.5).floor();
    let half = 0.5 * (u - t2).abs();
    let f = 2.0 * (half - half.floor());
    if f > 0.5 && f < 1.5 {
        u += 15.0;
        t1 += 15.0;
    }
    let s2 = 0.5 * (t2 + 2.0 * ((u - t2) * 0.5 + 0.5).floor());
    let s0 = u * 0.333_333;
    let s1 = t1 * 0.066_667;
    let p = (s0 + s1 + s2) * 0.333_333;

    let (alpha, beta, gamma) = (TAU * s0, TAU * s1, TAU * s2);
    let [c0, c1, c2] = IDEAL_PHASE;
    let error = (beta * c0 - gamma * c2).powi(2)
        + (gamma * c1 - alpha * c0).powi(2)
        + (alpha * c2 - beta * c1).powi(2);
    let limit = ((most.ln() * CONFIDENCE_SLOPE * LOG10_2 + CONFIDENCE_OFFSET) * LOG2_10)
        .exp()
        .clamp(MIN_DISAGREEMENT, MAX_DISAGREEMENT);
    if p > 0.0 && limit * limit >= error { (p, sum) } else { (0.0, sum) }
}

/// Depth along the optical axis in mm of a phase `p`, for the pixel's ray values `x` and `z`.
pub(super) fn depth(p: f32, x: f32, z: f32) -> f32 {
    let linear = z * p;
    let path = p * UNIT_DISTANCE * 2.0;
    if linear <= 0.0 || path <= 0.0 {
        return 0.0;
    }
    // The emitter is beside the lens: the way out is not the way back.
    let parallax = linear * x * BASELINE_TWICE / (path * path * X_SCALE as f32);
    let mm = linear / (1.0 - parallax);
    if mm.is_finite() && mm > 0.0 { mm } else { 0.0 }
}

/// The 3x3 window around the inner pixel `i`.
fn neighbourhood<T: Copy>(image: &[T], i: usize) -> [T; 9] {
    let [up, down] = [i - WIDTH, i + WIDTH];
    [
        image[up - 1],
        image[up],
        image[up + 1],
        image[i - 1],
        image[i],
        image[i + 1],
        image[down - 1],
        image[down],
        image[down + 1],
    ]
}
