//! The processes of workers: starting one, and what it uses.

use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::{fs, io};

use tokio::process::{Child, Command};

use crate::wire::control::WORKER_VARIABLE;

/// This very program, even if its file has been replaced or removed since it was started: workers of
/// another version come by order, never by the accident of a crash.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Starts a worker's process, with its channel to the supervisor as standard input.
///
/// It leads a process group of its own, so that an interrupt from the terminal goes to the
/// supervisor alone, which then ends its workers in order.
pub(crate) fn start(index: u8, channel: OwnedFd) -> io::Result<Child> {
    let mut arguments = std::env::args_os();
    let mut command = Command::new(OWN_PROGRAM);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command
        .args(arguments)
        .env(WORKER_VARIABLE, index.to_string())
        // The service manager's sockets are not passed on.
        .env_remove("LISTEN_FDS")
        .env_remove("LISTEN_PID")
        .env_remove("LISTEN_FDNAMES")
        .stdin(Stdio::from(channel))
        .process_group(0)
        .spawn()
}

/// How a process has ended, in words.
pub(crate) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with status {code}"),
        (None, Some(9)) => "was killed (signal 9)".to_owned(),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => format!("ended: {status}"),
    }
}

/// What a process has used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    pub(crate) cpu_seconds: f64,
    pub(crate) memory_bytes: u64,
}

/// What a process has used, as far as the system says.
pub(crate) fn usage(pid: u32) -> Usage {
    let read = |name| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let ticks = cpu_ticks(&read("stat")).unwrap_or(0) as f64;
    let pages = read("statm").split(' ').nth(1).and_then(|text| text.parse::<u64>().ok());
    Usage {
        cpu_seconds: ticks / rustix::param::clock_ticks_per_second() as f64,
        memory_bytes: pages.unwrap_or(0) * rustix::param::page_size() as u64,
    }
}

/// User and system time of a line of `/proc/PID/stat`. The name of the program stands in
/// parentheses and can contain anything, so counting begins behind the last one.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_whatever_the_name_of_the_program() {
        let line = "7 (a) b (x y) S 1 7 7 0 -1 4194560 1 0 0 0 12 30 0 0 20 0 1 0 100 1 1";
        assert_eq!(cpu_ticks(line), Some(42));
        assert_eq!(cpu_ticks(""), None);
    }

    #[test]
    fn a_process_uses_memory() {
        let own = usage(std::process::id());
        assert!(own.memory_bytes > 100_000, "{own:?}");
        assert_eq!(usage(u32::MAX), Usage::default());
    }

    #[test]
    fn ends_are_told_in_words() {
        assert_eq!(describe(ExitStatus::from_raw(3 << 8)), "ended with status 3");
        assert_eq!(describe(ExitStatus::from_raw(9)), "was killed (signal 9)");
        assert_eq!(describe(ExitStatus::from_raw(15)), "was ended by signal 15");
    }
}
