//! Raw Kinect v2 frames to millimetres.
//!
//! A frame is nine exposures (sub-images): three phase steps at each of three modulation frequencies; a tenth, of the
//! ambient light, is not needed. Rows are decoded as they come, on one core, without allocating:
//!
//! ```text
//! row of 704 bytes ─ unpack, linearise ─ 3 exposures ─▶ complex vector per frequency ─▶ infrared
//!                                                          │ bilateral filter (3x3)
//!                       depth ◀─ edge filter (3x3) ◀─ unwrapped phase of 3 frequencies
//! ```
//!
//! A row costs what it adds: with the third exposure of a frequency its vectors are made and filtered, with the last
//! sub-image phases become depth. [`Decoder::finish`] has only the conversion of finished rows left.
//!
//! [`Kernel::Scalar`] is the reference: a plain reading of the formulas, everything at the end. The vector kernels share
//! one source, instantiated for AVX2, SSE2 and NEON; tests compare them with the reference.
//!
//! What limits it: with AVX2 the number of instructions (37 million a frame, half of them the bilateral filter's) and, for a
//! sixth of the time, memory (the wave tables are 5.3 MB). Figures are in the crate's README.
//!
//! Reciprocal square roots start from the processor's estimate, so the last bit of a depth may differ between makes. In
//! the dark rounding decides more: three equal exposures leave a vector whose direction is rounding's alone, and one of
//! exactly the least length is strong or weak. Whether such a pixel and those within two of it are off edges, and so have
//! a depth, may differ between kernels.
//!
//! Formulas and constants: libfreenect2 (commit fd64c5d), whose CPU pipeline this equals within 0.01 mm, except that
//! the X and Z tables are the right way up (see [`Tables::with_rays_upside_down`]).

use std::fmt;

// What a sensor says about itself.
mod params;
mod tables;

// The reference.
mod scalar;

// The same for vectors of any width: the schedule of rows, the arithmetic, the instruction sets.
mod pipeline;

mod kernels;

mod bilateral;

mod unwrapping;

mod edge;

mod simd;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod sse2;

pub use tables::{INTRINSICS_REPLY_MIN, Intrinsics, P0_REPLY_MIN, Tables, TablesError};

/// Pixels in a row.
pub const WIDTH: usize = 512;
/// Rows of an image.
pub const HEIGHT: usize = 424;
/// Pixels of an image; row-major, row 0 at the top.
pub const PIXELS: usize = WIDTH * HEIGHT;
/// Bytes of a row as sent: 512 codes of 11 bits.
pub const ROW_BYTES: usize = 704;
/// Bytes of one exposure.
pub const SUB_IMAGE_BYTES: usize = ROW_BYTES * HEIGHT;
/// Exposures in a raw frame; the last is not used.
pub const SUB_IMAGES: usize = 10;
/// Exposures that depth is made of.
pub const SUB_IMAGES_USED: usize = 9;
/// Bytes of a raw frame.
pub const FRAME_BYTES: usize = SUB_IMAGE_BYTES * SUB_IMAGES;
/// Distance after which the three phases together repeat, mm: no larger depth can be told.
pub const UNAMBIGUOUS_MM: u16 = 18_750;

/// The image row that a stored row belongs to, and the other way round. The sensor is read as two halves: the upper from
/// the top down, then the lower from the bottom up.
///
/// * `row`: 0 to 423. For a larger number the result means nothing.
#[must_use]
pub const fn image_row(row: usize) -> usize {
    if row < HEIGHT / 2 { row } else { (HEIGHT / 2 + HEIGHT - 1).wrapping_sub(row) }
}

/// What to make of a frame. The defaults are those of libfreenect2.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Least depth in mm that is kept (500). Applied to the measured value, before `offset_mm`.
    pub min_mm: u16,
    /// Largest depth in mm that is kept (4500; the Microsoft SDK delivers up to 8000), at most [`UNAMBIGUOUS_MM`].
    pub max_mm: u16,
    /// Smooth the complex vectors over 3x3 pixels, except across edges (true).
    pub bilateral: bool,
    /// Drop pixels that lie on depth edges (true).
    pub edge: bool,
    /// Subtracted from every depth in the `u16` output (0). Against the Microsoft SDK these depths read 17 to 25 mm long.
    pub offset_mm: i16,
    /// Make the infrared image as well (true); costs about a twenty-fifth.
    pub infrared: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { min_mm: 500, max_mm: 4500, bilateral: true, edge: true, offset_mm: 0, infrared: true }
    }
}

impl Settings {
    /// Whether the values make sense together.
    ///
    /// # Errors
    /// [`SettingsError::Range`] unless 1 <= `min_mm` <= `max_mm` <= [`UNAMBIGUOUS_MM`].
    pub fn check(&self) -> Result<(), SettingsError> {
        if self.min_mm == 0 || self.min_mm > self.max_mm || self.max_mm > UNAMBIGUOUS_MM {
            return Err(SettingsError::Range { min_mm: self.min_mm, max_mm: self.max_mm });
        }
        Ok(())
    }

    /// Millimetres as an integer: 0 outside the range, else rounded after the offset.
    fn round(&self, mm: f32) -> u16 {
        if mm >= f32::from(self.min_mm) && mm <= f32::from(self.max_mm) {
            (mm - f32::from(self.offset_mm) + 0.5) as u16
        } else {
            0
        }
    }
}

/// Which code does the arithmetic.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kernel {
    /// The reference, on any machine: slow, and all of it in `finish`.
    Scalar,
    /// x86-64 without more.
    Sse2,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// Every aarch64.
    Neon,
}

impl Kernel {
    /// All of them, slowest first.
    pub const ALL: [Kernel; 4] = [Kernel::Scalar, Kernel::Sse2, Kernel::Avx2, Kernel::Neon];

    /// The fastest that this machine has.
    #[must_use]
    pub fn best() -> Self {
        let mut best = Kernel::Scalar;
        for kernel in Self::ALL {
            if kernel.is_available() {
                best = kernel;
            }
        }
        best
    }

    /// Whether this machine has it.
    #[must_use]
    pub fn is_available(self) -> bool {
        self == Kernel::Scalar || Instructions::of(self).is_some()
    }
}

/// Turns the rows of one sensor's frames into depth. Holds about 20 MB, all of it allocated in [`Decoder::new`].
pub struct Decoder {
    settings: Settings,
    /// Takes the place of `settings` at the next `begin`.
    wanted: Settings,
    kernel: Kernel,
    engine: Engine,
    /// The row expected next, counted through the nine sub-images.
    next: usize,
}

enum Engine {
    Scalar(Box<scalar::Frame>),
    Vector(Box<pipeline::Pipeline>, Instructions),
}

impl Decoder {
    /// A decoder with the fastest kernel of this machine, ready for the first row.
    ///
    /// # Errors
    /// See [`Settings::check`].
    pub fn new(tables: &Tables, settings: Settings) -> Result<Self, SettingsError> {
        Self::with_kernel(tables, settings, Kernel::best())
    }

    /// A decoder with a kernel of the caller's choice.
    ///
    /// # Errors
    /// [`SettingsError::Kernel`] if this machine lacks it; see also [`Settings::check`].
    pub fn with_kernel(tables: &Tables, settings: Settings, kernel: Kernel) -> Result<Self, SettingsError> {
        settings.check()?;
        let engine = match (kernel, Instructions::of(kernel)) {
            (Kernel::Scalar, _) => Engine::Scalar(Box::new(scalar::Frame::new(tables))),
            (_, Some(instructions)) => {
                Engine::Vector(Box::new(pipeline::Pipeline::new(tables)), instructions)
            }
            (_, None) => return Err(SettingsError::Kernel(kernel)),
        };
        Ok(Decoder { settings, wanted: settings, kernel, engine, next: 0 })
    }

    /// The settings of the frame being decoded.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Changes the settings from the next [`Decoder::begin`] on.
    ///
    /// # Errors
    /// See [`Settings::check`]; nothing changes then.
    pub fn set(&mut self, settings: Settings) -> Result<(), SettingsError> {
        settings.check()?;
        self.wanted = settings;
        Ok(())
    }

    /// Starts a frame; what was fed of another is dropped.
    pub fn begin(&mut self) {
        self.settings = self.wanted;
        self.next = 0;
    }

    /// The sub-image and the row in it that [`Decoder::rows`] expects next; (9, 0) when the frame is complete.
    #[must_use]
    pub fn expected(&self) -> (usize, usize) {
        (self.next / HEIGHT, self.next % HEIGHT)
    }

    /// Decodes rows as far as can be with what has come so far.
    ///
    /// * `sub_image`: 0 to 8, in this order; rows of 9 are checked for length and ignored.
    /// * `first_row`: row of the first byte, as stored (see [`image_row`]), 0 to 423 in this order.
    /// * `bytes`: any number of whole rows of [`ROW_BYTES`] within the sub-image. How a frame is cut into slices makes no
    ///   difference to the result.
    ///
    /// Never allocates. The time is that of the rows' own arithmetic, whatever their content; the rows of
    /// sub-images 2, 5 and 8 cost the most.
    ///
    /// # Errors
    /// [`RowsError`]; nothing has changed then.
    pub fn rows(&mut self, sub_image: usize, first_row: usize, bytes: &[u8]) -> Result<(), RowsError> {
        if !bytes.len().is_multiple_of(ROW_BYTES) {
            return Err(RowsError::Length(bytes.len()));
        }
        if sub_image >= SUB_IMAGES {
            return Err(RowsError::SubImage(sub_image));
        }
        let count = bytes.len() / ROW_BYTES;
        if first_row > HEIGHT || count > HEIGHT - first_row {
            return Err(RowsError::TooMany { first_row, count });
        }
        if sub_image >= SUB_IMAGES_USED {
            return Ok(());
        }
        if sub_image * HEIGHT + first_row != self.next {
            let (sub_image, row) = self.expected();
            return Err(RowsError::Order { sub_image, row });
        }
        match &mut self.engine {
            Engine::Scalar(frame) => frame.rows(sub_image, first_row, bytes),
            Engine::Vector(pipeline, instructions) => {
                instructions.rows(pipeline, &self.settings, sub_image, first_row, bytes);
            }
        }
        self.next += count;
        Ok(())
    }

    /// Hands out the frame in millimetres.
    ///
    /// * `depth`: row-major 424 x 512, row 0 at the top; overwritten whole. 0 means no depth; other values lie within
    ///   `min_mm..=max_mm`, less `offset_mm`.
    /// * `infrared`: the same shape; 65 535 is saturated.
    ///
    /// May be called more than once before the next [`Decoder::begin`]. Never allocates.
    ///
    /// # Errors
    /// [`FinishError`]; the outputs are then untouched.
    pub fn finish(&mut self, depth: &mut [u16], infrared: Option<&mut [u16]>) -> Result<(), FinishError> {
        self.check_outputs(depth.len(), infrared.as_deref().map(<[u16]>::len))?;
        match &mut self.engine {
            Engine::Scalar(frame) => {
                frame.finish(&self.settings);
                let settings = &self.settings;
                copy(frame.depth(), depth, |mm| settings.round(mm));
                if let Some(infrared) = infrared {
                    copy(frame.infrared(), infrared, |value| (value + 0.5) as u16);
                }
            }
            Engine::Vector(pipeline, instructions) => {
                instructions.finish(pipeline, &self.settings, depth, infrared);
            }
        }
        Ok(())
    }

    /// Hands out the frame as the arithmetic left it: fractions of millimetres, no offset, and with the edge filter off
    /// no range. For comparisons and calibration.
    ///
    /// Shapes and errors are those of [`Decoder::finish`]; values are finite and not negative, 0 means
    /// no depth; infrared lies in 0..=65 535.
    ///
    /// # Errors
    /// [`FinishError`]; the outputs are then untouched.
    pub fn finish_f32(&mut self, depth: &mut [f32], infrared: Option<&mut [f32]>) -> Result<(), FinishError> {
        self.check_outputs(depth.len(), infrared.as_deref().map(<[f32]>::len))?;
        match &mut self.engine {
            Engine::Scalar(frame) => {
                frame.finish(&self.settings);
                copy(frame.depth(), depth, |mm| mm);
                if let Some(infrared) = infrared {
                    copy(frame.infrared(), infrared, |value| value);
                }
            }
            Engine::Vector(pipeline, _) => pipeline.finish_f32(depth, infrared),
        }
        Ok(())
    }

    /// A whole frame at once: `begin`, nine times `rows`, `finish`.
    ///
    /// * `frame`: nine or ten sub-images of [`SUB_IMAGE_BYTES`] one after the other.
    ///
    /// # Errors
    /// [`FinishError::FrameLength`] for any other length, and what [`Decoder::finish`] gives.
    pub fn decode(
        &mut self,
        frame: &[u8],
        depth: &mut [u16],
        infrared: Option<&mut [u16]>,
    ) -> Result<(), FinishError> {
        self.feed(frame)?;
        self.finish(depth, infrared)
    }

    /// A whole frame without its `finish`.
    ///
    /// * `frame`: as for [`Decoder::decode`].
    ///
    /// # Errors
    /// [`FinishError::FrameLength`]; nothing has changed then.
    pub fn feed(&mut self, frame: &[u8]) -> Result<(), FinishError> {
        if frame.len() != FRAME_BYTES && frame.len() != SUB_IMAGES_USED * SUB_IMAGE_BYTES {
            return Err(FinishError::FrameLength(frame.len()));
        }
        self.begin();
        for (sub_image, bytes) in frame.chunks_exact(SUB_IMAGE_BYTES).take(SUB_IMAGES_USED).enumerate() {
            let fed = self.rows(sub_image, 0, bytes);
            debug_assert_eq!(fed, Ok(()));
        }
        Ok(())
    }

    fn check_outputs(&self, depth: usize, infrared: Option<usize>) -> Result<(), FinishError> {
        if self.next != SUB_IMAGES_USED * HEIGHT {
            let (sub_image, row) = self.expected();
            return Err(FinishError::Incomplete { sub_image, row });
        }
        if depth != PIXELS || infrared.is_some_and(|length| length != PIXELS) {
            return Err(FinishError::Shape);
        }
        if infrared.is_some() && !self.settings.infrared {
            return Err(FinishError::NoInfrared);
        }
        Ok(())
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("settings", &self.settings)
            .field("kernel", &self.kernel)
            .field("expected", &self.expected())
            .finish_non_exhaustive()
    }
}

/// A set of vector instructions that this machine was found to have.
#[derive(Clone, Copy)]
enum Instructions {
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2),
    #[cfg(target_arch = "x86_64")]
    Sse2(sse2::Sse2),
    #[cfg(target_arch = "aarch64")]
    Neon(neon::Neon),
}

impl Instructions {
    fn of(kernel: Kernel) -> Option<Self> {
        match kernel {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => avx2::Avx2::detect().map(Self::Avx2),
            #[cfg(target_arch = "x86_64")]
            Kernel::Sse2 => Some(Self::Sse2(sse2::Sse2::detect())),
            #[cfg(target_arch = "aarch64")]
            Kernel::Neon => Some(Self::Neon(neon::Neon::detect())),
            _ => None,
        }
    }

    fn rows(
        self,
        pipeline: &mut pipeline::Pipeline,
        settings: &Settings,
        sub_image: usize,
        first_row: usize,
        bytes: &[u8],
    ) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(avx2) => avx2.rows(pipeline, settings, sub_image, first_row, bytes),
            #[cfg(target_arch = "x86_64")]
            Self::Sse2(sse2) => sse2.rows(pipeline, settings, sub_image, first_row, bytes),
            #[cfg(target_arch = "aarch64")]
            Self::Neon(neon) => neon.rows(pipeline, settings, sub_image, first_row, bytes),
            #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
            _ => {
                let _ = (pipeline, settings, sub_image, first_row, bytes);
            }
        }
    }

    fn finish(
        self,
        pipeline: &mut pipeline::Pipeline,
        settings: &Settings,
        depth: &mut [u16],
        infrared: Option<&mut [u16]>,
    ) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(avx2) => avx2.finish(pipeline, settings, depth, infrared),
            #[cfg(target_arch = "x86_64")]
            Self::Sse2(sse2) => sse2.finish(pipeline, settings, depth, infrared),
            #[cfg(target_arch = "aarch64")]
            Self::Neon(neon) => neon.finish(pipeline, settings, depth, infrared),
            #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
            _ => {
                let _ = (pipeline, settings, depth, infrared);
            }
        }
    }
}

/// Copies an image through `convert`.
fn copy<T>(from: &[f32], to: &mut [T], convert: impl Fn(f32) -> T) {
    for (from, to) in from.iter().zip(to) {
        *to = convert(*from);
    }
}

/// Settings that cannot be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SettingsError {
    /// Not 1 <= `min_mm` <= `max_mm` <= [`UNAMBIGUOUS_MM`].
    Range {
        /// As given.
        min_mm: u16,
        /// As given.
        max_mm: u16,
    },
    /// This machine lacks the kernel's instructions.
    Kernel(Kernel),
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range { min_mm, max_mm } => {
                write!(
                    f,
                    "depth range {min_mm} to {max_mm} mm: must lie within 1 to {UNAMBIGUOUS_MM}, least first"
                )
            }
            Self::Kernel(kernel) => write!(f, "this machine has no {kernel:?} instructions"),
        }
    }
}

impl std::error::Error for SettingsError {}

/// Rows that the decoder did not take. The driver's account of the frame is wrong: begin another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RowsError {
    /// This many bytes are not whole rows.
    Length(usize),
    /// There is no sub-image of this number.
    SubImage(usize),
    /// The rows do not fit in the sub-image.
    TooMany {
        /// As given.
        first_row: usize,
        /// Rows given.
        count: usize,
    },
    /// Not the rows that were expected.
    Order {
        /// The sub-image that is expected.
        sub_image: usize,
        /// The row that is expected.
        row: usize,
    },
}

impl fmt::Display for RowsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(length) => write!(f, "{length} bytes are not whole rows of {ROW_BYTES}"),
            Self::SubImage(number) => write!(f, "sub-image {number}: there are 0 to 9"),
            Self::TooMany { first_row, count } => {
                write!(f, "{count} rows from {first_row} on: there are {HEIGHT}")
            }
            Self::Order { sub_image, row } => {
                write!(f, "out of order: sub-image {sub_image}, row {row} is next")
            }
        }
    }
}

impl std::error::Error for RowsError {}

/// Why there is no picture.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FinishError {
    /// Rows are missing from here on: drop the frame.
    Incomplete {
        /// The sub-image that is expected.
        sub_image: usize,
        /// The row that is expected.
        row: usize,
    },
    /// A raw frame of this many bytes is not nine or ten sub-images.
    FrameLength(usize),
    /// An output is not 424 x 512.
    Shape,
    /// Infrared is asked for, but was switched off when the frame began.
    NoInfrared,
}

impl fmt::Display for FinishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete { sub_image, row } => {
                write!(f, "frame incomplete: sub-image {sub_image}, row {row} is missing")
            }
            Self::FrameLength(length) => write!(f, "raw frame of {length} bytes: {FRAME_BYTES} are needed"),
            Self::Shape => write!(f, "an output buffer is not {HEIGHT} x {WIDTH}"),
            Self::NoInfrared => write!(f, "infrared was switched off when the frame began"),
        }
    }
}

impl std::error::Error for FinishError {}

#[cfg(test)]
mod tests;
