//! Phases of three frequencies to one depth.

use super::WIDTH;
use super::kernels::{NotEdge, TINY, Vectors, each_plane};
use super::params::*;
use super::simd::{Float, Mask, PLANE, Row, Simd};

/// Farther than any depth.
pub(super) const FAR: f32 = 1e9;

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
            let parallax = f64::from(z[column]) * f64::from(x[column]) * f64::from(BASELINE_TWICE)
                / (path * path * X_SCALE);
            rays.z.set(column, z[column]);
            rays.parallax.set(column, parallax as f32);
        }
        rays
    }
}

/// A row between phase and edge filter. `near` and `far` are the depths that count for a neighbour's nearest and farthest,
/// with `FAR` and 0 where there is none.
#[derive(Clone)]
pub(super) struct Surface {
    pub(super) depth: Row<f32>,
    pub(super) near: Row<f32>,
    pub(super) far: Row<f32>,
    pub(super) amplitude: Row<f32>,
}

impl Surface {
    pub(super) const ZERO: Self = Surface {
        depth: Row::filled(0.0),
        near: Row::filled(FAR),
        far: Row::filled(0.0),
        amplitude: Row::filled(0.0),
    };
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
