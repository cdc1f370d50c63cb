//! The end of the program: signals, health while draining, what clients see, exit codes.

mod common;

use std::net::{SocketAddr, TcpStream};

use common::Sedge;
use rustix::process::Signal;
use sedge_testkit::{DEADLINE, RawHttp, SioClient, eventually};

/// The polling requests that wait, over all shards.
fn polls_waiting(address: SocketAddr) -> u64 {
    let response = RawHttp::connect(address).get("/metrics");
    let samples = response.text().lines().filter(|line| line.starts_with("sedge_polls_waiting{"));
    samples.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[test]
fn a_signal_closes_clients_in_order_and_ends_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let server = Sedge::start(&[]);
        let address = server.address;
        let (mut client, _) = SioClient::connect(address);
        // The demo says who serves; then nothing more comes.
        assert!(client.receive().starts_with("2[\"server\""));
        let mut polling = RawHttp::connect(address);
        let open = polling.get("/socket.io/?EIO=4&transport=polling");
        let sid = open.text().split('"').nth(3).expect("a session id").to_owned();
        polling.send("GET", &format!("/socket.io/?EIO=4&transport=polling&sid={sid}"), &[], b"");

        assert!(eventually(DEADLINE, || polls_waiting(address) == 1));

        server.signal(signal);
        // The transport closes: no DISCONNECT packet, after which clients would stay away.
        client.expect_end();
        assert_eq!(polling.receive().text(), "1");
        let end = server.wait();
        assert_eq!(end.code, Some(0), "{}", end.log);
        assert!(end.log.contains("server shutting down"), "{}", end.log);
        assert!(end.log.contains("all connections are closed"), "{}", end.log);
        assert!(TcpStream::connect(address).is_err());
    }
}

#[test]
fn health_says_503_while_it_drains_and_a_second_signal_ends_it_at_once() {
    let server = Sedge::start(&["--drain-delay", "1h"]);
    let mut http = RawHttp::connect(server.address);
    assert_eq!(http.get("/health").status, 200);
    server.signal(Signal::TERM);
    assert!(eventually(DEADLINE, || http.get("/health").status == 503));
    assert_eq!(http.get("/health").text(), "{\"status\":\"draining\"}\n");
    // It goes on serving meanwhile.
    let (mut client, _) = SioClient::connect(server.address);
    assert!(client.receive().starts_with("2[\"server\""));

    server.signal(Signal::INT);
    let end = server.wait();
    assert_eq!(end.code, Some(128 + 2), "{}", end.log);
    client.expect_end();
}

#[test]
fn a_client_that_does_not_let_go_is_cut_off_at_the_deadline() {
    let server = Sedge::start(&["--drain-deadline", "300ms"]);
    // It reads nothing, so it never answers that the connection is to be closed.
    let (_client, _) = SioClient::connect(server.address);
    server.signal(Signal::TERM);
    let end = server.wait();
    assert_eq!(end.code, Some(1), "{}", end.log);
    assert!(end.log.contains("the deadline passed"), "{}", end.log);
}

#[test]
fn the_port_is_free_at_once_after_a_kill() {
    let server = Sedge::start(&[]);
    let address = server.address.to_string();
    let (_client, _) = SioClient::connect(server.address);
    server.signal(Signal::KILL);
    assert_eq!(server.wait().code, None);
    let folder = common::Folder::new();
    let mut command = common::sedge(&folder);
    command.args(["serve", "--listen", &address]);
    let again = Sedge::run(command, folder);
    assert_eq!(again.address.to_string(), address);
}
