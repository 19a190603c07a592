//! NEON, which every aarch64 has: four values at a time.
#![allow(unsafe_code)] // Vector instructions are unsafe to call outside functions that are compiled for them.

use super::simd::{Float, Mask, PACKED, PLANE, Simd, Span, compiled_for};
use core::arch::aarch64::*;
use std::ops::{Add, Div, Mul, Sub};

/// The proof that this machine has NEON.
#[derive(Clone, Copy, Debug)]
pub(super) struct Neon(());

#[derive(Clone, Copy)]
pub(super) struct F32x4(float32x4_t);

#[derive(Clone, Copy)]
pub(super) struct M32x4(uint32x4_t);

impl Neon {
    pub(super) fn detect() -> Self {
        Neon(())
    }
}

compiled_for!(Neon, "neon");

/// Vector instructions, as a safe expression.
macro_rules! neon {
    ($($body:tt)*) => {{
        // SAFETY: aarch64 has NEON. Pointers come from slices cut to the width of the access.
        unsafe { $($body)* }
    }};
}

impl Simd for Neon {
    const N: usize = 4;
    type F = F32x4;
    type M = M32x4;

    #[inline(always)]
    fn splat(self, value: f32) -> F32x4 {
        F32x4(neon!(vdupq_n_f32(value)))
    }

    #[inline(always)]
    fn load(self, from: &Span<f32>, i: usize) -> F32x4 {
        let from = &from[i..i + 4];
        F32x4(neon!(vld1q_f32(from.as_ptr())))
    }

    #[inline(always)]
    fn store(self, value: F32x4, to: &mut Span<f32>, i: usize) {
        let to = &mut to[i..i + 4];
        neon!(vst1q_f32(to.as_mut_ptr(), value.0));
    }

    #[inline(always)]
    fn load_i16(self, from: &Span<i16>, i: usize) -> F32x4 {
        let from = &from[i..i + 4];
        F32x4(neon!(vcvtq_f32_s32(vmovl_s16(vld1_s16(from.as_ptr())))))
    }

    #[inline(always)]
    fn store_u16(self, value: F32x4, to: &mut Span<u16>, i: usize) {
        let to = &mut to[i..i + 4];
        neon!(vst1_u16(to.as_mut_ptr(), vqmovn_u32(vcvtq_u32_f32(value.0))));
    }

    #[inline(always)]
    fn load_mask(self, from: &Span<f32>, i: usize) -> M32x4 {
        M32x4(neon!(vreinterpretq_u32_f32(self.load(from, i).0)))
    }

    #[inline(always)]
    fn store_mask(self, mask: M32x4, to: &mut Span<f32>, i: usize) {
        self.store(F32x4(neon!(vreinterpretq_f32_u32(mask.0))), to, i);
    }

    #[inline(always)]
    fn bits(self, mask: M32x4) -> u8 {
        neon!(vaddvq_u32(vandq_u32(mask.0, vld1q_u32(LANES.as_ptr())))) as u8
    }

    #[inline(always)]
    fn mask(self, bits: u8) -> M32x4 {
        M32x4(neon!(vtstq_u32(vdupq_n_u32(u32::from(bits)), vld1q_u32(LANES.as_ptr()))))
    }

    /// Eight codes of eleven bytes a step, in 16-bit lanes. A code that starts at bit `o` of a byte is that byte and the next
    /// shifted right by `o` and, where it reaches into a third byte, that one shifted left by 16 - `o`.
    #[inline(always)]
    fn unpack(self, row: &[u8; PACKED], plane: usize, to: &mut Span<i16>) {
        /// Selects a zero.
        const NONE: u8 = 255;
        const PAIR: [u8; 16] = [0, 1, 1, 2, 2, 3, 4, 5, 5, 6, 6, 7, 8, 9, 9, 10];
        const RIGHT: [i16; 8] = [0, -3, -6, -1, -4, -7, -2, -5];
        const THIRD: [u8; 16] =
            [NONE, NONE, NONE, NONE, 4, NONE, NONE, NONE, NONE, NONE, 8, NONE, NONE, NONE, NONE, NONE];
        const LEFT: [i16; 8] = [0, 0, 10, 0, 0, 9, 0, 0];
        let bytes = &row[plane * 176..plane * 176 + 192];
        neon! {
            let (pair, third) = (vld1q_u8(PAIR.as_ptr()), vld1q_u8(THIRD.as_ptr()));
            let (right, left) = (vld1q_s16(RIGHT.as_ptr()), vld1q_s16(LEFT.as_ptr()));
            let mut step = 0;
            while step < PLANE / 8 {
                let from = &bytes[step * 11..step * 11 + 16];
                let packed = vld1q_u8(from.as_ptr());
                let code = vandq_u16(
                    vorrq_u16(
                        vshlq_u16(vreinterpretq_u16_u8(vqtbl1q_u8(packed, pair)), right),
                        vshlq_u16(vreinterpretq_u16_u8(vqtbl1q_u8(packed, third)), left),
                    ),
                    vdupq_n_u16(0x7ff),
                );

                let magnitude = vandq_u16(code, vdupq_n_u16(0x3ff));
                let exponent = vshrq_n_u16::<7>(magnitude);
                let hidden = vandq_u16(vcgtq_u16(exponent, vdupq_n_u16(0)), vdupq_n_u16(128));
                let mantissa = vorrq_u16(vandq_u16(code, vdupq_n_u16(127)), hidden);
                let shift = vreinterpretq_s16_u16(vqsubq_u16(exponent, vdupq_n_u16(1)));
                let value = vreinterpretq_s16_u16(vshlq_u16(mantissa, shift));
                let negative = vreinterpretq_s16_u16(vcgtq_u16(code, vdupq_n_u16(1023)));
                let value = vsubq_s16(veorq_s16(value, negative), negative);
                let saturated = vceqq_u16(code, vdupq_n_u16(1024));
                let value = vorrq_s16(value, vreinterpretq_s16_u16(vshrq_n_u16::<1>(saturated)));
                let to = &mut to[step * 8..step * 8 + 8];
                vst1q_s16(to.as_mut_ptr(), value);
                step += 1;
            }
        }
    }
}

/// The bit of each lane.
static LANES: [u32; 4] = [1, 2, 4, 8];

impl Float for F32x4 {
    type Mask = M32x4;

    #[inline(always)]
    fn mul_add(self, by: Self, plus: Self) -> Self {
        F32x4(neon!(vfmaq_f32(plus.0, self.0, by.0)))
    }

    #[inline(always)]
    fn mul_sub_from(self, by: Self, from: Self) -> Self {
        F32x4(neon!(vfmsq_f32(from.0, self.0, by.0)))
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        F32x4(neon!(vminq_f32(self.0, other.0)))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        F32x4(neon!(vmaxq_f32(self.0, other.0)))
    }

    #[inline(always)]
    fn abs(self) -> Self {
        F32x4(neon!(vabsq_f32(self.0)))
    }

    #[inline(always)]
    fn floor(self) -> Self {
        F32x4(neon!(vrndmq_f32(self.0)))
    }

    #[inline(always)]
    fn rsqrt(self) -> Self {
        neon! {
            let guess = vrsqrteq_f32(self.0);
            // The estimate has 8 bits: two steps.
            let guess = vmulq_f32(guess, vrsqrtsq_f32(vmulq_f32(self.0, guess), guess));
            F32x4(vmulq_f32(guess, vrsqrtsq_f32(vmulq_f32(self.0, guess), guess)))
        }
    }

    #[inline(always)]
    fn lt(self, other: Self) -> M32x4 {
        M32x4(neon!(vcltq_f32(self.0, other.0)))
    }

    #[inline(always)]
    fn le(self, other: Self) -> M32x4 {
        M32x4(neon!(vcleq_f32(self.0, other.0)))
    }

    #[inline(always)]
    fn only(self, mask: M32x4) -> Self {
        F32x4(neon!(vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(self.0), mask.0))))
    }

    #[inline(always)]
    fn without(self, mask: M32x4) -> Self {
        F32x4(neon!(vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(self.0), mask.0))))
    }

    #[inline(always)]
    fn or(self, mask: M32x4, other: Self) -> Self {
        F32x4(neon!(vbslq_f32(mask.0, self.0, other.0)))
    }
}

impl Mask for M32x4 {
    #[inline(always)]
    fn and(self, other: Self) -> Self {
        M32x4(neon!(vandq_u32(self.0, other.0)))
    }

    #[inline(always)]
    fn any(self) -> bool {
        neon!(vmaxvq_u32(self.0)) != 0
    }

    #[inline(always)]
    fn all(self) -> bool {
        neon!(vminvq_u32(self.0)) != 0
    }
}

impl Add for F32x4 {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        F32x4(neon!(vaddq_f32(self.0, other.0)))
    }
}

impl Sub for F32x4 {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        F32x4(neon!(vsubq_f32(self.0, other.0)))
    }
}

impl Mul for F32x4 {
    type Output = Self;

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        F32x4(neon!(vmulq_f32(self.0, other.0)))
    }
}

impl Div for F32x4 {
    type Output = Self;

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        F32x4(neon!(vdivq_f32(self.0, other.0)))
    }
}
