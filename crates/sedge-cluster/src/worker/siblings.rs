//! Passing connections to other workers of the host.
//!
//! Each worker listens for its siblings. One link to each is kept, for connections that fit into one
//! message: passing one is one system call. A connection with more bytes already read goes over a
//! link of its own, so that nothing waits behind it.

use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;

use crate::channel::Channel;
use crate::limits::{PASS_TIMEOUT, PASSED_BYTES_MAX};
use crate::passed::Passed;
use crate::wire::passing::PassHead;
use crate::{fd, local};

/// The other workers of a host. Cheap to clone; may be used from any thread and any runtime.
#[derive(Clone)]
pub struct Siblings(Arc<Inner>);

struct Inner {
    own: u8,
    workers: u16,
    directory: PathBuf,
    links: Box<[Mutex<Option<Arc<Channel>>>]>,
    /// The runtime that the links are registered with.
    runtime: Handle,
}

impl fmt::Debug for Siblings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Siblings").field("own", &self.0.own).finish_non_exhaustive()
    }
}

/// A connection that a sibling did not take.
#[derive(Debug, thiserror::Error)]
#[error("worker {to} was not given a connection: {reason}")]
pub struct NotPassed {
    /// Whom it was meant for.
    pub to: u8,
    /// Why.
    pub reason: PassReason,
    /// The connection, as it was: whoever wanted to pass it answers it.
    pub passed: Box<Passed>,
}

/// Why a sibling did not take a connection.
#[derive(Debug, thiserror::Error)]
pub enum PassReason {
    /// There is no such worker, or it has ended and its successor is not there yet.
    #[error("it is not there")]
    Gone,
    /// It has not taken anything for two seconds.
    #[error("it does not take any")]
    Full,
    /// More was already read from the connection than can be passed: 320 KiB.
    #[error("too many bytes were already read")]
    TooMuchRead,
    /// The system refuses it.
    #[error("{0}")]
    System(io::Error),
}

impl Siblings {
    /// Must be called within the runtime of the worker.
    pub(super) fn new(own: u8, workers: u16, directory: PathBuf) -> Siblings {
        let links = (0..workers).map(|_| Mutex::default()).collect();
        Siblings(Arc::new(Inner { own, workers, directory, links, runtime: Handle::current() }))
    }

    /// How many workers the host has, this one included.
    pub fn count(&self) -> u16 {
        self.0.workers
    }

    /// Passes a connection to another worker, which takes it from `read` on. When this returns, this
    /// process no longer has it. If it cannot be passed, it comes back with the error.
    ///
    /// A connection that was passed can still be lost: if the other worker ends, or is out of
    /// descriptors, before it takes it. Its client sees it closed then.
    pub async fn pass(&self, to: u8, passed: Passed) -> Result<(), NotPassed> {
        let done = if passed.read.len() > PASSED_BYTES_MAX {
            Err(PassReason::TooMuchRead)
        } else if to == self.0.own || u16::from(to) >= self.0.workers {
            Err(PassReason::Gone)
        } else {
            self.try_pass(to, &passed).await
        };
        done.map_err(|reason| NotPassed { to, reason, passed: Box::new(passed) })
    }

    async fn try_pass(&self, to: u8, passed: &Passed) -> Result<(), PassReason> {
        let head = passed.head();
        let (first, mut rest) = passed.parts();
        if let Some(second) = rest.next() {
            let channel = self.connect(to)?;
            send(&channel, &head, first, passed).await?;
            for part in [second].into_iter().chain(rest) {
                let sent = channel.send_within(PASS_TIMEOUT, &[IoSlice::new(part)], &[]).await;
                sent.map_err(reason_of)?;
            }
            return Ok(());
        }
        // Twice, as a link may lead to a predecessor that has ended.
        for _ in 0..2 {
            let (channel, kept) = self.link(to)?;
            match send(&channel, &head, first, passed).await {
                Err(PassReason::Gone) => self.forget(to, &channel),
                done => return done,
            }
            if !kept {
                break;
            }
        }
        Err(PassReason::Gone)
    }

    /// The link to a worker, and whether it was there before.
    fn link(&self, to: u8) -> Result<(Arc<Channel>, bool), PassReason> {
        let slot = self.0.links.get(usize::from(to)).ok_or(PassReason::Gone)?;
        let mut link = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = &*link {
            return Ok((Arc::clone(channel), true));
        }
        let channel = Arc::new(self.connect(to)?);
        *link = Some(Arc::clone(&channel));
        Ok((channel, false))
    }

    fn forget(&self, to: u8, channel: &Arc<Channel>) {
        if let Some(slot) = self.0.links.get(usize::from(to)) {
            let mut link = slot.lock().unwrap_or_else(PoisonError::into_inner);
            if link.as_ref().is_some_and(|there| Arc::ptr_eq(there, channel)) {
                *link = None;
            }
        }
    }

    fn connect(&self, to: u8) -> Result<Channel, PassReason> {
        let connect = || -> io::Result<Channel> {
            let socket = fd::message_socket()?;
            rustix::net::connect(&socket, &local::address(&self.path_of(to))?)?;
            local::check_peer(&socket)?;
            // The caller may be on another runtime, which could end before the link does.
            let _runtime = self.0.runtime.enter();
            Channel::new(socket)
        };
        connect().map_err(|error| match error.kind() {
            // Its queue of links is full: it has not accepted any for long.
            io::ErrorKind::WouldBlock => PassReason::Full,
            _ => reason_of(error),
        })
    }

    pub(super) fn own_path(&self) -> PathBuf {
        self.path_of(self.0.own)
    }

    fn path_of(&self, index: u8) -> PathBuf {
        self.0.directory.join(format!("{index}.pass"))
    }
}

async fn send(
    channel: &Channel,
    head: &PassHead,
    read: &[u8],
    passed: &Passed,
) -> Result<(), PassReason> {
    let head = head.encode();
    let parts = [IoSlice::new(&head), IoSlice::new(read)];
    let sent = channel.send_within(PASS_TIMEOUT, &parts, &[passed.stream.as_fd()]).await;
    sent.map_err(reason_of)
}

fn reason_of(error: io::Error) -> PassReason {
    use io::ErrorKind;
    match error.kind() {
        ErrorKind::NotFound
        | ErrorKind::ConnectionRefused
        | ErrorKind::ConnectionReset
        | ErrorKind::BrokenPipe
        | ErrorKind::NotConnected => PassReason::Gone,
        ErrorKind::TimedOut => PassReason::Full,
        _ if fd::is_too_many_under_way(&error) => PassReason::Full,
        _ => PassReason::System(error),
    }
}

#[cfg(test)]
mod tests;
