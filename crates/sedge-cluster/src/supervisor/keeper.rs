//! Keeps a place filled with a worker: starts a process, and another one when it has ended.

use std::rc::Rc;
use std::time::Duration;

use super::child::{self, Exit};
use super::restarts::{Next, Restarts};
use super::slot::Slot;
use super::state::{Phase, Supervisor};
use crate::interest;
use crate::limits::ALONE_DELAY_MAX;
use crate::wire::command::WorkerState;
use crate::wire::control::Stats;

/// Keeps a worker running until the cluster ends.
pub(super) async fn keep(supervisor: Rc<Supervisor>, index: usize) {
    let slot = &supervisor.slots[index];
    let mut restarts = Restarts::default();
    let mut phase = supervisor.phase.subscribe();
    while !supervisor.is_ending() {
        let exit = match child::start(&supervisor, slot) {
            Ok(child) => child.run().await,
            Err(error) => {
                let words = format!("its process cannot be started: {error}");
                Exit { words, served: None, ordered: false, waiting: Vec::new() }
            }
        };
        let next = if exit.ordered {
            restarts.ended_in_order();
            slot.serve_again();
            Next::After(Duration::ZERO)
        } else {
            let next = restarts.ended(exit.served, supervisor.settings.restarts);
            if supervisor.served.get() && !supervisor.others_serve(index) {
                next.at_most(ALONE_DELAY_MAX)
            } else {
                next
            }
        };
        supervisor.retire(slot, exit, next);
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
    fn retire(self: &Rc<Self>, slot: &Slot, exit: Exit, next: Next) {
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
            let words = &exit.words;
            match next {
                _ if exit.ordered || ending => {
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
            view.last_exit = Some(exit.words);
        }
        slot.requests.take();
        slot.passer.take();
        self.update_availability(slot);
        if let Some(target) = self.router.borrow_mut().restarted(slot.target.get()) {
            slot.target.set(target);
        }
        // Before there can be a successor.
        interest::clear(&self.table, slot.index.into());
        self.worker_changed();
        for connection in exit.waiting {
            self.dispatch(connection);
        }
    }

    /// Whether any worker but this one takes connections.
    fn others_serve(&self, index: usize) -> bool {
        let serves = |slot: &Slot| {
            matches!(
                slot.state(),
                WorkerState::Ready | WorkerState::Suspect | WorkerState::Draining
            )
        };
        self.slots.iter().enumerate().any(|(other, slot)| other != index && serves(slot))
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
}
