//! One message of the Python protocol: length, text block, and a pickled numpy array of PNG bytes.
//!
//! The array is one-dimensional, of type `uint8`. [`Style::Protocol0`] is to the letter what
//! `pickle.dumps(array, 0)` gives in Python 3.7 and later with numpy 1.x. The module it names is always
//! `numpy.core.multiarray`: numpy 2 writes `numpy._core`, which older versions cannot load, while every version
//! loads the old name without a warning. [`Style::Compact`] calls `numpy.frombuffer` on raw bytes and is some fifty
//! times cheaper to load.

use std::io::Write;

use crate::camera::TEXT_LEN;
use crate::encode::escape;

/// Bytes before the payload: its length as a big-endian u32, and the text block.
pub const HEADER_LEN: usize = 4 + TEXT_LEN;

/// How the array is pickled.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Style {
    /// `pickle.dumps(array, 0)`.
    #[default]
    Protocol0,
    /// `numpy.frombuffer(bytes, 'B')`, 30 bytes more than the PNG.
    Compact,
}

/// Bytes that are enough for a message with a PNG of at most `png` bytes.
pub const fn message_bound(style: Style, png: usize) -> usize {
    match style {
        // The array's length has at most 20 digits.
        Style::Protocol0 => HEADER_LEN + HEAD.len() + 20 + DTYPE.len() + escape::LONGEST * png + TAIL.len(),
        Style::Compact => HEADER_LEN + COMPACT_HEAD.len() + 4 + png + COMPACT_TAIL.len(),
    }
}

/// Writes a whole message and returns its length.
///
/// * `text`: the text block, NUL-padded.
/// * `png`: the payload.
/// * `out`: at least [`message_bound`] bytes.
///
/// # Panics
/// If `out` is shorter than that, which is a bug of the caller.
pub fn message(style: Style, text: &[u8; TEXT_LEN], png: &[u8], out: &mut [u8]) -> usize {
    let (header, body) = out.split_at_mut(HEADER_LEN);
    let len = match style {
        Style::Protocol0 => protocol0(png, body),
        Style::Compact => compact(png, body),
    };
    let (length, block) = header.split_at_mut(4);
    length.copy_from_slice(&u32::try_from(len).expect("a message is far below 4 GiB").to_be_bytes());
    block.copy_from_slice(text);
    HEADER_LEN + len
}

fn protocol0(png: &[u8], out: &mut [u8]) -> usize {
    let room = out.len();
    let mut rest = &mut out[..];
    put(&mut rest, HEAD);
    write!(rest, "{}", png.len()).expect("the room is the bound");
    put(&mut rest, DTYPE);
    let escaped = escape::escape(png, rest);
    rest = &mut rest[escaped..];
    put(&mut rest, TAIL);
    room - rest.len()
}

fn compact(png: &[u8], out: &mut [u8]) -> usize {
    let room = out.len();
    let mut rest = &mut out[..];
    put(&mut rest, COMPACT_HEAD);
    put(&mut rest, &u32::try_from(png.len()).expect("a picture is far below 4 GiB").to_le_bytes());
    put(&mut rest, png);
    put(&mut rest, COMPACT_TAIL);
    room - rest.len()
}

fn put(rest: &mut &mut [u8], bytes: &[u8]) {
    rest.write_all(bytes).expect("the room is the bound");
}

/// Up to the array's length: `_reconstruct(ndarray, (0,), b'b')` and the version of the state that follows.
const HEAD: &[u8] = b"cnumpy.core.multiarray\n_reconstruct\np0\n(cnumpy\nndarray\np1\n(I0\ntp2\n\
c_codecs\nencode\np3\n(Vb\np4\nVlatin1\np5\ntp6\nRp7\ntp8\nRp9\n(I1\n(I";

/// From the array's length to its data: shape (N,), dtype `u1`, C order.
const DTYPE: &[u8] = b"\ntp10\ncnumpy\ndtype\np11\n(Vu1\np12\nI00\nI01\ntp13\nRp14\n\
(I3\nV|\np15\nNNNI-1\nI-1\nI0\ntp16\nbI00\ng3\n(V";

/// After the data: its encoding, and the state is set.
const TAIL: &[u8] = b"\np17\ng5\ntp18\nRp19\ntp20\nb.";

/// `numpy.frombuffer(` and BINBYTES, whose length follows in four bytes, low one first.
const COMPACT_HEAD: &[u8] = b"cnumpy\nfrombuffer\n(B";

/// `, 'B')`.
const COMPACT_TAIL: &[u8] = b"VB\ntR.";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(style: Style, png: &[u8]) -> Vec<u8> {
        let mut out = vec![0xee; message_bound(style, png.len())];
        let len = message(style, &[b' '; TEXT_LEN], png, &mut out);
        out.truncate(len);
        out
    }

    /// The inverse of raw-unicode-escape, written without the table above.
    fn unescape(mut bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some((&first, rest)) = bytes.split_first() {
            bytes = rest;
            if first == b'\\' {
                assert_eq!(&bytes[..3], b"u00");
                let digits = std::str::from_utf8(&bytes[3..5]).expect("ASCII");
                out.push(u8::from_str_radix(digits, 16).expect("two digits"));
                bytes = &bytes[5..];
            } else {
                out.push(first);
            }
        }
        out
    }

    #[test]
    fn protocol0_to_the_letter() {
        let message = whole(Style::Protocol0, b"\x89PNG\r\n\x1a\n\\\0\xff");
        let expected: &[u8] = b"cnumpy.core.multiarray\n_reconstruct\np0\n(cnumpy\nndarray\np1\n(I0\ntp2\n\
c_codecs\nencode\np3\n(Vb\np4\nVlatin1\np5\ntp6\nRp7\ntp8\nRp9\n(I1\n(I11\ntp10\ncnumpy\ndtype\np11\n\
(Vu1\np12\nI00\nI01\ntp13\nRp14\n(I3\nV|\np15\nNNNI-1\nI-1\nI0\ntp16\nbI00\ng3\n(V\x89PNG\\u000d\\u000a\
\\u001a\\u000a\\u005c\\u0000\xff\np17\ng5\ntp18\nRp19\ntp20\nb.";
        assert_eq!(message[HEADER_LEN..], *expected);
        assert_eq!(message[..4], u32::try_from(expected.len()).expect("short").to_be_bytes());
        assert_eq!(message[4..HEADER_LEN], [b' '; TEXT_LEN]);
    }

    #[test]
    fn compact_is_thirty_bytes_more_than_the_png() {
        let message = whole(Style::Compact, b"\x89PNG");
        assert_eq!(message[HEADER_LEN..], *b"cnumpy\nfrombuffer\n(B\x04\0\0\0\x89PNGVB\ntR.");
        assert_eq!(message.len(), HEADER_LEN + 4 + 30);
    }

    #[test]
    fn the_worst_case_fits_exactly() {
        let worst = vec![0; 9_999];
        let len = whole(Style::Protocol0, &worst).len();
        // The bound leaves 20 places for the number of bytes, of which this one uses 4.
        assert_eq!(len, message_bound(Style::Protocol0, worst.len()) - 16);
    }

    #[test]
    fn what_a_python_server_sent_is_sent_again_byte_for_byte() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/seed-golden/wire");
        let Ok(theirs) = std::fs::read(format!("{folder}/small16x12_py3.11_np1.26.4_cv4.11.0.bin")) else {
            eprintln!("SKIPPED: no recorded message in {folder}");
            return;
        };
        let data = theirs.windows(4).position(|w| w == b"g3\n(").expect("the data") + 5;
        let end = theirs.len() - TAIL.len();
        let png = unescape(&theirs[data..end]);
        let text: &[u8; TEXT_LEN] = theirs[4..HEADER_LEN].try_into().expect("280 bytes");
        let mut out = vec![0; message_bound(Style::Protocol0, png.len())];
        let len = message(Style::Protocol0, text, &png, &mut out);
        assert!(out[..len] == theirs[..], "the message differs from the recorded one");
    }

    proptest! {
        #[test]
        fn escaping_loses_nothing(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let message = whole(Style::Protocol0, &bytes);
            let data = message.windows(4).position(|w| w == b"g3\n(").expect("the data") + 5;
            let escaped = &message[data..message.len() - TAIL.len()];
            prop_assert_eq!(unescape(escaped), bytes);
            prop_assert!(!escaped.iter().any(|b| [0u8, 10, 13, 26].contains(b)));
        }
    }
}
