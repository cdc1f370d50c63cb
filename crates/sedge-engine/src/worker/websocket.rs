//! The task of one WebSocket: reads frames, hands messages on, and takes over writing when the
//! connection is blocked.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use sedge_protocol::engine::packet::{parse_binary, parse_text};
use sedge_protocol::engine::session::{Input, Time};
use sedge_protocol::engine::{Data, Packet, PacketError};
use sedge_protocol::ws::{
    FrameError, Incoming, MessageReader, Opcode, ReadLimits, ReadScratch, close_frame, put_frame,
};
use tokio::io::{AsyncRead, ReadBuf};

use super::Worker;
use crate::application::{Application, Message, SessionKey};
use crate::shard::conn::Farewell;
use crate::shard::env::Env;
use crate::shard::state::State;

/// Lives as long as its WebSocket. It holds no data: everything is in the shard's state.
pub(crate) struct WebSocketTask<A: Application> {
    worker: Rc<Worker<A>>,
    key: SessionKey,
    id: u32,
}

/// What a look at the connection gave.
enum Read {
    /// This many bytes are in the buffer.
    Bytes(usize),
    /// The WebSocket is no longer here.
    Gone,
    /// Nothing to read; the task will be woken.
    Later,
}

impl<A: Application> WebSocketTask<A> {
    pub(crate) fn new(worker: Rc<Worker<A>>, key: SessionKey, id: u32) -> WebSocketTask<A> {
        WebSocketTask { worker, key, id }
    }

    fn read(&self, cx: &mut Context<'_>, now: Time, buffer: &mut [u8]) -> Read {
        let mut buffer = ReadBuf::new(buffer);
        let poll = self.worker.shard.with_state(|state, env| {
            self.wake_here(state, env, cx, now);
            let conn = state.conn(self.key)?;
            let held = conn.holds > 0;
            let (websocket, _, carries) = conn.websocket(self.id)?;
            if held && carries {
                return Some(Poll::Pending);
            }
            Some(Pin::new(&mut websocket.io).poll_read(cx, &mut buffer))
        });
        let Some(poll) = poll else { return Read::Gone };
        match poll {
            Poll::Pending => Read::Later,
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                Read::Bytes(buffer.filled().len())
            }
            Poll::Ready(result) => {
                self.worker.shard.with_state(|state, env| {
                    state.lost(env, now, self.key, self.id, Farewell::Gone, result.is_err());
                });
                Read::Gone
            }
        }
    }

    /// Leaves the task's waker with the WebSocket and goes on with a write that was blocked.
    fn wake_here(&self, state: &mut State, env: &Env, cx: &Context<'_>, now: Time) {
        let websocket = state.conn(self.key).and_then(|conn| conn.websocket(self.id));
        let Some((websocket, _, _)) = websocket else { return };
        if !websocket.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            websocket.waker = Some(cx.waker().clone());
        }
        if websocket.blocked.is_some() {
            state.resume_write(env, now, self.key, self.id);
        }
    }
}

impl<A: Application> Drop for WebSocketTask<A> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The application's, most likely. Nobody reads for the session any more.
            let now = self.worker.shard.now();
            self.worker.shard.with_state(|state, env| {
                state.lost(env, now, self.key, self.id, Farewell::Gone, true);
            });
        }
    }
}

impl<A: Application> Future for WebSocketTask<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let shard = &self.worker.shard;
        let mut scratch = shard.take_scratch();
        let now = shard.now();
        let result = loop {
            match self.read(cx, now, &mut scratch.read) {
                Read::Gone => break Poll::Ready(()),
                Read::Later => break Poll::Pending,
                Read::Bytes(n) => {
                    shard.0.metrics.bytes_in.add(n as u64);
                    let input = &mut scratch.read[..n];
                    self.worker.feed(self.key, self.id, now, input, &mut scratch.message);
                    if n == scratch.read.len() {
                        // There may be much more; the others come first.
                        cx.waker().wake_by_ref();
                        break Poll::Pending;
                    }
                }
            }
        };
        shard.return_scratch(scratch);
        result
    }
}

impl<A: Application> Worker<A> {
    /// Handles bytes that arrived on a WebSocket.
    pub(crate) fn feed(
        &self,
        key: SessionKey,
        id: u32,
        now: Time,
        mut input: &mut [u8],
        scratch: &mut ReadScratch,
    ) {
        let shard = &self.shard;
        let limits = ReadLimits::new(shard.0.config.max_payload());
        // The reader is taken out so that no state is borrowed while the application runs. If the
        // application closes the session meanwhile, nobody knows any more where in a frame the
        // client's bytes go on, so what stands in for the reader swallows them.
        let Some(mut reader) = self.swap_reader(key, id, MessageReader::finished()) else { return };
        loop {
            match reader.next(&mut input, &limits, scratch) {
                Ok(Some(incoming)) => {
                    if !self.incoming(key, id, now, incoming) {
                        return;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    self.swap_reader(key, id, reader);
                    return self.broken(key, id, now, error);
                }
            }
        }
        self.swap_reader(key, id, reader);
    }

    fn swap_reader(&self, key: SessionKey, id: u32, other: MessageReader) -> Option<MessageReader> {
        let mut state = self.shard.0.state.borrow_mut();
        let (websocket, _, _) = state.conn(key)?.websocket(id)?;
        Some(std::mem::replace(&mut websocket.reader, other))
    }

    /// Handles one message; returns whether the WebSocket is still there.
    fn incoming(&self, key: SessionKey, id: u32, now: Time, incoming: Incoming<'_>) -> bool {
        match incoming {
            Incoming::Text(text) => self.packet(key, id, now, |version| parse_text(version, text)),
            Incoming::Binary(data) => {
                self.packet(key, id, now, |version| parse_binary(version, data))
            }
            Incoming::Ping(payload) => {
                let mut pong = BytesMut::with_capacity(payload.len() + 2);
                put_frame(&mut pong, Opcode::Pong, false, &[payload]);
                let pong: Bytes = pong.freeze();
                self.shard.with_state(|state, env| state.pong(env, key, id, pong));
                true
            }
            Incoming::Pong(_) => true,
            Incoming::Close(code, reason) => {
                let answer = close_frame(code, reason);
                self.shard
                    .with_state(|state, env| state.closed_by_client(env, now, key, id, answer));
                false
            }
        }
    }

    fn packet<'p>(
        &self,
        key: SessionKey,
        id: u32,
        now: Time,
        parse: impl FnOnce(sedge_protocol::engine::Version) -> Result<Packet<'p>, PacketError>,
    ) -> bool {
        let (data, there) = self.shard.with_state(|state, env| {
            let Some(conn) = state.conn(key) else { return (None, false) };
            let version = conn.dialect.version;
            let Some((_, _, carries)) = conn.websocket(id) else { return (None, false) };
            let data = match (parse(version), carries) {
                (Ok(packet), true) => state.input(env, now, key, Input::Packet(packet)),
                (Err(_), true) => state.input(env, now, key, Input::Malformed),
                (Ok(packet), false) => state.input(env, now, key, Input::ProbePacket(packet)),
                (Err(_), false) => {
                    state.lost(env, now, key, id, Farewell::Plain, true);
                    None
                }
            };
            // A message does not change what there is; anything else may have ended it.
            let there =
                data.is_some() || state.conn(key).is_some_and(|conn| conn.websocket(id).is_some());
            (data, there)
        });
        let Some(data) = data else { return there };
        self.deliver(key, &data);
        // The application may have closed the session meanwhile.
        self.shard.0.state.borrow_mut().conn(key).is_some()
    }

    /// Gives a message to the application.
    pub(crate) fn deliver(&self, key: SessionKey, data: &Data<'_>) {
        self.shard.0.metrics.messages_in.add(1);
        match data {
            Data::Text(text) => self.app.on_message(key, Message::Text(text)),
            Data::Binary(bytes) => self.app.on_message(key, Message::Binary(bytes)),
        }
    }

    fn broken(&self, key: SessionKey, id: u32, now: Time, error: FrameError) {
        tracing::debug!(session = ?key, %error, "WebSocket protocol error");
        let farewell = Farewell::Code(error.close_code());
        self.shard.with_state(|state, env| {
            state.lost(env, now, key, id, farewell, true);
        });
    }
}
