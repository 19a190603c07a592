//! Quantised coefficients to bits, by the standard's own Huffman tables (ITU-T T.81, K.3).

use super::dct::{Batch, Filled};

/// A Huffman table as a file has it (ITU-T T.81, B.2.4.2).
#[derive(Debug)]
pub(super) struct Spec {
    /// How many codes of 1 to 16 bits there are.
    pub(super) counts: [u8; 16],
    /// What they stand for, shorter codes first.
    pub(super) values: &'static [u8],
}

/// What codes one kind of component: brightness or colour.
#[derive(Debug)]
pub(super) struct Tables {
    /// By the size of the difference: the code with room for the difference behind it.
    dc: [Code; 16],
    /// By the zeros in front and the size of the value: 16 times the first and the second.
    ac: [Code; 256],
}

/// Bits and, in the lowest [`LEN`] places, their number: at most 26, 16 of a code and 10 of a value.
type Code = u32;

const LEN: u32 = 5;

impl Tables {
    const fn new(dc: &Spec, ac: &Spec) -> Self {
        let all = codes(dc);
        let (few, _) = all.split_first_chunk().expect("256 are more than 16");
        Self { dc: *few, ac: codes(ac) }
    }
}

/// The code of each value (ITU-T T.81, C.2), moved up by as many places as its lowest four bits say.
const fn codes(spec: &Spec) -> [Code; 256] {
    let mut codes = [0; 256];
    let (mut code, mut n, mut len) = (0, 0, 1);
    while len <= 16 {
        let mut left = spec.counts[len as usize - 1];
        while left > 0 {
            let value = spec.values[n];
            let size = (value & 15) as u32;
            codes[value as usize] = (code << size) << LEN | (len + size);
            code += 1;
            n += 1;
            left -= 1;
        }
        code <<= 1;
        len += 1;
    }
    codes
}

/// Writes bits, the highest of each byte first, without the zeros that a file needs behind bytes of ones.
#[derive(Debug)]
pub(super) struct Bits<'a> {
    out: &'a mut [u8; ROOM],
    /// Where the next byte goes.
    at: usize,
    /// Bits that make no byte yet, from the top.
    held: u64,
    /// How many bits `held` has room for, at least 57.
    free: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(out: &'a mut [u8; ROOM]) -> Self {
        Self { out, at: 0, held: 0, free: 64 }
    }

    /// At most 26 bits, and twice between flushes.
    #[inline(always)]
    fn put(&mut self, bits: u32, len: u32) {
        self.free -= len;
        self.held |= u64::from(bits) << self.free;
    }

    /// Writes out what makes whole bytes.
    #[inline(always)]
    fn flush(&mut self) {
        debug_assert!(self.at < BYTES, "what was written is taken in time");
        // Which changes nothing, but spares a check.
        let at = self.at % BYTES;
        self.out[at..at + 8].copy_from_slice(&self.held.to_be_bytes());
        let whole = (64 - self.free) & !7;
        self.at += whole as usize / 8;
        self.held <<= whole;
        self.free += whole;
    }

    /// Bytes written so far.
    pub(super) fn len(&self) -> usize {
        self.at
    }

    /// Hands out what was written, and starts at the front again.
    pub(super) fn take(&mut self) -> &[u8] {
        let len = std::mem::take(&mut self.at);
        &self.out[..len]
    }

    /// Fills the last byte up with ones (ITU-T T.81, F.1.2.3).
    pub(super) fn finish(&mut self) {
        let missing = self.free % 8;
        if missing > 0 {
            self.put((1 << missing) - 1, missing);
            self.flush();
        }
    }

    /// One block.
    ///
    /// * `difference`: of the first coefficient to that of the block before of the same component.
    /// * `batch`, `filled`, `lane`: where the others are.
    #[inline(always)]
    pub(super) fn block(
        &mut self,
        tables: &Tables,
        difference: i16,
        batch: &Batch,
        filled: &Filled,
        lane: usize,
    ) {
        self.first(tables, difference);
        let mut left = 0;
        for (n, filled) in filled.iter().enumerate() {
            left |= u64::from(filled[lane]) << (16 * n);
        }
        left &= !1;
        let mut last = 0;
        while left != 0 {
            let place = left.trailing_zeros();
            left &= left - 1;
            let mut zeros = place - last - 1;
            last = place;
            while zeros > 15 {
                self.code(tables.ac[ZEROS]);
                self.flush();
                zeros -= 16;
            }
            let value = batch.0[place as usize & 63][lane];
            self.value(&tables.ac[16 * (zeros as usize & 15)..][..16], value);
            self.flush();
        }
        if last < 63 {
            self.code(tables.ac[END]);
        }
        self.flush();
    }

    /// A block with a first coefficient only.
    #[inline(always)]
    pub(super) fn flat(&mut self, tables: &Tables, difference: i16) {
        self.first(tables, difference);
        self.code(tables.ac[END]);
        self.flush();
    }

    #[inline(always)]
    fn first(&mut self, tables: &Tables, difference: i16) {
        self.value(&tables.dc, difference);
    }

    #[inline(always)]
    fn code(&mut self, code: Code) {
        self.put(code >> LEN, code & ((1 << LEN) - 1));
    }

    /// The code of the value's size, and the value: negative ones less one (ITU-T T.81, F.1.2.1).
    #[inline(always)]
    fn value(&mut self, codes: &[Code], value: i16) {
        let value = i32::from(value);
        let sign = value >> 31;
        let size = 32 - ((value ^ sign) - sign).leading_zeros();
        let code = codes[size as usize & 15];
        let bits = (value + sign) as u32 & ((1 << size) - 1);
        self.put(code >> LEN | bits, code & ((1 << LEN) - 1));
    }
}

/// Bytes that are written at most before they are taken, and what the last word is too long.
pub(super) const ROOM: usize = BYTES + 8;

const BYTES: usize = 8192;

/// No further coefficient: EOB.
const END: usize = 0x00;

/// Sixteen zeros in front of another coefficient: ZRL.
const ZEROS: usize = 0xf0;

/// Of brightness.
pub(super) static BRIGHTNESS: Tables = Tables::new(&DC[0], &AC[0]);

/// Of colour.
pub(super) static COLOUR: Tables = Tables::new(&DC[1], &AC[1]);

/// Tables K.3 and K.4: for differences, of brightness and of colour.
pub(super) const DC: [Spec; 2] = [
    Spec {
        counts: [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0],
        values: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
    },
    Spec {
        counts: [0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0],
        values: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
    },
];

/// Tables K.5 and K.6: for the other coefficients.
#[rustfmt::skip]
pub(super) const AC: [Spec; 2] = [
    Spec {
        counts: [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7d],
        values: &[
            0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07,
            0x22, 0x71, 0x14, 0x32, 0x81, 0x91, 0xa1, 0x08, 0x23, 0x42, 0xb1, 0xc1, 0x15, 0x52, 0xd1, 0xf0,
            0x24, 0x33, 0x62, 0x72, 0x82, 0x09, 0x0a, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x25, 0x26, 0x27, 0x28,
            0x29, 0x2a, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49,
            0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69,
            0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89,
            0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
            0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3, 0xc4, 0xc5,
            0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda, 0xe1, 0xe2,
            0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8,
            0xf9, 0xfa,
        ],
    },
    Spec {
        counts: [0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 0x77],
        values: &[
            0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71,
            0x13, 0x22, 0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xa1, 0xb1, 0xc1, 0x09, 0x23, 0x33, 0x52, 0xf0,
            0x15, 0x62, 0x72, 0xd1, 0x0a, 0x16, 0x24, 0x34, 0xe1, 0x25, 0xf1, 0x17, 0x18, 0x19, 0x1a, 0x26,
            0x27, 0x28, 0x29, 0x2a, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48,
            0x49, 0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68,
            0x69, 0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87,
            0x88, 0x89, 0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5,
            0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3,
            0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda,
            0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8,
            0xf9, 0xfa,
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_standards() {
        // Tables K.3 to K.6, with room for the value behind.
        let code = |codes: &[Code], n: usize, size: u32| {
            let len = codes[n] & 31;
            format!("{:0>1$b}", codes[n] >> LEN >> size, (len - size) as usize)
        };
        assert_eq!(code(&BRIGHTNESS.dc, 0, 0), "00");
        assert_eq!(code(&BRIGHTNESS.dc, 11, 11), "111111110");
        assert_eq!(code(&COLOUR.dc, 11, 11), "11111111110");
        assert_eq!(code(&BRIGHTNESS.ac, END, 0), "1010");
        assert_eq!(code(&COLOUR.ac, END, 0), "00");
        assert_eq!(code(&BRIGHTNESS.ac, ZEROS, 0), "11111111001");
        assert_eq!(code(&COLOUR.ac, ZEROS, 0), "1111111010");
        assert_eq!(code(&BRIGHTNESS.ac, 0x01, 1), "00");
        assert_eq!(code(&BRIGHTNESS.ac, 0x35, 5), "1111111110010000");
        assert_eq!(code(&BRIGHTNESS.ac, 0xfa, 10), "1111111111111110");
        assert_eq!(code(&COLOUR.ac, 0xfa, 10), "1111111111111110");
    }

    #[test]
    fn each_run_and_size_has_a_code() {
        for tables in [&BRIGHTNESS, &COLOUR] {
            for run in 0..16 {
                assert!((1..=10).all(|size| tables.ac[16 * run + size] != 0));
            }
            assert!((0..12).all(|size| tables.dc[size] != 0));
        }
        for spec in DC.iter().chain(&AC) {
            let count: usize = spec.counts.iter().map(|n| usize::from(*n)).sum();
            assert_eq!(count, spec.values.len());
        }
    }

    #[test]
    fn bits_stand_in_order_and_end_with_ones() {
        let mut room = [0; ROOM];
        let mut bits = Bits::new(&mut room);
        // Differences of 3, -3 and 0: sizes 2, 2 and 0.
        for difference in [3, -3, 0] {
            bits.flat(&BRIGHTNESS, difference);
        }
        bits.finish();
        // 011 11, 1010; 011 00, 1010; 00, 1010.
        assert_eq!(bits.take(), [0b0111_1101, 0b0011_0010, 0b1000_1010]);
    }
}
