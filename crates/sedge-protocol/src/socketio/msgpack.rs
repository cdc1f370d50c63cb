//! The msgpack encoding, as `socket.io-msgpack-parser` writes and reads it: one map
//! `{type, data, nsp, id}` per packet, always one binary message. Version 3.0.2 of that package
//! still depends on notepack.io 2, so that JavaScript clients send its private extensions; what
//! notepack.io 3 writes instead is understood as well.
//!
//! What handlers see is the same as with JSON: structs are maps, types with a human-readable form
//! use it, dates arrive as ISO 8601 text. Beyond serde's data model, in detail:
//!
//! - a date (ext -1, or notepack 2's fixext 8 of type 0) becomes text with milliseconds, or null
//!   if it is out of JavaScript's range;
//! - notepack 2's `undefined` (fixext 1 of type 0) becomes null, its `ArrayBuffer` (ext 8, 16 or
//!   32 of type 0) binary data; any other ext becomes an array of its type and its data;
//! - map keys that are numbers, booleans or null become strings, as in JavaScript;
//! - whole doubles stay doubles when they are written (notepack writes them as integers; a reader
//!   sees no difference);
//! - ill-formed UTF-8 is replaced by U+FFFD, as in Node.
//!
//! Reading is done here and not by `rmp_serde`, which fails at most of these and at objects that
//! become Rust maps with numeric keys.

use std::borrow::Cow;

use serde::Serialize;

use super::decode_limits::DecodeLimits;
use super::error::{EncodeError, ParseError};
use super::message::{MessageBuf, MessageKind};
use super::msgpack_read::{Head, Reader};
use super::number::{float_to_js_string, whole};
use super::packet::{Data, Packet, PacketKind, split_nsp};
use super::ser::{ArgumentSink, write_arguments};
use super::span::{Span, Spans};

/// Decodes a binary message. The whole of it is scanned once, without recursion and without
/// believing any length it claims.
pub(super) fn decode<'a>(bytes: &'a [u8], limits: &DecodeLimits) -> Result<Packet<'a>, ParseError> {
    if u32::try_from(bytes.len()).is_err() {
        return Err(ParseError::TooLong);
    }
    let fields = Reader::new(bytes).packet()?;
    let kind = fields.kind.and_then(PacketKind::from_code).ok_or(ParseError::UnknownType)?;
    let nsp = fields.nsp.ok_or(ParseError::InvalidNamespace)?;
    let (nsp, nsp_query) = split_nsp(nsp, limits.nsp_len_max)?;
    let (name, spans) = payload(kind, fields.data, bytes)?;
    let data = Data::Msgpack { bytes, spans };
    let nsp_query = nsp_query.map(Cow::Borrowed);
    let packet = Packet { kind, nsp: nsp.into(), nsp_query, id: fields.id, name, data };
    packet.check_common()?;
    Ok(packet)
}

/// The entries of a packet's map, as far as they are known.
#[derive(Default)]
struct Fields<'a> {
    kind: Option<u64>,
    nsp: Option<&'a str>,
    id: Option<u64>,
    data: Payload,
}

/// The `data` of a packet. Null and `undefined` are the same as nothing: clients in other
/// languages write null where JavaScript leaves the key out.
#[derive(Default)]
enum Payload {
    #[default]
    Absent,
    List(Spans),
    Object(Span),
    Text(Span),
    Other,
}

/// Checks the payload against the form that `kind` demands; returns the name of an event and
/// where the arguments or the single payload are. As with JSON, an event or acknowledgement may have
/// none at all.
fn payload(
    kind: PacketKind,
    data: Payload,
    bytes: &[u8],
) -> Result<(Option<Cow<'_, str>>, Spans), ParseError> {
    match (kind, data) {
        (PacketKind::ConnectError, Payload::Absent) => Err(ParseError::InvalidPayload),
        (_, Payload::Absent) => Ok((None, Spans::new())),
        (PacketKind::Connect | PacketKind::ConnectError, Payload::Object(span))
        | (PacketKind::ConnectError, Payload::Text(span)) => Ok((None, Spans::from_slice(&[span]))),
        (PacketKind::Ack, Payload::List(spans)) => Ok((None, spans)),
        (PacketKind::Event, Payload::List(mut spans)) if !spans.is_empty() => {
            let name = spans.remove(0).bytes(bytes);
            let head = Reader::new(name).head();
            let name = match head.ok_or(ParseError::InvalidPayload)? {
                Head::Str(text) => String::from_utf8_lossy(text),
                Head::Uint(n) => Cow::Owned(n.to_string()),
                Head::Int(n) => Cow::Owned(n.to_string()),
                Head::Float(n) => Cow::Owned(float_to_js_string(n)),
                _ => return Err(ParseError::InvalidPayload),
            };
            Ok((Some(name), spans))
        }
        _ => Err(ParseError::InvalidPayload),
    }
}

impl<'a> Reader<'a> {
    /// The map that is a packet, to its last byte.
    fn packet(&mut self) -> Result<Fields<'a>, ParseError> {
        let Some(Head::Map(entries)) = self.head() else {
            return Err(ParseError::InvalidPayload);
        };
        let mut fields = Fields::default();
        for _ in 0..entries {
            let Some(Head::Str(key)) = self.head() else {
                return Err(ParseError::InvalidPayload);
            };
            match key {
                b"type" => fields.kind = self.number()?,
                b"id" => fields.id = self.number()?,
                b"nsp" => fields.nsp = Some(self.nsp()?),
                b"data" => fields.data = self.data()?,
                _ => self.skip()?,
            }
        }
        if self.is_at_end() { Ok(fields) } else { Err(ParseError::InvalidPayload) }
    }

    fn nsp(&mut self) -> Result<&'a str, ParseError> {
        match self.head() {
            Some(Head::Str(text)) => {
                simdutf8::basic::from_utf8(text).map_err(|_| ParseError::InvalidNamespace)
            }
            _ => Err(ParseError::InvalidNamespace),
        }
    }

    /// A packet's type or id. Whole doubles are taken too: not every client tells them apart. A whole
    /// number that is below zero or too large is none, as with JSON.
    fn number(&mut self) -> Result<Option<u64>, ParseError> {
        match self.head() {
            Some(Head::Uint(number)) => Ok(Some(number)),
            Some(Head::Float(n)) if n.fract() == 0.0 => Ok(whole(n)),
            Some(Head::Int(_)) => Ok(None),
            Some(head) if head.is_nothing() => Ok(None),
            _ => Err(ParseError::InvalidId),
        }
    }

    /// The value under `data`, with the places of its elements if it is an array.
    fn data(&mut self) -> Result<Payload, ParseError> {
        let start = self.pos;
        match self.head().ok_or(ParseError::InvalidPayload)? {
            Head::Array(count) => {
                let mut spans = Spans::new();
                for _ in 0..count {
                    let start = self.pos;
                    self.skip()?;
                    spans.push(Span::new(start, self.pos));
                }
                Ok(Payload::List(spans))
            }
            Head::Map(_) => {
                self.pos = start;
                self.skip()?;
                Ok(Payload::Object(Span::new(start, self.pos)))
            }
            Head::Str(_) => Ok(Payload::Text(Span::new(start, self.pos))),
            head if head.is_nothing() => Ok(Payload::Absent),
            _ => Ok(Payload::Other),
        }
    }
}

/// Writes an event (with a name) or an acknowledgement (without).
pub(super) fn encode_list<T: Serialize + ?Sized>(
    kind: PacketKind,
    nsp: &str,
    id: Option<u64>,
    name: Option<&str>,
    args: &T,
    out: &mut MessageBuf,
) -> Result<(), EncodeError> {
    let (bytes, _) = out.parts();
    bytes.push(0x83 + u8::from(id.is_some()));
    write_type(kind, bytes);
    write_str("data", bytes)?;
    write_arguments(args, &mut MsgpackSink { bytes: &mut *bytes, name })?;
    write_end(nsp, id, bytes)?;
    out.finish(MessageKind::Binary);
    Ok(())
}

/// Writes a packet that carries at most one value.
pub(super) fn encode_payload<T: Serialize + ?Sized>(
    kind: PacketKind,
    nsp: &str,
    payload: Option<&T>,
    out: &mut MessageBuf,
) -> Result<(), EncodeError> {
    let (bytes, _) = out.parts();
    bytes.push(0x82 + u8::from(payload.is_some()));
    write_type(kind, bytes);
    if let Some(payload) = payload {
        write_str("data", bytes)?;
        write_value(payload, bytes)?;
    }
    write_end(nsp, None, bytes)?;
    out.finish(MessageKind::Binary);
    Ok(())
}

struct MsgpackSink<'a> {
    bytes: &'a mut Vec<u8>,
    /// The name of an event, the first element of its list.
    name: Option<&'a str>,
}

impl ArgumentSink for MsgpackSink<'_> {
    fn begin(&mut self, count: usize) -> Result<(), EncodeError> {
        let count = count + usize::from(self.name.is_some());
        match u32::try_from(count).map_err(|_| EncodeError::TooManyArguments)? {
            count @ 0..0x10 => self.bytes.push(0x90 | count as u8),
            count @ 0x10..0x1_0000 => {
                self.bytes.push(0xdc);
                self.bytes.extend_from_slice(&(count as u16).to_be_bytes());
            }
            count => {
                self.bytes.push(0xdd);
                self.bytes.extend_from_slice(&count.to_be_bytes());
            }
        }
        match self.name {
            Some(name) => write_str(name, self.bytes),
            None => Ok(()),
        }
    }

    fn argument<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        write_value(value, self.bytes)
    }
}

fn write_value<T: Serialize + ?Sized>(value: &T, bytes: &mut Vec<u8>) -> Result<(), EncodeError> {
    let mut msgpack = rmp_serde::Serializer::new(bytes).with_struct_map().with_human_readable();
    value.serialize(&mut msgpack).map_err(|error| EncodeError::Serialize(error.to_string()))
}

fn write_str(text: &str, bytes: &mut Vec<u8>) -> Result<(), EncodeError> {
    write_value(text, bytes)
}

fn write_type(kind: PacketKind, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(b"\xa4type");
    bytes.push(kind.code());
}

fn write_end(nsp: &str, id: Option<u64>, bytes: &mut Vec<u8>) -> Result<(), EncodeError> {
    write_str("nsp", bytes)?;
    write_str(nsp, bytes)?;
    match id {
        Some(id) => write_id(id, bytes),
        None => Ok(()),
    }
}

fn write_id(id: u64, bytes: &mut Vec<u8>) -> Result<(), EncodeError> {
    write_str("id", bytes)?;
    write_value(&id, bytes)
}

/// The last entry of a packet with an id.
pub(super) fn id_entry(id: u64) -> Result<Vec<u8>, EncodeError> {
    let mut entry = Vec::with_capacity(12);
    write_id(id, &mut entry)?;
    Ok(entry)
}
