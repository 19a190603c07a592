//! The page's own copies of what the server knows.

use depthcast::colormap::JET;

/// The palette stands in web/page.js as Base64, cut into lines.
#[test]
fn the_page_has_the_servers_palette() {
    let script = include_str!("../web/page.js");
    let text = script.split_once("atob(").and_then(|(_, rest)| rest.split_once(')')).expect("a palette").0;
    let base64: Vec<u32> = text.split('\'').skip(1).step_by(2).flat_map(str::bytes).map(sextet).collect();
    let bytes: Vec<u8> = base64
        .chunks_exact(4)
        .flat_map(|four| {
            let word = four.iter().fold(0, |word, sextet| word << 6 | sextet);
            word.to_be_bytes().into_iter().skip(1)
        })
        .collect();
    assert_eq!(bytes, JET);
}

/// RFC 4648, table 1.
fn sextet(byte: u8) -> u32 {
    let alphabet = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['+', '/']);
    let at = alphabet.into_iter().position(|c| c == char::from(byte)).expect("Base64");
    u32::try_from(at).expect("below 64")
}
