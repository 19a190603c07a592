//! A host controller with the simulated sensor behind it: transfers, the isochronous schedule, plugging.
//!
//! The use, for a face that has the clock:
//!
//! ```text
//! submit ─┐                        ┌─▶ completed() until None ──▶ the transfers, to be used again
//! cancel ─┼─▶ advance(now) ────────┤
//! sleep ──┘                        └─▶ due(): when to call again
//! ```
//!
//! Every function that takes `now` first lets everything happen that was due until then, so what is done may show up
//! in [`Host::completed`] after any of them. Timeouts are the face's: it cancels what took too long.

mod transfer;

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use kinect2::protocol::{COMMAND_OUT, DEPTH_IN, DEPTH_INTERFACE, INTERVAL_US, PACKET_BYTES, REPLY_IN, Setup};

use crate::device::{Device, Fault, Options, Pipe, Speed};
use crate::faults::{Faults, Kind as FaultKind, Occurrence};
pub use transfer::{Kind, Transfer};

/// How time passes for the isochronous endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pace {
    /// A service interval is 125 µs of the clock given; one that no transfer waits for is lost, with what was sent in it.
    RealTime,
    /// A transfer is complete as soon as it is submitted, and its intervals pass with that. Nothing is ever lost. Fault
    /// windows follow what was consumed, or the clock if that is ahead.
    Demand,
}

/// What happened, since [`Host::new`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Isochronous transfers that are complete.
    pub iso_transfers: u64,
    /// Packets with data in them.
    pub data_packets: u64,
    /// Times the isochronous queue ran dry, so that the next transfer began at a fresh interval. Not counted: the first
    /// transfer of a stream.
    pub queue_ran_dry: u64,
    /// Service intervals lost by that.
    pub intervals_lost: u64,
    /// Packets and transfers that a fault changed.
    pub faults: u64,
    /// Times the device was plugged in, the first included. A face gives it another device number each time.
    pub plugs: u64,
    /// Resets.
    pub resets: u64,
}

/// The host controller, and the sensor on it.
pub struct Host {
    device: Device,
    pace: Pace,
    counters: Counters,
    plugged: bool,
    /// A bit for each interface.
    claimed: u8,
    /// The latest `now`.
    clock: Duration,
    /// By how much the model's time is ahead of the clock, because isochronous transfers were consumed faster.
    ahead: Duration,
    schedule: Schedule,
    /// Control, bulk and interrupt transfers that are pending, in the order of submission.
    waiting: VecDeque<Transfer>,
    /// Cancelled transfers, and when they come back.
    leaving: VecDeque<(Duration, Transfer)>,
    done: VecDeque<Transfer>,
    /// The sensor is away because a fault says so.
    unplugged_by_fault: bool,
    /// When a sensor that went by itself comes back.
    back: Option<Duration>,
    /// The wedging that a reset has ended.
    unwedged: Option<Occurrence>,
    was_wedged: bool,
    resets_refused: u64,
    iso_submissions: u64,
}

/// The isochronous queue. Its transfers follow each other without a gap.
#[derive(Debug)]
struct Schedule {
    queue: VecDeque<Transfer>,
    /// The interval of the next packet.
    next: u64,
    /// Nothing was submitted since the setting was chosen, or all was taken back: whoever begins late loses nothing.
    fresh: bool,
    /// Model time and interval from which consumption is counted.
    base: (Duration, u64),
}

impl Host {
    /// A host with the sensor plugged in and configured. All `now`s count from here, and never go back.
    ///
    /// # Panics
    /// As [`Device::new`].
    #[must_use]
    pub fn new(options: Options, pace: Pace) -> Self {
        let device = Device::new(options);
        let unplugged = device.faults().on(FaultKind::Unplug, Duration::ZERO).is_some();
        Host {
            device,
            pace,
            counters: Counters { plugs: u64::from(!unplugged), ..Counters::default() },
            plugged: !unplugged,
            claimed: 0,
            clock: Duration::ZERO,
            ahead: Duration::ZERO,
            schedule: Schedule { queue: VecDeque::new(), next: 0, fresh: true, base: (Duration::ZERO, 0) },
            waiting: VecDeque::new(),
            leaving: VecDeque::new(),
            done: VecDeque::new(),
            unplugged_by_fault: unplugged,
            back: None,
            unwedged: None,
            was_wedged: false,
            resets_refused: 0,
            iso_submissions: 0,
        }
    }

    /// The sensor, whether it is plugged in or not.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What happened.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// From now on, other things go wrong: these, and none of those before. Their times count from now.
    ///
    /// Another speed of the link is another link: the sensor leaves the bus, and comes back half a second later.
    pub fn set_faults(&mut self, faults: Faults, now: Duration) {
        self.advance(now);
        let speed = self.speed();
        self.device.set_faults(faults.later(self.time()));
        // A new wedging is none that a reset has ended.
        (self.unwedged, self.resets_refused) = (None, 0);
        if self.speed() != speed && self.plugged {
            self.unplug_now();
            self.back = Some(self.time() + REENUMERATION);
        }
        self.advance(now);
    }

    /// Speed of the link.
    #[must_use]
    pub fn speed(&self) -> Speed {
        self.device.speed()
    }

    /// Starts a transfer. It comes back from [`Host::completed`], whatever becomes of it.
    ///
    /// # Errors
    /// The transfer itself and why it was not taken: [`Fault::Gone`], [`Fault::NotFound`] for an endpoint that is not in
    /// the current setting, [`Fault::Invalid`] for a kind of transfer that the endpoint has not or a buffer too short,
    /// [`Fault::NoMemory`] if a fault says so.
    pub fn submit(&mut self, mut transfer: Transfer, now: Duration) -> Result<(), (Transfer, Fault)> {
        self.advance(now);
        if let Err(fault) = self.accepts(&transfer) {
            transfer.status = Err(fault);
            return Err((transfer, fault));
        }
        (transfer.status, transfer.actual) = (Ok(()), 0);
        transfer.packets.clear();
        if let Kind::Iso { packet_lengths } = &transfer.kind {
            transfer.packets.reserve(packet_lengths.len());
            self.join_schedule();
            self.schedule.queue.push_back(transfer);
        } else {
            self.waiting.push_back(transfer);
            self.serve();
        }
        self.advance(now);
        Ok(())
    }

    /// Takes a transfer back: it comes from [`Host::completed`] with [`Fault::Cancelled`], perhaps later. Returns whether
    /// it was pending.
    pub fn cancel(&mut self, id: u64, now: Duration) -> bool {
        self.advance(now);
        let schedule = &mut self.schedule;
        let found = if let Some(at) = self.waiting.iter().position(|transfer| transfer.id == id) {
            self.waiting.remove(at)
        } else if let Some(at) = schedule.queue.iter().position(|transfer| transfer.id == id) {
            let transfer = schedule.queue.remove(at);
            schedule.fresh |= schedule.queue.is_empty();
            transfer
        } else {
            None
        };
        let Some(transfer) = found else { return false };
        let transfer = transfer.end(Fault::Cancelled, Fault::Missed);
        match self.device.faults().on(FaultKind::CancelDelay, self.time()) {
            Some(delay) => {
                self.counters.faults += 1;
                self.leaving.push_back((self.time() + Duration::from_nanos(delay), transfer));
            }
            None => self.done.push_back(transfer),
        }
        true
    }

    /// Lets everything happen that is due until `now`, in its order.
    pub fn advance(&mut self, now: Duration) {
        let now = now.max(self.clock);
        loop {
            self.turn();
            // Consuming may have moved the time; what is due is looked for anew each time.
            let Some(due) = self.next_event().filter(|due| *due <= now + self.ahead) else { break };
            self.set_time(due);
            self.act();
        }
        self.clock = now;
        self.turn();
    }

    /// The next transfer that is done, in the order of their ends.
    pub fn completed(&mut self) -> Option<Transfer> {
        self.done.pop_front()
    }

    /// Transfers that were submitted and are not done; those that are being taken back among them.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.schedule.queue.len() + self.waiting.len() + self.leaving.len()
    }

    /// When [`Host::advance`] has something to do next, which may be past: then [`Host::completed`] has something
    /// already. Plugging and unplugging by a fault is something to do too.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        if !self.done.is_empty() {
            return Some(self.clock);
        }
        // Packets are taken as they come, but it is the transfer that somebody waits for.
        let rest = self.schedule.queue.front().map_or(1, |head| head.packets_left().max(1)) as u64;
        let iso = self.iso_due().map(|first| first + Duration::from_micros((rest - 1) * INTERVAL_US));
        let due = [iso, self.other_event()].into_iter().flatten().min()?;
        Some(due.saturating_sub(self.ahead))
    }

    /// Whether the sensor is there.
    #[must_use]
    pub fn is_plugged(&self) -> bool {
        self.plugged
    }

    /// Plugs the sensor in, freshly switched on. Nothing happens if it is.
    pub fn plug(&mut self, now: Duration) {
        self.advance(now);
        self.plug_now();
    }

    /// Takes the sensor away: all that is pending ends with [`Fault::Gone`].
    pub fn unplug(&mut self, now: Duration) {
        self.advance(now);
        self.back = None;
        self.unplug_now();
    }

    /// Claims an interface. It stays claimed until it is released or the sensor goes.
    ///
    /// # Errors
    /// [`Fault::Busy`] if it is claimed, [`Fault::NotFound`] if there is no such interface, [`Fault::Gone`].
    pub fn claim(&mut self, interface: u8, now: Duration) -> Result<(), Fault> {
        let bit = self.claim_bit(interface, now)?;
        if self.claimed & bit != 0 {
            return Err(Fault::Busy);
        }
        self.claimed |= bit;
        Ok(())
    }

    /// Releases an interface: what is pending on it is cancelled, and it goes back to setting 0.
    ///
    /// # Errors
    /// [`Fault::NotFound`] if it is not claimed, [`Fault::Gone`].
    pub fn release(&mut self, interface: u8, now: Duration) -> Result<(), Fault> {
        let bit = self.claim_bit(interface, now)?;
        if self.claimed & bit == 0 {
            return Err(Fault::NotFound);
        }
        self.claimed &= !bit;
        self.flush(Fault::Cancelled, Some(interface));
        if self.device.alternate(interface) != 0 {
            // The system tells nobody if this fails.
            let _ = self.choose(interface, 0);
        }
        Ok(())
    }

    /// Selects an alternate setting; what is pending on the interface is cancelled. The same as the control request, and
    /// independent of claims.
    ///
    /// # Errors
    /// [`Fault::Stall`] if there is no such setting, [`Fault::Gone`], [`Fault::NoBandwidth`] if a fault says so,
    /// [`Fault::Error`] while the sensor is wedged.
    pub fn set_interface(&mut self, interface: u8, alternate: u8, now: Duration) -> Result<(), Fault> {
        self.advance(now);
        self.answers()?;
        self.choose(interface, alternate)
    }

    /// Clears the halt of an endpoint. The same as the control request.
    ///
    /// # Errors
    /// [`Fault::Stall`] if there is no such endpoint, [`Fault::Gone`], [`Fault::Error`] while the sensor is wedged.
    pub fn clear_halt(&mut self, endpoint: u8, now: Duration) -> Result<(), Fault> {
        let setup = Setup { request_type: 2, request: 1, value: 0, index: u16::from(endpoint), length: 0 };
        self.control(setup, &mut [], now).map(drop)
    }

    /// Resets the port: all that is pending is cancelled, claims stay, every interface is in setting 0. Takes no time; on
    /// a real bus it is some 100 ms.
    ///
    /// # Errors
    /// [`Fault::Gone`]; [`Fault::NotFound`] if a fault says so: the sensor is unplugged then, and comes back by itself.
    pub fn reset(&mut self, now: Duration) -> Result<(), Fault> {
        self.advance(now);
        if !self.plugged {
            return Err(Fault::Gone);
        }
        self.counters.resets += 1;
        if let Some(count) = self.device.faults().on(FaultKind::ResetNotFound, self.time())
            && self.resets_refused < count
        {
            self.resets_refused += 1;
            self.counters.faults += 1;
            self.unplug_now();
            self.back = Some(self.time() + REENUMERATION);
            return Err(Fault::NotFound);
        }
        self.flush(Fault::Cancelled, None);
        self.device.reset(self.time());
        self.unwedged = self.device.faults().occurrence(FaultKind::Wedge, self.time());
        Ok(())
    }

    /// A control request that is answered at once, such as the operating system makes for itself.
    ///
    /// * `data`: what is sent, or room for what comes.
    ///
    /// Returns how many bytes went over the wire in the data stage.
    ///
    /// # Errors
    /// [`Fault::Stall`], [`Fault::Gone`], [`Fault::NoBandwidth`]; [`Fault::Error`] while the sensor is wedged.
    pub fn control(&mut self, setup: Setup, data: &mut [u8], now: Duration) -> Result<usize, Fault> {
        self.advance(now);
        self.answers()?;
        let answer = self.request(setup, data);
        self.serve();
        answer
    }

    /// The model's time: the clock's, or ahead of it.
    fn time(&self) -> Duration {
        self.clock + self.ahead
    }

    /// Moves the time on, never back.
    fn set_time(&mut self, time: Duration) {
        self.clock = self.clock.max(time.saturating_sub(self.ahead));
    }

    /// Whether the sensor is wedged, so that nothing that is pending gets on.
    fn is_wedged(&self) -> bool {
        let wedge = self.device.faults().occurrence(FaultKind::Wedge, self.time());
        wedge.is_some() && wedge != self.unwedged
    }

    /// Whether the sensor answers to requests.
    fn answers(&self) -> Result<(), Fault> {
        match (self.plugged, self.is_wedged()) {
            (false, _) => Err(Fault::Gone),
            (true, true) => Err(Fault::Error),
            (true, false) => Ok(()),
        }
    }

    fn claim_bit(&mut self, interface: u8, now: Duration) -> Result<u8, Fault> {
        self.advance(now);
        if !self.plugged {
            return Err(Fault::Gone);
        }
        if interface >= self.device.interfaces() { Err(Fault::NotFound) } else { Ok(1 << interface) }
    }

    fn accepts(&mut self, transfer: &Transfer) -> Result<(), Fault> {
        if !self.plugged {
            return Err(Fault::Gone);
        }
        match &transfer.kind {
            Kind::Control(setup) => {
                let short = transfer.buffer.len() < usize::from(setup.length);
                return if transfer.endpoint & 0x7F != 0 || short { Err(Fault::Invalid) } else { Ok(()) };
            }
            Kind::Bulk => {
                let (_, pipe) = self.device.endpoint(transfer.endpoint).ok_or(Fault::NotFound)?;
                return if pipe == Pipe::Isochronous { Err(Fault::Invalid) } else { Ok(()) };
            }
            Kind::Iso { packet_lengths } => {
                let (_, pipe) = self.device.endpoint(transfer.endpoint).ok_or(Fault::NotFound)?;
                let short = transfer.buffer.len() < packet_lengths.iter().sum();
                // There is one schedule: the microphones' endpoint is described, not simulated.
                let ours = pipe == Pipe::Isochronous && transfer.endpoint == DEPTH_IN;
                if packet_lengths.is_empty() || short || !ours {
                    return Err(Fault::Invalid);
                }
            }
        }
        self.iso_submissions += 1;
        let faults = self.device.faults();
        if let Some(number) = faults.on(FaultKind::SubmitNoMemory, self.time())
            && (faults.is_timed(FaultKind::SubmitNoMemory) || self.iso_submissions == number)
        {
            self.counters.faults += 1;
            return Err(Fault::NoMemory);
        }
        Ok(())
    }

    /// A transfer is about to join the isochronous queue: if that is empty, it begins with the next interval.
    fn join_schedule(&mut self) {
        let time = self.time();
        let schedule = &mut self.schedule;
        if !schedule.queue.is_empty() {
            return;
        }
        if self.pace == Pace::RealTime {
            let next = interval_from(time);
            if !schedule.fresh && next > schedule.next {
                self.counters.queue_ran_dry += 1;
                self.counters.intervals_lost += next - schedule.next;
            }
            schedule.next = schedule.next.max(next);
        }
        if schedule.fresh {
            schedule.fresh = false;
            schedule.base = (time, schedule.next);
        }
    }

    /// What has changed by the time alone.
    fn turn(&mut self) {
        let away = self.device.faults().on(FaultKind::Unplug, self.time()).is_some();
        if away != self.unplugged_by_fault {
            self.unplugged_by_fault = away;
            self.counters.faults += 1;
            if away {
                self.back = None;
                self.unplug_now();
            } else {
                self.plug_now();
            }
        }
        if self.back.is_some_and(|back| back <= self.time()) {
            self.back = None;
            self.plug_now();
        }
        let wedged = self.is_wedged();
        if self.was_wedged && !wedged {
            // What went by meanwhile is lost.
            if self.pace == Pace::RealTime {
                self.schedule.next = self.schedule.next.max(interval_from(self.time()));
            }
            self.serve();
        }
        self.counters.faults += u64::from(wedged && !self.was_wedged);
        self.was_wedged = wedged;
    }

    /// Does what is due now: packets of the next interval, replies, transfers that were cancelled.
    fn act(&mut self) {
        self.turn();
        if self.iso_due().is_some_and(|due| due <= self.time()) {
            self.take_packet();
        }
        while self.leaving.front().is_some_and(|(back, _)| *back <= self.time()) {
            self.done.extend(self.leaving.pop_front().map(|(_, transfer)| transfer));
        }
        if self.reply_due().is_some_and(|due| due <= self.time()) {
            self.serve();
        }
    }

    /// When something happens next, in the model's time.
    fn next_event(&self) -> Option<Duration> {
        [self.iso_due(), self.other_event()].into_iter().flatten().min()
    }

    /// The same without packets.
    fn other_event(&self) -> Option<Duration> {
        let (time, faults) = (self.time(), self.device.faults());
        let edges = [FaultKind::Unplug, FaultKind::Wedge].map(|kind| faults.next_edge(kind, time));
        let leaving = self.leaving.front().map(|(back, _)| *back);
        [edges[0], edges[1], self.back, leaving, self.reply_due()].into_iter().flatten().min()
    }

    /// When the next packet has come.
    fn iso_due(&self) -> Option<Duration> {
        if self.schedule.queue.is_empty() || self.is_wedged() {
            return None;
        }
        Some(match self.pace {
            Pace::RealTime => interval_end(self.schedule.next),
            Pace::Demand => self.time(),
        })
    }

    /// When the next reply is there, if somebody waits for it.
    fn reply_due(&self) -> Option<Duration> {
        let asked = self.waiting.iter().any(|transfer| transfer.endpoint == REPLY_IN);
        self.device.reply_ready().filter(|_| asked && !self.is_wedged())
    }

    /// Takes the packet of the next interval, and completes the transfer if it was its last.
    fn take_packet(&mut self) {
        let interval = self.schedule.next;
        let time = match self.pace {
            Pace::RealTime => interval_end(interval),
            Pace::Demand => self.time(),
        };
        let Host { device, schedule, counters, .. } = self;
        let Some(transfer) = schedule.queue.front_mut() else { return };
        let Some((from, room)) = transfer.next_room() else { return };
        let room = &mut transfer.buffer[from..from + room];
        let came = device.packet(interval, room, time);
        let (actual, status) = spoil(device, counters, interval, time, came);
        transfer.packets.push((actual, status));
        transfer.actual += actual;
        schedule.next += 1;
        if transfer.packets_left() == 0 {
            counters.iso_transfers += 1;
            self.done.extend(schedule.queue.pop_front());
        }
        if self.pace == Pace::Demand {
            let (begun, first) = self.schedule.base;
            let consumed = begun + Duration::from_micros((self.schedule.next - first) * INTERVAL_US);
            self.ahead = self.ahead.max(consumed.saturating_sub(self.clock));
        }
    }

    /// Gets on with what is pending beside the isochronous queue, in the order of submission on each endpoint.
    fn serve(&mut self) {
        if !self.plugged || self.is_wedged() {
            return;
        }
        let (mut at, mut blocked) = (0, 0_u32);
        while let Some(transfer) = self.waiting.get(at) {
            let bit = 1 << (transfer.endpoint & 0x0F | transfer.endpoint >> 3 & 0x10);
            if blocked & bit != 0 {
                at += 1;
                continue;
            }
            let mut transfer = std::mem::take(&mut self.waiting[at]);
            match self.perform(&mut transfer) {
                Some(outcome) => {
                    transfer.status = outcome.map(|actual| transfer.actual = actual);
                    self.waiting.remove(at);
                    self.done.push_back(transfer);
                    if self.device.take_shut_down() {
                        self.unplug_now();
                        self.back = Some(self.time() + REBOOT);
                        return;
                    }
                    // What was sent may be what others wait for.
                    (at, blocked) = (0, 0);
                }
                None => {
                    self.waiting[at] = transfer;
                    blocked |= bit;
                    at += 1;
                }
            }
        }
    }

    /// Does a transfer now; `None` if it has to wait.
    fn perform(&mut self, transfer: &mut Transfer) -> Option<Result<usize, Fault>> {
        let time = self.time();
        match (&transfer.kind, transfer.endpoint) {
            (Kind::Control(setup), _) => Some(self.request(*setup, &mut transfer.buffer)),
            (Kind::Bulk, COMMAND_OUT) => {
                let taken = self.device.bulk_out(&transfer.buffer, time)?;
                Some(taken.map(|()| transfer.buffer.len()))
            }
            (Kind::Bulk, REPLY_IN) => self.device.bulk_in(&mut transfer.buffer, time),
            // No other endpoint has data.
            (Kind::Bulk | Kind::Iso { .. }, _) => None,
        }
    }

    /// A control request: the device's, but the host has to know of some.
    fn request(&mut self, setup: Setup, data: &mut [u8]) -> Result<usize, Fault> {
        let interface = setup.index.to_le_bytes()[0];
        match setup {
            Setup { request_type: 1, request: 11, length: 0, .. } => {
                self.choose(interface, setup.value.to_le_bytes()[0]).map(|()| 0)
            }
            Setup { request_type: 0, request: 9, .. } => {
                self.flush_iso(Fault::Cancelled);
                self.device.control(setup, data, self.time())
            }
            _ => self.device.control(setup, data, self.time()),
        }
    }

    fn choose(&mut self, interface: u8, alternate: u8) -> Result<(), Fault> {
        if interface == DEPTH_INTERFACE {
            self.flush_iso(Fault::Cancelled);
            if alternate != 0 && self.device.faults().on(FaultKind::NoBandwidth, self.time()).is_some() {
                self.counters.faults += 1;
                return Err(Fault::NoBandwidth);
            }
        }
        self.device.set_interface(interface, alternate)
    }

    fn plug_now(&mut self) {
        if self.plugged || self.unplugged_by_fault {
            return;
        }
        self.plugged = true;
        self.counters.plugs += 1;
        self.device.reset(self.time());
        // A wedged sensor that was switched off and on is well.
        self.unwedged = self.device.faults().occurrence(FaultKind::Wedge, self.time());
    }

    fn unplug_now(&mut self) {
        if !self.plugged {
            return;
        }
        self.plugged = false;
        self.claimed = 0;
        self.flush(Fault::Gone, None);
    }

    /// Ends what is pending: all of it, or that of an interface.
    fn flush(&mut self, fault: Fault, interface: Option<u8>) {
        if interface.is_none_or(|interface| interface == DEPTH_INTERFACE) {
            self.flush_iso(fault);
        }
        let mut at = 0;
        while let Some(transfer) = self.waiting.get(at) {
            let of = self.device.endpoint(transfer.endpoint).map(|(interface, _)| interface);
            if interface.is_some() && of != interface {
                at += 1;
                continue;
            }
            let transfer = self.waiting.remove(at);
            self.done.extend(transfer.map(|transfer| transfer.end(fault, fault)));
        }
        if interface.is_none() {
            self.done.extend(self.leaving.drain(..).map(|(_, transfer)| transfer));
        }
    }

    fn flush_iso(&mut self, fault: Fault) {
        let packet = if fault == Fault::Gone { fault } else { Fault::Missed };
        self.done.extend(self.schedule.queue.drain(..).map(|transfer| transfer.end(fault, packet)));
        self.schedule.fresh = true;
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("pace", &self.pace)
            .field("plugged", &self.plugged)
            .field("time", &self.time())
            .field("pending", &self.pending())
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

/// What becomes of a packet on its way.
fn spoil(
    device: &Device,
    counters: &mut Counters,
    interval: u64,
    time: Duration,
    came: Result<usize, Fault>,
) -> (usize, Result<(), Fault>) {
    let bytes = match came {
        Ok(0) => return (0, Ok(())),
        Ok(bytes) => bytes,
        Err(fault) => return (0, Err(fault)),
    };
    counters.data_packets += 1;
    let faults = device.faults();
    let strikes = |kind| faults.strikes(kind, time, interval).is_some();
    let spoilt = if bytes == PACKET_BYTES && strikes(FaultKind::Loss) {
        (0, Ok(()))
    } else if strikes(FaultKind::Missed) {
        (0, Err(Fault::Missed))
    } else if strikes(FaultKind::PacketError) {
        // Whole transactions came before the one that failed.
        let whole = faults.dice(FaultKind::PacketError, interval) as usize % bytes.div_ceil(TRANSACTION);
        (whole * TRANSACTION, Err(Fault::Error))
    } else if bytes > NARROW && faults.on(FaultKind::Narrow, time).is_some() {
        (NARROW, Ok(()))
    } else {
        return (bytes, Ok(()));
    };
    counters.faults += 1;
    spoilt
}

/// The first interval that begins at this time or later.
fn interval_from(time: Duration) -> u64 {
    let intervals = time.as_nanos().div_ceil(u128::from(INTERVAL_US) * 1000);
    u64::try_from(intervals).unwrap_or(u64::MAX)
}

fn interval_end(interval: u64) -> Duration {
    Duration::from_micros((interval + 1) * INTERVAL_US)
}

/// Bytes of a transaction on the depth endpoint.
const TRANSACTION: usize = 1024;
/// What some controllers make of the depth endpoint's 33,792 bytes, leaving out its Mult (libfreenect2 issue 481).
const NARROW: usize = 11 * TRANSACTION;
/// What a sensor takes to come back after a reset that it did not survive.
const REENUMERATION: Duration = Duration::from_millis(500);
/// What a sensor takes to come back after the command to shut down.
const REBOOT: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests;
