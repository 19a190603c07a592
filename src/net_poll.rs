//! The loop: the only `mio::Poll` of what serves, and the only place that accepts, reads, writes, waits and closes.
//!
//! One turn is: wait until something is ready or due; step the source and capture a frame if there is one; accept;
//! serve every connection as far as it goes without waiting; close those whose time is up. `mio` is edge-triggered, so
//! readiness is kept with each connection and cleared only when the kernel says "would block"; work is bounded per
//! turn, and what is left over makes the next turn start at once.
//!
//! A sensor's two descriptors only wake the loop: it is stepped in every turn anyhow, until it says that it is idle. So
//! an edge cannot be missed, and a device that hangs up wakes the loop once, not for ever.
//!
//! Tokens carry a generation beside the place, so a late event cannot touch the place's next tenant.

// Listeners and streams.
mod socket;

// What the kernel keeps for a connection.
mod kernel;

// What connections share, and how one is served.
mod world;

// What HTTP is answered with.
mod answers;

// What it is answered with that tells of every connection.
mod stats;

// One connection.
mod conn;

// Buffers for long answers.
mod pool;

// What viewers need to know.
mod describe;

// What is said of peers in the log.
mod warnings;

use std::fmt::{self, Write};
use std::io;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use self::conn::{Conn, Phase, Text};
use self::pool::{Pool, long_text};
use self::socket::Listener;
use self::warnings::Warnings;
use self::world::{Reason, Verdict, World};
use crate::access::{Failures, Rules};
use crate::clock::{Clock, Now};
use crate::limits::{
    ACCEPT_PAUSE, ACCEPTS_PER_TURN, ANSWER_TIME, CAMERA_TEXT_MAX, EVENTS_PER_TURN, GOODBYE, LOBBY,
    LONG_ANSWERS, PLACEHOLDER_EVERY, RESPONSE_HEAD_MAX, SENSOR_STOP, SHORT_ANSWER_MAX, VIEWERS_LIMIT,
};
use crate::metrics::exposition;
use crate::metrics::{self, Counters, Rate, Timings};
use crate::peer::{Network, Peer};
use crate::proto::query::Tag;
use crate::proto::{Close, pickle};
use crate::render::Renderer;
use crate::ring::{Full, Picture, Ring};
use crate::service::{self, Asked, Inherited, Notifier, Signals};
use crate::source::{Feed, NOMINAL_FPS, Outcome, Report, Stamp, Step, kinect};

pub use self::socket::{Address, BadAddress};

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
    pub pickle: pickle::Style,
    /// Who may stop the server through the Python protocol.
    pub shutdown_from: Vec<Network>,
    /// Who may connect; empty means everybody.
    pub allow: Vec<Network>,
    /// What a request is held against.
    pub rules: Rules,
    /// Name of this server among others on one host, in `/state` and in cookies.
    pub instance: Tag,
}

/// Why the server could not start.
#[derive(Debug)]
pub enum StartError {
    /// The address cannot be listened on.
    Listen(Address, io::Error),
    /// The inherited socket of this number, from 1 on, cannot be listened on.
    Inherited(usize, io::Error),
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
            StartError::Inherited(n, e) => write!(f, "cannot listen on inherited socket {n}: {e}"),
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
    /// Generation of the sensor's device that is watched.
    watched: Option<u64>,
}

impl Server {
    /// Binds the listeners and allocates everything: nothing is allocated after this.
    ///
    /// * `inherited`: sockets that listen already, which stand in for [`Settings::listen`] unless there are none.
    ///
    /// # Errors
    /// [`StartError`] if an address is taken or the system refuses.
    pub fn new(
        inherited: Vec<Inherited>,
        settings: Settings,
        feed: Feed,
        renderer: Renderer,
        signals: Option<Signals>,
        notifier: Notifier,
        now: Now,
    ) -> Result<Self, StartError> {
        let poll = Poll::new().map_err(StartError::System)?;
        let mut listeners = Vec::new();
        let mut listen = |n: usize, socket: io::Result<Listener>| {
            let mut socket = socket?;
            socket.register(poll.registry(), Token(LISTENERS + n))?;
            listeners.push(Listening { socket, ready: true });
            Ok(())
        };
        if inherited.is_empty() {
            for (n, address) in settings.listen.iter().enumerate() {
                listen(n, Listener::bind(address)).map_err(|e| StartError::Listen(address.clone(), e))?;
            }
        }
        for (n, socket) in inherited.into_iter().enumerate() {
            listen(n, Listener::inherit(socket)).map_err(|e| StartError::Inherited(n + 1, e))?;
        }
        if let Some(signals) = &signals {
            let mut source = SourceFd(&signals.raw());
            poll.registry().register(&mut source, SIGNALS, Interest::READABLE).map_err(StartError::System)?;
        }
        if let Some(job) = feed.job() {
            let registered = poll.registry().register(&mut SourceFd(&job), SENSOR_JOB, Interest::READABLE);
            registered.map_err(StartError::System)?;
        }
        let places = settings.viewers_max.clamp(1, VIEWERS_LIMIT) + LOBBY;
        // Texts may change while serving, the buffers may not.
        let body = metrics::state_bound(settings.viewers_max, 4 * CAMERA_TEXT_MAX).max(exposition::BOUND);
        let text = RESPONSE_HEAD_MAX + SHORT_ANSWER_MAX;
        let entry = || Entry { generation: 0, conn: None, text: Text::with_capacity(text) };
        let nominal = if feed.fps() == 0 { NOMINAL_FPS } else { feed.fps() };
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS_PER_TURN),
            listeners,
            signals,
            notifier,
            entries: (0..places).map(|_| entry()).collect(),
            world: World {
                ring: Ring::new(Renderer::capacities()),
                rate: Rate::new(now.mono),
                nominal,
                fps: f64::from(nominal),
                feed,
                renderer,
                settings,
                counters: Counters::default(),
                timings: Timings::default(),
                started: now,
                viewers: 0,
                wanted: false,
                frame: None,
                placeholder_at: None,
                next_id: 1,
                failures: Failures::default(),
                state: 0,
                reason: Reason::new(),
                body: long_text(body),
                pool: Pool::new(LONG_ANSWERS, body),
                told: None,
                warnings: Warnings::default(),
            },
            busy: true,
            accept_after: Duration::ZERO,
            watched: None,
        })
    }

    /// The addresses listened on, with the ports that the system chose.
    pub fn addresses(&self) -> impl Iterator<Item = Address> {
        self.listeners.iter().filter_map(|l| l.socket.address().ok())
    }

    /// Bytes of address space set aside for frames and connections; touched only as they are used.
    pub fn mapped_bytes(&self) -> (usize, usize) {
        let world = &self.world;
        let per_entry = size_of::<Entry>() + self.entries.first().map_or(0, |e| e.text.capacity());
        let answers = world.body.capacity() + world.pool.mapped_bytes();
        (world.ring.mapped_bytes(), per_entry * self.entries.len() + answers)
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
                Some(Stop::Reload) => {
                    self.notifier.reloading();
                    return Ok(Stop::Reload);
                }
                Some(stop) => {
                    self.notifier.stopping();
                    self.leave(clock)?;
                    return Ok(stop);
                }
            }
        }
    }

    /// Stops a sensor in order, tells viewers behind a WebSocket that the server goes away, and serves meanwhile; gives up on
    /// the one after [`SENSOR_STOP`], on the others after [`GOODBYE`].
    fn leave(&mut self, clock: &Clock) -> io::Result<()> {
        let mut now = clock.now();
        let (sensor, goodbye) = (now.mono + SENSOR_STOP, now.mono + GOODBYE);
        self.world.feed.shut_down(now);
        // Who comes now is refused at once; nobody would be there to serve him.
        self.listeners.clear();
        for conn in self.entries.iter_mut().filter_map(|e| e.conn.as_mut()) {
            if let Phase::WebSocket(viewer) = &mut conn.phase {
                viewer.leave();
            }
        }
        // They have something to be sent now.
        self.busy = true;
        loop {
            let stopping = !self.world.feed.is_shut_down();
            if stopping && now.mono >= sensor {
                log::warn!("{}: has not stopped in time", self.world.feed.kind());
                return Ok(());
            }
            let mut conns = self.entries.iter().filter_map(|e| e.conn.as_ref());
            let unsaid = now.mono < goodbye && conns.any(|c| matches!(c.phase, Phase::WebSocket(_)));
            if !stopping && !unsaid {
                return Ok(());
            }
            let left = if stopping { sensor } else { goodbye } - now.mono;
            self.wait(Some(self.timeout(now).map_or(left, |timeout| timeout.min(left))))?;
            now = clock.now();
            self.busy = false;
            self.capture(now);
            for place in 0..self.entries.len() {
                self.serve(place, now);
            }
            self.expire(now);
        }
    }

    /// Takes over what may change while serving: everything but `listen` and `viewers_max`, which stay as they were, and
    /// a sensor's queue.
    ///
    /// Viewers stay connected, but for those who are in no network of `allow` any more or came with a token that is no
    /// longer valid; the next frame is the first that shows the change.
    pub fn apply(&mut self, settings: Settings, renderer: Renderer, kinect: &kinect::Settings, now: Now) {
        let listen = std::mem::take(&mut self.world.settings.listen);
        let viewers_max = self.world.settings.viewers_max;
        self.world.settings = Settings { listen, viewers_max, ..settings };
        self.world.renderer.replace(renderer);
        self.world.feed.set(kinect);
        self.world.state += 1;
        for place in 0..self.entries.len() {
            let Some(conn) = &self.entries[place].conn else { continue };
            // Each request is judged by itself.
            let http_viewer = matches!(conn.phase, Phase::Stream(_) | Phase::WebSocket(_));
            if !self.may_connect(conn.peer) {
                self.close(place, Close::NotAllowed, now);
            } else if http_viewer && !self.world.settings.rules.admits(conn.token) {
                self.close(place, Close::TokenGone, now);
            }
        }
    }

    /// Time until something is due at `now`; `None` if only an event can bring work.
    pub fn timeout(&self, now: Now) -> Option<Duration> {
        if self.busy {
            return Some(Duration::ZERO);
        }
        let world = &self.world;
        let placeholder = match world.placeholder_at {
            Some(drawn) => Some(drawn + PLACEHOLDER_EVERY),
            None => world.feed.gone_at(),
        };
        let blocked = self.listeners.iter().any(|l| l.ready).then_some(self.accept_after);
        let conns = self.entries.iter().filter_map(|e| e.conn.as_ref()?.deadline(world.settings.stall));
        let due = conns.map(|(at, _)| at).min();
        let gate = self.entries.iter().filter_map(|e| e.conn.as_ref()?.gate).min();
        let wake = self.entries.iter().filter_map(|e| e.conn.as_ref()?.wake).min();
        let all = [gate, wake, world.feed.due(world.wanted), placeholder, blocked, due, self.notifier.due()];
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
                SIGNALS | SENSOR_JOB | SENSOR_NODE => {}
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
        let world = &self.world;
        self.busy |= world.feed.due(world.wanted).is_some_and(|due| due <= now.mono);
        if self.notifier.due().is_some_and(|due| due <= now.mono) {
            self.notify(now);
        }
        None
    }

    /// Tells the service manager how things are.
    fn notify(&mut self, now: Now) {
        let World { feed, rate, viewers, .. } = &mut self.world;
        let fps = rate.mean(now.mono);
        let serial = match feed.report() {
            Some(Report::Usb(sensor)) => sensor.serial,
            Some(Report::Library(sensor)) => sensor.serial,
            None => None,
        };
        let (gone, healthy) = (feed.gone(now), feed.is_healthy(now));
        let source = feed.kind();
        let status = service::Status { source, serial, gone, healthy, fps, viewers: *viewers };
        self.notifier.turn(now.mono, &status);
    }

    /// Steps the source, takes a frame if there is one, or draws the placeholder.
    fn capture(&mut self, now: Now) {
        match self.world.feed.step(now, self.world.wanted) {
            Step::Idle => {}
            Step::More => self.busy = true,
            Step::Poll => self.take_frame(now),
            Step::Happened(outcome) => {
                self.busy = true;
                self.world.note(outcome);
            }
        }
        self.watch_sensor(now);
        self.show_placeholder(now);
    }

    /// Has the source write a frame into a free slot of the ring.
    fn take_frame(&mut self, now: Now) {
        let filling = loop {
            match self.world.ring.acquire() {
                Ok(filling) => break filling,
                Err(full) => self.close_holders(full, now),
            }
        };
        let world = &mut self.world;
        // Behind a sensor's frame there may be more.
        self.busy |= world.feed.job().is_some();
        let begun = Instant::now();
        match world.feed.poll(now, &mut world.ring.filling(&filling).depth) {
            Outcome::Captured(stamp) => {
                world.timings.decode.observe(begun.elapsed());
                world.counters.captured += 1;
                if world.placeholder_at.take().is_some() {
                    world.rate.restart(now.mono);
                    // The first frame of all is told of as the source's opening.
                    if world.frame.is_some() {
                        log::info!("{}: the picture is back", world.feed.kind());
                    }
                }
                if world.frame.is_none() || !world.reason.is_empty() {
                    world.reason.clear();
                    world.state += 1;
                }
                world.rate.count(now.mono);
                world.fps = world.rate.mean(now.mono).unwrap_or(f64::from(world.nominal));
                world.frame = Some(stamp);
                // Before anything can be made of it: what must not be seen never leaves.
                let slot = world.ring.filling(&filling);
                let view = world.renderer.view();
                view.apply(&mut slot.depth);
                if let Some(infrared) = world.feed.infrared() {
                    view.apply_infrared(infrared, &slot.depth);
                    world.renderer.take_infrared(slot, infrared, stamp);
                }
                world.ring.publish(filling, stamp, Picture::Depth);
            }
            outcome => {
                world.ring.abandon(filling);
                world.note(outcome);
            }
        }
    }

    /// Has the loop woken by the device of a sensor, which is another one each time it is opened.
    fn watch_sensor(&mut self, now: Now) {
        let node = self.world.feed.node();
        let generation = node.map(|(generation, _)| generation);
        if generation == self.watched {
            return;
        }
        // A device that is closed is not watched any more by that alone; to take it out by its number could hit
        // somebody else, who has that number by now.
        self.watched = generation;
        let Some((_, fd)) = node else { return };
        // What became ready before is an event too.
        if let Err(e) = self.poll.registry().register(&mut SourceFd(&fd), SENSOR_NODE, Interest::WRITABLE) {
            // Its own deadline wakes the loop now and then; by then it may work.
            self.watched = None;
            self.world.warnings.sensor(now.mono, &e);
        }
    }

    /// Draws the placeholder while there is no picture, once a second.
    fn show_placeholder(&mut self, now: Now) {
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
            log::warn!("{}: no picture: {error:#}", world.feed.kind());
        }
        if !world.feed.on_demand() {
            // What is captured now is nothing.
            world.fps = world.rate.mean(now.mono).unwrap_or(world.fps);
        }
        let mut reason = Reason::new();
        // What does not fit is left out.
        let _ = write!(reason, "{error}");
        world.renderer.draw_placeholder(world.ring.filling(&filling), &reason, now.wall_us);
        if world.reason != reason {
            world.reason = reason;
            world.state += 1;
        }
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
        // Each has its share: a crowd at one address keeps nobody waiting at another.
        let share = (ACCEPTS_PER_TURN / self.listeners.len().max(1)).max(1);
        for n in 0..self.listeners.len() {
            let mut left = share;
            while self.listeners[n].ready {
                if left == 0 {
                    self.busy = true;
                    break;
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
                        self.world.warnings.system(now.mono, &e);
                        return;
                    }
                }
            }
        }
    }

    fn admit(&mut self, mut stream: socket::Stream, peer: Peer, now: Now) {
        self.world.counters.accepted += 1;
        if !self.may_connect(peer) {
            self.world.counters.closed[Close::NotAllowed.number()] += 1;
            self.world.warnings.closed(now.mono, peer, Close::NotAllowed);
            return;
        }
        let Some(place) = self.free_place(now) else {
            self.world.counters.closed[Close::Full.number()] += 1;
            self.world.warnings.closed(now.mono, peer, Close::Full);
            return;
        };
        let entry = &mut self.entries[place];
        if let Err(e) = stream.register(self.poll.registry(), to_token(place, entry.generation)) {
            self.world.warnings.system(now.mono, &e);
            return;
        }
        log::debug!("{peer}: connected");
        entry.conn = Some(Conn::new(stream, peer, self.world.next_id, now));
        self.world.next_id += 1;
    }

    fn may_connect(&self, peer: Peer) -> bool {
        let allow = &self.world.settings.allow;
        allow.is_empty() || allow.iter().any(|network| network.contains(peer))
    }

    /// A place for a connection: a free one, or that of whoever in the lobby has been quiet for longest; if all are being
    /// answered, that of whoever has taken longer than [`ANSWER_TIME`] for it, and longest.
    fn free_place(&mut self, now: Now) -> Option<usize> {
        let lobby = self.entries.iter().filter(|e| e.conn.as_ref().is_some_and(|c| !c.is_viewer())).count();
        if lobby < LOBBY {
            return self.entries.iter().position(|e| e.conn.is_none());
        }
        let dispensable = self.entries.iter().enumerate().filter_map(|(place, entry)| {
            let conn = entry.conn.as_ref().filter(|c| !c.is_viewer())?;
            let answered = conn.out.is_begun();
            let since = if answered { conn.blocked? } else { conn.progress };
            (!answered || since + ANSWER_TIME <= now.mono).then_some((answered, since, place))
        });
        let (.., place) = dispensable.min()?;
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
        if let Verdict::Stats(stats) = verdict {
            self.answer_stats(place, stats, now);
            // The answer is sent in the next turn, which starts at once.
            verdict = Verdict::Busy;
        }
        match verdict {
            Verdict::Busy => self.busy = true,
            Verdict::Close(close) => self.close(place, close, now),
            Verdict::Idle | Verdict::Stats(_) | Verdict::Shutdown => {}
        }
        verdict
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
        conn.out.end(&mut self.world.ring, &mut self.world.pool);
        self.world.viewers -= usize::from(conn.is_viewer());
        // A socket that cannot be deregistered is dropped all the same, which does it.
        let _ = conn.stream.deregister(self.poll.registry());
        self.world.counters.closed[close.number()] += 1;
        if close.is_fault() {
            self.world.warnings.closed(now.mono, conn.peer, close);
        }
        log::debug!("{}: closed after {} pictures: {close}", conn.peer, conn.sent);
    }
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

fn to_token(place: usize, generation: u16) -> Token {
    Token(CONNECTIONS + (usize::from(generation) << PLACE_BITS) + place)
}

fn from_token(token: usize) -> (usize, u16) {
    let n = token - CONNECTIONS;
    #[expect(clippy::cast_possible_truncation, reason = "a token is never made of more")]
    let generation = (n >> PLACE_BITS) as u16;
    (n & ((1 << PLACE_BITS) - 1), generation)
}

const SIGNALS: Token = Token(0);
/// First listener's token; there are fewer listeners than [`CONNECTIONS`] leaves room for.
const LISTENERS: usize = 1;
const CONNECTIONS: usize = 1024;
/// The last two below the connections: a sensor's jobs and its device.
const SENSOR_JOB: Token = Token(CONNECTIONS - 2);
const SENSOR_NODE: Token = Token(CONNECTIONS - 1);
/// Bits of a token for the place; the generation stands above them, also where a token has 32 bits.
const PLACE_BITS: u32 = 14;

#[cfg(test)]
mod tests;
