//! What waits to be written to one peer: bounded in bytes, filled by any thread, emptied by the
//! bus's own.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use sedge_adapter::SendError;
use tokio::sync::Notify;

use crate::limits::{BUS_MESSAGE_OVERHEAD, BUS_WRITE_MESSAGES};

/// The queue to one peer.
#[derive(Debug)]
pub(crate) struct Outgoing {
    bytes_max: usize,
    state: Mutex<Queued>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Queued {
    waiting: VecDeque<Bytes>,
    /// What waits and what is being written, with the overhead of each message.
    bytes: usize,
    /// The writer is at work and will look again before it sleeps: nobody has to wake it.
    awake: bool,
    closed: bool,
}

impl Outgoing {
    pub(crate) fn new(bytes_max: usize) -> Outgoing {
        Outgoing { bytes_max, state: Mutex::default(), filled: Notify::new() }
    }

    /// Adds a message. Wakes the writer only if it sleeps, so that a burst costs one wake-up.
    pub(crate) fn push(&self, message: Bytes) -> Result<(), SendError> {
        let mut state = self.lock();
        if state.closed {
            return Err(SendError::Gone);
        }
        let bytes = state.bytes + cost(&message);
        if bytes > self.bytes_max {
            return Err(SendError::Full);
        }
        state.bytes = bytes;
        state.waiting.push_back(message);
        let sleeps = !std::mem::replace(&mut state.awake, true);
        drop(state);
        if sleeps {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Waits for messages and moves some of them into `batch`, which is empty. They count until
    /// [`written`](Self::written) is told of them.
    pub(crate) async fn take(&self, batch: &mut VecDeque<Bytes>) {
        while !self.take_now(batch) {
            self.filled.notified().await;
        }
    }

    /// As [`take`](Self::take), without waiting. Returns whether there were any.
    pub(crate) fn take_now(&self, batch: &mut VecDeque<Bytes>) -> bool {
        let mut state = self.lock();
        if state.waiting.is_empty() {
            state.awake = false;
            return false;
        }
        let count = state.waiting.len().min(BUS_WRITE_MESSAGES);
        batch.extend(state.waiting.drain(..count));
        true
    }

    /// A message that was taken has been written.
    pub(crate) fn written(&self, message: &Bytes) {
        self.lock().bytes -= cost(message);
    }

    /// Bytes that wait or are being written.
    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Takes nothing more, and forgets what waits. Returns how many messages that were.
    pub(crate) fn close(&self) -> usize {
        let mut state = self.lock();
        state.closed = true;
        std::mem::take(&mut state.waiting).len()
    }

    fn lock(&self) -> MutexGuard<'_, Queued> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a message takes of a queue's bound.
pub(crate) fn cost(message: &Bytes) -> usize {
    message.len() + BUS_MESSAGE_OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_counts_what_is_being_written() {
        let queue = Outgoing::new(2 * (10 + BUS_MESSAGE_OVERHEAD));
        let message = Bytes::from_static(b"ten bytes!");
        queue.push(message.clone()).unwrap();
        queue.push(message.clone()).unwrap();
        assert_eq!(queue.push(Bytes::new()), Err(SendError::Full));
        let mut batch = VecDeque::new();
        assert!(queue.take_now(&mut batch));
        assert_eq!(batch.len(), 2);
        assert_eq!(queue.push(Bytes::new()), Err(SendError::Full));
        queue.written(&batch[0]);
        queue.push(Bytes::new()).unwrap();
        assert_eq!(queue.bytes(), 10 + 2 * BUS_MESSAGE_OVERHEAD);
        assert_eq!(queue.close(), 1, "one waits, one is being written");
        assert_eq!(queue.push(Bytes::new()), Err(SendError::Gone));
        batch.clear();
        assert!(!queue.take_now(&mut batch));
    }

    #[tokio::test]
    async fn a_sleeping_writer_is_woken() {
        let queue = std::sync::Arc::new(Outgoing::new(1000));
        let far = std::sync::Arc::clone(&queue);
        let mut batch = VecDeque::new();
        assert!(!queue.take_now(&mut batch));
        let thread = std::thread::spawn(move || far.push(Bytes::from_static(b"x")).unwrap());
        queue.take(&mut batch).await;
        assert_eq!(batch, [&b"x"[..]]);
        thread.join().unwrap();
    }
}
