//! What the appliance is told: the command line over the configuration file over the defaults, turned into values for
//! the rest.

// The configuration file.
mod file;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use kinect2::sysfs::Roots;

use crate::access::Rules;
use crate::camera::Camera;
use crate::colormap::Range;
use crate::encode::jpeg::{self, Subsampling};
use crate::limits::{FPS_MAX, LISTENERS_MAX, SERIAL_MAX, STALL_DEFAULT, VIEWERS_DEFAULT};
use crate::net_poll::Address;
use crate::peer::{Network, THIS_MACHINE};
use crate::proto::pickle;
use crate::proto::query::Tag;
use crate::source::fault::{Fault, Plan};
use crate::source::life::Pipeline;
use crate::source::{LIBFREENECT2, NOMINAL_FPS, kinect};
use crate::view::{self, Flip};

use self::file::Pipe;
pub use self::file::{BadFile, FileValues, Problems};

/// What `--version` says, after the name.
const VERSION: &str = match LIBFREENECT2 {
    Some(_) => concat!(env!("CARGO_PKG_VERSION"), " (with libfreenect2)"),
    None => concat!(env!("CARGO_PKG_VERSION"), " (without libfreenect2)"),
};

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "depthcast",
    version = VERSION,
    about = "A network depth camera: depth as a picture for every viewer on the LAN"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// Serve, or say what serving would mean.
    #[command(flatten)]
    Serve(Command),
    /// Turn a recording of raw frames into one of 16-bit PNGs, or the other way round
    #[command(after_help = CONVERT_CODES)]
    Convert(Conversion),
    /// Look for sensors and for what would keep them from working, each with its remedy
    #[command(after_help = PROBE_CODES)]
    Probe(Probe),
    /// Write what a source delivers to a folder that `replay:` plays back bit for bit
    #[command(after_help = RECORD_NOTES)]
    Record(Recording),
    /// Make an access token, and the line that lets it in for the configuration
    Token,
}

const PROBE_CODES: &str = "Exit codes: 0 a sensor is there and nothing is in its way (warnings may be), 1 bad usage or \
configuration, 2 something is in the way or no sensor is there, 3 the findings cannot be written.";

const CONVERT_CODES: &str = "Exit codes: 0 converted, 1 bad usage, 2 could not start (folder not empty, recording bad), 3 \
failed while converting (disk full); frames written until then stay.";

const CHECK_CODES: &str = "A recording (replay:PATH) is read as `run` would; sensors and ports are not looked at.

Exit codes: 0 `run` would take it, 1 bad usage, configuration or recording, 3 what it means cannot be written.";

const RECORD_NOTES: &str = "A sensor is recorded as it sends: raw frames (*.depth, 3 MB each, 90 MB a second) beside \
p0.bin and ir_params.json. Demo and replay become 16-bit PNGs. Masks, turning and clipping are not applied.

Without --frames and --seconds a replay is recorded once through, and everything else until it is interrupted.

Exit codes: 0 recorded as asked, 1 bad usage or configuration, 2 could not start (folder not empty, no sensor, no room \
on the disk), 3 failed while recording (disk full).";

/// Options of `probe`.
#[derive(Args, Clone, Debug)]
pub struct Probe {
    /// Print the findings as JSON
    #[arg(long)]
    pub json: bool,
    /// Watch the sensor and print an acceptance report in Markdown; stop the service before
    #[arg(long, conflicts_with = "json")]
    pub report: bool,
    /// How long the report watches it
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600), requires = "report")]
    pub seconds: u64,
    /// Configuration file, for the sensor and the kinect.* keys
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The sensor: kinect, or kinect:SERIAL [default: that of the file, or the first]
    #[arg(long, value_name = "SPEC")]
    source: Option<SourceSpec>,
    /// Where sysfs and devfs are.
    #[command(flatten)]
    roots: RootOptions,
}

/// Options of `record`.
#[derive(Args, Clone, Debug)]
pub struct Recording {
    /// New or empty folder to write to
    #[arg(short, long, value_name = "FOLDER")]
    pub output: PathBuf,
    /// How many frames to record
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "seconds")]
    pub frames: Option<u64>,
    /// How long to record from the first frame on
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: Option<u64>,
    /// Configuration file, for the source and the kinect.* keys
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where depth comes from: kinect[:SERIAL], demo, or replay:PATH [default: kinect]
    #[arg(long, value_name = "SPEC")]
    source: Option<SourceSpec>,
    /// Pace that the demo is played at; it is recorded as fast as the disk takes it [default: 30]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(FPS_MAX)))]
    fps: Option<u32>,
    #[command(flatten)]
    roots: RootOptions,
}

/// Where sysfs and devfs are mounted, for tests.
#[derive(Args, Clone, Debug, Default)]
pub struct RootOptions {
    /// Folder to take for /sys
    #[arg(long, value_name = "DIR", hide = true)]
    sysfs: Option<PathBuf>,
    /// Folder to take for /dev
    #[arg(long, value_name = "DIR", hide = true)]
    devfs: Option<PathBuf>,
}

impl RootOptions {
    fn roots(&self) -> Roots {
        let usual = Roots::default();
        let RootOptions { sysfs, devfs } = self.clone();
        Roots { sys: sysfs.unwrap_or(usual.sys), dev: devfs.unwrap_or(usual.dev) }
    }
}

impl Probe {
    /// The configuration whose sensor is looked for: that of `run` with these options.
    ///
    /// # Errors
    /// [`BadConfig`] names what cannot be as it is and says what can.
    pub fn decide(&self) -> Result<Config, BadConfig> {
        let Probe { config, source, roots, .. } = self.clone();
        let config = Config::new(&Command::Run(Options { config, source, roots, ..Options::default() }))?;
        match config.source {
            SourceSpec::Kinect(_) | SourceSpec::Libfreenect2(_) => Ok(config),
            other => Err(BadConfig::NoSensor(other)),
        }
    }
}

impl Recording {
    /// The configuration whose source is recorded: that of `run` with these options.
    ///
    /// # Errors
    /// [`BadConfig`] names what cannot be as it is and says what can.
    pub fn decide(&self) -> Result<Config, BadConfig> {
        let Recording { config, source, fps, roots, .. } = self.clone();
        let config =
            Config::new(&Command::Run(Options { config, source, fps, roots, ..Options::default() }))?;
        match config.source {
            SourceSpec::Libfreenect2(_) => Err(BadConfig::NoRecording),
            _ => Ok(config),
        }
    }
}

/// Options of `convert`.
#[derive(Args, Clone, Debug)]
pub struct Conversion {
    /// Folder of the recording: *.depth beside p0.bin and ir_params.json, or *.png
    pub from: PathBuf,
    /// New folder to write to
    pub to: PathBuf,
    /// Folder with p0.bin and ir_params.json of the sensor that raw frames are made for [default: a made-up one]
    #[arg(long, value_name = "FOLDER")]
    pub sensor: Option<PathBuf>,
}

/// What to do with a configuration.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Serve the built-in synthetic car park (no hardware) on 127.0.0.1:8080, range 0-4500 mm
    Demo(Options),
    /// Serve what a source delivers, range 0-1500 mm
    Run(Options),
    /// Say whether `run` would take a configuration and these options, and what they mean
    #[command(mut_arg("config", |a| a.required(true)), after_help = CHECK_CODES)]
    Check(Options),
}

impl Command {
    /// The options, which all three share.
    pub fn options(&self) -> &Options {
        match self {
            Command::Demo(options) | Command::Run(options) | Command::Check(options) => options,
        }
    }
}

/// Options of `demo`, `run` and `check`; they override the file.
#[derive(Args, Clone, Debug, Default)]
pub struct Options {
    /// Configuration file; the options here override it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where depth comes from: kinect or kinect:SERIAL, the same with libfreenect2, demo, or replay:PATH for a folder of
    /// recorded frames [default: kinect; demo: demo]
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
    /// Degrees to turn the picture by, for a sensor that hangs upside down [default: 0]
    #[arg(long, value_name = "DEGREES", value_parser = one_of(&ROTATIONS))]
    rotate: Option<bool>,
    /// Axis to mirror the picture along, for a sensor that looks into a mirror [default: none]
    #[arg(long, value_name = "AXIS", value_parser = one_of(&FLIPS))]
    flip: Option<Flip>,
    /// Frames a second of demo and replay; 0 makes a frame whenever one is asked for [default: 30]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=i64::from(FPS_MAX)))]
    fps: Option<u32>,
    /// How pictures are pickled for the Python viewers; compact is 50 times cheaper to load [default: protocol0]
    #[arg(long, value_name = "FORM", value_parser = one_of(&PICKLES))]
    pickle: Option<pickle::Style>,
    /// A fault to play, for tests: stall, vanish or torn, as KIND@START+SECONDS; may be repeated
    #[arg(long, value_name = "FAULT")]
    fault: Vec<Fault>,
    /// How much to log [default: info]
    #[arg(long, value_name = "LEVEL", value_parser = one_of(&LEVELS))]
    log_level: Option<log::LevelFilter>,
    #[command(flatten)]
    roots: RootOptions,
}

/// Where depth comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SourceSpec {
    /// The built-in synthetic car park.
    Demo,
    /// A folder of recorded frames.
    Replay(PathBuf),
    /// A Kinect v2: the one with this serial number, or the first.
    Kinect(Option<String>),
    /// The same through libfreenect2, in a build that has it.
    Libfreenect2(Option<String>),
}

impl FromStr for SourceSpec {
    type Err = BadSource;

    fn from_str(text: &str) -> Result<Self, BadSource> {
        match text.split_once(':') {
            None if text == "demo" => Ok(SourceSpec::Demo),
            None if text == "kinect" => Ok(SourceSpec::Kinect(None)),
            None if text == "libfreenect2" => Ok(SourceSpec::Libfreenect2(None)),
            Some(("replay", path)) if !path.is_empty() => Ok(SourceSpec::Replay(path.into())),
            Some(("kinect", serial)) if is_serial(serial) => Ok(SourceSpec::Kinect(Some(serial.into()))),
            Some(("libfreenect2", serial)) if is_serial(serial) => {
                Ok(SourceSpec::Libfreenect2(Some(serial.into())))
            }
            _ => Err(BadSource),
        }
    }
}

/// Whether a sensor may be called so: usually it is 12 digits.
fn is_serial(text: &str) -> bool {
    (1..=SERIAL_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

impl fmt::Display for SourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceSpec::Demo => f.write_str("demo"),
            SourceSpec::Replay(path) => write!(f, "replay:{}", path.display()),
            SourceSpec::Kinect(None) => f.write_str("kinect"),
            SourceSpec::Kinect(Some(serial)) => write!(f, "kinect:{serial}"),
            SourceSpec::Libfreenect2(None) => f.write_str("libfreenect2"),
            SourceSpec::Libfreenect2(Some(serial)) => write!(f, "libfreenect2:{serial}"),
        }
    }
}

/// A text that names no source.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BadSource;

impl fmt::Display for BadSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the sources of this version are kinect, kinect:SERIAL (letters and digits), libfreenect2, libfreenect2:SERIAL, \
             demo and replay:PATH",
        )
    }
}

impl std::error::Error for BadSource {}

/// Everything decided, ready to be handed down. Written out ([`fmt::Display`]) it is a configuration file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// Where depth comes from.
    pub source: SourceSpec,
    /// Where to listen: 1 to [`LISTENERS_MAX`], none twice.
    pub listen: Vec<Address>,
    /// Depths at the ends of the palette.
    pub range: Range,
    /// Frames a second, at most [`FPS_MAX`]; 0 means on demand.
    pub fps: u32,
    /// Faults to play; never in a file.
    pub faults: Plan,
    /// What is done to the picture before anybody sees it.
    pub view: view::Spec,
    /// Who and where the camera is; each text at most [`CAMERA_TEXT_MAX`](crate::limits::CAMERA_TEXT_MAX) bytes.
    pub camera: Camera,
    /// Places for viewers, 1 to [`VIEWERS_LIMIT`](crate::limits::VIEWERS_LIMIT).
    pub viewers_max: usize,
    /// A viewer that takes no byte for this long is closed; whole seconds.
    pub stall: Duration,
    /// Who may watch; empty is everybody.
    pub allow: Vec<Network>,
    /// How JPEGs are made.
    pub jpeg: jpeg::Settings,
    /// How pictures are pickled.
    pub pickle: pickle::Style,
    /// Who may stop the server through the Python protocol; empty is nobody.
    pub shutdown_from: Vec<Network>,
    /// What HTTP requests are held against.
    pub rules: Rules,
    /// Name of this server among others on one host.
    pub instance: Tag,
    /// How a sensor is driven; its values fit together.
    pub kinect: kinect::Settings,
    /// Who makes the depth behind libfreenect2.
    pub pipeline: Pipeline,
    /// Where sysfs and devfs are; never in a file.
    pub roots: Roots,
    /// How much to log.
    pub log_level: log::LevelFilter,
}

impl Config {
    /// Reads the file that the options name, if any, and decides.
    ///
    /// # Errors
    /// [`BadConfig`] names what cannot be as it is and says what can.
    pub fn new(command: &Command) -> Result<Self, BadConfig> {
        Self::read(command, Pipe::Wait)
    }

    /// The same once more, to learn what the file says by now.
    ///
    /// # Errors
    /// As [`Config::new`], and if the file is a pipe or a device: what it said is gone, and to take that for an empty file would
    /// be to forget who may watch. Never waits.
    pub fn again(command: &Command) -> Result<Self, BadConfig> {
        Self::read(command, Pipe::Refuse)
    }

    fn read(command: &Command, pipe: Pipe) -> Result<Self, BadConfig> {
        let file = match &command.options().config {
            Some(path) => file::read(path, pipe).map_err(BadConfig::File)?,
            None => FileValues::default(),
        };
        Self::decide(command, file)
    }

    /// What a file with the content `text` says. Touches nothing and never panics, whatever the text.
    ///
    /// * `file_name`: what problems call the file.
    ///
    /// # Errors
    /// [`Problems`]: all that is wrong with the values, or the first thing that is not TOML.
    pub fn parse(text: &str, file_name: &str) -> Result<FileValues, Problems> {
        file::parse(text, file_name)
    }

    /// Puts the command line over the file over the defaults.
    ///
    /// # Errors
    /// [`BadConfig`] names what cannot be as it is and says what can.
    pub fn decide(command: &Command, file: FileValues) -> Result<Self, BadConfig> {
        let options = command.options().clone();
        // `demo` is said on the command line, so it overrides the file's source too.
        let (preset, max_mm) = match command {
            Command::Demo(_) => (Some(SourceSpec::Demo), DEMO_MAX_MM),
            Command::Run(_) | Command::Check(_) => (None, Range::PYTHON.max_mm()),
        };
        let (kinect, jpeg) = (file.kinect(), file.jpeg());
        let source = options.source.or(preset).or(file.source).unwrap_or(SourceSpec::Kinect(None));
        let sensor = matches!(source, SourceSpec::Kinect(_) | SourceSpec::Libfreenect2(_));
        if sensor && !options.fault.is_empty() {
            return Err(BadConfig::Fault);
        }
        if matches!(source, SourceSpec::Libfreenect2(_)) && LIBFREENECT2.is_none() {
            return Err(BadConfig::WithoutLibfreenect2);
        }
        let min = options.min_mm.or(file.min_mm).unwrap_or(Range::PYTHON.min_mm());
        let max = options.max_mm.or(file.max_mm).unwrap_or(max_mm);
        let range = Range::new(min, max).map_err(|e| match file.range_line {
            0 => BadConfig::Range(e.to_string()),
            line => BadConfig::Range(format!("{}:{line} has one of them: {e}", file.file)),
        })?;
        let mut listen = options.listen;
        if listen.is_empty() {
            listen = file.listen.unwrap_or_else(|| vec![Address::Tcp(([127, 0, 0, 1], 8080).into())]);
        }
        if listen.len() > LISTENERS_MAX {
            return Err(BadConfig::Listen(format!("at most {LISTENERS_MAX} addresses")));
        }
        if let Some(twice) = listed_twice(&listen) {
            return Err(BadConfig::Listen(format!("{twice} is given twice")));
        }
        let view = view::Spec {
            rotate_180: options.rotate.or(file.rotate_180).unwrap_or_default(),
            flip: options.flip.or(file.flip).unwrap_or_default(),
            clip_mm: file.clip_mm,
            masks: file.masks.unwrap_or_default(),
            overlay: file.overlay.unwrap_or_default(),
        };
        let camera = Camera::default();
        let camera = Camera {
            uid: file.uid.unwrap_or(camera.uid),
            name: file.name.unwrap_or(camera.name),
            kind: file.kind.unwrap_or(camera.kind),
            location: file.location.unwrap_or(camera.location),
        };
        Ok(Self {
            source,
            listen,
            range,
            fps: options.fps.or(file.fps).unwrap_or(NOMINAL_FPS),
            faults: options.fault.into_iter().collect(),
            view,
            camera,
            viewers_max: file.viewers_max.unwrap_or(VIEWERS_DEFAULT),
            stall: file.stall.unwrap_or(STALL_DEFAULT),
            allow: file.allow.unwrap_or_default(),
            jpeg,
            pickle: options.pickle.or(file.pickle).unwrap_or_default(),
            shutdown_from: file.shutdown_from.unwrap_or_else(|| THIS_MACHINE.to_vec()),
            rules: Rules {
                tokens: file.tokens.unwrap_or_default(),
                allow_origin: file.allow_origin,
                names: file.names.unwrap_or_default(),
            },
            instance: file.instance.unwrap_or(Tag::NONE),
            kinect,
            pipeline: file.pipeline.unwrap_or_default(),
            roots: options.roots.roots(),
            log_level: options.log_level.or(file.log_level).unwrap_or(log::LevelFilter::Info),
        })
    }

    /// The keys in which `new` differs: those that apply at once, and those that need a restart.
    pub fn changes(&self, new: &Config) -> (Vec<&'static str>, Vec<&'static str>) {
        // Taken apart, so that a new field cannot be forgotten here.
        let Config {
            source,
            listen,
            range,
            fps,
            faults: _,
            view,
            camera,
            viewers_max,
            stall,
            allow,
            jpeg,
            pickle,
            shutdown_from,
            rules,
            instance,
            kinect,
            pipeline,
            roots: _,
            log_level,
        } = self;
        let at_once = [
            ("rotate", view.rotate_180 != new.view.rotate_180),
            ("flip", view.flip != new.view.flip),
            ("range.min_mm", range.min_mm() != new.range.min_mm()),
            ("range.max_mm", range.max_mm() != new.range.max_mm()),
            ("range.clip_mm", view.clip_mm != new.view.clip_mm),
            ("masks", view.masks != new.view.masks),
            ("overlay", view.overlay != new.view.overlay),
            ("camera.uid", camera.uid != new.camera.uid),
            ("camera.name", camera.name != new.camera.name),
            ("camera.type", camera.kind != new.camera.kind),
            ("camera.location", camera.location != new.camera.location),
            ("viewers.stall_s", *stall != new.stall),
            ("viewers.allow", *allow != new.allow),
            ("jpeg.quality", jpeg.quality != new.jpeg.quality),
            ("jpeg.subsampling", jpeg.subsampling != new.jpeg.subsampling),
            ("legacy.pickle", *pickle != new.pickle),
            ("legacy.shutdown_from", *shutdown_from != new.shutdown_from),
            ("http.tokens", rules.tokens != new.rules.tokens),
            ("http.allow_origin", rules.allow_origin != new.rules.allow_origin),
            ("http.names", rules.names != new.rules.names),
            ("http.instance", *instance != new.instance),
            ("kinect.min_mm", kinect.min_mm != new.kinect.min_mm),
            ("kinect.max_mm", kinect.max_mm != new.kinect.max_mm),
            ("kinect.bilateral", kinect.bilateral != new.kinect.bilateral),
            ("kinect.edge", kinect.edge != new.kinect.edge),
            ("kinect.offset_mm", kinect.offset_mm != new.kinect.offset_mm),
            ("log.level", *log_level != new.log_level),
        ];
        let restart = [
            ("source", *source != new.source),
            ("fps", *fps != new.fps),
            ("listen", *listen != new.listen),
            ("viewers.max", *viewers_max != new.viewers_max),
            ("kinect.packets", kinect.packets != new.kinect.packets),
            ("kinect.transfers", kinect.transfers != new.kinect.transfers),
            ("libfreenect2.pipeline", *pipeline != new.pipeline),
        ];
        let changed = |keys: &[(&'static str, bool)]| keys.iter().filter(|k| k.1).map(|k| k.0).collect();
        (changed(&at_once), changed(&restart))
    }

    /// What is in force after [`Config::changes`] were taken over: `new` with the keys of `self` that need a restart.
    pub fn keeping(&self, new: Config) -> Config {
        let Config { source, listen, fps, viewers_max, .. } = self.clone();
        let kinect::Settings { packets, transfers, .. } = self.kinect;
        let kinect = kinect::Settings { packets, transfers, ..new.kinect };
        let pipeline = self.pipeline;
        Config { source, listen, fps, viewers_max, kinect, pipeline, ..new }
    }

    /// The part of it that the loop needs.
    pub fn settings(&self) -> crate::net_poll::Settings {
        crate::net_poll::Settings {
            listen: self.listen.clone(),
            viewers_max: self.viewers_max,
            stall: self.stall,
            pickle: self.pickle,
            shutdown_from: self.shutdown_from.clone(),
            allow: self.allow.clone(),
            rules: self.rules.clone(),
            instance: self.instance,
        }
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Config { view, camera, range, kinect, .. } = self;
        writeln!(f, "source = {}", Quoted(&self.source.to_string()))?;
        writeln!(f, "fps = {}", self.fps)?;
        writeln!(f, "rotate = {}", name_of(&ROTATIONS, view.rotate_180))?;
        writeln!(f, "flip = {}", Quoted(name_of(&FLIPS, view.flip)))?;
        writeln!(f, "range.min_mm = {}", range.min_mm())?;
        writeln!(f, "range.max_mm = {}", range.max_mm())?;
        match view.clip_mm {
            Some(mm) => writeln!(f, "range.clip_mm = {mm}")?,
            // TOML has no word for "none".
            None => writeln!(f, "# range.clip_mm is not set: nothing is clipped")?,
        }
        // Numbers in nested lists: Rust and TOML write them alike.
        writeln!(f, "masks = {:?}", view.masks)?;
        writeln!(f, "camera.uid = {}", Quoted(&camera.uid))?;
        writeln!(f, "camera.name = {}", Quoted(&camera.name))?;
        writeln!(f, "camera.type = {}", Quoted(&camera.kind))?;
        writeln!(f, "camera.location = {}", Quoted(&camera.location))?;
        writeln!(f, "listen = {}", List(&self.listen))?;
        writeln!(f, "viewers.max = {}", self.viewers_max)?;
        writeln!(f, "viewers.stall_s = {}", self.stall.as_secs())?;
        writeln!(f, "viewers.allow = {}", List(&self.allow))?;
        writeln!(f, "jpeg.quality = {}", self.jpeg.quality)?;
        let subsampling = name_of(&Subsampling::NAMES, self.jpeg.subsampling);
        writeln!(f, "jpeg.subsampling = {}", Quoted(subsampling))?;
        writeln!(f, "legacy.pickle = {}", Quoted(name_of(&PICKLES, self.pickle)))?;
        writeln!(f, "legacy.shutdown_from = {}", List(&self.shutdown_from))?;
        writeln!(f, "http.tokens = {}", List(&self.rules.tokens))?;
        let origin = self.rules.allow_origin.as_ref().map(ToString::to_string).unwrap_or_default();
        writeln!(f, "http.allow_origin = {}", Quoted(&origin))?;
        writeln!(f, "http.names = {}", List(&self.rules.names))?;
        writeln!(f, "http.instance = {}", Quoted(self.instance.as_str()))?;
        writeln!(f, "overlay = {}", view.overlay)?;
        writeln!(f, "kinect.packets = {}", kinect.packets)?;
        writeln!(f, "kinect.transfers = {}", kinect.transfers)?;
        writeln!(f, "kinect.min_mm = {}", kinect.min_mm)?;
        writeln!(f, "kinect.max_mm = {}", kinect.max_mm)?;
        writeln!(f, "kinect.bilateral = {}", kinect.bilateral)?;
        writeln!(f, "kinect.edge = {}", kinect.edge)?;
        writeln!(f, "kinect.offset_mm = {}", kinect.offset_mm)?;
        writeln!(f, "libfreenect2.pipeline = {}", Quoted(self.pipeline.name()))?;
        writeln!(f, "log.level = {}", Quoted(name_of(&LEVELS, self.log_level)))
    }
}

/// Why there is no configuration.
#[derive(Debug)]
pub enum BadConfig {
    /// Faults are played on demo and replay.
    Fault,
    /// The program was built without the library.
    WithoutLibfreenect2,
    /// `record` takes raw frames as the driver reads them.
    NoRecording,
    /// `probe` is about sensors.
    NoSensor(SourceSpec),
    /// The palette's range is empty.
    Range(String),
    /// The addresses make no sense together.
    Listen(String),
    /// The file is bad.
    File(BadFile),
}

impl fmt::Display for BadConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadConfig::Fault => {
                f.write_str("--fault: plays on demo and replay, not on a sensor; add --source")
            }
            BadConfig::WithoutLibfreenect2 => f.write_str(
                "source: this program was built without libfreenect2; build it with `--features libfreenect2` where the \
                 library is installed, or use --source kinect",
            ),
            BadConfig::NoRecording => {
                f.write_str("record does not work through libfreenect2; use --source kinect, which records the same frames")
            }
            BadConfig::NoSensor(source) => {
                write!(f, "probe looks for sensors and the source is {source}; add --source kinect")
            }
            BadConfig::Range(why) => write!(f, "--min-mm and --max-mm: {why}"),
            BadConfig::Listen(why) => write!(f, "--listen: {why}"),
            BadConfig::File(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for BadConfig {}

/// A text as a TOML string.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if c.is_control() => write!(f, "\\u{:04X}", u32::from(c))?,
                c => write!(f, "{c}")?,
            }
        }
        f.write_str("\"")
    }
}

/// A TOML list of strings.
struct List<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for List<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (n, item) in self.0.iter().enumerate() {
            let comma = if n > 0 { ", " } else { "" };
            write!(f, "{comma}{}", Quoted(&item.to_string()))?;
        }
        f.write_str("]")
    }
}

/// An option that takes one of the names in `choices`.
fn one_of<T: Copy + Send + Sync>(choices: &'static [(&'static str, T)]) -> impl TypedValueParser<Value = T> {
    let names = PossibleValuesParser::new(choices.iter().map(|c| c.0));
    names.try_map(|name| choose(choices, &name).ok_or("no such choice"))
}

fn choose<T: Copy>(choices: &[(&str, T)], name: &str) -> Option<T> {
    choices.iter().find(|c| c.0 == name).map(|c| c.1)
}

fn name_of<T: Copy + PartialEq>(choices: &[(&'static str, T)], value: T) -> &'static str {
    choices.iter().find(|c| c.1 == value).map_or("", |c| c.0)
}

fn listed_twice(list: &[Address]) -> Option<&Address> {
    // Port 0 is another port each time.
    let fixed = |a: &Address| !matches!(a, Address::Tcp(tcp) if tcp.port() == 0);
    list.iter().enumerate().find(|(n, a)| fixed(a) && list[..*n].contains(a)).map(|(_, a)| a)
}

const ROTATIONS: [(&str, bool); 2] = [("0", false), ("180", true)];
const FLIPS: [(&str, Flip); 3] = [("none", Flip::None), ("x", Flip::X), ("y", Flip::Y)];
const PICKLES: [(&str, pickle::Style); 2] =
    [("protocol0", pickle::Style::Protocol0), ("compact", pickle::Style::Compact)];
const LEVELS: [(&str, log::LevelFilter); 5] = [
    ("error", log::LevelFilter::Error),
    ("warn", log::LevelFilter::Warn),
    ("info", log::LevelFilter::Info),
    ("debug", log::LevelFilter::Debug),
    ("trace", log::LevelFilter::Trace),
];

/// Far end of the demo's palette: what a Kinect v2 is specified for.
const DEMO_MAX_MM: u16 = 4500;

#[cfg(test)]
mod tests;
