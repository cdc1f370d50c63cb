//! HTTP requests of the Engine.IO path: which session they are for, and what is wrong with them.
//!
//! The same code serves the engine's own listeners and the tower service. A request runs on the shard
//! that owns its session; one that arrives elsewhere is sent there whole.

pub(crate) mod body;
pub(crate) mod compress;
pub(crate) mod cookie;
pub(crate) mod cors;
pub(crate) mod error;
mod polling;
pub(crate) mod query;
pub(crate) mod upgrade;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ORIGIN, SET_COOKIE, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use sedge_protocol::engine::Version;
use sedge_protocol::engine::session::Refused;
use sedge_protocol::sid::SessionId;

use crate::application::{Application, SessionKey, Transport};
use crate::engine::Worker;
use crate::handshake::Handshake;
use crate::hooks::{ConnectionError, ErrorContext, RequestInfo};
use body::{RequestBody, ResponseBody};
use query::{Eio, EngineQuery};

/// What is known about the connection a request came on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Peer {
    pub(crate) address: Option<SocketAddr>,
    pub(crate) secure: bool,
}

/// A request under way: its head and its connection.
pub(crate) struct Exchange {
    parts: Parts,
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
}

impl<A: Application> Worker<A> {
    /// Answers a request for the engine's path; `rest` is the part of the URL behind it.
    pub(crate) async fn handle(
        self: Rc<Self>,
        request: Request<RequestBody>,
        peer: Peer,
    ) -> Response<ResponseBody> {
        let (parts, body) = request.into_parts();
        if let Some(response) = self.before_routing(&parts) {
            return response;
        }
        let query = EngineQuery::parse(parts.uri.query().unwrap_or_default());
        let upgrade = upgrade::is_upgrade(&parts.headers);
        let (transport, target) = match self.route(&parts, &query, upgrade) {
            Ok(routed) => routed,
            Err(context) => return self.refuse(&parts, peer, upgrade, context),
        };
        let version = requested_version(query.eio);
        let base64 = query.b64;
        let jsonp = query.jsonp.map(str::to_owned);
        // What is rare is boxed: this future is moved for every request, so its size counts.
        if let Target::Elsewhere(shard) = target {
            return Box::pin(self.forward(shard, Request::from_parts(parts, body), peer)).await;
        }
        let exchange = Exchange { parts, peer, upgrade, version, base64, jsonp };
        match (target, transport) {
            (Target::Existing(key), Transport::Polling) => {
                self.polling_request(key, exchange, body).await
            }
            (Target::Existing(key), Transport::WebSocket) => self.upgrade_session(key, &exchange),
            (_, transport) => Box::pin(self.open(transport, exchange)).await,
        }
    }

    /// Opens a session, if that is allowed.
    async fn open(
        self: Rc<Self>,
        transport: Transport,
        exchange: Exchange,
    ) -> Response<ResponseBody> {
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
    fn before_routing(&self, parts: &Parts) -> Option<Response<ResponseBody>> {
        let config = &self.shard.0.config;
        if let Some(cors) = &config.local.cors
            && parts.method == Method::OPTIONS
        {
            let mut response = Response::new(ResponseBody::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            *response.headers_mut() = cors.preflight(&parts.headers);
            return Some(response);
        }
        let files = config.local.client_files.as_ref()?;
        let name = config.matches(parts.uri.path()).filter(|name| !name.is_empty())?;
        let mut response = files.respond(&parts.method, name, &parts.headers)?;
        if let Some(cors) = &config.local.cors {
            cors.apply(&parts.headers, response.headers_mut());
        }
        Some(response.map(ResponseBody::full))
    }

    /// The checks of the official server's `verify`, in its order.
    fn route(
        &self,
        parts: &Parts,
        query: &EngineQuery<'_>,
        upgrade: bool,
    ) -> Result<(Transport, Target), ErrorContext> {
        let config = &self.shard.0.config;
        let transport = query
            .transport
            .and_then(|name| config.shared.transports.find(name))
            .ok_or_else(|| ErrorContext::TransportUnknown(query.transport.map(str::to_owned)))?;
        if parts.headers.get(ORIGIN).is_some_and(|origin| origin.to_str().is_err()) {
            return Err(ErrorContext::InvalidOrigin);
        }
        let target = match query.sid {
            Some(sid) => self.find(sid, transport, requested_version(query.eio))?,
            None if parts.method != Method::GET => {
                return Err(ErrorContext::BadHandshakeMethod(parts.method.clone()));
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
    ) -> Result<Target, ErrorContext> {
        let inner = &self.shard.0;
        let unknown = || ErrorContext::SessionIdUnknown(sid.to_owned());
        let id = SessionId::parse(sid.as_bytes()).ok_or_else(unknown)?;
        let owner = inner.codec.decode(&id).ok_or_else(unknown)?;
        let local = &inner.config.local;
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
        let key = inner.state.borrow().find(&id).ok_or_else(unknown)?;
        // The timer wheel is coarse: a session whose time is up is gone, whether it has been told
        // or not.
        self.shard.check_deadline(key);
        let mut state = inner.state.borrow_mut();
        let conn = state.conn(key).ok_or_else(unknown)?;
        if conn.dialect.version != version {
            return Err(ErrorContext::ProtocolMismatch {
                protocol: version.number(),
                previous: conn.dialect.version.number(),
            });
        }
        let previous = conn.transport();
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
            &exchange.parts,
            exchange.peer.address,
            exchange.peer.secure,
            config.local.keep_handshake_headers,
        ));
        let Some(allow) = &config.local.hooks.allow_request else { return Ok(handshake) };
        let asked = if config.local.keep_handshake_headers {
            Arc::clone(&handshake)
        } else {
            let Exchange { parts, peer, .. } = exchange;
            Arc::new(Handshake::new(parts, peer.address, peer.secure, true))
        };
        allow(asked).await.map_err(ErrorContext::Forbidden)?;
        Ok(handshake)
    }

    fn is_full(&self) -> bool {
        self.shard.session_count() >= self.shard.0.config.local.sessions_max
            || self.shard.0.closing.get()
    }

    fn refuse_exchange(
        &self,
        exchange: &Exchange,
        context: ErrorContext,
    ) -> Response<ResponseBody> {
        self.refuse(&exchange.parts, exchange.peer, exchange.upgrade, context)
    }

    fn refuse(
        &self,
        parts: &Parts,
        peer: Peer,
        upgrade: bool,
        context: ErrorContext,
    ) -> Response<ResponseBody> {
        let config = &self.shard.0.config;
        let code = context.code();
        self.shard.0.metrics.refused[code as usize].add(1);
        tracing::debug!(%code, %context, "request refused");
        let mut response = if upgrade {
            code.upgrade_response(context.refusal())
        } else {
            code.polling_response(context.refusal())
        };
        if let Some(hook) = &config.local.hooks.connection_error {
            hook(&ConnectionError::new(context, parts.uri.to_string(), peer.address));
        }
        if let Some(cors) = &config.local.cors
            && !upgrade
        {
            cors.apply(&parts.headers, response.headers_mut());
        }
        response.map(ResponseBody::full)
    }

    fn refuse_session(&self, exchange: &Exchange, refused: Refused) -> Response<ResponseBody> {
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
                let query = EngineQuery::parse(exchange.parts.uri.query().unwrap_or_default());
                let sid = query.sid.unwrap_or_default().to_owned();
                self.refuse_exchange(exchange, ErrorContext::SessionIdUnknown(sid))
            }
        }
    }

    /// A response without a body.
    fn plain(&self, exchange: &Exchange, status: StatusCode) -> Response<ResponseBody> {
        let mut response = Response::new(ResponseBody::empty());
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        self.finish(exchange, &mut response, None);
        response
    }

    /// Adds what every response of a session carries. `opened` is the id of a session that this
    /// response opens.
    fn finish(
        &self,
        exchange: &Exchange,
        response: &mut Response<ResponseBody>,
        opened: Option<&SessionId>,
    ) {
        let config = &self.shard.0.config;
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // These browsers would otherwise look for scripts in JSON and offer to repair the page.
        if let Some(agent) = exchange.parts.headers.get(USER_AGENT)
            && let Ok(agent) = agent.to_str()
            && (agent.contains(";MSIE") || agent.contains("Trident/"))
        {
            headers.insert("x-xss-protection", HeaderValue::from_static("0"));
        }
        if let Some(cors) = &config.local.cors {
            cors.apply(&exchange.parts.headers, headers);
        }
        if let Some(sid) = opened
            && let Some(cookie) = &config.local.cookie
        {
            headers
                .extend(cookie.header_value(sid.text().as_str()).map(|value| (SET_COOKIE, value)));
        }
        self.header_hooks(exchange, headers, opened.is_some());
    }

    fn header_hooks(&self, exchange: &Exchange, headers: &mut HeaderMap, initial: bool) {
        let hooks = &self.shard.0.config.local.hooks;
        if hooks.initial_headers.is_none() && hooks.headers.is_none() {
            return;
        }
        let Parts { method, uri, headers: request, .. } = &exchange.parts;
        let info = RequestInfo { method, uri, headers: request, address: exchange.peer.address };
        if let Some(hook) = &hooks.initial_headers
            && initial
        {
            hook(headers, &info);
        }
        if let Some(hook) = &hooks.headers {
            hook(headers, &info);
        }
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
pub(crate) fn unavailable() -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::full("the server takes no new sessions"));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(http::header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// The answer where nobody serves a path.
pub(crate) fn not_found() -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::full("not found"));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
