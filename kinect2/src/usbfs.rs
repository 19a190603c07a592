//! The kernel's face to a USB device: a node of usbfs, and the requests (URBs) that are given to it.
//!
//! An [`Urb`] is idle, and then its bytes can be reached, or it is pending, and then a [`Node`] owns it:
//!
//! ```text
//! Urb ── Node::submit ──▶ (in the node) ── Node::reap ──▶ Urb
//!  ▲         │ refused                                     │
//!  └─────────┴─────────────────────────────────────────────┘
//! ```
//!
//! Only opening, and allocating URBs, asks for memory; submitting and reaping do not. What may block is on [`Device`],
//! which can be used from another thread. While it is, the kernel lets nobody else at the device: submitting and reaping
//! wait for it, seconds in the worst case, so an owner that must not wait does neither until that call is back.
//!
//! Structures and numbers: linux/usbdevice_fs.h; behaviour: the kernel's drivers/usb/core/devio.c.
#![allow(unsafe_code, reason = "no safe crate wraps usbfs with isochronous requests and without a thread")]

use std::collections::VecDeque;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::protocol::Setup;

/// Most packets that the kernel takes in one isochronous URB.
pub const MAX_PACKETS: usize = 128;

/// An open device: the calls that may block, some for a second. Closed with its last clone.
#[derive(Clone, Debug)]
pub struct Device(Arc<Opened>);

/// A node of usbfs while it is open.
#[derive(Debug)]
struct Opened {
    backend: Backend,
    /// Whether there was a [`Node`] of it.
    had_node: AtomicBool,
}

impl Device {
    /// Opens a node for reading and writing. The kernel wakes a suspended device for it.
    ///
    /// # Errors
    /// `EACCES` without the permission, `ENOENT` or `ENODEV` if the device is gone.
    pub fn open(path: &Path) -> Result<Self, Errno> {
        #[cfg(test)]
        if let Some(kernel) = fake::at(path) {
            kernel.call("open")?;
            return Ok(kernel.open());
        }
        let flags = (OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).bits();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open(path)
            .map_err(|error: io::Error| error.raw_os_error().map_or(Errno::EINVAL, Errno::from_raw))?;
        Ok(Device::of(Backend::Usbfs(file)))
    }

    fn of(backend: Backend) -> Self {
        Device(Arc::new(Opened { backend, had_node: AtomicBool::new(false) }))
    }

    /// Speed of the link: 1 low, 2 full, 3 high (USB 2), 5 super (USB 3), 6 super plus; linux/usb/ch9.h.
    ///
    /// # Errors
    /// `ENOTTY` before Linux 4.13 and if this is no node of usbfs.
    pub fn speed(&self) -> Result<c_int, Errno> {
        // SAFETY: the call has no argument; its result is the speed.
        self.0.backend.call("get_speed", |fd| unsafe { ioctl::get_speed(fd) })
    }

    /// Who holds an interface; `usbfs` is this or another program.
    ///
    /// # Errors
    /// `ENOTTY` if this is no node of usbfs, `ENODEV` once the device is gone.
    pub fn driver(&self, interface: u8) -> Result<Option<String>, Errno> {
        let mut question = GetDriver { interface: c_uint::from(interface), driver: [0; MAX_DRIVER_NAME + 1] };
        // SAFETY: the kernel reads and writes one `GetDriver` during the call, and `question` lives beyond it.
        match self.0.backend.call("get_driver", |fd| unsafe { ioctl::get_driver(fd, &raw mut question) }) {
            Ok(_) => {}
            Err(Errno::ENODATA) => return Ok(None),
            Err(error) => return Err(error),
        }
        let name = question.driver.map(|c| c.to_ne_bytes()[0]);
        Ok(CStr::from_bytes_until_nul(&name).ok().map(|name| name.to_string_lossy().into_owned()))
    }

    /// Makes an interface ours until it is released or the device closed.
    ///
    /// # Errors
    /// `EBUSY` if another program or a driver of the kernel has it.
    pub fn claim(&self, interface: u8) -> Result<(), Errno> {
        let interface = c_uint::from(interface);
        // SAFETY: the kernel reads one unsigned int through the pointer during the call; it lives beyond it.
        self.0
            .backend
            .call("claim_interface", |fd| unsafe { ioctl::claim_interface(fd, &raw const interface) })
            .map(drop)
    }

    /// Gives an interface back; the kernel sets it to its alternate setting 0.
    ///
    /// # Errors
    /// `EINVAL` if it is not ours, `ENODEV` once the device is gone.
    pub fn release(&self, interface: u8) -> Result<(), Errno> {
        let interface = c_uint::from(interface);
        // SAFETY: as in `claim`.
        self.0
            .backend
            .call("release_interface", |fd| unsafe { ioctl::release_interface(fd, &raw const interface) })
            .map(drop)
    }

    /// Ends a request that is pending, if it is not complete; it has to be reaped all the same. Returns when the host
    /// controller has given it back, for which the kernel waits without a limit.
    pub fn discard(&self, ticket: Ticket) {
        self.0.backend.discard(ticket);
    }

    /// Selects an alternate setting of an interface that is ours; what is pending on its endpoints is discarded.
    ///
    /// # Errors
    /// `ENOSPC` if the host controller has not the bandwidth, `ENODEV` once the device is gone.
    pub fn set_interface(&self, interface: u8, alternate: u8) -> Result<(), Errno> {
        let wish = SetInterface { interface: interface.into(), alternate: alternate.into() };
        // SAFETY: the kernel reads one `SetInterface` during the call, and `wish` lives beyond it.
        self.0
            .backend
            .call("set_interface", |fd| unsafe { ioctl::set_interface(fd, &raw const wish) })
            .map(drop)
    }

    /// Selects a configuration; needed only for a device that has none.
    ///
    /// # Errors
    /// `EBUSY` if an interface is in use, `ENODEV` once the device is gone.
    pub fn set_configuration(&self, configuration: u8) -> Result<(), Errno> {
        let configuration = c_uint::from(configuration);
        // SAFETY: as in `claim`.
        self.0
            .backend
            .call("set_configuration", |fd| unsafe { ioctl::set_configuration(fd, &raw const configuration) })
            .map(drop)
    }

    /// Resets the device, which takes up to about a second. What was claimed stays so.
    ///
    /// # Errors
    /// `ENODEV` or `ENOENT` if the device came back as another: it has to be found and opened again.
    pub fn reset(&self) -> Result<(), Errno> {
        // SAFETY: the call has no argument.
        self.0.backend.call("reset", |fd| unsafe { ioctl::reset(fd) }).map(drop)
    }

    /// Lifts the halt of an endpoint of an interface that is ours.
    ///
    /// # Errors
    /// `ENODEV` once the device is gone.
    pub fn clear_halt(&self, endpoint: u8) -> Result<(), Errno> {
        let endpoint = c_uint::from(endpoint);
        // SAFETY: as in `claim`.
        self.0
            .backend
            .call("clear_halt", |fd| unsafe { ioctl::clear_halt(fd, &raw const endpoint) })
            .map(drop)
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.backend.file().as_fd()
    }
}

/// A request to a device, idle: its buffer can be read and written.
///
/// It owns two allocations that never move: what the kernel calls the URB with its packet descriptors, and the buffer.
pub struct Urb {
    block: NonNull<Block>,
    buffer: NonNull<[u8]>,
}

// SAFETY: an `Urb` is the only owner of both allocations, and neither belongs to a thread.
unsafe impl Send for Urb {}

impl Urb {
    /// An isochronous request for as many bytes as the packets hold together.
    ///
    /// * `endpoint`: address, with the bit of its direction.
    /// * `packets`: 1 to [`MAX_PACKETS`].
    /// * `packet_bytes`: room for each; data of packet `i` stands at `i * packet_bytes`.
    ///
    /// # Panics
    /// Outside that range, and for more than 2 GiB together.
    #[must_use]
    pub fn iso(endpoint: u8, packets: usize, packet_bytes: usize) -> Self {
        assert!((1..=MAX_PACKETS).contains(&packets), "{packets} packets");
        let mut urb = Urb::new(TYPE_ISO, endpoint, packets * packet_bytes);
        let block = urb.block_mut();
        block.urb.flags = ISO_ASAP;
        block.urb.number_of_packets = c_int::try_from(packets).expect("at most 128");
        for packet in &mut block.packets[..packets] {
            packet.length = c_uint::try_from(packet_bytes).expect("below 2 GiB");
        }
        urb
    }

    /// A bulk request of at most `capacity` bytes.
    ///
    /// # Panics
    /// For more than 2 GiB.
    #[must_use]
    pub fn bulk(endpoint: u8, capacity: usize) -> Self {
        Urb::new(TYPE_BULK, endpoint, capacity)
    }

    /// A control request with at most `capacity` bytes of data.
    ///
    /// # Panics
    /// For more than 2 GiB.
    #[must_use]
    pub fn control(capacity: usize) -> Self {
        Urb::new(TYPE_CONTROL, 0, SETUP_BYTES + capacity)
    }

    fn new(kind: u8, endpoint: u8, capacity: usize) -> Self {
        let length = c_int::try_from(capacity).expect("below 2 GiB");
        let buffer = NonNull::from(Box::leak(vec![0; capacity].into_boxed_slice()));
        let urb = RawUrb {
            kind,
            endpoint,
            status: 0,
            flags: 0,
            buffer: buffer.cast().as_ptr(),
            buffer_length: length,
            actual_length: 0,
            start_frame: 0,
            number_of_packets: 0,
            error_count: 0,
            signr: 0,
            usercontext: ptr::null_mut(),
        };
        let block = Block { urb, packets: [PacketDesc::default(); MAX_PACKETS] };
        Urb { block: NonNull::from(Box::leak(Box::new(block))), buffer }
    }

    /// The whole buffer; in a control request the data stand behind eight bytes of setup.
    pub fn buffer_mut(&mut self) -> &mut [u8] {
        // SAFETY: the buffer was allocated in `new` and is freed in `drop`; `&mut self` says that the request is idle
        // and nobody else looks at it.
        unsafe { self.buffer.as_mut() }
    }

    /// How much of the buffer is to be sent, or may be received, from now on; cut to the capacity. Not for
    /// isochronous requests, whose packets say it.
    pub fn set_length(&mut self, bytes: usize) {
        let bytes = bytes.min(self.buffer.len());
        debug_assert_ne!(self.block().urb.kind, TYPE_ISO);
        self.block_mut().urb.buffer_length = c_int::try_from(bytes).expect("below 2 GiB, see `new`");
    }

    /// Makes this the control request `setup`; its data are cut to the capacity.
    pub fn set_setup(&mut self, setup: Setup) {
        self.buffer_mut()[..SETUP_BYTES].copy_from_slice(&setup.to_bytes());
        self.set_length(SETUP_BYTES + usize::from(setup.length));
    }

    /// How the request as a whole ended when it was reaped last.
    ///
    /// # Errors
    /// `ENOENT` if it was discarded, `ESHUTDOWN` or `ENODEV` if the device is gone, `EPIPE` for a stall.
    pub fn status(&self) -> Result<(), Errno> {
        errno(self.block().urb.status)
    }

    /// Bytes that were sent or received, without those of a setup.
    #[must_use]
    pub fn actual(&self) -> usize {
        usize::try_from(self.block().urb.actual_length).unwrap_or(0)
    }

    /// What was received. Not for isochronous requests.
    #[must_use]
    pub fn received(&self) -> &[u8] {
        let start = if self.block().urb.kind == TYPE_CONTROL { SETUP_BYTES } else { 0 };
        let data = &self.buffer()[start..];
        &data[..self.actual().min(data.len())]
    }

    /// Packets of an isochronous request; 0 in others.
    #[must_use]
    pub fn packets(&self) -> usize {
        usize::try_from(self.block().urb.number_of_packets).unwrap_or(0).min(MAX_PACKETS)
    }

    /// One packet as it was received: how, and its bytes. `None` behind the last.
    ///
    /// A bad packet (`EXDEV`: not all of it came; `EPROTO`, `EILSEQ`, `EOVERFLOW`) may have bytes all the same.
    #[must_use]
    pub fn packet(&self, index: usize) -> Option<(Result<(), Errno>, &[u8])> {
        let packet = self.block().packets[..self.packets()].get(index)?;
        let room = usize::try_from(packet.length).unwrap_or(0);
        let bytes = self.buffer().get(index * room..(index + 1) * room)?;
        let actual = usize::try_from(packet.actual_length).unwrap_or(0).min(room);
        Some((errno(packet.status), &bytes[..actual]))
    }

    /// Address of the endpoint.
    #[must_use]
    pub fn endpoint(&self) -> u8 {
        self.block().urb.endpoint
    }

    fn buffer(&self) -> &[u8] {
        // SAFETY: as in `buffer_mut`, for reading.
        unsafe { self.buffer.as_ref() }
    }

    fn block(&self) -> &Block {
        // SAFETY: allocated in `new`, freed in `drop`. The kernel writes to it only during `Backend::reap`, which
        // borrows the node with every request that is pending.
        unsafe { self.block.as_ref() }
    }

    fn block_mut(&mut self) -> &mut Block {
        // SAFETY: as in `block`, and `&mut self` is the only way to it.
        unsafe { self.block.as_mut() }
    }
}

impl Drop for Urb {
    fn drop(&mut self) {
        // SAFETY: both come from `Box::leak` in `new` and are freed only here. The kernel does not write to them
        // afterwards: it copies to a program's memory only while REAPURB runs, and a request comes to be dropped
        // after it was reaped, or with its node, the only one that its file ever has, so nobody can reap again.
        unsafe {
            drop(Box::from_raw(self.block.as_ptr()));
            drop(Box::from_raw(self.buffer.as_ptr()));
        }
    }
}

impl fmt::Debug for Urb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urb = &self.block().urb;
        f.debug_struct("Urb")
            .field("kind", &urb.kind)
            .field("endpoint", &urb.endpoint)
            .field("status", &urb.status)
            .field("capacity", &self.buffer.len())
            .field("actual", &urb.actual_length)
            .finish_non_exhaustive()
    }
}

/// Names a request that is pending: for the kernel its address is its name. Once it was reaped, the name is that of the
/// next submission of the same [`Urb`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ticket(usize);

/// A request that the kernel did not take.
#[derive(Debug)]
pub struct Refused {
    /// The request, idle as before.
    pub urb: Urb,
    /// Why: `ENOMEM` for the memory of usbfs or of the kernel, `ENODEV` for a device that is gone, ...
    pub errno: Errno,
}

/// An open device and the requests that are pending with it.
///
/// The descriptor is *writable* in epoll when a request can be reaped.
#[derive(Debug)]
pub struct Node {
    // Closed first, unless a job still holds a clone; either way nobody reaps what is freed after it.
    device: Device,
    /// In the order of submission, which is nearly always that of completion.
    pending: VecDeque<Urb>,
}

impl Node {
    /// A node for `room` requests at a time without allocating; more are possible.
    ///
    /// # Panics
    /// If this device or a clone of it had a node already: that one's requests may be freed, and the kernel would write
    /// to them when this one reaps. Open the device anew.
    #[must_use]
    pub fn new(device: Device, room: usize) -> Self {
        assert!(!device.0.had_node.swap(true, Ordering::Relaxed), "an open device has one node in its life");
        Node { device, pending: VecDeque::with_capacity(room) }
    }

    /// The calls that may block, for another thread.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Hands a request to the kernel; the data to send are copied at once.
    ///
    /// # Errors
    /// The request, if the kernel did not take it.
    pub fn submit(&mut self, mut urb: Urb) -> Result<Ticket, Refused> {
        match self.device.0.backend.submit(&mut urb) {
            Ok(()) => {
                let ticket = Ticket(urb.block.addr().get());
                self.pending.push_back(urb);
                Ok(ticket)
            }
            Err(errno) => Err(Refused { urb, errno }),
        }
    }

    /// Takes back a request that is complete; `None` if none is.
    ///
    /// # Errors
    /// `ENODEV` if the device is gone and all that can be reaped was; `EFAULT` if the kernel names a request that is
    /// none of this node's.
    pub fn reap(&mut self) -> Result<Option<Urb>, Errno> {
        let block = match self.device.0.backend.reap() {
            Ok(block) => block,
            Err(Errno::EAGAIN) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        // An address from outside: looked for among ours, and not followed.
        let place =
            self.pending.iter().position(|urb| ptr::eq(urb.block.as_ptr(), block)).ok_or(Errno::EFAULT)?;
        #[cfg(test)]
        self.device.0.backend.deliver(&mut self.pending[place]);
        Ok(self.pending.remove(place))
    }

    /// Requests that are pending.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Closes, which discards whatever is pending and may block, and gives back what was pending.
    pub fn close(self) -> impl Iterator<Item = Urb> {
        drop(self.device);
        self.pending.into_iter()
    }
}

impl AsFd for Node {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

/// What answers the calls.
#[derive(Debug)]
enum Backend {
    Usbfs(File),
    /// A test's stand-in for the kernel.
    #[cfg(test)]
    Fake(Arc<fake::Kernel>),
}

impl Backend {
    fn file(&self) -> &File {
        match self {
            Backend::Usbfs(file) => file,
            #[cfg(test)]
            Backend::Fake(kernel) => kernel.file(),
        }
    }

    /// Makes a call that only needs the descriptor.
    fn call(
        &self,
        #[cfg_attr(not(test), expect(unused_variables, reason = "for the stand-in"))] name: &'static str,
        call: impl FnOnce(RawFd) -> nix::Result<c_int>,
    ) -> Result<c_int, Errno> {
        match self {
            Backend::Usbfs(file) => call(file.as_raw_fd()),
            #[cfg(test)]
            Backend::Fake(kernel) => kernel.call(name),
        }
    }

    fn submit(&self, urb: &mut Urb) -> Result<(), Errno> {
        match self {
            // SAFETY: this is a whole URB with its descriptors and a buffer of the length it names. The kernel reads
            // them during the call and keeps the addresses, to which it writes during `reap` only; till then the
            // node keeps the `Urb`.
            Backend::Usbfs(file) => unsafe {
                ioctl::submit_urb(file.as_raw_fd(), urb.block.as_ptr().cast()).map(drop)
            },
            #[cfg(test)]
            Backend::Fake(kernel) => kernel.submit(urb),
        }
    }

    /// The address of a request that is complete, as the kernel gives it: not to be followed.
    fn reap(&self) -> Result<*const Block, Errno> {
        match self {
            Backend::Usbfs(file) => {
                let mut urb = ptr::null_mut();
                // SAFETY: the kernel writes one pointer to `urb`, which lives beyond the call, and what was received to
                // the block and the buffer of one request that was submitted through this file and not reaped since;
                // the node owns these, and `Node::reap` borrows it exclusively.
                unsafe { ioctl::reap_urb_no_delay(file.as_raw_fd(), &raw mut urb)? };
                Ok(urb.cast_const().cast())
            }
            #[cfg(test)]
            Backend::Fake(kernel) => kernel.reap(),
        }
    }

    /// Writes what the stand-in completed, which the kernel does in [`Backend::reap`].
    #[cfg(test)]
    fn deliver(&self, urb: &mut Urb) {
        if let Backend::Fake(kernel) = self {
            kernel.deliver(urb);
        }
    }

    fn discard(&self, Ticket(address): Ticket) {
        match self {
            Backend::Usbfs(file) => {
                // SAFETY: the kernel takes the address as a name and looks for it in its own list.
                let done =
                    unsafe { ioctl::discard_urb(file.as_raw_fd(), ptr::without_provenance_mut(address)) };
                // EINVAL: it is complete already. ENODEV: it will be.
                let (Ok(_) | Err(_)) = done;
            }
            #[cfg(test)]
            Backend::Fake(kernel) => kernel.discard(address),
        }
    }
}

const TYPE_ISO: u8 = 0;
const TYPE_CONTROL: u8 = 2;
const TYPE_BULK: u8 = 3;
const ISO_ASAP: c_uint = 2;
const SETUP_BYTES: usize = 8;
const MAX_DRIVER_NAME: usize = 255;

/// `struct usbdevfs_urb` without its tail.
#[derive(Debug)]
#[repr(C)]
struct RawUrb {
    kind: u8,
    endpoint: u8,
    status: c_int,
    flags: c_uint,
    buffer: *mut c_void,
    buffer_length: c_int,
    actual_length: c_int,
    start_frame: c_int,
    number_of_packets: c_int,
    error_count: c_int,
    signr: c_uint,
    usercontext: *mut c_void,
}

/// `struct usbdevfs_iso_packet_desc`; the status is a negative errno although the header says unsigned.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct PacketDesc {
    length: c_uint,
    actual_length: c_uint,
    status: c_int,
}

/// `struct usbdevfs_urb` with as many descriptors as there can be; the kernel looks at `number_of_packets` of them.
#[repr(C)]
struct Block {
    urb: RawUrb,
    packets: [PacketDesc; MAX_PACKETS],
}

/// `struct usbdevfs_setinterface`.
#[repr(C)]
struct SetInterface {
    interface: c_uint,
    alternate: c_uint,
}

/// `struct usbdevfs_getdriver`.
#[repr(C)]
struct GetDriver {
    interface: c_uint,
    driver: [c_char; MAX_DRIVER_NAME + 1],
}

fn errno(status: c_int) -> Result<(), Errno> {
    if status == 0 { Ok(()) } else { Err(Errno::from_raw(status.saturating_neg())) }
}

/// The calls as linux/usbdevice_fs.h numbers them. The directions in the numbers are often not those of the data.
mod ioctl {
    #![allow(unreachable_pub, reason = "nix's macros make public functions")]

    use super::{GetDriver, RawUrb, SetInterface};
    use nix::sys::ioctl::ioctl_num_type as Number;
    use nix::{request_code_none, request_code_read, request_code_write};
    use std::ffi::{c_uint, c_void};

    pub(super) const SET_INTERFACE: Number = request_code_read!(b'U', 4, size_of::<SetInterface>());
    pub(super) const SET_CONFIGURATION: Number = request_code_read!(b'U', 5, size_of::<c_uint>());
    pub(super) const GET_DRIVER: Number = request_code_write!(b'U', 8, size_of::<GetDriver>());
    pub(super) const SUBMIT_URB: Number = request_code_read!(b'U', 10, size_of::<RawUrb>());
    pub(super) const DISCARD_URB: Number = request_code_none!(b'U', 11);
    pub(super) const REAP_URB_NO_DELAY: Number = request_code_write!(b'U', 13, size_of::<*mut c_void>());
    pub(super) const CLAIM_INTERFACE: Number = request_code_read!(b'U', 15, size_of::<c_uint>());
    pub(super) const RELEASE_INTERFACE: Number = request_code_read!(b'U', 16, size_of::<c_uint>());
    pub(super) const RESET: Number = request_code_none!(b'U', 20);
    pub(super) const CLEAR_HALT: Number = request_code_read!(b'U', 21, size_of::<c_uint>());
    pub(super) const GET_SPEED: Number = request_code_none!(b'U', 31);

    nix::ioctl_write_ptr_bad!(set_interface, SET_INTERFACE, SetInterface);
    nix::ioctl_write_ptr_bad!(set_configuration, SET_CONFIGURATION, c_uint);
    nix::ioctl_readwrite_bad!(get_driver, GET_DRIVER, GetDriver);
    nix::ioctl_readwrite_bad!(submit_urb, SUBMIT_URB, RawUrb);
    nix::ioctl_write_ptr_bad!(discard_urb, DISCARD_URB, RawUrb);
    nix::ioctl_read_bad!(reap_urb_no_delay, REAP_URB_NO_DELAY, *mut RawUrb);
    nix::ioctl_write_ptr_bad!(claim_interface, CLAIM_INTERFACE, c_uint);
    nix::ioctl_write_ptr_bad!(release_interface, RELEASE_INTERFACE, c_uint);
    nix::ioctl_none_bad!(reset, RESET);
    nix::ioctl_write_ptr_bad!(clear_halt, CLEAR_HALT, c_uint);
    nix::ioctl_none_bad!(get_speed, GET_SPEED);
}

#[cfg(test)]
pub(crate) mod fake;

#[cfg(test)]
mod tests;
