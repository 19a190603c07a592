//! Bytes to the text that pickle protocol 0 wants: Python's raw-unicode-escape of bytes read as latin-1.
//!
//! The five bytes that would end or bend the line become `\u00xx`, the rest stay. In a compressed picture that is one in
//! fifty.

// Masks of 64 bytes.
#[cfg(target_arch = "x86_64")]
mod avx2;

/// How many bytes one becomes at most.
pub const LONGEST: usize = 6;

/// Writes `bytes` escaped to the front of `out` and returns the length.
///
/// * `out`: at least [`LONGEST`] times as long; what lies behind the length may be overwritten too.
///
/// Never allocates.
///
/// # Panics
/// If `out` is shorter than stated, which is a bug of the caller.
pub fn escape(bytes: &[u8], out: &mut [u8]) -> usize {
    assert!(out.len() >= LONGEST * bytes.len(), "each byte may become six");
    #[cfg(target_arch = "x86_64")]
    let (from, at) = avx2::blocks(bytes, out).unwrap_or((0, 0));
    #[cfg(not(target_arch = "x86_64"))]
    let (from, at) = (0, 0);
    at + plainly(&bytes[from..], &mut out[at..])
}

/// As many blocks of 64 bytes as there are, but the last two: how much was read and written.
///
/// * `escaped`: which bytes of a block are escaped, the first in the lowest place.
#[cfg(any(test, target_arch = "x86_64"))]
#[inline(always)]
fn blocks(bytes: &[u8], out: &mut [u8], escaped: impl Fn(&[u8; BLOCK]) -> u64) -> (usize, usize) {
    let block = |at: usize| bytes[at..].first_chunk::<BLOCK>().expect("two blocks were left");
    let (mut from, mut at) = (0, 0);
    while from + 2 * BLOCK <= bytes.len() {
        let mut mask = escaped(block(from));
        let mut start = 0;
        // Whole blocks are copied; what is too much is written over. There is room: two blocks are left, which may
        // become six times as long.
        while mask != 0 {
            let place = mask.trailing_zeros() as usize;
            out[at..at + BLOCK].copy_from_slice(block(from + start));
            at += place - start;
            out[at..at + 8].copy_from_slice(&CODES[usize::from(bytes[from + place])]);
            at += LONGEST;
            start = place + 1;
            mask &= mask - 1;
        }
        out[at..at + BLOCK].copy_from_slice(block(from + start));
        at += BLOCK - start;
        from += BLOCK;
    }
    (from, at)
}

/// Eight bytes at a time.
fn plainly(bytes: &[u8], out: &mut [u8]) -> usize {
    let (mut from, mut at) = (0, 0);
    while let Some(eight) = bytes.get(from..from + 8) {
        let eight: [u8; 8] = eight.try_into().expect("eight bytes");
        let Some(place) = out[at..].first_chunk_mut() else { break };
        // What is copied too much is written over.
        *place = eight;
        let plain = plain(u64::from_le_bytes(eight));
        (from, at) = (from + plain, at + plain);
        if plain < 8 {
            at += put(bytes[from], &mut out[at..]);
            from += 1;
        }
    }
    for &byte in &bytes[from..] {
        if ESCAPED.contains(&byte) {
            at += put(byte, &mut out[at..]);
        } else {
            out[at] = byte;
            at += 1;
        }
    }
    at
}

/// How many of eight bytes, the first in the lowest place, come before one that is escaped.
fn plain(eight: u64) -> usize {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const LOW: u64 = 0x7F * EACH;
    // The highest bit of each byte that is no zero, without carries between them.
    let filled = |bytes: u64| ((bytes & LOW) + LOW) | bytes;
    let differs = ESCAPED.iter().fold(!0, |all, &byte| all & filled(eight ^ (u64::from(byte) * EACH)));
    (!differs & !LOW).trailing_zeros() as usize / 8
}

fn put(byte: u8, out: &mut [u8]) -> usize {
    out[..LONGEST].copy_from_slice(&CODES[usize::from(byte)][..LONGEST]);
    LONGEST
}

/// NUL, line feed, carriage return, Ctrl-Z and backslash (CPython, `_pickle.c`, `raw_unicode_escape`).
const ESCAPED: [u8; 5] = [0x00, 0x0a, 0x0d, 0x1a, b'\\'];

/// Each byte as `\u00xx`, and two bytes that make it a word.
static CODES: [[u8; 8]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut codes = [*b"\\u00xx\0\0"; 256];
    let mut byte = 0;
    while byte < 256 {
        codes[byte][4] = DIGITS[byte >> 4];
        codes[byte][5] = DIGITS[byte & 15];
        byte += 1;
    }
    codes
};

/// Bytes that are looked at together, one for each bit of a mask.
#[cfg(any(test, target_arch = "x86_64"))]
const BLOCK: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The rule, one byte after the other.
    fn expected(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for &byte in bytes {
            match byte {
                0 | b'\n' | b'\r' | 0x1a | b'\\' => out.extend(format!("\\u{byte:04x}").bytes()),
                _ => out.push(byte),
            }
        }
        out
    }

    /// What each way gives, in no more room than stated.
    fn escaped(bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![0xee; LONGEST * bytes.len()];
        let len = escape(bytes, &mut out);
        let mut plain = vec![0xee; LONGEST * bytes.len()];
        let plain_len = plainly(bytes, &mut plain);
        assert!(out[..len] == plain[..plain_len], "the ways to escape differ");
        let by_bits = |block: &[u8; BLOCK]| {
            block.iter().enumerate().map(|(n, byte)| u64::from(ESCAPED.contains(byte)) << n).sum()
        };
        let (from, at) = blocks(bytes, &mut plain, by_bits);
        let at = at + plainly(&bytes[from..], &mut plain[at..]);
        assert!(out[..len] == plain[..at], "blocks differ");
        out.truncate(len);
        out
    }

    #[test]
    fn each_byte_is_seen_at_each_place_among_any() {
        for byte in 0..=255u8 {
            for other in 0..=255u8 {
                for place in 0..8 {
                    let mut eight = [other; 8];
                    eight[place] = byte;
                    let first = eight.iter().position(|b| matches!(b, 0 | b'\n' | b'\r' | 0x1a | b'\\'));
                    assert_eq!(plain(u64::from_le_bytes(eight)), first.unwrap_or(8), "{eight:?}");
                }
            }
        }
    }

    #[test]
    fn blocks_see_each_byte_at_each_place() {
        for byte in 0..=255u8 {
            for other in [b'a', b'\\'] {
                for place in 0..BLOCK {
                    let mut bytes = [other; 3 * BLOCK];
                    bytes[place] = byte;
                    assert_eq!(escaped(&bytes), expected(&bytes), "{byte} at {place} among {other}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_follow_the_rule(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0), Just(b'\\'), 0u8..32], 0..2000),
        ) {
            prop_assert_eq!(escaped(&bytes), expected(&bytes));
        }
    }
}
