//! Reading the polling bodies of Engine.IO 3: the text form, whose lengths count UTF-16 code units,
//! and the binary form, whose lengths count bytes.

use super::packet::{Packet, Version, parse_binary, parse_text};
use super::payload::PayloadError;
use crate::limits::{MAX_LENGTH_DIGITS, MAX_PACKETS_PER_PAYLOAD};

/// Opens a text packet in the binary form.
pub(super) const TEXT_MARK: u8 = 0;
/// Opens a binary packet in the binary form.
pub(super) const BINARY_MARK: u8 = 1;
/// Ends the length in the binary form.
pub(super) const LENGTH_END: u8 = 0xff;

/// Reads a version 3 text body, `<length>:<packet>…`, lengths in UTF-16 code units (JavaScript's
/// `length`). Packets are handed out one by one; the first error is the last item, and the packets
/// before it count. Packets of length 0 are skipped, as in the official parser; an empty body is an
/// error.
///
/// Lengths are plain decimal numbers: the official parser takes whatever JavaScript's `Number`
/// understands (`1e1`, ` 5`, `0x5`, `05`), which no client sends.
pub fn decode_v3_text(body: &str) -> DecodeV3Text<'_> {
    DecodeV3Text { rest: body, state: State::Start, packets: 0 }
}

/// Reads a version 3 binary body (`application/octet-stream`). Packets are handed out one by one;
/// the first error is the last item. An empty body holds no packet and no error, as in the official
/// parser, and as the official Java client writes it.
///
/// The official parser splits the whole body first, so it drops every packet of a body whose lengths
/// are broken; here the packets before the error count, as they do in the text form.
pub fn decode_v3_binary(body: &[u8]) -> DecodeV3Binary<'_> {
    DecodeV3Binary { rest: body, packets: 0 }
}

/// The packets of a version 3 text body; see [`decode_v3_text`].
#[derive(Debug, Clone)]
pub struct DecodeV3Text<'a> {
    rest: &'a str,
    state: State,
    packets: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing read yet: an empty body is an error here, not the end.
    Start,
    /// Between two packets.
    Between,
    /// After an error.
    Failed,
}

impl<'a> DecodeV3Text<'a> {
    /// The next element, which may be empty.
    fn element(&mut self) -> Result<&'a str, PayloadError> {
        if self.packets == MAX_PACKETS_PER_PAYLOAD {
            return Err(PayloadError::TooManyPackets);
        }
        self.packets += 1;
        let bytes = self.rest.as_bytes();
        // Looking no further than a length can reach keeps bad input cheap.
        let head = &bytes[..bytes.len().min(MAX_LENGTH_DIGITS + 1)];
        let colon = memchr::memchr(b':', head).ok_or(PayloadError::Length)?;
        let digits = head[..colon].iter().map(|byte| byte.wrapping_sub(b'0'));
        let units = parse_length(digits)?;
        let content = &self.rest[colon + 1..];
        let end = utf16_prefix(content, units)?;
        let (packet, rest) = content.split_at(end);
        self.rest = rest;
        Ok(packet)
    }
}

impl<'a> Iterator for DecodeV3Text<'a> {
    type Item = Result<Packet<'a>, PayloadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.state {
                State::Failed => return None,
                State::Between if self.rest.is_empty() => return None,
                State::Start if self.rest.is_empty() => {
                    self.state = State::Failed;
                    return Some(Err(PayloadError::Empty));
                }
                State::Start | State::Between => self.state = State::Between,
            }
            let item = match self.element() {
                Ok("") => continue,
                Ok(text) => parse_text(Version::V3, text).map_err(PayloadError::Packet),
                Err(error) => Err(error),
            };
            if item.is_err() {
                self.state = State::Failed;
            }
            return Some(item);
        }
    }
}

impl std::iter::FusedIterator for DecodeV3Text<'_> {}

/// The packets of a version 3 binary body; see [`decode_v3_binary`].
#[derive(Debug, Clone)]
pub struct DecodeV3Binary<'a> {
    /// What is left; empty after an error.
    rest: &'a [u8],
    packets: usize,
}

impl<'a> DecodeV3Binary<'a> {
    fn packet(&mut self, mark: u8, tail: &'a [u8]) -> Result<Packet<'a>, PayloadError> {
        if self.packets == MAX_PACKETS_PER_PAYLOAD {
            return Err(PayloadError::TooManyPackets);
        }
        self.packets += 1;
        let head = &tail[..tail.len().min(MAX_LENGTH_DIGITS + 1)];
        let end = memchr::memchr(LENGTH_END, head).ok_or(PayloadError::Length)?;
        let length = parse_length(head[..end].iter().copied())?;
        let content = &tail[end + 1..];
        let (data, rest) = content.split_at_checked(length).ok_or(PayloadError::Truncated)?;
        let packet = match mark {
            TEXT_MARK => {
                let text = simdutf8::basic::from_utf8(data).map_err(|_| PayloadError::Utf8)?;
                parse_text(Version::V3, text)?
            }
            BINARY_MARK => parse_binary(Version::V3, data)?,
            other => return Err(PayloadError::Mark(other)),
        };
        self.rest = rest;
        Ok(packet)
    }
}

impl<'a> Iterator for DecodeV3Binary<'a> {
    type Item = Result<Packet<'a>, PayloadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (&mark, tail) = self.rest.split_first()?;
        let item = self.packet(mark, tail);
        if item.is_err() {
            self.rest = &[];
        }
        Some(item)
    }
}

impl std::iter::FusedIterator for DecodeV3Binary<'_> {}

/// The number with these decimal digits (values, not characters), without leading zeros.
fn parse_length(digits: impl ExactSizeIterator<Item = u8>) -> Result<usize, PayloadError> {
    let count = digits.len();
    let mut length: u64 = 0;
    for (index, digit) in digits.enumerate() {
        if digit > 9 || (index == 0 && digit == 0 && count > 1) {
            return Err(PayloadError::Length);
        }
        length = length * 10 + u64::from(digit);
    }
    if count == 0 {
        return Err(PayloadError::Length);
    }
    usize::try_from(length).map_err(|_| PayloadError::Truncated)
}

/// The byte index at which `units` UTF-16 code units of `text` end.
fn utf16_prefix(text: &str, units: usize) -> Result<usize, PayloadError> {
    // A character has at least as many bytes as code units, so a claim beyond this cannot hold.
    let ascii = text.as_bytes().get(..units).ok_or(PayloadError::Truncated)?;
    if ascii.is_ascii() {
        return Ok(units);
    }
    let mut left = units;
    for (index, character) in text.char_indices() {
        if left == 0 {
            return Ok(index);
        }
        left = left.checked_sub(character.len_utf16()).ok_or(PayloadError::SplitCharacter)?;
    }
    if left == 0 { Ok(text.len()) } else { Err(PayloadError::Truncated) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::packet::{Data, PacketError, PacketType};

    type Item<'a> = Result<Packet<'a>, PayloadError>;

    fn text(body: &str) -> Vec<Item<'_>> {
        decode_v3_text(body).collect()
    }

    fn binary(body: &[u8]) -> Vec<Item<'_>> {
        decode_v3_binary(body).collect()
    }

    #[expect(clippy::unnecessary_wraps, reason = "expectations have the type of what is compared")]
    fn message(data: &str) -> Item<'_> {
        Ok(Packet { kind: PacketType::Message, data: Data::Text(data) })
    }

    #[expect(clippy::unnecessary_wraps, reason = "expectations have the type of what is compared")]
    fn bytes(data: &[u8]) -> Item<'_> {
        Ok(Packet { kind: PacketType::Message, data: Data::Binary(data.into()) })
    }

    fn unknown<'a>(first: char) -> Item<'a> {
        Err(PayloadError::Packet(PacketError::UnknownType(first)))
    }

    #[test]
    fn lengths_count_utf16_code_units() {
        assert_eq!(text("6:4hello2:4\u{20ac}"), [message("hello"), message("\u{20ac}")]);
        let body = "5:4\u{1f600}\u{20ac}a2:4b";
        assert_eq!(text(body), [message("\u{1f600}\u{20ac}a"), message("b")]);
        assert_eq!(text("2:4\u{20ac}10:b4AQIDBA=="), [message("\u{20ac}"), bytes(&[1, 2, 3, 4])]);
    }

    #[test]
    fn empty_packets_are_skipped_and_an_empty_body_is_an_error() {
        assert_eq!(text(""), [Err(PayloadError::Empty)]);
        assert_eq!(text("0:"), []);
        assert_eq!(text("0:2:4a0:"), [message("a")]);
    }

    #[test]
    fn lengths_that_do_not_fit_are_errors() {
        for body in ["1:", "2:4", "3:4a", "4:4\u{20ac}", "9999999999:4"] {
            assert_eq!(text(body), [Err(PayloadError::Truncated)], "{body}");
        }
        assert_eq!(text("2:4\u{1f600}"), [Err(PayloadError::SplitCharacter)]);
        assert_eq!(text("2:4a2:4"), [message("a"), Err(PayloadError::Truncated)]);
    }

    /// Much of this the official parser accepts, because JavaScript can make a number of it.
    #[test]
    fn lengths_are_plain_decimal_numbers() {
        for body in [
            ":4",
            "4",
            "12",
            "02:4a",
            "00:",
            "+2:4a",
            "-1:4",
            " 1:4",
            "1 :4",
            "1.0:4",
            "1e0:4",
            "0x1:4",
            "\u{661}:4",
            "1\u{20ac}:4",
            "00000000001:4",
            "99999999999:4",
            "1",
            "NaN:4",
        ] {
            assert_eq!(text(body), [Err(PayloadError::Length)], "{body}");
        }
        assert_eq!(text("1:4x"), [message(""), Err(PayloadError::Length)]);
        assert_eq!(text("1:41:74:4abc"), [message(""), unknown('7')]);
    }

    #[test]
    fn the_binary_form_counts_bytes() {
        // From the protocol's document, with the length corrected to what its own parser writes.
        let body = b"\x00\x04\xff4\xe2\x82\xac\x01\x05\xff\x04\x01\x02\x03\x04";
        assert_eq!(binary(body), [message("\u{20ac}"), bytes(&[1, 2, 3, 4])]);
        let mut long = b"\x01\x01\x02\x01\xff\x04".to_vec();
        long.extend([7; 120]);
        assert_eq!(binary(&long), [bytes(&[7; 120])]);
        // Base64 is understood here too.
        assert_eq!(binary(b"\x00\x06\xffb4AQID"), [bytes(&[1, 2, 3])]);
        assert_eq!(binary(b""), []);
    }

    /// The official parser cuts lengths to what is there and reads any digits; no client needs it.
    #[test]
    fn malformed_binary_bodies() {
        for (body, error) in [
            (&b"\x00"[..], PayloadError::Length),
            (b"\x00\x01", PayloadError::Length),
            (b"\x00\xff4", PayloadError::Length),
            (b"\x00\x00\x01\xff4", PayloadError::Length),
            (b"\x00\x0a\xff4", PayloadError::Length),
            (b"\x001\xff4", PayloadError::Length),
            (b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\xff4", PayloadError::Length),
            (b"\x00\x02\xff4", PayloadError::Truncated),
            (b"\x01\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\xff\x04", PayloadError::Truncated),
            (b"\x02\x01\xff4", PayloadError::Mark(2)),
            (b"\x00\x02\xff4\xa9", PayloadError::Utf8),
            (b"\x00\x00\xff", PayloadError::Packet(PacketError::Empty)),
            (b"\x01\x00\xff", PayloadError::Packet(PacketError::Empty)),
            (b"\x01\x01\xff\x02", PayloadError::Packet(PacketError::NotBinary(2))),
        ] {
            assert_eq!(binary(body), [Err(error)], "{body:?}");
            let valid_first = [b"\x00\x02\xff4a", body].concat();
            assert_eq!(binary(&valid_first), [message("a"), Err(error)], "{body:?}");
        }
    }

    #[test]
    fn the_number_of_packets_is_limited() {
        // Skipped packets count as well: they cost the same.
        for packet in ["0:", "1:3"] {
            let body = packet.repeat(MAX_PACKETS_PER_PAYLOAD);
            assert!(decode_v3_text(&body).all(|item| item.is_ok()));
            let last = decode_v3_text(&(body + packet)).last().map(|item| item.map(|p| p.kind));
            assert_eq!(last, Some(Err(PayloadError::TooManyPackets)));
        }
        let body = b"\x00\x01\xff3".repeat(MAX_PACKETS_PER_PAYLOAD);
        assert!(decode_v3_binary(&body).all(|item| item.is_ok()));
        let body = [&body[..], b"\x00\x01\xff3"].concat();
        assert_eq!(decode_v3_binary(&body).last(), Some(Err(PayloadError::TooManyPackets)));
    }
}
