//! The driver of the sensor's crate against the sensor of this one, in good days and bad.

use super::*;
use kinect2::driver::State;
use kinect2::stream::{PacketStatus, Stream, Target};

/// A driver, what it is driven on, and what came of it.
struct Life {
    sensor: InProcess,
    driver: Driver,
    stream: Stream,
    target: Target,
    /// When frames came, and their numbers.
    frames: Vec<(Duration, u32)>,
    /// Compare each with the input.
    compares: bool,
}

impl Life {
    fn new(faults: &str) -> Self {
        let options = Options { faults: faults.parse().unwrap(), ..Options::noise(1, 3) };
        let sensor = InProcess::new(options);
        let driver = Driver::new(None, Duration::ZERO);
        let target = Target::raw();
        Life { sensor, driver, stream: Stream::new(), target, frames: Vec::new(), compares: false }
    }

    fn until(&mut self, seconds: f64) -> &mut Self {
        let Life { sensor, driver, stream, target, frames, compares } = self;
        let input: Vec<_> = (0..3).map(|number| sensor.host().device().frame_of(number).clone()).collect();
        sensor.drive(driver, Duration::from_secs_f64(seconds), |driver, now, transfer| {
            for (bytes, status) in transfer.received_packets() {
                let status = if status.is_ok() { PacketStatus::Good } else { PacketStatus::Bad };
                if let Some(info) = stream.packet(now, status, bytes, target) {
                    driver.frame(now);
                    frames.push((now, info.sequence));
                    if let (true, Target::Raw(raw)) = (*compares, &*target) {
                        assert!(raw[..] == input[info.sequence as usize % 3][..], "frame {}", info.sequence);
                    }
                }
            }
        });
        self
    }

    fn frames_in(&self, from: f64, to: f64) -> usize {
        let times = self.frames.iter().map(|(now, _)| now.as_secs_f64());
        times.filter(|seconds| (from..to).contains(seconds)).count()
    }
}

fn streams(life: &Life) -> bool {
    life.driver.state() == State::Streaming && life.driver.trouble().is_none()
}

#[test]
fn a_driver_gets_every_frame_bit_for_bit() {
    let mut life = Life::new("");
    life.compares = true;
    life.until(3.0);
    assert!(streams(&life));
    assert_eq!(life.driver.identity().unwrap().serial.as_str(), "005697142447");
    let numbers: Vec<u32> = life.frames.iter().map(|(_, number)| *number).collect();
    assert!(numbers.len() > 60, "{numbers:?}");
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
    assert!(life.sensor.tables().is_some());
    assert_eq!(life.sensor.host().counters().queue_ran_dry, 0);
    life.driver.shut_down(Duration::from_secs(3));
    life.until(3.5);
    assert_eq!(life.driver.state(), State::ShutDown);
    assert_eq!(life.sensor.host().pending(), 0);
}

#[test]
fn a_busy_program_costs_frames_and_no_more() {
    let mut life = Life::new("");
    life.until(2.0);
    life.sensor.sleep(Duration::from_millis(150));
    life.until(3.0);
    assert!(streams(&life));
    assert_eq!(life.sensor.host().counters().queue_ran_dry, 1);
    assert!(life.frames_in(2.3, 3.0) >= 20);
}

#[test]
fn what_goes_wrong_for_a_time_is_got_over() {
    for faults in [
        "unplug@2+1",
        "wedge@2+1.5",
        "silent@2",
        "reset-not-found",
        "submit-nomem=17",
        "stale-reply=1830912",
        "stall@0+0.5",
        "reply-stall@0+0.5",
        "slow-replies=100ms",
        "stale-completion",
        "slow-start=20",
        "loss=0.0002 seed=4",
        "packet-error=0.0002",
        "cancel-delay=50ms",
        "no-reply@0+1.5",
        "completion-first@0+1",
        "wrong-sequence@0+1",
    ] {
        let mut life = Life::new(faults);
        life.until(9.0);
        let found = life.frames_in(8.0, 9.0);
        assert!(found >= 20, "{faults}: {found} frames at the end, {:?}", life.driver);
        assert_eq!(life.driver.state(), State::Streaming, "{faults}");
    }
}

#[test]
fn what_does_not_end_is_named() {
    for (faults, word) in [
        ("unplug", "not_found"),
        ("usb2", "slow_link"),
        ("no-bandwidth", "no_bandwidth"),
        ("never-ready", "not_ready"),
        ("stuck", "stuck"),
        ("no-reply", "no_reply"),
        ("short-reply", "bad_reply"),
        ("submit-nomem@0", "usbfs_memory"),
        ("short-missing", "no_frames"),
        ("narrow", "no_frames"),
    ] {
        let mut life = Life::new(faults);
        life.until(10.0);
        let trouble = life.driver.trouble().map(Trouble::word);
        assert_eq!(trouble, Some(word), "{faults}: {:?}", life.driver);
        assert_eq!(life.frames.len(), 0, "{faults}");
    }
}
