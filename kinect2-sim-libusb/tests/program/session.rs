//! The calls of libusb as a program makes them, owning what they give.

#![expect(unsafe_code, reason = "the functions under test take C's pointers")]

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_uint, c_void};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use kinect2::protocol::{
    COMMAND_OUT, COMPLETION_BYTES, Command, Completion, DEPTH_IN, PACKET_BYTES, REPLY_IN, Setup,
};
use kinect2_sim::device::Options;
use kinect2_sim::host::Pace;
use kinect2_sim_libusb::abi::{ConfigDescriptor, DeviceDescriptor, Error, IsoPacket, Transfer, kind};
use kinect2_sim_libusb::exports::*;

/// A session's context; ended with the last that uses it.
pub(crate) struct Library(*mut Context);

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: made by the library, and not used after this.
        unsafe { libusb_exit(self.0) };
    }
}

/// The sensor opened in a session.
pub(crate) struct Session {
    library: Arc<Library>,
    pub(crate) handle: *mut Handle,
}

// SAFETY: libusb's functions may be called from any thread; nothing here relies on more.
unsafe impl Send for Library {}
// SAFETY: likewise.
unsafe impl Sync for Library {}
// SAFETY: likewise.
unsafe impl Send for Session {}
// SAFETY: likewise.
unsafe impl Sync for Session {}

impl Session {
    /// Opens the only sensor on a bus of its own.
    pub(crate) fn open(options: Options, pace: Pace) -> Self {
        let library = Arc::new(Library(kinect2_sim_libusb::context(options, pace)));
        let none = Session { library, handle: ptr::null_mut() };
        none.reopen().expect("one sensor, to be opened")
    }

    /// With both interfaces claimed.
    pub(crate) fn claimed(options: Options, pace: Pace) -> Self {
        let session = Session::open(options, pace);
        assert_eq!((session.claim(0), session.claim(1)), (0, 0));
        session
    }

    /// Opens the sensor once more.
    pub(crate) fn reopen(&self) -> Result<Session, c_int> {
        self.with_list(|devices| {
            let device = *devices.first().ok_or(Error::NoDevice.code())?;
            let mut handle = ptr::null_mut();
            // SAFETY: a device of the list, which lasts until after this.
            match unsafe { libusb_open(device, &raw mut handle) } {
                0 => Ok(Session { library: Arc::clone(&self.library), handle }),
                code => Err(code),
            }
        })
    }

    /// What is on the bus.
    pub(crate) fn with_list<T>(&self, with: impl FnOnce(&[*mut Device]) -> T) -> T {
        let mut list = ptr::null_mut();
        // SAFETY: the context is there until this is dropped; the list is as long as said, and freed once.
        unsafe {
            let count = libusb_get_device_list(self.library.0, &raw mut list);
            let count = usize::try_from(count).expect("no error");
            assert!((*list.add(count)).is_null(), "the list ends with NULL");
            let result = with(std::slice::from_raw_parts(list, count));
            libusb_free_device_list(list, 1);
            result
        }
    }

    pub(crate) fn addresses(&self) -> Vec<u8> {
        // SAFETY: devices of the list.
        let address = |device: &*mut Device| unsafe { libusb_get_device_address(*device) };
        self.with_list(|devices| devices.iter().map(address).collect())
    }

    pub(crate) fn device_descriptor(&self) -> DeviceDescriptor {
        let mut descriptor = DeviceDescriptor::default();
        // SAFETY: the handle is open.
        let code =
            unsafe { libusb_get_device_descriptor(libusb_get_device(self.handle), &raw mut descriptor) };
        assert_eq!(code, 0);
        descriptor
    }

    pub(crate) fn with_config<T>(&self, with: impl FnOnce(&ConfigDescriptor) -> T) -> T {
        let mut config = ptr::null_mut();
        // SAFETY: the handle is open; the descriptor is freed after its last use.
        unsafe {
            let device = libusb_get_device(self.handle);
            assert_eq!(
                libusb_get_config_descriptor_by_value(device, 2, &raw mut config),
                Error::NotFound.code()
            );
            assert_eq!(libusb_get_config_descriptor_by_value(device, 1, &raw mut config), 0);
            let result = with(&*config);
            libusb_free_config_descriptor(config);
            result
        }
    }

    pub(crate) fn string(&self, index: u8) -> Result<String, c_int> {
        let mut bytes = [0; 64];
        // SAFETY: the handle is open, the buffer as long as said.
        let code = unsafe { libusb_get_string_descriptor_ascii(self.handle, index, bytes.as_mut_ptr(), 64) };
        let length = usize::try_from(code).map_err(|_| code)?;
        assert_eq!(bytes[length], 0);
        Ok(String::from_utf8(bytes[..length].to_vec()).expect("ASCII"))
    }

    pub(crate) fn claim(&self, interface: c_int) -> c_int {
        // SAFETY: the handle is open.
        unsafe { libusb_claim_interface(self.handle, interface) }
    }

    pub(crate) fn release(&self, interface: c_int) -> c_int {
        // SAFETY: the handle is open.
        unsafe { libusb_release_interface(self.handle, interface) }
    }

    pub(crate) fn set_interface(&self, interface: c_int, alternate: c_int) -> c_int {
        // SAFETY: the handle is open.
        unsafe { libusb_set_interface_alt_setting(self.handle, interface, alternate) }
    }

    pub(crate) fn reset(&self) -> c_int {
        // SAFETY: the handle is open.
        unsafe { libusb_reset_device(self.handle) }
    }

    pub(crate) fn configuration(&self) -> c_int {
        let mut config = -1;
        // SAFETY: the handle is open.
        assert_eq!(unsafe { libusb_get_configuration(self.handle, &raw mut config) }, 0);
        config
    }

    pub(crate) fn control(&self, setup: Setup, data: &mut [u8]) -> c_int {
        assert!(usize::from(setup.length) <= data.len());
        let Setup { request_type, request, value, index, length } = setup;
        let data = data.as_mut_ptr();
        // SAFETY: the handle is open, the buffer at least as long as said.
        unsafe {
            libusb_control_transfer(self.handle, request_type, request, value, index, data, length, 1000)
        }
    }

    /// Answers the code and how many bytes there were.
    pub(crate) fn bulk(&self, endpoint: u8, data: &mut [u8], timeout: c_uint) -> (c_int, usize) {
        let mut actual = 0;
        let (at, length) = (data.as_mut_ptr(), c_int::try_from(data.len()).expect("short"));
        // SAFETY: the handle is open, the buffer as long as said.
        let code =
            unsafe { libusb_bulk_transfer(self.handle, endpoint, at, length, &raw mut actual, timeout) };
        (code, usize::try_from(actual).expect("not negative"))
    }

    /// A command, its reply, its completion.
    pub(crate) fn command(&self, command: Command, sequence: u32) -> Result<Vec<u8>, c_int> {
        let (mut bytes, length) = command.to_bytes(sequence);
        match self.bulk(COMMAND_OUT, &mut bytes[..length], 1000) {
            (0, sent) => assert_eq!(sent, length),
            (code, _) => return Err(code),
        }
        let mut reply = vec![0; command.reply_max()];
        if !reply.is_empty() {
            match self.bulk(REPLY_IN, &mut reply, 1000) {
                (0, actual) => reply.truncate(actual),
                (code, _) => return Err(code),
            }
        }
        let mut end = [0; COMPLETION_BYTES];
        match self.bulk(REPLY_IN, &mut end, 1000) {
            (0, _) => assert_eq!(Completion::from_bytes(&end).map(|end| end.sequence), Some(sequence)),
            (code, _) => return Err(code),
        }
        Ok(reply)
    }

    /// As libfreenect2 starts the streams; the transfers are the caller's.
    pub(crate) fn start(&self) {
        assert_eq!(self.control(Setup::RESUME, &mut []), 0);
        let mut sequence = 0;
        let mut tell = |command| {
            sequence += 1;
            self.command(command, sequence - 1).expect("an answer")
        };
        tell(Command::Firmware);
        while tell(Command::Status)[0] & 1 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        tell(Command::InitStreams);
        assert_eq!(self.set_interface(1, 1), 0);
        tell(Command::Streaming(true));
    }

    /// Waits for events for up to so long.
    pub(crate) fn handle_events(&self, timeout: Duration) -> c_int {
        let mut timeout = libc::timeval {
            tv_sec: timeout.as_secs().try_into().expect("short"),
            tv_usec: timeout.subsec_micros().into(),
        };
        // SAFETY: the context is there until this is dropped.
        unsafe { libusb_handle_events_timeout_completed(self.library.0, &raw mut timeout, ptr::null_mut()) }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: opened by the library or NULL, and not used after this.
        unsafe { libusb_close(self.handle) };
    }
}

/// What a callback saw, and what it shall do: answers whether to submit again.
pub(crate) type OnDone<'a> = dyn FnMut(&Ended<'_>) -> bool + 'a;

/// A transfer in its callback.
pub(crate) struct Ended<'a> {
    /// Which transfer of the pool.
    pub(crate) number: usize,
    pub(crate) status: c_int,
    pub(crate) actual: usize,
    /// Of each packet: its bytes and its status.
    pub(crate) packets: Vec<(&'a [u8], c_int)>,
}

/// A pool of transfers that call back into one closure. To be dropped when none is in flight.
pub(crate) struct Pool<'a> {
    transfers: Vec<*mut Transfer>,
    shared: Box<Shared<'a>>,
    // Kept at their addresses for the transfers.
    _users: Vec<User<'a>>,
    buffers: Vec<Vec<u8>>,
}

/// What the callbacks of a pool share.
struct Shared<'a> {
    on_done: RefCell<Box<OnDone<'a>>>,
    in_flight: Cell<usize>,
    /// What submitting again answered, where it was not 0.
    refused: RefCell<Vec<c_int>>,
}

/// What a transfer's `user_data` points to.
struct User<'a> {
    number: usize,
    shared: *const Shared<'a>,
}

impl<'a> Pool<'a> {
    /// Isochronous transfers on the depth endpoint.
    pub(crate) fn isochronous(
        session: &Session,
        count: usize,
        packets: usize,
        on_done: impl FnMut(&Ended<'_>) -> bool + 'a,
    ) -> Self {
        let length = packets * PACKET_BYTES;
        Pool::new(session, count, (DEPTH_IN, kind::ISOCHRONOUS, 0), packets, length, Box::new(on_done))
    }

    /// Bulk transfers of 16 bytes on the reply endpoint, with a timeout in ms.
    pub(crate) fn bulk(
        session: &Session,
        count: usize,
        timeout: c_uint,
        on_done: impl FnMut(&Ended<'_>) -> bool + 'a,
    ) -> Self {
        Pool::new(session, count, (REPLY_IN, kind::BULK, timeout), 0, COMPLETION_BYTES, Box::new(on_done))
    }

    fn new(
        session: &Session,
        count: usize,
        (endpoint, kind, timeout): (u8, u8, c_uint),
        packets: usize,
        length: usize,
        on_done: Box<OnDone<'a>>,
    ) -> Self {
        let on_done = RefCell::new(on_done);
        let shared = Box::new(Shared { on_done, in_flight: Cell::new(0), refused: RefCell::default() });
        let user = |number| User { number, shared: &raw const *shared };
        let mut users: Vec<User<'a>> = (0..count).map(user).collect();
        let (mut transfers, mut buffers) = (Vec::new(), Vec::new());
        for user in &mut users {
            let transfer = libusb_alloc_transfer(c_int::try_from(packets).expect("few"));
            assert!(!transfer.is_null());
            let mut buffer = vec![0; length];
            // SAFETY: freshly allocated for so many packets; buffer and user outlive it in the pool.
            unsafe {
                (*transfer).dev_handle = session.handle;
                (*transfer).endpoint = endpoint;
                (*transfer).kind = kind;
                (*transfer).timeout = timeout;
                (*transfer).buffer = buffer.as_mut_ptr();
                (*transfer).length = c_int::try_from(length).expect("short");
                (*transfer).callback = Some(call_back);
                (*transfer).user_data = ptr::from_mut(user).cast::<c_void>();
                (*transfer).num_iso_packets = c_int::try_from(packets).expect("few");
                let first = (&raw mut (*transfer).iso_packet_desc).cast::<IsoPacket>();
                for i in 0..packets {
                    (*first.add(i)).length = c_uint::try_from(PACKET_BYTES).expect("short");
                }
            }
            transfers.push(transfer);
            buffers.push(buffer);
        }
        Pool { transfers, shared, _users: users, buffers }
    }

    /// Submits a transfer.
    pub(crate) fn submit(&self, number: usize) -> c_int {
        // SAFETY: filled in; the pool outlives its flight.
        let code = unsafe { libusb_submit_transfer(self.transfers[number]) };
        if code == 0 {
            self.shared.in_flight.set(self.shared.in_flight.get() + 1);
        }
        code
    }

    pub(crate) fn submit_all(&self) {
        for number in 0..self.transfers.len() {
            assert_eq!(self.submit(number), 0);
        }
    }

    pub(crate) fn cancel(&self, number: usize) -> c_int {
        // SAFETY: a transfer of the pool.
        unsafe { libusb_cancel_transfer(self.transfers[number]) }
    }

    /// Says that nothing is in flight because the handle was closed.
    pub(crate) fn rest_by_closing(&self) {
        self.shared.in_flight.set(0);
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.shared.in_flight.get()
    }

    /// What submitting again answered, where it was not 0.
    pub(crate) fn refused(&self) -> Vec<c_int> {
        self.shared.refused.borrow().clone()
    }
}

impl Drop for Pool<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // What is in flight may still be written to: better lost than freed.
            std::mem::forget(std::mem::take(&mut self.buffers));
            return;
        }
        assert_eq!(self.in_flight(), 0, "a pool is dropped at rest");
        for transfer in &self.transfers {
            // SAFETY: allocated in `new`, not in flight.
            unsafe { libusb_free_transfer(*transfer) };
        }
    }
}

/// # Safety
/// Called by the library for a transfer of a pool.
unsafe extern "C" fn call_back(transfer: *mut Transfer) {
    // SAFETY: `user_data` is the pool's `User`, whose pointer is to what the pool has too; the transfer is ours here.
    unsafe {
        let user = &*(*transfer).user_data.cast::<User<'_>>();
        let shared = &*user.shared;
        let count = usize::try_from((*transfer).num_iso_packets).expect("as set");
        let first = (&raw const (*transfer).iso_packet_desc).cast::<IsoPacket>();
        let packet = |i: usize| {
            let packet = *first.add(i);
            let data = (*transfer).buffer.add(i * PACKET_BYTES).cast_const();
            (std::slice::from_raw_parts(data, packet.actual_length as usize), packet.status)
        };
        let ended = Ended {
            number: user.number,
            status: (*transfer).status,
            actual: usize::try_from((*transfer).actual_length).expect("not negative"),
            packets: (0..count).map(packet).collect(),
        };
        shared.in_flight.set(shared.in_flight.get() - 1);
        let again = (shared.on_done.borrow_mut())(&ended);
        if again {
            match libusb_submit_transfer(transfer) {
                0 => shared.in_flight.set(shared.in_flight.get() + 1),
                code => shared.refused.borrow_mut().push(code),
            }
        }
    }
}
