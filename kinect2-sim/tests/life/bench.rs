//! A driver and a stream parser on a simulated sensor, with an eye on what they do.

use std::sync::Arc;
use std::time::Duration;

use kinect2::driver::{Action, Driver, State, Trouble};
use kinect2::protocol::Setup;
use kinect2::stream::{PacketStatus, Stream, Target};
use kinect2_sim::device::Options;
use kinect2_sim::host::{Host, Transfer};
use kinect2_sim::in_process::{Event, InProcess};

/// Frames before they come again.
const INPUT: usize = 3;

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) struct Bench {
    pub(crate) driver: Driver,
    sensor: InProcess,
    stream: Stream,
    target: Target,
    input: Vec<Arc<[u8]>>,
    in_flight: bool,
    /// Whole frames, each compared with what was sent; and the numbers that they had.
    pub(crate) frames: u64,
    pub(crate) sequences: Vec<u32>,
    /// Every trouble there was, one after the other.
    pub(crate) troubles: Vec<&'static str>,
    pub(crate) actions: u64,
}

impl Bench {
    /// A sensor of noise with these faults, and a driver that looks for it.
    pub(crate) fn new(faults: &str) -> Self {
        let faults = faults.parse().expect("faults as they are written");
        let sensor = InProcess::new(Options { faults, ..Options::noise(5, INPUT) });
        Bench {
            driver: Driver::new(None, sensor.now()),
            input: (0..3).map(|number| sensor.host().device().frame_of(number).clone()).collect(),
            sensor,
            stream: Stream::new(),
            target: Target::raw(),
            in_flight: false,
            frames: 0,
            sequences: Vec::new(),
            troubles: Vec::new(),
            actions: 0,
        }
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now() + time;
        loop {
            self.acts();
            let deadline = self.driver.deadline().map_or(end, |deadline| deadline.min(end));
            match self.sensor.wait(Some(deadline)) {
                (now, Event::Done(done)) => {
                    self.in_flight = false;
                    self.driver.done(done, now);
                }
                (now, Event::Packets(transfer)) => {
                    self.driver.completion(now);
                    let frames = frames(&mut self.stream, &mut self.target, &self.input, transfer, now);
                    for sequence in frames {
                        self.frames += 1;
                        self.sequences.push(sequence);
                        self.driver.frame(now);
                        assert_eq!(self.driver.trouble(), None, "while frames come");
                    }
                }
                (_, Event::Gone) => self.driver.gone(),
                (now, Event::Deadline) if now >= end => return self.acts(),
                (_, Event::Deadline) => {}
            }
            self.note();
        }
    }

    /// Lets time pass until this many frames more have come, at most ten seconds.
    pub(crate) fn run_frames(&mut self, frames: u64) {
        let (enough, late) = (self.frames + frames, self.now() + ms(10_000));
        while self.frames < enough {
            assert!(self.now() < late, "{} frames, {:?}: {:?}", self.frames, self.state(), self.trouble());
            self.run(ms(5));
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.sensor.now()
    }

    pub(crate) fn host(&mut self) -> &mut Host {
        self.sensor.host_mut()
    }

    pub(crate) fn state(&self) -> State {
        self.driver.state()
    }

    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.driver.trouble()
    }

    /// Does what the driver wants done now.
    fn acts(&mut self) {
        for _ in 0..20 {
            let Some(action) = self.driver.next(self.sensor.now()) else { return self.note() };
            self.actions += 1;
            match (action, self.in_flight) {
                (Action::Cancel, true) => {}
                (Action::Close, _) | (_, false) => self.in_flight = true,
                (action, true) => panic!("{action:?} while another is in flight"),
            }
            if matches!(action, Action::StartStream) {
                self.stream.restart();
            }
            self.sensor.perform(action);
        }
        panic!("the driver spins: {:?}", self.state());
    }

    fn note(&mut self) {
        if let Some(word) = self.driver.trouble().map(Trouble::word)
            && self.troubles.last() != Some(&word)
        {
            self.troubles.push(word);
        }
    }
}

/// The numbers of the frames that a transfer completes, each compared with what was sent.
fn frames(
    stream: &mut Stream,
    target: &mut Target,
    input: &[Arc<[u8]>],
    transfer: &Transfer,
    now: Duration,
) -> Vec<u32> {
    let mut sequences = Vec::new();
    for (bytes, status) in transfer.received_packets() {
        let status = if status.is_ok() { PacketStatus::Good } else { PacketStatus::Bad };
        let Some(info) = stream.packet(now, status, bytes, target) else { continue };
        let Target::Raw(raw) = &*target else { panic!("frames are collected raw") };
        assert!(raw[..] == input[info.sequence as usize % input.len()][..], "frame {}", info.sequence);
        sequences.push(info.sequence);
    }
    sequences
}

/// A request that nobody makes while a sensor is driven, to see that it still answers.
pub(crate) const GET_STATUS: Setup = Setup { request_type: 0x80, request: 0, value: 0, index: 0, length: 2 };
