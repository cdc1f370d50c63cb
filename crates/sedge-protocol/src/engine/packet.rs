//! One Engine.IO packet as the content of one WebSocket frame, in protocol versions 3 and 4.
//!
//! A text frame is a type digit and the data (`4hello`, `2probe`). A binary frame is a message: in
//! version 4 its bytes are the data, in version 3 a type byte comes first. Where a transport cannot
//! carry bytes, a binary message is text: `b<base64>` in version 4, `b4<base64>` in version 3.
//! The same texts are the elements of a polling payload (see [`super::payload`]).

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use thiserror::Error;

/// What a packet is for. The number is the digit (or, in version 3's binary frames, the byte) on
/// the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PacketType {
    /// The handshake: the server tells the session id and its timings ([`Open`]).
    Open = 0,
    /// The peer ends the session.
    Close = 1,
    /// Heartbeat question; with the data `probe`, the test of a new transport.
    Ping = 2,
    /// Heartbeat answer; with the data `probe`, the answer to the test.
    Pong = 3,
    /// Application data: the only type that may be binary.
    Message = 4,
    /// The client moves the session to the transport this packet arrives on.
    Upgrade = 5,
    /// Nothing; ends a pending poll.
    Noop = 6,
}

impl PacketType {
    /// The ASCII digit that opens a text packet of this type.
    pub const fn digit(self) -> u8 {
        b'0' + self as u8
    }

    /// The type with this number, or `None` above 6.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Open,
            1 => Self::Close,
            2 => Self::Ping,
            3 => Self::Pong,
            4 => Self::Message,
            5 => Self::Upgrade,
            6 => Self::Noop,
            _ => return None,
        })
    }
}

/// The protocol version a session speaks, fixed by the `EIO` query parameter of its handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// Engine.IO 3: Socket.IO clients 1.x and 2.x.
    V3,
    /// Engine.IO 4: Socket.IO clients 3.x and 4.x.
    V4,
}

/// The client asked for a version the server does not offer: handshake error code 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("unsupported Engine.IO protocol version: only EIO=4 is offered")]
pub struct UnsupportedVersion;

impl Version {
    /// Reads the `EIO` query parameter: exactly `4` is version 4, and everything else, a missing
    /// parameter included, is version 3, as in the official server. A parameter that occurs twice
    /// is neither: pass `None` for it.
    pub fn from_query(eio: Option<&str>, allow_v3: bool) -> Result<Self, UnsupportedVersion> {
        match eio {
            Some("4") => Ok(Self::V4),
            _ if allow_v3 => Ok(Self::V3),
            _ => Err(UnsupportedVersion),
        }
    }

    /// The number of the version, as in the `EIO` parameter.
    pub const fn number(self) -> u8 {
        match self {
            Self::V3 => 3,
            Self::V4 => 4,
        }
    }
}

/// A received packet. It borrows from the frame or body it was read from, except binary data that
/// came as base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What the packet is for.
    pub kind: PacketType,
    /// What follows the type; often empty.
    pub data: Data<'a>,
}

/// The data of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data<'a> {
    /// Text, without the type digit.
    Text(&'a str),
    /// Bytes, without a type byte. Only a [`PacketType::Message`] has them.
    Binary(Cow<'a, [u8]>),
}

/// A packet on its way out: the content of the WebSocket frame that would carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WirePacket<'a> {
    /// Whether that frame is binary.
    pub binary: bool,
    /// Text frame: the type digit and the data, valid UTF-8. Binary frame: the message in version
    /// 4; the byte 4 and the message in version 3.
    pub data: &'a [u8],
}

impl<'a> WirePacket<'a> {
    /// A text packet, its type digit included: `4hello`.
    pub const fn text(packet: &'a str) -> Self {
        Self { binary: false, data: packet.as_bytes() }
    }

    /// A binary packet; in version 3, `frame` includes the type byte.
    pub const fn binary(frame: &'a [u8]) -> Self {
        Self { binary: true, data: frame }
    }
}

/// Why bytes are not a packet. Always the peer's fault; the session ends with `parse error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PacketError {
    /// There is no byte that could be a type.
    #[error("empty packet: the type is missing")]
    Empty,
    /// The first character is neither a digit of 0 to 6 nor `b`.
    #[error("unknown packet type {0:?}")]
    UnknownType(char),
    /// The type byte of a binary packet is not 4.
    #[error("packet type {0} cannot be binary: only messages (4) can")]
    NotBinary(u8),
    /// What follows `b` is not base64 in the standard alphabet, line breaks aside.
    #[error("binary packet with malformed base64")]
    Base64,
}

/// Reads a text frame, or one element of a text payload.
///
/// In both versions the base64 form of a binary message is accepted here too: clients that cannot
/// send bytes (`b64=1`) use it in text frames.
pub fn parse_text(version: Version, frame: &str) -> Result<Packet<'_>, PacketError> {
    let first = frame.chars().next().ok_or(PacketError::Empty)?;
    let rest = &frame[first.len_utf8()..];
    if first == 'b' {
        return parse_base64(version, rest);
    }
    let number = first.to_digit(10).and_then(|digit| u8::try_from(digit).ok());
    match number.and_then(PacketType::from_number) {
        Some(kind) => Ok(Packet { kind, data: Data::Text(rest) }),
        None => Err(PacketError::UnknownType(first)),
    }
}

/// Reads a binary frame, or one binary element of a version 3 binary payload. A version 4 frame may
/// be empty (an empty message); a version 3 frame has at least its type byte.
pub fn parse_binary(version: Version, frame: &[u8]) -> Result<Packet<'_>, PacketError> {
    let data = match version {
        Version::V4 => frame,
        Version::V3 => {
            let (&kind, data) = frame.split_first().ok_or(PacketError::Empty)?;
            if kind != PacketType::Message as u8 {
                return Err(PacketError::NotBinary(kind));
            }
            data
        }
    };
    Ok(Packet { kind: PacketType::Message, data: Data::Binary(Cow::Borrowed(data)) })
}

/// What real clients send: the standard alphabet, padded or not, with whatever value in the bits
/// behind the last byte. Line breaks are taken out before. Node's decoder also reads the URL-safe
/// alphabet and skips every other character, which hides damage; here those are errors.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

fn parse_base64(version: Version, text: &str) -> Result<Packet<'_>, PacketError> {
    let encoded = match version {
        Version::V4 => text,
        Version::V3 => match text.chars().next() {
            None => return Err(PacketError::Empty),
            Some('4') => &text[1..],
            Some(digit @ '0'..='6') => return Err(PacketError::NotBinary(digit as u8 - b'0')),
            Some(other) => return Err(PacketError::UnknownType(other)),
        },
    };
    let data = decode_base64(encoded.as_bytes()).ok_or(PacketError::Base64)?;
    Ok(Packet { kind: PacketType::Message, data: Data::Binary(Cow::Owned(data)) })
}

/// The official Java client breaks its base64 into lines of 76 characters and ends it with a newline.
fn decode_base64(encoded: &[u8]) -> Option<Vec<u8>> {
    if memchr::memchr2(b'\n', b'\r', encoded).is_none() {
        return BASE64.decode(encoded).ok();
    }
    let is_break = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let unbroken: Vec<u8> = encoded.iter().copied().filter(|byte| !is_break(byte)).collect();
    BASE64.decode(unbroken).ok()
}

/// Appends the text form of a binary packet: `b<base64>` (version 4) or `b4<base64>` (version 3).
/// `frame` is the content of the binary frame, in version 3 with its type byte.
///
/// It is for payloads, and for the text frames of a client that asked for base64 (`b64=1`).
pub fn write_base64(version: Version, frame: &[u8], out: &mut Vec<u8>) {
    let message = match version {
        Version::V4 => {
            out.push(b'b');
            frame
        }
        Version::V3 => {
            out.extend_from_slice(b"b4");
            frame.get(1..).unwrap_or_default()
        }
    };
    let start = out.len();
    out.resize(start + base64_len(message.len()), 0);
    // The room is exact, so nothing is cut off here; an error would leave an empty message.
    let written = BASE64.encode_slice(message, &mut out[start..]).unwrap_or(0);
    out.truncate(start + written);
}

/// The bytes [`write_base64`] appends.
pub(super) fn base64_packet_len(version: Version, frame: &[u8]) -> usize {
    match version {
        Version::V4 => 1 + base64_len(frame.len()),
        Version::V3 => 2 + base64_len(frame.len().saturating_sub(1)),
    }
}

const fn base64_len(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

/// The content of the OPEN packet: what a client has to know about its new session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open<'a> {
    /// The session id, sent back by the client in every later request.
    pub sid: &'a str,
    /// Transports the client may move to, by name: `websocket` or nothing.
    pub upgrades: &'a [&'a str],
    /// Milliseconds between two heartbeats.
    pub ping_interval_ms: u64,
    /// Milliseconds a heartbeat may stay unanswered.
    pub ping_timeout_ms: u64,
    /// Largest payload the server takes, in bytes.
    pub max_payload: u64,
}

impl Open<'_> {
    /// Appends the packet text, `0{"sid":…}`, with the keys in the official server's order.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(PacketType::Open.digit());
        out.extend_from_slice(b"{\"sid\":");
        super::jsonp::write_string(self.sid.as_bytes(), out);
        out.extend_from_slice(b",\"upgrades\":[");
        for (index, name) in self.upgrades.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            super::jsonp::write_string(name.as_bytes(), out);
        }
        out.extend_from_slice(b"],\"pingInterval\":");
        out.extend_from_slice(self.ping_interval_ms.to_string().as_bytes());
        out.extend_from_slice(b",\"pingTimeout\":");
        out.extend_from_slice(self.ping_timeout_ms.to_string().as_bytes());
        out.extend_from_slice(b",\"maxPayload\":");
        out.extend_from_slice(self.max_payload.to_string().as_bytes());
        out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Version; 2] = [Version::V3, Version::V4];

    #[expect(clippy::unnecessary_wraps, reason = "expectations have the type of what is compared")]
    fn text(kind: PacketType, data: &str) -> Result<Packet<'_>, PacketError> {
        Ok(Packet { kind, data: Data::Text(data) })
    }

    #[expect(clippy::unnecessary_wraps, reason = "expectations have the type of what is compared")]
    fn message(data: &[u8]) -> Result<Packet<'_>, PacketError> {
        Ok(Packet { kind: PacketType::Message, data: Data::Binary(Cow::Borrowed(data)) })
    }

    #[test]
    fn text_frames() {
        for version in BOTH {
            assert_eq!(parse_text(version, "4hello"), text(PacketType::Message, "hello"));
            assert_eq!(parse_text(version, "2probe"), text(PacketType::Ping, "probe"));
            assert_eq!(parse_text(version, "4"), text(PacketType::Message, ""));
            assert_eq!(parse_text(version, "4\u{1f600}"), text(PacketType::Message, "\u{1f600}"));
            for number in 0..=6 {
                let kind = PacketType::from_number(number).unwrap();
                assert_eq!(kind as u8, number);
                let frame = char::from(kind.digit()).to_string();
                assert_eq!(parse_text(version, &frame), text(kind, ""));
            }
        }
    }

    #[test]
    fn what_is_not_a_text_packet() {
        for version in BOTH {
            assert_eq!(parse_text(version, ""), Err(PacketError::Empty));
            for (frame, first) in [("7", '7'), ("x4", 'x'), (" 4", ' '), ("\u{e9}", '\u{e9}')] {
                assert_eq!(parse_text(version, frame), Err(PacketError::UnknownType(first)));
            }
            // An Arabic-Indic four is a digit, but not of this protocol.
            assert_eq!(parse_text(version, "\u{664}"), Err(PacketError::UnknownType('\u{664}')));
        }
        assert_eq!(PacketType::from_number(7), None);
    }

    #[test]
    fn binary_frames() {
        assert_eq!(parse_binary(Version::V4, &[2, 3]), message(&[2, 3]));
        assert_eq!(parse_binary(Version::V4, &[]), message(&[]));
        assert_eq!(parse_binary(Version::V3, &[4, 2, 3]), message(&[2, 3]));
        assert_eq!(parse_binary(Version::V3, &[4]), message(&[]));
        assert_eq!(parse_binary(Version::V3, &[]), Err(PacketError::Empty));
        assert_eq!(parse_binary(Version::V3, &[2]), Err(PacketError::NotBinary(2)));
        assert_eq!(parse_binary(Version::V3, b"4"), Err(PacketError::NotBinary(b'4')));
    }

    /// Padding, spare bits and line breaks are taken as Node takes them.
    #[test]
    fn base64_frames() {
        for (encoded, data) in [
            ("", &[][..]),
            ("AQIDBA==", &[1, 2, 3, 4]),
            ("AQIDBA", &[1, 2, 3, 4]),
            ("AR==", &[1]),
            ("+/8=", &[0xfb, 0xff]),
            ("AQID\r\nBA==\n", &[1, 2, 3, 4]),
            ("\n", &[]),
        ] {
            let (v4, v3) = (format!("b{encoded}"), format!("b4{encoded}"));
            assert_eq!(parse_text(Version::V4, &v4), message(data), "{v4}");
            assert_eq!(parse_text(Version::V3, &v3), message(data), "{v3}");
        }
        for broken in ["bA", "b-_8=", "bAQ ID", "bAQ==AQ", "bAQ=I", "b=", "b\u{e9}"] {
            assert_eq!(parse_text(Version::V4, broken), Err(PacketError::Base64), "{broken}");
        }
        assert_eq!(parse_text(Version::V3, "b"), Err(PacketError::Empty));
        assert_eq!(parse_text(Version::V3, "b2AA"), Err(PacketError::NotBinary(2)));
        assert_eq!(parse_text(Version::V3, "b9AA"), Err(PacketError::UnknownType('9')));
        assert_eq!(parse_text(Version::V3, "b\u{e9}"), Err(PacketError::UnknownType('\u{e9}')));
    }

    #[test]
    fn base64_is_written_for_clients_without_bytes() {
        let mut out = Vec::new();
        write_base64(Version::V4, &[1, 2, 3, 4], &mut out);
        out.push(b' ');
        write_base64(Version::V3, &[4, 1, 2, 3, 4], &mut out);
        out.push(b' ');
        write_base64(Version::V4, &[], &mut out);
        out.push(b' ');
        write_base64(Version::V3, &[4], &mut out);
        assert_eq!(out, b"bAQIDBA== b4AQIDBA== b b4");
    }

    #[test]
    fn the_version_is_chosen_as_in_the_official_server() {
        assert_eq!(Version::from_query(Some("4"), false), Ok(Version::V4));
        assert_eq!(Version::from_query(Some("4"), true), Ok(Version::V4));
        for other in [None, Some("3"), Some(""), Some("04"), Some("4.0"), Some("5"), Some("x")] {
            assert_eq!(Version::from_query(other, true), Ok(Version::V3), "{other:?}");
            assert_eq!(Version::from_query(other, false), Err(UnsupportedVersion), "{other:?}");
        }
    }

    #[test]
    fn open_is_what_the_official_server_writes() {
        let open = Open {
            sid: "bKKHt_dQLwcLb_NBAAAB",
            upgrades: &["websocket"],
            ping_interval_ms: 25_000,
            ping_timeout_ms: 20_000,
            max_payload: 1_000_000,
        };
        let mut out = Vec::new();
        open.write(&mut out);
        let expected = r#"0{"sid":"bKKHt_dQLwcLb_NBAAAB","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);

        let mut out = Vec::new();
        Open { sid: "\"\\", upgrades: &[], ..open }.write(&mut out);
        assert!(out.starts_with(br#"0{"sid":"\"\\","upgrades":[],"pingInterval""#));
    }
}
