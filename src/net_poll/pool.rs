//! Buffers for what is long and rarely said: `/state`, `/metrics`, what a WebSocket is told of the state.
//!
//! A connection has a buffer of its own for heads and short answers only. What is longer is written once, kept here, and lent
//! to those who are being sent it; the last who gives it back makes its buffer free. So a thousand viewers, of whom each might
//! ask for a list of all, take no more memory than the few who can be asking at once.
//!
//! The buffers come from the kernel, which gives a page when something is written there, and the first free one is taken: what
//! is never needed is never touched.

use memmap2::MmapMut;

use super::conn::Text;

/// Text in memory that nobody has touched yet.
pub(super) type LongText = Text<MmapMut>;

/// An empty text with room for `bytes`.
pub(super) fn long_text(bytes: usize) -> LongText {
    Text::new(MmapMut::map_anon(bytes).expect("address space for answers"))
}

/// The buffers.
#[derive(Debug)]
pub(super) struct Pool {
    buffers: Box<[Buffer]>,
}

#[derive(Debug)]
struct Buffer {
    text: LongText,
    /// How many it is lent to; free at none.
    holders: usize,
}

/// The promise that what was kept stays as it is; ends in [`Pool::give_back`].
#[derive(Debug, Eq, PartialEq)]
#[must_use = "a buffer that is never given back is lost"]
pub(super) struct Lease {
    buffer: usize,
    len: usize,
}

impl Lease {
    /// Length of the text.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

impl Pool {
    /// `count` buffers of `bytes` each.
    pub(super) fn new(count: usize, bytes: usize) -> Self {
        Self { buffers: (0..count).map(|_| Buffer { text: long_text(bytes), holders: 0 }).collect() }
    }

    /// Bytes of address space that all take, touched or not.
    pub(super) fn mapped_bytes(&self) -> usize {
        self.buffers.iter().map(|b| b.text.capacity()).sum()
    }

    /// Takes `text`, leaves another empty one in its place, and lends what was taken.
    ///
    /// `None` if all buffers are lent; `text` then stays.
    pub(super) fn keep(&mut self, text: &mut LongText) -> Option<Lease> {
        let n = self.buffers.iter().position(|b| b.holders == 0)?;
        let buffer = &mut self.buffers[n];
        std::mem::swap(&mut buffer.text, text);
        text.clear();
        buffer.holders = 1;
        Some(Lease { buffer: n, len: buffer.text.len() })
    }

    /// Lends the same text to one more.
    pub(super) fn share(&mut self, lease: &Lease) -> Lease {
        self.buffers[lease.buffer].holders += 1;
        Lease { buffer: lease.buffer, len: lease.len }
    }

    /// The text.
    pub(super) fn bytes(&self, lease: &Lease) -> &[u8] {
        self.buffers[lease.buffer].text.bytes()
    }

    /// Ends a loan.
    pub(super) fn give_back(&mut self, lease: Lease) {
        self.buffers[lease.buffer].holders -= 1;
    }

    /// Buffers that are lent to nobody.
    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.buffers.iter().filter(|b| b.holders == 0).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fmt::Write;

    #[test]
    fn what_is_lent_stays_until_the_last_gives_it_back() {
        let mut pool = Pool::new(2, 64);
        let mut body = long_text(64);
        body.write_str("one").expect("fits");
        let first = pool.keep(&mut body).expect("a free buffer");
        assert!(body.bytes().is_empty() && body.capacity() == 64, "another empty buffer");
        let again = pool.share(&first);
        body.write_str("two").expect("fits");
        let second = pool.keep(&mut body).expect("a free buffer");
        body.write_str("three").expect("fits");
        assert_eq!(pool.keep(&mut body), None, "full is an answer");
        assert_eq!(body.bytes(), b"three", "what could not be kept stays");
        pool.give_back(first);
        assert_eq!(pool.keep(&mut body), None, "it is lent to another still");
        assert_eq!((pool.bytes(&again), pool.bytes(&second)), (&b"one"[..], &b"two"[..]));
        pool.give_back(again);
        let third = pool.keep(&mut body).expect("free again");
        assert_eq!((pool.bytes(&third), pool.bytes(&second)), (&b"three"[..], &b"two"[..]));
        pool.give_back(second);
        pool.give_back(third);
        assert_eq!(pool.free(), 2);
    }

    proptest! {
        /// Whatever is kept, shared and given back in any order, everybody reads what was lent to him.
        #[test]
        fn nobody_reads_what_was_lent_to_another(ops in prop::collection::vec((0u8..3, any::<usize>()), 1..200)) {
            let mut pool = Pool::new(4, 64);
            let mut body = long_text(64);
            let mut held: Vec<(Lease, usize)> = Vec::new();
            for (n, (op, which)) in ops.into_iter().enumerate() {
                let at = which.checked_rem(held.len());
                match (op, at) {
                    (0, _) => {
                        body.clear();
                        write!(body, "answer {n}").expect("fits");
                        let kept = pool.keep(&mut body);
                        let mut distinct: Vec<_> = held.iter().map(|(_, n)| *n).collect();
                        distinct.sort_unstable();
                        distinct.dedup();
                        prop_assert_eq!(kept.is_none(), distinct.len() == 4);
                        held.extend(kept.map(|lease| (lease, n)));
                    }
                    (1, Some(at)) => {
                        let lease = pool.share(&held[at].0);
                        held.push((lease, held[at].1));
                    }
                    (_, Some(at)) => pool.give_back(held.swap_remove(at).0),
                    (_, None) => {}
                }
                for (lease, n) in &held {
                    let text = format!("answer {n}");
                    prop_assert_eq!(pool.bytes(lease), text.as_bytes());
                    prop_assert_eq!(lease.len(), text.len());
                }
            }
        }
    }
}
