//! Polling requests that overlap, break off, or come after the end.

use sedge_engine::CloseReason;
use sedge_testkit::{Form, Frame, PollingSession, RawHttp, RawWs};

use crate::common::{PATH, Server, V3_POLLING, V3_WEBSOCKET};

fn session(server: &Server) -> PollingSession {
    PollingSession::open(server.at(), PATH, Form::V4)
}

#[test]
fn a_second_get_ends_the_session() {
    let server = Server::start(|config| config).watched();
    let mut session = session(&server);
    session.begin_get();
    server.await_metrics(|m| m.polls_waiting == 1);
    RawHttp::connect(server.at()).get(&session.target).expect(400, "");
    session.finish_get().expect(200, "1");
    session.expect_gone();
    drop(session);
    server.settle().closed(&[(CloseReason::TransportError, 1)]);
}

#[test]
fn an_overlapping_post_ends_the_session() {
    let server = Server::start(|config| config).watched();
    let mut session = session(&server);
    session.begin_get();
    let mut slow = RawHttp::connect(server.at());
    slow.begin_post(&session.target, 3, b"4");
    server.await_metrics(|m| m.polls_waiting == 1);
    RawHttp::connect(server.at()).post(&session.target, "4b").expect(400, "");
    session.finish_get().expect(200, "1");
    // The slow one finds its session gone and does no harm.
    slow.send_bytes(b"ab");
    let status = slow.receive().status;
    assert!(matches!(status, 200 | 400), "{status}");
    session.expect_gone();
    drop((session, slow));
    server.settle().closed(&[(CloseReason::TransportError, 1)]);
}

#[test]
fn an_aborted_get_ends_the_session() {
    let server = Server::start(|config| config).watched();
    for _ in 0..5 {
        let mut session = session(&server);
        session.begin_get();
        server.await_metrics(|m| m.polls_waiting == 1);
        session.abort_get();
        server.await_metrics(|m| m.polls_waiting == 0 && m.sessions_polling == 0);
        session.expect_gone();
    }
    server.settle().closed(&[(CloseReason::TransportError, 5)]);
}

#[test]
fn an_aborted_post_ends_the_session() {
    let server = Server::start(|config| config).watched();
    for half_closed in [false, true] {
        let mut session = session(&server);
        session.begin_get();
        server.await_metrics(|m| m.polls_waiting == 1);
        let mut post = RawHttp::connect(server.at());
        let head =
            format!("POST {} HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n4", session.target);
        post.send_bytes(head.as_bytes());
        if half_closed {
            post.stream().finish_sending();
        } else {
            drop(post);
        }
        session.finish_get().expect(200, "1");
        session.expect_gone();
    }
    server.settle().closed(&[(CloseReason::TransportError, 2)]);
}

/// A client that goes away between two polls is noticed by its heartbeat; requests that come later
/// find nothing.
#[test]
fn requests_after_the_end() {
    let server = Server::start(|config| config).watched();
    let mut session = session(&server);
    session.send_text("1");
    session.expect_gone();
    let response = session.post_bytes(b"4a");
    response.expect(400, r#"{"code":1,"message":"Session ID unknown"}"#);
    drop(session);
    server.settle().closed(&[(CloseReason::TransportClose, 1)]);
}

#[test]
fn a_close_packet_answers_the_waiting_get() {
    let server = Server::start(|config| config).watched();
    let mut session = session(&server);
    session.begin_get();
    server.await_metrics(|m| m.polls_waiting == 1);
    session.send_text("1");
    session.finish_get().expect(200, "6");
    session.expect_gone();
    drop(session);
    server.settle().closed(&[(CloseReason::TransportClose, 1)]);
}

#[test]
fn closed_by_the_server_while_a_get_waits() {
    let server = Server::start(|config| config).watched();
    let mut session = session(&server);
    session.begin_get();
    server.await_metrics(|m| m.polls_waiting == 1);
    session.send(&["4last".into(), "4!close".into(), "4ignored".into()]);
    // What was queued goes first; the next GET is told of the end.
    session.finish_get().expect(200, "4last");
    session.expect_text("1");
    session.expect_gone();
    drop(session);
    server.settle().closed(&[]);
}

/// Requests that are sent without waiting for answers are answered one after the other.
#[test]
fn pipelined_requests() {
    let server = Server::start(|config| config).watched();
    let session = session(&server);
    let mut http = RawHttp::connect(server.at());
    let get = format!("GET {} HTTP/1.1\r\nhost: a\r\n\r\n", session.target);
    let post = format!("POST {} HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n", session.target);
    http.send_bytes(format!("{post}4a{post}4b{get}{post}4c{get}").as_bytes());
    for body in ["ok", "ok", "4a\x1e4b", "ok", "4c"] {
        http.receive().expect(200, body);
    }
    http.post(&session.target, "1").expect(200, "ok");
    drop((http, session));
    server.settle().closed(&[(CloseReason::TransportClose, 1)]);
}

#[test]
fn messages_sent_at_once_come_with_the_handshake() {
    let server = Server::start(|config| config.initial_packet("first")).watched();
    let target = format!("{}&greet=1", crate::common::V4_POLLING);
    let response = RawHttp::connect(server.at()).get(&target);
    let sid = response.text().split('"').nth(3).expect("a session").to_owned();
    assert!(response.text().ends_with("}\x1e4first\x1e4welcome"), "{}", response.text());
    let target = format!("{}&sid={sid}", crate::common::V4_POLLING);
    RawHttp::connect(server.at()).post(&target, "1").expect(200, "ok");
    server.settle();
}

/// An answer is a copy of its client's own, so it holds a megabyte; what else waits is shared by all recipients
/// of a broadcast, and goes with the next polls.
#[test]
fn an_answer_holds_a_megabyte_or_one_packet() {
    let server = Server::start(|config| config.max_payload(3_000_000)).watched();
    let mut session = session(&server);
    session.send_text("4!send 11 300000");
    session.send_text(&format!("4{}", "y".repeat(2_500_000)));
    session.send_text("4z");
    let waits = server.await_metrics(|m| m.messages_out >= 13).outbox_bytes;
    let mut sizes = Vec::new();
    for answers in [3, 3, 3, 2, 1, 1] {
        let packets = session.poll();
        assert_eq!(packets.len(), answers);
        sizes.push(packets.len());
        let left = server.await_metrics(|m| m.answer_bytes == 0).outbox_bytes;
        assert!(left < waits && (left == 0) == (sizes.len() == 6), "{left} of {waits}");
    }
    // CLOSE comes when all is delivered, however many polls that takes.
    session.send(&["4!send 4 400000".into(), "4!close".into()]);
    assert_eq!([session.poll().len(), session.poll().len()], [2, 2]);
    session.expect_text("1");
    session.expect_gone();
    drop(session);
    server.settle().closed(&[]);
}

/// Old clients read OPEN and throw away what stands behind it; some upgrade without a poll in between.
#[test]
fn the_handshake_of_version_3_is_answered_with_open_alone() {
    let server = Server::start(|config| config.allow_eio3(true).initial_packet("first")).watched();
    let open = |form: &str| {
        let target = format!("{V3_POLLING}&greet=1{form}");
        let response = RawHttp::connect(server.at()).get(&target);
        let text = response.text().replace('\\', "");
        let sid = text.split('"').skip_while(|part| *part != "sid").nth(2).expect("a session");
        let packet = &text[text.find("0{").expect("a packet")..=text.find('}').expect("its end")];
        assert!(text.contains(&format!("{}:{packet}", packet.len())), "{text}");
        assert!(!text.contains("first") && !text.contains("welcome"), "{text}");
        format!("{form}&sid={sid}")
    };
    for form in ["", "&b64=1", "&j=0"] {
        let session = open(form);
        let target = format!("{V3_POLLING}{session}");
        let response = RawHttp::connect(server.at()).get(&target);
        assert!(response.text().contains("6:4first8:4welcome"), "{}", response.text());
        let close = if form == "&j=0" { "d=1%3A1" } else { "1:1" };
        RawHttp::connect(server.at()).post(&target, close).expect(200, "ok");
    }
    let mut ws = RawWs::connect(server.at(), &format!("{V3_WEBSOCKET}{}", open("")));
    ws.send("2probe");
    ws.expect_text("3probe");
    ws.send("5");
    ws.expect_text("4first");
    ws.expect_text("4welcome");
    ws.close();
    server.settle().closed(&[(CloseReason::TransportClose, 4)]);
}

/// A client that cannot take binary by polling says so in its handshake, and need not repeat it; or in a
/// single request.
#[test]
fn base64_is_asked_for_by_a_handshake_or_a_request() {
    let server = Server::start(|config| config.allow_eio3(true)).watched();
    let mut http = RawHttp::connect(server.at());
    let mut open = |handshake: &str| {
        let response = http.get(&format!("{V3_POLLING}{handshake}"));
        response.text().split('"').nth(3).expect("a session").to_owned()
    };
    let binary = b"\x01\x04\xff\x04\x01\x02\x03";
    let mut polls = RawHttp::connect(server.at());
    for handshake in ["", "&b64=1"] {
        let target = format!("{V3_POLLING}&sid={}", open(handshake));
        let text = &b"6:b4AQID"[..];
        let without = if handshake.is_empty() { &binary[..] } else { text };
        for (asked, expected) in [("&b64=1", text), ("", without), ("&b64=", without)] {
            polls.post(&target, "6:b4AQID").expect(200, "ok");
            assert_eq!(polls.get(&format!("{target}{asked}")).body, expected, "{asked}");
        }
        polls.post(&target, "1:1").expect(200, "ok");
    }
    // Nor does the polling transport speak for the WebSocket, or for what waits for it.
    let text = || Frame::Text("b4AQID".to_owned());
    let bytes = || Frame::Binary(vec![4, 1, 2, 3]);
    for (handshake, upgrade, frame) in
        [("&b64=1", "", &bytes as &dyn Fn() -> Frame), ("", "&b64=1", &text)]
    {
        let sid = open(handshake);
        polls.post(&format!("{V3_POLLING}{handshake}&sid={sid}"), "6:b4AQID").expect(200, "ok");
        let mut ws = RawWs::connect(server.at(), &format!("{V3_WEBSOCKET}{upgrade}&sid={sid}"));
        ws.send("2probe");
        ws.expect_text("3probe");
        ws.send_all(["5", "b4AQID"]);
        assert_eq!((ws.receive(), ws.receive()), (frame(), frame()));
        ws.close();
    }
    drop((http, polls));
    server.settle().closed(&[(CloseReason::TransportClose, 4)]);
}
