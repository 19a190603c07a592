//! The appliance: arguments → configuration → source → sockets → ready → run → exit code.

use std::process::ExitCode;

use clap::Parser;

use depthcast::camera::{Camera, LocalClock};
use depthcast::clock::Clock;
use depthcast::config::{Cli, Config, SourceSpec};
use depthcast::net_poll::{Server, Stop};
use depthcast::render::Renderer;
use depthcast::service::{Notifier, Signals, start_log};
use depthcast::source::demo::Demo;
use depthcast::source::replay::Replay;
use depthcast::source::{Feed, Source};
use depthcast::view::{Spec, View};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version are not mistakes. A terminal that is gone cannot be told anything.
            let _ = e.print();
            return if e.use_stderr() { ExitCode::from(BAD_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, message }) => {
            eprintln!("depthcast: error: {message}");
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

fn run(cli: Cli) -> Result<(), Failure> {
    let clock = Clock::start();
    let config = Config::new(cli.command).map_err(|e| Failure::new(BAD_USAGE, e))?;
    start_log(config.log_level);
    let cannot_start = |e: &dyn ToString| Failure::new(CANNOT_START, e.to_string());
    let signals = Signals::block().map_err(|e| cannot_start(&e))?;
    let source = match &config.source {
        SourceSpec::Demo => Source::Demo(Box::new(Demo::new(DEMO_SEED))),
        SourceSpec::Replay(path) => Source::Replay(Replay::open(path).map_err(|e| cannot_start(&e))?),
    };
    let now = clock.now();
    let feed = Feed::new(source, config.fps, config.faults.clone(), now);
    let renderer =
        Renderer::new(config.range, Camera::default(), LocalClock::system(), View::new(&Spec::default()));
    let settings = config.settings();
    let server = Server::new(settings, feed, renderer, Some(signals), Notifier::from_env(), now);
    let server = server.map_err(|e| cannot_start(&e))?;
    for address in server.addresses() {
        log::info!("listening on {address}");
    }
    let (ring, connections) = server.room();
    log::info!(
        "memory set aside: {} KiB for frames, {} KiB for connections",
        ring / 1024,
        connections / 1024
    );
    match server.run(&clock).map_err(|e| Failure::new(FAILED, format!("the event loop failed: {e}")))? {
        Stop::Signal => log::info!("stopped by a signal"),
        Stop::Viewer => log::info!("stopped by a viewer"),
    }
    Ok(())
}

/// Any number will do; the demo is the same car park for everybody.
const DEMO_SEED: u64 = 1;

const BAD_USAGE: u8 = 1;
const CANNOT_START: u8 = 2;
const FAILED: u8 = 3;
