//! Whatever stands in the reply endpoint, a command ends, and well only with its own completion and whole data; what the
//! sensor says of itself is read from any bytes.
#![no_main]

use std::time::Duration;

use kinect2::command::{Ask, Channel, Event, REPLY_KEPT, Verdict};
use kinect2::driver::{Firmware, serial_from_reply, status_from_reply};
use kinect2::protocol::{Command, Completion};

const COMMANDS: [Command; 9] = [
    Command::Firmware,
    Command::Hardware,
    Command::Serial,
    Command::DepthLens,
    Command::Status,
    Command::InitStreams,
    Command::Streaming(true),
    Command::Stop,
    Command::P0,
];

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = (Firmware::from_reply(data).map(|firmware| firmware.to_string()), status_from_reply(data));
    assert!(serial_from_reply(data).as_str().len() <= data.len().div_ceil(2));

    let Some((&choice, mut rest)) = data.split_first() else { return };
    let command = COMMANDS.get(usize::from(choice)).copied();
    let now = Duration::from_secs(1);
    let mut channel = Channel::new();
    let mut sequence = 0;
    match command {
        Some(command) => channel.begin(command, now),
        None => channel.drain(),
    }
    for turn in 0.. {
        // Blocks, one clear of a halt, one more send, and no more.
        assert!(turn < 80, "{command:?} has no end");
        let Some((ask, _)) = channel.want(now) else { panic!("nothing is wanted and nothing said") };
        let reads = matches!(ask, Ask::Receive(_));
        if let Ask::Send(bytes) = ask {
            sequence = u32::from(bytes[4]);
        }
        // What happens next: how, how much, and the bytes of it. With no more of them, nothing comes.
        let (how, length) = match rest {
            [how, length, ..] => (*how, usize::from(*length)),
            _ => (4, 0),
        };
        rest = rest.get(2..).unwrap_or_default();
        let bytes = &rest[..length.min(rest.len())];
        let own = Completion { sequence, rest: [0, 0] }.to_bytes();
        let fit = vec![length as u8; command.map_or(0, Command::reply_min)];
        let event = match how {
            0 if reads => {
                rest = &rest[bytes.len()..];
                Event::Received(bytes)
            }
            1 if reads => Event::Received(&own),
            2 if reads => Event::Received(&fit),
            3 => Event::Stall,
            4 => Event::TimedOut,
            _ if reads => Event::Received(&own[..length.min(own.len())]),
            _ => Event::Well,
        };
        let verdict = channel.event(event, now);
        if verdict == Verdict::Pending {
            continue;
        }
        assert!(channel.is_idle());
        let (Verdict::Complete, Some(command)) = (verdict, command) else { return };
        match event {
            Event::Received(bytes) => {
                assert_eq!(
                    Completion::from_bytes(bytes).map(|completion| completion.sequence),
                    Some(sequence)
                );
            }
            event => panic!("{command:?} is complete by {event:?}"),
        }
        let kept = if command == Command::P0 { channel.p0() } else { channel.reply() };
        let least = if command.reply_max() == 0 { 0 } else { command.reply_min() };
        assert!(kept.len() >= least.min(if command == Command::P0 { usize::MAX } else { REPLY_KEPT }));
        return;
    }
});
