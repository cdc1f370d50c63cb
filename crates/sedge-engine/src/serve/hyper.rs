//! Requests that hyper reads: those that [`native`](super::native) does not.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use sedge_protocol::request::head::Invalid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::screen::{Behind, Screen};
use crate::application::Application;
use crate::config::Local;
use crate::exchange::answers::panicked;
use crate::http::answer::{Answer, no_request, not_found};
use crate::http::body::{BoxError, RequestBody, ResponseBody};
use crate::http::encode::encode;
use crate::http::head::{Head, RawHead};
use crate::http::peer::{Peer, PeerAddr};
use crate::limits::{LINGER_BYTES_MAX, UNREAD_REQUEST_TIMEOUT};
use crate::net::io::Io;
use crate::net::timed_io::{TimedIo, UnderWay};
use crate::panics;
use crate::worker::Worker;
use crate::worker::command::Upgraded;
use crate::worker::listen::ListenerContext;

/// How it ended.
pub(super) enum End {
    /// The client has gone, or all is said.
    Gone,
    /// All requests so far are answered; this was read of the next one.
    Answered(Io, Bytes),
    /// The connection is a WebSocket.
    Upgraded(Upgraded),
}

/// Has hyper answer what comes next on a connection, of which `read` has been read, and takes it back as soon
/// as it is idle: hyper's buffers and state take twenty times what an idle connection needs.
pub(super) async fn serve<A: Application>(
    worker: &Rc<Worker<A>>,
    io: Io,
    read: Bytes,
    peer: Peer,
    context: &Arc<ListenerContext>,
) -> End {
    let io = TimedIo::new(io, &worker.shard.0.config.local);
    let activity = &io.activity();
    let (screen, behind, closed) =
        Screen::new(io, &read, super::head_limits(&worker.shard.0.config));
    drop(read);
    // The answer to a WebSocket's handshake: it is written without hyper.
    let handshake: &RefCell<Option<Answer>> = &RefCell::new(None);
    let service = service_fn(|request: Request<Incoming>| {
        let (worker, context, behind) = (Rc::clone(worker), Arc::clone(context), behind.clone());
        let head = behind.next_head();
        async move {
            let under_way = activity.begin();
            let serving = pin!(serve_request(worker, head, request, peer, &context));
            let served = panics::run(serving).await;
            let served = served.unwrap_or_else(|words| Served::Answer(panicked(&words)));
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
            Ok::<_, Infallible>(response.map(|body| Answering { body, _under_way: under_way }))
        }
    });
    let connection =
        builder(&worker.shard.0.config.local).serve_connection(TokioIo::new(screen), service);
    let mut connection = pin!(connection.with_upgrades());
    let is_idle = || activity.begun() > 0 && !activity.is_busy() && behind.is_idle();
    let ended = poll_fn(|cx| match connection.as_mut().poll(cx) {
        Poll::Pending if handshake.borrow().is_some() && behind.is_flushed() => Poll::Ready(None),
        Poll::Pending if is_idle() => Poll::Ready(None),
        polled => polled.map(Some),
    });
    match ended.await {
        None => taken_back(handshake.take(), &behind),
        // It belongs to the fallback service now, and counts as long as that has it.
        Some(Ok(())) if behind.is_switched() => {
            let _ = closed.await;
            End::Gone
        }
        Some(Ok(())) => {
            if let Some((io, _)) = behind.take() {
                end(io).await;
            }
            End::Gone
        }
        Some(Err(error)) => {
            tracing::debug!(%error, ?peer, "HTTP connection failed");
            End::Gone
        }
    }
}

/// Takes the connection from under hyper, which has nothing to do with it.
fn taken_back(handshake: Option<Answer>, behind: &Behind) -> End {
    let Some((io, early)) = behind.take() else { return End::Gone };
    let Some(mut answer) = handshake else { return End::Answered(io, early) };
    let Some(ticket) = answer.ticket.take() else { return End::Gone };
    End::Upgraded(Upgraded { ticket, io, answer: encode(&answer).into(), early })
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

fn builder(local: &Local) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        // `TimedIo` sees to it, with one timer per connection instead of one per request.
        .header_read_timeout(None)
        .max_buf_size(local.head_bytes_max)
        // There are clients that compare names exactly.
        .title_case_headers(true)
        // Otherwise hyper copies bodies, and how much of an answer is unwritten would be its secret.
        .writev(true);
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
