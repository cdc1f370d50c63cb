//! Where a cluster listens.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrAny, SocketFlags, SocketType};

use crate::limits::BACKLOG;

/// An address that connections come in on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    place: Place,
    secure: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Tcp { address: SocketAddr, v6_only: bool },
    Unix { path: PathBuf, mode: u32 },
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Listen {
        Listen::tcp(address)
    }
}

impl Listen {
    /// A TCP address. Port 0 is one that the system chooses. `[::]` takes IPv4 connections as well, unless
    /// [`v6_only`](Self::v6_only) says otherwise, whatever the system's default.
    pub fn tcp(address: SocketAddr) -> Listen {
        Listen { place: Place::Tcp { address, v6_only: false }, secure: false }
    }

    /// A Unix socket at this path, which only its owner may connect to: see [`mode`](Self::mode). A
    /// socket that is there already is replaced if nobody listens on it.
    pub fn unix(path: impl Into<PathBuf>) -> Listen {
        Listen { place: Place::Unix { path: path.into(), mode: 0o600 }, secure: false }
    }

    /// Whether an IPv6 address takes IPv6 connections only. Default no. For others it means nothing.
    pub fn v6_only(mut self, only: bool) -> Listen {
        if let Place::Tcp { v6_only, .. } = &mut self.place {
            *v6_only = only;
        }
        self
    }

    /// The permissions of a Unix socket, such as `0o660`. Default `0o600`.
    pub fn mode(mut self, bits: u32) -> Listen {
        if let Place::Unix { mode, .. } = &mut self.place {
            *mode = bits & 0o777;
        }
        self
    }

    /// Whether a proxy in front takes TLS off, so that the client's side is secure. Default no.
    pub fn secure(mut self, secure: bool) -> Listen {
        self.secure = secure;
        self
    }

    /// Opens the socket.
    pub(crate) fn open(&self) -> io::Result<Listener> {
        match &self.place {
            Place::Tcp { address, v6_only } => {
                let socket = open_tcp(*address, *v6_only)?;
                let address = local_address(&socket)?;
                let name = format!("{address}");
                Ok(Listener { socket, unix: false, secure: self.secure, name, file: None })
            }
            Place::Unix { path, mode } => {
                let socket = open_unix(path, *mode)?;
                let name = format!("unix:{}", path.display());
                let file = Some(SocketFile(path.clone()));
                Ok(Listener { socket, unix: true, secure: self.secure, name, file })
            }
        }
    }
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Place::Tcp { address, .. } => write!(f, "{address}"),
            Place::Unix { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A socket that listens.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) socket: OwnedFd,
    pub(crate) unix: bool,
    pub(crate) secure: bool,
    /// As a person would write it.
    pub(crate) name: String,
    /// Removes the socket's file in the end.
    pub(crate) file: Option<SocketFile>,
}

/// The file of a Unix socket, which is removed with this.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Listener {
    /// A socket that a service manager has opened.
    pub(crate) fn activated(socket: OwnedFd) -> Result<Listener, String> {
        let fail = |error: rustix::io::Errno| error.to_string();
        let listens = rustix::net::sockopt::socket_acceptconn(&socket).map_err(fail)?;
        let kind = rustix::net::sockopt::socket_type(&socket).map_err(fail)?;
        if !listens || kind != SocketType::STREAM {
            return Err("one of them does not listen for connections".to_owned());
        }
        let address = rustix::net::getsockname(&socket).map_err(fail)?;
        let unix = address.address_family() == AddressFamily::UNIX;
        let name = match ip_address(&address) {
            Some(address) => address.to_string(),
            None if unix => "unix:(activated)".to_owned(),
            None => return Err("one of them is neither TCP nor Unix".to_owned()),
        };
        if !unix {
            let _ = rustix::net::sockopt::set_tcp_nodelay(&socket, true);
        }
        rustix::io::ioctl_fionbio(&socket, true).map_err(fail)?;
        Ok(Listener { socket, unix, secure: false, name, file: None })
    }
}

/// A TCP socket that listens. What it accepts sends without delay.
pub(crate) fn open_tcp(address: SocketAddr, v6_only: bool) -> io::Result<OwnedFd> {
    use rustix::net::sockopt;
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    // Connections of a predecessor that linger must not keep the port.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, v6_only)?;
    }
    // Accepted sockets inherit it, which saves a system call for each.
    sockopt::set_tcp_nodelay(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn open_unix(path: &Path, mode: u32) -> io::Result<OwnedFd> {
    let left_over = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
        && UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    if left_over {
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    listener.set_nonblocking(true)?;
    Ok(listener.into())
}

/// The address that a socket is bound to.
pub(crate) fn local_address(socket: &OwnedFd) -> io::Result<SocketAddr> {
    let name = rustix::net::getsockname(socket)?;
    ip_address(&name).ok_or_else(|| io::Error::other("no internet address"))
}

/// The internet address, if it is one.
pub(crate) fn ip_address(address: &SocketAddrAny) -> Option<SocketAddr> {
    SocketAddr::try_from(address.clone()).ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn version_six_takes_version_four_as_well_unless_told_otherwise() {
        let address: SocketAddr = "[::]:0".parse().unwrap();
        for (only, reachable) in [(false, true), (true, false)] {
            let listener = Listen::tcp(address).v6_only(only).open().unwrap();
            let port = local_address(&listener.socket).unwrap().port();
            assert_eq!(TcpStream::connect(("127.0.0.1", port)).is_ok(), reachable);
            assert!(TcpStream::connect(("::1", port)).is_ok());
        }
    }

    #[test]
    fn a_left_over_socket_is_replaced_and_one_in_use_is_not() {
        let path = std::env::temp_dir().join(format!("sedge-listen-{}.sock", std::process::id()));
        drop(UnixListener::bind(&path).unwrap());
        let listener = Listen::unix(&path).mode(0o660).open().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        let error = Listen::unix(&path).open().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert!(!path.exists());
        fs::write(&path, "a file").unwrap();
        assert!(Listen::unix(&path).open().is_err(), "only sockets are replaced");
        fs::remove_file(&path).unwrap();
    }
}
