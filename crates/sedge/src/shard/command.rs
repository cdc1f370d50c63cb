//! What other threads ask of a shard.

use sedge_adapter::{Room, RoomList};
use sedge_engine::{SendOptions, SessionKey, SharedMessage, Transport};
use std::sync::Arc;
use tokio::sync::oneshot;

use super::dispatch::{Dispatch, PendingAck};
use super::server_side::ServerSideCall;
use crate::core::Core;
use crate::core::socket::Socket;
use crate::core::stage::Registration;
use crate::error::Overloaded;

/// What other threads ask of a shard.
pub(crate) enum Command {
    /// Send an encoded packet.
    Send { session: SessionKey, message: SharedMessage, options: SendOptions },
    /// Send an encoded event whose acknowledgement is awaited.
    Ask {
        socket: Socket,
        id: u32,
        pending: PendingAck,
        message: SharedMessage,
        options: SendOptions,
    },
    /// Add a handler of one socket.
    Register { socket: Socket, registration: Registration },
    /// Join rooms.
    Join { socket: Socket, rooms: RoomList },
    /// Leave rooms.
    Leave { socket: Socket, rooms: RoomList },
    /// Tell the rooms of a socket.
    Rooms { socket: Socket, reply: oneshot::Sender<Vec<Room>> },
    /// Tell what carries a connection.
    Transport { session: SessionKey, reply: oneshot::Sender<Option<Transport>> },
    /// Disconnect a socket.
    Disconnect { socket: Socket, close: bool },
    /// Apply an operation to this shard's sockets.
    Operate(Arc<Dispatch>),
    /// Call the listeners of an event that another process has sent.
    ServerSide(Box<ServerSideCall>),
    /// Close as many clients, and tell how many there were.
    CloseSome { count: usize, reply: oneshot::Sender<usize> },
    /// Disconnect everybody, and say when their handlers have ended.
    Close { done: oneshot::Sender<()> },
}

impl Core {
    /// Puts a command into a shard's queue.
    pub(crate) fn command(&self, shard: usize, command: Command) -> Result<(), Overloaded> {
        self.engine().command(shard, command).map_err(|_| Overloaded)
    }
}
