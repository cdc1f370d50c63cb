//! What all threads of a server share: the core itself, its namespaces, and in [`socket`] the sockets.
//! Nothing here is touched per event: a shard keeps its own copies.
//!
//! A socket knows its namespace, a namespace the core and its handlers, and a handler's [`stage`] the
//! socket: this module, `socket` and `stage` are the only files of the crate that name one another.
//! What can be *done* with these handles stands above, in `api` and `server`.

pub(crate) mod complaints;
pub(crate) mod extensions;
pub(crate) mod socket;
pub mod stage;
pub(crate) mod type_map;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use sedge_adapter::Bus;
use sedge_engine::Engine;
use sedge_protocol::socketio::{DecodeLimits, Parser};

use crate::error::{HandlerError, NamespaceError};
use crate::hub::Hub;
use crate::limits::{BROADCAST_ACK_IDS, Limits, NAMESPACE_LEN_MAX, NAMESPACES_MAX};
use crate::metrics::ShardMetrics;
use complaints::Complaints;
use socket::Socket;
use stage::Registration;
use type_map::TypeMap;

/// The hook for errors of handlers.
pub(crate) type ErrorHook = Box<dyn Fn(&Socket, &HandlerError) + Send + Sync>;

/// The options of this crate, as opposed to the engine's.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) parser: Parser,
    pub(crate) connect_timeout: Duration,
    pub(crate) limits: Limits,
    pub(crate) states: TypeMap,
    pub(crate) on_error: Option<ErrorHook>,
    pub(crate) bus: Option<Arc<dyn Bus>>,
}

/// What the engine has on each of its threads. It is only named here, since the engine's type says it;
/// what it does stands in `shard::app`.
pub(crate) struct ShardApp(pub(crate) ());

/// What all threads of a server share.
pub(crate) struct Core {
    pub(crate) options: Options,
    pub(crate) decode_limits: DecodeLimits,
    pub(crate) complaints: Complaints,
    /// The way to other processes, if there are any.
    pub(crate) hub: Option<Arc<Hub>>,
    /// Weak: the shards have the core.
    engine: OnceLock<Engine<ShardApp>>,
    /// Shards that have not ended.
    shards_running: AtomicUsize,
    namespaces: RwLock<Namespaces>,
    metrics: Mutex<BTreeMap<usize, Arc<ShardMetrics>>>,
    closing: AtomicBool,
}

#[derive(Default)]
struct Namespaces {
    by_name: HashMap<Box<str>, Namespace>,
    /// How many there have been; the next one's index.
    made: u32,
}

impl Core {
    pub(crate) fn new(mut options: Options) -> Arc<Core> {
        let hub = options.bus.take().map(|bus| Hub::new(bus, options.limits.bus_requests));
        let decode_limits = DecodeLimits {
            attachments_max: options.limits.attachments,
            attachment_bytes_max: options.limits.attachment_bytes,
            nsp_len_max: NAMESPACE_LEN_MAX,
        };
        Arc::new(Core {
            options,
            decode_limits,
            complaints: Complaints::default(),
            hub,
            engine: OnceLock::new(),
            shards_running: AtomicUsize::new(0),
            namespaces: RwLock::default(),
            metrics: Mutex::default(),
            closing: AtomicBool::new(false),
        })
    }

    /// Sets the engine, once, before anybody else has the core.
    pub(crate) fn set_engine(&self, engine: &Engine<ShardApp>) {
        let _ = self.engine.set(engine.weak());
    }

    pub(crate) fn engine(&self) -> &Engine<ShardApp> {
        self.engine.get().expect("building sets it before anybody has a handle or can connect")
    }

    pub(crate) fn shard_count(&self) -> usize {
        self.engine().shard_count()
    }

    /// The namespace of this name, made if there is none. A missing `/` in front is added, as in the
    /// official server.
    ///
    /// The root namespace is made first, without a `root` to belong to.
    pub(crate) fn of(
        self: &Arc<Self>,
        name: &str,
        root: Option<&Namespace>,
    ) -> Result<Namespace, NamespaceError> {
        let name = if name.starts_with('/') { name.into() } else { format!("/{name}") };
        if name.len() > NAMESPACE_LEN_MAX {
            return Err(NamespaceError::NameTooLong(name.len()));
        }
        if let Some(character) = name.chars().find(|c| matches!(c, ',' | '?') || c.is_control()) {
            return Err(NamespaceError::InvalidCharacter(character));
        }
        let mut namespaces = self.namespaces.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(namespace) = namespaces.by_name.get(name.as_str()) {
            return Ok(namespace.clone());
        }
        if namespaces.by_name.len() >= NAMESPACES_MAX {
            return Err(NamespaceError::TooMany);
        }
        let index = namespaces.made;
        namespaces.made += 1;
        let namespace =
            Namespace::new(NamespaceShared::new(Arc::clone(self), root.cloned(), index, &name));
        namespaces.by_name.insert(name.into_boxed_str(), namespace.clone());
        Ok(namespace)
    }

    /// The root namespace.
    pub(crate) fn root(self: &Arc<Self>) -> Namespace {
        self.of("/", None).expect("its name is valid and it is the first")
    }

    /// The namespace a client asks for.
    pub(crate) fn find(&self, name: &str) -> Option<Namespace> {
        let namespaces = self.namespaces.read().unwrap_or_else(PoisonError::into_inner);
        namespaces.by_name.get(name).cloned()
    }

    /// The server's state of a type.
    pub(crate) fn state<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.options.states.get()
    }

    /// A new shard's counters.
    pub(crate) fn add_metrics(&self, shard: usize) -> Arc<ShardMetrics> {
        let metrics = Arc::new(ShardMetrics::default());
        let mut all = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(shard, Arc::clone(&metrics));
        metrics
    }

    /// The counters of all shards, in the order of their indices.
    pub(crate) fn metrics(&self) -> Vec<Arc<ShardMetrics>> {
        let all = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().cloned().collect()
    }

    /// Whether the server is shutting down, so that nobody is let in any more.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Lets nobody in from here on.
    pub(crate) fn begin_closing(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// A shard has started.
    pub(crate) fn shard_started(&self) {
        self.shards_running.fetch_add(1, Ordering::Relaxed);
    }

    /// A shard has ended. With the last one the server leaves the bus, and the core lets go of its namespaces,
    /// which have it too. Their handles stay valid.
    pub(crate) fn shard_ended(&self) {
        if self.shards_running.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        self.begin_closing();
        if let Some(hub) = &self.hub {
            hub.close();
        }
        self.namespaces.write().unwrap_or_else(PoisonError::into_inner).by_name.clear();
    }
}

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
    shared: Arc<NamespaceShared>,
}

/// What the threads share of a namespace.
pub(crate) struct NamespaceShared {
    pub(crate) core: Arc<Core>,
    /// The server's root namespace, `None` if this is it.
    root: Option<Namespace>,
    /// Dense and never reused: the namespace's place in each shard's table.
    pub(crate) index: u32,
    pub(crate) name: Box<str>,
    registrations: Mutex<Vec<Registration>>,
    /// How many registrations there are; a shard whose table was made of fewer makes a new one.
    registered: AtomicU32,
    /// Whether a handler was added within a handler.
    added_within: AtomicBool,
    next_broadcast_ack: AtomicU32,
}

impl NamespaceShared {
    fn new(core: Arc<Core>, root: Option<Namespace>, index: u32, name: &str) -> NamespaceShared {
        NamespaceShared {
            core,
            root,
            index,
            name: name.into(),
            registrations: Mutex::default(),
            registered: AtomicU32::new(0),
            added_within: AtomicBool::new(false),
            next_broadcast_ack: AtomicU32::new(0),
        }
    }

    /// Adds a handler behind all others of its kind.
    pub(crate) fn register(&self, registration: Registration) {
        let mut registrations = self.registrations();
        registrations.push(registration);
        self.registered.store(registrations.len() as u32, Ordering::Release);
    }

    /// A handler is added within a handler: whether it is the first one.
    pub(crate) fn first_within_handler(&self) -> bool {
        !self.added_within.swap(true, Ordering::Relaxed)
    }

    /// How many handlers are registered.
    pub(crate) fn registered(&self) -> u32 {
        self.registered.load(Ordering::Acquire)
    }

    /// The handlers, in the order of registration.
    pub(crate) fn registrations(&self) -> MutexGuard<'_, Vec<Registration>> {
        self.registrations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Namespace {
    fn new(shared: NamespaceShared) -> Namespace {
        Namespace { shared: Arc::new(shared) }
    }

    pub(crate) fn shared(&self) -> &NamespaceShared {
        &self.shared
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.shared.core
    }

    /// The server's root namespace, which may be this one.
    pub(crate) fn root(&self) -> &Namespace {
        self.shared.root.as_ref().unwrap_or(self)
    }

    /// The name, `/` for the root namespace.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// An id for the acknowledgements of one broadcast.
    pub(crate) fn next_broadcast_ack(&self) -> u32 {
        let count = self.shared.next_broadcast_ack.fetch_add(1, Ordering::Relaxed);
        BROADCAST_ACK_IDS | (count % BROADCAST_ACK_IDS)
    }
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
