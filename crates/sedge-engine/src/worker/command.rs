//! What the threads of an engine tell one another, and how a shard is reached.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::listen::{ListenOptions, ListenerContext, Listening};
use crate::application::Application;
use crate::http::answer::{Answer, unavailable};
use crate::http::body::RequestBody;
use crate::http::head::Head;
use crate::http::peer::Peer;
use crate::http::ticket::Ticket;
use crate::net::io::{Detached, Io};
use crate::net::passed::Passed;
use crate::shard::metrics::ShardMetrics;

/// How to reach a shard from elsewhere.
pub(crate) struct ShardHandle<A: Application> {
    pub(crate) sender: mpsc::Sender<Command<A>>,
    pub(crate) metrics: Arc<ShardMetrics>,
    /// Connections on their way to the shard.
    pub(crate) in_transit: AtomicUsize,
}

impl<A: Application> ShardHandle<A> {
    /// Connections that the shard has or is about to get.
    pub(crate) fn load(&self) -> u64 {
        self.metrics.connections_http.get()
            + self.metrics.connections_websocket.get()
            + self.metrics.tunnels.get()
            + self.in_transit.load(Ordering::Relaxed) as u64
    }

    /// Sends the shard a connection.
    pub(crate) fn accept(
        &self,
        connection: Passed,
        context: &Arc<ListenerContext>,
    ) -> Result<(), Passed> {
        self.in_transit.fetch_add(1, Ordering::Relaxed);
        let command = Command::Accept(Box::new(connection), Arc::clone(context));
        self.sender.try_send(command).map_err(|error| {
            self.in_transit.fetch_sub(1, Ordering::Relaxed);
            match error.into_inner() {
                Command::Accept(connection, _) => *connection,
                _ => unreachable!("the queue returns what it was given"),
            }
        })
    }
}

/// The shard that has the fewest connections, and how many it has. Of several it is the preferred one.
pub(crate) fn least_loaded<A: Application>(
    shards: &[ShardHandle<A>],
    preferred: usize,
) -> Option<(usize, u64)> {
    let loads = shards.iter().map(ShardHandle::load).enumerate();
    loads.min_by_key(|(shard, load)| (*load, *shard != preferred))
}

/// What other threads ask of a shard.
pub(crate) enum Command<A: Application> {
    Application(A::Command),
    /// A request for a session of this shard, or from the tower service.
    Request(Box<Forwarded>),
    /// A connection that was accepted elsewhere.
    Accept(Box<Passed>, Arc<ListenerContext>),
    /// A connection whose WebSocket handshake was answered elsewhere.
    Adopt(Box<Adoption>),
    /// Answered once all connections have been read that had something to read.
    ReadAll(oneshot::Sender<()>),
    /// So many clients that siblings serve are to be let go; the answer says how many were.
    ReleaseRelays(usize, oneshot::Sender<usize>),
    Listen(SocketAddr, ListenOptions, oneshot::Sender<io::Result<Listening>>),
    Shutdown(Duration, oneshot::Sender<()>),
}

/// A request on its way to another shard.
pub(crate) struct Forwarded {
    pub(crate) head: Head,
    pub(crate) body: RequestBody,
    pub(crate) peer: Peer,
    pub(crate) reply: oneshot::Sender<Answer>,
}

/// An upgraded connection on its way to another shard.
pub(crate) struct Adoption {
    pub(crate) ticket: Ticket,
    pub(crate) io: Detached,
    pub(crate) answer: Bytes,
    pub(crate) early: Bytes,
}

/// An upgraded connection on the shard it arrived at.
pub(crate) struct Upgraded {
    pub(crate) ticket: Ticket,
    pub(crate) io: Io,
    /// What has not been written yet of the answer to the handshake.
    pub(crate) answer: Bytes,
    /// What the client sent right behind its request.
    pub(crate) early: Bytes,
}

/// Lets a shard answer a request.
pub(crate) async fn send_request<A: Application>(
    shard: &ShardHandle<A>,
    head: Head,
    body: RequestBody,
    peer: Peer,
) -> Answer {
    let (reply, answer) = oneshot::channel();
    let forwarded = Box::new(Forwarded { head, body, peer, reply });
    if shard.sender.send(Command::Request(forwarded)).await.is_err() {
        return unavailable();
    }
    let mut answer = answer.await.unwrap_or_else(|_| unavailable());
    // Its session is not one of this shard's.
    answer.delivers = None;
    answer
}
