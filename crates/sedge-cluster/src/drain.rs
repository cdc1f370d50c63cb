//! Closing clients in order: told to a worker as a [`Drain`], paced by [`Pacing`].
//!
//! Clients that are closed all at once come back all at once. Batches with some jitter spread them
//! over the time that there is.

use std::time::{Duration, Instant};

use crate::limits::{DRAIN_BATCH_MIN, DRAIN_PACED_PERCENT};
use crate::wire::control::DrainOrder;

/// A worker is to close its clients and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Why.
    pub reason: DrainReason,
    /// When the worker must have ended. Soon after it, its process is ended from outside.
    pub deadline: Instant,
    /// How clients are to be closed.
    pub pacing: Pacing,
}

/// Why a worker is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainReason {
    /// The cluster ends.
    Stop,
    /// A successor takes its place as soon as it has ended.
    Replaced,
    /// Its own process was told to, by a signal.
    Signal,
    /// The supervisor is gone, and there is nothing left to serve, or another one has taken its place, or
    /// it was long ago.
    Orphaned,
}

/// How fast clients are closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pacing {
    /// For all of it.
    pub within: Duration,
    /// Between two batches.
    pub interval: Duration,
    /// The largest deviation of a batch from its time, in percent of the interval; at most 50.
    pub jitter_percent: u8,
}

/// Some clients that are closed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// How long to wait after the batch before.
    pub pause: Duration,
    /// How many clients to close.
    pub clients: usize,
}

impl Pacing {
    /// Plans the closing of this many clients: a batch at each interval, the first at once, of 20 clients
    /// or as many more as are needed to be through after 80 percent of the time. `random` gives
    /// numbers that need not be secret.
    pub fn batches(&self, clients: usize, mut random: impl FnMut() -> u32) -> Vec<Batch> {
        let paced = self.within * DRAIN_PACED_PERCENT / 100;
        let intervals = match self.interval.as_micros() {
            0 => 0,
            interval => (paced.as_micros() / interval) as usize,
        };
        let count = (intervals + 1).min(clients.div_ceil(DRAIN_BATCH_MIN));
        // With fewer batches than there is time for, they are done early.
        let paced = paced.min(self.interval * count as u32);
        let jitter = self.interval * u32::from(self.jitter_percent.min(50)) / 100;
        let mut before = Duration::ZERO;
        let mut batches = Vec::with_capacity(count);
        for number in 0..count {
            // The even place, moved within [-jitter, +jitter], never beyond the time there is.
            let even = paced * number as u32 / count.max(1) as u32;
            let deviation = jitter.mul_f64(f64::from(random()) / f64::from(u32::MAX) * 2.0);
            let at = (even + deviation).saturating_sub(jitter).clamp(before, paced);
            let clients = clients * (number + 1) / count - clients * number / count;
            let pause = if number == 0 { Duration::ZERO } else { at.saturating_sub(before) };
            before = if number == 0 { Duration::ZERO } else { at };
            batches.push(Batch { pause, clients });
        }
        batches
    }
}

impl Drain {
    pub(crate) fn new(order: &DrainOrder, reason: DrainReason, now: Instant) -> Drain {
        let within = Duration::from_millis(order.deadline_ms);
        let interval = Duration::from_millis(order.interval_ms);
        let pacing = Pacing { within, interval, jitter_percent: order.jitter_percent };
        Drain { reason, deadline: now + within, pacing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACING: Pacing = Pacing {
        within: Duration::from_secs(10),
        interval: Duration::from_millis(100),
        jitter_percent: 50,
    };

    /// Numbers that look random enough, the same in every run.
    fn numbers() -> impl FnMut() -> u32 {
        let mut state = 1_u32;
        move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state
        }
    }

    #[test]
    fn everybody_is_closed_once_and_in_time() {
        for clients in [0, 1, 2, 79, 80, 81, 82, 1000, 100_003] {
            let batches = PACING.batches(clients, numbers());
            assert_eq!(batches.iter().map(|batch| batch.clients).sum::<usize>(), clients);
            assert!(batches.iter().all(|batch| batch.clients > 0));
            assert!(batches.len() <= 81.min(clients.div_ceil(20)));
            let took: Duration = batches.iter().map(|batch| batch.pause).sum();
            assert!(took <= Duration::from_secs(8), "{took:?}");
            assert!(batches.first().is_none_or(|batch| batch.pause == Duration::ZERO));
        }
    }

    #[test]
    fn batches_are_even_and_their_times_are_not() {
        let batches = PACING.batches(8100, numbers());
        assert_eq!(batches.len(), 81);
        assert!(batches.iter().all(|batch| batch.clients == 100));
        let mut pauses: Vec<_> = batches.iter().skip(1).map(|batch| batch.pause).collect();
        pauses.dedup();
        assert!(pauses.len() > 70);
        let even = Pacing { jitter_percent: 0, ..PACING }.batches(8100, || u32::MAX);
        let pauses = even.iter().skip(1).map(|batch| batch.pause.as_millis());
        assert!(pauses.clone().all(|pause| (98..=99).contains(&pause)), "{even:?}");
    }

    #[test]
    fn few_clients_do_not_wait() {
        assert_eq!(PACING.batches(20, numbers()), [Batch { pause: Duration::ZERO, clients: 20 }]);
        let batches = PACING.batches(100, numbers());
        let took: Duration = batches.iter().map(|batch| batch.pause).sum();
        assert!(batches.len() == 5 && took <= PACING.interval * 5, "{batches:?}");
    }

    #[test]
    fn without_time_all_are_closed_at_once() {
        let none = Pacing { within: Duration::ZERO, ..PACING };
        assert_eq!(none.batches(9, numbers()), [Batch { pause: Duration::ZERO, clients: 9 }]);
        let at_once = Pacing { interval: Duration::ZERO, ..PACING };
        assert_eq!(at_once.batches(9, numbers()), [Batch { pause: Duration::ZERO, clients: 9 }]);
    }
}
