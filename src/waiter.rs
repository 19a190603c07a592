//! Waits for a sensor without the server's loop: for commands that run one for a while.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

/// What a sensor's descriptors, and others, are waited for with.
pub(crate) struct Waiter {
    poll: Poll,
    events: Events,
    /// Generation of the sensor's device that is watched.
    watched: Option<u64>,
}

impl Waiter {
    /// Waits for what can be read from `always`, and for a device.
    ///
    /// # Errors
    /// When the system refuses a descriptor.
    pub(crate) fn new(always: impl IntoIterator<Item = RawFd>) -> io::Result<Self> {
        let poll = Poll::new()?;
        for fd in always {
            poll.registry().register(&mut SourceFd(&fd), ANY, Interest::READABLE)?;
        }
        Ok(Self { poll, events: Events::with_capacity(8), watched: None })
    }

    /// Waits until something is ready, but no longer than `most`.
    ///
    /// * `node`: the sensor's device and its generation, which is another one each time it is opened.
    ///
    /// # Errors
    /// When the system refuses to watch the device or to wait.
    pub(crate) fn wait(&mut self, node: Option<(u64, RawFd)>, most: Duration) -> io::Result<()> {
        let generation = node.map(|(generation, _)| generation);
        if generation != self.watched {
            if let Some((_, fd)) = node {
                self.poll.registry().register(&mut SourceFd(&fd), ANY, Interest::WRITABLE)?;
            }
            self.watched = generation;
        }
        match self.poll.poll(&mut self.events, Some(most)) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
            result => result,
        }
    }
}

/// Whoever waits looks at everything: which it was need not be known.
const ANY: Token = Token(0);
