//! The form in which operations and answers cross to other processes of Sedge.
//!
//! It is Sedge's own, and flat: one byte says which version of the form it is, one what follows,
//! then come the fields in a fixed order. A broadcast has its packet as the clients get it, so that
//! the receiver only has to frame it.
//!
//! ```text
//! message   = version kind (operation | response)
//! operation = namespace fields...            kinds 3 to 7 and 9
//! response  = request shard of fields...     kinds 8, 10 to 12 and from 64 on
//! text, data = length bytes                  lengths and counts are LEB128
//! ```
//!
//! The kinds below 14 are the message types of the official cluster protocol. Whatever decodes here
//! comes from another process of the same cluster; still nothing is believed: no length is allocated
//! before its bytes are there, nesting is limited, and what is left over is an error.

mod bytes;
mod value;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use ::bytes::Bytes;
use sedge_protocol::socketio::{MessageRef, Value};
use smallvec::SmallVec;

use self::bytes::{Reader, Writer};
use crate::limits::PARTS_MAX;
use crate::message::{Operation, Part, RemoteSocketData, RequestId, Response, ResponseBody};
use crate::request::MissingReason;
use crate::target::{Flags, Room, RoomList, Target};

/// The version of the form that is written and read here. Processes of different versions do not
/// understand one another.
pub const VERSION: u8 = 2;

/// Bytes of an answer beside the sockets in it, at most.
pub const ANSWER_HEAD_BYTES: usize = 32;

const BROADCAST: u8 = 3;
const JOIN: u8 = 4;
const LEAVE: u8 = 5;
const DISCONNECT: u8 = 6;
const FETCH: u8 = 7;
const SOCKETS: u8 = 8;
const SERVER_SIDE_EMIT: u8 = 9;
const SERVER_SIDE_ANSWER: u8 = 10;
const CLIENT_COUNT: u8 = 11;
const ACK: u8 = 12;
const APPLIED: u8 = 64;
const CLIENTS_LOST: u8 = 65;
const MISSING: u8 = 66;
const SOME_SOCKETS: u8 = 67;

const VOLATILE: u8 = 1;
const COMPRESS_SET: u8 = 2;
const COMPRESS: u8 = 4;
const TIMEOUT: u8 = 8;

const MESSAGES: u8 = 0;
const EVENT: u8 = 1;

const TEXT: u8 = 0;
const BINARY: u8 = 1;

/// A message is not one of this version. It is the sender's fault, or the carrier's; the message is
/// dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// It is written in another version of the form: that of another version of Sedge.
    #[error("version {0} of the wire form is not understood, only {VERSION}")]
    Version(u8),
    /// It is nothing that this version knows.
    #[error("unknown kind of message {0}")]
    Kind(u8),
    /// It ends too early.
    #[error("the message ends too early")]
    Truncated,
    /// A field has a value that makes no sense.
    #[error("the message has an invalid {0}")]
    Invalid(&'static str),
    /// A value is nested deeper than [`WIRE_DEPTH_MAX`](crate::limits::WIRE_DEPTH_MAX).
    #[error("a value is nested too deeply")]
    TooDeep,
    /// Something follows behind its end.
    #[error("{0} bytes follow behind the end of the message")]
    Surplus(usize),
}

/// The packet of a broadcast on the wire.
#[derive(Clone, Debug, PartialEq)]
pub enum WirePacket<'a> {
    /// As clients get it.
    Messages {
        /// Text and binary messages, in the order in which they are sent.
        messages: SmallVec<[MessageRef<'a>; 4]>,
        /// The packet id that is written in the first of them, if clients are to acknowledge. The
        /// receiver puts one of its own in its place.
        id: Option<u32>,
    },
    /// To be encoded by the receiver: what only a custom parser can put an id into.
    Event {
        /// The event's name.
        name: &'a str,
        /// Its arguments.
        args: Vec<Value>,
    },
}

/// What can stand in an operation as its packet when it is encoded: a [`WirePacket`], or nothing for
/// operations that have none.
pub trait EncodePacket: sealed::Sealed {
    #[doc(hidden)]
    fn size(&self) -> usize;
    #[doc(hidden)]
    fn put(&self, out: &mut PacketWriter<'_>);
}

/// Where an [`EncodePacket`] writes.
#[doc(hidden)]
#[derive(Debug)]
pub struct PacketWriter<'a>(&'a mut Writer);

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::WirePacket<'_> {}
    impl Sealed for std::convert::Infallible {}
}

/// What a message turns out to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming<'a> {
    /// Something is to be done.
    Operation {
        /// In this namespace.
        namespace: &'a str,
        /// What.
        operation: Operation<WirePacket<'a>, Value>,
    },
    /// Something was answered.
    Response(Response<Value>),
}

/// An operation as a message. [`Flags::local`] does not cross: such operations go to nobody else.
pub fn encode_operation<P: EncodePacket>(
    namespace: &str,
    operation: &Operation<P, Value>,
) -> Bytes {
    let packet = match operation {
        Operation::Broadcast { packet, .. } => packet.size(),
        _ => 0,
    };
    // Enough for the usual: a name or two beside the packet.
    let mut out = Writer::new(packet + namespace.len() + 96);
    let begin = |out: &mut Writer, kind: u8| {
        out.byte(VERSION);
        out.byte(kind);
        out.text(namespace);
    };
    match operation {
        Operation::Broadcast { packet, target, ack } => {
            begin(&mut out, BROADCAST);
            put_target(&mut out, target);
            put_request(&mut out, *ack);
            packet.put(&mut PacketWriter(&mut out));
        }
        Operation::Join { target, rooms, request } => {
            begin(&mut out, JOIN);
            put_target(&mut out, target);
            put_rooms(&mut out, rooms);
            put_request(&mut out, *request);
        }
        Operation::Leave { target, rooms, request } => {
            begin(&mut out, LEAVE);
            put_target(&mut out, target);
            put_rooms(&mut out, rooms);
            put_request(&mut out, *request);
        }
        Operation::Disconnect { target, close, request } => {
            begin(&mut out, DISCONNECT);
            put_target(&mut out, target);
            out.byte(u8::from(*close));
            put_request(&mut out, *request);
        }
        Operation::Fetch { target, request } => {
            begin(&mut out, FETCH);
            put_target(&mut out, target);
            put_request(&mut out, Some(*request));
        }
        Operation::ServerSideEmit { event, args, request } => {
            begin(&mut out, SERVER_SIDE_EMIT);
            out.text(event);
            put_values(&mut out, args);
            put_request(&mut out, *request);
        }
    }
    out.finish()
}

/// An answer as a message.
pub fn encode_response(response: &Response<Value>) -> Bytes {
    let mut out = Writer::new(64);
    out.byte(VERSION);
    out.byte(match &response.body {
        ResponseBody::SomeSockets(_) => SOME_SOCKETS,
        ResponseBody::Sockets(_) => SOCKETS,
        ResponseBody::ServerSideEmit(_) => SERVER_SIDE_ANSWER,
        ResponseBody::ClientCount(_) => CLIENT_COUNT,
        ResponseBody::Ack(_) => ACK,
        ResponseBody::ClientsLost(_) => CLIENTS_LOST,
        ResponseBody::Applied => APPLIED,
        ResponseBody::Missing(_) => MISSING,
    });
    out.fixed(response.request.0);
    out.number(response.part.shard.into());
    out.number(response.part.of.into());
    match &response.body {
        ResponseBody::SomeSockets(sockets) | ResponseBody::Sockets(sockets) => {
            out.number(sockets.len() as u64);
            for socket in sockets {
                put_socket(&mut out, socket);
            }
        }
        ResponseBody::ServerSideEmit(value) | ResponseBody::Ack(value) => {
            put_values(&mut out, value.as_slice());
        }
        ResponseBody::ClientCount(count) | ResponseBody::ClientsLost(count) => {
            out.number((*count).into());
        }
        ResponseBody::Applied => {}
        ResponseBody::Missing(reason) => out.byte(reason_code(*reason)),
    }
    out.finish()
}

/// How many bytes a socket takes of an answer that has it.
pub fn socket_bytes(socket: &RemoteSocketData<Value>) -> usize {
    let mut out = Writer::new(1024);
    put_socket(&mut out, socket);
    out.len()
}

/// What a message is. Nothing but values of the application is copied.
pub fn decode(message: &[u8]) -> Result<Incoming<'_>, WireError> {
    let mut input = Reader::new(message);
    let version = input.byte()?;
    if version != VERSION {
        return Err(WireError::Version(version));
    }
    let kind = input.byte()?;
    let incoming = match kind {
        BROADCAST..=FETCH | SERVER_SIDE_EMIT => {
            let namespace = input.text()?;
            Incoming::Operation { namespace, operation: operation(kind, &mut input)? }
        }
        _ => Incoming::Response(response(kind, &mut input)?),
    };
    match input.left() {
        0 => Ok(incoming),
        surplus => Err(WireError::Surplus(surplus)),
    }
}

fn operation<'a>(
    kind: u8,
    input: &mut Reader<'a>,
) -> Result<Operation<WirePacket<'a>, Value>, WireError> {
    if kind == SERVER_SIDE_EMIT {
        let event = Arc::from(input.text()?);
        let args = values(input)?;
        return Ok(Operation::ServerSideEmit { event, args, request: request(input)? });
    }
    let target = target(input)?;
    Ok(match kind {
        BROADCAST => {
            let ack = request(input)?;
            Operation::Broadcast { packet: packet(input)?, target, ack }
        }
        JOIN => Operation::Join { target, rooms: rooms(input)?, request: request(input)? },
        LEAVE => Operation::Leave { target, rooms: rooms(input)?, request: request(input)? },
        DISCONNECT => {
            Operation::Disconnect { target, close: input.flag()?, request: request(input)? }
        }
        FETCH => {
            let request = request(input)?.ok_or(WireError::Invalid("request"))?;
            Operation::Fetch { target, request }
        }
        _ => return Err(WireError::Kind(kind)),
    })
}

fn response(kind: u8, input: &mut Reader<'_>) -> Result<Response<Value>, WireError> {
    if !matches!(kind, SOCKETS | SERVER_SIDE_ANSWER..=ACK | APPLIED..=SOME_SOCKETS) {
        return Err(WireError::Kind(kind));
    }
    let request = RequestId(input.fixed()?);
    let part = Part { shard: input.short()?, of: input.short()? };
    if part.of > PARTS_MAX || part.shard >= part.of {
        return Err(WireError::Invalid("shard"));
    }
    let body = match kind {
        SOME_SOCKETS => ResponseBody::SomeSockets(sockets(input)?),
        SOCKETS => ResponseBody::Sockets(sockets(input)?),
        SERVER_SIDE_ANSWER => ResponseBody::ServerSideEmit(values(input)?.pop()),
        CLIENT_COUNT => ResponseBody::ClientCount(input.count()?),
        ACK => ResponseBody::Ack(values(input)?.pop()),
        APPLIED => ResponseBody::Applied,
        CLIENTS_LOST => ResponseBody::ClientsLost(input.count()?),
        _ => ResponseBody::Missing(reason(input.byte()?)?),
    };
    Ok(Response { request, part, body })
}

impl EncodePacket for WirePacket<'_> {
    fn size(&self) -> usize {
        match self {
            WirePacket::Messages { messages, .. } => {
                messages.iter().map(|message| content(*message).1.len() + 8).sum()
            }
            WirePacket::Event { .. } => 0,
        }
    }

    fn put(&self, out: &mut PacketWriter<'_>) {
        let out = &mut *out.0;
        match self {
            WirePacket::Messages { messages, id } => {
                out.byte(MESSAGES);
                out.number(id.map_or(0, |id| u64::from(id) + 1));
                out.number(messages.len() as u64);
                for message in messages {
                    let (kind, data) = content(*message);
                    out.byte(kind);
                    out.data(data);
                }
            }
            WirePacket::Event { name, args } => {
                out.byte(EVENT);
                out.text(name);
                put_values(out, args);
            }
        }
    }
}

impl EncodePacket for Infallible {
    fn size(&self) -> usize {
        match *self {}
    }

    fn put(&self, _: &mut PacketWriter<'_>) {
        match *self {}
    }
}

fn content(message: MessageRef<'_>) -> (u8, &[u8]) {
    match message {
        MessageRef::Text(text) => (TEXT, text.as_bytes()),
        MessageRef::Binary(data) => (BINARY, data),
    }
}

fn packet<'a>(input: &mut Reader<'a>) -> Result<WirePacket<'a>, WireError> {
    match input.byte()? {
        MESSAGES => {
            let id = match input.number()? {
                0 => None,
                more => Some(u32::try_from(more - 1).map_err(|_| WireError::Invalid("packet id"))?),
            };
            let message = |input: &mut Reader<'a>| match input.byte()? {
                TEXT => Ok(MessageRef::Text(input.text()?)),
                BINARY => Ok(MessageRef::Binary(input.data()?)),
                _ => Err(WireError::Invalid("kind of message")),
            };
            let mut messages = SmallVec::new();
            for _ in 0..input.number()? {
                messages.push(message(input)?);
            }
            Ok(WirePacket::Messages { messages, id })
        }
        EVENT => Ok(WirePacket::Event { name: input.text()?, args: values(input)? }),
        _ => Err(WireError::Invalid("form of packet")),
    }
}

fn put_target(out: &mut Writer, target: &Target) {
    let Flags { volatile, compress, local: _, timeout } = target.flags;
    let compress = compress.map_or(0, |on| COMPRESS_SET | if on { COMPRESS } else { 0 });
    let timed = if timeout.is_some() { TIMEOUT } else { 0 };
    out.byte(if volatile { VOLATILE } else { 0 } | compress | timed);
    if let Some(timeout) = timeout {
        out.number(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
    }
    put_rooms(out, &target.rooms);
    put_rooms(out, &target.except);
}

fn target(input: &mut Reader<'_>) -> Result<Target, WireError> {
    let bits = input.byte()?;
    if bits & !(VOLATILE | COMPRESS_SET | COMPRESS | TIMEOUT) != 0 {
        return Err(WireError::Invalid("flag"));
    }
    let compress = (bits & COMPRESS_SET != 0).then_some(bits & COMPRESS != 0);
    let timeout =
        if bits & TIMEOUT == 0 { None } else { Some(Duration::from_millis(input.number()?)) };
    let flags = Flags { volatile: bits & VOLATILE != 0, compress, local: false, timeout };
    Ok(Target { rooms: rooms(input)?, except: rooms(input)?, flags })
}

fn put_rooms(out: &mut Writer, rooms: &[Room]) {
    out.number(rooms.len() as u64);
    for room in rooms {
        out.text(room);
    }
}

fn rooms(input: &mut Reader<'_>) -> Result<RoomList, WireError> {
    let mut rooms = RoomList::new();
    for _ in 0..input.number()? {
        rooms.push(Room::from(input.text()?));
    }
    Ok(rooms)
}

fn put_request(out: &mut Writer, request: Option<RequestId>) {
    out.byte(u8::from(request.is_some()));
    if let Some(RequestId(id)) = request {
        out.fixed(id);
    }
}

fn request(input: &mut Reader<'_>) -> Result<Option<RequestId>, WireError> {
    Ok(if input.flag()? { Some(RequestId(input.fixed()?)) } else { None })
}

fn put_values(out: &mut Writer, values: &[Value]) {
    out.number(values.len() as u64);
    for value in values {
        out.value(value);
    }
}

fn values(input: &mut Reader<'_>) -> Result<Vec<Value>, WireError> {
    input.list(Reader::value)
}

fn put_socket(out: &mut Writer, socket: &RemoteSocketData<Value>) {
    out.text(&socket.id);
    put_rooms(out, &socket.rooms);
    out.value(&socket.handshake);
    out.value(&socket.data);
}

fn sockets(input: &mut Reader<'_>) -> Result<Vec<RemoteSocketData<Value>>, WireError> {
    input.list(|input| {
        let id = Room::from(input.text()?);
        let rooms = rooms(input)?.into_vec();
        Ok(RemoteSocketData { id, rooms, handshake: input.value()?, data: input.value()? })
    })
}

fn reason_code(reason: MissingReason) -> u8 {
    match reason {
        MissingReason::Left => 0,
        MissingReason::Deadline => 1,
        MissingReason::Overloaded => 2,
        MissingReason::NoListener => 3,
        MissingReason::NoAnswer => 4,
        MissingReason::Unreadable => 5,
        MissingReason::TooLong => 6,
    }
}

fn reason(code: u8) -> Result<MissingReason, WireError> {
    Ok(match code {
        0 => MissingReason::Left,
        1 => MissingReason::Deadline,
        2 => MissingReason::Overloaded,
        3 => MissingReason::NoListener,
        4 => MissingReason::NoAnswer,
        5 => MissingReason::Unreadable,
        6 => MissingReason::TooLong,
        _ => return Err(WireError::Invalid("reason")),
    })
}

#[cfg(test)]
mod tests;
