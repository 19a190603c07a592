//! The arithmetic of a row, for vectors of any width: what comes in and what goes out. What the kernels compute is said in
//! `scalar`; what is said here and in the modules below is how.

use super::WIDTH;
use super::params::*;
use super::simd::{Float, Mask, PLANE, Row, Simd};

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
pub(super) use each_plane;

/// Stands for nothing where a reciprocal is taken: its root is a number, and no measured vector is as short.
pub(super) const TINY: f32 = 1e-30;

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
    pub(super) a: Row<f32>,
    pub(super) b: Row<f32>,
    pub(super) strong: Row<f32>,
}

impl Units {
    pub(super) const ZERO: Self =
        Units { a: Row::filled(0.0), b: Row::filled(0.0), strong: Row::filled(0.0) };
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

/// A finished row as integers in image order: values from `least` to `most` plus `add`, truncated, others 0.
#[inline(always)]
pub(super) fn emit<S: Simd>(s: S, row: &Row<f32>, least: f32, most: f32, add: f32, out: &mut [u16]) {
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
    for (i, quad) in out.chunks_exact_mut(4).take(PLANE).enumerate() {
        quad.copy_from_slice(&[p0[i], p1[i], p2[i], p3[i]]);
    }
}
