//! The options and their validation.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use thiserror::Error;

use super::{
    Config, HttpCompression, InitialPacket, Local, PerMessageDeflate, Secret, Shared, Transports,
};
use crate::application::Transport;
use crate::handshake::Handshake;
use crate::hooks::{ConnectionError, Hooks, RequestInfo};
use crate::http::client_files::{ClientFiles, ClientFilesError};
use crate::http::cors::{Cors, CorsError};
use crate::limits;
use crate::net::passed::{Siblings, SiblingsHandle};
use sedge_protocol::cookie::{Cookie, CookieError};
use sedge_protocol::request::forwarded::Proxies;

/// Collects options; [`build`](ConfigBuilder::build) validates them. Every method takes the builder
/// and returns it. Names in parentheses are those of the official server's options.
///
/// There is no option for custom session ids (`generateId`): an id says which node, worker and
/// shard own its session and is signed, which is how a request finds its way without a table.
/// Give your own names to sockets in the application instead.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct ConfigBuilder {
    path: String,
    add_trailing_slash: bool,
    ping_interval: Duration,
    ping_timeout: Duration,
    max_payload: usize,
    transports: Transports,
    allow_upgrades: bool,
    allow_eio3: bool,
    secret: Option<HiddenBytes>,
    previous_secrets: Vec<HiddenBytes>,
    node: u16,
    worker: u8,
    siblings: Option<SiblingsHandle>,
    shards: Option<usize>,
    upgrade_timeout: Duration,
    per_message_deflate: Option<PerMessageDeflate>,
    http_compression: Option<HttpCompression>,
    cors: Option<Cors>,
    cookie: Option<Cookie>,
    serve_client: Option<PathBuf>,
    destroy_upgrade: bool,
    destroy_upgrade_timeout: Duration,
    initial_packet: Option<InitialPacket>,
    keep_handshake_headers: bool,
    proxies: Proxies,
    head_timeout: Duration,
    keep_alive_timeout: Duration,
    body_timeout: Duration,
    transfer_rate_min: usize,
    head_bytes_max: usize,
    headers_max: usize,
    outbox_bytes_max: usize,
    slow_client_timeout: Duration,
    connections_max: usize,
    sessions_max: usize,
    command_queue_max: usize,
    hooks: Hooks,
}

/// Bytes that `Debug` does not show.
#[derive(Clone)]
struct HiddenBytes(Box<[u8]>);

impl std::fmt::Debug for HiddenBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("hidden")
    }
}

impl Default for ConfigBuilder {
    fn default() -> Self {
        ConfigBuilder {
            path: "/socket.io".to_owned(),
            add_trailing_slash: true,
            ping_interval: limits::DEFAULT_PING_INTERVAL,
            ping_timeout: limits::DEFAULT_PING_TIMEOUT,
            max_payload: limits::DEFAULT_MAX_PAYLOAD,
            transports: Transports::ALL,
            allow_upgrades: true,
            allow_eio3: false,
            secret: None,
            previous_secrets: Vec::new(),
            node: 0,
            worker: 0,
            siblings: None,
            shards: None,
            upgrade_timeout: limits::DEFAULT_UPGRADE_TIMEOUT,
            per_message_deflate: None,
            http_compression: Some(HttpCompression::default()),
            cors: None,
            cookie: None,
            serve_client: None,
            destroy_upgrade: true,
            destroy_upgrade_timeout: limits::DEFAULT_DESTROY_UPGRADE_TIMEOUT,
            initial_packet: None,
            keep_handshake_headers: true,
            proxies: Proxies::default(),
            head_timeout: limits::DEFAULT_HEAD_TIMEOUT,
            keep_alive_timeout: limits::DEFAULT_KEEP_ALIVE_TIMEOUT,
            body_timeout: limits::DEFAULT_BODY_TIMEOUT,
            transfer_rate_min: limits::DEFAULT_TRANSFER_RATE_MIN,
            head_bytes_max: limits::DEFAULT_HEAD_BYTES_MAX,
            headers_max: limits::DEFAULT_HEADERS_MAX,
            outbox_bytes_max: limits::DEFAULT_OUTBOX_BYTES_MAX,
            slow_client_timeout: limits::DEFAULT_SLOW_CLIENT_TIMEOUT,
            connections_max: limits::DEFAULT_CONNECTIONS_MAX,
            sessions_max: limits::DEFAULT_SESSIONS_MAX,
            command_queue_max: limits::DEFAULT_COMMAND_QUEUE_MAX,
            hooks: Hooks::default(),
        }
    }
}

/// Options that all nodes of a cluster must agree on.
impl ConfigBuilder {
    /// The path below which the engine answers (`path`), default `/socket.io`. It must begin with a
    /// slash; one slash at the end is ignored. Clients must be given the same path.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Whether the path must be followed by a slash (`addTrailingSlash`), default true: then
    /// `/socket.io/?…` is answered and `/socket.io?…` is left to the application.
    pub fn add_trailing_slash(mut self, add: bool) -> Self {
        self.add_trailing_slash = add;
        self
    }

    /// From a pong to the next ping (`pingInterval`), default 25 s. Clients are told in OPEN. Each
    /// ping costs an idle client a wake-up; longer intervals notice dead connections later, and
    /// proxies cut off connections that are silent for too long (often 60 s).
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.ping_interval = interval;
        self
    }

    /// How long a ping may remain unanswered before the session ends as `ping timeout`
    /// (`pingTimeout`), default 20 s. Clients are told in OPEN, and give up themselves after ping
    /// interval and ping timeout together, which must be below 2^31 ms.
    pub fn ping_timeout(mut self, timeout: Duration) -> Self {
        self.ping_timeout = timeout;
        self
    }

    /// Bytes of one message or one polling body that a client may send (`maxHttpBufferSize`), default
    /// 1,000,000. Clients are told in OPEN. A larger POST gets 413 and the session lives; a larger
    /// WebSocket message ends it with close code 1009.
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.max_payload = bytes;
        self
    }

    /// The transports that are enabled (`transports`), default polling and WebSocket. Order has no
    /// meaning: the client chooses.
    pub fn transports(mut self, transports: impl IntoIterator<Item = Transport>) -> Self {
        self.transports = transports.into_iter().collect();
        self
    }

    /// Whether clients that began with polling are offered a WebSocket (`allowUpgrades`), default
    /// true.
    pub fn allow_upgrades(mut self, allow: bool) -> Self {
        self.allow_upgrades = allow;
        self
    }

    /// Whether clients of protocol version 3 (Socket.IO 1 and 2) are served (`allowEIO3`), default
    /// false. They are otherwise told `Unsupported protocol version`.
    pub fn allow_eio3(mut self, allow: bool) -> Self {
        self.allow_eio3 = allow;
        self
    }

    /// What session ids are signed with, at least 16 bytes. The default is made up anew by every
    /// process, which is right for a single one; the processes of a cluster need the same secret,
    /// from a random generator, to recognise each other's sessions. Whoever knows it can make the
    /// cluster route requests, but cannot guess a session.
    pub fn secret(mut self, secret: impl Into<Vec<u8>>) -> Self {
        self.secret = Some(HiddenBytes(secret.into().into()));
        self
    }

    /// A former secret whose session ids are still accepted; can be given several times. To change
    /// the secret without losing sessions, deploy the new one as a former one first, then exchange
    /// the two, and remove the old one when its sessions have ended.
    pub fn previous_secret(mut self, secret: impl Into<Vec<u8>>) -> Self {
        self.previous_secrets.push(HiddenBytes(secret.into().into()));
        self
    }
}

/// Options that each process decides for itself.
impl ConfigBuilder {
    /// This node's tag in session ids, default 0. Nodes of a cluster need different ones; any tag but
    /// 0 needs a [`secret`](Self::secret).
    pub fn node(mut self, node: u16) -> Self {
        self.node = node;
        self
    }

    /// This worker's tag in session ids, default 0. The workers of a node need different ones; any
    /// tag but 0 needs a [`secret`](Self::secret).
    pub fn worker(mut self, worker: u8) -> Self {
        self.worker = worker;
        self
    }

    /// The way to the other workers of this node. A connection on which a request for a session of one
    /// of them arrives is passed on. Without it such a session is unknown.
    pub fn siblings(mut self, siblings: Arc<dyn Siblings>) -> Self {
        self.siblings = Some(SiblingsHandle(siblings));
        self
    }

    /// Threads that serve connections, 1 to 256; default: one for each processor this process may
    /// use. Each has its own sessions.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// How long an upgrade may take from the opening of the WebSocket (`upgradeTimeout`), default
    /// 10 s. Afterwards the WebSocket is closed and the session goes on polling.
    pub fn upgrade_timeout(mut self, timeout: Duration) -> Self {
        self.upgrade_timeout = timeout;
        self
    }

    /// Compression of WebSocket messages (`perMessageDeflate`), default none. It costs processor time
    /// per message and connection; a broadcast is compressed once for all its recipients.
    pub fn per_message_deflate(mut self, deflate: impl Into<Option<PerMessageDeflate>>) -> Self {
        self.per_message_deflate = deflate.into();
        self
    }

    /// Compression of poll responses by gzip or deflate (`httpCompression`), default from 1024 bytes
    /// on.
    pub fn http_compression(mut self, compression: impl Into<Option<HttpCompression>>) -> Self {
        self.http_compression = compression.into();
        self
    }

    /// What pages of other origins may do (`cors`), default nothing: browsers then refuse them
    /// polling. A WebSocket is not subject to CORS; refuse it by its `Origin` header in
    /// [`allow_request`](Self::allow_request).
    pub fn cors(mut self, cors: impl Into<Option<Cors>>) -> Self {
        self.cors = cors.into();
        self
    }

    /// A cookie with the session id on the response that opens a polling session (`cookie`), default
    /// none. Only balancers that need a cookie to be sticky have a use for it.
    pub fn cookie(mut self, cookie: impl Into<Option<Cookie>>) -> Self {
        self.cookie = cookie.into();
        self
    }

    /// Serves the JavaScript client from this directory (`serveClient`), as `/socket.io/socket.io.js`
    /// and its variants; default none. It is the `dist` directory of the npm package
    /// `socket.io-client` and is read once, by [`build`](Self::build).
    pub fn serve_client(mut self, dist: impl Into<PathBuf>) -> Self {
        self.serve_client = Some(dist.into());
        self
    }

    /// Whether upgrade requests to other paths are cut off if nobody answers them
    /// (`destroyUpgrade`), default true. Only the engine's own listener does so; behind another
    /// server such requests never get here.
    pub fn destroy_upgrade(mut self, destroy: bool) -> Self {
        self.destroy_upgrade = destroy;
        self
    }

    /// How long such requests may wait (`destroyUpgradeTimeout`), default 1 s.
    pub fn destroy_upgrade_timeout(mut self, timeout: Duration) -> Self {
        self.destroy_upgrade_timeout = timeout;
        self
    }

    /// A message that every client is sent right after OPEN (`initialPacket`), default none.
    pub fn initial_packet(mut self, packet: impl Into<InitialPacket>) -> Self {
        self.initial_packet = Some(packet.into());
        self
    }

    /// Which proxies are believed when they say for whom they speak, in `X-Forwarded-For` or `Forwarded`;
    /// default none. The client's address and whether its connection is encrypted, as
    /// [`Handshake::address`] and [`Handshake::secure`] tell them, are then the ones that these proxies
    /// name. Only proxies that write the header themselves may be trusted: through others, clients could
    /// give themselves any address.
    pub fn trusted_proxies(mut self, proxies: Proxies) -> Self {
        self.proxies = proxies;
        self
    }

    /// Whether a session keeps the headers of the request that opened it, default true. Without them
    /// an idle session costs some hundred bytes less, and
    /// [`Handshake::headers`](crate::Handshake::headers) is empty. `allow_request` sees them in any
    /// case.
    pub fn keep_handshake_headers(mut self, keep: bool) -> Self {
        self.keep_handshake_headers = keep;
        self
    }

    /// How long a request head may take to arrive, counted from its first byte, or from the accept on a
    /// connection that has just been made; default 30 s. Then the connection is closed.
    pub fn head_timeout(mut self, timeout: Duration) -> Self {
        self.head_timeout = timeout;
        self
    }

    /// How long a connection may idle after an answer before it is closed, default 75 s
    /// (`server.keepAliveTimeout`).
    ///
    /// Whatever stands in front must give up its idle connections first. Otherwise it sends a request just
    /// as the connection is closed, and its client gets a 502. AWS load balancers and nginx's
    /// `keepalive_timeout` towards upstreams have 60 s by default, Google's have 600 s, HAProxy
    /// (`timeout http-keep-alive`) and Envoy (`idle_timeout`) what they are set to, an hour for Envoy.
    pub fn keep_alive_timeout(mut self, timeout: Duration) -> Self {
        self.keep_alive_timeout = timeout;
        self
    }

    /// How long a request body may take to arrive, and an answer to be taken by its client, before
    /// [`transfer_rate_min`](Self::transfer_rate_min) counts; default 30 s.
    pub fn body_timeout(mut self, timeout: Duration) -> Self {
        self.body_timeout = timeout;
        self
    }

    /// How many bytes a second of a request body must arrive, on an average since its beginning and not
    /// counting the first [`body_timeout`](Self::body_timeout); at least 1, default 500. A body that falls
    /// behind is answered 408 and ends the session as an aborted one does.
    ///
    /// On the engine's own listeners it also holds for answers that the client does not read: the connection
    /// is closed, and a session whose packets were in the answer ends as a slow consumer.
    pub fn transfer_rate_min(mut self, bytes: usize) -> Self {
        self.transfer_rate_min = bytes;
        self
    }

    /// Bytes of a request head, 8 KiB to 1 MiB, default 16 KiB.
    pub fn head_bytes_max(mut self, bytes: usize) -> Self {
        self.head_bytes_max = bytes;
        self
    }

    /// Header lines of a request, at least 16, default 100.
    pub fn headers_max(mut self, lines: usize) -> Self {
        self.headers_max = lines;
        self
    }

    /// Bytes that may wait for one client, at least `max_payload`, default 16 MiB. A client for whom
    /// more would have to wait is disconnected as a slow consumer. Every message but the first counts
    /// 64 bytes more than it has, since keeping it costs that.
    ///
    /// What is sent without letting the shard write in between, by one handler up to its first `.await` for
    /// example, may be more, up to 2 GiB: it says nothing about the client. It is disconnected if it is still
    /// over the limit later and more comes than it takes.
    pub fn outbox_bytes_max(mut self, bytes: usize) -> Self {
        self.outbox_bytes_max = bytes;
        self
    }

    /// How long a client on a WebSocket may take nothing at all while something waits for it, default 30 s.
    /// Then it is disconnected as a slow consumer, however little that is: a client that reads, however slowly,
    /// is not. What the kernels on the way take counts as taken, so it may last up to twice as long, and with
    /// the defaults the heartbeat of a client that does not read at all often fails first. Behind another
    /// server ([`Engine::layer`](crate::Engine::layer)) that encrypts, progress is seen only when the
    /// connection is writable again.
    pub fn slow_client_timeout(mut self, timeout: Duration) -> Self {
        self.slow_client_timeout = timeout;
        self
    }

    /// TCP connections that one shard holds at a time, default 2^21. Further ones are closed as soon
    /// as they are accepted.
    pub fn connections_max(mut self, connections: usize) -> Self {
        self.connections_max = connections;
        self
    }

    /// Sessions that one shard holds at a time, default 2^20. Further handshakes are refused.
    pub fn sessions_max(mut self, sessions: usize) -> Self {
        self.sessions_max = sessions;
        self
    }

    /// Commands that may wait for one shard, default 65,536. Further ones are refused, and whoever
    /// gave them is told.
    pub fn command_queue_max(mut self, commands: usize) -> Self {
        self.command_queue_max = commands;
        self
    }
}

/// Hooks: the application's own functions.
impl ConfigBuilder {
    /// Decides on every request that would open a session (`allowRequest`), on either transport. The
    /// error is what the client is told, with code 4 and status 403 (400 for a WebSocket). Requests
    /// for an existing session, upgrades included, are not asked about.
    ///
    /// ```
    /// # use sedge_engine::Config;
    /// let config = Config::builder()
    ///     .allow_request(async |handshake| match handshake.header("origin") {
    ///         Some("https://example.com") => Ok(()),
    ///         _ => Err("unknown origin".to_owned()),
    ///     })
    ///     .build();
    /// # assert!(config.is_ok());
    /// ```
    pub fn allow_request<F>(mut self, hook: F) -> Self
    where
        F: AsyncFn(Arc<Handshake>) -> Result<(), String> + Send + Sync + 'static,
    {
        self.hooks.allow_request = Some(Hooks::allow_request(hook));
        self
    }

    /// Changes the headers of the response that opens a session (`initial_headers` event).
    pub fn on_initial_headers<F>(mut self, hook: F) -> Self
    where
        F: Fn(&mut HeaderMap, &RequestInfo<'_>) + Send + Sync + 'static,
    {
        self.hooks.initial_headers = Some(Arc::new(hook));
        self
    }

    /// Changes the headers of every response for a session, that which opens it included, after
    /// [`on_initial_headers`](Self::on_initial_headers) (`headers` event).
    pub fn on_headers<F>(mut self, hook: F) -> Self
    where
        F: Fn(&mut HeaderMap, &RequestInfo<'_>) + Send + Sync + 'static,
    {
        self.hooks.headers = Some(Arc::new(hook));
        self
    }

    /// Is told of every refused request (`connection_error` event).
    pub fn on_connection_error<F>(mut self, hook: F) -> Self
    where
        F: Fn(&ConnectionError) + Send + Sync + 'static,
    {
        self.hooks.connection_error = Some(Arc::new(hook));
        self
    }
}

/// What is wrong with a configuration.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The path cannot be that of a request.
    #[error(
        "path {path:?}: must begin with '/' and consist of visible ASCII characters without '?', '#' and '%'"
    )]
    Path {
        /// The path given.
        path: String,
    },
    /// A duration is outside what its timer can do.
    #[error("{option} is {value:?}, but must be at least {min:?} and at most {max:?}")]
    Duration {
        /// The option's name.
        option: &'static str,
        /// The value given.
        value: Duration,
        /// The smallest valid value.
        min: Duration,
        /// The largest valid value.
        max: Duration,
    },
    /// The client's timer would overflow and fire at once.
    #[error(
        "ping_interval ({interval:?}) and ping_timeout ({timeout:?}) together must be below 2^31 ms: \
         clients in JavaScript cannot wait longer"
    )]
    Heartbeat {
        /// The ping interval given.
        interval: Duration,
        /// The ping timeout given.
        timeout: Duration,
    },
    /// A number is outside its range.
    #[error("{option} is {value}, but must be at least {min} and at most {max}")]
    Range {
        /// The option's name.
        option: &'static str,
        /// The value given.
        value: usize,
        /// The smallest valid value.
        min: usize,
        /// The largest valid value.
        max: usize,
    },
    /// One message of the allowed size would already disconnect its recipient.
    #[error("outbox_bytes_max is {outbox}, but must be at least {option} ({needed})")]
    Outbox {
        /// The outbox limit given.
        outbox: usize,
        /// What must fit in.
        option: &'static str,
        /// Its size in bytes.
        needed: usize,
    },
    /// No client could connect.
    #[error("transports: at least one of polling and websocket is needed")]
    NoTransport,
    /// Session ids of other processes could not be recognised.
    #[error(
        "node {node}, worker {worker}: processes that share sessions need a common secret, but none is set"
    )]
    SecretMissing {
        /// The node's tag.
        node: u16,
        /// The worker's tag.
        worker: u8,
    },
    /// The secret can be guessed.
    #[error(
        "{option} has {length} bytes, but must have at least {min} from a random generator",
        min = limits::SECRET_BYTES_MIN
    )]
    SecretTooShort {
        /// `secret` or `previous_secret`.
        option: &'static str,
        /// Its length in bytes.
        length: usize,
    },
    /// The operating system gave no random bytes to make a secret of.
    #[error("the operating system's random generator failed: {0}")]
    Random(String),
    /// The CORS options contradict themselves.
    #[error("cors: {0}")]
    Cors(#[from] CorsError),
    /// The cookie would be refused by browsers.
    #[error("cookie: {0}")]
    Cookie(#[from] CookieError),
    /// The JavaScript client cannot be served.
    #[error("serve_client: {0}")]
    ClientFiles(#[from] ClientFilesError),
}

impl ConfigBuilder {
    /// Validates the options, and reads the client's files if they are to be served.
    pub fn build(self) -> Result<Config, ConfigError> {
        self.check_path()?;
        self.check_durations()?;
        self.check_sizes()?;
        self.check_compression()?;
        if self.transports == (Transports { polling: false, websocket: false }) {
            return Err(ConfigError::NoTransport);
        }
        let secret = self.take_secret()?;
        let shards = match self.shards {
            Some(shards) => within("shards", shards, 1, limits::SHARDS_MAX)?,
            None => {
                std::thread::available_parallelism().map_or(1, |n| n.get().min(limits::SHARDS_MAX))
            }
        };
        let cors = self.cors.map(|cors| cors.compile()).transpose()?;
        let cookie = self.cookie.map(|cookie| cookie.compile()).transpose()?;
        let client_files = self.serve_client.map(|dist| ClientFiles::load(&dist)).transpose()?;
        let path = self.path.strip_suffix('/').unwrap_or(&self.path).into();
        let shared = Shared {
            path,
            add_trailing_slash: self.add_trailing_slash,
            ping_interval: self.ping_interval,
            ping_timeout: self.ping_timeout,
            max_payload: self.max_payload,
            transports: self.transports,
            allow_upgrades: self.allow_upgrades,
            allow_eio3: self.allow_eio3,
            secret,
        };
        let local = Local {
            node: self.node,
            worker: self.worker,
            siblings: self.siblings,
            shards,
            upgrade_timeout: self.upgrade_timeout,
            per_message_deflate: self.per_message_deflate,
            http_compression: self.http_compression,
            cors,
            cookie,
            client_files: client_files.map(Arc::new),
            destroy_upgrade: self.destroy_upgrade,
            destroy_upgrade_timeout: self.destroy_upgrade_timeout,
            initial_packet: self.initial_packet,
            keep_handshake_headers: self.keep_handshake_headers,
            proxies: self.proxies,
            head_timeout: self.head_timeout,
            keep_alive_timeout: self.keep_alive_timeout,
            body_timeout: self.body_timeout,
            transfer_rate_min: self.transfer_rate_min,
            head_bytes_max: self.head_bytes_max,
            headers_max: self.headers_max,
            outbox_bytes_max: self.outbox_bytes_max,
            slow_client_timeout: self.slow_client_timeout,
            connections_max: self.connections_max,
            sessions_max: self.sessions_max,
            command_queue_max: self.command_queue_max,
            hooks: self.hooks,
        };
        Ok(Config { shared, local })
    }

    /// Request paths are compared as sent, so a path that would be sent in another form (with
    /// escapes) would never match.
    fn check_path(&self) -> Result<(), ConfigError> {
        let visible = self.path.bytes().all(|b| b.is_ascii_graphic() && !b"?#%".contains(&b));
        if self.path.starts_with('/') && visible {
            Ok(())
        } else {
            Err(ConfigError::Path { path: self.path.clone() })
        }
    }

    fn check_durations(&self) -> Result<(), ConfigError> {
        let (min, max) = (limits::TIMER_MIN, limits::TIMER_MAX);
        let durations = [
            ("ping_interval", self.ping_interval),
            ("ping_timeout", self.ping_timeout),
            ("upgrade_timeout", self.upgrade_timeout),
            ("head_timeout", self.head_timeout),
            ("keep_alive_timeout", self.keep_alive_timeout),
            ("body_timeout", self.body_timeout),
            ("slow_client_timeout", self.slow_client_timeout),
            ("destroy_upgrade_timeout", self.destroy_upgrade_timeout),
        ];
        for (option, value) in durations {
            if value < min || value > max {
                return Err(ConfigError::Duration { option, value, min, max });
            }
        }
        if self.ping_interval + self.ping_timeout > limits::JAVASCRIPT_TIMER_MAX {
            return Err(ConfigError::Heartbeat {
                interval: self.ping_interval,
                timeout: self.ping_timeout,
            });
        }
        Ok(())
    }

    fn check_sizes(&self) -> Result<(), ConfigError> {
        let payload = self.max_payload;
        within("max_payload", payload, limits::MAX_PAYLOAD_MIN, limits::MAX_PAYLOAD_MAX)?;
        within("transfer_rate_min", self.transfer_rate_min, 1, limits::MAX_PAYLOAD_MAX)?;
        let head = self.head_bytes_max;
        within("head_bytes_max", head, limits::HEAD_BYTES_MIN, limits::HEAD_BYTES_MAX)?;
        within("headers_max", self.headers_max, limits::HEADERS_MIN, self.head_bytes_max)?;
        // Slots of sessions and connections are numbered in 32 bits.
        let slots = u32::MAX as usize;
        within("connections_max", self.connections_max, 1, slots)?;
        within("sessions_max", self.sessions_max, 1, slots)?;
        within("command_queue_max", self.command_queue_max, 1, slots)?;
        let initial = self.initial_packet.as_ref().map_or(0, |packet| packet.message().len());
        for (option, needed) in [("max_payload", payload), ("initial_packet", initial)] {
            if self.outbox_bytes_max < needed {
                let outbox = self.outbox_bytes_max;
                return Err(ConfigError::Outbox { outbox, option, needed });
            }
        }
        within("outbox_bytes_max", self.outbox_bytes_max, 1, limits::OUTBOX_BYTES_MAX_MAX)?;
        Ok(())
    }

    fn check_compression(&self) -> Result<(), ConfigError> {
        let levels = [
            ("per_message_deflate.level", self.per_message_deflate.map(|d| d.level)),
            ("http_compression.level", self.http_compression.map(|c| c.level)),
        ];
        for (option, level) in levels {
            if let Some(level) = level {
                within(option, level as usize, 1, limits::COMPRESSION_LEVEL_MAX as usize)?;
            }
        }
        Ok(())
    }

    fn take_secret(&self) -> Result<Secret, ConfigError> {
        let current = match &self.secret {
            Some(HiddenBytes(secret)) => secret.clone(),
            None if self.node != 0 || self.worker != 0 => {
                return Err(ConfigError::SecretMissing { node: self.node, worker: self.worker });
            }
            None => random_secret()?,
        };
        let previous: Box<[_]> = self.previous_secrets.iter().map(|s| s.0.clone()).collect();
        let named = previous.iter().map(|secret| ("previous_secret", secret));
        for (option, secret) in named.chain([("secret", &current)]) {
            if secret.len() < limits::SECRET_BYTES_MIN {
                return Err(ConfigError::SecretTooShort { option, length: secret.len() });
            }
        }
        Ok(Secret { current, previous })
    }
}

fn within(
    option: &'static str,
    value: usize,
    min: usize,
    max: usize,
) -> Result<usize, ConfigError> {
    if (min..=max).contains(&value) {
        Ok(value)
    } else {
        Err(ConfigError::Range { option, value, min, max })
    }
}

fn random_secret() -> Result<Box<[u8]>, ConfigError> {
    let mut secret = [0; limits::RANDOM_SECRET_BYTES];
    getrandom::fill(&mut secret).map_err(|error| ConfigError::Random(error.to_string()))?;
    Ok(Box::new(secret))
}
