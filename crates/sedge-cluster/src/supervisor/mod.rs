//! The supervisor: listens, starts workers, passes connections to them, ends them in order.
//!
//! All of it runs on one thread, in tasks that share [`Supervisor`]. No borrow of its cells is held
//! across an await.

mod control;
mod dispatch;
mod life;
mod passer;
mod process;
mod refusal;
mod restarts;
mod slot;
mod telling;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;

use sedge_sticky::{Availability, Home, Router, Target};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, watch};

use crate::builder::{ClusterBuilder, OnServing};
use crate::fd::shared::SharedTable;
use crate::limits::{RANDOM_SECRET_BYTES, REFUSAL_LINGER};
use crate::listen::{Listener, local_address};
use crate::run_dir::{RunDirectory, default_run_dir, nameless_run_dir};
use crate::wire::command::{ClusterState, Status, WorkerState};
use crate::wire::control::Secret;
use crate::{ClusterError, admin, local, tasks};

pub(crate) use restarts::RestartLimits;
use slot::{Order, Slot};

/// How a process of a cluster has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The supervisor, after all workers have ended by themselves.
    Clean,
    /// The supervisor, after workers that did not end in time had to be cut off, or ended with an error.
    Killed,
    /// The supervisor, told a second time to end, by this signal; the workers were killed. Also if
    /// it was told to stop at once on its control socket, which counts as signal 15.
    Forced(u8),
    /// A worker, whose work is done.
    Worker,
}

impl Ended {
    /// The status for the process to exit with.
    pub fn code(self) -> i32 {
        match self {
            Ended::Clean | Ended::Worker => 0,
            Ended::Killed => 1,
            Ended::Forced(signal) => 128 + i32::from(signal),
        }
    }
}

impl From<Ended> for ExitCode {
    fn from(ended: Ended) -> ExitCode {
        u8::try_from(ended.code()).map_or(ExitCode::FAILURE, ExitCode::from)
    }
}

/// What the cluster as a whole is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
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
struct Counters {
    accepted: Cell<u64>,
    passed: Cell<u64>,
    /// Closed, as the first bytes did not come in time.
    timed_out: Cell<u64>,
    /// Closed to make room for others that wait for their first bytes.
    displaced: Cell<u64>,
    /// Answered 503.
    unavailable: Cell<u64>,
    /// Closed without an answer, for any other reason than the client's.
    dropped: Cell<u64>,
    accept_errors: Cell<u64>,
    /// Workers that did not answer with their metrics in time.
    metrics_missing: Cell<u64>,
}

fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

/// What all tasks of the supervisor share.
struct Supervisor {
    settings: ClusterBuilder,
    secret: Secret,
    directory: RunDirectory,
    table: SharedTable,
    router: RefCell<Router>,
    slots: Vec<Slot>,
    listening: Vec<String>,
    started: Instant,
    phase: watch::Sender<Phase>,
    /// A worker's state has changed.
    changed: Notify,
    on_serving: RefCell<Option<OnServing>>,
    /// Whether any worker has ever been ready.
    served: Cell<bool>,
    /// Whether a worker that was told to end did not do so in time, or not well.
    killed: Cell<bool>,
    /// How a worker that could not start has ended, when none can.
    hopeless: RefCell<Option<String>>,
    counters: Counters,
    dispatch: dispatch::State,
    refusals: Rc<Cell<usize>>,
}

/// Runs this process as the supervisor.
pub(crate) async fn run(mut settings: ClusterBuilder) -> Result<Ended, ClusterError> {
    // From here on no signal is lost, however early it comes.
    let mut signals = Signals::new().map_err(ClusterError::system("signals cannot be handled"))?;
    let listeners = open_listeners(&settings)?;
    let on_serving = settings.on_serving.take();
    let supervisor = Rc::new(Supervisor::new(settings, on_serving, &listeners)?);
    let admin = match supervisor.settings.admin {
        Some(address) => Some(admin::listen(address)?),
        None => None,
    };
    let control = control::listen(supervisor.directory.path())?;
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            tasks::spawn_local(control::serve(Rc::clone(&supervisor), control));
            if let Some(listener) = admin {
                tasks::spawn_local(admin::serve(Rc::clone(&supervisor), listener));
            }
            for (index, listener) in listeners.into_iter().enumerate() {
                dispatch::listen(&supervisor, listener, index as u16)?;
            }
            tell_start(&supervisor);
            supervise(&supervisor, &mut signals).await
        })
        .await
}

fn tell_start(supervisor: &Supervisor) {
    let (workers, version) = (supervisor.settings.workers, &supervisor.settings.version);
    let directory = local::shown(supervisor.directory.path());
    let listening = supervisor.listening.join(", ");
    tracing::info!(version, workers, directory, listening, "the cluster starts");
}

fn open_listeners(settings: &ClusterBuilder) -> Result<Vec<Listener>, ClusterError> {
    let mut listeners = Vec::with_capacity(settings.listen.len());
    for listen in &settings.listen {
        let opened = listen.open();
        let fail = |source| ClusterError::Listen { address: listen.to_string(), source };
        listeners.push(opened.map_err(fail)?);
    }
    if settings.activation {
        let taken = crate::fd::inherited::take_activated();
        for socket in taken.map_err(|error| ClusterError::Activation(error.to_string()))? {
            listeners.push(Listener::activated(socket).map_err(ClusterError::Activation)?);
        }
    }
    if listeners.is_empty() && settings.port_per_worker.is_none() {
        return Err(ClusterError::NothingToListenOn);
    }
    Ok(listeners)
}

impl Supervisor {
    fn new(
        mut settings: ClusterBuilder,
        on_serving: Option<OnServing>,
        listeners: &[Listener],
    ) -> Result<Supervisor, ClusterError> {
        let no_random = ClusterError::system("no random numbers can be had");
        let (start, secret) = random(settings.secret.take()).map_err(no_random)?;
        let directory = RunDirectory::take(&run_dir(&settings, listeners), start)?;
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
            dispatch: dispatch::State::new(settings.undecided_max, settings.routing.head_bytes_max),
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

    fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Whether workers that end are not started again.
    fn is_ending(&self) -> bool {
        matches!(self.phase(), Phase::Draining | Phase::Forced(_))
    }

    /// To be called whenever a worker's state has changed.
    fn worker_changed(&self) {
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
    fn somebody_starts(&self) -> bool {
        !self.is_ending()
            && self
                .slots
                .iter()
                .any(|slot| matches!(slot.state(), WorkerState::Starting | WorkerState::Waiting))
    }

    fn state(&self) -> ClusterState {
        let ready = |slot: &Slot| matches!(slot.state(), WorkerState::Ready | WorkerState::Suspect);
        match self.phase() {
            Phase::Running if self.slots.iter().any(ready) => ClusterState::Serving,
            Phase::Running if !self.served.get() => ClusterState::Starting,
            Phase::Running => ClusterState::Down,
            _ => ClusterState::Draining,
        }
    }

    fn status(&self) -> Status {
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
            undecided: self.dispatch.undecided() as u64,
            passed: counters.passed.get(),
            refused: refused.iter().map(|counter| counter.get()).sum(),
            workers: self.slots.iter().map(Slot::status).collect(),
        }
    }

    /// Begins to end the cluster in order. What has begun already goes on.
    fn leave(&self) {
        self.phase.send_if_modified(|phase| {
            let begins = *phase == Phase::Running;
            if begins {
                *phase = Phase::Leaving;
            }
            begins
        });
    }

    /// Ends the cluster at once.
    fn force(&self, signal: u8) {
        self.phase.send_replace(Phase::Forced(signal));
    }
}

/// Where the sockets are: as the settings say, or by the first port.
fn run_dir(settings: &ClusterBuilder, listeners: &[Listener]) -> PathBuf {
    if let Some(given) = &settings.run_dir {
        return given.clone();
    }
    let opened = listeners.iter().find_map(|listener| local_address(&listener.socket).ok());
    match opened.or(settings.port_per_worker) {
        Some(address) => default_run_dir(address.port()),
        None => nameless_run_dir(),
    }
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

/// Keeps the workers until the cluster has ended.
async fn supervise(
    supervisor: &Rc<Supervisor>,
    signals: &mut Signals,
) -> Result<Ended, ClusterError> {
    let mut lives = tokio::task::JoinSet::new();
    for index in 0..supervisor.slots.len() {
        lives.spawn_local(life::keep(Rc::clone(supervisor), index));
    }
    let mut phase = supervisor.phase.subscribe();
    let ending = end_in_order(supervisor);
    tokio::pin!(ending);
    loop {
        tokio::select! {
            ended = lives.join_next() => match ended {
                None => break,
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    tracing::error!(%error, "a defect: a worker is no longer kept; ending");
                    supervisor.force(15);
                }
            },
            signal = signals.next() => on_signal(supervisor, signal),
            never = &mut ending => match never {},
            Ok(()) = phase.changed() => {
                if let Phase::Forced(_) = *phase.borrow_and_update() {
                    supervisor.slots.iter().for_each(|slot| slot.order(Order::Kill));
                }
            }
        }
    }
    let _ = tokio::time::timeout(REFUSAL_LINGER / 2, supervisor.refuse_rest()).await;
    if let Some(reason) = supervisor.hopeless.take() {
        return Err(ClusterError::NoWorkerStarts(reason));
    }
    let ended = match supervisor.phase() {
        Phase::Forced(signal) => Ended::Forced(signal),
        _ if supervisor.killed.get() => Ended::Killed,
        _ => Ended::Clean,
    };
    tracing::info!(?ended, "the cluster has ended");
    Ok(ended)
}

fn on_signal(supervisor: &Supervisor, signal: u8) {
    if supervisor.phase() == Phase::Running {
        tracing::info!(signal, "told to end: clients are being closed");
        supervisor.leave();
    } else {
        tracing::warn!(signal, "told to end for a second time: ending at once");
        supervisor.force(signal);
    }
}

/// Waits until the cluster is told to end, and tells its workers.
async fn end_in_order(supervisor: &Supervisor) -> Infallible {
    let mut phase = supervisor.phase.subscribe();
    let _ = phase.wait_for(|phase| *phase != Phase::Running).await;
    tokio::time::sleep(supervisor.settings.drain_delay).await;
    let begins = supervisor.phase.send_if_modified(|phase| {
        let begins = *phase == Phase::Leaving;
        if begins {
            *phase = Phase::Draining;
        }
        begins
    });
    if begins {
        let order = Order::Drain(supervisor.settings.drain);
        supervisor.slots.iter().for_each(|slot| slot.order(order));
    }
    std::future::pending().await
}

/// The signals that end the cluster.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        let (interrupt, terminate) = (SignalKind::interrupt(), SignalKind::terminate());
        Ok(Signals { interrupt: signal(interrupt)?, terminate: signal(terminate)? })
    }

    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => 2,
            _ = self.terminate.recv() => 15,
        }
    }
}
