//! The choice of an encoding, and the trait for encodings of the user's own.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::error::{EncodeError, ParseError};
use super::message::{Message, MessageBuf, MessageKind, MessageRef};
use super::packet::{PacketKind, ValuePacket, is_reserved_event};
use super::ser::write_arguments;
use super::value::Value;
use super::value_sink::ValueSink;
use super::{json, msgpack};

/// How packets travel. Server and clients must use the same.
#[derive(Clone, Default)]
pub enum Parser {
    /// The default: JSON text, binary data as attachments.
    #[default]
    Json,
    /// `socket.io-msgpack-parser`.
    Msgpack,
    /// The user's own.
    Custom(Arc<dyn CustomParser>),
}

/// An encoding of the user's own. It works on plain values; reserved names, the forms of payloads
/// and namespaces are checked for it.
pub trait CustomParser: Send + Sync {
    /// The messages that `packet` becomes, in the order in which they are sent.
    fn encode(&self, packet: &ValuePacket) -> Result<Vec<Message>, EncodeError>;

    /// A decoder for a new connection.
    fn decoder(&self) -> Box<dyn CustomDecoder>;
}

/// The receiving side of a [`CustomParser`] on one connection.
pub trait CustomDecoder: Send {
    /// Takes a message. Returns the packet that it is or completes, `None` if more has to follow.
    /// An error closes the connection; [`ParseError::Custom`] can say why.
    ///
    /// Values must not be nested deeper than [`super::DEPTH_MAX`].
    fn decode(&mut self, message: MessageRef<'_>) -> Result<Option<ValuePacket>, ParseError>;
}

/// Encoding. Each method clears `out` and leaves the messages of one packet there, or nothing if
/// it fails.
///
/// **Arguments** (`args`): a tuple or an array `[T; N]` is the list of arguments; `()` is the
/// empty list; anything else is one argument, a `Vec`, a slice and JSON's null too. An array that is to be
/// one argument is written `(array,)` or `&array[..]`; see [`super::ArgList`] for lists whose length is
/// not known beforehand.
///
/// **Binary data** is whatever serializes as serde's bytes: `bytes::Bytes`, the types of
/// `serde_bytes`, [`Value::Binary`]. A `Vec<u8>` is an array of numbers. The official parser
/// refuses to receive more than ten attachments per packet.
///
/// **Namespaces** start with `/` and contain no comma; the caller has seen to that.
///
/// With msgpack, a map's keys keep their type, non-finite numbers stay what they are (in JSON
/// they are null), and a unit struct is an empty array (in JSON it is null).
impl Parser {
    /// An event, with an id if an acknowledgement is wanted. Reserved names are refused.
    pub fn event<T: Serialize + ?Sized>(
        &self,
        nsp: &str,
        id: Option<u64>,
        name: &str,
        args: &T,
        out: &mut MessageBuf,
    ) -> Result<(), EncodeError> {
        if is_reserved_event(name) {
            out.clear();
            return Err(EncodeError::ReservedEvent(name.to_owned()));
        }
        self.list(PacketKind::Event, nsp, id, Some(name), args, out)
    }

    /// The answer to the event that asked with `id`.
    pub fn ack<T: Serialize + ?Sized>(
        &self,
        nsp: &str,
        id: u64,
        args: &T,
        out: &mut MessageBuf,
    ) -> Result<(), EncodeError> {
        self.list(PacketKind::Ack, nsp, Some(id), None, args, out)
    }

    /// A CONNECT: from protocol 5 on with an object, before without any payload
    /// (`None::<&()>`).
    pub fn connect<T: Serialize + ?Sized>(
        &self,
        nsp: &str,
        payload: Option<&T>,
        out: &mut MessageBuf,
    ) -> Result<(), EncodeError> {
        self.single(PacketKind::Connect, nsp, payload, out)
    }

    /// A refused CONNECT: an object with a `message`, or before protocol 5 a bare string.
    pub fn connect_error<T: Serialize + ?Sized>(
        &self,
        nsp: &str,
        payload: &T,
        out: &mut MessageBuf,
    ) -> Result<(), EncodeError> {
        self.single(PacketKind::ConnectError, nsp, Some(payload), out)
    }

    /// Ends the peer's membership of a namespace.
    pub fn disconnect(&self, nsp: &str, out: &mut MessageBuf) -> Result<(), EncodeError> {
        self.single(PacketKind::Disconnect, nsp, None::<&()>, out)
    }

    fn list<T: Serialize + ?Sized>(
        &self,
        kind: PacketKind,
        nsp: &str,
        id: Option<u64>,
        name: Option<&str>,
        args: &T,
        out: &mut MessageBuf,
    ) -> Result<(), EncodeError> {
        out.clear();
        let result = match self {
            Self::Json => json::encode_list(kind, nsp, id, name, args, out),
            Self::Msgpack => msgpack::encode_list(kind, nsp, id, name, args, out),
            Self::Custom(parser) => {
                let mut values = ValueSink(name.map(Value::from).into_iter().collect());
                write_arguments(args, &mut values).and_then(|()| {
                    let data = Some(Value::Array(values.0));
                    encode_custom(&**parser, &packet_of(kind, nsp, id, data), out)
                })
            }
        };
        result.inspect_err(|_| out.clear())
    }

    fn single<T: Serialize + ?Sized>(
        &self,
        kind: PacketKind,
        nsp: &str,
        payload: Option<&T>,
        out: &mut MessageBuf,
    ) -> Result<(), EncodeError> {
        out.clear();
        let result = match self {
            Self::Json => json::encode_payload(kind, nsp, payload, out),
            Self::Msgpack => msgpack::encode_payload(kind, nsp, payload, out),
            Self::Custom(parser) => {
                let data = payload.map(Value::from_serialize).transpose();
                data.and_then(|data| {
                    encode_custom(&**parser, &packet_of(kind, nsp, None, data), out)
                })
            }
        };
        result.inspect_err(|_| out.clear())
    }
}

impl fmt::Debug for Parser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "Json",
            Self::Msgpack => "Msgpack",
            Self::Custom(_) => "Custom",
        })
    }
}

fn packet_of(kind: PacketKind, nsp: &str, id: Option<u64>, data: Option<Value>) -> ValuePacket {
    ValuePacket { kind, nsp: nsp.to_owned(), id, data }
}

fn encode_custom(
    parser: &dyn CustomParser,
    packet: &ValuePacket,
    out: &mut MessageBuf,
) -> Result<(), EncodeError> {
    for message in parser.encode(packet)? {
        match message {
            Message::Text(text) => out.push(MessageKind::Text, text.as_bytes()),
            Message::Binary(data) => out.push(MessageKind::Binary, &data),
        }
    }
    Ok(())
}
