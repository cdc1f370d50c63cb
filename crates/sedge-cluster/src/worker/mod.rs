//! A worker: one process that is given connections.

mod connections;
mod duty;
mod host;
mod siblings;

use std::fmt;
use std::fs::File;
use std::io::{self};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::bus::{BusPlace, UnixBus};
use crate::channel::Channel;
use crate::drain::Drain;
use crate::ended::Ended;
use crate::error::ClusterError;
use crate::fd::inherited;
use crate::fd::shared::SharedTable;
use crate::limits::{CONTROL_BYTES_MAX, FAILURE_BYTES_MAX};
use crate::signals::Signals;
use crate::wire::control::{self, PROTOCOL, Secret, Stats, ToSupervisor, ToWorker, Welcome};
use crate::{run_dir, tasks};

use duty::{Duty, StatsSource, say};

pub use connections::Connections;
pub use host::HostMetrics;
pub use siblings::{NotPassed, PassReason, Siblings};

/// What a worker is and has. It is handed to the function that [`run`](crate::ClusterBuilder::run)
/// was given.
#[derive(Debug)]
pub struct Worker {
    node: u16,
    index: u8,
    workers: u16,
    secret: Secret,
    previous_secrets: Vec<Secret>,
    connections: Option<Connections>,
    siblings: Siblings,
    bus: Arc<UnixBus>,
    duty: Arc<Duty>,
    /// The task that does the duty.
    serving: AbortHandle,
}

/// Who this is.
impl Worker {
    /// The node's tag in session ids.
    pub fn node(&self) -> u16 {
        self.node
    }

    /// The worker's place among those of its host, counted from 0. A successor takes it over.
    pub fn index(&self) -> u8 {
        self.index
    }

    /// How many workers the host has.
    pub fn count(&self) -> u16 {
        self.workers
    }

    /// The secret that session ids are made with.
    pub fn secret(&self) -> &[u8] {
        &self.secret.0
    }

    /// Former secrets, whose session ids are still accepted.
    pub fn previous_secrets(&self) -> impl Iterator<Item = &[u8]> {
        self.previous_secrets.iter().map(|secret| &secret.0[..])
    }
}

/// What it has.
impl Worker {
    /// The connections it is given. `None` if they were taken before.
    pub fn connections(&mut self) -> Option<Connections> {
        self.connections.take()
    }

    /// The other workers of this host, to pass connections to.
    pub fn siblings(&self) -> Siblings {
        self.siblings.clone()
    }

    /// The bus among the workers of this host.
    pub fn bus(&self) -> Arc<UnixBus> {
        Arc::clone(&self.bus)
    }
}

/// What it says and is told.
impl Worker {
    /// Says that connections may come, once the bus, if it was started, has found the others (at most
    /// two seconds). A worker that does not say so in time is replaced.
    pub async fn ready(&self) -> Result<(), io::Error> {
        self.bus.settled().await;
        // Before it is said: whatever comes after it must not end this process as one that never served.
        self.duty.ready.store(true, Ordering::SeqCst);
        self.duty.say(&ToSupervisor::Ready).await
    }

    /// Sets what the supervisor is told of this worker's load at its next heartbeats.
    pub fn report(&self, stats: Stats) {
        *self.duty.stats() = StatsSource::Last(stats);
    }

    /// Has the load asked for at each heartbeat, once a second. The function must not block.
    pub fn report_from(&self, ask: impl Fn() -> Stats + Send + Sync + 'static) {
        *self.duty.stats() = StatsSource::Asked(Arc::new(ask));
    }

    /// Adds to this worker's metrics a text in Prometheus' text format, asked for whenever somebody wants those of
    /// the host. The supervisor adds the label `worker`. The function must not block.
    pub fn metrics_from(&self, ask: impl Fn() -> String + Send + Sync + 'static) {
        let mut metrics = self.duty.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        metrics.push(Arc::new(ask));
    }

    /// Has the progress of this worker's work looked at before each heartbeat is answered, so that a
    /// worker whose work hangs is replaced even though its runtime goes on: a number for each part of it,
    /// such as a thread, that changes several times a second unless that part is blocked. As long as one of
    /// them stands still, heartbeats are not answered. The function must not block.
    pub fn progress_from(&self, ask: impl Fn() -> Vec<u64> + Send + Sync + 'static) {
        let mut progress = self.duty.progress.lock().unwrap_or_else(PoisonError::into_inner);
        *progress = Some(Arc::new(ask));
    }

    /// Has this called when files such as certificates are to be read again: the supervisor or this worker
    /// got SIGHUP. The function may read some files, and must not block for longer.
    pub fn reread_by(&self, reread: impl Fn() + Send + Sync + 'static) {
        let reread: Arc<dyn Fn() + Send + Sync> = Arc::new(reread);
        *self.duty.reread.lock().unwrap_or_else(PoisonError::into_inner) = Some(reread);
    }

    /// The metrics of all workers of this host, for whoever asks this one.
    pub fn host_metrics(&self) -> HostMetrics {
        HostMetrics::new(self.index, Arc::clone(&self.duty))
    }

    /// Tells when the worker is to close its clients and end.
    pub fn drains(&self) -> Drains {
        Drains(self.duty.drain.subscribe())
    }

    /// Whether the supervisor is gone. The worker then serves on, and is told to drain when it has no
    /// connections left, when another supervisor's workers serve, or after the orphan deadline.
    pub fn is_orphaned(&self) -> bool {
        *self.duty.orphaned.borrow()
    }
}

/// Tells when a worker is to end. It can be cloned and asked by anybody.
#[derive(Clone, Debug)]
pub struct Drains(watch::Receiver<Option<Drain>>);

impl Drains {
    /// Waits until the worker is to end. It may be asked again, and then answers at once.
    pub async fn wait(&mut self) -> Drain {
        let told = match self.0.wait_for(Option::is_some).await {
            Ok(told) => *told,
            Err(_) => None,
        };
        match told {
            Some(drain) => drain,
            // The worker is at its end, and nobody tells anything any more.
            None => std::future::pending().await,
        }
    }

    /// What the worker was told, if it was.
    pub fn now(&self) -> Option<Drain> {
        *self.0.borrow()
    }
}

/// Runs this process as a worker.
pub(crate) async fn run<F, E>(version: String, work: F) -> Result<Ended, ClusterError>
where
    F: AsyncFnOnce(Worker) -> Result<(), E>,
    E: fmt::Display,
{
    let socket = inherited::take_channel()
        .map_err(ClusterError::system("the channel to the supervisor cannot be taken over"))?
        .ok_or(ClusterError::NoChannel)?;
    let channel = Channel::new(socket).map_err(ClusterError::system("no channel"))?;
    let hello = ToSupervisor::Hello { protocol: PROTOCOL, pid: std::process::id(), version };
    let gone = |_| ClusterError::Supervisor("is gone");
    say(&channel, &hello).await.map_err(gone)?;
    let (welcome, table, connections) = welcome(&channel).await?;
    name_process(welcome.index);
    let worker = match prepare(*welcome, channel, table, connections).await {
        Ok(worker) => worker,
        Err((channel, error)) => {
            failed(&channel, &error.to_string()).await;
            return Err(error);
        }
    };
    let duty = Arc::clone(&worker.duty);
    let (bus, serving) = (Arc::clone(&worker.bus), worker.serving.clone());
    let ended = work(worker).await;
    sedge_adapter::Bus::close(&*bus);
    let ended = match ended {
        Ok(()) => Ok(Ended::Worker),
        Err(error) => {
            let text = error.to_string();
            failed(&duty.channel, &text).await;
            Err(ClusterError::Worker(text))
        }
    };
    // The channel closes, and the supervisor sees to it that the process ends.
    serving.abort();
    ended
}

/// Says why this worker ends, for the status.
async fn failed(channel: &Channel, text: &str) {
    let mut text = text.to_owned();
    text.truncate(text.floor_char_boundary(FAILURE_BYTES_MAX));
    // If nobody hears it, standard error still has it.
    let _ = say(channel, &ToSupervisor::Failed { text }).await;
}

/// Waits for the supervisor's first message.
async fn welcome(channel: &Channel) -> Result<(Box<Welcome>, OwnedFd, OwnedFd), ClusterError> {
    let mut buffer = vec![0; CONTROL_BYTES_MAX];
    let received = channel.receive(&mut buffer).await;
    let received = received.map_err(|_| ClusterError::Supervisor("is gone"))?;
    if received.len == 0 {
        return Err(ClusterError::Supervisor("is gone"));
    }
    let message = control::decode::<ToWorker>(&buffer[..received.len]);
    let mut descriptors = received.descriptors.into_iter();
    match (message, descriptors.next(), descriptors.next()) {
        (Ok(ToWorker::Welcome(welcome)), Some(table), Some(connections))
            if welcome.protocol == PROTOCOL =>
        {
            Ok((welcome, table, connections))
        }
        _ => Err(ClusterError::Supervisor("speaks another version than this worker")),
    }
}

/// Opens everything that a worker has.
async fn prepare(
    welcome: Welcome,
    channel: Channel,
    table: OwnedFd,
    passed: OwnedFd,
) -> Result<Worker, (Channel, ClusterError)> {
    let opened = open(&welcome, table, passed).await;
    let (bus, siblings, connections, directory, signals) = match opened {
        Ok(opened) => opened,
        Err(error) => return Err((channel, error)),
    };
    let run_dir = welcome.directory.parent().map(Path::to_owned).unwrap_or_default();
    let duty = Arc::new(Duty::new(channel, run_dir, directory));
    connections.stop_listening_when(duty.orphaned.subscribe());
    let Welcome { node, index, workers, secret, previous_secrets, drain, .. } = welcome;
    let orphan_deadline = std::time::Duration::from_millis(welcome.orphan_deadline_ms);
    let serving = duty::serve(Arc::clone(&duty), signals, drain, orphan_deadline);
    let serving = tasks::worker_part("duty", serving);
    let connections = Some(connections);
    Ok(Worker {
        node,
        index,
        workers,
        secret,
        previous_secrets,
        connections,
        siblings,
        bus,
        duty,
        serving,
    })
}

type Opened = (Arc<UnixBus>, Siblings, Connections, Option<File>, Signals);

async fn open(welcome: &Welcome, table: OwnedFd, passed: OwnedFd) -> Result<Opened, ClusterError> {
    let signals = Signals::new().map_err(ClusterError::system("signals cannot be handled"))?;
    let directory = run_dir::hold(&welcome.directory)
        .map_err(ClusterError::system("the directory of the workers' sockets cannot be held"))?;
    let table = SharedTable::map(table)
        .map_err(ClusterError::system("the table of interest cannot be mapped"))?;
    let place = BusPlace {
        index: welcome.index,
        workers: welcome.workers,
        row: welcome.row,
        directory: welcome.directory.clone(),
    };
    let bus = UnixBus::new(place, welcome.bus, Arc::new(table))
        .map_err(ClusterError::system("the bus cannot be made"))?;
    let siblings = Siblings::new(welcome.index, welcome.workers, welcome.directory.clone());
    let connections = Connections::open(passed, &siblings, welcome.address).await?;
    Ok((Arc::new(bus), siblings, connections, directory, signals))
}

/// Lets `ps` and `top` tell the workers apart.
fn name_process(index: u8) {
    if let Ok(name) = std::ffi::CString::new(format!("sedge-worker-{index}")) {
        let _ = rustix::thread::set_name(&name);
    }
}
