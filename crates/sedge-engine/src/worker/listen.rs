//! What a listener can be told, and the handle on one that is open.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio::sync::watch;
use tower_service::Service;

use crate::http::body::{BoxError, RequestBody, ResponseBody};

type ServiceFuture = Pin<Box<dyn Future<Output = Response<ResponseBody>>>>;

/// What a listener does besides the engine's own protocol.
#[derive(Clone, Default)]
pub struct ListenOptions {
    pub(crate) fallback: Option<Arc<dyn Fn(Request<RequestBody>) -> ServiceFuture + Send + Sync>>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
}

impl ListenOptions {
    /// Plain HTTP, and 404 for all paths but the engine's.
    pub fn new() -> ListenOptions {
        ListenOptions::default()
    }

    /// Lets a tower service, such as an axum `Router`, answer the requests for other paths. It runs
    /// on the shards' threads, so it must not block. Requests carry a [`PeerAddr`](crate::PeerAddr) extension.
    /// It can have WebSockets of its own, which count as connections of the shard.
    pub fn fallback<S, B>(mut self, service: S) -> Self
    where
        S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.fallback = Some(Arc::new(move |request| {
            let mut service = service.clone();
            Box::pin(async move {
                let Ok(()) = poll_fn(|cx| service.poll_ready(cx)).await;
                let Ok(response) = service.call(request).await;
                response.map(ResponseBody::boxed)
            })
        }));
        self
    }

    /// Encrypts the connections. ALPN, if configured, must offer `http/1.1`.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: Arc<rustls::ServerConfig>) -> Self {
        self.tls = Some(config);
        self
    }
}

/// What the connections of one listener share.
pub(crate) struct ListenerContext {
    pub(crate) options: ListenOptions,
}

impl ListenerContext {
    pub(crate) fn new(options: ListenOptions) -> ListenerContext {
        ListenerContext { options }
    }
}

/// A listener that is open. Dropping this value does not close it.
#[derive(Clone, Debug)]
pub struct Listening {
    pub(crate) address: SocketAddr,
    pub(crate) stop: watch::Sender<bool>,
}

impl Listening {
    /// The address it listens on, with the port that the system chose if it was asked to.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Takes no further connections and closes the port. Connections that are open stay open.
    pub fn close(&self) {
        self.stop.send_replace(true);
    }
}
