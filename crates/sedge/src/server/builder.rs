//! The options of a server.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use sedge_adapter::Bus;
use sedge_engine::config::{HttpCompression, PerMessageDeflate};
use sedge_engine::hooks::{ConnectionError, RequestInfo};
use sedge_engine::{Config, ConfigBuilder, Cookie, Cors, Engine, Handshake, Siblings, Transport};
use sedge_protocol::request::forwarded::Proxies;
use sedge_protocol::socketio::Parser;

use super::Server;
use super::receive::Receiver;
use crate::core::socket::Socket;
use crate::core::{Core, Options, ShardApp};
use crate::error::{BuildError, HandlerError};
use crate::limits::{CONNECT_TIMEOUT, RoomLimits};

/// Collects the options of a [`Server`]. The defaults are those of the official server, whose names
/// stand in parentheses where they differ.
///
/// ```
/// use std::time::Duration;
/// # fn f() -> Result<(), sedge::BuildError> {
/// let io = sedge::Server::builder()
///     .ping_interval(Duration::from_secs(10))
///     .allow_eio3(true)
///     .state(String::from("shared by all handlers"))
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder does nothing before build"]
pub struct ServerBuilder {
    engine: ConfigBuilder,
    options: Options,
}

impl Default for ServerBuilder {
    fn default() -> Self {
        let options = Options { connect_timeout: CONNECT_TIMEOUT, ..Options::default() };
        ServerBuilder { engine: Config::builder(), options }
    }
}

impl Server {
    /// A server with the default options; it listens nowhere yet.
    pub fn new() -> Result<Server, BuildError> {
        Server::builder().build()
    }

    /// Collects options.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }
}

/// Options that go to the engine as they are.
macro_rules! engine_options {
    ($($(#[$doc:meta])* $name:ident($value:ident: $Type:ty);)*) => {
        /// Connections: transports, heartbeats, HTTP.
        impl ServerBuilder {
            $(
                $(#[$doc])*
                pub fn $name(mut self, $value: $Type) -> Self {
                    self.engine = self.engine.$name($value);
                    self
                }
            )*
        }
    };
}

engine_options! {
    /// The path below which the server answers, `/socket.io` unless changed. Clients must be given
    /// the same.
    path(path: impl Into<String>);
    /// Whether the path must be followed by a slash (`addTrailingSlash`), default true.
    add_trailing_slash(add: bool);
    /// From a pong to the next ping, default 25 s.
    ping_interval(interval: Duration);
    /// How long a ping may remain unanswered before the client is disconnected, default 20 s.
    ping_timeout(timeout: Duration);
    /// Bytes of one message or polling body that a client may send (`maxHttpBufferSize`), default
    /// 1,000,000.
    max_payload(bytes: usize);
    /// The transports that are enabled, default both.
    transports(transports: impl IntoIterator<Item = Transport>);
    /// Whether polling clients are offered a WebSocket, default true.
    allow_upgrades(allow: bool);
    /// How long an upgrade may take, default 10 s; then the client goes on polling.
    upgrade_timeout(timeout: Duration);
    /// Whether clients of Socket.IO 1 and 2 are served (`allowEIO3`), default false.
    allow_eio3(allow: bool);
    /// What pages of other origins may do, default nothing.
    cors(cors: impl Into<Option<Cors>>);
    /// A cookie with the connection's id, for balancers that need one to be sticky; default none.
    cookie(cookie: impl Into<Option<Cookie>>);
    /// Serves the JavaScript client from this directory (`serveClient`), the `dist` directory of
    /// the npm package `socket.io-client`; default none.
    serve_client(dist: impl Into<PathBuf>);
    /// Compression of WebSocket messages, default none.
    per_message_deflate(deflate: impl Into<Option<PerMessageDeflate>>);
    /// Compression of poll responses, default from 1024 bytes on.
    http_compression(compression: impl Into<Option<HttpCompression>>);
    /// Threads that serve connections, default one for each processor. Handlers run on them too.
    shards(shards: usize);
    /// What session ids are signed with; the processes of a cluster need the same. Default: made up
    /// by each process.
    secret(secret: impl Into<Vec<u8>>);
    /// A former secret whose session ids are still accepted; can be given several times.
    previous_secret(secret: impl Into<Vec<u8>>);
    /// This node's tag in session ids, default 0.
    node(node: u16);
    /// This worker process's tag in session ids, default 0.
    worker(worker: u8);
    /// The way to the other workers of this node; see [`Siblings`].
    siblings(siblings: Arc<dyn Siblings>);
    /// Whether the headers of the handshake are kept for the life of the connection, default true.
    /// Without them an idle connection costs some hundred bytes less.
    keep_handshake_headers(keep: bool);
    /// Which proxies are believed when they say for whom they speak, in `X-Forwarded-For` or
    /// `Forwarded`; default none. The handshake then tells the client's address instead of the proxy's.
    /// Only proxies that write the header themselves may be trusted.
    trusted_proxies(proxies: Proxies);
    /// Whether upgrade requests to other paths are cut off if nobody answers them
    /// (`destroyUpgrade`), default true.
    destroy_upgrade(destroy: bool);
    /// How long such requests may wait (`destroyUpgradeTimeout`), default 1 s.
    destroy_upgrade_timeout(timeout: Duration);
    /// How long a request head may take, default 30 s.
    head_timeout(timeout: Duration);
    /// How long a connection may idle after an answer before it is closed, default 75 s
    /// (`server.keepAliveTimeout`). It must be longer than whatever stands in front keeps idle connections:
    /// a request that is sent just as its connection is closed becomes a 502. AWS load balancers and nginx
    /// (`keepalive_timeout` in `upstream`) have 60 s by default, Google's balancers 600 s.
    keep_alive_timeout(timeout: Duration);
    /// How long a request body or an answer may take before
    /// [`transfer_rate_min`](Self::transfer_rate_min) counts, default 30 s.
    body_timeout(timeout: Duration);
    /// How many bytes a second of a request body must arrive, and of an answer be taken, behind the first
    /// [`body_timeout`](Self::body_timeout), default 500. Who falls behind is disconnected.
    transfer_rate_min(bytes: usize);
    /// Bytes of a request head, default 16 KiB.
    head_bytes_max(bytes: usize);
    /// Header lines of a request, default 100.
    headers_max(lines: usize);
    /// Bytes that may wait for one client, default 16 MiB. A client for whom more would have to wait
    /// is disconnected as a slow consumer. What one handler sends up to its first `.await` may be more: it is
    /// later that the client must not be behind.
    outbox_bytes_max(bytes: usize);
    /// How long a client on a WebSocket may take nothing at all of what waits for it, default 30 s. Then it is
    /// disconnected as a slow consumer, however little that is.
    slow_client_timeout(timeout: Duration);
    /// TCP connections that one shard holds at a time, default 2^21.
    connections_max(connections: usize);
    /// Engine.IO sessions that one shard holds at a time, default 2^20.
    sessions_max(sessions: usize);
    /// Commands from other threads that may wait for one shard, default 65,536.
    command_queue_max(commands: usize);
}

/// Hooks around connections.
impl ServerBuilder {
    /// Decides on every request that would open a connection (`allowRequest`); the error is what the
    /// client is told.
    pub fn allow_request<F>(mut self, hook: F) -> Self
    where
        F: AsyncFn(Arc<Handshake>) -> Result<(), String> + Send + Sync + 'static,
    {
        self.engine = self.engine.allow_request(hook);
        self
    }

    /// Changes the headers of the response that opens a connection (`initial_headers`).
    pub fn on_initial_headers<F>(mut self, hook: F) -> Self
    where
        F: Fn(&mut HeaderMap, &RequestInfo<'_>) + Send + Sync + 'static,
    {
        self.engine = self.engine.on_initial_headers(hook);
        self
    }

    /// Changes the headers of every response (`headers`).
    pub fn on_headers<F>(mut self, hook: F) -> Self
    where
        F: Fn(&mut HeaderMap, &RequestInfo<'_>) + Send + Sync + 'static,
    {
        self.engine = self.engine.on_headers(hook);
        self
    }

    /// Is told of every refused request (`connection_error`).
    pub fn on_connection_error<F>(mut self, hook: F) -> Self
    where
        F: Fn(&ConnectionError) + Send + Sync + 'static,
    {
        self.engine = self.engine.on_connection_error(hook);
        self
    }
}

/// Namespaces, handlers and packets.
impl ServerBuilder {
    /// How packets are written: JSON unless changed. Clients must use the same.
    pub fn parser(mut self, parser: Parser) -> Self {
        self.options.parser = parser;
        self
    }

    /// Gives handlers a value, as [`State<T>`](crate::extract::State). There is one value per type;
    /// a second one of the same type replaces the first.
    pub fn state<T: Send + Sync + 'static>(mut self, state: T) -> Self {
        self.options.states.insert(state);
        self
    }

    /// Is told each time a socket's handler fails, panics, or is not called because of what the client sent.
    /// It runs on the socket's shard and must not block. Handlers of
    /// [server-side events](crate::Namespace::on_server_side) have no socket: theirs are logged and counted.
    ///
    /// All of them are logged too, for each event and cause once and then once in ten seconds with a count: as
    /// errors, as warnings where it is the client's doing, and at the level debug where the client has
    /// only gone meanwhile. Without this hook and without a subscriber of `tracing` the lines go to standard error.
    pub fn on_error(
        mut self,
        hook: impl Fn(&Socket, &HandlerError) + Send + Sync + 'static,
    ) -> Self {
        self.options.on_error = Some(Box::new(hook));
        self
    }

    /// A client that has joined no namespace after this long is closed, default
    /// [45 s](CONNECT_TIMEOUT).
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.options.connect_timeout = timeout;
        self
    }

    /// Namespaces one connection may be in at a time; default
    /// [`NAMESPACES_PER_CONNECTION_MAX`](crate::limits::NAMESPACES_PER_CONNECTION_MAX).
    pub fn namespaces_per_connection_max(mut self, namespaces: usize) -> Self {
        self.options.limits.namespaces_per_connection = namespaces;
        self
    }

    /// Acknowledgements one socket may owe at a time; default
    /// [`PENDING_ACKS_MAX`](crate::limits::PENDING_ACKS_MAX).
    pub fn pending_acks_max(mut self, acks: usize) -> Self {
        self.options.limits.pending_acks = acks;
        self
    }

    /// Handlers of one connection that may be waiting at an `.await` at a time, at least 1; default
    /// [`HANDLERS_IN_FLIGHT_MAX`](crate::limits::HANDLERS_IN_FLIGHT_MAX). Beyond it the connection's events
    /// wait in their order; acknowledgements, heartbeats and the end of a socket do not. Events that wait when
    /// their socket ends are not handled any more.
    pub fn handlers_in_flight_max(mut self, handlers: usize) -> Self {
        self.options.limits.handlers_in_flight = handlers.max(1);
        self
    }

    /// Bytes of the events of one connection that may wait for
    /// [handlers under way](Self::handlers_in_flight_max); default
    /// [`EVENTS_WAITING_BYTES_MAX`](crate::limits::EVENTS_WAITING_BYTES_MAX). Beyond it the connection is not
    /// read until some have been handled. What was read by then may exceed it by one message and 64 KiB.
    pub fn events_waiting_bytes_max(mut self, bytes: usize) -> Self {
        self.options.limits.events_waiting_bytes = bytes;
        self
    }

    /// Binary attachments of one packet; default
    /// [`ATTACHMENTS_MAX`](crate::limits::ATTACHMENTS_MAX).
    pub fn attachments_max(mut self, attachments: usize) -> Self {
        self.options.limits.attachments = attachments;
        self
    }

    /// Bytes of all attachments of one packet; default
    /// [`ATTACHMENT_BYTES_MAX`](crate::limits::ATTACHMENT_BYTES_MAX).
    pub fn attachment_bytes_max(mut self, bytes: usize) -> Self {
        self.options.limits.attachment_bytes = bytes;
        self
    }

    /// What rooms may be like, and how many of them one socket may join.
    pub fn room_limits(mut self, limits: RoomLimits) -> Self {
        self.options.limits.rooms = limits;
        self
    }

    /// Joins other processes that share a bus: broadcasts and all other operations on many sockets reach
    /// the sockets of all of them, unless they are [`local`](crate::BroadcastOperator::local). Default
    /// none.
    ///
    /// The bus may not have been started; [`Server::close`] closes it. The same events have to be known
    /// to all processes, and the same [parser](Self::parser).
    pub fn bus(mut self, bus: Arc<dyn Bus>) -> Self {
        self.options.bus = Some(bus);
        self
    }

    /// Requests to other processes whose answers may be awaited at a time; default
    /// [`BUS_REQUESTS_MAX`](crate::limits::BUS_REQUESTS_MAX). Beyond it other processes are not
    /// asked, and are missing in the answers.
    pub fn bus_requests_max(mut self, requests: usize) -> Self {
        self.options.limits.bus_requests = requests;
        self
    }

    /// Handlers of [server-side events](crate::Namespace::on_server_side) that may be waiting at an
    /// `.await` on one shard at a time; default
    /// [`SERVER_SIDE_IN_FLIGHT_MAX`](crate::limits::SERVER_SIDE_IN_FLIGHT_MAX). Beyond it such events
    /// are not handled.
    pub fn server_side_in_flight_max(mut self, handlers: usize) -> Self {
        self.options.limits.server_side_in_flight = handlers;
        self
    }

    /// Validates the options as [`build`](Self::build) does, without starting anything.
    pub fn check(&self) -> Result<(), sedge_engine::ConfigError> {
        self.engine.clone().build().map(drop)
    }

    /// Starts the server's threads. It does not listen yet: see [`Server::listen`] and
    /// [`Server::layer`].
    pub fn build(self) -> Result<Server, BuildError> {
        let config = self.engine.build()?;
        let core = Core::new(self.options);
        let for_shards = Arc::clone(&core);
        let engine =
            Engine::start(config, move |shard| ShardApp::new(Arc::clone(&for_shards), shard))?;
        core.set_engine(&engine);
        let root = core.root();
        if let Some(hub) = &core.hub {
            hub.start(Arc::new(Receiver::new(&core)));
        }
        Ok(Server::new_at(root))
    }
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder").field("engine", &self.engine).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::NamespaceError;

    #[test]
    fn namespaces_are_made_once_and_named_by_the_rules() {
        let io = Server::builder().shards(1).build().unwrap();
        let chat = io.of("chat").unwrap();
        assert_eq!(chat.name(), "/chat");
        assert_eq!(io.of("/chat"), Ok(chat));
        assert_eq!(io.of(""), Ok(io.root().clone()));
        assert_eq!(io.of("/a,b"), Err(NamespaceError::InvalidCharacter(',')));
        assert_eq!(io.of("/a?b"), Err(NamespaceError::InvalidCharacter('?')));
        assert_eq!(io.of(&"a".repeat(600)), Err(NamespaceError::NameTooLong(601)));
    }

    #[test]
    fn wrong_options_are_refused_in_words() {
        let builder = Server::builder().path("no slash");
        let words = builder.check().unwrap_err().to_string();
        assert!(words.contains("path"), "{words}");
        assert_eq!(builder.build().unwrap_err().to_string(), words);
        assert!(Server::builder().check().is_ok());
    }

    #[test]
    fn state_is_found_by_its_type() {
        let io = Server::builder().shards(1).state(7_u8).state(8_u8).build().unwrap();
        assert_eq!(io.state::<u8>().as_deref(), Some(&8));
        assert_eq!(io.state::<u16>(), None);
    }

    #[test]
    #[should_panic(expected = "reserved")]
    fn a_reserved_event_cannot_have_a_handler() {
        let io = Server::builder().shards(1).build().unwrap();
        io.on("disconnect", async || {});
    }
}
