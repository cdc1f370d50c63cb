//! The four occasions on which user code is called, and what it can learn on each.

use std::sync::Arc;

use sedge_protocol::socketio::Args;

use crate::error::{ConnectError, HandlerErrorKind};
use crate::reason::DisconnectReason;
use crate::server::Server;
use crate::socket::Socket;

/// An occasion on which user code is called: one of the types of [`stage`](crate::stage). It
/// decides which extractors a handler can have and what it can return.
pub trait Stage: Sized + 'static {
    /// What is known on this occasion only.
    #[doc(hidden)]
    type Details<'a>;
    /// What a handler's return value says.
    #[doc(hidden)]
    type Outcome: 'static;
}

/// A CONNECT packet is being examined. The socket exists and is not connected yet.
#[derive(Debug)]
pub enum Middleware {}

/// A socket has connected.
#[derive(Debug)]
pub enum Connect {}

/// An event has arrived.
#[derive(Debug)]
pub enum Event {}

/// A socket has been disconnected.
#[derive(Debug)]
pub enum Disconnect {}

impl Stage for Middleware {
    type Details<'a> = ();
    type Outcome = Result<(), ConnectError>;
}

impl Stage for Connect {
    type Details<'a> = ();
    type Outcome = Result<(), HandlerErrorKind>;
}

impl Stage for Event {
    type Details<'a> = EventDetails<'a>;
    type Outcome = Result<(), HandlerErrorKind>;
}

impl Stage for Disconnect {
    type Details<'a> = DisconnectReason;
    type Outcome = Result<(), HandlerErrorKind>;
}

/// An event as it arrived.
#[doc(hidden)]
#[derive(Debug)]
pub struct EventDetails<'a> {
    pub(crate) name: &'a str,
    pub(crate) args: &'a Args<'a>,
    pub(crate) ack: Option<u64>,
}

/// What an extractor is made from: the socket, and what is known at this stage.
///
/// It borrows from the connection's read buffer, so extractors take out what they need at once.
#[derive(Debug)]
pub struct Context<'a, S: Stage> {
    pub(crate) socket: &'a Socket,
    pub(crate) details: S::Details<'a>,
}

impl<S: Stage> Context<'_, S> {
    /// The socket it is about.
    pub fn socket(&self) -> &Socket {
        self.socket
    }

    /// The server.
    pub fn server(&self) -> Server {
        self.socket.server()
    }

    /// The server's state of this type.
    pub fn state<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.socket.core().state()
    }
}

impl Context<'_, Event> {
    /// The event's name.
    pub fn event(&self) -> &str {
        self.details.name
    }

    /// The event's arguments.
    pub fn args(&self) -> &Args<'_> {
        self.details.args
    }

    /// Whether the client asked for an acknowledgement.
    pub fn wants_ack(&self) -> bool {
        self.details.ack.is_some()
    }
}

impl Context<'_, Disconnect> {
    /// Why the socket was disconnected.
    pub fn reason(&self) -> DisconnectReason {
        self.details
    }
}
