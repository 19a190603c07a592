//! A lens that is taken, from a file or from a sensor, is written and read again as it is.
#![no_main]

use kinect2::depth::Intrinsics;
use kinect2::recording::{format_lens, parse_lens};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let sent = Intrinsics::from_reply(data).ok();
    for lens in [sent, parse_lens(data).ok()].into_iter().flatten() {
        assert_eq!(parse_lens(format_lens(&lens).as_bytes()), Ok(lens));
    }
});
