//! The end of a WebSocket: what is queued and the closing handshake, after its session has gone; and what a
//! shutdown waits for.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

use sedge_protocol::ws::{Incoming, MessageReader, ReadLimits, ReadScratch};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::outbox::Outbox;
use crate::limits::{CLOSE_FRAME_TIMEOUT, LINGER_BYTES_MAX};
use crate::net::io::Io;
use crate::tasks;

thread_local! {
    /// Goodbyes and answers under way on this thread.
    static LINGERING: Cell<usize> = const { Cell::new(0) };
    /// Of the shutdown of this thread's shard.
    static AWAITED: RefCell<Option<Waker>> = const { RefCell::new(None) };
}

/// Waits until this holds. It is looked at whenever a client has been let [go](gone).
pub(crate) async fn until(holds: impl Fn() -> bool) {
    poll_fn(|cx| {
        if holds() {
            return Poll::Ready(());
        }
        AWAITED.set(Some(cx.waker().clone()));
        Poll::Pending
    })
    .await;
}

/// A client of this thread's shard has been let go.
pub(crate) fn gone() {
    if let Some(waker) = AWAITED.take() {
        waker.wake();
    }
}

/// How many closed WebSockets of this thread's shard have not finished their goodbye, and how many
/// answers are being written.
pub(crate) fn lingering() -> usize {
    LINGERING.get()
}

/// An answer being written: as long as it lives, the shard's shutdown waits for it.
pub(crate) struct LastWords(());

impl LastWords {
    pub(crate) fn new() -> LastWords {
        LINGERING.set(LINGERING.get() + 1);
        LastWords(())
    }
}

impl Drop for LastWords {
    fn drop(&mut self) {
        LINGERING.set(LINGERING.get() - 1);
        gone();
    }
}

/// Delivers the rest of an outbox, ending with a close frame, and waits for the client's, unless it
/// has come already (`reader` is `None`).
///
/// Closing at once would make the kernel answer data that is still under way with a reset, and a
/// reset takes from the client what it has not read yet.
pub(crate) fn linger(mut io: Io, mut outbox: Outbox, mut reader: Option<MessageReader>) {
    let last_words = LastWords::new();
    tasks::farewell(async move {
        let farewell = async {
            while let Some(frame) = outbox.pop() {
                io.write_all(&frame).await?;
            }
            io.flush().await?;
            if reader.as_ref().is_some_and(MessageReader::is_finished) {
                // No close frame can be made out any more, only the end of the stream. Many clients
                // wait for the server's end first, so it comes now.
                io.shutdown().await?;
            }
            // RFC 6455 §7.1.1: the server closes the TCP connection once the client's close frame is
            // here; it does not have to wait for the client to close first.
            let mut buffer = vec![0; 8 * 1024];
            let mut scratch = ReadScratch::default();
            let limits = ReadLimits::new(LINGER_BYTES_MAX);
            let mut total = 0;
            while let Some(reader) = &mut reader
                && total < LINGER_BYTES_MAX
            {
                let n = io.read(&mut buffer).await?;
                if n == 0 || saw_close(reader, &mut buffer[..n], &limits, &mut scratch) {
                    break;
                }
                total += n;
            }
            io.shutdown().await
        };
        // Whatever goes wrong here, the session is gone and nobody waits for the answer.
        let _ = tokio::time::timeout(CLOSE_FRAME_TIMEOUT, farewell).await;
        drop(last_words);
    });
}

fn saw_close(
    reader: &mut MessageReader,
    mut input: &mut [u8],
    limits: &ReadLimits,
    scratch: &mut ReadScratch,
) -> bool {
    loop {
        match reader.next(&mut input, limits, scratch) {
            Ok(Some(Incoming::Close(..))) => return true,
            Ok(Some(_)) => {}
            // After a frame error the reader swallows everything up to the end of the stream.
            Ok(None) | Err(_) => return false,
        }
    }
}
