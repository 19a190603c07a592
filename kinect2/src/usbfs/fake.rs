//! A stand-in for the kernel in tests: takes requests, and completes them when the test says so. No unsafe code: what
//! the kernel would write while a request is reaped is written through the `Urb` that was reaped.

use std::collections::VecDeque;
use std::ffi::c_int;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard};

use nix::errno::Errno;

use super::{Backend, Block, Device, SETUP_BYTES, TYPE_CONTROL, TYPE_ISO, Urb};

/// The kernel, one device, and what a program did to it.
#[derive(Debug)]
pub(crate) struct Kernel {
    file: File,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// Taken and not complete.
    pub(crate) pending: VecDeque<Request>,
    /// Complete and not reaped.
    pub(crate) complete: VecDeque<Complete>,
    delivering: Option<Complete>,
    /// The device is not there any more.
    pub(crate) gone: bool,
    /// The next calls of a name fail so.
    pub(crate) errors: Vec<(&'static str, Errno)>,
    /// As many submits as this are refused.
    pub(crate) refuse: usize,
    /// No more than so many are pending at a time.
    pub(crate) take: Option<usize>,
    /// The next call waits for this, with the device locked.
    pub(crate) slow: Option<Receiver<()>>,
    /// Times that somebody asked what can be reaped.
    pub(crate) reaps: usize,
    /// Calls, in order.
    pub(crate) calls: Vec<&'static str>,
    /// A reset makes another device of it.
    pub(crate) lost_by_reset: bool,
}

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) address: usize,
    pub(crate) kind: u8,
    pub(crate) endpoint: u8,
    /// What was to be sent, with the eight bytes of a setup.
    pub(crate) data: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Complete {
    pub(crate) address: usize,
    /// Negative errno.
    pub(crate) status: c_int,
    pub(crate) actual: usize,
    pub(crate) data: Vec<u8>,
    /// Negative errno and bytes of each.
    pub(crate) packets: Vec<(c_int, Vec<u8>)>,
}

/// Nodes that a stand-in answers for.
static NODES: Mutex<Vec<(PathBuf, Arc<Kernel>)>> = Mutex::new(Vec::new());

/// The stand-in that answers for a node.
pub(super) fn at(path: &Path) -> Option<Arc<Kernel>> {
    let nodes = NODES.lock().expect("no test panics with it");
    nodes.iter().rev().find(|(node, _)| node == path).map(|(_, kernel)| Arc::clone(kernel))
}

impl Kernel {
    /// Answers for a node from now on.
    pub(crate) fn behind(self: &Arc<Self>, path: PathBuf) {
        NODES.lock().expect("no test panics with it").push((path, Arc::clone(self)));
    }

    pub(crate) fn new() -> Arc<Self> {
        let file = File::open("/dev/null").expect("is everywhere");
        Arc::new(Kernel { file, state: Mutex::default() })
    }

    pub(crate) fn open(self: &Arc<Self>) -> Device {
        Device::of(Backend::Fake(Arc::clone(self)))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics with it")
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn call(&self, name: &'static str) -> Result<c_int, Errno> {
        let mut state = self.wait();
        state.calls.push(name);
        if let Some(at) = state.errors.iter().position(|(which, _)| *which == name) {
            return Err(state.errors.remove(at).1);
        }
        state.gone |= name == "reset" && state.lost_by_reset;
        if state.gone { Err(Errno::ENODEV) } else { Ok(0) }
    }

    pub(super) fn submit(&self, urb: &mut Urb) -> Result<(), Errno> {
        let mut state = self.state();
        if state.gone {
            return Err(Errno::ENODEV);
        }
        if state.refuse > 0 || state.take.is_some_and(|most| state.pending.len() >= most) {
            state.refuse = state.refuse.saturating_sub(1);
            return Err(Errno::ENOMEM);
        }
        let (kind, endpoint) = (urb.block().urb.kind, urb.block().urb.endpoint);
        let length = usize::try_from(urb.block().urb.buffer_length).expect("not negative");
        // What is received into need not be copied.
        let data = if kind == TYPE_ISO || endpoint & 0x80 != 0 {
            Vec::new()
        } else {
            urb.buffer()[..length].to_vec()
        };
        let address = urb.block.addr().get();
        assert!(state.pending.iter().all(|request| request.address != address), "submitted twice");
        state.pending.push_back(Request { address, kind, endpoint, data });
        Ok(())
    }

    pub(super) fn reap(&self) -> Result<*const Block, Errno> {
        let mut state = self.state();
        state.reaps += 1;
        let Some(complete) = state.complete.pop_front() else {
            return Err(if state.gone { Errno::ENODEV } else { Errno::EAGAIN });
        };
        let address = ptr::without_provenance(complete.address);
        state.delivering = Some(complete);
        Ok(address)
    }

    pub(super) fn deliver(&self, urb: &mut Urb) {
        let complete = self.state().delivering.take().expect("reaped just now");
        urb.block_mut().urb.status = complete.status;
        urb.block_mut().urb.actual_length = c_int::try_from(complete.actual).expect("small");
        let start = if urb.block().urb.kind == TYPE_CONTROL { SETUP_BYTES } else { 0 };
        urb.buffer_mut()[start..][..complete.data.len()].copy_from_slice(&complete.data);
        let (packets, room) = (urb.packets(), urb.buffer.len() / urb.packets().max(1));
        for index in 0..packets {
            let (status, bytes) = complete.packets.get(index).cloned().unwrap_or_default();
            urb.buffer_mut()[index * room..][..bytes.len()].copy_from_slice(&bytes);
            let packet = &mut urb.block_mut().packets[index];
            packet.status = status;
            packet.actual_length = u32::try_from(bytes.len()).expect("small");
        }
    }

    pub(super) fn discard(&self, address: usize) {
        self.wait().finish(address, -(Errno::ENOENT as c_int), Vec::new());
    }

    /// Waits if the test wants it.
    fn wait(&self) -> MutexGuard<'_, State> {
        let slow = self.state().slow.take();
        if let Some(slow) = slow {
            slow.recv().expect("the test ends the call");
        }
        self.state()
    }

    /// Takes the device from the bus.
    pub(crate) fn unplug(&self) {
        let mut state = self.state();
        state.gone = true;
        while let Some(address) = state.pending.front().map(|request| request.address) {
            state.finish(address, -(Errno::ESHUTDOWN as c_int), Vec::new());
        }
    }
}

impl State {
    /// Completes a request that is pending, with what was received; of one that sends, all was sent.
    pub(crate) fn finish(&mut self, address: usize, status: c_int, data: Vec<u8>) {
        let Some(at) = self.pending.iter().position(|request| request.address == address) else { return };
        let request = self.pending.remove(at).expect("found");
        let sent = if request.kind == TYPE_CONTROL { 0 } else { request.data.len() };
        let actual = if status == 0 { sent.max(data.len()) } else { 0 };
        self.complete.push_back(Complete { address, status, actual, data, packets: Vec::new() });
    }

    /// Completes the oldest isochronous request. Returns whether there was one.
    pub(crate) fn finish_iso(&mut self, packets: Vec<(c_int, Vec<u8>)>) -> bool {
        let Some(at) = self.pending.iter().position(|request| request.kind == TYPE_ISO) else { return false };
        let address = self.pending.remove(at).expect("found").address;
        let actual = packets.iter().map(|(_, bytes)| bytes.len()).sum();
        self.complete.push_back(Complete { address, status: 0, actual, data: Vec::new(), packets });
        true
    }
}
