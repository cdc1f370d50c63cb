//! The way of connections to one worker: its socket, and a bounded queue for when that is full.
//!
//! A connection stays here, too, until the worker has said that it has taken it: what a worker that
//! ends has left in its socket goes to another one.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Instant;

use tokio::sync::Notify;

use crate::channel::Channel;
use crate::fd;
use crate::limits::PASS_PAUSE;
use crate::passed::{Receipt, is_gone};
use crate::wire::passing::{HEAD_BYTES, PassHead};

/// A connection that was accepted and not yet passed.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) socket: OwnedFd,
    pub(crate) origin: Origin,
}

/// Where a connection comes from, and when it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) unix: bool,
    pub(crate) secure: bool,
    pub(crate) listener: u16,
    pub(crate) at: Instant,
    /// A PROXY header was taken from it, and `peer` is who that names.
    pub(crate) proxied: bool,
}

impl Origin {
    fn head(&self) -> [u8; HEAD_BYTES] {
        let Origin { peer, unix, secure, listener, .. } = *self;
        PassHead { unix, secure, listener, peer, read: 0 }.encode()
    }
}

/// Why a worker does not take a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// It has ended.
    Gone,
    /// As many wait for it as may.
    Full,
}

/// The way to one worker.
pub(crate) struct Passer {
    channel: Channel,
    /// In the worker's socket, the oldest first. The socket's size bounds their number (about 250).
    sent: RefCell<VecDeque<Accepted>>,
    queue: RefCell<VecDeque<Accepted>>,
    queue_max: usize,
    filled: Notify,
}

impl Passer {
    pub(crate) fn new(channel: Channel, queue_max: usize) -> Passer {
        let (sent, queue) = (RefCell::default(), RefCell::default());
        Passer { channel, sent, queue, queue_max, filled: Notify::new() }
    }

    /// Passes a connection, or has it wait. A connection that is not taken comes back.
    pub(crate) fn pass(&self, connection: Accepted) -> Result<(), (Accepted, NotTaken)> {
        let mut queue = self.queue.borrow_mut();
        if queue.is_empty() {
            match self.try_send(&connection) {
                Ok(()) => {
                    self.sent.borrow_mut().push_back(connection);
                    return Ok(());
                }
                Err(error) if is_gone(&error) => return Err((connection, NotTaken::Gone)),
                // There is no room, or the system is short of something.
                Err(_) => {}
            }
        }
        if queue.len() >= self.queue_max {
            return Err((connection, NotTaken::Full));
        }
        queue.push_back(connection);
        self.filled.notify_one();
        Ok(())
    }

    /// Whether so many wait that new sessions are better off elsewhere.
    pub(crate) fn is_crowded(&self) -> bool {
        self.queue.borrow().len() >= self.queue_max.div_ceil(2)
    }

    /// Passes what waits, and lets go of what was taken, until the worker takes no more connections.
    /// `passed` is called after each that had to wait.
    pub(crate) async fn run(&self, passed: impl Fn()) {
        tokio::select! {
            () = self.pass_queue(passed) => {}
            () = self.hear_receipts() => {}
        }
    }

    async fn pass_queue(&self, passed: impl Fn()) {
        loop {
            if self.queue.borrow().is_empty() {
                self.filled.notified().await;
                continue;
            }
            match self.channel.when_writable(|| self.send_first()).await {
                Ok(()) => passed(),
                Err(error) if is_gone(&error) => return,
                Err(error) => {
                    let full = fd::is_too_many_under_way(&error) || fd::is_exhausted(&error);
                    if !full {
                        sedge_log::warn_rarely!(%error, "a connection cannot be passed; trying again");
                    }
                    tokio::time::sleep(PASS_PAUSE).await;
                }
            }
        }
    }

    fn send_first(&self) -> io::Result<()> {
        let mut queue = self.queue.borrow_mut();
        let Some(first) = queue.front() else { return Ok(()) };
        self.try_send(first)?;
        self.sent.borrow_mut().extend(queue.pop_front());
        Ok(())
    }

    async fn hear_receipts(&self) {
        while let Ok(receipt) = Receipt::receive(&self.channel).await {
            self.heard(receipt);
        }
    }

    fn heard(&self, receipt: Receipt) {
        let Some(first) = self.sent.borrow_mut().pop_front() else { return };
        match receipt {
            // From here on it is the worker's alone.
            Receipt::Taken => drop(first),
            Receipt::NotArrived => {
                self.queue.borrow_mut().push_back(first);
                self.filled.notify_one();
            }
        }
    }

    /// Takes back what the worker has not taken.
    pub(crate) fn take_back(&self) -> Vec<Accepted> {
        while let Some(receipt) = Receipt::try_receive(&self.channel) {
            self.heard(receipt);
        }
        let (sent, queue) = (self.sent.take(), self.queue.take());
        sent.into_iter().chain(queue).collect()
    }

    fn try_send(&self, connection: &Accepted) -> io::Result<()> {
        let head = connection.origin.head();
        self.channel.try_send(&[IoSlice::new(&head)], &[connection.socket.as_fd()])
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::passed;

    fn connection(number: u16) -> (UnixStream, Accepted) {
        let (client, server) = UnixStream::pair().unwrap();
        let (unix, secure, at, proxied) = (true, false, Instant::now(), false);
        let origin = Origin { peer: None, unix, secure, listener: number, at, proxied };
        (client, Accepted { socket: server.into(), origin })
    }

    /// A way whose socket and queue are full, and how many connections that took.
    fn filled() -> (Passer, Channel, Vec<UnixStream>, u16) {
        let (near, far) = fd::pair().unwrap();
        let passer = Passer::new(Channel::new(near).unwrap(), 5);
        let mut clients = Vec::new();
        loop {
            let number = clients.len() as u16;
            let (client, accepted) = connection(number);
            match passer.pass(accepted) {
                Ok(()) => clients.push(client),
                Err((back, why)) => {
                    assert_eq!((back.origin.listener, why), (number, NotTaken::Full));
                    return (passer, Channel::new(far).unwrap(), clients, number);
                }
            }
            assert!(number < 5000);
        }
    }

    #[tokio::test]
    async fn what_the_socket_does_not_hold_waits_in_order_and_within_a_bound() {
        let (passer, worker, _clients, count) = filled();
        assert!(passer.is_crowded());
        let read = async {
            let mut buffer = [0; HEAD_BYTES + 1];
            for expected in 0..count {
                let passed = passed::receive(&worker, &mut buffer).await.unwrap();
                assert_eq!(passed.listener, expected);
                Receipt::Taken.send(&worker).await.unwrap();
            }
        };
        tokio::select! {
            () = passer.run(|| ()) => panic!("the worker is there"),
            () = read => {}
        }
        assert!(!passer.is_crowded());
        assert!(passer.take_back().is_empty(), "every one was taken");
    }

    #[tokio::test]
    async fn what_a_worker_that_has_ended_did_not_take_comes_back() {
        let (passer, worker, _clients, count) = filled();
        // Two are taken, and one has arrived when the worker ends.
        let mut buffer = [0; HEAD_BYTES + 1];
        for number in 0..3 {
            let passed = passed::receive(&worker, &mut buffer).await.unwrap();
            assert_eq!(passed.listener, number);
            if number < 2 {
                Receipt::Taken.send(&worker).await.unwrap();
            }
        }
        drop(worker);
        passer.run(|| ()).await;
        let back = passer.take_back().into_iter().map(|connection| connection.origin.listener);
        assert_eq!(back.collect::<Vec<_>>(), (2..count).collect::<Vec<_>>());
        let (_client, accepted) = connection(1);
        let (back, why) = passer.pass(accepted).unwrap_err();
        assert_eq!((back.origin.listener, why), (1, NotTaken::Gone));
    }

    #[tokio::test]
    async fn a_connection_is_let_go_of_when_it_is_taken_and_passed_again_when_it_was_lost() {
        let (near, far) = fd::pair().unwrap();
        let (passer, worker) =
            (Passer::new(Channel::new(near).unwrap(), 5), Channel::new(far).unwrap());
        let (_client, accepted) = connection(7);
        passer.pass(accepted).unwrap();
        let read = async {
            let mut buffer = [0; HEAD_BYTES + 1];
            for receipt in [Receipt::NotArrived, Receipt::Taken] {
                let passed = passed::receive(&worker, &mut buffer).await.unwrap();
                assert_eq!(passed.listener, 7);
                receipt.send(&worker).await.unwrap();
            }
            drop(worker);
        };
        tokio::join!(passer.run(|| ()), read);
        assert!(passer.take_back().is_empty());
    }
}
