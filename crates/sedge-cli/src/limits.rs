//! The bounds of what the command does itself. Those of the server are options, or the libraries'.

use std::time::Duration;

/// Lines of the log that wait to be written: a burst of a busy second, or some two megabytes. More are
/// lost and counted.
pub(crate) const LOG_LINES_MAX: usize = 8192;

/// How long the end of the process waits for lines that have not been written. Whoever reads the log at
/// all has read them long before.
pub(crate) const LOG_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
