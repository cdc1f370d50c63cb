//! Asking a running supervisor, on its control socket.
//!
//! These functions block for at most five seconds. They need no runtime.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::limits::{ANSWER_BYTES_MAX, COMMAND_TIMEOUT};
use crate::local;
use crate::run_dir::{control_path, control_paths};
use crate::wire::command::{Answer, Command};

pub use crate::wire::command::{ClusterState, Status, WorkerState, WorkerStatus};

/// Why a supervisor could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// There is none that uses this run directory.
    #[error("no cluster runs here: nobody listens on {}", .0.display())]
    NotRunning(PathBuf),
    /// It belongs to another user.
    #[error("the cluster belongs to another user: {} may not be used", .0.display())]
    Forbidden(PathBuf),
    /// It did not answer, or not in time.
    #[error("the supervisor does not answer: {0}")]
    NoAnswer(io::Error),
    /// It answers something that this version does not know.
    #[error("the supervisor's answer makes no sense here; it may be of another version")]
    Unknown,
    /// It does not do what was asked.
    #[error("the supervisor refuses: {0}")]
    Refused(String),
}

/// What the cluster of a run directory is doing.
pub fn status(run_dir: &Path) -> Result<Status, ControlError> {
    match ask(run_dir, &Command::Status)? {
        Answer::Status(status) => Ok(*status),
        Answer::Refused { reason } => Err(ControlError::Refused(reason)),
        Answer::Done | Answer::Metrics { .. } => Err(ControlError::Unknown),
    }
}

/// Ends the cluster in order, as signal 15 to the supervisor does; or ends one worker in order, which is
/// then replaced. Returns when it has begun.
pub fn drain(run_dir: &Path, worker: Option<u8>) -> Result<(), ControlError> {
    begin(run_dir, &Command::Drain { worker })
}

/// Ends the cluster at once: workers are killed. Returns when it has begun.
pub fn stop(run_dir: &Path) -> Result<(), ControlError> {
    begin(run_dir, &Command::Stop)
}

fn begin(run_dir: &Path, command: &Command) -> Result<(), ControlError> {
    match ask(run_dir, command)? {
        Answer::Done => Ok(()),
        Answer::Refused { reason } => Err(ControlError::Refused(reason)),
        Answer::Status(_) | Answer::Metrics { .. } => Err(ControlError::Unknown),
    }
}

fn ask(run_dir: &Path, command: &Command) -> Result<Answer, ControlError> {
    let mut stream = connect(run_dir)?;
    let mut line = serde_json::to_vec(command).map_err(|_| ControlError::Unknown)?;
    line.push(b'\n');
    let mut answer = String::new();
    let mut exchange = || -> io::Result<()> {
        stream.set_read_timeout(Some(COMMAND_TIMEOUT))?;
        stream.set_write_timeout(Some(COMMAND_TIMEOUT))?;
        stream.write_all(&line)?;
        BufReader::new(&stream).take(ANSWER_BYTES_MAX as u64).read_line(&mut answer)?;
        Ok(())
    };
    exchange().map_err(ControlError::NoAnswer)?;
    if answer.is_empty() {
        return Err(ControlError::NoAnswer(io::ErrorKind::UnexpectedEof.into()));
    }
    serde_json::from_str(&answer).map_err(|_| ControlError::Unknown)
}

/// Connects wherever the control socket is.
fn connect(run_dir: &Path) -> Result<UnixStream, ControlError> {
    let mut failure = ControlError::NotRunning(control_path(run_dir));
    for path in control_paths(run_dir) {
        let error = match local::connect(&path) {
            Ok(stream) if is_own(&stream) => return Ok(stream),
            Ok(_) => io::ErrorKind::PermissionDenied.into(),
            Err(error) => error,
        };
        match error.kind() {
            io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::InvalidInput => {}
            // Somebody else has the place, and the cluster may be at another one.
            io::ErrorKind::PermissionDenied => failure = ControlError::Forbidden(path),
            _ => return Err(ControlError::NoAnswer(error)),
        }
    }
    Err(failure)
}

/// Root may ask every cluster; everybody else only asks their own.
fn is_own(stream: &UnixStream) -> bool {
    rustix::process::geteuid().is_root() || local::check_peer(stream).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_there_is_said_in_words() {
        let nowhere = std::env::temp_dir().join("sedge-no-such-directory");
        let error = status(&nowhere).unwrap_err().to_string();
        assert!(error.starts_with("no cluster runs here"), "{error}");
    }
}
