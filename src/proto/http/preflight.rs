//! What a page of another origin asks before it sends fields of its own (Fetch standard, "CORS-preflight request").

use std::fmt;

use crate::limits::CORS_NAMES_MAX;

/// Names of header fields, separated by commas: tokens of RFC 9110, section 5.6.2, so that they can stand in an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FieldNames {
    bytes: [u8; CORS_NAMES_MAX],
    len: u8,
}

impl FieldNames {
    /// No names.
    pub const NONE: Self = Self { bytes: [0; CORS_NAMES_MAX], len: 0 };

    /// Takes the value of `Access-Control-Request-Headers`. None of the names if one of them is no token or there is no room
    /// for all: the browser then asks in vain.
    pub fn new(value: &[u8]) -> Self {
        let mut names = Self::NONE;
        for name in value.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|name| !name.is_empty()) {
            let len = usize::from(names.len);
            let comma = usize::from(len > 0);
            let end = len + comma + name.len();
            let Some(room) = names.bytes.get_mut(len..end) else { return Self::NONE };
            if !name.iter().all(|b| is_token(*b)) {
                return Self::NONE;
            }
            room[..comma].fill(b',');
            room[comma..].copy_from_slice(name);
            names.len = u8::try_from(end).expect("no more than CORS_NAMES_MAX");
        }
        names
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl fmt::Display for FieldNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.bytes[..self.len.into()]).expect("tokens are ASCII"))
    }
}

fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_echoed_without_space() {
        assert_eq!(FieldNames::new(b"cache-control, range ,,X-A").to_string(), "cache-control,range,X-A");
        assert!(FieldNames::new(b" , ").is_empty());
    }

    #[test]
    fn what_is_no_list_of_names_or_too_long_gives_none() {
        for bad in [&b"a b"[..], b"a:b", b"range, \"x\"", b"a;b", b"caf\xc3\xa9", b"a\tb", b"range, a\rb"] {
            assert!(FieldNames::new(bad).is_empty(), "{bad:?}");
        }
        let longest = vec![b'a'; CORS_NAMES_MAX];
        assert_eq!(FieldNames::new(&longest).to_string().len(), CORS_NAMES_MAX);
        assert!(FieldNames::new(&[&longest[..], b"a"].concat()).is_empty());
    }

    proptest! {
        #[test]
        fn nothing_but_tokens_and_commas_comes_out(value in prop::collection::vec(any::<u8>(), 0..300)) {
            let names = FieldNames::new(&value).to_string();
            prop_assert!(names.len() <= CORS_NAMES_MAX);
            prop_assert!(names.is_empty() || names.split(',').all(|n| !n.is_empty() && n.bytes().all(is_token)));
        }

        #[test]
        fn lists_of_tokens_come_out_whole(names in prop::collection::vec("[a-z-]{1,12}", 0..9)) {
            prop_assert_eq!(FieldNames::new(names.join(", ").as_bytes()).to_string(), names.join(","));
        }
    }
}
