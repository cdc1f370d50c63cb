//! Passing connections to other workers of the host.
//!
//! Each worker listens for its siblings. One link to each is kept, for connections that fit into one
//! message. A connection with more bytes already read goes over a link of its own, so that nothing waits
//! behind it. A connection is kept here until the sibling has taken it: if that ends before, whoever
//! wanted to pass it has it back and answers it.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::channel::Channel;
use crate::limits::{PASS_TIMEOUT, PASSED_BYTES_MAX};
use crate::passed::{Passed, Receipt};
use crate::{fd, local, tasks};

/// The other workers of a host. Cheap to clone; may be used from any thread and any runtime.
#[derive(Clone)]
pub struct Siblings(Arc<Inner>);

struct Inner {
    own: u8,
    workers: u16,
    directory: PathBuf,
    links: Box<[Mutex<Option<Arc<Link>>>]>,
    /// The runtime that the links are registered with.
    runtime: Handle,
}

impl fmt::Debug for Siblings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Siblings").field("own", &self.0.own).finish_non_exhaustive()
    }
}

/// A link to a sibling, over which it says of each connection, in order, that it has it.
struct Link {
    channel: Channel,
    /// Who waits for that, the first one first. `None` once nothing can be said any more.
    waiting: Mutex<Option<VecDeque<oneshot::Sender<Receipt>>>>,
}

impl Link {
    fn new(channel: Channel) -> Link {
        Link { channel, waiting: Mutex::new(Some(VecDeque::new())) }
    }

    fn waiting(&self) -> MutexGuard<'_, Option<VecDeque<oneshot::Sender<Receipt>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends the first message of a connection if that takes no waiting.
    fn try_send(&self, passed: &Passed) -> io::Result<oneshot::Receiver<Receipt>> {
        // Held while sending, so that the order of those who wait is that of what they wait for.
        let mut waiting = self.waiting();
        let Some(waiting) = &mut *waiting else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let (head, (first, _)) = (passed.head().encode(), passed.parts());
        let parts = [IoSlice::new(&head), IoSlice::new(first)];
        self.channel.try_send(&parts, &[passed.stream.as_fd()])?;
        let (receipt, told) = oneshot::channel();
        waiting.push_back(receipt);
        Ok(told)
    }

    /// Sends the first message of a connection.
    async fn send(&self, passed: &Passed) -> io::Result<oneshot::Receiver<Receipt>> {
        match self.try_send(passed) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
        let sending = self.channel.when_writable(|| self.try_send(passed));
        let in_time = tokio::time::timeout(PASS_TIMEOUT, sending).await;
        in_time.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Tells those who wait, until nothing can come any more; that those see who are left.
    async fn hear_receipts(&self) {
        while let Ok(receipt) = Receipt::receive(&self.channel).await {
            let first = self.waiting().as_mut().and_then(VecDeque::pop_front);
            let _ = first.map(|first| first.send(receipt));
        }
        *self.waiting() = None;
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
    /// process no longer has it. If it cannot be passed, or the other worker ends before it has taken it,
    /// it comes back with the error.
    ///
    /// This waits for as long as the other worker needs to take it. One that hangs is found out by the
    /// supervisor, and killed; then the connection comes back.
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
        let (_, rest) = passed.parts();
        let mut rest = rest.peekable();
        if rest.peek().is_some() {
            let link = Link::new(self.connect(to)?);
            // Its receipt is heard right here, and the link ends with it.
            let mut told = link.send(passed).await.map_err(reason_of)?;
            for part in rest {
                let sent = link.channel.send_within(PASS_TIMEOUT, &[IoSlice::new(part)], &[]).await;
                sent.map_err(reason_of)?;
            }
            return tokio::select! {
                biased;
                told = receipt(&mut told) => told,
                () = link.hear_receipts() => receipt(&mut told).await,
            };
        }
        // Twice, as a link may lead to a predecessor that has ended.
        for _ in 0..2 {
            let (link, kept) = self.link(to)?;
            let done = match link.send(passed).await.map_err(reason_of) {
                Ok(mut told) => receipt(&mut told).await,
                Err(reason) => Err(reason),
            };
            match done {
                Err(PassReason::Gone) => self.forget(to, &link),
                done => return done,
            }
            if !kept {
                break;
            }
        }
        Err(PassReason::Gone)
    }

    /// The link to a worker, and whether it was there before.
    fn link(&self, to: u8) -> Result<(Arc<Link>, bool), PassReason> {
        let slot = self.0.links.get(usize::from(to)).ok_or(PassReason::Gone)?;
        let mut link = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = &*link {
            return Ok((Arc::clone(link), true));
        }
        let new = Arc::new(Link::new(self.connect(to)?));
        let heard = Arc::clone(&new);
        // It ends when the sibling does.
        tasks::receipts(&self.0.runtime, async move { heard.hear_receipts().await });
        *link = Some(Arc::clone(&new));
        Ok((new, false))
    }

    fn forget(&self, to: u8, link: &Arc<Link>) {
        if let Some(slot) = self.0.links.get(usize::from(to)) {
            let mut kept = slot.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.as_ref().is_some_and(|there| Arc::ptr_eq(there, link)) {
                *kept = None;
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

/// Waits until a sibling has taken what it was sent.
async fn receipt(told: &mut oneshot::Receiver<Receipt>) -> Result<(), PassReason> {
    match told.await {
        Ok(Receipt::Taken) => Ok(()),
        Ok(Receipt::NotArrived) => Err(PassReason::Full),
        Err(_) => Err(PassReason::Gone),
    }
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
