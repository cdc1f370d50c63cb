//! The server: the handle to everything. It is made in [`builder`]; as a [`service`] it serves beside an
//! application, as a [`worker`] beside other processes. [`receive`] takes what those send.

pub(crate) mod builder;
#[cfg(all(feature = "cluster", target_os = "linux"))]
mod cluster;
mod receive;
pub(crate) mod service;
pub(crate) mod worker;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sedge_adapter::Target;
use sedge_engine::{Engine, ListenOptions, Listening, ShardFailure};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use crate::api::broadcast_methods::broadcast_methods;
use crate::api::operator::BroadcastOperator;
use crate::api::server_side::ServerSideAck;
use crate::core::socket::Socket;
use crate::core::stage::{self, Context, Stage};
use crate::core::{Core, Namespace, ShardApp};
use crate::error::{EmitError, NamespaceError};
use crate::handler::Handler;
use crate::metrics::{ServerMetrics, SocketMetrics};
use crate::shard::command::Command;

/// A Socket.IO server.
///
/// Handles are cheap to clone and can be used from any thread. The server runs until [`close`](Server::close),
/// which ends it in order, or until the last handle is dropped, which breaks off whatever it is doing.
/// [Layers and services](Server::layer) are handles too, and so is what a handler keeps of a server; namespaces,
/// sockets, listeners and inlets are not.
///
/// What has to do with handlers and broadcasts concerns the root namespace `/`; [`of`](Server::of) gives
/// the others.
#[derive(Clone)]
pub struct Server {
    root: Namespace,
    engine: Engine<ShardApp>,
}

impl Server {
    pub(crate) fn new_at(root: Namespace) -> Server {
        let engine = root.core().engine().strong();
        Server { root, engine }
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        self.root.core()
    }

    pub(crate) fn engine(&self) -> &Engine<ShardApp> {
        &self.engine
    }

    /// The root namespace, `/`. It always exists.
    pub fn root(&self) -> &Namespace {
        &self.root
    }

    /// The namespace of this name, which is made if there is none; a missing `/` in front is added.
    /// Clients can only join namespaces that exist.
    pub fn of(&self, name: &str) -> Result<Namespace, NamespaceError> {
        match name {
            "" | "/" => Ok(self.root.clone()),
            _ => self.core().of(name, Some(&self.root)),
        }
    }

    /// See [`Namespace::middleware`].
    pub fn middleware<T: 'static>(&self, handler: impl Handler<stage::Middleware, T>) -> &Self {
        self.root.middleware(handler);
        self
    }

    /// See [`Namespace::on_connect`].
    pub fn on_connect<T: 'static>(&self, handler: impl Handler<stage::Connect, T>) -> &Self {
        self.root.on_connect(handler);
        self
    }

    /// See [`Namespace::on`].
    ///
    /// # Panics
    ///
    /// If the name is reserved.
    pub fn on<T: 'static>(&self, event: &str, handler: impl Handler<stage::Event, T>) -> &Self {
        self.root.on(event, handler);
        self
    }

    /// See [`Namespace::on_any`].
    pub fn on_any<T: 'static>(&self, handler: impl Handler<stage::Event, T>) -> &Self {
        self.root.on_any(handler);
        self
    }

    /// See [`Namespace::on_fallback`].
    pub fn on_fallback<T: 'static>(&self, handler: impl Handler<stage::Event, T>) -> &Self {
        self.root.on_fallback(handler);
        self
    }

    /// See [`Namespace::on_disconnect`].
    pub fn on_disconnect<T: 'static>(&self, handler: impl Handler<stage::Disconnect, T>) -> &Self {
        self.root.on_disconnect(handler);
        self
    }

    /// See [`Namespace::on_server_side`].
    ///
    /// # Panics
    ///
    /// If the name is reserved.
    pub fn on_server_side<T: 'static>(
        &self,
        event: &str,
        handler: impl Handler<stage::ServerSide, T>,
    ) -> &Self {
        self.root.on_server_side(event, handler);
        self
    }

    /// See [`Namespace::server_side_emit`].
    pub fn server_side_emit<T: Serialize + ?Sized>(
        &self,
        event: &str,
        args: &T,
    ) -> Result<(), EmitError> {
        self.root.server_side_emit(event, args)
    }

    /// See [`Namespace::server_side_emit_with_ack`].
    pub fn server_side_emit_with_ack<R: DeserializeOwned>(
        &self,
        event: &str,
        args: &(impl Serialize + ?Sized),
    ) -> ServerSideAck<R> {
        self.root.server_side_emit_with_ack(event, args)
    }

    broadcast_methods!(|server: &Server| BroadcastOperator::new(
        server.root.clone(),
        Target::everyone()
    ));

    /// Listens on a TCP address with the server's own HTTP listener, which runs on its shards. Other
    /// paths than the server's get 404. Port 0 takes a free port;
    /// [`Listening::local_addr`] says which.
    pub async fn listen(&self, address: SocketAddr) -> io::Result<Listening> {
        self.listen_with(address, ListenOptions::default()).await
    }

    /// Listens on a TCP address, with TLS, or with another service for the other paths.
    pub async fn listen_with(
        &self,
        address: SocketAddr,
        options: ListenOptions,
    ) -> io::Result<Listening> {
        self.engine().listen_with(address, options).await
    }

    /// The server's state of a type, as given to the builder.
    pub fn state<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.core().state()
    }

    /// The counters of all shards, as values and, by [`ServerMetrics::prometheus`], as text.
    pub fn metrics(&self) -> ServerMetrics {
        let shards: Vec<SocketMetrics> =
            self.core().metrics().iter().map(|shard| shard.snapshot()).collect();
        let mut total = SocketMetrics::default();
        for shard in &shards {
            total += *shard;
        }
        let bus = self.core().hub.as_ref().map(|hub| hub.metrics());
        ServerMetrics { shards, total, bus, engine: self.engine().metrics() }
    }

    /// How many sockets are connected to this process, over all namespaces.
    pub fn socket_count(&self) -> u64 {
        self.metrics().total.sockets
    }

    /// How many shards, that is threads, the server has.
    pub fn shard_count(&self) -> usize {
        self.core().shard_count()
    }

    /// Waits until the server has failed: one of its threads has panicked outside of handlers and hooks, in which
    /// panics are caught. All its connections and listeners are closed then, and the process should end, so that
    /// whoever watches it starts another one. It waits for ever if the server is closed.
    ///
    /// ```no_run
    /// # async fn f(io: sedge::Server, signal: impl Future<Output = ()>) -> Result<(), sedge::ShardFailure> {
    /// tokio::select! {
    ///     () = signal => io.close(std::time::Duration::from_secs(5)).await,
    ///     failure = io.failed() => return Err(failure),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn failed(&self) -> impl Future<Output = ShardFailure> + Send + use<> {
        self.engine().failed()
    }

    /// Ends the server. Nobody is let in any more; every socket's `on_disconnect` handlers are told
    /// [`ServerShuttingDown`](crate::DisconnectReason::ServerShuttingDown); handlers that wait at an
    /// `.await` may end; then connections and listeners are closed. Clients see their transport
    /// close, and reconnect by themselves wherever they can. The
    /// [bus](crate::ServerBuilder::bus) is left last.
    ///
    /// It takes no longer than the deadline, at which whatever still runs is dropped. Called in a
    /// handler, it waits for that handler until the deadline.
    pub async fn close(&self, deadline: Duration) {
        let begin = tokio::time::Instant::now();
        self.core().begin_closing();
        let handlers_ended = async {
            let mut waits = Vec::new();
            for shard in 0..self.shard_count() {
                let (done, wait) = oneshot::channel();
                if self.core().command(shard, Command::Close { done }).is_ok() {
                    waits.push(wait);
                }
            }
            for wait in waits {
                let _ = wait.await;
            }
        };
        let _ = tokio::time::timeout(deadline, handlers_ended).await;
        self.engine().close(deadline.saturating_sub(begin.elapsed())).await;
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("shards", &self.shard_count()).finish_non_exhaustive()
    }
}

impl Namespace {
    /// The server it belongs to.
    pub fn server(&self) -> Server {
        Server::new_at(self.root().clone())
    }
}

impl Socket {
    /// The server.
    pub fn server(&self) -> Server {
        self.namespace().server()
    }
}

impl<S: Stage> Context<'_, S> {
    /// The server.
    pub fn server(&self) -> Server {
        self.namespace().server()
    }
}
