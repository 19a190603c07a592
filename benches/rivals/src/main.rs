//! Our encoder and the usual ones on the same index images: `rivals FOLDER`, a folder of 16-bit PNGs in millimetres.
//!
//! Each rival gets rows that are filtered already, by the one filter of PNG with which it makes the fewest bytes of all
//! frames; its time is that of the zlib stream alone. Ours is the time of the whole file, filter and checksums and all.
//! CPU time of this thread, medians over all frames, the encoders taking turns at each; bytes are means, of the stream,
//! and for ours of the file without its palette. Whatever a rival makes is inflated once and compared.

use std::path::PathBuf;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use depthcast::colormap::{JET, Mapper, Range};
use depthcast::encode::png;
use depthcast::source::replay::Replay;
use depthcast::source::{HEIGHT, PIXELS, WIDTH};

fn main() {
    let Some(folder) = std::env::args().nth(1).map(PathBuf::from) else {
        eprintln!("usage: rivals FOLDER");
        std::process::exit(2);
    };
    let replay = Replay::open(&folder).unwrap_or_else(|e| {
        eprintln!("rivals: {e}");
        std::process::exit(2);
    });
    println!("{} frames\n", replay.frame_count());
    println!("| range mm | encoder | filter | µs | time, by ours | bytes | bytes, by ours |");
    println!("| ---: | --- | --- | ---: | ---: | ---: | ---: |");
    for max_mm in [1500, 4500, 8000] {
        let mapper = Mapper::new(Range::new(0, max_mm).expect("not empty"));
        let mut depth = vec![0; PIXELS];
        let frame = |n: usize| {
            replay.copy_frame(n as u64, &mut depth);
            let mut index = vec![0; PIXELS];
            mapper.map(&depth, &mut index);
            index
        };
        compare(max_mm, &(0..replay.frame_count()).map(frame).collect::<Vec<_>>());
    }
}

/// Makes a zlib stream of filtered rows and says how long it is.
type Compress = Box<dyn FnMut(&[u8], &mut [u8]) -> usize>;

/// One range: a row of the table for each encoder.
fn compare(max_mm: u16, frames: &[Vec<u8>]) {
    let mut ours = png::Encoder::new(WIDTH, HEIGHT);
    let mut room = vec![0; png::indexed_bound(WIDTH, HEIGHT)];
    let mut mine = Samples::default();
    let mut rivals: Vec<_> = rivals()
        .into_iter()
        .map(|(name, mut compress)| (name, best_filter(&mut compress, frames), compress, Samples::default()))
        .collect();
    for index in frames {
        mine.take(|| ours.indexed(index, &JET, "", &mut room) - 12 - JET.len());
        for (name, filter, compress, samples) in &mut rivals {
            let rows = filtered(*filter, index);
            let bytes = samples.take(|| compress(&rows, &mut room));
            let back = miniz_oxide::inflate::decompress_to_vec_zlib(&room[..bytes]).expect("a zlib stream");
            assert!(back == rows, "{name} loses something");
        }
    }
    let (our_us, our_bytes) = mine.done();
    println!("| {max_mm} | ours | Up | {our_us:.0} | 1 | {our_bytes:.0} | 1 |");
    for (name, filter, _, samples) in rivals {
        let (us, bytes) = samples.done();
        let (time, size) = (us / our_us, bytes / our_bytes);
        println!("| {max_mm} | {name} | {filter:?} | {us:.0} | {time:.1} | {bytes:.0} | {size:.2} |");
    }
}

fn rivals() -> Vec<(String, Compress)> {
    let mut all: Vec<(String, Compress)> = vec![("fdeflate".into(), Box::new(fdeflate))];
    for level in [1, 6] {
        let mut state = flate2::Compress::new(flate2::Compression::new(level), true);
        all.push((
            format!("zlib-rs {level}"),
            Box::new(move |rows, out| {
                state.reset();
                let status = state.compress(rows, out, flate2::FlushCompress::Finish).expect("room");
                assert_eq!(status, flate2::Status::StreamEnd);
                state.total_out() as usize
            }),
        ));
    }
    for level in [1, 6] {
        all.push((
            format!("miniz_oxide {level}"),
            Box::new(move |rows, out| {
                let stream = miniz_oxide::deflate::compress_to_vec_zlib(rows, level);
                out[..stream.len()].copy_from_slice(&stream);
                stream.len()
            }),
        ));
    }
    for level in [1, 12] {
        let level_of = libdeflater::CompressionLvl::new(level).expect("a level of libdeflate");
        let mut state = libdeflater::Compressor::new(level_of);
        all.push((
            format!("libdeflate {level}"),
            Box::new(move |rows, out| state.zlib_compress(rows, out).expect("room")),
        ));
    }
    all
}

fn fdeflate(rows: &[u8], out: &mut [u8]) -> usize {
    let room = out.len();
    let mut rest = out;
    let mut encoder = fdeflate::Compressor::new(&mut rest).expect("room");
    encoder.write_data(rows).expect("room");
    let left = encoder.finish().expect("room").len();
    room - left
}

/// The filter types of PNG, section 9.2.
#[derive(Clone, Copy, Debug)]
enum Filter {
    None,
    Sub,
    Up,
    Average,
    Paeth,
}

const FILTERS: [Filter; 5] = [Filter::None, Filter::Sub, Filter::Up, Filter::Average, Filter::Paeth];

/// With which one encoder makes the fewest bytes of some of the frames.
fn best_filter(compress: &mut Compress, frames: &[Vec<u8>]) -> Filter {
    let mut room = vec![0; png::indexed_bound(WIDTH, HEIGHT)];
    let mut bytes = |filter| {
        let some = frames.iter().step_by(4);
        some.map(|index| compress(&filtered(filter, index), &mut room)).sum::<usize>()
    };
    FILTERS.into_iter().min_by_key(|&filter| bytes(filter)).expect("five")
}

/// All rows through one filter.
fn filtered(filter: Filter, index: &[u8]) -> Vec<u8> {
    let at = |x: Option<usize>, y: Option<usize>| match (x, y) {
        (Some(x), Some(y)) => index[y * WIDTH + x],
        _ => 0,
    };
    let mut rows = Vec::with_capacity((WIDTH + 1) * HEIGHT);
    for y in 0..HEIGHT {
        rows.push(filter as u8);
        for x in 0..WIDTH {
            let (left, up) = (x.checked_sub(1), y.checked_sub(1));
            let (a, b, c) = (at(left, Some(y)), at(Some(x), up), at(left, up));
            let guess = match filter {
                Filter::None => 0,
                Filter::Sub => a,
                Filter::Up => b,
                Filter::Average => a.midpoint(b),
                Filter::Paeth => {
                    let distance = |v: u8| (i16::from(a) + i16::from(b) - i16::from(c) - i16::from(v)).abs();
                    // The first of the nearest.
                    [a, b, c].into_iter().min_by_key(|&v| distance(v)).expect("three")
                }
            };
            rows.push(index[y * WIDTH + x].wrapping_sub(guess));
        }
    }
    rows
}

#[derive(Default)]
struct Samples {
    times: Vec<Duration>,
    bytes: usize,
}

impl Samples {
    /// Twice, of which the second counts: the first is for what was pushed out of the caches meanwhile.
    fn take(&mut self, mut work: impl FnMut() -> usize) -> usize {
        work();
        let start = cpu();
        let bytes = work();
        self.times.push(cpu() - start);
        self.bytes += bytes;
        bytes
    }

    /// Median microseconds and mean bytes.
    fn done(mut self) -> (f64, f64) {
        self.times.sort_unstable();
        let median = self.times[self.times.len() / 2];
        (median.as_secs_f64() * 1e6, self.bytes as f64 / self.times.len() as f64)
    }
}

fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("every Linux has this clock").into()
}
