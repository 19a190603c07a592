//! A source under supervision: paced, numbered, stamped, missed when nothing comes, and opened again.

use std::os::fd::RawFd;
use std::time::Duration;

use kinect2::depth::Intrinsics;

use super::{
    Driven, NOMINAL_FPS, PIXELS, Progress, Report, Source, SourceError, Stamp, StepOfLife, fault, kinect,
};
use crate::clock::Now;
use crate::limits::{GONE_AFTER, INFRARED_FOR, REOPEN_FIRST, REOPEN_MAX, SIGN_OF_LIFE_WITHIN};

/// What [`Feed::step`] found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Nothing to do; step again when [`Feed::due`] says or a descriptor is ready.
    Idle,
    /// There may be more to do at once.
    More,
    /// Give [`Feed::poll`] a buffer now: a frame is complete, or may be made.
    Poll,
    /// Something happened that needs no buffer; there may be more to do at once.
    Happened(Outcome),
}

/// What [`Feed::poll`] did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// The buffer holds a new frame.
    Captured(Stamp),
    /// A frame arrived incomplete; the buffer is worthless.
    Torn,
    /// Nothing new; ask again when [`Feed::due`] says.
    Nothing,
    /// The source has just gone.
    Lost(SourceError),
    /// It has not come back, or not come at all, for a reason that was not said yet.
    Still(SourceError),
    /// The source has just been opened for the first time, if that takes time.
    Opened,
    /// The source has just been opened again.
    Reopened,
}

/// A source under supervision.
#[derive(Debug)]
pub struct Feed {
    source: Source,
    pace: Pace,
    faults: fault::Plan,
    state: State,
    opened: Duration,
    /// Number of the next frame within the source.
    next: u64,
    seq: u64,
    /// Since when nothing has come that should have: the newest frame of a paced source, or the first unanswered
    /// demand on one that is asked.
    quiet_since: Option<Duration>,
    reopened: u64,
    /// The last frame, or the last step towards one.
    alive: Duration,
    /// Where a sensor was then.
    step: Option<StepOfLife>,
    /// The infrared picture of the newest frame; empty if there are none from this source.
    infrared: Box<[u16]>,
    /// Until when infrared is wanted.
    infrared_until: Duration,
    /// Whether the source was asked for it.
    infrared_asked: bool,
    /// Whether `infrared` belongs to the newest frame.
    infrared_here: bool,
}

impl Feed {
    /// Supervises `source`, which gives `fps` frames a second, or one whenever it is asked if that is 0. A sensor gives
    /// [`NOMINAL_FPS`] and heeds no `faults`.
    pub fn new(source: Source, fps: u32, faults: fault::Plan, now: Now) -> Self {
        let fps = if source.driven().is_some() { NOMINAL_FPS } else { fps };
        let infrared = if source.has_infrared() { PIXELS } else { 0 };
        Self {
            infrared: vec![0; infrared].into_boxed_slice(),
            infrared_until: Duration::ZERO,
            infrared_asked: false,
            infrared_here: false,
            source,
            pace: Pace::new(fps, now.mono),
            faults,
            state: State::Streaming,
            opened: now.mono,
            next: 0,
            seq: 0,
            quiet_since: (fps > 0).then_some(now.mono),
            reopened: 0,
            alive: now.mono,
            step: None,
        }
    }

    /// When [`Feed::step`] is next worth calling; `None` while nobody wants a frame that is made on demand, or only a
    /// sensor's descriptors can tell.
    pub fn due(&self, wanted: bool) -> Option<Duration> {
        if let Some(sensor) = self.source.driven() {
            return sensor.due();
        }
        match (self.state, self.pace.interval) {
            (State::Lost { retry, .. }, _) => Some(retry),
            (State::Streaming, Some(_)) => Some(self.pace.next),
            (State::Streaming, None) => wanted.then_some(self.pace.next),
        }
    }

    /// Steps a sensor, or says whether a frame is due. To be called in every turn of the loop.
    ///
    /// Never blocks, and allocates nothing while frames come.
    pub fn step(&mut self, now: Now, wanted: bool) -> Step {
        let Some(sensor) = self.source.driven_mut() else {
            let due = self.due(wanted).is_some_and(|due| due <= now.mono);
            return if due { Step::Poll } else { Step::Idle };
        };
        let progress = sensor.turn(now);
        let step = Some(sensor.step());
        if step != self.step {
            self.step = step;
            self.alive = now.mono;
        }
        match progress {
            Progress::Idle => Step::Idle,
            Progress::More => Step::More,
            Progress::Frame => Step::Poll,
            Progress::Lost(error) => Step::Happened(Outcome::Lost(error)),
            Progress::Still(error) => Step::Happened(Outcome::Still(error)),
            Progress::Flowing { again: false } => Step::Happened(Outcome::Opened),
            Progress::Flowing { again: true } => {
                self.reopened += 1;
                Step::Happened(Outcome::Reopened)
            }
        }
    }

    /// Captures a frame into `depth` (see [`PIXELS`]) if one is due, or tries to reopen what was lost. To be called when
    /// [`Feed::step`] says [`Step::Poll`].
    ///
    /// Never blocks and never allocates.
    pub fn poll(&mut self, now: Now, depth: &mut [u16]) -> Outcome {
        let wanted = now.mono < self.infrared_until;
        self.infrared_here = false;
        if let Some(sensor) = self.source.driven_mut() {
            if std::mem::replace(&mut self.infrared_asked, wanted) != wanted {
                sensor.want_infrared(wanted);
            }
            let infrared = wanted.then_some(&mut *self.infrared);
            let Some((captured, infrared_here)) = sensor.take(now, depth, infrared) else {
                return Outcome::Torn;
            };
            self.infrared_here = infrared_here;
            self.seq += 1;
            self.quiet_since = Some(now.mono);
            self.alive = now.mono;
            return Outcome::Captured(Stamp { seq: self.seq, captured });
        }
        let since_start = now.mono.saturating_sub(self.opened);
        let fault = self.faults.at(since_start);
        if let State::Lost { pause, .. } = self.state {
            self.alive = now.mono;
            if fault == Some(fault::Kind::Vanish) {
                let pause = (pause * 2).min(REOPEN_MAX);
                self.state = State::Lost { error: SourceError::NotFound, retry: now.mono + pause, pause };
                return Outcome::Nothing;
            }
            self.state = State::Streaming;
            self.pace.restart(now.mono);
            self.reopened += 1;
            return Outcome::Reopened;
        }
        self.pace.advance(now.mono);
        match fault {
            Some(fault::Kind::Vanish) => {
                let error = SourceError::Disconnected;
                self.state = State::Lost { error, retry: now.mono + REOPEN_FIRST, pause: REOPEN_FIRST };
                self.quiet_since.get_or_insert(now.mono);
                Outcome::Lost(error)
            }
            Some(fault::Kind::Stall) => {
                self.quiet_since.get_or_insert(now.mono);
                self.pace.hold_back(now.mono);
                Outcome::Nothing
            }
            Some(fault::Kind::Torn) => {
                self.source.read(self.next, self.scene_time(), depth, None);
                depth[PIXELS / 2..].fill(0);
                self.next += 1;
                self.pace.hold_back(now.mono);
                Outcome::Torn
            }
            None => {
                let time = self.scene_time();
                self.infrared_here = wanted && !self.infrared.is_empty();
                let infrared = self.infrared_here.then_some(&mut *self.infrared);
                self.source.read(self.next, time, depth, infrared);
                self.next += 1;
                self.seq += 1;
                self.alive = now.mono;
                self.quiet_since = self.pace.interval.map(|_| now.mono);
                Outcome::Captured(Stamp { seq: self.seq, captured: now })
            }
        }
    }

    /// Whether the source has infrared pictures beside depth.
    pub fn has_infrared(&self) -> bool {
        !self.infrared.is_empty()
    }

    /// Somebody wants infrared: frames have it from the next one or two on, for [`INFRARED_FOR`] from `now` on.
    pub fn want_infrared(&mut self, now: Duration) {
        self.infrared_until = now + INFRARED_FOR;
    }

    /// The infrared picture of the frame captured last, if it has one: brightness without a unit, row-major, 424 rows of
    /// 512, 65,535 is saturated. To be changed before it is shown: what must not be seen is in it still.
    pub fn infrared(&mut self) -> Option<&mut [u16]> {
        self.infrared_here.then_some(&mut *self.infrared)
    }

    /// The lens that the source's pictures are seen through, before they are turned; `None` if it is not known, or not yet.
    pub fn intrinsics(&self) -> Option<Intrinsics> {
        self.source.intrinsics()
    }

    /// Why viewers should see the placeholder at `now`, if they should.
    pub fn gone(&self, now: Now) -> Option<SourceError> {
        let overdue = self.gone_at().is_some_and(|at| at <= now.mono);
        if let Some(sensor) = self.source.driven() {
            return match sensor.trouble() {
                Some(error) => (self.seq == 0 || overdue).then_some(error),
                None => overdue.then(|| sensor.overdue()),
            };
        }
        match self.state {
            State::Lost { error, .. } if self.seq == 0 || overdue => Some(error),
            State::Streaming if overdue => Some(SourceError::Silent),
            State::Lost { .. } | State::Streaming => None,
        }
    }

    /// When [`Feed::gone`] turns if no frame comes until then; `None` if none is awaited.
    pub fn gone_at(&self) -> Option<Duration> {
        let limit = GONE_AFTER.max(self.pace.interval.unwrap_or_default() * 2);
        self.quiet_since.map(|since| since + limit)
    }

    /// Whether frames come, or something is done about it at `now`: a sensor that is looked for in vain is healthy, a call
    /// that never comes back is not, nor is silence without a step for [`SIGN_OF_LIFE_WITHIN`]. A source
    /// that makes frames on demand and is not asked is healthy.
    pub fn is_healthy(&self, now: Now) -> bool {
        let hung = self.source.driven().and_then(Driven::trouble).is_some_and(SourceError::is_hung);
        let overdue = |since: Duration| now.mono.saturating_sub(since.max(self.alive)) >= SIGN_OF_LIFE_WITHIN;
        !hung && !self.quiet_since.is_some_and(overdue)
    }

    /// How long a frame has been awaited at `now`; zero if none is.
    pub fn quiet(&self, now: Now) -> Duration {
        self.quiet_since.map_or(Duration::ZERO, |since| now.mono.saturating_sub(since))
    }

    /// Sequence number of the newest frame, 0 before the first.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// How often the source was opened again.
    pub fn reopened(&self) -> u64 {
        self.reopened
    }

    /// Frames per second the source was asked for; 0 means on demand.
    pub fn fps(&self) -> u32 {
        self.pace.fps
    }

    /// One word for what the source is at: `streaming`, `starting` before the first frame, or why there is none.
    pub fn word(&self, now: Now) -> &'static str {
        match self.gone(now) {
            Some(error) => error.word(),
            None if self.seq == 0 && self.source.driven().is_some() => SourceError::Opening.word(),
            None => "streaming",
        }
    }

    /// The descriptor of a sensor that is readable when it has work; the same all the time.
    pub fn job(&self) -> Option<RawFd> {
        self.source.driven().map(Driven::job)
    }

    /// The open device of a sensor, writable when it has work. With another generation it is another descriptor, perhaps
    /// with the same number; the one before is closed, or will be, which ends its being watched.
    pub fn node(&self) -> Option<(u64, RawFd)> {
        self.source.driven().and_then(Driven::node)
    }

    /// Changes what is made of a sensor's frames; the queue stays as it is.
    pub fn set(&mut self, settings: &kinect::Settings) {
        if let Some(sensor) = self.source.driven_mut() {
            sensor.set(settings);
        }
    }

    /// What is known of a sensor.
    pub fn report(&self) -> Option<Report> {
        self.source.driven().map(Driven::report)
    }

    /// Begins to stop a sensor in order; go on with [`Feed::step`] until [`Feed::is_shut_down`].
    pub fn shut_down(&mut self, now: Now) {
        if let Some(sensor) = self.source.driven_mut() {
            sensor.shut_down(now);
        }
    }

    /// Whether there is no sensor that has still to stop.
    pub fn is_shut_down(&self) -> bool {
        self.source.driven().is_none_or(Driven::is_shut_down)
    }

    /// Whether a frame is made only when one is wanted.
    pub fn on_demand(&self) -> bool {
        self.pace.interval.is_none()
    }

    /// The kind of source, see [`Source::kind`].
    pub fn kind(&self) -> &'static str {
        self.source.kind()
    }

    /// Scenes move by frame count, so that a recording is the same whatever the pace kept.
    fn scene_time(&self) -> Duration {
        let fps = if self.pace.fps == 0 { NOMINAL_FPS } else { self.pace.fps };
        Duration::from_nanos(self.next.saturating_mul(1_000_000_000 / u64::from(fps)))
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    Streaming,
    Lost { error: SourceError, retry: Duration, pause: Duration },
}

/// When the next frame of a paced source is due.
#[derive(Debug)]
struct Pace {
    fps: u32,
    /// `None` if frames are made on demand.
    interval: Option<Duration>,
    next: Duration,
}

impl Pace {
    fn new(fps: u32, now: Duration) -> Self {
        let interval = (fps > 0).then(|| Duration::from_secs(1) / fps);
        Self { fps, interval, next: now }
    }

    /// Steps on by one interval, or starts anew if that was missed: late frames are skipped, never made up for.
    fn advance(&mut self, now: Duration) {
        // A source that is asked may be asked again at once, unless it did not answer: see `Feed::poll`.
        let interval = self.interval.unwrap_or_default();
        self.next += interval;
        if self.next < now {
            self.next = now + interval;
        }
    }

    /// Without a frame, nobody asks again at once: that would spin.
    fn hold_back(&mut self, now: Duration) {
        self.next = self.next.max(now + Duration::from_secs(1) / NOMINAL_FPS);
    }

    fn restart(&mut self, now: Duration) {
        self.next = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::demo;

    fn at(ms: u64) -> Now {
        Now { mono: Duration::from_millis(ms), wall_us: 0 }
    }

    fn feed(fps: u32, faults: &str) -> Feed {
        let plan = faults.split_whitespace().map(|f| f.parse().expect("a fault")).collect();
        Feed::new(Source::Demo(Box::new(demo::Demo::new(1))), fps, plan, at(0))
    }

    /// Polls whenever the feed says, until `end_ms`, and returns what happened and when, plain waiting left out.
    fn play(feed: &mut Feed, end_ms: u64) -> Vec<(u64, Outcome)> {
        let mut depth = vec![0; PIXELS];
        let mut seen = Vec::new();
        while let Some(due) = feed.due(true).filter(|due| *due <= Duration::from_millis(end_ms)) {
            let ms = u64::try_from(due.as_millis()).expect("short");
            match feed.poll(Now { mono: due, wall_us: 0 }, &mut depth) {
                Outcome::Nothing => {}
                outcome => seen.push((ms, outcome)),
            }
        }
        seen
    }

    #[test]
    fn frames_come_at_the_pace_asked_for_and_are_numbered() {
        let seen = play(&mut feed(10, ""), 1000);
        assert_eq!(seen.len(), 11);
        for (n, (ms, outcome)) in seen.iter().enumerate() {
            assert_eq!(*ms, n as u64 * 100);
            assert!(matches!(outcome, Outcome::Captured(stamp) if stamp.seq == n as u64 + 1));
        }
    }

    #[test]
    fn a_late_poll_skips_frames_instead_of_making_up_for_them() {
        let mut feed = feed(10, "");
        let mut depth = vec![0; PIXELS];
        feed.poll(at(0), &mut depth);
        feed.poll(at(5000), &mut depth);
        assert_eq!(feed.due(false), Some(Duration::from_millis(5100)));
    }

    #[test]
    fn on_demand_means_only_when_wanted() {
        let mut feed = feed(0, "");
        assert_eq!(feed.due(false), None);
        assert!(feed.due(true).is_some_and(|due| due <= Duration::from_millis(7)));
        assert!(matches!(feed.poll(at(7), &mut vec![0; PIXELS]), Outcome::Captured(_)));
        assert_eq!(feed.gone(at(60_000)), None, "nobody asked");
    }

    #[test]
    fn a_vanished_source_is_reopened_with_growing_pauses_and_goes_on_counting() {
        let mut feed = feed(10, "vanish@1+5");
        let seen = play(&mut feed, 10_000);
        let lost = seen.iter().position(|(_, o)| matches!(o, Outcome::Lost(_))).expect("lost");
        assert_eq!(seen[lost], (1000, Outcome::Lost(SourceError::Disconnected)));
        // Retries at 1.25, 1.75, 2.75, 4.75 s fail; the one at 8.75 s finds the source again.
        assert_eq!(seen[lost + 1], (8750, Outcome::Reopened));
        let Outcome::Captured(before) = seen[lost - 1].1 else { panic!("no frame before") };
        let Outcome::Captured(after) = seen[lost + 2].1 else { panic!("no frame after") };
        assert_eq!(after.seq, before.seq + 1);
        assert_eq!(feed.reopened(), 1);
    }

    #[test]
    fn gone_is_no_frame_for_a_second() {
        let mut feed = feed(10, "stall@1+3");
        play(&mut feed, 1000);
        assert_eq!(feed.gone(at(1800)), None);
        assert_eq!(feed.gone(at(1950)), Some(SourceError::Silent));
        assert_eq!(feed.gone_at(), Some(Duration::from_millis(1900)));
        play(&mut feed, 4000);
        assert_eq!(feed.gone(at(4000)), None, "frames are back");
    }

    #[test]
    fn healthy_is_who_delivers_or_tries() {
        let mut gone = feed(10, "vanish@1+600");
        play(&mut gone, 500_000);
        assert!(gone.is_healthy(at(500_000)), "it is looked for every eight seconds");
        let mut silent = feed(10, "stall@1+600");
        play(&mut silent, 40_000);
        assert!(silent.is_healthy(at(40_000)), "not for long enough");
        play(&mut silent, 41_000);
        assert!(!silent.is_healthy(at(41_000)), "it neither delivers nor tries");
        play(&mut silent, 602_000);
        assert!(silent.is_healthy(at(602_000)), "frames are back");
        let mut asked = feed(0, "stall@100+600");
        assert!(asked.is_healthy(at(99_000)), "nobody asked");
        asked.poll(at(101_000), &mut vec![0; PIXELS]);
        assert!(asked.is_healthy(at(140_000)), "it was asked 39 s ago");
        assert!(!asked.is_healthy(at(141_000)));
    }

    #[test]
    fn a_torn_frame_has_no_number() {
        let seen = play(&mut feed(10, "torn@0.5+0.2"), 1000);
        let torn = seen.iter().filter(|(_, o)| *o == Outcome::Torn).count();
        assert_eq!(torn, 2);
        let seqs = seen.iter().filter_map(|(_, o)| match o {
            Outcome::Captured(stamp) => Some(stamp.seq),
            _ => None,
        });
        assert!(seqs.eq(1..=9), "numbers have a gap");
    }
}
