//! The run directory: where a cluster's control socket and its workers' sockets are.
//!
//! ```text
//! supervisor.lock     held by the supervisor, with its process id
//! control.sock        for `status`, `drain` and `stop`
//! 5f0c…/              one directory for each start of the supervisor
//!   lock              held by the supervisor and all its workers
//!   0.bus  0.pass     worker 0 on the bus, and for connections from its siblings
//! ```
//!
//! Each start has a directory of its own, so that workers that have outlived their supervisor and
//! those of its successor stay apart. A directory that nobody holds any more is removed at the next start.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::error::ClusterError;
use crate::limits::SOCKET_PATH_BYTES;

/// The longest name of a socket below the run directory.
const LONGEST_NAME: &str = "/0123456789abcdef/255.pass";

/// Where clusters keep their sockets unless told otherwise: `sedge` in `XDG_RUNTIME_DIR` if that is
/// set, `/run/sedge` for root, and `/tmp/sedge-UID` for everybody else.
pub fn default_run_dir() -> PathBuf {
    let uid = rustix::process::getuid();
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(dir) if !dir.is_empty() => PathBuf::from(dir).join("sedge"),
        _ if uid.is_root() => PathBuf::from("/run/sedge"),
        _ => PathBuf::from(format!("/tmp/sedge-{}", uid.as_raw())),
    }
}

/// The path of the control socket.
pub(crate) fn control_path(run_dir: &Path) -> PathBuf {
    run_dir.join("control.sock")
}

/// A run directory that this process holds.
#[derive(Debug)]
pub(crate) struct RunDirectory {
    path: PathBuf,
    /// The directory of this start.
    own: PathBuf,
    _lock: File,
    _own_lock: File,
}

impl RunDirectory {
    /// Takes the directory, creating it if it is not there.
    pub(crate) fn take(path: &Path, start: u64) -> Result<RunDirectory, ClusterError> {
        let fail = |error: io::Error| ClusterError::RunDirectory {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        if path.as_os_str().len() + LONGEST_NAME.len() >= SOCKET_PATH_BYTES {
            let longest = SOCKET_PATH_BYTES - 1 - LONGEST_NAME.len();
            let reason = format!("its path must not be longer than {longest} bytes");
            return Err(ClusterError::RunDirectory { path: path.to_owned(), reason });
        }
        create(path).map_err(fail)?;
        let path = path.canonicalize().map_err(fail)?;
        let lock = take_lock(&path)?;
        remove_abandoned(&path);
        let own = path.join(format!("{start:016x}"));
        DirBuilder::new().mode(0o700).create(&own).map_err(fail)?;
        let own_lock = hold(&own).map_err(fail)?;
        Ok(RunDirectory { path, own, _lock: lock, _own_lock: own_lock })
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory of this start.
    pub(crate) fn own(&self) -> &Path {
        &self.own
    }
}

impl Drop for RunDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.own);
        let _ = fs::remove_file(control_path(&self.path));
    }
}

/// Keeps the directory of a start from being removed, as long as the file is open.
pub(crate) fn hold(own: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file =
        options.create(true).truncate(false).write(true).mode(0o600).open(own.join("lock"))?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared)?;
    Ok(file)
}

/// Makes sure that the directory is there, and nobody else's.
fn create(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).recursive(true).create(path)?;
    let found = fs::symlink_metadata(path)?;
    if !found.is_dir() {
        return Err(io::Error::other("it is no directory"));
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("it belongs to another user"));
    }
    if found.mode() & 0o022 != 0 {
        return Err(io::Error::other("other users may write to it"));
    }
    Ok(())
}

fn take_lock(path: &Path) -> Result<File, ClusterError> {
    let fail = |error: io::Error| ClusterError::RunDirectory {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let name = path.join("supervisor.lock");
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true).mode(0o600);
    let mut file = options.open(name).map_err(fail)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut text = String::new();
            let _ = file.take(32).read_to_string(&mut text);
            let pid = text.trim().parse().ok();
            return Err(ClusterError::AlreadyRunning { path: path.to_owned(), pid });
        }
        Err(error) => return Err(fail(error.into())),
    }
    file.set_len(0).map_err(fail)?;
    writeln!(file, "{}", std::process::id()).map_err(fail)?;
    Ok(file)
}

/// Removes the directories of starts whose processes have all ended.
fn remove_abandoned(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_start = name.len() == 16
            && name.as_encoded_bytes().iter().all(u8::is_ascii_hexdigit)
            && entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_start {
            continue;
        }
        let lock = OpenOptions::new().write(true).open(entry.path().join("lock"));
        let held = lock.is_ok_and(|lock| {
            rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err()
        });
        if held {
            tracing::warn!(
                "workers of an earlier start still serve: as soon as this one's do, they let their \
                 clients go, and the two do not hear one another until then"
            );
        } else {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("sedge-run-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn one_supervisor_at_a_time_and_the_next_removes_what_is_left() {
        let path = scratch("one");
        let first = RunDirectory::take(&path, 1).unwrap();
        let error = RunDirectory::take(&path, 2).unwrap_err();
        let ClusterError::AlreadyRunning { pid, .. } = error else { panic!("{error}") };
        assert_eq!(pid, Some(std::process::id()));
        drop(first);
        // What a supervisor that was killed leaves, while a worker of it is still there.
        let own = path.join(format!("{:016x}", 7));
        fs::create_dir(&own).unwrap();
        let worker = hold(&own).unwrap();
        drop(RunDirectory::take(&path, 3).unwrap());
        assert!(own.exists());
        drop(worker);
        drop(RunDirectory::take(&path, 4).unwrap());
        assert!(!own.exists());
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn what_others_may_write_to_is_not_used() {
        let path = scratch("open");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        let error = RunDirectory::take(&path, 1).unwrap_err().to_string();
        assert!(error.ends_with("other users may write to it"), "{error}");
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_path_that_is_too_long_is_said_to_be() {
        let path = scratch(&"x".repeat(80));
        let error = RunDirectory::take(&path, 1).unwrap_err().to_string();
        assert!(error.contains("must not be longer than 81 bytes"), "{error}");
    }
}
