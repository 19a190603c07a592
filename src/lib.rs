//! depthcast turns depth frames into a picture that every viewer on the network can watch.

// 1. Depth comes in.
pub mod source;
