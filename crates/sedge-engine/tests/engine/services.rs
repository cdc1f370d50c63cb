//! The engine behind other servers, with TLS, next to other services, and at its end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use sedge_engine::{
    CloseReason, Engine, ListenOptions, PeerAddr, RequestBody, ResponseBody, Transport,
};
use sedge_testkit::{DEADLINE, Endpoint, Form, PollingSession, RawHttp, RawWs};
use tokio::sync::oneshot;

use crate::common::{Echo, PATH, Server, V4_POLLING, V4_WEBSOCKET, open_websocket, wait};
use crate::transports::{Polling, WebSocket, suite};

fn server() -> Server {
    Server::start(|config| config.ping_interval(Duration::from_millis(250)).shards(2)).watched()
}

/// Another HTTP server, on a thread of its own, with the engine as a part of it.
pub(crate) struct Host {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Host {
    pub(crate) fn start(serve: impl AsyncFnOnce(tokio::net::TcpListener) + Send + 'static) -> Host {
        let (stop, stopped) = oneshot::channel();
        let (ready, address) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            wait(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
                let listener = listener.expect("a free port");
                ready.send(listener.local_addr().expect("an address")).expect("the test waits");
                tokio::select! {
                    () = serve(listener) => {}
                    _ = stopped => {}
                }
            });
        });
        let address = address.recv().expect("the host starts");
        Host { address, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn axum(engine: &Engine<Echo>) -> Host {
        let app = axum::Router::new()
            .route("/hello", axum::routing::get(async || "hello"))
            .layer(engine.layer());
        Host::start(async move |listener| {
            axum::serve(listener, app).await.expect("it serves");
        })
    }

    fn hyper(engine: &Engine<Echo>) -> Host {
        let service = TowerToHyperService::new(engine.service());
        Host::start(async move |listener| {
            while let Ok((stream, _)) = listener.accept().await {
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service.clone())
                    .with_upgrades();
                tokio::spawn(connection);
            }
        })
    }

    pub(crate) fn at(&self) -> Endpoint {
        self.address.into()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(ended.is_none_or(|end| end.is_ok()) || std::thread::panicking());
    }
}

/// Everything that a host in between must not spoil.
fn works_behind(server: &Server, host: &Host) {
    suite(&|| Polling::open(host.at(), Form::V4));
    suite(&|| WebSocket::open(host.at(), V4_WEBSOCKET));
    suite(&|| WebSocket::upgraded(host.at()));
    // Data behind the request survives the way through two servers.
    let behind = sedge_testkit::frame(0x81, Some([5; 4]), b"4behind");
    let mut ws = RawWs::connect_with(host.at(), V4_WEBSOCKET, &[], &behind);
    assert!(matches!(ws.receive(), sedge_testkit::Frame::Text(open) if open.starts_with("0{")));
    ws.expect_text("4behind");
    ws.close();
    let response = RawHttp::connect(host.at()).get(&format!("{V4_POLLING}&sid=x"));
    response.expect(400, r#"{"code":1,"message":"Session ID unknown"}"#);
    let refused = RawWs::refused(host.at(), &format!("{V4_WEBSOCKET}&sid=x"), &RawWs::handshake());
    refused.expect(400, "Session ID unknown");
    // A GET whose client goes away.
    let mut session = PollingSession::open(host.at(), PATH, Form::V4);
    session.begin_get();
    server.await_metrics(|m| m.polls_waiting == 1);
    drop(session);
    server.await_metrics(|m| m.sessions_polling == 0 && m.polls_waiting == 0);
    // A session may be opened here and used there.
    let mut session = PollingSession::open(host.at(), PATH, Form::V4);
    RawHttp::connect(server.at()).post(&session.target, "4both").expect(200, "ok");
    session.expect_text("4both");
    session.send_text("1");
}

#[test]
fn behind_axum() {
    let server = server();
    let host = Host::axum(&server.engine);
    works_behind(&server, &host);
    let mut http = RawHttp::connect(host.at());
    http.get("/hello").expect(200, "hello");
    assert_eq!(http.get("/nothing").status, 404);
    drop(http);
    drop(host);
    server.settle();
}

#[test]
fn behind_hyper() {
    let server = server();
    let host = Host::hyper(&server.engine);
    works_behind(&server, &host);
    assert_eq!(RawHttp::connect(host.at()).get("/nothing").status, 404);
    drop(host);
    server.settle();
}

#[test]
fn only_websockets_behind_axum() {
    let server = Server::start(|config| config.transports([Transport::WebSocket]));
    let host = Host::axum(&server.engine);
    let (mut ws, _) = open_websocket(host.at(), V4_WEBSOCKET);
    // The host may end; the connection has left it.
    drop(host);
    ws.send("4still here");
    ws.expect_text("4still here");
    ws.close();
    server.settle();
}

#[cfg(feature = "tls")]
pub(crate) mod tls {
    use std::sync::Arc;

    use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};

    use super::*;

    pub(crate) fn listener() -> (ListenOptions, Arc<ClientConfig>) {
        let names = vec!["localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let certificate = made.cert.der().clone();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
        let server = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .expect("a certificate that fits its key");
        let mut roots = RootCertStore::empty();
        roots.add(certificate).expect("a certificate");
        let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        (ListenOptions::new().tls(Arc::new(server)), Arc::new(client))
    }

    pub(crate) fn endpoint(address: SocketAddr, config: &Arc<ClientConfig>) -> Endpoint {
        let config = Arc::clone(config);
        Endpoint::wrapped(
            address,
            Arc::new(move |tcp| {
                let name = ServerName::try_from("localhost").expect("a name");
                let connection = ClientConnection::new(Arc::clone(&config), name);
                Box::new(StreamOwned::new(connection.expect("a connection"), tcp))
            }),
        )
    }

    #[test]
    fn everything_over_tls() {
        let (listen, client) = listener();
        let interval = Duration::from_millis(250);
        let server = Server::listen(|config| config.ping_interval(interval).shards(2), listen);
        let address = server.listening.local_addr();
        suite(&|| Polling::open(endpoint(address, &client), Form::V4));
        suite(&|| WebSocket::open(endpoint(address, &client), V4_WEBSOCKET));
        suite(&|| WebSocket::upgraded(endpoint(address, &client)));
        server.settle();
    }

    #[test]
    fn handshakes_that_fail_or_never_come() {
        let (listen, client) = listener();
        let timeout = Duration::from_millis(300);
        let server = Server::listen(|config| config.head_timeout(timeout), listen);
        let plain = server.at();
        let mut silent: Vec<_> = (0..100).map(|_| RawHttp::connect(&plain)).collect();
        let mut garbage = RawHttp::connect(&plain);
        garbage.send_bytes(b"GET / HTTP/1.1\r\n\r\n");
        assert!(garbage.ends_within(DEADLINE));
        assert!(silent.iter_mut().all(|http| http.ends_within(DEADLINE)));
        drop((silent, garbage));
        let at = endpoint(server.listening.local_addr(), &client);
        let (ws, _) = open_websocket(at, V4_WEBSOCKET);
        ws.close();
        server.settle();
    }
}

#[derive(Clone)]
struct Fallback;

impl tower_service::Service<Request<RequestBody>> for Fallback {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let peer = request.extensions().get::<PeerAddr>().is_some();
        let body = format!("fallback for {} {peer}", request.uri().path());
        std::future::ready(Ok(Response::new(ResponseBody::full(body))))
    }
}

#[test]
fn other_paths_go_to_the_fallback() {
    let server = Server::listen(|config| config, ListenOptions::new().fallback(Fallback));
    let server = server.watched();
    let mut http = RawHttp::connect(server.at());
    http.get("/other").expect(200, "fallback for /other true");
    http.get("/socket.io").expect(200, "fallback for /socket.io true");
    assert_eq!(http.get(PATH).status, 400);
    http.get("/other").expect(200, "fallback for /other true");
    drop(http);
    server.settle();
}

#[test]
fn a_listener_closes_without_its_connections() {
    let server = Server::start(|config| config);
    let address = server.listening.local_addr();
    let (mut ws, _) = open_websocket(server.at(), V4_WEBSOCKET);
    server.listening.close();
    let closed =
        sedge_testkit::eventually(DEADLINE, || std::net::TcpStream::connect(address).is_err());
    assert!(closed, "the port is free");
    ws.send("4still here");
    ws.expect_text("4still here");
    ws.close();
    let again = wait(server.engine.listen(address)).expect("the port is free");
    assert_eq!(again.local_addr(), address);
    let (ws, _) = open_websocket(address, V4_WEBSOCKET);
    ws.close();
    server.settle();
}

/// At the end of the engine every client is told as far as possible.
#[test]
fn the_end_is_told() {
    let server = Server::start(|config| config.shards(2));
    let sockets: Vec<RawWs> =
        (0..10).map(|_| open_websocket(server.at(), V4_WEBSOCKET).0).collect();
    let mut polls: Vec<_> =
        (0..10).map(|_| PollingSession::open(server.at(), PATH, Form::V4)).collect();
    polls.iter_mut().for_each(PollingSession::begin_get);
    server.await_metrics(|m| m.polls_waiting == 10);
    let clients = std::thread::spawn(move || {
        for mut ws in sockets {
            ws.expect_close(None);
        }
        for mut session in polls {
            session.finish_get().expect(200, "1");
        }
    });
    let start = Instant::now();
    wait(server.engine.close(DEADLINE));
    assert!(start.elapsed() < DEADLINE, "nobody has to be waited for");
    assert!(clients.join().is_ok());
    assert_eq!(server.engine.session_count(), 0);
    let address = server.listening.local_addr();
    assert!(std::net::TcpStream::connect(address).is_err());
}

/// Clients that do not come to hear it hold the end up no longer than allowed.
#[test]
fn the_end_has_a_deadline() {
    let server = Server::start(|config| config);
    let (ws, _) = open_websocket(server.at(), V4_WEBSOCKET);
    let idle = PollingSession::open(server.at(), PATH, Form::V4);
    let start = Instant::now();
    wait(server.engine.close(Duration::from_millis(300)));
    assert!(start.elapsed() < DEADLINE);
    drop((ws, idle));
    let counted = server.metrics();
    assert_eq!(counted.closed[CloseReason::TransportError as usize], 0);
    assert!(wait(server.engine.listen(([127, 0, 0, 1], 0).into())).is_err());
}
