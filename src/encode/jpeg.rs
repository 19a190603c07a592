//! Baseline JFIF, for the clients that take nothing else.
//!
//! The `jpeg-encoder` crate makes it, or in a build with the feature `turbojpeg` the system's libjpeg-turbo. A picture at the
//! default settings, medians over recorded frames in one run (AMD EPYC):
//!
//! | encoder | ms | allocations | |
//! | --- | ---: | --- | --- |
//! | `jpeg-encoder`, rows by palette | 2.1 | 9 | the default on ARM |
//! | the same with its `simd`, AVX2 | 1.8 | 9 | the default on x86-64 |
//! | libjpeg-turbo, from RGB | 0.60 | 9, by C | the feature `turbojpeg`; keeps 636 KiB |
//! | libjpeg-turbo, from planes by palette | 0.57 | 9, by C | not worth `unsafe` |
//!
//! The crate's rows are filled from the palette, converted to YCbCr once a picture instead of once a pixel, which takes a fifth
//! less time than through RGB. Colour is averaged
//! where it is subsampled, as libjpeg does it: 6 % fewer bytes than taking every other pixel, and no speckle along edges.
//!
//! The crate allocates: [`ALLOCATIONS`] times a picture, given back at its end. `tests/no_alloc.rs` counts them.

use std::io::{self, Write};

use jpeg_encoder::{ChromaSubsamplingMethod, ImageBuffer, JpegColorType, SamplingFactor, rgb_to_ycbcr};

#[cfg(feature = "turbojpeg")]
mod turbo;

/// Allocations that one picture costs at most, by Rust's allocator: what libjpeg-turbo takes from the C library is not counted.
pub const ALLOCATIONS: usize = if TURBO { 0 } else { 9 };

/// Whether this build makes its JPEGs through libjpeg-turbo.
pub const TURBO: bool = cfg!(feature = "turbojpeg");

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

    fn factor(self) -> SamplingFactor {
        match self {
            Subsampling::None => SamplingFactor::R_4_4_4,
            Subsampling::Columns => SamplingFactor::R_4_2_2,
            Subsampling::Both => SamplingFactor::R_4_2_0,
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
#[derive(Debug)]
pub struct Encoder {
    settings: Settings,
    size: (usize, usize),
    #[cfg(feature = "turbojpeg")]
    turbo: turbo::Encoder,
}

impl Encoder {
    /// An encoder for pictures of `width` x `height`, neither 0 nor above 65,535.
    pub fn new(settings: Settings, size: (usize, usize)) -> Self {
        Self {
            settings,
            size,
            #[cfg(feature = "turbojpeg")]
            turbo: turbo::Encoder::new(settings, size),
        }
    }

    /// As they were given.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// As [`encode`], which it is unless the build has another way.
    ///
    /// # Panics
    /// If a slice has another size than stated, which is a bug of the caller.
    pub fn encode(&mut self, index: &[u8], palette: &[u8; 768], comment: &[u8], out: &mut [u8]) -> usize {
        #[cfg(feature = "turbojpeg")]
        {
            assert_eq!(index.len(), self.size.0 * self.size.1, "an index image has one byte per pixel");
            self.turbo.encode(self.size, index, palette, comment, out)
        }
        #[cfg(not(feature = "turbojpeg"))]
        encode(self.settings, self.size, index, palette, comment, out)
    }
}

/// Encodes palette indices with the `jpeg-encoder` crate and returns the length of the file.
///
/// * `index`: one byte per pixel, row-major, `width` x `height` of them, neither 0 nor above 65,535.
/// * `palette`: 256 times R, G, B.
/// * `comment`: goes into a COM segment right behind the JFIF one; ASCII, at most 65,533 bytes.
/// * `out`: at least [`bound`] bytes.
///
/// # Panics
/// If a slice has another size than stated, which is a bug of the caller.
pub fn encode(
    settings: Settings,
    (width, height): (usize, usize),
    index: &[u8],
    palette: &[u8; 768],
    comment: &[u8],
    out: &mut [u8],
) -> usize {
    assert_eq!(index.len(), width * height, "an index image has one byte per pixel");
    let side = |n: usize| u16::try_from(n).expect("an image side fits in 16 bits");
    let image = Image { index, width: side(width), height: side(height), planes: planes(palette) };
    let mut sink = Sink { out, len: 0, comment: Some(comment) };
    let mut encoder = jpeg_encoder::Encoder::new(&mut sink, settings.quality);
    encoder.set_sampling_factor(settings.subsampling.factor());
    encoder.set_chroma_subsampling_method(ChromaSubsamplingMethod::Average);
    encoder.encode_image(image).expect("the caller's buffer holds the worst case by contract");
    sink.len
}

/// Y, Cb and Cr of each colour.
fn planes(palette: &[u8; 768]) -> [[u8; 256]; 3] {
    let mut planes = [[0; 256]; 3];
    for (n, rgb) in palette.chunks_exact(3).enumerate() {
        let (y, cb, cr) = rgb_to_ycbcr(rgb[0], rgb[1], rgb[2]);
        planes[0][n] = y;
        planes[1][n] = cb;
        planes[2][n] = cr;
    }
    planes
}

/// An index image as the encoder wants it.
struct Image<'a> {
    index: &'a [u8],
    width: u16,
    height: u16,
    planes: [[u8; 256]; 3],
}

impl ImageBuffer for Image<'_> {
    fn get_jpeg_color_type(&self) -> JpegColorType {
        JpegColorType::Ycbcr
    }

    fn width(&self) -> u16 {
        self.width
    }

    fn height(&self) -> u16 {
        self.height
    }

    fn fill_buffers(&self, y: u16, buffers: &mut [Vec<u8>; 4]) {
        let width = usize::from(self.width);
        let row = &self.index[usize::from(y) * width..][..width];
        for (buffer, plane) in buffers.iter_mut().zip(&self.planes) {
            buffer.extend(row.iter().map(|i| plane[usize::from(*i)]));
        }
    }
}

/// The caller's buffer, with the comment put in where it belongs: the crate writes no COM segments.
struct Sink<'a> {
    out: &'a mut [u8],
    len: usize,
    comment: Option<&'a [u8]>,
}

impl Sink<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let room = self.out.get_mut(self.len..self.len + bytes.len()).ok_or(io::ErrorKind::WriteZero)?;
        room.copy_from_slice(bytes);
        self.len += bytes.len();
        Ok(())
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.len == START
            && let Some(comment) = self.comment.take()
        {
            let end = self.len + 4 + comment.len();
            write_comment(comment, self.out.get_mut(self.len..end).ok_or(io::ErrorKind::WriteZero)?);
            self.len = end;
        }
        self.put(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a COM segment, which fills `out`: 4 bytes and the comment.
fn write_comment(comment: &[u8], out: &mut [u8]) {
    let length = u16::try_from(comment.len() + 2).expect("a comment has 65,533 bytes at most");
    out[..2].copy_from_slice(&[0xff, 0xfe]);
    out[2..4].copy_from_slice(&length.to_be_bytes());
    out[4..].copy_from_slice(comment);
}

/// Bytes of SOI and the JFIF segment, behind which others may stand.
const START: usize = 2 + 18;

/// Bytes of everything but coefficients and comment: 20 of SOI and JFIF, 19 of SOF, 134 of quantisation tables, 420 of
/// Huffman tables, 14 of SOS, 2 of EOI, and 8 for bits to fill up.
const HEADERS: usize = 640;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::colormap::JET;
    use proptest::prelude::*;

    const ALL: [Subsampling; 3] = [Subsampling::None, Subsampling::Columns, Subsampling::Both];

    fn encoded(settings: Settings, size: (usize, usize), index: &[u8], comment: &[u8]) -> Vec<u8> {
        let mut out = vec![0; bound(size.0, size.1, comment.len())];
        let len = Encoder::new(settings, size).encode(index, &JET, comment, &mut out);
        out.truncate(len);
        out
    }

    /// Marker, start and payload of each segment before the scan.
    fn segments(file: &[u8]) -> Vec<(u8, &[u8])> {
        let (mut at, mut found) = (2, Vec::new());
        while file[at + 1] != 0xda {
            assert_eq!(file[at], 0xff, "no marker at {at}");
            let length = usize::from(u16::from_be_bytes([file[at + 2], file[at + 3]]));
            found.push((file[at + 1], &file[at + 4..at + 2 + length]));
            at += 2 + length;
        }
        found
    }

    fn decoded(file: &[u8]) -> (Vec<u8>, (usize, usize)) {
        let mut decoder = jpeg_decoder::Decoder::new(file);
        let pixels = decoder.decode().expect("decodes");
        let info = decoder.info().expect("decoded");
        assert_eq!(info.pixel_format, jpeg_decoder::PixelFormat::RGB24);
        (pixels, (info.width.into(), info.height.into()))
    }

    #[test]
    fn baseline_jfif_with_the_comment_right_behind() {
        let index: Vec<u8> = (0..64 * 40).map(|i| (i / 12) as u8).collect();
        for subsampling in ALL {
            let file = encoded(Settings { subsampling, quality: 90 }, (64, 40), &index, b"{\"seq\":7}");
            assert!(file.starts_with(b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01"));
            assert!(file.ends_with(b"\xff\xd9"));
            let found = segments(&file);
            assert_eq!(found[1], (0xfe, &b"{\"seq\":7}"[..]));
            let mut kinds: Vec<u8> = found.iter().map(|s| s.0).collect();
            assert_eq!(kinds[..2], [0xe0, 0xfe]);
            // The others may come in any order.
            kinds.sort_unstable();
            assert_eq!(kinds, [0xc0, 0xc4, 0xc4, 0xc4, 0xc4, 0xdb, 0xdb, 0xe0, 0xfe]);
            let frame = found.iter().find(|s| s.0 == 0xc0).expect("a frame").1;
            let factors = match subsampling {
                Subsampling::None => 0x11,
                Subsampling::Columns => 0x21,
                Subsampling::Both => 0x22,
            };
            assert_eq!(frame[7], factors, "{subsampling:?}");
            let ends = file.windows(2).filter(|w| *w == b"\xff\xd9").count();
            assert_eq!(ends, 1, "a grabber would cut the picture short");
        }
    }

    #[test]
    fn colours_are_those_of_the_palette() {
        // Flat, so that no filter of anybody's mixes colours: what is lost then is rounding.
        for (index, subsampling) in (0..=255).zip(ALL.into_iter().cycle()) {
            let file = encoded(Settings { quality: 100, subsampling }, (16, 16), &[index; 256], b"");
            for pixel in decoded(&file).0.chunks_exact(3) {
                for (have, want) in pixel.iter().zip(&JET[3 * usize::from(index)..]) {
                    assert!(have.abs_diff(*want) <= 2, "{pixel:?} for {index}, {subsampling:?}");
                }
            }
        }
    }

    /// In a build that has both, they are two opinions on the same picture.
    #[test]
    fn both_encoders_make_the_same_picture() {
        let index: Vec<u8> = (0..64 * 40).map(|i| (i % 64 * 2 + i / 64 * 3) as u8).collect();
        for subsampling in ALL {
            let settings = Settings { subsampling, quality: 90 };
            let mut out = vec![0; bound(64, 40, 3)];
            let len = encode(settings, (64, 40), &index, &JET, b"abc", &mut out);
            let plain = decoded(&out[..len]);
            let ours = decoded(&encoded(settings, (64, 40), &index, b"abc"));
            assert_eq!(ours.1, plain.1);
            let apart: u64 = ours.0.iter().zip(&plain.0).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
            let mean = apart as f64 / ours.0.len() as f64;
            assert!(mean < 2.0, "{mean} apart, {subsampling:?}");
        }
    }

    #[test]
    fn quality_trades_bytes() {
        let index: Vec<u8> =
            (0..512 * 424).map(|i| (i % 512 / 2 + i / 512 / 3) as u8 ^ (i % 3) as u8).collect();
        let sizes = [1, 50, 80, 95, 100].map(|quality| {
            encoded(Settings { quality, ..Settings::default() }, (512, 424), &index, b"").len()
        });
        assert!(sizes.is_sorted() && sizes[0] < sizes[4], "{sizes:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        /// The room that is set aside is enough for noise, and what comes out is a picture of that size.
        #[test]
        fn any_picture_fits(
            width in 1usize..70, height in 1usize..70, seed in any::<u64>(), quality in 1u8..=100,
            subsampling in prop::sample::select(&ALL[..]), comment in prop::collection::vec(0x20u8..0x7f, 0..300),
        ) {
            let mut state = seed | 1;
            let index: Vec<u8> = (0..width * height).map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                // Mostly the two ends of the palette: the strongest coefficients there are.
                match state >> 62 { 0 => (state >> 32) as u8, 1 => 0, _ => 255 }
            }).collect();
            let file = encoded(Settings { quality, subsampling }, (width, height), &index, &comment);
            prop_assert_eq!(decoded(&file).1, (width, height));
        }
    }
}
