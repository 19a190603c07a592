//! Numbers and layouts of usbfs, as in the kernel's `include/uapi/linux/usbdevice_fs.h`, for 64-bit machines.

/// `struct usbdevfs_ctrltransfer`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct ControlTransfer {
    pub(crate) request_type: u8,
    pub(crate) request: u8,
    pub(crate) value: u16,
    pub(crate) index: u16,
    pub(crate) length: u16,
    /// Milliseconds; 0 waits for ever.
    pub(crate) timeout: u32,
    pub(crate) data: usize,
}

/// `struct usbdevfs_bulktransfer`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct BulkTransfer {
    pub(crate) endpoint: u32,
    pub(crate) length: u32,
    /// Milliseconds; 0 waits for ever.
    pub(crate) timeout: u32,
    pub(crate) data: usize,
}

/// `struct usbdevfs_setinterface`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct SetInterface {
    pub(crate) interface: u32,
    pub(crate) alternate: u32,
}

/// `struct usbdevfs_getdriver`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct GetDriver {
    pub(crate) interface: u32,
    pub(crate) driver: [u8; DRIVER_BYTES],
}

/// `struct usbdevfs_connectinfo`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct ConnectInfo {
    pub(crate) device: u32,
    pub(crate) slow: u8,
}

/// `struct usbdevfs_ioctl`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct DriverIoctl {
    pub(crate) interface: i32,
    pub(crate) code: i32,
    pub(crate) data: usize,
}

/// `struct usbdevfs_disconnect_claim`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct DisconnectClaim {
    pub(crate) interface: u32,
    pub(crate) flags: u32,
    pub(crate) driver: [u8; DRIVER_BYTES],
}

/// `struct usbdevfs_urb` without the packets behind it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Urb {
    pub(crate) kind: u8,
    pub(crate) endpoint: u8,
    pub(crate) status: i32,
    pub(crate) flags: u32,
    pub(crate) buffer: usize,
    pub(crate) buffer_length: i32,
    pub(crate) actual_length: i32,
    pub(crate) start_frame: i32,
    pub(crate) packets: i32,
    pub(crate) errors: i32,
    pub(crate) signal: u32,
    pub(crate) context: usize,
}

/// `struct usbdevfs_iso_packet_desc`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Packet {
    pub(crate) length: u32,
    pub(crate) actual_length: u32,
    /// A negative errno, or 0.
    pub(crate) status: i32,
}

/// Bytes of a driver's name, `USBDEVFS_MAXDRIVERNAME` and the zero behind it.
pub(crate) const DRIVER_BYTES: usize = 256;

/// `USBDEVFS_DISCONNECT_CLAIM_IF_DRIVER`.
pub(crate) const CLAIM_IF_DRIVER: u32 = 0x01;
/// `USBDEVFS_DISCONNECT_CLAIM_EXCEPT_DRIVER`.
pub(crate) const CLAIM_EXCEPT_DRIVER: u32 = 0x02;

/// Kinds of URB.
pub(crate) const ISO: u8 = 0;
/// An interrupt URB.
pub(crate) const INTERRUPT: u8 = 1;
/// A control URB: eight bytes of setup in front of its data.
pub(crate) const CONTROL_URB: u8 = 2;
/// A bulk URB.
pub(crate) const BULK_URB: u8 = 3;

/// `USBDEVFS_URB_ISO_ASAP`, for isochronous URBs alone.
pub(crate) const ISO_ASAP: u32 = 0x02;
/// SHORT_NOT_OK, BULK_CONTINUATION, NO_FSBR, ZERO_PACKET and NO_INTERRUPT: what any URB may carry.
pub(crate) const COMMON_FLAGS: u32 = 0x01 | 0x04 | 0x20 | 0x40 | 0x80;

/// Most packets of an isochronous URB.
pub(crate) const PACKETS_MAX: i32 = 128;
/// Most bytes of an isochronous packet, since Linux 5.2.
pub(crate) const PACKET_BYTES_MAX: u32 = 98_304;
/// Fewest bytes that no buffer may reach, whatever the memory.
pub(crate) const TRANSFER_BYTES_LIMIT: usize = (u32::MAX / 2 - 1_000_000) as usize;

/// What a node can do, as `USBDEVFS_GET_CAPABILITIES` says: zero packets (0x01), no limit to a packet (0x04), bulk
/// buffers in pieces (0x08), reaping after the device has gone (0x10). Not offered, and not simulated: continuation
/// of bulk transfers (an xHCI controller has none either), `mmap` (0x20), dropping of privileges, suspending.
pub(crate) const CAPABILITIES: u32 = 0x01 | 0x04 | 0x08 | 0x10;

/// `USB_SPEED_HIGH`, 480 Mbit/s.
pub(crate) const SPEED_HIGH: i32 = 3;
/// `USB_SPEED_SUPER`, 5 Gbit/s.
pub(crate) const SPEED_SUPER: i32 = 5;

/// The request of an `ioctl`, `None` for what is not usbfs's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Request {
    Control,
    Bulk,
    ResetEndpoint,
    SetInterface,
    SetConfiguration,
    GetDriver,
    Submit,
    Discard,
    Reap,
    ReapNow,
    Claim,
    Release,
    ConnectInfo,
    DriverIoctl,
    Reset,
    ClearHalt,
    Capabilities,
    DisconnectClaim,
    Speed,
    /// One of usbfs's that is not simulated.
    Unknown,
}

impl Request {
    /// Which request `code` is; `None` if it does not belong to usbfs at all.
    pub(crate) fn from_code(code: u32) -> Option<Self> {
        const IN: u32 = 2;
        const OUT: u32 = 1;
        const fn io<T>(direction: u32, number: u32) -> u32 {
            direction << 30 | (size_of::<T>() as u32) << 16 | (b'U' as u32) << 8 | number
        }
        if code >> 8 & 0xFF != u32::from(b'U') {
            return None;
        }
        // The kernel's directions are as odd as these: most that it reads are said to be written.
        let table = [
            (io::<ControlTransfer>(IN | OUT, 0), Self::Control),
            (io::<BulkTransfer>(IN | OUT, 2), Self::Bulk),
            (io::<u32>(IN, 3), Self::ResetEndpoint),
            (io::<SetInterface>(IN, 4), Self::SetInterface),
            (io::<u32>(IN, 5), Self::SetConfiguration),
            (io::<GetDriver>(OUT, 8), Self::GetDriver),
            (io::<Urb>(IN, 10), Self::Submit),
            (io::<()>(0, 11), Self::Discard),
            (io::<usize>(OUT, 12), Self::Reap),
            (io::<usize>(OUT, 13), Self::ReapNow),
            (io::<u32>(IN, 15), Self::Claim),
            (io::<u32>(IN, 16), Self::Release),
            (io::<ConnectInfo>(OUT, 17), Self::ConnectInfo),
            (io::<DriverIoctl>(IN | OUT, 18), Self::DriverIoctl),
            (io::<()>(0, 20), Self::Reset),
            (io::<u32>(IN, 21), Self::ClearHalt),
            (io::<u32>(IN, 26), Self::Capabilities),
            (io::<DisconnectClaim>(IN, 27), Self::DisconnectClaim),
            (io::<()>(0, 31), Self::Speed),
        ];
        Some(table.iter().find(|(known, _)| *known == code).map_or(Self::Unknown, |(_, request)| *request))
    }
}

/// Codes inside `USBDEVFS_IOCTL`: take an interface from its driver, give it back.
pub(crate) const DISCONNECT: i32 = 0x5516;
/// Let a driver bind again.
pub(crate) const CONNECT: i32 = 0x5517;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_those_of_a_64_bit_kernel() {
        assert_eq!(size_of::<Urb>(), 56);
        assert_eq!(size_of::<Packet>(), 12);
        assert_eq!(size_of::<ControlTransfer>(), 24);
        assert_eq!(size_of::<BulkTransfer>(), 24);
        assert_eq!(size_of::<GetDriver>(), 260);
        assert_eq!(size_of::<DisconnectClaim>(), 264);
    }

    #[test]
    fn codes_are_those_that_programs_send() {
        // As strace prints them on x86-64.
        for (code, request) in [
            (0xC018_5500, Request::Control),
            (0xC018_5502, Request::Bulk),
            (0x8008_5504, Request::SetInterface),
            (0x4104_5508, Request::GetDriver),
            (0x8038_550A, Request::Submit),
            (0x550B, Request::Discard),
            (0x4008_550D, Request::ReapNow),
            (0x8004_550F, Request::Claim),
            (0x5514, Request::Reset),
            (0x8004_5515, Request::ClearHalt),
            (0x8004_551A, Request::Capabilities),
            (0x8108_551B, Request::DisconnectClaim),
            (0x551F, Request::Speed),
            (0x5555, Request::Unknown),
        ] {
            assert_eq!(Request::from_code(code), Some(request), "{code:#x}");
        }
        assert_eq!(Request::from_code(0x5421), None);
    }
}
