//! Whatever is read as RVL is written and read again the same, and any depth comes back.
#![no_main]

use depthcast::encode::rvl::{HEAD_LEN, bound, decode, encode, sides};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok((width, height)) = sides(data) {
        let pixels = u64::from(width) * u64::from(height);
        if width > 0 && pixels <= 1 << 16 {
            let mut depth = vec![0; pixels as usize];
            if decode(data, &mut depth).is_ok() {
                comes_back(&depth, width as usize);
            }
        } else {
            assert!(pixels == 64 || decode(data, &mut [0; 64]).is_err());
        }
    }
    let depth: Vec<u16> = data.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect();
    comes_back(&depth, 1);
});

fn comes_back(depth: &[u16], width: usize) {
    let mut image = vec![0; bound(depth.len())];
    let length = encode(depth, width, &mut image);
    assert!(length >= HEAD_LEN && length.is_multiple_of(4));
    let mut back = vec![9; depth.len()];
    assert_eq!(decode(&image[..length], &mut back), Ok(()));
    assert!(back == depth);
}
