//! What a picture says about itself, as text inside the file: a COM segment in JPEG, a tEXt chunk in PNG.
//!
//! One line of JSON in ASCII. ASCII, because grabbers that look for the end of a JPEG (`FF D9`) look inside segments too.

use std::fmt::{self, Write};

/// What is said.
#[derive(Clone, Copy, Debug)]
pub struct Metadata<'a> {
    /// Sequence number of the frame, or of the last one before the placeholder.
    pub seq: u64,
    /// Wall clock at capture, microseconds since 1970.
    pub captured_us: i64,
    /// Depths of the first and the last colour, in millimetres; `None` where colours are no depths.
    pub range_mm: Option<(u16, u16)>,
    /// Pixels with a depth, of so many; `None` for the placeholder.
    pub valid: Option<(usize, usize)>,
    /// Identifier of the camera.
    pub uid: &'a str,
    /// Name of the camera.
    pub name: &'a str,
}

impl Metadata<'_> {
    /// The text. What does not fit, which is nothing with texts within the limits of a configuration, is cut off.
    pub fn text(&self) -> heapless::String<METADATA_MAX> {
        let mut text = heapless::String::new();
        // A picture without its end of text is better than no picture.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut impl Write) -> fmt::Result {
        let sign = if self.captured_us < 0 { "-" } else { "" };
        let us = self.captured_us.unsigned_abs();
        write!(out, r#"{{"seq":{},"captured":{sign}{}.{:06},"#, self.seq, us / 1_000_000, us % 1_000_000)?;
        match self.range_mm {
            Some((min, max)) => write!(out, r#""min_mm":{min},"max_mm":{max},"#)?,
            None => out.write_str(r#""min_mm":null,"max_mm":null,"#)?,
        }
        write!(out, r#""online":{},"#, self.valid.is_some())?;
        match self.valid {
            Some((valid, all)) => write!(out, r#""valid":{:.4}"#, valid as f64 / all.max(1) as f64)?,
            None => out.write_str(r#""valid":null"#)?,
        }
        out.write_str(r#","uid":""#)?;
        escape(out, self.uid)?;
        out.write_str(r#"","name":""#)?;
        escape(out, self.name)?;
        out.write_str(r#""}"#)
    }
}

/// The inside of a JSON string in ASCII (RFC 8259, section 7): what is beyond is written in UTF-16 code units.
fn escape(out: &mut impl Write, text: &str) -> fmt::Result {
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(out, "\\{c}")?,
            ' '..='~' => out.write_char(c)?,
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}")?;
                }
            }
        }
    }
    Ok(())
}

/// Bytes that are enough for two texts of [`CAMERA_TEXT_MAX`](crate::limits::CAMERA_TEXT_MAX) bytes, each of which
/// may become six.
pub const METADATA_MAX: usize = 256 + 2 * 6 * crate::limits::CAMERA_TEXT_MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FULL: Metadata<'_> = Metadata {
        seq: u64::MAX,
        captured_us: i64::MIN,
        range_mm: Some((u16::MAX, u16::MAX)),
        valid: Some((1, 3)),
        uid: "camera0x11",
        name: "Garage \"Süd\" 🚗",
    };

    #[test]
    fn it_is_one_line_of_json_in_ascii() {
        let text = FULL.text();
        assert!(text.bytes().all(|b| (b' '..=b'~').contains(&b)), "{text}");
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(json["seq"], u64::MAX);
        assert!(text.contains(r#""captured":-9223372036854.775808,"#), "{text}");
        assert_eq!((json["valid"].as_f64(), &json["online"]), (Some(0.3333), &true.into()));
        assert_eq!(json["name"], FULL.name);
        let placeholder = Metadata { valid: None, ..FULL }.text();
        assert!(placeholder.contains(r#""online":false,"valid":null,"#), "{placeholder}");
    }

    proptest! {
        /// Texts as long as a configuration may give them, of whatever characters, arrive whole.
        #[test]
        fn any_camera_fits(uid in any::<String>(), name in "\\PC{0,60}|[\u{0}-\u{1f}]{0,200}") {
            let cut = |text: &str| {
                let end = (0..=crate::limits::CAMERA_TEXT_MAX).rev().find(|n| text.is_char_boundary(*n));
                text[..end.unwrap_or(0).min(text.len())].to_owned()
            };
            let (uid, name) = (cut(&uid), cut(&name));
            let text = Metadata { uid: &uid, name: &name, ..FULL }.text();
            let json: serde_json::Value = serde_json::from_str(&text).expect("whole");
            prop_assert_eq!(json["uid"].as_str(), Some(uid.as_str()));
            prop_assert_eq!(json["name"].as_str(), Some(name.as_str()));
        }
    }
}
