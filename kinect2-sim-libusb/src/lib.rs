//! The simulated Kinect v2 under the name of libusb-1.0, for programs that are written for that library.
//!
//! ```text
//! program ── libusb_…(), callbacks ──▶ exports ──▶ bus ──▶ kinect2_sim::host
//!                                        │          └── what is in flight, what is done, who waits
//!                                        └── abi, descriptors: structures of C
//! ```
//!
//! The shared object has the name `libusb-1.0.so.0` inside; give it that name outside too, and the loader takes it:
//!
//! ```sh
//! ln -s "$PWD/target/debug/libkinect2_sim_libusb.so" /tmp/kinect/libusb-1.0.so.0
//! LD_LIBRARY_PATH=/tmp/kinect KINECT2_SIM_FRAMES=demo a-program
//! ```
//!
//! It has the functions that libfreenect2 calls, some more that cost nothing, and one device. It starts no thread: the
//! model moves when the program waits for events or for an answer.
//!
//! | variable | what | if it is not set |
//! |---|---|---|
//! | `KINECT2_SIM_FRAMES` | `demo`, or a folder of raw frames (`*.depth`) with `p0.bin` and `ir_params.json` | `demo` |
//! | `KINECT2_SIM_FAULTS` | words of [`kinect2_sim`]'s faults | none |
//! | `KINECT2_SIM_PACE` | `real` (or `realtime`), or `demand`: an isochronous transfer is done at once, as fast as the program takes them | `real` |
//! | `KINECT2_SIM_SERIAL` | serial number | `005697142447` |
//!
//! Where libusb leaves a choice, this takes the stricter one, so that a program that works here works there: callbacks are
//! made in `libusb_handle_events_timeout_completed` only, never in a synchronous call; the latter are refused in callbacks;
//! a transfer in flight is neither submitted again nor freed.

use std::sync::Arc;

use kinect2_sim::device::Options;
use kinect2_sim::host::Pace;

/// A session with a bus of its own, whatever the environment says: what `libusb_init` gives, for tests. It is given back to
/// [`exports::libusb_exit`].
#[must_use]
pub fn context(options: Options, pace: Pace) -> *mut exports::Context {
    exports::Context::on(Arc::new(bus::Bus::new(options, pace)))
}

// C's side: structures, then functions.
pub mod abi;
mod descriptors;
pub mod exports;

// The process: what the environment asks for, and what is on the bus.
mod bus;
mod settings;
