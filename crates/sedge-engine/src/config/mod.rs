//! The engine's configuration: validated once, in words, and immutable from then on.
//!
//! It has two parts. [`Shared`] is what all nodes of a cluster must agree on, because a client may
//! be sent to any of them or because they must recognise each other's session ids. [`Local`] is what each
//! process decides for itself.
//! Both are made by [`ConfigBuilder`], whose methods say what each option means.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sedge_protocol::engine::session::Timing;
use sedge_protocol::sid::{Owner, SidCodec};

use crate::application::{Message, Transport};
use crate::hooks::Hooks;
use crate::http::client_files::ClientFiles;
use crate::http::cors::CorsPolicy;
use crate::net::pace::PaceLimit;
use crate::net::passed::SiblingsHandle;
use sedge_protocol::cookie::SetCookie;
use sedge_protocol::request::forwarded::Proxies;

mod builder;
#[cfg(test)]
mod tests;

pub use crate::http::client_files::ClientFilesError;
pub use crate::http::cors::CorsError;
pub use builder::{ConfigBuilder, ConfigError};
pub use sedge_protocol::cookie::CookieError;

/// A valid configuration. Get one from [`Config::builder`].
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) shared: Shared,
    pub(crate) local: Local,
}

/// What all nodes of a cluster must agree on.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The path without a slash at its end; empty for the root.
    pub(crate) path: Box<str>,
    /// Whether requests need a slash after the path.
    pub(crate) add_trailing_slash: bool,
    /// From a pong to the next ping.
    pub(crate) ping_interval: Duration,
    /// For the answer to a ping.
    pub(crate) ping_timeout: Duration,
    /// Bytes of one message or polling body.
    pub(crate) max_payload: usize,
    /// The transports that are enabled.
    pub(crate) transports: Transports,
    /// Whether a polling session may move to a WebSocket.
    pub(crate) allow_upgrades: bool,
    /// Whether clients of protocol version 3 are served.
    pub(crate) allow_eio3: bool,
    /// What session ids are signed with.
    pub(crate) secret: Secret,
}

/// What each process decides for itself.
#[derive(Clone, Debug)]
pub struct Local {
    /// This node's tag in session ids.
    pub(crate) node: u16,
    /// This worker's tag in session ids.
    pub(crate) worker: u8,
    /// The way to the other workers of this node.
    pub(crate) siblings: Option<SiblingsHandle>,
    /// Threads that serve connections: 1 to 256.
    pub(crate) shards: usize,
    /// For the whole upgrade, from the opening of the probing WebSocket.
    pub(crate) upgrade_timeout: Duration,
    /// Compression of WebSocket messages.
    pub(crate) per_message_deflate: Option<PerMessageDeflate>,
    /// Compression of poll responses.
    pub(crate) http_compression: Option<HttpCompression>,
    /// What other origins may do.
    pub(crate) cors: Option<CorsPolicy>,
    /// The cookie of the handshake response.
    pub(crate) cookie: Option<SetCookie>,
    /// The JavaScript client, served below the path.
    pub(crate) client_files: Option<Arc<ClientFiles>>,
    /// Whether upgrade requests that nobody handles are cut off.
    pub(crate) destroy_upgrade: bool,
    /// When they are.
    pub(crate) destroy_upgrade_timeout: Duration,
    /// Sent to every client right after OPEN.
    pub(crate) initial_packet: Option<InitialPacket>,
    /// Whether the handshake keeps the request's headers.
    pub(crate) keep_handshake_headers: bool,
    /// Who is believed when it says for whom it speaks.
    pub(crate) proxies: Proxies,
    /// For a request head to arrive.
    pub(crate) head_timeout: Duration,
    /// For the next request on a connection.
    pub(crate) keep_alive_timeout: Duration,
    /// For a request body or an answer, before its rate counts.
    pub(crate) body_timeout: Duration,
    /// Bytes a second of a request body or an answer.
    pub(crate) transfer_rate_min: usize,
    /// Bytes of a request head.
    pub(crate) head_bytes_max: usize,
    /// Header lines of a request.
    pub(crate) headers_max: usize,
    /// For a client to take something of what waits for it.
    pub(crate) slow_client_timeout: Duration,
    /// Bytes that may wait for one client.
    pub(crate) outbox_bytes_max: usize,
    /// TCP connections of one shard.
    pub(crate) connections_max: usize,
    /// Sessions of one shard.
    pub(crate) sessions_max: usize,
    /// Commands that may wait for one shard.
    pub(crate) command_queue_max: usize,
    /// The application's functions.
    pub(crate) hooks: Hooks,
}

impl Config {
    /// A builder that starts from the defaults.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder::default()
    }

    /// Whether a request path (without query string) is the engine's, and if so what follows the
    /// engine's own path: nothing for engine requests, a name for client files.
    ///
    /// With [`add_trailing_slash`](ConfigBuilder::add_trailing_slash) `/socket.io/` is a prefix, as in
    /// the official server: everything below is ours and `/socket.io` is not. Without it
    /// `/socket.io` is ours too. `/socket.iox` never is, though the official server without the
    /// trailing slash takes it.
    pub fn matches<'p>(&self, request_path: &'p str) -> Option<&'p str> {
        let rest = request_path.strip_prefix(&*self.shared.path)?;
        match rest.strip_prefix('/') {
            Some(name) => Some(name),
            None if rest.is_empty() && !self.shared.add_trailing_slash => Some(""),
            None => None,
        }
    }

    /// The waits of the session state machine.
    pub fn timing(&self) -> Timing {
        Timing {
            ping_interval: millis(self.shared.ping_interval),
            ping_timeout: millis(self.shared.ping_timeout),
            upgrade_timeout: millis(self.local.upgrade_timeout),
        }
    }

    /// The transports that a client on `transport` is told it can upgrade to.
    pub fn upgrades(&self, transport: Transport) -> &'static [&'static str] {
        let offered = self.shared.allow_upgrades && self.shared.transports.websocket;
        match transport {
            Transport::Polling if offered => &["websocket"],
            _ => &[],
        }
    }

    /// Makes and reads session ids.
    pub fn sid_codec(&self) -> SidCodec {
        self.shared.secret.codec()
    }

    /// Who owns a session made on one of this process's shards.
    pub fn owner(&self, shard: u8) -> Owner {
        Owner { node: self.local.node, worker: self.local.worker, shard }
    }

    /// Bytes of one message or polling body.
    pub fn max_payload(&self) -> usize {
        self.shared.max_payload
    }

    /// The threads that serve connections.
    pub fn shards(&self) -> usize {
        self.local.shards
    }
}

impl Local {
    /// How slow a client may be.
    pub(crate) fn pace(&self) -> PaceLimit {
        PaceLimit { grace: self.body_timeout, rate_min: self.transfer_rate_min }
    }
}

/// Milliseconds, which the validation has made sure fit.
fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// The transports that are enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transports {
    /// HTTP long-polling.
    pub polling: bool,
    /// WebSocket.
    pub websocket: bool,
}

impl Transports {
    /// Both of them.
    pub const ALL: Transports = Transports { polling: true, websocket: true };

    /// The enabled transport of this name, as sent in the `transport` parameter.
    pub fn find(self, name: &str) -> Option<Transport> {
        match name {
            "polling" if self.polling => Some(Transport::Polling),
            "websocket" if self.websocket => Some(Transport::WebSocket),
            _ => None,
        }
    }
}

impl FromIterator<Transport> for Transports {
    fn from_iter<I: IntoIterator<Item = Transport>>(transports: I) -> Transports {
        let mut enabled = Transports { polling: false, websocket: false };
        for transport in transports {
            match transport {
                Transport::Polling => enabled.polling = true,
                Transport::WebSocket => enabled.websocket = true,
            }
        }
        enabled
    }
}

/// What session ids are signed with. Never shown.
#[derive(Clone)]
pub(crate) struct Secret {
    pub(crate) current: Box<[u8]>,
    pub(crate) previous: Box<[Box<[u8]>]>,
}

impl Secret {
    fn codec(&self) -> SidCodec {
        let current = SidCodec::new(&self.current);
        self.previous.iter().fold(current, |codec, secret| codec.with_previous(secret))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret(hidden, {} former)", self.previous.len())
    }
}

/// Compression of WebSocket messages (RFC 7692), without context between messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerMessageDeflate {
    /// Messages shorter than this many bytes are sent as they are. Default 1024.
    pub threshold: usize,
    /// zlib's level, 1 (fast) to 9 (small). Default 6.
    pub level: u32,
}

/// Compression of poll responses by gzip or deflate, as the client accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpCompression {
    /// Bodies shorter than this many bytes are sent as they are. Default 1024.
    pub threshold: usize,
    /// zlib's level, 1 (fast) to 9 (small). Default 6.
    pub level: u32,
}

impl Default for PerMessageDeflate {
    fn default() -> Self {
        PerMessageDeflate {
            threshold: crate::limits::DEFAULT_COMPRESSION_THRESHOLD,
            level: crate::limits::DEFAULT_COMPRESSION_LEVEL,
        }
    }
}

impl Default for HttpCompression {
    fn default() -> Self {
        HttpCompression {
            threshold: crate::limits::DEFAULT_COMPRESSION_THRESHOLD,
            level: crate::limits::DEFAULT_COMPRESSION_LEVEL,
        }
    }
}

/// A message that every client is sent right after OPEN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InitialPacket {
    /// A text message.
    Text(Box<str>),
    /// A binary message.
    Binary(Bytes),
}

impl InitialPacket {
    /// The message, borrowed.
    pub fn message(&self) -> Message<'_> {
        match self {
            InitialPacket::Text(text) => Message::Text(text),
            InitialPacket::Binary(data) => Message::Binary(data),
        }
    }
}

impl From<&str> for InitialPacket {
    fn from(text: &str) -> Self {
        InitialPacket::Text(text.into())
    }
}

impl From<String> for InitialPacket {
    fn from(text: String) -> Self {
        InitialPacket::Text(text.into())
    }
}

impl From<Bytes> for InitialPacket {
    fn from(data: Bytes) -> Self {
        InitialPacket::Binary(data)
    }
}

impl From<Vec<u8>> for InitialPacket {
    fn from(data: Vec<u8>) -> Self {
        InitialPacket::Binary(data.into())
    }
}
