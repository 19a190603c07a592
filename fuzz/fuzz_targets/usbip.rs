//! A message of USB/IP is the same however much of it has come: waited for, taken, or refused for the reason that stays.
//!
//! The parser belongs to a program that only tests use, so it is taken in as a file.
#![no_main]

#[allow(dead_code, reason = "the fuzzer reads; what writes is not asked")]
#[path = "../../kinect2-sim-usbip/src/wire.rs"]
#[rustfmt::skip] // It is formatted where it belongs, and looks for its tests there.
mod wire;

use wire::{Command, MESSAGE_MAX, Operation};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&cut, bytes)) = data.split_first() else { return };
    let isochronous = |endpoint| endpoint == 0x84;
    let taken = whole(bytes, cut, |bytes| wire::command(bytes, isochronous));
    if let Some((Command::Submit(submit), taken)) = taken {
        let packets: usize = submit.packet_lengths().sum();
        assert!(taken <= MESSAGE_MAX && packets <= submit.length);
        assert_eq!(submit.data.len(), if submit.endpoint & 0x80 == 0 { submit.length } else { 0 });
    }
    if let Some((Operation::Import(bus_id), _)) = whole(bytes, cut, wire::operation) {
        assert!(!bus_id.contains(&0));
    }
});

/// Parses all of `bytes`, and parts of it: none may tell of another message.
fn whole<'a, T: std::fmt::Debug + PartialEq>(
    bytes: &'a [u8],
    cut: u8,
    parse: impl Fn(&'a [u8]) -> Result<Option<(T, usize)>, wire::Violation>,
) -> Option<(T, usize)> {
    let all = parse(bytes);
    let part = &bytes[..bytes.len() * usize::from(cut) / 256];
    match (&all, parse(part)) {
        // What is refused may be refused early, for the same reason.
        (Err(why), early) => {
            assert!(early == Ok(None) || early.as_ref() == Err(why), "{early:?}, then {why:?}")
        }
        (Ok(None), early) => assert_eq!(early, Ok(None)),
        (Ok(Some((_, taken))), early) if part.len() < *taken => assert_eq!(early, Ok(None)),
        (Ok(Some(_)), early) => assert_eq!(early, all),
    }
    if let Ok(Some((_, taken))) = &all {
        assert_eq!(parse(&bytes[..*taken]), all, "what is behind a message changes it");
    }
    all.unwrap_or_default()
}
