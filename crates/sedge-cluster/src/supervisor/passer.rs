//! The way of connections to one worker: its socket, and a bounded queue for when that is full.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::Rc;
use std::time::Instant;

use tokio::sync::Notify;

use crate::channel::Channel;
use crate::fd;
use crate::limits::PASS_PAUSE;
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
    queue: RefCell<VecDeque<Rc<Accepted>>>,
    queue_max: usize,
    filled: Notify,
}

impl Passer {
    pub(crate) fn new(channel: Channel, queue_max: usize) -> Passer {
        Passer { channel, queue: RefCell::default(), queue_max, filled: Notify::new() }
    }

    /// Passes a connection, or has it wait. A connection that is not taken comes back.
    pub(crate) fn pass(&self, connection: Accepted) -> Result<(), (Accepted, NotTaken)> {
        let mut queue = self.queue.borrow_mut();
        if queue.is_empty() {
            match self.try_send(&connection) {
                Ok(()) => return Ok(()),
                Err(error) if is_gone(&error) => return Err((connection, NotTaken::Gone)),
                // There is no room, or the system is short of something.
                Err(_) => {}
            }
        }
        if queue.len() >= self.queue_max {
            return Err((connection, NotTaken::Full));
        }
        queue.push_back(Rc::new(connection));
        self.filled.notify_one();
        Ok(())
    }

    /// Whether so many wait that new sessions are better off elsewhere.
    pub(crate) fn is_crowded(&self) -> bool {
        self.queue.borrow().len() >= self.queue_max.div_ceil(2)
    }

    /// Passes what waits, until the worker takes no more connections. `passed` is called after each.
    pub(crate) async fn run(&self, passed: impl Fn()) {
        loop {
            let Some(first) = self.first() else {
                self.filled.notified().await;
                continue;
            };
            let head = first.origin.head();
            let parts = [IoSlice::new(&head)];
            match self.channel.send(&parts, &[first.socket.as_fd()]).await {
                Ok(()) => {
                    self.queue.borrow_mut().pop_front();
                    passed();
                }
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

    fn first(&self) -> Option<Rc<Accepted>> {
        self.queue.borrow().front().map(Rc::clone)
    }

    /// Takes back what waits. [`run`](Self::run) must not be running, or its first would be lost.
    pub(crate) fn take_back(&self) -> Vec<Accepted> {
        std::mem::take(&mut *self.queue.borrow_mut())
            .into_iter()
            .filter_map(Rc::into_inner)
            .collect()
    }

    fn try_send(&self, connection: &Accepted) -> io::Result<()> {
        let head = connection.origin.head();
        self.channel.try_send(&[IoSlice::new(&head)], &[connection.socket.as_fd()])
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::passed;

    fn connection(number: u16) -> (UnixStream, Accepted) {
        let (client, server) = UnixStream::pair().unwrap();
        let (unix, secure, at) = (true, false, Instant::now());
        let origin = Origin { peer: None, unix, secure, listener: number, at };
        (client, Accepted { socket: server.into(), origin })
    }

    #[tokio::test]
    async fn what_the_socket_does_not_hold_waits_in_order_and_within_a_bound() {
        let (near, far) = fd::pair().unwrap();
        let passer = Passer::new(Channel::new(near).unwrap(), 5);
        let mut clients = Vec::new();
        let mut number = 0;
        let back = loop {
            let (client, accepted) = connection(number);
            match passer.pass(accepted) {
                Ok(()) => clients.push(client),
                Err((back, why)) => {
                    assert_eq!(why, NotTaken::Full);
                    break back;
                }
            }
            number += 1;
            assert!(number < 5000);
        };
        assert_eq!(back.origin.listener, number);
        assert!(passer.is_crowded());
        let worker = Channel::new(far).unwrap();
        let read = async {
            let mut buffer = [0; HEAD_BYTES + 1];
            for expected in 0..number {
                let passed = passed::receive(&worker, &mut buffer).await.unwrap();
                assert_eq!(passed.listener, expected);
            }
        };
        tokio::select! {
            () = passer.run(|| ()) => panic!("the worker is there"),
            () = read => {}
        }
        assert!(!passer.is_crowded());
    }

    #[tokio::test]
    async fn what_a_worker_that_has_ended_did_not_take_comes_back() {
        let (near, far) = fd::pair().unwrap();
        let passer = Passer::new(Channel::new(near).unwrap(), 5);
        let mut clients = Vec::new();
        while !passer.is_crowded() {
            let (client, accepted) = connection(0);
            passer.pass(accepted).unwrap();
            clients.push(client);
        }
        drop(far);
        passer.run(|| ()).await;
        assert_eq!(passer.take_back().len(), 3);
        let (_client, accepted) = connection(1);
        let (back, why) = passer.pass(accepted).unwrap_err();
        assert_eq!((back.origin.listener, why), (1, NotTaken::Gone));
    }
}
