//! What the program answers over HTTP: health, metrics, the page and its files.

mod common;

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{Folder, Sedge};
use rustix::process::Signal;
use sedge_testkit::{DEADLINE, RawHttp, RawWs, SioClient, eventually, free_ports};

/// Processes have to start on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(30);

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
    let methods = Some("GET, HEAD, OPTIONS");
    assert_eq!((refused.status, refused.header("allow")), (405, methods));
}

/// Sends a request as written and returns the whole answer.
fn raw(server: &Sedge, request: &str) -> String {
    let mut stream = TcpStream::connect(server.address).expect("the server accepts");
    stream.set_read_timeout(Some(DEADLINE)).expect("a socket option");
    stream.write_all(request.as_bytes()).expect("the server reads");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("an answer and its end");
    response
}

/// HAProxy's check, unless it is told otherwise, and those of its kind.
#[test]
fn a_balancer_may_ask_by_options() {
    for flags in [&[][..], &["--no-demo"]] {
        let server = Sedge::start(flags);
        for target in ["/", "*", "/health", "/metrics"] {
            let response = raw(&server, &format!("OPTIONS {target} HTTP/1.0\r\n\r\n"));
            assert!(response.starts_with("HTTP/1.0 204 No Content\r\n"), "{target}: {response}");
            let head = response.to_ascii_lowercase();
            assert!(head.contains("\r\nallow: get, head, options\r\n"), "{target}: {response}");
            assert!(response.ends_with("\r\n\r\n"), "{target}: {response}");
        }
        for method in ["GET", "HEAD"] {
            let response = raw(&server, &format!("{method} /health HTTP/1.0\r\n\r\n"));
            assert!(response.starts_with("HTTP/1.0 200 OK\r\n"), "{method}: {response}");
        }
        let response = raw(&server, "OPTIONS /nothing HTTP/1.0\r\n\r\n");
        assert!(response.starts_with("HTTP/1.0 404 Not Found\r\n"), "{response}");
    }
}

#[test]
fn a_balancer_that_asks_by_options_sees_the_end_coming() {
    let server = Sedge::start(&["--drain-delay", "1m"]);
    server.signal(Signal::TERM);
    let leaving = || raw(&server, "OPTIONS / HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 503 ");
    assert!(eventually(DEADLINE, leaving));
}

/// HAProxy in a folder; dropping it ends it.
struct HaProxy {
    process: Child,
    folder: Folder,
}

impl HaProxy {
    /// One server, checked as HAProxy does unless it is told otherwise. `None` if there is no HAProxy here.
    fn start(server: SocketAddr) -> Option<HaProxy> {
        let folder = Folder::new();
        let (port, place) = (free_ports(1), folder.path().display().to_string());
        let configuration = format!(
            "global\n stats socket {place}/stats.sock\n\
             defaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n\
             listen front\n bind 127.0.0.1:{port}\n option httpchk\n\
             server only {server} check inter 50ms rise 1 fall 1\n"
        );
        let file = folder.write("haproxy.cfg", &configuration);
        // Debian has it where only root's path leads.
        let process = ["haproxy", "/usr/sbin/haproxy"].into_iter().find_map(|program| {
            let mut command = Command::new(program);
            command.args(["-db", "-f", &file]).stdout(Stdio::null()).stderr(Stdio::null());
            match command.spawn() {
                Ok(process) => Some(process),
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                Err(error) => panic!("{program}: {error}"),
            }
        })?;
        Some(HaProxy { process, folder })
    }

    /// Whether the last check of the server ended in this way.
    fn has_seen(&self, outcome: &str) -> bool {
        let Ok(mut stream) = UnixStream::connect(self.folder.path().join("stats.sock")) else {
            return false;
        };
        let mut text = String::new();
        let asked =
            stream.write_all(b"show stat\n").and_then(|()| stream.read_to_string(&mut text));
        asked.is_ok() && text.lines().any(|l| l.starts_with("front,only,") && l.contains(outcome))
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn haproxy_finds_it_up_and_then_draining() {
    let server = Sedge::start(&["--drain-delay", "1m"]);
    let Some(haproxy) = HaProxy::start(server.address) else {
        eprintln!("skipped: there is no HAProxy here");
        return;
    };
    assert!(eventually(PATIENCE, || haproxy.has_seen(",L7OK,204,")));
    server.signal(Signal::TERM);
    assert!(eventually(PATIENCE, || haproxy.has_seen(",L7STS,503,")));
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
    assert!(response.contains("Content-Length: 16\r\n"), "{response}");
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

/// nginx speaks HTTP/1.0 to servers unless it is told otherwise, and whoever set it up should know.
#[test]
fn a_websocket_in_http_1_0_is_served_with_a_warning() {
    let server = Sedge::start(&[]);
    let lines: Vec<_> =
        RawWs::handshake().iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let lines = lines.concat();
    let mut http = RawHttp::connect(server.address);
    let target = "/socket.io/?EIO=4&transport=websocket";
    http.send_bytes(format!("GET {target} HTTP/1.0\r\nhost: x\r\n{lines}\r\n").as_bytes());
    let head = http.stream().read_until(b"\r\n\r\n").expect("an answer");
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    drop(http);
    server.signal(Signal::TERM);
    let log = server.wait().log;
    assert!(log.contains("proxy_http_version 1.1"), "{log}");
}

#[test]
fn without_the_client_the_page_says_what_to_do() {
    let server = Sedge::start(&[]);
    let response = RawHttp::connect(server.address).get("/");
    assert_eq!(response.status, 200);
    assert!(response.text().contains("npm install socket.io-client"));
    assert!(response.text().contains("--client-dir"));
    assert!(response.header("content-security-policy").is_some());
    server.signal(Signal::TERM);
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
