//! Asynchronous transfers: frames, order, cancelling, and what happens when the sensor goes.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use kinect2::depth::{FRAME_BYTES, SUB_IMAGE_BYTES, SUB_IMAGES};
use kinect2::protocol::{FOOTER_BYTES, Footer, LAST_PACKET_BYTES, PACKET_BYTES, REPLY_IN};
use kinect2_sim::device::{Frames, Options};
use kinect2_sim::host::Pace;
use kinect2_sim_libusb::abi::{Error, status};

use crate::session::{Ended, Pool, Session};

const TICK: Duration = Duration::from_millis(100);

/// Puts frames together from packets, as simply as it can be done.
#[derive(Default)]
struct Collector {
    sub_image: Vec<u8>,
    frame: Vec<u8>,
    whole: Vec<(u32, Vec<u8>)>,
}

impl Collector {
    fn packet(&mut self, bytes: &[u8]) {
        match bytes.len() {
            0 => self.sub_image.clear(),
            PACKET_BYTES => self.sub_image.extend_from_slice(bytes),
            LAST_PACKET_BYTES => {
                let (rows, footer) = bytes.split_at(LAST_PACKET_BYTES - FOOTER_BYTES);
                let footer = Footer::from_bytes(footer.try_into().unwrap());
                self.sub_image.extend_from_slice(rows);
                let at = usize::try_from(footer.subsequence).unwrap();
                if at == 0 {
                    self.frame.clear();
                }
                if self.frame.len() == at * SUB_IMAGE_BYTES && self.sub_image.len() == SUB_IMAGE_BYTES {
                    self.frame.append(&mut self.sub_image);
                }
                self.sub_image.clear();
                if at == SUB_IMAGES - 1 && self.frame.len() == FRAME_BYTES {
                    self.whole.push((footer.sequence, std::mem::take(&mut self.frame)));
                }
            }
            other => panic!("a packet of {other} bytes"),
        }
    }
}

/// Handles events until all is at rest.
fn rest(session: &Session, pool: &Pool<'_>) {
    let start = Instant::now();
    while pool.in_flight() > 0 {
        assert_eq!(session.handle_events(TICK), 0);
        assert!(start.elapsed() < Duration::from_secs(20), "{} are still in flight", pool.in_flight());
    }
}

#[test]
fn frames_arrive_bit_for_bit_through_transfers_that_submit_themselves_again() {
    let options = Options::noise(5, 2);
    let Frames::Raw(sent) = options.frames.clone();
    let session = Session::claimed(options, Pace::Demand);
    session.start();
    let collector = RefCell::new(Collector::default());
    let pool = Pool::isochronous(&session, 6, 8, |ended: &Ended<'_>| {
        assert_eq!(ended.status, status::COMPLETED);
        for (bytes, status) in &ended.packets {
            assert_eq!(*status, status::COMPLETED);
            collector.borrow_mut().packet(bytes);
        }
        collector.borrow().whole.len() < 3
    });
    pool.submit_all();
    assert_eq!(collector.borrow().whole.len(), 0, "no callback outside of handle_events");
    rest(&session, &pool);
    let whole = &collector.borrow().whole;
    assert!(whole.len() >= 3);
    for (i, (sequence, frame)) in whole.iter().enumerate() {
        assert_eq!(*sequence, whole[0].0 + u32::try_from(i).unwrap());
        assert!(frame[..] == sent[usize::try_from(*sequence).unwrap() % sent.len()][..], "frame {sequence}");
    }
    assert!(pool.refused().is_empty());
}

#[test]
fn real_time_passes_at_thirty_frames_a_second() {
    let session = Session::claimed(Options::noise(5, 1), Pace::RealTime);
    session.start();
    let count = Cell::new(0_u32);
    let pool = Pool::isochronous(&session, 1, 8, |_: &Ended<'_>| {
        count.set(count.get() + 1);
        count.get() < 100
    });
    let start = Instant::now();
    pool.submit_all();
    rest(&session, &pool);
    assert!(start.elapsed() >= Duration::from_millis(100), "a hundred transfers of a millisecond each");
}

#[test]
fn transfers_end_in_the_order_in_which_they_were_submitted() {
    let session = Session::claimed(Options::noise(5, 1), Pace::RealTime);
    session.start();
    let order = RefCell::new(Vec::new());
    let pool = Pool::isochronous(&session, 5, 8, |ended: &Ended<'_>| {
        order.borrow_mut().push(ended.number);
        false
    });
    for number in [3, 0, 4, 1, 2] {
        assert_eq!(pool.submit(number), 0);
    }
    assert_eq!(pool.submit(4), Error::Busy.code(), "in flight already");
    rest(&session, &pool);
    assert_eq!(*order.borrow(), [3, 0, 4, 1, 2]);
}

#[test]
fn depth_is_refused_in_the_idle_setting() {
    let session = Session::claimed(Options::noise(5, 1), Pace::Demand);
    let pool = Pool::isochronous(&session, 1, 8, |_: &Ended<'_>| false);
    assert_ne!(pool.submit(0), 0);
    assert_eq!(pool.cancel(0), Error::NotFound.code());
}

#[test]
fn a_cancelled_transfer_calls_back_once_as_cancelled() {
    let session = Session::claimed(Options::noise(5, 1), Pace::RealTime);
    session.start();
    let ends = RefCell::new(Vec::new());
    let pool = Pool::bulk(&session, 3, 0, |ended: &Ended<'_>| {
        ends.borrow_mut().push((ended.number, ended.status));
        false
    });
    pool.submit_all();
    assert_eq!(session.handle_events(Duration::from_millis(5)), 0);
    assert!(ends.borrow().is_empty());
    assert_eq!(pool.cancel(1), 0);
    assert!(ends.borrow().is_empty(), "not from within cancel");
    assert_eq!(session.handle_events(TICK), 0);
    assert_eq!(*ends.borrow(), [(1, status::CANCELLED)]);
    assert_eq!(pool.cancel(1), Error::NotFound.code());
    assert_eq!((pool.cancel(0), pool.cancel(2)), (0, 0));
    rest(&session, &pool);
    assert_eq!(*ends.borrow(), [(1, status::CANCELLED), (0, status::CANCELLED), (2, status::CANCELLED)]);
}

#[test]
fn a_transfer_that_takes_too_long_ends_as_timed_out() {
    let session = Session::claimed(Options::noise(5, 1), Pace::RealTime);
    session.start();
    let ends = RefCell::new(Vec::new());
    let pool = Pool::bulk(&session, 1, 30, |ended: &Ended<'_>| {
        ends.borrow_mut().push((ended.status, ended.actual));
        false
    });
    let start = Instant::now();
    pool.submit_all();
    rest(&session, &pool);
    assert_eq!(*ends.borrow(), [(status::TIMED_OUT, 0)]);
    assert!(start.elapsed() >= Duration::from_millis(30));
}

#[test]
fn a_callback_may_not_wait() {
    let session = Session::claimed(Options::noise(5, 1), Pace::RealTime);
    session.start();
    let codes = RefCell::new(Vec::new());
    let pool = Pool::isochronous(&session, 1, 1, |_: &Ended<'_>| {
        let bulk = session.bulk(REPLY_IN, &mut [0; 16], 10).0;
        codes.borrow_mut().extend([bulk, session.handle_events(TICK)]);
        false
    });
    pool.submit_all();
    rest(&session, &pool);
    assert_eq!(*codes.borrow(), [Error::Busy.code(); 2]);
}

#[test]
fn unplugging_ends_everything_and_what_is_plugged_in_again_is_another_device() {
    // Two seconds are long enough for the start on a busy machine.
    let faults = "unplug@2+0.3".parse().unwrap();
    let session = Session::claimed(Options { faults, ..Options::noise(5, 1) }, Pace::RealTime);
    let before = session.addresses();
    session.start();
    let last = RefCell::new([status::COMPLETED; 4]);
    let pool = Pool::isochronous(&session, 4, 8, |ended: &Ended<'_>| {
        last.borrow_mut()[ended.number] = ended.status;
        let gone = ended.status == status::NO_DEVICE;
        assert!(
            !gone || ended.packets.last().is_some_and(|(bytes, status)| bytes.is_empty() && *status != 0)
        );
        // As libfreenect2 does: again, whatever happened.
        true
    });
    pool.submit_all();
    rest(&session, &pool);
    // What came back just before the end, and was late to be submitted again, learns of it then.
    let last = *last.borrow();
    assert!(last.iter().all(|last| matches!(*last, status::NO_DEVICE | status::COMPLETED)), "{last:?}");
    assert_eq!(pool.refused(), [Error::NoDevice.code(); 4]);
    assert_eq!(pool.submit(0), Error::NoDevice.code());
    assert_eq!(session.bulk(REPLY_IN, &mut [0; 16], 10).0, Error::NoDevice.code());
    assert_eq!(session.set_interface(1, 0), Error::NoDevice.code());
    assert_eq!(session.reset(), Error::NoDevice.code());
    let start = Instant::now();
    let after = loop {
        match session.addresses() {
            none if none.is_empty() => std::thread::sleep(Duration::from_millis(5)),
            some => break some,
        }
        assert!(start.elapsed() < Duration::from_secs(20));
    };
    assert_ne!(after, before);
    assert_eq!(session.set_interface(1, 0), Error::NoDevice.code(), "the old handle is of the old device");
    assert!(session.reopen().is_ok());
}

#[test]
fn what_is_in_flight_at_closing_never_calls_back() {
    let mut session = Session::claimed(Options::noise(5, 1), Pace::RealTime);
    session.start();
    let pool = Pool::isochronous(&session, 4, 8, |_| unreachable!("the handle is closed"));
    pool.submit_all();
    // Opened again before it is closed where it was open.
    session = session.reopen().unwrap();
    for _ in 0..5 {
        assert_eq!(session.handle_events(Duration::from_millis(2)), 0);
    }
    assert_eq!(session.claim(1), 0, "closing has released it");
    pool.rest_by_closing();
}
