//! The simulated Kinect v2 below an unmodified program, as a node of usbfs with a tree of sysfs beside it.
//!
//! ```text
//! program ── open, ioctl, close ──▶ interpose ──▶ simulator ──▶ bus ──▶ controller (kinect2_sim::host)
//!    ▲                                               │            └──▶ tree: sys/…, dev/bus/usb/…
//!    └──────── epoll: writable, error, hang-up ◀── readiness ◀── thread `kinect-sim`
//! ```
//!
//! ```sh
//! KINECT2_SIM_ROOT=/tmp/kinect KINECT2_SIM_FRAMES=demo LD_PRELOAD=target/debug/deps/libkinect2_sim_usbfs.so \
//!     depthcast run --source kinect --sysfs /tmp/kinect/sys --devfs /tmp/kinect/dev
//! ```
//!
//! It needs a program that calls a dynamic libc. Nothing happens unless the environment has `KINECT2_SIM_ROOT`.
//!
//! | variable | what | if it is not set |
//! |---|---|---|
//! | `KINECT2_SIM_ROOT` | folder for `sys`, `dev` and `cpu`, made if it is not there; one for each program at a time | no simulator |
//! | `KINECT2_SIM_PROGRAM` | simulate below the program with this file name only: for those started through `timeout`, `sh`, … | below any |
//! | `KINECT2_SIM_FRAMES` | `demo`, `noise` (random bytes, at once), or a folder of raw frames (`*.depth`) with `p0.bin` and `ir_params.json` | `demo` |
//! | `KINECT2_SIM_FAULTS` | words of [`kinect2_sim`]'s faults and those below | none |
//! | `KINECT2_SIM_PACE` | `real` or `demand`: an isochronous transfer is done at once, as fast as the program takes them | `real` |
//! | `KINECT2_SIM_SERIAL` | serial number | `005697142447` |
//!
//! Faults of this face:
//!
//! | word | what |
//! |---|---|
//! | `no-permission` | opening the node for writing fails with `EACCES` |
//! | `owned`, `owned=DRIVER` | interfaces 0 and 1 are bound to a driver (`usbfs`, that is another program): claiming fails with `EBUSY` |
//! | `usbfs-memory=N` | the module parameter `usbfs_memory_mb` (16; 0 is no limit): submitting beyond it fails with `ENOMEM` |
//! | `autosuspend` | `power/control` is `auto` |
//! | `slow-host=MS` | a host controller that takes so long whenever the kernel waits for it, as one that dies: `DISCARDURB`, `SETINTERFACE`, `CLEAR_HALT` and closing, with the device locked against other threads |
//!
//! The model's word `usb2` puts the sensor on bus 1.
//!
//! A file `faults` that is put into the folder (by a rename, and while there is none) is removed when its words are the
//! faults, and none of those before, which takes some 50 ms. Times in it count from then. `usb2` makes the sensor leave and
//! come back on the other bus; `owned` gets the interfaces that are free, and all of them when the sensor is plugged in
//! next, and so `autosuspend` shows. What is no fault is complained of at standard error, and changes nothing.
//!
//! A program that is started while another one has the same folder sees the same tree, and the interfaces as owned.
//!
//! `cpu` in the folder has three numbers, written about once a second: microseconds of processor time that the
//! simulator took in all, in its thread, and inside the program's `ioctl`s (where a kernel would take its own).
#![cfg_attr(test, allow(dead_code, reason = "the functions that replace libc's are left out of unit tests"))]

// What the program calls.
mod interpose;

// The process: lock, clock, thread, settings.
mod settings;
mod simulator;

// The kernel: nodes, claims, URBs.
mod bus;
mod layout;
mod readiness;
mod tree;

// Its two sides: the program's memory, and the model.
mod abi;
mod controller;
mod user;
