//! Who and where this camera is, what its clock shows, and the text block of the Python protocol that says so.

use core::fmt::{self, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Bytes of the text block, padding included.
pub const TEXT_LEN: usize = 280;

/// Who and where this camera is, as configured; any text. The defaults are the Python server's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Camera {
    /// Unique among the cameras of a site.
    pub uid: String,
    /// What people call it.
    pub name: String,
    /// What it is.
    pub kind: String,
    /// Where it hangs.
    pub location: String,
}

impl Default for Camera {
    fn default() -> Self {
        Self {
            uid: "camera0x11".into(),
            name: "camera01".into(),
            kind: "3D Depth Camera".into(),
            location: "Underground Parking(B2)".into(),
        }
    }
}

/// A time on the wall, in some time zone, to the millisecond.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Civil {
    /// 1..=9999 from [`LocalClock::civil`].
    pub year: u16,
    /// 1..=12.
    pub month: u8,
    /// 1..=31.
    pub day: u8,
    /// 0..=23.
    pub hour: u8,
    /// 0..=59.
    pub minute: u8,
    /// 0..=59: no leap seconds.
    pub second: u8,
    /// 0..=999.
    pub millis: u16,
}

impl Civil {
    /// `YYYY:MM:DD:HH:MM:SS`, as in the text block.
    pub fn colons(self) -> impl fmt::Display {
        Written { civil: self, date: ':', middle: ':' }
    }

    /// `YYYY-MM-DD HH:MM:SS`, as people read it.
    pub fn dashes(self) -> impl fmt::Display {
        Written { civil: self, date: '-', middle: ' ' }
    }
}

/// Turns time since 1970 into local time. The time zone is looked up once, when this is made: never on the frame path.
#[derive(Clone, Debug)]
pub struct LocalClock(TimeZone);

impl LocalClock {
    /// The time zone of the system (`TZ`, then `/etc/localtime`), or UTC if it has none. Reads files.
    pub fn system() -> Self {
        Self(TimeZone::system())
    }

    /// Coordinated universal time.
    pub fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// The local time, rounded down to the millisecond.
    ///
    /// * `wall_us`: µs since 1970-01-01 00:00 UTC; before year 1 and after year 9999 the nearest time that has a
    ///   four-digit year: a board with a mad clock still sends text of the usual length.
    ///
    /// Never allocates, never panics.
    pub fn civil(&self, wall_us: i64) -> Civil {
        let wall_us = wall_us.clamp(EARLIEST_US, LATEST_US);
        // Within the clamp there is no error; making one would allocate.
        let timestamp = Timestamp::from_microsecond(wall_us).unwrap_or_default();
        let at = self.0.to_datetime(timestamp);
        // No sign is lost: the clamp leaves years 1..=9999.
        Civil {
            year: at.year().unsigned_abs(),
            month: at.month().unsigned_abs(),
            day: at.day().unsigned_abs(),
            hour: at.hour().unsigned_abs(),
            minute: at.minute().unsigned_abs(),
            second: at.second().unsigned_abs(),
            millis: at.millisecond().unsigned_abs(),
        }
    }
}

impl From<TimeZone> for LocalClock {
    fn from(zone: TimeZone) -> Self {
        Self(zone)
    }
}

/// What the text block says.
#[derive(Clone, Copy, Debug)]
pub struct TextFacts<'a> {
    /// Who and where.
    pub camera: &'a Camera,
    /// Columns of the picture.
    pub width: usize,
    /// Rows of the picture.
    pub height: usize,
    /// Frames a second, as really captured.
    pub fps: u32,
    /// When the latest event began; the frame's capture time before there is one.
    pub start: Civil,
    /// When it ended; likewise.
    pub end: Civil,
    /// Its number; 0 before there is one.
    pub event_id: u64,
}

/// Writes the text block of the Python protocol.
///
/// UTF-8, lines ended by `\n` but the last, padded with NULs. What does not fit is cut on a character boundary: the
/// Python viewer decodes all 280 bytes and dies of half a character. Control characters in the configured strings
/// become spaces (see [`OneLine`]), so that no name can forge a line. Never allocates.
pub fn text_block(facts: &TextFacts<'_>) -> [u8; TEXT_LEN] {
    let mut block = Block { bytes: [0; TEXT_LEN], used: 0 };
    // An error says that the block is full; what is in it by then is what is sent.
    let _full = write!(
        block,
        "Cam_Info_List\n    -UID: {}\n    -Name: {}\n    -Type: {}\n    -Location: {}\n    -Resolution: {}X{}\n    \
         -FrameRate: {}fps\nEvent_Info_List\n    -StartTime: {}\n    -EndTime: {}\n    -EventID: {}",
        OneLine(&facts.camera.uid),
        OneLine(&facts.camera.name),
        OneLine(&facts.camera.kind),
        OneLine(&facts.camera.location),
        facts.width,
        facts.height,
        facts.fps,
        facts.start.colons(),
        facts.end.colons(),
        facts.event_id,
    );
    block.bytes
}

/// Shows a string as one line: control characters (NUL and DEL too) and the line and paragraph separators of Unicode,
/// at all of which Python's `splitlines` may split, become spaces.
#[derive(Clone, Copy, Debug)]
pub struct OneLine<'a>(pub &'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
        let mut pieces = self.0.split(breaks);
        f.write_str(pieces.next().unwrap_or(""))?;
        for piece in pieces {
            f.write_str(" ")?;
            f.write_str(piece)?;
        }
        Ok(())
    }
}

/// A [`Civil`] with its separators: within the date, and between date and time.
struct Written {
    civil: Civil,
    date: char,
    middle: char,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { civil: c, date, middle } = self;
        write!(f, "{:04}{date}{:02}{date}{:02}{middle}", c.year, c.month, c.day)?;
        write!(f, "{:02}:{:02}:{:02}", c.hour, c.minute, c.second)
    }
}

/// The text block while it is written; once something did not fit, it takes nothing more.
struct Block {
    bytes: [u8; TEXT_LEN],
    used: usize,
}

impl Write for Block {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut fits = text.len().min(TEXT_LEN - self.used);
        while !text.is_char_boundary(fits) {
            fits -= 1;
        }
        self.bytes[self.used..self.used + fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.used += fits;
        if fits == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

/// 0001-01-03 00:00 UTC in µs since 1970: no time zone puts that before year 1.
const EARLIEST_US: i64 = -(719_162 - 2) * 86_400 * 1_000_000;
/// 9999-12-30 22:00 UTC in µs since 1970, the last that `jiff` takes: no time zone puts that after year 9999.
const LATEST_US: i64 = 253_402_207_200 * 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UTC: LocalClock = LocalClock(TimeZone::UTC);
    /// 2020-11-10 13:55:34 UTC.
    const EXAMPLE_US: i64 = 1_605_016_534_000_000;

    fn facts(camera: &Camera) -> TextFacts<'_> {
        TextFacts {
            camera,
            width: 512,
            height: 424,
            fps: 10,
            start: UTC.civil(EXAMPLE_US),
            end: UTC.civil(EXAMPLE_US + 5_000_000),
            event_id: 10,
        }
    }

    /// The text of a block without its padding; fails as the Python viewer would.
    fn text(block: &[u8; TEXT_LEN]) -> &str {
        std::str::from_utf8(block).unwrap().trim_end_matches('\0')
    }

    #[test]
    fn the_example_is_the_python_servers() {
        let golden = "Cam_Info_List\n    -UID: camera0x11\n    -Name: camera01\n    -Type: 3D Depth Camera\n    \
                      -Location: Underground Parking(B2)\n    -Resolution: 512X424\n    -FrameRate: 10fps\n\
                      Event_Info_List\n    -StartTime: 2020:11:10:13:55:34\n    -EndTime: 2020:11:10:13:55:39\n    \
                      -EventID: 10";
        assert_eq!(golden.len(), 270);
        let block = text_block(&facts(&Camera::default()));
        assert_eq!(text(&block), golden);
        assert_eq!(block[270..], [0; 10]);
    }

    #[test]
    fn a_name_cannot_forge_lines() {
        let name = "a\n    -Type: b\r\n\0c\u{85}d\u{2028}e\u{1c}\u{7f}".to_string();
        let camera = Camera { name, ..Camera::default() };
        let block = text_block(&facts(&camera));
        assert!(text(&block).contains("    -Name: a     -Type: b   c d e  \n    -Type: 3D Depth Camera\n"));
        assert_eq!(text(&block).lines().count(), 11);
    }

    #[test]
    fn half_a_character_is_never_sent() {
        for lead in 0..4 {
            let location = format!("{}{}", "x".repeat(lead), "駐車場🚗".repeat(30));
            let camera = Camera { location, ..Camera::default() };
            let block = text_block(&facts(&camera));
            let text = text(&block);
            assert!(text.len() > TEXT_LEN - 4, "as much as fits is kept: {}", text.len());
            assert!(text.ends_with(['駐', '車', '場', '🚗']), "nothing follows the cut");
        }
    }

    #[test]
    fn a_text_of_just_the_length_is_whole() {
        for extra in 9..=12 {
            let camera = Camera { location: "x".repeat(23 + extra), ..Camera::default() };
            let block = text_block(&facts(&camera));
            assert_eq!(text(&block).len(), (270 + extra).min(TEXT_LEN));
            assert_eq!(text(&block).ends_with("EventID: 10"), extra <= 10);
        }
    }

    #[test]
    fn clocks_that_boards_have() {
        let at = |us| UTC.civil(us).dashes().to_string();
        assert_eq!(at(0), "1970-01-01 00:00:00");
        assert_eq!(at(-1), "1969-12-31 23:59:59");
        assert_eq!(UTC.civil(-1).millis, 999);
        assert_eq!(at(951_782_400_000_000), "2000-02-29 00:00:00");
        assert_eq!(at(4_102_444_800_000_000), "2100-01-01 00:00:00");
        assert_eq!(at(i64::MIN), "0001-01-03 00:00:00");
        assert_eq!(at(i64::MAX), "9999-12-30 22:00:00");
        assert_eq!(UTC.civil(1_234_567).colons().to_string(), "1970:01:01:00:00:01");
        assert_eq!(UTC.civil(1_234_567).millis, 234);
        for us in [EARLIEST_US, LATEST_US] {
            assert!(Timestamp::from_microsecond(us).is_ok(), "an error would allocate");
        }
    }

    #[test]
    fn local_time_follows_its_zone() {
        // Central Europe: summer time from the last Sunday of March to that of October, at 01:00 UTC.
        let clock = LocalClock::from(TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap());
        let at = |us| clock.civil(us).dashes().to_string();
        assert_eq!(at(EXAMPLE_US), "2020-11-10 14:55:34");
        assert_eq!(at(1_585_443_599_999_999), "2020-03-29 01:59:59");
        assert_eq!(at(1_585_443_600_000_000), "2020-03-29 03:00:00");
        let _may_be_any_zone = LocalClock::system().civil(EXAMPLE_US);
    }

    proptest! {
        #[test]
        fn any_clock_in_any_zone_is_a_date(us in any::<i64>(), offset in -93_599..=93_599_i32) {
            let zone = TimeZone::fixed(jiff::tz::Offset::from_seconds(offset).unwrap());
            for us in [us, us / 300, i64::MIN, i64::MAX, EARLIEST_US] {
                let c = LocalClock::from(zone.clone()).civil(us);
                prop_assert!((1..=9999).contains(&c.year), "{c:?}");
                prop_assert!((1..=12).contains(&c.month) && (1..=31).contains(&c.day), "{c:?}");
                prop_assert!(c.hour < 24 && c.minute < 60 && c.second < 60 && c.millis < 1000, "{c:?}");
                prop_assert_eq!(c.colons().to_string().len(), 19);
            }
        }

        #[test]
        fn any_names_give_a_block_that_python_can_decode(
            uid in any::<String>(),
            name in ".{0,80}",
            kind in any::<String>(),
            location in "\\PC{0,90}",
            numbers in any::<(usize, usize, u32, u64)>(),
        ) {
            let camera = Camera { uid, name, kind, location };
            let (width, height, fps, event_id) = numbers;
            let block = text_block(&TextFacts { width, height, fps, event_id, ..facts(&camera) });
            let text = text(&block);
            prop_assert!(text.starts_with("Cam_Info_List\n    -UID: "));
            prop_assert!(!text.contains('\0') && text.lines().count() <= 11);
        }
    }
}
