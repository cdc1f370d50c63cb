//! Sockets as every node can see them.

use std::fmt;

use sedge_adapter::{IntoRooms, Room};
use sedge_protocol::socketio::{ArgsError, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::EmitError;
use crate::namespace::Namespace;
use crate::operator::{Applied, BroadcastOperator};
use crate::shard::operations::SocketData;

/// A socket found by [`fetch_sockets`](Namespace::fetch_sockets): a description as of that moment, and
/// the means to act on the socket wherever it lives.
#[derive(Clone)]
pub struct RemoteSocket {
    namespace: Namespace,
    data: SocketData,
}

impl RemoteSocket {
    pub(crate) fn new(namespace: Namespace, data: SocketData) -> Self {
        RemoteSocket { namespace, data }
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
        self.namespace.to(Room::clone(&self.data.id))
    }

    /// Sends an event to the socket.
    pub fn emit<T: Serialize + ?Sized>(&self, event: &str, args: &T) -> Result<(), EmitError> {
        self.operator().emit(event, args)
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

impl fmt::Debug for RemoteSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteSocket")
            .field("id", &self.id())
            .field("namespace", &self.namespace.name())
            .field("rooms", &self.rooms())
            .finish_non_exhaustive()
    }
}
