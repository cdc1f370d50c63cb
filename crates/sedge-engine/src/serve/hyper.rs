//! Requests that hyper reads: those that [`native`](super::native) does not, and all that follow on their
//! connection.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::application::Application;
use crate::exchange::answers::panicked;
use crate::http::answer::not_found;
use crate::http::body::{RequestBody, ResponseBody};
use crate::http::head::Head;
use crate::http::peer::{Peer, PeerAddr};
use crate::http::ticket::Ticket;
use crate::limits::{LINGER_BYTES_MAX, UNREAD_REQUEST_TIMEOUT};
use crate::net::io::Io;
use crate::net::timed_io::TimedIo;
use crate::panics;
use crate::worker::Worker;
use crate::worker::command::Upgraded;
use crate::worker::listen::ListenerContext;

/// Serves the requests that [`native`] does not, and all that follow on the connection.
pub(super) async fn serve_by_hyper<A: Application>(
    worker: &Rc<Worker<A>>,
    io: TimedIo,
    peer: Peer,
    context: Arc<ListenerContext>,
) -> Option<Upgraded> {
    let ticket: RefCell<Option<Ticket>> = RefCell::new(None);
    let local = &worker.shard.0.config.local;
    let activity = io.activity();
    let service = service_fn(|request: Request<Incoming>| {
        let (worker, context, ticket) = (Rc::clone(worker), Arc::clone(&context), &ticket);
        let request_under_way = activity.begin();
        async move {
            let serving = pin!(serve_request(worker, request, peer, &context));
            let served = panics::run(serving).await;
            let (response, given) = served.unwrap_or_else(|words| panicked(&words).into_response());
            drop(request_under_way);
            ticket.replace(given);
            Ok::<_, Infallible>(response)
        }
    });
    let mut builder = http1::Builder::new();
    builder
        // `TimedIo` sees to it, with one timer per connection instead of one per request.
        .header_read_timeout(None)
        .max_buf_size(local.head_bytes_max)
        // One buffer per response costs less than the kernel's handling of a vector of two.
        .writev(false);
    if local.headers_max != crate::limits::DEFAULT_HEADERS_MAX {
        builder.max_headers(local.headers_max);
    }
    let parts = builder.serve_connection(TokioIo::new(io), service).without_shutdown().await;
    match parts {
        Err(error) => {
            tracing::debug!(%error, ?peer, "HTTP connection failed");
            None
        }
        Ok(parts) => {
            let (io, early) = (parts.io.into_inner().into_inner(), parts.read_buf);
            let Some(ticket) = ticket.take() else {
                // hyper leaves the end of the stream to us.
                end(io).await;
                return None;
            };
            Some(Upgraded { ticket, io, answer: Bytes::new(), early })
        }
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
