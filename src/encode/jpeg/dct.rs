//! Samples to quantised coefficients, sixteen blocks at a time.
//!
//! A [`Batch`] holds sixteen blocks beside each other: each sample, later each coefficient, is a row of sixteen lanes, one for each
//! block. So every step is the same arithmetic on whole rows, which compilers turn into vector instructions of any width,
//! and nothing is ever transposed. The numbers are those of libjpeg's accurate transform and its division (`jfdctint.c`,
//! `jcdctmgr.c`), bit for bit.

/// Blocks of a batch.
pub(super) const LANES: usize = 16;

/// One number of each block.
pub(super) type Lanes = [i16; LANES];

/// The 64 numbers of sixteen blocks.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(super) struct Batch(pub(super) [Lanes; 64]);

impl Batch {
    pub(super) const ZERO: Self = Self([[0; LANES]; 64]);
}

/// Which coefficients of each block are not 0, in the order of the zigzag: sixteen to a number, the first in the lowest bit.
pub(super) type Filled = [[u16; LANES]; 4];

/// Divides coefficients by the steps of a quantisation table.
#[derive(Clone, Debug)]
pub(super) struct Quantiser {
    /// In the order of the zigzag.
    divisors: [Divisor; 64],
}

/// Division of up to 15 bits by multiplying twice: `(n + half) * reciprocal >> 16`, then `* scale >> 16`.
#[derive(Clone, Copy, Debug)]
struct Divisor {
    half: u16,
    reciprocal: u16,
    scale: u16,
}

impl Divisor {
    /// For 8 to 4095, so that the reciprocal is off by less than one in 2^15.
    fn new(divisor: u16) -> Self {
        debug_assert!((8..4096).contains(&divisor));
        // The largest power of two that leaves a reciprocal of 16 bits.
        let shift = (divisor - 1).ilog2();
        let reciprocal = (1u32 << (16 + shift)).div_ceil(divisor.into());
        Self { half: divisor / 2, reciprocal: reciprocal as u16, scale: 1 << (16 - shift) }
    }

    /// The quotient, halves away from zero.
    #[inline(always)]
    fn divide(self, value: i16) -> i16 {
        let high = |a: u16, b: u16| ((u32::from(a) * u32::from(b)) >> 16) as u16;
        let sum = value.unsigned_abs().wrapping_add(self.half);
        let quotient = high(high(sum, self.reciprocal), self.scale) as i16;
        let sign = value >> 15;
        (quotient ^ sign) - sign
    }
}

impl Quantiser {
    /// * `steps`: 1 to 255, row by row.
    pub(super) fn new(steps: &[u8; 64]) -> Self {
        // The transform's coefficients are eight times too large.
        Self { divisors: ZIGZAG.map(|place| Divisor::new(8 * u16::from(steps[usize::from(place)]))) }
    }

    /// The first coefficient of a block of equal samples, the only one that it has.
    pub(super) fn flat(&self, sample: u8) -> i16 {
        self.divisors[0].divide(64 * (i16::from(sample) - CENTRE))
    }

    /// Divides all coefficients, and puts them into the order of the zigzag.
    #[inline(always)]
    pub(super) fn divide(&self, from: &Batch, to: &mut Batch, filled: &mut Filled) {
        for (n, filled) in filled.iter_mut().enumerate() {
            let mut bits = [0; LANES];
            for bit in 0..16 {
                let k = 16 * n + bit;
                let divisor = self.divisors[k];
                let from = &from.0[usize::from(ZIGZAG[k])];
                let to = &mut to.0[k];
                for lane in 0..LANES {
                    let quotient = divisor.divide(from[lane]);
                    to[lane] = quotient;
                    bits[lane] |= if quotient == 0 { 0 } else { 1 << bit };
                }
            }
            *filled = bits;
        }
    }
}

/// Transforms each block from samples, 0 to 255, to coefficients, eight times as large as in ITU-T T.81, A.3.3.
#[inline(always)]
pub(super) fn transform(from: &Batch, to: &mut Batch) {
    for row in 0..8 {
        let eight = std::array::from_fn(|n| from.0[8 * row + n]);
        to.0[8 * row..][..8].copy_from_slice(&one_dimension::<true>(&eight));
    }
    for column in 0..8 {
        let eight = std::array::from_fn(|n| to.0[8 * n + column]);
        for (n, lanes) in one_dimension::<false>(&eight).into_iter().enumerate() {
            to.0[8 * n + column] = lanes;
        }
    }
}

/// The transform of eight numbers, after Loeffler, Ligtenberg and Moschytz (1989) as in `jfdctint.c`.
///
/// * `ROWS`: the first pass, which keeps two bits more, that the second drops, and centres the samples.
#[inline(always)]
fn one_dimension<const ROWS: bool>(from: &[Lanes; 8]) -> [Lanes; 8] {
    const PASS: u32 = 2;
    const BITS: u32 = 13;
    let mut to = [[0; LANES]; 8];
    for lane in 0..LANES {
        let at = |n: usize| from[n][lane];
        let (sum, difference) = (|a: i16, b: i16| a.wrapping_add(b), |a: i16, b: i16| a.wrapping_sub(b));
        let (s0, s1, s2, s3) = (sum(at(0), at(7)), sum(at(1), at(6)), sum(at(2), at(5)), sum(at(3), at(4)));
        let d0 = difference(at(3), at(4));
        let d1 = difference(at(2), at(5));
        let d2 = difference(at(1), at(6));
        let d3 = difference(at(0), at(7));
        let (even0, even1) = (sum(s0, s3), sum(s1, s2));
        let (even2, even3) = (difference(s1, s2), difference(s0, s3));
        if ROWS {
            // Centred: the sum of all eight has eight times the centre too much.
            to[0][lane] = difference(sum(even0, even1), 8 * CENTRE) << PASS;
            to[4][lane] = difference(even0, even1) << PASS;
        } else {
            let whole = |n: i32| ((n + (1 << (PASS - 1))) >> PASS) as i16;
            to[0][lane] = whole(i32::from(even0) + i32::from(even1));
            to[4][lane] = whole(i32::from(even0) - i32::from(even1));
        }
        let shift = if ROWS { BITS - PASS } else { BITS + PASS };
        let scaled = |n: i32| ((n + (1 << (shift - 1))) >> shift) as i16;
        let times = |a: i16, factor: i16| i32::from(a) * i32::from(factor);
        to[2][lane] = scaled(times(even3, F_0_541 + F_0_765) + times(even2, F_0_541));
        to[6][lane] = scaled(times(even3, F_0_541) + times(even2, F_0_541 - F_1_847));
        // Sums of two products throughout, as there are instructions for.
        let (z3, z4) = (sum(d0, d2), sum(d1, d3));
        let third = times(z3, F_1_175 - F_1_961) + times(z4, F_1_175);
        let fourth = times(z3, F_1_175) + times(z4, F_1_175 - F_0_390);
        to[7][lane] = scaled(times(d0, F_0_298 - F_0_899) + times(d3, -F_0_899) + third);
        to[5][lane] = scaled(times(d1, F_2_053 - F_2_562) + times(d2, -F_2_562) + fourth);
        to[3][lane] = scaled(times(d2, F_3_072 - F_2_562) + times(d1, -F_2_562) + third);
        to[1][lane] = scaled(times(d3, F_1_501 - F_0_899) + times(d0, -F_0_899) + fourth);
    }
    to
}

/// Half the range of samples, which the transform takes off (ITU-T T.81, A.3.1).
const CENTRE: i16 = 128;

// Factors of `jfdctint.c`, times 2^13.
const F_0_298: i16 = 2446;
const F_0_390: i16 = 3196;
const F_0_541: i16 = 4433;
const F_0_765: i16 = 6270;
const F_0_899: i16 = 7373;
const F_1_175: i16 = 9633;
const F_1_501: i16 = 12299;
const F_1_847: i16 = 15137;
const F_1_961: i16 = 16069;
const F_2_053: i16 = 16819;
const F_2_562: i16 = 20995;
const F_3_072: i16 = 25172;

/// Places in rows of the coefficients as they are coded (ITU-T T.81, figure A.6).
pub(super) const ZIGZAG: [u8; 64] = {
    let mut order = [0; 64];
    let (mut x, mut y, mut n) = (0u8, 0u8, 0);
    while n < 64 {
        order[n] = 8 * y + x;
        n += 1;
        // Up to the right on even diagonals, down to the left on odd ones, along the edge at their ends.
        if (x + y) % 2 == 0 {
            if x == 7 {
                y += 1;
            } else if y == 0 {
                x += 1;
            } else {
                (x, y) = (x + 1, y - 1);
            }
        } else if y == 7 {
            x += 1;
        } else if x == 0 {
            y += 1;
        } else {
            (x, y) = (x - 1, y + 1);
        }
    }
    order
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn division_is_exact() {
        for step in 1..=255u16 {
            let divisor = Divisor::new(8 * step);
            for value in 0..=16384i16 {
                let expected = ((value as u16 + 4 * step) / (8 * step)) as i16;
                assert_eq!(divisor.divide(value), expected, "{value} by {step}");
                assert_eq!(divisor.divide(-value), -expected, "{value} by {step}");
            }
        }
    }

    #[test]
    fn the_zigzag_is_the_standards() {
        assert_eq!(ZIGZAG[..16], [0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5]);
        assert_eq!(ZIGZAG[58..], [53, 60, 61, 54, 47, 55, 62, 63][2..]);
        let mut all = ZIGZAG;
        all.sort_unstable();
        assert!(all.into_iter().eq(0..64));
    }

    /// The definition, in floating point.
    #[test]
    fn coefficients_are_those_of_the_definition() {
        let mut state = 9u32;
        let mut samples = Batch::ZERO;
        for (place, lanes) in samples.0.iter_mut().enumerate() {
            for (lane, sample) in lanes.iter_mut().enumerate() {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                // Noise, the two ends in turn, and one block that is flat.
                *sample = match lane {
                    0 => 77,
                    1 => 255 * (place % 2) as i16,
                    _ => i16::from((state >> 24) as u8),
                };
            }
        }
        let mut found = Batch::ZERO;
        transform(&samples, &mut found);
        let wave = |x: usize, u: usize| ((2 * x + 1) as f64 * u as f64 * std::f64::consts::PI / 16.0).cos();
        let scale = |u: usize| if u == 0 { 0.5f64.sqrt() } else { 1.0 };
        for lane in 0..LANES {
            for (place, found) in found.0.iter().enumerate() {
                let (u, v) = (place % 8, place / 8);
                let sum: f64 = (0..64)
                    .map(|n| f64::from(samples.0[n][lane] - 128) * wave(n % 8, u) * wave(n / 8, v))
                    .sum();
                let expected = 8.0 * sum * scale(u) * scale(v) / 4.0;
                let apart = (f64::from(found[lane]) - expected).abs();
                assert!(apart <= 3.0, "{apart} eighths apart at {u}, {v} of block {lane}");
            }
        }
    }

    #[test]
    fn what_is_not_zero_is_marked() {
        let quantiser = Quantiser::new(&[3; 64]);
        let mut coefficients = Batch::ZERO;
        for (n, place) in [0, 1, 5, 31, 62, 63].into_iter().enumerate() {
            // Half a step is one, less is none.
            coefficients.0[usize::from(ZIGZAG[place])][n] = 12;
            coefficients.0[usize::from(ZIGZAG[place])][n + 6] = -11;
        }
        let (mut quotients, mut filled) = (Batch::ZERO, [[0; LANES]; 4]);
        quantiser.divide(&coefficients, &mut quotients, &mut filled);
        for (n, place) in [0, 1, 5, 31, 62, 63].into_iter().enumerate() {
            let marked = |lane: usize| (0..4).map(|k| u64::from(filled[k][lane]) << (16 * k)).sum::<u64>();
            assert_eq!((marked(n), quotients.0[place][n]), (1 << place, 1));
            assert_eq!((marked(n + 6), quotients.0[place][n + 6]), (0, 0));
        }
    }
}
