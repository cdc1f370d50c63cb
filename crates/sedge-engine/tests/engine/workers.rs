//! Several engines that are workers of one host: a request may arrive at any of them. Here they are
//! in one process, which makes no difference to the engine: connections leave it as descriptors.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use sedge_engine::{Inlet, ListenOptions, NotPassed, Passed, Passing, Siblings};
use sedge_testkit::{DEADLINE, Form, Frame, PollingSession, RawHttp, RawWs, frame};

use crate::common::{Echo, PATH, Server, V4_POLLING, V4_WEBSOCKET, open_websocket, wait};

const WORKERS: u8 = 3;
const UNKNOWN: &str = r#"{"code":1,"message":"Session ID unknown"}"#;

/// The workers by their numbers; those that are missing have ended.
#[derive(Default)]
struct Host {
    inlets: Mutex<Vec<Option<Inlet<Echo>>>>,
    passed: AtomicUsize,
    /// Nothing is taken at present.
    full: AtomicBool,
}

impl Siblings for Host {
    fn pass(&self, worker: u8, connection: Passed) -> Passing {
        let result = if self.full.load(Ordering::Relaxed) {
            Err(NotPassed { connection, gone: false })
        } else {
            let inlets = self.inlets.lock().expect("no panic");
            match inlets.get(usize::from(worker)) {
                Some(Some(inlet)) => {
                    self.passed.fetch_add(1, Ordering::Relaxed);
                    inlet.give(connection).map_err(|c| NotPassed { connection: c, gone: false })
                }
                _ => Err(NotPassed { connection, gone: true }),
            }
        };
        Box::pin(std::future::ready(result))
    }
}

/// Starts the workers of a host, each with a port and an inlet.
fn start(options: &ListenOptions) -> (Arc<Host>, Vec<Server>) {
    let host = Arc::new(Host::default());
    let servers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let siblings = Arc::clone(&host);
            let config = |config: sedge_engine::ConfigBuilder| {
                config
                    .secret(*b"0123456789abcdef")
                    .worker(worker)
                    .shards(2)
                    .allow_eio3(true)
                    .siblings(siblings)
            };
            Server::listen(config, options.clone())
        })
        .collect();
    let inlets = servers.iter().map(|s| Some(s.engine.inlet(options.clone())));
    *host.inlets.lock().expect("no panic") = inlets.collect();
    (host, servers)
}

fn end(servers: Vec<Server>) {
    for server in servers {
        server.settle();
    }
}

/// The numbers 0 to `below` in an order that is as good as random and the same every time.
fn shuffled(below: usize, seed: usize) -> impl Iterator<Item = usize> {
    (1..).map(move |n: usize| (n * 7919 + seed * 104_729) / 13 % below)
}

/// As a proxy that keeps its connections to the workers alive and spreads requests over them.
#[test]
fn every_request_of_every_session_may_go_to_any_worker() {
    let (host, servers) = start(&ListenOptions::new());
    let at = |worker: usize| servers[worker].at();
    let mut kept: Vec<_> = (0..6).map(|n| RawHttp::connect(at(n % servers.len()))).collect();
    let mut sessions: Vec<_> = (0..9)
        .map(|n| PollingSession::open(at(n % servers.len()), PATH, Form::V4).target.clone())
        .collect();
    let mut turns = shuffled(kept.len(), 1);
    for round in 0..20 {
        for (number, target) in sessions.iter().enumerate() {
            let message = format!("4{round}/{number}");
            let mut turn = || turns.next().expect("endless");
            kept[turn()].post(target, &message).expect(200, "ok");
            kept[turn()].get(target).expect(200, &message);
        }
    }
    assert!(host.passed.load(Ordering::Relaxed) > 100, "they were passed about");
    for target in sessions.drain(..) {
        kept[0].post(&target, "1").expect(200, "ok");
    }
    drop(kept);
    end(servers);
}

/// Requests for several workers in one write, one of which has to wait.
#[test]
fn pipelined_requests_travel_with_their_connection() {
    let (_host, servers) = start(&ListenOptions::new());
    let targets: Vec<_> = servers
        .iter()
        .map(|server| PollingSession::open(server.at(), PATH, Form::V4).target.clone())
        .collect();
    let post = |target: &str, body: &str| {
        let length = body.len();
        format!("POST {target} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{body}")
    };
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut http = RawHttp::connect(servers[0].at());
    let mut all = get(&targets[1]);
    for target in &targets {
        all += &(post(target, "4x") + &get(target));
    }
    let (first, second) = all.split_at(all.len() - 30);
    http.send_bytes(first.as_bytes());
    servers[1].await_metrics(|m| m.polls_waiting == 1);
    RawHttp::connect(servers[2].at()).post(&targets[1], "4first").expect(200, "ok");
    http.send_bytes(second.as_bytes());
    http.receive().expect(200, "4first");
    for _ in &targets {
        http.receive().expect(200, "ok");
        http.receive().expect(200, "4x");
    }
    for target in &targets {
        http.post(target, "1").expect(200, "ok");
    }
    drop(http);
    end(servers);
}

/// A head or body that is cut anywhere reaches the owner whole.
#[test]
fn a_request_for_a_sibling_may_be_cut_anywhere() {
    let (_host, servers) = start(&ListenOptions::new());
    let session = PollingSession::open(servers[1].at(), PATH, Form::V4);
    let target = &session.target;
    let whole = format!("POST {target} HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n4\u{e9}");
    for cut in 1..whole.len() {
        let mut http = RawHttp::connect(servers[0].at());
        let (first, second) = whole.as_bytes().split_at(cut);
        http.send_bytes(first);
        let sum = || servers.iter().map(|s| s.metrics().connections_http).sum::<u64>();
        assert!(sedge_testkit::eventually(DEADLINE, || sum() >= 3));
        http.send_bytes(second);
        http.receive().expect(200, "ok");
        http.get(target).expect(200, "4\u{e9}");
    }
    RawHttp::connect(servers[2].at()).post(target, "1").expect(200, "ok");
    drop(session);
    end(servers);
}

#[test]
fn upgrades_reach_the_session() {
    let (_host, servers) = start(&ListenOptions::new());
    // The second way in is served by hyper, after a request that is not the engine's.
    for (arrives_at, before) in [(0, PATH), (1, PATH), (1, "/elsewhere")] {
        let session = PollingSession::open(servers[2].at(), PATH, Form::V4);
        let mut http = RawHttp::connect(servers[arrives_at].at());
        http.get(before);
        let target = format!("{V4_WEBSOCKET}&sid={}", session.sid);
        let probe = frame(0x81, Some([1, 2, 3, 4]), b"2probe");
        let mut ws = RawWs::upgrade(http, &target, &[], &probe);
        assert_eq!(ws.receive(), Frame::Text("3probe".to_owned()));
        ws.send("5");
        ws.send("4hello");
        assert_eq!(ws.receive(), Frame::Text("4hello".to_owned()));
        ws.close();
        drop(session);
    }
    end(servers);
}

/// Requests that hyper reads, since they came right behind one of its own: the sibling is asked, and the
/// connection stays.
#[test]
fn unusual_requests_reach_their_session_too() {
    let (_host, servers) = start(&ListenOptions::new());
    let session = PollingSession::open(servers[2].at(), PATH, Form::V4);
    let target = &session.target;
    let before = "GET /elsewhere HTTP/1.1\r\nhost: a\r\n\r\n";
    let long = "x".repeat(300_000);
    let chunked = format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n4{long}\r\n", long.len() + 1);
    for request in [
        format!("POST {target} HTTP/1.1\r\nhost: a\r\n{chunked}0\r\n\r\n"),
        format!("GET {target} HTTP/1.0\r\nconnection: keep-alive\r\n\r\n"),
    ] {
        let mut http = RawHttp::connect(servers[0].at());
        http.send_bytes(format!("{before}{request}").as_bytes());
        assert_eq!(http.receive().status, 404);
        let response = http.receive();
        assert_eq!(response.status, 200, "{response:?}");
        if request.starts_with("GET") {
            assert_eq!(response.body.len(), long.len() + 1);
        }
        // The same connection serves a session of its own worker.
        assert_eq!(http.get(V4_POLLING).status, 200);
    }
    assert_eq!(servers[0].metrics().opened, 2);
    let mut http = RawHttp::connect(servers[1].at());
    // A GET that waits at the sibling and is given up is noticed there.
    let get = format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n");
    http.send_bytes(format!("{before}{get}").as_bytes());
    servers[2].await_metrics(|m| m.polls_waiting == 1);
    drop(http);
    servers[2].await_metrics(|m| m.polls_waiting == 0 && m.sessions_polling == 0);
}

#[test]
fn a_session_of_a_worker_that_has_ended_is_unknown() {
    let (host, servers) = start(&ListenOptions::new());
    let session = PollingSession::open(servers[2].at(), PATH, Form::V4);
    host.inlets.lock().expect("no panic")[2] = None;
    let mut http = RawHttp::connect(servers[0].at());
    http.get(&session.target).expect(400, UNKNOWN);
    http.get("/elsewhere");
    http.get(&session.target).expect(400, UNKNOWN);
    // One that is only busy is not said to have lost it.
    host.full.store(true, Ordering::Relaxed);
    let response = RawHttp::connect(servers[0].at()).get(&session.target);
    assert_eq!((response.status, response.header("retry-after")), (503, Some("1")));
    // The sessions of other hosts and secrets are unknown, and nobody is asked.
    let foreign = session.target.replace("&sid=", "&sid=A");
    RawHttp::connect(servers[0].at()).get(&foreign[..foreign.len() - 1]).expect(400, UNKNOWN);
    assert_eq!(servers[0].metrics().sessions(), 0);
}

/// TLS stays where it was taken off; a session id cannot be read before that.
#[cfg(feature = "tls")]
#[test]
fn encrypted_connections_reach_every_worker() {
    use crate::services::tls::{endpoint, listener};
    let (options, client) = listener();
    let (host, servers) = start(&options);
    let at = |n: usize| endpoint(servers[n].listening.local_addr(), &client);
    let session = PollingSession::open(at(2), PATH, Form::V4);
    let mut http = RawHttp::connect(at(0));
    for message in ["4a", "4b"] {
        http.post(&session.target, message).expect(200, "ok");
        http.get(&session.target).expect(200, message);
    }
    let target = format!("{V4_WEBSOCKET}&sid={}", session.sid);
    let mut ws = RawWs::connect(at(1), &target);
    ws.send("2probe");
    assert_eq!(ws.receive(), Frame::Text("3probe".to_owned()));
    ws.send("5");
    ws.send("4over");
    assert_eq!(ws.receive(), Frame::Text("4over".to_owned()));
    assert_eq!(host.passed.load(Ordering::Relaxed), 2);
    ws.close();
    drop((http, session));
    end(servers);
}

/// What is carried to a sibling ends with either end, whatever the other one does.
#[cfg(feature = "tls")]
#[test]
fn tunnels_end_with_either_end() {
    use crate::services::tls::{endpoint, listener};
    let (options, client) = listener();
    let (_host, servers) = start(&options);
    let at = |n: usize| endpoint(servers[n].listening.local_addr(), &client);
    // One passed as it is, and one that hyper has: a socket pair for the whole connection, or for the WebSocket.
    let tunnelled = |before: &str| {
        let session = PollingSession::open(at(2), PATH, Form::V4);
        let mut http = RawHttp::connect(at(1));
        http.get(before);
        let target = format!("{V4_WEBSOCKET}&sid={}", session.sid);
        let mut ws = RawWs::upgrade(http, &target, &[], &[]);
        ws.send("2probe");
        assert_eq!(ws.receive(), Frame::Text("3probe".to_owned()));
        ws.send("5");
        ws.send("4over");
        assert_eq!(ws.receive(), Frame::Text("4over".to_owned()));
        ws
    };
    for before in [PATH, "/elsewhere"] {
        let mut open: Vec<_> = (0..4).map(|_| tunnelled(before)).collect();
        servers[1].await_metrics(|m| m.tunnels == 4 && m.connections() == 4);
        // The session ends and the client keeps its connection.
        for ws in &mut open[..2] {
            ws.send_frame(0x88, &[]);
            ws.expect_close(None);
        }
        servers[1].await_metrics(|m| m.tunnels == 2);
        // The client goes.
        drop(open.pop());
        open.pop().expect("four").abort();
        servers[1].await_metrics(|m| m.tunnels == 0);
        servers[2].await_metrics(|m| m.sessions() == 0);
    }
    end(servers);
}

/// The sessions are a sibling's and go on; only the connections are here.
#[cfg(feature = "tls")]
#[test]
fn a_worker_that_ends_answers_the_polls_of_its_siblings_sessions() {
    use crate::services::tls::{endpoint, listener};
    let (options, client) = listener();
    let (_host, mut servers) = start(&options);
    let at = |n: usize| endpoint(servers[n].listening.local_addr(), &client);
    // Passed as they are, and by hyper; a session is on either of the two shards.
    let mut polling = Vec::new();
    for before in [PATH, "/elsewhere"] {
        for _ in 0..4 {
            let session = PollingSession::open(at(2), PATH, Form::V4);
            let mut http = RawHttp::connect(at(1));
            http.get(before);
            http.send("GET", &session.target, &[], b"");
            polling.push((session, http));
        }
    }
    let socket = PollingSession::open(at(2), PATH, Form::V4);
    let target = format!("{V4_WEBSOCKET}&sid={}", socket.sid);
    let mut ws = RawWs::upgrade(RawHttp::connect(at(1)), &target, &[], &[]);
    ws.send("2probe");
    assert_eq!(ws.receive(), Frame::Text("3probe".to_owned()));
    ws.send("5");
    servers[2].await_metrics(|m| m.polls_waiting == 8 && m.sessions_websocket == 1);
    let elsewhere = at(0);
    wait(servers.remove(1).engine.close(DEADLINE));
    for (_, http) in &mut polling {
        http.receive().expect(200, "6");
        http.expect_eof();
    }
    assert_eq!(ws.receive(), Frame::Closed);
    // They come back by another way.
    for (session, _) in &polling {
        let mut http = RawHttp::connect(elsewhere.clone());
        http.post(&session.target, "4still there").expect(200, "ok");
        http.get(&session.target).expect(200, "4still there");
    }
    servers[1].await_metrics(|m| m.sessions_polling == 8 && m.sessions_websocket == 0);
    for (session, _) in polling {
        RawHttp::connect(elsewhere.clone()).post(&session.target, "1").expect(200, "ok");
    }
    drop(socket);
    end(servers);
}

#[test]
fn a_worker_that_takes_no_sessions_serves_those_it_has() {
    let (_host, servers) = start(&ListenOptions::new());
    let session = PollingSession::open(servers[1].at(), PATH, Form::V4);
    servers[1].engine.refuse_sessions(true);
    let response = RawHttp::connect(servers[1].at()).get(V4_POLLING);
    assert_eq!((response.status, response.header("retry-after")), (503, Some("1")));
    assert_eq!(response.header("connection"), Some("close"));
    RawHttp::connect(servers[0].at()).post(&session.target, "4x").expect(200, "ok");
    servers[1].engine.refuse_sessions(false);
    let (ws, _) = open_websocket(servers[1].at(), V4_WEBSOCKET);
    ws.close();
    drop(session);
}
