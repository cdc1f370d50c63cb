//! The bounds of logging.

use std::time::Duration;

/// From one line to the next of its kind: a person who watches sees that it goes on, and a day of it
/// is less than 9,000 lines.
pub const PERIOD: Duration = Duration::from_secs(10);
