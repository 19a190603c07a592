//! A zlib encoder for filtered images: runs of zeros, literals, and one Huffman table per image.
//!
//! What is left of an index image after the "Up" filter of PNG is long runs of zeros (no return, saturation, flat
//! surfaces) and speckle around zero (slopes, noise, edges). Searching for other matches costs much and finds little
//! there: measured on real frames, runs and a Huffman table of the image's own take half of what OpenCV's PNG takes, in
//! less than a twentieth of the time. So there are two kinds of token:
//!
//! * runs of zeros that fill a word of eight bytes or more, with the zeros on both sides: matches at distance 1, up to
//!   258 bytes each;
//! * everything else: literals.
//!
//! The table is made from one part in 32; each symbol has a code, so what is not looked at can hold anything.
//! Literals far from zero all have codes of one length, which are then computed rather than looked up: that costs no
//! bytes on real frames, and lets `deflate/avx2.rs` turn 32 literals at a time into bits. The plain code here gives the
//! same bytes. The same input always gives the same bytes: nothing is kept from one image to the next but memory.
//!
//! What limits it now: instructions, six for each pixel of the demo, most of them where runs and literals take
//! turns, and branches guessed wrong, two or three for each of 2,000 to 5,000 runs. docs/encoding.md has other encoders beside it.
//!
//! Formats: RFC 1950 (zlib) and RFC 1951 (DEFLATE).

use std::ops::Range;
use std::{fmt, mem};

// Literals to bits, 32 at a time.
#[cfg(target_arch = "x86_64")]
mod avx2;

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
    /// How often each literal and length symbol is expected; nothing for the far literals.
    counts: [u32; SYMBOLS],
    /// Bits of each literal in [`FAR`].
    far_bits: u8,
    codes: Codes,
    /// One bit for each word of eight bytes: whether it holds anything but zeros.
    busy: Box<[u64]>,
    #[cfg(target_arch = "x86_64")]
    avx2: Option<avx2::Avx2>,
}

/// What is sent for each token.
struct Codes {
    /// Each literal, and the end of the block.
    literals: [Code; 257],
    /// A match at distance 1 of each length, extra bits and distance included; lengths below 3 are unused.
    runs: [Code; RUN_MAX + 1],
    /// Two near literals, which most are.
    pairs: Box<[Code; PAIRS]>,
}

impl Deflater {
    /// Makes the tables' room, for at most `raw` bytes.
    pub(super) fn new(raw: usize) -> Self {
        Self {
            counts: [0; SYMBOLS],
            far_bits: LONGEST as u8,
            codes: Codes {
                literals: [Code::default(); 257],
                runs: [Code::default(); RUN_MAX + 1],
                pairs: Box::new([Code::default(); PAIRS]),
            },
            busy: vec![0; raw.div_ceil(8 * 64)].into_boxed_slice(),
            #[cfg(target_arch = "x86_64")]
            avx2: avx2::Avx2::detect(),
        }
    }

    /// Writes `rows` as a zlib stream into `out` and returns its length.
    ///
    /// * `rows`: filtered rows of `row` bytes each, as long as said at the start at most.
    /// * `out`: at least [`bound`] bytes.
    ///
    /// Never allocates. Time grows with the bytes that are in no run of zeros.
    ///
    /// # Panics
    /// If `rows` is longer or `out` smaller than stated, which is a bug of the caller.
    pub(super) fn compress(&mut self, rows: &[u8], row: usize, out: &mut [u8]) -> usize {
        assert!(
            out.len() >= bound(rows.len()),
            "a zlib stream of {} bytes needs {}",
            rows.len(),
            bound(rows.len())
        );
        self.mark(rows);
        self.count(rows, row);
        // CMF: DEFLATE, 32 KiB window; FLG: fastest, and the check that makes the two a multiple of 31.
        out[..2].copy_from_slice(&[0x78, 0x01]);
        let mut bits = Bits { out, at: 2, held: 0, held_bits: 0 };
        self.head(&mut bits);
        self.body(rows, &mut bits);
        bits.put(self.codes.literals[END]);
        let at = bits.finish();
        out[at..at + 4].copy_from_slice(&simd_adler32::adler32(&rows).to_be_bytes());
        at + 4
    }

    /// Finds the words that hold anything.
    fn mark(&mut self, rows: &[u8]) {
        #[cfg(target_arch = "x86_64")]
        if let Some(avx2) = self.avx2 {
            return avx2.mark(rows, &mut self.busy);
        }
        mark(rows, &mut self.busy);
    }

    /// Estimates how often each symbol comes, from one part in [`SAMPLE`], each about a row.
    fn count(&mut self, rows: &[u8], row: usize) {
        let mut seen = Counter { literals: [[0; 256]; 8], lengths: [0; LENGTH_SYMBOLS] };
        let (part, words) = (row.div_ceil(8).max(1), rows.len() / 8);
        for from in (part..words).step_by(part * SAMPLE) {
            tokens(rows, &self.busy, from..(from + part).min(words), &mut seen);
        }
        let (mut all, mut far) = (0, 0);
        for (n, count) in self.counts[..256].iter_mut().enumerate() {
            let seen = seen.literals.iter().map(|lane| lane[n]).sum::<u32>();
            all += seen;
            // What was not seen may still come.
            *count = SEEN * seen + 1;
            if FAR.contains(&n) {
                far += seen;
                *count = 0;
            }
        }
        self.counts[END] = 1;
        for (count, seen) in self.counts[END + 1..].iter_mut().zip(seen.lengths) {
            all += seen;
            *count = SEEN * seen + 1;
        }
        // What an equal share of the far ones' share in all is worth, to the nearest bit.
        let one_in = FAR.len() * all as usize / far.max(1) as usize;
        let bits = (one_in * 181 / 128).max(1).ilog2().clamp(FAR_SHORTEST, LONGEST as u32);
        self.far_bits = if far == 0 { LONGEST as u8 } else { bits as u8 };
    }

    /// Makes the codes and writes the head of the only block, with their lengths.
    fn head(&mut self, bits: &mut Bits<'_>) {
        let mut lengths = [0u8; SYMBOLS + 1];
        let far = FAR.len() << (LONGEST - usize::from(self.far_bits));
        code_lengths(&self.counts, &mut lengths[..SYMBOLS], LONGEST, (1 << LONGEST) - far);
        lengths[FAR].fill(self.far_bits);
        // The only distance code, for distance 1, is one bit: RFC 1951, section 3.2.7.
        lengths[SYMBOLS] = 1;
        let mut codes = [Code::default(); SYMBOLS];
        canonical(&lengths[..SYMBOLS], &mut codes);
        self.codes.literals.copy_from_slice(&codes[..257]);
        for (length, run) in self.codes.runs.iter_mut().enumerate().skip(RUN_MIN) {
            let symbol = usize::from(LENGTH_SYMBOL[length]);
            let code = codes[END + 1 + symbol];
            let (base, extra) = LENGTHS[symbol];
            let rest = u32::try_from(length).expect("at most 258") - u32::from(base);
            // The distance's code is a zero bit.
            *run = Code::new(code.bits() as u32 | rest << code.len(), code.len() + u32::from(extra) + 1);
        }

        for (n, pair) in (0u8..).zip(self.codes.pairs.chunks_exact_mut(2 * usize::from(NEAR))) {
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
        code_lengths(&counts, &mut length_lengths, 7, 1 << 7);
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

    /// Writes all tokens.
    fn body<'a>(&'a self, rows: &[u8], bits: &mut Bits<'a>) {
        let words = rows.len() / 8;
        let mut plain = Plain { codes: &self.codes, bits: mem::take(bits) };
        #[cfg(target_arch = "x86_64")]
        match self.avx2 {
            Some(avx2) => avx2.body(rows, &self.busy, &mut plain),
            None => tokens(rows, &self.busy, 0..words, &mut plain),
        }
        #[cfg(not(target_arch = "x86_64"))]
        tokens(rows, &self.busy, 0..words, &mut plain);
        plain.literals(rows, 8 * words..rows.len());
        *bits = plain.bits;
    }
}

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflater").finish_non_exhaustive()
    }
}

/// Whoever wants to know the tokens.
trait Sink {
    /// A run of zeros; before it, where `fresh`, comes a zero as a literal. At least [`RUN_MIN`] long, of any length.
    fn run(&mut self, fresh: bool, length: usize);

    /// Literals: the bytes of `rows` in this range.
    fn literals(&mut self, rows: &[u8], range: Range<usize>);
}

/// Sends tokens.
struct Plain<'a> {
    codes: &'a Codes,
    bits: Bits<'a>,
}

impl Sink for Plain<'_> {
    #[inline(always)]
    fn run(&mut self, fresh: bool, length: usize) {
        self.bits.put_run(self.codes, fresh, length);
    }

    #[inline(always)]
    fn literals(&mut self, rows: &[u8], range: Range<usize>) {
        let literal = |byte: u8| self.codes.literals[usize::from(byte)];
        let mut words = rows[range].chunks_exact(8);
        for eight in &mut words {
            let eight: [u8; 8] = eight.try_into().expect("eight bytes");
            let bytes = u64::from_le_bytes(eight);
            // Eight sums without carries between them.
            let near = ((bytes & !HIGH_BITS) + EACH * u64::from(NEAR)) ^ (bytes & HIGH_BITS);
            if near & (EACH * u64::from(!(2 * NEAR - 1))) == 0 {
                let pairs = (near & FIRSTS) | (near & !FIRSTS) >> (8 - NEAR_BITS);
                let pair = |n: u32| self.codes.pairs[(pairs >> (16 * n)) as usize % PAIRS];
                self.bits.put_pairs(pair(0), pair(1), pair(2), pair(3));
            } else {
                let [a, b, c, d, e, f, g, h] = eight.map(literal);
                self.bits.put4(a, b, c, d);
                self.bits.put4(e, f, g, h);
            }
        }
        let mut rest = words.remainder().chunks_exact(4);
        for four in &mut rest {
            let four: [u8; 4] = four.try_into().expect("four bytes");
            let [a, b, c, d] = four.map(literal);
            self.bits.put4(a, b, c, d);
        }
        for &byte in rest.remainder() {
            self.bits.put(literal(byte));
        }
    }
}

/// Counts tokens.
struct Counter {
    /// A table for each place in a word: equal neighbours, which are the rule here, would wait for one another in one.
    literals: [[u32; 256]; 8],
    lengths: [u32; LENGTH_SYMBOLS],
}

impl Sink for Counter {
    fn run(&mut self, fresh: bool, run: usize) {
        self.literals[0][0] += u32::from(fresh);
        self.lengths[usize::from(LENGTH_SYMBOL[run.min(RUN_MAX)])] += 1;
    }

    fn literals(&mut self, rows: &[u8], range: Range<usize>) {
        let mut words = rows[range].chunks_exact(8);
        for eight in &mut words {
            for (lane, &byte) in self.literals.iter_mut().zip(eight) {
                lane[usize::from(byte)] += 1;
            }
        }
        for &byte in words.remainder() {
            self.literals[0][usize::from(byte)] += 1;
        }
    }
}

/// One bit in `busy` for each whole word of `rows`, the first in the lowest place: whether it holds anything but zeros.
fn mark(rows: &[u8], busy: &mut [u64]) {
    assert!(rows.len() <= 8 * 64 * busy.len(), "no more than was said at the start");
    for (bits, part) in busy.iter_mut().zip(rows.chunks(8 * 64)) {
        let bit = |(n, word): (usize, &[u8])| u64::from(word != [0; 8]) << n;
        *bits = part.chunks_exact(8).enumerate().map(bit).sum();
    }
}

/// Tells `sink` the tokens of some whole words of `rows`, in order.
#[inline(always)]
fn tokens(rows: &[u8], busy: &[u64], words: Range<usize>, sink: &mut impl Sink) {
    let zeros_before = |n: usize| word(rows, 8 * n).map_or(0, |w| w.trailing_zeros() as usize / 8);
    let zeros_behind = |n: usize| word(rows, 8 * n).map_or(0, |w| w.leading_zeros() as usize / 8);
    let mut at = words.start;
    // Zeros at the end of the last word that was busy.
    let mut left = 0;
    while at < words.end {
        let first = next(busy, at..words.end, 0);
        let mut lead = 0;
        if first > at {
            // The run has all zeros on both sides; the first zero of all is a literal, for a match repeats.
            lead = if first < words.end { zeros_before(first) } else { 0 };
            sink.run(left == 0, left + 8 * (first - at) + lead - 1);
            if first == words.end {
                break;
            }
        }
        at = next(busy, first..words.end, !0);
        left = if at < words.end { zeros_behind(at - 1) } else { 0 };
        sink.literals(rows, 8 * first + lead..8 * at - left.saturating_sub(1));
    }
}

/// The first word of a range whose bit, turned round where `flip` has one, is set; else the end of the range.
#[inline(always)]
fn next(busy: &[u64], words: Range<usize>, flip: u64) -> usize {
    let mut at = words.start / 64;
    let mut bits = (busy[at] ^ flip) & (!0 << (words.start % 64));
    while bits == 0 {
        at += 1;
        if 64 * at >= words.end {
            return words.end;
        }
        bits = busy[at] ^ flip;
    }
    (64 * at + bits.trailing_zeros() as usize).min(words.end)
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
#[derive(Default)]
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

    /// A run of zeros, see [`Sink::run`].
    #[inline(always)]
    fn put_run(&mut self, codes: &Codes, fresh: bool, mut left: usize) {
        // Not a branch: it would be guessed wrong every other time. Compilers make one of anything that can be read so.
        let mut zero = Code(codes.literals[0].0 & std::hint::black_box(u32::from(fresh)).wrapping_neg());
        while left > RUN_MAX {
            // What is left for the last match must be long enough for one.
            let length = if left < RUN_MAX + RUN_MIN { left - RUN_MIN } else { RUN_MAX };
            self.put2(mem::take(&mut zero), codes.runs[length]);
            left -= length;
        }
        self.put2(zero, codes.runs[left]);
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
        self.advance();
    }

    /// Keeps what is no whole byte, after all was written.
    #[inline(always)]
    fn advance(&mut self) {
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

/// Lengths of a prefix code for `counts`, none longer than `longest`; 0 for what never comes.
///
/// * `room`: how many codes of length `longest` there may be in place of these, which is what they then take. All that
///   there are, `1 << longest`, give a complete code, as inflaters demand; less leaves some to other symbols. It must be
///   a multiple of what the longest of these codes takes: where 62 symbols share no more than the room beside
///   [`FAR`], some are longer than six bits, and 32 divides any such room.
///
/// Huffman's code, with lengths cut at `longest` and the excess paid back by the next shorter ones: not the optimum
/// under the limit, but within a thousandth of it on images.
fn code_lengths(counts: &[u32], lengths: &mut [u8], longest: usize, room: usize) {
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
    // Codes that became too short or too few: the longest but one move down until there is room, then the shortest that
    // fit move up until none is left.
    let mut taken: usize = (1..=longest).map(|length| of_length[length] << (longest - length)).sum();
    while taken > room {
        let length = (1..longest).rev().find(|&length| of_length[length] > 0).expect("a shorter code");
        of_length[length] -= 1;
        of_length[length + 1] += 1;
        taken -= 1 << (longest - length - 1);
    }
    while taken < room {
        let fits = |&length: &usize| of_length[length] > 0 && 1 << (longest - length) <= room - taken;
        let length = (2..=longest).find(fits).expect("the longest codes are steps small enough");
        of_length[length] -= 1;
        of_length[length - 1] += 1;
        taken += 1 << (longest - length);
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
/// Literals from `-NEAR` to `NEAR - 1` are near.
const NEAR: u8 = 1 << (NEAR_BITS - 1);
const NEAR_BITS: u32 = 5;
const PAIRS: usize = 1 << (2 * NEAR_BITS);
/// All others. Their codes have one length, so that in order they are numbers in a row.
const FAR: Range<usize> = NEAR as usize..256 - NEAR as usize;
/// Bits of the far literals in an image of nothing else: 256 codes are hardly more than they take.
const FAR_SHORTEST: u32 = 9;
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
/// Statistics come from one part in so many.
const SAMPLE: usize = 32;
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

    /// What the fastest way and the plain one both give.
    fn compressed(rows: &[u8], row: usize) -> Vec<u8> {
        let mut out = vec![0; bound(rows.len())];
        let mut deflater = Deflater::new(rows.len());
        let len = deflater.compress(rows, row, &mut out);
        #[cfg(target_arch = "x86_64")]
        {
            deflater.avx2 = None;
            let mut plain = vec![0; bound(rows.len())];
            let plain_len = deflater.compress(rows, row, &mut plain);
            assert!(out[..len] == plain[..plain_len], "the ways to encode differ");
        }
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
        let far = [0, FAR.len(), FAR.len() << 1, FAR.len() << 3];
        for (longest, used, less) in
            [(7, 19, &far[..1]), (12, 28, &far), (12, 2, &far[..1]), (12, 1, &far[..1])]
        {
            for less in less {
                let room = (1 << longest) - less;
                let mut lengths = [0u8; SYMBOLS];
                code_lengths(&counts[..used], &mut lengths[..used], longest, room);
                let taken: usize =
                    lengths.iter().filter(|&&l| l > 0).map(|&l| 1 << (longest - usize::from(l))).sum();
                let room = if used == 1 { 1 << (longest - 1) } else { room };
                assert_eq!(taken, room, "{used} symbols of at most {longest} bits, {less} less");
                assert!(lengths[..used].iter().all(|&l| l > 0));
            }
        }
    }

    #[test]
    fn far_literals_have_codes_in_a_row() {
        // From hardly any to nothing else.
        for one_in in [1000, 100, 20, 5, 2, 1] {
            let rows: Vec<u8> = (0..64 * 600)
                .map(|i| if i % one_in == 0 { (16 + i * 7 % 224) as u8 } else { (i % 13) as u8 })
                .collect();
            let mut deflater = Deflater::new(rows.len());
            deflater.compress(&rows, 64, &mut vec![0; bound(rows.len())]);
            let codes = &deflater.codes.literals[FAR];
            let number = |code: Code| (code.bits() as u32).reverse_bits() >> (32 - code.len());
            for (n, &code) in (0..).zip(codes) {
                assert_eq!((number(code), code.len()), (number(codes[0]) + n, codes[0].len()));
            }
            let expected = if one_in == 1 { FAR_SHORTEST } else { codes[0].len() };
            assert_eq!(codes[0].len(), expected, "one in {one_in}");
            assert_eq!(inflated(&compressed(&rows, 64)), rows);
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
