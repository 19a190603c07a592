//! The arithmetic of a row, for vectors of any width. What it computes is said in `scalar`; what is said here is how.

use super::params::*;
use super::simd::{Float, Mask, PLANE, Row, Simd};
use super::{Settings, WIDTH};

/// Stands for nothing where a reciprocal is taken: its root is a number, and no measured vector is as short.
const TINY: f32 = 1e-30;
/// Farther than any depth.
const FAR: f32 = 1e9;

/// The body once for each plane, with the plane as a constant: every address is then a row's plus a constant, where a
/// variable would cost a register for each of the forty loads of a filter.
macro_rules! each_plane {
    ($plane:ident, $body:block) => {
        each_plane!($plane, $body, 0, 1, 2, 3);
    };
    ($plane:ident, $body:block, $($number:literal),+) => {
        $({
            const $plane: usize = $number;
            $body
        })+
    };
}

/// P0 of a row and frequency as waves: half the frequency's scale times cos q and -sin q. Steps of 120° leave
/// `a = (2 m0 - m1 - m2) C + √3 (m1 - m2) S` and `b = (2 m0 - m1 - m2) S - √3 (m1 - m2) C` of the three products.
#[derive(Clone)]
pub(super) struct Waves {
    pub(super) cos: Row<f32>,
    pub(super) sin: Row<f32>,
}

impl Waves {
    pub(super) fn new(frequency: usize, p0: &[u16]) -> Self {
        let mut waves = Waves { cos: Row::filled(0.0), sin: Row::filled(0.0) };
        for (column, p0) in p0.iter().enumerate() {
            let q = -f64::from(*p0) * P0_SCALE * std::f64::consts::PI;
            let scale = f64::from(FREQUENCY_SCALE[frequency]) / 2.0;
            waves.cos.set(column, (scale * q.cos()) as f32);
            waves.sin.set(column, (-scale * q.sin()) as f32);
        }
        waves
    }
}

/// Ray values of a row: depth is `z p² / (p - parallax)`.
#[derive(Clone)]
pub(super) struct Rays {
    pub(super) z: Row<f32>,
    pub(super) parallax: Row<f32>,
}

impl Rays {
    pub(super) fn new(x: &[f32], z: &[f32]) -> Self {
        let mut rays = Rays { z: Row::filled(0.0), parallax: Row::filled(0.0) };
        for column in 0..WIDTH {
            let path = 2.0 * f64::from(UNIT_DISTANCE);
            let parallax =
                f64::from(z[column]) * f64::from(x[column]) * f64::from(BASELINE_TWICE) / (path * path * X_SCALE);
            rays.z.set(column, z[column]);
            rays.parallax.set(column, parallax as f32);
        }
        rays
    }
}

/// A row of complex vectors.
#[derive(Clone)]
pub(super) struct Vectors {
    pub(super) a: Row<f32>,
    pub(super) b: Row<f32>,
}

impl Vectors {
    pub(super) const ZERO: Self = Vectors { a: Row::filled(0.0), b: Row::filled(0.0) };
}

/// The same at length 1 (0 where there is none), and which of them are strong.
#[derive(Clone)]
pub(super) struct Units {
    a: Row<f32>,
    b: Row<f32>,
    strong: Row<f32>,
}

impl Units {
    pub(super) const ZERO: Self =
        Units { a: Row::filled(0.0), b: Row::filled(0.0), strong: Row::filled(0.0) };
}

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

/// A row between phase and edge filter. `near` and `far` are the depths that count for a neighbour's nearest and farthest,
/// with `FAR` and 0 where there is none.
#[derive(Clone)]
pub(super) struct Surface {
    pub(super) depth: Row<f32>,
    near: Row<f32>,
    far: Row<f32>,
    amplitude: Row<f32>,
}

impl Surface {
    pub(super) const ZERO: Self = Surface {
        depth: Row::filled(0.0),
        near: Row::filled(FAR),
        far: Row::filled(0.0),
        amplitude: Row::filled(0.0),
    };
}

/// Which pixels are off edges: a bit each, in the order of the planes, `N` to a byte.
pub(super) type NotEdge = [u8; WIDTH / 4];

/// Three exposures to vectors; their amplitude is added to `infrared`.
#[inline(always)]
pub(super) fn vectors<S: Simd>(
    s: S,
    frequency: usize,
    m: [&Row<i16>; 3],
    waves: &Waves,
    out: &mut Vectors,
    mut units: Option<&mut Units>,
    mut infrared: Option<&mut Row<f32>>,
) {
    let saturated_from = s.splat(f32::from(SATURATED));
    let root3 = s.splat(3.0_f32.sqrt());
    // Three equal exposures other than 0 leave no vector here. The rounded steps of 120° leave libfreenect2 one of about
    // this length, and it matters to the bilateral filter whether there is one.
    let ambient = s.splat(1e-7);
    let tiny = s.splat(TINY);
    let strong_from = s.splat(STRONG_SQUARED);
    let scale = s.splat(AMPLITUDE_SCALE);
    let white = s.splat(SATURATED_AMPLITUDE);
    each_plane!(J, {
        let (m0, m1, m2) = (m[0].plane(J), m[1].plane(J), m[2].plane(J));
        let (cos, sin) = (waves.cos.plane(J), waves.sin.plane(J));
        let mut i = 0;
        while i < PLANE {
            let (m0, m1, m2) = (s.load_i16(m0, i), s.load_i16(m1, i), s.load_i16(m2, i));
            let (cos, sin) = (s.load(cos, i), s.load(sin, i));
            let saturated = saturated_from.le(m0.max(m1).max(m2));
            let pair = m1 + m2;
            let even = (m0 + pair).mul_add(ambient, (m0 + m0) - pair);
            let odd = (m1 - m2) * root3;
            let a = odd.mul_add(sin, even * cos).without(saturated);
            let b = odd.mul_sub_from(cos, even * sin).without(saturated);
            s.store(a, out.a.plane_mut(J), i);
            s.store(b, out.b.plane_mut(J), i);
            let squared = a.mul_add(a, b * b);
            let reciprocal = squared.max(tiny).rsqrt();
            if let Some(units) = units.as_deref_mut() {
                s.store(a * reciprocal, units.a.plane_mut(J), i);
                s.store(b * reciprocal, units.b.plane_mut(J), i);
                s.store_mask(strong_from.le(squared), units.strong.plane_mut(J), i);
            }
            if let Some(infrared) = infrared.as_deref_mut() {
                let amplitude = white.or(saturated, squared * reciprocal * scale);
                let sum = match frequency {
                    0 => amplitude,
                    1 => amplitude + s.load(infrared.plane(J), i),
                    _ => {
                        let sum = amplitude + s.load(infrared.plane(J), i);
                        (sum * s.splat(0.333_333_3 * INFRARED_SCALE)).min(white)
                    }
                };
                s.store(sum, infrared.plane_mut(J), i);
            }
            i += S::N;
        }
    });
}

/// `exp(-DISTANCE_DECAY · distance)` of two unit vectors with this cosine between them, for -1 to 1: the eighth power of a
/// polynomial, within 3e-6.
#[inline(always)]
fn likeness<S: Simd>(s: S, cosine: S::F) -> S::F {
    const TERMS: [f32; 6] =
        [0.637_091_58, 0.287_227_24, 0.064_743_13, 0.009_731_766, 0.001_107_733_3, 0.000_098_172_284];
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
            let cosine =
                s.load(a, i).mul_add(s.load(right_a, i), s.load(b, i) * s.load(right_b, i));
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

/// Sums over three rows of the strong unit vectors and of their number; see `bilateral`.
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

/// The bilateral filter of one row and frequency.
///
/// * `vectors`, `units`: the row above, the row, the row below.
/// * `like`: of the row above and of the row.
/// * `not_edge`: ANDed with this frequency's verdict.
///
/// A distance is half of 1 minus a cosine, so the sum over the strong neighbours is half their number minus the
/// product of the centre with the sum of their unit vectors: no exponential, and sums by rows.
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
    let scratch = &*scratch;
    let half = s.splat(0.5);
    let max_edge = s.splat(MAX_EDGE);
    let [up, row, down] = vectors;
    let [unit_up, unit, unit_down] = units;
    let [like_up, like] = like;
    each_plane!(J, {
        let mut i = 0;
        while i < PLANE {
            let strong = s.load_mask(unit.strong.plane(J), i);
            let (a, b) = (s.load(row.a.plane(J), i), s.load(row.b.plane(J), i));
            let (unit_a, unit_b) = (s.load(unit.a.plane(J), i), s.load(unit.b.plane(J), i));
            let (mut out_a, mut out_b) = (s.splat(0.0), s.splat(0.0));
            let mut off_edge = 0;
            if strong.any() {
                let (mut side_w, mut side_a, mut side_b) = (s.splat(0.0), s.splat(0.0), s.splat(0.0));
                let (mut corner_w, mut corner_a, mut corner_b) = (side_w, side_a, side_b);
                // Adds the neighbour that `$at` finds in a row, if it is strong.
                macro_rules! add {
                    ($w:ident, $a:ident, $b:ident, $like:expr, $units:expr, $vectors:expr, $at:ident) => {
                        let like = s.load($like, i).only(s.load_mask($units.strong.$at(J), i));
                        $w = $w + like;
                        $a = like.mul_add(s.load($vectors.a.$at(J), i), $a);
                        $b = like.mul_add(s.load($vectors.b.$at(J), i), $b);
                    };
                }
                add!(corner_w, corner_a, corner_b, like_up.down_right.left(J), unit_up, up, left);
                add!(side_w, side_a, side_b, like_up.down.plane(J), unit_up, up, plane);
                add!(corner_w, corner_a, corner_b, like_up.down_left.right(J), unit_up, up, right);
                add!(side_w, side_a, side_b, like.right.left(J), unit, row, left);
                add!(side_w, side_a, side_b, like.right.plane(J), unit, row, right);
                add!(corner_w, corner_a, corner_b, like.down_left.plane(J), unit_down, down, left);
                add!(side_w, side_a, side_b, like.down.plane(J), unit_down, down, plane);
                add!(corner_w, corner_a, corner_b, like.down_right.plane(J), unit_down, down, right);
                let (corner, side, centre) = (s.splat(GAUSS_CORNER), s.splat(GAUSS_SIDE), s.splat(GAUSS_CENTRE));
                let weight = corner_w.mul_add(corner, side_w.mul_add(side, centre));
                let reciprocal = s.splat(1.0) / weight;
                out_a = corner_a.mul_add(corner, side_a.mul_add(side, a * centre)) * reciprocal;
                out_b = corner_b.mul_add(corner, side_b.mul_add(side, b * centre)) * reciprocal;

                macro_rules! sum {
                    ($field:ident) => {
                        s.load(scratch.$field.left(J), i)
                            + s.load(scratch.$field.plane(J), i)
                            + s.load(scratch.$field.right(J), i)
                    };
                }
                // The centre itself adds 1 to the number and 1 to the product.
                let along = unit_a.mul_add(sum!(a), unit_b * sum!(b));
                let distances = half * (sum!(count) - along);
                off_edge = s.bits(distances.lt(max_edge).and(strong));
            }
            if !strong.all() {
                // A weak centre takes all neighbours alike. One without length, or the centre itself, spoils it.
                let (mut side_a, mut side_b) = (s.splat(0.0), s.splat(0.0));
                let (mut corner_a, mut corner_b) = (side_a, side_b);
                let (mut sum_a, mut sum_b) = (unit_a, unit_b);
                let mut lengths = unit_a.mul_add(unit_a, unit_b * unit_b);
                macro_rules! add {
                    ($a:ident, $b:ident, $units:expr, $vectors:expr, $at:ident) => {
                        $a = $a + s.load($vectors.a.$at(J), i);
                        $b = $b + s.load($vectors.b.$at(J), i);
                        let (unit_a, unit_b) = (s.load($units.a.$at(J), i), s.load($units.b.$at(J), i));
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
                let weak_a = corner_a.mul_add(corner, side_a.mul_add(side, a * centre)).only(whole);
                let weak_b = corner_b.mul_add(corner, side_b.mul_add(side, b * centre)).only(whole);
                let distances = half * (s.splat(9.0) - unit_a.mul_add(sum_a, unit_b * sum_b));
                off_edge |= s.bits(distances.lt(max_edge).and(whole)) & !s.bits(strong);
                out_a = out_a.or(strong, weak_a);
                out_b = out_b.or(strong, weak_b);
            }
            s.store(out_a, out.a.plane_mut(J), i);
            s.store(out_b, out.b.plane_mut(J), i);
            not_edge[(J * PLANE + i) / S::N] &= off_edge;
            i += S::N;
        }
    });
}

/// Phase of a vector in turns, 0 to 1, within 2e-8 turns and rounding.
#[inline(always)]
fn turns<S: Simd>(s: S, a: S::F, b: S::F) -> S::F {
    const TERMS: [f32; 8] = [
        0.159_154_92,
        -0.053_049_672,
        0.031_785_43,
        -0.022_328_49,
        0.015_824_324,
        -0.009_534_029,
        0.003_908_312,
        -0.000_760_811_26,
    ];
    let zero = s.splat(0.0);
    let (x, y) = (a.abs(), b.abs());
    let slope = x.min(y) / x.max(y).max(s.splat(TINY));
    let square = slope * slope;
    let mut turn = eight_terms(s, square, &TERMS);
    turn = turn * slope;
    turn = (s.splat(0.25) - turn).or(x.lt(y), turn);
    turn = (s.splat(0.5) - turn).or(a.lt(zero), turn);
    (s.splat(1.0) - turn).or(b.lt(zero), turn)
}

/// Square of the allowed disagreement, rad², at the largest amplitude. Constant below `LIMIT_FROM` and above `LIMIT_TO`, a
/// polynomial between (within 3e-6 of the power that it stands for).
#[inline(always)]
fn limit_squared<S: Simd>(s: S, amplitude: S::F) -> S::F {
    /// Where exp((ln A · slope · log10 2 + offset) · log2 10) meets `MAX_DISAGREEMENT` and `MIN_DISAGREEMENT`.
    const LIMIT_FROM: f32 = 304.891_54;
    const LIMIT_TO: f32 = 871.118_5;
    const MIDDLE: f32 = (LIMIT_FROM + LIMIT_TO) / 2.0;
    const HALF: f32 = (LIMIT_TO - LIMIT_FROM) / 2.0;
    const TERMS: [f32; 10] = [
        0.185_266_99,
        -0.095_100_12,
        0.047_274_98,
        -0.023_265_937,
        0.011_608_637,
        -0.005_655_024,
        0.002_132_444_2,
        -0.001_047_445,
        0.001_217_927_1,
        -0.000_585_805_9,
    ];
    let at = amplitude.max(s.splat(LIMIT_FROM)).min(s.splat(LIMIT_TO));
    let at = (at - s.splat(MIDDLE)) * s.splat(1.0 / HALF);
    let [low @ .., c8, c9] = TERMS;
    let square = at * at;
    let fourth = square * square;
    s.splat(c9).mul_add(at, s.splat(c8)).mul_add(fourth * fourth, eight_terms(s, at, &low))
}

/// A polynomial of eight terms, lowest first, in a tree: half the delay of one after the other.
#[inline(always)]
fn eight_terms<S: Simd>(s: S, x: S::F, terms: &[f32; 8]) -> S::F {
    let p0 = s.splat(terms[1]).mul_add(x, s.splat(terms[0]));
    let p1 = s.splat(terms[3]).mul_add(x, s.splat(terms[2]));
    let p2 = s.splat(terms[5]).mul_add(x, s.splat(terms[4]));
    let p3 = s.splat(terms[7]).mul_add(x, s.splat(terms[6]));
    let square = x * x;
    p3.mul_add(square, p2).mul_add(square * square, p1.mul_add(square, p0))
}

/// Phases of a row, each in laps of the common unit, and the disagreement that they are allowed.
#[derive(Clone)]
pub(super) struct Phases {
    t: [Row<f32>; 3],
    /// Squared, rad²; negative where the pixel is too dark.
    limit: Row<f32>,
}

impl Phases {
    pub(super) const ZERO: Self =
        Phases { t: [Row::filled(0.0), Row::filled(0.0), Row::filled(0.0)], limit: Row::filled(0.0) };
}

/// The three frequencies' vectors to phases and `amplitude`. Apart from `surface` because the two together are longer than
/// what a processor looks ahead: it would wait out one vector after the other.
#[inline(always)]
fn phases<S: Simd>(s: S, v: [&Vectors; 3], out: &mut Phases, amplitude_out: &mut Row<f32>) {
    let tiny = s.splat(TINY);
    let scale = s.splat(AMPLITUDE_SCALE);
    each_plane!(J, {
        let mut i = 0;
        while i < PLANE {
            let (a0, b0) = (s.load(v[0].a.plane(J), i), s.load(v[0].b.plane(J), i));
            let (a1, b1) = (s.load(v[1].a.plane(J), i), s.load(v[1].b.plane(J), i));
            let (a2, b2) = (s.load(v[2].a.plane(J), i), s.load(v[2].b.plane(J), i));
            s.store(turns(s, a0, b0) * s.splat(LAPS[0]), out.t[0].plane_mut(J), i);
            s.store(turns(s, a1, b1) * s.splat(LAPS[1]), out.t[1].plane_mut(J), i);
            s.store(turns(s, a2, b2) * s.splat(LAPS[2]), out.t[2].plane_mut(J), i);
            let squared0 = a0.mul_add(a0, b0 * b0);
            let squared1 = a1.mul_add(a1, b1 * b1);
            let squared2 = a2.mul_add(a2, b2 * b2);
            let amplitude0 = squared0 * squared0.max(tiny).rsqrt() * scale;
            let amplitude1 = squared1 * squared1.max(tiny).rsqrt() * scale;
            let amplitude2 = squared2 * squared2.max(tiny).rsqrt() * scale;
            let amplitude = amplitude0 + amplitude1 + amplitude2;
            let least = amplitude0.min(amplitude1).min(amplitude2);
            let most = amplitude0.max(amplitude1).max(amplitude2);
            let lit = s.splat(MIN_AMPLITUDE).le(least).and(s.splat(MIN_AMPLITUDE_SUM).le(amplitude));
            s.store(amplitude, amplitude_out.plane_mut(J), i);
            s.store(limit_squared(s, most).or(lit, s.splat(-1.0)), out.limit.plane_mut(J), i);
            i += S::N;
        }
    });
}

/// The three frequencies' vectors to depth.
#[inline(always)]
pub(super) fn surface<S: Simd>(
    s: S,
    v: [&Vectors; 3],
    rays: &Rays,
    not_edge: &NotEdge,
    scratch: &mut Phases,
    out: &mut Surface,
) {
    phases(s, v, scratch, &mut out.amplitude);
    let scratch = &*scratch;
    let zero = s.splat(0.0);
    let half = s.splat(0.5);
    let third = s.splat(0.333_333);
    let [c0, c1, c2] = IDEAL_PHASE.map(|c| c * std::f32::consts::TAU);
    let (c0, c1, c2) = (s.splat(c0), s.splat(c1), s.splat(c2));
    each_plane!(J, {
        let mut i = 0;
        while i < PLANE {
            let t0 = s.load(scratch.t[0].plane(J), i);
            let t1 = s.load(scratch.t[1].plane(J), i);
            let t2 = s.load(scratch.t[2].plane(J), i);
            let u = (t1 - t0).mul_add(third, half).floor().mul_add(s.splat(LAPS[0]), t0);
            let gap = half * (u - t2).abs();
            let gap = gap - gap.floor();
            let second_lap = s.splat(0.25).lt(gap).and(gap.lt(s.splat(0.75)));
            let lap = s.splat(LAPS[1]).only(second_lap);
            let (u, t1) = (u + lap, t1 + lap);
            let s2 = t2.mul_add(half, (u - t2).mul_add(half, half).floor());
            let s0 = u * third;
            let s1 = t1 * s.splat(0.066_667);
            let p = (s0 + s1 + s2) * third;

            let e0 = s2.mul_sub_from(c2, s1 * c0);
            let e1 = s0.mul_sub_from(c0, s2 * c1);
            let e2 = s1.mul_sub_from(c1, s0 * c2);
            let error = e0.mul_add(e0, e1.mul_add(e1, e2 * e2));
            let agreed = error.le(s.load(scratch.limit.plane(J), i));

            let parallax = s.load(rays.parallax.plane(J), i);
            let seen = agreed.and(zero.lt(p)).and(parallax.lt(p));
            // The smallest difference of two floats keeps this finite; where nothing is seen it is masked.
            let depth = (s.load(rays.z.plane(J), i) * p * p / (p - parallax)).only(seen);
            let counts = seen.and(s.mask(not_edge[(J * PLANE + i) / S::N]));
            s.store(depth, out.depth.plane_mut(J), i);
            s.store(depth.or(counts, s.splat(FAR)), out.near.plane_mut(J), i);
            s.store(depth.only(counts), out.far.plane_mut(J), i);
            i += S::N;
        }
    });
}

/// Nearest, farthest, and sums of amplitudes and their squares over three rows.
#[derive(Clone)]
pub(super) struct Extremes {
    near: Row<f32>,
    far: Row<f32>,
    sum: Row<f32>,
    squares: Row<f32>,
}

impl Extremes {
    pub(super) const ZERO: Self = Extremes {
        near: Row::filled(FAR),
        far: Row::filled(0.0),
        sum: Row::filled(0.0),
        squares: Row::filled(0.0),
    };
}

#[inline(always)]
fn extremes<S: Simd>(s: S, rows: [&Surface; 3], out: &mut Extremes) {
    each_plane!(J, {
        let mut i = 0;
        while i < PLANE {
            let near = s.load(rows[0].near.plane(J), i);
            let near = near.min(s.load(rows[1].near.plane(J), i)).min(s.load(rows[2].near.plane(J), i));
            let far = s.load(rows[0].far.plane(J), i);
            let far = far.max(s.load(rows[1].far.plane(J), i)).max(s.load(rows[2].far.plane(J), i));
            let a0 = s.load(rows[0].amplitude.plane(J), i);
            let a1 = s.load(rows[1].amplitude.plane(J), i);
            let a2 = s.load(rows[2].amplitude.plane(J), i);
            s.store(near, out.near.plane_mut(J), i);
            s.store(far, out.far.plane_mut(J), i);
            s.store(a0 + a1 + a2, out.sum.plane_mut(J), i);
            s.store(a0.mul_add(a0, a1.mul_add(a1, a2 * a2)), out.squares.plane_mut(J), i);
            i += S::N;
        }
    });
}

/// The edge filter of an inner row, which also keeps the range.
///
/// * `rows`: the row above, the row, the row below.
#[inline(always)]
pub(super) fn edge<S: Simd>(
    s: S,
    settings: &Settings,
    rows: [&Surface; 3],
    not_edge: &NotEdge,
    scratch: &mut Extremes,
    out: &mut Row<f32>,
) {
    extremes(s, rows, scratch);
    let scratch = &*scratch;
    let (least, most) = (s.splat(f32::from(settings.min_mm)), s.splat(f32::from(settings.max_mm)));
    // The deviation threshold, times nine, of a mean that is a ninth of the sum.
    let deviation = s.splat(EDGE_DEVIATION);
    let min_sum = s.splat(9.0 * EDGE_MIN_MEAN);
    each_plane!(J, {
        let mut i = 0;
        while i < PLANE {
            macro_rules! window {
                ($field:ident, $combine:ident) => {{
                    let left = s.load(scratch.$field.left(J), i);
                    let right = s.load(scratch.$field.right(J), i);
                    s.load(scratch.$field.plane(J), i).$combine(left).$combine(right)
                }};
            }
            use std::ops::Add;
            let depth = s.load(rows[1].depth.plane(J), i);
            let to_near = depth - window!(near, min).min(depth);
            let to_far = window!(far, max).max(depth) - depth;
            let sum = window!(sum, add);
            let variance = sum.mul_sub_from(sum, window!(squares, add) * s.splat(9.0));
            let limit = deviation * sum.max(min_sum);
            let flying = (limit * limit)
                .le(variance)
                .and(s.splat(EDGE_CLOSE_DELTA).lt(to_near))
                .and(s.splat(EDGE_FAR_DELTA).lt(to_far))
                .and(s.splat(EDGE_MAX_DELTA).lt(to_near.max(to_far)));
            let kept = least.le(depth).and(depth.le(most)).and(s.mask(not_edge[(J * PLANE + i) / S::N]));
            s.store(depth.only(kept).without(flying), out.plane_mut(J), i);
            i += S::N;
        }
    });
}

/// The edge filter of the first and last row: the range alone.
#[inline(always)]
pub(super) fn range<S: Simd>(s: S, settings: &Settings, row: &Row<f32>, out: &mut Row<f32>) {
    let (least, most) = (s.splat(f32::from(settings.min_mm)), s.splat(f32::from(settings.max_mm)));
    each_plane!(J, {
        let mut i = 0;
        while i < PLANE {
            let depth = s.load(row.plane(J), i);
            s.store(depth.only(least.le(depth).and(depth.le(most))), out.plane_mut(J), i);
            i += S::N;
        }
    });
}

/// A finished row as integers in image order: values from `least` to `most` plus `add`, truncated, others 0.
#[inline(always)]
pub(super) fn emit<S: Simd>(s: S, row: &Row<f32>, least: f32, most: f32, add: f32, mirror: bool, out: &mut [u16]) {
    let (least, most, add, zero) = (s.splat(least), s.splat(most), s.splat(add), s.splat(0.0));
    let mut planes = Row::filled(0_u16);
    each_plane!(J, {
        let mut i = 0;
        while i < PLANE {
            let value = s.load(row.plane(J), i);
            let kept = least.le(value).and(value.le(most));
            s.store_u16((value + add).only(kept).max(zero), planes.plane_mut(J), i);
            i += S::N;
        }
    });
    let [p0, p1, p2, p3] = [planes.plane(0), planes.plane(1), planes.plane(2), planes.plane(3)];
    let quads = out.chunks_exact_mut(4);
    if mirror {
        for (i, quad) in quads.rev().take(PLANE).enumerate() {
            quad.copy_from_slice(&[p3[i], p2[i], p1[i], p0[i]]);
        }
    } else {
        for (i, quad) in quads.take(PLANE).enumerate() {
            quad.copy_from_slice(&[p0[i], p1[i], p2[i], p3[i]]);
        }
    }
}
