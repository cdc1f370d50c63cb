//! When a worker that has ended is started again, as a function of its ends so far.

use std::time::Duration;

use crate::builder::RestartLimits;
use crate::limits::{RESTART_DELAY, RESTART_DELAY_MAX, STABLE_AFTER};

/// What is remembered of a worker's ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Restarts {
    /// Ends in a row, each before the worker had served for a stable time.
    failures: u32,
}

/// What follows from an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Start again after this time.
    After(Duration),
    /// The worker is in a crash loop: start again at a slow pace.
    Slowly(Duration),
}

impl Next {
    /// The same, with no longer a time.
    pub(crate) fn at_most(self, longest: Duration) -> Next {
        match self {
            Next::After(pause) => Next::After(pause.min(longest)),
            Next::Slowly(pause) => Next::Slowly(pause.min(longest)),
        }
    }
}

impl Restarts {
    /// The worker has ended after it was ready for `served`, if it was at all.
    pub(crate) fn ended(&mut self, served: Option<Duration>, limits: RestartLimits) -> Next {
        if served.is_some_and(|served| served >= STABLE_AFTER) {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures >= limits.crashes_max {
            return Next::Slowly(limits.crash_loop_delay);
        }
        let doubled = 1_u32 << (self.failures - 1).min(16);
        Next::After((RESTART_DELAY * doubled).min(RESTART_DELAY_MAX))
    }

    /// The worker has ended because it was told to.
    pub(crate) fn ended_in_order(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: RestartLimits =
        RestartLimits { crashes_max: 8, crash_loop_delay: Duration::from_mins(1) };

    #[test]
    fn delays_double_up_to_a_bound_and_end_in_a_slow_pace() {
        let mut restarts = Restarts::default();
        let delays: Vec<_> = (0..9).map(|_| restarts.ended(None, LIMITS)).collect();
        let after = [100, 200, 400, 800, 1600, 3200, 5000].map(Duration::from_millis);
        assert_eq!(delays[..7], after.map(Next::After));
        assert_eq!(delays[7..], [Next::Slowly(Duration::from_mins(1)); 2]);
    }

    #[test]
    fn whoever_is_the_last_is_not_waited_for_as_long() {
        let longest = Duration::from_secs(2);
        let mut restarts = Restarts::default();
        let delays = (0..9).map(|_| restarts.ended(None, LIMITS).at_most(longest));
        let after = [100, 200, 400, 800, 1600, 2000, 2000].map(Duration::from_millis);
        let slowly = [Next::Slowly(longest); 2];
        assert!(delays.eq(after.map(Next::After).into_iter().chain(slowly)));
    }

    #[test]
    fn a_worker_that_served_for_long_begins_anew() {
        let mut restarts = Restarts::default();
        for _ in 0..10 {
            restarts.ended(Some(Duration::from_secs(1)), LIMITS);
        }
        let next = restarts.ended(Some(STABLE_AFTER), LIMITS);
        assert_eq!(next, Next::After(RESTART_DELAY));
        restarts.ended_in_order();
        assert_eq!(restarts, Restarts::default());
    }
}
