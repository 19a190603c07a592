//! The edge filter: no flying pixels between two surfaces, and nothing out of range.

use super::Settings;
use super::kernels::{NotEdge, each_plane};
use super::params::*;
use super::simd::{Float, Mask, PLANE, Row, Simd};
use super::unwrapping::{FAR, Surface};

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
