//! A worker's process from its start to its end: what it says, what it is told, when it is killed. What
//! follows from what is decided by its [`Lifecycle`].

use std::future::pending;
use std::io::IoSlice;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::{Duration, Instant};

use sedge_sticky::Report;
use tokio::process::Child;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, sleep_until};

use super::lifecycle::{Action, Event, Lifecycle};
use super::passer::{Accepted, Passer};
use super::process;
use super::slot::{Order, Request, Slot};
use super::state::Supervisor;
use crate::channel::Channel;
use crate::fd;
use crate::limits::{CONTROL_BYTES_MAX, DRAIN_GRACE, METRICS_BYTES_MAX, REQUESTS_WAITING_MAX};
use crate::wire::command::WorkerState;
use crate::wire::control::{self, DrainOrder, PROTOCOL, Stats, ToSupervisor, ToWorker, Welcome};

/// How a process has ended.
pub(super) struct Exit {
    pub(super) words: String,
    /// How long it was ready, if it ever was.
    pub(super) served: Option<Duration>,
    /// It was told to end.
    pub(super) ordered: bool,
    /// Connections that it was to be given.
    pub(super) waiting: Vec<Accepted>,
}

/// Starts a worker's process.
pub(super) fn start<'a>(
    supervisor: &'a Rc<Supervisor>,
    slot: &'a Slot,
) -> std::io::Result<Running<'a>> {
    let (channel, far_channel) = fd::pair()?;
    let (passing, far_passing) = fd::pair()?;
    let channel = Channel::new(channel)?;
    let passer = Passer::new(Channel::new(passing)?, supervisor.settings.pass_queue_max);
    let child = process::start(slot.index, far_channel)?;
    let now = Instant::now();
    let (start_timeout, missed_max) =
        (supervisor.settings.start_timeout, supervisor.settings.heartbeats_missed_max);
    {
        let mut view = slot.view.borrow_mut();
        (view.state, view.pid) = (WorkerState::Starting, child.id());
        (view.started, view.version, view.passed) = (Some(now), None, 0);
        view.starts += 1;
    }
    supervisor.worker_changed();
    let (sender, requests) = mpsc::channel(REQUESTS_WAITING_MAX);
    slot.requests.replace(Some(sender));
    let mut running = Running {
        supervisor,
        slot,
        child,
        channel,
        channel_open: true,
        passer: Rc::new(passer),
        passing: false,
        lifecycle: Lifecycle::new(now, start_timeout, missed_max),
        failure: None,
        requests,
        metrics: Vec::new(),
    };
    running.welcome(&far_passing);
    Ok(running)
}

/// A worker's process that runs.
pub(super) struct Running<'a> {
    supervisor: &'a Rc<Supervisor>,
    slot: &'a Slot,
    child: Child,
    channel: Channel,
    channel_open: bool,
    passer: Rc<Passer>,
    /// Connections are passed.
    passing: bool,
    lifecycle: Lifecycle,
    /// What the worker said about why it ends.
    failure: Option<String>,
    requests: mpsc::Receiver<Request>,
    /// Metrics under way, by the number of their request.
    metrics: Vec<(u64, String, oneshot::Sender<String>)>,
}

impl Running<'_> {
    pub(super) async fn run(mut self) -> Exit {
        let mut buffer = vec![0; CONTROL_BYTES_MAX];
        let mut orders = self.slot.orders();
        orders.mark_changed();
        let mut beat = tokio::time::interval(self.supervisor.settings.heartbeat_interval);
        // After a pause of this process (or the machine) a worker gets its whole time anew: beats are
        // counted, not time.
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let ready = self.lifecycle.ready_since().is_some();
            let (supervisor, slot, passer) = (self.supervisor, self.slot, Rc::clone(&self.passer));
            let deadline = self.lifecycle.deadline();
            tokio::select! {
                status = self.child.wait() => return self.end(status, &mut buffer),
                received = self.channel.receive(&mut buffer), if self.channel_open => {
                    match received {
                        Ok(received) if received.len > 0 => self.heard(&buffer[..received.len]),
                        _ => {
                            self.channel_open = false;
                            self.handle(Event::ChannelClosed);
                        }
                    }
                }
                _ = beat.tick(), if ready && self.channel_open => {
                    self.handle(Event::BeatDue);
                }
                Ok(()) = orders.changed() => {
                    let order = *orders.borrow_and_update();
                    self.obey(order);
                }
                Some(request) = self.requests.recv(), if ready => match request {
                    Request::Metrics(answer) => self.ask_metrics(answer),
                    Request::Reread => self.say(&ToWorker::Reread),
                },
                () = passer.run(|| supervisor.update_availability(slot)), if self.passing => {
                    self.takes_no_more();
                }
                () = until(deadline) => {
                    self.handle(Event::DeadlinePassed);
                }
            }
        }
    }

    /// Something has happened: does what follows, and shows the state that it leads to.
    fn handle(&mut self, event: Event) -> Action {
        let action = self.lifecycle.handle(Instant::now(), event);
        let worker = self.slot.index;
        match action {
            // What goes with the order to end is said by whoever has it.
            Action::Nothing | Action::Drain => {}
            Action::Open => {
                self.slot.passer.replace(Some(Rc::clone(&self.passer)));
                self.passing = true;
                tracing::info!(worker, pid = self.child.id(), "it is ready");
            }
            Action::Beat(number) => self.say(&ToWorker::Heartbeat { number }),
            Action::Suspect(number) => {
                tracing::warn!(
                    worker,
                    "it does not answer; it gets new sessions only if all do not"
                );
                self.say(&ToWorker::Heartbeat { number });
            }
            Action::Trust => tracing::info!(worker, "it answers again"),
            // It has not been waited for, so its number is still its own.
            Action::Kill => {
                if let Err(error) = self.child.start_kill() {
                    tracing::warn!(worker, %error, "it cannot be killed");
                }
            }
        }
        let state = self.lifecycle.state();
        if std::mem::replace(&mut self.slot.view.borrow_mut().state, state) != state {
            self.supervisor.update_availability(self.slot);
            self.supervisor.worker_changed();
        }
        action
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
            self.handle(Event::Unusable(format!("could not be told anything ({error})")));
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
                    let why = "speaks another version of the protocol than the supervisor";
                    self.handle(Event::Unusable(why.to_owned()));
                }
            }
            Ok(ToSupervisor::Ready) => {
                self.handle(Event::Ready);
            }
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

    fn alive(&mut self, number: u64, stats: Option<Stats>) {
        if let Some(stats) = stats {
            let stats = stats.bounded();
            let sessions = stats.sessions_total();
            let open = if stats.sessions.is_empty() { stats.connections } else { sessions };
            let report = Report { open, opened: stats.opened };
            self.supervisor.router.borrow_mut().report(self.slot.target.get(), report);
            self.slot.view.borrow_mut().stats = stats;
        }
        self.handle(Event::Answered(number));
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Serve => {}
            Order::Kill => {
                self.handle(Event::Stop);
            }
            Order::Drain(order) => self.drain(order),
        }
    }

    fn drain(&mut self, order: DrainOrder) {
        let within = Duration::from_millis(order.deadline_ms) + DRAIN_GRACE;
        if self.handle(Event::Drain(within)) == Action::Drain {
            self.say(&ToWorker::Drain(order));
        }
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

    fn end(mut self, status: std::io::Result<ExitStatus>, buffer: &mut [u8]) -> Exit {
        // What it said at last may not have been read.
        while let Ok(received) = self.channel.try_receive(buffer)
            && received.len > 0
        {
            if let Ok(ToSupervisor::Failed { text }) = control::decode(&buffer[..received.len]) {
                self.failure = Some(text);
            }
        }
        let ordered = self.lifecycle.was_told_to_end();
        if ordered
            && self.lifecycle.ready_since().is_some()
            && !status.as_ref().is_ok_and(ExitStatus::success)
        {
            self.supervisor.killed.set(true);
        }
        let ended = match status {
            Ok(status) => process::describe(status),
            Err(error) => format!("is lost: {error}"),
        };
        let words = match (self.lifecycle.killed(), &self.failure) {
            (Some(why), _) => format!("{why}, and {ended}"),
            (None, Some(failure)) => format!("{ended}: {failure}"),
            (None, None) => ended,
        };
        let served = self.lifecycle.ready_since().map(|since| since.elapsed());
        Exit { words, served, ordered, waiting: self.passer.take_back() }
    }

    fn ask_metrics(&mut self, answer: oneshot::Sender<String>) {
        self.metrics.retain(|(_, _, waiting)| !waiting.is_closed());
        if self.metrics.len() < REQUESTS_WAITING_MAX {
            let number = self.metrics.last().map_or(0, |(number, ..)| number + 1);
            self.metrics.push((number, String::new(), answer));
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

impl Supervisor {
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

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => sleep_until(at.into()).await,
        None => pending().await,
    }
}
