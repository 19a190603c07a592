//! Time of a frame on one core, for each kernel, with all filters and without.
//!
//!     cargo bench -p kinect2 [-- FRAMES]
//!
//! * The frames are the oracle's (see `tests/oracle.rs`); without them a made-up one of noise.
//! * `FRAMES` is how often each is decoded (100). Three figures are printed, in ms: median and least of the frames, and the
//!   mean of the processor's time (Linux), which other work on the machine disturbs least.
//! * `KINECT2_PEER` may name a program to be timed beside the decoder, built by the caller: for instance one that runs
//!   libfreenect2's CPU pipeline. It is started as `PEER P0_REPLY IR_PARAMS FRAME.raw filters|none COUNT` and prints its
//!   median time of a frame in ms, nothing else.
//! * `KINECT2_ONCE=KERNEL` decodes one frame with that kernel and stops: for counting instructions, as the difference
//!   of `FRAMES` 1 and 11 under `valgrind --tool=callgrind`.

use kinect2::depth::{Decoder, FRAME_BYTES, Intrinsics, Kernel, PIXELS, Settings, Tables};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const FRAMES: [&str; 4] = ["00_clean", "01_scene", "02_saturated", "05_mixed_edges"];

fn main() {
    let count = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(100);
    let data = std::env::var_os("DEPTHCAST_DATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let folder = data.join("oracle");
    let (tables, frames) = read(&folder).unwrap_or_else(|| {
        eprintln!("no oracle frames in {}: decoding noise", folder.display());
        (made_up_tables(), vec![("noise", noise())])
    });

    if let Ok(name) = std::env::var("KINECT2_ONCE") {
        let kernel = Kernel::ALL.into_iter().find(|kernel| format!("{kernel:?}").eq_ignore_ascii_case(&name));
        let kernel = kernel.expect("KINECT2_ONCE names a kernel");
        time(&tables, with_filters(true), kernel, &frames[0].1, count);
        return;
    }

    println!(
        "ms a frame: median, least, cpu of {count}; last packet and finish: {:?}, median",
        Kernel::best()
    );
    print!("{:16}{:10}", "frame", "filters");
    let kernels: Vec<Kernel> = Kernel::ALL.into_iter().filter(|kernel| kernel.is_available()).collect();
    for kernel in &kernels {
        print!("{:>26}", format!("{kernel:?}"));
    }
    println!("{:>12}{:>12}{:>12}", "last packet", "finish", "peer");
    for (name, raw) in &frames {
        for filters in [true, false] {
            print!("{name:16}{:10}", if filters { "all" } else { "none" });
            let settings = with_filters(filters);
            let mut last = Times::default();
            for kernel in &kernels {
                // The reference takes a hundred times as long.
                let count = if *kernel == Kernel::Scalar { count.div_ceil(20) } else { count };
                last = time(&tables, settings, *kernel, raw, count);
                print!("{:>26}", format!("{:.2} {:.2} {:.2}", ms(last.frame), ms(last.least), ms(last.cpu)));
            }
            print!("{:>12.3}{:>12.3}", ms(last.last_slice), ms(last.finish));
            println!("{:>12}", peer(&folder, name, filters, count).unwrap_or_default());
        }
    }
}

fn with_filters(filters: bool) -> Settings {
    Settings { bilateral: filters, edge: filters, ..Settings::default() }
}

#[derive(Clone, Copy, Default)]
struct Times {
    /// A whole frame, infrared included.
    frame: Duration,
    /// The same at its best.
    least: Duration,
    /// Processor time, mean.
    cpu: Duration,
    /// From the last packet (40 rows) to the finished image.
    last_slice: Duration,
    /// Of `finish` alone.
    finish: Duration,
}

/// Medians; rows come in the slices of the sensor's packets.
fn time(tables: &Tables, settings: Settings, kernel: Kernel, raw: &[u8], count: usize) -> Times {
    let mut decoder = Decoder::with_kernel(tables, settings, kernel).expect("kernel and settings are good");
    let (mut depth, mut infrared) = (vec![0; PIXELS], vec![0; PIXELS]);
    let before = processor_time();
    let (mut frame, mut last_slice, mut finish) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..count {
        let start = Instant::now();
        let mut last = start;
        decoder.begin();
        for (sub_image, bytes) in raw.chunks_exact(424 * 704).take(9).enumerate() {
            for (packet, bytes) in bytes.chunks(48 * 704).enumerate() {
                last = Instant::now();
                decoder.rows(sub_image, packet * 48, bytes).expect("rows are in order");
            }
        }
        let fed = Instant::now();
        decoder.finish(&mut depth, Some(&mut infrared)).expect("the frame is complete");
        let end = Instant::now();
        frame.push(end - start);
        last_slice.push(end - last);
        finish.push(end - fed);
    }
    let cpu = processor_time().saturating_sub(before) / u32::try_from(count).unwrap_or(u32::MAX);
    let median = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    let least = frame.iter().copied().min().unwrap_or_default();
    Times { least, cpu, frame: median(frame), last_slice: median(last_slice), finish: median(finish) }
}

/// What this thread has used so far, as the scheduler counts it; 0 where it cannot be read.
fn processor_time() -> Duration {
    let counts = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(counts.split_whitespace().next().and_then(|count| count.parse().ok()).unwrap_or(0))
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn peer(folder: &Path, name: &str, filters: bool, count: usize) -> Option<String> {
    let output = Command::new(std::env::var_os("KINECT2_PEER")?)
        .args([folder.join("p0tables_response.bin"), folder.join("ir_params.f32")])
        .arg(folder.join(format!("{name}.raw")))
        .args([if filters { "filters" } else { "none" }, &count.to_string()])
        .output();
    Some(match output {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Ok(output) => output.status.to_string(),
        Err(error) => error.to_string(),
    })
}

type Frames = Vec<(&'static str, Vec<u8>)>;

fn read(folder: &Path) -> Option<(Tables, Frames)> {
    let p: Vec<f32> = std::fs::read(folder.join("ir_params.f32"))
        .ok()?
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        .collect();
    let &[fx, fy, cx, cy, k1, k2, k3, p1, p2] = p.as_slice() else {
        return None;
    };
    let intrinsics = Intrinsics { fx, fy, cx, cy, k1, k2, k3, p1, p2 };
    let reply = std::fs::read(folder.join("p0tables_response.bin")).ok()?;
    let tables = Tables::from_p0_reply(&reply, &intrinsics).ok()?;
    let frames =
        FRAMES.iter().map(|name| Some((*name, std::fs::read(folder.join(format!("{name}.raw"))).ok()?)));
    Some((tables, frames.collect::<Option<_>>()?))
}

fn made_up_tables() -> Tables {
    let p0 = vec![11_000_u16; PIXELS];
    let intrinsics = Intrinsics {
        fx: 365.0,
        fy: 365.0,
        cx: 256.0,
        cy: 206.0,
        k1: 0.09,
        k2: -0.27,
        k3: 0.09,
        p1: 0.0,
        p2: 0.0,
    };
    Tables::from_parts([&p0, &p0, &p0], &intrinsics).expect("made to be good")
}

fn noise() -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..FRAME_BYTES).map(|_| next()).collect()
}
