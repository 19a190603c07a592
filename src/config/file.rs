//! The configuration file: TOML to values, with every problem in it named by file, line, key and remedy.
//!
//! The document is walked as a tree, not deserialised into a struct: that would end at the first problem, and whoever
//! mends a file on a box in a garage should need one try.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use kinect2::depth::UNAMBIGUOUS_MM;
use nix::fcntl::OFlag;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{FLIPS, LEVELS, PICKLES, SourceSpec, choose};
use crate::access::{HostName, Origin, TokenHash};
use crate::encode::jpeg::{self, Subsampling};
use crate::limits::{
    CAMERA_TEXT_MAX, CONFIG_FILE_MAX, CONFIG_PIPE_WAIT, CONFIG_PROBLEMS_MAX, FPS_MAX, HOST_NAMES_MAX,
    KINECT_OFFSET_MAX, KINECT_PACKETS_MAX, KINECT_TRANSFERS_MAX, LISTENERS_MAX, MASK_POINTS_MAX, MASKS_MAX,
    NETWORKS_MAX, STALL_MAX_S, TOKENS_MAX, UNIX_PATH_MAX, VIEWERS_LIMIT,
};
use crate::net_poll::Address;
use crate::peer::Network;
use crate::proto::pickle;
use crate::proto::query::Tag;
use crate::source::life::Pipeline;
use crate::source::{HEIGHT, WIDTH, kinect};
use crate::view::Flip;

/// What a file says; `None` is what it leaves open.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FileValues {
    /// As problems name it.
    pub(super) file: String,
    pub(super) source: Option<SourceSpec>,
    pub(super) fps: Option<u32>,
    pub(super) rotate_180: Option<bool>,
    pub(super) flip: Option<Flip>,
    pub(super) overlay: Option<bool>,
    pub(super) masks: Option<Vec<Vec<[u16; 2]>>>,
    pub(super) listen: Option<Vec<Address>>,
    pub(super) min_mm: Option<u16>,
    pub(super) max_mm: Option<u16>,
    pub(super) clip_mm: Option<u16>,
    /// Line of the last of `range.min_mm` and `range.max_mm`: either may clash with a default.
    pub(super) range_line: usize,
    pub(super) uid: Option<String>,
    pub(super) name: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) location: Option<String>,
    pub(super) viewers_max: Option<usize>,
    pub(super) stall: Option<Duration>,
    pub(super) allow: Option<Vec<Network>>,
    pub(super) jpeg_quality: Option<u8>,
    pub(super) subsampling: Option<Subsampling>,
    pub(super) pickle: Option<pickle::Style>,
    pub(super) shutdown_from: Option<Vec<Network>>,
    pub(super) tokens: Option<Vec<TokenHash>>,
    pub(super) allow_origin: Option<Origin>,
    pub(super) names: Option<Vec<HostName>>,
    pub(super) instance: Option<Tag>,
    pub(super) packets: Option<usize>,
    pub(super) transfers: Option<usize>,
    pub(super) kinect_min_mm: Option<u16>,
    pub(super) kinect_max_mm: Option<u16>,
    pub(super) bilateral: Option<bool>,
    pub(super) edge: Option<bool>,
    pub(super) offset_mm: Option<i16>,
    /// Line of the last of the `[kinect]` keys that may clash with each other or with a default.
    pub(super) kinect_line: usize,
    pub(super) pipeline: Option<Pipeline>,
    pub(super) log_level: Option<log::LevelFilter>,
}

impl FileValues {
    /// How JPEGs are made; no option overrides it.
    pub(super) fn jpeg(&self) -> jpeg::Settings {
        let usual = jpeg::Settings::default();
        jpeg::Settings {
            quality: self.jpeg_quality.unwrap_or(usual.quality),
            subsampling: self.subsampling.unwrap_or(usual.subsampling),
        }
    }

    /// How a sensor is driven; no option overrides it.
    pub(super) fn kinect(&self) -> kinect::Settings {
        let usual = kinect::Settings::default();
        kinect::Settings {
            packets: self.packets.unwrap_or(usual.packets),
            transfers: self.transfers.unwrap_or(usual.transfers),
            min_mm: self.kinect_min_mm.unwrap_or(usual.min_mm),
            max_mm: self.kinect_max_mm.unwrap_or(usual.max_mm),
            bilateral: self.bilateral.unwrap_or(usual.bilateral),
            edge: self.edge.unwrap_or(usual.edge),
            offset_mm: self.offset_mm.unwrap_or(usual.offset_mm),
        }
    }
}

/// All that is wrong with a file, one line each: `FILE:LINE: KEY: WHY`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problems {
    file: String,
    found: Vec<Problem>,
    /// Found, but not kept.
    more: usize,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Problem {
    line: usize,
    /// Only where no key names the place within the line.
    column: Option<usize>,
    text: String,
}

impl Problems {
    fn one(file: &str, line: usize, column: Option<usize>, text: String) -> Self {
        Self { file: file.into(), found: vec![Problem { line, column, text }], more: 0 }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, Problem { line, column, text }) in self.found.iter().enumerate() {
            let newline = if n > 0 { "\n" } else { "" };
            write!(f, "{newline}{}:{line}:", self.file)?;
            if let Some(column) = column {
                write!(f, "{column}:")?;
            }
            write!(f, " {text}")?;
        }
        if self.more > 0 {
            write!(f, "\n{}: and {} more problems", self.file, self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Why a file gave no values.
#[derive(Debug)]
pub enum BadFile {
    /// It cannot be read.
    Unreadable(PathBuf, io::Error),
    /// It is larger than [`CONFIG_FILE_MAX`].
    TooLarge(PathBuf),
    /// It is no regular file and was read before.
    ReadOnce(PathBuf),
    /// It was read, and this is wrong with it.
    Problems(Problems),
}

impl fmt::Display for BadFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadFile::Unreadable(path, e) => {
                write!(f, "cannot read the configuration {}: {e}", path.display())
            }
            BadFile::TooLarge(path) => {
                write!(
                    f,
                    "{}: larger than {} KiB is no configuration",
                    path.display(),
                    CONFIG_FILE_MAX / 1024
                )
            }
            BadFile::ReadOnce(path) => {
                write!(f, "{}: no regular file, so it cannot be read again: restart instead", path.display())
            }
            BadFile::Problems(problems) => problems.fmt(f),
        }
    }
}

impl std::error::Error for BadFile {}

/// What to do with what is no regular file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Pipe {
    /// Wait for what is written to it, for [`CONFIG_PIPE_WAIT`] at most.
    Wait,
    /// It was read before.
    Refuse,
}

/// Reads and parses the file at `path`.
pub(super) fn read(path: &Path, pipe: Pipe) -> Result<FileValues, BadFile> {
    let unreadable = |e| BadFile::Unreadable(path.into(), e);
    // A pipe that nobody writes to would hold up who opens it.
    let open =
        File::options().read(true).custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits()).open(path);
    let mut file = open.map_err(unreadable)?;
    let kind = file.metadata().map_err(unreadable)?.file_type();
    if pipe == Pipe::Refuse && !kind.is_file() {
        return Err(BadFile::ReadOnce(path.into()));
    }
    let bytes = read_patiently(&mut file, kind.is_fifo(), CONFIG_PIPE_WAIT).map_err(unreadable)?;
    if bytes.len() > CONFIG_FILE_MAX {
        return Err(BadFile::TooLarge(path.into()));
    }
    let name = path.display().to_string();
    let text = std::str::from_utf8(&bytes).map_err(|e| {
        let (line, column) = place(&bytes, e.valid_up_to());
        BadFile::Problems(Problems::one(&name, line, Some(column), "this is not UTF-8 text".into()))
    })?;
    parse(text, &name).map_err(BadFile::Problems)
}

/// Reads to the end, or one byte more than a configuration may have; waits for the next byte for `patience`.
///
/// * `pipe`: a pipe without a writer is at its end, also before there was one, so that an end at once is none.
fn read_patiently(file: &mut impl Read, pipe: bool, patience: Duration) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; CONFIG_FILE_MAX + 1];
    let (mut len, mut heard) = (0, Instant::now());
    while len < bytes.len() {
        match file.read(&mut bytes[len..]) {
            Ok(0) if len > 0 || !pipe => break,
            Ok(n @ 1..) => (len, heard) = (len + n, Instant::now()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() != io::ErrorKind::WouldBlock => return Err(e),
            _ if heard.elapsed() >= patience => {
                let why = format!("nothing came, and no end, for {} s", patience.as_secs());
                return Err(io::Error::new(io::ErrorKind::TimedOut, why));
            }
            _ => thread::sleep(LOOK),
        }
    }
    bytes.truncate(len);
    Ok(bytes)
}

/// Parses `text`; pure, and never panics.
pub(super) fn parse(text: &str, file: &str) -> Result<FileValues, Problems> {
    let table = DeTable::parse(text).map_err(|e| {
        let (line, column) = place(text.as_bytes(), e.span().map_or(0, |s| s.start));
        Problems::one(file, line, Some(column), format!("this is not TOML: {}", e.message()))
    })?;
    let values = FileValues { file: file.into(), ..FileValues::default() };
    let mut walk = Walk { text, values, found: Vec::new(), more: 0 };
    walk.table("", table.get_ref());
    walk.together();
    if walk.found.is_empty() {
        return Ok(walk.values);
    }
    // The tree is sorted by key; people read from the top.
    walk.found.sort_by_key(|p| p.line);
    Err(Problems { file: file.into(), found: walk.found, more: walk.more })
}

type Value<'a> = Spanned<DeValue<'a>>;

/// The way through a document.
struct Walk<'a> {
    text: &'a str,
    values: FileValues,
    found: Vec<Problem>,
    more: usize,
}

impl Walk<'_> {
    /// All keys of `section`, which is empty at the top.
    fn table(&mut self, section: &'static str, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            match (section, value.get_ref()) {
                ("", DeValue::Table(inner)) if known_section(name).is_some() => {
                    self.table(known_section(name).unwrap_or_default(), inner);
                }
                ("", other) if known_section(name).is_some() => {
                    let text =
                        format!("{name}: this is a section, [{name}] with keys; found {}", kind_of(other));
                    self.problem(key.span().start, text);
                }
                _ => {
                    if !self.key(section, name, value) {
                        self.unknown(&dotted(section, name), key.span().start, value.get_ref());
                    }
                }
            }
        }
    }

    /// Takes the value of one key; false if there is no such key.
    fn key(&mut self, section: &'static str, name: &str, value: &Value<'_>) -> bool {
        let path = dotted(section, name);
        let key = path.as_str();
        match (section, name) {
            ("", "source") => {
                let text = self.string(key, value);
                self.values.source = text.and_then(|text| self.parsed(key, value, text));
            }
            ("", "fps") => self.values.fps = self.number(key, value, 0, FPS_MAX),
            ("", "rotate") => self.values.rotate_180 = self.rotation(key, value),
            ("", "flip") => self.values.flip = self.choice(key, value, &FLIPS),
            ("", "overlay") => self.values.overlay = self.switch(key, value),
            ("", "masks") => self.values.masks = self.masks(key, value),
            ("", "listen") => self.values.listen = self.listen(key, value),
            ("range", "min_mm") => {
                self.values.min_mm = self.millimetres(key, value, 0);
                self.values.range_line = self.values.range_line.max(self.line(value.span().start));
            }
            ("range", "max_mm") => {
                self.values.max_mm = self.millimetres(key, value, 1);
                self.values.range_line = self.values.range_line.max(self.line(value.span().start));
            }
            ("range", "clip_mm") => self.values.clip_mm = self.millimetres(key, value, 1),
            ("camera", "uid") => self.values.uid = self.label(key, value),
            ("camera", "name") => self.values.name = self.label(key, value),
            ("camera", "type") => self.values.kind = self.label(key, value),
            ("camera", "location") => self.values.location = self.label(key, value),
            ("viewers", "max") => self.values.viewers_max = self.count(key, value, VIEWERS_LIMIT),
            ("viewers", "stall_s") => {
                let seconds = self.number(key, value, 1, STALL_MAX_S);
                self.values.stall = seconds.map(|s| Duration::from_secs(s.into()));
            }
            ("viewers", "allow") => self.values.allow = self.networks(key, value),
            ("jpeg", "quality") => {
                let quality = self.number(key, value, 1, 100);
                self.values.jpeg_quality = quality.and_then(|n| u8::try_from(n).ok());
            }
            ("jpeg", "subsampling") => {
                self.values.subsampling = self.choice(key, value, &Subsampling::NAMES);
            }
            ("legacy", "pickle") => self.values.pickle = self.choice(key, value, &PICKLES),
            ("legacy", "shutdown_from") => self.values.shutdown_from = self.networks(key, value),
            ("http", "tokens") => self.values.tokens = self.list(key, value, TOKENS_MAX),
            ("http", "allow_origin") => {
                let text = self.string(key, value).filter(|text| !text.is_empty());
                self.values.allow_origin = text.and_then(|text| self.parsed(key, value, text));
            }
            ("http", "names") => self.values.names = self.list(key, value, HOST_NAMES_MAX),
            ("http", "instance") => {
                let text = self.string(key, value);
                self.values.instance = text.and_then(|text| self.parsed(key, value, text));
            }
            ("kinect", "packets") => {
                self.values.packets = self.count(key, value, KINECT_PACKETS_MAX);
                self.note_kinect(value);
            }
            ("kinect", "transfers") => {
                self.values.transfers = self.count(key, value, KINECT_TRANSFERS_MAX);
                self.note_kinect(value);
            }
            ("kinect", "min_mm") => {
                self.values.kinect_min_mm = self.sensor_millimetres(key, value);
                self.note_kinect(value);
            }
            ("kinect", "max_mm") => {
                self.values.kinect_max_mm = self.sensor_millimetres(key, value);
                self.note_kinect(value);
            }
            ("kinect", "bilateral") => self.values.bilateral = self.switch(key, value),
            ("kinect", "edge") => self.values.edge = self.switch(key, value),
            ("kinect", "offset_mm") => self.values.offset_mm = self.offset(key, value),
            ("libfreenect2", "pipeline") => self.values.pipeline = self.choice(key, value, &Pipeline::NAMES),
            ("log", "level") => self.values.log_level = self.choice(key, value, &LEVELS),
            _ => return false,
        }
        true
    }

    /// What no key alone can tell.
    fn together(&mut self) {
        if let (Some(min), Some(max)) = (self.values.min_mm, self.values.max_mm)
            && let Err(e) = crate::colormap::Range::new(min, max)
        {
            let text = format!("range.min_mm and range.max_mm: {e}");
            self.problem_on(self.values.range_line, text);
        }
        // Each may clash with the other's default too.
        if let Err(text) = self.values.kinect().check() {
            self.problem_on(self.values.kinect_line, text);
        }
    }

    /// Names an unknown key and the likely one; of an unknown table, each key that it holds.
    fn unknown(&mut self, path: &str, at: usize, value: &DeValue<'_>) {
        if let DeValue::Table(table) = value
            && !table.is_empty()
            && self.found.len() < CONFIG_PROBLEMS_MAX
        {
            for (key, value) in table {
                self.unknown(&dotted(path, key.get_ref()), key.span().start, value.get_ref());
            }
            return;
        }
        if self.found.len() >= CONFIG_PROBLEMS_MAX {
            // Thousands of guesses would take seconds.
            self.more += 1;
            return;
        }
        let mut text = format!("unknown key {}", excerpt(path));
        let near = nearest(path);
        if let Some((section, key)) = near {
            text += &format!("; did you mean {}?", dotted(section, key));
        }
        let section = near.map_or_else(|| path.split_once('.').map_or("", |p| p.0), |n| n.0);
        match SECTIONS.iter().find(|(name, _)| *name == section && !name.is_empty()) {
            Some((name, keys)) => text += &format!(" (keys of [{name}]: {})", keys.join(", ")),
            None => {
                let sections: Vec<_> = SECTIONS[1..].iter().map(|s| format!("[{}]", s.0)).collect();
                let (keys, sections) = (SECTIONS[0].1.join(", "), sections.join(", "));
                text += &format!(" (keys at the top: {keys}; sections: {sections})");
            }
        }
        self.problem(at, text);
    }

    fn rotation(&mut self, key: &str, value: &Value<'_>) -> Option<bool> {
        let degrees = self.whole(key, value, "0 or 180")?;
        if matches!(degrees, Some(0 | 180)) {
            return Some(degrees == Some(180));
        }
        self.wrong(key, value, &format!("{} is neither 0 nor 180", self.written(value)))
    }

    fn listen(&mut self, key: &str, value: &Value<'_>) -> Option<Vec<Address>> {
        let list: Vec<Address> = self.list(key, value, LISTENERS_MAX)?;
        if list.is_empty() {
            return self.wrong(
                key,
                value,
                "an empty list would serve nobody; leave the key out for the default",
            );
        }
        if let Some(twice) = super::listed_twice(&list) {
            return self.wrong(key, value, &format!("{twice} is listed twice"));
        }
        for address in &list {
            if let Address::Unix(path) = address
                && (path.as_os_str().len() > UNIX_PATH_MAX
                    || path.as_os_str().as_encoded_bytes().contains(&0))
            {
                let why = format!("a Unix socket's path has at most {UNIX_PATH_MAX} bytes and no NUL");
                return self.wrong(key, value, &why);
            }
        }
        Some(list)
    }

    fn networks(&mut self, key: &str, value: &Value<'_>) -> Option<Vec<Network>> {
        self.list(key, value, NETWORKS_MAX)
    }

    fn masks(&mut self, key: &str, value: &Value<'_>) -> Option<Vec<Vec<[u16; 2]>>> {
        const SHAPE: &str = "a list of polygons, each a list of [x, y]";
        let DeValue::Array(polygons) = value.get_ref() else {
            return self.mismatch(key, value, SHAPE);
        };
        if polygons.len() > MASKS_MAX {
            return self.wrong(key, value, &format!("{} are more than {MASKS_MAX} polygons", polygons.len()));
        }
        let before = self.found.len() + self.more;
        let mut masks = Vec::with_capacity(polygons.len());
        for (n, polygon) in polygons.iter().enumerate() {
            let key = format!("{key}: polygon {}", n + 1);
            let DeValue::Array(points) = polygon.get_ref() else {
                self.mismatch::<()>(&key, polygon, "a list of [x, y]");
                continue;
            };
            if !(3..=MASK_POINTS_MAX).contains(&points.len()) {
                let why = format!("{} points are not between 3 and {MASK_POINTS_MAX} points", points.len());
                self.wrong::<()>(&key, polygon, &why);
                continue;
            }
            let mask: Vec<_> = points.iter().filter_map(|point| self.point(&key, point)).collect();
            if mask.len() == points.len() && is_flat(&mask) {
                self.wrong::<()>(&key, polygon, "its points lie on one line, so it would hide nothing");
            }
            masks.push(mask);
        }
        (self.found.len() + self.more == before).then_some(masks)
    }

    fn point(&mut self, key: &str, value: &Value<'_>) -> Option<[u16; 2]> {
        let DeValue::Array(pair) = value.get_ref() else {
            return self.mismatch(key, value, "[x, y]");
        };
        let [x, y] = &pair[..] else {
            return self.wrong(key, value, &format!("{} numbers are no [x, y]", pair.len()));
        };
        // The far edges count: a polygon that covers the last column ends there.
        let mut coordinate = |name, value, most| {
            let number = self.number(&format!("{key}: {name}"), value, 0, u32::try_from(most).ok()?)?;
            u16::try_from(number).ok()
        };
        let (x, y) = (coordinate("x", x, WIDTH), coordinate("y", y, HEIGHT));
        Some([x?, y?])
    }

    fn label(&mut self, key: &str, value: &Value<'_>) -> Option<String> {
        let text = self.string(key, value)?;
        if text.len() > CAMERA_TEXT_MAX {
            let why = format!("{} bytes are more than {CAMERA_TEXT_MAX}", text.len());
            return self.wrong(key, value, &why);
        }
        if text.chars().any(char::is_control) {
            return self.wrong(
                key,
                value,
                "control characters and line breaks would garble what viewers show",
            );
        }
        Some(text.into())
    }

    fn millimetres(&mut self, key: &str, value: &Value<'_>, least: u32) -> Option<u16> {
        self.number(key, value, least, u16::MAX.into()).and_then(|n| u16::try_from(n).ok())
    }

    /// From 1 to what the decoder can tell apart.
    fn sensor_millimetres(&mut self, key: &str, value: &Value<'_>) -> Option<u16> {
        self.number(key, value, 1, UNAMBIGUOUS_MM.into()).and_then(|n| u16::try_from(n).ok())
    }

    fn offset(&mut self, key: &str, value: &Value<'_>) -> Option<i16> {
        let wanted = format!("a whole number from -{KINECT_OFFSET_MAX} to {KINECT_OFFSET_MAX}");
        let number = self.whole(key, value, &wanted)?;
        let number = number.and_then(|n| i16::try_from(n).ok());
        number
            .filter(|n| (-KINECT_OFFSET_MAX..=KINECT_OFFSET_MAX).contains(n))
            .or_else(|| self.wrong(key, value, &format!("{} is not {wanted}", self.written(value))))
    }

    /// How many of something, at least one.
    fn count(&mut self, key: &str, value: &Value<'_>, most: usize) -> Option<usize> {
        let number = self.number(key, value, 1, u32::try_from(most).unwrap_or(u32::MAX));
        number.and_then(|n| usize::try_from(n).ok())
    }

    fn note_kinect(&mut self, value: &Value<'_>) {
        self.values.kinect_line = self.values.kinect_line.max(self.line(value.span().start));
    }

    fn number(&mut self, key: &str, value: &Value<'_>, least: u32, most: u32) -> Option<u32> {
        let number = self.whole(key, value, &format!("a whole number from {least} to {most}"))?;
        let number = number.and_then(|n| u32::try_from(n).ok()).filter(|n| (least..=most).contains(n));
        number.or_else(|| {
            self.wrong(key, value, &format!("{} is not between {least} and {most}", self.written(value)))
        })
    }

    /// Any whole number; `Some(None)` if it is beyond all that is ever wanted.
    fn whole(&mut self, key: &str, value: &Value<'_>, wanted: &str) -> Option<Option<i64>> {
        match value.get_ref() {
            DeValue::Integer(n) => Some(i64::from_str_radix(n.as_str(), n.radix()).ok()),
            _ => self.mismatch(key, value, wanted),
        }
    }

    fn switch(&mut self, key: &str, value: &Value<'_>) -> Option<bool> {
        value.get_ref().as_bool().or_else(|| self.mismatch(key, value, "true or false"))
    }

    fn choice<T: Copy>(&mut self, key: &str, value: &Value<'_>, choices: &[(&str, T)]) -> Option<T> {
        let names: Vec<_> = choices.iter().map(|c| format!("\"{}\"", c.0)).collect();
        let names = names.join(", ");
        let DeValue::String(text) = value.get_ref() else {
            return self.mismatch(key, value, &format!("one of {names}"));
        };
        choose(choices, text)
            .or_else(|| self.wrong(key, value, &format!("{} is none of {names}", self.written(value))))
    }

    fn list<T: FromStr<Err: fmt::Display>>(
        &mut self,
        key: &str,
        value: &Value<'_>,
        most: usize,
    ) -> Option<Vec<T>> {
        let DeValue::Array(items) = value.get_ref() else {
            return self.mismatch(key, value, "a list of texts in quotes");
        };
        if items.len() > most {
            return self.wrong(key, value, &format!("{} entries are more than {most}", items.len()));
        }
        let mut list = Vec::with_capacity(items.len());
        for item in items.iter() {
            let text = self.string(key, item);
            list.extend(text.and_then(|text| self.parsed(key, item, text)));
        }
        (list.len() == items.len()).then_some(list)
    }

    fn parsed<T: FromStr<Err: fmt::Display>>(
        &mut self,
        key: &str,
        value: &Value<'_>,
        text: &str,
    ) -> Option<T> {
        match text.parse() {
            Ok(parsed) => Some(parsed),
            Err(e) => self.wrong(key, value, &format!("{}: {e}", self.written(value))),
        }
    }

    fn string<'v>(&mut self, key: &str, value: &'v Value<'_>) -> Option<&'v str> {
        match value.get_ref() {
            DeValue::String(text) => Some(text),
            _ => self.mismatch(key, value, "a text in quotes"),
        }
    }

    /// Reports a value of the wrong type.
    fn mismatch<T>(&mut self, key: &str, value: &Value<'_>, wanted: &str) -> Option<T> {
        self.wrong(key, value, &format!("expected {wanted}, found {}", kind_of(value.get_ref())))
    }

    /// Reports a value that cannot be.
    fn wrong<T>(&mut self, key: &str, value: &Value<'_>, why: &str) -> Option<T> {
        self.problem(value.span().start, format!("{key}: {why}"));
        None
    }

    fn problem(&mut self, at: usize, text: String) {
        // Finding a line reads the text up to it: not for what is only counted.
        let line = if self.found.len() < CONFIG_PROBLEMS_MAX { self.line(at) } else { 0 };
        self.problem_on(line, text);
    }

    fn problem_on(&mut self, line: usize, text: String) {
        if self.found.len() < CONFIG_PROBLEMS_MAX {
            self.found.push(Problem { line, column: None, text });
        } else {
            self.more += 1;
        }
    }

    fn line(&self, at: usize) -> usize {
        place(self.text.as_bytes(), at).0
    }

    /// A value as it stands in the file, on one line.
    fn written(&self, value: &Value<'_>) -> String {
        excerpt(self.text.get(value.span()).unwrap_or_default())
    }
}

/// A known section by its name, and the static text of that name.
fn known_section(name: &str) -> Option<&'static str> {
    SECTIONS.iter().map(|s| s.0).find(|s| !s.is_empty() && *s == name)
}

/// The known key that `path` was probably meant to be.
fn nearest(path: &str) -> Option<(&'static str, &'static str)> {
    if path.len() > LONGEST_GUESSED {
        return None;
    }
    let last = path.rsplit('.').next().unwrap_or(path);
    let keys = || SECTIONS.iter().flat_map(|(section, keys)| keys.iter().map(move |key| (*section, *key)));
    let near = |key: &(&str, &str)| strsim::osa_distance(path, &dotted(key.0, key.1));
    keys()
        .filter(|key| near(key) <= 1.max(path.len() / 4))
        .min_by_key(near)
        // The right key in the wrong section, or in none.
        .or_else(|| keys().find(|key| key.1 == last))
}

fn dotted(section: &str, key: &str) -> String {
    if section.is_empty() { key.into() } else { format!("{section}.{key}") }
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}

/// Whether all points lie on one line, or are one.
fn is_flat(points: &[[u16; 2]]) -> bool {
    let of = |p: &[u16; 2]| (i64::from(p[0]), i64::from(p[1]));
    let Some(a) = points.first().map(of) else { return true };
    let Some(b) = points.iter().map(of).find(|p| *p != a) else { return true };
    points.iter().map(of).all(|c| (b.0 - a.0) * (c.1 - a.1) == (b.1 - a.1) * (c.0 - a.0))
}

/// Text from the file that may go to a terminal: short, without control characters.
fn excerpt(text: &str) -> String {
    let short: String =
        text.chars().take(EXCERPT).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if short.len() < text.len() && text.chars().nth(EXCERPT).is_some() { short + "..." } else { short }
}

/// Line and column, both from 1, of a byte.
fn place(text: &[u8], at: usize) -> (usize, usize) {
    let before = &text[..at.min(text.len())];
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let start = before.iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
    // Characters, not bytes: what editors count. Bytes 10xxxxxx go on with a character.
    let column = before[start..].iter().filter(|b| **b & 0xc0 != 0x80).count() + 1;
    (line, column)
}

/// What a file may hold: section (empty at the top) and keys.
pub(super) const SECTIONS: [(&str, &[&str]); 10] = [
    ("", &["source", "fps", "rotate", "flip", "overlay", "masks", "listen"]),
    ("range", &["min_mm", "max_mm", "clip_mm"]),
    ("camera", &["uid", "name", "type", "location"]),
    ("viewers", &["max", "stall_s", "allow"]),
    ("jpeg", &["quality", "subsampling"]),
    ("legacy", &["pickle", "shutdown_from"]),
    ("http", &["tokens", "allow_origin", "names", "instance"]),
    ("kinect", &["packets", "transfers", "min_mm", "max_mm", "bilateral", "edge", "offset_mm"]),
    ("libfreenect2", &["pipeline"]),
    ("log", &["level"]),
];

/// Time between two looks at a pipe.
const LOOK: Duration = Duration::from_millis(10);
/// Characters of the file that a problem quotes.
const EXCERPT: usize = 60;
/// Longer keys were not meant to be a known one.
const LONGEST_GUESSED: usize = 48;

#[cfg(test)]
mod tests {
    use std::fs;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    #[test]
    fn a_pipe_is_waited_for_within_reason_and_only_at_the_start() {
        let path = std::env::temp_dir().join(format!("depthcast-config-pipe-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).expect("made");
        // With no writer a plain opening would not come back, nor would one by a reload.
        assert!(matches!(read(&path, Pipe::Refuse), Err(BadFile::ReadOnce(_))));
        let nonblocking = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&path);
        let mut pipe = nonblocking.expect("opened");
        let short = Duration::from_millis(20);
        let nobody = read_patiently(&mut pipe, true, short).expect_err("nobody writes");
        assert_eq!(nobody.kind(), io::ErrorKind::TimedOut);
        let writer = thread::spawn({
            let path = path.clone();
            move || {
                let mut pipe = File::options().write(true).open(path).expect("opened");
                for part in ["fps = 1", "5\n"] {
                    thread::sleep(short);
                    io::Write::write_all(&mut pipe, part.as_bytes()).expect("written");
                }
            }
        });
        assert_eq!(read(&path, Pipe::Wait).expect("read").fps, Some(15));
        writer.join().expect("written");
        fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn a_device_has_an_end_and_a_folder_is_no_file() {
        assert!(read(Path::new("/dev/null"), Pipe::Wait).expect("empty").fps.is_none());
        assert!(matches!(read(Path::new("/dev/zero"), Pipe::Wait), Err(BadFile::TooLarge(_))));
        assert!(matches!(read(Path::new("/tmp"), Pipe::Wait), Err(BadFile::Unreadable(..))));
    }
}
