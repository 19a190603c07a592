//! Programs below the preloaded library, as a kernel would answer them.
//!
//! Each test runs this binary again with the library preloaded, on a folder of its own, and there the ignored test of
//! the same name in `program`. What is meant to look like a user's program uses the driver's calls; what no sane
//! program does goes through `ioctl` as it is.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs `program::NAME` below the library, with these faults and variables.
fn below(name: &str, faults: &str, variables: &[(&str, &str)]) {
    let this = std::env::current_exe().expect("a path");
    let library = this.with_file_name("libkinect2_sim_usbfs.so");
    assert!(library.exists(), "{} is built with this test", library.display());
    let root = Folder::new(name);
    let mut command = again(&this);
    command
        .args(["--exact", &format!("program::{name}"), "--ignored", "--nocapture"])
        .env("LD_PRELOAD", &library)
        .env("KINECT2_SIM_ROOT", &root.0)
        .env("KINECT2_SIM_FRAMES", "noise")
        .env("KINECT2_SIM_FAULTS", faults);
    for (variable, value) in variables {
        command.env(variable, value);
    }
    let output = command.output().expect("this binary runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "no such program: {name}");
}

/// A command that runs this binary, under the emulator where Cargo has run it so: a kernel may not know how.
fn again(this: &Path) -> Command {
    match std::env::var_os("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER") {
        Some(runner) if cfg!(target_arch = "aarch64") => {
            let mut command = Command::new(runner);
            command.arg(this);
            command
        }
        _ => Command::new(this),
    }
}

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder of our own");
        Folder(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn every_completion_wakes_an_edge_triggered_epoll() {
    below("edges", "", &[("KINECT2_SIM_PACE", "demand")]);
}

#[test]
fn interfaces_belong_to_who_claimed_them() {
    below("claims", "", &[]);
}

#[test]
fn an_interface_with_an_owner_is_busy() {
    below("owned", "owned=uvcvideo", &[]);
}

#[test]
fn without_permission_a_node_opens_for_reading_alone() {
    below("no_permission", "no-permission", &[]);
}

#[test]
fn a_sensor_on_a_usb_2_port_says_so() {
    below("usb_2", "usb2 autosuspend", &[]);
}

#[test]
fn what_a_kernel_refuses_is_refused() {
    below("refusals", "", &[]);
}

#[test]
fn memory_is_counted_for_all_that_is_submitted() {
    below("memory", "", &[]);
}

#[test]
fn no_limit_of_memory_is_no_limit() {
    below("no_memory_limit", "usbfs-memory=0", &[]);
}

#[test]
fn a_discarded_request_comes_back() {
    below("discarding", "", &[]);
}

#[test]
fn a_slow_host_controller_keeps_the_device_locked() {
    below("slow_host", "slow-host=300", &[]);
}

#[test]
fn a_reset_takes_the_interfaces_away() {
    below("resetting", "", &[]);
}

#[test]
fn calls_that_wait_end_with_an_answer_or_in_time() {
    below("waiting", "", &[]);
}

#[test]
fn a_sensor_that_goes_ends_everything_and_comes_back_as_another() {
    below("unplugging", "unplug@0.4+0.4", &[]);
}

#[test]
fn three_hundred_frames_come_bit_for_bit() {
    // As fast as they are taken: a slow machine loses nothing.
    below("streaming", "", &[("KINECT2_SIM_PACE", "demand")]);
}

#[test]
fn a_bad_packet_is_one_bad_packet() {
    below("bad_packets", "seed=3 packet-error=0.01", &[("KINECT2_SIM_PACE", "demand")]);
}

#[test]
fn a_reset_may_make_it_another_device() {
    below("another_device", "reset-not-found=1", &[]);
}

#[test]
fn a_wedged_sensor_answers_after_a_reset_only() {
    // On demand the kernel's five seconds are none.
    below("wedged", "wedge", &[("KINECT2_SIM_PACE", "demand")]);
}

#[test]
fn faults_may_be_given_while_the_program_runs() {
    below("given_later", "owned=uvcvideo", &[]);
}

#[test]
fn other_files_are_left_alone() {
    below("other_files", "", &[]);
}

#[test]
fn a_second_program_finds_the_interfaces_owned() {
    below("second_program", "", &[]);
}

#[test]
fn the_simulators_own_cost_is_written_down() {
    below("own_cost", "", &[]);
}

/// The programs.
mod program {
    #![allow(unsafe_code, reason = "calls ioctl with what the driver's own functions never pass")]

    use std::fs;
    use std::os::fd::AsRawFd;
    use std::path::PathBuf;
    use std::process;
    use std::time::{Duration, Instant};

    use kinect2::protocol::{
        COMMAND_OUT, COMPLETION_BYTES, Command, Completion, DEPTH_IN, PACKET_BYTES, REPLY_IN, STATUS_READY,
        Setup,
    };
    use kinect2::stream::{PacketStatus, Stream, Target};
    use kinect2::sysfs::{self, Found, Roots};
    use kinect2::usbfs::{Device, Node, Urb};
    use kinect2_sim::device::{Frames, Options};
    use nix::errno::Errno;
    use nix::libc;
    use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

    fn root() -> PathBuf {
        PathBuf::from(std::env::var_os("KINECT2_SIM_ROOT").expect("set by the test"))
    }

    fn roots() -> Roots {
        Roots { sys: root().join("sys"), dev: root().join("dev") }
    }

    fn found() -> Found {
        sysfs::find(&roots()).expect("a tree").sensors.into_iter().next().expect("a sensor")
    }

    fn device() -> Device {
        Device::open(&found().node).expect("a node")
    }

    /// A node that streams, as far as the host is concerned.
    fn node() -> Node {
        let device = device();
        device.claim(0).unwrap();
        device.claim(1).unwrap();
        device.set_interface(1, 1).unwrap();
        Node::new(device, 64)
    }

    fn depth_urb() -> Urb {
        Urb::iso(DEPTH_IN, 8, PACKET_BYTES)
    }

    /// `ioctl` as it is.
    fn call<T>(device: &Device, code: u64, argument: &mut T) -> Result<i32, Errno> {
        let fd = std::os::fd::AsFd::as_fd(device).as_raw_fd();
        // SAFETY: `argument` is what the code says it is, or the call is refused before it is looked at.
        Errno::result(unsafe { libc::ioctl(fd, code, std::ptr::from_mut(argument)) })
    }

    fn epoll(node: impl std::os::fd::AsFd) -> Epoll {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        epoll.add(node, EpollEvent::new(EpollFlags::EPOLLOUT | EpollFlags::EPOLLET, 7)).unwrap();
        epoll
    }

    fn wait(epoll: &Epoll, timeout: impl Into<EpollTimeout>) -> EpollFlags {
        let mut events = [EpollEvent::empty(); 2];
        let count = epoll.wait(&mut events, timeout).unwrap();
        if count == 0 { EpollFlags::empty() } else { events[0].events() }
    }

    /// Reaps the next request, waiting for it as long as any machine may take.
    fn reap(node: &mut Node) -> Result<Urb, Errno> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(urb) = node.reap()? {
                return Ok(urb);
            }
            assert!(Instant::now() < deadline, "nothing to reap");
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Waits for the tree to be so.
    fn until(what: &str, mut so: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !so() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// `struct usbdevfs_urb` with room for a few packets too many.
    #[repr(C)]
    struct RawUrb {
        kind: u8,
        endpoint: u8,
        status: i32,
        flags: u32,
        buffer: *mut u8,
        buffer_length: i32,
        actual_length: i32,
        start_frame: i32,
        packets: i32,
        errors: i32,
        signal: u32,
        context: usize,
        descriptors: [[u32; 3]; 129],
    }

    const SUBMIT: u64 = 0x8038_550A;
    const DISCARD: u64 = 0x550B;
    const REAP: u64 = 0x4008_550C;
    const CONTROL: u64 = 0xC018_5500;
    const BULK: u64 = 0xC018_5502;
    const DISCONNECT_CLAIM: u64 = 0x8108_551B;

    fn raw(kind: u8, endpoint: u8, buffer: &mut [u8]) -> RawUrb {
        RawUrb {
            kind,
            endpoint,
            status: 0,
            flags: 0,
            buffer: buffer.as_mut_ptr(),
            buffer_length: i32::try_from(buffer.len()).unwrap(),
            actual_length: 0,
            start_frame: 0,
            packets: 0,
            errors: 0,
            signal: 0,
            context: 0,
            descriptors: [[16, 0, 0]; 129],
        }
    }

    #[test]
    #[ignore = "below the library"]
    fn edges() {
        let mut node = node();
        let epoll = epoll(&node);
        let mut urb = depth_urb();
        assert_eq!(wait(&epoll, EpollTimeout::ZERO), EpollFlags::empty());
        for _ in 0..1_000 {
            node.submit(urb).unwrap();
            assert_eq!(wait(&epoll, 20_000u16), EpollFlags::EPOLLOUT);
            urb = node.reap().unwrap().expect("what the edge promised");
            assert!(node.reap().unwrap().is_none());
            assert_eq!(wait(&epoll, EpollTimeout::ZERO), EpollFlags::empty());
        }
        // Without reaping in between: as many edges as completions.
        for round in 0..10 {
            node.submit(depth_urb()).unwrap();
            assert_eq!(wait(&epoll, 20_000u16), EpollFlags::EPOLLOUT, "{round}");
        }
    }

    #[test]
    #[ignore = "below the library"]
    fn claims() {
        let ours = device();
        assert_eq!(ours.speed(), Ok(5));
        // GET_CAPABILITIES, which libusb asks for: reaping after the end, and no mmap.
        let mut capabilities = 0_u32;
        call(&ours, 0x8004_551A, &mut capabilities).unwrap();
        assert_eq!(capabilities & 0x31, 0x11);
        assert_eq!(ours.driver(0), Ok(None));
        assert_eq!(ours.release(0), Err(Errno::EINVAL));
        ours.claim(0).unwrap();
        ours.claim(0).unwrap();
        assert_eq!(ours.driver(0).unwrap().as_deref(), Some("usbfs"));
        assert_eq!(found().drivers[0].as_deref(), Some("usbfs"));
        assert_eq!(ours.driver(2).unwrap().as_deref(), Some("snd-usb-audio"));
        assert_eq!(ours.claim(2), Err(Errno::EBUSY));
        assert_eq!(ours.claim(7), Err(Errno::ENOENT));
        assert_eq!(ours.claim(64), Err(Errno::EINVAL));
        assert_eq!(ours.set_configuration(1), Err(Errno::EBUSY));
        let theirs = device();
        assert_eq!(theirs.claim(0), Err(Errno::EBUSY));
        assert_eq!(theirs.release(0), Err(Errno::EINVAL));
        // Use without a claim is a claim.
        theirs.set_interface(1, 1).unwrap();
        assert_eq!(ours.claim(1), Err(Errno::EBUSY));
        ours.release(0).unwrap();
        assert_eq!(found().drivers[0], None);
        drop(theirs);
        ours.claim(1).unwrap();
        // Closing put it back to its first setting.
        let mut node = Node::new(ours, 8);
        assert_eq!(node.submit(depth_urb()).unwrap_err().errno, Errno::ENOENT);
        drop(node);
        assert_eq!(found().drivers, [None, None]);
    }

    #[test]
    #[ignore = "below the library"]
    fn owned() {
        assert_eq!(found().drivers[1].as_deref(), Some("uvcvideo"));
        let device = device();
        assert_eq!(device.driver(0).unwrap().as_deref(), Some("uvcvideo"));
        assert_eq!(device.claim(0), Err(Errno::EBUSY));
        assert_eq!(device.set_interface(1, 1), Err(Errno::EBUSY));
        let mut wish = [0u8; 264];
        wish[4] = 1;
        wish[8..11].copy_from_slice(b"snd");
        assert_eq!(call(&device, DISCONNECT_CLAIM, &mut wish), Err(Errno::EBUSY));
        wish[8..16].copy_from_slice(b"uvcvideo");
        assert_eq!(call(&device, DISCONNECT_CLAIM, &mut wish), Ok(0));
        assert_eq!(device.driver(0).unwrap().as_deref(), Some("usbfs"));
    }

    #[test]
    #[ignore = "below the library"]
    fn no_permission() {
        let node = found().node;
        assert_eq!(Device::open(&node).unwrap_err(), Errno::EACCES);
        let file = fs::File::open(&node).unwrap();
        // SAFETY: this call has no argument.
        assert_eq!(Errno::result(unsafe { libc::ioctl(file.as_raw_fd(), 0x551F) }), Err(Errno::EPERM));
    }

    #[test]
    #[ignore = "below the library"]
    fn usb_2() {
        let found = found();
        assert_eq!((found.speed_mbit, found.bus), (480, 1));
        assert_eq!(found.power_control.as_deref(), Some("auto"));
        assert_eq!(device().speed(), Ok(3));
    }

    #[test]
    #[ignore = "below the library"]
    fn refusals() {
        let device = device();
        let mut buffer = vec![0; 8 * PACKET_BYTES];
        let mut submit = |change: &dyn Fn(&mut RawUrb)| {
            let mut urb = raw(0, DEPTH_IN, &mut buffer);
            (urb.flags, urb.packets) = (2, 8);
            change(&mut urb);
            call(&device, SUBMIT, &mut urb)
        };
        // The endpoint is on interface 1, but not in its first setting.
        assert_eq!(submit(&|_| {}), Err(Errno::ENOENT));
        device.set_interface(1, 1).unwrap();
        assert_eq!(submit(&|urb| urb.endpoint = 0x8F), Err(Errno::ENOENT));
        assert_eq!(submit(&|urb| urb.endpoint = 0x94), Err(Errno::EINVAL));
        assert_eq!(submit(&|urb| urb.endpoint = REPLY_IN), Err(Errno::EINVAL));
        assert_eq!(submit(&|urb| urb.kind = 3), Err(Errno::EINVAL));
        assert_eq!(submit(&|urb| urb.flags = 0x10), Err(Errno::EINVAL));
        assert_eq!(submit(&|urb| urb.packets = 0), Err(Errno::EINVAL));
        assert_eq!(submit(&|urb| urb.packets = 129), Err(Errno::EINVAL));
        assert_eq!(submit(&|urb| urb.descriptors[7][0] = 98_305), Err(Errno::EINVAL));
        assert_eq!(submit(&|urb| urb.buffer = std::ptr::null_mut()), Err(Errno::EINVAL));
        // As soon as possible is for isochronous requests only.
        assert_eq!(submit(&|urb| (urb.kind, urb.endpoint) = (3, REPLY_IN)), Err(Errno::EINVAL));
        assert_eq!(
            submit(&|urb| (urb.kind, urb.endpoint, urb.flags, urb.buffer_length) = (2, 0, 0, 7)),
            Err(Errno::EINVAL)
        );
        assert_eq!(device.set_interface(1, 2), Err(Errno::EINVAL));
        assert_eq!(device.set_interface(9, 0), Err(Errno::ENOENT));
        assert_eq!(device.clear_halt(0x8F), Err(Errno::ENOENT));
        assert_eq!(call(&device, 0x5599, &mut 0u32), Err(Errno::ENOTTY));
        let mut other = raw(3, REPLY_IN, &mut buffer);
        assert_eq!(call(&device, DISCARD, &mut other), Err(Errno::EINVAL), "never submitted");
    }

    #[test]
    #[ignore = "below the library"]
    fn memory() {
        assert_eq!(roots().usbfs_memory_mb(), Some(16));
        let device = device();
        device.claim(0).unwrap();
        let mut node = Node::new(device, 16);
        // Replies that nobody sends: each 1.75 MiB and a little.
        let urb = || Urb::bulk(REPLY_IN, 0x1C_0000);
        let mut tickets: Vec<_> = (0..9).map(|_| node.submit(urb()).unwrap()).collect();
        assert_eq!(node.submit(urb()).unwrap_err().errno, Errno::ENOMEM);
        node.device().discard(tickets.pop().unwrap());
        let back = reap(&mut node).unwrap();
        assert_eq!(back.status(), Err(Errno::ENOENT));
        node.submit(back).unwrap();
        drop(node);
        // Closing gave all of it back.
        let again = self::device();
        again.claim(0).unwrap();
        let mut node = Node::new(again, 16);
        for _ in 0..9 {
            node.submit(urb()).unwrap();
        }
    }

    #[test]
    #[ignore = "below the library"]
    fn no_memory_limit() {
        assert_eq!(roots().usbfs_memory_mb(), Some(0));
        let device = device();
        device.claim(0).unwrap();
        let mut node = Node::new(device, 16);
        for _ in 0..12 {
            node.submit(Urb::bulk(REPLY_IN, 0x1C_0000)).unwrap();
        }
    }

    #[test]
    #[ignore = "below the library"]
    fn discarding() {
        let device = device();
        device.claim(0).unwrap();
        let mut node = Node::new(device, 4);
        let epoll = epoll(&node);
        let first = node.submit(Urb::bulk(REPLY_IN, 512)).unwrap();
        node.submit(Urb::bulk(REPLY_IN, 1_024)).unwrap();
        assert!(node.reap().unwrap().is_none());
        node.device().discard(first);
        assert_eq!(wait(&epoll, 20_000u16), EpollFlags::EPOLLOUT);
        let urb = reap(&mut node).unwrap();
        assert_eq!((urb.status(), urb.actual()), (Err(Errno::ENOENT), 0));
        // Nothing of it is left, and the other one still waits.
        node.device().discard(first);
        assert!(node.reap().unwrap().is_none());
        assert_eq!(node.pending(), 1);
        // Giving the interface back ends what is pending on it.
        node.device().release(0).unwrap();
        assert_eq!(reap(&mut node).unwrap().status(), Err(Errno::ENOENT));
    }

    #[test]
    #[ignore = "below the library"]
    fn slow_host() {
        let device = device();
        device.claim(0).unwrap();
        let mut node = Node::new(device, 4);
        let ticket = node.submit(Urb::bulk(REPLY_IN, 512)).unwrap();
        assert!(node.reap().unwrap().is_none(), "nobody is in the way");
        let (device, started) = (node.device().clone(), Instant::now());
        let (tell, told) = std::sync::mpsc::channel();
        let other = std::thread::spawn(move || {
            tell.send(()).unwrap();
            device.discard(ticket);
            started.elapsed()
        });
        told.recv().unwrap();
        // Until it is within the call: then there is something to be reaped, and that takes as long as the call.
        let urb = reap(&mut node).unwrap();
        assert_eq!(urb.status(), Err(Errno::ENOENT));
        assert!(started.elapsed() >= Duration::from_millis(300), "{:?}", started.elapsed());
        assert!(other.join().unwrap() >= Duration::from_millis(300));
    }

    #[test]
    #[ignore = "below the library"]
    fn resetting() {
        let mut node = node();
        node.submit(Urb::bulk(REPLY_IN, 512)).unwrap();
        let started = Instant::now();
        node.device().reset().unwrap();
        assert!(started.elapsed() >= Duration::from_millis(50), "a reset takes its time");
        assert_eq!(node.device().driver(0), Ok(None));
        assert!(reap(&mut node).unwrap().status().is_err());
        assert_eq!(found().device, 3, "the same device");
        assert_eq!(node.submit(depth_urb()).unwrap_err().errno, Errno::ENOENT, "idle again");
    }

    #[test]
    #[ignore = "below the library"]
    fn another_device() {
        let mut node = node();
        let epoll = epoll(&node);
        node.submit(Urb::bulk(REPLY_IN, 512)).unwrap();
        assert_eq!(node.device().reset(), Err(Errno::ENODEV));
        assert!(wait(&epoll, 20_000u16).contains(EpollFlags::EPOLLHUP));
        assert!(node.reap().unwrap().expect("what was pending").status().is_err());
        assert_eq!(node.reap().unwrap_err(), Errno::ENODEV);
        until("it comes back", || !sysfs::find(&roots()).unwrap().sensors.is_empty());
        assert_eq!(found().device, 4);
        device().reset().unwrap();
    }

    #[test]
    #[ignore = "below the library"]
    fn wedged() {
        let device = device();
        device.claim(0).unwrap();
        device.claim(1).unwrap();
        assert_eq!(device.set_interface(1, 1), Err(Errno::ETIMEDOUT));
        assert_eq!(device.clear_halt(REPLY_IN), Err(Errno::ETIMEDOUT));
        let mut node = Node::new(device, 4);
        let mut resume = Urb::control(0);
        resume.set_setup(Setup::RESUME);
        let ticket = node.submit(resume).unwrap();
        assert!(node.reap().unwrap().is_none());
        node.device().discard(ticket);
        let resume = reap(&mut node).unwrap();
        assert_eq!(resume.status(), Err(Errno::ENOENT));
        node.device().reset().unwrap();
        node.device().claim(0).unwrap();
        assert_eq!(perform(&mut node, resume).status(), Ok(()));
    }

    #[test]
    #[ignore = "below the library"]
    fn waiting() {
        #[repr(C)]
        struct Control {
            setup: Setup8,
            timeout: u32,
            data: *mut u8,
        }
        #[repr(C)]
        struct Setup8(u8, u8, u16, u16, u16);
        #[repr(C)]
        struct Bulk {
            endpoint: u32,
            length: u32,
            timeout: u32,
            data: *mut u8,
        }
        let device = device();
        let mut descriptor = [0u8; 64];
        let setup = Setup8(0x80, 6, 0x0100, 0, 64);
        let mut get = Control { setup, timeout: 10_000, data: descriptor.as_mut_ptr() };
        assert_eq!(call(&device, CONTROL, &mut get), Ok(18));
        assert_eq!(descriptor[..2], [18, 1]);
        assert_eq!(descriptor[8..10], [0x5E, 0x04]);
        get.setup.4 = 4_097;
        assert_eq!(call(&device, CONTROL, &mut get), Err(Errno::EINVAL));
        // Nobody has asked anything: there is no reply.
        let mut reply = [0u8; 512];
        let mut read = Bulk { endpoint: REPLY_IN.into(), length: 512, timeout: 30, data: reply.as_mut_ptr() };
        let started = Instant::now();
        assert_eq!(call(&device, BULK, &mut read), Err(Errno::ETIMEDOUT));
        assert!(started.elapsed() >= Duration::from_millis(30));
        // The blocking reap sleeps until another thread ends the request.
        let mut urb = raw(3, REPLY_IN, &mut reply);
        assert_eq!(call(&device, SUBMIT, &mut urb), Ok(0));
        let address = std::ptr::from_mut(&mut urb).addr();
        let other = device.clone();
        let ender = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            let fd = std::os::fd::AsFd::as_fd(&other).as_raw_fd();
            // SAFETY: the address is a name.
            Errno::result(unsafe { libc::ioctl(fd, DISCARD, address) })
        });
        let mut reaped = 0usize;
        assert_eq!(call(&device, REAP, &mut reaped), Ok(0));
        assert_eq!(ender.join().unwrap(), Ok(0));
        assert_eq!((reaped, urb.status), (address, -libc::ENOENT));
    }

    #[test]
    #[ignore = "below the library"]
    fn unplugging() {
        let before = found();
        let mut node = node();
        let epoll = epoll(&node);
        node.submit(Urb::bulk(REPLY_IN, 512)).unwrap();
        let mut events = EpollFlags::empty();
        while !events.contains(EpollFlags::EPOLLHUP) {
            events = wait(&epoll, 20_000u16);
            assert!(!events.is_empty(), "nothing happened");
        }
        assert!(events.contains(EpollFlags::EPOLLERR), "{events:?}");
        assert_eq!(node.device().driver(0), Err(Errno::ENODEV));
        assert_eq!(node.submit(depth_urb()).unwrap_err().errno, Errno::ENODEV);
        // What was pending comes back first.
        assert_eq!(node.reap().unwrap().expect("what was pending").status(), Err(Errno::ESHUTDOWN));
        assert_eq!(node.reap().unwrap_err(), Errno::ENODEV);
        assert!(!before.node.exists() && !before.sysfs.exists());
        let bus = sysfs::find(&roots()).unwrap();
        assert!(bus.sensors.is_empty() && bus.adaptor, "the adaptor stays");
        assert_eq!(Device::open(&before.node).unwrap_err(), Errno::ENOENT);
        until("it comes back", || !sysfs::find(&roots()).unwrap().sensors.is_empty());
        let after = found();
        assert_eq!((before.device, after.device), (3, 4));
        assert_eq!((after.serial, after.drivers), (before.serial, [None, None]));
        assert_eq!(node.reap().unwrap_err(), Errno::ENODEV, "the old one stays gone");
        drop(node);
        self::device().claim(0).unwrap();
    }

    /// Puts other faults into the folder, and waits until they are taken.
    fn give(faults: &str) {
        fs::write(root().join("faults.new"), faults).unwrap();
        fs::rename(root().join("faults.new"), root().join("faults")).unwrap();
        until("taken", || !root().join("faults").exists());
    }

    #[test]
    #[ignore = "below the library"]
    fn given_later() {
        give("");
        assert_eq!(found().drivers, [None, None], "the owner lets go");
        let mut ours = node();
        ours.submit(depth_urb()).unwrap();
        give("usbfs-memory=0 no-permission owned=uvcvideo");
        assert_eq!(roots().usbfs_memory_mb(), Some(0));
        assert_eq!(ours.device().driver(0).unwrap().as_deref(), Some("usbfs"), "what we have we keep");
        assert_eq!(Device::open(&found().node).unwrap_err(), Errno::EACCES);
        give("unplug");
        assert!(sysfs::find(&roots()).unwrap().sensors.is_empty());
        give("owned=uvcvideo autosuspend");
        assert_eq!(device().claim(0), Err(Errno::EBUSY));
        assert_eq!(found().power_control.as_deref(), Some("auto"));
        give("unplugged");
        assert_eq!(device().claim(0), Err(Errno::EBUSY), "what is no fault changes nothing");
        give("usb2");
        until("another link", || {
            let bus = sysfs::find(&roots()).unwrap();
            bus.adaptor
                && bus.sensors.first().is_some_and(|sensor| (sensor.speed_mbit, sensor.bus) == (480, 1))
        });
        assert_eq!(device().speed(), Ok(3));
        give("");
        until("the first link", || {
            let bus = sysfs::find(&roots()).unwrap();
            bus.adaptor && bus.sensors.first().is_some_and(|sensor| sensor.speed_mbit == 5000)
        });
        node().submit(depth_urb()).unwrap();
    }

    /// Sends a command, and reads its data, if it has any, and its completion.
    fn command(node: &mut Node, command: Command, sequence: u32) -> Vec<u8> {
        let (bytes, length) = command.to_bytes(sequence);
        let mut urb = Urb::bulk(COMMAND_OUT, length);
        urb.buffer_mut().copy_from_slice(&bytes[..length]);
        let urb = perform(node, urb);
        assert_eq!((urb.status(), urb.actual()), (Ok(()), length));
        let mut data = Vec::new();
        if command.reply_max() > 0 {
            let urb = perform(node, Urb::bulk(REPLY_IN, command.reply_max()));
            assert_eq!(urb.status(), Ok(()));
            data.extend_from_slice(urb.received());
        }
        let urb = perform(node, Urb::bulk(REPLY_IN, COMPLETION_BYTES));
        assert_eq!(Completion::from_bytes(urb.received()).expect("a completion").sequence, sequence);
        data
    }

    /// Submits a request and waits for it.
    fn perform(node: &mut Node, urb: Urb) -> Urb {
        node.submit(urb).unwrap();
        reap(node).unwrap()
    }

    /// Starts the stream as a driver does, and hands over every packet until `enough`.
    fn stream(mut enough: impl FnMut(PacketStatus, &[u8]) -> bool) {
        let device = device();
        device.reset().unwrap();
        device.claim(0).unwrap();
        device.claim(1).unwrap();
        let mut node = Node::new(device, 64);
        let mut resume = Urb::control(0);
        resume.set_setup(Setup::RESUME);
        assert_eq!(perform(&mut node, resume).status(), Ok(()));
        let mut sequence = 0..;
        let mut next = || sequence.next().expect("no end");
        until("the sensor gets ready", || {
            let data = command(&mut node, Command::Status, next());
            u32::from_le_bytes(data.try_into().expect("four bytes")) & STATUS_READY != 0
        });
        command(&mut node, Command::InitStreams, next());
        node.device().set_interface(1, 1).unwrap();
        command(&mut node, Command::Streaming(true), next());
        let epoll = epoll(&node);
        for _ in 0..60 {
            node.submit(depth_urb()).unwrap();
        }
        loop {
            assert_eq!(wait(&epoll, 20_000u16), EpollFlags::EPOLLOUT);
            // Bounded: on demand a transfer may be done before the last one is looked at.
            for _ in 0..60 {
                let Some(urb) = node.reap().unwrap() else { break };
                assert_eq!(urb.status(), Ok(()));
                for packet in 0..urb.packets() {
                    let (status, bytes) = urb.packet(packet).expect("below their number");
                    let status = if status.is_ok() { PacketStatus::Good } else { PacketStatus::Bad };
                    if enough(status, bytes) {
                        return;
                    }
                }
                node.submit(urb).unwrap();
            }
        }
    }

    #[test]
    #[ignore = "below the library"]
    fn streaming() {
        // What the model was given, made again.
        let Frames::Raw(frames) = Options::noise(0, 4).frames;
        let (mut parser, mut target) = (Stream::new(), Target::raw());
        let mut complete = 0;
        stream(|status, bytes| {
            let Some(info) = parser.packet(Duration::ZERO, status, bytes, &mut target) else { return false };
            let Target::Raw(frame) = &target else { unreachable!("made above") };
            let sent = &frames[info.sequence as usize % frames.len()];
            // The footers are not in it.
            assert!(frame[..] == sent[..], "frame {} is another", info.sequence);
            complete += 1;
            complete == 300
        });
        let counters = parser.counters();
        assert_eq!((counters.bad_packets, counters.odd_packets), (0, 0));
        assert_eq!((counters.frames_complete, counters.frames_lost), (300, 0));
        // The stream begins in the middle of a frame.
        assert!(counters.frames_dropped <= 1, "{counters:?}");
    }

    #[test]
    #[ignore = "below the library"]
    fn bad_packets() {
        let (mut good, mut bad) = (0, 0);
        stream(|status, bytes| {
            match status {
                PacketStatus::Good => good += usize::from(!bytes.is_empty()),
                PacketStatus::Bad => bad += 1,
            }
            good + bad == 3_000
        });
        assert!((10..=60).contains(&bad), "{bad} of 3,000 are not one in a hundred");
    }

    #[test]
    #[ignore = "below the library"]
    fn other_files() {
        use std::io::{Read, Seek, Write};
        use std::os::unix::net::UnixStream;

        let path = root().join("001");
        fs::create_dir_all(&path).unwrap();
        // A path that ends like a node's.
        let path = path.join("002");
        let mut file =
            fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        file.write_all(b"text").unwrap();
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "text");
        drop(file);
        assert_eq!(
            fs::File::open(root().join("dev/bus/usb/002/099")).unwrap_err().raw_os_error(),
            Some(libc::ENOENT)
        );
        let (a, mut b) = UnixStream::pair().unwrap();
        // By ioctl(FIONBIO).
        a.set_nonblocking(true).unwrap();
        assert_eq!((&a).read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        b.write_all(b"x").unwrap();
        // A number that was a node's and is another file's now.
        let node = device();
        let fd = std::os::fd::AsFd::as_fd(&node).as_raw_fd();
        drop(node);
        let file = fs::File::open("/dev/null").unwrap();
        assert_eq!(file.as_raw_fd(), fd);
        // SAFETY: this call has no argument.
        assert_eq!(Errno::result(unsafe { libc::ioctl(fd, 0x551F) }), Err(Errno::ENOTTY));
    }

    #[test]
    #[ignore = "below the library"]
    fn second_program() {
        if std::env::var_os("SECOND").is_some() {
            let device = device();
            assert_eq!(device.driver(1).unwrap().as_deref(), Some("usbfs"));
            assert_eq!(device.claim(1), Err(Errno::EBUSY));
            return;
        }
        let ours = device();
        ours.claim(0).unwrap();
        let status = super::again(&std::env::current_exe().unwrap())
            .args(["--exact", "program::second_program", "--ignored"])
            .env("SECOND", "1")
            .status()
            .unwrap();
        assert!(status.success());
        assert_eq!(ours.driver(0).unwrap().as_deref(), Some("usbfs"));
        assert_eq!(found().drivers[0].as_deref(), Some("usbfs"), "the tree is still the first one's");
        // Not for a program of another name.
        let output = process::Command::new("cat")
            .arg(root().join("dev/bus/usb/002/003"))
            .env("KINECT2_SIM_PROGRAM", "another")
            .output()
            .unwrap();
        assert_eq!(output.stdout[..2], [18, 1], "the regular file");
    }

    #[test]
    #[ignore = "below the library"]
    fn own_cost() {
        let mut node = node();
        node.submit(Urb::bulk(REPLY_IN, 512)).unwrap();
        until("a file of three numbers", || {
            let text = fs::read_to_string(root().join("cpu")).unwrap_or_default();
            let numbers: Vec<u64> = text.split_whitespace().map_while(|n| n.parse().ok()).collect();
            matches!(numbers[..], [all, thread, ioctls] if all == thread + ioctls && ioctls > 0)
        });
        let status = fs::read_dir("/proc/self/task").unwrap();
        let names = status.map(|task| fs::read_to_string(task.unwrap().path().join("comm")).unwrap());
        assert!(names.into_iter().any(|name| name == "kinect-sim\n"));
    }
}
