//! What a request is does not depend on who reads it, and what answers it does not depend on who writes.

use axum::extract::ws::WebSocketUpgrade;
use axum::routing::any;
use sedge_engine::{Cors, ListenOptions};
use sedge_testkit::requests::{Case, ask, cases};
use sedge_testkit::{DEADLINE, Endpoint, Form, Frame, PollingSession, RawHttp, RawWs, frame};

use crate::common::{PATH, Server, V4_POLLING, V4_WEBSOCKET, wait};
use crate::services::Host;

/// Sends a request to `at` over a connection of this kind.
#[track_caller]
fn check(at: &Endpoint, case: &Case, connect: impl Fn() -> RawHttp, way: &str) {
    let session = PollingSession::open(at.clone(), PATH, Form::V4);
    let outcome = ask(connect(), case, &session.sid);
    let Case { name, bytes, .. } = case;
    let shown = String::from_utf8_lossy(bytes);
    assert_eq!(outcome, case.outcome, "{name} {way}: {shown:.300}");
}

/// A connection on which a request for another path came before: hyper reads it from then on.
fn of_hyper(at: &Endpoint) -> RawHttp {
    let mut http = RawHttp::connect(at.clone());
    assert_eq!(http.get("/elsewhere").status, 404);
    http
}

#[test]
fn the_same_request_means_the_same_everywhere() {
    let server = Server::start(|config| config).watched();
    let at = server.at();
    let host = Host::axum(&server.engine);
    for case in &cases() {
        check(&at, case, || RawHttp::connect(at.clone()), "first on its connection");
        check(&at, case, || of_hyper(&at), "behind another path");
        if case.passes_servers {
            check(&at, case, || RawHttp::connect(host.at()), "behind axum");
        }
    }
}

/// What a client sends behind its request, before it knows the answer, arrives behind the handshake.
#[test]
fn early_bytes_are_kept() {
    const PINGS: usize = 200;
    let server = Server::start(|config| config).watched();
    let at = server.at();
    let host = Host::axum(&server.engine);
    let payload = |number: usize| format!("{number:04}{}", "x".repeat(121)).into_bytes();
    let pings: Vec<u8> =
        (0..PINGS).flat_map(|number| frame(0x89, Some([7; 4]), &payload(number))).collect();
    let absolute = format!("http://x{V4_WEBSOCKET}");
    for (way, http, target) in [
        ("first on its connection", RawHttp::connect(at.clone()), V4_WEBSOCKET),
        ("behind another path", of_hyper(&at), V4_WEBSOCKET),
        ("in absolute form", RawHttp::connect(at.clone()), &absolute),
        ("behind another path in absolute form", of_hyper(&at), &absolute),
        ("behind axum", RawHttp::connect(host.at()), V4_WEBSOCKET),
    ] {
        let mut ws = RawWs::upgrade(http, target, &[], &pings);
        assert!(matches!(ws.receive(), Frame::Text(open) if open.starts_with("0{")), "{way}");
        for number in 0..PINGS {
            let pong = ws.receive_raw().expect(way);
            assert_eq!((pong.first, pong.payload), (0x8a, payload(number)), "{way}");
        }
        ws.send("4late");
        ws.expect_text("4late");
        ws.close();
    }
    server.settle();
}

/// There are clients that compare names exactly, though none should.
#[test]
fn names_are_written_as_usual() {
    let server = Server::start(|config| config.cors(Cors::any()));
    let at = server.at();
    let lines: Vec<_> = RawWs::handshake();
    let names = |http: &mut RawHttp| {
        let head = http.stream().read_until(b"\r\n\r\n").expect("an answer");
        let head = String::from_utf8(head).expect("text");
        let names = head.lines().filter_map(|line| Some(line.split_once(':')?.0.to_owned()));
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        names
    };
    for connect in [|at: &Endpoint| RawHttp::connect(at.clone()), of_hyper] {
        let mut http = connect(&at);
        http.send("GET", V4_WEBSOCKET, &lines, b"");
        assert_eq!(names(&mut http), ["Connection", "Date", "Sec-WebSocket-Accept", "Upgrade"]);
        let mut http = connect(&at);
        http.send("GET", &format!("{V4_POLLING}&sid=x"), &[], b"");
        let expected = ["Access-Control-Allow-Origin", "Content-Length", "Content-Type", "Date"];
        assert_eq!(names(&mut http), expected);
    }
}

/// A WebSocket of the application's own, beside the engine's.
#[test]
fn the_fallback_has_websockets_too() {
    let app = axum::Router::new().route(
        "/own",
        any(async |upgrade: WebSocketUpgrade| {
            upgrade.on_upgrade(async |mut socket| {
                while let Some(Ok(message)) = socket.recv().await {
                    let _ = socket.send(message).await;
                }
            })
        }),
    );
    let server = Server::listen(|config| config, ListenOptions::new().fallback(app));
    let early = frame(0x81, Some([7; 4]), b"early");
    for connect in [|at: &Endpoint| RawHttp::connect(at.clone()), of_hyper] {
        let mut ws = RawWs::upgrade(connect(&server.at()), "/own", &[], &early);
        ws.expect_text("early");
        ws.send("hello");
        ws.expect_text("hello");
        // It is one of the shard's connections as long as it is open.
        server.await_metrics(|m| m.connections_http == 1);
        ws.close();
        server.await_metrics(|m| m.connections_http == 0);
    }
    // What is no upgrade of its own leaves the connection as it is.
    let mut http = of_hyper(&server.at());
    let offer = [("connection", "upgrade"), ("upgrade", "h2c")];
    for _ in 0..2 {
        assert_eq!(http.request("GET", "/nothing", &offer, b"").status, 404);
    }
    drop(http);
    // An engine that ends does not wait for it.
    let mut open = RawWs::connect(server.at(), "/own");
    open.send("still here");
    open.expect_text("still here");
    wait(server.engine.close(DEADLINE));
    open.expect_eof();
}

/// Browsers show scripts an answer of another origin only if it says so, and a refusal matters too.
#[test]
fn a_full_server_says_so_to_other_origins_too() {
    let server = Server::start(|config| config.cors(Cors::any()).sessions_max(1));
    let mut session = PollingSession::open(server.at(), PATH, Form::V4);
    for mut http in [RawHttp::connect(server.at()), of_hyper(&server.at())] {
        let lines = [("origin", "http://example.com")];
        let response = http.request("GET", V4_POLLING, &lines, b"");
        assert_eq!(response.status, 503);
        assert_eq!(response.header("access-control-allow-origin"), Some("*"));
    }
    session.send_text("1");
    drop(session);
    server.settle();
}

/// Lines of one header are one list, or the first counts, for the application as for the engine.
#[test]
fn repeated_lines_are_one_header() {
    let server = Server::start(|config| {
        config.allow_request(async |handshake| {
            let header = |name| handshake.header(name).unwrap_or_default().to_owned();
            let count = handshake.headers().filter(|(name, _)| *name == "x-list").count();
            Err([header("x-list"), header("cookie"), header("user-agent"), count.to_string()]
                .join("|"))
        })
    });
    let lines = [
        ("X-List", "a, b"),
        ("Cookie", "c=1"),
        ("User-Agent", "one"),
        ("x-list", "c"),
        ("cookie", "d=2"),
        ("user-agent", "two"),
    ];
    let body = r#"{"code":4,"message":"a, b, c|c=1; d=2|one|1"}"#;
    let host = Host::axum(&server.engine);
    for mut http in
        [RawHttp::connect(server.at()), of_hyper(&server.at()), RawHttp::connect(host.at())]
    {
        http.request("GET", V4_POLLING, &lines, b"").expect(403, body);
    }
}
