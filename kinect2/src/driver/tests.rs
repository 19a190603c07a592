//! The driver against a scripted sensor on a virtual clock.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::command::Flaw;
use crate::depth::{INTRINSICS_REPLY_MIN, P0_REPLY_MIN, TablesError};
use crate::protocol::{COMMAND_MAGIC, COMMAND_OUT, Completion};

const SERIAL: &str = "005697142447";

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// What goes wrong at a step.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// The endpoint stalls whenever the step is taken.
    Stall,
    /// As `Stall`, but once only.
    StallOnce,
    /// Nothing comes, until it is cancelled; of a job: it takes 15 s.
    Timeout,
    /// Nothing comes, not even when it is cancelled.
    Lost,
    /// The completion has the number of a command that was never sent.
    Sequence,
    /// The whole answer of an older command stands in front.
    Stale,
    /// The completion comes without data.
    CompletionFirst,
    /// Half the data.
    Short,
    /// Another failure.
    Fails(Failure),
    /// The sensor is unplugged with the step in flight, plugged in again when the fault ends.
    Gone,
}

/// A fault at a step, until a time.
#[derive(Clone, Copy, Debug)]
struct Script {
    step: Step,
    fault: Fault,
    until: Duration,
}

/// What has been asked for, without its bytes.
#[derive(Clone, Debug, PartialEq)]
enum Act {
    Open(Option<String>),
    Alternate(u8),
    ClearHalt(u8),
    Prepare,
    Close,
    Control(Setup),
    Send(Vec<u8>),
    Receive(usize),
    Cancel,
    StartStream,
    StopStream,
}

impl From<Action<'_>> for Act {
    fn from(action: Action<'_>) -> Self {
        match action {
            Action::Open { serial } => Act::Open(serial.map(str::to_owned)),
            Action::Alternate(alternate) => Act::Alternate(alternate),
            Action::ClearHalt(endpoint) => Act::ClearHalt(endpoint),
            Action::Prepare { p0, lens } => {
                assert!(p0.len() >= P0_REPLY_MIN && lens.len() >= INTRINSICS_REPLY_MIN);
                Act::Prepare
            }
            Action::Close => Act::Close,
            Action::Control(setup) => Act::Control(setup),
            Action::Send(bytes) => Act::Send(bytes.to_vec()),
            Action::Receive { max } => Act::Receive(max),
            Action::Cancel => Act::Cancel,
            Action::StartStream => Act::StartStream,
            Action::StopStream => Act::StopStream,
        }
    }
}

/// How an action will end.
#[derive(Clone, Debug, PartialEq)]
enum Reply {
    Ok,
    Opened,
    Received(Vec<u8>),
    Cancelled,
    Failed(Failure),
}

/// A driver, and a sensor with a host that do what it says.
struct Bench {
    now: Duration,
    driver: Driver,
    /// The action in flight, how it ends, and when; if ever.
    flight: Option<(Act, Option<(Duration, Reply)>)>,
    script: Option<Script>,
    used: bool,
    plugged: bool,
    open: bool,
    resumed: bool,
    polls: u32,
    ready_after: u32,
    status: u32,
    initialised: bool,
    alternate: u8,
    submitted: bool,
    on: bool,
    /// What stands in the reply endpoint.
    fifo: VecDeque<Vec<u8>>,
    reply_time: Duration,
    p0: Vec<u8>,
    /// Whether transfers come back, and whether frames are in them.
    silent: bool,
    empty: bool,
    next_transfer: Duration,
    next_frame: Duration,
    frames: u64,
    prepared: u32,
    log: Vec<(Duration, Act)>,
    troubles: Vec<Trouble>,
}

impl Bench {
    fn new() -> Self {
        Bench {
            now: secs(100),
            driver: Driver::new(None, secs(100)),
            flight: None,
            script: None,
            used: false,
            plugged: true,
            open: false,
            resumed: false,
            polls: 0,
            ready_after: 3,
            status: 0x2200,
            initialised: false,
            alternate: 0,
            submitted: false,
            on: false,
            fifo: VecDeque::new(),
            reply_time: ms(1),
            p0: vec![3; P0_REPLY_MIN + 100],
            silent: false,
            empty: false,
            next_transfer: secs(100),
            next_frame: secs(100),
            frames: 0,
            prepared: 0,
            log: Vec::new(),
            troubles: Vec::new(),
        }
    }

    fn with(step: Step, fault: Fault, lasts: Duration) -> Self {
        let mut bench = Bench::new();
        bench.script = Some(Script { step, fault, until: bench.now + lasts });
        bench
    }

    /// Lets time pass.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.acts();
            let streams = self.submitted && self.on && self.plugged && !self.silent;
            let replug = self.script.filter(|_| !self.plugged).map(|script| script.until);
            let next = [
                self.flight.as_ref().and_then(|(_, end)| end.as_ref()).map(|(due, _)| *due),
                self.driver.deadline(),
                streams.then_some(self.next_transfer.max(self.now)),
                replug,
                Some(end),
            ];
            let next = next.into_iter().flatten().min().expect("the end at least").max(self.now);
            assert!(next > self.now || next == end || self.is_due(), "no progress at {next:?}");
            self.now = next;
            if replug.is_some_and(|at| self.now >= at) {
                self.plugged = true;
                self.script = None;
            }
            self.arrive();
            let is_due = |(due, _): &(Duration, Reply)| *due <= self.now;
            if self.flight.as_ref().is_some_and(|(_, end)| end.as_ref().is_some_and(is_due)) {
                let (act, end) = self.flight.take().expect("in flight");
                self.deliver(&act, &end.expect("due").1);
            }
            if streams && self.now >= self.next_transfer {
                self.next_transfer = self.now + ms(1);
                self.driver.completion(self.now);
                if self.now >= self.next_frame && !self.empty {
                    self.next_frame = self.now + ms(33);
                    self.frames += 1;
                    self.driver.frame(self.now);
                    assert_eq!(self.driver.trouble(), None, "while frames come");
                }
            }
            if self.now >= end {
                self.acts();
                return;
            }
        }
    }

    /// Gives what came late to the read that waits for it.
    fn arrive(&mut self) {
        let waits = matches!(self.flight, Some((Act::Receive(_), None)));
        if waits && self.script.is_none_or(|s| self.now >= s.until) {
            let end = self.fifo.pop_front().map(|block| (self.now + self.reply_time, Reply::Received(block)));
            self.flight = Some((Act::Receive(0), end));
        }
    }

    fn is_due(&self) -> bool {
        self.flight.as_ref().is_some_and(|(_, end)| end.as_ref().is_some_and(|(due, _)| *due <= self.now))
            || self.submitted && self.next_transfer <= self.now
            || self.driver.deadline().is_some_and(|due| due <= self.now)
    }

    /// Does what the driver wants done now.
    fn acts(&mut self) {
        for _ in 0..20 {
            let act = self.driver.next(self.now).map(Act::from);
            if let Some(trouble) = self.driver.trouble()
                && self.troubles.last() != Some(&trouble)
            {
                self.troubles.push(trouble);
            }
            let Some(act) = act else {
                assert!(
                    self.flight.is_some()
                        || self.driver.deadline().is_some()
                        || self.driver.state() == State::ShutDown,
                    "the driver waits for nothing"
                );
                return;
            };
            self.log.push((self.now, act.clone()));
            match (&act, &self.flight) {
                (Act::Cancel, Some((Act::Control(_) | Act::Send(_) | Act::Receive(_), end))) => {
                    // What has come already is not cancelled any more.
                    let lost = self.fault_at(self.step_in_flight(), Fault::Lost);
                    if end.is_none() && !lost {
                        let end = Some((self.now + ms(1), Reply::Cancelled));
                        self.flight.as_mut().expect("in flight").1 = end;
                    }
                    continue;
                }
                (Act::Cancel, _) => panic!("nothing to cancel"),
                (Act::Close, Some((flown, _))) => {
                    let job = matches!(
                        flown,
                        Act::Open(_) | Act::Alternate(_) | Act::ClearHalt(_) | Act::Prepare | Act::Close
                    );
                    assert!(!job, "close cannot end {flown:?}");
                }
                (_, None) => {}
                (_, Some((flown, _))) => panic!("{act:?} while {flown:?} is in flight"),
            }
            let end = self.perform(&act);
            self.flight = Some((act, end));
        }
        panic!("it spins: {:?}", &self.log[self.log.len() - 5..]);
    }

    fn step_in_flight(&self) -> Step {
        match self.driver.state() {
            State::Starting(step) | State::Stopping(step) => step,
            State::Opening => Step::Open,
            _ => Step::Close,
        }
    }

    fn fault_at(&self, step: Step, fault: Fault) -> bool {
        self.script.is_some_and(|s| s.step == step && s.fault == fault && self.now < s.until)
    }

    fn perform(&mut self, act: &Act) -> Option<(Duration, Reply)> {
        let now = self.now;
        let soon = |reply| Some((now + ms(1), reply));
        let mut step = self.step_in_flight();
        if let (State::Opening, Act::Control(setup)) = (self.driver.state(), act) {
            step = match *setup {
                Setup::ISOCH_DELAY => Step::IsochDelay,
                Setup::U1_ENABLE => Step::U1,
                Setup::U2_ENABLE => Step::U2,
                _ => Step::Suspend,
            };
        }
        // Commands fail at the end that they name; clearing the halt always works.
        if let Some(Script { fault, .. }) = self.script.filter(|s| s.step == step && self.now < s.until) {
            match (act, fault) {
                (Act::ClearHalt(_) | Act::Close, _) => {}
                (_, Fault::Gone) => {
                    self.unplug();
                    return soon(Reply::Failed(Failure::Gone));
                }
                (Act::Receive(_), Fault::Stall) if step == Step::Drain => {
                    return soon(Reply::Failed(Failure::Stall));
                }
                (Act::Receive(_), Fault::Stall) => {}
                (_, Fault::Stall) => return soon(Reply::Failed(Failure::Stall)),
                (_, Fault::StallOnce) if !self.used => {
                    self.used = true;
                    return soon(Reply::Failed(Failure::Stall));
                }
                (Act::Prepare | Act::Alternate(_) | Act::Open(_), Fault::Timeout | Fault::Lost) => {
                    return Some((self.now + secs(15), self.done_well(act)));
                }
                (_, Fault::Timeout | Fault::Lost) => return None,
                (_, Fault::Fails(failure)) => return soon(Reply::Failed(failure)),
                _ => {}
            }
        }
        if !self.plugged && !matches!(act, Act::Close | Act::StopStream) {
            let trouble = Failure::Trouble(Trouble::NotFound);
            let failure = if matches!(act, Act::Open(_)) { trouble } else { Failure::Gone };
            return soon(Reply::Failed(failure));
        }
        assert!(self.open || matches!(act, Act::Open(_)), "{act:?} while closed");
        match act {
            Act::Open(_) => {
                assert!(!self.open);
                return Some((self.now + ms(200), self.done_well(act)));
            }
            Act::Send(bytes) => {
                if !self.resumed {
                    return soon(Reply::Failed(Failure::Stall));
                }
                self.answer(bytes, step);
            }
            Act::Receive(max) => {
                assert_eq!(max % 1024, 0);
                let block = self.fifo.pop_front()?;
                assert!(block.len() <= *max, "overflow");
                return Some((now + self.reply_time, Reply::Received(block)));
            }
            Act::Cancel => unreachable!(),
            _ => {}
        }
        let reply = self.done_well(act);
        Some((self.now + ms(1), reply))
    }

    fn unplug(&mut self) {
        self.plugged = false;
        self.fifo.clear();
        (self.resumed, self.on, self.initialised) = (false, false, false);
        (self.status, self.polls, self.alternate) = (0x2200, 0, 0);
    }

    /// Takes the effect of an action that ends well.
    fn done_well(&mut self, act: &Act) -> Reply {
        match act {
            Act::Open(_) => {
                self.open = true;
                self.unplug();
                self.plugged = true;
                return Reply::Opened;
            }
            Act::Alternate(1) => {
                assert!(self.initialised, "0x09 comes before alternate setting 1");
                self.alternate = 1;
            }
            Act::Alternate(_) => self.alternate = 0,
            Act::Prepare => self.prepared += 1,
            Act::Close => {
                self.open = false;
                self.submitted = false;
            }
            Act::Control(setup) => match *setup {
                Setup::RESUME => self.resumed = true,
                Setup::SUSPEND => self.resumed = false,
                _ => {}
            },
            Act::StartStream => {
                assert!(self.alternate == 1 && self.on, "transfers come last");
                self.submitted = true;
                self.next_transfer = self.now + ms(1);
                self.next_frame = self.now + ms(66);
            }
            Act::StopStream => self.submitted = false,
            Act::ClearHalt(_) | Act::Send(_) | Act::Receive(_) | Act::Cancel => {}
        }
        Reply::Ok
    }

    fn answer(&mut self, bytes: &[u8], step: Step) {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        assert_eq!(word(0), COMMAND_MAGIC);
        let (sequence, parameter) = (word(4), if bytes.len() > 20 { word(20) } else { 0 });
        let mut data = match (word(12), parameter) {
            (0x02, _) => {
                let mut data = vec![0; 512];
                data[48..56].copy_from_slice(&[0, 0, 4, 0, 0x48, 0x0f, 0, 0]);
                data
            }
            (0x14, _) => vec![1; 92],
            (0x22, 1) => {
                let mut data = vec![0; 128];
                SERIAL.bytes().enumerate().for_each(|(at, byte)| data[2 * at] = byte);
                data
            }
            (0x22, 2) => self.p0.clone(),
            (0x22, 3) => {
                let lens = [365.0, 365.0, 0.0, 254.0, 205.0, 0.09, -0.27, 0.0, 0.0, 0.09, 0.0f32];
                lens.iter().flat_map(|value| value.to_le_bytes()).collect()
            }
            (0x16, _) => {
                self.polls += 1;
                if self.polls > self.ready_after && self.status == 0x2200 {
                    self.status = 0x2601;
                }
                self.status.to_le_bytes().to_vec()
            }
            (0x09, _) => {
                assert_eq!(self.status & 1, 1, "0x09 before the sensor is ready");
                self.initialised = true;
                Vec::new()
            }
            (0x2B, on) => {
                self.on = on == 1;
                Vec::new()
            }
            (0x0A, _) => Vec::new(),
            other => panic!("unknown command {other:?}"),
        };
        let mut completion = Completion { sequence, rest: [0, 0] };
        let fault =
            self.script.filter(|s| (s.step == step || s.step == self.step_in_flight()) && self.now < s.until);
        match fault.map(|s| s.fault) {
            Some(Fault::Sequence) => completion.sequence += 5,
            Some(Fault::Stale) => {
                if !data.is_empty() {
                    self.fifo.push_back(vec![9; data.len()]);
                }
                self.fifo.push_back(
                    Completion { sequence: sequence.wrapping_sub(1), rest: [0, 0] }.to_bytes().into(),
                );
            }
            Some(Fault::CompletionFirst) => data.clear(),
            Some(Fault::Short) => data.truncate(data.len() / 2),
            _ => {}
        }
        if !data.is_empty() {
            self.fifo.push_back(data);
        }
        self.fifo.push_back(completion.to_bytes().into());
    }

    fn deliver(&mut self, act: &Act, reply: &Reply) {
        let done = match reply {
            Reply::Ok => Done::Ok,
            Reply::Opened => Done::Opened { serial: SERIAL, speed_mbit: 5000 },
            Reply::Received(bytes) => Done::Received(bytes),
            Reply::Cancelled => Done::Cancelled,
            Reply::Failed(failure) => Done::Failed(*failure),
        };
        assert!(!matches!(act, Act::Cancel));
        self.driver.done(done, self.now);
        if reply == &Reply::Failed(Failure::Gone) {
            // The descriptor says so too.
            self.driver.gone();
        }
    }

    /// It streams, frames come, and that is all.
    fn assert_healthy(&mut self) {
        let frames = self.frames;
        self.run(secs(1));
        assert_eq!(self.driver.state(), State::Streaming, "{:?}", self.driver.trouble());
        assert_eq!(self.driver.trouble(), None);
        assert!((29..=31).contains(&(self.frames - frames)), "{} frames", self.frames - frames);
        let identity = self.driver.identity().expect("it has told");
        assert_eq!(identity.serial.as_str(), SERIAL);
        assert_eq!(identity.firmware.to_string(), "4.0.3912.0");
        assert_eq!(identity.lens.cx, 254.0);
    }

    /// The most actions in any second.
    fn busiest_second(&self) -> usize {
        let ends = |start: Duration| self.log.partition_point(|(at, _)| *at < start + secs(1));
        (0..self.log.len()).map(|first| ends(self.log[first].0) - first).max().unwrap_or(0)
    }

    fn acts_since(&self, first: usize) -> Vec<Act> {
        self.log[first..].iter().map(|(_, act)| act.clone()).collect()
    }
}

fn opcode(act: &Act) -> Option<u32> {
    match act {
        Act::Send(bytes) => Some(u32::from(bytes[12])),
        _ => None,
    }
}

#[test]
fn a_sensor_is_opened_and_started_in_the_order_that_is_known_to_work() {
    let mut bench = Bench::new();
    bench.run(secs(2));
    bench.assert_healthy();
    let acts = bench.acts_since(0);
    let controls = [Setup::ISOCH_DELAY, Setup::U1_ENABLE, Setup::U2_ENABLE, Setup::SUSPEND, Setup::RESUME];
    assert_eq!(acts[0], Act::Open(None));
    assert_eq!(acts[1..6], controls.map(Act::Control));
    let opcodes: Vec<_> = acts.iter().filter_map(opcode).collect();
    assert_eq!(opcodes, [0x02, 0x14, 0x22, 0x22, 0x22, 0x16, 0x16, 0x16, 0x16, 0x09, 0x16, 0x2B]);
    assert_eq!(acts.last(), Some(&Act::StartStream));
    assert!(acts.contains(&Act::Prepare));
    assert_eq!(bench.driver.counters(), &Counters { opened: 1, started: 1, ..Counters::default() });
    assert_eq!(bench.troubles, []);
    // Four looks at the status take 300 ms between them, and 200 ms the opening.
    assert!(bench.log.last().expect("actions").0 < secs(100) + ms(650));
}

#[test]
fn a_shut_down_is_in_order_and_short() {
    let mut bench = Bench::new();
    bench.run(secs(2));
    let first = bench.log.len();
    bench.driver.shut_down(bench.now);
    assert_eq!(bench.driver.state(), State::Stopping(Step::StopStream));
    bench.run(ms(100));
    assert_eq!(bench.driver.state(), State::ShutDown);
    let acts = bench.acts_since(first);
    assert_eq!(acts[..2], [Act::StopStream, Act::Alternate(0)]);
    assert_eq!(acts.iter().filter_map(opcode).collect::<Vec<_>>(), [0x0A, 0x2B]);
    assert_eq!(acts[acts.len() - 2..], [Act::Control(Setup::SUSPEND), Act::Close]);
    assert!(!bench.open && !bench.on && !bench.resumed);
    assert_eq!(bench.driver.counters().stop_failures, 0);
    assert_eq!(bench.driver.next(secs(1000)), None);
    assert_eq!(bench.driver.deadline(), None);
}

#[test]
fn a_shut_down_ends_in_time_from_anywhere_and_whatever_answers() {
    for dead in [false, true] {
        for at in (0..1200).step_by(7) {
            let mut bench = Bench::new();
            bench.run(ms(at));
            let asked = bench.now;
            bench.driver.shut_down(bench.now);
            bench.driver.shut_down(bench.now);
            if dead {
                // Nothing comes back any more.
                if let Some((_, end)) = &mut bench.flight {
                    *end = None;
                }
                while bench.driver.state() != State::ShutDown {
                    let _ = bench.driver.next(bench.now);
                    bench.now = bench.driver.deadline().unwrap_or(bench.now).max(bench.now);
                }
            } else {
                bench.run(ms(500));
                assert!(!bench.open, "closed, after {at} ms");
            }
            assert_eq!(bench.driver.state(), State::ShutDown, "{at} ms");
            assert!(bench.now <= asked + ms(500), "{:?}", bench.now - asked);
        }
    }
}

#[test]
fn a_silent_command_channel_does_not_hold_up_a_shut_down() {
    let mut bench = Bench::with(Step::Command(Command::Stop), Fault::Lost, secs(1000));
    bench.run(secs(2));
    bench.driver.shut_down(bench.now);
    bench.run(ms(420));
    assert_eq!(bench.driver.state(), State::ShutDown);
    assert!(!bench.open, "what hangs is closed when 100 ms are left");
}

/// Each step of a start, with each thing that can happen to it, for a while.
#[test]
fn every_step_may_fail_in_every_way_and_the_sensor_streams_again() {
    for step in Plan::Start.steps().iter().copied() {
        let is_command = matches!(step, Step::Command(_) | Step::Ready);
        let has_data = match step {
            Step::Command(command) => command.reply_max() > 0,
            step => step == Step::Ready,
        };
        let is_job = matches!(step, Step::Prepare | Step::Alternate(_));
        let mut faults = vec![
            (Fault::Timeout, if is_job { Trouble::Hung(step) } else { Trouble::NoReply(step) }),
            (Fault::Gone, Trouble::Disconnected),
            (Fault::Fails(Failure::Io(5)), Trouble::Failed(step, 5)),
            (Fault::Fails(Failure::NoMemory), Trouble::UsbfsMemory),
            (Fault::Fails(Failure::NoBandwidth), Trouble::NoBandwidth),
            (Fault::Stall, Trouble::Refused(step)),
        ];
        if !is_job {
            faults.push((Fault::Lost, Trouble::NoReply(step)));
        }
        if is_command {
            let numbers: Vec<_> = (0..40).map(|sent| Flaw::Sequence { sent, came: sent + 5 }).collect();
            faults
                .extend(numbers.iter().map(|flaw| (Fault::Sequence, Trouble::BadReply(step, *flaw))).take(1));
        }
        if has_data {
            faults.push((Fault::CompletionFirst, Trouble::BadReply(step, Flaw::NoData)));
            faults.push((Fault::Short, Trouble::BadReply(step, Flaw::Length(0))));
        }
        for (fault, expected) in faults {
            // Draining ends by a time-out when all is well.
            if step == Step::Drain && fault == Fault::Timeout {
                continue;
            }
            let mut bench = Bench::with(step, fault, secs(5));
            bench.run(secs(4));
            let got = bench.troubles.first().copied();
            let (Some(got), false) = (got, is_job && fault == Fault::Timeout) else {
                bench.run(secs(26));
                assert_eq!(bench.troubles, [expected], "{step:?} {fault:?}");
                bench.assert_healthy();
                continue;
            };
            match (got, expected) {
                (Trouble::BadReply(at, Flaw::Length(_)), Trouble::BadReply(_, Flaw::Length(_)))
                | (
                    Trouble::BadReply(at, Flaw::Sequence { .. }),
                    Trouble::BadReply(_, Flaw::Sequence { .. }),
                ) => {
                    assert_eq!(at, step);
                }
                _ => assert_eq!(got, expected, "{step:?} {fault:?}"),
            }
            assert_ne!(bench.driver.state(), State::Streaming, "{step:?} {fault:?}");
            assert!(bench.driver.trouble().is_some());
            // Back-off is at most 8 s.
            bench.run(secs(14));
            bench.assert_healthy();
            let counters = bench.driver.counters();
            assert!(bench.busiest_second() < 130, "{step:?} {fault:?}: {} actions", bench.busiest_second());
            assert_eq!(counters.disconnects, u64::from(fault == Fault::Gone), "{step:?} {fault:?}");
            if fault != Fault::Gone {
                assert!(counters.failed_starts >= 1);
                assert_eq!(counters.opened, counters.failed_starts + 1, "{step:?} {fault:?}");
            }
        }
    }
}

#[test]
fn what_a_sensor_may_do_wrong_without_harm_is_passed_over() {
    for step in Plan::Start.steps().iter().copied() {
        let is_command = matches!(step, Step::Command(_) | Step::Ready);
        let faults = if is_command { &[Fault::StallOnce, Fault::Stale][..] } else { &[] };
        for &fault in faults {
            let mut bench = Bench::with(step, fault, secs(5));
            bench.run(secs(2));
            bench.assert_healthy();
            assert_eq!(bench.troubles, [], "{step:?} {fault:?}");
            assert_eq!(bench.driver.counters().opened, 1);
            let channel = bench.driver.channel_counters();
            assert_eq!(channel.retries, u64::from(fault == Fault::StallOnce), "{step:?}");
            assert_eq!(channel.stale > 0, fault == Fault::Stale, "{step:?}");
            let cleared = bench.acts_since(0).contains(&Act::ClearHalt(COMMAND_OUT));
            assert_eq!(cleared, fault == Fault::StallOnce);
        }
    }
    for step in [Step::IsochDelay, Step::U1, Step::U2, Step::Suspend] {
        for fault in [Fault::Stall, Fault::Timeout, Fault::Fails(Failure::Io(5))] {
            let mut bench = Bench::with(step, fault, secs(2));
            bench.run(secs(4));
            bench.assert_healthy();
            assert_eq!(bench.troubles, [], "{step:?} {fault:?}");
            assert_eq!(bench.driver.counters().optional_failures, 1);
        }
    }
}

#[test]
fn old_replies_are_drained_before_the_first_command() {
    let completion = Completion { sequence: 99, rest: [0, 0] };
    for at in [202, 206, 215] {
        let mut bench = Bench::new();
        bench.run(ms(at));
        assert!(matches!(bench.driver.state(), State::Opening | State::Starting(Step::Drain)));
        bench.fifo.extend([vec![7; 1_830_912], vec![0; 4], completion.to_bytes().into()]);
        bench.run(secs(2));
        bench.assert_healthy();
        assert_eq!(bench.troubles, []);
        assert_eq!(bench.driver.channel_counters().stale, 3);
    }
}

#[test]
fn a_failed_start_is_taken_back_as_far_as_it_went() {
    let after = |step, fault| {
        let mut bench = Bench::with(step, fault, secs(1));
        while bench.driver.counters().failed_starts == 0 {
            bench.run(ms(1));
        }
        let first = bench.log.len() - 1;
        while !matches!(bench.driver.state(), State::Waiting { .. } | State::Opening) {
            bench.run(ms(1));
        }
        let end = bench.log.iter().rposition(|(_, act)| *act == Act::Close).expect("closed");
        (bench.log[first..=end].iter().map(|(_, act)| act.clone()).collect::<Vec<_>>(), bench)
    };
    let suspend = Act::Control(Setup::SUSPEND);
    let (acts, _) = after(Step::Command(Command::Hardware), Fault::Short);
    assert_eq!(acts, [suspend.clone(), Act::Close]);
    let (acts, _) = after(Step::StartStream, Fault::Fails(Failure::NoMemory));
    assert_eq!(acts[..2], [Act::StopStream, Act::Alternate(0)]);
    assert_eq!(acts.iter().filter_map(opcode).collect::<Vec<_>>(), [0x0A, 0x2B]);
    assert_eq!(acts[acts.len() - 2..], [suspend.clone(), Act::Close]);
    // Bandwidth: nothing streams yet.
    let (acts, _) = after(Step::Alternate(1), Fault::Fails(Failure::NoBandwidth));
    assert_eq!(acts[0], Act::Alternate(0));
    assert_eq!(acts.iter().filter_map(opcode).collect::<Vec<_>>(), [0x0A, 0x2B]);
}

#[test]
fn steps_of_a_stop_that_fail_are_counted_and_the_rest_is_done() {
    for (step, opcodes) in [
        (Step::StopStream, &[0x0A, 0x2B][..]),
        (Step::Alternate(0), &[0x0A, 0x2B]),
        // Who does not take one command is not given the next.
        (Step::Command(Command::Stop), &[0x0A]),
        (Step::Command(Command::Streaming(false)), &[0x0A, 0x2B]),
        (Step::Suspend, &[0x0A, 0x2B]),
    ] {
        let mut bench = Bench::new();
        bench.run(secs(2));
        bench.script = Some(Script { step, fault: Fault::Fails(Failure::Io(5)), until: secs(1000) });
        let first = bench.log.len();
        bench.driver.shut_down(bench.now);
        bench.run(ms(200));
        assert_eq!(bench.driver.state(), State::ShutDown);
        assert_eq!(bench.driver.counters().stop_failures, 1, "{step:?}");
        let acts = bench.acts_since(first);
        assert_eq!(acts.iter().filter_map(opcode).collect::<Vec<_>>(), opcodes, "{step:?}");
        assert_eq!(acts[acts.len() - 2..], [Act::Control(Setup::SUSPEND), Act::Close]);
    }
}

#[test]
fn without_a_sensor_it_looks_once_a_second() {
    let mut bench = Bench::new();
    bench.plugged = false;
    bench.run(secs(10));
    assert_eq!(bench.driver.trouble(), Some(Trouble::NotFound));
    assert!((9..=11).contains(&bench.log.len()), "{} looks", bench.log.len());
    assert!(matches!(bench.driver.state(), State::Waiting { until } if until > bench.now));
    bench.plugged = true;
    bench.run(secs(2));
    bench.assert_healthy();
    assert_eq!(bench.troubles, [Trouble::NotFound]);
}

#[test]
fn what_opening_finds_is_the_trouble() {
    let name = Name::new("protonect");
    for (failure, expected, looks) in [
        (Failure::Trouble(Trouble::NoPermission), Trouble::NoPermission, 9..=11),
        (Failure::Trouble(Trouble::OwnedBy(name)), Trouble::OwnedBy(name), 9..=11),
        (Failure::Trouble(Trouble::SlowLink { mbit: 480 }), Trouble::SlowLink { mbit: 480 }, 9..=11),
        (Failure::Trouble(Trouble::UsbfsMemory), Trouble::UsbfsMemory, 5..=9),
        (Failure::Io(5), Trouble::OpenFailed(5), 5..=9),
        (Failure::Gone, Trouble::Disconnected, 9..=11),
        (Failure::Stall, Trouble::Refused(Step::Open), 5..=9),
    ] {
        let mut bench = Bench::with(Step::Open, Fault::Fails(failure), secs(10));
        bench.run(secs(10) - ms(1));
        assert_eq!(bench.troubles, [expected]);
        assert!(looks.contains(&bench.log.len()), "{expected:?}: {} looks", bench.log.len());
        bench.script = None;
        bench.run(secs(10));
        bench.assert_healthy();
        assert_eq!(bench.driver.counters().disconnects, 0, "it was not open");
    }
}

#[test]
fn a_link_that_is_not_usb_3_is_closed_again() {
    let mut driver = Driver::new(Some(SERIAL.to_owned()), secs(1));
    assert_eq!(driver.next(secs(1)), Some(Action::Open { serial: Some(SERIAL) }));
    driver.done(Done::Opened { serial: SERIAL, speed_mbit: 480 }, secs(1));
    assert_eq!(driver.trouble(), Some(Trouble::SlowLink { mbit: 480 }));
    assert_eq!(driver.next(secs(1)), Some(Action::Close));
    driver.done(Done::Ok, secs(1));
    assert_eq!(driver.state(), State::Waiting { until: secs(2) });
}

#[test]
fn a_job_that_does_not_come_back_is_said_and_waited_for() {
    let mut bench = Bench::with(Step::Open, Fault::Timeout, secs(1));
    bench.run(secs(12));
    assert_eq!(bench.troubles, [Trouble::Hung(Step::Open)]);
    assert_eq!(bench.log.len(), 1);
    bench.run(secs(5));
    bench.assert_healthy();
}

#[test]
fn a_job_that_comes_back_late_is_not_hung_any_more() {
    let mut bench = Bench::with(Step::Alternate(0), Fault::Timeout, secs(10));
    bench.run(secs(2));
    bench.empty = true;
    bench.run(secs(1) + secs(7));
    assert_eq!(bench.driver.trouble(), Some(Trouble::Hung(Step::Alternate(0))));
    bench.run(secs(10));
    assert_eq!(bench.troubles, [Trouble::NoFrames, Trouble::Hung(Step::Alternate(0)), Trouble::NoFrames]);
    bench.empty = false;
    bench.run(secs(12));
    bench.assert_healthy();
}

#[test]
fn a_sensor_that_falls_silent_is_reset_and_found_again_by_its_number() {
    let mut bench = Bench::new();
    bench.run(secs(2));
    let first = bench.log.len();
    bench.silent = true;
    bench.run(ms(1100));
    assert_eq!(bench.driver.trouble(), Some(Trouble::Silent));
    bench.silent = false;
    bench.run(secs(2));
    bench.assert_healthy();
    let acts = bench.acts_since(first);
    assert_eq!(acts[..2], [Act::Close, Act::Open(Some(SERIAL.to_owned()))], "nothing is asked of it");
    assert!(!acts.contains(&Act::Prepare), "its tables are those of before");
    assert_eq!((bench.driver.counters().silences, bench.driver.counters().opened), (1, 2));
}

#[test]
fn without_whole_frames_it_is_started_again_first_and_reset_then() {
    let mut bench = Bench::new();
    bench.run(secs(2));
    let first = bench.log.len();
    bench.empty = true;
    bench.run(ms(1500));
    assert_eq!(bench.driver.trouble(), Some(Trouble::NoFrames));
    let acts = bench.acts_since(first);
    assert!(!acts.contains(&Act::Close) && !acts.contains(&Act::Open(None)), "{acts:?}");
    assert_eq!(acts.iter().filter_map(opcode).collect::<Vec<_>>(), [0x0A, 0x2B, 0x16, 0x09, 0x16, 0x2B]);
    bench.run(secs(2));
    assert!(bench.acts_since(first).contains(&Act::Close), "the second time");
    bench.run(secs(20));
    let droughts = bench.driver.counters().droughts;
    assert!((5..=8).contains(&droughts), "{droughts} in 23 s");
    assert_eq!(bench.troubles, [Trouble::NoFrames]);
    bench.empty = false;
    bench.run(secs(10));
    bench.assert_healthy();
    // The first frame has ended the back-off.
    bench.empty = true;
    bench.run(ms(1500));
    assert_eq!(bench.driver.state(), State::Streaming);
}

#[test]
fn unplugging_is_one_event_however_it_is_noticed() {
    for how in 0..3 {
        let mut bench = Bench::new();
        bench.run(secs(2));
        let first = bench.log.len();
        bench.unplug();
        match how {
            0 => {
                bench.driver.gone();
                bench.driver.gone();
            }
            // Nothing says so: the stream just stops.
            1 => {}
            _ => {
                bench.driver.gone();
                bench.driver.completion(bench.now);
                bench.driver.frame(bench.now);
                bench.driver.done(Done::Failed(Failure::Gone), bench.now);
            }
        }
        bench.run(secs(5));
        assert_eq!(bench.driver.trouble(), Some(Trouble::NotFound));
        let why = if how == 1 { Trouble::Silent } else { Trouble::Disconnected };
        assert_eq!(bench.troubles, [why, Trouble::NotFound]);
        let closes = bench.acts_since(first).iter().filter(|act| **act == Act::Close).count();
        assert_eq!(closes, 1);
        assert_eq!(bench.driver.counters().disconnects, u64::from(how != 1));
        assert_eq!(bench.driver.identity(), None, "there is nobody");
        bench.plugged = true;
        bench.run(secs(3));
        bench.assert_healthy();
        assert_eq!(bench.prepared, 1, "it is the same sensor");
    }
}

#[test]
fn it_may_be_unplugged_at_any_moment() {
    for at in (0..900).step_by(3) {
        let mut bench = Bench::new();
        bench.run(ms(at));
        let was_open = bench.open;
        bench.plugged = false;
        bench.driver.gone();
        bench.run(secs(3));
        assert!(!bench.open, "after {at} ms");
        assert_eq!(bench.driver.counters().disconnects, u64::from(was_open), "after {at} ms");
        assert_eq!(bench.driver.trouble(), Some(Trouble::NotFound));
        bench.plugged = true;
        bench.run(secs(3));
        bench.assert_healthy();
    }
}

#[test]
fn another_sensor_gets_tables_of_its_own() {
    let mut bench = Bench::new();
    bench.run(secs(2));
    bench.unplug();
    bench.driver.gone();
    bench.p0[1000] = 77;
    bench.plugged = true;
    bench.run(secs(3));
    bench.assert_healthy();
    assert_eq!(bench.prepared, 2);
}

#[test]
fn tables_that_cannot_be_are_asked_for_again() {
    let error = TablesError::Distortion { row: 1, column: 2 };
    let mut bench = Bench::with(Step::Prepare, Fault::Fails(Failure::BadTables(error)), secs(3));
    bench.run(secs(3));
    assert_eq!(bench.troubles, [Trouble::BadTables(error)]);
    bench.run(secs(8));
    bench.assert_healthy();
    assert!(bench.prepared == 1 && bench.driver.counters().failed_starts > 2);
}

#[test]
fn a_sensor_that_never_gets_ready_says_with_which_status() {
    for (status, expected) in [(0x2200, Trouble::NotReady { status: 0x2200 }), (0x0400, Trouble::Stuck)] {
        let mut bench = Bench::new();
        bench.ready_after = u32::MAX;
        for _ in 0..80 {
            bench.status = status;
            bench.run(ms(100));
        }
        assert_eq!(bench.troubles, [expected]);
        assert!(bench.busiest_second() < 100);
        bench.ready_after = 3;
        bench.run(secs(12));
        bench.status = 0x2601;
        bench.run(secs(12));
        bench.assert_healthy();
    }
}

#[test]
fn a_sensor_that_answers_late_and_never_gets_ready_is_given_up_in_time() {
    let mut bench = Bench::new();
    bench.ready_after = u32::MAX;
    bench.reply_time = ms(900);
    while bench.driver.state() != State::Starting(Step::Ready) {
        bench.run(ms(100));
    }
    bench.run(secs(14));
    assert_eq!(bench.troubles, [Trouble::NotReady { status: 0x2200 }]);
}

#[test]
fn a_lens_of_erased_memory_is_told_once() {
    // Bytes of 0xFF are NaNs.
    let lens = Intrinsics::from_reply(&[0xFF; INTRINSICS_REPLY_MIN]).expect_err("no numbers");
    let trouble = Trouble::BadTables(lens);
    assert_eq!(trouble, trouble);
    assert!(trouble.to_string().contains("fx: NaN"), "{trouble}");
}

#[test]
fn slow_replies_are_waited_for() {
    let mut bench = Bench::new();
    bench.reply_time = ms(900);
    bench.run(secs(40));
    bench.assert_healthy();
    assert_eq!(bench.troubles, []);
    assert_eq!(bench.driver.counters().opened, 1);
}

#[test]
fn every_trouble_has_a_word_a_cause_and_a_remedy() {
    let name = Name::new("snd-usb-audio");
    let step = Step::Command(Command::P0);
    let all = [
        Trouble::NoUsbfs,
        Trouble::NotFound,
        Trouble::NoPower,
        Trouble::SerialNotFound(name),
        Trouble::NoPermission,
        Trouble::OwnedBy(name),
        Trouble::SlowLink { mbit: 480 },
        Trouble::SmallPackets { bytes: 11_264 },
        Trouble::UsbfsMemory,
        Trouble::NoBandwidth,
        Trouble::OpenFailed(5),
        Trouble::Failed(step, 5),
        Trouble::NoReply(step),
        Trouble::Refused(step),
        Trouble::BadReply(step, Flaw::NoData),
        Trouble::BadTables(TablesError::P0Length(3)),
        Trouble::Hung(Step::Open),
        Trouble::NotReady { status: 0x2200 },
        Trouble::Stuck,
        Trouble::Disconnected,
        Trouble::Silent,
        Trouble::NoFrames,
    ];
    let mut words: Vec<_> = all.iter().map(|trouble| trouble.word()).collect();
    assert!(words.iter().all(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '_')));
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), all.len());
    for trouble in all {
        let (long, short) = (trouble.to_string(), format!("{trouble:#}"));
        assert_eq!(long, format!("{short}; {}", trouble.remedy()));
        assert!(!trouble.remedy().contains("  "), "{long}");
    }
    assert_eq!(
        Trouble::UsbfsMemory.to_string(),
        "the kernel has no memory for the sensor's transfers; raise usbfs_memory_mb (echo 64 > \
         /sys/module/usbcore/parameters/usbfs_memory_mb); if it is high, use fewer packets per transfer"
    );
}

#[test]
fn names_are_cut_at_a_character() {
    assert_eq!(Name::new("usbfs").as_str(), "usbfs");
    assert_eq!(Name::new("a\nb\u{7f}").as_str(), "a?b?");
    assert_eq!(Name::new(&"ä".repeat(50)).as_str(), "ä".repeat(32));
    let odd = format!("a{}", "ä".repeat(50));
    assert_eq!(Name::new(&odd).as_str(), format!("a{}", "ä".repeat(31)));
}

#[test]
fn replies_too_short_say_nothing() {
    assert_eq!(Firmware::from_reply(&[0; 63]), None);
    assert_eq!(status_from_reply(&[0; 3]), None);
    assert_eq!(serial_from_reply(&[]).as_str(), "");
    assert_eq!(serial_from_reply(&[b'a', 9, b'b', 9, 7, 9, 0, 9, b'c']).as_str(), "ab?");
    assert_eq!(serial_from_reply(&[b'x'; 500]).as_str(), "x".repeat(64));
}

#[derive(Clone, Debug)]
enum Throw {
    /// What a sensor without a fault would answer.
    Right,
    Next,
    Ok,
    Opened(u32),
    Received(Vec<u8>),
    Answer(usize, u32),
    Cancelled,
    Failed(Failure),
    Completion,
    Frame,
    Gone,
    Pass(u64),
    ToDeadline,
}

fn throws() -> impl Strategy<Value = Throw> {
    let failures = prop::sample::select(vec![
        Failure::Gone,
        Failure::Stall,
        Failure::NoMemory,
        Failure::NoBandwidth,
        Failure::Io(5),
        Failure::Trouble(Trouble::NotFound),
        Failure::BadTables(TablesError::P0Length(1)),
    ]);
    prop_oneof![
        500 => Just(Throw::Right),
        8 => Just(Throw::Next),
        8 => Just(Throw::Ok),
        2 => prop::sample::select(vec![0, 480, 5000]).prop_map(Throw::Opened),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Throw::Received),
        6 => (prop::sample::select(vec![0, 4, 92, 128, 512, P0_REPLY_MIN]), 0u32..3).prop_map(|(n, s)| Throw::Answer(n, s)),
        2 => Just(Throw::Cancelled),
        2 => failures.prop_map(Throw::Failed),
        1 => Just(Throw::Completion),
        1 => Just(Throw::Frame),
        1 => Just(Throw::Gone),
        2 => (0u64..3000).prop_map(Throw::Pass),
        4 => Just(Throw::ToDeadline),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn it_always_waits_for_something_and_two_things_are_never_in_flight(
        throws in prop::collection::vec(throws(), 1..400),
        shut_down_at in prop::option::of(0usize..400),
    ) {
        let mut now = secs(1);
        let mut driver = Driver::new(None, now);
        let mut flight: Option<Act> = None;
        let (mut sequence, mut ends) = (0, None);
        // The command in work, whether its data have been read, and whether its completion is still to come.
        let (mut command, mut has_data, mut is_open, mut cancelled) = ((0, 0), false, false, false);
        let mut small = vec![0; 512];
        for (at, value) in [365.0_f32, 365.0, 0.0, 254.0, 205.0].iter().enumerate() {
            small[4 * at..4 * at + 4].copy_from_slice(&value.to_le_bytes());
        }
        small[0] |= 1;
        let p0 = vec![1; P0_REPLY_MIN];
        for (at, throw) in throws.into_iter().enumerate() {
            if shut_down_at == Some(at) {
                driver.shut_down(now);
                ends = Some(now + ms(500));
            }
            let before = now;
            let answers = |driver: &mut Driver, flight: &mut Option<Act>, done: Done<'_>| {
                if let Some(act) = flight.take() {
                    driver.done(done, before);
                    // The answer of what a close has ended does not end the close.
                    if act == Act::Close && !matches!(done, Done::Ok | Done::Failed(_)) {
                        *flight = Some(act);
                    }
                } else {
                    driver.done(done, before);
                }
            };
            match throw {
                Throw::Next => {}
                Throw::Right => {
                    let completion = Completion { sequence, rest: [0, 0] }.to_bytes();
                    let done = match &flight {
                        None => {
                            driver.completion(now);
                            driver.frame(now);
                            now += ms(30);
                            None
                        }
                        _ if cancelled => Some(Done::Cancelled),
                        Some(Act::Open(_)) => Some(Done::Opened { serial: SERIAL, speed_mbit: 5000 }),
                        Some(Act::Receive(_)) if !is_open => {
                            now = driver.deadline().unwrap_or(now).max(now);
                            None
                        }
                        Some(Act::Receive(_)) => {
                            let length = match command {
                                (0x02, _) => 512,
                                (0x14, _) | (0x22, 3) => 92,
                                (0x22, 1) => 128,
                                (0x16, _) => 4,
                                _ => 0,
                            };
                            if command == (0x22, 2) && !std::mem::replace(&mut has_data, true) {
                                Some(Done::Received(&p0))
                            } else if length > 0 && !std::mem::replace(&mut has_data, true) {
                                Some(Done::Received(&small[..length]))
                            } else {
                                is_open = false;
                                Some(Done::Received(&completion))
                            }
                        }
                        Some(_) => Some(Done::Ok),
                    };
                    if let Some(done) = done {
                        answers(&mut driver, &mut flight, done);
                    }
                }
                // Mostly what fits.
                Throw::Ok => {
                    let done = match &flight {
                        Some(Act::Open(_)) => Done::Opened { serial: SERIAL, speed_mbit: 5000 },
                        _ => Done::Ok,
                    };
                    answers(&mut driver, &mut flight, done);
                }
                Throw::Opened(speed_mbit) => {
                    answers(&mut driver, &mut flight, Done::Opened { serial: "", speed_mbit });
                }
                Throw::Received(bytes) => answers(&mut driver, &mut flight, Done::Received(&bytes)),
                Throw::Answer(0, behind) => {
                    let completion = Completion { sequence: sequence - behind.min(sequence), rest: [0, 1] };
                    answers(&mut driver, &mut flight, Done::Received(&completion.to_bytes()));
                }
                Throw::Answer(length, byte) => {
                    answers(&mut driver, &mut flight, Done::Received(&vec![byte as u8; length]));
                }
                Throw::Cancelled => answers(&mut driver, &mut flight, Done::Cancelled),
                Throw::Failed(failure) => answers(&mut driver, &mut flight, Done::Failed(failure)),
                Throw::Completion => driver.completion(now),
                Throw::Frame => driver.frame(now),
                Throw::Gone => driver.gone(),
                Throw::Pass(pass) => now += ms(pass),
                Throw::ToDeadline => now = driver.deadline().unwrap_or(now).max(now),
            }
            for turn in 0.. {
                prop_assert!(turn < 5, "it spins");
                let Some(act) = driver.next(now).map(Act::from) else { break };
                match (&act, &flight) {
                    (Act::Cancel, Some(Act::Control(_) | Act::Send(_) | Act::Receive(_))) => {
                        cancelled = true;
                        continue;
                    }
                    (Act::Cancel, _) => prop_assert!(false, "nothing to cancel"),
                    (Act::Close, _) | (_, None) => {}
                    (act, flight) => prop_assert!(false, "{act:?} while {flight:?}"),
                }
                if let Act::Send(bytes) = &act {
                    sequence = u32::from(bytes[4]);
                    command = (bytes[12], bytes.get(20).copied().unwrap_or_default());
                    (has_data, is_open) = (false, true);
                }
                cancelled = false;
                flight = Some(act);
            }
            let state = driver.state();
            prop_assert!(flight.is_some() || driver.deadline().is_some() || state == State::ShutDown);
            prop_assert_eq!(driver.deadline().is_none(), state == State::ShutDown);
            // Something that is due is done: time goes on.
            prop_assert!(driver.deadline().is_none_or(|due| due > now), "{state:?} {flight:?}");
            if ends.is_some_and(|ends| now >= ends) {
                prop_assert_eq!(state, State::ShutDown);
            }
            let _ = (state.to_string(), driver.trouble().map(|trouble| trouble.to_string()));
        }
    }
}
