//! The file that the loader takes for libusb.

#![expect(unsafe_code, reason = "loads a shared object")]

use std::ffi::CString;
use std::path::PathBuf;

/// What libfreenect2 calls on Linux, commit fd64c5d.
const WANTED: [&str; 33] = [
    "libusb_get_version",
    "libusb_init",
    "libusb_exit",
    "libusb_get_device_list",
    "libusb_free_device_list",
    "libusb_get_device_descriptor",
    "libusb_get_bus_number",
    "libusb_get_device_address",
    "libusb_ref_device",
    "libusb_unref_device",
    "libusb_open",
    "libusb_close",
    "libusb_reset_device",
    "libusb_get_device",
    "libusb_get_string_descriptor_ascii",
    "libusb_get_configuration",
    "libusb_set_configuration",
    "libusb_claim_interface",
    "libusb_release_interface",
    "libusb_set_interface_alt_setting",
    "libusb_get_config_descriptor_by_value",
    "libusb_free_config_descriptor",
    "libusb_get_ss_endpoint_companion_descriptor",
    "libusb_free_ss_endpoint_companion_descriptor",
    "libusb_control_transfer",
    "libusb_bulk_transfer",
    "libusb_alloc_transfer",
    "libusb_free_transfer",
    "libusb_submit_transfer",
    "libusb_cancel_transfer",
    "libusb_handle_events_timeout_completed",
    "libusb_error_name",
    "libusb_strerror",
];

#[test]
fn it_has_the_name_and_the_functions_that_programs_look_for() {
    let file: PathBuf = std::env::current_exe().unwrap().parent().unwrap().join("libkinect2_sim_libusb.so");
    let bytes = std::fs::read(&file).expect("built beside this test");
    assert!(bytes.windows(16).any(|bytes| bytes == b"libusb-1.0.so.0\0"), "the name inside");
    let path = CString::new(file.to_str().unwrap()).unwrap();
    // SAFETY: loading it runs nothing of it.
    let object = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    assert!(!object.is_null());
    for name in WANTED {
        let symbol = CString::new(name).unwrap();
        // SAFETY: the object is loaded; the address is only looked at.
        assert!(!unsafe { libc::dlsym(object, symbol.as_ptr()) }.is_null(), "{name} is missing");
    }
}
