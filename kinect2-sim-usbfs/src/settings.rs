//! What the environment asks for.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kinect2_sim::faults::{Faults, FaultsError};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::bus::{Bus, Obstacles};
use crate::controller::Controller;
use crate::tree::{Sensor, Tree};

/// What `usbfs_memory_mb` is on a kernel that nobody has told otherwise.
const MEMORY_MB: usize = 16;
/// Shaped as a real one.
const SERIAL: &str = "005697142447";

/// Everything that the environment says.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) root: PathBuf,
    pub(crate) real_time: bool,
    frames: OsString,
    serial: String,
    own: OwnFaults,
    faults: Faults,
}

/// Faults of this face.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct OwnFaults {
    pub(crate) obstacles: Obstacles,
    pub(crate) memory_mb: usize,
    pub(crate) autosuspend: bool,
    /// What the host controller takes to do as it is told.
    pub(crate) slow_host: Duration,
}

/// What is wrong with it.
#[derive(Debug)]
pub(crate) enum Problem {
    /// A variable has a value that means nothing.
    Value(&'static str, String),
    /// The model refuses its frames or its faults.
    Model(String),
    Tree(io::Error),
    Thread(io::Error),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Value(variable, what) => write!(f, "{variable}: {what}"),
            Problem::Model(what) => f.write_str(what),
            Problem::Tree(error) => write!(f, "KINECT2_SIM_ROOT: the tree of devices: {error}"),
            Problem::Thread(error) => write!(f, "its thread cannot be started: {error}"),
        }
    }
}

impl Settings {
    /// Reads the environment; `None` if it does not ask for a simulator in this program.
    pub(crate) fn from_environment() -> Result<Option<Self>, Problem> {
        let Some(root) = env::var_os("KINECT2_SIM_ROOT") else { return Ok(None) };
        if let Some(program) = env::var_os("KINECT2_SIM_PROGRAM") {
            let this = env::current_exe().ok();
            if this.as_deref().and_then(Path::file_name) != Some(&program) {
                return Ok(None);
            }
        }
        let real_time = match text("KINECT2_SIM_PACE")?.as_deref() {
            None | Some("real") => true,
            Some("demand") => false,
            Some(other) => {
                let what = format!("`{other}` is neither `real` nor `demand`");
                return Err(Problem::Value("KINECT2_SIM_PACE", what));
            }
        };
        let words = text("KINECT2_SIM_FAULTS")?.unwrap_or_default();
        let (own, faults) =
            parse_faults(&words).map_err(|what| Problem::Value("KINECT2_SIM_FAULTS", what))?;
        Ok(Some(Settings {
            root: root.into(),
            real_time,
            frames: env::var_os("KINECT2_SIM_FRAMES").unwrap_or_else(|| "demo".into()),
            serial: text("KINECT2_SIM_SERIAL")?.unwrap_or_else(|| SERIAL.to_owned()),
            own,
            faults,
        }))
    }

    /// Makes the bus with its sensor, and the tree unless another process keeps it.
    pub(crate) fn build(self) -> Result<Bus, Problem> {
        let controller = Controller::new(&self.serial, &self.frames, self.faults, self.real_time)
            .map_err(Problem::Model)?;
        let sensor = Sensor::new(&controller, self.own.autosuspend);
        let mut own = self.own;
        let tree = keep(&self.root).map_err(Problem::Tree)?.then(|| Tree::new(&self.root));
        if let Some(tree) = &tree {
            tree.create(sensor.usb2, own.memory_mb).map_err(Problem::Tree)?;
        } else {
            own.obstacles.owner.get_or_insert_with(|| "usbfs".to_owned());
        }
        Ok(Bus::new(controller, sensor, tree, own))
    }
}

/// Takes words apart into the faults of this face and those of the model.
///
/// # Errors
/// What is wrong with which word, for the user.
pub(crate) fn parse_faults(words: &str) -> Result<(OwnFaults, Faults), String> {
    let (own, rest) = OwnFaults::parse(words)?;
    let faults = rest.parse().map_err(|error: FaultsError| error.to_string())?;
    Ok((own, faults))
}

impl OwnFaults {
    /// Takes the words of this face out of a list; the rest is the model's.
    fn parse(words: &str) -> Result<(Self, String), String> {
        let mut own = OwnFaults {
            obstacles: Obstacles::default(),
            memory_mb: MEMORY_MB,
            autosuspend: false,
            slow_host: Duration::ZERO,
        };
        let mut rest = Vec::new();
        for word in words.split_whitespace() {
            match word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value))) {
                ("no-permission", None) => own.obstacles.no_permission = true,
                ("owned", driver) => own.obstacles.owner = Some(driver.unwrap_or("usbfs").to_owned()),
                ("usbfs-memory", Some(number)) => {
                    own.memory_mb =
                        number.parse().map_err(|_| format!("`{word}` needs a number of megabytes"))?;
                }
                ("autosuspend", None) => own.autosuspend = true,
                ("slow-host", Some(number)) => {
                    let ms =
                        number.parse().map_err(|_| format!("`{word}` needs a number of milliseconds"))?;
                    own.slow_host = Duration::from_millis(ms);
                }
                _ => rest.push(word),
            }
        }
        Ok((own, rest.join(" ")))
    }
}

/// Whether this process keeps the tree: it does unless another one does already.
fn keep(root: &Path) -> io::Result<bool> {
    fs::create_dir_all(root)?;
    match Flock::lock(File::create(root.join("lock"))?, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => {
            // Held until the process ends.
            std::mem::forget(lock);
            Ok(true)
        }
        Err((_, Errno::EWOULDBLOCK)) => Ok(false),
        Err((_, errno)) => Err(errno.into()),
    }
}

fn text(variable: &'static str) -> Result<Option<String>, Problem> {
    env::var_os(variable)
        .map(OsString::into_string)
        .transpose()
        .map_err(|_| Problem::Value(variable, "is no text".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_this_face_are_taken_and_the_rest_is_left() {
        let (own, rest) =
            OwnFaults::parse("seed=7 owned=snd usbfs-memory=4 unplug@5+3 slow-host=70 usb2 no-permission")
                .unwrap();
        assert_eq!(rest, "seed=7 unplug@5+3 usb2");
        assert_eq!(own.obstacles, Obstacles { no_permission: true, owner: Some("snd".into()) });
        assert_eq!((own.memory_mb, own.autosuspend), (4, false));
        assert_eq!(own.slow_host, Duration::from_millis(70));
        assert!(OwnFaults::parse("slow-host=long").is_err());
        assert!(OwnFaults::parse("usbfs-memory=much").is_err());
    }
}
