//! PNG in three kinds: an index image under a palette, 8-bit grey infrared, and 16-bit grey depth.
//!
//! The `png` crate frames (signature, IHDR, PLTE, tEXt, IEND; measured to allocate nothing in the calls used here),
//! `encode/deflate.rs` compresses straight into the file's only IDAT. The filter is "Up" throughout: rows are like the rows
//! above, and the choice of another by row gains a twentieth of the bytes at most, for more time than all the rest takes.

use std::borrow::Cow;
use std::fmt;

use super::deflate::{self, Deflater};
use super::metadata::METADATA_MAX;

// The same filters for wider vectors.
#[cfg(target_arch = "x86_64")]
mod avx2;

/// Bytes that are enough for any `width` x `height` index image.
pub const fn indexed_bound(width: usize, height: usize) -> usize {
    // Signature, IHDR, PLTE of 256 entries, tEXt, one IDAT, IEND.
    8 + 25 + (12 + 768) + COMMENT_MAX + 12 + deflate::bound((width + 1) * height) + 12
}

/// Bytes that are enough for any `width` x `height` 16-bit depth image.
pub const fn depth_bound(width: usize, height: usize) -> usize {
    8 + 25 + COMMENT_MAX + 12 + deflate::bound((2 * width + 1) * height) + 12
}

/// Encodes images of one fixed shape; holds the scratch memory for it.
pub struct Encoder {
    width: usize,
    height: usize,
    /// Filter byte and filtered samples of each row.
    filtered: Box<[u8]>,
    /// A tEXt chunk's keyword and NUL, and room for the text.
    comment: Box<[u8]>,
    deflater: Deflater,
}

impl Encoder {
    /// An encoder for `width` x `height` images. Allocates its scratch memory here and never again.
    pub fn new(width: usize, height: usize) -> Self {
        let raw = (2 * width + 1) * height;
        Self {
            width,
            height,
            filtered: vec![0; raw].into_boxed_slice(),
            comment: [KEYWORD, &[0; METADATA_MAX]].concat().into_boxed_slice(),
            deflater: Deflater::new(raw),
        }
    }

    /// Encodes palette indices as an indexed PNG and returns its length.
    ///
    /// The indices come from memory, not from the depth row by row: mapping and filtering together took as long as apart
    /// (35 and 33 us a frame), and would save 6 us only if no index image were kept, which JPEG wants too.
    ///
    /// * `index`: one byte per pixel, row-major.
    /// * `palette`: R, G, B for each index in use.
    /// * `comment`: goes into a tEXt chunk, ASCII of at most [`METADATA_MAX`] bytes; empty for none.
    /// * `out`: at least [`indexed_bound`] bytes; what lies behind the length is not touched on purpose.
    ///
    /// # Panics
    /// If a slice has another size than stated, which is a bug of the caller.
    pub fn indexed(&mut self, index: &[u8], palette: &[u8], comment: &str, out: &mut [u8]) -> usize {
        let row = self.filter(index);
        self.frame(png::ColorType::Indexed, png::BitDepth::Eight, Some(palette), row, comment, out)
    }

    /// Encodes brightness as an 8-bit grey PNG and returns its length.
    ///
    /// * `grey`: one byte per pixel, row-major.
    /// * `comment`, `out`: as above.
    ///
    /// # Panics
    /// If a slice has another size than stated, which is a bug of the caller.
    pub fn grey(&mut self, grey: &[u8], comment: &str, out: &mut [u8]) -> usize {
        let row = self.filter(grey);
        self.frame(png::ColorType::Grayscale, png::BitDepth::Eight, None, row, comment, out)
    }

    /// Filters rows of one byte per pixel, and returns the length of a filtered one.
    fn filter(&mut self, pixels: &[u8]) -> usize {
        assert_eq!(pixels.len(), self.width * self.height, "the image has one byte per pixel");
        let row = self.width + 1;
        let filtered = &mut self.filtered[..row * self.height];
        let (first, rest) = filtered.split_at_mut(row);
        // There is no row above the first: nothing is subtracted.
        first[0] = FILTER_UP;
        first[1..].copy_from_slice(&pixels[..self.width]);
        let above = pixels.chunks_exact(self.width);
        let pixels = pixels[self.width..].chunks_exact(self.width);
        for (out, (pixels, above)) in rest.chunks_exact_mut(row).zip(pixels.zip(above)) {
            up(out, pixels, above);
        }
        row
    }

    /// Encodes millimetres as a 16-bit grey PNG and returns its length.
    ///
    /// * `depth`: row-major; stored as they are, 0 means no return.
    /// * `comment`: as above.
    /// * `out`: at least [`depth_bound`] bytes.
    ///
    /// # Panics
    /// If a slice has another size than stated, which is a bug of the caller.
    pub fn depth(&mut self, depth: &[u16], comment: &str, out: &mut [u8]) -> usize {
        assert_eq!(depth.len(), self.width * self.height, "a depth image has one sample per pixel");
        let row = 2 * self.width + 1;
        let (first, rest) = self.filtered.split_at_mut(row);
        first[0] = FILTER_UP;
        for (out, sample) in first[1..].chunks_exact_mut(2).zip(depth) {
            out.copy_from_slice(&sample.to_be_bytes());
        }
        let above = depth.chunks_exact(self.width);
        let samples = depth[self.width..].chunks_exact(self.width);
        for (out, (samples, above)) in rest.chunks_exact_mut(row).zip(samples.zip(above)) {
            up16(out, samples, above);
        }
        self.frame(png::ColorType::Grayscale, png::BitDepth::Sixteen, None, row, comment, out)
    }

    /// Writes the filtered rows, `row` bytes each, as a PNG file and returns its length.
    fn frame(
        &mut self,
        color: png::ColorType,
        depth: png::BitDepth,
        palette: Option<&[u8]>,
        row: usize,
        comment: &str,
        out: &mut [u8],
    ) -> usize {
        let side = |n: usize| u32::try_from(n).expect("an image side fits in 32 bits");
        let room = out.len();
        let sized = "the caller's buffer holds the worst case by contract";
        let mut left = &mut out[..];
        {
            let mut encoder = png::Encoder::new(&mut left, side(self.width), side(self.height));
            encoder.set_color(color);
            encoder.set_depth(depth);
            if let Some(palette) = palette {
                encoder.set_palette(Cow::Borrowed(palette));
            }
            let mut writer = encoder.write_header().expect(sized);
            if !comment.is_empty() {
                // The crate's own way to texts would allocate.
                let end = KEYWORD.len() + comment.len();
                self.comment[KEYWORD.len()..end].copy_from_slice(comment.as_bytes());
                writer.write_chunk(png::chunk::tEXt, &self.comment[..end]).expect(sized);
            }
            // The writer ends the file as it is dropped; the image data take that place, and the end comes behind them.
        }
        let end = room - left.len() - IEND.len();
        let out = &mut out[end..];
        // A chunk is length, type, data and a checksum of the last two (section 5.3). The crate would copy the data.
        let (length, rest) = out.split_at_mut_checked(4).expect(sized);
        let (kind, data) = rest.split_at_mut_checked(4).expect(sized);
        kind.copy_from_slice(&png::chunk::IDAT.0);
        let zlib = self.deflater.compress(&self.filtered[..row * self.height], row, data);
        length.copy_from_slice(&u32::try_from(zlib).expect("a picture is below 4 GB").to_be_bytes());
        let checksum = crc32fast::hash(&rest[..4 + zlib]).to_be_bytes();
        let (behind, _) = rest[4 + zlib..].split_at_mut_checked(4 + IEND.len()).expect(sized);
        behind[..4].copy_from_slice(&checksum);
        behind[4..].copy_from_slice(IEND);
        end + 8 + zlib + behind.len()
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").field("width", &self.width).field("height", &self.height).finish()
    }
}

/// The "Up" filter of PNG (section 9.2): each byte less the one above it.
fn up(out: &mut [u8], pixels: &[u8], above: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    if avx2::up(out, pixels, above).is_some() {
        return;
    }
    up_plainly(out, pixels, above);
}

#[inline(always)]
fn up_plainly(out: &mut [u8], pixels: &[u8], above: &[u8]) {
    let (kind, out) = out.split_at_mut(1);
    kind[0] = FILTER_UP;
    for (out, (pixel, above)) in out.iter_mut().zip(pixels.iter().zip(above)) {
        *out = pixel.wrapping_sub(*above);
    }
}

/// The same for big-endian 16-bit samples, whose bytes are filtered apart.
fn up16(out: &mut [u8], samples: &[u16], above: &[u16]) {
    #[cfg(target_arch = "x86_64")]
    if avx2::up16(out, samples, above).is_some() {
        return;
    }
    up16_plainly(out, samples, above);
}

#[inline(always)]
fn up16_plainly(out: &mut [u8], samples: &[u16], above: &[u16]) {
    let (kind, out) = out.split_at_mut(1);
    kind[0] = FILTER_UP;
    for (out, (sample, above)) in out.chunks_exact_mut(2).zip(samples.iter().zip(above)) {
        let ([a, b], [c, d]) = (sample.to_be_bytes(), above.to_be_bytes());
        out[0] = a.wrapping_sub(c);
        out[1] = b.wrapping_sub(d);
    }
}

/// The keyword that PNG has for text of any kind (section 11.3.3.2), which all tools show, and the NUL behind it.
const KEYWORD: &[u8] = b"Comment\0";

/// The chunk that ends a file (section 11.2.5).
const IEND: &[u8] = b"\0\0\0\0IEND\xae\x42\x60\x82";

/// Bytes of the longest tEXt chunk.
const COMMENT_MAX: usize = 12 + KEYWORD.len() + METADATA_MAX;

/// Filter type 2 of PNG, section 9.2.
const FILTER_UP: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::colormap::JET;

    fn decode(bytes: &[u8]) -> (png::OutputInfo, Vec<u8>, Option<Vec<u8>>) {
        let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes));
        decoder.set_transformations(png::Transformations::IDENTITY);
        let mut reader = decoder.read_info().expect("header");
        let palette = reader.info().palette.as_ref().map(|p| p.to_vec());
        let mut pixels = vec![0; reader.output_buffer_size().expect("fits")];
        let info = reader.next_frame(&mut pixels).expect("image");
        reader.finish().expect("IEND");
        (info, pixels, palette)
    }

    fn noise(len: usize, mut seed: u64) -> Vec<u8> {
        let step = |s: &mut u64| {
            *s ^= *s << 13;
            *s ^= *s >> 7;
            *s ^= *s << 17;
            *s
        };
        (0..len).map(|_| step(&mut seed).to_le_bytes()[3]).collect()
    }

    #[test]
    fn filters_are_the_plain_ones() {
        for width in [1, 15, 16, 33, 512, 517] {
            let bytes = noise(4 * width, 5);
            let (pixels, above) = bytes[..2 * width].split_at(width);
            let (mut fast, mut plain) = (vec![7; width + 1], vec![7; width + 1]);
            up(&mut fast, pixels, above);
            up_plainly(&mut plain, pixels, above);
            assert_eq!(fast, plain, "{width} pixels");
            let samples: Vec<u16> = bytes.chunks_exact(2).map(|b| u16::from_be_bytes([b[0], b[1]])).collect();
            let (samples, above) = samples.split_at(width);
            let (mut fast, mut plain) = (vec![7; 2 * width + 1], vec![7; 2 * width + 1]);
            up16(&mut fast, samples, above);
            up16_plainly(&mut plain, samples, above);
            assert_eq!(fast, plain, "{width} samples");
        }
    }

    #[test]
    fn indexed_keeps_pixels_and_palette() {
        let (w, h) = (37, 19);
        let index: Vec<u8> = (0..w * h).map(|i| (i * 7 / 5 % 256) as u8).collect();
        let mut out = vec![0; indexed_bound(w, h)];
        let len = Encoder::new(w, h).indexed(&index, &JET, "", &mut out);
        let (info, pixels, palette) = decode(&out[..len]);
        assert_eq!((info.width, info.height), (37, 19));
        assert_eq!((info.color_type, info.bit_depth), (png::ColorType::Indexed, png::BitDepth::Eight));
        assert_eq!(pixels, index);
        assert_eq!(palette.expect("PLTE"), JET);
        assert_eq!(&out[len - 12..len], b"\0\0\0\0IEND\xae\x42\x60\x82");
    }

    #[test]
    fn grey_keeps_pixels_and_has_no_palette() {
        let (w, h) = (37, 19);
        let grey = noise(w * h, 3);
        let mut out = vec![0; indexed_bound(w, h)];
        let len = Encoder::new(w, h).grey(&grey, "", &mut out);
        let (info, pixels, palette) = decode(&out[..len]);
        assert_eq!((info.color_type, info.bit_depth), (png::ColorType::Grayscale, png::BitDepth::Eight));
        assert_eq!((pixels, palette), (grey, None));
    }

    #[test]
    fn the_comment_is_text_before_the_image() {
        let (w, h) = (3, 2);
        let mut encoder = Encoder::new(w, h);
        let mut out = vec![0; indexed_bound(w, h)];
        let long = "x".repeat(METADATA_MAX);
        for comment in [long.as_str(), r#"{"seq":1}"#] {
            let text = |file: &[u8]| {
                let decoder = png::Decoder::new(std::io::Cursor::new(file));
                let reader = decoder.read_info().expect("header");
                let texts = &reader.info().uncompressed_latin1_text;
                texts.iter().map(|t| (t.keyword.clone(), t.text.clone())).collect::<Vec<_>>()
            };
            let len = encoder.indexed(&[0; 6], &JET, comment, &mut out);
            assert_eq!(text(&out[..len]), [("Comment".to_owned(), comment.to_owned())]);
            let len = encoder.depth(&[0; 6], comment, &mut out);
            assert_eq!(text(&out[..len]), [("Comment".to_owned(), comment.to_owned())]);
        }
        let len = encoder.indexed(&[0; 6], &JET, "", &mut out);
        assert!(!out[..len].windows(4).any(|w| w == b"tEXt"), "no text, no chunk");
    }

    #[test]
    fn depth_keeps_every_value() {
        let (w, h) = (256, 256);
        let depth: Vec<u16> = (0..=u16::MAX).collect();
        let mut out = vec![0; depth_bound(w, h)];
        let len = Encoder::new(w, h).depth(&depth, "", &mut out);
        let (info, pixels, _) = decode(&out[..len]);
        assert_eq!((info.color_type, info.bit_depth), (png::ColorType::Grayscale, png::BitDepth::Sixteen));
        let back: Vec<u16> = pixels.chunks_exact(2).map(|b| u16::from_be_bytes([b[0], b[1]])).collect();
        assert_eq!(back, depth);
    }

    #[test]
    fn noise_fits() {
        let (w, h) = (512, 424);
        let mut encoder = Encoder::new(w, h);
        let mut out = vec![0; indexed_bound(w, h)];
        for seed in 1..4 {
            let index = noise(w * h, seed);
            let len = encoder.indexed(&index, &JET, "", &mut out);
            assert_eq!(decode(&out[..len]).1, index);
        }
        let bytes = noise(2 * w * h, 9);
        let depth: Vec<u16> = bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect();
        let mut out = vec![0; depth_bound(w, h)];
        let len = encoder.depth(&depth, "", &mut out);
        let back = decode(&out[..len]).1;
        assert!(back.chunks_exact(2).zip(&depth).all(|(b, d)| u16::from_be_bytes([b[0], b[1]]) == *d));
    }
}
