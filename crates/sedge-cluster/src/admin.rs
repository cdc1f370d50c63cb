//! The admin address: health and metrics of the whole host, over HTTP.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use crate::accept;
use crate::error::ClusterError;
use crate::limits::ADMIN_HEAD_TIMEOUT;
use crate::listen::open_tcp;
use crate::metrics;

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");

/// Who is asked on the admin address.
pub(crate) trait Host {
    /// Whether connections should be sent here, and a text of JSON that says more.
    fn health(&self) -> (bool, String);

    /// The metrics of the host.
    async fn metrics(&self) -> String;
}

/// Opens the address.
pub(crate) fn listen(address: SocketAddr) -> Result<TcpListener, ClusterError> {
    let open =
        || -> io::Result<TcpListener> { TcpListener::from_std(open_tcp(address, false)?.into()) };
    open().map_err(|source| ClusterError::Listen { address: address.to_string(), source })
}

/// Answers until the cluster ends.
pub(crate) async fn serve(host: Rc<impl Host + 'static>, listener: TcpListener) {
    let accept = async || listener.accept().await.map(|(stream, _)| stream);
    let answer = |stream| {
        let host = Rc::clone(&host);
        async move {
            let service = service_fn(|request| answer(&*host, request));
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(ADMIN_HEAD_TIMEOUT);
            if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%error, "a connection to the admin address has failed");
            }
        }
    };
    accept::serve_own(accept, answer).await;
}

async fn answer(
    host: &impl Host,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path();
    if request.method() == Method::OPTIONS && matches!(path, "*" | "/" | "/health" | "/metrics") {
        return Ok(options(host.health().0));
    }
    if !matches!(path, "/health" | "/metrics") {
        return Ok(response(StatusCode::NOT_FOUND, "text/plain", "Not found.\n".to_owned()));
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let text = "Only GET, HEAD and OPTIONS.\n".to_owned();
        let mut response = response(StatusCode::METHOD_NOT_ALLOWED, "text/plain", text);
        response.headers_mut().insert(ALLOW, METHODS);
        return Ok(response);
    }
    if path == "/health" {
        let (healthy, text) = host.health();
        let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        return Ok(response(status, "application/json", text));
    }
    Ok(response(StatusCode::OK, metrics::CONTENT_TYPE, host.metrics().await))
}

/// The methods there are. Some balancers take the answer for health, so it says what `/health` says.
fn options(healthy: bool) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() =
        if healthy { StatusCode::NO_CONTENT } else { StatusCode::SERVICE_UNAVAILABLE };
    response.headers_mut().insert(ALLOW, METHODS);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn response(status: StatusCode, media_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
