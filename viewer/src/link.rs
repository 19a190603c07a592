//! The sockets: one for the Python protocol and, when the server turns out to be depthcast, one for depth.
//!
//! [`Link::run`] is one loop on one thread; what it learns goes to a function as [`Event`]s, and a [`Remote`] tells it
//! how to leave. depthcast is recognised by what its pictures say of themselves, so the Python server never sees a byte
//! that is not of its protocol.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, ToSocketAddrs};
use std::ops::ControlFlow;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant, SystemTime};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use socket2::{SockRef, TcpKeepalive};

use crate::depth::{Broken, Client, Depth};
use crate::limits::{DEPTH_REST, KEEPALIVE_EVERY, KEEPALIVE_IDLE, KEEPALIVE_PROBES};
use crate::message::Message;
use crate::pickle;
use crate::picture::Picture;
use crate::session::{Leave, Lost, Next, Session};
use crate::textblock::TextBlock;

/// Where a server is: `NAME:PORT`, `ADDRESS:PORT`, `[ADDRESS]:PORT`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Server {
    host: String,
    port: u16,
}

/// Not an address with a port.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BadServer;

impl FromStr for Server {
    type Err = BadServer;

    fn from_str(text: &str) -> Result<Self, BadServer> {
        let text = text.strip_prefix("http://").map_or(text, |rest| rest.trim_end_matches('/'));
        let (host, port) = text.rsplit_once(':').ok_or(BadServer)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let good = match bare {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.chars().all(fine),
        };
        let port = port.parse().ok().filter(|port| *port != 0);
        match port {
            Some(port) if good => Ok(Self { host: bare.unwrap_or(host).into(), port }),
            _ => Err(BadServer),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for BadServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an address and a port are needed, such as camera.local:8080")
    }
}

impl std::error::Error for BadServer {}

/// A message with a picture.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Counts the pictures of this run, from 1.
    pub number: u64,
    /// What the text block says.
    pub text: TextBlock,
    /// The picture.
    pub picture: Picture,
    /// The file that it was decoded from.
    pub file: Vec<u8>,
    /// Bytes of the message's payload.
    pub payload: usize,
    /// Wall clock when its last byte had come.
    pub received: SystemTime,
    /// From the request to the last byte. A new frame is waited for meanwhile.
    pub waited: Duration,
}

/// What a link learns.
#[derive(Debug)]
pub enum Event {
    /// A connection stands.
    Connected(SocketAddr),
    /// A picture came.
    Frame(Box<Frame>),
    /// There is no connection any more, and when the next attempt is made.
    Lost(Lost, Duration),
    /// A frame of depth came; the server is depthcast.
    Depth(Box<Depth>),
    /// Depth does not come, and why. It is asked for again after a while.
    NoDepth(Broken),
    /// The server's pictures say nothing of themselves: it is not depthcast. Said once a connection.
    NotDepthcast,
}

/// How a link ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ended {
    /// As was wanted; whether the server could be told.
    Left {
        /// It has been sent the byte.
        told: bool,
    },
    /// The connection was lost and not to be tried again.
    Lost(Lost),
}

/// Tells a link to leave, from any thread.
#[derive(Clone, Debug)]
pub struct Remote {
    orders: Sender<Leave>,
    waker: Arc<Waker>,
}

impl Remote {
    /// Tells it to leave, and how. A link that has ended does not hear.
    pub fn tell(&self, how: Leave) {
        let _ = self.orders.send(how);
        let _ = self.waker.wake();
    }
}

/// What a link should do.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where.
    pub server: Server,
    /// For the depth of servers that want one.
    pub token: Option<String>,
    /// Whether depth is of use.
    pub depth: bool,
    /// Whether a lost connection is tried again.
    pub retry: bool,
}

/// See the module's docs.
#[derive(Debug)]
pub struct Link {
    options: Options,
    poll: Poll,
    orders: Receiver<Leave>,
    started: Instant,
    session: Session,
    python: Option<Connection>,
    asked: Instant,
    /// Addresses of the server that were not tried yet.
    addresses: VecDeque<SocketAddr>,
    /// Whether this server is depthcast, once that is known.
    depthcast: Option<bool>,
    depth: Option<(Connection, Client)>,
    /// When depth may be asked for; `None` when this server has said no.
    depth_at: Option<Duration>,
    frames: u64,
    told: bool,
    news: VecDeque<Event>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Connection {
    socket: TcpStream,
    address: SocketAddr,
    /// Whether it stands: not before it was writable for the first time.
    up: bool,
    /// There may be more to read.
    ready: bool,
}

const WAKER: Token = Token(0);
const PYTHON: Token = Token(1);
const DEPTH: Token = Token(2);

/// Bytes read at once.
const CHUNK: usize = 64 << 10;

impl Link {
    /// A link that has not begun, and what it is told through.
    ///
    /// # Errors
    /// When the system gives no poll.
    pub fn new(options: Options) -> io::Result<(Self, Remote)> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let (sender, orders) = mpsc::channel();
        let link = Self {
            options,
            poll,
            orders,
            started: Instant::now(),
            session: Session::new(),
            python: None,
            asked: Instant::now(),
            addresses: VecDeque::new(),
            depthcast: None,
            depth: None,
            depth_at: Some(Duration::ZERO),
            frames: 0,
            told: false,
            news: VecDeque::new(),
            buffer: vec![0; CHUNK],
        };
        Ok((link, Remote { orders: sender, waker }))
    }

    /// Runs until it is told to leave, `sink` breaks off, or a connection is lost that is not to be tried again.
    ///
    /// # Errors
    /// When the system's poll fails.
    pub fn run(mut self, mut sink: impl FnMut(Event) -> ControlFlow<()>) -> io::Result<Ended> {
        let mut events = Events::with_capacity(8);
        loop {
            while let Ok(how) = self.orders.try_recv() {
                self.told = self.session.leave(how, self.now());
            }
            self.read_python();
            self.read_depth();
            if let Some(why) = self.session.is_late(self.now()) {
                self.lose(why);
            }
            let over = self.act();
            self.ask_for_depth();
            while let Some(event) = self.news.pop_front() {
                let lost = match &event {
                    Event::Lost(why, _) if !self.options.retry => Some(why.clone()),
                    _ => None,
                };
                if sink(event).is_break() {
                    self.told = self.session.leave(Leave::Goodbye, self.now());
                }
                if let Some(why) = lost {
                    return Ok(Ended::Lost(why));
                }
            }
            if over {
                self.say_no_more();
                return Ok(Ended::Left { told: self.told });
            }
            self.wait(&mut events)?;
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Waits until something may be done, and notes on which connection.
    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let now = self.now();
        let python_up = self.python.as_ref().is_some_and(|python| python.up);
        let busy = match self.session.next(now) {
            Next::Connect | Next::End => true,
            // A byte that did not fit, which cannot be, would wait for the socket.
            Next::Send(_) => python_up,
            Next::Wait => false,
        };
        let more = [self.python.as_ref(), self.depth.as_ref().map(|(connection, _)| connection)];
        let more = more.into_iter().flatten().any(|connection| connection.ready && connection.up);
        let depth_at = self.depth_at.filter(|_| self.depth.is_none() && self.depthcast == Some(true));
        let wake = [self.session.wake_at(), depth_at].into_iter().flatten().min();
        let timeout = if busy || more { Some(Duration::ZERO) } else { wake.map(|at| at.saturating_sub(now)) };
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in events.iter() {
            let connection = match event.token() {
                PYTHON => self.python.as_mut(),
                DEPTH => self.depth.as_mut().map(|(connection, _)| connection),
                _ => None,
            };
            if let Some(connection) = connection {
                connection.ready |= event.is_readable() || event.is_error() || event.is_read_closed();
                connection.up |= event.is_writable() && connection.socket.peer_addr().is_ok();
                if !connection.up && (event.is_error() || event.is_write_closed()) {
                    self.refused(event.token());
                }
            }
        }
        Ok(())
    }

    /// Does what the session wants; true when it is over.
    fn act(&mut self) -> bool {
        loop {
            let now = self.now();
            match self.session.next(now) {
                Next::Connect => {
                    self.session.connecting(now);
                    self.connect();
                }
                Next::Send(byte) => {
                    let Some(python) = &mut self.python else { return false };
                    match python.socket.write(&[byte]) {
                        Ok(_) => {
                            self.asked = Instant::now();
                            self.session.sent(now);
                            if byte != b'0' {
                                // Nothing else will be said; what the server still sends is read and dropped.
                                let _ = python.socket.shutdown(Shutdown::Write);
                            }
                        }
                        Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                        Err(error) => self.lose(Lost::Refused(words(&error))),
                    }
                }
                Next::Wait => {
                    if let Some(python) = &self.python
                        && python.up
                        && self.session.is_connecting()
                    {
                        self.news.push_back(Event::Connected(python.address));
                        self.session.connected();
                    } else {
                        return false;
                    }
                }
                Next::End => return true,
            }
        }
    }

    fn connect(&mut self) {
        loop {
            if self.addresses.is_empty() {
                match (&*self.options.server.host, self.options.server.port).to_socket_addrs() {
                    Ok(found) => self.addresses = found.collect(),
                    Err(error) => return self.lose(Lost::Refused(words(&error))),
                }
            }
            let Some(address) = self.addresses.pop_front() else {
                return self.lose(Lost::Refused("the name has no address".into()));
            };
            match open(&self.poll, PYTHON, address) {
                Ok(connection) => {
                    self.depthcast = None;
                    self.depth_at = Some(Duration::ZERO);
                    self.python = Some(connection);
                    return;
                }
                Err(_) if !self.addresses.is_empty() => {}
                Err(error) => return self.lose(Lost::Refused(words(&error))),
            }
        }
    }

    /// A connection did not come about; another address may do.
    fn refused(&mut self, token: Token) {
        if token == DEPTH {
            return self.lose_depth(Broken::Closed);
        }
        let error = self.python.take().and_then(|python| python.socket.take_error().ok().flatten());
        if self.addresses.is_empty() {
            let why = error.map_or_else(|| "refused".into(), |error| words(&error));
            self.lose(Lost::Refused(why));
        } else {
            self.connect();
        }
    }

    fn lose(&mut self, why: Lost) {
        self.python = None;
        self.depth = None;
        if let Some(rest) = self.session.lost(self.now()) {
            self.news.push_back(Event::Lost(why, rest));
        }
    }

    /// Reads up to the end of a message: more is left for the next turn.
    fn read_python(&mut self) {
        while let Some(python) = &mut self.python
            && python.up
            && python.ready
        {
            let now = self.started.elapsed();
            let count = match python.socket.read(&mut self.buffer) {
                Ok(0) => return self.lose(Lost::Closed { inside: self.session.is_inside() }),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    python.ready = false;
                    return;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return self.lose(Lost::Closed { inside: self.session.is_inside() });
                }
                Err(error) => return self.lose(Lost::Refused(words(&error))),
            };
            match self.session.receive(&self.buffer[..count], now) {
                Ok(None) => {}
                Ok(Some(message)) => {
                    let waited = self.asked.elapsed();
                    let received = SystemTime::now();
                    // The next picture is on its way while this one is decoded.
                    self.act();
                    self.take(message, received, waited);
                    return;
                }
                Err(error) => return self.lose(Lost::Nonsense(error.to_string())),
            }
        }
    }

    /// A whole message.
    fn take(&mut self, message: Message, received: SystemTime, waited: Duration) {
        let file = match pickle::array(&message.payload) {
            Ok(file) => file,
            Err(refused) => return self.lose(Lost::Nonsense(refused.to_string())),
        };
        let picture = match Picture::decode(&file) {
            Ok(picture) => picture,
            Err(bad) => return self.lose(Lost::Nonsense(bad.to_string())),
        };
        self.session.accepted();
        self.frames += 1;
        let depthcast = picture.about.is_some();
        if !depthcast && self.depthcast.is_none() {
            self.news.push_back(Event::NotDepthcast);
        }
        self.depthcast = Some(depthcast || self.depthcast == Some(true));
        self.news.push_back(Event::Frame(Box::new(Frame {
            number: self.frames,
            text: TextBlock::parse(&message.text),
            payload: message.payload.len(),
            file: file.into_owned(),
            picture,
            received,
            waited,
        })));
    }

    fn ask_for_depth(&mut self) {
        let due = self.options.depth
            && self.depthcast == Some(true)
            && self.depth.is_none()
            && !self.session.is_leaving()
            && self.depth_at.is_some_and(|at| at <= self.now());
        let Some(python) = self.python.as_ref().filter(|_| due) else { return };
        let client = Client::new(&self.options.server.to_string(), self.options.token.as_deref());
        match open(&self.poll, DEPTH, python.address) {
            Ok(connection) => self.depth = Some((connection, client)),
            Err(_) => self.lose_depth(Broken::Closed),
        }
    }

    fn lose_depth(&mut self, why: Broken) {
        self.depth = None;
        // One that wants a token, or another, would only count failures.
        let again = !matches!(why, Broken::Token | Broken::Answer(..));
        self.depth_at = again.then(|| self.now() + DEPTH_REST);
        self.news.push_back(Event::NoDepth(why));
    }

    /// Sends what is to be sent, and reads up to the end of a frame.
    fn read_depth(&mut self) {
        loop {
            let Some((connection, client)) = &mut self.depth else { return };
            if !connection.up {
                return;
            }
            while !client.to_send().is_empty() {
                match connection.socket.write(client.to_send()) {
                    Ok(count) => client.sent(count),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => return self.lose_depth(Broken::Closed),
                }
            }
            if !connection.ready {
                return;
            }
            let count = match connection.socket.read(&mut self.buffer) {
                Ok(0) => return self.lose_depth(Broken::Closed),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    connection.ready = false;
                    return;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return self.lose_depth(Broken::Closed),
            };
            let mut bytes = &self.buffer[..count];
            let mut came = false;
            loop {
                match client.receive(&mut bytes) {
                    Ok(Some(depth)) => {
                        came = true;
                        self.news.push_back(Event::Depth(Box::new(depth)));
                    }
                    Ok(None) => break,
                    Err(why) => return self.lose_depth(why),
                }
            }
            if came {
                return;
            }
        }
    }

    /// Goodbye to the depth connection; the other has been said goodbye to.
    fn say_no_more(&mut self) {
        if let Some((connection, client)) = &mut self.depth {
            client.close();
            // Whether it arrives matters to nobody: closing says the same.
            let _ = connection.socket.write(client.to_send());
        }
    }
}

/// A connection that is being made.
fn open(poll: &Poll, token: Token, address: SocketAddr) -> io::Result<Connection> {
    let mut socket = TcpStream::connect(address)?;
    poll.registry().register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
    let options = SockRef::from(&socket);
    // Neither is worth failing for.
    let _ = options.set_tcp_nodelay(true);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_EVERY)
        .with_retries(KEEPALIVE_PROBES);
    let _ = options.set_tcp_keepalive(&keepalive);
    Ok(Connection { socket, address, up: false, ready: false })
}

/// What the system says of an error, without its number.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error ").map_or(text.clone(), |(words, _)| words.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_in_words() {
        let refused = io::Error::from_raw_os_error(111);
        assert_eq!(words(&refused), "Connection refused");
        assert_eq!(words(&io::Error::other("no such name")), "no such name");
    }

    #[test]
    fn addresses_as_people_write_them() {
        for (text, shown) in [
            ("camera.local:8080", "camera.local:8080"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("[::1]:8080", "[::1]:8080"),
            ("http://camera:8080/", "camera:8080"),
        ] {
            assert_eq!(text.parse::<Server>().unwrap().to_string(), shown);
        }
        for bad in [
            "",
            "camera",
            "camera:",
            "camera:0",
            "camera:70000",
            ":80",
            "::1:80",
            "[::g]:80",
            "a b:80",
            "a\r\nb:80",
        ] {
            assert_eq!(bad.parse::<Server>(), Err(BadServer), "{bad}");
        }
    }
}
