//! The closed set of operations on the sockets of a namespace, and the answers to them.
//!
//! These are plain values without a wire form. The caller hands the same value to every shard of
//! its process and, unless [`Flags::local`](crate::Flags::local) is set, to the other nodes.
//! They cover message types 3 to 12 of the official cluster protocol; types 1, 2 and 13
//! (heartbeats and departure) belong to membership. The namespace is known to the carrier, which
//! keeps one channel, table or index per namespace.
//!
//! Two types are left to the user of the crate. `P` is the packet of a broadcast, encoded lazily
//! and shared by all recipients (an `Arc` of some kind). `V` is a value of the application, as it
//! appears in event arguments, acknowledgements and socket data.

use std::fmt;
use std::sync::Arc;

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
    /// With `ack` each shard or node answers one [`ResponseBody::ClientCount`], zero included, then
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
    /// Applied by every shard to its own sockets; not answered, so a limit that keeps a
    /// socket out of a room is known only to the shard that owns it.
    Join {
        /// Which sockets.
        target: Target,
        /// The rooms to join.
        rooms: RoomList,
    },
    /// Makes the target's sockets leave rooms (type 5). Applied by every shard to its own
    /// sockets; not answered.
    Leave {
        /// Which sockets.
        target: Target,
        /// The rooms to leave.
        rooms: RoomList,
    },
    /// Disconnects the target's sockets from the namespace (type 6). Applied by every shard to
    /// its own sockets; not answered.
    Disconnect {
        /// Which sockets.
        target: Target,
        /// Whether the connection underneath is closed too, and with it the sockets of other
        /// namespaces on it.
        close: bool,
    },
    /// Asks for a description of the target's sockets (type 7).
    ///
    /// Applied by every shard; each shard or node answers once with [`ResponseBody::Sockets`], an
    /// empty list included. Partial is: a responder whose list is missing.
    Fetch {
        /// Which sockets.
        target: Target,
        /// Names the request in the answers.
        request: RequestId,
    },
    /// Hands an event to the server-side listeners of the namespace on all *other* nodes
    /// (type 9). It concerns no socket: it is applied once per process, never once per shard.
    ///
    /// With `request` every node answers once with [`ResponseBody::ServerSideEmit`]. A node without
    /// a listener never does, so such a request ends partial at its deadline.
    ServerSideEmit {
        /// The event's name.
        event: Arc<str>,
        /// The event's arguments, without the acknowledgement.
        args: Arc<[V]>,
        /// Set if the other nodes are asked for an answer.
        request: Option<RequestId>,
    },
}

impl<P, V> Operation<P, V> {
    /// The request that answers to this operation belong to; `None` if it is not answered.
    pub fn request(&self) -> Option<RequestId> {
        match self {
            Self::Broadcast { ack, .. } => *ack,
            Self::Fetch { request, .. } => Some(*request),
            Self::ServerSideEmit { request, .. } => *request,
            Self::Join { .. } | Self::Leave { .. } | Self::Disconnect { .. } => None,
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
    /// What is answered.
    pub body: ResponseBody<V>,
}

/// What a shard or node answers.
#[derive(Clone, Debug, PartialEq)]
pub enum ResponseBody<V> {
    /// To [`Operation::Fetch`], once per responder (type 8): its sockets among the target's.
    Sockets(Vec<RemoteSocketData<V>>),
    /// To [`Operation::ServerSideEmit`], once per node (type 10): what its listener answered.
    ServerSideEmit(V),
    /// To [`Operation::Broadcast`] with `ack`, once per responder (type 11): how many clients
    /// it sent the packet to, and so how many acknowledgements may follow from it.
    ClientCount(u32),
    /// To [`Operation::Broadcast`] with `ack`, once per client that acknowledges (type 12). Only
    /// the first argument of an acknowledgement counts, as in the official server.
    Ack(V),
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
        let disconnect = Plain::Disconnect { target: target.clone(), close: true };
        assert_eq!(disconnect.request(), None);
        assert_eq!(disconnect.target(), Some(&target));
    }

    #[test]
    fn a_server_side_emit_concerns_no_socket() {
        let args = ["x".to_owned()].into();
        let emit = Plain::ServerSideEmit { event: "ping".into(), args, request: None };
        assert_eq!(emit.target(), None);
        assert_eq!(emit.request(), None);
    }
}
