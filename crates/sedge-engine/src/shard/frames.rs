//! Messages as complete WebSocket frames, the only form in which outboxes hold them.
//!
//! A frame says everything the other forms need: a polling payload takes the packet out of it again.
//! Frames for one session are cut from an arena, so that a message costs no allocation; frames for
//! many sessions are made once per [`Dialect`] and shared ([`SharedMessage`]).

use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use sedge_protocol::engine::packet::write_base64;
use sedge_protocol::engine::{PacketType, Version};
use sedge_protocol::ws::{Deflater, MAX_HEADER, Opcode, put_frame, split};
use smallvec::SmallVec;

use crate::application::Message;
use crate::limits::ARENA_MESSAGE_MAX;

/// A PING packet, framed.
pub(crate) const PING: &[u8] = b"\x81\x012";
/// A PONG packet, framed.
pub(crate) const PONG: &[u8] = b"\x81\x013";
/// The answer to a probe, framed.
pub(crate) const PROBE_ANSWER: &[u8] = b"\x81\x063probe";
/// A NOOP packet, framed.
pub(crate) const NOOP: &[u8] = b"\x81\x016";
/// A CLOSE packet, framed.
pub(crate) const CLOSE: &[u8] = b"\x81\x011";

/// The digit (EIO 3 binary: byte) that makes data a MESSAGE packet.
const MESSAGE: [u8; 1] = [PacketType::Message.digit()];

/// How a session wants its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dialect {
    pub(crate) version: Version,
    /// The client cannot take binary (`b64=1`): binary messages are base64 in text.
    pub(crate) base64: bool,
    /// permessage-deflate is negotiated and the session is on a WebSocket.
    pub(crate) deflate: bool,
}

/// Bytes of one arena chunk. Big enough to serve hundreds of small messages.
const ARENA_CHUNK: usize = 64 * 1024;

/// Makes frames; one per shard.
pub(crate) struct Framer {
    arena: BytesMut,
    deflater: Option<Deflater>,
    deflate_threshold: usize,
    scratch: Vec<u8>,
}

impl Framer {
    /// `deflate` is the threshold in bytes and the level, where permessage-deflate is enabled.
    pub(crate) fn new(deflate: Option<(usize, u32)>) -> Framer {
        Framer {
            arena: BytesMut::new(),
            deflate_threshold: deflate.map_or(0, |(threshold, _)| threshold),
            deflater: deflate.map(|(_, level)| Deflater::new(level)),
            scratch: Vec::new(),
        }
    }

    /// A frame for one session.
    pub(crate) fn message(
        &mut self,
        dialect: Dialect,
        message: Message<'_>,
        compress: bool,
    ) -> Bytes {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let frame = match message {
            Message::Text(text) => {
                self.packet(dialect, Opcode::Text, &[&MESSAGE, text.as_bytes()], compress)
            }
            Message::Binary(data) if dialect.base64 => {
                base64_packet(dialect.version, data, &mut scratch);
                self.packet(dialect, Opcode::Text, &[&scratch], compress)
            }
            Message::Binary(data) => match dialect.version {
                Version::V4 => self.packet(dialect, Opcode::Binary, &[data], compress),
                Version::V3 => self.packet(
                    dialect,
                    Opcode::Binary,
                    &[&[PacketType::Message as u8], data],
                    compress,
                ),
            },
        };
        scratch.clear();
        scratch.shrink_to(ARENA_CHUNK);
        self.scratch = scratch;
        frame
    }

    fn packet(
        &mut self,
        dialect: Dialect,
        opcode: Opcode,
        parts: &[&[u8]],
        compress: bool,
    ) -> Bytes {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if dialect.deflate
            && compress
            && len >= self.deflate_threshold
            && let Some(frame) = self.deflated(opcode, &parts.concat())
        {
            return frame;
        }
        if len > ARENA_MESSAGE_MAX {
            let mut own = BytesMut::with_capacity(len + MAX_HEADER);
            put_frame(&mut own, opcode, false, parts);
            return own.freeze();
        }
        if self.arena.capacity() - self.arena.len() < len + MAX_HEADER {
            self.arena.reserve(ARENA_CHUNK);
        }
        put_frame(&mut self.arena, opcode, false, parts);
        self.arena.split().freeze()
    }

    /// A compressed frame, or `None` if compression does not pay.
    fn deflated(&mut self, opcode: Opcode, payload: &[u8]) -> Option<Bytes> {
        let deflater = self.deflater.as_mut()?;
        let mut compressed = Vec::new();
        if !deflater.compress(payload, &mut compressed) || compressed.len() >= payload.len() {
            return None;
        }
        let mut frame = BytesMut::with_capacity(compressed.len() + MAX_HEADER);
        put_frame(&mut frame, opcode, true, &[&compressed]);
        Some(frame.freeze())
    }
}

/// The frame as most clients take it, in memory of its own: it may outlive its neighbours by far.
fn plain_frame(message: Message<'_>) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + 1 + MAX_HEADER);
    match message {
        Message::Text(text) => {
            put_frame(&mut frame, Opcode::Text, false, &[&MESSAGE, text.as_bytes()]);
        }
        Message::Binary(data) => put_frame(&mut frame, Opcode::Binary, false, &[data]),
    }
    frame.freeze()
}

/// The frame for a client that cannot take binary.
pub(crate) fn as_base64(version: Version, frame: Bytes) -> Bytes {
    let Some((Opcode::Binary, _, data)) = split(&frame) else { return frame };
    let mut text = Vec::new();
    write_base64(version, data, &mut text);
    let mut frame = BytesMut::with_capacity(text.len() + MAX_HEADER);
    put_frame(&mut frame, Opcode::Text, false, &[&text]);
    frame.freeze()
}

fn base64_packet(version: Version, data: &[u8], out: &mut Vec<u8>) {
    match version {
        Version::V4 => write_base64(version, data, out),
        Version::V3 => {
            let mut framed = Vec::with_capacity(data.len() + 1);
            framed.push(PacketType::Message as u8);
            framed.extend_from_slice(data);
            write_base64(version, &framed, out);
        }
    }
}

/// Messages for many sessions that are encoded once per dialect, when the first session with that
/// dialect needs them. Cheap to clone; any thread may hold it.
#[derive(Clone, Debug)]
pub struct SharedMessage(Arc<[Part]>);

#[derive(Debug)]
struct Part {
    /// As every WebSocket client of version 4 takes it.
    plain: Bytes,
    binary: bool,
    /// The first shard that needs it compresses it. Those that need it meanwhile wait for that, which takes no
    /// longer than doing the same themselves and leaves their processors to others.
    deflated: OnceLock<Option<Bytes>>,
    /// Binary messages only: version 3, which has a type byte in front; and as base64 text.
    others: OnceLock<Box<[OnceLock<Bytes>; 4]>>,
}

impl SharedMessage {
    /// Frames the messages. They are always delivered together, in this order.
    pub fn new<'a>(messages: impl IntoIterator<Item = Message<'a>>) -> SharedMessage {
        let parts = messages.into_iter().map(|message| Part {
            plain: plain_frame(message),
            binary: matches!(message, Message::Binary(_)),
            deflated: OnceLock::new(),
            others: OnceLock::new(),
        });
        SharedMessage(parts.collect::<SmallVec<[Part; 1]>>().into_iter().collect())
    }

    /// The number of messages.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The frame of one message in a session's dialect.
    pub(crate) fn frame(
        &self,
        index: usize,
        dialect: Dialect,
        compress: bool,
        framer: &mut Framer,
    ) -> Option<&Bytes> {
        self.0.get(index).map(|part| part.frame(dialect, compress, framer))
    }
}

impl Part {
    fn frame(&self, dialect: Dialect, compress: bool, framer: &mut Framer) -> &Bytes {
        let special = self.binary && (dialect.version == Version::V3 || dialect.base64);
        if special {
            return self.special(dialect, framer);
        }
        if dialect.deflate && compress && self.plain.len() > framer.deflate_threshold {
            let deflated = self.deflated.get_or_init(|| {
                let (opcode, _, payload) = split(&self.plain)?;
                framer.deflated(opcode, payload)
            });
            if let Some(frame) = deflated {
                return frame;
            }
        }
        &self.plain
    }

    /// The rare dialects are not compressed: their clients do not know permessage-deflate.
    fn special(&self, dialect: Dialect, framer: &mut Framer) -> &Bytes {
        let others = self.others.get_or_init(Box::default);
        let index = usize::from(dialect.base64) << 1 | usize::from(dialect.version == Version::V3);
        others[index].get_or_init(|| {
            let data = split(&self.plain).map_or(&[][..], |(_, _, payload)| payload);
            framer.message(Dialect { deflate: false, ..dialect }, Message::Binary(data), false)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialect(version: Version, base64: bool, deflate: bool) -> Dialect {
        Dialect { version, base64, deflate }
    }

    #[test]
    fn text_is_the_same_in_both_versions() {
        let mut framer = Framer::new(None);
        for version in [Version::V3, Version::V4] {
            let frame =
                framer.message(dialect(version, false, false), Message::Text("2[\"a\"]"), true);
            assert_eq!(&frame[..], b"\x81\x0742[\"a\"]");
        }
    }

    #[test]
    fn binary_differs_by_version_and_base64() {
        let shared = SharedMessage::new([Message::Binary(&[1, 2, 3])]);
        let mut framer = Framer::new(None);
        let cases: [(Dialect, &[u8]); 4] = [
            (dialect(Version::V4, false, false), b"\x82\x03\x01\x02\x03"),
            (dialect(Version::V3, false, false), b"\x82\x04\x04\x01\x02\x03"),
            (dialect(Version::V4, true, false), b"\x81\x05bAQID"),
            (dialect(Version::V3, true, false), b"\x81\x06b4AQID"),
        ];
        for (dialect, expected) in cases {
            assert_eq!(framer.message(dialect, Message::Binary(&[1, 2, 3]), true), expected);
            assert_eq!(shared.frame(0, dialect, true, &mut framer).unwrap(), expected);
        }
    }

    #[test]
    fn shared_message_is_deflated_once() {
        let text = "a".repeat(5000);
        let shared = SharedMessage::new([Message::Text(&text)]);
        let mut framer = Framer::new(Some((1024, 6)));
        let deflate = dialect(Version::V4, false, true);
        let first = shared.frame(0, deflate, true, &mut framer).unwrap().clone();
        let second = shared.frame(0, deflate, true, &mut framer).unwrap().clone();
        assert_eq!(first.as_ptr(), second.as_ptr());
        assert_eq!(first[0], 0xc1, "RSV1 marks compression");
        assert!(first.len() < 100);
        let plain = shared.frame(0, deflate, false, &mut framer).unwrap();
        assert_eq!(plain[0], 0x81, "compress: false sends the message as it is");
    }

    #[test]
    fn message_below_the_threshold_is_not_deflated() {
        let mut framer = Framer::new(Some((1024, 6)));
        let short = "a".repeat(1000);
        let frame = framer.message(dialect(Version::V4, false, true), Message::Text(&short), true);
        assert_eq!(frame[0], 0x81);
    }
}
