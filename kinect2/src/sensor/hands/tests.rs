//! The hands on a stand-in for the kernel, without the driver that tells them what to do.

use super::*;
use crate::depth::{INTRINSICS_REPLY_MIN, P0_REPLY_MIN, TablesError};
use crate::driver::{Name, Trouble};
use crate::protocol::Setup;
use crate::sysfs::tree::Tree;
use crate::usbfs::fake::Kernel;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

const SERIAL: &str = "005697142447";
const NOW: Duration = Duration::from_secs(1);

/// A machine with one healthy sensor, and hands for it.
struct World {
    tree: Tree,
    kernel: Arc<Kernel>,
    hands: Hands,
}

impl World {
    fn new() -> Self {
        let (tree, kernel) = (Tree::new(), Kernel::new());
        tree.plug(SERIAL, 2, 3);
        kernel.behind(tree.node(2, 3));
        let settings = Settings { roots: tree.roots(), packets: 2, transfers: 4, ..Settings::default() };
        World { tree, kernel, hands: Hands::new(settings, Jobs::new().expect("an eventfd")) }
    }

    /// With the sensor open.
    fn opened() -> Self {
        let mut world = World::new();
        assert_eq!(world.perform(Action::Open { serial: None }), format!("Opened {SERIAL}"));
        world
    }

    /// How an action ends that is a job, or that ends at once.
    fn perform(&mut self, action: Action<'_>) -> String {
        if let Some(done) = self.hands.perform(action, NOW) {
            return text(done);
        }
        let outcome = self.outcome();
        let mut result = String::new();
        self.hands.job_done(outcome, NOW, |done| result = text(done));
        assert!(matches!(self.hands.flight, Flight::Nothing));
        result
    }

    /// Waits for the job, which tells the driver nothing.
    fn job_that_tells_nothing(&mut self) {
        let outcome = self.outcome();
        self.hands.job_done(outcome, NOW, |done| panic!("{}", text(done)));
    }

    fn outcome(&mut self) -> Outcome {
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            if let Some(outcome) = self.hands.jobs.take() {
                return outcome;
            }
            thread::sleep(Duration::from_millis(1));
        }
        panic!("the job does not end");
    }

    fn start(&mut self, action: Action<'_>) {
        let done = self.hands.perform(action, NOW);
        assert!(done.is_none(), "{}", text(done.expect("just seen")));
    }

    /// Completes the only command that is pending.
    fn finish(&self, status: Errno, data: &[u8]) {
        let mut state = self.kernel.state();
        let address = state.pending[0].address;
        state.finish(address, -(status as i32), data.to_vec());
    }

    /// What the command came to, once it can be reaped.
    fn ended(&mut self) -> String {
        let Reaped::Command(urb) = self.hands.reap(NOW) else { return "pending".to_owned() };
        let mut result = String::new();
        self.hands.command_done(urb, |done| result = text(done));
        result
    }

    /// Reaps isochronous transfers and resubmits them; how many.
    fn turn_over(&mut self) -> usize {
        let mut count = 0;
        while let Reaped::Depth(urb) = self.hands.reap(NOW) {
            count += 1;
            self.hands.resubmit(urb);
        }
        count
    }
}

fn text(done: Done<'_>) -> String {
    match done {
        Done::Ok => "Ok".to_owned(),
        Done::Opened { serial, .. } => format!("Opened {serial}"),
        Done::Received(bytes) => format!("Received {bytes:?}"),
        Done::Cancelled => "Cancelled".to_owned(),
        Done::Failed(failure) => format!("{failure:?}"),
    }
}

fn trouble(trouble: Trouble) -> String {
    format!("{:?}", Failure::Trouble(trouble))
}

#[test]
fn opening_resets_claims_both_interfaces_and_selects_the_idle_setting() {
    let world = World::opened();
    let calls = ["open", "reset", "claim_interface", "claim_interface", "set_interface"];
    assert_eq!(world.kernel.state().calls, calls);
    assert_eq!((world.hands.generation, world.hands.counters.jobs), (1, 1));
    assert_eq!(world.hands.node.as_ref().map(Node::pending), Some(0));
}

#[test]
fn a_sensor_without_a_configuration_gets_one() {
    let mut world = World::new();
    world.tree.set(2, "bConfigurationValue", "");
    world.perform(Action::Open { serial: Some(SERIAL) });
    assert_eq!(world.kernel.state().calls[..3], ["open", "reset", "set_configuration"]);
}

#[test]
fn what_is_wrong_is_known_before_anything_is_sent() {
    let mut world = World::new();
    let failed = |world: &mut World| world.perform(Action::Open { serial: None });
    assert_eq!(
        world.perform(Action::Open { serial: Some("1") }),
        trouble(Trouble::SerialNotFound(Name::new("1")))
    );
    world.tree.set(2, "speed", "480");
    assert_eq!(failed(&mut world), trouble(Trouble::SlowLink { mbit: 480 }));
    assert_eq!(world.kernel.state().calls, [""; 0]);
    world.tree.set(2, "speed", "5000");
    world.kernel.state().errors.push(("open", Errno::EACCES));
    assert_eq!(failed(&mut world), trouble(Trouble::NoPermission));
    world.hands.settings.transfers = 1000;
    assert_eq!(failed(&mut world), trouble(Trouble::UsbfsMemory));
    world.hands.settings.transfers = 4;
    world.tree.bind(2, 0, "usbfs");
    assert_eq!(failed(&mut world), trouble(Trouble::OwnedBy(Name::new("another program"))));
    assert_eq!(world.kernel.state().calls, ["open"; 3]);
    world.tree.unplug(2);
    assert_eq!(failed(&mut world), trouble(Trouble::NotFound));
    world.tree.plug_adaptor();
    assert_eq!(failed(&mut world), trouble(Trouble::NoPower));
    world.tree.plug(SERIAL, 2, 3);
    world.tree.set_interval_bytes(2, 11_264);
    assert_eq!(failed(&mut world), trouble(Trouble::SmallPackets { bytes: 11_264 }));
    world.hands.settings.roots.sys = "/nonexistent".into();
    assert_eq!(failed(&mut world), trouble(Trouble::NoUsbfs));
    assert!(world.hands.node.is_none());
}

#[test]
fn a_claim_in_the_last_moment_is_told_with_its_owner() {
    let mut world = World::new();
    world.kernel.state().errors.push(("claim_interface", Errno::EBUSY));
    assert!(world.perform(Action::Open { serial: None }).contains("OwnedBy"));
    assert_eq!(world.kernel.state().calls[3..], ["get_driver"]);
}

#[test]
fn a_sensor_that_comes_back_from_its_reset_as_another_is_opened_without_one() {
    let mut world = World::new();
    world.kernel.state().lost_by_reset = true;
    let reborn = Kernel::new();
    reborn.behind(world.tree.node(2, 4));
    world.start(Action::Open { serial: Some(SERIAL) });
    while !world.kernel.state().gone {
        thread::sleep(Duration::from_millis(1));
    }
    world.tree.unplug(2);
    thread::sleep(Duration::from_millis(60));
    world.tree.plug(SERIAL, 2, 4);
    let outcome = world.outcome();
    world.hands.job_done(outcome, NOW, |done| assert_eq!(text(done), format!("Opened {SERIAL}")));
    assert_eq!(reborn.state().calls, ["open", "claim_interface", "claim_interface", "set_interface"]);
}

#[test]
fn commands_are_requests_and_their_ends_are_told() {
    let mut world = World::opened();
    world.start(Action::Control(Setup::RESUME));
    assert_eq!(world.kernel.state().pending[0].data, Setup::RESUME.to_bytes());
    assert_eq!(world.ended(), "pending");
    world.finish(Errno::UnknownErrno, &[]);
    assert_eq!(world.ended(), "Ok");

    world.start(Action::Send(&[1, 2, 3]));
    assert_eq!(world.kernel.state().pending[0].data, [1, 2, 3]);
    world.finish(Errno::EPIPE, &[]);
    assert_eq!(world.ended(), "Stall");

    world.start(Action::Receive { max: 16 });
    world.finish(Errno::UnknownErrno, &[9; 16]);
    assert_eq!(world.ended(), format!("Received {:?}", [9; 16]));

    world.start(Action::Receive { max: 16 });
    world.start(Action::Cancel);
    world.job_that_tells_nothing();
    assert_eq!(world.ended(), "Cancelled");
    // One that was complete before it was cancelled ended well.
    world.start(Action::Receive { max: 16 });
    world.finish(Errno::UnknownErrno, &[9; 16]);
    world.start(Action::Cancel);
    world.job_that_tells_nothing();
    assert_eq!(world.ended(), format!("Received {:?}", [9; 16]));

    world.kernel.state().refuse = 1;
    assert_eq!(world.perform(Action::Receive { max: 16 }), "NoMemory");
    world.start(Action::Receive { max: 16 });
}

#[test]
fn calls_that_may_block_are_jobs() {
    let mut world = World::opened();
    assert_eq!(world.perform(Action::ClearHalt(REPLY_IN)), "Ok");
    assert_eq!(world.perform(Action::Alternate(1)), "Ok");
    world.kernel.state().errors.push(("set_interface", Errno::ENOSPC));
    assert_eq!(world.perform(Action::Alternate(1)), "NoBandwidth");
    assert_eq!(world.kernel.state().calls[5..], ["clear_halt", "set_interface", "set_interface"]);
    assert_eq!(world.hands.counters.jobs, 4);
}

#[test]
fn transfers_go_round_in_order() {
    let mut world = World::opened();
    assert_eq!(world.perform(Action::StartStream), "Ok");
    let order = |world: &World| -> Vec<usize> {
        world.kernel.state().pending.iter().map(|request| request.address).collect()
    };
    let first = order(&world);
    assert_eq!(first.len(), 4);
    world.hands.look_at_clock(NOW + Duration::from_micros(999));
    for _ in 0..3 {
        assert!(world.kernel.state().finish_iso(vec![(0, vec![1; 100]), (0, vec![])]));
    }
    assert_eq!(world.turn_over(), 3);
    assert_eq!(order(&world), [first[3], first[0], first[1], first[2]]);
    assert_eq!(world.hands.queue_low, 1);
}

#[test]
fn a_pause_of_the_sensor_is_not_taken_for_a_late_loop() {
    let mut world = World::opened();
    assert_eq!(world.perform(Action::StartStream), "Ok");
    world.hands.look_at_clock(NOW + Duration::from_secs(1));
    assert!(world.kernel.state().finish_iso(vec![]));
    assert_eq!(world.turn_over(), 1);
    assert_eq!(world.hands.queue_low, 3);
}

#[test]
fn a_stream_that_gets_no_transfer_at_all_does_not_start() {
    let mut world = World::opened();
    world.kernel.state().refuse = 1;
    assert_eq!(world.perform(Action::StartStream), "NoMemory");
    // A kernel without memory is not asked for more of it at once.
    assert_eq!((world.hands.counters.refused_transfers, world.hands.deadline()), (1, None));
    assert_eq!(world.perform(Action::StartStream), "Ok");
}

#[test]
fn refused_transfers_are_tried_again_less_and_less_often() {
    let mut world = World::opened();
    world.kernel.state().take = Some(2);
    assert_eq!(world.perform(Action::StartStream), "Ok");
    assert_eq!((world.hands.idle.len(), world.hands.depth_pending()), (2, 2));
    let mut at = NOW;
    for wait in [10, 20, 40, 80, 160, 320, 640, 1000, 1000].map(Duration::from_millis) {
        assert_eq!(world.hands.deadline(), Some(at + wait));
        let refused = world.hands.counters.refused_transfers;
        world.hands.refill(at + wait - Duration::from_millis(1));
        assert_eq!(world.hands.counters.refused_transfers, refused);
        at += wait;
        world.hands.refill(at);
        assert_eq!(world.hands.counters.refused_transfers, refused + 1);
    }
    world.kernel.state().take = None;
    world.hands.refill(at + RETRY_MAX);
    assert_eq!((world.hands.idle.len(), world.hands.depth_pending()), (0, 4));
    assert!(world.kernel.state().finish_iso(vec![]));
    assert!(world.kernel.state().finish_iso(vec![]));
    world.kernel.state().refuse = 1;
    assert_eq!(world.turn_over(), 2);
    assert_eq!((world.hands.idle.len(), world.hands.depth_pending()), (1, 3));
    // The first time at once.
    world.hands.refill(at);
    assert_eq!((world.hands.idle.len(), world.hands.depth_pending()), (0, 4));
    assert_eq!((world.hands.counters.last_refusal, world.hands.deadline()), (Errno::ENOMEM as i32, None));
}

#[test]
fn a_queue_that_ran_dry_is_counted_and_filled_when_it_can_be() {
    let mut world = World::opened();
    assert_eq!(world.perform(Action::StartStream), "Ok");
    while world.kernel.state().finish_iso(vec![]) {}
    world.kernel.state().refuse = 5;
    assert_eq!(world.turn_over(), 4);
    world.hands.refill(NOW);
    assert_eq!((world.hands.depth_pending(), world.hands.counters.dry), (0, 1));
    assert_eq!(world.hands.deadline(), Some(NOW + RETRY));
    world.hands.refill(NOW + RETRY);
    assert_eq!(world.hands.depth_pending(), 4);
}

#[test]
fn stopping_waits_until_the_queue_has_run_dry() {
    let mut world = World::opened();
    assert_eq!(world.perform(Action::StartStream), "Ok");
    world.start(Action::StopStream);
    for left in (0..4).rev() {
        assert!(!world.hands.stopped(NOW));
        assert!(world.kernel.state().finish_iso(vec![(0, vec![1; 100])]));
        assert_eq!(world.turn_over(), 1);
        assert_eq!(world.hands.depth_pending(), left);
    }
    assert!(world.hands.stopped(NOW));
    assert!(!world.hands.stopped(NOW), "only once");
    assert_eq!(world.hands.idle.len(), 4);
    assert_eq!(world.perform(Action::StopStream), "Ok");
}

#[test]
fn stopping_is_over_after_half_a_second_in_any_case() {
    let mut world = World::opened();
    assert_eq!(world.perform(Action::StartStream), "Ok");
    world.start(Action::StopStream);
    assert_eq!(world.turn_over(), 0);
    assert_eq!(world.hands.deadline(), Some(NOW + STOP_WAIT));
    assert!(world.hands.stopped(NOW + STOP_WAIT));
    // A new start lives with what is still out; closing gives it back.
    assert_eq!(world.perform(Action::StartStream), "Ok");
    assert_eq!(world.perform(Action::Close), "Ok");
    assert_eq!((world.hands.idle.len(), world.hands.counters.replaced), (4, 0));
    assert!(world.hands.node.is_none());
}

/// The kernel lets one thread at a time at a device, and waits within some calls.
#[test]
fn nothing_that_could_wait_for_a_job_is_called_meanwhile() {
    for action in [Action::Alternate(0), Action::ClearHalt(REPLY_IN), Action::Cancel] {
        let mut world = World::opened();
        world.start(Action::Receive { max: 16 });
        world.finish(Errno::UnknownErrno, &[9; 16]);
        let (end, ends) = std::sync::mpsc::channel();
        world.kernel.state().slow = Some(ends);
        let tells = !matches!(action, Action::Cancel);
        world.start(action);
        let until = Instant::now() + Duration::from_secs(20);
        while world.kernel.state().slow.is_some() {
            assert!(Instant::now() < until, "no other thread makes the call");
            thread::sleep(Duration::from_millis(1));
        }
        let asked = world.kernel.state().reaps;
        assert!(matches!(world.hands.reap(NOW), Reaped::Nothing));
        assert_eq!(world.kernel.state().reaps, asked);
        end.send(()).expect("the call waits for it");
        let outcome = world.outcome();
        let mut told = 0;
        world.hands.job_done(outcome, NOW, |_| told += 1);
        assert_eq!(told, i32::from(tells));
        assert!(matches!(world.hands.reap(NOW), Reaped::Command(_)));
    }
}

#[test]
fn closing_waits_for_a_request_that_is_being_ended() {
    let mut world = World::opened();
    world.start(Action::Receive { max: 16 });
    let (end, ends) = std::sync::mpsc::channel();
    world.kernel.state().slow = Some(ends);
    world.start(Action::Cancel);
    world.start(Action::Close);
    end.send(()).expect("the call waits for it");
    let outcome = world.outcome();
    world.hands.job_done(outcome, NOW, |done| panic!("{}", text(done)));
    let outcome = world.outcome();
    let mut told = String::new();
    world.hands.job_done(outcome, NOW, |done| told = text(done));
    assert_eq!(told, "Ok");
    assert!(world.hands.node.is_none() && world.hands.receive.is_some());
}

#[test]
fn a_sensor_that_is_gone_ends_the_command_and_says_so_once() {
    let mut world = World::opened();
    assert_eq!(world.perform(Action::StartStream), "Ok");
    world.start(Action::Receive { max: 16 });
    world.kernel.unplug();
    let (mut depth, mut commands) = (0, Vec::new());
    loop {
        match world.hands.reap(NOW) {
            Reaped::Depth(urb) => {
                depth += 1;
                assert_eq!(urb.status(), Err(Errno::ESHUTDOWN));
                world.hands.resubmit(urb);
            }
            Reaped::Command(urb) => world.hands.command_done(urb, |done| commands.push(text(done))),
            Reaped::Gone => break,
            Reaped::Nothing | Reaped::Stray => panic!("not yet"),
        }
    }
    assert_eq!((depth, commands), (4, vec!["Gone".to_owned()]));
    world.hands.gone(|done| panic!("told already: {}", text(done)));
    assert!(matches!(world.hands.reap(NOW), Reaped::Nothing));
    assert_eq!(world.perform(Action::Close), "Ok");
    assert_eq!(world.perform(Action::Close), "Ok");
    assert_eq!(world.perform(Action::Alternate(0)), "Gone");
    assert_eq!(world.perform(Action::StartStream), "Gone");
    assert_eq!(world.perform(Action::Control(Setup::SUSPEND)), "Gone");
}

#[test]
fn opening_again_closes_what_was_open() {
    let mut world = World::opened();
    assert_eq!(world.perform(Action::StartStream), "Ok");
    world.kernel.state().calls.clear();
    assert_eq!(world.perform(Action::Open { serial: None }), format!("Opened {SERIAL}"));
    assert_eq!(world.kernel.state().calls[..4], ["release_interface", "release_interface", "open", "reset"]);
    assert_eq!((world.hands.idle.len(), world.hands.counters.replaced, world.hands.generation), (4, 0, 2));
}

#[test]
fn closing_waits_for_a_job_whose_result_is_not_wanted_any_more() {
    let mut world = World::new();
    world.start(Action::Open { serial: None });
    world.start(Action::Close);
    assert_eq!(world.perform(Action::Alternate(1)), format!("Io({})", Errno::EBUSY as i32));
    let mut told = Vec::new();
    while told.is_empty() {
        if let Some(outcome) = world.hands.jobs.take() {
            world.hands.job_done(outcome, NOW, |done| told.push(text(done)));
        }
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(told, ["Ok"]);
    assert!(world.hands.node.is_none());
    assert_eq!(world.kernel.state().calls.last(), Some(&"release_interface"));
}

#[test]
fn what_was_lost_with_a_node_is_allocated_anew() {
    let mut world = World::opened();
    assert_eq!(world.perform(Action::StartStream), "Ok");
    drop(world.hands.node.take());
    assert_eq!(world.perform(Action::Open { serial: None }), format!("Opened {SERIAL}"));
    assert_eq!((world.hands.idle.len(), world.hands.counters.replaced), (4, 4));
}

#[test]
fn a_decoder_is_made_from_good_replies_only() {
    let mut world = World::new();
    let lens: Vec<u8> = [365_f32, 365.0, 256.0, 206.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    let mut lens_reply = vec![0; INTRINSICS_REPLY_MIN.max(92)];
    lens_reply[..16].copy_from_slice(&lens);
    let lens = lens_reply;
    let p0 = vec![7; P0_REPLY_MIN];
    let short = world.perform(Action::Prepare { p0: &p0[1..], lens: &lens });
    assert_eq!(short, format!("{:?}", Failure::BadTables(TablesError::P0Length(P0_REPLY_MIN - 1))));
    assert!(world.hands.replies.is_none());
    let jobs = world.hands.counters.jobs;
    assert_eq!(world.perform(Action::Prepare { p0: &p0, lens: &lens }), "Ok");
    assert!(matches!(world.hands.target, Some(Target::Decode(_))));
    assert_eq!(world.hands.counters.jobs, jobs + 1);
    // Raw frames need no decoder, but the tables for those who decode them later.
    world.hands.settings.raw = true;
    world.hands.target = Some(Target::raw());
    let other = vec![8; P0_REPLY_MIN];
    assert_eq!(world.perform(Action::Prepare { p0: &other, lens: &lens }), "Ok");
    assert!(matches!(world.hands.target, Some(Target::Raw(_))));
    assert_eq!(world.hands.replies.as_ref().map(|replies| replies.p0[0]), Some(8));
}
