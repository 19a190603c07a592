//! Listeners and streams, TCP and Unix alike.

use std::fmt;
use std::fs;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use mio::event::Source;
use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::{Interest, Registry, Token};

use super::kernel;
use crate::peer::Peer;
use crate::service::Inherited;

/// Where to listen: `127.0.0.1:8080`, `[::]:8080` or `unix:/run/depthcast/http.sock`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Address {
    /// A TCP port; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// A Unix socket at this path.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        match text.strip_prefix("unix:") {
            Some("") => Err(BadAddress),
            Some(path) => Ok(Address::Unix(path.into())),
            None => text.parse().map(Address::Tcp).map_err(|_| BadAddress),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(addr) => addr.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A text that is no address to listen on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BadAddress;

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("give an address and a port (127.0.0.1:8080, [::]:8080) or unix:PATH")
    }
}

impl std::error::Error for BadAddress {}

/// A socket that takes connections.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    /// With the path that is removed in the end, if it was bound here.
    Unix(UnixListener, Option<PathBuf>),
}

impl Listener {
    /// Binds and listens.
    pub(super) fn bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(addr) => {
                let listener = TcpListener::bind(*addr)?;
                kernel::queue_connections(&listener)?;
                Ok(Listener::Tcp(listener))
            }
            Address::Unix(path) => {
                remove_stale(path)?;
                let listener = UnixListener::bind(path)?;
                let queued = kernel::queue_connections(&listener);
                // From here on the file is removed when the listener is dropped, in the error too.
                let listener = Listener::Unix(listener, Some(path.clone()));
                queued.map(|()| listener)
            }
        }
    }

    /// Takes over a socket that listens already.
    pub(super) fn inherit(socket: Inherited) -> io::Result<Self> {
        match socket {
            Inherited::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                kernel::queue_connections(&listener)?;
                Ok(Listener::Tcp(TcpListener::from_std(listener)))
            }
            Inherited::Unix(listener) => {
                listener.set_nonblocking(true)?;
                kernel::queue_connections(&listener)?;
                Ok(Listener::Unix(UnixListener::from_std(listener), None))
            }
        }
    }

    /// The next connection that waits, with its peer; `give_up` as in [`kernel::tune`].
    pub(super) fn accept(&self, give_up: Duration) -> io::Result<(Stream, Peer)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                kernel::tune(&stream, give_up)?;
                Ok((Stream::Tcp(stream), peer.ip().into()))
            }
            Listener::Unix(listener, _) => {
                let (stream, _) = listener.accept()?;
                Ok((Stream::Unix(stream), Peer::Unix))
            }
        }
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Listener::Tcp(l) => l.register(registry, token, Interest::READABLE),
            Listener::Unix(l, _) => l.register(registry, token, Interest::READABLE),
        }
    }

    /// The address as bound, with the port that the system chose.
    pub(super) fn address(&self) -> io::Result<Address> {
        match self {
            Listener::Tcp(l) => l.local_addr().map(Address::Tcp),
            Listener::Unix(_, Some(path)) => Ok(Address::Unix(path.clone())),
            Listener::Unix(l, None) => {
                let address = l.local_addr()?;
                Ok(Address::Unix(address.as_pathname().unwrap_or(Path::new("(without a path)")).into()))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listener::Unix(_, Some(path)) = self {
            // A path that is gone already is as good as removed.
            let _ = fs::remove_file(path);
        }
    }
}

/// A connection.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        // Both directions once and for all: readiness is kept in the connection, and interest is derived there.
        let both = Interest::READABLE | Interest::WRITABLE;
        match self {
            Stream::Tcp(s) => s.register(registry, token, both),
            Stream::Unix(s) => s.register(registry, token, both),
        }
    }

    pub(super) fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Stream::Tcp(s) => s.deregister(registry),
            Stream::Unix(s) => s.deregister(registry),
        }
    }

    /// Bytes given to the kernel that have not arrived, see [`kernel::queued`].
    pub(super) fn queued(&self) -> usize {
        #[cfg(test)]
        CALLS.set(Calls { looks: CALLS.get().looks + 1, ..CALLS.get() });
        match self {
            Stream::Tcp(s) => kernel::queued(s),
            Stream::Unix(s) => kernel::queued(s),
        }
    }

    /// Ends the sending side, so that the peer sees the last reply whole before the end.
    pub(super) fn end_writing(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(s) => s.shutdown(Shutdown::Write),
            Stream::Unix(s) => s.shutdown(Shutdown::Write),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        #[cfg(test)]
        CALLS.set(Calls { reads: CALLS.get().reads + 1, ..CALLS.get() });
        match self {
            Stream::Tcp(s) => s.read(out),
            Stream::Unix(s) => s.read(out),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        #[cfg(test)]
        CALLS.set(Calls { writes: CALLS.get().writes + 1, ..CALLS.get() });
        match self {
            Stream::Tcp(s) => s.write_vectored(parts),
            Stream::Unix(s) => s.write_vectored(parts),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// System calls for connections, each of which stands behind one function here.
#[cfg(test)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Calls {
    pub(super) reads: u64,
    pub(super) writes: u64,
    /// At the kernel's queue.
    pub(super) looks: u64,
}

#[cfg(test)]
thread_local! {
    /// Those of this thread, on which a test's server runs.
    pub(super) static CALLS: std::cell::Cell<Calls> = const { std::cell::Cell::new(Calls { reads: 0, writes: 0, looks: 0 }) };
}

/// A socket file that nobody listens on is left from a run that was killed; any other file stays.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        // mio's never waits: a listener with a full queue is one, too.
        Ok(meta) if meta.file_type().is_socket() => match UnixStream::connect(path) {
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
            _ => Err(io::ErrorKind::AddrInUse.into()),
        },
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_they_are_written() {
        for text in ["127.0.0.1:8080", "[::]:80", "unix:/run/x.sock"] {
            assert_eq!(text.parse::<Address>().expect("good").to_string(), text);
        }
        for text in ["", "8080", "localhost:80", "1.2.3.4", "unix:", "127.0.0.1:99999"] {
            assert_eq!(text.parse::<Address>(), Err(BadAddress), "{text}");
        }
    }

    #[test]
    fn inherited_sockets_listen_and_their_files_stay() {
        let path = std::env::temp_dir().join(format!("depthcast-inherited-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        let unix = std::os::unix::net::UnixListener::bind(&path).expect("bound");
        let unix = Listener::inherit(Inherited::Unix(unix)).expect("taken over");
        assert_eq!(unix.address().expect("known"), Address::Unix(path.clone()));
        let empty = unix.accept(Duration::from_secs(1)).expect_err("nobody waits");
        assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
        drop(unix);
        fs::remove_file(&path).expect("whoever made the file removes it");
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = tcp.local_addr().expect("bound");
        let _early = std::net::TcpStream::connect(address).expect("queued before anybody serves");
        let tcp = Listener::inherit(Inherited::Tcp(tcp)).expect("taken over");
        assert_eq!(tcp.address().expect("known"), Address::Tcp(address));
        tcp.accept(Duration::from_secs(1)).expect("whoever came early is there");
    }

    #[test]
    fn only_sockets_that_nobody_uses_are_replaced() {
        let folder = std::env::temp_dir().join(format!("depthcast-socket-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary folder");
        let (path, file) = (folder.join("a.sock"), folder.join("file"));
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
        let live = Listener::bind(&Address::Unix(path.clone())).expect("a stale socket is replaced");
        let second = Listener::bind(&Address::Unix(path.clone())).expect_err("somebody listens");
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
        drop(live);
        assert!(!path.exists(), "the socket file stays behind");
        // Somebody whose queue is full does not keep a start waiting.
        let busy = std::os::unix::net::UnixListener::bind(&path).expect("bound");
        nix::sys::socket::listen(&busy, nix::sys::socket::Backlog::new(0).expect("short")).expect("listens");
        let _queued = UnixStream::connect(&path).expect("the only place");
        let full = UnixStream::connect(&path).expect_err("no place");
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        let third = Listener::bind(&Address::Unix(path.clone())).expect_err("somebody listens");
        assert_eq!(third.kind(), io::ErrorKind::AddrInUse);
        fs::write(&file, "precious").expect("written");
        assert!(Listener::bind(&Address::Unix(file.clone())).is_err());
        assert_eq!(fs::read(&file).expect("still there"), b"precious");
        fs::remove_dir_all(&folder).expect("removed");
    }
}
