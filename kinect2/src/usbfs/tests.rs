use super::*;
use crate::protocol::{COMMAND_OUT, DEPTH_IN, PACKET_BYTES, REPLY_IN};
use std::mem::{offset_of, size_of};

/// Sizes and offsets as a C compiler gives them for linux/usbdevice_fs.h.
#[test]
fn structures_are_those_of_the_header() {
    let offsets = [
        offset_of!(RawUrb, kind),
        offset_of!(RawUrb, endpoint),
        offset_of!(RawUrb, status),
        offset_of!(RawUrb, flags),
        offset_of!(RawUrb, buffer),
        offset_of!(RawUrb, buffer_length),
        offset_of!(RawUrb, actual_length),
        offset_of!(RawUrb, start_frame),
        offset_of!(RawUrb, number_of_packets),
        offset_of!(RawUrb, error_count),
        offset_of!(RawUrb, signr),
        offset_of!(RawUrb, usercontext),
        offset_of!(Block, packets),
    ];
    if cfg!(target_pointer_width = "64") {
        assert_eq!(offsets, [0, 1, 4, 8, 16, 24, 28, 32, 36, 40, 44, 48, 56]);
        assert_eq!(size_of::<RawUrb>(), 56);
    } else {
        assert_eq!(offsets, [0, 1, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44]);
        assert_eq!(size_of::<RawUrb>(), 44);
    }
    let descriptor = [
        offset_of!(PacketDesc, length),
        offset_of!(PacketDesc, actual_length),
        offset_of!(PacketDesc, status),
        size_of::<PacketDesc>(),
    ];
    assert_eq!(descriptor, [0, 4, 8, 12]);
    let interface =
        [offset_of!(SetInterface, interface), offset_of!(SetInterface, alternate), size_of::<SetInterface>()];
    assert_eq!(interface, [0, 4, 8]);
    let driver = [offset_of!(GetDriver, interface), offset_of!(GetDriver, driver), size_of::<GetDriver>()];
    assert_eq!(driver, [0, 4, 260]);
}

/// As the header's macros give them, on every processor but MIPS, PowerPC and SPARC.
#[test]
fn calls_have_the_numbers_of_the_header() {
    assert_eq!(ioctl::SET_INTERFACE, 0x8008_5504);
    assert_eq!(ioctl::SET_CONFIGURATION, 0x8004_5505);
    assert_eq!(ioctl::GET_DRIVER, 0x4104_5508);
    assert_eq!(ioctl::DISCARD_URB, 0x550B);
    assert_eq!(ioctl::CLAIM_INTERFACE, 0x8004_550F);
    assert_eq!(ioctl::RELEASE_INTERFACE, 0x8004_5510);
    assert_eq!(ioctl::RESET, 0x5514);
    assert_eq!(ioctl::CLEAR_HALT, 0x8004_5515);
    assert_eq!(ioctl::GET_SPEED, 0x551F);
    if cfg!(target_pointer_width = "64") {
        assert_eq!(ioctl::SUBMIT_URB, 0x8038_550A);
        assert_eq!(ioctl::REAP_URB_NO_DELAY, 0x4008_550D);
    } else {
        assert_eq!(ioctl::SUBMIT_URB, 0x802C_550A);
        assert_eq!(ioctl::REAP_URB_NO_DELAY, 0x4004_550D);
    }
}

#[test]
fn calls_on_what_is_no_device_are_errors() {
    let device = Device::open(Path::new("/dev/null")).expect("is everywhere");
    assert_eq!(device.speed(), Err(Errno::ENOTTY));
    assert_eq!(device.driver(0), Err(Errno::ENOTTY));
    assert_eq!(device.claim(0), Err(Errno::ENOTTY));
    assert_eq!(device.release(0), Err(Errno::ENOTTY));
    assert_eq!(device.set_interface(1, 1), Err(Errno::ENOTTY));
    assert_eq!(device.set_configuration(1), Err(Errno::ENOTTY));
    assert_eq!(device.reset(), Err(Errno::ENOTTY));
    assert_eq!(device.clear_halt(REPLY_IN), Err(Errno::ENOTTY));
    let mut node = Node::new(device, 1);
    let Refused { mut urb, errno } = node.submit(Urb::bulk(REPLY_IN, 16)).expect_err("not a device");
    assert_eq!(errno, Errno::ENOTTY);
    assert_eq!(urb.buffer_mut().len(), 16);
    assert_eq!(node.reap().expect_err("not a device"), Errno::ENOTTY);
    assert_eq!(node.pending(), 0);
}

#[test]
fn a_node_that_is_not_there_is_an_error() {
    assert_eq!(Device::open(Path::new("/nonexistent")).expect_err("not there"), Errno::ENOENT);
    assert_eq!(Device::open(Path::new("/")).expect_err("a folder"), Errno::EISDIR);
}

#[test]
fn requests_come_back_with_what_was_received() {
    let kernel = fake::Kernel::new();
    let mut node = Node::new(kernel.open(), 4);
    node.submit(Urb::bulk(REPLY_IN, 16)).expect("taken");
    let mut command = Urb::bulk(COMMAND_OUT, 36);
    command.buffer_mut()[..3].copy_from_slice(&[1, 2, 3]);
    command.set_length(3);
    node.submit(command).expect("taken");
    let mut control = Urb::control(0);
    control.set_setup(Setup::U1_ENABLE);
    node.submit(control).expect("taken");
    assert_eq!(node.pending(), 3);
    assert!(node.reap().expect("alive").is_none());

    let mut state = kernel.state();
    let requests: Vec<_> = state.pending.iter().map(|r| (r.address, r.endpoint, r.data.clone())).collect();
    assert_eq!(requests[1].2, [1, 2, 3]);
    assert_eq!(requests[2].2, Setup::U1_ENABLE.to_bytes());
    state.finish(requests[2].0, 0, Vec::new());
    state.finish(requests[0].0, 0, vec![7; 5]);
    state.finish(requests[1].0, -(Errno::EPIPE as c_int), Vec::new());
    drop(state);

    let control = node.reap().expect("alive").expect("complete");
    assert_eq!((control.endpoint(), control.status(), control.received()), (0, Ok(()), &[][..]));
    let reply = node.reap().expect("alive").expect("complete");
    assert_eq!((reply.endpoint(), reply.status(), reply.received()), (REPLY_IN, Ok(()), &[7; 5][..]));
    let command = node.reap().expect("alive").expect("complete");
    assert_eq!((command.endpoint(), command.status()), (COMMAND_OUT, Err(Errno::EPIPE)));
    assert_eq!(node.pending(), 0);
}

#[test]
fn packets_stand_at_multiples_of_their_room() {
    let kernel = fake::Kernel::new();
    let mut node = Node::new(kernel.open(), 1);
    node.submit(Urb::iso(DEPTH_IN, 3, PACKET_BYTES)).expect("taken");
    let packets = vec![(0, vec![1; PACKET_BYTES]), (-(Errno::EXDEV as c_int), vec![2; 9]), (0, vec![])];
    assert!(kernel.state().finish_iso(packets));
    let urb = node.reap().expect("alive").expect("complete");
    assert_eq!(urb.packets(), 3);
    assert_eq!(urb.packet(0), Some((Ok(()), &[1; PACKET_BYTES][..])));
    assert_eq!(urb.packet(1), Some((Err(Errno::EXDEV), &[2; 9][..])));
    assert_eq!(urb.packet(2), Some((Ok(()), &[][..])));
    assert_eq!(urb.packet(3), None);
}

#[test]
fn lengths_from_the_kernel_are_cut_to_the_buffer() {
    let mut urb = Urb::bulk(REPLY_IN, 16);
    urb.block_mut().urb.actual_length = 17;
    assert_eq!(urb.received().len(), 16);
    urb.block_mut().urb.actual_length = -1;
    assert_eq!(urb.received().len(), 0);
    let mut urb = Urb::iso(DEPTH_IN, 1, 10);
    urb.block_mut().packets[0].actual_length = u32::MAX;
    assert_eq!(urb.packet(0).map(|(_, bytes)| bytes.len()), Some(10));
    urb.block_mut().urb.status = c_int::MIN;
    assert!(urb.status().is_err());
}

#[test]
fn an_address_that_was_not_submitted_is_not_followed() {
    let kernel = fake::Kernel::new();
    let mut node = Node::new(kernel.open(), 1);
    node.submit(Urb::bulk(REPLY_IN, 16)).expect("taken");
    let stray = fake::Complete { address: 8, status: 0, actual: 0, data: Vec::new(), packets: Vec::new() };
    kernel.state().complete.push_back(stray);
    assert_eq!(node.reap().expect_err("none of ours"), Errno::EFAULT);
    assert_eq!(node.pending(), 1);
}

#[test]
fn what_is_discarded_still_has_to_be_reaped() {
    let kernel = fake::Kernel::new();
    let mut node = Node::new(kernel.open(), 2);
    let ticket = node.submit(Urb::bulk(REPLY_IN, 16)).expect("taken");
    node.submit(Urb::bulk(COMMAND_OUT, 16)).expect("taken");
    node.device().discard(ticket);
    assert_eq!(node.pending(), 2);
    let urb = node.reap().expect("alive").expect("complete");
    assert_eq!((urb.endpoint(), urb.status()), (REPLY_IN, Err(Errno::ENOENT)));
    // Once it was reaped, there is nothing of that name.
    node.device().discard(ticket);
    assert!(node.reap().expect("alive").is_none());
    assert_eq!(node.submit(urb).expect("taken"), ticket);
}

#[test]
fn a_device_that_is_gone_gives_back_what_was_pending_first() {
    let kernel = fake::Kernel::new();
    let mut node = Node::new(kernel.open(), 2);
    node.submit(Urb::bulk(REPLY_IN, 16)).expect("taken");
    kernel.unplug();
    let urb = node.reap().expect("something is left").expect("complete");
    assert_eq!(urb.status(), Err(Errno::ESHUTDOWN));
    assert_eq!(node.reap().expect_err("gone"), Errno::ENODEV);
    assert_eq!(node.submit(urb).expect_err("gone").errno, Errno::ENODEV);
}

#[test]
fn closing_gives_back_what_was_pending() {
    let kernel = fake::Kernel::new();
    let mut node = Node::new(kernel.open(), 2);
    node.submit(Urb::bulk(REPLY_IN, 16)).expect("taken");
    assert_eq!(node.close().map(|urb| urb.endpoint()).collect::<Vec<_>>(), [REPLY_IN]);
}

/// Requests of the first are freed with it; the kernel would write to them while the second reaps.
#[test]
#[should_panic(expected = "one node in its life")]
fn an_open_device_has_one_node_in_its_life() {
    let kernel = fake::Kernel::new();
    let device = kernel.open();
    let mut first = Node::new(device.clone(), 1);
    first.submit(Urb::bulk(REPLY_IN, 16)).expect("taken");
    drop(first);
    let _ = Node::new(device, 1);
}
