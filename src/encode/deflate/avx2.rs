//! AVX2: 32 literals at a time become bits, without a branch for any of them.
//!
//! Lengths and codes of the near literals come from tables of 32 bytes (`vpshufb`), those of the far ones are computed.
//! Then neighbours are joined, in lanes that become twice as wide each time: two codes, four, eight, and mostly sixteen.
//! On real frames those are 30 bits. The bytes are those that [`Plain`] writes; tests compare them.
#![allow(unsafe_code)] // Functions compiled for AVX2 may be called only where there is AVX2; loads want pointers.

use core::arch::x86_64::*;
use std::mem;
use std::ops::Range;

use super::{Bits, Codes, FAR, NEAR, Plain, Sink, tokens};

/// The proof that this processor has AVX2, and BMI as all that have it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx2(());

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        let all = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("lzcnt");
        all.then_some(Avx2(()))
    }

    /// [`super::mark`].
    pub(super) fn mark(self, rows: &[u8], busy: &mut [u64]) {
        // SAFETY: `self` exists, so `detect` found the features.
        unsafe { mark(rows, busy) }
    }

    /// [`tokens`] to `plain`, of all whole words.
    pub(super) fn body(self, rows: &[u8], busy: &[u64], plain: &mut Plain<'_>) {
        // SAFETY: as above.
        unsafe { body(rows, busy, plain) }
    }
}

#[target_feature(enable = "avx2")]
fn mark(rows: &[u8], busy: &mut [u64]) {
    const PART: usize = 8 * 64;
    let whole = rows.len() / PART;
    let (busy, rest) = busy.split_at_mut(whole);
    for (bits, part) in busy.iter_mut().zip(rows.chunks_exact(PART)) {
        let mut blank = 0;
        for (n, four) in part.chunks_exact(32).enumerate() {
            let equal = _mm256_cmpeq_epi64(load(four.try_into().expect("32 bytes")), _mm256_setzero_si256());
            blank |= (_mm256_movemask_pd(_mm256_castsi256_pd(equal)) as u64) << (4 * n);
        }
        *bits = !blank;
    }
    super::mark(&rows[PART * whole..], rest);
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
fn body<'a>(rows: &[u8], busy: &[u64], plain: &mut Plain<'a>) {
    let Plain { codes, bits } = plain;
    let mut wide = Wide { tables: Tables::new(codes), codes, bits: mem::take(bits) };
    tokens(rows, busy, 0..rows.len() / 8, &mut wide);
    *bits = wide.bits;
}

/// Sends literals 32 at a time, and runs as [`Plain`] does.
struct Wide<'a> {
    tables: Tables,
    codes: &'a Codes,
    /// Its own, and lent to nobody: so it stays in registers.
    bits: Bits<'a>,
}

impl Sink for Wide<'_> {
    #[inline(always)]
    fn run(&mut self, fresh: bool, length: usize) {
        self.bits.put_run(self.codes, fresh, length);
    }

    #[inline(always)]
    fn literals(&mut self, rows: &[u8], range: Range<usize>) {
        let mut from = range.start;
        // One place to call, so that it becomes part of the caller.
        while from < range.end {
            let to = range.end.min(from + PART);
            // SAFETY: only `body` makes this type, with the features.
            unsafe { self.many(rows, from..to) };
            from = to;
        }
    }
}

/// Codes of the literals from `-NEAR` to `NEAR - 1`, in two tables of sixteen, twice for the halves of a vector.
struct Tables {
    /// The first eight bits of each code.
    low: [__m256i; 2],
    /// The others.
    high: [__m256i; 2],
    lengths: [__m256i; 2],
    /// Far literals: the code is the literal and this.
    far: __m256i,
    far_bits: __m256i,
    /// A code is turned round in 16 bits: so many are too much.
    far_rest: __m128i,
}

impl Tables {
    #[target_feature(enable = "avx2")]
    fn new(codes: &Codes) -> Self {
        let (mut low, mut high, mut lengths) = ([0; 32], [0; 32], [0; 32]);
        for (n, literal) in (0..2 * NEAR).zip((0..2 * NEAR).map(|n| n.wrapping_sub(NEAR))) {
            let code = codes.literals[usize::from(literal)];
            [low[usize::from(n)], high[usize::from(n)]] = (code.bits() as u16).to_le_bytes();
            lengths[usize::from(n)] = code.len() as u8;
        }
        let far = codes.literals[FAR.start];
        let first = (far.bits() as u16).reverse_bits() >> (16 - far.len());
        Self {
            low: twice(low),
            high: twice(high),
            lengths: twice(lengths),
            far: _mm256_set1_epi16((first - FAR.start as u16) as i16),
            far_bits: _mm256_set1_epi8(far.len() as i8),
            far_rest: _mm_cvtsi32_si128(16 - far.len() as i32),
        }
    }
}

impl Wide<'_> {
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
    #[inline]
    fn many(&mut self, rows: &[u8], range: Range<usize>) {
        let Tables { low, high, lengths, .. } = &self.tables;
        let zero = _mm256_setzero_si256();
        debug_assert!(range.len() <= PART);
        let room = self.bits.out.len() - self.bits.at;
        // Room for all steps, and the last may look at bytes that do not count.
        let Some(bytes) =
            rows.get(range.start..range.end + 31).filter(|_| room >= 2 * (range.len() + 32) + 16)
        else {
            self.bits = plainly(self.codes, mem::take(&mut self.bits), rows, range);
            return;
        };
        macro_rules! put {
            ($bits:expr, $len:expr) => {
                // SAFETY: a code has at most twelve bits, and there is room for two bytes for each and sixteen more.
                unsafe { self.bits.put_within($bits, $len) }
            };
        }
        let mut left = range.len();
        for bytes in bytes.chunks_exact(32) {
            let bytes = load(bytes.try_into().expect("32 bytes"));
            let kept = first(left.min(32));
            left = left.wrapping_sub(32);
            let index = _mm256_add_epi8(bytes, _mm256_set1_epi8(NEAR as i8));
            let near =
                _mm256_cmpeq_epi8(_mm256_and_si256(index, _mm256_set1_epi8(!(2 * NEAR - 1) as i8)), zero);
            let code = look_up(low, index);
            let length = look_up(lengths, index);
            // Codes of at most eight bits are the rule; of these, eight are mostly much less than 56.
            let long = _mm256_cmpgt_epi8(length, _mm256_set1_epi8(8));
            let slow = _mm256_andnot_si256(_mm256_andnot_si256(long, near), kept);
            let length_kept = _mm256_and_si256(length, kept);
            let mut sums = _mm256_sad_epu8(length_kept, zero);
            let slow = _mm256_or_si256(slow, _mm256_cmpgt_epi32(sums, _mm256_set1_epi32(MOST)));
            let eights;
            if _mm256_testz_si256(slow, slow) != 0 {
                eights = eights_of_short(_mm256_and_si256(code, kept), length_kept);
            } else {
                let high = look_up(high, index);
                let near = Near { mask: near, low: code, high, lengths: length };
                let Fours { even, odd, even_length, odd_length } =
                    fours_of_long(&self.tables, bytes, &near, kept);
                sums = _mm256_add_epi64(even_length, odd_length);
                let much = _mm256_cmpgt_epi32(sums, _mm256_set1_epi32(MOST));
                if _mm256_testz_si256(much, much) == 0 {
                    let (even, odd) = (lanes(even), lanes(odd));
                    let (even_length, odd_length) = (lanes(even_length), lanes(odd_length));
                    for n in 0..4 {
                        put!(even[n], even_length[n]);
                        put!(odd[n], odd_length[n]);
                    }
                    continue;
                }
                eights = _mm256_or_si256(even, _mm256_sllv_epi64(odd, even_length));
            }
            let second = _mm256_sllv_epi64(_mm256_bsrli_epi128(eights, 8), sums);
            let sixteens = lanes(_mm256_or_si256(eights, second));
            let lengths = lanes(_mm256_add_epi64(sums, _mm256_bsrli_epi128(sums, 8)));
            if lengths[0].max(lengths[2]) <= MOST as u64 {
                put!(sixteens[0], lengths[0]);
                put!(sixteens[2], lengths[2]);
            } else {
                let (eights, lengths) = (lanes(eights), lanes(sums));
                for n in 0..4 {
                    put!(eights[n], lengths[n]);
                }
            }
        }
    }
}

/// Codes of at most eight bits, each in a byte, joined to eights in lanes of 64.
///
/// * `codes`, `lengths`: 0 for what does not count.
#[target_feature(enable = "avx2")]
#[inline]
fn eights_of_short(codes: __m256i, lengths: __m256i) -> __m256i {
    let low_bytes = _mm256_set1_epi16(0xFF);
    let low_pairs = _mm256_set1_epi32(0xFFFF);
    let low_fours = _mm256_set1_epi64x(0xFFFF_FFFF);
    let length = _mm256_and_si256(lengths, low_bytes);
    let second = _mm256_mullo_epi16(_mm256_srli_epi16(codes, 8), power(length, lengths));
    let two = _mm256_or_si256(_mm256_and_si256(codes, low_bytes), second);
    let two_length = _mm256_add_epi16(length, _mm256_srli_epi16(lengths, 8));
    let length = _mm256_and_si256(two_length, low_pairs);
    let second = _mm256_sllv_epi32(_mm256_srli_epi32(two, 16), length);
    let four = _mm256_or_si256(_mm256_and_si256(two, low_pairs), second);
    let length = _mm256_and_si256(_mm256_add_epi32(length, _mm256_srli_epi32(two_length, 16)), low_fours);
    let second = _mm256_sllv_epi64(_mm256_srli_epi64(four, 32), length);
    _mm256_or_si256(_mm256_and_si256(four, low_fours), second)
}

/// The literals around 0 among 32, and what is found in the tables for each.
struct Near {
    /// Where they are; elsewhere the rest means nothing.
    mask: __m256i,
    /// Low bytes of their codes.
    low: __m256i,
    /// High bytes.
    high: __m256i,
    lengths: __m256i,
}

/// 32 codes joined to fours of up to 48 bits in lanes of 64: those at even places, and those at odd ones.
struct Fours {
    even: __m256i,
    odd: __m256i,
    even_length: __m256i,
    odd_length: __m256i,
}

/// The codes of 32 literals, of up to twelve bits.
///
/// * `kept`: which of them count.
#[target_feature(enable = "avx2")]
#[inline]
fn fours_of_long(tables: &Tables, bytes: __m256i, near: &Near, kept: __m256i) -> Fours {
    let Tables { far, far_bits, far_rest, .. } = tables;
    let low_bytes = _mm256_set1_epi16(0xFF);
    let low_pairs = _mm256_set1_epi32(0xFFFF);
    let low_fours = _mm256_set1_epi64x(0xFFFF_FFFF);
    let Near { mask: near, low: code, high, lengths: length } = *near;
    // In lanes of sixteen: those at even places, and those at odd ones.
    let near_even = _mm256_or_si256(_mm256_and_si256(code, low_bytes), _mm256_slli_epi16(high, 8));
    let near_odd = _mm256_or_si256(_mm256_srli_epi16(code, 8), _mm256_andnot_si256(low_bytes, high));
    let number = _mm256_add_epi16(_mm256_and_si256(bytes, low_bytes), *far);
    let far_even = _mm256_srl_epi16(reversed(number), *far_rest);
    let number = _mm256_add_epi16(_mm256_srli_epi16(bytes, 8), *far);
    let far_odd = _mm256_srl_epi16(reversed(number), *far_rest);
    let even = _mm256_blendv_epi8(far_even, near_even, even_mask(near));
    let odd = _mm256_blendv_epi8(far_odd, near_odd, odd_mask(near));
    let even = _mm256_and_si256(even, even_mask(kept));
    let odd = _mm256_and_si256(odd, odd_mask(kept));
    let length = _mm256_and_si256(_mm256_blendv_epi8(*far_bits, length, near), kept);
    let (even_length, odd_length) = (_mm256_and_si256(length, low_bytes), _mm256_srli_epi16(length, 8));
    // Twos of up to 24 bits in lanes of 32: again those at even places, and those at odd ones.
    let length = _mm256_and_si256(even_length, low_pairs);
    let two_even = _mm256_or_si256(
        _mm256_and_si256(even, low_pairs),
        _mm256_sllv_epi32(_mm256_and_si256(odd, low_pairs), length),
    );
    let two_even_length = _mm256_add_epi32(length, _mm256_and_si256(odd_length, low_pairs));
    let length = _mm256_srli_epi32(even_length, 16);
    let two_odd =
        _mm256_or_si256(_mm256_srli_epi32(even, 16), _mm256_sllv_epi32(_mm256_srli_epi32(odd, 16), length));
    let two_odd_length = _mm256_add_epi32(length, _mm256_srli_epi32(odd_length, 16));
    // Fours of up to 48 bits in lanes of 64.
    let length = _mm256_and_si256(two_even_length, low_fours);
    let four_even = _mm256_or_si256(
        _mm256_and_si256(two_even, low_fours),
        _mm256_sllv_epi64(_mm256_and_si256(two_odd, low_fours), length),
    );
    let length = _mm256_srli_epi64(two_even_length, 32);
    let four_odd = _mm256_or_si256(
        _mm256_srli_epi64(two_even, 32),
        _mm256_sllv_epi64(_mm256_srli_epi64(two_odd, 32), length),
    );
    let four_length = _mm256_add_epi32(two_even_length, two_odd_length);
    let even_length = _mm256_and_si256(four_length, low_fours);
    Fours { even: four_even, odd: four_odd, even_length, odd_length: _mm256_srli_epi64(four_length, 32) }
}

/// What is too near to an end for whole vectors.
#[cold]
fn plainly<'a>(codes: &'a Codes, bits: Bits<'a>, rows: &[u8], range: Range<usize>) -> Bits<'a> {
    let mut plain = Plain { codes, bits };
    plain.literals(rows, range);
    plain.bits
}

impl Bits<'_> {
    /// At most [`MOST`] bits.
    ///
    /// # Safety
    /// There is room for eight bytes from `at` on.
    #[inline(always)]
    unsafe fn put_within(&mut self, bits: u64, len: u64) {
        self.held |= bits << self.held_bits;
        self.held_bits += len as u32;
        debug_assert!(self.at + 8 <= self.out.len());
        // SAFETY: the caller says so.
        unsafe { self.out.as_mut_ptr().add(self.at).cast::<u64>().write_unaligned(self.held.to_le()) };
        self.advance();
    }
}

/// Bits that fit a word beside the seven that may be left from before.
const MOST: i32 = 56;

/// Literals for which there is looked for room together, so that only the end of an image has too little.
const PART: usize = 32 * 64;

#[target_feature(enable = "avx2")]
#[inline]
fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: the 32 bytes are there, and may lie anywhere.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// Each half of a table, in both halves of a vector.
#[target_feature(enable = "avx2")]
fn twice(table: [u8; 32]) -> [__m256i; 2] {
    let table = load(&table);
    [_mm256_permute2x128_si256(table, table, 0x00), _mm256_permute2x128_si256(table, table, 0x11)]
}

#[target_feature(enable = "avx2")]
#[inline]
fn lanes(vector: __m256i) -> [u64; 4] {
    // SAFETY: both are 32 bytes without a meaning that some of them could not have.
    unsafe { mem::transmute(vector) }
}

/// All bits of the first `count` bytes, at most 32.
#[target_feature(enable = "avx2")]
#[inline]
fn first(count: usize) -> __m256i {
    let place = _mm256_setr_epi8(
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27,
        28, 29, 30, 31,
    );
    _mm256_cmpgt_epi8(_mm256_set1_epi8(count as i8), place)
}

/// The entries of a table of 32; what is beyond gives anything.
#[target_feature(enable = "avx2")]
#[inline]
fn look_up(table: &[__m256i; 2], index: __m256i) -> __m256i {
    let (first, second) = (_mm256_shuffle_epi8(table[0], index), _mm256_shuffle_epi8(table[1], index));
    // Bit 4 says which, and bit 7 is what counts.
    _mm256_blendv_epi8(first, second, _mm256_slli_epi16(index, 3))
}

/// Two to the power of each even byte, at most 8, in lanes of 16 bits.
///
/// * `even`: the even bytes, zeros between them; `bytes`: all.
#[target_feature(enable = "avx2")]
#[inline]
fn power(even: __m256i, bytes: __m256i) -> __m256i {
    let powers = _mm256_setr_epi8(
        1, 2, 4, 8, 16, 32, 64, -128, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, -128, 0, 0, 0, 0, 0, 0,
        0, 0,
    );
    // The high byte is looked up at eight less: only 8 gives 1 there, the others are negative, which gives 0.
    let both = _mm256_or_si256(even, _mm256_slli_epi16(bytes, 8));
    _mm256_shuffle_epi8(powers, _mm256_add_epi16(both, _mm256_set1_epi16(-0x800)))
}

/// Each 16 bits, the last first.
#[target_feature(enable = "avx2")]
#[inline]
fn reversed(words: __m256i) -> __m256i {
    let table = _mm256_setr_epi8(
        0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15, 0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11,
        7, 15,
    );
    let four = _mm256_set1_epi8(15);
    let low = _mm256_shuffle_epi8(_mm256_slli_epi16(table, 4), _mm256_and_si256(words, four));
    let high = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(words, 4), four));
    let bytes = _mm256_or_si256(low, high);
    _mm256_or_si256(_mm256_slli_epi16(bytes, 8), _mm256_srli_epi16(bytes, 8))
}

/// A mask of bytes as one of 16-bit lanes: what the even byte says.
#[target_feature(enable = "avx2")]
#[inline]
fn even_mask(bytes: __m256i) -> __m256i {
    _mm256_srai_epi16(_mm256_slli_epi16(bytes, 8), 8)
}

/// What the odd byte says.
#[target_feature(enable = "avx2")]
#[inline]
fn odd_mask(bytes: __m256i) -> __m256i {
    _mm256_srai_epi16(bytes, 8)
}
