use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::*;
use crate::source::replay::{self, Replay};

#[test]
fn equal_seed_frame_and_time_give_equal_pictures_whatever_came_before() {
    let mut travelled = Demo::new(7);
    let mut picture = blank();
    for second in [50, 5, 11, 57, 20, 36] {
        travelled.render(second, Duration::from_secs(second), &mut picture);
    }
    let mut fresh = Demo::new(7);
    let mut again = blank();
    for (frame, millis) in [(3, 6_200), (4, 10_900), (u64::MAX, 33_300), (0, 57_700)] {
        let time = Duration::from_millis(millis);
        travelled.render(frame, time, &mut picture);
        fresh.render(frame, time, &mut again);
        assert!(picture == again, "frame {frame} at {time:?}");
        // The scene repeats; time may be any length.
        travelled.render(frame, time + LOOP * 100_000, &mut again);
        assert!(picture == again, "frame {frame} at {time:?}, many rounds later");
    }
}

#[test]
fn seed_and_frame_choose_the_noise_only() {
    let time = Duration::from_secs(1);
    let mut pictures = [blank(), blank(), blank()];
    Demo::new(1).render(0, time, &mut pictures[0]);
    Demo::new(1).render(1, time, &mut pictures[1]);
    Demo::new(2).render(0, time, &mut pictures[2]);
    for pair in [[0, 1], [0, 2], [1, 2]].map(|[a, b]| [&pictures[a], &pictures[b]]) {
        let spread = Spread::between(pair[0], pair[1]);
        assert!(spread.median >= 1.0 && spread.p90 <= 10.0, "{spread:?}");
    }
}

#[test]
#[should_panic(expected = "512 × 424")]
fn a_wrong_buffer_is_the_callers_mistake() {
    Demo::new(1).render(0, Duration::ZERO, &mut [0; 512]);
}

#[test]
fn rays_undo_the_lens() {
    for y in (0..HEIGHT).step_by(3).chain([HEIGHT - 1]) {
        for x in (0..WIDTH).step_by(3).chain([WIDTH - 1]) {
            let (column, row) = (x as f64, y as f64);
            let (ray_x, ray_y) = INTRINSICS.ray(column, row);
            let [back_x, back_y] = INTRINSICS.pixel(ray_x, ray_y);
            assert!(
                (back_x - column).abs() < 1e-3 && (back_y - row).abs() < 1e-3,
                "{x}, {y}: {back_x}, {back_y}"
            );
        }
    }
}

#[test]
fn the_floor_is_where_geometry_puts_it() {
    // Straight down the middle of the empty middle bay, between floor and picture edge.
    let demo = Demo::new(1);
    let mut truth = vec![0.0; PIXELS];
    demo.truth(Duration::from_secs(1), &mut truth);
    let tilt = f64::from(SENSOR_TILT).to_radians();
    for row in [250, 300, 350, 400] {
        let (_, y) = INTRINSICS.ray(261.0, f64::from(row));
        // The ray (0, y, 1) goes down by y·cos + sin a metre of depth.
        let expected = 1000.0 * f64::from(SENSOR_HEIGHT) / (y * tilt.cos() + tilt.sin());
        let found = f64::from(truth[row as usize * WIDTH + 261]);
        assert!((found - expected).abs() < 0.5, "row {row}: {found} mm instead of {expected}");
    }
}

#[test]
fn what_is_measured_is_the_truth_but_for_noise() {
    let mut demo = Demo::new(3);
    let (mut picture, mut truth) = (blank(), vec![0.0; PIXELS]);
    for second in 0..60 {
        let time = Duration::from_millis(second * 1000 + 300);
        demo.render(second, time, &mut picture);
        demo.truth(time, &mut truth);
        let (mut sum, mut squares, mut n) = (0.0, 0.0, 0.0);
        for (measured, truth) in picture.iter().zip(&truth).filter(|(measured, _)| **measured > 0) {
            assert!((500..=8000).contains(measured), "{measured} mm");
            let error = f64::from(f32::from(*measured) - truth);
            // The greatest deviation times the greatest of the dice, which are sums of twelve.
            assert!(error.abs() < f64::from(NOISE_MOST) * 6.0, "{measured} mm instead of {truth}");
            (sum, squares, n) = (sum + error, squares + error * error, n + 1.0);
        }
        let (mean, deviation) = (sum / n, (squares / n).sqrt());
        assert!(mean.abs() < 0.1 && (1.0..5.0).contains(&deviation), "{second} s: {mean}, {deviation} mm");
    }
}

#[test]
fn noise_grows_with_distance() {
    let mut demo = Demo::new(1);
    let (mut a, mut b) = (blank(), blank());
    demo.render(0, Duration::from_secs(1), &mut a);
    demo.render(1, Duration::from_secs(1), &mut b);
    // Floor of the free bay, right of the stains, in rows from near to far.
    let deviation = [360..420, 240..300, 150..200, 90..120].map(|rows| {
        let pixels = rows.flat_map(|row| row * WIDTH + 290..row * WIDTH + 320);
        let errors: Vec<f64> = pixels
            .filter(|i| a[*i] > 0 && b[*i] > 0)
            .map(|i| f64::from(a[i].abs_diff(b[i])).powi(2) / 2.0)
            .collect();
        (errors.iter().sum::<f64>() / errors.len() as f64).sqrt()
    });
    assert!(deviation.windows(2).all(|pair| pair[0] * 1.15 < pair[1]), "{deviation:?} mm");
    assert!(deviation[0] < 2.5 && deviation[3] < 12.0, "{deviation:?} mm");
}

#[test]
fn five_to_twenty_percent_are_invalid_at_every_moment() {
    let mut demo = Demo::new(1);
    let mut picture = blank();
    for tick in 0..240 {
        let time = Duration::from_millis(tick * 250);
        demo.render(tick, time, &mut picture);
        let share = share(&picture, |mm| mm == 0);
        assert!((0.05..=0.20).contains(&share), "{time:?}: {share}");
    }
}

#[test]
fn the_timetable_is_the_documented_one() {
    let demo = Demo::new(1);
    // From, to, and the bays then; as in the table at the head of the module.
    let table = [
        (0, 2, [true, false, true]),
        (2, 8, [true, false, true]),
        (8, 15, [true, true, true]),
        (15, 24, [false, true, true]),
        (24, 45, [false, true, false]),
        (45, 46, [true, true, false]),
        (46, 60, [true, false, false]),
    ];
    for (from, to, bays) in table {
        for tenth in from * 10..to * 10 {
            // The middle of each tenth, so that rounding does not decide.
            let time = Duration::from_millis(tenth * 100 + 50);
            assert_eq!(demo.bays(time), bays, "{time:?}");
        }
    }
}

#[test]
fn a_taken_bay_is_nearer_than_its_floor() {
    let demo = Demo::new(1);
    let mut truth = vec![0.0; PIXELS];
    let empty: Vec<f32> = demo.scene.inverse.iter().map(|w| 1000.0 / w).collect();
    for second in 0..60 {
        let time = Duration::from_millis(second * 1000 + 500);
        demo.truth(time, &mut truth);
        for (bay, taken) in demo.bays(time).into_iter().enumerate() {
            // Somebody or a car on its way may be before a free bay.
            let busy =
                [2..8, 9..15, 15..23, 24..32, 32..39, 39..45, 46..60].iter().any(|r| r.contains(&second));
            let outline = demo.bay_outlines()[bay];
            let mut nearer: Vec<f32> = (0..PIXELS)
                .filter(|i| inside(outline, [(i % WIDTH) as f32, (i / WIDTH) as f32]))
                .map(|i| empty[i] - truth[i])
                .collect();
            assert!(nearer.len() > 10_000, "bay {bay} has {} pixels", nearer.len());
            nearer.sort_by(f32::total_cmp);
            let median = nearer[nearer.len() / 2];
            if taken {
                assert!(median > 500.0, "{time:?}: bay {bay} is taken, but only {median} mm nearer");
            } else if !busy {
                assert!(median == 0.0, "{time:?}: bay {bay} is free, but {median} mm nearer");
            }
        }
    }
}

#[test]
fn cars_come_and_go_through_the_lane() {
    let demo = Demo::new(1);
    let (mut before, mut during) = (vec![0.0; PIXELS], vec![0.0; PIXELS]);
    demo.truth(Duration::from_secs(1), &mut before);
    // A roof passes below the sensor, far above the floor.
    for millis in [4_500, 20_500, 29_500, 51_000, 57_000] {
        demo.truth(Duration::from_millis(millis), &mut during);
        let nearer =
            before.iter().zip(&during).filter(|(before, during)| **before - **during > 700.0).count();
        assert!(nearer > 5_000, "{millis} ms: {nearer} pixels");
    }
}

#[test]
fn somebody_walks_by() {
    let demo = Demo::new(1);
    let (mut before, mut during) = (vec![0.0; PIXELS], vec![0.0; PIXELS]);
    // Nobody else moves from 8 to 15 s.
    demo.truth(Duration::from_millis(8_500), &mut before);
    let columns = [10_000, 11_500, 13_000].map(|millis| {
        demo.truth(Duration::from_millis(millis), &mut during);
        let body: Vec<usize> = (0..PIXELS).filter(|i| before[*i] - during[*i] > 200.0).collect();
        assert!((2_000..40_000).contains(&body.len()), "{millis} ms: {} pixels", body.len());
        body.iter().map(|i| i % WIDTH).sum::<usize>() / body.len()
    });
    assert!(columns[0] < columns[1] && columns[1] < columns[2], "{columns:?}");
    demo.truth(Duration::from_millis(14_500), &mut during);
    assert!(before == during);
}

/// What two pictures of the same scene may differ by: a band round the quiet pairs of the fixed recordings, which
/// `noise_is_that_of_fixed_recordings` measures when they are present.
///
/// | pairs of `table-fixed` (0.5 to 2 m) | least | most |
/// | --- | ---: | ---: |
/// | median difference, mm | 2 | 3 |
/// | first quartile, mm | 1 | 1 |
/// | switched between valid and invalid | 3.4 % | 8.5 % |
#[test]
fn noise_is_within_the_documented_band() {
    for (time, spread) in demo_spreads() {
        assert!((1.0..=3.0).contains(&spread.median), "{time:?}: {spread:?}");
        assert!((1.0..=2.0).contains(&spread.p25), "{time:?}: {spread:?}");
        assert!((2.0..=6.0).contains(&spread.p75) && spread.p90 <= 12.0, "{time:?}: {spread:?}");
        assert!((0.03..=0.085).contains(&spread.switched), "{time:?}: {spread:?}");
    }
}

#[test]
fn noise_is_that_of_fixed_recordings() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/depth");
    if !folder.is_dir() {
        eprintln!("SKIPPED: comparison with real recordings ({} is absent)", folder.display());
        return;
    }
    let recordings = Replay::open(&folder).expect("good recordings");
    let names = replay::list(&folder).expect("a folder");
    let fixed: Vec<u64> = (0..)
        .zip(names)
        .filter(|(_, name)| name.as_bytes().starts_with(b"table-fixed_"))
        .map(|(n, _)| n)
        .collect();
    let (mut a, mut b) = (blank(), blank());
    let real: Vec<Spread> = fixed
        .windows(2)
        .map(|pair| {
            recordings.copy_frame(pair[0], &mut a);
            recordings.copy_frame(pair[1], &mut b);
            Spread::between(&a, &b)
        })
        // The sensor was moved by 12 mm before and after one of them; that is not noise.
        .filter(|spread| spread.median < 10.0)
        .collect();
    assert!(real.len() >= 8, "{} quiet pairs", real.len());

    let range = |pick: fn(&Spread) -> f64| {
        real.iter().map(pick).fold((f64::INFINITY, 0.0_f64), |(lo, hi), v| (lo.min(v), hi.max(v)))
    };
    let (median, p75, switched) = (range(|s| s.median), range(|s| s.p75), range(|s| s.switched));
    for (time, spread) in demo_spreads() {
        let shown = format!("{time:?}: {spread:?}; recordings: {median:?}, {p75:?}, {switched:?}");
        // Values are whole millimetres: one either way is the resolution.
        assert!(spread.median >= median.0 - 1.0 && spread.median <= median.1, "{shown}");
        assert!(spread.p75 >= p75.0 - 1.0 && spread.p75 <= p75.1, "{shown}");
        assert!(spread.switched >= switched.0 - 0.005 && spread.switched <= switched.1, "{shown}");
    }
}

/// How two pictures of the same scene differ.
#[derive(Debug)]
struct Spread {
    /// Quartiles and last tenth of the absolute difference, in mm, where both are valid.
    p25: f64,
    median: f64,
    p75: f64,
    p90: f64,
    /// Share of the pixels that are valid in one of them only.
    switched: f64,
}

impl Spread {
    fn between(a: &[u16], b: &[u16]) -> Self {
        let mut differences: Vec<u16> =
            a.iter().zip(b).filter(|(a, b)| **a > 0 && **b > 0).map(|(a, b)| a.abs_diff(*b)).collect();
        differences.sort_unstable();
        let at = |share: f64| f64::from(differences[(differences.len() as f64 * share) as usize]);
        let switched = a.iter().zip(b).filter(|(a, b)| (**a == 0) != (**b == 0)).count();
        Self {
            p25: at(0.25),
            median: at(0.5),
            p75: at(0.75),
            p90: at(0.9),
            switched: switched as f64 / a.len() as f64,
        }
    }
}

/// The demo against itself at the same time, all round the loop.
fn demo_spreads() -> Vec<(Duration, Spread)> {
    let mut demo = Demo::new(1);
    let (mut a, mut b) = (blank(), blank());
    (0..60)
        .map(|second| {
            let time = Duration::from_millis(second * 1000 + 700);
            demo.render(2 * second, time, &mut a);
            demo.render(2 * second + 1, time, &mut b);
            (time, Spread::between(&a, &b))
        })
        .collect()
}

fn blank() -> Vec<u16> {
    vec![0; PIXELS]
}

fn share(picture: &[u16], which: impl Fn(u16) -> bool) -> f64 {
    picture.iter().filter(|mm| which(**mm)).count() as f64 / picture.len() as f64
}

/// Whether a point is on the same side of all edges of a convex outline.
fn inside(outline: [[f32; 2]; 4], [x, y]: [f32; 2]) -> bool {
    let side = |n: usize| {
        let ([ax, ay], [bx, by]) = (outline[n], outline[(n + 1) % 4]);
        (bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0.0
    };
    (1..4).all(|n| side(n) == side(0))
}
