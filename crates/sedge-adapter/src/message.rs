//! The closed set of operations on the sockets of a namespace, and the answers to them.
//!
//! These are plain values; [`wire`](crate::wire) has the form in which they cross to other processes.
//! The caller hands the same value to every shard of its process and, unless
//! [`Flags::local`](crate::Flags::local) is set, to the other processes. They cover message types 3 to
//! 12 of the official cluster protocol; types 1, 2 and 13 (heartbeats and departure) belong to
//! membership. The namespace stands beside the operation.
//!
//! Two types are left to the user of the crate. `P` is the packet of a broadcast, encoded lazily
//! and shared by all recipients (an `Arc` of some kind). `V` is a value of the application, as it
//! appears in event arguments, acknowledgements and socket data.

use std::fmt;
use std::sync::Arc;

use crate::request::MissingReason;
use crate::target::{Room, RoomList, Target};

/// Ties the answers to the request that asked for them. Unique within the node that asks.
///
/// The official cluster protocol writes request ids as 16 hexadecimal digits, which is what
/// [`Display`](fmt::Display) prints. A carrier whose ids look otherwise keeps a table of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What is to happen to the sockets that a target selects, on every node that gets the value.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation<P, V> {
    /// Sends a packet to the target's sockets (type 3).
    ///
    /// Applied by every shard, to its own sockets. Without `ack` nothing is answered.
    ///
    /// With `ack` each shard or node answers one [`ResponseBody::ClientCount`], zero included, and
    /// one [`ResponseBody::Ack`] per client that acknowledges. Partial is: a responder whose
    /// count is missing, or clients that were counted and never acknowledge.
    Broadcast {
        /// The event without namespace and packet id: whoever applies it sets both.
        packet: P,
        /// Which sockets, and with which flags.
        target: Target,
        /// Set if the clients are asked to acknowledge.
        ack: Option<RequestId>,
    },
    /// Makes the target's sockets join rooms (type 4).
    ///
    /// Applied by every shard to its own sockets. With `request` each answers
    /// [`ResponseBody::Applied`] when it is done, also if a limit keeps a socket out of a room.
    Join {
        /// Which sockets.
        target: Target,
        /// The rooms to join.
        rooms: RoomList,
        /// Set if somebody waits until it is done.
        request: Option<RequestId>,
    },
    /// Makes the target's sockets leave rooms (type 5). Applied by every shard to its own
    /// sockets, and answered like [`Operation::Join`].
    Leave {
        /// Which sockets.
        target: Target,
        /// The rooms to leave.
        rooms: RoomList,
        /// Set if somebody waits until it is done.
        request: Option<RequestId>,
    },
    /// Disconnects the target's sockets from the namespace (type 6). Applied by every shard to
    /// its own sockets, and answered like [`Operation::Join`].
    Disconnect {
        /// Which sockets.
        target: Target,
        /// Whether the connection underneath is closed too, and with it the sockets of other
        /// namespaces on it.
        close: bool,
        /// Set if somebody waits until it is done.
        request: Option<RequestId>,
    },
    /// Asks for a description of the target's sockets (type 7).
    ///
    /// Applied by every shard; each shard or node answers once with [`ResponseBody::Sockets`], an
    /// empty list included, and with [`ResponseBody::SomeSockets`] before that if they are many. Partial is:
    /// a responder whose list, or the end of it, is missing.
    Fetch {
        /// Which sockets.
        target: Target,
        /// Names the request in the answers.
        request: RequestId,
    },
    /// Hands an event to the server-side listeners of the namespace on all *other* nodes
    /// (type 9). It concerns no socket: it is applied once per process, never once per shard.
    ///
    /// With `request` every node answers once: [`ResponseBody::ServerSideEmit`], or at once
    /// [`ResponseBody::Missing`] if it has no listener or the listener ends without an answer. (A node
    /// of the official server without a listener is silent until the deadline.)
    ServerSideEmit {
        /// The event's name.
        event: Arc<str>,
        /// The event's arguments, without the acknowledgement.
        args: Vec<V>,
        /// Set if the other nodes are asked for an answer.
        request: Option<RequestId>,
    },
}

impl<P, V> Operation<P, V> {
    /// The request that answers to this operation belong to; `None` if it is not answered.
    pub fn request(&self) -> Option<RequestId> {
        match self {
            Self::Broadcast { ack: request, .. }
            | Self::Join { request, .. }
            | Self::Leave { request, .. }
            | Self::Disconnect { request, .. }
            | Self::ServerSideEmit { request, .. } => *request,
            Self::Fetch { request, .. } => Some(*request),
        }
    }

    /// The same operation with another form of the packet, if it has one.
    pub fn map_packet<Q>(self, packet: impl FnOnce(P) -> Q) -> Operation<Q, V> {
        match self {
            Self::Broadcast { packet: from, target, ack } => {
                Operation::Broadcast { packet: packet(from), target, ack }
            }
            Self::Join { target, rooms, request } => Operation::Join { target, rooms, request },
            Self::Leave { target, rooms, request } => Operation::Leave { target, rooms, request },
            Self::Disconnect { target, close, request } => {
                Operation::Disconnect { target, close, request }
            }
            Self::Fetch { target, request } => Operation::Fetch { target, request },
            Self::ServerSideEmit { event, args, request } => {
                Operation::ServerSideEmit { event, args, request }
            }
        }
    }

    /// The sockets it is meant for; `None` for the operation that concerns none.
    pub fn target(&self) -> Option<&Target> {
        match self {
            Self::Broadcast { target, .. }
            | Self::Join { target, .. }
            | Self::Leave { target, .. }
            | Self::Disconnect { target, .. }
            | Self::Fetch { target, .. } => Some(target),
            Self::ServerSideEmit { .. } => None,
        }
    }
}

/// One answer of one shard or node to an operation. Goes only to the node that asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Response<V> {
    /// The request it answers.
    pub request: RequestId,
    /// Which shard of the node answers.
    pub part: Part,
    /// What is answered.
    pub body: ResponseBody<V>,
}

/// Which shard of a node answers, and of how many: each of them is waited for. A node that answers
/// as a whole is shard 0 of 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The number of the shard, below `of`.
    pub shard: u16,
    /// How many shards answer, at least 1 and at most [`PARTS_MAX`](crate::limits::PARTS_MAX).
    pub of: u16,
}

impl Part {
    /// The node as a whole.
    pub const WHOLE: Part = Part { shard: 0, of: 1 };
}

/// What a shard or node answers.
#[derive(Clone, Debug, PartialEq)]
pub enum ResponseBody<V> {
    /// To [`Operation::Fetch`], any number of times before [`Sockets`](Self::Sockets): some of the
    /// responder's sockets. So there is no limit to how many it may have.
    SomeSockets(Vec<RemoteSocketData<V>>),
    /// To [`Operation::Fetch`], once per responder (type 8): its sockets among the target's; the last of
    /// them, if it has told some already.
    Sockets(Vec<RemoteSocketData<V>>),
    /// To [`Operation::ServerSideEmit`], once per node (type 10): the first argument of what its
    /// listener answered, if there is one.
    ServerSideEmit(Option<V>),
    /// To [`Operation::Broadcast`] with `ack`, once per responder (type 11): how many clients
    /// it sent the packet to, and so how many acknowledgements may follow from it.
    ClientCount(u32),
    /// To [`Operation::Broadcast`] with `ack`, once per client that acknowledges (type 12). Only
    /// the first argument of an acknowledgement counts, as in the official server.
    Ack(Option<V>),
    /// To [`Operation::Broadcast`] with `ack`: as many clients that were counted will not
    /// acknowledge, because they have been disconnected or could not be asked.
    ClientsLost(u32),
    /// To [`Operation::Join`], [`Operation::Leave`] and [`Operation::Disconnect`], once per responder:
    /// it is done.
    Applied,
    /// To any request: there is no answer, and why.
    Missing(MissingReason),
}

/// A socket as other nodes see it.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteSocketData<V> {
    /// The public socket id.
    pub id: Arc<str>,
    /// The handshake's details, as the application sees them.
    pub handshake: V,
    /// The rooms it is in. Its own id comes first: no index stores it, so whoever owns the socket
    /// adds it here.
    pub rooms: Vec<Room>,
    /// What the application attached to the socket.
    pub data: V,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::IntoRooms;

    type Plain = Operation<Arc<[u8]>, String>;

    #[test]
    fn a_request_id_prints_as_sixteen_hex_digits() {
        assert_eq!(RequestId(0xab).to_string(), "00000000000000ab");
    }

    #[test]
    fn only_what_is_answered_names_a_request() {
        let target = Target::rooms("a");
        let id = RequestId(7);
        let broadcast = |ack| Plain::Broadcast { packet: [1].into(), target: target.clone(), ack };
        assert_eq!(broadcast(None).request(), None);
        assert_eq!(broadcast(Some(id)).request(), Some(id));
        let fetch = Plain::Fetch { target: target.clone(), request: id };
        assert_eq!(fetch.request(), Some(id));
        let disconnect = Plain::Disconnect { target: target.clone(), close: true, request: None };
        assert_eq!(disconnect.request(), None);
        assert_eq!(disconnect.target(), Some(&target));
    }

    #[test]
    fn only_the_packet_is_mapped() {
        let target = Target::rooms("a");
        let broadcast = Plain::Broadcast { packet: [1].into(), target: target.clone(), ack: None };
        let mapped = broadcast.map_packet(|packet| packet.len());
        assert_eq!(mapped, Operation::Broadcast { packet: 1, target: target.clone(), ack: None });
        let leave = Plain::Leave { target: target.clone(), rooms: "b".into_rooms(), request: None };
        let mapped = leave.map_packet(|_| unreachable!());
        let rooms = "b".into_rooms();
        assert_eq!(mapped, Operation::<(), String>::Leave { target, rooms, request: None });
    }

    #[test]
    fn a_server_side_emit_concerns_no_socket() {
        let args = vec!["x".to_owned()];
        let emit = Plain::ServerSideEmit { event: "ping".into(), args, request: None };
        assert_eq!(emit.target(), None);
        assert_eq!(emit.request(), None);
    }
}
