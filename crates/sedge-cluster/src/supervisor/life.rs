//! The life of a worker's process, and of its successors.
//!
//! ```text
//!            hello, ready            heartbeats missed
//! Starting ----------------> Ready <------------------> Suspect
//!    |                         |                           |
//!    | too late, or ended      | told to, or killed        | missed too many: killed
//!    v                         v                           v
//!  Waiting <--- the process has ended, whatever the way ---+
//!    |  \___ after several ends in a row: CrashLoop, the same at a slow pace
//!    +---> Starting
//! ```

use std::future::pending;
use std::io::IoSlice;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::{Duration, Instant};

use sedge_sticky::{Availability, Report};
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, sleep_until};

use super::passer::{Accepted, Passer};
use super::restarts::{Next, Restarts};
use super::slot::{MetricsRequest, Order, Slot};
use super::{Phase, Supervisor, process};
use crate::channel::Channel;
use crate::limits::{
    CONTROL_BYTES_MAX, DRAIN_GRACE, EXIT_TIMEOUT, HEARTBEATS_MISSED_SUSPECT, METRICS_BYTES_MAX,
};
use crate::wire::command::WorkerState;
use crate::wire::control::{self, DrainOrder, PROTOCOL, Stats, ToSupervisor, ToWorker, Welcome};
use crate::{fd, interest};

/// Requests for metrics that may wait for one worker.
const METRICS_WAITING_MAX: usize = 8;

/// How a process has ended.
struct End {
    words: String,
    /// How long it was ready, if it ever was.
    served: Option<Duration>,
    /// It was told to end.
    ordered: bool,
    /// Connections that it was to be given.
    waiting: Vec<Accepted>,
}

/// Keeps a worker running until the cluster ends.
pub(super) async fn keep(supervisor: Rc<Supervisor>, index: usize) {
    let slot = &supervisor.slots[index];
    let mut restarts = Restarts::default();
    let mut phase = supervisor.phase.subscribe();
    while !supervisor.is_ending() {
        let end = match begin(&supervisor, slot) {
            Ok(life) => life.run().await,
            Err(error) => {
                let words = format!("its process cannot be started: {error}");
                End { words, served: None, ordered: false, waiting: Vec::new() }
            }
        };
        let next = if end.ordered {
            restarts.ended_in_order();
            slot.serve_again();
            Next::After(Duration::ZERO)
        } else {
            restarts.ended(end.served, supervisor.settings.restarts)
        };
        supervisor.bury(slot, end, next);
        supervisor.give_up_if_hopeless();
        let (Next::After(pause) | Next::Slowly(pause)) = next;
        let ending = phase.wait_for(|phase| matches!(phase, Phase::Draining | Phase::Forced(_)));
        let _ = tokio::time::timeout(pause, ending).await;
    }
    slot.view.borrow_mut().state = WorkerState::Stopped;
    supervisor.worker_changed();
}

impl Supervisor {
    /// Forgets a process that has ended, and gives others what it did not take.
    fn bury(self: &Rc<Self>, slot: &Slot, end: End, next: Next) {
        let ending = self.is_ending();
        {
            let mut view = slot.view.borrow_mut();
            let pid = view.pid.take();
            (view.started, view.stats) = (None, Stats::default());
            view.state = match next {
                _ if ending => WorkerState::Stopped,
                Next::After(_) => WorkerState::Waiting,
                Next::Slowly(_) => WorkerState::CrashLoop,
            };
            let words = &end.words;
            match next {
                _ if end.ordered || ending => {
                    tracing::info!(worker = slot.index, pid, "it {words}");
                }
                Next::After(pause) => {
                    tracing::warn!(worker = slot.index, pid, ?pause, "it {words}; starting again");
                }
                Next::Slowly(pause) => {
                    tracing::error!(
                        worker = slot.index,
                        pid,
                        ?pause,
                        "it {words}, several times in a row; starting again at a slow pace"
                    );
                }
            }
            view.last_exit = Some(end.words);
        }
        slot.metrics.take();
        {
            let mut router = self.router.borrow_mut();
            router.set_availability(slot.target.get(), Availability::Down);
            if let Some(target) = router.restarted(slot.target.get()) {
                slot.target.set(target);
            }
        }
        // Before there can be a successor.
        interest::clear(&self.table, slot.index.into());
        slot.passer.take();
        self.worker_changed();
        for connection in end.waiting {
            self.dispatch(connection);
        }
    }

    /// Ends the cluster if no worker can be started and none ever could.
    fn give_up_if_hopeless(&self) {
        let hopeless = !self.served.get()
            && !self.is_ending()
            && self.slots.iter().all(|slot| slot.state() == WorkerState::CrashLoop);
        if hopeless {
            let last = self.slots.iter().find_map(|slot| slot.view.borrow().last_exit.clone());
            self.hopeless.replace(last);
            self.phase.send_replace(Phase::Draining);
        }
    }

    fn welcome(&self, slot: &Slot) -> Welcome {
        let settings = &self.settings;
        let own_port = |mut base: std::net::SocketAddr| {
            base.set_port(base.port() + u16::from(slot.index));
            base
        };
        Welcome {
            protocol: PROTOCOL,
            node: settings.node,
            index: slot.index,
            workers: settings.workers,
            row: slot.index.into(),
            secret: self.secret.clone(),
            previous_secrets: settings.previous_secrets.clone(),
            directory: self.directory.own().to_owned(),
            address: settings.port_per_worker.map(own_port),
            drain: settings.drain,
            orphan_deadline_ms: settings.orphan_deadline.as_millis() as u64,
            bus: settings.bus,
        }
    }
}

/// Starts a worker's process.
fn begin<'a>(supervisor: &'a Rc<Supervisor>, slot: &'a Slot) -> std::io::Result<Life<'a>> {
    let (channel, far_channel) = fd::pair()?;
    let (passing, far_passing) = fd::pair()?;
    let channel = Channel::new(channel)?;
    let passer = Passer::new(Channel::new(passing)?, supervisor.settings.pass_queue_max);
    let child = process::start(slot.index, far_channel)?;
    let now = Instant::now();
    {
        let mut view = slot.view.borrow_mut();
        (view.state, view.pid) = (WorkerState::Starting, child.id());
        (view.started, view.version, view.passed) = (Some(now), None, 0);
        view.starts += 1;
    }
    supervisor.worker_changed();
    let (metrics, metrics_wanted) = mpsc::channel(METRICS_WAITING_MAX);
    slot.metrics.replace(Some(metrics));
    let mut life = Life {
        supervisor,
        slot,
        child,
        channel,
        channel_open: true,
        passer: Rc::new(passer),
        passing: false,
        ready_since: None,
        deadline: Some((now + supervisor.settings.start_timeout, "was not ready in time")),
        beats: 0,
        answered: 0,
        failure: None,
        killed: None,
        ordered: false,
        metrics_wanted,
        metrics: Vec::new(),
    };
    life.welcome(&far_passing);
    Ok(life)
}

/// A worker's process, from its start to its end.
struct Life<'a> {
    supervisor: &'a Rc<Supervisor>,
    slot: &'a Slot,
    child: Child,
    channel: Channel,
    channel_open: bool,
    passer: Rc<Passer>,
    /// Connections are passed.
    passing: bool,
    ready_since: Option<Instant>,
    /// When it is killed, and what is said of it then.
    deadline: Option<(Instant, &'static str)>,
    /// Heartbeats sent, and the last one answered.
    beats: u64,
    answered: u64,
    /// What the worker said about why it ends.
    failure: Option<String>,
    /// Why it was killed.
    killed: Option<String>,
    ordered: bool,
    metrics_wanted: mpsc::Receiver<MetricsRequest>,
    /// Metrics under way, by the number of their request.
    metrics: Vec<(u64, String, MetricsRequest)>,
}

impl Life<'_> {
    async fn run(mut self) -> End {
        let mut buffer = vec![0; CONTROL_BYTES_MAX];
        let mut orders = self.slot.orders();
        orders.mark_changed();
        let mut beat = tokio::time::interval(self.supervisor.settings.heartbeat_interval);
        // After a pause of this process (or the machine) a worker gets its whole time anew: beats are
        // counted, not time.
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let ready = self.ready_since.is_some();
            let (supervisor, slot, passer) = (self.supervisor, self.slot, Rc::clone(&self.passer));
            let deadline = self.deadline;
            tokio::select! {
                status = self.child.wait() => return self.end(status, &mut buffer),
                received = self.channel.receive(&mut buffer), if self.channel_open => {
                    match received {
                        Ok(received) if received.len > 0 => self.heard(&buffer[..received.len]),
                        _ => self.left(),
                    }
                }
                _ = beat.tick(), if ready && self.channel_open => self.beat(),
                Ok(()) = orders.changed() => {
                    let order = *orders.borrow_and_update();
                    self.obey(order);
                }
                Some(request) = self.metrics_wanted.recv(), if ready => self.ask_metrics(request),
                () = passer.run(|| supervisor.update_availability(slot)), if self.passing => {
                    self.takes_no_more();
                }
                () = until(deadline) => self.kill(deadline.map_or("", |(_, words)| words)),
            }
        }
    }

    /// Sends what the worker needs to know.
    fn welcome(&mut self, far_passing: &OwnedFd) {
        let welcome = ToWorker::Welcome(Box::new(self.supervisor.welcome(self.slot)));
        let descriptors = [self.supervisor.table.file(), far_passing.as_fd()];
        let sent = match control::encode(&welcome) {
            Ok(bytes) => self.channel.try_send(&[IoSlice::new(&bytes)], &descriptors),
            Err(error) => Err(std::io::Error::other(error)),
        };
        if let Err(error) = sent {
            self.kill(&format!("could not be told anything ({error})"));
        }
    }

    /// A message that does not fit is not sent: a worker that does not read is about to be found
    /// hanging.
    fn say(&self, message: &ToWorker) {
        if let Ok(bytes) = control::encode(message) {
            let _ = self.channel.try_send(&[IoSlice::new(&bytes)], &[]);
        }
    }

    fn heard(&mut self, bytes: &[u8]) {
        match control::decode(bytes) {
            Ok(ToSupervisor::Hello { protocol, version, pid: _ }) => {
                if protocol == PROTOCOL {
                    self.slot.view.borrow_mut().version = Some(version);
                } else {
                    self.kill("speaks another version of the protocol than the supervisor");
                }
            }
            Ok(ToSupervisor::Ready) => self.became_ready(),
            Ok(ToSupervisor::Alive { number, stats }) => self.alive(number, stats),
            Ok(ToSupervisor::Metrics { request, text, last }) => {
                self.heard_metrics(request, &text, last);
            }
            Ok(ToSupervisor::Failed { text }) => self.failure = Some(text),
            Err(error) => {
                let worker = self.slot.index;
                sedge_log::warn_rarely!(worker, %error, "it said something that makes no sense");
            }
        }
    }

    fn became_ready(&mut self) {
        if self.ready_since.is_some() || self.killed.is_some() {
            return;
        }
        self.ready_since = Some(Instant::now());
        self.deadline = None;
        self.slot.passer.replace(Some(Rc::clone(&self.passer)));
        self.passing = true;
        tracing::info!(worker = self.slot.index, pid = self.child.id(), "it is ready");
        self.enter(WorkerState::Ready);
    }

    /// Enters a state, and lets the router know what may be given to the worker.
    fn enter(&self, state: WorkerState) {
        self.slot.view.borrow_mut().state = state;
        self.supervisor.update_availability(self.slot);
        self.supervisor.worker_changed();
    }

    fn alive(&mut self, number: u64, stats: Option<Stats>) {
        self.answered = self.answered.max(number.min(self.beats));
        if let Some(stats) = stats {
            let stats = stats.bounded();
            let sessions = stats.sessions_total();
            let open = if stats.sessions.is_empty() { stats.connections } else { sessions };
            let report = Report { open, opened: stats.opened };
            self.supervisor.router.borrow_mut().report(self.slot.target.get(), report);
            self.slot.view.borrow_mut().stats = stats;
        }
        if self.slot.state() == WorkerState::Suspect {
            tracing::info!(worker = self.slot.index, "it answers again");
            self.enter(WorkerState::Ready);
        }
    }

    fn beat(&mut self) {
        let missed = self.beats - self.answered;
        if missed >= self.supervisor.settings.heartbeats_missed_max.into() {
            self.kill(&format!("hung: {missed} heartbeats were not answered"));
            return;
        }
        let suspicious = missed >= HEARTBEATS_MISSED_SUSPECT.into();
        if suspicious && self.slot.state() == WorkerState::Ready {
            tracing::warn!(worker = self.slot.index, "it does not answer; it gets no new sessions");
            self.enter(WorkerState::Suspect);
        }
        self.beats += 1;
        self.say(&ToWorker::Heartbeat { number: self.beats });
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Serve => {}
            Order::Kill => {
                self.ordered = true;
                self.kill("was told to end at once");
            }
            Order::Drain(order) => self.drain(order),
        }
    }

    fn drain(&mut self, order: DrainOrder) {
        self.ordered = true;
        if self.ready_since.is_none() {
            self.kill("was still starting when it was told to end");
            return;
        }
        self.say(&ToWorker::Drain(order));
        let patience = Duration::from_millis(order.deadline_ms) + DRAIN_GRACE;
        self.deadline = Some((Instant::now() + patience, "did not end in time"));
        self.enter(WorkerState::Draining);
    }

    /// The worker has closed its end for connections. It may still be closing its clients.
    fn takes_no_more(&mut self) {
        self.passing = false;
        self.slot.passer.take();
        self.supervisor.update_availability(self.slot);
        for connection in self.passer.take_back() {
            self.supervisor.dispatch(connection);
        }
    }

    /// The worker has closed its channel: its process is about to end.
    fn left(&mut self) {
        self.channel_open = false;
        if self.deadline.is_none() {
            let words = "closed its channel and did not end";
            self.deadline = Some((Instant::now() + EXIT_TIMEOUT, words));
        }
    }

    fn kill(&mut self, why: &str) {
        self.deadline = None;
        if self.killed.is_some() {
            return;
        }
        self.killed = Some(why.to_owned());
        // It has not been waited for, so its number is still its own.
        if let Err(error) = self.child.start_kill() {
            tracing::warn!(worker = self.slot.index, %error, "it cannot be killed");
        }
    }

    fn end(mut self, status: std::io::Result<ExitStatus>, buffer: &mut [u8]) -> End {
        // What it said at last may not have been read.
        while let Ok(received) = self.channel.try_receive(buffer)
            && received.len > 0
        {
            if let Ok(ToSupervisor::Failed { text }) = control::decode(&buffer[..received.len]) {
                self.failure = Some(text);
            }
        }
        if self.ordered
            && self.ready_since.is_some()
            && !status.as_ref().is_ok_and(ExitStatus::success)
        {
            self.supervisor.killed.set(true);
        }
        let ended = match status {
            Ok(status) => process::describe(status),
            Err(error) => format!("is lost: {error}"),
        };
        let words = match (&self.killed, &self.failure) {
            (Some(why), _) => format!("{why}, and {ended}"),
            (None, Some(failure)) => format!("{ended}: {failure}"),
            (None, None) => ended,
        };
        let served = self.ready_since.map(|since| since.elapsed());
        End { words, served, ordered: self.ordered, waiting: self.passer.take_back() }
    }

    fn ask_metrics(&mut self, request: MetricsRequest) {
        self.metrics.retain(|(_, _, waiting)| !waiting.is_closed());
        if self.metrics.len() < METRICS_WAITING_MAX {
            let number = self.metrics.last().map_or(0, |(number, ..)| number + 1);
            self.metrics.push((number, String::new(), request));
            self.say(&ToWorker::Metrics { request: number });
        }
    }

    fn heard_metrics(&mut self, request: u64, part: &str, last: bool) {
        let Some(at) = self.metrics.iter().position(|(number, ..)| *number == request) else {
            return;
        };
        let (_, text, _) = &mut self.metrics[at];
        text.push_str(part);
        if last {
            let (_, text, waiting) = self.metrics.remove(at);
            let _ = waiting.send(text);
        } else if text.len() > METRICS_BYTES_MAX {
            self.metrics.remove(at);
        }
    }
}

async fn until(deadline: Option<(Instant, &'static str)>) {
    match deadline {
        Some((at, _)) => sleep_until(at.into()).await,
        None => pending().await,
    }
}
