//! Time and bytes of each stage on real frames: `cargo bench --bench frame [-- [--json] [FOLDER]]`.
//!
//! `--once STAGE TIMES` does nothing but that one stage so often to four fixed frames of the demo, and says which vector
//! instructions the processor has: for counting instructions, which `benches/instructions` does.
//!
//! Without a folder the demo scene is measured. `benches/peer/run` reads the JSON and sets OpenCV's figures beside
//! it. Times are CPU time of this thread, medians over all frames and rounds.

use std::path::PathBuf;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use depthcast::camera::{Camera, LocalClock};
use depthcast::colormap::{JET, Mapper, Range};
use depthcast::encode::{jpeg, metadata, png, rvl};
use depthcast::proto::pickle;
use depthcast::render::Renderer;
use depthcast::ring::{Form, Picture, Ring};
use depthcast::source::demo::Demo;
use depthcast::source::replay::Replay;
use depthcast::source::{HEIGHT, PIXELS, Stamp, WIDTH};
use depthcast::view::{Spec, View};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    if let [once, stage, times] = &arguments[..]
        && once == "--once"
    {
        repeat(stage, times.parse().expect("TIMES is a number"));
        return;
    }
    let json = arguments.iter().any(|a| a == "--json");
    let folder = arguments.iter().find(|a| !a.starts_with("--")).map(PathBuf::from);
    let frames = match &folder {
        Some(folder) => replay(folder),
        None => demo(),
    };
    if !json {
        println!("{} frames, {ROUNDS} rounds, CPU time per frame", frames.len());
        println!("{:>8}  {:<20} {:>10} {:>9}", "range mm", "stage", "median us", "bytes");
    }
    for max_mm in [1500, 4500, 8000] {
        let range = Range::new(0, max_mm).expect("not empty");
        for (stage, median_us, bytes) in measure(range, &frames) {
            if json {
                println!(
                    r#"{{"range_mm":{max_mm},"stage":"{stage}","median_us":{median_us:.1},"bytes":{bytes}}}"#
                );
            } else {
                println!("{max_mm:>8}  {stage:<20} {median_us:>10.1} {bytes:>9}");
            }
        }
    }
}

/// One stage, again and again.
fn repeat(stage: &str, times: usize) {
    let range = Range::new(0, 4500).expect("not empty");
    let mapper = Mapper::new(range);
    let mut encoder = png::Encoder::new(WIDTH, HEIGHT);
    let mut room = vec![0; pickle::message_bound(pickle::Style::Protocol0, png::depth_bound(WIDTH, HEIGHT))];
    let mut jpeg_encoder = jpeg::Encoder::new(jpeg::Settings::default(), (WIDTH, HEIGHT));
    let mut jpeg_room = vec![0; jpeg::bound(WIDTH, HEIGHT, 0)];
    let text = [0; depthcast::camera::TEXT_LEN];
    let mut demo = Demo::new(1);
    let mut frame = |n: u64| {
        let mut depth = vec![0; PIXELS];
        demo.render(n, Duration::from_millis(500 * n), &mut depth);
        let mut index = vec![0; PIXELS];
        mapper.map(&depth, &mut index);
        let len = encoder.indexed(&index, &JET, "", &mut room);
        (depth, index, room[..len].to_vec())
    };
    let frames: Vec<_> = (0..4).map(&mut frame).collect();
    let (mut mapped, mut length) = (vec![0; PIXELS], 0);
    for _ in 0..times {
        for (depth, index, png) in &frames {
            match stage {
                "colormap" => length = mapper.map(depth, &mut mapped),
                "png" => length = encoder.indexed(index, &JET, "", &mut room),
                "jpeg" => length = jpeg_encoder.encode(index, &JET, b"", &mut jpeg_room),
                "depth_png" => length = encoder.depth(depth, "", &mut room),
                "pickle" => length = pickle::message(pickle::Style::Protocol0, &text, png, &mut room),
                "rvl" => length = rvl::encode(depth, WIDTH, &mut room),
                _ => panic!("no such stage: {stage}"),
            }
        }
    }
    std::hint::black_box((&mapped, &room, &jpeg_room, length));
    #[cfg(target_arch = "x86_64")]
    println!("avx2: {}", std::is_x86_feature_detected!("avx2"));
}

/// Stage, median microseconds and mean bytes.
fn measure(range: Range, frames: &[Vec<u16>]) -> Vec<(&'static str, f64, usize)> {
    let mapper = Mapper::new(range);
    let mut encoder = png::Encoder::new(WIDTH, HEIGHT);
    let mut index = vec![0; PIXELS];
    let mut png_room = vec![0; png::indexed_bound(WIDTH, HEIGHT)];
    let mut depth_room = vec![0; png::depth_bound(WIDTH, HEIGHT)];
    let mut rvl_room = vec![0; rvl::bound(PIXELS)];
    let mut message_room =
        vec![0; pickle::message_bound(pickle::Style::Protocol0, png::indexed_bound(WIDTH, HEIGHT))];
    let text = [0; depthcast::camera::TEXT_LEN];
    // What an installer may ask for at most: the picture turned, clipped, and a corner of all rows masked.
    let turned = View::new(&Spec {
        rotate_180: true,
        clip_mm: Some(4000),
        masks: vec![vec![[0, 0], [200, 0], [0, 423]]],
        ..Spec::default()
    });
    let mut turned_depth = vec![0; PIXELS];
    let mut view = Samples::default();
    let mut colormap = Samples::default();
    let mut encode = Samples::default();
    let mut escape = Samples::default();
    let mut depth_png = Samples::default();
    let mut lossless = Samples::default();
    let mut to_jpeg = Samples::default();
    let mut jpeg_encoder = jpeg::Encoder::new(jpeg::Settings::default(), (WIDTH, HEIGHT));
    let mut jpeg_room = vec![0; jpeg::bound(WIDTH, HEIGHT, metadata::METADATA_MAX)];
    let mut to_png = Samples::default();
    let mut to_message = Samples::default();
    let mut depth_to_jpeg = Samples::default();
    let mut ring = Ring::new(Renderer::capacities());
    let mut renderer =
        Renderer::new(range, Camera::default(), LocalClock::utc(), View::new(&Spec::default()));
    for _ in 0..ROUNDS {
        for depth in frames {
            turned_depth.copy_from_slice(depth);
            view.take(|| {
                turned.apply(&mut turned_depth);
                2 * turned_depth.len()
            });
            colormap.take(|| {
                mapper.map(depth, &mut index);
                index.len()
            });
            let png = encode.take(|| encoder.indexed(&index, &JET, "", &mut png_room));
            escape.take(|| {
                pickle::message(pickle::Style::Protocol0, &text, &png_room[..png], &mut message_room)
            });
            to_jpeg.take(|| jpeg_encoder.encode(&index, &JET, b"", &mut jpeg_room));
            depth_png.take(|| encoder.depth(depth, "", &mut depth_room));
            lossless.take(|| rvl::encode(depth, WIDTH, &mut rvl_room));

            // The same as the server does it, in a ring slot: JPEG in one of its own, for what is made already is used again.
            for forms in [
                &mut [(Form::Png, &mut to_png), (Form::Protocol0, &mut to_message)][..],
                &mut [(Form::Jpeg, &mut depth_to_jpeg)],
            ] {
                let filling = ring.acquire().expect("a free slot");
                ring.filling(&filling).depth.copy_from_slice(depth);
                let serial = ring.publish(filling, Stamp::default(), Picture::Depth);
                let pin = ring.pin(serial - 1).expect("just published");
                let slot = ring.slot_mut(&pin);
                let start = cpu();
                for (form, samples) in forms {
                    renderer.make(slot, *form, 30);
                    samples.add(cpu() - start, slot.bytes(*form).map_or(0, <[u8]>::len));
                }
                ring.release(pin);
            }
        }
    }
    vec![
        view.done("view"),
        colormap.done("colormap"),
        encode.done("png"),
        escape.done("pickle_protocol0"),
        depth_png.done("depth_png"),
        lossless.done("rvl"),
        to_jpeg.done("jpeg"),
        to_png.done("depth_to_png"),
        to_message.done("depth_to_protocol0"),
        depth_to_jpeg.done("depth_to_jpeg"),
    ]
}

#[derive(Default)]
struct Samples {
    times: Vec<Duration>,
    bytes: usize,
}

impl Samples {
    fn take(&mut self, work: impl FnOnce() -> usize) -> usize {
        let start = cpu();
        let bytes = work();
        self.add(cpu() - start, bytes);
        bytes
    }

    fn add(&mut self, time: Duration, bytes: usize) {
        self.times.push(time);
        self.bytes += bytes;
    }

    fn done(mut self, stage: &'static str) -> (&'static str, f64, usize) {
        self.times.sort_unstable();
        let median = self.times[self.times.len() / 2];
        (stage, median.as_secs_f64() * 1e6, self.bytes / self.times.len())
    }
}

fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("every Linux has this clock").into()
}

fn replay(folder: &std::path::Path) -> Vec<Vec<u16>> {
    let replay = Replay::open(folder).unwrap_or_else(|e| {
        eprintln!("frame: {e}");
        std::process::exit(2);
    });
    let read = |n: usize| {
        let mut depth = vec![0; PIXELS];
        replay.copy_frame(n as u64, &mut depth);
        depth
    };
    (0..replay.frame_count()).map(read).collect()
}

fn demo() -> Vec<Vec<u16>> {
    let mut demo = Demo::new(1);
    let mut render = |n: u64| {
        let mut depth = vec![0; PIXELS];
        demo.render(n, Duration::from_millis(500 * n), &mut depth);
        depth
    };
    (0..100).map(&mut render).collect()
}

const ROUNDS: usize = 5;
