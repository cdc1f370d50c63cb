//! The decoder of one connection. It remembers what one message alone does not tell: a packet
//! whose attachments are still on their way, or the state of a custom parser.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use super::decode_limits::DecodeLimits;
use super::error::ParseError;
use super::json;
use super::message::MessageRef;
use super::msgpack;
use super::packet::{Data, Packet, PacketKind};
use super::parser::{CustomDecoder, Parser};
use super::span::Spans;

/// The decoder of one connection. One pointer while nothing is pending.
///
/// ```text
///         text that announces attachments         binary, not the last one
/// Idle ------------------------------------> Awaiting <-----+
///  ^  \___ text or msgpack: packet            |  |   |      |
///  |                                          |  |   +------+
///  +------- the last attachment: packet ------+  +---> text: error
/// ```
///
/// After an error the connection must be closed; the decoder has forgotten what was pending.
#[derive(Debug, Default)]
pub struct Decoder {
    pending: Option<Box<Pending>>,
}

enum Pending {
    Attachments(Awaiting),
    Custom(Box<dyn CustomDecoder>),
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attachments(awaiting) => awaiting.fmt(f),
            Self::Custom(_) => f.write_str("Custom"),
        }
    }
}

/// A packet that waits for its attachments. It keeps the text and not the values in it: those
/// take many times the memory, and the peer decides how long to wait.
#[derive(Debug)]
struct Awaiting {
    kind: PacketKind,
    nsp: Cow<'static, str>,
    nsp_query: Option<String>,
    id: Option<u64>,
    name: Option<String>,
    text: Box<str>,
    spans: Spans,
    expected: usize,
    attachments: Vec<Bytes>,
    bytes: usize,
}

impl Decoder {
    /// A decoder at the start of a connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a packet waits for attachments.
    pub fn is_awaiting(&self) -> bool {
        matches!(self.pending.as_deref(), Some(Pending::Attachments(_)))
    }

    /// Takes a text message. Returns the packet, or `None` if attachments have to follow.
    pub fn text<'a>(
        &mut self,
        parser: &Parser,
        text: &'a str,
        limits: &DecodeLimits,
    ) -> Result<Option<Packet<'a>>, ParseError> {
        match parser {
            Parser::Json => {
                if self.pending.take().is_some() {
                    return Err(ParseError::UnexpectedText);
                }
                let json::Decoded { packet, attachments } = json::decode(text, limits)?;
                if attachments == 0 {
                    return Ok(Some(packet));
                }
                let awaiting = Awaiting::new(packet, attachments);
                self.pending = Some(Box::new(Pending::Attachments(awaiting)));
                Ok(None)
            }
            Parser::Msgpack => Err(ParseError::UnexpectedText),
            Parser::Custom(_) => self.custom(parser, MessageRef::Text(text), limits),
        }
    }

    /// Takes a binary message: an attachment, or with msgpack a whole packet. Returns the packet
    /// that it is or completes, `None` if more attachments have to follow.
    pub fn binary<'a>(
        &mut self,
        parser: &Parser,
        data: &'a [u8],
        limits: &DecodeLimits,
    ) -> Result<Option<Packet<'a>>, ParseError> {
        match parser {
            Parser::Json => self.attachment(data, limits),
            Parser::Msgpack => msgpack::decode(data, limits).map(Some),
            Parser::Custom(_) => self.custom(parser, MessageRef::Binary(data), limits),
        }
    }

    fn attachment(
        &mut self,
        data: &[u8],
        limits: &DecodeLimits,
    ) -> Result<Option<Packet<'static>>, ParseError> {
        let Some(mut pending) = self.pending.take() else {
            return Err(ParseError::UnexpectedBinary);
        };
        let Pending::Attachments(awaiting) = pending.as_mut() else {
            return Err(ParseError::UnexpectedBinary);
        };
        awaiting.bytes = awaiting.bytes.saturating_add(data.len());
        if awaiting.bytes > limits.attachment_bytes_max {
            return Err(ParseError::AttachmentsTooLarge);
        }
        awaiting.attachments.push(Bytes::copy_from_slice(data));
        if awaiting.attachments.len() < awaiting.expected {
            self.pending = Some(pending);
            return Ok(None);
        }
        match *pending {
            Pending::Attachments(awaiting) => awaiting.into_packet().map(Some),
            Pending::Custom(_) => Err(ParseError::UnexpectedBinary),
        }
    }

    fn custom(
        &mut self,
        parser: &Parser,
        message: MessageRef<'_>,
        limits: &DecodeLimits,
    ) -> Result<Option<Packet<'static>>, ParseError> {
        let Parser::Custom(parser) = parser else { return Err(ParseError::UnexpectedText) };
        let start = || Box::new(Pending::Custom(parser.decoder()));
        let Pending::Custom(decoder) = self.pending.get_or_insert_with(start).as_mut() else {
            return Err(ParseError::UnexpectedText);
        };
        match decoder.decode(message)? {
            Some(packet) => packet.into_packet(limits.nsp_len_max).map(Some),
            None => Ok(None),
        }
    }
}

impl Awaiting {
    fn new(packet: Packet<'_>, expected: usize) -> Self {
        let (text, spans) = match packet.data {
            Data::Json { text, spans } => (text.into(), spans),
            _ => (Box::from(""), Spans::new()),
        };
        Self {
            kind: packet.kind,
            nsp: if packet.nsp == "/" { "/".into() } else { packet.nsp.into_owned().into() },
            nsp_query: packet.nsp_query.map(Cow::into_owned),
            id: packet.id,
            name: packet.name.map(Cow::into_owned),
            text,
            spans,
            expected,
            attachments: Vec::new(),
            bytes: 0,
        }
    }

    fn into_packet(self) -> Result<Packet<'static>, ParseError> {
        let values = json::values_with_attachments(&self.text, &self.spans, &self.attachments)?;
        Ok(Packet {
            kind: self.kind,
            nsp: self.nsp,
            nsp_query: self.nsp_query.map(Cow::Owned),
            id: self.id,
            name: self.name.map(Cow::Owned),
            data: Data::Values(values),
        })
    }
}
