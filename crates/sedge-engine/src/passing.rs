//! Connections that move between the worker processes of a host.
//!
//! A session id says which worker owns the session. A worker that reads a request for a sibling's
//! session passes the connection on, with what it has read; the sibling serves it from there on, and
//! passes it on in its turn. What cannot be passed, such as a TLS connection, stays where it is, and
//! the sibling is given one end of a socket pair in its place.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::pin::Pin;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{Request, StatusCode, Version};
use http_body_util::{BodyExt, Limited};
use hyper_util::rt::TokioIo;

use crate::application::Application;
use crate::engine::{Command, Engine, ShardHandle, Worker};
use crate::hooks::ErrorContext;
use crate::http::answer::{Answer, Headers};
use crate::http::body::RequestBody;
use crate::http::head::Head;
use crate::http::query::EngineQuery;
use crate::http::upgrade::Ticket;
use crate::http::{Peer, unavailable};
use crate::io::{Detached, Io};
use crate::listener::{ListenOptions, ListenerContext};
use crate::tasks;
use sedge_protocol::sid::SessionId;

/// A connection between processes. It does not block.
#[derive(Debug)]
pub struct Passed {
    /// The connection.
    pub stream: PassedStream,
    /// The client's address, where it has one.
    pub peer: Option<SocketAddr>,
    /// The client's side is encrypted, though the bytes of this connection are not.
    pub secure: bool,
    /// What was already read from it.
    pub read: Bytes,
}

/// The stream of a connection between processes.
#[derive(Debug)]
pub enum PassedStream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

/// The other workers of this host.
pub trait Siblings: Send + Sync + 'static {
    /// Passes a connection to a worker.
    fn pass(&self, worker: u8, connection: Passed) -> Passing;
}

/// As part of a configuration, which can be shown and copied.
#[derive(Clone)]
pub(crate) struct SiblingsHandle(pub(crate) Arc<dyn Siblings>);

impl fmt::Debug for SiblingsHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Siblings")
    }
}

/// A connection on its way.
pub type Passing = Pin<Box<dyn Future<Output = Result<(), NotPassed>> + Send>>;

/// A connection that a sibling did not take.
#[derive(Debug)]
pub struct NotPassed {
    /// The connection, as it was.
    pub connection: Passed,
    /// There is no such worker, and so none of its sessions. Otherwise it is only not to be had at
    /// present.
    pub gone: bool,
}

/// A listener without a port: it serves connections that the process is given.
pub struct Inlet<A: Application> {
    shards: Arc<[ShardHandle<A>]>,
    context: Arc<ListenerContext>,
    connections_max: usize,
}

impl<A: Application> Engine<A> {
    /// Serves connections that are given to the process, with options as for a listener. One that is
    /// [`secure`](Passed::secure) already is not decrypted.
    pub fn inlet(&self, options: ListenOptions) -> Inlet<A> {
        Inlet {
            shards: Arc::clone(self.shards()),
            context: Arc::new(ListenerContext::new(options)),
            connections_max: self.config().local.connections_max,
        }
    }
}

impl<A: Application> Inlet<A> {
    /// Gives a connection to the shard that has the fewest. Never blocks. The connection is returned if
    /// all shards have as many as they may, or have ended.
    pub fn give(&self, connection: Passed) -> Result<(), Passed> {
        let loads = self.shards.iter().map(ShardHandle::load);
        let Some((load, shard)) = loads.zip(&*self.shards).min_by_key(|(load, _)| *load) else {
            return Err(connection);
        };
        if load >= self.connections_max as u64 {
            return Err(connection);
        }
        shard.accept(connection, &self.context)
    }
}

impl<A: Application> ShardHandle<A> {
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

impl<A: Application> fmt::Debug for Inlet<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inlet").finish_non_exhaustive()
    }
}

impl<A: Application> Worker<A> {
    /// The sibling that a query's session belongs to, if it is one's.
    pub(crate) fn sibling_for(&self, query: &str) -> Option<u8> {
        let inner = &self.shard.0;
        inner.config.local.siblings.as_ref()?;
        let sid = SessionId::parse(EngineQuery::parse(query).sid?.as_bytes())?;
        self.sibling_of(inner.codec.decode(&sid)?)
    }

    /// The worker of this host that an owner names, if it is another one that can be reached.
    pub(crate) fn sibling_of(&self, owner: sedge_protocol::sid::Owner) -> Option<u8> {
        let local = &self.shard.0.config.local;
        let is_sibling = owner.node == local.node && owner.worker != local.worker;
        (is_sibling && local.siblings.is_some()).then_some(owner.worker)
    }

    /// Passes a connection on. It comes back if the sibling does not take it, unless it is lost.
    pub(crate) async fn pass(
        &self,
        to: u8,
        io: Io,
        peer: Peer,
        read: Bytes,
    ) -> Result<(), Option<(Io, Bytes)>> {
        let Some(siblings) = &self.shard.0.config.local.siblings else {
            return Err(Some((io, read)));
        };
        let passed =
            |stream, read| Passed { stream, peer: peer.address, secure: peer.secure, read };
        let stream = match io.detach() {
            Ok(Detached::Socket(stream)) => stream,
            Ok(Detached::Other(stream)) => {
                // It stays here and its bytes travel.
                let Ok((ours, theirs)) = pair() else {
                    return Err(Some((Io::Other(stream), read)));
                };
                return match siblings.0.pass(to, passed(PassedStream::Unix(theirs), read)).await {
                    Ok(()) => {
                        tasks::tunnel(Io::Other(stream), Bytes::new(), ours, Bytes::new());
                        Ok(())
                    }
                    Err(error) => Err(Some((Io::Other(stream), error.connection.read))),
                };
            }
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be passed on");
                return Err(None);
            }
        };
        siblings.0.pass(to, passed(stream, read)).await.map_err(|error| {
            let Passed { stream, read, .. } = error.connection;
            stream.attach().ok().map(|io| (io, read))
        })
    }

    /// Has a sibling answer a request that came on a connection which cannot be passed.
    pub(crate) async fn ask_sibling(
        &self,
        to: u8,
        head: Head,
        body: RequestBody,
        peer: Peer,
        upgrade: bool,
    ) -> Answer {
        let unknown = |head: &Head| {
            let sid = EngineQuery::parse(head.query()).sid.unwrap_or_default().to_owned();
            self.refuse(head, peer, upgrade, ErrorContext::SessionIdUnknown(sid))
        };
        let (Some(siblings), Ok((ours, theirs))) = (&self.shard.0.config.local.siblings, pair())
        else {
            return unavailable();
        };
        let (stream, read) = (PassedStream::Unix(theirs), Bytes::new());
        let passed = Passed { stream, peer: peer.address, secure: peer.secure, read };
        match siblings.0.pass(to, passed).await {
            Ok(()) => {}
            Err(NotPassed { gone: true, .. }) => return unknown(&head),
            Err(NotPassed { gone: false, .. }) => return unavailable(),
        }
        self.exchange(ours, head, body).await.unwrap_or_else(|error| {
            tracing::debug!(%error, to, "a sibling did not answer");
            unavailable()
        })
    }

    /// Sends a request over a stream and reads the answer.
    async fn exchange(
        &self,
        stream: tokio::net::UnixStream,
        head: Head,
        body: RequestBody,
    ) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let connecting = hyper::client::conn::http1::handshake(TokioIo::new(stream));
        let (mut sender, connection) = connecting.await?;
        tasks::spawn_local(async move {
            // What goes wrong shows in the answer.
            let _ = connection.with_upgrades().await;
        });
        let mut request = Request::from_parts(head.parts().into_owned(), body);
        // An older client's request goes on in the form that the answer is expected in.
        *request.version_mut() = Version::HTTP_11;
        let mut response = sender.send_request(request).await?;
        let headers = Headers::from_map(response.headers());
        let status = response.status();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let upgraded = hyper::upgrade::on(&mut response).await?;
            let ticket = Ticket::tunnel(self.shard.index(), upgraded);
            return Ok(Answer { status, headers, body: Bytes::new(), ticket: Some(ticket) });
        }
        // What waited for the client, and what base64 makes of it.
        let limit = self.shard.0.config.local.outbox_bytes_max.saturating_mul(2);
        let body = Limited::new(response.into_body(), limit).collect().await?.to_bytes();
        Ok(Answer { status, headers, body, ticket: None })
    }
}

impl PassedStream {
    /// Registers the stream with the runtime of this thread.
    pub(crate) fn attach(self) -> io::Result<Io> {
        match self {
            PassedStream::Tcp(stream) => tokio::net::TcpStream::from_std(stream).map(Io::Tcp),
            PassedStream::Unix(stream) => tokio::net::UnixStream::from_std(stream).map(Io::Unix),
        }
    }
}

/// One end for this process and one to pass on.
fn pair() -> io::Result<(tokio::net::UnixStream, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    theirs.set_nonblocking(true)?;
    Ok((tokio::net::UnixStream::from_std(ours)?, theirs))
}
