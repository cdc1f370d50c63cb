//! The connections that a worker is given: by the supervisor, by siblings, and by its own port.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::net::SocketFlags;
use tokio::io::Interest;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::AbortHandle;

use super::siblings::Siblings;
use crate::accept::is_about_one_connection;
use crate::channel::Channel;
use crate::error::ClusterError;
use crate::fd;
use crate::fd::headroom::Headroom;
use crate::fd::watched::Watched;
use crate::limits::{
    ACCEPT_PAUSE, BACKLOG, BIND_PATIENCE, INCOMING_QUEUE, PASS_PART_BYTES, SIBLING_LINKS_MAX,
};
use crate::listen::{ip_address, open_tcp};
use crate::passed::{self, Passed, PassedError, Receipt, Stream};
use crate::wire::passing::HEAD_BYTES;
use crate::{local, tasks};

/// The connections of a worker. Whoever stops asking for them makes the supervisor give new
/// sessions to other workers.
#[derive(Debug)]
pub struct Connections {
    /// From the supervisor; `None` when it is gone.
    supervisor: Option<Channel>,
    /// What has come from it and has not been said to have come.
    arrived: Option<(Receipt, Option<Passed>)>,
    buffer: Vec<u8>,
    headroom: Headroom,
    others: mpsc::Receiver<Passed>,
    /// The task that accepts on the worker's own port.
    own_port: Option<AbortHandle>,
    address: Option<SocketAddr>,
}

impl Connections {
    /// Waits for the next connection. `None` when none can come any more. May be given up at any
    /// time without losing a connection.
    pub async fn next(&mut self) -> Option<Passed> {
        loop {
            let Some(channel) = &self.supervisor else {
                return self.others.recv().await;
            };
            if let Some((receipt, _)) = &self.arrived {
                // If nobody is there to hear it, nobody else has the connection.
                let _ = receipt.send(channel).await;
                if let Some((_, Some(passed))) = self.arrived.take() {
                    return Some(passed);
                }
                // Those that follow wait in the socket until there may be room for them.
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            let received = async {
                self.headroom.wait(channel).await;
                passed::receive(channel, &mut self.buffer).await
            };
            let received = tokio::select! {
                received = received => received,
                Some(passed) = self.others.recv() => return Some(passed),
            };
            match received {
                Ok(passed) => {
                    self.headroom.received(&passed.stream);
                    self.arrived = Some((Receipt::Taken, Some(passed)));
                }
                Err(PassedError::Closed) => self.supervisor = None,
                Err(error) => {
                    sedge_log::warn_rarely!(%error, "a connection from the supervisor did not arrive");
                    self.arrived = Some((error.receipt(), None));
                }
            }
        }
    }

    /// Where the worker listens itself, if it does.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.address
    }

    pub(super) async fn open(
        passed: OwnedFd,
        siblings: &Siblings,
        address: Option<SocketAddr>,
    ) -> Result<Connections, ClusterError> {
        let supervisor =
            Channel::new(passed).map_err(ClusterError::system("no channel for connections"))?;
        let (sender, others) = mpsc::channel(INCOMING_QUEUE);
        let listener = listen_for_siblings(siblings)
            .map_err(ClusterError::system("siblings cannot be listened for"))?;
        let for_siblings = sender.clone();
        tasks::worker_part("siblings' listener", async move {
            // Whoever takes no connections must not seem to: siblings find nobody then.
            tokio::select! {
                () = accept_siblings(listener, &for_siblings) => {}
                () = for_siblings.closed() => {}
            }
        });
        let (mut own_port, mut bound) = (None, None);
        if let Some(address) = address {
            let fail = |source| ClusterError::Listen { address: address.to_string(), source };
            let socket = bind(address).await.map_err(fail)?;
            bound = Some(crate::listen::local_address(&socket).map_err(fail)?);
            let listener = Watched::new(socket, Interest::READABLE).map_err(|(_, e)| fail(e))?;
            own_port = Some(tasks::worker_part("own port", accept_clients(listener, sender)));
        }
        // Supervisors pass nothing that they have read.
        let buffer = vec![0; HEAD_BYTES + 1];
        let (supervisor, arrived, headroom) = (Some(supervisor), None, Headroom::new());
        Ok(Connections { supervisor, arrived, buffer, headroom, others, own_port, address: bound })
    }

    /// Gives up the worker's own port once its supervisor is gone, so that a successor's worker can
    /// have it.
    pub(super) fn stop_listening_when(&self, mut orphaned: watch::Receiver<bool>) {
        let Some(own_port) = self.own_port.clone() else { return };
        tasks::worker_part("end of the own port", async move {
            if orphaned.wait_for(|orphaned| *orphaned).await.is_ok() {
                own_port.abort();
            }
        });
    }
}

/// Binds a port that a predecessor may be about to let go of.
async fn bind(address: SocketAddr) -> io::Result<OwnedFd> {
    let begin = Instant::now();
    loop {
        match open_tcp(address, false) {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse && begin.elapsed() < BIND_PATIENCE =>
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            done => return done,
        }
    }
}

fn listen_for_siblings(siblings: &Siblings) -> io::Result<Watched> {
    let path = siblings.own_path();
    local::free(&path)?;
    let socket = fd::message_socket()?;
    rustix::net::bind(&socket, &local::address(&path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Watched::new(socket, Interest::READABLE).map_err(|(_, error)| error)
}

async fn accept_siblings(listener: Watched, sender: &mpsc::Sender<Passed>) {
    let room = Arc::new(Semaphore::new(SIBLING_LINKS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let accepted = listener
            .when_ready(Interest::READABLE, |socket| Ok(rustix::net::accept_with(socket, flags)?));
        let accepted = accepted.await;
        if accepted.as_ref().is_ok_and(|socket| local::check_peer(socket).is_err()) {
            continue;
        }
        let channel = match accepted.and_then(Channel::new) {
            Ok(channel) => channel,
            Err(error) => {
                sedge_log::warn_rarely!(%error, "a sibling cannot be accepted; pausing");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let sender = sender.clone();
        tasks::sibling(async move {
            tokio::select! {
                () = take_from(&channel, &sender) => {}
                () = sender.closed() => {}
            }
            drop(permit);
        });
    }
}

/// Takes connections from one sibling until it ends.
async fn take_from(channel: &Channel, sender: &mpsc::Sender<Passed>) {
    let mut buffer = vec![0; PASS_PART_BYTES];
    let mut headroom = Headroom::new();
    loop {
        headroom.wait(channel).await;
        match passed::receive(channel, &mut buffer).await {
            Ok(passed) => {
                headroom.received(&passed.stream);
                // Only what has a place is taken: the sibling still has it until then.
                let Ok(place) = sender.reserve().await else { return };
                let _ = Receipt::Taken.send(channel).await;
                place.send(passed);
            }
            Err(PassedError::Closed) => return,
            Err(error @ PassedError::Exhausted) => {
                sedge_log::warn_rarely!(%error, "a connection from a sibling did not arrive");
                let _ = error.receipt().send(channel).await;
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            Err(error) => {
                sedge_log::warn_rarely!(%error, "a sibling is no longer listened to");
                return;
            }
        }
    }
}

/// Accepts on the worker's own port.
async fn accept_clients(listener: Watched, sender: mpsc::Sender<Passed>) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    loop {
        // No place, no accepting: the kernel keeps them meanwhile.
        let Ok(place) = sender.reserve().await else { return };
        let accepted = listener.when_ready(Interest::READABLE, |socket| {
            Ok(rustix::net::acceptfrom_with(socket, flags)?)
        });
        match accepted.await {
            Ok((socket, address)) => place.send(Passed {
                stream: Stream::new(socket, false),
                peer: address.as_ref().and_then(ip_address),
                secure: false,
                listener: 0,
                read: Bytes::new(),
            }),
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                sedge_log::warn_rarely!(%error, "cannot accept connections; pausing");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
