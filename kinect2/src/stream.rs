//! Packets of the depth stream to frames: rows go where they belong as they come, nothing is put together first.

use std::time::Duration;

use crate::depth::{Decoder, FRAME_BYTES};

/// Where the rows of a frame go.
#[derive(Debug)]
pub enum Target {
    /// To a decoder. A frame is complete with sub-image 8; the caller then calls [`Decoder::finish`].
    Decode(Box<Decoder>),
    /// To [`FRAME_BYTES`] bytes, for a recorder. A frame is complete with sub-image 9.
    Raw(Box<[u8]>),
}

impl Target {
    /// Room for one raw frame.
    #[must_use]
    pub fn raw() -> Self {
        Target::Raw(vec![0; FRAME_BYTES].into_boxed_slice())
    }
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
    /// Number of the frame, as its own footers have it; wraps at 65 536 in practice. Compare for inequality.
    pub sequence: u32,
    /// Clock of the sensor in steps of 0.125 ms, from the footer of sub-image 0; wraps after 6.2 days.
    pub timestamp: u32,
    /// The `now` that came with the first packet of sub-image 0.
    pub first_packet: Duration,
}

/// What became of packets, sub-images and frames since [`Stream::new`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Packets given, of any kind.
    pub packets: u64,
    /// Of these, with a bad status, of any length.
    pub bad_packets: u64,
    /// Of these, good and of no bytes: the pauses.
    pub empty_packets: u64,
    /// Of these, good and of a length that no packet has.
    pub odd_packets: u64,
    /// Packets with data that were sent and did not come whole.
    pub lost_packets: u64,
    /// Sub-images that came whole.
    pub sub_images: u64,
    /// Sub-images that were sent and did not come whole.
    pub damaged_sub_images: u64,
    /// Footers that were not believed, for their length or subsequence.
    pub bad_footers: u64,
    /// Footers that were believed though the two words in front are not [`Footer::MAGIC`](crate::protocol::Footer::MAGIC).
    pub unknown_magic: u64,
    /// Frames delivered.
    pub frames_complete: u64,
    /// Frames of which a footer came, but not all that is needed.
    pub frames_dropped: u64,
    /// Frames of which no footer came, by the gaps in the sequence.
    pub frames_lost: u64,
    /// Times the sequence went back or so far ahead that the sensor must have started anew; nothing is counted as lost.
    pub sequence_jumps: u64,
    /// Times the target refused rows: the caller has changed it within a frame.
    pub refused: u64,
}

/// The parser.
#[derive(Debug, Default)]
pub struct Stream {
    counters: Counters,
}

impl Stream {
    /// A parser that waits for the first frame.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the frame begun and the sequence: the stream was stopped. Counters go on.
    pub fn restart(&mut self) {
        todo!()
    }

    /// Takes one packet. Every packet must be given, in order, the empty and the bad ones too.
    ///
    /// * `now`: host's monotonic time at which the packet's transfer was reaped.
    /// * `bytes`: what came, at most [`PACKET_BYTES`](crate::protocol::PACKET_BYTES); of a bad packet only the length counts.
    ///
    /// Returns the frame when this packet completed it: `target` then holds it until the next call.
    pub fn packet(
        &mut self,
        now: Duration,
        status: PacketStatus,
        bytes: &[u8],
        target: &mut Target,
    ) -> Option<FrameInfo> {
        let _ = (now, status, bytes, target);
        todo!()
    }

    /// What became of packets, sub-images and frames.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}
