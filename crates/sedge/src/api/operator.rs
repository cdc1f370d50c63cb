//! Broadcasting: to whom, how, and what.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use sedge_adapter::wire::{self, WirePacket};
use sedge_adapter::{IntoRooms, Operation, Request, RequestId, Target};
use sedge_engine::Message;
use sedge_protocol::socketio::{Args, MessageRef, Parser, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::broadcast_ack::BroadcastAck;
use super::gathered::Gathered;
use crate::core::Namespace;
use crate::error::{EmitError, IncompleteError, Overloaded};
use crate::gather::inquiry::Book;
use crate::gather::responders::Responder;
use crate::hub::requests::Asker;
use crate::hub::{Beyond, Hub};
use crate::limits::REQUEST_TIMEOUT;
use crate::shard::dispatch::{AckSink, LocalOperation, LocalPacket, Reply};
use crate::shard::operations::dispatch;
use crate::shard::packets::messages;

/// Sockets of a namespace, and what is to be done with them: the union of the rooms named by
/// [`to`](Self::to), each socket once, without the members of those named by
/// [`except`](Self::except). Naming no room means everybody.
///
/// Each shard applies what is asked to its own sockets: the caller's at once, the others as soon as they
/// get to it. What one thread asks for happens in that order on every shard. With a
/// [bus](crate::ServerBuilder::bus) the same goes for the shards of other processes.
///
/// ```
/// # use std::time::Duration;
/// # async fn f(io: sedge::Server, socket: sedge::Socket) -> Result<(), Box<dyn std::error::Error>> {
/// io.to("news").emit("headline", "It rains")?;
/// io.to(["news", "weather"]).except(socket.id()).volatile().emit("tick", &(1, 2))?;
/// let answers: Vec<u32> = io.to("news").timeout(Duration::from_secs(2)).emit_with_ack("vote", &()).await?;
/// io.to("news").disconnect_sockets(false).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "nothing happens before emit or another operation"]
pub struct BroadcastOperator {
    pub(super) namespace: Namespace,
    pub(super) target: Target,
}

impl BroadcastOperator {
    pub(crate) fn new(namespace: Namespace, target: Target) -> Self {
        BroadcastOperator { namespace, target }
    }

    /// Adds rooms whose members are meant: one name or a list of names. A socket's id is a room too.
    pub fn to(mut self, rooms: impl IntoRooms) -> Self {
        rooms.append_to(&mut self.target.rooms);
        self
    }

    /// The same as [`to`](Self::to).
    pub fn in_(self, rooms: impl IntoRooms) -> Self {
        self.to(rooms)
    }

    /// Adds rooms whose members are left out, even if they are in a room that is meant.
    pub fn except(mut self, rooms: impl IntoRooms) -> Self {
        rooms.append_to(&mut self.target.except);
        self
    }

    /// Only sockets of this process are meant.
    pub fn local(mut self) -> Self {
        self.target.flags.local = true;
        self
    }

    /// What is emitted may be dropped for a socket whose transport cannot take it at once.
    pub fn volatile(mut self) -> Self {
        self.target.flags.volatile = true;
        self
    }

    /// Whether what is emitted may be compressed, where compression is enabled.
    pub fn compress(mut self, compress: bool) -> Self {
        self.target.flags.compress = Some(compress);
        self
    }

    /// How long acknowledgements and answers are waited for:
    /// [`REQUEST_TIMEOUT`] unless this says otherwise.
    pub fn timeout(mut self, after: Duration) -> Self {
        self.target.flags.timeout = Some(after);
        self
    }

    /// Sends an event, the arguments as in [`Socket::emit`](crate::Socket::emit): a tuple or an array is the
    /// list, anything else is one. It is encoded once, however many sockets it goes to, and never waits.
    ///
    /// # What is promised
    ///
    /// `Ok` says that every shard of this process has the event, and so have the queues to the other processes
    /// that have such sockets. Events of one thread arrive in their order, each at most once, and nothing is
    /// sent a second time: who is not connected does not get it. What may be lost on the way, and how one learns
    /// of it:
    ///
    /// | what happens | who misses the event | it is seen as |
    /// |---|---|---|
    /// | a client's connection ends, or it does not read | that client | its `on_disconnect`, with the reason |
    /// | a shard's command queue is full | that shard's sockets | [`EmitError::Overloaded`]; in another process [`overflows`](crate::BusMetrics::overflows) |
    /// | another process does not read | its sockets | [`refused`](crate::BusMetrics::refused), and a line in the log |
    /// | the event is longer than the bus takes | the sockets of all other processes | [`EmitError::TooLong`], [`too_long`](crate::BusMetrics::too_long) |
    /// | another process ends or is cut off while the event is on its way | its sockets | [`lost`](crate::BusMetrics::lost) |
    ///
    /// Where that is too little, ask for [acknowledgements](Self::emit_with_ack): they say who has not answered,
    /// and why.
    pub fn emit<T: Serialize + ?Sized>(self, event: &str, args: &T) -> Result<(), EmitError> {
        let crossing = self.crossing();
        let BroadcastOperator { namespace, target } = self;
        let (operation, beyond) = crossing.broadcast(&namespace, target, None, event, args)?;
        dispatch(&namespace, operation, Reply::None, beyond)
    }

    /// Sends an event and returns a future of everybody's acknowledgement, of whose arguments the
    /// first counts. It ends when all have come or no more can come, and after the
    /// [`timeout`](Self::timeout) at the latest; the error has those that came.
    ///
    /// The event is sent by the call itself.
    pub fn emit_with_ack<R: DeserializeOwned>(
        mut self,
        event: &str,
        args: &(impl Serialize + ?Sized),
    ) -> BroadcastAck<R> {
        // Other processes keep their part of it for no longer.
        self.target.flags.timeout = Some(self.wait());
        let (acks, mut waiting) = Gathered::begin(self.wait());
        let crossing = self.enter(Asker::Acks(Arc::clone(&acks)), &mut waiting);
        let BroadcastOperator { namespace, target } = self;
        let id = Some(namespace.next_broadcast_ack());
        let (operation, beyond) = match crossing.broadcast(&namespace, target, id, event, args) {
            Ok(encoded) => encoded,
            Err(error) => return BroadcastAck::failed(error),
        };
        let reply = Reply::Acks(AckSink::Here(acks));
        let sent = dispatch(&namespace, operation, reply, beyond);
        BroadcastAck::new(waiting).with_error(sent.err())
    }

    /// Makes the sockets join rooms. The call itself sets it going; awaiting it tells when it is done.
    /// A socket at the limit of its rooms does not join, which is logged.
    ///
    /// Await it before something is sent to these rooms, if sockets of other processes are meant:
    /// until they have joined, those processes are not sent what concerns the room.
    pub fn sockets_join(self, rooms: impl IntoRooms) -> Applied {
        let rooms = rooms.into_rooms();
        self.apply(|target, request| Operation::Join { target, rooms, request })
    }

    /// Makes the sockets leave rooms. The call itself sets it going; awaiting it tells when it is done.
    pub fn sockets_leave(self, rooms: impl IntoRooms) -> Applied {
        let rooms = rooms.into_rooms();
        self.apply(|target, request| Operation::Leave { target, rooms, request })
    }

    /// Disconnects the sockets from the namespace; with `close` their connections end too. The call
    /// itself sets it going; awaiting it tells when it is done.
    pub fn disconnect_sockets(self, close: bool) -> Applied {
        self.apply(|target, request| Operation::Disconnect { target, close, request })
    }

    fn apply(
        self,
        operation: impl FnOnce(Target, Option<RequestId>) -> Operation<Infallible, Value>,
    ) -> Applied {
        let (gather, mut answers) = Gathered::begin(self.wait());
        let crossing = self.enter(Asker::Applied(Arc::clone(&gather)), &mut answers);
        let BroadcastOperator { namespace, target } = self;
        let operation = operation(target, crossing.request());
        let (operation, beyond) = crossing.encode(&namespace, operation);
        // A shard that cannot be reached is missing in the answers.
        let _ = dispatch(&namespace, operation, Reply::Applied(gather), beyond);
        Applied { answers }
    }

    /// Whether it goes to other processes, for what is not answered.
    fn crossing(&self) -> Crossing {
        match self.hub() {
            Some(_) => Crossing::Yes(None),
            None => Crossing::No,
        }
    }

    /// Whether it goes to other processes, for what is answered: whoever waits is entered.
    pub(super) fn enter<B: Book>(&self, asker: Asker, waiting: &mut Gathered<B>) -> Crossing {
        let Some(hub) = self.hub() else { return Crossing::No };
        match hub.enter(asker) {
            Ok(ticket) => {
                let id = ticket.id();
                waiting.with_ticket(Some(ticket));
                Crossing::Yes(Some(id))
            }
            Err(Overloaded) => Crossing::Full,
        }
    }

    fn hub(&self) -> Option<&Arc<Hub>> {
        self.namespace.core().hub.as_ref().filter(|_| !self.target.flags.local)
    }

    pub(super) fn wait(&self) -> Duration {
        self.target.flags.timeout.unwrap_or(REQUEST_TIMEOUT)
    }
}

/// Whether an operation goes to other processes.
pub(super) enum Crossing {
    /// There are none, or it is for this process only.
    No,
    /// It should, but too many requests wait.
    Full,
    /// With this id, if it is answered.
    Yes(Option<RequestId>),
}

impl Crossing {
    pub(super) fn request(&self) -> Option<RequestId> {
        match self {
            Crossing::Yes(request) => *request,
            Crossing::No | Crossing::Full => None,
        }
    }

    /// Encodes a broadcast, for the sockets of this process and for other processes.
    fn broadcast<T: Serialize + ?Sized>(
        self,
        namespace: &Namespace,
        target: Target,
        id: Option<u32>,
        event: &str,
        args: &T,
    ) -> Result<(LocalOperation, Beyond), EmitError> {
        let ack = self.request();
        let values = match (&self, id, &namespace.core().options.parser) {
            // Nobody but the user's parser can put another id into what it has encoded.
            (Crossing::Yes(_), Some(_), Parser::Custom(_)) => {
                Some(Args::from_serialize(args)?.to_values().unwrap_or_default())
            }
            _ => None,
        };
        let (shared, (operation, beyond)) = namespace.encode_shared(id, event, args, |buffer| {
            let packet = match (self, values) {
                (Crossing::Yes(_), Some(args)) => WirePacket::Event { name: event, args },
                (Crossing::Yes(_), None) => {
                    let messages = messages(buffer).map(wire_message).collect();
                    WirePacket::Messages { messages, id }
                }
                (Crossing::No, _) => return (broadcast((), target, ack), Beyond::No),
                (Crossing::Full, _) => return (broadcast((), target, ack), Beyond::Full),
            };
            let operation = broadcast(packet, target, ack);
            let message = wire::encode_operation(namespace.name(), &operation);
            (operation.map_packet(|_| ()), Beyond::Message(message))
        })?;
        let packet = LocalPacket { shared, id: id.unwrap_or_default() };
        Ok((operation.map_packet(|()| packet), beyond))
    }

    /// An operation without a packet, for this process and for others.
    pub(super) fn encode(
        self,
        namespace: &Namespace,
        operation: Operation<Infallible, Value>,
    ) -> (LocalOperation, Beyond) {
        let beyond = match self {
            Crossing::No => Beyond::No,
            Crossing::Full => Beyond::Full,
            Crossing::Yes(_) => {
                Beyond::Message(wire::encode_operation(namespace.name(), &operation))
            }
        };
        (operation.map_packet(|never| match never {}), beyond)
    }
}

fn broadcast<P>(packet: P, target: Target, ack: Option<RequestId>) -> Operation<P, Value> {
    Operation::Broadcast { packet, target, ack }
}

fn wire_message(message: Message<'_>) -> MessageRef<'_> {
    match message {
        Message::Text(text) => MessageRef::Text(text),
        Message::Binary(data) => MessageRef::Binary(data),
    }
}

impl fmt::Debug for BroadcastOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BroadcastOperator")
            .field("namespace", &self.namespace.name())
            .field("target", &self.target)
            .finish()
    }
}

/// A future that is ready when every shard has done what was asked, those of other processes too. It is
/// done anyway, whether or not this is awaited.
pub struct Applied {
    answers: Gathered<Request<Responder, ()>>,
}

impl Future for Applied {
    type Output = Result<(), IncompleteError<()>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answers = ready!(self.get_mut().answers.poll_answers(cx));
        let incomplete = |missing| IncompleteError { partial: (), missing };
        Poll::Ready(answers.map(|_| ()).map_err(|error| incomplete(error.missing)))
    }
}

impl fmt::Debug for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Applied").finish_non_exhaustive()
    }
}
