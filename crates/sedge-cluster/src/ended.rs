//! How a process of a cluster has ended.

use std::process::ExitCode;

/// How a process of a cluster has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The supervisor, after all workers have ended by themselves.
    Clean,
    /// The supervisor, after workers that did not end in time had to be cut off, or ended with an error.
    Killed,
    /// The supervisor, told a second time to end, by this signal; the workers were killed. Also if
    /// it was told to stop at once on its control socket, which counts as signal 15.
    Forced(u8),
    /// A worker, whose work is done.
    Worker,
}

impl Ended {
    /// The status for the process to exit with.
    pub fn code(self) -> i32 {
        match self {
            Ended::Clean | Ended::Worker => 0,
            Ended::Killed => 1,
            Ended::Forced(signal) => 128 + i32::from(signal),
        }
    }
}

impl From<Ended> for ExitCode {
    fn from(ended: Ended) -> ExitCode {
        u8::try_from(ended.code()).map_or(ExitCode::FAILURE, ExitCode::from)
    }
}
