//! The functions of libc that the program calls and that end here first.
//!
//! A descriptor that is no node of ours costs one look at an atomic bit; a path that is no node costs a look at its last
//! seven bytes. Whatever is not ours goes to the next library in the search order, libc.
//!
//! Not seen: system calls made without libc, `dup` of a node's descriptor, and `openat` with a folder's descriptor.
#![allow(unsafe_code, reason = "replaces functions of libc, and calls those it replaces")]

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulong, c_void};
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use nix::errno::Errno;

use crate::simulator;
use crate::user::Memory;

/// Highest descriptor of a node, and one: a program with more files open gets `EMFILE` for its node.
const DESCRIPTORS: usize = 4096;

/// Which descriptors are nodes.
static NODES: [AtomicU64; DESCRIPTORS / 64] = [const { AtomicU64::new(0) }; DESCRIPTORS / 64];

fn is_node(fd: RawFd) -> bool {
    let Ok(fd) = usize::try_from(fd) else { return false };
    NODES.get(fd / 64).is_some_and(|bits| bits.load(Ordering::Acquire) & 1 << (fd % 64) != 0)
}

fn mark(fd: RawFd, node: bool) {
    let Ok(fd) = usize::try_from(fd) else { return };
    let Some(bits) = NODES.get(fd / 64) else { return };
    if node {
        bits.fetch_or(1 << (fd % 64), Ordering::Release);
    } else {
        bits.fetch_and(!(1 << (fd % 64)), Ordering::Release);
    }
}

/// A function of the same name further on in the search order, looked up at its first use.
struct Next {
    name: &'static CStr,
    address: AtomicPtr<c_void>,
}

impl Next {
    const fn new(name: &'static CStr) -> Self {
        Next { name, address: AtomicPtr::new(std::ptr::null_mut()) }
    }

    /// Its address. No lock: two threads that come at once find the same.
    fn get(&self) -> *mut c_void {
        let known = self.address.load(Ordering::Relaxed);
        if !known.is_null() {
            return known;
        }
        // SAFETY: a name that ends in a zero, and a handle that dlsym knows.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        if found.is_null() {
            // Without libc's own function the program cannot go on in any sensible way.
            std::process::abort();
        }
        self.address.store(found, Ordering::Relaxed);
        found
    }
}

type OpenFn = unsafe extern "C" fn(*const c_char, c_int, ...) -> c_int;
type OpenAtFn = unsafe extern "C" fn(c_int, *const c_char, c_int, ...) -> c_int;
type CloseFn = unsafe extern "C" fn(c_int) -> c_int;
type IoctlFn = unsafe extern "C" fn(c_int, c_ulong, ...) -> c_int;

// On the machines that Linux's usbfs is simulated for (x86-64, aarch64), a variadic argument of at most a register's
// size is passed like a named one, so the functions below may name it.

/// `open` of POSIX.
///
/// # Safety
/// As for libc's.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    static NEXT: Next = Next::new(c"open");
    // SAFETY: the program's promise about `path`.
    unsafe { open_node(path, flags) }.unwrap_or_else(|| {
        // SAFETY: libc's `open` has this type, and gets what the program gave.
        unsafe { std::mem::transmute::<*mut c_void, OpenFn>(NEXT.get())(path, flags, mode) }
    })
}

/// `open` with offsets of 64 bits, which is what the standard library calls.
///
/// # Safety
/// As for libc's.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    static NEXT: Next = Next::new(c"open64");
    // SAFETY: the program's promise about `path`.
    unsafe { open_node(path, flags) }.unwrap_or_else(|| {
        // SAFETY: libc's `open64` has this type, and gets what the program gave.
        unsafe { std::mem::transmute::<*mut c_void, OpenFn>(NEXT.get())(path, flags, mode) }
    })
}

/// `openat` of POSIX.
///
/// # Safety
/// As for libc's.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn openat(
    folder: c_int,
    path: *const c_char,
    flags: c_int,
    mode: c_uint,
) -> c_int {
    static NEXT: Next = Next::new(c"openat");
    // SAFETY: the program's promise about `path`.
    unsafe { open_node_at(folder, path, flags) }.unwrap_or_else(|| {
        // SAFETY: libc's `openat` has this type, and gets what the program gave.
        unsafe { std::mem::transmute::<*mut c_void, OpenAtFn>(NEXT.get())(folder, path, flags, mode) }
    })
}

/// `openat` with offsets of 64 bits.
///
/// # Safety
/// As for libc's.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn openat64(
    folder: c_int,
    path: *const c_char,
    flags: c_int,
    mode: c_uint,
) -> c_int {
    static NEXT: Next = Next::new(c"openat64");
    // SAFETY: the program's promise about `path`.
    unsafe { open_node_at(folder, path, flags) }.unwrap_or_else(|| {
        // SAFETY: libc's `openat64` has this type, and gets what the program gave.
        unsafe { std::mem::transmute::<*mut c_void, OpenAtFn>(NEXT.get())(folder, path, flags, mode) }
    })
}

/// `close` of POSIX.
///
/// # Safety
/// As for libc's.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn close(fd: c_int) -> c_int {
    static NEXT: Next = Next::new(c"close");
    if is_node(fd) {
        // Before the number is free: the next file with it is not ours.
        mark(fd, false);
        simulator::close(fd);
    }
    // SAFETY: libc's `close` has this type, and gets what the program gave.
    unsafe { std::mem::transmute::<*mut c_void, CloseFn>(NEXT.get())(fd) }
}

/// `ioctl` of POSIX.
///
/// # Safety
/// As for libc's; for a node, as for usbfs's.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn ioctl(fd: c_int, code: c_ulong, argument: usize) -> c_int {
    static NEXT: Next = Next::new(c"ioctl");
    if is_node(fd) {
        // The kernel takes 32 bits of it, and musl hands over a sign-extended int.
        let code = code as u32;
        // SAFETY: the addresses are this ioctl's, and those of the URBs that the program submitted.
        let memory = unsafe { Memory::of_program() };
        if let Some(answer) = simulator::ioctl(fd, code, argument, &memory) {
            return answer.unwrap_or_else(|errno| {
                errno.set();
                -1
            });
        }
    }
    // SAFETY: libc's `ioctl` has this type, and gets what the program gave.
    unsafe { std::mem::transmute::<*mut c_void, IoctlFn>(NEXT.get())(fd, code, argument) }
}

/// Opens a node of ours; `None` if the path is none.
///
/// # Safety
/// `path` is null or ends in a zero.
unsafe fn open_node(path: *const c_char, flags: c_int) -> Option<c_int> {
    if path.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    let path = unsafe { CStr::from_ptr(path) };
    let opened = simulator::open(path, flags)?.and_then(|program| {
        let fd = program.as_raw_fd();
        if usize::try_from(fd).is_ok_and(|fd| fd < DESCRIPTORS) {
            mark(fd, true);
            Ok(program.into_raw_fd())
        } else {
            simulator::close(fd);
            Err(Errno::EMFILE)
        }
    });
    Some(opened.unwrap_or_else(|errno| {
        errno.set();
        -1
    }))
}

/// As [`open_node`], for a path below the current folder or the root.
///
/// # Safety
/// As [`open_node`].
unsafe fn open_node_at(folder: c_int, path: *const c_char, flags: c_int) -> Option<c_int> {
    if path.is_null() {
        return None;
    }
    // SAFETY: not null, and so at least one byte of text or its end.
    let absolute = unsafe { path.read() } == b'/' as c_char;
    if folder != libc::AT_FDCWD && !absolute {
        return None;
    }
    // SAFETY: the caller's promise.
    unsafe { open_node(path, flags) }
}

/// Runs when the library is loaded, before the program's `main`.
extern "C" fn loaded() {
    simulator::start();
}

#[cfg(not(test))]
#[used]
// SAFETY: the section is a table of functions that the loader calls; this is one, and takes less than what it is given.
#[unsafe(link_section = ".init_array")]
static LOADED: extern "C" fn() = loaded;
