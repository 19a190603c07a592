//! Finding the sensor, and what it says of itself.

#![expect(unsafe_code, reason = "descriptors are C structures that point to one another")]

use std::ptr;
use std::slice;

use kinect2::protocol::{PACKET_BYTES, PRODUCTS, VENDOR};
use kinect2_sim::device::Options;
use kinect2_sim::host::Pace;
use kinect2_sim_libusb::abi::Error;
use kinect2_sim_libusb::exports::*;

use crate::session::Session;

#[test]
fn the_version_is_one_that_libfreenect2_takes() {
    // SAFETY: a constant.
    let version = unsafe { &*libusb_get_version() };
    assert_eq!((version.major, version.minor), (1, 0));
    assert!(version.nano >= 10_952);
}

#[test]
fn a_sensor_is_found_with_its_serial_number() {
    let options = Options { serial: "123456789012".into(), ..Options::noise(1, 1) };
    let session = Session::open(options, Pace::Demand);
    let descriptor = session.device_descriptor();
    assert_eq!(descriptor.idVendor, VENDOR);
    assert!(PRODUCTS.contains(&descriptor.idProduct));
    assert_eq!(descriptor.bcdUSB, 0x300);
    assert_eq!(session.string(descriptor.iSerialNumber).as_deref(), Ok("123456789012"));
    assert_eq!(session.string(0), Err(Error::InvalidParam.code()));
    assert_eq!(session.string(99), Err(Error::Pipe.code()));
    assert_eq!(session.configuration(), 1);
}

#[test]
fn the_same_device_has_the_same_pointer_while_somebody_has_it() {
    let session = Session::open(Options::noise(1, 1), Pace::Demand);
    // SAFETY: the handle is open.
    let opened = unsafe { libusb_get_device(session.handle) };
    session.with_list(|devices| assert_eq!(devices, [opened]));
    // SAFETY: the handle's reference is there.
    unsafe {
        assert_eq!(libusb_ref_device(opened), opened);
        libusb_unref_device(opened);
        assert_eq!(libusb_get_device_speed(opened), 4);
        assert!(libusb_get_bus_number(opened) > 0);
    }
}

#[test]
fn the_depth_endpoint_says_how_much_it_sends() {
    let session = Session::open(Options::noise(1, 1), Pace::Demand);
    let found = session.with_config(|config| {
        let mut found = Vec::new();
        // SAFETY: arrays are as long as their counts say.
        unsafe {
            for interface in slice::from_raw_parts(config.interface, config.bNumInterfaces.into()) {
                assert!(interface.num_altsetting > 0);
                if interface.num_altsetting < 2 {
                    continue;
                }
                let setting = &*interface.altsetting.add(1);
                for endpoint in slice::from_raw_parts(setting.endpoint, setting.bNumEndpoints.into()) {
                    let mut companion = ptr::null_mut();
                    if endpoint.bEndpointAddress == 0x84 {
                        assert_eq!(endpoint.bmAttributes & 3, 1);
                        let code = libusb_get_ss_endpoint_companion_descriptor(
                            ptr::null_mut(),
                            endpoint,
                            &raw mut companion,
                        );
                        assert_eq!(code, 0);
                        found.push((setting.bInterfaceNumber, (*companion).wBytesPerInterval));
                        libusb_free_ss_endpoint_companion_descriptor(companion);
                    }
                }
            }
        }
        found
    });
    assert_eq!(found, [(1, u16::try_from(PACKET_BYTES).unwrap())]);
}

#[test]
fn errors_have_names_and_texts() {
    // SAFETY: both give constant texts.
    let text = |text: *const std::ffi::c_char| unsafe { std::ffi::CStr::from_ptr(text) }.to_str().unwrap();
    assert_eq!(text(libusb_error_name(-4)), "LIBUSB_ERROR_NO_DEVICE");
    assert_eq!(text(libusb_error_name(-98)), "**UNKNOWN**");
    assert!(text(libusb_error_name(0)).starts_with("LIBUSB_SUCCESS"));
    for error in Error::ALL {
        assert!(text(libusb_error_name(error.code())).starts_with("LIBUSB_ERROR_"));
        assert!(!text(libusb_strerror(error.code())).is_empty());
    }
}
