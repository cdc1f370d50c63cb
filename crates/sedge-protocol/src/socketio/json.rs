//! The default encoding: `type[attachments-][/nsp,][id][json]` as a text message, followed by one
//! binary message per attachment. In the JSON an attachment is `{"_placeholder":true,"num":N}`.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};

use bytes::Bytes;
use memchr::memchr;
use serde::Serialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::decode_limits::DecodeLimits;
use super::error::{EncodeError, ParseError};
use super::json_read;
use super::message::{Attachments, MessageBuf, MessageKind};
use super::number::float_to_js_string;
use super::packet::{Data, Packet, PacketKind, split_nsp};
use super::ser::{ArgumentSink, write_arguments};
use super::span::{Span, Spans};
use super::surrogates::replace_lone_surrogates;
use super::value::Value;

/// On the wire, `BINARY_EVENT` and `BINARY_ACK` lie this far above their plain siblings.
const BINARY_OFFSET: u8 = 3;

/// A text message, decoded: a packet, and how many attachments it still needs.
pub(super) struct Decoded<'a> {
    pub(super) packet: Packet<'a>,
    pub(super) attachments: usize,
}

/// Decodes a text message and checks it completely, except for the insides of JSON values: those
/// are only known to be well-formed. No recursion, whatever the nesting.
pub(super) fn decode<'a>(text: &'a str, limits: &DecodeLimits) -> Result<Decoded<'a>, ParseError> {
    if u32::try_from(text.len()).is_err() {
        return Err(ParseError::TooLong);
    }
    let mut rest = text;
    let (kind, binary) = take_kind(&mut rest)?;
    let attachments = if binary { take_attachments(&mut rest, limits)? } else { 0 };
    let (nsp, nsp_query) = take_nsp(&mut rest, limits)?;
    let id = take_id(&mut rest);
    let (name, data) = decode_payload(kind, text, rest)?;
    let nsp_query = nsp_query.map(Cow::Borrowed);
    let packet = Packet { kind, nsp: Cow::Borrowed(nsp), nsp_query, id, name, data };
    packet.check_common()?;
    Ok(Decoded { packet, attachments })
}

fn take_kind(rest: &mut &str) -> Result<(PacketKind, bool), ParseError> {
    let code = match rest.as_bytes().first() {
        Some(code @ b'0'..=b'6') => code - b'0',
        _ => return Err(ParseError::UnknownType),
    };
    *rest = rest.get(1..).unwrap_or_default();
    let binary = code >= PacketKind::Event.code() + BINARY_OFFSET;
    let code = if binary { code - BINARY_OFFSET } else { code };
    let kind = PacketKind::from_code(code.into()).ok_or(ParseError::UnknownType)?;
    Ok((kind, binary))
}

/// Splits the leading decimal digits off.
fn take_digits<'a>(rest: &mut &'a str) -> &'a str {
    let end = rest.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, after) = rest.split_at(end);
    *rest = after;
    digits
}

fn take_attachments(rest: &mut &str, limits: &DecodeLimits) -> Result<usize, ParseError> {
    let digits = take_digits(rest);
    *rest = rest.strip_prefix('-').ok_or(ParseError::IllegalAttachments)?;
    if digits.is_empty() {
        return Err(ParseError::IllegalAttachments);
    }
    // A count that does not even fit is certainly above the limit.
    match digits.parse::<usize>() {
        Ok(0) => Err(ParseError::IllegalAttachments),
        Ok(count) if count <= limits.attachments_max => Ok(count),
        _ => Err(ParseError::TooManyAttachments),
    }
}

/// The namespace ends at the first comma; without one (old clients leave it out when nothing
/// follows) it takes the rest of the text.
fn take_nsp<'a>(
    rest: &mut &'a str,
    limits: &DecodeLimits,
) -> Result<(&'a str, Option<&'a str>), ParseError> {
    let whole = *rest;
    if !whole.starts_with('/') {
        return Ok(("/", None));
    }
    let end = memchr(b',', whole.as_bytes()).unwrap_or(whole.len());
    *rest = whole.get(end + 1..).unwrap_or_default();
    split_nsp(whole.get(..end).unwrap_or_default(), limits.nsp_len_max)
}

/// None is there, or it does not fit in 64 bits: such an acknowledgement is nobody's, and such an event
/// stays unanswered.
fn take_id(rest: &mut &str) -> Option<u64> {
    take_digits(rest).parse().ok()
}

/// Checks `payload`, the end of `text`, against the form that `kind` demands. As in the official decoder,
/// an event or acknowledgement may have none at all.
fn decode_payload<'a>(
    kind: PacketKind,
    text: &'a str,
    payload: &'a str,
) -> Result<(Option<Cow<'a, str>>, Data<'a>), ParseError> {
    match kind {
        PacketKind::ConnectError if payload.is_empty() => Err(ParseError::InvalidPayload),
        _ if payload.is_empty() => Ok((None, Data::None)),
        PacketKind::Disconnect => Err(ParseError::InvalidPayload),
        PacketKind::Connect | PacketKind::ConnectError => {
            let raw: &RawValue =
                serde_json::from_str(payload).map_err(|_| ParseError::InvalidPayload)?;
            let allowed = match raw.get().as_bytes().first() {
                Some(b'{') => true,
                Some(b'"') => kind == PacketKind::ConnectError,
                _ => false,
            };
            if !allowed {
                return Err(ParseError::InvalidPayload);
            }
            let spans = Spans::from_slice(&[span_in(text, raw.get())]);
            Ok((None, Data::Json { text, spans }))
        }
        PacketKind::Ack => {
            let (_, spans) = split_array(text, payload, false)?;
            Ok((None, Data::Json { text, spans }))
        }
        PacketKind::Event => {
            let (name, spans) = split_array(text, payload, true)?;
            let name = event_name(name.ok_or(ParseError::InvalidPayload)?)?;
            Ok((Some(name), Data::Json { text, spans }))
        }
    }
}

/// Where `part`, a slice of `text`, lies in it.
fn span_in(text: &str, part: &str) -> Span {
    let start = part.as_ptr() as usize - text.as_ptr() as usize;
    Span::new(start, start + part.len())
}

/// Cuts a JSON array into its elements in one scan; the first one apart if it is a name.
fn split_array<'a>(
    text: &'a str,
    payload: &'a str,
    named: bool,
) -> Result<(Option<&'a str>, Spans), ParseError> {
    let mut json = serde_json::Deserializer::from_str(payload);
    let elements = json
        .deserialize_seq(Splitter { text, named })
        .and_then(|elements| json.end().map(|()| elements));
    elements.map_err(|_| ParseError::InvalidPayload)
}

struct Splitter<'a> {
    text: &'a str,
    named: bool,
}

impl<'a> Visitor<'a> for Splitter<'a> {
    type Value = (Option<&'a str>, Spans);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let name =
            if self.named { seq.next_element::<&RawValue>()?.map(RawValue::get) } else { None };
        let mut spans = Spans::new();
        while let Some(element) = seq.next_element::<&RawValue>()? {
            spans.push(span_in(self.text, element.get()));
        }
        Ok((name, spans))
    }
}

/// The name of an event from its JSON text: a string, or a number as JavaScript prints it.
fn event_name(raw: &str) -> Result<Cow<'_, str>, ParseError> {
    let plain = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    if let Some(text) = plain {
        if !text.contains('\\') {
            return Ok(Cow::Borrowed(text));
        }
        let text = serde_json::from_str(raw).or_else(|error| match replace_lone_surrogates(raw) {
            Some(repaired) => serde_json::from_str(&repaired),
            None => Err(error),
        });
        return text.map(Cow::Owned).map_err(|_| ParseError::InvalidPayload);
    }
    // Up to 15 digits a double is exact, so that the text is what JavaScript would print.
    if raw.len() <= 15 && raw.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(Cow::Borrowed(raw));
    }
    // Beyond the range of doubles it is infinite, there and here.
    let is_number = raw.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    let number = raw.parse().ok().filter(|_| is_number).ok_or(ParseError::InvalidPayload)?;
    Ok(Cow::Owned(float_to_js_string(number)))
}

/// Decodes the elements of a packet that has attachments, and puts those in place.
pub(super) fn values_with_attachments(
    text: &str,
    spans: &[Span],
    attachments: &[Bytes],
) -> Result<Vec<Value>, ParseError> {
    let value = |span: &Span| {
        let json = span.text(text);
        if let Some(number) = json.strip_prefix(PLACEHOLDER).and_then(|r| r.strip_suffix('}'))
            && let Ok(index) = number.parse::<usize>()
        {
            let attachment = attachments.get(index).ok_or(ParseError::IllegalAttachments)?;
            return Ok(Value::Binary(attachment.clone()));
        }
        let read = serde_json::from_str(json).ok();
        let read = read.or_else(|| json_read::read(json).map(|(value, _)| value));
        let mut value: Value = read.ok_or(ParseError::InvalidPayload)?;
        fill_placeholders(&mut value, attachments)?;
        Ok(value)
    };
    spans.iter().map(value).collect()
}

/// Replaces every object whose `_placeholder` is `true`, whatever else it contains. The recursion
/// is bounded by the depth to which a value can be decoded.
fn fill_placeholders(value: &mut Value, attachments: &[Bytes]) -> Result<(), ParseError> {
    if let Value::Bool(true) = value["_placeholder"] {
        // As in JavaScript, a double that is whole will do: 1.0 is 1.
        let index = match &value["num"] {
            Value::Number(number) => number.as_u64(),
            _ => None,
        };
        let index = index.and_then(|index| usize::try_from(index).ok());
        let attachment = index.and_then(|index| attachments.get(index));
        *value = Value::Binary(attachment.ok_or(ParseError::IllegalAttachments)?.clone());
        return Ok(());
    }
    match value {
        Value::Array(elements) => {
            elements.iter_mut().try_for_each(|element| fill_placeholders(element, attachments))
        }
        Value::Object(entries) => {
            entries.iter_mut().try_for_each(|(_, value)| fill_placeholders(value, attachments))
        }
        _ => Ok(()),
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
    let (text, attachments) = out.parts();
    write_header(kind, nsp, id, text);
    text.push(b'[');
    if let Some(name) = name {
        serde_json::to_writer(&mut *text, name).map_err(|e| serialize_error(&e))?;
    }
    let empty = name.is_none();
    let mut sink = JsonSink { text: &mut *text, attachments: &mut *attachments, empty };
    write_arguments(args, &mut sink)?;
    text.push(b']');
    if attachments.len() > 0 {
        put_count(kind, attachments.len(), text);
    }
    out.finish(MessageKind::Text);
    Ok(())
}

/// Turns the head of a finished packet into that of its binary sibling. The count stands before what
/// it counts, so that the rest has to move; only packets with attachments pay for that.
fn put_count(kind: PacketKind, count: usize, text: &mut Vec<u8>) {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(count).as_bytes();
    let (old, more) = (text.len(), digits.len() + 1);
    text.resize(old + more, 0);
    text.copy_within(1..old, 1 + more);
    text[0] = b'0' + kind.code() + BINARY_OFFSET;
    text[1..more].copy_from_slice(digits);
    text[more] = b'-';
}

/// Writes a packet that carries at most one value. Binary data has no attachments here: as in the
/// official encoder it becomes an array of numbers.
pub(super) fn encode_payload<T: Serialize + ?Sized>(
    kind: PacketKind,
    nsp: &str,
    payload: Option<&T>,
    out: &mut MessageBuf,
) -> Result<(), EncodeError> {
    let (text, _) = out.parts();
    write_header(kind, nsp, None, text);
    if let Some(payload) = payload {
        serde_json::to_writer(&mut *text, payload).map_err(|e| serialize_error(&e))?;
    }
    out.finish(MessageKind::Text);
    Ok(())
}

fn serialize_error(error: &serde_json::Error) -> EncodeError {
    EncodeError::Serialize(error.to_string())
}

fn write_header(kind: PacketKind, nsp: &str, id: Option<u64>, text: &mut Vec<u8>) {
    text.push(b'0' + kind.code());
    if nsp != "/" {
        text.extend_from_slice(nsp.as_bytes());
        text.push(b',');
    }
    if let Some(id) = id {
        text.extend_from_slice(itoa::Buffer::new().format(id).as_bytes());
    }
}

struct JsonSink<'a> {
    text: &'a mut Vec<u8>,
    attachments: &'a mut Attachments,
    /// Nothing has been written into the array yet.
    empty: bool,
}

impl ArgumentSink for JsonSink<'_> {
    fn begin(&mut self, _: usize) -> Result<(), EncodeError> {
        Ok(())
    }

    fn argument<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        if !self.empty {
            self.text.push(b',');
        }
        self.empty = false;
        let formatter = Placeholders(&mut *self.attachments);
        let mut json = serde_json::Serializer::with_formatter(&mut *self.text, formatter);
        value.serialize(&mut json).map_err(|error| serialize_error(&error))
    }
}

/// A placeholder up to its number, as every encoder writes it.
const PLACEHOLDER: &str = r#"{"_placeholder":true,"num":"#;

/// Compact JSON in which byte arrays are placeholders.
struct Placeholders<'a>(&'a mut Attachments);

impl serde_json::ser::Formatter for Placeholders<'_> {
    fn write_byte_array<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        value: &[u8],
    ) -> io::Result<()> {
        writer.write_all(PLACEHOLDER.as_bytes())?;
        writer.write_all(itoa::Buffer::new().format(self.0.push(value)).as_bytes())?;
        writer.write_all(b"}")
    }
}
