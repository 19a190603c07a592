//! AVX2: which of 64 bytes are escaped, in a dozen instructions.
#![allow(unsafe_code)] // A function compiled for AVX2 may be called only where there is AVX2; loads want pointers.

use core::arch::x86_64::*;

use super::BLOCK;

/// [`super::blocks`] with AVX2; `None` where there is none, and nothing was done.
pub(super) fn blocks(bytes: &[u8], out: &mut [u8]) -> Option<(usize, usize)> {
    #[target_feature(enable = "avx2,bmi1")]
    fn wide(bytes: &[u8], out: &mut [u8]) -> (usize, usize) {
        super::blocks(bytes, out, |block| escaped(block))
    }
    // SAFETY: the processor was just asked.
    (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi1"))
        .then(|| unsafe { wide(bytes, out) })
}

#[target_feature(enable = "avx2")]
#[inline]
fn escaped(block: &[u8; BLOCK]) -> u64 {
    let (first, second) = block.split_at(32);
    u64::from(half(first.try_into().expect("half"))) | u64::from(half(second.try_into().expect("half"))) << 32
}

#[target_feature(enable = "avx2")]
#[inline]
fn half(bytes: &[u8; 32]) -> u32 {
    // For each low half of a byte the one byte with it that is escaped, or one that has another; of the two with 0xA, Ctrl-Z
    // is looked for by itself.
    let table = _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0a, 0, 0x5c, 0x0d, 0, 0);
    // SAFETY: the 32 bytes are there, and may lie anywhere.
    let bytes = unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) };
    // Of a byte from 128 on `vpshufb` makes 0, which is another.
    let same = _mm256_cmpeq_epi8(bytes, _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), bytes));
    let ctrl_z = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(0x1a));
    _mm256_movemask_epi8(_mm256_or_si256(same, ctrl_z)) as u32
}
