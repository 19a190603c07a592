//! Baseline JFIF, for the clients that take nothing else, and what `/stream` sends by default.
//!
//! The bytes are those of libjpeg with its accurate transform at the same settings, but for the comment
//! (`tests/system/jpeg.sh`): so is the loss. It takes less time because a picture of depth is an index image under a palette:
//! colours are converted once for each index, units of one index are neither transformed nor searched, and all others are
//! transformed sixteen at a time (`jpeg/dct.rs`). Nothing allocates. docs/encoding.md has the figures.

// Pixels to samples.
mod units;

// Samples to quantised coefficients.
mod dct;

// Coefficients to bits.
mod huffman;

// All of them, one after the other.
mod scan;

// The same for wider vectors.
#[cfg(target_arch = "x86_64")]
mod avx2;

use std::fmt;

use self::dct::{Quantiser, ZIGZAG};
use self::huffman::{AC, DC};
use self::scan::{Plan, Scratch};

/// How much is lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settings {
    /// 1 to 100, on libjpeg's scale.
    pub quality: u8,
    /// How colour is thinned out.
    pub subsampling: Subsampling,
}

impl Default for Settings {
    /// What µStreamer does.
    fn default() -> Self {
        Self { quality: 80, subsampling: Subsampling::Both }
    }
}

/// How colour is thinned out; brightness never is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Subsampling {
    /// 4:4:4, each pixel has its own.
    None,
    /// 4:2:2, two beside each other share it.
    Columns,
    /// 4:2:0, a square of four shares it.
    #[default]
    Both,
}

impl Subsampling {
    /// Each with the name that it goes by.
    pub const NAMES: [(&'static str, Subsampling); 3] =
        [("4:4:4", Subsampling::None), ("4:2:2", Subsampling::Columns), ("4:2:0", Subsampling::Both)];

    /// Pixels that share their colour, beside and above each other.
    fn shared(self) -> (usize, usize) {
        match self {
            Subsampling::None => (1, 1),
            Subsampling::Columns => (2, 1),
            Subsampling::Both => (2, 2),
        }
    }
}

/// Bytes that are enough for any picture of `width` x `height` under any settings, with `comment` bytes of comment.
///
/// Baseline codes of the standard's tables have 16 bits and 10 more for the value at most, for each of 64 coefficients
/// (ITU-T T.81, K.3), and each byte may need one behind it (`FF 00`). It cannot be reached: no picture is worst everywhere.
pub const fn bound(width: usize, height: usize, comment: usize) -> usize {
    // Whole blocks of 8x8 in units of up to 16x16.
    let blocks = 4 * width.div_ceil(16) * height.div_ceil(16);
    HEADERS + 4 + comment + 3 * blocks * (64 * 26 / 8) * 2
}

/// Makes JPEGs of one size.
pub struct Encoder {
    settings: Settings,
    plan: Plan,
    /// What stands between the comment and the scan.
    tables: Box<[u8]>,
    scratch: Box<Scratch>,
}

impl Encoder {
    /// An encoder for pictures of `width` x `height`, neither 0 nor above 65,535. Allocates its scratch memory here and never
    /// again.
    pub fn new(settings: Settings, (width, height): (usize, usize)) -> Self {
        let sides = [height, width].map(|n| u16::try_from(n).expect("an image side fits in 16 bits"));
        assert!(!sides.contains(&0), "an image has pixels");
        let steps = STEPS.map(|steps| scaled(&steps, settings.quality));
        let plan = Plan {
            size: (width, height),
            shared: settings.subsampling.shared(),
            quantisers: [Quantiser::new(&steps[0]), Quantiser::new(&steps[1])],
        };
        let tables = tables(sides, plan.shared, &steps).into_boxed_slice();
        Self { settings, plan, tables, scratch: Scratch::new() }
    }

    /// As they were given.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// Encodes palette indices and returns the length of the file.
    ///
    /// * `index`: one byte per pixel, row-major.
    /// * `palette`: 256 times R, G, B.
    /// * `comment`: goes into a COM segment right behind the JFIF one; ASCII, at most 65,533 bytes; empty for none.
    /// * `out`: at least [`bound`] bytes; what lies behind the length may be overwritten too.
    ///
    /// Never allocates.
    ///
    /// # Panics
    /// If a slice has another size than stated, which is a bug of the caller.
    pub fn encode(&mut self, index: &[u8], palette: &[u8; 768], comment: &[u8], out: &mut [u8]) -> usize {
        self.file(comment, out, |plan, scratch, out| {
            let colours = units::colours(palette);
            assert_eq!(index.len(), plan.size.0 * plan.size.1, "an index image has one byte per pixel");
            #[cfg(target_arch = "x86_64")]
            if let Some(len) = avx2::scan(plan, scratch, &colours, index, out) {
                return len;
            }
            scan::plainly(plan, scratch, &colours, index, out)
        })
    }

    /// The same without wider vectors, for tests to compare with.
    #[cfg(test)]
    fn encode_plainly(&mut self, index: &[u8], palette: &[u8; 768], comment: &[u8], out: &mut [u8]) -> usize {
        self.file(comment, out, |plan, scratch, out| {
            scan::plainly(plan, scratch, &units::colours(palette), index, out)
        })
    }

    /// Writes what stands around a scan, and has that written.
    fn file(
        &mut self,
        comment: &[u8],
        out: &mut [u8],
        scan: impl FnOnce(&Plan, &mut Scratch, &mut [u8]) -> usize,
    ) -> usize {
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(START);
        if !comment.is_empty() {
            let length = u16::try_from(comment.len() + 2).expect("a comment has 65,533 bytes at most");
            put(&[0xff, 0xfe]);
            put(&length.to_be_bytes());
            put(comment);
        }
        put(&self.tables);
        at += scan(&self.plan, &mut self.scratch, &mut out[at..]);
        out[at..at + END.len()].copy_from_slice(END);
        at + END.len()
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// A quantisation table at a quality, as libjpeg scales it (`jcparam.c`).
fn scaled(steps: &[u8; 64], quality: u8) -> [u8; 64] {
    let quality = u32::from(quality.clamp(1, 100));
    let percent = if quality < 50 { 5000 / quality } else { 200 - 2 * quality };
    steps.map(|step| ((u32::from(step) * percent + 50) / 100).clamp(1, 255) as u8)
}

/// DQT, SOF0, DHT and SOS (ITU-T T.81, B.2), in libjpeg's order.
///
/// * `sides`: height and width.
fn tables(sides: [u16; 2], shared: (usize, usize), steps: &[[u8; 64]; 2]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADERS);
    for (n, steps) in (0..).zip(steps) {
        out.extend([0xff, 0xdb, 0, 67, n]);
        out.extend(ZIGZAG.map(|place| steps[usize::from(place)]));
    }
    let [height, width] = sides.map(u16::to_be_bytes);
    out.extend([0xff, 0xc0, 0, 17, 8, height[0], height[1], width[0], width[1], 3]);
    let factors = (shared.0 << 4 | shared.1) as u8;
    // Component, sampling factors, quantisation table.
    out.extend([1, factors, 0, 2, 0x11, 1, 3, 0x11, 1]);
    for (n, (dc, ac)) in (0..).zip(DC.iter().zip(&AC)) {
        for (class, spec) in [(n, dc), (0x10 | n, ac)] {
            out.extend([0xff, 0xc4, 0, 19 + spec.values.len() as u8, class]);
            out.extend(spec.counts);
            out.extend(spec.values);
        }
    }
    // Component and Huffman tables; all coefficients.
    out.extend([0xff, 0xda, 0, 12, 3, 1, 0x00, 2, 0x11, 3, 0x11, 0, 63, 0]);
    out
}

/// SOI and the JFIF segment: version 1.1, square pixels, no thumbnail.
const START: &[u8] = b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0";

/// EOI.
const END: &[u8] = b"\xff\xd9";

/// Bytes of everything but coefficients and comment: 20 of SOI and JFIF, 138 of quantisation tables, 19 of SOF, 432 of
/// Huffman tables, 14 of SOS, 2 of EOI; the rest is for bits to fill up, and for words written whole.
const HEADERS: usize = 640;

/// Steps of quantisation at quality 50, row by row, of brightness and of colour (ITU-T T.81, K.1).
#[rustfmt::skip]
const STEPS: [[u8; 64]; 2] = [
    [
        16, 11, 10, 16, 24, 40, 51, 61,
        12, 12, 14, 19, 26, 58, 60, 55,
        14, 13, 16, 24, 40, 57, 69, 56,
        14, 17, 22, 29, 51, 87, 80, 62,
        18, 22, 37, 56, 68, 109, 103, 77,
        24, 35, 55, 64, 81, 104, 113, 92,
        49, 64, 78, 87, 103, 121, 120, 101,
        72, 92, 95, 98, 112, 100, 103, 99,
    ],
    [
        17, 18, 24, 47, 99, 99, 99, 99,
        18, 21, 26, 66, 99, 99, 99, 99,
        24, 26, 56, 99, 99, 99, 99, 99,
        47, 66, 99, 99, 99, 99, 99, 99,
        99, 99, 99, 99, 99, 99, 99, 99,
        99, 99, 99, 99, 99, 99, 99, 99,
        99, 99, 99, 99, 99, 99, 99, 99,
        99, 99, 99, 99, 99, 99, 99, 99,
    ],
];

#[cfg(test)]
mod tests;
