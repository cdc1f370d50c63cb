//! What hyper reads of a connection, and what it writes.
//!
//! hyper reads heads in its own way: other line endings, other targets and two lengths of a body mean
//! something else to it than to whoever has routed the connection. So every head is read by
//! [`head::scan`](crate::http::head::scan) first, on this connection as on all others. What that refuses, hyper
//! never sees; it is given something that it refuses too. And what hyper reads behind a head is the head's
//! body and no more, so that nothing is lost when the connection becomes a WebSocket.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use http::Method;
use sedge_protocol::request::Upgrade;
use sedge_protocol::request::body::Rest;
use sedge_protocol::request::head::{Invalid, Limits};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use crate::http::head::{RawHead, scan};
use crate::limits::EARLY_BYTES_MAX;
use crate::net::io::Io;
use crate::net::timed_io::TimedIo;

/// The stream that hyper has.
pub(super) struct Screen {
    shared: Shared,
    /// Tells when hyper, or who has the stream from it, lets go of it.
    _open: oneshot::Sender<()>,
}

/// What the service knows of the stream.
#[derive(Clone)]
pub(super) struct Behind(Shared);

/// hyper wants to be able to give the stream to another thread; until it does, both are on one.
type Shared = Arc<Mutex<State>>;

struct State {
    /// `None` after it was taken away.
    io: Option<TimedIo>,
    limits: Limits,
    stage: Stage,
    /// Read, and not looked at yet.
    unread: BytesMut,
    /// For hyper.
    ready: Bytes,
    /// The heads that hyper was given, and that no service has asked for.
    heads: VecDeque<Box<RawHead>>,
    /// Nothing that hyper has written waits.
    is_flushed: bool,
    /// The answer that changes the protocol is the next to be written.
    is_switching: bool,
}

/// What is read next.
enum Stage {
    Head,
    Body(Rest),
    /// Nothing: the last head asked for another protocol, and what follows may be in that.
    Asked,
    /// Bytes of another protocol, which are not looked at.
    Switched,
    /// Nothing any more.
    Refused,
}

impl Screen {
    /// A stream from which `read` has been read already. The receiver hears when it is closed.
    pub(super) fn new(
        io: TimedIo,
        read: &[u8],
        limits: Limits,
    ) -> (Screen, Behind, oneshot::Receiver<()>) {
        let shared = Arc::new(Mutex::new(State {
            io: Some(io),
            limits,
            stage: Stage::Head,
            unread: read.into(),
            ready: Bytes::new(),
            heads: VecDeque::new(),
            is_flushed: true,
            is_switching: false,
        }));
        let (open, closed) = oneshot::channel();
        (Screen { shared: Arc::clone(&shared), _open: open }, Behind(shared), closed)
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    // No state is left half changed by a panic: what runs here is not the application's.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Behind {
    /// The head of the request that hyper gives out next.
    pub(super) fn next_head(&self) -> Option<Box<RawHead>> {
        lock(&self.0).heads.pop_front()
    }

    /// The request was answered, and the answer changes the protocol or not.
    pub(super) fn answered(&self, switched: bool) {
        let mut state = lock(&self.0);
        if let Stage::Asked = state.stage {
            state.stage = if switched { Stage::Switched } else { Stage::Head };
            state.is_switching = switched;
            if let Some(io) = state.io.as_mut().filter(|_| switched) {
                io.unwatch();
            }
        }
    }

    /// Whether the stream is another protocol's now, and so nobody's business here.
    pub(super) fn is_switched(&self) -> bool {
        matches!(lock(&self.0).stage, Stage::Switched)
    }

    /// Whether all that hyper has written is on its way.
    pub(super) fn is_flushed(&self) -> bool {
        lock(&self.0).is_flushed
    }

    /// Whether hyper has nothing to do: all that was read of a head, or nothing, waits for more.
    pub(super) fn is_idle(&self) -> bool {
        let state = lock(&self.0);
        let is_between = matches!(state.stage, Stage::Head) && state.ready.is_empty();
        is_between && state.heads.is_empty() && state.is_flushed
    }

    /// Takes the stream away from hyper, and what was read behind the last request.
    pub(super) fn take(&self) -> Option<(Io, Bytes)> {
        let mut state = lock(&self.0);
        let unread = state.unread.split().freeze();
        Some((state.io.take()?.into_inner(), unread))
    }
}

impl State {
    /// Looks at what has come; true if a head is complete or refused.
    fn take_head(&mut self) -> bool {
        match scan(&self.unread, self.limits) {
            Ok(None) => return false,
            Ok(Some(scanned)) => {
                let bytes = self.unread.split_to(scanned.0.len()).freeze();
                let head = RawHead::new(bytes.clone(), scanned);
                self.ready = head.with_escapes().map_or(bytes, Bytes::from);
                let asked =
                    head.request().upgrade != Upgrade::None || *head.method() == Method::CONNECT;
                self.stage =
                    if asked { Stage::Asked } else { Stage::of(Rest::new(head.request().body)) };
                self.heads.push_back(head);
            }
            Err(reason) => {
                tracing::debug!(%reason, "no request");
                self.stage = Stage::Refused;
                self.ready = match reason {
                    // hyper has the same limits, and its own answer.
                    Invalid::TooLong | Invalid::TooManyHeaders => self.unread.split().freeze(),
                    // No request begins like that.
                    _ => Bytes::from_static(b"\0"),
                };
            }
        }
        true
    }

    /// Reads more; false at the end of the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let Some(io) = &mut self.io else { return Poll::Pending };
        let mut chunk = [0; 4096];
        let mut buffer = ReadBuf::new(&mut chunk);
        ready!(Pin::new(io).poll_read(cx, &mut buffer))?;
        self.unread.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(!buffer.filled().is_empty()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            if !self.ready.is_empty() {
                give(&mut self.ready, buf);
                return Poll::Ready(Ok(()));
            }
            if matches!(self.stage, Stage::Head) && !self.unread.is_empty() && self.take_head() {
                continue;
            }
            let wanted = match &mut self.stage {
                Stage::Refused => return Poll::Ready(Ok(())),
                Stage::Switched if self.unread.is_empty() => {
                    let Some(io) = &mut self.io else { return Poll::Pending };
                    return Pin::new(io).poll_read(cx, buf);
                }
                Stage::Switched => {
                    give(&mut self.unread, buf);
                    return Poll::Ready(Ok(()));
                }
                Stage::Body(rest) if !self.unread.is_empty() => {
                    let n = self.unread.len().min(buf.remaining());
                    let window = self.unread.get(..n).unwrap_or_default();
                    let taken = rest.take(window).map_err(invalid_data)?;
                    buf.put_slice(window.get(..taken).unwrap_or_default());
                    self.unread.advance(taken);
                    if rest.is_done() {
                        self.stage = Stage::Head;
                    }
                    return Poll::Ready(Ok(()));
                }
                Stage::Head | Stage::Body(_) => true,
                // The client is only watched.
                Stage::Asked => self.unread.len() < EARLY_BYTES_MAX,
            };
            if !wanted {
                return Poll::Pending;
            }
            if !ready!(self.poll_fill(cx))? {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl Stage {
    fn of(rest: Rest) -> Stage {
        if rest.is_done() { Stage::Head } else { Stage::Body(rest) }
    }
}

fn give(from: &mut impl bytes::Buf, to: &mut ReadBuf<'_>) {
    let n = from.chunk().len().min(to.remaining());
    to.put_slice(from.chunk().get(..n).unwrap_or_default());
    from.advance(n);
}

fn invalid_data(error: sedge_protocol::request::body::Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// hyper writes `Sec-Websocket-`, which clients that compare names exactly do not find.
fn with_customary_names(head: &[u8]) -> Vec<u8> {
    const WRITTEN: &[u8] = b"\r\nSec-Websocket-";
    let mut head = head.to_vec();
    let mut at = 0;
    let find = |rest: &[u8]| rest.windows(WRITTEN.len()).position(|part| part == WRITTEN);
    while let Some(found) = head.get(at..).and_then(find) {
        at += found + WRITTEN.len();
        if let Some(letter) = head.get_mut(at - b"socket-".len()) {
            letter.make_ascii_uppercase();
        }
    }
    head
}

impl AsyncRead for Screen {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        lock(&self.shared).poll_read(cx, buf)
    }
}

impl AsyncWrite for Screen {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = lock(&self.shared);
        state.is_flushed = false;
        let switching = state.is_switching;
        let Some(io) = &mut state.io else { return Poll::Pending };
        if !switching {
            return Pin::new(io).poll_write(cx, buf);
        }
        let head = with_customary_names(buf);
        let written = ready!(Pin::new(io).poll_write(cx, &head))?;
        state.is_switching = written < buf.len();
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        {
            let mut state = lock(&self.shared);
            state.is_flushed = false;
            let switching = state.is_switching;
            if let Some(io) = state.io.as_mut().filter(|_| !switching) {
                return Pin::new(io).poll_write_vectored(cx, bufs);
            }
        }
        let first = bufs.iter().find(|buf| !buf.is_empty());
        self.poll_write(cx, first.map_or(&[], |buf| buf))
    }

    fn is_write_vectored(&self) -> bool {
        lock(&self.shared).io.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = lock(&self.shared);
        let Some(io) = &mut state.io else { return Poll::Pending };
        ready!(Pin::new(io).poll_flush(cx))?;
        state.is_flushed = true;
        Poll::Ready(Ok(()))
    }

    /// The stream ends here only if it is another protocol's. Otherwise whoever drives hyper ends it.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = lock(&self.shared);
        let switched = matches!(state.stage, Stage::Switched);
        match &mut state.io {
            Some(io) if switched => Pin::new(io).poll_shutdown(cx),
            Some(io) => Pin::new(io).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}
