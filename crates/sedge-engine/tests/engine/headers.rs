//! What responses carry besides their content: CORS, cookies, hooks, compression, client files.

use std::io::Read;
use std::time::Duration;

use flate2::read::{GzDecoder, ZlibDecoder};
use http::HeaderValue;
use sedge_engine::config::{HttpCompression, PerMessageDeflate};
use sedge_engine::{Cookie, Cors, SameSite};
use sedge_testkit::{Form, HttpResponse, PollingSession, RawHttp, RawWs};

use crate::common::{PATH, Server, V4_POLLING, V4_WEBSOCKET};

const ORIGIN: [(&str, &str); 1] = [("origin", "https://example.com")];

fn end(server: &Server, response: &HttpResponse) {
    let sid = response.text().split('"').nth(3).expect("a session").to_owned();
    let target = format!("{V4_POLLING}&sid={sid}");
    RawHttp::connect(server.at()).post(&target, "1").expect(200, "ok");
}

#[test]
fn cors() {
    let server = Server::start(|config| {
        let cors = Cors::origin("https://example.com").credentials(true);
        config.cors(cors.max_age(Duration::from_mins(1)))
    });
    let server = server.watched();
    let mut http = RawHttp::connect(server.at());
    // A preflight is answered before anything else is looked at.
    for target in [V4_POLLING.to_owned(), format!("{V4_POLLING}&sid=x"), PATH.to_owned()] {
        let asks = [ORIGIN[0], ("access-control-request-method", "POST")];
        let response = http.request("OPTIONS", &target, &asks, b"");
        response.expect(204, "");
        let origin = response.header("access-control-allow-origin");
        assert_eq!(origin, Some("https://example.com"));
        assert_eq!(response.header("access-control-allow-credentials"), Some("true"));
        assert_eq!(response.header("access-control-max-age"), Some("60"));
        assert!(
            response.header("access-control-allow-methods").is_some_and(|m| m.contains("POST"))
        );
    }
    let opened = http.request("GET", V4_POLLING, &ORIGIN, b"");
    let refused = http.request("GET", &format!("{V4_POLLING}&sid=x"), &ORIGIN, b"");
    assert_eq!((opened.status, refused.status), (200, 400));
    for response in [&opened, &refused] {
        let origin = response.header("access-control-allow-origin");
        assert_eq!(origin, Some("https://example.com"));
        assert_eq!(response.header("access-control-allow-credentials"), Some("true"));
        assert!(response.header("vary").is_some_and(|vary| vary.contains("Origin")));
    }
    end(&server, &opened);
    drop(http);
    server.settle();
}

#[test]
fn cookies_and_hooks() {
    let server = Server::start(|config| {
        config
            .cookie(Cookie::new("io").same_site(SameSite::Strict))
            .on_initial_headers(|headers, request| {
                assert_eq!(request.method, "GET");
                headers.insert("x-first", HeaderValue::from_static("yes"));
            })
            .on_headers(|headers, request| {
                let agent = request.headers.get("user-agent").cloned();
                headers.insert("x-every", agent.unwrap_or(HeaderValue::from_static("none")));
            })
    });
    let mut http = RawHttp::connect(server.at());
    let agent = [("user-agent", "Mozilla/4.0 (compatible;MSIE 9.0)")];
    let response = http.request("GET", V4_POLLING, &agent, b"");
    let sid = response.text().split('"').nth(3).expect("a session").to_owned();
    let cookie = format!("io={sid}; Path=/; HttpOnly; SameSite=Strict");
    assert_eq!(response.header("set-cookie"), Some(cookie.as_str()));
    assert_eq!(response.header("x-first"), Some("yes"));
    assert_eq!(response.header("x-every"), Some(agent[0].1));
    assert_eq!(response.header("x-xss-protection"), Some("0"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    let response = http.post(&format!("{V4_POLLING}&sid={sid}"), "1");
    response.expect(200, "ok");
    assert_eq!(response.header("set-cookie"), None);
    assert_eq!(response.header("x-first"), None);
    assert_eq!(response.header("x-every"), Some("none"));
    assert_eq!(response.header("x-xss-protection"), None);
    assert_eq!(response.header("content-type"), Some("text/html"));
    let ws = RawWs::connect(server.at(), V4_WEBSOCKET);
    assert_eq!(ws.response.header("x-first"), Some("yes"));
    assert_eq!(ws.response.header("x-every"), Some("none"));
    ws.close();
    drop(http);
    server.settle();
}

#[test]
fn poll_responses_are_compressed() {
    let compression = HttpCompression { threshold: 1000, ..HttpCompression::default() };
    let server = Server::start(|config| config.http_compression(compression));
    let mut session = PollingSession::open(server.at(), PATH, Form::V4);
    let mut http = RawHttp::connect(server.at());
    let mut poll = |session: &mut PollingSession, size: usize, accept: &str| {
        session.send_text(&format!("4!send 1 {size}"));
        http.request("GET", &session.target, &[("accept-encoding", accept)], b"")
    };
    let plain = format!("4{}", "x".repeat(2000));
    for (size, accept, encoding) in [
        (2000, "gzip, deflate, br", Some("gzip")),
        (2000, "deflate", Some("deflate")),
        (2000, "gzip;q=0", None),
        (2000, "br", None),
        (2000, "", None),
        (900, "gzip", None),
    ] {
        let response = poll(&mut session, size, accept);
        assert_eq!(response.header("content-encoding"), encoding, "{accept}");
        let mut body = String::new();
        match encoding {
            Some("gzip") => GzDecoder::new(&response.body[..]).read_to_string(&mut body),
            Some(_) => ZlibDecoder::new(&response.body[..]).read_to_string(&mut body),
            None => (&response.body[..]).read_to_string(&mut body),
        }
        .expect("a compressed text");
        assert_eq!(body, plain[..=size]);
    }
    session.send_text("1");
    drop((session, http));
    server.settle();
}

fn deflated(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 64);
    let mut stream = flate2::Compress::new(flate2::Compression::default(), false);
    let flush = flate2::FlushCompress::Sync;
    stream.compress_vec(payload, &mut out, flush).expect("compressible");
    out.truncate(out.len() - 4);
    out
}

fn inflated(payload: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(size + 64);
    let input = [payload, &[0, 0, 0xff, 0xff]].concat();
    let mut stream = flate2::Decompress::new(false);
    let flush = flate2::FlushDecompress::Sync;
    stream.decompress_vec(&input, &mut out, flush).expect("a deflated message");
    out
}

#[test]
fn websocket_messages_are_deflated_both_ways() {
    let deflate = PerMessageDeflate { threshold: 100, ..PerMessageDeflate::default() };
    let server = Server::start(|config| config.per_message_deflate(deflate).max_payload(100_000));
    let server = server.watched();
    let offer = [("sec-websocket-extensions", "permessage-deflate; client_max_window_bits")];
    let mut ws = RawWs::connect_with(server.at(), V4_WEBSOCKET, &offer, b"");
    let agreed = ws.response.header("sec-websocket-extensions").expect("an extension").to_owned();
    assert!(agreed.starts_with("permessage-deflate"), "{agreed}");
    assert!(agreed.contains("client_no_context_takeover"), "{agreed}");
    let open = ws.receive_raw().expect("OPEN");
    assert_eq!(open.first & 0xbf, 0x81);

    let text = format!("4{}", "hello ".repeat(100));
    for _ in 0..3 {
        ws.send_frame(0xc1, &deflated(text.as_bytes()));
        let echo = ws.receive_raw().expect("an echo");
        assert_eq!(echo.first, 0xc1);
        assert_eq!(inflated(&echo.payload, 1000), text.as_bytes());
    }
    // In fragments; and an uncompressed message is as good.
    let payload = deflated(text.as_bytes());
    ws.send_frame(0x41, &payload[..5]);
    ws.send_frame(0x80, &payload[5..]);
    assert_eq!(inflated(&ws.receive_raw().expect("an echo").payload, 1000), text.as_bytes());
    ws.send("4short");
    ws.expect_text("4short");
    // A hundred kilobytes of nothing are well above the limit after inflating.
    ws.send_frame(0xc1, &deflated(&vec![b'4'; 1_000_000]));
    ws.expect_close(Some(1009));
    drop(ws);
    // What does not inflate has no content.
    let mut ws = RawWs::connect_with(server.at(), V4_WEBSOCKET, &offer, b"");
    ws.receive_raw().expect("OPEN");
    ws.send_frame(0xc1, &[0xff; 20]);
    ws.expect_close(Some(1007));
    drop(ws);
    // Without the offer nothing is compressed.
    let mut ws = RawWs::connect(server.at(), V4_WEBSOCKET);
    assert_eq!(ws.response.header("sec-websocket-extensions"), None);
    ws.receive_raw().expect("OPEN");
    ws.send(&text);
    ws.expect_text(&text);
    ws.close();
    server.settle();
}

#[test]
fn client_files() {
    let root = std::env::temp_dir().join(format!("sedge-client-{}", std::process::id()));
    let dist = root.join("dist");
    std::fs::create_dir_all(&dist).expect("a directory");
    std::fs::write(root.join("package.json"), r#"{"version":"4.8.4"}"#).expect("a file");
    let script = format!("/*! Socket.IO v4.8.4 */{}", "x".repeat(5000));
    std::fs::write(dist.join("socket.io.js"), &script).expect("a file");
    let server = Server::start(|config| config.serve_client(&dist).cors(Cors::any()));
    let mut http = RawHttp::connect(server.at());
    let response = http.get("/socket.io/socket.io.js?v=1");
    response.expect(200, &script);
    let tag = response.header("etag").expect("a tag").to_owned();
    assert_eq!(tag, "\"4.8.4\"");
    let kind = response.header("content-type");
    assert_eq!(kind, Some("application/javascript; charset=utf-8"));
    assert_eq!(response.header("access-control-allow-origin"), Some("*"));
    for tag in [tag.clone(), format!("W/{tag}")] {
        let headers = [("if-none-match", tag.as_str())];
        http.request("GET", "/socket.io/socket.io.js", &headers, b"").expect(304, "");
    }
    let headers = [("accept-encoding", "gzip")];
    let response = http.request("GET", "/socket.io/socket.io.js", &headers, b"");
    assert_eq!(response.header("content-encoding"), Some("gzip"));
    for missing in ["socket.io.min.js", "../package.json", "%2e%2e/package.json", "other.js"] {
        let response = http.get(&format!("/socket.io/{missing}"));
        response.expect(400, r#"{"code":0,"message":"Transport unknown"}"#);
    }
    drop(http);
    server.settle();
    std::fs::remove_dir_all(root).expect("the directory is still there");
}
