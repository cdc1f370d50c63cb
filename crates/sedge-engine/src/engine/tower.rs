//! The engine as a tower service and layer, for axum and hyper users.
//!
//! Requests are answered by the shard that owns their session, wherever they arrive; an upgraded
//! connection leaves its server and moves to the shard.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_layer::Layer;
use tower_service::Service;

use super::Engine;
use crate::application::Application;
use crate::http::answer::{Answer, no_request, not_found};
use crate::http::body::{BoxError, RequestBody, ResponseBody};
use crate::http::error::ErrorCode;
use crate::http::head::Head;
use crate::http::peer::{Peer, PeerAddr};
use crate::http::ticket::Ticket;
use crate::net::io::{Detached, PassedStream};
use crate::tasks;
use crate::worker::command::{Adoption, Command, least_loaded, send_request};

/// Wraps services so that the engine answers the requests for its path, and they the rest.
pub struct EngineLayer<A: Application> {
    engine: Engine<A>,
}

impl<A: Application> Clone for EngineLayer<A> {
    fn clone(&self) -> Self {
        EngineLayer { engine: self.engine.clone() }
    }
}

impl<A: Application, S> Layer<S> for EngineLayer<A> {
    type Service = EngineService<A, S>;

    fn layer(&self, inner: S) -> EngineService<A, S> {
        EngineService { engine: self.engine.clone(), inner }
    }
}

/// Answers the requests for the engine's path, and lets another service answer the rest.
pub struct EngineService<A: Application, S> {
    engine: Engine<A>,
    inner: S,
}

impl<A: Application, S: Clone> Clone for EngineService<A, S> {
    fn clone(&self) -> Self {
        EngineService { engine: self.engine.clone(), inner: self.inner.clone() }
    }
}

/// The service behind [`Engine::service`]: 404 for everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct NotFound;

impl<B> Service<Request<B>> for NotFound {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        std::future::ready(Ok(not_found().into_response().0))
    }
}

impl<A: Application> Engine<A> {
    /// A layer for axum's `Router::layer` and the like.
    pub fn layer(&self) -> EngineLayer<A> {
        EngineLayer { engine: self.clone() }
    }

    /// A service of its own, for hyper's servers.
    pub fn service(&self) -> EngineService<A, NotFound> {
        EngineService { engine: self.clone(), inner: NotFound }
    }

    /// Answers one request. New sessions go to the shard with the fewest connections.
    async fn answer(
        self,
        mut request: Request<RequestBody>,
        upgrade: Option<OnUpgrade>,
    ) -> Response<ResponseBody> {
        let address = request.extensions_mut().remove::<PeerAddr>().map(|peer| peer.0);
        let peer = Peer { address, unix: false, secure: false };
        let http_version = request.version();
        let (parts, body) = request.into_parts();
        let head = match Head::parsed(parts) {
            Ok(head) => head,
            Err(reason) => return no_request(reason.into()).into_response().0,
        };
        if head.is_upgrade() && upgrade.is_none() {
            sedge_log::warn_rarely!(
                version = ?http_version,
                "the server around the engine passes no upgrades on: no WebSocket is possible"
            );
            return Answer::from(ErrorCode::BadRequest.upgrade_response(None)).into_response().0;
        }
        let shard = &self.shards()[self.shard_for(head.sid())];
        let answer = send_request(shard, head, body, peer).await;
        let (response, ticket) = answer.into_response();
        if let (Some(ticket), Some(upgrade)) = (ticket, upgrade) {
            tasks::adoption_from_elsewhere(self.hand_over(ticket, upgrade));
        }
        response
    }

    /// The shard of a session, or the least loaded one. What is wrong with a session id is for the shard
    /// to say.
    fn shard_for(&self, sid: Option<&str>) -> usize {
        let named = sid
            .and_then(|sid| sedge_protocol::sid::SessionId::parse(sid.as_bytes()))
            .and_then(|sid| self.codec().decode(&sid))
            .map(|owner| usize::from(owner.shard))
            .filter(|shard| *shard < self.shard_count());
        named.unwrap_or_else(|| least_loaded(self.shards(), 0).map_or(0, |(shard, _)| shard))
    }

    /// Waits until the server has written the 101 response and moves the connection to its shard.
    async fn hand_over(self, ticket: Ticket, upgrade: OnUpgrade) {
        let upgraded = match upgrade.await {
            Ok(upgraded) => upgraded,
            Err(error) => {
                tracing::debug!(%error, "the connection was not upgraded");
                return;
            }
        };
        let Some((io, early)) = take_apart(upgraded) else { return };
        let sender = self.shards()[ticket.shard].sender.clone();
        // If the shard has ended, so has the session.
        let _ = sender
            .send(Command::Adopt(Box::new(Adoption { ticket, io, answer: Bytes::new(), early })))
            .await;
    }
}

/// Takes the TCP stream out of what the server wrapped around it. Any other stream (TLS, a Unix
/// socket) stays with the server's runtime and is driven from the shard.
fn take_apart(upgraded: Upgraded) -> Option<(Detached, Bytes)> {
    // axum and hyper-util's `auto` builder wrap the stream once more than hyper itself.
    let upgraded =
        match hyper_util::server::conn::auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded) {
            Ok(parts) => return detach(parts.io.into_inner(), parts.read_buf),
            Err(upgraded) => upgraded,
        };
    match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => detach(parts.io.into_inner(), parts.read_buf),
        Err(upgraded) => Some((Detached::Other(Box::new(TokioIo::new(upgraded))), Bytes::new())),
    }
}

fn detach(stream: TcpStream, early: Bytes) -> Option<(Detached, Bytes)> {
    // Many small frames are sent; without this, each may wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    match stream.into_std() {
        Ok(stream) => Some((Detached::Socket(PassedStream::Tcp(stream)), early)),
        Err(error) => {
            sedge_log::warn_rarely!(%error, "an upgraded connection cannot be moved");
            None
        }
    }
}

impl<A, S, ReqBody, ResBody> Service<Request<ReqBody>> for EngineService<A, S>
where
    A: Application,
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

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        if self.engine.config().matches(request.uri().path()).is_none() {
            let response = self.inner.call(request);
            return Box::pin(async move { Ok(response.await?.map(ResponseBody::boxed)) });
        }
        let engine = self.engine.clone();
        let upgrade = request.extensions_mut().remove::<OnUpgrade>();
        let request = request.map(RequestBody::boxed);
        Box::pin(async move { Ok(engine.answer(request, upgrade).await) })
    }
}
