//! Polling bodies that are garbage, cut off or too large.

use sedge_engine::CloseReason;
use sedge_engine::hooks::ErrorCode;
use sedge_testkit::{Form, Packet, PollingSession, RawHttp};

use crate::common::{PATH, Server};

/// Bodies that are no payload, though the first packets of some are.
fn malformed(form: Form) -> Vec<Vec<u8>> {
    let texts: &[&str] = match form {
        Form::V4 => &["", "abc", "7", "\x1e", "4a\x1e", "4a\x1e\x1e4b", "b!!", "bA", "\u{1f600}"],
        Form::V3Text => &[
            "",
            "abc",
            ":",
            "1",
            "5:4ab",
            "1:7",
            "-1:4",
            "99999999999999999999:4",
            "1e1:4",
            "3:b4!",
            "2:4\u{1f600}",
            "4a",
            "2:4a1",
        ],
        Form::V3Binary => &[],
        Form::Jsonp => &["d=abc", "d=5%3A4ab", "d=", "d=%ff"],
    };
    let mut bodies: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    if form == Form::V3Binary {
        let bytes: &[&[u8]] = &[
            b"\x02\x01\xff4",
            b"\x00",
            b"\x00\x05\xff4a",
            b"\x00\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\xff4",
            b"\x00\xff4",
            b"\x00\x0a\xff4",
            b"\x00\x02\xff4\xff",
            b"\x01\x01\xff\x07",
            b"4hello",
        ];
        bodies.extend(bytes.iter().map(|body| body.to_vec()));
    }
    if form == Form::V4 || form == Form::V3Text {
        bodies.push(b"\xff\xfe\x00".to_vec());
    }
    bodies
}

/// A malformed payload is answered `ok`, as the official server does; then the session ends.
#[test]
fn a_malformed_payload_ends_its_session_only() {
    let server = Server::start(|config| config.allow_eio3(true)).watched();
    let mut count = 0;
    for form in [Form::V4, Form::V3Text, Form::V3Binary, Form::Jsonp] {
        for body in malformed(form) {
            let mut session = PollingSession::open(server.at(), PATH, form);
            let response = session.post_bytes(&body);
            let shown = String::from_utf8_lossy(&body);
            assert_eq!((response.status, response.text()), (200, "ok"), "{form:?} {shown:?}");
            session.expect_gone();
            count += 1;
        }
    }
    let counted = server.settle();
    counted.closed(&[(CloseReason::ParseError, count)]);
    counted.refused(&[(ErrorCode::SessionIdUnknown, count)]);
}

/// Clients exist that cut their text between two bytes of a character, or send another encoding. Node reads
/// such a body as a string with U+FFFD in it; the session lives. Only version 3's binary form is strict.
#[test]
fn broken_utf_8_is_replaced() {
    let server = Server::start(|config| config.allow_eio3(true)).watched();
    let bodies: [(Form, &[u8]); 3] = [
        (Form::V4, b"4a\xc3\x1e4b\xed\xa0\x80c"),
        (Form::V3Text, b"3:4a\xc36:4b\xed\xa0\x80c"),
        (Form::Jsonp, b"d=3%3A4a%C36%3A4b\xed%A0\x80c"),
    ];
    for (form, body) in bodies {
        let mut session = PollingSession::open(server.at(), PATH, form);
        session.post_bytes(body).expect(200, "ok");
        session.expect_text("4a\u{fffd}");
        session.expect_text("4b\u{fffd}\u{fffd}\u{fffd}c");
        session.send_text("1");
    }
    server.settle().closed(&[(CloseReason::TransportClose, 3)]);
}

/// What stands in front of the error counts, and a waiting GET is told of the end.
#[test]
fn packets_before_an_error_count() {
    let server = Server::start(|config| config).watched();
    let mut session = PollingSession::open(server.at(), PATH, Form::V4);
    session.begin_get();
    server.await_metrics(|m| m.polls_waiting == 1);
    session.post_bytes(b"4first\x1e4second\x1eoops\x1e4never").expect(200, "ok");
    session.finish_get().expect(200, "4first\x1e4second\x1e1");
    session.expect_gone();
    drop(session);
    server.settle().closed(&[(CloseReason::ParseError, 1)]);
}

#[test]
fn every_single_byte_and_every_cut_is_survived() {
    let server = Server::start(|config| config.allow_eio3(true)).watched();
    let packets = ["4h\u{e9}llo \u{1f600}".into(), Packet::Binary(vec![1, 2, 3]), "4x".into()];
    for form in [Form::V4, Form::V3Text, Form::V3Binary, Form::Jsonp] {
        let whole = form.encode(&packets);
        let cuts = (0..whole.len()).map(|end| whole[..end].to_vec());
        let bodies = cuts.chain((0..=255).step_by(3).map(|byte| vec![byte]));
        let mut session = PollingSession::open(server.at(), PATH, form);
        for body in bodies {
            let response = session.post_bytes(&body);
            if response.status == 400 {
                // The body before ended the session.
                session = PollingSession::open(server.at(), PATH, form);
                assert_eq!(session.post_bytes(&body).status, 200);
            }
        }
        session.post_bytes(&form.encode(&["1".into()]));
        session.expect_gone();
    }
    server.settle();
}

/// The official server ignores a JSONP form without a payload.
#[test]
fn a_form_without_a_payload_is_ignored() {
    let server = Server::start(|config| config.allow_eio3(true)).watched();
    let mut session = PollingSession::open(server.at(), PATH, Form::Jsonp);
    for body in ["", "x=1", "d=1%3A4&d=1%3A4"] {
        session.post_bytes(body.as_bytes()).expect(200, "ok");
    }
    session.send_text("4alive");
    session.expect_text("4alive");
    session.send_text("1");
    drop(session);
    server.settle().closed(&[(CloseReason::TransportClose, 1)]);
}

/// A heartbeat in the wrong direction breaks the protocol.
#[test]
fn wrong_heartbeats() {
    let server = Server::start(|config| config.allow_eio3(true)).watched();
    for (form, packet) in [(Form::V4, "2"), (Form::V3Text, "3")] {
        let mut session = PollingSession::open(server.at(), PATH, form);
        session.send_text(packet);
        session.expect_gone();
    }
    server.settle().closed(&[(CloseReason::TransportError, 2)]);
}

#[test]
fn a_body_over_the_limit_is_refused_and_the_session_lives() {
    let server = Server::start(|config| config.allow_eio3(true).max_payload(10_000)).watched();
    for form in [Form::V4, Form::V3Text, Form::V3Binary] {
        let mut session = PollingSession::open(server.at(), PATH, form);
        session.post_bytes(&[b'4'; 10_001]).expect(413, "");
        // Announced only: nothing of it has to arrive for the answer.
        let mut http = RawHttp::connect(server.at());
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: a\r\ncontent-type: {}\r\ncontent-length: 1000000000000\r\n\r\n",
            session.target,
            form.content_type()
        );
        http.send_bytes(head.as_bytes());
        http.receive().expect(413, "");
        http.expect_eof();
        // Chunked, so the size shows only on the way.
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: a\r\ncontent-type: {}\r\ntransfer-encoding: chunked\r\n\r\n",
            session.target,
            form.content_type()
        );
        let mut http = RawHttp::connect(server.at());
        http.send_bytes(head.as_bytes());
        for _ in 0..11 {
            http.send_bytes(b"3e8\r\n");
            http.send_bytes(&[b'4'; 1000]);
            http.send_bytes(b"\r\n");
        }
        http.receive().expect(413, "");
        drop(http);

        session.send_text("4still alive");
        session.expect_text("4still alive");
        session.send_text("1");
    }
    server.settle().closed(&[(CloseReason::TransportClose, 3)]);
}

/// A client that sends all of a body before it reads must get the answer, not a reset connection.
#[test]
fn a_large_body_that_is_sent_whole_gets_its_answer() {
    let server = Server::start(|config| config).watched();
    let mut session = PollingSession::open(server.at(), PATH, Form::V4);
    for size in [1_000_001, 3_000_000, 8_000_000] {
        session.post_bytes(&vec![b'4'; size]).expect(413, "");
    }
    session.send_text("4alive");
    session.expect_text("4alive");
    session.send_text("1");
    drop(session);
    server.settle().closed(&[(CloseReason::TransportClose, 1)]);
}

/// Form encoding makes a body longer than its payload; the limit is the payload's.
#[test]
fn jsonp_has_the_same_limit() {
    let server = Server::start(|config| config.allow_eio3(true).max_payload(9_000)).watched();
    let mut session = PollingSession::open(server.at(), PATH, Form::Jsonp);
    let umlauts = Packet::Text(format!("4{}", "\u{fc}".repeat(4_400)));
    assert!(Form::Jsonp.encode(std::slice::from_ref(&umlauts)).len() > 26_000);
    session.send(std::slice::from_ref(&umlauts));
    assert_eq!(session.receive(), umlauts);
    let plain = Form::Jsonp.encode(&[Packet::Text(format!("4{}", "a".repeat(9_000)))]);
    session.post_bytes(&plain).expect(413, "");
    session.post_bytes(&vec![b'a'; 27_001]).expect(413, "");
    session.send_text("1");
    drop(session);
    server.settle().closed(&[(CloseReason::TransportClose, 1)]);
}

#[test]
fn a_binary_body_is_refused_in_version_4() {
    let server = Server::start(|config| config).watched();
    let mut session = PollingSession::open(server.at(), PATH, Form::V4);
    let headers = [("content-type", "application/octet-stream")];
    let mut http = RawHttp::connect(server.at());
    http.request("POST", &session.target, &headers, b"4a").expect(400, "");
    session.expect_gone();
    drop((session, http));
    server.settle().closed(&[(CloseReason::TransportError, 1)]);
}

#[test]
fn chunked_bodies_are_read() {
    let server = Server::start(|config| config).watched();
    let mut session = PollingSession::open(server.at(), PATH, Form::V4);
    let mut http = RawHttp::connect(server.at());
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n",
        session.target
    );
    for piece in [head.as_str(), "3\r\n4on\r\n", "2;x=y\r\ne\x1e\r\n", "4\r\n4two\r\n", "0\r\n\r\n"]
    {
        http.send_bytes(piece.as_bytes());
    }
    http.receive().expect(200, "ok");
    session.expect_text("4one");
    session.expect_text("4two");
    for broken in ["zz\r\n4a\r\n0\r\n\r\n", "-1\r\n", "ffffffffffffffffff\r\n"] {
        let mut session = PollingSession::open(server.at(), PATH, Form::V4);
        let mut http = RawHttp::connect(server.at());
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{broken}",
            session.target
        );
        http.send_bytes(head.as_bytes());
        if let Some(response) = http.try_receive() {
            response.expect(400, "");
        }
        http.expect_eof();
        session.expect_gone();
    }
    session.send_text("1");
    drop((session, http));
    let reasons = [(CloseReason::TransportClose, 1), (CloseReason::TransportError, 3)];
    server.settle().closed(&reasons);
}
