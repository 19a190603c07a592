//! A Kinect v2 that the loop drives.

use kinect2::depth::{self, UNAMBIGUOUS_MM};
use kinect2::protocol::PACKET_BYTES;

use crate::limits::{KINECT_PACKETS_MAX, KINECT_QUEUE, KINECT_TRANSFERS_MAX};

/// How a sensor is driven and what is made of its frames: the keys `kinect.*`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Packets in an isochronous transfer, 1 to [`KINECT_PACKETS_MAX`] (8); each is an eighth of a millisecond.
    pub packets: usize,
    /// Isochronous transfers in the queue, 1 to [`KINECT_TRANSFERS_MAX`] (60).
    pub transfers: usize,
    /// Least depth in mm that is kept (500).
    pub min_mm: u16,
    /// Largest depth in mm that is kept (4500), at most [`UNAMBIGUOUS_MM`].
    pub max_mm: u16,
    /// Smooth over 3x3 pixels, except across edges (true).
    pub bilateral: bool,
    /// Drop pixels on depth edges (true).
    pub edge: bool,
    /// Subtracted from every depth (0).
    pub offset_mm: i16,
}

impl Default for Settings {
    fn default() -> Self {
        let depth::Settings { min_mm, max_mm, bilateral, edge, offset_mm, .. } = depth::Settings::default();
        Settings { packets: 8, transfers: 60, min_mm, max_mm, bilateral, edge, offset_mm }
    }
}

impl Settings {
    /// Whether the values can be used, and fit together.
    ///
    /// # Errors
    /// A text that names the keys and says what is wrong with them.
    pub fn check(&self) -> Result<(), String> {
        let Settings { packets, transfers, min_mm, max_mm, .. } = *self;
        if !(1..=KINECT_PACKETS_MAX).contains(&packets) || !(1..=KINECT_TRANSFERS_MAX).contains(&transfers) {
            return Err(format!(
                "kinect.packets and kinect.transfers: {packets} and {transfers} are not 1 to {KINECT_PACKETS_MAX} and 1 \
                 to {KINECT_TRANSFERS_MAX}"
            ));
        }
        let (least, most) = KINECT_QUEUE;
        if !(least..=most).contains(&(packets * transfers)) {
            return Err(format!(
                "kinect.packets and kinect.transfers: {packets} times {transfers} are {} packets in the queue, not {least} \
                 to {most} (8 are a millisecond)",
                packets * transfers
            ));
        }
        if self.decode().check().is_err() {
            return Err(format!(
                "kinect.min_mm and kinect.max_mm: {min_mm} to {max_mm} must lie within 1 to {UNAMBIGUOUS_MM}, least first"
            ));
        }
        Ok(())
    }

    /// The part that the decoder heeds. No infrared: nothing shows it yet.
    pub fn decode(&self) -> depth::Settings {
        let Settings { min_mm, max_mm, bilateral, edge, offset_mm, .. } = *self;
        depth::Settings { min_mm, max_mm, bilateral, edge, offset_mm, mirror: false, infrared: false }
    }

    /// Bytes of the queue of transfers, set aside at start.
    pub fn queue_bytes(&self) -> usize {
        self.packets * self.transfers * PACKET_BYTES
    }
}
