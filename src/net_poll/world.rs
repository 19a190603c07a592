//! What connections share, and how one of them is served: as far as it goes without waiting.
//!
//! A connection's machine says what comes next; here its bytes are read and handed over, frames are pinned, and
//! answers are begun. Nothing here polls, accepts or closes: a [`Verdict`] tells the loop.

use std::fmt::{self, Write};
use std::time::{Duration, Instant};

use super::Settings;
use super::conn::{Body, Conn, Got, Phase, Put, Text};
use super::describe;
use super::pool::{Lease, LongText, Pool};
use super::warnings::Warnings;
use crate::access::Failures;
use crate::clock::Now;
use crate::limits::{DRAIN_TIME, GATE_EVERY, OWED_MAX, READ_MAX, STEPS_PER_TURN};
use crate::metrics::{Counters, Json, Rate, Timings};
use crate::proto::http::{self, PictureFacts};
use crate::proto::websocket::{self, DepthHead, Opcode, frame_head};
use crate::proto::{Close, legacy, pickle};
use crate::render::Renderer;
use crate::ring::{Form, Picture, Ring, Slot};
use crate::source::{Feed, Outcome, Report, Stamp, kinect, life};

/// All that connections share.
#[derive(Debug)]
pub(super) struct World {
    pub(super) ring: Ring,
    pub(super) feed: Feed,
    pub(super) renderer: Renderer,
    pub(super) settings: Settings,
    pub(super) counters: Counters,
    pub(super) timings: Timings,
    pub(super) rate: Rate,
    /// Frame rate stated before it could be measured.
    pub(super) nominal: u32,
    /// Frame rate of the last five seconds.
    pub(super) fps: f64,
    pub(super) started: Now,
    /// Places for viewers taken.
    pub(super) viewers: usize,
    /// Somebody waits for a frame that does not exist yet.
    pub(super) wanted: bool,
    /// The newest frame from the source.
    pub(super) frame: Option<Stamp>,
    /// When the placeholder was drawn, while it is shown.
    pub(super) placeholder_at: Option<Duration>,
    pub(super) next_id: u64,
    /// Who tried wrong tokens.
    pub(super) failures: Failures,
    /// Rises with every change of what viewers are told of the state.
    pub(super) state: u64,
    /// Why there is no picture; empty while there is one.
    pub(super) reason: Reason,
    /// A body while it is written, before its length is known.
    pub(super) body: LongText,
    /// Where bodies stay that are too long for a connection's own text.
    pub(super) pool: Pool,
    /// What viewers of the WebSocket are told of the state, and which state that is.
    pub(super) told: Option<(u64, Lease)>,
    /// What is said of peers in the log.
    pub(super) warnings: Warnings,
}

impl World {
    /// Goes on with one connection until it has to wait or has had its share of the turn.
    pub(super) fn serve(&mut self, conn: &mut Conn, text: &mut Text, now: Now) -> Verdict {
        // Set again below if it still holds: a gate that is forgotten would wake the loop for ever.
        conn.gate = None;
        conn.wake = None;
        for _ in 0..STEPS_PER_TURN {
            if conn.out.is_begun() {
                let (put, bytes) = conn.write(text, &self.ring, &self.pool, now.mono);
                self.counters.bytes += bytes as u64;
                match put {
                    Put::All => self.sent(conn, now),
                    Put::Blocked => return Verdict::Idle,
                    Put::Failed => return Verdict::Close(Close::Broken),
                }
            }
            let verdict = match &conn.phase {
                Phase::Unspoken => self.first_byte(conn, now),
                Phase::Legacy(_) => self.legacy(conn, now),
                Phase::Http(_) => self.http(conn, text, now),
                Phase::Stream(_) => self.stream(conn, text, now),
                Phase::WebSocket(_) => self.websocket(conn, text, now),
                Phase::Draining { close, .. } => {
                    let close = *close;
                    match conn.read(&mut [0; READ_MAX], now.mono) {
                        Got::Bytes(_) => None,
                        Got::End | Got::Failed => Some(Verdict::Close(close)),
                        Got::Nothing => Some(Verdict::Idle),
                    }
                }
            };
            match verdict {
                None => {}
                Some(Verdict::Close(close)) if !matches!(close, Close::PeerClosed | Close::Broken) => {
                    // Let the last reply arrive before the end does.
                    self.viewers -= usize::from(conn.is_viewer());
                    conn.phase = Phase::Draining { close, until: now.mono + DRAIN_TIME };
                    if conn.stream.end_writing().is_err() {
                        return Verdict::Close(close);
                    }
                }
                Some(verdict) => return verdict,
            }
        }
        Verdict::Busy
    }

    /// A message has left whole.
    fn sent(&mut self, conn: &mut Conn, now: Now) {
        if let Some((pin, form)) = conn.out.picture() {
            self.counters.count_sent(conn.protocol(), form);
            conn.sent += 1;
            let slot = self.ring.slot(pin);
            if slot.picture == Picture::Depth {
                self.timings.age.observe(now.since(slot.stamp.captured));
            }
        }
        conn.out.end(&mut self.ring, &mut self.pool);
        match &mut conn.phase {
            Phase::Legacy(machine) => machine.sent(),
            Phase::Http(machine) => {
                machine.sent(&self.settings.rules);
                conn.request_begun = None;
            }
            Phase::Stream(machine) => machine.sent(),
            Phase::Unspoken | Phase::WebSocket(_) | Phase::Draining { .. } => {}
        }
    }

    /// Tells the protocols apart.
    fn first_byte(&mut self, conn: &mut Conn, now: Now) -> Option<Verdict> {
        let mut byte = [0];
        match conn.read(&mut byte, now.mono) {
            Got::Bytes(_) => {}
            Got::End => return Some(Verdict::Close(Close::PeerClosed)),
            Got::Nothing => return Some(Verdict::Idle),
            Got::Failed => return Some(Verdict::Close(Close::Broken)),
        }
        match byte[0] {
            b'0'..=b'2' if self.viewers >= self.settings.viewers_max => Some(Verdict::Close(Close::Full)),
            b'0'..=b'2' => {
                conn.phase = Phase::Legacy(legacy::Machine::default());
                self.viewers += 1;
                self.obey(conn, &byte, now);
                None
            }
            b'A'..=b'Z' => {
                let mut machine = http::Machine::default();
                machine.receive(&byte, &self.settings.rules);
                conn.phase = Phase::Http(machine);
                conn.request_begun = Some(now.mono);
                None
            }
            other => Some(Verdict::Close(Close::UnknownByte(other))),
        }
    }

    /// Hands commands of the Python protocol to their machine.
    fn obey(&mut self, conn: &mut Conn, bytes: &[u8], now: Now) {
        let may_stop = self.settings.shutdown_from.iter().any(|n| n.contains(conn.peer));
        if let Phase::Legacy(machine) = &mut conn.phase
            && !machine.receive(bytes, may_stop)
        {
            self.warnings.may_not_stop(now.mono, conn.peer);
        }
    }

    fn legacy(&mut self, conn: &mut Conn, now: Now) -> Option<Verdict> {
        let Phase::Legacy(machine) = &mut conn.phase else {
            return None;
        };
        match machine.next() {
            legacy::Next::Read => {
                let mut buffer = [0; OWED_MAX as usize];
                let room = machine.room();
                match conn.read(&mut buffer[..room], now.mono) {
                    Got::Bytes(n) => self.obey(conn, &buffer[..n], now),
                    Got::End => {
                        if let Phase::Legacy(machine) = &mut conn.phase {
                            machine.half_closed();
                        }
                    }
                    Got::Nothing => return Some(Verdict::Idle),
                    Got::Failed => return Some(Verdict::Close(Close::Broken)),
                }
                None
            }
            legacy::Next::Picture => {
                let form = match self.settings.pickle {
                    pickle::Style::Protocol0 => Form::Protocol0,
                    pickle::Style::Compact => Form::Compact,
                };
                match self.give(conn, form, conn.had, now) {
                    Some((body, _)) => {
                        conn.out.begin(0, body, b"", &self.ring);
                        None
                    }
                    None => Some(Verdict::Idle),
                }
            }
            legacy::Next::Close(close) => Some(Verdict::Close(close)),
            legacy::Next::Shutdown => Some(Verdict::Shutdown),
        }
    }

    fn http(&mut self, conn: &mut Conn, text: &mut Text, now: Now) -> Option<Verdict> {
        let Phase::Http(machine) = &mut conn.phase else {
            return None;
        };
        match machine.next() {
            http::Next::Read => {
                let mut buffer = [0; READ_MAX];
                let room = machine.room().min(READ_MAX);
                match conn.read(&mut buffer[..room], now.mono) {
                    Got::Bytes(n) => {
                        conn.request_begun.get_or_insert(now.mono);
                        // On demand, a request is for a frame that did not exist when it came.
                        conn.had = self.ring.newest().map_or(0, Slot::serial);
                        if let Phase::Http(machine) = &mut conn.phase {
                            machine.receive(&buffer[..n], &self.settings.rules);
                        }
                    }
                    Got::End => {
                        if let Phase::Http(machine) = &mut conn.phase {
                            machine.half_closed();
                        }
                    }
                    Got::Nothing => return Some(Verdict::Idle),
                    Got::Failed => return Some(Verdict::Close(Close::Broken)),
                }
                None
            }
            http::Next::Respond(request) => self.respond(conn, text, request, now),
            http::Next::Close(close) => Some(Verdict::Close(close)),
        }
    }

    fn websocket(&mut self, conn: &mut Conn, text: &mut Text, now: Now) -> Option<Verdict> {
        let mut buffer = [0; READ_MAX];
        let got = conn.read(&mut buffer, now.mono);
        let Phase::WebSocket(machine) = &mut conn.phase else {
            return None;
        };
        match got {
            Got::Bytes(n) => machine.receive(&buffer[..n]),
            // Without a close frame nobody is owed one.
            Got::End => return Some(Verdict::Close(Close::PeerClosed)),
            Got::Failed => return Some(Verdict::Close(Close::Broken)),
            Got::Nothing => {}
        }
        let next = machine.next(self.state, now.mono);
        if !matches!(next, websocket::Next::Depth | websocket::Next::State) {
            machine.begun(next, self.state, now.mono);
        }
        text.clear();
        let written = match next {
            websocket::Next::Head(accept) => websocket::write_head(text, accept),
            websocket::Next::Pong => frame(text, Opcode::Pong, machine.echo()),
            websocket::Next::Ping => frame(text, Opcode::Ping, b""),
            websocket::Next::Close(code) => {
                let code = code.map(|code| code.number().to_be_bytes());
                frame(text, Opcode::Close, code.as_ref().map_or(b"", |code| code))
            }
            websocket::Next::State => return self.websocket_state(conn, text, now),
            websocket::Next::Depth => return self.websocket_depth(conn, text, now),
            websocket::Next::End(close) => return Some(Verdict::Close(close)),
        };
        debug_assert!(written.is_ok(), "a connection's text is too small");
        conn.out.begin(text.len(), Body::None, b"", &self.ring);
        None
    }

    /// Begins a message with the state, which is written once for all who are told it.
    fn websocket_state(&mut self, conn: &mut Conn, text: &mut Text, now: Now) -> Option<Verdict> {
        if self.told.as_ref().is_none_or(|(state, _)| *state != self.state) {
            self.body.clear();
            let whole = self.write_shown();
            debug_assert!(whole.is_ok(), "state_bound is too small for what viewers are told");
            if let Some((_, old)) = self.told.take() {
                self.pool.give_back(old);
            }
            self.told = self.pool.keep(&mut self.body).map(|lease| (self.state, lease));
        }
        let Phase::WebSocket(machine) = &mut conn.phase else {
            return None;
        };
        let Some((_, told)) = &self.told else {
            // All buffers are lent, to peers that read slowly: soon one of them is free, or its peer is given up.
            conn.wake = Some(now.mono + GATE_EVERY);
            return Some(Verdict::Idle);
        };
        machine.begun(websocket::Next::State, self.state, now.mono);
        let lease = self.pool.share(told);
        text.clear();
        let written = text.write_bytes(&frame_head(Opcode::Text, lease.len()));
        debug_assert!(written.is_ok(), "a connection's text is too small");
        conn.out.begin(text.len(), Body::Lent(lease), b"", &self.ring);
        None
    }

    /// Begins a message with the newest depth, if there is one to be had.
    fn websocket_depth(&mut self, conn: &mut Conn, text: &mut Text, now: Now) -> Option<Verdict> {
        let given = self.give(conn, Form::Rvl, conn.had, now);
        let Phase::WebSocket(machine) = &mut conn.phase else {
            return None;
        };
        let Some((body, facts)) = given else {
            conn.wake = Some(machine.ping_at());
            // What was read may not have been all.
            return (!conn.readable).then_some(Verdict::Idle);
        };
        machine.begun(websocket::Next::Depth, self.state, now.mono);
        let length = self.length(&body);
        let age_ms = facts.age_ms.and_then(|age| u32::try_from(age).ok()).unwrap_or(u32::MAX);
        let head = DepthHead {
            seq: facts.seq,
            captured_us: facts.captured_us,
            age_ms,
            length: u32::try_from(length).unwrap_or(u32::MAX),
        }
        .to_bytes();
        text.clear();
        let written = text
            .write_bytes(&frame_head(Opcode::Binary, head.len() + length))
            .and_then(|()| text.write_bytes(&head));
        debug_assert!(written.is_ok(), "a connection's text is too small");
        conn.out.begin(text.len(), body, b"", &self.ring);
        None
    }

    /// Bytes of a body that is a picture.
    pub(super) fn length(&self, body: &Body) -> usize {
        match body {
            Body::Slot(pin, form) => self.ring.slot(pin).bytes(*form).map_or(0, <[u8]>::len),
            Body::None | Body::Fixed(_) | Body::Lent(_) => 0,
        }
    }

    /// Writes what viewers of the WebSocket are told when it changes.
    fn write_shown(&mut self) -> fmt::Result {
        let online = self.reason.is_empty() && (self.frame.is_some() || self.feed.on_demand());
        write!(self.body, r#"{{"online":{online},"reason":"{}","config":"#, Json(&self.reason))?;
        describe::write_config(&mut self.body, &self.renderer, &self.feed)?;
        self.body.write_str("}")
    }

    /// Pins a frame newer than `had` for a connection and has `form` made of it.
    ///
    /// `None` if there is none yet, which is noted as somebody waiting.
    pub(super) fn give(
        &mut self,
        conn: &mut Conn,
        form: Form,
        had: u64,
        now: Now,
    ) -> Option<(Body, PictureFacts)> {
        if form.needs().is_some() {
            self.feed.want_infrared(now.mono);
        }
        // Behind bytes that are still on their way a frame would be old when it arrives: a newer one may come.
        if self.ring.newest().is_some_and(|slot| slot.serial() > had) && !conn.has_drained(now.mono) {
            return None;
        }
        let Some(pin) = self.ring.pin(had) else {
            self.wanted = true;
            return None;
        };
        let fps = rounded(self.fps);
        let slot = self.ring.slot_mut(&pin);
        let form = if slot.picture == Picture::Placeholder { form.of_placeholder() } else { form };
        let lacks = form.needs().is_some_and(|needed| slot.bytes(needed).is_none());
        if lacks || form.is_depth() && slot.picture == Picture::Placeholder {
            // The source is back, or was asked for infrared just now: the first such frame is not here yet.
            self.ring.release(pin);
            self.wanted = true;
            return None;
        }
        if slot.bytes(form).is_none() {
            let begun = Instant::now();
            self.renderer.make(slot, form, fps);
            self.timings.encode[form as usize].observe(begun.elapsed());
        }
        let (serial, stamp, picture) = (slot.serial(), slot.stamp, slot.picture);
        conn.had = serial;
        let skipped = match conn.shown {
            Some((seq, _)) if conn.is_viewer() => stamp.seq.saturating_sub(seq + 1),
            _ => 0,
        };
        conn.skipped += skipped;
        self.counters.skipped[conn.protocol() as usize] += skipped;
        if picture == Picture::Depth {
            conn.shown = Some((stamp.seq, stamp.captured.mono));
        }
        let age = match picture {
            Picture::Depth => Some(millis(now.since(stamp.captured))),
            Picture::Placeholder => self.age_ms(now),
        };
        let facts = PictureFacts {
            captured_us: stamp.captured.wall_us,
            seq: stamp.seq,
            age_ms: age,
            online: picture == Picture::Depth,
            skipped,
            range_mm: form.needs().is_none().then(|| {
                let range = self.renderer.range();
                (range.min_mm(), range.max_mm())
            }),
        };
        Some((Body::Slot(pin, form), facts))
    }

    /// Counts and logs what happened to the source, other than a frame.
    pub(super) fn note(&mut self, outcome: Outcome) {
        let kind = self.feed.kind();
        match outcome {
            Outcome::Torn => self.counters.torn += 1,
            Outcome::Lost(error) => {
                self.counters.lost += 1;
                log::warn!("{kind}: {error}");
            }
            Outcome::Still(error) => log::warn!("{kind}: {error}"),
            Outcome::Opened => log::info!("{kind}: opened{}", Named(self.feed.report())),
            Outcome::Reopened => log::info!("{kind}: opened again{}", Named(self.feed.report())),
            Outcome::Captured(_) | Outcome::Nothing => {}
        }
    }

    /// Age of the newest frame from the source.
    pub(super) fn age_ms(&self, now: Now) -> Option<u64> {
        self.frame.map(|stamp| millis(now.since(stamp.captured)))
    }
}

/// Why there is no picture, cut if it is longer: the placeholder has three lines.
pub(super) type Reason = heapless::String<128>;

/// Writes a whole message of a WebSocket.
fn frame(text: &mut Text, opcode: Opcode, payload: &[u8]) -> fmt::Result {
    text.write_bytes(&frame_head(opcode, payload.len()))?;
    text.write_bytes(payload)
}

/// A sensor's name at the end of a sentence; nothing if there is none.
struct Named(Option<Report>);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(Report::Usb(kinect::Report { serial: Some(serial), firmware: Some(firmware), .. })) => {
                write!(f, ": serial {serial}, firmware {firmware}")
            }
            Some(Report::Library(life::Report {
                serial: Some(serial),
                firmware: Some(firmware),
                pipeline,
                ..
            })) => {
                write!(f, ": serial {serial}, firmware {firmware}, pipeline {}", pipeline.name())
            }
            _ => Ok(()),
        }
    }
}

/// What came of serving a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// It waits for the peer or for a frame.
    Idle,
    /// It could go on, but others come first.
    Busy,
    /// This is to be written for it, which takes a look at every connection.
    Stats(Stats),
    Close(Close),
    Shutdown,
}

/// What tells of all connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stats {
    /// `/state`.
    State,
    /// `/metrics`.
    Metrics,
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A frame rate as the text block states it.
pub(super) fn rounded(fps: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturating is meant")]
    let whole = fps.round() as u32;
    whole
}
