//! A whole sensor on a stand-in for the kernel, with a toy behind it that knows the commands. Virtual time.

use super::*;
use crate::depth::{FRAME_BYTES, PIXELS, SUB_IMAGE_BYTES};
use crate::protocol::{
    COMMAND_OUT, Command, Completion, DEPTH_IN, Footer, LAST_PACKET_BYTES, PACKET_BYTES, REPLY_IN,
};
use crate::sysfs::tree::Tree;
use crate::usbfs::fake::Kernel;
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;

const SERIAL: &str = "005697142447";
const NOW: Duration = Duration::from_secs(1);

/// What answers behind the kernel.
struct Toy {
    kernel: Arc<Kernel>,
    replies: VecDeque<Vec<u8>>,
    streaming: bool,
    /// Operation codes in the order in which they came.
    opcodes: Vec<u32>,
    frames: u32,
    packets: VecDeque<Vec<u8>>,
}

impl Toy {
    fn new(kernel: Arc<Kernel>) -> Self {
        Toy {
            kernel,
            replies: VecDeque::new(),
            streaming: false,
            opcodes: Vec::new(),
            frames: 0,
            packets: VecDeque::new(),
        }
    }

    /// Completes whatever can be, and one isochronous transfer of two packets if it streams.
    fn serve(&mut self) {
        let kernel = Arc::clone(&self.kernel);
        let mut state = kernel.state();
        while let Some(at) = state.pending.iter().position(|request| {
            request.endpoint != DEPTH_IN && (request.endpoint != REPLY_IN || !self.replies.is_empty())
        }) {
            let (address, endpoint) = (state.pending[at].address, state.pending[at].endpoint);
            let data = match endpoint {
                COMMAND_OUT => {
                    let command = state.pending[at].data.clone();
                    self.command(&command);
                    Vec::new()
                }
                REPLY_IN => self.replies.pop_front().expect("there is one"),
                _ => Vec::new(),
            };
            state.finish(address, 0, data);
        }
        if !self.streaming {
            // Time passes for the host's controller, whatever the sensor does.
            while state.finish_iso(Vec::new()) {}
        } else {
            while self.packets.len() < 2 {
                self.packets.extend(packets(self.frames));
                self.frames += 1;
            }
            let two = self.packets.drain(..2).map(|bytes| (0, bytes)).collect();
            state.finish_iso(two);
        }
    }

    fn command(&mut self, bytes: &[u8]) {
        let word = |at: usize| {
            bytes.get(at..at + 4).map_or(0, |word| u32::from_le_bytes(word.try_into().expect("four")))
        };
        let (sequence, opcode, parameter) = (word(4), word(12), word(20));
        self.opcodes.push(opcode);
        let all = [
            Command::Firmware,
            Command::Hardware,
            Command::Serial,
            Command::P0,
            Command::DepthLens,
            Command::Status,
        ];
        let asked = all.into_iter().find(|c| c.opcode() == opcode && c.parameter().unwrap_or(0) == parameter);
        if let Some(command) = asked {
            self.replies.push_back(reply(command));
        }
        if opcode == Command::Streaming(true).opcode() {
            self.streaming = parameter == 1;
        }
        self.replies.push_back(Completion { sequence, rest: [0, 0] }.to_bytes().to_vec());
    }
}

fn reply(command: Command) -> Vec<u8> {
    let mut bytes = vec![0; command.reply_min().max(92)];
    match command {
        Command::Firmware => {
            bytes[48..52].copy_from_slice(&0x0004_0000_u32.to_le_bytes());
            bytes[52..56].copy_from_slice(&3912_u32.to_le_bytes());
        }
        Command::Serial => {
            bytes.truncate(128);
            for (to, digit) in bytes.iter_mut().step_by(2).zip(SERIAL.bytes()) {
                *to = digit;
            }
        }
        Command::DepthLens => {
            for (to, value) in bytes.chunks_exact_mut(4).zip([365_f32, 365.0, 256.0, 206.0]) {
                to.copy_from_slice(&value.to_le_bytes());
            }
        }
        Command::Status => return 0x2601_u32.to_le_bytes().to_vec(),
        _ => {}
    }
    bytes
}

fn raw(frame: u32) -> Vec<u8> {
    (0..FRAME_BYTES).map(|i| ((i / 11) as u32).wrapping_mul(frame + 3) as u8).collect()
}

/// A frame as it comes: a gap; then whole packets, a shorter one with the footer, three empty ones, ten times.
fn packets(frame: u32) -> Vec<Vec<u8>> {
    let mut packets = vec![vec![]; 147];
    for (index, sub_image) in raw(frame).chunks_exact(SUB_IMAGE_BYTES).enumerate() {
        let mut bytes = sub_image.to_vec();
        bytes.extend(Footer::new(frame * 267, frame, index as u32).to_bytes());
        packets.extend(bytes.chunks(PACKET_BYTES).map(<[u8]>::to_vec));
        assert_eq!(packets.last().map(Vec::len), Some(LAST_PACKET_BYTES));
        packets.extend([vec![], vec![], vec![]]);
    }
    packets
}

struct Life {
    tree: Tree,
    toy: Toy,
    sensor: Sensor,
    now: Duration,
    frames: Vec<FrameInfo>,
}

impl Life {
    fn new(raw: bool) -> Self {
        let (tree, kernel) = (Tree::new(), Kernel::new());
        tree.plug(SERIAL, 2, 3);
        kernel.behind(tree.node(2, 3));
        let settings = Settings { roots: tree.roots(), packets: 2, transfers: 8, raw, ..Settings::default() };
        let sensor = Sensor::new(settings, NOW).expect("an eventfd");
        Life { tree, toy: Toy::new(kernel), sensor, now: NOW, frames: Vec::new() }
    }

    /// One round of a loop: a turn, and time goes on if there was nothing to do.
    fn round(&mut self) -> Turn {
        let turn = self.sensor.turn(self.now);
        match turn {
            Turn::Frame(info) => self.frames.push(info),
            Turn::More => {}
            Turn::Idle => {
                self.toy.serve();
                let idle = self.toy.kernel.state().complete.is_empty();
                if self.sensor.hands.jobs.is_running() {
                    thread::sleep(Duration::from_millis(1));
                } else if idle {
                    let next = self.sensor.deadline().unwrap_or(self.now + Duration::from_millis(1));
                    self.now = next.max(self.now + Duration::from_micros(100));
                } else {
                    self.now += Duration::from_micros(250);
                }
            }
        }
        turn
    }

    fn until(&mut self, what: &str, done: impl Fn(&Life) -> bool) {
        for _ in 0..200_000 {
            if done(self) {
                return;
            }
            self.round();
        }
        panic!("never {what}: {:?}, {:?}", self.sensor.state(), self.sensor.trouble());
    }

    fn until_frames(&mut self, count: usize) {
        let count = self.frames.len() + count;
        self.until("enough frames", |life| life.frames.len() >= count);
    }
}

#[test]
fn raw_frames_come_as_they_were_sent() {
    let mut life = Life::new(true);
    for _ in 0..3 {
        life.until_frames(1);
        let info = life.frames.last().expect("one came");
        assert_eq!(life.sensor.raw_frame(), Some(&raw(info.sequence)[..]));
    }
    let sequences: Vec<_> = life.frames.iter().map(|info| info.sequence).collect();
    assert_eq!(sequences, [0, 1, 2]);
    assert_eq!(life.sensor.identity().map(|identity| identity.serial.to_string()), Some(SERIAL.to_owned()));
    assert!(life.sensor.replies().is_some());
    life.round();
    assert_eq!(life.sensor.raw_frame(), None);
    assert_eq!(life.sensor.counters().refused_transfers, 0);
}

#[test]
fn decoded_frames_are_those_of_the_decoder_alone() {
    let mut life = Life::new(false);
    let (mut depth, mut alone) = (vec![0; PIXELS], vec![1; PIXELS]);
    assert!(life.sensor.finish(&mut depth, None).is_err());
    life.until_frames(2);
    life.sensor.finish(&mut depth, None).expect("a frame is complete");
    let (p0, lens) = life.sensor.replies().expect("it was started");
    let lens = depth::Intrinsics::from_reply(lens).expect("good");
    let tables = depth::Tables::from_p0_reply(p0, &lens).expect("good");
    let mut decoder = depth::Decoder::new(&tables, depth::Settings::default()).expect("good");
    let sequence = life.frames.last().expect("two came").sequence;
    decoder.decode(&raw(sequence), &mut alone, None).expect("whole");
    assert!(depth == alone);
}

#[test]
fn a_frame_that_nobody_asks_for_does_not_cost_another() {
    let mut life = Life::new(false);
    life.until_frames(3);
    let sequences: Vec<_> = life.frames.iter().map(|info| info.sequence).collect();
    assert_eq!(sequences, [0, 1, 2]);
}

#[test]
fn a_turn_reaps_a_bounded_number() {
    let mut life = Life::new(true);
    life.until_frames(1);
    // A kernel that has complete whatever it is given.
    for _ in 0..REAP_MAX + 10 {
        for _ in 0..life.sensor.settings().transfers {
            life.toy.kernel.state().finish_iso(vec![(0, vec![]); 2]);
        }
        let before = life.sensor.counters().transfers;
        life.sensor.turn(life.now);
        assert!(life.sensor.counters().transfers - before <= REAP_MAX as u64);
    }
}

#[test]
fn a_sensor_that_is_plugged_in_again_goes_on() {
    let mut life = Life::new(true);
    life.until_frames(2);
    let generation = life.sensor.node().map(|(generation, _)| generation);
    life.toy.kernel.unplug();
    life.tree.unplug(2);
    life.until("noticed", |life| life.sensor.trouble().is_some() && life.sensor.node().is_none());
    let kernel = Kernel::new();
    kernel.behind(life.tree.node(2, 4));
    life.tree.plug(SERIAL, 2, 4);
    life.toy = Toy::new(kernel);
    life.until_frames(2);
    assert_eq!(life.sensor.trouble(), None);
    assert_ne!(life.sensor.node().map(|(generation, _)| generation), generation);
    assert_eq!(life.sensor.counters().replaced, 0);
}

#[test]
fn shutting_down_stops_in_order_within_half_a_second() {
    let mut life = Life::new(true);
    life.until_frames(1);
    let begin = life.now;
    life.toy.opcodes.clear();
    life.sensor.shut_down(life.now);
    life.until("shut down", |life| life.sensor.is_shut_down());
    assert!(life.now - begin <= Duration::from_millis(500), "{:?}", life.now - begin);
    assert_eq!(life.toy.opcodes, [Command::Stop.opcode(), Command::Streaming(false).opcode()]);
    assert!(life.sensor.node().is_none());
    assert_eq!(life.sensor.turn(life.now), Turn::Idle);
}

#[test]
fn shutting_down_without_a_sensor_is_quick() {
    let mut life = Life::new(false);
    life.tree.unplug(2);
    life.until("looked", |life| life.sensor.trouble() == Some(Trouble::NotFound));
    life.sensor.shut_down(life.now);
    life.until("shut down", |life| life.sensor.is_shut_down());
}

#[test]
fn settings_out_of_range_are_refused() {
    let check = |settings: Settings| settings.check().expect_err("out of range").to_string();
    assert!(check(Settings { packets: 0, ..Settings::default() }).contains("0 packets"));
    assert!(check(Settings { packets: 129, ..Settings::default() }).contains("1 to 128"));
    assert!(check(Settings { transfers: 0, ..Settings::default() }).contains("0 transfers"));
    let decode = depth::Settings { min_mm: 9, max_mm: 1, ..depth::Settings::default() };
    assert!(check(Settings { decode, ..Settings::default() }).contains("depth range"));
    assert!(Settings::default().check().is_ok());
}
