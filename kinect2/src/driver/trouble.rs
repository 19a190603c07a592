//! Why there are no frames, and what to do about it.

use std::{fmt, io};

use crate::command::Flaw;
use crate::depth::TablesError;
use crate::protocol::{Command, PACKET_BYTES};

/// A short text that is copied, not allocated: a serial number, the name of an owner.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Name {
    bytes: [u8; Name::CAPACITY],
    length: u8,
}

impl Name {
    /// Most bytes that are kept: as many as a page with a serial number has characters.
    pub const CAPACITY: usize = 64;

    /// As much of `text` as fits. Control characters become `?`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut name = Name { bytes: [0; Self::CAPACITY], length: 0 };
        for char in text.chars().map(|char| if char.is_control() { '?' } else { char }) {
            let at = usize::from(name.length);
            let Some(room) = name.bytes.get_mut(at..at + char.len_utf8()) else { break };
            char.encode_utf8(room);
            name.length += char.len_utf8() as u8;
        }
        name
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Always whole characters, by `new`.
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One step in the life of a sensor, as it is asked of the owner of the descriptor.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Find it, open it, reset it, claim its interfaces.
    Open,
    /// Tell it how late isochronous packets are.
    IsochDelay,
    /// Allow the link's sleep U1.
    U1,
    /// Allow the link's sleep U2.
    U2,
    /// Switch the video function off.
    Suspend,
    /// Switch the video function on.
    Resume,
    /// Read what is left of somebody's last command.
    Drain,
    /// A command.
    Command(Command),
    /// Ask for the status until it says "ready".
    Ready,
    /// Tables and decoder from what the sensor said of itself.
    Prepare,
    /// Choose an alternate setting of the depth interface: 1 reserves the bandwidth, 0 gives it back.
    Alternate(u8),
    /// Hand over all isochronous transfers.
    StartStream,
    /// Take them back.
    StopStream,
    /// Release and close.
    Close,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Open => "open",
            Step::IsochDelay => "set the isochronous delay",
            Step::U1 => "allow U1",
            Step::U2 => "allow U2",
            Step::Suspend => "switch the video function off",
            Step::Resume => "switch the video function on",
            Step::Drain => "drain old replies",
            Step::Command(command) => return command.fmt(f),
            Step::Ready => "wait until ready",
            Step::Prepare => "prepare the decoder",
            Step::Alternate(0) => "give back bandwidth",
            Step::Alternate(_) => "reserve bandwidth",
            Step::StartStream => "start transfers",
            Step::StopStream => "stop transfers",
            Step::Close => "close",
        })
    }
}

/// Why there are no frames. `{}` says what is wrong and what to do, `{:#}` only what is wrong. Equal to itself whatever a
/// sensor sends: that is how one is told once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Trouble {
    /// The kernel has no usbfs, or its nodes cannot be seen.
    NoUsbfs,
    /// No sensor is on the bus, nor its adaptor.
    NotFound,
    /// The adaptor is there and no sensor behind it.
    NoPower,
    /// No sensor has this serial number, though others are there.
    SerialNotFound(Name),
    /// Its node may not be opened.
    NoPermission,
    /// Somebody has an interface of it.
    OwnedBy(Name),
    /// The link is not USB 3.
    SlowLink {
        /// Its speed in Mbit/s.
        mbit: u32,
    },
    /// The depth endpoint carries fewer bytes per service interval than a packet has.
    SmallPackets {
        /// Bytes that it carries.
        bytes: u32,
    },
    /// The kernel has no memory for a transfer: the limit of usbfs, or no contiguous piece that is large enough.
    UsbfsMemory,
    /// The host controller has no bandwidth left.
    NoBandwidth,
    /// Opening failed, with this number of the operating system.
    OpenFailed(i32),
    /// A step failed, with this number of the operating system.
    Failed(Step, i32),
    /// Nothing came within a second.
    NoReply(Step),
    /// Refused with a stall, and again after the endpoint had been cleared.
    Refused(Step),
    /// The answer of a step was not what it has to be.
    BadReply(Step, Flaw),
    /// What the sensor says of its lens and its phases cannot be.
    BadTables(TablesError),
    /// A call to the kernel, or the making of the tables, has not come back for seconds.
    Hung(Step),
    /// The sensor never said that it is ready.
    NotReady {
        /// Its last status.
        status: u32,
    },
    /// The sensor says 0x0400 for ever.
    Stuck,
    /// The sensor was unplugged, or lost its power.
    Disconnected,
    /// No transfer came back for a second.
    Silent,
    /// Transfers came back, and no whole frame was in them for a second.
    NoFrames,
}

impl Trouble {
    /// One word, for machines.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Trouble::NoUsbfs => "no_usbfs",
            Trouble::NotFound => "not_found",
            Trouble::NoPower => "no_power",
            Trouble::SerialNotFound(_) => "serial_not_found",
            Trouble::NoPermission => "no_permission",
            Trouble::OwnedBy(_) => "owned_by_other",
            Trouble::SlowLink { .. } => "slow_link",
            Trouble::SmallPackets { .. } => "small_packets",
            Trouble::UsbfsMemory => "usbfs_memory",
            Trouble::NoBandwidth => "no_bandwidth",
            Trouble::OpenFailed(_) => "open_failed",
            Trouble::Failed(..) => "transfer_failed",
            Trouble::NoReply(_) => "no_reply",
            Trouble::Refused(_) => "refused",
            Trouble::BadReply(..) => "bad_reply",
            Trouble::BadTables(_) => "bad_tables",
            Trouble::Hung(_) => "hung",
            Trouble::NotReady { .. } => "not_ready",
            Trouble::Stuck => "stuck",
            Trouble::Disconnected => "disconnected",
            Trouble::Silent => "silent",
            Trouble::NoFrames => "no_frames",
        }
    }

    /// What to do about it, one line. Source: reports of users of other drivers, gathered by symptom.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Trouble::NoUsbfs => {
                "load the driver of the USB host controller; in a container, hand in /sys and /dev/bus/usb"
            }
            Trouble::NotFound => {
                "plug the adaptor into a USB 3 port of this machine and its power supply into the mains"
            }
            Trouble::NoPower => {
                "give the adaptor its power supply, and check the plug between adaptor and sensor"
            }
            Trouble::SerialNotFound(_) => {
                "ask for a serial number that is there, or for none to take the first sensor"
            }
            Trouble::NoPermission => {
                "add a udev rule that gives your group the sensor (045e:02c4, 045e:02d8), then plug it in again"
            }
            Trouble::OwnedBy(_) => "stop the other program: a sensor serves one at a time",
            Trouble::SlowLink { .. } => {
                "use a USB 3 port (5000 Mbit/s) and the adaptor's own cable, without a hub between"
            }
            Trouble::SmallPackets { .. } | Trouble::NoBandwidth => {
                "give the sensor a USB 3 host controller of its own; PCIe x1 of the first generation is too narrow"
            }
            Trouble::UsbfsMemory => {
                "raise usbfs_memory_mb (echo 64 > /sys/module/usbcore/parameters/usbfs_memory_mb); if it is high, use fewer \
                 packets per transfer"
            }
            Trouble::OpenFailed(_) => "plug the sensor in again; the kernel's log (dmesg) may say more",
            Trouble::Hung(Step::Prepare) => {
                "the processor has too much else to do; it goes on when that is done"
            }
            Trouble::Hung(_) => {
                "see the kernel's log (dmesg); if the host controller died, load its driver again or reboot"
            }
            Trouble::Failed(..) | Trouble::NoReply(_) | Trouble::Refused(_) | Trouble::BadReply(..) => {
                "it is reset and tried again; if that does not help, take its power away for ten seconds"
            }
            Trouble::BadTables(_) => {
                "it is asked again; if it repeats itself, report it with its serial number and firmware"
            }
            Trouble::NotReady { .. } | Trouble::Stuck => {
                "take its power away for ten seconds: only that helps"
            }
            Trouble::Disconnected => "plug it in again, and check its power supply",
            Trouble::Silent => {
                "it is reset and opened again; if this comes back, try another USB 3 port or host controller"
            }
            Trouble::NoFrames => {
                "it is started again; if this comes back: a port of the board itself, no hub, power/control=on, less load"
            }
        }
    }

    /// Whether it was found before anything was asked of a sensor: looking again costs little and is done every second.
    pub(super) const fn is_from_a_look(self) -> bool {
        matches!(
            self,
            Trouble::NoUsbfs
                | Trouble::NotFound
                | Trouble::NoPower
                | Trouble::SerialNotFound(_)
                | Trouble::NoPermission
                | Trouble::OwnedBy(_)
                | Trouble::SlowLink { .. }
                | Trouble::SmallPackets { .. }
                | Trouble::Disconnected
        )
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::NoUsbfs => f.write_str("the kernel lists no USB devices"),
            Trouble::NotFound => f.write_str("no Kinect v2 on the bus"),
            Trouble::NoPower => f.write_str("the adaptor is there, but no Kinect v2 behind it"),
            Trouble::SerialNotFound(serial) => write!(f, "no Kinect v2 with serial {serial}"),
            Trouble::NoPermission => f.write_str("no permission to open the sensor"),
            Trouble::OwnedBy(owner) => write!(f, "the sensor is in use by {owner}"),
            Trouble::SlowLink { mbit } => write!(f, "the sensor's link runs at {mbit} Mbit/s, not at USB 3"),
            Trouble::SmallPackets { bytes } => {
                write!(f, "the link carries {bytes} bytes every 125 us, of {PACKET_BYTES} that are needed")
            }
            Trouble::UsbfsMemory => f.write_str("the kernel has no memory for the sensor's transfers"),
            Trouble::NoBandwidth => f.write_str("the USB host controller has no bandwidth left"),
            Trouble::OpenFailed(errno) => {
                write!(f, "the sensor cannot be opened: {}", io::Error::from_raw_os_error(*errno))
            }
            Trouble::Failed(step, errno) => {
                write!(f, "failed to {step}: {}", io::Error::from_raw_os_error(*errno))
            }
            Trouble::NoReply(step) => write!(f, "the sensor does not answer: {step}"),
            Trouble::Refused(step) => write!(f, "the sensor refuses: {step}"),
            Trouble::BadReply(step, flaw) => write!(f, "the sensor's answer is wrong: {step}: {flaw}"),
            Trouble::BadTables(error) => write!(f, "the sensor's description of itself is wrong: {error}"),
            Trouble::Hung(Step::Prepare) => f.write_str("making the tables of the sensor takes very long"),
            Trouble::Hung(step) => write!(f, "the kernel does not come back: {step}"),
            Trouble::NotReady { status } => write!(f, "the sensor does not get ready (status {status:#06x})"),
            Trouble::Stuck => f.write_str("the sensor is stuck (status 0x0400)"),
            Trouble::Disconnected => f.write_str("the sensor was unplugged or lost its power"),
            Trouble::Silent => f.write_str("the sensor sends nothing"),
            Trouble::NoFrames => f.write_str("the sensor sends, but no frame comes whole"),
        }?;
        if f.alternate() { Ok(()) } else { write!(f, "; {}", self.remedy()) }
    }
}
