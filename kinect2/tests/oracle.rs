//! The decoder against libfreenect2's answers and against the truth, on synthetic frames kept beside the project.
//!
//! The frames lie in `../shared/data/oracle` from the workspace's root, or below the folder that `DEPTHCAST_DATA` names;
//! where they are missing the tests say so and pass.

use kinect2::depth::{Decoder, FRAME_BYTES, HEIGHT, Intrinsics, Kernel, PIXELS, Settings, Tables, WIDTH};
use std::path::PathBuf;

const FRAMES: [&str; 4] = ["00_clean", "01_scene", "02_saturated", "05_mixed_edges"];
/// libfreenect2's own rounding is of this size, mm.
const TOLERANCE: f32 = 0.01;
/// Pixels of a frame that may be valid in one decoder only: those that sit on a threshold.
const FLIPS: usize = 5;

struct Oracle(PathBuf);

impl Oracle {
    fn open() -> Option<Self> {
        let data = std::env::var_os("DEPTHCAST_DATA").map_or_else(
            || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
            PathBuf::from,
        );
        let folder = data.join("oracle");
        if folder.is_dir() {
            return Some(Oracle(folder));
        }
        eprintln!(
            "SKIPPED: no oracle frames in {} (DEPTHCAST_DATA can name another folder)",
            folder.display()
        );
        None
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.0.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        self.bytes(name).chunks_exact(4).map(|x| f32::from_le_bytes(x.try_into().unwrap())).collect()
    }

    fn intrinsics(&self) -> Intrinsics {
        let p = self.floats("ir_params.f32");
        Intrinsics {
            fx: p[0],
            fy: p[1],
            cx: p[2],
            cy: p[3],
            k1: p[4],
            k2: p[5],
            k3: p[6],
            p1: p[7],
            p2: p[8],
        }
    }

    fn tables(&self) -> Tables {
        Tables::from_p0_reply(&self.bytes("p0tables_response.bin"), &self.intrinsics()).unwrap()
    }
}

fn kernels() -> impl Iterator<Item = Kernel> {
    Kernel::ALL.into_iter().filter(|kernel| kernel.is_available())
}

fn decode(tables: &Tables, settings: Settings, kernel: Kernel, raw: &[u8]) -> (Vec<f32>, Vec<f32>) {
    let mut decoder = Decoder::with_kernel(tables, settings, kernel).unwrap();
    let (mut depth, mut infrared) = (vec![f32::NAN; PIXELS], vec![f32::NAN; PIXELS]);
    decoder.feed(raw).unwrap();
    decoder.finish_f32(&mut depth, Some(&mut infrared)).unwrap();
    (depth, infrared)
}

/// Largest difference where both have a depth, and pixels where only one has.
fn compare(ours: &[f32], theirs: &[f32]) -> (f32, usize) {
    let mut largest = 0.0_f32;
    let mut flips = 0;
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert!(ours.is_finite() && *ours >= 0.0, "{ours} left the decoder");
        if (*ours > 0.0) != (*theirs > 0.0) {
            flips += 1;
        } else {
            largest = largest.max((ours - theirs).abs());
        }
    }
    (largest, flips)
}

const FILTERS: Settings =
    Settings { min_mm: 500, max_mm: 4500, bilateral: true, edge: true, offset_mm: 0, infrared: true };
const NO_FILTERS: Settings = Settings { bilateral: false, edge: false, ..FILTERS };

#[test]
fn tables_equal_libfreenect2s() {
    let Some(oracle) = Oracle::open() else { return };
    let tables = oracle.tables();
    for table in 0..3 {
        let p0: Vec<u8> = tables.p0(table).iter().flat_map(|p0| p0.to_le_bytes()).collect();
        assert_eq!(p0, oracle.bytes(&format!("p0table{table}.u16")));
    }
    for (ours, name) in [(tables.x(), "xtable.f32"), (tables.z(), "ztable.f32")] {
        for (ours, theirs) in ours.iter().zip(oracle.floats(name)) {
            assert!((ours - theirs).abs() <= 1e-3, "{name}: {ours} for {theirs}");
        }
    }
}

#[test]
fn depth_equals_libfreenect2s() {
    let Some(oracle) = Oracle::open() else { return };
    let upright = oracle.tables();
    let upside_down = upright.clone().with_rays_upside_down();
    let mut bad = Vec::new();
    for frame in FRAMES {
        let raw = oracle.bytes(&format!("{frame}.raw"));
        assert_eq!(raw.len(), FRAME_BYTES);
        for (tables, settings, name) in [
            (&upright, FILTERS, "xzflip"),
            (&upside_down, FILTERS, "stock"),
            (&upright, NO_FILTERS, "xzflip_nofilter"),
            (&upside_down, NO_FILTERS, "stock_nofilter"),
        ] {
            let theirs = oracle.floats(&format!("{frame}.{name}.depth.f32"));
            for kernel in kernels() {
                let (depth, _) = decode(tables, settings, kernel, &raw);
                let (largest, flips) = compare(&depth, &theirs);
                let line = format!("{frame:15} {name:16} {kernel:?}: {largest:.5} mm, {flips} flips");
                eprintln!("{line}");
                if largest > TOLERANCE || flips > FLIPS {
                    bad.push(line);
                }
            }
        }
    }
    assert!(bad.is_empty(), "beyond {TOLERANCE} mm or {FLIPS} flips:\n{}", bad.join("\n"));
}

#[test]
fn infrared_equals_libfreenect2s() {
    let Some(oracle) = Oracle::open() else { return };
    let tables = oracle.tables();
    for frame in FRAMES {
        let raw = oracle.bytes(&format!("{frame}.raw"));
        let theirs = oracle.floats(&format!("{frame}.xzflip.ir.f32"));
        for kernel in kernels() {
            let (_, infrared) = decode(&tables, FILTERS, kernel, &raw);
            for (ours, theirs) in infrared.iter().zip(&theirs) {
                assert!(
                    (ours - theirs).abs() <= 1e-5 * theirs.max(1.0),
                    "{frame} {kernel:?}: {ours} for {theirs}"
                );
            }
        }
    }
}

/// One filter alone has no answer from libfreenect2: the kernels against the reference.
#[test]
fn single_filters_equal_the_reference() {
    let Some(oracle) = Oracle::open() else { return };
    let tables = oracle.tables();
    for frame in FRAMES {
        let raw = oracle.bytes(&format!("{frame}.raw"));
        for settings in
            [Settings { edge: false, ..FILTERS }, Settings { bilateral: false, max_mm: 8000, ..FILTERS }]
        {
            let (reference, _) = decode(&tables, settings, Kernel::Scalar, &raw);
            for kernel in kernels() {
                let (depth, _) = decode(&tables, settings, kernel, &raw);
                let (largest, flips) = compare(&depth, &reference);
                eprintln!(
                    "{frame:15} bilateral {} {kernel:?}: {largest:.5} mm, {flips} flips",
                    settings.bilateral
                );
                assert!(largest <= TOLERANCE && flips <= FLIPS, "{frame} {kernel:?} {settings:?}");
            }
        }
    }
}

#[test]
fn depth_is_true() {
    let Some(oracle) = Oracle::open() else { return };
    let tables = oracle.tables();
    for (frame, within_5, within_10) in [("00_clean", 99.5, 99.5), ("01_scene", 92.0, 98.0)] {
        let raw = oracle.bytes(&format!("{frame}.raw"));
        let truth = oracle.floats(&format!("{frame}.truth_z.f32"));
        let labels = oracle.bytes(&format!("{frame}.label.u8"));
        for kernel in kernels() {
            let (depth, _) = decode(&tables, FILTERS, kernel, &raw);
            let (mut all, mut fine, mut fair) = (0_u32, 0_u32, 0_u32);
            for i in 0..HEIGHT * WIDTH {
                if labels[i] == 0 && depth[i] > 0.0 {
                    let off = (depth[i] - truth[i]).abs();
                    all += 1;
                    fine += u32::from(off <= 5.0);
                    fair += u32::from(off <= 10.0);
                }
            }
            let unlabelled = labels.iter().filter(|label| **label == 0).count();
            let percent = |count: u32| 100.0 * f64::from(count) / f64::from(all);
            eprintln!(
                "{frame} {kernel:?}: {all} of {unlabelled} pixels; {:.2} % within 5 mm, {:.2} % within 10 mm",
                percent(fine),
                percent(fair)
            );
            assert!(all as usize * 100 > unlabelled * 90, "{frame}: only {all} pixels have a depth");
            assert!(percent(fine) >= within_5 && percent(fair) >= within_10, "{frame} {kernel:?}");
        }
    }
}
