//! The Python protocol says the same however its bytes are cut, and what its table says.
#![no_main]

use depthcast_fuzz::{Input, legacy_expected, legacy_talk};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let input = Input::new(data);
    assert_eq!(legacy_talk(input), legacy_expected(input));
    assert_eq!(legacy_talk(input.uncut()), legacy_expected(input));
});
