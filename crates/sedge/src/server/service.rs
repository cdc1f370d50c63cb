//! The server as a tower layer and service, beside an application such as axum's.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use sedge_engine::{BoxError, EngineLayer, EngineService, NotFound, ResponseBody};
use tower_service::Service;

use super::Server;
use crate::core::ShardApp;

impl Server {
    /// A layer that answers requests for the server's path and lets the wrapped service, such as an
    /// axum `Router`, answer all others. Connections move to the server's own threads.
    pub fn layer(&self) -> SocketLayer {
        SocketLayer { engine: self.engine().layer() }
    }

    /// A service that answers requests for the server's path, and 404 to all others.
    pub fn service(&self) -> SocketService<NotFound> {
        tower_layer::Layer::layer(&self.layer(), NotFound)
    }
}

/// A tower layer; see [`Server::layer`].
#[derive(Clone)]
pub struct SocketLayer {
    engine: EngineLayer<ShardApp>,
}

/// A tower service; see [`Server::layer`] and [`Server::service`].
#[derive(Clone)]
pub struct SocketService<S> {
    inner: EngineService<ShardApp, S>,
}

impl<S> tower_layer::Layer<S> for SocketLayer {
    type Service = SocketService<S>;

    fn layer(&self, inner: S) -> SocketService<S> {
        SocketService { inner: self.engine.layer(inner) }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for SocketService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    S::Future: Send + 'static,
    ReqBody: Body<Data = Bytes> + Send + 'static,
    ReqBody::Error: Into<BoxError>,
    ResBody: Body<Data = Bytes> + Send + 'static,
    ResBody::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        self.inner.call(request)
    }
}

impl fmt::Debug for SocketLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketLayer").finish_non_exhaustive()
    }
}

impl<S> fmt::Debug for SocketService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketService").finish_non_exhaustive()
    }
}
