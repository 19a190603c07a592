//! A query is read as a slow reader with a heap reads it, and what may end up in a header field ends none.
#![no_main]

use depthcast::proto::query::{Name, Query};
use depthcast_fuzz::query_value;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    let query = Query::new(text);
    for name in Name::ALL {
        let wanted = query_value(text, name.text());
        assert_eq!(query.value(name).is_some(), wanted.is_some());
        let read = query.value(name).and_then(|value| value.text());
        assert_eq!(
            read.map(str::as_bytes),
            wanted.as_deref().filter(|w| w.len() <= 64 && str::from_utf8(w).is_ok())
        );
    }
    if let Ok(key) = query.key() {
        assert!(key.or_zero().bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)));
    }
    assert!(
        query.fps().is_ok_and(|fps| fps.is_none_or(|n| n.get() <= 240)) || query.value(Name::Fps).is_some()
    );
});
