//! Log lines that a flood does not multiply.
//!
//! What a client or a full machine can cause again and again is said once, and then once a
//! [period](PERIOD) with how many like it were left out. [`warn_rarely!`] and [`error_rarely!`] do that
//! for one place in the code; [`Throttle`] is for whoever has to tell more apart, such as events by name.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

mod limits;

pub use limits::PERIOD;
#[doc(hidden)]
pub use tracing;

/// Lets one line of a kind through in a period, and counts the others.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    quiet_until: Option<Instant>,
    left_out: u64,
}

impl Throttle {
    /// Lets the first line through.
    pub const fn new() -> Throttle {
        Throttle(Mutex::new(State { quiet_until: None, left_out: 0 }))
    }

    /// Whether a line is due now: then with how many were left out since the last one.
    pub fn pass(&self) -> Option<u64> {
        self.pass_at(Instant::now())
    }

    fn pass_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.quiet_until.is_some_and(|until| now < until) {
            state.left_out = state.left_out.saturating_add(1);
            return None;
        }
        state.quiet_until = Some(now + PERIOD);
        Some(std::mem::take(&mut state.left_out))
    }
}

/// Whether the program has no subscriber, so that whatever is logged gets lost.
pub fn nobody_listens() -> bool {
    tracing::dispatcher::get_default(tracing::Dispatch::is::<tracing::subscriber::NoSubscriber>)
}

/// Says a line on standard error, for what has to be seen where [nobody listens](nobody_listens). Whether it
/// can be written there is nobody's concern.
pub fn to_stderr(words: std::fmt::Arguments<'_>) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr().lock(), "sedge: {words}");
}

/// `tracing::warn!` that goes to [standard error](to_stderr) if [nobody listens](nobody_listens). For mistakes
/// of the application's author that show once.
#[macro_export]
macro_rules! warn_seen {
    ($($words:tt)+) => {
        if $crate::nobody_listens() {
            $crate::to_stderr(format_args!($($words)+));
        } else {
            $crate::tracing::warn!($($words)+);
        }
    };
}

/// `tracing::warn!` at most once a [period](PERIOD) for this place in the code. The field `left_out` says
/// how many there were since the last line, if there were any.
#[macro_export]
macro_rules! warn_rarely {
    ($($line:tt)+) => { $crate::rarely!(warn, $($line)+) };
}

/// [`warn_rarely!`] for what is only told, such as the end of a state that comes and goes.
#[macro_export]
macro_rules! info_rarely {
    ($($line:tt)+) => { $crate::rarely!(info, $($line)+) };
}

/// [`warn_rarely!`] for errors.
#[macro_export]
macro_rules! error_rarely {
    ($($line:tt)+) => { $crate::rarely!(error, $($line)+) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! rarely {
    ($level:ident, $($line:tt)+) => {{
        static THROTTLE: $crate::Throttle = $crate::Throttle::new();
        if let Some(left_out) = THROTTLE.pass() {
            let left_out = (left_out > 0).then_some(left_out);
            $crate::tracing::$level!(left_out, $($line)+);
        }
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_period_says_how_many_were_left_out() {
        let throttle = Throttle::new();
        let begin = Instant::now();
        assert_eq!(throttle.pass_at(begin), Some(0));
        for step in 0..5 {
            assert_eq!(throttle.pass_at(begin + PERIOD / 10 * step), None);
        }
        assert_eq!(throttle.pass_at(begin + PERIOD), Some(5));
        assert_eq!(throttle.pass_at(begin + PERIOD), None);
        assert_eq!(throttle.pass_at(begin + PERIOD * 9), Some(1));
    }

    #[test]
    fn the_macros_take_fields_and_words() {
        let error = std::io::Error::other("no room");
        for shard in 0..3 {
            warn_rarely!(shard, %error, "refused");
            error_rarely!("all shards have as many as {} allow", "limits");
        }
    }
}
