//! Stage 3: index or depth image to bytes in a caller's buffer.
//!
//! Slices in, length out: an encoder owns its scratch memory, made once, and neither allocates nor fails
//! afterwards, because each says beforehand how many bytes its worst case needs.

// Filtered images to zlib streams.
mod deflate;

// Bytes to the text of a pickle.
pub mod escape;

// JPEG under a palette.
pub mod jpeg;

// What a picture says about itself.
pub mod metadata;

// Indexed and 16-bit grey PNG.
pub mod png;

// Lossless depth for programs.
pub mod rvl;
