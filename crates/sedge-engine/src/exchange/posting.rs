//! POSTs of the polling transport: packets from the client.

use std::borrow::Cow;
use std::iter::Peekable;
use std::rc::Rc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use sedge_protocol::engine::payload::{
    DecodeV3Binary, DecodeV3Text, DecodeV4, decode_v3_binary, decode_v3_text, decode_v4,
};
use sedge_protocol::engine::session::Input;
use sedge_protocol::engine::{Packet, PacketType, PayloadError, Version, jsonp};

use super::answers::{Exchange, panicked};
use super::handling::{Begun, Handled};
use crate::application::{Application, SessionKey};
use crate::http::answer::Answer;
use crate::http::body::{BodyError, RequestBody};
use crate::limits::HELD_LOOK;
use crate::panics;
use crate::worker::Worker;

/// A POST that its session knows of. Dropped before it has ended, its connection broke: then the session
/// ends as well.
pub(crate) struct Posting<A: Application> {
    worker: Rc<Worker<A>>,
    key: SessionKey,
    exchange: Exchange,
    /// The body has version 3's binary form.
    binary: bool,
    ended: bool,
}

impl<A: Application> Worker<A> {
    pub(super) fn post(
        self: &Rc<Self>,
        key: SessionKey,
        exchange: Exchange,
        body: RequestBody,
    ) -> Begun<A> {
        let begun = self
            .shard
            .with_state(|state, env| state.try_input(env, exchange.now, key, Input::Post));
        if let Err(refused) = begun {
            return Begun::Handled(self.refuse_session(&exchange, refused).into());
        }
        let binary = exchange
            .head
            .get(&CONTENT_TYPE)
            .is_some_and(|value| value.eq_ignore_ascii_case(b"application/octet-stream"));
        let refused = binary && exchange.version == Version::V4;
        let worker = Rc::clone(self);
        let posting = Posting { worker, key, exchange, binary, ended: false };
        if refused {
            // Dropping it ends the session.
            return Begun::Handled(self.plain(&posting.exchange, StatusCode::BAD_REQUEST).into());
        }
        Begun::Post(posting, body)
    }
}

impl<A: Application> Posting<A> {
    /// Bytes that the body may have. Form encoding makes a JSONP body up to three times as long as its
    /// payload.
    pub(crate) fn limit(&self) -> usize {
        let factor = if self.exchange.jsonp.is_some() { 3 } else { 1 };
        self.worker.shard.0.config.max_payload() * factor
    }

    /// As [`finish`](Self::finish). A hook of the application that panics costs this request only.
    pub(crate) fn finish_safely(self, body: Result<Bytes, BodyError>) -> Handled<A> {
        panics::catch(|| self.finish(body)).unwrap_or_else(|words| panicked(&words).into())
    }

    fn finish(mut self, body: Result<Bytes, BodyError>) -> Handled<A> {
        let worker = Rc::clone(&self.worker);
        let body = match body {
            Ok(body) if body.len() <= self.limit() => body,
            Ok(_) | Err(BodyError::TooLarge) => return self.too_large().into(),
            Err(BodyError::TooSlow) => {
                return worker.plain(&self.exchange, StatusCode::REQUEST_TIMEOUT).into();
            }
            Err(BodyError::Broken) => {
                return worker.plain(&self.exchange, StatusCode::BAD_REQUEST).into();
            }
        };
        worker.shard.0.metrics.bytes_in.add(body.len() as u64);
        let Some(payload) = self.payload(&body) else {
            // The official server ignores a form without a payload.
            return self.done().into();
        };
        if self.exchange.jsonp.is_some() && payload.len() > worker.shard.0.config.max_payload() {
            return self.too_large().into();
        }
        let mut packets = Packets::new(&payload, self.exchange.version).enumerate().peekable();
        let taken = worker.take_until_held(self.key, &mut packets, false);
        let next = packets.next().map(|(number, _)| number);
        match (taken, next) {
            (Taken::All, _) | (_, None) if !worker.shard.is_held(self.key) => self.done().into(),
            (_, next) => {
                let next = next.unwrap_or(usize::MAX);
                Handled::later(self.take_rest(body.clone(), next))
            }
        }
    }

    fn payload<'b>(&self, body: &'b Bytes) -> Option<Payload<'b>> {
        if self.exchange.jsonp.is_some() {
            return jsonp::decode_request(body).map(|text| Payload::Text(Cow::Owned(text)));
        }
        Some(if self.binary {
            Payload::Binary(body)
        } else {
            // Node reads such a body as a string, in which broken UTF-8 becomes U+FFFD.
            Payload::Text(String::from_utf8_lossy(body))
        })
    }

    /// Takes the packets behind the first ones, but none while something holds the session: one body can
    /// have many more than an application may have under way at a time. A client that has to wait for too
    /// long cannot send heartbeats either, and their end is the end of the waiting.
    async fn take_rest(mut self, body: Bytes, first: usize) -> Answer {
        let worker = Rc::clone(&self.worker);
        let (shard, key) = (&worker.shard, self.key);
        if let Some(payload) = self.payload(&body) {
            let packets = Packets::new(&payload, self.exchange.version);
            let mut packets = packets.enumerate().skip(first).peekable();
            let mut in_order = false;
            loop {
                match worker.take_until_held(key, &mut packets, in_order) {
                    Taken::All => break,
                    Taken::Held => shard.released(key, HELD_LOOK).await,
                    Taken::Close => {
                        worker.let_earlier_requests_by().await;
                        in_order = true;
                    }
                }
            }
        }
        // A client whose handlers lag behind is not asked for more; see `Shard::hold`.
        shard.released(key, shard.0.config.local.body_timeout).await;
        self.done()
    }

    /// Also after a malformed payload, as the official server does: the session's end tells.
    fn done(&mut self) -> Answer {
        let mut response = Answer::new(StatusCode::OK, Bytes::from_static(b"ok"));
        response.headers.append(CONTENT_TYPE, HeaderValue::from_static("text/html"));
        self.worker.finish(self.exchange.facts(), &mut response, None);
        self.end();
        response
    }

    fn too_large(&mut self) -> Answer {
        self.end();
        self.worker.plain(&self.exchange, StatusCode::PAYLOAD_TOO_LARGE)
    }

    fn end(&mut self) {
        self.ended = true;
        let shard = &self.worker.shard;
        let now = shard.now();
        shard.with_state(|state, env| state.input(env, now, self.key, Input::PostEnded));
    }
}

impl<A: Application> Drop for Posting<A> {
    fn drop(&mut self) {
        if !self.ended {
            let shard = &self.worker.shard;
            let now = shard.now();
            shard.with_state(|state, env| state.input(env, now, self.key, Input::PostAborted));
        }
    }
}

/// How far a body's packets were taken.
enum Taken {
    /// All of them, or up to an error that has ended the session.
    All,
    /// The session is held.
    Held,
    /// The next one is CLOSE, and no GET waits that it would answer.
    Close,
}

impl<A: Application> Worker<A> {
    /// Takes packets until something holds the session, or until a CLOSE that may have overtaken a GET.
    fn take_until_held<'p>(
        &self,
        key: SessionKey,
        packets: &mut Peekable<impl Iterator<Item = (usize, Result<Packet<'p>, PayloadError>)>>,
        in_order: bool,
    ) -> Taken {
        let now = self.shard.now();
        while !self.shard.is_held(key) {
            if let Some((_, Ok(packet))) = packets.peek()
                && packet.kind == PacketType::Close
                && !in_order
                && !self.get_waits(key)
            {
                return Taken::Close;
            }
            let packet = match packets.next() {
                Some((_, Ok(packet))) => packet,
                Some((_, Err(_))) => {
                    self.shard
                        .with_state(|state, env| state.input(env, now, key, Input::Malformed));
                    return Taken::All;
                }
                None => return Taken::All,
            };
            let data = self
                .shard
                .with_state(|state, env| state.input(env, now, key, Input::Packet(packet)));
            if let Some(data) = data {
                self.deliver(key, &data);
            }
        }
        Taken::Held
    }

    fn get_waits(&self, key: SessionKey) -> bool {
        let mut state = self.shard.0.state.borrow_mut();
        state.conn(key).is_some_and(|conn| conn.session.get_waits())
    }
}

/// A body without what wraps it.
enum Payload<'b> {
    Text(Cow<'b, str>),
    Binary(&'b [u8]),
}

impl Payload<'_> {
    fn len(&self) -> usize {
        match self {
            Payload::Text(text) => text.len(),
            Payload::Binary(bytes) => bytes.len(),
        }
    }
}

/// The packets of a payload in any form.
enum Packets<'p> {
    V4(DecodeV4<'p>),
    V3Text(DecodeV3Text<'p>),
    V3Binary(DecodeV3Binary<'p>),
}

impl<'p> Packets<'p> {
    fn new(payload: &'p Payload<'_>, version: Version) -> Packets<'p> {
        match (payload, version) {
            (Payload::Binary(bytes), _) => Packets::V3Binary(decode_v3_binary(bytes)),
            (Payload::Text(text), Version::V4) => Packets::V4(decode_v4(text)),
            (Payload::Text(text), Version::V3) => Packets::V3Text(decode_v3_text(text)),
        }
    }
}

impl<'p> Iterator for Packets<'p> {
    type Item = Result<Packet<'p>, PayloadError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Packets::V4(packets) => packets.next(),
            Packets::V3Text(packets) => packets.next(),
            Packets::V3Binary(packets) => packets.next(),
        }
    }
}
