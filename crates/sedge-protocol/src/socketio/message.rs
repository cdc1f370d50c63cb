//! Messages: what one packet becomes on the wire. The default parser makes one text message and
//! one binary message per attachment, msgpack makes one binary message.

use bytes::Bytes;
use smallvec::SmallVec;

/// Whether a message travels as text or as binary data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// UTF-8 text.
    Text,
    /// Arbitrary bytes.
    Binary,
}

/// Reusable output of an encoder: the messages of one packet, in order, back to back in one
/// buffer. Every encoding call starts by clearing it, and leaves it empty on failure.
///
/// The messages carry no Engine.IO type and no frame header: whoever copies them adds those.
#[derive(Debug, Default)]
pub struct MessageBuf {
    bytes: Vec<u8>,
    /// Kind and end of each message in `bytes`; it starts where its predecessor ends.
    marks: SmallVec<[(MessageKind, usize); 4]>,
    /// The attachments of the packet: binary messages that follow those of `bytes`, though they are
    /// found while the text is written.
    attachments: Attachments,
}

/// Binary values met while a JSON text is written.
#[derive(Debug, Default)]
pub(super) struct Attachments {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Attachments {
    /// Keeps a copy of `bytes` and returns its number, the `num` of its placeholder.
    pub(super) fn push(&mut self, bytes: &[u8]) -> usize {
        self.bytes.extend_from_slice(bytes);
        self.ends.push(self.bytes.len());
        self.ends.len() - 1
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }
}

impl MessageBuf {
    /// An empty buffer, without an allocation.
    pub fn new() -> Self {
        Self::default()
    }

    /// Removes all messages and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.marks.clear();
        self.attachments.bytes.clear();
        self.attachments.ends.clear();
    }

    /// Gives back memory beyond `capacity` bytes, so that one huge packet does not keep its
    /// buffer alive for ever.
    pub fn shrink_to(&mut self, capacity: usize) {
        self.bytes.shrink_to(capacity);
        self.attachments.bytes.shrink_to(capacity);
    }

    /// The messages in the order in which they must be sent.
    pub fn messages(&self) -> impl Iterator<Item = (MessageKind, &[u8])> {
        let mut start = 0;
        let own = self.marks.iter().map(move |&(kind, end)| {
            let message = self.bytes.get(start..end).unwrap_or_default();
            start = end;
            (kind, message)
        });
        let mut start = 0;
        let attachments = self.attachments.ends.iter().map(move |&end| {
            let attachment = self.attachments.bytes.get(start..end).unwrap_or_default();
            start = end;
            (MessageKind::Binary, attachment)
        });
        own.chain(attachments)
    }

    /// The number of messages.
    pub fn len(&self) -> usize {
        self.marks.len() + self.attachments.len()
    }

    /// Whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// The length of all messages together, in bytes.
    pub fn total_bytes(&self) -> usize {
        self.bytes.len() + self.attachments.bytes.len()
    }

    /// Appends a message as it is.
    pub fn push(&mut self, kind: MessageKind, message: &[u8]) {
        self.bytes.extend_from_slice(message);
        self.finish(kind);
    }

    /// The buffer and the attachments of the message being written.
    pub(super) fn parts(&mut self) -> (&mut Vec<u8>, &mut Attachments) {
        (&mut self.bytes, &mut self.attachments)
    }

    /// Ends the message being written.
    pub(super) fn finish(&mut self, kind: MessageKind) {
        self.marks.push((kind, self.bytes.len()));
    }
}

/// An owned message, as a custom encoder returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Bytes),
}

/// A received message, as a custom decoder takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageRef<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
}
