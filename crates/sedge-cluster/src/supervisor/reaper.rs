//! The duty of the first process of a container or a machine: whoever loses its parent there becomes its
//! child, and stays a zombie until it is waited for.

use std::fs;
use std::io;
use std::rc::Rc;

use rustix::process::{Pid, WaitOptions, waitpid};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::state::Supervisor;
use crate::tasks;

/// Waits for all children that are no workers, if that is this process's duty.
pub(super) fn start(supervisor: &Rc<Supervisor>) -> io::Result<()> {
    if std::process::id() != 1 {
        return Ok(());
    }
    let ended = signal(SignalKind::child())?;
    tasks::supervisor_part("reaper", reap_all(Rc::clone(supervisor), ended));
    Ok(())
}

async fn reap_all(supervisor: Rc<Supervisor>, mut ended: Signal) {
    loop {
        for pid in children() {
            // Workers are waited for by those who keep them.
            if !supervisor.slots.iter().any(|slot| slot.view.borrow().pid == Some(pid)) {
                reap(pid);
            }
        }
        if ended.recv().await.is_none() {
            return;
        }
    }
}

/// Waits for a child if it has ended. Whatever else is the matter, somebody else has waited for it.
fn reap(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid
        && let Ok(Some((pid, _))) = waitpid(Some(pid), WaitOptions::NOHANG)
    {
        tracing::debug!(pid = pid.as_raw_nonzero(), "a process without a parent has ended");
    }
}

/// The children of this process, whichever of its threads they are the children of.
fn children() -> Vec<u32> {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists =
        threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    #[expect(clippy::zombie_processes, reason = "waiting for it is what is tested")]
    fn children_are_known_and_waited_for() {
        let child = Command::new("true").spawn().unwrap();
        assert!(children().contains(&child.id()));
        // It is there as long as nobody has waited for it, and this test does not.
        while children().contains(&child.id()) {
            reap(child.id());
            std::thread::yield_now();
        }
    }
}
