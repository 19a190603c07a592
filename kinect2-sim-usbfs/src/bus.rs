//! The kernel's part: nodes, claims, URBs and their memory, over a host controller that is simulated.
//!
//! Semantics: `drivers/usb/core/devio.c` of Linux 6. Where a program sees a difference it is said here:
//!
//! - Of an isochronous URB only the bytes received are copied, each packet's at its place; the kernel copies the whole
//!   buffer, zeros between.
//! - An interface that is used without being claimed is claimed, as the kernel does (it also writes a line in its log).
//! - Closing does not wait for a wedged sensor. The kernel gives it 5 s to put an interface back to its first setting.

use std::collections::VecDeque;
use std::os::fd::{OwnedFd, RawFd};
use std::time::Duration;

use kinect2::protocol::{CONFIGURATION, Setup};
use kinect2_sim::faults::Faults;
use nix::errno::Errno;

use crate::abi::{self, Packet, Urb};
use crate::controller::{self, Controller, Shape, Transfer};
use crate::layout::{Kind, Layout};
use crate::readiness::Readiness;
use crate::settings::OwnFaults;
use crate::tree::{Sensor, Tree};
use crate::user::Memory;

/// Largest buffer of a bulk request that is set aside for others.
const SPARE_BULK_MAX: usize = 64 * 1024;
/// Bytes that the kernel counts for each URB besides its buffer: `struct async` and `struct urb` on 64 bits.
const URB_MEMORY: usize = 112 + 192;
/// Bytes counted for each packet: `struct usb_iso_packet_descriptor`.
const PACKET_MEMORY: usize = 16;
/// Bulk buffers are cut into pieces of this many bytes, and each counts a `struct scatterlist`.
const PIECE_BYTES: usize = 16_384;
const PIECE_MEMORY: usize = 32;
/// Highest device number on a bus.
const DEVICE_MAX: u8 = 127;
/// Number of the first device behind root hub and adaptor.
const DEVICE_FIRST: u8 = 3;

/// What stands in the way of a program.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Obstacles {
    /// Opening for writing is forbidden.
    pub(crate) no_permission: bool,
    /// A driver that holds interfaces 0 and 1.
    pub(crate) owner: Option<String>,
}

/// A sensor on a bus, and whoever has it open.
#[derive(Debug)]
pub(crate) struct Bus {
    controller: Controller,
    layout: Layout,
    sensor: Sensor,
    /// `None` where another process keeps the tree.
    tree: Option<Tree>,
    obstacles: Obstacles,
    /// Device number; `None` while it is unplugged.
    device: Option<u8>,
    last_device: u8,
    /// Who is bound to each interface.
    drivers: Vec<Option<Driver>>,
    alternates: Vec<u8>,
    nodes: Vec<Node>,
    slow_host: Duration,
    /// 0 is no limit.
    memory_limit: usize,
    memory_used: usize,
    next_id: u64,
    spare: Vec<Transfer>,
    /// Results of transfers that a thread waits for inside an `ioctl`.
    awaited: Vec<(u64, Option<Transfer>)>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Driver {
    /// A node, by its descriptor.
    Node(RawFd),
    Other(String),
}

/// An open descriptor.
#[derive(Debug)]
struct Node {
    fd: RawFd,
    readiness: Readiness,
    writable: bool,
    /// Until the device goes for which it was opened.
    connected: bool,
    pending: Vec<Pending>,
    done: VecDeque<(Pending, Transfer)>,
}

/// An URB that the program submitted and has not reaped.
#[derive(Clone, Copy, Debug)]
struct Pending {
    id: u64,
    /// Address of the URB, its name for the program.
    urb: usize,
    /// Address for data received; 0 if there are none.
    buffer: usize,
    /// Packets follow the URB.
    isochronous: bool,
    interface: Option<u8>,
    memory: usize,
    discarded: bool,
}

/// A transfer taken out to be copied to the program.
#[derive(Debug)]
pub(crate) struct Reaped {
    pending: Pending,
    transfer: Transfer,
}

impl Bus {
    pub(crate) fn new(controller: Controller, sensor: Sensor, tree: Option<Tree>, own: OwnFaults) -> Self {
        let layout = sensor.layout.clone();
        let count = layout.interfaces().count();
        let mut bus = Bus {
            controller,
            layout,
            sensor,
            tree,
            obstacles: own.obstacles,
            device: None,
            last_device: DEVICE_FIRST - 1,
            drivers: vec![None; count],
            alternates: vec![0; count],
            nodes: Vec::new(),
            slow_host: own.slow_host,
            memory_limit: own.memory_mb << 20,
            memory_used: 0,
            next_id: 0,
            spare: Vec::new(),
            awaited: Vec::new(),
        };
        if bus.controller.is_plugged() {
            bus.plug();
        }
        bus
    }

    /// From now on, other things go wrong.
    ///
    /// * `own`: an owner gets what is free, and all when the sensor is plugged in next; so long `power/control` lasts too.
    pub(crate) fn set_faults(&mut self, own: OwnFaults, faults: Faults, now: Duration) {
        let other_owner = self.obstacles.owner != own.obstacles.owner;
        self.obstacles = own.obstacles;
        self.sensor.autosuspend = own.autosuspend;
        self.slow_host = own.slow_host;
        self.memory_limit = own.memory_mb << 20;
        if let Some(tree) = &self.tree {
            report(tree.limit_memory(own.memory_mb));
        }
        for at in 0..self.drivers.len() {
            if other_owner && self.device.is_some() && !matches!(self.drivers[at], Some(Driver::Node(_))) {
                let driver = self.first_driver(at);
                self.bind(at, driver);
            }
        }
        self.controller.set_faults(faults, now);
        self.advance(now);
    }

    /// What the host controller takes to give a request back, or to set up an endpoint.
    pub(crate) fn slow_host(&self) -> Duration {
        self.slow_host
    }

    /// Whether this process keeps the tree.
    pub(crate) fn keeps_tree(&self) -> bool {
        self.tree.is_some()
    }

    /// Its number, while the sensor is plugged in.
    pub(crate) fn device(&self) -> Option<u8> {
        self.device
    }

    /// Whether the node with this number is the sensor's. Where another process keeps the tree, it gives the numbers.
    pub(crate) fn is(&self, device: u8) -> bool {
        self.tree.is_none() || self.device == Some(device)
    }

    /// Opens the node.
    pub(crate) fn open(&mut self, flags: i32) -> Result<OwnedFd, Errno> {
        if self.device.is_none() {
            return Err(Errno::ENOENT);
        }
        let writable = flags & libc::O_ACCMODE != libc::O_RDONLY;
        if writable && self.obstacles.no_permission {
            return Err(Errno::EACCES);
        }
        let (program, readiness) = Readiness::pair(flags & libc::O_CLOEXEC != 0)
            .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
        let fd = std::os::fd::AsRawFd::as_raw_fd(&program);
        let (pending, done) = (Vec::new(), VecDeque::new());
        self.nodes.push(Node { fd, readiness, writable, connected: true, pending, done });
        Ok(program)
    }

    /// The program closes its descriptor: nothing of it stays.
    pub(crate) fn close(&mut self, fd: RawFd, now: Duration) {
        let Some(at) = self.nodes.iter().position(|node| node.fd == fd) else { return };
        let node = self.nodes.remove(at);
        for pending in &node.pending {
            self.controller.cancel(pending.id, now);
            self.memory_used -= pending.memory;
        }
        for (pending, transfer) in node.done {
            self.memory_used -= pending.memory;
            keep(&mut self.spare, transfer);
        }
        if node.connected {
            for interface in 0..self.drivers.len() {
                if self.drivers[interface] == Some(Driver::Node(fd)) {
                    self.unbind(interface, now);
                }
            }
        }
    }

    /// Whether usbfs would answer this node at all: a program that may only read may do no `ioctl`.
    pub(crate) fn may(&self, fd: RawFd) -> Result<(), Errno> {
        if self.node(fd)?.writable { Ok(()) } else { Err(Errno::EPERM) }
    }

    /// Whether the device of this node is still there; everything but reaping asks this first.
    pub(crate) fn connected(&self, fd: RawFd) -> Result<(), Errno> {
        if self.node(fd)?.connected { Ok(()) } else { Err(Errno::ENODEV) }
    }

    /// What has become due until `now` is done; whether that changed anything for who waits.
    pub(crate) fn advance(&mut self, now: Duration) -> bool {
        self.controller.advance(now);
        let completed = self.collect();
        match (self.device.is_some(), self.controller.is_plugged()) {
            (true, false) => self.unplugged(),
            (false, true) => self.plug(),
            _ => return completed,
        }
        true
    }

    /// When [`Bus::advance`] has something to do next.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.controller.due()
    }

    pub(crate) fn speed(&self) -> i32 {
        if self.sensor.usb2 { abi::SPEED_HIGH } else { abi::SPEED_SUPER }
    }

    /// Who is bound to an interface.
    pub(crate) fn driver(&self, interface: u32) -> Result<&str, Errno> {
        let at = usize::try_from(interface).map_err(|_| Errno::ENODATA)?;
        match self.drivers.get(at).and_then(Option::as_ref) {
            None => Err(Errno::ENODATA),
            Some(Driver::Node(_)) => Ok("usbfs"),
            Some(Driver::Other(name)) => Ok(name),
        }
    }

    pub(crate) fn claim(&mut self, fd: RawFd, interface: u32) -> Result<(), Errno> {
        // As many as a long of the kernel has bits.
        if interface >= 64 {
            return Err(Errno::EINVAL);
        }
        let at = self.interface(interface).ok_or(Errno::ENOENT)?;
        match &self.drivers[at] {
            Some(Driver::Node(holder)) if *holder == fd => Ok(()),
            Some(_) => Err(Errno::EBUSY),
            None => {
                self.bind(at, Some(Driver::Node(fd)));
                Ok(())
            }
        }
    }

    pub(crate) fn release(&mut self, fd: RawFd, interface: u32, now: Duration) -> Result<(), Errno> {
        if interface >= 64 {
            return Err(Errno::EINVAL);
        }
        let at = self.interface(interface).ok_or(Errno::ENOENT)?;
        if self.drivers[at] != Some(Driver::Node(fd)) {
            return Err(Errno::EINVAL);
        }
        self.cancel_interface(fd, at, now);
        self.unbind(at, now);
        Ok(())
    }

    /// `USBDEVFS_DISCONNECT_CLAIM`: in place of a driver, if it is the one meant.
    pub(crate) fn disconnect_claim(
        &mut self,
        fd: RawFd,
        request: &abi::DisconnectClaim,
    ) -> Result<(), Errno> {
        let at = self.interface(request.interface).ok_or(Errno::EINVAL)?;
        let length = request.driver.iter().position(|&byte| byte == 0).unwrap_or(abi::DRIVER_BYTES);
        let named = &request.driver[..length];
        if let Ok(driver) = self.driver(request.interface) {
            let same = driver.as_bytes() == named;
            if request.flags & abi::CLAIM_IF_DRIVER != 0 && !same
                || request.flags & abi::CLAIM_EXCEPT_DRIVER != 0 && same
            {
                return Err(Errno::EBUSY);
            }
            self.bind(at, None);
        }
        self.claim(fd, request.interface)
    }

    /// `USBDEVFS_IOCTL` with the two codes that concern drivers.
    pub(crate) fn driver_ioctl(&mut self, request: &abi::DriverIoctl) -> Result<(), Errno> {
        let at = u32::try_from(request.interface)
            .ok()
            .and_then(|interface| self.interface(interface))
            .ok_or(Errno::EINVAL)?;
        match (request.code, &self.drivers[at]) {
            (abi::DISCONNECT, Some(_)) => self.bind(at, None),
            (abi::DISCONNECT, None) => return Err(Errno::ENODATA),
            (abi::CONNECT, Some(_)) => return Err(Errno::EBUSY),
            (abi::CONNECT, None) => {
                let driver = self.first_driver(at);
                self.bind(at, driver);
            }
            _ => return Err(Errno::ENOTTY),
        }
        Ok(())
    }

    pub(crate) fn set_interface(
        &mut self,
        fd: RawFd,
        request: &abi::SetInterface,
        now: Duration,
    ) -> Result<(), Errno> {
        let at = self.use_interface(fd, request.interface)?;
        self.cancel_interface(fd, at, now);
        let alternate = u8::try_from(request.alternate).map_err(|_| Errno::EINVAL)?;
        let interface = self.layout.interfaces().nth(at).ok_or(Errno::EINVAL)?.interface;
        let known = |setting: &crate::layout::Setting| {
            setting.interface == interface && setting.alternate == alternate
        };
        if !self.layout.settings.iter().any(known) {
            return Err(Errno::EINVAL);
        }
        self.controller.set_interface(interface, alternate, now)?;
        self.alternates[at] = alternate;
        Ok(())
    }

    pub(crate) fn set_configuration(&mut self, value: u32, now: Duration) -> Result<(), Errno> {
        if self.drivers.iter().any(Option::is_some) {
            return Err(Errno::EBUSY);
        }
        if value != u32::from(CONFIGURATION) {
            return Err(Errno::EINVAL);
        }
        self.alternates.fill(0);
        // SET_CONFIGURATION.
        let value = u16::from(CONFIGURATION);
        let setup = Setup { request_type: 0, request: 9, value, index: 0, length: 0 };
        self.controller.control(setup, now)
    }

    /// Resets the device. usbfs has no way to tell a program of a reset, so the kernel takes the interfaces away from
    /// it; they are to be claimed again.
    pub(crate) fn reset(&mut self, now: Duration) -> Result<(), Errno> {
        for at in 0..self.drivers.len() {
            if let Some(Driver::Node(fd)) = self.drivers[at] {
                self.cancel_interface(fd, at, now);
                self.unbind(at, now);
            }
        }
        let answer = self.controller.reset(now);
        self.collect();
        if answer.is_err() && self.device.is_some() {
            // The kernel lets such a device go and enumerates it anew, under another number.
            self.unplugged();
            if self.controller.is_plugged() {
                self.plug();
            }
            return Err(Errno::ENODEV);
        }
        answer
    }

    pub(crate) fn clear_halt(&mut self, fd: RawFd, endpoint: u32, now: Duration) -> Result<(), Errno> {
        let endpoint = u8::try_from(endpoint).map_err(|_| Errno::EINVAL)?;
        self.use_endpoint(fd, endpoint)?;
        self.controller.clear_halt(endpoint, now)
    }

    pub(crate) fn reset_endpoint(&mut self, fd: RawFd, endpoint: u32) -> Result<(), Errno> {
        let endpoint = u8::try_from(endpoint).map_err(|_| Errno::EINVAL)?;
        self.use_endpoint(fd, endpoint).map(drop)
    }

    /// `USBDEVFS_SUBMITURB` of the URB at `address`.
    pub(crate) fn submit(
        &mut self,
        fd: RawFd,
        address: usize,
        memory: &Memory,
        now: Duration,
    ) -> Result<(), Errno> {
        let urb: Urb = memory.read(address)?;
        let allowed = abi::COMMON_FLAGS | if urb.kind == abi::ISO { abi::ISO_ASAP } else { 0 };
        let length = usize::try_from(urb.buffer_length).map_err(|_| Errno::EINVAL)?;
        if urb.flags & !allowed != 0 || length >= abi::TRANSFER_BYTES_LIMIT || length > 0 && urb.buffer == 0 {
            return Err(Errno::EINVAL);
        }
        let endpoint_0 = urb.kind == abi::CONTROL_URB && urb.endpoint & 0x7F == 0;
        let mut interface = None;
        let mut kind = Kind::Control;
        if !endpoint_0 {
            let at = self.use_endpoint(fd, urb.endpoint)?;
            // It is on the interface in some setting, but is it in the current one?
            kind = self.endpoint_now(urb.endpoint).ok_or(Errno::ENOENT)?;
            interface = u8::try_from(at).ok();
        }
        let id = self.next_id();
        let mut transfer = self.spare.pop().unwrap_or_default();
        let prepared = match (urb.kind, kind) {
            (abi::CONTROL_URB, Kind::Control) => {
                self.prepare_control(fd, id, &urb, length, memory, &mut transfer)
            }
            (abi::BULK_URB, Kind::Bulk | Kind::Interrupt) | (abi::INTERRUPT, Kind::Interrupt) => {
                prepare_bulk(id, &urb, length, kind, memory, &mut transfer)
            }
            (abi::ISO, Kind::Isochronous) => prepare_isochronous(id, address, &urb, memory, &mut transfer),
            _ => Err(Errno::EINVAL),
        };
        let charged = prepared.and_then(|prepared| {
            self.charge(prepared.memory)?;
            Ok(prepared)
        });
        let prepared = match charged {
            Ok(prepared) => prepared,
            Err(errno) => {
                keep(&mut self.spare, transfer);
                return Err(errno);
            }
        };
        if let Err((errno, transfer)) = self.controller.submit(transfer, now) {
            self.memory_used -= prepared.memory;
            keep(&mut self.spare, transfer);
            return Err(errno);
        }
        let isochronous = urb.kind == abi::ISO;
        let Prepared { buffer, memory } = prepared;
        let pending = Pending { id, urb: address, buffer, isochronous, interface, memory, discarded: false };
        self.node_mut(fd)?.pending.push(pending);
        Ok(())
    }

    /// `USBDEVFS_DISCARDURB`.
    pub(crate) fn discard(&mut self, fd: RawFd, address: usize, now: Duration) -> Result<(), Errno> {
        let node = self.node_mut(fd)?;
        let pending = node
            .pending
            .iter_mut()
            .find(|pending| pending.urb == address && !pending.discarded)
            .ok_or(Errno::EINVAL)?;
        pending.discarded = true;
        let id = pending.id;
        self.controller.cancel(id, now);
        self.collect();
        Ok(())
    }

    /// The next transfer that is done, to be copied with [`Reaped::copy`] and given back to [`Bus::recycle`].
    ///
    /// # Errors
    /// `EAGAIN` if there is none, `ENODEV` if there will be none any more.
    pub(crate) fn reap(&mut self, fd: RawFd) -> Result<Reaped, Errno> {
        let node = self.node_mut(fd)?;
        let Some((pending, transfer)) = node.done.pop_front() else {
            return Err(if node.connected { Errno::EAGAIN } else { Errno::ENODEV });
        };
        if node.done.is_empty() {
            node.readiness.drained();
        }
        self.memory_used -= pending.memory;
        Ok(Reaped { pending, transfer })
    }

    pub(crate) fn recycle(&mut self, reaped: Reaped) {
        keep(&mut self.spare, reaped.transfer);
    }

    /// Begins a transfer for which the calling thread is going to wait with [`Bus::awaited`].
    pub(crate) fn begin(
        &mut self,
        endpoint: u8,
        shape: Shape<'_>,
        data: &[u8],
        now: Duration,
    ) -> Result<u64, Errno> {
        let id = self.next_id();
        let mut transfer = self.spare.pop().unwrap_or_default();
        controller::prepare(&mut transfer, id, endpoint, shape);
        if endpoint & 0x80 == 0 {
            transfer.buffer.copy_from_slice(data);
        }
        match self.controller.submit(transfer, now) {
            Ok(()) => {
                self.awaited.push((id, None));
                self.collect();
                Ok(id)
            }
            Err((errno, transfer)) => {
                keep(&mut self.spare, transfer);
                Err(errno)
            }
        }
    }

    /// How a transfer of [`Bus::begin`] ended: the bytes received, or how many were sent; `None` if it has not.
    pub(crate) fn awaited(&mut self, id: u64) -> Option<Result<Transfer, Errno>> {
        let at = self.awaited.iter().position(|(known, _)| *known == id)?;
        self.awaited[at].1.as_ref()?;
        let (_, transfer) = self.awaited.swap_remove(at);
        let transfer = transfer?;
        match controller::status(&transfer) {
            0 => Some(Ok(transfer)),
            status => {
                keep(&mut self.spare, transfer);
                Some(Err(Errno::from_raw(-status)))
            }
        }
    }

    /// Nobody waits any more.
    pub(crate) fn abandon(&mut self, id: u64, now: Duration) {
        self.awaited.retain(|(known, _)| *known != id);
        self.controller.cancel(id, now);
        self.collect();
    }

    /// Gives back what [`Bus::awaited`] handed out.
    pub(crate) fn recycle_transfer(&mut self, transfer: Transfer) {
        keep(&mut self.spare, transfer);
    }

    /// Whether `length` bytes may be held, for a moment.
    pub(crate) fn room(&mut self, length: usize) -> Result<(), Errno> {
        self.charge(length)?;
        self.memory_used -= length;
        Ok(())
    }

    /// Whether a request that names an interface or an endpoint may be made, after claiming what it needs.
    pub(crate) fn check_request(&mut self, fd: RawFd, request_type: u8, index: u16) -> Result<(), Errno> {
        const VENDOR_TYPE: u8 = 0x40;
        if request_type & 0x60 == VENDOR_TYPE {
            return Ok(());
        }
        let [index, _] = index.to_le_bytes();
        match request_type & 0x1F {
            // An interface.
            1 => self.use_interface(fd, u32::from(index)).map(drop),
            // An endpoint; some programs have its direction wrong, and the kernel does not mind.
            2 if index & 0x7F != 0 => match self.use_endpoint(fd, index) {
                Err(Errno::ENOENT) => self.use_endpoint(fd, index ^ 0x80).map(drop),
                other => other.map(drop),
            },
            _ => Ok(()),
        }
    }

    /// The interface that an endpoint belongs to, claimed.
    pub(crate) fn use_endpoint(&mut self, fd: RawFd, endpoint: u8) -> Result<usize, Errno> {
        if endpoint & 0x70 != 0 {
            return Err(Errno::EINVAL);
        }
        let interface = self.layout.interface_of(endpoint).ok_or(Errno::ENOENT)?;
        self.use_interface(fd, u32::from(interface))
    }

    /// The kind of an endpoint in the current settings.
    pub(crate) fn endpoint_now(&self, address: u8) -> Option<Kind> {
        let endpoint = self.layout.endpoints.iter().find(|endpoint| {
            let at = self.interface(u32::from(endpoint.interface));
            endpoint.address == address && at.is_some_and(|at| self.alternates[at] == endpoint.alternate)
        })?;
        Some(endpoint.kind)
    }

    /// Claims an interface if it is not claimed yet, as the kernel does with a warning.
    fn use_interface(&mut self, fd: RawFd, interface: u32) -> Result<usize, Errno> {
        self.claim(fd, interface)?;
        self.interface(interface).ok_or(Errno::ENOENT)
    }

    fn prepare_control(
        &mut self,
        fd: RawFd,
        id: u64,
        urb: &Urb,
        length: usize,
        memory: &Memory,
        transfer: &mut Transfer,
    ) -> Result<Prepared, Errno> {
        if length < 8 {
            return Err(Errno::EINVAL);
        }
        let mut bytes = [0; 8];
        memory.read_bytes(urb.buffer, &mut bytes)?;
        let setup = Setup::from_bytes(bytes);
        let data = usize::from(setup.length);
        if length < data + 8 {
            return Err(Errno::EINVAL);
        }
        self.check_request(fd, setup.request_type, setup.index)?;
        let receives = setup.request_type & 0x80 != 0 && data > 0;
        controller::prepare(transfer, id, 0, Shape::Control(setup));
        if !receives {
            memory.read_bytes(urb.buffer + 8, &mut transfer.buffer)?;
        }
        Ok(Prepared { buffer: if receives { urb.buffer + 8 } else { 0 }, memory: URB_MEMORY + 8 + data })
    }

    fn charge(&mut self, bytes: usize) -> Result<(), Errno> {
        if self.memory_limit > 0 && self.memory_used + bytes > self.memory_limit {
            return Err(Errno::ENOMEM);
        }
        self.memory_used += bytes;
        Ok(())
    }

    /// Takes what the controller is done with; whether there was anything.
    fn collect(&mut self) -> bool {
        let mut any = false;
        while let Some(transfer) = self.controller.completed() {
            any = true;
            let id = transfer.id;
            if let Some(slot) = self.awaited.iter_mut().find(|(known, _)| *known == id) {
                slot.1 = Some(transfer);
                continue;
            }
            let found = self.nodes.iter_mut().find_map(|node| {
                let at = node.pending.iter().position(|pending| pending.id == id)?;
                Some((node, at))
            });
            if let Some((node, at)) = found {
                let pending = node.pending.remove(at);
                node.done.push_back((pending, transfer));
                node.readiness.completed();
            } else {
                // Its node was closed meanwhile.
                keep(&mut self.spare, transfer);
            }
        }
        any
    }

    fn cancel_interface(&mut self, fd: RawFd, at: usize, now: Duration) {
        let Some(node) = self.nodes.iter_mut().find(|node| node.fd == fd) else { return };
        let of = u8::try_from(at).ok();
        for pending in node.pending.iter_mut().filter(|pending| pending.interface == of) {
            pending.discarded = true;
            self.controller.cancel(pending.id, now);
        }
        self.collect();
    }

    fn plug(&mut self) {
        let device = if self.last_device == DEVICE_MAX { DEVICE_FIRST } else { self.last_device + 1 };
        self.last_device = device;
        self.device = Some(device);
        self.alternates.fill(0);
        let before = self.sensor.usb2;
        self.sensor = Sensor::new(&self.controller, self.sensor.autosuspend);
        self.layout = self.sensor.layout.clone();
        if let Some(tree) = &self.tree {
            if self.sensor.usb2 != before {
                report(tree.disconnect(before).and_then(|()| tree.connect(self.sensor.usb2)));
            }
            report(tree.plug(&self.sensor, device));
        }
        for at in 0..self.drivers.len() {
            let driver = self.first_driver(at);
            self.bind(at, driver);
        }
    }

    fn unplugged(&mut self) {
        let Some(device) = self.device.take() else { return };
        for node in self.nodes.iter_mut().filter(|node| node.connected) {
            node.connected = false;
            node.readiness.gone();
        }
        self.drivers.fill(None);
        if let Some(tree) = &self.tree {
            report(tree.unplug(&self.sensor, device));
        }
    }

    /// The driver that an interface gets when the device is plugged in.
    fn first_driver(&self, at: usize) -> Option<Driver> {
        const AUDIO: u8 = 1;
        let setting = self.layout.interfaces().nth(at)?;
        match &self.obstacles.owner {
            Some(owner) if setting.interface < 2 => Some(Driver::Other(owner.clone())),
            _ => (setting.class == AUDIO).then(|| Driver::Other("snd-usb-audio".to_owned())),
        }
    }

    fn bind(&mut self, at: usize, driver: Option<Driver>) {
        let changed = self.drivers[at] != driver;
        self.drivers[at] = driver;
        let Some(tree) = self.tree.as_ref().filter(|_| changed) else { return };
        let Some(setting) = self.layout.interfaces().nth(at) else { return };
        let name = match &self.drivers[at] {
            None => None,
            Some(Driver::Node(_)) => Some("usbfs"),
            Some(Driver::Other(name)) => Some(name.as_str()),
        };
        report(tree.bind(self.sensor.usb2, setting.interface, name));
    }

    /// A node lets go of an interface, which goes back to its first setting.
    fn unbind(&mut self, at: usize, now: Duration) {
        if self.alternates[at] != 0 {
            self.alternates[at] = 0;
            let interface = self.layout.interfaces().nth(at).map(|setting| setting.interface);
            if let Some(interface) = interface {
                // The kernel does not tell anybody either if this fails.
                let _ = self.controller.set_interface(interface, 0, now);
            }
        }
        self.bind(at, None);
    }

    /// A name for a transfer.
    fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn interface(&self, number: u32) -> Option<usize> {
        self.layout.interfaces().position(|setting| u32::from(setting.interface) == number)
    }

    fn node(&self, fd: RawFd) -> Result<&Node, Errno> {
        self.nodes.iter().find(|node| node.fd == fd).ok_or(Errno::EBADF)
    }

    fn node_mut(&mut self, fd: RawFd) -> Result<&mut Node, Errno> {
        self.nodes.iter_mut().find(|node| node.fd == fd).ok_or(Errno::EBADF)
    }
}

impl Reaped {
    /// Copies the result into the program's URB and its buffer, and returns the URB's address.
    ///
    /// # Errors
    /// `EFAULT`, as [`Memory::read`].
    pub(crate) fn copy(&self, memory: &Memory) -> Result<usize, Errno> {
        let Reaped { pending, transfer } = self;
        let urb = pending.urb;
        let (mut actual, mut errors) = (transfer.actual, 0);
        if pending.isochronous {
            actual = 0;
            let (mut offset, mut descriptor) = (0, urb + size_of::<Urb>());
            for (length, packet) in controller::packets(transfer) {
                if pending.buffer != 0 {
                    let bytes = &transfer.buffer[offset..offset + packet.actual_length as usize];
                    memory.write_bytes(pending.buffer + offset, bytes)?;
                }
                memory
                    .write(descriptor + std::mem::offset_of!(Packet, actual_length), packet.actual_length)?;
                memory.write(descriptor + std::mem::offset_of!(Packet, status), packet.status)?;
                actual += packet.actual_length as usize;
                errors += i32::from(packet.status != 0);
                offset += length;
                descriptor += size_of::<Packet>();
            }
        } else if pending.buffer != 0 {
            memory.write_bytes(pending.buffer, &transfer.buffer[..actual])?;
        }
        memory.write(urb + std::mem::offset_of!(Urb, status), controller::status(transfer))?;
        let actual = i32::try_from(actual).map_err(|_| Errno::EINVAL)?;
        memory.write(urb + std::mem::offset_of!(Urb, actual_length), actual)?;
        memory.write(urb + std::mem::offset_of!(Urb, errors), errors)?;
        Ok(urb)
    }
}

/// What an URB needs besides its transfer.
#[derive(Clone, Copy, Debug)]
struct Prepared {
    /// Address for what is received; 0 if nothing is.
    buffer: usize,
    memory: usize,
}

fn prepare_bulk(
    id: u64,
    urb: &Urb,
    length: usize,
    kind: Kind,
    memory: &Memory,
    transfer: &mut Transfer,
) -> Result<Prepared, Errno> {
    let receives = urb.endpoint & 0x80 != 0;
    controller::prepare(transfer, id, urb.endpoint, Shape::Bulk(length));
    if !receives {
        memory.read_bytes(urb.buffer, &mut transfer.buffer)?;
    }
    let pieces = length.div_ceil(PIECE_BYTES);
    let pieces = if kind == Kind::Bulk && pieces > 1 { pieces } else { 0 };
    let memory = URB_MEMORY + length + pieces * PIECE_MEMORY;
    Ok(Prepared { buffer: if receives { urb.buffer } else { 0 }, memory })
}

fn prepare_isochronous(
    id: u64,
    address: usize,
    urb: &Urb,
    memory: &Memory,
    transfer: &mut Transfer,
) -> Result<Prepared, Errno> {
    if !(1..=abi::PACKETS_MAX).contains(&urb.packets) {
        return Err(Errno::EINVAL);
    }
    let mut lengths = [0; abi::PACKETS_MAX as usize];
    let count = usize::try_from(urb.packets).map_err(|_| Errno::EINVAL)?;
    let mut total = 0;
    for (at, length) in lengths[..count].iter_mut().enumerate() {
        let packet: Packet = memory.read(address + size_of::<Urb>() + at * size_of::<Packet>())?;
        if packet.length > abi::PACKET_BYTES_MAX {
            return Err(Errno::EINVAL);
        }
        *length = packet.length;
        total += packet.length as usize;
    }
    controller::prepare(transfer, id, urb.endpoint, Shape::Isochronous(&lengths[..count]));
    Ok(Prepared { buffer: urb.buffer, memory: URB_MEMORY + count * PACKET_MEMORY + total })
}

/// A tree that cannot be written is worth a line: whoever looks for the sensor in vain finds it.
fn report(result: std::io::Result<()>) {
    if let Err(error) = result {
        eprintln!("kinect2-sim-usbfs: the tree of devices: {error}");
    }
}

/// Sets a transfer aside for the next request. One that a page was read with is too large for the others, which would all
/// grow to its size in time.
fn keep(spare: &mut Vec<Transfer>, transfer: Transfer) {
    let is_bulk = matches!(transfer.kind, kinect2_sim::host::Kind::Bulk);
    if !(is_bulk && transfer.buffer.capacity() > SPARE_BULK_MAX) {
        spare.push(transfer);
    }
}
