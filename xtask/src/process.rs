//! Running commands: shown before they run, bounded in time, their failures in words.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// How often a running command is looked at while its time limit is watched.
const LOOK: Duration = Duration::from_millis(50);

/// The command as a developer would type it.
pub(crate) fn line(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|arg| arg.to_string_lossy().into_owned()));
    words.join(" ")
}

/// Runs the command to its end with our own standard streams; any other status than 0 is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    println!("$ {}", line(command));
    let status = command.status().map_err(|e| not_started(command, e))?;
    check(command, status)
}

/// Like [`run`], but kills the command when `limit` has passed. Only the command itself is
/// killed: use it for programs that do their work in their own process.
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> Result<()> {
    println!("$ {}", line(command));
    let mut child = command.spawn().map_err(|e| not_started(command, e))?;
    finish_within(&mut child, command, limit)
}

/// Runs the command silently and returns what it printed, whatever its status.
pub(crate) fn capture(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).output().map_err(|e| not_started(command, e))
}

/// Runs the command silently within `limit`, with its output going to the file `log`; true if
/// its status was 0.
pub(crate) fn run_logged(command: &mut Command, log: &Path, limit: Duration) -> Result<bool> {
    let mut child = start_logged(command, log)?;
    Ok(ended_within(&mut child, command, limit)?.success())
}

/// Starts the command silently, with its output going to the file `log`.
pub(crate) fn start_logged(command: &mut Command, log: &Path) -> Result<Child> {
    let doing = || format!("writing {}", log.display());
    let file = std::fs::File::create(log).map_err(|e| Error::io(doing(), e))?;
    let also = file.try_clone().map_err(|e| Error::io(doing(), e))?;
    command.stdin(Stdio::null()).stdout(file).stderr(also);
    command.spawn().map_err(|e| not_started(command, e))
}

/// Waits for a command that was started, and kills it when `limit` has passed; any other status than 0
/// is an error.
pub(crate) fn finish_within(child: &mut Child, command: &Command, limit: Duration) -> Result<()> {
    let status = ended_within(child, command, limit)?;
    check(command, status)
}

/// True if the command can be started and ends well. Nothing is shown.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    capture(command).is_ok_and(|output| output.status.success())
}

/// Standard output of a command that ends well, trimmed.
pub(crate) fn text_of(command: &mut Command) -> Option<String> {
    let output = capture(command).ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Waits for the end of a process, at most this long; `None` if it has not ended then.
pub(crate) fn wait_within(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        let waited = child.try_wait().map_err(|e| Error::io("waiting for a command", e))?;
        if waited.is_some() || Instant::now() >= deadline {
            return Ok(waited);
        }
        std::thread::sleep(LOOK);
    }
}

/// Waits for the end of a command, and kills it when the limit has passed.
fn ended_within(child: &mut Child, command: &Command, limit: Duration) -> Result<ExitStatus> {
    wait_within(child, limit)?.ok_or_else(|| {
        // A failure here means that it ended in the meantime.
        let _ = child.kill();
        let _ = child.wait();
        Error::Timeout { what: line(command), seconds: limit.as_secs() }
    })
}

fn check(command: &Command, status: ExitStatus) -> Result<()> {
    if status.success() {
        return Ok(());
    }
    Err(Error::Command { line: line(command), outcome: status.to_string() })
}

fn not_started(command: &Command, source: std::io::Error) -> Error {
    Error::io(format!("starting `{}`", line(command)), source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_hangs_is_ended() {
        let result = run_within(Command::new("sleep").arg("600"), Duration::from_millis(100));
        assert!(matches!(result, Err(Error::Timeout { .. })), "{result:?}");
    }

    #[test]
    fn a_failure_names_the_command() {
        let Err(error) = run(Command::new("sh").args(["-c", "exit 3"])) else {
            panic!("exit status 3 was taken for success");
        };
        assert_eq!(error.to_string(), "`sh -c exit 3` failed: exit status: 3");
    }
}
