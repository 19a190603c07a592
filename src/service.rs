//! What ties the appliance to its service manager: signals, notifications, inherited sockets, the log; and what the process
//! may use and has used.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::TcpListener;
use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{env, fmt};

use kinect2::driver::Name;
use listenfd::ListenFd;
use nix::fcntl::OFlag;
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{SFlag, fstat, lstat, stat};
use nix::sys::time::TimeVal;
use nix::time::{ClockId, clock_gettime};

use crate::limits::{HEALTH_EVERY, LOG_LINE_MAX, STATUS_EVERY, STATUS_MAX};
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
    /// Descriptors that are open.
    pub open_fds: u64,
    /// Descriptors that may be.
    pub max_fds: u64,
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
    let number = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    // Since Linux 6.2 the folder's size is the number of its entries (proc_pid_fd(5)); zero before.
    let open_fds = stat("/proc/self/fd").map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0));
    Usage {
        cpu,
        virtual_bytes: 1024 * number("VmSize:"),
        resident_bytes: 1024 * number("VmRSS:"),
        open_fds: if open_fds > 0 { open_fds } else { listed_fds(0..number("FDSize:")) },
        max_fds: getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft),
    }
}

/// How many of these descriptors are open, where the system has to be asked about each: a microsecond or two apiece.
fn listed_fds(numbers: Range<u64>) -> u64 {
    let is_open = |fd: &u64| {
        let mut path = heapless::String::<48>::new();
        write!(path, "/proc/self/fd/{fd}").is_ok_and(|()| lstat(path.as_str()).is_ok())
    };
    numbers.filter(is_open).count() as u64
}

/// Sockets that the service manager opened for this program, in its order; none if it was started otherwise.
///
/// To be called once, before any thread is started: the variables that name them are taken out of the environment.
///
/// # Errors
/// If one of them is nothing to accept viewers from, with what to do about it.
pub fn inherited() -> Result<Vec<Inherited>, String> {
    let mut sockets = ListenFd::from_env();
    let mut found = Vec::new();
    for n in 0..sockets.len() {
        let tcp = sockets.take_tcp_listener(n).ok().flatten().map(Inherited::Tcp);
        let unix = || sockets.take_unix_listener(n).ok().flatten().map(Inherited::Unix);
        found.push(tcp.or_else(unix).ok_or_else(|| {
            format!(
                "inherited socket {}, of {}, is no TCP or Unix stream socket: mend ListenStream= of the socket unit, or \
                 LISTEN_FDS",
                n + 1,
                sockets.len()
            )
        })?);
    }
    Ok(found)
}

/// A socket that listens already.
#[derive(Debug)]
pub enum Inherited {
    /// A TCP port.
    Tcp(TcpListener),
    /// A Unix socket, whose file belongs to whoever made it.
    Unix(UnixListener),
}

/// Messages to systemd, on a socket opened at start; silent where there is none (sd_notify(3)).
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
    /// Half of what the watchdog allows.
    interval: Option<Duration>,
    next: Duration,
    next_status: Duration,
    /// The watchdog is not fed, and the log knows.
    starving: bool,
    /// When to say again that the server is ready, since the service manager had no room for it.
    unheard: Option<Duration>,
}

/// What the line says that systemd shows.
#[derive(Clone, Copy, Debug)]
pub struct Status<'a> {
    /// The kind of source.
    pub source: &'a str,
    /// Serial number of a sensor, once known.
    pub serial: Option<Name>,
    /// Why there are no frames, if there are none.
    pub gone: Option<SourceError>,
    /// Whether frames come or something is done about it: else the watchdog is not fed.
    pub healthy: bool,
    /// Frames a second, once they have come for long enough to tell.
    pub fps: Option<f64>,
    /// Connected viewers.
    pub viewers: usize,
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
        let number = |name| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        // sd_watchdog_enabled(3): it may be meant for another process, a wrapper that started this one.
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let usec = number("WATCHDOG_USEC").filter(|usec| ours && *usec > 0);
        let interval = usec.map(|usec| Duration::from_micros(usec / 2));
        Self { socket: socket.ok(), interval, ..Self::default() }
    }

    /// Viewers are served from now on.
    pub fn ready(&mut self) {
        // It ends the start or a reload: were it lost, the service manager would stop a server that serves.
        self.unheard = (!self.send(READY)).then_some(Duration::ZERO);
    }

    /// The configuration is being read again; [`Notifier::ready`] ends it.
    pub fn reloading(&self) {
        // systemd tells by it that this reload is the one it asked for.
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| Duration::from(time).as_micros());
        let mut message = heapless::String::<64>::new();
        let _ = write!(message, "RELOADING=1\nMONOTONIC_USEC={now}");
        self.send(&message);
    }

    /// The server is about to exit.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// When [`Notifier::turn`] has something to say.
    pub fn due(&self) -> Option<Duration> {
        self.socket.as_ref()?;
        let next = self.interval.map(|_| self.next);
        [Some(self.next_status), next, self.unheard].into_iter().flatten().min()
    }

    /// Feeds the watchdog and refreshes the status line, each when its time has come.
    pub fn turn(&mut self, now: Duration, status: &Status<'_>) {
        if self.socket.is_none() {
            return;
        }
        if self.unheard.is_some_and(|again| now >= again) {
            self.unheard = (!self.send(READY)).then_some(now + HEALTH_EVERY);
        }
        if let Some(interval) = self.interval
            && now >= self.next
        {
            if status.healthy {
                // One that finds the queue full is sent again: the next would come when the time is up.
                let again = if self.send("WATCHDOG=1") { interval } else { interval.min(HEALTH_EVERY) };
                self.next = now + again;
                self.starving = false;
            } else {
                self.next = now + interval.min(HEALTH_EVERY);
                if !std::mem::replace(&mut self.starving, true) {
                    log::error!(
                        "{}: neither frames nor a step towards them: unless that changes, the watchdog will restart this \
                         program",
                        status.source
                    );
                }
            }
        }
        if now >= self.next_status {
            self.next_status = now + STATUS_EVERY;
            let mut line = heapless::String::<STATUS_MAX>::new();
            let Status { source, serial, gone, healthy, fps, viewers } = *status;
            let space = if serial.is_some() { " " } else { "" };
            let serial = serial.unwrap_or(Name::new(""));
            let many = if viewers == 1 { "" } else { "s" };
            let _ = write!(line, "STATUS={source}{space}{serial}: ");
            // What does not fit is cut off the end, where the remedy stands: systemd shows one line.
            let _ = match (gone, fps) {
                (None, Some(fps)) => write!(line, "{fps:.1} frames/s, {viewers} viewer{many}"),
                (None, None) => write!(line, "starting, {viewers} viewer{many}"),
                (Some(error), _) if healthy => write!(line, "no picture, {viewers} viewer{many}: {error}"),
                (Some(error), _) => write!(line, "not healthy, {viewers} viewer{many}: {error}"),
            };
            self.send(&line);
        }
    }

    /// False if there is no room for the message now. A service manager that does not listen is not worth stopping for.
    fn send(&self, message: &str) -> bool {
        let sent = self.socket.as_ref().map(|socket| socket.send(message.as_bytes()));
        !matches!(sent, Some(Err(e)) if e.kind() == io::ErrorKind::WouldBlock)
    }
}

const READY: &str = "READY=1";

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
    let journal = under_journal();
    let log = Box::leak(Box::new(Log { journal, sink: Sink::standard_error(), lost: AtomicU64::new(0) }));
    // Fails only if a log was started before, which then stays.
    if log::set_logger(log).is_ok() {
        log::set_max_level(level);
    }
}

/// Says on standard error why the program ends, with the journal's priority where the journal reads it.
pub fn complain(why: &str) {
    let mut stderr = io::stderr().lock();
    // Nobody is left to be told that this cannot be said.
    let _ = if under_journal() {
        writeln!(stderr, "<{}>{why}", priority(log::Level::Error))
    } else {
        writeln!(stderr, "depthcast: error: {why}")
    };
}

fn under_journal() -> bool {
    env::var_os("JOURNAL_STREAM").is_some()
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
    use nix::fcntl::{FcntlArg, fcntl};

    use super::*;

    #[test]
    fn without_sockets_none_are_inherited() {
        assert!(inherited().expect("nothing is wrong").is_empty());
    }

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
        let Usage { cpu, virtual_bytes, resident_bytes, open_fds, max_fds } = usage();
        assert!(cpu > Duration::ZERO && resident_bytes > 1 << 20 && virtual_bytes > resident_bytes);
        assert!(open_fds >= 3 && open_fds < max_fds, "{open_fds} of {max_fds}");
    }

    #[test]
    fn open_descriptors_are_counted_by_looking_at_each() {
        // High numbers: the lowest that is free is what other tests are given meanwhile.
        let high = 1000..1010;
        assert_eq!(listed_fds(high.clone()), 0);
        let file = File::open("/dev/null").expect("opened");
        let held = [1001, 1007].map(|at| fcntl(&file, FcntlArg::F_DUPFD_CLOEXEC(at)).expect("a copy"));
        assert_eq!(listed_fds(high.clone()), 2);
        for fd in held {
            nix::unistd::close(fd).expect("closed");
        }
        assert_eq!(listed_fds(high), 0);
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

    /// A notifier, and the service manager's end.
    struct Manager {
        socket: UnixDatagram,
        path: std::path::PathBuf,
    }

    impl Manager {
        fn new(name: &str, interval: Option<Duration>) -> (Self, Notifier) {
            let path = env::temp_dir().join(format!("depthcast-notify-{name}-{}", std::process::id()));
            let _ = std::fs::remove_file(&path);
            let socket = UnixDatagram::bind(&path).expect("bound");
            socket.set_nonblocking(true).expect("set");
            let ours = Some(connect(path.as_os_str().as_bytes()).expect("connected"));
            (Self { socket, path }, Notifier { socket: ours, interval, ..Notifier::default() })
        }

        fn heard(&self) -> Vec<String> {
            let mut heard = Vec::new();
            let mut buffer = [0; 300];
            while let Ok(n) = self.socket.recv(&mut buffer) {
                heard.push(String::from_utf8_lossy(&buffer[..n]).into_owned());
            }
            heard
        }
    }

    impl Drop for Manager {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    const FINE: Status<'_> =
        Status { source: "demo", serial: None, gone: None, healthy: true, fps: Some(29.94), viewers: 3 };

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_service_manager_hears_of_everything() {
        let (manager, mut notifier) = Manager::new("all", Some(s(2)));
        notifier.ready();
        for second in 0..6 {
            assert!(notifier.due().is_some());
            notifier.turn(s(second), &FINE);
        }
        notifier.reloading();
        notifier.ready();
        notifier.stopping();
        let heard = manager.heard();
        let reloading =
            heard[heard.len() - 3].strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("reloading");
        assert!(reloading.parse::<u64>().expect("a number") > 0);
        let status = "STATUS=demo: 29.9 frames/s, 3 viewers";
        let fed = "WATCHDOG=1";
        assert_eq!(heard[..6], ["READY=1", fed, status, fed, fed, status]);
        assert_eq!(heard[7..], ["READY=1", "STOPPING=1"]);
    }

    #[test]
    fn to_be_ready_is_said_until_it_is_heard() {
        let (manager, mut notifier) = Manager::new("busy", None);
        while notifier.send("STATUS=busy") {}
        notifier.ready();
        assert_eq!(notifier.due(), Some(Duration::ZERO));
        notifier.turn(s(1), &FINE);
        assert_eq!(notifier.due(), Some(s(1) + HEALTH_EVERY), "it does not spin");
        assert!(!manager.heard().iter().any(|message| message == READY));
        notifier.turn(s(2), &FINE);
        assert_eq!(manager.heard(), [READY]);
        assert_eq!(notifier.due(), Some(s(1) + STATUS_EVERY));
    }

    #[test]
    fn the_watchdog_is_fed_only_while_all_is_well() {
        let (manager, mut notifier) = Manager::new("watchdog", Some(s(15)));
        let fed = |notifier: &mut Notifier, from, to, healthy| {
            let (mut turns, mut fed) = (0, 0);
            let mut now = s(from);
            while now < s(to) {
                notifier.turn(now, &Status { healthy, ..FINE });
                turns += 1;
                // After each: the kernel queues ten.
                fed += manager.heard().iter().filter(|message| *message == "WATCHDOG=1").count();
                now = notifier.due().expect("always something").max(now);
            }
            assert!(turns < 2 * (to - from), "it spins: {turns} turns from {from} to {to}");
            fed
        };
        assert_eq!(fed(&mut notifier, 0, 60, true), 4);
        assert_eq!(fed(&mut notifier, 60, 90, false), 0);
        notifier.turn(s(90), &FINE);
        assert!(manager.heard().contains(&"WATCHDOG=1".to_owned()), "fed at once when all is well again");
        assert_eq!(notifier.next, s(105));
    }

    #[test]
    fn a_feed_that_finds_the_queue_full_is_sent_again_soon() {
        let (manager, mut notifier) = Manager::new("full", Some(s(15)));
        while notifier.send("STATUS=nobody reads") {}
        notifier.turn(s(30), &FINE);
        assert_eq!(notifier.next, s(31), "not when the time is up");
        manager.heard();
        notifier.turn(s(31), &FINE);
        assert!(manager.heard().contains(&"WATCHDOG=1".to_owned()));
        assert_eq!(notifier.next, s(46));
    }

    #[test]
    fn the_status_says_which_sensor_and_what_is_wrong_with_it() {
        let (manager, mut notifier) = Manager::new("status", None);
        let serial = Some(Name::new("012345678912"));
        notifier.turn(s(0), &Status { source: "kinect", serial, viewers: 1, ..FINE });
        let gone = Some(SourceError::Kinect(kinect2::driver::Trouble::NotFound));
        notifier.turn(s(10), &Status { gone, ..FINE });
        notifier.turn(s(20), &Status { gone: Some(SourceError::Silent), healthy: false, ..FINE });
        notifier.turn(s(30), &Status { fps: None, ..FINE });
        let heard = manager.heard();
        assert_eq!(heard[0], "STATUS=kinect 012345678912: 29.9 frames/s, 1 viewer");
        assert!(
            heard[1].starts_with("STATUS=demo: no picture, 3 viewers: no Kinect v2 on the bus; plug"),
            "{heard:?}"
        );
        assert!(heard[2].starts_with("STATUS=demo: not healthy, 3 viewers: the sensor is"), "{heard:?}");
        assert_eq!(heard[3], "STATUS=demo: starting, 3 viewers");
        assert_eq!(heard.len(), 4, "no watchdog, no food");
    }

    #[test]
    fn without_a_service_manager_nothing_is_due() {
        let mut notifier = Notifier::default();
        notifier.turn(s(1), &FINE);
        assert_eq!(notifier.due(), None);
    }
}
