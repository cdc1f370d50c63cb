//! The occasions on which user code is called, and what it can learn on each.

use std::sync::Arc;

use sedge_protocol::socketio::Args;

use crate::error::{ConnectError, HandlerErrorKind};
use crate::extract::Ack;
use crate::hub::ServerSideAnswer;
use crate::namespace::Namespace;
use crate::reason::DisconnectReason;
use crate::server::Server;
use crate::socket::Socket;

/// An occasion on which user code is called: one of the types of [`stage`](crate::stage). It
/// decides which extractors a handler can have and what it can return.
pub trait Stage: Sized + 'static {
    /// What it is about.
    #[doc(hidden)]
    type Subject: Subject;
    /// What is known on this occasion only.
    #[doc(hidden)]
    type Details<'a>;
    /// What a handler's return value says.
    #[doc(hidden)]
    type Outcome: 'static;
}

/// An occasion that is about a socket: all but [`ServerSide`]. Extractors of your own that look at the
/// socket are for these.
pub trait SocketStage: Stage<Subject = Socket> {}

impl<S: Stage<Subject = Socket>> SocketStage for S {}

/// An occasion on which an event has arrived: from a client or from another process.
pub trait EventStage: Stage {
    #[doc(hidden)]
    fn incoming<'c>(context: &'c Context<'_, Self>) -> Incoming<'c>;
    #[doc(hidden)]
    fn ack(context: &Context<'_, Self>) -> Ack;
}

/// An event, wherever it has come from.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    pub(crate) name: &'a str,
    pub(crate) args: &'a Args<'a>,
    pub(crate) wants_ack: bool,
}

/// What an occasion is about: a socket, or a namespace as a whole.
#[doc(hidden)]
pub trait Subject: Clone + 'static {
    fn namespace(&self) -> &Namespace;
    fn socket(&self) -> Option<&Socket>;
}

impl Subject for Socket {
    fn namespace(&self) -> &Namespace {
        Socket::namespace(self)
    }

    fn socket(&self) -> Option<&Socket> {
        Some(self)
    }
}

impl Subject for Namespace {
    fn namespace(&self) -> &Namespace {
        self
    }

    fn socket(&self) -> Option<&Socket> {
        None
    }
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

/// Another process has sent an event to this one; see
/// [`on_server_side`](crate::Namespace::on_server_side). There is no socket.
#[derive(Debug)]
pub enum ServerSide {}

impl Stage for Middleware {
    type Subject = Socket;
    type Details<'a> = ();
    type Outcome = Result<(), ConnectError>;
}

impl Stage for Connect {
    type Subject = Socket;
    type Details<'a> = ();
    type Outcome = Result<(), HandlerErrorKind>;
}

impl Stage for Event {
    type Subject = Socket;
    type Details<'a> = EventDetails<'a>;
    type Outcome = Result<(), HandlerErrorKind>;
}

impl Stage for Disconnect {
    type Subject = Socket;
    type Details<'a> = DisconnectReason;
    type Outcome = Result<(), HandlerErrorKind>;
}

impl Stage for ServerSide {
    type Subject = Namespace;
    type Details<'a> = ServerSideDetails<'a>;
    type Outcome = Result<(), HandlerErrorKind>;
}

impl EventStage for Event {
    fn incoming<'c>(context: &'c Context<'_, Self>) -> Incoming<'c> {
        let EventDetails { name, args, ack } = context.details;
        Incoming { name, args, wants_ack: ack.is_some() }
    }

    fn ack(context: &Context<'_, Self>) -> Ack {
        Ack::to_client(context.subject, context.details.ack)
    }
}

impl EventStage for ServerSide {
    fn incoming<'c>(context: &'c Context<'_, Self>) -> Incoming<'c> {
        let ServerSideDetails { name, args, answer } = context.details;
        Incoming { name, args, wants_ack: answer.is_some() }
    }

    fn ack(context: &Context<'_, Self>) -> Ack {
        Ack::to_process(context.details.answer)
    }
}

/// An event as it arrived.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct EventDetails<'a> {
    pub(crate) name: &'a str,
    pub(crate) args: &'a Args<'a>,
    pub(crate) ack: Option<u64>,
}

/// An event as another process sent it.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct ServerSideDetails<'a> {
    pub(crate) name: &'a str,
    pub(crate) args: &'a Args<'a>,
    pub(crate) answer: Option<&'a Arc<ServerSideAnswer>>,
}

/// What an extractor is made from: what it is about, and what is known at this stage.
///
/// It borrows from the connection's read buffer, so extractors take out what they need at once.
#[derive(Debug)]
pub struct Context<'a, S: Stage> {
    pub(crate) subject: &'a S::Subject,
    pub(crate) details: S::Details<'a>,
}

impl<S: SocketStage> Context<'_, S> {
    /// The socket it is about.
    pub fn socket(&self) -> &Socket {
        self.subject
    }
}

impl<S: Stage> Context<'_, S> {
    /// The namespace.
    pub fn namespace(&self) -> &Namespace {
        self.subject.namespace()
    }

    /// The server.
    pub fn server(&self) -> Server {
        self.namespace().server()
    }

    /// The server's state of this type.
    pub fn state<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.namespace().core().state()
    }
}

impl<S: EventStage> Context<'_, S> {
    /// The event's name.
    pub fn event(&self) -> &str {
        S::incoming(self).name
    }

    /// The event's arguments.
    pub fn args(&self) -> &Args<'_> {
        S::incoming(self).args
    }

    /// Whether the client, or the other process, asked for an acknowledgement.
    pub fn wants_ack(&self) -> bool {
        S::incoming(self).wants_ack
    }
}

impl Context<'_, Disconnect> {
    /// Why the socket was disconnected.
    pub fn reason(&self) -> DisconnectReason {
        self.details
    }
}
