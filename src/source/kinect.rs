//! A Kinect v2: the one source with a pace and a will of its own.
//!
//! The driver (`kinect2`) is stepped by the loop: whenever one of its two descriptors is ready, at its deadline, and
//! after other work. It finds, opens, starts and restarts the sensor by itself; what is left here is to tell others what
//! they need to know: that a frame is complete, when it was captured, and why there is none.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use kinect2::depth::{self, FinishError, Intrinsics, UNAMBIGUOUS_MM};
use kinect2::driver::{Firmware, Identity, Name, State, Trouble};
use kinect2::protocol::PACKET_BYTES;
use kinect2::sensor::{self, Sensor, Turn};
use kinect2::stream::FrameInfo;
use kinect2::sysfs::Roots;

use super::{Driven, Progress, SourceError, StepOfLife, when};
use crate::clock::Now;
use crate::limits::{KINECT_PACKETS_MAX, KINECT_QUEUE, KINECT_TRANSFERS_MAX};

/// How a sensor is driven and what is made of its frames: the keys `kinect.*`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Packets in an isochronous transfer, 1 to [`KINECT_PACKETS_MAX`] (8); each is an eighth of a millisecond.
    pub packets: usize,
    /// Isochronous transfers in the queue, 1 to [`KINECT_TRANSFERS_MAX`] (60).
    pub transfers: usize,
    /// Least depth in mm that is kept (500).
    pub min_mm: u16,
    /// Largest depth in mm that is kept (4500), at most [`UNAMBIGUOUS_MM`].
    pub max_mm: u16,
    /// Smooth over 3x3 pixels, except across edges (true).
    pub bilateral: bool,
    /// Drop pixels on depth edges (true).
    pub edge: bool,
    /// Subtracted from every depth (0).
    pub offset_mm: i16,
}

impl Default for Settings {
    fn default() -> Self {
        let depth::Settings { min_mm, max_mm, bilateral, edge, offset_mm, .. } = depth::Settings::default();
        Settings { packets: 8, transfers: 60, min_mm, max_mm, bilateral, edge, offset_mm }
    }
}

impl Settings {
    /// Whether the values can be used, and fit together.
    ///
    /// # Errors
    /// A text that names the keys and says what is wrong with them.
    pub fn check(&self) -> Result<(), String> {
        let Settings { packets, transfers, min_mm, max_mm, .. } = *self;
        if !(1..=KINECT_PACKETS_MAX).contains(&packets) || !(1..=KINECT_TRANSFERS_MAX).contains(&transfers) {
            return Err(format!(
                "kinect.packets and kinect.transfers: {packets} and {transfers} are not 1 to {KINECT_PACKETS_MAX} and 1 \
                 to {KINECT_TRANSFERS_MAX}"
            ));
        }
        let (least, most) = KINECT_QUEUE;
        if !(least..=most).contains(&(packets * transfers)) {
            return Err(format!(
                "kinect.packets and kinect.transfers: {packets} times {transfers} are {} packets in the queue, not {least} \
                 to {most} (8 are a millisecond)",
                packets * transfers
            ));
        }
        if self.decode().check().is_err() {
            return Err(format!(
                "kinect.min_mm and kinect.max_mm: {min_mm} to {max_mm} must lie within 1 to {UNAMBIGUOUS_MM}, least first"
            ));
        }
        Ok(())
    }

    /// The part that the decoder heeds. No infrared: that costs time and is asked for when somebody wants it.
    pub fn decode(&self) -> depth::Settings {
        let Settings { min_mm, max_mm, bilateral, edge, offset_mm, .. } = *self;
        depth::Settings { min_mm, max_mm, bilateral, edge, offset_mm, infrared: false }
    }

    /// What the driver is told.
    ///
    /// * `raw`: raw frames are wanted instead of depth.
    pub fn sensor(&self, serial: Option<String>, roots: Roots, raw: bool) -> sensor::Settings {
        let (packets, transfers, decode) = (self.packets, self.transfers, self.decode());
        sensor::Settings { serial, roots, packets, transfers, decode, raw }
    }

    /// Bytes of the queue of transfers, set aside at start.
    pub fn queue_bytes(&self) -> usize {
        self.packets * self.transfers * PACKET_BYTES
    }
}

/// A sensor, plugged in or not.
#[derive(Debug)]
pub struct Kinect {
    sensor: Sensor,
    /// The frame that the last turn completed and nobody has taken.
    frame: Option<FrameInfo>,
    /// Why there are no frames, as it was said last; `None` while they come.
    said: Option<Trouble>,
    /// A frame has come.
    started: bool,
    /// Frames have come again, or for the first time, and that is to be said.
    news: bool,
    /// Infrared was asked for.
    infrared: bool,
}

impl Kinect {
    /// Allocates the queue of transfers. Nothing is opened yet, and whether a sensor is there makes no difference.
    ///
    /// # Errors
    /// If the settings cannot be used, or the system refuses a descriptor.
    pub fn new(settings: sensor::Settings, now: Now) -> io::Result<Self> {
        let sensor = Sensor::new(settings, now.mono)?;
        Ok(Self { sensor, frame: None, said: None, started: false, news: false, infrared: false })
    }
}

impl Driven for Kinect {
    fn turn(&mut self, now: Now) -> Progress {
        self.frame = None;
        if std::mem::take(&mut self.news) {
            return Progress::Flowing { again: std::mem::replace(&mut self.started, true) };
        }
        let turn = self.sensor.turn(now.mono);
        if let Turn::Frame(info) = turn {
            self.frame = Some(info);
            self.news = self.said.take().is_some() || !self.started;
            return Progress::Frame;
        }
        if let Some(trouble) = self.sensor.trouble().filter(|trouble| self.said != Some(*trouble)) {
            let flowing = self.started && self.said.is_none();
            self.said = Some(trouble);
            let error = SourceError::Kinect(trouble);
            return if flowing { Progress::Lost(error) } else { Progress::Still(error) };
        }
        if turn == Turn::More { Progress::More } else { Progress::Idle }
    }

    fn take(&mut self, now: Now, depth: &mut [u16], infrared: Option<&mut [u16]>) -> Option<(Now, bool)> {
        let info = self.frame.take()?;
        let wanted = infrared.is_some();
        let here = match self.sensor.finish(depth, infrared) {
            // It was asked for when this frame had begun.
            Err(FinishError::NoInfrared) => self.sensor.finish(depth, None).map(|()| false),
            finished => finished.map(|()| wanted),
        };
        Some((when(now, info.first_packet), here.ok()?))
    }

    fn want_infrared(&mut self, wanted: bool) {
        self.infrared = wanted;
        let decode = depth::Settings { infrared: wanted, ..self.sensor.settings().decode };
        // They are in use but for this, which is always good.
        let _ = self.sensor.set(decode);
    }

    fn intrinsics(&self) -> Option<Intrinsics> {
        self.sensor.identity().map(|identity| identity.lens)
    }

    fn trouble(&self) -> Option<SourceError> {
        self.sensor.trouble().map(SourceError::Kinect)
    }

    fn overdue(&self) -> SourceError {
        match self.sensor.state() {
            State::Streaming => SourceError::Silent,
            _ => SourceError::Opening,
        }
    }

    fn due(&self) -> Option<Duration> {
        if self.news { Some(Duration::ZERO) } else { self.sensor.deadline() }
    }

    fn job(&self) -> RawFd {
        self.sensor.job_fd().as_raw_fd()
    }

    fn node(&self) -> Option<(u64, RawFd)> {
        self.sensor.node()
    }

    fn set(&mut self, settings: &Settings) {
        // They were checked with the configuration, and there is nobody to complain to.
        let _ = self.sensor.set(depth::Settings { infrared: self.infrared, ..settings.decode() });
    }

    fn shut_down(&mut self, now: Now) {
        self.sensor.shut_down(now.mono);
    }

    fn is_shut_down(&self) -> bool {
        self.sensor.is_shut_down()
    }

    fn step(&self) -> StepOfLife {
        StepOfLife::Usb(self.sensor.state())
    }

    fn report(&self) -> super::Report {
        let (stream, driver) = (self.sensor.stream_counters(), self.sensor.driver_counters());
        let transfers = self.sensor.counters();
        let identity = self.sensor.identity();
        super::Report::Usb(Report {
            serial: identity.map(|identity: &Identity| identity.serial),
            firmware: identity.map(|identity| identity.firmware),
            step: self.sensor.state().word(),
            packets_lost: stream.lost_packets,
            sub_images_damaged: stream.damaged_sub_images,
            frames_dropped: stream.frames_dropped,
            frames_lost: stream.frames_lost,
            // The first start is none.
            restarts: driver.started.saturating_sub(1),
            resets: driver.opened,
            transfers: self.sensor.settings().transfers,
            queue_low: self.sensor.queue_low(),
            queue_dry: transfers.dry,
            transfers_refused: transfers.refused_transfers,
        })
    }
}

/// What `/state` tells of a sensor. Counters rise from the start of the program on, whatever is plugged in or out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// Serial number, once known.
    pub serial: Option<Name>,
    /// Version of the firmware, once known.
    pub firmware: Option<Firmware>,
    /// What the driver is at, one word.
    pub step: &'static str,
    /// Packets with data that did not come whole.
    pub packets_lost: u64,
    /// Sub-images that did not come whole; a frame has ten.
    pub sub_images_damaged: u64,
    /// Frames of which some came, but not all.
    pub frames_dropped: u64,
    /// Frames of which nothing came, by the sensor's numbering.
    pub frames_lost: u64,
    /// Times the stream was started anew.
    pub restarts: u64,
    /// Times the sensor was opened, which resets it.
    pub resets: u64,
    /// Transfers in the queue when it is full.
    pub transfers: usize,
    /// Transfers in the queue at its emptiest since the stream was started.
    pub queue_low: usize,
    /// Times that there was none in the queue.
    pub queue_dry: u64,
    /// Transfers that the kernel did not take at once.
    pub transfers_refused: u64,
}

#[cfg(test)]
pub(crate) mod tests;
