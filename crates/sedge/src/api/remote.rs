//! Sockets as every process can see them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use sedge_adapter::{Flags, IntoRooms, MissingReason, Operation, Request, RequestId, Room, Target};
use sedge_protocol::socketio::{ArgsError, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::broadcast_ack::BroadcastAck;
use super::gathered::Gathered;
use super::operator::{Applied, BroadcastOperator};
use crate::core::Namespace;
use crate::error::{AckError, EmitError, IncompleteError};
use crate::gather::responders::{MissingResponder, Responder};
use crate::hub::requests::{Asker, SocketData};
use crate::shard::dispatch::Reply;
use crate::shard::operations::dispatch;

impl BroadcastOperator {
    /// The sockets that are meant, wherever they are. There may be any number: they are described in parts, each
    /// as of the moment when it is its turn, and other processes send theirs as fast as the bus takes them. For
    /// very many, allow more [time](Self::timeout).
    pub fn fetch_sockets(self) -> FetchSockets {
        let (gather, mut answers) = Gathered::begin(self.wait());
        let crossing = self.enter(Asker::Sockets(Arc::clone(&gather)), &mut answers);
        let BroadcastOperator { namespace, target } = self;
        let request = crossing.request().unwrap_or(RequestId(0));
        let operation = Operation::Fetch { target, request };
        let (operation, beyond) = crossing.encode(&namespace, operation);
        // A shard that cannot be asked is missing in the answers.
        let _ = dispatch(&namespace, operation, Reply::Sockets(gather), beyond);
        FetchSockets { namespace, answers }
    }
}

/// A future of the sockets that an operator means. If a shard or another process does not answer in
/// time, the error has the sockets of the others.
#[must_use = "the sockets are in the future's result"]
pub struct FetchSockets {
    namespace: Namespace,
    answers: Gathered<Request<Responder, Vec<SocketData>>>,
}

impl Future for FetchSockets {
    type Output = Result<Vec<RemoteSocket>, IncompleteError<Vec<RemoteSocket>>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let answers = ready!(this.answers.poll_answers(cx));
        let sockets = |lists: Vec<Vec<_>>| {
            let all = lists.into_iter().flatten();
            all.map(|data| RemoteSocket::new(this.namespace.clone(), data)).collect()
        };
        Poll::Ready(match answers {
            Ok(lists) => Ok(sockets(lists)),
            Err(IncompleteError { partial, missing }) => {
                Err(IncompleteError { partial: sockets(partial), missing })
            }
        })
    }
}

/// A socket found by [`fetch_sockets`](Namespace::fetch_sockets): a description as of that moment, and
/// the means to act on the socket wherever it lives.
#[derive(Clone)]
pub struct RemoteSocket {
    namespace: Namespace,
    data: Arc<SocketData>,
    flags: Flags,
}

impl RemoteSocket {
    pub(crate) fn new(namespace: Namespace, data: SocketData) -> Self {
        RemoteSocket { namespace, data: Arc::new(data), flags: Flags::default() }
    }

    /// The socket's id.
    pub fn id(&self) -> &str {
        &self.data.id
    }

    /// The details of its handshake, in the official server's form: an object with `headers`, `time`,
    /// `address`, `xdomain`, `secure`, `issued`, `url`, `query` and `auth`.
    pub fn handshake(&self) -> &Value {
        &self.data.handshake
    }

    /// The rooms it is in, its own id among them.
    pub fn rooms(&self) -> &[Room] {
        &self.data.rooms
    }

    /// Whether it is in a room.
    pub fn is_in(&self, room: &str) -> bool {
        self.data.rooms.iter().any(|known| &**known == room)
    }

    /// The data that [`Socket::set_data`](crate::Socket::set_data) attached, as `T`.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, ArgsError> {
        self.data.data.decode()
    }

    /// An operator that means this socket, for everything that follows from there.
    pub fn operator(&self) -> BroadcastOperator {
        let target = Target { flags: self.flags, ..Target::rooms(Room::clone(&self.data.id)) };
        BroadcastOperator::new(self.namespace.clone(), target)
    }

    /// The same socket, and how long its acknowledgement and other answers are waited for:
    /// [`REQUEST_TIMEOUT`](crate::limits::REQUEST_TIMEOUT) unless this says otherwise.
    pub fn timeout(&self, after: Duration) -> RemoteSocket {
        let flags = Flags { timeout: Some(after), ..self.flags };
        RemoteSocket { flags, ..self.clone() }
    }

    /// Sends an event to the socket.
    pub fn emit<T: Serialize + ?Sized>(&self, event: &str, args: &T) -> Result<(), EmitError> {
        self.operator().emit(event, args)
    }

    /// Sends an event to the socket and returns a future of its acknowledgement, of whose arguments the
    /// first counts. The event is sent by the call itself.
    pub fn emit_with_ack<R: DeserializeOwned>(
        &self,
        event: &str,
        args: &(impl Serialize + ?Sized),
    ) -> RemoteAck<R> {
        RemoteAck(self.operator().emit_with_ack(event, args))
    }

    /// Makes it join rooms.
    pub fn join(&self, rooms: impl IntoRooms) -> Applied {
        self.operator().sockets_join(rooms)
    }

    /// Makes it leave rooms.
    pub fn leave(&self, rooms: impl IntoRooms) -> Applied {
        self.operator().sockets_leave(rooms)
    }

    /// Disconnects it from the namespace; with `close` its connection ends too.
    pub fn disconnect(&self, close: bool) -> Applied {
        self.operator().disconnect_sockets(close)
    }
}

/// A future of the acknowledgement of a [`RemoteSocket`], as `R`. It ends when the acknowledgement is
/// there or can come no more, and after the [`timeout`](RemoteSocket::timeout) at the latest.
///
/// It needs a tokio runtime with its timer enabled.
#[derive(Debug)]
#[must_use = "to send without waiting for the acknowledgement there is `emit`"]
pub struct RemoteAck<R>(BroadcastAck<R>);

impl<R: DeserializeOwned> Future for RemoteAck<R> {
    type Output = Result<R, AckError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let raw = ready!(self.get_mut().0.poll_raw(cx));
        if let Some(ack) = raw.acks.first() {
            return Poll::Ready(Ok(ack.get(0)?));
        }
        // Processes that do not have the socket may be missing too; those that left had it, or not.
        let silent = |missing: &MissingResponder| missing.reason != MissingReason::Left;
        let timeout = raw.missing > raw.lost || raw.missing_responders.iter().any(silent);
        Poll::Ready(Err(match raw.emit {
            Some(error) => AckError::Emit(error),
            None if timeout => AckError::Timeout,
            None => AckError::Disconnected,
        }))
    }
}

impl fmt::Debug for RemoteSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteSocket")
            .field("id", &self.id())
            .field("namespace", &self.namespace.name())
            .field("rooms", &self.rooms())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for FetchSockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchSockets").finish_non_exhaustive()
    }
}
