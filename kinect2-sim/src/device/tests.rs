//! Descriptors byte by byte, and requests as an operating system makes them.

use super::*;
use kinect2::depth::{Decoder, Intrinsics, PIXELS, Settings, Tables};
use kinect2::protocol::Command;

const NOW: Duration = Duration::ZERO;

fn device(faults: &str) -> Device {
    Device::new(Options { faults: faults.parse().unwrap(), ..Options::noise(1, 1) })
}

fn get(device: &mut Device, request_type: u8, request: u8, value: u16, index: u16, length: u16) -> Vec<u8> {
    let mut data = vec![0xEE; usize::from(length)];
    let setup = Setup { request_type, request, value, index, length };
    let actual = device.control(setup, &mut data, NOW).unwrap();
    data.truncate(actual);
    data
}

fn set(device: &mut Device, request_type: u8, request: u8, value: u16, index: u16) -> Result<usize, Fault> {
    device.control(Setup { request_type, request, value, index, length: 0 }, &mut [], NOW)
}

#[test]
fn the_device_descriptor_is_that_of_the_sensor() {
    let expected = [18, 1, 0, 3, 0xEF, 2, 1, 9, 0x5E, 0x04, 0xC4, 0x02, 0, 1, 1, 2, 4, 1];
    let mut device = device("");
    assert_eq!(device.device_descriptor(), expected);
    assert_eq!(get(&mut device, 0x80, 6, 0x0100, 0, 64), expected);
    assert_eq!(get(&mut device, 0x80, 6, 0x0100, 0, 8), expected[..8]);
}

#[test]
fn the_configuration_has_the_interfaces_of_the_sensor() {
    let expected: &[&[u8]] = &[
        // Configuration 1: four interfaces, bus-powered, 144 mA.
        &[9, 2, 0, 0, 4, 1, 0, 0x80, 18],
        // Video: interfaces 0 and 1.
        &[8, 11, 0, 2, 0xFF, 0, 0, 0],
        &[9, 4, 0, 0, 4, 0xFF, 0, 0, 0],
        &[7, 5, 0x02, 2, 0, 4, 0],
        &[6, 0x30, 0, 0, 0, 0],
        &[7, 5, 0x81, 2, 0, 4, 0],
        &[6, 0x30, 0, 0, 0, 0],
        &[7, 5, 0x82, 3, 64, 0, 4],
        &[6, 0x30, 0, 0, 64, 0],
        &[7, 5, 0x83, 2, 0, 4, 0],
        &[6, 0x30, 15, 0, 0, 0],
        &[9, 4, 1, 0, 0, 0xFF, 0, 0, 0],
        &[9, 4, 1, 1, 1, 0xFF, 0, 0, 0],
        &[7, 5, 0x84, 5, 0, 4, 1],
        // 11 packets in a burst, 3 bursts, 33,792 bytes.
        &[6, 0x30, 10, 2, 0x00, 0x84],
        // Audio: interfaces 2 and 3.
        &[8, 11, 2, 2, 1, 0, 0, 0],
        &[9, 4, 2, 0, 0, 1, 1, 0, 0],
        &[9, 0x24, 1, 0, 1, 30, 0, 1, 3],
        &[12, 0x24, 2, 1, 5, 2, 0, 4, 0, 0, 0, 0],
        &[9, 0x24, 3, 2, 1, 1, 0, 1, 0],
        &[9, 4, 3, 0, 0, 1, 2, 0, 0],
        &[9, 4, 3, 1, 1, 1, 2, 0, 0],
        &[7, 0x24, 1, 2, 1, 1, 0],
        &[11, 0x24, 2, 1, 4, 4, 32, 1, 0x80, 0x3E, 0],
        &[9, 5, 0x85, 5, 0x10, 0x01, 4, 0, 0],
        &[6, 0x30, 0, 0, 0x10, 0x01],
        &[7, 0x25, 1, 0, 0, 0, 0],
    ];
    let mut expected = expected.concat();
    let length = u16::try_from(expected.len()).unwrap().to_le_bytes();
    expected[2..4].copy_from_slice(&length);
    let mut device = device("");
    assert_eq!(device.config_descriptor(), expected);
    // As a system asks: the head first, then all of it.
    let head = get(&mut device, 0x80, 6, 0x0200, 0, 9);
    assert_eq!(head, expected[..9]);
    assert_eq!(get(&mut device, 0x80, 6, 0x0200, 0, u16::from_le_bytes(length)), expected);
    assert_eq!(get(&mut device, 0x80, 6, 0x0200, 0, 4096), expected);
    assert_eq!(set(&mut device, 0x80, 6, 0x0201, 0), Err(Fault::Stall), "there is one configuration");

    let silent = Device::new(Options { audio: false, ..Options::noise(1, 1) });
    let config = silent.config_descriptor();
    assert_eq!(config[4..], [&[2][..], &expected[5..config.len()]].concat());
    assert!(!config.contains(&0x24), "no audio");
}

#[test]
fn the_object_store_says_super_speed() {
    let expected =
        [&[5, 15, 22, 0, 2][..], &[7, 16, 2, 2, 0, 0, 0], &[10, 16, 3, 0, 0x0C, 0, 3, 10, 0xFF, 0x07]]
            .concat();
    let mut device = device("");
    assert_eq!(get(&mut device, 0x80, 6, 0x0F00, 0, 5), expected[..5]);
    assert_eq!(get(&mut device, 0x80, 6, 0x0F00, 0, 22), expected);
}

#[test]
fn strings_say_who_it_is_and_page_1_says_the_same() {
    let mut device = device("");
    assert_eq!(get(&mut device, 0x80, 6, 0x0300, 0, 255), [4, 3, 9, 4]);
    let text = |bytes: &[u8]| -> String {
        assert_eq!((usize::from(bytes[0]), bytes[1]), (bytes.len(), 3));
        bytes[2..].chunks(2).map(|pair| char::from(pair[0])).collect()
    };
    assert_eq!(text(&get(&mut device, 0x80, 6, 0x0301, 0x0409, 255)), "Microsoft");
    assert_eq!(text(&get(&mut device, 0x80, 6, 0x0302, 0x0409, 255)), "Xbox NUI Sensor");
    let serial = text(&get(&mut device, 0x80, 6, 0x0304, 0x0409, 255));
    assert_eq!(serial, "005697142447");
    assert_eq!(set(&mut device, 0x80, 6, 0x0303, 0x0409), Err(Fault::Stall));
    let page = ask(&mut device, Command::Serial);
    assert_eq!(page.len(), 128);
    assert_eq!(kinect2::driver::serial_from_reply(&page).as_str(), serial);
}

#[test]
fn a_serial_number_is_kept_within_its_bounds() {
    let serial = format!("\u{e9} {}", "1234567890".repeat(10));
    let mut device = Device::new(Options { serial, ..Options::noise(1, 1) });
    assert_eq!(device.serial().len(), 63);
    assert_eq!(get(&mut device, 0x80, 6, 0x0304, 0x0409, 255).len(), 128);
    assert_eq!(ask(&mut device, Command::Serial).len(), 128);
}

#[test]
fn a_usb_2_link_shows_in_descriptors_and_requests() {
    let mut device = device("usb2");
    assert_eq!(device.speed(), Speed::High);
    assert_eq!(device.device_descriptor()[2..8], [0x10, 2, 0xEF, 2, 1, 64]);
    assert!(!device.config_descriptor().windows(2).any(|pair| pair == [6, 0x30]), "no companions");
    assert_eq!(set(&mut device, 0x80, 6, 0x0F00, 0), Err(Fault::Stall));
    assert_eq!(device.control(Setup::ISOCH_DELAY, &mut [], NOW), Ok(0));
    assert_eq!(device.control(Setup::U1_ENABLE, &mut [], NOW), Err(Fault::Stall));
}

#[test]
fn the_requests_of_an_enumeration_are_answered() {
    let mut device = device("");
    assert_eq!(set(&mut device, 0, 5, 17, 0), Ok(0), "SET_ADDRESS");
    let sel = Setup { request_type: 0, request: 0x30, value: 0, index: 0, length: 6 };
    assert_eq!(device.control(sel, &mut [0x55, 0, 0x55, 0, 0, 0], NOW), Ok(6));
    assert_eq!(set(&mut device, 0, 9, 0, 0), Ok(0));
    assert_eq!(get(&mut device, 0x80, 8, 0, 0, 1), [0]);
    assert_eq!(set(&mut device, 1, 11, 1, 1), Err(Fault::Stall), "not configured");
    assert_eq!(set(&mut device, 0, 9, 1, 0), Ok(0));
    assert_eq!(set(&mut device, 0, 9, 2, 0), Err(Fault::Stall));
    assert_eq!(get(&mut device, 0x80, 8, 0, 0, 1), [1]);
    for setup in [Setup::ISOCH_DELAY, Setup::U1_ENABLE, Setup::U2_ENABLE, Setup::SUSPEND, Setup::RESUME] {
        assert_eq!(device.control(setup, &mut [], NOW), Ok(0), "{setup:?}");
    }
    assert_eq!(get(&mut device, 0x80, 0, 0, 0, 2), [0b1100, 0], "U1 and U2 are on");
    assert_eq!(set(&mut device, 0, 1, 48, 0), Ok(0));
    assert_eq!(get(&mut device, 0x80, 0, 0, 0, 2), [0b1000, 0]);
    assert_eq!(get(&mut device, 0x81, 0, 0, 0, 2), [1, 0], "the video function can wake");
    device.control(Setup::SUSPEND, &mut [], NOW).unwrap();
    assert_eq!(get(&mut device, 0x81, 0, 0, 0, 2), [3, 0], "and may");
    assert_eq!(set(&mut device, 1, 11, 1, 1), Ok(0));
    assert_eq!(get(&mut device, 0x81, 10, 0, 1, 1), [1]);
    assert_eq!(set(&mut device, 1, 11, 2, 1), Err(Fault::Stall));
    assert_eq!(set(&mut device, 1, 11, 0, 9), Err(Fault::Stall));
    assert_eq!(set(&mut device, 0x40, 1, 0, 0), Err(Fault::Stall), "there are no vendor requests");
    assert_eq!(set(&mut device, 0xA1, 0x81, 0, 0), Err(Fault::Stall), "nor of the audio class");
}

#[test]
fn a_halt_can_be_set_seen_and_cleared() {
    let mut device = device("");
    assert_eq!(get(&mut device, 0x82, 0, 0, 0x81, 2), [0, 0]);
    assert_eq!(set(&mut device, 2, 3, 0, 0x81), Ok(0));
    assert_eq!(get(&mut device, 0x82, 0, 0, 0x81, 2), [1, 0]);
    assert_eq!(device.bulk_in(&mut [0; 16], NOW), Some(Err(Fault::Stall)));
    assert_eq!(set(&mut device, 2, 1, 0, 0x81), Ok(0));
    assert_eq!(device.bulk_in(&mut [0; 16], NOW), None);
    assert_eq!(set(&mut device, 2, 1, 0, 0x84), Err(Fault::Stall), "not in setting 0");
}

/// Sends a command, takes its data and its completion.
fn ask(device: &mut Device, command: Command) -> Vec<u8> {
    let (bytes, length) = command.to_bytes(7);
    assert_eq!(device.bulk_out(&bytes[..length], NOW), Some(Ok(())));
    let mut data = vec![0; command.reply_max()];
    if !data.is_empty() {
        let actual = device.bulk_in(&mut data, NOW).unwrap().unwrap();
        data.truncate(actual);
    }
    let mut end = [0; 16];
    assert_eq!(device.bulk_in(&mut end, NOW), Some(Ok(16)));
    assert_eq!(Completion::from_bytes(&end), Some(Completion { sequence: 7, rest: [0; 2] }));
    data
}

#[test]
fn every_command_of_libfreenect2_is_answered() {
    let mut device = device("");
    for command in [
        Command::Firmware,
        Command::Hardware,
        Command::Serial,
        Command::P0,
        Command::DepthLens,
        Command::ColorLens,
    ] {
        let reply = ask(&mut device, command);
        assert!(
            (command.reply_min()..=command.reply_max()).contains(&reply.len()),
            "{command}: {}",
            reply.len()
        );
    }
    let firmware = ask(&mut device, Command::Firmware);
    assert_eq!(firmware[48..56], [0, 0, 4, 0, 0x48, 0x0F, 0, 0], "4.0.3912.0");
    assert_eq!(&ask(&mut device, Command::Hardware)[0x48..0x51], b"GKP210.1X");
    let lens = ask(&mut device, Command::DepthLens);
    assert_eq!((lens.len(), Intrinsics::from_reply(&lens)), (92, Ok(Options::noise(1, 1).lens)));
    assert_eq!(ask(&mut device, Command::ColorLens)[..5], [1, 0xD7, 0x2B, 0x87, 0x44], "1081.37");
    assert!(Tables::from_p0_reply(&ask(&mut device, Command::P0), &Options::noise(1, 1).lens).is_ok());
    // Lamp, colour setting, and two that nobody sends.
    for (opcode, data) in [(0x4B_u32, 0_usize), (0x3E, 16), (0x46, 0), (0x47, 16), (0x77, 0)] {
        let words =
            [COMMAND_MAGIC, 3, u32::try_from(data).unwrap(), opcode, 0, 1, 2, 3, 4].map(u32::to_le_bytes);
        assert_eq!(device.bulk_out(words.as_flattened(), NOW), Some(Ok(())));
        let mut room = [0; 16];
        if data > 0 {
            assert_eq!(device.bulk_in(&mut room, NOW), Some(Ok(data)));
        }
        assert_eq!(device.bulk_in(&mut room, NOW), Some(Ok(16)));
        assert_eq!(Completion::from_bytes(&room).unwrap().sequence, 3);
        assert_eq!(device.bulk_in(&mut room, NOW), None);
    }
}

#[test]
fn the_status_goes_from_starting_to_started() {
    let mut device = device("");
    let status = |device: &mut Device| {
        kinect2::driver::status_from_reply(&ask(device, Command::Status)).expect("four bytes")
    };
    for _ in 0..3 {
        assert_eq!(status(&mut device), 0x2200);
    }
    assert_eq!(status(&mut device), 0x2601);
    ask(&mut device, Command::InitStreams);
    assert_eq!(status(&mut device), 0x2601);
    device.set_interface(1, 1).unwrap();
    assert_eq!(status(&mut device), 0x2603);
    ask(&mut device, Command::Stop);
    assert_eq!(status(&mut device), 0x2601);
}

#[test]
fn what_is_no_command_halts_the_endpoint() {
    for bad in [&[][..], &[0; 36], &COMMAND_MAGIC.to_le_bytes()] {
        let mut device = device("");
        assert_eq!(device.bulk_out(bad, NOW), Some(Err(Fault::Stall)));
        let (bytes, length) = Command::Stop.to_bytes(0);
        assert_eq!(device.bulk_out(&bytes[..length], NOW), Some(Err(Fault::Stall)), "still");
        set(&mut device, 2, 1, 0, u16::from(COMMAND_OUT)).unwrap();
        assert_eq!(device.bulk_out(&bytes[..length], NOW), Some(Ok(())));
    }
}

#[test]
fn commands_stall_while_the_function_is_suspended_but_the_lamp_does_not() {
    let mut device = device("");
    device.control(Setup::SUSPEND, &mut [], NOW).unwrap();
    let (bytes, length) = Command::Firmware.to_bytes(0);
    assert_eq!(device.bulk_out(&bytes[..length], NOW), Some(Err(Fault::Stall)));
    let lamp = [COMMAND_MAGIC, 0, 0, 0x4B, 0, 0, 0, 0, 0].map(u32::to_le_bytes);
    assert_eq!(device.bulk_out(lamp.as_flattened(), NOW), Some(Ok(())));
    device.control(Setup::RESUME, &mut [], NOW).unwrap();
    assert_eq!(device.bulk_out(&bytes[..length], NOW), Some(Ok(())), "without clearing a halt");
}

#[test]
fn a_block_longer_than_the_read_overflows_and_is_lost() {
    let mut device = device("");
    let (bytes, length) = Command::Firmware.to_bytes(0);
    device.bulk_out(&bytes[..length], NOW).unwrap().unwrap();
    assert_eq!(device.bulk_in(&mut [0; 511], NOW), Some(Err(Fault::Overflow)));
    assert_eq!(device.bulk_in(&mut [0; 512], NOW), Some(Ok(16)), "the completion");
}

#[test]
fn replies_that_nobody_reads_end_the_taking_of_commands() {
    let mut device = device("");
    let (bytes, length) = Command::Status.to_bytes(0);
    let taken = (0..1000).filter(|_| device.bulk_out(&bytes[..length], NOW).is_some()).count();
    assert_eq!(taken, 32, "two blocks each");
    device.bulk_in(&mut [0; 4], NOW).unwrap().unwrap();
    assert_eq!(device.bulk_out(&bytes[..length], NOW), Some(Ok(())));
}

#[test]
fn frames_begin_every_266_or_267_intervals() {
    let lengths: Vec<u64> = (0..6).map(|frame| frame_start(frame + 1) - frame_start(frame)).collect();
    assert_eq!(lengths, [266, 267, 267, 266, 267, 267]);
    for interval in 0..10_000 {
        let (frame, at) = place(interval);
        assert_eq!(frame_start(frame) + at, interval);
        assert!(at < 267);
    }
}

#[test]
fn the_demo_shows_depth_in_four_different_frames() {
    let options = Options::demo(3);
    let tables = Tables::from_p0_reply(&options.p0, &options.lens).unwrap();
    let mut decoder = Decoder::new(&tables, Settings::default()).unwrap();
    let device = Device::new(options);
    let mut pictures = Vec::new();
    for number in 0..4 {
        let mut depth = vec![0; PIXELS];
        decoder.decode(device.frame_of(number), &mut depth, None).unwrap();
        let known = depth.iter().filter(|mm| (500..4500).contains(*mm)).count();
        assert!(known > PIXELS / 2, "{known} pixels");
        pictures.push(depth);
    }
    pictures.dedup();
    assert_eq!(pictures.len(), 4);
    assert!(Arc::ptr_eq(device.frame_of(1), device.frame_of(5)));
}

#[test]
fn a_recording_is_what_the_sensor_sees_and_a_bad_frame_is_named() {
    let folder = std::env::temp_dir().join(format!("kinect2-sim-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let recorded = Options::noise(5, 1);
    std::fs::write(folder.join("p0.bin"), &recorded.p0).unwrap();
    std::fs::write(folder.join("ir_params.json"), kinect2::recording::format_lens(&recorded.lens)).unwrap();
    std::fs::write(folder.join("b.depth"), recorded.frames.get(0)).unwrap();
    std::fs::write(folder.join("a.depth"), [0; 7]).unwrap();
    assert!(Options::folder(&folder).unwrap_err().to_string().contains("a.depth: "));
    std::fs::remove_file(folder.join("a.depth")).unwrap();
    let options = Options::folder(&folder).unwrap();
    assert_eq!((options.p0, options.lens, options.frames.len()), (recorded.p0, recorded.lens, 1));
    assert_eq!(options.frames.get(0), recorded.frames.get(0));
    std::fs::remove_dir_all(&folder).unwrap();
}
