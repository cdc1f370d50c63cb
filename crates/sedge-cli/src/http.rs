//! The HTTP side of the command: the demo's page and files, `/health` and `/metrics`. Everything
//! below the path of Socket.IO is the library's and does not get here.

use std::convert::Infallible;
use std::future::Future;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use sedge::{PROMETHEUS_CONTENT_TYPE, ResponseBody, Server};
use sedge_cluster::HostMetrics;
use tower_service::Service;

use crate::logging;

/// Only our own files, and connections of the official client to wherever it was told: no inline
/// scripts or styles, nothing from elsewhere, no frames around us.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");

/// A file of the demo, which is part of the program.
struct File {
    path: &'static str,
    content_type: &'static str,
    content: &'static str,
}

const fn file(path: &'static str, content_type: &'static str, content: &'static str) -> File {
    File { path, content_type, content }
}

static DEMO: [File; 4] = [
    file("/", HTML, include_str!("../demo/index.html")),
    file("/style.css", "text/css; charset=utf-8", include_str!("../demo/style.css")),
    file("/chat.js", "text/javascript; charset=utf-8", include_str!("../demo/chat.js")),
    file("/icon.svg", "image/svg+xml", include_str!("../demo/icon.svg")),
];

/// Stands in for the page if there is no client for it to run.
static CLIENT_MISSING: File = file("/", HTML, include_str!("../pages/client-missing.html"));

/// The service that answers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Routes {
    site: Arc<Site>,
}

/// What is answered.
pub(crate) struct Site {
    pub(crate) server: Server,
    /// The metrics of all workers, if this is one.
    pub(crate) host: Option<HostMetrics>,
    pub(crate) demo: bool,
    pub(crate) metrics: bool,
    /// Whether the official client is there for the page.
    pub(crate) client_found: bool,
    /// Set when the end has begun.
    pub(crate) draining: Arc<AtomicBool>,
}

impl Routes {
    pub(crate) fn new(site: Site) -> Routes {
        Routes { site: Arc::new(site) }
    }
}

impl<B> Service<Request<B>> for Routes {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let site = Arc::clone(&self.site);
        let (head, _) = request.into_parts();
        Box::pin(async move { Ok(site.answer(&head.method, head.uri.path(), &head.headers).await) })
    }
}

impl Site {
    /// Bodies of answers to HEAD are left out by the HTTP server.
    async fn answer(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Response<ResponseBody> {
        let draining = self.draining.load(Ordering::Relaxed);
        let answer = self.find(path);
        // The server as a whole is asked about as `*` or `/`, whether or not there is a page.
        if method == Method::OPTIONS && (answer.is_some() || matches!(path, "*" | "/")) {
            return options(draining);
        }
        let Some(answer) = answer else {
            return respond(StatusCode::NOT_FOUND, TEXT, "Not found\n");
        };
        if method != Method::GET && method != Method::HEAD {
            let words = "Only GET, HEAD and OPTIONS\n";
            let mut response = respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, words);
            response.headers_mut().insert(ALLOW, METHODS);
            return response;
        }
        match answer {
            Answer::File(file) => serve_file(file, headers),
            Answer::Health if draining => {
                respond(StatusCode::SERVICE_UNAVAILABLE, JSON, "{\"status\":\"draining\"}\n")
            }
            Answer::Health => respond(StatusCode::OK, JSON, "{\"status\":\"ok\"}\n"),
            Answer::Metrics => {
                respond(StatusCode::OK, PROMETHEUS_CONTENT_TYPE, self.metrics_text().await)
            }
        }
    }

    async fn metrics_text(&self) -> String {
        if let Some(host) = &self.host {
            return host.text().await.to_string();
        }
        let own = self.server.metrics().prometheus();
        own + &logging::prometheus("sedge_log_lines_lost_total")
    }

    fn find(&self, path: &str) -> Option<Answer> {
        match path {
            "/health" => Some(Answer::Health),
            "/metrics" if self.metrics => Some(Answer::Metrics),
            "/" if self.demo && !self.client_found => Some(Answer::File(&CLIENT_MISSING)),
            _ if self.demo => DEMO.iter().find(|file| file.path == path).map(Answer::File),
            _ => None,
        }
    }
}

enum Answer {
    File(&'static File),
    Health,
    Metrics,
}

fn serve_file(file: &'static File, request: &HeaderMap) -> Response<ResponseBody> {
    let tag = entity_tag(file.content);
    let known = request.get_all(IF_NONE_MATCH).iter().any(|value| {
        let mut tags = value.to_str().unwrap_or_default().split(',').map(str::trim);
        tags.any(|known| {
            known == "*" || known.trim_start_matches("W/").as_bytes() == tag.as_bytes()
        })
    });
    let mut response = if known {
        let mut response = Response::new(ResponseBody::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        respond(StatusCode::OK, file.content_type, file.content)
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, PAGE_POLICY);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // To be asked for each time: the answer is mostly 304.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(ETAG, tag);
    response
}

/// The methods there are. Balancers take an answer to OPTIONS for health (HAProxy does unless it is told
/// otherwise), so it says as `/health` does that the end has begun.
fn options(draining: bool) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::empty());
    *response.status_mut() =
        if draining { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::NO_CONTENT };
    response.headers_mut().insert(ALLOW, METHODS);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A tag that changes with the content.
fn entity_tag(content: &str) -> HeaderValue {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    HeaderValue::try_from(format!("\"{:016x}\"", hasher.finish()))
        .unwrap_or(HeaderValue::from_static("\"0\""))
}

fn respond(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<bytes::Bytes>,
) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::full(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
