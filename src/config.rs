//! What the appliance is told: the command line and its defaults, turned into values for the rest.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use std::{error, fmt};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::colormap::Range;
use crate::net_poll::Address;
use crate::peer::THIS_MACHINE;
use crate::proto::pickle;
use crate::source::NOMINAL_FPS;
use crate::source::fault::{Fault, Plan};

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "depthcast",
    version,
    about = "A network depth camera: depth as a picture for every viewer on the LAN"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the built-in synthetic car park (no hardware) on 127.0.0.1:8080, range 0-4500 mm
    Demo(Options),
    /// Serve what a source delivers, range 0-1500 mm
    Run(Options),
}

/// Options of `demo` and `run`.
#[derive(Args, Debug)]
pub struct Options {
    /// Where depth comes from: demo, or replay:PATH for a folder of 16-bit 512x424 PNGs in millimetres
    #[arg(long, value_name = "SPEC")]
    source: Option<SourceSpec>,
    /// Where to listen; may be repeated [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR:PORT|unix:PATH")]
    listen: Vec<Address>,
    /// Depth shown in the first colour, in millimetres [default: 0]
    #[arg(long, value_name = "N")]
    min_mm: Option<u16>,
    /// Depth shown in the last colour, in millimetres [default: 1500; demo: 4500]
    #[arg(long, value_name = "N")]
    max_mm: Option<u16>,
    /// Frames a second of demo and replay; 0 makes a frame whenever one is asked for
    #[arg(long, value_name = "N", default_value_t = NOMINAL_FPS, value_parser = clap::value_parser!(u32).range(0..=240))]
    fps: u32,
    /// How pictures are pickled for the Python viewers; compact is 50 times cheaper to load
    #[arg(long, value_name = "FORM", default_value = "protocol0")]
    pickle: PickleForm,
    /// A fault to play, for tests: stall, vanish or torn, as KIND@START+SECONDS; may be repeated
    #[arg(long, value_name = "FAULT")]
    fault: Vec<Fault>,
    /// How much to log
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = ["error", "warn", "info", "debug", "trace"])]
    log_level: String,
}

/// Where depth comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SourceSpec {
    /// The built-in synthetic car park.
    Demo,
    /// A folder of recorded frames.
    Replay(PathBuf),
}

impl FromStr for SourceSpec {
    type Err = BadSource;

    fn from_str(text: &str) -> Result<Self, BadSource> {
        match text.split_once(':') {
            None if text == "demo" => Ok(SourceSpec::Demo),
            Some(("replay", path)) if !path.is_empty() => Ok(SourceSpec::Replay(path.into())),
            _ => Err(BadSource),
        }
    }
}

/// A text that names no source.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BadSource;

impl fmt::Display for BadSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the sources of this version are demo and replay:PATH")
    }
}

impl error::Error for BadSource {}

/// [`pickle::Form`] on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum PickleForm {
    Protocol0,
    Compact,
}

/// Everything decided, ready to be handed down.
#[derive(Debug)]
pub struct Config {
    /// Where depth comes from.
    pub source: SourceSpec,
    /// Where to listen.
    pub listen: Vec<Address>,
    /// Depths at the ends of the palette.
    pub range: Range,
    /// Frames a second; 0 means on demand.
    pub fps: u32,
    /// Faults to play.
    pub faults: Plan,
    /// How pictures are pickled.
    pub pickle: pickle::Form,
    /// How much to log.
    pub log_level: log::LevelFilter,
}

impl Config {
    /// Decides what the command line leaves open.
    ///
    /// # Errors
    /// [`BadConfig`] names the option that cannot be as it is and says what can.
    pub fn new(command: Command) -> Result<Self, BadConfig> {
        let (options, source, max_mm) = match command {
            Command::Demo(options) => (options, Some(SourceSpec::Demo), DEMO_MAX_MM),
            Command::Run(options) => (options, None, Range::PYTHON.max_mm()),
        };
        let source = options.source.or(source).ok_or(BadConfig::NoSource)?;
        let min = options.min_mm.unwrap_or(0);
        let range =
            Range::new(min, options.max_mm.unwrap_or(max_mm)).map_err(|e| BadConfig::Range(e.to_string()))?;
        let listen = if options.listen.is_empty() {
            vec![Address::Tcp(([127, 0, 0, 1], 8080).into())]
        } else {
            options.listen
        };
        let pickle = match options.pickle {
            PickleForm::Protocol0 => pickle::Form::Protocol0,
            PickleForm::Compact => pickle::Form::Compact,
        };
        let faults = options.fault.into_iter().collect();
        let log_level = options.log_level.parse().unwrap_or(log::LevelFilter::Info);
        Ok(Self { source, listen, range, fps: options.fps, faults, pickle, log_level })
    }

    /// The part of it that the loop needs.
    pub fn settings(&self) -> crate::net_poll::Settings {
        crate::net_poll::Settings {
            listen: self.listen.clone(),
            viewers_max: VIEWERS_MAX,
            stall: STALL,
            pickle: self.pickle,
            shutdown_from: THIS_MACHINE.to_vec(),
        }
    }
}

/// Why the options make no sense together.
#[derive(Debug)]
pub enum BadConfig {
    /// `run` needs to be told where depth comes from.
    NoSource,
    /// The palette's range is empty.
    Range(String),
}

impl fmt::Display for BadConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadConfig::NoSource => f.write_str(
                "run needs --source; this version has demo and replay:PATH (the Kinect comes with its driver)",
            ),
            BadConfig::Range(why) => write!(f, "--min-mm and --max-mm: {why}"),
        }
    }
}

impl error::Error for BadConfig {}

/// Far end of the demo's palette: what a Kinect v2 is specified for.
pub const DEMO_MAX_MM: u16 = 4500;
/// Places for viewers.
pub const VIEWERS_MAX: usize = 64;
/// A viewer that takes no byte for this long is closed.
pub const STALL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn config(line: &str) -> Result<Config, String> {
        let cli = Cli::try_parse_from(line.split_whitespace()).map_err(|e| e.to_string())?;
        Config::new(cli.command).map_err(|e| e.to_string())
    }

    #[test]
    fn defaults_are_those_of_the_contract() {
        let demo = config("depthcast demo").expect("good");
        assert_eq!(demo.source, SourceSpec::Demo);
        assert_eq!(demo.listen[0].to_string(), "127.0.0.1:8080");
        assert_eq!((demo.range.min_mm(), demo.range.max_mm(), demo.fps), (0, 4500, 30));
        let run = config("depthcast run --source replay:frames --listen [::]:1 --listen unix:/tmp/x")
            .expect("good");
        assert_eq!(run.source, SourceSpec::Replay("frames".into()));
        assert_eq!((run.range.max_mm(), run.listen.len()), (1500, 2));
    }

    #[test]
    fn errors_name_the_option_and_the_remedy() {
        for (line, part) in [
            ("depthcast run", "run needs --source"),
            ("depthcast run --source webcam", "demo and replay:PATH"),
            ("depthcast run --source replay:", "demo and replay:PATH"),
            (
                "depthcast demo --min-mm 4500",
                "--min-mm and --max-mm: the range from 4500 to 4500 mm is empty",
            ),
            ("depthcast demo --max-mm 70000", "--max-mm"),
            ("depthcast demo --fps=-1", "--fps"),
            ("depthcast demo --fps 1000", "0..=240"),
            ("depthcast demo --listen 8080", "give an address and a port"),
            ("depthcast demo --fault melt@1+1", "stall, vanish, torn"),
            ("depthcast demo --pickle xml", "protocol0, compact"),
        ] {
            let error = config(line).expect_err(line);
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}
