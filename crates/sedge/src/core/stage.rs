//! The occasions on which user code is called, what it can learn on each, and handlers as they are registered
//! for them.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use sedge_protocol::socketio::Args;

use super::Namespace;
use super::socket::Socket;
use crate::error::{ConnectError, ExtractError, Failure};
use crate::hub::answers::ServerSideAnswer;
use crate::reason::DisconnectReason;

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
}

/// An event, wherever it has come from.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    pub(crate) name: &'a str,
    pub(crate) args: &'a Args<'a>,
    pub(crate) answer_to: AnswerTo<'a>,
}

/// Who wants an event to be answered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AnswerTo<'a> {
    Nobody,
    Client(&'a Socket, u64),
    Process(&'a Arc<ServerSideAnswer>),
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
    type Outcome = Result<(), Failure>;
}

impl Stage for Event {
    type Subject = Socket;
    type Details<'a> = EventDetails<'a>;
    type Outcome = Result<(), Failure>;
}

impl Stage for Disconnect {
    type Subject = Socket;
    type Details<'a> = DisconnectReason;
    type Outcome = Result<(), Failure>;
}

impl Stage for ServerSide {
    type Subject = Namespace;
    type Details<'a> = ServerSideDetails<'a>;
    type Outcome = Result<(), Failure>;
}

impl EventStage for Event {
    fn incoming<'c>(context: &'c Context<'_, Self>) -> Incoming<'c> {
        let EventDetails { name, args, ack } = context.details;
        let client = |id| AnswerTo::Client(context.subject, id);
        Incoming { name, args, answer_to: ack.map_or(AnswerTo::Nobody, client) }
    }
}

impl EventStage for ServerSide {
    fn incoming<'c>(context: &'c Context<'_, Self>) -> Incoming<'c> {
        let ServerSideDetails { name, args, answer } = context.details;
        Incoming { name, args, answer_to: answer.map_or(AnswerTo::Nobody, AnswerTo::Process) }
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
        !matches!(S::incoming(self).answer_to, AnswerTo::Nobody)
    }
}

impl Context<'_, Disconnect> {
    /// Why the socket was disconnected.
    pub fn reason(&self) -> DisconnectReason {
        self.details
    }
}

/// A handler's work. It stays on the thread of the socket's shard, so it need not be `Send`.
pub(crate) type HandlerFuture<S> = Pin<Box<dyn Future<Output = <S as Stage>::Outcome>>>;

/// A registered handler, as threads share it.
pub(crate) trait Listener<S: Stage>: Send + Sync {
    /// A reference for one thread.
    fn localise(&self) -> Rc<dyn LocalListener<S>>;
}

/// A registered handler, as one shard calls it.
pub(crate) trait LocalListener<S: Stage> {
    /// Makes the arguments and the future of one call.
    fn call(&self, context: &Context<'_, S>) -> Result<HandlerFuture<S>, ExtractError>;
}

/// One handler with what it is for.
#[derive(Clone)]
pub(crate) enum Registration {
    Middleware(Arc<dyn Listener<Middleware>>),
    Connect(Arc<dyn Listener<Connect>>),
    Event(Box<str>, Arc<dyn Listener<Event>>),
    AnyEvent(Arc<dyn Listener<Event>>),
    Fallback(Arc<dyn Listener<Event>>),
    Disconnect(Arc<dyn Listener<Disconnect>>),
    ServerSide(Box<str>, Arc<dyn Listener<ServerSide>>),
}
