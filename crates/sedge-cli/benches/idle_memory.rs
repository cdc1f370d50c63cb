//! What an idle client costs in memory: bytes of the server's process for each client, by kind.
//!
//!     cargo bench -p sedge-cli --bench idle_memory
//!     cargo bench -p sedge-cli --bench idle_memory -- --clients 8000 --only polling
//!     cargo bench -p sedge-cli --bench idle_memory -- --program path/to/another/sedge
//!
//! Polling clients differ in what they leave behind on their connections, so there are several kinds of
//! them: Node's client opens a connection for each request and says `Connection: close`, browsers keep one
//! for the POSTs, of which head and body may arrive apart.
//!
//! Each kind gets a server of its own (`sedge serve`, one shard). Some hundred clients connect first, so
//! that what is there once for all of them does not count; then the process's PSS is read before and
//! after the others. What the kernel holds for a connection is not in it. Linux only.

use std::any::Any;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sedge_testkit::{Frame, HttpResponse, RawHttp, RawWs};

/// Clients that are there before the first look.
const FIRST: usize = 300;
/// Memory counts as settled when it did not change for so long.
const QUIET: Duration = Duration::from_millis(300);
/// It is taken as it is after so long.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between the two parts of a request, so that the server sees them one by one.
const APART: Duration = Duration::from_millis(1);
/// Nobody is woken by a heartbeat while memory is measured.
const SERVE: [&str; 13] = [
    "serve",
    "--listen=127.0.0.1:0",
    "--shards=1",
    "--no-demo",
    "--allow-eio3",
    "--ping-interval=10m",
    "--ping-timeout=10m",
    "--head-timeout=10m",
    "--keep-alive-timeout=10m",
    "--log-level=error",
    "--connect-timeout=10m",
    "--http-compression=off",
    "--per-message-deflate=off",
];

/// A client that stays connected until it is dropped.
type Client = Box<dyn Any>;

/// A kind of client: its name, and how one gets there.
type Kind = (&'static str, fn(SocketAddr) -> Client);

const KINDS: [Kind; 10] = [
    ("WebSocket", |at| Box::new(websocket(at))),
    ("upgraded", |at| Box::new(upgraded(at))),
    ("polling, a poll waits", |at| Box::new(waiting(at, "4"))),
    ("polling, a poll waits (EIO 3)", |at| Box::new(waiting(at, "3"))),
    ("polling, a poll waits (Node)", |at| Box::new(node(at))),
    ("polling, a poll waits (browser)", |at| Box::new(browser(at))),
    ("polling, between two polls", |at| Box::new(polling(at, "4").0)),
    ("connection after another path", |at| Box::new(other_path(at))),
    ("connection of a closed session", |at| Box::new(without_session(at))),
    ("connection without a request", |at| Box::new(RawHttp::connect(at))),
];

#[expect(clippy::print_stdout, reason = "the table is what it is for")]
fn main() {
    // Under `cargo test` a few are enough to see that it works.
    let mut clients = if std::env::args().any(|arg| arg == "--bench") { 3000 } else { 20 };
    let mut program = env!("CARGO_BIN_EXE_sedge").to_owned();
    let mut only = String::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
        match &*arg {
            "--clients" => clients = value().parse().expect("a number"),
            "--program" => program = value(),
            "--only" => only = value(),
            "--bench" => {}
            _ => panic!("it takes --clients, --program and --only, not {arg}"),
        }
    }
    let clients = raise_descriptors(clients);
    println!("{:32} {:>14} {:>12}", "kind of client", "bytes each", "in all, KiB");
    for (name, connect) in KINDS.iter().filter(|(name, _)| name.contains(&only)) {
        let kib = measure(&program, clients, *connect);
        let each = kib * 1024 / i64::try_from(clients).expect("a small number");
        println!("{name:32} {each:>14} {kib:>12}");
    }
}

/// Lets this process and its children open as many files as they may; returns how many of the wanted
/// clients there can be. Each costs up to four descriptors here, and two there.
fn raise_descriptors(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let most = getrlimit(Resource::Nofile).current.map_or(wanted, |most| most as usize);
    let possible = (most / 4).saturating_sub(FIRST + 100).min(wanted);
    if possible < wanted {
        eprintln!("only {possible} clients: {most} files may be open");
    }
    possible.max(1)
}

/// KiB that so many clients add.
fn measure(program: &str, clients: usize, connect: fn(SocketAddr) -> Client) -> i64 {
    let (server, address) = Server::start(program);
    let connect_all = |count| (0..count).map(|_| connect(address)).collect::<Vec<_>>();
    let _first = connect_all(FIRST);
    let before = server.settled_pss();
    let _others = connect_all(clients);
    server.settled_pss() - before
}

struct Server(Child);

impl Server {
    fn start(program: &str) -> (Server, SocketAddr) {
        let mut command = Command::new(program);
        command.args(SERVE).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut server = Server(command.spawn().expect("the program starts"));
        let mut line = String::new();
        let output = server.0.stdout.as_mut().expect("a pipe");
        BufReader::new(output).read_line(&mut line).expect("a line");
        let address = line.trim_end().strip_prefix("listening on http://").expect("its address");
        let address = address.parse().expect("an address");
        (server, address)
    }

    /// The process's share of memory in KiB, once it no longer changes.
    fn settled_pss(&self) -> i64 {
        let begin = Instant::now();
        let mut last = self.pss();
        let mut since = Instant::now();
        while since.elapsed() < QUIET && begin.elapsed() < PATIENCE {
            std::thread::sleep(QUIET / 10);
            let now = self.pss();
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
        last
    }

    fn pss(&self) -> i64 {
        let path = format!("/proc/{}/smaps_rollup", self.0.id());
        let text = fs::read_to_string(path).expect("the process runs, on Linux");
        let value = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        let kib = value.and_then(|value| value.split_whitespace().next());
        kib.and_then(|kib| kib.parse().ok()).expect("a line of PSS")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn websocket(at: SocketAddr) -> RawWs {
    let mut ws = RawWs::connect(at, "/socket.io/?EIO=4&transport=websocket");
    assert!(matches!(ws.receive(), Frame::Text(open) if open.starts_with('0')));
    ws.send("40");
    assert!(matches!(ws.receive(), Frame::Text(answer) if answer.starts_with("40")));
    ws
}

/// The session that an answer opens.
fn sid(open: &HttpResponse) -> &str {
    open.text().split('"').nth(3).expect("OPEN names the session first")
}

/// A session on polling that has joined the root namespace, on a connection without a request; and
/// its target.
fn polling(at: SocketAddr, version: &str) -> (RawHttp, String) {
    let mut http = RawHttp::connect(at);
    let target = format!("/socket.io/?EIO={version}&transport=polling");
    let open = http.get(&target);
    let target = format!("{target}&sid={}", sid(&open));
    if version == "4" {
        http.post(&target, "40").expect(200, "ok");
    }
    // With version 3 the CONNECT may have been in the first answer.
    if version == "4" || !open.text().contains("40") {
        assert!(http.get(&target).text().contains("40"));
    }
    (http, target)
}

fn waiting(at: SocketAddr, version: &str) -> RawHttp {
    let (mut http, target) = polling(at, version);
    http.send("GET", &target, &[], b"");
    http
}

/// Every request on a connection of its own, which ends with the answer.
fn node(at: SocketAddr) -> RawHttp {
    const CLOSE: (&str, &str) = ("Connection", "close");
    const LINES: [(&str, &str); 3] =
        [("User-Agent", "node-XMLHttpRequest"), ("Accept", "*/*"), CLOSE];
    let target = "/socket.io/?EIO=4&transport=polling";
    let open = RawHttp::connect(at).request("GET", target, &LINES, b"");
    let target = format!("{target}&sid={}", sid(&open));
    RawHttp::connect(at).request("POST", &target, &LINES, b"40").expect(200, "ok");
    let answer = RawHttp::connect(at).request("GET", &target, &LINES, b"");
    assert!(answer.text().starts_with("40"));
    let mut http = RawHttp::connect(at);
    http.send("GET", &target, &LINES, b"");
    http
}

/// A connection for each direction; on the second one, a POST has arrived in two pieces.
fn browser(at: SocketAddr) -> (RawHttp, RawHttp) {
    let (mut get, mut post) = (RawHttp::connect(at), RawHttp::connect(at));
    let target = "/socket.io/?EIO=4&transport=polling";
    let open = get.get(target);
    let target = format!("{target}&sid={}", sid(&open));
    let head = format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n");
    post.send_bytes(head.as_bytes());
    std::thread::sleep(APART);
    post.send_bytes(b"40");
    post.receive().expect(200, "ok");
    assert!(get.get(&target).text().starts_with("40"));
    get.send("GET", &target, &[], b"");
    (get, post)
}

fn upgraded(at: SocketAddr) -> RawWs {
    let (_http, target) = polling(at, "4");
    let mut ws = RawWs::connect(at, &target.replace("polling", "websocket"));
    ws.send("2probe");
    ws.expect_text("3probe");
    ws.send("5");
    // What comes behind the change shows that it is done.
    ws.send("41");
    ws.send("40");
    assert!(matches!(ws.receive(), Frame::Text(answer) if answer.starts_with("40")));
    ws
}

/// What a balancer's check or a page's files leave behind.
fn other_path(at: SocketAddr) -> RawHttp {
    let mut http = RawHttp::connect(at);
    assert_eq!(http.get("/health").status, 200);
    http
}

fn without_session(at: SocketAddr) -> RawHttp {
    let (mut http, target) = polling(at, "4");
    http.post(&target, "1").expect(200, "ok");
    http
}
