//! A Kinect v2 through libfreenect2: the only caller of the library, and where its threads end.
//!
//! ```text
//!  libfreenect2's threads              │ the loop
//!    USB ─▶ decoder ─▶ Listener ───────┼─▶ triple buffer ─▶ turn, take
//!                         └─ eventfd ──┼─▶ wakes it
//!  `kinect-lf2`: open, start, close ───┼─▶ outcome
//! ```
//!
//! The listener copies and neither waits nor allocates. Calls that block run on a thread of their own, one at a time,
//! that ends with the call. What to do next, and when frames are overdue, is decided in [`super::life`].
#![allow(unsafe_code, reason = "calls C functions and is called by them")]

use std::ffi::{CStr, CString, c_char, c_void};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fmt, slice};

use kinect2::depth::{self, Decoder, FRAME_BYTES, Intrinsics, Tables};
use kinect2::driver::Name;
use libfreenect2_sys as sys;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::life::{Fault, Life, Pipeline, Report, Task};
use super::{Driven, PIXELS, Progress, SourceError, StepOfLife, kinect, triple, when};
use crate::clock::Now;
use crate::limits::{LIBRARY_BARREN_MAX, LIBRARY_MESSAGES_MAX};

/// How the library is used.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which sensor; the first if `None`.
    pub serial: Option<String>,
    /// Who makes the depth.
    pub pipeline: Pipeline,
    /// What is made of frames; heeded by the library's decoders too, as far as they can.
    pub decode: depth::Settings,
}

/// A sensor, plugged in or not.
pub struct Libfreenect2 {
    settings: Settings,
    /// What is tried: the first, and the next when that opens and delivers nothing.
    pipelines: Vec<Pipeline>,
    life: Life,
    jobs: Jobs,
    /// Here while no job has it.
    library: Option<Arc<Library>>,
    session: Option<Session>,
    counts: Counts,
    /// A frame is in the buffer that nobody has taken.
    ready: bool,
    /// Why there are no frames, as it was said last; `None` while they come.
    said: Option<Fault>,
    /// A frame has come.
    started: bool,
    /// Frames have come again, or for the first time, and that is to be said.
    news: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    lost: u64,
    /// Of sessions that are over.
    overtaken: u64,
    /// Sessions in a row that opened and delivered nothing.
    barren: u32,
}

impl Libfreenect2 {
    /// Nothing is opened yet, and whether a sensor is there makes no difference.
    ///
    /// # Errors
    /// A text if the library was built without the pipeline, or the system refuses a descriptor.
    pub fn new(settings: Settings, now: Now) -> Result<Self, String> {
        static LOG: Once = Once::new();
        // SAFETY: before the first context, and by one thread: `Once` sees to that. `on_log` is as the header asks.
        LOG.call_once(|| _ = unsafe { sys::lf2_set_log(Some(on_log)) });
        // SAFETY: it takes nothing and returns a number.
        let built = unsafe { sys::lf2_pipelines() };
        let has = |pipeline: &Pipeline| built & bit(*pipeline) != 0;
        let all = Pipeline::NAMES.map(|(_, pipeline)| pipeline);
        let list = |wanted: &dyn Fn(Pipeline) -> bool| {
            let names = all.iter().filter(|p| has(p) && wanted(**p)).map(|p| p.name());
            names.collect::<Vec<_>>().join(", ")
        };
        let pipelines: Vec<_> = match settings.pipeline {
            Pipeline::Auto => [Pipeline::Cuda, Pipeline::Cl, Pipeline::Raw].into_iter().filter(has).collect(),
            one if has(&one) => vec![one],
            one => {
                return Err(format!(
                    "libfreenect2.pipeline: the libfreenect2 of this machine has no {}; it has {}",
                    one.name(),
                    list(&|_| true)
                ));
            }
        };
        log::info!(
            "libfreenect2 {}: pipelines {}; {} is used",
            sys::VERSION,
            list(&|_| true),
            pipelines[0].name()
        );
        log::info!(
            "libfreenect2: upside down are the X and Z tables of: {}; raw is right and needs no GPU",
            list(&Pipeline::is_upside_down)
        );
        if pipelines[0].is_upside_down() {
            log::warn!(
                "libfreenect2: {} uses the X and Z tables upside down: depths are up to 2 % short at the top of the \
                 picture and as much too long at the bottom; libfreenect2.pipeline = \"raw\" is right",
                pipelines[0].name()
            );
        }
        Ok(Self {
            settings,
            pipelines,
            life: Life::new(now.mono),
            jobs: Jobs::new().map_err(|e| format!("cannot make an eventfd: {e}"))?,
            library: None,
            session: None,
            counts: Counts::default(),
            ready: false,
            said: None,
            started: false,
            news: false,
        })
    }

    /// Begins what is due, if anything is.
    fn begin(&mut self, now: Now) {
        let job = match self.life.next(now.mono) {
            None => return,
            Some(Task::Open) => {
                let settings = Settings { pipeline: self.pipelines[0], ..self.settings.clone() };
                Job::Open { library: self.library.take(), settings, jobs: Arc::clone(&self.jobs.shared) }
            }
            Some(task @ (Task::Close | Task::Leave)) => {
                let session = self.session.take();
                if let Some(session) = &session {
                    self.end_session(session);
                }
                let library = if task == Task::Leave { self.library.take() } else { None };
                Job::Close { session, library }
            }
        };
        if let Err(e) = self.jobs.start(job) {
            log::error!("libfreenect2: cannot start a thread: {e}");
            self.life.done(Err(Fault::Broken), now.mono);
        }
    }

    /// Counts what a session came to, and goes on to the next pipeline if it came to nothing twice.
    fn end_session(&mut self, session: &Session) {
        self.ready = false;
        self.counts.overtaken += session.reader.lost();
        self.counts.barren = if session.sequence.is_some() { 0 } else { self.counts.barren + 1 };
        if self.counts.barren >= LIBRARY_BARREN_MAX && self.pipelines.len() > 1 {
            let barren = self.pipelines.remove(0);
            self.counts.barren = 0;
            log::warn!(
                "libfreenect2: {} delivers nothing, trying {}",
                barren.name(),
                self.pipelines[0].name()
            );
        }
    }

    /// Takes over what a job brought.
    fn finish_job(&mut self, now: Now) {
        let Some(outcome) = self.jobs.take() else { return };
        match outcome {
            Outcome::Opened { library, opened } => {
                self.library = library;
                let result = match opened {
                    Ok(session) => {
                        self.session = Some(*session);
                        Ok(())
                    }
                    Err(Fault::NoPipeline(_)) if self.pipelines.len() > 1 => {
                        self.pipelines.remove(0);
                        Err(Fault::StartFailed)
                    }
                    Err(fault) => Err(fault),
                };
                self.life.done(result, now.mono);
            }
            Outcome::Closed => self.life.done(Ok(()), now.mono),
            Outcome::Panicked => {
                log::error!("libfreenect2: a job panicked");
                self.life.done(Err(Fault::Broken), now.mono);
            }
        }
    }

    /// Looks for a new frame, and notes what is between it and the one before.
    fn look(&mut self) -> bool {
        let Some(session) = &mut self.session else { return false };
        if !session.reader.update() {
            return false;
        }
        let sequence = session.reader.with(|slot| slot.sequence);
        if let Some(before) = session.sequence.replace(sequence) {
            let missing = u64::from(sequence.wrapping_sub(before).saturating_sub(1));
            // A number far off means that the sensor began anew.
            if missing < SEQUENCE_GAP_MAX {
                self.counts.lost += missing;
            }
        }
        true
    }
}

impl Driven for Libfreenect2 {
    fn turn(&mut self, now: Now) -> Progress {
        if std::mem::take(&mut self.news) {
            return Progress::Flowing { again: std::mem::replace(&mut self.started, true) };
        }
        self.finish_job(now);
        if self.look() {
            self.jobs.heard();
            self.ready = true;
            self.life.frame(now.mono);
            self.news = self.said.take().is_some() || !self.started;
            return Progress::Frame;
        }
        self.begin(now);
        match self.life.fault().filter(|fault| self.said != Some(*fault)) {
            None => Progress::Idle,
            Some(fault) => {
                let flowing = self.started && self.said.is_none();
                self.said = Some(fault);
                let error = SourceError::Library(fault);
                if flowing { Progress::Lost(error) } else { Progress::Still(error) }
            }
        }
    }

    fn take(&mut self, now: Now, depth: &mut [u16], infrared: Option<&mut [u16]>) -> Option<(Now, bool)> {
        if !std::mem::take(&mut self.ready) {
            return None;
        }
        let Session { reader, decoder, .. } = self.session.as_mut()?;
        let offset = self.settings.decode.offset_mm;
        let (arrived, here) = reader.with(|slot| {
            let here = match (&slot.content, decoder) {
                (Content::Raw(frame), Some(decoder)) => {
                    let here = infrared.is_some();
                    // They were checked with the configuration; infrared is always good.
                    let _ = decoder.set(depth::Settings { infrared: here, ..self.settings.decode });
                    decoder.decode(frame, depth, infrared).ok()?;
                    here
                }
                (Content::Decoded { depth: decoded, infrared: picture, infrared_of }, _) => {
                    shift(decoded, offset, depth)?;
                    let infrared = infrared.filter(|_| *infrared_of == Some(slot.sequence));
                    let here = infrared.is_some();
                    if let Some(infrared) = infrared {
                        infrared.copy_from_slice(picture);
                    }
                    here
                }
                (Content::Raw(_), None) => return None,
            };
            Some((slot.arrived, here))
        })?;
        // It is delivered when the next one begins, so its own first packet came about a frame earlier.
        Some((when(now, now.mono.saturating_sub(arrived.elapsed() + FRAME)), here))
    }

    /// The library makes them always, and our decoder when it is asked for one.
    fn want_infrared(&mut self, _wanted: bool) {}

    fn intrinsics(&self) -> Option<Intrinsics> {
        self.session.as_ref().map(|session| session.lens)
    }

    fn trouble(&self) -> Option<SourceError> {
        self.life.fault().map(SourceError::Library)
    }

    fn overdue(&self) -> SourceError {
        if self.life.is_streaming() && self.started { SourceError::Silent } else { SourceError::Opening }
    }

    fn due(&self) -> Option<Duration> {
        if self.news { Some(Duration::ZERO) } else { self.life.due() }
    }

    fn job(&self) -> RawFd {
        self.jobs.shared.event.as_raw_fd()
    }

    fn node(&self) -> Option<(u64, RawFd)> {
        None
    }

    fn set(&mut self, settings: &kinect::Settings) {
        let decode = settings.decode();
        let before = std::mem::replace(&mut self.settings.decode, decode);
        // Our decoder gets them with each frame, the library's at start only; the offset is ours in any case.
        let ours = self.session.as_ref().is_some_and(|session| session.decoder.is_some());
        let of_library = |settings| depth::Settings { offset_mm: 0, ..settings };
        if !ours && of_library(before) != of_library(decode) {
            self.life.reopen();
        }
    }

    fn shut_down(&mut self, _now: Now) {
        self.life.leave();
    }

    fn is_shut_down(&self) -> bool {
        self.life.is_over()
    }

    fn step(&self) -> StepOfLife {
        StepOfLife::Library(self.life.word())
    }

    fn report(&self) -> super::Report {
        let session = self.session.as_ref();
        super::Report::Library(Report {
            serial: session.map(|session| session.serial),
            firmware: session.map(|session| session.firmware),
            step: self.life.word(),
            pipeline: self.pipelines[0],
            frames_lost: self.counts.lost,
            frames_overtaken: self.counts.overtaken + session.map_or(0, |session| session.reader.lost()),
            frames_bad: self.jobs.shared.bad.load(Ordering::Relaxed),
            resets: self.life.opened(),
        })
    }
}

impl fmt::Debug for Libfreenect2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Libfreenect2").field("life", &self.life).finish_non_exhaustive()
    }
}

/// An open sensor that streams, and what comes of it.
struct Session {
    // Closed before the rest goes.
    _device: Device,
    reader: triple::Reader<Slot>,
    /// Of raw frames.
    decoder: Option<Box<Decoder>>,
    lens: Intrinsics,
    serial: Name,
    firmware: Name,
    /// Number of the newest frame.
    sequence: Option<u32>,
}

/// One frame as the library delivered it.
struct Slot {
    content: Content,
    sequence: u32,
    arrived: Instant,
}

enum Content {
    /// As the sensor sent it, [`FRAME_BYTES`].
    Raw(Box<[u8]>),
    /// Millimetres and brightness, [`PIXELS`] each, row-major, top to bottom; 0 means no return. Brightness is that of the
    /// frame `infrared_of`: the same one, unless the library lost it.
    Decoded { depth: Box<[u16]>, infrared: Box<[u16]>, infrared_of: Option<u32> },
}

impl Slot {
    fn new(pipeline: Pipeline) -> Self {
        let pixels = || vec![0; PIXELS].into_boxed_slice();
        let content = match pipeline {
            Pipeline::Raw => Content::Raw(vec![0; FRAME_BYTES].into_boxed_slice()),
            _ => Content::Decoded { depth: pixels(), infrared: pixels(), infrared_of: None },
        };
        Slot { content, sequence: 0, arrived: Instant::now() }
    }
}

/// The library's end of the buffer.
struct Listener {
    writer: triple::Writer<Slot>,
    shared: Arc<Shared>,
}

impl Listener {
    /// Copies a frame into the buffer. Runs in a thread of the library; waits for nothing and allocates nothing.
    fn frame(&mut self, frame: &sys::lf2_frame, bytes: &[u8]) {
        let fits = frame.status == 0
            && self.writer.fill(|slot| match (&mut slot.content, frame.type_, frame.format) {
                (Content::Raw(raw), sys::LF2_DEPTH, sys::LF2_FORMAT_RAW) if raw.len() == bytes.len() => {
                    raw.copy_from_slice(bytes);
                    true
                }
                (Content::Decoded { depth, .. }, sys::LF2_DEPTH, sys::LF2_FORMAT_FLOAT) => {
                    rounded(bytes, depth)
                }
                (
                    Content::Decoded { infrared, infrared_of, .. },
                    sys::LF2_INFRARED,
                    sys::LF2_FORMAT_FLOAT,
                ) => {
                    let fits = rounded(bytes, infrared);
                    *infrared_of = fits.then_some(frame.sequence);
                    fits
                }
                _ => false,
            });
        if !fits {
            self.shared.bad.fetch_add(1, Ordering::Relaxed);
        } else if frame.type_ == sys::LF2_DEPTH {
            self.writer.fill(|slot| (slot.sequence, slot.arrived) = (frame.sequence, Instant::now()));
            self.writer.publish();
            // It can only fail if the counter is full, and then the loop is awake.
            let _ = self.shared.event.write(1);
        }
    }
}

/// Floats, as they lie in memory, to whole numbers; negative ones and NaN become 0. False if the lengths do not match.
fn rounded(bytes: &[u8], out: &mut [u16]) -> bool {
    if bytes.len() != out.len() * size_of::<f32>() {
        return false;
    }
    for (out, bytes) in out.iter_mut().zip(bytes.chunks_exact(size_of::<f32>())) {
        let value = f32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturating is meant")]
        let whole = if value.is_finite() { (value + 0.5) as u16 } else { 0 };
        *out = whole;
    }
    true
}

/// Takes `offset` off every depth that is one, as the decoder of raw frames does. `None` if the lengths differ.
fn shift(depth: &[u16], offset: i16, out: &mut [u16]) -> Option<()> {
    if depth.len() != out.len() {
        return None;
    }
    out.copy_from_slice(depth);
    if offset != 0 {
        for mm in out.iter_mut().filter(|mm| **mm != 0) {
            *mm = mm.saturating_add_signed(offset.saturating_neg());
        }
    }
    Some(())
}

/// Takes a frame of the library.
unsafe extern "C" fn on_frame(user: *mut c_void, frame: *const sys::lf2_frame) {
    // SAFETY: `user` is what `Device::start` gave: a `Listener` that only these calls touch, one at a time, and that is
    // freed after `lf2_close` has ended the last. `frame` and its `length` bytes at `data` are valid during the call.
    let (listener, frame, bytes) = unsafe {
        let frame = &*frame;
        (&mut *user.cast::<Listener>(), frame, slice::from_raw_parts(frame.data, frame.length))
    };
    listener.frame(frame, bytes);
}

/// Takes a message of the library. Errors and warnings come by the dozen when a sensor is unplugged: the first of a
/// session are for everybody, the rest for those who look closely.
unsafe extern "C" fn on_log(level: u32, text: *const c_char, length: usize) {
    if level > sys::LF2_WARNING && !log::log_enabled!(log::Level::Debug) {
        return;
    }
    // SAFETY: the header promises `length` bytes at `text` during the call.
    let text = unsafe { slice::from_raw_parts(text.cast::<u8>(), length) };
    let text = String::from_utf8_lossy(text);
    match level {
        sys::LF2_ERROR | sys::LF2_WARNING
            if MESSAGES.fetch_add(1, Ordering::Relaxed) < LIBRARY_MESSAGES_MAX =>
        {
            log::warn!("libfreenect2 says: {text}");
        }
        sys::LF2_ERROR | sys::LF2_WARNING | sys::LF2_INFO => log::debug!("libfreenect2 says: {text}"),
        _ => log::trace!("libfreenect2 says: {text}"),
    }
}

/// Errors and warnings of the library since a sensor was last opened.
static MESSAGES: AtomicU32 = AtomicU32::new(0);

/// The library, with its USB thread.
struct Library(NonNull<sys::lf2_context>);

// SAFETY: the header lets any thread use a context, one at a time: it is used by jobs, of which there is one at a time,
// and dropped when neither a job nor a device has it any more.
unsafe impl Send for Library {}
// SAFETY: likewise; `&Library` gives nothing that could be used by two threads but what jobs do.
unsafe impl Sync for Library {}

impl Library {
    fn new() -> Result<Self, Fault> {
        let mut context = ptr::null_mut();
        // SAFETY: the pointer is good for writing.
        let result = unsafe { sys::lf2_context_new(&raw mut context) };
        NonNull::new(context).filter(|_| result == sys::LF2_OK).map(Library).ok_or(Fault::Broken)
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: it came from `lf2_context_new`; each device has a share of this, so all of them are closed.
        unsafe { sys::lf2_context_free(self.0.as_ptr()) }
    }
}

/// An open sensor.
struct Device {
    raw: NonNull<sys::lf2_device>,
    /// Lent to the library; null before the start.
    listener: *mut Listener,
    _library: Arc<Library>,
}

// SAFETY: the header lets any thread use a device, one at a time, and this is owned by one. `listener` points to what only
// the library's thread touches; `Listener` is `Send`, as the assertion below sees.
unsafe impl Send for Device {}
const _: fn() = || {
    fn assert_send<T: Send>() {}
    assert_send::<Listener>();
};

impl Device {
    fn open(library: &Arc<Library>, serial: Option<&str>, pipeline: Pipeline) -> Result<Self, Fault> {
        let text = serial.map(CString::new).transpose().map_err(|_| Fault::NotFound)?;
        let text = text.as_deref().map_or(ptr::null(), CStr::as_ptr);
        let mut raw = ptr::null_mut();
        // SAFETY: the context lives, for `library` does; the text ends with a zero and lives beyond the call; the pointer
        // is good for writing.
        let result = unsafe { sys::lf2_open(library.0.as_ptr(), text, bit(pipeline), &raw mut raw) };
        match (result, NonNull::new(raw)) {
            (sys::LF2_OK, Some(raw)) => {
                Ok(Device { raw, listener: ptr::null_mut(), _library: Arc::clone(library) })
            }
            (sys::LF2_NOT_FOUND, _) => {
                Err(serial.map_or(Fault::NotFound, |serial| Fault::SerialNotFound(Name::new(serial))))
            }
            (sys::LF2_OPEN_FAILED, _) => Err(Fault::OpenFailed),
            (sys::LF2_OTHER_SENSOR, _) => Err(Fault::OtherSensor),
            (sys::LF2_NO_PIPELINE, _) => Err(Fault::NoPipeline(pipeline)),
            _ => Err(Fault::Broken),
        }
    }

    fn start(&mut self, listener: Listener, decode: &depth::Settings) -> Result<(), Fault> {
        debug_assert!(self.listener.is_null(), "started once");
        self.listener = Box::into_raw(Box::new(listener));
        let settings = sys::lf2_settings {
            min_depth_m: f32::from(decode.min_mm) / 1000.0,
            max_depth_m: f32::from(decode.max_mm) / 1000.0,
            bilateral: decode.bilateral.into(),
            edge: decode.edge.into(),
        };
        // SAFETY: the device is open; `settings` lives beyond the call; the listener is freed after `lf2_close` only, and
        // until then nobody but `on_frame` touches it.
        let result =
            unsafe { sys::lf2_start(self.raw.as_ptr(), &raw const settings, on_frame, self.listener.cast()) };
        match result {
            sys::LF2_OK => Ok(()),
            sys::LF2_START_FAILED => Err(Fault::StartFailed),
            _ => Err(Fault::Broken),
        }
    }

    /// A short text that the device has.
    fn text(&self, ask: unsafe extern "C" fn(*mut sys::lf2_device, *mut c_char, usize) -> i32) -> Name {
        let mut text = [0_u8; Name::CAPACITY + 1];
        // SAFETY: the device is open, and the room is as long as is said.
        let result = unsafe { ask(self.raw.as_ptr(), text.as_mut_ptr().cast(), text.len()) };
        let text = CStr::from_bytes_until_nul(&text).ok().filter(|_| result == sys::LF2_OK);
        Name::new(&text.unwrap_or_default().to_string_lossy())
    }

    /// What this sensor's pictures are seen through.
    fn lens(&self) -> Result<Intrinsics, Fault> {
        let mut lens = sys::lf2_lens::default();
        // SAFETY: the device is open, and the pointer is good for writing.
        let result = unsafe { sys::lf2_get_lens(self.raw.as_ptr(), &raw mut lens) };
        let sys::lf2_lens { fx, fy, cx, cy, k1, k2, k3, p1, p2 } = lens;
        let lens = Intrinsics { fx, fy, cx, cy, k1, k2, k3, p1, p2 };
        if result == sys::LF2_OK { Ok(lens) } else { Err(Fault::Broken) }
    }

    /// The decoder for this sensor's raw frames.
    fn decoder(&self, lens: &Intrinsics, decode: depth::Settings) -> Result<Box<Decoder>, Fault> {
        let (mut data, mut length) = (ptr::null(), 0);
        // SAFETY: the device is open, and the pointers are good for writing.
        let result = unsafe { sys::lf2_p0(self.raw.as_ptr(), &raw mut data, &raw mut length) };
        if result != sys::LF2_OK || data.is_null() {
            return Err(Fault::Broken);
        }
        // SAFETY: the tables stay as they are until the device is closed, which needs it whole.
        let p0 = unsafe { slice::from_raw_parts(data, length) };
        let tables = Tables::from_p0_reply(p0, lens).map_err(Fault::BadTables)?;
        // The settings were checked with the configuration.
        Decoder::new(&tables, decode).map(Box::new).map_err(|_| Fault::Broken)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: it came from `lf2_open` and is closed once. No callback runs after that, so the listener is ours again;
        // it came from a box.
        unsafe {
            sys::lf2_close(self.raw.as_ptr());
            if !self.listener.is_null() {
                drop(Box::from_raw(self.listener));
            }
        }
    }
}

/// What blocks.
enum Job {
    Open { library: Option<Arc<Library>>, settings: Settings, jobs: Arc<Shared> },
    Close { session: Option<Session>, library: Option<Arc<Library>> },
}

impl Job {
    fn run(self) -> Outcome {
        match self {
            Job::Open { library, settings, jobs } => {
                match library.map_or_else(|| Library::new().map(Arc::new), Ok) {
                    Ok(library) => {
                        let opened = open(&library, &settings, jobs).map(Box::new);
                        Outcome::Opened { library: Some(library), opened }
                    }
                    Err(fault) => Outcome::Opened { library: None, opened: Err(fault) },
                }
            }
            Job::Close { session, library } => {
                drop(session);
                drop(library);
                Outcome::Closed
            }
        }
    }
}

fn open(library: &Arc<Library>, settings: &Settings, jobs: Arc<Shared>) -> Result<Session, Fault> {
    MESSAGES.store(0, Ordering::Relaxed);
    let pipeline = settings.pipeline;
    let mut device = Device::open(library, settings.serial.as_deref(), pipeline)?;
    let (writer, reader) = triple::buffer(|| Slot::new(pipeline));
    device.start(Listener { writer, shared: jobs }, &settings.decode)?;
    let lens = device.lens()?;
    let decoder = match pipeline {
        Pipeline::Raw => Some(device.decoder(&lens, settings.decode)?),
        _ => None,
    };
    let (serial, firmware) = (device.text(sys::lf2_serial), device.text(sys::lf2_firmware));
    Ok(Session { _device: device, reader, decoder, lens, serial, firmware, sequence: None })
}

/// How a job went.
enum Outcome {
    Opened { library: Option<Arc<Library>>, opened: Result<Box<Session>, Fault> },
    Closed,
    Panicked,
}

/// The one job, if there is one, and what wakes the loop.
struct Jobs {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    /// Readable when a frame or an outcome is there.
    event: EventFd,
    outcome: Mutex<Option<Outcome>>,
    /// Frames that could not be used.
    bad: AtomicU64,
}

impl Jobs {
    fn new() -> io::Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Jobs {
            shared: Arc::new(Shared { event, outcome: Mutex::new(None), bad: AtomicU64::new(0) }),
            thread: None,
        })
    }

    fn start(&mut self, job: Job) -> io::Result<()> {
        debug_assert!(self.thread.is_none(), "one at a time");
        let shared = Arc::clone(&self.shared);
        let run = move || {
            // A panic has released what the job had.
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job.run()));
            let outcome = outcome.unwrap_or(Outcome::Panicked);
            *shared.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
            let _ = shared.event.write(1);
        };
        self.thread = Some(thread::Builder::new().name("kinect-lf2".to_owned()).spawn(run)?);
        Ok(())
    }

    /// Takes back what woke the loop. The loop is woken by each write, so nothing is lost between the look and this.
    fn heard(&self) {
        let _ = self.shared.event.read();
    }

    fn take(&mut self) -> Option<Outcome> {
        self.thread.as_ref()?;
        let outcome = self.shared.outcome.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        // Nothing but writing the event is left for it to do.
        let _ = self.thread.take()?.join();
        self.heard();
        Some(outcome)
    }
}

fn bit(pipeline: Pipeline) -> u32 {
    match pipeline {
        Pipeline::Auto => 0,
        Pipeline::Raw => sys::LF2_RAW,
        Pipeline::Cpu => sys::LF2_CPU,
        Pipeline::Gl => sys::LF2_GL,
        Pipeline::Cl => sys::LF2_CL,
        Pipeline::Cuda => sys::LF2_CUDA,
    }
}

/// Time from frame to frame.
const FRAME: Duration = Duration::from_micros(33_333);
/// Frames that may be missing between two; more are not lost but never were.
const SEQUENCE_GAP_MAX: u64 = 3000;

#[cfg(test)]
mod tests {
    use super::*;

    fn given(type_: u32, format: u32, bytes: &[u8]) -> sys::lf2_frame {
        sys::lf2_frame {
            type_,
            format,
            width: 1,
            height: 1,
            timestamp: 0,
            sequence: 7,
            status: 0,
            reserved: 0,
            data: bytes.as_ptr(),
            length: bytes.len(),
        }
    }

    #[test]
    fn the_listener_takes_whole_good_frames_and_counts_the_others() {
        let jobs = Jobs::new().expect("an eventfd");
        let (writer, mut reader) = triple::buffer(|| Slot::new(Pipeline::Cpu));
        let mut listener = Listener { writer, shared: Arc::clone(&jobs.shared) };
        let floats = |value: f32| value.to_ne_bytes().repeat(PIXELS);
        let (infrared, depth) = (floats(400.6), floats(1234.5));
        listener.frame(&given(sys::LF2_INFRARED, sys::LF2_FORMAT_FLOAT, &infrared), &infrared);
        assert!(!reader.update(), "infrared alone is no frame");
        listener.frame(&given(sys::LF2_DEPTH, sys::LF2_FORMAT_FLOAT, &depth), &depth);
        assert!(reader.update());
        reader.with(|slot| {
            let Content::Decoded { depth, infrared, infrared_of } = &slot.content else { panic!("decoded") };
            assert_eq!((depth[PIXELS - 1], infrared[0], slot.sequence), (1235, 401, 7));
            assert_eq!(*infrared_of, Some(7));
        });
        assert_eq!(jobs.shared.event.read().expect("written"), 1);
        for (frame, bytes) in [
            (given(sys::LF2_DEPTH, sys::LF2_FORMAT_RAW, &depth), &depth[..]),
            (given(sys::LF2_DEPTH, sys::LF2_FORMAT_FLOAT, &depth), &depth[1..]),
            (
                sys::lf2_frame { status: 1, ..given(sys::LF2_DEPTH, sys::LF2_FORMAT_FLOAT, &depth) },
                &depth[..],
            ),
        ] {
            listener.frame(&frame, bytes);
        }
        assert!(!reader.update());
        assert_eq!(jobs.shared.bad.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn what_is_no_depth_is_zero_and_the_offset_leaves_it_alone() {
        let values = [f32::NAN, f32::INFINITY, -3.0, 0.0, 0.49, 20.2, 4499.6];
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_ne_bytes()).collect();
        let mut whole = [9; 7];
        assert!(rounded(&bytes, &mut whole));
        assert_eq!(whole, [0, 0, 0, 0, 0, 20, 4500]);
        let mut shifted = [0; 7];
        assert_eq!(shift(&whole, 24, &mut shifted), Some(()));
        assert_eq!(shifted, [0, 0, 0, 0, 0, 0, 4476]);
        assert_eq!(shift(&whole, 24, &mut [0; 3]), None);
    }
}
