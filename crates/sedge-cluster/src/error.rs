//! Why a cluster cannot run.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a cluster cannot run, or why a worker of it ends. None of these is a client's fault; each says
/// what the operator can change.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The number of workers is not 1 to 256.
    #[error("a cluster has 1 to 256 workers, not {0}")]
    Workers(u16),
    /// There is nothing to listen on.
    #[error("no address to listen on: neither listeners nor a port per worker")]
    NothingToListenOn,
    /// A port for each worker does not fit below 65536.
    #[error("{workers} ports from {base} on end beyond 65535")]
    Ports {
        /// The address of worker 0.
        base: SocketAddr,
        /// How many workers there are.
        workers: u16,
    },
    /// A setting makes no sense.
    #[error("{0}")]
    Setting(&'static str),
    /// The settings of the routing make no sense.
    #[error(transparent)]
    Routing(#[from] sedge_sticky::ConfigError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address, as a person would write it.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// The service manager's sockets cannot be used.
    #[error("cannot use the sockets of the service manager: {0}")]
    Activation(String),
    /// The run directory cannot be used.
    #[error("cannot use the run directory {}: {reason}", path.display())]
    RunDirectory {
        /// The directory.
        path: PathBuf,
        /// Why, in words.
        reason: String,
    },
    /// Another supervisor uses the run directory.
    #[error("another supervisor{} uses the run directory {}; give each cluster one of its own",
        pid.map(|pid| format!(" (process {pid})")).unwrap_or_default(), path.display())]
    AlreadyRunning {
        /// The directory.
        path: PathBuf,
        /// Its process, if it has said so.
        pid: Option<u32>,
    },
    /// Every worker has failed to start as often as is allowed, and none has ever been ready.
    #[error("no worker starts; the last one: {0}")]
    NoWorkerStarts(String),
    /// The process was started as a worker, without a channel to a supervisor.
    #[error(
        "{} is set, but standard input is no channel to a supervisor: a worker can only be started by one",
        crate::wire::control::WORKER_VARIABLE
    )]
    NoChannel,
    /// The supervisor ended before the worker was ready, or speaks another version.
    #[error("the supervisor {0}")]
    Supervisor(&'static str),
    /// What the worker was to do has failed.
    #[error("{0}")]
    Worker(String),
    /// The system refuses something that every cluster needs.
    #[error("{what}: {source}")]
    System {
        /// What was attempted.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
}

impl ClusterError {
    /// For `map_err`: what was attempted.
    pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> ClusterError {
        move |source| ClusterError::System { what, source }
    }
}
