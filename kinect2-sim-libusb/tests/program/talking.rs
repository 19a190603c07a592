//! Claims, control requests and commands.

use std::thread;
use std::time::{Duration, Instant};

use kinect2::depth::{INTRINSICS_REPLY_MIN, Intrinsics};
use kinect2::protocol::{Command, REPLY_IN, Setup};
use kinect2_sim::device::Options;
use kinect2_sim::host::Pace;
use kinect2_sim_libusb::abi::Error;

use crate::session::Session;

#[test]
fn an_interface_is_claimed_by_one_handle() {
    let first = Session::open(Options::noise(1, 1), Pace::Demand);
    assert_eq!(first.set_interface(1, 0), Error::NotFound.code(), "not claimed");
    assert_eq!(first.release(1), Error::NotFound.code());
    assert_eq!((first.claim(1), first.claim(1)), (0, 0), "twice by the same does no harm");
    assert_eq!(first.claim(9), Error::NotFound.code());
    let second = first.reopen().unwrap();
    assert_eq!(second.claim(1), Error::Busy.code());
    assert_eq!(first.release(1), 0);
    assert_eq!(second.claim(1), 0);
    assert_eq!(second.set_interface(1, 1), 0);
    assert_eq!(second.set_interface(1, 7), Error::NotFound.code());
    drop(second);
    assert_eq!(first.claim(1), 0, "closing releases");
}

#[test]
fn what_libfreenect2_asks_for_at_opening_is_granted() {
    let session = Session::claimed(Options::noise(1, 1), Pace::Demand);
    assert_eq!(session.reset(), 0);
    assert_eq!(session.control(Setup::ISOCH_DELAY, &mut []), 0);
    assert_eq!(session.set_interface(1, 0), 0);
    assert_eq!(session.control(Setup::U1_ENABLE, &mut []), 0);
    assert_eq!(session.control(Setup::U2_ENABLE, &mut []), 0);
    assert_eq!(session.control(Setup::SUSPEND, &mut []), 0);
    let latencies = Setup { request_type: 0, request: 0x30, value: 0, index: 0, length: 6 };
    assert_eq!(session.control(latencies, &mut [0x55, 0, 0x55, 0, 0, 0]), 6);
    let unknown = Setup { request_type: 0xC0, request: 0x77, value: 0, index: 0, length: 4 };
    assert_eq!(session.control(unknown, &mut [0; 4]), Error::Pipe.code());
}

#[test]
fn commands_are_answered_while_another_thread_waits_for_events() {
    let options = Options::noise(3, 1);
    let (p0, lens) = (options.p0.clone(), options.lens);
    let session = Session::claimed(options, Pace::RealTime);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let start = Instant::now();
            assert_eq!(session.handle_events(Duration::from_millis(300)), 0);
            start.elapsed()
        });
        assert_eq!(session.control(Setup::RESUME, &mut []), 0);
        assert_eq!(session.command(Command::Firmware, 0).unwrap()[48..56], [0, 0, 4, 0, 0x48, 0x0F, 0, 0]);
        assert_eq!(session.command(Command::P0, 1).unwrap(), p0);
        let reply = session.command(Command::DepthLens, 2).unwrap();
        assert!(reply.len() >= INTRINSICS_REPLY_MIN);
        assert_eq!(Intrinsics::from_reply(&reply), Ok(lens));
        assert!(waiting.join().unwrap() >= Duration::from_millis(300), "answers are no events");
    });
}

#[test]
fn silence_ends_when_the_time_is_over() {
    let session = Session::claimed(Options::noise(1, 1), Pace::RealTime);
    assert_eq!(session.control(Setup::RESUME, &mut []), 0);
    let start = Instant::now();
    assert_eq!(session.bulk(REPLY_IN, &mut [0; 16], 60), (Error::Timeout.code(), 0));
    assert!(start.elapsed() >= Duration::from_millis(60));
    let start = Instant::now();
    assert_eq!(session.handle_events(Duration::from_millis(100)), 0);
    assert!(start.elapsed() >= Duration::from_millis(100));
    assert_eq!(session.command(Command::Status, 0).map(|reply| reply.len()), Ok(4), "nothing was eaten");
}

#[test]
fn a_suspended_sensor_refuses_commands() {
    let session = Session::claimed(Options::noise(1, 1), Pace::Demand);
    assert_eq!(session.control(Setup::SUSPEND, &mut []), 0);
    assert_eq!(session.command(Command::Firmware, 0), Err(Error::Pipe.code()));
}
