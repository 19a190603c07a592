//! Stage 2: millimetres to palette index by OpenCV's rule, computed, and the JET palette.
//!
//! Tests hold what is computed to a table of all 65,536 values that a depth sample can have.

use std::fmt;

// The same loop for wider vectors.
#[cfg(target_arch = "x86_64")]
mod avx2;

/// OpenCV's `COLORMAP_JET`: 256 entries of R, G, B.
///
/// Read off `cv2.applyColorMap` (OpenCV 4.1 to 5.0 agree). It is not the textbook formula: blue at 159 is 1.
pub static JET: [u8; 768] = *include_bytes!("colormap/jet_rgb.u8");

/// The depths at the two ends of the palette, in millimetres; `min < max` always holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Range {
    min_mm: u16,
    max_mm: u16,
}

impl Range {
    /// What the Python server shows: 0 to 1500 mm.
    pub const PYTHON: Range = Range { min_mm: 0, max_mm: 1500 };

    /// A range from `min_mm` (index 0) to `max_mm` (index 255).
    ///
    /// # Errors
    /// [`EmptyRange`] unless `min_mm < max_mm`.
    pub fn new(min_mm: u16, max_mm: u16) -> Result<Self, EmptyRange> {
        if min_mm < max_mm { Ok(Self { min_mm, max_mm }) } else { Err(EmptyRange { min_mm, max_mm }) }
    }

    /// Depth shown as index 0, in millimetres.
    pub fn min_mm(self) -> u16 {
        self.min_mm
    }

    /// Depth shown as index 255, in millimetres.
    pub fn max_mm(self) -> u16 {
        self.max_mm
    }
}

/// A range whose near end is not nearer than its far end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EmptyRange {
    min_mm: u16,
    max_mm: u16,
}

impl fmt::Display for EmptyRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the range from {} to {} mm is empty: the minimum must be below the maximum",
            self.min_mm, self.max_mm
        )
    }
}

impl std::error::Error for EmptyRange {}

/// Maps depth to palette indices, by the rule that [`Mapper::new`] states.
///
/// Indices never fall as depth rises, so "redder is farther" holds for every range.
#[derive(Clone, Debug)]
pub struct Mapper {
    /// Palette indices a millimetre.
    scale: f32,
    min_mm: u16,
}

impl Mapper {
    /// Maps by `range`.
    ///
    /// `index = rint(f32(255 / (max - min)) * f32(mm - min))`, ties to even, clamped to 0..=255, in single
    /// precision. At `min = 0` this is OpenCV's `convertScaleAbs(depth, alpha=255/max)` for all 65,536 inputs.
    /// A depth of 0 (no return) is index 0 at every range.
    pub fn new(range: Range) -> Self {
        let span = f64::from(range.max_mm) - f64::from(range.min_mm);
        // OpenCV takes alpha as a double and narrows it once, before multiplying.
        #[expect(clippy::cast_possible_truncation, reason = "narrowing is the rule")]
        let scale = (255.0 / span) as f32;
        Self { scale, min_mm: range.min_mm }
    }

    /// Turns a depth image into palette indices, and says how many of its pixels have a depth.
    ///
    /// * `depth`: millimetres, any shape; 0 means no return.
    /// * `index`: one byte per pixel, same order; overwritten whole.
    ///
    /// Never allocates. The same time whatever the input: the rule is computed, which vector instructions do several
    /// times faster than reads from a table that is larger than the first cache.
    ///
    /// # Panics
    /// If the slices differ in length, which is a bug of the caller.
    pub fn map(&self, depth: &[u16], index: &mut [u8]) -> usize {
        assert_eq!(depth.len(), index.len(), "a depth image and its index image have one shape");
        #[cfg(target_arch = "x86_64")]
        if let Some(measured) = avx2::map(self, depth, index) {
            return measured;
        }
        self.map_plainly(depth, index)
    }

    #[inline(always)]
    fn map_plainly(&self, depth: &[u16], index: &mut [u8]) -> usize {
        let mut all = 0;
        // The part is still in the first cache when it is counted.
        for (depth, index) in depth.chunks(PART).zip(index.chunks_mut(PART)) {
            for (out, &mm) in index.iter_mut().zip(depth) {
                let value = (self.scale * f32::from(mm.saturating_sub(self.min_mm))).min(255.0);
                *out = (value + ROUND).to_bits() as u8;
            }
            all += measured_part(depth);
        }
        all
    }
}

/// How many pixels of a depth image have a depth.
pub fn measured(depth: &[u16]) -> usize {
    depth.chunks(PART).map(measured_part).sum()
}

/// Counted in lanes as narrow as the pixels, so that vector instructions take many at once.
#[inline(always)]
fn measured_part(depth: &[u16]) -> usize {
    usize::from(depth.iter().map(|&mm| u16::from(mm != 0)).sum::<u16>())
}

/// Pixels that are mapped and counted together: 4 KiB of depth.
const PART: usize = 2048;

/// 1.5 * 2^23: a float in 0..=255 added to it is rounded to the nearest integer, ties to even, which then stands in the
/// lowest bits. The processor's own rounding instruction is not in every x86-64.
const ROUND: f32 = 12_582_912.0;

#[cfg(test)]
mod tests {
    use super::*;

    /// The rule as it is written down, for each value that a depth can have: the reference.
    fn table(range: Range) -> Vec<u8> {
        let scale = (255.0 / (f64::from(range.max_mm) - f64::from(range.min_mm))) as f32;
        let min = i32::from(range.min_mm);
        // An i32 of at most 17 bits is exact in f32; the cast saturates, which is the clamp.
        (0..=65_535).map(|mm| (scale * (mm - min) as f32).round_ties_even() as u8).collect()
    }

    fn every_depth() -> Vec<u16> {
        (0..=u16::MAX).collect()
    }

    fn mapped(range: Range) -> Vec<u8> {
        let mut index = vec![7; 1 << 16];
        Mapper::new(range).map(&every_depth(), &mut index);
        index
    }

    /// The rule of the range 0-1500 in integers: index = round-half-even(17 mm / 100).
    fn python_index(mm: u32) -> u8 {
        let (whole, rest) = (17 * mm / 100, 17 * mm % 100);
        let rounded = match rest.cmp(&50) {
            std::cmp::Ordering::Less => whole,
            std::cmp::Ordering::Greater => whole + 1,
            std::cmp::Ordering::Equal => whole + (whole & 1),
        };
        u8::try_from(rounded.min(255)).expect("clamped")
    }

    #[test]
    fn default_range_follows_the_integer_rule_for_every_depth() {
        for (mm, index) in (0..).zip(mapped(Range::PYTHON)) {
            assert_eq!(index, python_index(mm), "at {mm} mm");
        }
    }

    #[test]
    fn default_range_equals_opencv_for_every_depth() {
        let golden = include_bytes!("../tests/golden/convert_scale_abs_255_1500.u8");
        assert!(mapped(Range::PYTHON) == golden, "an index differs from OpenCV's convertScaleAbs");
        assert!(table(Range::PYTHON) == golden, "the reference differs from OpenCV's convertScaleAbs");
    }

    #[test]
    fn ends_of_any_range_are_the_ends_of_the_palette() {
        for (min, max) in [(0, 1500), (0, 4500), (500, 4500), (0, 8000), (1000, 1001), (0, u16::MAX)] {
            let index = mapped(Range::new(min, max).expect("not empty"));
            assert_eq!(index[0], 0);
            assert_eq!(index[usize::from(min)], 0);
            assert_eq!(index[usize::from(max)], 255);
            assert_eq!(index[usize::from(u16::MAX)], 255);
            assert!(index.is_sorted(), "indices fall somewhere at {min}-{max}");
        }
    }

    #[test]
    fn the_arithmetic_is_the_table_for_every_depth() {
        let every = every_depth();
        let mut index = vec![0; every.len()];
        let some = (0..60).map(|n: u16| (n * 311, n * 311 + 1 + n * n * 13 % 20_000));
        let known = [
            (0, 1),
            (0, 1500),
            (0, 4500),
            (500, 4500),
            (0, 8000),
            (1000, 1001),
            (0, u16::MAX),
            (65_534, u16::MAX),
        ];
        for (min, max) in known.into_iter().chain(some) {
            let range = Range::new(min, max).expect("not empty");
            let (mapper, expected) = (Mapper::new(range), table(range));
            // The ends of the parts lie elsewhere, and one part is short.
            for skipped in [0, 5] {
                index.fill(7);
                assert_eq!(
                    mapper.map_plainly(&every[skipped..], &mut index[skipped..]),
                    every.len() - skipped.max(1)
                );
                assert!(index[skipped..] == expected[skipped..], "{min}-{max} mm, plainly");
                index.fill(7);
                assert_eq!(
                    mapper.map(&every[skipped..], &mut index[skipped..]),
                    every.len() - skipped.max(1)
                );
                assert!(index[skipped..] == expected[skipped..], "{min}-{max} mm");
            }
        }
    }

    #[test]
    fn what_has_a_depth_is_counted() {
        let mapper = Mapper::new(Range::PYTHON);
        for len in [0, 1, 7, PART - 1, PART, 3 * PART + 33, 512 * 424] {
            let depth: Vec<u16> =
                (0..len).map(|i| if i % 3 == 0 { 0 } else { 1 + (i % 9000) as u16 }).collect();
            let expected = len - len.div_ceil(3);
            assert_eq!(measured(&depth), expected);
            assert_eq!(mapper.map(&depth, &mut vec![0; len]), expected);
        }
        let full = vec![u16::MAX; 3 * PART];
        assert_eq!(measured(&full), full.len());
    }

    #[test]
    fn empty_ranges_are_refused() {
        assert_eq!(
            Range::new(1500, 1500).unwrap_err().to_string(),
            "the range from 1500 to 1500 mm is empty: the minimum must be below the maximum"
        );
        assert!(Range::new(2, 1).is_err());
    }

    #[test]
    fn jet_is_near_the_textbook_curve() {
        // Independent of the table: JET is three trapezoids of slope 4 per index, shifted by 64.
        let trapezoid = |i: f64, centre: f64| (1.5 - (i / 64.0 - centre).abs()).clamp(0.0, 1.0) * 255.0;
        for (i, rgb) in JET.chunks_exact(3).enumerate() {
            let x = i as f64 + 0.5;
            for (channel, centre) in [(0, 3.0), (1, 2.0), (2, 1.0)] {
                let expected = trapezoid(x, centre);
                let found = f64::from(rgb[channel]);
                assert!(
                    (expected - found).abs() <= 4.0,
                    "index {i} channel {channel}: {found} for {expected:.1}"
                );
            }
        }
        assert_eq!(JET[159 * 3 + 2], 1, "OpenCV's own quirk must stay");
    }
}
