//! The picture that viewers get while there is no depth: "NO SIGNAL", why, the time, and which camera.
//!
//! It is grey on dark grey throughout. Every colour of the JET palette is saturated, so nobody (and no program that
//! looks at colours) can take it for depth.

use crate::source::WIDTH;
use crate::text;

/// The palette of the picture: 256 RGB triples of 8 bits, as in the PLTE chunk of a PNG; greys only.
pub static PALETTE: [u8; 768] = palette();

/// Draws the whole picture.
///
/// * `image`: indices into [`PALETTE`], row-major, 424 rows × 512 columns; overwritten whole.
/// * `reason`: why there is no signal; wrapped on words, at most three lines, the rest shown as an ellipsis.
/// * `clock`: the time, as the caller wants it read; `camera`: which camera this is; one line each.
///
/// The text may come from anywhere; what does not fit is left out. Never allocates, never panics, whatever the
/// length of `image`.
pub fn draw(image: &mut [u8], reason: &str, clock: &str, camera: &str) {
    image.fill(BACKGROUND);
    rule(image, RULE_TOP);
    rule(image, RULE_BOTTOM);
    line(image, CAMERA, cut(camera, CAMERA.columns()));
    line(image, TITLE, cut("NO SIGNAL", TITLE.columns()));
    let mut rest = reason;
    for row in 0..REASON_LINES {
        let style = Style { y: REASON.y + row * REASON_PITCH, ..REASON };
        if row + 1 == REASON_LINES {
            line(image, style, cut(rest, style.columns()));
        } else {
            let (first, others) = wrap(rest, style.columns());
            line(image, style, (first, ""));
            rest = others;
        }
    }
    line(image, CLOCK, cut(clock, CLOCK.columns()));
}

/// How a line of text stands in the picture.
#[derive(Clone, Copy)]
struct Style {
    /// Upper edge of the characters, in rows.
    y: usize,
    scale: usize,
    ink: u8,
}

impl Style {
    /// Characters that fit between the margins.
    const fn columns(self) -> usize {
        (WIDTH - 2 * MARGIN) / (text::ADVANCE * self.scale)
    }
}

/// Draws a text and what follows it, in the middle.
fn line(image: &mut [u8], style: Style, (text, tail): (&str, &str)) {
    let gap = if text.is_empty() || tail.is_empty() { 0 } else { style.scale };
    let (first, second) = (text::width(text, style.scale), text::width(tail, style.scale));
    let x = WIDTH.saturating_sub(first + gap + second) / 2;
    text::draw(image, WIDTH, x, style.y, style.scale, style.ink, text);
    text::draw(image, WIDTH, x + first + gap, style.y, style.scale, style.ink, tail);
}

/// The first line of `text`, at most `columns` characters, and what is left for the next lines. A word longer than a
/// line is broken.
fn wrap(text: &str, columns: usize) -> (&str, &str) {
    let text = text.trim();
    let Some((limit, next)) = text::beyond(text, columns) else {
        return (text, "");
    };
    // One character whose spelling is wider than a line has that line to itself.
    let limit = limit.max(text.chars().next().map_or(0, char::len_utf8));
    let end = if next.is_whitespace() { Some(limit) } else { text[..limit].rfind(char::is_whitespace) };
    let (first, rest) = text.split_at(end.unwrap_or(limit));
    (first.trim_end(), rest.trim_start())
}

/// `text` as one line of at most `columns` characters, and the ellipsis if something had to go.
fn cut(text: &str, columns: usize) -> (&str, &'static str) {
    let text = text.trim();
    if text::beyond(text, columns).is_none() {
        return (text, "");
    }
    let kept = columns.saturating_sub(ELLIPSIS.len());
    let end = text::beyond(text, kept).map_or(text.len(), |(at, _)| at);
    (text[..end].trim_end(), ELLIPSIS)
}

/// Draws a horizontal line between the margins.
fn rule(image: &mut [u8], y: usize) {
    for row in image.chunks_exact_mut(WIDTH).skip(y).take(RULE_HEIGHT) {
        row[MARGIN..WIDTH - MARGIN].fill(FAINT);
    }
}

const fn palette() -> [u8; 768] {
    let mut palette = [0; 768];
    let mut i = 0;
    while i < 256 {
        let used = if i < COLOURS.len() { i } else { BACKGROUND as usize };
        palette[3 * i] = COLOURS[used][0];
        palette[3 * i + 1] = COLOURS[used][1];
        palette[3 * i + 2] = COLOURS[used][2];
        i += 1;
    }
    palette
}

const BACKGROUND: u8 = 0;
const FAINT: u8 = 1;
const PLAIN: u8 = 2;
const BRIGHT: u8 = 3;
const COLOURS: [[u8; 3]; 4] = [[24, 26, 30], [72, 76, 82], [186, 190, 196], [244, 245, 247]];

const MARGIN: usize = 24;
const RULE_HEIGHT: usize = 2;
const RULE_TOP: usize = 64;
const RULE_BOTTOM: usize = 352;
const CAMERA: Style = Style { y: 32, scale: 2, ink: PLAIN };
const TITLE: Style = Style { y: 116, scale: 8, ink: BRIGHT };
const REASON: Style = Style { y: 222, scale: 2, ink: PLAIN };
const REASON_LINES: usize = 3;
const REASON_PITCH: usize = 28;
const CLOCK: Style = Style { y: 372, scale: 3, ink: BRIGHT };
const ELLIPSIS: &str = "...";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{HEIGHT, PIXELS};
    use proptest::prelude::*;

    const CLOCK_TEXT: &str = "2026-11-24 13:05:09";

    fn picture(reason: &str, clock: &str) -> Vec<u8> {
        let mut image = vec![9; PIXELS];
        draw(&mut image, reason, clock, "camera01");
        image
    }

    /// Pixels of `ink` in each third of what a style's text may occupy, to see that it is there and in the middle.
    fn inked(image: &[u8], style: Style) -> [usize; 3] {
        let rows = &image[style.y * WIDTH..(style.y + text::GLYPH_HEIGHT * style.scale) * WIDTH];
        let mut thirds = [0; 3];
        for (i, pixel) in rows.iter().enumerate() {
            thirds[i % WIDTH * 3 / WIDTH] += usize::from(*pixel == style.ink);
        }
        thirds
    }

    fn reason_lines(image: &[u8]) -> [bool; 3] {
        [0, 1, 2].map(|row| {
            let style = Style { y: REASON.y + row * REASON_PITCH, ..REASON };
            inked(image, style).iter().sum::<usize>() > 0
        })
    }

    #[test]
    fn says_what_it_should_where_it_should() {
        let image = picture("no sensor found", CLOCK_TEXT);
        assert!(image.iter().all(|pixel| usize::from(*pixel) < COLOURS.len()));
        assert!(inked(&image, TITLE).iter().all(|n| *n > 1000), "the title fills the width");
        assert!(inked(&image, CLOCK).iter().all(|n| *n > 100));
        assert!(inked(&image, CAMERA)[1] > 100);
        assert_eq!(reason_lines(&image), [true, false, false]);
        // Nothing of one style runs into the rows between two of them.
        let gap = (TITLE.y + text::GLYPH_HEIGHT * TITLE.scale) * WIDTH..REASON.y * WIDTH;
        assert!(image[gap].iter().all(|pixel| *pixel == BACKGROUND));
        const { assert!(CLOCK.y + text::GLYPH_HEIGHT * CLOCK.scale < HEIGHT) };
    }

    #[test]
    fn every_word_and_second_shows() {
        let image = picture("no sensor found", CLOCK_TEXT);
        assert_ne!(image, picture("no sensor fount", CLOCK_TEXT));
        assert_ne!(image, picture("no sensor found", "2026-11-24 13:05:10"));
        assert_eq!(image, picture("  no sensor found\n", CLOCK_TEXT), "nothing of an older picture is left");
    }

    #[test]
    fn long_reasons_wrap_on_words_and_end_in_an_ellipsis() {
        assert_eq!(reason_lines(&picture("", CLOCK_TEXT)), [false; 3]);
        let two = "the sensor is on a USB 2 port: move it to a blue one";
        assert_eq!(reason_lines(&picture(two, CLOCK_TEXT)), [true, true, false]);
        let long = "usbfs_memory_mb is 16 ".repeat(20);
        let image = picture(&long, CLOCK_TEXT);
        assert_eq!(reason_lines(&image), [true; 3]);
        assert!(image.chunks(WIDTH).all(|row| row[..MARGIN - 2].iter().all(|pixel| *pixel == BACKGROUND)));
        assert_eq!(image, picture(&format!("{long}and more"), CLOCK_TEXT));

        assert_eq!(wrap("move it to", 7), ("move it", "to"));
        assert_eq!(wrap("move it to", 6), ("move", "it to"));
        assert_eq!(wrap("movéitto", 4), ("mové", "itto"));
        assert_eq!(cut("movéitto", 8), ("movéitto", ""));
        assert_eq!(cut("movéitto", 7), ("mové", "..."));
        assert_eq!(cut("movéitto", 2), ("", "..."));
    }

    #[test]
    fn no_colour_of_it_is_near_a_colour_of_depth() {
        // Each JET colour has a channel at least 127 above another one; greys have not.
        for rgb in PALETTE.chunks(3) {
            let (low, high) = (rgb.iter().min().unwrap(), rgb.iter().max().unwrap());
            assert!(high - low < 32, "{rgb:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_on_any_image(reason in any::<String>(), other in any::<String>(), length in 0..PIXELS) {
            let mut image = vec![9; length];
            draw(&mut image, &reason, &other, &other);
            prop_assert!(image.iter().all(|pixel| usize::from(*pixel) < COLOURS.len()));
        }

        #[test]
        fn wrapping_loses_nothing_but_space(text in any::<String>(), columns in 1_usize..50) {
            let (mut rest, mut joined) = (text.as_str(), String::new());
            while !rest.trim().is_empty() {
                let (first, others) = wrap(rest, columns);
                prop_assert!(!first.is_empty());
                prop_assert!(text::spell(first).count() <= columns || first.chars().count() == 1);
                joined.push_str(first);
                rest = others;
            }
            let squeeze = |s: &str| s.split_whitespace().collect::<String>();
            prop_assert_eq!(squeeze(&joined), squeeze(&text));
        }
    }
}
