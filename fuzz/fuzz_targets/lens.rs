//! A lens that is taken, from a file or from a sensor, is written and read again as it is.
#![no_main]

use depthcast::source::raw::{format_intrinsics, parse_intrinsics};
use kinect2::depth::Intrinsics;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let sent = Intrinsics::from_reply(data).ok();
    for lens in [sent, parse_intrinsics(data).ok()].into_iter().flatten() {
        assert_eq!(parse_intrinsics(format_intrinsics(&lens).as_bytes()), Ok(lens));
    }
});
