//! What the log says of handlers that did not do their work: once for each event and cause, and then from time
//! to time with how many there were. Clients can cause any number of them.
//!
//! A program that has neither a subscriber of `tracing` nor a hook is told on standard error, as it is of
//! panics: a mistake that nobody sees is looked for on the client's side, where somebody waits for an answer.

use std::sync::{Mutex, PoisonError};

use hashbrown::HashMap;
use sedge_log::Throttle;

use crate::error::{Blame, ExtractError, HandlerError, HandlerErrorKind};
use crate::limits::{COMPLAINT_WORDS_MAX, COMPLAINTS_MAX};

/// Which complaints were made. Shared by all threads: it is only touched when something is wrong.
#[derive(Default)]
pub(crate) struct Complaints {
    kinds: Mutex<HashMap<(Box<str>, &'static str), Throttle>>,
    /// For what there is no room.
    others: Throttle,
}

impl Complaints {
    /// A handler of a namespace, called for a socket unless it was a server-side event, did not do its work.
    /// `hooked` is whether the application is told otherwise.
    pub(crate) fn handler(
        &self,
        namespace: &str,
        socket: Option<&str>,
        error: &HandlerError,
        hooked: bool,
    ) {
        let blame = error.fault.blame();
        let event = error.event();
        if blame == Blame::Nobody {
            let error = error.kind().to_string();
            return tracing::debug!(namespace, socket, event, error, "a client has gone meanwhile");
        }
        let Some(left_out) = self.pass(event, cause(error.kind())) else { return };
        let words = words(error);
        if sedge_log::nobody_listens() {
            if !hooked {
                let more = if left_out > 0 {
                    format!(" ({left_out} more left out)")
                } else {
                    String::new()
                };
                sedge_log::to_stderr(format_args!("event {event:?} of {namespace}: {words}{more}"));
            }
            return;
        }
        let left_out = (left_out > 0).then_some(left_out);
        if blame == Blame::Server {
            tracing::error!(left_out, namespace, socket, event, error = words, "handler error");
        } else {
            tracing::warn!(left_out, namespace, socket, event, error = words, "handler error");
        }
    }

    fn pass(&self, event: &str, cause: &'static str) -> Option<u64> {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let full = kinds.len() >= COMPLAINTS_MAX;
        let key = (Box::from(event), cause);
        match kinds.get(&key) {
            Some(throttle) => throttle.pass(),
            // Names of events may be made up by clients.
            None if full => self.others.pass(),
            None => kinds.entry(key).or_default().pass(),
        }
    }
}

/// What tells complaints about the same event apart.
fn cause(kind: &HandlerErrorKind) -> &'static str {
    match kind {
        HandlerErrorKind::Extract(ExtractError::Decode(_)) => "decode",
        HandlerErrorKind::Extract(
            ExtractError::MissingState(name) | ExtractError::MissingExtension(name),
        ) => name,
        HandlerErrorKind::Extract(ExtractError::Other(_)) => "extract",
        HandlerErrorKind::Failed(_) => "failed",
        HandlerErrorKind::Panicked(_) => "panicked",
    }
}

/// The error with those behind it, and no more of it than a line can have: parts of it may be a client's.
fn words(error: &HandlerError) -> String {
    let mut words = error.kind().to_string();
    let sources = std::iter::successors(std::error::Error::source(error), |&error| error.source());
    for source in sources {
        let source = source.to_string();
        if !words.contains(&source) {
            words = format!("{words}: {source}");
        }
    }
    let end = words.floor_char_boundary(COMPLAINT_WORDS_MAX);
    if end < words.len() {
        words.truncate(end);
        words.push('…');
    }
    words
}
