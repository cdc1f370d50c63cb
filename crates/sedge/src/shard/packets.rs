//! From a handle to the engine: packets are encoded, and sent by the shard itself if this is its thread, or by
//! a command.

use std::rc::Rc;

use sedge_adapter::Flags;
use sedge_engine::{Message, SendOptions, Sent, SharedMessage};
use sedge_protocol::socketio::{EncodeError, MessageBuf, MessageKind, Parser};
use serde::Serialize;
use smallvec::SmallVec;

use super::command::Command;
use super::local::LocalShard;
use crate::core::Namespace;
use crate::core::socket::Socket;
use crate::error::{EmitError, Overloaded};

/// One socket's packets.
impl Socket {
    /// Calls `f` if this is the thread of the socket's shard.
    pub(crate) fn here<R>(&self, f: impl FnOnce(&Rc<LocalShard>) -> R) -> Option<R> {
        LocalShard::on(self.core(), self.shard(), f)
    }

    /// Puts a command into the queue of the socket's shard.
    pub(crate) fn command(&self, command: Command) -> Result<(), Overloaded> {
        self.core().command(self.shard(), command)
    }

    /// Encodes a packet and sends it to this socket.
    pub(crate) fn send_packet(
        &self,
        options: SendOptions,
        encode: impl FnOnce(&Parser, &str, &mut MessageBuf) -> Result<(), EncodeError>,
    ) -> Result<(), EmitError> {
        if !self.connected() {
            return Err(EmitError::NotConnected);
        }
        let core = self.core();
        if !LocalShard::is_current(core, self.shard()) {
            let message = self.encode_shared(encode)?;
            let command = Command::Send { session: self.session(), message, options };
            return Ok(self.command(command)?);
        }
        LocalShard::with_buffer(core, |buffer| {
            encode(&core.options.parser, self.namespace().name(), buffer)?;
            let sent = self.here(|shard| shard.send(self.session(), messages(buffer), options));
            match sent {
                Some(Sent::Queued | Sent::Dropped) => Ok(()),
                Some(Sent::Closed) | None => Err(EmitError::NotConnected),
            }
        })
    }

    /// Encodes a packet for another thread to send.
    pub(crate) fn encode_shared(
        &self,
        encode: impl FnOnce(&Parser, &str, &mut MessageBuf) -> Result<(), EncodeError>,
    ) -> Result<SharedMessage, EmitError> {
        if !self.connected() {
            return Err(EmitError::NotConnected);
        }
        let mut buffer = MessageBuf::new();
        encode(&self.core().options.parser, self.namespace().name(), &mut buffer)?;
        Ok(shared(&buffer))
    }
}

/// The packets of many sockets.
impl Namespace {
    /// Encodes an event for any number of recipients. `also` is given what was encoded, for whatever
    /// else is to be made of it.
    pub(crate) fn encode_shared<T: Serialize + ?Sized, R>(
        &self,
        id: Option<u32>,
        event: &str,
        args: &T,
        also: impl FnOnce(&MessageBuf) -> R,
    ) -> Result<(SharedMessage, R), EmitError> {
        let parser = &self.core().options.parser;
        LocalShard::with_buffer(self.core(), |buffer: &mut MessageBuf| {
            parser.event(self.name(), id.map(u64::from), event, args, buffer)?;
            Ok((shared(buffer), also(buffer)))
        })
    }
}

/// The engine's part of the flags.
pub(crate) fn send_options(flags: Flags) -> SendOptions {
    SendOptions { volatile: flags.volatile, compress: flags.compress.unwrap_or(true) }
}

/// The messages of an encoded packet, as the engine takes them.
pub(crate) fn messages(buffer: &MessageBuf) -> impl Iterator<Item = Message<'_>> {
    buffer.messages().map(|(kind, data)| match kind {
        // Encoders write text from `str`s; the default is unreachable but for a custom parser's fault.
        MessageKind::Text => Message::Text(simdutf8::basic::from_utf8(data).unwrap_or_default()),
        MessageKind::Binary => Message::Binary(data),
    })
}

/// An encoded packet, ready for any number of recipients.
pub(crate) fn shared(buffer: &MessageBuf) -> SharedMessage {
    let all: SmallVec<[Message<'_>; 4]> = messages(buffer).collect();
    SharedMessage::new(all)
}
