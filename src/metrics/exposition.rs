//! What `/metrics` answers with: Prometheus' text format, version 0.0.4.
//!
//! Names follow Prometheus' conventions: base units, `_total` on what only rises, and no label whose values a peer
//! could choose or that has one value per viewer.

use std::fmt::{self, Write};

use super::{Protocol, State, Timings};
use crate::proto::Close;
use crate::ring::Form;
use crate::source::Report;

/// The media type of the answer.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the process has used of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    /// Processor time, in seconds.
    pub cpu_s: f64,
    /// Address space, in bytes.
    pub virtual_bytes: u64,
    /// Memory that has been touched, in bytes.
    pub resident_bytes: u64,
    /// Descriptors that are open.
    pub open_fds: u64,
    /// Descriptors that may be.
    pub max_fds: u64,
    /// When it started, in seconds since 1970.
    pub start_s: f64,
}

/// Who is connected now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Connected {
    /// Connections of each [`Protocol`], by number.
    pub by_protocol: [usize; Protocol::ALL.len()],
}

/// Writes everything that is counted.
///
/// # Errors
/// When `out` is full; [`BOUND`] bytes are enough.
pub fn write_metrics(
    out: &mut impl Write,
    state: &State<'_>,
    timings: &Timings,
    connected: Connected,
    process: Process,
) -> fmt::Result {
    let c = state.counters;
    let mut page = Page(out);
    page.about("build_info", "gauge", "The version of depthcast; always 1.")?;
    writeln!(page.0, "depthcast_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))?;
    sensor(&mut page, state)?;

    page.one("frames_captured_total", "counter", "Frames captured whole.", c.captured)?;
    page.about("frames_dropped_total", "counter", "Frames that were captured but not whole, and not shown.")?;
    page.labelled("frames_dropped_total", "reason", "torn", c.torn)?;
    page.one(
        "placeholders_total",
        "counter",
        "Placeholders drawn because there was no frame.",
        c.placeholders,
    )?;
    page.about(
        "frames_encoded_total",
        "counter",
        "Representations made of frames, each at most once a frame.",
    )?;
    for (form, made) in Form::ALL.into_iter().zip(state.made) {
        page.labelled("frames_encoded_total", "format", form.name(), made)?;
    }
    page.about("frames_sent_total", "counter", "Pictures sent whole to viewers.")?;
    for protocol in Protocol::ALL {
        for form in Form::ALL {
            let sent = c.sent[protocol as usize][form as usize];
            // Most pairs cannot occur; those that can have a sample from their first picture on.
            if sent > 0 {
                let (proto, format) = (protocol.name(), form.name());
                writeln!(
                    page.0,
                    "depthcast_frames_sent_total{{proto=\"{proto}\",format=\"{format}\"}} {sent}"
                )?;
            }
        }
    }
    let help = "Frames that viewers did not get because they were too slow or did not ask for them.";
    page.about("frames_skipped_total", "counter", help)?;
    for protocol in Protocol::VIEWERS {
        page.labelled("frames_skipped_total", "proto", protocol.name(), c.skipped[protocol as usize])?;
    }
    page.one("sent_bytes_total", "counter", "Bytes handed to the kernel for viewers.", c.bytes)?;

    page.about("client_connections", "gauge", "Connections, by what they speak; none: nothing said yet.")?;
    for protocol in Protocol::ALL {
        let count = connected.by_protocol[protocol as usize];
        page.labelled("client_connections", "proto", protocol.name(), count as u64)?;
    }
    page.one("viewers_max", "gauge", "Places for viewers (viewers.max).", state.viewers_max as u64)?;
    page.one("connections_accepted_total", "counter", "Connections accepted.", c.accepted)?;
    page.about("connections_closed_total", "counter", "Connections closed or refused, by reason.")?;
    for (word, count) in Close::WORDS.iter().zip(c.closed) {
        page.labelled("connections_closed_total", "reason", word, count)?;
    }
    let help = "Requests over HTTP that came with a wrong token.";
    page.one("wrong_tokens_total", "counter", help, c.wrong_tokens)?;

    times(&mut page, timings)?;
    self::process(page.0, process)
}

/// Bytes that [`write_metrics`] needs at most: twice what it writes with the longest numbers.
pub const BOUND: usize = 48 * 1024;

/// The sensor, or what stands in its place.
fn sensor(page: &mut Page<'_, impl Write>, state: &State<'_>) -> fmt::Result {
    let up = u64::from(state.online);
    page.one("sensor_up", "gauge", "Whether the newest picture shows what the sensor sees.", up)?;
    let help = "The state of the source: the sample of the state it is in is 1.";
    page.about("sensor_state", "gauge", help)?;
    // A state that is not listed stands for itself: it has a sample while it lasts.
    for word in STATES.into_iter().chain((!STATES.contains(&state.sensor)).then_some(state.sensor)) {
        page.labelled("sensor_state", "state", word, u64::from(word == state.sensor))?;
    }
    page.one("sensor_lost_total", "counter", "Times that the source was lost.", state.counters.lost)?;
    page.one(
        "sensor_reconnects_total",
        "counter",
        "Times that the source was opened again.",
        state.reopened,
    )?;
    page.about("sensor_frames_per_second", "gauge", "Frames captured a second, over the last five seconds.")?;
    writeln!(page.0, "depthcast_sensor_frames_per_second {:.2}", state.captured_fps)?;
    page.about("newest_frame_age_seconds", "gauge", "Age of the newest frame; no sample before the first.")?;
    if let Some(ms) = state.age_ms {
        writeln!(page.0, "depthcast_newest_frame_age_seconds {}", ms as f64 / 1e3)?;
    }
    match &state.report {
        None => Ok(()),
        Some(Report::Usb(r)) => {
            let events = [
                ("packet_lost", r.packets_lost),
                ("sub_image_damaged", r.sub_images_damaged),
                ("frame_dropped", r.frames_dropped),
                ("frame_lost", r.frames_lost),
                ("stream_restarted", r.restarts),
                ("reset", r.resets),
                ("queue_dry", r.queue_dry),
                ("transfer_refused", r.transfers_refused),
            ];
            page.events(&events)?;
            page.one("usb_transfers", "gauge", "Transfers that the queue holds.", r.transfers as u64)?;
            let help = "Transfers that were queued when fewest were.";
            page.one("usb_transfers_low", "gauge", help, r.queue_low as u64)
        }
        Some(Report::Library(r)) => page.events(&[
            ("frame_lost", r.frames_lost),
            ("frame_overtaken", r.frames_overtaken),
            ("frame_bad", r.frames_bad),
            ("reset", r.resets),
        ]),
    }
}

fn times(page: &mut Page<'_, impl Write>, timings: &Timings) -> fmt::Result {
    let help = "Time to read or decode a frame of the source to depth.";
    page.about("decode_seconds", "histogram", help)?;
    timings.decode.write(page.0, "depthcast_decode_seconds", "")?;
    let help = "Time to make a representation of a frame, with what it is made of unless that was there.";
    page.about("encode_seconds", "histogram", help)?;
    for form in Form::ALL {
        // A form nobody ever asked for would be a dozen zeros.
        if timings.encode[form as usize].count() > 0 {
            let mut label = heapless::String::<32>::new();
            // Names of forms are short words.
            write!(label, "format=\"{}\",", form.name())?;
            timings.encode[form as usize].write(page.0, "depthcast_encode_seconds", &label)?;
        }
    }
    let help = "Age of frames when their last byte was handed to the kernel.";
    page.about("frame_age_seconds", "histogram", help)?;
    timings.age.write(page.0, "depthcast_frame_age_seconds", "")
}

/// The names that Prometheus' own client libraries use.
fn process(out: &mut impl Write, process: Process) -> fmt::Result {
    let mut write = |name, kind, help, value: f64| {
        writeln!(out, "# HELP process_{name} {help}\n# TYPE process_{name} {kind}\nprocess_{name} {value}")
    };
    write("cpu_seconds_total", "counter", "Processor time used, in seconds.", process.cpu_s)?;
    write("virtual_memory_bytes", "gauge", "Address space.", process.virtual_bytes as f64)?;
    write("resident_memory_bytes", "gauge", "Memory touched.", process.resident_bytes as f64)?;
    write("open_fds", "gauge", "File descriptors that are open.", process.open_fds as f64)?;
    write("max_fds", "gauge", "File descriptors that may be open.", process.max_fds as f64)?;
    write("start_time_seconds", "gauge", "Start, in seconds since 1970.", process.start_s)
}

/// States that every source may be in; the words of [`SourceError`](crate::source::SourceError).
const STATES: [&str; 5] = ["streaming", "starting", "silent", "disconnected", "not_found"];

/// The page being written.
struct Page<'a, W>(&'a mut W);

impl<W: Write> Page<'_, W> {
    /// What a metric means.
    fn about(&mut self, name: &str, kind: &str, help: &str) -> fmt::Result {
        writeln!(self.0, "# HELP depthcast_{name} {help}\n# TYPE depthcast_{name} {kind}")
    }

    /// A metric that is one number.
    fn one(&mut self, name: &str, kind: &str, help: &str, value: u64) -> fmt::Result {
        self.about(name, kind, help)?;
        writeln!(self.0, "depthcast_{name} {value}")
    }

    /// One sample of several. Label values are words of ours: nothing to escape.
    fn labelled(&mut self, name: &str, label: &str, word: &str, value: u64) -> fmt::Result {
        writeln!(self.0, "depthcast_{name}{{{label}=\"{word}\"}} {value}")
    }

    /// What befell a sensor since it was opened.
    fn events(&mut self, events: &[(&str, u64)]) -> fmt::Result {
        self.about("sensor_events_total", "counter", "What went wrong between the sensor and here.")?;
        for &(kind, count) in events {
            self.labelled("sensor_events_total", "kind", kind, count)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;
    use crate::camera::Camera;
    use crate::metrics::tests::longest;

    #[test]
    fn every_sample_has_a_type_and_all_is_within_the_bound() {
        let mut timings = Timings::default();
        for histogram in timings.encode.iter_mut().chain([&mut timings.decode, &mut timings.age]) {
            (0..3).for_each(|_| histogram.observe(Duration::from_nanos(33_333_333_333)));
        }
        let connected = Connected { by_protocol: [usize::MAX; Protocol::ALL.len()] };
        let process = Process {
            cpu_s: 1e9 / 3.0,
            virtual_bytes: u64::MAX,
            resident_bytes: u64::MAX,
            open_fds: u64::MAX,
            max_fds: u64::MAX,
            start_s: 1.6e9 + 0.1,
        };
        let mut out = String::new();
        let written = longest(&Camera::default(), "", 4096, |state| {
            write_metrics(&mut out, state, &timings, connected, process)
        });
        written.expect("a String");
        assert!(2 * out.len() <= BOUND, "{} bytes", out.len());
        let mut kinds = Vec::new();
        let mut samples = HashSet::new();
        for line in out.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a kind");
                assert!(!kinds.contains(&name), "{name} is there twice");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
                kinds.push(name);
            } else if !line.starts_with('#') {
                let (sample, value) = line.rsplit_once(' ').expect("a value");
                let base = kinds.last().expect("a type before the first sample");
                let name = sample.split('{').next().expect("a name");
                let suffix =
                    name.strip_prefix(base).unwrap_or_else(|| panic!("{sample} stands under {base}"));
                assert!(matches!(suffix, "" | "_bucket" | "_sum" | "_count"), "{sample}");
                assert!(value.parse::<f64>().is_ok(), "{line}");
                assert!(samples.insert(sample), "{sample} is there twice");
            }
        }
        assert!(samples.contains("depthcast_connections_closed_total{reason=\"too_slow\"}"), "{out}");
        assert!(samples.contains("depthcast_sensor_state{state=\"streaming\"}"), "{out}");
    }
}
