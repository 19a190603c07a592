//! The built-in synthetic car park: a picture that moves, without a sensor.
//!
//! A Kinect v2 is bolted [`SENSOR_HEIGHT`] metres above the lane of an underground car park and looks down across three
//! bays to a wall. Cars come along the lane from the left, park nose first, reverse out and leave to the right; two people
//! walk by. It is a scene with known truth: [`Demo::truth`] gives the exact depth, [`Demo::bays`] says which bay is
//! taken, and [`Demo::bay_outlines`] where the bays are in the picture.
//!
//! # Timetable
//!
//! It repeats every 60 s ([`LOOP`]). Times are seconds into the loop, from inclusive, to exclusive. "in" and "out" are a car
//! on its way, which counts as a free bay.
//!
//! | from | to | bay 0 (left) | bay 1 (middle) | bay 2 (right) | on foot |
//! | ---: | ---: | --- | --- | --- | --- |
//! |  0 |  2 | taken | free  | taken | |
//! |  2 |  8 | taken | in    | taken | |
//! |  8 | 15 | taken | taken | taken | 9 to 14: left to right, before the bays |
//! | 15 | 23 | out   | taken | taken | |
//! | 23 | 24 | free  | taken | taken | |
//! | 24 | 32 | free  | taken | out   | |
//! | 32 | 39 | free  | taken | free  | 32 to 39: right to left, into bay 0 |
//! | 39 | 45 | in    | taken | free  | |
//! | 45 | 46 | taken | taken | free  | |
//! | 46 | 54 | taken | out   | free  | |
//! | 54 | 60 | taken | free  | in    | |
//!
//! # What is imitated of the sensor, and what is not
//!
//! Depth is measured along the optical axis, in whole millimetres, 0 where there is no return; the lens is one real
//! sensor's ([`INTRINSICS`]). From the light that comes back (`Picture::echo`) follow the noise, which grows with
//! the square of the distance, and the gaps: dark paint and glass, grazing incidence, the corners of the picture, edges
//! (where the real sensor sees two depths in one pixel and its driver drops them). Each pixel is noisy by itself. Mixed
//! depths at edges that survive, reflections from several sides, and the neighbourly smoothing of the driver are not
//! imitated.

mod solid;

use std::f32::consts::FRAC_PI_2;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::{HEIGHT, PIXELS, WIDTH};
use solid::{Convex, Face, Picture, Pose, Rays, Spheroid, Sprite, Vec3};

/// The car park and the sensor that looks at it.
pub struct Demo {
    scene: Scene,
    seed: u64,
    /// [`DICE`] + [`WIDTH`] values of normal distribution, mean 0, deviation 1; rows of noise are cut from it.
    noise: Vec<f32>,
    /// Scratch of `render`: see [`Picture`].
    inverse: Vec<f32>,
    echo: Vec<f32>,
}

impl Demo {
    /// Builds the scene; all memory that [`Demo::render`] needs, about 8 MB, is taken here.
    ///
    /// `seed` chooses the noise; the scene is always the same.
    pub fn new(seed: u64) -> Self {
        Self {
            scene: Scene::new(),
            seed,
            noise: dice(seed),
            inverse: vec![0.0; PIXELS],
            echo: vec![0.0; PIXELS],
        }
    }

    /// Renders what the sensor delivers at a moment of the scene.
    ///
    /// * `frame`: chooses the noise, nothing else.
    /// * `time`: since the start of the scene, any length; the scene repeats after [`LOOP`].
    /// * `depth`: millimetres along the optical axis, row-major, 424 rows × 512 columns, 500 to 8000; 0 means no
    ///   measurement. Overwritten whole.
    ///
    /// Equal seed, frame and time give equal pictures, whatever was rendered before. Never allocates.
    ///
    /// # Panics
    /// If `depth` is not [`PIXELS`] long.
    pub fn render(&mut self, frame: u64, time: Duration, depth: &mut [u16]) {
        assert_eq!(depth.len(), PIXELS, "a depth buffer holds 512 × 424 pixels");
        self.scene.draw(time, &mut self.inverse, &mut self.echo);
        let key = mix(self.seed ^ mix(frame));
        for (y, out) in depth.chunks_exact_mut(WIDTH).enumerate() {
            let dice = mix(key.wrapping_add(y as u64));
            let above = row(&self.inverse, y.saturating_sub(1));
            let below = row(&self.inverse, (y + 1).min(HEIGHT - 1));
            let here = row(&self.inverse, y);
            let echo = row(&self.echo, y);
            let shift = self.cut(dice);
            let doubt = self.cut(dice >> 32);
            for x in 1..WIDTH - 1 {
                let bend_x = here[x - 1] + here[x + 1] - 2.0 * here[x];
                let bend_y = above[x] + below[x] - 2.0 * here[x];
                let bend = bend_x.abs().max(bend_y.abs());
                out[x] = measure(here[x], echo[x], bend, shift[x], doubt[x]);
            }
            for x in [0, WIDTH - 1] {
                let bend = (above[x] + below[x] - 2.0 * here[x]).abs();
                out[x] = measure(here[x], echo[x], bend, shift[x], doubt[x]);
            }
        }
    }

    /// The infrared picture that belongs to what was rendered last: the light of the sensor's own lamp that comes back, with
    /// some noise, in the numbers that a sensor's decoder gives for a surface as bright.
    ///
    /// * `frame`: chooses the noise, nothing else.
    /// * `infrared`: row-major, 424 rows × 512 columns; 65,535 is saturated. Overwritten whole.
    ///
    /// Never allocates.
    ///
    /// # Panics
    /// If `infrared` is not [`PIXELS`] long.
    pub fn infrared(&self, frame: u64, infrared: &mut [u16]) {
        assert_eq!(infrared.len(), PIXELS, "an infrared buffer holds 512 × 424 pixels");
        let key = mix(!self.seed ^ mix(frame));
        for (y, out) in infrared.chunks_exact_mut(WIDTH).enumerate() {
            let noise = self.cut(mix(key.wrapping_add(y as u64)));
            for ((out, echo), noise) in out.iter_mut().zip(row(&self.echo, y)).zip(noise) {
                // Saturating is meant.
                *out = (INFRARED_AT_1M * echo * (1.0 + INFRARED_NOISE * noise)) as u16;
            }
        }
    }

    /// The true depth at a moment of the scene, without noise and gaps.
    ///
    /// * `depth`: millimetres along the optical axis, row-major, 424 rows × 512 columns; 0.0 where nothing is within 12 m.
    ///   Overwritten whole.
    ///
    /// For tests and experiments: allocates.
    ///
    /// # Panics
    /// If `depth` is not [`PIXELS`] long.
    pub fn truth(&self, time: Duration, depth: &mut [f32]) {
        assert_eq!(depth.len(), PIXELS, "a depth buffer holds 512 × 424 pixels");
        let mut echo = vec![0.0; PIXELS];
        self.scene.draw(time, depth, &mut echo);
        for depth in depth {
            *depth = if *depth > HORIZON { 1000.0 / *depth } else { 0.0 };
        }
    }

    /// Which bays are taken: a car stands in it, from its stop until it moves off. See the timetable.
    pub fn bays(&self, time: Duration) -> [bool; BAYS] {
        let now = in_loop(time);
        CARS.map(|car| matches!(car.at(now), Some(Stage::Parked)))
    }

    /// Outlines of the bays on the floor, as corners in pixels (column, row; pixel centres are whole numbers): front left,
    /// front right, back right, back left as the sensor sees them. Corners of the outer bays lie outside the picture.
    ///
    /// The lens bends the edges between them a little.
    pub fn bay_outlines(&self) -> [[[f32; 2]; 4]; BAYS] {
        BAY_X.map(|middle| {
            let (left, right) = (middle - BAY_WIDTH / 2.0, middle + BAY_WIDTH / 2.0);
            [[left, BAY_FRONT], [right, BAY_FRONT], [right, WALL], [left, WALL]].map(|[x, y]| {
                let [x, y, z] = self.scene.world.point([x, y, 0.0]).map(f64::from);
                INTRINSICS.pixel(x / z, y / z).map(|v| v as f32)
            })
        })
    }

    /// A row of noise, chosen by the lower bits of `dice`.
    fn cut(&self, dice: u64) -> &[f32; WIDTH] {
        let start = dice as usize % DICE;
        self.noise[start..].first_chunk().expect("the table is a row longer than DICE")
    }
}

impl fmt::Debug for Demo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Demo").field("seed", &self.seed).finish_non_exhaustive()
    }
}

/// A pinhole with OpenCV's five-parameter distortion. Lengths in pixels, distortion without unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Intrinsics {
    /// Focal length along rows.
    pub fx: f64,
    /// Focal length along columns.
    pub fy: f64,
    /// Column of the optical axis.
    pub cx: f64,
    /// Row of the optical axis.
    pub cy: f64,
    /// Radial distortion, second power of the radius.
    pub k1: f64,
    /// Radial distortion, fourth power.
    pub k2: f64,
    /// Radial distortion, sixth power.
    pub k3: f64,
    /// Tangential distortion.
    pub p1: f64,
    /// Tangential distortion.
    pub p2: f64,
}

impl Intrinsics {
    /// The same in single precision, as sensors state theirs.
    pub fn single(&self) -> kinect2::depth::Intrinsics {
        let Self { fx, fy, cx, cy, k1, k2, k3, p1, p2 } = *self;
        let [fx, fy, cx, cy, k1, k2, k3, p1, p2] = [fx, fy, cx, cy, k1, k2, k3, p1, p2].map(|v| v as f32);
        kinect2::depth::Intrinsics { fx, fy, cx, cy, k1, k2, k3, p1, p2 }
    }

    /// The pixel (column, row) at which a point at `(x, y, 1)` (right, down, forward) is seen.
    pub fn pixel(&self, x: f64, y: f64) -> [f64; 2] {
        let (radial, [tx, ty]) = self.bend(x, y);
        [self.fx * (x * radial + tx) + self.cx, self.fy * (y * radial + ty) + self.cy]
    }

    /// The direction `(x, y, 1)` in which a pixel looks: the inverse of [`Intrinsics::pixel`], by fixed-point iteration.
    pub fn ray(&self, column: f64, row: f64) -> (f64, f64) {
        let bent = [(column - self.cx) / self.fx, (row - self.cy) / self.fy];
        let [mut x, mut y] = bent;
        for _ in 0..UNBEND_STEPS {
            let (radial, [tx, ty]) = self.bend(x, y);
            let last = [x, y];
            x = (bent[0] - tx) / radial;
            y = (bent[1] - ty) / radial;
            if (x - last[0]).abs() + (y - last[1]).abs() < UNBEND_ENOUGH {
                break;
            }
        }
        (x, y)
    }

    /// Radial factor and tangential shift. Source: OpenCV, "Camera Calibration and 3D Reconstruction".
    fn bend(&self, x: f64, y: f64) -> (f64, [f64; 2]) {
        let r2 = x * x + y * y;
        let radial = 1.0 + r2 * (self.k1 + r2 * (self.k2 + r2 * self.k3));
        let tx = 2.0 * self.p1 * x * y + self.p2 * (r2 + 2.0 * x * x);
        let ty = self.p1 * (r2 + 2.0 * y * y) + 2.0 * self.p2 * x * y;
        (radial, [tx, ty])
    }
}

/// What stands still, ready drawn, and what moves.
struct Scene {
    rays: Rays,
    world: Pose,
    /// The empty car park: see [`Picture`].
    inverse: Vec<f32>,
    echo: Vec<f32>,
    cars: [Car; BAYS],
    /// The cars in their bays: drawing them anew would be half of the work of a frame.
    parked: [Sprite; BAYS],
}

impl Scene {
    fn new() -> Self {
        let rays = Rays::new(INTRINSICS);
        let world = Pose::world(SENSOR_HEIGHT, SENSOR_TILT.to_radians());
        let (mut inverse, mut echo) = (vec![0.0; PIXELS], vec![0.0; PIXELS]);
        let mut picture = Picture { rays: &rays, inverse: &mut inverse, echo: &mut echo };

        let plane =
            |normal, through, reflectance| Convex::new(vec![Face::new(normal, through, reflectance)], None);
        picture.convex(&plane([0.0, 0.0, 1.0], [0.0; 3], 1.0), &world);
        for i in 0..PIXELS {
            let w = picture.inverse[i];
            if w > HORIZON {
                let [x, y, _] = world.inverse([rays.x[i] / w, rays.y[i] / w, 1.0 / w]);
                picture.echo[i] *= floor(x, y);
            }
        }
        picture.convex(&plane([0.0, -1.0, 0.0], [0.0, WALL, 0.0], CONCRETE), &world);
        picture.convex(&plane([-1.0, 0.0, 0.0], [SIDE_WALL, 0.0, 0.0], CONCRETE), &world);
        for edge in [BAY_X[1] - BAY_WIDTH / 2.0, BAY_X[1] + BAY_WIDTH / 2.0] {
            let pillar = Convex::cuboid([edge - 0.17, WALL - 0.6, 0.0], [edge + 0.17, WALL, 3.0], CONCRETE);
            picture.convex(&pillar, &world);
        }
        for middle in BAY_X {
            let stop = Convex::cuboid(
                [middle - 0.8, WALL - 0.32, 0.0],
                [middle + 0.8, WALL - 0.18, 0.12],
                PAINTED_LINE,
            );
            picture.convex(&stop, &world);
        }
        let cars = CARS.map(|car| Car::new(car.paint));
        let parked = [0, 1, 2].map(|bay| {
            let (mut inverse, mut echo) = (vec![0.0; PIXELS], vec![0.0; PIXELS]);
            let mut picture = Picture { rays: &rays, inverse: &mut inverse, echo: &mut echo };
            cars[bay].draw(&mut picture, &Stage::Parked.pose(BAY_X[bay], &world));
            Sprite::cut(&picture)
        });
        Self { rays, world, inverse, echo, cars, parked }
    }

    fn draw(&self, time: Duration, inverse: &mut [f32], echo: &mut [f32]) {
        inverse.copy_from_slice(&self.inverse);
        echo.copy_from_slice(&self.echo);
        let mut picture = Picture { rays: &self.rays, inverse, echo };
        let now = in_loop(time);
        for (bay, visit) in CARS.iter().enumerate() {
            match visit.at(now) {
                Some(Stage::Parked) => picture.sprite(&self.parked[bay]),
                Some(moving) => self.cars[bay].draw(&mut picture, &moving.pose(BAY_X[bay], &self.world)),
                None => {}
            }
        }
        for walk in &WALKS {
            walk.draw(now, &mut picture, &self.world);
        }
    }
}

/// When the car of a bay comes and goes, in seconds of the loop, and what it looks like.
#[derive(Clone, Copy)]
struct Visit {
    arrives: f32,
    leaves: f32,
    paint: f32,
}

impl Visit {
    fn at(&self, now: f32) -> Option<Stage> {
        // Seconds since the car came into sight, and since it moved off again.
        let here = (now - self.arrives).rem_euclid(LOOP_S);
        let away = (now - self.leaves).rem_euclid(LOOP_S);
        if here < DRIVE_IN {
            Some(Stage::In(here / DRIVE_IN))
        } else if away < DRIVE_OUT {
            Some(Stage::Out(away / DRIVE_OUT))
        } else if here < away {
            Some(Stage::Parked)
        } else {
            None
        }
    }
}

/// What a car is doing; the number is the share of it that is done, 0 to 1.
#[derive(Clone, Copy)]
enum Stage {
    In(f32),
    Parked,
    Out(f32),
}

impl Stage {
    /// The car of the bay whose middle is at `bay`: along the lane, a quarter circle, straight into the bay.
    fn pose(self, bay: f32, world: &Pose) -> Pose {
        let corner = bay - TURN;
        let (arc, straight) = (TURN * FRAC_PI_2, PARKED - LANE - TURN);
        // Metres beyond the beginning of the quarter circle; negative in the lane before it.
        let along = match self {
            Self::In(done) => {
                let (from, to) = (-(corner + OFFSTAGE), arc + straight);
                from + (to - from) * done * (2.0 - done)
            }
            Self::Parked => arc + straight,
            // Back on the same way, then on along the lane.
            Self::Out(done) if done < 0.5 => {
                let done = 2.0 * done;
                (arc + straight) * (1.0 - done * done * (3.0 - 2.0 * done))
            }
            Self::Out(done) => {
                let done = 2.0 * done - 1.0;
                return world.place([corner + (OFFSTAGE - corner) * done * done, LANE], 1.0, 0.0);
            }
        };
        if along < 0.0 {
            world.place([corner + along, LANE], 1.0, 0.0)
        } else if along < arc {
            let (sin, cos) = (along / TURN).sin_cos();
            world.place([corner + TURN * sin, LANE + TURN * (1.0 - cos)], cos, sin)
        } else {
            world.place([bay, LANE + TURN + along - arc], 0.0, 1.0)
        }
    }
}

/// A small hatchback, 3.7 m long: x forward, y to the left, z up, the origin on the floor below its middle.
struct Car {
    body: Convex,
    cabin: Convex,
    round: Vec<Spheroid>,
}

impl Car {
    /// `paint`: reflectance in the near infrared.
    fn new(paint: f32) -> Self {
        let mut body = vec![
            Face::new([1.0, 0.0, 0.12], [1.85, 0.0, 0.5], paint),
            Face::new([-1.0, 0.0, 0.10], [-1.85, 0.0, 0.5], paint),
            Face::new([0.0, 0.0, -1.0], [0.0, 0.0, 0.22], paint),
            // Bonnet and belt line.
            Face::new([0.16, 0.0, 1.0], [0.95, 0.0, 0.95], paint),
            Face::new([-0.03, 0.0, 1.0], [0.0, 0.0, 1.02], paint),
        ];
        let mut cabin = vec![
            Face::new([0.52, 0.0, 0.65], [0.85, 0.0, 0.9], GLASS),
            Face::new([-0.52, 0.0, 0.32], [-1.74, 0.0, 1.0], GLASS),
            Face::new([-0.45, 0.0, 0.90], [-1.54, 0.0, 1.32], paint),
            Face::new([0.0, 0.0, 1.0], [0.0, 0.0, 1.45], paint),
            Face::new([0.0, 0.0, -1.0], [0.0, 0.0, 0.8], paint),
            // The roof falls off to the front.
            Face::new([0.14, 0.0, 1.0], [-0.2, 0.0, 1.45], paint),
        ];
        let mut round = Vec::new();
        for side in [-1.0, 1.0] {
            body.push(Face::new([0.0, side, 0.08], [0.0, side * 0.82, 0.5], paint));
            body.push(Face::new([0.8, side, 0.0], [1.7, side * 0.80, 0.5], paint));
            body.push(Face::new([-0.8, side, 0.0], [-1.75, side * 0.80, 0.5], paint));
            cabin.push(Face::new([0.0, side, 0.3], [0.0, side * 0.80, 1.0], SIDE_GLASS));
            cabin.push(Face::new([0.0, side * 0.75, 0.66], [0.0, side * 0.71, 1.27], paint));
            for axle in [-1.15, 1.15] {
                round.push(Spheroid {
                    centre: [axle, side * 0.77, 0.3],
                    axis: [0.0, 1.0, 0.0],
                    half: 0.10,
                    radius: 0.30,
                    reflectance: RUBBER,
                });
            }
            round.push(Spheroid {
                centre: [0.62, side * 0.92, 1.05],
                axis: [0.0, 1.0, 0.0],
                half: 0.12,
                radius: 0.08,
                reflectance: paint,
            });
        }
        Self {
            body: Convex::new(body, Some([[-1.91, -0.87, 0.22], [1.91, 0.87, 1.08]])),
            cabin: Convex::new(cabin, Some([[-1.78, -0.82, 0.8], [0.94, 0.82, 1.45]])),
            round,
        }
    }

    fn draw(&self, picture: &mut Picture<'_>, pose: &Pose) {
        picture.convex(&self.body, pose);
        picture.convex(&self.cabin, pose);
        for part in &self.round {
            picture.spheroid(part, pose);
        }
    }
}

/// Somebody walks along a line of points at an even pace.
struct Walk {
    /// Seconds of the loop at which they are at the first and at the last point.
    from: f32,
    to: f32,
    /// Metres in the car park, x and y.
    path: &'static [[f32; 2]],
    /// Height of the person in metres.
    height: f32,
}

impl Walk {
    fn draw(&self, now: f32, picture: &mut Picture<'_>, world: &Pose) {
        if now < self.from || now >= self.to {
            return;
        }
        let length = |[a, b]: [[f32; 2]; 2]| ((b[0] - a[0]).powi(2) + (b[1] - a[1]).powi(2)).sqrt();
        let legs = || self.path.windows(2).map(|leg| [leg[0], leg[1]]);
        let total: f32 = legs().map(length).sum();
        let walked = total * (now - self.from) / (self.to - self.from);
        let mut left = walked;
        for leg in legs() {
            let long = length(leg);
            if left <= long {
                let (cos, sin) = ((leg[1][0] - leg[0][0]) / long, (leg[1][1] - leg[0][1]) / long);
                let at = [leg[0][0] + cos * left, leg[0][1] + sin * left];
                let swing = STRIDE * (walked / STEP * std::f32::consts::PI).sin();
                return self.body(picture, &world.place(at, cos, sin), swing);
            }
            left -= long;
        }
    }

    /// * `swing`: angle of the legs from upright, in radians.
    fn body(&self, picture: &mut Picture<'_>, pose: &Pose, swing: f32) {
        let h = self.height / 1.75;
        let mut part = |centre: Vec3, axis: Vec3, half: f32, radius: f32, reflectance: f32| {
            let centre = centre.map(|v| v * h);
            picture
                .spheroid(&Spheroid { centre, axis, half: half * h, radius: radius * h, reflectance }, pose);
        };
        let up = [0.0, 0.0, 1.0];
        part([0.03, 0.0, 1.63], up, 0.125, 0.09, SKIN);
        part([0.0, 0.0, 1.14], up, 0.38, 0.155, CLOTH);
        part([0.0, 0.0, 1.39], [0.0, 1.0, 0.0], 0.27, 0.095, CLOTH);
        for side in [-1.0, 1.0] {
            // Legs hang from the hip, arms from the shoulder and against them.
            let (sin, cos) = (side * swing).sin_cos();
            part([-sin * 0.44, side * 0.10, 0.90 - cos * 0.44], [sin, 0.0, cos], 0.47, 0.095, CLOTH);
            part([sin * 0.30, side * 0.27, 1.42 - cos * 0.30], [-sin, 0.0, cos], 0.36, 0.06, CLOTH);
        }
    }
}

/// Reflectance of the floor at a place: concrete, painted lines beside the bays, stains.
fn floor(x: f32, y: f32) -> f32 {
    let beside = BAY_X.iter().any(|bay| ((x - bay).abs() - BAY_WIDTH / 2.0).abs() < LINE / 2.0);
    if beside && y > BAY_FRONT {
        return PAINTED_LINE;
    }
    let stained = STAINS.iter().any(|[sx, sy, r]| (x - sx).powi(2) + (y - sy).powi(2) < r * r);
    if stained { OIL } else { FLOOR }
}

/// One pixel as the sensor gives it.
///
/// * `w`: inverse depth, 1/m.
/// * `echo`: see [`Picture::echo`].
/// * `bend`: how far the neighbours are from lying on a plane with it, in 1/m.
/// * `shift`, `doubt`: independent, normally distributed.
#[inline(always)]
fn measure(w: f32, echo: f32, bend: f32, shift: f32, doubt: f32) -> u16 {
    let sigma = (NOISE_FLOOR + NOISE_ECHO / (echo + ECHO_LEAST)).min(NOISE_MOST);
    let mm = 1000.0 / (w + HORIZON_LEAST) + sigma * shift;
    let wobble = 1.0 + DOUBT * doubt;
    // Without short cuts, so that several pixels are worked on at once.
    let seen = (echo > ECHO_NEEDED * wobble) & (bend < BEND_ALLOWED * w * wobble.max(0.2));
    let valid = seen & RANGE.contains(&mm);
    let mm = if valid { mm } else { 0.0 };
    // Adding 2²³ leaves the rounded number in the low bits: the compiler makes nothing of it but an addition, where a cast
    // costs three comparisons.
    (mm + 8_388_608.0).to_bits() as u16
}

fn row(picture: &[f32], y: usize) -> &[f32; WIDTH] {
    picture[y * WIDTH..].first_chunk().expect("a picture has HEIGHT whole rows")
}

/// Seconds of the loop.
fn in_loop(time: Duration) -> f32 {
    Duration::from_nanos((time.as_nanos() % LOOP.as_nanos()) as u64).as_secs_f32()
}

/// A table of normally distributed numbers: sums of twelve uniform ones, so that no library function decides a bit of it.
fn dice(seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut table: Vec<f32> = (0..DICE)
        .map(|_| {
            let sum: u64 = (0..3)
                .map(|_| {
                    state = state.wrapping_add(1);
                    let bits = mix(state);
                    (0..4).map(|k| bits >> (16 * k) & 0xffff).sum::<u64>()
                })
                .sum();
            // Twelve uniform numbers over 0..65536: the sum has mean 12 × 32767.5 and deviation 65536.
            (sum as f32 - 393_210.0) / 65_536.0
        })
        .collect();
    // The end repeats the beginning, so that a row may start anywhere.
    table.extend_from_within(..WIDTH);
    table
}

/// Scatters 64 bits: the finishing steps of SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number
/// Generators", 2014).
fn mix(v: u64) -> u64 {
    let v = v.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let v = (v ^ v >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let v = (v ^ v >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    v ^ v >> 31
}

/// Parking bays in the picture, numbered from the left.
pub const BAYS: usize = 3;

/// The scene repeats after this time.
pub const LOOP: Duration = Duration::from_secs(60);
const LOOP_S: f32 = 60.0;

/// The lens: factory values of one real Kinect v2, "Kinect 2 number 2" in issue 2 of ashafaei/ubc3v, which quotes issue 41
/// of OpenKinect/libfreenect2.
pub const INTRINSICS: Intrinsics = Intrinsics {
    fx: 365.402802,
    fy: 365.402802,
    cx: 260.925507,
    cy: 205.594604,
    k1: 0.095575,
    k2: -0.277055,
    k3: 0.097539,
    p1: 0.0,
    p2: 0.0,
};

/// Infrared of a white surface at one metre, seen at a right angle in the middle of the picture. Chosen so that a wall is as
/// bright as the decoder makes the one of `kinect2_sim::depth::Scene`.
pub(super) const INFRARED_AT_1M: f32 = 10_200.0;
/// Deviation of infrared, as a share of it.
const INFRARED_NOISE: f32 = 0.01;

/// Height of the sensor above the floor, in metres.
pub const SENSOR_HEIGHT: f32 = 2.6;

/// By how much the sensor looks down, in degrees.
pub const SENSOR_TILT: f32 = 44.0;

/// Rounds of [`Intrinsics::ray`] at most, and the change that ends them sooner: two thousandths of a pixel in the corners,
/// where it converges slowest, are then left.
const UNBEND_STEPS: usize = 60;
const UNBEND_ENOUGH: f64 = 1e-6;

// The car park, in metres: x to the right of the sensor, y away from it. All ours.
const BAY_X: [f32; BAYS] = [-2.3, 0.0, 2.3];
const BAY_WIDTH: f32 = 2.3;
const BAY_FRONT: f32 = 1.4;
const LINE: f32 = 0.1;
const WALL: f32 = 5.5;
const SIDE_WALL: f32 = 3.6;
/// Middle of a parked car.
const PARKED: f32 = 3.35;
/// Middle of a car in the lane.
const LANE: f32 = 0.1;
/// Radius of the turn into a bay.
const TURN: f32 = 2.8;
/// How far to each side a car is out of sight.
const OFFSTAGE: f32 = 7.5;
/// Stains: x, y, radius.
const STAINS: [[f32; 3]; 3] = [[0.1, 2.6, 0.28], [-0.2, 2.95, 0.16], [2.2, 3.1, 0.3]];

/// The timetable of the cars, by bay.
const CARS: [Visit; BAYS] = [
    Visit { arrives: 39.0, leaves: 15.0, paint: 0.45 },
    Visit { arrives: 2.0, leaves: 46.0, paint: 0.18 },
    Visit { arrives: 54.0, leaves: 24.0, paint: 0.60 },
];
const DRIVE_IN: f32 = 6.0;
const DRIVE_OUT: f32 = 8.0;

/// The timetable of the people.
const WALKS: [Walk; 2] = [
    Walk { from: 9.0, to: 14.0, path: &[[-2.6, 1.15], [2.6, 1.05]], height: 1.78 },
    Walk { from: 32.0, to: 39.0, path: &[[2.6, 1.0], [-0.6, 1.1], [-2.2, 2.6], [-4.4, 3.9]], height: 1.66 },
];
/// Metres from one step to the next, and radians that a leg swings out.
const STEP: f32 = 0.7;
const STRIDE: f32 = 0.42;

// Reflectances in the near infrared, without unit. Ours: only their order is taken from life (cloth and skin are bright in
// the near infrared, rubber and glass dark).
const FLOOR: f32 = 0.35;
const CONCRETE: f32 = 0.5;
const PAINTED_LINE: f32 = 0.8;
const OIL: f32 = 0.06;
const GLASS: f32 = 0.0175;
/// Less tinted; seats behind it send something back too.
const SIDE_GLASS: f32 = 0.060;
const RUBBER: f32 = 0.06;
const SKIN: f32 = 0.55;
const CLOTH: f32 = 0.5;

/// Numbers in the table of noise before it repeats; a power of two.
const DICE: usize = 1 << 16;

// The sensor: deviation in mm = NOISE_FLOOR + NOISE_ECHO / echo. The echo falls with the square of the distance. Chosen so
// that noise and gaps lie within what fixed Kinect v2 recordings show; a test compares them.
const NOISE_FLOOR: f32 = 0.7;
const NOISE_ECHO: f32 = 0.018;
const NOISE_MOST: f32 = 25.0;
/// Echo below which a pixel is dropped, and by what share the limit wavers from frame to frame, as does the next one.
const ECHO_NEEDED: f32 = 0.0026;
const DOUBT: f32 = 0.30;
/// Share by which inverse depth may depart from a plane before a pixel counts as an edge.
const BEND_ALLOWED: f32 = 0.025;
/// Shortest and longest depth that the sensor gives, in mm: Microsoft's limits, which the fixed recordings show too.
const RANGE: RangeInclusive<f32> = 500.0..=8000.0;

/// Inverse of 12 m: what is farther away is nothing.
const HORIZON: f32 = 1.0 / 12.0;
/// Keep divisions finite where nothing is; far below what changes a digit elsewhere.
const HORIZON_LEAST: f32 = 1e-9;
const ECHO_LEAST: f32 = 1e-9;

#[cfg(test)]
mod tests;
