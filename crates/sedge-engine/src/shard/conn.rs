//! One session on its shard: the protocol's state, what it has to send, and what carries it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use sedge_protocol::engine::session::{Session, Time};
use sedge_protocol::engine::{Payload, PayloadEncoder, Version, WirePacket};
use sedge_protocol::sid::SessionId;
use sedge_protocol::ws::{CloseCode, MessageReader, Opcode, split};
use tokio::io::AsyncWrite;
use tokio::sync::oneshot;

use super::excess::Excess;
use super::frames::Dialect;
use super::outbox::Outbox;
use crate::application::Transport;
use crate::limits::{CROWD_MAX, GATHER_MAX, VECTOR_MAX};
use crate::net::io::Io;

/// A session and everything that belongs to it. What a broadcast touches comes first: with the
/// slot's generation it fills one cache line.
#[repr(C)]
pub(crate) struct Conn {
    /// When the earliest entry in the timer wheel fires; other entries are stale.
    pub(crate) wheel_due: u32,
    pub(crate) dialect: Dialect,
    /// Stands in the shard's list of sessions to flush.
    pub(crate) dirty: bool,
    pub(crate) outbox: Outbox,
    pub(crate) carrier: Carrier,
    pub(crate) session: Session,
    pub(crate) sid: SessionId,
    /// Reasons not to read from the client at present; see [`Shard::hold`](super::Shard::hold).
    pub(crate) holds: u16,
    /// The application has opened it and has to be told when it ends.
    pub(crate) told: bool,
    /// How far the outbox may be over its limit, while it is.
    pub(crate) excess: Excess,
    /// Of the POST that waits until nothing holds the session any more; boxed because it is rare.
    pub(crate) held: Option<Box<Waker>>,
}

/// What carries the session.
pub(crate) enum Carrier {
    Polling(Polling),
    WebSocket(WebSocket),
}

/// The polling transport.
#[derive(Default)]
pub(crate) struct Polling {
    /// Where the answer of the waiting GET goes.
    pub(crate) get: Option<oneshot::Sender<PollAnswer>>,
    /// The client said in its handshake that it cannot take binary by polling (`b64=1`): it need not say so
    /// again.
    pub(crate) base64: bool,
    /// The waiting GET said so (`b64=1`, or JSONP).
    pub(crate) get_base64: bool,
    /// Another WebSocket that wants to take over.
    pub(crate) probe: Option<Box<Probe>>,
}

/// A WebSocket that is being tested, or for which the handshake is being answered.
pub(crate) struct Probe {
    /// `None` until the connection has been handed over after the 101 response.
    pub(crate) websocket: Option<WebSocket>,
    pub(crate) ticket: u32,
    pub(crate) outbox: Outbox,
    pub(crate) deflate: bool,
    /// The client cannot take binary on it (`b64=1`).
    pub(crate) base64: bool,
}

/// The answer to a polling GET.
pub(crate) struct PollAnswer {
    pub(crate) payload: Payload,
    pub(crate) compressible: bool,
}

/// An open WebSocket connection.
pub(crate) struct WebSocket {
    pub(crate) io: Io,
    /// Of the task that reads; it also takes over writing when the connection blocks.
    pub(crate) waker: Option<Waker>,
    pub(crate) reader: MessageReader,
    /// Tells this WebSocket from earlier ones of the same session.
    pub(crate) id: u32,
    /// The last write did not finish; the task goes on when the connection is writable. It has taken nothing
    /// since this time.
    pub(crate) blocked: Option<Time>,
    pub(crate) farewell: Farewell,
}

/// How a WebSocket is closed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// With a close frame without a code, as the official server does.
    Plain,
    /// With the answer to the client's, which stands in the outbox: nothing more is to come from it.
    Answered,
    /// With this code.
    Code(CloseCode),
    /// Not at all: the peer is gone.
    Gone,
}

impl WebSocket {
    pub(crate) fn new(io: Io, id: u32, deflate: bool) -> WebSocket {
        WebSocket {
            io,
            waker: None,
            reader: MessageReader::new(deflate),
            id,
            blocked: None,
            farewell: Farewell::Plain,
        }
    }

    /// Writes what the connection takes. Returns the bytes written, those in front of an error
    /// included; what is left is written by the connection's task, which is woken when there is room.
    pub(crate) fn write(
        &mut self,
        now: Time,
        outbox: &mut Outbox,
        gather: &mut Vec<u8>,
    ) -> (usize, io::Result<()>) {
        let before = outbox.bytes();
        let result = self.write_all(now, outbox, gather);
        (before - outbox.bytes(), result)
    }

    fn write_all(
        &mut self,
        now: Time,
        outbox: &mut Outbox,
        gather: &mut Vec<u8>,
    ) -> io::Result<()> {
        // Before its first turn the task has left no waker; it writes when it gets there.
        let Some(waker) = &self.waker else {
            self.blocked = Some(now);
            return Ok(());
        };
        let mut cx = Context::from_waker(waker);
        while !outbox.is_empty() {
            match write_once(Pin::new(&mut self.io), &mut cx, outbox, gather) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => {
                    outbox.advance(written);
                    if let Some(since) = &mut self.blocked {
                        *since = now;
                    }
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {
                    // What is queued from here on is detached already. To do it again whenever a
                    // byte arrives would let a client that reads nothing buy work for little.
                    if self.blocked.is_none() {
                        self.blocked = Some(now);
                        outbox.detach();
                    }
                    return Ok(());
                }
            }
        }
        let since = self.blocked.take();
        if let Io::Other(stream) = &mut self.io
            && Pin::new(stream).poll_flush(&mut cx)?.is_pending()
        {
            self.blocked = since.or(Some(now));
        }
        Ok(())
    }
}

fn write_once(
    io: Pin<&mut Io>,
    cx: &mut Context<'_>,
    outbox: &Outbox,
    gather: &mut Vec<u8>,
) -> Poll<io::Result<usize>> {
    let Some(front) = outbox.front() else { return Poll::Ready(Ok(0)) };
    if front.len() == outbox.bytes() {
        return io.poll_write(cx, front);
    }
    if outbox.bytes() <= GATHER_MAX {
        gather.clear();
        for frame in outbox.iter() {
            gather.extend_from_slice(frame);
        }
        return io.poll_write(cx, gather);
    }
    // A crowd of little frames: a vector would take few of them at a time.
    if outbox.iter().take(VECTOR_MAX).map(Bytes::len).sum::<usize>() <= GATHER_MAX {
        gather.clear();
        let mut room = CROWD_MAX;
        for frame in outbox.iter().take_while(|frame| {
            room = room.saturating_sub(frame.len());
            room > 0
        }) {
            gather.extend_from_slice(frame);
        }
        return io.poll_write(cx, gather);
    }
    let mut slices = [IoSlice::new(&[]); VECTOR_MAX];
    let mut used = 0;
    for (slice, frame) in slices.iter_mut().zip(outbox.iter()) {
        *slice = IoSlice::new(frame);
        used += 1;
    }
    io.poll_write_vectored(cx, &slices[..used])
}

impl Conn {
    pub(crate) fn new(
        session: Session,
        carrier: Carrier,
        sid: SessionId,
        dialect: Dialect,
    ) -> Conn {
        Conn {
            session,
            outbox: Outbox::default(),
            carrier,
            wheel_due: 0,
            sid,
            dialect,
            dirty: false,
            told: false,
            holds: 0,
            held: None,
            excess: Excess::default(),
        }
    }

    pub(crate) fn transport(&self) -> Transport {
        match self.carrier {
            Carrier::Polling(_) => Transport::Polling,
            Carrier::WebSocket(_) => Transport::WebSocket,
        }
    }

    /// Whether a message given now would leave at once.
    pub(crate) fn writable(&self) -> bool {
        match &self.carrier {
            Carrier::Polling(_) => self.session.get_waits() && self.outbox.is_empty(),
            Carrier::WebSocket(websocket) => {
                websocket.blocked.is_none() || (websocket.waker.is_none() && self.outbox.is_empty())
            }
        }
    }

    /// Whether messages are still taken. A session on a WebSocket is gone as soon as it ends.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.carrier, Carrier::WebSocket(_)) || self.session.is_open()
    }

    /// The WebSocket with this number, and whether it carries the session.
    pub(crate) fn websocket(&mut self, id: u32) -> Option<(&mut WebSocket, &mut Outbox, bool)> {
        match &mut self.carrier {
            Carrier::WebSocket(websocket) if websocket.id == id => {
                Some((websocket, &mut self.outbox, true))
            }
            Carrier::Polling(Polling { probe: Some(probe), .. }) => {
                let Probe { websocket, outbox, .. } = &mut **probe;
                websocket.as_mut().filter(|ws| ws.id == id).map(|ws| (ws, outbox, false))
            }
            _ => None,
        }
    }

    pub(crate) fn polling(&mut self) -> Option<&mut Polling> {
        match &mut self.carrier {
            Carrier::Polling(polling) => Some(polling),
            Carrier::WebSocket(_) => None,
        }
    }

    /// Takes packets out of the outbox as one polling body: as many as `limit` bytes hold, one at least.
    pub(crate) fn drain(&mut self, limit: usize) -> PollAnswer {
        let base64 = match &self.carrier {
            Carrier::Polling(polling) => polling.base64 || polling.get_base64,
            Carrier::WebSocket(_) => false,
        };
        let mut encoder = PayloadEncoder::new(self.dialect.version, !base64);
        while let Some(packet) = self.outbox.front().and_then(|frame| packet_of(frame)) {
            if !encoder.is_empty() && !encoder.fits(packet, limit) {
                break;
            }
            encoder.push(packet);
            self.outbox.pop();
        }
        PollAnswer { payload: encoder.finish(), compressible: self.outbox.take_compressible() }
    }

    /// A polling body with one text packet, framed, that never stood in the outbox.
    pub(crate) fn single(version: Version, frame: &[u8]) -> PollAnswer {
        let mut encoder = PayloadEncoder::new(version, false);
        if let Some(packet) = packet_of(frame) {
            encoder.push(packet);
        }
        PollAnswer { payload: encoder.finish(), compressible: false }
    }

    /// When the session has to be looked at: for its heartbeat, or since its client takes nothing.
    pub(crate) fn deadline(&self, slow_timeout: u32) -> Option<Time> {
        let of_session = self.session.deadline();
        of_session.into_iter().chain(self.stall_deadline(slow_timeout)).min()
    }

    /// Until when a WebSocket that is blocked has to take something.
    pub(crate) fn stall_deadline(&self, slow_timeout: u32) -> Option<Time> {
        match &self.carrier {
            Carrier::WebSocket(websocket) => Some(websocket.blocked? + slow_timeout),
            Carrier::Polling(_) => None,
        }
    }
}

/// The packet in a frame of an outbox.
fn packet_of(frame: &[u8]) -> Option<WirePacket<'_>> {
    split(frame).map(|(opcode, _, data)| WirePacket { binary: opcode == Opcode::Binary, data })
}
