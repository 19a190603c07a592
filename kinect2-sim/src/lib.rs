//! A simulated Kinect v2.
//!
//! ```text
//! depth in mm ──▶ depth::Model ──▶ raw frame of ten sub-images, as the sensor would have sent it
//!                                      │
//!               faults ──▶ device ◀────┘   descriptors, requests, commands, packets
//!                            ▲
//! a face (usbfs, libusb, USB/IP, in_process) ──▶ host: transfers, the isochronous schedule, plugging
//! ```

// Depth to raw frames: the decoder's arithmetic backwards.
pub mod depth;

// What goes wrong, from text.
pub mod faults;

// The sensor at the level of USB requests.
pub mod device;

// A host controller over it.
pub mod host;

// What a driver asks for, done on a virtual clock.
pub mod in_process;
