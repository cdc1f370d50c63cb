//! The places where an application can look at, change or refuse HTTP requests, and what it is
//! shown there.
//!
//! Hooks run on the shards' threads, so they must not block. All but `allow_request` are plain
//! functions and on the way of every request: what takes longer belongs elsewhere.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use http::{HeaderMap, Method, Uri};

use crate::application::Transport;
use crate::handshake::Handshake;
pub use crate::http::error::ErrorCode;

/// What the `allow_request` hook returns. It runs on the shard that owns the connection and need
/// not be `Send`.
pub type AllowRequestFuture = Pin<Box<dyn Future<Output = Result<(), String>>>>;

pub(crate) type AllowRequest = Arc<dyn Fn(Arc<Handshake>) -> AllowRequestFuture + Send + Sync>;
pub(crate) type HeadersHook = Arc<dyn Fn(&mut HeaderMap, &RequestInfo<'_>) + Send + Sync>;
pub(crate) type ConnectionErrorHook = Arc<dyn Fn(&ConnectionError) + Send + Sync>;

/// The hooks of a configuration; each is set by the method of
/// [`ConfigBuilder`](crate::config::ConfigBuilder) that has its name.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) allow_request: Option<AllowRequest>,
    pub(crate) initial_headers: Option<HeadersHook>,
    pub(crate) headers: Option<HeadersHook>,
    pub(crate) connection_error: Option<ConnectionErrorHook>,
}

impl Hooks {
    /// Whether a hook wants to see the request that an answer is for.
    pub(crate) fn see_requests(&self) -> bool {
        self.initial_headers.is_some() || self.headers.is_some() || self.connection_error.is_some()
    }

    /// Erases an asynchronous closure. The future owns a share of the closure it runs, so the
    /// closure may lend it what it captured.
    pub(crate) fn allow_request<F>(hook: F) -> AllowRequest
    where
        F: AsyncFn(Arc<Handshake>) -> Result<(), String> + Send + Sync + 'static,
    {
        let hook = Arc::new(hook);
        Arc::new(move |handshake| {
            let hook = Arc::clone(&hook);
            Box::pin(async move { hook(handshake).await })
        })
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("allow_request", &self.allow_request.is_some())
            .field("initial_headers", &self.initial_headers.is_some())
            .field("headers", &self.headers.is_some())
            .field("connection_error", &self.connection_error.is_some())
            .finish()
    }
}

/// The request that a response is being made for.
#[derive(Clone, Copy, Debug)]
pub struct RequestInfo<'a> {
    /// GET, POST, and so on.
    pub method: &'a Method,
    /// The request target, with the query string.
    pub uri: &'a Uri,
    /// The request's headers.
    pub headers: &'a HeaderMap,
    /// The peer's address, where it is known.
    pub address: Option<SocketAddr>,
}

/// A request that was refused, as the `on_connection_error` hook is told.
#[derive(Clone, Debug)]
pub struct ConnectionError {
    /// The kind of error; the client is told the same.
    pub code: ErrorCode,
    /// The official wording for `code`.
    pub message: &'static str,
    /// What exactly was wrong; the client is not told.
    pub context: ErrorContext,
    /// The request target, with the query string.
    pub url: String,
    /// The peer's address, where it is known.
    pub address: Option<SocketAddr>,
}

impl ConnectionError {
    /// An error with the code and official wording that belong to its context.
    pub fn new(context: ErrorContext, url: String, address: Option<SocketAddr>) -> ConnectionError {
        let code = context.code();
        ConnectionError { code, message: code.message(), context, url, address }
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.context)
    }
}

impl std::error::Error for ConnectionError {}

/// What exactly was wrong with a refused request. Values come from the request, as sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorContext {
    /// The `transport` parameter, if there was one.
    TransportUnknown(Option<String>),
    /// The `sid` parameter.
    SessionIdUnknown(String),
    /// The method of the request that should have opened a session.
    BadHandshakeMethod(Method),
    /// The query has this parameter more than once, so that whoever routed the request may have read
    /// another value.
    RepeatedParameter(&'static str),
    /// The session uses another transport than the request.
    TransportMismatch {
        /// The request's.
        transport: Transport,
        /// The session's.
        previous: Transport,
    },
    /// A WebSocket was asked for without a valid handshake; the text says what is missing.
    TransportHandshakeError(String),
    /// The `EIO` parameter is not that of the session.
    ProtocolMismatch {
        /// The request's version.
        protocol: u8,
        /// The session's version.
        previous: u8,
    },
    /// The answer of the `allow_request` hook.
    Forbidden(String),
    /// The version of the protocol that is not allowed.
    UnsupportedProtocolVersion(u8),
}

impl ErrorContext {
    /// The official name of the context, where it has one: the `name` of Node's
    /// `connection_error` event's context.
    pub fn name(&self) -> Option<&'static str> {
        match self {
            ErrorContext::TransportMismatch { .. } => Some("TRANSPORT_MISMATCH"),
            ErrorContext::TransportHandshakeError(_) => Some("TRANSPORT_HANDSHAKE_ERROR"),
            ErrorContext::ProtocolMismatch { .. } => Some("PROTOCOL_MISMATCH"),
            ErrorContext::TransportUnknown(_)
            | ErrorContext::SessionIdUnknown(_)
            | ErrorContext::RepeatedParameter(_)
            | ErrorContext::BadHandshakeMethod(_)
            | ErrorContext::Forbidden(_)
            | ErrorContext::UnsupportedProtocolVersion(_) => None,
        }
    }

    /// The code that belongs to the context.
    pub fn code(&self) -> ErrorCode {
        match self {
            ErrorContext::TransportUnknown(_) => ErrorCode::TransportUnknown,
            ErrorContext::SessionIdUnknown(_) => ErrorCode::SessionIdUnknown,
            ErrorContext::BadHandshakeMethod(_) => ErrorCode::BadHandshakeMethod,
            ErrorContext::RepeatedParameter(_)
            | ErrorContext::TransportMismatch { .. }
            | ErrorContext::TransportHandshakeError(_)
            | ErrorContext::ProtocolMismatch { .. } => ErrorCode::BadRequest,
            ErrorContext::Forbidden(_) => ErrorCode::Forbidden,
            ErrorContext::UnsupportedProtocolVersion(_) => ErrorCode::UnsupportedProtocolVersion,
        }
    }

    /// What the client is told in place of the code's own wording.
    pub(crate) fn refusal(&self) -> Option<Cow<'_, str>> {
        match self {
            ErrorContext::Forbidden(text) => Some(text.into()),
            ErrorContext::RepeatedParameter(_) => {
                Some(format!("{}: {self}", self.code().message()).into())
            }
            _ => None,
        }
    }
}

impl fmt::Display for ErrorContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ErrorContext::TransportUnknown(None) => f.write_str("no transport named"),
            ErrorContext::TransportUnknown(Some(name)) => write!(f, "transport {name:?}"),
            ErrorContext::SessionIdUnknown(sid) => write!(f, "sid {sid:?}"),
            ErrorContext::BadHandshakeMethod(method) => write!(f, "method {method}"),
            ErrorContext::RepeatedParameter(name) => write!(f, "the parameter {name} is repeated"),
            ErrorContext::TransportMismatch { transport, previous } => {
                write!(f, "a {transport} request for a session on {previous}")
            }
            ErrorContext::TransportHandshakeError(text) => f.write_str(text),
            ErrorContext::ProtocolMismatch { protocol, previous } => {
                write!(f, "version {protocol} for a session of version {previous}")
            }
            ErrorContext::Forbidden(text) => write!(f, "refused: {text}"),
            ErrorContext::UnsupportedProtocolVersion(version) => write!(f, "version {version}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> [ErrorContext; 9] {
        [
            ErrorContext::TransportUnknown(Some("carrier pigeon".to_owned())),
            ErrorContext::SessionIdUnknown("gone".to_owned()),
            ErrorContext::BadHandshakeMethod(Method::POST),
            ErrorContext::RepeatedParameter("sid"),
            ErrorContext::TransportMismatch {
                transport: Transport::Polling,
                previous: Transport::WebSocket,
            },
            ErrorContext::TransportHandshakeError("no key".to_owned()),
            ErrorContext::ProtocolMismatch { protocol: 3, previous: 4 },
            ErrorContext::Forbidden("go away".to_owned()),
            ErrorContext::UnsupportedProtocolVersion(3),
        ]
    }

    #[test]
    fn every_context_has_the_code_and_name_of_the_official_server() {
        let codes = all().map(|context| context.code() as u8);
        assert_eq!(codes, [0, 1, 2, 3, 3, 3, 3, 4, 5]);
        let names: Vec<_> = all().iter().filter_map(ErrorContext::name).collect();
        let official = ["TRANSPORT_MISMATCH", "TRANSPORT_HANDSHAKE_ERROR", "PROTOCOL_MISMATCH"];
        assert_eq!(names, official);
    }

    #[test]
    fn an_error_says_what_the_client_is_not_told() {
        let url = "/socket.io/?sid=gone".to_owned();
        let error =
            ConnectionError::new(ErrorContext::SessionIdUnknown("gone".to_owned()), url, None);
        assert_eq!(error.message, "Session ID unknown");
        assert_eq!(error.to_string(), "Session ID unknown (sid \"gone\")");
        assert_eq!(error.context.refusal(), None);
        assert_eq!(
            ErrorContext::Forbidden("go away".to_owned()).refusal().as_deref(),
            Some("go away")
        );
    }
}
