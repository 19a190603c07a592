//! The sensor at the level of USB requests: descriptors, standard requests, commands and replies, packets.
//!
//! It has no clock of its own and starts no threads: the time and the number of the service interval come with each call.
//! What only a host can get wrong (a packet lost on the way, no bandwidth) is [`Host`](crate::host::Host)'s.
//!
//! ```text
//! resume ─▶ 0x16 until ready ─▶ 0x09 ─▶ alternate setting 1 ─▶ 0x2B(1) ─▶ packets
//! ```
//!
//! The order matters, as to a sensor it might: whoever leaves out a step sees no packet. Commands while the video
//! function is suspended stall, except the lamp's (0x4B), which libfreenect2 sends when it closes.
//!
//! Not simulated: the colour and interrupt endpoints and the microphones have no data, reads of them wait.

mod descriptors;
mod options;
mod replies;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kinect2::depth::{SUB_IMAGE_BYTES, SUB_IMAGES};
use kinect2::protocol::{
    COLOR_IN, COMMAND_MAGIC, COMMAND_OUT, CONFIGURATION, CONTROL_INTERFACE, Completion, DEPTH_IN,
    DEPTH_INTERFACE, FOOTER_BYTES, Footer, INTERVAL_US, LAST_PACKET_BYTES, PACKET_BYTES, REPLY_IN,
    STATUS_REGISTER, Setup,
};

use crate::depth::random;
use crate::faults::{Faults, Kind, Occurrence};
use descriptors::{AUDIO_IN, AUDIO_STREAM, INTERRUPT_IN};
pub use options::{Frames, Options};
use replies::{Block, Page, Pages, UNKNOWN_BYTES};

/// How something ended that did not end well.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The device refused: EPIPE.
    Stall,
    /// The device is not there (any more): ENODEV.
    Gone,
    /// The host has no memory for it: ENOMEM.
    NoMemory,
    /// The host has no bandwidth for the alternate setting: ENOSPC.
    NoBandwidth,
    /// No such endpoint, interface or setting; of a reset: the device came back as another one. ENOENT.
    NotFound,
    /// The interface belongs to somebody else: EBUSY.
    Busy,
    /// The transfer makes no sense: EINVAL.
    Invalid,
    /// More came than there was room for: EOVERFLOW.
    Overflow,
    /// The transaction failed on the wire: EPROTO.
    Error,
    /// The host controller came too late for the interval: EXDEV.
    Missed,
    /// Taken back, as [`Host::cancel`](crate::host::Host::cancel), a reset or a change of the setting does: ENOENT.
    Cancelled,
}

impl Fault {
    /// Linux's number for it, positive.
    #[must_use]
    pub const fn errno(self) -> i32 {
        match self {
            Fault::NotFound | Fault::Cancelled => 2,
            Fault::NoMemory => 12,
            Fault::Busy => 16,
            Fault::Missed => 18,
            Fault::Gone => 19,
            Fault::Invalid => 22,
            Fault::NoBandwidth => 28,
            Fault::Stall => 32,
            Fault::Error => 71,
            Fault::Overflow => 75,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Stall => "refused by the device",
            Fault::Gone => "the device is gone",
            Fault::NoMemory => "no memory",
            Fault::NoBandwidth => "no bandwidth",
            Fault::NotFound => "not found",
            Fault::Busy => "claimed by somebody else",
            Fault::Invalid => "makes no sense",
            Fault::Overflow => "more data than room",
            Fault::Error => "failed on the wire",
            Fault::Missed => "too late for its interval",
            Fault::Cancelled => "cancelled",
        })
    }
}

impl std::error::Error for Fault {}

/// Speed of the link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Speed {
    /// USB 2, 480 Mbit/s: what a bad cable gives, and not enough for a stream.
    High,
    /// USB 3, 5 Gbit/s.
    Super,
}

/// The kinds of endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pipe {
    /// Bulk.
    Bulk,
    /// Interrupt.
    Interrupt,
    /// Isochronous.
    Isochronous,
}

/// The sensor.
#[derive(Debug)]
pub struct Device {
    serial: String,
    seed: u64,
    frames: Frames,
    faults: Faults,
    mid_frame: bool,
    audio: bool,
    config: Vec<u8>,
    bos: Vec<u8>,
    pages: Pages,

    configuration: u8,
    alternates: [u8; INTERFACES],
    suspended: bool,
    remote_wake: bool,
    /// U1 and U2.
    link_power: [bool; 2],
    halted_out: bool,
    halted_in: bool,
    /// What waits at [`REPLY_IN`], and from when on.
    replies: VecDeque<(Block, Duration)>,
    commands: u64,
    /// The last command of which a reply was refused by a fault.
    refused: u64,
    last_sequence: u32,
    /// Times the status was read since the function was last switched on.
    polls: u64,
    initialised: bool,
    stream: Option<Stream>,
    streams: u64,
    shut_down: bool,
}

/// A stream that was switched on.
#[derive(Clone, Copy, Debug)]
struct Stream {
    /// Where in a frame it begins, in intervals.
    phase: u64,
    /// Its first interval; `None` until that came.
    first: Option<u64>,
    /// The silence that it has outlived, being newer than its beginning.
    outlived: Option<Occurrence>,
}

impl Device {
    /// A sensor that was just plugged in and configured, at time 0.
    ///
    /// # Panics
    /// If there are no frames, or one has another length than [`FRAME_BYTES`](kinect2::depth::FRAME_BYTES).
    #[must_use]
    pub fn new(options: Options) -> Self {
        let Options { mut serial, seed, frames, p0, lens, faults, mid_frame, audio } = options;
        assert!(frames.are_whole(), "at least one frame, and all of them whole");
        serial.retain(|character| character.is_ascii_graphic());
        serial.truncate(SERIAL_MAX);
        let usb2 = faults.has(Kind::Usb2);
        let mut device = Device {
            seed,
            mid_frame,
            audio,
            config: descriptors::config(usb2, audio),
            bos: descriptors::bos(),
            pages: Pages::new(&serial, p0, &lens, stale_bytes(&faults)),
            serial,
            frames,
            faults,
            configuration: CONFIGURATION,
            alternates: [0; INTERFACES],
            suspended: false,
            remote_wake: false,
            link_power: [false; 2],
            halted_out: false,
            halted_in: false,
            replies: VecDeque::with_capacity(REPLIES_MAX + 4),
            commands: 0,
            refused: 0,
            last_sequence: 0,
            polls: 0,
            initialised: false,
            stream: None,
            streams: 0,
            shut_down: false,
        };
        device.reset(Duration::ZERO);
        device
    }

    /// The device descriptor.
    #[must_use]
    pub fn device_descriptor(&self) -> [u8; 18] {
        descriptors::device(self.speed() == Speed::High)
    }

    /// The configuration descriptor with all that belongs to it.
    #[must_use]
    pub fn config_descriptor(&self) -> &[u8] {
        &self.config
    }

    /// The binary device object store with all its capabilities. On a USB 2 link the sensor refuses to say it.
    #[must_use]
    pub fn bos(&self) -> &[u8] {
        &self.bos
    }

    /// A string by its index in the descriptors, as text; `None` for 0 and what there is not.
    #[must_use]
    pub fn string(&self, index: u8) -> Option<&str> {
        match index {
            descriptors::MANUFACTURER => Some("Microsoft"),
            descriptors::PRODUCT => Some("Xbox NUI Sensor"),
            descriptors::SERIAL => Some(&self.serial),
            _ => None,
        }
    }

    /// The serial number.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// Speed of the link.
    #[must_use]
    pub fn speed(&self) -> Speed {
        if self.faults.has(Kind::Usb2) { Speed::High } else { Speed::Super }
    }

    /// The current configuration: 0 or 1.
    #[must_use]
    pub fn configuration(&self) -> u8 {
        self.configuration
    }

    /// How many interfaces there are, numbered from 0: 2 or 4.
    #[must_use]
    pub fn interfaces(&self) -> u8 {
        if self.audio { AUDIO_STREAM + 1 } else { DEPTH_INTERFACE + 1 }
    }

    /// The current alternate setting of an interface; 0 for one that there is not.
    #[must_use]
    pub fn alternate(&self, interface: u8) -> u8 {
        self.alternates.get(usize::from(interface)).copied().unwrap_or(0)
    }

    /// The interface and kind of an endpoint that is in the current settings.
    #[must_use]
    pub fn endpoint(&self, address: u8) -> Option<(u8, Pipe)> {
        if self.configuration == 0 {
            return None;
        }
        match address {
            COMMAND_OUT | REPLY_IN | COLOR_IN => Some((CONTROL_INTERFACE, Pipe::Bulk)),
            INTERRUPT_IN => Some((CONTROL_INTERFACE, Pipe::Interrupt)),
            DEPTH_IN if self.alternate(DEPTH_INTERFACE) == 1 => Some((DEPTH_INTERFACE, Pipe::Isochronous)),
            AUDIO_IN if self.alternate(AUDIO_STREAM) == 1 => Some((AUDIO_STREAM, Pipe::Isochronous)),
            _ => None,
        }
    }

    /// What goes wrong.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// From now on, other things go wrong. The descriptors of another speed are those of a sensor that is plugged in anew,
    /// which is the host's to do.
    pub(crate) fn set_faults(&mut self, faults: Faults) {
        self.config = descriptors::config(faults.has(Kind::Usb2), self.audio);
        self.pages.make_room(stale_bytes(&faults));
        self.faults = faults;
        // A new silence is none that the stream has outlived.
        if let Some(stream) = &mut self.stream {
            stream.outlived = None;
        }
    }

    /// Whether packets come, or would if somebody asked.
    #[must_use]
    pub fn is_streaming(&self) -> bool {
        self.stream.is_some()
    }

    /// Commands received so far.
    #[must_use]
    pub fn commands(&self) -> u64 {
        self.commands
    }

    /// The input frame that a footer's sequence number stands for.
    #[must_use]
    pub fn frame_of(&self, sequence: u32) -> &Arc<[u8]> {
        self.frames.get(sequence)
    }

    /// A control request.
    ///
    /// * `data`: what is sent, or room for what comes; at most `setup.length` of it count.
    ///
    /// Returns how many bytes went over the wire in the data stage.
    ///
    /// # Errors
    /// [`Fault::Stall`] for what it does not know.
    pub fn control(&mut self, setup: Setup, data: &mut [u8], now: Duration) -> Result<usize, Fault> {
        const IN: u8 = 0x80;
        let Setup { request_type, request, value, index, length } = setup;
        let [value_low, value_high] = value.to_le_bytes();
        let [index_low, index_high] = index.to_le_bytes();
        let length = usize::from(length);
        match (request_type, request) {
            (IN, GET_DESCRIPTOR) => return self.describe(value_high, value_low, data, length),
            (IN, GET_CONFIGURATION) => return answer(&[self.configuration], data, length),
            (0x81, GET_INTERFACE) if index_low < self.interfaces() && self.configuration != 0 => {
                return answer(&[self.alternate(index_low)], data, length);
            }
            (0x80..=0x82, GET_STATUS) => {
                let status = self.status_of(request_type & 3, index_low)?;
                return answer(&[status, 0], data, length);
            }
            (0, SET_SEL) if length == 6 && self.speed() == Speed::Super => return Ok(length),
            _ if request_type & IN != 0 || length > 0 => return Err(Fault::Stall),
            (0, SET_ADDRESS | SET_ISOCH_DELAY) => {}
            (0, SET_CONFIGURATION) if value <= u16::from(CONFIGURATION) => {
                self.configuration = value_low;
                self.alternates = [0; INTERFACES];
                (self.halted_out, self.halted_in) = (false, false);
                self.stream = None;
            }
            (1, SET_INTERFACE) => self.set_interface(index_low, value_low)?,
            (0, SET_FEATURE | CLEAR_FEATURE) => self.set_link(value, request == SET_FEATURE)?,
            (1, SET_FEATURE) if value == FUNCTION_SUSPEND && index_low < self.interfaces() => {
                // The audio function has a switch of its own, which nothing depends on.
                if index_low <= DEPTH_INTERFACE {
                    self.suspend(index_high & 1 != 0, index_high & 2 != 0);
                }
            }
            (2, SET_FEATURE | CLEAR_FEATURE) if value == ENDPOINT_HALT => {
                self.set_halt(index_low, request == SET_FEATURE)?;
            }
            _ => return Err(Fault::Stall),
        }
        let _ = now;
        Ok(0)
    }

    /// Selects an alternate setting. The depth interface in setting 0 streams no more, until it is told to again.
    ///
    /// # Errors
    /// [`Fault::Stall`] for one that there is not.
    pub fn set_interface(&mut self, interface: u8, alternate: u8) -> Result<(), Fault> {
        let highest = u8::from(matches!(interface, DEPTH_INTERFACE | AUDIO_STREAM));
        if self.configuration == 0 || interface >= self.interfaces() || alternate > highest {
            return Err(Fault::Stall);
        }
        self.alternates[usize::from(interface)] = alternate;
        match interface {
            CONTROL_INTERFACE => (self.halted_out, self.halted_in) = (false, false),
            DEPTH_INTERFACE => self.stream = None,
            _ => {}
        }
        Ok(())
    }

    /// The port was reset, or the sensor was plugged in: as fresh as can be, and configured.
    pub fn reset(&mut self, now: Duration) {
        self.configuration = CONFIGURATION;
        self.alternates = [0; INTERFACES];
        (self.suspended, self.remote_wake, self.link_power) = (false, false, [false; 2]);
        (self.halted_out, self.halted_in) = (false, false);
        self.replies.clear();
        (self.polls, self.initialised, self.stream) = (0, false, None);
        self.shut_down = false;
        if let Some(bytes) = self.faults.on(Kind::StaleReply, now) {
            let bytes = usize::try_from(bytes).unwrap_or(STALE_MAX).min(self.pages.get(Page::Zeros).len());
            self.replies.push_back((Block::Page(Page::Zeros, bytes), now));
            self.replies.push_back((completion(self.last_sequence.wrapping_add(99)), now));
        }
    }

    /// A block sent to [`COMMAND_OUT`]. `None` while it takes no more, because nobody reads the replies.
    ///
    /// # Errors
    /// [`Fault::Stall`] for what is no command, while the function is suspended, and while the endpoint is halted.
    pub fn bulk_out(&mut self, bytes: &[u8], now: Duration) -> Option<Result<(), Fault>> {
        if self.halted_out {
            return Some(Err(Fault::Stall));
        }
        if self.replies.len() >= REPLIES_MAX {
            return None;
        }
        let Some(command) = Received::from_bytes(bytes) else {
            self.halted_out = true;
            return Some(Err(Fault::Stall));
        };
        if self.suspended && command.opcode != LAMP {
            return Some(Err(Fault::Stall));
        }
        self.commands += 1;
        if self.faults.strikes(Kind::Stall, now, self.commands).is_some() {
            self.halted_out = true;
            return Some(Err(Fault::Stall));
        }
        self.execute(&command, now);
        self.last_sequence = command.sequence;
        Some(Ok(()))
    }

    /// When the next block is there to be read from [`REPLY_IN`]; `None` if none is to come.
    #[must_use]
    pub fn reply_ready(&self) -> Option<Duration> {
        self.replies.front().map(|(_, ready)| *ready)
    }

    /// A read of [`REPLY_IN`]: one block, `None` while there is none.
    ///
    /// # Errors
    /// [`Fault::Overflow`] if the block is longer than `room`; it is lost then. [`Fault::Stall`] while it is halted.
    pub fn bulk_in(&mut self, room: &mut [u8], now: Duration) -> Option<Result<usize, Fault>> {
        if self.halted_in {
            return Some(Err(Fault::Stall));
        }
        let (block, ready) = *self.replies.front()?;
        if ready > now {
            return None;
        }
        if self.refused != self.commands
            && self.faults.strikes(Kind::ReplyStall, now, self.commands).is_some()
        {
            // Once for each command: whoever clears the halt gets it.
            (self.refused, self.halted_in) = (self.commands, true);
            return Some(Err(Fault::Stall));
        }
        self.replies.pop_front();
        let Some(room) = room.get_mut(..block.len()) else { return Some(Err(Fault::Overflow)) };
        block.copy(&self.pages, room);
        Some(Ok(room.len()))
    }

    /// The packet of [`DEPTH_IN`] in a service interval; 0 bytes if nothing is sent in it.
    ///
    /// * `interval`: counted on, whether it is asked for or not.
    /// * `now`: the time of the interval, which says what faults there are.
    ///
    /// Copies once. Never allocates.
    ///
    /// # Errors
    /// [`Fault::Overflow`] if `room` is shorter than the packet.
    pub fn packet(&mut self, interval: u64, room: &mut [u8], now: Duration) -> Result<usize, Fault> {
        let Some(packet) = self.packet_at(interval, now) else { return Ok(0) };
        let bytes = if packet.number < FULL_PACKETS { PACKET_BYTES } else { LAST_PACKET_BYTES };
        let room = room.get_mut(..bytes).ok_or(Fault::Overflow)?;
        let frame = self.frames.get(packet.sequence);
        let rows = bytes - if packet.number < FULL_PACKETS { 0 } else { FOOTER_BYTES };
        let from = packet.sub_image * SUB_IMAGE_BYTES + packet.number * PACKET_BYTES;
        room[..rows].copy_from_slice(&frame[from..from + rows]);
        if rows < bytes {
            room[rows..].copy_from_slice(&self.footer(&packet, now).to_bytes());
        }
        Ok(bytes)
    }

    /// Whether it was told to shut down, which it then does: it leaves the bus and comes back. Asking answers only once.
    pub(crate) fn take_shut_down(&mut self) -> bool {
        std::mem::take(&mut self.shut_down)
    }

    fn describe(&self, kind: u8, index: u8, data: &mut [u8], length: usize) -> Result<usize, Fault> {
        match (kind, index) {
            (descriptors::DEVICE, 0) => answer(&self.device_descriptor(), data, length),
            (descriptors::CONFIG, 0) => answer(&self.config, data, length),
            (descriptors::BOS, 0) if self.speed() == Speed::Super => answer(&self.bos, data, length),
            // The only language: English of the United States.
            (descriptors::STRING, 0) => answer(&[4, descriptors::STRING, 0x09, 0x04], data, length),
            (descriptors::STRING, _) => {
                let text = self.string(index).ok_or(Fault::Stall)?;
                let mut bytes = [0; 2 + 2 * SERIAL_MAX];
                let end = 2 + 2 * text.len();
                bytes[0] = u8::try_from(end).expect("strings are short");
                bytes[1] = descriptors::STRING;
                for (to, character) in bytes[2..end].chunks_exact_mut(2).zip(text.bytes()) {
                    to[0] = character;
                }
                answer(&bytes[..end], data, length)
            }
            _ => Err(Fault::Stall),
        }
    }

    /// The low byte of GET_STATUS.
    fn status_of(&self, recipient: u8, index: u8) -> Result<u8, Fault> {
        match recipient {
            0 => Ok(u8::from(self.link_power[0]) << 2 | u8::from(self.link_power[1]) << 3),
            // The first interface of a function says whether it can wake the host, and may.
            1 if index == CONTROL_INTERFACE => Ok(1 | u8::from(self.remote_wake) << 1),
            1 if index < self.interfaces() => Ok(0),
            2 if index & 0x7F == 0 => Ok(0),
            2 => {
                self.endpoint(index).ok_or(Fault::Stall)?;
                Ok(u8::from(index == COMMAND_OUT && self.halted_out || index == REPLY_IN && self.halted_in))
            }
            _ => Err(Fault::Stall),
        }
    }

    fn set_link(&mut self, feature: u16, on: bool) -> Result<(), Fault> {
        // U1 and U2 are states of a SuperSpeed link.
        let at = match feature {
            U1_ENABLE if self.speed() == Speed::Super => 0,
            U2_ENABLE if self.speed() == Speed::Super => 1,
            _ => return Err(Fault::Stall),
        };
        self.link_power[at] = on;
        Ok(())
    }

    fn set_halt(&mut self, endpoint: u8, halted: bool) -> Result<(), Fault> {
        if endpoint & 0x7F == 0 {
            return Ok(());
        }
        self.endpoint(endpoint).ok_or(Fault::Stall)?;
        match endpoint {
            COMMAND_OUT => self.halted_out = halted,
            REPLY_IN => self.halted_in = halted,
            _ => {}
        }
        Ok(())
    }

    fn suspend(&mut self, suspended: bool, remote_wake: bool) {
        if suspended {
            (self.polls, self.initialised, self.stream) = (0, false, None);
        }
        (self.suspended, self.remote_wake) = (suspended, remote_wake);
    }

    /// Does what a command says, and queues the answer.
    fn execute(&mut self, command: &Received, now: Duration) {
        let page = |page: Page| Some(Block::Page(page, self.pages.get(page).len()));
        let unknown = Some(Block::Page(Page::Zeros, UNKNOWN_BYTES));
        let data = match (command.opcode, command.parameter) {
            (0x02, _) => page(Page::Firmware),
            (0x14, _) => page(Page::Hardware),
            (0x22, 1) => page(Page::Serial),
            (0x22, 2) => page(Page::P0),
            (0x22, 3) => page(Page::DepthLens),
            (0x22, 4) => page(Page::ColorLens),
            (0x16, STATUS_REGISTER) => Some(Block::Register(self.poll(now))),
            (0x16, _) => Some(Block::Register(0)),
            (0x26 | 0x3E | 0x47, _) => unknown,
            (0x09, _) => {
                self.initialised = self.is_ready(now);
                None
            }
            (0x2B, on) => {
                let ready = self.initialised && self.is_ready(now) && self.alternate(DEPTH_INTERFACE) == 1;
                self.stream = (on != 0 && ready).then(|| self.begin_stream(now));
                None
            }
            (0x0A, _) => {
                (self.initialised, self.stream) = (false, None);
                None
            }
            (0x00, _) => {
                self.shut_down = true;
                None
            }
            // The lamp, 0x46, and what nobody knows.
            _ => None,
        };
        self.reply(command, data, now);
    }

    fn reply(&mut self, command: &Received, data: Option<Block>, now: Duration) {
        let strikes = |kind| self.faults.strikes(kind, now, self.commands).is_some();
        if strikes(Kind::NoReply) {
            return;
        }
        let ready = now + Duration::from_nanos(self.faults.on(Kind::SlowReplies, now).unwrap_or(0));
        let mut data = data.map(|block| block.cut(command.reply_max));
        if strikes(Kind::NoData) {
            data = None;
        }
        if strikes(Kind::ShortReply) {
            data = data.map(|block| block.cut(block.len() / 2));
        }
        let wrong = strikes(Kind::WrongSequence);
        let end = completion(command.sequence.wrapping_add(if wrong { 1000 } else { 0 }));
        let stale = strikes(Kind::StaleCompletion).then(|| completion(command.sequence.wrapping_sub(1)));
        let [first, second] =
            if strikes(Kind::CompletionFirst) { [Some(end), data] } else { [data, Some(end)] };
        self.replies.extend([stale, first, second].into_iter().flatten().map(|block| (block, ready)));
    }

    /// Reads the status register.
    fn poll(&mut self, now: Duration) -> u32 {
        self.polls += 1;
        if self.faults.on(Kind::Stuck, now).is_some() {
            STATUS_STUCK
        } else if !self.is_ready(now) {
            STATUS_STARTING
        } else if self.initialised && self.alternate(DEPTH_INTERFACE) == 1 {
            STATUS_STARTED
        } else {
            STATUS_READY
        }
    }

    /// Whether it is ready to be started, which shows only to those who look.
    fn is_ready(&self, now: Duration) -> bool {
        let on = |kind| self.faults.on(kind, now);
        let polls = on(Kind::SlowStart).unwrap_or(POLLS_BEFORE_READY);
        self.polls > polls && on(Kind::NeverReady).is_none() && on(Kind::Stuck).is_none()
    }

    fn begin_stream(&mut self, now: Duration) -> Stream {
        self.streams += 1;
        let phase = if self.faults.on(Kind::WholeFrame, now).is_some() {
            0
        } else if self.faults.on(Kind::HalfFrame, now).is_some() {
            5 * SUB_IMAGE_INTERVALS
        } else if self.mid_frame {
            random(self.seed, self.streams) % frame_start(1)
        } else {
            0
        };
        Stream { phase, first: None, outlived: self.faults.occurrence(Kind::Silent, now) }
    }

    /// What is sent in an interval.
    fn packet_at(&mut self, interval: u64, now: Duration) -> Option<Packet> {
        let stream = self.stream.as_mut()?;
        let first = *stream.first.get_or_insert(interval);
        let (frame, place) = place(stream.phase + interval.checked_sub(first)?);
        let silent = self.faults.occurrence(Kind::Silent, now);
        if silent.is_some() && silent != stream.outlived {
            return None;
        }
        let begun = now.saturating_sub(Duration::from_micros(place * INTERVAL_US));
        let separated = self.faults.strikes(Kind::LostSeparators, begun, frame).is_none();
        let sub_image_intervals = if separated { SUB_IMAGE_INTERVALS } else { SUB_IMAGE_PACKETS };
        let sub_image = usize::try_from(place / sub_image_intervals).expect("below 267");
        let number = usize::try_from(place % sub_image_intervals).expect("below 12");
        if sub_image >= SUB_IMAGES || number > FULL_PACKETS {
            return None;
        }
        let of_all = frame * SUB_IMAGES as u64 + sub_image as u64;
        if number == FULL_PACKETS && self.faults.strikes(Kind::ShortMissing, now, of_all).is_some() {
            return None;
        }
        let start = self.faults.value(Kind::Wrap).unwrap_or(0);
        let sequence = u32::try_from((start + frame) % SEQUENCE_END).expect("below 65,536");
        // The clock runs with the device, and the device has run before the host.
        let timestamp = (CLOCK_AT_START + interval).wrapping_sub(place) as u32;
        Some(Packet { sequence, sub_image, number, of_all, timestamp })
    }

    fn footer(&self, packet: &Packet, now: Duration) -> Footer {
        let strikes = |kind| self.faults.strikes(kind, now, packet.of_all);
        let number = u32::try_from(packet.sub_image).expect("below 10");
        let mut footer = Footer::new(packet.timestamp, packet.sequence, number);
        if let Some(subsequence) = strikes(Kind::Subsequence) {
            footer.subsequence = subsequence as u32;
        }
        if let Some(length) = strikes(Kind::FooterLength) {
            footer.length = length as u32;
        }
        if strikes(Kind::FooterMagic).is_some() {
            footer.magic = [1, 2];
        }
        footer
    }
}

/// A packet that is sent.
#[derive(Clone, Copy, Debug)]
struct Packet {
    sequence: u32,
    sub_image: usize,
    /// 0 to 7 are full ones, 8 is the one with the footer.
    number: usize,
    /// The number of its sub-image in the whole stream.
    of_all: u64,
    timestamp: u32,
}

/// A command as it came.
#[derive(Clone, Copy, Debug)]
struct Received {
    sequence: u32,
    reply_max: usize,
    opcode: u32,
    /// The first, 0 if there is none.
    parameter: u32,
}

impl Received {
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut words =
            bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
        let mut next = || words.next();
        let (magic, sequence, reply_max, opcode, _zero) = (next()?, next()?, next()?, next()?, next()?);
        let reply_max = usize::try_from(reply_max).ok()?;
        (magic == COMMAND_MAGIC).then(|| Received {
            sequence,
            reply_max,
            opcode,
            parameter: next().unwrap_or(0),
        })
    }
}

/// Bytes of the stale reply that these faults may ask for.
fn stale_bytes(faults: &Faults) -> usize {
    let bytes = faults.value(Kind::StaleReply).unwrap_or(0);
    usize::try_from(bytes).map_or(STALE_MAX, |bytes| bytes.min(STALE_MAX))
}

fn completion(sequence: u32) -> Block {
    Block::Completion(Completion { sequence, rest: [0; 2] })
}

/// Answers a request with as much as is asked for and there is.
fn answer(reply: &[u8], data: &mut [u8], length: usize) -> Result<usize, Fault> {
    let length = reply.len().min(length).min(data.len());
    data[..length].copy_from_slice(&reply[..length]);
    Ok(length)
}

/// The interval in which a frame begins, frame 0 beginning with 0: every 266.667 of them.
fn frame_start(frame: u64) -> u64 {
    frame * 800 / 3
}

/// The frame of an interval, and the place in it.
fn place(interval: u64) -> (u64, u64) {
    let mut frame = interval * 3 / 800;
    if frame_start(frame + 1) <= interval {
        frame += 1;
    }
    (frame, interval - frame_start(frame))
}

const INTERFACES: usize = 4;
/// Most characters of a serial number: as many as page 1 has room for, with a zero behind.
const SERIAL_MAX: usize = 63;
/// Most bytes of a stale reply.
const STALE_MAX: usize = 4 << 20;
/// With so many blocks to be read, no command is taken.
const REPLIES_MAX: usize = 64;
/// The lamp's opcode.
const LAMP: u32 = 0x4B;

const GET_STATUS: u8 = 0;
const CLEAR_FEATURE: u8 = 1;
const SET_FEATURE: u8 = 3;
const SET_ADDRESS: u8 = 5;
const GET_DESCRIPTOR: u8 = 6;
const GET_CONFIGURATION: u8 = 8;
const SET_CONFIGURATION: u8 = 9;
const GET_INTERFACE: u8 = 10;
const SET_INTERFACE: u8 = 11;
const SET_SEL: u8 = 0x30;
const SET_ISOCH_DELAY: u8 = 0x31;
const ENDPOINT_HALT: u16 = 0;
const FUNCTION_SUSPEND: u16 = 0;
const U1_ENABLE: u16 = 48;
const U2_ENABLE: u16 = 49;

/// Values of the status register as seen of real sensors.
const STATUS_STARTING: u32 = 0x2200;
const STATUS_READY: u32 = 0x2601;
const STATUS_STARTED: u32 = 0x2603;
const STATUS_STUCK: u32 = 0x0400;
/// Times the status says "starting" before it says "ready".
const POLLS_BEFORE_READY: u64 = 3;

/// Full packets of a sub-image.
const FULL_PACKETS: usize = 8;
/// Packets of a sub-image.
const SUB_IMAGE_PACKETS: u64 = 9;
/// Intervals from sub-image to sub-image: its packets and three empty ones.
const SUB_IMAGE_INTERVALS: u64 = 12;
/// Frames are numbered below this.
const SEQUENCE_END: u64 = 65_536;
/// The device's clock at interval 0: it was switched on ten seconds before.
const CLOCK_AT_START: u64 = 80_000;

#[cfg(test)]
mod tests;
