//! The one call that every process of a cluster makes, and which makes it what it is.

use std::fmt;

use crate::builder::ClusterBuilder;
use crate::error::ClusterError;
use crate::wire::control::WORKER_VARIABLE;
use crate::worker::{self, Worker};
use crate::{ended::Ended, supervisor};

impl ClusterBuilder {
    /// Runs the cluster to its end.
    ///
    /// The process that calls this first becomes the supervisor. It starts its own program again for
    /// each worker, with the same arguments; there this same call runs `work`. So whatever a program
    /// does before it happens in every process. In workers, standard input is `/dev/null`.
    ///
    /// Needs a tokio runtime with I/O and time. A worker whose runtime is blocked for longer than the
    /// heartbeat allows is killed and replaced.
    pub async fn run<F, E>(self, work: F) -> Result<Ended, ClusterError>
    where
        F: AsyncFnOnce(Worker) -> Result<(), E>,
        E: fmt::Display,
    {
        if std::env::var_os(WORKER_VARIABLE).is_some() {
            worker::run(self.version, work).await
        } else {
            self.check()?;
            supervisor::run(self).await
        }
    }
}
