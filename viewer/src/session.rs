//! One viewer's conversation in the Python protocol, across lost connections: what to do next, and until when.
//!
//! Owns neither socket nor clock. `now` is time since some fixed moment; it never falls.
//!
//! ```text
//!             lost, or what came was no picture
//!          +-------------------------------------+
//!          v                                     |
//!   Resting -----> Connecting -----> Live: `0`, a message, `0`, a message ...
//!          time is up         connected          |  leave or stop
//!                                                v
//!                                     Leaving: `1` or `2`, until the server closes -----> Over
//! ```
//!
//! A `1` or `2` is said in place of the next `0`, so that the server never reads both at once: the Python server takes
//! two bytes for one command, and dies of `00`.

use std::fmt;
use std::time::Duration;

use crate::limits::{CONNECT_TIME, LEAVE_TIME, REST_FIRST, REST_MAX, SILENCE};
use crate::message::{Message, Reader, TooLong};

/// What the session wants done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// A new connection: [`Session::connecting`], then [`Session::connected`] or [`Session::lost`].
    Connect,
    /// This byte sent, then [`Session::sent`].
    Send(u8),
    /// What comes in given to [`Session::receive`], or [`Session::lost`] at its end. While there is no connection:
    /// nothing.
    Wait,
    /// The connection closed, if there is one; nothing more will come.
    End,
}

/// How a viewer leaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Leave {
    /// Says `1`: the server goes on.
    Goodbye,
    /// Says `2`: the server should stop too.
    Stop,
}

/// Why there is no connection any more.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Lost {
    /// It did not come about; the words of the system.
    Refused(String),
    /// The server closed it.
    Closed {
        /// In the middle of a message.
        inside: bool,
    },
    /// Nothing came for [`SILENCE`].
    Silent,
    /// What came is not what a server sends; in words.
    Nonsense(String),
}

/// A conversation.
#[derive(Debug)]
pub struct Session {
    state: State,
    reader: Reader,
    /// Attempts that failed since the last picture.
    failures: u32,
    /// Whether this connection has brought a message.
    served: bool,
    leave: Option<Leave>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Resting {
        until: Duration,
    },
    Connecting {
        until: Duration,
    },
    /// Nothing is owed.
    Live,
    /// A message is owed. `heard` is when something last came; `None` before the first.
    Asked {
        heard: Option<Duration>,
    },
    /// The same, and the viewer wants to leave.
    AskedLeaving {
        until: Duration,
    },
    Leaving {
        until: Duration,
    },
    Over,
}

impl Session {
    /// A viewer that wants to be connected now.
    pub fn new() -> Self {
        Self {
            state: State::Resting { until: Duration::ZERO },
            reader: Reader::default(),
            failures: 0,
            served: false,
            leave: None,
        }
    }

    /// What comes next at `now`.
    pub fn next(&self, now: Duration) -> Next {
        match self.state {
            State::Resting { until } if until <= now => Next::Connect,
            State::Live => Next::Send(self.leave.map_or(b'0', Leave::byte)),
            // The reply does not come: the server is asked to let go all the same.
            State::AskedLeaving { until } if until <= now => Next::Send(self.leave.map_or(b'1', Leave::byte)),
            State::Leaving { until } if until <= now => Next::End,
            State::Over => Next::End,
            _ => Next::Wait,
        }
    }

    /// When [`Session::next`] or [`Session::is_late`] may say something new although nothing has happened.
    pub fn wake_at(&self) -> Option<Duration> {
        match self.state {
            State::Resting { until }
            | State::Connecting { until }
            | State::AskedLeaving { until }
            | State::Leaving { until } => Some(until),
            State::Asked { heard } => heard.map(|heard| heard + SILENCE),
            State::Live | State::Over => None,
        }
    }

    /// Whether something should have come about by `now`: then [`Session::lost`] is to be told why.
    pub fn is_late(&self, now: Duration) -> Option<Lost> {
        match self.state {
            State::Connecting { until } if until <= now => Some(Lost::Refused("no answer".into())),
            State::Asked { heard: Some(heard) } if heard + SILENCE <= now => Some(Lost::Silent),
            _ => None,
        }
    }

    /// A connection is being made.
    pub fn connecting(&mut self, now: Duration) {
        if matches!(self.state, State::Resting { .. }) {
            self.state = State::Connecting { until: now + CONNECT_TIME };
        }
    }

    /// The connection stands.
    pub fn connected(&mut self) {
        if matches!(self.state, State::Connecting { .. }) {
            self.reader = Reader::default();
            self.served = false;
            self.state = State::Live;
        }
    }

    /// The byte that [`Session::next`] named has left.
    pub fn sent(&mut self, now: Duration) {
        self.state = match self.state {
            State::Live if self.leave.is_none() => {
                // Before the first picture the server may be busy with another viewer for as long as that likes.
                State::Asked { heard: self.served.then_some(now) }
            }
            State::Live | State::AskedLeaving { .. } => State::Leaving { until: now + LEAVE_TIME },
            state => state,
        };
    }

    /// Takes bytes of the server. A message that is not whole yet, or that comes while leaving, is `None`.
    ///
    /// # Errors
    /// [`TooLong`]; the connection is then of no more use.
    pub fn receive(&mut self, bytes: &[u8], now: Duration) -> Result<Option<Message>, TooLong> {
        let mut rest = bytes;
        let message = self.reader.read(&mut rest)?;
        match &mut self.state {
            State::Asked { heard } => *heard = Some(now),
            State::AskedLeaving { until } => *until = now + LEAVE_TIME,
            _ => {}
        }
        if message.is_some() && matches!(self.state, State::Asked { .. } | State::AskedLeaving { .. }) {
            self.served = true;
            self.state = State::Live;
        }
        // Nobody has asked for what is left; it belongs to no message.
        Ok(message)
    }

    /// Whether a connection is being made.
    pub fn is_connecting(&self) -> bool {
        matches!(self.state, State::Connecting { .. })
    }

    /// Whether a message has begun and is not whole.
    pub fn is_inside(&self) -> bool {
        self.reader.is_inside()
    }

    /// Whether the viewer wants to leave.
    pub fn is_leaving(&self) -> bool {
        self.leave.is_some()
    }

    /// The message held a picture: the server is one.
    pub fn accepted(&mut self) {
        self.failures = 0;
    }

    /// There is no connection any more, or there had better be none. Returns the rest before the next attempt; `None`
    /// when the viewer wanted to leave anyway.
    pub fn lost(&mut self, now: Duration) -> Option<Duration> {
        if self.leave.is_some() {
            self.state = State::Over;
            return None;
        }
        let rest = REST_MAX.min(REST_FIRST * 2u32.pow(self.failures.min(10)));
        self.failures += 1;
        self.state = State::Resting { until: now + rest };
        Some(rest)
    }

    /// The viewer wants to leave. Without a connection that is done at once; returns whether the server can be told.
    pub fn leave(&mut self, how: Leave, now: Duration) -> bool {
        self.leave = Some(how);
        match self.state {
            State::Asked { .. } => self.state = State::AskedLeaving { until: now + LEAVE_TIME },
            State::Live | State::AskedLeaving { .. } | State::Leaving { .. } => {}
            State::Resting { .. } | State::Connecting { .. } | State::Over => {
                self.state = State::Over;
                return false;
            }
        }
        true
    }
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl Leave {
    fn byte(self) -> u8 {
        match self {
            Self::Goodbye => b'1',
            Self::Stop => b'2',
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => write!(f, "no connection: {why}"),
            Self::Closed { inside: false } => write!(f, "the server closed the connection"),
            Self::Closed { inside: true } => {
                write!(f, "the server closed the connection in the middle of a picture")
            }
            Self::Silent => write!(f, "nothing came for {} seconds", SILENCE.as_secs()),
            Self::Nonsense(what) => f.write_str(what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use depthcast::camera::TEXT_LEN;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn message(payload: &[u8]) -> Vec<u8> {
        [&u32::try_from(payload.len()).unwrap().to_be_bytes()[..], &[0; TEXT_LEN], payload].concat()
    }

    /// A session that has asked for its first picture at `now`.
    fn asked(now: Duration) -> Session {
        let mut session = Session::new();
        assert_eq!(session.next(now), Next::Connect);
        session.connecting(now);
        session.connected();
        assert_eq!(session.next(now), Next::Send(b'0'));
        session.sent(now);
        session
    }

    #[test]
    fn one_request_one_message() {
        let mut session = asked(ms(0));
        for n in 0..3 {
            assert_eq!(session.next(ms(n)), Next::Wait);
            let bytes = message(&[7; 50]);
            assert_eq!(session.receive(&bytes[..100], ms(n)), Ok(None));
            assert_eq!(session.next(ms(n)), Next::Wait, "half a message is no reason to ask");
            let got = session.receive(&bytes[100..], ms(n)).unwrap().expect("whole");
            assert_eq!(got.payload, [7; 50]);
            session.accepted();
            assert_eq!(session.next(ms(n)), Next::Send(b'0'));
            session.sent(ms(n));
        }
    }

    #[test]
    fn goodbye_takes_the_place_of_the_next_request() {
        for (how, byte) in [(Leave::Goodbye, b'1'), (Leave::Stop, b'2')] {
            let mut session = asked(ms(0));
            assert!(session.leave(how, ms(5)));
            assert_eq!(session.next(ms(5)), Next::Wait, "a `0` is on its way");
            assert!(session.receive(&message(b"x"), ms(9)).unwrap().is_some());
            assert_eq!(session.next(ms(9)), Next::Send(byte));
            session.sent(ms(9));
            assert_eq!(session.next(ms(10)), Next::Wait);
            assert_eq!(session.lost(ms(11)), None, "the server closed, as it was asked to");
            assert_eq!(session.next(ms(11)), Next::End);
        }
    }

    #[test]
    fn goodbye_is_said_although_no_reply_comes() {
        let mut session = asked(ms(0));
        session.leave(Leave::Goodbye, ms(0));
        assert_eq!(session.wake_at(), Some(LEAVE_TIME));
        assert_eq!(session.next(LEAVE_TIME), Next::Send(b'1'));
        session.sent(LEAVE_TIME);
        assert_eq!(session.next(LEAVE_TIME), Next::Wait);
        assert_eq!(session.next(2 * LEAVE_TIME), Next::End, "and nobody waits for the server for ever");
    }

    #[test]
    fn a_reply_that_is_coming_is_waited_for() {
        let mut session = asked(ms(0));
        session.leave(Leave::Stop, ms(0));
        let bytes = message(&[0; 900]);
        for (n, part) in (1..).zip(bytes.chunks(300)) {
            assert_eq!(session.next(ms(600 * n)), Next::Wait);
            session.receive(part, ms(600 * n)).unwrap();
        }
        assert_eq!(session.next(ms(2400)), Next::Send(b'2'));
    }

    #[test]
    fn without_a_connection_leaving_is_done_at_once() {
        let mut session = Session::new();
        assert!(!session.leave(Leave::Stop, ms(0)), "nobody can be told");
        assert_eq!(session.next(ms(0)), Next::End);
        let mut session = Session::new();
        session.connecting(ms(0));
        assert!(!session.leave(Leave::Goodbye, ms(0)));
        session.connected();
        assert_eq!(session.next(ms(0)), Next::End);
    }

    #[test]
    fn rests_double_and_a_picture_ends_them() {
        let mut session = Session::new();
        let mut now = ms(0);
        for rest in [250, 500, 1000, 2000, 4000, 5000, 5000] {
            assert_eq!(session.next(now), Next::Connect);
            session.connecting(now);
            assert_eq!(session.lost(now), Some(ms(rest)));
            assert_eq!(session.next(now + ms(rest - 1)), Next::Wait);
            assert_eq!(session.wake_at(), Some(now + ms(rest)));
            now += ms(rest);
        }
        session.connecting(now);
        session.connected();
        session.sent(now);
        assert_eq!(session.lost(now), Some(REST_MAX), "being let in is no picture");
        now += REST_MAX;
        session.connecting(now);
        session.connected();
        session.sent(now);
        session.receive(&message(b"x"), now).unwrap();
        session.accepted();
        assert_eq!(session.lost(now), Some(REST_FIRST));
    }

    #[test]
    fn silence_is_a_loss_only_once_a_server_has_spoken() {
        let mut session = asked(ms(0));
        assert_eq!(
            (session.wake_at(), session.is_late(ms(3_600_000))),
            (None, None),
            "another viewer is served"
        );
        session.receive(&message(b"x")[..1], ms(0)).unwrap();
        assert_eq!(session.is_late(SILENCE - ms(1)), None);
        assert_eq!(session.is_late(SILENCE), Some(Lost::Silent));
        assert_eq!(session.wake_at(), Some(SILENCE));

        let mut session = asked(ms(0));
        session.receive(&message(b"x"), ms(0)).unwrap();
        session.sent(ms(0));
        assert_eq!(session.is_late(SILENCE), Some(Lost::Silent));
    }

    #[test]
    fn a_connection_that_does_not_come_about_is_given_up() {
        let mut session = Session::new();
        session.connecting(ms(0));
        assert_eq!(session.is_late(CONNECT_TIME - ms(1)), None);
        assert_eq!(session.is_late(CONNECT_TIME), Some(Lost::Refused("no answer".into())));
    }

    #[test]
    fn half_a_message_of_the_old_connection_does_not_reach_the_new_one() {
        let mut session = asked(ms(0));
        session.receive(&message(b"xyz")[..150], ms(0)).unwrap();
        session.lost(ms(0));
        session.connecting(ms(250));
        session.connected();
        session.sent(ms(250));
        assert_eq!(session.receive(&message(b"abc"), ms(250)).unwrap().unwrap().payload, b"abc");
    }
}
