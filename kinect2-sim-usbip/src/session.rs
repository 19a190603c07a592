//! One connection of a client, from its first question to the last transfer. Owns no socket and no clock.
//!
//! ```text
//! bytes ──▶ wire ──▶ Session ──▶ held back by the pace ──▶ Host
//! bytes ◀── wire ◀── Session ◀──────── completed ◀──────── Host
//! ```

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use kinect2::protocol::{DEPTH_IN, INTERVAL_US, Setup};
use kinect2_sim::device::Fault;
use kinect2_sim::host::{Host, Kind, Pace, Transfer};

use crate::wire::{self, Command, Operation, PacketReply, Reply, Submit, Violation, errno};

/// The name by which the sensor is imported.
pub(crate) const BUS_ID: &str = "1-1";
/// Its bus and device number.
pub(crate) const NUMBER: (u32, u32) = (1, 2);

/// Most transfers of a session in flight. The kernel keeps no count of its own; a driver of this sensor has some 60.
const FLYING_MAX: usize = 1024;
/// Most bytes of a session's transfers in flight: twice the usbfs limit of a kernel as it is delivered.
const FLYING_BYTES_MAX: usize = 32 << 20;
/// With this much to be sent, no further transfer is completed: what the client does not take it need not get yet,
/// and replies to commands do not stand behind a second's worth of depth.
pub(crate) const OUT_MAX: usize = 512 << 10;
/// How far the stream may catch up when this program or its socket were late.
const SLACK: Duration = Duration::from_millis(50);

/// A client and its transfers.
pub(crate) struct Session {
    pace: Pace,
    imported: bool,
    input: Vec<u8>,
    /// Transfers that have no reply yet, by their sequence number.
    flying: HashMap<u32, Flight>,
    flying_bytes: usize,
    /// Those of them which wait for their time before the host gets them, in order.
    held: VecDeque<Transfer>,
    /// When the first one of them is due.
    gate: Duration,
    /// Transfers to be used again.
    idle: Vec<Transfer>,
    scratch: Vec<u8>,
}

/// What a reply needs to know of a transfer besides its result.
struct Flight {
    start_frame: u32,
    bytes: usize,
    /// The command that takes it back, if there was one.
    unlink: Option<u32>,
}

impl Session {
    /// A client that has not said anything yet.
    pub(crate) fn new(pace: Pace) -> Self {
        Session {
            pace,
            imported: false,
            input: Vec::new(),
            flying: HashMap::new(),
            flying_bytes: 0,
            held: VecDeque::new(),
            gate: Duration::ZERO,
            idle: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Whether the device is this client's.
    pub(crate) fn imported(&self) -> bool {
        self.imported
    }

    /// Takes what the client sent; replies, as far as they are known at once, go to `out`.
    ///
    /// * `free`: whether the device may be given away.
    ///
    /// # Errors
    /// The client broke the protocol: the connection is to be closed. Messages before the bad one were acted on.
    pub(crate) fn receive(
        &mut self,
        bytes: &[u8],
        host: &mut Host,
        free: bool,
        now: Duration,
        out: &mut Vec<u8>,
    ) -> Result<(), Violation> {
        let mut input = std::mem::take(&mut self.input);
        input.extend_from_slice(bytes);
        let mut at = 0;
        let result = loop {
            let step = self.message(&input[at..], host, free, now, out);
            match step {
                Ok(Some(taken)) => at += taken,
                Ok(None) => break Ok(()),
                Err(violation) => break Err(violation),
            }
        };
        input.drain(..at);
        debug_assert!(result.is_err() || input.len() < wire::MESSAGE_MAX);
        self.input = input;
        self.turn(host, now, out);
        result
    }

    /// Gives the host what is due, and the client what is complete.
    pub(crate) fn turn(&mut self, host: &mut Host, now: Duration, out: &mut Vec<u8>) {
        host.advance(now);
        self.collect(host, out);
        while out.len() < OUT_MAX && self.gate <= now {
            let Some(transfer) = self.held.pop_front() else { break };
            let Kind::Iso { packet_lengths } = &transfer.kind else { unreachable!("only these are held") };
            let intervals = packet_lengths.len() as u64;
            self.gate =
                self.gate.max(now.saturating_sub(SLACK)) + Duration::from_micros(intervals * INTERVAL_US);
            self.give(transfer, host, now, out);
            host.advance(now);
            self.collect(host, out);
        }
    }

    /// When [`turn`](Self::turn) has something to do that the host does not know of; `room` says whether there is room
    /// to send more.
    pub(crate) fn due(&self, room: bool) -> Option<Duration> {
        (room && !self.held.is_empty()).then_some(self.gate)
    }

    /// The connection is gone, or shall be: takes every transfer back from the host, which is left as after a
    /// reset, for the next client.
    pub(crate) fn end(mut self, host: &mut Host, now: Duration) {
        for id in self.flying.keys() {
            host.cancel(u64::from(*id), now);
        }
        if self.imported {
            let _ = host.reset(now);
        }
        host.advance(now);
        while host.completed().is_some() {}
        self.held.clear();
    }

    /// Acts on one message at the front of `bytes`; says how many of them it was.
    fn message(
        &mut self,
        bytes: &[u8],
        host: &mut Host,
        free: bool,
        now: Duration,
        out: &mut Vec<u8>,
    ) -> Result<Option<usize>, Violation> {
        if !self.imported {
            let Some((operation, taken)) = wire::operation(bytes)? else { return Ok(None) };
            match operation {
                Operation::List => crate::describe(host, |device| wire::emit_list(out, device)),
                Operation::Import(id) => {
                    self.imported = free && id == BUS_ID.as_bytes() && host.is_plugged();
                    if self.imported {
                        crate::describe(host, |device| wire::emit_import(out, device));
                    } else {
                        wire::emit_import(out, None);
                    }
                }
            }
            return Ok(Some(taken));
        }
        let Some((command, taken)) = wire::command(bytes, |endpoint| endpoint == DEPTH_IN)? else {
            return Ok(None);
        };
        match command {
            Command::Submit(submit) => self.submit(&submit, host, now, out)?,
            Command::Unlink { sequence, victim } => self.unlink(sequence, victim, host, now, out),
        }
        Ok(Some(taken))
    }

    fn submit(
        &mut self,
        submit: &Submit<'_>,
        host: &mut Host,
        now: Duration,
        out: &mut Vec<u8>,
    ) -> Result<(), Violation> {
        if self.flying.contains_key(&submit.sequence) {
            return Err(Violation::Sequence(submit.sequence));
        }
        if self.flying.len() >= FLYING_MAX || self.flying_bytes + submit.length > FLYING_BYTES_MAX {
            return Err(Violation::TooMuchInFlight);
        }
        self.flying_bytes += submit.length;
        let flight = Flight { start_frame: submit.start_frame, bytes: submit.length, unlink: None };
        self.flying.insert(submit.sequence, flight);
        let mut transfer = self.idle.pop().unwrap_or_default();
        let id = u64::from(submit.sequence);
        if submit.packet_lengths().len() > 0 {
            transfer.prepare_iso(id, submit.endpoint, submit.packet_lengths());
            if self.pace == Pace::Demand {
                self.held.push_back(transfer);
                return Ok(());
            }
        } else if submit.endpoint & 0x7F == 0 {
            transfer.prepare_control(id, Setup::from_bytes(submit.setup));
        } else {
            transfer.prepare_bulk(id, submit.endpoint, submit.length);
        }
        // What is there to receive into has any content.
        for (to, byte) in transfer.buffer.iter_mut().zip(submit.data) {
            *to = *byte;
        }
        self.give(transfer, host, now, out);
        Ok(())
    }
}

impl Session {
    fn give(&mut self, transfer: Transfer, host: &mut Host, now: Duration, out: &mut Vec<u8>) {
        let id = transfer.id;
        if let Err(refused) = host.submit(transfer, now) {
            let (mut transfer, fault) = refused;
            transfer.id = id;
            transfer.status = Err(fault);
            transfer.actual = 0;
            transfer.packets.clear();
            self.reply(transfer, out);
        }
    }

    fn unlink(&mut self, sequence: u32, victim: u32, host: &mut Host, now: Duration, out: &mut Vec<u8>) {
        let Some(flight) = self.flying.get_mut(&victim) else {
            // Its reply is on the way already.
            return wire::emit_unlinked(out, sequence, 0);
        };
        if let Some(at) = self.held.iter().position(|transfer| transfer.id == u64::from(victim)) {
            if let Some(transfer) = self.held.remove(at) {
                self.idle.push(transfer);
            }
            self.forget(victim);
            return wire::emit_unlinked(out, sequence, errno::CONNRESET);
        }
        flight.unlink = Some(sequence);
        host.cancel(u64::from(victim), now);
        host.advance(now);
        self.collect(host, out);
    }

    fn collect(&mut self, host: &mut Host, out: &mut Vec<u8>) {
        while let Some(transfer) = host.completed() {
            self.reply(transfer, out);
        }
    }

    /// Puts the reply to a transfer into `out` and keeps the transfer for the next.
    fn reply(&mut self, transfer: Transfer, out: &mut Vec<u8>) {
        // The host hands back the numbers that it was given.
        let sequence = u32::try_from(transfer.id).unwrap_or(u32::MAX);
        let flight = self.forget(sequence);
        let Some(flight) = flight else { return self.idle.push(transfer) };
        let status = match transfer.status {
            Err(Fault::Cancelled) if flight.unlink.is_some() => {
                // The one reply is for both.
                wire::emit_unlinked(out, flight.unlink.unwrap_or_default(), errno::CONNRESET);
                return self.idle.push(transfer);
            }
            status => status.map_or_else(number, |()| 0),
        };
        let reply = match &transfer.kind {
            Kind::Iso { packet_lengths } => Reply::Packets {
                buffer: &transfer.buffer,
                packets: packet_lengths.iter().enumerate().map(|(i, length)| {
                    // A client counts on as many packets as it asked for, whatever became of them.
                    let (actual, status) =
                        transfer.packets.get(i).copied().unwrap_or((0, Err(Fault::Missed)));
                    let status = status.map_or_else(number, |()| 0);
                    PacketReply { length: *length, actual: actual.min(*length), status }
                }),
                scratch: &mut self.scratch,
            },
            _ if transfer.inward() => Reply::Came(transfer.received()),
            _ => Reply::Sent(transfer.actual),
        };
        wire::emit_submitted(out, sequence, flight.start_frame, status, reply);
        if let Some(unlink) = flight.unlink {
            wire::emit_unlinked(out, unlink, 0);
        }
        self.idle.push(transfer);
    }

    fn forget(&mut self, sequence: u32) -> Option<Flight> {
        let flight = self.flying.remove(&sequence)?;
        self.flying_bytes -= flight.bytes;
        Some(flight)
    }
}

/// A fault as a reply carries it.
fn number(fault: Fault) -> i32 {
    match fault {
        // Taken back without a command to do so: by a reset, or another setting.
        Fault::Cancelled => errno::CONNRESET,
        fault => -fault.errno(),
    }
}

#[cfg(test)]
mod tests;
