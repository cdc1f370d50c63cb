//! What all threads of a server share. Nothing here is touched per event: a shard keeps its own copies.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use sedge_adapter::Bus;
use sedge_engine::Engine;
use sedge_protocol::socketio::{DecodeLimits, Parser};

use crate::error::{HandlerError, NamespaceError, Overloaded};
use crate::hub::Hub;
use crate::limits::{Limits, NAMESPACE_LEN_MAX, NAMESPACES_MAX};
use crate::metrics::ShardMetrics;
use crate::namespace::{Namespace, Shared};
use crate::shard::{Command, ShardApp};
use crate::socket::Socket;
use crate::type_map::TypeMap;

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

/// What all threads of a server share.
pub(crate) struct Core {
    pub(crate) options: Options,
    pub(crate) decode_limits: DecodeLimits,
    /// The way to other processes, if there are any.
    pub(crate) hub: Option<Arc<Hub>>,
    engine: OnceLock<Engine<ShardApp>>,
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
            hub,
            engine: OnceLock::new(),
            namespaces: RwLock::default(),
            metrics: Mutex::default(),
            closing: AtomicBool::new(false),
        })
    }

    /// Sets the engine, once, before anybody else has the core.
    pub(crate) fn set_engine(&self, engine: Engine<ShardApp>) {
        let _ = self.engine.set(engine);
    }

    pub(crate) fn engine(&self) -> &Engine<ShardApp> {
        self.engine.get().expect("building sets it before anybody has a handle or can connect")
    }

    pub(crate) fn shard_count(&self) -> usize {
        self.engine().shard_count()
    }

    /// Puts a command into a shard's queue.
    pub(crate) fn command(&self, shard: usize, command: Command) -> Result<(), Overloaded> {
        self.engine().command(shard, command).map_err(|_| Overloaded)
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
        let namespace = Namespace::new(Shared::new(Arc::clone(self), root.cloned(), index, &name));
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

    /// Ends the reference cycle between the core and its namespaces. Their handles stay valid.
    pub(crate) fn forget_namespaces(&self) {
        self.namespaces.write().unwrap_or_else(PoisonError::into_inner).by_name.clear();
    }
}
