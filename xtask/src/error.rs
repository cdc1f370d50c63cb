//! What can go wrong in a task, in words that say what to do next.

use std::fmt;
use std::io;

pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Why a task stopped.
#[derive(Debug)]
pub(crate) enum Error {
    /// A tool or file that the task needs is not there. `how` says how to get it.
    Missing { what: String, how: String },
    /// A command ended with a failure; its own output says why.
    Command { line: String, outcome: String },
    /// Something did not happen in time.
    Timeout { what: String, seconds: u64 },
    /// The operating system refused something.
    Io { doing: String, source: io::Error },
    /// A check found something wrong; the text is complete.
    Check(String),
    /// The command line makes no sense.
    Usage(String),
}

impl Error {
    pub(crate) fn io(doing: impl Into<String>, source: io::Error) -> Self {
        Self::Io { doing: doing.into(), source }
    }

    pub(crate) fn missing(what: impl Into<String>, how: impl Into<String>) -> Self {
        Self::Missing { what: what.into(), how: how.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { what, how } => write!(f, "missing: {what}. {how}"),
            Self::Command { line, outcome } => write!(f, "`{line}` failed: {outcome}"),
            Self::Timeout { what, seconds } => write!(f, "{what}: not done after {seconds} s"),
            Self::Io { doing, source } => write!(f, "{doing}: {source}"),
            Self::Check(text) | Self::Usage(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
