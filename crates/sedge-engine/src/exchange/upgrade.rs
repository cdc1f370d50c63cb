//! WebSocket handshakes: of new sessions, and of sessions that come from polling.
//!
//! A handshake has two halves. The request is checked and answered with 101 here; the connection
//! itself is handed over once the response has been written, with the [`Ticket`] that the response
//! carries. In between the session, if there is one already, only waits for a probe.

use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderValue, Method, StatusCode};
use sedge_protocol::engine::Open;
use sedge_protocol::engine::session::{Input, Refused};
use sedge_protocol::request;
use sedge_protocol::sid::SessionId;
use sedge_protocol::ws::{
    HandshakeError, Opcode, SUPPORTED_VERSION, negotiate, put_frame, validate,
};

use super::answers::Exchange;
use crate::application::{Application, SessionKey, Transport};
use crate::handshake::Handshake;
use crate::hooks::ErrorContext;
use crate::http::answer::Answer;
use crate::http::head::Head;
use crate::http::ticket::{Purpose, Ticket};
use crate::net::io::Io;
use crate::shard::conn::{Polling, Probe, WebSocket};
use crate::shard::farewell;
use crate::shard::frames::Dialect;
use crate::shard::outbox::Outbox;
use crate::tasks;
use crate::worker::Worker;
use crate::worker::command::{Adoption, Command, Upgraded};
use crate::worker::tunnel::Tunnel;
use crate::worker::websocket::WebSocketTask;

impl<A: Application> Worker<A> {
    /// Hands an upgraded connection to the shard that its ticket names.
    pub(crate) fn settle(self: &Rc<Self>, upgraded: Upgraded) {
        let Upgraded { ticket, io, answer, early } = upgraded;
        if ticket.shard == self.shard.index() {
            return self.adopt(ticket, io, answer, early);
        }
        let Ok(io) = io.detach() else { return };
        let sender = self.shards[ticket.shard].sender.clone();
        tasks::adoption(async move {
            // If the shard has ended, so has the session.
            let adoption = Adoption { ticket, io, answer, early };
            let _ = sender.send(Command::Adopt(Box::new(adoption))).await;
        });
    }

    pub(super) fn open_websocket(&self, exchange: &Exchange, handshake: Arc<Handshake>) -> Answer {
        let purpose = |deflate| Purpose::Open {
            version: exchange.version,
            base64: exchange.base64,
            deflate,
            handshake,
        };
        self.switch_protocols(exchange, true, |deflate| Ok(purpose(deflate)))
    }

    pub(super) fn upgrade_session(&self, key: SessionKey, exchange: &Exchange) -> Answer {
        let now = self.shard.now();
        self.switch_protocols(exchange, false, |deflate| {
            self.shard.with_state(|state, inner| {
                match state.try_input(inner, now, key, Input::Probe) {
                    Ok(_) => {}
                    Err(Refused::SecondUpgrade) => return Ok(Purpose::Refuse),
                    Err(refused) => return Err(refused),
                }
                let ticket = state.next_websocket_id();
                if let Some(Polling { probe, .. }) = state.conn(key).and_then(|c| c.polling()) {
                    let outbox = Outbox::default();
                    let base64 = exchange.base64;
                    let probe_of = Probe { websocket: None, ticket, outbox, deflate, base64 };
                    *probe = Some(Box::new(probe_of));
                    inner.metrics.probes.add(1);
                }
                Ok(Purpose::Probe { key, ticket })
            })
        })
    }

    /// `initial` says that a session begins with this.
    fn switch_protocols(
        &self,
        exchange: &Exchange,
        initial: bool,
        purpose: impl FnOnce(bool) -> Result<Purpose, Refused>,
    ) -> Answer {
        let accept = match accept(&exchange.head) {
            Ok(accept) => accept,
            Err(error) => return self.refuse_handshake(exchange, error),
        };
        let request = &exchange.head;
        let extension = match &self.shard.0.config.local.per_message_deflate {
            Some(_) => request.list(&SEC_WEBSOCKET_EXTENSIONS).and_then(|o| negotiate(&o)),
            None => None,
        };
        if request.request().version == request::Version::Http10 {
            sedge_log::warn_rarely!(
                "a WebSocket was asked for in HTTP/1.0: if nginx stands in front, \
                 it needs `proxy_http_version 1.1`"
            );
        }
        let mut response = Answer::new(StatusCode::SWITCHING_PROTOCOLS, Bytes::new());
        let headers = &mut response.headers;
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        if let Some(extension) = extension {
            headers.insert(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(extension));
        }
        if let Some(protocol) = first_protocol(request) {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        self.header_hooks(exchange, headers, initial);
        // Last of all, since a hook that panics must not leave a probe behind.
        let purpose = match purpose(extension.is_some()) {
            Ok(purpose) => purpose,
            Err(refused) => return self.refuse_session(exchange, refused),
        };
        response.ticket = Some(Ticket { shard: self.shard.index(), purpose });
        response
    }

    fn refuse_handshake(&self, exchange: &Exchange, error: HandshakeError) -> Answer {
        let context = ErrorContext::TransportHandshakeError(error.to_string());
        let mut response = self.refuse_exchange(exchange, context);
        // RFC 6455 §4.4: say which version would do.
        response.headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(SUPPORTED_VERSION));
        response
    }

    /// Takes over a connection whose handshake has been answered, or is by `answer`, which has yet to
    /// be written. `early` is what the client sent right behind its request.
    pub(crate) fn adopt(self: &Rc<Self>, ticket: Ticket, io: Io, answer: Bytes, early: Bytes) {
        let now = self.shard.now();
        let (key, id) = match ticket.purpose {
            Purpose::Refuse => {
                let mut outbox = Outbox::beginning_with(answer);
                outbox.push(sedge_protocol::ws::close_frame(None, ""));
                farewell::linger(io, outbox, Some(sedge_protocol::ws::MessageReader::new(false)));
                return;
            }
            Purpose::Tunnel(there) => {
                let there = hyper_util::rt::TokioIo::new(there);
                tasks::tunnel(Tunnel::new(&self.shard, (io, answer), (there, early)));
                return;
            }
            Purpose::Open { version, base64, deflate, handshake } => {
                let sid = self.shard.new_sid();
                let open = self.open_frame(&sid, Transport::WebSocket);
                let dialect = Dialect { version, base64, deflate };
                let (key, id) = self.shard.with_state(|state, inner| {
                    state.open_websocket(inner, now, io, sid, dialect, [answer, open])
                });
                self.opened(key, handshake);
                (key, id)
            }
            Purpose::Probe { key, ticket } => {
                let Some(id) = self.begin_probe(key, ticket, io, answer) else { return };
                (key, id)
            }
        };
        if !early.is_empty() {
            self.feed_early(key, id, early);
        }
        tasks::websocket(WebSocketTask::new(Rc::clone(self), key, id));
    }

    /// Gives a probing WebSocket to its session. `None` if the session ended, or its patience did,
    /// while the handshake was answered.
    fn begin_probe(&self, key: SessionKey, ticket: u32, io: Io, answer: Bytes) -> Option<u32> {
        self.shard.with_state(|state, inner| {
            let id = state.next_websocket_id();
            let probe = state.conn(key).and_then(|conn| conn.polling());
            let probe = probe.and_then(|polling| polling.probe.as_deref_mut());
            let wanted = |probe: &&mut Probe| probe.ticket == ticket && probe.websocket.is_none();
            let Some(probe) = probe.filter(wanted) else {
                farewell::linger(io, Outbox::beginning_with(answer), None);
                return None;
            };
            let mut websocket = WebSocket::new(io, id, probe.deflate);
            // The task writes the answer when it begins.
            websocket.blocked = (!answer.is_empty()).then(|| inner.now());
            probe.outbox = Outbox::beginning_with(answer);
            probe.websocket = Some(websocket);
            inner.metrics.connections_websocket.add(1);
            Some(id)
        })
    }

    fn feed_early(&self, key: SessionKey, id: u32, early: Bytes) {
        let mut scratch = self.shard.take_scratch();
        let mut input = Vec::from(early);
        self.shard.0.metrics.bytes_in.add(input.len() as u64);
        self.feed(key, id, self.shard.now(), &mut input, &mut scratch.message);
        self.shard.return_scratch(scratch);
    }

    /// Tells the application of a new session.
    pub(super) fn opened(&self, key: SessionKey, handshake: Arc<Handshake>) {
        if let Some(conn) = self.shard.0.state.borrow_mut().conn(key) {
            conn.told = true;
        }
        if let Some(initial) = &self.shard.0.config.local.initial_packet {
            self.shard.send(key, [initial.message()], crate::SendOptions::default());
        }
        self.app.on_open(key, handshake);
    }

    /// The OPEN packet, framed.
    pub(super) fn open_frame(&self, sid: &SessionId, transport: Transport) -> Bytes {
        let inner = &self.shard.0;
        let mut packet = Vec::with_capacity(128);
        let sid = sid.text();
        let open = Open {
            sid: sid.as_str(),
            upgrades: inner.config.upgrades(transport),
            ping_interval_ms: u64::from(inner.timing.ping_interval),
            ping_timeout_ms: u64::from(inner.timing.ping_timeout),
            max_payload: inner.config.max_payload() as u64,
        };
        open.write(&mut packet);
        let mut frame = BytesMut::with_capacity(packet.len() + 4);
        put_frame(&mut frame, Opcode::Text, false, &[&packet]);
        frame.freeze()
    }
}

/// Checks the handshake (RFC 6455 §4.2.1) and computes the accept key.
fn accept(head: &Head) -> Result<HeaderValue, HandshakeError> {
    let key = validate(
        *head.method() == Method::GET,
        head.values(SEC_WEBSOCKET_VERSION.as_str()),
        head.values(SEC_WEBSOCKET_KEY.as_str()),
    )?;
    HeaderValue::from_bytes(&key.accept()).map_err(|_| HandshakeError::Key)
}

/// The first subprotocol offered: without an answer a browser that offered any gives up.
fn first_protocol(head: &Head) -> Option<HeaderValue> {
    let offered = head.list(&SEC_WEBSOCKET_PROTOCOL)?;
    HeaderValue::from_str(offered.split(',').next()?.trim()).ok().filter(|v| !v.is_empty())
}
