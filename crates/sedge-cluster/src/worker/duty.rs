//! What a worker does for its supervisor, beside its work: heartbeats, metrics, ending when it is
//! told to, and ending when nobody is left to tell it.

use std::convert::Infallible;
use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::channel::Channel;
use crate::drain::{Drain, DrainReason};
use crate::limits::{
    CONTROL_BYTES_MAX, CONTROL_SEND_TIMEOUT, DRAIN_GRACE, LAST_WORDS, METRICS_BYTES_MAX,
    ORPHAN_LOOK, PROGRESS_LOOK, TEXT_PART_BYTES,
};
use crate::signals::{Signal, Signals};
use crate::tasks::{self, EXIT_DEFECT};
use crate::wire::command::ClusterState;
use crate::wire::control::{self, DrainOrder, Stats, ToSupervisor, ToWorker};

/// The exit status of a worker that ends because its supervisor is gone before it was ready.
pub(crate) const EXIT_ORPHANED: i32 = 75;
/// What the worker owes its supervisor.
pub(crate) struct Duty {
    pub(super) channel: Channel,
    pub(super) stats: Mutex<StatsSource>,
    pub(super) metrics: Mutex<Vec<MetricsSource>>,
    pub(super) progress: Mutex<Option<ProgressSource>>,
    pub(super) reread: Mutex<Option<Arc<dyn Fn() + Send + Sync>>>,
    /// The last heartbeat that has come.
    heartbeat: watch::Sender<u64>,
    pub(super) drain: watch::Sender<Option<Drain>>,
    pub(super) ready: AtomicBool,
    /// The supervisor is gone.
    pub(super) orphaned: watch::Sender<bool>,
    /// Where a supervisor's control socket is.
    pub(super) run_dir: PathBuf,
    /// Keeps the directory of the sockets.
    _directory: Option<File>,
}

type MetricsSource = Arc<dyn Fn() -> String + Send + Sync>;
type ProgressSource = Arc<dyn Fn() -> Vec<u64> + Send + Sync>;

#[derive(Default)]
pub(super) enum StatsSource {
    #[default]
    Unknown,
    Last(Stats),
    Asked(Arc<dyn Fn() -> Stats + Send + Sync>),
}

impl fmt::Debug for Duty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Duty").field("ready", &self.ready).finish_non_exhaustive()
    }
}

impl Duty {
    pub(super) fn new(channel: Channel, run_dir: PathBuf, directory: Option<File>) -> Duty {
        Duty {
            channel,
            stats: Mutex::default(),
            metrics: Mutex::default(),
            progress: Mutex::default(),
            reread: Mutex::default(),
            heartbeat: watch::Sender::new(0),
            drain: watch::Sender::new(None),
            ready: AtomicBool::new(false),
            orphaned: watch::Sender::new(false),
            run_dir,
            _directory: directory,
        }
    }

    pub(super) fn stats(&self) -> MutexGuard<'_, StatsSource> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The load at present; `None` if the worker has never said it.
    pub(super) fn current_stats(&self) -> Option<Stats> {
        let ask = match &*self.stats() {
            StatsSource::Unknown => return None,
            StatsSource::Last(stats) => return Some(stats.clone()),
            StatsSource::Asked(ask) => Arc::clone(ask),
        };
        Some(ask())
    }

    /// The metrics of this worker, from all who add to them.
    pub(super) fn own_metrics(&self) -> String {
        let sources = self.metrics.lock().unwrap_or_else(PoisonError::into_inner).clone();
        sources.iter().map(|ask| ask()).collect()
    }

    pub(super) async fn say(&self, message: &ToSupervisor) -> io::Result<()> {
        say(&self.channel, message).await
    }
}

pub(super) async fn say(channel: &Channel, message: &ToSupervisor) -> io::Result<()> {
    let bytes = control::encode(message).map_err(io::Error::other)?;
    channel.send_within(CONTROL_SEND_TIMEOUT, &[IoSlice::new(&bytes)], &[]).await
}

/// Serves until the process ends.
pub(super) async fn serve(
    duty: Arc<Duty>,
    mut signals: Signals,
    drain: DrainOrder,
    orphan_deadline: Duration,
) {
    let supervised = async {
        tokio::select! {
            () = supervised(&duty) => {}
            never = answer_heartbeats(&duty) => match never {},
        }
    };
    tokio::pin!(supervised);
    let mut told = false;
    loop {
        tokio::select! {
            () = &mut supervised => break,
            signal = signals.next() => on_signal(&duty, drain, signal, &mut told),
        }
    }
    if !duty.ready.load(Ordering::SeqCst) {
        tracing::error!("the supervisor is gone before this worker was ready; it ends");
        exit(EXIT_ORPHANED);
    }
    duty.orphaned.send_replace(true);
    tracing::warn!(?orphan_deadline, "the supervisor is gone; serving on until no client is left");
    let lonely = orphan(&duty, orphan_deadline);
    tokio::pin!(lonely);
    loop {
        tokio::select! {
            () = &mut lonely => break,
            signal = signals.next() => on_signal(&duty, drain, signal, &mut told),
        }
    }
    begin(&duty, Drain::new(&drain, DrainReason::Orphaned, Instant::now()));
    loop {
        let signal = signals.next().await;
        on_signal(&duty, drain, signal, &mut told);
    }
}

/// Ends the process behind a line of the log that says why.
fn exit(status: i32) -> ! {
    std::thread::sleep(LAST_WORDS);
    std::process::exit(status)
}

/// A service manager sends the signals to all processes of a service at once, so a worker that let them
/// end it would go before its supervisor has told it how.
fn on_signal(duty: &Arc<Duty>, drain: DrainOrder, signal: Signal, told: &mut bool) {
    match signal {
        Signal::Hangup => duty.reread(),
        _ if std::mem::replace(told, true) => std::process::exit(signal.exit_status().into()),
        _ => begin(duty, Drain::new(&drain, DrainReason::Signal, Instant::now())),
    }
}

/// Answers heartbeats, for as long as the work goes on. Those that come while it stands still are
/// answered when it moves again. What cannot be said is no reason to stop: either the supervisor is
/// gone, which another task notices, or it will hear the next answer.
async fn answer_heartbeats(duty: &Duty) -> Infallible {
    let mut heartbeat = duty.heartbeat.subscribe();
    let mut seen = Vec::new();
    loop {
        if heartbeat.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        duty.progressed(&mut seen).await;
        let number = *heartbeat.borrow_and_update();
        let stats = duty.current_stats().map(Stats::bounded);
        if let Err(error) = duty.say(&ToSupervisor::Alive { number, stats }).await {
            tracing::debug!(%error, "a heartbeat could not be answered");
        }
    }
}

impl Duty {
    /// Has files read again, if the worker has any.
    fn reread(&self) {
        let reread = self.reread.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(reread) = reread {
            reread();
        }
    }

    /// Waits until each part of the work has moved on since it was last `seen`.
    async fn progressed(&self, seen: &mut Vec<u64>) {
        let ask = self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(ask) = ask else { return };
        loop {
            let now = ask();
            let stands_still = now.len() == seen.len()
                && now.iter().zip(seen.iter()).any(|(now, seen)| now == seen);
            if !stands_still {
                *seen = now;
                return;
            }
            tokio::time::sleep(PROGRESS_LOOK).await;
        }
    }
}

/// Does what the supervisor says, until it is gone.
async fn supervised(duty: &Arc<Duty>) {
    let mut buffer = vec![0; CONTROL_BYTES_MAX];
    loop {
        let received = match duty.channel.receive(&mut buffer).await {
            Ok(received) if received.len > 0 => received,
            _ => return,
        };
        let done = match control::decode::<ToWorker>(&buffer[..received.len]) {
            Ok(ToWorker::Heartbeat { number }) => {
                duty.heartbeat.send_replace(number);
                Ok(())
            }
            Ok(ToWorker::Metrics { request }) => say_metrics(duty, request).await,
            Ok(ToWorker::Drain(order)) => {
                let reason = if order.replaced { DrainReason::Replaced } else { DrainReason::Stop };
                begin(duty, Drain::new(&order, reason, Instant::now()));
                Ok(())
            }
            Ok(ToWorker::Reread) => {
                duty.reread();
                Ok(())
            }
            Ok(ToWorker::Welcome(_)) => Ok(()),
            Err(error) => {
                sedge_log::warn_rarely!(%error, "the supervisor said something that makes no sense");
                Ok(())
            }
        };
        if let Err(error) = done {
            // It is about to find this worker hanging, or it is gone, which the next message tells.
            sedge_log::warn_rarely!(%error, "the supervisor does not take an answer");
        }
    }
}

async fn say_metrics(duty: &Duty, request: u64) -> io::Result<()> {
    let mut text = duty.own_metrics();
    if text.len() > METRICS_BYTES_MAX {
        sedge_log::warn_rarely!(
            bytes = text.len(),
            "the metrics are too long and are not passed on"
        );
        text.clear();
    }
    let mut rest = text.as_str();
    loop {
        let (part, after) = rest.split_at(rest.floor_char_boundary(TEXT_PART_BYTES));
        let last = after.is_empty();
        duty.say(&ToSupervisor::Metrics { request, text: part.to_owned(), last }).await?;
        if last {
            return Ok(());
        }
        rest = after;
    }
}

/// Tells the worker to end, if it does not know yet or has less time than it knew.
fn begin(duty: &Arc<Duty>, drain: Drain) {
    let mut sooner = false;
    duty.drain.send_if_modified(|told| {
        sooner = told.is_none_or(|told| drain.deadline < told.deadline);
        if sooner {
            *told = Some(drain);
        }
        sooner
    });
    if !sooner {
        return;
    }
    // A thread of its own ends the process even if nothing else runs any more.
    let patience = drain.deadline.saturating_duration_since(Instant::now()) + DRAIN_GRACE;
    let spawned = tasks::thread("sedge-deadline", move || {
        std::thread::sleep(patience);
        tracing::error!("this worker has not ended in time; it is cut off");
        exit(EXIT_DEFECT);
    });
    if let Err(error) = spawned {
        tracing::warn!(%error, "nothing watches over the deadline of this worker");
    }
}

/// Waits until an orphan has nothing left to serve, or somebody else serves in its place, or it has
/// served long enough.
///
/// A successor's workers have a bus of their own: as long as an orphan keeps its clients, they do not hear
/// those of the successor, nor are they found there by new connections. So they are let go as soon
/// as there is somebody to go to.
async fn orphan(duty: &Duty, deadline: Duration) {
    let done = async {
        loop {
            // Nothing is known of a worker that never reports; it has until the deadline.
            if duty.current_stats().is_some_and(|stats| stats.connections == 0) {
                return;
            }
            if successor_serves(&duty.run_dir).await {
                tracing::warn!(
                    "a new supervisor's workers serve: the clients of this one are closed"
                );
                return;
            }
            tokio::time::sleep(ORPHAN_LOOK).await;
        }
    };
    if tokio::time::timeout(deadline, done).await.is_err() {
        tracing::warn!("no supervisor has come back for long; the remaining clients are closed");
    }
}

/// Whether another supervisor has taken the run directory, and has workers that serve.
async fn successor_serves(run_dir: &Path) -> bool {
    let run_dir = run_dir.to_owned();
    let asked = tasks::look(move || crate::control::status(&run_dir)).await;
    matches!(asked, Ok(Ok(status)) if status.state == ClusterState::Serving)
}
