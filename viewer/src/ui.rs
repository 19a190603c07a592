//! What is shown and what keys do: the window without a window.
//!
//! `now` is time since some fixed moment; it never falls.

use std::collections::VecDeque;
use std::time::Duration;

use crate::depth::Depth;
use crate::link::{Event, Frame};

/// The state of a window.
#[derive(Debug)]
pub struct Ui {
    server: String,
    /// What is shown; the newest, unless frozen.
    frame: Option<Box<Frame>>,
    /// The latest depths, the newest last; they do not come exactly when their pictures do.
    depths: VecDeque<Box<Depth>>,
    /// When the newest depth came.
    depth_came: Duration,
    connection: State,
    depthcast: bool,
    /// Why there are no distances, if that is known.
    no_depth: Option<String>,
    /// When pictures came, in the last seconds.
    arrivals: VecDeque<Duration>,
    frozen: bool,
    dialog: Dialog,
    pointer: Option<(usize, usize)>,
    note: Option<(String, Duration)>,
}

#[derive(Clone, Debug)]
enum State {
    /// No connection yet.
    Connecting,
    /// Connected.
    Live,
    /// Not any more, why, and when it is tried again.
    Lost(String, Duration),
    /// On the way out.
    Leaving,
}

/// What lies over the picture.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dialog {
    /// Nothing.
    None,
    /// The keys.
    Help,
    /// Whether the server is to be stopped.
    Stop,
}

/// A key, as far as one means something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Key {
    /// One that writes a character; the space is one.
    Char(char),
    /// Escape.
    Escape,
}

/// What a key asks of the window.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// To show what has changed.
    Redraw,
    /// To leave; the server goes on.
    Leave,
    /// To leave and to stop the server.
    Stop,
    /// To save what is shown.
    Save,
    /// Full screen, or back.
    FullScreen,
    /// To leave full screen.
    Smaller,
}

/// How much a part of the status line matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Information.
    Plain,
    /// Not live, or not measured.
    Warning,
}

/// What is under the pointer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Here {
    /// In words.
    pub text: String,
    /// Good for a distance, plain for a colour.
    pub tone: Tone,
}

/// The keys and what they do, as the help and the manual show them.
pub const HELP: [(&str, &str); 7] = [
    ("q", "leave; the server goes on"),
    ("x", "leave and stop the server; asks first"),
    ("s", "save the picture, and the depth"),
    ("f, F11", "full screen, and back"),
    ("space", "freeze, and go on"),
    ("?, F1", "these keys"),
    ("Esc", "close this; leave full screen"),
];

/// The question before the server is stopped.
pub const STOP: [&str; 3] = ["Stop the server for all viewers?", "", "y  yes, stop it    n  no"];

/// Pictures a second are counted over this time.
const RATE_OVER: Duration = Duration::from_secs(5);
/// Notes stay this long.
const NOTE_TIME: Duration = Duration::from_secs(6);
/// Depths that are kept for the pictures they belong to.
const DEPTHS: usize = 4;
/// A picture or a depth older than this is not live, nor is a distance in it.
const STALE: Duration = Duration::from_secs(2);

impl Ui {
    /// A window on a server that has not answered yet.
    pub fn new(server: String) -> Self {
        Self {
            server,
            frame: None,
            depths: VecDeque::new(),
            depth_came: Duration::ZERO,
            connection: State::Connecting,
            depthcast: false,
            no_depth: None,
            arrivals: VecDeque::new(),
            frozen: false,
            dialog: Dialog::None,
            pointer: None,
            note: None,
        }
    }

    /// Takes what the link has learnt.
    pub fn take(&mut self, event: Event, now: Duration) {
        match event {
            Event::Connected(_) => self.connection = State::Live,
            Event::Frame(frame) => {
                self.connection = State::Live;
                self.depthcast |= frame.picture.about.is_some();
                self.arrivals.push_back(now);
                if !self.frozen || self.frame.is_none() {
                    self.frame = Some(frame);
                }
            }
            Event::Lost(why, rest) => {
                self.connection = State::Lost(why.to_string(), now + rest);
                self.arrivals.clear();
                if !self.frozen {
                    self.depths.clear();
                }
            }
            Event::Depth(depth) => {
                self.no_depth = None;
                if !self.frozen || self.depths.is_empty() {
                    self.depth_came = now;
                    self.depths.push_back(depth);
                    if self.depths.len() > DEPTHS {
                        self.depths.pop_front();
                    }
                }
            }
            Event::NoDepth(why) => {
                self.no_depth = Some(why.to_string());
                if !self.frozen {
                    self.depths.clear();
                }
            }
            Event::NotDepthcast => self.depthcast = false,
        }
        while self.arrivals.front().is_some_and(|at| *at + RATE_OVER < now) {
            self.arrivals.pop_front();
        }
    }

    /// Takes a key.
    pub fn key(&mut self, key: Key) -> Option<Action> {
        match (self.dialog, key) {
            (Dialog::Stop, Key::Char('y' | 'Y')) => {
                self.dialog = Dialog::None;
                return Some(Action::Stop);
            }
            // Whatever else is pressed then, the server is not stopped.
            (Dialog::Stop, _) | (Dialog::Help, Key::Escape | Key::Char('?')) => self.dialog = Dialog::None,
            (_, Key::Char('q' | 'Q')) => return Some(Action::Leave),
            (_, Key::Char('x' | 'X')) => self.dialog = Dialog::Stop,
            (_, Key::Char('s' | 'S')) => return Some(Action::Save),
            (_, Key::Char('f' | 'F')) => return Some(Action::FullScreen),
            (_, Key::Char(' ')) => self.frozen = !self.frozen && self.frame.is_some(),
            (_, Key::Char('?')) => self.dialog = Dialog::Help,
            (Dialog::None, Key::Escape) => return Some(Action::Smaller),
            (_, Key::Char(_)) => return None,
        }
        Some(Action::Redraw)
    }

    /// The pointer is on this pixel of the picture, or on none.
    pub fn point(&mut self, pixel: Option<(usize, usize)>) {
        self.pointer = pixel;
    }

    /// The pixel of the picture that the pointer is on.
    pub fn pointer(&self) -> Option<(usize, usize)> {
        self.pointer
    }

    /// The viewer is on its way out.
    pub fn leaving(&mut self) {
        self.connection = State::Leaving;
    }

    /// Says something for a while.
    pub fn note(&mut self, text: String, now: Duration) {
        self.note = Some((text, now + NOTE_TIME));
    }

    /// What is shown.
    pub fn frame(&self) -> Option<&Frame> {
        self.frame.as_deref()
    }

    /// The depth that belongs to what is shown: the very one, or else the newest.
    pub fn depth(&self) -> Option<&Depth> {
        let about = self.frame.as_ref()?.picture.about.as_ref()?;
        let same = self.depths.iter().find(|depth| depth.head.seq == about.seq);
        let depth = same.or(self.depths.back()).filter(|_| about.online)?;
        // After a change of the picture's size, the depths of before belong to other places.
        let picture = &self.frame.as_ref()?.picture;
        ((depth.width, depth.height) == (picture.width, picture.height)).then_some(depth)
    }

    /// What lies over the picture.
    pub fn dialog(&self) -> Dialog {
        self.dialog
    }

    /// Title of the window.
    pub fn title(&self) -> String {
        match self.frame.as_ref().and_then(|frame| frame.text.get("Name")) {
            Some(name) if !name.is_empty() => format!("{name} - {}", self.server),
            _ => self.server.clone(),
        }
    }

    /// The status line, part by part, the most important first.
    pub fn status(&self, now: Duration) -> Vec<(String, Tone)> {
        let mut parts = vec![self.connection(now)];
        let mut say = |text: String| parts.push((text, Tone::Plain));
        if let Some((text, until)) = &self.note
            && now < *until
        {
            say(text.clone());
        }
        if let Some(frame) = &self.frame {
            if let Some((here, (x, y))) = self.here(now).zip(self.pointer) {
                let why = self.no_depth.as_ref().map_or(String::new(), |why| format!("; no distance: {why}"));
                let tone = if why.is_empty() { here.tone } else { Tone::Warning };
                parts.push((format!("{x},{y}: {}{why}", here.text), tone));
            }
            let mut say = |text: String| parts.push((text, Tone::Plain));
            let who = ["Name", "Location", "Type"].map(|key| frame.text.get(key).unwrap_or_default());
            let who: Vec<&str> = who.into_iter().filter(|text| !text.is_empty()).collect();
            if !who.is_empty() {
                say(who.join(", "));
            }
            if let Some(rate) = self.rate(now) {
                say(format!("{rate:.1} fps"));
            }
            if let Some(age) = self.age(now).filter(|_| !self.frozen) {
                say(age);
            }
            let picture = &frame.picture;
            say(format!(
                "{}x{} {} {} kB",
                picture.width,
                picture.height,
                picture.format(),
                frame.payload.div_ceil(1000)
            ));
            if let Some((min, max)) =
                picture.about.as_ref().filter(|about| about.online).and_then(|about| about.range_mm)
            {
                say(format!("blue {} to red {} m", f64::from(min) / 1e3, f64::from(max) / 1e3));
            }
            if let Some(event) = frame.text.get("EventID").filter(|id| !matches!(*id, "" | "0")) {
                let times = ["StartTime", "EndTime"].map(|key| frame.text.get(key).unwrap_or("?"));
                say(format!("event {event}: {} to {}", times[0], times[1]));
            }
        }
        parts.push(("? keys".into(), Tone::Plain));
        parts
    }

    fn connection(&self, now: Duration) -> (String, Tone) {
        let server = &self.server;
        let last = self.arrivals.back();
        match &self.connection {
            State::Leaving => (format!("leaving {server}"), Tone::Warning),
            State::Connecting => (format!("connecting to {server}"), Tone::Warning),
            State::Lost(why, until) => {
                let rest = until.saturating_sub(now).as_millis().div_ceil(1000);
                let again = if rest == 0 { "now".into() } else { format!("in {rest} s") };
                (format!("RECONNECTING to {server} {again}: {why}"), Tone::Warning)
            }
            State::Live if self.frozen => ("FROZEN".into(), Tone::Warning),
            State::Live if last.is_none() && self.frame.is_none() => {
                (format!("connected to {server}, which may be serving another viewer"), Tone::Warning)
            }
            State::Live if self.is_placeholder() => ("the camera has NO SIGNAL".into(), Tone::Warning),
            State::Live => match last.map(|last| now.saturating_sub(*last)) {
                Some(since) if since < STALE => ("LIVE".into(), Tone::Good),
                Some(since) => (format!("nothing for {} s", since.as_secs()), Tone::Warning),
                None => (format!("connected to {server}, waiting"), Tone::Warning),
            },
        }
    }

    /// What is under the pointer: a distance, or else a colour. Nothing on a picture of some time ago, unless it was frozen
    /// on purpose, and nothing on the placeholder.
    pub fn here(&self, now: Duration) -> Option<Here> {
        let ((x, y), frame) = self.pointer.zip(self.frame.as_ref())?;
        if self.is_stale(now) || self.is_placeholder() {
            return None;
        }
        let distances = self.depthcast && (self.frozen || self.depth_came + STALE > now);
        if let Some(depth) = self.depth().filter(|_| distances) {
            return depth.at(x, y).map(|mm| match mm {
                0 => Here { text: "no return".into(), tone: Tone::Warning },
                mm => Here { text: format!("{}.{:03} m", mm / 1000, mm % 1000), tone: Tone::Good },
            });
        }
        let text = match frame.picture.index(x, y) {
            Some((index, true)) => format!("colour {index}"),
            Some((index, false)) => format!("colour about {index}"),
            None if x < frame.picture.width && y < frame.picture.height => "not on the palette".into(),
            None => return None,
        };
        Some(Here { text, tone: Tone::Plain })
    }

    /// Whether what is shown is no longer what the camera sees, though nobody has frozen it.
    pub fn is_stale(&self, now: Duration) -> bool {
        let fresh = self.arrivals.back().is_some_and(|last| *last + STALE > now);
        !self.frozen && !fresh
    }

    fn is_placeholder(&self) -> bool {
        let about = self.frame.as_ref().and_then(|frame| frame.picture.about.as_ref());
        about.is_some_and(|about| !about.online)
    }

    /// Pictures a second, when there are enough to tell.
    fn rate(&self, now: Duration) -> Option<f64> {
        let recent: Vec<Duration> =
            self.arrivals.iter().copied().filter(|at| *at + RATE_OVER > now).collect();
        match (recent.first(), recent.last()) {
            (Some(first), Some(last)) if last > first => {
                Some((recent.len() - 1) as f64 / (*last - *first).as_secs_f64())
            }
            _ => None,
        }
    }

    /// How old the newest picture is. The clocks of two machines need not agree, so this is the age that the server
    /// stated with the depth, and the time since; or only the time since it came.
    fn age(&self, now: Duration) -> Option<String> {
        if self.depthcast
            && let Some(depth) = self.depths.back()
        {
            let age = Duration::from_millis(depth.head.age_ms.into()) + now.saturating_sub(self.depth_came);
            return Some(format!("age {}", short(age)));
        }
        self.arrivals.back().map(|last| format!("came {} ago", short(now.saturating_sub(*last))))
    }
}

/// Milliseconds, seconds, or minutes.
fn short(time: Duration) -> String {
    match time.as_millis() {
        ms @ 0..1000 => format!("{ms} ms"),
        ms @ 1000..100_000 => format!("{:.1} s", ms as f64 / 1000.0),
        ms => format!("{} min", ms / 60_000),
    }
}

#[cfg(test)]
pub(crate) mod tests;
