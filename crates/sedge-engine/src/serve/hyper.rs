//! Requests that hyper reads: those that [`native`](super::native) does not.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::application::Application;
use crate::exchange::answers::panicked;
use crate::http::answer::not_found;
use crate::http::body::{BoxError, RequestBody, ResponseBody};
use crate::http::head::Head;
use crate::http::peer::{Peer, PeerAddr};
use crate::http::ticket::Ticket;
use crate::limits::{LINGER_BYTES_MAX, UNREAD_REQUEST_TIMEOUT};
use crate::net::io::Io;
use crate::net::timed_io::{TimedIo, UnderWay};
use crate::panics;
use crate::worker::Worker;
use crate::worker::command::Upgraded;
use crate::worker::listen::ListenerContext;

/// How it ended.
pub(super) enum Served {
    /// The client has gone, or all is said.
    Gone,
    /// All requests so far are answered; this was read of the next one.
    Answered(Io, Bytes),
    /// The connection is a WebSocket.
    Upgraded(Upgraded),
}

/// Has hyper answer what is read next from a connection, and takes it back as soon as it is idle: hyper's
/// buffers and state take twenty times what an idle connection needs.
pub(super) async fn serve<A: Application>(
    worker: &Rc<Worker<A>>,
    io: Io,
    read: Bytes,
    peer: Peer,
    context: &Arc<ListenerContext>,
) -> Served {
    let ticket: RefCell<Option<Ticket>> = RefCell::new(None);
    let local = &worker.shard.0.config.local;
    let io = TimedIo::new(io, read, local);
    let activity = io.activity();
    let service = service_fn(|request: Request<Incoming>| {
        let (worker, context, ticket) = (Rc::clone(worker), Arc::clone(context), &ticket);
        let under_way = activity.begin();
        Box::pin(async move {
            let serving = pin!(serve_request(worker, request, peer, &context));
            let served = panics::run(serving).await;
            let (response, given) = served.unwrap_or_else(|words| panicked(&words).into_response());
            ticket.replace(given);
            Ok::<_, Infallible>(response.map(|body| Answering { body, _under_way: under_way }))
        })
    });
    let mut builder = http1::Builder::new();
    builder
        // `TimedIo` sees to it, with one timer per connection instead of one per request.
        .header_read_timeout(None)
        .max_buf_size(local.head_bytes_max)
        // Otherwise hyper copies bodies, and how much of an answer is unwritten would be its secret.
        .writev(true);
    if local.headers_max != crate::limits::DEFAULT_HEADERS_MAX {
        builder.max_headers(local.headers_max);
    }
    let mut connection = builder.serve_connection(TokioIo::new(io), service);
    let (result, is_idle) = poll_fn(|cx| {
        let polled = connection.poll_without_shutdown(cx);
        if polled.is_ready() || !activity.is_at_rest() {
            return polled.map(|result| (result, false));
        }
        // hyper has nothing to do and nothing to write, so this ends it without a word.
        Pin::new(&mut connection).graceful_shutdown();
        connection.poll_without_shutdown(cx).map(|result| (result, true))
    })
    .await;
    if let Err(error) = result {
        tracing::debug!(%error, ?peer, "HTTP connection failed");
        return Served::Gone;
    }
    let parts = connection.into_parts();
    let (io, early) = (parts.io.into_inner().into_inner(), parts.read_buf);
    if let Some(ticket) = ticket.take() {
        return Served::Upgraded(Upgraded { ticket, io, answer: Bytes::new(), early });
    }
    if is_idle {
        return Served::Answered(io, early);
    }
    // hyper leaves the end of the stream to us.
    end(io).await;
    Served::Gone
}

/// The body of an answer. The request is under way until it is sent.
struct Answering {
    body: ResponseBody,
    _under_way: UnderWay,
}

impl Body for Answering {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Ends a connection on which nothing more is answered. If a request was answered before all of it
/// was read, the rest is still read and thrown away: closing at once would make the kernel send a
/// reset, which can take the answer from the client.
pub(super) async fn end(mut io: Io) {
    let to_its_end = async {
        io.shutdown().await?;
        let mut buffer = vec![0; 8 * 1024];
        let mut total = 0;
        while total < LINGER_BYTES_MAX {
            match io.read(&mut buffer).await? {
                0 => break,
                n => total += n,
            }
        }
        io::Result::Ok(())
    };
    // Boxed because it is rare and every connection's task would have to hold it.
    let _ = Box::pin(tokio::time::timeout(UNREAD_REQUEST_TIMEOUT, to_its_end)).await;
}

async fn serve_request<A: Application>(
    worker: Rc<Worker<A>>,
    request: Request<Incoming>,
    peer: Peer,
    context: &ListenerContext,
) -> (Response<ResponseBody>, Option<Ticket>) {
    let mut request = request.map(RequestBody::Incoming);
    if worker.shard.0.config.matches(request.uri().path()).is_some() {
        let (parts, body) = request.into_parts();
        return worker.handle(Head::parsed(parts), body, peer).await.into_response();
    }
    let Some(fallback) = &context.options.fallback else {
        if request.headers().contains_key(http::header::UPGRADE) {
            Box::pin(unhandled_upgrade(&worker.shard.0.config.local)).await;
        }
        return not_found().into_response();
    };
    if let Some(address) = peer.address {
        request.extensions_mut().insert(PeerAddr(address));
    }
    (fallback(request).await, None)
}

/// Keeps an upgrade request for nobody waiting as the official server does: for a while, in which
/// another listener could take it there, or for as long as the client likes.
async fn unhandled_upgrade(local: &crate::config::Local) {
    if local.destroy_upgrade {
        tokio::time::sleep(local.destroy_upgrade_timeout).await;
    } else {
        std::future::pending::<()>().await;
    }
}
