//! Clients that are silent or slow: every wait has an end.

use std::time::Duration;

use sedge_engine::hooks::ErrorCode;
use sedge_engine::{CloseReason, ConfigBuilder};
use sedge_testkit::{DEADLINE, Form, Frame, PollingSession, RawHttp, RawWs, eventually};

use crate::common::{PATH, Server, V3_WEBSOCKET, V4_POLLING, V4_WEBSOCKET, open_websocket, wait};

const SHORT: Duration = Duration::from_millis(200);
/// Between two bytes of a slow client.
const PACE: Duration = Duration::from_millis(50);

/// Sends a byte at a time until the server has had enough.
fn trickle(http: &mut RawHttp, bytes: &[u8]) {
    for byte in bytes.iter().cycle().take(200) {
        if http.stream().try_send(&[*byte]).is_err() || http.ends_within(PACE) {
            return;
        }
    }
    panic!("the server waits for ever");
}

#[test]
fn silent_connections_are_closed() {
    let server =
        Server::start(|config| config.head_timeout(SHORT).keep_alive_timeout(SHORT)).watched();
    let mut silent: Vec<_> = (0..500).map(|_| RawHttp::connect(server.at())).collect();
    let half = format!("GET {V4_POLLING} HTTP/1.1\r\nhost:");
    let mut halves: Vec<_> = (0..500).map(|_| RawHttp::connect(server.at())).collect();
    for http in &mut halves {
        let _ = http.stream().try_send(half.as_bytes());
    }
    assert!(silent.iter_mut().chain(&mut halves).all(|http| http.ends_within(DEADLINE)));
    // Connections that were good once, whoever has read their requests.
    for target in ["/elsewhere", "/socket.io/"] {
        let mut used = RawHttp::connect(server.at());
        assert!(used.get(target).status >= 400);
        assert!(used.ends_within(DEADLINE));
    }
    server.await_metrics(|m| m.connections_http == 0);
    server.settle().closed(&[]).refused(&[(ErrorCode::TransportUnknown, 1)]);
}

#[test]
fn a_head_that_trickles_in() {
    let server = Server::start(|config| config.head_timeout(SHORT)).watched();
    let mut http = RawHttp::connect(server.at());
    trickle(&mut http, b"GET /socket.io/?EIO=4&transport=polling&");
    let mut http = RawHttp::connect(server.at());
    http.send_bytes(b"GET / HTTP/1.1\r\n");
    trickle(&mut http, b"a: b\r\n");
    drop(http);
    server.settle();
}

#[test]
fn a_body_that_trickles_in() {
    let server = Server::start(|config| config.body_timeout(SHORT)).watched();
    let mut session = PollingSession::open(server.at(), PATH, Form::V4);
    let mut http = RawHttp::connect(server.at());
    let head = format!("POST {} HTTP/1.1\r\nhost: a\r\n", session.target);
    http.send_bytes(format!("{head}content-length: 1000\r\n\r\n").as_bytes());
    trickle(&mut http, b"4");
    session.expect_gone();
    drop((session, http));
    // Tiny chunks, too.
    let mut session = PollingSession::open(server.at(), PATH, Form::V4);
    let mut http = RawHttp::connect(server.at());
    let head = format!("POST {} HTTP/1.1\r\nhost: a\r\n", session.target);
    http.send_bytes(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes());
    trickle(&mut http, b"1\r\n4\r\n");
    session.expect_gone();
    drop((session, http));
    server.settle().closed(&[(CloseReason::TransportError, 2)]);
}

/// A body may take far longer than the grace, if it keeps its rate; whether it comes in one piece or in chunks.
#[test]
fn a_slow_body_that_keeps_its_rate() {
    let server =
        Server::start(|config| config.body_timeout(SHORT).transfer_rate_min(1000)).watched();
    for chunked in [false, true] {
        let mut session = PollingSession::open(server.at(), PATH, Form::V4);
        let mut http = RawHttp::connect(server.at());
        let head = format!("POST {} HTTP/1.1\r\nhost: a\r\n", session.target);
        let length = if chunked { "transfer-encoding: chunked" } else { "content-length: 2000" };
        http.send_bytes(format!("{head}{length}\r\n\r\n").as_bytes());
        let text = format!("4{}", "a".repeat(1999));
        // Each piece buys as much time as there is between two of them, and more.
        for piece in text.as_bytes().chunks(200) {
            let piece = String::from_utf8_lossy(piece);
            let piece = if chunked { format!("c8\r\n{piece}\r\n") } else { piece.into_owned() };
            http.send_bytes(piece.as_bytes());
            assert!(!http.ends_within(PACE));
        }
        http.send_bytes(if chunked { b"0\r\n\r\n" } else { b"" });
        http.receive().expect(200, "ok");
        session.expect_text(&text);
        session.send_text("1");
    }
    server.settle().closed(&[(CloseReason::TransportClose, 2)]);
}

/// Clients that never answer a ping, or never send one, are given up.
#[test]
fn no_heartbeat() {
    let server =
        Server::start(|config| config.allow_eio3(true).ping_interval(SHORT).ping_timeout(SHORT));
    let (mut silent, _) = open_websocket(server.at(), V4_WEBSOCKET);
    silent.expect_text("2");
    silent.expect_close(None);
    let (mut old, _) = open_websocket(server.at(), V3_WEBSOCKET);
    old.expect_close(None);
    // Messages are no pong.
    let (mut talker, _) = open_websocket(server.at(), V4_WEBSOCKET);
    let closed = eventually(DEADLINE, || {
        talker.send("4x");
        let closed = talker.receive() == Frame::Closed;
        closed || talker.stream().ends_within(PACE)
    });
    assert!(closed);
    drop(talker);
    let mut polling = PollingSession::open(server.at(), PATH, Form::V4);
    polling.expect_text("2");
    polling.begin_get();
    polling.finish_get().expect(200, "1");
    polling.expect_gone();
    drop(polling);
    let mut polling = PollingSession::open(server.at(), PATH, Form::V3Text);
    polling.begin_get();
    polling.finish_get().expect(200, "1:1");
    polling.expect_gone();
    // Nobody polls at all.
    drop(PollingSession::open(server.at(), PATH, Form::V4));
    drop(polling);
    server.await_metrics(|m| m.sessions() == 0);
    server.settle().closed(&[(CloseReason::PingTimeout, 6)]);
}

/// WebSocket handshakes that stop behind the 101, or in front of it, by the hundreds.
#[test]
fn half_open_upgrades() {
    const COUNT: u64 = 300;
    let server = Server::start(|config| {
        config.upgrade_timeout(Duration::from_secs(2)).head_timeout(Duration::from_secs(1))
    });
    let server = server.watched();
    let mut sessions = Vec::new();
    for _ in 0..COUNT {
        let response = RawHttp::connect(server.at()).get(V4_POLLING);
        sessions.push(response.text().split('"').nth(3).expect("a session").to_owned());
    }
    let targets = sessions.iter().map(|sid| format!("{V4_WEBSOCKET}&sid={sid}"));
    let mut probes: Vec<_> = targets.map(|target| RawWs::connect(server.at(), &target)).collect();
    let mut cut: Vec<_> = (0..COUNT).map(|_| RawHttp::connect(server.at())).collect();
    for http in &mut cut {
        let head = format!("GET {V4_WEBSOCKET} HTTP/1.1\r\nupgrade: websocket\r\nconn");
        let _ = http.stream().try_send(head.as_bytes());
    }
    for ws in &mut probes {
        ws.expect_close(None);
    }
    assert!(cut.iter_mut().all(|http| http.ends_within(DEADLINE)));
    drop((probes, cut));
    let metrics = server.await_metrics(|m| m.probes == 0 && m.connections_http == 0);
    assert_eq!(metrics.upgrades_failed, COUNT);
    assert_eq!(metrics.sessions_polling, COUNT, "the sessions survive their probes");
    let mut http = RawHttp::connect(server.at());
    for sid in sessions {
        http.post(&format!("{V4_POLLING}&sid={sid}"), "1").expect(200, "ok");
    }
    drop(http);
    server.settle().closed(&[(CloseReason::TransportClose, COUNT)]);
}

/// A connection may idle for longer than a head may take.
#[test]
fn an_idle_connection_outlives_the_time_for_a_head() {
    let server = Server::start(|config| config.head_timeout(SHORT)).watched();
    for target in ["/elsewhere", "/socket.io/"] {
        let mut idle = RawHttp::connect(server.at());
        let status = idle.get(target).status;
        // A head that is late is given up meanwhile, twice over.
        for _ in 0..2 {
            let mut late = RawHttp::connect(server.at());
            late.get(target);
            late.send_bytes(b"GET /");
            assert!(late.ends_within(DEADLINE));
        }
        assert_eq!(idle.get(target).status, status);
    }
    server.settle();
}

/// Answers that their client does not read are not kept for ever, whoever writes them.
#[test]
fn an_answer_that_is_not_read() {
    let options = |config: ConfigBuilder| config.body_timeout(SHORT).transfer_rate_min(1 << 30);
    let server = Server::start(options).watched();
    for form in ["", "http://a"] {
        let mut session = PollingSession::open(server.at(), PATH, Form::V4);
        session.send_text("4!send 15 999000");
        let get = format!("GET {form}{} HTTP/1.1\r\nhost: a\r\n\r\n", session.target);
        let mut http = RawHttp::connect(server.at());
        // More answers than the kernel takes. Each of them has one packet, and the next one waits.
        http.send_bytes(get.repeat(15).as_bytes());
        server.await_metrics(|m| (999_000..=1_000_000).contains(&m.answer_bytes));
        // The two connections of the session are left.
        server.await_metrics(|m| m.connections_http == 2 && m.answer_bytes == 0);
        if form.is_empty() {
            session.expect_gone();
        } else {
            // hyper does not say whose answer it could not write.
            session.send_text("1");
        }
        drop((session, http));
    }
    let counted = server.settle();
    counted.closed(&[(CloseReason::SlowConsumer, 1), (CloseReason::TransportClose, 1)]);
}

/// A client that is between two polls is waited for when the server ends, one that has gone is not.
#[test]
fn a_polling_client_that_does_not_come_back_does_not_hold_up_the_end() {
    let server = Server::start(|config| config);
    let _gone = PollingSession::open(server.at(), PATH, Form::V4);
    let mut comes = PollingSession::open(server.at(), PATH, Form::V4);
    let close = {
        let engine = server.engine.clone();
        std::thread::spawn(move || {
            let start = std::time::Instant::now();
            wait(engine.close(DEADLINE));
            start.elapsed()
        })
    };
    comes.expect_text("1");
    assert!(close.join().expect("no panic") < DEADLINE);
    assert_eq!(server.engine.session_count(), 0);
}
