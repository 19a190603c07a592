//! What ties the appliance to its service manager: signals, notifications, the log.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{env, fmt};

use nix::fcntl::OFlag;
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{SFlag, fstat};
use nix::sys::time::TimeVal;

use crate::limits::{LOG_LINE_MAX, STATUS_EVERY};
use crate::source::SourceError;

/// What a signal asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Asked {
    /// TERM or INT: stop in good order.
    Stop,
    /// HUP: read the configuration again.
    Reload,
}

/// TERM, INT and HUP, as a descriptor that the loop can wait for.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// Blocks the signals for this thread, which must be the only one, and takes them through a descriptor.
    ///
    /// # Errors
    /// When the system refuses the descriptor.
    pub fn block() -> io::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            set.add(signal);
        }
        set.thread_block()?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self { fd })
    }

    /// The descriptor; readable when a signal waits.
    pub fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Takes all waiting signals and says what they ask for; to stop outweighs the rest.
    pub fn take(&mut self) -> Option<Asked> {
        let mut asked = None;
        while let Ok(Some(signal)) = self.fd.read_signal() {
            let reload = signal.ssi_signo == Signal::SIGHUP as u32;
            match asked {
                Some(Asked::Stop) => {}
                _ if reload => asked = Some(Asked::Reload),
                _ => asked = Some(Asked::Stop),
            }
        }
        asked
    }
}

/// Raises the number of descriptors that this process may have open to `needed`, as far as the system allows.
///
/// Returns the number it may have then.
///
/// # Errors
/// When the system does not even tell the limit.
pub fn allow_descriptors(needed: u64) -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = needed.clamp(soft, hard.max(soft));
    if wanted > soft {
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)?;
    }
    Ok(wanted)
}

/// What the process has used of the machine; zeros where the system does not tell.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Processor time of all its threads.
    pub cpu: Duration,
    /// Address space.
    pub virtual_bytes: u64,
    /// Memory that has been touched.
    pub resident_bytes: u64,
}

/// Asks the system what the process has used. Does not allocate.
pub fn usage() -> Usage {
    let time = |t: TimeVal| {
        let micros = u64::try_from(t.tv_usec()).unwrap_or_default();
        Duration::from_secs(u64::try_from(t.tv_sec()).unwrap_or_default()) + Duration::from_micros(micros)
    };
    let cpu = getrusage(UsageWho::RUSAGE_SELF)
        .map_or(Duration::ZERO, |u| time(u.user_time()) + time(u.system_time()));
    // proc_pid_status(5): some 1400 bytes, and both sizes stand in the first half.
    let mut buffer = [0; 4096];
    let length = File::open("/proc/self/status").and_then(|mut file| file.read(&mut buffer)).unwrap_or(0);
    let text = str::from_utf8(&buffer[..length]).unwrap_or_default();
    let kib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    Usage { cpu, virtual_bytes: 1024 * kib("VmSize:"), resident_bytes: 1024 * kib("VmRSS:") }
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
///
/// Nobody who stops reading it (a stalled journal, a terminal on hold) may stop the loop: a line that cannot be
/// written at once is lost, and the next one that can says how many were.
#[derive(Debug)]
struct Log {
    journal: bool,
    sink: Sink,
    lost: AtomicU64,
}

/// Standard error, written to without ever waiting.
#[derive(Debug)]
enum Sink {
    /// A stream of the journal: each send says that it must not wait.
    Socket,
    /// A pipe, terminal or file, opened once more: the flag must not reach others who share the first opening.
    Own(File),
    /// It cannot be opened once more; better a log that may wait than none.
    Shared,
}

impl Sink {
    fn standard_error() -> Self {
        let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        match fstat(io::stderr()).map(|stat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT) {
            Ok(SFlag::S_IFSOCK) => Sink::Socket,
            Ok(_) => OpenOptions::new()
                .append(true)
                .custom_flags(flags.bits())
                .open("/proc/self/fd/2")
                .map_or(Sink::Shared, Sink::Own),
            Err(_) => Sink::Shared,
        }
    }

    /// Writes one line in one call, so that lines of several programs do not mix.
    fn write(&self, line: &[u8]) -> io::Result<usize> {
        match self {
            Sink::Socket => {
                let now = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                Ok(send(io::stderr().as_raw_fd(), line, now)?)
            }
            Sink::Own(file) => (&mut &*file).write(line),
            Sink::Shared => io::stderr().write(line),
        }
    }
}

/// Starts the log at `level`.
pub fn start_log(level: log::LevelFilter) {
    let journal = env::var_os("JOURNAL_STREAM").is_some();
    let log = Box::leak(Box::new(Log { journal, sink: Sink::standard_error(), lost: AtomicU64::new(0) }));
    // Fails only if a log was started before, which then stays.
    if log::set_logger(log).is_ok() {
        log::set_max_level(level);
    }
}

impl Log {
    fn line(&self, level: log::Level, message: fmt::Arguments<'_>) -> Line {
        let mut line = Line::new();
        // A line never refuses text; what does not fit is left out.
        let _ = match (self.journal, level) {
            (true, level) => write!(line, "<{}>{message}", priority(level)),
            (false, log::Level::Info) => write!(line, "depthcast: {message}"),
            (false, level) => write!(line, "depthcast: {}: {message}", word(level)),
        };
        line
    }

    fn put(&self, mut line: Line) {
        if self.sink.write(line.ended()).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
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
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let notice =
                self.line(log::Level::Warn, format_args!("{lost} log lines were lost: nobody read them"));
            if self.sink.write(notice.clone().ended()).is_err() {
                self.lost.fetch_add(lost, Ordering::Relaxed);
            }
        }
        self.put(self.line(record.level(), *record.args()));
    }

    fn flush(&self) {}
}

/// A log line; what does not fit is left out.
#[derive(Clone)]
struct Line {
    text: heapless::String<LOG_LINE_MAX>,
}

impl Line {
    fn new() -> Self {
        Self { text: heapless::String::new() }
    }

    fn ended(&mut self) -> &[u8] {
        // A peer's text must not forge lines of its own; the last byte of the room is kept for the end of the line.
        while self.text.len() >= LOG_LINE_MAX {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_once_and_hold_no_control_characters() {
        let mut line = Line::new();
        write!(line, "a\nb\x1b[31m").expect("never fails");
        assert_eq!(line.ended(), b"a b [31m\n");
        let mut line = Line::new();
        write!(line, "{}", "é".repeat(LOG_LINE_MAX)).expect("never fails");
        let ended = line.ended();
        assert!(ended.len() <= LOG_LINE_MAX && ended.ends_with(b"\n"));
    }

    #[test]
    fn a_process_has_used_something() {
        let Usage { cpu, virtual_bytes, resident_bytes } = usage();
        assert!(cpu > Duration::ZERO && resident_bytes > 1 << 20 && virtual_bytes > resident_bytes);
    }

    #[test]
    fn a_log_that_nobody_reads_loses_lines_and_says_so() {
        use log::Log as _;
        use std::os::unix::net::UnixStream;

        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        ours.set_nonblocking(true).expect("set");
        let sink = Sink::Own(File::from(std::os::fd::OwnedFd::from(ours)));
        let log = Log { journal: true, sink, lost: AtomicU64::new(0) };
        log::set_max_level(log::LevelFilter::Info);
        let say = |n: u32| {
            let args = format_args!("line {n} {}", "x".repeat(400)).to_string();
            log.log(&log::Record::builder().level(log::Level::Info).args(format_args!("{args}")).build());
        };
        (0..5000).for_each(say);
        let lost = log.lost.load(Ordering::Relaxed);
        assert!(lost > 1000, "only {lost} lines were lost: the pair took the rest");
        theirs.set_nonblocking(true).expect("set");
        let mut heard = Vec::new();
        let _ = theirs.read_to_end(&mut heard);
        say(5000);
        heard.clear();
        let _ = theirs.read_to_end(&mut heard);
        let heard = String::from_utf8_lossy(&heard);
        assert!(
            heard.starts_with(&format!("<4>{lost} log lines were lost: nobody read them\n<6>line 5000 ")),
            "{heard}"
        );
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
