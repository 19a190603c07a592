//! The command channel: one command at a time, its answer read until the completion that has its number.
//!
//! ```text
//! Idle ── drain ──▶ Draining ── quiet ──▶ Idle
//!  │                   │ stall: clear once
//!  └── begin ──▶ Sending ──▶ Reading ── completion of this number ──▶ Idle
//!                   ▲   stall  │ data, old completions
//!                   └─ Clearing ◀┘ once
//! ```
//!
//! Owns no descriptor and no clock: [`Channel::want`] says what to transfer and how long that may take,
//! [`Channel::event`] takes what came of it. Packets: [`crate::protocol`]; the order of an answer, and that old ones may
//! be in front of it, as libfreenect2 (commit fd64c5d) and reports of its users have it (issue 488).

use std::fmt;
use std::time::Duration;

use crate::protocol::{COMMAND_MAX, COMMAND_OUT, COMPLETION_BYTES, Command, Completion, PAGE_MAX, REPLY_IN};

/// How long a command may take to be sent, its data to come, and its completion to come after that.
pub const STEP_TIME: Duration = Duration::from_secs(1);
/// How long nothing may come for the channel to be drained.
pub const QUIET: Duration = Duration::from_millis(30);
/// Bytes that are kept of a reply other than the P0 tables.
pub const REPLY_KEPT: usize = BULK_PACKET;

/// What to transfer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ask<'a> {
    /// Write this to [`COMMAND_OUT`].
    Send(&'a [u8]),
    /// Read [`REPLY_IN`] with this many bytes of room.
    Receive(usize),
    /// Clear the halt of this endpoint.
    ClearHalt(u8),
}

/// What came of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event<'a> {
    /// All was sent, or the halt is cleared.
    Well,
    /// This was read.
    Received(&'a [u8]),
    /// It was given up when its time was over.
    TimedOut,
    /// The endpoint stalled.
    Stall,
}

/// How far the channel is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// More is to be transferred.
    Pending,
    /// The command is complete, or the channel drained.
    Complete,
    /// It failed; the channel is free for the next.
    Failed(Error),
}

/// Why a command failed. It may be sent again; what is left of its answer is known by its number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Error {
    /// Not sent or not answered in time.
    NoReply,
    /// A second stall, after the first was cleared.
    Refused,
    /// Answered, but not as it must be.
    Bad(Flaw),
}

/// What was wrong with an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flaw {
    /// The completion came and no data before it.
    NoData,
    /// Data of this many bytes: too few or too many.
    Length(usize),
    /// The completion of a command that was never sent.
    Sequence {
        /// Number of the command.
        sent: u32,
        /// Number that came.
        came: u32,
    },
    /// Old replies without end.
    Flood,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::NoData => f.write_str("a completion instead of data"),
            Flaw::Length(bytes) => write!(f, "{bytes} bytes of data"),
            Flaw::Sequence { sent, came } => write!(f, "the completion of command {came} for command {sent}"),
            Flaw::Flood => f.write_str("old replies without end"),
        }
    }
}

/// What happened on the channel.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Commands sent again after a stall.
    pub retries: u64,
    /// Replies that belonged to no command or to an older one.
    pub stale: u64,
}

/// The command channel of one sensor.
pub struct Channel {
    state: State,
    /// Number of the next command.
    sequence: u32,
    packet: [u8; COMMAND_MAX],
    packet_length: usize,
    reply: [u8; REPLY_KEPT],
    reply_length: usize,
    p0: Box<[u8]>,
    p0_length: usize,
    p0_changed: bool,
    counters: Counters,
}

impl Channel {
    /// A channel with nothing to do. Allocates room for the longest reply; nothing after that allocates.
    #[must_use]
    pub fn new() -> Self {
        Channel {
            state: State::Idle,
            sequence: 0,
            packet: [0; COMMAND_MAX],
            packet_length: 0,
            reply: [0; REPLY_KEPT],
            reply_length: 0,
            p0: vec![0; PAGE_MAX].into_boxed_slice(),
            p0_length: 0,
            p0_changed: false,
            counters: Counters::default(),
        }
    }

    /// The sensor has been opened anew: commands are numbered from 0 again.
    pub fn restart(&mut self) {
        self.state = State::Idle;
        self.sequence = 0;
    }

    /// Forgets the command in work, if there is one.
    pub fn abort(&mut self) {
        self.state = State::Idle;
    }

    /// Whether no command is in work.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Begins to read what is left of somebody's commands, until nothing comes for [`QUIET`].
    pub fn drain(&mut self) {
        self.state = State::Draining { left: STALE_MAX, cleared: false };
    }

    /// Begins a command; one in work is forgotten.
    pub fn begin(&mut self, command: Command, now: Duration) {
        self.send(command, STALE_MAX, false, now);
    }

    /// What to transfer next, and until when that may take; `None` if there is nothing to do. It changes only by
    /// [`Channel::event`].
    #[must_use]
    pub fn want(&self, now: Duration) -> Option<(Ask<'_>, Duration)> {
        match &self.state {
            State::Idle => None,
            State::Draining { .. } => Some((Ask::Receive(PAGE_MAX), now + QUIET)),
            State::Sending { until, .. } => Some((Ask::Send(&self.packet[..self.packet_length]), *until)),
            State::Reading { talk, until, .. } => {
                let max = talk.command.reply_max().max(COMPLETION_BYTES).next_multiple_of(BULK_PACKET);
                Some((Ask::Receive(max), *until))
            }
            State::Clearing { endpoint, .. } => Some((Ask::ClearHalt(*endpoint), now + STEP_TIME)),
        }
    }

    /// Takes what came of the transfer that was wanted. What does not fit it changes nothing.
    pub fn event(&mut self, event: Event<'_>, now: Duration) -> Verdict {
        let verdict = match (self.state, event) {
            (State::Idle, _) => Verdict::Pending,
            (State::Draining { left, cleared }, event) => self.drained(event, left, cleared),
            (State::Sending { talk, .. }, Event::Well) => {
                let data = if talk.command.reply_max() == 0 { Data::NotNeeded } else { Data::Missing };
                self.state = State::Reading { talk, data, until: now + STEP_TIME };
                Verdict::Pending
            }
            (State::Sending { talk, .. }, Event::Stall) => self.stalled(COMMAND_OUT, talk),
            (State::Reading { talk, .. }, Event::Stall) => self.stalled(REPLY_IN, talk),
            (State::Reading { talk, data, until }, Event::Received(bytes)) => {
                self.received(bytes, talk, data, until, now)
            }
            (State::Reading { data: Data::Unfit(bytes), .. }, Event::TimedOut) => {
                Verdict::Failed(Error::Bad(Flaw::Length(bytes)))
            }
            (State::Clearing { then, .. }, Event::Well) => {
                match then {
                    Then::Drain { left } => self.state = State::Draining { left, cleared: true },
                    Then::Send(talk) => {
                        self.counters.retries += 1;
                        self.send(talk.command, talk.left, true, now);
                    }
                }
                Verdict::Pending
            }
            (State::Clearing { .. }, Event::Stall) => Verdict::Failed(Error::Refused),
            (_, Event::TimedOut) => Verdict::Failed(Error::NoReply),
            (State::Sending { .. } | State::Clearing { .. }, Event::Received(_))
            | (State::Reading { .. }, Event::Well) => Verdict::Pending,
        };
        if verdict != Verdict::Pending {
            self.state = State::Idle;
        }
        verdict
    }

    /// The data of the last command that had any, its first [`REPLY_KEPT`] bytes at most; not of [`Command::P0`].
    #[must_use]
    pub fn reply(&self) -> &[u8] {
        &self.reply[..self.reply_length]
    }

    /// The data of the last [`Command::P0`], all of it; empty before the first.
    #[must_use]
    pub fn p0(&self) -> &[u8] {
        &self.p0[..self.p0_length]
    }

    /// Whether [`Channel::p0`] has changed since this was last asked.
    pub fn take_p0_changed(&mut self) -> bool {
        std::mem::take(&mut self.p0_changed)
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn send(&mut self, command: Command, left: u8, retried: bool, now: Duration) {
        let talk = Talk { command, sequence: self.sequence, left, retried };
        (self.packet, self.packet_length) = command.to_bytes(self.sequence);
        self.sequence = self.sequence.wrapping_add(1);
        self.state = State::Sending { talk, until: now + STEP_TIME };
    }

    fn drained(&mut self, event: Event<'_>, left: u8, cleared: bool) -> Verdict {
        match event {
            Event::TimedOut => return Verdict::Complete,
            Event::Received(_) if left == 0 => return Verdict::Failed(Error::Bad(Flaw::Flood)),
            Event::Received(_) => {
                self.counters.stale += 1;
                self.state = State::Draining { left: left - 1, cleared };
            }
            Event::Stall if cleared => return Verdict::Failed(Error::Refused),
            Event::Stall => self.state = State::Clearing { endpoint: REPLY_IN, then: Then::Drain { left } },
            Event::Well => {}
        }
        Verdict::Pending
    }

    /// The whole command is sent again, with a number of its own: so it does not matter which half of it was lost.
    fn stalled(&mut self, endpoint: u8, talk: Talk) -> Verdict {
        if talk.retried {
            return Verdict::Failed(Error::Refused);
        }
        self.state = State::Clearing { endpoint, then: Then::Send(talk) };
        Verdict::Pending
    }

    /// Old data has no number, but the old completion behind it has: what was taken for the answer is then given up. The
    /// last block before the completion is the answer.
    fn received(
        &mut self,
        bytes: &[u8],
        mut talk: Talk,
        mut data: Data,
        mut until: Duration,
        now: Duration,
    ) -> Verdict {
        if talk.left == 0 {
            return Verdict::Failed(Error::Bad(Flaw::Flood));
        }
        talk.left -= 1;
        if bytes.is_empty() {
            // The end of a transfer that was a multiple of whole packets.
            self.state = State::Reading { talk, data, until };
            return Verdict::Pending;
        }
        if matches!(data, Data::Unfit(_) | Data::Good)
            && Completion::from_bytes(bytes).is_none_or(|completion| completion.sequence != talk.sequence)
        {
            self.counters.stale += 1;
            data = Data::Missing;
        }
        match Completion::from_bytes(bytes) {
            Some(completion) if completion.sequence == talk.sequence => {
                return match data {
                    Data::NotNeeded | Data::Good => Verdict::Complete,
                    Data::Missing => Verdict::Failed(Error::Bad(Flaw::NoData)),
                    Data::Unfit(bytes) => Verdict::Failed(Error::Bad(Flaw::Length(bytes))),
                };
            }
            Some(Completion { sequence: came, .. }) if is_newer(came, talk.sequence) => {
                let flaw = Flaw::Sequence { sent: talk.sequence, came };
                return Verdict::Failed(Error::Bad(flaw));
            }
            Some(_) => self.counters.stale += 1,
            None if data == Data::NotNeeded => self.counters.stale += 1,
            None if (talk.command.reply_min()..=talk.command.reply_max()).contains(&bytes.len()) => {
                self.keep(talk.command, bytes);
                data = Data::Good;
                until = now + STEP_TIME;
            }
            None => data = Data::Unfit(bytes.len()),
        }
        self.state = State::Reading { talk, data, until };
        Verdict::Pending
    }

    fn keep(&mut self, command: Command, bytes: &[u8]) {
        if command != Command::P0 {
            self.reply_length = bytes.len().min(REPLY_KEPT);
            self.reply[..self.reply_length].copy_from_slice(&bytes[..self.reply_length]);
        } else if self.p0() != bytes {
            self.p0_length = bytes.len();
            self.p0[..bytes.len()].copy_from_slice(bytes);
            self.p0_changed = true;
        }
    }
}

impl Default for Channel {
    fn default() -> Self {
        Channel::new()
    }
}

impl fmt::Debug for Channel {
    /// Without the replies: they are long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("state", &self.state)
            .field("sequence", &self.sequence)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    Idle,
    Draining { left: u8, cleared: bool },
    Sending { talk: Talk, until: Duration },
    Reading { talk: Talk, data: Data, until: Duration },
    Clearing { endpoint: u8, then: Then },
}

/// A command in work.
#[derive(Clone, Copy, Debug)]
struct Talk {
    command: Command,
    sequence: u32,
    /// Blocks that may still come.
    left: u8,
    retried: bool,
}

#[derive(Clone, Copy, Debug)]
enum Then {
    Drain { left: u8 },
    Send(Talk),
}

/// The data of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Data {
    NotNeeded,
    Missing,
    /// A block of a length that it cannot have.
    Unfit(usize),
    Good,
}

fn is_newer(came: u32, sent: u32) -> bool {
    came.wrapping_sub(sent) < 1 << 31
}

/// Bytes of a bulk packet on USB 3. A read of a multiple of it is never overrun by one packet too large.
const BULK_PACKET: usize = 1024;
/// Most blocks that are read for one command, or to drain: no sensor leaves more, and who does is not to keep us here.
const STALE_MAX: u8 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const T: Duration = Duration::from_secs(7);

    /// A channel whose command has just been sent.
    fn sent(command: Command) -> Channel {
        let mut channel = Channel::new();
        channel.begin(command, T);
        assert!(matches!(channel.want(T), Some((Ask::Send(_), _))));
        assert_eq!(channel.event(Event::Well, T), Verdict::Pending);
        channel
    }

    fn completion(sequence: u32) -> [u8; 16] {
        Completion { sequence, rest: [0, 0] }.to_bytes()
    }

    #[test]
    fn an_answer_is_data_and_a_completion() {
        let mut channel = sent(Command::Status);
        assert_eq!(channel.want(T), Some((Ask::Receive(1024), T + STEP_TIME)));
        assert_eq!(channel.event(Event::Received(&[1, 0x26, 0, 0]), T), Verdict::Pending);
        assert_eq!(channel.event(Event::Received(&completion(0)), T), Verdict::Complete);
        assert_eq!(channel.reply(), [1, 0x26, 0, 0]);
        assert!(channel.is_idle());
        assert_eq!(channel.want(T), None);
    }

    #[test]
    fn a_command_without_data_wants_its_completion_only() {
        let mut channel = sent(Command::InitStreams);
        assert_eq!(channel.event(Event::Received(&completion(0)), T), Verdict::Complete);
    }

    #[test]
    fn commands_are_numbered_from_zero_after_each_opening() {
        let mut channel = sent(Command::InitStreams);
        channel.event(Event::Received(&completion(0)), T);
        channel.begin(Command::Stop, T);
        let Some((Ask::Send(bytes), _)) = channel.want(T) else { panic!("nothing to send") };
        assert_eq!(bytes[4..8], [1, 0, 0, 0]);
        channel.restart();
        channel.begin(Command::Stop, T);
        let Some((Ask::Send(bytes), _)) = channel.want(T) else { panic!("nothing to send") };
        assert_eq!(bytes[4..8], [0, 0, 0, 0]);
    }

    #[test]
    fn an_old_answer_in_front_is_passed_over_also_when_it_looks_like_this_one() {
        let mut channel = sent(Command::Status);
        let old = completion(u32::MAX);
        for block in [&[9, 9, 9, 9][..], &old, &[5; 92], &old, &[1, 0, 0, 0]] {
            assert_eq!(channel.event(Event::Received(block), T), Verdict::Pending);
        }
        assert_eq!(channel.event(Event::Received(&completion(0)), T), Verdict::Complete);
        assert_eq!(channel.reply(), [1, 0, 0, 0]);
        assert_eq!(channel.counters().stale, 4);
    }

    #[test]
    fn what_cannot_be_the_answer_fails_the_command() {
        let bad = |command, blocks: &[&[u8]]| {
            let mut channel = sent(command);
            let mut verdict = Verdict::Pending;
            for block in blocks {
                assert_eq!(verdict, Verdict::Pending);
                verdict = channel.event(Event::Received(block), T);
            }
            assert!(channel.is_idle());
            verdict
        };
        let failed = |flaw| Verdict::Failed(Error::Bad(flaw));
        let ours = completion(0);
        assert_eq!(bad(Command::Status, &[&ours]), failed(Flaw::NoData));
        assert_eq!(bad(Command::Status, &[&[1; 3], &ours]), failed(Flaw::Length(3)));
        assert_eq!(bad(Command::Status, &[&[1; 5], &ours]), failed(Flaw::Length(5)));
        assert_eq!(bad(Command::Status, &[&[], &ours]), failed(Flaw::NoData));
        let wrong = failed(Flaw::Sequence { sent: 0, came: 1 });
        assert_eq!(bad(Command::Status, &[&[1; 4], &completion(1)]), wrong);
        assert_eq!(bad(Command::Stop, &[&completion(1)]), wrong);
        assert_eq!(bad(Command::Stop, &[&[0; 7][..]; 65]), failed(Flaw::Flood));
    }

    #[test]
    fn a_stall_is_cleared_once_and_the_command_sent_again() {
        for reading in [false, true] {
            let mut channel = Channel::new();
            channel.begin(Command::Status, T);
            if reading {
                channel.event(Event::Well, T);
            }
            assert_eq!(channel.event(Event::Stall, T), Verdict::Pending);
            let endpoint = if reading { REPLY_IN } else { COMMAND_OUT };
            assert!(matches!(channel.want(T), Some((Ask::ClearHalt(e), _)) if e == endpoint));
            channel.event(Event::Well, T);
            let Some((Ask::Send(bytes), _)) = channel.want(T) else { panic!("nothing to send") };
            assert_eq!(bytes[4], 1, "a number of its own");
            channel.event(Event::Well, T);
            // What is left of the first is old by now.
            for block in [&[2; 4][..], &completion(0), &[1; 4]] {
                assert_eq!(channel.event(Event::Received(block), T), Verdict::Pending);
            }
            let mut twice = channel;
            assert_eq!(twice.event(Event::Stall, T), Verdict::Failed(Error::Refused));
            assert_eq!(twice.counters().retries, 1);
        }
    }

    #[test]
    fn time_runs_anew_with_data_but_not_with_old_answers() {
        let mut channel = sent(Command::Status);
        let later = T + Duration::from_millis(900);
        channel.event(Event::Received(&completion(u32::MAX)), later);
        assert_eq!(channel.want(later).map(|(_, until)| until), Some(T + STEP_TIME));
        channel.event(Event::Received(&[0; 4]), later);
        assert_eq!(channel.want(later).map(|(_, until)| until), Some(later + STEP_TIME));
        assert_eq!(channel.event(Event::TimedOut, later), Verdict::Failed(Error::NoReply));
        let mut channel = sent(Command::Status);
        channel.event(Event::Received(&[0; 3]), T);
        assert_eq!(channel.event(Event::TimedOut, T), Verdict::Failed(Error::Bad(Flaw::Length(3))));
    }

    #[test]
    fn draining_reads_until_it_is_quiet() {
        let mut channel = Channel::new();
        channel.drain();
        assert_eq!(channel.want(T), Some((Ask::Receive(PAGE_MAX), T + QUIET)));
        channel.event(Event::Received(&[0; 20_000]), T);
        channel.event(Event::Stall, T);
        assert!(matches!(channel.want(T), Some((Ask::ClearHalt(REPLY_IN), _))));
        channel.event(Event::Well, T);
        channel.event(Event::Received(&completion(3)), T);
        assert_eq!(channel.event(Event::TimedOut, T), Verdict::Complete);
        assert_eq!(channel.counters().stale, 2);
        channel.drain();
        for _ in 0..STALE_MAX {
            assert_eq!(channel.event(Event::Received(&[]), T), Verdict::Pending);
        }
        let flood = Verdict::Failed(Error::Bad(Flaw::Flood));
        assert_eq!(channel.event(Event::Received(&[]), T), flood);
    }

    #[test]
    fn p0_is_kept_and_known_when_it_is_the_same() {
        let mut channel = Channel::new();
        let mut page = vec![7; crate::depth::P0_REPLY_MIN];
        for (changed, byte) in [(true, 7), (false, 7), (true, 8)] {
            page[1_000_000] = byte;
            channel.restart();
            channel.begin(Command::P0, T);
            channel.event(Event::Well, T);
            assert_eq!(channel.want(T).map(|(ask, _)| ask), Some(Ask::Receive(PAGE_MAX)));
            channel.event(Event::Received(&page), T);
            assert_eq!(channel.event(Event::Received(&completion(0)), T), Verdict::Complete);
            assert_eq!(channel.take_p0_changed(), changed);
            assert_eq!(channel.p0(), page);
        }
    }

    #[test]
    fn numbers_wrap() {
        assert!(is_newer(0, u32::MAX));
        assert!(is_newer(5, 4));
        assert!(!is_newer(u32::MAX, 0));
        assert!(!is_newer(3, 4));
    }
}
