//! Sockets that were there when the process began: the channel to the supervisor on standard
//! input, and those of a service manager (the protocol of systemd's socket activation).
#![expect(unsafe_code, reason = "descriptors inherited by number have no owner yet")]

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::FdFlags;
use rustix::net::{AddressFamily, SocketType};

use crate::limits::ACTIVATED_MAX;

/// Where a service manager's descriptors begin.
const FIRST: RawFd = 3;

static TAKEN: AtomicBool = AtomicBool::new(false);

/// Takes the channel to the supervisor from standard input, which is `/dev/null` from then on.
///
/// Standard input that is no such channel is left alone: `None`.
pub(crate) fn take_channel() -> io::Result<Option<OwnedFd>> {
    let stdin = io::stdin();
    let is_channel = rustix::net::sockopt::socket_type(&stdin)
        .is_ok_and(|kind| kind == SocketType::SEQPACKET)
        && rustix::net::getsockname(&stdin)
            .is_ok_and(|name| name.address_family() == AddressFamily::UNIX);
    if !is_channel {
        return Ok(None);
    }
    let channel = rustix::io::fcntl_dupfd_cloexec(&stdin, FIRST)?;
    let null = OpenOptions::new().read(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(null.as_fd())?;
    Ok(Some(channel))
}

/// Takes the sockets that a service manager has opened for this process, as named by `LISTEN_PID` and
/// `LISTEN_FDS`. None are there if the variables are not set or meant for another process.
/// They are taken once; a second call finds none.
pub(crate) fn take_activated() -> io::Result<Vec<OwnedFd>> {
    let variable = |name| std::env::var_os(name);
    let (pid, count) = (variable("LISTEN_PID"), variable("LISTEN_FDS"));
    let Some(count) = activated(pid.as_deref(), count.as_deref(), std::process::id()) else {
        return Ok(Vec::new());
    };
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(Vec::new());
    }
    let mut taken = Vec::new();
    for number in FIRST..FIRST + count {
        // SAFETY: borrowed for the one call, which at worst says that the number is not open.
        let open = unsafe { BorrowedFd::borrow_raw(number) };
        rustix::io::fcntl_getfd(open)?;
        // Workers must not inherit it: a port that they hold cannot be taken by a new supervisor.
        rustix::io::fcntl_setfd(open, FdFlags::CLOEXEC)?;
        // SAFETY: the descriptor is open, as was just seen. Nobody else owns it: the variables, which
        // name this very process, say that it was made for whoever asks for it here, and
        // `TAKEN` lets that happen once. (Numbers from 3 on that this process opened itself cannot
        // be among them: those were free, and the manager's were not.)
        taken.push(unsafe { OwnedFd::from_raw_fd(number) });
    }
    Ok(taken)
}

/// How many descriptors the variables name for the process `own`.
fn activated(pid: Option<&OsStr>, count: Option<&OsStr>, own: u32) -> Option<RawFd> {
    let pid: u32 = pid?.to_str()?.parse().ok()?;
    let count: RawFd = count?.to_str()?.parse().ok()?;
    (pid == own && (1..=ACTIVATED_MAX).contains(&count)).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_meant_for_this_process_is_taken() {
        let some = |text| Some(OsStr::new(text));
        assert_eq!(activated(some("12"), some("2"), 12), Some(2));
        assert_eq!(activated(some("13"), some("2"), 12), None);
        assert_eq!(activated(None, some("2"), 12), None);
        for count in ["0", "-1", "65", "many", "99999999999"] {
            assert_eq!(activated(some("12"), some(count), 12), None, "{count}");
        }
    }
}
