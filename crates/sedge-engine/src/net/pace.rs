//! Deadlines of a connection: an alarm that costs next to nothing to put off, and the least rate of what
//! is on its way.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// One timer for all the waits of a connection; none before the first of them.
#[derive(Default)]
pub(crate) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready when the time has come; until then the task is woken now and then. A timer that fires too
    /// early, since the time was put off meanwhile, is set anew then and not before.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if sleep.deadline() > at {
            sleep.as_mut().reset(at);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= at {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(at);
        }
        Poll::Pending
    }
}

/// How slow a client may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PaceLimit {
    /// Before its rate counts.
    pub(crate) grace: Duration,
    /// Bytes a second from then on, on an average from the beginning.
    pub(crate) rate_min: usize,
}

/// How a body or an answer has got on.
pub(crate) struct Pace {
    since: Instant,
    bytes: u64,
}

impl Pace {
    pub(crate) fn new() -> Pace {
        Pace { since: Instant::now(), bytes: 0 }
    }

    pub(crate) fn advance(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// When more must have arrived.
    pub(crate) fn deadline(&self, limit: PaceLimit) -> Instant {
        let millis = self.bytes.saturating_mul(1000) / (limit.rate_min as u64).max(1);
        self.since + limit.grace + Duration::from_millis(millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrives_puts_the_deadline_off() {
        let limit = PaceLimit { grace: Duration::from_secs(30), rate_min: 500 };
        let mut pace = Pace::new();
        assert_eq!(pace.deadline(limit), pace.since + Duration::from_secs(30));
        pace.advance(250);
        assert_eq!(pace.deadline(limit), pace.since + Duration::from_millis(30_500));
        pace.advance(1_000_000);
        assert_eq!(pace.deadline(limit), pace.since + Duration::from_millis(2_030_500));
    }
}
