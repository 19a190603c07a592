//! Does on a simulated host what the driver says, on a virtual clock: what `kinect2::sensor` does on a real one.

use std::sync::Arc;
use std::time::Duration;

use kinect2::depth::Intrinsics;
use kinect2::driver::{Action, Done, Driver, Failure, State, Trouble};
use kinect2::protocol::{
    COMMAND_OUT, CONTROL_INTERFACE, DEPTH_IN, DEPTH_INTERFACE, PACKET_BYTES, REPLY_IN, Setup,
};
use kinect2::stream::{PacketStatus, Stream, Target};
use kinect2_sim::device::{Fault, Options, Speed};
use kinect2_sim::host::{Host, Kind, Pace, Transfer};

/// Isochronous transfers, and packets in each: a queue of 60 ms.
const TRANSFERS: usize = 60;
const PACKETS: usize = 8;
/// How long jobs take.
const JOB: Duration = Duration::from_millis(3);
const OPEN: Duration = Duration::from_millis(250);

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// What blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Job {
    Open { again: bool },
    Alternate(u8),
    ClearHalt(u8),
    Prepare,
    Close,
}

/// What is in flight.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Flight {
    Job(Job, Duration),
    Transfer(u64),
    /// Until all have come back, or this time.
    StopStream(Duration),
    /// Ends when the driver is asked next.
    Ended(Result<(), Fault>),
}

pub(crate) struct Bench {
    pub(crate) now: Duration,
    pub(crate) driver: Driver,
    pub(crate) host: Host,
    pub(crate) stream: Stream,
    target: Target,
    wanted: Option<String>,
    flight: Option<Flight>,
    claimed: bool,
    idle: Vec<Transfer>,
    command: Option<Transfer>,
    pending: Vec<u64>,
    streaming: bool,
    next_id: u64,
    /// Whole frames, each compared with what was sent; and the numbers that they had.
    pub(crate) frames: u64,
    pub(crate) sequences: Vec<u32>,
    /// Every trouble there was, one after the other.
    pub(crate) troubles: Vec<&'static str>,
    pub(crate) actions: u64,
}

impl Bench {
    /// A sensor of noise with these faults, and a driver that looks for it.
    pub(crate) fn new(faults: &str) -> Self {
        let mut options = Options::noise(5, 3);
        options.faults = faults.parse().expect("faults as they are written");
        Bench {
            now: Duration::ZERO,
            driver: Driver::new(None, Duration::ZERO),
            host: Host::new(options, Pace::RealTime),
            stream: Stream::new(),
            target: Target::raw(),
            wanted: None,
            flight: None,
            claimed: false,
            idle: (0..TRANSFERS).map(|_| Transfer::default()).collect(),
            command: Some(Transfer::default()),
            pending: Vec::new(),
            streaming: false,
            next_id: 1,
            frames: 0,
            sequences: Vec::new(),
            troubles: Vec::new(),
            actions: 0,
        }
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.turn();
            let flight = match self.flight {
                Some(Flight::Job(_, due) | Flight::StopStream(due)) => Some(due),
                Some(Flight::Ended(_)) => Some(self.now),
                Some(Flight::Transfer(_)) | None => None,
            };
            let next = [self.host.due(), self.driver.deadline(), flight].into_iter().flatten().min();
            let next = next.unwrap_or(end).max(self.now);
            if next >= end {
                self.now = end;
                self.turn();
                return;
            }
            self.now = next;
        }
    }

    /// Lets time pass until this many frames more have come, at most ten seconds.
    pub(crate) fn run_frames(&mut self, frames: u64) {
        let (enough, late) = (self.frames + frames, self.now + ms(10_000));
        while self.frames < enough {
            assert!(
                self.now < late,
                "{} frames, {:?}: {:?}",
                self.frames,
                self.state(),
                self.driver.trouble()
            );
            self.run(ms(5));
        }
    }

    pub(crate) fn state(&self) -> State {
        self.driver.state()
    }

    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.driver.trouble()
    }

    fn turn(&mut self) {
        self.host.advance(self.now);
        while let Some(transfer) = self.host.completed() {
            self.completed(transfer);
        }
        match self.flight {
            Some(Flight::Job(job, due)) if due <= self.now => self.job(job),
            Some(Flight::Ended(end)) => self.done(ended(end)),
            Some(Flight::StopStream(until)) if until <= self.now || self.pending.is_empty() => {
                self.done(Done::Ok);
            }
            _ => {}
        }
        self.refill();
        for _ in 0..20 {
            if !self.step() {
                return;
            }
        }
        panic!("the driver spins: {:?}", self.state());
    }

    /// Does the next thing; whether there was one.
    fn step(&mut self) -> bool {
        let action = self.driver.next(self.now);
        let is_extra = matches!(action, Some(Action::Cancel | Action::Close));
        self.actions += u64::from(action.is_some());
        assert!(action.is_none() || self.flight.is_none() || is_extra, "{action:?}, {:?}", self.flight);
        let flight = match action {
            None => {
                self.note();
                return false;
            }
            Some(Action::Cancel) => {
                let Some(Flight::Transfer(id)) = self.flight else { panic!("nothing to cancel") };
                self.host.cancel(id, self.now);
                return true;
            }
            Some(Action::Open { serial }) => {
                self.wanted = serial.map(str::to_owned);
                Flight::Job(Job::Open { again: false }, self.now + OPEN)
            }
            Some(Action::Alternate(alternate)) => Flight::Job(Job::Alternate(alternate), self.now + JOB),
            Some(Action::ClearHalt(endpoint)) => Flight::Job(Job::ClearHalt(endpoint), self.now + JOB),
            Some(Action::Prepare { p0, lens }) => {
                kinect2::depth::Tables::from_p0_reply(p0, &Intrinsics::from_reply(lens).expect("a lens"))
                    .expect("tables");
                Flight::Job(Job::Prepare, self.now + ms(100))
            }
            Some(Action::Close) => {
                self.streaming = false;
                Flight::Job(Job::Close, self.now + JOB)
            }
            Some(Action::Control(setup)) => self.submit_command(|t, id| t.prepare_control(id, setup)),
            Some(Action::Send(bytes)) => {
                let bytes: Vec<u8> = bytes.to_vec();
                self.submit_command(|t, id| {
                    t.prepare_bulk(id, COMMAND_OUT, bytes.len());
                    t.buffer.copy_from_slice(&bytes);
                })
            }
            Some(Action::Receive { max }) => self.submit_command(|t, id| t.prepare_bulk(id, REPLY_IN, max)),
            Some(Action::StartStream) => {
                self.stream.restart();
                self.streaming = true;
                let mut end = Ok(());
                while let (Ok(()), Some(transfer)) = (end, self.idle.pop()) {
                    end = self.submit_iso(transfer);
                }
                if end.is_err() {
                    self.streaming = false;
                }
                Flight::Ended(end)
            }
            Some(Action::StopStream) => {
                self.streaming = false;
                for id in &self.pending {
                    self.host.cancel(*id, self.now);
                }
                Flight::StopStream(self.now + ms(500))
            }
        };
        self.note();
        self.flight = Some(flight);
        true
    }

    fn note(&mut self) {
        if let Some(word) = self.driver.trouble().map(Trouble::word) {
            if self.troubles.last() != Some(&word) {
                self.troubles.push(word);
            }
        }
    }

    fn submit_command(&mut self, prepare: impl FnOnce(&mut Transfer, u64)) -> Flight {
        let mut transfer = self.command.take().unwrap_or_default();
        self.next_id += 1;
        prepare(&mut transfer, self.next_id);
        match self.host.submit(transfer, self.now) {
            Ok(()) => Flight::Transfer(self.next_id),
            Err((transfer, fault)) => {
                self.command = Some(transfer);
                Flight::Ended(Err(fault))
            }
        }
    }

    fn submit_iso(&mut self, mut transfer: Transfer) -> Result<(), Fault> {
        self.next_id += 1;
        transfer.prepare_iso(self.next_id, DEPTH_IN, [PACKET_BYTES; PACKETS]);
        match self.host.submit(transfer, self.now) {
            Ok(()) => {
                self.pending.push(self.next_id);
                Ok(())
            }
            Err((transfer, fault)) => {
                self.idle.push(transfer);
                Err(fault)
            }
        }
    }

    /// What could not be submitted is tried again.
    fn refill(&mut self) {
        while self.streaming && self.state() == State::Streaming {
            let Some(transfer) = self.idle.pop() else { return };
            match self.submit_iso(transfer) {
                Ok(()) => {}
                Err(Fault::Gone) => return self.driver.gone(self.now),
                Err(_) => return,
            }
        }
    }

    fn completed(&mut self, transfer: Transfer) {
        if matches!(transfer.kind, Kind::Iso { .. }) {
            self.pending.retain(|id| *id != transfer.id);
            return self.packets(transfer);
        }
        if self.flight == Some(Flight::Transfer(transfer.id)) {
            let end = match transfer.status {
                Ok(()) if transfer.inward() && transfer.endpoint != 0 => Done::Received(transfer.received()),
                end => ended(end),
            };
            self.flight = None;
            self.driver.done(end, self.now);
        }
        self.command = Some(transfer);
    }

    fn packets(&mut self, transfer: Transfer) {
        match transfer.status {
            Err(Fault::Gone) => {
                // Every one of them says so.
                self.driver.gone(self.now);
                self.idle.push(transfer);
                return;
            }
            _ if !self.streaming => {
                self.idle.push(transfer);
                return;
            }
            _ => self.driver.completion(self.now),
        }
        for (bytes, status) in transfer.received_packets() {
            let status = if status.is_ok() { PacketStatus::Good } else { PacketStatus::Bad };
            let Some(info) = self.stream.packet(self.now, status, bytes, &mut self.target) else { continue };
            let Target::Raw(raw) = &self.target else { panic!("frames are collected raw") };
            let sent: &Arc<[u8]> = self.host.device().frame_of(info.sequence);
            assert!(raw[..] == sent[..], "frame {} is not what was sent", info.sequence);
            self.frames += 1;
            self.sequences.push(info.sequence);
            self.driver.frame(self.now);
            assert_eq!(self.driver.trouble(), None, "while frames come");
        }
        self.idle.push(transfer);
    }

    fn job(&mut self, job: Job) {
        let now = self.now;
        let end = match job {
            Job::Open { again } => return self.open(again),
            Job::Alternate(alternate) => self.host.set_interface(DEPTH_INTERFACE, alternate, now),
            Job::ClearHalt(endpoint) => self.host.clear_halt(endpoint, now),
            Job::Prepare => Ok(()),
            Job::Close => {
                self.close();
                Ok(())
            }
        };
        self.done(ended(end));
    }

    fn open(&mut self, again: bool) {
        let failed = |trouble| Done::Failed(Failure::Trouble(trouble));
        let serial = self.host.device().serial().to_owned();
        if !self.host.is_plugged() {
            if again {
                self.flight = Some(Flight::Job(Job::Open { again }, self.now + ms(100)));
            } else {
                self.done(failed(Trouble::NotFound));
            }
            return;
        }
        assert!(self.wanted.as_ref().is_none_or(|wanted| *wanted == serial));
        if self.host.speed() == Speed::High {
            return self.done(failed(Trouble::SlowLink { mbit: 480 }));
        }
        if !again {
            match self.host.reset(self.now) {
                Ok(()) => {}
                Err(Fault::NotFound) => {
                    self.flight = Some(Flight::Job(Job::Open { again: true }, self.now + ms(100)));
                    return;
                }
                Err(fault) => return self.done(ended(Err(fault))),
            }
        }
        for interface in [CONTROL_INTERFACE, DEPTH_INTERFACE] {
            assert_eq!(self.host.claim(interface, self.now), Ok(()), "it was released");
        }
        self.claimed = true;
        match self.host.set_interface(DEPTH_INTERFACE, 0, self.now) {
            Ok(()) => self.done(Done::Opened { serial: &serial, speed_mbit: 5000 }),
            Err(fault) => {
                self.close();
                self.done(ended(Err(fault)));
            }
        }
    }

    fn close(&mut self) {
        for id in std::mem::take(&mut self.pending) {
            self.host.cancel(id, self.now);
        }
        if std::mem::take(&mut self.claimed) {
            for interface in [DEPTH_INTERFACE, CONTROL_INTERFACE] {
                let _ = self.host.release(interface, self.now);
            }
        }
    }

    fn done(&mut self, done: Done<'_>) {
        self.flight = None;
        self.driver.done(done, self.now);
        self.note();
    }
}

/// A request that nobody makes while a sensor is driven, to see that it still answers.
pub(crate) const GET_STATUS: Setup = Setup { request_type: 0x80, request: 0, value: 0, index: 0, length: 2 };

fn ended(end: Result<(), Fault>) -> Done<'static> {
    Done::Failed(match end {
        Ok(()) => return Done::Ok,
        Err(Fault::Cancelled) => return Done::Cancelled,
        Err(Fault::Gone) => Failure::Gone,
        Err(Fault::Stall) => Failure::Stall,
        Err(Fault::NoMemory) => Failure::NoMemory,
        Err(Fault::NoBandwidth) => Failure::NoBandwidth,
        Err(fault) => Failure::Io(fault.errno()),
    })
}
