//! The part of sysfs and devfs that a program looks at to find a sensor, as real files below one folder.
//!
//! A device appears and disappears as one: its folder is built aside and renamed into place, so a program never sees
//! half of it, which a kernel does not promise. Layout and texts: the kernel's `drivers/usb/core/sysfs.c`.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use kinect2::protocol::{ADAPTOR, CONFIGURATION, VENDOR};

use crate::controller::Controller;
use crate::layout::Layout;

/// What the tree says of the sensor.
#[derive(Clone, Debug)]
pub(crate) struct Sensor {
    pub(crate) serial: String,
    /// Device descriptor and configuration, as in `descriptors`.
    pub(crate) descriptors: Vec<u8>,
    pub(crate) layout: Layout,
    /// On a USB 2 port: 480 Mbit/s, on bus 1.
    pub(crate) usb2: bool,
    /// `power/control`: may the kernel suspend it.
    pub(crate) autosuspend: bool,
}

impl Sensor {
    /// The sensor as it is when it is plugged in now.
    pub(crate) fn new(controller: &Controller, autosuspend: bool) -> Self {
        let device = controller.device();
        let configuration = device.config_descriptor();
        Sensor {
            serial: device.serial().to_owned(),
            descriptors: [&device.device_descriptor()[..], configuration].concat(),
            layout: Layout::parse(configuration),
            usb2: controller.usb2(),
            autosuspend,
        }
    }
}

/// The folder with `sys` and `dev`.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    root: PathBuf,
}

/// The controller, as on most computers.
const CONTROLLER: &str = "devices/pci0000:00/0000:00:14.0";
/// Linux Foundation's root hubs.
const ROOT_HUB: (u16, u16) = (0x1D6B, 0x0003);
/// Device number of the adaptor's hub.
const HUB: u8 = 2;

impl Tree {
    pub(crate) fn new(root: &Path) -> Self {
        Tree { root: root.to_owned() }
    }

    /// The folder of nodes.
    pub(crate) fn nodes(&self) -> PathBuf {
        self.root.join("dev/bus/usb")
    }

    /// Writes what does not come and go: module parameters, drivers, the root hub and the adaptor. What an earlier
    /// run left goes first.
    pub(crate) fn create(&self, usb2: bool, memory_mb: usize) -> io::Result<()> {
        for folder in ["sys", "dev"] {
            match fs::remove_dir_all(self.root.join(folder)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let sys = self.root.join("sys");
        let parameters = sys.join("module/usbcore/parameters");
        fs::create_dir_all(&parameters)?;
        attribute(&parameters, "autosuspend", "2")?;
        self.limit_memory(memory_mb)?;
        fs::create_dir_all(sys.join("bus/usb/devices"))?;
        for driver in ["usbfs", "snd-usb-audio", "hub", "usb"] {
            fs::create_dir_all(sys.join("bus/usb/drivers").join(driver))?;
        }
        self.connect(usb2)
    }

    /// Says how much memory usbfs may take.
    pub(crate) fn limit_memory(&self, mb: usize) -> io::Result<()> {
        attribute(&self.root.join("sys/module/usbcore/parameters"), "usbfs_memory_mb", &mb.to_string())
    }

    /// The adaptor comes, with its root hub.
    pub(crate) fn connect(&self, usb2: bool) -> io::Result<()> {
        let sys = self.root.join("sys");
        let bus = bus(usb2);
        let speed = if usb2 { "480" } else { "5000" };
        for (name, (vendor, product), device, devpath) in
            [(format!("usb{bus}"), ROOT_HUB, 1, "0"), (format!("{bus}-1"), (VENDOR, ADAPTOR), HUB, "1")]
        {
            let parent = if device == HUB { format!("usb{bus}") } else { String::new() };
            let folder = sys.join(CONTROLLER).join(parent).join(&name);
            fs::create_dir_all(folder.join("power"))?;
            attribute(&folder, "idVendor", &format!("{vendor:04x}"))?;
            attribute(&folder, "idProduct", &format!("{product:04x}"))?;
            attribute(&folder, "bDeviceClass", "09")?;
            attribute(&folder, "bConfigurationValue", "1")?;
            attribute(&folder, "speed", speed)?;
            attribute(&folder, "busnum", &bus.to_string())?;
            attribute(&folder, "devnum", &device.to_string())?;
            attribute(&folder, "devpath", devpath)?;
            attribute(&folder, "power/control", "auto")?;
            attribute(&folder, "power/autosuspend", "0")?;
            self.list(&folder, &name)?;
        }
        fs::create_dir_all(self.nodes().join(format!("{bus:03}")))
    }

    /// The adaptor goes, after the sensor, and its root hub.
    pub(crate) fn disconnect(&self, usb2: bool) -> io::Result<()> {
        let (bus, sys) = (bus(usb2), self.root.join("sys"));
        for name in [format!("{bus}-1"), format!("usb{bus}")] {
            fs::remove_file(sys.join("bus/usb/devices").join(name))?;
        }
        fs::remove_dir_all(sys.join(CONTROLLER).join(format!("usb{bus}")))
    }

    /// The sensor is plugged in, as device number `device`.
    pub(crate) fn plug(&self, sensor: &Sensor, device: u8) -> io::Result<()> {
        let bus = bus(sensor.usb2);
        let name = name(sensor.usb2);
        let aside = self.root.join("sys/.coming");
        let _ = fs::remove_dir_all(&aside);
        fs::create_dir_all(aside.join("power"))?;
        let [_, _, _, _, class, _, _, _, v0, v1, p0, p1, ..] = sensor.descriptors[..] else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        for (attribute_name, text) in [
            ("idVendor", format!("{:04x}", u16::from_le_bytes([v0, v1]))),
            ("idProduct", format!("{:04x}", u16::from_le_bytes([p0, p1]))),
            ("bDeviceClass", format!("{class:02x}")),
            ("bNumConfigurations", "1".to_owned()),
            ("bConfigurationValue", CONFIGURATION.to_string()),
            ("bNumInterfaces", format!("{:2}", sensor.layout.interfaces().count())),
            ("bMaxPower", "144mA".to_owned()),
            ("version", if sensor.usb2 { " 2.10" } else { " 3.00" }.to_owned()),
            ("speed", if sensor.usb2 { "480" } else { "5000" }.to_owned()),
            ("busnum", bus.to_string()),
            ("devnum", device.to_string()),
            ("devpath", "1.1".to_owned()),
            ("maxchild", "0".to_owned()),
            ("manufacturer", "Microsoft".to_owned()),
            ("product", "Xbox NUI Sensor".to_owned()),
            ("serial", sensor.serial.clone()),
            ("power/control", if sensor.autosuspend { "auto" } else { "on" }.to_owned()),
            ("power/autosuspend", "2".to_owned()),
            ("power/autosuspend_delay_ms", "2000".to_owned()),
            ("power/runtime_status", "active".to_owned()),
            ("uevent", format!("MAJOR=189\nDEVNAME=bus/usb/{bus:03}/{device:03}\nDEVTYPE=usb_device")),
        ] {
            attribute(&aside, attribute_name, &text)?;
        }
        fs::write(aside.join("descriptors"), &sensor.descriptors)?;
        for setting in sensor.layout.interfaces() {
            let folder = aside.join(format!("{name}:{CONFIGURATION}.{}", setting.interface));
            fs::create_dir_all(&folder)?;
            attribute(&folder, "bInterfaceNumber", &format!("{:02x}", setting.interface))?;
            attribute(&folder, "bAlternateSetting", &format!("{:2}", setting.alternate))?;
            attribute(&folder, "bInterfaceClass", &format!("{:02x}", setting.class))?;
            attribute(&folder, "bNumEndpoints", &format!("{:02x}", setting.endpoints))?;
        }
        // A kernel's node is read as the descriptors, too.
        let node = self.node(sensor.usb2, device);
        fs::create_dir_all(node.parent().unwrap_or(&self.root))?;
        fs::write(self.root.join("dev/.coming"), &sensor.descriptors)?;
        fs::set_permissions(self.root.join("dev/.coming"), fs::Permissions::from_mode(0o664))?;
        fs::rename(self.root.join("dev/.coming"), node)?;
        let folder = self.folder(sensor.usb2);
        fs::rename(&aside, &folder)?;
        for setting in sensor.layout.interfaces() {
            let interface = format!("{name}:{CONFIGURATION}.{}", setting.interface);
            self.list(&folder.join(&interface), &interface)?;
        }
        self.list(&folder, name)
    }

    /// The sensor has gone.
    pub(crate) fn unplug(&self, sensor: &Sensor, device: u8) -> io::Result<()> {
        let name = name(sensor.usb2);
        let devices = self.root.join("sys/bus/usb/devices");
        fs::remove_file(devices.join(name))?;
        for setting in sensor.layout.interfaces() {
            fs::remove_file(devices.join(format!("{name}:{CONFIGURATION}.{}", setting.interface)))?;
        }
        fs::remove_file(self.node(sensor.usb2, device))?;
        let aside = self.root.join("sys/.going");
        fs::rename(self.folder(sensor.usb2), &aside)?;
        fs::remove_dir_all(aside)
    }

    /// Says which driver is bound to an interface of the sensor.
    pub(crate) fn bind(&self, usb2: bool, interface: u8, driver: Option<&str>) -> io::Result<()> {
        let link = self.folder(usb2).join(format!("{}:{CONFIGURATION}.{interface}/driver", name(usb2)));
        match fs::remove_file(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let Some(driver) = driver else { return Ok(()) };
        symlink(Path::new("../../../../../../../bus/usb/drivers").join(driver), link)
    }

    /// The node of a device.
    pub(crate) fn node(&self, usb2: bool, device: u8) -> PathBuf {
        self.nodes().join(format!("{:03}/{device:03}", bus(usb2)))
    }

    fn folder(&self, usb2: bool) -> PathBuf {
        let bus = bus(usb2);
        self.root.join("sys").join(CONTROLLER).join(format!("usb{bus}/{bus}-1")).join(name(usb2))
    }

    /// Lists a folder among the bus's devices, by a link as in a kernel's sysfs.
    fn list(&self, folder: &Path, name: &str) -> io::Result<()> {
        let sys = self.root.join("sys");
        let below = folder.strip_prefix(&sys).unwrap_or(folder);
        symlink(Path::new("../../..").join(below), sys.join("bus/usb/devices").join(name))
    }
}

fn bus(usb2: bool) -> u8 {
    if usb2 { 1 } else { 2 }
}

fn name(usb2: bool) -> &'static str {
    if usb2 { "1-1.1" } else { "2-1.1" }
}

fn attribute(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    fs::write(folder.join(name), format!("{text}\n"))
}
