//! How the picture is turned, what is hidden from it, and what is written on it.
//!
//! [`View::apply`] changes depth in the slot that the source has just filled, before it is published: what is masked
//! or beyond the clip is then in no representation, because none is made of anything else. [`View::overlay`] writes
//! on the index image only; depth stays a measurement.
//!
//! # Turning
//! `flip = x` mirrors left and right (x becomes 511 - x), `flip = y` top and bottom (y becomes 423 - y), and
//! `rotate = 180` does both. They can be combined in any order: rotated *and* flipped in x is flipped in y. A flip
//! makes a mirror image, a rotation does not. All are their own inverse.
//!
//! # Masks
//! Polygons in output pixels, that is, as seen in the turned picture. A whole number is the *middle* of a pixel:
//! the polygon (0,0) (511,0) (511,423) (0,423) hides everything. Pixels on the border are hidden. Inside is what an
//! odd number of borders separates from the outside, so the middle of a pentagram drawn in one stroke stays visible;
//! what several polygons cover is hidden. A polygon may be concave, cross itself, or reach outside the picture; one
//! of a single point hides that pixel, one of two the pixels exactly on the line between them.

use core::fmt::Write;
use core::ops::Range;

use crate::source::{HEIGHT, PIXELS, WIDTH};
use crate::text;

/// Which axis is mirrored.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Flip {
    /// None.
    #[default]
    None,
    /// Left and right change places.
    X,
    /// Top and bottom change places.
    Y,
}

/// What is asked of a view; the default changes nothing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Spec {
    /// Upside down, for a sensor on the ceiling.
    pub rotate_180: bool,
    /// Mirrored, for a sensor behind a mirror.
    pub flip: Flip,
    /// Millimetres; what is farther away becomes "no return", what is exactly there stays.
    pub clip_mm: Option<u16>,
    /// Polygons of `[x, y]` in output pixels, see "Masks" in the module's docs; values outside the picture are fine.
    pub masks: Vec<Vec<[u16; 2]>>,
    /// Whether clock and sequence number are burnt into pictures.
    pub overlay: bool,
}

/// A [`Spec`] made ready for frames.
#[derive(Clone, Debug)]
pub struct View {
    mirror_x: bool,
    mirror_y: bool,
    /// `u16::MAX` if nothing is clipped.
    clip_mm: u16,
    mask: Mask,
    overlay: bool,
}

impl View {
    /// Draws the masks and allocates their bitmap, 2 bytes for each pixel of the rows in which something is hidden.
    ///
    /// Takes time proportional to the number of polygon sides; never panics, whatever the polygons.
    pub fn new(spec: &Spec) -> Self {
        Self {
            // Two mirrors on one axis cancel out.
            mirror_x: spec.rotate_180 != (spec.flip == Flip::X),
            mirror_y: spec.rotate_180 != (spec.flip == Flip::Y),
            clip_mm: spec.clip_mm.unwrap_or(u16::MAX),
            mask: Mask::new(&spec.masks),
            overlay: spec.overlay,
        }
    }

    /// Turns one depth image, then hides what is beyond the clip and what is masked.
    ///
    /// * `depth`: millimetres, row-major, 424 rows × 512 columns; changed in place. What is hidden becomes 0.
    ///
    /// Never allocates. Does only what the spec asks; the default returns at once.
    ///
    /// # Panics
    /// If `depth` has another length: a mask in the wrong place would show what must not be seen.
    pub fn apply(&self, depth: &mut [u16]) {
        assert_eq!(depth.len(), PIXELS, "a view is made for {HEIGHT} rows of {WIDTH} pixels");
        self.turn(depth);
        let (above, rest) = depth.split_at_mut(self.mask.pixels.start);
        let (masked, below) = rest.split_at_mut(self.mask.keep.len());
        if self.clip_mm == u16::MAX {
            for (d, keep) in masked.iter_mut().zip(&self.mask.keep) {
                *d &= keep;
            }
            return;
        }
        clip(above, self.clip_mm);
        clip(below, self.clip_mm);
        let clip_mm = self.clip_mm;
        for (d, keep) in masked.iter_mut().zip(&self.mask.keep) {
            // `and` before the choice: a read of `keep` on one branch only would not vectorise.
            let kept = *d & keep;
            *d = if *d > clip_mm { 0 } else { kept };
        }
    }

    /// Turns the infrared picture of a frame and hides in it what is masked and, where there is a clip, all that is not known
    /// to be within: what has no depth may be beyond.
    ///
    /// * `infrared`: row-major, 424 rows × 512 columns; changed in place. What is hidden becomes 0.
    /// * `depth`: of the same frame, after [`View::apply`].
    ///
    /// Never allocates.
    ///
    /// # Panics
    /// If either has another length, as [`View::apply`].
    pub fn apply_infrared(&self, infrared: &mut [u16], depth: &[u16]) {
        let lengths = (infrared.len(), depth.len());
        assert_eq!(lengths, (PIXELS, PIXELS), "a view is made for {HEIGHT} rows of {WIDTH} pixels");
        self.turn(infrared);
        let masked = &mut infrared[self.mask.pixels.clone()];
        for (ir, keep) in masked.iter_mut().zip(&self.mask.keep) {
            *ir &= keep;
        }
        if self.clip_mm != u16::MAX {
            for (ir, mm) in infrared.iter_mut().zip(depth) {
                *ir = if *mm == 0 { 0 } else { *ir };
            }
        }
    }

    fn turn(&self, image: &mut [u16]) {
        match (self.mirror_x, self.mirror_y) {
            (false, false) => {}
            (true, false) => image.chunks_exact_mut(WIDTH).for_each(<[u16]>::reverse),
            (false, true) => {
                let (top, bottom) = image.split_at_mut(PIXELS / 2);
                for (a, b) in top.chunks_exact_mut(WIDTH).zip(bottom.chunks_exact_mut(WIDTH).rev()) {
                    a.swap_with_slice(b);
                }
            }
            (true, true) => image.reverse(),
        }
    }

    /// The principal point of the output, given the sensor's; both in pixels, whole numbers being pixel centres.
    ///
    /// The focal lengths fx, fy and the radial terms k1 to k3 stay as they are. Of the tangential terms, the one that
    /// is odd along a mirrored axis changes its sign: p2 with x, p1 with y; see [`View::mirrors`].
    pub fn intrinsics(&self, cx: f32, cy: f32) -> (f32, f32) {
        // 511 and 423 are exact in f32.
        (
            if self.mirror_x { (WIDTH - 1) as f32 - cx } else { cx },
            if self.mirror_y { (HEIGHT - 1) as f32 - cy } else { cy },
        )
    }

    /// Whether x and y are mirrored in the end, rotation included.
    pub fn mirrors(&self) -> (bool, bool) {
        (self.mirror_x, self.mirror_y)
    }

    /// Whether [`View::overlay`] writes anything.
    pub fn has_overlay(&self) -> bool {
        self.overlay
    }

    /// Burns clock and sequence number into the lower left corner, bright in a dark box, if the spec asks for it.
    ///
    /// * `index`: indices into the JET palette, row-major, 424 rows × 512 columns.
    /// * `seq`: the frame's sequence number.
    /// * `clock`: its capture time, as the caller wants it read; what does not fit is cut.
    ///
    /// Never allocates, never panics, whatever the length of `index`.
    pub fn overlay(&self, index: &mut [u8], seq: u64, clock: &str) {
        if !self.overlay {
            return;
        }
        let mut number = heapless::String::<24>::new();
        // A mark and the twenty digits of the largest u64 at most.
        let _ = write!(number, "#{seq}");
        let clock_x = PADDING;
        let number_x = clock_x.saturating_add(text::width(clock, SCALE)).saturating_add(GAP);
        let right = number_x.saturating_add(text::width(&number, SCALE)).saturating_add(PADDING);
        for row in index.chunks_exact_mut(WIDTH).skip(BOX_TOP) {
            row[..right.min(WIDTH)].fill(PAPER);
        }
        text::draw(index, WIDTH, clock_x, BOX_TOP + PADDING, SCALE, INK, clock);
        text::draw(index, WIDTH, number_x, BOX_TOP + PADDING, SCALE, INK, &number);
    }
}

/// What is hidden, for the rows from the first to the last in which something is.
#[derive(Clone, Debug)]
struct Mask {
    /// The pixels for which `keep` stands; whole rows.
    pixels: Range<usize>,
    /// All ones where the pixel stays, 0 where it is hidden: one `and` a pixel, which vectorises.
    keep: Box<[u16]>,
}

impl Mask {
    fn new(polygons: &[Vec<[u16; 2]>]) -> Self {
        let rows = polygons.iter().filter_map(|polygon| rows(polygon));
        let rows = rows.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end)).unwrap_or(0..0);
        let mut keep = vec![u16::MAX; rows.len() * WIDTH].into_boxed_slice();
        for polygon in polygons {
            hide(polygon, rows.start, &mut keep);
        }
        Self { pixels: rows.start * WIDTH..rows.end * WIDTH, keep }
    }
}

/// The rows of the picture that a polygon reaches, if any.
fn rows(polygon: &[[u16; 2]]) -> Option<Range<usize>> {
    let top = polygon.iter().map(|&[_, y]| usize::from(y)).min()?;
    let bottom = polygon.iter().map(|&[_, y]| usize::from(y)).max()?;
    (top < HEIGHT).then(|| top..(bottom + 1).min(HEIGHT))
}

/// Clears the pixels of one polygon in `keep`, whose first row is row `first` of the picture.
///
/// Row by row: a side that crosses the row toggles "inside" for all pixels to its right, and pixels that lie on a
/// side are marked apart. Whole numbers throughout, so that nothing depends on rounding.
fn hide(polygon: &[[u16; 2]], first: usize, keep: &mut [u16]) {
    for y in rows(polygon).unwrap_or(0..0) {
        let mut toggle = [false; WIDTH];
        let row = &mut keep[(y - first) * WIDTH..][..WIDTH];
        let next = polygon.iter().cycle().skip(1);
        for (a, b) in polygon.iter().zip(next) {
            let (upper, lower) = if a[1] <= b[1] { (a, b) } else { (b, a) };
            let [[x0, y0], [x1, y1]] = [*upper, *lower].map(|p| p.map(i64::from));
            let from_top = y as i64 - y0;
            let height = y1 - y0;
            if !(0..=height).contains(&from_top) {
                continue;
            }
            if height == 0 {
                let (left, right) = (a[0].min(b[0]).into(), usize::from(a[0].max(b[0])) + 1);
                row[WIDTH.min(left)..WIDTH.min(right)].fill(0);
                continue;
            }
            // x = x0 + from_top / height * (x1 - x0), between the two and thus never below 0.
            let numerator = x0 * height + from_top * (x1 - x0);
            let x = usize::try_from(numerator / height).unwrap_or(WIDTH);
            if x < WIDTH && numerator % height == 0 {
                row[x] = 0;
            }
            // Without its lower end, or a corner in the row would count twice.
            if x + 1 < WIDTH && from_top < height {
                toggle[x + 1] ^= true;
            }
        }
        let mut inside = false;
        for (keep, toggle) in row.iter_mut().zip(toggle) {
            inside ^= toggle;
            if inside {
                *keep = 0;
            }
        }
    }
}

/// Sets to 0 what is above `clip_mm`.
fn clip(depth: &mut [u16], clip_mm: u16) {
    for d in depth {
        *d = if *d > clip_mm { 0 } else { *d };
    }
}

/// Dark blue in JET: the colour of what is near, or not there at all.
const PAPER: u8 = 0;
/// Yellow in JET.
const INK: u8 = 160;
const SCALE: usize = 2;
/// Pixels between the text and the edge of its box.
const PADDING: usize = 4;
/// Columns between clock and number.
const GAP: usize = 2 * text::ADVANCE * SCALE;
/// First row of the box; it ends with the picture.
const BOX_TOP: usize = HEIGHT - text::GLYPH_HEIGHT * SCALE - 2 * PADDING;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: &str = "2020-11-10 13:55:34";

    /// Every pixel tells where it came from, and none is 0; neighbouring rows differ.
    fn marked() -> Vec<u16> {
        (0..PIXELS).map(|i| u16::try_from(i % 65_521 + 1).expect("small")).collect()
    }

    fn applied(spec: &Spec, depth: &[u16]) -> Vec<u16> {
        let mut depth = depth.to_vec();
        View::new(spec).apply(&mut depth);
        depth
    }

    fn turned(rotate_180: bool, flip: Flip) -> Spec {
        Spec { rotate_180, flip, ..Spec::default() }
    }

    fn masked(masks: &[&[[u16; 2]]]) -> Spec {
        Spec { masks: masks.iter().map(|polygon| polygon.to_vec()).collect(), ..Spec::default() }
    }

    /// The pixels that a spec hides, as `[x, y]`, row by row.
    fn hidden(spec: &Spec) -> Vec<[u16; 2]> {
        let depth = applied(spec, &vec![1; PIXELS]);
        let gone = depth.iter().enumerate().filter(|(_, d)| **d == 0);
        gone.map(|(i, _)| [i % WIDTH, i / WIDTH].map(|n| u16::try_from(n).expect("small"))).collect()
    }

    /// The upper left corner of what a polygon hides, `#` for hidden.
    fn art(polygon: &[[u16; 2]], width: usize, height: usize) -> Vec<String> {
        let depth = applied(&masked(&[polygon]), &vec![1; PIXELS]);
        let row = |row: &[u16]| row[..width].iter().map(|d| if *d == 0 { '#' } else { '.' }).collect();
        depth.chunks(WIDTH).take(height).map(row).collect()
    }

    #[test]
    fn infrared_shows_nothing_that_depth_hides() {
        let spec = Spec {
            rotate_180: true,
            clip_mm: Some(3000),
            masks: vec![vec![[0, 0], [511, 0], [511, 9], [0, 9]]],
            ..Spec::default()
        };
        let view = View::new(&spec);
        let source: Vec<u16> = (0..PIXELS).map(|i| [0, 2000, 4000][i % 3]).collect();
        let marks = marked();
        let (mut depth, mut infrared) = (source.clone(), marks.clone());
        view.apply(&mut depth);
        view.apply_infrared(&mut infrared, &depth);
        for (at, ir) in infrared.iter().enumerate() {
            let from = PIXELS - 1 - at;
            let seen = at >= 10 * WIDTH && source[from] == 2000;
            assert_eq!(*ir, if seen { marks[from] } else { 0 }, "pixel {at}");
        }
        // Without a clip what has no depth is seen all the same: there is nothing to hide but what is masked.
        let view = View::new(&Spec { clip_mm: None, ..spec });
        let mut infrared = marked();
        view.apply_infrared(&mut infrared, &vec![0; PIXELS]);
        assert_eq!(infrared.iter().filter(|ir| **ir == 0).count(), 10 * WIDTH);
    }

    #[test]
    fn the_default_changes_nothing() {
        assert_eq!(applied(&Spec::default(), &marked()), marked());
        assert_eq!(View::new(&Spec::default()).mask.keep.len(), 0, "memory for no mask");
    }

    #[test]
    fn corners_go_where_the_docs_say() {
        let mut depth = vec![0; PIXELS];
        // Clockwise from the upper left.
        let corners = [0, WIDTH - 1, PIXELS - 1, PIXELS - WIDTH];
        for (mark, at) in (1..).zip(corners) {
            depth[at] = mark;
        }
        for (rotate, flip, expected) in [
            (false, Flip::None, [1, 2, 3, 4]),
            (false, Flip::X, [2, 1, 4, 3]),
            (false, Flip::Y, [4, 3, 2, 1]),
            (true, Flip::None, [3, 4, 1, 2]),
            (true, Flip::X, [4, 3, 2, 1]),
            (true, Flip::Y, [2, 1, 4, 3]),
        ] {
            let depth = applied(&turned(rotate, flip), &depth);
            assert_eq!(corners.map(|at| depth[at]), expected, "{rotate} {flip:?}");
        }
    }

    /// Which pixel of the source is shown at pixel (`x`, `y`) of the output, and the other way round: turning is its own
    /// inverse.
    fn source_pixel(view: &View, x: usize, y: usize) -> (usize, usize) {
        let (mirror_x, mirror_y) = view.mirrors();
        (if mirror_x { WIDTH - 1 - x } else { x }, if mirror_y { HEIGHT - 1 - y } else { y })
    }

    #[test]
    fn turning_agrees_with_the_mapping_and_the_principal_point_follows() {
        for rotate in [false, true] {
            for flip in [Flip::None, Flip::X, Flip::Y] {
                let spec = turned(rotate, flip);
                let view = View::new(&spec);
                let (before, after) = (marked(), applied(&spec, &marked()));
                for (i, d) in after.iter().enumerate() {
                    let (x, y) = source_pixel(&view, i % WIDTH, i / WIDTH);
                    assert_eq!(*d, before[y * WIDTH + x], "pixel {i}, {spec:?}");
                }
                let (x, y) = source_pixel(&view, 100, 7);
                assert_eq!(view.intrinsics(x as f32, y as f32), (100.0, 7.0));
                assert_eq!(view.intrinsics(255.5, 211.5), (255.5, 211.5), "the middle stays");
                assert_eq!(source_pixel(&view, x, y), (100, 7));
            }
        }
        let (cx, cy) = View::new(&turned(false, Flip::X)).intrinsics(258.25, 206.5);
        assert_eq!((cx, cy), (252.75, 206.5));
    }

    #[test]
    fn two_flips_are_a_rotation_and_two_rotations_nothing() {
        let x = applied(&turned(false, Flip::X), &marked());
        let xy = applied(&turned(false, Flip::Y), &x);
        let rotated = applied(&turned(true, Flip::None), &marked());
        assert!(xy == rotated);
        assert!(applied(&turned(true, Flip::None), &rotated) == marked());
    }

    #[test]
    fn a_mask_stays_where_it_is_when_the_picture_turns() {
        let mut spec = masked(&[&[[10, 20], [30, 20], [30, 40], [10, 40]]]);
        let plain = hidden(&spec);
        assert_eq!((plain.len(), plain[0], plain[plain.len() - 1]), (21 * 21, [10, 20], [30, 40]));
        spec.rotate_180 = true;
        assert_eq!(hidden(&spec), plain);
    }

    #[test]
    fn polygons_look_like_this() {
        let square = [[1, 1], [4, 1], [4, 3], [1, 3]];
        assert_eq!(art(&square, 6, 5), ["......", ".####.", ".####.", ".####.", "......"]);
        let triangle = [[0, 0], [4, 0], [0, 4]];
        assert_eq!(art(&triangle, 6, 6), ["#####.", "####..", "###...", "##....", "#.....", "......"]);
        let concave = [[0, 0], [6, 0], [6, 4], [4, 4], [4, 2], [2, 2], [2, 4], [0, 4]];
        assert_eq!(art(&concave, 8, 6)[1..5], ["#######.", "#######.", "###.###.", "###.###."]);
        let bow_tie = [[0, 0], [4, 4], [4, 0], [0, 4]];
        assert_eq!(art(&bow_tie, 6, 6), ["#...#.", "##.##.", "#####.", "##.##.", "#...#.", "......"]);
        let ring = [[0, 0], [6, 0], [6, 6], [0, 6], [0, 0], [2, 2], [2, 4], [4, 4], [4, 2], [2, 2]];
        assert_eq!(art(&ring, 8, 8)[3], "###.###.", "a hole has a border too");
    }

    #[test]
    fn a_point_is_a_pixel_and_a_line_the_pixels_on_it() {
        assert_eq!(hidden(&masked(&[&[]])), [[0; 2]; 0]);
        assert_eq!(hidden(&masked(&[&[[7, 9]]])), [[7, 9]]);
        assert_eq!(hidden(&masked(&[&[[7, 9], [7, 9], [7, 9]]])), [[7, 9]]);
        assert_eq!(hidden(&masked(&[&[[0, 0], [4, 2]]])), [[0, 0], [2, 1], [4, 2]]);
        assert_eq!(hidden(&masked(&[&[[9, 1], [7, 1]]])), [[7, 1], [8, 1], [9, 1]]);
    }

    #[test]
    fn extremes_do_not_panic() {
        let max = u16::MAX;
        assert_eq!(hidden(&masked(&[&[[0, 0], [511, 0], [511, 423], [0, 423]]])).len(), PIXELS);
        assert_eq!(hidden(&masked(&[&[[0, 0], [max, 0], [max, max], [0, max]]])).len(), PIXELS);
        assert_eq!(hidden(&masked(&[&[[512, 0], [max, 0], [max, max]], &[[0, 424], [9, max]]])), [[0; 2]; 0]);
        assert_eq!(hidden(&masked(&[&[[511, 423], [max, max]]])), [[511, 423]]);
    }

    #[test]
    fn what_is_at_the_clip_stays() {
        let depth: Vec<u16> = (0..PIXELS).map(|i| i as u16).collect();
        let spec = Spec { clip_mm: Some(4500), ..Spec::default() };
        for (before, after) in depth.iter().zip(applied(&spec, &depth)) {
            assert_eq!(after, if *before <= 4500 { *before } else { 0 });
        }
        assert!(applied(&Spec { clip_mm: Some(0), ..spec.clone() }, &depth).iter().all(|d| *d == 0));
        assert!(applied(&Spec { clip_mm: Some(u16::MAX), ..spec }, &depth) == depth);
    }

    #[test]
    #[should_panic(expected = "424 rows of 512 pixels")]
    fn a_picture_of_another_size_is_refused() {
        View::new(&Spec::default()).apply(&mut [0; 100]);
    }

    #[test]
    fn the_overlay_keeps_to_its_box() {
        let before: Vec<u8> = (0..PIXELS).map(|i| (i % 251) as u8).collect();
        let mut off = before.clone();
        View::new(&Spec::default()).overlay(&mut off, 1, NOW);
        assert!(off == before);

        let view = View::new(&Spec { overlay: true, ..Spec::default() });
        let on = |seq, clock: &str| {
            let mut index = before.clone();
            view.overlay(&mut index, seq, clock);
            index
        };
        let image = on(4711, NOW);
        let right = 2 * PADDING + text::width(NOW, SCALE) + GAP + text::width("#4711", SCALE);
        for (i, pixel) in image.iter().enumerate() {
            if i / WIDTH < BOX_TOP || i % WIDTH >= right {
                assert_eq!(*pixel, before[i], "pixel {i} is outside the box");
            } else {
                let edge =
                    i / WIDTH < BOX_TOP + PADDING || i % WIDTH < PADDING || i % WIDTH >= right - PADDING;
                assert!(*pixel == PAPER || *pixel == INK && !edge, "pixel {i}");
            }
        }
        assert_ne!(image, on(4712, NOW));
        assert_ne!(image, on(4711, "2020-11-10 13:55:35"));
    }

    #[test]
    fn the_longest_overlay_fits_and_odd_ones_do_no_harm() {
        let widest =
            2 * PADDING + text::width(NOW, SCALE) + GAP + text::width(&format!("#{}", u64::MAX), SCALE);
        assert!(widest <= WIDTH, "{widest} columns");
        let view = View::new(&Spec { overlay: true, ..Spec::default() });
        for length in [0, 1, WIDTH, PIXELS - 1, PIXELS, PIXELS + 7] {
            let mut index = vec![9; length];
            view.overlay(&mut index, u64::MAX, &"é\n".repeat(500));
            assert!(index[..length.min(BOX_TOP * WIDTH)].iter().all(|pixel| *pixel == 9));
        }
    }

    /// Positive if `p` is left of the line from `a` to `b`, 0 if it is on it.
    fn side(a: [u16; 2], b: [u16; 2], p: [u16; 2]) -> i64 {
        let [[ax, ay], [bx, by], [px, py]] = [a, b, p].map(|q| q.map(i64::from));
        (bx - ax) * (py - ay) - (by - ay) * (px - ax)
    }

    fn within(a: u16, b: u16, p: u16) -> bool {
        (a.min(b)..=a.max(b)).contains(&p)
    }

    /// Even-odd by a ray downwards, where the module's goes to the left; or on a side.
    fn covers(polygon: &[[u16; 2]], p: [u16; 2]) -> bool {
        let mut inside = false;
        for i in 0..polygon.len() {
            let (a, b) = (polygon[i], polygon[(i + 1) % polygon.len()]);
            let side = side(a, b, p);
            if side == 0 && within(a[0], b[0], p[0]) && within(a[1], b[1], p[1]) {
                return true;
            }
            if (a[0] <= p[0]) != (b[0] <= p[0]) && (side > 0) == (a[0] < b[0]) {
                inside = !inside;
            }
        }
        inside
    }

    fn pixels() -> impl Iterator<Item = [u16; 2]> {
        (0..424).flat_map(|y| (0..512).map(move |x| [x, y]))
    }

    /// Mostly about the picture, often on few columns and rows, where sides meet pixels exactly.
    fn corner() -> impl Strategy<Value = [u16; 2]> {
        prop_oneof![
            [0_u16..700, 0_u16..600],
            [0_u16..12, 0_u16..12].prop_map(|[x, y]| [x * 40 + 20, y * 40]),
            [0_u16..16, 0_u16..16],
            any::<[u16; 2]>(),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn a_triangle_is_what_is_on_one_side_of_all_sides(corners in [corner(), corner(), corner()]) {
            let [a, b, c] = corners;
            let depth = applied(&masked(&[&corners]), &vec![1; PIXELS]);
            for (p, d) in pixels().zip(depth) {
                let sides = [side(a, b, p), side(b, c, p), side(c, a, p)];
                let one_side = sides.iter().all(|s| *s >= 0) || sides.iter().all(|s| *s <= 0);
                // For three points on a line, all of the line is on one side.
                let inside = one_side && [0, 1].iter().all(|&i| {
                    let (low, high) = (a[i].min(b[i]).min(c[i]), a[i].max(b[i]).max(c[i]));
                    (low..=high).contains(&p[i])
                });
                prop_assert_eq!(d == 0, inside, "{:?}", p);
            }
        }

        #[test]
        fn any_polygons_hide_what_an_independent_test_says_and_nothing_else(
            masks in prop::collection::vec(prop::collection::vec(corner(), 0..8), 0..3),
        ) {
            let before = marked();
            let after = applied(&Spec { masks: masks.clone(), ..Spec::default() }, &before);
            for (i, p) in pixels().enumerate() {
                let inside = masks.iter().any(|polygon| covers(polygon, p));
                prop_assert_eq!(after[i], if inside { 0 } else { before[i] }, "{:?}", p);
            }
        }

        #[test]
        fn all_at_once_is_turn_then_clip_then_mask(
            rotate_180: bool,
            flip in prop::sample::select(vec![Flip::None, Flip::X, Flip::Y]),
            clip_mm: Option<u16>,
            mask in prop::collection::vec(corner(), 0..6),
        ) {
            let spec = Spec { rotate_180, flip, clip_mm, masks: vec![mask.clone()], overlay: false };
            let step = applied(&turned(rotate_180, flip), &marked());
            let step = applied(&Spec { clip_mm, ..Spec::default() }, &step);
            let step = applied(&masked(&[&mask]), &step);
            prop_assert!(applied(&spec, &marked()) == step);
        }
    }
}
