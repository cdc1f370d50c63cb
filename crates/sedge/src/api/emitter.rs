//! Emitting to one socket with flags.

use std::time::Duration;

use sedge_adapter::{Flags, IntoRooms};
use serde::Serialize;

use super::ack::{AckFuture, FromAck};
use super::operator::BroadcastOperator;
use crate::core::socket::Socket;
use crate::error::EmitError;

/// A socket and the flags of what is emitted to it, from [`Socket::volatile`],
/// [`Socket::compress`] and [`Socket::timeout`].
#[derive(Clone, Copy, Debug)]
#[must_use = "nothing is sent before emit"]
pub struct SocketEmitter<'a> {
    socket: &'a Socket,
    flags: Flags,
}

impl<'a> SocketEmitter<'a> {
    pub(super) fn new(socket: &'a Socket, flags: Flags) -> Self {
        SocketEmitter { socket, flags }
    }

    /// See [`Socket::volatile`].
    pub fn volatile(mut self) -> Self {
        self.flags.volatile = true;
        self
    }

    /// See [`Socket::compress`].
    pub fn compress(mut self, compress: bool) -> Self {
        self.flags.compress = Some(compress);
        self
    }

    /// See [`Socket::timeout`].
    pub fn timeout(mut self, after: Duration) -> Self {
        self.flags.timeout = Some(after);
        self
    }

    /// See [`Socket::emit`].
    pub fn emit<T: Serialize + ?Sized>(self, event: &str, args: &T) -> Result<(), EmitError> {
        self.socket.emit_with(self.flags, event, args)
    }

    /// See [`Socket::emit_with_ack`].
    pub fn emit_with_ack<R: FromAck>(
        self,
        event: &str,
        args: &(impl Serialize + ?Sized),
    ) -> AckFuture<R> {
        self.socket.ask_with(self.flags, event, args)
    }

    /// See [`Socket::broadcast`].
    pub fn broadcast(self) -> BroadcastOperator {
        self.socket.broadcast_with(self.flags)
    }

    /// See [`Socket::to`].
    pub fn to(self, rooms: impl IntoRooms) -> BroadcastOperator {
        self.broadcast().to(rooms)
    }

    /// See [`Socket::in_`].
    pub fn in_(self, rooms: impl IntoRooms) -> BroadcastOperator {
        self.broadcast().to(rooms)
    }

    /// See [`Socket::except`].
    pub fn except(self, rooms: impl IntoRooms) -> BroadcastOperator {
        self.broadcast().except(rooms)
    }
}
