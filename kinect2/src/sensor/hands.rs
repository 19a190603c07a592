//! The hands of a sensor: the node, the requests and the jobs, and whoever waits for them.

use std::collections::VecDeque;
use std::time::Duration;

use nix::errno::Errno;

use super::job::{Job, Jobs, Outcome};
use super::{Counters, Settings};
use crate::driver::{Action, Done, Failure};
use crate::protocol::{COMMAND_MAX, COMMAND_OUT, DEPTH_IN, INTERVAL_US, PACKET_BYTES, PAGE_MAX, REPLY_IN};
use crate::stream::Target;
use crate::usbfs::{Node, Refused, Ticket, Urb};

/// What does as the driver says.
#[derive(Debug)]
pub(super) struct Hands {
    pub(super) settings: Settings,
    pub(super) jobs: Jobs,
    pub(super) node: Option<Node>,
    /// Counts nodes.
    pub(super) generation: u64,
    /// Reaping said that the device is gone.
    pub(super) gone: bool,
    /// Where frames go; none before the first decoder.
    pub(super) target: Option<Target>,
    pub(super) replies: Option<Replies>,
    pub(super) flight: Flight,
    /// The job that runs is to be followed by closing, and is waited for only so.
    close_next: bool,
    control: Option<Urb>,
    send: Option<Urb>,
    receive: Option<Urb>,
    /// Isochronous transfers that are not pending.
    pub(super) idle: VecDeque<Urb>,
    /// Whether they should be.
    pub(super) streaming: bool,
    /// When the idle ones are submitted again, if something was refused, and how long after the next refusal.
    retry: Option<Duration>,
    patience: Duration,
    /// When nothing was left to be reaped last, and isochronous transfers reaped since.
    drained: Duration,
    reaped: usize,
    /// Most transfers that had to be waiting to be reaped at a time since then, by the clock, and `reaped` at that time.
    late: usize,
    reaped_before: usize,
    pub(super) queue_low: usize,
    pub(super) counters: Counters,
}

/// What a decoder was made from.
#[derive(Debug)]
pub(super) struct Replies {
    pub(super) p0: Vec<u8>,
    pub(super) lens: Vec<u8>,
}

/// What the driver waits for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Flight {
    Nothing,
    Job,
    Command { ticket: Ticket, endpoint: u8 },
    Stop { until: Duration },
}

pub(super) enum Reaped {
    Depth(Urb),
    Command(Urb),
    Stray,
    Nothing,
    Gone,
}

impl Hands {
    pub(super) fn new(settings: Settings, jobs: Jobs) -> Self {
        let mut hands = Hands {
            jobs,
            node: None,
            generation: 0,
            gone: false,
            target: settings.raw.then(Target::raw),
            replies: None,
            flight: Flight::Nothing,
            close_next: false,
            control: None,
            send: None,
            receive: None,
            idle: VecDeque::with_capacity(settings.transfers),
            streaming: false,
            retry: None,
            patience: RETRY,
            drained: Duration::ZERO,
            reaped: 0,
            late: 0,
            reaped_before: 0,
            queue_low: settings.transfers,
            counters: Counters::default(),
            settings,
        };
        hands.replace();
        hands.counters.replaced = 0;
        hands
    }

    /// Allocates the requests that are missing; called while none is pending.
    fn replace(&mut self) {
        let Hands { counters, settings, .. } = self;
        let mut made = |urb| {
            counters.replaced += 1;
            urb
        };
        self.control.get_or_insert_with(|| made(Urb::control(0)));
        self.send.get_or_insert_with(|| made(Urb::bulk(COMMAND_OUT, COMMAND_MAX)));
        self.receive.get_or_insert_with(|| made(Urb::bulk(REPLY_IN, PAGE_MAX)));
        while self.idle.len() < settings.transfers {
            self.idle.push_back(made(Urb::iso(DEPTH_IN, settings.packets, PACKET_BYTES)));
        }
    }

    /// Puts a request to those of its kind.
    fn keep(&mut self, urb: Urb) {
        match urb.endpoint() {
            DEPTH_IN => self.idle.push_back(urb),
            COMMAND_OUT => self.send = Some(urb),
            REPLY_IN => self.receive = Some(urb),
            _ => self.control = Some(urb),
        }
    }

    /// Isochronous transfers that the kernel has.
    fn depth_pending(&self) -> usize {
        let commands = usize::from(matches!(self.flight, Flight::Command { .. }));
        self.node.as_ref().map_or(0, Node::pending).saturating_sub(commands)
    }

    /// Starts what the driver wants; what can be said at once is the result.
    pub(super) fn perform(&mut self, action: Action<'_>, now: Duration) -> Option<Done<'static>> {
        match action {
            Action::Open { .. } | Action::Alternate(_) | Action::ClearHalt(_) | Action::Prepare { .. }
                if self.jobs.is_running() =>
            {
                // One that hangs has to come back first.
                Some(Done::Failed(Failure::Io(Errno::EBUSY as i32)))
            }
            Action::Open { serial } => {
                let (old, serial) = (self.node.take(), serial.map(str::to_owned));
                let (roots, packets, transfers) =
                    (self.settings.roots.clone(), self.settings.packets, self.settings.transfers);
                self.streaming = false;
                self.job(Job::Open { old, serial, roots, packets, transfers })
            }
            Action::Close => {
                self.streaming = false;
                self.retry = None;
                self.flight = Flight::Nothing;
                if self.jobs.is_running() {
                    self.close_next = true;
                    return None;
                }
                let Some(node) = self.node.take() else { return Some(Done::Ok) };
                self.job(Job::Close(node))
            }
            Action::Alternate(alternate) => {
                let Some(node) = &self.node else { return Some(Done::Failed(Failure::Gone)) };
                self.job(Job::Alternate(node.device().clone(), alternate))
            }
            Action::ClearHalt(endpoint) => {
                let Some(node) = &self.node else { return Some(Done::Failed(Failure::Gone)) };
                self.job(Job::ClearHalt(node.device().clone(), endpoint))
            }
            Action::Prepare { p0, lens } => self.prepare(p0, lens),
            Action::Control(setup) => {
                let Some(mut urb) = self.control.take() else { return Some(Done::Failed(Failure::Gone)) };
                urb.set_setup(setup);
                self.command(urb)
            }
            Action::Send(bytes) => {
                let Some(mut urb) = self.send.take() else { return Some(Done::Failed(Failure::Gone)) };
                let length = bytes.len().min(urb.buffer_mut().len());
                urb.buffer_mut()[..length].copy_from_slice(&bytes[..length]);
                urb.set_length(length);
                self.command(urb)
            }
            Action::Receive { max } => {
                let Some(mut urb) = self.receive.take() else { return Some(Done::Failed(Failure::Gone)) };
                urb.set_length(max);
                self.command(urb)
            }
            Action::Cancel => {
                if let (Flight::Command { ticket, .. }, Some(node)) = (self.flight, &self.node) {
                    self.counters.jobs += 1;
                    // Without a thread it stays pending, and the driver closes.
                    let _ = self.jobs.start(Job::Discard(node.device().clone(), ticket));
                }
                None
            }
            Action::StartStream => Some(self.start_stream(now)),
            Action::StopStream => {
                // The time of each transfer passes, with data or without, and then it is back. Discarding them would
                // block; what a broken controller keeps is ended by selecting the idle setting, or by closing.
                self.streaming = false;
                self.retry = None;
                self.flight = Flight::Stop { until: now + STOP_WAIT };
                self.stopped(now).then_some(Done::Ok)
            }
        }
    }

    fn job(&mut self, job: Job) -> Option<Done<'static>> {
        self.counters.jobs += 1;
        match self.jobs.start(job) {
            Ok(()) => {
                self.flight = Flight::Job;
                None
            }
            Err(error) => Some(Done::Failed(Failure::Io(error.raw_os_error().unwrap_or(0)))),
        }
    }

    /// Hands a command's request to the kernel.
    fn command(&mut self, urb: Urb) -> Option<Done<'static>> {
        let endpoint = urb.endpoint();
        let submitted = match &mut self.node {
            Some(node) => node.submit(urb),
            None => Err(Refused { urb, errno: Errno::ENODEV }),
        };
        match submitted {
            Ok(ticket) => {
                self.flight = Flight::Command { ticket, endpoint };
                None
            }
            Err(Refused { urb, errno }) => {
                self.keep(urb);
                Some(Done::Failed(failure(errno)))
            }
        }
    }

    /// Has a decoder made.
    fn prepare(&mut self, p0: &[u8], lens: &[u8]) -> Option<Done<'static>> {
        let replies = Replies { p0: p0.to_vec(), lens: lens.to_vec() };
        let decode = (!self.settings.raw).then_some(self.settings.decode);
        self.job(Job::Prepare(replies, decode))
    }

    /// Submits the isochronous transfers. Those that are refused are tried again; that none is taken is a failure.
    fn start_stream(&mut self, now: Duration) -> Done<'static> {
        if self.gone || self.node.is_none() {
            return Done::Failed(Failure::Gone);
        }
        self.streaming = true;
        self.queue_low = self.settings.transfers;
        self.drained(now);
        self.retry = None;
        self.refill(now);
        if self.depth_pending() > 0 {
            return Done::Ok;
        }
        self.streaming = false;
        self.retry = None;
        Done::Failed(failure(Errno::from_raw(self.counters.last_refusal)))
    }

    /// Submits what should be pending and is not. The kernel may have to look long for memory, so if it has none it is
    /// not asked for some time.
    pub(super) fn refill(&mut self, now: Duration) {
        if !self.streaming || self.gone || self.retry.is_some_and(|retry| now < retry) {
            return;
        }
        self.retry = None;
        while let Some(urb) = self.idle.pop_front() {
            if !self.submit(urb) {
                if self.depth_pending() == 0 {
                    self.counters.dry += 1;
                    self.patience = RETRY;
                }
                self.retry = Some(now + self.patience);
                self.patience = (2 * self.patience).min(RETRY_MAX);
                return;
            }
        }
        self.patience = RETRY;
    }

    /// Hands a transfer back to the kernel, which has just freed the memory for it.
    pub(super) fn resubmit(&mut self, urb: Urb) {
        if self.streaming && !self.gone {
            self.submit(urb);
        } else {
            self.idle.push_back(urb);
        }
    }

    fn submit(&mut self, urb: Urb) -> bool {
        let Some(node) = &mut self.node else {
            self.idle.push_back(urb);
            return false;
        };
        let Err(Refused { urb, errno }) = node.submit(urb) else { return true };
        self.idle.push_back(urb);
        if failure(errno) != Failure::Gone {
            self.counters.refused_transfers += 1;
        }
        self.counters.last_refusal = errno as i32;
        false
    }

    /// Asks the clock how many transfers must have come back that were not reaped; called before reaping.
    pub(super) fn look_at_clock(&mut self, now: Duration) {
        let since = now.saturating_sub(self.drained).as_micros();
        let one = INTERVAL_US as usize * self.settings.packets;
        let back = usize::try_from(since).unwrap_or(usize::MAX) / one;
        let late = back.saturating_sub(self.reaped);
        if late > self.late {
            (self.late, self.reaped_before) = (late, self.reaped);
        }
    }

    fn drained(&mut self, now: Duration) {
        (self.drained, self.reaped, self.late, self.reaped_before) = (now, 0, 0, 0);
    }

    pub(super) fn reap(&mut self, now: Duration) -> Reaped {
        if self.jobs.is_running() {
            // The kernel would have this thread wait for the job's call. When that is back, a turn follows.
            return Reaped::Nothing;
        }
        let Some(node) = self.node.as_mut().filter(|_| !self.gone) else { return Reaped::Nothing };
        match node.reap() {
            Ok(Some(urb)) if urb.endpoint() == DEPTH_IN => {
                self.reaped += 1;
                if self.streaming {
                    // The clock may be wrong, for transfers may not have come; but these did.
                    let waited = self.late.min(self.reaped - self.reaped_before);
                    let queue = self.settings.transfers.saturating_sub(self.idle.len() + waited);
                    self.queue_low = self.queue_low.min(queue);
                }
                Reaped::Depth(urb)
            }
            Ok(Some(urb)) => Reaped::Command(urb),
            Ok(None) => {
                self.drained(now);
                Reaped::Nothing
            }
            Err(Errno::EFAULT) => {
                self.counters.strays += 1;
                Reaped::Stray
            }
            // ENODEV; anything else would be just as final.
            Err(_) => {
                self.gone = true;
                Reaped::Gone
            }
        }
    }

    /// Tells how a command's request ended.
    pub(super) fn command_done(&mut self, urb: Urb, done: impl FnOnce(Done<'_>)) {
        match self.flight {
            Flight::Command { endpoint, .. } if endpoint == urb.endpoint() => {
                self.flight = Flight::Nothing;
                done(match urb.status() {
                    Err(Errno::ENOENT | Errno::ECONNRESET) => Done::Cancelled,
                    Ok(()) if endpoint == REPLY_IN => Done::Received(urb.received()),
                    Ok(()) => Done::Ok,
                    Err(errno) => Done::Failed(failure(errno)),
                });
            }
            _ => {}
        }
        self.keep(urb);
    }

    /// Ends what cannot end by itself any more; what is still pending comes back when the node is closed.
    pub(super) fn gone(&mut self, done: impl FnOnce(Done<'_>)) {
        if let Flight::Command { .. } = self.flight {
            self.flight = Flight::Nothing;
            done(Done::Failed(Failure::Gone));
        }
    }

    /// Whether a stop that was waited for is over now.
    pub(super) fn stopped(&mut self, now: Duration) -> bool {
        let Flight::Stop { until } = self.flight else { return false };
        let over = self.gone || now >= until || self.depth_pending() == 0;
        if over {
            self.flight = Flight::Nothing;
        }
        over
    }

    /// Takes what a job brought, and tells how it ended.
    pub(super) fn job_done(&mut self, outcome: Outcome, now: Duration, done: impl FnOnce(Done<'_>)) {
        if matches!(outcome, Outcome::Discarded) && !self.close_next {
            // The request that it ended will be reaped, and tells.
            return;
        }
        self.flight = Flight::Nothing;
        if self.close_next {
            // Nobody waits for this one any more.
            self.close_next = false;
            self.job_done(outcome, now, ignore);
            if let Some(closed) = self.perform(Action::Close, now) {
                done(closed);
            }
            return;
        }
        match outcome {
            Outcome::Opened { opened, returned } => {
                self.take_back(returned);
                match opened {
                    Ok(opened) => {
                        self.replace();
                        self.node = Some(Node::new(opened.device, self.settings.transfers + 1));
                        self.generation += 1;
                        self.gone = false;
                        done(Done::Opened { serial: &opened.serial, speed_mbit: opened.speed_mbit });
                    }
                    Err(failure) => done(Done::Failed(failure)),
                }
            }
            Outcome::Closed { returned } => {
                self.take_back(returned);
                done(Done::Ok);
            }
            Outcome::Prepared(Ok((replies, decoder))) => {
                self.replies = Some(replies);
                if let Some(mut decoder) = decoder {
                    // They may have changed while it was made; they were checked then.
                    let _ = decoder.set(self.settings.decode);
                    self.target = Some(Target::Decode(decoder));
                }
                done(Done::Ok);
            }
            Outcome::Prepared(Err(failure)) | Outcome::Called(Err(failure)) => done(Done::Failed(failure)),
            Outcome::Called(Ok(())) => done(Done::Ok),
            Outcome::Discarded => {}
        }
    }

    fn take_back(&mut self, returned: Vec<Urb>) {
        for urb in returned {
            self.keep(urb);
        }
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        match self.flight {
            Flight::Stop { until } => Some(until),
            _ => self.retry,
        }
    }
}

fn ignore(_: Done<'_>) {}

/// What an error means to the driver.
pub(super) fn failure(errno: Errno) -> Failure {
    match errno {
        Errno::ENODEV | Errno::ESHUTDOWN => Failure::Gone,
        Errno::EPIPE => Failure::Stall,
        Errno::ENOMEM => Failure::NoMemory,
        Errno::ENOSPC => Failure::NoBandwidth,
        other => Failure::Io(other as i32),
    }
}

/// How long it may take until all transfers are back after the last submission: they are 60 ms unless settings say
/// otherwise.
const STOP_WAIT: Duration = Duration::from_millis(500);
/// When refused transfers are tried again, and the longest that this doubles to while others are pending: looking for 512
/// KiB in one piece is work for a kernel that has none.
const RETRY: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
