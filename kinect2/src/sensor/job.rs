//! Calls that may block, one at a time, each on a thread of its own that ends with it.

use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fmt, io};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::hands::{Replies, failure};
use crate::depth::{self, Decoder, Intrinsics, Tables};
use crate::diagnosis::{SPEED_MIN, fits_usbfs};
use crate::driver::{Failure, Name, Trouble};
use crate::protocol::{CONFIGURATION, CONTROL_INTERFACE, DEPTH_INTERFACE, PACKET_BYTES};
use crate::sysfs::{self, Found, Roots};
use crate::usbfs::{Device, Node, Ticket, Urb};

/// What is to be done.
#[derive(Debug)]
pub(super) enum Job {
    /// Find, diagnose, open, reset, find again, claim, select the idle setting.
    Open {
        /// Closed first.
        old: Option<Node>,
        serial: Option<String>,
        roots: Roots,
        packets: usize,
        transfers: usize,
    },
    Alternate(Device, u8),
    ClearHalt(Device, u8),
    /// End a request.
    Discard(Device, Ticket),
    /// Make a decoder if there are settings for one; else only look whether it could be made.
    Prepare(Replies, Option<depth::Settings>),
    Close(Node),
}

/// How it went.
pub(super) enum Outcome {
    Opened {
        opened: Result<Opened, Failure>,
        returned: Vec<Urb>,
    },
    Closed {
        returned: Vec<Urb>,
    },
    Prepared(Result<(Replies, Option<Box<Decoder>>), Failure>),
    Called(Result<(), Failure>),
    /// The request has ended and can be reaped.
    Discarded,
}

/// A sensor that is ours.
pub(super) struct Opened {
    pub(super) device: Device,
    pub(super) serial: String,
    pub(super) speed_mbit: u32,
}

/// The one job, if there is one.
pub(super) struct Jobs {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    outcome: Mutex<Option<Outcome>>,
    /// Readable when the outcome is there.
    event: EventFd,
}

impl Jobs {
    pub(super) fn new() -> io::Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Jobs { shared: Arc::new(Shared { outcome: Mutex::new(None), event }), thread: None })
    }

    /// Starts a job; there must be none.
    pub(super) fn start(&mut self, job: Job) -> io::Result<()> {
        debug_assert!(self.thread.is_none(), "one at a time");
        let shared = Arc::clone(&self.shared);
        let run = move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| job.run()))
                .unwrap_or(Outcome::Called(Err(failure(Errno::EIO))));
            *shared.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
            // It can only fail if the counter is full, and then the other side is awake.
            let _ = shared.event.write(1);
        };
        self.thread = Some(thread::Builder::new().name("kinect-usb".to_owned()).spawn(run)?);
        Ok(())
    }

    /// Whether there is a job, done or not.
    pub(super) fn is_running(&self) -> bool {
        self.thread.is_some()
    }

    /// The outcome of the job, once it is done.
    pub(super) fn take(&mut self) -> Option<Outcome> {
        self.thread.as_ref()?;
        let outcome = self.shared.outcome.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        // Nothing but writing the event is left for it to do.
        let _ = self.thread.take()?.join();
        let _ = self.shared.event.read();
        Some(outcome)
    }
}

impl AsFd for Jobs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.event.as_fd()
    }
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jobs").field("running", &self.thread.is_some()).finish_non_exhaustive()
    }
}

impl Job {
    fn run(self) -> Outcome {
        match self {
            Job::Open { old, serial, roots, packets, transfers } => {
                let returned = old.map(close).unwrap_or_default();
                let opened = open(&roots, serial.as_deref(), packets, transfers);
                Outcome::Opened { opened, returned }
            }
            Job::Alternate(device, alternate) => {
                Outcome::Called(device.set_interface(DEPTH_INTERFACE, alternate).map_err(failure))
            }
            Job::ClearHalt(device, endpoint) => Outcome::Called(device.clear_halt(endpoint).map_err(failure)),
            Job::Discard(device, ticket) => {
                device.discard(ticket);
                Outcome::Discarded
            }
            Job::Prepare(replies, decode) => {
                Outcome::Prepared(prepare(&replies, decode).map(|decoder| (replies, decoder)))
            }
            Job::Close(node) => Outcome::Closed { returned: close(node) },
        }
    }
}

/// How long a sensor may take to come back after a reset: about three seconds were seen.
const RETURN_WAIT: Duration = Duration::from_secs(5);
/// How often it is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

fn open(roots: &Roots, serial: Option<&str>, packets: usize, transfers: usize) -> Result<Opened, Failure> {
    let found = find(roots, serial).map_err(Failure::Trouble)?;
    if (1..SPEED_MIN).contains(&found.speed_mbit) {
        return Err(Failure::Trouble(Trouble::SlowLink { mbit: found.speed_mbit }));
    }
    let device = Device::open(&found.node).map_err(open_failure)?;
    if let Some((_, driver)) = found.owner() {
        return Err(Failure::Trouble(owned_by(driver)));
    }
    if !fits_usbfs(roots, packets, transfers) {
        return Err(Failure::Trouble(Trouble::UsbfsMemory));
    }
    let (device, found) = reset(roots, device, found)?;
    match found.interval_bytes() {
        Some(bytes) if (bytes as usize) < PACKET_BYTES => {
            return Err(Failure::Trouble(Trouble::SmallPackets { bytes }));
        }
        _ => {}
    }
    if found.configuration != Some(CONFIGURATION) {
        device.set_configuration(CONFIGURATION).map_err(failure)?;
    }
    for interface in [CONTROL_INTERFACE, DEPTH_INTERFACE] {
        match device.claim(interface) {
            Ok(()) => {}
            Err(Errno::EBUSY) => {
                let driver = device.driver(interface).ok().flatten();
                return Err(Failure::Trouble(owned_by(driver.as_deref().unwrap_or("usbfs"))));
            }
            Err(error) => return Err(failure(error)),
        }
    }
    device.set_interface(DEPTH_INTERFACE, 0).map_err(failure)?;
    Ok(Opened { device, speed_mbit: found.speed_mbit, serial: found.serial.unwrap_or_default() })
}

fn find(roots: &Roots, serial: Option<&str>) -> Result<Found, Trouble> {
    let bus = sysfs::find(roots).map_err(|_| Trouble::NoUsbfs)?;
    let none = match serial {
        Some(serial) if !bus.sensors.is_empty() => Trouble::SerialNotFound(Name::new(serial)),
        _ if bus.adaptor => Trouble::NoPower,
        _ => Trouble::NotFound,
    };
    bus.sensors.into_iter().find(|found| serial.is_none() || found.serial.as_deref() == serial).ok_or(none)
}

/// Resets a sensor, without which one that was not closed properly takes no commands. It may come back as another device:
/// then that is opened, and not reset again.
fn reset(roots: &Roots, device: Device, before: Found) -> Result<(Device, Found), Failure> {
    match device.reset() {
        Ok(()) => {}
        Err(Errno::ENODEV | Errno::ENOENT | Errno::ESHUTDOWN) => {
            drop(device);
            return open_again(roots, &before);
        }
        Err(error) => return Err(failure(error)),
    }
    match same(roots, &before) {
        Some(found) if found.node == before.node => Ok((device, found)),
        _ => {
            drop(device);
            open_again(roots, &before)
        }
    }
}

/// The sensor with the serial number of another look, or in its place if it has none.
fn same(roots: &Roots, before: &Found) -> Option<Found> {
    let sensors = sysfs::find(roots).ok()?.sensors;
    sensors.into_iter().find(|found| match &before.serial {
        Some(serial) => found.serial.as_ref() == Some(serial),
        None => found.sysfs == before.sysfs,
    })
}

fn open_again(roots: &Roots, before: &Found) -> Result<(Device, Found), Failure> {
    let until = Instant::now() + RETURN_WAIT;
    let mut last = Failure::Gone;
    while Instant::now() < until {
        if let Some(found) = same(roots, before) {
            match Device::open(&found.node) {
                Ok(device) => return Ok((device, found)),
                // Not its node any more, or not yet; right after it appears udev has not set its group.
                Err(error) => last = open_failure(error),
            }
        }
        thread::sleep(LOOK_AGAIN);
    }
    Err(last)
}

fn open_failure(error: Errno) -> Failure {
    match error {
        Errno::EACCES | Errno::EPERM => Failure::Trouble(Trouble::NoPermission),
        Errno::ENODEV => Failure::Gone,
        other => Failure::Trouble(Trouble::OpenFailed(other as i32)),
    }
}

fn owned_by(driver: &str) -> Trouble {
    Trouble::OwnedBy(Name::new(match driver {
        "usbfs" => "another program",
        driver => driver,
    }))
}

fn prepare(replies: &Replies, decode: Option<depth::Settings>) -> Result<Option<Box<Decoder>>, Failure> {
    let lens = Intrinsics::from_reply(&replies.lens).map_err(Failure::BadTables)?;
    let tables = Tables::from_p0_reply(&replies.p0, &lens).map_err(Failure::BadTables)?;
    let Some(decode) = decode else { return Ok(None) };
    // The settings were checked when the sensor was made.
    let decoder = Decoder::new(&tables, decode).map_err(|_| failure(Errno::EINVAL))?;
    Ok(Some(Box::new(decoder)))
}

/// Gives the interfaces back, closes, and returns the requests that were pending.
fn close(node: Node) -> Vec<Urb> {
    // Errors mean that the device is gone, or that they were not ours.
    for interface in [DEPTH_INTERFACE, CONTROL_INTERFACE] {
        let _ = node.device().release(interface);
    }
    node.close().collect()
}
