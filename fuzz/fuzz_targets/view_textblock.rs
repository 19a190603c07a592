//! A text block says the same when it is written out and read again, in lines that a terminal can show.
#![no_main]

use depthcast_view::textblock::TextBlock;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let block = TextBlock::parse(data);
    for entry in block.entries() {
        assert!(!entry.key.is_empty());
        assert!(
            ![&entry.section, &entry.key, &entry.value].iter().any(|text| text.contains(char::is_control))
        );
    }
    assert_eq!(TextBlock::parse(block.to_string().as_bytes()).to_json(), block.to_json());
});
