//! A namespace: the handle, and what the threads share of it.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sedge_adapter::Target;
use sedge_engine::{Message, SharedMessage};
use sedge_protocol::socketio::{MessageBuf, is_reserved_event};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::core::Core;
use crate::error::EmitError;
use crate::handler::listener::{Registration, Table, erase};
use crate::handler::{Handler, stage};
use crate::limits::BROADCAST_ACK_IDS;
use crate::operator::{BroadcastOperator, broadcast_methods};
use crate::server::Server;
use crate::server_side::{self, ServerSideAck};
use crate::shard::{LocalShard, messages};

/// A namespace of a server: the sockets that have joined it, and the handlers they share.
///
/// Handles are cheap to clone and can be used from any thread. Handlers can be added at any time;
/// sockets connected already get them too, except that connecting is over for them.
///
/// ```
/// # use sedge::{ConnectError, DisconnectReason, Server, Socket, extract::{Auth, Data}};
/// # fn f(io: Server) -> Result<(), Box<dyn std::error::Error>> {
/// let chat = io.of("/chat")?;
/// chat.middleware(async |Auth(token): Auth<(String,)>| {
///     if token.0 == "secret" { Ok(()) } else { Err(ConnectError::new("not authorized")) }
/// });
/// chat.on_connect(async |socket: Socket| {
///     socket.join("lobby")?;
///     socket.to("lobby").emit("joined", socket.id())?;
///     Ok::<_, Box<dyn std::error::Error>>(())
/// });
/// chat.on("say", async |socket: Socket, Data(text): Data<String>| {
///     socket.to("lobby").emit("said", &text)
/// });
/// chat.on_disconnect(async |socket: Socket, reason: DisconnectReason| {
///     println!("{} left: {reason}", socket.id());
/// });
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Namespace {
    shared: Arc<Shared>,
}

/// What the threads share of a namespace.
pub(crate) struct Shared {
    pub(crate) core: Arc<Core>,
    /// The server's root namespace, `None` if this is it.
    root: Option<Namespace>,
    /// Dense and never reused: the namespace's place in each shard's table.
    pub(crate) index: u32,
    pub(crate) name: Box<str>,
    registrations: Mutex<Vec<Registration>>,
    /// How many registrations there are; a shard whose table was made of fewer makes a new one.
    registered: AtomicU32,
    next_broadcast_ack: AtomicU32,
}

impl Shared {
    pub(crate) fn new(core: Arc<Core>, root: Option<Namespace>, index: u32, name: &str) -> Shared {
        Shared {
            core,
            root,
            index,
            name: name.into(),
            registrations: Mutex::default(),
            registered: AtomicU32::new(0),
            next_broadcast_ack: AtomicU32::new(0),
        }
    }

    /// How many handlers are registered.
    pub(crate) fn registered(&self) -> u32 {
        self.registered.load(Ordering::Acquire)
    }

    /// A shard's own table of the handlers, and of how many it is made.
    pub(crate) fn table(&self) -> (Table, u32) {
        let registrations = self.registrations.lock().unwrap_or_else(PoisonError::into_inner);
        (Table::of(&registrations), registrations.len() as u32)
    }
}

impl Namespace {
    pub(crate) fn new(shared: Shared) -> Namespace {
        Namespace { shared: Arc::new(shared) }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.shared.core
    }

    /// The name, `/` for the root namespace.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The server it belongs to.
    pub fn server(&self) -> Server {
        Server::new_at(self.shared.root.as_ref().unwrap_or(self).clone())
    }

    /// Adds a middleware: it examines every client that asks to join, and may refuse it by returning
    /// an error. Middlewares run one after the other, in the order in which they were added; the
    /// socket connects when the last one has let it pass.
    ///
    /// The socket is there but not yet connected: it can be given
    /// [data](crate::Socket::set_data), [extensions](crate::Socket::extensions) and handlers, while
    /// emitting and joining rooms fail.
    pub fn middleware<T: 'static>(&self, handler: impl Handler<stage::Middleware, T>) -> &Self {
        self.register(Registration::Middleware(erase(handler)))
    }

    /// Adds a handler for sockets that have connected.
    pub fn on_connect<T: 'static>(&self, handler: impl Handler<stage::Connect, T>) -> &Self {
        self.register(Registration::Connect(erase(handler)))
    }

    /// Adds a handler for an event of every socket. All handlers of an event are called, in the order
    /// in which they were added, those of the namespace before those of the [socket](crate::Socket::on).
    ///
    /// # Panics
    ///
    /// If the name is reserved (`connect`, `connect_error`, `disconnect`, `disconnecting`,
    /// `newListener`, `removeListener`): no client can send such an event.
    pub fn on<T: 'static>(&self, event: &str, handler: impl Handler<stage::Event, T>) -> &Self {
        assert_listenable(event);
        self.register(Registration::Event(event.into(), erase(handler)))
    }

    /// Adds a handler for every event, called before those of the event itself.
    pub fn on_any<T: 'static>(&self, handler: impl Handler<stage::Event, T>) -> &Self {
        self.register(Registration::AnyEvent(erase(handler)))
    }

    /// Adds a handler for events that have no handler of their own.
    pub fn on_fallback<T: 'static>(&self, handler: impl Handler<stage::Event, T>) -> &Self {
        self.register(Registration::Fallback(erase(handler)))
    }

    /// Adds a handler for sockets that have been disconnected. The socket is in no room any more;
    /// [`Socket::rooms`](crate::Socket::rooms) tells which ones it was in.
    pub fn on_disconnect<T: 'static>(&self, handler: impl Handler<stage::Disconnect, T>) -> &Self {
        self.register(Registration::Disconnect(erase(handler)))
    }

    /// Adds a handler for an event that another process of the cluster sends by
    /// [`server_side_emit`](Self::server_side_emit). There is no socket; what the other process sent is
    /// extracted as everywhere ([`Data`](crate::extract::Data)), and answered by
    /// [`Ack`](crate::extract::Ack) if it wants an answer.
    ///
    /// It is called once per event in this process, on one of its shards. The events of one other process
    /// start in the order in which they were sent. A panic ends that call only; like an error it is logged
    /// and counted.
    ///
    /// ```
    /// # use sedge::{Server, extract::{Ack, Data}};
    /// # async fn f(io: Server) -> Result<(), Box<dyn std::error::Error>> {
    /// io.on_server_side("reload", async |Data(topic): Data<String>| println!("reload {topic}"));
    /// io.on_server_side("how many", async |io: Server, ack: Ack| ack.send(&io.socket_count()));
    ///
    /// io.server_side_emit("reload", "prices")?;
    /// let counts: Vec<u64> = io.server_side_emit_with_ack("how many", &()).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// If the name is one that cannot be sent: `connect`, `connection` or `new_namespace`.
    pub fn on_server_side<T: 'static>(
        &self,
        event: &str,
        handler: impl Handler<stage::ServerSide, T>,
    ) -> &Self {
        assert!(!server_side::RESERVED.contains(&event), "{event:?} is a reserved event name");
        self.register(Registration::ServerSide(event.into(), erase(handler)))
    }

    /// Sends an event to all other processes that share the [bus](crate::ServerBuilder::bus), whose
    /// handlers were added by [`on_server_side`](Self::on_server_side) to the namespace of this name. The
    /// arguments are given as in [`Socket::emit`](crate::Socket::emit). It never waits; without a bus it does
    /// nothing.
    ///
    /// The names `connect`, `connection` and `new_namespace` are refused. A process that does not take
    /// it is [counted](crate::BusMetrics::refused) and logged.
    pub fn server_side_emit<T: Serialize + ?Sized>(
        &self,
        event: &str,
        args: &T,
    ) -> Result<(), EmitError> {
        server_side::emit(self, event, args)
    }

    /// Sends an event as [`server_side_emit`](Self::server_side_emit) does, and returns a future of one
    /// answer from every other process, of whose arguments the first counts. It ends when all have
    /// answered or left. A process without a handler says so at once, and is missing in the answers.
    ///
    /// The event is sent by the call itself.
    pub fn server_side_emit_with_ack<R: DeserializeOwned>(
        &self,
        event: &str,
        args: &(impl Serialize + ?Sized),
    ) -> ServerSideAck<R> {
        server_side::emit_with_ack(self, event, args)
    }

    fn register(&self, registration: Registration) -> &Self {
        let shared = &self.shared;
        let mut registrations = shared.registrations.lock().unwrap_or_else(PoisonError::into_inner);
        registrations.push(registration);
        shared.registered.store(registrations.len() as u32, Ordering::Release);
        self
    }

    broadcast_methods!(|namespace: &Namespace| BroadcastOperator::new(
        namespace.clone(),
        Target::everyone()
    ));

    /// An id for the acknowledgements of one broadcast.
    pub(crate) fn next_broadcast_ack(&self) -> u32 {
        let count = self.shared.next_broadcast_ack.fetch_add(1, Ordering::Relaxed);
        BROADCAST_ACK_IDS | (count % BROADCAST_ACK_IDS)
    }

    /// Encodes an event for any number of recipients. `also` is given what was encoded, for whatever
    /// else is to be made of it.
    pub(crate) fn encode_shared<T: Serialize + ?Sized, R>(
        &self,
        id: Option<u32>,
        event: &str,
        args: &T,
        also: impl FnOnce(&MessageBuf) -> R,
    ) -> Result<(SharedMessage, R), EmitError> {
        let parser = &self.core().options.parser;
        LocalShard::with_buffer(self.core(), |buffer: &mut MessageBuf| {
            parser.event(self.name(), id.map(u64::from), event, args, buffer)?;
            let all: smallvec::SmallVec<[Message<'_>; 4]> = messages(buffer).collect();
            Ok((SharedMessage::new(all), also(buffer)))
        })
    }
}

/// Refuses names that no client can send.
pub(crate) fn assert_listenable(event: &str) {
    assert!(
        !is_reserved_event(event),
        "{event:?} is a reserved event name: use on_connect or on_disconnect"
    );
}

impl PartialEq for Namespace {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Eq for Namespace {}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Namespace").field(&self.name()).finish()
    }
}
