//! Requests that hyper reads: those that [`native`](super::native) does not, and all that follow on their
//! connection.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use sedge_protocol::request::head::Invalid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::screen::Screen;
use crate::application::Application;
use crate::config::Local;
use crate::exchange::answers::panicked;
use crate::http::answer::{Answer, no_request, not_found};
use crate::http::body::{RequestBody, ResponseBody};
use crate::http::encode::encode;
use crate::http::head::{Head, RawHead};
use crate::http::peer::{Peer, PeerAddr};
use crate::limits::{LINGER_BYTES_MAX, UNREAD_REQUEST_TIMEOUT};
use crate::net::io::Io;
use crate::net::timed_io::TimedIo;
use crate::panics;
use crate::worker::Worker;
use crate::worker::command::Upgraded;
use crate::worker::listen::ListenerContext;

/// Serves the requests that [`native`] does not, and all that follow on the connection, of which `read`
/// has been read.
pub(super) async fn serve_by_hyper<A: Application>(
    worker: &Rc<Worker<A>>,
    io: TimedIo,
    read: Bytes,
    peer: Peer,
    context: Arc<ListenerContext>,
) -> Option<Upgraded> {
    let activity = &io.activity();
    let (screen, behind, closed) =
        Screen::new(io, &read, super::head_limits(&worker.shard.0.config));
    drop(read);
    // The answer to a WebSocket's handshake: it is written without hyper.
    let handshake: &RefCell<Option<Answer>> = &RefCell::new(None);
    let service = service_fn(|request: Request<Incoming>| {
        let (worker, context, behind) = (Rc::clone(worker), Arc::clone(&context), behind.clone());
        let head = behind.next_head();
        async move {
            let request_under_way = activity.begin();
            let serving = pin!(serve_request(worker, head, request, peer, &context));
            let served = panics::run(serving).await;
            let served = served.unwrap_or_else(|words| Served::Answer(panicked(&words)));
            drop(request_under_way);
            let response = match served {
                Served::Answer(answer) if answer.ticket.is_some() => {
                    handshake.replace(Some(answer));
                    // The connection is taken from under hyper.
                    std::future::pending().await
                }
                Served::Answer(answer) => answer.into_response().0,
                Served::Response(response) => response,
            };
            behind.answered(response.status() == StatusCode::SWITCHING_PROTOCOLS);
            Ok::<_, Infallible>(response)
        }
    });
    let connection =
        builder(&worker.shard.0.config.local).serve_connection(TokioIo::new(screen), service);
    let mut connection = pin!(connection.with_upgrades());
    let ended = poll_fn(|cx| match connection.as_mut().poll(cx) {
        Poll::Pending if handshake.borrow().is_some() && behind.is_flushed() => Poll::Ready(None),
        polled => polled.map(Some),
    });
    match ended.await {
        None => {
            let mut answer = handshake.take()?;
            let ticket = answer.ticket.take()?;
            let (io, early) = behind.take()?;
            Some(Upgraded { ticket, io, answer: encode(&answer).into(), early })
        }
        // It belongs to the fallback service now, and counts as long as that has it.
        Some(Ok(())) if behind.is_switched() => {
            let _ = closed.await;
            None
        }
        Some(Ok(())) => {
            end(behind.take()?.0).await;
            None
        }
        Some(Err(error)) => {
            tracing::debug!(%error, ?peer, "HTTP connection failed");
            None
        }
    }
}

fn builder(local: &Local) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        // `TimedIo` sees to it, with one timer per connection instead of one per request.
        .header_read_timeout(None)
        .max_buf_size(local.head_bytes_max)
        // There are clients that compare names exactly.
        .title_case_headers(true)
        // One buffer per response costs less than the kernel's handling of a vector of two.
        .writev(false);
    if local.headers_max != crate::limits::DEFAULT_HEADERS_MAX {
        builder.max_headers(local.headers_max);
    }
    builder
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

/// What a request is answered with.
enum Served {
    /// By the engine.
    Answer(Answer),
    /// By the fallback service.
    Response(Response<ResponseBody>),
}

async fn serve_request<A: Application>(
    worker: Rc<Worker<A>>,
    head: Option<Box<RawHead>>,
    request: Request<Incoming>,
    peer: Peer,
    context: &ListenerContext,
) -> Served {
    let mut request = request.map(RequestBody::Incoming);
    // hyper gives out nothing that was not read before.
    let Some(head) = head.map(Head::Raw) else {
        return Served::Answer(no_request(Invalid::RequestLine));
    };
    if worker.shard.0.config.matches(head.path()).is_some() {
        return Served::Answer(worker.handle(head, request.into_body(), peer).await);
    }
    let Some(fallback) = &context.options.fallback else {
        if head.is_upgrade() {
            Box::pin(unhandled_upgrade(&worker.shard.0.config.local)).await;
        }
        return Served::Answer(not_found());
    };
    if let Some(address) = peer.address {
        request.extensions_mut().insert(PeerAddr(address));
    }
    Served::Response(fallback(request).await)
}

/// Keeps an upgrade request for nobody waiting as the official server does: for a while, in which
/// another listener could take it there, or for as long as the client likes.
async fn unhandled_upgrade(local: &Local) {
    if local.destroy_upgrade {
        tokio::time::sleep(local.destroy_upgrade_timeout).await;
    } else {
        std::future::pending::<()>().await;
    }
}
