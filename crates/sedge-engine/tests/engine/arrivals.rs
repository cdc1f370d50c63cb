//! How requests may arrive on a connection: in pieces, several at once, between requests of other
//! kinds. The engine reads some requests itself and leaves others to hyper; nobody may notice which.

use sedge_testkit::{Frame, RawHttp, RawWs, frame};

use crate::common::{PATH, Server, V4_POLLING, V4_WEBSOCKET};

/// Opens a session and returns the target of its requests.
fn open(http: &mut RawHttp) -> String {
    let response = http.get(V4_POLLING);
    assert_eq!(response.status, 200);
    let sid = response.text().split('"').nth(3).expect("OPEN names the session").to_owned();
    format!("{V4_POLLING}&sid={sid}")
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n")
}

fn post(target: &str, body: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn a_request_may_be_cut_anywhere() {
    let server = Server::start(|config| config);
    let mut http = RawHttp::connect(server.at());
    let target = open(&mut http);
    let whole = post(&target, "4é");
    for cut in 1..whole.len() {
        // A connection of its own: where a body was late, hyper serves it from then on.
        let mut http = RawHttp::connect(server.at());
        let (first, second) = whole.as_bytes().split_at(cut);
        http.send_bytes(first);
        server.await_metrics(|m| m.connections_http == 2);
        http.send_bytes(second);
        http.receive().expect(200, "ok");
        http.get(&target).expect(200, "4é");
        drop(http);
        server.await_metrics(|m| m.connections_http == 1);
    }
}

#[test]
fn requests_sent_at_once_are_answered_in_order() {
    let server = Server::start(|config| config);
    let mut http = RawHttp::connect(server.at());
    let target = open(&mut http);
    // The first GET has to wait, and everything behind it with it, until another connection posts.
    http.send_bytes([get(&target), post(&target, "4b"), get(&target)].concat().as_bytes());
    server.await_metrics(|m| m.polls_waiting == 1);
    RawHttp::connect(server.at()).post(&target, "4a").expect(200, "ok");
    http.receive().expect(200, "4a");
    http.receive().expect(200, "ok");
    http.receive().expect(200, "4b");
}

#[test]
fn requests_of_all_kinds_share_a_connection() {
    let server = Server::start(|config| config);
    let mut http = RawHttp::connect(server.at());
    let target = open(&mut http);
    let (mut requests, mut expected) = (String::new(), Vec::new());
    let chunked = "transfer-encoding: chunked\r\n\r\n3\r\n4cc\r\n0\r\n\r\n";
    for (request, status, body) in [
        (post(&target, "4a"), 200, "ok"),
        (get(&target), 200, "4a"),
        (get("/elsewhere"), 404, "not found"),
        (post(&target, "4b"), 200, "ok"),
        (get(&target), 200, "4b"),
        (format!("POST {target} HTTP/1.1\r\nhost: a\r\n{chunked}"), 200, "ok"),
        (get(&target), 200, "4cc"),
    ] {
        requests += &request;
        expected.push((status, body));
    }
    http.send_bytes(requests.as_bytes());
    for (status, body) in expected {
        http.receive().expect(status, body);
    }
}

#[test]
fn a_long_body_is_followed_by_short_ones() {
    let server = Server::start(|config| config);
    let mut http = RawHttp::connect(server.at());
    let target = open(&mut http);
    for size in [10, 900_000, 10, 70_000] {
        let message = format!("4{}", "x".repeat(size));
        http.post(&target, &message).expect(200, "ok");
        http.get(&target).expect(200, &message);
    }
}

#[test]
fn a_handshake_may_follow_other_requests_and_bring_frames() {
    let server = Server::start(|config| config);
    for path in [PATH, "/elsewhere"] {
        let mut http = RawHttp::connect(server.at());
        http.get(path);
        let early = frame(0x81, Some([1, 2, 3, 4]), b"4early");
        let mut ws = RawWs::upgrade(http, V4_WEBSOCKET, &[], &early);
        assert!(matches!(ws.receive(), Frame::Text(open) if open.starts_with('0')), "{path}");
        assert_eq!(ws.receive(), Frame::Text("4early".to_owned()), "{path}");
    }
}

#[test]
fn a_client_that_leaves_while_a_request_waits_ends_the_session() {
    let server = Server::start(|config| config);
    let mut http = RawHttp::connect(server.at());
    let target = open(&mut http);
    http.send_bytes(get(&target).as_bytes());
    server.await_metrics(|m| m.polls_waiting == 1);
    drop(http);
    server.await_metrics(|m| m.polls_waiting == 0 && m.sessions_polling == 0);
}
