//! Requests that are refused: what exactly the client is told, and what is counted.

use std::sync::{Arc, Mutex};

use sedge_engine::hooks::{ConnectionError, ErrorCode};
use sedge_testkit::{Form, HttpResponse, PollingSession, RawHttp, RawWs};

use crate::common::{PATH, Server, V4_POLLING, V4_WEBSOCKET, open_websocket};

const TRANSPORT_UNKNOWN: &str = r#"{"code":0,"message":"Transport unknown"}"#;
const SESSION_UNKNOWN: &str = r#"{"code":1,"message":"Session ID unknown"}"#;
const BAD_METHOD: &str = r#"{"code":2,"message":"Bad handshake method"}"#;
const BAD_REQUEST: &str = r#"{"code":3,"message":"Bad request"}"#;
const UNSUPPORTED: &str = r#"{"code":5,"message":"Unsupported protocol version"}"#;

fn repeated(parameter: &str) -> String {
    format!("{{\"code\":3,\"message\":\"Bad request: the parameter {parameter} is repeated\"}}")
}

#[track_caller]
fn is_json_error(response: &HttpResponse, body: &str) {
    response.expect(400, body);
    assert_eq!(response.header("content-type"), Some("application/json"));
}

#[track_caller]
fn is_handshake_error(response: &HttpResponse, body: &str) {
    response.expect(400, body);
    assert_eq!(response.header("content-type"), Some("text/html"));
    assert_eq!(response.header("connection"), Some("close"));
}

#[test]
fn wrong_queries() {
    let server = Server::start(|config| config).watched();
    let mut http = RawHttp::connect(server.at());
    for (query, body) in [
        ("", TRANSPORT_UNKNOWN),
        ("?EIO=4", TRANSPORT_UNKNOWN),
        ("?EIO=4&transport=", TRANSPORT_UNKNOWN),
        ("?EIO=4&transport=tobi", TRANSPORT_UNKNOWN),
        ("?EIO=4&transport=constructor", TRANSPORT_UNKNOWN),
        ("?EIO=4&transport=webtransport", TRANSPORT_UNKNOWN),
        ("?EIO=4&transport=polling&transport=polling", &repeated("transport")),
        ("?EIO=4&EIO=4&transport=polling", &repeated("EIO")),
        ("?EIO=4&transport=polling&j=1&j=1", &repeated("j")),
        ("?EIO=4&transport=polling&b64=1&b64=", &repeated("b64")),
        ("?EIO=4&transport=websocket", BAD_REQUEST),
        ("?EIO=3&transport=polling", UNSUPPORTED),
        ("?transport=polling", UNSUPPORTED),
        ("?EIO=5&transport=polling", UNSUPPORTED),
        ("?EIO=04&transport=polling", UNSUPPORTED),
    ] {
        let response = http.get(&format!("{PATH}{query}"));
        is_json_error(&response, body);
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"] {
        let response = http.request(method, V4_POLLING, &[], b"");
        is_json_error(&response, BAD_METHOD);
    }
    // The answer to HEAD has no body.
    http.send("HEAD", V4_POLLING, &[], b"");
    let head = http.stream().read_until(b"\r\n\r\n").expect("a head");
    assert!(head.starts_with(b"HTTP/1.1 400 "));
    drop(http);
    server.settle().closed(&[]).refused(&[
        (ErrorCode::TransportUnknown, 6),
        (ErrorCode::BadRequest, 5),
        (ErrorCode::UnsupportedProtocolVersion, 4),
        (ErrorCode::BadHandshakeMethod, 7),
    ]);
}

#[test]
fn ids_that_are_no_session() {
    let server = Server::start(|config| config.secret(vec![1; 32])).watched();
    let mut session = PollingSession::open(server.at(), PATH, Form::V4);
    let sid = session.sid.clone();
    let mut ids: Vec<String> = ["x", "tobi", "../../etc/passwd", "AAAAAAAAAAAAAAAAAAAA", "%41"]
        .map(str::to_owned)
        .to_vec();
    ids.extend([
        sid.to_lowercase() + "A",
        sid[..19].to_owned(),
        format!("{sid}A"),
        "9".repeat(4000),
    ]);
    // Every bit of every character.
    for position in 0..20 {
        for bit in 0..6 {
            let mut changed = sid.clone().into_bytes();
            changed[position] ^= 1 << bit;
            if changed[position].is_ascii_alphanumeric() {
                ids.push(String::from_utf8(changed).expect("ASCII"));
            }
        }
    }
    // Of another node with the same secret, and of a server with another secret.
    let other_node = Server::start(|config| config.secret(vec![1; 32]).node(1));
    let other_secret = Server::start(|config| config.secret(vec![2; 32]));
    for other in [&other_node, &other_secret] {
        let foreign = PollingSession::open(other.at(), PATH, Form::V4);
        ids.push(foreign.sid.clone());
    }
    let mut http = RawHttp::connect(server.at());
    for id in &ids {
        let response = http.get(&format!("{V4_POLLING}&sid={id}"));
        is_json_error(&response, SESSION_UNKNOWN);
        let response = http.post(&format!("{V4_POLLING}&sid={id}"), "4a");
        is_json_error(&response, SESSION_UNKNOWN);
    }
    for id in &ids[..12] {
        let target = format!("{V4_WEBSOCKET}&sid={id}");
        let response = RawWs::refused(server.at(), &target, &RawWs::handshake());
        is_handshake_error(&response, "Session ID unknown");
    }
    // A repeated id is none, even if it is right.
    let response = http.get(&format!("{V4_POLLING}&sid={sid}&sid={sid}"));
    is_json_error(&response, &repeated("sid"));
    session.send_text("4unharmed");
    session.expect_text("4unharmed");
    session.send_text("1");
    drop((session, http));
    let count = ids.len() as u64 * 2 + 12;
    let refused = [(ErrorCode::SessionIdUnknown, count), (ErrorCode::BadRequest, 1)];
    server.settle().refused(&refused);
}

#[test]
fn requests_that_do_not_fit_their_session() {
    let server = Server::start(|config| config.allow_eio3(true)).watched();
    let mut session = PollingSession::open(server.at(), PATH, Form::V4);
    let mut http = RawHttp::connect(server.at());
    // Another version than the session's.
    for version in ["3", "5", "04", ""] {
        let target = session.target.replace("EIO=4", &format!("EIO={version}"));
        is_json_error(&http.get(&target), BAD_REQUEST);
        is_json_error(&http.post(&target, "4a"), BAD_REQUEST);
    }
    // A method that no transport has.
    for method in ["PUT", "DELETE", "OPTIONS"] {
        http.request(method, &session.target, &[], b"").expect(500, "");
    }
    // WebSocket named, but not spoken; and the reverse.
    let websocket = session.target.replace("polling", "websocket");
    is_json_error(&http.get(&websocket), BAD_REQUEST);
    let response = RawWs::refused(server.at(), &session.target, &RawWs::handshake());
    is_handshake_error(&response, "Bad request");
    session.send_text("4unharmed");
    session.expect_text("4unharmed");
    session.send_text("1");
    drop((session, http));

    // Polling for a session that is on a WebSocket.
    let (mut ws, sid) = open_websocket(server.at(), V4_WEBSOCKET);
    let mut http = RawHttp::connect(server.at());
    is_json_error(&http.get(&format!("{V4_POLLING}&sid={sid}")), BAD_REQUEST);
    is_json_error(&http.post(&format!("{V4_POLLING}&sid={sid}"), "4a"), BAD_REQUEST);
    ws.send("4unharmed");
    ws.expect_text("4unharmed");
    ws.close();
    drop(http);
    server.settle().refused(&[(ErrorCode::BadRequest, 12)]);
}

#[test]
fn wrong_websocket_handshakes() {
    let server = Server::start(|config| config).watched();
    let without = |name: &str| -> Vec<(&'static str, &'static str)> {
        RawWs::handshake().into_iter().filter(|(n, _)| *n != name).collect()
    };
    let with = |name: &'static str, value: &'static str| {
        let mut headers = without(name);
        headers.push((name, value));
        headers
    };
    let spoiled = [
        without("sec-websocket-key"),
        with("sec-websocket-key", ""),
        with("sec-websocket-key", "dGhlIHNhbXBsZQ=="),
        with("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ"),
        with("sec-websocket-key", "!!!!!!!!!!!!!!!!!!!!!!=="),
        without("sec-websocket-version"),
        with("sec-websocket-version", "12"),
        with("sec-websocket-version", "013"),
        // Two of them: others may have read the other one.
        [RawWs::handshake(), vec![("sec-websocket-version", "13")]].concat(),
        [RawWs::handshake(), vec![("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")]].concat(),
    ];
    for headers in &spoiled {
        let response = RawWs::refused(server.at(), V4_WEBSOCKET, headers);
        is_handshake_error(&response, "Bad request");
        assert_eq!(response.header("sec-websocket-version"), Some("13"), "{headers:?}");
    }
    // What asks for no WebSocket is answered as other requests are.
    let mut http = RawHttp::connect(server.at());
    let plain = [
        with("upgrade", "h2c"),
        with("upgrade", "websockets"),
        with("upgrade", ""),
        without("connection"),
        with("connection", "keep-alive"),
    ];
    for headers in &plain {
        let response = http.request("GET", V4_WEBSOCKET, headers, b"");
        is_json_error(&response, BAD_REQUEST);
    }
    drop(http);
    // Not a GET.
    let mut http = RawHttp::connect(server.at());
    let response = http.request("POST", V4_WEBSOCKET, &RawWs::handshake(), b"");
    is_handshake_error(&response, "Bad handshake method");
    // Other wrong requests with an upgrade.
    let old = V4_WEBSOCKET.replace("EIO=4", "EIO=3");
    let response = RawWs::refused(server.at(), &old, &RawWs::handshake());
    is_handshake_error(&response, "Unsupported protocol version");
    let response = RawWs::refused(server.at(), PATH, &RawWs::handshake());
    is_handshake_error(&response, "Transport unknown");
    drop(http);
    server.settle().closed(&[]).refused(&[
        (ErrorCode::BadRequest, (spoiled.len() + plain.len()) as u64),
        (ErrorCode::BadHandshakeMethod, 1),
        (ErrorCode::UnsupportedProtocolVersion, 1),
        (ErrorCode::TransportUnknown, 1),
    ]);
}

#[test]
fn what_is_not_http() {
    let server = Server::start(|config| config).watched();
    let long = format!("GET {PATH}?{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(40_000));
    let many = "a: b\r\n".repeat(200);
    let large = format!("GET {V4_POLLING} HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(40_000));
    let length = |lines: &str| format!("POST {V4_POLLING} HTTP/1.1\r\nhost: a\r\n{lines}\r\n4a");
    let garbage: Vec<Vec<u8>> = [
        "\r\n\r\n\r\n hello \r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}".to_owned(),
        "GET\r\n\r\n".to_owned(),
        format!("GET {V4_POLLING} HTTP/9.9\r\n\r\n"),
        format!("G\0T {V4_POLLING} HTTP/1.1\r\n\r\n"),
        format!("GET {V4_POLLING} HTTP/1.1\r\n: no name\r\n\r\n"),
        format!("GET {V4_POLLING} HTTP/1.1\r\n{many}\r\n"),
        long,
        large,
        length("content-length: 2\r\ncontent-length: 3\r\n"),
        length("content-length: -1\r\n"),
        length("content-length: 99999999999999999999999\r\n"),
        length("transfer-encoding: identity\r\n"),
        length("transfer-encoding: chunked, gzip\r\n"),
    ]
    .map(String::into_bytes)
    .to_vec();
    for bytes in &garbage {
        let mut http = RawHttp::connect(server.at());
        let _ = http.stream().try_send(bytes);
        if let Some(response) = http.try_receive() {
            let shown = String::from_utf8_lossy(bytes);
            assert!(matches!(response.status, 400 | 414 | 431), "{shown:.100}: {response:?}");
        }
        assert!(http.ends_within(sedge_testkit::DEADLINE));
    }
    server.settle().closed(&[]).refused(&[]);
}

/// Two statements about a body's length are how requests are smuggled past a proxy: such a request is
/// refused, and nothing behind it on the same connection is believed.
#[test]
fn nothing_is_smuggled_behind_two_lengths() {
    let server = Server::start(|config| config).watched();
    let mut session = PollingSession::open(server.at(), PATH, Form::V4);
    let smuggled = format!("GET {PATH}?smuggled HTTP/1.1\r\nhost: a\r\n\r\n");
    for lines in [
        "content-length: 4\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
    ] {
        let mut http = RawHttp::connect(server.at());
        let head = format!("POST {} HTTP/1.1\r\nhost: a\r\n{lines}\r\n", session.target);
        http.send_bytes(format!("{head}2\r\n4a\r\n0\r\n\r\n{smuggled}").as_bytes());
        http.receive().expect(400, "");
        http.expect_eof();
    }
    session.send_text("1");
    drop(session);
    server.settle().refused(&[]);
}

#[test]
fn the_application_refuses() {
    let errors: Arc<Mutex<Vec<ConnectionError>>> = Arc::default();
    let log = Arc::clone(&errors);
    let server = Server::start(move |config| {
        config
            .allow_request(async |handshake| {
                tokio::task::yield_now().await;
                match handshake.query_param("token") {
                    Some(token) if token == "wrong" => Err("no \"such\" \u{fc}ser".to_owned()),
                    Some(token) if token == "silent" => Err(String::new()),
                    _ => Ok(()),
                }
            })
            .on_connection_error(move |error| {
                log.lock().expect("no panic").push(error.clone());
            })
    });
    let server = server.watched();
    let mut http = RawHttp::connect(server.at());
    let response = http.get(&format!("{V4_POLLING}&token=wrong"));
    response.expect(403, "{\"code\":4,\"message\":\"no \\\"such\\\" \u{fc}ser\"}");
    assert_eq!(response.header("content-type"), Some("application/json"));
    let response = http.get(&format!("{V4_POLLING}&token=silent"));
    response.expect(403, r#"{"code":4,"message":"Forbidden"}"#);
    let target = format!("{V4_WEBSOCKET}&token=wrong");
    let response = RawWs::refused(server.at(), &target, &RawWs::handshake());
    is_handshake_error(&response, "no \"such\" \u{fc}ser");
    // Not asked again for an open session.
    let mut session = PollingSession::open(server.at(), PATH, Form::V4);
    session.target += "&token=wrong";
    session.send_text("4a");
    session.expect_text("4a");
    session.send_text("1");
    http.get(&format!("{V4_POLLING}&sid=gone"));
    drop((session, http));
    server.settle().refused(&[(ErrorCode::Forbidden, 3), (ErrorCode::SessionIdUnknown, 1)]);

    let errors = errors.lock().expect("no panic");
    let told: Vec<_> = errors.iter().map(|e| (e.code as u8, e.message, e.url.as_str())).collect();
    let gone = format!("{V4_POLLING}&sid=gone");
    let [wrong, silent] = ["wrong", "silent"].map(|token| format!("{V4_POLLING}&token={token}"));
    assert_eq!(
        told,
        [
            (4, "Forbidden", wrong.as_str()),
            (4, "Forbidden", silent.as_str()),
            (4, "Forbidden", target.as_str()),
            (1, "Session ID unknown", gone.as_str()),
        ]
    );
    assert!(errors.iter().all(|error| error.address.is_some()));
}

#[test]
fn other_paths_are_not_found() {
    let server = Server::start(|config| config);
    let mut http = RawHttp::connect(server.at());
    for path in ["/", "/socket.io", "/socket.io?EIO=4&transport=polling", "/socket.iox/", "*"] {
        assert_eq!(http.get(path).status, 404, "{path}");
    }
    drop(http);
    // An upgrade for nobody is kept waiting for a while, as the official server does.
    let mut http = RawHttp::connect(server.at());
    let response = http.request("GET", "/elsewhere", &RawWs::handshake(), b"");
    assert_eq!(response.status, 404);
    drop(http);
    server.settle().refused(&[]);
}
