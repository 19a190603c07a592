//! The model behind the node, in a kernel's terms: errno for faults, addresses for endpoints.

use std::time::Duration;

use kinect2::protocol::Setup;
use nix::errno::Errno;

/// What a transfer carries.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape<'a> {
    Control(Setup),
    /// Bytes of the buffer.
    Bulk(usize),
    /// Bytes of each packet.
    Isochronous(&'a [u32]),
}

/// One transfer, made anew by [`Transfer::prepare`] and used again.
#[derive(Debug, Default)]
pub(crate) struct Transfer {
    id: u64,
    endpoint: u8,
    buffer: Vec<u8>,
    lengths: Vec<u32>,
    results: Vec<PacketResult>,
    actual: usize,
    status: i32,
}

/// How a packet ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PacketResult {
    pub(crate) actual_length: u32,
    /// A negative errno, or 0.
    pub(crate) status: i32,
}

impl Transfer {
    pub(crate) fn prepare(&mut self, endpoint: u8, shape: Shape<'_>) {
        self.endpoint = endpoint;
        self.actual = 0;
        self.lengths.clear();
        let n = match shape {
            Shape::Control(s) => usize::from(s.length),
            Shape::Bulk(n) => n,
            Shape::Isochronous(l) => {
                self.lengths.extend_from_slice(l);
                l.iter().map(|l| *l as usize).sum()
            }
        };
        self.buffer.resize(n, 0);
    }
    pub(crate) fn id(&self) -> u64 {
        self.id
    }
    pub(crate) fn set_id(&mut self, id: u64) {
        self.id = id;
    }
    pub(crate) fn buffer(&self) -> &[u8] {
        &self.buffer
    }
    pub(crate) fn buffer_mut(&mut self) -> &mut [u8] {
        &mut self.buffer
    }
    pub(crate) fn actual(&self) -> usize {
        self.actual
    }
    pub(crate) fn status(&self) -> i32 {
        self.status
    }
    pub(crate) fn packets(&self) -> impl Iterator<Item = (usize, PacketResult)> {
        self.lengths.iter().map(|l| *l as usize).zip(self.results.iter().copied())
    }
}

#[derive(Debug, Default)]
pub(crate) struct Controller {
    done: std::collections::VecDeque<Transfer>,
    pending: std::collections::VecDeque<Transfer>,
}

impl Controller {
    pub(crate) fn submit(&mut self, t: Transfer, _now: Duration) -> Result<(), (Errno, Transfer)> {
        self.pending.push_back(t);
        Ok(())
    }
    pub(crate) fn cancel(&mut self, id: u64, _now: Duration) {
        if let Some(at) = self.pending.iter().position(|t| t.id == id) {
            let mut t = self.pending.remove(at).unwrap();
            t.status = -libc::ENOENT;
            self.done.push_back(t);
        }
    }
    pub(crate) fn advance(&mut self, _now: Duration) {
        while let Some(mut t) = self.pending.pop_front() {
            t.status = 0;
            t.results.clear();
            t.results.resize(t.lengths.len(), PacketResult { actual_length: 0, status: 0 });
            self.done.push_back(t);
        }
    }
    pub(crate) fn completed(&mut self) -> Option<Transfer> {
        self.done.pop_front()
    }
    pub(crate) fn due(&self) -> Option<Duration> {
        (!self.pending.is_empty()).then_some(Duration::ZERO)
    }
    pub(crate) fn is_plugged(&self) -> bool {
        true
    }
    pub(crate) fn set_interface(&mut self, _i: u8, _a: u8, _now: Duration) -> Result<(), Errno> {
        Ok(())
    }
    pub(crate) fn reset(&mut self, _now: Duration) -> Result<(), Errno> {
        Ok(())
    }
    pub(crate) fn control(&mut self, _s: Setup, _now: Duration) -> Result<(), Errno> {
        Ok(())
    }
}
