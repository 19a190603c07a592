//! What the environment asks for.

use std::env;
use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::bus::{Bus, Obstacles};
use crate::controller::Controller;
use crate::layout::Layout;
use crate::tree::{Sensor, Tree};

/// Everything that the environment says.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) root: PathBuf,
    pub(crate) real_time: bool,
}

/// What is wrong with it.
#[derive(Debug)]
pub(crate) enum Problem {
    Tree(io::Error),
    Thread(io::Error),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Tree(error) => write!(f, "the tree of devices: {error}"),
            Problem::Thread(error) => write!(f, "its thread cannot be started: {error}"),
        }
    }
}

impl Settings {
    pub(crate) fn from_environment() -> Result<Option<Self>, Problem> {
        let Some(root) = env::var_os("KINECT2_SIM_ROOT") else { return Ok(None) };
        let real_time = env::var_os("KINECT2_SIM_PACE").is_none_or(|pace| pace != "demand");
        Ok(Some(Settings { root: root.into(), real_time }))
    }

    pub(crate) fn build(self) -> Result<Bus, Problem> {
        let tree = Tree::new(&self.root);
        tree.create(false, 16).map_err(Problem::Tree)?;
        let config = [
            &[9, 2, 0, 0, 2, 1, 0, 0x80, 18][..],
            &[9, 4, 0, 0, 1, 0xFF, 0, 0, 0],
            &[7, 5, 0x02, 2, 0, 4, 0],
            &[7, 5, 0x81, 2, 0, 4, 0],
            &[9, 4, 1, 0, 0, 0xFF, 0, 0, 0],
            &[9, 4, 1, 1, 1, 0xFF, 0, 0, 0],
            &[7, 5, 0x84, 1, 0, 4, 1],
        ]
        .concat();
        let device = [18, 1, 0, 3, 0xef, 2, 1, 9, 0x5e, 4, 0xc4, 2, 0, 1, 1, 2, 3, 1];
        let sensor = Sensor {
            serial: "005697142447".into(),
            descriptors: [&device[..], &config].concat(),
            layout: Layout::parse(&config),
            usb2: false,
            autosuspend: false,
        };
        Ok(Bus::new(Controller::default(), sensor, Some(tree), Obstacles::default(), 16))
    }
}
