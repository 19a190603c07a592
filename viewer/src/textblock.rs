//! The text block of a message: who and where the camera is, and its latest event.
//!
//! A server writes section names on lines of their own and `-Key: value` below them, indented as it likes; the Python
//! server cuts its text at 280 bytes, wherever that is. So lines are taken as they come, and one that says nothing is
//! left out.

use std::fmt;

use depthcast::camera::OneLine;
use serde_json::{Map, Value};

/// What a text block says, in its order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TextBlock {
    entries: Vec<Entry>,
}

/// One `-Key: value`.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Entry {
    /// The line without a dash above it; empty if there is none.
    section: String,
    /// What stands between the dash and the colon; never empty.
    key: String,
    /// What stands behind the colon; a single line.
    value: String,
}

impl TextBlock {
    /// Reads a block. What is no UTF-8, or a control character, is shown as if it were something else.
    pub fn parse(block: &[u8]) -> Self {
        let end = block.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let text = String::from_utf8_lossy(&block[..end]);
        let mut entries = Vec::new();
        let mut section = String::new();
        for line in text.lines() {
            let line = OneLine(line).to_string();
            let line = line.trim();
            match line.strip_prefix('-') {
                None => section = line.to_owned(),
                Some(entry) => {
                    let (key, value) = entry.split_once(':').unwrap_or((entry, ""));
                    let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
                    if !key.is_empty() {
                        entries.push(Entry { section: section.clone(), key, value });
                    }
                }
            }
        }
        Self { entries }
    }

    /// The value of the first `key`, whatever its section.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &*entry.value)
    }

    /// Objects of texts, by section and key.
    pub fn to_json(&self) -> Value {
        let mut sections = Map::new();
        for entry in &self.entries {
            let section = sections.entry(entry.section.clone()).or_insert_with(|| Map::new().into());
            if let Value::Object(section) = section {
                section.insert(entry.key.clone(), entry.value.clone().into());
            }
        }
        sections.into()
    }
}

impl fmt::Display for TextBlock {
    /// As depthcast writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut section = "";
        for entry in &self.entries {
            if entry.section != section {
                section = &entry.section;
                writeln!(f, "{section}")?;
            }
            writeln!(f, "    -{}: {}", entry.key, entry.value)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_form_that_the_documentation_shows() {
        let text = b"Cam_Info_List\n    -UID: camera0x11\n    -Name: camera01\n    -Location: Underground Parking(B2)\n\
Event_Info_List\n    -StartTime: 2020:11:10:13:55:34\n    -EventID: 10\0\0\0";
        let block = TextBlock::parse(text);
        assert_eq!(block.get("UID"), Some("camera0x11"));
        assert_eq!(block.get("StartTime"), Some("2020:11:10:13:55:34"));
        assert_eq!(block.get("Location"), Some("Underground Parking(B2)"));
        assert_eq!(block.get("EndTime"), None);
        assert_eq!(block.to_json()["Event_Info_List"]["EventID"], "10");
        assert_eq!(block.to_string().trim_end(), str::from_utf8(text).unwrap().trim_end_matches('\0'));
    }

    #[test]
    fn the_form_that_the_python_server_sends_is_indented_and_cut() {
        let text =
            b"Cam_Info_List\n        -UID: camera0x11\n    Event_Info_List\n        -EndTime: 2020:11:10";
        let block = TextBlock::parse(text);
        assert_eq!(block.entries[1].section, "Event_Info_List");
        assert_eq!(block.get("EndTime"), Some("2020:11:10"));
        // Cut between a dash and its key, in a key, and in a character.
        for (cut, entries) in [(30, 1), (26, 1), (23, 0), (22, 0)] {
            assert_eq!(TextBlock::parse(&text[..cut]).entries.len(), entries, "{cut}");
        }
        assert_eq!(
            TextBlock::parse("-Name: ü".as_bytes().split_last().unwrap().1).get("Name"),
            Some("\u{fffd}")
        );
    }

    #[test]
    fn nothing_in_it_can_move_a_terminals_cursor() {
        let block = TextBlock::parse(b"-Name: a\x1b[2Jb\0c\r\n-\n-:\n -Type:x\n");
        assert_eq!(block.get("Name"), Some("a [2Jb c"));
        assert_eq!(block.get("Type"), Some("x"));
        assert_eq!(block.entries.len(), 2);
    }

    proptest! {
        #[test]
        fn any_bytes_are_lines_without_control_characters(bytes in prop::collection::vec(any::<u8>(), 0..281)) {
            let block = TextBlock::parse(&bytes);
            for entry in &block.entries {
                prop_assert!(!entry.key.is_empty());
                prop_assert!(![&entry.section, &entry.key, &entry.value].iter().any(|text| text.contains(char::is_control)));
            }
            // Written out and read again it says the same.
            prop_assert_eq!(TextBlock::parse(block.to_string().as_bytes()).to_json(), block.to_json());
        }

        #[test]
        fn what_depthcast_writes_is_read(name in "[^\\p{C}\\p{Z}:]{1,40}", location in "[^\\p{C}\\p{Z}]{0,40}") {
            let camera = depthcast::camera::Camera { name: name.clone(), location: location.clone(), ..Default::default() };
            let civil = depthcast::camera::LocalClock::utc().civil(0);
            let facts = depthcast::camera::TextFacts {
                camera: &camera, width: 512, height: 424, fps: 30, start: civil, end: civil, event_id: 7,
            };
            let block = TextBlock::parse(&depthcast::camera::text_block(&facts));
            prop_assert_eq!(block.get("Name"), Some(&name[..]));
            if name.len() + location.len() < 40 {
                prop_assert_eq!(block.get("Location"), Some(&location[..]));
                prop_assert_eq!(block.get("EventID"), Some("7"));
            }
        }
    }
}
