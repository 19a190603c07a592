//! The acceptance report of `probe --report`: what a program can find out of a machine and its sensor, in Markdown.
//!
//! docs/acceptance.md is the test that it belongs to. It names the sensor's serial number, nothing of the configuration
//! but `kinect.*`, and no address, name or token.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use kinect2::diagnosis::{Finding, Severity};
use kinect2::sysfs::Roots;

use crate::clock::{Clock, Now};
use crate::limits::{RECORD_START, SENSOR_STOP};
use crate::service::usage;
use crate::source::{Feed, HEIGHT, LIBFREENECT2, Outcome, PIXELS, Report, SourceError, Step, WIDTH};
use crate::waiter::Waiter;

/// What a machine says of itself; what it does not say is "unknown".
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Machine {
    /// What board or computer it is.
    pub model: String,
    /// Name and version of the system.
    pub system: String,
    /// Version of the kernel.
    pub kernel: String,
    /// Processors that this process may use.
    pub processors: usize,
    /// Memory in MiB.
    pub memory_mib: Option<u64>,
    /// How the processor's clock is governed.
    pub governor: String,
    /// MiB that usbfs grants to all its users together.
    pub usbfs_mb: Option<u64>,
    /// Number of the user that runs this.
    pub user: String,
    /// Which parts of the installation are there: what, and whether.
    pub installed: [(&'static str, bool); 4],
}

impl Machine {
    /// Reads what the kernel and the system have in files.
    ///
    /// * `root`: the root of the file system, "/" but in tests.
    /// * `roots`: where the kernel's USB is.
    pub fn read(root: &Path, roots: &Roots) -> Self {
        let text = |path: &str| fs::read_to_string(root.join(path)).ok();
        // The device tree ends its strings with a zero.
        let line = |path| text(path).map(|text| text.trim_matches(['\0', '\n', ' ']).to_owned());
        let model = line("proc/device-tree/model").or_else(|| line("sys/class/dmi/id/product_name"));
        let field = |path, key: &str| {
            let text = text(path)?;
            let value = text.lines().find_map(|line| line.strip_prefix(key))?.trim_matches(['"', ' ', '\t']);
            Some(value.to_owned())
        };
        let number = |text: String| text.split_whitespace().next()?.parse::<u64>().ok();
        let there = |paths: &[&str]| paths.iter().any(|path| root.join(path).exists());
        let or_unknown =
            |text: Option<String>| text.filter(|t| !t.is_empty()).unwrap_or_else(|| "unknown".into());
        Self {
            model: or_unknown(model),
            system: or_unknown(field("etc/os-release", "PRETTY_NAME=")),
            kernel: or_unknown(line("proc/sys/kernel/osrelease")),
            processors: thread::available_parallelism().map_or(0, Into::into),
            memory_mib: field("proc/meminfo", "MemTotal:").and_then(number).map(|kib| kib / 1024),
            governor: or_unknown(line("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
            usbfs_mb: roots.usbfs_memory_mb(),
            // Real, effective, saved, of the file system: one of them will do.
            user: or_unknown(
                field("proc/self/status", "Uid:")
                    .map(|ids| ids.split_whitespace().nth(1).unwrap_or_default().to_owned()),
            ),
            installed: [
                (
                    "service",
                    there(&["etc/systemd/system/depthcast.service", "lib/systemd/system/depthcast.service"]),
                ),
                (
                    "udev rule",
                    there(&["etc/udev/rules.d/60-depthcast.rules", "lib/udev/rules.d/60-depthcast.rules"]),
                ),
                ("configuration", there(&["etc/depthcast/config.toml"])),
                ("systemd running", there(&["run/systemd/system"])),
            ],
        }
    }
}

/// Temperature of the hottest zone in degrees Celsius, if the kernel tells.
///
/// * `root`: the root of the file system, "/" but in tests.
pub fn hottest(root: &Path) -> Option<f64> {
    let zones = fs::read_dir(root.join("sys/class/thermal")).ok()?;
    let temps = zones.filter_map(|zone| fs::read_to_string(zone.ok()?.path().join("temp")).ok());
    // Zones that are switched off say something absurd.
    let milli =
        temps.filter_map(|text| text.trim().parse::<i32>().ok()).filter(|t| (-40_000..150_000).contains(t));
    milli.max().map(|milli| f64::from(milli) / 1000.0)
}

/// What a source delivered while it was watched.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Capture {
    /// From the beginning to the first frame.
    pub start: Option<Duration>,
    /// Frames that came whole.
    pub frames: u64,
    /// Frames that did not.
    pub torn: u64,
    /// From the first frame to the last.
    pub time: Duration,
    /// Longest time between two frames.
    pub gap: Duration,
    /// Processor time of this process for each frame.
    pub cpu: Duration,
    /// Longest turn that completed a frame: the last transfer taken, the last steps of decoding.
    pub turn: Duration,
    /// Share of pixels with a depth, the mean of the frames that were looked at, 0 to 1.
    pub valid: f64,
    /// Least, middle and largest depth of the last of them in mm.
    pub depths: Option<(u16, u16, u16)>,
    /// Least and largest of their middle depth at the centre of the picture in mm.
    pub centre: Option<(u16, u16)>,
    /// Why there were none in the end, if so.
    pub trouble: Option<SourceError>,
    /// What the sensor was and what its driver counted.
    pub sensor: Option<Report>,
}

/// Watches what a source delivers, then stops it.
///
/// * `length`: from the first frame on; the first is waited for as long as a recording waits.
///
/// # Errors
/// When the system refuses a descriptor.
pub fn capture(feed: &mut Feed, length: Duration, clock: &Clock) -> io::Result<Capture> {
    let mut waiter = Waiter::new(feed.job())?;
    let mut depth = vec![0_u16; PIXELS];
    let mut sorted = Vec::with_capacity(PIXELS);
    let mut found = Capture::default();
    let (mut shares, mut looks, mut first, mut last, mut spent) = (0.0, 0.0, None, None, Duration::ZERO);
    let begun = clock.now();
    loop {
        let now = clock.now();
        let end = first.map_or(begun.mono + RECORD_START, |first: Now| first.mono + length);
        if now.mono >= end {
            break;
        }
        match feed.step(now, true) {
            Step::Idle => waiter.wait(feed.node(), time_left(feed, now, end))?,
            Step::More | Step::Happened(_) => {}
            Step::Poll => match feed.poll(clock.now(), &mut depth) {
                Outcome::Captured(stamp) => {
                    found.turn = found.turn.max(clock.now().since(now));
                    if let Some(last) = last.replace(stamp.captured) {
                        found.gap = found.gap.max(stamp.captured.since(last));
                        found.time += stamp.captured.since(last);
                    } else {
                        first = Some(now);
                        found.start = Some(now.since(begun));
                        // What its start cost is none of a frame's cost.
                        spent = usage().cpu;
                    }
                    if found.frames.is_multiple_of(LOOK_EVERY) {
                        shares += look(&depth, &mut sorted, &mut found);
                        looks += 1.0;
                    }
                    found.frames += 1;
                }
                Outcome::Torn => found.torn += 1,
                _ => {}
            },
        }
    }
    if found.frames > 0 {
        found.cpu = usage().cpu.saturating_sub(spent) / u32::try_from(found.frames).unwrap_or(u32::MAX);
        found.valid = shares / looks;
    }
    let now = clock.now();
    found.trouble = feed.gone(now);
    found.sensor = feed.report();
    feed.shut_down(now);
    let end = now.mono + SENSOR_STOP;
    while !feed.is_shut_down() {
        let now = clock.now();
        if now.mono >= end {
            break;
        }
        if feed.step(now, false) == Step::Idle {
            waiter.wait(feed.node(), time_left(feed, now, end))?;
        }
    }
    Ok(found)
}

/// Until the source has something to do, but not beyond `end`.
fn time_left(feed: &Feed, now: Now, end: Duration) -> Duration {
    feed.due(true).map_or(end, |due| due.min(end)).saturating_sub(now.mono)
}

/// Takes note of a frame's depths; its share of pixels that have one.
fn look(depth: &[u16], sorted: &mut Vec<u16>, found: &mut Capture) -> f64 {
    let rows = (HEIGHT - CENTRE) / 2..(HEIGHT + CENTRE) / 2;
    let columns = (WIDTH - CENTRE) / 2..(WIDTH + CENTRE) / 2;
    sorted.clear();
    sorted.extend(rows.flat_map(|row| &depth[row * WIDTH..][columns.clone()]).filter(|mm| **mm > 0));
    sorted.sort_unstable();
    if let Some(middle) = sorted.get(sorted.len() / 2).copied() {
        let (least, most) = found.centre.unwrap_or((middle, middle));
        found.centre = Some((least.min(middle), most.max(middle)));
    }
    sorted.clear();
    sorted.extend(depth.iter().filter(|mm| **mm > 0));
    let middle = sorted.len() / 2;
    found.depths = (!sorted.is_empty()).then(|| {
        let median = *sorted.select_nth_unstable(middle).1;
        let ends = |all: &[u16]| (all.iter().min().copied(), all.iter().max().copied());
        let (least, most) = ends(sorted);
        (least.unwrap_or(median), median, most.unwrap_or(median))
    });
    sorted.len() as f64 / PIXELS as f64
}

/// The report, in Markdown.
///
/// * `temperatures`: before and after the capture, as [`hottest`] gives them.
/// * `capture`: what came of it, or why there was none.
pub fn markdown(
    machine: &Machine,
    findings: &[Finding],
    capture: &Result<Capture, String>,
    temperatures: (Option<f64>, Option<f64>),
) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = writeln!(
        out,
        "# depthcast: acceptance report\n\n## Program and machine\n\n| what | value |\n| --- | --- |"
    );
    let mut row = |what: &str, value: &str| {
        let _ = writeln!(out, "| {what} | {} |", cell(value));
    };
    let number = |n: Option<u64>, unit: &str| n.map_or("unknown".to_owned(), |n| format!("{n} {unit}"));
    let degrees = |t: Option<f64>| t.map_or("unknown".to_owned(), |t| format!("{t:.0} °C"));
    row(
        "depthcast",
        &format!(
            "{} for {}, {}",
            env!("CARGO_PKG_VERSION"),
            std::env::consts::ARCH,
            LIBFREENECT2.map_or("without libfreenect2".to_owned(), |v| format!("libfreenect2 {v}"))
        ),
    );
    row("machine", &machine.model);
    row("processors, memory", &format!("{}, {}", machine.processors, number(machine.memory_mib, "MiB")));
    row("clock governor", &machine.governor);
    row("system", &machine.system);
    row("kernel", &machine.kernel);
    row("usbfs memory", &number(machine.usbfs_mb, "MiB"));
    row("run by user number", &machine.user);
    for (what, there) in machine.installed {
        row(what, if there { "yes" } else { "no" });
    }
    row(
        "hottest zone, before and after",
        &format!("{}, {}", degrees(temperatures.0), degrees(temperatures.1)),
    );

    let _ = writeln!(
        out,
        "\n## What stands in the way\n\n| | what | found | remedy |\n| --- | --- | --- | --- |"
    );
    for Finding { kind, severity, text, remedy } in findings {
        let _ = writeln!(out, "| {severity} | {} | {} | {} |", kind.word(), cell(text), cell(remedy));
    }

    let _ = writeln!(out, "\n## Capture\n");
    match capture {
        Ok(capture) => write_capture(&mut out, capture),
        Err(why) => {
            let _ = writeln!(out, "None: {}", cell(why));
        }
    }
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    let verdict = match capture {
        Ok(capture) if capture.is_good() && errors == 0 => "all that a program can see is well",
        Ok(capture) if capture.frames > 0 => "frames come, but see above",
        _ => "no frame came",
    };
    let _ = writeln!(out, "\n**Verdict: {verdict}.** What only eyes can see is in docs/acceptance.md.");
    out
}

impl Capture {
    /// Whether the sensor kept its pace and nothing was lost.
    pub fn is_good(&self) -> bool {
        self.rate().is_some_and(|rate| rate >= RATE_MIN) && self.torn == 0 && self.trouble.is_none()
    }

    /// Frames a second, if there were two.
    fn rate(&self) -> Option<f64> {
        (self.frames > 1).then(|| (self.frames - 1) as f64 / self.time.as_secs_f64())
    }
}

fn write_capture(out: &mut String, capture: &Capture) {
    let ms = |time: Duration| format!("{:.1} ms", 1000.0 * time.as_secs_f64());
    let _ = writeln!(out, "| what | value |\n| --- | --- |");
    let mut row = |what: &str, value: String| {
        let _ = writeln!(out, "| {what} | {} |", cell(&value));
    };
    if let Some(error) = capture.trouble {
        row("**no picture in the end**", format!("{}: {error}", error.word()));
    }
    row(
        "first frame after",
        capture.start.map_or("never".into(), |start| format!("{:.1} s", start.as_secs_f64())),
    );
    if let Some(rate) = capture.rate() {
        row(
            "frames",
            format!("{} in {:.1} s: {rate:.2} a second", capture.frames, capture.time.as_secs_f64()),
        );
        row("longest time between two", ms(capture.gap));
        row("processor time a frame", ms(capture.cpu));
        row("longest turn that completed a frame", ms(capture.turn));
    }
    row("frames that did not come whole", capture.torn.to_string());
    if let Some((least, middle, most)) = capture.depths {
        row("pixels with a depth", format!("{:.1} %", 100.0 * capture.valid));
        row("depths near the end: least, middle, most", format!("{least}, {middle}, {most} mm"));
    } else if capture.frames > 0 {
        row("pixels with a depth", "none: is anything within 0.5 to 4.5 m?".into());
    }
    if let Some((least, most)) = capture.centre {
        row("at the centre, from frame to frame", format!("{least} to {most} mm"));
    }
    match &capture.sensor {
        Some(Report::Usb(usb)) => {
            let known = |text: Option<String>| text.unwrap_or_else(|| "unknown".into());
            row("sensor's serial number", known(usb.serial.map(|serial| serial.to_string())));
            row("firmware", known(usb.firmware.map(|firmware| firmware.to_string())));
            row("packets lost", usb.packets_lost.to_string());
            row("sub-images damaged", usb.sub_images_damaged.to_string());
            row("frames dropped, lost", format!("{}, {}", usb.frames_dropped, usb.frames_lost));
            row("stream started anew, sensor reset", format!("{}, {}", usb.restarts, usb.resets));
            row("queue of transfers at its emptiest", format!("{} of {}", usb.queue_low, usb.transfers));
            row("queue empty, transfers refused", format!("{}, {}", usb.queue_dry, usb.transfers_refused));
        }
        _ => row("sensor", "none that tells of itself".into()),
    }
}

/// A text that neither ends a table's cell nor reaches a terminal with control characters.
fn cell(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().replace('|', "\\|")
}

/// A sensor gives 30; what a clock that is off by a percent still gives.
const RATE_MIN: f64 = 29.5;
/// Depths are looked at twice a second: it would be no small part of the time that a frame takes.
const LOOK_EVERY: u64 = 15;
/// Rows and columns that the centre has.
const CENTRE: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;
    use crate::source::demo::Demo;
    use crate::source::fault::Plan;
    use kinect2::diagnosis::Kind;

    /// A root with these files; removed in the end.
    struct Root(std::path::PathBuf);

    impl Root {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("depthcast-report-{name}-{}", std::process::id()));
            for (file, text) in files {
                let path = root.join(file);
                fs::create_dir_all(path.parent().expect("a folder")).expect("made");
                fs::write(path, text).expect("written");
            }
            fs::create_dir_all(&root).expect("made");
            Self(root)
        }

        fn roots(&self) -> Roots {
            Roots { sys: self.0.join("sys"), dev: self.0.join("dev") }
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_board_says_what_it_is() {
        let root = Root::new(
            "board",
            &[
                ("proc/device-tree/model", "NVIDIA Jetson Nano Developer Kit\0"),
                ("sys/class/dmi/id/product_name", "something else"),
                ("etc/os-release", "NAME=\"Ubuntu\"\nPRETTY_NAME=\"Ubuntu 18.04.6 LTS\"\n"),
                ("proc/sys/kernel/osrelease", "4.9.337-tegra\n"),
                ("proc/meminfo", "MemTotal:        4059280 kB\nMemFree: 1 kB\n"),
                ("proc/self/status", "Name:\tx\nUid:\t0\t998\t0\t0\n"),
                ("sys/module/usbcore/parameters/usbfs_memory_mb", "64\n"),
                ("sys/class/thermal/thermal_zone0/temp", "41500\n"),
                ("sys/class/thermal/thermal_zone1/temp", "-256000\n"),
                ("sys/class/thermal/cooling_device0/type", "fan\n"),
                ("lib/systemd/system/depthcast.service", ""),
                ("etc/depthcast/config.toml", ""),
            ],
        );
        let machine = Machine::read(&root.0, &root.roots());
        assert_eq!(machine.model, "NVIDIA Jetson Nano Developer Kit");
        assert_eq!(
            (machine.system.as_str(), machine.kernel.as_str()),
            ("Ubuntu 18.04.6 LTS", "4.9.337-tegra")
        );
        assert_eq!(
            (machine.memory_mib, machine.usbfs_mb, machine.user.as_str()),
            (Some(3964), Some(64), "998")
        );
        assert_eq!(machine.installed.map(|(_, there)| there), [true, false, true, false]);
        assert_eq!(hottest(&root.0), Some(41.5));
    }

    #[test]
    fn what_a_machine_does_not_say_is_unknown() {
        let root = Root::new("empty", &[]);
        let machine = Machine::read(&root.0, &root.roots());
        let Machine { model, system, kernel, governor, user, .. } = &machine;
        assert!([model, system, kernel, governor, user].iter().all(|text| *text == "unknown"), "{machine:?}");
        assert_eq!((machine.memory_mib, machine.usbfs_mb, hottest(&root.0)), (None, None, None));
    }

    #[test]
    fn a_source_is_watched_and_what_it_delivered_is_told() {
        let clock = Clock::start();
        let mut feed = Feed::new(Source::Demo(Box::new(Demo::new(1))), 60, Plan::default(), clock.now());
        let length = Duration::from_millis(600);
        let found = capture(&mut feed, length, &clock).expect("descriptors");
        // However busy the machine is: frames that are late are left out.
        assert!((2..=37).contains(&found.frames), "{found:?}");
        assert!(found.time <= length + found.gap && found.gap <= found.time && found.turn > Duration::ZERO);
        assert!(found.valid > 0.5 && found.valid < 1.0, "{found:?}");
        let (least, middle, most) = found.depths.expect("a car park");
        assert!(0 < least && least < middle && middle < most, "{found:?}");
        assert!(found.centre.is_some_and(|(near, far)| 0 < near && near <= far && far <= 8000), "{found:?}");
        assert_eq!((found.torn, found.trouble, found.sensor), (0, None, None));
    }

    fn machine() -> Machine {
        Machine::read(Path::new("/nowhere"), &Roots { sys: "/nowhere".into(), dev: "/nowhere".into() })
    }

    fn good() -> Capture {
        Capture {
            start: Some(Duration::from_millis(1840)),
            frames: 301,
            time: Duration::from_secs(10),
            gap: Duration::from_millis(36),
            valid: 0.875,
            depths: Some((512, 2100, 4480)),
            centre: Some((1999, 2003)),
            ..Capture::default()
        }
    }

    #[test]
    fn a_good_capture_is_called_good_and_nothing_else_is() {
        let text = markdown(&machine(), &[], &Ok(good()), (Some(41.5), None));
        for row in [
            "| first frame after | 1.8 s |",
            "| frames | 301 in 10.0 s: 30.00 a second |",
            "| longest time between two | 36.0 ms |",
            "| pixels with a depth | 87.5 % |",
            "| depths near the end: least, middle, most | 512, 2100, 4480 mm |",
            "| at the centre, from frame to frame | 1999 to 2003 mm |",
            "| hottest zone, before and after | 42 °C, unknown |",
            "**Verdict: all that a program can see is well.**",
        ] {
            assert!(text.contains(row), "{row} is not in\n{text}");
        }
        let slow = Capture { frames: 280, ..good() };
        let torn = Capture { torn: 1, ..good() };
        let gone = Capture { trouble: Some(SourceError::Silent), ..good() };
        for bad in [slow, torn, gone] {
            assert!(!bad.is_good());
            let text = markdown(&machine(), &[], &Ok(bad), (None, None));
            assert!(text.contains("**Verdict: frames come, but see above.**"), "{text}");
        }
        let error = Finding {
            kind: Kind::Link,
            severity: Severity::Error,
            text: "480 Mbit/s | slow".into(),
            remedy: "another\u{1b}[1m port".into(),
        };
        let text = markdown(&machine(), &[error], &Err("the link".into()), (None, None));
        assert!(text.contains("| error | link | 480 Mbit/s \\| slow | another [1m port |"), "{text}");
        assert!(
            text.contains("\nNone: the link\n") && text.contains("**Verdict: no frame came.**"),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'));
    }
}
