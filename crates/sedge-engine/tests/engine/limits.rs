//! Clients that ask for more than they take: queues are bounded, and the others do not suffer.

use std::time::Duration;

use sedge_engine::CloseReason;
use sedge_testkit::{DEADLINE, Form, PollingSession, RawWs, frame};

use crate::common::{PATH, Server, V4_WEBSOCKET, open_websocket, wait};

const MASK: Option<[u8; 4]> = Some([1, 2, 3, 4]);

/// A client that sends and never reads is cut off when its outbox is full.
#[test]
fn a_client_that_never_reads() {
    let server = Server::start(|config| config.outbox_bytes_max(2_000_000)).watched();
    let (mut ws, _) = open_websocket(server.at(), V4_WEBSOCKET);
    let data = frame(0x81, MASK, &vec![b'4'; 100_000]);
    let mut most = 0;
    while ws.stream().try_send(&data).is_ok() {
        most = most.max(server.metrics().outbox_bytes);
    }
    assert!(most <= 2_200_000, "{most} bytes were kept");
    server.await_metrics(|m| m.sessions() == 1 && m.outbox_bytes == 0);
    drop(ws);
    server.settle().closed(&[(CloseReason::SlowConsumer, 1)]);
}

/// Sends the same bytes until the connection takes no more for a second or this much has gone.
fn flood(ws: &mut RawWs, bytes: &[u8], total: usize) {
    let mut sent = 0;
    while sent < total && ws.stream().try_send(bytes).is_ok() {
        sent += bytes.len();
    }
}

/// Pings whose pongs are not read: only the latest has to be answered.
#[test]
fn a_flood_of_pings() {
    let server = Server::start(|config| config).watched();
    let (mut ws, _) = open_websocket(server.at(), V4_WEBSOCKET);
    let pings: Vec<u8> = (0..500).flat_map(|_| frame(0x89, MASK, &[b'x'; 125])).collect();
    flood(&mut ws, &pings, 50 << 20);
    let kept = server.metrics().outbox_bytes;
    assert!(kept < 1 << 20, "{kept} bytes of pongs were kept");
    drop(ws);
    let counted = server.settle();
    assert_eq!(counted.closed.iter().sum::<u64>(), 1);
}

/// The same with messages in between, and many of them: a search for the last pong must stay cheap.
#[test]
fn a_flood_of_pings_and_messages() {
    let server = Server::start(|config| config.outbox_bytes_max(4_000_000)).watched();
    let (mut ws, _) = open_websocket(server.at(), V4_WEBSOCKET);
    let both: Vec<u8> = (0..2000)
        .flat_map(|_| [frame(0x81, MASK, b"4"), frame(0x89, MASK, b"")].concat())
        .collect();
    flood(&mut ws, &both, 60 << 20);
    drop(ws);
    let counted = server.settle();
    assert_eq!(counted.closed.iter().sum::<u64>(), 1);
}

/// Messages for a polling client that does not poll are kept up to the limit.
#[test]
fn a_polling_client_that_never_polls() {
    let server = Server::start(|config| config.outbox_bytes_max(1_000_000)).watched();
    let mut session = PollingSession::open(server.at(), PATH, Form::V4);
    session.send_text("4!send 9 100000");
    assert!(server.metrics().outbox_bytes >= 900_000);
    session.send_text("4!send 2 100000");
    session.expect_gone();
    server.await_metrics(|m| m.outbox_bytes == 0);
    drop(session);
    server.settle().closed(&[(CloseReason::SlowConsumer, 1)]);
}

/// A slow reader gets everything as long as it stays within the limit.
#[test]
fn a_slow_reader_gets_everything() {
    let server = Server::start(|config| config).watched();
    let (mut ws, _) = open_websocket(server.at(), V4_WEBSOCKET);
    ws.send("4!send 15 1000000");
    server.await_metrics(|m| m.outbox_bytes > 1_000_000);
    let text = format!("4{}", "x".repeat(1_000_000));
    for _ in 0..15 {
        ws.expect_text(&text);
    }
    ws.close();
    server.settle().closed(&[(CloseReason::TransportClose, 1)]);
}

/// Connections that break while much is queued leave no trace in the gauges.
#[test]
fn connections_that_break_while_they_are_written() {
    let server = Server::start(|config| config).watched();
    for _ in 0..20 {
        let (mut ws, _) = open_websocket(server.at(), V4_WEBSOCKET);
        ws.send("4!send 100 100000");
        let _ = ws.receive();
        ws.abort();
    }
    server.await_metrics(|m| m.sessions() == 1);
    let counted = server.settle();
    assert_eq!(counted.closed.iter().sum::<u64>(), 20);
}

#[test]
fn full_servers_say_so() {
    let server = Server::start(|config| config.sessions_max(2));
    let first = PollingSession::open(server.at(), PATH, Form::V4);
    let (ws, _) = open_websocket(server.at(), V4_WEBSOCKET);
    // The connection is closed with the answer, so that the next try may find another server.
    let ask = || sedge_testkit::RawHttp::connect(server.at()).get(crate::common::V4_POLLING);
    let refused = ask();
    assert_eq!((refused.status, refused.header("connection")), (503, Some("close")));
    assert_eq!(refused.header("retry-after"), Some("1"));
    let refused = sedge_testkit::RawHttp::connect(server.at()).request(
        "GET",
        V4_WEBSOCKET,
        &RawWs::handshake(),
        b"",
    );
    assert_eq!(refused.status, 503);
    ws.close();
    let again = sedge_testkit::eventually(DEADLINE, || ask().status == 200);
    assert!(again, "a session that ended makes room");
    drop(first);
    wait(server.engine.close(Duration::from_millis(100)));
}
