//! Engines with several shards: a request may arrive at any of them.

use std::sync::mpsc;

use sedge_engine::{CloseReason, Shard};
use sedge_testkit::{DEADLINE, Form, PollingSession, RawHttp, RawWs, eventually};

use crate::common::{PATH, Server, V4_POLLING, V4_WEBSOCKET};

const SHARDS: usize = 4;

fn server() -> Server {
    Server::start(|config| config.shards(SHARDS)).watched()
}

/// Connections are spread over the shards, so these reach all of them.
fn connections(server: &Server) -> Vec<RawHttp> {
    (0..2 * SHARDS).map(|_| RawHttp::connect(server.at())).collect()
}

#[test]
fn sessions_are_served_on_connections_of_all_shards() {
    let server = server();
    let mut sessions: Vec<_> =
        (0..SHARDS).map(|_| PollingSession::open(server.at(), PATH, Form::V4)).collect();
    let mut connections = connections(&server);
    let shards = server.engine.metrics();
    assert!(shards.iter().all(|shard| shard.connections_http > 0), "{shards:?}");
    for session in &mut sessions {
        for (number, http) in connections.iter_mut().enumerate() {
            http.post(&session.target, &format!("4{number}")).expect(200, "ok");
            http.get(&session.target).expect(200, &format!("4{number}"));
        }
        connections[0].post(&session.target, &vec!["4x"; 10_000].join("\x1e")).expect(200, "ok");
        assert_eq!(connections[1].get(&session.target).body.len(), 29_999);
    }
    // A GET that waits on one shard's connection is answered for another shard's session.
    for (session, http) in sessions.iter().zip(&mut connections) {
        http.send("GET", &session.target, &[], b"");
    }
    server.await_metrics(|m| m.polls_waiting == SHARDS as u64);
    for session in &sessions {
        connections[SHARDS].post(&session.target, "4late").expect(200, "ok");
    }
    for http in &mut connections[..SHARDS] {
        http.receive().expect(200, "4late");
    }
    // And an aborted one is noticed there.
    for (session, http) in sessions.iter().zip(&mut connections) {
        http.send("GET", &session.target, &[], b"");
    }
    server.await_metrics(|m| m.polls_waiting == SHARDS as u64);
    drop(connections);
    server.await_metrics(|m| m.sessions_polling == 0);
    drop(sessions);
    server.settle().closed(&[(CloseReason::TransportError, SHARDS as u64)]);
}

/// Every shard shows that its thread goes round, whether it has anything to do or not; one that is held up
/// stands still.
#[test]
fn progress_of_idle_and_of_busy_shards() {
    let server = Server::start(|config| config.shards(SHARDS));
    let progress = || server.engine.progress().collect::<Vec<_>>();
    let goes_on = |shard: usize| {
        let before = progress()[shard];
        eventually(DEADLINE, || progress()[shard] > before)
    };
    assert!((0..SHARDS).all(goes_on));
    let (is_held, held) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let hold = Box::new(move |_: &Shard| {
        is_held.send(()).expect("the test waits");
        let _ = released.recv();
    });
    assert!(server.engine.command(1, hold).is_ok());
    held.recv().expect("the shard takes the command");
    let stands = progress()[1];
    // However often the others go round.
    assert!((0..3).all(|_| (0..SHARDS).filter(|shard| *shard != 1).all(goes_on)));
    assert_eq!(progress()[1], stands);
    drop(release);
    assert!(goes_on(1));
    server.settle();
}

#[test]
fn refusals_of_other_shards() {
    let server = server();
    let mut session = PollingSession::open(server.at(), PATH, Form::V4);
    for http in &mut connections(&server) {
        let response = http.get(&session.target.replace("EIO=4", "EIO=3"));
        response.expect(400, r#"{"code":3,"message":"Bad request"}"#);
    }
    session.send_text("1");
    for http in &mut connections(&server) {
        http.get(&session.target).expect(400, r#"{"code":1,"message":"Session ID unknown"}"#);
    }
    drop(session);
    server.settle().closed(&[(CloseReason::TransportClose, 1)]);
}

/// A WebSocket that arrives at another shard than the session's moves there.
#[test]
fn websockets_move_to_their_session() {
    let server = server();
    for _ in 0..SHARDS {
        let mut session = PollingSession::open(server.at(), PATH, Form::V4);
        session.send_text("4!shard");
        let shard = session.receive();
        let target = format!("{V4_WEBSOCKET}&sid={}", session.sid);
        // Turned away, wherever they arrive, while one is tested.
        let mut first = RawWs::connect(server.at(), &target);
        for _ in 0..SHARDS {
            RawWs::connect(server.at(), &target).expect_close(None);
        }
        first.send("2probe");
        first.expect_text("3probe");
        first.send_all(["5", "4!shard", "4!transport"]);
        assert_eq!(first.receive(), text(&shard));
        first.expect_text("4websocket");
        first.close();
    }
    // All in one segment, so what is behind the request moves along.
    let data: Vec<u8> = ["2probe", "5", "4behind"]
        .iter()
        .flat_map(|text| sedge_testkit::frame(0x81, Some([1; 4]), text.as_bytes()))
        .collect();
    for _ in 0..SHARDS {
        let session = PollingSession::open(server.at(), PATH, Form::V4);
        let target = format!("{V4_WEBSOCKET}&sid={}", session.sid);
        let mut ws = RawWs::connect_with(server.at(), &target, &[], &data);
        ws.expect_text("3probe");
        ws.expect_text("4behind");
        ws.close();
    }
    let counted = server.settle();
    counted.closed(&[(CloseReason::TransportClose, 2 * SHARDS as u64)]);
    assert_eq!(counted.upgrades, 2 * SHARDS as u64);
}

fn text(packet: &sedge_testkit::Packet) -> sedge_testkit::Frame {
    match packet {
        sedge_testkit::Packet::Text(text) => sedge_testkit::Frame::Text(text.clone()),
        other @ sedge_testkit::Packet::Binary(_) => panic!("{other:?}"),
    }
}

/// A client that closes sends CLOSE by POST right behind its GET, on another connection. Whichever shards these
/// belong to, and whether they were used before, the GET is answered as the one that came first.
#[test]
fn a_close_does_not_overtake_the_poll_before_it() {
    for shards in [1, 2, 4] {
        let server = Server::start(|config| config.shards(shards)).watched();
        for round in 0..100 {
            let mut first = RawHttp::connect(server.at());
            let mut second = RawHttp::connect(server.at());
            if round % 2 == 0 {
                assert_eq!(second.get("/elsewhere").status, 404);
            }
            let response = first.get(V4_POLLING);
            let sid = response.text().split('"').nth(3).expect("a session").to_owned();
            let target = format!("{V4_POLLING}&sid={sid}");
            second.send("GET", &target, &[], b"");
            first.send("POST", &target, &[], b"1");
            second.receive().expect(200, "6");
            first.receive().expect(200, "ok");
            // One that comes later is late.
            second.get(&target).expect(400, r#"{"code":1,"message":"Session ID unknown"}"#);
        }
        server.settle().closed(&[(CloseReason::TransportClose, 100)]);
    }
}

/// A connection moves to the shard of its session with its first request, and on with that of another one.
#[test]
fn connections_move_to_their_session() {
    let server = server();
    let sessions: Vec<_> =
        (0..SHARDS).map(|_| PollingSession::open(server.at(), PATH, Form::V4)).collect();
    let of_shard =
        || server.engine.metrics().iter().map(|m| m.connections_http).collect::<Vec<_>>();
    let opened = || of_shard().iter().sum::<u64>() == 2 * SHARDS as u64;
    assert!(eventually(DEADLINE, opened), "{:?}", of_shard());
    let before = of_shard();
    let mut http = RawHttp::connect(server.at());
    for session in &sessions {
        http.post(&session.target, "4!shard").expect(200, "ok");
        let shard: usize = http.get(&session.target).text()[1..].parse().expect("a number");
        let mut expected = before.clone();
        expected[shard] += 1;
        assert!(eventually(DEADLINE, || of_shard() == expected), "{:?} {expected:?}", of_shard());
        http.post(&session.target, "1").expect(200, "ok");
    }
    drop((http, sessions));
    server.settle().closed(&[(CloseReason::TransportClose, SHARDS as u64)]);
}

#[test]
fn a_slow_body_for_another_shard() {
    let server = server();
    let mut session = PollingSession::open(server.at(), PATH, Form::V4);
    for mut http in connections(&server) {
        let head = format!("POST {V4_POLLING}&sid={} HTTP/1.1\r\nhost: a\r\n", session.sid);
        http.send_bytes(format!("{head}content-length: 5\r\n\r\n4he").as_bytes());
        http.send_bytes(b"y!");
        http.receive().expect(200, "ok");
        session.expect_text("4hey!");
        // And a broken one, of a session of its own.
        let mut other = PollingSession::open(server.at(), PATH, Form::V4);
        let head = format!("POST {} HTTP/1.1\r\nhost: a\r\n", other.target);
        http.send_bytes(format!("{head}content-length: 5\r\n\r\n4he").as_bytes());
        drop(http);
        let gone = eventually(DEADLINE, || {
            other.begin_get();
            other.finish_get().text() != "6" && server.metrics().sessions_polling == 1
        });
        assert!(gone);
    }
    session.send_text("1");
    drop(session);
    server.settle();
}
