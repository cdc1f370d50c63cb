//! Sessions that move from polling to a WebSocket, or fail to.

use std::time::Duration;

use sedge_engine::CloseReason;
use sedge_testkit::{Form, Packet, PollingSession, RawHttp, RawWs, frame};

use crate::common::{PATH, Server, V3_WEBSOCKET, V4_WEBSOCKET};

const MASK: Option<[u8; 4]> = Some([9, 8, 7, 6]);

fn session(server: &Server) -> (PollingSession, String) {
    let session = PollingSession::open(server.at(), PATH, Form::V4);
    let target = format!("{V4_WEBSOCKET}&sid={}", session.sid);
    (session, target)
}

#[track_caller]
fn still_polls(session: &mut PollingSession) {
    session.send_text("4still polling");
    while session.receive() != Packet::from("4still polling") {}
    session.send_text("4!transport");
    session.expect_text("4polling");
}

/// A probe that sends anything but `2probe` or `5` ends alone.
#[test]
fn a_wrong_probe_ends_alone() {
    let server = Server::start(|config| config).watched();
    let (mut session, target) = session(&server);
    let wrong: Vec<Vec<u8>> = vec![
        frame(0x81, MASK, b""),
        frame(0x81, MASK, b"2"),
        frame(0x81, MASK, b"2probe "),
        frame(0x81, MASK, b"3probe"),
        frame(0x81, MASK, b"6"),
        frame(0x81, MASK, b"4hello"),
        frame(0x81, MASK, b"1"),
        frame(0x81, MASK, b"garbage"),
        frame(0x82, MASK, b"2probe"),
        frame(0x82, MASK, b""),
    ];
    let count = wrong.len() as u64;
    for bytes in wrong {
        let mut ws = RawWs::connect(server.at(), &target);
        ws.stream().send(&bytes);
        ws.expect_close(None);
        still_polls(&mut session);
    }
    // A breach of the WebSocket protocol is answered with its code.
    let mut ws = RawWs::connect(server.at(), &target);
    ws.stream().send(&frame(0x81, None, b"2probe"));
    ws.expect_close(Some(1002));
    drop(ws);
    // It may also just end, at once or after the test.
    RawWs::connect(server.at(), &target).abort();
    server.await_metrics(|m| m.upgrades_failed == count + 2 && m.probes == 0);
    let mut ws = RawWs::connect(server.at(), &target);
    ws.send("2probe");
    ws.expect_text("3probe");
    ws.close();
    server.await_metrics(|m| m.probes == 0);
    // After 3probe, only 5 will do.
    let mut ws = RawWs::connect(server.at(), &target);
    ws.send("2probe");
    ws.expect_text("3probe");
    ws.send("4early");
    ws.expect_close(None);
    drop(ws);
    still_polls(&mut session);
    session.send_text("1");
    drop(session);
    let counted = server.settle();
    counted.closed(&[(CloseReason::TransportClose, 1)]);
    assert_eq!((counted.upgrades, counted.upgrades_failed), (0, count + 4));
}

/// Some clients move without a test (socket.io-client-csharp among them); the official server lets them.
#[test]
fn an_upgrade_without_a_test() {
    for shards in [1, 3] {
        let server = Server::start(|config| config.shards(shards).allow_eio3(true)).watched();
        for (form, target) in [(Form::V4, V4_WEBSOCKET), (Form::V3Binary, V3_WEBSOCKET)] {
            let mut session = PollingSession::open(server.at(), PATH, form);
            session.send_text("4queued");
            let mut ws = RawWs::connect(server.at(), &format!("{target}&sid={}", session.sid));
            ws.send("5");
            ws.expect_text("4queued");
            ws.send("4!transport");
            ws.expect_text("4websocket");
            ws.close();
            // The same while a GET waits, all in one segment, right behind the request.
            let mut session = PollingSession::open(server.at(), PATH, form);
            session.begin_get();
            server.await_metrics(|m| m.polls_waiting == 1);
            let behind = ["5", "4three"].map(|text| frame(0x81, MASK, text.as_bytes())).concat();
            let target = format!("{target}&sid={}", session.sid);
            let mut ws = RawWs::connect_with(server.at(), &target, &[], &behind);
            ws.expect_text("4three");
            assert_eq!(session.finish_get().status, 200);
            ws.close();
        }
        let counted = server.settle();
        counted.closed(&[(CloseReason::TransportClose, 4)]);
        assert_eq!((counted.upgrades, counted.upgrades_failed), (4, 0));
    }
}

#[test]
fn a_silent_probe_times_out() {
    let timeout = Duration::from_millis(200);
    let server = Server::start(|config| config.upgrade_timeout(timeout)).watched();
    let (mut session, target) = session(&server);
    let mut silent = RawWs::connect(server.at(), &target);
    silent.expect_close(None);
    let mut halfway = RawWs::connect(server.at(), &target);
    halfway.send("2probe");
    halfway.expect_text("3probe");
    halfway.expect_close(None);
    still_polls(&mut session);
    session.send_text("1");
    drop(session);
    assert_eq!(server.settle().upgrades_failed, 2);
}

/// Waiting GETs are answered while an upgrade is under way, so that the client can let go.
#[test]
fn polls_are_answered_during_an_upgrade() {
    let server = Server::start(|config| config).watched();
    let (mut session, target) = session(&server);
    session.begin_get();
    server.await_metrics(|m| m.polls_waiting == 1);
    let mut ws = RawWs::connect(server.at(), &target);
    ws.send("2probe");
    ws.expect_text("3probe");
    session.finish_get().expect(200, "6");
    for _ in 0..3 {
        session.begin_get();
        session.finish_get().expect(200, "6");
    }
    // Messages still go through the old transport, and what has not left moves.
    session.send_text("4one");
    session.expect_text("4one");
    session.send_text("4two");
    ws.send("5");
    ws.expect_text("4two");
    ws.send("4!transport");
    ws.expect_text("4websocket");
    ws.close();
    drop(session);
    let counted = server.settle();
    counted.closed(&[(CloseReason::TransportClose, 1)]);
    assert_eq!((counted.upgrades, counted.upgrades_failed), (1, 0));
}

/// A second WebSocket is closed at once, while the first is tested and after the upgrade.
#[test]
fn a_second_upgrade_is_turned_away() {
    let server = Server::start(|config| config).watched();
    let (session, target) = session(&server);
    let mut first = RawWs::connect(server.at(), &target);
    RawWs::connect(server.at(), &target).expect_close(None);
    first.send("2probe");
    first.expect_text("3probe");
    RawWs::connect(server.at(), &target).expect_close(None);
    first.send_all(["5", "4moved"]);
    first.expect_text("4moved");
    RawWs::connect(server.at(), &target).expect_close(None);
    first.send("4alive");
    first.expect_text("4alive");
    first.close();
    server.await_metrics(|m| m.sessions_websocket == 1);
    // And after the end there is nothing to upgrade.
    let refused = RawWs::refused(server.at(), &target, &RawWs::handshake());
    refused.expect(400, "Session ID unknown");
    drop(session);
    let counted = server.settle();
    counted.closed(&[(CloseReason::TransportClose, 1)]);
    assert_eq!(counted.upgrades, 1);
}

/// A client may send all it has to say before it has heard anything.
#[test]
fn data_behind_the_request_is_not_lost() {
    let server = Server::start(|config| config).watched();
    // A new session.
    let behind = [frame(0x81, MASK, b"4one"), frame(0x81, MASK, b"4two")].concat();
    let mut ws = RawWs::connect_with(server.at(), V4_WEBSOCKET, &[], &behind);
    let sedge_testkit::Frame::Text(open) = ws.receive() else { panic!("no OPEN packet") };
    assert!(open.starts_with("0{"));
    ws.expect_text("4one");
    ws.expect_text("4two");
    ws.close();
    // A whole upgrade in one segment: the answer to the probe still comes first.
    let (mut session, target) = session(&server);
    session.send_text("4queued");
    let behind = ["2probe", "5", "4three"].map(|text| frame(0x81, MASK, text.as_bytes())).concat();
    let mut ws = RawWs::connect_with(server.at(), &target, &[], &behind);
    ws.expect_text("3probe");
    ws.expect_text("4queued");
    ws.expect_text("4three");
    ws.close();
    // A part of a frame.
    let hello = frame(0x81, MASK, b"4hello");
    let mut ws = RawWs::connect_with(server.at(), V4_WEBSOCKET, &[], &hello[..5]);
    ws.stream().send(&hello[5..]);
    assert!(matches!(ws.receive(), sedge_testkit::Frame::Text(open) if open.starts_with("0{")));
    ws.expect_text("4hello");
    ws.close();
    drop(session);
    server.settle().closed(&[(CloseReason::TransportClose, 3)]);
}

/// The old connections of a session that has moved may end as they like.
#[test]
fn old_connections_do_not_matter_after_the_upgrade() {
    let server = Server::start(|config| config).watched();
    for _ in 0..20 {
        let (mut session, target) = session(&server);
        let mut ws = RawWs::connect(server.at(), &target);
        ws.send("2probe");
        ws.expect_text("3probe");
        session.begin_get();
        let mut post = RawHttp::connect(server.at());
        post.begin_post(&session.target, 9, b"4");
        ws.send("5");
        ws.send("4first");
        ws.expect_text("4first");
        drop((session, post));
        for _ in 0..3 {
            ws.send("4alive");
            ws.expect_text("4alive");
        }
        ws.close();
    }
    let counted = server.settle();
    counted.closed(&[(CloseReason::TransportClose, 20)]);
    assert_eq!(counted.upgrades, 20);
}

/// The session ends while its probe is under way: both connections learn of it.
#[test]
fn a_session_that_ends_during_its_upgrade() {
    let server = Server::start(|config| config).watched();
    let (mut session, target) = session(&server);
    let mut ws = RawWs::connect(server.at(), &target);
    ws.send("2probe");
    ws.expect_text("3probe");
    session.send_text("1");
    ws.expect_close(None);
    session.expect_gone();
    drop(session);
    // A client that is closed by the server while it upgrades gets the news by polling.
    let (mut session, target) = self::session(&server);
    let mut ws = RawWs::connect(server.at(), &target);
    ws.send("2probe");
    ws.expect_text("3probe");
    session.send_text("4!close");
    ws.expect_close(None);
    session.expect_text("1");
    session.expect_gone();
    drop(session);
    let counted = server.settle();
    counted.closed(&[(CloseReason::TransportClose, 1)]);
    assert_eq!((counted.upgrades, counted.upgrades_failed), (0, 2));
}

#[test]
fn upgrades_can_be_switched_off() {
    let server = Server::start(|config| config.allow_upgrades(false));
    let (mut session, target) = session(&server);
    assert!(session.open.contains(r#""upgrades":[]"#), "{}", session.open);
    // Like the official server, it tells clients not to and does not stop those who do.
    let mut ws = RawWs::connect(server.at(), &target);
    ws.send("2probe");
    ws.expect_text("3probe");
    ws.close();
    server.await_metrics(|m| m.probes == 0);
    still_polls(&mut session);
    session.send_text("1");
    drop(session);
    server.settle();
}
