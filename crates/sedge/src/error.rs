//! What can go wrong, one enum per thing a caller does.
//!
//! None of these close a connection: a peer's faults do that, and are told to `on_disconnect`
//! handlers as a [`DisconnectReason`](crate::DisconnectReason).

mod handler;

use std::fmt;

pub(crate) use handler::{Blame, Failure, Fault};
pub use handler::{HandlerError, HandlerErrorKind};
use sedge_adapter::JoinError;
use sedge_protocol::socketio::{ArgsError, EncodeError, Value};
use serde::Serialize;

use crate::gather::responders::{MissingResponder, write_list};

/// Why a server could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// An option has a value that makes no sense; the message names it.
    #[error(transparent)]
    Config(#[from] sedge_engine::ConfigError),
    /// The threads of the shards could not be started.
    #[error(transparent)]
    Start(#[from] sedge_engine::StartError),
}

/// Why there is no such namespace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NamespaceError {
    /// The name is longer than [`NAMESPACE_LEN_MAX`](crate::limits::NAMESPACE_LEN_MAX).
    #[error("the namespace name has {0} bytes, the limit is {max}", max = crate::limits::NAMESPACE_LEN_MAX)]
    NameTooLong(usize),
    /// The name contains a character that ends a name in a packet.
    #[error("a namespace name cannot contain {0:?}")]
    InvalidCharacter(char),
    /// There are [`NAMESPACES_MAX`](crate::limits::NAMESPACES_MAX) already.
    #[error("the server has {max} namespaces already, which is the limit", max = crate::limits::NAMESPACES_MAX)]
    TooMany,
}

/// Why an event was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EmitError {
    /// The socket is not connected: not yet (in a middleware) or not any more.
    #[error("the socket is not connected")]
    NotConnected,
    /// The event name is reserved, or the arguments cannot be serialized.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The socket owes [`PENDING_ACKS_MAX`](crate::limits::PENDING_ACKS_MAX) acknowledgements.
    #[error("the socket owes too many acknowledgements")]
    TooManyPendingAcks,
    /// The command queue of a shard is full, or the server has ended. A broadcast has reached the
    /// sockets of the other shards.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// The event takes as many bytes on the bus, which are more than it takes. A broadcast has reached the
    /// sockets of this process, and no others.
    #[error("the event is too long for the bus: {0} bytes")]
    TooLong(usize),
}

/// Why a socket did not join a room.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinRoomError {
    /// The socket is not connected any more.
    #[error("the socket is not connected")]
    NotConnected,
    /// A limit does not let it; rooms named before the one at fault have been joined.
    #[error(transparent)]
    Limit(#[from] JoinError),
    /// The shard's command queue is full.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
}

/// A shard has more commands waiting than it may, or has ended with the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the command queue of a shard is full, or the server has ended")]
pub struct Overloaded;

/// Why an acknowledgement did not arrive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AckError {
    /// The event could not be sent in the first place.
    #[error(transparent)]
    Emit(#[from] EmitError),
    /// The client did not acknowledge in time.
    #[error("the client did not acknowledge in time")]
    Timeout,
    /// The socket was disconnected before it acknowledged.
    #[error("the socket was disconnected before it acknowledged")]
    Disconnected,
    /// The client acknowledged with other arguments than were asked for.
    #[error("the acknowledgement cannot be read: {0}")]
    Decode(#[from] ArgsError),
}

/// A broadcast was not acknowledged by all who were asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BroadcastAckError<T> {
    /// The acknowledgements that came.
    pub responses: Vec<T>,
    /// How many sockets did not acknowledge, as far as they were counted: they had no time left, or
    /// were disconnected.
    pub missing: usize,
    /// The shards and processes of whose sockets nothing is known, or not all.
    pub missing_responders: Vec<MissingResponder>,
    /// How many acknowledgements had other arguments than were asked for.
    pub unreadable: usize,
    /// Why nothing was sent to some of the sockets, or to any.
    pub emit: Option<EmitError>,
}

impl<T> fmt::Display for BroadcastAckError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(emit) = &self.emit {
            return write!(f, "the broadcast was not sent to all: {emit}");
        }
        let (came, missing) = (self.responses.len(), self.missing);
        write!(f, "{missing} sockets did not acknowledge in time, {came} did")?;
        if self.unreadable > 0 {
            write!(f, ", {} of the acknowledgements cannot be read", self.unreadable)?;
        }
        if !self.missing_responders.is_empty() {
            f.write_str("; nothing is known of those of ")?;
            write_list(f, &self.missing_responders)?;
        }
        Ok(())
    }
}

impl<T: fmt::Debug> std::error::Error for BroadcastAckError<T> {}

/// Some shards or processes did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncompleteError<T> {
    /// What the others answered.
    pub partial: T,
    /// Who did not answer, and why; never empty.
    pub missing: Vec<MissingResponder>,
}

impl<T> fmt::Display for IncompleteError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("without an answer of ")?;
        write_list(f, &self.missing)
    }
}

impl<T: fmt::Debug> std::error::Error for IncompleteError<T> {}

/// A server-side emit was not answered by all other processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSideEmitError<T> {
    /// The answers that came.
    pub responses: Vec<T>,
    /// Who did not answer, and why. A process without a listener for the event is among them, with
    /// the reason [`NoListener`](crate::MissingReason::NoListener).
    pub missing: Vec<MissingResponder>,
    /// Why nothing was sent to anybody.
    pub emit: Option<EmitError>,
}

impl<T> fmt::Display for ServerSideEmitError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(emit) = &self.emit {
            return write!(f, "the event was not sent: {emit}");
        }
        f.write_str("without an answer of ")?;
        write_list(f, &self.missing)
    }
}

impl<T: fmt::Debug> std::error::Error for ServerSideEmitError<T> {}

/// A middleware's refusal, which the client receives as its `connect_error`.
///
/// ```
/// # use sedge::ConnectError;
/// let error = ConnectError::new("not authorized").data(&("retry after", 30));
/// assert_eq!(error.message(), "not authorized");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectError {
    message: String,
    data: Option<Box<Value>>,
}

impl ConnectError {
    /// A refusal with a message, `err.message` on the client.
    pub fn new(message: impl Into<String>) -> Self {
        ConnectError { message: message.into(), data: None }
    }

    /// Adds details, `err.data` on the client. Details that cannot be serialized are left out, and
    /// the log says so.
    pub fn data<T: Serialize + ?Sized>(mut self, data: &T) -> Self {
        match Value::from_serialize(data) {
            Ok(value) => self.data = Some(Box::new(value)),
            Err(error) => {
                sedge_log::error_rarely!(%error, "the details of a connect error cannot be serialized");
            }
        }
        self
    }

    /// The message.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The details, if there are any.
    pub fn details(&self) -> Option<&Value> {
        self.data.as_deref()
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConnectError {}

impl From<&str> for ConnectError {
    fn from(message: &str) -> Self {
        ConnectError::new(message)
    }
}

impl From<String> for ConnectError {
    fn from(message: String) -> Self {
        ConnectError::new(message)
    }
}

/// Why an extractor could not be made, so that the handler was not called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExtractError {
    /// The client's arguments or auth payload are not of the type that was asked for.
    #[error("{0}")]
    Decode(#[from] ArgsError),
    /// The server was built without this state; see [`ServerBuilder::state`](crate::ServerBuilder::state).
    #[error("the server has no state of the type {0}")]
    MissingState(&'static str),
    /// The socket has no extension of this type; see [`Socket::extensions`](crate::Socket::extensions).
    #[error("the socket has no extension of the type {0}")]
    MissingExtension(&'static str),
    /// Another reason, for extractors of your own.
    #[error("{0}")]
    Other(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connect_error_keeps_message_and_details() {
        let error = ConnectError::new("no").data(&[1, 2]);
        assert_eq!(error.to_string(), "no");
        assert_eq!(error.details().and_then(|data| data[1].as_u64()), Some(2));
        assert_eq!(ConnectError::from("no").details(), None);
    }

    #[test]
    fn a_broadcast_error_says_what_is_missing() {
        let mut error = BroadcastAckError {
            responses: vec![1, 2],
            missing: 3,
            missing_responders: vec![],
            unreadable: 0,
            emit: None,
        };
        assert_eq!(error.to_string(), "3 sockets did not acknowledge in time, 2 did");
        error.unreadable = 1;
        assert!(error.to_string().ends_with("1 of the acknowledgements cannot be read"));
        let reason = sedge_adapter::MissingReason::Left;
        error.missing_responders.push(MissingResponder { name: "worker 2".into(), reason });
        assert!(error.to_string().ends_with("those of worker 2 (it has left)"), "{error}");
    }
}
