//! What ties the appliance to its service manager: signals, notifications, the log.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;
use std::{env, fmt};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::source::SourceError;

/// TERM and INT, as a descriptor that the loop can wait for.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// Blocks TERM and INT for this thread, which must be the only one, and takes them through a descriptor.
    ///
    /// # Errors
    /// When the system refuses the descriptor.
    pub fn block() -> io::Result<Self> {
        let mut set = SigSet::empty();
        set.add(Signal::SIGTERM);
        set.add(Signal::SIGINT);
        set.thread_block()?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self { fd })
    }

    /// The descriptor; readable when a signal waits.
    pub fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Takes all waiting signals; true if one of them was to stop.
    pub fn take_stop(&mut self) -> bool {
        let mut stop = false;
        while let Ok(Some(_)) = self.fd.read_signal() {
            stop = true;
        }
        stop
    }
}

/// Messages to systemd, on a socket opened at start; silent where there is none (sd_notify(3)).
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
    /// Half of what the watchdog allows.
    interval: Option<Duration>,
    next: Duration,
    next_status: Duration,
}

impl Notifier {
    /// Opens what `NOTIFY_SOCKET` names and heeds `WATCHDOG_USEC`.
    pub fn from_env() -> Self {
        let Some(name) = env::var_os("NOTIFY_SOCKET") else {
            return Self::default();
        };
        let socket = connect(name.as_bytes());
        if let Err(e) = &socket {
            log::warn!("cannot reach NOTIFY_SOCKET, systemd will not hear from us: {e}");
        }
        let usec = env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok());
        let interval = usec.map(|usec: u64| Duration::from_micros(usec / 2));
        Self { socket: socket.ok(), interval, next: Duration::ZERO, next_status: Duration::ZERO }
    }

    /// Viewers are served from now on.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// The server is about to exit.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// When [`Notifier::turn`] has something to say.
    pub fn due(&self) -> Option<Duration> {
        self.socket.as_ref()?;
        Some(self.interval.map_or(self.next_status, |_| self.next.min(self.next_status)))
    }

    /// Feeds the watchdog and refreshes the status line, each when its time has come.
    pub fn turn(
        &mut self,
        now: Duration,
        source: &str,
        gone: Option<&SourceError>,
        fps: f64,
        viewers: usize,
    ) {
        if self.socket.is_none() {
            return;
        }
        if let Some(interval) = self.interval
            && now >= self.next
        {
            self.next = now + interval;
            self.send("WATCHDOG=1");
        }
        if now >= self.next_status {
            self.next_status = now + STATUS_EVERY;
            let mut line = heapless::String::<256>::new();
            // Cut if it is longer: systemd shows one line.
            let _ = match gone {
                None => write!(line, "STATUS={source}: {fps:.1} frames/s, {viewers} viewers"),
                Some(error) => write!(line, "STATUS={source}: {error}, {viewers} viewers"),
            };
            self.send(&line);
        }
    }

    fn send(&self, message: &str) {
        if let Some(socket) = &self.socket {
            // A service manager that does not listen is not worth stopping for.
            let _ = socket.send(message.as_bytes());
        }
    }
}

fn connect(name: &[u8]) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    let address = match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
    };
    socket.connect_addr(&address)?;
    Ok(socket)
}

/// The log: lines on standard error, with the journal's priorities where the journal reads them.
#[derive(Debug)]
struct Log {
    journal: bool,
}

/// Starts the log at `level`.
pub fn start_log(level: log::LevelFilter) {
    let log = Box::leak(Box::new(Log { journal: env::var_os("JOURNAL_STREAM").is_some() }));
    // Fails only if a log was started before, which then stays.
    if log::set_logger(log).is_ok() {
        log::set_max_level(level);
    }
}

impl log::Log for Log {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut line = Line::new();
        let _ = match (self.journal, record.level()) {
            (true, level) => write!(line, "<{}>{}", priority(level), record.args()),
            (false, log::Level::Info) => write!(line, "depthcast: {}", record.args()),
            (false, level) => write!(line, "depthcast: {}: {}", word(level), record.args()),
        };
        // One write a line, so that lines of several programs do not mix. A log nobody reads is no reason to stop.
        let _ = io::stderr().write_all(line.ended());
    }

    fn flush(&self) {}
}

/// A log line; what does not fit is left out.
struct Line {
    text: heapless::String<LINE_MAX>,
}

impl Line {
    fn new() -> Self {
        Self { text: heapless::String::new() }
    }

    fn ended(&mut self) -> &[u8] {
        // A peer's text must not forge lines of its own; the last byte of the room is kept for the end of the line.
        while self.text.len() >= LINE_MAX {
            self.text.pop();
        }
        let _ = self.text.push('\n');
        self.text.as_bytes()
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            let c = if c.is_control() { ' ' } else { c };
            if self.text.push(c).is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// How a level reads on a terminal.
fn word(level: log::Level) -> &'static str {
    match level {
        log::Level::Error => "error",
        log::Level::Warn => "warning",
        log::Level::Info => "info",
        log::Level::Debug => "debug",
        log::Level::Trace => "trace",
    }
}

/// sd-daemon(3): the kernel's priorities.
fn priority(level: log::Level) -> u8 {
    match level {
        log::Level::Error => 3,
        log::Level::Warn => 4,
        log::Level::Info => 6,
        log::Level::Debug | log::Level::Trace => 7,
    }
}

const STATUS_EVERY: Duration = Duration::from_secs(5);
const LINE_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_once_and_hold_no_control_characters() {
        let mut line = Line::new();
        write!(line, "a\nb\x1b[31m").expect("never fails");
        assert_eq!(line.ended(), b"a b [31m\n");
        let mut line = Line::new();
        write!(line, "{}", "é".repeat(LINE_MAX)).expect("never fails");
        let ended = line.ended();
        assert!(ended.len() <= LINE_MAX && ended.ends_with(b"\n"));
    }

    #[test]
    fn the_service_manager_hears_of_everything() {
        let path = env::temp_dir().join(format!("depthcast-notify-{}", std::process::id()));
        let theirs = UnixDatagram::bind(&path).expect("bound");
        let mut notifier = Notifier {
            socket: Some(connect(path.as_os_str().as_bytes()).expect("connected")),
            interval: Some(Duration::from_secs(2)),
            ..Notifier::default()
        };
        notifier.ready();
        for second in 0..6 {
            assert!(notifier.due().is_some());
            notifier.turn(Duration::from_secs(second), "demo", Some(&SourceError::Silent), 29.9, 3);
        }
        notifier.stopping();
        theirs.set_nonblocking(true).expect("set");
        let mut heard = Vec::new();
        let mut buffer = [0; 300];
        while let Ok(n) = theirs.recv(&mut buffer) {
            heard.push(String::from_utf8_lossy(&buffer[..n]).into_owned());
        }
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(heard.first().map(String::as_str), Some("READY=1"));
        assert_eq!(heard.last().map(String::as_str), Some("STOPPING=1"));
        assert_eq!(heard.iter().filter(|m| *m == "WATCHDOG=1").count(), 3);
        let status = heard.iter().filter(|m| m.starts_with("STATUS=demo: the sensor is connected")).count();
        assert_eq!(status, 2);
    }
}
