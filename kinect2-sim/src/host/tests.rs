//! Sessions by hand, and each fault as it shows at the wire.

use super::*;
use kinect2::depth::{FRAME_BYTES, SUB_IMAGE_BYTES};
use kinect2::protocol::{Command, Completion, FOOTER_BYTES, Footer, INTERVALS_PER_FRAME, LAST_PACKET_BYTES};
use proptest::prelude::*;
use std::sync::LazyLock;

use crate::device::Frames;

const PACKETS: usize = 8;
const TRANSFERS: usize = 60;
/// The status says "starting" before it says "ready".
const POLLS: usize = 4;

/// A host, a clock, and a program that uses them.
struct Bench {
    host: Host,
    now: Duration,
    id: u64,
    sequence: u32,
    /// What came on the isochronous endpoint.
    packets: Vec<(Vec<u8>, Result<(), Fault>)>,
    /// How transfers ended that did not end well.
    ended: Vec<Fault>,
}

impl Bench {
    fn new(faults: &str) -> Self {
        Self::of(faults, 3, Pace::RealTime)
    }

    fn of(faults: &str, frames: usize, pace: Pace) -> Self {
        // Made once: the tables take longer than most tests.
        static SENSOR: LazyLock<Options> = LazyLock::new(|| Options::noise(1, 3));
        let mut options = Options { faults: faults.parse().unwrap(), ..SENSOR.clone() };
        let Frames::Raw(all) = &mut options.frames;
        all.truncate(frames);
        let (packets, ended) = (Vec::new(), Vec::new());
        Bench { host: Host::new(options, pace), now: Duration::ZERO, id: 0, sequence: 0, packets, ended }
    }

    fn transfer(&mut self, prepare: impl FnOnce(&mut Transfer, u64)) -> Result<u64, Fault> {
        let mut transfer = Transfer::default();
        self.id += 1;
        prepare(&mut transfer, self.id);
        self.host.submit(transfer, self.now).map_err(|(_, fault)| fault)?;
        Ok(self.id)
    }

    /// Waits for a transfer, at most a second.
    fn wait(&mut self, id: u64) -> Option<Transfer> {
        let end = self.now + Duration::from_secs(1);
        loop {
            while let Some(transfer) = self.host.completed() {
                if transfer.id == id {
                    return Some(transfer);
                }
            }
            let due = self.host.due().filter(|due| *due <= end)?;
            self.now = self.now.max(due);
            self.host.advance(self.now);
        }
    }

    fn control(&mut self, setup: Setup) -> Result<(), Fault> {
        let id = self.transfer(|transfer, id| transfer.prepare_control(id, setup))?;
        self.wait(id).expect("no answer").status
    }

    fn send(&mut self, command: Command) -> Result<(), Fault> {
        let (bytes, length) = command.to_bytes(self.sequence);
        self.sequence += 1;
        let id = self.transfer(|transfer, id| {
            transfer.prepare_bulk(id, COMMAND_OUT, length);
            transfer.buffer.copy_from_slice(&bytes[..length]);
        })?;
        self.wait(id).map_or(Err(Fault::Cancelled), |transfer| transfer.status)
    }

    /// A read with so much room; `None` if nothing came within a second.
    fn read(&mut self, room: usize) -> Option<Result<Vec<u8>, Fault>> {
        let id = match self.transfer(|transfer, id| transfer.prepare_bulk(id, REPLY_IN, room)) {
            Ok(id) => id,
            Err(fault) => return Some(Err(fault)),
        };
        if let Some(transfer) = self.wait(id) {
            return Some(transfer.status.map(|()| transfer.received().to_vec()));
        }
        self.now += Duration::from_secs(1);
        self.host.cancel(id, self.now);
        assert_eq!(self.wait(id).unwrap().status, Err(Fault::Cancelled));
        None
    }

    fn completion(&mut self) -> Option<u32> {
        let bytes = self.read(16)?.unwrap();
        Some(Completion::from_bytes(&bytes).expect("a completion").sequence)
    }

    /// A command that all goes well with.
    fn ask(&mut self, command: Command) -> Vec<u8> {
        self.send(command).unwrap();
        let data =
            if command.reply_max() > 0 { self.read(command.reply_max()).unwrap().unwrap() } else { vec![] };
        assert_eq!(self.completion(), Some(self.sequence - 1));
        data
    }

    /// All that comes before the isochronous transfers.
    fn start(&mut self) {
        self.control(Setup::RESUME).unwrap();
        for _ in 0..POLLS {
            self.ask(Command::Status);
        }
        self.ask(Command::InitStreams);
        self.host.set_interface(1, 1, self.now).unwrap();
        self.ask(Command::Streaming(true));
    }

    fn submit_iso(&mut self) -> Result<u64, Fault> {
        self.transfer(|transfer, id| transfer.prepare_iso(id, DEPTH_IN, [PACKET_BYTES; PACKETS]))
    }

    fn submit_all(&mut self) {
        for _ in 0..TRANSFERS {
            self.submit_iso().unwrap();
        }
    }

    /// Takes what comes for so long, and submits anew what came.
    fn stream(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            while let Some(mut transfer) = self.host.completed() {
                let packets = transfer.received_packets().map(|(bytes, status)| (bytes.to_vec(), status));
                self.packets.extend(packets);
                if let Err(fault) = transfer.status {
                    self.ended.push(fault);
                    continue;
                }
                transfer.prepare_iso(transfer.id, DEPTH_IN, [PACKET_BYTES; PACKETS]);
                if let Err((_, fault)) = self.host.submit(transfer, self.now) {
                    self.ended.push(fault);
                }
                if self.packets.len() as u64 > time.as_micros() as u64 / INTERVAL_US + 1_000 {
                    // On demand it never ends.
                    return;
                }
            }
            match self.host.due().filter(|due| *due <= end) {
                Some(due) => self.now = self.now.max(due),
                None => {
                    self.now = end;
                    self.host.advance(end);
                    return;
                }
            }
            self.host.advance(self.now);
        }
    }

    /// The stream after so many seconds.
    fn streamed(faults: &str, seconds: f64) -> Self {
        let mut bench = Self::new(faults);
        bench.start();
        bench.submit_all();
        bench.stream(Duration::from_secs_f64(seconds));
        bench
    }

    fn lengths(&self) -> Vec<usize> {
        self.packets.iter().map(|(bytes, _)| bytes.len()).collect()
    }

    fn footers(&self) -> Vec<Footer> {
        let last = self.packets.iter().filter(|(bytes, _)| bytes.len() == LAST_PACKET_BYTES);
        last.map(|(bytes, _)| Footer::from_bytes(bytes.last_chunk::<FOOTER_BYTES>().unwrap())).collect()
    }

    /// Frames put together as libfreenect2 does: packets until the one with the footer.
    fn frames(&self) -> Vec<(u32, Vec<u8>)> {
        let (mut frames, mut frame, mut sub_image) = (Vec::new(), Vec::new(), Vec::new());
        for (bytes, status) in &self.packets {
            if status.is_err() || bytes.is_empty() {
                sub_image.clear();
                continue;
            }
            sub_image.extend(bytes);
            if bytes.len() < PACKET_BYTES {
                let footer = Footer::from_bytes(bytes.last_chunk().unwrap());
                if footer.subsequence == 0 {
                    frame.clear();
                }
                if sub_image.len() == SUB_IMAGE_BYTES + FOOTER_BYTES {
                    frame.extend(&sub_image[..SUB_IMAGE_BYTES]);
                }
                if frame.len() == FRAME_BYTES {
                    frames.push((footer.sequence, std::mem::take(&mut frame)));
                }
                sub_image.clear();
            }
        }
        frames
    }
}

#[test]
fn a_session_by_hand_gives_the_input_bit_for_bit() {
    let mut bench = Bench::new("");
    bench.host.reset(bench.now).unwrap();
    for interface in [0, 1] {
        bench.host.claim(interface, bench.now).unwrap();
    }
    assert_eq!(bench.host.claim(1, bench.now), Err(Fault::Busy));
    for setup in [Setup::ISOCH_DELAY, Setup::U1_ENABLE, Setup::U2_ENABLE, Setup::SUSPEND] {
        bench.control(setup).unwrap();
    }
    assert_eq!(bench.send(Command::Firmware), Err(Fault::Stall), "suspended");
    bench.control(Setup::RESUME).unwrap();
    for command in [Command::Firmware, Command::Hardware, Command::Serial, Command::P0, Command::DepthLens] {
        assert!(bench.ask(command).len() >= command.reply_min());
    }
    bench.start();
    bench.submit_all();
    bench.stream(Duration::from_secs_f64(0.5));

    let frames = bench.frames();
    assert!((13..=15).contains(&frames.len()), "{} frames in half a second", frames.len());
    for (at, (sequence, frame)) in frames.iter().enumerate() {
        assert_eq!(*sequence, frames[0].0 + u32::try_from(at).unwrap(), "none is missing");
        assert!(frame[..] == bench.host.device().frame_of(*sequence)[..], "frame {sequence}");
    }
    // What was sent in these intervals, and nothing was lost.
    assert_eq!(bench.packets.len(), 4_000);
    assert!(bench.packets.iter().all(|(_, status)| status.is_ok()));
    assert_eq!(bench.host.counters().queue_ran_dry, 0);
    assert_eq!(bench.host.counters().iso_transfers, 500);
    assert_eq!(
        bench.host.counters().data_packets,
        bench.lengths().iter().filter(|bytes| **bytes > 0).count() as u64
    );

    bench.host.set_interface(1, 0, bench.now).unwrap();
    while let Some(transfer) = bench.host.completed() {
        assert_eq!(transfer.status, Err(Fault::Cancelled));
        assert_eq!(transfer.packets.len(), PACKETS);
    }
    assert_eq!(bench.host.pending(), 0);
    bench.ask(Command::Stop);
    bench.ask(Command::Streaming(false));
    bench.control(Setup::SUSPEND).unwrap();
    bench.host.release(0, bench.now).unwrap();
}

#[test]
fn a_sub_image_is_eight_full_packets_one_short_one_and_three_empty_ones() {
    let bench = Bench::streamed("whole-frame", 0.1);
    let lengths = bench.lengths();
    let sub_image = [vec![PACKET_BYTES; 8], vec![LAST_PACKET_BYTES], vec![0; 3]].concat();
    for (number, found) in lengths[..120].chunks(12).enumerate() {
        assert_eq!(found, sub_image, "sub-image {number}");
    }
    assert!(lengths[120..266].iter().all(|bytes| *bytes == 0), "then silence");
    assert_eq!(lengths[266..278], sub_image, "and the next frame after 266 intervals");
    assert_eq!(lengths[533..545], sub_image, "and 267");
    let footers = bench.footers();
    let numbers: Vec<u32> = footers[..20].iter().map(|footer| footer.subsequence).collect();
    assert_eq!(numbers, (0..10).chain(0..10).collect::<Vec<_>>());
    assert_eq!(footers[10].timestamp - footers[0].timestamp, 266);
    assert_eq!(footers[20].timestamp - footers[10].timestamp, 267);
    assert!(
        footers[..10]
            .iter()
            .all(|footer| *footer == Footer { subsequence: footer.subsequence, ..footers[0] })
    );
    assert_eq!((footers[0].sequence, footers[10].sequence), (0, 1));
}

#[test]
fn a_stream_begins_in_the_middle_of_a_frame() {
    let beginnings = (0..6).map(|seed| {
        let options = Options { seed, ..Options::noise(1, 1) };
        let host = Host::new(options, Pace::RealTime);
        let mut bench = Bench { host, ..Bench::new("") };
        bench.start();
        bench.submit_all();
        bench.stream(Duration::from_millis(50));
        bench.footers()[0].subsequence
    });
    let mut beginnings: Vec<u32> = beginnings.collect();
    beginnings.dedup();
    assert!(beginnings.len() > 2, "{beginnings:?}");
}

#[test]
fn no_packet_comes_before_the_stream_was_switched_on_in_order() {
    let quiet = |leave_out: usize| {
        let mut bench = Bench::new("");
        bench.control(Setup::RESUME).unwrap();
        for _ in 0..if leave_out == 0 { 1 } else { POLLS } {
            bench.ask(Command::Status);
        }
        if leave_out != 1 {
            bench.ask(Command::InitStreams);
        }
        if leave_out != 2 {
            bench.host.set_interface(1, 1, bench.now).unwrap();
        }
        if leave_out != 3 {
            bench.ask(Command::Streaming(true));
        }
        if leave_out == 4 {
            bench.host.set_interface(1, 0, bench.now).unwrap();
            bench.host.set_interface(1, 1, bench.now).unwrap();
        }
        if leave_out == 2 {
            return bench.submit_iso() == Err(Fault::NotFound);
        }
        bench.submit_all();
        bench.stream(Duration::from_millis(100));
        bench.lengths().iter().all(|bytes| *bytes == 0)
    };
    assert!((0..5).all(quiet));
    assert!(!quiet(5), "with all steps it comes");
}

#[test]
fn isochronous_transfers_are_refused_in_setting_0() {
    let mut bench = Bench::new("");
    assert_eq!(bench.submit_iso(), Err(Fault::NotFound));
    bench.host.set_interface(1, 1, bench.now).unwrap();
    assert!(bench.submit_iso().is_ok());
    assert_eq!(bench.host.set_interface(1, 2, bench.now), Err(Fault::Stall));
}

#[test]
fn transfers_that_make_no_sense_are_handed_back() {
    let mut bench = Bench::new("");
    bench.host.set_interface(1, 1, bench.now).unwrap();
    let none: [usize; 0] = [];
    assert_eq!(bench.transfer(|transfer, id| transfer.prepare_iso(id, DEPTH_IN, none)), Err(Fault::Invalid));
    assert_eq!(bench.transfer(|transfer, id| transfer.prepare_iso(id, REPLY_IN, [1])), Err(Fault::Invalid));
    assert_eq!(bench.transfer(|transfer, id| transfer.prepare_bulk(id, DEPTH_IN, 1)), Err(Fault::Invalid));
    assert_eq!(bench.transfer(|transfer, id| transfer.prepare_bulk(id, 0x07, 1)), Err(Fault::NotFound));
    let short = bench.transfer(|transfer, id| {
        transfer.prepare_iso(id, DEPTH_IN, [100]);
        transfer.buffer.clear();
    });
    assert_eq!(short, Err(Fault::Invalid));
    let (transfer, fault) =
        bench.host.submit(Transfer { endpoint: 9, ..Transfer::default() }, bench.now).unwrap_err();
    assert_eq!((transfer.status, fault), (Err(Fault::NotFound), Fault::NotFound));
    assert_eq!(bench.host.pending(), 0);
}

#[test]
fn a_packet_longer_than_its_room_overflows() {
    let mut bench = Bench::new("whole-frame");
    bench.start();
    let id = bench.transfer(|transfer, id| transfer.prepare_iso(id, DEPTH_IN, [1024, PACKET_BYTES])).unwrap();
    let transfer = bench.wait(id).unwrap();
    assert_eq!(transfer.packets, [(0, Err(Fault::Overflow)), (PACKET_BYTES, Ok(()))]);
    assert_eq!(transfer.actual, PACKET_BYTES);
    let (second, _) = transfer.received_packets().nth(1).unwrap();
    assert!(*second == bench.host.device().frame_of(0)[PACKET_BYTES..2 * PACKET_BYTES]);
}

#[test]
fn transfers_end_when_their_last_interval_does() {
    let mut bench = Bench::new("");
    bench.host.set_interface(1, 1, bench.now).unwrap();
    bench.now = Duration::from_micros(1_010);
    bench.submit_iso().unwrap();
    bench.submit_iso().unwrap();
    // The next interval begins at 1,125.
    assert_eq!(bench.host.due(), Some(Duration::from_micros(2_125)));
    bench.host.advance(Duration::from_micros(2_124));
    assert_eq!(bench.host.completed(), None);
    assert_eq!(bench.host.due(), Some(Duration::from_micros(2_125)));
    bench.host.advance(Duration::from_micros(2_125));
    assert_eq!(bench.host.due(), Some(Duration::from_micros(2_125)), "it can be fetched");
    assert!(bench.host.completed().is_some());
    assert_eq!(bench.host.completed(), None);
    assert_eq!(bench.host.due(), Some(Duration::from_micros(3_125)), "the next follows without a gap");
}

#[test]
fn a_queue_that_runs_dry_begins_anew_and_loses_what_was_sent() {
    let mut bench = Bench::streamed("whole-frame", 0.05);
    assert_eq!(bench.host.counters().queue_ran_dry, 0);
    let first = bench.footers()[0].timestamp;
    // Nobody looks for two tenths of a second; 60 ms are queued.
    bench.packets.clear();
    bench.now += Duration::from_millis(200);
    bench.host.advance(bench.now);
    bench.stream(Duration::from_millis(100));
    let counters = bench.host.counters();
    assert_eq!((counters.queue_ran_dry, counters.intervals_lost), (1, 140 * 8));
    let footers = bench.footers();
    let place = |footer: &Footer| f64::from(footer.timestamp - first) / INTERVALS_PER_FRAME;
    assert!(footers.iter().any(|footer| (place(footer) - f64::from(footer.sequence)).abs() < 0.01));
    assert!(
        footers.iter().all(|footer| (place(footer) - f64::from(footer.sequence)).abs() < 0.01),
        "the sensor did not wait"
    );
    let missing = footers.windows(2).filter(|pair| pair[1].sequence > pair[0].sequence + 1).count();
    assert_eq!(missing, 1, "one gap");
}

#[test]
fn on_demand_nothing_waits_and_nothing_is_lost() {
    let mut bench = Bench::of("whole-frame", 3, Pace::Demand);
    bench.start();
    bench.submit_all();
    assert_eq!((bench.now, bench.host.pending()), (Duration::ZERO, 0), "all came at once");
    bench.stream(Duration::from_secs_f64(0.2));
    assert_eq!(bench.now, Duration::ZERO);
    // A slow program, that takes a second for each transfer.
    for _ in 0..50 {
        bench.now += Duration::from_secs(1);
        bench.host.advance(bench.now);
        let id = bench.submit_iso().unwrap();
        while let Some(transfer) = bench.host.completed() {
            bench.packets.extend(transfer.received_packets().map(|(bytes, status)| (bytes.to_vec(), status)));
            if transfer.id == id {
                break;
            }
        }
    }
    let frames = bench.frames();
    assert!(frames.len() >= 8);
    for (at, (sequence, frame)) in frames.iter().enumerate() {
        assert_eq!(*sequence as usize, at);
        assert!(frame[..] == bench.host.device().frame_of(*sequence)[..]);
    }
    assert_eq!(bench.host.counters().queue_ran_dry, 0);
}

#[test]
fn on_demand_the_time_of_faults_follows_what_was_consumed() {
    let mut bench = Bench::of("unplug@0.5", 1, Pace::Demand);
    bench.start();
    let mut count = 0;
    while bench.submit_iso().is_ok() {
        count += 1;
        assert!(count < 1_000);
        while bench.host.completed().is_some() {}
    }
    assert_eq!(count, 500, "half a second of a millisecond each");
    assert!(!bench.host.is_plugged());
}

#[test]
fn reads_wait_for_their_reply_in_order() {
    let mut bench = Bench::new("");
    let first = bench.transfer(|transfer, id| transfer.prepare_bulk(id, REPLY_IN, 512)).unwrap();
    let second = bench.transfer(|transfer, id| transfer.prepare_bulk(id, REPLY_IN, 512)).unwrap();
    let color = bench.transfer(|transfer, id| transfer.prepare_bulk(id, 0x83, 512)).unwrap();
    bench.host.advance(Duration::from_secs(100));
    assert_eq!((bench.host.completed(), bench.host.due()), (None, None), "they wait for ever");
    bench.now = Duration::from_secs(100);
    let (bytes, length) = Command::Serial.to_bytes(5);
    bench
        .transfer(|transfer, id| {
            transfer.prepare_bulk(id, COMMAND_OUT, length);
            transfer.buffer.copy_from_slice(&bytes[..length]);
        })
        .unwrap();
    let ends: Vec<(u64, usize)> = std::iter::from_fn(|| bench.host.completed())
        .map(|transfer| (transfer.id, transfer.actual))
        .collect();
    assert_eq!(ends, [(4, 24), (first, 128), (second, 16)]);
    assert!(bench.host.cancel(color, bench.now));
    assert!(!bench.host.cancel(color, bench.now), "it is back");
    assert_eq!(bench.host.completed().unwrap().status, Err(Fault::Cancelled));
}

#[test]
fn a_cancelled_isochronous_transfer_comes_back_with_all_its_packets() {
    let mut bench = Bench::new("whole-frame");
    bench.start();
    let ids = [bench.submit_iso().unwrap(), bench.submit_iso().unwrap()];
    bench.host.advance(bench.now + Duration::from_micros(3 * INTERVAL_US));
    assert!(bench.host.cancel(ids[0], bench.now));
    let transfer = bench.host.completed().unwrap();
    assert_eq!((transfer.id, transfer.status), (ids[0], Err(Fault::Cancelled)));
    assert_eq!(transfer.packets[..3], [(PACKET_BYTES, Ok(())); 3]);
    assert_eq!(transfer.packets[3..], [(0, Err(Fault::Missed)); 5]);
    assert_eq!(bench.host.completed(), None);
    assert_eq!(bench.host.pending(), 1);
}

#[test]
fn a_control_request_can_be_a_transfer_and_changes_the_setting_too() {
    let mut bench = Bench::new("");
    let setup = Setup { request_type: 1, request: 11, value: 1, index: 1, length: 0 };
    bench.control(setup).unwrap();
    bench.submit_iso().unwrap();
    bench.control(Setup { value: 0, ..setup }).unwrap();
    assert_eq!(bench.host.pending(), 0, "it was cancelled");
    let setup = Setup { request_type: 0x80, request: 6, value: 0x0100, index: 0, length: 64 };
    let id = bench.transfer(|transfer, id| transfer.prepare_control(id, setup)).unwrap();
    let transfer = bench.wait(id).unwrap();
    assert_eq!(transfer.received(), bench.host.device().device_descriptor());
}

#[test]
fn a_reset_makes_the_sensor_fresh() {
    let mut bench = Bench::streamed("", 0.1);
    bench.send(Command::Status).unwrap();
    bench.packets.clear();
    bench.host.reset(bench.now).unwrap();
    let ends: Vec<Transfer> = std::iter::from_fn(|| bench.host.completed()).collect();
    assert_eq!(ends.iter().filter(|transfer| transfer.status == Err(Fault::Cancelled)).count(), TRANSFERS);
    assert_eq!(bench.host.device().alternate(1), 0);
    assert_eq!(bench.read(16), None, "the reply is gone");
    bench.start();
    bench.submit_all();
    bench.stream(Duration::from_millis(100));
    assert!(bench.frames().len() > 1);
    assert_eq!(bench.host.counters().resets, 1);
}

#[test]
fn unplugging_ends_everything_with_gone() {
    let mut bench = Bench::streamed("", 0.1);
    let read = bench.transfer(|transfer, id| transfer.prepare_bulk(id, REPLY_IN, 16)).unwrap();
    bench.host.claim(0, bench.now).unwrap();
    bench.host.unplug(bench.now);
    let ends: Vec<Transfer> = std::iter::from_fn(|| bench.host.completed()).collect();
    assert!(ends.iter().any(|transfer| transfer.id == read));
    assert_eq!(ends.iter().filter(|transfer| transfer.status == Err(Fault::Gone)).count(), TRANSFERS + 1);
    assert_eq!(bench.submit_iso(), Err(Fault::Gone));
    assert_eq!(bench.host.claim(1, bench.now), Err(Fault::Gone));
    assert_eq!(bench.host.reset(bench.now), Err(Fault::Gone));
    assert_eq!(bench.host.set_interface(1, 1, bench.now), Err(Fault::Gone));
    bench.host.plug(bench.now);
    assert_eq!(bench.host.counters().plugs, 2);
    assert_eq!(bench.host.claim(0, bench.now), Ok(()), "nobody has it any more");
    bench.start();
}

#[test]
fn the_command_to_shut_down_makes_it_leave_and_come_back() {
    let mut bench = Bench::new("");
    let words = [0x0602_2009_u32, 0, 0, 0, 0].map(u32::to_le_bytes);
    let id = bench.transfer(|transfer, id| {
        transfer.prepare_bulk(id, COMMAND_OUT, 20);
        transfer.buffer.copy_from_slice(words.as_flattened());
    });
    assert_eq!(bench.wait(id.unwrap()).unwrap().status, Ok(()));
    assert!(!bench.host.is_plugged());
    assert_eq!(bench.host.due(), Some(Duration::from_secs(3)));
    bench.host.advance(Duration::from_secs(3));
    assert!(bench.host.is_plugged());
}

// Each fault, as it shows at the wire.

fn share(of: usize, all: usize) -> f64 {
    of as f64 / all as f64
}

#[test]
fn fault_loss_leaves_intervals_empty_without_an_error() {
    let bench = Bench::streamed("whole-frame seed=3 loss=0.1", 1.0);
    assert!(bench.packets.iter().all(|(_, status)| status.is_ok()));
    let full = bench.lengths().iter().filter(|bytes| **bytes == PACKET_BYTES).count();
    assert!((0.85..0.95).contains(&share(full, 2_400)), "{full} full packets of 2,400");
    assert!(bench.lengths().iter().filter(|bytes| **bytes == LAST_PACKET_BYTES).count() >= 299);
    assert!(bench.host.counters().faults > 100);
    let again = Bench::streamed("whole-frame seed=3 loss=0.1", 1.0);
    assert_eq!(bench.lengths(), again.lengths(), "the same again");
}

#[test]
fn fault_missed_says_that_the_host_came_too_late() {
    let bench = Bench::streamed("missed=0.1", 0.5);
    let missed: Vec<_> = bench.packets.iter().filter(|(_, status)| *status == Err(Fault::Missed)).collect();
    assert!(!missed.is_empty() && missed.iter().all(|(bytes, _)| bytes.is_empty()));
}

#[test]
fn fault_packet_error_brings_a_part_of_a_packet_and_the_next_at_its_place() {
    let bench = Bench::streamed("whole-frame packet-error=0.2", 0.1);
    let clean = Bench::streamed("whole-frame", 0.1);
    let mut bad = 0;
    for ((bytes, status), (sent, _)) in bench.packets.iter().zip(&clean.packets) {
        if status.is_ok() {
            assert!(bytes == sent);
        } else {
            bad += 1;
            assert_eq!(*status, Err(Fault::Error));
            assert!(bytes.len() < sent.len() && bytes.len() % 1024 == 0 && sent.starts_with(bytes));
        }
    }
    assert!(bad > 10, "{bad}");
}

#[test]
fn fault_narrow_cuts_every_packet() {
    let bench = Bench::streamed("narrow", 0.1);
    assert!(bench.lengths().iter().all(|bytes| [0, 11_264].contains(bytes)));
    assert!(bench.lengths().contains(&11_264));
}

#[test]
fn fault_lost_separators_sends_sub_images_back_to_back() {
    let bench = Bench::streamed("whole-frame lost-separators", 0.05);
    assert!(bench.lengths()[..90].iter().all(|bytes| *bytes > 0));
    assert!(bench.lengths()[90..266].iter().all(|bytes| *bytes == 0));
    assert!(bench.frames()[0].1[..] == bench.host.device().frame_of(0)[..]);
}

#[test]
fn fault_short_missing_takes_the_footer_away() {
    let bench = Bench::streamed("short-missing~0.5", 0.5);
    let found = bench.footers().len();
    assert!((50..100).contains(&found), "{found} footers of 150");
    assert_eq!(Bench::streamed("short-missing", 0.2).footers(), []);
}

#[test]
fn faults_of_the_footer_change_one_field() {
    for number in [10, 255] {
        let footers = Bench::streamed(&format!("subsequence={number}~0.2"), 0.5).footers();
        let wrong = footers.iter().filter(|footer| footer.subsequence == number).count();
        assert!((15..50).contains(&wrong), "{wrong}");
        assert!(footers.iter().all(|footer| footer.subsequence < 10 || footer.subsequence == number));
    }
    let footers = Bench::streamed("footer-length=7~0.2", 0.5).footers();
    assert!(footers.iter().any(|footer| footer.length == 7));
    assert!(footers.iter().any(|footer| footer.length == 298_496));
    let footers = Bench::streamed("footer-magic", 0.1).footers();
    assert!(!footers.is_empty() && footers.iter().all(|footer| footer.magic != Footer::MAGIC));
}

#[test]
fn fault_wrap_passes_the_highest_sequence_number() {
    let bench = Bench::streamed("whole-frame wrap", 0.6);
    let mut numbers: Vec<u32> = bench.footers().iter().map(|footer| footer.sequence).collect();
    numbers.dedup();
    assert_eq!(
        numbers[..12],
        [65_526, 65_527, 65_528, 65_529, 65_530, 65_531, 65_532, 65_533, 65_534, 65_535, 0, 1]
    );
    for (sequence, frame) in bench.frames() {
        assert!(frame[..] == bench.host.device().frame_of(sequence)[..], "{sequence}");
    }
}

#[test]
fn fault_half_frame_begins_with_sub_image_5() {
    let bench = Bench::streamed("half-frame", 0.1);
    assert_eq!(bench.lengths()[0], PACKET_BYTES);
    assert_eq!(bench.footers()[0].subsequence, 5);
    assert_eq!(bench.frames()[0].0, 1, "the half one is none");
}

#[test]
fn fault_silent_ends_with_a_new_start() {
    let mut bench = Bench::streamed("silent@0.2", 0.5);
    let last = bench.lengths().iter().rposition(|bytes| *bytes > 0).unwrap() as u64;
    assert!(last * INTERVAL_US < 200_000);
    assert_eq!(bench.packets.len(), 4_000, "transfers come all the same");
    bench.host.set_interface(1, 0, bench.now).unwrap();
    while bench.host.completed().is_some() {}
    bench.packets.clear();
    bench.start();
    bench.submit_all();
    bench.stream(Duration::from_millis(100));
    assert!(bench.frames().len() > 1);
    let bench = Bench::streamed("silent@0.1+0.1", 0.4);
    assert!(bench.lengths()[1_600..].iter().any(|bytes| *bytes > 0), "or by itself, if it has an end");
}

#[test]
fn fault_unplug_takes_the_sensor_away_and_brings_it_back() {
    let mut bench = Bench::streamed("unplug@0.1+0.2", 0.15);
    assert_eq!(bench.ended.iter().filter(|fault| **fault == Fault::Gone).count(), TRANSFERS);
    assert!(!bench.host.is_plugged());
    assert_eq!(bench.host.due(), Some(Duration::from_millis(300)));
    assert_eq!(bench.submit_iso(), Err(Fault::Gone));
    bench.host.plug(bench.now);
    assert!(!bench.host.is_plugged(), "the fault has the last word");
    bench.now = Duration::from_millis(300);
    bench.host.advance(bench.now);
    assert!(bench.host.is_plugged());
    assert_eq!(bench.host.counters().plugs, 2);
    bench.start();
    assert!(
        !Host::new(Options { faults: "unplug@0+1".parse().unwrap(), ..Options::noise(1, 1) }, Pace::RealTime)
            .is_plugged()
    );
}

#[test]
fn fault_wedge_ends_with_a_reset() {
    let mut bench = Bench::streamed("wedge@0.1+10", 0.5);
    let packets = bench.packets.len() as u64;
    assert!(packets * INTERVAL_US <= 100_000, "nothing completes");
    assert_eq!(bench.send(Command::Status), Err(Fault::Cancelled), "nor is a command taken");
    assert_eq!(bench.host.control(Setup::U1_ENABLE, &mut [], bench.now), Err(Fault::Error));
    bench.host.reset(bench.now).unwrap();
    while bench.host.completed().is_some() {}
    bench.packets.clear();
    bench.start();
    bench.submit_all();
    bench.stream(Duration::from_millis(100));
    assert!(bench.frames().len() > 1);

    let bench = Bench::streamed("wedge@0.1+0.2 whole-frame", 0.5);
    assert!(
        (2_392..=2_400).contains(&bench.packets.len()),
        "without a reset it loses what was sent meanwhile"
    );
    let footers = bench.footers();
    let gap = footers.windows(2).map(|pair| pair[1].sequence - pair[0].sequence).max();
    assert!(gap > Some(4), "{gap:?}");
}

#[test]
fn faults_that_are_given_later_count_from_then_and_end_when_others_are_given() {
    let mut bench = Bench::streamed("", 0.2);
    let streams = |bench: &mut Bench| {
        bench.packets.clear();
        bench.stream(Duration::from_millis(100));
        bench.lengths().iter().any(|bytes| *bytes > 0)
    };
    let give = |bench: &mut Bench, faults: &str| bench.host.set_faults(faults.parse().unwrap(), bench.now);
    for _ in 0..2 {
        give(&mut bench, "silent@0.1");
        assert!(streams(&mut bench) && !streams(&mut bench));
        assert!(!streams(&mut bench));
        bench.host.set_interface(1, 0, bench.now).unwrap();
        while bench.host.completed().is_some() {}
        bench.start();
        bench.submit_all();
        assert!(streams(&mut bench), "what a new stream outlived comes again only when it is given again");
    }
    for _ in 0..2 {
        give(&mut bench, "wedge");
        assert!(!streams(&mut bench));
        bench.host.reset(bench.now).unwrap();
        while bench.host.completed().is_some() {}
        bench.start();
        bench.submit_all();
        assert!(streams(&mut bench), "and what a reset ended");
    }
    give(&mut bench, "unplug");
    assert!(!bench.host.is_plugged());
    give(&mut bench, "stale-reply=4000 usb2");
    assert!(bench.host.is_plugged());
    assert_eq!(bench.host.speed(), Speed::High);
    bench.host.reset(bench.now).unwrap();
    while bench.host.completed().is_some() {}
    give(&mut bench, "");
    assert!(!bench.host.is_plugged(), "another link is another plug");
    bench.now += REENUMERATION;
    bench.host.advance(bench.now);
    assert!(bench.host.is_plugged());
    assert_eq!((bench.host.speed(), bench.host.counters().plugs), (Speed::Super, 3));
    bench.start();
}

fn status(bench: &mut Bench) -> u32 {
    u32::from_le_bytes(bench.ask(Command::Status).try_into().unwrap())
}

#[test]
fn faults_of_the_status_keep_it_from_starting() {
    let mut bench = Bench::new("never-ready");
    assert!((0..60).all(|_| status(&mut bench) == 0x2200));
    let mut bench = Bench::new("stuck@0+5");
    assert!((0..60).all(|_| status(&mut bench) == 0x0400));
    bench.now = Duration::from_secs(5);
    assert_eq!(status(&mut bench), 0x2601);
    let mut bench = Bench::new("slow-start=10");
    assert_eq!((0..20).filter(|_| status(&mut bench) == 0x2200).count(), 10);
    for faults in ["never-ready", "stuck"] {
        assert!(Bench::streamed(faults, 0.1).lengths().iter().all(|bytes| *bytes == 0));
    }
}

#[test]
fn fault_slow_replies_comes_later() {
    let mut bench = Bench::new("slow-replies=200ms");
    bench.send(Command::Serial).unwrap();
    assert_eq!(bench.now, Duration::ZERO);
    assert_eq!(bench.read(128).unwrap().unwrap().len(), 128);
    assert_eq!(bench.now, Duration::from_millis(200));
    assert_eq!(bench.completion(), Some(0));
}

#[test]
fn fault_no_reply_leaves_reads_waiting() {
    let mut bench = Bench::new("no-reply@0+1.5");
    bench.send(Command::Serial).unwrap();
    assert_eq!(bench.read(128), None);
    bench.now = Duration::from_secs(2);
    assert_eq!(bench.ask(Command::Serial).len(), 128);
}

#[test]
fn fault_no_data_brings_a_completion_instead() {
    let mut bench = Bench::new("no-data");
    bench.send(Command::Serial).unwrap();
    assert_eq!(bench.read(128).unwrap().unwrap().len(), 16);
    assert_eq!(bench.read(16), None);
}

#[test]
fn fault_short_reply_cuts_the_data_in_half() {
    let mut bench = Bench::new("short-reply");
    assert_eq!(bench.ask(Command::Serial).len(), 64);
}

#[test]
fn fault_completion_first_changes_the_order() {
    let mut bench = Bench::new("completion-first");
    bench.send(Command::Serial).unwrap();
    assert_eq!(Completion::from_bytes(&bench.read(128).unwrap().unwrap()).unwrap().sequence, 0);
    assert_eq!(bench.read(128).unwrap().unwrap().len(), 128);
}

#[test]
fn fault_wrong_sequence_completes_another_command() {
    let mut bench = Bench::new("wrong-sequence");
    bench.send(Command::Stop).unwrap();
    assert_eq!(bench.completion(), Some(1000));
}

#[test]
fn fault_stale_completion_comes_before_the_answer() {
    let mut bench = Bench::new("stale-completion");
    bench.sequence = 8;
    bench.send(Command::Serial).unwrap();
    assert_eq!(bench.completion(), Some(7));
    assert_eq!(bench.read(128).unwrap().unwrap().len(), 128);
    assert_eq!(bench.completion(), Some(8));
}

#[test]
fn fault_stale_reply_waits_after_plugging_in_and_after_a_reset() {
    let mut bench = Bench::new("stale-reply=1830912");
    for _ in 0..2 {
        assert_eq!(bench.read(2 << 20).unwrap().unwrap().len(), 1_830_912);
        assert!(bench.completion().is_some());
        assert_eq!(bench.read(16), None);
        bench.host.reset(bench.now).unwrap();
    }
}

#[test]
fn fault_stall_halts_until_it_is_cleared() {
    let mut bench = Bench::new("stall@0+1");
    assert_eq!(bench.send(Command::Stop), Err(Fault::Stall));
    bench.now = Duration::from_secs(2);
    assert_eq!(bench.send(Command::Stop), Err(Fault::Stall));
    bench.host.clear_halt(COMMAND_OUT, bench.now).unwrap();
    bench.ask(Command::Stop);
}

#[test]
fn fault_reply_stall_keeps_the_reply_for_who_clears_the_halt() {
    let mut bench = Bench::new("reply-stall");
    bench.send(Command::Serial).unwrap();
    assert_eq!(bench.read(128), Some(Err(Fault::Stall)));
    bench.host.clear_halt(REPLY_IN, bench.now).unwrap();
    assert_eq!(bench.read(128).unwrap().unwrap().len(), 128);
    assert_eq!(bench.completion(), Some(0));
}

#[test]
fn fault_submit_nomem_refuses_one_transfer_or_all_of_a_time() {
    let mut bench = Bench::new("submit-nomem=17");
    bench.host.set_interface(1, 1, bench.now).unwrap();
    let refused: Vec<usize> = (1..=60).filter(|_| bench.submit_iso() == Err(Fault::NoMemory)).collect();
    assert_eq!(refused, [17]);
    let mut bench = Bench::new("submit-nomem@0+1");
    bench.host.set_interface(1, 1, bench.now).unwrap();
    assert!((0..60).all(|_| bench.submit_iso() == Err(Fault::NoMemory)));
    bench.now = Duration::from_secs(1);
    assert!(bench.submit_iso().is_ok());
}

#[test]
fn fault_no_bandwidth_refuses_setting_1() {
    let mut bench = Bench::new("no-bandwidth@0+1");
    assert_eq!(bench.host.set_interface(1, 1, bench.now), Err(Fault::NoBandwidth));
    assert_eq!(bench.host.set_interface(1, 0, bench.now), Ok(()));
    bench.now = Duration::from_secs(1);
    assert_eq!(bench.host.set_interface(1, 1, bench.now), Ok(()));
}

#[test]
fn fault_reset_not_found_makes_another_device_of_it() {
    let mut bench = Bench::new("reset-not-found");
    assert_eq!(bench.host.reset(bench.now), Err(Fault::NotFound));
    assert!(!bench.host.is_plugged());
    bench.now = bench.host.due().unwrap();
    bench.host.advance(bench.now);
    assert!(bench.host.is_plugged());
    assert_eq!(bench.host.counters().plugs, 2);
    assert_eq!(bench.host.reset(bench.now), Ok(()), "once");
}

#[test]
fn fault_cancel_delay_keeps_cancelled_transfers() {
    let mut bench = Bench::new("cancel-delay=50ms");
    let id = bench.transfer(|transfer, id| transfer.prepare_bulk(id, REPLY_IN, 16)).unwrap();
    assert!(bench.host.cancel(id, bench.now));
    assert_eq!((bench.host.completed(), bench.host.pending()), (None, 1));
    assert_eq!(bench.host.due(), Some(Duration::from_millis(50)));
    assert_eq!(bench.wait(id).unwrap().status, Err(Fault::Cancelled));
    assert_eq!(bench.now, Duration::from_millis(50));
}

#[test]
fn fault_usb2_shows_in_the_speed() {
    let mut bench = Bench::new("usb2");
    assert_eq!(bench.host.speed(), Speed::High);
    assert_eq!(bench.control(Setup::ISOCH_DELAY), Ok(()));
    assert_eq!(bench.control(Setup::U1_ENABLE), Err(Fault::Stall));
}

// Whatever a program does.

#[derive(Clone, Debug)]
enum Step {
    Control(Setup),
    Bulk(u8, Vec<u8>),
    Command(u32, u32),
    Iso(Vec<usize>),
    /// The last but so many.
    Cancel(u64),
    Pass(u64),
    Setting(u8, u8),
    Reset,
    Unplug,
    Plug,
    Claim(u8),
    Release(u8),
    Start,
    Faults(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let endpoint = prop_oneof![Just(0x02), Just(0x81), Just(0x82), Just(0x83), Just(0x84), any::<u8>()];
    let setup = (prop_oneof![0..3_u8, 0x80..0x83_u8, any::<u8>()], 0..13_u8, any::<[u8; 6]>());
    let setup = setup.prop_map(|(request_type, request, [v0, v1, i0, i1, l0, l1])| {
        Setup::from_bytes([request_type, request, v0 % 64, v1 % 16, i0 % 4, i1 % 4, l0, l1 % 2])
    });
    let rooms = prop_oneof![
        Just(vec![PACKET_BYTES; 8]),
        proptest::collection::vec(prop_oneof![Just(PACKET_BYTES), 0..PACKET_BYTES], 0..12)
    ];
    let bulk = (endpoint, proptest::collection::vec(any::<u8>(), 0..64));
    prop_oneof![
        2 => setup.prop_map(Step::Control),
        4 => bulk.prop_map(|(to, bytes)| Step::Bulk(to, bytes)),
        2 => (0..0x50_u32, 0..6_u32).prop_map(|(opcode, parameter)| Step::Command(opcode, parameter)),
        12 => rooms.prop_map(Step::Iso),
        8 => (0..10_u64).prop_map(Step::Cancel),
        8 => (0..3_000_u64).prop_map(Step::Pass),
        1 => (0..5_u8, 0..3_u8).prop_map(|(interface, alternate)| Step::Setting(interface, alternate)),
        1 => Just(Step::Reset),
        1 => Just(Step::Unplug),
        3 => Just(Step::Plug),
        1 => (0..5_u8).prop_map(Step::Claim),
        1 => (0..5_u8).prop_map(Step::Release),
        6 => Just(Step::Start),
        2 => (0..LATER.len()).prop_map(Step::Faults),
    ]
}

/// Faults that are given while it runs.
const LATER: [&str; 8] =
    ["", "unplug", "usb2", "wedge@0.01", "silent", "stale-reply=900", "cancel-delay=9ms", "loss=0.5"];

/// Whatever happens, each transfer that was taken comes back once, whole, and the time that is due is never so far
/// back that nothing is done.
fn every_transfer_comes_back(faults: &str, pace: Pace, steps: &[Step]) {
    let mut bench = Bench::of(faults, 1, pace);
    let mut taken = Vec::new();
    let mut back = Vec::new();
    for step in steps {
        let now = bench.now;
        let submitted = match step {
            Step::Control(setup) => bench.transfer(|transfer, id| transfer.prepare_control(id, *setup)),
            Step::Bulk(endpoint, bytes) => bench.transfer(|transfer, id| {
                transfer.prepare_bulk(id, *endpoint, bytes.len());
                transfer.buffer.copy_from_slice(bytes);
            }),
            Step::Command(opcode, parameter) => bench.transfer(|transfer, id| {
                let words = [0x0602_2009, 0, 1 << 21, *opcode, 0, *parameter].map(u32::to_le_bytes);
                transfer.prepare_bulk(id, COMMAND_OUT, 24);
                transfer.buffer.copy_from_slice(words.as_flattened());
            }),
            Step::Iso(lengths) => {
                bench.transfer(|transfer, id| transfer.prepare_iso(id, DEPTH_IN, lengths.iter().copied()))
            }
            other => {
                match *other {
                    Step::Cancel(last) => {
                        let _ = bench.host.cancel(bench.id.saturating_sub(last), now);
                    }
                    Step::Pass(micros) => bench.now += Duration::from_micros(micros),
                    Step::Setting(interface, alternate) => {
                        let _ = bench.host.set_interface(interface, alternate, now);
                    }
                    Step::Reset => {
                        let _ = bench.host.reset(now);
                    }
                    Step::Unplug => bench.host.unplug(now),
                    Step::Plug => bench.host.plug(now),
                    Step::Claim(interface) => {
                        let _ = bench.host.claim(interface, now);
                    }
                    Step::Release(interface) => {
                        let _ = bench.host.release(interface, now);
                    }
                    Step::Faults(at) => bench.host.set_faults(LATER[at].parse().unwrap(), now),
                    _ => {
                        for request in [0x16_u32; 5].into_iter().chain([0x09, 0x2B]) {
                            let parameter = if request == 0x16 { 0x0009_0000 } else { 1 };
                            let words = [0x0602_2009, 0, 4, request, 0, parameter].map(u32::to_le_bytes);
                            if request == 0x2B {
                                let _ = bench.host.set_interface(1, 1, now);
                            }
                            let sent = bench.transfer(|transfer, id| {
                                transfer.prepare_bulk(id, COMMAND_OUT, 24);
                                transfer.buffer.copy_from_slice(words.as_flattened());
                            });
                            taken.extend(sent);
                        }
                    }
                }
                bench.host.advance(bench.now);
                Err(Fault::Invalid)
            }
        };
        taken.extend(submitted);
        back.extend(std::iter::from_fn(|| bench.host.completed()));
        assert!(bench.host.due().is_none_or(|due| due > bench.now), "{step:?} leaves something undone");
    }
    bench.host.unplug(bench.now);
    back.extend(std::iter::from_fn(|| bench.host.completed()));
    assert_eq!(bench.host.pending(), 0);
    for transfer in &back {
        match &transfer.kind {
            Kind::Iso { packet_lengths } => {
                assert_eq!(transfer.packets.len(), packet_lengths.len());
                assert_eq!(transfer.packets.iter().map(|(actual, _)| actual).sum::<usize>(), transfer.actual);
                assert!(
                    transfer.packets.iter().zip(packet_lengths).all(|((actual, _), room)| actual <= room)
                );
            }
            Kind::Control(_) | Kind::Bulk => assert!(transfer.actual <= transfer.buffer.len()),
        }
    }
    let mut ids: Vec<u64> = back.iter().map(|transfer| transfer.id).collect();
    ids.sort_unstable();
    taken.sort_unstable();
    assert_eq!(ids, taken);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_transfer_comes_back_once(steps in proptest::collection::vec(step(), 0..60)) {
        let faults = "loss=0.1 packet-error=0.1 subsequence=10~0.5 unplug@0.1+0.02/0.2 wedge@0.15+0.01/0.07 \
                      cancel-delay=5ms slow-replies=3ms@0+0.05 stall~0.1 reply-stall~0.1 reset-not-found=2 \
                      submit-nomem=3";
        for faults in ["", faults] {
            for pace in [Pace::RealTime, Pace::Demand] {
                every_transfer_comes_back(faults, pace, &steps);
            }
        }
    }
}
