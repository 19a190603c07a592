//! What the kernels need of an instruction set, and how a row lies in memory for them.
//!
//! Columns stay in the order of the wire: four planes, plane `j` holding the pixels `j`, `j + 4`, `j + 8`, ... The
//! neighbours of a vector of pixels are then whole vectors of another plane, most of them aligned, and nothing is
//! shuffled until a finished row goes out.

use std::ops::{Add, Div, Mul, Sub};

/// Pixels of a row in one plane.
pub(super) const PLANE: usize = super::WIDTH / 4;
/// From one plane to the next: a plane and zeros that stand for the pixels beyond the image's sides.
pub(super) const PITCH: usize = PLANE + 8;

/// One plane of a row, or what lies a pixel to its left or right; `PLANE` values and a few behind them.
pub(super) type Span<T> = [T; PITCH];

/// A row of 512 values. The values between the planes are 0 and stay so.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Row<T>([T; 4 * PITCH]);

impl<T: Copy> Row<T> {
    pub(super) const fn filled(value: T) -> Self {
        Row([value; 4 * PITCH])
    }

    /// The pixels of plane `j`.
    #[inline(always)]
    pub(super) fn plane(&self, j: usize) -> &Span<T> {
        self.span(j * PITCH)
    }

    #[inline(always)]
    pub(super) fn plane_mut(&mut self, j: usize) -> &mut Span<T> {
        let start = j * PITCH;
        (&mut self.0[start..start + PITCH]).try_into().expect("a span is PITCH long")
    }

    /// The pixels to the left of plane `j`'s. Left of plane 0 is plane 3, one index before.
    #[inline(always)]
    pub(super) fn left(&self, j: usize) -> &Span<T> {
        self.span(if j == 0 { 3 * PITCH - 1 } else { (j - 1) * PITCH })
    }

    /// The pixels to the right of plane `j`'s. Right of plane 3 is plane 0, one index further.
    #[inline(always)]
    pub(super) fn right(&self, j: usize) -> &Span<T> {
        self.span(if j == 3 { 1 } else { (j + 1) * PITCH })
    }

    #[inline(always)]
    fn span(&self, start: usize) -> &Span<T> {
        self.0[start..start + PITCH].try_into().expect("a span is PITCH long")
    }

    /// The value of a column in image order.
    pub(super) fn set(&mut self, column: usize, value: T) {
        self.0[(column & 3) * PITCH + (column >> 2)] = value;
    }

    /// See `set`.
    pub(super) fn get(&self, column: usize) -> T {
        self.0[(column & 3) * PITCH + (column >> 2)]
    }
}

/// Bytes that hold a row as sent, and what 16-byte loads may read behind it.
pub(super) const PACKED: usize = super::ROW_BYTES + 16;

/// An instruction set. A value of it is the proof that this machine has the instructions, so the methods are safe.
///
/// Indices must leave room for `N` values (or what a method says): kernels count up to `PLANE` in steps of `N` within a
/// `Span`, so the checks fold away.
pub(super) trait Simd: Copy {
    /// Values in a vector; divides 8, hence `PLANE`.
    const N: usize;
    type F: Float<Mask = Self::M>;
    type M: Mask;

    fn splat(self, value: f32) -> Self::F;
    fn load(self, from: &Span<f32>, i: usize) -> Self::F;
    fn store(self, value: Self::F, to: &mut Span<f32>, i: usize);
    fn load_i16(self, from: &Span<i16>, i: usize) -> Self::F;
    /// Truncated; values must lie in 0..65536.
    fn store_u16(self, value: Self::F, to: &mut Span<u16>, i: usize);
    /// A mask kept in a row of bits.
    fn load_mask(self, from: &Span<f32>, i: usize) -> Self::M;
    fn store_mask(self, mask: Self::M, to: &mut Span<f32>, i: usize);
    /// One bit a lane, lane 0 lowest.
    fn bits(self, mask: Self::M) -> u8;
    fn mask(self, bits: u8) -> Self::M;
    /// Linearised measurements of the 128 codes of 11 bits that start at `plane * 176`.
    fn unpack(self, row: &[u8; PACKED], plane: usize, to: &mut Span<i16>);
}

/// A vector of `f32`.
pub(super) trait Float:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    type Mask: Mask;

    /// `self * by + plus`, rounded once or twice.
    fn mul_add(self, by: Self, plus: Self) -> Self;
    /// `from - self * by`, rounded once or twice.
    fn mul_sub_from(self, by: Self, from: Self) -> Self;
    fn min(self, other: Self) -> Self;
    fn max(self, other: Self) -> Self;
    fn abs(self) -> Self;
    /// Of values within ±2³¹.
    fn floor(self) -> Self;
    /// 1/√ of positive values, within 5e-7.
    fn rsqrt(self) -> Self;
    fn lt(self, other: Self) -> Self::Mask;
    fn le(self, other: Self) -> Self::Mask;
    /// The values under the mask, else 0.
    fn only(self, mask: Self::Mask) -> Self;
    /// The values under the mask are 0.
    fn without(self, mask: Self::Mask) -> Self;
    /// `self` under the mask, else `other`.
    fn or(self, mask: Self::Mask, other: Self) -> Self;
}

/// One truth value a lane.
pub(super) trait Mask: Copy {
    fn and(self, other: Self) -> Self;
    fn any(self) -> bool;
    fn all(self) -> bool;
}

/// Gives an instruction set the pipeline's `rows` and `finish`, compiled for it.
///
/// * `$set`: made by its `detect` alone, and only where the machine has `$features`.
macro_rules! compiled_for {
    ($set:ident, $features:literal) => {
        impl $set {
            pub(super) fn rows(
                self,
                pipeline: &mut $crate::depth::pipeline::Pipeline,
                settings: &$crate::depth::Settings,
                sub_image: usize,
                first_row: usize,
                bytes: &[u8],
            ) {
                #[target_feature(enable = $features)]
                fn inner(
                    s: $set,
                    pipeline: &mut $crate::depth::pipeline::Pipeline,
                    settings: &$crate::depth::Settings,
                    sub_image: usize,
                    first_row: usize,
                    bytes: &[u8],
                ) {
                    $crate::depth::pipeline::rows(s, pipeline, settings, sub_image, first_row, bytes);
                }
                // SAFETY: `self` exists, so the machine has the features.
                unsafe { inner(self, pipeline, settings, sub_image, first_row, bytes) }
            }

            pub(super) fn finish(
                self,
                pipeline: &mut $crate::depth::pipeline::Pipeline,
                settings: &$crate::depth::Settings,
                depth: &mut [u16],
                infrared: Option<&mut [u16]>,
            ) {
                #[target_feature(enable = $features)]
                fn inner(
                    s: $set,
                    pipeline: &mut $crate::depth::pipeline::Pipeline,
                    settings: &$crate::depth::Settings,
                    depth: &mut [u16],
                    infrared: Option<&mut [u16]>,
                ) {
                    $crate::depth::pipeline::finish(s, pipeline, settings, depth, infrared);
                }
                // SAFETY: `self` exists, so the machine has the features.
                unsafe { inner(self, pipeline, settings, depth, infrared) }
            }
        }
    };
}
pub(super) use compiled_for;
