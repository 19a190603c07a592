//! The model behind the node, in a kernel's terms: errno for faults.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use kinect2::protocol::Setup;
use kinect2_sim::device::{Device, Fault, Options, Speed};
use kinect2_sim::faults::Faults;
use kinect2_sim::host::{Host, Pace};
use nix::errno::Errno;

pub(crate) use kinect2_sim::host::Transfer;

/// What a transfer carries.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape<'a> {
    Control(Setup),
    /// Bytes of the buffer.
    Bulk(usize),
    /// Bytes of each packet.
    Isochronous(&'a [u32]),
}

/// How a packet ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct PacketResult {
    pub(crate) actual_length: u32,
    /// A negative errno, or 0.
    pub(crate) status: i32,
}

/// A host controller with the sensor on it.
#[derive(Debug)]
pub(crate) struct Controller {
    host: Host,
}

impl Controller {
    /// A sensor.
    ///
    /// * `frames`: `demo`, or a folder.
    ///
    /// # Errors
    /// What is wrong with the frames, for the user.
    pub(crate) fn new(serial: &str, frames: &OsStr, faults: Faults, real_time: bool) -> Result<Self, String> {
        let mut options = match frames.to_str() {
            Some("demo") => Options::demo(0),
            Some("noise") => Options::noise(0, 4),
            _ => {
                Options::folder(Path::new(frames)).map_err(|error| format!("KINECT2_SIM_FRAMES: {error}"))?
            }
        };
        serial.clone_into(&mut options.serial);
        options.faults = faults;
        let pace = if real_time { Pace::RealTime } else { Pace::Demand };
        Ok(Controller { host: Host::new(options, pace) })
    }

    /// From now on, other things go wrong.
    pub(crate) fn set_faults(&mut self, faults: Faults, now: Duration) {
        self.host.set_faults(faults, now);
    }

    pub(crate) fn device(&self) -> &Device {
        self.host.device()
    }

    pub(crate) fn usb2(&self) -> bool {
        self.host.speed() == Speed::High
    }

    pub(crate) fn submit(&mut self, transfer: Transfer, now: Duration) -> Result<(), (Errno, Transfer)> {
        self.host.submit(transfer, now).map_err(|(transfer, fault)| (errno(fault), transfer))
    }

    pub(crate) fn cancel(&mut self, id: u64, now: Duration) {
        self.host.cancel(id, now);
    }

    pub(crate) fn advance(&mut self, now: Duration) {
        self.host.advance(now);
    }

    pub(crate) fn completed(&mut self) -> Option<Transfer> {
        self.host.completed()
    }

    pub(crate) fn due(&self) -> Option<Duration> {
        self.host.due()
    }

    pub(crate) fn is_plugged(&self) -> bool {
        self.host.is_plugged()
    }

    pub(crate) fn set_interface(&mut self, interface: u8, alternate: u8, now: Duration) -> Result<(), Errno> {
        self.host.set_interface(interface, alternate, now).map_err(errno)
    }

    pub(crate) fn clear_halt(&mut self, endpoint: u8, now: Duration) -> Result<(), Errno> {
        self.host.clear_halt(endpoint, now).map_err(errno)
    }

    pub(crate) fn reset(&mut self, now: Duration) -> Result<(), Errno> {
        self.host.reset(now).map_err(errno)
    }

    pub(crate) fn control(&mut self, setup: Setup, now: Duration) -> Result<(), Errno> {
        self.host.control(setup, &mut [], now).map(drop).map_err(errno)
    }
}

/// Makes `transfer` a new one; its buffer gets the right length, and any content.
pub(crate) fn prepare(transfer: &mut Transfer, id: u64, endpoint: u8, shape: Shape<'_>) {
    match shape {
        Shape::Control(setup) => transfer.prepare_control(id, setup),
        Shape::Bulk(bytes) => transfer.prepare_bulk(id, endpoint, bytes),
        Shape::Isochronous(lengths) => {
            transfer.prepare_iso(id, endpoint, lengths.iter().map(|&length| length as usize));
        }
    }
}

/// What an URB's `status` is for a transfer: a negative errno, or 0.
pub(crate) fn status(transfer: &Transfer) -> i32 {
    match transfer.status {
        Ok(()) => 0,
        // The kernel takes what is pending off the endpoints of a device that goes with this code.
        Err(Fault::Gone) => -libc::ESHUTDOWN,
        Err(fault) => -fault.errno(),
    }
}

/// Rooms and results of the packets of an isochronous transfer. One that was never sent is so with `EXDEV`, as the
/// kernel marks all of them when they are submitted.
pub(crate) fn packets(transfer: &Transfer) -> impl Iterator<Item = (usize, PacketResult)> {
    let lengths: &[usize] = match &transfer.kind {
        kinect2_sim::host::Kind::Iso { packet_lengths } => packet_lengths,
        _ => &[],
    };
    lengths.iter().enumerate().map(|(at, &room)| {
        let unsent = PacketResult { actual_length: 0, status: -libc::EXDEV };
        let result = transfer.packets.get(at).map_or(unsent, |&(actual, result)| PacketResult {
            actual_length: u32::try_from(actual.min(room)).unwrap_or(0),
            status: match result {
                Ok(()) => 0,
                Err(Fault::Gone | Fault::Cancelled) => -libc::EXDEV,
                Err(fault) => -fault.errno(),
            },
        });
        (room, result)
    })
}

fn errno(fault: Fault) -> Errno {
    Errno::from_raw(fault.errno())
}
