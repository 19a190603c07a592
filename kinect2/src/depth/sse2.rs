//! SSE2, which every x86-64 has: four values at a time, and no shuffles, blends or rounding.
#![allow(unsafe_code)] // Vector instructions are unsafe to call outside functions that are compiled for them.

use super::simd::{Float, Mask, PACKED, Simd, Span, compiled_for};
use core::arch::x86_64::*;
use std::ops::{Add, Div, Mul, Sub};

/// The proof that this machine has SSE2.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sse2(());

#[derive(Clone, Copy)]
pub(super) struct F32x4(__m128);

#[derive(Clone, Copy)]
pub(super) struct M32x4(__m128);

impl Sse2 {
    pub(super) fn detect() -> Self {
        Sse2(())
    }
}

compiled_for!(Sse2, "sse2");

/// Vector instructions, as a safe expression.
macro_rules! sse2 {
    ($($body:tt)*) => {{
        // SAFETY: x86-64 has SSE2. Pointers come from slices cut to the width of the access.
        unsafe { $($body)* }
    }};
}

impl Simd for Sse2 {
    const N: usize = 4;
    type F = F32x4;
    type M = M32x4;

    #[inline(always)]
    fn splat(self, value: f32) -> F32x4 {
        F32x4(sse2!(_mm_set1_ps(value)))
    }

    #[inline(always)]
    fn load(self, from: &Span<f32>, i: usize) -> F32x4 {
        let from = &from[i..i + 4];
        F32x4(sse2!(_mm_loadu_ps(from.as_ptr())))
    }

    #[inline(always)]
    fn store(self, value: F32x4, to: &mut Span<f32>, i: usize) {
        let to = &mut to[i..i + 4];
        sse2!(_mm_storeu_ps(to.as_mut_ptr(), value.0));
    }

    #[inline(always)]
    fn load_i16(self, from: &Span<i16>, i: usize) -> F32x4 {
        let from = &from[i..i + 4];
        sse2! {
            let words = _mm_loadl_epi64(from.as_ptr().cast());
            F32x4(_mm_cvtepi32_ps(_mm_srai_epi32(_mm_unpacklo_epi16(words, words), 16)))
        }
    }

    #[inline(always)]
    fn store_u16(self, value: F32x4, to: &mut Span<u16>, i: usize) {
        let to = &mut to[i..i + 4];
        sse2! {
            let whole = _mm_cvttps_epi32(value.0);
            // Only the signed pack is there: keep the lower half's bits by sign extension.
            let whole = _mm_srai_epi32(_mm_slli_epi32(whole, 16), 16);
            _mm_storel_epi64(to.as_mut_ptr().cast(), _mm_packs_epi32(whole, whole));
        }
    }

    #[inline(always)]
    fn load_mask(self, from: &Span<f32>, i: usize) -> M32x4 {
        M32x4(self.load(from, i).0)
    }

    #[inline(always)]
    fn store_mask(self, mask: M32x4, to: &mut Span<f32>, i: usize) {
        self.store(F32x4(mask.0), to, i);
    }

    #[inline(always)]
    fn bits(self, mask: M32x4) -> u8 {
        sse2!(_mm_movemask_ps(mask.0)) as u8
    }

    #[inline(always)]
    fn mask(self, bits: u8) -> M32x4 {
        sse2! {
            let lane = _mm_setr_epi32(1, 2, 4, 8);
            let bits = _mm_and_si128(_mm_set1_epi32(i32::from(bits)), lane);
            M32x4(_mm_castsi128_ps(_mm_cmpeq_epi32(bits, lane)))
        }
    }

    /// Eight codes of eleven bytes a step, out of two words of 64 bits: there is no byte shuffle here, so the measurement
    /// comes from a table.
    #[inline(always)]
    fn unpack(self, row: &[u8; PACKED], plane: usize, to: &mut Span<i16>) {
        let groups = row[plane * 176..plane * 176 + 176].chunks_exact(11);
        for (bytes, to) in groups.zip(to.chunks_exact_mut(8)) {
            let word = |at: usize| bytes[at..].first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
            let (low, high) = (word(0), word(3));
            let value = |bits: u64| MEASUREMENTS[(bits & 0x7ff) as usize];
            for (code, to) in to.iter_mut().enumerate() {
                *to = value(if code < 5 { low >> (11 * code) } else { high >> (11 * code - 24) });
            }
        }
    }
}

/// The measurement of each code.
static MEASUREMENTS: [i16; 2048] = {
    let mut table = [0; 2048];
    let mut code = 0;
    while code < table.len() {
        table[code] = super::scalar::linearise(code as u16);
        code += 1;
    }
    table
};

impl Float for F32x4 {
    type Mask = M32x4;

    #[inline(always)]
    fn mul_add(self, by: Self, plus: Self) -> Self {
        self * by + plus
    }

    #[inline(always)]
    fn mul_sub_from(self, by: Self, from: Self) -> Self {
        from - self * by
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        F32x4(sse2!(_mm_min_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        F32x4(sse2!(_mm_max_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn abs(self) -> Self {
        F32x4(sse2!(_mm_andnot_ps(_mm_set1_ps(-0.0), self.0)))
    }

    #[inline(always)]
    fn floor(self) -> Self {
        sse2! {
            let whole = _mm_cvtepi32_ps(_mm_cvttps_epi32(self.0));
            let above = _mm_and_ps(_mm_cmpgt_ps(whole, self.0), _mm_set1_ps(1.0));
            F32x4(_mm_sub_ps(whole, above))
        }
    }

    #[inline(always)]
    fn rsqrt(self) -> Self {
        sse2! {
            let guess = _mm_rsqrt_ps(self.0);
            let half = _mm_mul_ps(_mm_mul_ps(self.0, _mm_set1_ps(0.5)), guess);
            F32x4(_mm_mul_ps(guess, _mm_sub_ps(_mm_set1_ps(1.5), _mm_mul_ps(half, guess))))
        }
    }

    #[inline(always)]
    fn lt(self, other: Self) -> M32x4 {
        M32x4(sse2!(_mm_cmplt_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn le(self, other: Self) -> M32x4 {
        M32x4(sse2!(_mm_cmple_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn only(self, mask: M32x4) -> Self {
        F32x4(sse2!(_mm_and_ps(self.0, mask.0)))
    }

    #[inline(always)]
    fn without(self, mask: M32x4) -> Self {
        F32x4(sse2!(_mm_andnot_ps(mask.0, self.0)))
    }

    #[inline(always)]
    fn or(self, mask: M32x4, other: Self) -> Self {
        F32x4(sse2!(_mm_or_ps(_mm_and_ps(mask.0, self.0), _mm_andnot_ps(mask.0, other.0))))
    }
}

impl Mask for M32x4 {
    #[inline(always)]
    fn and(self, other: Self) -> Self {
        M32x4(sse2!(_mm_and_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn any(self) -> bool {
        sse2!(_mm_movemask_ps(self.0)) != 0
    }

    #[inline(always)]
    fn all(self) -> bool {
        sse2!(_mm_movemask_ps(self.0)) == 0xf
    }
}

impl Add for F32x4 {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        F32x4(sse2!(_mm_add_ps(self.0, other.0)))
    }
}

impl Sub for F32x4 {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        F32x4(sse2!(_mm_sub_ps(self.0, other.0)))
    }
}

impl Mul for F32x4 {
    type Output = Self;

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        F32x4(sse2!(_mm_mul_ps(self.0, other.0)))
    }
}

impl Div for F32x4 {
    type Output = Self;

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        F32x4(sse2!(_mm_div_ps(self.0, other.0)))
    }
}
