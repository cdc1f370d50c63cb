//! Connections that stay here while a sibling serves them: their bytes are carried over a socket pair.
//!
//! The sibling decides about the session and so about the connection: when it closes, what it has sent is
//! delivered, and then the client's connection is closed. When the client closes, or takes nothing for too
//! long, the sibling sees its end close. Neither end outlives the other.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::limits::TUNNEL_STALL_MAX;
use crate::net::io::Io;
use crate::shard::Shard;

/// A connection carried to a sibling. Idle, it holds no buffer.
pub(crate) struct Tunnel<T> {
    shard: Shard,
    client: Io,
    sibling: T,
    to_client: Way,
    to_sibling: Way,
    /// The sibling takes nothing more: it has closed, or is about to.
    sibling_ended: bool,
    /// Runs while the client does not take what is for it.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Tunnel<T> {
    /// Each end is written what is for it already before anything else.
    pub(crate) fn new(
        shard: &Shard,
        (client, to_client): (Io, Bytes),
        (sibling, to_sibling): (T, Bytes),
    ) -> Tunnel<T> {
        shard.0.metrics.tunnels.add(1);
        Tunnel {
            shard: shard.clone(),
            client,
            sibling,
            to_client: Way { waiting: to_client, ..Way::default() },
            to_sibling: Way { waiting: to_sibling, ..Way::default() },
            sibling_ended: false,
            stalled: None,
        }
    }

    /// Ready when the client has taken nothing for too long.
    fn watch_client(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.to_client.blocked {
            self.stalled = None;
            return Poll::Pending;
        }
        let until = Instant::now() + TUNNEL_STALL_MAX;
        let sleep = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if std::mem::take(&mut self.to_client.moved) {
            sleep.as_mut().reset(until);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            match self.client.push(&self.to_client.waiting) {
                Ok(pushed) if pushed.moved => self.to_client.waiting.advance(pushed.taken),
                _ => return Poll::Ready(()),
            }
            sleep.as_mut().reset(Instant::now() + TUNNEL_STALL_MAX);
        }
        Poll::Pending
    }
}

impl<T> Drop for Tunnel<T> {
    fn drop(&mut self) {
        self.shard.0.metrics.tunnels.sub(1);
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Future for Tunnel<T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Tunnel { shard, client, sibling, to_client, to_sibling, sibling_ended, .. } =
            &mut *self;
        match to_client.carry(shard, sibling, client, cx) {
            Poll::Ready(End::Destination) => return Poll::Ready(()),
            Poll::Ready(End::Source) => {
                // All of it is delivered: the client sees an orderly end.
                let closed = Pin::new(&mut *client).poll_shutdown(cx);
                to_client.blocked = closed.is_pending();
                if closed.is_ready() {
                    return Poll::Ready(());
                }
            }
            Poll::Pending => {}
        }
        if !*sibling_ended {
            match to_sibling.carry(shard, client, sibling, cx) {
                Poll::Ready(End::Source) => return Poll::Ready(()),
                // What it has sent before is still delivered.
                Poll::Ready(End::Destination) => *sibling_ended = true,
                Poll::Pending => {}
            }
        }
        self.watch_client(cx)
    }
}

/// One direction.
#[derive(Default)]
struct Way {
    /// What was read and has not been taken yet.
    waiting: Bytes,
    /// The destination does not take it at present.
    blocked: bool,
    /// The destination has taken something since this was last looked at.
    moved: bool,
}

/// Why a direction carries no more.
enum End {
    /// Nothing more comes, and all that came has been carried.
    Source,
    /// The destination is gone.
    Destination,
}

impl Way {
    /// Carries bytes through the shard's buffer until one of the ends has ended.
    fn carry(
        &mut self,
        shard: &Shard,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<End> {
        loop {
            while !self.waiting.is_empty() {
                match Pin::new(&mut *to).poll_write(cx, &self.waiting) {
                    Poll::Ready(Ok(written @ 1..)) => self.waiting.advance(written),
                    Poll::Ready(_) => return Poll::Ready(End::Destination),
                    Poll::Pending => {
                        self.blocked = true;
                        return Poll::Pending;
                    }
                }
                self.moved = true;
            }
            // Not even the memory of what was taken stays.
            self.waiting = Bytes::new();
            let mut scratch = shard.take_scratch();
            let mut buffer = ReadBuf::new(&mut scratch.read);
            let read = match Pin::new(&mut *from).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) => Poll::Ready(buffer.filled()),
                // It was closed in a hurry.
                Poll::Ready(Err(_)) => Poll::Ready(&[][..]),
                Poll::Pending => Poll::Pending,
            };
            let read = read.map(Bytes::copy_from_slice);
            shard.return_scratch(scratch);
            match read {
                Poll::Ready(read) if read.is_empty() => return Poll::Ready(End::Source),
                Poll::Ready(read) => self.waiting = read,
                Poll::Pending => {
                    let flushed = Pin::new(&mut *to).poll_flush(cx);
                    self.blocked = flushed.is_pending();
                    return match flushed {
                        Poll::Ready(Err(_)) => Poll::Ready(End::Destination),
                        _ => Poll::Pending,
                    };
                }
            }
        }
    }
}
