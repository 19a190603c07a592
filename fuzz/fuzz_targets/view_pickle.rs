//! A pickle gives no more bytes than it has, or says why not; what depthcast writes of those bytes gives them again.
#![no_main]

use depthcast::camera::TEXT_LEN;
use depthcast::proto::pickle::{HEADER_LEN, Style, message, message_bound};
use depthcast_view::pickle::array;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    match array(data) {
        Ok(bytes) => {
            assert!(bytes.len() < data.len());
            for style in [Style::Protocol0, Style::Compact] {
                let mut out = vec![0; message_bound(style, bytes.len())];
                let length = message(style, &[0; TEXT_LEN], &bytes, &mut out);
                assert_eq!(array(&out[HEADER_LEN..length]).as_deref(), Ok(&*bytes));
            }
        }
        Err(refused) => {
            assert!(refused.at <= data.len());
            assert!(!refused.to_string().contains(char::is_control), "it may be shown on a terminal");
        }
    }
});
