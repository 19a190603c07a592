//! A program written for libusb, as libfreenect2 is, on the simulated sensor: in process, through the exported functions.

// What the program does, in calls that cannot go wrong.
mod session;

mod descriptors;
mod shared_object;
mod streaming;
mod talking;
