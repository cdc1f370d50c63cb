//! How a step that did not fail ended.

#[derive(Debug)]
pub(crate) enum Outcome {
    /// It passed; perhaps with something that the summary should say.
    Passed(Option<String>),
    /// It did not run, because a fast run leaves out what lacks a tool. Says why.
    Skipped(String),
    /// It is more than what has to be tested, and could not run here. Says why.
    Extra(String),
}

impl Outcome {
    pub(crate) fn passed() -> Self {
        Self::Passed(None)
    }
}
