//! A shard's part of the server: the sockets whose connections this thread owns.
//!
//! The engine calls in through [`ShardApp`]; handlers and socket handles on this thread call in
//! directly; other threads send a [`Command`]. All state stands behind one `RefCell`. **It is never
//! borrowed while user code runs**: handlers, hooks, a value's `Serialize`, `Deserialize` or `Drop`.

mod clients;
mod members;
pub(crate) mod operations;
mod run;
pub(crate) mod server_side;
mod slots;
mod waiting;

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use sedge_adapter::{JoinError, Joined, Left, MemberId, Room, RoomList, Topic};
use sedge_engine::{
    Application, CloseReason, Handshake, Message, SendOptions, Sent, SessionKey, Shard,
    SharedMessage, Transport,
};
use sedge_protocol::socketio::{MessageBuf, MessageKind};
use tokio::sync::oneshot;

use crate::core::Core;
use crate::error::{EmitError, catch_panic};
use crate::handler::listener::Registration;
use crate::hub::Hub;
use crate::limits::ENCODE_BUFFER_KEPT;
use crate::metrics::ShardMetrics;
use crate::reason::DisconnectReason;
use crate::socket::{PendingAck, Socket};
use clients::Client;
use members::{LocalNamespace, Member};
use operations::Dispatch;
use server_side::ServerSideCall;
use slots::Slots;

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

/// What the engine calls on each shard.
pub(crate) struct ShardApp(Rc<LocalShard>);

/// A shard's part of the server.
pub(crate) struct LocalShard {
    core: Arc<Core>,
    /// The way to other processes, if there are any.
    hub: Option<Arc<Hub>>,
    engine: Shard,
    index: usize,
    state: RefCell<State>,
    /// The buffer that packets are encoded into; taken out while in use.
    buffer: Cell<Option<MessageBuf>>,
    metrics: Arc<ShardMetrics>,
    /// Handlers that wait at an `.await`.
    in_flight: Cell<usize>,
    /// Those of them that handle what other processes have sent.
    server_side_in_flight: Cell<usize>,
    /// Whom to tell when there are none any more.
    drained: RefCell<Option<oneshot::Sender<()>>>,
}

#[derive(Default)]
struct State {
    clients: Slots<Client>,
    /// Clients whose slot the engine has given away before it told their end, which it is about to.
    /// Nearly always empty.
    ending: Vec<Client>,
    /// By the index of the namespace; those nobody has joined here are missing.
    namespaces: Vec<Option<LocalNamespace>>,
    /// Scratch for the recipients of an operation.
    recipients: Vec<MemberId>,
    next_serial: u32,
}

thread_local! {
    /// The shard that this thread is.
    static CURRENT: OnceCell<Rc<LocalShard>> = const { OnceCell::new() };
}

impl ShardApp {
    /// Makes the shard's part of the server, on its thread.
    pub(crate) fn new(core: Arc<Core>, engine: Shard) -> ShardApp {
        let index = engine.index();
        let shard = Rc::new(LocalShard {
            metrics: core.add_metrics(index),
            hub: core.hub.clone(),
            core,
            index,
            engine,
            state: RefCell::default(),
            buffer: Cell::new(None),
            in_flight: Cell::new(0),
            server_side_in_flight: Cell::new(0),
            drained: RefCell::default(),
        });
        // A thread is one shard for all its life.
        CURRENT.with(|current| {
            let _ = current.set(Rc::clone(&shard));
        });
        ShardApp(shard)
    }
}

impl Application for ShardApp {
    type Command = Command;

    fn on_open(&self, session: SessionKey, handshake: Arc<Handshake>) {
        self.guard(Some(session), |shard| shard.open(session, handshake));
    }

    fn on_message(&self, session: SessionKey, message: Message<'_>) {
        self.guard(Some(session), |shard| shard.message(session, message));
    }

    fn on_close(&self, session: SessionKey, reason: CloseReason) {
        self.guard(None, |shard| shard.close_client(session, reason.into()));
    }

    fn on_command(&self, command: Command) {
        self.guard(None, |shard| shard.command(command));
    }

    fn on_timer(&self, timer: u64) {
        self.guard(None, |shard| shard.connect_timeout(timer));
    }

    fn on_shutdown(&self) {
        self.guard(None, LocalShard::close_all);
    }
}

impl ShardApp {
    /// Lets no panic out into the engine, whose tasks serve everybody. Handlers have a guard of their
    /// own ([`run`]); what is left is mostly a custom parser's. It costs the connection it was about.
    fn guard(&self, session: Option<SessionKey>, call: impl FnOnce(&Rc<LocalShard>)) {
        let Err(words) = catch_panic(|| call(&self.0)) else { return };
        tracing::error!(?session, words, "a panic outside of handlers");
        if let Some(session) = session {
            let close = || self.0.break_off(session, DisconnectReason::ForcedServerClose);
            let _ = catch_panic(close);
        }
    }
}

impl LocalShard {
    /// Calls `f` if this thread is that shard of that server.
    pub(crate) fn on<R>(
        core: &Arc<Core>,
        index: usize,
        f: impl FnOnce(&Rc<LocalShard>) -> R,
    ) -> Option<R> {
        Self::of(core, |shard| (shard.index == index).then(|| f(shard))).flatten()
    }

    /// Whether this thread is that shard of that server.
    pub(crate) fn is_current(core: &Arc<Core>, index: usize) -> bool {
        Self::on(core, index, |_| ()).is_some()
    }

    /// Calls `f` if this thread is any shard of that server.
    pub(crate) fn of<R>(core: &Arc<Core>, f: impl FnOnce(&Rc<LocalShard>) -> R) -> Option<R> {
        let call = |current: &OnceCell<Rc<LocalShard>>| {
            current.get().filter(|shard| Arc::ptr_eq(&shard.core, core)).map(f)
        };
        CURRENT.try_with(call).ok().flatten()
    }

    /// Lends a buffer to encode into: the shard's on its thread, a new one elsewhere.
    pub(crate) fn with_buffer<R>(core: &Arc<Core>, f: impl FnOnce(&mut MessageBuf) -> R) -> R {
        let mut buffer = Self::of(core, |shard| shard.buffer.take()).flatten().unwrap_or_default();
        let result = f(&mut buffer);
        if buffer.total_bytes() > ENCODE_BUFFER_KEPT {
            buffer.clear();
            buffer.shrink_to(ENCODE_BUFFER_KEPT);
        }
        Self::of(core, |shard| shard.buffer.set(Some(buffer)));
        result
    }

    pub(crate) fn index(&self) -> usize {
        self.index
    }

    pub(crate) fn engine(&self) -> &Shard {
        &self.engine
    }

    /// Sends one encoded packet.
    pub(crate) fn send<'a>(
        &self,
        session: SessionKey,
        packet: impl IntoIterator<Item = Message<'a>>,
        options: SendOptions,
    ) -> Sent {
        self.metrics.packets_out.add(1);
        self.engine.send(session, packet, options)
    }

    pub(crate) fn register(&self, socket: &Socket, registration: &Registration) {
        self.with_member(socket, |member| member.register(registration));
    }

    pub(crate) fn join(&self, socket: &Socket, rooms: &RoomList) -> Result<(), JoinError> {
        let mut created = Changed::new(self.hub.as_ref());
        let joined = self.with_namespace(socket, |namespace| {
            for room in rooms.iter().filter(|room| ***room != *socket.id().as_str()) {
                let joined = namespace.rooms.join(socket.member(), room)?;
                created.note(room, joined == Joined::Joined { room_created: true });
            }
            Ok(())
        });
        created.subscribe(socket.namespace().name());
        joined.unwrap_or(Ok(()))
    }

    pub(crate) fn leave(&self, socket: &Socket, rooms: &RoomList) {
        let mut deleted = Changed::new(self.hub.as_ref());
        self.with_namespace(socket, |namespace| {
            for room in rooms {
                let left = namespace.rooms.leave(socket.member(), room);
                deleted.note(room, left == Left::Left { room_deleted: true });
            }
        });
        deleted.unsubscribe(socket.namespace().name());
    }

    pub(crate) fn rooms(&self, socket: &Socket) -> Vec<Room> {
        self.with_namespace(socket, |namespace| namespace.rooms_of(socket)).unwrap_or_default()
    }

    /// Has the acknowledgement of an event awaited.
    pub(crate) fn expect_ack(
        &self,
        socket: &Socket,
        id: u32,
        pending: PendingAck,
    ) -> Result<(), EmitError> {
        let max = self.core.options.limits.pending_acks;
        let expected = self.with_namespace(socket, |namespace| {
            namespace.expect_ack(socket.member(), id, pending, max)
        });
        match expected {
            Some(true) => Ok(()),
            Some(false) => Err(EmitError::TooManyPendingAcks),
            None => Err(EmitError::NotConnected),
        }
    }

    /// The acknowledgement is not awaited any more.
    pub(crate) fn forget_ack(&self, socket: &Socket, id: u32) {
        self.with_member(socket, |member| member.take_ack(id));
    }

    fn command(self: &Rc<Self>, command: Command) {
        match command {
            Command::Send { session, message, options } => {
                self.metrics.packets_out.add(1);
                self.engine.send_shared(session, &message, options);
            }
            Command::Ask { socket, id, pending, message, options } => {
                if self.expect_ack(&socket, id, pending).is_ok() {
                    self.metrics.packets_out.add(1);
                    self.engine.send_shared(socket.session(), &message, options);
                }
            }
            Command::Register { socket, registration } => self.register(&socket, &registration),
            Command::Join { socket, rooms } => {
                if let Err(error) = self.join(&socket, &rooms) {
                    sedge_log::warn_rarely!(socket = %socket.id(), %error, "a room was not joined");
                }
            }
            Command::Leave { socket, rooms } => self.leave(&socket, &rooms),
            Command::Rooms { socket, reply } => {
                let _ = reply.send(self.rooms(&socket));
            }
            Command::Transport { session, reply } => {
                let _ = reply.send(self.engine.transport(session));
            }
            Command::Disconnect { socket, close } => self.disconnect(&socket, close),
            Command::Operate(dispatch) => self.apply(&dispatch),
            Command::ServerSide(call) => self.server_side(&call),
            Command::CloseSome { count, reply } => {
                let _ = reply.send(self.close_some(count));
            }
            Command::Close { done } => self.close_and_drain(done),
        }
    }

    /// The socket's namespace, if the socket is still connected here. `f` must not call user code.
    fn with_namespace<R>(
        &self,
        socket: &Socket,
        f: impl FnOnce(&mut LocalNamespace) -> R,
    ) -> Option<R> {
        let mut state = self.state.borrow_mut();
        let namespace = state.namespace(socket.namespace().shared().index)?;
        namespace.find(socket)?;
        Some(f(namespace))
    }

    /// The socket's entry, if it is still connected here. `f` must not call user code.
    fn with_member<R>(&self, socket: &Socket, f: impl FnOnce(&mut Member) -> R) -> Option<R> {
        let mut state = self.state.borrow_mut();
        let namespace = state.namespace(socket.namespace().shared().index)?;
        namespace.find(socket).map(f)
    }

    /// The server is going: nobody is let in, everybody's handlers are told, and `done` is told when
    /// the handlers under way have ended.
    fn close_and_drain(self: &Rc<Self>, done: oneshot::Sender<()>) {
        self.close_all();
        if self.in_flight.get() == 0 {
            let _ = done.send(());
        } else {
            *self.drained.borrow_mut() = Some(done);
        }
    }

    fn close_all(self: &Rc<Self>) {
        for session in self.sessions(usize::MAX) {
            self.close_client(session, DisconnectReason::ServerShuttingDown);
        }
    }

    /// Closes this many clients and their connections, or all if there are fewer. Returns how many.
    fn close_some(self: &Rc<Self>, count: usize) -> usize {
        let sessions = self.sessions(count);
        for session in &sessions {
            self.break_off(*session, DisconnectReason::ServerShuttingDown);
        }
        sessions.len()
    }

    fn sessions(&self, count: usize) -> Vec<SessionKey> {
        let state = self.state.borrow();
        let clients = state.clients.iter().chain(&state.ending);
        clients.take(count).map(Client::session).collect()
    }
}

impl State {
    fn namespace(&mut self, index: u32) -> Option<&mut LocalNamespace> {
        self.namespaces.get_mut(index as usize)?.as_mut()
    }

    fn client(&mut self, session: SessionKey) -> Option<&mut Client> {
        match self.clients.get_mut(session.slot()) {
            Some(client) if client.session() == session => Some(client),
            _ => self.ending.iter_mut().find(|client| client.session() == session),
        }
    }

    /// Enters a new client.
    fn add_client(&mut self, client: Client) {
        let former = self.clients.set(client.session().slot(), client);
        self.ending.extend(former);
    }

    /// Takes out a client that has ended.
    fn take_client(&mut self, session: SessionKey) -> Option<Client> {
        if let Some(at) = self.ending.iter().position(|client| client.session() == session) {
            return Some(self.ending.swap_remove(at));
        }
        self.clients.get_mut(session.slot()).filter(|client| client.session() == session)?;
        self.clients.take(session.slot())
    }
}

/// Rooms that have come into being on this shard, or have ceased to exist: other processes need to know
/// where what they have for a room is wanted. Without a bus nothing is kept.
///
/// The carrier is told when the shard's state is not borrowed any more.
struct Changed<'a> {
    hub: Option<&'a Arc<Hub>>,
    rooms: RoomList,
}

impl<'a> Changed<'a> {
    fn new(hub: Option<&'a Arc<Hub>>) -> Self {
        Changed { hub, rooms: RoomList::new() }
    }

    fn note(&mut self, room: &Room, changed: bool) {
        if changed && self.hub.is_some() {
            self.rooms.push(Room::clone(room));
        }
    }

    fn subscribe(self, namespace: &str) {
        if let Some(hub) = self.hub {
            self.rooms.iter().for_each(|room| hub.subscribe(Topic::Room(namespace, room)));
        }
    }

    fn unsubscribe(self, namespace: &str) {
        if let Some(hub) = self.hub {
            self.rooms.iter().for_each(|room| hub.unsubscribe(Topic::Room(namespace, room)));
        }
    }
}

/// The messages of an encoded packet, as the engine takes them.
pub(crate) fn messages(buffer: &MessageBuf) -> impl Iterator<Item = Message<'_>> {
    buffer.messages().map(|(kind, data)| match kind {
        // Encoders write text from `str`s; the default is unreachable but for a custom parser's fault.
        MessageKind::Text => Message::Text(simdutf8::basic::from_utf8(data).unwrap_or_default()),
        MessageKind::Binary => Message::Binary(data),
    })
}
