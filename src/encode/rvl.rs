//! RVL, the lossless coding of depth that ROS carries as `compressedDepth`.
//!
//! Depth is runs of nothing and runs of measurements, and a measurement is near the one before it. So the image, read
//! row by row as one line, is told as: how many zeros, how many others, the differences of those; and again, to the
//! end. Numbers are written three bits at a time from the lowest, each in a nibble whose highest bit says that more
//! follow; a difference `d` as the number `2 d`, or `-2 d - 1` below zero. Eight nibbles, the first in the highest
//! place, are a 32-bit word.
//!
//! ```text
//!    0  i32  0, the format          12  u32  width
//!    4  f32  0 } no quantisation    16  u32  height
//!    8  f32  0 }                    20  words of nibbles, the last filled up with zeros
//! ```
//!
//! All little-endian. Compared bit for bit, on recorded frames and noise (`tests/system/depth-rvl.sh`), with the `rvl` package of
//! Python (which takes depths above 32,767 for negative numbers and writes those otherwise) and the decoder `re_rvl`.
//!
//! Sources: A. D. Wilson, "Fast Lossless Depth Image Compression", ISS 2017; the head is ROS'
//! `compressed_depth_image_transport` (`ConfigHeader`, then the two sides of the image).

use std::fmt;

/// Bytes in front of the words.
pub const HEAD_LEN: usize = 20;

/// Bytes that are enough for any image of `pixels` pixels.
///
/// Eight nibbles a pixel, one word, are never exceeded: a measurement takes six at most (a difference has 17 bits), and
/// the two numbers in front of `n` of them take no more than the other `2 n` and what zeros leave of their eight.
pub const fn bound(pixels: usize) -> usize {
    HEAD_LEN + 4 * pixels
}

/// Writes an image and returns its length in bytes.
///
/// * `depth`: millimetres or anything else, row-major, `width` to a row; 0 means no return.
/// * `out`: at least [`bound`] bytes.
///
/// Never allocates.
///
/// # Panics
/// If `depth` is no whole number of rows or has 2^27 pixels, or `out` is too short, which are bugs of the caller.
pub fn encode(depth: &[u16], width: usize, out: &mut [u8]) -> usize {
    assert!(width > 0 && depth.len().is_multiple_of(width), "an image has whole rows of {width}");
    assert!(depth.len() < PIXELS_MAX, "an image has fewer than {PIXELS_MAX} pixels");
    assert!(out.len() >= bound(depth.len()), "{} pixels need {} bytes", depth.len(), bound(depth.len()));
    let side = |n: usize| u32::try_from(n).expect("an image side fits in 32 bits").to_le_bytes();
    let (head, words) = out.split_at_mut(HEAD_LEN);
    head[..12].fill(0);
    head[12..16].copy_from_slice(&side(width));
    head[16..].copy_from_slice(&side(depth.len() / width));

    let mut nibbles = Nibbles { out: words, at: 0, held: 0, held_bits: 0 };
    let mut rest = depth;
    let mut before = 0;
    while !rest.is_empty() {
        let zeros = run(rest, true);
        let measured = run(&rest[zeros..], false);
        nibbles.put(number(zeros as u32));
        nibbles.put(number(measured as u32));
        let (values, behind) = rest[zeros..].split_at(measured);
        let mut pairs = values.chunks_exact(2);
        for pair in &mut pairs {
            let (one, two) = (difference(before, pair[0]), difference(pair[0], pair[1]));
            before = pair[1];
            // Two from the table fit one word; most do.
            match (SHORT.get(one as usize), SHORT.get(two as usize)) {
                (Some(&one), Some(&two)) => nibbles.put(Code::short(one).then(Code::short(two))),
                _ => {
                    nibbles.put(number(one));
                    nibbles.put(number(two));
                }
            }
        }
        for &value in pairs.remainder() {
            nibbles.put(number(difference(before, value)));
            before = value;
        }
        rest = behind;
    }
    HEAD_LEN + nibbles.finish()
}

/// The sides of an encoded image, width and height in pixels: what [`decode`] needs room for.
///
/// # Errors
/// [`DecodeError::Head`] or [`DecodeError::Quantised`]; the words are not looked at.
pub fn sides(bytes: &[u8]) -> Result<(u32, u32), DecodeError> {
    let word = |at: usize| {
        let word = bytes.get(at..at + 4).ok_or(DecodeError::Head)?;
        Ok(u32::from_le_bytes(word.try_into().expect("four bytes")))
    };
    // The format says nothing of a 16-bit image, and programs write what they like into the second parameter.
    let (_format, quantised, width, height) = (word(0)?, word(4)?, word(12)?, word(16)?);
    if f32::from_bits(quantised) != 0.0 {
        return Err(DecodeError::Quantised);
    }
    Ok((width, height))
}

/// Reads an image that [`encode`] wrote, or ROS did from 16-bit depth.
///
/// * `depth`: as many pixels as [`sides`] says; in part overwritten if there is an error.
///
/// Never allocates, whatever the bytes say.
///
/// # Errors
/// [`DecodeError`] for everything that is not an image of exactly these pixels.
pub fn decode(bytes: &[u8], depth: &mut [u16]) -> Result<(), DecodeError> {
    let (width, height) = sides(bytes)?;
    if u64::from(width) * u64::from(height) != depth.len() as u64 {
        return Err(DecodeError::Sides { width, height });
    }
    let mut reader = Reader { words: &bytes[HEAD_LEN..], held: 0, nibbles: 0 };
    let mut rest = depth;
    let mut before = 0i32;
    while !rest.is_empty() {
        let zeros = reader.count(rest.len())?;
        let (none, behind) = rest.split_at_mut(zeros);
        none.fill(0);
        let measured = reader.count(behind.len())?;
        if zeros + measured == 0 {
            return Err(DecodeError::NoPixels);
        }
        let (values, behind) = behind.split_at_mut(measured);
        for value in values {
            let number = reader.number()?;
            let difference = (number >> 1).cast_signed() ^ -(number & 1).cast_signed();
            before = before.checked_add(difference).ok_or(DecodeError::Value)?;
            *value = u16::try_from(before).map_err(|_| DecodeError::Value)?;
        }
        rest = behind;
    }
    if reader.words.is_empty() { Ok(()) } else { Err(DecodeError::Behind { bytes: reader.words.len() }) }
}

/// Why bytes are no image.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DecodeError {
    /// Shorter than the head.
    Head,
    /// Depth as quantised inverse, which ROS makes of images of floats; these are not read here.
    Quantised,
    /// The image has other sides than the reader has room for.
    Sides {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// The words end before the image does.
    Short,
    /// A number of more than 32 bits.
    Number,
    /// A run reaches beyond the image.
    Run,
    /// A run of nothing, which would go on for ever.
    NoPixels,
    /// A value below 0 or above 65,535.
    Value,
    /// Bytes that belong to nothing.
    Behind {
        /// How many.
        bytes: usize,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => write!(f, "an RVL image has {HEAD_LEN} bytes of head, and these are fewer"),
            Self::Quantised => f.write_str("the RVL image is of quantised floats; 16-bit depth is expected"),
            Self::Sides { width, height } => {
                write!(f, "the RVL image is {width}x{height}, which is not what is expected")
            }
            Self::Short => f.write_str("the RVL image ends too early: part of it was lost"),
            Self::Number => f.write_str("the RVL image has a number of more than 32 bits: it is damaged"),
            Self::Run => f.write_str("the RVL image has more pixels than its head says: it is damaged"),
            Self::NoPixels => f.write_str("the RVL image has a run of no pixels: it is damaged"),
            Self::Value => f.write_str("the RVL image has a depth beyond 16 bits: it is damaged"),
            Self::Behind { bytes } => write!(f, "{bytes} bytes follow the RVL image"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// How many pixels at the start are zero, or are not.
fn run(pixels: &[u16], zero: bool) -> usize {
    // Eight at a time: most runs are long.
    let whole = |eight: &[u16]| {
        if zero { eight.iter().fold(0, |all, &p| all | p) == 0 } else { eight.iter().all(|&p| p != 0) }
    };
    let at = 8 * pixels.chunks_exact(8).take_while(|eight| whole(eight)).count();
    at + pixels[at..].iter().take_while(|&&p| (p == 0) == zero).count()
}

/// Nibbles of one or two numbers, right-aligned, and how many bits they are.
#[derive(Clone, Copy)]
struct Code {
    bits: u64,
    len: u32,
}

impl Code {
    /// An entry of [`SHORT`].
    #[inline(always)]
    fn short(entry: u16) -> Code {
        Code { bits: u64::from(entry >> 4), len: u32::from(entry & 15) }
    }

    #[inline(always)]
    fn then(self, next: Code) -> Code {
        Code { bits: self.bits << next.len | next.bits, len: self.len + next.len }
    }
}

/// The difference as a number, signs in the lowest bit.
#[inline(always)]
fn difference(before: u16, value: u16) -> u32 {
    let difference = i32::from(value) - i32::from(before);
    ((difference << 1) ^ (difference >> 31)).cast_unsigned()
}

/// The nibbles of a number, the lowest three bits first.
fn number(mut number: u32) -> Code {
    let mut code = Code { bits: 0, len: 0 };
    loop {
        let more = number > 7;
        code = code.then(Code { bits: u64::from(number & 7 | u32::from(more) << 3), len: 4 });
        number >>= 3;
        if !more {
            return code;
        }
    }
}

/// Images are smaller: what counts their pixels then has nine nibbles at most.
const PIXELS_MAX: usize = 1 << 27;

/// Nibbles (upper twelve bits) and their bits (lower four) of the numbers below 512, which are differences of up to
/// 256: nearly all.
const SHORT: [u16; 512] = {
    let mut table = [0; 512];
    let mut n = 0u16;
    while n < 512 {
        table[n as usize] = match n {
            0..8 => n << 4 | 4,
            8..64 => ((n & 7 | 8) << 4 | n >> 3) << 4 | 8,
            _ => ((n & 7 | 8) << 8 | (n >> 3 & 7 | 8) << 4 | n >> 6) << 4 | 12,
        };
        n += 1;
    }
    table
};

/// Writes nibbles into words.
struct Nibbles<'a> {
    out: &'a mut [u8],
    at: usize,
    /// From the highest bit down; less than a word between two calls, and zeros below.
    held: u64,
    held_bits: u32,
}

impl Nibbles<'_> {
    /// At most nine nibbles, which with seven held are two words.
    #[inline(always)]
    fn put(&mut self, code: Code) {
        self.held |= code.bits << (64 - self.held_bits - code.len);
        self.held_bits += code.len;
        if self.held_bits >= 32 {
            self.word();
        }
        if self.held_bits >= 32 {
            self.word();
        }
    }

    #[inline(always)]
    fn word(&mut self) {
        let word = (self.held >> 32) as u32;
        self.out[self.at..self.at + 4].copy_from_slice(&word.to_le_bytes());
        self.at += 4;
        self.held <<= 32;
        self.held_bits = self.held_bits.saturating_sub(32);
    }

    /// Fills the last word with zeros and says how many bytes there are.
    fn finish(mut self) -> usize {
        if self.held_bits > 0 {
            self.word();
        }
        self.at
    }
}

/// Reads numbers.
struct Reader<'a> {
    words: &'a [u8],
    /// From the highest bit down.
    held: u32,
    nibbles: u32,
}

impl Reader<'_> {
    fn number(&mut self) -> Result<u32, DecodeError> {
        let mut number = 0u32;
        for shift in (0..32).step_by(3) {
            if self.nibbles == 0 {
                let (word, behind) = self.words.split_first_chunk().ok_or(DecodeError::Short)?;
                (self.held, self.words, self.nibbles) = (u32::from_le_bytes(*word), behind, 8);
            }
            let nibble = self.held >> 28;
            self.held <<= 4;
            self.nibbles -= 1;
            if shift == 30 && nibble & 0b100 != 0 {
                return Err(DecodeError::Number);
            }
            number |= (nibble & 7) << shift;
            if nibble < 8 {
                return Ok(number);
            }
        }
        Err(DecodeError::Number)
    }

    /// A number of pixels, where `most` are left.
    fn count(&mut self, most: usize) -> Result<usize, DecodeError> {
        let count = self.number()? as usize;
        if count <= most { Ok(count) } else { Err(DecodeError::Run) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(depth: &[u16], width: usize) -> Vec<u8> {
        let mut out = vec![0xee; bound(depth.len())];
        let len = encode(depth, width, &mut out);
        out.truncate(len);
        out
    }

    fn decoded(bytes: &[u8]) -> Result<Vec<u16>, DecodeError> {
        let (width, height) = sides(bytes)?;
        let mut depth = vec![7; width as usize * height as usize];
        decode(bytes, &mut depth)?;
        Ok(depth)
    }

    /// The format a nibble at a time, as its author describes it.
    fn by_the_book(depth: &[u16]) -> Vec<u8> {
        let mut nibbles: Vec<u32> = Vec::new();
        let mut put = |mut number: u32| {
            while number > 7 {
                nibbles.push(8 + number % 8);
                number /= 8;
            }
            nibbles.push(number);
        };
        let (mut at, mut before) = (0, 0i64);
        while at < depth.len() {
            let zeros = depth[at..].iter().take_while(|&&d| d == 0).count();
            at += zeros;
            let others = depth[at..].iter().take_while(|&&d| d != 0).count();
            put(zeros as u32);
            put(others as u32);
            for &value in &depth[at..at + others] {
                let difference = i64::from(value) - before;
                put((if difference < 0 { -2 * difference - 1 } else { 2 * difference }) as u32);
                before = i64::from(value);
            }
            at += others;
        }
        let word = |eight: &[u32]| {
            (0..8).fold(0, |word, n| word << 4 | eight.get(n).copied().unwrap_or(0)).to_le_bytes()
        };
        nibbles.chunks(8).flat_map(word).collect()
    }

    #[test]
    fn to_the_letter() {
        let head = b"\0\0\0\0\0\0\0\0\0\0\0\0\x04\0\0\0\x02\0\0\0";
        let image = encoded(&[0, 0, 5, 4, 600, 0, 0, 0], 4);
        assert_eq!(image[..20], *head);
        // 2 zeros, 3 others: +5 is 10, -1 is 1, +596 is 1192; 3 zeros, no others.
        let nibbles = [2, 3, 0xa, 1, 1, 0x8, 0xd, 0xa, 2, 3, 0, 0, 0, 0, 0, 0];
        let words = nibbles.chunks(8).map(|n| n.iter().fold(0u32, |word, nibble| word << 4 | nibble));
        assert_eq!(image[20..], words.flat_map(u32::to_le_bytes).collect::<Vec<_>>());
    }

    #[test]
    fn every_difference_comes_back() {
        let up = (0..=u16::MAX).step_by(7).flat_map(|d| [1, d, u16::MAX, d.rotate_left(5)]);
        let depth: Vec<u16> = up.collect();
        let image = encoded(&depth, 4);
        assert!(image[HEAD_LEN..] == by_the_book(&depth));
        assert!(decoded(&image) == Ok(depth));
    }

    #[test]
    fn the_worst_cases_fit() {
        for pattern in [&[1, u16::MAX][..], &[0, 1, 0, u16::MAX], &[u16::MAX, 0, 1, 0], &[1], &[0]] {
            for pixels in (1..40).chain([4095, 217_088]) {
                let depth: Vec<u16> = pattern.iter().copied().cycle().take(pixels).collect();
                let image = encoded(&depth, 1);
                assert!(image[HEAD_LEN..] == by_the_book(&depth), "{pixels} of {pattern:?}");
                assert!(decoded(&image) == Ok(depth), "{pixels} of {pattern:?}");
            }
        }
        assert_eq!(decoded(&encoded(&[], 1)), Ok(vec![]));
    }

    #[test]
    fn damage_has_a_name() {
        let image = encoded(&[5, 4, 0, 600, 9, 9, 0, 0], 4);
        assert_eq!(decoded(&image[..19]), Err(DecodeError::Head));
        assert_eq!(decoded(&image[..image.len() - 1]), Err(DecodeError::Short));
        assert_eq!(decoded(&[&image[..], &[0, 0]].concat()), Err(DecodeError::Behind { bytes: 2 }));
        let mut floats = image.clone();
        floats[4..8].copy_from_slice(&100f32.to_le_bytes());
        assert_eq!(decoded(&floats), Err(DecodeError::Quantised));
        assert_eq!(decode(&image, &mut [0; 7]), Err(DecodeError::Sides { width: 4, height: 2 }));
        let mut vast = image.clone();
        vast[12..20].fill(0xff);
        let sides = DecodeError::Sides { width: u32::MAX, height: u32::MAX };
        assert_eq!(decode(&vast, &mut [0; 8]), Err(sides));
        assert!(sides.to_string().contains("4294967295x4294967295"));

        let words = |words: &[u32]| {
            let words = words.iter().flat_map(|w| w.to_le_bytes());
            decoded(&image[..HEAD_LEN].iter().copied().chain(words).collect::<Vec<_>>())
        };
        assert_eq!(words(&[0]), Err(DecodeError::NoPixels));
        assert_eq!(words(&[0x9100_0000]), Err(DecodeError::Run), "nine zeros of eight");
        assert_eq!(words(&[0x1910_0000]), Err(DecodeError::Run), "one and nine of eight");
        assert_eq!(words(&[0x0811_0000]), Err(DecodeError::Value), "-1: a needless nibble, then 1");
        assert_eq!(words(&[0xffff_ffff, 0xffff_ffff]), Err(DecodeError::Number));
        assert_eq!(words(&[0xffff_ffff, 0xff40_0000]), Err(DecodeError::Number));
        assert_eq!(words(&[0xffff_ffff, 0xff30_0000]), Err(DecodeError::Run), "32 bits are a number");
    }

    proptest! {
        #[test]
        fn anything_comes_back(
            runs in prop::collection::vec((any::<u16>(), 0u16..600, 1usize..60, any::<bool>()), 0..40),
            width in 1usize..5,
        ) {
            let mut depth: Vec<u16> = Vec::new();
            for (from, spread, count, none) in runs {
                depth.extend((0..count as u16).map(|i| {
                    if none { 0 } else { from.wrapping_add(i.wrapping_mul(777) % (spread + 1)) }
                }));
            }
            depth.truncate(depth.len() / width * width);
            let image = encoded(&depth, width);
            prop_assert_eq!(&image[HEAD_LEN..], by_the_book(&depth));
            prop_assert_eq!(decoded(&image), Ok(depth));
        }

        #[test]
        fn what_is_read_is_written_the_same(words in prop::collection::vec(any::<u32>(), 0..20), pixels in 1u32..40) {
            let mut image = vec![0; HEAD_LEN];
            image[12..16].copy_from_slice(&pixels.to_le_bytes());
            image[16] = 1;
            image.extend(words.iter().flat_map(|w| w.to_le_bytes()));
            if let Ok(depth) = decoded(&image) {
                prop_assert_eq!(decoded(&encoded(&depth, depth.len())), Ok(depth));
            }
        }
    }
}
