//! HTTP requests of the Engine.IO path: which session they are for, and what is wrong with them.
//!
//! The same code serves the engine's own listeners and the tower service. A request runs on the shard
//! that owns its session; one that arrives elsewhere is sent there whole.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{Method, StatusCode};
use sedge_protocol::engine::Version;
use sedge_protocol::engine::session::Time;
use sedge_protocol::sid::SessionId;

use super::answers::Exchange;
use super::handling::{Begun, Handled};
use crate::application::{Application, SessionKey, Transport};
use crate::handshake::Handshake;
use crate::hooks::{AllowRequestFuture, ErrorContext};
use crate::http::answer::Answer;
use crate::http::body::RequestBody;
use crate::http::head::Head;
use crate::http::peer::Peer;
use crate::worker::Worker;
use crate::worker::command::send_request;

/// The session a request is for.
enum Target {
    New,
    Existing(SessionKey, SessionId),
    /// On another shard of this process.
    Elsewhere(usize),
    /// On another worker of this host.
    Sibling(u8),
}

impl<A: Application> Worker<A> {
    /// Looks at the head of a request for the engine's path, and answers it if that can be done at once.
    pub(super) fn begin(self: &Rc<Self>, head: Head, body: RequestBody, peer: Peer) -> Begun<A> {
        if let Some(response) = self.before_routing(&head) {
            return Begun::Handled(response.into());
        }
        let now = self.shard.now();
        let (transport, target) = match self.route(&head, now) {
            Ok(routed) => routed,
            Err(context) => return Begun::Handled(self.refuse(&head, peer, context).into()),
        };
        let worker = Rc::clone(self);
        if let Target::Elsewhere(shard) = target {
            let asked = async move { send_request(&worker.shards[shard], head, body, peer).await };
            return Begun::Handled(Handled::later(asked));
        }
        if let Target::Sibling(to) = target {
            let asked = async move { worker.ask_sibling(to, head, body, peer).await };
            return Begun::Handled(Handled::later(asked));
        }
        let version = head.version();
        let base64 = head.request().target.base64();
        let jsonp = head.jsonp().map(str::to_owned);
        let exchange = Exchange { head, now, peer, version, base64, jsonp };
        Begun::Handled(match (target, transport) {
            (Target::Existing(key, sid), Transport::Polling) => match *exchange.head.method() {
                Method::GET => self.get(key, sid, exchange, false),
                Method::POST => return self.post(key, exchange, body),
                // What the official server answers.
                _ => self.plain(&exchange, StatusCode::INTERNAL_SERVER_ERROR).into(),
            },
            (Target::Existing(key, _), Transport::WebSocket) => {
                self.upgrade_session(key, &exchange).into()
            }
            (_, transport) => self.open(transport, exchange),
        })
    }

    /// Opens a session, if that is allowed.
    fn open(self: &Rc<Self>, transport: Transport, exchange: Exchange) -> Handled<A> {
        let (handshake, asking) = match self.admit(&exchange) {
            Ok(admitted) => admitted,
            Err(context) => return self.refuse_exchange(&exchange, context).into(),
        };
        let Some(asking) = asking else {
            return self.open_admitted(transport, exchange, handshake);
        };
        let worker = Rc::clone(self);
        Handled::later(async move {
            match asking.await {
                Ok(()) => worker.open_admitted(transport, exchange, handshake).answer().await,
                Err(text) => worker.refuse_exchange(&exchange, ErrorContext::Forbidden(text)),
            }
        })
    }

    fn open_admitted(
        self: &Rc<Self>,
        transport: Transport,
        exchange: Exchange,
        handshake: Arc<Handshake>,
    ) -> Handled<A> {
        if self.is_full() {
            return self.unavailable(&exchange.head).into();
        }
        match transport {
            Transport::Polling => self.open_polling(exchange, handshake),
            Transport::WebSocket => self.open_websocket(&exchange, handshake).into(),
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

    /// The checks of the official server's `verify`, in its order, and before them that the request can be
    /// read in one way only.
    fn route(&self, head: &Head, now: Time) -> Result<(Transport, Target), ErrorContext> {
        let config = &self.shard.0.config;
        if let Some(parameter) = head.request().target.repeated() {
            return Err(ErrorContext::RepeatedParameter(parameter));
        }
        let transport = head.transport();
        let transport = transport
            .and_then(|name| config.shared.transports.find(name))
            .ok_or_else(|| ErrorContext::TransportUnknown(transport.map(str::to_owned)))?;
        let target = match head.sid() {
            Some(sid) => self.find(sid, transport, head.version(), now)?,
            None if *head.method() != Method::GET => {
                return Err(ErrorContext::BadHandshakeMethod(head.method().clone()));
            }
            None => Target::New,
        };
        let wrong = match (transport, head.is_upgrade()) {
            (Transport::WebSocket, false) => "no upgrade to websocket is asked for",
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
        let found = self.shard.with_state(|state, env| {
            let key = state.find(&id)?;
            // The timer wheel is coarse: a session whose time is up is gone, whether it has been
            // told or not.
            state.fire_due(env, now, key);
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
        Ok(Target::Existing(key, id))
    }

    /// The checks for new sessions only: the version and the application's own, which takes its time.
    fn admit(
        &self,
        exchange: &Exchange,
    ) -> Result<(Arc<Handshake>, Option<AllowRequestFuture>), ErrorContext> {
        let config = &self.shard.0.config;
        if exchange.version == Version::V3 && !config.shared.allow_eio3 {
            return Err(ErrorContext::UnsupportedProtocolVersion(3));
        }
        let client = exchange.peer.client(&exchange.head, &config.local.proxies);
        let handshake = |keep_headers| {
            Arc::new(Handshake::new(&exchange.head, client.address, client.secure, keep_headers))
        };
        let kept = handshake(config.local.keep_handshake_headers);
        let Some(allow) = &config.local.hooks.allow_request else { return Ok((kept, None)) };
        let keeps = config.local.keep_handshake_headers;
        let asked = if keeps { Arc::clone(&kept) } else { handshake(true) };
        Ok((kept, Some(allow(asked))))
    }

    fn is_full(&self) -> bool {
        self.shard.session_count() >= self.shard.0.config.local.sessions_max
            || self.shard.0.closing.get()
            || self.refusing.load(Ordering::Relaxed)
    }
}
