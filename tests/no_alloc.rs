//! After start-up, serving allocates nothing: a counting allocator over the whole process.
//!
//! The viewers live in the same process, so they too are written without the heap once they run. For a sensor the test
//! runs itself again with the simulated one preloaded below it, which is a shared object with an allocator of its own: it
//! is not counted.
#![allow(unsafe_code, reason = "a global allocator is unsafe by its trait; this one is for this test only")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use depthcast::access::Rules;
use depthcast::camera::{Camera, LocalClock};
use depthcast::clock::{Clock, Now};
use depthcast::colormap::Range;
use depthcast::net_poll::{Address, Server, Settings, Stop};
use depthcast::peer::THIS_MACHINE;
use depthcast::proto::pickle;
use depthcast::proto::query::Tag;
use depthcast::render::Renderer;
use depthcast::ring::{Form, Picture, Ring};
use depthcast::service::Notifier;
use depthcast::source::demo::Demo;
use depthcast::source::kinect::{self, Kinect};
use depthcast::source::{Feed, Source, Stamp};
use depthcast::view::{Flip, Spec, View};
use kinect2::sysfs::Roots;

struct Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);

/// Whether the process has allocated at all.
static BEGUN: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// The thread of the first allocation is the main one, where the test harness waits. It writes a line, and allocates,
    /// when a test takes a minute, as this one may on a slow or emulated machine: not counted.
    static MAIN: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    if !BEGUN.swap(true, Ordering::Relaxed) {
        MAIN.set(true);
    }
    if !MAIN.get() {
        COUNT.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call is handed to the system's allocator as it came; counting touches no memory of its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`, which is the system's too.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above; `ptr` came from the system's allocator.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Frames of the Python viewer that are counted, after as many again to warm up: 300, or `DEPTHCAST_FRAMES`, for
/// emulated machines that take a second for a few.
fn counted() -> u64 {
    std::env::var("DEPTHCAST_FRAMES").ok().and_then(|text| text.parse().ok()).unwrap_or(300)
}

/// What one test allocates would be counted in the other.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

static STOP: AtomicBool = AtomicBool::new(false);

#[test]
fn three_hundred_frames_without_an_allocation() {
    if let Some(root) = std::env::var_os(ROOT) {
        return serve(pickle::Style::Compact, |now| kinect(Path::new(&root), now));
    }
    let _alone = alone();
    thread::spawn(every_form).join().expect("no form allocates");
    for form in [pickle::Style::Protocol0, pickle::Style::Compact] {
        STOP.store(false, Ordering::Relaxed);
        serve(form, |_| Source::Demo(Box::new(Demo::new(1))));
    }
}

/// Each representation of depth, made of frames that differ, with nobody to serve.
fn every_form() {
    let view = View::new(&Spec { overlay: true, ..Spec::default() });
    let mut renderer = Renderer::new(Range::PYTHON, Camera::default(), LocalClock::system(), view);
    let mut ring = Ring::new(Renderer::capacities());
    let mut demo = Demo::new(1);
    let forms = [Form::Png, Form::Jpeg, Form::Protocol0, Form::Compact, Form::DepthPng, Form::Rvl, Form::Raw];
    for n in 0..20 {
        let filling = ring.acquire().expect("nobody pins");
        demo.render(n, Duration::from_millis(100 * n), &mut ring.filling(&filling).depth);
        let before = COUNT.load(Ordering::Relaxed);
        let serial = ring.publish(filling, Stamp { seq: n, ..Stamp::default() }, Picture::Depth);
        let pin = ring.pin(serial - 1).expect("just published");
        for form in forms {
            renderer.make(ring.slot_mut(&pin), form, 30);
            renderer.make(ring.slot_mut(&pin), form, 30);
        }
        let allocated = COUNT.load(Ordering::Relaxed) - before;
        assert!(allocated == 0 || n == 0, "{allocated} allocations for frame {n}");
        ring.release(pin);
    }
    let made = renderer.made();
    for form in forms {
        assert_eq!(made[form as usize], 20, "{form:?}");
    }
}

/// Where the simulated sensor pretends to be; set only where there is one.
const ROOT: &str = "KINECT2_SIM_ROOT";

/// Runs the test above again with a sensor.
#[test]
#[cfg_attr(
    target_arch = "aarch64",
    ignore = "in place of a board there is an emulator, which is no place for a sensor"
)]
fn the_same_with_a_sensor() {
    let _alone = alone();
    let this = std::env::current_exe().expect("a path");
    let library = this.with_file_name("libkinect2_sim_usbfs.so");
    assert!(library.exists(), "{} is built with this test", library.display());
    let root = std::env::temp_dir().join(format!("depthcast-no-alloc-sensor-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&root);
    let mut command = Command::new(&this);
    command.args(["--exact", "three_hundred_frames_without_an_allocation", "--nocapture"]);
    command.env("LD_PRELOAD", &library).env(ROOT, &root);
    // As fast as frames are taken, so that nothing depends on the machine's speed.
    command.env("KINECT2_SIM_FRAMES", "noise").env("KINECT2_SIM_PACE", "demand");
    let output = command.output().expect("this binary runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "{said}");
    std::fs::remove_dir_all(&root).expect("removed");
}

fn kinect(root: &Path, now: Now) -> Source {
    let roots = Roots { sys: root.join("sys"), dev: root.join("dev") };
    let settings = kinect::Settings::default().sensor(None, roots, false);
    Source::Kinect(Box::new(Kinect::new(settings, now).expect("a sensor")))
}

fn serve(form: pickle::Style, source: impl FnOnce(Now) -> Source) {
    let path = std::env::temp_dir().join(format!("depthcast-no-alloc-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let manager = UnixDatagram::bind(&path).expect("bound");
    // SAFETY: no other thread runs yet.
    unsafe {
        std::env::set_var("NOTIFY_SOCKET", &path);
        std::env::set_var("WATCHDOG_USEC", "200000");
    }
    let notifier = Notifier::from_env();

    let clock = Clock::start();
    let now = clock.now();
    let feed = Feed::new(source(now), 120, std::iter::empty().collect(), now);
    let spec = Spec {
        rotate_180: true,
        flip: Flip::X,
        clip_mm: Some(4000),
        masks: vec![vec![[0, 0], [100, 0], [100, 424], [0, 424]]],
        overlay: true,
    };
    let renderer = Renderer::new(Range::PYTHON, Camera::default(), LocalClock::system(), View::new(&spec));
    let settings = Settings {
        listen: vec![Address::Tcp(([127, 0, 0, 1], 0).into())],
        viewers_max: 16,
        stall: Duration::from_secs(10),
        pickle: form,
        shutdown_from: THIS_MACHINE.to_vec(),
        allow: Vec::new(),
        rules: Rules::default(),
        instance: Tag::NONE,
    };
    let mut server = Server::new(Vec::new(), settings, feed, renderer, None, notifier, now).expect("started");
    let Some(Address::Tcp(address)) = server.addresses().next() else { panic!("no address") };
    let server = thread::spawn(move || server.run(&clock).expect("ran"));
    let others = [
        thread::spawn(move || stream(address, b"GET /stream HTTP/1.1\r\n\r\n")),
        thread::spawn(move || stream(address, b"GET /stream?format=png HTTP/1.1\r\n\r\n")),
        thread::spawn(move || {
            stream(address, b"GET /stream?format=png&key=me&fps=50&advance_headers=1 HTTP/1.1\r\n\r\n")
        }),
        thread::spawn(move || stream(address, b"GET /stream?view=ir&format=png HTTP/1.1\r\n\r\n")),
        thread::spawn(move || stream(address, b"GET /depth/stream HTTP/1.1\r\n\r\n")),
        thread::spawn(move || {
            stream(address, b"GET /depth/stream?format=rvl&extra_headers=1 HTTP/1.1\r\n\r\n")
        }),
        thread::spawn(move || stream(address, b"GET /depth/stream?format=raw HTTP/1.1\r\n\r\n")),
        thread::spawn(move || stream(address, WEB_SOCKET)),
        thread::spawn(move || requests(address, b"GET /snapshot.png HTTP/1.0\r\n\r\n")),
        thread::spawn(move || requests(address, b"GET /depth.png HTTP/1.0\r\n\r\n")),
        thread::spawn(move || requests(address, b"GET /depth.rvl HTTP/1.0\r\n\r\n")),
        thread::spawn(move || requests(address, b"GET /depth.raw HTTP/1.0\r\n\r\n")),
        thread::spawn(move || requests(address, b"GET /state HTTP/1.0\r\n\r\n")),
        thread::spawn(move || requests(address, b"GET /metrics HTTP/1.0\r\n\r\n")),
        thread::spawn(move || requests(address, b"GET /nowhere HTTP/1.0\r\n\r\n")),
        thread::spawn(move || requests(address, b"\x7f")),
    ];

    let mut viewer = connect(address);
    let mut buffer = vec![0; 1 << 16];
    let counted = counted();
    frames(&mut viewer, &mut buffer, counted);
    let allocated = while_frames_come(address, || {
        let before = COUNT.load(Ordering::Relaxed);
        frames(&mut viewer, &mut buffer, counted);
        COUNT.load(Ordering::Relaxed) - before
    });

    STOP.store(true, Ordering::Relaxed);
    for other in others {
        assert!(other.join().expect("a viewer failed") > 20, "a viewer saw next to nothing");
    }
    let jpegs = number(address, "jpeg");
    assert!(jpegs > counted / 5, "{jpegs} JPEGs are no proof");
    viewer.write_all(b"2").expect("written");
    assert_eq!(server.join().expect("the server failed"), Stop::Viewer);
    let mut message = [0; 64];
    assert!(manager.recv(&mut message).is_ok_and(|n| message.starts_with(b"READY=1") && n == 7));
    std::fs::remove_file(&path).expect("removed");
    assert_eq!(allocated, 0, "allocations in {counted} frames of {form:?}");
}

/// Measures while frames come all the time, again if they did not: on a crowded machine a sensor may be without a frame for
/// so long that it is opened anew, which allocates, and may.
fn while_frames_come<T>(address: SocketAddr, mut measure: impl FnMut() -> T) -> T {
    const TRIES: usize = 20;
    let interruptions = || ["placeholders", "lost", "reopened"].map(|name| number(address, name));
    for _ in 0..TRIES {
        let before = interruptions();
        let measured = measure();
        if interruptions() == before {
            return measured;
        }
    }
    panic!("frames stopped coming in each of {TRIES} tries");
}

fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).expect("connected")
}

/// A number of `/state`.
fn number(address: SocketAddr, name: &str) -> u64 {
    let mut peer = connect(address);
    peer.write_all(b"GET /state HTTP/1.0\r\n\r\n").expect("written");
    let mut text = String::new();
    peer.read_to_string(&mut text).expect("the state");
    let after = text.split(&format!("\"{name}\":")).nth(1).expect("such a number");
    after.split(',').next().and_then(|n| n.parse().ok()).expect("a number")
}

/// Asks for `count` frames in the Python way.
fn frames(viewer: &mut TcpStream, buffer: &mut [u8], count: u64) {
    for _ in 0..count {
        viewer.write_all(b"0").expect("written");
        let mut header = [0; pickle::HEADER_LEN];
        viewer.read_exact(&mut header).expect("a header");
        let mut left = u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize;
        while left > 0 {
            let room = left.min(buffer.len());
            left -= viewer.read(&mut buffer[..room]).expect("a payload");
        }
    }
}

const WEB_SOCKET: &[u8] =
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Watches the stream; returns the blocks read.
fn stream(address: SocketAddr, request: &[u8]) -> u64 {
    let mut viewer = connect(address);
    viewer.write_all(request).expect("written");
    let mut buffer = [0; 1 << 14];
    let mut blocks = 0;
    while !STOP.load(Ordering::Relaxed) {
        assert!(viewer.read(&mut buffer).expect("the stream") > 0, "the stream ended");
        blocks += 1;
    }
    blocks
}

/// Asks the same again and again, each time over a new connection; returns the number of answers.
fn requests(address: SocketAddr, request: &[u8]) -> u64 {
    let mut buffer = [0; 1 << 14];
    let mut answers = 0;
    while !STOP.load(Ordering::Relaxed) {
        let mut peer = connect(address);
        peer.write_all(request).expect("written");
        // Garbage is answered with the end of the connection, which may come as a reset.
        while peer.read(&mut buffer).is_ok_and(|n| n > 0) {}
        let _ = peer.shutdown(Shutdown::Both);
        answers += 1;
        thread::sleep(Duration::from_millis(20));
    }
    answers
}
