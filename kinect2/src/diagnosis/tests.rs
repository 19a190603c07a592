use super::*;
use crate::sysfs::tree::Tree;
use std::path::PathBuf;

fn look(tree: &Tree, serial: Option<&str>) -> Vec<Finding> {
    diagnose(&tree.roots(), serial, 8, 60)
}

/// The finding of a kind; there is at most one.
fn of(findings: &[Finding], kind: Kind) -> &Finding {
    let mut all = findings.iter().filter(|finding| finding.kind == kind);
    let first = all.next().unwrap_or_else(|| panic!("no {kind:?} in {findings:#?}"));
    assert!(all.next().is_none(), "{findings:#?}");
    first
}

/// Checks that one kind is as bad as said, that its text and remedy name what they should, and all others are well.
fn only(findings: &[Finding], kind: Kind, severity: Severity, text: &str, remedy: &str) {
    let finding = of(findings, kind);
    assert_eq!(finding.severity, severity, "{finding:?}");
    assert!(finding.text.contains(text), "{finding:?}");
    assert!(finding.remedy.contains(remedy), "{finding:?}");
    for other in findings.iter().filter(|other| other.kind != kind) {
        assert_eq!((other.severity, other.remedy.as_str()), (Severity::Ok, ""), "{other:?}");
    }
}

fn healthy() -> Tree {
    let tree = Tree::new();
    tree.plug("005697142447", 2, 3);
    tree
}

#[test]
fn a_healthy_sensor_has_only_good_findings() {
    let tree = healthy();
    let findings = look(&tree, None);
    let kinds: Vec<_> = findings.iter().map(|finding| finding.kind.word()).collect();
    let expected = ["usbfs", "sensor", "count", "link", "packets", "permission", "owner", "power", "memory"];
    assert_eq!(kinds, expected);
    only(&findings, Kind::Sensor, Severity::Ok, "serial 005697142447", "");
    assert_eq!(look(&tree, Some("005697142447")), findings);
}

#[test]
fn a_kernel_without_usb_is_the_only_finding() {
    let roots = Roots { sys: PathBuf::from("/nonexistent"), dev: PathBuf::from("/nonexistent") };
    let findings = diagnose(&roots, None, 8, 60);
    only(&findings, Kind::Usbfs, Severity::Error, "/nonexistent/bus/usb/devices", "modprobe xhci_pci");
    assert_eq!(findings.len(), 1);
}

#[test]
fn missing_nodes_are_found() {
    let tree = Tree::new();
    std::fs::remove_dir_all(tree.roots().dev).unwrap();
    let findings = look(&tree, None);
    assert_eq!(of(&findings, Kind::Usbfs).severity, Severity::Error);
    assert!(of(&findings, Kind::Usbfs).remedy.contains("devtmpfs"));
}

#[test]
fn no_sensor_and_no_adaptor_is_a_matter_of_plugs() {
    let findings = look(&Tree::new(), None);
    only(&findings, Kind::Sensor, Severity::Error, "no Kinect v2 on the bus", "USB 3 port");
}

#[test]
fn an_adaptor_without_a_sensor_lacks_its_power_supply() {
    let tree = Tree::new();
    tree.plug_adaptor();
    only(&look(&tree, None), Kind::Sensor, Severity::Error, "045e:02d9", "power supply");
}

#[test]
fn another_serial_names_those_that_are_there() {
    let findings = look(&healthy(), Some("1"));
    only(&findings, Kind::Sensor, Severity::Error, "serial 1; there is 005697142447", "none");
}

#[test]
fn more_than_one_sensor_wants_a_serial_number() {
    let tree = healthy();
    tree.plug("2", 4, 2);
    only(&look(&tree, None), Kind::Count, Severity::Warning, "005697142447, 2", "serial number");
    only(&look(&tree, Some("2")), Kind::Sensor, Severity::Ok, "serial 2)", "");
}

#[test]
fn a_usb_2_link_is_an_error_and_an_unknown_one_a_warning() {
    let tree = healthy();
    tree.set(2, "speed", "480");
    only(&look(&tree, None), Kind::Link, Severity::Error, "480 Mbit/s", "USB 3 port");
    tree.set(2, "speed", "10000");
    only(&look(&tree, None), Kind::Link, Severity::Ok, "10000 Mbit/s", "");
    tree.set(2, "speed", "unknown");
    only(&look(&tree, None), Kind::Link, Severity::Warning, "does not know", "5000");
}

#[test]
fn an_endpoint_too_small_for_a_packet_is_an_error() {
    let tree = healthy();
    tree.set_interval_bytes(2, 11_264);
    only(&look(&tree, None), Kind::Packets, Severity::Error, "11264 bytes", "host controller");
    tree.set_interval_bytes(2, 33_792);
    std::fs::remove_file(tree.roots().devices().join("2-1/descriptors")).unwrap();
    only(&look(&tree, None), Kind::Packets, Severity::Warning, "not in the descriptors", "again");
}

#[test]
fn a_node_that_may_not_be_opened_is_named_with_its_group() {
    let tree = healthy();
    let denied = |errno| diagnose_with(&tree.roots(), None, 8, 60, &move |_: &Path| Err(errno));
    let findings = denied(Errno::EACCES);
    let node = tree.node(2, 3).display().to_string();
    only(&findings, Kind::Permission, Severity::Error, &node, "udev rule");
    assert!(of(&findings, Kind::Permission).text.contains(", group "));
    only(&denied(Errno::ENODEV), Kind::Permission, Severity::Error, &node, "again");
}

#[test]
fn the_owner_of_an_interface_is_named() {
    let tree = healthy();
    tree.bind(2, 2, "snd-usb-audio");
    only(&look(&tree, None), Kind::Owner, Severity::Ok, "nobody", "");
    tree.bind(2, 1, "usbfs");
    only(&look(&tree, None), Kind::Owner, Severity::Error, "another program", "fuser -v");
    tree.bind(2, 0, "usbtest");
    only(
        &look(&tree, None),
        Kind::Owner,
        Severity::Error,
        "usbtest",
        "2-1:1.0 > /sys/bus/usb/drivers/usbtest",
    );
}

#[test]
fn usbfs_memory_is_compared_with_the_pool() {
    let tree = healthy();
    let with = |packets, transfers| diagnose(&tree.roots(), None, packets, transfers);
    only(&with(8, 60), Kind::Memory, Severity::Ok, "need 16 MiB", "");
    only(&with(8, 64), Kind::Memory, Severity::Error, "16 MiB", "usbfs_memory_mb=64");
    tree.memory(1);
    // However small the pool, the longest reply has to fit.
    only(&with(1, 1), Kind::Memory, Severity::Error, "need 2 MiB", "=4");
    tree.memory(0);
    only(&with(128, 1000), Kind::Memory, Severity::Ok, "not limited", "");
    std::fs::remove_dir_all(tree.roots().sys.join("module")).unwrap();
    only(&with(8, 60), Kind::Memory, Severity::Warning, "does not say", "usbfs_memory_mb");
}

#[test]
fn a_sensor_that_may_be_suspended_is_a_warning() {
    let tree = healthy();
    tree.set(2, "power/control", "auto");
    only(&look(&tree, None), Kind::Power, Severity::Warning, "\"auto\"", "echo on > ");
}

#[test]
fn owners_are_called_by_name_where_they_have_one() {
    let list = "root:x:0:0:root:/root:/bin/sh\nbroken\nplugdev:x:46:\n";
    assert_eq!([0, 46, 4, 7].map(|number| name_in(list, number)), ["root", "plugdev", "4", "7"]);
}
