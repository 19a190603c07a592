//! There and back again: frames of the model through the decoder.

use super::*;
use kinect2::depth::{Decoder, Intrinsics, Kernel, Settings};
use proptest::prelude::*;
use std::path::PathBuf;

const LENS: Intrinsics = Intrinsics {
    fx: 365.456,
    fy: 365.456,
    cx: 254.878,
    cy: 205.395,
    k1: 0.090_547_4,
    k2: -0.268_19,
    k3: 0.095_086_2,
    p1: 0.0,
    p2: 0.0,
};

const UNFILTERED: Settings = Settings {
    min_mm: 1,
    max_mm: UNAMBIGUOUS_MM,
    bilateral: false,
    edge: false,
    offset_mm: 0,
    infrared: true,
};

fn tables(seed: u64) -> Tables {
    let p0 = made_up_p0(seed);
    Tables::from_p0_reply(&p0_reply([&p0[0], &p0[1], &p0[2]]), &LENS).unwrap()
}

/// Shared files, or nothing, said aloud.
fn shared(name: &str) -> Option<Vec<u8>> {
    let data = std::env::var_os("DEPTHCAST_DATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let bytes = std::fs::read(data.join(name)).ok();
    if bytes.is_none() {
        eprintln!("SKIPPED: no {} (DEPTHCAST_DATA can name another folder)", data.join(name).display());
    }
    bytes
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|x| f32::from_le_bytes(x.try_into().unwrap())).collect()
}

/// A slanted wall from `near` mm at the top left on, with a box `step` mm before it.
fn wall(near: f32, slant: f32, step: f32) -> Vec<f32> {
    let z = |i: usize| {
        let (row, column) = (i / WIDTH, i % WIDTH);
        let wall = near + slant * (row + column) as f32;
        if (150..300).contains(&row) && (100..350).contains(&column) {
            (wall - step).max(300.0)
        } else {
            wall
        }
    };
    (0..PIXELS).map(z).collect()
}

fn decode(tables: &Tables, settings: Settings, kernel: Kernel, raw: &[u8]) -> (Vec<f32>, Vec<f32>) {
    let mut decoder = Decoder::with_kernel(tables, settings, kernel).unwrap();
    let (mut depth, mut infrared) = (vec![0.0; PIXELS], vec![0.0; PIXELS]);
    decoder.feed(raw).unwrap();
    decoder.finish_f32(&mut depth, Some(&mut infrared)).unwrap();
    (depth, infrared)
}

/// Mean and largest error of the pixels that have a depth (all but the outermost columns must), mm.
fn errors(depth: &[f32], truth: &[f32]) -> (f64, f64) {
    let (mut sum, mut largest, mut count) = (0.0, 0.0_f64, 0);
    for (i, (depth, truth)) in depth.iter().zip(truth).enumerate() {
        if matches!(i % WIDTH, 0 | 511) {
            assert_eq!(*depth, 0.0);
            continue;
        }
        assert!(*depth > 0.0, "no depth at {}, {}", i / WIDTH, i % WIDTH);
        let error = f64::from(depth - truth);
        sum += error;
        largest = largest.max(error.abs());
        count += 1;
    }
    (sum / f64::from(count), largest)
}

#[test]
fn nearest_codes() {
    for (measurement, expected) in [
        (0.0, 0),
        (-0.3, 0),
        (0.6, 1),
        (-0.6, 1025),
        (254.9, 255),
        (256.0, 256),
        (256.9, 256),
        (257.1, 257),
        (-256.0, 1280),
        (509.9, 383),
        (511.9, 384),
        (1020.0, 511),
        (8192.0, 896),
        (16_320.0, 1023),
        (-1e9, 2047),
        (f64::NAN, 0),
    ] {
        assert_eq!(code(measurement), expected, "{measurement}");
    }
    // Each code's own measurement gives the code.
    for expected in (0..1024).chain(1025..2048) {
        let m = expected & 1023;
        let value = if m < 256 { m } else { ((m & 127) + 128) << ((m >> 7) - 1) };
        let sign = if expected < 1024 { 1.0 } else { -1.0 };
        assert_eq!(code(sign * f64::from(value)), expected as u16);
    }
}

#[test]
fn there_and_back_without_noise() {
    let tables = tables(1);
    let mut model = Model::new(&tables);
    let mut raw = vec![0xff; FRAME_BYTES];
    // Amplitudes of 200 and more, and of about 25.
    // Far away the decoder's six-digit constants show: a millionth of the depth.
    for (scene, near, bias, most) in [
        (Scene { amplitude_at_1m: 3000.0, amplitude_max: 900.0, ..Scene::default() }, 600.0, 0.01, 1.0),
        (Scene { amplitude_at_1m: 1e9, amplitude_max: 25.0, ..Scene::default() }, 800.0, 0.01, 10.0),
        (Scene { amplitude_at_1m: 1e9, amplitude_max: 200.0, ..Scene::default() }, 9_000.0, 0.02, 2.0),
    ] {
        let truth = wall(near, 2.5, 0.0);
        model.frame(&truth, None, &scene, &mut raw).unwrap();
        let (depth, _) = decode(&tables, UNFILTERED, Kernel::best(), &raw);
        let (mean, largest) = errors(&depth, &truth);
        eprintln!("from {near} mm on: mean error {mean:.4} mm, largest {largest:.3} mm");
        assert!(mean.abs() < bias && largest < most, "{mean}, {largest} from {near} on");
    }
}

#[test]
fn amplitude_noise_saturation_and_edges() {
    let tables = tables(2);
    let mut model = Model::new(&tables);
    let (mut raw, mut again) = (vec![0; FRAME_BYTES], vec![1; FRAME_BYTES]);
    let truth = vec![2000.0; PIXELS];
    let middle = 205 * WIDTH + 254;

    let scene = Scene { amplitude_at_1m: 1200.0, ..Scene::default() };
    model.frame(&truth, Some(&vec![0.5; PIXELS]), &scene, &mut raw).unwrap();
    let (_, infrared) = decode(&tables, UNFILTERED, Kernel::best(), &raw);
    assert!((infrared[middle] - 16.0 * 150.0).abs() < 30.0, "{}", infrared[middle]);

    // Noise grows with less light, and is the same for the same seed only.
    let mut spread = [0.0; 2];
    for (light, spread) in [1200.0, 200.0].into_iter().zip(&mut spread) {
        let scene = Scene { amplitude_at_1m: light, edge_mixing: 0.0, ..Scene::real(7) };
        model.frame(&truth, None, &scene, &mut raw).unwrap();
        let (depth, _) = decode(&tables, UNFILTERED, Kernel::best(), &raw);
        let seen: Vec<f32> = depth.into_iter().filter(|z| (z - 2000.0).abs() < 300.0).collect();
        assert!(seen.len() > PIXELS * 9 / 10);
        *spread = (seen.iter().map(|z| (z - 2000.0).powi(2)).sum::<f32>() / seen.len() as f32).sqrt();
    }
    assert!(spread[1] > 1.5 * spread[0] && spread[0] > 0.5, "{spread:?}");
    model.frame_of_mm(&[2000; PIXELS], &Scene::real(3), &mut raw).unwrap();
    model.frame(&truth, None, &Scene::real(3), &mut again).unwrap();
    assert!(raw == again);
    model.frame(&truth, None, &Scene::real(4), &mut again).unwrap();
    assert!(raw != again);

    let bright = Scene { saturation: 299.0, ..scene };
    model.frame(&truth, None, &bright, &mut raw).unwrap();
    let (depth, infrared) = decode(&tables, UNFILTERED, Kernel::best(), &raw);
    assert_eq!((depth[middle], infrared[middle]), (0.0, 65_535.0));

    // Beside a step the light of both surfaces mixes; elsewhere nothing changes.
    let step = wall(2000.0, 0.0, 700.0);
    let mixing = Scene { edge_mixing: 0.8, ..scene };
    model.frame(&step, None, &mixing, &mut raw).unwrap();
    let (depth, _) = decode(&tables, UNFILTERED, Kernel::best(), &raw);
    let off = |row: usize, column: usize| (depth[row * WIDTH + column] - step[row * WIDTH + column]).abs();
    assert!(off(200, 100) > 5.0 && off(200, 99) > 20.0 && off(200, 103) < 2.0 && off(200, 96) < 2.0);
    // The edge filter is there to find these.
    let (cleaned, _) = decode(&tables, Settings::default(), Kernel::best(), &raw);
    let dropped = |column: usize| (160..290).filter(|row| cleaned[row * WIDTH + column] == 0.0).count();
    assert!(dropped(100) + dropped(99) > 100, "{} {}", dropped(100), dropped(99));
}

#[test]
fn senseless_depths_are_dark() {
    let tables = tables(3);
    let mut model = Model::new(&tables);
    let mut raw = vec![0xff; FRAME_BYTES];
    let odd = [f32::NAN, f32::INFINITY, -5.0, 0.0, 18_751.0, f32::MIN_POSITIVE];
    let depth: Vec<f32> = odd.iter().copied().cycle().take(PIXELS).collect();
    model.frame(&depth, None, &Scene { amplitude_max: 0.0, ..Scene::default() }, &mut raw).unwrap();
    assert!(raw.iter().all(|byte| *byte == 0));
    assert_eq!(model.frame(&depth[1..], None, &Scene::default(), &mut raw), Err(ShapeError));
    assert_eq!(model.frame(&depth, Some(&depth[1..]), &Scene::default(), &mut raw), Err(ShapeError));
    assert_eq!(model.frame(&depth, None, &Scene::default(), &mut raw[1..]), Err(ShapeError));
    assert_eq!(model.frame_of_mm(&[1; 4], &Scene::default(), &mut raw), Err(ShapeError));
}

#[test]
fn an_oracle_scene_there_and_back() {
    let (Some(reply), Some(p), Some(truth)) = (
        shared("oracle/p0tables_response.bin"),
        shared("oracle/ir_params.f32"),
        shared("oracle/00_clean.truth_z.f32"),
    ) else {
        return;
    };
    let (p, truth) = (floats(&p), floats(&truth));
    let lens = Intrinsics {
        fx: p[0],
        fy: p[1],
        cx: p[2],
        cy: p[3],
        k1: p[4],
        k2: p[5],
        k3: p[6],
        p1: p[7],
        p2: p[8],
    };
    let tables = Tables::from_p0_reply(&reply, &lens).unwrap();
    check_scene(&tables, &truth);
}

#[test]
fn the_tables_of_a_real_sensor() {
    let Some(bytes) = shared("raw/p0tables_3x424x512_u16le.bin") else {
        return;
    };
    let values: Vec<u16> = bytes.chunks_exact(2).map(|x| u16::from_le_bytes([x[0], x[1]])).collect();
    // The file was written bottom row first.
    let p0: Vec<Vec<u16>> =
        values.chunks(PIXELS).map(|t| t.chunks(WIDTH).rev().flatten().copied().collect()).collect();
    let tables = Tables::from_parts([&p0[0], &p0[1], &p0[2]], &LENS).unwrap();
    for (table, border) in p0.iter().zip(P0_BORDER) {
        let known = table.chunks(WIDTH).filter(|row| row[0] == border && row[WIDTH - 1] == border);
        assert!(2 * known.count() >= HEIGHT, "{border:#06x} is no border of this sensor");
    }
    check_scene(&tables, &wall(900.0, 2.0, 0.0));
}

fn check_scene(tables: &Tables, truth: &[f32]) {
    let mut model = Model::new(tables);
    let mut raw = vec![0; FRAME_BYTES];
    let scene = Scene { amplitude_at_1m: 3000.0, amplitude_max: 900.0, ..Scene::default() };
    model.frame(truth, None, &scene, &mut raw).unwrap();
    let (depth, _) = decode(tables, UNFILTERED, Kernel::best(), &raw);
    let (mut near, mut count, mut sum) = (0, 0, 0.0);
    for (i, (depth, truth)) in depth.iter().zip(truth).enumerate() {
        if *truth > 0.0 && *truth < 8000.0 && !matches!(i % WIDTH, 0 | 511) {
            count += 1;
            near += usize::from((depth - truth).abs() < 3.0);
            sum += f64::from(depth - truth);
        }
    }
    assert!(near * 1000 >= count * 999, "{near} of {count} within 3 mm");
    assert!((sum / count as f64).abs() < 0.05, "mean error {}", sum / count as f64);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    /// On frames that look like a sensor's, every kernel is the reference but where rounding decides. The wall is never
    /// saturated, the box before it may be.
    #[test]
    fn kernels_agree_on_scenes(
        seed in any::<u64>(), near in 1000.0_f32..3000.0, slant in 0.0_f32..5.0, step in 0.0_f32..1500.0,
        light in 100.0_f32..1400.0, bilateral in any::<bool>(), edge in any::<bool>(),
    ) {
        let tables = tables(seed);
        let mut model = Model::new(&tables);
        let mut raw = vec![0; FRAME_BYTES];
        let scene = Scene { amplitude_at_1m: light, saturation: 1500.0, ..Scene::real(seed) };
        model.frame(&wall(near, slant, step), None, &scene, &mut raw).unwrap();
        let settings = Settings { bilateral, edge, max_mm: 8000, ..Settings::default() };
        let (reference, _) = decode(&tables, settings, Kernel::Scalar, &raw);
        prop_assert!(reference.iter().filter(|z| **z > 0.0).count() > PIXELS / 20);
        let near_ties = near_ties(&raw);
        let tied = near_ties.iter().filter(|tied| **tied).count();
        for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.is_available()) {
            let (depth, _) = decode(&tables, settings, kernel, &raw);
            let differ = (0..PIXELS).filter(|i| (depth[*i] - reference[*i]).abs() > 0.01);
            let (at_ties, elsewhere): (Vec<_>, Vec<_>) = differ.partition(|i| near_ties[*i]);
            // Of 400 scenes with a light below 450, and both filters: 0 elsewhere, 1.4 % at ties.
            prop_assert!(elsewhere.len() <= 3, "{kernel:?}: pixels {elsewhere:?} differ");
            prop_assert!(at_ties.len() <= 3 + tied / 20, "{kernel:?}: {} of {tied} differ", at_ties.len());
        }
    }
}

/// Pixels within two (as far as the two filters look) of one where rounding decides. For exposures of whole numbers at
/// steps of 120° the square of a vector's length is 9/4 of a whole number.
///
/// * 0: equal exposures; rounding alone gives such a vector a direction, with which the bilateral filter finds edges.
/// * 81/4, at 16 MHz (the gain is 1): exactly the length from which a vector is strong.
fn near_ties(raw: &[u8]) -> Vec<bool> {
    let measurement = |sub_image: usize, row: usize, column: usize| {
        let row = &raw[sub_image * SUB_IMAGE_BYTES + image_row(row) * ROW_BYTES..][..ROW_BYTES];
        let bit = 11 * (column / 4 + WIDTH / 4 * (column % 4));
        let code =
            (bit..bit + 11).rev().fold(0, |code, at| 2 * code + i32::from(row[at / 8] >> (at % 8) & 1));
        // Larger ones than 255 are logarithmic: no small number, which is all that matters.
        if code < 1024 { code } else { 1024 - code }
    };
    let mut near = vec![false; PIXELS];
    for (row, column) in (0..HEIGHT).flat_map(|row| (0..WIDTH).map(move |column| (row, column))) {
        let tied = (0..3).any(|frequency| {
            let [a, b, c] = [0, 1, 2].map(|step| measurement(3 * frequency + step, row, column));
            let square = a * a + b * b + c * c - a * b - b * c - c * a;
            square == 0 && a != 0 || frequency == 1 && square == 9
        });
        if tied {
            for row in row.saturating_sub(2)..(row + 3).min(HEIGHT) {
                near[row * WIDTH..][column.saturating_sub(2)..(column + 3).min(WIDTH)].fill(true);
            }
        }
    }
    near
}
