//! A stream that runs allocates nothing: transfers go round.

use kinect2::protocol::{Command, DEPTH_IN, PACKET_BYTES, REPLY_IN};
use kinect2_sim::device::Options;
use kinect2_sim::host::{Host, Pace, Transfer};
use std::time::Duration;

use counting::allocations;

#[path = "../../kinect2/tests/counting/mod.rs"]
mod counting;

fn ask(host: &mut Host, command: Command) {
    let (bytes, length) = command.to_bytes(0);
    let mut transfer = Transfer::default();
    transfer.prepare_bulk(1, 0x02, length);
    transfer.buffer.copy_from_slice(&bytes[..length]);
    host.submit(transfer, Duration::ZERO).unwrap();
    for room in [command.reply_max(), 16].into_iter().filter(|room| *room > 0) {
        let mut transfer = Transfer::default();
        transfer.prepare_bulk(2, REPLY_IN, room);
        host.submit(transfer, Duration::ZERO).unwrap();
    }
    while let Some(transfer) = host.completed() {
        transfer.status.unwrap();
    }
}

/// The only test of this file: another thread's allocations would be counted.
#[test]
fn a_stream_costs_no_allocation() {
    let faults = "seed=1 loss=0.01 packet-error=0.01 subsequence=10~0.1".parse().unwrap();
    let mut host = Host::new(Options { faults, ..Options::noise(1, 1) }, Pace::RealTime);
    for _ in 0..4 {
        ask(&mut host, Command::Status);
    }
    ask(&mut host, Command::InitStreams);
    host.set_interface(1, 1, Duration::ZERO).unwrap();
    ask(&mut host, Command::Streaming(true));
    for id in 0..60 {
        let mut transfer = Transfer::default();
        transfer.prepare_iso(id, DEPTH_IN, [PACKET_BYTES; 8]);
        host.submit(transfer, Duration::ZERO).unwrap();
    }
    let (mut before, mut data) = (0, 0);
    for millisecond in 1..=1_000 {
        let now = Duration::from_millis(millisecond);
        host.advance(now);
        while let Some(mut transfer) = host.completed() {
            data += transfer.actual;
            transfer.prepare_iso(transfer.id, DEPTH_IN, [PACKET_BYTES; 8]);
            host.submit(transfer, now).unwrap();
        }
        if millisecond == 100 {
            before = allocations();
        }
    }
    assert_eq!(allocations() - before, 0);
    assert!(data > 80_000_000, "{data} bytes in a second");
}
