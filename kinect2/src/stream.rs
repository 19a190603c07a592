//! Packets of the depth stream to frames: rows go where they belong as they come, nothing is put together first.
//!
//! A packet comes, or should, every 125 µs. Ten times a frame the sensor sends one sub-image, then it is silent:
//!
//! ```text
//! sub-image:  8 x 33 792 bytes = 48 rows each │ 28 312 bytes = 40 rows and the footer │ about 3 empty packets
//! frame:      sub-images 0 to 9, about 120 intervals │ about 146 empty packets
//! ```
//!
//! Which sub-image rows belong to is said only behind them, so it is predicted: the one after the last footer's, or 0
//! after a long pause. The footer must then agree, in its subsequence and with the frame's sequence, and all nine
//! packets must have come; else the frame is dropped, as rows once decoded cannot be taken back. A frame is handed out
//! with the packet that completes it.
//!
//! What decides: status and length of packets, and length, sequence and subsequence in the footers, which both known
//! drivers use. What only one of them checks, the two words in front of a footer, is counted and decides nothing.
//!
//! # Counting
//!
//! A footer says exactly where in the stream it stands, so what is missing between two footers is a subtraction, no
//! matter how it was lost. From the first footer believed to the last, since [`Stream::new`] or [`Stream::restart`]:
//!
//! * frames sent = `frames_complete` + `frames_dropped` + `frames_lost`, where the last frame joins one of
//!   them only when it is complete, when a footer of another frame comes, or with [`Stream::restart`];
//! * sub-images sent = `sub_images` + `damaged_sub_images`;
//! * 9 x sub-images sent after the first footer = packets of the right lengths that came + `lost_packets`.
//!
//! And always `packets` = `bad_packets` + `empty_packets` + `odd_packets` + those of the right lengths.
//!
//! Rhythm, lengths and footers: libfreenect2 (commit fd64c5d), its parser and traces in its issues 75 and 935.

use std::fmt;
use std::mem;
use std::time::Duration;

use crate::depth::{Decoder, FRAME_BYTES, ROW_BYTES, SUB_IMAGE_BYTES, SUB_IMAGES, SUB_IMAGES_USED};
use crate::protocol::{FOOTER_BYTES, Footer, LAST_PACKET_BYTES, LAST_PACKET_ROWS, PACKET_BYTES, PACKET_ROWS};

/// Where the rows of a frame go. It may be exchanged between frames; within one, call [`Stream::restart`].
pub enum Target {
    /// To a decoder. A frame is complete with sub-image 8; the caller then calls [`Decoder::finish`].
    Decode(Box<Decoder>),
    /// To [`FRAME_BYTES`] bytes, ten sub-images as sent, for a recorder. A frame is complete with sub-image 9.
    Raw(Box<[u8]>),
}

impl Target {
    /// Room for one raw frame.
    #[must_use]
    pub fn raw() -> Self {
        Target::Raw(vec![0; FRAME_BYTES].into_boxed_slice())
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Decode(decoder) => f.debug_tuple("Decode").field(decoder).finish(),
            Target::Raw(bytes) => write!(f, "Raw({} bytes)", bytes.len()),
        }
    }
}

/// What the parser needs of a target. Rows come in their order from sub-image 0 on; a frame that was begun can be
/// begun again.
pub trait Rows {
    /// The sub-image that completes a frame: 8 if the last is of no use, else 9.
    fn last_sub_image(&self) -> usize;

    /// A frame begins; what came of another is of no use.
    fn begin(&mut self);

    /// Takes rows, and says whether it did: if not, the frame is dropped.
    ///
    /// * `sub_image`: 0 to 9.
    /// * `first_row`: row of the first byte, as stored: 0, 48, 96 and on to 384.
    /// * `bytes`: 48 rows of [`ROW_BYTES`], 40 from row 384 on.
    fn take(&mut self, sub_image: usize, first_row: usize, bytes: &[u8]) -> bool;
}

/// What the host controller says of one packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PacketStatus {
    /// It came whole, or there was none to come in this interval.
    Good,
    /// Lost, late, cut or garbled.
    Bad,
}

/// A frame that is complete.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FrameInfo {
    /// Number of the frame, as all its footers have it; wraps at 65 536 in practice. Compare for inequality.
    pub sequence: u32,
    /// Clock of the sensor in steps of 0.125 ms, from the footer of sub-image 0; wraps after 6.2 days.
    pub timestamp: u32,
    /// The `now` that came with the first packet of sub-image 0.
    pub first_packet: Duration,
}

/// What became of packets, sub-images and frames since [`Stream::new`]. How they add up is in the module's docs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Packets given, of any kind.
    pub packets: u64,
    /// Of these, with a bad status, of any length. In a pause they do no harm.
    pub bad_packets: u64,
    /// Of these, good and of no bytes: the pauses, and what a controller shows so that did not come.
    pub empty_packets: u64,
    /// Of these, good and of a length that no packet has. Nothing else than these: the controller cuts packets.
    pub odd_packets: u64,
    /// Packets with rows that were sent and did not come with a good status and their length, those of frames lost
    /// among them. Known when the next footer comes.
    pub lost_packets: u64,
    /// Sub-images of which all packets came, one after the other, and a footer that could be believed.
    pub sub_images: u64,
    /// Sub-images that were sent and did not come so, those of frames lost among them. Known when the next footer
    /// comes.
    pub damaged_sub_images: u64,
    /// Footers that were not believed, for their length or a subsequence above 9.
    pub bad_footers: u64,
    /// Footers that were believed though the two words in front are not [`Footer::MAGIC`].
    pub unknown_magic: u64,
    /// Frames handed out.
    pub frames_complete: u64,
    /// Frames of which a footer came and not all that is needed. Counted when the next frame's first footer comes.
    pub frames_dropped: u64,
    /// Frames of which no footer came: the gaps in the sequence.
    pub frames_lost: u64,
    /// Times the footers went back, or ahead by more than a minute: the sensor counts anew. What was lost in between
    /// is not known and not counted.
    pub sequence_jumps: u64,
    /// Times the target refused rows and the frame was dropped: it was exchanged within a frame, or a raw target is
    /// not [`FRAME_BYTES`] long.
    pub refused: u64,
}

/// The parser. Holds no rows and never allocates.
#[derive(Debug, Default)]
pub struct Stream {
    counters: Counters,
    /// The sub-image that comes or will come next, 0 to 9, as predicted.
    sub_image: usize,
    /// Rows of it that have come, or should have; 0 between sub-images, at most those of its full packets.
    row: usize,
    /// One of its packets is missing or spoilt.
    damaged: bool,
    /// Packets without bytes since the last one with some.
    pause: u32,
    /// The frame whose rows so far are all in the target. None: rows are of no use until a sub-image 0 begins.
    frame: Option<Begun>,
    /// Where the last footer believed stood.
    last: Option<Position>,
    /// Packets of the right lengths since then.
    came: u64,
    /// Packets of any kind since then.
    intervals: u64,
}

/// A frame that is going to a target.
#[derive(Clone, Copy, Debug)]
struct Begun {
    first_packet: Duration,
    /// Sequence and timestamp, once sub-image 0 is whole.
    footer: Option<(u32, u32)>,
}

#[derive(Clone, Copy, Debug)]
struct Position {
    sequence: u32,
    /// 0 to 9.
    sub_image: u32,
    /// The frame was handed out.
    complete: bool,
}

/// Rows of a sub-image before its last packet.
const FULL_ROWS: usize = PACKETS_FULL * PACKET_ROWS;
const PACKETS_FULL: usize = SUB_IMAGE_BYTES / PACKET_BYTES;
/// Packets that carry a sub-image.
const PACKETS: u64 = PACKETS_FULL as u64 + 1;
/// Intervals without bytes that no whole frame has inside: spread evenly, its pauses would be of 18.
const LONG_PAUSE: u32 = 32;
/// Service intervals from frame to frame, and from sub-image to sub-image, near enough for `Stream::may_be_torn`.
const FRAME_INTERVALS: u64 = 266;
const SUB_IMAGE_INTERVALS: u64 = 12;
/// Frames that can be missing between two footers: a minute's. A stream as silent as that has been started anew.
const AHEAD_MAX: u32 = 1800;

const _: () = assert!(FULL_ROWS + LAST_PACKET_ROWS == crate::depth::HEIGHT);

impl Stream {
    /// A parser that waits for the first frame.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the frame begun and where the stream was: it was stopped, or the target exchanged. Counters go on.
    pub fn restart(&mut self) {
        let mut counters = self.counters;
        counters.frames_dropped += self.last.map_or(0, |last| u64::from(!last.complete));
        *self = Stream { counters, ..Self::default() };
    }

    /// Takes one packet. Every packet must be given, in order, the empty and the bad ones too.
    ///
    /// * `now`: the host's monotonic time at which the packet's transfer was reaped.
    /// * `bytes`: what came of it; of a bad packet only whether there are any is looked at.
    /// * `target`: a [`Target`] as a rule.
    ///
    /// Returns the frame when this packet completed it. `target` then holds it until sub-image 0 of another
    /// begins, which no call does before the next: use it now.
    ///
    /// Never allocates. The time is that of the target for the rows.
    pub fn packet(
        &mut self,
        now: Duration,
        status: PacketStatus,
        bytes: &[u8],
        target: &mut impl Rows,
    ) -> Option<FrameInfo> {
        self.counters.packets += 1;
        self.intervals += 1;
        if !bytes.is_empty() {
            self.pause = 0;
        } else {
            self.pause = self.pause.saturating_add(1);
            if self.pause == LONG_PAUSE {
                self.sub_image = 0;
            }
        }
        match (status, bytes.len()) {
            (PacketStatus::Bad, length) => {
                self.counters.bad_packets += 1;
                // Without bytes between sub-images it is of the pause, as a rule; if it was a first packet, the ninth
                // will be missing.
                if length > 0 || self.row > 0 {
                    self.spoilt();
                }
                None
            }
            (PacketStatus::Good, 0) => {
                self.counters.empty_packets += 1;
                if self.row > 0 {
                    self.broken_off();
                }
                None
            }
            (PacketStatus::Good, PACKET_BYTES) => {
                self.full(now, bytes, target);
                None
            }
            (PacketStatus::Good, LAST_PACKET_BYTES) => self.ending(bytes, target),
            (PacketStatus::Good, _) => {
                self.counters.odd_packets += 1;
                self.spoilt();
                None
            }
        }
    }

    /// What became of packets, sub-images and frames.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// A packet that cannot be used stands where one with rows should.
    fn spoilt(&mut self) {
        if self.row == FULL_ROWS {
            self.broken_off();
        } else {
            self.frame = None;
            self.damaged = true;
            self.row += PACKET_ROWS;
        }
    }

    /// The sub-image ended without a footer to be believed, and with it the frame. What was taken for sub-image 0 may
    /// have been a stray packet ahead of it: the next is tried as 0 again. Any other prediction waits for a footer or
    /// the long pause: only then is it certain that a frame handed out is not touched before the next one begins.
    fn broken_off(&mut self) {
        self.frame = None;
        self.row = 0;
        self.damaged = false;
    }

    fn full(&mut self, now: Duration, bytes: &[u8], target: &mut impl Rows) {
        self.came += 1;
        if self.row == FULL_ROWS {
            // A ninth full packet: the last packet and the pause behind it are missing.
            self.broken_off();
        }
        if self.row == 0 && self.sub_image == 0 {
            target.begin();
            self.frame = Some(Begun { first_packet: now, footer: None });
        }
        if self.frame.is_some() && !target.take(self.sub_image, self.row, bytes) {
            self.counters.refused += 1;
            self.frame = None;
        }
        self.row += PACKET_ROWS;
    }

    /// The last packet of a sub-image.
    fn ending(&mut self, bytes: &[u8], target: &mut impl Rows) -> Option<FrameInfo> {
        self.came += 1;
        let whole = self.row == FULL_ROWS && !self.damaged;
        let (last_rows, footer) = bytes.split_last_chunk::<FOOTER_BYTES>()?;
        let footer = Footer::from_bytes(footer);
        let Some(sub_image) = Self::believe(&footer) else {
            self.counters.bad_footers += 1;
            self.broken_off();
            return None;
        };
        self.row = 0;
        self.damaged = false;
        let predicted = mem::replace(&mut self.sub_image, (sub_image + 1) % SUB_IMAGES);
        let certain = self.locate(&footer, whole);

        let mut frame = self.frame.take()?;
        let (sequence, timestamp) = *frame.footer.get_or_insert((footer.sequence, footer.timestamp));
        if !whole || !certain || sub_image != predicted || footer.sequence != sequence {
            return None;
        }
        if !target.take(sub_image, FULL_ROWS, last_rows) {
            self.counters.refused += 1;
            return None;
        }
        if sub_image < target.last_sub_image() {
            self.frame = Some(frame);
            return None;
        }
        self.counters.frames_complete += 1;
        if let Some(last) = &mut self.last {
            last.complete = true;
        }
        Some(FrameInfo { sequence, timestamp, first_packet: frame.first_packet })
    }

    /// The sub-image that a footer says, if it can be one.
    fn believe(footer: &Footer) -> Option<usize> {
        let sub_image = usize::try_from(footer.subsequence).ok()?;
        let length = usize::try_from(footer.length).ok()?;
        (length == SUB_IMAGE_BYTES && sub_image < SUB_IMAGES).then_some(sub_image)
    }

    /// Counts what lies between the last footer and this one, which is now the last. Returns whether all packets since
    /// the last one can be trusted to be of one frame.
    fn locate(&mut self, footer: &Footer, whole: bool) -> bool {
        let count = &mut self.counters;
        count.unknown_magic += u64::from(footer.magic != Footer::MAGIC);
        count.sub_images += u64::from(whole);
        let came = mem::take(&mut self.came);
        let intervals = mem::take(&mut self.intervals);
        let mut position =
            Position { sequence: footer.sequence, sub_image: footer.subsequence, complete: false };
        let Some(last) = self.last.replace(position) else { return true };

        let dropped = u64::from(!last.complete);
        let frames = match frames_ahead(last.sequence, footer.sequence) {
            Some(0) if footer.subsequence > last.sub_image => {
                position.complete = last.complete;
                self.last = Some(position);
                0
            }
            Some(0) | None => {
                count.sequence_jumps += 1;
                count.frames_dropped += dropped;
                return true;
            }
            Some(frames) => {
                count.frames_dropped += dropped;
                count.frames_lost += u64::from(frames - 1);
                u64::from(frames)
            }
        };
        // From the last footer on: frames of ten sub-images, less the one part, plus the other. At least 1.
        let sub_images =
            frames * SUB_IMAGES as u64 + u64::from(footer.subsequence) - u64::from(last.sub_image);
        count.damaged_sub_images += sub_images - u64::from(whole);
        count.lost_packets += (sub_images * PACKETS).saturating_sub(came);
        sub_images == 1 || !may_be_torn(frames, last.sub_image, intervals)
    }
}

/// Whether a sub-image 0 can be half of one frame and half of a later: its packets carry no number of the frame, so a
/// process that slept for just a frame's time while no transfer was pending would not see the seam. Then packets
/// are missing without a trace: fewer came than service intervals passed, by the sequence. Better to drop a frame that
/// may be whole after such a sleep than to show one of two halves.
///
/// * `frames`: ahead of the last footer; `last`: that footer's sub-image; `intervals`: packets since, of any kind.
fn may_be_torn(frames: u64, last: u32, intervals: u64) -> bool {
    let passed = frames * FRAME_INTERVALS;
    intervals + u64::from(last) * SUB_IMAGE_INTERVALS + FRAME_INTERVALS / 2 < passed
}

/// Frames from one sequence to another; none if it went back or is further ahead than [`AHEAD_MAX`]. It wraps at 65 536,
/// or in a sensor that counts on, in 32 bits.
fn frames_ahead(from: u32, to: u32) -> Option<u32> {
    let mut ahead = to.wrapping_sub(from);
    if from <= 0xFFFF && to <= 0xFFFF {
        ahead &= 0xFFFF;
    }
    (ahead <= AHEAD_MAX).then_some(ahead)
}

impl Rows for Target {
    fn last_sub_image(&self) -> usize {
        match self {
            Target::Decode(_) => SUB_IMAGES_USED - 1,
            Target::Raw(_) => SUB_IMAGES - 1,
        }
    }

    fn begin(&mut self) {
        if let Target::Decode(decoder) = self {
            decoder.begin();
        }
    }

    fn take(&mut self, sub_image: usize, first_row: usize, bytes: &[u8]) -> bool {
        match self {
            Target::Decode(decoder) => decoder.rows(sub_image, first_row, bytes).is_ok(),
            Target::Raw(frame) => {
                let at = sub_image * SUB_IMAGE_BYTES + first_row * ROW_BYTES;
                let room = frame.get_mut(at..at + bytes.len());
                room.map(|room| room.copy_from_slice(bytes)).is_some()
            }
        }
    }
}

#[cfg(test)]
mod tests;
