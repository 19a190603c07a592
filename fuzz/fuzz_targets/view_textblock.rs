//! A text block says the same when it is written out and read again, in lines that a terminal can show.
#![no_main]

use depthcast_view::textblock::TextBlock;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let block = TextBlock::parse(data);
    let written = block.to_string();
    assert!(!written.contains(|c: char| c.is_control() && c != '\n'));
    assert_eq!(TextBlock::parse(written.as_bytes()).to_json(), block.to_json());
});
