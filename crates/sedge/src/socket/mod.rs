//! A socket: one client in one namespace.
//!
//! The handle works from any thread. On the thread of its shard, where its handlers run, every call
//! goes straight in; elsewhere it becomes one command in the shard's queue, in order.

mod ack;
mod emitter;
mod extensions;

use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

pub(crate) use ack::PendingAck;
pub use ack::{AckFuture, FromAck};
pub use emitter::SocketEmitter;
pub use extensions::Extensions;
use sedge_adapter::{Flags, IntoRooms, JoinError, MemberId, Room, Target};
use sedge_engine::{Handshake, Message, SendOptions, Sent, SessionKey, SharedMessage, Transport};
pub use sedge_protocol::engine::Version as ProtocolVersion;
use sedge_protocol::socketio::{ArgsError, EncodeError, MessageBuf, Parser, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;
use smallvec::SmallVec;

use crate::core::Core;
use crate::error::{EmitError, Overloaded};
use crate::handler::listener::{Registration, erase};
use crate::handler::{Handler, stage};
use crate::id::SocketId;
use crate::limits::{BROADCAST_ACK_IDS, FIRST_ACK_ID};
use crate::namespace::{Namespace, assert_listenable};
use crate::operator::BroadcastOperator;
use crate::server::Server;
use crate::shard::{Command, LocalShard, messages};

/// A socket: one client in one namespace.
///
/// Clones are cheap and name the same socket. A handle can be kept for as long as one likes, and used
/// from any thread; when the client has gone, emitting is an error and everything else does
/// nothing.
///
/// What its handlers do before their first `.await` takes effect at once and in order; so does what
/// they emit. From other threads, each call is a command to the socket's shard; one thread's
/// calls are carried out in order.
#[derive(Clone)]
pub struct Socket {
    inner: Arc<Inner>,
}

/// Where a socket stands in its life; it only ever moves on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Phase {
    Connecting,
    Connected,
    Disconnected,
}

/// A connected socket without extras costs this, an entry in the members' slab and one in the id map.
struct Inner {
    id: SocketId,
    namespace: Namespace,
    handshake: Arc<Handshake>,
    auth: Option<Box<Value>>,
    connected_at: SystemTime,
    extras: OnceLock<Box<Extras>>,
    session: SessionKey,
    /// The socket's place in its namespace on its shard; set when it connects.
    member: AtomicU32,
    next_ack: AtomicU32,
    shard: u16,
    version: ProtocolVersion,
    phase: AtomicU8,
}

/// What only some sockets have.
#[derive(Default)]
struct Extras {
    extensions: Extensions,
    data: Mutex<Value>,
    /// Handlers added before the socket connected.
    early: Mutex<Vec<Registration>>,
    /// The rooms it was in when it was disconnected.
    last_rooms: OnceLock<Vec<Room>>,
}

/// What a shard knows of a socket that it makes.
pub(crate) struct Birth {
    pub(crate) id: SocketId,
    pub(crate) namespace: Namespace,
    pub(crate) handshake: Arc<Handshake>,
    pub(crate) auth: Option<Value>,
    pub(crate) session: SessionKey,
    pub(crate) shard: usize,
    pub(crate) version: ProtocolVersion,
}

impl Socket {
    pub(crate) fn new(birth: Birth) -> Socket {
        let Birth { id, namespace, handshake, auth, session, shard, version } = birth;
        Socket {
            inner: Arc::new(Inner {
                id,
                namespace,
                handshake,
                auth: auth.map(Box::new),
                connected_at: SystemTime::now(),
                extras: OnceLock::new(),
                session,
                member: AtomicU32::new(u32::MAX),
                next_ack: AtomicU32::new(0),
                shard: shard as u16,
                version,
                phase: AtomicU8::new(Phase::Connecting as u8),
            }),
        }
    }

    /// The public id, unique in the cluster.
    pub fn id(&self) -> &SocketId {
        &self.inner.id
    }

    /// The namespace it is in.
    pub fn namespace(&self) -> &Namespace {
        &self.inner.namespace
    }

    /// The server.
    pub fn server(&self) -> Server {
        self.inner.namespace.server()
    }

    /// Whether the socket is connected: not yet in a middleware, not any more once it is
    /// disconnected.
    pub fn connected(&self) -> bool {
        self.inner.phase.load(Ordering::Acquire) == Phase::Connected as u8
    }

    /// The request that opened the connection: URL, query, headers and address. All sockets of a
    /// connection share it.
    pub fn handshake(&self) -> &Arc<Handshake> {
        &self.inner.handshake
    }

    /// The client's `auth` payload as `T`; an empty object if it sent none.
    pub fn auth<T: DeserializeOwned>(&self) -> Result<T, ArgsError> {
        match &self.inner.auth {
            Some(auth) => auth.decode(),
            None => Value::Object(Vec::new()).decode(),
        }
    }

    /// The number of the shard, that is the thread, on which its handlers run.
    pub fn shard(&self) -> usize {
        usize::from(self.inner.shard)
    }

    /// When the client asked to join the namespace.
    pub fn connected_at(&self) -> SystemTime {
        self.inner.connected_at
    }

    /// The version of the Engine.IO protocol: 4, or 3 for clients of Socket.IO 1 and 2.
    pub fn protocol_version(&self) -> ProtocolVersion {
        self.inner.version
    }

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

    /// What the application attached to the socket in this process, one value per type. For what other
    /// nodes are to see there is [`set_data`](Self::set_data).
    pub fn extensions(&self) -> &Extensions {
        &self.extras().extensions
    }

    /// Attaches data to the socket, which [`fetch_sockets`](Namespace::fetch_sockets) shows to every
    /// node. It replaces what was there.
    pub fn set_data<T: Serialize + ?Sized>(&self, data: &T) -> Result<(), EncodeError> {
        let value = Value::from_serialize(data)?;
        let mut slot = self.extras().data.lock().unwrap_or_else(PoisonError::into_inner);
        let former = std::mem::replace(&mut *slot, value);
        drop(slot);
        drop(former);
        Ok(())
    }

    /// The data attached to the socket as `T`; `null` if there is none.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, ArgsError> {
        self.data_value().decode()
    }

    pub(crate) fn data_value(&self) -> Value {
        match self.inner.extras.get() {
            Some(extras) => extras.data.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            None => Value::Null,
        }
    }

    pub(crate) fn auth_value(&self) -> Value {
        self.inner.auth.as_deref().cloned().unwrap_or(Value::Object(Vec::new()))
    }

    /// Adds a handler for an event of this socket only. What is common to all sockets is better added
    /// to the [namespace](Namespace::on): that costs nothing per connection.
    ///
    /// # Panics
    ///
    /// If the name is reserved; see [`Namespace::on`].
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
        match self.phase() {
            Phase::Connecting => {
                let early = &self.extras().early;
                early.lock().unwrap_or_else(PoisonError::into_inner).push(registration);
            }
            Phase::Connected => {
                if self.here(|shard| shard.register(self, &registration)).is_none() {
                    let _ = self.command(Command::Register { socket: self.clone(), registration });
                }
            }
            Phase::Disconnected => {}
        }
    }

    /// Joins rooms. On the socket's own thread it is done when this returns; elsewhere it is a
    /// command, and a room that could not be joined is only logged.
    pub fn join(&self, rooms: impl IntoRooms) -> Result<(), JoinRoomError> {
        if !self.connected() {
            return Err(JoinRoomError::NotConnected);
        }
        let rooms = rooms.into_rooms();
        match self.here(|shard| shard.join(self, &rooms)) {
            Some(result) => Ok(result?),
            None => Ok(self.command(Command::Join { socket: self.clone(), rooms })?),
        }
    }

    /// Leaves rooms. Leaving the room of its own id is not possible.
    pub fn leave(&self, rooms: impl IntoRooms) -> Result<(), Overloaded> {
        let rooms = rooms.into_rooms();
        match self.here(|shard| shard.leave(self, &rooms)) {
            Some(()) => Ok(()),
            None => self.command(Command::Leave { socket: self.clone(), rooms }),
        }
    }

    /// The rooms it is in, that of its own id first; after it was disconnected, the rooms it was in
    /// then. Within the socket's handlers they are known at once, without waiting.
    pub async fn rooms(&self) -> Vec<Room> {
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
    /// [`ServerBuilder::outbox_bytes_max`](crate::ServerBuilder::outbox_bytes_max); beyond it
    /// the client is disconnected as a slow consumer.
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

/// Why a socket did not join a room.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinRoomError {
    /// The socket is not connected: not yet (in a middleware) or not any more.
    #[error("the socket is not connected")]
    NotConnected,
    /// A limit does not let it; rooms named before the one at fault have been joined.
    #[error(transparent)]
    Limit(#[from] JoinError),
    /// The shard's command queue is full.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
}

/// What the rest of the crate does with a socket.
impl Socket {
    pub(crate) fn core(&self) -> &Arc<Core> {
        self.inner.namespace.core()
    }

    pub(crate) fn session(&self) -> SessionKey {
        self.inner.session
    }

    pub(crate) fn member(&self) -> MemberId {
        MemberId(self.inner.member.load(Ordering::Relaxed))
    }

    /// Whether two handles name the same socket.
    pub(crate) fn is(&self, other: &Socket) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    fn phase(&self) -> Phase {
        match self.inner.phase.load(Ordering::Acquire) {
            phase if phase == Phase::Connecting as u8 => Phase::Connecting,
            phase if phase == Phase::Connected as u8 => Phase::Connected,
            _ => Phase::Disconnected,
        }
    }

    /// The socket has its place in the namespace. Returns the handlers added so far.
    pub(crate) fn set_connected(&self, member: MemberId) -> Vec<Registration> {
        self.inner.member.store(member.0, Ordering::Relaxed);
        self.inner.phase.store(Phase::Connected as u8, Ordering::Release);
        match self.inner.extras.get() {
            Some(extras) => {
                std::mem::take(&mut *extras.early.lock().unwrap_or_else(PoisonError::into_inner))
            }
            None => Vec::new(),
        }
    }

    /// The socket is gone; `rooms` are those it was in, if anybody may want to know.
    pub(crate) fn set_disconnected(&self, rooms: Option<Vec<Room>>) {
        if let Some(rooms) = rooms {
            let _ = self.extras().last_rooms.set(rooms);
        }
        self.inner.phase.store(Phase::Disconnected as u8, Ordering::Release);
    }

    fn last_rooms(&self) -> Option<Vec<Room>> {
        self.inner.extras.get()?.last_rooms.get().cloned()
    }

    fn extras(&self) -> &Extras {
        self.inner.extras.get_or_init(Box::default)
    }

    /// Calls `f` if this is the thread of the socket's shard.
    fn here<R>(&self, f: impl FnOnce(&std::rc::Rc<LocalShard>) -> R) -> Option<R> {
        LocalShard::on(self.core(), usize::from(self.inner.shard), f)
    }

    fn command(&self, command: Command) -> Result<(), Overloaded> {
        self.core().command(usize::from(self.inner.shard), command)
    }

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
        let count = self.inner.next_ack.fetch_add(1, Ordering::Relaxed);
        let id = FIRST_ACK_ID + count % (BROADCAST_ACK_IDS - FIRST_ACK_ID);
        let (reply, answer) = tokio::sync::oneshot::channel();
        let encode = |parser: &Parser, nsp: &str, out: &mut MessageBuf| {
            parser.event(nsp, Some(u64::from(id)), event, args, out)
        };
        let options = send_options(flags);
        let pending = PendingAck::One(reply);
        let asked = if LocalShard::is_current(self.core(), usize::from(self.inner.shard)) {
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

    /// Encodes a packet and sends it to this socket.
    pub(crate) fn send_packet(
        &self,
        options: SendOptions,
        encode: impl FnOnce(&Parser, &str, &mut MessageBuf) -> Result<(), EncodeError>,
    ) -> Result<(), EmitError> {
        if !self.connected() {
            return Err(EmitError::NotConnected);
        }
        let core = self.core();
        if !LocalShard::is_current(core, usize::from(self.inner.shard)) {
            let message = self.encode_shared(encode)?;
            let command = Command::Send { session: self.session(), message, options };
            return Ok(self.command(command)?);
        }
        LocalShard::with_buffer(core, |buffer| {
            encode(&core.options.parser, self.namespace().name(), buffer)?;
            let sent = self.here(|shard| shard.send(self.session(), messages(buffer), options));
            match sent {
                Some(Sent::Queued | Sent::Dropped) => Ok(()),
                Some(Sent::Closed) | None => Err(EmitError::NotConnected),
            }
        })
    }

    fn encode_shared(
        &self,
        encode: impl FnOnce(&Parser, &str, &mut MessageBuf) -> Result<(), EncodeError>,
    ) -> Result<SharedMessage, EmitError> {
        if !self.connected() {
            return Err(EmitError::NotConnected);
        }
        let mut buffer = MessageBuf::new();
        encode(&self.core().options.parser, self.namespace().name(), &mut buffer)?;
        let messages: SmallVec<[Message<'_>; 4]> = messages(&buffer).collect();
        Ok(SharedMessage::new(messages))
    }
}

/// The engine's part of the flags.
pub(crate) fn send_options(flags: Flags) -> SendOptions {
    SendOptions { volatile: flags.volatile, compress: flags.compress.unwrap_or(true) }
}

impl PartialEq for Socket {
    fn eq(&self, other: &Self) -> bool {
        self.is(other)
    }
}

impl Eq for Socket {}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("id", self.id())
            .field("namespace", &self.namespace().name())
            .field("connected", &self.connected())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_small() {
        assert!(size_of::<Inner>() + 16 <= 136, "{}", size_of::<Inner>());
    }

    #[test]
    fn handles_go_everywhere() {
        fn is_free<T: Send + Sync + Clone + 'static>() {}
        is_free::<Socket>();
        is_free::<Namespace>();
        is_free::<Server>();
        is_free::<BroadcastOperator>();
    }
}
