//! The query of a request: what stands behind the question mark.
//!
//! Its users paste addresses from manuals of other cameras, so it is read as µStreamer's HTTP library reads it, and
//! leniently: pairs are separated by `&`, escapes in values are decoded (`+` is a space), keys are compared as they stand but for
//! case, of a key that is given twice the first counts, and what means nothing here is left to those it means something to.

use std::fmt;
use std::num::NonZeroU8;
use std::str::FromStr;

use crate::limits::{FPS_MAX, QUERY_VALUE_MAX};

/// What is heeded of a query.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Query {
    values: [Option<Value>; Name::ALL.len()],
}

/// The keys that mean something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Name {
    /// mjpg-streamer's way to say what is asked for.
    Action,
    /// How a picture or depth is packed.
    Format,
    /// What a picture shows.
    View,
    /// Most pictures a second.
    Fps,
    /// µStreamer: a name that a viewer gives itself.
    Key,
    /// µStreamer: tell more in the head of each part.
    ExtraHeaders,
    /// µStreamer: send the head of the next part behind each picture.
    AdvanceHeaders,
    /// µStreamer: send the last picture before a pause twice.
    DualFinalFrames,
    /// µStreamer: send no pictures, heads only.
    ZeroData,
}

impl Name {
    /// All of them, each at its own number.
    pub const ALL: [Name; 9] = [
        Name::Action,
        Name::Format,
        Name::View,
        Name::Fps,
        Name::Key,
        Name::ExtraHeaders,
        Name::AdvanceHeaders,
        Name::DualFinalFrames,
        Name::ZeroData,
    ];

    /// The key as it is written.
    pub fn text(self) -> &'static str {
        match self {
            Name::Action => "action",
            Name::Format => "format",
            Name::View => "view",
            Name::Fps => "fps",
            Name::Key => "key",
            Name::ExtraHeaders => "extra_headers",
            Name::AdvanceHeaders => "advance_headers",
            Name::DualFinalFrames => "dual_final_frames",
            Name::ZeroData => "zero_data",
        }
    }
}

/// A decoded value.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Value {
    bytes: heapless::Vec<u8, QUERY_VALUE_MAX>,
    /// There was more than there is room for: it is none of the words that are known.
    cut: bool,
}

impl Query {
    /// Takes a query apart; `text` is what stands behind the question mark. There is no text that cannot be read.
    pub fn new(text: &str) -> Self {
        let mut query = Self::default();
        for pair in text.as_bytes().split(|b| *b == b'&') {
            let end = pair.iter().position(|b| *b == b'=').unwrap_or(pair.len());
            let (key, value) = (&pair[..end], pair.get(end + 1..).unwrap_or_default());
            let same = |name: &&Name| key.eq_ignore_ascii_case(name.text().as_bytes());
            if let Some(name) = Name::ALL.iter().find(same) {
                query.values[*name as usize].get_or_insert_with(|| Value::new(value));
            }
        }
        query
    }

    /// The value of a key, if it is there.
    pub fn value(&self, name: Name) -> Option<&Value> {
        self.values[name as usize].as_ref()
    }

    /// The value of a key that has one; what is given but empty counts as not given.
    pub fn word(&self, name: Name) -> Option<&Value> {
        self.value(name).filter(|value| value.cut || !value.bytes.is_empty())
    }

    /// Whether a key says yes, by µStreamer's rule: `true`, `yes`, or anything that begins with 1.
    pub fn is_true(&self, name: Name) -> bool {
        let yes = |value: &Value| value.bytes.first() == Some(&b'1') || value.is("true") || value.is("yes");
        self.value(name).is_some_and(yes)
    }

    /// The most pictures a second that are wanted; `None` for all.
    ///
    /// # Errors
    /// What to answer, if it is no number that makes sense.
    pub fn fps(&self) -> Result<Option<NonZeroU8>, &'static str> {
        let Some(value) = self.word(Name::Fps) else { return Ok(None) };
        let number = value.text().and_then(|text| text.parse::<NonZeroU8>().ok());
        match number.filter(|n| u32::from(n.get()) <= FPS_MAX) {
            Some(number) => Ok(Some(number)),
            None => {
                const { assert!(FPS_MAX == 240, "the next line says so") };
                Err("fps must be a whole number from 1 to 240")
            }
        }
    }

    /// The name that a viewer gives itself, to find itself in `/state`; [`Tag::NONE`] if it gives none.
    ///
    /// # Errors
    /// What to answer, if it holds what has no place in a header field.
    pub fn key(&self) -> Result<Tag, &'static str> {
        let Some(value) = self.word(Name::Key) else { return Ok(Tag::NONE) };
        let tag = if value.cut { None } else { Tag::new(&value.bytes) };
        const { assert!(QUERY_VALUE_MAX == 64, "the next line says so") };
        tag.ok_or("key must be at most 64 letters, digits and -._~")
    }
}

impl Value {
    fn new(coded: &[u8]) -> Self {
        let mut value = Self::default();
        for byte in decoded(coded) {
            value.cut |= value.bytes.push(byte).is_err();
        }
        value
    }

    /// Whether it is this word, without regard to case.
    pub fn is(&self, word: &str) -> bool {
        !self.cut && self.bytes.eq_ignore_ascii_case(word.as_bytes())
    }

    /// The value as text; `None` if it is none or longer than [`QUERY_VALUE_MAX`] bytes.
    pub fn text(&self) -> Option<&str> {
        if self.cut { None } else { str::from_utf8(&self.bytes).ok() }
    }
}

/// A short name that can stand anywhere in a header field and in JSON: letters, digits and `-._~`. All of them may be in a
/// token (RFC 9110, section 5.6.2), none ends anything, and µStreamer too leaves them as they are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tag {
    bytes: [u8; QUERY_VALUE_MAX],
    length: usize,
}

impl Tag {
    /// No name.
    pub const NONE: Tag = Tag { bytes: [0; QUERY_VALUE_MAX], length: 0 };

    /// A name of at most [`QUERY_VALUE_MAX`] bytes; `None` if it holds anything else.
    pub fn new(text: &[u8]) -> Option<Self> {
        let fine = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
        let mut tag = Self { length: text.len(), ..Self::NONE };
        tag.bytes.get_mut(..text.len())?.copy_from_slice(text);
        text.iter().all(fine).then_some(tag)
    }

    /// The name; empty if there is none.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }

    /// The name, or `0` if there is none, as µStreamer writes it.
    pub fn or_zero(&self) -> &str {
        if self.length == 0 { "0" } else { self.as_str() }
    }
}

impl FromStr for Tag {
    type Err = BadTag;

    fn from_str(text: &str) -> Result<Self, BadTag> {
        Self::new(text.as_bytes()).ok_or(BadTag)
    }
}

/// A text that is no [`Tag`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BadTag;

impl fmt::Display for BadTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const { assert!(QUERY_VALUE_MAX == 64, "the next line says so") };
        f.write_str("at most 64 letters, digits and -._~ may be in it")
    }
}

impl std::error::Error for BadTag {}

/// The bytes that a coded text stands for. A percent sign without two hexadecimal digits stands for itself.
fn decoded(coded: &[u8]) -> impl Iterator<Item = u8> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut rest = coded;
    std::iter::from_fn(move || {
        let (&byte, mut behind) = rest.split_first()?;
        let mut meant = if byte == b'+' { b' ' } else { byte };
        if byte == b'%'
            && let [high, low, others @ ..] = behind
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            (meant, behind) = (16 * high + low, others);
        }
        rest = behind;
        Some(meant)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(query: &str, name: Name) -> Option<String> {
        Query::new(query).value(name).map(|value| value.text().expect("short text").to_owned())
    }

    #[test]
    fn what_people_paste_is_understood() {
        for (query, action) in [
            ("action=stream", Some("stream")),
            ("action=stream_0&ignored.mjpg", Some("stream_0")),
            ("x&&=&a=b&ACTION=snapshot", Some("snapshot")),
            ("%61ction=a&action=%73tream%5f0", Some("stream_0")),
            ("action=a&action=b", Some("a")),
            ("action=a+b%2Bc%", Some("a b+c%")),
            ("action=%zz%4", Some("%zz%4")),
            ("action=a=b", Some("a=b")),
            ("action", Some("")),
            ("actions=a", None),
            ("?action=a", None),
            ("", None),
        ] {
            assert_eq!(text(query, Name::Action).as_deref(), action, "{query}");
        }
    }

    #[test]
    fn yes_is_what_it_is_to_ustreamer() {
        for yes in ["1", "1x", "true", "TRUE", "Yes", "%31"] {
            assert!(Query::new(&format!("zero_data={yes}")).is_true(Name::ZeroData), "{yes}");
        }
        for no in ["", "0", "01", "on", "truely", "y", "%", "no&zero_data=1"] {
            assert!(!Query::new(&format!("zero_data={no}")).is_true(Name::ZeroData), "{no}");
        }
        assert!(!Query::new("zero_data").is_true(Name::ZeroData));
    }

    #[test]
    fn paces_are_whole_numbers() {
        let fps = |text: &str| Query::new(text).fps().map(|fps| fps.map(NonZeroU8::get));
        assert_eq!(
            (fps(""), fps("fps="), fps("fps=1"), fps("fps=240")),
            (Ok(None), Ok(None), Ok(Some(1)), Ok(Some(240)))
        );
        for bad in ["0", "241", "256", "-1", "2.5", "x", "9999999999999999999999", "1%00"] {
            assert!(fps(&format!("fps={bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_are_tokens() {
        let key = |text: &str| Query::new(text).key().map(|key| key.or_zero().to_owned());
        assert_eq!(key(""), Ok("0".into()));
        assert_eq!(key("key="), Ok("0".into()));
        assert_eq!(key("key=aZ09-._~"), Ok("aZ09-._~".into()));
        assert_eq!(key(&format!("key={}", "k".repeat(64))), Ok("k".repeat(64)));
        let long = "k".repeat(65);
        for bad in [&long, "a;b", "a%0d%0aSet-Cookie:x", "a%20b", "a+b", "%ff", "a\"b", "a/b", "ä", "%00"] {
            assert!(key(&format!("key={bad}")).is_err(), "{bad}");
        }
    }

    proptest! {
        /// What a form writes is what is read, however much of it is escaped, and whatever stands around it.
        #[test]
        fn forms_are_read_back(
            value in prop::collection::vec(any::<u8>(), 0..=QUERY_VALUE_MAX),
            plain in any::<bool>(),
            before in "([a-z%+]{0,9}=[a-z0-9%]{0,9}&){0,3}",
            after in "(&[a-zA-Z=%]{0,12}){0,3}",
        ) {
            let escape = |b: &u8| {
                if plain && b.is_ascii_alphanumeric() { char::from(*b).to_string() } else { format!("%{b:02X}") }
            };
            let coded: String = value.iter().map(escape).collect();
            // No key among the neighbours is the one that is asked for.
            let query = Query::new(&format!("{before}dual_final_frames={coded}{after}"));
            let read = query.value(Name::DualFinalFrames).expect("it is there");
            prop_assert_eq!((&read.bytes[..], read.cut), (&value[..], false));
        }

        /// Whatever is asked, nothing that could end a header field or a cookie comes through as a key.
        #[test]
        fn no_key_ends_anything(text in "(key=)?.{0,90}") {
            if let Ok(key) = Query::new(&text).key() {
                let key = key.or_zero();
                prop_assert!((1..=QUERY_VALUE_MAX).contains(&key.len()));
                prop_assert!(key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)));
            }
        }

        /// A value that is too long is no word at all, not the word that it begins with.
        #[test]
        fn long_values_are_no_words(more in 1usize..200) {
            let query = Query::new(&format!("key={0}&view={0}", "1".repeat(QUERY_VALUE_MAX + more)));
            prop_assert!(query.key().is_err());
            let view = query.value(Name::View).expect("it is there");
            prop_assert!(view.text().is_none() && !view.is(&"1".repeat(QUERY_VALUE_MAX)));
        }
    }
}
