//! What the program answers over HTTP: health, metrics, the page and its files.

mod common;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;

use common::{Folder, Sedge};
use sedge_testkit::{DEADLINE, RawHttp, SioClient};

/// The samples of `/metrics`: each series with its value.
fn metrics(http: &mut RawHttp) -> HashMap<String, u64> {
    let response = http.get("/metrics");
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let samples = response.text().lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|sample| {
            let (series, value) = sample.rsplit_once(' ').expect("a series and a value");
            (series.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

/// A metric over all shards, with these further labels.
fn sum(metrics: &HashMap<String, u64>, name: &str, labels: &str) -> u64 {
    let series = |shard| format!("{name}{{shard=\"{shard}\"{labels}}}");
    (0..2).map(|shard| metrics[&series(shard)]).sum()
}

#[test]
fn health_is_ok_for_get_and_head() {
    let server = Sedge::start(&[]);
    let mut http = RawHttp::connect(server.address);
    let response = http.get("/health");
    assert_eq!((response.status, response.text()), (200, "{\"status\":\"ok\"}\n"));
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    let refused = http.post("/health", "x");
    assert_eq!((refused.status, refused.header("allow")), (405, Some("GET, HEAD")));
}

#[test]
fn head_has_the_headers_only() {
    let server = Sedge::start(&[]);
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(b"HEAD /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    assert!(response.contains("content-length: 16\r\n"), "{response}");
    assert!(response.ends_with("\r\n\r\n"), "{response}");
}

#[test]
fn metrics_count_what_clients_do() {
    let server = Sedge::start(&["--no-demo"]);
    let mut http = RawHttp::connect(server.address);
    let before = metrics(&mut http);
    assert_eq!(sum(&before, "sedge_sockets", ""), 0);
    assert_eq!(sum(&before, "sedge_sessions", ",transport=\"websocket\""), 0);
    assert_eq!(sum(&before, "sedge_connections", ",transport=\"http\""), 1);

    let (mut client, _) = SioClient::connect(server.address);
    client.send("2[\"anything\"]");
    client.send("2[\"more\",7]");
    let wrong = http.get("/socket.io/?EIO=4&transport=pigeon");
    assert_eq!(wrong.status, 400);
    // The namespace is answered behind the events, so they have been counted.
    client.send("0/nowhere,");
    assert!(client.receive().starts_with("4/nowhere,"));

    let after = metrics(&mut http);
    assert_eq!(sum(&after, "sedge_sockets", ""), 1);
    assert_eq!(sum(&after, "sedge_sessions", ",transport=\"websocket\""), 1);
    assert_eq!(sum(&after, "sedge_sessions_opened_total", ""), 1);
    assert_eq!(sum(&after, "sedge_events_received_total", ""), 2);
    assert_eq!(sum(&after, "sedge_requests_refused_total", ",code=\"transport_unknown\""), 1);
    assert!(sum(&after, "sedge_received_bytes_total", "") > 0);
    assert!(sum(&after, "sedge_sent_bytes_total", "") > 0);
}

#[test]
fn metrics_can_be_left_out() {
    let server = Sedge::start(&["--no-metrics"]);
    assert_eq!(RawHttp::connect(server.address).get("/metrics").status, 404);
}

#[test]
fn the_page_and_its_files_are_served_with_a_strict_policy() {
    let folder = Folder::new();
    folder.write_client("web/node_modules/socket.io-client/dist");
    let server = Sedge::start_in(folder, &[]);
    let mut http = RawHttp::connect(server.address);
    for (path, content_type, part) in [
        ("/", "text/html; charset=utf-8", "/chat.js"),
        ("/?from=elsewhere", "text/html; charset=utf-8", "/socket.io/socket.io.min.js"),
        ("/style.css", "text/css; charset=utf-8", ":root"),
        ("/chat.js", "text/javascript; charset=utf-8", "\"use strict\""),
        ("/icon.svg", "image/svg+xml", "<svg"),
    ] {
        let response = http.get(path);
        assert_eq!(response.status, 200, "{path}");
        assert_eq!(response.header("content-type"), Some(content_type), "{path}");
        assert!(response.text().contains(part), "{path}");
        let policy = response.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
        assert!(policy.contains("connect-src 'self' ws: wss:"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(response.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(response.header("cache-control"), Some("no-cache"));

        let tag = response.header("etag").expect("a tag").to_owned();
        let again =
            http.request("GET", path, &[("if-none-match", &format!("W/\"x\", {tag}"))], b"");
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
    }
    let client = http.get("/socket.io/socket.io.min.js");
    assert!(client.text().contains("small client"));
    assert_eq!(client.header("etag"), Some("\"4.8.4\""));
    for path in ["/nothing", "/CONTRACT.md", "/index.html", "/../Cargo.toml", "//chat.js"] {
        assert_eq!(http.get(path).status, 404, "{path}");
    }
}

#[test]
fn without_the_client_the_page_says_what_to_do() {
    let server = Sedge::start(&[]);
    let response = RawHttp::connect(server.address).get("/");
    assert_eq!(response.status, 200);
    assert!(response.text().contains("npm install socket.io-client"));
    assert!(response.text().contains("--client-dir"));
    assert!(response.header("content-security-policy").is_some());
    server.signal(rustix::process::Signal::TERM);
    let log = server.wait().log;
    assert!(log.contains("npm install socket.io-client"), "{log}");
}

#[test]
fn the_client_s_directory_can_be_named() {
    let folder = Folder::new();
    folder.write_client("elsewhere");
    let server = Sedge::start_in(folder, &["--client-dir", "elsewhere"]);
    let mut http = RawHttp::connect(server.address);
    assert!(http.get("/").text().contains("/chat.js"));
    assert_eq!(http.get("/socket.io/socket.io.js").status, 200);
}

#[test]
fn without_the_demo_there_is_no_page() {
    let server = Sedge::start(&["--no-demo"]);
    let mut http = RawHttp::connect(server.address);
    for path in ["/", "/chat.js", "/style.css"] {
        assert_eq!(http.get(path).status, 404, "{path}");
    }
    assert_eq!(http.get("/health").status, 200);
}
