//! What can be done with a socket: handlers added, rooms joined, events sent, and its end.
//!
//! All of it works from any thread. On the thread of its shard, where its handlers run, every call
//! goes straight in; elsewhere it becomes one command in the shard's queue, in order.

use sedge_adapter::{Flags, IntoRooms, Room, Target};
use sedge_engine::{SendOptions, Transport};
use sedge_protocol::socketio::{EncodeError, MessageBuf, Parser};
use serde::Serialize;

use super::ack::{AckFuture, FromAck};
use super::emitter::SocketEmitter;
use super::namespace::assert_listenable;
use super::operator::BroadcastOperator;
use crate::core::socket::Socket;
use crate::core::stage::{self, Registration};
use crate::error::{EmitError, JoinRoomError, Overloaded};
use crate::handler::Handler;
use crate::handler::listener::erase;
use crate::shard::command::Command;
use crate::shard::dispatch::PendingAck;
use crate::shard::local::LocalShard;
use crate::shard::packets::send_options;

impl Socket {
    /// What carries the connection at the moment, `None` if it is closed. Within the socket's handlers
    /// it is known at once, without waiting.
    pub async fn transport(&self) -> Option<Transport> {
        if let Some(transport) = self.here(|shard| shard.engine().transport(self.session())) {
            return transport;
        }
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.command(Command::Transport { session: self.session(), reply }).ok()?;
        answer.await.ok().flatten()
    }

    /// What carries the connection, on the socket's own thread only.
    pub(crate) fn transport_here(&self) -> Option<Transport> {
        self.here(|shard| shard.engine().transport(self.session())).flatten()
    }

    /// Adds a handler for an event of this socket only. What is common to all sockets is better added
    /// to the [namespace](crate::Namespace::on): that costs nothing per connection.
    ///
    /// # Panics
    ///
    /// If the name is reserved; see [`Namespace::on`](crate::Namespace::on).
    pub fn on<T: 'static>(&self, event: &str, handler: impl Handler<stage::Event, T>) {
        assert_listenable(event);
        self.register(Registration::Event(event.into(), erase(handler)));
    }

    /// Adds a handler for every event of this socket, called before those of the event itself.
    pub fn on_any<T: 'static>(&self, handler: impl Handler<stage::Event, T>) {
        self.register(Registration::AnyEvent(erase(handler)));
    }

    /// Adds a handler for the end of this socket.
    pub fn on_disconnect<T: 'static>(&self, handler: impl Handler<stage::Disconnect, T>) {
        self.register(Registration::Disconnect(erase(handler)));
    }

    fn register(&self, registration: Registration) {
        let early = self.early(|early| early.registrations.push(registration.clone()));
        if early.is_none()
            && self.connected()
            && self.here(|shard| shard.register(self, &registration)).is_none()
        {
            let _ = self.command(Command::Register { socket: self.clone(), registration });
        }
    }

    /// Joins rooms. On the socket's own thread it is done when this returns; elsewhere it is a
    /// command, and a room that could not be joined is only logged. In a middleware it is done when the socket
    /// connects, before anything else; only a shard that is full of rooms is found then, and logged.
    pub fn join(&self, rooms: impl IntoRooms) -> Result<(), JoinRoomError> {
        let rooms = rooms.into_rooms();
        if let Some(result) = self.join_early(&rooms) {
            return Ok(result?);
        }
        if !self.connected() {
            return Err(JoinRoomError::NotConnected);
        }
        match self.here(|shard| shard.join(self, &rooms)) {
            Some(result) => Ok(result?),
            None => Ok(self.command(Command::Join { socket: self.clone(), rooms })?),
        }
    }

    /// Leaves rooms. Leaving the room of its own id is not possible.
    pub fn leave(&self, rooms: impl IntoRooms) -> Result<(), Overloaded> {
        let rooms = rooms.into_rooms();
        let not_joined = self.early(|early| early.rooms.retain(|room| !rooms.contains(room)));
        if not_joined.is_some() {
            return Ok(());
        }
        match self.here(|shard| shard.leave(self, &rooms)) {
            Some(()) => Ok(()),
            None => self.command(Command::Leave { socket: self.clone(), rooms }),
        }
    }

    /// The rooms it is in, that of its own id first; after it was disconnected, the rooms it was in
    /// then, and in a middleware those that it is going to be in. Within the socket's handlers they are known at
    /// once, without waiting.
    pub async fn rooms(&self) -> Vec<Room> {
        if let Some(rooms) = self.early(|early| early.rooms.clone()) {
            return std::iter::once(self.id().room()).chain(rooms).collect();
        }
        if let Some(last) = self.last_rooms() {
            return last;
        }
        if let Some(rooms) = self.here(|shard| shard.rooms(self)) {
            return rooms;
        }
        let (reply, answer) = tokio::sync::oneshot::channel();
        let asked = self.command(Command::Rooms { socket: self.clone(), reply });
        let rooms = if asked.is_ok() { answer.await.ok() } else { None };
        rooms.or_else(|| self.last_rooms()).unwrap_or_default()
    }

    /// Sends an event: a tuple or an array `[T; N]` is the list of arguments, `()` is the empty list, and
    /// anything else is one argument, a `Vec`, a slice and JSON's null too. An array that is to be one
    /// argument is written `(array,)` or `&array[..]`. Binary values (`bytes::Bytes`) travel as attachments.
    ///
    /// It never waits. What the client cannot take yet is kept, up to the limit of
    /// [`ServerBuilder::outbox_bytes_max`](crate::ServerBuilder::outbox_bytes_max); a client that stays beyond
    /// it is disconnected as a slow consumer.
    pub fn emit<T: Serialize + ?Sized>(&self, event: &str, args: &T) -> Result<(), EmitError> {
        self.emit_with(Flags::default(), event, args)
    }

    /// Sends the event `message`.
    pub fn send<T: Serialize + ?Sized>(&self, args: &T) -> Result<(), EmitError> {
        self.emit("message", args)
    }

    /// Sends an event and returns a future of the client's acknowledgement, which ends with the
    /// socket at the latest; see [`timeout`](Self::timeout) for an earlier end.
    ///
    /// The event is sent by the call itself; dropping the future only means not to care.
    ///
    /// ```
    /// # async fn f(socket: sedge::Socket) -> Result<(), sedge::AckError> {
    /// let answer: String = socket.emit_with_ack("question", "how are you?").await?;
    /// let (a, b) = socket.emit_with_ack::<(i64, i64)>("pair", &()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn emit_with_ack<R: FromAck>(
        &self,
        event: &str,
        args: &(impl Serialize + ?Sized),
    ) -> AckFuture<R> {
        self.ask_with(Flags::default(), event, args)
    }

    /// Limits how long an acknowledgement is waited for.
    pub fn timeout(&self, after: std::time::Duration) -> SocketEmitter<'_> {
        SocketEmitter::new(self, Flags { timeout: Some(after), ..Flags::default() })
    }

    /// What is emitted next may be dropped if the transport cannot take it at once.
    pub fn volatile(&self) -> SocketEmitter<'_> {
        SocketEmitter::new(self, Flags { volatile: true, ..Flags::default() })
    }

    /// Whether what is emitted next may be compressed, where compression is enabled.
    pub fn compress(&self, compress: bool) -> SocketEmitter<'_> {
        SocketEmitter::new(self, Flags { compress: Some(compress), ..Flags::default() })
    }

    /// Everybody in the namespace but this socket.
    pub fn broadcast(&self) -> BroadcastOperator {
        self.broadcast_with(Flags::default())
    }

    /// The members of these rooms, except this socket. Another socket's [id](Self::id) is a room.
    pub fn to(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        self.broadcast().to(rooms)
    }

    /// The same as [`to`](Self::to).
    pub fn in_(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        self.broadcast().to(rooms)
    }

    /// Everybody in the namespace but this socket and the members of these rooms.
    pub fn except(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        self.broadcast().except(rooms)
    }

    /// Everybody in this process but this socket.
    pub fn local(&self) -> BroadcastOperator {
        self.broadcast().local()
    }

    /// Disconnects the socket from its namespace. With `close` the connection ends, and with it its
    /// sockets in other namespaces.
    ///
    /// The client is told, and does not reconnect by itself.
    pub fn disconnect(&self, close: bool) -> Result<(), Overloaded> {
        match self.here(|shard| shard.disconnect(self, close)) {
            Some(()) => Ok(()),
            None => self.command(Command::Disconnect { socket: self.clone(), close }),
        }
    }
}

/// What the rest of the crate does with a socket.
impl Socket {
    /// A broadcast to everybody but this socket.
    pub(crate) fn broadcast_with(&self, flags: Flags) -> BroadcastOperator {
        let target = Target { flags, ..Target::everyone().except(self.id()) };
        BroadcastOperator::new(self.namespace().clone(), target)
    }

    pub(crate) fn emit_with<T: Serialize + ?Sized>(
        &self,
        flags: Flags,
        event: &str,
        args: &T,
    ) -> Result<(), EmitError> {
        self.send_packet(send_options(flags), |parser, nsp, out| {
            parser.event(nsp, None, event, args, out)
        })
    }

    /// Sends an event that is to be acknowledged.
    pub(crate) fn ask_with<R: FromAck>(
        &self,
        flags: Flags,
        event: &str,
        args: &(impl Serialize + ?Sized),
    ) -> AckFuture<R> {
        let id = self.next_ack();
        let (reply, answer) = tokio::sync::oneshot::channel();
        let encode = |parser: &Parser, nsp: &str, out: &mut MessageBuf| {
            parser.event(nsp, Some(u64::from(id)), event, args, out)
        };
        let options = send_options(flags);
        let pending = PendingAck::One(reply);
        let asked = if LocalShard::is_current(self.core(), self.shard()) {
            self.ask_here(id, pending, options, encode)
        } else {
            self.encode_shared(encode).and_then(|message| {
                let socket = self.clone();
                Ok(self.command(Command::Ask { socket, id, pending, message, options })?)
            })
        };
        AckFuture::new(asked.map(|()| answer), flags.timeout)
    }

    /// The acknowledgement is awaited before the packet goes out, and no more if it does not.
    fn ask_here(
        &self,
        id: u32,
        pending: PendingAck,
        options: SendOptions,
        encode: impl FnOnce(&Parser, &str, &mut MessageBuf) -> Result<(), EncodeError>,
    ) -> Result<(), EmitError> {
        self.here(|shard| shard.expect_ack(self, id, pending))
            .unwrap_or(Err(EmitError::NotConnected))?;
        self.send_packet(options, encode).inspect_err(|_| {
            self.here(|shard| shard.forget_ack(self, id));
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Namespace;

    #[test]
    fn handles_go_everywhere() {
        fn is_free<T: Send + Sync + Clone + 'static>() {}
        is_free::<Socket>();
        is_free::<Namespace>();
        is_free::<BroadcastOperator>();
    }
}
