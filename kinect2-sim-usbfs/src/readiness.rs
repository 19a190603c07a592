//! What the program's descriptor is, and how it becomes ready.
//!
//! A usbfs node is *writable* while a transfer waits to be reaped, wakes an edge-triggered epoll at every completion,
//! and shows an error and a hang-up once its device has gone. One end of a pair of sequenced-packet sockets does all
//! three: it is not writable while a message of ours fills its send buffer; taking the message out is an edge, however
//! ready it was before; and when the other end is closed with a message in it, it shows `EPOLLERR | EPOLLHUP`.
//! (An eventfd at `u64::MAX - 1` does the first two, but never hangs up.)

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, recv, send, setsockopt, socketpair, sockopt,
};

/// Fills the smallest send buffer that Linux gives (4,608 bytes): a socket is writable below a quarter of it.
const FILLING: [u8; 2048] = [0; 2048];

/// Our side of a program's descriptor.
#[derive(Debug)]
pub(crate) struct Readiness {
    /// The program's end again, so that a number which the program closed and opened anew is never written to.
    program: OwnedFd,
    /// The other end, until the device goes.
    peer: Option<OwnedFd>,
    full: bool,
}

impl Readiness {
    /// A descriptor for the program, not ready, and our side of it.
    ///
    /// # Errors
    /// What the operating system says, and `EOPNOTSUPP` if its sockets do not become full as they must.
    pub(crate) fn pair(close_on_exec: bool) -> io::Result<(OwnedFd, Self)> {
        // Both with close-on-exec first: another thread may fork at any time.
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (program, peer) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        setsockopt(&program, sockopt::SndBuf, &1)?;
        let mut readiness = Readiness { program: program.try_clone()?, peer: Some(peer), full: false };
        readiness.drained();
        let mut polled = [PollFd::new(program.as_fd(), PollFlags::POLLOUT)];
        if !readiness.full || poll(&mut polled, PollTimeout::ZERO)? != 0 {
            return Err(Errno::EOPNOTSUPP.into());
        }
        if !close_on_exec {
            fcntl(&program, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        Ok((program, readiness))
    }

    /// A transfer can be reaped: ready, with an edge even if it was ready before.
    pub(crate) fn completed(&mut self) {
        self.drained();
        let Some(peer) = &self.peer else { return };
        let mut bytes = FILLING;
        if recv(peer.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT).is_ok() {
            self.full = false;
        }
    }

    /// Nothing is left to reap.
    pub(crate) fn drained(&mut self) {
        if !self.full && self.peer.is_some() {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            self.full = send(self.program.as_raw_fd(), &FILLING, flags).is_ok();
        }
    }

    /// The device has gone: an error and a hang-up, for good.
    pub(crate) fn gone(&mut self) {
        // With a message in it: only then does the program's end show an error besides the hang-up.
        self.drained();
        self.peer = None;
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

    use super::*;

    /// A program's descriptor in an edge-triggered epoll, as mio registers it.
    fn registered() -> (OwnedFd, Readiness, Epoll) {
        let (program, readiness) = Readiness::pair(true).unwrap();
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        epoll.add(&program, EpollEvent::new(EpollFlags::EPOLLOUT | EpollFlags::EPOLLET, 7)).unwrap();
        (program, readiness, epoll)
    }

    fn events(epoll: &Epoll) -> Option<EpollFlags> {
        let mut events = [EpollEvent::empty(); 2];
        let count = epoll.wait(&mut events, EpollTimeout::ZERO).unwrap();
        (count > 0).then(|| events[0].events())
    }

    #[test]
    fn every_completion_is_an_edge() {
        let (_program, mut readiness, epoll) = registered();
        assert_eq!(events(&epoll), None, "a new node has nothing to reap");
        for _ in 0..1_000 {
            readiness.completed();
            assert_eq!(events(&epoll), Some(EpollFlags::EPOLLOUT));
            assert_eq!(events(&epoll), None, "one completion, one edge");
        }
        readiness.drained();
        assert_eq!(events(&epoll), None);
        readiness.completed();
        assert_eq!(events(&epoll), Some(EpollFlags::EPOLLOUT));
    }

    #[test]
    fn what_was_reaped_before_anyone_looked_is_no_event() {
        let (_program, mut readiness, epoll) = registered();
        readiness.completed();
        readiness.drained();
        assert_eq!(events(&epoll), None);
    }

    #[test]
    fn a_device_that_goes_is_an_error_and_a_hang_up() {
        for ready in [false, true] {
            let (_program, mut readiness, epoll) = registered();
            if ready {
                readiness.completed();
            }
            readiness.gone();
            let events = events(&epoll).unwrap();
            assert!(events.contains(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP), "{events:?}");
            readiness.completed();
            readiness.drained();
        }
    }
}
