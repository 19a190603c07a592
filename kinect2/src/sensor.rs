//! A sensor in somebody's event loop: the machines of this crate, with the hands that they lack.
//!
//! ```text
//!            ┌ node, writable ─▶ reap ─▶ packets ─▶ Stream ─▶ Decoder ─▶ finish()
//! the loop ──┤                    ▲ │
//!   turn()   │          resubmit ─┘ └─▶ replies ─▶ Driver ─▶ what to do next
//!            └ job_fd, readable ─────▶ jobs done ─┘
//! ```
//!
//! The loop watches two descriptors and a deadline, whatever polls for it, and calls [`Sensor::turn`]. Nothing in here
//! blocks but what a short-lived thread named `kinect-usb` does: open, reset, claim, alternate settings, close, and the
//! tables of a sensor not seen before. While frames come there is no thread, and nothing is allocated.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;

use crate::depth::{self, FinishError, SettingsError};
use crate::driver::{self, Action, Done, Driver, Identity, State, Trouble};
use crate::stream::{self, FrameInfo, PacketStatus, Stream, Target};
use crate::sysfs::Roots;
use crate::usbfs::{MAX_PACKETS, Urb};

use hands::{Hands, Reaped};
use job::Jobs;

// What does as the driver says.
mod hands;

// What blocks, on its own thread.
mod job;

/// How a sensor is to be driven.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Which sensor; the first on the bus if `None`.
    pub serial: Option<String>,
    /// Where sysfs and devfs are.
    pub roots: Roots,
    /// Packets in an isochronous transfer, 1 to [`MAX_PACKETS`] (8): one is an eighth of a millisecond. The kernel copies
    /// each transfer through one contiguous block of memory: 512 KiB for 8 packets, 256 KiB for 7, 128 KiB for 3.
    pub packets: usize,
    /// Isochronous transfers in the queue, 1 to [`MAX_TRANSFERS`] (60). `packets * transfers / 8` is how many milliseconds
    /// the loop may be away before packets are lost.
    pub transfers: usize,
    /// What to make of the frames.
    pub decode: depth::Settings,
    /// Collect raw frames instead of decoding them (false).
    pub raw: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            serial: None,
            roots: Roots::default(),
            packets: 8,
            transfers: 60,
            decode: depth::Settings::default(),
            raw: false,
        }
    }
}

impl Settings {
    /// Whether the values can be used.
    ///
    /// # Errors
    /// `InvalidInput`, whose text says which cannot.
    pub fn check(&self) -> io::Result<()> {
        let invalid = |text: String| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        if !(1..=MAX_PACKETS).contains(&self.packets) {
            return invalid(format!("{} packets in a transfer: must be 1 to {MAX_PACKETS}", self.packets));
        }
        if !(1..=MAX_TRANSFERS).contains(&self.transfers) {
            return invalid(format!("{} transfers: must be 1 to {MAX_TRANSFERS}", self.transfers));
        }
        self.decode.check().or_else(|error| invalid(error.to_string()))
    }
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Turn {
    /// A frame is complete: [`Sensor::finish`] or [`Sensor::raw_frame`] have it until the next turn, which is due at once.
    Frame(FrameInfo),
    /// There may be more to do at once; a good moment for others first.
    More,
    /// Nothing to do before one of the descriptors or the deadline says so.
    Idle,
}

/// What happened to transfers since the sensor was made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Isochronous transfers that came back with packets.
    pub transfers: u64,
    /// Isochronous transfers that came back with an error as a whole, while streaming.
    pub failed_transfers: u64,
    /// Isochronous transfers that the kernel did not take; they are tried again.
    pub refused_transfers: u64,
    /// Errno when a transfer was not taken last; 0 if that never was. Of one that has left the bus it is `ENODEV`, and
    /// is not counted.
    pub last_refusal: i32,
    /// How often no isochronous transfer was pending while there should have been.
    pub dry: u64,
    /// Requests that got lost with a node and were allocated anew.
    pub replaced: u64,
    /// Requests that the kernel named without having been given them.
    pub strays: u64,
    /// Calls that may block, each on a thread of its own.
    pub jobs: u64,
}

/// A Kinect v2, plugged in or not.
#[derive(Debug)]
pub struct Sensor {
    driver: Driver,
    stream: Stream,
    hands: Hands,
    /// The transfer whose packets are being looked at, the packet that is next, and when it was reaped.
    current: Option<(Urb, usize, Duration)>,
    /// Whether the target holds a frame that may be asked for.
    frame: bool,
}

impl Sensor {
    /// Allocates everything but the decoder, which needs the sensor's tables. Nothing is opened before the first turn.
    ///
    /// * `now`: the host's monotonic time, as in all calls.
    ///
    /// # Errors
    /// See [`Settings::check`]; also if the process may not have another descriptor.
    pub fn new(settings: Settings, now: Duration) -> io::Result<Self> {
        settings.check()?;
        Ok(Sensor {
            driver: Driver::new(settings.serial.clone(), now),
            stream: Stream::new(),
            hands: Hands::new(settings, Jobs::new()?),
            current: None,
            frame: false,
        })
    }

    /// Readable when a job is done. The same all the time; closed with the sensor.
    #[must_use]
    pub fn job_fd(&self) -> BorrowedFd<'_> {
        self.hands.jobs.as_fd()
    }

    /// The open device: writable when transfers can be reaped. To be looked at after each turn: with another generation
    /// it is another descriptor, perhaps with the same number. The one before is closed then, or will be; taking it out of
    /// the poll may fail with `EBADF` or `ENOENT`, which means nothing.
    #[must_use]
    pub fn node(&self) -> Option<(u64, RawFd)> {
        let node = self.hands.node.as_ref()?;
        Some((self.hands.generation, node.as_fd().as_raw_fd()))
    }

    /// Does what is due: reaps at most [`REAP_MAX`] transfers, decodes and resubmits them, and steps the driver. To be
    /// called when a descriptor is ready, at the deadline, and again after anything but [`Turn::Idle`].
    ///
    /// A frame that is not asked for before the next turn is lost, and only that.
    pub fn turn(&mut self, now: Duration) -> Turn {
        self.frame = false;
        self.hands.look_at_clock(now);
        if let Some(info) = self.packets(now) {
            return Turn::Frame(info);
        }
        if let Some(outcome) = self.hands.jobs.take() {
            let Sensor { driver, hands, .. } = self;
            hands.job_done(outcome, now, |done| driver.done(done, now));
        }
        let mut turn = Turn::More;
        for _ in 0..REAP_MAX {
            match self.hands.reap(now) {
                Reaped::Depth(urb) => {
                    if let Some(info) = self.depth(urb, now) {
                        return Turn::Frame(info);
                    }
                }
                Reaped::Command(urb) => {
                    let Sensor { driver, hands, .. } = self;
                    hands.command_done(urb, |done| driver.done(done, now));
                }
                Reaped::Stray => {}
                Reaped::Nothing => {
                    turn = Turn::Idle;
                    break;
                }
                Reaped::Gone => {
                    let Sensor { driver, hands, .. } = self;
                    hands.gone(|done| driver.done(done, now));
                    driver.gone();
                    turn = Turn::Idle;
                    break;
                }
            }
        }
        self.hands.refill(now);
        if self.hands.stopped(now) {
            self.driver.done(Done::Ok, now);
        }
        if self.step(now) { turn } else { Turn::More }
    }

    /// The frame of the turn before, in millimetres. See [`depth::Decoder::finish`].
    ///
    /// # Errors
    /// [`FinishError::Incomplete`] if that turn was not [`Turn::Frame`] or frames are collected raw; otherwise the
    /// decoder's.
    pub fn finish(&mut self, depth: &mut [u16], infrared: Option<&mut [u16]>) -> Result<(), FinishError> {
        match &mut self.hands.target {
            Some(Target::Decode(decoder)) if self.frame => decoder.finish(depth, infrared),
            _ => Err(FinishError::Incomplete { sub_image: 0, row: 0 }),
        }
    }

    /// The frame of the turn before as the sensor sent it: ten sub-images one after the other. `None` unless that turn was
    /// [`Turn::Frame`] and [`Settings::raw`] is set.
    #[must_use]
    pub fn raw_frame(&self) -> Option<&[u8]> {
        match &self.hands.target {
            Some(Target::Raw(bytes)) if self.frame => Some(bytes),
            _ => None,
        }
    }

    /// What the sensor said of itself, for recordings: its replies with the P0 tables and the lens of the depth camera, as
    /// they came. `None` before the first start.
    #[must_use]
    pub fn replies(&self) -> Option<(&[u8], &[u8])> {
        self.hands.replies.as_ref().map(|replies| (replies.p0.as_slice(), replies.lens.as_slice()))
    }

    /// When a turn is due although no descriptor is ready.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        [self.driver.deadline(), self.hands.deadline()].into_iter().flatten().min()
    }

    /// As given, and changed by [`Sensor::set`].
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.hands.settings
    }

    /// Changes what is made of frames, from the next one on that begins; also for decoders still to come.
    ///
    /// # Errors
    /// See [`depth::Settings::check`]; nothing changes then.
    pub fn set(&mut self, decode: depth::Settings) -> Result<(), SettingsError> {
        decode.check()?;
        self.hands.settings.decode = decode;
        match &mut self.hands.target {
            Some(Target::Decode(decoder)) => decoder.set(decode),
            Some(Target::Raw(_)) | None => Ok(()),
        }
    }

    /// What the driver is at.
    #[must_use]
    pub fn state(&self) -> State {
        self.driver.state()
    }

    /// Why there are no frames now.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        self.driver.trouble()
    }

    /// Which sensor it is; `None` before the first start.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.driver.identity()
    }

    /// The driver's account.
    #[must_use]
    pub fn driver_counters(&self) -> &driver::Counters {
        self.driver.counters()
    }

    /// The account of packets and frames.
    #[must_use]
    pub fn stream_counters(&self) -> &stream::Counters {
        self.stream.counters()
    }

    /// The account of transfers.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.hands.counters
    }

    /// Fewest isochronous transfers waiting for packets since the stream was started. Transfers already complete, by the
    /// clock at the start of a turn or by how many it then reaped, and those the kernel refused do not count.
    #[must_use]
    pub fn queue_low(&self) -> usize {
        self.hands.queue_low
    }

    /// Begins to stop in order, which takes at most half a second; go on with turns until [`Sensor::is_shut_down`].
    pub fn shut_down(&mut self, now: Duration) {
        self.driver.shut_down(now);
        self.step(now);
    }

    /// Whether nothing is left to do.
    #[must_use]
    pub fn is_shut_down(&self) -> bool {
        self.driver.state() == State::ShutDown
    }

    /// Takes an isochronous transfer that came back, up to the end of a frame.
    fn depth(&mut self, urb: Urb, now: Duration) -> Option<FrameInfo> {
        match urb.status() {
            // Discarded: when stopping, or left over from a stop that was not waited for.
            Err(Errno::ENOENT | Errno::ECONNRESET) => {
                self.hands.resubmit(urb);
                None
            }
            // The end is near: reaping will say so.
            Err(Errno::ENODEV | Errno::ESHUTDOWN) => {
                self.hands.idle.push_back(urb);
                None
            }
            _ if !self.hands.streaming => {
                self.hands.idle.push_back(urb);
                None
            }
            status => {
                self.hands.counters.transfers += 1;
                self.hands.counters.failed_transfers += u64::from(status.is_err());
                self.driver.completion(now);
                self.current = Some((urb, 0, now));
                self.packets(now)
            }
        }
    }

    /// Looks at the packets that are left of the current transfer, up to the end of a frame, then resubmits it.
    fn packets(&mut self, now: Duration) -> Option<FrameInfo> {
        let (urb, next, reaped) = self.current.as_mut()?;
        let streaming = self.hands.streaming;
        if let Some(target) = self.hands.target.as_mut().filter(|_| streaming) {
            while let Some((status, bytes)) = urb.packet(*next) {
                *next += 1;
                let status = if status.is_ok() { PacketStatus::Good } else { PacketStatus::Bad };
                let info = self.stream.packet(*reaped, status, bytes, target);
                if info.is_some() {
                    self.driver.frame(now);
                    self.frame = true;
                    return info;
                }
            }
        }
        let (urb, ..) = self.current.take()?;
        self.hands.resubmit(urb);
        None
    }

    /// Does what the driver wants done until it waits for something; whether it does.
    fn step(&mut self, now: Duration) -> bool {
        let Sensor { driver, stream, hands, .. } = self;
        for _ in 0..STEPS_MAX {
            let Some(action) = driver.next(now) else { return true };
            if matches!(action, Action::StartStream) {
                stream.restart();
            }
            if let Some(done) = hands.perform(action, now) {
                driver.done(done, now);
            }
        }
        false
    }
}

/// Most transfers that one turn reaps: 16 ms of the stream in transfers of 8 packets, decoded in a third of that time.
pub const REAP_MAX: usize = 16;
/// Most transfers in the queue: a second of the stream in transfers of 8 packets.
pub const MAX_TRANSFERS: usize = 1024;
/// More steps than the driver ever takes without waiting; a bound all the same.
const STEPS_MAX: usize = 64;
#[cfg(test)]
mod tests;
