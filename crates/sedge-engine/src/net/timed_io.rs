//! The stream under hyper, with deadlines: for a request to begin, for its head to be complete, and for
//! answers to be taken. hyper can watch over heads itself, but sets a timer for every request.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::io::Io;
use super::pace::{Alarm, Pace, PaceLimit};
use crate::config::Local;

/// A stream that fails when its client is too slow.
pub(crate) struct TimedIo {
    io: Io,
    /// Bytes that were read before.
    ahead: Bytes,
    activity: Activity,
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

/// What the HTTP server and its stream know of its requests.
#[derive(Clone, Default)]
pub(crate) struct Activity(Rc<Counts>);

#[derive(Default)]
struct Counts {
    begun: Cell<u32>,
    under_way: Cell<u32>,
    /// Something was written since the last flush.
    unwritten: Cell<bool>,
}

/// A request under way, until it is dropped.
pub(crate) struct UnderWay(Activity);

impl Activity {
    /// The head of a request is complete.
    pub(crate) fn begin(&self) -> UnderWay {
        self.0.begun.set(self.0.begun.get().wrapping_add(1));
        self.0.under_way.set(self.0.under_way.get() + 1);
        UnderWay(self.clone())
    }

    /// Whether a request has been answered, and all answers are written.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.0.begun.get() > 0 && !self.is_busy() && !self.0.unwritten.get()
    }

    fn is_busy(&self) -> bool {
        self.0.under_way.get() > 0
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let counts = &self.0.0;
        counts.under_way.set(counts.under_way.get().saturating_sub(1));
    }
}

impl TimedIo {
    /// `ahead` is read again before anything else.
    pub(crate) fn new(io: Io, ahead: Bytes, local: &Local) -> TimedIo {
        TimedIo {
            io,
            head_has_begun: !ahead.is_empty(),
            ahead,
            activity: Activity::default(),
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

    pub(crate) fn into_inner(self) -> Io {
        self.io
    }

    /// Fails if no head has come for too long; otherwise has the task woken then.
    fn watch_heads(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.activity.is_busy() {
            return Poll::Pending;
        }
        let begun = self.activity.0.begun.get();
        if begun != self.begun {
            (self.begun, self.head_has_begun) = (begun, false);
            self.deadline = Instant::now() + self.keep_alive_timeout;
        }
        self.alarm.poll(cx, self.deadline).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn watch_writes(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
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
        if !self.ahead.is_empty() {
            let n = buf.remaining().min(self.ahead.len());
            buf.put_slice(&self.ahead.split_to(n));
            return Poll::Ready(Ok(()));
        }
        let poll = Pin::new(&mut self.io).poll_read(cx, buf);
        if poll.is_pending() {
            return self.watch_heads(cx);
        }
        if !self.activity.is_busy() && !std::mem::replace(&mut self.head_has_begun, true) {
            self.begun = self.activity.0.begun.get();
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
        self.activity.0.unwritten.set(true);
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
        self.activity.0.unwritten.set(false);
        poll
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
