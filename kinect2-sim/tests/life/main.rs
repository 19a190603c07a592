//! The life of a simulated sensor, by the driver, the channel and the stream parser together, on a virtual clock.

mod bench;

use bench::{Bench, ms};
use kinect2::driver::{State, Trouble};

/// With these faults until 3 s, there is this trouble and no other; then all is well.
fn recovers(faults: &str, troubles: &[&str]) -> Bench {
    let mut bench = Bench::new(faults);
    bench.run(ms(3000));
    assert_eq!(bench.frames, 0, "{faults}");
    bench.run_frames(1);
    assert_eq!(bench.troubles, troubles, "{faults}");
    bench.run_frames(29);
    assert_eq!((bench.state(), bench.trouble()), (State::Streaming, None), "{faults}");
    assert_eq!(bench.troubles, troubles, "{faults}");
    bench
}

/// With these faults there is no trouble at all.
fn streams(faults: &str) -> Bench {
    let mut bench = Bench::new(faults);
    bench.run_frames(30);
    assert_eq!(bench.troubles, [""; 0], "{faults}");
    assert_eq!(bench.driver.counters().opened, 1, "{faults}");
    bench
}

#[test]
fn a_sensor_lives_from_its_first_reset_to_its_last_command() {
    let mut bench = Bench::new("");
    bench.run_frames(60);
    assert!(bench.now < ms(3500), "60 frames after {:?}", bench.now);
    let first = bench.sequences[0];
    let expected: Vec<_> = (first..first + 60).collect();
    assert_eq!(bench.sequences, expected, "not one is missing");
    assert_eq!(bench.driver.identity().expect("it has told").serial.as_str(), bench.host.device().serial());
    assert_eq!(bench.driver.identity().expect("it has told").firmware.to_string(), "4.0.3912.0");
    assert_eq!(bench.troubles, [""; 0]);
    let counters = *bench.driver.counters();
    assert_eq!((counters.opened, counters.started, counters.timeouts), (1, 1, 0));
    assert_eq!((counters.optional_failures, counters.unexpected), (0, 0));

    bench.driver.shut_down(bench.now);
    bench.run(ms(500));
    assert_eq!(bench.state(), State::ShutDown);
    assert!(!bench.host.device().is_streaming());
    assert_eq!(bench.driver.counters().stop_failures, 0);
    assert_eq!(bench.host.pending(), 0);
    let mut status = [0; 2];
    assert_eq!(
        bench.host.control(bench::GET_STATUS, &mut status, bench.now),
        Ok(2),
        "it is there for the next"
    );
}

#[test]
fn a_wedged_sensor_is_reset() {
    let mut bench = Bench::new("wedge@2+60");
    bench.run(ms(1900));
    assert!(bench.frames > 10);
    bench.run(ms(3000));
    assert_eq!(bench.troubles, ["silent"]);
    assert_eq!((bench.state(), bench.trouble()), (State::Streaming, None));
    assert_eq!((bench.driver.counters().opened, bench.driver.counters().silences), (2, 1));
}

#[test]
fn a_sensor_without_frames_is_started_again_and_not_reset() {
    let mut bench = Bench::new("silent@2+60");
    bench.run(ms(1900));
    bench.run(ms(3000));
    assert_eq!(bench.troubles, ["no_frames"]);
    assert_eq!((bench.state(), bench.trouble()), (State::Streaming, None));
    let counters = bench.driver.counters();
    assert_eq!((counters.opened, counters.started, counters.droughts), (1, 2, 1));
}

#[test]
fn an_unplugged_sensor_is_found_again() {
    let mut bench = Bench::new("unplug@2+3");
    bench.run(ms(4900));
    assert_eq!(bench.troubles, ["disconnected", "not_found"]);
    assert_eq!(bench.driver.counters().disconnects, 1, "one event for sixty transfers");
    assert!(matches!(bench.state(), State::Waiting { .. }));
    let frames = bench.frames;
    bench.run(ms(3000));
    assert!(bench.frames > frames + 10);
    assert_eq!((bench.state(), bench.trouble()), (State::Streaming, None));
}

#[test]
fn a_sensor_may_be_unplugged_as_often_as_one_likes() {
    let mut bench = Bench::new("");
    for time in 1..=20 {
        // At another step of its start each time.
        bench.run(ms(1700 + 31 * time));
        bench.host.unplug(bench.now);
        bench.run(ms(1500));
        assert_eq!(bench.trouble().map(Trouble::word), Some("not_found"));
        bench.host.plug(bench.now);
    }
    bench.run_frames(30);
    assert!(bench.driver.counters().disconnects <= 20);
    assert_eq!(bench.host.counters().queue_ran_dry, 0);
}

#[test]
fn what_is_wrong_with_answers_is_said_and_over_when_they_are_right() {
    for (fault, troubles) in [
        ("no-reply", &["no_reply"][..]),
        ("no-data", &["bad_reply"]),
        ("short-reply", &["bad_reply"]),
        ("completion-first", &["bad_reply"]),
        ("wrong-sequence", &["bad_reply"]),
        ("stall", &["refused"]),
        ("reply-stall", &["refused"]),
        ("no-bandwidth", &["no_bandwidth"]),
        ("submit-nomem", &["usbfs_memory"]),
        ("usb2", &["slow_link"]),
    ] {
        if fault == "usb2" {
            let mut bench = Bench::new(fault);
            bench.run(ms(3000));
            assert_eq!(bench.troubles, troubles);
            continue;
        }
        let bench = recovers(&format!("{fault}@0+2.9"), troubles);
        assert!(bench.driver.counters().failed_starts > 0);
        assert!(bench.actions < 3000, "{fault}: {} actions", bench.actions);
    }
}

#[test]
fn what_does_no_harm_is_passed_over() {
    for faults in [
        "slow-replies=200ms",
        "slow-start=20",
        "stale-reply=512",
        "stale-reply=100000",
        "stale-completion",
        "reset-not-found=1",
        "cancel-delay=50ms",
        "wrap=65530",
        "footer-magic",
        "half-frame",
        "reply-stall~0.05 seed=3",
        "stall~0.05 seed=4",
    ] {
        streams(faults);
    }
    assert!(streams("stale-reply=100000").driver.channel_counters().stale >= 2);
    assert!(streams("stale-completion").driver.channel_counters().stale > 5);
}

#[test]
fn a_sensor_that_never_gets_ready_says_so() {
    for (fault, trouble) in [("never-ready", "not_ready"), ("stuck", "stuck")] {
        let mut bench = Bench::new(&format!("{fault}@0+7"));
        bench.run(ms(6900));
        assert_eq!(bench.troubles, [trouble]);
        bench.run_frames(10);
        assert_eq!(bench.troubles, [trouble]);
    }
}

#[test]
fn lost_packets_cost_frames_and_nothing_more() {
    let mut bench = Bench::new("loss=0.01 packet-error=0.001 seed=9");
    bench.run(ms(6000));
    assert!((60..170).contains(&bench.frames), "{} frames of 150", bench.frames);
    assert_eq!(bench.troubles, [""; 0]);
    assert_eq!(bench.driver.counters().started, 1);
}

#[test]
fn shutting_down_takes_half_a_second_at_most_whatever_goes_wrong() {
    for faults in ["", "wedge@1", "cancel-delay=300ms", "no-reply@1.2", "slow-replies=200ms", "unplug@1.25"] {
        for at in [100, 270, 400, 700, 1000, 1230, 1300] {
            let mut bench = Bench::new(faults);
            bench.run(ms(at));
            bench.driver.shut_down(bench.now);
            bench.run(ms(500));
            assert_eq!(bench.state(), State::ShutDown, "{faults:?} at {at} ms");
        }
    }
}
