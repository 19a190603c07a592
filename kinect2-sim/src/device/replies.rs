//! What the sensor answers to commands: pages that are always the same, a register, completions.

use kinect2::depth::Intrinsics;
use kinect2::protocol::{COMPLETION_BYTES, Completion};

/// Replies that never change.
#[derive(Debug)]
pub(super) struct Pages {
    firmware: Vec<u8>,
    hardware: Vec<u8>,
    serial: Vec<u8>,
    p0: Vec<u8>,
    depth_lens: Vec<u8>,
    color_lens: Vec<u8>,
    /// What a sensor says in a reply of unknown content, and what a stale reply is cut from.
    zeros: Vec<u8>,
}

/// Which of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Page {
    Firmware,
    Hardware,
    Serial,
    P0,
    DepthLens,
    ColorLens,
    Zeros,
}

impl Pages {
    pub(super) fn new(serial: &str, p0: Vec<u8>, lens: &Intrinsics, zeros: usize) -> Self {
        Pages {
            firmware: firmware(),
            hardware: hardware(),
            serial: serial_page(serial),
            p0,
            depth_lens: depth_lens(lens),
            color_lens: color_lens(),
            zeros: vec![0; zeros.max(UNKNOWN_BYTES)],
        }
    }

    /// Makes [`Page::Zeros`] at least so long. It never gets shorter: a block of it may wait to be read.
    pub(super) fn make_room(&mut self, zeros: usize) {
        self.zeros.resize(self.zeros.len().max(zeros), 0);
    }

    pub(super) fn get(&self, page: Page) -> &[u8] {
        match page {
            Page::Firmware => &self.firmware,
            Page::Hardware => &self.hardware,
            Page::Serial => &self.serial,
            Page::P0 => &self.p0,
            Page::DepthLens => &self.depth_lens,
            Page::ColorLens => &self.color_lens,
            Page::Zeros => &self.zeros,
        }
    }
}

/// One block of a bulk endpoint: what one read gets.
#[derive(Clone, Copy, Debug)]
pub(super) enum Block {
    /// The first bytes of a page.
    Page(Page, usize),
    /// The status register.
    Register(u32),
    Completion(Completion),
}

impl Block {
    pub(super) fn len(self) -> usize {
        match self {
            Block::Page(_, length) => length,
            Block::Register(_) => 4,
            Block::Completion(_) => COMPLETION_BYTES,
        }
    }

    /// Writes its bytes; `to` is as long as it is.
    pub(super) fn copy(self, pages: &Pages, to: &mut [u8]) {
        match self {
            Block::Page(page, length) => to.copy_from_slice(&pages.get(page)[..length]),
            Block::Register(value) => to.copy_from_slice(&value.to_le_bytes()[..to.len()]),
            Block::Completion(completion) => to.copy_from_slice(&completion.to_bytes()),
        }
    }

    /// The same with fewer bytes.
    pub(super) fn cut(self, length: usize) -> Self {
        match self {
            Block::Page(page, old) => Block::Page(page, old.min(length)),
            other => other,
        }
    }
}

/// Bytes of the replies whose content nobody knows, and of a colour setting's.
pub(super) const UNKNOWN_BYTES: usize = 16;

/// 512 bytes: entries of four words; the fourth is what users see, 4.0.3912.0.
fn firmware() -> Vec<u8> {
    let mut page = vec![0; 512];
    for (entry, revision) in [3911_u32, 3911, 3912, 3912, 3911, 3912, 3912].into_iter().enumerate() {
        put(&mut page, entry * 16, [0x0004_0000, revision, 0, 0].map(u32::to_le_bytes));
    }
    page
}

/// 92 bytes, opaque; as seen of real ones (libfreenect2 issue 237).
fn hardware() -> Vec<u8> {
    let mut page = vec![0; 92];
    page[..16].copy_from_slice(&[0, 0, 0x12, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0x43, 0xC1, 0x1F, 0x41]);
    page[0x48..0x51].copy_from_slice(b"GKP210.1X");
    page
}

/// 128 bytes: each character and a zero.
fn serial_page(serial: &str) -> Vec<u8> {
    let mut page = vec![0; 128];
    for (to, character) in page.chunks_exact_mut(2).zip(serial.bytes()) {
        to[0] = character;
    }
    page
}

/// 92 bytes: the order of the lens's terms is k1, k2, p1, p2, k3.
fn depth_lens(lens: &Intrinsics) -> Vec<u8> {
    let Intrinsics { fx, fy, cx, cy, k1, k2, k3, p1, p2 } = *lens;
    let mut page = vec![0; 92];
    put(&mut page, 0, [fx, fy, 0.0, cx, cy, k1, k2, p1, p2, k3].map(f32::to_le_bytes));
    page
}

/// 12,981 bytes, not aligned: table id, focal length, centre, shifts; polynomials and tables are zeros.
fn color_lens() -> Vec<u8> {
    let mut page = vec![0; 12_981];
    page[0] = 1;
    put(&mut page, 1, [1081.37_f32, 959.5, 539.5, 863.0, 52.0].map(f32::to_le_bytes));
    page
}

fn put<const N: usize>(page: &mut [u8], at: usize, values: [[u8; 4]; N]) {
    for (to, value) in page[at..].chunks_exact_mut(4).zip(values) {
        to.copy_from_slice(&value);
    }
}
