//! What a rule has to say about a place.

use std::fmt;

/// One thing that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) path: String,
    /// Counted from 1.
    pub(super) line: usize,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A file, or a named function of it, has more lines than allowed. This kind alone can be
    /// excused by the allow list.
    TooLong {
        function: Option<String>,
        lines: usize,
        limit: usize,
    },
    Other(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.path, self.line)?;
        match &self.kind {
            Kind::TooLong { function: None, lines, limit } => {
                write!(f, "the file has {lines} lines, more than {limit}")
            }
            Kind::TooLong { function: Some(name), lines, limit } => {
                write!(f, "function `{name}` has {lines} lines, more than {limit}")
            }
            Kind::Other(text) => f.write_str(text),
        }
    }
}
