//! A descriptor whose readiness tasks can wait for.
#![expect(
    unsafe_code,
    reason = "tokio's safe form was withdrawn, as it took any type for a descriptor"
)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::io::{Interest, Ready};

/// A socket that does not block, registered with the runtime.
#[derive(Debug)]
pub(crate) struct Watched {
    /// Never reached as `&mut`, and never exchanged: see `new`.
    socket: AsyncFd<OwnedFd>,
}

impl Watched {
    /// Must be called within a runtime, which has to live as long as anybody waits. If the socket
    /// cannot be registered, it comes back with the error.
    pub(crate) fn new(
        socket: OwnedFd,
        interest: Interest,
    ) -> Result<Watched, (OwnedFd, io::Error)> {
        // SAFETY: an `OwnedFd` is an open descriptor, always the same one, and stays open until it is
        // dropped. `Watched` hands out no `&mut` to it, so it cannot be exchanged while it is
        // registered; it leaves only by `into_inner`, which registers it no more.
        let registered = unsafe { AsyncFd::register_with_interest(socket, interest) };
        registered
            .map(|socket| Watched { socket })
            .map_err(tokio::io::unix::AsyncFdRegisterError::into_parts)
    }

    /// Waits until `io` does something else than `WouldBlock`. May be given up at any time.
    pub(crate) async fn when_ready<T>(
        &self,
        interest: Interest,
        mut io: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        self.socket.async_io(interest, |socket| io(socket.as_fd())).await
    }

    /// Waits until something has come that was not there when the last guard was cleared.
    pub(crate) async fn readable(&self) -> io::Result<(Ready, AsyncFdReadyGuard<'_, OwnedFd>)> {
        let guard = self.socket.readable().await?;
        Ok((guard.ready(), guard))
    }

    /// The socket, no longer registered.
    pub(crate) fn into_inner(self) -> OwnedFd {
        self.socket.into_inner()
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
    }
}
