//! Clients that ask for more than they take: queues are bounded, and the others do not suffer.

use std::time::Duration;

use sedge_engine::CloseReason;
use sedge_testkit::{DEADLINE, Form, Packet, PollingSession, RawWs, frame};

use crate::common::{PATH, Server, V3_WEBSOCKET, V4_WEBSOCKET, open_websocket, wait};

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
    // Over the limit, and then it does not go on for long.
    let mut most = 0;
    let gone = (0..5).any(|_| {
        let gone = session.post_bytes(b"4!send 1 100000").status != 200;
        most = most.max(server.metrics().outbox_bytes);
        gone
    });
    assert!(gone && most <= 1_300_000, "{most} bytes were kept");
    server.await_metrics(|m| m.outbox_bytes == 0);
    drop(session);
    server.settle().closed(&[(CloseReason::SlowConsumer, 1)]);
}

/// What one handler sends is more than the limit before the connection could be written to: it says nothing
/// about the client.
#[test]
fn any_number_of_messages_in_one_turn() {
    for (shards, count, limit) in [(1, 250_000, 16 << 20), (3, 30_000, 1_000_000)] {
        let server =
            Server::start(|config| config.shards(shards).allow_eio3(true).outbox_bytes_max(limit));
        let server = server.watched();
        for target in [V4_WEBSOCKET, V3_WEBSOCKET] {
            let (mut ws, _) = open_websocket(server.at(), target);
            // The second time there is much left of the first when more comes.
            ws.send_all([format!("4!count {count}").as_str(), "4behind"]);
            ws.send("4a turn later");
            for number in 0..count {
                ws.expect_text(&format!("4{number}"));
            }
            ws.expect_text("4behind");
            ws.expect_text("4a turn later");
            ws.close();
        }
        let mut session = PollingSession::open(server.at(), PATH, Form::V4);
        session.send_text(&format!("4!count {count}"));
        session.send_text("4a turn later");
        let mut number = 0;
        while number < count {
            for packet in session.poll() {
                let wanted = format!("4{number}");
                assert_eq!(
                    packet,
                    Packet::from(if number < count { &*wanted } else { "4a turn later" })
                );
                number += 1;
            }
        }
        if number == count {
            session.expect_text("4a turn later");
        }
        session.send_text("1");
        drop(session);
        server.settle().closed(&[(CloseReason::TransportClose, 3)]);
    }
}

/// The same for one message that is longer than the limit, and for what comes behind it.
#[test]
fn one_message_larger_than_the_limit() {
    let server = Server::start(|config| config.outbox_bytes_max(1_000_000)).watched();
    let (mut ws, _) = open_websocket(server.at(), V4_WEBSOCKET);
    let text = format!("4{}", "x".repeat(30_000_000));
    for _ in 0..2 {
        ws.send("4!send 1 30000000");
        for number in 0..10 {
            ws.send(&format!("4{number}"));
        }
        ws.expect_text(&text);
        for number in 0..10 {
            ws.expect_text(&format!("4{number}"));
        }
    }
    ws.close();
    let mut session = PollingSession::open(server.at(), PATH, Form::V4);
    session.send_text("4!send 1 30000000");
    session.send_text("4behind");
    assert!(session.receive() == Packet::from(&*text));
    session.expect_text("4behind");
    session.send_text("1");
    drop(session);
    server.settle().closed(&[(CloseReason::TransportClose, 2)]);
}

/// Far below the limit, but nothing is taken of it for a time: they are let go, and what waited with them.
#[test]
fn clients_that_stop_reading() {
    let timeout = Duration::from_millis(500);
    let server = Server::start(|config| config.slow_client_timeout(timeout)).watched();
    let stalled: Vec<_> = (0..5)
        .map(|_| {
            let (mut ws, _) = open_websocket(server.at(), V4_WEBSOCKET);
            ws.send("4!send 100 100000");
            ws
        })
        .collect();
    server.await_metrics(|m| m.closed[CloseReason::SlowConsumer as usize] == 5);
    let metrics = server.await_metrics(|m| m.sessions() == 1 && m.outbox_bytes == 0);
    assert_eq!(metrics.connections_websocket, 1);
    drop(stalled);
    server.settle().closed(&[(CloseReason::SlowConsumer, 5)]);
}

/// However slowly it reads, and however long the kernel takes to call the connection writable.
#[test]
fn a_client_that_reads_slowly_is_not_let_go() {
    let timeout = Duration::from_secs(3);
    let server = Server::start(|config| config.slow_client_timeout(timeout)).watched();
    let at = server.at();
    reads_slowly(&server, at, timeout);
    server.settle().closed(&[(CloseReason::TransportClose, 1)]);
}

#[cfg(feature = "tls")]
#[test]
fn nor_if_it_is_encrypted() {
    use crate::services::tls::{endpoint, listener};
    let (listen, client) = listener();
    let timeout = Duration::from_secs(3);
    let server = Server::listen(|config| config.slow_client_timeout(timeout), listen);
    let at = endpoint(server.listening.local_addr(), &client);
    reads_slowly(&server, at, timeout);
    server.settle().closed(&[(CloseReason::TransportClose, 1)]);
}

fn reads_slowly(server: &Server, at: sedge_testkit::Endpoint, timeout: Duration) {
    let (mut ws, _) = open_websocket(at, V4_WEBSOCKET);
    ws.send("4!send 100 100000");
    server.await_metrics(|m| m.outbox_bytes > 1_000_000);
    let began = std::time::Instant::now();
    let (mut read, frame) = (0, 100_001 + 10);
    let mut bytes = Vec::new();
    while began.elapsed() < timeout * 3 {
        bytes.extend(ws.stream().read_exact(8 * 1024).expect("it is still served"));
        read += 1;
        std::thread::sleep(timeout / 60);
    }
    assert!(read > 0 && server.metrics().closed.iter().sum::<u64>() == 0);
    let rest = 100 * frame - bytes.len();
    bytes.extend(ws.stream().read_exact(rest).expect("all of it"));
    let mut whole = vec![0x81, 127];
    whole.extend(100_001_u64.to_be_bytes());
    whole.push(b'4');
    whole.resize(frame, b'x');
    assert!(bytes.chunks(frame).all(|one| one == whole));
    ws.send("4and now");
    ws.expect_text("4and now");
    ws.close();
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
