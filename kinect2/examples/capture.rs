//! Takes raw frames from a sensor, in a loop of its own: what a program has to do to use [`kinect2::sensor`].
//!
//! ```text
//! cargo run --release -p kinect2 --example capture -- --frames 30 --out /dev/shm/frames
//! ```
//!
//! Each frame is a line: its number, its sequence number and timestamp, a hash of its bytes, and with `--out` the file
//! that it is written to (`NUMBER_TIMESTAMP_SEQUENCE.depth`, ten sub-images as they came). Files are written from the
//! loop, which has 60 ms until transfers are lost: the folder should be in memory. A sensor that is unplugged is waited
//! for. The exit code is 0 if all frames came in time.

use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{env, fs};

use kinect2::sensor::{Sensor, Settings, Turn};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

const JOB: Token = Token(0);
const NODE: Token = Token(1);
const USAGE: &str = "usage: capture [--frames N] [--seconds LIMIT] [--out FOLDER] [--serial TEXT] [--sysfs DIR] [--devfs DIR]";

fn main() -> ExitCode {
    let arguments = match Arguments::parse(env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("capture: {problem}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match capture(arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("capture: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Arguments {
    frames: u64,
    limit: Duration,
    out: Option<PathBuf>,
    settings: Settings,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Arguments {
            frames: 30,
            limit: Duration::from_secs(60),
            out: None,
            settings: Settings { raw: true, ..Settings::default() },
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
            let bad = |error| format!("{word}: {error}");
            match word.as_str() {
                "--frames" => arguments.frames = value()?.parse().map_err(bad)?,
                "--seconds" => arguments.limit = Duration::from_secs(value()?.parse().map_err(bad)?),
                "--out" => arguments.out = Some(value()?.into()),
                "--serial" => arguments.settings.serial = Some(value()?),
                "--sysfs" => arguments.settings.roots.sys = value()?.into(),
                "--devfs" => arguments.settings.roots.dev = value()?.into(),
                _ => return Err(format!("{word} is not known")),
            }
        }
        Ok(arguments)
    }
}

/// Whether as many frames came as were wanted.
fn capture(arguments: Arguments) -> io::Result<bool> {
    if let Some(folder) = &arguments.out {
        fs::create_dir_all(folder)?;
    }
    // The sensor knows no clock: it is told the time, here since the start of this program.
    let begun = Instant::now();
    let mut sensor = Sensor::new(arguments.settings, begun.elapsed())?;
    let mut waiter = Waiter::new(&sensor)?;
    let mut taken = 0;
    let (mut first, mut last) = (None, Duration::ZERO);
    let mut stopping = false;
    let mut story = Story::default();
    while !sensor.is_shut_down() {
        let now = begun.elapsed();
        if !stopping && (taken == arguments.frames || now >= arguments.limit) {
            // Stops the stream and closes in order; that takes some more turns.
            sensor.shut_down(now);
            stopping = true;
        }
        // A turn does a bounded amount of work, so that a loop with other duties gets to them.
        match sensor.turn(now) {
            Turn::Frame(info) if taken < arguments.frames => {
                taken += 1;
                first.get_or_insert(now);
                last = now;
                let frame = sensor.raw_frame().unwrap_or_default();
                println!(
                    "{taken} sequence {} timestamp {} {:016x}",
                    info.sequence,
                    info.timestamp,
                    hash(frame)
                );
                if let Some(folder) = &arguments.out {
                    write(folder, &format!("{taken:06}_{}_{}.depth", info.timestamp, info.sequence), frame)?;
                }
                continue;
            }
            Turn::Frame(_) | Turn::More => continue,
            Turn::Idle => {}
        }
        story.tell(&sensor, now);
        if !sensor.is_shut_down() {
            let limit = (!stopping).then_some(arguments.limit);
            let due = sensor.deadline().into_iter().chain(limit).min();
            waiter.wait(&sensor, due.map(|due| due.saturating_sub(now)))?;
        }
    }
    if let Some(first) = first.filter(|first| *first < last) {
        let time = (last - first).as_secs_f64();
        println!("{taken} frames in {time:.2} s, {:.1} a second", (taken - 1) as f64 / time);
    }
    println!("{:?}\n{:?}", sensor.driver_counters(), sensor.counters());
    println!("{:?}", sensor.stream_counters());
    println!("transfers pending at the emptiest moment: {}", sensor.queue_low());
    if taken < arguments.frames {
        let reason = sensor.trouble().map_or_else(|| "no reason known".into(), |trouble| trouble.to_string());
        eprintln!("capture: {taken} of {} frames: {reason}", arguments.frames);
    }
    Ok(taken == arguments.frames)
}

/// The descriptors of the sensor, waited for.
struct Waiter {
    poll: Poll,
    events: Events,
    /// Which node is registered.
    node: Option<u64>,
}

impl Waiter {
    fn new(sensor: &Sensor) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.registry().register(&mut SourceFd(&sensor.job_fd().as_raw_fd()), JOB, Interest::READABLE)?;
        Ok(Waiter { poll, events: Events::with_capacity(4), node: None })
    }

    /// Returns when the sensor has something to do, or the time is over if it ever is. Wakes for edges only: [`Turn::Idle`] says that
    /// nothing was left.
    fn wait(&mut self, sensor: &Sensor, timeout: Option<Duration>) -> io::Result<()> {
        // Each time a sensor is opened there is another node. The one before was closed, and with that forgotten.
        let node = sensor.node();
        if let Some((generation, node)) = node.filter(|(generation, _)| self.node != Some(*generation)) {
            // The node says that transfers can be reaped by being *writable*.
            self.poll.registry().register(&mut SourceFd(&node), NODE, Interest::WRITABLE)?;
            self.node = Some(generation);
        }
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }
}

/// What was said last of the sensor's state, so that it is said once.
#[derive(Default)]
struct Story(String);

impl Story {
    fn tell(&mut self, sensor: &Sensor, now: Duration) {
        let trouble = sensor.trouble().map_or_else(String::new, |trouble| format!(": {trouble}"));
        let line = format!("{:?}{trouble}", sensor.state());
        if line != self.0 {
            println!("at {:.3} s {line}", now.as_secs_f64());
            self.0 = line;
        }
    }
}

/// Writes a file that is whole whenever it is there.
fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let unfinished = folder.join("unfinished");
    let mut file = fs::File::create(&unfinished)?;
    file.write_all(bytes)?;
    fs::rename(unfinished, folder.join(name))
}

/// FNV-1a over words of eight bytes: tells frames apart, and nothing more.
fn hash(bytes: &[u8]) -> u64 {
    let mut hash = 0xCBF2_9CE4_8422_2325_u64;
    for word in bytes.chunks(8) {
        let mut padded = [0; 8];
        padded[..word.len()].copy_from_slice(word);
        hash = (hash ^ u64::from_le_bytes(padded)).wrapping_mul(0x0100_0000_01B3);
    }
    hash
}
