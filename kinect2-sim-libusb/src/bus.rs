//! The bus with the simulated sensor: what is in flight, what is done, who waits. Pointers of C's are only numbers here.
//!
//! There is no thread of its own: whoever waits, for events or for an answer, moves the model on.

use std::collections::VecDeque;
use std::ffi::c_int;
use std::fmt;
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kinect2::protocol::Setup;
use kinect2_sim::device::{Fault, Options, Speed};
use kinect2_sim::host::{Host, Pace, Transfer};

use crate::abi::{Error, IsoPacket, status};

/// The bus of one process, or of one test.
pub(crate) struct Bus {
    state: Mutex<State>,
    /// Something was submitted, cancelled or completed, or a context is free for another thread to handle.
    changed: Condvar,
    start: Instant,
}

/// A sensor on the bus.
pub(crate) struct Present {
    pub(crate) bus: u8,
    pub(crate) address: u8,
    /// libusb's number: 3 is USB 2, 4 is USB 3.
    pub(crate) speed: c_int,
    pub(crate) descriptor: [u8; 18],
    pub(crate) configuration: Vec<u8>,
}

/// What is to be transferred, and for whom.
pub(crate) struct Request<'a> {
    /// The handle's number.
    pub(crate) handle: u64,
    /// The address of the device that it opened.
    pub(crate) address: u8,
    pub(crate) endpoint: u8,
    pub(crate) shape: Shape<'a>,
    pub(crate) timeout: Option<Duration>,
}

/// What a transfer carries.
#[derive(Clone, Copy)]
pub(crate) enum Shape<'a> {
    /// A control request, with data if it goes out.
    Control { setup: Setup, data: &'a [u8] },
    /// Bulk bytes to the device.
    Out(&'a [u8]),
    /// Up to so many bulk bytes from the device.
    In(usize),
    /// Packets of these lengths from the device.
    Isochronous(&'a [IsoPacket]),
}

/// Who gets a transfer back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Owner {
    /// The context in which it is called back.
    pub(crate) context: u64,
    /// What the caller knows it by.
    pub(crate) token: usize,
}

/// A transfer that is over.
pub(crate) struct Done {
    pub(crate) token: usize,
    /// `abi::status::…`
    pub(crate) status: c_int,
    transfer: Transfer,
}

struct State {
    host: Host,
    /// In the order of submission.
    flights: Vec<Flight>,
    /// In the order of completion.
    done: VecDeque<(Flight, Transfer)>,
    /// Contexts whose events a thread is handling.
    handling: Vec<u64>,
    /// For use again.
    spare: Vec<Transfer>,
    /// Interfaces and the handles that have claimed them.
    claims: Vec<(u8, u64)>,
    /// Numbers given out so far.
    numbers: u64,
}

#[derive(Clone, Copy)]
struct Flight {
    id: u64,
    handle: u64,
    /// `None` is a synchronous one: whoever submitted it waits for it.
    owner: Option<Owner>,
    deadline: Option<Duration>,
    timed_out: bool,
}

impl Bus {
    pub(crate) fn new(options: Options, pace: Pace) -> Self {
        let state = State {
            host: Host::new(options, pace),
            flights: Vec::new(),
            done: VecDeque::new(),
            handling: Vec::new(),
            spare: Vec::new(),
            claims: Vec::new(),
            numbers: 0,
        };
        Bus { state: Mutex::new(state), changed: Condvar::new(), start: Instant::now() }
    }

    /// A number that nothing else on this bus has: for a context, a handle or a transfer. Never 0.
    pub(crate) fn number(&self) -> u64 {
        let mut state = self.lock();
        state.numbers += 1;
        state.numbers
    }

    /// The sensor, if it is plugged in.
    pub(crate) fn present(&self) -> Option<Present> {
        let mut state = self.lock();
        state.advance(self.now());
        let host = &state.host;
        host.is_plugged().then(|| Present {
            bus: BUS,
            address: address(host),
            speed: match host.speed() {
                Speed::High => 3,
                Speed::Super => 4,
            },
            descriptor: host.device().device_descriptor(),
            configuration: host.device().config_descriptor().to_vec(),
        })
    }

    /// Whether the device with this address is still there.
    pub(crate) fn check(&self, address: u8) -> Result<(), Error> {
        self.lock().check(address, self.now())
    }

    /// Sends a transfer off for its owner.
    pub(crate) fn submit(&self, id: u64, owner: Owner, request: Request<'_>) -> Result<(), Error> {
        let mut state = self.lock();
        state.submit(id, Some(owner), request, self.now())?;
        self.changed.notify_all();
        Ok(())
    }

    /// Asks for the end of a transfer that is in flight.
    pub(crate) fn cancel(&self, id: u64) -> Result<(), Error> {
        let mut state = self.lock();
        if !state.flights.iter().any(|flight| flight.id == id) {
            return Err(Error::NotFound);
        }
        let now = self.now();
        state.host.cancel(id, now);
        state.advance(now);
        self.changed.notify_all();
        Ok(())
    }

    /// Transfers, waits, and hands what was received to `with`. Answers how many bytes went either way.
    pub(crate) fn perform(&self, request: Request<'_>, with: impl FnOnce(&[u8])) -> Result<usize, Error> {
        let mut state = self.lock();
        state.numbers += 1;
        let id = state.numbers;
        state.submit(id, None, request, self.now())?;
        self.changed.notify_all();
        loop {
            state.advance(self.now());
            if let Some(at) = state.done.iter().position(|(flight, _)| flight.id == id) {
                let (flight, transfer) = state.done.remove(at).expect("just found");
                let mut done = Done::new(flight, transfer);
                let result = match done.status {
                    status::COMPLETED => Ok(done.actual()),
                    status::TIMED_OUT => Err(Error::Timeout),
                    status::STALL => Err(Error::Pipe),
                    status::NO_DEVICE => Err(Error::NoDevice),
                    status::OVERFLOW => Err(Error::Overflow),
                    _ => Err(Error::Io),
                };
                if result.is_ok() {
                    with(done.received());
                }
                state.spare.push(mem::take(&mut done.transfer));
                return result;
            }
            state = self.sleep(state, None);
        }
    }

    /// Waits for transfers of a context to complete; `None` if none does in time. While the turn lasts, other threads
    /// that want to handle this context's events wait.
    pub(crate) fn wait(&self, context: u64, timeout: Duration) -> Option<Turn<'_>> {
        let until = self.now() + timeout;
        let mut state = self.lock();
        loop {
            state.advance(self.now());
            if !state.handling.contains(&context) {
                let count = state.done.iter().filter(|(flight, _)| flight.is_of(context)).count();
                if count > 0 {
                    state.handling.push(context);
                    return Some(Turn { bus: self, context, count });
                }
            }
            if self.now() >= until {
                return None;
            }
            state = self.sleep(state, Some(until));
        }
    }

    /// Keeps a transfer's memory for the next.
    pub(crate) fn recycle(&self, done: &mut Done) {
        self.lock().spare.push(mem::take(&mut done.transfer));
    }

    /// Claims an interface for a handle; it may have it already.
    pub(crate) fn claim(&self, handle: u64, address: u8, interface: c_int) -> Result<(), Error> {
        let mut state = self.lock();
        let now = self.now();
        state.check(address, now)?;
        let number = number(interface)?;
        if state.claims.contains(&(number, handle)) {
            return Ok(());
        }
        state.host.claim(number, now).map_err(error)?;
        state.claims.push((number, handle));
        Ok(())
    }

    /// Gives an interface back.
    pub(crate) fn release(&self, handle: u64, address: u8, interface: c_int) -> Result<(), Error> {
        let mut state = self.lock();
        let now = self.now();
        let number = number(interface)?;
        state.claimed(handle, number)?;
        state.claims.retain(|claim| *claim != (number, handle));
        state.check(address, now)?;
        state.host.release(number, now).map_err(error)?;
        self.changed.notify_all();
        Ok(())
    }

    /// Selects an alternate setting of a claimed interface.
    pub(crate) fn set_interface(
        &self,
        handle: u64,
        address: u8,
        interface: c_int,
        alternate: c_int,
    ) -> Result<(), Error> {
        let mut state = self.lock();
        let now = self.now();
        state.check(address, now)?;
        let interface = number(interface)?;
        state.claimed(handle, interface)?;
        state.host.set_interface(interface, number(alternate)?, now).map_err(lookup)?;
        self.changed.notify_all();
        Ok(())
    }

    /// Ends an endpoint's halt.
    pub(crate) fn clear_halt(&self, address: u8, endpoint: u8) -> Result<(), Error> {
        let mut state = self.lock();
        let now = self.now();
        state.check(address, now)?;
        state.host.clear_halt(endpoint, now).map_err(lookup)
    }

    /// Whether any interface is claimed.
    pub(crate) fn is_claimed(&self) -> bool {
        !self.lock().claims.is_empty()
    }

    /// Resets the device. Its interfaces stay claimed, in their first setting.
    pub(crate) fn reset(&self, address: u8) -> Result<(), Error> {
        let mut state = self.lock();
        let now = self.now();
        state.check(address, now)?;
        let result = state.host.reset(now).map_err(error);
        self.changed.notify_all();
        result
    }

    /// Releases what a handle has claimed, and forgets its transfers; answers the tokens of these.
    pub(crate) fn close(&self, handle: u64) -> Vec<usize> {
        let mut state = self.lock();
        let now = self.now();
        let flights = mem::take(&mut state.flights);
        let (its, others): (Vec<Flight>, _) = flights.into_iter().partition(|flight| flight.handle == handle);
        state.flights = others;
        for flight in &its {
            state.host.cancel(flight.id, now);
        }
        let done = mem::take(&mut state.done);
        let (over, others): (Vec<_>, _) = done.into_iter().partition(|(flight, _)| flight.handle == handle);
        state.done = others.into();
        let claims = mem::take(&mut state.claims);
        let (claimed, others): (Vec<_>, _) = claims.into_iter().partition(|(_, owner)| *owner == handle);
        state.claims = others;
        for (interface, _) in claimed {
            // Of a device that is gone there is nothing to release.
            let _ = state.host.release(interface, now);
        }
        self.changed.notify_all();
        let flights = its.into_iter().chain(over.into_iter().map(|(flight, _)| flight));
        flights.filter_map(|flight| Some(flight.owner?.token)).collect()
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until something changed, something is due, or it is `until`.
    fn sleep<'a>(&self, state: MutexGuard<'a, State>, until: Option<Duration>) -> MutexGuard<'a, State> {
        let deadlines = state.flights.iter().filter(|flight| !flight.timed_out).filter_map(|f| f.deadline);
        let wake = deadlines.chain(state.host.due()).chain(until).min();
        let Some(wake) = wake else {
            return self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        let span = wake.saturating_sub(self.now());
        self.changed.wait_timeout(state, span).unwrap_or_else(PoisonError::into_inner).0
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").finish_non_exhaustive()
    }
}

/// One thread's turn at a context's events.
pub(crate) struct Turn<'a> {
    bus: &'a Bus,
    context: u64,
    count: usize,
}

impl Turn<'_> {
    /// Transfers that were over when the turn began: those that follow wait for the next, so that it ends.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The next transfer that is over.
    pub(crate) fn take(&self) -> Option<Done> {
        let mut state = self.bus.lock();
        let at = state.done.iter().position(|(flight, _)| flight.is_of(self.context))?;
        let (flight, transfer) = state.done.remove(at)?;
        Some(Done::new(flight, transfer))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.bus.lock().handling.retain(|context| *context != self.context);
        self.bus.changed.notify_all();
    }
}

impl Flight {
    fn is_of(&self, context: u64) -> bool {
        self.owner.is_some_and(|owner| owner.context == context)
    }
}

impl State {
    /// Moves the model on, and cancels what has taken too long.
    fn advance(&mut self, now: Duration) {
        self.host.advance(now);
        for flight in &mut self.flights {
            if !flight.timed_out && flight.deadline.is_some_and(|deadline| deadline <= now) {
                flight.timed_out = true;
                self.host.cancel(flight.id, now);
            }
        }
        self.host.advance(now);
        while let Some(transfer) = self.host.completed() {
            match self.flights.iter().position(|flight| flight.id == transfer.id) {
                Some(at) => self.done.push_back((self.flights.remove(at), transfer)),
                // Its handle was closed meanwhile.
                None => self.spare.push(transfer),
            }
        }
    }

    fn check(&mut self, of: u8, now: Duration) -> Result<(), Error> {
        self.advance(now);
        let same = self.host.is_plugged() && address(&self.host) == of;
        if same { Ok(()) } else { Err(Error::NoDevice) }
    }

    fn claimed(&self, handle: u64, interface: u8) -> Result<(), Error> {
        if self.claims.contains(&(interface, handle)) { Ok(()) } else { Err(Error::NotFound) }
    }

    fn submit(
        &mut self,
        id: u64,
        owner: Option<Owner>,
        request: Request<'_>,
        now: Duration,
    ) -> Result<(), Error> {
        self.check(request.address, now)?;
        let mut transfer = self.spare.pop().unwrap_or_default();
        let endpoint = request.endpoint;
        match request.shape {
            Shape::Control { setup, data } => {
                transfer.prepare_control(id, setup);
                if !transfer.inward() {
                    let length = data.len().min(transfer.buffer.len());
                    transfer.buffer.truncate(length);
                    transfer.buffer.copy_from_slice(&data[..length]);
                }
            }
            Shape::Out(bytes) => {
                transfer.prepare_bulk(id, endpoint, bytes.len());
                transfer.buffer.copy_from_slice(bytes);
            }
            Shape::In(length) => transfer.prepare_bulk(id, endpoint, length),
            Shape::Isochronous(packets) => {
                transfer.prepare_iso(id, endpoint, packets.iter().map(|packet| packet.length as usize));
            }
        }
        if let Err((transfer, fault)) = self.host.submit(transfer, now) {
            self.spare.push(transfer);
            return Err(match (fault, request.shape) {
                // For these libusb does not tell the two apart.
                (Fault::NoMemory, Shape::Isochronous(_)) => Error::Io,
                (fault, _) => error(fault),
            });
        }
        let deadline = request.timeout.map(|timeout| now + timeout);
        self.flights.push(Flight { id, handle: request.handle, owner, deadline, timed_out: false });
        self.advance(now);
        Ok(())
    }
}

impl Done {
    fn new(flight: Flight, transfer: Transfer) -> Self {
        let status = match transfer.status {
            Err(Fault::Cancelled) if flight.timed_out => status::TIMED_OUT,
            other => status_of(other),
        };
        Done { token: flight.owner.map_or(0, |owner| owner.token), status, transfer }
    }

    /// Bytes that went over the wire.
    pub(crate) fn actual(&self) -> usize {
        self.transfer.actual
    }

    /// What came in a bulk or control transfer.
    pub(crate) fn received(&self) -> &[u8] {
        self.transfer.received()
    }

    /// What came in each packet, and its `abi::status::…`. There may be fewer than asked for: then the transfer did not
    /// take place.
    pub(crate) fn packets(&self) -> impl Iterator<Item = (&[u8], c_int)> {
        self.transfer.received_packets().map(|(bytes, status)| (bytes, status_of(status)))
    }
}

fn status_of(end: Result<(), Fault>) -> c_int {
    match end {
        Ok(()) => status::COMPLETED,
        Err(Fault::Cancelled) => status::CANCELLED,
        Err(Fault::Stall) => status::STALL,
        Err(Fault::Gone) => status::NO_DEVICE,
        Err(Fault::Overflow) => status::OVERFLOW,
        Err(_) => status::ERROR,
    }
}

/// What libusb makes of the kernel's answer.
fn error(fault: Fault) -> Error {
    match fault {
        Fault::Gone => Error::NoDevice,
        Fault::NotFound => Error::NotFound,
        Fault::NoMemory => Error::NoMem,
        Fault::Busy => Error::Busy,
        Fault::Invalid => Error::InvalidParam,
        Fault::Stall => Error::Pipe,
        Fault::Overflow => Error::Overflow,
        Fault::NoBandwidth => Error::Other,
        Fault::Error | Fault::Missed | Fault::Cancelled => Error::Io,
    }
}

/// The same for what a kernel looks up in the descriptors before it asks the device.
fn lookup(fault: Fault) -> Error {
    if fault == Fault::Stall { Error::NotFound } else { error(fault) }
}

/// Another one after each plugging in. 1 is the hub's.
fn address(host: &Host) -> u8 {
    u8::try_from(1 + host.counters().plugs % 126).expect("at most 126")
}

fn number(of: c_int) -> Result<u8, Error> {
    u8::try_from(of).map_err(|_| Error::InvalidParam)
}

/// The bus that the sensor is on.
const BUS: u8 = 2;
