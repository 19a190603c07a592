//! Sensors as the kernel lists them in sysfs: found without opening a device, so without any permission.
//!
//! Attributes: Documentation/ABI/testing/sysfs-bus-usb and the kernel's drivers/usb/core/sysfs.c.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::protocol::{ADAPTOR, CONTROL_INTERFACE, DEPTH_IN, DEPTH_INTERFACE, PRODUCTS, VENDOR};

/// Where sysfs and devfs are mounted; elsewhere in tests.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Roots {
    /// `/sys`.
    pub sys: PathBuf,
    /// `/dev`.
    pub dev: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Roots { sys: PathBuf::from("/sys"), dev: PathBuf::from("/dev") }
    }
}

impl Roots {
    /// The folder in which the kernel lists USB devices and their interfaces.
    #[must_use]
    pub fn devices(&self) -> PathBuf {
        self.sys.join("bus/usb/devices")
    }

    /// The folder with a node for every USB device, in one folder per bus.
    #[must_use]
    pub fn nodes(&self) -> PathBuf {
        self.dev.join("bus/usb")
    }

    /// What usbfs may hold for all processes together, in MiB; 0 means as much as they like. `None` where the kernel
    /// does not say. The kernel's own value is 16.
    #[must_use]
    pub fn usbfs_memory_mb(&self) -> Option<u64> {
        number(&self.sys.join("module/usbcore/parameters"), "usbfs_memory_mb")
    }
}

/// A sensor on the bus.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Found {
    /// Its folder in sysfs.
    pub sysfs: PathBuf,
    /// Its node, to be opened.
    pub node: PathBuf,
    /// `idProduct`, one of [`PRODUCTS`].
    pub product: u16,
    /// Serial number, if it has one: usually 12 digits.
    pub serial: Option<String>,
    /// Speed of the link in Mbit/s: 5000 for USB 3, 480 for USB 2, 12 or 1 for slower; 0 if the kernel does not know.
    pub speed_mbit: u32,
    /// `power/control`: "on" means that the kernel never suspends it by itself, "auto" that it may.
    pub power_control: Option<String>,
    /// Who holds the interface of commands and the one of the depth stream; `usbfs` is some program.
    pub drivers: [Option<String>; 2],
    /// Bus number.
    pub bus: u16,
    /// Number on the bus; another after each enumeration.
    pub device: u16,
    /// `bConfigurationValue`; `None` while it is not configured.
    pub configuration: Option<u8>,
}

/// What is on the bus.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Bus {
    /// Sensors, in the order of their bus and device number.
    pub sensors: Vec<Found>,
    /// Whether the adaptor's hub is there: then a sensor that is not has no power.
    pub adaptor: bool,
}

/// Looks for sensors and the adaptor.
///
/// What vanishes while it is looked at is left out.
///
/// # Errors
/// The list of devices cannot be read: `NotFound` means a kernel without USB, or no sysfs.
pub fn find(roots: &Roots) -> io::Result<Bus> {
    let mut bus = Bus::default();
    for entry in fs::read_dir(roots.devices())? {
        let folder = entry?.path();
        if hex(&folder, "idVendor") != Some(VENDOR) {
            continue;
        }
        match hex(&folder, "idProduct") {
            Some(ADAPTOR) => bus.adaptor = true,
            Some(product) if PRODUCTS.contains(&product) => {
                bus.sensors.extend(sensor(roots, folder, product));
            }
            _ => {}
        }
    }
    bus.sensors.sort_by_key(|found| (found.bus, found.device));
    Ok(bus)
}

impl Found {
    /// Most bytes that the depth stream's endpoint carries per service interval, by its SuperSpeed companion in
    /// `descriptors`; `None` if there is no such endpoint, or none with a companion (a USB 2 link).
    #[must_use]
    pub fn interval_bytes(&self) -> Option<u32> {
        let bytes = read(&self.sysfs.join("descriptors"), DESCRIPTORS_MAX)?;
        interval_bytes(&bytes)
    }

    /// The interface that somebody holds, and who; `usbfs` is some program.
    #[must_use]
    pub fn owner(&self) -> Option<(u8, &str)> {
        [CONTROL_INTERFACE, DEPTH_INTERFACE]
            .into_iter()
            .zip(&self.drivers)
            .find_map(|(interface, driver)| Some((interface, driver.as_deref()?)))
    }
}

/// More than any attribute but `descriptors` holds.
const ATTRIBUTE_MAX: u64 = 4096;
/// A device descriptor and a few configurations; the sensor's one has some 300 bytes.
const DESCRIPTORS_MAX: u64 = 65_536;

const DEVICE_DESCRIPTOR_BYTES: usize = 18;
const INTERFACE: u8 = 4;
const ENDPOINT: u8 = 5;
const SS_COMPANION: u8 = 0x30;
const TRANSFER_TYPE: u8 = 3;
const ISOCHRONOUS: u8 = 1;

fn sensor(roots: &Roots, folder: PathBuf, product: u16) -> Option<Found> {
    let bus = u16::try_from(number(&folder, "busnum")?).ok()?;
    let device = u16::try_from(number(&folder, "devnum")?).ok()?;
    let driver = |interface| driver(&folder, interface);
    Some(Found {
        node: roots.nodes().join(format!("{bus:03}/{device:03}")),
        product,
        serial: text(&folder, "serial").filter(|serial| !serial.is_empty()),
        // "1.5" is the only one with a fraction.
        speed_mbit: text(&folder, "speed")
            .and_then(|speed| speed.split('.').next().and_then(|mbit| mbit.parse().ok()))
            .unwrap_or(0),
        power_control: text(&folder, "power/control"),
        drivers: [driver(CONTROL_INTERFACE), driver(DEPTH_INTERFACE)],
        bus,
        device,
        configuration: number(&folder, "bConfigurationValue").and_then(|value| u8::try_from(value).ok()),
        sysfs: folder,
    })
}

/// Who is bound to an interface. Its folder stands in the device's, as `<device>:<configuration>.<interface>`.
fn driver(device: &Path, interface: u8) -> Option<String> {
    let name = device.file_name()?.to_str()?;
    let link = device.join(format!("{name}:{}.{interface}/driver", crate::protocol::CONFIGURATION));
    Some(fs::read_link(link).ok()?.file_name()?.to_string_lossy().into_owned())
}

fn interval_bytes(descriptors: &[u8]) -> Option<u32> {
    let mut rest = descriptors.get(DEVICE_DESCRIPTOR_BYTES..)?;
    let (mut streams, mut depth) = (false, false);
    let mut most = None;
    while let [length, kind, ..] = *rest {
        let length = usize::from(length);
        // Shorter than its own head, or cut off: nothing behind it can be trusted.
        let descriptor = rest.get(..length).filter(|_| length >= 2)?;
        match (kind, descriptor) {
            (INTERFACE, [_, _, interface, alternate, ..]) => {
                streams = *interface == DEPTH_INTERFACE && *alternate == 1;
                depth = false;
            }
            (ENDPOINT, [_, _, address, attributes, ..]) => {
                depth = streams && *address == DEPTH_IN && attributes & TRANSFER_TYPE == ISOCHRONOUS;
            }
            (SS_COMPANION, [_, _, _, _, low, high, ..]) if depth => {
                most = most.max(Some(u32::from(u16::from_le_bytes([*low, *high]))));
            }
            _ => {}
        }
        rest = &rest[length..];
    }
    most
}

fn read(path: &Path, most: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(most).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn text(folder: &Path, name: &str) -> Option<String> {
    let bytes = read(&folder.join(name), ATTRIBUTE_MAX)?;
    Some(String::from_utf8_lossy(&bytes).trim().to_owned())
}

fn number(folder: &Path, name: &str) -> Option<u64> {
    text(folder, name)?.parse().ok()
}

fn hex(folder: &Path, name: &str) -> Option<u16> {
    u16::from_str_radix(&text(folder, name)?, 16).ok()
}

#[cfg(test)]
pub(crate) mod tree;

#[cfg(test)]
mod tests;
