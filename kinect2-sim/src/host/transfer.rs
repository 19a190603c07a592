//! A transfer: what to do, and what became of it.

use kinect2::protocol::Setup;

use crate::device::Fault;

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
    /// Its name, for [`Host::cancel`](super::Host::cancel); chosen by the face, unique among those that are pending.
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

    /// Packets of an isochronous transfer that have not come yet.
    pub(super) fn packets_left(&self) -> usize {
        match &self.kind {
            Kind::Iso { packet_lengths } => packet_lengths.len().saturating_sub(self.packets.len()),
            Kind::Control(_) | Kind::Bulk => 0,
        }
    }

    /// Where the next packet goes, and its room.
    pub(super) fn next_room(&self) -> Option<(usize, usize)> {
        let Kind::Iso { packet_lengths } = &self.kind else { return None };
        let (before, after) = packet_lengths.split_at_checked(self.packets.len())?;
        Some((before.iter().sum(), *after.first()?))
    }

    /// Ends it before its time; its packets that have not come end as `packet` says.
    #[must_use]
    pub(super) fn end(mut self, fault: Fault, packet: Fault) -> Self {
        self.status = Err(fault);
        let left = self.packets_left();
        self.packets.extend(std::iter::repeat_n((0, Err(packet)), left));
        self
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
