//! Hooks, services and applications that panic: it costs the request or the session, and nothing of it is left;
//! or, where all connections are concerned, the whole engine.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use sedge_engine::hooks::RequestInfo;
use sedge_engine::{
    CloseReason, ListenOptions, Passed, PassedStream, RequestBody, ResponseBody, Shard,
};
use sedge_testkit::{DEADLINE, Form, PollingSession, RawHttp, RawWs, eventually};

use crate::common::{PANIC_TIMER, PATH, Server, V4_POLLING, V4_WEBSOCKET, open_websocket, wait};

/// A service that panics at once, or when its future runs.
#[derive(Clone)]
struct Faulty;

impl tower_service::Service<Request<RequestBody>> for Faulty {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>>>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        assert!(request.uri().path() != "/call", "as asked, in a call");
        Box::pin(async move {
            tokio::task::yield_now().await;
            assert!(request.uri().path() != "/later", "as asked, later");
            Ok(Response::new(ResponseBody::full("fine")))
        })
    }
}

/// Panics if the request asks for it.
fn panic_if_asked(query: Option<&str>, what: &str) {
    assert!(!query.is_some_and(|query| query.contains(what)), "as asked: {what}");
}

fn server(shards: usize) -> Server {
    let headers = |what: &'static str| {
        move |_: &mut http::HeaderMap, info: &RequestInfo<'_>| {
            panic_if_asked(info.uri.query(), what);
        }
    };
    let listen = ListenOptions::new().fallback(Faulty);
    let config = |config: sedge_engine::ConfigBuilder| {
        config
            .shards(shards)
            .connections_max(50)
            .allow_request(async |handshake| {
                panic_if_asked(Some(handshake.query_string()), "at=allow");
                tokio::task::yield_now().await;
                panic_if_asked(Some(handshake.query_string()), "at=later");
                Ok(())
            })
            .on_initial_headers(headers("at=initial"))
            .on_headers(headers("at=headers"))
            .on_connection_error(|error| panic_if_asked(Some(&error.url), "at=error"))
    };
    Server::listen(config, listen)
}

/// More of them than there may be connections.
#[test]
fn hooks_that_panic_cost_their_request() {
    for shards in [1, 3] {
        let server = server(shards).watched();
        for _ in 0..20 {
            // Read by the engine's own reader, and by hyper.
            for before in [None, Some("/elsewhere")] {
                let http = || {
                    let mut http = RawHttp::connect(server.at());
                    if let Some(path) = before {
                        http.get(path).expect(200, "fine");
                    }
                    http
                };
                for at in ["allow", "later", "initial", "headers", "error&sid=unknown"] {
                    http().get(&format!("{V4_POLLING}&at={at}")).expect(500, "");
                }
                for at in ["allow", "later", "initial", "headers"] {
                    let target = format!("{V4_WEBSOCKET}&at={at}");
                    http().request("GET", &target, &RawWs::handshake(), b"").expect(500, "");
                }
            }
        }
        // Those that were opened before an answer's headers were asked for are gone: their clients know nothing
        // of them.
        let counted = server.settle();
        counted.closed(&[(CloseReason::TransportError, 80)]);
    }
}

/// Headers of the answers within a session: its packets are lost with an answer, so it ends.
#[test]
fn a_session_whose_answer_fails_ends() {
    let server = server(1).watched();
    let session = || PollingSession::open(server.at(), PATH, Form::V4);
    let mut first = session();
    first.send_text("4queued");
    RawHttp::connect(server.at()).get(&format!("{}&at=headers", first.target)).expect(500, "");
    first.expect_gone();
    let mut second = session();
    let mut http = RawHttp::connect(server.at());
    http.post(&format!("{}&at=headers", second.target), "4x").expect(500, "");
    second.expect_gone();
    // An upgrade that comes to nothing leaves the session as it was.
    let mut third = session();
    let target = format!("{V4_WEBSOCKET}&sid={}&at=headers", third.sid);
    RawWs::refused(server.at(), &target, &RawWs::handshake()).expect(500, "");
    server.await_metrics(|m| m.probes == 0);
    third.send_text("4still here");
    third.expect_text("4still here");
    third.send_text("1");
    drop((first, second, third, http));
    let counted = server.settle();
    counted.closed(&[(CloseReason::TransportError, 2), (CloseReason::TransportClose, 1)]);
    assert_eq!((counted.upgrades, counted.upgrades_failed), (0, 0));
}

#[test]
fn services_that_panic_cost_their_request() {
    let server = server(2).watched();
    for _ in 0..60 {
        for (path, status) in [("/call", 500), ("/later", 500), ("/elsewhere", 200)] {
            assert_eq!(RawHttp::connect(server.at()).get(path).status, status);
        }
    }
    server.settle();
}

/// The application's own panics cost the session they concern.
#[test]
fn an_application_that_panics_at_a_message() {
    let server = Server::start(|config| config).watched();
    let (mut ws, _) = open_websocket(server.at(), V4_WEBSOCKET);
    ws.send_all(["4!panic", "4b"]);
    ws.expect_eof();
    let mut session = PollingSession::open(server.at(), PATH, Form::V4);
    RawHttp::connect(server.at()).post(&session.target, "4!panic").expect(500, "");
    session.expect_gone();
    drop((ws, session));
    server.settle().closed(&[(CloseReason::TransportError, 2)]);
}

/// Nobody listens any more, and who was connected is told.
#[track_caller]
fn expect_ended(server: &Server, connected: Vec<RawWs>) {
    for mut ws in connected {
        ws.expect_eof();
    }
    let address = server.at().address();
    let refused = || std::net::TcpStream::connect(address).is_err();
    assert!(eventually(DEADLINE, refused));
}

fn connected(server: &Server) -> Vec<RawWs> {
    (0..6).map(|_| open_websocket(server.at(), V4_WEBSOCKET).0).collect()
}

/// A shard that is lost takes the others along, and whoever waits for it is told: no half of a server stays.
#[test]
fn a_shard_that_panics_ends_the_engine() {
    for (shards, which) in [(1, 0), (3, 0), (3, 2)] {
        let server = Server::start(|config| config.shards(shards));
        let connected = connected(&server);
        let failed = server.engine.failed();
        assert!(server.engine.command(which, Box::new(|_| panic!("in a command"))).is_ok());
        let failure = wait(failed);
        assert_eq!((failure.shard, &*failure.words), (which, "in a command"));
        assert!(failure.to_string().contains("in a command"), "{failure}");
        // It has failed for those who ask later, too.
        assert_eq!(wait(server.engine.failed()), failure);
        expect_ended(&server, connected);
        wait(server.engine.close(DEADLINE));
    }
}

/// The driver, which writes for all connections: the application is called by it at the end of a session.
#[test]
fn a_driver_that_panics_ends_the_engine() {
    let server = Server::start(|config| config.shards(2));
    let connected = connected(&server);
    let panicking =
        Box::new(|shard: &Shard| shard.set_timer(std::time::Duration::ZERO, PANIC_TIMER));
    assert!(server.engine.command(1, panicking).is_ok());
    let failure = wait(server.engine.failed());
    assert_eq!((failure.shard, failure.part), (1, "driver"));
    expect_ended(&server, connected);
}

/// The threads end with the last handle, and nothing of them is left.
#[test]
fn an_engine_that_nobody_holds_ends() {
    let server = Server::start(|config| config.shards(3));
    let connected = connected(&server);
    let (at, inlet) = (server.at(), server.engine.inlet(ListenOptions::new()));
    let another = server.engine.layer();
    let Server { engine, .. } = server;
    drop(engine);
    let (ws, _) = open_websocket(&at, V4_WEBSOCKET);
    ws.close();
    drop(another);
    for mut ws in connected {
        ws.expect_eof();
    }
    assert!(eventually(DEADLINE, || std::net::TcpStream::connect(at.address()).is_err()));
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
    drop(ours);
    let stream = PassedStream::Unix(theirs);
    let given = Passed { stream, peer: None, secure: false, read: Bytes::new() };
    assert!(inlet.give(given).is_err());
}
