//! A zlib encoder for filtered images: runs of zeros, literals, and one Huffman table per image.
//!
//! What is left of an index image after the "Up" filter of PNG is long runs of zeros (no return, saturation, flat
//! surfaces) and speckle around zero (slopes, noise, edges). Searching for other matches costs much and finds little
//! there: measured on real frames, runs and a Huffman table of the image's own take half of what OpenCV's PNG takes, in
//! a twentieth of the time. So there are two kinds of token:
//!
//! * eight zeros or more: matches at distance 1, up to 258 bytes each;
//! * everything else: literals, four at a time, as four codes of at most [`LONGEST`] bits fit the bit buffer.
//!
//! The table is made from one row in sixteen; each symbol has a code, so rows not looked at can hold anything. The
//! same input always gives the same bytes: nothing is kept from one image to the next but memory.
//!
//! What limits it now: branches guessed wrong, two or three for each of some 5,000 runs in a frame. With wider
//! instructions (AVX2, BMI2) it was not faster.
//!
//! Formats: RFC 1950 (zlib) and RFC 1951 (DEFLATE).

use std::fmt;

/// Longest code of a literal or length, in bits; DEFLATE would allow 15. Four of them and the seven bits that may be
/// left from before fit 64.
const LONGEST: usize = 12;

/// Bytes that are enough for the zlib stream of `raw` bytes, whatever they are.
///
/// Head, table and end: 2 + 17 bits of block head, at most 19 x 3 + 286 x 7 + 1 x 7 bits of code lengths, 12 bits of
/// end-of-block, 4 bytes of checksum, in 320 bytes; each byte takes at most [`LONGEST`] bits; eight bytes more as the
/// bit buffer is written in whole words.
pub(super) const fn bound(raw: usize) -> usize {
    320 + (LONGEST * raw).div_ceil(8) + 8
}

/// Compresses filtered images; holds its tables, so that nothing is allocated.
pub(super) struct Deflater {
    /// How often each literal and length symbol is expected.
    counts: [u32; SYMBOLS],
    /// Code and number of bits of each literal, and of the end of the block.
    literals: [Code; 257],
    /// The same for a match at distance 1 of each length, extra bits and distance included; lengths below 3 are unused.
    runs: Box<[Code; RUN_MAX + 1]>,
    /// Both codes of two literals that differ from zero by less than [`NEAR`], which most do.
    pairs: Box<[Code; PAIRS]>,
}

impl Deflater {
    /// Makes the tables' room.
    pub(super) fn new() -> Self {
        Self {
            counts: [0; SYMBOLS],
            literals: [Code::default(); 257],
            runs: Box::new([Code::default(); RUN_MAX + 1]),
            pairs: Box::new([Code::default(); PAIRS]),
        }
    }

    /// Writes `rows` as a zlib stream into `out` and returns its length.
    ///
    /// * `rows`: filtered rows of `row` bytes each, which is where statistics are taken.
    /// * `out`: at least [`bound`] bytes.
    ///
    /// Never allocates. Time grows with the bytes that are in no run of zeros.
    ///
    /// # Panics
    /// If `out` is smaller than stated, which is a bug of the caller.
    pub(super) fn compress(&mut self, rows: &[u8], row: usize, out: &mut [u8]) -> usize {
        assert!(
            out.len() >= bound(rows.len()),
            "a zlib stream of {} bytes needs {}",
            rows.len(),
            bound(rows.len())
        );
        self.count(rows, row);
        // CMF: DEFLATE, 32 KiB window; FLG: fastest, and the check that makes the two a multiple of 31.
        out[..2].copy_from_slice(&[0x78, 0x01]);
        let mut bits = Bits { out, at: 2, held: 0, held_bits: 0 };
        self.head(&mut bits);
        let mut bits = self.body(rows, bits);
        bits.put(self.literals[END]);
        let at = bits.finish();
        out[at..at + 4].copy_from_slice(&simd_adler32::adler32(&rows).to_be_bytes());
        at + 4
    }

    /// Estimates how often each symbol comes, from every fourth row.
    fn count(&mut self, rows: &[u8], row: usize) {
        // A table for each place in a word: equal neighbours, which are the rule here, would wait for one another in one.
        let mut literals = [[0u32; 256]; 8];
        let mut lengths = [0u32; LENGTH_SYMBOLS];
        for row in rows.chunks_exact(row.max(1)).skip(1).step_by(SAMPLE) {
            let mut at = 0;
            while at < row.len() {
                let Some(word) = word(row, at) else {
                    row[at..].iter().for_each(|&b| literals[0][usize::from(b)] += 1);
                    break;
                };
                if word == 0 {
                    let run = run_of_zeros(row, at);
                    literals[0][0] += u32::from(at == 0 || row[at - 1] != 0);
                    lengths[usize::from(LENGTH_SYMBOL[run.min(RUN_MAX)])] += 1;
                    at += run;
                    continue;
                }
                for (lane, byte) in word.to_le_bytes().into_iter().enumerate() {
                    literals[lane][usize::from(byte)] += 1;
                }
                at += 8;
            }
        }
        for (n, count) in self.counts[..256].iter_mut().enumerate() {
            // What was not seen may still come.
            *count = SEEN * literals.iter().map(|lane| lane[n]).sum::<u32>() + 1;
        }
        self.counts[END] = 1;
        for (count, seen) in self.counts[END + 1..].iter_mut().zip(lengths) {
            *count = SEEN * seen + 1;
        }
    }

    /// Makes the codes and writes the head of the only block, with their lengths.
    fn head(&mut self, bits: &mut Bits<'_>) {
        let mut lengths = [0u8; SYMBOLS + 1];
        code_lengths(&self.counts, &mut lengths[..SYMBOLS], LONGEST);
        // The only distance code, for distance 1, is one bit: RFC 1951, section 3.2.7.
        lengths[SYMBOLS] = 1;
        let mut codes = [Code::default(); SYMBOLS];
        canonical(&lengths[..SYMBOLS], &mut codes);
        self.literals.copy_from_slice(&codes[..257]);
        for (length, run) in self.runs.iter_mut().enumerate().skip(RUN_MIN) {
            let symbol = usize::from(LENGTH_SYMBOL[length]);
            let code = codes[END + 1 + symbol];
            let (base, extra) = LENGTHS[symbol];
            let rest = u32::try_from(length).expect("at most 258") - u32::from(base);
            // The distance's code is a zero bit.
            *run = Code::new(code.bits() as u32 | rest << code.len(), code.len() + u32::from(extra) + 1);
        }

        for (n, pair) in (0u8..).zip(self.pairs.chunks_exact_mut(2 * usize::from(NEAR))) {
            let second = codes[usize::from(n.wrapping_sub(NEAR))];
            for (n, pair) in (0u8..).zip(pair) {
                let first = codes[usize::from(n.wrapping_sub(NEAR))];
                *pair = first.then(second);
            }
        }

        // Every symbol has a length from 1 to 12: runs of the same are all that is worth telling.
        let mut told = [(0u8, 0u8); SYMBOLS + 1];
        let mut used = 0;
        let mut counts = [0u32; 19];
        let mut at = 0;
        while at < lengths.len() {
            let length = lengths[at];
            let same = lengths[at..].iter().take(1 + REPEAT_MAX).take_while(|&&l| l == length).count();
            told[used] = (length, 0);
            at += 1;
            if same > REPEAT_MIN {
                let times = same - 1;
                used += 1;
                told[used] = (REPEAT, u8::try_from(times - REPEAT_MIN).expect("at most 3"));
                at += times;
            }
            used += 1;
        }
        let told = &told[..used];
        told.iter().for_each(|(symbol, _)| counts[usize::from(*symbol)] += 1);
        let mut length_lengths = [0u8; 19];
        code_lengths(&counts, &mut length_lengths, 7);
        let mut length_codes = [Code::default(); 19];
        canonical(&length_lengths, &mut length_codes);

        // Last block, dynamic codes; numbers of literal and length codes, of distance codes.
        bits.put(Code::new(0b101, 3));
        bits.put(Code::new((SYMBOLS - 257) as u32, 5));
        bits.put(Code::new(0, 5));
        let sent = ORDER.iter().rposition(|&s| length_lengths[s] > 0).map_or(4, |last| (last + 1).max(4));
        bits.put(Code::new((sent - 4) as u32, 4));
        for &symbol in &ORDER[..sent] {
            bits.put(Code::new(u32::from(length_lengths[symbol]), 3));
        }
        for &(symbol, times) in told {
            bits.put(length_codes[usize::from(symbol)]);
            if symbol == REPEAT {
                bits.put(Code::new(u32::from(times), 2));
            }
        }
    }

    fn body<'a>(&self, rows: &[u8], mut bits: Bits<'a>) -> Bits<'a> {
        let literal = |byte: u8| self.literals[usize::from(byte)];
        // Without a zero before it, a run begins with a literal one.
        let zero_if = [Code::default(), literal(0)];
        let mut before = 1;
        let mut at = 0;
        while let Some(mut eight) = word(rows, at) {
            if eight == 0 {
                // Branches here would be guessed wrong every other time: there are thousands of runs, of any length.
                let mut run = run_of_zeros(rows, at);
                let fresh = usize::from(before != 0);
                let mut zero = zero_if[fresh];
                at += run;
                run -= fresh;
                while run > RUN_MAX {
                    // What is left for the last match must be long enough for one.
                    let length = if run < RUN_MAX + RUN_MIN { run - RUN_MIN } else { RUN_MAX };
                    bits.put2(std::mem::take(&mut zero), self.runs[length]);
                    run -= length;
                }
                bits.put2(zero, self.runs[run]);
                // A run ends at something else, or at the end.
                match word(rows, at) {
                    Some(next) => eight = next,
                    None => break,
                }
            }
            before = eight >> 56;
            // Eight sums without carries between them.
            let near = ((eight & !HIGH_BITS) + EACH * u64::from(NEAR)) ^ (eight & HIGH_BITS);
            if near & (EACH * u64::from(!(2 * NEAR - 1))) == 0 {
                let pairs = (near & FIRSTS) | (near & !FIRSTS) >> (8 - NEAR_BITS);
                let pair = |n: u32| self.pairs[(pairs >> (16 * n)) as usize % PAIRS];
                bits.put_pairs(pair(0), pair(1), pair(2), pair(3));
            } else {
                let [a, b, c, d, e, f, g, h] = eight.to_le_bytes().map(literal);
                bits.put4(a, b, c, d);
                bits.put4(e, f, g, h);
            }
            at += 8;
        }
        for &byte in &rows[at..] {
            bits.put(literal(byte));
        }
        bits
    }
}

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflater").finish_non_exhaustive()
    }
}

/// Bits that go out together, the first in the lowest place.
#[derive(Clone, Copy, Debug, Default)]
struct Code(u32);

impl Code {
    #[inline(always)]
    const fn new(bits: u32, len: u32) -> Self {
        Code(bits << 6 | len)
    }

    /// Both, one after the other.
    #[inline(always)]
    const fn then(self, next: Self) -> Self {
        Code::new(self.bits() as u32 | (next.bits() as u32) << self.len(), self.len() + next.len())
    }

    #[inline(always)]
    const fn bits(self) -> u64 {
        (self.0 >> 6) as u64
    }

    #[inline(always)]
    const fn len(self) -> u32 {
        self.0 & 63
    }
}

/// Writes bits from the lowest up, as DEFLATE wants them.
struct Bits<'a> {
    out: &'a mut [u8],
    at: usize,
    /// Less than eight bits between two calls.
    held: u64,
    held_bits: u32,
}

impl Bits<'_> {
    #[inline(always)]
    fn put(&mut self, code: Code) {
        self.held |= code.bits() << self.held_bits;
        self.held_bits += code.len();
        self.flush();
    }

    /// A literal and a match.
    #[inline(always)]
    fn put2(&mut self, a: Code, b: Code) {
        self.held |= (a.bits() | b.bits() << a.len()) << self.held_bits;
        self.held_bits += a.len() + b.len();
        self.flush();
    }

    /// Four pairs of codes of at most [`LONGEST`] bits: hardly ever more than 56 bits.
    #[inline(always)]
    fn put_pairs(&mut self, a: Code, b: Code, c: Code, d: Code) {
        let (first, last) = (a.len() + b.len(), c.len() + d.len());
        let ab = a.bits() | b.bits() << a.len();
        let cd = c.bits() | d.bits() << c.len();
        if first + last <= 56 {
            self.held |= (ab | cd << (first & 63)) << self.held_bits;
            self.held_bits += first + last;
            self.flush();
        } else {
            self.held |= ab << self.held_bits;
            self.held_bits += first;
            self.flush();
            self.held |= cd << self.held_bits;
            self.held_bits += last;
            self.flush();
        }
    }

    /// Four codes of at most [`LONGEST`] bits.
    #[inline(always)]
    fn put4(&mut self, a: Code, b: Code, c: Code, d: Code) {
        let ab = a.bits() | b.bits() << (a.0 & 63);
        let cd = c.bits() | d.bits() << (c.0 & 63);
        let n = a.0.wrapping_add(b.0);
        self.held |= (ab | cd << (n & 63)) << self.held_bits;
        self.held_bits = self.held_bits.wrapping_add(n).wrapping_add(c.0).wrapping_add(d.0) & 63;
        self.flush();
    }

    /// Writes eight bytes and keeps those that are whole.
    #[inline(always)]
    fn flush(&mut self) {
        self.out[self.at..self.at + 8].copy_from_slice(&self.held.to_le_bytes());
        self.at += self.held_bits as usize / 8;
        self.held >>= self.held_bits & 56;
        self.held_bits &= 7;
    }

    /// Fills the last byte with zeros and says where the next would stand.
    fn finish(self) -> usize {
        self.at + usize::from(self.held_bits > 0)
    }
}

#[inline(always)]
fn word(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8).map(|b| u64::from_le_bytes(b.try_into().expect("eight bytes")))
}

/// How many zeros there are from `at` on, where there are eight.
#[inline(always)]
fn run_of_zeros(bytes: &[u8], at: usize) -> usize {
    let mut end = at + 8;
    while let Some(next) = bytes.get(end..end + 16) {
        let zeros =
            u128::from_le_bytes(next.try_into().expect("sixteen bytes")).trailing_zeros() as usize / 8;
        end += zeros;
        if zeros < 16 {
            return end - at;
        }
    }
    end + bytes[end..].iter().take_while(|&&b| b == 0).count() - at
}

/// Lengths of an optimal prefix code for `counts`, none longer than `longest`; 0 for what never comes.
///
/// Huffman's code, with lengths cut at `longest` and the excess paid back by the next shorter ones: not the optimum
/// under the limit, but within a thousandth of it on images.
fn code_lengths(counts: &[u32], lengths: &mut [u8], longest: usize) {
    // Count and symbol in one number, which sorts fastest.
    let mut sorted = [0u32; SYMBOLS];
    let mut used = 0;
    for (symbol, &count) in counts.iter().enumerate() {
        lengths[symbol] = 0;
        if count > 0 {
            sorted[used] = count << SYMBOL_BITS | symbol as u32;
            used += 1;
        }
    }
    let sorted = &mut sorted[..used];
    sorted.sort_unstable();
    if used < 2 {
        // One symbol still needs a bit.
        sorted.iter().for_each(|both| lengths[symbol_of(*both)] = 1);
        return;
    }
    // Leaves in order of weight, then inner nodes, which are made in that order: two queues.
    let mut weight = [0u32; 2 * SYMBOLS];
    let mut parent = [0u16; 2 * SYMBOLS];
    for (to, both) in weight.iter_mut().zip(sorted.iter()) {
        *to = both >> SYMBOL_BITS;
    }
    let (mut leaf, mut inner) = (0, used);
    for made in used..2 * used - 1 {
        let mut take = || {
            let node = if leaf < used && (inner == made || weight[leaf] <= weight[inner]) {
                leaf += 1;
                leaf - 1
            } else {
                inner += 1;
                inner - 1
            };
            parent[node] = u16::try_from(made).expect("fewer than 600 nodes");
            weight[node]
        };
        let sum = take() + take();
        weight[made] = sum;
    }
    let mut depth = [0u8; 2 * SYMBOLS];
    let mut of_length = [0usize; 16];
    for node in (0..2 * used - 2).rev() {
        depth[node] = (depth[usize::from(parent[node])] + 1).min(100);
        if node < used {
            of_length[usize::from(depth[node]).min(longest)] += 1;
        }
    }
    // Cutting took more codes than there are. One of the longest becomes the neighbour of a shorter one that moves down
    // for it, which gives back exactly one: the code stays complete, as inflaters demand.
    let room = 1usize << longest;
    let taken: usize = (1..=longest).map(|length| of_length[length] << (longest - length)).sum();
    for _ in room..taken {
        let length = (1..longest).rev().find(|&length| of_length[length] > 0).expect("a shorter code");
        of_length[length] -= 1;
        of_length[length + 1] += 2;
        of_length[longest] -= 1;
    }
    // The rarest get the longest.
    let mut next = sorted.iter();
    for length in (1..=longest).rev() {
        for both in next.by_ref().take(of_length[length]) {
            lengths[symbol_of(*both)] = u8::try_from(length).expect("at most 15");
        }
    }
}

fn symbol_of(both: u32) -> usize {
    (both & ((1 << SYMBOL_BITS) - 1)) as usize
}

/// The codes that go with `lengths`: RFC 1951, section 3.2.2, turned round as they are sent from the highest bit.
fn canonical(lengths: &[u8], codes: &mut [Code]) {
    let mut of_length = [0u32; 17];
    lengths.iter().for_each(|&length| of_length[usize::from(length) + 1] += u32::from(length > 0));
    let mut next = [0u32; 17];
    for length in 1..16 {
        next[length] = (next[length - 1] + of_length[length]) << 1;
    }
    for (code, &len) in codes.iter_mut().zip(lengths) {
        *code = Code::default();
        if len > 0 {
            let bits = next[usize::from(len)];
            next[usize::from(len)] += 1;
            *code = Code::new(bits.reverse_bits() >> (32 - u32::from(len)), u32::from(len));
        }
    }
}

/// Literals, end of block, and the 29 symbols of lengths.
const SYMBOLS: usize = 286;
/// Bits that hold any symbol; the rest of 32 holds a count.
const SYMBOL_BITS: u32 = 9;
const LENGTH_SYMBOLS: usize = 29;
/// Literals from `-NEAR` to `NEAR - 1` are looked up in pairs.
const NEAR: u8 = 1 << (NEAR_BITS - 1);
const NEAR_BITS: u32 = 5;
const PAIRS: usize = 1 << (2 * NEAR_BITS);
/// A one in each byte of a word, and the highest bit of each.
const EACH: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x80 * EACH;
/// The first byte of each pair.
const FIRSTS: u64 = 0x00FF_00FF_00FF_00FF;
/// The symbol that ends a block.
const END: usize = 256;
/// Shortest and longest match.
const RUN_MIN: usize = 3;
const RUN_MAX: usize = 258;
/// Statistics come from one row in so many.
const SAMPLE: usize = 16;
/// Weight of a symbol seen against one that was not.
const SEEN: u32 = 8;
/// The symbol that repeats the length before it 3 to 6 times, among code lengths.
const REPEAT: u8 = 16;
const REPEAT_MIN: usize = 3;
const REPEAT_MAX: usize = 6;
/// The order in which the lengths of the length codes are sent: RFC 1951, section 3.2.7.
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// Shortest length of each symbol from 257 on and its number of extra bits: RFC 1951, section 3.2.5.
const LENGTHS: [(u16, u8); LENGTH_SYMBOLS] = {
    let mut table = [(0, 0); LENGTH_SYMBOLS];
    let (mut symbol, mut length) = (0, 3u16);
    while symbol < LENGTH_SYMBOLS - 1 {
        let extra = if symbol < 8 { 0 } else { (symbol as u8 - 4) / 4 };
        table[symbol] = (length, extra);
        length += 1 << extra;
        symbol += 1;
    }
    table[LENGTH_SYMBOLS - 1] = (258, 0);
    table
};

/// The symbol of each length, counted from 257.
const LENGTH_SYMBOL: [u8; RUN_MAX + 1] = {
    let mut table = [0; RUN_MAX + 1];
    let mut symbol = 0;
    while symbol < LENGTH_SYMBOLS {
        let mut length = LENGTHS[symbol].0 as usize;
        while length <= RUN_MAX {
            table[length] = symbol as u8;
            length += 1;
        }
        symbol += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn compressed(rows: &[u8], row: usize) -> Vec<u8> {
        let mut out = vec![0; bound(rows.len())];
        let len = Deflater::new().compress(rows, row, &mut out);
        out.truncate(len);
        out
    }

    /// Two inflaters that share no code.
    fn inflated(zlib: &[u8]) -> Vec<u8> {
        let one = miniz_oxide::inflate::decompress_to_vec_zlib(zlib).expect("miniz_oxide");
        let two = fdeflate::decompress_to_vec(zlib).expect("fdeflate");
        assert!(one == two, "the inflaters disagree");
        one
    }

    #[test]
    fn runs_of_every_length_come_back() {
        // Before, behind and between other bytes, at every place in a word.
        for run in 0..600 {
            let mut rows = vec![7; run % 9];
            rows.extend(std::iter::repeat_n(0, run));
            rows.extend([1, 0, 2]);
            rows.extend(std::iter::repeat_n(0, run));
            assert_eq!(inflated(&compressed(&rows, 64)), rows, "run of {run}");
        }
        assert!(inflated(&compressed(&[], 1)).is_empty());
    }

    #[test]
    fn a_run_takes_little() {
        let rows = vec![0; 513 * 424];
        assert!(compressed(&rows, 513).len() < 700);
    }

    #[test]
    fn the_worst_case_fits() {
        // What statistics are taken from says nothing of the rest, which takes the longest codes.
        let row = 512;
        let mut rows: Vec<u8> = (0..row * 424).map(|i| (i * 97 % 251) as u8 | 1).collect();
        for (n, row) in rows.chunks_exact_mut(row).enumerate() {
            if n % SAMPLE == 1 {
                for (i, byte) in row.iter_mut().enumerate() {
                    *byte = if i % 2 == 0 { 0 } else { 128 };
                }
            }
        }
        let zlib = compressed(&rows, row);
        assert!(zlib.len() > rows.len() * 9 / 8, "the long codes were not met: {}", zlib.len());
        assert_eq!(inflated(&zlib), rows);
    }

    #[test]
    fn code_lengths_fill_the_room_and_no_more() {
        // Fibonacci's numbers make the deepest tree.
        let mut counts = [0u32; SYMBOLS];
        let (mut a, mut b) = (1u32, 1u32);
        for count in counts.iter_mut().take(28) {
            *count = a;
            (a, b) = (b, a + b);
        }
        for (longest, used) in [(7, 19), (12, 28), (12, 2), (12, 1)] {
            let mut lengths = [0u8; SYMBOLS];
            code_lengths(&counts[..used], &mut lengths[..used], longest);
            let taken: usize =
                lengths.iter().filter(|&&l| l > 0).map(|&l| 1 << (longest - usize::from(l))).sum();
            let room = if used == 1 { 1 << (longest - 1) } else { 1 << longest };
            assert_eq!(taken, room, "{used} symbols of at most {longest} bits");
            assert!(lengths[..used].iter().all(|&l| l > 0));
        }
    }

    #[test]
    fn lengths_have_the_symbols_of_the_standard() {
        assert_eq!(LENGTHS[..9], [(3, 0), (4, 0), (5, 0), (6, 0), (7, 0), (8, 0), (9, 0), (10, 0), (11, 1)]);
        assert_eq!(LENGTHS[26..], [(195, 5), (227, 5), (258, 0)]);
        assert_eq!(
            (LENGTH_SYMBOL[3], LENGTH_SYMBOL[12], LENGTH_SYMBOL[257], LENGTH_SYMBOL[258]),
            (0, 8, 27, 28)
        );
    }

    proptest! {
        #[test]
        fn anything_comes_back(
            parts in prop::collection::vec((any::<u8>(), 1usize..40, 0..3), 0..200),
            row in 1usize..100,
        ) {
            let mut rows = Vec::new();
            for (byte, count, kind) in parts {
                rows.extend((0..count).map(|i| match kind {
                    0 => 0,
                    1 => (byte.wrapping_mul(i as u8) % 40).wrapping_sub(20),
                    _ => byte.wrapping_mul(i as u8),
                }));
            }
            prop_assert_eq!(inflated(&compressed(&rows, row)), rows);
        }
    }
}
