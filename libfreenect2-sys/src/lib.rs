//! libfreenect2 through a C face of our own (`shim/lf2.h`, which says what each function does and which of the library's
//! faults it mends): one sensor, depth and infrared.
//!
//! Without the feature `link` there are only the structures and their layout tests, and nothing is compiled, looked for
//! or linked. With it the library is found through pkg-config (`freenect2`, 0.2 or later).
#![allow(unsafe_code, reason = "declarations of C functions")]
#![allow(non_camel_case_types, reason = "names are those of the header")]

#[cfg_attr(not(any(test, feature = "link")), allow(dead_code, reason = "for the build script and the tests"))]
mod layout;

use std::ffi::{c_char, c_void};

/// All is well.
pub const LF2_OK: i32 = 0;
/// No sensor, or none with this serial number.
pub const LF2_NOT_FOUND: i32 = 1;
/// There, but it cannot be opened.
pub const LF2_OPEN_FAILED: i32 = 2;
/// Opened, but it does not start.
pub const LF2_START_FAILED: i32 = 3;
/// The library was built without this pipeline.
pub const LF2_NO_PIPELINE: i32 = 4;
/// Another sensor was opened than asked for, and closed again.
pub const LF2_OTHER_SENSOR: i32 = 5;
/// A C++ exception.
pub const LF2_EXCEPTION: i32 = 6;
/// A null pointer, or called too early.
pub const LF2_MISUSE: i32 = 7;

/// Raw frames as they are.
pub const LF2_RAW: u32 = 1;
/// The library's decoder for the processor.
pub const LF2_CPU: u32 = 2;
/// The one for OpenGL.
pub const LF2_GL: u32 = 4;
/// The one for OpenCL.
pub const LF2_CL: u32 = 8;
/// The one for CUDA.
pub const LF2_CUDA: u32 = 16;
/// Pipelines that read the X and Z tables upside down.
pub const LF2_UPSIDE_DOWN: u32 = LF2_CPU | LF2_GL;

/// A frame of infrared.
pub const LF2_INFRARED: u32 = 2;
/// A frame of depth; in millimetres if it is of floats, where 0, negative and not finite mean none.
pub const LF2_DEPTH: u32 = 4;
/// Bytes as the sensor sent them.
pub const LF2_FORMAT_RAW: u32 = 1;
/// A float per pixel.
pub const LF2_FORMAT_FLOAT: u32 = 2;

/// Severity of a message: something failed.
pub const LF2_ERROR: u32 = 1;
/// Something is odd.
pub const LF2_WARNING: u32 = 2;
/// What happens.
pub const LF2_INFO: u32 = 3;
/// For developers of the library.
pub const LF2_DEBUG: u32 = 4;

/// The library and its USB thread.
#[repr(C)]
#[derive(Debug)]
pub struct lf2_context {
    _opaque: [u8; 0],
}

/// An open sensor.
#[repr(C)]
#[derive(Debug)]
pub struct lf2_device {
    _opaque: [u8; 0],
}

/// A frame, valid during the callback only.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct lf2_frame {
    /// [`LF2_INFRARED`] or [`LF2_DEPTH`].
    pub type_: u32,
    /// [`LF2_FORMAT_RAW`] or [`LF2_FORMAT_FLOAT`].
    pub format: u32,
    /// Pixels of a row; 1 for raw frames.
    pub width: u32,
    /// Rows, top to bottom; 1 for raw frames.
    pub height: u32,
    /// Of the sensor's clock, 0.125 ms; that of the next frame.
    pub timestamp: u32,
    /// Of the sensor; rises by one.
    pub sequence: u32,
    /// 0 if the frame is good.
    pub status: u32,
    /// Nothing.
    pub reserved: u32,
    /// The first byte.
    pub data: *const u8,
    /// How many there are.
    pub length: usize,
}

/// What a decoder of the library makes of frames.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct lf2_settings {
    /// Least depth in metres that is kept.
    pub min_depth_m: f32,
    /// Largest depth in metres that is kept.
    pub max_depth_m: f32,
    /// Smooth, except across edges: 0 or 1.
    pub bilateral: u32,
    /// Drop pixels on edges: 0 or 1.
    pub edge: u32,
}

/// The lens of the depth camera, in pixels.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct lf2_lens {
    /// Focal length.
    pub fx: f32,
    /// Focal length.
    pub fy: f32,
    /// Principal point.
    pub cx: f32,
    /// Principal point.
    pub cy: f32,
    /// Radial distortion of r².
    pub k1: f32,
    /// Radial distortion of r⁴.
    pub k2: f32,
    /// Radial distortion of r⁶.
    pub k3: f32,
    /// Tangential distortion.
    pub p1: f32,
    /// Tangential distortion.
    pub p2: f32,
}

/// Takes frames, in a thread of the library.
pub type lf2_on_frame = unsafe extern "C" fn(user: *mut c_void, frame: *const lf2_frame);
/// Takes messages, in any thread; the text is not terminated.
pub type lf2_on_log = unsafe extern "C" fn(level: u32, text: *const c_char, length: usize);

/// The version of the library that this was built for.
#[cfg(feature = "link")]
pub const VERSION: &str = env!("LIBFREENECT2_VERSION");

#[cfg(feature = "link")]
#[allow(missing_docs, reason = "shim/lf2.h has them")]
unsafe extern "C" {
    pub fn lf2_pipelines() -> u32;
    pub fn lf2_set_log(log: Option<lf2_on_log>) -> i32;
    pub fn lf2_context_new(context: *mut *mut lf2_context) -> i32;
    pub fn lf2_context_free(context: *mut lf2_context);
    pub fn lf2_open(
        context: *mut lf2_context,
        serial: *const c_char,
        pipeline: u32,
        device: *mut *mut lf2_device,
    ) -> i32;
    pub fn lf2_start(
        device: *mut lf2_device,
        settings: *const lf2_settings,
        call: lf2_on_frame,
        user: *mut c_void,
    ) -> i32;
    pub fn lf2_serial(device: *mut lf2_device, text: *mut c_char, room: usize) -> i32;
    pub fn lf2_firmware(device: *mut lf2_device, text: *mut c_char, room: usize) -> i32;
    pub fn lf2_get_lens(device: *mut lf2_device, lens: *mut lf2_lens) -> i32;
    pub fn lf2_p0(device: *mut lf2_device, data: *mut *const u8, length: *mut usize) -> i32;
    pub fn lf2_close(device: *mut lf2_device);
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    /// What this compiler makes of a structure, in the order of the statement.
    macro_rules! ours {
        ($type:ident: $($field:ident),*) => {
            (stringify!($type), vec![$((stringify!($field), offset_of!($type, $field))),*], size_of::<$type>())
        };
    }

    #[test]
    fn structures_lie_as_the_cpp_compiler_is_told() {
        let ours = [
            ours!(lf2_frame: type_, format, width, height, timestamp, sequence, status, reserved, data, length),
            ours!(lf2_settings: min_depth_m, max_depth_m, bilateral, edge),
            ours!(lf2_lens: fx, fy, cx, cy, k1, k2, k3, p1, p2),
        ];
        assert_eq!(ours.len(), layout::LAYOUTS.len());
        let at = |(bytes, pointers): (usize, usize)| bytes + pointers * size_of::<usize>();
        for ((name, fields, size), stated) in ours.iter().zip(&layout::LAYOUTS) {
            assert_eq!((*name, *size), (stated.name, at(stated.size)));
            let stated: Vec<_> = stated
                .fields
                .iter()
                .map(|(field, bytes, pointers)| (*field, at((*bytes, *pointers))))
                .collect();
            let fields: Vec<_> =
                fields.iter().map(|(field, at)| (field.trim_end_matches('_'), *at)).collect();
            assert_eq!(fields, stated, "{name}");
        }
    }

    #[test]
    fn the_statement_becomes_assertions_for_every_width() {
        let (narrow, wide) = (layout::assertions(4), layout::assertions(8));
        assert!(narrow.contains("static_assert(offsetof(lf2_frame, length) == 36"), "{narrow}");
        assert!(wide.contains("static_assert(offsetof(lf2_frame, length) == 40"), "{wide}");
        assert!(wide.contains("static_assert(sizeof(lf2_lens) == 36"), "{wide}");
    }

    #[cfg(feature = "link")]
    #[test]
    fn the_library_answers_without_a_sensor() {
        // SAFETY: it takes nothing and returns a number.
        let built = unsafe { lf2_pipelines() };
        assert_eq!(built & (LF2_RAW | LF2_CPU), LF2_RAW | LF2_CPU);
        // SAFETY: a null context and a null device are refused or ignored, by the header.
        unsafe {
            assert_eq!(
                lf2_open(std::ptr::null_mut(), std::ptr::null(), LF2_RAW, std::ptr::null_mut()),
                LF2_MISUSE
            );
            lf2_close(std::ptr::null_mut());
            lf2_context_free(std::ptr::null_mut());
        }
    }
}
