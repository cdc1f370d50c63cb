//! A worker's place: who is in it at present, and what is known of it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use sedge_sticky::TargetId;
use tokio::sync::{mpsc, oneshot, watch};

use super::passer::Passer;
use super::process;
use crate::wire::command::{WorkerState, WorkerStatus};
use crate::wire::control::{DrainOrder, Stats};

/// What a worker is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Serve,
    /// Close its clients and end.
    Drain(DrainOrder),
    /// End at once.
    Kill,
}

/// What a worker may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Everything.
    Up,
    /// New sessions only if nobody is up: a worker that does not answer is better than none.
    LastResort,
    /// What belongs to its own sessions.
    OwnSessions,
    /// Nothing.
    Down,
}

/// A worker's place.
pub(crate) struct Slot {
    pub(crate) index: u8,
    /// The worker in the router's table.
    pub(crate) target: Cell<TargetId>,
    pub(crate) standing: Cell<Standing>,
    pub(crate) view: RefCell<View>,
    /// The way to the worker, while it is ready.
    pub(crate) passer: RefCell<Option<Rc<Passer>>>,
    order: watch::Sender<Order>,
    /// What is wanted of it; the task that keeps the worker passes it on.
    pub(crate) requests: RefCell<Option<mpsc::Sender<Request>>>,
}

/// What is wanted of a worker that serves.
#[derive(Debug)]
pub(crate) enum Request {
    /// Its metrics, to be sent here.
    Metrics(oneshot::Sender<String>),
    /// That it reads certificates and the like again.
    Reread,
}

/// What is known of the worker.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) state: WorkerState,
    pub(crate) pid: Option<u32>,
    pub(crate) version: Option<String>,
    /// When its process was started.
    pub(crate) started: Option<Instant>,
    pub(crate) starts: u64,
    pub(crate) stats: Stats,
    pub(crate) passed: u64,
    pub(crate) last_exit: Option<String>,
}

impl Slot {
    pub(crate) fn new(index: u8, target: TargetId) -> Slot {
        let view = View {
            state: WorkerState::Waiting,
            pid: None,
            version: None,
            started: None,
            starts: 0,
            stats: Stats::default(),
            passed: 0,
            last_exit: None,
        };
        Slot {
            index,
            target: Cell::new(target),
            standing: Cell::new(Standing::Down),
            view: RefCell::new(view),
            passer: RefCell::default(),
            order: watch::Sender::new(Order::Serve),
            requests: RefCell::default(),
        }
    }

    pub(crate) fn state(&self) -> WorkerState {
        self.view.borrow().state
    }

    /// Tells the worker what to do. An order to end is never taken back by a milder one.
    pub(crate) fn order(&self, order: Order) {
        self.order.send_if_modified(|now| {
            let heeded = *now != Order::Kill && *now != order;
            if heeded {
                *now = order;
            }
            heeded
        });
    }

    /// Asks the worker for something. If as much as may is waiting already, that is dropped.
    pub(crate) fn ask(&self, request: Request) {
        let _ = self.requests.borrow().as_ref().map(|requests| requests.try_send(request));
    }

    pub(crate) fn orders(&self) -> watch::Receiver<Order> {
        self.order.subscribe()
    }

    /// The worker that was ordered to end has ended, and another one takes its place.
    pub(crate) fn serve_again(&self) {
        self.order.send_replace(Order::Serve);
    }

    pub(crate) fn status(&self) -> WorkerStatus {
        let view = self.view.borrow();
        let usage = view.pid.map(process::usage).unwrap_or_default();
        WorkerStatus {
            index: self.index,
            pid: view.pid,
            version: view.version.clone(),
            state: view.state,
            uptime_seconds: view.started.map_or(0.0, |started| started.elapsed().as_secs_f64()),
            restarts: view.starts.saturating_sub(1),
            connections: view.stats.connections,
            sessions: view.stats.sessions.clone(),
            passed: view.passed,
            cpu_seconds: usage.cpu_seconds,
            memory_bytes: usage.memory_bytes,
            last_exit: view.last_exit.clone(),
        }
    }
}
