//! The task that does, once per turn of the loop, what the turn has left to do.
//!
//! Tasks that read messages only queue what they answer. The first of them to do so wakes this task,
//! which therefore stands behind every task that was ready then: by the time it runs, all of them have
//! read, and each connection's frames leave in one write.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use sedge_protocol::engine::session::Time;
use tokio::time::Sleep;

use super::Worker;
use crate::application::{Application, CloseReason, SessionKey};
use crate::limits::SLEEP_MAX;
use crate::shard::Shard;

/// Connections whose memory is fetched at once before they are written to. The kernel's work for one
/// write pushes what the next one needs out of the cache; fetched together, they wait for memory once.
const BATCH: usize = 16;

/// Runs as long as the shard.
pub(crate) struct Driver<A: Application> {
    worker: Rc<Worker<A>>,
    sleep: Pin<Box<Sleep>>,
    sessions_due: Vec<(u32, SessionKey)>,
    timers_due: Vec<(u32, u64)>,
    dirty: Vec<SessionKey>,
    ended: Vec<(SessionKey, CloseReason)>,
}

impl<A: Application> Driver<A> {
    pub(crate) fn new(worker: Rc<Worker<A>>) -> Driver<A> {
        Driver {
            worker,
            sleep: Box::pin(tokio::time::sleep(SLEEP_MAX)),
            sessions_due: Vec::new(),
            timers_due: Vec::new(),
            dirty: Vec::new(),
            ended: Vec::new(),
        }
    }

    fn fire_timers(&mut self, now: Time) {
        let shard = &self.worker.shard;
        {
            let mut state = shard.0.state.borrow_mut();
            state.earlier_timer = false;
            state.wheel.advance(now, &mut self.sessions_due);
            state.timers.advance(now, &mut self.timers_due);
            for (due, key) in self.sessions_due.drain(..) {
                state.fire(&shard.0.env, now, key, due);
            }
        }
        for (_, timer) in self.timers_due.drain(..) {
            self.worker.app.on_timer(timer);
        }
    }

    /// Reports ended sessions and writes what is queued until there is nothing left; the
    /// application may queue more while it is told. A round has an end: what a client queues for
    /// itself by reading is read in other tasks.
    fn flush(&mut self, now: Time) {
        let shard = &self.worker.shard;
        loop {
            {
                let mut state = shard.0.state.borrow_mut();
                std::mem::swap(&mut state.ended, &mut self.ended);
                std::mem::swap(&mut state.dirty, &mut self.dirty);
            }
            if self.ended.is_empty() && self.dirty.is_empty() {
                return;
            }
            for (key, reason) in self.ended.drain(..) {
                self.worker.app.on_close(key, reason);
            }
            let mut state = shard.0.state.borrow_mut();
            for batch in self.dirty.chunks(BATCH) {
                state.touch(batch);
                for key in batch {
                    state.flush(&shard.0.env, now, *key);
                }
            }
            self.dirty.clear();
        }
    }

    /// Sets the alarm for the next timer, but not far off: a shard shows that it goes round. Returns false if it is
    /// already due.
    fn arm(&mut self, shard: &Shard, cx: &mut Context<'_>) -> bool {
        let next = {
            let mut state = shard.0.state.borrow_mut();
            let at_last = shard.now() + SLEEP_MAX.as_millis() as u32;
            let wheels = state.wheel.next().into_iter().chain(state.timers.next());
            let next = wheels.fold(at_last, Time::min);
            state.driver_looks = Some(next);
            next
        };
        let at = shard.instant(next);
        if self.sleep.deadline().into_std() != at {
            self.sleep.as_mut().reset(at.into());
        }
        self.sleep.as_mut().poll(cx).is_pending()
    }
}

impl<A: Application> Future for Driver<A> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let shard = this.worker.shard.clone();
        shard.0.metrics.progress.add(1);
        {
            let mut waker = shard.0.driver_waker.borrow_mut();
            if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
        }
        loop {
            let now = shard.now();
            let looks = shard.0.state.borrow().driver_looks;
            let asked = shard.0.state.borrow().earlier_timer;
            let due = looks.is_some_and(|at| at <= now);
            if due || asked {
                this.fire_timers(now);
            }
            this.flush(now);
            if !(due || asked || looks.is_none()) {
                // The alarm stands as it was.
                if this.sleep.as_mut().poll(cx).is_ready() {
                    continue;
                }
                break;
            }
            if this.arm(&shard, cx) {
                break;
            }
        }
        shard.driver_rests();
        Poll::Pending
    }
}
