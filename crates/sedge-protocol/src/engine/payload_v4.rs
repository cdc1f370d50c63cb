//! Reading the polling bodies of Engine.IO 4: packet texts with a record separator between them.

use super::packet::{Packet, Version, parse_text};
use super::payload::PayloadError;
use crate::limits::MAX_PACKETS_PER_PAYLOAD;

/// ASCII "record separator", between two packets. Not escaped inside packets: a text message that
/// contains it is split, in the official parser too. Socket.IO's JSON escapes it.
pub(super) const SEPARATOR: u8 = 0x1e;

/// Reads a version 4 POST body. Packets are handed out one by one; the first error is the last
/// item, and the packets before it count, as in the official server. An empty body, and nothing
/// between, before or after separators, is [`PacketError::Empty`](super::packet::PacketError::Empty).
pub fn decode_v4(body: &str) -> DecodeV4<'_> {
    DecodeV4 { rest: Some(body), packets: 0 }
}

/// The packets of a version 4 body; see [`decode_v4`].
#[derive(Debug, Clone)]
pub struct DecodeV4<'a> {
    /// What is left; `None` behind the last packet and after an error.
    rest: Option<&'a str>,
    packets: usize,
}

impl<'a> Iterator for DecodeV4<'a> {
    type Item = Result<Packet<'a>, PayloadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.take()?;
        if self.packets == MAX_PACKETS_PER_PAYLOAD {
            return Some(Err(PayloadError::TooManyPackets));
        }
        self.packets += 1;
        let (packet, tail) = match memchr::memchr(SEPARATOR, rest.as_bytes()) {
            Some(end) => (&rest[..end], Some(&rest[end + 1..])),
            None => (rest, None),
        };
        let parsed = parse_text(Version::V4, packet);
        if parsed.is_ok() {
            self.rest = tail;
        }
        Some(parsed.map_err(PayloadError::Packet))
    }
}

impl std::iter::FusedIterator for DecodeV4<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::packet::{Data, PacketError, PacketType};

    fn items(body: &str) -> Vec<Result<Packet<'_>, PayloadError>> {
        decode_v4(body).collect()
    }

    #[expect(clippy::unnecessary_wraps, reason = "expectations have the type of what is compared")]
    fn message(data: &str) -> Result<Packet<'_>, PayloadError> {
        Ok(Packet { kind: PacketType::Message, data: Data::Text(data) })
    }

    const EMPTY: Result<Packet<'_>, PayloadError> = Err(PayloadError::Packet(PacketError::Empty));

    #[test]
    fn packets_are_separated_by_0x1e() {
        let ping = Ok(Packet { kind: PacketType::Ping, data: Data::Text("") });
        assert_eq!(items("4hello\x1e2\x1e4"), [message("hello"), ping, message("")]);
        let bytes = Data::Binary(vec![1, 2, 3, 4].into());
        let binary = Ok(Packet { kind: PacketType::Message, data: bytes });
        assert_eq!(items("4\u{20ac}\x1ebAQIDBA=="), [message("\u{20ac}"), binary]);
    }

    /// The results of the official parser for the same bodies.
    #[test]
    fn an_error_is_the_last_item() {
        assert_eq!(items(""), [EMPTY]);
        assert_eq!(items("\x1e"), [EMPTY]);
        assert_eq!(items("\x1e4a"), [EMPTY]);
        assert_eq!(items("4a\x1e"), [message("a"), EMPTY]);
        assert_eq!(items("4a\x1e\x1e4b"), [message("a"), EMPTY]);
        let unknown = Err(PayloadError::Packet(PacketError::UnknownType('7')));
        assert_eq!(items("4a\x1e7\x1e4b"), [message("a"), unknown]);
    }

    #[test]
    fn the_number_of_packets_is_limited() {
        let body = vec!["3"; MAX_PACKETS_PER_PAYLOAD].join("\x1e");
        assert_eq!(decode_v4(&body).flatten().count(), MAX_PACKETS_PER_PAYLOAD);
        assert!(decode_v4(&body).all(|item| item.is_ok()));
        let body = body + "\x1e3\x1e3";
        assert_eq!(decode_v4(&body).flatten().count(), MAX_PACKETS_PER_PAYLOAD);
        assert_eq!(decode_v4(&body).last(), Some(Err(PayloadError::TooManyPackets)));
        assert_eq!(decode_v4(&body).count(), MAX_PACKETS_PER_PAYLOAD + 1);
    }
}
