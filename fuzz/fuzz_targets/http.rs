//! The same requests are answered in the same order, however their bytes are cut.
#![no_main]

use depthcast_fuzz::{Input, http_talk};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let input = Input::new(data);
    assert_eq!(http_talk(input), http_talk(input.uncut()));
});
