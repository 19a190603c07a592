//! Stage 1: depth comes in.

// The built-in synthetic car park.
pub mod demo;

// A folder of recorded frames.
pub mod replay;

/// Columns of a Kinect v2 depth image.
pub const WIDTH: usize = 512;
/// Rows of a Kinect v2 depth image.
pub const HEIGHT: usize = 424;
/// Pixels of a depth image; every depth buffer of this crate has this length, row-major, row 0 at the top.
pub const PIXELS: usize = WIDTH * HEIGHT;
