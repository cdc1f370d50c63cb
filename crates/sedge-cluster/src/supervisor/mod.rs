//! The supervisor: listens, starts workers, passes connections to them, ends them in order.
//!
//! All of it runs on one thread, in tasks that share [`Supervisor`](state::Supervisor). No borrow of its cells is held
//! across an await.

mod child;
mod control;
mod dispatch;
mod host;
mod keeper;
mod lifecycle;
mod passer;
mod process;
mod reaper;
mod refusal;
mod restarts;
mod slot;
mod state;
mod undecided;

use std::convert::Infallible;
use std::rc::Rc;

use crate::builder::ClusterBuilder;
use crate::ended::Ended;
use crate::error::ClusterError;
use crate::limits::REFUSAL_LINGER;
use crate::listen::Listener;
use crate::signals::{Signal, Signals};
use crate::{admin, local, tasks};

use slot::{Order, Request};
use state::{Phase, Supervisor};

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
            tasks::supervisor_part(
                "control socket",
                control::serve(Rc::clone(&supervisor), control),
            );
            if let Some(listener) = admin {
                tasks::supervisor_part(
                    "admin address",
                    admin::serve(Rc::clone(&supervisor), listener),
                );
            }
            for (index, listener) in listeners.into_iter().enumerate() {
                dispatch::listen(&supervisor, listener, index as u16)?;
            }
            reaper::start(&supervisor)
                .map_err(ClusterError::system("the ends of children cannot be heard of"))?;
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

/// Keeps the workers until the cluster has ended.
async fn supervise(
    supervisor: &Rc<Supervisor>,
    signals: &mut Signals,
) -> Result<Ended, ClusterError> {
    let mut lives = tokio::task::JoinSet::new();
    for index in 0..supervisor.slots.len() {
        tasks::keeper(&mut lives, keeper::keep(Rc::clone(supervisor), index));
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

fn on_signal(supervisor: &Supervisor, signal: Signal) {
    let name = signal.name();
    if signal == Signal::Hangup {
        tracing::info!(
            signal = name,
            "workers read their certificates again; settings and program stay until a restart"
        );
        supervisor.slots.iter().for_each(|slot| slot.ask(Request::Reread));
    } else if supervisor.phase() == Phase::Running {
        tracing::info!(signal = name, "told to end: clients are being closed");
        supervisor.leave();
    } else {
        tracing::warn!(signal = name, "told to end for a second time: ending at once");
        supervisor.force(signal.number());
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
        for slot in &supervisor.slots {
            slot.order(order);
            supervisor.update_availability(slot);
        }
    }
    std::future::pending().await
}
