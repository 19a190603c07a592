//! Writes what a source delivers to a folder that `replay:` plays back bit for bit.
//!
//! ```text
//! sensor ── raw frame ──▶ queue of buffers ──▶ writer thread ──▶ NUMBER_TIMESTAMP_SEQUENCE.depth
//! source ── PNG ────────▶                                        NUMBER.png
//! ```
//!
//! A sensor does not wait for a disk: a frame that finds no free buffer is lost, counted, and said. Demo and replay wait
//! instead, so that nothing is missing. This is a process of its own with a loop of its own; nothing here is served.
//!
//! Files appear whole or not at all.

use std::fmt;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kinect2::depth::FRAME_BYTES;
use kinect2::driver::{Name, Trouble};
use kinect2::recording::format_lens;
use kinect2::sensor::{self, Sensor, Turn};
use kinect2::stream::FrameInfo;
use nix::sys::statvfs::statvfs;

use crate::clock::{Clock, Now};
use crate::encode::png;
use crate::files::write_whole;
use crate::limits::{
    RAW_FRAMES_MAX, RECORD_QUEUE, RECORD_RESERVE, RECORD_START, REPLAY_FRAMES_MAX, SENSOR_STOP,
};
use crate::service::{Asked, Signals};
use crate::source::{Feed, HEIGHT, NOMINAL_FPS, Outcome, PIXELS, Source, WIDTH, fault};
use crate::waiter::Waiter;

/// When a recording ends by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Limit {
    /// After so many frames.
    Frames(u64),
    /// So long after the first frame.
    Time(Duration),
    /// Only when it is interrupted.
    None,
}

/// What came of a recording.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Summary {
    /// Frames written.
    pub frames: u64,
    /// Frames that the disk was too slow for.
    pub lost: u64,
    /// Frames that did not come whole from the sensor.
    pub incomplete: u64,
    /// Frames that `replay:` takes of such a recording.
    pub playable: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} frames", self.frames)?;
        if self.lost > 0 {
            write!(f, "; {} were lost because the disk is too slow", self.lost)?;
        }
        if self.incomplete > 0 {
            write!(f, "; {} did not come whole from the sensor", self.incomplete)?;
        }
        if self.frames > self.playable {
            write!(f, "; replay: takes at most {} of them, move the rest elsewhere", self.playable)?;
        }
        Ok(())
    }
}

/// Records the raw frames of a sensor into `folder`, with `p0.bin` and `ir_params.json` beside them.
///
/// * `settings`: with `raw` set.
/// * `folder`: new or empty.
/// * `signals`: TERM and INT end the recording in good order.
///
/// # Errors
/// [`Error`] names what is wrong; what was written until then stays.
pub fn sensor(
    settings: sensor::Settings,
    folder: &Path,
    limit: Limit,
    signals: &mut Signals,
    clock: &Clock,
) -> Result<Summary, Error> {
    prepare(folder, limit, NOMINAL_FPS, FRAME_BYTES)?;
    let mut writer = Writer::start(folder, RECORD_QUEUE, FRAME_BYTES, limit)?;
    let run = Watch::new(settings, signals, clock).map_err(Error::System)?.run(&mut writer, limit);
    // Whatever ended it: what is queued is to be on the disk.
    let (frames, lost) = writer.finish()?;
    let incomplete = run?;
    Ok(Summary { frames, lost, incomplete, playable: RAW_FRAMES_MAX as u64 })
}

/// Records a source that is not a sensor into `folder`, as 16-bit PNGs, as fast as they can be written: what `fps` would
/// have delivered live, frame for frame. A recording is played once through.
///
/// * `folder`: new or empty.
/// * `fps`: the pace that scenes move at, at least 1.
/// * `signals`: TERM and INT end the recording in good order.
///
/// # Errors
/// [`Error`] names what is wrong; what was written until then stays.
pub fn pictures(
    source: Source,
    fps: u32,
    folder: &Path,
    limit: Limit,
    signals: &mut Signals,
) -> Result<Summary, Error> {
    let fps = fps.max(1);
    let room = png::depth_bound(WIDTH, HEIGHT);
    let most = match limit {
        Limit::Frames(frames) => frames,
        Limit::Time(time) => frames_in(time, fps),
        Limit::None => source.frames().unwrap_or(u64::MAX),
    };
    let counted = if most == u64::MAX { Limit::None } else { Limit::Frames(most) };
    prepare(folder, counted, fps, room)?;
    let mut writer = Writer::start(folder, RECORD_QUEUE, room, counted)?;
    let mut depth = vec![0; PIXELS];
    let mut encoder = png::Encoder::new(WIDTH, HEIGHT);
    let mut now = Now::default();
    let mut feed = Feed::new(source, fps, fault::Plan::default(), now);
    for number in 1..=most {
        if signals.take() == Some(Asked::Stop) {
            break;
        }
        // The clock of the recording moves by a frame at a time, however long that takes.
        while !matches!(feed.poll(now, &mut depth), Outcome::Captured(_)) {
            now.mono = feed.due(true).unwrap_or(now.mono + Duration::from_millis(1));
        }
        now.mono = feed.due(true).unwrap_or(now.mono);
        let Some(mut buffer) = writer.wait_for_buffer() else { break };
        buffer.resize(room, 0);
        let length = encoder.depth(&depth, "", &mut buffer);
        buffer.truncate(length);
        writer.write(format!("{number:07}.png"), buffer);
    }
    let (frames, lost) = writer.finish()?;
    Ok(Summary { frames, lost, incomplete: 0, playable: REPLAY_FRAMES_MAX as u64 })
}

/// Why nothing was recorded, or not all.
#[derive(Debug)]
pub enum Error {
    /// The folder to write to holds something.
    NotEmpty(PathBuf),
    /// The folder cannot be made or read.
    Folder(PathBuf, io::Error),
    /// Not enough room on the disk to begin.
    NoRoom {
        /// The folder.
        folder: PathBuf,
        /// MiB that are wanted.
        wanted: u64,
        /// MiB that there are.
        free: u64,
    },
    /// No frame came.
    NoFrame(Option<Trouble>),
    /// The system refuses something that is needed to begin.
    System(io::Error),
    /// The system refuses something that is needed to go on.
    Broken(io::Error),
    /// The disk has filled up.
    Full {
        /// The folder.
        folder: PathBuf,
        /// Frames written until then.
        frames: u64,
    },
    /// A file cannot be written.
    Write(PathBuf, io::Error),
    /// Another sensor came in the place of the first: its frames need other tables.
    OtherSensor {
        /// Serial number of the first.
        first: String,
        /// That of the other.
        other: String,
    },
}

impl Error {
    /// Whether nothing had begun yet.
    pub fn is_at_start(&self) -> bool {
        match self {
            Error::NotEmpty(_)
            | Error::Folder(..)
            | Error::NoRoom { .. }
            | Error::NoFrame(_)
            | Error::System(_) => true,
            Error::Broken(_) | Error::Full { .. } | Error::Write(..) | Error::OtherSensor { .. } => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotEmpty(path) => write!(f, "{}: is not empty; name a new folder", path.display()),
            Error::Folder(path, e) => write!(f, "{}: cannot be written to: {e}", path.display()),
            Error::NoRoom { folder, wanted, free } => write!(
                f,
                "{}: {free} MiB are free and {wanted} MiB are wanted; record less, or elsewhere",
                folder.display()
            ),
            Error::NoFrame(Some(trouble)) => write!(f, "no frame came: {trouble}"),
            Error::NoFrame(None) => f.write_str("no frame came, and the driver knows no reason"),
            Error::System(e) => write!(f, "cannot begin: {e}"),
            Error::Broken(e) => write!(f, "cannot go on: {e}; what was recorded until then stays"),
            Error::Full { folder, frames } => {
                write!(f, "{}: the disk is full; {frames} frames were written", folder.display())
            }
            Error::Write(path, e) => write!(f, "{}: cannot be written: {e}", path.display()),
            Error::OtherSensor { first, other } => write!(
                f,
                "sensor {other} came in the place of {first}; record it into another folder (--source kinect:{other})"
            ),
        }
    }
}

impl std::error::Error for Error {}

/// Makes the folder and looks whether the disk has room.
fn prepare(folder: &Path, limit: Limit, fps: u32, frame_bytes: usize) -> Result<(), Error> {
    let fault = |e| Error::Folder(folder.into(), e);
    fs::create_dir_all(folder).map_err(fault)?;
    if fs::read_dir(folder).map_err(fault)?.next().is_some() {
        return Err(Error::NotEmpty(folder.into()));
    }
    let frames = match limit {
        Limit::Frames(frames) => frames,
        Limit::Time(time) => frames_in(time, fps),
        Limit::None => u64::from(fps),
    };
    let wanted = frames.saturating_mul(frame_bytes as u64).saturating_add(RECORD_RESERVE);
    let free = free_bytes(folder).map_err(fault)?;
    if free < wanted {
        return Err(Error::NoRoom { folder: folder.into(), wanted: wanted.div_ceil(MIB), free: free / MIB });
    }
    Ok(())
}

fn frames_in(time: Duration, fps: u32) -> u64 {
    time.as_secs().saturating_mul(fps.into())
}

/// What an ordinary user may still write there.
fn free_bytes(folder: &Path) -> io::Result<u64> {
    let stat = statvfs(folder)?;
    // Both are 64 bits or fewer, by the platform.
    #[allow(clippy::useless_conversion, reason = "they are u32 on some platforms")]
    Ok(u64::from(stat.blocks_available()).saturating_mul(u64::from(stat.fragment_size())))
}

/// A sensor and its loop.
struct Watch<'a> {
    sensor: Sensor,
    waiter: Waiter,
    signals: &'a mut Signals,
    clock: &'a Clock,
    /// The first frame's sensor, and when it came.
    begun: Option<(Option<Name>, Duration)>,
    said: Option<Trouble>,
    number: u64,
}

impl<'a> Watch<'a> {
    fn new(settings: sensor::Settings, signals: &'a mut Signals, clock: &'a Clock) -> io::Result<Self> {
        let sensor = Sensor::new(settings, clock.now().mono)?;
        let waiter = Waiter::new([sensor.job_fd().as_raw_fd(), signals.raw()])?;
        Ok(Self { sensor, waiter, signals, clock, begun: None, said: None, number: 0 })
    }

    /// Records until the limit, a signal or a fault; then stops the sensor. Returns how many frames came incomplete.
    fn run(mut self, writer: &mut Writer, limit: Limit) -> Result<u64, Error> {
        let result = self.record(writer, limit);
        let counters = *self.sensor.stream_counters();
        let incomplete = counters.frames_dropped + counters.frames_lost;
        self.stop().map_err(Error::Broken)?;
        result.map(|()| incomplete)
    }

    fn record(&mut self, writer: &mut Writer, limit: Limit) -> Result<(), Error> {
        let start = self.clock.now().mono;
        loop {
            let now = self.clock.now().mono;
            if self.signals.take() == Some(Asked::Stop) || writer.has_ended() {
                // Whoever gave up waiting is told why there was nothing to record.
                let begun = self.number > 0 || writer.has_ended();
                return if begun { Ok(()) } else { Err(Error::NoFrame(self.sensor.trouble())) };
            }
            match (limit, &self.begun) {
                (Limit::Time(time), Some((_, first))) if now >= *first + time => return Ok(()),
                (_, None) if now >= start + RECORD_START => {
                    return Err(Error::NoFrame(self.sensor.trouble()));
                }
                _ => {}
            }
            match self.sensor.turn(now) {
                Turn::Frame(info) => {
                    self.take(info, now, writer)?;
                    if limit == Limit::Frames(self.number) {
                        return Ok(());
                    }
                }
                Turn::More => {}
                Turn::Idle => {
                    self.say();
                    // Limits are looked at now and then, whatever the sensor does.
                    let at = self.sensor.deadline().map_or(LOOK, |at| at.saturating_sub(now).min(LOOK));
                    self.waiter.wait(self.sensor.node(), at).map_err(Error::Broken)?;
                }
            }
        }
    }

    /// Queues a frame, and before the first one what is known of the sensor.
    fn take(&mut self, info: FrameInfo, now: Duration, writer: &mut Writer) -> Result<(), Error> {
        let identity = self.sensor.identity();
        let serial = identity.map(|identity| identity.serial);
        match self.begun {
            Some((Some(first), _)) => {
                if let Some(other) = serial.filter(|serial| *serial != first) {
                    return Err(Error::OtherSensor { first: first.to_string(), other: other.to_string() });
                }
            }
            Some((None, _)) => {}
            None => {
                // Without tables raw frames are worthless; the driver has them before the first.
                let (Some(identity), Some((p0, _))) = (identity, self.sensor.replies()) else {
                    return Ok(());
                };
                writer.write("p0.bin".into(), p0.to_vec());
                writer.write("ir_params.json".into(), format_lens(&identity.lens).into_bytes());
                log::info!("recording sensor {}, firmware {}", identity.serial, identity.firmware);
                self.begun = Some((serial, now));
            }
        }
        self.said = None;
        let Some(frame) = self.sensor.raw_frame() else { return Ok(()) };
        let Some(mut buffer) = writer.buffer() else { return Ok(()) };
        buffer.clear();
        buffer.extend_from_slice(frame);
        self.number += 1;
        writer.write(frame_name(self.number, &info), buffer);
        Ok(())
    }

    /// Says why there are no frames, once for each reason.
    fn say(&mut self) {
        if let Some(trouble) = self.sensor.trouble().filter(|trouble| self.said != Some(*trouble)) {
            log::warn!("{trouble}");
            self.said = Some(trouble);
        }
    }

    fn stop(mut self) -> io::Result<()> {
        let mut now = self.clock.now().mono;
        let end = now + SENSOR_STOP;
        self.sensor.shut_down(now);
        while !self.sensor.is_shut_down() && now < end {
            if self.sensor.turn(now) == Turn::Idle && !self.sensor.is_shut_down() {
                let at = self.sensor.deadline().map_or(LOOK, |at| at.saturating_sub(now));
                self.waiter.wait(self.sensor.node(), at.min(end - now))?;
            }
            now = self.clock.now().mono;
        }
        Ok(())
    }
}

/// `NUMBER_TIMESTAMP_SEQUENCE.depth`: by name in the order of time, even if the sensor was plugged in again and counts
/// anew. libfreenect2 documents `PREFIX_TIMESTAMP_SEQUENCE.depth`, and takes a name (without a folder) whose first number
/// is not 0.
fn frame_name(number: u64, info: &FrameInfo) -> String {
    format!("{number:07}_{:010}_{:010}.depth", info.timestamp, info.sequence)
}

/// A thread that writes, and its queue of buffers, all of them allocated at its start.
struct Writer {
    jobs: SyncSender<(String, Vec<u8>)>,
    empty: Receiver<Vec<u8>>,
    lost: Arc<AtomicU64>,
    thread: JoinHandle<Result<u64, Error>>,
}

impl Writer {
    fn start(folder: &Path, buffers: usize, room: usize, limit: Limit) -> Result<Self, Error> {
        // With two jobs for what is known of the sensor.
        let (jobs, waiting) = sync_channel::<(String, Vec<u8>)>(buffers + 2);
        let (back, empty) = sync_channel(buffers);
        for _ in 0..buffers {
            // Touched here, so that the memory is there.
            let _ = back.send(vec![0; room]);
        }
        let lost = Arc::new(AtomicU64::new(0));
        let mut disk = Disk {
            folder: folder.into(),
            frames: 0,
            progress: Progress {
                limit,
                lost: Arc::clone(&lost),
                shown: io::stderr().is_terminal(),
                last: Instant::now(),
            },
        };
        let run = move || {
            while let Ok((name, bytes)) = waiting.recv() {
                disk.write(&name, &bytes)?;
                if is_frame(&name) {
                    // Fails only when the recording has ended and nobody takes buffers.
                    let _ = back.try_send(bytes);
                }
            }
            disk.progress.end(disk.frames);
            Ok(disk.frames)
        };
        let thread = thread::Builder::new().name("record-write".into()).spawn(run).map_err(Error::System)?;
        Ok(Self { jobs, empty, lost, thread })
    }

    /// A buffer, if there is one; a frame lost otherwise.
    fn buffer(&mut self) -> Option<Vec<u8>> {
        match self.empty.try_recv() {
            Ok(buffer) => Some(buffer),
            Err(TryRecvError::Disconnected) => None,
            Err(TryRecvError::Empty) => {
                if self.lost.fetch_add(1, Ordering::Relaxed) == 0 {
                    log::warn!("the disk is too slow: frames are lost");
                }
                None
            }
        }
    }

    /// A buffer, as soon as there is one; `None` if the thread has ended.
    fn wait_for_buffer(&mut self) -> Option<Vec<u8>> {
        self.empty.recv().ok()
    }

    /// Queues a file. For each there is a buffer, so this never waits.
    fn write(&mut self, name: String, bytes: Vec<u8>) {
        // A thread that has ended says why in `finish`.
        let _ = self.jobs.try_send((name, bytes));
    }

    /// Whether the thread has given up.
    fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until all is written; frames written and frames lost.
    fn finish(self) -> Result<(u64, u64), Error> {
        drop(self.jobs);
        let written =
            self.thread.join().unwrap_or_else(|_| Err(Error::Broken(io::ErrorKind::Other.into())))?;
        Ok((written, self.lost.load(Ordering::Relaxed)))
    }
}

/// What the writing thread knows.
struct Disk {
    folder: PathBuf,
    frames: u64,
    progress: Progress,
}

impl Disk {
    fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.folder.join(name);
        let full = |frames| Error::Full { folder: self.folder.clone(), frames };
        if self.frames.is_multiple_of(ROOM_EVERY)
            && free_bytes(&self.folder).is_ok_and(|free| free < RECORD_RESERVE)
        {
            return Err(full(self.frames));
        }
        if let Err(e) = write_whole(&path, bytes) {
            let full_now = matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            return Err(if full_now { full(self.frames) } else { Error::Write(path, e) });
        }
        if is_frame(name) {
            self.frames += 1;
            self.progress.step(self.frames);
        }
        Ok(())
    }
}

/// Whether a file is a frame, not what is known of the sensor.
fn is_frame(name: &str) -> bool {
    name.ends_with(".depth") || name.ends_with(".png")
}

/// A line on a terminal, nothing elsewhere. It is the writer's, so that a terminal on hold costs frames, which are
/// counted, and not the sensor.
struct Progress {
    limit: Limit,
    lost: Arc<AtomicU64>,
    shown: bool,
    last: Instant,
}

impl Progress {
    fn step(&mut self, frames: u64) {
        if self.shown && self.last.elapsed() >= PROGRESS_EVERY {
            self.last = Instant::now();
            self.show(frames, "");
        }
    }

    fn end(&mut self, frames: u64) {
        if self.shown {
            self.show(frames, "\n");
        }
    }

    fn show(&self, frames: u64, end: &str) {
        let lost = self.lost.load(Ordering::Relaxed);
        let mut line = format!("\r{frames}");
        if let Limit::Frames(all) = self.limit {
            line += &format!("/{all}");
        }
        line += &format!(" frames, {lost} lost to the disk{end}");
        // A terminal that is gone is no reason to stop.
        let _ = io::stderr().write_all(line.as_bytes());
    }
}

/// Longest wait before limits are looked at again.
const LOOK: Duration = Duration::from_millis(100);
/// The disk's free room is looked at before each so many frames.
const ROOM_EVERY: u64 = 8;
const PROGRESS_EVERY: Duration = Duration::from_millis(250);
const MIB: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use nix::sys::signal::{Signal, raise};

    use super::*;
    use crate::source::demo::Demo;
    use crate::source::kinect;
    use crate::source::kinect::tests::Bus;
    use crate::source::replay::Replay;

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("depthcast-record-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    fn signals() -> Signals {
        Signals::block().expect("a descriptor")
    }

    #[test]
    fn what_the_demo_delivers_is_played_back_bit_for_bit() {
        let folder = folder("demo");
        let demo = || Source::Demo(Box::new(Demo::new(1)));
        let summary = pictures(demo(), 15, &folder, Limit::Frames(5), &mut signals()).expect("recorded");
        assert_eq!(summary, Summary { frames: 5, lost: 0, incomplete: 0, playable: 2400 });
        let played = Replay::open(&folder).expect("good");
        assert_eq!(played.frame_count(), 5);
        assert!(folder.join("0000001.png").is_file(), "the first name");

        // The same, live, by the clock.
        let mut feed = Feed::new(demo(), 15, fault::Plan::default(), Now::default());
        let (mut live, mut back) = (vec![0; PIXELS], vec![0; PIXELS]);
        for n in 0..5 {
            let now = Now { mono: feed.due(true).expect("paced"), wall_us: 0 };
            assert!(matches!(feed.poll(now, &mut live), Outcome::Captured(_)));
            played.copy_frame(n, &mut back);
            assert!(live == back, "frame {n}");
        }

        let again = pictures(demo(), 15, &folder, Limit::None, &mut signals()).expect_err("not empty");
        assert!(again.to_string().ends_with("is not empty; name a new folder") && again.is_at_start());
        // A recording is recorded once through.
        let copy = folder.with_extension("copy");
        let _ = fs::remove_dir_all(&copy);
        let source = Source::open_replay(&folder).expect("good");
        assert_eq!(pictures(source, 30, &copy, Limit::None, &mut signals()).expect("copied").frames, 5);
        Replay::open(&copy).expect("good").copy_frame(4, &mut live);
        assert!(live == back);
        fs::remove_dir_all(&folder).expect("removed");
        fs::remove_dir_all(&copy).expect("removed");
    }

    #[test]
    fn to_be_interrupted_before_the_first_frame_is_a_failure() {
        let folder = folder("none");
        let bus = Bus::new();
        let settings = kinect::Settings::default().sensor(None, bus.roots(), true);
        let mut signals = signals();
        // To this thread, which is the one that has it blocked.
        raise(Signal::SIGTERM).expect("raised");
        let error =
            sensor(settings, &folder, Limit::None, &mut signals, &Clock::start()).expect_err("no frame");
        assert!(matches!(error, Error::NoFrame(_)) && error.is_at_start(), "{error}");
        fs::remove_dir_all(&folder).expect("removed");
    }

    #[test]
    fn a_disk_that_is_too_small_is_said_before() {
        let folder = folder("small");
        let demo = Source::Demo(Box::new(Demo::new(1)));
        let error =
            pictures(demo, 30, &folder, Limit::Frames(u64::MAX - 1), &mut signals()).expect_err("too much");
        assert!(error.to_string().contains("MiB are wanted") && error.is_at_start(), "{error}");
        fs::remove_dir_all(&folder).expect("removed");
    }

    #[test]
    fn frames_that_find_no_buffer_are_counted() {
        let folder = folder("slow");
        fs::create_dir_all(&folder).expect("made");
        let mut writer = Writer::start(&folder, 2, 10, Limit::None).expect("started");
        // Two buffers are out and none has come back.
        let first = writer.buffer().expect("a buffer");
        let second = writer.buffer().expect("another");
        assert!(writer.buffer().is_none() && writer.buffer().is_none());
        writer.write("1.png".into(), first);
        writer.write("2.png".into(), second);
        assert_eq!(writer.finish().expect("written"), (2, 2));
        let mut names: Vec<_> = fs::read_dir(&folder)
            .expect("a folder")
            .map(|e| e.expect("an entry").file_name().into_string().expect("text"))
            .collect();
        names.sort();
        assert_eq!(names, ["1.png", "2.png"], "nothing is left beside");
        fs::remove_dir_all(&folder).expect("removed");
    }

    #[test]
    fn a_writer_that_fails_says_which_file() {
        let folder = folder("gone");
        let mut writer = Writer::start(&folder, 2, 10, Limit::None).expect("started");
        let buffer = writer.buffer().expect("a buffer");
        writer.write("1.png".into(), buffer);
        let error = writer.finish().expect_err("there is no folder");
        assert!(error.to_string().contains("1.png: cannot be written") && !error.is_at_start(), "{error}");
    }

    #[test]
    fn names_are_in_the_order_of_time_even_when_the_sensor_counts_anew() {
        let info = |sequence, timestamp| FrameInfo { sequence, timestamp, first_packet: Duration::ZERO };
        let before = frame_name(9, &info(4_000_000_000, u32::MAX));
        let after = frame_name(10, &info(0, 0));
        assert_eq!(before, "0000009_4294967295_4000000000.depth");
        assert!(before < after);
    }

    #[test]
    fn the_summary_says_what_is_missing() {
        let all = Summary { frames: 300, lost: 0, incomplete: 0, playable: 300 };
        assert_eq!(all.to_string(), "300 frames");
        let some = Summary { frames: 301, lost: 2, incomplete: 1, ..all };
        assert_eq!(
            some.to_string(),
            "301 frames; 2 were lost because the disk is too slow; 1 did not come whole from the sensor; replay: takes at \
             most 300 of them, move the rest elsewhere"
        );
    }
}
