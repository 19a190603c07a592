//! What a sensor says about itself, turned into tables once: P0 phases and the lens.

use super::params::X_SCALE;
use super::{HEIGHT, PIXELS, WIDTH};
use std::fmt;

/// Length of the shortest reply to the P0 request (command 0x22, page 2) that holds all three tables.
pub const P0_REPLY_MIN: usize = 1_302_572;
/// Length of the shortest useful reply to the depth camera request (command 0x22, page 3).
pub const INTRINSICS_REPLY_MIN: usize = 40;

/// The depth camera's lens, in pixels of the 512x424 image as decoded. The centre of the top left pixel
/// is (0.5, 0.5).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Intrinsics {
    /// Focal lengths in pixels; about 365 for every sensor seen.
    pub fx: f32,
    /// See `fx`.
    pub fy: f32,
    /// Principal point in pixels: 253 to 262 and 200 to 212 seen.
    pub cx: f32,
    /// See `cx`.
    pub cy: f32,
    /// Radial distortion of r², r⁴ and r⁶; about 0.09, -0.27 and 0.09.
    pub k1: f32,
    /// See `k1`.
    pub k2: f32,
    /// See `k1`.
    pub k3: f32,
    /// Tangential distortion; 0 on every sensor seen.
    pub p1: f32,
    /// See `p1`.
    pub p2: f32,
}

impl Intrinsics {
    /// Reads the reply to the depth camera request (command 0x22, page 3).
    ///
    /// * `reply`: little-endian `f32`: fx, fy, unknown, cx, cy, k1, k2, p1, p2, k3, then bytes that are ignored.
    ///
    /// # Errors
    /// [`TablesError::IntrinsicsLength`] for a short reply, [`TablesError::Intrinsic`] for a value that no lens has.
    ///
    /// Source: libfreenect2 `protocol/response.h`, `DepthCameraParamsResponse`.
    pub fn from_reply(reply: &[u8]) -> Result<Self, TablesError> {
        if reply.len() < INTRINSICS_REPLY_MIN {
            return Err(TablesError::IntrinsicsLength(reply.len()));
        }
        let at = |offset: usize| {
            f32::from_le_bytes([reply[offset], reply[offset + 1], reply[offset + 2], reply[offset + 3]])
        };
        let lens = Intrinsics {
            fx: at(0),
            fy: at(4),
            cx: at(12),
            cy: at(16),
            k1: at(20),
            k2: at(24),
            p1: at(28),
            p2: at(32),
            k3: at(36),
        };
        lens.check()?;
        Ok(lens)
    }

    /// Whether the values can belong to a depth camera of this size.
    ///
    /// # Errors
    /// [`TablesError::Intrinsic`] names the first value that cannot: not finite, a focal length outside 50..=5000
    /// pixels, a principal point outside the image, a distortion beyond ±10.
    pub fn check(&self) -> Result<(), TablesError> {
        let fields = [
            ("fx", self.fx, 50.0, 5000.0),
            ("fy", self.fy, 50.0, 5000.0),
            ("cx", self.cx, 0.0, WIDTH as f32),
            ("cy", self.cy, 0.0, HEIGHT as f32),
            ("k1", self.k1, -10.0, 10.0),
            ("k2", self.k2, -10.0, 10.0),
            ("k3", self.k3, -10.0, 10.0),
            ("p1", self.p1, -10.0, 10.0),
            ("p2", self.p2, -10.0, 10.0),
        ];
        for (name, value, least, most) in fields {
            if !(least..=most).contains(&value) {
                return Err(TablesError::Intrinsic { name, bits: value.to_bits() });
            }
        }
        Ok(())
    }

    /// Where the lens images the ray with the tangents (`xu`, `yu`), in the same tangents.
    fn distort(&self, xu: f64, yu: f64) -> (f64, f64) {
        let (k1, k2, k3) = (f64::from(self.k1), f64::from(self.k2), f64::from(self.k3));
        let (p1, p2) = (f64::from(self.p1), f64::from(self.p2));
        let r2 = xu * xu + yu * yu;
        let radial = 1.0 + r2 * (k1 + r2 * (k2 + r2 * k3));
        (
            xu * radial + p2 * (r2 + 2.0 * xu * xu) + 2.0 * p1 * xu * yu,
            yu * radial + p1 * (r2 + 2.0 * yu * yu) + 2.0 * p2 * xu * yu,
        )
    }

    /// Tangents of the ray that the lens images at the pixel with centre (`x`, `y`), or nothing if the distortion
    /// cannot be inverted there. Newton's method, as libfreenect2 does it.
    fn undistort(&self, x: f64, y: f64) -> Option<(f64, f64)> {
        const STEPS: usize = 100;
        const SMALL_STEP: f64 = 16.0 * f64::EPSILON;
        // Rounding can keep a step just above the limit for ever: what counts is where the ray lands, here 1e-6 pixel.
        const SMALL_MISS: f64 = 1e-9;
        let (k1, k2, k3) = (f64::from(self.k1), f64::from(self.k2), f64::from(self.k3));
        let (p1, p2) = (f64::from(self.p1), f64::from(self.p2));
        let (xd, yd) =
            ((x - f64::from(self.cx)) / f64::from(self.fx), (y - f64::from(self.cy)) / f64::from(self.fy));
        let (mut xu, mut yu) = (xd, yd);
        for _ in 0..STEPS {
            let (x2, y2) = (xu * xu, yu * yu);
            let (r2, xy) = (x2 + y2, xu * yu);
            let (r4, r6) = (r2 * r2, r2 * r2 * r2);
            let j11 = k3 * r6
                + (k2 + 6.0 * k3 * x2) * r4
                + (k1 + 4.0 * k2 * x2) * r2
                + 2.0 * k1 * x2
                + 6.0 * p2 * xu
                + 2.0 * p1 * yu
                + 1.0;
            let j22 = k3 * r6
                + (k2 + 6.0 * k3 * y2) * r4
                + (k1 + 4.0 * k2 * y2) * r2
                + 2.0 * k1 * y2
                + 2.0 * p2 * xu
                + 6.0 * p1 * yu
                + 1.0;
            let j12 = 6.0 * k3 * xy * r4 + 4.0 * k2 * xy * r2 + 2.0 * k1 * xy + 2.0 * p1 * xu + 2.0 * p2 * yu;
            let (xe, ye) = self.distort(xu, yu);
            let (ex, ey) = (xe - xd, ye - yd);
            let determinant = j11 * j22 - j12 * j12;
            let (dx, dy) = ((j22 * ex - j12 * ey) / determinant, (j11 * ey - j12 * ex) / determinant);
            xu -= dx;
            yu -= dy;
            if dx.abs() <= SMALL_STEP && dy.abs() <= SMALL_STEP {
                break;
            }
        }
        let (xe, ye) = self.distort(xu, yu);
        let landed = (xe - xd).abs() <= SMALL_MISS && (ye - yd).abs() <= SMALL_MISS;
        // A root with a tangent above 4 is another branch of the polynomial: the real field of view ends below 1.
        (landed && xu.abs() < 4.0 && yu.abs() < 4.0).then_some((xu, yu))
    }
}

/// Everything about one sensor that decoding needs: three P0 phases and two ray values a pixel. Row-major
/// 424 x 512, row 0 at the top. Made once per sensor; about 3 MB.
#[derive(Clone, PartialEq)]
pub struct Tables {
    p0: [Vec<u16>; 3],
    x: Vec<f32>,
    z: Vec<f32>,
    intrinsics: Intrinsics,
}

impl Tables {
    /// Reads the reply to the P0 request (command 0x22, page 2) as the sensor gave it.
    ///
    /// * `reply`: at least [`P0_REPLY_MIN`] bytes; the tables lie at odd multiples of two, so at no useful alignment.
    ///   The header's meaning is not known and it is not looked at; real sensors send more bytes behind the tables.
    ///
    /// # Errors
    /// [`TablesError::P0Length`] for a short reply, and what [`Tables::from_parts`] gives.
    ///
    /// Source: libfreenect2 `protocol/response.h`, `P0TablesResponse`.
    pub fn from_p0_reply(reply: &[u8], intrinsics: &Intrinsics) -> Result<Self, TablesError> {
        /// Byte offsets of the three tables.
        const OFFSETS: [usize; 3] = [34, 434_214, 868_394];
        if reply.len() < P0_REPLY_MIN {
            return Err(TablesError::P0Length(reply.len()));
        }
        let p0 = OFFSETS.map(|offset| {
            reply[offset..offset + 2 * PIXELS]
                .chunks_exact(2)
                .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
                .collect()
        });
        Self::new(p0, intrinsics)
    }

    /// Builds the tables from P0 values that are already numbers.
    ///
    /// * `p0`: one table per frequency (80, 16, 120 MHz), each row-major 424 x 512, row 0 at the top; 65 536 would be
    ///   one turn.
    ///
    /// # Errors
    /// [`TablesError::P0TableLength`] names a table of another size, [`TablesError::Intrinsic`] a value that no lens
    /// has, [`TablesError::Distortion`] a pixel that no ray reaches.
    pub fn from_parts(p0: [&[u16]; 3], intrinsics: &Intrinsics) -> Result<Self, TablesError> {
        for (table, values) in p0.iter().enumerate() {
            if values.len() != PIXELS {
                return Err(TablesError::P0TableLength { table, length: values.len() });
            }
        }
        Self::new(p0.map(<[u16]>::to_vec), intrinsics)
    }

    fn new(p0: [Vec<u16>; 3], intrinsics: &Intrinsics) -> Result<Self, TablesError> {
        intrinsics.check()?;
        let mut x = Vec::with_capacity(PIXELS);
        let mut z = Vec::with_capacity(PIXELS);
        for row in 0..HEIGHT {
            for column in 0..WIDTH {
                let (xu, yu) = intrinsics
                    .undistort(column as f64 + 0.5, row as f64 + 0.5)
                    .ok_or(TablesError::Distortion { row, column })?;
                x.push((X_SCALE * xu) as f32);
                z.push((6250.0 / 3.0 / (1.0 + xu * xu + yu * yu).sqrt()) as f32);
            }
        }
        Ok(Tables { p0, x, z, intrinsics: *intrinsics })
    }

    /// The same tables with X and Z upside down: what libfreenect2's CPU and OpenGL pipelines do. **For comparison
    /// with them only**; depth is then wrong by up to 1.9 %, since the principal point is not in the middle row.
    #[must_use]
    pub fn with_rays_upside_down(mut self) -> Self {
        let flip = |table: &[f32]| table.chunks_exact(WIDTH).rev().flatten().copied().collect();
        self.x = flip(&self.x);
        self.z = flip(&self.z);
        self
    }

    /// The P0 table of frequency 0, 1 or 2, row-major.
    ///
    /// # Panics
    /// If `frequency` is above 2.
    #[must_use]
    pub fn p0(&self, frequency: usize) -> &[u16] {
        &self.p0[frequency]
    }

    /// 8192 times the horizontal tangent of each pixel's ray, row-major.
    #[must_use]
    pub fn x(&self) -> &[f32] {
        &self.x
    }

    /// Millimetres along the optical axis per unit of phase for each pixel's ray (2083.3 on the axis, less outwards),
    /// row-major; always above 0.
    #[must_use]
    pub fn z(&self) -> &[f32] {
        &self.z
    }

    /// The lens that the tables were made for.
    #[must_use]
    pub fn intrinsics(&self) -> &Intrinsics {
        &self.intrinsics
    }
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables").field("intrinsics", &self.intrinsics).finish_non_exhaustive()
    }
}

/// What is wrong with a sensor's description of itself. Ask the sensor again; if it repeats itself, report it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TablesError {
    /// The P0 reply has this many bytes, fewer than [`P0_REPLY_MIN`].
    P0Length(usize),
    /// A P0 table given as numbers has another length than 424 x 512.
    P0TableLength {
        /// 0, 1 or 2.
        table: usize,
        /// Values in it.
        length: usize,
    },
    /// The depth camera reply has this many bytes, fewer than [`INTRINSICS_REPLY_MIN`].
    IntrinsicsLength(usize),
    /// A lens parameter has a value that no lens of this camera can have.
    Intrinsic {
        /// `fx`, `fy`, `cx`, `cy`, `k1`, `k2`, `k3`, `p1` or `p2`.
        name: &'static str,
        /// What it was said to be, as [`f32::from_bits`] reads it: a NaN has to equal itself for who compares errors.
        bits: u32,
    },
    /// The distortion (k1, k2, k3, p1, p2) lets no ray reach this pixel.
    Distortion {
        /// 0 at the top.
        row: usize,
        /// 0 at the left.
        column: usize,
    },
}

impl fmt::Display for TablesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::P0Length(got) => {
                write!(f, "P0 reply: {got} bytes, at least {P0_REPLY_MIN} are needed for its three tables")
            }
            Self::P0TableLength { table, length } => {
                write!(f, "P0 table {table}: {length} values, 424 x 512 are needed")
            }
            Self::IntrinsicsLength(got) => {
                write!(
                    f,
                    "depth camera reply: {got} bytes, at least {INTRINSICS_REPLY_MIN} are needed up to k3"
                )
            }
            Self::Intrinsic { name, bits } => {
                write!(f, "lens parameter {name}: {} is not plausible", f32::from_bits(bits))
            }
            Self::Distortion { row, column } => write!(
                f,
                "lens parameters k1, k2, k3, p1, p2: the distortion has no inverse at row {row}, column {column}"
            ),
        }
    }
}

impl std::error::Error for TablesError {}
