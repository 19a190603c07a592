//! Text on an 8-bit index image, in a small font of this project's own.
//!
//! A glyph is 5 columns by 8 rows (row 6 is the baseline, row 7 holds the descenders) and advances the pen by 6
//! columns. A picture pixel of the font becomes a square of `scale` by `scale` pixels. ASCII and Latin-1 are drawn. Of other
//! characters some are spelled in these, see [`spell`]: Hangul in Latin letters, letters with other accents without
//! them. What then remains is a box, so that a reader sees that something is missing.

mod font;
mod spelling;

use font::{GLYPH_WIDTH, glyph};
pub use spelling::{beyond, spell};

/// Columns from one character to the next, at scale 1.
pub const ADVANCE: usize = GLYPH_WIDTH + 1;
/// Rows of a character, descenders included, at scale 1.
pub const GLYPH_HEIGHT: usize = 8;

/// Draws one line of text.
///
/// * `image`: palette indices, row-major, `width` columns; a last row that is not whole is left alone.
/// * `x`, `y`: the upper left corner of the first character, in pixels. What falls outside `image` is not drawn.
/// * `scale`: side of a font pixel, in pixels; 0 draws nothing.
/// * `ink`: the index written; the pixels between the strokes keep what they had.
///
/// Never allocates. Time is bounded by the text that is inside and by the pixels that it inks.
pub fn draw(image: &mut [u8], width: usize, x: usize, y: usize, scale: usize, ink: u8, text: &str) {
    if width == 0 || scale == 0 {
        return;
    }
    let mut pen = x;
    for c in spell(text) {
        if pen >= width {
            return;
        }
        for (row, bits) in glyph(c).iter().enumerate() {
            let top = y.saturating_add(row.saturating_mul(scale));
            for column in (0..GLYPH_WIDTH).filter(|column| bits >> column & 1 == 1) {
                let left = pen.saturating_add(column.saturating_mul(scale));
                square(image, width, left, top, scale, ink);
            }
        }
        pen = pen.saturating_add(ADVANCE.saturating_mul(scale));
    }
}

/// Columns that `text` takes at `scale`, without the gap after its last character.
pub fn width(text: &str, scale: usize) -> usize {
    let columns = spell(text).count().saturating_mul(ADVANCE).saturating_sub(1);
    columns.saturating_mul(scale)
}

/// Inks a square, as far as it is inside the image.
fn square(image: &mut [u8], width: usize, left: usize, top: usize, side: usize, ink: u8) {
    let right = left.saturating_add(side).min(width);
    if left >= right {
        return;
    }
    for row in image.chunks_exact_mut(width).skip(top).take(side) {
        row[left..right].fill(ink);
    }
}

#[cfg(test)]
mod tests {
    use super::font::FONT;
    use super::*;
    use proptest::prelude::*;

    /// The image as rows of `#` (ink 1) and `.` (untouched).
    fn art(image: &[u8], width: usize) -> Vec<String> {
        let pixel = |p: &u8| if *p == 0 { '.' } else { '#' };
        image.chunks_exact(width).map(|row| row.iter().map(pixel).collect()).collect()
    }

    #[test]
    fn a_word_looks_like_this() {
        let mut image = [0; 23 * 8];
        draw(&mut image, 23, 0, 0, 1, 1, "Kgж~");
        let golden = [
            "#...#.......#####......",
            "#..#........#...#......",
            "#.#....####.#...#..#...",
            "##....#...#.#...#.#.#.#",
            "#.#...#...#.#...#....#.",
            "#..#...####.#...#......",
            "#...#.....#.#####......",
            ".......###.............",
        ];
        assert_eq!(art(&image, 23), golden);
    }

    #[test]
    fn scale_makes_squares() {
        let (mut small, mut large) = ([0; 12 * 8], [0; 36 * 24]);
        draw(&mut small, 12, 0, 0, 1, 1, "R7");
        draw(&mut large, 36, 0, 0, 3, 1, "R7");
        for (i, pixel) in large.iter().enumerate() {
            assert_eq!(*pixel, small[i / 36 / 3 * 12 + i % 36 / 3]);
        }
    }

    #[test]
    fn no_two_characters_look_alike() {
        // The no-break space and the soft hyphen are what they look like.
        let drawn: Vec<char> =
            (' '..='\u{ff}').filter(|c| !matches!(c, '\u{80}'..='\u{a0}' | '\u{ad}')).collect();
        assert_eq!(drawn.len() + 2, FONT.len());
        for (i, a) in drawn.iter().enumerate() {
            for b in &drawn[i + 1..] {
                assert_ne!(glyph(*a), glyph(*b), "{a:?} and {b:?}");
            }
        }
        assert_eq!((glyph('\u{a0}'), glyph('\u{ad}')), (glyph(' '), glyph('-')));
    }

    #[test]
    fn the_width_is_without_the_last_gap() {
        assert_eq!((width("", 4), width("A", 4), width("AB", 4)), (0, 20, 44));
    }

    #[test]
    fn extremes_do_not_panic() {
        let mut image = [0; 60];
        for n in [0, 1, 7, usize::MAX / 6, usize::MAX - 1, usize::MAX] {
            for m in [0, 1, usize::MAX] {
                draw(&mut image, n, m, m, n, 1, "W_");
                draw(&mut image, 10, n, m, 1, 1, "W_");
                draw(&mut image, 10, m, n, n, 1, "W_");
            }
        }
        draw(&mut [], 10, 0, 0, 1, 1, "W");
        assert_eq!(width("ab", usize::MAX), usize::MAX);
    }

    proptest! {
        /// Clipping gives the part of a larger drawing that is inside, and touches nothing else.
        #[test]
        fn a_clipped_drawing_is_a_part_of_the_whole(
            text in any::<String>(),
            width in 1_usize..40,
            height in 0_usize..30,
            rest in 0_usize..40,
            (x, y) in (0_usize..50, 0_usize..50),
            scale in 0_usize..5,
        ) {
            const SIDE: usize = 100;
            let mut whole = vec![0; SIDE * SIDE];
            draw(&mut whole, SIDE, x, y, scale, 1, &text);
            let rest = rest % width;
            let mut image = vec![0; width * height + rest];
            draw(&mut image, width, x, y, scale, 1, &text);
            for (i, pixel) in image[..width * height].iter().enumerate() {
                prop_assert_eq!(*pixel, whole[i / width * SIDE + i % width]);
            }
            prop_assert!(image[width * height..].iter().all(|pixel| *pixel == 0));
        }
    }
}
