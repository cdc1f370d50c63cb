//! Polling bodies: several packets in one HTTP response or request.
//!
//! - Version 4: packet texts joined by the byte 0x1e, binary messages as base64.
//! - Version 3, text form: `<length>:<packet>` one after the other, the length in UTF-16 code units.
//! - Version 3, binary form: per packet the byte 0 (text) or 1 (binary), the length in bytes as one
//!   byte per decimal digit (values 0 to 9), the byte 0xff, the packet.
//!
//! This file writes them; the decoders stand in `payload_v4.rs` and `payload_v3.rs`.

use smallvec::SmallVec;
use thiserror::Error;

use super::packet::{PacketError, Version, WirePacket, base64_packet_len, write_base64};
use super::payload_v3::{BINARY_MARK, LENGTH_END, TEXT_MARK};
pub use super::payload_v3::{DecodeV3Binary, DecodeV3Text, decode_v3_binary, decode_v3_text};
use super::payload_v4::SEPARATOR;
pub use super::payload_v4::{DecodeV4, decode_v4};

/// Content type of the text forms, in responses and in the requests of official clients.
pub const TEXT_CONTENT_TYPE: &str = "text/plain; charset=UTF-8";
/// Content type of version 3's binary form. In a version 4 request it is refused (400).
pub const BINARY_CONTENT_TYPE: &str = "application/octet-stream";

/// Why a body is not a payload. Always the peer's fault; the session ends with `parse error`, after
/// the packets in front of the error have been handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PayloadError {
    /// A version 3 text body without a byte.
    #[error("empty payload")]
    Empty,
    /// More packets than [`MAX_PACKETS_PER_PAYLOAD`](crate::limits::MAX_PACKETS_PER_PAYLOAD).
    #[error("too many packets in one payload")]
    TooManyPackets,
    /// A version 3 length that is missing, endless or not a plain decimal number.
    #[error("malformed packet length")]
    Length,
    /// A version 3 length that reaches behind the end of the body.
    #[error("packet length exceeds the payload")]
    Truncated,
    /// A version 3 length that ends between the two halves of a surrogate pair.
    #[error("packet length ends inside a character")]
    SplitCharacter,
    /// A packet of the binary form that begins neither with 0 (text) nor with 1 (binary).
    #[error("unknown packet mark {0} in a binary payload")]
    Mark(u8),
    /// A text packet of the binary form that is not UTF-8.
    #[error("text packet is not UTF-8")]
    Utf8,
    /// An element is not a packet.
    #[error(transparent)]
    Packet(#[from] PacketError),
}

/// A finished polling body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// The bytes of the response body.
    pub body: Vec<u8>,
    /// The value of its `Content-Type` header.
    pub content_type: &'static str,
}

/// Writes a polling body packet by packet.
///
/// The caller asks [`fits`](Self::fits) before each [`push`](Self::push) to keep a response under
/// its limit. The form is found on the way: version 3 is written as text until the first binary
/// packet arrives at a client that can take bytes; then what is there is rewritten, once.
#[derive(Debug, Clone)]
pub struct PayloadEncoder {
    version: Version,
    /// Version 3 only: the client did not ask for base64.
    binary_allowed: bool,
    /// The body has the binary form.
    binary_form: bool,
    body: Vec<u8>,
    packets: usize,
    /// Where the packets lie in a text body that may have to become binary.
    texts: SmallVec<[(usize, usize); 8]>,
    /// The length `body` would have in the binary form.
    binary_len: usize,
}

impl PayloadEncoder {
    /// An empty payload for one client. `supports_binary` is false if the client sent `b64` with a
    /// value, and for JSONP, whose script can only carry text; version 4 has no binary form and
    /// ignores it.
    pub fn new(version: Version, supports_binary: bool) -> Self {
        Self {
            version,
            binary_allowed: supports_binary && version == Version::V3,
            binary_form: false,
            body: Vec::new(),
            packets: 0,
            texts: SmallVec::new(),
            binary_len: 0,
        }
    }

    /// Appends one packet. Its content is trusted: UTF-8 in text packets, in version 4 without 0x1e.
    pub fn push(&mut self, packet: WirePacket<'_>) {
        if self.binary_allowed {
            self.binary_len += binary_element_len(packet);
            if packet.binary && !self.binary_form {
                self.become_binary();
            }
        }
        if self.binary_form {
            push_binary_element(&mut self.body, packet);
        } else {
            self.push_text_element(packet);
        }
        self.packets += 1;
    }

    /// The length of the body so far, in bytes.
    pub fn len(&self) -> usize {
        self.body.len()
    }

    /// Whether no packet has been pushed.
    pub fn is_empty(&self) -> bool {
        self.packets == 0
    }

    /// How many packets have been pushed.
    pub fn packets(&self) -> usize {
        self.packets
    }

    /// The length of the body in bytes if `next` were pushed: exact, in whatever form it then has.
    pub fn len_with(&self, next: WirePacket<'_>) -> usize {
        if self.binary_allowed && (self.binary_form || next.binary) {
            return self.binary_len + binary_element_len(next);
        }
        let separator = usize::from(self.version == Version::V4 && self.packets > 0);
        self.body.len() + separator + text_element_len(self.version, next)
    }

    /// Whether the body stays within `limit` bytes if `next` is pushed.
    pub fn fits(&self, next: WirePacket<'_>, limit: usize) -> bool {
        self.len_with(next) <= limit
    }

    /// The body and its content type. Without a packet, version 4's body is empty and version 3's is
    /// `0:`, as the official server writes them.
    pub fn finish(mut self) -> Payload {
        if self.packets == 0 && self.version == Version::V3 {
            self.body.extend_from_slice(b"0:");
        }
        let content_type = if self.binary_form { BINARY_CONTENT_TYPE } else { TEXT_CONTENT_TYPE };
        Payload { body: self.body, content_type }
    }

    fn push_text_element(&mut self, packet: WirePacket<'_>) {
        match self.version {
            Version::V4 if self.packets > 0 => self.body.push(SEPARATOR),
            Version::V4 => {}
            Version::V3 => {
                let units = text_units(packet);
                self.body.extend_from_slice(units.to_string().as_bytes());
                self.body.push(b':');
            }
        }
        let start = self.body.len();
        if packet.binary {
            write_base64(self.version, packet.data, &mut self.body);
        } else {
            self.body.extend_from_slice(packet.data);
        }
        if self.binary_allowed {
            self.texts.push((start, self.body.len()));
        }
    }

    /// Rewrites the text packets pushed so far in the binary form.
    fn become_binary(&mut self) {
        let mut body = Vec::with_capacity(self.binary_len);
        for &(start, end) in &self.texts {
            push_binary_element(
                &mut body,
                WirePacket { binary: false, data: &self.body[start..end] },
            );
        }
        self.body = body;
        self.binary_form = true;
        self.texts = SmallVec::new();
    }
}

fn push_binary_element(body: &mut Vec<u8>, packet: WirePacket<'_>) {
    body.push(if packet.binary { BINARY_MARK } else { TEXT_MARK });
    let digits = packet.data.len().to_string();
    body.extend(digits.bytes().map(|digit| digit - b'0'));
    body.push(LENGTH_END);
    body.extend_from_slice(packet.data);
}

fn binary_element_len(packet: WirePacket<'_>) -> usize {
    2 + decimal_digits(packet.data.len()) + packet.data.len()
}

fn text_element_len(version: Version, packet: WirePacket<'_>) -> usize {
    let content =
        if packet.binary { base64_packet_len(version, packet.data) } else { packet.data.len() };
    match version {
        Version::V4 => content,
        Version::V3 => decimal_digits(text_units(packet)) + 1 + content,
    }
}

/// The UTF-16 code units of a packet in version 3's text form.
fn text_units(packet: WirePacket<'_>) -> usize {
    if packet.binary {
        return base64_packet_len(Version::V3, packet.data);
    }
    // Every byte but a continuation byte begins a character; those of four bytes are two units.
    let units = |byte: &u8| usize::from(byte & 0xc0 != 0x80) + usize::from(*byte >= 0xf0);
    packet.data.iter().map(units).sum()
}

fn decimal_digits(number: usize) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::packet::{Data, parse_binary, parse_text};

    /// Pushes the packets, checking the predicted length at every step.
    fn encode(version: Version, binary: bool, packets: &[WirePacket<'_>]) -> Payload {
        let mut encoder = PayloadEncoder::new(version, binary);
        for &packet in packets {
            let predicted = encoder.len_with(packet);
            assert!(encoder.fits(packet, predicted) && !encoder.fits(packet, predicted - 1));
            encoder.push(packet);
            assert_eq!(encoder.len(), predicted);
        }
        assert_eq!(encoder.packets(), packets.len());
        assert_eq!(encoder.is_empty(), packets.is_empty());
        encoder.finish()
    }

    fn assert_text(payload: &Payload, expected: &str) {
        assert_eq!(String::from_utf8_lossy(&payload.body), expected);
        assert_eq!(payload.content_type, "text/plain; charset=UTF-8");
    }

    fn assert_bytes(payload: &Payload, expected: &[u8]) {
        assert_eq!(payload.body, expected);
        assert_eq!(payload.content_type, "application/octet-stream");
    }

    const TEXT: WirePacket<'_> = WirePacket::text("4a\u{1f600}\u{20ac}\u{e9}");
    const LAST: WirePacket<'_> = WirePacket::text("4z");

    // The expected bodies of this module were written by engine.io-parser 5.2.3 (version 4) and
    // 2.2.1 (version 3).

    #[test]
    fn version_4() {
        let packets = [TEXT, WirePacket::binary(&[255, 0, 0x1e]), LAST, WirePacket::binary(&[])];
        let expected = "4a\u{1f600}\u{20ac}\u{e9}\x1eb/wAe\x1e4z\x1eb";
        assert_text(&encode(Version::V4, true, &packets), expected);
        assert_text(&encode(Version::V4, false, &packets), expected);
        assert_text(&encode(Version::V4, true, &[]), "");
    }

    #[test]
    fn version_3_text_form() {
        let packets = [TEXT, WirePacket::text("2probe"), WirePacket::text("6")];
        let expected = "6:4a\u{1f600}\u{20ac}\u{e9}6:2probe1:6";
        assert_text(&encode(Version::V3, true, &packets), expected);
        assert_text(&encode(Version::V3, false, &packets), expected);
        assert_text(&encode(Version::V3, true, &[]), "0:");

        let long = format!("4{}", "x".repeat(123));
        let packets = [WirePacket::text("0{}"), WirePacket::text("1"), WirePacket::text(&long)];
        assert_text(&encode(Version::V3, true, &packets), &format!("3:0{{}}1:1124:{long}"));
    }

    #[test]
    fn version_3_without_binary_support() {
        let packets =
            [TEXT, WirePacket::binary(&[4, 255, 0, 0x1e]), LAST, WirePacket::binary(&[4])];
        let expected = "6:4a\u{1f600}\u{20ac}\u{e9}6:b4/wAe2:4z2:b4";
        assert_text(&encode(Version::V3, false, &packets), expected);
    }

    #[test]
    fn version_3_binary_form_as_soon_as_one_packet_is_binary() {
        let packets =
            [TEXT, WirePacket::binary(&[4, 255, 0, 0x1e]), LAST, WirePacket::binary(&[4])];
        let expected = b"\x00\x01\x01\xff4a\xf0\x9f\x98\x80\xe2\x82\xac\xc3\xa9\
            \x01\x04\xff\x04\xff\x00\x1e\x00\x02\xff4z\x01\x01\xff\x04";
        assert_bytes(&encode(Version::V3, true, &packets), expected);

        let mut long = [7; 121];
        long[0] = 4;
        let mut expected = b"\x00\x02\xff4y\x01\x01\x02\x01\xff".to_vec();
        expected.extend(long);
        let packets = [WirePacket::text("4y"), WirePacket::binary(&long)];
        assert_bytes(&encode(Version::V3, true, &packets), &expected);
    }

    /// What one client may read back from what the server wrote, for all forms.
    #[test]
    fn written_payloads_can_be_read() {
        let long = "4".to_owned() + &"\u{1f600}\u{20ac}\"\\\n".repeat(1000);
        let texts = ["4a", "2probe", "4\u{1f600}", &long, "1"];
        let bytes = [&[4][..], &[4, 0xff], &[4; 1000]];
        let packets: Vec<_> = std::iter::zip(
            texts.iter().map(|text| WirePacket::text(text)),
            bytes.iter().cycle().map(|bytes| WirePacket::binary(bytes)),
        )
        .flat_map(|(text, binary)| [text, text, binary])
        .collect();
        for (version, binary) in [(Version::V4, true), (Version::V3, true), (Version::V3, false)] {
            let expected: Vec<_> = packets
                .iter()
                .map(|packet| {
                    if packet.binary {
                        parse_binary(version, packet.data).unwrap()
                    } else {
                        parse_text(version, str::from_utf8(packet.data).unwrap()).unwrap()
                    }
                })
                .collect();
            assert!(expected.iter().any(|packet| matches!(packet.data, Data::Binary(_))));
            let body = encode(version, binary, &packets).body;
            let text = || str::from_utf8(&body).unwrap();
            let read: Result<Vec<_>, _> = match (version, binary) {
                (Version::V4, _) => decode_v4(text()).collect(),
                (Version::V3, true) => decode_v3_binary(&body).collect(),
                (Version::V3, false) => decode_v3_text(text()).collect(),
            };
            assert_eq!(read, Ok(expected));
        }
    }
}
