//! depthcast turns depth frames into a picture that every viewer on the network can watch.
//!
//! ```text
//!  source --view-> ring slot ------------------------------> net_poll -----> viewers
//!  (demo,         depth | index | PNG | message | ...       one thread,     Python, browsers,
//!   replay)       8 slots that never move                   one mio::Poll   NVRs
//!                   |       ^      ^       ^                    |
//!                   +-------+------+-------+                    |  asks for what a viewer wants;
//!                   colormap, encode, pickle, by `render` <-----+  each form is made once a frame
//!                                                               |
//!                                       proto: machines that say what to read, send, close
//! ```
//!
//! Modules stand in the order in which a frame meets them. After start-up nothing on its way allocates;
//! `tests/no_alloc.rs` proves it. The order is also the law: a module uses those before it, and
//! `tests/layers.rs` reads the sources to see that it stays so.

// Values that all stages share: time, limits, and who is who.
pub mod camera;
pub mod clock;
pub mod limits;
pub mod peer;

// Who may have what.
pub mod access;

// 1. Depth comes in.
pub mod source;

// 2. Millimetres to palette index.
pub mod colormap;

// 3. Index or depth to bytes.
pub mod encode;

// 4. The preallocated frames.
pub mod ring;

// What is seen when nothing comes in.
pub mod placeholder;
pub mod text;

// How what comes in is turned, what is hidden from it, and what is written on it.
pub mod view;

// 5. What viewers say and are told.
pub mod proto;

// The chain of 2, 3 and 5 in a slot of 4.
pub mod render;

// What is counted.
pub mod metrics;

// Signals, notifications, inherited sockets, the log; what the process may use and has used.
pub mod service;

// 6. The loop.
pub mod net_poll;

// Files that appear whole or not at all.
pub mod files;

// Recordings of one kind into the other.
pub mod convert;

// Waiting for a sensor without the loop.
mod waiter;

// Recordings of what a source delivers, by a process of their own.
pub mod record;

// What stands in the way of a sensor.
pub mod probe;

// What an acceptance test wants to know of a machine and its sensor.
pub mod acceptance;

// Read by `main` alone.
pub mod config;
