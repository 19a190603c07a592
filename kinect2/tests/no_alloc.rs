//! Decoding, and parsing the stream, allocate nothing: tables and buffers are made once.

use kinect2::depth::{Decoder, FRAME_BYTES, Intrinsics, Kernel, PIXELS, ROW_BYTES, Settings, Tables};
use kinect2::protocol::{FOOTER_BYTES, Footer, LAST_PACKET_BYTES, PACKET_BYTES};
use kinect2::stream::{PacketStatus, Stream, Target};
use std::time::Duration;

use counting::allocations;

mod counting;

/// The only test of this file: another thread's allocations would be counted.
#[test]
fn frames_cost_no_allocation() {
    let p0 = vec![11_000_u16; PIXELS];
    let lens = Intrinsics {
        fx: 365.0,
        fy: 365.0,
        cx: 256.0,
        cy: 206.0,
        k1: 0.09,
        k2: -0.27,
        k3: 0.09,
        p1: 0.0,
        p2: 0.0,
    };
    let tables = Tables::from_parts([&p0, &p0, &p0], &lens).unwrap();
    let raw: Vec<u8> = (0..FRAME_BYTES).map(|i| (i * i / 7) as u8).collect();
    let (mut depth, mut infrared) = (vec![0; PIXELS], vec![0; PIXELS]);
    for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.is_available()) {
        let mut decoder = Decoder::with_kernel(&tables, Settings::default(), kernel).unwrap();
        let before = allocations();
        for settings in
            [Settings::default(), Settings { bilateral: false, edge: false, ..Settings::default() }]
        {
            decoder.set(settings).unwrap();
            decoder.decode(&raw, &mut depth, Some(&mut infrared)).unwrap();
            assert!(decoder.rows(0, 0, &raw[..ROW_BYTES]).is_err());
        }
        let after = allocations();
        assert_eq!(after - before, 0, "{kernel:?}");
    }

    let decoder = Decoder::new(&tables, Settings::default()).unwrap();
    for mut target in [Target::Decode(Box::new(decoder)), Target::raw()] {
        let mut stream = Stream::new();
        let mut complete = 0;
        let before = allocations();
        let mut last = [7; LAST_PACKET_BYTES];
        for number in 0..300 {
            let (sequence, sub_image, packet) = (number / 90, number / 9 % 10, number % 9);
            last[LAST_PACKET_BYTES - FOOTER_BYTES..]
                .copy_from_slice(&Footer::new(0, sequence, sub_image).to_bytes());
            let bytes = if packet < 8 { &raw[..PACKET_BYTES] } else { &last };
            // The second frame is spoilt.
            let status = if number == 100 { PacketStatus::Bad } else { PacketStatus::Good };
            complete += u32::from(stream.packet(Duration::ZERO, status, bytes, &mut target).is_some());
        }
        stream.restart();
        let after = allocations();
        assert_eq!((after - before, complete), (0, 2), "{target:?}");
    }
}
