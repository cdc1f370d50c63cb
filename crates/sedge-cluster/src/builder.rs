//! The settings of a cluster.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use sedge_sticky::{Hash, Method};

use crate::error::ClusterError;
use crate::limits::*;
use crate::listen::Listen;
use crate::wire::control::{BusSettings, DrainOrder, Secret};

/// A cluster on one host: a supervisor and its workers, all of them processes of one program.
///
/// ```no_run
/// # async fn example() -> Result<(), sedge_cluster::ClusterError> {
/// use sedge_cluster::{Cluster, Worker};
///
/// let ended = Cluster::builder()
///     .workers(4)
///     .listen("0.0.0.0:3000".parse::<std::net::SocketAddr>().expect("an address"))
///     .run(async |mut worker: Worker| {
///         let mut connections = worker.connections().expect("taken once");
///         worker.ready().await?;
///         while let Some(passed) = connections.next().await {
///             // serve it
/// #           drop(passed);
///         }
///         Ok::<(), std::io::Error>(())
///     })
///     .await?;
/// std::process::exit(ended.code());
/// # }
/// ```
#[derive(Debug)]
pub struct Cluster(());

impl Cluster {
    /// A cluster with the default settings and as many workers as processors.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::default()
    }
}

/// The settings of a cluster. Everything has a default but an address to listen on.
pub struct ClusterBuilder {
    pub(crate) workers: u16,
    pub(crate) node: u16,
    pub(crate) secret: Option<Secret>,
    pub(crate) previous_secrets: Vec<Secret>,
    pub(crate) listen: Vec<Listen>,
    pub(crate) activation: bool,
    pub(crate) port_per_worker: Option<SocketAddr>,
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) run_dir: Option<PathBuf>,
    pub(crate) routing: sedge_sticky::Config,
    pub(crate) version: String,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) heartbeats_missed_max: u32,
    pub(crate) start_timeout: Duration,
    pub(crate) restarts: RestartLimits,
    pub(crate) drain: DrainOrder,
    pub(crate) drain_delay: Duration,
    pub(crate) orphan_deadline: Duration,
    pub(crate) head_timeout: Duration,
    pub(crate) undecided_max: usize,
    pub(crate) start_patience: Duration,
    pub(crate) pass_queue_max: usize,
    pub(crate) bus: BusSettings,
    pub(crate) metrics: Vec<Box<dyn Fn() -> String>>,
    pub(crate) on_serving: Option<OnServing>,
}

/// The limits of crash loops.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RestartLimits {
    /// Ends in a row that make one.
    pub(crate) crashes_max: u32,
    /// The pace in one.
    pub(crate) crash_loop_delay: Duration,
}

pub(crate) type OnServing = Box<dyn FnOnce(&[String])>;

impl fmt::Debug for ClusterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterBuilder")
            .field("workers", &self.workers)
            .field("node", &self.node)
            .field("listen", &self.listen)
            .field("run_dir", &self.run_dir)
            .finish_non_exhaustive()
    }
}

impl Default for ClusterBuilder {
    fn default() -> ClusterBuilder {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let millis = |time: Duration| time.as_millis() as u64;
        ClusterBuilder {
            workers: processors.min(WORKERS_MAX.into()) as u16,
            node: 0,
            secret: None,
            previous_secrets: Vec::new(),
            listen: Vec::new(),
            activation: false,
            port_per_worker: None,
            admin: None,
            run_dir: None,
            routing: sedge_sticky::Config::default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            heartbeat_interval: DEFAULT_HEARTBEAT_INTERVAL,
            heartbeats_missed_max: DEFAULT_HEARTBEATS_MISSED_MAX,
            start_timeout: DEFAULT_START_TIMEOUT,
            restarts: RestartLimits {
                crashes_max: DEFAULT_CRASHES_MAX,
                crash_loop_delay: DEFAULT_CRASH_LOOP_DELAY,
            },
            drain: DrainOrder {
                deadline_ms: millis(DEFAULT_DRAIN_DEADLINE),
                interval_ms: millis(DEFAULT_DRAIN_INTERVAL),
                jitter_percent: DEFAULT_DRAIN_JITTER_PERCENT,
                replaced: false,
            },
            drain_delay: Duration::ZERO,
            orphan_deadline: DEFAULT_ORPHAN_DEADLINE,
            head_timeout: DEFAULT_HEAD_TIMEOUT,
            undecided_max: DEFAULT_UNDECIDED_MAX,
            start_patience: DEFAULT_START_PATIENCE,
            pass_queue_max: DEFAULT_PASS_QUEUE_MAX,
            bus: BusSettings::default(),
            metrics: Vec::new(),
            on_serving: None,
        }
    }
}

/// What a cluster is.
impl ClusterBuilder {
    /// How many workers there are, 1 to 256. Default: one for each processor.
    pub fn workers(mut self, workers: u16) -> Self {
        self.workers = workers;
        self
    }

    /// The node's tag in session ids, which must differ between the hosts of one cluster. Default 0.
    pub fn node(mut self, tag: u16) -> Self {
        self.node = tag;
        self
    }

    /// The cluster's secret, by which its session ids are known. Every host of a cluster must have
    /// the same. Default: 32 random bytes, new at each start. At most 1024 bytes.
    pub fn secret(mut self, secret: impl Into<Vec<u8>>) -> Self {
        self.secret = Some(Secret(secret.into()));
        self
    }

    /// A former secret, whose session ids are still routed. There can be 8.
    pub fn previous_secret(mut self, secret: impl Into<Vec<u8>>) -> Self {
        self.previous_secrets.push(Secret(secret.into()));
        self
    }

    /// The version of the program, for the status. Default: this crate's.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }
}

/// Where it listens, and how connections are routed.
impl ClusterBuilder {
    /// Adds an address to listen on.
    pub fn listen(mut self, listen: impl Into<Listen>) -> Self {
        self.listen.push(listen.into());
        self
    }

    /// Also takes the sockets that a service manager has opened (`LISTEN_FDS`), if it has. They count
    /// behind those of [`listen`](Self::listen). Default no.
    pub fn activation(mut self, take: bool) -> Self {
        self.activation = take;
        self
    }

    /// Lets each worker listen itself, on this address with its index added to the port, for a balancer
    /// in front that chooses. Default: none.
    pub fn port_per_worker(mut self, base: SocketAddr) -> Self {
        self.port_per_worker = Some(base);
        self
    }

    /// Answers `/health` and `/metrics` of the whole host on this address. Default: nowhere.
    pub fn admin(mut self, address: SocketAddr) -> Self {
        self.admin = Some(address);
        self
    }

    /// Where the control socket and the workers' sockets are. Default:
    /// [`default_run_dir`](crate::default_run_dir) of the first port that the cluster listens on, so that
    /// clusters on different ports can run side by side.
    ///
    /// What is missing of the path is made. No part of it may belong to another user than this one and root,
    /// or be open to be written to by others. A directory that is, such as a volume of a container, gets a
    /// private one inside. If nothing can be written there, the names of the sockets are in Linux's abstract
    /// namespace.
    pub fn run_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.run_dir = Some(path.into());
        self
    }

    /// How new sessions are spread. Default: to the worker with the fewest.
    pub fn method(mut self, method: Method) -> Self {
        self.routing.method = method;
        self
    }

    /// Ties clients to workers by their address. Default: not.
    pub fn hash(mut self, hash: Hash) -> Self {
        self.routing.hash = Some(hash);
        self
    }

    /// All settings of the routing. Its `sids` are set by the cluster. A sticky cookie is read, but
    /// cannot be issued by a supervisor, which never answers for a worker.
    pub fn routing(mut self, routing: sedge_sticky::Config) -> Self {
        self.routing = routing;
        self
    }

    /// How long the head of a connection's first request may take. Default 10 s.
    pub fn head_timeout(mut self, timeout: Duration) -> Self {
        self.head_timeout = timeout;
        self
    }

    /// Connections whose head is waited for. Beyond it, the one that has waited longest is closed.
    /// Never more than half of the descriptors that the process may have. Default 4096.
    pub fn undecided_max(mut self, connections: usize) -> Self {
        self.undecided_max = connections;
        self
    }

    /// How long a connection waits for a worker that is just starting. Default 5 s.
    pub fn start_patience(mut self, patience: Duration) -> Self {
        self.start_patience = patience;
        self
    }

    /// Connections that may wait for one worker that does not take them. Beyond it, new sessions go
    /// to other workers, and requests of its own sessions are answered 503. Default 4096.
    pub fn pass_queue_max(mut self, connections: usize) -> Self {
        self.pass_queue_max = connections;
        self
    }
}

/// How workers live.
impl ClusterBuilder {
    /// How often a worker has to show that it is alive, and how often in a row it may fail to before
    /// it is killed and replaced. Default 1 s and 10.
    pub fn heartbeat(mut self, interval: Duration, missed_max: u32) -> Self {
        (self.heartbeat_interval, self.heartbeats_missed_max) = (interval, missed_max);
        self
    }

    /// From the start of a worker's process until it must be ready. Default 30 s.
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = timeout;
        self
    }

    /// After how many ends in a row a worker is started at a slow pace only, and the pace. Default 5
    /// and 30 s.
    pub fn crash_loop(mut self, crashes_max: u32, pace: Duration) -> Self {
        self.restarts = RestartLimits { crashes_max, crash_loop_delay: pace };
        self
    }

    /// How long workers may take to close their clients and end. Default 7 s; one that needs a second more is
    /// killed.
    pub fn drain_deadline(mut self, deadline: Duration) -> Self {
        self.drain.deadline_ms = deadline.as_millis() as u64;
        self
    }

    /// How workers should pace the closing: the time between two batches, and how far it may deviate,
    /// in percent. Default 100 ms and 30.
    pub fn drain_pacing(mut self, interval: Duration, jitter_percent: u8) -> Self {
        self.drain.interval_ms = interval.as_millis() as u64;
        self.drain.jitter_percent = jitter_percent.min(50);
        self
    }

    /// How long the cluster goes on as before when it is told to end, while `/health` says 503, so that
    /// balancers in front can notice. Default none.
    pub fn drain_delay(mut self, delay: Duration) -> Self {
        self.drain_delay = delay;
        self
    }

    /// How long workers serve on without a supervisor, at most. If another one takes its place, they let
    /// their clients go at once, in batches. Default 600 s.
    pub fn orphan_deadline(mut self, deadline: Duration) -> Self {
        self.orphan_deadline = deadline;
        self
    }

    /// The bounds of the bus: bytes of one message, bytes that may wait for one peer, and how long a peer
    /// may take nothing before it is cut off. Default 16 MiB, 32 MiB and 10 s.
    pub fn bus(mut self, message_max: usize, queue_max: usize, stall_timeout: Duration) -> Self {
        self.bus = BusSettings {
            message_bytes_max: message_max,
            queue_bytes_max: queue_max,
            stall_timeout_ms: stall_timeout.as_millis() as u64,
        };
        self
    }

    /// Adds to the metrics of the host a text in Prometheus' text format, which the supervisor asks for. Its
    /// families must be none of the workers'.
    pub fn metrics_from(mut self, ask: impl Fn() -> String + 'static) -> Self {
        self.metrics.push(Box::new(ask));
        self
    }

    /// Is called once, in the supervisor, when every worker has had its chance to start and at least
    /// one is ready. It is told where the cluster listens, such as `127.0.0.1:3000`.
    pub fn on_serving(mut self, call: impl FnOnce(&[String]) + 'static) -> Self {
        self.on_serving = Some(Box::new(call));
        self
    }
}

impl ClusterBuilder {
    pub(crate) fn check(&self) -> Result<(), ClusterError> {
        if self.workers == 0 || self.workers > WORKERS_MAX {
            return Err(ClusterError::Workers(self.workers));
        }
        if self.listen.is_empty() && !self.activation && self.port_per_worker.is_none() {
            return Err(ClusterError::NothingToListenOn);
        }
        if let Some(base) = self.port_per_worker
            && base.port().checked_add(self.workers - 1).is_none()
        {
            return Err(ClusterError::Ports { base, workers: self.workers });
        }
        let previous = &self.previous_secrets;
        let too_long = |secret: &Secret| secret.0.is_empty() || secret.0.len() > SECRET_BYTES_MAX;
        let bus_room = self.bus.message_bytes_max.saturating_add(BUS_MESSAGE_OVERHEAD);
        let wrong = [
            (self.secret.iter().chain(previous).any(too_long), "a secret has 1 to 1024 bytes"),
            (previous.len() > PREVIOUS_SECRETS_MAX, "at most 8 former secrets are accepted"),
            (self.heartbeat_interval.is_zero(), "the heartbeat's interval must not be zero"),
            (self.heartbeats_missed_max == 0, "a worker must be allowed to miss a heartbeat"),
            (self.start_timeout.is_zero(), "a worker must have time to start"),
            (self.restarts.crashes_max == 0, "a worker must be allowed to end once"),
            (self.head_timeout.is_zero(), "the head of a request must have time to arrive"),
            (self.undecided_max == 0, "at least one connection must be able to wait for its head"),
            (bus_room > self.bus.queue_bytes_max, "the bus's queue must hold its largest message"),
            (self.bus.queue_bytes_max > u32::MAX as usize, "the bus's queue must be below 4 GiB"),
            (self.bus.stall_timeout_ms == 0, "a peer on the bus must have time to read"),
        ];
        match wrong.into_iter().find(|(is_wrong, _)| *is_wrong) {
            Some((_, text)) => Err(ClusterError::Setting(text)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> ClusterBuilder {
        Cluster::builder().workers(2).listen("127.0.0.1:0".parse::<SocketAddr>().unwrap())
    }

    #[test]
    fn settings_that_make_no_sense_are_refused_in_words() {
        good().check().unwrap();
        let address = "127.0.0.1:65535".parse().unwrap();
        let wrong = [
            (good().workers(0), "a cluster has 1 to 256 workers, not 0"),
            (good().workers(257), "a cluster has 1 to 256 workers, not 257"),
            (Cluster::builder().workers(1), "no address to listen on"),
            (good().port_per_worker(address), "2 ports from 127.0.0.1:65535 on end beyond 65535"),
            (good().secret(*b""), "a secret has 1 to 1024 bytes"),
            (good().heartbeat(Duration::ZERO, 1), "interval must not be zero"),
            (good().bus(10, 10, Duration::from_secs(1)), "must hold its largest message"),
        ];
        for (builder, text) in wrong {
            let error = builder.check().unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }
}
