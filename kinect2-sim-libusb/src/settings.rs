//! What the environment asks for.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use kinect2::recording;
use kinect2_sim::device::Options;
use kinect2_sim::faults::FaultsError;
use kinect2_sim::host::Pace;

use crate::bus::Bus;

/// What is wrong with a variable.
#[derive(Debug)]
pub(crate) enum Problem {
    Frames(recording::Error),
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
    let (options, pace) = read(env::var_os)?;
    Ok(Bus::new(options, pace))
}

fn read(variable: impl Fn(&'static str) -> Option<OsString>) -> Result<(Options, Pace), Problem> {
    let text = |name| {
        let value = variable(name).map(OsString::into_string).transpose();
        value.map_err(|value| Problem::Value(name, value))
    };
    let pace = match variable(PACE) {
        None => Pace::RealTime,
        Some(real) if real == "real" || real == "realtime" => Pace::RealTime,
        Some(demand) if demand == "demand" => Pace::Demand,
        Some(other) => return Err(Problem::Value(PACE, other)),
    };
    let mut options = match variable(FRAMES) {
        Some(folder) if folder != "demo" => Options::folder(Path::new(&folder)).map_err(Problem::Frames)?,
        _ => Options::demo(SEED),
    };
    if let Some(faults) = text(FAULTS)? {
        options.faults = faults.parse().map_err(Problem::Faults)?;
    }
    options.serial = text(SERIAL)?.unwrap_or_else(|| "005697142447".to_owned());
    Ok((options, pace))
}

const FRAMES: &str = "KINECT2_SIM_FRAMES";
const FAULTS: &str = "KINECT2_SIM_FAULTS";
const PACE: &str = "KINECT2_SIM_PACE";
const SERIAL: &str = "KINECT2_SIM_SERIAL";
/// Of the demo's scene.
const SEED: u64 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn read_of(pairs: &[(&str, &str)]) -> Result<(Options, Pace), String> {
        let find = |name: &str| pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1.into());
        read(find).map_err(|problem| problem.to_string())
    }

    #[test]
    fn an_empty_environment_is_a_sensor_without_faults_in_real_time() {
        let (options, pace) = read_of(&[]).unwrap();
        assert_eq!(pace, Pace::RealTime);
        assert_eq!(options.serial, "005697142447");
        assert_eq!(options.faults, "".parse().unwrap());
    }

    #[test]
    fn every_variable_counts() {
        let set = [(FRAMES, "demo"), (FAULTS, "wedge@1"), (PACE, "demand"), (SERIAL, "1234")];
        let (options, pace) = read_of(&set).unwrap();
        assert_eq!((pace, options.serial.as_str()), (Pace::Demand, "1234"));
        assert!(options.faults.contains("wedge"));
    }

    #[test]
    fn a_bad_value_is_named_with_its_variable() {
        for (variable, value) in [(FRAMES, "/nowhere/at/all"), (FAULTS, "rain"), (PACE, "fast")] {
            let problem = read_of(&[(variable, value)]).unwrap_err();
            assert!(problem.starts_with(variable) && problem.contains(value), "{problem}");
        }
    }
}
