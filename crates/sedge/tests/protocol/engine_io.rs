//! Engine.IO: handshakes, messages and the end of a session.

use sedge_testkit::{Form, Frame, Packet, RawHttp, RawWs};
use serde_json::{Value, json};

use crate::subject::{SLOW, Subject, all, decode, engine_io, expect_closed};

/// Checks what OPEN says; in version 4 nothing may stand beside it.
fn is_open(subject: &Subject, open: &str, upgrades: &Value) {
    let open: Value = serde_json::from_str(open).expect("JSON");
    let fields = open.as_object().expect("an object");
    assert!(open["sid"].is_string(), "{}", subject.name);
    let wanted = json!({
        "sid": open["sid"],
        "upgrades": upgrades,
        "pingInterval": subject.heartbeat.interval.as_millis() as u64,
        "pingTimeout": subject.heartbeat.timeout.as_millis() as u64,
        "maxPayload": 1_000_000,
    });
    if subject.version() == 4 {
        assert_eq!(open, wanted, "{}", subject.name);
    } else {
        for (key, value) in fields {
            assert_eq!(value, &wanted[key], "{}: {key}", subject.name);
        }
        for key in ["sid", "upgrades", "pingInterval", "pingTimeout"] {
            assert!(fields.contains_key(key), "{}: {key}", subject.name);
        }
    }
}

#[test]
fn a_session_opens_by_polling() {
    all(SLOW, |subject| {
        for form in subject.forms {
            is_open(subject, &subject.polling(*form).open, &json!(["websocket"]));
        }
    });
}

#[test]
fn a_session_opens_by_websocket() {
    all(SLOW, |subject| {
        let target = format!("EIO={}&transport=websocket", subject.version());
        let mut ws = RawWs::connect(subject.address, &subject.target(&target));
        let Frame::Text(open) = ws.receive() else { panic!("{}: no OPEN", subject.name) };
        is_open(subject, open.strip_prefix('0').expect("an OPEN packet"), &json!([]));
    });
}

#[test]
fn a_handshake_needs_a_version_and_a_transport_that_exist() {
    all(SLOW, |subject| {
        let version = subject.version();
        let mut queries = vec![format!("EIO={version}"), format!("EIO={version}&transport=abc")];
        if version == 4 {
            // Where version 3 is allowed, it is what a client without a version speaks.
            for transport in ["polling", "websocket"] {
                queries.push(format!("transport={transport}"));
                queries.push(format!("EIO=abc&transport={transport}"));
            }
        }
        for query in queries {
            let target = subject.target(&query);
            if !query.contains("websocket") {
                let status = subject.request("GET", &target, b"").status;
                assert_eq!(status, 400, "{}: {query}", subject.name);
            }
            if !query.contains("polling") {
                subject.expect_refused(&target);
            }
        }
    });
}

#[test]
fn a_session_opens_with_get_only() {
    all(SLOW, |subject| {
        let target = subject.target(subject.forms[0].query());
        for method in ["POST", "PUT"] {
            let status = subject.request(method, &target, b"").status;
            assert_eq!(status, 400, "{}: {method}", subject.name);
        }
    });
}

fn texts(packets: &[&str]) -> Vec<Packet> {
    packets.iter().map(|packet| Packet::from(*packet)).collect()
}

#[test]
fn messages_travel_by_polling() {
    engine_io(SLOW, |subject| {
        for form in subject.forms {
            let session = subject.polling(*form);
            let mut mixed = texts(&["4hello"]);
            mixed.push(Packet::Binary(vec![1, 2, 3, 4]));
            for packets in [texts(&["4hello"]), texts(&["4test1", "4test2", "4test3"]), mixed] {
                session.send(&packets);
                session.expect(&packets);
            }
        }
    });
}

/// The bytes themselves, as they stand in the protocol's text.
#[test]
fn payloads_have_their_forms() {
    engine_io(SLOW, |subject| {
        let bodies: &[(Form, &str, &[u8])] = if subject.version() == 4 {
            &[(Form::V4, "4hello\x1ebAQIDBA==", b"4hello\x1ebAQIDBA==")]
        } else {
            let text = "6:4hello10:b4AQIDBA==";
            let bytes = b"\x00\x06\xff4hello\x01\x05\xff\x04\x01\x02\x03\x04";
            &[(Form::V3Text, text, text.as_bytes()), (Form::V3Binary, text, bytes)]
        };
        for (form, sent, received) in bodies {
            let session = subject.polling(*form);
            // What a client cannot take is said in the handshake, and holds without being repeated. One that
            // takes bytes still sends text, if it likes.
            let target = session.target.replace("&b64=1", "");
            subject.request("POST", &target, sent.as_bytes()).expect(200, "ok");
            assert_eq!(subject.request("GET", &target, b"").body, *received, "{}", subject.name);
        }
    });
}

#[test]
fn messages_travel_by_websocket() {
    engine_io(SLOW, |subject| {
        let mut ws = subject.websocket();
        ws.send("4hello");
        ws.expect_text("4hello");
        // Version 3 has the packet's type in front of the content.
        let binary: &[u8] = if subject.version() == 4 { &[1, 2, 3, 4] } else { &[4, 1, 2, 3, 4] };
        ws.send_binary(binary);
        assert_eq!(ws.receive(), Frame::Binary(binary.to_vec()), "{}", subject.name);
    });
}

#[test]
fn what_is_no_packet_ends_the_session() {
    all(SLOW, |subject| {
        for form in subject.forms {
            let session = subject.polling(*form);
            session.post(b"abc");
            session.expect_gone();
        }
        let mut ws = subject.websocket();
        ws.send("abc");
        expect_closed(ws);
    });
}

#[test]
fn a_second_poll_ends_the_session() {
    all(SLOW, |subject| {
        for form in subject.forms {
            let session = subject.polling(*form);
            let mut first = session.waiting_get();
            assert_eq!(session.get().status, 400, "{}", subject.name);
            assert_eq!(decode(*form, &first.receive()), texts(&["1"]), "{}", subject.name);
            session.expect_gone();
        }
    });
}

#[test]
fn a_poll_that_is_given_up_ends_the_session() {
    all(SLOW, |subject| {
        for form in subject.forms {
            let session = subject.polling(*form);
            drop(session.waiting_get());
            subject.await_metrics(|metrics| metrics.sessions() == 0);
            session.expect_gone();
        }
    });
}

#[test]
fn a_client_closes_by_polling() {
    all(SLOW, |subject| {
        for form in subject.forms {
            let session = subject.polling(*form);
            let mut poll = session.waiting_get();
            session.send(&texts(&["1"]));
            assert_eq!(decode(*form, &poll.receive()), texts(&["6"]), "{}", subject.name);
            session.expect_gone();
        }
    });
}

/// The POST follows at once on another connection, be it the one that opened the session: its client knows
/// that the GET was sent before.
#[test]
fn a_client_closes_right_behind_its_poll() {
    all(SLOW, |subject| {
        for form in subject.forms {
            let mut opener = RawHttp::connect(subject.address);
            let mut poll = RawHttp::connect(subject.address);
            let target = subject.target(form.query());
            let packets = decode(*form, &opener.get(&target));
            let Some(Packet::Text(open)) = packets.first() else { panic!("no OPEN") };
            let sid = open.split('"').nth(3).expect("OPEN names the session first");
            let target = format!("{target}&sid={sid}");
            if subject.name.starts_with("Socket.IO") && subject.version() == 3 {
                // Clients of this version are told at once that they are in the root namespace.
                poll.get(&target);
            }
            poll.send("GET", &target, &[], b"");
            let headers = [("content-type", form.content_type())];
            let body = form.encode(&texts(&["1"]));
            opener.request("POST", &target, &headers, &body).expect(200, "ok");
            assert_eq!(decode(*form, &poll.receive()), texts(&["6"]), "{}", subject.name);
            assert_eq!(opener.get(&target).status, 400, "{}", subject.name);
        }
    });
}

#[test]
fn a_client_closes_by_websocket() {
    all(SLOW, |subject| {
        let mut ws = subject.websocket();
        ws.send("1");
        expect_closed(ws);
        subject.await_metrics(|metrics| metrics.sessions() == 0);
    });
}
