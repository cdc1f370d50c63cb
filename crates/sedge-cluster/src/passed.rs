//! Connections on their way between processes.
//!
//! Whoever passes a connection keeps it until it was taken, which the other side says with a
//! [`Receipt`], before it serves it: a connection is served by one process, and one that ends before it
//! has taken it loses nothing.

use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use bytes::{Bytes, BytesMut};

use crate::channel::Channel;
use crate::limits::PASS_PART_BYTES;
use crate::wire::passing::{HEAD_BYTES, PassHead};

/// A connection of a client. It does not block.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

/// A connection that a worker is given, by the supervisor or by a sibling.
#[derive(Debug)]
pub struct Passed {
    /// The connection. What was read from it is in `read`; the rest is untouched.
    pub stream: Stream,
    /// The other end; `None` for Unix sockets.
    pub peer: Option<SocketAddr>,
    /// Whether TLS was taken off in front of this host, so that the client's side is secure although
    /// this connection is plain. A connection that itself speaks TLS is passed with `false` and
    /// before its first byte was read.
    pub secure: bool,
    /// The listener that accepted it, in the order of the configuration.
    pub listener: u16,
    /// What was already read from it, and is to be taken for its beginning. Empty when it comes from
    /// the supervisor.
    pub read: Bytes,
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Stream {
    pub(crate) fn new(socket: OwnedFd, unix: bool) -> Stream {
        if unix { Stream::Unix(socket.into()) } else { Stream::Tcp(socket.into()) }
    }

    /// The same connection for tokio's use.
    pub(crate) fn is_unix(&self) -> bool {
        matches!(self, Stream::Unix(_))
    }
}

impl Passed {
    pub(crate) fn head(&self) -> PassHead {
        PassHead {
            unix: self.stream.is_unix(),
            secure: self.secure,
            listener: self.listener,
            peer: self.peer,
            read: self.read.len() as u32,
        }
    }

    /// The first message of the connection, and what has to follow it.
    pub(crate) fn parts(&self) -> (&[u8], impl Iterator<Item = &[u8]>) {
        let room = PASS_PART_BYTES - HEAD_BYTES;
        let (first, rest) = self.read.split_at(self.read.len().min(room));
        (first, rest.chunks(PASS_PART_BYTES))
    }
}

/// What the other side says of each connection it is sent, in the order of their arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receipt {
    /// It has the connection, and is about to serve it.
    Taken,
    /// The connection did not arrive with its message, for want of descriptors.
    NotArrived,
}

impl Receipt {
    /// Says it. May be given up at any time: it is said when this returns, and not before.
    pub(crate) async fn send(self, channel: &Channel) -> io::Result<()> {
        let byte = [u8::from(self == Receipt::Taken)];
        channel.send(&[IoSlice::new(&byte)], &[]).await
    }

    /// Waits for the next one. An error means that none can come any more.
    pub(crate) async fn receive(channel: &Channel) -> io::Result<Receipt> {
        let mut byte = [0];
        let len = match channel.receive(&mut byte).await {
            Ok(received) => received.len,
            // What was said before the other side ended is still there.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                channel.receive(&mut byte).await?.len
            }
            Err(error) => return Err(error),
        };
        if len == 0 {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(Receipt::from(byte))
    }

    /// The next one, if it is there.
    pub(crate) fn try_receive(channel: &Channel) -> Option<Receipt> {
        let mut byte = [0];
        let received = match channel.try_receive(&mut byte) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                channel.try_receive(&mut byte)
            }
            received => received,
        };
        received.is_ok_and(|received| received.len > 0).then(|| Receipt::from(byte))
    }
}

impl From<[u8; 1]> for Receipt {
    fn from([byte]: [u8; 1]) -> Receipt {
        if byte == 0 { Receipt::NotArrived } else { Receipt::Taken }
    }
}

/// Whether sending failed because nobody will ever receive.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected
    )
}

/// What came instead of a connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PassedError {
    #[error("the other side has closed")]
    Closed,
    #[error("this process has as many descriptors open as it may")]
    Exhausted,
    #[error("a message that carries no connection")]
    Nonsense,
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl PassedError {
    /// What is said of the message.
    pub(crate) fn receipt(&self) -> Receipt {
        match self {
            PassedError::Exhausted => Receipt::NotArrived,
            // It would not be taken the next time either.
            _ => Receipt::Taken,
        }
    }
}

/// Waits for a connection, over however many messages.
pub(crate) async fn receive(channel: &Channel, buffer: &mut [u8]) -> Result<Passed, PassedError> {
    let received = channel.receive(buffer).await?;
    if received.len == 0 {
        return Err(PassedError::Closed);
    }
    let socket = received.descriptors.into_iter().next();
    let (head, first) = PassHead::decode(&buffer[..received.len]).ok_or(PassedError::Nonsense)?;
    let missing = if received.lost { PassedError::Exhausted } else { PassedError::Nonsense };
    let total = head.read as usize;
    let mut read = BytesMut::with_capacity(first.len());
    read.extend_from_slice(first);
    while read.len() < total {
        let part = channel.receive(buffer).await?;
        if part.len == 0 {
            return Err(PassedError::Closed);
        }
        if part.len > total - read.len() {
            return Err(PassedError::Nonsense);
        }
        read.extend_from_slice(&buffer[..part.len]);
    }
    let stream = Stream::new(socket.ok_or(missing)?, head.unix);
    let PassHead { secure, listener, peer, .. } = head;
    Ok(Passed { stream, peer, secure, listener, read: read.freeze() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fd;
    use crate::limits::PASSED_BYTES_MAX;

    #[tokio::test]
    async fn what_was_read_arrives_whole_whatever_its_length() {
        let (near, far) = fd::pair().unwrap();
        let (near, far) = (Channel::new(near).unwrap(), Channel::new(far).unwrap());
        let room = PASS_PART_BYTES - HEAD_BYTES;
        for len in [0, 1, room, room + 1, room + PASS_PART_BYTES, PASSED_BYTES_MAX] {
            let read: Bytes = (0..len).map(|n| (n % 253) as u8).collect();
            let (_kept, stream) = UnixStream::pair().unwrap();
            let stream = Stream::Unix(stream);
            let sent = Passed { stream, peer: None, secure: true, listener: 4, read: read.clone() };
            let send = async {
                let (first, rest) = sent.parts();
                let head = sent.head().encode();
                let message = [IoSlice::new(&head), IoSlice::new(first)];
                near.try_send(&message, &[sent.stream.as_fd()]).unwrap();
                for part in rest {
                    near.send(&[IoSlice::new(part)], &[]).await.unwrap();
                }
            };
            let mut buffer = vec![0; PASS_PART_BYTES];
            let ((), passed) = tokio::join!(send, receive(&far, &mut buffer));
            let passed = passed.unwrap();
            assert_eq!((passed.secure, passed.listener), (true, 4));
            assert_eq!(passed.read, read);
        }
    }

    #[tokio::test]
    async fn a_message_without_a_connection_is_an_error() {
        let (near, far) = fd::pair().unwrap();
        let (near, far) = (Channel::new(near).unwrap(), Channel::new(far).unwrap());
        let head = PassHead { unix: false, secure: false, listener: 0, peer: None, read: 0 };
        near.try_send(&[IoSlice::new(&head.encode())], &[]).unwrap();
        let mut buffer = vec![0; PASS_PART_BYTES];
        let error = receive(&far, &mut buffer).await.unwrap_err();
        assert!(matches!(error, PassedError::Nonsense), "{error}");
        drop(near);
        let error = receive(&far, &mut buffer).await.unwrap_err();
        assert!(matches!(error, PassedError::Closed), "{error}");
    }
}
