//! What a protocol on top of Engine.IO implements, and the small values it exchanges with the engine.
//!
//! An [`Application`] exists once per shard and is only ever called on that shard's thread, never
//! re-entrantly: while one of its methods runs, no other one is called. It may call any method of its
//! [`Shard`](crate::Shard) meanwhile.
//!
//! An application should not panic. A panic while a message is handled costs that session; in any other method
//! it may end the engine, as [`Engine::failed`](crate::Engine::failed) tells.

use std::fmt;
use std::sync::Arc;

use crate::handshake::Handshake;

/// The part of a server that lives on one shard and consumes its sessions.
pub trait Application: 'static {
    /// What other threads and other shards may ask of this one; see [`Engine::command`](crate::Engine::command).
    type Command: Send + 'static;

    /// A session has opened; its OPEN packet is already queued.
    fn on_open(&self, session: SessionKey, handshake: Arc<Handshake>);

    /// A MESSAGE packet has arrived. The data is borrowed from the shard's read buffer.
    fn on_message(&self, session: SessionKey, message: Message<'_>);

    /// A session has ended, for any reason but this application's own
    /// [`Shard::close`](crate::Shard::close). The key is dead from here on.
    fn on_close(&self, session: SessionKey, reason: CloseReason);

    /// A command has arrived from another thread.
    fn on_command(&self, command: Self::Command);

    /// A timer set with [`Shard::set_timer`](crate::Shard::set_timer) has fired. Timers cannot be
    /// cancelled: a stale one is recognised by its number.
    fn on_timer(&self, timer: u64);

    /// The engine is shutting down; the shard closes whatever sessions are left after this call,
    /// without calling [`on_close`](Application::on_close) for them.
    fn on_shutdown(&self) {}
}

/// Names a session on its shard. Keys are never reused while the process lives in practice: a slot's
/// generation has 32 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionKey {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl SessionKey {
    /// The session's slot: small dense numbers, good as an index into the application's own table. A
    /// slot is reused as soon as its session has ended, which can be before
    /// [`on_close`](Application::on_close) tells so: compare the keys.
    pub fn slot(self) -> usize {
        self.slot as usize
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}v{}", self.slot, self.generation)
    }
}

/// The content of one MESSAGE packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
}

impl Message<'_> {
    /// The length of the content in bytes.
    pub fn len(&self) -> usize {
        match self {
            Message::Text(text) => text.len(),
            Message::Binary(data) => data.len(),
        }
    }

    /// Whether the content is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How a message is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendOptions {
    /// Drop the message instead of queueing it if the transport is not writable this instant
    /// (a polling session without a waiting GET, a WebSocket whose last write is not finished).
    pub volatile: bool,
    /// Whether the message may be compressed, where compression is enabled.
    pub compress: bool,
}

impl Default for SendOptions {
    fn default() -> Self {
        SendOptions { volatile: false, compress: true }
    }
}

/// What became of a message given to [`Shard::send`](crate::Shard::send).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It stands in the session's outbox.
    Queued,
    /// It was volatile and the transport was not writable.
    Dropped,
    /// There is no such session any more, or the message made it exceed its outbox limit, whereupon
    /// it is being closed as [`CloseReason::SlowConsumer`].
    Closed,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The connection broke, a poll was aborted, or the client broke the rules of a transport.
    TransportError,
    /// The client closed the connection or sent CLOSE.
    TransportClose,
    /// The server closed the session.
    ForcedClose,
    /// No heartbeat arrived in time.
    PingTimeout,
    /// A packet could not be parsed.
    ParseError,
    /// The client did not read fast enough and its outbox reached the limit, or it read nothing for too long.
    SlowConsumer,
}

impl CloseReason {
    /// All reasons, for tables of counters.
    pub const ALL: [CloseReason; 6] = [
        CloseReason::TransportError,
        CloseReason::TransportClose,
        CloseReason::ForcedClose,
        CloseReason::PingTimeout,
        CloseReason::ParseError,
        CloseReason::SlowConsumer,
    ];

    /// The official wording; `slow consumer` is ours, since the official server has no such limit.
    pub fn as_str(self) -> &'static str {
        match self {
            CloseReason::TransportError => "transport error",
            CloseReason::TransportClose => "transport close",
            CloseReason::ForcedClose => "forced close",
            CloseReason::PingTimeout => "ping timeout",
            CloseReason::ParseError => "parse error",
            CloseReason::SlowConsumer => "slow consumer",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The transport that carries a session at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// HTTP long-polling, JSONP included.
    Polling,
    /// WebSocket.
    WebSocket,
}

impl Transport {
    /// The name used in the `transport` query parameter.
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Polling => "polling",
            Transport::WebSocket => "websocket",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
