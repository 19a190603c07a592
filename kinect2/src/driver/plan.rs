//! The steps of opening, starting, stopping and closing, in their order.

use super::Step;
use crate::protocol::Command;

/// A list of steps.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Plan {
    Open,
    Start,
    Stop,
    Close,
}

impl Plan {
    /// Orders: those of libfreenect2 (commit fd64c5d), without what is for colour and for lights, and with the drain. A
    /// failed start is taken back in the order of a stop.
    pub(super) const fn steps(self) -> &'static [Step] {
        match self {
            Plan::Open => &[Step::Open, Step::IsochDelay, Step::U1, Step::U2, Step::Suspend],
            Plan::Start => &[
                Step::Resume,
                Step::Drain,
                Step::Command(Command::Firmware),
                Step::Command(Command::Hardware),
                Step::Command(Command::Serial),
                Step::Command(Command::DepthLens),
                Step::Command(Command::P0),
                Step::Ready,
                Step::Prepare,
                Step::Command(Command::InitStreams),
                Step::Alternate(1),
                Step::Command(Command::Status),
                Step::Command(Command::Streaming(true)),
                Step::StartStream,
            ],
            Plan::Stop => &[
                Step::StopStream,
                Step::Alternate(0),
                Step::Command(Command::Stop),
                Step::Command(Command::Streaming(false)),
                Step::Suspend,
            ],
            Plan::Close => &[Step::Close],
        }
    }
}

/// What has been done to a sensor and is to be undone when it is stopped.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Undo {
    resumed: bool,
    commands: bool,
    alternate: bool,
    stream: bool,
}

impl Undo {
    /// A step of a start begins; it may have an effect even if it fails.
    pub(super) fn begun(&mut self, step: Step) {
        match step {
            Step::Resume => self.resumed = true,
            Step::Command(Command::InitStreams) => self.commands = true,
            Step::Alternate(_) => self.alternate = true,
            Step::StartStream => self.stream = true,
            _ => {}
        }
    }

    /// A sensor that has not answered one command will not answer the next.
    pub(super) fn without_commands(&mut self) {
        self.commands = false;
    }

    /// Whether a step of a stop has something to undo.
    pub(super) fn needs(self, step: Step) -> bool {
        match step {
            Step::StopStream => self.stream,
            Step::Alternate(_) => self.alternate,
            Step::Command(_) => self.commands,
            Step::Suspend => self.resumed,
            _ => true,
        }
    }
}
