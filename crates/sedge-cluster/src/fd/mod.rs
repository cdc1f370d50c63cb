//! Descriptors: passing them between processes, looking at what a socket holds without taking it,
//! taking over sockets that a service manager has opened.
//!
//! This module and its children are the only place of the project where `unsafe` may stand, and
//! only where there is no safe form: mapping shared memory ([`shared`]), owning descriptors that were
//! inherited by number ([`inherited`]), registering descriptors with the runtime ([`watched`]), asking who
//! is at the other end ([`peer`]).

pub(crate) mod headroom;
pub(crate) mod inherited;
pub(crate) mod peer;
pub(crate) mod shared;
pub(crate) mod watched;

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use smallvec::SmallVec;

use crate::limits::DESCRIPTORS_MAX;

/// A message and what came with it.
#[derive(Debug)]
pub(crate) struct Received {
    /// Bytes of the message; 0 is the end: the other side has closed.
    pub(crate) len: usize,
    /// The descriptors, in the order in which they were sent.
    pub(crate) descriptors: SmallVec<[OwnedFd; 1]>,
    /// Descriptors were sent that did not arrive, usually because this process has as many open as
    /// it may. They are closed.
    pub(crate) lost: bool,
}

/// Two connected sockets that keep messages apart (`SOCK_SEQPACKET`), neither of which blocks or is
/// inherited.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// A socket for messages over paths of the file system.
pub(crate) fn message_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// Sends one message, as a whole or not at all.
///
/// `WouldBlock`: the other side has not read enough. `ETOOMANYREFS`: this user has too many descriptors
/// under way that nobody has received. `BrokenPipe`, `ConnectionReset`: nobody will ever read it.
pub(crate) fn send(
    socket: impl AsFd,
    parts: &[IoSlice<'_>],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    debug_assert!(descriptors.len() <= DESCRIPTORS_MAX);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors"));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    // A socket that keeps messages apart never takes a part of one.
    retry(|| rustix::net::sendmsg(socket.as_fd(), parts, &mut control, flags))?;
    Ok(())
}

/// Receives one message. What does not fit into the buffer is an error: nobody of this cluster
/// sends such a message.
pub(crate) fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Received> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let message = retry(|| {
        let parts = &mut [IoSliceMut::new(buffer)];
        rustix::net::recvmsg(socket.as_fd(), parts, &mut control, flags)
    })?;
    let mut descriptors = SmallVec::new();
    for ancillary in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = ancillary {
            descriptors.extend(rights);
        }
    }
    if message.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message longer than any"));
    }
    let lost = message.flags.contains(ReturnFlags::CTRUNC);
    Ok(Received { len: message.bytes, descriptors, lost })
}

/// Copies what a stream socket has received, from its beginning, and leaves it there. 0 is the end
/// of the stream; `WouldBlock` says that nothing has come yet.
pub(crate) fn peek(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    let (len, _) = retry(|| rustix::net::recv(socket.as_fd(), &mut *buffer, flags))?;
    Ok(len)
}

/// Repeats a call that a signal has interrupted.
fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(value) => return Ok(value),
        }
    }
}

/// Whether a call failed because this user has too many descriptors under way.
pub(crate) fn is_too_many_under_way(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::TOOMANYREFS.raw_os_error())
}

/// Whether a call failed because the process or the system is out of descriptors or memory.
pub(crate) fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_message_arrives_whole_and_in_order_with_its_descriptor() {
        let (near, far) = pair().unwrap();
        let (mut kept, passed) = UnixStream::pair().unwrap();
        send(&near, &[IoSlice::new(b"he"), IoSlice::new(b"ad")], &[passed.as_fd()]).unwrap();
        send(&near, &[IoSlice::new(b"second")], &[]).unwrap();
        drop(passed);
        let mut buffer = [0; 64];
        let first = receive(&far, &mut buffer).unwrap();
        assert_eq!((&buffer[..first.len], first.lost), (&b"head"[..], false));
        let mut stream = UnixStream::from(first.descriptors.into_iter().next().unwrap());
        stream.write_all(b"through the passed one").unwrap();
        drop(stream);
        let mut text = String::new();
        kept.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through the passed one");
        let second = receive(&far, &mut buffer).unwrap();
        assert_eq!((&buffer[..second.len], second.descriptors.len()), (&b"second"[..], 0));
        assert_eq!(receive(&far, &mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(near);
        assert_eq!(receive(&far, &mut buffer).unwrap().len, 0);
    }

    #[test]
    fn a_socket_that_nobody_reads_takes_a_bounded_number() {
        let (near, far) = pair().unwrap();
        let mut sent = 0;
        let error = loop {
            match send(&near, &[IoSlice::new(&[7; 32])], &[]) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
            assert!(sent < 100_000);
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(sent > 64, "{sent}");
        drop(far);
        let error = send(&near, &[IoSlice::new(b"x")], &[]).unwrap_err();
        assert!(matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset));
    }

    #[test]
    fn what_is_longer_than_the_buffer_is_an_error_and_closes_what_it_carried() {
        let (near, far) = pair().unwrap();
        let (mut kept, passed) = UnixStream::pair().unwrap();
        send(&near, &[IoSlice::new(&[1; 100])], &[passed.as_fd()]).unwrap();
        drop(passed);
        let error = receive(&far, &mut [0; 50]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(kept.read(&mut [0; 8]).unwrap(), 0);
    }

    #[test]
    fn peeking_takes_nothing() {
        let (mut near, far) = UnixStream::pair().unwrap();
        let mut buffer = [0; 16];
        assert_eq!(peek(&far, &mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        near.write_all(b"GET /").unwrap();
        for _ in 0..2 {
            let len = peek(&far, &mut buffer).unwrap();
            assert_eq!(&buffer[..len], b"GET /");
        }
        near.write_all(b" HTTP").unwrap();
        assert_eq!(peek(&far, &mut buffer).unwrap(), 10);
        drop(near);
        assert_eq!(peek(&far, &mut buffer).unwrap(), 10, "what was sent before the end stays");
    }
}
