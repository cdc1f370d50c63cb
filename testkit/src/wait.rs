//! Waiting for what nothing announces, always with a deadline.

use std::time::{Duration, Instant};

/// The longest a test waits for anything.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// Between two looks at a condition that nothing announces.
const LOOK: Duration = Duration::from_millis(2);

/// Waits until a condition holds, at most for `deadline`, and returns whether it does.
pub fn eventually(deadline: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + deadline;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::park_timeout(LOOK);
    }
}
