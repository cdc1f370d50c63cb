//! Socket pairs by which siblings serve connections that stay here: this worker's ends of them.
//!
//! A worker that is about to end lets these clients go as well as its own. It closes its end for writing; the
//! sibling, which sees that as its client's last word, answers a poll that waits, or ends its WebSocket, and
//! closes. The session of a poll goes on: its client comes back on another connection.

use std::cell::RefCell;
use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::os::unix;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

use crate::shard::farewell;

/// This worker's end of a pair.
pub(crate) struct Relay(Arc<UnixStream>);

impl Drop for Relay {
    fn drop(&mut self) {
        farewell::gone();
    }
}

/// The relays of a shard.
#[derive(Default)]
pub(crate) struct Relays(RefCell<Vec<Open>>);

struct Open {
    stream: Weak<UnixStream>,
    /// It is closed for writing: its client is being let go.
    released: bool,
}

impl Relays {
    /// A new one, and the end that is to be passed on.
    pub(crate) fn open(&self) -> io::Result<(Relay, unix::net::UnixStream)> {
        let (ours, theirs) = unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        let ours = Arc::new(UnixStream::from_std(ours)?);
        let mut all = self.0.borrow_mut();
        if all.len() == all.capacity() {
            all.retain(|open| open.stream.strong_count() > 0);
        }
        all.push(Open { stream: Arc::downgrade(&ours), released: false });
        Ok((Relay(ours), theirs))
    }

    /// How many have not ended.
    pub(crate) fn count(&self) -> usize {
        self.0.borrow().iter().filter(|open| open.stream.strong_count() > 0).count()
    }

    /// Lets at most this many clients go, and returns how many. They end by themselves a moment later.
    pub(crate) fn release(&self, count: usize) -> usize {
        let mut all = self.0.borrow_mut();
        let waiting = all.iter_mut().filter(|open| !open.released);
        let found = waiting.filter_map(|open| Some((open.stream.upgrade()?, &mut open.released)));
        let mut number = 0;
        for (stream, released) in found.take(count) {
            // If it is closed already, that is what was wanted.
            let _ = close_for_writing(&stream);
            *released = true;
            number += 1;
        }
        number
    }
}

/// A socket can be closed for writing by any descriptor of it; the standard library does so by its own.
fn close_for_writing(stream: &UnixStream) -> io::Result<()> {
    let same = stream.as_fd().try_clone_to_owned()?;
    unix::net::UnixStream::from(same).shutdown(Shutdown::Write)
}

impl AsyncRead for Relay {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_read(buf.initialize_unfilled()) {
                Ok(count) => {
                    buf.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Relay {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_write(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Whoever is done drops it, which closes both ways: half a close has a meaning of its own here.
    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
