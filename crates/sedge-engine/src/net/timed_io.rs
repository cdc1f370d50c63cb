//! The stream under hyper, with deadlines: for a request to begin, for its head to be complete, and for
//! answers to be taken. hyper can watch over heads itself, but sets a timer for every request.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::io::Io;
use super::pace::{Alarm, Pace, PaceLimit};
use crate::config::Local;

/// A stream that fails when its client is too slow.
pub(crate) struct TimedIo {
    io: Io,
    activity: Activity,
    is_watched: bool,
    keep_alive_timeout: Duration,
    head_timeout: Duration,
    pace: PaceLimit,
    alarm: Alarm,
    /// Of the head that is awaited.
    deadline: Instant,
    head_has_begun: bool,
    /// Requests begun until then.
    begun: u32,
    /// Runs from the first write that had to wait until all is written.
    stalled: Option<(Pace, Alarm)>,
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
pub(crate) struct UnderWay(Activity);

impl Activity {
    /// The head of a request is complete.
    pub(crate) fn begin(&self) -> UnderWay {
        add(&self.0.begun, 1);
        add(&self.0.under_way, 1);
        UnderWay(self.clone())
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.0.under_way.load(Ordering::Relaxed) > 0
    }

    /// The requests so far.
    pub(crate) fn begun(&self) -> u32 {
        self.0.begun.load(Ordering::Relaxed)
    }
}

/// Adds without a locked instruction.
fn add(count: &AtomicU32, change: u32) {
    count.store(count.load(Ordering::Relaxed).wrapping_add(change), Ordering::Relaxed);
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        add(&self.0.0.under_way, u32::MAX);
    }
}

impl TimedIo {
    pub(crate) fn new(io: Io, local: &Local) -> TimedIo {
        TimedIo {
            io,
            activity: Activity::default(),
            is_watched: true,
            head_has_begun: true,
            keep_alive_timeout: local.keep_alive_timeout,
            head_timeout: local.head_timeout,
            pace: local.pace(),
            alarm: Alarm::default(),
            deadline: Instant::now() + local.head_timeout,
            begun: 0,
            stalled: None,
        }
    }

    pub(crate) fn activity(&self) -> Activity {
        self.activity.clone()
    }

    /// Leaves the client all the time in the world: the stream is no HTTP any more.
    pub(crate) fn unwatch(&mut self) {
        (self.is_watched, self.alarm, self.stalled) = (false, Alarm::default(), None);
    }

    pub(crate) fn into_inner(self) -> Io {
        self.io
    }

    /// Fails if no head has come for too long; otherwise has the task woken then.
    fn watch_heads(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.activity.is_busy() || !self.is_watched {
            return Poll::Pending;
        }
        let begun = self.activity.begun();
        if begun != self.begun {
            (self.begun, self.head_has_begun) = (begun, false);
            self.deadline = Instant::now() + self.keep_alive_timeout;
        }
        self.alarm.poll(cx, self.deadline).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn watch_writes(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_watched {
            return Poll::Pending;
        }
        let limit = self.pace;
        let (pace, alarm) = self.stalled.get_or_insert_with(|| (Pace::new(), Alarm::default()));
        alarm.poll(cx, pace.deadline(limit)).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for TimedIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.io).poll_read(cx, buf);
        if poll.is_pending() {
            return self.watch_heads(cx);
        }
        if !self.activity.is_busy() && !std::mem::replace(&mut self.head_has_begun, true) {
            self.begun = self.activity.begun();
            self.deadline = Instant::now() + self.head_timeout;
        }
        poll
    }
}

impl AsyncWrite for TimedIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.io).poll_write_vectored(cx, bufs) {
            Poll::Ready(result) => {
                if let (Ok(written), Some((pace, _))) = (&result, &mut self.stalled) {
                    pace.advance(*written);
                }
                Poll::Ready(result)
            }
            Poll::Pending => self.watch_writes(cx).map(|late| late.map(|()| 0)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.io).poll_flush(cx);
        if poll.is_pending() {
            return self.watch_writes(cx);
        }
        self.stalled = None;
        poll
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
