//! Many processes on one port: what a Node deployment does with a hand-written master, sticky
//! routing and message passing between its processes.
//!
//! A **supervisor** listens. It looks at the beginning of each connection without taking it, decides
//! which **worker** it belongs to, and passes the untouched connection to that process. It never
//! sees the connection's data again. It starts workers, replaces those that end or hang, and closes
//! all of them in order. Workers pass connections on among themselves, and have a **bus** for what
//! concerns several of them.
//!
//! - [`Cluster`]: the settings, and running a cluster from any program;
//! - [`Worker`]: what a worker gets: its identity, connections, siblings, the bus;
//! - [`drain`]: closing clients in order;
//! - [`control`]: asking a running supervisor, as `sedge status` does;
//! - [`signals`]: the signals that a server heeds;
//! - [`limits`]: every bound, with its reason.
//!
//! This crate knows connections, workers and bytes, and nothing of Socket.IO. It needs Linux.

#![cfg(target_os = "linux")]

mod accept;
mod admin;
mod builder;
pub mod bus;
mod channel;
pub mod control;
pub mod drain;
mod ended;
mod error;
mod fd;
mod interest;
pub mod limits;
mod listen;
mod local;
mod metrics;
mod passed;
mod run;
mod run_dir;
pub mod signals;
mod supervisor;
mod tasks;
mod wire;
pub mod worker;

pub use builder::{Cluster, ClusterBuilder};
pub use bus::UnixBus;
pub use control::{ClusterState, Status, WorkerState, WorkerStatus};
pub use drain::{Batch, Drain, DrainReason, Pacing};
pub use ended::Ended;
pub use error::ClusterError;
pub use listen::Listen;
pub use passed::{Passed, Stream};
pub use run_dir::default_run_dir;

pub use wire::control::{Stats, WORKER_VARIABLE};
pub use worker::{Connections, Drains, HostMetrics, NotPassed, PassReason, Siblings, Worker};
