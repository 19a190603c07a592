//! depthcast turns depth frames into a picture that every viewer on the network can watch.

// 1. Depth comes in.
pub mod source;

// What the camera says about itself, in bytes and in pixels.
pub mod camera;
pub mod placeholder;
pub mod text;
