//! Sockets between the processes of a cluster on one host: where their names are, and that nobody else is at
//! the other end.
//!
//! A name is a path, mostly below the run directory. A path that begins with a zero byte is not in the file
//! system but in Linux's *abstract* namespace, where names need no directory, and belong to whoever is first.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::net::SocketAddrUnix;

use crate::fd::peer;

/// The abstract name that stands for a path.
pub(crate) fn abstract_name(path: &Path) -> PathBuf {
    let name = [b"\0sedge", path.as_os_str().as_bytes()].concat();
    PathBuf::from(OsString::from_vec(name))
}

/// Whether a name is in the abstract namespace.
pub(crate) fn is_abstract(path: &Path) -> bool {
    path.as_os_str().as_bytes().first() == Some(&0)
}

/// A name for people: abstract ones begin with `@`, as in `ss`.
pub(crate) fn shown(path: &Path) -> String {
    path.display().to_string().replacen('\0', "@", 1)
}

/// The address of this name.
pub(crate) fn address(path: &Path) -> io::Result<SocketAddrUnix> {
    match path.as_os_str().as_bytes() {
        [0, name @ ..] => Ok(SocketAddrUnix::new_abstract_name(name)?),
        _ => Ok(SocketAddrUnix::new(path)?),
    }
}

/// Makes a name free that a process which has ended may have left.
pub(crate) fn free(path: &Path) -> io::Result<()> {
    if is_abstract(path) {
        return Ok(());
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Listens for streams, without blocking.
pub(crate) fn listen(path: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind_addr(&std_address(path)?)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Connects a stream, to a process of this user. It blocks.
pub(crate) fn connect(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect_addr(&std_address(path)?)
}

fn std_address(path: &Path) -> io::Result<SocketAddr> {
    match path.as_os_str().as_bytes() {
        [0, name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(path),
    }
}

/// Makes sure that a process of this user, or of root, is at the other end. Both sides ask: a name can be
/// taken by whoever may write to its directory, and found by whoever may read it.
pub(crate) fn check_peer(socket: impl AsFd) -> io::Result<()> {
    let peer = peer::process(socket)?;
    if peer.uid == 0 || peer.uid == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    let (user, process) = (peer.uid, peer.pid);
    sedge_log::warn_rarely!(user, process, "turned away: a process of another user");
    let words = format!("process {process} belongs to another user ({user})");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abstract_names_are_listened_on_and_are_free_again_when_nobody_does() {
        let name = abstract_name(Path::new(&format!("/test/{}", std::process::id())));
        assert!(is_abstract(&name) && shown(&name).starts_with("@sedge/test/"));
        for _ in 0..2 {
            free(&name).unwrap();
            let _listener = listen(&name).unwrap();
            assert_eq!(listen(&name).unwrap_err().kind(), io::ErrorKind::AddrInUse);
            check_peer(connect(&name).unwrap()).unwrap();
        }
        assert_eq!(connect(&name).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    /// Runs a function as another user, whom the kernel tells apart by thread.
    fn as_a_stranger<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
        let stranger = rustix::process::Uid::from_raw(61_235);
        let thread = std::thread::spawn(move || {
            rustix::thread::set_thread_res_uid(stranger, stranger, stranger).unwrap();
            run()
        });
        thread.join().unwrap()
    }

    #[test]
    fn another_user_is_turned_away_whoever_connects() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can be somebody else for a moment");
            return;
        }
        let name = abstract_name(Path::new(&format!("/test/users/{}", std::process::id())));
        let own = listen(&name).unwrap();
        own.set_nonblocking(false).unwrap();
        let connected = name.clone();
        let far = as_a_stranger(move || connect(&connected).unwrap());
        let (near, _) = own.accept().unwrap();
        let error = check_peer(&near).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(error.to_string().ends_with("belongs to another user (61235)"), "{error}");
        // Root is nobody to be afraid of.
        as_a_stranger(move || check_peer(&far)).unwrap();
        drop(own);
        let taken = name.clone();
        let _foreign = as_a_stranger(move || listen(&taken).unwrap());
        check_peer(connect(&name).unwrap()).unwrap_err();
    }
}
