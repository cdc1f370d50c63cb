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
//!
//! Connections of clients go through these sockets, so no other user may put one in their place: every part
//! of the path belongs to this user or to root, and nobody else may rename what is in it. A directory that
//! is merely there to be written to, such as a volume, gets a private one inside. Where nothing can be
//! written at all, or the default is somebody else's, the same names are in the [abstract](local) namespace.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags};
use rustix::process::geteuid;

use crate::error::ClusterError;
use crate::fd::peer;
use crate::limits::{SOCKET_PATH_BYTES, SYMLINKS_MAX};
use crate::local;

/// The longest name of a socket below the run directory.
const LONGEST_NAME: &str = "/0123456789abcdef/255.pass";

/// The user that what belongs to an unknown one seems to belong to, in a user namespace.
const NOBODY: u32 = 65534;

/// Where the cluster that listens on this port keeps its sockets unless told otherwise: in `sedge/PORT` in
/// `XDG_RUNTIME_DIR` if that is this user's, in `/run/sedge/PORT` for root, and in `/tmp/sedge-UID/PORT` for
/// everybody else. If nothing can be written there, or others can, the names of the sockets are in Linux's
/// abstract namespace; whoever asks for this directory finds them there.
pub fn default_run_dir(port: u16) -> PathBuf {
    default_parent().join(port.to_string())
}

/// The directory of a cluster without a port.
pub(crate) fn nameless_run_dir() -> PathBuf {
    default_parent().join(format!("pid-{}", std::process::id()))
}

fn default_parent() -> PathBuf {
    let user = geteuid();
    let session = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| {
        // Another user's stays in the environment of whoever has become root.
        fs::metadata(dir).is_ok_and(|found| found.is_dir() && found.uid() == user.as_raw())
    });
    match session {
        Some(dir) => dir.join("sedge"),
        None if user.is_root() => PathBuf::from("/run/sedge"),
        None => PathBuf::from(format!("/tmp/sedge-{}", user.as_raw())),
    }
}

/// Where the control socket of a run directory can be: in it, in this user's own directory inside, or in
/// the abstract namespace.
pub(crate) fn control_paths(run_dir: &Path) -> Vec<PathBuf> {
    if local::is_abstract(run_dir) {
        return vec![control_path(run_dir)];
    }
    let absolute = std::path::absolute(run_dir).unwrap_or_else(|_| run_dir.to_owned());
    let places = [absolute.clone(), absolute.join(private_name()), local::abstract_name(&absolute)];
    places.iter().map(|directory| control_path(directory)).collect()
}

/// The path of the control socket.
pub(crate) fn control_path(run_dir: &Path) -> PathBuf {
    run_dir.join("control.sock")
}

/// The name of a private directory in one that others may write to as well.
fn private_name() -> String {
    format!("sedge-{}", geteuid().as_raw())
}

/// A run directory that this process holds.
#[derive(Debug)]
pub(crate) struct RunDirectory {
    path: PathBuf,
    /// The directory of this start.
    own: PathBuf,
    /// What nobody else can hold at the same time, and what keeps `own` from being removed.
    _held: Vec<OwnedFd>,
}

/// Why a directory is not used.
enum Trouble {
    /// It, or something on the way to it, cannot be trusted.
    Refused(String),
    Io(io::Error),
    Other(ClusterError),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::Io(error)
    }
}

impl RunDirectory {
    /// Takes the directory that was chosen, creating it if it is not there.
    pub(crate) fn take(path: &Path, start: u64) -> Result<RunDirectory, ClusterError> {
        RunDirectory::take_unless(path, start, |trouble| match trouble {
            Trouble::Io(error) if is_unwritable(error) => Some(error.to_string()),
            _ => None,
        })
    }

    /// Takes the default directory. Nobody has chosen it, so one that cannot be trusted is no error either.
    pub(crate) fn take_default(path: &Path, start: u64) -> Result<RunDirectory, ClusterError> {
        RunDirectory::take_unless(path, start, |trouble| match trouble {
            Trouble::Io(error) => Some(error.to_string()),
            Trouble::Refused(reason) => Some(reason.clone()),
            Trouble::Other(_) => None,
        })
    }

    /// Takes the abstract names instead if that helps against what is in the way, which `avoids` then says.
    fn take_unless(
        path: &Path,
        start: u64,
        avoids: impl FnOnce(&Trouble) -> Option<String>,
    ) -> Result<RunDirectory, ClusterError> {
        let taken = RunDirectory::take_files(path, start).or_else(|trouble| {
            let Some(reason) = avoids(&trouble) else { return Err(trouble) };
            let directory = path.display();
            tracing::warn!(%directory, reason, "it is not used: the cluster's sockets have no files");
            RunDirectory::take_names(path, start)
        });
        taken.map_err(|trouble| {
            let reason = match trouble {
                Trouble::Other(error) => return error,
                Trouble::Refused(reason) => reason,
                Trouble::Io(error) => error.to_string(),
            };
            ClusterError::RunDirectory { path: path.to_owned(), reason }
        })
    }

    fn take_files(path: &Path, start: u64) -> Result<RunDirectory, Trouble> {
        let path = std::path::absolute(path)?;
        check_length(&path)?;
        // It may lead elsewhere, or a part longer.
        let path = private(&path)?;
        check_length(&path)?;
        let lock = take_lock(&path)?;
        remove_abandoned(&path);
        let own = path.join(format!("{start:016x}"));
        DirBuilder::new().mode(0o700).create(&own)?;
        let own_lock = hold(&own)?;
        let held = [Some(lock), own_lock].into_iter().flatten().map(OwnedFd::from).collect();
        Ok(RunDirectory { path, own, _held: held })
    }

    /// Takes the abstract names. They need no removing: they end with whoever has them.
    fn take_names(path: &Path, start: u64) -> Result<RunDirectory, Trouble> {
        let path = local::abstract_name(&std::path::absolute(path)?);
        check_length(&path)?;
        let name = path.join("supervisor.lock");
        let lock = local::listen(&name).map_err(|error| match held_by(&name) {
            Some(held) if held.uid == geteuid().as_raw() => {
                let path = PathBuf::from(local::shown(&path));
                let pid = u32::try_from(held.pid).ok();
                Trouble::Other(ClusterError::AlreadyRunning { path, pid })
            }
            Some(other) => Trouble::Refused(format!(
                "{} is held by process {} of another user",
                local::shown(&name),
                other.pid
            )),
            None => Trouble::Io(error),
        })?;
        if has_orphans(&path) {
            tell_of_orphans();
        }
        let own = path.join(format!("{start:016x}"));
        Ok(RunDirectory { path, own, _held: vec![lock.into()] })
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
        if !local::is_abstract(&self.path) {
            let _ = fs::remove_dir_all(&self.own);
            let _ = fs::remove_file(control_path(&self.path));
        }
    }
}

/// Who has an abstract name.
fn held_by(name: &Path) -> Option<peer::PeerProcess> {
    peer::process(local::connect(name).ok()?).ok()
}

/// Whether the trouble is that nothing can be written there, whoever it belongs to.
fn is_unwritable(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
    )
}

fn check_length(path: &Path) -> Result<(), Trouble> {
    let longest = SOCKET_PATH_BYTES - 1 - LONGEST_NAME.len();
    if path.as_os_str().len() > longest {
        return Err(Trouble::Refused(format!("its path must not be longer than {longest} bytes")));
    }
    Ok(())
}

/// Keeps the directory of a start from being removed, as long as the file is open. Abstract names need none.
pub(crate) fn hold(own: &Path) -> io::Result<Option<File>> {
    if local::is_abstract(own) {
        return Ok(None);
    }
    let file = open_lock(&own.join("lock"))?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared)?;
    Ok(Some(file))
}

/// Opens a file to be locked. Nothing else that may be there is followed or waited for.
fn open_lock(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true).mode(0o600).custom_flags(flags);
    options.open(path)
}

/// The directory at this path that is this user's alone: itself, or one inside. What is missing is made.
/// The path that is returned has no symbolic link in it.
fn private(path: &Path) -> Result<PathBuf, Trouble> {
    let (directory, found) = walk(path)?;
    let own = found.uid() == geteuid().as_raw();
    if !is_trusted(found.uid()) {
        return Err(refused(&directory, "belongs to another user"));
    }
    if own && !is_open(&found) {
        return Ok(directory);
    }
    // It was made to be written to by several, or by a user that does not own it.
    let inside = directory.join(private_name());
    let found = make(&inside)?;
    if found.uid() != geteuid().as_raw() || !found.is_dir() || is_open(&found) {
        return Err(refused(&inside, "is not a directory of this user alone"));
    }
    Ok(inside)
}

/// Goes to a directory part by part. No part but the last can be changed by anybody but this user and root.
fn walk(path: &Path) -> Result<(PathBuf, Metadata), Trouble> {
    let mut at = PathBuf::from("/");
    let mut found = fs::symlink_metadata(&at)?;
    let mut ahead: VecDeque<OsString> = parts(path).collect();
    let mut links = 0;
    while let Some(part) = ahead.pop_front() {
        if !is_trusted(found.uid()) {
            return Err(refused(&at, "belongs to another user"));
        }
        // In a sticky directory such as /tmp nobody can rename or remove what is another's.
        if is_open(&found) && found.mode() & 0o1000 == 0 {
            let why =
                "can be written to by other users; given itself, it gets a private one inside";
            return Err(refused(&at, why));
        }
        if part == ".." {
            at.pop();
            found = fs::symlink_metadata(&at)?;
            continue;
        }
        let next = at.join(part);
        found = make(&next)?;
        if found.is_symlink() {
            if !is_trusted(found.uid()) {
                return Err(refused(&next, "is a link of another user"));
            }
            links += 1;
            if links > SYMLINKS_MAX {
                return Err(refused(&next, "has too many links on its way"));
            }
            let target = fs::read_link(&next)?;
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            found = fs::symlink_metadata(&at)?;
            for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
                ahead.push_front(part);
            }
        } else if found.is_dir() {
            at = next;
        } else {
            return Err(refused(&next, "is no directory"));
        }
    }
    Ok((at, found))
}

fn parts(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}

/// What is at this path; a directory is made if nothing is.
fn make(path: &Path) -> io::Result<Metadata> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => fs::symlink_metadata(path),
    }
}

fn refused(path: &Path, why: &str) -> Trouble {
    Trouble::Refused(format!("{} {why}", path.display()))
}

/// Whether others than the owner may write to a directory.
fn is_open(found: &Metadata) -> bool {
    found.mode() & 0o022 != 0
}

/// Whether a user cannot do us any harm that we are to be kept from.
fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == geteuid().as_raw() || (uid == NOBODY && root_is_nobody())
}

/// Whether this is a user namespace without the host's root: what belongs to that one seems to be nobody's.
fn root_is_nobody() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let outside = |line: &str| line.split_ascii_whitespace().nth(1).map(str::to_owned);
    !map.is_empty() && !map.lines().any(|line| outside(line).as_deref() == Some("0"))
}

fn take_lock(path: &Path) -> Result<File, Trouble> {
    let name = path.join("supervisor.lock");
    let mut file = open_lock(&name)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut text = String::new();
            let _ = file.take(32).read_to_string(&mut text);
            let pid = text.trim().parse().ok();
            let path = path.to_owned();
            return Err(Trouble::Other(ClusterError::AlreadyRunning { path, pid }));
        }
        Err(error) => return Err(Trouble::Io(error.into())),
    }
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())?;
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
            tell_of_orphans();
        } else {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn tell_of_orphans() {
    tracing::warn!(
        "workers of an earlier start still serve: as soon as this one's do, they let their clients go, \
         and the two do not hear one another until then"
    );
}

/// Whether workers of an earlier start have abstract names below this one.
fn has_orphans(path: &Path) -> bool {
    let prefix = format!("{}/", local::shown(path));
    let names = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let mut below = names.lines().filter_map(|line| line.split_once(&prefix)).map(|(_, name)| name);
    below.any(|name| name.contains('/'))
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

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_directory_that_others_may_write_to_gets_a_private_one_inside() {
        let path = scratch("volume");
        fs::create_dir(&path).unwrap();
        for mode in [0o777, 0o2777, 0o1777, 0o2770] {
            set_mode(&path, mode);
            let taken = RunDirectory::take(&path, 1).unwrap();
            assert_eq!(taken.path(), path.canonicalize().unwrap().join(private_name()));
            let found = fs::metadata(taken.path()).unwrap();
            assert_eq!(found.mode() & 0o777, 0o700);
        }
        let inside = path.join(private_name());
        set_mode(&inside, 0o777);
        let error = RunDirectory::take(&path, 1).unwrap_err().to_string();
        assert!(error.ends_with("is not a directory of this user alone"), "{error}");
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn nothing_on_the_way_may_be_changed_by_others() {
        let path = scratch("way");
        let deep = path.join("a").join("b");
        fs::create_dir_all(&deep).unwrap();
        drop(RunDirectory::take(&deep, 1).unwrap());
        set_mode(&path.join("a"), 0o777);
        let error = RunDirectory::take(&deep, 1).unwrap_err().to_string();
        assert!(
            error.ends_with(
                "/a can be written to by other users; given itself, it gets a private one inside"
            ),
            "{error}"
        );
        // In a sticky one they cannot rename what is ours.
        set_mode(&path.join("a"), 0o1777);
        drop(RunDirectory::take(&deep, 1).unwrap());
        let file = path.join("file");
        fs::write(&file, "").unwrap();
        let error = RunDirectory::take(&file.join("run"), 1).unwrap_err().to_string();
        assert!(error.ends_with("/file is no directory"), "{error}");
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn links_are_followed_and_what_they_lead_to_is_looked_at() {
        let path = scratch("links");
        fs::create_dir_all(path.join("real").join("open")).unwrap();
        std::os::unix::fs::symlink("real/../real", path.join("link")).unwrap();
        let taken = RunDirectory::take(&path.join("link").join("run"), 1).unwrap();
        assert_eq!(taken.path(), path.canonicalize().unwrap().join("real/run"));
        set_mode(&path.join("real"), 0o777);
        let error = RunDirectory::take(&path.join("link").join("run"), 2).unwrap_err().to_string();
        assert!(
            error.ends_with(
                "/real can be written to by other users; given itself, it gets a private one inside"
            ),
            "{error}"
        );
        std::os::unix::fs::symlink("round", path.join("round")).unwrap();
        let error = RunDirectory::take(&path.join("round"), 3).unwrap_err().to_string();
        assert!(error.ends_with("has too many links on its way"), "{error}");
        drop(taken);
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn names_without_files_are_held_by_one_too() {
        let path = scratch("names");
        let error = |trouble| match trouble {
            Trouble::Other(error) => error,
            _ => panic!("not that it is running"),
        };
        let first = RunDirectory::take_names(&path, 1).map_err(error).unwrap();
        assert!(local::is_abstract(first.path()) && !path.exists());
        let second = RunDirectory::take_names(&path, 2).map_err(error).unwrap_err();
        let ClusterError::AlreadyRunning { pid, .. } = second else { panic!("{second}") };
        assert_eq!(pid, Some(std::process::id()));
        drop(first);
        RunDirectory::take_names(&path, 3).map_err(error).unwrap();
    }

    #[test]
    fn a_path_that_is_too_long_is_said_to_be() {
        let path = scratch(&"x".repeat(80));
        let error = RunDirectory::take(&path, 1).unwrap_err().to_string();
        assert!(error.contains("must not be longer than 81 bytes"), "{error}");
    }
}
