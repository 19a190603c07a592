//! AVX2 and FMA: eight values at a time.
#![allow(unsafe_code)] // Vector instructions are unsafe to call outside functions that are compiled for them.

use super::simd::{Float, Mask, PACKED, PLANE, Simd, Span, compiled_for};
use core::arch::x86_64::*;
use std::ops::{Add, Div, Mul, Sub};

/// The proof that this machine has AVX2 and FMA.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx2(());

#[derive(Clone, Copy)]
pub(super) struct F32x8(__m256);

#[derive(Clone, Copy)]
pub(super) struct M32x8(__m256);

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Avx2(()))
    }
}

compiled_for!(Avx2, "avx2,fma");

/// Vector instructions, as a safe expression.
macro_rules! avx2 {
    ($($body:tt)*) => {{
        // SAFETY: the expression has an `Avx2`, `F32x8` or `M32x8` at hand; the first comes from `detect` alone, the
        // others from the first, so the machine has AVX2 and FMA. Pointers come from slices cut to the width of the access.
        unsafe { $($body)* }
    }};
}

impl Simd for Avx2 {
    const N: usize = 8;
    type F = F32x8;
    type M = M32x8;

    #[inline(always)]
    fn splat(self, value: f32) -> F32x8 {
        F32x8(avx2!(_mm256_set1_ps(value)))
    }

    #[inline(always)]
    fn load(self, from: &Span<f32>, i: usize) -> F32x8 {
        let from = &from[i..i + 8];
        F32x8(avx2!(_mm256_loadu_ps(from.as_ptr())))
    }

    #[inline(always)]
    fn store(self, value: F32x8, to: &mut Span<f32>, i: usize) {
        let to = &mut to[i..i + 8];
        avx2!(_mm256_storeu_ps(to.as_mut_ptr(), value.0));
    }

    #[inline(always)]
    fn load_i16(self, from: &Span<i16>, i: usize) -> F32x8 {
        let from = &from[i..i + 8];
        F32x8(avx2!(_mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm_loadu_si128(from.as_ptr().cast())))))
    }

    #[inline(always)]
    fn store_u16(self, value: F32x8, to: &mut Span<u16>, i: usize) {
        let to = &mut to[i..i + 8];
        avx2! {
            let whole = _mm256_cvttps_epi32(value.0);
            let packed = _mm_packus_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
            _mm_storeu_si128(to.as_mut_ptr().cast(), packed);
        }
    }

    #[inline(always)]
    fn load_mask(self, from: &Span<f32>, i: usize) -> M32x8 {
        M32x8(self.load(from, i).0)
    }

    #[inline(always)]
    fn store_mask(self, mask: M32x8, to: &mut Span<f32>, i: usize) {
        self.store(F32x8(mask.0), to, i);
    }

    #[inline(always)]
    fn bits(self, mask: M32x8) -> u8 {
        avx2!(_mm256_movemask_ps(mask.0)) as u8
    }

    #[inline(always)]
    fn mask(self, bits: u8) -> M32x8 {
        avx2! {
            let lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
            let bits = _mm256_and_si256(_mm256_set1_epi32(i32::from(bits)), lane);
            M32x8(_mm256_castsi256_ps(_mm256_cmpeq_epi32(bits, lane)))
        }
    }

    /// Sixteen codes a step, in 16-bit lanes. A code that starts at bit `o` of a byte is the high half of a product with
    /// 2^(16 - o) (a right shift by `o`) and, where it reaches into a third byte, the low half of that byte's.
    #[inline(always)]
    fn unpack(self, row: &[u8; PACKED], plane: usize, to: &mut Span<i16>) {
        const NONE: i8 = -128;
        let bytes = &row[plane * 176..plane * 176 + 192];
        avx2! {
            let pair = _mm256_broadcastsi128_si256(_mm_setr_epi8(NONE, 0, 1, 2, 2, 3, 4, 5, 5, 6, 6, 7, 8, 9, 9, 10));
            let third = _mm256_broadcastsi128_si256(_mm_setr_epi8(
                1, NONE, NONE, NONE, 4, NONE, NONE, NONE, NONE, NONE, 8, NONE, NONE, NONE, NONE, NONE,
            ));
            let shift = _mm256_broadcastsi128_si256(_mm_setr_epi16(
                1 << 8, 1 << 13, 1 << 10, i16::MIN, 1 << 12, 1 << 9, 1 << 14, 1 << 11,
            ));
            let power = _mm256_broadcastsi128_si256(_mm_setr_epi8(1, 1, 2, 4, 8, 16, 32, 64, 0, 0, 0, 0, 0, 0, 0, 0));
            let mut step = 0;
            while step < PLANE / 16 {
                let from = &bytes[step * 22..step * 22 + 27];
                let low = _mm_loadu_si128(from.as_ptr().cast());
                let high = _mm_loadu_si128(from.as_ptr().add(11).cast());
                let packed = _mm256_set_m128i(high, low);
                let code = _mm256_or_si256(
                    _mm256_mulhi_epu16(_mm256_shuffle_epi8(packed, pair), shift),
                    _mm256_mullo_epi16(_mm256_shuffle_epi8(packed, third), shift),
                );
                let code = _mm256_and_si256(code, _mm256_set1_epi16(0x7ff));

                let magnitude = _mm256_and_si256(code, _mm256_set1_epi16(0x3ff));
                let exponent = _mm256_srli_epi16(magnitude, 7);
                let hidden = _mm256_and_si256(
                    _mm256_cmpgt_epi16(exponent, _mm256_setzero_si256()),
                    _mm256_set1_epi16(128),
                );
                let mantissa = _mm256_or_si256(_mm256_and_si256(code, _mm256_set1_epi16(127)), hidden);
                // The upper byte of an index selects nothing.
                let index = _mm256_or_si256(exponent, _mm256_set1_epi16(i16::MIN));
                let value = _mm256_mullo_epi16(mantissa, _mm256_shuffle_epi8(power, index));
                let negative = _mm256_cmpgt_epi16(code, _mm256_set1_epi16(1023));
                let value = _mm256_sub_epi16(_mm256_xor_si256(value, negative), negative);
                let saturated = _mm256_cmpeq_epi16(code, _mm256_set1_epi16(1024));
                let value = _mm256_or_si256(value, _mm256_srli_epi16(saturated, 1));
                let to = &mut to[step * 16..step * 16 + 16];
                _mm256_storeu_si256(to.as_mut_ptr().cast(), value);
                step += 1;
            }
        }
    }
}

impl Float for F32x8 {
    type Mask = M32x8;

    #[inline(always)]
    fn mul_add(self, by: Self, plus: Self) -> Self {
        F32x8(avx2!(_mm256_fmadd_ps(self.0, by.0, plus.0)))
    }

    #[inline(always)]
    fn mul_sub_from(self, by: Self, from: Self) -> Self {
        F32x8(avx2!(_mm256_fnmadd_ps(self.0, by.0, from.0)))
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        F32x8(avx2!(_mm256_min_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        F32x8(avx2!(_mm256_max_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn abs(self) -> Self {
        F32x8(avx2!(_mm256_andnot_ps(_mm256_set1_ps(-0.0), self.0)))
    }

    #[inline(always)]
    fn floor(self) -> Self {
        F32x8(avx2!(_mm256_floor_ps(self.0)))
    }

    #[inline(always)]
    fn rsqrt(self) -> Self {
        avx2! {
            let guess = _mm256_rsqrt_ps(self.0);
            let half = _mm256_mul_ps(_mm256_mul_ps(self.0, _mm256_set1_ps(0.5)), guess);
            F32x8(_mm256_mul_ps(guess, _mm256_fnmadd_ps(half, guess, _mm256_set1_ps(1.5))))
        }
    }

    #[inline(always)]
    fn lt(self, other: Self) -> M32x8 {
        M32x8(avx2!(_mm256_cmp_ps(self.0, other.0, _CMP_LT_OQ)))
    }

    #[inline(always)]
    fn le(self, other: Self) -> M32x8 {
        M32x8(avx2!(_mm256_cmp_ps(self.0, other.0, _CMP_LE_OQ)))
    }

    #[inline(always)]
    fn only(self, mask: M32x8) -> Self {
        F32x8(avx2!(_mm256_and_ps(self.0, mask.0)))
    }

    #[inline(always)]
    fn without(self, mask: M32x8) -> Self {
        F32x8(avx2!(_mm256_andnot_ps(mask.0, self.0)))
    }

    #[inline(always)]
    fn or(self, mask: M32x8, other: Self) -> Self {
        F32x8(avx2!(_mm256_blendv_ps(other.0, self.0, mask.0)))
    }
}

impl Mask for M32x8 {
    #[inline(always)]
    fn and(self, other: Self) -> Self {
        M32x8(avx2!(_mm256_and_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn any(self) -> bool {
        avx2!(_mm256_movemask_ps(self.0)) != 0
    }

    #[inline(always)]
    fn all(self) -> bool {
        avx2!(_mm256_movemask_ps(self.0)) == 0xff
    }
}

impl Add for F32x8 {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        F32x8(avx2!(_mm256_add_ps(self.0, other.0)))
    }
}

impl Sub for F32x8 {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        F32x8(avx2!(_mm256_sub_ps(self.0, other.0)))
    }
}

impl Mul for F32x8 {
    type Output = Self;

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        F32x8(avx2!(_mm256_mul_ps(self.0, other.0)))
    }
}

impl Div for F32x8 {
    type Output = Self;

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        F32x8(avx2!(_mm256_div_ps(self.0, other.0)))
    }
}
