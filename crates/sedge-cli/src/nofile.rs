//! The limit of open files: every connection is one.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the limit as far as the system lets us. It never fails: with the old limit the server
/// works too, for fewer clients, and the log tells how many.
pub(crate) fn raise() {
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    limit.current = limit.maximum;
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => tracing::debug!(?before, now = ?limit.current, "limit of open files raised"),
        Err(error) => {
            tracing::warn!(%error, limit = ?before, "the limit of open files cannot be raised");
        }
    }
}
