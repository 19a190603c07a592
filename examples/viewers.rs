//! Many viewers in one thread, for `benches/send`: reads pictures as fast as they come and says what that cost the server.
//!
//! `viewers ADDRESS WAY COUNT SECONDS PID`, where WAY is one of
//!
//! | way | each viewer |
//! | --- | --- |
//! | `python` | asks for the next message as soon as it has one |
//! | `/stream...` | reads the parts of the stream at this path |
//! | `/files/%` | asks over one connection for this path, 30 times a second, with 0 to 29 for the `%` |
//!
//! After two seconds to get going the counting begins. Printed is one line of `name=value`:
//!
//! | name | what |
//! | --- | --- |
//! | `frames` | pictures that arrived whole, all viewers together |
//! | `least`, `most` | pictures of the viewer that got fewest, and most |
//! | `skipped` | sequence numbers that were left out, all viewers together |
//! | `bytes` | bytes read |
//! | `cpu_us` | microseconds of CPU that process PID used meanwhile |
//! | `wakes` | times that it slept and was woken |
//! | `kib` | its resident memory at the end |
//! | `ms` | milliseconds that it all took |
//! | `late_us`, `late99_us` | from capture to the last byte at a viewer, in the middle and for 99 of 100; 0 if pictures do not say |

use std::error::Error;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::{Events, Interest, Poll, Token};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, way, count, seconds, pid] = &arguments[..] else {
        return Err("usage: viewers ADDRESS python|/stream...|/files/% COUNT SECONDS PID".into());
    };
    let way = match way.as_str() {
        "python" => Way::Python,
        path if path.contains('%') => Way::Files(path.to_owned()),
        path => Way::Stream(path.to_owned()),
    };
    let address: SocketAddr = address.parse()?;
    let (count, seconds, pid): (usize, u64, u32) = (count.parse()?, seconds.parse()?, pid.parse()?);
    let mut crowd = Crowd::connect(address, way, count)?;
    crowd.watch(Duration::from_secs(2))?;
    crowd.viewers.iter_mut().for_each(|v| v.seen = Seen::default());
    crowd.late.clear();
    let (before, begun) = (Process::read(pid)?, Instant::now());
    crowd.watch(Duration::from_secs(seconds))?;
    let (after, took) = (Process::read(pid)?, begun.elapsed());

    let each = || crowd.viewers.iter().map(|v| v.seen.frames);
    let sum = |of: fn(&Seen) -> u64| crowd.viewers.iter().map(|v| of(&v.seen)).sum::<u64>();
    crowd.late.sort_unstable();
    let late = |part: usize| crowd.late.get(crowd.late.len() * part / 100).copied().unwrap_or_default();
    println!(
        "frames={} least={} most={} skipped={} bytes={} cpu_us={} wakes={} kib={} ms={} late_us={} late99_us={}",
        sum(|s| s.frames),
        each().min().unwrap_or_default(),
        each().max().unwrap_or_default(),
        sum(|s| s.skipped),
        sum(|s| s.bytes),
        (after.cpu_ns - before.cpu_ns) / 1000,
        after.wakes - before.wakes,
        after.kib,
        took.as_millis(),
        late(50),
        late(99),
    );
    Ok(())
}

/// How pictures are asked for.
enum Way {
    Python,
    Stream(String),
    Files(String),
}

struct Crowd {
    poll: Poll,
    events: Events,
    viewers: Vec<Viewer>,
    way: Way,
    buffer: Vec<u8>,
    /// Microseconds from capture to the last byte, of all frames.
    late: Vec<u64>,
    next_tick: Instant,
    tick: u64,
}

impl Crowd {
    fn connect(address: SocketAddr, way: Way, count: usize) -> Result<Self, Box<dyn Error>> {
        let poll = Poll::new()?;
        let mut viewers = Vec::new();
        for n in 0..count {
            let mut stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            match &way {
                Way::Python => stream.write_all(b"0")?,
                Way::Stream(path) => write!(stream, "GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n")?,
                Way::Files(_) => {}
            }
            stream.set_nonblocking(true)?;
            let mut stream = mio::net::TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(n), Interest::READABLE)?;
            viewers.push(Viewer {
                stream,
                head: Vec::with_capacity(HEAD_MAX),
                front: Vec::with_capacity(FRONT),
                left: 0,
                waits: false,
                seq: 0,
                seen: Seen::default(),
            });
        }
        let (events, buffer) = (Events::with_capacity(1024), vec![0; 256 * 1024]);
        Ok(Self { poll, events, viewers, way, buffer, late: Vec::new(), next_tick: Instant::now(), tick: 0 })
    }

    /// Reads whatever comes, for so long.
    fn watch(&mut self, time: Duration) -> Result<(), Box<dyn Error>> {
        let end = Instant::now() + time;
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            if let Way::Files(path) = &self.way
                && now >= self.next_tick
            {
                let path = path.replace('%', &(self.tick % 30).to_string());
                let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n");
                for viewer in self.viewers.iter_mut().filter(|v| !v.waits) {
                    viewer.stream.write_all(request.as_bytes())?;
                    viewer.waits = true;
                }
                self.tick += 1;
                // Late ticks are left out, as late frames are.
                self.next_tick = (self.next_tick + TICK).max(now);
            }
            let due = if matches!(self.way, Way::Files(_)) { end.min(self.next_tick) } else { end };
            match self.poll.poll(&mut self.events, Some(due.saturating_duration_since(Instant::now()))) {
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                result => result?,
            }
            for event in &self.events {
                self.viewers[event.token().0].read(&mut self.buffer, &self.way, &mut self.late)?;
            }
        }
    }
}

struct Viewer {
    stream: mio::net::TcpStream,
    /// What has come of the head in front of a picture.
    head: Vec<u8>,
    /// The beginning of the picture, where it says what it is.
    front: Vec<u8>,
    /// Bytes of the picture that are still to come; 0 while its head is read.
    left: usize,
    /// An answer is on its way.
    waits: bool,
    /// Sequence number of the picture before.
    seq: u64,
    seen: Seen,
}

#[derive(Default)]
struct Seen {
    frames: u64,
    skipped: u64,
    bytes: u64,
}

impl Viewer {
    /// Reads until there is no more.
    fn read(&mut self, buffer: &mut [u8], way: &Way, late: &mut Vec<u64>) -> Result<(), Box<dyn Error>> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err("the server closed a connection".into()),
                Ok(n) => {
                    self.seen.bytes += n as u64;
                    self.take(&buffer[..n], way, late)?;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn take(&mut self, mut bytes: &[u8], way: &Way, late: &mut Vec<u64>) -> Result<(), Box<dyn Error>> {
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let (picture, rest) = bytes.split_at(self.left.min(bytes.len()));
                let wanted = picture.len().min(FRONT - self.front.len());
                self.front.extend_from_slice(&picture[..wanted]);
                self.left -= picture.len();
                bytes = rest;
                if self.left == 0 {
                    self.arrived(way, late)?;
                }
                continue;
            }
            self.head.push(*first);
            bytes = rest;
            let whole = match way {
                Way::Python => self.head.len() == PYTHON_HEAD,
                Way::Stream(_) | Way::Files(_) => self.head.ends_with(b"\r\n\r\n"),
            };
            if whole {
                // The stream's own head has no length: another head follows.
                self.left = match way {
                    Way::Python => u32::from_be_bytes(self.head[..4].try_into()?) as usize,
                    Way::Stream(_) | Way::Files(_) => {
                        number(&self.head, "Content-Length: ").unwrap_or(0.0) as usize
                    }
                };
                let refused =
                    self.head.starts_with(b"HTTP/") && !self.head.windows(5).take(9).any(|w| w == b" 200 ");
                if refused || self.head.len() > HEAD_MAX {
                    return Err(String::from_utf8_lossy(&self.head).into());
                }
                self.head.clear();
                self.front.clear();
            }
        }
        Ok(())
    }

    /// A picture is here whole.
    fn arrived(&mut self, way: &Way, late: &mut Vec<u64>) -> Result<(), Box<dyn Error>> {
        self.seen.frames += 1;
        if !matches!(way, Way::Files(_))
            && let (Some(seq), Some(captured)) =
                (number(&self.front, "\"seq\":"), number(&self.front, "\"captured\":"))
        {
            let seq = seq as u64;
            if self.seq > 0 {
                self.seen.skipped += seq.saturating_sub(self.seq + 1);
            }
            self.seq = seq;
            late.push(
                ((SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64() - captured).max(0.0) * 1e6)
                    as u64,
            );
        }
        self.waits = false;
        if matches!(way, Way::Python) {
            self.stream.write_all(b"0")?;
        }
        Ok(())
    }
}

/// The number behind `name`.
fn number(bytes: &[u8], name: &str) -> Option<f64> {
    let at = bytes.windows(name.len()).position(|w| w.eq_ignore_ascii_case(name.as_bytes()))? + name.len();
    let digits = bytes[at..].iter().take_while(|b| b.is_ascii_digit() || **b == b'.').count();
    str::from_utf8(&bytes[at..at + digits]).ok()?.parse().ok()
}

/// What a process has used so far.
struct Process {
    cpu_ns: u64,
    wakes: u64,
    kib: u64,
}

impl Process {
    fn read(pid: u32) -> Result<Self, Box<dyn Error>> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let of = |name: &str| {
            let line = status
                .lines()
                .find_map(|l| l.strip_prefix(name))
                .ok_or("a line of /proc/PID/status is missing")?;
            Ok::<u64, Box<dyn Error>>(line.trim().trim_end_matches(" kB").parse()?)
        };
        // Finer than the ticks of /proc/PID/stat: nanoseconds on a processor, user and system together.
        let schedstat = fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
        let cpu_ns = schedstat.split(' ').next().ok_or("an empty schedstat")?.parse()?;
        Ok(Self { cpu_ns, wakes: of("voluntary_ctxt_switches:")?, kib: of("VmRSS:")? })
    }
}

const TICK: Duration = Duration::from_nanos(1_000_000_000 / 30);
/// Bytes of the head of a message for Python viewers.
const PYTHON_HEAD: usize = 284;
const HEAD_MAX: usize = 4096;
/// Bytes within which a picture says what it is: in a PNG the palette comes before that, pickled in up to six bytes for one.
const FRONT: usize = 8192;
