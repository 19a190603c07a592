use super::tree::{Tree, descriptors};
use super::*;

#[test]
fn a_sensor_is_found_with_all_that_is_written_about_it() {
    let tree = Tree::new();
    tree.plug("005697142447", 2, 3);
    tree.bind(2, 1, "usbfs");
    tree.bind(2, 2, "snd-usb-audio");
    let roots = tree.roots();
    let bus = find(&roots).expect("a list");
    let expected = Found {
        sysfs: roots.devices().join("2-1"),
        node: roots.dev.join("bus/usb/002/003"),
        product: 0x02C4,
        serial: Some("005697142447".to_owned()),
        speed_mbit: 5000,
        power_control: Some("on".to_owned()),
        drivers: [None, Some("usbfs".to_owned())],
        bus: 2,
        device: 3,
        configuration: Some(1),
    };
    assert_eq!(bus, Bus { sensors: vec![expected], adaptor: false });
    assert_eq!(bus.sensors[0].owner(), Some((1, "usbfs")));
    assert_eq!(bus.sensors[0].interval_bytes(), Some(33_792));
}

#[test]
fn sensors_come_in_the_order_of_their_place_and_other_devices_do_not() {
    let tree = Tree::new();
    tree.plug("b", 10, 2);
    tree.plug("a", 4, 100);
    tree.plug("another vendor's", 3, 1);
    tree.set(3, "idVendor", "1d6b");
    tree.plug("another product", 2, 1);
    tree.set(2, "idProduct", "028e");
    tree.plug_adaptor();
    let bus = find(&tree.roots()).expect("a list");
    let serials: Vec<_> = bus.sensors.iter().map(|found| found.serial.as_deref()).collect();
    assert_eq!(serials, [Some("a"), Some("b")]);
    assert!(bus.adaptor);
}

#[test]
fn what_the_kernel_does_not_say_is_left_open() {
    let tree = Tree::new();
    tree.plug("", 2, 3);
    tree.set(2, "speed", "1.5");
    tree.set(2, "bConfigurationValue", "");
    let found = find(&tree.roots()).expect("a list").sensors.remove(0);
    assert_eq!((found.serial, found.speed_mbit, found.configuration), (None, 1, None));
    tree.set(2, "speed", "unknown");
    assert_eq!(find(&tree.roots()).expect("a list").sensors[0].speed_mbit, 0);
    tree.set(2, "devnum", "");
    assert_eq!(find(&tree.roots()).expect("a list"), Bus::default());
}

#[test]
fn a_sensor_that_was_unplugged_is_not_found() {
    let tree = Tree::new();
    tree.plug("a", 2, 3);
    tree.plug("b", 4, 3);
    tree.unplug(2);
    let sensors = find(&tree.roots()).expect("a list").sensors;
    assert_eq!(sensors.iter().map(|found| found.bus).collect::<Vec<_>>(), [4]);
}

#[test]
fn without_a_list_of_devices_there_is_an_error() {
    let roots = Roots { sys: PathBuf::from("/nonexistent"), dev: PathBuf::from("/nonexistent") };
    assert_eq!(find(&roots).expect_err("no list").kind(), io::ErrorKind::NotFound);
    assert_eq!(roots.usbfs_memory_mb(), None);
}

#[test]
fn the_memory_of_usbfs_is_read() {
    let tree = Tree::new();
    assert_eq!(tree.roots().usbfs_memory_mb(), Some(16));
    tree.memory(0);
    assert_eq!(tree.roots().usbfs_memory_mb(), Some(0));
}

#[test]
fn descriptors_may_be_cut_anywhere_or_lie() {
    let bytes = descriptors(33_792);
    for length in 0..bytes.len() {
        assert_eq!(interval_bytes(&bytes[..length]), None, "{length} bytes");
    }
    for at in 0..bytes.len() {
        for value in [0, 1, 2, 255] {
            let mut bytes = bytes.clone();
            bytes[at] = value;
            let _ = interval_bytes(&bytes);
        }
    }
    // The same endpoint in the idle setting, or without a companion, does not count.
    let mut idle = bytes.clone();
    let alternate = bytes.len() - 13 - 9 + 3;
    idle[alternate] = 0;
    assert_eq!(interval_bytes(&idle), None);
    assert_eq!(interval_bytes(&bytes[..bytes.len() - 6]), None);
}
