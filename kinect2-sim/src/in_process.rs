//! What a driver asks for, done on a simulated host in the same process, on a clock that jumps.
//!
//! For tests of the driver and of what is built on it: an hour of a sensor's life takes as long as its frames' bytes take
//! to be looked at.
//!
//! ```
//! use std::time::Duration;
//! use kinect2::driver::{Driver, State};
//! use kinect2_sim::device::Options;
//! use kinect2_sim::in_process::InProcess;
//!
//! let mut sensor = InProcess::new(Options::noise(1, 1));
//! let mut driver = Driver::new(None, sensor.now());
//! sensor.drive(&mut driver, Duration::from_secs(3), |_, _, _| {});
//! assert_eq!(driver.state(), State::Streaming);
//! ```

use std::fmt;
use std::time::Duration;

use kinect2::depth::{Intrinsics, Tables};
use kinect2::driver::{Action, Done, Driver, Failure, Name, Trouble};
use kinect2::protocol::{COMMAND_OUT, CONTROL_INTERFACE, DEPTH_IN, DEPTH_INTERFACE, PACKET_BYTES, REPLY_IN};

use crate::device::{Fault, Options, Speed};
use crate::host::{Host, Kind, Pace, Transfer};

/// Packets in an isochronous transfer.
pub const PACKETS: usize = 8;
/// Isochronous transfers in the queue.
pub const TRANSFERS: usize = 60;

/// What happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// The action in flight ended.
    Done(Done<'a>),
    /// An isochronous transfer came back. It is submitted anew by the next call.
    Packets(&'a Transfer),
    /// The sensor that is open has left the bus.
    Gone,
    /// Nothing, until the time that was given.
    Deadline,
}

/// The owner of the descriptor, and the host behind it.
pub struct InProcess {
    host: Host,
    now: Duration,
    next_id: u64,
    /// Transfers with a smaller number were the business of a descriptor that is closed.
    first_id: u64,
    /// Which plugging in of the sensor is open.
    connection: Option<u64>,
    is_gone_said: bool,
    job: Option<(Duration, Job)>,
    /// The control, bulk or read in flight.
    flight: Option<u64>,
    /// Isochronous transfers in the host.
    streaming: Vec<u64>,
    /// Transfers are being taken back: until when.
    stopping: Option<Duration>,
    /// To be submitted anew.
    returned: Option<Transfer>,
    /// What the last event was about.
    shown: Transfer,
    spare: Vec<Transfer>,
    serial: String,
    tables: Option<Tables>,
}

#[derive(Debug)]
enum Job {
    Open {
        serial: Option<String>,
        resets: bool,
    },
    Alternate(u8),
    ClearHalt(u8),
    /// All that could fail has happened.
    End(Result<(), Failure>),
}

impl InProcess {
    /// A sensor that nobody has opened, in real time: what is not asked for in time is lost.
    ///
    /// # Panics
    /// As [`Host::new`].
    #[must_use]
    pub fn new(options: Options) -> Self {
        let host = Host::new(options, Pace::RealTime);
        InProcess {
            serial: host.device().serial().to_owned(),
            host,
            now: Duration::ZERO,
            next_id: 1,
            first_id: 0,
            connection: None,
            is_gone_said: false,
            job: None,
            flight: None,
            streaming: Vec::with_capacity(TRANSFERS),
            stopping: None,
            returned: None,
            shown: Transfer::default(),
            spare: Vec::new(),
            tables: None,
        }
    }

    /// The clock.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.now
    }

    /// The host and the sensor.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The same, to pull the plug.
    pub fn host_mut(&mut self) -> &mut Host {
        &mut self.host
    }

    /// The tables of the last [`Action::Prepare`] that ended well.
    #[must_use]
    pub fn tables(&self) -> Option<&Tables> {
        self.tables.as_ref()
    }

    /// Lets time pass in which nobody looks: a busy program.
    pub fn sleep(&mut self, time: Duration) {
        self.now += time;
        self.host.advance(self.now);
    }

    /// Begins what a driver asks for. How it ended says [`InProcess::wait`].
    pub fn perform(&mut self, action: Action<'_>) {
        match action {
            Action::Open { serial } => {
                self.is_gone_said = false;
                self.job_in(OPEN_TIME, Job::Open { serial: serial.map(str::to_owned), resets: true });
            }
            Action::Alternate(alternate) => self.job_in(CALL_TIME, Job::Alternate(alternate)),
            Action::ClearHalt(endpoint) => self.job_in(CALL_TIME, Job::ClearHalt(endpoint)),
            Action::Prepare { p0, lens } => {
                let tables = Intrinsics::from_reply(lens).and_then(|lens| Tables::from_p0_reply(p0, &lens));
                let end = tables.map(|tables| self.tables = Some(tables)).map_err(Failure::BadTables);
                self.job_in(PREPARE_TIME, Job::End(end));
            }
            Action::Close => {
                self.close();
                self.job_in(CALL_TIME, Job::End(Ok(())));
            }
            Action::Control(setup) => {
                self.submit(|transfer, id| transfer.prepare_control(id, setup));
            }
            Action::Send(bytes) => self.submit(|transfer, id| {
                transfer.prepare_bulk(id, COMMAND_OUT, bytes.len());
                transfer.buffer.copy_from_slice(bytes);
            }),
            Action::Receive { max } => {
                self.submit(|transfer, id| transfer.prepare_bulk(id, REPLY_IN, max));
            }
            Action::Cancel => {
                if let Some(id) = self.flight {
                    self.host.cancel(id, self.now);
                }
            }
            Action::StartStream => {
                let end = self.start_stream();
                if end.is_err() {
                    self.discard_stream();
                    self.streaming.clear();
                    self.first_id = self.next_id;
                }
                self.job_in(Duration::ZERO, Job::End(end));
            }
            Action::StopStream => {
                self.discard_stream();
                self.stopping = Some(self.now + STOP_TIME);
            }
        }
    }

    /// Lets time pass until something happens, at most until `until`; if that is `None`, until nothing ever will.
    /// Returns the time, too.
    pub fn wait(&mut self, until: Option<Duration>) -> (Duration, Event<'_>) {
        if let Some(transfer) = self.returned.take() {
            self.submit_iso(transfer);
        }
        loop {
            if let Some(found) = self.look() {
                return (self.now, self.event(found));
            }
            let times = [self.host.due(), self.job.as_ref().map(|(at, _)| *at), self.stopping];
            match times.into_iter().flatten().min() {
                Some(due) if until.is_none_or(|until| due <= until) => self.now = self.now.max(due),
                _ => {
                    self.now = self.now.max(until.unwrap_or(self.now));
                    self.host.advance(self.now);
                    return (self.now, Event::Deadline);
                }
            }
            self.host.advance(self.now);
        }
    }

    /// Does what a driver asks for, and tells it what happens, until a time.
    ///
    /// * `packets`: sees each isochronous transfer that came back, after the driver was told of it.
    pub fn drive(
        &mut self,
        driver: &mut Driver,
        until: Duration,
        mut packets: impl FnMut(&mut Driver, Duration, &Transfer),
    ) {
        while self.now < until {
            let began = self.now;
            while let Some(action) = driver.next(self.now) {
                self.perform(action);
            }
            let deadline = driver.deadline().map_or(until, |deadline| deadline.min(until));
            match self.wait(Some(deadline)) {
                (now, Event::Done(done)) => driver.done(done, now),
                (now, Event::Packets(transfer)) => {
                    driver.completion(now);
                    packets(driver, now, transfer);
                }
                (_, Event::Gone) => driver.gone(),
                // A deadline that is past and stays so must not stop the clock.
                (now, Event::Deadline) if now == began => self.sleep(Duration::from_micros(1)),
                (_, Event::Deadline) => {}
            }
        }
    }

    fn job_in(&mut self, time: Duration, job: Job) {
        self.job = Some((self.now + time, job));
    }

    /// Submits a transfer that is the action in flight.
    fn submit(&mut self, prepare: impl FnOnce(&mut Transfer, u64)) {
        let mut transfer = std::mem::take(&mut self.shown);
        let id = self.new_id();
        prepare(&mut transfer, id);
        match self.host.submit(transfer, self.now) {
            Ok(()) => self.flight = Some(id),
            Err((transfer, fault)) => {
                self.shown = transfer;
                self.job_in(Duration::ZERO, Job::End(Err(failure(fault))));
            }
        }
    }

    fn start_stream(&mut self) -> Result<(), Failure> {
        for _ in 0..TRANSFERS {
            let transfer = self.spare.pop().unwrap_or_default();
            if let Some(fault) = self.submit_iso(transfer) {
                return Err(failure(fault));
            }
        }
        Ok(())
    }

    /// Submits an isochronous transfer; what is refused is for later.
    fn submit_iso(&mut self, mut transfer: Transfer) -> Option<Fault> {
        let id = self.new_id();
        transfer.prepare_iso(id, DEPTH_IN, [PACKET_BYTES; PACKETS]);
        match self.host.submit(transfer, self.now) {
            Ok(()) => {
                self.streaming.push(id);
                None
            }
            Err((transfer, fault)) => {
                self.spare.push(transfer);
                Some(fault)
            }
        }
    }

    fn discard_stream(&mut self) {
        self.spare.extend(self.returned.take());
        for id in &self.streaming {
            self.host.cancel(*id, self.now);
        }
    }

    fn close(&mut self) {
        self.discard_stream();
        if let Some(id) = self.flight.take() {
            self.host.cancel(id, self.now);
        }
        self.streaming.clear();
        (self.stopping, self.job) = (None, None);
        self.first_id = self.next_id;
        if self.connection.take() == Some(self.host.counters().plugs) {
            for interface in [CONTROL_INTERFACE, DEPTH_INTERFACE] {
                // Of a sensor that is gone there is nothing to release.
                let _ = self.host.release(interface, self.now);
            }
        }
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// What has happened by now.
    fn look(&mut self) -> Option<Found> {
        while let Some(transfer) = self.host.completed() {
            let iso = matches!(transfer.kind, Kind::Iso { .. });
            self.streaming.retain(|id| *id != transfer.id);
            if transfer.id < self.first_id {
                self.keep(transfer, iso);
            } else if iso {
                if transfer.status.is_ok() && self.stopping.is_none() {
                    self.returned = Some(transfer);
                    return Some(Found::Packets);
                }
                self.spare.push(transfer);
            } else if self.flight == Some(transfer.id) {
                self.flight = None;
                self.shown = transfer;
                return Some(Found::Transfer);
            }
        }
        if self.connection.is_some_and(|plugs| !self.host.is_plugged() || plugs != self.host.counters().plugs)
            && !self.is_gone_said
        {
            self.is_gone_said = true;
            return Some(Found::Gone);
        }
        if self.stopping.is_some_and(|until| self.streaming.is_empty() || until <= self.now) {
            self.stopping = None;
            // What comes yet is nobody's.
            self.streaming.clear();
            self.first_id = self.next_id;
            return Some(Found::End(Ok(())));
        }
        let (_, job) = self.job.take_if(|(at, _)| *at <= self.now)?;
        self.work(job)
    }

    fn keep(&mut self, transfer: Transfer, iso: bool) {
        if iso {
            self.spare.push(transfer);
        }
    }

    fn work(&mut self, job: Job) -> Option<Found> {
        Some(Found::End(match job {
            Job::End(end) => end,
            Job::Alternate(alternate) => self
                .check()
                .and_then(|()| self.host.set_interface(DEPTH_INTERFACE, alternate, self.now))
                .map_err(failure),
            Job::ClearHalt(endpoint) => {
                self.check().and_then(|()| self.host.clear_halt(endpoint, self.now)).map_err(failure)
            }
            Job::Open { serial, resets } => {
                if resets && self.host.is_plugged() && self.host.reset(self.now) == Err(Fault::NotFound) {
                    // It comes back as another device, and is not reset once more.
                    self.job_in(AGAIN_TIME, Job::Open { serial, resets: false });
                    return None;
                }
                match self.open(serial.as_deref()) {
                    Ok(()) => return Some(Found::Opened),
                    Err(failure) => Err(failure),
                }
            }
        }))
    }

    fn open(&mut self, serial: Option<&str>) -> Result<(), Failure> {
        if !self.host.is_plugged() {
            return Err(Failure::Trouble(Trouble::NotFound));
        }
        if let Some(serial) = serial.filter(|serial| *serial != self.serial) {
            return Err(Failure::Trouble(Trouble::SerialNotFound(Name::new(serial))));
        }
        if self.host.speed() == Speed::High {
            return Err(Failure::Trouble(Trouble::SlowLink { mbit: MBIT_HIGH }));
        }
        for interface in [CONTROL_INTERFACE, DEPTH_INTERFACE] {
            self.host.claim(interface, self.now).map_err(failure)?;
        }
        self.connection = Some(self.host.counters().plugs);
        if let Err(fault) = self.host.set_interface(DEPTH_INTERFACE, 0, self.now) {
            self.close();
            return Err(failure(fault));
        }
        Ok(())
    }

    /// Whether the sensor that is open is the one that is there.
    fn check(&self) -> Result<(), Fault> {
        let same = self.host.is_plugged() && self.connection == Some(self.host.counters().plugs);
        if same { Ok(()) } else { Err(Fault::Gone) }
    }

    fn event(&self, found: Found) -> Event<'_> {
        match found {
            Found::Gone => Event::Gone,
            Found::Packets => Event::Packets(self.returned.as_ref().unwrap_or(&self.shown)),
            Found::Opened => Event::Done(Done::Opened { serial: &self.serial, speed_mbit: MBIT_SUPER }),
            Found::End(end) => Event::Done(end.map_or_else(Done::Failed, |()| Done::Ok)),
            Found::Transfer => Event::Done(match self.shown.status {
                Ok(()) if self.shown.inward() => Done::Received(self.shown.received()),
                Ok(()) => Done::Ok,
                Err(Fault::Cancelled) => Done::Cancelled,
                Err(fault) => Done::Failed(failure(fault)),
            }),
        }
    }
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcess")
            .field("now", &self.now)
            .field("host", &self.host)
            .field("job", &self.job)
            .field("flight", &self.flight)
            .field("streaming", &self.streaming.len())
            .finish_non_exhaustive()
    }
}

/// An [`Event`] without what it points to.
#[derive(Debug)]
enum Found {
    Transfer,
    End(Result<(), Failure>),
    Opened,
    Packets,
    Gone,
}

fn failure(fault: Fault) -> Failure {
    match fault {
        Fault::Gone => Failure::Gone,
        Fault::Stall => Failure::Stall,
        Fault::NoMemory => Failure::NoMemory,
        Fault::NoBandwidth => Failure::NoBandwidth,
        other => Failure::Io(other.errno()),
    }
}

/// What jobs take, about as on a real bus.
const OPEN_TIME: Duration = Duration::from_millis(150);
const CALL_TIME: Duration = Duration::from_millis(1);
const PREPARE_TIME: Duration = Duration::from_millis(30);
/// From a reset that made another device of the sensor to the second look for it.
const AGAIN_TIME: Duration = Duration::from_secs(1);
/// How long transfers may take to come back.
const STOP_TIME: Duration = Duration::from_millis(500);
const MBIT_HIGH: u32 = 480;
const MBIT_SUPER: u32 = 5000;

#[cfg(test)]
mod tests;
