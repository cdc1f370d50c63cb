//! The engine's own HTTP listeners: hyper on the shards, over TCP or TLS.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tower_service::Service;

use crate::application::Application;
use crate::engine::{Upgraded, Worker};
use crate::http::body::{BoxError, RequestBody, ResponseBody};
use crate::http::head::Head;
use crate::http::upgrade::Ticket;
use crate::http::{Peer, not_found};
use crate::io::Io;
use crate::native::{self, End};
use crate::passing::{Passed, PassedStream};
use crate::tasks;
use crate::timed_io::TimedIo;
use crate::tower::PeerAddr;

/// Connections the kernel keeps for us until they are accepted: room for a burst of reconnects.
const BACKLOG: u32 = 4096;

/// How long a connection that was closed may take to stop sending, and how much it may send.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long accepting pauses when the process runs out of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type ServiceFuture = Pin<Box<dyn Future<Output = Response<ResponseBody>>>>;

/// What a listener does besides the engine's own protocol.
#[derive(Clone, Default)]
pub struct ListenOptions {
    fallback: Option<Arc<dyn Fn(Request<RequestBody>) -> ServiceFuture + Send + Sync>>,
    #[cfg(feature = "tls")]
    tls: Option<Arc<rustls::ServerConfig>>,
}

impl ListenOptions {
    /// Plain HTTP, and 404 for all paths but the engine's.
    pub fn new() -> ListenOptions {
        ListenOptions::default()
    }

    /// Lets a tower service, such as an axum `Router`, answer the requests for other paths. It runs
    /// on the shards' threads, so it must not block. Requests carry a [`PeerAddr`] extension.
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
    options: ListenOptions,
}

impl ListenerContext {
    pub(crate) fn new(options: ListenOptions) -> ListenerContext {
        ListenerContext { options }
    }
}

/// A listener that is open. Dropping this value does not close it.
#[derive(Clone, Debug)]
pub struct Listening {
    address: SocketAddr,
    stop: watch::Sender<bool>,
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

/// Opens a listener whose connections are spread over all shards.
pub(crate) fn start<A: Application>(
    worker: &Rc<Worker<A>>,
    address: SocketAddr,
    options: ListenOptions,
) -> io::Result<(Listening, JoinHandle<()>)> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    // Accepted sockets inherit it, which saves a system call for each.
    socket.set_nodelay(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    let address = listener.local_addr()?;
    let (stop, stopped) = watch::channel(false);
    let context = Arc::new(ListenerContext::new(options));
    let task = tasks::spawn_local(accept_all(Rc::clone(worker), listener, stopped, context));
    Ok((Listening { address, stop }, task))
}

async fn accept_all<A: Application>(
    worker: Rc<Worker<A>>,
    listener: TcpListener,
    mut stopped: watch::Receiver<bool>,
    context: Arc<ListenerContext>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // The sender may be gone: then nobody can close this listener.
            Ok(_) = stopped.wait_for(|stop| *stop) => return,
        };
        match accepted {
            Ok((stream, address)) => assign(&worker, stream, address, &context),
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections; pausing");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// Gives a connection to the shard that has the fewest.
fn assign<A: Application>(
    worker: &Rc<Worker<A>>,
    stream: TcpStream,
    address: SocketAddr,
    context: &Arc<ListenerContext>,
) {
    let own = worker.shard.index();
    let loads = worker.shards.iter().map(crate::engine::ShardHandle::load);
    let Some((load, shard)) = loads.zip(0..).min_by_key(|(load, shard)| (*load, *shard != own))
    else {
        return;
    };
    if load >= worker.shard.0.config.local.connections_max as u64 {
        tracing::warn!("connection refused: all shards have as many as allowed");
        return;
    }
    let peer = Peer { address: Some(address), secure: false };
    if shard == own {
        spawn_connection(worker, Io::Tcp(stream), peer, Bytes::new(), Arc::clone(context));
        return;
    }
    let Ok(stream) = stream.into_std().map(PassedStream::Tcp) else { return };
    let connection = Passed { stream, peer: Some(address), secure: false, read: Bytes::new() };
    if worker.shards[shard].accept(connection, context).is_err() {
        tracing::warn!(shard, "connection refused: the shard's queue is full");
    }
}

/// Takes a connection that was accepted by another shard or process.
pub(crate) fn take_over<A: Application>(
    worker: &Rc<Worker<A>>,
    connection: Passed,
    context: Arc<ListenerContext>,
) {
    let Passed { stream, peer, secure, read } = connection;
    let peer = Peer { address: peer, secure };
    match stream.attach() {
        Ok(io) => spawn_connection(worker, io, peer, read, context),
        Err(error) => tracing::warn!(%error, "a connection cannot be registered"),
    }
}

fn spawn_connection<A: Application>(
    worker: &Rc<Worker<A>>,
    io: Io,
    peer: Peer,
    read: Bytes,
    context: Arc<ListenerContext>,
) {
    let worker = Rc::clone(worker);
    worker.shard.0.metrics.connections_http.add(1);
    #[cfg(feature = "tls")]
    if let Some(tls) = context.options.tls.clone().filter(|_| !peer.secure) {
        tasks::spawn_local(async move {
            let deadline = worker.shard.0.config.local.head_timeout;
            let accept = tokio_rustls::TlsAcceptor::from(tls).accept(io);
            match tokio::time::timeout(deadline, accept).await {
                Ok(Ok(stream)) => {
                    let (io, peer) = (Io::Other(Box::new(stream)), Peer { secure: true, ..peer });
                    serve_connection(worker, io, peer, read, context).await;
                }
                failed => {
                    worker.shard.0.metrics.connections_http.sub(1);
                    if let Ok(Err(error)) = failed {
                        tracing::debug!(%error, ?peer, "TLS handshake failed");
                    }
                }
            }
        });
        return;
    }
    tasks::spawn_local(serve_connection(worker, io, peer, read, context));
}

/// Serves the requests of one connection until it ends or becomes a WebSocket.
async fn serve_connection<A: Application>(
    worker: Rc<Worker<A>>,
    io: Io,
    peer: Peer,
    read: Bytes,
    context: Arc<ListenerContext>,
) {
    let local = &worker.shard.0.config.local;
    let io = TimedIo::new(io, local.head_timeout, local.body_timeout);
    let upgraded = match native::serve(&worker, io, peer, read).await {
        End::Gone => None,
        End::Answered(io) => {
            end(io).await;
            None
        }
        // Boxed because it is large and most connections get on without.
        End::Other(io) => Box::pin(serve_by_hyper(&worker, io, peer, context)).await,
        End::Upgraded(upgraded) => Some(upgraded),
        End::Foreign { owner, io, read } => {
            match Box::pin(worker.pass(owner, io.into_inner(), peer, read)).await {
                Ok(()) | Err(None) => None,
                // The client is told why: hyper's way tries once more and answers.
                Err(Some((io, read))) => {
                    let mut io = TimedIo::new(io, local.head_timeout, local.body_timeout);
                    io.put_back(read);
                    Box::pin(serve_by_hyper(&worker, io, peer, context)).await
                }
            }
        }
    };
    worker.shard.0.metrics.connections_http.sub(1);
    if let Some(upgraded) = upgraded {
        worker.settle(upgraded);
    }
}

/// Serves the requests that [`native`] does not, and all that follow on the connection.
async fn serve_by_hyper<A: Application>(
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
            let (response, given) = serve_request(worker, request, peer, &context).await;
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
async fn end(mut io: Io) {
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
    let _ = Box::pin(tokio::time::timeout(LINGER, to_its_end)).await;
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
