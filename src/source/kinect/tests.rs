//! The sensor in the feed, as far as it goes without one: trees that look like sysfs, and a clock that is told.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use super::*;
use crate::source::fault::Plan;
use crate::source::{Feed, Outcome, PIXELS, Source, Step};

/// What a kernel would list of its USB; removed in the end.
#[derive(Debug)]
pub(crate) struct Bus {
    folder: PathBuf,
}

impl Bus {
    /// A machine with USB and nothing plugged in.
    pub(crate) fn new() -> Self {
        static BUSES: AtomicUsize = AtomicUsize::new(0);
        let number = BUSES.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("depthcast-bus-{}-{number}", std::process::id()));
        let bus = Self { folder };
        fs::create_dir_all(bus.roots().devices()).expect("made");
        fs::create_dir_all(bus.roots().nodes()).expect("made");
        bus
    }

    pub(crate) fn roots(&self) -> Roots {
        Roots { sys: self.folder.join("sys"), dev: self.folder.join("dev") }
    }

    /// Plugs in a sensor on a link of this many Mbit/s. Its node is a plain file, so opening is as far as it goes.
    pub(crate) fn plug(&self, serial: &str, mbit: u32) {
        let device = self.roots().devices().join("2-1");
        fs::create_dir_all(device.join("power")).expect("made");
        let speed = mbit.to_string();
        for (file, text) in [
            ("idVendor", "045e"),
            ("idProduct", "02c4"),
            ("serial", serial),
            ("speed", &speed),
            ("busnum", "2"),
            ("devnum", "5"),
            ("bConfigurationValue", "1"),
            ("power/control", "on"),
        ] {
            fs::write(device.join(file), text).expect("written");
        }
        let nodes = self.roots().nodes().join("002");
        fs::create_dir_all(&nodes).expect("made");
        fs::write(nodes.join("005"), "").expect("written");
    }

    /// A feed of the first sensor on it.
    pub(crate) fn feed(&self, now: Now) -> Feed {
        let settings = Settings::default().sensor(None, self.roots(), false);
        let kinect = Kinect::new(settings, now).expect("made");
        Feed::new(Source::Kinect(Box::new(kinect)), 0, Plan::default(), now)
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn at(ms: u64) -> Now {
    Now { mono: Duration::from_millis(ms), wall_us: 0 }
}

/// Steps at one moment until something happens: what blocks does so on a thread of its own, in real time.
fn happening(feed: &mut Feed, now: Now) -> Outcome {
    let patience = Instant::now() + Duration::from_secs(20);
    while Instant::now() < patience {
        match feed.step(now, true) {
            Step::Happened(outcome) => return outcome,
            Step::Idle => thread::sleep(Duration::from_millis(1)),
            Step::More => {}
            Step::Poll => panic!("a frame from nowhere"),
        }
    }
    panic!("nothing happens")
}

#[test]
fn a_sensor_that_is_not_there_is_said_at_once_and_once() {
    let bus = Bus::new();
    let mut feed = bus.feed(at(0));
    assert_eq!((feed.kind(), feed.word(at(0)), feed.gone(at(0))), ("kinect", "starting", None));
    let Outcome::Still(error) = happening(&mut feed, at(0)) else { panic!("something else") };
    assert_eq!(error, SourceError::Kinect(Trouble::NotFound));
    assert_eq!(feed.gone(at(0)), Some(error), "without a frame ever, nothing is waited for");
    assert_eq!(feed.word(at(0)), "not_found");
    assert!(error.to_string().contains("no Kinect v2 on the bus; plug the adaptor"), "{error}");
    assert_eq!(format!("{error:#}"), "no Kinect v2 on the bus");

    // It is looked for again, later: the loop may sleep until then.
    let due = feed.due(true).expect("it is looked for again");
    assert!(due >= Duration::from_millis(200), "{due:?}");
    // And found, though not as it should be.
    bus.plug("000012345678", 480);
    let due = Now { mono: due, wall_us: 0 };
    let Outcome::Still(error) = happening(&mut feed, due) else { panic!("something else") };
    assert_eq!(error, SourceError::Kinect(Trouble::SlowLink { mbit: 480 }));
    assert_eq!(feed.word(due), "slow_link");
    assert_eq!((feed.seq(), feed.reopened()), (0, 0));
    assert_eq!(feed.poll(due, &mut vec![0; PIXELS]), Outcome::Torn, "there is no frame to take");
}

#[test]
fn a_sensor_is_shut_down_within_half_a_second_whatever_it_does() {
    let bus = Bus::new();
    let mut feed = bus.feed(at(0));
    assert!(!feed.is_shut_down());
    happening(&mut feed, at(0));
    feed.shut_down(at(10));
    let mut ms = 10;
    while !feed.is_shut_down() {
        assert!(ms <= 510, "it does not stop");
        feed.step(at(ms), true);
        ms += 1;
    }
    assert!(feed.due(true).is_none_or(|due| due > at(ms).mono), "a loop that waits for it would spin");
}

#[test]
fn a_report_is_there_before_the_sensor_is() {
    let bus = Bus::new();
    let Some(crate::source::Report::Usb(report)) = bus.feed(at(0)).report() else {
        panic!("a sensor is asked for")
    };
    assert_eq!((report.serial, report.firmware, report.transfers), (None, None, 60));
    assert_eq!((report.packets_lost, report.restarts, report.resets), (0, 0, 0));
}

#[test]
fn a_moment_ago_is_as_long_ago_on_both_clocks() {
    let now = Now { mono: Duration::from_millis(5000), wall_us: 1_000_000 };
    let then = when(now, Duration::from_millis(4970));
    assert_eq!(then, Now { mono: Duration::from_millis(4970), wall_us: 970_000 });
    assert_eq!(when(now, Duration::from_secs(9)), now, "nothing was captured in the future");
    let early = Now { mono: Duration::MAX, wall_us: i64::MIN + 1 };
    assert_eq!(when(early, Duration::ZERO).wall_us, i64::MIN);
}

#[test]
fn settings_that_do_not_fit_together_name_their_keys() {
    let usual = Settings::default();
    assert_eq!(usual.check(), Ok(()));
    assert_eq!(usual.queue_bytes(), 60 * 8 * 33_792);
    for (settings, part) in [
        (Settings { packets: 0, ..usual }, "kinect.packets and kinect.transfers: 0 and 60 are not 1 to 128"),
        (Settings { transfers: 1025, ..usual }, "8 and 1025 are not 1 to 128 and 1 to 1024"),
        (Settings { packets: 1, ..usual }, "1 times 60 are 60 packets in the queue, not 64 to 4096"),
        (Settings { packets: 128, transfers: 33, ..usual }, "are 4224 packets"),
        (Settings { min_mm: 4501, ..usual }, "kinect.min_mm and kinect.max_mm: 4501 to 4500 must lie"),
    ] {
        let why = settings.check().expect_err(part);
        assert!(why.contains(part), "{why}");
    }
    // What passes here, the driver takes.
    for (packets, transfers) in [(128, 32), (1, 1024), (4, 16)] {
        let settings = Settings { packets, transfers, ..usual };
        assert_eq!(settings.check(), Ok(()));
        assert!(settings.sensor(None, Roots::default(), false).check().is_ok(), "{packets} {transfers}");
    }
}
