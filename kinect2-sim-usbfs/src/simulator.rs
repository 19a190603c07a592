//! The simulator in a process: what the replaced functions call, and the thread that moves time on.

use std::ffi::CStr;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use kinect2::protocol::Setup;
use nix::errno::Errno;
use nix::sys::signal::SigSet;
use nix::time::{ClockId, clock_gettime};

use crate::abi::{self, BulkTransfer, ConnectInfo, ControlTransfer, DRIVER_BYTES, GetDriver, Request};
use crate::bus::Bus;
use crate::controller::Shape;
use crate::layout::Kind;
use crate::settings::{self, Settings};
use crate::user::Memory;

/// The thread writes this often what it costs.
const ROUND: Duration = Duration::from_secs(1);
/// How often the thread looks for other faults.
const LOOK: Duration = Duration::from_millis(50);
/// What a reset takes on a real bus, about.
const RESET: Duration = Duration::from_millis(100);
/// How long the kernel waits for the answer to a request of its own, `USB_CTRL_SET_TIMEOUT`.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of a request's data in `USBDEVFS_CONTROL`: a page.
const CONTROL_BYTES_MAX: u16 = 4096;

static SIMULATOR: OnceLock<Simulator> = OnceLock::new();

#[derive(Debug)]
struct Simulator {
    state: Mutex<State>,
    /// The kernel's lock of a device, held during each call but while waiting for a transfer. Taken before `state`.
    device: Mutex<()>,
    /// Something is due earlier than the thread sleeps.
    earlier: Condvar,
    /// Something has completed.
    completed: Condvar,
    started: Instant,
    /// The folder of nodes, without links in its path.
    nodes: PathBuf,
    /// File for the processor time used.
    cpu: PathBuf,
    /// File of faults that are to be taken; `None` where another process keeps the tree.
    faults: Option<PathBuf>,
    in_ioctl_ns: AtomicU64,
    real_time: bool,
}

#[derive(Debug)]
struct State {
    bus: Bus,
    /// Until when the thread sleeps; `None` while it runs.
    asleep_until: Option<Duration>,
}

/// Starts the simulator, if the environment asks for it. What is wrong with its settings ends the program.
pub(crate) fn start() {
    let settings = match Settings::from_environment() {
        Ok(Some(settings)) => settings,
        Ok(None) => return,
        Err(problem) => stop(&problem.to_string()),
    };
    if let Err(problem) = begin(settings) {
        stop(&problem.to_string());
    }
}

/// Opens a node; `None` if the path is none.
pub(crate) fn open(path: &CStr, flags: i32) -> Option<Result<OwnedFd, Errno>> {
    let path = path.to_bytes();
    // `BBB/DDD`, before anything that costs.
    let tail = &path[path.len().checked_sub(7)?..];
    let shape = |(at, byte): (usize, &u8)| if at == 3 { *byte == b'/' } else { byte.is_ascii_digit() };
    if !tail.iter().enumerate().all(shape) {
        return None;
    }
    let simulator = SIMULATOR.get()?;
    // A node that is not there is not found by libc either.
    let path = fs::canonicalize(Path::new(std::ffi::OsStr::from_bytes(path))).ok()?;
    let device = path.strip_prefix(&simulator.nodes).ok()?.file_name()?.to_str()?.parse::<u8>().ok()?;
    let mut state = simulator.lock();
    if !state.bus.is(device) {
        return Some(Err(Errno::ENOENT));
    }
    Some(state.bus.open(flags))
}

/// The program closes a node.
pub(crate) fn close(fd: RawFd) {
    let Some(simulator) = SIMULATOR.get() else { return };
    let _device = simulator.lock_device();
    let mut state = simulator.wait_for_host(simulator.lock());
    let now = simulator.now();
    state.bus.close(fd, now);
    simulator.wake(&mut state);
}

/// Answers a node's `ioctl`; `None` if it is none of usbfs's.
pub(crate) fn ioctl(fd: RawFd, code: u32, argument: usize, memory: &Memory) -> Option<Result<i32, Errno>> {
    let simulator = SIMULATOR.get()?;
    let request = Request::from_code(code)?;
    let before = thread_time();
    let answer = simulator.answer(fd, request, argument, memory);
    let took = thread_time().saturating_sub(before);
    let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    simulator.in_ioctl_ns.fetch_add(took, Ordering::Relaxed);
    Some(answer)
}

impl Simulator {
    fn answer(&self, fd: RawFd, request: Request, argument: usize, memory: &Memory) -> Result<i32, Errno> {
        let device = self.lock_device();
        let mut state = self.lock();
        state.bus.may(fd)?;
        if matches!(request, Request::Reap | Request::Control | Request::Bulk) {
            // These wait, for a transfer, with the device unlocked.
            drop(device);
        }
        match request {
            Request::ReapNow => {
                let reaped = state.bus.reap(fd);
                return self.hand_over(state, reaped?, argument, memory);
            }
            Request::Reap => loop {
                match state.bus.reap(fd) {
                    Err(Errno::EAGAIN) => {
                        state = self.completed.wait(state).unwrap_or_else(PoisonError::into_inner);
                    }
                    reaped => return self.hand_over(state, reaped?, argument, memory),
                }
            },
            _ => state.bus.connected(fd)?,
        }
        let now = self.now();
        match request {
            Request::Reap | Request::ReapNow => {}
            Request::Submit => state.bus.submit(fd, argument, memory, now)?,
            Request::Discard => {
                state.bus.discard(fd, argument, now)?;
                self.wake(&mut state);
                state = self.wait_for_host(state);
            }
            Request::Claim => state.bus.claim(fd, memory.read(argument)?)?,
            Request::Release => state.bus.release(fd, memory.read(argument)?, now)?,
            Request::SetInterface => {
                let answer = state.bus.set_interface(fd, &memory.read(argument)?, now);
                state = self.wait_for_host(state);
                state = self.wait_for_nobody(state, fd, answer)?;
            }
            Request::SetConfiguration => {
                let answer = state.bus.set_configuration(memory.read(argument)?, now);
                state = self.wait_for_nobody(state, fd, answer)?;
            }
            Request::ClearHalt => {
                let answer = state.bus.clear_halt(fd, memory.read(argument)?, now);
                state = self.wait_for_host(state);
                state = self.wait_for_nobody(state, fd, answer)?;
            }
            Request::ResetEndpoint => state.bus.reset_endpoint(fd, memory.read(argument)?)?,
            Request::DisconnectClaim => state.bus.disconnect_claim(fd, &memory.read(argument)?)?,
            Request::DriverIoctl => state.bus.driver_ioctl(&memory.read(argument)?)?,
            Request::Capabilities => memory.write(argument, abi::CAPABILITIES)?,
            Request::Speed => return Ok(state.bus.speed()),
            Request::GetDriver => {
                let mut answer: GetDriver = memory.read(argument)?;
                let name = state.bus.driver(answer.interface)?.as_bytes();
                let length = name.len().min(DRIVER_BYTES - 1);
                answer.driver = [0; DRIVER_BYTES];
                answer.driver[..length].copy_from_slice(&name[..length]);
                memory.write(argument, answer)?;
            }
            Request::ConnectInfo => {
                let device = u32::from(state.bus.device().unwrap_or(0));
                memory.write(argument, ConnectInfo { device, slow: 0 })?;
            }
            Request::Reset => {
                if self.real_time {
                    drop(state);
                    std::thread::sleep(RESET);
                    state = self.lock();
                    state.bus.connected(fd)?;
                }
                state.bus.reset(self.now())?;
            }
            Request::Control => return self.control(state, fd, argument, memory),
            Request::Bulk => return self.bulk(state, fd, argument, memory),
            Request::Unknown => return Err(Errno::ENOTTY),
        }
        self.wake(&mut state);
        Ok(0)
    }

    /// Waits as long as a slow host controller takes, without keeping the simulator.
    fn wait_for_host<'a>(&'a self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let time = state.bus.slow_host();
        if time.is_zero() {
            return state;
        }
        drop(state);
        std::thread::sleep(time);
        self.lock()
    }

    /// After a request of the kernel's own: one that a wedged sensor does not answer ends when the kernel's patience does.
    fn wait_for_nobody<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        fd: RawFd,
        answer: Result<(), Errno>,
    ) -> Result<MutexGuard<'a, State>, Errno> {
        match answer {
            Ok(()) => Ok(state),
            Err(Errno::EPROTO) => {
                let deadline = self.now() + PATIENCE;
                while self.real_time && self.now() < deadline {
                    drop(state);
                    std::thread::sleep(PATIENCE / 100);
                    state = self.lock();
                    state.bus.connected(fd)?;
                }
                Err(Errno::ETIMEDOUT)
            }
            Err(errno) => Err(errno),
        }
    }

    /// Copies what was reaped to the program, without keeping anybody else waiting.
    fn hand_over(
        &self,
        state: MutexGuard<'_, State>,
        reaped: crate::bus::Reaped,
        argument: usize,
        memory: &Memory,
    ) -> Result<i32, Errno> {
        drop(state);
        let copied = reaped.copy(memory).and_then(|urb| memory.write(argument, urb));
        self.lock().bus.recycle(reaped);
        copied.map(|()| 0)
    }

    /// `USBDEVFS_CONTROL`.
    fn control(
        &self,
        mut state: MutexGuard<'_, State>,
        fd: RawFd,
        argument: usize,
        memory: &Memory,
    ) -> Result<i32, Errno> {
        let request: ControlTransfer = memory.read(argument)?;
        let ControlTransfer { request_type, request, value, index, length, timeout, data } = request;
        state.bus.check_request(fd, request_type, index)?;
        if length > CONTROL_BYTES_MAX {
            return Err(Errno::EINVAL);
        }
        state.bus.room(usize::from(CONTROL_BYTES_MAX))?;
        let receives = request_type & 0x80 != 0 && length > 0;
        let setup = Setup { request_type, request, value, index, length };
        let endpoint = if receives { 0x80 } else { 0 };
        self.perform(state, endpoint, Shape::Control(setup), usize::from(length), timeout, data, memory)
    }

    /// `USBDEVFS_BULK`.
    fn bulk(
        &self,
        mut state: MutexGuard<'_, State>,
        fd: RawFd,
        argument: usize,
        memory: &Memory,
    ) -> Result<i32, Errno> {
        let request: BulkTransfer = memory.read(argument)?;
        let endpoint = u8::try_from(request.endpoint).map_err(|_| Errno::EINVAL)?;
        let length = request.length as usize;
        state.bus.use_endpoint(fd, endpoint)?;
        let kind = state.bus.endpoint_now(endpoint);
        if !matches!(kind, Some(Kind::Bulk | Kind::Interrupt)) || length >= abi::TRANSFER_BYTES_LIMIT {
            return Err(Errno::EINVAL);
        }
        state.bus.room(length)?;
        self.perform(state, endpoint, Shape::Bulk(length), length, request.timeout, request.data, memory)
    }

    /// A transfer for which the calling thread waits, up to `timeout` milliseconds, or for ever if that is 0.
    #[expect(clippy::too_many_arguments, reason = "one caller each for control and bulk")]
    fn perform(
        &self,
        mut state: MutexGuard<'_, State>,
        endpoint: u8,
        shape: Shape<'_>,
        length: usize,
        timeout: u32,
        data: usize,
        memory: &Memory,
    ) -> Result<i32, Errno> {
        let mut sent = Vec::new();
        if endpoint & 0x80 == 0 {
            sent.resize(length, 0);
            memory.read_bytes(data, &mut sent)?;
        }
        let id = state.bus.begin(endpoint, shape, &sent, self.now())?;
        self.wake(&mut state);
        let deadline = (timeout > 0).then(|| self.now() + Duration::from_millis(u64::from(timeout)));
        loop {
            if let Some(ended) = state.bus.awaited(id) {
                let transfer = ended?;
                let actual = transfer.actual;
                let copied = if endpoint & 0x80 == 0 {
                    Ok(())
                } else {
                    memory.write_bytes(data, &transfer.buffer[..actual])
                };
                state.bus.recycle_transfer(transfer);
                copied?;
                return i32::try_from(actual).map_err(|_| Errno::EINVAL);
            }
            let now = self.now();
            let left = deadline.map_or(ROUND, |deadline| deadline.saturating_sub(now));
            if left.is_zero() {
                state.bus.abandon(id, now);
                return Err(Errno::ETIMEDOUT);
            }
            state = self.completed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The thread: completes what is due, sleeps until more is, takes other faults if somebody gives it some, and says once
    /// a second what it costs.
    fn run(&self) {
        // A program must not wait for ever for a simulator that broke.
        let _ends = AbortOnPanic;
        let mut state = self.lock();
        let (mut written, mut looked) = (Duration::ZERO, Duration::ZERO);
        loop {
            let now = self.now();
            if state.bus.advance(now) {
                self.completed.notify_all();
            }
            let due = state.bus.due();
            if now >= written + ROUND {
                drop(state);
                written = now;
                self.write_cpu();
                state = self.lock();
            }
            if now >= looked + LOOK {
                drop(state);
                looked = now;
                self.take_faults();
                state = self.lock();
                continue;
            }
            let now = self.now();
            let until = due.unwrap_or(now + LOOK).min(now + LOOK);
            if until <= now {
                // Let the program in: its calls are short, and it must not wait for a thread that catches up.
                drop(state);
                std::thread::yield_now();
                state = self.lock();
                continue;
            }
            state.asleep_until = Some(until);
            state = self.earlier.wait_timeout(state, until - now).unwrap_or_else(PoisonError::into_inner).0;
            state.asleep_until = None;
        }
    }

    /// Takes the faults that somebody has put into the folder, if there are some, and removes them when they are there.
    fn take_faults(&self) {
        let Some(path) = &self.faults else { return };
        let words = match fs::read_to_string(path) {
            Ok(words) => words,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return complain(path, error),
        };
        match settings::parse_faults(&words) {
            Ok((own, faults)) => {
                self.lock().bus.set_faults(own, faults, self.now());
                self.completed.notify_all();
            }
            Err(problem) => complain(path, problem),
        }
        if let Err(error) = fs::remove_file(path) {
            complain(path, error);
        }
    }

    /// Wakes the thread if something has become due before it would wake by itself, and those who wait in an `ioctl`
    /// for what the last call may have ended.
    fn wake(&self, state: &mut State) {
        self.completed.notify_all();
        if let (Some(until), Some(due)) = (state.asleep_until, state.bus.due())
            && due < until
        {
            // Once is enough, however many come before it runs.
            state.asleep_until = Some(due);
            self.earlier.notify_one();
        }
    }

    /// Microseconds of processor time: all, the thread's, and that within the program's `ioctl`s.
    fn write_cpu(&self) {
        let thread = thread_time().as_micros();
        let ioctls = u128::from(self.in_ioctl_ns.load(Ordering::Relaxed) / 1_000);
        let aside = self.cpu.with_extension("new");
        let written = fs::File::create(&aside)
            .and_then(|mut file| writeln!(file, "{} {thread} {ioctls}", thread + ioctls))
            .and_then(|()| fs::rename(&aside, &self.cpu));
        if let Err(error) = written {
            complain(&self.cpu, error);
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn lock_device(&self) -> MutexGuard<'_, ()> {
        self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the program if it is dropped, which only a panic does.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        eprintln!("kinect2-sim-usbfs: the simulator broke, and the program with it");
        std::process::abort();
    }
}

fn begin(settings: Settings) -> Result<(), settings::Problem> {
    let (root, real_time) = (settings.root.clone(), settings.real_time);
    let bus = settings.build()?;
    let nodes = fs::canonicalize(root.join("dev/bus/usb")).map_err(settings::Problem::Tree)?;
    let faults = bus.keeps_tree().then(|| root.join("faults"));
    let simulator = Simulator {
        state: Mutex::new(State { bus, asleep_until: None }),
        device: Mutex::new(()),
        earlier: Condvar::new(),
        completed: Condvar::new(),
        started: Instant::now(),
        nodes,
        cpu: root.join("cpu"),
        faults,
        in_ioctl_ns: AtomicU64::new(0),
        real_time,
    };
    let simulator = SIMULATOR.get_or_init(|| simulator);
    // The program's signals are for the program's threads.
    let program = SigSet::all().thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_SETMASK);
    let spawned = std::thread::Builder::new().name("kinect-sim".to_owned()).spawn(|| simulator.run());
    if let Ok(program) = program {
        let _ = program.thread_set_mask();
    }
    spawned.map(drop).map_err(settings::Problem::Thread)
}

fn complain(path: &Path, problem: impl std::fmt::Display) {
    eprintln!("kinect2-sim-usbfs: {}: {problem}", path.display());
}

fn stop(problem: &str) -> ! {
    eprintln!("kinect2-sim-usbfs: {problem}");
    std::process::exit(2);
}

/// Processor time of the calling thread.
fn thread_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}
