//! A request under way, and how it is answered: refusals, and what every answer of a session carries.

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, ORIGIN, SET_COOKIE, USER_AGENT, X_XSS_PROTECTION,
};
use http::{HeaderValue, StatusCode};
use sedge_protocol::engine::Version;
use sedge_protocol::engine::session::{Refused, Time};
use sedge_protocol::sid::SessionId;

use crate::application::{Application, Transport};
use crate::config::Local;
use crate::hooks::{ConnectionError, ErrorContext, RequestInfo};
use crate::http::answer::{Answer, Headers, unavailable};
use crate::http::head::Head;
use crate::http::peer::Peer;
use crate::worker::Worker;

/// A request under way: its head and its connection.
pub(crate) struct Exchange {
    pub(super) head: Head,
    /// When it was complete.
    pub(super) now: Time,
    pub(super) peer: Peer,
    pub(super) version: Version,
    pub(super) base64: bool,
    /// The `j` parameter.
    pub(super) jsonp: Option<String>,
}

impl Exchange {
    /// What the answer depends on.
    pub(super) fn facts(&self) -> Facts<'_> {
        Facts {
            origin: self.head.get(&ORIGIN),
            looks_for_scripts: self.head.text_of(&USER_AGENT).is_some_and(looks_for_scripts),
            exchange: Some(self),
        }
    }
}

/// What an answer depends on of its request.
#[derive(Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) origin: Option<&'a [u8]>,
    /// The browser looks for scripts in JSON and offers to repair the page.
    pub(super) looks_for_scripts: bool,
    /// All of it: there while a request is being read, later only if there are hooks that want to see it.
    pub(super) exchange: Option<&'a Exchange>,
}

fn looks_for_scripts(agent: &str) -> bool {
    agent.contains(";MSIE") || agent.contains("Trident/")
}

/// The answer to a request during which the application's code has panicked.
pub(crate) fn panicked(words: &str) -> Answer {
    sedge_log::error_rarely!(
        words,
        "a hook or the fallback service panicked; its client is answered 500"
    );
    let mut answer = Answer::new(StatusCode::INTERNAL_SERVER_ERROR, Bytes::new());
    // What else the client sends may belong to the upgrade or the body that came to nothing.
    answer.headers.append(CONNECTION, HeaderValue::from_static("close"));
    answer
}

impl<A: Application> Worker<A> {
    pub(super) fn apply_cors(&self, head: &Head, response: &mut Headers) {
        if let Some(cors) = &self.shard.0.config.local.cors {
            cors.apply(head.get(&ORIGIN), response);
        }
    }

    pub(super) fn refuse_exchange(&self, exchange: &Exchange, context: ErrorContext) -> Answer {
        self.refuse(&exchange.head, exchange.peer, context)
    }

    pub(crate) fn refuse(&self, head: &Head, peer: Peer, context: ErrorContext) -> Answer {
        let upgrade = head.is_upgrade();
        let mut answer = self.refusal(upgrade, &context);
        if let Some(hook) = &self.shard.0.config.local.hooks.connection_error {
            let client = peer.client(head, &self.shard.0.config.local.proxies);
            hook(&ConnectionError::new(context, head.target().to_owned(), client.address));
        }
        if !upgrade {
            self.apply_cors(head, &mut answer.headers);
        }
        answer
    }

    /// Refuses a GET that has waited.
    pub(super) fn refuse_late(&self, facts: Facts<'_>, context: ErrorContext) -> Answer {
        if let Some(exchange) = facts.exchange {
            return self.refuse_exchange(exchange, context);
        }
        let mut answer = self.refusal(false, &context);
        if let Some(cors) = &self.shard.0.config.local.cors {
            cors.apply(facts.origin, &mut answer.headers);
        }
        answer
    }

    fn refusal(&self, upgrade: bool, context: &ErrorContext) -> Answer {
        let code = context.code();
        self.shard.0.metrics.refused[code as usize].add(1);
        tracing::debug!(%code, %context, "request refused");
        Answer::from(if upgrade {
            code.upgrade_response(context.refusal().as_deref())
        } else {
            code.polling_response(context.refusal().as_deref())
        })
    }

    /// The answer while the server is full, shutting down or cannot ask whom it should. Browsers show it to
    /// scripts of other origins only if it says that they may see it.
    pub(super) fn unavailable(&self, head: &Head) -> Answer {
        let mut answer = unavailable();
        self.apply_cors(head, &mut answer.headers);
        answer
    }

    pub(super) fn refuse_session(&self, exchange: &Exchange, refused: Refused) -> Answer {
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
                let sid = exchange.head.sid().unwrap_or_default().to_owned();
                self.refuse_exchange(exchange, ErrorContext::SessionIdUnknown(sid))
            }
        }
    }

    /// A response without a body.
    pub(super) fn plain(&self, exchange: &Exchange, status: StatusCode) -> Answer {
        let mut response = Answer::new(status, Bytes::new());
        response.headers.append(CONTENT_LENGTH, HeaderValue::from_static("0"));
        self.finish(exchange.facts(), &mut response, None);
        response
    }

    /// Adds what every response of a session carries. `opened` is the id of a session that this
    /// response opens.
    pub(super) fn finish(
        &self,
        facts: Facts<'_>,
        response: &mut Answer,
        opened: Option<&SessionId>,
    ) {
        let local = &self.shard.0.config.local;
        let headers = &mut response.headers;
        headers.append(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if facts.looks_for_scripts {
            headers.append(X_XSS_PROTECTION, HeaderValue::from_static("0"));
        }
        if let Some(cors) = &local.cors {
            cors.apply(facts.origin, headers);
        }
        if let Some(sid) = opened
            && let Some(cookie) = &local.cookie
            && let Some(value) =
                cookie.with(sid.text().as_str()).and_then(|text| HeaderValue::try_from(text).ok())
        {
            headers.append(SET_COOKIE, value);
        }
        if let Some(exchange) = facts.exchange {
            self.header_hooks(exchange, headers, opened.is_some());
        }
    }

    pub(super) fn header_hooks(&self, exchange: &Exchange, headers: &mut Headers, initial: bool) {
        let Local { hooks, proxies, .. } = &self.shard.0.config.local;
        if hooks.initial_headers.is_none() && hooks.headers.is_none() {
            return;
        }
        let parts = exchange.head.parts();
        let info = RequestInfo {
            method: &parts.method,
            uri: &parts.uri,
            headers: &parts.headers,
            address: exchange.peer.client(&exchange.head, proxies).address,
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
