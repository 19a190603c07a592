//! When a sensor that streams is given up, and how long to wait before the next try.

use std::time::Duration;

/// What is missing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Alarm {
    /// No transfer came back.
    Silent,
    /// Transfers came back, without a whole frame.
    NoFrames,
}

/// Watches what comes of a sensor that streams.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watchdog {
    last_completion: Duration,
    silent_at: Duration,
    no_frames_at: Duration,
    /// Whether an absence has been forgiven since the last frame: once is enough, or it would have no end.
    forgiven: bool,
}

impl Watchdog {
    pub(super) fn new(now: Duration) -> Self {
        Watchdog {
            last_completion: now,
            silent_at: now + PATIENCE,
            no_frames_at: now + FIRST_FRAME,
            forgiven: false,
        }
    }

    pub(super) fn completion(&mut self, now: Duration) {
        // Whoever could not look for a while has lost frames by that, and no fault of the sensor.
        if now.saturating_sub(self.last_completion) > PAUSE && !self.forgiven {
            self.forgiven = true;
            self.no_frames_at = self.no_frames_at.max(now + PATIENCE);
        }
        self.last_completion = now;
        self.silent_at = now + PATIENCE;
    }

    pub(super) fn frame(&mut self, now: Duration) {
        self.no_frames_at = now + PATIENCE;
        self.forgiven = false;
    }

    pub(super) fn alarm(&self, now: Duration) -> Option<Alarm> {
        if now >= self.silent_at {
            Some(Alarm::Silent)
        } else if now >= self.no_frames_at && self.counts_frames() {
            Some(Alarm::NoFrames)
        } else {
            None
        }
    }

    pub(super) fn due(&self) -> Duration {
        if self.counts_frames() { self.silent_at.min(self.no_frames_at) } else { self.silent_at }
    }

    /// Whether transfers came until the next frame was due: who sends nothing at all is silent a moment later.
    fn counts_frames(&self) -> bool {
        self.no_frames_at <= self.last_completion + PAUSE
    }
}

/// How long to wait after this many failures without a frame between them: not at all after the first two, then twice
/// as long each time.
pub(super) fn back_off(failures: u32) -> Duration {
    match failures.checked_sub(3) {
        None => Duration::ZERO,
        Some(doublings) => BACK_OFF_MIN.saturating_mul(1 << doublings.min(16)).min(BACK_OFF_MAX),
    }
}

/// How long nothing, or no frame, may come: 30 frames, or 1,000 transfers.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same for the first frame after a start.
const FIRST_FRAME: Duration = Duration::from_secs(2);
/// Longer than the 60 ms that the queue of transfers holds.
const PAUSE: Duration = Duration::from_millis(100);
const BACK_OFF_MIN: Duration = Duration::from_millis(250);
const BACK_OFF_MAX: Duration = Duration::from_secs(8);

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn waits_grow_from_the_third_failure_to_eight_seconds() {
        let waits: Vec<_> = (0..11).map(|failures| back_off(failures).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 250, 500, 1000, 2000, 4000, 8000, 8000, 8000]);
        assert_eq!(back_off(u32::MAX), BACK_OFF_MAX);
    }

    #[test]
    fn the_first_frame_has_two_seconds_the_next_one() {
        let mut dog = Watchdog::new(ms(0));
        for at in (0..1950).step_by(50) {
            dog.completion(ms(at));
            assert_eq!(dog.alarm(ms(at)), None);
        }
        assert_eq!(dog.due(), ms(2000));
        assert_eq!(dog.alarm(ms(2000)), Some(Alarm::NoFrames));
        dog.frame(ms(1930));
        assert_eq!(dog.alarm(ms(2000)), None);
    }

    #[test]
    fn silence_is_not_taken_for_a_lack_of_frames() {
        let mut dog = Watchdog::new(ms(0));
        dog.completion(ms(10));
        dog.frame(ms(10));
        dog.completion(ms(40));
        assert_eq!(dog.due(), ms(1040));
        assert_eq!(dog.alarm(ms(1039)), None);
        assert_eq!(dog.alarm(ms(1040)), Some(Alarm::Silent));
    }

    #[test]
    fn a_loop_that_was_away_is_not_the_sensors_fault() {
        let mut dog = Watchdog::new(ms(0));
        dog.completion(ms(1));
        dog.frame(ms(1));
        dog.completion(ms(5000));
        assert_eq!(dog.alarm(ms(5000)), None);
        assert_eq!(dog.no_frames_at, ms(6000));
        for at in (5050..=6000).step_by(50) {
            dog.completion(ms(at));
        }
        assert_eq!(dog.alarm(ms(6000)), Some(Alarm::NoFrames), "it is forgiven once");
    }
}
