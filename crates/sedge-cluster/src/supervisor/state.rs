//! What all tasks of the supervisor share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use sedge_sticky::{Availability, Home, Router, Target};
use tokio::sync::{Notify, watch};

use super::slot::Slot;
use super::undecided::Undecided;
use crate::builder::{ClusterBuilder, OnServing};
use crate::error::ClusterError;
use crate::fd::shared::SharedTable;
use crate::limits::RANDOM_SECRET_BYTES;
use crate::listen::{Listener, local_address};
use crate::run_dir::{RunDirectory, default_run_dir, nameless_run_dir};
use crate::wire::command::{ClusterState, Status, WorkerState};
use crate::wire::control::Secret;

/// What the cluster as a whole is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// `/health` says 503, everything else is as before.
    Leaving,
    /// Workers have been told to end.
    Draining,
    /// Workers are being killed.
    Forced(u8),
}

/// Counted since the start.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) accepted: Cell<u64>,
    pub(super) passed: Cell<u64>,
    /// Closed, as the first bytes did not come in time.
    pub(super) timed_out: Cell<u64>,
    /// Closed to make room for others that wait for their first bytes.
    pub(super) displaced: Cell<u64>,
    /// Answered 503.
    pub(super) unavailable: Cell<u64>,
    /// Closed without an answer, for any other reason than the client's.
    pub(super) dropped: Cell<u64>,
    pub(super) accept_errors: Cell<u64>,
    /// Workers that did not answer with their metrics in time.
    pub(super) metrics_missing: Cell<u64>,
}

pub(super) fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

/// What all tasks of the supervisor share.
pub(super) struct Supervisor {
    pub(super) settings: ClusterBuilder,
    pub(super) secret: Secret,
    pub(super) directory: RunDirectory,
    pub(super) table: SharedTable,
    pub(super) router: RefCell<Router>,
    pub(super) slots: Vec<Slot>,
    pub(super) listening: Vec<String>,
    pub(super) started: Instant,
    pub(super) phase: watch::Sender<Phase>,
    /// A worker's state has changed.
    pub(super) changed: Notify,
    pub(super) on_serving: RefCell<Option<OnServing>>,
    /// Whether any worker has ever been ready.
    pub(super) served: Cell<bool>,
    /// Whether a worker that was told to end did not do so in time, or not well.
    pub(super) killed: Cell<bool>,
    /// How a worker that could not start has ended, when none can.
    pub(super) hopeless: RefCell<Option<String>>,
    pub(super) counters: Counters,
    pub(super) undecided: Undecided,
    pub(super) refusals: Rc<Cell<usize>>,
}

impl Supervisor {
    pub(super) fn new(
        mut settings: ClusterBuilder,
        on_serving: Option<OnServing>,
        listeners: &[Listener],
    ) -> Result<Supervisor, ClusterError> {
        let no_random = ClusterError::system("no random numbers can be had");
        let (start, secret) = random(settings.secret.take()).map_err(no_random)?;
        let directory = take_run_dir(&settings, listeners, start)?;
        let table = SharedTable::create(settings.workers.into())
            .map_err(ClusterError::system("the table of interest cannot be made"))?;
        let mut sids = sedge_sticky::SidCodec::new(&secret.0);
        for previous in &settings.previous_secrets {
            sids = sids.with_previous(&previous.0);
        }
        let mut routing = settings.routing.clone();
        routing.sids = Some(sids);
        let mut router = Router::new(routing)?;
        let mut slots = Vec::with_capacity(settings.workers.into());
        for worker in 0..=(settings.workers - 1) as u8 {
            let home = Home::Worker { node: settings.node, worker };
            let target = Target::new(format!("worker-{worker}")).home(home);
            let target = router.add(target.availability(Availability::Down));
            let fail = |_| ClusterError::Setting("the routing does not take so many workers");
            slots.push(Slot::new(worker, target.map_err(fail)?));
        }
        Ok(Supervisor {
            undecided: Undecided::new(settings.undecided_max, settings.routing.head_bytes_max),
            settings,
            secret,
            directory,
            table,
            router: RefCell::new(router),
            slots,
            listening: listeners.iter().map(|listener| listener.name.clone()).collect(),
            started: Instant::now(),
            phase: watch::Sender::new(Phase::Running),
            changed: Notify::new(),
            on_serving: RefCell::new(on_serving),
            served: Cell::new(false),
            killed: Cell::new(false),
            hopeless: RefCell::default(),
            counters: Counters::default(),
            refusals: Rc::default(),
        })
    }

    pub(super) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Whether workers that end are not started again.
    pub(super) fn is_ending(&self) -> bool {
        matches!(self.phase(), Phase::Draining | Phase::Forced(_))
    }

    /// To be called whenever a worker's state has changed.
    pub(super) fn worker_changed(&self) {
        let states = || self.slots.iter().map(Slot::state);
        if states().any(|state| state == WorkerState::Ready) {
            self.served.set(true);
            let nobody_starts = !states()
                .any(|state| matches!(state, WorkerState::Starting | WorkerState::Waiting));
            if nobody_starts && let Some(call) = self.on_serving.take() {
                call(&self.listening);
            }
        }
        self.changed.notify_waiters();
    }

    /// Whether there is hope that a worker becomes ready soon.
    pub(super) fn somebody_starts(&self) -> bool {
        !self.is_ending()
            && self
                .slots
                .iter()
                .any(|slot| matches!(slot.state(), WorkerState::Starting | WorkerState::Waiting))
    }

    pub(super) fn state(&self) -> ClusterState {
        let ready = |slot: &Slot| matches!(slot.state(), WorkerState::Ready | WorkerState::Suspect);
        match self.phase() {
            Phase::Running if self.slots.iter().any(ready) => ClusterState::Serving,
            Phase::Running if !self.served.get() => ClusterState::Starting,
            Phase::Running => ClusterState::Down,
            _ => ClusterState::Draining,
        }
    }

    pub(super) fn status(&self) -> Status {
        let counters = &self.counters;
        let refused =
            [&counters.timed_out, &counters.displaced, &counters.unavailable, &counters.dropped];
        Status {
            pid: std::process::id(),
            version: self.settings.version.clone(),
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            state: self.state(),
            node: self.settings.node,
            listening: self.listening.clone(),
            undecided: self.undecided.len() as u64,
            passed: counters.passed.get(),
            refused: refused.iter().map(|counter| counter.get()).sum(),
            workers: self.slots.iter().map(Slot::status).collect(),
        }
    }

    /// Begins to end the cluster in order. What has begun already goes on.
    pub(super) fn leave(&self) {
        self.phase.send_if_modified(|phase| {
            let begins = *phase == Phase::Running;
            if begins {
                *phase = Phase::Leaving;
            }
            begins
        });
    }

    /// Ends the cluster at once.
    pub(super) fn force(&self, signal: u8) {
        self.phase.send_replace(Phase::Forced(signal));
    }
}

/// Where the sockets are: as the settings say, or by the first port.
fn take_run_dir(
    settings: &ClusterBuilder,
    listeners: &[Listener],
    start: u64,
) -> Result<RunDirectory, ClusterError> {
    if let Some(given) = &settings.run_dir {
        return RunDirectory::take(given, start);
    }
    let opened = listeners.iter().find_map(|listener| local_address(&listener.socket).ok());
    let path = match opened.or(settings.port_per_worker) {
        Some(address) => default_run_dir(address.port()),
        None => nameless_run_dir(),
    };
    RunDirectory::take_default(&path, start)
}

fn random(configured: Option<Secret>) -> std::io::Result<(u64, Secret)> {
    let fill = |bytes: &mut [u8]| {
        getrandom::fill(bytes).map_err(|error| std::io::Error::other(error.to_string()))
    };
    let mut start = [0; 8];
    fill(&mut start)?;
    let secret = if let Some(secret) = configured {
        secret
    } else {
        let mut bytes = vec![0; RANDOM_SECRET_BYTES];
        fill(&mut bytes)?;
        Secret(bytes)
    };
    Ok((u64::from_be_bytes(start), secret))
}
