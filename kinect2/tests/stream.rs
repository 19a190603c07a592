//! Frames cut into packets and parsed again are the frames, to the bit.
//!
//! The frames lie in `../shared/data/oracle` from the workspace's root, or below the folder that `DEPTHCAST_DATA` names;
//! where they are missing the tests say so and pass.

use kinect2::depth::{
    Decoder, FRAME_BYTES, Intrinsics, Kernel, PIXELS, SUB_IMAGE_BYTES, SUB_IMAGES, Settings, Tables,
};
use kinect2::protocol::{FOOTER_BYTES, Footer, LAST_PACKET_BYTES, PACKET_BYTES};
use kinect2::stream::{FrameInfo, PacketStatus, Stream, Target};
use std::path::PathBuf;
use std::time::Duration;

const FRAMES: [&str; 4] = ["00_clean", "01_scene", "02_saturated", "05_mixed_edges"];

fn folder() -> Option<PathBuf> {
    let data = std::env::var_os("DEPTHCAST_DATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let folder = data.join("oracle");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED: no oracle frames in {} (DEPTHCAST_DATA can name another folder)", folder.display());
    None
}

fn tables(folder: &std::path::Path) -> Tables {
    let lens = std::fs::read(folder.join("ir_params.f32")).unwrap();
    let p: Vec<f32> = lens.chunks_exact(4).map(|x| f32::from_le_bytes(x.try_into().unwrap())).collect();
    let lens = Intrinsics {
        fx: p[0],
        fy: p[1],
        cx: p[2],
        cy: p[3],
        k1: p[4],
        k2: p[5],
        k3: p[6],
        p1: p[7],
        p2: p[8],
    };
    Tables::from_p0_reply(&std::fs::read(folder.join("p0tables_response.bin")).unwrap(), &lens).unwrap()
}

/// The packets of a frame, with its pauses, as a sensor sends them.
fn packets(raw: &[u8], sequence: u32) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for (sub_image, rows) in (0..).zip(raw.chunks_exact(SUB_IMAGE_BYTES)) {
        let footer = Footer::new(sequence * 267, sequence, sub_image).to_bytes();
        let bytes = [rows, &footer].concat();
        packets.extend(bytes.chunks(PACKET_BYTES).map(<[u8]>::to_vec));
        packets.extend([const { Vec::new() }; 3]);
    }
    packets.resize(266, Vec::new());
    packets
}

#[test]
fn packets_are_cut_as_a_sensor_cuts_them() {
    let packets = packets(&vec![1; FRAME_BYTES], 0);
    let lengths: Vec<usize> = packets[..12].iter().map(Vec::len).collect();
    assert_eq!(lengths[..8], [PACKET_BYTES; 8]);
    assert_eq!(lengths[8..], [LAST_PACKET_BYTES, 0, 0, 0]);
    assert_eq!(packets.iter().map(Vec::len).sum::<usize>(), FRAME_BYTES + SUB_IMAGES * FOOTER_BYTES);
}

#[test]
fn a_raw_frame_comes_out_as_it_went_in() {
    let Some(folder) = folder() else { return };
    let mut stream = Stream::new();
    let mut target = Target::raw();
    for (sequence, name) in (65_534..).zip(FRAMES) {
        let raw = std::fs::read(folder.join(format!("{name}.raw"))).unwrap();
        let mut complete = 0;
        for (interval, bytes) in (0..).zip(packets(&raw, sequence % 65_536)) {
            let now = Duration::from_micros(interval * 125);
            if let Some(info) = stream.packet(now, PacketStatus::Good, &bytes, &mut target) {
                let sequence = sequence % 65_536;
                let expected =
                    FrameInfo { sequence, timestamp: sequence * 267, first_packet: Duration::ZERO };
                assert_eq!(info, expected);
                assert_eq!(interval, 9 * 12 + 8);
                complete += 1;
            }
        }
        assert_eq!(complete, 1, "{name}");
        let Target::Raw(bytes) = &target else { unreachable!() };
        assert!(**bytes == *raw, "{name}");
    }
    assert_eq!((stream.counters().frames_complete, stream.counters().lost_packets), (4, 0));
}

#[test]
fn depth_from_packets_equals_depth_from_the_whole_frame() {
    let Some(folder) = folder() else { return };
    let tables = tables(&folder);
    for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.is_available()) {
        let mut whole = Decoder::with_kernel(&tables, Settings::default(), kernel).unwrap();
        let mut stream = Stream::new();
        let mut target =
            Target::Decode(Box::new(Decoder::with_kernel(&tables, Settings::default(), kernel).unwrap()));
        let (mut depth, mut infrared) = (vec![0; PIXELS], vec![0; PIXELS]);
        let (mut expected_depth, mut expected_infrared) = (vec![0; PIXELS], vec![0; PIXELS]);
        for (sequence, name) in (0..).zip(FRAMES) {
            let raw = std::fs::read(folder.join(format!("{name}.raw"))).unwrap();
            whole.decode(&raw, &mut expected_depth, Some(&mut expected_infrared)).unwrap();
            depth.fill(0xBEEF);
            let mut complete = None;
            for (interval, bytes) in packets(&raw, sequence).into_iter().enumerate() {
                if stream.packet(Duration::ZERO, PacketStatus::Good, &bytes, &mut target).is_some() {
                    complete = Some(interval);
                }
            }
            // Sub-image 9 and the pause have passed: the decoder still holds the frame.
            let Target::Decode(decoder) = &mut target else { unreachable!() };
            decoder.finish(&mut depth, Some(&mut infrared)).unwrap();
            assert_eq!(complete, Some(8 * 12 + 8), "{name} {kernel:?}");
            assert!(depth == expected_depth && infrared == expected_infrared, "{name} {kernel:?}");
        }
    }
}

/// A frame that was begun and dropped leaves nothing behind in the decoder.
#[test]
fn depth_after_a_dropped_frame_is_that_of_its_own_packets() {
    let Some(folder) = folder() else { return };
    let tables = tables(&folder);
    let decoder = || Decoder::new(&tables, Settings::default()).unwrap();
    let read = |name| std::fs::read(folder.join(format!("{name}.raw"))).unwrap();
    let (bad, good) = (read("02_saturated"), read("01_scene"));
    let mut expected = vec![0; PIXELS];
    decoder().decode(&good, &mut expected, None).unwrap();

    for lost in [0, 5, 8, 50, 8 * 12, 8 * 12 + 8] {
        let mut stream = Stream::new();
        let mut target = Target::Decode(Box::new(decoder()));
        for (interval, bytes) in packets(&bad, 1).into_iter().enumerate() {
            let status = if interval == lost { PacketStatus::Bad } else { PacketStatus::Good };
            assert_eq!(stream.packet(Duration::ZERO, status, &bytes, &mut target), None, "{lost}");
        }
        let mut complete = 0;
        for bytes in packets(&good, 2) {
            complete +=
                u32::from(stream.packet(Duration::ZERO, PacketStatus::Good, &bytes, &mut target).is_some());
        }
        assert_eq!(complete, 1, "{lost}");
        let Target::Decode(decoder) = &mut target else { unreachable!() };
        let mut depth = vec![0; PIXELS];
        decoder.finish(&mut depth, None).unwrap();
        assert!(depth == expected, "{lost}");
        assert_eq!((stream.counters().frames_dropped, stream.counters().refused), (1, 0), "{lost}");
    }
}
