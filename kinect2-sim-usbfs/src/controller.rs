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

/// stand-in
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) device: Vec<u8>,
    pub(crate) configuration: Vec<u8>,
}

impl Model {
    pub(crate) fn new(
        _serial: &str,
        _frames: &std::ffi::OsStr,
        faults: &str,
        _rt: bool,
    ) -> Result<Self, String> {
        if !faults.is_empty() {
            return Err(format!("KINECT2_SIM_FAULTS: {faults}"));
        }
        let configuration = [
            &[9, 2, 0, 0, 2, 1, 0, 0x80, 18][..],
            &[9, 4, 0, 0, 1, 0xFF, 0, 0, 0],
            &[7, 5, 0x02, 2, 0, 4, 0],
            &[7, 5, 0x81, 2, 0, 4, 0],
            &[9, 4, 1, 0, 0, 0xFF, 0, 0, 0],
            &[9, 4, 1, 1, 1, 0xFF, 0, 0, 0],
            &[7, 5, 0x84, 1, 0, 4, 1],
            &[9, 4, 2, 0, 0, 1, 0, 0, 0],
            &[9, 4, 3, 0, 0, 1, 0, 0, 0],
        ]
        .concat();
        let device = vec![18, 1, 0, 3, 0xef, 2, 1, 9, 0x5e, 4, 0xc4, 2, 0, 1, 1, 2, 3, 1];
        Ok(Model { device, configuration })
    }
}

#[derive(Debug, Default)]
pub(crate) struct Controller {
    done: std::collections::VecDeque<Transfer>,
    pending: std::collections::VecDeque<Transfer>,
}

impl Controller {
    pub(crate) fn new(_model: Model) -> Self {
        Self::default()
    }
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
        let mut at = 0;
        while at < self.pending.len() {
            if self.pending[at].endpoint & 0x7F == 1 {
                at += 1;
                continue;
            }
            let mut t = self.pending.remove(at).unwrap();
            t.status = 0;
            if t.endpoint == 0x80 {
                t.actual = 18;
                t.buffer[..18]
                    .copy_from_slice(&[18, 1, 0, 3, 0xef, 2, 1, 9, 0x5e, 4, 0xc4, 2, 0, 1, 1, 2, 3, 1]);
            }
            t.results.clear();
            t.results.resize(t.lengths.len(), PacketResult { actual_length: 0, status: 0 });
            self.done.push_back(t);
        }
    }
    pub(crate) fn completed(&mut self) -> Option<Transfer> {
        self.done.pop_front()
    }
    pub(crate) fn due(&self) -> Option<Duration> {
        self.pending.iter().any(|t| t.endpoint & 0x7F != 1).then_some(Duration::ZERO)
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
