//! Broadcasting: to whom, how, and what.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use sedge_adapter::{IntoRooms, Operation, RequestId, Target};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{EmitError, IncompleteError};
use crate::gather::{Acks, BroadcastAck, Gather, Gathered};
use crate::limits::REQUEST_TIMEOUT;
use crate::namespace::Namespace;
use crate::remote::RemoteSocket;
use crate::shard::operations::{Reply, dispatch};

/// The methods of everything that stands for many sockets: it is given the operator to begin with.
macro_rules! broadcast_methods {
    (|$this:ident: &$Type:ty| $operator:expr) => {
        fn operator(&self) -> crate::operator::BroadcastOperator {
            let $this: &$Type = self;
            $operator
        }

        /// The members of these rooms: one name or a list of names. A socket's id is a room too.
        pub fn to(
            &self,
            rooms: impl sedge_adapter::IntoRooms,
        ) -> crate::operator::BroadcastOperator {
            self.operator().to(rooms)
        }

        /// The same as [`to`](Self::to).
        pub fn in_(
            &self,
            rooms: impl sedge_adapter::IntoRooms,
        ) -> crate::operator::BroadcastOperator {
            self.operator().to(rooms)
        }

        /// Everybody but the members of these rooms.
        pub fn except(
            &self,
            rooms: impl sedge_adapter::IntoRooms,
        ) -> crate::operator::BroadcastOperator {
            self.operator().except(rooms)
        }

        /// Only sockets of this node.
        pub fn local(&self) -> crate::operator::BroadcastOperator {
            self.operator().local()
        }

        /// What is emitted may be dropped for a socket whose transport cannot take it at once.
        pub fn volatile(&self) -> crate::operator::BroadcastOperator {
            self.operator().volatile()
        }

        /// Whether what is emitted may be compressed, where compression is enabled.
        pub fn compress(&self, compress: bool) -> crate::operator::BroadcastOperator {
            self.operator().compress(compress)
        }

        /// How long acknowledgements and answers are waited for.
        pub fn timeout(&self, after: std::time::Duration) -> crate::operator::BroadcastOperator {
            self.operator().timeout(after)
        }

        /// Sends an event to everybody; see [`BroadcastOperator::emit`](crate::BroadcastOperator::emit).
        pub fn emit<T: serde::Serialize + ?Sized>(
            &self,
            event: &str,
            args: &T,
        ) -> Result<(), crate::error::EmitError> {
            self.operator().emit(event, args)
        }

        /// Sends the event `message` to everybody.
        pub fn send<T: serde::Serialize + ?Sized>(
            &self,
            args: &T,
        ) -> Result<(), crate::error::EmitError> {
            self.operator().emit("message", args)
        }

        /// Sends an event to everybody and waits for the acknowledgements; see
        /// [`BroadcastOperator::emit_with_ack`](crate::BroadcastOperator::emit_with_ack).
        pub fn emit_with_ack<R: serde::de::DeserializeOwned>(
            &self,
            event: &str,
            args: &(impl serde::Serialize + ?Sized),
        ) -> crate::gather::BroadcastAck<R> {
            self.operator().emit_with_ack(event, args)
        }

        /// All sockets; see [`BroadcastOperator::fetch_sockets`](crate::BroadcastOperator::fetch_sockets).
        pub fn fetch_sockets(&self) -> crate::operator::FetchSockets {
            self.operator().fetch_sockets()
        }

        /// Makes all sockets join rooms.
        pub fn sockets_join(
            &self,
            rooms: impl sedge_adapter::IntoRooms,
        ) -> crate::operator::Applied {
            self.operator().sockets_join(rooms)
        }

        /// Makes all sockets leave rooms.
        pub fn sockets_leave(
            &self,
            rooms: impl sedge_adapter::IntoRooms,
        ) -> crate::operator::Applied {
            self.operator().sockets_leave(rooms)
        }

        /// Disconnects all sockets; with `close` their connections end too.
        pub fn disconnect_sockets(&self, close: bool) -> crate::operator::Applied {
            self.operator().disconnect_sockets(close)
        }
    };
}
pub(crate) use broadcast_methods;

/// Sockets of a namespace, and what is to be done with them: the union of the rooms named by
/// [`to`](Self::to), each socket once, without the members of those named by
/// [`except`](Self::except). Naming no room means everybody.
///
/// Each shard applies what is asked to its own sockets: the caller's at once, the others as soon as they
/// get to it. What one thread asks for happens in that order on every shard.
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
    namespace: Namespace,
    target: Target,
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

    /// Only sockets of this node are meant.
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

    /// Sends an event: a tuple is the list of arguments, `()` is no argument, and anything else is one
    /// argument. It is encoded once, however many sockets it goes to, and never waits.
    pub fn emit<T: Serialize + ?Sized>(self, event: &str, args: &T) -> Result<(), EmitError> {
        let packet = self.namespace.encode_shared(None, event, args)?;
        let operation = Operation::Broadcast { packet, target: self.target, ack: None };
        Ok(dispatch(&self.namespace, operation, Reply::None)?)
    }

    /// Sends an event and returns a future of everybody's acknowledgement, of whose arguments the
    /// first counts. It ends when all have come or no more can come, and after the
    /// [`timeout`](Self::timeout) at the latest; the error has those that came.
    ///
    /// The event is sent by the call itself.
    pub fn emit_with_ack<R: DeserializeOwned>(
        self,
        event: &str,
        args: &(impl Serialize + ?Sized),
    ) -> BroadcastAck<R> {
        let id = self.namespace.next_broadcast_ack();
        let packet = match self.namespace.encode_shared(Some(id), event, args) {
            Ok(packet) => packet,
            Err(error) => return BroadcastAck::failed(error),
        };
        let (acks, waiting) = Acks::new(self.shards(), self.wait());
        let ack = Some(RequestId(id));
        let operation = Operation::Broadcast { packet, target: self.target, ack };
        let sent = dispatch(&self.namespace, operation, Reply::Acks(acks));
        waiting.with_error(sent.err().map(EmitError::from))
    }

    /// The sockets that are meant, wherever they are.
    pub fn fetch_sockets(self) -> FetchSockets {
        let (gather, answers) = Gather::new(self.shards(), self.wait());
        let operation = Operation::Fetch { target: self.target, request: RequestId(0) };
        // A shard that cannot be asked is missing in the answers.
        let _ = dispatch(&self.namespace, operation, Reply::Sockets(gather));
        FetchSockets { namespace: self.namespace, answers }
    }

    /// Makes the sockets join rooms. The call itself sets it going; awaiting it tells when it is done.
    /// A socket at the limit of its rooms does not join, which is logged.
    pub fn sockets_join(self, rooms: impl IntoRooms) -> Applied {
        let rooms = rooms.into_rooms();
        self.apply(|target| Operation::Join { target, rooms, request: None })
    }

    /// Makes the sockets leave rooms. The call itself sets it going; awaiting it tells when it is done.
    pub fn sockets_leave(self, rooms: impl IntoRooms) -> Applied {
        let rooms = rooms.into_rooms();
        self.apply(|target| Operation::Leave { target, rooms, request: None })
    }

    /// Disconnects the sockets from the namespace; with `close` their connections end too. The call
    /// itself sets it going; awaiting it tells when it is done.
    pub fn disconnect_sockets(self, close: bool) -> Applied {
        self.apply(|target| Operation::Disconnect { target, close, request: None })
    }

    fn apply(
        self,
        operation: impl FnOnce(Target) -> crate::shard::operations::LocalOperation,
    ) -> Applied {
        let (gather, answers) = Gather::new(self.shards(), self.wait());
        // A shard that cannot be reached is missing in the answers.
        let _ = dispatch(&self.namespace, operation(self.target), Reply::Applied(gather));
        Applied { answers }
    }

    fn shards(&self) -> usize {
        self.namespace.core().shard_count()
    }

    fn wait(&self) -> Duration {
        self.target.flags.timeout.unwrap_or(REQUEST_TIMEOUT)
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

/// A future of the sockets that an operator means. If a shard does not answer in time, the error
/// has the sockets of the others.
#[must_use = "the sockets are in the future's result"]
pub struct FetchSockets {
    namespace: Namespace,
    answers: Gathered<Vec<crate::shard::operations::SocketData>>,
}

impl Future for FetchSockets {
    type Output = Result<Vec<RemoteSocket>, IncompleteError<Vec<RemoteSocket>>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let answers = ready!(Pin::new(&mut this.answers).poll(cx));
        let sockets = |lists: Vec<Vec<_>>| {
            let all = lists.into_iter().flatten();
            all.map(|data| RemoteSocket::new(this.namespace.clone(), data)).collect()
        };
        Poll::Ready(match answers {
            Ok(lists) => Ok(sockets(lists)),
            Err(error) => {
                Err(IncompleteError { partial: sockets(error.partial), missing: error.missing })
            }
        })
    }
}

/// A future that is ready when every shard has done what was asked. It is done anyway, whether or
/// not this is awaited.
pub struct Applied {
    answers: Gathered<()>,
}

impl Future for Applied {
    type Output = Result<(), IncompleteError<()>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answers = ready!(Pin::new(&mut self.get_mut().answers).poll(cx));
        let incomplete = |missing| IncompleteError { partial: (), missing };
        Poll::Ready(answers.map(|_| ()).map_err(|error| incomplete(error.missing)))
    }
}

impl fmt::Debug for FetchSockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchSockets").finish_non_exhaustive()
    }
}

impl fmt::Debug for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Applied").finish_non_exhaustive()
    }
}
