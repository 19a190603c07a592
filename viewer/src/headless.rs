//! Without a window: pictures into files, a line of JSON for each, or how fast they come.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::depth::Depth;
use crate::failure::Failure;
use crate::link::{Ended, Event, Frame, Link};
use crate::save;

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Pictures after which it is over; without, only the end of the output ends it.
    pub frames: Option<u64>,
    /// Folder that pictures are saved in, by number.
    pub save: Option<PathBuf>,
    /// What is counted, saved and printed: pictures, or lossless depth.
    pub depth: bool,
    /// A line of JSON for each.
    pub print: bool,
    /// Figures at the end.
    pub bench: bool,
}

/// Does it; lines go to `out`, progress to the standard error stream if that is a terminal.
///
/// # Errors
/// [`Failure::CannotStart`] before the first picture, [`Failure::Failed`] after it. A reader of `out` that has left is no
/// failure: that is how endless printing ends.
pub fn run(link: Link, plan: &Plan, out: &mut impl Write) -> Result<(), Failure> {
    let mut work = Work {
        plan,
        out,
        count: 0,
        finished: false,
        failure: None,
        figures: Figures::default(),
        progress: Progress::new(plan),
    };
    if let Some(folder) = &plan.save {
        std::fs::create_dir_all(folder)
            .map_err(|error| Failure::CannotStart(format!("{}: {error}", folder.display())))?;
    }
    let ended = link.run(|event| work.take(event));
    work.progress.end();
    if let Some(failure) = work.failure.take() {
        return Err(failure);
    }
    match ended {
        Ok(Ended::Left { .. }) => {}
        Ok(Ended::Lost(why)) => return Err(work.failed(why.to_string())),
        Err(error) => return Err(work.failed(error.to_string())),
    }
    if plan.bench {
        // As above: a reader who has left wants no figures.
        let _ = write!(work.out, "{}", work.figures);
    }
    let _ = work.out.flush();
    Ok(())
}

struct Work<'a, W> {
    plan: &'a Plan,
    out: &'a mut W,
    count: u64,
    /// Nobody reads what is printed any more.
    finished: bool,
    failure: Option<Failure>,
    figures: Figures,
    progress: Progress,
}

impl<W: Write> Work<'_, W> {
    fn take(&mut self, event: Event) -> ControlFlow<()> {
        if self.is_done() {
            return ControlFlow::Break(());
        }
        let taken = match event {
            Event::Frame(frame) if !self.plan.depth => {
                self.figures.frame(&frame);
                let line = self.plan.print.then(|| frame_line(&frame));
                let file = if self.plan.save.is_some() { save::png(&frame) } else { Cow::default() };
                self.keep(&file, line)
            }
            Event::Depth(depth) if self.plan.depth => {
                self.figures.depth(&depth);
                let line = self.plan.print.then(|| depth_line(self.count + 1, &depth));
                let file = if self.plan.save.is_some() { save::png16(&depth) } else { Vec::new() };
                self.keep(&file, line)
            }
            Event::NotDepthcast if self.plan.depth => Err(Failure::CannotStart(
                "png16 is lossless depth, which only depthcast serves; the pictures of this server do not say that it is one"
                    .into(),
            )),
            Event::NoDepth(why) if self.plan.depth => Err(self.failed(format!("no depth: {why}"))),
            _ => Ok(()),
        };
        self.progress.show(self.count);
        if let Err(failure) = taken {
            self.failure = Some(failure);
            return ControlFlow::Break(());
        }
        if self.is_done() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn is_done(&self) -> bool {
        self.finished || self.failure.is_some() || self.plan.frames == Some(self.count)
    }

    /// Saves and prints one.
    fn keep(&mut self, file: &[u8], line: Option<Value>) -> Result<(), Failure> {
        if let Some(folder) = &self.plan.save {
            save::write(folder, &format!("{:06}.png", self.count + 1), file)
                .map_err(|error| self.failed(error.to_string()))?;
        }
        self.count += 1;
        if let Some(line) = line {
            match writeln!(self.out, "{line}").and_then(|()| self.out.flush()) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.finished = true,
                Err(error) => return Err(self.failed(error.to_string())),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    fn failed(&self, why: String) -> Failure {
        if self.count == 0 { Failure::CannotStart(why) } else { Failure::Failed(why) }
    }
}

/// Seconds since 1970, to the microsecond.
fn unix(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_micros() as f64 / 1e6)
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e5).round() / 100.0
}

fn frame_line(frame: &Frame) -> Value {
    let picture = &frame.picture;
    let about = picture.about.as_ref();
    json!({
        "frame": frame.number,
        "seq": about.map(|about| about.seq),
        "captured": about.map(|about| about.captured),
        "online": about.map(|about| about.online),
        "range_mm": about.and_then(|about| about.range_mm).map(|(min, max)| [min, max]),
        "received": unix(frame.received),
        "waited_ms": millis(frame.waited),
        "payload_bytes": frame.payload,
        "picture_bytes": frame.file.len(),
        "format": picture.format(),
        "width": picture.width,
        "height": picture.height,
        "text": frame.text.to_json(),
    })
}

fn depth_line(number: u64, depth: &Depth) -> Value {
    let valid = depth.mm.iter().filter(|mm| **mm > 0);
    json!({
        "frame": number,
        "seq": depth.head.seq,
        "captured": depth.head.captured_us as f64 / 1e6,
        "age_ms": depth.head.age_ms,
        "received": unix(SystemTime::now()),
        "rvl_bytes": depth.head.length,
        "width": depth.width,
        "height": depth.height,
        "valid": valid.clone().count(),
        "nearest_mm": valid.clone().min(),
        "farthest_mm": valid.max(),
    })
}

/// How fast they come.
#[derive(Debug, Default)]
struct Figures {
    first: Option<Instant>,
    last: Option<Instant>,
    bytes: Vec<f64>,
    waited_ms: Vec<f64>,
    age_ms: Vec<f64>,
}

impl Figures {
    fn frame(&mut self, frame: &Frame) {
        self.came(frame.payload + depthcast::proto::pickle::HEADER_LEN);
        self.waited_ms.push(frame.waited.as_secs_f64() * 1e3);
        if let Some(about) = &frame.picture.about {
            self.age_ms.push((unix(frame.received) - about.captured) * 1e3);
        }
    }

    fn depth(&mut self, depth: &Depth) {
        self.came(depth.head.length as usize);
        self.age_ms.push((unix(SystemTime::now()) - depth.head.captured_us as f64 / 1e6) * 1e3);
    }

    fn came(&mut self, bytes: usize) {
        self.last = Some(Instant::now());
        self.first = self.first.or(self.last);
        self.bytes.push(bytes as f64);
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.first.zip(self.last).map_or(0.0, |(first, last)| (last - first).as_secs_f64());
        let frames = self.bytes.len();
        write!(f, "frames             {frames} in {seconds:.2} s")?;
        // The first opens the interval that the others are counted in.
        if frames > 1 && seconds > 0.0 {
            let bits = 8.0 * self.bytes[1..].iter().sum::<f64>();
            write!(f, ", {:.1} a second, {:.2} Mbit/s", (frames - 1) as f64 / seconds, bits / seconds / 1e6)?;
        }
        writeln!(f)?;
        spread(f, "bytes a frame      ", &self.bytes, 0)?;
        spread(f, "request to last ms ", &self.waited_ms, 2)?;
        // True between machines only as far as their clocks agree.
        spread(f, "capture to here ms ", &self.age_ms, 2)
    }
}

/// A line with the middle, the 95th percentile and the largest.
fn spread(f: &mut fmt::Formatter<'_>, name: &str, values: &[f64], digits: usize) -> fmt::Result {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let Some(largest) = values.last() else { return Ok(()) };
    let at = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
    writeln!(f, "{name}median {:.digits$}, 95 % {:.digits$}, most {largest:.digits$}", at(0.5), at(0.95))
}

/// A line that is written over, on a terminal.
#[derive(Debug)]
struct Progress {
    shown: Option<Instant>,
    begun: Instant,
    frames: Option<u64>,
    on: bool,
}

impl Progress {
    fn new(plan: &Plan) -> Self {
        // Lines of JSON on the same terminal are progress enough.
        let on = io::stderr().is_terminal() && !(plan.print && io::stdout().is_terminal());
        Self { shown: None, begun: Instant::now(), frames: plan.frames, on }
    }

    fn show(&mut self, count: u64) {
        const EVERY: Duration = Duration::from_millis(200);
        if !self.on || self.shown.is_some_and(|shown| shown.elapsed() < EVERY) {
            return;
        }
        self.shown = Some(Instant::now());
        let of = self.frames.map_or(String::new(), |frames| format!(" of {frames}"));
        let rate = count as f64 / self.begun.elapsed().as_secs_f64().max(0.001);
        // A terminal that is gone is no reason to stop.
        let _ = write!(io::stderr(), "\r{count}{of} frames, {rate:.1} a second \x1b[K");
    }

    fn end(&self) {
        if self.shown.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
