//! What stands in the way of frames, each with its remedy: for `probe`, and before the first command of a sensor.

use std::fmt;

use crate::protocol::PACKET_BYTES;
use crate::sysfs::Roots;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Frames will come, perhaps not all of them.
    Warning,
    /// No frame will come.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Ok => "ok",
            Severity::Warning => "warning",
            Severity::Error => "error",
        })
    }
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// Whether the kernel has usbfs, and its nodes are where they should be.
    Usbfs,
    /// Whether there is a sensor, or the one that was asked for.
    Sensor,
    /// Whether there is just one.
    Count,
    /// Speed of the link.
    Link,
    /// Whether the depth endpoint carries whole packets.
    Packets,
    /// Whether its node may be opened.
    Permission,
    /// Whether somebody else holds it.
    Owner,
    /// Whether usbfs may hold as much as the transfers need.
    Memory,
    /// Whether the kernel may suspend it.
    Power,
}

impl Kind {
    /// One word, for machines.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Kind::Usbfs => "usbfs",
            Kind::Sensor => "sensor",
            Kind::Count => "count",
            Kind::Link => "link",
            Kind::Packets => "packets",
            Kind::Permission => "permission",
            Kind::Owner => "owner",
            Kind::Memory => "memory",
            Kind::Power => "power",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// What was looked at.
    pub kind: Kind,
    /// How it is.
    pub severity: Severity,
    /// What was found, one line.
    pub text: String,
    /// What to do about it, one line; empty if nothing is to be done.
    pub remedy: String,
}

/// Looks at everything that can be known before the first command.
///
/// * `serial`: the sensor that is wanted; otherwise the first is looked at.
/// * `packets`, `transfers`: the pool of isochronous transfers to come; 8 and 60 by default.
///
/// Opens the sensor's node and closes it again; nothing is sent to the sensor. Findings come in the order in which
/// they are best attended to.
#[must_use]
pub fn diagnose(roots: &Roots, serial: Option<&str>, packets: usize, transfers: usize) -> Vec<Finding> {
    let _ = (roots, serial, packets, transfers, PACKET_BYTES);
    todo!()
}
