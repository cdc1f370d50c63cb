//! HTTP requests of the Engine.IO path: which session they are for, and what is wrong with them.
//!
//! The same code serves the engine's own listeners and the tower service. A request runs on the shard
//! that owns its session; one that arrives elsewhere is sent there whole.

pub(crate) mod answer;
pub(crate) mod body;
pub(crate) mod compress;
pub(crate) mod cookie;
pub(crate) mod cors;
pub(crate) mod error;
pub(crate) mod head;
mod polling;
pub(crate) mod query;
pub(crate) mod upgrade;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, ORIGIN, RETRY_AFTER, SET_COOKIE,
    USER_AGENT, X_XSS_PROTECTION,
};
use http::{HeaderValue, Method, StatusCode};
use sedge_protocol::engine::Version;
use sedge_protocol::engine::session::{Refused, Time};
use sedge_protocol::sid::SessionId;

use crate::application::{Application, SessionKey, Transport};
use crate::engine::Worker;
use crate::handshake::Handshake;
use crate::hooks::{ConnectionError, ErrorContext, RequestInfo};
use answer::{Answer, Headers};
use body::RequestBody;
use head::{Head, is_plain};
use query::{Eio, EngineQuery};

/// What is known about the connection a request came on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Peer {
    pub(crate) address: Option<SocketAddr>,
    pub(crate) secure: bool,
}

/// A request under way: its head and its connection.
pub(crate) struct Exchange {
    head: Head,
    /// When it was complete.
    now: Time,
    peer: Peer,
    /// It asks for a protocol switch to WebSocket.
    upgrade: bool,
    version: Version,
    base64: bool,
    /// The `j` parameter.
    jsonp: Option<String>,
}

/// The session a request is for.
enum Target {
    New,
    Existing(SessionKey),
    /// On another shard of this process.
    Elsewhere(usize),
    /// On another worker of this host.
    Sibling(u8),
}

impl<A: Application> Worker<A> {
    /// Answers a request for the engine's path.
    pub(crate) async fn handle(
        self: Rc<Self>,
        head: Head,
        body: RequestBody,
        peer: Peer,
    ) -> Answer {
        if let Some(response) = self.before_routing(&head) {
            return response;
        }
        let query = EngineQuery::parse(head.query());
        let upgrade = upgrade::is_upgrade(&head);
        let now = self.shard.now();
        let (transport, target) = match self.route(&head, &query, upgrade, now) {
            Ok(routed) => routed,
            Err(context) => return self.refuse(&head, peer, upgrade, context),
        };
        let version = requested_version(query.eio);
        let base64 = query.b64;
        let jsonp = query.jsonp.map(str::to_owned);
        // What is rare is boxed: this future is moved for every request, so its size counts.
        if let Target::Elsewhere(shard) = target {
            return Box::pin(self.forward(shard, head, body, peer)).await;
        }
        if let Target::Sibling(worker) = target {
            return Box::pin(self.ask_sibling(worker, head, body, peer, upgrade)).await;
        }
        let exchange = Exchange { head, now, peer, upgrade, version, base64, jsonp };
        match (target, transport) {
            (Target::Existing(key), Transport::Polling) => {
                self.polling_request(key, exchange, body).await
            }
            (Target::Existing(key), Transport::WebSocket) => self.upgrade_session(key, &exchange),
            (_, transport) => Box::pin(self.open(transport, exchange)).await,
        }
    }

    /// Opens a session, if that is allowed.
    async fn open(self: Rc<Self>, transport: Transport, exchange: Exchange) -> Answer {
        match self.admit(&exchange).await {
            Err(context) => self.refuse_exchange(&exchange, context),
            Ok(_) if self.is_full() => unavailable(),
            Ok(handshake) => match transport {
                Transport::Polling => self.open_polling(exchange, handshake).await,
                Transport::WebSocket => self.open_websocket(&exchange, handshake),
            },
        }
    }

    /// Answers what is no request of the protocol: client files and CORS preflights.
    fn before_routing(&self, head: &Head) -> Option<Answer> {
        let config = &self.shard.0.config;
        if let Some(cors) = &config.local.cors
            && *head.method() == Method::OPTIONS
        {
            let mut response = Answer::new(StatusCode::NO_CONTENT, Bytes::new());
            response.headers = cors.preflight(head);
            return Some(response);
        }
        let files = config.local.client_files.as_ref()?;
        let name = config.matches(head.path()).filter(|name| !name.is_empty())?;
        let mut answer = Answer::from(files.respond(head.method(), name, &head.parts().headers)?);
        self.apply_cors(head, &mut answer.headers);
        Some(answer)
    }

    fn apply_cors(&self, head: &Head, response: &mut Headers) {
        if let Some(cors) = &self.shard.0.config.local.cors {
            cors.apply(head.get(&ORIGIN), response);
        }
    }

    /// The checks of the official server's `verify`, in its order.
    fn route(
        &self,
        head: &Head,
        query: &EngineQuery<'_>,
        upgrade: bool,
        now: Time,
    ) -> Result<(Transport, Target), ErrorContext> {
        let config = &self.shard.0.config;
        let transport = query
            .transport
            .and_then(|name| config.shared.transports.find(name))
            .ok_or_else(|| ErrorContext::TransportUnknown(query.transport.map(str::to_owned)))?;
        if head.get(&ORIGIN).is_some_and(|origin| !is_plain(origin)) {
            return Err(ErrorContext::InvalidOrigin);
        }
        let target = match query.sid {
            Some(sid) => self.find(sid, transport, requested_version(query.eio), now)?,
            None if *head.method() != Method::GET => {
                return Err(ErrorContext::BadHandshakeMethod(head.method().clone()));
            }
            None => Target::New,
        };
        let wrong = match (transport, upgrade) {
            (Transport::WebSocket, false) => "no Upgrade: websocket header",
            (Transport::Polling, true) => "transport=polling cannot be upgraded to",
            _ => return Ok((transport, target)),
        };
        Err(ErrorContext::TransportHandshakeError(wrong.to_owned()))
    }

    fn find(
        &self,
        sid: &str,
        transport: Transport,
        version: Version,
        now: Time,
    ) -> Result<Target, ErrorContext> {
        let inner = &self.shard.0;
        let unknown = || ErrorContext::SessionIdUnknown(sid.to_owned());
        let id = SessionId::parse(sid.as_bytes()).ok_or_else(unknown)?;
        let owner = inner.codec.decode(&id).ok_or_else(unknown)?;
        let local = &inner.config.local;
        if let Some(sibling) = self.sibling_of(owner) {
            return Ok(Target::Sibling(sibling));
        }
        if owner.node != local.node || owner.worker != local.worker {
            return Err(unknown());
        }
        let shard = usize::from(owner.shard);
        if shard != inner.index {
            return if shard < self.shards.len() {
                Ok(Target::Elsewhere(shard))
            } else {
                Err(unknown())
            };
        }
        let found = self.shard.with_state(|state, inner| {
            let key = state.find(&id)?;
            // The timer wheel is coarse: a session whose time is up is gone, whether it has been
            // told or not.
            state.fire_due(inner, now, key);
            state.conn(key).map(|conn| (key, conn.dialect.version, conn.transport()))
        });
        let (key, spoken, previous) = found.ok_or_else(unknown)?;
        if spoken != version {
            return Err(ErrorContext::ProtocolMismatch {
                protocol: version.number(),
                previous: spoken.number(),
            });
        }
        if transport == Transport::Polling && previous != Transport::Polling {
            return Err(ErrorContext::TransportMismatch { transport, previous });
        }
        Ok(Target::Existing(key))
    }

    /// The checks for new sessions only: the version and the application's own.
    async fn admit(&self, exchange: &Exchange) -> Result<Arc<Handshake>, ErrorContext> {
        let config = &self.shard.0.config;
        if exchange.version == Version::V3 && !config.shared.allow_eio3 {
            return Err(ErrorContext::UnsupportedProtocolVersion(3));
        }
        let handshake = Arc::new(Handshake::new(
            &exchange.head,
            exchange.peer.address,
            exchange.peer.secure,
            config.local.keep_handshake_headers,
        ));
        let Some(allow) = &config.local.hooks.allow_request else { return Ok(handshake) };
        let asked = if config.local.keep_handshake_headers {
            Arc::clone(&handshake)
        } else {
            let Exchange { head, peer, .. } = exchange;
            Arc::new(Handshake::new(head, peer.address, peer.secure, true))
        };
        allow(asked).await.map_err(ErrorContext::Forbidden)?;
        Ok(handshake)
    }

    fn is_full(&self) -> bool {
        self.shard.session_count() >= self.shard.0.config.local.sessions_max
            || self.shard.0.closing.get()
            || self.refusing.load(Ordering::Relaxed)
    }

    fn refuse_exchange(&self, exchange: &Exchange, context: ErrorContext) -> Answer {
        self.refuse(&exchange.head, exchange.peer, exchange.upgrade, context)
    }

    pub(crate) fn refuse(
        &self,
        head: &Head,
        peer: Peer,
        upgrade: bool,
        context: ErrorContext,
    ) -> Answer {
        let config = &self.shard.0.config;
        let code = context.code();
        self.shard.0.metrics.refused[code as usize].add(1);
        tracing::debug!(%code, %context, "request refused");
        let mut answer = Answer::from(if upgrade {
            code.upgrade_response(context.refusal())
        } else {
            code.polling_response(context.refusal())
        });
        if let Some(hook) = &config.local.hooks.connection_error {
            hook(&ConnectionError::new(context, head.target().to_owned(), peer.address));
        }
        if !upgrade {
            self.apply_cors(head, &mut answer.headers);
        }
        answer
    }

    fn refuse_session(&self, exchange: &Exchange, refused: Refused) -> Answer {
        match refused {
            // The official server answers these with an empty 400.
            Refused::OverlappingGet | Refused::OverlappingPost => {
                self.plain(exchange, StatusCode::BAD_REQUEST)
            }
            Refused::TransportMismatch | Refused::SecondUpgrade => {
                let (transport, previous) = (Transport::Polling, Transport::WebSocket);
                let context = ErrorContext::TransportMismatch { transport, previous };
                self.refuse_exchange(exchange, context)
            }
            Refused::Ended => {
                let query = EngineQuery::parse(exchange.head.query());
                let sid = query.sid.unwrap_or_default().to_owned();
                self.refuse_exchange(exchange, ErrorContext::SessionIdUnknown(sid))
            }
        }
    }

    /// A response without a body.
    fn plain(&self, exchange: &Exchange, status: StatusCode) -> Answer {
        let mut response = Answer::new(status, Bytes::new());
        response.headers.append(CONTENT_LENGTH, HeaderValue::from_static("0"));
        self.finish(exchange, &mut response, None);
        response
    }

    /// Adds what every response of a session carries. `opened` is the id of a session that this
    /// response opens.
    fn finish(&self, exchange: &Exchange, response: &mut Answer, opened: Option<&SessionId>) {
        let config = &self.shard.0.config;
        let headers = &mut response.headers;
        headers.append(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // These browsers would otherwise look for scripts in JSON and offer to repair the page.
        if let Some(agent) = exchange.head.text(&USER_AGENT)
            && (agent.contains(";MSIE") || agent.contains("Trident/"))
        {
            headers.append(X_XSS_PROTECTION, HeaderValue::from_static("0"));
        }
        self.apply_cors(&exchange.head, headers);
        if let Some(sid) = opened
            && let Some(cookie) = &config.local.cookie
            && let Some(value) = cookie.header_value(sid.text().as_str())
        {
            headers.append(SET_COOKIE, value);
        }
        self.header_hooks(exchange, headers, opened.is_some());
    }

    fn header_hooks(&self, exchange: &Exchange, headers: &mut Headers, initial: bool) {
        let hooks = &self.shard.0.config.local.hooks;
        if hooks.initial_headers.is_none() && hooks.headers.is_none() {
            return;
        }
        let parts = exchange.head.parts();
        let info = RequestInfo {
            method: &parts.method,
            uri: &parts.uri,
            headers: &parts.headers,
            address: exchange.peer.address,
        };
        let mut map = std::mem::take(headers).into_map();
        if let Some(hook) = &hooks.initial_headers
            && initial
        {
            hook(&mut map, &info);
        }
        if let Some(hook) = &hooks.headers {
            hook(&mut map, &info);
        }
        *headers = Headers::from_map(&map);
    }
}

/// The version as the official server reads it: everything but exactly `4` is 3.
fn requested_version(eio: Eio<'_>) -> Version {
    match eio {
        Eio::Once("4") => Version::V4,
        _ => Version::V3,
    }
}

/// The answer while the server is full or shutting down.
pub(crate) fn unavailable() -> Answer {
    let body = Bytes::from_static(b"the server takes no new sessions");
    let mut response = Answer::new(StatusCode::SERVICE_UNAVAILABLE, body);
    let headers = &mut response.headers;
    headers.append(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.append(RETRY_AFTER, HeaderValue::from_static("1"));
    // The next try may find another server.
    headers.append(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The answer where nobody serves a path.
pub(crate) fn not_found() -> Answer {
    let mut response = Answer::new(StatusCode::NOT_FOUND, Bytes::from_static(b"not found"));
    response.headers.append(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
