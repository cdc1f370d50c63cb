//! A time limit that needs no timer before somebody really waits for it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// The end of a wait, counted from when this is made. The timer itself is made by the first poll,
/// since only then there is sure to be a tokio runtime.
#[derive(Debug)]
pub(crate) struct Deadline {
    at: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// `None`, and a time too long to add up, mean no limit.
    pub(crate) fn after(timeout: Option<Duration>) -> Deadline {
        let at = timeout.and_then(|after| Instant::now().checked_add(after));
        Deadline { at, sleep: None }
    }

    /// Whether the time is over.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        sleep.as_mut().poll(cx)
    }
}
