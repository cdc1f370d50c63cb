//! Who is at the other end of a Unix socket, as the kernel knows it.
#![expect(unsafe_code, reason = "rustix reads it into a type whose process id cannot be 0")]

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd as _};

/// A process at the other end of a connected Unix socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerProcess {
    /// Whom it belonged to: for who accepted, when it connected; for who connected, when it began to listen.
    pub(crate) uid: u32,
    /// 0 if it is in a process namespace that this process does not see into.
    pub(crate) pid: i32,
}

/// Asks the kernel (`SO_PEERCRED`).
pub(crate) fn process(socket: impl AsFd) -> io::Result<PeerProcess> {
    let mut found = MaybeUninit::<libc::ucred>::zeroed();
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the descriptor is borrowed, so it is open for the length of the call. The kernel writes at most
    // `len` bytes to `found`, which has as many, and nothing to elsewhere.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            found.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: three integers, for which every value is valid; what the kernel did not write is zero.
    let found = unsafe { found.assume_init() };
    Ok(PeerProcess { uid: found.uid, pid: found.pid })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn both_ends_of_a_pair_are_this_process() {
        let (near, far) = UnixStream::pair().unwrap();
        for end in [near, far] {
            let peer = process(&end).unwrap();
            assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
            assert_eq!(peer.pid.cast_unsigned(), std::process::id());
        }
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(process(&udp).is_err() || process(&udp).is_ok_and(|peer| peer.pid == 0));
    }
}
