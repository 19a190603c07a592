//! A simulated Kinect v2 behind the kernel's own USB stack: a USB/IP server for `vhci-hcd`.
//!
//! ```text
//! program ── usbfs ── usbcore ── vhci-hcd ──── TCP on 127.0.0.1 ────▶ wire ─▶ session ─▶ kinect2_sim::host
//! ```
//!
//! The sensor is attached with `usbip attach -r ADDRESS -b 1-1`, here or in a virtual machine that reaches this
//! loopback. On standard input it takes `unplug` and `plug`; the end of the input ends nothing.

// Bytes of the protocol.
mod wire;

// A client and its transfers.
mod session;

use std::fs;
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use clap::Parser;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};

use kinect2_sim::device::{Frames, Options, Speed};
use kinect2_sim::faults::Faults;
use kinect2_sim::host::{Host, Pace};

use session::{OUT_MAX, Session};

/// Connections at a time; one has the sensor, the others may only ask.
const CLIENTS_MAX: usize = 8;
/// Bytes read at once.
const READ_BYTES: usize = 64 << 10;
const LISTENER: Token = Token(CLIENTS_MAX);
const COMMANDS: Token = Token(CLIENTS_MAX + 1);

/// A simulated Kinect v2 as a USB/IP server on 127.0.0.1.
#[derive(Debug, Parser)]
struct Arguments {
    /// Port to listen on; 0 takes any, which is printed.
    #[arg(long, default_value_t = 3240)]
    port: u16,
    /// How the sensor's time passes: with what the client takes, or with the clock.
    #[arg(long, value_enum, default_value_t = PaceName::Demand)]
    pace: PaceName,
    /// What the sensor sees: a folder of a recording (*.depth, p0.bin, ir_params.json), "demo", or "noise".
    #[arg(long, default_value = "demo")]
    frames: String,
    /// Seed of "demo" and "noise".
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the frames that are sent into this folder, NUMBER.depth; sequence number N carries number N modulo count.
    #[arg(long, value_name = "FOLDER")]
    write: Option<PathBuf>,
    /// Faults, as the simulated sensor names them, such as "loss=0.01 unplug@5+3".
    #[arg(long, default_value = "")]
    faults: Faults,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum PaceName {
    /// A client that is too slow for the sensor gets every frame, later.
    Demand,
    /// A client that is too slow for the sensor loses packets.
    Realtime,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kinect2-sim-usbip: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> io::Result<()> {
    let pace = match arguments.pace {
        PaceName::Demand => Pace::Demand,
        PaceName::Realtime => Pace::RealTime,
    };
    let options = match arguments.frames.as_str() {
        "demo" => Options::demo(arguments.seed),
        "noise" => Options::noise(arguments.seed, 4),
        folder => Options::folder(Path::new(folder)).map_err(io::Error::other)?,
    };
    if let Some(folder) = &arguments.write {
        fs::create_dir_all(folder)?;
        let Frames::Raw(frames) = &options.frames;
        for (number, frame) in frames.iter().enumerate() {
            fs::write(folder.join(format!("{number}.depth")), frame)?;
        }
    }
    let host = Host::new(Options { faults: arguments.faults, ..options }, pace);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, arguments.port));
    let listener = TcpListener::bind(address)?;
    say(format_args!("listening on {}", listener.local_addr()?));
    Server::new(listener, host, pace)?.serve()
}

/// What a person or a script can tell the sensor while it runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Order {
    Plug,
    Unplug,
}

struct Client {
    stream: TcpStream,
    session: Session,
    out: Vec<u8>,
    /// Whether the socket may have bytes to read, and room to write: only an attempt says that it has not.
    readable: bool,
    writable: bool,
}

struct Server {
    poll: Poll,
    listener: TcpListener,
    orders: mpsc::Receiver<Order>,
    begun: Instant,
    host: Host,
    pace: Pace,
    clients: [Option<Client>; CLIENTS_MAX],
    input: Box<[u8]>,
}

impl Server {
    fn new(mut listener: TcpListener, host: Host, pace: Pace) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(poll.registry(), COMMANDS)?);
        let (sender, orders) = mpsc::channel();
        // Its reads cannot be waited for together with the sockets when the input is a file. It ends with the program.
        std::thread::Builder::new().name("orders".into()).spawn(move || read_orders(&sender, &waker))?;
        Ok(Server {
            poll,
            listener,
            orders,
            begun: Instant::now(),
            host,
            pace,
            clients: Default::default(),
            input: vec![0; READ_BYTES].into_boxed_slice(),
        })
    }

    fn serve(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(2 * CLIENTS_MAX);
        loop {
            let timeout = self.due().map(|due| due.saturating_sub(self.begun.elapsed()));
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    COMMANDS => self.obey(),
                    Token(index) => {
                        if let Some(client) = &mut self.clients[index] {
                            client.readable |=
                                event.is_readable() || event.is_error() || event.is_read_closed();
                            client.writable |= event.is_writable();
                        }
                    }
                }
            }
            self.turn();
        }
    }

    /// When there is something to do even if no socket says so.
    fn due(&self) -> Option<Duration> {
        if self.clients.iter().flatten().any(|client| client.readable) {
            return Some(Duration::ZERO);
        }
        let sessions = self.clients.iter().flatten();
        sessions
            .filter_map(|client| client.session.due(client.out.len() < OUT_MAX))
            .chain(self.host.due())
            .min()
    }

    fn turn(&mut self) {
        let now = self.begun.elapsed();
        self.host.advance(now);
        for index in 0..CLIENTS_MAX {
            let free = !self.clients.iter().flatten().any(|client| client.session.imported());
            let Some(client) = &mut self.clients[index] else { continue };
            let verdict = client.turn(&mut self.host, free, now, &mut self.input);
            if let Err(reason) = verdict {
                if client.session.imported() {
                    say(format_args!("detached: {reason}"));
                } else {
                    say(format_args!("closed: {reason}"));
                }
                let _ = self.poll.registry().deregister(&mut client.stream);
                if let Some(client) = self.clients[index].take() {
                    client.session.end(&mut self.host, now);
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => {
                    say(format_args!("cannot accept: {error}"));
                    return Ok(());
                }
            };
            let Some(index) = self.clients.iter().position(Option::is_none) else {
                say(format_args!("refused: {CLIENTS_MAX} clients are there"));
                continue;
            };
            // Replies to commands are small and waited for.
            let _ = stream.set_nodelay(true);
            self.poll.registry().register(
                &mut stream,
                Token(index),
                Interest::READABLE | Interest::WRITABLE,
            )?;
            self.clients[index] = Some(Client {
                stream,
                session: Session::new(self.pace),
                out: Vec::new(),
                readable: true,
                writable: true,
            });
        }
    }

    fn obey(&mut self) {
        let now = self.begun.elapsed();
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Plug => self.host.plug(now),
                Order::Unplug => self.host.unplug(now),
            }
            say(format_args!("{}", if self.host.is_plugged() { "plugged" } else { "unplugged" }));
        }
    }
}

impl Client {
    /// Reads, lets the session work, writes; an error is why the connection has to be closed.
    fn turn(&mut self, host: &mut Host, free: bool, now: Duration, input: &mut [u8]) -> Result<(), String> {
        if self.session.imported() && !host.is_plugged() {
            // The cable: the client's controller sees the device go when the connection does.
            return Err("the sensor is unplugged".into());
        }
        let before = self.session.imported();
        // One read a turn: with the rest the writes and the clock get their share.
        if self.readable {
            match self.stream.read(input) {
                Ok(0) => return Err("the client has closed".into()),
                Ok(count) => self
                    .session
                    .receive(&input[..count], host, free, now, &mut self.out)
                    .map_err(|violation| violation.to_string())?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        if self.session.imported() {
            if !before {
                say(format_args!("attached"));
            }
            self.session.turn(host, now, &mut self.out);
        }
        let mut sent = 0;
        while self.writable && sent < self.out.len() {
            match self.stream.write(&self.out[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        self.out.drain(..sent);
        Ok(())
    }
}

fn read_orders(sender: &mpsc::Sender<Order>, waker: &Waker) {
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { return };
        let order = match line.trim() {
            "plug" => Order::Plug,
            "unplug" => Order::Unplug,
            "" => continue,
            other => {
                say(format_args!("no such order: {other}; there are: plug, unplug"));
                continue;
            }
        };
        if sender.send(order).is_err() || waker.wake().is_err() {
            return;
        }
    }
}

/// Hands what a list says of the sensor to `tell`; `None` while it is unplugged.
fn describe<T>(host: &Host, tell: impl FnOnce(Option<&wire::Description<'_>>) -> T) -> T {
    if !host.is_plugged() {
        return tell(None);
    }
    let interfaces = interfaces(host.device().config_descriptor());
    tell(Some(&wire::Description {
        bus_id: session::BUS_ID,
        number: session::NUMBER,
        speed: match host.speed() {
            Speed::High => wire::SPEED_HIGH,
            Speed::Super => wire::SPEED_SUPER,
        },
        descriptor: host.device().device_descriptor(),
        interfaces: &interfaces,
    }))
}

/// Class, subclass and protocol of each interface in a configuration.
fn interfaces(mut descriptors: &[u8]) -> Vec<[u8; 3]> {
    const INTERFACE: u8 = 4;
    let mut found = Vec::new();
    while let [length, kind, rest @ ..] = descriptors {
        if let (INTERFACE, [_, 0, _, class, subclass, protocol, ..]) = (*kind, rest) {
            found.push([*class, *subclass, *protocol]);
        }
        // A length of 0 would stay where it is.
        descriptors = descriptors.get(usize::from(*length).max(2)..).unwrap_or_default();
    }
    found
}

/// Prints a line for who started this; that nobody reads it is no reason to stop.
fn say(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}
