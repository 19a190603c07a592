//! What the driver and the owner of the descriptor say to each other.

use std::fmt;

use super::Trouble;
use crate::depth::TablesError;
use crate::protocol::Setup;

/// What the owner of the descriptor has to do next.
///
/// Each is answered by one [`Done`], except [`Action::Cancel`], which has none of its own. Only [`Action::Cancel`] and
/// [`Action::Close`] may come while another is in flight.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Action<'a> {
    /// Job: find the sensor, diagnose, open, reset, find it again by its serial number if it came back as another,
    /// claim both interfaces, choose alternate setting 0. [`Done::Opened`], or closed again and [`Done::Failed`].
    Open {
        /// The sensor that is wanted; the first if `None`.
        serial: Option<&'a str>,
    },
    /// Job: choose this alternate setting of the depth interface.
    Alternate(u8),
    /// Job: clear the halt of this endpoint.
    ClearHalt(u8),
    /// Job: tables and decoder. Comes only when the replies differ from those of the last one that ended well.
    Prepare {
        /// Reply to [`crate::protocol::Command::P0`].
        p0: &'a [u8],
        /// Reply to [`crate::protocol::Command::DepthLens`], its first [`crate::command::REPLY_KEPT`] bytes at most.
        lens: &'a [u8],
    },
    /// Job: release and close. Ends whatever is pending, isochronous transfers too: no [`Done`] comes for it any more.
    Close,
    /// Submit a request to endpoint 0.
    Control(Setup),
    /// Submit a command to [`crate::protocol::COMMAND_OUT`].
    Send(&'a [u8]),
    /// Submit a read of [`crate::protocol::REPLY_IN`].
    Receive {
        /// Bytes of room: a multiple of 1,024, so that nothing overflows on the bus.
        max: usize,
    },
    /// Discard the control, send or receive in flight. Its own [`Done`] still comes: [`Done::Cancelled`], or how it
    /// ended if it was faster.
    Cancel,
    /// Submit all isochronous transfers.
    StartStream,
    /// Discard all isochronous transfers; done when all have come back, or 500 ms are over.
    StopStream,
}

impl fmt::Debug for Action<'_> {
    /// Without the replies of [`Action::Prepare`]: they are long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Open { serial } => f.debug_struct("Open").field("serial", serial).finish(),
            Action::Alternate(alternate) => f.debug_tuple("Alternate").field(alternate).finish(),
            Action::ClearHalt(endpoint) => f.debug_tuple("ClearHalt").field(endpoint).finish(),
            Action::Prepare { .. } => f.debug_struct("Prepare").finish_non_exhaustive(),
            Action::Close => f.write_str("Close"),
            Action::Control(setup) => f.debug_tuple("Control").field(setup).finish(),
            Action::Send(bytes) => f.debug_tuple("Send").field(bytes).finish(),
            Action::Receive { max } => f.debug_struct("Receive").field("max", max).finish(),
            Action::Cancel => f.write_str("Cancel"),
            Action::StartStream => f.write_str("StartStream"),
            Action::StopStream => f.write_str("StopStream"),
        }
    }
}

/// How an action ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Done<'a> {
    /// Well. Of a send: with all its bytes.
    Ok,
    /// The sensor is open.
    Opened {
        /// As the kernel lists it; empty if it has none.
        serial: &'a str,
        /// Speed of the link in Mbit/s; 0 if the kernel does not know.
        speed_mbit: u32,
    },
    /// What a receive brought; may be nothing.
    Received(&'a [u8]),
    /// It was discarded.
    Cancelled,
    /// Not well.
    Failed(Failure),
}

/// Why an action did not end well.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Failure {
    /// The sensor has left the bus: `ENODEV`, `ESHUTDOWN`.
    Gone,
    /// The endpoint stalled: `EPIPE`.
    Stall,
    /// No memory: `ENOMEM`.
    NoMemory,
    /// No bandwidth: `ENOSPC`.
    NoBandwidth,
    /// Another number of the operating system.
    Io(i32),
    /// What the diagnosis at opening found.
    Trouble(Trouble),
    /// The replies make no tables.
    BadTables(TablesError),
}
