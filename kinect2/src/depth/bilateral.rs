//! The bilateral filter: vectors smoothed with the neighbours that resemble them.

use super::kernels::{NotEdge, Units, Vectors, each_plane};
use super::params::*;
use super::simd::{Float, Mask, PLANE, Row, Simd};

/// How much each pixel of a row resembles a neighbour: the exponentials of the bilateral filter. The relation is mutual,
/// so four of the eight directions are enough.
#[derive(Clone)]
pub(super) struct Likeness {
    right: Row<f32>,
    down_left: Row<f32>,
    down: Row<f32>,
    down_right: Row<f32>,
}

impl Likeness {
    pub(super) const ZERO: Self = Likeness {
        right: Row::filled(0.0),
        down_left: Row::filled(0.0),
        down: Row::filled(0.0),
        down_right: Row::filled(0.0),
    };
}

/// `exp(-DISTANCE_DECAY · distance)` of two unit vectors with this cosine between them, for -1 to 1: the eighth power of a
/// polynomial, within 3e-6.
#[inline(always)]
fn likeness<S: Simd>(s: S, cosine: S::F) -> S::F {
    const TERMS: [f32; 6] =
        [0.637_091_6, 0.287_227_24, 0.064_743_13, 0.009_731_766, 0.001_107_733_3, 0.000_098_172_284];
    let mut root = s.splat(TERMS[5]);
    root = root.mul_add(cosine, s.splat(TERMS[4]));
    root = root.mul_add(cosine, s.splat(TERMS[3]));
    root = root.mul_add(cosine, s.splat(TERMS[2]));
    root = root.mul_add(cosine, s.splat(TERMS[1]));
    root = root.mul_add(cosine, s.splat(TERMS[0]));
    root = root * root;
    root = root * root;
    root * root
}

/// The likeness of each pixel of a row to its right neighbour.
#[inline(always)]
pub(super) fn like_right<S: Simd>(s: S, row: &Units, out: &mut Likeness) {
    each_plane!(J, {
        let (a, b) = (row.a.plane(J), row.b.plane(J));
        let (right_a, right_b) = (row.a.right(J), row.b.right(J));
        let out = out.right.plane_mut(J);
        let mut i = 0;
        while i < PLANE {
            let cosine = s.load(a, i).mul_add(s.load(right_a, i), s.load(b, i) * s.load(right_b, i));
            s.store(likeness(s, cosine), out, i);
            i += S::N;
        }
    });
}

/// The likeness of each pixel of a row to its three neighbours in the row below.
#[inline(always)]
pub(super) fn like_down<S: Simd>(s: S, row: &Units, below: &Units, out: &mut Likeness) {
    each_plane!(J, {
        let (a, b) = (row.a.plane(J), row.b.plane(J));
        let (left_a, left_b) = (below.a.left(J), below.b.left(J));
        let (down_a, down_b) = (below.a.plane(J), below.b.plane(J));
        let (right_a, right_b) = (below.a.right(J), below.b.right(J));
        let mut i = 0;
        while i < PLANE {
            let (a, b) = (s.load(a, i), s.load(b, i));
            let left = a.mul_add(s.load(left_a, i), b * s.load(left_b, i));
            let down = a.mul_add(s.load(down_a, i), b * s.load(down_b, i));
            let right = a.mul_add(s.load(right_a, i), b * s.load(right_b, i));
            s.store(likeness(s, left), out.down_left.plane_mut(J), i);
            s.store(likeness(s, down), out.down.plane_mut(J), i);
            s.store(likeness(s, right), out.down_right.plane_mut(J), i);
            i += S::N;
        }
    });
}

/// Sums over three rows of the strong unit vectors and of their number; see `strong_centre`.
#[derive(Clone)]
pub(super) struct Columns {
    a: Row<f32>,
    b: Row<f32>,
    count: Row<f32>,
}

impl Columns {
    pub(super) const ZERO: Self =
        Columns { a: Row::filled(0.0), b: Row::filled(0.0), count: Row::filled(0.0) };
}

#[inline(always)]
fn columns<S: Simd>(s: S, units: [&Units; 3], out: &mut Columns) {
    let one = s.splat(1.0);
    each_plane!(J, {
        let mut i = 0;
        while i < PLANE {
            let [m0, m1, m2] = [
                s.load_mask(units[0].strong.plane(J), i),
                s.load_mask(units[1].strong.plane(J), i),
                s.load_mask(units[2].strong.plane(J), i),
            ];
            let a = s.load(units[0].a.plane(J), i).only(m0)
                + s.load(units[1].a.plane(J), i).only(m1)
                + s.load(units[2].a.plane(J), i).only(m2);
            let b = s.load(units[0].b.plane(J), i).only(m0)
                + s.load(units[1].b.plane(J), i).only(m1)
                + s.load(units[2].b.plane(J), i).only(m2);
            s.store(a, out.a.plane_mut(J), i);
            s.store(b, out.b.plane_mut(J), i);
            s.store(one.only(m0) + one.only(m1) + one.only(m2), out.count.plane_mut(J), i);
            i += S::N;
        }
    });
}

/// What the filter looks at for a row.
#[derive(Clone, Copy)]
struct Window<'a> {
    /// The row above, the row, the row below.
    vectors: [&'a Vectors; 3],
    units: [&'a Units; 3],
    /// Of the row above and of the row.
    like: [&'a Likeness; 2],
    columns: &'a Columns,
}

/// What becomes of a vector of pixels, and, a bit each, which of them are off edges.
type Filtered<F> = (F, F, u8);

/// The bilateral filter of one row and frequency.
///
/// * `vectors`, `units`: the row above, the row, the row below.
/// * `like`: of the row above and of the row.
/// * `not_edge`: ANDed with this frequency's verdict.
#[inline(always)]
pub(super) fn bilateral<S: Simd>(
    s: S,
    vectors: [&Vectors; 3],
    units: [&Units; 3],
    like: [&Likeness; 2],
    scratch: &mut Columns,
    out: &mut Vectors,
    not_edge: &mut NotEdge,
) {
    columns(s, units, scratch);
    let window = Window { vectors, units, like, columns: scratch };
    each_plane!(J, {
        let mut i = 0;
        while i < PLANE {
            let strong = s.load_mask(units[1].strong.plane(J), i);
            let (mut out_a, mut out_b, mut off_edge) = (s.splat(0.0), s.splat(0.0), 0);
            if strong.any() {
                (out_a, out_b, off_edge) = strong_centre(s, window, J, i);
                off_edge &= s.bits(strong);
            }
            if !strong.all() {
                let (weak_a, weak_b, weak_off_edge) = weak_centre(s, window, J, i);
                out_a = out_a.or(strong, weak_a);
                out_b = out_b.or(strong, weak_b);
                off_edge |= weak_off_edge & !s.bits(strong);
            }
            s.store(out_a, out.a.plane_mut(J), i);
            s.store(out_b, out.b.plane_mut(J), i);
            not_edge[(J * PLANE + i) / S::N] &= off_edge;
            i += S::N;
        }
    });
}

/// The filter where the centre is strong: its strong neighbours count by their likeness to it.
///
/// A distance is half of 1 minus a cosine, so the sum over the strong neighbours is half their number minus the
/// product of the centre with the sum of their unit vectors: no exponential, and sums by rows.
#[inline(always)]
fn strong_centre<S: Simd>(s: S, window: Window<'_>, j: usize, i: usize) -> Filtered<S::F> {
    let [up, row, down] = window.vectors;
    let [unit_up, unit, unit_down] = window.units;
    let [like_up, like] = window.like;
    let (a, b) = (s.load(row.a.plane(j), i), s.load(row.b.plane(j), i));
    let (unit_a, unit_b) = (s.load(unit.a.plane(j), i), s.load(unit.b.plane(j), i));
    let (mut side_w, mut side_a, mut side_b) = (s.splat(0.0), s.splat(0.0), s.splat(0.0));
    let (mut corner_w, mut corner_a, mut corner_b) = (side_w, side_a, side_b);
    // Adds the neighbour that `$at` finds in a row, if it is strong.
    macro_rules! add {
        ($w:ident, $a:ident, $b:ident, $like:expr, $units:expr, $vectors:expr, $at:ident) => {
            let like = s.load($like, i).only(s.load_mask($units.strong.$at(j), i));
            $w = $w + like;
            $a = like.mul_add(s.load($vectors.a.$at(j), i), $a);
            $b = like.mul_add(s.load($vectors.b.$at(j), i), $b);
        };
    }
    add!(corner_w, corner_a, corner_b, like_up.down_right.left(j), unit_up, up, left);
    add!(side_w, side_a, side_b, like_up.down.plane(j), unit_up, up, plane);
    add!(corner_w, corner_a, corner_b, like_up.down_left.right(j), unit_up, up, right);
    add!(side_w, side_a, side_b, like.right.left(j), unit, row, left);
    add!(side_w, side_a, side_b, like.right.plane(j), unit, row, right);
    add!(corner_w, corner_a, corner_b, like.down_left.plane(j), unit_down, down, left);
    add!(side_w, side_a, side_b, like.down.plane(j), unit_down, down, plane);
    add!(corner_w, corner_a, corner_b, like.down_right.plane(j), unit_down, down, right);
    let (corner, side, centre) = (s.splat(GAUSS_CORNER), s.splat(GAUSS_SIDE), s.splat(GAUSS_CENTRE));
    let weight = corner_w.mul_add(corner, side_w.mul_add(side, centre));
    let reciprocal = s.splat(1.0) / weight;
    let out_a = corner_a.mul_add(corner, side_a.mul_add(side, a * centre)) * reciprocal;
    let out_b = corner_b.mul_add(corner, side_b.mul_add(side, b * centre)) * reciprocal;

    macro_rules! sum {
        ($field:ident) => {
            s.load(window.columns.$field.left(j), i)
                + s.load(window.columns.$field.plane(j), i)
                + s.load(window.columns.$field.right(j), i)
        };
    }
    // The centre itself adds 1 to the number and 1 to the product.
    let along = unit_a.mul_add(sum!(a), unit_b * sum!(b));
    let distances = s.splat(0.5) * (sum!(count) - along);
    (out_a, out_b, s.bits(distances.lt(s.splat(MAX_EDGE))))
}

/// The filter where the centre is weak: it takes all neighbours alike. One without length, or the centre itself, spoils it.
#[inline(always)]
fn weak_centre<S: Simd>(s: S, window: Window<'_>, j: usize, i: usize) -> Filtered<S::F> {
    let [up, row, down] = window.vectors;
    let [unit_up, unit, unit_down] = window.units;
    let (a, b) = (s.load(row.a.plane(j), i), s.load(row.b.plane(j), i));
    let (unit_a, unit_b) = (s.load(unit.a.plane(j), i), s.load(unit.b.plane(j), i));
    let (mut side_a, mut side_b) = (s.splat(0.0), s.splat(0.0));
    let (mut corner_a, mut corner_b) = (side_a, side_b);
    let (mut sum_a, mut sum_b) = (unit_a, unit_b);
    let mut lengths = unit_a.mul_add(unit_a, unit_b * unit_b);
    macro_rules! add {
        ($a:ident, $b:ident, $units:expr, $vectors:expr, $at:ident) => {
            $a = $a + s.load($vectors.a.$at(j), i);
            $b = $b + s.load($vectors.b.$at(j), i);
            let (unit_a, unit_b) = (s.load($units.a.$at(j), i), s.load($units.b.$at(j), i));
            sum_a = sum_a + unit_a;
            sum_b = sum_b + unit_b;
            lengths = unit_a.mul_add(unit_a, unit_b.mul_add(unit_b, lengths));
        };
    }
    add!(corner_a, corner_b, unit_up, up, left);
    add!(side_a, side_b, unit_up, up, plane);
    add!(corner_a, corner_b, unit_up, up, right);
    add!(side_a, side_b, unit, row, left);
    add!(side_a, side_b, unit, row, right);
    add!(corner_a, corner_b, unit_down, down, left);
    add!(side_a, side_b, unit_down, down, plane);
    add!(corner_a, corner_b, unit_down, down, right);
    const WHOLE: f32 = 1.0 / (4.0 * GAUSS_CORNER + 4.0 * GAUSS_SIDE + GAUSS_CENTRE);
    let corner = s.splat(GAUSS_CORNER * WHOLE);
    let (side, centre) = (s.splat(GAUSS_SIDE * WHOLE), s.splat(GAUSS_CENTRE * WHOLE));
    let whole = s.splat(8.5).lt(lengths);
    let out_a = corner_a.mul_add(corner, side_a.mul_add(side, a * centre)).only(whole);
    let out_b = corner_b.mul_add(corner, side_b.mul_add(side, b * centre)).only(whole);
    let distances = s.splat(0.5) * (s.splat(9.0) - unit_a.mul_add(sum_a, unit_b * sum_b));
    (out_a, out_b, s.bits(distances.lt(s.splat(MAX_EDGE)).and(whole)))
}
