//! One link of the bus: a stream to one peer, read and written until one of the two ends it.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sedge_adapter::Peer;
use smallvec::SmallVec;
use tokio::net::UnixStream;
use tokio::sync::Notify;

use super::queue::Outgoing;
use crate::limits::BUS_READ_BYTES;
use crate::wire::bus::{PREFIX_BYTES, TooLong, next_frame};

/// A peer that is on the bus.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) peer: Peer,
    pub(crate) index: u8,
    /// The peer's row in the table of interest.
    pub(crate) row: u16,
    pub(crate) outgoing: Outgoing,
    /// Told to end the link, after one last write.
    pub(crate) stop: Notify,
}

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkEnd {
    #[error("it has ended, or left the bus")]
    Closed,
    #[error("it took nothing for {0:?} and was cut off")]
    Stalled(Duration),
    #[error("it broke the bus's rules and was cut off: {0}")]
    TooLong(#[from] TooLong),
    #[error("reading from it failed: {0}")]
    Read(io::Error),
    #[error("this process leaves the bus")]
    Stopped,
}

/// The bounds of a link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkLimits {
    pub(crate) message_bytes_max: usize,
    pub(crate) stall_timeout: Duration,
}

/// Carries messages both ways until the link ends. Returns why, and how many of the messages that were taken for
/// the peer it has not been given; what its socket had taken is its own.
pub(crate) async fn run(
    stream: &UnixStream,
    link: &Link,
    limits: LinkLimits,
    on_message: &mut dyn FnMut(Bytes),
) -> (LinkEnd, u64) {
    let mut batch = Batch::default();
    let end = tokio::select! {
        end = read(stream, limits, on_message) => end,
        () = write(stream, &link.outgoing, limits, &mut batch) => {
            LinkEnd::Stalled(limits.stall_timeout)
        }
        () = link.stop.notified() => LinkEnd::Stopped,
    };
    if matches!(end, LinkEnd::Stopped) {
        // What was taken is handed over as far as that takes no waiting.
        while batch.write_now(stream, &link.outgoing).is_ok_and(|done| done)
            && link.outgoing.take_now(&mut batch.messages)
        {}
    }
    let lost = link.outgoing.close() + batch.messages.len();
    (end, lost as u64)
}

async fn read(
    stream: &UnixStream,
    limits: LinkLimits,
    on_message: &mut dyn FnMut(Bytes),
) -> LinkEnd {
    let mut buffer = BytesMut::new();
    loop {
        if let Err(error) = stream.readable().await {
            return LinkEnd::Read(error);
        }
        // No more than what has come already is made room for, whatever length a frame announces.
        let room = BUS_READ_BYTES.max(buffer.len());
        if buffer.capacity() - buffer.len() < BUS_READ_BYTES / 4 {
            buffer.reserve(room);
        }
        match stream.try_read_buf(&mut buffer) {
            Ok(0) => return LinkEnd::Closed,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return LinkEnd::Closed,
            Err(error) => return LinkEnd::Read(error),
        }
        loop {
            match next_frame(&mut buffer, limits.message_bytes_max) {
                Ok(Some(message)) => on_message(message),
                Ok(None) => break,
                Err(error) => return error.into(),
            }
        }
        // A peer that sends without a pause must not keep this thread from its other links.
        tokio::task::consume_budget().await;
    }
}

/// Writes until the peer takes nothing for too long. When the peer has gone, the reader ends the
/// link: what it sent before is still read.
async fn write(stream: &UnixStream, outgoing: &Outgoing, limits: LinkLimits, batch: &mut Batch) {
    loop {
        match batch.write_now(stream, outgoing) {
            Ok(true) => {
                outgoing.take(&mut batch.messages).await;
                tokio::task::consume_budget().await;
            }
            Ok(false) => {
                let room = tokio::time::timeout(limits.stall_timeout, stream.writable()).await;
                if room.is_err() {
                    return;
                }
            }
            Err(_) => std::future::pending().await,
        }
    }
}

/// Messages that are being written.
#[derive(Default)]
struct Batch {
    messages: VecDeque<Bytes>,
    /// Bytes of the first one that are written, those of its prefix included.
    written: usize,
}

impl Batch {
    /// Writes as much as fits. Returns whether all is written.
    fn write_now(&mut self, stream: &UnixStream, outgoing: &Outgoing) -> io::Result<bool> {
        while !self.messages.is_empty() {
            let prefixes: SmallVec<[[u8; PREFIX_BYTES]; 64]> =
                self.messages.iter().map(|m| (m.len() as u32).to_be_bytes()).collect();
            let mut parts: SmallVec<[IoSlice<'_>; 128]> = SmallVec::new();
            let mut skip = self.written;
            for (prefix, message) in prefixes.iter().zip(&self.messages) {
                for part in [&prefix[..], &message[..]] {
                    let skipped = skip.min(part.len());
                    skip -= skipped;
                    if skipped < part.len() {
                        parts.push(IoSlice::new(&part[skipped..]));
                    }
                }
            }
            let done = stream.try_write_vectored(&parts);
            drop(parts);
            match done {
                Ok(written) => self.advance(written, outgoing),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn advance(&mut self, written: usize, outgoing: &Outgoing) {
        self.written += written;
        while let Some(first) = self.messages.front() {
            let len = PREFIX_BYTES + first.len();
            if self.written < len {
                return;
            }
            self.written -= len;
            outgoing.written(first);
            self.messages.pop_front();
        }
    }
}

impl Link {
    pub(crate) fn new(peer: Peer, index: u8, row: u16, queue_bytes_max: usize) -> Arc<Link> {
        let outgoing = Outgoing::new(queue_bytes_max);
        Arc::new(Link { peer, index, row, outgoing, stop: Notify::new() })
    }
}
