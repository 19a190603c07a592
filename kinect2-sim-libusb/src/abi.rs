//! Structures and numbers of libusb-1.0's C interface.
//!
//! Layout after `libusb.h` as of version 1.0.26, for the C ABI of the machine: the fields are C's, `#[repr(C)]` does the
//! rest, and the tests below hold the offsets that a C compiler gives on 64-bit Linux.

use std::ffi::{CStr, c_int, c_uchar, c_uint, c_void};

use crate::exports::Handle;

/// What the library says it is. libfreenect2 wants `nano` to be at least 10952 (1.0.20 and later).
#[repr(C)]
#[derive(Debug)]
pub struct Version {
    /// Major version: 1.
    pub major: u16,
    /// Minor version: 0.
    pub minor: u16,
    /// Micro version.
    pub micro: u16,
    /// Count of commits; it only grows.
    pub nano: u16,
    /// Suffix of a release candidate.
    pub rc: &'static [u8; 1],
    /// For people.
    pub describe: &'static [u8; DESCRIPTION.len()],
}

/// Ends with a zero, as C's texts do.
const DESCRIPTION: &[u8; 42] = b"a simulated Kinect v2 and no other device\0";

/// The version that this simulation is written after.
pub static VERSION: Version =
    Version { major: 1, minor: 0, micro: 26, nano: 11_724, rc: b"\0", describe: DESCRIPTION };

/// Device descriptor.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[expect(
    non_snake_case,
    missing_docs,
    reason = "names and meanings are those of the USB specification, 9.6.1"
)]
pub struct DeviceDescriptor {
    pub bLength: u8,
    pub bDescriptorType: u8,
    pub bcdUSB: u16,
    pub bDeviceClass: u8,
    pub bDeviceSubClass: u8,
    pub bDeviceProtocol: u8,
    pub bMaxPacketSize0: u8,
    pub idVendor: u16,
    pub idProduct: u16,
    pub bcdDevice: u16,
    pub iManufacturer: u8,
    pub iProduct: u8,
    pub iSerialNumber: u8,
    pub bNumConfigurations: u8,
}

/// Endpoint descriptor, with what follows it up to the next one.
#[repr(C)]
#[derive(Debug)]
#[expect(
    non_snake_case,
    missing_docs,
    reason = "names and meanings are those of the USB specification, 9.6.6"
)]
pub struct EndpointDescriptor {
    pub bLength: u8,
    pub bDescriptorType: u8,
    pub bEndpointAddress: u8,
    pub bmAttributes: u8,
    pub wMaxPacketSize: u16,
    pub bInterval: u8,
    pub bRefresh: u8,
    pub bSynchAddress: u8,
    pub extra: *const c_uchar,
    pub extra_length: c_int,
}

/// Interface descriptor: one alternate setting with its endpoints.
#[repr(C)]
#[derive(Debug)]
#[expect(
    non_snake_case,
    missing_docs,
    reason = "names and meanings are those of the USB specification, 9.6.5"
)]
pub struct InterfaceDescriptor {
    pub bLength: u8,
    pub bDescriptorType: u8,
    pub bInterfaceNumber: u8,
    pub bAlternateSetting: u8,
    pub bNumEndpoints: u8,
    pub bInterfaceClass: u8,
    pub bInterfaceSubClass: u8,
    pub bInterfaceProtocol: u8,
    pub iInterface: u8,
    pub endpoint: *const EndpointDescriptor,
    pub extra: *const c_uchar,
    pub extra_length: c_int,
}

/// An interface: its alternate settings.
#[repr(C)]
#[derive(Debug)]
#[expect(missing_docs, reason = "the fields' names say it")]
pub struct Interface {
    pub altsetting: *const InterfaceDescriptor,
    pub num_altsetting: c_int,
}

/// Configuration descriptor with its interfaces.
#[repr(C)]
#[derive(Debug)]
#[expect(
    non_snake_case,
    missing_docs,
    reason = "names and meanings are those of the USB specification, 9.6.3"
)]
pub struct ConfigDescriptor {
    pub bLength: u8,
    pub bDescriptorType: u8,
    pub wTotalLength: u16,
    pub bNumInterfaces: u8,
    pub bConfigurationValue: u8,
    pub iConfiguration: u8,
    pub bmAttributes: u8,
    pub MaxPower: u8,
    pub interface: *const Interface,
    pub extra: *const c_uchar,
    pub extra_length: c_int,
}

/// SuperSpeed endpoint companion descriptor.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[expect(
    non_snake_case,
    missing_docs,
    reason = "names and meanings are those of the USB 3 specification, 9.6.7"
)]
pub struct CompanionDescriptor {
    pub bLength: u8,
    pub bDescriptorType: u8,
    pub bMaxBurst: u8,
    pub bmAttributes: u8,
    pub wBytesPerInterval: u16,
}

/// One packet of an isochronous transfer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct IsoPacket {
    /// Bytes asked for: the packet's share of the buffer.
    pub length: c_uint,
    /// Bytes that came.
    pub actual_length: c_uint,
    /// A status as in [`Transfer::status`].
    pub status: c_int,
}

/// Called when a transfer is over.
pub type Callback = unsafe extern "C" fn(*mut Transfer);

/// A transfer. The packets of an isochronous one follow it in memory.
#[repr(C)]
#[derive(Debug)]
pub struct Transfer {
    /// The opened device.
    pub dev_handle: *mut Handle,
    /// `flag::…`
    pub flags: u8,
    /// Address of the endpoint.
    pub endpoint: c_uchar,
    /// `kind::…`
    pub kind: c_uchar,
    /// Milliseconds until it is cancelled; 0 is never.
    pub timeout: c_uint,
    /// `status::…`, valid in the callback.
    pub status: c_int,
    /// Bytes of the buffer.
    pub length: c_int,
    /// Bytes transferred; of a control transfer without its setup, of an isochronous one always 0.
    pub actual_length: c_int,
    /// Called when it is over.
    pub callback: Option<Callback>,
    /// The caller's own.
    pub user_data: *mut c_void,
    /// [`Transfer::length`] bytes.
    pub buffer: *mut c_uchar,
    /// Packets of an isochronous transfer.
    pub num_iso_packets: c_int,
    /// The packets, as many as [`Transfer::num_iso_packets`].
    pub iso_packet_desc: [IsoPacket; 0],
}

/// Values of [`Transfer::flags`].
#[expect(missing_docs, reason = "libusb's names")]
pub mod flag {
    pub const SHORT_NOT_OK: u8 = 1;
    pub const FREE_BUFFER: u8 = 2;
    pub const FREE_TRANSFER: u8 = 4;
}

/// Values of [`Transfer::kind`].
#[expect(missing_docs, reason = "libusb's names")]
pub mod kind {
    pub const CONTROL: u8 = 0;
    pub const ISOCHRONOUS: u8 = 1;
    pub const BULK: u8 = 2;
    pub const INTERRUPT: u8 = 3;
}

/// Values of [`Transfer::status`].
#[expect(missing_docs, reason = "libusb's names")]
pub mod status {
    use std::ffi::c_int;

    pub const COMPLETED: c_int = 0;
    pub const ERROR: c_int = 1;
    pub const TIMED_OUT: c_int = 2;
    pub const CANCELLED: c_int = 3;
    pub const STALL: c_int = 4;
    pub const NO_DEVICE: c_int = 5;
    pub const OVERFLOW: c_int = 6;
}

/// What a function of libusb could not do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "libusb's names; `Error::text` says more")]
pub enum Error {
    Io,
    InvalidParam,
    Access,
    NoDevice,
    NotFound,
    Busy,
    Timeout,
    Overflow,
    Pipe,
    Interrupted,
    NoMem,
    NotSupported,
    Other,
}

impl Error {
    /// Every error.
    pub const ALL: [Error; 13] = [
        Error::Io,
        Error::InvalidParam,
        Error::Access,
        Error::NoDevice,
        Error::NotFound,
        Error::Busy,
        Error::Timeout,
        Error::Overflow,
        Error::Pipe,
        Error::Interrupted,
        Error::NoMem,
        Error::NotSupported,
        Error::Other,
    ];

    /// The number that stands for it.
    #[must_use]
    pub const fn code(self) -> c_int {
        match self {
            Error::Io => -1,
            Error::InvalidParam => -2,
            Error::Access => -3,
            Error::NoDevice => -4,
            Error::NotFound => -5,
            Error::Busy => -6,
            Error::Timeout => -7,
            Error::Overflow => -8,
            Error::Pipe => -9,
            Error::Interrupted => -10,
            Error::NoMem => -11,
            Error::NotSupported => -12,
            Error::Other => -99,
        }
    }

    /// Its name in `libusb.h`.
    #[must_use]
    pub const fn name(self) -> &'static CStr {
        match self {
            Error::Io => c"LIBUSB_ERROR_IO",
            Error::InvalidParam => c"LIBUSB_ERROR_INVALID_PARAM",
            Error::Access => c"LIBUSB_ERROR_ACCESS",
            Error::NoDevice => c"LIBUSB_ERROR_NO_DEVICE",
            Error::NotFound => c"LIBUSB_ERROR_NOT_FOUND",
            Error::Busy => c"LIBUSB_ERROR_BUSY",
            Error::Timeout => c"LIBUSB_ERROR_TIMEOUT",
            Error::Overflow => c"LIBUSB_ERROR_OVERFLOW",
            Error::Pipe => c"LIBUSB_ERROR_PIPE",
            Error::Interrupted => c"LIBUSB_ERROR_INTERRUPTED",
            Error::NoMem => c"LIBUSB_ERROR_NO_MEM",
            Error::NotSupported => c"LIBUSB_ERROR_NOT_SUPPORTED",
            Error::Other => c"LIBUSB_ERROR_OTHER",
        }
    }

    /// For people.
    #[must_use]
    pub const fn text(self) -> &'static CStr {
        match self {
            Error::Io => c"The transfer failed",
            Error::InvalidParam => c"A parameter has a value that it cannot have",
            Error::Access => c"No permission",
            Error::NoDevice => c"The device is gone",
            Error::NotFound => c"Nothing of that name or number",
            Error::Busy => c"In use",
            Error::Timeout => c"Not done in time",
            Error::Overflow => c"The device sent more than was asked for",
            Error::Pipe => c"The endpoint refused (stall)",
            Error::Interrupted => c"Interrupted by a signal",
            Error::NoMem => c"Out of memory",
            Error::NotSupported => c"Not supported",
            Error::Other => c"Some other error",
        }
    }
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;
    use std::mem::{offset_of, size_of};

    #[test]
    fn a_transfer_is_laid_out_as_in_c() {
        assert_eq!(size_of::<Transfer>(), 64);
        assert_eq!(offset_of!(Transfer, flags), 8);
        assert_eq!(offset_of!(Transfer, endpoint), 9);
        assert_eq!(offset_of!(Transfer, kind), 10);
        assert_eq!(offset_of!(Transfer, timeout), 12);
        assert_eq!(offset_of!(Transfer, status), 16);
        assert_eq!(offset_of!(Transfer, length), 20);
        assert_eq!(offset_of!(Transfer, actual_length), 24);
        assert_eq!(offset_of!(Transfer, callback), 32);
        assert_eq!(offset_of!(Transfer, user_data), 40);
        assert_eq!(offset_of!(Transfer, buffer), 48);
        assert_eq!(offset_of!(Transfer, num_iso_packets), 56);
        assert_eq!(offset_of!(Transfer, iso_packet_desc), 60);
        assert_eq!(size_of::<IsoPacket>(), 12);
        assert_eq!(offset_of!(IsoPacket, status), 8);
    }

    #[test]
    fn descriptors_are_laid_out_as_in_c() {
        assert_eq!(size_of::<DeviceDescriptor>(), 18);
        assert_eq!(offset_of!(DeviceDescriptor, idVendor), 8);
        assert_eq!(offset_of!(DeviceDescriptor, iSerialNumber), 16);
        assert_eq!(size_of::<EndpointDescriptor>(), 32);
        assert_eq!(offset_of!(EndpointDescriptor, bInterval), 6);
        assert_eq!(offset_of!(EndpointDescriptor, extra), 16);
        assert_eq!(offset_of!(EndpointDescriptor, extra_length), 24);
        assert_eq!(size_of::<InterfaceDescriptor>(), 40);
        assert_eq!(offset_of!(InterfaceDescriptor, endpoint), 16);
        assert_eq!(offset_of!(InterfaceDescriptor, extra_length), 32);
        assert_eq!(size_of::<Interface>(), 16);
        assert_eq!(size_of::<ConfigDescriptor>(), 40);
        assert_eq!(offset_of!(ConfigDescriptor, MaxPower), 8);
        assert_eq!(offset_of!(ConfigDescriptor, interface), 16);
        assert_eq!(offset_of!(ConfigDescriptor, extra_length), 32);
        assert_eq!(size_of::<CompanionDescriptor>(), 6);
        assert_eq!(offset_of!(CompanionDescriptor, wBytesPerInterval), 4);
        assert_eq!(size_of::<Version>(), 24);
        assert_eq!(offset_of!(Version, rc), 8);
    }
}
