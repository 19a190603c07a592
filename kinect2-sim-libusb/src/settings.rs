//! What the environment asks for.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use kinect2_sim::device::{FolderError, Options};
use kinect2_sim::faults::FaultsError;
use kinect2_sim::host::Pace;

use crate::bus::Bus;

/// What is wrong with a variable.
#[derive(Debug)]
pub(crate) enum Problem {
    Frames(FolderError),
    Faults(FaultsError),
    /// Of this variable, with this value.
    Value(&'static str, OsString),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Frames(error) => write!(f, "{FRAMES}: {error}"),
            Problem::Faults(error) => write!(f, "{FAULTS}: {error}"),
            Problem::Value(PACE, value) => write!(f, "{PACE}: {value:?} is neither `real` nor `demand`"),
            Problem::Value(variable, value) => write!(f, "{variable}: {value:?} is no text"),
        }
    }
}

/// The bus that the environment asks for.
pub(crate) fn bus() -> Result<Bus, Problem> {
    let pace = match env::var_os(PACE) {
        None => Pace::RealTime,
        Some(real) if real == "real" || real == "realtime" => Pace::RealTime,
        Some(demand) if demand == "demand" => Pace::Demand,
        Some(other) => return Err(Problem::Value(PACE, other)),
    };
    let mut options = match env::var_os(FRAMES) {
        Some(folder) if folder != "demo" => Options::folder(Path::new(&folder)).map_err(Problem::Frames)?,
        _ => Options::demo(SEED),
    };
    if let Some(faults) = text(FAULTS)? {
        options.faults = faults.parse().map_err(Problem::Faults)?;
    }
    options.serial = text(SERIAL)?.unwrap_or_else(|| "005697142447".to_owned());
    Ok(Bus::new(options, pace))
}

fn text(variable: &'static str) -> Result<Option<String>, Problem> {
    let value = env::var_os(variable).map(OsString::into_string).transpose();
    value.map_err(|value| Problem::Value(variable, value))
}

const FRAMES: &str = "KINECT2_SIM_FRAMES";
const FAULTS: &str = "KINECT2_SIM_FAULTS";
const PACE: &str = "KINECT2_SIM_PACE";
const SERIAL: &str = "KINECT2_SIM_SERIAL";
/// Of the demo's scene.
const SEED: u64 = 1;
