//! The functions that programs written for libusb-1.0 call: C's pointers on one side, `bus.rs` on the other.
//!
//! What a caller of libusb has to keep, it has to keep here too, and all `SAFETY` lines rest on it: pointers come from
//! the function that makes them (`libusb_init`, `libusb_get_device_list`, `libusb_open`, `libusb_alloc_transfer`, …) and
//! are not used after the one that frees them; a transfer in flight and its buffer are left alone until its callback.

#![expect(unsafe_code, reason = "C's pointers; nothing of the model is in this file")]
// Each function's contract is libusb's own, as said above.
#![expect(clippy::missing_safety_doc, reason = "the contract is libusb's documentation of the same function")]

use std::alloc::{self, Layout};
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_uchar, c_uint, c_void};
use std::mem::offset_of;
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use kinect2::protocol::Setup;

use crate::abi::{
    self, CompanionDescriptor, ConfigDescriptor, DeviceDescriptor, EndpointDescriptor, Error, IsoPacket,
    Transfer, flag, kind, status,
};
use crate::bus::{Bus, Done, Owner, Request, Shape};
use crate::descriptors::{self, Config};
use crate::settings;

/// A session of libusb: `libusb_context`.
#[derive(Debug)]
pub struct Context {
    id: u64,
    bus: Arc<Bus>,
    /// The sensor as this context has listed it, while anybody refers to it.
    listed: Mutex<Weak<Device>>,
}

impl Context {
    /// A session on a bus of its own, as `libusb_init` gives; to be given to `libusb_exit`.
    pub(crate) fn on(bus: Arc<Bus>) -> *mut Context {
        let id = bus.number();
        Arc::into_raw(Arc::new(Context { id, bus, listed: Mutex::new(Weak::new()) })).cast_mut()
    }
}

/// A sensor that was on the bus when it was listed: `libusb_device`.
#[derive(Debug)]
pub struct Device {
    context: Arc<Context>,
    bus_number: u8,
    /// Another one after each replug.
    address: u8,
    speed: c_int,
    descriptor: [u8; 18],
    configuration: Vec<u8>,
}

/// An opened sensor: `libusb_device_handle`.
#[derive(Debug)]
pub struct Handle {
    id: u64,
    device: Arc<Device>,
}

impl Handle {
    fn bus(&self) -> &Bus {
        &self.device.context.bus
    }

    fn request<'a>(&self, endpoint: u8, shape: Shape<'a>, timeout: c_uint) -> Request<'a> {
        let timeout = (timeout > 0).then(|| Duration::from_millis(u64::from(timeout)));
        Request { handle: self.id, address: self.device.address, endpoint, shape, timeout }
    }
}

/// A transfer as allocated: what the caller must not see in front.
#[repr(C)]
struct Block {
    /// Packets that there is room for behind it.
    packets: usize,
    /// Its number on the bus while it is in flight, else 0.
    flight: AtomicU64,
    transfer: Transfer,
}

impl Block {
    fn layout(packets: usize) -> Option<Layout> {
        let size = packets.checked_mul(size_of::<IsoPacket>())?.checked_add(size_of::<Block>())?;
        Layout::from_size_align(size, align_of::<Block>()).ok()
    }

    /// The block of a transfer that `libusb_alloc_transfer` gave.
    fn of(transfer: *mut Transfer) -> *mut Block {
        transfer.wrapping_byte_sub(offset_of!(Block, transfer)).cast()
    }
}

/// The session that callers mean by NULL, and how often it was begun.
static DEFAULT: Mutex<(Option<Arc<Context>>, usize)> = Mutex::new((None, 0));

thread_local! {
    /// Whether this thread is in a callback: libusb refuses synchronous calls there.
    static IN_CALLBACK: Cell<bool> = const { Cell::new(false) };
}

/// The process's bus, made from the environment when it is first asked for.
fn bus() -> Result<Arc<Bus>, Error> {
    static BUS: OnceLock<Option<Arc<Bus>>> = OnceLock::new();
    let from_environment = || match settings::bus() {
        Ok(bus) => Some(Arc::new(bus)),
        Err(problem) => {
            eprintln!("kinect2-sim-libusb: {problem}");
            None
        }
    };
    BUS.get_or_init(from_environment).clone().ok_or(Error::Other)
}

/// The session that a caller means.
///
/// # Safety
/// `context` is NULL or from `libusb_init`.
unsafe fn context_of(context: *mut Context) -> Result<Arc<Context>, Error> {
    if context.is_null() {
        let default = DEFAULT.lock().unwrap_or_else(PoisonError::into_inner);
        return default.0.clone().ok_or(Error::InvalidParam);
    }
    // SAFETY: from `Arc::into_raw` in `Context::on`, and not yet given to `libusb_exit`.
    unsafe {
        Arc::increment_strong_count(context);
        Ok(Arc::from_raw(context))
    }
}

fn code(result: Result<(), Error>) -> c_int {
    result.map_or_else(Error::code, |()| 0)
}

// ---- The library ----

/// The version of libusb that this stands for.
#[unsafe(no_mangle)]
pub extern "C" fn libusb_get_version() -> *const abi::Version {
    &raw const abi::VERSION
}

/// Begins a session; NULL means the one that callers share.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libusb_init(context: *mut *mut Context) -> c_int {
    let bus = match bus() {
        Ok(bus) => bus,
        Err(error) => return error.code(),
    };
    if context.is_null() {
        let mut default = DEFAULT.lock().unwrap_or_else(PoisonError::into_inner);
        let id = bus.number();
        default.0.get_or_insert_with(|| Arc::new(Context { id, bus, listed: Mutex::new(Weak::new()) }));
        default.1 += 1;
    } else {
        // SAFETY: the caller's variable.
        unsafe { *context = Context::on(bus) };
    }
    0
}

/// Ends a session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libusb_exit(context: *mut Context) {
    if context.is_null() {
        let mut default = DEFAULT.lock().unwrap_or_else(PoisonError::into_inner);
        default.1 = default.1.saturating_sub(1);
        if default.1 == 0 {
            default.0 = None;
        }
    } else {
        // SAFETY: from `Context::on`, given back once.
        drop(unsafe { Arc::from_raw(context) });
    }
}

/// Accepts every option: log levels and the like change nothing here. Further arguments are not looked at, which C's
/// calling conventions allow.
#[unsafe(no_mangle)]
pub extern "C" fn libusb_set_option(_context: *mut Context, _option: c_int) -> c_int {
    0
}

/// The name of an error.
#[unsafe(no_mangle)]
pub extern "C" fn libusb_error_name(error: c_int) -> *const c_char {
    text_of(error, c"LIBUSB_SUCCESS / LIBUSB_TRANSFER_COMPLETED", c"**UNKNOWN**", Error::name)
}

/// What an error means.
#[unsafe(no_mangle)]
pub extern "C" fn libusb_strerror(error: c_int) -> *const c_char {
    text_of(error, c"Success", c"Unknown error", Error::text)
}

fn text_of(
    error: c_int,
    success: &'static CStr,
    unknown: &'static CStr,
    text: fn(Error) -> &'static CStr,
) -> *const c_char {
    let known = || Error::ALL.into_iter().find(|known| known.code() == error).map(text);
    if error == 0 { success } else { known().unwrap_or(unknown) }.as_ptr()
}

// ---- Devices ----

/// Lists the sensor, if it is there: a list of one or none, ended by NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libusb_get_device_list(context: *mut Context, list: *mut *mut *mut Device) -> isize {
    // SAFETY: as the caller of libusb has to keep.
    let context = match unsafe { context_of(context) } {
        Ok(context) => context,
        Err(error) => return error.code() as isize,
    };
    let mut devices = Vec::with_capacity(2);
    if let Some(present) = context.bus.present() {
        let mut listed = context.listed.lock().unwrap_or_else(PoisonError::into_inner);
        let same = listed.upgrade().filter(|device| device.address == present.address);
        let device = same.unwrap_or_else(|| {
            let device = Arc::new(Device {
                context: Arc::clone(&context),
                bus_number: present.bus,
                address: present.address,
                speed: present.speed,
                descriptor: present.descriptor,
                configuration: present.configuration,
            });
            *listed = Arc::downgrade(&device);
            device
        });
        devices.push(Arc::into_raw(device).cast_mut());
    }
    let count = devices.len();
    devices.push(ptr::null_mut());
    // SAFETY: the caller's variable.
    unsafe { *list = Box::into_raw(devices.into_boxed_slice()).cast() };
    isize::try_from(count).unwrap_or(isize::MAX)
}

/// Frees a list, and on request the references in it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libusb_free_device_list(list: *mut *mut Device, unref_devices: c_int) {
    if list.is_null() {
        return;
    }
    let mut count = 0;
    // SAFETY: a list of ours ends with NULL, and nothing is read behind that.
    while let device @ 1.. = unsafe { *list.add(count) }.addr() {
        debug_assert_ne!(device, 0);
        if unref_devices != 0 {
            // SAFETY: each entry has a reference of its own.
            unsafe { libusb_unref_device(*list.add(count)) };
        }
        count += 1;
    }
    // SAFETY: a boxed slice of this length was made in `libusb_get_device_list`.
    drop(unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(list, count + 1)) });
}

/// One more reference to a device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libusb_ref_device(device: *mut Device) -> *mut Device {
    // SAFETY: the caller has a reference, so the device is there.
    unsafe { Arc::increment_strong_count(device) };
    device
}

/// One reference less.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libusb_unref_device(device: *mut Device) {
    if !device.is_null() {
        // SAFETY: the reference is the caller's to give up.
        unsafe { Arc::decrement_strong_count(device) };
    }
}

/// The bus that a device is on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libusb_get_bus_number(device: *mut Device) -> u8 {
    // SAFETY: the caller has a reference.
    unsafe { (*device).bus_number }
}

/// A device's address on its bus.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libusb_get_device_address(device: *mut Device) -> u8 {
    // SAFETY: the caller has a reference.
    unsafe { (*device).address }
}

/// The speed of a device's link: 3 is USB 2, 4 is USB 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libusb_get_device_speed(device: *mut Device) -> c_int {
    // SAFETY: the caller has a reference.
    unsafe { (*device).speed }
}

/// The device descriptor, as it was when the device was listed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libusb_get_device_descriptor(
    device: *mut Device,
    descriptor: *mut DeviceDescriptor,
) -> c_int {
    // SAFETY: the caller has a reference; the other is its variable.
    unsafe { *descriptor = descriptors::device(&(*device).descriptor) };
    0
}

/// The configuration with this `bConfigurationValue`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libusb_get_config_descriptor_by_value(
    device: *mut Device,
    value: u8,
    config: *mut *mut ConfigDescriptor,
) -> c_int {
    // SAFETY: the caller has a reference.
    let bytes = unsafe { &(*device).configuration };
    if bytes.get(5) != Some(&value) {
        return Error::NotFound.code();
    }
    let Some(parsed) = Config::parse(bytes) else { return Error::Io.code() };
    // SAFETY: the caller's variable. The descriptor is what a `Config` begins with.
    unsafe { *config = Box::into_raw(parsed).cast() };
    0
}

/// Frees a configuration.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libusb_free_config_descriptor(config: *mut ConfigDescriptor) {
    if !config.is_null() {
        // SAFETY: made by `libusb_get_config_descriptor_by_value` out of a whole `Config`.
        drop(unsafe { Box::from_raw(config.cast::<Config>()) });
    }
}

/// What stands behind an endpoint of a USB 3 device. The context may be NULL and is not looked at.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libusb_get_ss_endpoint_companion_descriptor(
    _context: *mut Context,
    endpoint: *const EndpointDescriptor,
    companion: *mut *mut CompanionDescriptor,
) -> c_int {
    // SAFETY: an endpoint of a configuration not yet freed, which the bytes belong to.
    let extra = unsafe {
        let length = usize::try_from((*endpoint).extra_length).unwrap_or(0);
        if length == 0 { &[][..] } else { slice::from_raw_parts((*endpoint).extra, length) }
    };
    let Some(found) = descriptors::companion(extra) else { return Error::NotFound.code() };
    // SAFETY: the caller's variable.
    unsafe { *companion = Box::into_raw(Box::new(found)) };
    0
}

/// Frees a companion.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libusb_free_ss_endpoint_companion_descriptor(companion: *mut CompanionDescriptor) {
    if !companion.is_null() {
        // SAFETY: made by `libusb_get_ss_endpoint_companion_descriptor`.
        drop(unsafe { Box::from_raw(companion) });
    }
}

// ---- Opened devices ----

/// Opens a device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libusb_open(device: *mut Device, handle: *mut *mut Handle) -> c_int {
    // SAFETY: the caller has a reference; this takes another.
    let device = unsafe {
        Arc::increment_strong_count(device);
        Arc::from_raw(device)
    };
    if let Err(error) = device.context.bus.check(device.address) {
        return error.code();
    }
    let id = device.context.bus.number();
    // SAFETY: the caller's variable.
    unsafe { *handle = Box::into_raw(Box::new(Handle { id, device })) };
    0
}

/// Closes a device: its claims are released. Transfers still in flight never call back, as a bug of the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libusb_close(handle: *mut Handle) {
    if !handle.is_null() {
        // SAFETY: made by `libusb_open`, given back once.
        let handle = unsafe { Box::from_raw(handle) };
        let lost = handle.bus().close(handle.id);
        if !lost.is_empty() {
            eprintln!("kinect2-sim-libusb: closed with {} transfers in flight", lost.len());
        }
        for token in lost {
            // SAFETY: a transfer in flight is not freed; it is the caller's again.
            unsafe {
                (*Block::of(ptr::with_exposed_provenance_mut(token))).flight.store(0, Ordering::Release);
            }
        }
    }
}

/// The device that is opened; no reference is taken.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libusb_get_device(handle: *mut Handle) -> *mut Device {
    // SAFETY: an open handle.
    Arc::as_ptr(unsafe { &(*handle).device }).cast_mut()
}

/// Resets a device: not found if it came back as another one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libusb_reset_device(handle: *mut Handle) -> c_int {
    // SAFETY: an open handle.
    let handle = unsafe { &*handle };
    code(handle.bus().reset(handle.device.address))
}

/// The number of the configuration, asked of the device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libusb_get_configuration(handle: *mut Handle, config: *mut c_int) -> c_int {
    const GET_CONFIGURATION: Setup = Setup { request_type: 0x80, request: 8, value: 0, index: 0, length: 1 };
    // SAFETY: an open handle.
    let handle = unsafe { &*handle };
    let mut value = [0];
    match read(handle, GET_CONFIGURATION, &mut value) {
        Ok(1) => {
            // SAFETY: the caller's variable.
            unsafe { *config = c_int::from(value[0]) };
            0
        }
        Ok(_) => Error::Io.code(),
        Err(error) => error.code(),
    }
}

/// Selects a configuration; busy while an interface is claimed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libusb_set_configuration(handle: *mut Handle, config: c_int) -> c_int {
    // SAFETY: an open handle.
    let handle = unsafe { &*handle };
    if handle.bus().is_claimed() {
        return Error::Busy.code();
    }
    let Ok(value) = u16::try_from(config.max(0)) else { return Error::InvalidParam.code() };
    let setup = Setup { request_type: 0, request: 9, value, index: 0, length: 0 };
    code(read(handle, setup, &mut []).map(|_| ()))
}

/// Claims an interface.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libusb_claim_interface(handle: *mut Handle, interface: c_int) -> c_int {
    // SAFETY: an open handle.
    let handle = unsafe { &*handle };
    code(handle.bus().claim(handle.id, handle.device.address, interface))
}

/// Gives an interface back; its alternate setting becomes 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libusb_release_interface(handle: *mut Handle, interface: c_int) -> c_int {
    // SAFETY: an open handle.
    let handle = unsafe { &*handle };
    code(handle.bus().release(handle.id, handle.device.address, interface))
}

/// Selects an alternate setting of a claimed interface.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libusb_set_interface_alt_setting(
    handle: *mut Handle,
    interface: c_int,
    alternate: c_int,
) -> c_int {
    // SAFETY: an open handle.
    let handle = unsafe { &*handle };
    code(handle.bus().set_interface(handle.id, handle.device.address, interface, alternate))
}

/// Ends an endpoint's halt.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libusb_clear_halt(handle: *mut Handle, endpoint: c_uchar) -> c_int {
    // SAFETY: an open handle.
    let handle = unsafe { &*handle };
    code(handle.bus().clear_halt(handle.device.address, endpoint))
}

/// Reads a string in the device's first language; what is not ASCII becomes a question mark.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libusb_get_string_descriptor_ascii(
    handle: *mut Handle,
    index: u8,
    data: *mut c_uchar,
    length: c_int,
) -> c_int {
    let Some(room) = usize::try_from(length).ok().filter(|room| *room > 0 && index > 0) else {
        return Error::InvalidParam.code();
    };
    // SAFETY: an open handle, and the caller's buffer.
    let (handle, data) = unsafe { (&*handle, slice::from_raw_parts_mut(data, room)) };
    match string(handle, index) {
        Ok(text) => {
            let text = &text[..text.len().min(room - 1)];
            data[..text.len()].copy_from_slice(text);
            data[text.len()] = 0;
            c_int::try_from(text.len()).unwrap_or(c_int::MAX)
        }
        Err(error) => error.code(),
    }
}

fn string(handle: &Handle, index: u8) -> Result<Vec<u8>, Error> {
    const STRING: u8 = 3;
    let read_string = |index: u8, language: u16, bytes: &mut [u8; 255]| {
        let value = u16::from(STRING) << 8 | u16::from(index);
        let setup = Setup { request_type: 0x80, request: 6, value, index: language, length: 255 };
        let actual = read(handle, setup, bytes)?;
        let whole = bytes[1] == STRING && actual >= 2;
        if whole { Ok(actual.min(usize::from(bytes[0]))) } else { Err(Error::Io) }
    };
    let mut bytes = [0; 255];
    if read_string(0, 0, &mut bytes)? < 4 {
        return Err(Error::Io);
    }
    let length = read_string(index, u16::from_le_bytes([bytes[2], bytes[3]]), &mut bytes)?;
    let ascii = |unit: &[u8]| match *unit {
        [low @ 0..=0x7F, 0] => low,
        _ => b'?',
    };
    Ok(bytes[2..length.max(2)].chunks_exact(2).map(ascii).collect())
}

/// A control request within one second, as the C functions that stand for one make it.
fn read(handle: &Handle, setup: Setup, into: &mut [u8]) -> Result<usize, Error> {
    if IN_CALLBACK.get() {
        return Err(Error::Busy);
    }
    let request = handle.request(0, Shape::Control { setup, data: &[] }, 1000);
    let mut actual = 0;
    handle.bus().perform(request, |bytes| {
        actual = bytes.len().min(into.len());
        into[..actual].copy_from_slice(&bytes[..actual]);
    })?;
    Ok(actual)
}

// ---- Synchronous transfers ----

/// A control request: bytes of data, or an error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libusb_control_transfer(
    handle: *mut Handle,
    request_type: u8,
    request: u8,
    value: u16,
    index: u16,
    data: *mut c_uchar,
    length: u16,
    timeout: c_uint,
) -> c_int {
    if IN_CALLBACK.get() {
        return Error::Busy.code();
    }
    let setup = Setup { request_type, request, value, index, length };
    // SAFETY: an open handle, and a buffer of `length` bytes.
    let (handle, data) = unsafe { (&*handle, bytes_mut(data, usize::from(length))) };
    let out: &[u8] = if request_type & 0x80 == 0 { data } else { &[] };
    let out = out.to_vec();
    let request = handle.request(0, Shape::Control { setup, data: &out }, timeout);
    let copy = |bytes: &[u8]| data[..bytes.len()].copy_from_slice(bytes);
    match handle.bus().perform(request, copy) {
        Ok(actual) => c_int::try_from(actual).unwrap_or(c_int::MAX),
        Err(error) => error.code(),
    }
}

/// A bulk transfer; `transferred` is set also where it fails underway.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libusb_bulk_transfer(
    handle: *mut Handle,
    endpoint: c_uchar,
    data: *mut c_uchar,
    length: c_int,
    transferred: *mut c_int,
    timeout: c_uint,
) -> c_int {
    if IN_CALLBACK.get() {
        return Error::Busy.code();
    }
    let Ok(length) = usize::try_from(length) else { return Error::InvalidParam.code() };
    // SAFETY: an open handle, and a buffer of `length` bytes.
    let (handle, data) = unsafe { (&*handle, bytes_mut(data, length)) };
    let result = if endpoint & 0x80 == 0 {
        handle.bus().perform(handle.request(endpoint, Shape::Out(data), timeout), |_| {})
    } else {
        let request = handle.request(endpoint, Shape::In(length), timeout);
        handle.bus().perform(request, |bytes| data[..bytes.len()].copy_from_slice(bytes))
    };
    if !transferred.is_null() {
        let actual = result.map_or(0, |actual| c_int::try_from(actual).unwrap_or(c_int::MAX));
        // SAFETY: the caller's variable.
        unsafe { *transferred = actual };
    }
    code(result.map(|_| ()))
}

/// The caller's buffer.
///
/// # Safety
/// `data` has `length` bytes, which nobody else touches during `'a`; it may be anything if `length` is 0.
unsafe fn bytes_mut<'a>(data: *mut c_uchar, length: usize) -> &'a mut [u8] {
    if length == 0 || data.is_null() {
        return &mut [];
    }
    // SAFETY: as above.
    unsafe { slice::from_raw_parts_mut(data, length) }
}

// ---- Asynchronous transfers ----

/// A transfer with room for this many packets, all zero; NULL if there is no memory.
#[unsafe(no_mangle)]
pub extern "C" fn libusb_alloc_transfer(iso_packets: c_int) -> *mut Transfer {
    let Ok(packets) = usize::try_from(iso_packets) else { return ptr::null_mut() };
    let Some(layout) = Block::layout(packets) else { return ptr::null_mut() };
    // SAFETY: the layout is that of a `Block`, not empty, for which zeros are a value.
    let block: *mut Block = unsafe { alloc::alloc_zeroed(layout) }.cast();
    if block.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: just allocated, with room for a whole block.
    unsafe {
        (*block).packets = packets;
        &raw mut (*block).transfer
    }
}

/// Frees a transfer that is not in flight, and on request its buffer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libusb_free_transfer(transfer: *mut Transfer) {
    if transfer.is_null() {
        return;
    }
    let block = Block::of(transfer);
    // SAFETY: made by `libusb_alloc_transfer`, given back once; the buffer of that flag is from `malloc`.
    unsafe {
        if (*block).flight.load(Ordering::Acquire) != 0 {
            eprintln!("kinect2-sim-libusb: a transfer in flight is not freed");
            return;
        }
        if (*transfer).flags & flag::FREE_BUFFER != 0 {
            libc::free((*transfer).buffer.cast::<c_void>());
        }
        let layout = Block::layout((*block).packets).expect("as when it was allocated");
        alloc::dealloc(block.cast(), layout);
    }
}

/// Sends a transfer off; its callback comes from [`libusb_handle_events_timeout_completed`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libusb_submit_transfer(transfer: *mut Transfer) -> c_int {
    // SAFETY: as the caller of libusb has to keep.
    code(unsafe { submit(transfer) })
}

/// # Safety
/// As of `libusb_submit_transfer`: a transfer that is not in flight, filled in for an open handle.
unsafe fn submit(transfer: *mut Transfer) -> Result<(), Error> {
    let block = Block::of(transfer);
    // SAFETY: allocated as a `Block`; only its caller touches it while it is not in flight.
    let (flight, room, t) = unsafe { (&(*block).flight, (*block).packets, &*transfer) };
    if flight.load(Ordering::Acquire) != 0 {
        return Err(Error::Busy);
    }
    let length = usize::try_from(t.length).map_err(|_| Error::InvalidParam)?;
    if t.dev_handle.is_null() || (t.buffer.is_null() && length > 0) {
        return Err(Error::InvalidParam);
    }
    // SAFETY: an open handle, and a buffer of `length` bytes that is left alone while this reads it.
    let (handle, buffer) = unsafe { (&*t.dev_handle, &*bytes_mut(t.buffer, length)) };
    let shape = match t.kind {
        kind::CONTROL => {
            let (setup, data) = buffer.split_first_chunk().ok_or(Error::InvalidParam)?;
            Shape::Control { setup: Setup::from_bytes(*setup), data }
        }
        kind::BULK | kind::INTERRUPT if t.endpoint & 0x80 == 0 => Shape::Out(buffer),
        kind::BULK | kind::INTERRUPT => Shape::In(length),
        kind::ISOCHRONOUS => {
            let count = usize::try_from(t.num_iso_packets).map_err(|_| Error::InvalidParam)?;
            if count == 0 || count > room {
                return Err(Error::InvalidParam);
            }
            // SAFETY: the block has room for `room` packets behind it.
            let packets = unsafe { slice::from_raw_parts(first_packet(transfer), count) };
            let sum = packets.iter().try_fold(0_usize, |sum, packet| sum.checked_add(packet.length as usize));
            if sum.is_none_or(|sum| sum > length) {
                return Err(Error::InvalidParam);
            }
            Shape::Isochronous(packets)
        }
        _ => return Err(Error::NotSupported),
    };
    let id = handle.bus().number();
    flight.store(id, Ordering::Release);
    let owner = Owner { context: handle.device.context.id, token: transfer.expose_provenance() };
    let submitted = handle.bus().submit(id, owner, handle.request(t.endpoint, shape, t.timeout));
    if submitted.is_err() {
        flight.store(0, Ordering::Release);
    }
    submitted
}

/// The packets behind a transfer.
fn first_packet(transfer: *mut Transfer) -> *mut IsoPacket {
    transfer.wrapping_byte_add(offset_of!(Transfer, iso_packet_desc)).cast()
}

/// Asks for a transfer's end; its callback still comes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libusb_cancel_transfer(transfer: *mut Transfer) -> c_int {
    // SAFETY: a transfer that is not freed; its handle is open while it is in flight.
    unsafe {
        let flight = (*Block::of(transfer)).flight.load(Ordering::Acquire);
        if flight == 0 || (*transfer).dev_handle.is_null() {
            return Error::NotFound.code();
        }
        code((*(*transfer).dev_handle).bus().cancel(flight))
    }
}

/// Waits for up to `timeout` for transfers to complete, and calls back for those that have. Returns when at least one
/// callback was made, when the time is over, or when `completed` is there and not 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libusb_handle_events_timeout_completed(
    context: *mut Context,
    timeout: *mut libc::timeval,
    completed: *mut c_int,
) -> c_int {
    if IN_CALLBACK.get() {
        return Error::Busy.code();
    }
    // SAFETY: as the caller of libusb has to keep.
    let context = match unsafe { context_of(context) } {
        Ok(context) => context,
        Err(error) => return error.code(),
    };
    // SAFETY: the caller's variables; `completed` may be changed by a callback meanwhile, hence the volatile read.
    let (timeout, is_completed) =
        unsafe { (*timeout, !completed.is_null() && completed.read_volatile() != 0) };
    if is_completed {
        return 0;
    }
    let (Ok(seconds), Ok(micros)) = (u64::try_from(timeout.tv_sec), u64::try_from(timeout.tv_usec)) else {
        return Error::InvalidParam.code();
    };
    let turn = context.bus.wait(context.id, Duration::from_secs(seconds) + Duration::from_micros(micros));
    let Some(turn) = turn else { return 0 };
    for _ in 0..turn.count() {
        let Some(done) = turn.take() else { break };
        // SAFETY: the token is the transfer given to `submit`, which is ours until its callback.
        unsafe { call_back(&context.bus, done) };
    }
    0
}

/// # Safety
/// `done` is a transfer's that `submit` took, just taken off the bus.
unsafe fn call_back(bus: &Bus, mut done: Done) {
    let transfer: *mut Transfer = ptr::with_exposed_provenance_mut(done.token);
    // SAFETY: the caller of libusb leaves transfer and buffer alone until the callback, and the lengths are those that
    // `submit` has checked against the buffer.
    let (callback, flags) = unsafe {
        let (kind, flags) = ((*transfer).kind, (*transfer).flags);
        let buffer = bytes_mut((*transfer).buffer, usize::try_from((*transfer).length).unwrap_or(0));
        (*transfer).status = done.status;
        if kind == kind::ISOCHRONOUS {
            let count = usize::try_from((*transfer).num_iso_packets).unwrap_or(0);
            deliver_packets(&done, slice::from_raw_parts_mut(first_packet(transfer), count), buffer);
            (*transfer).actual_length = 0;
        } else {
            let behind = if kind == kind::CONTROL { SETUP_BYTES } else { 0 };
            buffer[behind..][..done.received().len()].copy_from_slice(done.received());
            (*transfer).actual_length = c_int::try_from(done.actual()).unwrap_or(c_int::MAX);
            let short = done.actual() + behind < buffer.len() && flags & flag::SHORT_NOT_OK != 0;
            if short && done.status == status::COMPLETED {
                (*transfer).status = status::ERROR;
            }
        }
        (*Block::of(transfer)).flight.store(0, Ordering::Release);
        ((*transfer).callback, flags)
    };
    bus.recycle(&mut done);
    if let Some(callback) = callback {
        IN_CALLBACK.set(true);
        // SAFETY: the caller's function for this very transfer.
        unsafe { callback(transfer) };
        IN_CALLBACK.set(false);
    }
    if flags & flag::FREE_TRANSFER != 0 {
        // SAFETY: with this flag the callback leaves it to us.
        unsafe { libusb_free_transfer(transfer) };
    }
}

/// Data of each packet goes where the lengths in front of it say. Of a transfer that did not take place no packet did.
fn deliver_packets(done: &Done, packets: &mut [IsoPacket], buffer: &mut [u8]) {
    let mut ends = done.packets();
    let mut at = 0;
    for packet in packets {
        let (bytes, status) = ends.next().unwrap_or((&[], done.status));
        buffer[at..][..bytes.len()].copy_from_slice(bytes);
        packet.actual_length = c_uint::try_from(bytes.len()).unwrap_or(0);
        packet.status = status;
        at += packet.length as usize;
    }
}

/// In front of a control transfer's data.
const SETUP_BYTES: usize = 8;
