//! The tasks of a shard: what has begun on the spot, and has to wait.

use std::future::Future;
use std::task::{Context, Waker};

use super::local::LocalShard;

impl LocalShard {
    /// Begins some work at once, and lets it go on as a task if it has to wait. A future that is polled
    /// without a waker has to be polled again: the task does that.
    pub(super) fn begin(&self, work: impl Future<Output = ()> + 'static) {
        let mut work = Box::pin(work);
        if work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            self.engine.spawn(work);
        }
    }

    /// Lets the rest of a handler go on as a task.
    pub(super) fn handler_waits(&self, rest: impl Future<Output = ()> + 'static) {
        self.engine.spawn(rest);
    }
}
