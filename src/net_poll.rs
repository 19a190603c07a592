//! The loop: the only `mio::Poll`, and the only place that accepts, reads, writes, waits and closes.
//!
//! One turn is: wait until something is ready or due; capture a frame if one is due; accept; serve every
//! connection as far as it goes without waiting; close those whose time is up. `mio` is edge-triggered, so
//! readiness is kept with each connection and cleared only when the kernel says "would block"; work is bounded per
//! turn, and what is left over makes the next turn start at once.
//!
//! Tokens carry a generation beside the place, so a late event cannot touch the place's next tenant.

// Listeners and streams.
mod socket;

// What the kernel keeps for a connection.
mod kernel;

// One connection.
mod conn;

use std::fmt::{self, Write};
use std::io;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use self::conn::{Body, Conn, Got, Phase, Put, Text};
use self::socket::Listener;
use crate::camera;
use crate::clock::{Clock, Now};
use crate::metrics::{self, Counters, Rate, Viewer};
use crate::peer::{Network, Peer};
use crate::proto::http::{self, PictureFacts, Status, Target};
use crate::proto::{Close, legacy, multipart, pickle};
use crate::render::Renderer;
use crate::ring::{Form, Full, Picture, Ring, Slot};
use crate::service::{Asked, Notifier, Signals};
use crate::source::{Feed, NOMINAL_FPS, Outcome, Stamp};

pub use self::socket::{Address, BadAddress};

/// Connections beside the viewers: those that have not spoken, and plain requests.
pub const LOBBY: usize = 32;
/// Most places for viewers that can be configured; with the lobby they fit the tokens' 16 bits.
pub const VIEWERS_LIMIT: usize = 4096;
/// Connections accepted in one turn. Fewer than the lobby holds, so that those who have said what they want with their
/// first bytes leave it before others need their places.
pub const ACCEPTS_PER_TURN: usize = LOBBY / 2;
/// Messages begun for one connection in one turn: fairness between peers.
pub const STEPS_PER_TURN: usize = 8;
/// A frame at most this old makes the server ready.
pub const READY_WITHIN: Duration = Duration::from_secs(2);
/// While the source is gone, the placeholder is drawn anew this often.
pub const PLACEHOLDER_EVERY: Duration = Duration::from_secs(1);
/// Pause after the system had no descriptor or no memory for a connection.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// One warning about peers per reason in this time; those between are counted.
pub const WARN_EVERY: Duration = Duration::from_secs(10);

/// What the loop must know; everything else is decided before.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen.
    pub listen: Vec<Address>,
    /// Places for viewers, 1 to [`VIEWERS_LIMIT`].
    pub viewers_max: usize,
    /// A viewer that takes no byte for this long is closed.
    pub stall: Duration,
    /// How pictures are pickled for the Python protocol.
    pub pickle: pickle::Form,
    /// Who may stop the server through the Python protocol.
    pub shutdown_from: Vec<Network>,
    /// Who may connect; empty means everybody.
    pub allow: Vec<Network>,
}

/// Why the server could not start.
#[derive(Debug)]
pub enum StartError {
    /// The address cannot be listened on.
    Listen(Address, io::Error),
    /// The system refused something else that the loop needs.
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Listen(address, e) if e.kind() == io::ErrorKind::AddrInUse => {
                write!(
                    f,
                    "cannot listen on {address}: another program does; stop it or choose another --listen"
                )
            }
            StartError::Listen(address, e) => write!(f, "cannot listen on {address}: {e}"),
            StartError::System(e) => write!(f, "cannot set up the event loop: {e}"),
        }
    }
}

impl std::error::Error for StartError {}

/// Why the loop was left, in good order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stop {
    /// HUP: read the configuration again, [`Server::apply`] it and go on with [`Server::run`].
    Reload,
    /// TERM or INT.
    Signal,
    /// A viewer of the Python protocol asked for it and may.
    Viewer,
}

/// The appliance, ready to run.
#[derive(Debug)]
pub struct Server {
    poll: Poll,
    events: Events,
    listeners: Vec<Listening>,
    signals: Option<Signals>,
    notifier: Notifier,
    entries: Box<[Entry]>,
    world: World,
    /// Something was left over: do not wait.
    busy: bool,
    accept_after: Duration,
    warnings: Warnings,
}

impl Server {
    /// Binds the listeners and allocates everything: nothing is allocated after this.
    ///
    /// # Errors
    /// [`StartError`] if an address is taken or the system refuses.
    pub fn new(
        settings: Settings,
        feed: Feed,
        renderer: Renderer,
        signals: Option<Signals>,
        notifier: Notifier,
        now: Now,
    ) -> Result<Self, StartError> {
        let poll = Poll::new().map_err(StartError::System)?;
        let mut listeners = Vec::new();
        for (n, address) in settings.listen.iter().enumerate() {
            let bound = Listener::bind(address).and_then(|mut socket| {
                socket.register(poll.registry(), Token(LISTENERS + n))?;
                Ok(Listening { socket, ready: true })
            });
            listeners.push(bound.map_err(|e| StartError::Listen(address.clone(), e))?);
        }
        if let Some(signals) = &signals {
            let mut source = SourceFd(&signals.raw());
            poll.registry().register(&mut source, SIGNALS, Interest::READABLE).map_err(StartError::System)?;
        }
        let places = settings.viewers_max.clamp(1, VIEWERS_LIMIT) + LOBBY;
        // Texts may change while serving, the room may not.
        let body = metrics::state_bound(settings.viewers_max, 4 * camera::FIELD_MAX);
        let text = http::RESPONSE_HEAD_MAX + body;
        let entry = || Entry { generation: 0, conn: None, text: Text::with_room(text) };
        let nominal = if feed.fps() == 0 { NOMINAL_FPS } else { feed.fps() };
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS),
            listeners,
            signals,
            notifier,
            entries: (0..places).map(|_| entry()).collect(),
            world: World {
                ring: Ring::new(Renderer::room()),
                rate: Rate::new(now.mono),
                nominal,
                fps: f64::from(nominal),
                feed,
                renderer,
                settings,
                counters: Counters::default(),
                started: now,
                viewers: 0,
                wanted: false,
                frame: None,
                placeholder_at: None,
                next_id: 1,
                body: Text::with_room(body),
            },
            busy: true,
            accept_after: Duration::ZERO,
            warnings: Warnings::default(),
        })
    }

    /// The addresses listened on, with the ports that the system chose.
    pub fn addresses(&self) -> impl Iterator<Item = Address> {
        self.listeners.iter().filter_map(|l| l.socket.address().ok())
    }

    /// Bytes of address space set aside for frames and connections; touched only as they are used.
    pub fn room(&self) -> (usize, usize) {
        let per_entry = size_of::<Entry>() + self.entries.first().map_or(0, |e| e.text.room());
        (self.world.ring.room(), per_entry * self.entries.len())
    }

    /// Serves until told to stop.
    ///
    /// # Errors
    /// Only when the system's own event queue fails.
    pub fn run(&mut self, clock: &Clock) -> io::Result<Stop> {
        self.notifier.ready();
        loop {
            let now = clock.now();
            self.wait(self.timeout(now))?;
            match self.turn(clock.now()) {
                None => {}
                Some(Stop::Reload) => return Ok(Stop::Reload),
                Some(stop) => {
                    self.notifier.stopping();
                    return Ok(stop);
                }
            }
        }
    }

    /// Takes over what may change while serving: everything but `listen` and `viewers_max`, which stay as they were.
    ///
    /// Viewers stay connected; the next frame is the first that shows the change.
    pub fn apply(&mut self, settings: Settings, renderer: Renderer) {
        let listen = std::mem::take(&mut self.world.settings.listen);
        let viewers_max = self.world.settings.viewers_max;
        self.world.settings = Settings { listen, viewers_max, ..settings };
        self.world.renderer.replace(renderer);
    }

    /// Time until something is due at `now`; `None` if only an event can bring work.
    pub fn timeout(&self, now: Now) -> Option<Duration> {
        if self.busy {
            return Some(Duration::ZERO);
        }
        let world = &self.world;
        let placeholder = match world.placeholder_at {
            Some(drawn) => Some(drawn + PLACEHOLDER_EVERY),
            // One tick later than the limit, for the source is gone only beyond it.
            None => world.feed.gone_at().map(|at| at + Duration::from_nanos(1)),
        };
        let blocked = self.listeners.iter().any(|l| l.ready).then_some(self.accept_after);
        let conns = self.entries.iter().filter_map(|e| e.conn.as_ref()?.deadline(world.settings.stall));
        let due = conns.map(|(at, _)| at).min();
        let gate = self.entries.iter().filter_map(|e| e.conn.as_ref()?.gate).min();
        let all = [gate, world.feed.due(world.wanted), placeholder, blocked, due, self.notifier.due()];
        all.into_iter().flatten().min().map(|at| at.saturating_sub(now.mono))
    }

    /// Waits for events, at most `timeout`, and notes what became ready.
    ///
    /// # Errors
    /// Only when the system's own event queue fails.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        for event in &self.events {
            match event.token() {
                SIGNALS => {}
                Token(n) if n >= CONNECTIONS => {
                    let (place, generation) = from_token(n);
                    let Some(entry) = self.entries.get_mut(place).filter(|e| e.generation == generation)
                    else {
                        continue;
                    };
                    if let Some(conn) = &mut entry.conn {
                        conn.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
                        conn.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
                        conn.dead |= event.is_write_closed();
                    }
                }
                // A token nobody owns: events may come late.
                Token(n) => {
                    if let Some(listening) = self.listeners.get_mut(n.wrapping_sub(LISTENERS)) {
                        listening.ready = true;
                    }
                }
            }
        }
        Ok(())
    }

    /// Does everything that is ready or due at `now`, without waiting; says so when it is time to stop.
    pub fn turn(&mut self, now: Now) -> Option<Stop> {
        self.busy = false;
        match self.signals.as_mut().and_then(Signals::take) {
            Some(Asked::Stop) => return Some(Stop::Signal),
            Some(Asked::Reload) => return Some(Stop::Reload),
            None => {}
        }
        self.capture(now);
        self.accept(now);
        self.world.wanted = false;
        for place in 0..self.entries.len() {
            if self.serve(place, now) == Verdict::Shutdown {
                return Some(Stop::Viewer);
            }
        }
        self.expire(now);
        let world = &mut self.world;
        self.busy |= world.feed.due(world.wanted).is_some_and(|due| due <= now.mono);
        let gone = world.feed.gone(now);
        self.notifier.turn(now.mono, world.feed.kind(), gone.as_ref(), world.fps, world.viewers);
        None
    }

    /// Takes a frame if one is due, or draws the placeholder.
    fn capture(&mut self, now: Now) {
        if self.world.feed.due(self.world.wanted).is_some_and(|due| due <= now.mono) {
            let filling = loop {
                match self.world.ring.acquire() {
                    Ok(filling) => break filling,
                    Err(full) => self.close_holders(full, now),
                }
            };
            let world = &mut self.world;
            match world.feed.poll(now, &mut world.ring.filling(&filling).depth) {
                Outcome::Captured(stamp) => {
                    world.counters.captured += 1;
                    world.rate.count(now.mono);
                    world.fps = world.rate.mean(now.mono).unwrap_or(f64::from(world.nominal));
                    world.frame = Some(stamp);
                    world.placeholder_at = None;
                    // Before anything can be made of it: what must not be seen never leaves.
                    world.renderer.view().apply(&mut world.ring.filling(&filling).depth);
                    world.ring.publish(filling, stamp, Picture::Depth);
                }
                outcome => {
                    world.ring.abandon(filling);
                    match outcome {
                        Outcome::Torn => world.counters.torn += 1,
                        Outcome::Lost(error) => {
                            world.counters.lost += 1;
                            log::warn!("{}: {error}", world.feed.kind());
                        }
                        Outcome::Reopened => log::info!("{}: opened again", world.feed.kind()),
                        Outcome::Captured(_) | Outcome::Nothing => {}
                    }
                }
            }
        }
        let Some(error) = self.world.feed.gone(now) else {
            return;
        };
        if self.world.placeholder_at.is_some_and(|at| now.mono < at + PLACEHOLDER_EVERY) {
            return;
        }
        let filling = loop {
            match self.world.ring.acquire() {
                Ok(filling) => break filling,
                Err(full) => self.close_holders(full, now),
            }
        };
        let world = &mut self.world;
        if world.placeholder_at.is_none() {
            log::warn!("{}: no picture: {error}", world.feed.kind());
        }
        let mut reason = heapless::String::<128>::new();
        // Cut if it is longer: the placeholder has three lines.
        let _ = write!(reason, "{error}");
        world.renderer.draw_placeholder(world.ring.filling(&filling), &reason, now.wall_us);
        world.counters.placeholders += 1;
        world.placeholder_at = Some(now.mono);
        let stamp = Stamp { seq: world.feed.seq(), captured: now };
        world.ring.publish(filling, stamp, Picture::Placeholder);
    }

    /// Closes those who hold the oldest slot when the ring has none left.
    fn close_holders(&mut self, full: Full, now: Now) {
        for place in 0..self.entries.len() {
            let conn = self.entries[place].conn.as_ref();
            if conn.is_some_and(|c| c.out.pin().is_some_and(|pin| pin.holds(full))) {
                self.close(place, Close::TooSlow, now);
            }
        }
    }

    fn accept(&mut self, now: Now) {
        if now.mono < self.accept_after {
            return;
        }
        let mut left = ACCEPTS_PER_TURN;
        for n in 0..self.listeners.len() {
            while self.listeners[n].ready {
                if left == 0 {
                    self.busy = true;
                    return;
                }
                left -= 1;
                match self.listeners[n].socket.accept(self.world.settings.stall) {
                    Ok((stream, peer)) => self.admit(stream, peer, now),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.listeners[n].ready = false,
                    // The peer gave up while it waited.
                    Err(e)
                        if matches!(
                            e.kind(),
                            io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
                        ) => {}
                    Err(e) => {
                        // No descriptor or no memory: the connection waits in the kernel, and asking at once spins.
                        self.accept_after = now.mono + ACCEPT_PAUSE;
                        self.warnings.system(now.mono, &e);
                        return;
                    }
                }
            }
        }
    }

    fn admit(&mut self, mut stream: socket::Stream, peer: Peer, now: Now) {
        self.world.counters.accepted += 1;
        let allow = &self.world.settings.allow;
        if !allow.is_empty() && !allow.iter().any(|network| network.contains(peer)) {
            self.world.counters.closed[Close::NotAllowed.number()] += 1;
            self.warnings.peer(now.mono, peer, Close::NotAllowed);
            return;
        }
        let Some(place) = self.free_place(now) else {
            self.world.counters.closed[Close::Full.number()] += 1;
            self.warnings.peer(now.mono, peer, Close::Full);
            return;
        };
        let entry = &mut self.entries[place];
        if let Err(e) = stream.register(self.poll.registry(), to_token(place, entry.generation)) {
            self.warnings.system(now.mono, &e);
            return;
        }
        log::debug!("{peer}: connected");
        entry.conn = Some(Conn::new(stream, peer, self.world.next_id, now));
        self.world.next_id += 1;
    }

    /// A place for a connection: a free one, or that of whoever in the lobby has been quiet for longest.
    fn free_place(&mut self, now: Now) -> Option<usize> {
        let lobby = self.entries.iter().filter(|e| e.conn.as_ref().is_some_and(|c| !c.is_viewer())).count();
        if lobby < LOBBY {
            return self.entries.iter().position(|e| e.conn.is_none());
        }
        let quiet = self.entries.iter().enumerate().filter_map(|(place, entry)| {
            let conn = entry.conn.as_ref()?;
            (!conn.is_viewer() && !conn.out.is_begun()).then_some((conn.progress, place))
        });
        let (_, place) = quiet.min()?;
        self.close(place, Close::Evicted, now);
        Some(place)
    }

    /// Serves one connection and closes it if that is the end of it.
    fn serve(&mut self, place: usize, now: Now) -> Verdict {
        let entry = &mut self.entries[place];
        let Some(conn) = &mut entry.conn else {
            return Verdict::Idle;
        };
        let mut verdict = self.world.serve(conn, &mut entry.text, now);
        if verdict == Verdict::State {
            self.answer_state(place, now);
            // The answer is sent in the next turn, which starts at once.
            verdict = Verdict::Busy;
        }
        match verdict {
            Verdict::Busy => self.busy = true,
            Verdict::Close(close) => self.close(place, close, now),
            Verdict::Idle | Verdict::State | Verdict::Shutdown => {}
        }
        verdict
    }

    /// `/state` needs to see every connection, so it is answered from here.
    fn answer_state(&mut self, place: usize, now: Now) {
        let viewers = self.entries.iter().filter_map(|e| e.conn.as_ref().filter(|c| c.is_viewer()));
        let viewers = viewers.map(|conn| {
            let watched = now.since(conn.opened).as_secs_f64();
            Viewer {
                id: conn.id,
                protocol: conn.protocol(),
                sent: conn.sent,
                skipped: conn.skipped,
                age_ms: conn.shown.map(|(_, at)| millis(now.mono.saturating_sub(at))),
                fps: if watched > 0.0 { conn.sent as f64 / watched } else { 0.0 },
            }
        });
        let world = &mut self.world;
        world.body.clear();
        let gone = world.feed.gone(now);
        let state = metrics::State {
            camera: world.renderer.camera(),
            source: world.feed.kind(),
            sensor: gone.map_or("streaming", |e| e.word()),
            reason: if let Some(error) = &gone { error } else { &"" },
            online: gone.is_none() && world.frame.is_some(),
            desired_fps: world.feed.fps(),
            captured_fps: world.fps,
            seq: world.feed.seq(),
            age_ms: world.age_ms(now),
            min_mm: world.renderer.range().min_mm(),
            max_mm: world.renderer.range().max_mm(),
            uptime: now.since(world.started),
            reopened: world.feed.reopened(),
            viewers_max: world.settings.viewers_max,
            counters: &world.counters,
            made: world.renderer.made(),
        };
        // The room is its documented bound; were it not, the client would get what fitted.
        let whole = metrics::write_state(&mut world.body, &state, viewers);
        debug_assert!(whole.is_ok(), "state_bound is too small");
        let Entry { conn: Some(conn), text, .. } = &mut self.entries[place] else {
            return;
        };
        if let Phase::Http(machine) = &conn.phase
            && let http::Next::Respond(request) = machine.next()
        {
            world.answer_body(conn, text, request, Status::Ok, JSON);
        }
    }

    fn expire(&mut self, now: Now) {
        for place in 0..self.entries.len() {
            let deadline =
                self.entries[place].conn.as_ref().and_then(|c| c.deadline(self.world.settings.stall));
            if let Some((at, close)) = deadline.filter(|(at, _)| *at <= now.mono) {
                log::trace!("place {place}: due {at:?}");
                self.close(place, close, now);
            }
        }
    }

    fn close(&mut self, place: usize, close: Close, now: Now) {
        let entry = &mut self.entries[place];
        let Some(mut conn) = entry.conn.take() else { return };
        entry.generation = entry.generation.wrapping_add(1);
        if let Some(pin) = conn.out.take_pin() {
            self.world.ring.release(pin);
        }
        self.world.viewers -= usize::from(conn.is_viewer());
        // A socket that cannot be deregistered is dropped all the same, which does it.
        let _ = conn.stream.deregister(self.poll.registry());
        self.world.counters.closed[close.number()] += 1;
        if close.is_fault() {
            self.warnings.peer(now.mono, conn.peer, close);
        }
        log::debug!("{}: closed after {} pictures: {close}", conn.peer, conn.sent);
    }
}

/// What came of serving a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verdict {
    /// It waits for the peer or for a frame.
    Idle,
    /// It could go on, but others come first.
    Busy,
    /// `/state` is to be written for it.
    State,
    Close(Close),
    Shutdown,
}

#[derive(Debug)]
struct Listening {
    socket: Listener,
    ready: bool,
}

#[derive(Debug)]
struct Entry {
    generation: u16,
    conn: Option<Conn>,
    text: Text,
}

/// All that connections share.
#[derive(Debug)]
struct World {
    ring: Ring,
    feed: Feed,
    renderer: Renderer,
    settings: Settings,
    counters: Counters,
    rate: Rate,
    /// Frame rate stated before it could be measured.
    nominal: u32,
    /// Frame rate of the last five seconds.
    fps: f64,
    started: Now,
    /// Places for viewers taken.
    viewers: usize,
    /// Somebody waits for a frame that does not exist yet.
    wanted: bool,
    /// The newest frame from the source.
    frame: Option<Stamp>,
    /// When the placeholder was drawn, while it is shown.
    placeholder_at: Option<Duration>,
    next_id: u64,
    /// A body while it is written, before its length is known.
    body: Text,
}

impl World {
    /// Goes on with one connection until it has to wait or has had its share of the turn.
    fn serve(&mut self, conn: &mut Conn, text: &mut Text, now: Now) -> Verdict {
        for _ in 0..STEPS_PER_TURN {
            if conn.out.is_begun() {
                let (put, bytes) = conn.write(text, &self.ring, now.mono);
                self.counters.bytes += bytes as u64;
                match put {
                    Put::All => self.sent(conn),
                    Put::Blocked => return Verdict::Idle,
                    Put::Failed => return Verdict::Close(Close::Broken),
                }
            }
            let verdict = match &conn.phase {
                Phase::Unspoken => self.first_byte(conn, now),
                Phase::Legacy(_) => self.legacy(conn, now),
                Phase::Http(_) => self.http(conn, text, now),
                Phase::Stream(_) => self.stream(conn, text, now),
                Phase::Draining { close, .. } => {
                    let close = *close;
                    match conn.read(&mut [0; READ], now.mono) {
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
                    conn.phase = Phase::Draining { close, until: now.mono + conn::DRAIN };
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
    fn sent(&mut self, conn: &mut Conn) {
        if let Some(pin) = conn.out.take_pin() {
            self.ring.release(pin);
            self.counters.pictures += 1;
            conn.sent += 1;
        }
        match &mut conn.phase {
            Phase::Legacy(machine) => machine.sent(),
            Phase::Http(machine) => {
                machine.sent();
                conn.request_begun = None;
            }
            Phase::Stream(machine) => machine.sent(),
            Phase::Unspoken | Phase::Draining { .. } => {}
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
                self.obey(conn, &byte);
                None
            }
            b'A'..=b'Z' => {
                let mut machine = http::Machine::default();
                machine.receive(&byte);
                conn.phase = Phase::Http(machine);
                conn.request_begun = Some(now.mono);
                None
            }
            other => Some(Verdict::Close(Close::UnknownByte(other))),
        }
    }

    /// Hands commands of the Python protocol to their machine.
    fn obey(&mut self, conn: &mut Conn, bytes: &[u8]) {
        let may_stop = self.settings.shutdown_from.iter().any(|n| n.contains(conn.peer));
        if let Phase::Legacy(machine) = &mut conn.phase
            && !machine.receive(bytes, may_stop)
        {
            log::warn!("{}: asked the server to stop and may not; see legacy.shutdown_from", conn.peer);
        }
    }

    fn legacy(&mut self, conn: &mut Conn, now: Now) -> Option<Verdict> {
        let Phase::Legacy(machine) = &mut conn.phase else {
            return None;
        };
        match machine.next() {
            legacy::Next::Read => {
                let mut buffer = [0; legacy::OWED_MAX as usize];
                let room = machine.room();
                match conn.read(&mut buffer[..room], now.mono) {
                    Got::Bytes(n) => self.obey(conn, &buffer[..n]),
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
                    pickle::Form::Protocol0 => Form::Protocol0,
                    pickle::Form::Compact => Form::Compact,
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
                let mut buffer = [0; READ];
                let room = machine.room().min(READ);
                match conn.read(&mut buffer[..room], now.mono) {
                    Got::Bytes(n) => {
                        conn.request_begun.get_or_insert(now.mono);
                        // On demand, a request is for a frame that did not exist when it came.
                        conn.had = self.ring.newest().map_or(0, Slot::serial);
                        if let Phase::Http(machine) = &mut conn.phase {
                            machine.receive(&buffer[..n]);
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

    fn respond(
        &mut self,
        conn: &mut Conn,
        text: &mut Text,
        request: http::Request,
        now: Now,
    ) -> Option<Verdict> {
        match request.target {
            Target::Page => self.answer(conn, text, request, Status::Ok, HTML, PAGE_FIELDS, PAGE),
            Target::State => return Some(Verdict::State),
            Target::Healthz => self.answer(conn, text, request, Status::Ok, PLAIN, "", b"ok\n"),
            Target::Readyz => {
                self.body.clear();
                let status = self.write_ready(now);
                self.answer_body(conn, text, request, status, PLAIN);
            }
            Target::Refused(status, why) => {
                self.body.clear();
                // Reasons are short constants; the room is for a whole /state.
                let _ = writeln!(self.body, "{}: {why}", status.line());
                self.answer_body(conn, text, request, status, PLAIN);
            }
            Target::Stream if request.head_only => {
                text.clear();
                let _ = multipart::write_head(text);
                // All but the first boundary, which is body.
                let head = text.len() - (multipart::TAIL.len() - 2);
                conn.out.begin(head, Body::None, b"", &self.ring);
            }
            Target::Stream => {
                if self.viewers >= self.settings.viewers_max {
                    self.counters.closed[Close::Full.number()] += 1;
                    self.unavailable(conn, text, request, "all places for viewers are taken");
                    return None;
                }
                conn.phase = Phase::Stream(multipart::Machine::default());
                conn.had = if self.feed.on_demand() { conn.had } else { 0 };
                self.viewers += 1;
            }
            Target::Snapshot => return self.picture(conn, text, request, Form::Png, now),
            Target::DepthPng => {
                if self.feed.gone(now).is_some() {
                    self.unavailable(conn, text, request, "the sensor gives no depth now");
                    return None;
                }
                return self.picture(conn, text, request, Form::DepthPng, now);
            }
        }
        None
    }

    /// Answers with one picture; waits for one if there is none yet.
    fn picture(
        &mut self,
        conn: &mut Conn,
        text: &mut Text,
        request: http::Request,
        form: Form,
        now: Now,
    ) -> Option<Verdict> {
        let had = if self.feed.on_demand() { conn.had } else { 0 };
        let Some((body, facts)) = self.give(conn, form, had, now) else {
            return Some(Verdict::Idle);
        };
        let length = match &body {
            Body::Slot(pin, form) => self.ring.slot(pin).bytes(*form).map_or(0, <[u8]>::len),
            _ => 0,
        };
        text.clear();
        let fields = Fields(facts);
        let written = http::write_head(text, Status::Ok, "image/png", length, request.keep_alive, fields);
        debug_assert!(written.is_ok(), "RESPONSE_HEAD_MAX is too small");
        if request.head_only {
            if let Body::Slot(pin, _) = body {
                self.ring.release(pin);
            }
            conn.out.begin(text.len(), Body::None, b"", &self.ring);
        } else {
            conn.out.begin(text.len(), body, b"", &self.ring);
        }
        None
    }

    fn stream(&mut self, conn: &mut Conn, text: &mut Text, now: Now) -> Option<Verdict> {
        // What a viewer says on a stream means nothing, but leaving it unread would hide its end from us.
        if conn.readable && conn.read(&mut [0; READ], now.mono) == Got::Failed {
            return Some(Verdict::Close(Close::Broken));
        }
        let Phase::Stream(machine) = &conn.phase else {
            return None;
        };
        text.clear();
        let written = match machine.next() {
            multipart::Next::Head => {
                let written = multipart::write_head(text);
                conn.out.begin(text.len(), Body::None, b"", &self.ring);
                written
            }
            multipart::Next::Picture => {
                let Some((body, facts)) = self.give(conn, Form::Png, conn.had, now) else {
                    return Some(Verdict::Idle);
                };
                let length = match &body {
                    Body::Slot(pin, form) => self.ring.slot(pin).bytes(*form).map_or(0, <[u8]>::len),
                    _ => 0,
                };
                let written = multipart::write_part_head(text, "image/png", length, &facts);
                conn.out.begin(text.len(), body, multipart::TAIL, &self.ring);
                written
            }
        };
        debug_assert!(written.is_ok(), "RESPONSE_HEAD_MAX is too small");
        None
    }

    /// Pins a frame newer than `had` for a connection and has `form` made of it.
    ///
    /// `None` if there is none yet, which is noted as somebody waiting.
    fn give(&mut self, conn: &mut Conn, form: Form, had: u64, now: Now) -> Option<(Body, PictureFacts)> {
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
        if form == Form::DepthPng && slot.picture == Picture::Placeholder {
            // The source is back, its first frame is not here yet.
            self.ring.release(pin);
            self.wanted = true;
            return None;
        }
        self.renderer.make(slot, form, fps);
        let (serial, stamp, picture) = (slot.serial(), slot.stamp, slot.picture);
        conn.had = serial;
        let dropped = match conn.shown {
            Some((seq, _)) if conn.is_viewer() => stamp.seq.saturating_sub(seq + 1),
            _ => 0,
        };
        conn.skipped += dropped;
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
            dropped,
            min_mm: self.renderer.range().min_mm(),
            max_mm: self.renderer.range().max_mm(),
        };
        Some((Body::Slot(pin, form), facts))
    }

    /// Answers with a body that is part of the program.
    #[expect(clippy::too_many_arguments, reason = "one line of a response head each")]
    fn answer(
        &self,
        conn: &mut Conn,
        text: &mut Text,
        request: http::Request,
        status: Status,
        content_type: &str,
        fields: &str,
        body: &'static [u8],
    ) {
        text.clear();
        let length = body.len();
        let written = http::write_head(text, status, content_type, length, request.keep_alive, fields);
        debug_assert!(written.is_ok(), "RESPONSE_HEAD_MAX is too small");
        let body = if request.head_only { Body::None } else { Body::Fixed(body) };
        conn.out.begin(text.len(), body, b"", &self.ring);
    }

    /// Answers with what was written to `self.body`.
    fn answer_body(
        &mut self,
        conn: &mut Conn,
        text: &mut Text,
        request: http::Request,
        status: Status,
        content_type: &str,
    ) {
        text.clear();
        let retry = if status == Status::Unavailable { "Retry-After: 1\r\n" } else { "" };
        let length = self.body.len();
        let mut written = http::write_head(text, status, content_type, length, request.keep_alive, retry);
        if !request.head_only {
            written = written.and_then(|()| text.write_bytes(self.body.bytes()));
        }
        debug_assert!(written.is_ok(), "a connection's text is too small");
        conn.out.begin(text.len(), Body::None, b"", &self.ring);
    }

    fn unavailable(&mut self, conn: &mut Conn, text: &mut Text, request: http::Request, why: &str) {
        self.body.clear();
        // A short constant into room for a whole /state.
        let _ = writeln!(self.body, "{}: {why}", Status::Unavailable.line());
        self.answer_body(conn, text, request, Status::Unavailable, PLAIN);
    }

    /// Writes why the server is not ready, or that it is.
    fn write_ready(&mut self, now: Now) -> Status {
        let quiet = self.feed.quiet(now);
        let unready = quiet > READY_WITHIN || (self.frame.is_none() && !self.feed.on_demand());
        // Short texts into room for a whole /state.
        let _ = match (unready, self.feed.gone(now)) {
            (false, _) => writeln!(self.body, "ready"),
            (true, Some(error)) => {
                writeln!(self.body, "no frame for {:.1} s: {error}", quiet.as_secs_f64())
            }
            (true, None) => writeln!(self.body, "no frame yet"),
        };
        if unready { Status::Unavailable } else { Status::Ok }
    }

    /// Age of the newest frame from the source.
    fn age_ms(&self, now: Now) -> Option<u64> {
        self.frame.map(|stamp| millis(now.since(stamp.captured)))
    }
}

/// The header fields of a picture, as [`http::write_head`] takes them.
struct Fields(PictureFacts);

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f)
    }
}

/// Warnings about peers, limited per reason so that nobody can fill the journal.
#[derive(Debug, Default)]
struct Warnings {
    last: [Option<Duration>; Close::WORDS.len() + 1],
    suppressed: [u64; Close::WORDS.len() + 1],
}

impl Warnings {
    fn peer(&mut self, now: Duration, peer: Peer, close: Close) {
        if let Some(suppressed) = self.allow(close.number(), now) {
            log::warn!("{peer}: closed: {close}{suppressed}");
        }
    }

    fn system(&mut self, now: Duration, error: &io::Error) {
        if let Some(suppressed) = self.allow(Close::WORDS.len(), now) {
            log::warn!("cannot take a connection now: {error}{suppressed}");
        }
    }

    /// How many were held back since the last of this kind, if it is time for one again.
    fn allow(&mut self, kind: usize, now: Duration) -> Option<Suppressed> {
        if self.last[kind].is_some_and(|last| now < last + WARN_EVERY) {
            self.suppressed[kind] += 1;
            return None;
        }
        self.last[kind] = Some(now);
        Some(Suppressed(std::mem::take(&mut self.suppressed[kind])))
    }
}

struct Suppressed(u64);

impl fmt::Display for Suppressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { Ok(()) } else { write!(f, " ({} more like this were not logged)", self.0) }
    }
}

fn to_token(place: usize, generation: u16) -> Token {
    Token(CONNECTIONS + (usize::from(generation) << PLACE_BITS) + place)
}

fn from_token(token: usize) -> (usize, u16) {
    let n = token - CONNECTIONS;
    #[expect(clippy::cast_possible_truncation, reason = "a token is never made of more")]
    let generation = (n >> PLACE_BITS) as u16;
    (n & ((1 << PLACE_BITS) - 1), generation)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A frame rate as the text block states it.
fn rounded(fps: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturating is meant")]
    let whole = fps.round() as u32;
    whole
}

const SIGNALS: Token = Token(0);
/// First listener's token; there are fewer listeners than [`CONNECTIONS`] leaves room for.
const LISTENERS: usize = 1;
const CONNECTIONS: usize = 1024;
/// Bits of a token for the place; the generation stands above them, also where a token has 32 bits.
const PLACE_BITS: u32 = 14;
/// Events taken from the system at once; the rest come in the next turn.
const EVENTS: usize = 256;
/// Bytes read at once.
const READ: usize = 4096;

const PLAIN: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
/// The viewer page, complete in itself.
const PAGE: &[u8] = include_bytes!("../web/index.html");
/// The page may load nothing but what this server has.
const PAGE_FIELDS: &str = "Content-Security-Policy: default-src 'none'; script-src 'unsafe-inline'; \
style-src 'unsafe-inline'; img-src 'self' blob: data:; connect-src 'self'\r\n";

#[cfg(test)]
mod tests;
