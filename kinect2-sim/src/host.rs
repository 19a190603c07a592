//! A host controller with the simulated sensor behind it: transfers, the isochronous schedule, plugging.
//!
//! The use, for a face that has the clock:
//!
//! ```text
//! submit ─┐                        ┌─▶ completed() until None ──▶ the transfers, to be used again
//! cancel ─┼─▶ advance(now) ────────┤
//! sleep ──┘                        └─▶ due(): when to call again
//! ```
//!
//! Every function that takes `now` first lets everything happen that was due until then, so what is done may show up
//! in [`Host::completed`] after any of them. Timeouts are the face's: it cancels what took too long.

use std::time::Duration;

use kinect2::protocol::Setup;

use crate::device::{Device, Fault, Options, Speed};

/// How time passes for the isochronous endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pace {
    /// A service interval is 125 µs of the clock given; one that no transfer waits for is lost, with what was sent in it.
    RealTime,
    /// A transfer is complete as soon as it is submitted, and its intervals pass with that. Nothing is ever lost. Fault
    /// windows follow what was consumed, or the clock if that is ahead.
    Demand,
}

/// What a transfer does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A request on endpoint 0; the buffer is its data.
    Control(Setup),
    /// A block on a bulk or interrupt endpoint; the buffer is what is sent, or the room for what comes.
    Bulk,
    /// Packets on an isochronous endpoint, one for each service interval.
    Iso {
        /// Room for each. Packet `i` lies in the buffer behind the rooms of those before it.
        packet_lengths: Vec<usize>,
    },
}

/// A transfer: what to do, and when it came back, what became of it. To be used again; its vectors keep their memory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Transfer {
    /// Its name, for [`Host::cancel`]; chosen by the face, unique among those that are pending.
    pub id: u64,
    /// `bEndpointAddress`; 0 for control transfers of either direction.
    pub endpoint: u8,
    /// What it does.
    pub kind: Kind,
    /// Data of either direction.
    pub buffer: Vec<u8>,
    /// How it ended. An isochronous transfer ends well even if none of its packets did.
    pub status: Result<(), Fault>,
    /// Bytes that went over the wire; of an isochronous transfer, the sum over its packets.
    pub actual: usize,
    /// What became of each packet: its bytes, and how it ended.
    pub packets: Vec<(usize, Result<(), Fault>)>,
}

impl Default for Transfer {
    fn default() -> Self {
        Transfer {
            id: 0,
            endpoint: 0,
            kind: Kind::Bulk,
            buffer: Vec::new(),
            status: Ok(()),
            actual: 0,
            packets: Vec::new(),
        }
    }
}

impl Transfer {
    /// Makes it a control transfer; the buffer gets `setup.length` bytes of any content.
    pub fn prepare_control(&mut self, id: u64, setup: Setup) {
        self.prepare(id, 0, usize::from(setup.length));
        self.kind = Kind::Control(setup);
    }

    /// Makes it a bulk (or interrupt) transfer; the buffer gets `bytes` bytes of any content.
    pub fn prepare_bulk(&mut self, id: u64, endpoint: u8, bytes: usize) {
        self.prepare(id, endpoint, bytes);
        self.kind = Kind::Bulk;
    }

    /// Makes it an isochronous transfer with room for these packets; the buffer gets the sum of them, of any content.
    /// Allocates nothing if it was one with as many packets before.
    pub fn prepare_iso(&mut self, id: u64, endpoint: u8, lengths: impl IntoIterator<Item = usize>) {
        let mut packet_lengths = match std::mem::replace(&mut self.kind, Kind::Bulk) {
            Kind::Iso { packet_lengths } => packet_lengths,
            Kind::Control(_) | Kind::Bulk => Vec::new(),
        };
        packet_lengths.clear();
        packet_lengths.extend(lengths);
        self.prepare(id, endpoint, packet_lengths.iter().sum());
        self.kind = Kind::Iso { packet_lengths };
    }

    fn prepare(&mut self, id: u64, endpoint: u8, bytes: usize) {
        (self.id, self.endpoint) = (id, endpoint);
        (self.status, self.actual) = (Ok(()), 0);
        self.packets.clear();
        self.buffer.resize(bytes, 0);
    }

    /// Whether data go to the host.
    #[must_use]
    pub fn inward(&self) -> bool {
        match self.kind {
            Kind::Control(setup) => setup.request_type & 0x80 != 0,
            Kind::Bulk | Kind::Iso { .. } => self.endpoint & 0x80 != 0,
        }
    }

    /// What came, of a control or bulk transfer.
    #[must_use]
    pub fn received(&self) -> &[u8] {
        if self.inward() { &self.buffer[..self.actual.min(self.buffer.len())] } else { &[] }
    }

    /// What came in each packet of an isochronous transfer, and how the packet ended.
    pub fn received_packets(&self) -> impl Iterator<Item = (&[u8], Result<(), Fault>)> {
        let lengths: &[usize] = match &self.kind {
            Kind::Iso { packet_lengths } => packet_lengths,
            Kind::Control(_) | Kind::Bulk => &[],
        };
        let mut at = 0;
        self.packets.iter().zip(lengths).map(move |(&(actual, status), &room)| {
            let bytes = &self.buffer[at..at + actual.min(room)];
            at += room;
            (bytes, status)
        })
    }
}

/// What happened, since [`Host::new`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Isochronous transfers that are complete.
    pub iso_transfers: u64,
    /// Packets with data in them.
    pub data_packets: u64,
    /// Times the isochronous queue ran dry, so that the next transfer began at a fresh interval. Not counted: the first
    /// transfer of a stream.
    pub queue_ran_dry: u64,
    /// Service intervals lost by that.
    pub intervals_lost: u64,
    /// Packets and transfers that a fault changed.
    pub faults: u64,
    /// Times the device was plugged in, the first included. A face gives it another device number each time.
    pub plugs: u64,
    /// Resets.
    pub resets: u64,
}

/// The host controller, and the sensor on it.
#[derive(Debug)]
pub struct Host {
    device: Device,
}

impl Host {
    /// A host with the sensor plugged in and configured. All `now`s count from here, and never go back.
    #[must_use]
    pub fn new(options: Options, pace: Pace) -> Self {
        let _ = pace;
        Host { device: Device::new(options) }
    }

    /// The sensor, whether it is plugged in or not.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What happened.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        todo!()
    }

    /// Speed of the link.
    #[must_use]
    pub fn speed(&self) -> Speed {
        self.device.speed()
    }

    /// Starts a transfer. It comes back from [`Host::completed`], whatever becomes of it.
    ///
    /// # Errors
    /// The transfer itself and why it was not taken: [`Fault::Gone`], [`Fault::NotFound`] for an endpoint that is not in
    /// the current setting, [`Fault::Invalid`] for a buffer too short, [`Fault::NoMemory`] if a fault says so.
    pub fn submit(&mut self, transfer: Transfer, now: Duration) -> Result<(), (Transfer, Fault)> {
        let _ = (transfer, now);
        todo!()
    }

    /// Takes a transfer back: it comes from [`Host::completed`] with [`Fault::Cancelled`], perhaps later. Returns whether
    /// it was pending.
    pub fn cancel(&mut self, id: u64, now: Duration) -> bool {
        let _ = (id, now);
        todo!()
    }

    /// Lets everything happen that is due until `now`.
    pub fn advance(&mut self, now: Duration) {
        let _ = now;
        todo!()
    }

    /// The next transfer that is done, in the order of their ends.
    pub fn completed(&mut self) -> Option<Transfer> {
        todo!()
    }

    /// Transfers that were submitted and are not done.
    #[must_use]
    pub fn pending(&self) -> usize {
        todo!()
    }

    /// When [`Host::advance`] has something to do next, which may be past: then [`Host::completed`] has something
    /// already. Plugging and unplugging by a fault is something to do too.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        todo!()
    }

    /// Whether the sensor is there.
    #[must_use]
    pub fn is_plugged(&self) -> bool {
        todo!()
    }

    /// Plugs the sensor in, freshly switched on. Nothing happens if it is.
    pub fn plug(&mut self, now: Duration) {
        let _ = now;
        todo!()
    }

    /// Takes the sensor away: all that is pending ends with [`Fault::Gone`].
    pub fn unplug(&mut self, now: Duration) {
        let _ = now;
        todo!()
    }

    /// Claims an interface. It stays claimed until it is released or the sensor goes.
    ///
    /// # Errors
    /// [`Fault::Busy`] if it is claimed, [`Fault::NotFound`] if there is no such interface, [`Fault::Gone`].
    pub fn claim(&mut self, interface: u8, now: Duration) -> Result<(), Fault> {
        let _ = (interface, now);
        todo!()
    }

    /// Releases an interface: what is pending on it is cancelled, and it goes back to setting 0.
    ///
    /// # Errors
    /// [`Fault::NotFound`] if it is not claimed, [`Fault::Gone`].
    pub fn release(&mut self, interface: u8, now: Duration) -> Result<(), Fault> {
        let _ = (interface, now);
        todo!()
    }

    /// Selects an alternate setting; what is pending on the interface is cancelled. The same as the control request, and
    /// independent of claims.
    ///
    /// # Errors
    /// [`Fault::NotFound`], [`Fault::Gone`], [`Fault::NoBandwidth`] if a fault says so.
    pub fn set_interface(&mut self, interface: u8, alternate: u8, now: Duration) -> Result<(), Fault> {
        let _ = (interface, alternate, now);
        todo!()
    }

    /// Clears the halt of an endpoint. The same as the control request.
    ///
    /// # Errors
    /// [`Fault::NotFound`], [`Fault::Gone`].
    pub fn clear_halt(&mut self, endpoint: u8, now: Duration) -> Result<(), Fault> {
        let _ = (endpoint, now);
        todo!()
    }

    /// Resets the port: all that is pending is cancelled, claims stay, every interface is in setting 0.
    ///
    /// # Errors
    /// [`Fault::Gone`]; [`Fault::NotFound`] if a fault says so: the sensor is unplugged then, and comes back by itself.
    pub fn reset(&mut self, now: Duration) -> Result<(), Fault> {
        let _ = now;
        todo!()
    }

    /// A control request that is answered at once, such as the operating system makes for itself.
    ///
    /// * `data`: what is sent, or room for what comes.
    ///
    /// Returns how many bytes went over the wire.
    ///
    /// # Errors
    /// [`Fault::Stall`], [`Fault::Gone`]; [`Fault::Error`] while the sensor is wedged.
    pub fn control(&mut self, setup: Setup, data: &mut [u8], now: Duration) -> Result<usize, Fault> {
        let _ = (setup, data, now);
        todo!()
    }
}
