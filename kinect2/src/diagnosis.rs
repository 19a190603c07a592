//! What stands in the way of frames, each with its remedy: for `probe`, and before the first command of a sensor.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;

use crate::protocol::{PACKET_BYTES, PAGE_MAX};
use crate::sysfs::{self, Bus, Found, Roots};
use crate::usbfs::Device;

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
    diagnose_with(roots, serial, packets, transfers, &|node| Device::open(node).map(drop))
}

/// Bytes of usbfs memory that a sensor needs at a time: its isochronous transfers, or the longest reply, which is read
/// before they are submitted.
///
/// * `packets`, `transfers`: as for [`diagnose`].
#[must_use]
pub fn usbfs_bytes(packets: usize, transfers: usize) -> u64 {
    let transfer = packets.saturating_mul(PACKET_BYTES).saturating_add(URB_OVERHEAD);
    transfer.saturating_mul(transfers).max(PAGE_MAX + URB_OVERHEAD) as u64
}

/// Whether usbfs may hold as much, by the kernel's parameter; also if it does not say.
///
/// * `packets`, `transfers`: as for [`diagnose`].
#[must_use]
pub fn fits_usbfs(roots: &Roots, packets: usize, transfers: usize) -> bool {
    match roots.usbfs_memory_mb() {
        None | Some(0) => true,
        Some(mb) => usbfs_bytes(packets, transfers) <= mb.saturating_mul(MIB),
    }
}

/// Least speed of the link in Mbit/s: that of USB 3.
pub const SPEED_MIN: u32 = 5000;

const MIB: u64 = 1 << 20;
/// More than what the kernel counts for a URB beside its buffer: some 400 bytes, and 16 for each packet (devio.c).
const URB_OVERHEAD: usize = 2560;

fn diagnose_with(
    roots: &Roots,
    serial: Option<&str>,
    packets: usize,
    transfers: usize,
    open: &dyn Fn(&Path) -> Result<(), Errno>,
) -> Vec<Finding> {
    let bus = match sysfs::find(roots) {
        Ok(bus) => bus,
        Err(error) => return vec![no_list(roots, &error)],
    };
    let mut findings = vec![usbfs(roots)];
    let wanted = bus.sensors.iter().find(|found| serial.is_none() || found.serial.as_deref() == serial);
    findings.push(match wanted {
        Some(found) => ok(Kind::Sensor, format!("a Kinect v2 at {}", place(found))),
        None => no_sensor(&bus, serial),
    });
    findings.extend(count(&bus, serial));
    if let Some(found) = wanted {
        findings.push(link(found));
        if found.speed_mbit >= SPEED_MIN {
            findings.push(interval(found));
        }
        findings.push(permission(found, open(&found.node)));
        findings.push(owner(found));
        findings.push(power(found));
    }
    findings.push(memory(roots, packets, transfers));
    findings
}

fn ok(kind: Kind, text: String) -> Finding {
    Finding { kind, severity: Severity::Ok, text, remedy: String::new() }
}

fn bad(kind: Kind, severity: Severity, text: String, remedy: impl Into<String>) -> Finding {
    Finding { kind, severity, text, remedy: remedy.into() }
}

fn place(found: &Found) -> String {
    let serial =
        found.serial.as_deref().map_or_else(|| "no serial number".to_owned(), |s| format!("serial {s}"));
    let port = found.sysfs.file_name().unwrap_or_default().to_string_lossy();
    format!(
        "USB port {port} (bus {}, device {}, 045e:{:04x}, {serial})",
        found.bus, found.device, found.product
    )
}

fn no_list(roots: &Roots, error: &io::Error) -> Finding {
    bad(
        Kind::Usbfs,
        Severity::Error,
        format!("the kernel's list of USB devices cannot be read: {}: {error}", roots.devices().display()),
        "load the driver of the USB host controller (modprobe xhci_pci); in a container, mount /sys",
    )
}

fn usbfs(roots: &Roots) -> Finding {
    let nodes = roots.nodes();
    if nodes.is_dir() {
        return ok(Kind::Usbfs, format!("the kernel has USB and its nodes in {}", nodes.display()));
    }
    bad(
        Kind::Usbfs,
        Severity::Error,
        format!("the kernel has USB, but there are no nodes for its devices: {} is missing", nodes.display()),
        "mount devtmpfs on /dev and run udev (or mdev); in a container, hand in /dev/bus/usb",
    )
}

fn no_sensor(bus: &Bus, serial: Option<&str>) -> Finding {
    match serial {
        Some(serial) if !bus.sensors.is_empty() => bad(
            Kind::Sensor,
            Severity::Error,
            format!("no Kinect v2 with serial {serial}; there is {}", serials(bus)),
            "ask for a serial number that is there, or for none to take the first sensor",
        ),
        _ if bus.adaptor => bad(
            Kind::Sensor,
            Severity::Error,
            "the adaptor (045e:02d9) is there, but no Kinect v2 behind it".to_owned(),
            "give the adaptor its power supply: the bus does not feed the sensor; then check the plug between sensor and \
             adaptor, and that the adaptor is in a USB 3 port",
        ),
        _ => bad(
            Kind::Sensor,
            Severity::Error,
            "no Kinect v2 on the bus (045e:02c4 or 045e:02d8)".to_owned(),
            "plug the adaptor straight into a USB 3 port of this machine, and its power supply into the mains",
        ),
    }
}

fn serials(bus: &Bus) -> String {
    let serials =
        bus.sensors.iter().map(|found| found.serial.as_deref().unwrap_or("one without a serial number"));
    serials.collect::<Vec<_>>().join(", ")
}

fn count(bus: &Bus, serial: Option<&str>) -> Option<Finding> {
    let text = match bus.sensors.len() {
        0 => return None,
        1 => return Some(ok(Kind::Count, "it is the only one".to_owned())),
        count => format!("{count} sensors: {}", serials(bus)),
    };
    Some(match serial {
        Some(_) => ok(Kind::Count, text),
        None => bad(
            Kind::Count,
            Severity::Warning,
            text + "; the first is taken, which may be another after a restart",
            "ask for one by its serial number; each needs a host controller of its own",
        ),
    })
}

fn link(found: &Found) -> Finding {
    match found.speed_mbit {
        0 => bad(
            Kind::Link,
            Severity::Warning,
            format!("the kernel does not know how fast the link at {} is", place(found)),
            "plug it in again; it has to be 5000 Mbit/s",
        ),
        speed @ SPEED_MIN.. => ok(Kind::Link, format!("the link runs at {speed} Mbit/s")),
        speed => bad(
            Kind::Link,
            Severity::Error,
            format!("the link at {} runs at {speed} Mbit/s, which is not USB 3", place(found)),
            "plug the adaptor straight into a USB 3 port (5000 Mbit/s) with the cable that came with it, no hub between",
        ),
    }
}

fn interval(found: &Found) -> Finding {
    match found.interval_bytes() {
        Some(bytes) if bytes as usize >= PACKET_BYTES => {
            ok(Kind::Packets, format!("the depth endpoint carries {bytes} bytes every 125 us"))
        }
        Some(bytes) => bad(
            Kind::Packets,
            Severity::Error,
            format!(
                "the depth endpoint carries {bytes} bytes every 125 us, of {PACKET_BYTES} that are needed"
            ),
            "use another host controller: Intel's and Renesas uPD720201/2 are known to work",
        ),
        None => bad(
            Kind::Packets,
            Severity::Warning,
            "the depth endpoint is not in the descriptors that the kernel read".to_owned(),
            "plug the sensor in again; if that does not help, use another host controller",
        ),
    }
}

fn permission(found: &Found, opened: Result<(), Errno>) -> Finding {
    let node = found.node.display();
    match opened {
        Ok(()) => ok(Kind::Permission, format!("{node} can be opened")),
        Err(Errno::EACCES | Errno::EPERM) => bad(
            Kind::Permission,
            Severity::Error,
            format!("{node} may not be opened: it belongs to {}", owner_of(&found.node)),
            "give yourself access by a udev rule, and plug the sensor in again: SUBSYSTEM==\"usb\", \
             ATTR{idVendor}==\"045e\", ATTR{idProduct}==\"02c4|02d8\", MODE=\"0660\", GROUP=\"plugdev\", \
             ATTR{power/control}=\"on\"",
        ),
        Err(error) => bad(
            Kind::Permission,
            Severity::Error,
            format!("{node} cannot be opened: {}", error.desc()),
            "plug the sensor in again; in a container, hand in /dev/bus/usb",
        ),
    }
}

/// "root, group plugdev, mode 0660"; numbers for those without a name.
fn owner_of(node: &Path) -> String {
    let Ok(metadata) = node.metadata() else { return "nobody known".to_owned() };
    let list = |path| std::fs::read_to_string(path).unwrap_or_default();
    format!(
        "{}, group {}, mode {:04o}",
        name_in(&list("/etc/passwd"), metadata.uid()),
        name_in(&list("/etc/group"), metadata.gid()),
        metadata.mode() & 0o7777
    )
}

/// The name of a number in a list like /etc/passwd, or the number. Not by the C library: one that is linked statically
/// would load code of another version of itself.
fn name_in(list: &str, number: u32) -> String {
    let number = number.to_string();
    let entry = list.lines().find(|line| line.split(':').nth(2) == Some(&number));
    entry.and_then(|line| line.split(':').next()).map_or(number.clone(), str::to_owned)
}

fn owner(found: &Found) -> Finding {
    match found.owner() {
        None => ok(Kind::Owner, "nobody else has it".to_owned()),
        Some((_, "usbfs")) => bad(
            Kind::Owner,
            Severity::Error,
            "another program has the sensor".to_owned(),
            format!("end it; fuser -v {} names it", found.node.display()),
        ),
        Some((interface, driver)) => {
            let port = found.sysfs.file_name().unwrap_or_default().to_string_lossy();
            bad(
                Kind::Owner,
                Severity::Error,
                format!("the kernel's driver {driver} has interface {interface} of the sensor"),
                format!("unbind it: echo {port}:1.{interface} > /sys/bus/usb/drivers/{driver}/unbind"),
            )
        }
    }
}

fn memory(roots: &Roots, packets: usize, transfers: usize) -> Finding {
    let needed = usbfs_bytes(packets, transfers).div_ceil(MIB);
    let pool = format!("{transfers} transfers of {packets} packets need {needed} MiB of usbfs memory");
    match roots.usbfs_memory_mb() {
        None => bad(
            Kind::Memory,
            Severity::Warning,
            format!("{pool}; the kernel does not say how much there is"),
            "look whether /sys/module/usbcore/parameters/usbfs_memory_mb can be read",
        ),
        Some(0) => ok(Kind::Memory, format!("{pool}, which is not limited")),
        Some(mb) if fits_usbfs(roots, packets, transfers) => {
            ok(Kind::Memory, format!("{pool}; all programs together may have {mb} MiB"))
        }
        Some(mb) => bad(
            Kind::Memory,
            Severity::Error,
            format!("{pool}; all programs together may have {mb} MiB"),
            format!(
                "echo {} > /sys/module/usbcore/parameters/usbfs_memory_mb, or usbcore.usbfs_memory_mb={0} on the kernel's \
                 command line, or fewer transfers",
                (2 * needed).next_power_of_two()
            ),
        ),
    }
}

fn power(found: &Found) -> Finding {
    match found.power_control.as_deref() {
        Some("on") => ok(Kind::Power, "the kernel keeps the sensor awake".to_owned()),
        other => bad(
            Kind::Power,
            Severity::Warning,
            format!(
                "the kernel may suspend the sensor: power/control is {:?}, not \"on\"",
                other.unwrap_or("")
            ),
            format!(
                "echo on > {}/power/control, or ATTR{{power/control}}=\"on\" in its udev rule",
                found.sysfs.display()
            ),
        ),
    }
}

#[cfg(test)]
mod tests;
