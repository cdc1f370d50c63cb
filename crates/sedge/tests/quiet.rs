//! What clients can cause again and again is logged rarely. Alone in its program: the log is the process's.

use std::io::Read as _;
use std::net::TcpStream;

use sedge::Server;
use sedge_testkit::{DEADLINE, MemoryLog, RawHttp};

#[test]
fn a_flood_of_refused_connections_is_one_line() {
    let log = MemoryLog::default();
    let writer = log.clone();
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let io = Server::builder().shards(1).connections_max(1).build().expect("a server");
    let listening = runtime.block_on(io.listen("127.0.0.1:0".parse().expect("an address")));
    let address = listening.expect("a free port").local_addr();
    let mut only = RawHttp::connect(address);
    only.get("/socket.io/?EIO=4&transport=polling");
    for _ in 0..40 {
        let mut refused = TcpStream::connect(address).expect("the kernel accepts");
        refused.set_read_timeout(Some(DEADLINE)).expect("a socket option");
        // Closed without an answer, in order or by a reset.
        if let Ok(len) = refused.read(&mut [0; 64]) {
            assert_eq!(len, 0);
        }
    }
    let text = log.text();
    let lines: Vec<&str> =
        text.lines().filter(|line| line.contains("connection refused")).collect();
    assert_eq!(lines.len(), 1, "{text}");
}
