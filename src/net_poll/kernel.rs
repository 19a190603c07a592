//! What the kernel keeps for a connection: how much it may queue, how much it has queued, when it gives up.
//!
//! A viewer on a thin link must not see old pictures, so the queue that the kernel keeps for it is bounded and looked
//! at before a new picture is put there. This file holds the one system call that no safe crate wraps.
#![allow(unsafe_code, reason = "SIOCOUTQ has no safe wrapper in nix, socket2 or rustix")]

use crate::limits::{ACCEPT_BACKLOG, KEEPALIVE_PROBES, NOTSENT_LOWAT};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// Sets what every accepted TCP connection gets; `give_up` is how long sent bytes may stay unacknowledged.
pub(super) fn tune(socket: &impl AsFd, give_up: Duration) -> io::Result<()> {
    let socket = SockRef::from(socket);
    // Header and payload leave in one write; waiting for more would only delay the picture.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(NOTSENT_LOWAT)?;
    // The kernel's clock is not the virtual one that unit tests run on; tests/system/network.sh proves this line.
    if !cfg!(test) {
        socket.set_tcp_user_timeout(Some(give_up))?;
    }
    let (time, interval, retries) = KEEPALIVE_PROBES;
    socket
        .set_tcp_keepalive(&TcpKeepalive::new().with_time(time).with_interval(interval).with_retries(retries))
}

/// Has the kernel keep up to [`ACCEPT_BACKLOG`] connections for a socket that listens already.
pub(super) fn queue_connections(listener: &impl AsFd) -> io::Result<()> {
    SockRef::from(listener).listen(ACCEPT_BACKLOG)
}

/// Bytes given to the kernel that the peer has not acknowledged (TCP) or read (Unix).
///
/// Zero where the kernel does not say.
pub(super) fn queued(socket: &impl AsRawFd) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: SIOCOUTQ (libc has the number as TIOCOUTQ) writes one int through the pointer during the call, and
    // `bytes` lives beyond it; a descriptor of the wrong kind is an error, not a write.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result < 0 { 0 } else { usize::try_from(bytes).unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn the_queue_counts_what_the_peer_has_not_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let mut ours = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
        let (mut theirs, _) = listener.accept().expect("accepted");
        tune(&ours, Duration::from_secs(10)).expect("tuned");
        assert_eq!(queued(&ours), 0);
        ours.set_nonblocking(true).expect("set");
        let mut sent = 0;
        while let Ok(n) = ours.write(&[7; 65536]) {
            sent += n;
        }
        assert!(queued(&ours) > 0, "{sent} bytes were taken and none is queued");
        ours.set_nonblocking(false).expect("set");
        let mut buffer = vec![0; 65536];
        let mut left = sent;
        while left > 0 {
            left -= theirs.read(&mut buffer).expect("read");
        }
        let patience = std::time::Instant::now() + Duration::from_secs(10);
        while queued(&ours) > 0 && std::time::Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(queued(&ours), 0);
    }
}
