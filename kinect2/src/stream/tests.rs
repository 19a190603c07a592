use proptest::prelude::*;

use super::*;
use crate::depth::{HEIGHT, Intrinsics, Kernel, PIXELS, Settings, Tables};

use PacketStatus::{Bad, Good};

/// One packet with rows: which frame, sub-image and packet of it.
type Tag = [u32; 3];

/// What becomes of one interval on its way to the parser.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// As sent.
    Sent,
    /// The host never hears of the interval.
    Unseen,
    /// The host sees an interval without data.
    Emptied,
    /// A bad status, with so many bytes.
    Spoilt(usize),
    /// A good status and another length.
    Cut(usize),
    /// The last packet's footer says other things.
    Lies(fn(&mut Footer)),
}

use Fate::{Cut, Emptied, Lies, Sent, Spoilt, Unseen};

/// Frame and place in it of an interval: three frames take 800 intervals.
fn place(interval: u64) -> (u32, u64) {
    let frame = (interval * 3 + 2) / 800;
    (u32::try_from(frame).unwrap(), interval - first_interval(frame))
}

fn first_interval(frame: u64) -> u64 {
    frame * 800 / 3
}

/// Sub-image and packet at a place of a frame, if data is sent there.
fn content(place: u64) -> Option<(u32, u32)> {
    let (sub_image, packet) = (place / 12, place % 12);
    (sub_image < 10 && packet < 9).then_some((sub_image as u32, packet as u32))
}

fn timestamp(frame: u32, sub_image: u32) -> u32 {
    4_000_000_000u32.wrapping_add(frame * 267 + sub_image * 12)
}

/// A parser, what it feeds, and the sensor at the other end.
struct Link {
    stream: Stream,
    rows: Seen,
    first_sequence: u32,
    interval: u64,
    packet: Vec<u8>,
    frames: Vec<FrameInfo>,
}

/// Rows in the place of a target: refuses what a decoder would, and remembers whose the rows were.
struct Seen {
    last: usize,
    tags: Vec<Tag>,
    begun: u32,
}

impl Rows for Seen {
    fn last_sub_image(&self) -> usize {
        self.last
    }

    fn begin(&mut self) {
        self.tags.clear();
        self.begun += 1;
    }

    fn take(&mut self, sub_image: usize, first_row: usize, bytes: &[u8]) -> bool {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let fits = sub_image * 9 + first_row / 48 == self.tags.len();
        self.tags.push([word(0), word(4), word(8)]);
        fits && bytes.len() == if first_row == 384 { 40 * 704 } else { 48 * 704 }
    }
}

impl Link {
    fn new(last: usize) -> Self {
        Link {
            stream: Stream::new(),
            rows: Seen { last, tags: Vec::new(), begun: 0 },
            first_sequence: 100,
            interval: 0,
            packet: vec![0; PACKET_BYTES],
            frames: Vec::new(),
        }
    }

    fn decode() -> Self {
        Self::new(8)
    }

    fn raw() -> Self {
        Self::new(9)
    }

    fn now(&self) -> Duration {
        Duration::from_micros(self.interval * 125)
    }

    /// The next interval of the sensor.
    fn step(&mut self, fate: Fate) {
        let (frame, place) = place(self.interval);
        let (mut length, mut status) = (0, Good);
        if let Some((sub_image, packet)) = content(place) {
            length = if packet == 8 { LAST_PACKET_BYTES } else { PACKET_BYTES };
            for (to, word) in self.packet.chunks_exact_mut(4).zip([frame, sub_image, packet]) {
                to.copy_from_slice(&word.to_le_bytes());
            }
            let sequence = self.first_sequence.wrapping_add(frame);
            let mut footer = Footer::new(timestamp(frame, sub_image), sequence, sub_image);
            if let Lies(lie) = fate {
                lie(&mut footer);
            }
            self.packet[LAST_PACKET_BYTES - FOOTER_BYTES..LAST_PACKET_BYTES]
                .copy_from_slice(&footer.to_bytes());
        }
        match fate {
            Sent | Lies(_) => {}
            Unseen => {
                self.interval += 1;
                return;
            }
            Emptied => length = 0,
            Spoilt(bytes) => (length, status) = (bytes, Bad),
            Cut(bytes) => length = bytes,
        }
        self.give(status, length);
        self.interval += 1;
    }

    fn give(&mut self, status: PacketStatus, length: usize) {
        if self.packet.len() < length {
            self.packet.resize(length, 0);
        }
        let now = self.now();
        if let Some(info) = self.stream.packet(now, status, &self.packet[..length], &mut self.rows) {
            self.check(&info);
            self.frames.push(info);
        }
    }

    /// All rows of a frame handed out are its own.
    fn check(&self, info: &FrameInfo) {
        let (frame, _) = place(self.interval);
        let own: Vec<Tag> = (0..=self.rows.last as u32)
            .flat_map(|sub_image| (0..9).map(move |packet| [frame, sub_image, packet]))
            .collect();
        assert_eq!(self.rows.tags, own, "frame {frame}");
        assert_eq!(info.timestamp, timestamp(frame, 0));
        let first = Duration::from_micros(first_interval(frame.into()) * 125);
        assert_eq!(info.first_packet, first, "frame {frame}");
    }

    fn steps(&mut self, count: u64) -> &mut Self {
        for _ in 0..count {
            self.step(Sent);
        }
        self
    }

    fn frames(&mut self, count: u64) -> &mut Self {
        let (frame, _) = place(self.interval);
        let until = first_interval(u64::from(frame) + count);
        self.steps(until - self.interval)
    }

    /// One frame, and the fate of each of its intervals by sub-image and packet; packets 9 to 11 are the pause.
    fn frame(&mut self, fate: impl Fn(u64, u64) -> Fate) -> &mut Self {
        for place in 0..120 {
            self.step(fate(place / 12, place % 12));
        }
        self.frames(1)
    }

    /// The sequences handed out, less the first that was sent.
    fn delivered(&self) -> Vec<u32> {
        self.frames.iter().map(|info| info.sequence.wrapping_sub(self.first_sequence)).collect()
    }

    fn counters(&self) -> Counters {
        *self.stream.counters()
    }

    /// Counts that have to do with loss: packets and sub-images lost, frames dropped and lost.
    fn losses(&self) -> [u64; 4] {
        let count = self.counters();
        [count.lost_packets, count.damaged_sub_images, count.frames_dropped, count.frames_lost]
    }
}

fn one(sub_image: u64, packet: u64, fate: Fate) -> impl Fn(u64, u64) -> Fate {
    move |s, p| if (s, p) == (sub_image, packet) { fate } else { Sent }
}

#[test]
fn a_frame_is_handed_out_with_the_packet_that_completes_it() {
    let mut decode = Link::decode();
    decode.steps(8 * 12 + 8);
    assert!(decode.frames.is_empty());
    assert_eq!(decode.steps(1).delivered(), [0]);

    let mut raw = Link::raw();
    raw.steps(9 * 12 + 8);
    assert!(raw.frames.is_empty());
    assert_eq!(raw.steps(1).delivered(), [0]);
}

#[test]
fn times_and_sequence_are_those_of_the_frames_own_footers() {
    let mut link = Link::decode();
    link.frames(3);
    let expected = [0u32, 1, 2].map(|frame| FrameInfo {
        sequence: 100 + frame,
        timestamp: timestamp(frame, 0),
        first_packet: Duration::from_micros(first_interval(frame.into()) * 125),
    });
    assert_eq!(link.frames, expected);
}

#[test]
fn a_flawless_stream_counts_no_loss() {
    for mut link in [Link::decode(), Link::raw()] {
        link.frames(30);
        assert_eq!(link.delivered().len(), 30);
        let count = link.counters();
        let expected = Counters {
            packets: 8000,
            empty_packets: 8000 - 30 * 90,
            sub_images: 300,
            frames_complete: 30,
            ..Counters::default()
        };
        assert_eq!(count, expected);
    }
}

#[test]
fn any_one_packet_missing_drops_its_frame_and_no_other() {
    for fate in
        [Unseen, Emptied, Spoilt(0), Spoilt(PACKET_BYTES), Spoilt(LAST_PACKET_BYTES), Cut(1000), Cut(40_000)]
    {
        for (sub_image, packet) in (0..10).flat_map(|s| (0..9).map(move |p| (s, p))) {
            for mut link in [Link::decode(), Link::raw()] {
                link.frames(1).frame(one(sub_image, packet, fate)).frames(2);
                let harmless = sub_image == 9 && link.rows.last == 8;
                let (delivered, dropped) = if harmless { (vec![0, 1, 2, 3], 0) } else { (vec![0, 2, 3], 1) };
                let what = format!("{fate:?} of {sub_image}/{packet}, last {}", link.rows.last);
                assert_eq!(link.delivered(), delivered, "{what}");
                assert_eq!(link.losses(), [1, 1, dropped, 0], "{what}");
                assert_eq!(link.counters().refused, 0, "{what}");
            }
        }
    }
}

#[test]
fn separators_may_be_missing() {
    for mut link in [Link::decode(), Link::raw()] {
        link.frame(|_, packet| if packet > 8 { Unseen } else { Sent }).frames(1);
        assert_eq!(link.delivered(), [0, 1]);
        assert_eq!(link.losses(), [0; 4]);
    }
}

#[test]
fn a_last_packet_missing_with_its_separators_costs_one_sub_image() {
    for sub_image in 0..10 {
        let mut link = Link::raw();
        link.frame(|s, packet| if s == sub_image && packet >= 8 { Unseen } else { Sent }).frames(2);
        assert_eq!(link.delivered(), [1, 2], "{sub_image}");
        // What is missing in front of the first footer cannot be known.
        let known = u64::from(sub_image > 0);
        assert_eq!(link.losses(), [known, known, 1, 0], "{sub_image}");
    }
}

#[test]
fn bad_packets_hold_the_place_of_those_that_were_sent() {
    // With the last packet and the pause gone too, the next sub-image would else be taken for the rest of this one.
    let first = [Spoilt(PACKET_BYTES), Spoilt(1), Cut(1)].map(|fate| (0, fate));
    let third = [Spoilt(0), Spoilt(7), Cut(7)].map(|fate| (2, fate));
    for (packet, fate) in first.into_iter().chain(third) {
        for last in [Unseen, Spoilt(0), Spoilt(1), Cut(1)] {
            let mut link = Link::decode();
            link.frames(1).frame(|s, p| match (s, p) {
                (3, p) if p == packet => fate,
                (3, 8) => last,
                (3, 9..) => Unseen,
                _ => Sent,
            });
            assert_eq!(link.frames(1).delivered(), [0, 2], "{packet} {fate:?} {last:?}");
            assert_eq!(link.losses(), [2, 1, 1, 0], "{packet} {fate:?} {last:?}");
        }
    }
}

#[test]
fn a_bad_packet_in_a_pause_is_harmless() {
    for mut link in [Link::decode(), Link::raw()] {
        link.frame(|_, packet| if packet > 8 { Spoilt(0) } else { Sent });
        let pause = 266 - 120 - 1;
        link.steps(120);
        for _ in 0..pause {
            link.step(Spoilt(0));
        }
        link.frames(2);
        assert_eq!(link.delivered(), [0, 1, 2]);
        assert_eq!(link.losses(), [0; 4]);
        assert_eq!(link.counters().bad_packets, 30 + pause);
    }
}

#[test]
fn stray_bytes_in_the_pause_between_frames_are_harmless() {
    for stray in [Cut(1), Cut(28_311), Cut(33_793), Spoilt(5), Spoilt(PACKET_BYTES)] {
        for before in [2, 3, 31, 32, 33, 100] {
            let mut link = Link::decode();
            link.frames(1).steps(266 - before);
            link.step(stray);
            link.frames(2);
            assert_eq!(link.delivered(), [0, 1, 2], "{stray:?} {before} before");
        }
    }
}

#[test]
fn packets_of_odd_lengths_spoil_what_they_stand_in() {
    for length in [1, 151, 152, 153, 704, 11_264, 28_160, 28_311, 28_313, 33_791, 33_793, 65_536] {
        let mut link = Link::raw();
        link.frames(1).frame(one(4, 5, Cut(length))).frames(1);
        assert_eq!(link.delivered(), [0, 2], "{length}");
        assert_eq!(link.losses(), [1, 1, 1, 0], "{length}");
        assert_eq!(link.counters().odd_packets, 1);
    }
}

#[test]
fn a_controller_that_cuts_every_packet_shows_in_one_counter() {
    let mut link = Link::decode();
    for _ in 0..3 {
        link.frame(|_, packet| if packet < 9 { Cut(11_264) } else { Sent });
    }
    let expected = Counters { packets: 800, empty_packets: 530, odd_packets: 270, ..Counters::default() };
    assert_eq!(link.counters(), expected);
}

#[test]
fn a_subsequence_that_is_none_drops_the_frame() {
    let lies: [fn(&mut Footer); 3] = [
        |footer| footer.subsequence = 10,
        |footer| footer.subsequence = 255,
        |footer| footer.subsequence = u32::MAX,
    ];
    for lie in lies {
        for sub_image in 0..9 {
            let mut link = Link::decode();
            link.frames(1).frame(one(sub_image, 8, Lies(lie))).frames(1);
            assert_eq!(link.delivered(), [0, 2]);
            // All its packets came.
            assert_eq!(link.losses(), [0, 1, 1, 0]);
            assert_eq!(link.counters().bad_footers, 1);
        }
    }
}

#[test]
fn a_footer_of_another_length_drops_the_frame() {
    let lies: [fn(&mut Footer); 3] =
        [|footer| footer.length = 0, |footer| footer.length -= 704, |footer| footer.length = u32::MAX];
    for lie in lies {
        let mut link = Link::raw();
        link.frames(1).frame(one(9, 8, Lies(lie))).frames(1);
        assert_eq!(link.delivered(), [0, 2]);
        assert_eq!(link.losses(), [0, 1, 1, 0]);
        assert_eq!(link.counters().bad_footers, 1);
    }
}

#[test]
fn a_sub_image_out_of_turn_drops_the_frame() {
    let lies: [fn(&mut Footer); 9] = [
        |footer| footer.subsequence = 0,
        |footer| footer.subsequence = 1,
        |footer| footer.subsequence = 2,
        |footer| footer.subsequence = 4,
        |footer| footer.subsequence = 5,
        |footer| footer.subsequence = 6,
        |footer| footer.subsequence = 7,
        |footer| footer.subsequence = 8,
        |footer| footer.subsequence = 9,
    ];
    for lie in lies {
        let mut link = Link::decode();
        link.frames(1).frame(one(3, 8, Lies(lie))).frames(2);
        assert_eq!(link.delivered(), [0, 2, 3]);
    }
}

#[test]
fn a_sub_image_of_another_sequence_drops_the_frame() {
    let lies: [fn(&mut Footer); 4] = [
        |footer| footer.sequence += 1,
        |footer| footer.sequence -= 1,
        |footer| footer.sequence += 5000,
        |footer| footer.sequence = u32::MAX,
    ];
    for lie in lies {
        for sub_image in 1..9 {
            let mut link = Link::decode();
            link.frames(1).frame(one(sub_image, 8, Lies(lie))).frames(2);
            let delivered: Vec<u32> = link.delivered();
            assert_eq!(delivered, [0, 2, 3], "{sub_image}");
        }
    }
}

#[test]
fn unknown_words_in_front_of_a_footer_are_counted_and_decide_nothing() {
    let mut link = Link::raw();
    link.frames(1);
    link.frame(|_, packet| if packet == 8 { Lies(|footer| footer.magic = [7, 0]) } else { Sent });
    assert_eq!(link.frames(1).delivered(), [0, 1, 2]);
    assert_eq!(link.counters().unknown_magic, 10);
    assert_eq!(link.losses(), [0; 4]);
}

#[test]
fn a_stream_may_begin_anywhere_in_a_frame() {
    for start in 1..266 {
        for mut link in [Link::decode(), Link::raw()] {
            for _ in 0..start {
                link.step(Unseen);
            }
            link.frames(3);
            assert_eq!(link.delivered(), [1, 2], "from {start}");
            // Its rest is dropped if a footer was among it.
            assert_eq!(link.losses(), [0, 0, u64::from(start <= 9 * 12 + 8), 0], "from {start}");
        }
    }
}

#[test]
fn the_sequence_wraps_without_loss() {
    for first in [65_533, u32::MAX - 2] {
        let mut link = Link::decode();
        link.first_sequence = first;
        for _ in 0..6 {
            let (frame, _) = place(link.interval);
            // A sensor that counts in 16 bits.
            let wraps = first == 65_533 && frame > 2;
            link.frame(|_, packet| match (wraps, packet) {
                (true, 8) => Lies(|footer| footer.sequence -= 65_536),
                _ => Sent,
            });
        }
        assert_eq!(link.frames.len(), 6);
        assert_eq!(link.counters().sequence_jumps, 0);
        assert_eq!(link.losses(), [0; 4], "{first}");
    }
}

#[test]
fn frames_lost_are_counted_across_a_wrap() {
    assert_eq!(frames_ahead(65_534, 1), Some(3));
    assert_eq!(frames_ahead(65_535, 0), Some(1));
    assert_eq!(frames_ahead(65_535, 65_536), Some(1));
    assert_eq!(frames_ahead(u32::MAX, 0), Some(1));
    assert_eq!(frames_ahead(u32::MAX - 1, 3), Some(5));
    assert_eq!(frames_ahead(7, 7), Some(0));
    assert_eq!(frames_ahead(0, 1800), Some(1800));
    assert_eq!(frames_ahead(0, 1801), None);
    assert_eq!(frames_ahead(7, 6), None);
    assert_eq!(frames_ahead(70_000, 0), None);
}

#[test]
fn two_frames_that_loss_has_joined_are_both_dropped() {
    for fate in [Unseen, Emptied, Spoilt(0)] {
        let mut link = Link::raw();
        link.frames(1);
        // Sub-images 0 to 3 of one, 4 to 9 of the next, with nothing in between.
        link.steps(4 * 12);
        for _ in 0..267 {
            link.step(fate);
        }
        link.frames(2);
        assert_eq!(link.delivered(), [0, 3], "{fate:?}");
        assert_eq!(link.losses(), [90, 10, 2, 0], "{fate:?}");
    }
}

#[test]
fn a_seam_between_two_frames_inside_sub_image_0_is_found() {
    for cut in 1..8 {
        for periods in 1..4 {
            let mut link = Link::decode();
            link.frames(1).steps(cut);
            let lost = first_interval(1 + periods) - first_interval(1);
            for _ in 0..lost {
                link.step(Unseen);
            }
            link.frames(2);
            let joined = u32::try_from(periods + 1).unwrap();
            assert_eq!(link.delivered(), [0, joined + 1], "{cut} packets and {periods} frames later");
        }
    }
}

#[test]
fn a_frame_after_frames_gone_without_a_trace_is_not_trusted() {
    let mut link = Link::decode();
    link.frames(1).steps(120);
    let asleep = first_interval(4) - link.interval;
    for _ in 0..asleep {
        link.step(Unseen);
    }
    link.frames(2);
    assert_eq!(link.delivered(), [0, 1, 5]);
    assert_eq!(link.losses(), [180, 20, 1, 2]);
}

#[test]
fn frames_that_come_one_behind_the_other_are_taken() {
    let mut link = Link::raw();
    for _ in 0..3 {
        link.steps(120);
        while place(link.interval).1 > 0 {
            link.step(Unseen);
        }
    }
    assert_eq!(link.delivered(), [0, 1, 2]);
    assert_eq!(link.losses(), [0; 4]);
}

#[test]
fn a_short_sleep_between_frames_costs_none() {
    let mut link = Link::decode();
    link.frames(1);
    for place in 0..266 {
        link.step(match place {
            108..117 => Emptied,
            120..210 => Unseen,
            _ => Sent,
        });
    }
    link.frames(2);
    assert_eq!(link.delivered(), [0, 1, 2]);
}

#[test]
fn frames_of_which_nothing_comes_are_counted_as_lost() {
    for fate in [Emptied, Spoilt(0), Spoilt(PACKET_BYTES)] {
        let mut link = Link::decode();
        link.frames(1);
        for _ in 0..5 {
            link.frame(|_, packet| if packet < 9 { fate } else { Sent });
        }
        assert_eq!(link.frames(2).delivered(), [0, 6, 7], "{fate:?}");
        assert_eq!(link.losses(), [450, 50, 0, 5], "{fate:?}");
    }
}

#[test]
fn a_long_pause_within_a_frame_ends_it() {
    let mut link = Link::decode();
    link.frames(1).frame(|sub_image, _| if (2..7).contains(&sub_image) { Emptied } else { Sent }).frames(1);
    assert_eq!(link.delivered(), [0, 2]);
    assert_eq!(link.losses(), [45, 5, 1, 0]);
}

#[test]
fn any_number_of_empty_packets_is_a_pause() {
    let mut link = Link::decode();
    link.frames(1);
    for _ in 0..20_000 {
        link.give(Good, 0);
    }
    link.frames(1);
    assert_eq!(link.delivered(), [0, 1]);
}

#[test]
fn sub_image_9_alone_decides_nothing_for_a_decoder() {
    for fate in [Unseen, Emptied, Spoilt(0), Spoilt(1), Cut(1)] {
        let mut link = Link::decode();
        link.frames(1).frame(|sub_image, packet| if sub_image == 9 && packet < 9 { fate } else { Sent });
        link.frames(2);
        assert_eq!(link.delivered(), [0, 1, 2, 3], "{fate:?}");
        assert_eq!(link.losses(), [9, 1, 0, 0], "{fate:?}");
    }
}

#[test]
fn the_target_is_not_touched_from_a_frame_to_the_next() {
    // Also if sub-image 9 falls to pieces that look like a beginning.
    for garble in [Sent, Emptied, Spoilt(0), Spoilt(1), Cut(1), Lies(|footer| footer.subsequence = 10)] {
        for every in 1..9 {
            let mut link = Link::decode();
            link.frame(|sub_image, packet| if sub_image == 9 && packet % every == 0 { garble } else { Sent });
            assert_eq!(link.delivered(), [0]);
            assert_eq!((link.rows.begun, link.rows.tags.len()), (1, 81), "{garble:?} {every}");
            link.steps(1);
            assert_eq!((link.rows.begun, link.rows.tags.len()), (2, 1));
        }
    }
}

/// 264 856 bytes are seven full packets and the last one; a full one more would make a whole sub-image and footer.
#[test]
fn lengths_that_add_up_by_coincidence_are_not_a_sub_image() {
    let mut link = Link::decode();
    link.frames(1);
    link.frame(|sub_image, packet| match (sub_image, packet) {
        (5, 3) | (5, 9..=11) => Unseen,
        // What a parser by sums would take for a footer.
        (6, 0) => Lies(|footer| footer.subsequence = 5),
        _ => Sent,
    });
    link.frames(1);
    assert_eq!(link.delivered(), [0, 2]);
    assert_eq!(link.losses(), [1, 1, 1, 0]);
    assert_eq!((link.counters().bad_footers, link.counters().sub_images), (0, 29));
}

#[test]
fn a_sequence_that_starts_anew_is_no_loss() {
    let mut link = Link::raw();
    link.frames(2);
    link.first_sequence = 0;
    link.frames(2);
    link.first_sequence = 40_000;
    link.frames(2);
    assert_eq!(link.frames.len(), 6);
    assert_eq!(link.counters().sequence_jumps, 2);
    assert_eq!(link.losses(), [0; 4]);
}

#[test]
fn a_sequence_that_stands_still_is_delivered_and_shows() {
    let mut link = Link::raw();
    for _ in 0..4 {
        link.first_sequence = 100u32.wrapping_sub(place(link.interval).0);
        link.frames(1);
    }
    assert_eq!(link.counters().frames_complete, 4);
    assert_eq!(link.counters().sequence_jumps, 3);
}

#[test]
fn a_restart_forgets_the_frame_begun() {
    let mut link = Link::decode();
    link.frames(1).steps(5 * 12);
    link.stream.restart();
    link.steps(60).frames(1);
    assert_eq!(link.counters().frames_dropped, 1);
    assert_eq!(link.frames(2).delivered(), [0, 2, 3]);
    link.stream.restart();
    let count = link.counters();
    assert_eq!((count.frames_complete, count.frames_dropped, count.frames_lost), (3, 2, 0));
}

fn decoder() -> Box<Decoder> {
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
    Box::new(Decoder::with_kernel(&tables, Settings::default(), Kernel::Scalar).unwrap())
}

/// Gives a raw frame's packets from one number to another, without pauses.
fn give(
    stream: &mut Stream,
    sequence: u32,
    raw: &[u8],
    packets: std::ops::Range<usize>,
    target: &mut Target,
) -> u32 {
    let mut complete = 0;
    for number in packets {
        let (sub_image, packet) = (number / 9, number % 9);
        let rows = &raw[sub_image * SUB_IMAGE_BYTES + packet * PACKET_BYTES..];
        let bytes = if packet < 8 {
            rows[..PACKET_BYTES].to_vec()
        } else {
            let footer = Footer::new(0, sequence, sub_image as u32);
            [&rows[..LAST_PACKET_BYTES - FOOTER_BYTES], &footer.to_bytes()[..]].concat()
        };
        let info = stream.packet(Duration::ZERO, Good, &bytes, target);
        complete += u32::from(info.is_some_and(|info| info.sequence == sequence));
    }
    complete
}

#[test]
fn a_target_that_refuses_rows_costs_a_frame_and_nothing_else() {
    let raw: Vec<u8> = (0..FRAME_BYTES).map(|i| (i * i / 7) as u8).collect();
    let mut stream = Stream::new();
    let mut target = Target::Decode(decoder());
    assert_eq!(give(&mut stream, 1, &raw, 0..90, &mut target), 1);
    let mut depth = vec![0; PIXELS];
    let Target::Decode(first) = &mut target else { unreachable!() };
    assert_eq!(first.finish(&mut depth, None), Ok(()));

    // Another decoder, which has seen nothing of this frame.
    assert_eq!(give(&mut stream, 2, &raw, 0..31, &mut target), 0);
    target = Target::Decode(decoder());
    assert_eq!(give(&mut stream, 2, &raw, 31..90, &mut target), 0);
    assert_eq!(stream.counters().refused, 1);
    assert_eq!(give(&mut stream, 3, &raw, 0..90, &mut target), 1);

    // No room for a frame, or for none of it.
    for length in [0, 704, FRAME_BYTES - 1] {
        let mut short = Target::Raw(vec![0; length].into_boxed_slice());
        let refused = stream.counters().refused;
        let next = stream.counters().frames_complete as u32 + 10;
        assert_eq!(give(&mut stream, next, &raw, 0..90, &mut short), 0);
        assert_eq!(stream.counters().refused, refused + 1);
        stream.restart();
    }
    let mut whole = Target::raw();
    assert_eq!(give(&mut stream, 20, &raw, 0..90, &mut whole), 1);
    assert!(matches!(&whole, Target::Raw(bytes) if **bytes == *raw));
    assert_eq!(format!("{whole:?}"), "Raw(2984960 bytes)");
}

#[test]
fn the_rhythm_of_the_tests_is_the_sensors() {
    assert_eq!(
        (first_interval(0), first_interval(1), first_interval(2), first_interval(3)),
        (0, 266, 533, 800)
    );
    for interval in 0..2000 {
        let (frame, within) = place(interval);
        assert_eq!(first_interval(frame.into()) + within, interval);
        assert!(within < 267);
    }
    assert_eq!(PACKET_ROWS * 8 + LAST_PACKET_ROWS, HEIGHT);
}

const FRAMES: u64 = 8;

/// A fault that leaves a trace: what is lost is seen as empty or bad, or single packets are missing, and behind every
/// sub-image there is a pause. What must become of the frames can then be said without knowing the parser.
fn traced_fault() -> impl Strategy<Value = (u64, u64, Fate)> {
    let start = 0..FRAMES * 266;
    let single = prop_oneof![
        Just(Unseen),
        Just(Emptied),
        Just(Spoilt(0)),
        Just(Spoilt(PACKET_BYTES)),
        Just(Spoilt(LAST_PACKET_BYTES)),
        Just(Cut(11_264)),
        Just(Lies(|footer| footer.subsequence = 10)),
        Just(Lies(|footer| footer.length = 298_648)),
        Just(Lies(|footer| footer.magic = [1, 2])),
    ];
    let many = prop_oneof![Just(Emptied), Just(Spoilt(0)), Just(Spoilt(1))];
    prop_oneof![
        4 => (start.clone(), Just(1), single),
        1 => (start, 2..700_u64, many),
    ]
}

/// What the faults make of every interval: later ones do not replace earlier ones, pauses stay free of bytes, and the
/// first interval behind a sub-image is always seen empty.
fn traced_fates(faults: &[(u64, u64, Fate)]) -> Vec<Fate> {
    let mut fates = vec![Sent; first_interval(FRAMES) as usize];
    for (start, length, fate) in faults {
        for interval in *start..(start + length).min(fates.len() as u64) {
            let place = place(interval).1;
            let data = content(place);
            let fate = match *fate {
                Lies(_) if data.is_none_or(|(_, packet)| packet != 8) => continue,
                Emptied | Cut(_) if data.is_none() => continue,
                _ if data.is_none() && place < 120 && place % 12 == 9 => continue,
                Spoilt(_) if data.is_none() => Spoilt(0),
                fate => fate,
            };
            if matches!(fates[interval as usize], Sent) {
                fates[interval as usize] = fate;
            }
        }
    }
    fates
}

/// What a reader of the table of fates expects, by definition alone.
fn expected(fates: &[Fate], last_sub_image: u64) -> (Vec<u32>, Counters) {
    let mut count = Counters::default();
    let mut delivered = Vec::new();
    // (number of the sub-image through all frames, whole, packets that came up to its end)
    let mut footers: Vec<(u64, bool, u64)> = Vec::new();
    let mut came = 0;
    let mut packets_whole = 0;
    let mut sub_images_whole = 0;
    for (interval, fate) in fates.iter().enumerate() {
        let (frame, place) = place(interval as u64);
        count.packets += u64::from(!matches!(fate, Unseen));
        let data = content(place);
        match fate {
            Spoilt(_) => count.bad_packets += 1,
            Cut(_) => count.odd_packets += 1,
            Emptied => count.empty_packets += 1,
            Sent if data.is_none() => count.empty_packets += 1,
            _ => {}
        }
        let Some((sub_image, packet)) = data else { continue };
        if packet == 0 {
            packets_whole = 0;
        }
        if (sub_image, packet) == (0, 0) {
            sub_images_whole = 0;
        }
        let mut bad_footer = false;
        if let Lies(lie) = fate {
            let mut footer = Footer::new(0, 0, sub_image);
            lie(&mut footer);
            bad_footer = footer.subsequence > 9 || footer.length != 298_496;
            count.unknown_magic += u64::from(footer.magic != [0, 9]);
        }
        if !matches!(fate, Sent | Lies(_)) {
            continue;
        }
        came += 1;
        packets_whole += 1;
        count.bad_footers += u64::from(bad_footer);
        if packet == 8 && !bad_footer {
            let whole = packets_whole == 9;
            footers.push((u64::from(frame) * 10 + u64::from(sub_image), whole, came));
            sub_images_whole += u64::from(whole);
            if whole && u64::from(sub_image) == last_sub_image && sub_images_whole == last_sub_image + 1 {
                delivered.push(frame);
            }
        }
    }
    count.frames_complete = delivered.len() as u64;
    count.sub_images = footers.iter().filter(|(_, whole, _)| *whole).count() as u64;
    if let (Some(first), Some(last)) = (footers.first(), footers.last()) {
        let sent = last.0 - first.0;
        count.damaged_sub_images = sent - (count.sub_images - u64::from(first.1));
        count.lost_packets = sent * 9 - (last.2 - first.2);
        let mut seen: Vec<u64> = footers.iter().map(|(number, ..)| number / 10).collect();
        seen.dedup();
        count.frames_dropped = seen.len() as u64 - count.frames_complete;
        count.frames_lost = last.0 / 10 - first.0 / 10 + 1 - seen.len() as u64;
    }
    (delivered, count)
}

/// A fault of any kind, with or without a trace; some take away just so many frames' time.
fn any_fault() -> impl Strategy<Value = (u64, u64, Fate)> {
    let length = prop_oneof![
        4 => Just(1_u64),
        2 => 1..15_u64,
        2 => 1..900_u64,
        2 => prop_oneof![Just(266_u64), Just(267), Just(533), Just(534), Just(800)],
    ];
    let fate = prop_oneof![
        4 => Just(Unseen),
        1 => Just(Emptied),
        1 => Just(Spoilt(0)),
        1 => Just(Spoilt(PACKET_BYTES)),
        1 => prop_oneof![Just(1), Just(704), Just(33_792), Just(28_312), Just(28_160)].prop_map(Cut),
        1 => Just(Lies(|footer| footer.subsequence += 10)),
        1 => Just(Lies(|footer| footer.length = 0)),
    ];
    (267..12 * 266_u64, length, fate)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Frames are delivered if and only if all their packets came, and every counter is what its definition says.
    #[test]
    fn traced_faults_cost_what_they_hit_and_are_counted_exactly(
        faults in proptest::collection::vec(traced_fault(), 0..14),
        first_sequence in prop_oneof![Just(0), Just(65_532), Just(u32::MAX - 3), any::<u32>()],
    ) {
        let fates = traced_fates(&faults);
        for mut link in [Link::decode(), Link::raw()] {
            link.first_sequence = first_sequence;
            for fate in &fates {
                link.step(*fate);
            }
            link.stream.restart();
            let (delivered, counters) = expected(&fates, link.rows.last as u64);
            prop_assert_eq!(link.delivered(), delivered);
            prop_assert_eq!(link.counters(), counters);
        }
    }

    /// Whatever is lost without a trace, no frame is made of two ([`Link::check`]), each is delivered once and in
    /// order, and frames sent are frames delivered, dropped and lost.
    #[test]
    fn untraced_faults_never_make_a_frame_of_two(
        faults in proptest::collection::vec(any_fault(), 0..10),
    ) {
        let mut all = Vec::new();
        for mut link in [Link::decode(), Link::raw()] {
            link.frames(1);
            while link.interval < 12 * 266 {
                let hit = faults.iter().find(|(start, length, _)| (*start..start + length).contains(&link.interval));
                let data = content(place(link.interval).1);
                link.step(match hit {
                    // A cut that makes a packet of pauses would be data that nobody sent.
                    Some((_, _, Cut(28_312 | 33_792))) => Emptied,
                    Some((_, _, Lies(_))) if data.is_none_or(|(_, packet)| packet != 8) => Sent,
                    Some((_, _, fate)) => *fate,
                    None => Sent,
                });
            }
            // An intact frame at the end closes the account.
            link.frames(3);
            let delivered = link.delivered();
            prop_assert!(delivered.is_sorted_by(|a, b| a < b));
            prop_assert!(delivered.contains(&0));
            let sent = u64::from(*delivered.last().unwrap()) + 1;
            let count = link.counters();
            prop_assert_eq!(sent, count.frames_complete + count.frames_dropped + count.frames_lost);
            prop_assert_eq!(u64::from(place(link.interval).0), sent);
            prop_assert_eq!(count.sub_images + count.damaged_sub_images, sent * 10);
            prop_assert_eq!(count.frames_complete, delivered.len() as u64);
            prop_assert_eq!((count.refused, count.sequence_jumps), (0, 0));
            let came = count.packets - count.bad_packets - count.empty_packets - count.odd_packets;
            prop_assert_eq!(came + count.lost_packets, sent * 90);
            all.push(delivered);
        }
        prop_assert!(all[1].iter().all(|frame| all[0].contains(frame)));
    }

    /// Anything at all: nothing panics, and the packets add up.
    #[test]
    fn any_packets_are_survived(
        packets in proptest::collection::vec((any::<bool>(), 0..6_usize, any::<[u32; 6]>(), 0..12_u32), 0..300),
    ) {
        let mut stream = Stream::new();
        let mut target = Target::Raw(vec![0; SUB_IMAGE_BYTES].into_boxed_slice());
        for (good, length, words, small) in packets {
            let length = [0, PACKET_BYTES, PACKET_BYTES, LAST_PACKET_BYTES, FOOTER_BYTES, 40_000][length];
            let mut footer = Footer::new(words[0], words[1], small);
            if small == 11 {
                (footer.subsequence, footer.length) = (words[2], words[3]);
            }
            if small % 2 == 0 {
                footer.sequence = 5;
            }
            let mut bytes = vec![0; length];
            if let Some(end) = bytes.last_chunk_mut::<FOOTER_BYTES>() {
                *end = footer.to_bytes();
            }
            let status = if good { Good } else { Bad };
            let info = stream.packet(Duration::ZERO, status, &bytes, &mut target);
            prop_assert_eq!(info, None, "the target is too small for a frame");
        }
        let count = stream.counters();
        prop_assert!(count.bad_packets + count.empty_packets + count.odd_packets <= count.packets);
    }
}
