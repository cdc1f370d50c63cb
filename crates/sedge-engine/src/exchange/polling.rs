//! The polling transport: GETs that wait for packets and POSTs that bring them.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use sedge_protocol::engine::payload::{decode_v3_binary, decode_v3_text, decode_v4};
use sedge_protocol::engine::session::{Input, Refused};
use sedge_protocol::engine::{Packet, PayloadError, Version, jsonp};
use sedge_protocol::sid::SessionId;
use tokio::sync::oneshot;

use super::answers::Exchange;
use crate::application::{Application, SessionKey};
use crate::handshake::Handshake;
use crate::http::answer::Answer;
use crate::http::body::{BodyError, RequestBody};
use crate::http::compress;
use crate::http::cors::add_vary;
use crate::limits::HELD_LOOK;
use crate::shard::Shard;
use crate::shard::conn::{Conn, PollAnswer};
use crate::worker::Worker;
use crate::worker::command::Command;

impl<A: Application> Worker<A> {
    /// Opens a session. In version 4 the response carries the OPEN packet and whatever the application
    /// sends at once; in version 3 OPEN alone, since clients of that age read nothing behind it.
    pub(super) async fn open_polling(
        self: Rc<Self>,
        exchange: Exchange,
        handshake: Arc<Handshake>,
    ) -> Answer {
        let sid = self.shard.new_sid();
        let open = self.open_frame(&sid, crate::Transport::Polling);
        let alone = (exchange.version == Version::V3).then(|| Conn::single(Version::V3, &open));
        let open = alone.is_none().then_some(open);
        let now = self.shard.now();
        let (version, base64) = (exchange.version, exchange.base64);
        let key = self
            .shard
            .with_state(|state, env| state.open_polling(env, now, sid, version, base64, open));
        self.opened(key, handshake);
        match alone {
            Some(answer) => {
                self.shard.0.metrics.bytes_out.add(answer.payload.body.len() as u64);
                self.poll_response(&exchange, answer, Some(&sid))
            }
            None => self.get(key, &exchange, Some(&sid)).await,
        }
    }

    pub(super) async fn polling_request(
        self: Rc<Self>,
        key: SessionKey,
        exchange: Exchange,
        body: RequestBody,
    ) -> Answer {
        match *exchange.head.method() {
            Method::GET => self.get(key, &exchange, None).await,
            Method::POST => self.post(key, &exchange, body).await,
            // What the official server answers.
            _ => self.plain(&exchange, StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    async fn get(
        &self,
        key: SessionKey,
        exchange: &Exchange,
        opened: Option<&SessionId>,
    ) -> Answer {
        let waiting = match self.begin_get(key, exchange) {
            Ok(waiting) => waiting,
            Err(refused) => return self.refuse_session(exchange, refused),
        };
        let mut guard = AbortGuard::new(&self.shard, key, || Input::GetAborted);
        let response = match waiting.await {
            Ok(answer) => self.poll_response(exchange, answer, opened),
            // The session has ended without a last word.
            Err(_) => self.refuse_session(exchange, Refused::Ended),
        };
        // Only now: if a hook has panicked, the client does not get what it waited for.
        guard.disarm();
        response
    }

    /// Has the GET of a session answered now, if one waits; on whichever shard it is.
    pub(crate) fn answer_poll(&self, sid: &SessionId) {
        let inner = &self.shard.0;
        let Some(owner) = inner.codec.decode(sid) else { return };
        let shard = usize::from(owner.shard);
        if shard != inner.index {
            // If its queue is full, the client has to wait as everybody does.
            let _ = self
                .shards
                .get(shard)
                .map(|shard| shard.sender.try_send(Command::AnswerPoll(*sid)));
            return;
        }
        let now = self.shard.now();
        self.shard.with_state(|state, env| {
            if let Some(key) = state.find(sid) {
                state.input(env, now, key, Input::GetHurried);
            }
        });
    }

    fn begin_get(
        &self,
        key: SessionKey,
        exchange: &Exchange,
    ) -> Result<oneshot::Receiver<PollAnswer>, Refused> {
        let now = exchange.now;
        let base64 = exchange.base64 || exchange.jsonp.is_some();
        self.shard.with_state(|state, env| {
            state.try_input(env, now, key, Input::Get)?;
            let receiver = state.wait(env, key, base64).ok_or(Refused::Ended)?;
            state.flush(env, now, key);
            state.fire_due(env, now, key);
            Ok(receiver)
        })
    }

    fn poll_response(
        &self,
        exchange: &Exchange,
        answer: PollAnswer,
        opened: Option<&SessionId>,
    ) -> Answer {
        let PollAnswer { payload, compressible } = answer;
        let (mut body, content_type) = match &exchange.jsonp {
            Some(number) => (jsonp::encode_response(number, &payload.body), jsonp::CONTENT_TYPE),
            None => (payload.body, payload.content_type),
        };
        let mut encoding = None;
        if let Some(compression) = &self.shard.0.config.local.http_compression
            && compressible
            && body.len() >= compression.threshold
            && let Some(wanted) =
                compress::negotiate(exchange.head.list(&ACCEPT_ENCODING).as_deref())
            && let Some(compressed) = compress::compress(wanted, compression.level, &body)
        {
            body = compressed;
            encoding = Some(wanted);
        }
        let mut response = Answer::new(StatusCode::OK, Bytes::from(body));
        let headers = &mut response.headers;
        headers.append(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(encoding) = encoding {
            headers.insert(CONTENT_ENCODING, encoding.header_value());
            add_vary(headers, "Accept-Encoding");
        }
        self.finish(exchange, &mut response, opened);
        response
    }

    async fn post(&self, key: SessionKey, exchange: &Exchange, body: RequestBody) -> Answer {
        let begun = self
            .shard
            .with_state(|state, env| state.try_input(env, exchange.now, key, Input::Post));
        if let Err(refused) = begun {
            return self.refuse_session(exchange, refused);
        }
        let mut guard = AbortGuard::new(&self.shard, key, || Input::PostAborted);
        let binary = exchange
            .head
            .get(&CONTENT_TYPE)
            .is_some_and(|value| value.eq_ignore_ascii_case(b"application/octet-stream"));
        if binary && exchange.version == Version::V4 {
            // Dropping the guard ends the session.
            return self.plain(exchange, StatusCode::BAD_REQUEST);
        }
        let config = &self.shard.0.config;
        // Form encoding makes a JSONP body up to three times as long as its payload.
        let limit = config.max_payload() * if exchange.jsonp.is_some() { 3 } else { 1 };
        let bytes = match crate::http::body::read(body, limit, config.local.body_timeout).await {
            Ok(bytes) => bytes,
            Err(BodyError::TooLarge) => {
                guard.disarm();
                self.end_post(key);
                return self.plain(exchange, StatusCode::PAYLOAD_TOO_LARGE);
            }
            Err(BodyError::TooSlow) => return self.plain(exchange, StatusCode::REQUEST_TIMEOUT),
            Err(BodyError::Broken) => return self.plain(exchange, StatusCode::BAD_REQUEST),
        };
        self.shard.0.metrics.bytes_in.add(bytes.len() as u64);
        if exchange.jsonp.is_some() {
            match jsonp::decode_request(&bytes) {
                Some(payload) if payload.len() > config.max_payload() => {
                    guard.disarm();
                    self.end_post(key);
                    return self.plain(exchange, StatusCode::PAYLOAD_TOO_LARGE);
                }
                Some(payload) => self.take_text(key, exchange.version, &payload).await,
                // The official server ignores a form without a payload.
                None => {}
            }
        } else {
            self.take_payload(key, exchange, binary, &bytes).await;
        }
        // A client whose handlers lag behind is not asked for more; see `Shard::hold`.
        if self.shard.is_held(key) {
            Box::pin(self.shard.released(key, config.local.body_timeout)).await;
        }
        // Also after a malformed payload, as the official server does: the session's end tells.
        let mut response = Answer::new(StatusCode::OK, Bytes::from_static(b"ok"));
        response.headers.append(CONTENT_TYPE, HeaderValue::from_static("text/html"));
        self.finish(exchange, &mut response, None);
        guard.disarm();
        self.end_post(key);
        response
    }

    fn end_post(&self, key: SessionKey) {
        let now = self.shard.now();
        self.shard.with_state(|state, env| state.input(env, now, key, Input::PostEnded));
    }

    async fn take_payload(&self, key: SessionKey, exchange: &Exchange, binary: bool, body: &Bytes) {
        if binary {
            return self.take_packets(key, decode_v3_binary(body)).await;
        }
        // Node reads such a body as a string, in which broken UTF-8 becomes U+FFFD.
        self.take_text(key, exchange.version, &String::from_utf8_lossy(body)).await;
    }

    async fn take_text(&self, key: SessionKey, version: Version, text: &str) {
        match version {
            Version::V4 => self.take_packets(key, decode_v4(text)).await,
            Version::V3 => self.take_packets(key, decode_v3_text(text)).await,
        }
    }

    /// Takes all packets, but none while something holds the session: one body can have many more
    /// than an application may have under way at a time. A client that has to wait for too long
    /// cannot send heartbeats either, and their end is the end of the waiting.
    async fn take_packets<'p>(
        &self,
        key: SessionKey,
        mut packets: impl Iterator<Item = Result<Packet<'p>, PayloadError>>,
    ) {
        while self.take_until_held(key, &mut packets) {
            // Boxed because it is rare and the future of every request would have to hold it.
            Box::pin(self.shard.released(key, HELD_LOOK)).await;
        }
    }

    /// Takes packets until something holds the session; returns whether there may be more.
    fn take_until_held<'p>(
        &self,
        key: SessionKey,
        packets: &mut impl Iterator<Item = Result<Packet<'p>, PayloadError>>,
    ) -> bool {
        let now = self.shard.now();
        while !self.shard.is_held(key) {
            let packet = match packets.next() {
                Some(Ok(packet)) => packet,
                Some(Err(_)) => {
                    self.malformed(key);
                    return false;
                }
                None => return false,
            };
            let data = self
                .shard
                .with_state(|state, env| state.input(env, now, key, Input::Packet(packet)));
            if let Some(data) = data {
                self.deliver(key, &data);
            }
        }
        true
    }

    fn malformed(&self, key: SessionKey) {
        let now = self.shard.now();
        self.shard.with_state(|state, env| state.input(env, now, key, Input::Malformed));
    }
}

/// Reports a request whose connection broke before it was answered: hyper then drops the future.
struct AbortGuard<'a> {
    shard: &'a Shard,
    key: SessionKey,
    input: Option<fn() -> Input<'static>>,
}

impl<'a> AbortGuard<'a> {
    fn new(shard: &'a Shard, key: SessionKey, input: fn() -> Input<'static>) -> AbortGuard<'a> {
        AbortGuard { shard, key, input: Some(input) }
    }

    fn disarm(&mut self) {
        self.input = None;
    }
}

impl Drop for AbortGuard<'_> {
    fn drop(&mut self) {
        if let Some(input) = self.input.take() {
            let now = self.shard.now();
            let key = self.key;
            self.shard.with_state(|state, env| {
                state.abort_get(env, key);
                state.input(env, now, key, input());
            });
        }
    }
}
