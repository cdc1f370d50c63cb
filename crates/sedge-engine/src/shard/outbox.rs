//! What a session still has to send: complete WebSocket frames, in order, with a byte count.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

/// A queue of frames. Empty it owns no memory, and with one frame none of its own.
#[derive(Default)]
pub(crate) struct Outbox {
    queue: Queue,
    /// Four bytes do: a session that goes over [`OUTBOX_BYTES_MAX_MAX`] with a frame is closed, in whatever
    /// turn.
    ///
    /// [`OUTBOX_BYTES_MAX_MAX`]: crate::limits::OUTBOX_BYTES_MAX_MAX
    bytes: u32,
    /// Whether a poll response made of this may be compressed.
    compressible: bool,
}

/// Bytes that a queued frame takes besides its own: the entry in the queue and a small allocation.
pub(super) const FRAME_COST: usize = 64;

#[derive(Default)]
enum Queue {
    #[default]
    Empty,
    One(Bytes),
    Many(VecDeque<Bytes>),
}

impl Outbox {
    /// An outbox with these bytes in front; empty ones count for nothing.
    pub(crate) fn beginning_with(bytes: Bytes) -> Outbox {
        let mut outbox = Outbox::default();
        if !bytes.is_empty() {
            outbox.push(bytes);
        }
        outbox
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.queue, Queue::Empty)
    }

    /// The bytes queued.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// What the queue costs: its bytes, and for every frame but the first what keeping it takes.
    pub(crate) fn cost(&self) -> usize {
        let frames = match &self.queue {
            Queue::Empty | Queue::One(_) => 0,
            Queue::Many(frames) => frames.len() - 1,
        };
        self.bytes() + frames * FRAME_COST
    }

    pub(crate) fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len() as u32;
        self.queue = match std::mem::take(&mut self.queue) {
            Queue::Empty => Queue::One(frame),
            Queue::One(first) => {
                let mut frames = VecDeque::with_capacity(4);
                frames.extend([first, frame]);
                Queue::Many(frames)
            }
            Queue::Many(mut frames) => {
                frames.push_back(frame);
                Queue::Many(frames)
            }
        };
    }

    pub(crate) fn mark_compressible(&mut self) {
        self.compressible = true;
    }

    /// Whether something compressible has been queued since the queue was empty at the last call.
    pub(crate) fn take_compressible(&mut self) -> bool {
        let left = self.compressible && !self.is_empty();
        std::mem::replace(&mut self.compressible, left)
    }

    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        let (frame, rest) = match std::mem::take(&mut self.queue) {
            Queue::Empty => return None,
            Queue::One(frame) => (frame, Queue::Empty),
            Queue::Many(mut frames) => {
                let frame = frames.pop_front()?;
                (frame, if frames.is_empty() { Queue::Empty } else { Queue::Many(frames) })
            }
        };
        self.queue = rest;
        self.bytes -= frame.len() as u32;
        Some(frame)
    }

    pub(crate) fn front(&self) -> Option<&Bytes> {
        self.iter().next()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Bytes> {
        let (one, many) = match &self.queue {
            Queue::Empty => (None, None),
            Queue::One(frame) => (Some(frame), None),
            Queue::Many(frames) => (None, Some(frames.iter())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Bytes> {
        let (one, many) = match &mut self.queue {
            Queue::Empty => (None, None),
            Queue::One(frame) => (Some(frame), None),
            Queue::Many(frames) => (None, Some(frames.iter_mut())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// Puts other frames in place of the queued ones.
    pub(crate) fn map(&mut self, change: impl Fn(Bytes) -> Bytes) {
        let mut bytes = 0;
        for frame in self.iter_mut() {
            *frame = change(std::mem::take(frame));
            bytes += frame.len() as u32;
        }
        self.bytes = bytes;
    }

    /// Takes off what has been written; the front may be cut within a frame.
    #[inline]
    pub(crate) fn advance(&mut self, written: usize) {
        if written == self.bytes() {
            // Nearly always, on the way of every write.
            (self.queue, self.bytes) = (Queue::Empty, 0);
        } else {
            self.advance_within(written);
        }
    }

    fn advance_within(&mut self, mut written: usize) {
        while written > 0 {
            let Some(front) = self.iter_mut().next() else { return };
            if front.len() > written {
                front.advance(written);
                self.bytes -= written as u32;
                return;
            }
            written -= front.len();
            self.pop();
        }
    }

    /// Copies small frames into memory of their own. A frame is a slice of a shared chunk, and a
    /// client that does not read would pin the whole chunk.
    pub(crate) fn detach(&mut self) {
        const SMALL: usize = 4 * 1024;
        for frame in self.iter_mut().filter(|frame| frame.len() <= SMALL) {
            *frame = Bytes::copy_from_slice(frame);
        }
    }

    /// Replaces the last whole frame that begins with this byte, if there is one among the last few:
    /// a search through all would let a client buy much work with little.
    pub(crate) fn replace_last(&mut self, first_byte: u8, frame: &Bytes) -> bool {
        const LOOK_BACK: usize = 8;
        let Queue::Many(frames) = &mut self.queue else { return false };
        // The front may be partly written.
        let mut whole = frames.iter_mut().skip(1).rev().take(LOOK_BACK);
        let Some(found) = whole.find(|f| f.first() == Some(&first_byte)) else { return false };
        let old = std::mem::replace(found, frame.clone());
        self.bytes = self.bytes - old.len() as u32 + frame.len() as u32;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(frames: &[&'static str]) -> Outbox {
        let mut outbox = Outbox::default();
        for frame in frames {
            outbox.push(Bytes::from_static(frame.as_bytes()));
        }
        outbox
    }

    #[test]
    fn keeps_order_and_counts_bytes() {
        for count in 0..5 {
            let frames = &["a", "bb", "ccc", "dddd"][..count.min(4)];
            let mut outbox = outbox(frames);
            assert_eq!(outbox.iter().count(), frames.len());
            assert_eq!(outbox.bytes(), frames.concat().len());
            let mut popped = Vec::new();
            while let Some(frame) = outbox.pop() {
                popped.push(frame);
            }
            assert_eq!(popped, frames);
            assert!(outbox.is_empty());
            assert_eq!(outbox.bytes(), 0);
        }
    }

    #[test]
    fn advance_cuts_within_a_frame() {
        let mut outbox = outbox(&["aaa", "bbb", "ccc"]);
        outbox.advance(4);
        assert_eq!(outbox.bytes(), 5);
        assert_eq!(outbox.iter().cloned().collect::<Vec<_>>(), ["bb", "ccc"]);
        outbox.advance(5);
        assert!(outbox.is_empty());
    }

    #[test]
    fn pong_replaces_the_queued_pong_but_never_a_frame_under_way() {
        let mut outbox = outbox(&["Pong1", "x"]);
        assert!(!outbox.replace_last(b'P', &Bytes::from_static(b"P2")));
        outbox.push(Bytes::from_static(b"P2"));
        assert!(outbox.replace_last(b'P', &Bytes::from_static(b"Pong3")));
        assert_eq!(outbox.iter().cloned().collect::<Vec<_>>(), ["Pong1", "x", "Pong3"]);
        assert_eq!(outbox.bytes(), 11);
    }

    #[test]
    fn only_the_last_few_frames_are_searched() {
        let mut outbox = outbox(&["front", "Pong"]);
        for _ in 0..8 {
            outbox.push(Bytes::from_static(b"x"));
        }
        assert!(!outbox.replace_last(b'P', &Bytes::from_static(b"Pong")));
    }

    #[test]
    fn many_frames_cost_more_than_their_bytes() {
        assert_eq!(outbox(&[]).cost(), 0);
        assert_eq!(outbox(&["whole"]).cost(), 5);
        assert_eq!(outbox(&["a", "b", "c"]).cost(), 3 + 2 * FRAME_COST);
    }

    #[test]
    fn is_small() {
        assert!(size_of::<Outbox>() <= 48, "{}", size_of::<Outbox>());
    }
}
