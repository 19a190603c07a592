//! The driver allocates when it is made and never again: not to start, stream, recover or stop.

use kinect2::depth::P0_REPLY_MIN;
use kinect2::driver::{Action, Done, Driver, State, Trouble};
use kinect2::protocol::{Completion, PAGE_MAX};
use std::time::Duration;

use counting::allocations;

mod counting;

/// A sensor that answers everything at once.
struct Peer<'a> {
    p0: &'a [u8],
    small: &'a [u8],
    opcode: u8,
    page: u8,
    sequence: u8,
    data_sent: bool,
    sent: u32,
    answered: u32,
}

impl Peer<'_> {
    /// Does what is to be done, until nothing is.
    fn serve(&mut self, driver: &mut Driver, now: Duration) {
        while let Some(action) = driver.next(now) {
            let done = match action {
                Action::Open { .. } => Done::Opened { serial: "012345", speed_mbit: 5000 },
                Action::Send(bytes) => {
                    (self.sequence, self.opcode) = (bytes[4], bytes[12]);
                    self.page = bytes.get(20).copied().unwrap_or_default();
                    self.data_sent = false;
                    self.sent += 1;
                    Done::Ok
                }
                // There is nothing to drain.
                Action::Receive { max } if max == PAGE_MAX && self.sent == self.answered => return,
                Action::Receive { .. } => {
                    let length = match self.opcode {
                        0x02 => 512,
                        0x14 => 92,
                        0x22 if self.page == 1 => 128,
                        0x22 if self.page == 3 => 92,
                        0x22 => usize::MAX,
                        0x16 => 4,
                        _ => 0,
                    };
                    if length == 0 || std::mem::replace(&mut self.data_sent, true) {
                        self.answered = self.sent;
                        let completion = Completion { sequence: self.sequence.into(), rest: [0, 0] };
                        driver.done(Done::Received(&completion.to_bytes()), now);
                        continue;
                    }
                    Done::Received(if length == usize::MAX { self.p0 } else { &self.small[..length] })
                }
                Action::Cancel => Done::Cancelled,
                _ => Done::Ok,
            };
            driver.done(done, now);
        }
    }
}

/// The only test of this file: another thread's allocations would be counted.
#[test]
fn a_driver_allocates_only_when_it_is_made() {
    let p0 = vec![7; P0_REPLY_MIN];
    // The status in it says "ready", the lens is a possible one.
    let mut small = vec![0; 512];
    for (at, value) in [365.0_f32, 365.0, 0.0, 254.0, 205.0].iter().enumerate() {
        small[4 * at..4 * at + 4].copy_from_slice(&value.to_le_bytes());
    }
    small[0] |= 1;
    let mut now = Duration::from_secs(1);
    let mut driver = Driver::new(Some("012345".to_owned()), now);
    let mut peer = Peer {
        p0: &p0,
        small: &small,
        opcode: 0,
        page: 0,
        sequence: 0,
        data_sent: false,
        sent: 0,
        answered: 0,
    };

    let before = allocations();
    let mut run = |driver: &mut Driver, ms: u32, frames: bool| {
        for _ in 0..ms {
            now += Duration::from_millis(1);
            if driver.state() == State::Streaming && frames {
                driver.completion(now);
                driver.frame(now);
            }
            peer.serve(driver, now);
        }
        now
    };
    run(&mut driver, 2000, true);
    let streamed = (driver.state(), driver.trouble());
    run(&mut driver, 1001, false);
    let silent = driver.trouble();
    let now = run(&mut driver, 2000, true);
    let again = (driver.state(), driver.trouble());
    driver.shut_down(now);
    run(&mut driver, 500, true);
    let after = allocations();

    assert_eq!(after - before, 0);
    assert_eq!(streamed, (State::Streaming, None));
    assert_eq!(silent, Some(Trouble::Silent));
    assert_eq!(again, (State::Streaming, None));
    assert_eq!(driver.state(), State::ShutDown);
    assert_eq!(driver.counters().opened, 2);
}
