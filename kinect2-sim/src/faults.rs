//! What goes wrong: faults of the sensor, its bus and its host, by name, so that a face takes them from a variable.
//!
//! Words with blanks between. Each is `NAME[=VALUE][~CHANCE][@START[+LENGTH][/PERIOD]]`:
//!
//! - `VALUE` is a number, a chance or a time, as the table says;
//! - `CHANCE`, 0 to 1, is how often it strikes where the table has a default for it;
//! - `@START` is when it begins, `+LENGTH` how long it lasts (else for ever), `/PERIOD` after what time it begins again.
//!   They count from the start of the model, or from when the faults were given if that was later. Without `@` it is
//!   always there.
//!
//! Times are in seconds, or with `ms` or `s` behind: `0.2`, `200ms`. What strikes by chance is decided by the seed and
//! the number of the packet, sub-image, frame or command, so the same text gives the same faults.
//!
//! | word | default | what happens |
//! | --- | --- | --- |
//! | `seed=N` | 0 | other faults by chance |
//! | `loss=P` | | a full packet is lost, and its interval is empty without an error |
//! | `missed=P` | | an interval with data ends with "came too late" (EXDEV) |
//! | `packet-error=P` | | a packet ends with an error (EPROTO), after a part of its bytes |
//! | `narrow` | | no interval brings more than 11,264 bytes, as behind a bad controller |
//! | `lost-separators~P` | 1 | a frame without the empty intervals between its sub-images |
//! | `short-missing~P` | 1 | a sub-image without its last packet |
//! | `subsequence=N~P` | 10, 0.02 | a footer with this subsequence |
//! | `footer-length=N~P` | 0, 0.02 | a footer with this length |
//! | `footer-magic~P` | 1 | a footer with other words in front |
//! | `wrap=N` | 65526 | frames are numbered from here, up to 65,535 and then from 0 |
//! | `half-frame` | | a stream begins with sub-image 5 of a frame |
//! | `whole-frame` | | a stream begins with sub-image 0 of a frame: no fault, but asked for in the same place |
//! | `silent` | | the stream is empty until it is started anew |
//! | `unplug` | | the sensor is not there |
//! | `wedge` | | nothing is answered and nothing completes, until a reset |
//! | `never-ready` | | the status says "not ready" |
//! | `stuck` | | the status is 0x0400, and nothing streams |
//! | `slow-start=N` | 3 | the status says "not ready" this many times |
//! | `slow-replies=T` | | replies and completions come so much later |
//! | `no-reply~P` | 1 | a command is taken and never answered |
//! | `no-data~P` | 1 | a completion comes, but not the data before it |
//! | `short-reply~P` | 1 | only half of the data come |
//! | `completion-first~P` | 1 | the completion comes before the data |
//! | `wrong-sequence~P` | 1 | a completion has the number of no command |
//! | `stale-completion~P` | 1 | the completion of the command before comes again, before the answer |
//! | `stale-reply=N` | 512 | after plugging in and after a reset, N bytes and a completion wait that nobody asked for |
//! | `stall~P` | 1 | a command is refused, and its endpoint halts |
//! | `reply-stall~P` | 1 | a reply is refused, and its endpoint halts |
//! | `submit-nomem=K` | 1 | no memory (ENOMEM) for the K-th isochronous transfer; with `@`, for each one in that time |
//! | `no-bandwidth` | | no bandwidth (ENOSPC) for alternate setting 1 |
//! | `reset-not-found=N` | 1 | after each of the first N resets the sensor comes back as another device |
//! | `cancel-delay=T` | | cancelled transfers come back so much later |
//! | `usb2` | | the link is a USB 2 one |

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::depth::random;

/// Faults of a sensor, its bus and its host; see the module for how they are written. Empty by default: all goes well.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    seed: u64,
    entries: Vec<Entry>,
    /// A bit for each [`Kind`] in `entries`: most questions are about faults that are not there.
    present: u64,
}

impl Faults {
    /// Every word there is.
    pub fn names() -> impl Iterator<Item = &'static str> {
        std::iter::once(SEED).chain(WORDS.iter().map(|word| word.name))
    }

    /// Whether `name` is among the faults, at whatever time.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        WORDS.iter().any(|word| word.name == name && self.has(word.kind))
    }

    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.present & kind.bit() != 0
    }

    /// The value of a fault, whatever its time and chance.
    pub(crate) fn value(&self, kind: Kind) -> Option<u64> {
        self.entries.iter().find(|entry| entry.kind == kind).map(|entry| entry.value)
    }

    /// The value of a fault that is there at this time, whatever its chance.
    pub(crate) fn on(&self, kind: Kind, time: Duration) -> Option<u64> {
        self.find(kind, time).map(|(_, entry, _)| entry.value)
    }

    /// Which time of those that a fault is there, for one that something heals until the next.
    pub(crate) fn occurrence(&self, kind: Kind, time: Duration) -> Option<Occurrence> {
        self.find(kind, time).map(|(at, _, turn)| Occurrence { entry: at, turn })
    }

    /// The value of a fault that strikes now.
    ///
    /// * `at`: number of what it strikes: an interval, a sub-image, a command.
    pub(crate) fn strikes(&self, kind: Kind, time: Duration, at: u64) -> Option<u64> {
        let (_, entry, _) = self.find(kind, time)?;
        let dice = random(self.seed ^ ((kind as u64) << 56), at) >> 11;
        ((dice as f64) < entry.chance * (1_u64 << 53) as f64).then_some(entry.value)
    }

    /// Bits that decide how a fault strikes.
    pub(crate) fn dice(&self, kind: Kind, at: u64) -> u64 {
        random(!self.seed ^ ((kind as u64) << 56), at)
    }

    /// When a fault comes or goes next, after this time.
    pub(crate) fn next_edge(&self, kind: Kind, time: Duration) -> Option<Duration> {
        if !self.has(kind) {
            return None;
        }
        let edges = self.entries.iter().filter(|entry| entry.kind == kind).filter_map(|entry| {
            let window = entry.window?;
            window.next_edge(time)
        });
        edges.min()
    }

    fn find(&self, kind: Kind, time: Duration) -> Option<(usize, &Entry, u32)> {
        if !self.has(kind) {
            return None;
        }
        self.entries.iter().enumerate().filter(|(_, entry)| entry.kind == kind).find_map(|(at, entry)| {
            let turn = entry.window.map_or(Some(0), |window| window.turn(time))?;
            Some((at, entry, turn))
        })
    }

    /// The same faults, each that has a time so much later.
    pub(crate) fn later(mut self, by: Duration) -> Self {
        for window in self.entries.iter_mut().filter_map(|entry| entry.window.as_mut()) {
            window.start += by;
        }
        self
    }

    /// Whether a fault was given a time.
    pub(crate) fn is_timed(&self, kind: Kind) -> bool {
        self.entries.iter().any(|entry| entry.kind == kind && entry.window.is_some())
    }
}

impl FromStr for Faults {
    type Err = FaultsError;

    fn from_str(text: &str) -> Result<Self, FaultsError> {
        let mut faults = Faults::default();
        for word in text.split_whitespace() {
            let bad = |why| FaultsError { word: word.to_owned(), why };
            if let Some(seed) = word.strip_prefix("seed=") {
                faults.seed = seed.parse().map_err(|_| bad(Why::Number))?;
                continue;
            }
            let entry = Entry::parse(word).map_err(bad)?;
            faults.present |= entry.kind.bit();
            faults.entries.push(entry);
        }
        Ok(faults)
    }
}

/// One of the times that a fault is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Occurrence {
    entry: usize,
    turn: u32,
}

/// What goes wrong; the names are those of the module's table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Loss,
    Missed,
    PacketError,
    Narrow,
    LostSeparators,
    ShortMissing,
    Subsequence,
    FooterLength,
    FooterMagic,
    Wrap,
    HalfFrame,
    WholeFrame,
    Silent,
    Unplug,
    Wedge,
    NeverReady,
    Stuck,
    SlowStart,
    SlowReplies,
    NoReply,
    NoData,
    ShortReply,
    CompletionFirst,
    WrongSequence,
    StaleCompletion,
    StaleReply,
    Stall,
    ReplyStall,
    SubmitNoMemory,
    NoBandwidth,
    ResetNotFound,
    CancelDelay,
    Usb2,
}

impl Kind {
    const fn bit(self) -> u64 {
        1 << self as u32
    }
}

/// A word that is no fault, or is not written as one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FaultsError {
    word: String,
    why: Why,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Why {
    Unknown,
    Number,
    Chance,
    Time,
    ValueMissing(&'static str),
    NoValue(&'static str),
    NoChance(&'static str),
}

impl fmt::Display for FaultsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fault \"{}\": ", self.word)?;
        match self.why {
            Why::Unknown => {
                f.write_str("there is no such fault; there are")?;
                for (at, name) in Faults::names().enumerate() {
                    write!(f, "{}{name}", if at == 0 { " " } else { ", " })?;
                }
                Ok(())
            }
            Why::Number => f.write_str("its value must be a whole number, such as 10"),
            Why::Chance => f.write_str("a chance must be a number from 0 to 1, such as 0.01"),
            Why::Time => f.write_str(
                "a time must be seconds, or end in ms or s, such as 200ms; @START[+LENGTH][/PERIOD]",
            ),
            Why::ValueMissing(name) => write!(f, "it needs a value: {name}=..."),
            Why::NoValue(name) => write!(f, "{name} has no value"),
            Why::NoChance(name) => write!(f, "{name} has no chance"),
        }
    }
}

impl std::error::Error for FaultsError {}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Entry {
    kind: Kind,
    /// A number, or a time in nanoseconds.
    value: u64,
    chance: f64,
    window: Option<Window>,
}

impl Entry {
    fn parse(word: &str) -> Result<Self, Why> {
        let (head, window) = split(word, '@');
        let (head, chance) = split(head, '~');
        let (name, value) = split(head, '=');
        let word = WORDS.iter().find(|word| word.name == name).ok_or(Why::Unknown)?;
        let name = word.name;
        let mut entry = Entry { kind: word.kind, value: 0, chance: 1.0, window: None };
        match (word.value, value) {
            (Value::None, None) => {}
            (Value::None, Some(_)) => return Err(Why::NoValue(name)),
            (Value::Chance | Value::Time, None) => return Err(Why::ValueMissing(name)),
            (Value::Number(default), None) => entry.value = default,
            (Value::Number(_), Some(value)) => entry.value = value.parse().map_err(|_| Why::Number)?,
            (Value::Chance, Some(value)) => entry.chance = parse_chance(value)?,
            (Value::Time, Some(value)) => {
                entry.value = u64::try_from(parse_time(value)?.as_nanos()).map_err(|_| Why::Time)?;
            }
        }
        match (word.chance, chance) {
            (None, Some(_)) => return Err(Why::NoChance(name)),
            (None, None) => {}
            (Some(default), None) => entry.chance = default,
            (Some(_), Some(chance)) => entry.chance = parse_chance(chance)?,
        }
        entry.window = window.map(Window::parse).transpose()?;
        Ok(entry)
    }
}

/// When a fault is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Window {
    start: Duration,
    length: Option<Duration>,
    period: Option<Duration>,
}

impl Window {
    fn parse(text: &str) -> Result<Self, Why> {
        let (text, period) = split(text, '/');
        let (start, length) = split(text, '+');
        let window = Window {
            start: parse_time(start)?,
            length: length.map(parse_time).transpose()?,
            period: period.map(parse_time).transpose()?,
        };
        // What comes again must have gone before, and is not to come more often than packets do.
        let sound = match (window.length, window.period) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(length), Some(period)) => length < period && period >= Duration::from_millis(1),
        };
        if sound { Ok(window) } else { Err(Why::Time) }
    }

    /// How often the fault has come before, if it is there at this time.
    fn turn(&self, time: Duration) -> Option<u32> {
        let (turn, since) = self.since(time)?;
        self.length.is_none_or(|length| since < length).then_some(turn)
    }

    fn next_edge(&self, time: Duration) -> Option<Duration> {
        let Some((turn, since)) = self.since(time) else { return Some(self.start) };
        let length = self.length?;
        let begun = time - since;
        if since < length {
            return Some(begun + length);
        }
        let _ = turn;
        self.period.map(|period| begun + period)
    }

    /// The last beginning: which one, and how long ago; `None` before the first.
    fn since(&self, time: Duration) -> Option<(u32, Duration)> {
        let since = time.checked_sub(self.start)?;
        let Some(period) = self.period else { return Some((0, since)) };
        let turn = since.as_nanos() / period.as_nanos();
        let turn = u32::try_from(turn).ok()?;
        Some((turn, since.checked_sub(period.checked_mul(turn)?)?))
    }
}

/// Splits off what follows the separator.
fn split(text: &str, separator: char) -> (&str, Option<&str>) {
    text.split_once(separator).map_or((text, None), |(head, tail)| (head, Some(tail)))
}

fn parse_chance(text: &str) -> Result<f64, Why> {
    let chance = text.parse().map_err(|_| Why::Chance)?;
    if (0.0..=1.0).contains(&chance) { Ok(chance) } else { Err(Why::Chance) }
}

fn parse_time(text: &str) -> Result<Duration, Why> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 0.001),
        None => (text.strip_suffix('s').unwrap_or(text), 1.0),
    };
    let seconds: f64 = number.parse().map_err(|_| Why::Time)?;
    // A thousand days, which no test lasts and no sum of times overflows.
    let seconds = Some(seconds * unit).filter(|seconds| (0.0..=86_400_000.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or(Why::Time)
}

struct Word {
    name: &'static str,
    kind: Kind,
    value: Value,
    /// Default of its `~CHANCE`; `None` if it has none.
    chance: Option<f64>,
}

#[derive(Clone, Copy)]
enum Value {
    None,
    /// Its chance is its value.
    Chance,
    Time,
    /// With its default.
    Number(u64),
}

const SEED: &str = "seed";

const WORDS: &[Word] = &[
    word("loss", Kind::Loss, Value::Chance, None),
    word("missed", Kind::Missed, Value::Chance, None),
    word("packet-error", Kind::PacketError, Value::Chance, None),
    word("narrow", Kind::Narrow, Value::None, None),
    word("lost-separators", Kind::LostSeparators, Value::None, Some(1.0)),
    word("short-missing", Kind::ShortMissing, Value::None, Some(1.0)),
    word("subsequence", Kind::Subsequence, Value::Number(10), Some(0.02)),
    word("footer-length", Kind::FooterLength, Value::Number(0), Some(0.02)),
    word("footer-magic", Kind::FooterMagic, Value::None, Some(1.0)),
    word("wrap", Kind::Wrap, Value::Number(65_526), None),
    word("half-frame", Kind::HalfFrame, Value::None, None),
    word("whole-frame", Kind::WholeFrame, Value::None, None),
    word("silent", Kind::Silent, Value::None, None),
    word("unplug", Kind::Unplug, Value::None, None),
    word("wedge", Kind::Wedge, Value::None, None),
    word("never-ready", Kind::NeverReady, Value::None, None),
    word("stuck", Kind::Stuck, Value::None, None),
    word("slow-start", Kind::SlowStart, Value::Number(3), None),
    word("slow-replies", Kind::SlowReplies, Value::Time, None),
    word("no-reply", Kind::NoReply, Value::None, Some(1.0)),
    word("no-data", Kind::NoData, Value::None, Some(1.0)),
    word("short-reply", Kind::ShortReply, Value::None, Some(1.0)),
    word("completion-first", Kind::CompletionFirst, Value::None, Some(1.0)),
    word("wrong-sequence", Kind::WrongSequence, Value::None, Some(1.0)),
    word("stale-completion", Kind::StaleCompletion, Value::None, Some(1.0)),
    word("stale-reply", Kind::StaleReply, Value::Number(512), None),
    word("stall", Kind::Stall, Value::None, Some(1.0)),
    word("reply-stall", Kind::ReplyStall, Value::None, Some(1.0)),
    word("submit-nomem", Kind::SubmitNoMemory, Value::Number(1), None),
    word("no-bandwidth", Kind::NoBandwidth, Value::None, None),
    word("reset-not-found", Kind::ResetNotFound, Value::Number(1), None),
    word("cancel-delay", Kind::CancelDelay, Value::Time, None),
    word("usb2", Kind::Usb2, Value::None, None),
];

const fn word(name: &'static str, kind: Kind, value: Value, chance: Option<f64>) -> Word {
    Word { name, kind, value, chance }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Faults {
        text.parse().unwrap()
    }

    fn error(text: &str) -> String {
        text.parse::<Faults>().unwrap_err().to_string()
    }

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_example_of_the_design_is_understood() {
        let text = "seed=7 loss=0.01 unplug@5+3 wedge@8+2 never-ready slow-replies=200ms wrong-sequence stale-reply \
                    completion-first packet-error=0.001 lost-separators short-missing subsequence=10 wrap half-frame \
                    submit-nomem=17 reset-not-found cancel-delay=50ms usb2 stuck";
        let faults = faults(text);
        assert_eq!(faults.entries.len(), 19);
        assert!(faults.contains("usb2") && !faults.contains("silent"));
        assert_eq!(faults.on(Kind::SlowReplies, s(1)), Some(200_000_000));
        assert_eq!(faults.on(Kind::SubmitNoMemory, s(1)), Some(17));
    }

    #[test]
    fn a_bad_word_is_named_with_what_would_be_right() {
        assert!(
            error("loss=0.1 unplugged@3")
                .contains("\"unplugged@3\": there is no such fault; there are seed, loss,")
        );
        assert!(error("loss").contains("needs a value"));
        assert!(error("loss=2").contains("0 to 1"));
        assert!(error("loss=-0.1").contains("0 to 1"));
        assert!(error("usb2=1").contains("no value"));
        assert!(error("usb2~1").contains("no chance"));
        assert!(error("wrap=x").contains("whole number"));
        assert!(error("seed=x").contains("whole number"));
        for time in
            ["unplug@", "unplug@x", "unplug@-1", "unplug@1/3", "unplug@1+4/3", "unplug@nan", "unplug@1e30"]
        {
            assert!(error(time).contains("a time must be"), "{time}");
        }
    }

    #[test]
    fn a_fault_is_there_in_its_time_only() {
        let faults = faults("unplug@5+3 wedge@2 silent@1+0.5/10");
        let on = |kind, seconds: f64| faults.on(kind, Duration::from_secs_f64(seconds)).is_some();
        assert!(
            !on(Kind::Unplug, 4.9)
                && on(Kind::Unplug, 5.0)
                && on(Kind::Unplug, 7.9)
                && !on(Kind::Unplug, 8.0)
        );
        assert!(!on(Kind::Wedge, 1.0) && on(Kind::Wedge, 1e6));
        assert!(on(Kind::Silent, 1.2) && !on(Kind::Silent, 1.5) && on(Kind::Silent, 21.2));
        assert_eq!(faults.next_edge(Kind::Unplug, s(0)), Some(s(5)));
        assert_eq!(faults.next_edge(Kind::Unplug, s(5)), Some(s(8)));
        assert_eq!(faults.next_edge(Kind::Unplug, s(8)), None);
        assert_eq!(faults.next_edge(Kind::Silent, s(2)), Some(s(11)));
        assert_ne!(faults.occurrence(Kind::Silent, s(1)), faults.occurrence(Kind::Silent, s(11)));
        let later = faults.later(s(100));
        assert_eq!(later.next_edge(Kind::Unplug, s(5)), Some(s(105)));
        assert_eq!((later.on(Kind::Wedge, s(101)), later.on(Kind::Wedge, s(102))), (None, Some(0)));
    }

    #[test]
    fn chance_is_met_and_repeats_with_its_seed() {
        let count = |text: &str| {
            let faults = faults(text);
            (0..100_000).filter(|at| faults.strikes(Kind::Loss, s(0), *at).is_some()).count()
        };
        let found = count("seed=7 loss=0.01");
        assert!((900..1100).contains(&found), "{found}");
        assert_eq!(found, count("loss=0.01 seed=7"));
        assert_ne!(found, count("loss=0.01 seed=8"));
        assert_eq!((count("loss=0"), count("loss=1")), (0, 100_000));
    }

    #[test]
    fn every_word_is_in_the_table_of_the_docs() {
        let source = include_str!("faults.rs");
        for name in Faults::names() {
            assert!(source.contains(&format!("//! | `{name}")), "{name} is not in the table");
        }
        assert!(WORDS.len() <= 64, "a bit each");
        assert!(WORDS.iter().enumerate().all(|(at, word)| word.kind as usize == at));
    }
}
