//! A triple buffer: one thread writes, another reads the newest, and neither ever waits for the other.
//!
//! Three slots that never move. The writer owns one, the reader owns one, and the third lies between them; to publish or
//! to take is one atomic exchange of the number in between. What is published and not taken before the next is lost,
//! and counted: the newest wins.
//!
//! Each slot has a lock of its own, by which the compiler knows what the numbers mean. It is never contended: two hands
//! never hold the same number, so to take it is an exchange that succeeds at once, and nobody sleeps.
//!
//! ```
//! let (mut writer, mut reader) = depthcast::source::triple::buffer(|| 0);
//! assert!(!reader.update());
//! writer.fill(|slot| *slot = 7);
//! writer.publish();
//! assert!(reader.update());
//! assert_eq!(reader.with(|slot| *slot), 7);
//! ```

use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

/// Three slots, each made by `make`; all that is ever allocated.
pub fn buffer<T>(mut make: impl FnMut() -> T) -> (Writer<T>, Reader<T>) {
    let slots = [Mutex::new(make()), Mutex::new(make()), Mutex::new(make())];
    let shared = Arc::new(Shared { slots, between: AtomicU8::new(1), lost: AtomicU64::new(0) });
    (Writer { shared: Arc::clone(&shared), own: 0 }, Reader { shared, own: 2 })
}

struct Shared<T> {
    slots: [Mutex<T>; 3],
    /// The slot between the two, and [`FRESH`] if it was not read yet.
    between: AtomicU8,
    lost: AtomicU64,
}

impl<T> Shared<T> {
    /// The slot with a number that only the caller has.
    fn slot(&self, own: u8) -> MutexGuard<'_, T> {
        let slot = &self.slots[usize::from(own)];
        match slot.try_lock() {
            Ok(guard) => guard,
            // Whoever panicked left a whole slot, perhaps with half of the content.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                debug_assert!(false, "slot {own} has two owners");
                slot.lock().unwrap_or_else(PoisonError::into_inner)
            }
        }
    }

    /// Gives a slot away for the one in between.
    fn swap(&self, give: u8) -> u8 {
        // What was written to the slot that is given is seen by who gets it, and the other way round.
        self.between.swap(give, Ordering::AcqRel)
    }
}

/// The side that fills slots.
pub struct Writer<T> {
    shared: Arc<Shared<T>>,
    own: u8,
}

impl<T> Writer<T> {
    /// Works on the slot that is published next, in as many steps as it takes. What it held is some older content.
    pub fn fill<R>(&mut self, fill: impl FnOnce(&mut T) -> R) -> R {
        fill(&mut self.shared.slot(self.own))
    }

    /// Makes what was filled the newest. Never waits, never allocates.
    pub fn publish(&mut self) {
        let before = self.shared.swap(self.own | FRESH);
        self.own = before & !FRESH;
        if before & FRESH != 0 {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The side that reads the newest.
pub struct Reader<T> {
    shared: Arc<Shared<T>>,
    own: u8,
}

impl<T> Reader<T> {
    /// Takes what was published last; false if it was taken already. Never waits, never allocates.
    pub fn update(&mut self) -> bool {
        // Only the reader takes the mark away, so it is still there at the exchange.
        if self.shared.between.load(Ordering::Relaxed) & FRESH == 0 {
            return false;
        }
        self.own = self.shared.swap(self.own) & !FRESH;
        true
    }

    /// Looks at what was taken last.
    pub fn with<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        read(&self.shared.slot(self.own))
    }

    /// How many were published and never taken.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }
}

impl<T> fmt::Debug for Writer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("own", &self.own).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Reader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("own", &self.own).field("lost", &self.lost()).finish_non_exhaustive()
    }
}

const FRESH: u8 = 4;

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;

    #[test]
    fn the_newest_wins_and_the_others_are_counted() {
        let (mut writer, mut reader) = buffer(|| 0);
        assert!(!reader.update(), "nothing was published");
        for n in 1..=5 {
            writer.fill(|slot| *slot = n);
            writer.publish();
        }
        assert!(reader.update());
        assert_eq!((reader.with(|slot| *slot), reader.lost()), (5, 4));
        assert!(!reader.update(), "it was taken");
        assert_eq!(reader.with(|slot| *slot), 5, "and stays");
    }

    #[test]
    fn what_is_filled_and_not_published_is_not_seen() {
        let (mut writer, mut reader) = buffer(|| 0);
        writer.fill(|slot| *slot = 1);
        assert!(!reader.update());
        writer.publish();
        writer.fill(|slot| *slot = 2);
        assert!(reader.update());
        assert_eq!(reader.with(|slot| *slot), 1);
    }

    #[test]
    fn a_panic_on_one_side_does_not_stop_the_other() {
        let (mut writer, mut reader) = buffer(|| 0);
        let failed = thread::scope(|s| {
            s.spawn(|| {
                writer.fill(|slot| {
                    *slot = 1;
                    panic!("meant")
                })
            })
            .join()
            .is_err()
        });
        assert!(failed);
        writer.fill(|slot| *slot = 2);
        writer.publish();
        assert!(reader.update());
        assert_eq!(reader.with(|slot| *slot), 2);
    }

    /// Two threads at full speed. A slot in two hands shows as a number that changes while it is read, or as a lock that
    /// is taken, on which `slot` panics in a test.
    #[test]
    fn under_stress_every_content_is_whole_and_newer_and_none_is_miscounted() {
        const PUBLISHED: u64 = 200_000;
        let (mut writer, mut reader) = buffer(|| [0_u64; 16]);
        let done = AtomicBool::new(false);
        let taken = thread::scope(|s| {
            s.spawn(|| {
                for n in 1..=PUBLISHED {
                    writer.fill(|slot| slot.iter_mut().for_each(|word| *word = n));
                    writer.publish();
                    if n % 64 == 0 {
                        // Or a single core would run the one, then the other.
                        thread::yield_now();
                    }
                }
                done.store(true, Ordering::Release);
            });
            let (mut newest, mut taken) = (0, 0);
            loop {
                let last = done.load(Ordering::Acquire);
                if reader.update() {
                    let words = reader.with(|slot| *slot);
                    assert!(words.iter().all(|word| *word == words[0]), "torn: {words:?}");
                    assert!(words[0] > newest, "{} after {newest}", words[0]);
                    (newest, taken) = (words[0], taken + 1);
                } else if last {
                    assert_eq!(newest, PUBLISHED, "the last was never seen");
                    break taken;
                }
            }
        });
        assert_eq!(taken + reader.lost(), PUBLISHED);
    }
}
