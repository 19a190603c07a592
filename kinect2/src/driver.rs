//! The life of a sensor: found, opened, started, watched, started again, closed.
//!
//! Owns no descriptor and no clock. It says what to do next, and is told how that ended:
//!
//! ```text
//!            Action ──▶ owner of the descriptor ──▶ kernel
//! Driver ──┤                                          │
//!            Done ◀──────────────────────────────────┘
//! ```
//!
//! At most one action is in flight. Every `now` is of the same monotonic clock.

mod action;
mod identity;
mod plan;
mod report;
#[cfg(test)]
mod tests;
mod trouble;
mod watchdog;

use std::fmt;
use std::time::Duration;

pub use action::{Action, Done, Failure};
pub use identity::{Firmware, Identity, serial_from_reply, status_from_reply};
pub use report::{Counters, State};
pub use trouble::{Name, Step, Trouble};

use crate::command::{Ask, Channel, Error, Event, REPLY_KEPT, STEP_TIME, Verdict};
use crate::depth::Intrinsics;
use crate::protocol::{Command, STATUS_READY, Setup};
use plan::{Plan, Undo};
use watchdog::{Alarm, Watchdog, back_off};

/// The driver of one sensor.
pub struct Driver {
    /// The sensor that is wanted.
    serial: Option<String>,
    /// The sensor that was open last: the one to find again after a reset, while it has not left.
    last_serial: Option<Name>,
    phase: Phase,
    flight: Option<Flight>,
    /// What comes after the stop in work.
    then: Then,
    /// When the end must be reached.
    end_by: Option<Duration>,
    is_open: bool,
    /// Whether the sensor has left while a job was in flight, which has to come back first.
    has_left: bool,
    undo: Undo,
    /// Not before this the next step.
    pause: Option<Duration>,
    /// Failures without a frame between them.
    failures: u32,
    trouble: Option<Trouble>,
    /// The job that is in flight for longer than any takes.
    hung: Option<Step>,
    channel: Channel,
    polls: u32,
    /// When a sensor that answers, and is not ready, is given up.
    ready_by: Option<Duration>,
    page_serial: Name,
    firmware: Firmware,
    lens_reply: [u8; REPLY_KEPT],
    lens_length: usize,
    /// Whether the sensor has said all of itself since it was opened.
    is_known: bool,
    /// Whether the decoder is made of `lens_reply` and the channel's P0.
    is_prepared: bool,
    identity: Option<Identity>,
    counters: Counters,
}

impl Driver {
    /// A driver that opens a sensor at its first [`Driver::next`].
    ///
    /// * `serial`: the sensor that is wanted; the first if `None`.
    ///
    /// Allocates what it will ever need, some 2 MB.
    #[must_use]
    pub fn new(serial: Option<String>, now: Duration) -> Self {
        Driver {
            serial,
            last_serial: None,
            phase: Phase::Waiting { until: now },
            flight: None,
            then: Then::Wait(Duration::ZERO),
            end_by: None,
            is_open: false,
            has_left: false,
            undo: Undo::default(),
            pause: None,
            failures: 0,
            trouble: None,
            hung: None,
            channel: Channel::new(),
            polls: 0,
            ready_by: None,
            page_serial: Name::new(""),
            firmware: Firmware::default(),
            lens_reply: [0; REPLY_KEPT],
            lens_length: 0,
            is_known: false,
            is_prepared: false,
            identity: None,
            counters: Counters::default(),
        }
    }

    /// What to do next, if something is. To be called after every other call and at [`Driver::deadline`].
    pub fn next(&mut self, now: Duration) -> Option<Action<'_>> {
        if self.end_by.is_some_and(|end| now >= end) {
            self.end();
        }
        match self.flight {
            Some(flight) if flight.kind.is_job() => {
                self.look_at_job(flight, now);
                return None;
            }
            Some(flight) if self.must_hurry(now) => self.abandon(flight.step, now),
            Some(flight) if now < flight.until => return None,
            Some(flight) if flight.kind == Kind::Transfer && !flight.is_cancelled => {
                // Draining ends by a cancel when all is well.
                self.counters.timeouts += u64::from(flight.step != Step::Drain);
                self.flight = Some(Flight { is_cancelled: true, until: now + CANCEL_TIME, ..flight });
                return Some(Action::Cancel);
            }
            Some(flight) => {
                self.counters.timeouts += 1;
                self.abandon(flight.step, now);
            }
            None if self.must_hurry(now) => self.close(),
            None => {}
        }
        match self.phase {
            Phase::ShutDown => return None,
            Phase::Waiting { until } if now < until => return None,
            Phase::Waiting { .. } => self.phase = Phase::Stepping { plan: Plan::Open, at: 0 },
            Phase::Streaming(watchdog) => self.raise(watchdog.alarm(now)?, now),
            Phase::Stepping { .. } => {}
        }
        if self.pause.is_some_and(|until| now < until) {
            return None;
        }
        self.pause = None;
        self.step(now)
    }

    /// How the action in flight ended.
    pub fn done(&mut self, done: Done<'_>, now: Duration) {
        let (Some(flight), Phase::Stepping { plan, .. }) = (self.flight, self.phase) else {
            self.counters.unexpected += 1;
            return;
        };
        if flight.step == Step::Close && !matches!(done, Done::Ok | Done::Failed(_)) {
            // The answer of what the close has ended.
            self.counters.unexpected += 1;
            return;
        }
        self.flight = None;
        self.hung = None;
        let leaves = matches!(done, Done::Failed(Failure::Gone)) && self.is_open;
        if (leaves || self.has_left) && plan != Plan::Close {
            self.leave();
            return;
        }
        let end = match (flight.kind, done) {
            (_, Done::Failed(failure)) => End::Failed(failure),
            (_, Done::Cancelled) => End::TimedOut,
            (Kind::Open, Done::Opened { serial, speed_mbit }) => End::Opened(Name::new(serial), speed_mbit),
            (Kind::Transfer, Done::Received(bytes)) if flight.reads => End::Received(bytes),
            (Kind::Job | Kind::Stream | Kind::Transfer, Done::Ok) if !flight.reads => End::Well,
            _ => {
                self.counters.unexpected += 1;
                End::Failed(Failure::Io(EPROTO))
            }
        };
        self.ended(flight.step, end, now);
        if self.end_by.is_some()
            && matches!(self.phase, Phase::Stepping { plan: Plan::Open | Plan::Start, .. })
        {
            self.stop(Then::End, now);
        }
    }

    /// When [`Driver::next`] must be called although nothing happened; in the past if something is to be done at once.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let due = match (self.flight, self.phase) {
            (_, Phase::ShutDown) => return None,
            (Some(flight), _) => flight.until,
            (None, Phase::Waiting { until }) => until,
            (None, Phase::Streaming(watchdog)) => watchdog.due(),
            (None, Phase::Stepping { .. }) => self.pause.unwrap_or(Duration::ZERO),
        };
        Some(match self.end_by {
            None => due,
            Some(end) if self.can_hurry() => due.min(end - HURRY),
            Some(end) => due.min(end),
        })
    }

    /// An isochronous transfer came back.
    pub fn completion(&mut self, now: Duration) {
        if let Phase::Streaming(watchdog) = &mut self.phase {
            watchdog.completion(now);
        }
    }

    /// A whole frame came.
    pub fn frame(&mut self, now: Duration) {
        if let Phase::Streaming(watchdog) = &mut self.phase {
            watchdog.frame(now);
            self.trouble = None;
            self.failures = 0;
        }
    }

    /// The sensor has left the bus. May be said at any time and more than once.
    pub fn gone(&mut self) {
        if !self.is_open || self.is_closing() {
            return;
        }
        if self.flight.is_some_and(|flight| flight.kind.is_job()) {
            self.has_left = true;
        } else {
            self.leave();
        }
    }

    /// Stops and closes in order. [`State::ShutDown`] is reached within 500 ms, whatever answers, if [`Driver::next`] is
    /// called at [`Driver::deadline`].
    pub fn shut_down(&mut self, now: Duration) {
        if self.end_by.is_some() {
            return;
        }
        self.end_by = Some(now + END_TIME);
        self.then = Then::End;
        match (self.phase, &mut self.flight) {
            (Phase::Waiting { .. }, _) => self.end(),
            (Phase::Streaming(_), _) | (Phase::Stepping { plan: Plan::Open | Plan::Start, .. }, None) => {
                self.stop(Then::End, now);
            }
            // What can be cancelled is; `done` goes on from there.
            (Phase::Stepping { plan: Plan::Open | Plan::Start, .. }, Some(flight)) => {
                if flight.kind == Kind::Transfer && !flight.is_cancelled {
                    flight.until = now;
                }
            }
            (Phase::Stepping { .. } | Phase::ShutDown, _) => {}
        }
    }

    /// Where it is.
    #[must_use]
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Waiting { until } => State::Waiting { until },
            Phase::Streaming(_) => State::Streaming,
            Phase::ShutDown => State::ShutDown,
            Phase::Stepping { plan, at } => match (plan, plan.steps()[at]) {
                (Plan::Open, _) => State::Opening,
                (Plan::Start, step) => State::Starting(step),
                (Plan::Stop, step) => State::Stopping(step),
                (Plan::Close, _) => State::Closing,
            },
        }
    }

    /// Why there are no frames now; `None` while they come, and until something went wrong.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        self.hung.map(Trouble::Hung).or(self.trouble)
    }

    /// Who the sensor is, once it has said so; forgotten when it leaves the bus.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What happened so far on the command channel.
    #[must_use]
    pub fn channel_counters(&self) -> &crate::command::Counters {
        self.channel.counters()
    }

    // What to do.

    fn step(&mut self, now: Duration) -> Option<Action<'_>> {
        let Phase::Stepping { plan, at } = self.phase else { return None };
        let step = plan.steps()[at];
        if plan == Plan::Start {
            self.undo.begun(step);
        }
        let mut fly = |kind, reads, until| {
            self.flight = Some(Flight { step, kind, reads, until, is_cancelled: false });
        };
        let control = match step {
            Step::Open => {
                fly(Kind::Open, false, now + OPEN_TIME);
                let last = self.last_serial.as_ref().map(Name::as_str);
                return Some(Action::Open { serial: self.serial.as_deref().or(last) });
            }
            Step::Prepare => {
                fly(Kind::Job, false, now + JOB_TIME);
                let lens = &self.lens_reply[..self.lens_length];
                return Some(Action::Prepare { p0: self.channel.p0(), lens });
            }
            Step::Alternate(alternate) => {
                fly(Kind::Job, false, now + JOB_TIME);
                return Some(Action::Alternate(alternate));
            }
            Step::StartStream => {
                fly(Kind::Stream, false, now + STEP_TIME);
                return Some(Action::StartStream);
            }
            Step::StopStream => {
                fly(Kind::Stream, false, now + STEP_TIME);
                return Some(Action::StopStream);
            }
            Step::Close => {
                fly(Kind::Job, false, now + JOB_TIME);
                return Some(Action::Close);
            }
            Step::Drain | Step::Command(_) | Step::Ready => {
                if self.channel.is_idle() {
                    match step {
                        Step::Drain => self.channel.drain(),
                        Step::Command(command) => self.channel.begin(command, now),
                        _ => self.channel.begin(Command::Status, now),
                    }
                }
                let (ask, until) = self.channel.want(now)?;
                return Some(match ask {
                    Ask::Send(bytes) => {
                        fly(Kind::Transfer, false, until);
                        Action::Send(bytes)
                    }
                    Ask::Receive(max) => {
                        fly(Kind::Transfer, true, until);
                        Action::Receive { max }
                    }
                    Ask::ClearHalt(endpoint) => {
                        fly(Kind::Job, false, now + JOB_TIME);
                        Action::ClearHalt(endpoint)
                    }
                });
            }
            Step::IsochDelay => Setup::ISOCH_DELAY,
            Step::U1 => Setup::U1_ENABLE,
            Step::U2 => Setup::U2_ENABLE,
            Step::Suspend => Setup::SUSPEND,
            Step::Resume => Setup::RESUME,
        };
        fly(Kind::Transfer, false, now + STEP_TIME);
        Some(Action::Control(control))
    }

    /// A job cannot be called back. All that can be done is to say that it does not come.
    fn look_at_job(&mut self, flight: Flight, now: Duration) {
        if now >= flight.until {
            self.counters.timeouts += 1;
            self.hung = Some(flight.step);
            self.flight = Some(Flight { until: now + HUNG_AGAIN, ..flight });
        }
    }

    /// A transfer does not even come back when it is cancelled: closing ends it.
    fn abandon(&mut self, step: Step, now: Duration) {
        self.flight = None;
        match self.phase {
            Phase::Stepping { plan: plan @ (Plan::Open | Plan::Start), .. } if self.end_by.is_none() => {
                self.counters.failed_starts += u64::from(plan == Plan::Start);
                self.fail(Trouble::NoReply(step), now);
            }
            _ => {}
        }
        self.close();
    }

    fn raise(&mut self, alarm: Alarm, now: Duration) {
        match alarm {
            Alarm::Silent => {
                self.counters.silences += 1;
                // Nothing can be told to it, and its transfers do not come back by themselves: closing ends them.
                self.undo = Undo::default();
                self.fail(Trouble::Silent, now);
            }
            Alarm::NoFrames => {
                self.counters.droughts += 1;
                let first = self.failures == 0;
                self.fail(Trouble::NoFrames, now);
                if first {
                    self.then = Then::Start;
                }
            }
        }
    }

    fn must_hurry(&self, now: Duration) -> bool {
        self.can_hurry() && self.end_by.is_some_and(|end| now >= end - HURRY)
    }

    /// Whether closing at once is possible, and not being done.
    fn can_hurry(&self) -> bool {
        !self.is_closing() && !self.flight.is_some_and(|flight| flight.kind.is_job())
    }

    fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::ShutDown | Phase::Stepping { plan: Plan::Close, .. })
    }

    // What came of it.

    fn ended(&mut self, step: Step, end: End<'_>, now: Duration) {
        match step {
            Step::Drain | Step::Command(_) | Step::Ready => {
                let event = match end {
                    End::Well => Event::Well,
                    End::Received(bytes) => Event::Received(bytes),
                    End::TimedOut => Event::TimedOut,
                    End::Failed(Failure::Stall) => Event::Stall,
                    End::Failed(failure) => return self.failed(step, trouble(step, failure), now),
                    End::Opened(..) => return,
                };
                match self.channel.event(event, now) {
                    Verdict::Pending => {}
                    Verdict::Complete => self.answered(step, now),
                    Verdict::Failed(Error::NoReply) => self.failed(step, Trouble::NoReply(step), now),
                    Verdict::Failed(Error::Refused) => self.failed(step, Trouble::Refused(step), now),
                    Verdict::Failed(Error::Bad(flaw)) => {
                        self.failed(step, Trouble::BadReply(step, flaw), now);
                    }
                }
            }
            _ => match end {
                End::Opened(serial, mbit) => self.opened(serial, mbit, now),
                End::Well | End::Received(_) => {
                    self.is_prepared |= step == Step::Prepare;
                    self.advance(now);
                }
                End::TimedOut => self.failed(step, Trouble::NoReply(step), now),
                End::Failed(failure) => self.failed(step, trouble(step, failure), now),
            },
        }
    }

    fn opened(&mut self, serial: Name, mbit: u32, now: Duration) {
        self.counters.opened += 1;
        self.is_open = true;
        self.has_left = false;
        self.is_known = false;
        self.undo = Undo::default();
        self.channel.restart();
        self.last_serial = Some(serial).filter(|serial| !serial.as_str().is_empty());
        if (1..USB3_MBIT).contains(&mbit) {
            self.fail(Trouble::SlowLink { mbit }, now);
        } else {
            self.advance(now);
        }
    }

    fn answered(&mut self, step: Step, now: Duration) {
        let reply = self.channel.reply();
        match step {
            Step::Command(Command::Firmware) => {
                self.firmware = Firmware::from_reply(reply).unwrap_or_default();
            }
            Step::Command(Command::Serial) => self.page_serial = serial_from_reply(reply),
            Step::Command(Command::DepthLens) => {
                if self.lens_reply[..self.lens_length] != *reply {
                    self.lens_length = reply.len();
                    self.lens_reply[..reply.len()].copy_from_slice(reply);
                    self.is_prepared = false;
                }
                match Intrinsics::from_reply(reply) {
                    Ok(lens) => {
                        let (serial, firmware) = (self.page_serial, self.firmware);
                        self.identity = Some(Identity { serial, firmware, lens });
                    }
                    Err(error) => return self.failed(step, Trouble::BadTables(error), now),
                }
            }
            Step::Command(Command::P0) => {
                if self.channel.take_p0_changed() {
                    self.is_prepared = false;
                }
                self.is_known = true;
            }
            Step::Ready => {
                let status = status_from_reply(reply).unwrap_or_default();
                if status & STATUS_READY == 0 {
                    self.polls += 1;
                    let by = *self.ready_by.get_or_insert(now + READY_TIME);
                    if self.polls < POLLS && now < by {
                        self.pause = Some(now + POLL_INTERVAL);
                        return;
                    }
                    let trouble = if status == STUCK { Trouble::Stuck } else { Trouble::NotReady { status } };
                    return self.failed(step, trouble, now);
                }
            }
            _ => {}
        }
        self.advance(now);
    }

    fn failed(&mut self, step: Step, trouble: Trouble, now: Duration) {
        let Phase::Stepping { plan, .. } = self.phase else { return };
        self.channel.abort();
        match plan {
            Plan::Open if step == Step::Open => self.not_opened(trouble, now),
            Plan::Open => {
                self.counters.optional_failures += 1;
                self.advance(now);
            }
            Plan::Start => {
                self.counters.failed_starts += 1;
                self.fail(trouble, now);
            }
            Plan::Stop | Plan::Close => {
                self.counters.stop_failures += 1;
                if self.then == Then::Start {
                    // Who does not stop as told is not started as it is.
                    self.then = Then::Wait(Duration::ZERO);
                }
                if matches!(step, Step::Command(_)) {
                    self.undo.without_commands();
                }
                self.advance(now);
            }
        }
    }

    fn not_opened(&mut self, trouble: Trouble, now: Duration) {
        self.trouble = Some(trouble);
        let wait = if self.last_serial.take().is_some() && self.serial.is_none() {
            // It was the one of before that is not there; perhaps another is.
            Duration::ZERO
        } else {
            self.wait_after(trouble)
        };
        self.phase = Phase::Waiting { until: now + wait };
        if trouble.is_from_a_look() {
            self.identity = None;
        }
        if self.end_by.is_some() {
            self.end();
        }
    }

    /// Frames cannot come as it is: stops, closes and tries again.
    fn fail(&mut self, trouble: Trouble, now: Duration) {
        self.trouble = Some(trouble);
        let wait = self.wait_after(trouble);
        self.stop(Then::Wait(wait), now);
    }

    fn wait_after(&mut self, trouble: Trouble) -> Duration {
        if trouble.is_from_a_look() {
            return LOOK_AGAIN;
        }
        self.failures = self.failures.saturating_add(1);
        back_off(self.failures)
    }

    /// The sensor has left the bus: nothing is to be said to it any more.
    fn leave(&mut self) {
        self.counters.disconnects += 1;
        self.trouble = Some(Trouble::Disconnected);
        self.failures = 0;
        self.last_serial = None;
        self.identity = None;
        self.then = Then::Wait(LOOK_AGAIN);
        self.close();
    }

    // From one step to the next.

    fn stop(&mut self, then: Then, now: Duration) {
        self.then = then;
        self.channel.abort();
        self.begin(Plan::Stop, now);
    }

    fn close(&mut self) {
        if self.then == Then::Start {
            self.then = Then::Wait(Duration::ZERO);
        }
        self.channel.abort();
        self.flight = None;
        self.has_left = false;
        self.undo = Undo::default();
        self.pause = None;
        self.phase = Phase::Stepping { plan: Plan::Close, at: 0 };
    }

    fn begin(&mut self, plan: Plan, now: Duration) {
        self.pause = None;
        self.polls = 0;
        self.ready_by = None;
        self.phase = Phase::Stepping { plan, at: 0 };
        self.settle(now);
    }

    fn advance(&mut self, now: Duration) {
        if let Phase::Stepping { at, .. } = &mut self.phase {
            *at += 1;
        }
        self.settle(now);
    }

    /// Passes over steps that are not needed, and from a plan that is done to what comes after it.
    fn settle(&mut self, now: Duration) {
        while let Phase::Stepping { plan, at } = self.phase {
            match plan.steps().get(at) {
                Some(&step) if self.is_needed(plan, step) => return,
                Some(_) => self.phase = Phase::Stepping { plan, at: at + 1 },
                None => self.finished(plan, now),
            }
        }
    }

    fn finished(&mut self, plan: Plan, now: Duration) {
        let end_is_near = self.end_by.is_some();
        match (plan, self.then) {
            (Plan::Open, _) => self.begin(Plan::Start, now),
            (Plan::Start, _) => {
                self.counters.started += 1;
                self.phase = Phase::Streaming(Watchdog::new(now));
            }
            (Plan::Stop, Then::Start) if !end_is_near => {
                self.undo = Undo::default();
                self.begin(Plan::Start, now);
            }
            (Plan::Stop, _) => self.close(),
            (Plan::Close, then) => {
                self.is_open = false;
                match then {
                    Then::Wait(wait) if !end_is_near => self.phase = Phase::Waiting { until: now + wait },
                    _ => self.end(),
                }
            }
        }
    }

    fn is_needed(&self, plan: Plan, step: Step) -> bool {
        match (plan, step) {
            (Plan::Start, Step::Command(command)) => {
                let tells_of_itself = matches!(
                    command,
                    Command::Firmware
                        | Command::Hardware
                        | Command::Serial
                        | Command::DepthLens
                        | Command::P0
                );
                !(tells_of_itself && self.is_known)
            }
            (Plan::Start, Step::Prepare) => !self.is_prepared,
            (Plan::Stop, step) => self.undo.needs(step),
            _ => true,
        }
    }

    fn end(&mut self) {
        self.flight = None;
        self.hung = None;
        self.phase = Phase::ShutDown;
    }
}

impl fmt::Debug for Driver {
    /// Without what the sensor has said of itself: it is long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("phase", &self.phase)
            .field("flight", &self.flight)
            .field("then", &self.then)
            .field("end_by", &self.end_by)
            .field("trouble", &self.trouble)
            .field("failures", &self.failures)
            .field("counters", &self.counters)
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Waiting { until: Duration },
    Stepping { plan: Plan, at: usize },
    Streaming(Watchdog),
    ShutDown,
}

/// What comes after a stop.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Then {
    /// A start.
    Start,
    /// Close, wait this long, open.
    Wait(Duration),
    /// Close, and no more.
    End,
}

/// The action in flight.
#[derive(Clone, Copy, Debug)]
struct Flight {
    step: Step,
    kind: Kind,
    /// Whether it ends with bytes.
    reads: bool,
    until: Duration,
    is_cancelled: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Open,
    Job,
    Transfer,
    Stream,
}

impl Kind {
    fn is_job(self) -> bool {
        matches!(self, Kind::Open | Kind::Job)
    }
}

/// How a step ended.
enum End<'a> {
    Well,
    Opened(Name, u32),
    Received(&'a [u8]),
    TimedOut,
    Failed(Failure),
}

fn trouble(step: Step, failure: Failure) -> Trouble {
    match failure {
        Failure::Gone => Trouble::Disconnected,
        Failure::Stall => Trouble::Refused(step),
        Failure::NoMemory => Trouble::UsbfsMemory,
        Failure::NoBandwidth => Trouble::NoBandwidth,
        Failure::Io(errno) if step == Step::Open => Trouble::OpenFailed(errno),
        Failure::Io(errno) => Trouble::Failed(step, errno),
        Failure::Trouble(trouble) => trouble,
        Failure::BadTables(error) => Trouble::BadTables(error),
    }
}

/// How long what was cancelled may take to come back.
const CANCEL_TIME: Duration = Duration::from_millis(500);
/// Opening resets, which may take a second, and may have to find the sensor again.
const OPEN_TIME: Duration = Duration::from_secs(10);
/// Longer than the kernel waits for a control request of its own, 5 s.
const JOB_TIME: Duration = Duration::from_secs(6);
/// How often it is said that a job does not come back.
const HUNG_AGAIN: Duration = Duration::from_secs(1);
/// How long to wait when there is no sensor that could be opened.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long the sensor has to get ready: 50 looks, 100 ms apart, as in libfreenect2.
const POLLS: u32 = 50;
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// The longest that these looks may take, which are answered late by some: no step may take as long as a watchdog's time.
const READY_TIME: Duration = Duration::from_secs(10);
/// The status of a sensor that only a power cycle helps; libfreenect2 issue 613.
const STUCK: u32 = 0x0400;
/// From [`Driver::shut_down`] to the end.
const END_TIME: Duration = Duration::from_millis(500);
/// What is left of it for closing when all else is not done.
const HURRY: Duration = Duration::from_millis(100);
/// Speed of USB 3 in Mbit/s.
const USB3_MBIT: u32 = 5000;
/// Protocol error: the number for an answer that does not fit its action.
const EPROTO: i32 = 71;
