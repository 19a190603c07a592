//! A file is a frame that our own encoder gives back, or an error that leaves the depth alone.
//!
//! The decoder skips checksums when it is built for fuzzing, so mutations reach its depths.
#![no_main]

use depthcast::encode::png::{Encoder, depth_bound};
use depthcast::source::replay::decode_frame;
use depthcast::source::{HEIGHT, PIXELS, WIDTH};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut depth = vec![UNTOUCHED; PIXELS];
    match decode_frame(data, &mut depth) {
        Ok(()) => {
            let mut png = vec![0; depth_bound(WIDTH, HEIGHT)];
            let length = Encoder::new(WIDTH, HEIGHT).depth(&depth, "", &mut png);
            let mut again = vec![UNTOUCHED; PIXELS];
            assert_eq!(decode_frame(&png[..length], &mut again), Ok(()));
            assert!(again == depth);
        }
        Err(error) => assert!(!error.to_string().is_empty() && depth.iter().all(|mm| *mm == UNTOUCHED)),
    }
});

const UNTOUCHED: u16 = 0xbeef;
