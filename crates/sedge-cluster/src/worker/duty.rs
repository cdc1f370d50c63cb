//! What a worker does for its supervisor, beside its work: heartbeats, metrics, ending when it is
//! told to, and ending when nobody is left to tell it.

use std::future::poll_fn;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Duty, EXIT_DEADLINE, EXIT_ORPHANED};
use crate::drain::{Drain, DrainReason};
use crate::limits::{
    CONTROL_BYTES_MAX, DRAIN_GRACE, LAST_WORDS, METRICS_BYTES_MAX, ORPHAN_LOOK, TEXT_PART_BYTES,
};
use crate::tasks;
use crate::wire::control::{self, DrainOrder, Stats, ToSupervisor, ToWorker};

/// The signals that tell a process to end. A service manager sends them to all processes of a
/// service at once, so a worker that let them end it would go before its supervisor has told it how.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

pub(super) fn signals() -> io::Result<Signals> {
    let (terminate, interrupt) = (SignalKind::terminate(), SignalKind::interrupt());
    Ok(Signals { terminate: signal(terminate)?, interrupt: signal(interrupt)? })
}

impl Signals {
    async fn next(&mut self) -> i32 {
        poll_fn(|context| {
            let signals = [(&mut self.terminate, 15), (&mut self.interrupt, 2)];
            for (signal, number) in signals {
                if signal.poll_recv(context).is_ready() {
                    return Poll::Ready(number);
                }
            }
            Poll::Pending
        })
        .await
    }
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
            // If the supervisor does not take an answer, it is gone, which the other one notices, or
            // it will find this worker hanging.
            _ = answer_heartbeats(&duty) => std::future::pending().await,
        }
    };
    tokio::pin!(supervised);
    let mut told = false;
    loop {
        tokio::select! {
            () = &mut supervised => break,
            number = signals.next() => on_signal(&duty, drain, number, &mut told),
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
            number = signals.next() => on_signal(&duty, drain, number, &mut told),
        }
    }
    begin(&duty, Drain::new(&drain, DrainReason::Orphaned, Instant::now()));
    loop {
        let number = signals.next().await;
        on_signal(&duty, drain, number, &mut told);
    }
}

/// Ends the process behind a line of the log that says why.
fn exit(status: i32) -> ! {
    std::thread::sleep(LAST_WORDS);
    std::process::exit(status)
}

fn on_signal(duty: &Arc<Duty>, drain: DrainOrder, number: i32, told: &mut bool) {
    if std::mem::replace(told, true) {
        std::process::exit(128 + number);
    }
    begin(duty, Drain::new(&drain, DrainReason::Signal, Instant::now()));
}

/// Answers heartbeats. Those that come during a check are answered by the next one.
async fn answer_heartbeats(duty: &Duty) -> io::Result<()> {
    let mut heartbeat = duty.heartbeat.subscribe();
    while heartbeat.changed().await.is_ok() {
        let number = *heartbeat.borrow_and_update();
        let check = duty.check.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(check) = check {
            check().await;
        }
        let stats = duty.current_stats().map(Stats::bounded);
        duty.say(&ToSupervisor::Alive { number, stats }).await?;
    }
    Ok(())
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
    let ask = duty.metrics.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut text = ask.map(|ask| ask()).unwrap_or_default();
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
        exit(EXIT_DEADLINE);
    });
    if let Err(error) = spawned {
        tracing::warn!(%error, "nothing watches over the deadline of this worker");
    }
}

/// Waits until an orphan has nothing left to serve, or has served long enough.
async fn orphan(duty: &Duty, deadline: Duration) {
    let nobody_left = async {
        loop {
            // Nothing is known of a worker that never reports; it has until the deadline.
            if duty.current_stats().is_some_and(|stats| stats.connections == 0) {
                return;
            }
            tokio::time::sleep(ORPHAN_LOOK).await;
        }
    };
    if tokio::time::timeout(deadline, nobody_left).await.is_err() {
        tracing::warn!("no supervisor has come back for long; the remaining clients are closed");
    }
}
