//! The appliance: arguments → configuration → source → sockets → ready → run → exit code.

use std::env;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use data_encoding::BASE64URL;
use kinect2::diagnosis::{Finding, diagnose};

use depthcast::acceptance::{self, Machine, hottest};
use depthcast::access::TokenHash;
use depthcast::camera::LocalClock;
use depthcast::clock::{Clock, Now};
use depthcast::config::{Action, Cli, Command, Config, Conversion, Probe, Recording, SourceSpec};
use depthcast::convert::convert;
use depthcast::limits::LOBBY;
use depthcast::net_poll::{Server, Stop};
use depthcast::probe;
use depthcast::record::{self, Limit};
use depthcast::render::Renderer;
use depthcast::service::{Notifier, Signals, allow_descriptors, complain, inherited, start_log};
use depthcast::source::demo::Demo;
use depthcast::source::fault::Plan;
use depthcast::source::kinect::Kinect;
use depthcast::source::{Feed, Source};
use depthcast::view::{self, View};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version are not mistakes. A terminal that is gone cannot be told anything.
            let _ = e.print();
            return if e.use_stderr() { ExitCode::from(BAD_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let result = match cli.action {
        Action::Serve(command) => run(&command),
        Action::Convert(Conversion { from, to, sensor }) => convert(&from, &to, sensor.as_deref())
            .map_err(|e| Failure::new(if e.is_at_start() { CANNOT_START } else { FAILED }, e))
            .and_then(|frames| print(format_args!("{frames} frames written to {}\n", to.display()))),
        Action::Probe(options) => match probe(&options) {
            Ok(fine) => return if fine { ExitCode::SUCCESS } else { ExitCode::from(CANNOT_START) },
            Err(failure) => Err(failure),
        },
        Action::Record(options) => record(&options),
        Action::Token => token(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, message }) => {
            for line in message.lines() {
                complain(line);
            }
            ExitCode::from(code)
        }
    }
}

/// A message for people and the exit code that goes with it.
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    fn new(code: u8, message: impl ToString) -> Self {
        Self { code, message: message.to_string() }
    }
}

/// Prints to standard output, which may be gone.
fn print(text: fmt::Arguments<'_>) -> Result<(), Failure> {
    io::stdout().write_fmt(text).map_err(|e| Failure::new(FAILED, format!("cannot write: {e}")))
}

fn run(command: &Command) -> Result<(), Failure> {
    let clock = Clock::start();
    let inherited = inherited().map_err(|e| Failure::new(CANNOT_START, e))?;
    let mut config = Config::new(command).map_err(|e| Failure::new(BAD_USAGE, e))?;
    if let Command::Check(options) = command {
        // A sensor may come and go, and a port be free by then; a recording is there or it is not.
        if let SourceSpec::Replay(folder) = &config.source {
            Source::open_replay(folder).map_err(|e| Failure::new(BAD_USAGE, e))?;
        }
        let path = options.config.as_deref().unwrap_or(Path::new("")).to_string_lossy();
        // Saved as it is, this is a configuration file.
        return print(format_args!("# {} is good; it means:\n{config}", path.escape_debug()));
    }
    start_log(config.log_level);
    let cannot_start = |e: &dyn ToString| Failure::new(CANNOT_START, e.to_string());
    let signals = Signals::block().map_err(|e| cannot_start(&e))?;
    let source = open(&config, clock.now())?;
    let now = clock.now();
    let feed = Feed::new(source, config.fps, config.faults.clone(), now);
    let renderer = renderer(&config);
    let settings = config.settings();
    // Connections, listeners, and a few of the process's own.
    let listeners = settings.listen.len().max(inherited.len());
    let needed = (settings.viewers_max + LOBBY + listeners + DESCRIPTORS) as u64;
    match allow_descriptors(needed) {
        Ok(may) if may < needed => {
            log::warn!("the system allows {may} open files, {needed} may be needed: raise LimitNOFILE");
        }
        Ok(_) => {}
        Err(e) => log::warn!("cannot tell how many files may be open: {e}"),
    }
    let how = if inherited.is_empty() { "" } else { " (inherited: `listen` does not count)" };
    let notifier = Notifier::from_env();
    let server = Server::new(inherited, settings, feed, renderer, Some(signals), notifier, now);
    let mut server = server.map_err(|e| cannot_start(&e))?;
    for address in server.addresses() {
        log::info!("listening on {address}{how}");
    }
    warn_of_python(&config);
    let (ring, connections) = server.mapped_bytes();
    let usb = match config.source {
        SourceSpec::Kinect(_) => config.kinect.queue_bytes(),
        SourceSpec::Demo | SourceSpec::Replay(_) | SourceSpec::Libfreenect2(_) => 0,
    };
    log::info!(
        "memory set aside: {} KiB for frames, {} KiB for connections, {} KiB for USB transfers",
        ring / 1024,
        connections / 1024,
        usb / 1024
    );
    loop {
        match server.run(&clock).map_err(|e| Failure::new(FAILED, format!("the event loop failed: {e}")))? {
            Stop::Reload => reload(&mut server, &mut config, command, &clock),
            Stop::Signal => {
                log::info!("stopped by a signal");
                return Ok(());
            }
            Stop::Viewer => {
                log::info!("stopped by a viewer");
                return Ok(());
            }
        }
    }
}

/// The source that the configuration names. A sensor need not be there.
fn open(config: &Config, now: Now) -> Result<Source, Failure> {
    let source = match &config.source {
        SourceSpec::Demo => Ok(Source::Demo(Box::new(Demo::new(DEMO_SEED)))),
        SourceSpec::Replay(path) => Source::open_replay(path),
        SourceSpec::Kinect(serial) => {
            let sensor = config.kinect.sensor(serial.clone(), config.roots.clone(), false);
            let kinect = Kinect::new(sensor, now).map_err(|e| e.to_string());
            kinect.map(|kinect| Source::Kinect(Box::new(kinect)))
        }
        SourceSpec::Libfreenect2(serial) => through_library(config, serial.clone(), now),
    };
    source.map_err(|e| Failure::new(CANNOT_START, e))
}

/// The sensor behind libfreenect2.
#[cfg(feature = "libfreenect2")]
fn through_library(config: &Config, serial: Option<String>, now: Now) -> Result<Source, String> {
    use depthcast::source::libfreenect2::{Libfreenect2, Settings};
    let settings = Settings { serial, pipeline: config.pipeline, decode: config.kinect.decode() };
    Ok(Source::Libfreenect2(Box::new(Libfreenect2::new(settings, now)?)))
}

/// Without the library there is no such configuration either.
#[cfg(not(feature = "libfreenect2"))]
fn through_library(_: &Config, _: Option<String>, _: Now) -> Result<Source, String> {
    Err(depthcast::config::BadConfig::WithoutLibfreenect2.to_string())
}

/// Prints a fresh token and its hash.
fn token() -> Result<(), Failure> {
    let mut random = [0; TOKEN_BYTES];
    // The kernel's generator: a token is as good as what it is made from.
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random));
    read.map_err(|e| Failure::new(FAILED, format!("cannot read /dev/urandom: {e}")))?;
    let mut token = [0; TOKEN_BYTES / 3 * 4];
    BASE64URL.encode_mut(&random, &mut token);
    let hash = TokenHash::of(&token);
    let token = String::from_utf8_lossy(&token);
    print(format_args!(
        "# The token, for whoever may watch: the password of any user, or `Authorization: Bearer`. It is kept nowhere.\n\
         # {token}\n\
         # What lets it in, for the configuration:\n\
         [http]\n\
         tokens = [\"{hash}\"]\n"
    ))
}

/// Says what tokens do not protect.
fn warn_of_python(config: &Config) {
    if !config.rules.tokens.is_empty() {
        let who = if config.allow.is_empty() { "everybody" } else { "whoever is in viewers.allow" };
        log::warn!("the Python protocol cannot authenticate: {who} can watch through it without a token");
    }
}

/// Says what stands in the way of a sensor; false if no frame would come.
fn probe(options: &Probe) -> Result<bool, Failure> {
    let config = options.decide().map_err(|e| Failure::new(BAD_USAGE, e))?;
    let serial = match &config.source {
        SourceSpec::Kinect(serial) | SourceSpec::Libfreenect2(serial) => serial.as_deref(),
        SourceSpec::Demo | SourceSpec::Replay(_) => None,
    };
    let findings = diagnose(&config.roots, serial, config.kinect.packets, config.kinect.transfers);
    if options.report {
        return report(&config, &findings, Duration::from_secs(options.seconds));
    }
    let columns = env::var("COLUMNS").ok().and_then(|text| text.parse().ok()).unwrap_or(COLUMNS);
    let text = if options.json { probe::json(&findings) } else { probe::table(&findings, columns) };
    print(format_args!("{text}"))?;
    Ok(probe::is_fine(&findings))
}

/// Watches the sensor, if nothing is in its way, and prints what an acceptance test wants to know.
fn report(config: &Config, findings: &[Finding], length: Duration) -> Result<bool, Failure> {
    let root = Path::new("/");
    let machine = Machine::read(root, &config.roots);
    let before = hottest(root);
    let clock = Clock::start();
    let capture = if probe::is_fine(findings) {
        let mut feed = Feed::new(open(config, clock.now())?, config.fps, Plan::default(), clock.now());
        acceptance::capture(&mut feed, length, &clock).map_err(|e| e.to_string())
    } else {
        Err("something stands in the way, see above".to_owned())
    };
    let text = acceptance::markdown(&machine, findings, &capture, (before, hottest(root)));
    print(format_args!("{text}"))?;
    Ok(capture.is_ok_and(|capture| capture.frames > 0 && capture.trouble.is_none()))
}

fn record(options: &Recording) -> Result<(), Failure> {
    let config = options.decide().map_err(|e| Failure::new(BAD_USAGE, e))?;
    start_log(config.log_level);
    let view::Spec { clip_mm, masks, .. } = &config.view;
    if clip_mm.is_some() || !masks.is_empty() {
        log::warn!("a recording holds what the source delivers: masks and range.clip_mm are not applied");
    }
    let limit = match (options.frames, options.seconds) {
        (Some(frames), _) => Limit::Frames(frames),
        (None, Some(seconds)) => Limit::Time(Duration::from_secs(seconds)),
        (None, None) => Limit::None,
    };
    // Before any thread is started, so that none of them takes a signal.
    let mut signals = Signals::block().map_err(|e| Failure::new(CANNOT_START, e))?;
    let bad_source = |e: String| Failure::new(CANNOT_START, e);
    let folder = &options.output;
    let recorded = match &config.source {
        SourceSpec::Kinect(serial) => {
            let sensor = config.kinect.sensor(serial.clone(), config.roots.clone(), true);
            record::sensor(sensor, folder, limit, &mut signals, &Clock::start())
        }
        SourceSpec::Demo => {
            let demo = Source::Demo(Box::new(Demo::new(DEMO_SEED)));
            record::pictures(demo, config.fps, folder, limit, &mut signals)
        }
        SourceSpec::Replay(path) => {
            let replay = Source::open_replay(path).map_err(bad_source)?;
            record::pictures(replay, config.fps, folder, limit, &mut signals)
        }
        SourceSpec::Libfreenect2(_) => unreachable!("`Recording::decide` refuses it"),
    };
    let summary =
        recorded.map_err(|e| Failure::new(if e.is_at_start() { CANNOT_START } else { FAILED }, e))?;
    print(format_args!("{}: {summary}\n", folder.display()))
}

/// Reads the configuration again and takes over what may change while serving; a bad one changes nothing.
fn reload(server: &mut Server, config: &mut Config, command: &Command, clock: &Clock) {
    let new = match Config::again(command) {
        Ok(new) => new,
        Err(e) => {
            for line in e.to_string().lines() {
                log::error!("{line}");
            }
            log::error!("the configuration is bad and the old one stays");
            return;
        }
    };
    let (at_once, restart) = config.changes(&new);
    if at_once.is_empty() && restart.is_empty() {
        log::info!("the configuration was read again: nothing changed");
    }
    if !at_once.is_empty() {
        log::info!("the configuration was read again, changed: {}", at_once.join(", "));
        log::set_max_level(new.log_level);
        server.apply(new.settings(), renderer(&new), &new.kinect, clock.now());
    }
    if !restart.is_empty() {
        log::warn!("changed, but only a restart brings it: {}", restart.join(", "));
    }
    // What needs a restart stays in the comparison until there is one.
    *config = config.keeping(new);
    warn_of_python(config);
}

fn renderer(config: &Config) -> Renderer {
    let view = View::new(&config.view);
    Renderer::new(config.range, config.camera.clone(), LocalClock::system(), view).with_jpeg(config.jpeg)
}

/// Any number will do; the demo is the same car park for everybody.
const DEMO_SEED: u64 = 1;

/// Open files beside sockets: standard streams, the event queue, signals, notifications, and some to spare.
const DESCRIPTORS: usize = 32;

/// Width of what `probe` prints, unless `COLUMNS` says another.
const COLUMNS: usize = 100;

/// 192 bits, which Base64 writes without padding.
const TOKEN_BYTES: usize = 24;

const BAD_USAGE: u8 = 1;
const CANNOT_START: u8 = 2;
const FAILED: u8 = 3;
