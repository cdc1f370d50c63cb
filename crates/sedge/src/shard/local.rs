//! A shard's part of the server: the sockets whose connections this thread owns.
//!
//! All state stands behind one `RefCell`. **It is never borrowed while user code runs**: handlers, hooks, a
//! value's `Serialize`, `Deserialize` or `Drop`.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use sedge_adapter::{JoinError, Joined, Left, MemberId, Room, RoomList, Topic};
use sedge_engine::{Message, SendOptions, Sent, SessionKey, Shard};
use sedge_protocol::socketio::MessageBuf;
use tokio::sync::oneshot;

use super::client::Client;
use super::dispatch::PendingAck;
use super::members::{LocalNamespace, Member};
use super::slots::Slots;
use crate::core::socket::Socket;
use crate::core::stage::Registration;
use crate::core::{Core, Namespace};
use crate::error::EmitError;
use crate::hub::Hub;
use crate::limits::ENCODE_BUFFER_KEPT;
use crate::metrics::ShardMetrics;

/// A shard's part of the server.
pub(crate) struct LocalShard {
    pub(super) core: Arc<Core>,
    /// The way to other processes, if there are any.
    pub(super) hub: Option<Arc<Hub>>,
    pub(super) engine: Shard,
    pub(super) index: usize,
    pub(super) state: RefCell<ShardState>,
    /// The buffer that packets are encoded into; taken out while in use.
    pub(super) buffer: Cell<Option<MessageBuf>>,
    pub(super) metrics: Arc<ShardMetrics>,
    /// Handlers that wait at an `.await`.
    pub(super) in_flight: Cell<usize>,
    /// Those of them that handle what other processes have sent.
    pub(super) server_side_in_flight: Cell<usize>,
    /// Whom to tell when there are none any more.
    pub(super) drained: RefCell<Option<oneshot::Sender<()>>>,
}

#[derive(Default)]
pub(super) struct ShardState {
    pub(super) clients: Slots<Client>,
    /// Clients whose slot the engine has given away before it told their end, which it is about to.
    /// Nearly always empty.
    pub(super) ending: Vec<Client>,
    /// By the index of the namespace; those nobody has joined here are missing.
    pub(super) namespaces: Vec<Option<LocalNamespace>>,
    /// Scratch for the recipients of an operation.
    pub(super) recipients: Vec<MemberId>,
    pub(super) next_serial: u32,
}

thread_local! {
    /// The shard that this thread is.
    static CURRENT: OnceCell<Rc<LocalShard>> = const { OnceCell::new() };
}

impl LocalShard {
    /// Makes the shard's part of the server, on its thread, which is one shard for all its life.
    pub(super) fn start(core: Arc<Core>, engine: Shard) {
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
        CURRENT.with(|current| {
            let _ = current.set(Rc::clone(&shard));
        });
    }

    /// Calls `f` if this thread is a shard.
    pub(super) fn with_current<R>(f: impl FnOnce(&Rc<LocalShard>) -> R) -> Option<R> {
        CURRENT.try_with(|current| current.get().map(f)).ok().flatten()
    }

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

    /// The socket's namespace, if the socket is still connected here. `f` must not call user code.
    pub(super) fn with_namespace<R>(
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
    pub(super) fn with_member<R>(
        &self,
        socket: &Socket,
        f: impl FnOnce(&mut Member) -> R,
    ) -> Option<R> {
        let mut state = self.state.borrow_mut();
        let namespace = state.namespace(socket.namespace().shared().index)?;
        namespace.find(socket).map(f)
    }
}

impl ShardState {
    pub(super) fn namespace(&mut self, index: u32) -> Option<&mut LocalNamespace> {
        self.namespaces.get_mut(index as usize)?.as_mut()
    }

    /// The namespace's place on this shard, made if there is none.
    pub(super) fn make_namespace(&mut self, namespace: Namespace) -> &mut LocalNamespace {
        let index = namespace.shared().index as usize;
        if self.namespaces.len() <= index {
            self.namespaces.resize_with(index + 1, || None);
        }
        self.namespaces[index].get_or_insert_with(|| LocalNamespace::new(namespace))
    }

    pub(super) fn client(&mut self, session: SessionKey) -> Option<&mut Client> {
        match self.clients.get_mut(session.slot()) {
            Some(client) if client.session() == session => Some(client),
            _ => self.ending.iter_mut().find(|client| client.session() == session),
        }
    }

    /// Enters a new client.
    pub(super) fn add_client(&mut self, client: Client) {
        let former = self.clients.set(client.session().slot(), client);
        self.ending.extend(former);
    }

    /// Takes out a client that has ended.
    pub(super) fn take_client(&mut self, session: SessionKey) -> Option<Client> {
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
pub(super) struct Changed<'a> {
    hub: Option<&'a Arc<Hub>>,
    rooms: RoomList,
}

impl<'a> Changed<'a> {
    pub(super) fn new(hub: Option<&'a Arc<Hub>>) -> Self {
        Changed { hub, rooms: RoomList::new() }
    }

    pub(super) fn note(&mut self, room: &Room, changed: bool) {
        if changed && self.hub.is_some() {
            self.rooms.push(Room::clone(room));
        }
    }

    pub(super) fn subscribe(self, namespace: &str) {
        if let Some(hub) = self.hub {
            self.rooms.iter().for_each(|room| hub.subscribe(Topic::Room(namespace, room)));
        }
    }

    pub(super) fn unsubscribe(self, namespace: &str) {
        if let Some(hub) = self.hub {
            self.rooms.iter().for_each(|room| hub.unsubscribe(Topic::Room(namespace, room)));
        }
    }
}
