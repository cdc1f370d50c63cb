//! The stream under an HTTP connection, with deadlines: for request heads to arrive, which also ends
//! idle kept-alive connections, and for answers to be taken.
//!
//! hyper can watch over heads itself, but sets a timer for every request. Here a connection has one,
//! and none at all if its only request becomes a WebSocket at once.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::io::Io;

/// Looks at a connection in the time of one head timeout. A connection is given up after the last
/// of them in a row that saw nothing happen, so at the latest after one more.
const LOOKS: u32 = 4;

/// A stream that fails when its client is too slow.
pub(crate) struct TimedIo {
    io: Io,
    activity: Activity,
    is_watched: bool,
    head_timeout: Duration,
    write_timeout: Duration,
    /// Until the next look for new requests; from the first time that nothing is there to read.
    next_look: Option<Pin<Box<Sleep>>>,
    /// Requests begun until the last look.
    begun: u32,
    /// Looks in a row at which nothing had happened.
    in_vain: u32,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
}

/// What the HTTP server tells of its requests. One thread at a time does, so nothing is ordered by it.
#[derive(Clone, Default)]
pub(crate) struct Activity(Arc<Counts>);

#[derive(Default)]
struct Counts {
    begun: AtomicU32,
    under_way: AtomicU32,
}

/// A request under way, until it is dropped.
pub(crate) struct UnderWay<'a>(&'a Counts);

impl Activity {
    /// The head of a request is complete.
    pub(crate) fn begin(&self) -> UnderWay<'_> {
        add(&self.0.begun, 1);
        add(&self.0.under_way, 1);
        UnderWay(&self.0)
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.0.under_way.load(Ordering::Relaxed) > 0
    }

    fn begun(&self) -> u32 {
        self.0.begun.load(Ordering::Relaxed)
    }
}

/// Adds without a locked instruction.
fn add(count: &AtomicU32, change: u32) {
    count.store(count.load(Ordering::Relaxed).wrapping_add(change), Ordering::Relaxed);
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        add(&self.0.under_way, u32::MAX);
    }
}

impl TimedIo {
    /// `head_timeout` is for a head, `write_timeout` for a write to make any progress.
    pub(crate) fn new(io: Io, head_timeout: Duration, write_timeout: Duration) -> TimedIo {
        TimedIo {
            io,
            is_watched: true,
            activity: Activity::default(),
            head_timeout,
            write_timeout,
            next_look: None,
            begun: 0,
            in_vain: 0,
            stalled: None,
        }
    }

    pub(crate) fn activity(&self) -> Activity {
        self.activity.clone()
    }

    /// Leaves the client all the time in the world: the stream is no HTTP any more.
    pub(crate) fn unwatch(&mut self) {
        (self.is_watched, self.next_look, self.stalled) = (false, None, None);
    }

    /// See [`Io::is_half_closed`].
    pub(crate) fn is_half_closed(&self) -> bool {
        self.io.is_half_closed()
    }

    /// Whether it is a Unix socket, as those are that a sibling carries.
    pub(crate) fn is_unix(&self) -> bool {
        matches!(self.io, Io::Unix(_))
    }

    pub(crate) fn into_inner(self) -> Io {
        self.io
    }

    /// Fails if no request has come for too long; otherwise has the task woken for the next look.
    fn look(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let period = self.head_timeout / LOOKS;
        let sleep = self.next_look.get_or_insert_with(|| Box::pin(tokio::time::sleep(period)));
        while sleep.as_mut().poll(cx).is_ready() {
            let begun = self.activity.begun();
            if begun != self.begun || self.activity.is_busy() || self.stalled.is_some() {
                (self.begun, self.in_vain) = (begun, 0);
            } else {
                self.in_vain += 1;
            }
            if self.in_vain >= LOOKS {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            sleep.as_mut().reset(Instant::now() + period);
        }
        Poll::Pending
    }

    fn watch<T>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() || !self.is_watched {
            self.stalled = None;
            return poll;
        }
        let timeout = self.write_timeout;
        let sleep = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        sleep.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for TimedIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.io).poll_read(cx, buf);
        if poll.is_ready() || !self.is_watched { poll } else { self.look(cx) }
    }
}

impl AsyncWrite for TimedIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.io).poll_write(cx, buf);
        self.watch(cx, poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.io).poll_flush(cx);
        self.watch(cx, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
