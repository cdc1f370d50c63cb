//! The packet: what Socket.IO says over an Engine.IO connection, as a value that borrows the
//! message it was decoded from.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

use super::args::{Args, ArgsView};
use super::error::{ArgsError, ParseError};
use super::span::Spans;
use super::value::Value;

/// Event names that never travel: they mean something else on one of the two sides. A packet
/// that carries one is refused.
pub const RESERVED_EVENTS: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// Whether `name` is one of [`RESERVED_EVENTS`].
pub fn is_reserved_event(name: &str) -> bool {
    RESERVED_EVENTS.contains(&name)
}

/// What a packet says. `BINARY_EVENT` and `BINARY_ACK` are no kinds of their own: they are how the
/// JSON form spells an event or acknowledgement that has attachments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PacketKind {
    /// Asks for, or confirms, membership of a namespace.
    Connect,
    /// Leaves a namespace.
    Disconnect,
    /// An event with its arguments; with an id it asks for an acknowledgement.
    Event,
    /// Answers the event with the same id.
    Ack,
    /// Refuses membership of a namespace (`ERROR` before protocol 5).
    ConnectError,
}

impl PacketKind {
    /// The number on the wire, 0 to 4.
    pub const fn code(self) -> u8 {
        match self {
            Self::Connect => 0,
            Self::Disconnect => 1,
            Self::Event => 2,
            Self::Ack => 3,
            Self::ConnectError => 4,
        }
    }

    pub(super) const fn from_code(code: u64) -> Option<Self> {
        Some(match code {
            0 => Self::Connect,
            1 => Self::Disconnect,
            2 => Self::Event,
            3 => Self::Ack,
            4 => Self::ConnectError,
            _ => return None,
        })
    }
}

/// A decoded packet. It is valid: an event's name is not reserved, an acknowledgement has no payload but a
/// list, and so on (see [`ParseError`] for the rules).
#[derive(Debug, Clone)]
pub struct Packet<'a> {
    /// What the packet says.
    pub kind: PacketKind,
    /// The namespace without its query string; `/` if none was named.
    pub nsp: Cow<'a, str>,
    /// What follows a `?` in the namespace. Clients of Socket.IO 1 and 2 put the query of their
    /// CONNECT there; in later protocols the `?` has no meaning.
    pub nsp_query: Option<Cow<'a, str>>,
    /// Of an event: the acknowledgement it wants. Of an acknowledgement: the event it answers; without
    /// one it answers nothing. An id that does not fit in 64 bits is none.
    pub id: Option<u64>,
    /// Of an event with a payload: its name, decoded.
    pub(super) name: Option<Cow<'a, str>>,
    pub(super) data: Data<'a>,
}

/// The payload, already checked and cut into elements: the arguments of an event or
/// acknowledgement, or the single payload of a CONNECT or `CONNECT_ERROR`.
#[derive(Debug, Clone)]
pub(super) enum Data<'a> {
    /// No payload at all.
    None,
    /// JSON without attachments.
    Json { text: &'a str, spans: Spans },
    /// msgpack.
    Msgpack { bytes: &'a [u8], spans: Spans },
    /// JSON with its attachments put in place, or the work of a custom parser.
    Values(Vec<Value>),
}

/// The name and arguments of an event.
#[derive(Debug, Clone)]
pub struct Event<'p> {
    /// The event's name; a number is shown as JavaScript would print it.
    pub name: &'p str,
    /// The arguments after the name.
    pub args: Args<'p>,
}

impl Packet<'_> {
    /// The name and arguments of an event, `None` for any other packet, and for an event without any
    /// payload: some clients send such, and it means nothing. Costs nothing: both were found when the
    /// packet was decoded.
    pub fn event(&self) -> Option<Event<'_>> {
        self.name.as_deref().map(|name| Event { name, args: self.args() })
    }

    /// The arguments of an event (without its name) or of an acknowledgement; empty for any
    /// other packet.
    pub fn args(&self) -> Args<'_> {
        match self.kind {
            PacketKind::Event | PacketKind::Ack => Args::from_view(self.view()),
            _ => Args::default(),
        }
    }

    /// The payload of a CONNECT (the client's `auth` object) or `CONNECT_ERROR` (an object; a bare
    /// string from Socket.IO 1 and 2), `None` if the packet carries none.
    pub fn payload<T: DeserializeOwned>(&self) -> Result<Option<T>, ArgsError> {
        if matches!(self.kind, PacketKind::Event | PacketKind::Ack) {
            return Ok(None);
        }
        match self.view() {
            view if view.is_empty() => Ok(None),
            view => view.element(0).map(Some).map_err(|error| match error {
                ArgsError::Invalid { message, .. } => ArgsError::Payload(message),
                other => other,
            }),
        }
    }

    /// The packet as plain values, as custom parsers take them. Fails if a value cannot be
    /// represented: nested too deeply, or broken inside (JSON is only fully read when decoded).
    pub fn to_value_packet(&self) -> Result<ValuePacket, ArgsError> {
        let mut values = self.view().to_values()?;
        let data = match self.kind {
            PacketKind::Event => self.name.as_deref().map(|name| {
                values.insert(0, Value::from(name));
                Value::Array(values)
            }),
            PacketKind::Ack => Some(Value::Array(values)),
            _ => values.pop(),
        };
        let nsp = match &self.nsp_query {
            Some(query) => format!("{}?{query}", self.nsp),
            None => self.nsp.to_string(),
        };
        Ok(ValuePacket { kind: self.kind, nsp, id: self.id, data })
    }

    pub(super) fn view(&self) -> ArgsView<'_> {
        match &self.data {
            Data::None => ArgsView::Values(&[]),
            Data::Json { text, spans } => ArgsView::Json { text, spans },
            Data::Msgpack { bytes, spans } => ArgsView::Msgpack { bytes, spans },
            Data::Values(values) => ArgsView::Values(values),
        }
    }
}

/// A packet as custom parsers see it: the payload is one [`Value`].
#[derive(Debug, Clone, PartialEq)]
pub struct ValuePacket {
    /// What the packet says.
    pub kind: PacketKind,
    /// The namespace, `/` for the main one. It may carry a query string after `?`.
    pub nsp: String,
    /// See [`Packet::id`].
    pub id: Option<u64>,
    /// An event: an array of its name and arguments. An acknowledgement: the array of arguments. (Of both,
    /// nothing is taken for a payload that a client has left out.)
    /// CONNECT: an object or nothing. `CONNECT_ERROR`: an object or a string. DISCONNECT: nothing.
    pub data: Option<Value>,
}

impl ValuePacket {
    /// Checks the rules that hold for every packet, whatever parser it came from.
    pub(super) fn into_packet(self, nsp_len_max: usize) -> Result<Packet<'static>, ParseError> {
        let mut name = None;
        let values = match (self.kind, self.data) {
            (PacketKind::Event, Some(Value::Array(mut values))) => {
                if values.is_empty() {
                    return Err(ParseError::InvalidPayload);
                }
                name = Some(Cow::Owned(match values.remove(0) {
                    Value::String(name) => name,
                    Value::Number(number) => number.to_js_string(),
                    _ => return Err(ParseError::InvalidPayload),
                }));
                values
            }
            (PacketKind::Ack, Some(Value::Array(values))) => values,
            (PacketKind::ConnectError, None) => return Err(ParseError::InvalidPayload),
            (_, None) => Vec::new(),
            (PacketKind::Connect | PacketKind::ConnectError, Some(object @ Value::Object(_)))
            | (PacketKind::ConnectError, Some(object @ Value::String(_))) => vec![object],
            _ => return Err(ParseError::InvalidPayload),
        };
        let (nsp, nsp_query) = split_nsp(&self.nsp, nsp_len_max)?;
        let (nsp, nsp_query) = (nsp.to_owned().into(), nsp_query.map(|q| q.to_owned().into()));
        let data = if values.is_empty() { Data::None } else { Data::Values(values) };
        let packet = Packet { kind: self.kind, nsp, nsp_query, id: self.id, name, data };
        packet.check_common()?;
        Ok(packet)
    }
}

impl Packet<'_> {
    /// Rules that do not depend on the encoding.
    pub(super) fn check_common(&self) -> Result<(), ParseError> {
        match self.name.as_deref() {
            Some(name) if is_reserved_event(name) => Err(ParseError::ReservedEvent),
            _ => Ok(()),
        }
    }
}

/// Splits a namespace from its query and checks both. The limit is on the name only: the query
/// is never stored by name, and the message's own limit bounds it.
pub(super) fn split_nsp(nsp: &str, len_max: usize) -> Result<(&str, Option<&str>), ParseError> {
    let (nsp, query) = match nsp.split_once('?') {
        Some((nsp, query)) => (nsp, Some(query)),
        None => (nsp, None),
    };
    if !nsp.starts_with('/') {
        return Err(ParseError::InvalidNamespace);
    }
    if nsp.len() > len_max {
        return Err(ParseError::NamespaceTooLong);
    }
    Ok((nsp, query))
}
