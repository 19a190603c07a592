//! A whole picture: units to batches, batches to coefficients, coefficients to bits.

use super::dct::{self, Batch, Filled, LANES, Quantiser};
use super::huffman::{BRIGHTNESS, Bits, COLOUR, ROOM};
use super::units::{self, BLOCKS, Colours};

/// What does not change from picture to picture.
#[derive(Debug)]
pub(super) struct Plan {
    /// Width and height in pixels.
    pub(super) size: (usize, usize),
    /// Pixels that share their colour, beside and above each other: 1 or 2.
    pub(super) shared: (usize, usize),
    /// For brightness and for colour.
    pub(super) quantisers: [Quantiser; 2],
}

/// Memory that one picture needs until it is done.
pub(super) struct Scratch {
    /// One for each block of a unit, a lane for each of sixteen units.
    batches: [Batch; BLOCKS],
    filled: [Filled; BLOCKS],
    /// Coefficients on their way.
    transformed: Batch,
    /// Units that are not coded yet.
    pending: [Unit; PENDING],
    bits: [u8; ROOM],
}

impl Scratch {
    pub(super) fn new() -> Box<Self> {
        Box::new(Self {
            batches: [Batch::ZERO; BLOCKS],
            filled: [[[0; LANES]; 4]; BLOCKS],
            transformed: Batch::ZERO,
            pending: [Unit { content: Content::Flat(0), outside: 0 }; PENDING],
            bits: [0; ROOM],
        })
    }
}

/// What is coded together.
#[derive(Clone, Copy, Debug)]
struct Unit {
    content: Content,
    /// A bit for each block that lies outside of the picture altogether.
    outside: u8,
}

#[derive(Clone, Copy, Debug)]
enum Content {
    /// All of one index, and in no batch.
    Flat(u8),
    /// In the batches at this place.
    Lane(u8),
}

/// Writes the scan's bytes and returns how many they are.
///
/// * `index`: as many as `plan` says.
/// * `out`: long enough for the worst picture, and eight bytes.
#[inline(always)]
pub(super) fn plainly(
    plan: &Plan,
    scratch: &mut Scratch,
    colours: &Colours,
    index: &[u8],
    out: &mut [u8],
) -> usize {
    let (width, height) = plan.size;
    let (h, v) = plan.shared;
    let Scratch { batches, filled, transformed, pending, bits } = scratch;
    let mut coder = Coder { bits: Bits::new(bits), last: [0; 3], out, at: 0 };
    let (mut waiting, mut lanes) = (0, 0);
    for top in (0..height).step_by(8 * v) {
        for left in (0..width).step_by(8 * h) {
            let whole = left + 8 * h <= width && top + 8 * v <= height;
            let edge;
            let (pixels, pitch) = if whole {
                (&index[top * width + left..], width)
            } else {
                edge = units::edge(index, plan.size, (left, top));
                (&edge[..], 16)
            };
            let content = match units::uniform(pixels, pitch, 8 * h, 8 * v) {
                Some(index) => Content::Flat(index),
                None => {
                    match plan.shared {
                        (1, 1) => units::fetch::<1, 1>(colours, pixels, pitch, batches, lanes),
                        (_, 1) => units::fetch::<2, 1>(colours, pixels, pitch, batches, lanes),
                        _ => units::fetch::<2, 2>(colours, pixels, pitch, batches, lanes),
                    }
                    lanes += 1;
                    Content::Lane(lanes as u8 - 1)
                }
            };
            let mut outside = 0;
            if !whole {
                for block in 0..h * v {
                    let out = left + 8 * (block % h) >= width || top + 8 * (block / h) >= height;
                    outside |= u8::from(out) << block;
                }
                if let Content::Lane(lane) = content {
                    // Below the picture the last row of colour goes on, not the mean of the last row of pixels.
                    let rows = (height - top).div_ceil(v).min(8);
                    for batch in &mut batches[h * v..] {
                        for place in 8 * rows..64 {
                            batch.0[place][usize::from(lane)] = batch.0[place - 8][usize::from(lane)];
                        }
                    }
                }
            }
            pending[waiting] = Unit { content, outside };
            waiting += 1;
            let last = top + 8 * v >= height && left + 8 * h >= width;
            if lanes == LANES || waiting == PENDING || last {
                if lanes > 0 {
                    for (block, (batch, filled)) in
                        batches.iter_mut().zip(filled.iter_mut()).enumerate().take(h * v + 2)
                    {
                        dct::transform(batch, transformed);
                        plan.quantisers[usize::from(block >= h * v)].divide(transformed, batch, filled);
                    }
                }
                for unit in &pending[..waiting] {
                    coder.unit(plan, colours, *unit, batches, filled);
                }
                (waiting, lanes) = (0, 0);
            }
        }
    }
    coder.finish()
}

/// Writes units one after the other.
struct Coder<'a> {
    bits: Bits<'a>,
    /// The first coefficients of the blocks before: Y, Cb and Cr.
    last: [i16; 3],
    out: &'a mut [u8],
    /// Where the next byte goes.
    at: usize,
}

impl Coder<'_> {
    #[inline(always)]
    fn unit(
        &mut self,
        plan: &Plan,
        colours: &Colours,
        unit: Unit,
        batches: &[Batch; BLOCKS],
        filled: &[Filled; BLOCKS],
    ) {
        let bright = plan.shared.0 * plan.shared.1;
        match unit.content {
            Content::Flat(index) => {
                let parts = units::parts(colours[usize::from(index)]);
                let components = [(&BRIGHTNESS, bright), (&COLOUR, 1), (&COLOUR, 1)];
                for (n, (tables, blocks)) in components.into_iter().enumerate() {
                    let first = plan.quantisers[n.min(1)].flat(parts[n]);
                    for _ in 0..blocks {
                        let difference = first - self.last[n];
                        self.last[n] = first;
                        self.bits.flat(tables, difference);
                    }
                }
            }
            Content::Lane(lane) => {
                let lane = usize::from(lane);
                for block in 0..bright + 2 {
                    let (tables, component) =
                        if block < bright { (&BRIGHTNESS, 0) } else { (&COLOUR, 1 + block - bright) };
                    if unit.outside >> block & 1 == 1 {
                        self.bits.flat(tables, 0);
                        continue;
                    }
                    let first = batches[block].0[0][lane];
                    let difference = first - self.last[component];
                    self.last[component] = first;
                    self.bits.block(tables, difference, &batches[block], &filled[block], lane);
                }
            }
        }
        if self.bits.len() >= WRITTEN {
            self.write();
        }
    }

    /// A byte of ones, which would begin a marker, is followed by one of zeros (ITU-T T.81, F.1.2.3).
    #[inline(always)]
    fn write(&mut self) {
        const SIZED: &str = "the caller's buffer holds the worst case by contract";
        const EACH: u64 = 0x0101_0101_0101_0101;
        let bytes = self.bits.take();
        let (mut from, mut at) = (0, self.at);
        while let Some(eight) = bytes[from..].first_chunk::<8>() {
            *self.out[at..].first_chunk_mut().expect(SIZED) = *eight;
            let word = u64::from_le_bytes(*eight);
            // The highest bit of the first byte of ones, and perhaps of some behind it.
            let ones = (!word).wrapping_sub(EACH) & word & (0x80 * EACH);
            if ones == 0 {
                (from, at) = (from + 8, at + 8);
            } else {
                let through = ones.trailing_zeros() as usize / 8 + 1;
                self.out[at + through] = 0;
                (from, at) = (from + through, at + through + 1);
            }
        }
        for &byte in &bytes[from..] {
            self.out[at] = byte;
            at += 1;
            if byte == 0xff {
                self.out[at] = 0;
                at += 1;
            }
        }
        self.at = at;
    }

    #[inline(always)]
    fn finish(mut self) -> usize {
        self.bits.finish();
        self.write();
        self.at
    }
}

/// Units that wait for their batches at most: the flat ones among them take no lane.
const PENDING: usize = 64;

/// Bytes that are written before they are looked at for ones.
const WRITTEN: usize = 4096;

/// Bytes of the longest unit: a code has 16 bits at most, and the value behind it 11.
const UNIT: usize = BLOCKS * 64 * 27 / 8;

const _: () = assert!(WRITTEN + UNIT + 8 <= ROOM, "a unit more, and the last word");
