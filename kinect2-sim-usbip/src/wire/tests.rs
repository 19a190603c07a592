use proptest::prelude::*;

use super::*;

const DEPTH: u8 = 0x84;

fn isochronous(endpoint: u8) -> bool {
    endpoint == DEPTH
}

/// The head of a submission: everything that a test may want to be otherwise.
fn submission(direction: u32, endpoint: u32, length: u32, packets: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [CMD_SUBMIT, 7, 0x0001_0002, direction, endpoint, 0, length, 99, packets, 1] {
        put(&mut bytes, word);
    }
    bytes.extend_from_slice(&[0x80, 6, 0, 1, 0, 0, 18, 0]);
    bytes
}

fn with_packets(length: u32, packets: &[(u32, u32)]) -> Vec<u8> {
    let count = u32::try_from(packets.len()).unwrap();
    let mut bytes = submission(DIRECTION_IN, 4, length, count);
    for (offset, length) in packets {
        for word in [*offset, *length, 0, 0] {
            put(&mut bytes, word);
        }
    }
    bytes
}

fn submit(bytes: &[u8]) -> Submit<'_> {
    match command(bytes, isochronous) {
        Ok(Some((Command::Submit(submit), taken))) if taken == bytes.len() => submit,
        other => panic!("no whole submission: {other:?}"),
    }
}

#[test]
fn a_control_request_keeps_its_setup_as_it_is() {
    let bytes = submission(DIRECTION_IN, 0, 18, 0);
    let submit = submit(&bytes);
    assert_eq!((submit.sequence, submit.endpoint, submit.length, submit.start_frame), (7, 0x80, 18, 99));
    assert_eq!(submit.setup, [0x80, 6, 0, 1, 0, 0, 18, 0]);
    assert!(submit.data.is_empty());
    assert_eq!(submit.packet_lengths().len(), 0);
}

#[test]
fn both_ways_to_say_no_packets_are_known() {
    for none in [0, NO_PACKETS] {
        assert_eq!(submit(&submission(DIRECTION_IN, 1, 512, none)).endpoint, 0x81);
    }
}

#[test]
fn data_to_send_follow_the_head() {
    let mut bytes = submission(0, 2, 4, 0);
    bytes.extend_from_slice(b"abcd");
    let submit = submit(&bytes);
    assert_eq!((submit.endpoint, submit.data), (0x02, &b"abcd"[..]));
}

#[test]
fn packets_of_different_lengths_are_taken() {
    let bytes = with_packets(30, &[(0, 10), (10, 0), (10, 20)]);
    assert_eq!(submit(&bytes).packet_lengths().collect::<Vec<_>>(), [10, 0, 20]);
}

#[test]
fn a_message_that_is_cut_off_anywhere_is_waited_for() {
    let mut out = submission(0, 2, 4, 0);
    out.extend_from_slice(b"abcd");
    for whole in [out, with_packets(30, &[(0, 10), (10, 20)]), submission(DIRECTION_IN, 0, 18, 0)] {
        for end in 0..whole.len() {
            assert_eq!(command(&whole[..end], isochronous), Ok(None), "{end} of {}", whole.len());
        }
        submit(&whole);
    }
}

#[test]
fn hostile_heads_are_refused_before_anything_is_kept_for_them() {
    let refusal = |bytes: Vec<u8>| command(&bytes, isochronous).unwrap_err();
    let most = u32::try_from(TRANSFER_MAX).unwrap();
    assert_eq!(refusal(submission(0, 2, most + 1, 0)), Violation::TransferTooLong(most + 1));
    assert_eq!(refusal(submission(0, 2, u32::MAX, 0)), Violation::TransferTooLong(u32::MAX));
    assert_eq!(refusal(submission(0, 16, 1, 0)), Violation::Endpoint);
    assert_eq!(refusal(submission(0, u32::MAX, 1, 0)), Violation::Endpoint);
    assert_eq!(refusal(submission(2, 2, 1, 0)), Violation::Endpoint);
    assert_eq!(refusal(submission(DIRECTION_IN, 4, 1, 129)), Violation::Packets(129));
    assert_eq!(refusal(submission(DIRECTION_IN, 4, 1, u32::MAX - 1)), Violation::Packets(u32::MAX - 1));
    assert_eq!(refusal(submission(DIRECTION_IN, 4, 1, 0)), Violation::Packets(0));
    assert_eq!(refusal(submission(DIRECTION_IN, 1, 1, 1)), Violation::Packets(1));
}

#[test]
fn packets_outside_their_transfer_are_refused() {
    for packets in [
        &[(0, 31)][..],
        &[(0, 20), (20, 11)],
        &[(0, 10), (11, 10)],
        &[(0, 10), (5, 10)],
        &[(1, 10)],
        &[(0, u32::MAX)],
        &[(u32::MAX, 1)],
    ] {
        let bytes = with_packets(30, packets);
        assert_eq!(command(&bytes, isochronous), Err(Violation::PacketLayout), "{packets:?}");
    }
}

#[test]
fn operations_are_known_by_version_and_code() {
    let mut import = vec![0x01, 0x11, 0x80, 0x03, 0, 0, 0, 0];
    import.extend_from_slice(b"1-1");
    import.resize(40, 0);
    assert_eq!(operation(&import), Ok(Some((Operation::Import(b"1-1"), 40))));
    assert_eq!(operation(&import[..39]), Ok(None));
    assert_eq!(operation(&[0x01, 0x11, 0x80, 0x05, 0, 0, 0, 0]), Ok(Some((Operation::List, 8))));
    assert_eq!(operation(&[0x01, 0x06, 0x80, 0x05, 0, 0, 0, 0]), Err(Violation::Version(0x0106)));
    assert_eq!(operation(b"GET / HT"), Err(Violation::Version(0x4745)));
    assert_eq!(operation(&[0x01, 0x11, 0x80, 0x07, 0, 0, 0, 0]), Err(Violation::Operation(0x8007)));
    // An id without an end is 32 bytes long, and is nobody's.
    import[8..].fill(b'x');
    assert_eq!(operation(&import), Ok(Some((Operation::Import(&[b'x'; 32]), 40))));
}

#[test]
fn an_import_says_the_speed_and_who_it_is() {
    let mut out = Vec::new();
    let descriptor = [18, 1, 0, 3, 0xEF, 2, 1, 9, 0x5E, 0x04, 0xC4, 0x02, 0x00, 0x01, 1, 2, 3, 1];
    let interfaces = [[0xFF, 0, 0], [1, 1, 0]];
    let device = Description {
        bus_id: "1-1",
        number: (1, 2),
        speed: SPEED_SUPER,
        descriptor,
        interfaces: &interfaces,
    };
    emit_import(&mut out, Some(&device));
    assert_eq!(out.len(), 8 + 312);
    assert_eq!(out[..8], [0x01, 0x11, 0x00, 0x03, 0, 0, 0, 0]);
    assert_eq!(out[8 + 256..][..4], *b"1-1\0");
    assert_eq!(out[8 + 288..][..12], [0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 5]);
    assert_eq!(out[8 + 300..], [0x04, 0x5E, 0x02, 0xC4, 0x01, 0x00, 0xEF, 2, 1, 0, 1, 2]);
    out.clear();
    emit_list(&mut out, Some(&device));
    assert_eq!(out.len(), 12 + 312 + 8);
    assert_eq!(out[12 + 312..], [0xFF, 0, 0, 0, 1, 1, 0, 0]);
    out.clear();
    emit_import(&mut out, None);
    assert_eq!(out, [0x01, 0x11, 0x00, 0x03, 0, 0, 0, 1]);
    out.clear();
    emit_list(&mut out, None);
    assert_eq!(out, [0x01, 0x11, 0x00, 0x05, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn isochronous_data_are_sent_without_gaps() {
    let mut out = Vec::new();
    let packets = [(4, 2, 0), (4, 0, -18), (4, 4, 0)].map(|(length, actual, status)| PacketReply {
        length,
        actual,
        status,
    });
    let mut scratch = vec![1; 5];
    let reply =
        Reply::Packets { buffer: b"ab..____cdef", packets: packets.into_iter(), scratch: &mut scratch };
    emit_submitted(&mut out, 7, 99, 0, reply);
    let words = |at: usize, count: usize| (0..count).map(|i| word(&out, at + 4 * i)).collect::<Vec<_>>();
    assert_eq!(words(0, 2), [RET_SUBMIT, 7]);
    // Status, bytes, first frame, packets, bad packets.
    assert_eq!(words(20, 5), [0, 6, 99, 3, 1]);
    assert_eq!(out[48..54], *b"abcdef");
    assert_eq!(words(54, 12), [0, 4, 2, 0, 4, 4, 0, u32::MAX - 17, 8, 4, 4, 0]);
    assert_eq!(out.len(), 54 + 3 * PACKET_BYTES);
}

#[test]
fn what_was_sent_is_counted_and_not_sent_back() {
    let mut out = Vec::new();
    let sent: Reply<'_, std::iter::Empty<PacketReply>> = Reply::Sent(20);
    emit_submitted(&mut out, 1, 0, -32, sent);
    assert_eq!(out.len(), HEAD_BYTES);
    assert_eq!((word(&out, 20), word(&out, 24)), (u32::MAX - 31, 20));
}

proptest! {
    #[test]
    fn nothing_that_comes_makes_the_parser_panic_or_wait_for_ever(
        mut bytes in proptest::collection::vec(any::<u8>(), 48..200),
        kind in 0u32..4,
        small in any::<[bool; 6]>(),
    ) {
        let _ = operation(&bytes);
        // Where chance alone would never be small enough to be let through.
        bytes[..4].copy_from_slice(&kind.to_be_bytes());
        for (at, small) in [12, 16, 24, 32, 48, 52].into_iter().zip(small) {
            if small && bytes.len() >= at + 4 {
                bytes[at..at + 3].fill(0);
            }
        }
        bytes.resize(MESSAGE_MAX, 0);
        prop_assert!(!matches!(command(&bytes, isochronous), Ok(None)));
        if let Ok(Some((Command::Submit(submit), taken))) = command(&bytes, isochronous) {
            prop_assert!(taken <= MESSAGE_MAX);
            prop_assert!(submit.packet_lengths().sum::<usize>() <= submit.length);
        }
    }
}
