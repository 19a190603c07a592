//! The Python viewers' protocol: one byte a command, one message a reply.
//!
//! It has three names: "the Python protocol" in documents, `legacy` in the configuration and here, `python` where connections
//! are counted or listed.
//!
//! | byte | meaning |
//! | --- | --- |
//! | `0` | send me the newest frame that I have not had |
//! | `1` | goodbye: only this viewer leaves |
//! | `2` | goodbye, and the server stops too, if this viewer may say so |
//!
//! Each byte is obeyed in its order, so `001` is two replies and then goodbye. What follows an ending is ignored.
//! When the peer closes its sending side, the replies it is owed are still sent.

use super::Close;
use crate::limits::OWED_MAX;

/// What a connection wants next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// More commands.
    Read,
    /// A picture to send, then [`Machine::sent`].
    Picture,
    /// To be closed.
    Close(Close),
    /// The server to stop.
    Shutdown,
}

/// One viewer of the Python protocol.
#[derive(Debug, Default)]
pub struct Machine {
    owed: u8,
    ending: Option<Ending>,
}

impl Machine {
    /// Bytes that [`Machine::receive`] takes now.
    pub fn room(&self) -> usize {
        if self.ending.is_some() { 0 } else { usize::from(OWED_MAX - self.owed) }
    }

    /// Obeys commands, at most [`Machine::room`] of them (what is beyond that is ignored).
    ///
    /// `may_stop` says whether this peer may stop the server. Returns false if it tried and may not: its `2` is
    /// then a `1`, and the loop logs that.
    pub fn receive(&mut self, bytes: &[u8], may_stop: bool) -> bool {
        for &byte in bytes.iter().take(self.room()) {
            match byte {
                b'0' => self.owed += 1,
                b'1' => self.ending = Some(Ending::Goodbye),
                b'2' if may_stop => self.ending = Some(Ending::Shutdown),
                b'2' => {
                    self.ending = Some(Ending::Goodbye);
                    return false;
                }
                other => self.ending = Some(Ending::Unknown(other)),
            }
            if self.ending.is_some() {
                break;
            }
        }
        true
    }

    /// The peer will send nothing more.
    pub fn half_closed(&mut self) {
        self.ending.get_or_insert(Ending::HalfClosed);
    }

    /// What comes next.
    pub fn next(&self) -> Next {
        match self.ending {
            _ if self.owed > 0 => Next::Picture,
            None => Next::Read,
            Some(Ending::Goodbye) => Next::Close(Close::Goodbye),
            Some(Ending::HalfClosed) => Next::Close(Close::PeerClosed),
            Some(Ending::Unknown(byte)) => Next::Close(Close::UnknownByte(byte)),
            Some(Ending::Shutdown) => Next::Shutdown,
        }
    }

    /// One picture has left whole.
    pub fn sent(&mut self) {
        self.owed = self.owed.saturating_sub(1);
    }
}

#[derive(Clone, Copy, Debug)]
enum Ending {
    Goodbye,
    Shutdown,
    HalfClosed,
    Unknown(u8),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Sends all that is owed and returns how many pictures that was and what came after.
    fn drain(machine: &mut Machine) -> (usize, Next) {
        let mut pictures = 0;
        while machine.next() == Next::Picture {
            machine.sent();
            pictures += 1;
        }
        (pictures, machine.next())
    }

    fn say(bytes: &[u8]) -> (usize, Next) {
        let mut machine = Machine::default();
        assert!(machine.receive(bytes, true));
        drain(&mut machine)
    }

    #[test]
    fn commands_are_obeyed_in_order() {
        assert_eq!(say(b""), (0, Next::Read));
        assert_eq!(say(b"0"), (1, Next::Read));
        assert_eq!(say(b"00"), (2, Next::Read));
        assert_eq!(say(b"1"), (0, Next::Close(Close::Goodbye)));
        assert_eq!(say(b"2"), (0, Next::Shutdown));
        assert_eq!(say(b"0012"), (2, Next::Close(Close::Goodbye)));
        assert_eq!(say(b"02000"), (1, Next::Shutdown));
        assert_eq!(say(b"0x1"), (1, Next::Close(Close::UnknownByte(b'x'))));
        assert_eq!(say(b"0\n"), (1, Next::Close(Close::UnknownByte(b'\n'))));
    }

    #[test]
    fn a_stop_from_elsewhere_is_a_goodbye() {
        let mut machine = Machine::default();
        assert!(!machine.receive(b"02", false));
        assert_eq!(drain(&mut machine), (1, Next::Close(Close::Goodbye)));
    }

    #[test]
    fn a_half_closed_viewer_gets_what_it_is_owed() {
        let mut machine = Machine::default();
        machine.receive(b"000", true);
        machine.half_closed();
        assert_eq!(machine.room(), 0);
        assert_eq!(drain(&mut machine), (3, Next::Close(Close::PeerClosed)));
    }

    #[test]
    fn reading_pauses_at_the_limit() {
        let mut machine = Machine::default();
        machine.receive(&[b'0'; 64], true);
        assert_eq!(machine.room(), 0);
        machine.sent();
        assert_eq!(machine.room(), 1);
        assert_eq!(drain(&mut machine), (63, Next::Read));
    }

    proptest! {
        /// However the bytes are cut into segments, the conversation is the same.
        #[test]
        fn splits_do_not_matter(bytes in prop::collection::vec(prop_oneof![8 => Just(b'0'), 1 => any::<u8>()], 0..300),
                                cuts in prop::collection::vec(1usize..40, 1..20)) {
            let play = |cuts: &[usize]| {
                let mut machine = Machine::default();
                let (mut pictures, mut rest, mut cut) = (0, &bytes[..], cuts.iter().cycle());
                while !rest.is_empty() && machine.room() > 0 {
                    let n = rest.len().min(machine.room()).min(*cut.next().expect("cycles"));
                    machine.receive(&rest[..n], false);
                    rest = &rest[n..];
                    if machine.room() == 0 || n == 1 {
                        pictures += drain(&mut machine).0;
                    }
                }
                let (more, next) = drain(&mut machine);
                (pictures + more, next)
            };
            prop_assert_eq!(play(&cuts), play(&[usize::MAX]));
        }
    }
}
