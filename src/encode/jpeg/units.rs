//! Pixels to samples: what is coded together, up to 16x16 pixels, as blocks of brightness and of both colours.

use super::dct::{Batch, LANES};

/// Blocks of a unit at most: four of brightness, and one of each colour.
pub(super) const BLOCKS: usize = 6;

/// Y, Cb and Cr of each index, each in sixteen bits of its own, Y the lowest: so some are added up at once.
pub(super) type Colours = [u64; 256];

/// Colours as JFIF wants them: ITU-R BT.601 over the full range, rounded as libjpeg does (`jccolor.c`).
///
/// * `palette`: 256 times R, G, B.
pub(super) fn colours(palette: &[u8; 768]) -> Colours {
    let mut colours = [0; 256];
    for (colour, rgb) in colours.iter_mut().zip(palette.chunks_exact(3)) {
        *colour = self::colour([rgb[0], rgb[1], rgb[2]]);
    }
    colours
}

fn colour(rgb: [u8; 3]) -> u64 {
    let [r, g, b] = rgb.map(i32::from);
    // Factors times 2^16; halves of Cb and Cr are rounded down, so that 255 is never passed.
    let y = (19595 * r + 38470 * g + 7471 * b + 0x8000) >> 16;
    let cb = (-11059 * r - 21709 * g + 32768 * b + (128 << 16) + 0x7fff) >> 16;
    let cr = (32768 * r - 27439 * g - 5329 * b + (128 << 16) + 0x7fff) >> 16;
    // All are 0 to 255.
    (y | cb << 16) as u64 | (cr as u64) << 32
}

/// Y, Cb and Cr of one.
pub(super) fn parts(colour: u64) -> [u8; 3] {
    [0, 16, 32].map(|shift| (colour >> shift) as u8)
}

/// The index that all pixels of a unit have.
///
/// * `pixels`: from the first one on, rows `pitch` apart; `width` is 8 or 16.
#[inline(always)]
pub(super) fn uniform(pixels: &[u8], pitch: usize, width: usize, height: usize) -> Option<u8> {
    let first = pixels[0];
    let eight = [first; 8];
    for y in 0..height {
        let row = &pixels[y * pitch..];
        if *row.first_chunk::<8>()? != eight || *row[width - 8..].first_chunk::<8>()? != eight {
            return None;
        }
    }
    Some(first)
}

/// Puts a unit of `8 * H` columns and `8 * V` rows into one lane of a batch for each of its blocks.
///
/// * `pixels`: as above.
/// * `batches`: those of brightness row by row, then Cb and Cr, each the mean of `H * V` pixels.
#[inline(always)]
pub(super) fn fetch<const H: usize, const V: usize>(
    colours: &Colours,
    pixels: &[u8],
    pitch: usize,
    batches: &mut [Batch; BLOCKS],
    lane: usize,
) {
    assert!(lane < LANES);
    let shift = (H * V).trailing_zeros();
    for y in 0..8 {
        for x in 0..8 {
            // Halves are rounded down and up in turn, as in `jcsample.c`, so that nothing drifts.
            let bias = match H * V {
                1 => 0,
                2 => x as u64 % 2,
                _ => 1 + x as u64 % 2,
            };
            let mut sum = bias << 16 | bias << 32;
            for v in 0..V {
                let row = &pixels[(V * y + v) * pitch..][..8 * H];
                for h in 0..H {
                    let colour = colours[usize::from(row[H * x + h])];
                    let (x, y) = (H * x + h, V * y + v);
                    batches[H * (y / 8) + x / 8].0[8 * (y % 8) + x % 8][lane] = colour as i16;
                    sum += colour;
                }
            }
            let place = 8 * y + x;
            batches[H * V].0[place][lane] = i16::from((sum >> (16 + shift)) as u8);
            batches[H * V + 1].0[place][lane] = i16::from((sum >> (32 + shift)) as u8);
        }
    }
}

/// A unit over the right or lower edge, filled up with the last pixels inside.
///
/// * `index`: the picture; `at`: column and row of the unit.
#[inline(always)]
pub(super) fn edge(index: &[u8], (width, height): (usize, usize), at: (usize, usize)) -> [u8; 256] {
    let mut unit = [0; 256];
    for (y, row) in unit.chunks_exact_mut(16).enumerate() {
        let inside = &index[(at.1 + y).min(height - 1) * width..][at.0..width];
        let have = inside.len().min(16);
        row[..have].copy_from_slice(&inside[..have]);
        row[have..].fill(inside[have - 1]);
    }
    unit
}
