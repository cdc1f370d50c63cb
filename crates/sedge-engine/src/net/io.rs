//! The byte stream under a connection.

use std::future::Future as _;
use std::io::{self, IoSlice, Write};
use std::net;
use std::os::fd::AsFd as _;
use std::os::unix;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A stream that is not the kernel's: TLS, or one that lives on another runtime.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {
    /// As [`Io::push`]. What waits in the stream itself goes first.
    fn push(&mut self, bytes: &[u8]) -> io::Result<Pushed>;
}

#[cfg(feature = "tls")]
impl Stream for tokio_rustls::server::TlsStream<Io> {
    fn push(&mut self, bytes: &[u8]) -> io::Result<Pushed> {
        let (io, tls) = self.get_mut();
        let taken = if tls.wants_write() { 0 } else { tls.writer().write(bytes)? };
        let pushed = io.push_by(|socket| tls.write_tls(socket))?;
        Ok(Pushed { taken, ..pushed })
    }
}

/// Its socket cannot be reached.
impl Stream for hyper_util::rt::TokioIo<hyper::upgrade::Upgraded> {
    fn push(&mut self, _: &[u8]) -> io::Result<Pushed> {
        Ok(Pushed { taken: 0, moved: false })
    }
}

/// What came of [`Io::push`].
pub(crate) struct Pushed {
    /// So many bytes of what was given have been written.
    pub(crate) taken: usize,
    /// The connection has taken something, of this or of what stood before it.
    pub(crate) moved: bool,
}

/// A connection's stream. Sockets are not boxed: they are the common case and there are thousands.
pub(crate) enum Io {
    Tcp(TcpStream),
    Unix(UnixStream),
    Other(Box<dyn Stream>),
}

impl Io {
    fn pin(&mut self) -> Pin<&mut (dyn AsyncWrite + Unpin + '_)> {
        match self {
            Io::Tcp(stream) => Pin::new(stream),
            Io::Unix(stream) => Pin::new(stream),
            Io::Other(stream) => Pin::new(&mut **stream),
        }
    }

    /// Writes on a connection that has long not been writable, and says whether it takes anything at all. The
    /// kernel calls a socket writable only when a good part of its buffer is free, for which a client that
    /// reads slowly needs long; but it takes bytes as soon as the client has read some.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> io::Result<Pushed> {
        match self {
            Io::Other(stream) => stream.push(bytes),
            socket => socket.push_by(|socket| socket.write(bytes)),
        }
    }

    fn push_by(
        &mut self,
        write: impl FnOnce(&mut dyn Write) -> io::Result<usize>,
    ) -> io::Result<Pushed> {
        // The runtime would ask itself first whether the socket is writable, so it is asked past it.
        let written = match self {
            Io::Tcp(stream) => {
                write(&mut net::TcpStream::from(stream.as_fd().try_clone_to_owned()?))
            }
            Io::Unix(stream) => {
                write(&mut unix::net::UnixStream::from(stream.as_fd().try_clone_to_owned()?))
            }
            Io::Other(_) => Ok(0),
        };
        match written {
            Ok(taken) => Ok(Pushed { taken, moved: taken > 0 }),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Ok(Pushed { taken: 0, moved: false })
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the other side, whose end has been read, still takes something: it has closed for writing
    /// only. That can be told of Unix sockets, not of TCP.
    pub(crate) fn is_half_closed(&self) -> bool {
        let Io::Unix(stream) = self else { return false };
        let ready = pin!(stream.ready(Interest::WRITABLE));
        match ready.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(ready)) => !ready.is_write_closed(),
            _ => false,
        }
    }

    /// Prepares the stream for a move to the thread of another runtime. The stream must be given to
    /// [`Detached::attach`] there.
    pub(crate) fn detach(self) -> io::Result<Detached> {
        match self {
            Io::Tcp(stream) => stream.into_std().map(PassedStream::Tcp).map(Detached::Socket),
            Io::Unix(stream) => stream.into_std().map(PassedStream::Unix).map(Detached::Socket),
            Io::Other(stream) => Ok(Detached::Other(stream)),
        }
    }
}

/// The stream of a connection between processes.
#[derive(Debug)]
pub enum PassedStream {
    /// Over TCP.
    Tcp(net::TcpStream),
    /// Over a Unix socket.
    Unix(unix::net::UnixStream),
}

impl PassedStream {
    /// Registers the stream with the runtime of this thread.
    pub(crate) fn attach(self) -> io::Result<Io> {
        match self {
            PassedStream::Tcp(stream) => TcpStream::from_std(stream).map(Io::Tcp),
            PassedStream::Unix(stream) => UnixStream::from_std(stream).map(Io::Unix),
        }
    }
}

/// A stream between two runtimes.
pub(crate) enum Detached {
    /// Registered with no runtime.
    Socket(PassedStream),
    /// Stays registered with the runtime it was made on, which must go on running.
    Other(Box<dyn Stream>),
}

impl Detached {
    /// Registers the stream with the runtime of this thread.
    pub(crate) fn attach(self) -> io::Result<Io> {
        match self {
            Detached::Socket(stream) => stream.attach(),
            Detached::Other(stream) => Ok(Io::Other(stream)),
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Io::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Io::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Io::Other(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Io::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Io::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Io::Other(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.pin().poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Io::Tcp(stream) => stream.is_write_vectored(),
            Io::Unix(stream) => stream.is_write_vectored(),
            Io::Other(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pin().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pin().poll_shutdown(cx)
    }
}
