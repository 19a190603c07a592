//! Kinect v2 without a C library.
//!
//! The path of a frame:
//!
//! ```text
//! usbfs ── packets ──▶ stream ── rows of 704 bytes ──▶ depth::Decoder ──▶ 512 x 424 depth in mm, and infrared
//!   ▲                                                    ▲
//!   └─▶ driver ── P0 and lens replies ──▶ depth::Tables ─┘   once per sensor
//! ```
//!
//! [`sensor::Sensor`] is all of it in somebody's event loop. The machines in it, [`driver`] and [`stream`], open nothing
//! and read no clock; [`depth`] is arithmetic on what a sensor sends.

// Raw frames to millimetres.
pub mod depth;

// What goes over the wire.
pub mod protocol;

// One command at a time.
pub mod command;

// The life of a sensor.
pub mod driver;

// Packets of the stream to frames.
pub mod stream;

// What the kernel says of sensors, without opening one.
pub mod sysfs;

// The kernel's face to a USB device.
pub mod usbfs;

// What stands in the way of frames, and what to do about it.
pub mod diagnosis;

// All of it in an event loop.
pub mod sensor;

// Raw frames and their sensor's replies, kept in a folder.
pub mod recording;
