//! The bounds of what the command does itself. Those of the server are options, or the libraries'.

use std::time::Duration;

/// Lines of the log that wait to be written: a burst of a busy second, or some two megabytes. More are
/// lost and counted.
pub(crate) const LOG_LINES_MAX: usize = 8192;

/// How long the end of the process waits for lines that have not been written. Whoever reads the log at
/// all has read them long before.
pub(crate) const LOG_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// From one announcement of the demo to the next: short enough to look immediate.
pub(crate) const DEMO_GATHERING: Duration = Duration::from_millis(100);

/// How often a worker looks whether something has changed in the demo that none of its own clients did: a worker
/// that was killed tells nobody, and the announcements of two workers can overtake each other.
pub(crate) const DEMO_LOOK: Duration = Duration::from_secs(2);

/// Characters of a name in the demo, of what is said, and of what a page tells its own messages by: what a
/// page can show.
pub(crate) const DEMO_NAME_MAX: usize = 32;
pub(crate) const DEMO_TEXT_MAX: usize = 2000;
pub(crate) const DEMO_KEY_MAX: usize = 64;

/// Addresses of a comparison of hashes: a few minutes.
pub(crate) const BENCH_ADDRESSES_MAX: u64 = 1_000_000_000;

/// Columns of its table: more nobody can read.
pub(crate) const BENCH_SCATTER_SLOTS_MAX: usize = 12;
