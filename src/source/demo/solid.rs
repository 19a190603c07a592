//! Solids as the sensor sees them: convex bodies and spheroids, drawn into a picture of inverse depth.
//!
//! The sensor's frame has x to the right, y down and z forward, in metres; a ray is (x, y, 1), so that the distance along
//! it, counted in rays, is the depth. Drawn is its inverse 1/z: over a plane it is *linear* in the ray, so a plane costs
//! two multiplications a pixel and no division, nearer means greater, and nothing at all is 0.

use crate::source::{HEIGHT, PIXELS, WIDTH};

use super::Intrinsics;

/// A vector in metres, or without unit.
pub(super) type Vec3 = [f32; 3];

/// For each pixel, where it looks and how bright the sensor's own light is there. [`PIXELS`] values each.
pub(super) struct Rays {
    pub(super) x: Vec<f32>,
    pub(super) y: Vec<f32>,
    /// Share of the light at this angle, divided by the third power of the ray's length; see [`Picture::echo`].
    pub(super) light: Vec<f32>,
    lens: Intrinsics,
}

impl Rays {
    pub(super) fn new(lens: Intrinsics) -> Self {
        let mut rays = Self { x: vec![0.0; PIXELS], y: vec![0.0; PIXELS], light: vec![0.0; PIXELS], lens };
        for i in 0..PIXELS {
            let (x, y) = lens.ray((i % WIDTH) as f64, (i / WIDTH) as f64);
            let r2 = x * x + y * y;
            let vignette = 1.0 / (1.0 + (r2 / VIGNETTE).powi(4));
            rays.x[i] = x as f32;
            rays.y[i] = y as f32;
            rays.light[i] = (vignette / ((1.0 + r2) * (1.0 + r2).sqrt())) as f32;
        }
        rays
    }

    /// The pixels that a box can cover: every pixel when a corner is beside or behind the sensor.
    fn cover(&self, corners: &[Vec3; 8]) -> Rect {
        let mut lo = [f64::INFINITY; 2];
        let mut hi = [f64::NEG_INFINITY; 2];
        for (a, from) in corners.iter().enumerate() {
            if from[2] < NEAR {
                return Rect { x0: 0, x1: WIDTH, y0: 0, y1: HEIGHT };
            }
            // Corners whose numbers differ in one bit share an edge. The lens bends edges: follow each in steps.
            for b in [a ^ 1, a ^ 2, a ^ 4] {
                for step in 0..EDGE_STEPS {
                    let at = |axis| {
                        let share = step as f32 / EDGE_STEPS as f32;
                        f64::from(from[axis] + share * (corners[b][axis] - from[axis]))
                    };
                    let depth = at(2).max(f64::from(NEAR));
                    let pixel = self.lens.pixel(at(0) / depth, at(1) / depth);
                    for axis in 0..2 {
                        lo[axis] = lo[axis].min(pixel[axis]);
                        hi[axis] = hi[axis].max(pixel[axis]);
                    }
                }
            }
        }
        // A cast from float saturates, so far outside is still outside.
        let from = |v: f64, end: usize| ((v.floor() - EDGE_MARGIN) as usize).min(end);
        let to = |v: f64, end: usize| ((v.ceil() + 1.0 + EDGE_MARGIN) as usize).min(end);
        Rect { x0: from(lo[0], WIDTH), x1: to(hi[0], WIDTH), y0: from(lo[1], HEIGHT), y1: to(hi[1], HEIGHT) }
    }
}

/// Half-open.
struct Rect {
    x0: usize,
    x1: usize,
    y0: usize,
    y1: usize,
}

impl Rect {
    /// For each row, its pixels as a range of indices.
    fn rows(&self) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
        let (x0, x1) = (self.x0, self.x1.max(self.x0));
        (self.y0..self.y1).map(move |y| y * WIDTH + x0..y * WIDTH + x1)
    }
}

/// Where something stands: a turn and a shift into the sensor's frame.
#[derive(Clone, Copy)]
pub(super) struct Pose {
    /// The thing's own axes in the sensor's frame; orthonormal.
    axes: [Vec3; 3],
    /// The thing's own origin in the sensor's frame.
    origin: Vec3,
}

impl Pose {
    /// The car park (x to the right, y away from the sensor, z up, the origin on the floor below the sensor), seen from
    /// `height` metres looking down by `tilt` radians.
    pub(super) fn world(height: f32, tilt: f32) -> Self {
        let (sin, cos) = tilt.sin_cos();
        Self {
            axes: [[1.0, 0.0, 0.0], [0.0, -sin, cos], [0.0, -cos, -sin]],
            origin: [0.0, height * cos, height * sin],
        }
    }

    /// Something standing in `self` at `(x, y)`, facing `(cos, sin)` (its own x axis; its z axis is up).
    pub(super) fn place(&self, at: [f32; 2], cos: f32, sin: f32) -> Self {
        Self {
            axes: [self.turn([cos, sin, 0.0]), self.turn([-sin, cos, 0.0]), self.axes[2]],
            origin: self.point([at[0], at[1], 0.0]),
        }
    }

    pub(super) fn point(&self, p: Vec3) -> Vec3 {
        add(self.turn(p), self.origin)
    }

    /// The point at the sensor's frame `p`, in this frame.
    pub(super) fn inverse(&self, p: Vec3) -> Vec3 {
        let p = add(p, self.origin.map(|v| -v));
        self.axes.map(|axis| dot(axis, p))
    }

    fn turn(&self, d: Vec3) -> Vec3 {
        let [x, y, z] = self.axes;
        [0, 1, 2].map(|i| d[0] * x[i] + d[1] * y[i] + d[2] * z[i])
    }
}

/// A convex body: what lies behind all of its faces.
pub(super) struct Convex {
    faces: Vec<Face>,
    /// Two opposite corners of a box round it; none for a body without end.
    bounds: Option<[Vec3; 2]>,
}

impl Convex {
    pub(super) fn new(faces: Vec<Face>, bounds: Option<[Vec3; 2]>) -> Self {
        Self { faces, bounds }
    }

    /// A box between two opposite corners, `lo` below `hi` on each axis.
    pub(super) fn cuboid(lo: Vec3, hi: Vec3, reflectance: f32) -> Self {
        let faces = (0..3)
            .flat_map(|axis| {
                let mut normal = [0.0; 3];
                normal[axis] = 1.0;
                [Face::new(normal, hi, reflectance), Face::new(normal.map(|v: f32| -v), lo, reflectance)]
            })
            .collect();
        Self::new(faces, Some([lo, hi]))
    }
}

/// A plane and what it is made of.
pub(super) struct Face {
    /// Unit vector that points out of the body.
    normal: Vec3,
    /// Distance of the plane from the origin, along the normal.
    offset: f32,
    reflectance: f32,
}

impl Face {
    /// The plane through a point, seen from where `normal` (of any length but zero) points to.
    pub(super) fn new(normal: Vec3, through: Vec3, reflectance: f32) -> Self {
        let length = dot(normal, normal).sqrt();
        let normal = normal.map(|v| v / length);
        Self { normal, offset: dot(normal, through), reflectance }
    }
}

/// An ellipsoid of revolution.
pub(super) struct Spheroid {
    pub(super) centre: Vec3,
    /// Unit vector.
    pub(super) axis: Vec3,
    /// Half its length along the axis.
    pub(super) half: f32,
    /// Radius about the axis.
    pub(super) radius: f32,
    pub(super) reflectance: f32,
}

/// What the sensor would see without noise. [`PIXELS`] values each.
pub(super) struct Picture<'a> {
    pub(super) rays: &'a Rays,
    /// 1/z in 1/m; 0 where nothing is.
    pub(super) inverse: &'a mut [f32],
    /// How much of the sensor's light comes back: reflectance × cosine of incidence × vignette / range² (1/m²).
    ///
    /// Range is |ray|/w with w = 1/z. A plane at distance c from the sensor has the cosine c·w/|ray|; so the echo is
    /// reflectance · c · w³ · vignette / |ray|³, and the last two factors are [`Rays::light`].
    pub(super) echo: &'a mut [f32],
}

impl Picture<'_> {
    /// Draws a body where it is nearer than what is drawn already. Never allocates.
    pub(super) fn convex(&mut self, body: &Convex, pose: &Pose) {
        let area = match body.bounds {
            Some(bounds) => self.rays.cover(&corners(bounds, pose)),
            None => Rect { x0: 0, x1: WIDTH, y0: 0, y1: HEIGHT },
        };
        // Inverse depth at which a ray enters and leaves, and reflectance · c of the face that it enters by.
        let (mut enter, mut leave, mut strength) = ([0.0; WIDTH], [0.0; WIDTH], [0.0; WIDTH]);
        for row in area.rows() {
            let n = row.len();
            let (enter, leave, strength) = (&mut enter[..n], &mut leave[..n], &mut strength[..n]);
            enter.fill(f32::INFINITY);
            leave.fill(0.0);
            // Iterators and choices without branches: so the compiler works on several pixels at once.
            let rays = || self.rays.x[row.clone()].iter().zip(&self.rays.y[row.clone()]);
            for face in &body.faces {
                let normal = pose.turn(face.normal);
                let c = face.offset + dot(normal, pose.origin);
                let [a, b, d] = normal.map(|v| v / c);
                if c < 0.0 {
                    // The sensor is before this face: a ray is inside once it has passed all such faces.
                    let s = -c * face.reflectance;
                    for (((x, y), enter), strength) in rays().zip(&mut *enter).zip(&mut *strength) {
                        let w = a * x + b * y + d;
                        *strength = if w < *enter { s } else { *strength };
                        *enter = if w < *enter { w } else { *enter };
                    }
                } else {
                    // Behind it: a ray is outside once it has passed one of these.
                    for ((x, y), leave) in rays().zip(&mut *leave) {
                        let w = a * x + b * y + d;
                        *leave = if w > *leave { w } else { *leave };
                    }
                }
            }
            // Three passes: with all of it in one the compiler gives up, for too many slices might overlap.
            let (inverse, echo) = (&mut self.inverse[row.clone()], &mut self.echo[row.clone()]);
            for ((w, leave), inverse) in enter.iter_mut().zip(&*leave).zip(&*inverse) {
                // From within a body every face is behind, and nothing of it is seen.
                let seen = (*w > *leave) & (*w > *inverse) & (*w < f32::INFINITY);
                *w = if seen { *w } else { 0.0 };
            }
            let light = &self.rays.light[row];
            for (((echo, w), strength), light) in echo.iter_mut().zip(&*enter).zip(&*strength).zip(light) {
                let back = strength * w * w * w * light;
                *echo = if *w > 0.0 { back } else { *echo };
            }
            for (inverse, w) in inverse.iter_mut().zip(&*enter) {
                *inverse = if *w > *inverse { *w } else { *inverse };
            }
        }
    }

    /// Lays in what was drawn before, where it is nearer than what is drawn already. Never allocates.
    pub(super) fn sprite(&mut self, sprite: &Sprite) {
        let n = sprite.area.x1.saturating_sub(sprite.area.x0).max(1);
        let drawn = sprite.inverse.chunks_exact(n).zip(sprite.echo.chunks_exact(n));
        for (row, (new_inverse, new_echo)) in sprite.area.rows().zip(drawn) {
            let (inverse, echo) = (&mut self.inverse[row.clone()], &mut self.echo[row]);
            for ((echo, new_echo), (inverse, new)) in
                echo.iter_mut().zip(new_echo).zip(inverse.iter_mut().zip(new_inverse))
            {
                *echo = if new > inverse { *new_echo } else { *echo };
                *inverse = if new > inverse { *new } else { *inverse };
            }
        }
    }

    /// Draws a spheroid where it is nearer than what is drawn already. Never allocates.
    pub(super) fn spheroid(&mut self, body: &Spheroid, pose: &Pose) {
        let centre = pose.point(body.centre);
        let axis = pose.turn(body.axis);
        let reach = body.half.max(body.radius);
        let here = Pose { axes: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], origin: centre };
        let area = self.rays.cover(&corners([[-reach; 3], [reach; 3]], &here));

        // With Q = across·(1 - uuᵀ) + along·uuᵀ the surface is (p - c)ᵀ Q (p - c) = 1, and the nearer root for p = ray/w
        // is w = (B + √(B² - A·C)) / C.
        let across = 1.0 / (body.radius * body.radius);
        let along = 1.0 / (body.half * body.half) - across;
        let q = |v: Vec3| {
            let share = along * dot(axis, v);
            [0, 1, 2].map(|i| across * v[i] + share * axis[i])
        };
        let qc = q(centre);
        let c = dot(centre, qc) - 1.0;
        if c <= 0.0 {
            return;
        }
        for i in area.rows().flatten() {
            let ray = [self.rays.x[i], self.rays.y[i], 1.0];
            let qr = q(ray);
            let b = dot(ray, qc);
            let root2 = b * b - dot(ray, qr) * c;
            if root2 <= 0.0 || b <= 0.0 {
                continue;
            }
            let root = root2.sqrt();
            let w = (b + root) / c;
            if w > self.inverse[i] {
                let z = 1.0 / w;
                let normal = [0, 1, 2].map(|k| z * qr[k] - qc[k]);
                // The ray times the unit normal is root/|normal|; see `echo` for the rest.
                let facing = root / dot(normal, normal).sqrt();
                self.inverse[i] = w;
                self.echo[i] = body.reflectance * facing * w * w * self.rays.light[i];
            }
        }
    }
}

/// Something drawn once, to be laid into pictures as often as it stands in the same place.
pub(super) struct Sprite {
    area: Rect,
    inverse: Vec<f32>,
    echo: Vec<f32>,
}

impl Sprite {
    /// Cuts what is drawn from a picture that is otherwise empty.
    pub(super) fn cut(picture: &Picture<'_>) -> Self {
        let mut area = Rect { x0: WIDTH, x1: 0, y0: HEIGHT, y1: 0 };
        for i in (0..PIXELS).filter(|i| picture.inverse[*i] > 0.0) {
            let (x, y) = (i % WIDTH, i / WIDTH);
            area.x0 = area.x0.min(x);
            area.x1 = area.x1.max(x + 1);
            area.y0 = area.y0.min(y);
            area.y1 = area.y1.max(y + 1);
        }
        let cut = |from: &[f32]| area.rows().flat_map(|row| &from[row]).copied().collect();
        Self { inverse: cut(picture.inverse), echo: cut(picture.echo), area }
    }
}

fn corners([lo, hi]: [Vec3; 2], pose: &Pose) -> [Vec3; 8] {
    [0, 1, 2, 3, 4, 5, 6, 7].map(|n| {
        let pick = |axis: usize| if n >> axis & 1 == 0 { lo[axis] } else { hi[axis] };
        pose.point([pick(0), pick(1), pick(2)])
    })
}

fn add(a: Vec3, b: Vec3) -> Vec3 {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

fn dot(a: Vec3, b: Vec3) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// Depth in metres within which a corner is not projected any more.
const NEAR: f32 = 0.15;

/// Points at which an edge is projected. Ours.
const EDGE_STEPS: usize = 4;

/// Pixels added round a projected box, for what the lens bends between two such points. Ours.
const EDGE_MARGIN: f64 = 3.0;

/// Squared tangent of the angle at which half of the light is left. Ours: it leaves the corners of the picture dark, as they
/// are in the recordings.
const VIGNETTE: f64 = 0.58;
