//! Socket.IO packets: protocol 5, and what clients of protocols 3 and 4 (Socket.IO 1 and 2) need.
//!
//! ```text
//! received message -> Decoder --+-> Packet -> Event { name, args } -> Args::decode::<T>()
//!                               +-> attachments are awaited
//! values -> Parser::event(..) -> MessageBuf -> the engine's frames
//! ```
//!
//! Three encodings share everything else: the default text form (`json`) with its binary
//! attachments, msgpack as `socket.io-msgpack-parser` writes it (`msgpack`), and parsers of the
//! user's own ([`CustomParser`]). Nothing in a payload is decoded before a handler asks for it.
//!
//! The description of the text form is at <https://github.com/socketio/socket.io-protocol>; where
//! it is silent, `socket.io-parser` 4.2.7 decides.

mod args;
#[cfg(test)]
mod args_tests;
mod date;
mod decode_limits;
mod decoder;
mod error;
mod json;
mod json_read;
mod key;
mod message;
mod msgpack;
mod msgpack_de;
mod msgpack_read;
mod number;
mod packet;
mod parser;
mod renumber;
mod ser;
mod span;
mod surrogates;
#[cfg(test)]
mod tests;
mod value;
mod value_de;
mod value_ser;
mod value_sink;

pub use crate::limits::DEPTH_MAX;
pub use args::{ArgList, Args};
pub use decode_limits::DecodeLimits;
pub use decoder::Decoder;
pub use error::{ArgsError, EncodeError, ParseError};
pub use message::{Message, MessageBuf, MessageKind, MessageRef};
pub use packet::{Event, Packet, PacketKind, RESERVED_EVENTS, ValuePacket, is_reserved_event};
pub use parser::{CustomDecoder, CustomParser, Parser};
pub use value::{Number, Value};
