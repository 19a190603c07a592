//! Conversations with a client written by hand, on a clock that stands still unless it is told.

use kinect2::depth::SUB_IMAGE_BYTES;
use kinect2::protocol::{
    COMMAND_OUT, Command as Sensor, Completion, FOOTER_BYTES, Footer, LAST_PACKET_BYTES, PACKET_BYTES,
    REPLY_IN,
};

use kinect2_sim::device::Options;

use super::*;

const IMPORT: [u8; 8] = [0x01, 0x11, 0x80, 0x03, 0, 0, 0, 0];
const LIST: [u8; 8] = [0x01, 0x11, 0x80, 0x05, 0, 0, 0, 0];
/// Bytes of the answer to an import that was granted.
const IMPORTED: usize = 320;
const MILLISECOND: Duration = Duration::from_millis(1);

/// A client, the session it talks to, and the sensor behind that.
struct Talk {
    session: Session,
    host: Host,
    now: Duration,
    out: Vec<u8>,
}

/// A reply, taken apart.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Answer {
    Submitted { sequence: u32, status: i32, actual: u32, data: Vec<u8>, packets: Vec<(u32, i32)> },
    Unlinked { sequence: u32, status: i32 },
}

impl Talk {
    /// A client that has not asked for anything yet.
    fn new(pace: Pace) -> Self {
        Talk::with(host(pace, ""), pace)
    }

    fn with(host: Host, pace: Pace) -> Self {
        Talk { session: Session::new(pace), host, now: Duration::ZERO, out: Vec::new() }
    }

    /// A client that has the sensor.
    fn imported(pace: Pace) -> Self {
        Talk::new(pace).import()
    }

    fn import(mut self) -> Self {
        self.say(&import(BUS_ID)).unwrap();
        assert_eq!(self.out.len(), IMPORTED);
        self.out.clear();
        self
    }

    fn say(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        self.session.receive(bytes, &mut self.host, true, self.now, &mut self.out)
    }

    /// Lets time pass, in the steps that the session asks for; says how many there were.
    fn wait(&mut self, time: Duration) -> usize {
        let end = self.now + time;
        for steps in 0.. {
            self.session.turn(&mut self.host, self.now, &mut self.out);
            match [self.session.due(self.out.len() < OUT_MAX), self.host.due()].into_iter().flatten().min() {
                Some(due) if due <= end => self.now = self.now.max(due),
                _ => {
                    self.now = end;
                    return steps;
                }
            }
        }
        unreachable!()
    }

    /// The replies that came since the last call. The client has to know which direction and kind it asked for: that
    /// is by its sequence number, see [`submit`].
    fn answers(&mut self) -> Vec<Answer> {
        let bytes = std::mem::take(&mut self.out);
        let mut rest = &bytes[..];
        let mut answers = Vec::new();
        while !rest.is_empty() {
            let (sequence, status) = (word(rest, 4), word(rest, 20).cast_signed());
            if word(rest, 0) == 4 {
                answers.push(Answer::Unlinked { sequence, status });
                rest = &rest[48..];
                continue;
            }
            assert_eq!(word(rest, 0), 3);
            let (actual, count) = (word(rest, 24), word(rest, 32) as usize);
            let came = if sequence & OUTWARD == 0 { actual as usize } else { 0 };
            let data = rest[48..48 + came].to_vec();
            let descriptors = &rest[48 + came..48 + came + 16 * count];
            let packets = descriptors.chunks(16).map(|p| (word(p, 8), word(p, 12).cast_signed())).collect();
            answers.push(Answer::Submitted { sequence, status, actual, data, packets });
            rest = &rest[48 + came + 16 * count..];
        }
        answers
    }

    /// One reply, and no other.
    fn answer(&mut self) -> Answer {
        let answers = self.answers();
        assert_eq!(answers.len(), 1, "{answers:?}");
        answers.into_iter().next().unwrap()
    }

    fn control(&mut self, sequence: u32, setup: [u8; 8]) {
        let inward = setup[0] & 0x80 != 0;
        let length = u32::from(u16::from_le_bytes([setup[6], setup[7]]));
        let sequence = if inward { sequence } else { sequence | OUTWARD };
        let mut bytes = submit(sequence, inward, 0, length, 0, setup);
        if !inward {
            bytes.resize(bytes.len() + length as usize, 0);
        }
        self.say(&bytes).unwrap();
    }

    fn send(&mut self, sequence: u32, data: &[u8]) {
        let length = u32::try_from(data.len()).unwrap();
        let mut bytes = submit(sequence | OUTWARD, false, COMMAND_OUT, length, 0, [0; 8]);
        bytes.extend_from_slice(data);
        self.say(&bytes).unwrap();
    }

    fn read(&mut self, sequence: u32, length: u32) {
        self.say(&submit(sequence, true, REPLY_IN & 0x7F, length, 0, [0; 8])).unwrap();
    }

    /// Asks for eight packets of depth.
    fn depth(&mut self, sequence: u32) -> Result<(), Violation> {
        let room = u32::try_from(PACKET_BYTES).unwrap();
        let mut bytes = submit(sequence, true, DEPTH_IN & 0x7F, 8 * room, 8, [0; 8]);
        for packet in 0..8 {
            for word in [packet * room, room, 0, 0] {
                bytes.extend_from_slice(&u32::to_be_bytes(word));
            }
        }
        self.say(&bytes)
    }

    fn unlink(&mut self, sequence: u32, victim: u32) {
        let mut bytes = Vec::new();
        for word in [2, sequence, 0, 0, 0, victim, 0, 0, 0, 0, 0, 0] {
            bytes.extend_from_slice(&u32::to_be_bytes(word));
        }
        self.say(&bytes).unwrap();
    }

    /// Does what makes the sensor send depth.
    fn start(&mut self) {
        self.control(1, Setup::RESUME.to_bytes());
        self.answer();
        for _ in 0..10 {
            self.command(Sensor::Status);
        }
        self.command(Sensor::InitStreams);
        // SET_INTERFACE(1, 1).
        self.control(1, [1, 11, 1, 0, 1, 0, 0, 0]);
        self.answer();
        self.command(Sensor::Streaming(true));
    }

    /// Sends a command and takes what comes for it.
    fn command(&mut self, command: Sensor) {
        let (bytes, length) = command.to_bytes(0);
        self.send(1, &bytes[..length]);
        let mut expected = 1;
        for (sequence, length) in [(2, command.reply_max()), (3, 16)] {
            if length > 0 {
                self.read(sequence, u32::try_from(length).unwrap());
                expected += 1;
            }
        }
        self.wait(100 * MILLISECOND);
        let answers = self.answers();
        assert_eq!(answers.len(), expected, "{command}: {answers:?}");
        for answer in answers {
            assert!(matches!(answer, Answer::Submitted { status: 0, .. }), "{command}: {answer:?}");
        }
    }
}

/// A sensor with three frames of noise, whose stream begins with the first packet of one.
fn host(pace: Pace, faults: &str) -> Host {
    let options = Options { mid_frame: false, faults: faults.parse().unwrap(), ..Options::noise(1, 3) };
    Host::new(options, pace)
}

/// Marks the sequence numbers of what is sent to the sensor, whose replies carry no data.
const OUTWARD: u32 = 1 << 30;

fn import(bus_id: &str) -> Vec<u8> {
    let mut bytes = IMPORT.to_vec();
    bytes.extend_from_slice(bus_id.as_bytes());
    bytes.resize(40, 0);
    bytes
}

fn submit(sequence: u32, inward: bool, endpoint: u8, length: u32, packets: u32, setup: [u8; 8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [1, sequence, 0x0001_0002, u32::from(inward), endpoint.into(), 0, length, 5, packets, 1] {
        bytes.extend_from_slice(&u32::to_be_bytes(word));
    }
    bytes.extend_from_slice(&setup);
    bytes
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[test]
fn the_sensor_is_listed_and_given_to_one_client() {
    let mut talk = Talk::new(Pace::Demand);
    talk.say(&LIST).unwrap();
    assert_eq!(talk.out[8..12], [0, 0, 0, 1]);
    assert!(!talk.session.imported());
    talk.out.clear();
    talk.session.receive(&import(BUS_ID), &mut talk.host, false, talk.now, &mut talk.out).unwrap();
    assert_eq!(talk.out, [0x01, 0x11, 0, 3, 0, 0, 0, 1], "while another has it");
    talk.out.clear();
    talk.say(&import("1-2")).unwrap();
    assert_eq!(talk.out, [0x01, 0x11, 0, 3, 0, 0, 0, 1], "under another name");
    talk.out.clear();
    talk.host.unplug(talk.now);
    talk.say(&import(BUS_ID)).unwrap();
    assert_eq!(talk.out, [0x01, 0x11, 0, 3, 0, 0, 0, 1], "while it is unplugged");
    talk.host.plug(talk.now);
    talk.out.clear();
    let talk = talk.import();
    assert!(talk.session.imported());
}

#[test]
fn descriptors_come_and_what_is_not_there_stalls() {
    let mut talk = Talk::imported(Pace::Demand);
    talk.control(1, [0x80, 6, 0, 1, 0, 0, 18, 0]);
    let Answer::Submitted { sequence: 1, status: 0, actual: 18, data, .. } = talk.answer() else { panic!() };
    assert_eq!(data[8..12], [0x5E, 0x04, 0xC4, 0x02]);
    // The first nine bytes of a longer one.
    talk.control(2, [0x80, 6, 0, 2, 0, 0, 9, 0]);
    assert!(matches!(talk.answer(), Answer::Submitted { sequence: 2, status: 0, actual: 9, .. }));
    talk.control(3, [0x80, 6, 0, 0x77, 0, 0, 9, 0]);
    assert!(matches!(talk.answer(), Answer::Submitted { sequence: 3, status: -32, actual: 0, .. }));
}

#[test]
fn bytes_that_come_one_by_one_are_understood_all_the_same() {
    let mut talk = Talk::new(Pace::Demand);
    let mut bytes = import(BUS_ID);
    bytes.extend(submit(1, true, 0, 18, 0, [0x80, 6, 0, 1, 0, 0, 18, 0]));
    for byte in bytes {
        talk.say(&[byte]).unwrap();
    }
    assert_eq!(talk.out.len(), IMPORTED + 48 + 18);
}

#[test]
fn a_read_waits_for_the_command_that_fills_it() {
    let mut talk = Talk::imported(Pace::Demand);
    talk.control(1, Setup::RESUME.to_bytes());
    talk.answer();
    talk.read(2, 4);
    talk.read(3, 16);
    talk.wait(Duration::from_secs(10));
    assert_eq!(talk.answers(), [], "there is nothing to read yet");
    let (bytes, length) = Sensor::Status.to_bytes(77);
    talk.send(4, &bytes[..length]);
    talk.wait(100 * MILLISECOND);
    let mut answers = talk.answers();
    answers.sort_by_key(|answer| match answer {
        Answer::Submitted { sequence, .. } | Answer::Unlinked { sequence, .. } => *sequence,
    });
    let [
        Answer::Submitted { sequence: 2, status: 0, actual: 4, .. },
        Answer::Submitted { sequence: 3, status: 0, actual: 16, data, .. },
        Answer::Submitted { status: 0, actual: 24, .. },
    ] = &answers[..]
    else {
        panic!("{answers:?}")
    };
    assert_eq!(Completion::from_bytes(data).unwrap().sequence, 77);
}

#[test]
fn a_read_that_waits_can_be_taken_back() {
    let mut talk = Talk::imported(Pace::Demand);
    talk.read(1, 512);
    talk.unlink(2, 1);
    assert_eq!(talk.answer(), Answer::Unlinked { sequence: 2, status: errno::CONNRESET });
    // The number is free again, and so is what it stood for.
    talk.unlink(3, 1);
    assert_eq!(talk.answer(), Answer::Unlinked { sequence: 3, status: 0 });
    talk.read(1, 512);
    assert_eq!(talk.answers(), []);
}

#[test]
fn depth_that_is_held_back_can_be_taken_back() {
    let mut talk = Talk::imported(Pace::Demand);
    talk.start();
    for sequence in 100..160 {
        talk.depth(sequence).unwrap();
    }
    talk.unlink(200, 159);
    talk.wait(Duration::from_secs(1));
    let answers = talk.answers();
    assert!(answers.contains(&Answer::Unlinked { sequence: 200, status: errno::CONNRESET }));
    assert!(!answers.iter().any(|answer| matches!(answer, Answer::Submitted { sequence: 159, .. })));
}

/// Follows the stream and panics if a byte of it is missing or wrong.
#[derive(Default)]
struct Checker {
    /// Bytes of the sub-image so far.
    rows: Vec<u8>,
    sub_images: u32,
}

impl Checker {
    fn take(&mut self, host: &Host, data: &[u8], packets: &[(u32, i32)]) {
        let mut rest = data;
        for (actual, status) in packets {
            assert_eq!(*status, 0);
            let (packet, behind) = rest.split_at(*actual as usize);
            rest = behind;
            if packet.len() != LAST_PACKET_BYTES {
                self.rows.extend_from_slice(packet);
                continue;
            }
            let (rows, footer) = packet.split_at(LAST_PACKET_BYTES - FOOTER_BYTES);
            self.rows.extend_from_slice(rows);
            let footer = Footer::from_bytes(footer.try_into().unwrap());
            let number = footer.subsequence as usize;
            assert_eq!(footer.subsequence, self.sub_images % 10);
            let sent =
                &host.device().frame_of(footer.sequence)[number * SUB_IMAGE_BYTES..][..SUB_IMAGE_BYTES];
            assert!(self.rows == sent, "sub-image {number} of frame {}", footer.sequence);
            self.rows.clear();
            self.sub_images += 1;
        }
        assert!(rest.is_empty());
    }
}

#[test]
fn on_demand_no_interval_is_faster_than_on_a_wire_and_none_is_lost() {
    let mut talk = Talk::imported(Pace::Demand);
    talk.start();
    let mut checker = Checker::default();
    let mut next = 100;
    for _ in 0..60 {
        talk.depth(next).unwrap();
        next += 1;
    }
    // A client that gives each transfer again at once; one that is away for a minute; and one that is back.
    for (again, time) in [(true, 1), (false, 60), (true, 1)] {
        let end = talk.now + Duration::from_secs(time);
        let (mut taken, mut steps) = (0, 0);
        while talk.now < end {
            steps += talk.wait(MILLISECOND);
            for answer in talk.answers() {
                let Answer::Submitted { status: 0, data, packets, .. } = answer else { panic!() };
                assert_eq!(packets.len(), 8);
                checker.take(&talk.host, &data, &packets);
                taken += 1;
                if again {
                    talk.depth(next).unwrap();
                    next += 1;
                }
            }
        }
        assert!(steps < 2200, "{steps} wake-ups");
        if again {
            assert!((1000..=1060).contains(&taken), "{taken} transfers in a second");
        } else {
            assert_eq!(taken, 60, "only what was in flight");
            for _ in 0..60 {
                talk.depth(next).unwrap();
                next += 1;
            }
        }
    }
    assert!((590..=660).contains(&checker.sub_images), "{} sub-images", checker.sub_images);
}

#[test]
fn in_real_time_a_client_that_is_away_loses_what_was_sent_meanwhile() {
    let mut talk = Talk::imported(Pace::RealTime);
    talk.start();
    let mut seen = Vec::new();
    for second in 0..3_u32 {
        for index in 0..60 {
            talk.depth(100 + 60 * second + index).unwrap();
        }
        talk.wait(Duration::from_secs(1));
        for answer in talk.answers() {
            let Answer::Submitted { status: 0, data, packets, .. } = answer else { panic!() };
            let last = packets.iter().rposition(|(actual, _)| *actual as usize == LAST_PACKET_BYTES);
            let end: u32 = packets[..last.map_or(0, |last| last + 1)].iter().map(|(actual, _)| actual).sum();
            if let Some(start) = (end as usize).checked_sub(FOOTER_BYTES) {
                let footer = &data[start..start + FOOTER_BYTES];
                seen.push(Footer::from_bytes(footer.try_into().unwrap()).sequence);
            }
        }
    }
    // 60 ms of each second are at most three frames of thirty.
    assert!(seen.first().is_some_and(|first| seen.last().is_some_and(|last| last - first > 50)), "{seen:?}");
    seen.dedup();
    assert!(seen.len() <= 9, "{seen:?}");
}

#[test]
fn a_client_that_does_not_read_is_not_sent_more() {
    let mut talk = Talk::imported(Pace::Demand);
    talk.start();
    for sequence in 100..200 {
        talk.depth(sequence).unwrap();
    }
    talk.wait(Duration::from_secs(1));
    let one = 8 * PACKET_BYTES + 8 * 16 + 48;
    assert!((OUT_MAX..OUT_MAX + one).contains(&talk.out.len()), "{} bytes", talk.out.len());
    assert_eq!(talk.session.due(false), None, "and nobody is woken for it");
    talk.answers();
    talk.wait(Duration::from_secs(1));
    assert!(!talk.answers().is_empty());
}

#[test]
fn too_much_in_flight_ends_the_session() {
    let mut talk = Talk::imported(Pace::Demand);
    talk.read(1, 16);
    assert_eq!(
        talk.say(&submit(1, true, 1, 16, 0, [0; 8])).unwrap_err(),
        Violation::Sequence(1),
        "a number that is in use"
    );
    let mut talk = Talk::imported(Pace::Demand);
    let mut refused = None;
    for sequence in 1..100 {
        let most = u32::try_from(crate::wire::TRANSFER_MAX).unwrap();
        if let Err(violation) = talk.say(&submit(sequence, true, 1, most, 0, [0; 8])) {
            refused = Some((sequence, violation));
            break;
        }
    }
    assert_eq!(refused, Some((19, Violation::TooMuchInFlight)));
    let mut talk = Talk::imported(Pace::Demand);
    let refused = (1..2000).find_map(|sequence| talk.say(&submit(sequence, true, 1, 16, 0, [0; 8])).err());
    assert_eq!(refused, Some(Violation::TooMuchInFlight));
}

#[test]
fn the_next_client_finds_nothing_of_the_last() {
    let mut talk = Talk::imported(Pace::Demand);
    talk.start();
    talk.read(5, 512);
    for sequence in 100..160 {
        talk.depth(sequence).unwrap();
    }
    let Talk { session, mut host, now, .. } = talk;
    session.end(&mut host, now);
    assert!(host.completed().is_none());
    let mut talk = Talk::with(host, Pace::Demand).import();
    talk.wait(Duration::from_secs(1));
    assert_eq!(talk.answers(), []);
    talk.control(1, [0x80, 6, 0, 1, 0, 0, 18, 0]);
    assert!(matches!(talk.answer(), Answer::Submitted { sequence: 1, status: 0, .. }));
}
