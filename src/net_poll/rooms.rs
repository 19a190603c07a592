//! Room for what is long and rarely said: `/state`, `/metrics`, what a WebSocket is told of the state.
//!
//! A connection has room of its own for heads and short answers only. What is longer is written once, kept here, and lent
//! to those who are being sent it; the last who gives it back makes its room free. So a thousand viewers, of whom each might
//! ask for a list of all, take no more memory than the few who can be asking at once.
//!
//! The rooms come from the kernel, which gives a page when something is written there, and the first free one is taken: what
//! is never needed is never touched.

use memmap2::MmapMut;

use super::conn::Text;

/// Text in room that nobody has touched yet.
pub(super) type LongText = Text<MmapMut>;

/// An empty text with room for `bytes`.
pub(super) fn long_text(bytes: usize) -> LongText {
    Text::new(MmapMut::map_anon(bytes).expect("address space for answers"))
}

/// The rooms.
#[derive(Debug)]
pub(super) struct Rooms {
    rooms: Box<[Room]>,
}

#[derive(Debug)]
struct Room {
    text: LongText,
    /// How many it is lent to; free at none.
    holders: usize,
}

/// The promise that what was kept stays as it is; ends in [`Rooms::give_back`].
#[derive(Debug, Eq, PartialEq)]
#[must_use = "a room that is never given back is lost"]
pub(super) struct Lent {
    room: usize,
    len: usize,
}

impl Lent {
    /// Length of the text.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

impl Rooms {
    /// `count` rooms of `bytes` each.
    pub(super) fn new(count: usize, bytes: usize) -> Self {
        Self { rooms: (0..count).map(|_| Room { text: long_text(bytes), holders: 0 }).collect() }
    }

    /// Bytes of address space that all take, touched or not.
    pub(super) fn room(&self) -> usize {
        self.rooms.iter().map(|r| r.text.room()).sum()
    }

    /// Takes `text`, leaves another empty one in its place, and lends what was taken.
    ///
    /// `None` if all rooms are lent; `text` then stays.
    pub(super) fn keep(&mut self, text: &mut LongText) -> Option<Lent> {
        let n = self.rooms.iter().position(|r| r.holders == 0)?;
        let room = &mut self.rooms[n];
        std::mem::swap(&mut room.text, text);
        text.clear();
        room.holders = 1;
        Some(Lent { room: n, len: room.text.len() })
    }

    /// Lends the same text to one more.
    pub(super) fn share(&mut self, lent: &Lent) -> Lent {
        self.rooms[lent.room].holders += 1;
        Lent { room: lent.room, len: lent.len }
    }

    /// The text.
    pub(super) fn bytes(&self, lent: &Lent) -> &[u8] {
        self.rooms[lent.room].text.bytes()
    }

    /// Ends a loan.
    pub(super) fn give_back(&mut self, lent: Lent) {
        self.rooms[lent.room].holders -= 1;
    }

    /// Rooms that are lent to nobody.
    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.rooms.iter().filter(|r| r.holders == 0).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fmt::Write;

    #[test]
    fn what_is_lent_stays_until_the_last_gives_it_back() {
        let mut rooms = Rooms::new(2, 64);
        let mut body = long_text(64);
        body.write_str("one").expect("fits");
        let first = rooms.keep(&mut body).expect("a free room");
        assert!(body.bytes().is_empty() && body.room() == 64, "another empty room");
        let again = rooms.share(&first);
        body.write_str("two").expect("fits");
        let second = rooms.keep(&mut body).expect("a free room");
        body.write_str("three").expect("fits");
        assert_eq!(rooms.keep(&mut body), None, "full is an answer");
        assert_eq!(body.bytes(), b"three", "what could not be kept stays");
        rooms.give_back(first);
        assert_eq!(rooms.keep(&mut body), None, "it is lent to another still");
        assert_eq!((rooms.bytes(&again), rooms.bytes(&second)), (&b"one"[..], &b"two"[..]));
        rooms.give_back(again);
        let third = rooms.keep(&mut body).expect("free again");
        assert_eq!((rooms.bytes(&third), rooms.bytes(&second)), (&b"three"[..], &b"two"[..]));
        rooms.give_back(second);
        rooms.give_back(third);
        assert_eq!(rooms.free(), 2);
    }

    proptest! {
        /// Whatever is kept, shared and given back in any order, everybody reads what was lent to him.
        #[test]
        fn nobody_reads_what_was_lent_to_another(ops in prop::collection::vec((0u8..3, any::<usize>()), 1..200)) {
            let mut rooms = Rooms::new(4, 64);
            let mut body = long_text(64);
            let mut held: Vec<(Lent, usize)> = Vec::new();
            for (n, (op, which)) in ops.into_iter().enumerate() {
                let at = which.checked_rem(held.len());
                match (op, at) {
                    (0, _) => {
                        body.clear();
                        write!(body, "answer {n}").expect("fits");
                        let kept = rooms.keep(&mut body);
                        let mut distinct: Vec<_> = held.iter().map(|(_, n)| *n).collect();
                        distinct.sort_unstable();
                        distinct.dedup();
                        prop_assert_eq!(kept.is_none(), distinct.len() == 4);
                        held.extend(kept.map(|lent| (lent, n)));
                    }
                    (1, Some(at)) => {
                        let lent = rooms.share(&held[at].0);
                        held.push((lent, held[at].1));
                    }
                    (_, Some(at)) => rooms.give_back(held.swap_remove(at).0),
                    (_, None) => {}
                }
                for (lent, n) in &held {
                    let text = format!("answer {n}");
                    prop_assert_eq!(rooms.bytes(lent), text.as_bytes());
                    prop_assert_eq!(lent.len(), text.len());
                }
            }
        }
    }
}
