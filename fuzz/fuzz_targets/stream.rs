//! Whatever becomes of a sensor's packets, a frame is made of its own, and a decoder and a recorder tell the same.
#![no_main]

use depthcast_fuzz::StreamTalk;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let (decoded, recorded) = StreamTalk::play(data);
    assert_eq!(decoded, recorded);
});
