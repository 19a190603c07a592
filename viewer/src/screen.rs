//! Pixels: the picture with its aspect kept, the status below it, and what lies over it.
//!
//! Text is drawn in depthcast's own font, and what that has not is spelled in what it has: `depthcast::text::spell`.

use std::time::Duration;

use depthcast::text::{self, ADVANCE, GLYPH_HEIGHT};

use crate::picture::Picture;
use crate::ui::{Dialog, HELP, Here, STOP, Tone, Ui};

/// What goes where in a window of some size.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Layout {
    /// Columns of the window.
    pub width: usize,
    /// Rows of the window.
    pub height: usize,
    /// Where the picture is, if there is one and room for it.
    pub picture: Option<Place>,
    /// Whether the picture is shown darker, so that nobody takes it for what the camera sees now.
    pub dark: bool,
    /// What is written beside the pointer.
    pub here: Option<Here>,
    /// The status, in lines that fit.
    pub lines: Vec<Vec<(String, Tone)>>,
    /// Lines that there is room for; at least as many as there are.
    pub room: usize,
    /// Side of a pixel of the font.
    pub scale: usize,
}

/// A picture in a window.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Place {
    /// Left column.
    pub x: usize,
    /// Upper row.
    pub y: usize,
    /// Columns in the window.
    pub width: usize,
    /// Rows in the window.
    pub height: usize,
    /// Columns of the picture.
    pub columns: usize,
    /// Rows of the picture.
    pub rows: usize,
}

impl Place {
    /// The largest place for a picture of these sides, its aspect kept, in the middle of a window.
    pub fn fit(columns: usize, rows: usize, width: usize, height: usize) -> Option<Self> {
        if columns == 0 || rows == 0 || width == 0 || height == 0 {
            return None;
        }
        let (wide, high) = if width * rows <= height * columns {
            (width, (width * rows / columns).max(1))
        } else {
            ((height * columns / rows).max(1), height)
        };
        Some(Self { x: (width - wide) / 2, y: (height - high) / 2, width: wide, height: high, columns, rows })
    }

    /// The pixel of the picture that is shown at a point of the window.
    pub fn pixel(&self, x: f64, y: f64) -> Option<(usize, usize)> {
        let (x, y) = ((x - self.x as f64) / self.width as f64, (y - self.y as f64) / self.height as f64);
        let inside = |share: f64| (0.0..1.0).contains(&share);
        let at = |share: f64, count: usize| ((share * count as f64) as usize).min(count - 1);
        (inside(x) && inside(y)).then(|| (at(x, self.columns), at(y, self.rows)))
    }

    /// The middle of a pixel of the picture, in the window.
    fn middle(&self, (x, y): (usize, usize)) -> (usize, usize) {
        let at = |n: usize, count: usize, side: usize| (2 * n + 1) * side / (2 * count);
        (self.x + at(x, self.columns, self.width), self.y + at(y, self.rows, self.height))
    }
}

/// Columns and rows between text and border, at scale 1.
const MARGIN: usize = 3;
/// Rows from one line to the next, at scale 1.
const LINE: usize = GLYPH_HEIGHT + 3;

impl Layout {
    /// * `width`, `height`: of the window, in pixels.
    /// * `factor`: pixels of the screen to one that a text of ordinary size counts in.
    /// * `room`: lines to keep room for although there may be fewer, so that the picture need not move with each word.
    pub fn new(ui: &Ui, now: Duration, width: usize, height: usize, factor: f64, room: usize) -> Self {
        let factor = if factor.is_finite() { factor.clamp(1.0, 8.0) } else { 1.0 };
        let parts: Vec<(String, Tone)> =
            ui.status(now).into_iter().map(|(text, tone)| (text::spell(&text).collect(), tone)).collect();
        // Large text where there is room for it.
        let wide = width as f64 / factor >= 600.0;
        let mut scale = (factor * if wide { 2.0 } else { 1.0 }).round() as usize;
        let mut lines = wrap(&parts, columns(width, scale));
        while scale > 1 && bar(lines.len(), scale) * 3 > height {
            scale -= 1;
            lines = wrap(&parts, columns(width, scale));
        }
        // Half of a small window is the picture's; what does not fit then is said to be missing.
        let most = (height / 2).saturating_sub(MARGIN) / LINE;
        if lines.len() > most.max(1) {
            lines.truncate(most.max(1));
            if let Some((text, _)) = lines.last_mut().and_then(|line| line.last_mut()) {
                let room = columns(width, scale).saturating_sub(3).min(text.chars().count());
                let kept: String = text.chars().take(room.saturating_sub(3)).collect();
                *text = kept + "...";
            }
        }
        let room = lines.len().max(room.min(most));
        let above = height.saturating_sub(bar(room, scale));
        let sides = ui.frame().map(|frame| (frame.picture.width, frame.picture.height));
        let picture = sides.and_then(|(columns, rows)| Place::fit(columns, rows, width, above));
        Self { width, height, picture, dark: ui.is_stale(now), here: ui.here(now), lines, room, scale }
    }

    /// Draws everything.
    ///
    /// * `pixels`: `width` x `height`, row-major, `0x00RRGGBB`; overwritten whole. Another number of them is left alone.
    pub fn draw(&self, ui: &Ui, pixels: &mut [u32]) {
        if self.width == 0 || pixels.len() != self.width * self.height {
            return;
        }
        pixels.fill(GROUND);
        if let (Some(place), Some(frame)) = (self.picture, ui.frame()) {
            scale_into(&frame.picture, place, self.dark, pixels, self.width);
            if let (Some(here), Some(at)) = (&self.here, ui.pointer()) {
                self.tag(here, place, place.middle(at), pixels);
            }
        }
        let bar = bar(self.room, self.scale).min(self.height);
        let top = self.height - bar;
        let mut layer = Layer::new(self.width, bar);
        for (row, line) in self.lines.iter().enumerate() {
            let y = (MARGIN + row * LINE) * self.scale;
            let mut x = MARGIN * self.scale;
            for (text, tone) in line {
                text::draw(&mut layer.ink, self.width, x, y, self.scale, tone.ink(), text);
                x += (text.chars().count() + GAP) * ADVANCE * self.scale;
            }
        }
        layer.put(pixels, self.width, 0, top);
        match ui.dialog() {
            Dialog::None => {}
            Dialog::Help => self.panel(&HELP.map(|(key, what)| format!("{key:8}{what}")), pixels),
            Dialog::Stop => self.panel(&STOP.map(str::to_owned), pixels),
        }
    }

    /// Writes what is under the pointer beside it: to the lower right if there is room in the picture, clear of the arrow.
    fn tag(&self, here: &Here, place: Place, (x, y): (usize, usize), pixels: &mut [u32]) {
        let scale = self.scale;
        let width = text::width(&here.text, scale) + 2 * MARGIN * scale;
        let height = (GLYPH_HEIGHT + MARGIN) * scale;
        if width > place.width || height > place.height {
            return;
        }
        let gap = POINTER * scale.div_ceil(2);
        let right = (x + gap + width <= place.x + place.width).then_some(x + gap);
        let below = (y + gap + height <= place.y + place.height).then_some(y + gap);
        let left = right.unwrap_or_else(|| x.saturating_sub(gap / 2 + width).max(place.x));
        let top = below.unwrap_or_else(|| y.saturating_sub(gap / 2 + height).max(place.y));
        let mut layer = Layer::new(width, height);
        text::draw(&mut layer.ink, width, MARGIN * scale, 2 * scale, scale, here.tone.ink(), &here.text);
        layer.put(pixels, self.width, left, top);
    }

    /// Lines of text in a box in the middle.
    fn panel(&self, lines: &[String], pixels: &mut [u32]) {
        let columns = lines.iter().map(String::len).max().unwrap_or(0);
        let sides = |scale: usize| {
            ((columns * ADVANCE + 4 * MARGIN) * scale, (lines.len() * LINE + 4 * MARGIN) * scale)
        };
        let fits = |scale: &usize| sides(*scale).0 <= self.width && sides(*scale).1 <= self.height;
        let scale = (1..=self.scale).rev().find(fits).unwrap_or(1);
        let (width, height) = sides(scale);
        let mut layer = Layer::new(width, height);
        for (row, line) in layer.ink.chunks_exact_mut(width).enumerate() {
            let edge = row < scale || row >= height - scale;
            line[..if edge { width } else { scale }].fill(PLAIN);
            line[width - scale..].fill(PLAIN);
        }
        for (row, line) in lines.iter().enumerate() {
            text::draw(
                &mut layer.ink,
                width,
                2 * MARGIN * scale,
                (2 * MARGIN + row * LINE) * scale,
                scale,
                PLAIN,
                line,
            );
        }
        layer.put(
            pixels,
            self.width,
            self.width.saturating_sub(width) / 2,
            self.height.saturating_sub(height) / 2,
        );
    }
}

/// Columns and rows that the arrow of a pointer takes.
const POINTER: usize = 18;

/// Spaces between two parts of the status.
const GAP: usize = 2;

/// Rows of the status at the lower border.
fn bar(lines: usize, scale: usize) -> usize {
    (2 * MARGIN + lines * LINE) * scale
}

/// Characters that a line has room for.
fn columns(width: usize, scale: usize) -> usize {
    (width / scale).saturating_sub(2 * MARGIN) / ADVANCE
}

/// Puts parts into lines of at most so many characters; a part that is longer than a line is cut between words, and a
/// word that is longer than one is cut anywhere.
fn wrap(parts: &[(String, Tone)], columns: usize) -> Vec<Vec<(String, Tone)>> {
    let columns = columns.max(4);
    let mut lines: Vec<Vec<(String, Tone)>> = vec![Vec::new()];
    let mut used = 0;
    for (text, tone) in parts {
        for piece in pieces(text, columns) {
            let length = piece.chars().count();
            if used > 0 && used + length > columns {
                lines.push(Vec::new());
                used = 0;
            }
            used += length + GAP;
            if let Some(line) = lines.last_mut() {
                line.push((piece, *tone));
            }
        }
    }
    lines
}

fn pieces(text: &str, columns: usize) -> Vec<String> {
    if text.chars().count() <= columns {
        return vec![text.to_owned()];
    }
    let mut pieces = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let word: Vec<char> = word.chars().collect();
        for (n, part) in word.chunks(columns).enumerate() {
            let space = usize::from(used > 0 && n == 0);
            if used + space + part.len() > columns {
                pieces.push(String::new());
                used = 0;
            }
            if let Some(piece) = pieces.last_mut() {
                if used > 0 && n == 0 {
                    piece.push(' ');
                    used += 1;
                }
                piece.extend(part);
                used += part.len();
            }
        }
    }
    pieces
}

/// Each pixel of the window is the one of the picture that lies there: colours stay those of the palette, or have a quarter
/// of their light.
fn scale_into(picture: &Picture, place: Place, dark: bool, pixels: &mut [u32], width: usize) {
    let columns: Vec<usize> = (0..place.width).map(|x| x * place.columns / place.width).collect();
    let mut line = vec![0u32; picture.width];
    let mut drawn = None;
    for (y, row) in pixels.chunks_exact_mut(width).skip(place.y).take(place.height).enumerate() {
        let from = y * place.rows / place.height;
        if drawn != Some(from) {
            drawn = Some(from);
            let rgb = &picture.rgb[3 * from * picture.width..][..3 * picture.width];
            for (pixel, rgb) in line.iter_mut().zip(rgb.chunks_exact(3)) {
                let colour = u32::from_be_bytes([0, rgb[0], rgb[1], rgb[2]]);
                *pixel = if dark { colour >> 2 & 0x003f_3f3f } else { colour };
            }
        }
        for (pixel, column) in row[place.x..].iter_mut().zip(&columns) {
            *pixel = line[*column];
        }
    }
}

/// Inks on a dark ground, before they are colours.
struct Layer {
    width: usize,
    ink: Vec<u8>,
}

const PLAIN: u8 = 1;
const GOOD: u8 = 2;
const WARNING: u8 = 3;
/// Colours of the inks, the ground first.
const COLOURS: [u32; 4] = [0x0018_1b20, 0x00d8_dee6, 0x0073_d98c, 0x00ff_b454];

impl Tone {
    fn ink(self) -> u8 {
        match self {
            Self::Good => GOOD,
            Self::Plain => PLAIN,
            Self::Warning => WARNING,
        }
    }
}

/// Where nothing is.
const GROUND: u32 = 0x0008_090b;

impl Layer {
    fn new(width: usize, height: usize) -> Self {
        Self { width, ink: vec![0; width * height] }
    }

    /// Puts it into a window of `width` columns, as far as it is inside.
    fn put(&self, pixels: &mut [u32], width: usize, x: usize, y: usize) {
        if self.width == 0 {
            return;
        }
        for (row, line) in pixels.chunks_exact_mut(width).skip(y).zip(self.ink.chunks_exact(self.width)) {
            for (pixel, ink) in row[x.min(width)..].iter_mut().zip(line) {
                *pixel = COLOURS[usize::from(*ink)];
            }
        }
    }
}

#[cfg(test)]
mod tests;
