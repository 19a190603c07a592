//! Trees for tests that look like sysfs and devfs with sensors.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Roots;

/// A folder with `sys` and `dev` in it, removed in the end.
#[derive(Debug)]
pub(crate) struct Tree {
    folder: PathBuf,
}

static TREES: AtomicUsize = AtomicUsize::new(0);

impl Tree {
    /// A machine with USB and nothing plugged in.
    pub(crate) fn new() -> Self {
        let number = TREES.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("kinect2-{}-{number}", std::process::id()));
        let tree = Tree { folder };
        fs::create_dir_all(tree.roots().devices()).expect("made");
        fs::create_dir_all(tree.roots().nodes()).expect("made");
        tree.memory(16);
        tree
    }

    pub(crate) fn roots(&self) -> Roots {
        Roots { sys: self.folder.join("sys"), dev: self.folder.join("dev") }
    }

    pub(crate) fn memory(&self, mb: u64) {
        self.write(&self.folder.join("sys/module/usbcore/parameters/usbfs_memory_mb"), &format!("{mb}\n"));
    }

    /// A sensor as a healthy one looks: USB 3, configured, nobody's, kept awake.
    pub(crate) fn plug(&self, serial: &str, bus: u16, device: u16) {
        let name = format!("{bus}-1");
        for (file, text) in [
            ("idVendor", "045e".to_owned()),
            ("idProduct", "02c4".to_owned()),
            ("serial", serial.to_owned()),
            ("speed", "5000".to_owned()),
            ("busnum", bus.to_string()),
            ("devnum", device.to_string()),
            ("bConfigurationValue", "1".to_owned()),
            ("power/control", "on".to_owned()),
        ] {
            self.set(bus, file, &text);
        }
        let folder = self.roots().devices().join(&name);
        fs::write(folder.join("descriptors"), descriptors(33_792)).expect("written");
        for interface in 0..4 {
            fs::create_dir_all(folder.join(format!("{name}:1.{interface}"))).expect("made");
        }
        self.write(&self.node(bus, device), "");
    }

    pub(crate) fn unplug(&self, bus: u16) {
        fs::remove_dir_all(self.roots().devices().join(format!("{bus}-1"))).expect("removed");
    }

    /// The adaptor's hub on its USB 2 side.
    pub(crate) fn plug_adaptor(&self) {
        let folder = self.roots().devices().join("1-4");
        self.write(&folder.join("idVendor"), "045e\n");
        self.write(&folder.join("idProduct"), "02d9\n");
    }

    /// Another value for an attribute of the sensor on `bus`.
    pub(crate) fn set(&self, bus: u16, file: &str, text: &str) {
        self.write(&self.roots().devices().join(format!("{bus}-1/{file}")), &format!("{text}\n"));
    }

    pub(crate) fn set_interval_bytes(&self, bus: u16, bytes: u16) {
        let file = self.roots().devices().join(format!("{bus}-1/descriptors"));
        fs::write(file, descriptors(bytes)).expect("written");
    }

    /// Binds an interface of the sensor on `bus`.
    pub(crate) fn bind(&self, bus: u16, interface: u8, driver: &str) {
        let folder = self.roots().devices().join(format!("{bus}-1/{bus}-1:1.{interface}"));
        symlink(format!("../../../../bus/usb/drivers/{driver}"), folder.join("driver")).expect("made");
    }

    pub(crate) fn node(&self, bus: u16, device: u16) -> PathBuf {
        self.roots().nodes().join(format!("{bus:03}/{device:03}"))
    }

    fn write(&self, file: &Path, text: &str) {
        fs::create_dir_all(file.parent().expect("in the tree")).expect("made");
        fs::write(file, text).expect("written");
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Device, configuration and the first two interfaces as kinect-v2.md lists them.
pub(crate) fn descriptors(interval_bytes: u16) -> Vec<u8> {
    let mut bytes = vec![18, 1, 0, 3, 0, 0, 0, 9, 0x5E, 0x04, 0xC4, 0x02, 0, 1, 1, 2, 3, 1];
    bytes.extend([9, 2, 0, 0, 4, 1, 0, 0xC0, 18]);
    bytes.extend([8, 11, 0, 2, 0xFF, 0, 0, 0]);
    bytes.extend([9, 4, 0, 0, 2, 0xFF, 0, 0, 0]);
    bytes.extend([7, 5, 0x02, 2, 0, 4, 0, 6, 0x30, 0, 0, 0, 0]);
    bytes.extend([7, 5, 0x81, 2, 0, 4, 0, 6, 0x30, 3, 0, 0, 0]);
    bytes.extend([9, 4, 1, 0, 0, 0xFF, 0, 0, 0]);
    bytes.extend([9, 4, 1, 1, 1, 0xFF, 0, 0, 0]);
    let [low, high] = interval_bytes.to_le_bytes();
    bytes.extend([7, 5, 0x84, 5, 0, 4, 1, 6, 0x30, 10, 2, low, high]);
    bytes
}
