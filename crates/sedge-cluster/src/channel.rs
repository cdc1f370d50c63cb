//! A socket for messages and descriptors between two processes of the cluster, for tasks.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use tokio::io::Interest;

use crate::fd::watched::Watched;
use crate::fd::{self, Received};

/// One end. Messages arrive whole and in order.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: Watched,
}

impl Channel {
    /// Takes over a socket that does not block. Must be called within a runtime, which has to live as
    /// long as anybody waits for the channel.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Channel> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        let socket = Watched::new(socket, interest).map_err(|(_, error)| error)?;
        Ok(Channel { socket })
    }

    /// Sends a message if that takes no waiting.
    pub(crate) fn try_send(
        &self,
        parts: &[IoSlice<'_>],
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        fd::send(&self.socket, parts, descriptors)
    }

    /// Sends a message, waiting until there is room for it.
    pub(crate) async fn send(
        &self,
        parts: &[IoSlice<'_>],
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let send = |socket: BorrowedFd<'_>| fd::send(socket, parts, descriptors);
        self.socket.when_ready(Interest::WRITABLE, send).await
    }

    /// Waits until `send`, which sends something, does something else than `WouldBlock`.
    pub(crate) async fn when_writable<T>(
        &self,
        mut send: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        self.socket.when_ready(Interest::WRITABLE, |_| send()).await
    }

    /// Sends a message, waiting at most for `patience`: then `TimedOut`.
    pub(crate) async fn send_within(
        &self,
        patience: Duration,
        parts: &[IoSlice<'_>],
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        match self.try_send(parts, descriptors) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
        match tokio::time::timeout(patience, self.send(parts, descriptors)).await {
            Ok(sent) => sent,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Receives a message if one is there.
    pub(crate) fn try_receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        fd::receive(&self.socket, buffer)
    }

    /// Waits for the next message. A length of 0 is the end. May be given up at any time without
    /// losing a message.
    pub(crate) async fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let receive = |socket: BorrowedFd<'_>| fd::receive(socket, buffer);
        self.socket.when_ready(Interest::READABLE, receive).await
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_socket_is_waited_for_and_a_wait_has_an_end() {
        let (near, far) = fd::pair().unwrap();
        let (near, far) = (Channel::new(near).unwrap(), Channel::new(far).unwrap());
        let message = [IoSlice::new(&[1; 1000])];
        let mut sent = 0;
        while near.try_send(&message, &[]).is_ok() {
            sent += 1;
        }
        let patience = Duration::from_millis(20);
        let error = near.send_within(patience, &message, &[]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let more = async {
            near.send(&message, &[]).await.unwrap();
        };
        let mut buffer = [0; 2000];
        let read = async {
            for _ in 0..=sent {
                assert_eq!(far.receive(&mut buffer).await.unwrap().len, 1000);
            }
        };
        tokio::join!(more, read);
        drop(near);
        assert_eq!(far.receive(&mut buffer).await.unwrap().len, 0);
    }
}
