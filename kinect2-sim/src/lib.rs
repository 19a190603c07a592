//! A simulated Kinect v2.
//!
//! ```text
//! depth in mm ──▶ depth::Model ──▶ raw frame of ten sub-images, as the sensor would have sent it
//! ```

// Depth to raw frames: the decoder's arithmetic backwards.
pub mod depth;
