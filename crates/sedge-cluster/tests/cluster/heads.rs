//! Heads of requests: in pieces, slow, several at once, none at all.

use std::net::SocketAddr;
use std::time::Duration;

use sedge_cluster::{WorkerState, control};
use sedge_protocol::sid::{Owner, SidCodec};
use sedge_testkit::{RawHttp, eventually};

use super::host::{PATIENCE, index_of, plan, sid, target};
use super::subject::FORMER;

#[test]
fn a_session_finds_its_worker_and_new_ones_are_spread() {
    let host = plan(3).serve();
    for worker in [0, 2, 1, 1, 0, 2] {
        assert_eq!(index_of(&host.get(&target("/who", worker))), usize::from(worker));
    }
    let mut counts = [0; 3];
    for _ in 0..9 {
        counts[index_of(&host.get("/who"))] += 1;
    }
    assert_eq!(counts, [3; 3]);
    // Ids made under the former secret are known still.
    let owner = Owner { node: 0, worker: 2, shard: 9 };
    let former = SidCodec::new(FORMER).encode(owner, [1; 8]);
    assert_eq!(index_of(&host.get(&format!("/who?sid={former}"))), 2);
    // Foreign and forged ids are nobody's, and reach somebody all the same.
    host.get("/who?sid=abcdefghij0123456789");
    host.get(&format!("/who?sid=A{}", &sid(1)[1..]));
}

#[test]
fn a_head_may_be_split_anywhere() {
    let host = plan(2).serve();
    let head = format!("GET {} HTTP/1.1\r\nhost: a\r\n\r\n", target("/who", 1));
    let mut waiting = Vec::new();
    for at in 1..head.len() {
        let mut connection = host.connect();
        connection.send_bytes(&head.as_bytes()[..at]);
        waiting.push((at, connection));
    }
    host.wait_for("all undecided", |status| status.undecided == head.len() as u64 - 1);
    for (at, mut connection) in waiting {
        connection.send_bytes(&head.as_bytes()[at..]);
        let response = connection.receive();
        assert_eq!((response.status, index_of(response.text())), (200, 1), "split at {at}");
    }
}

#[test]
fn a_head_may_come_byte_by_byte_and_nobody_is_busy_meanwhile() {
    let host = plan(2).serve();
    let head = format!("GET {} HTTP/1.1\r\nhost: a\r\n\r\n", target("/length", 1));
    let mut connection = host.connect();
    let mut idle = host.connect();
    idle.send_bytes(&head.as_bytes()[..20]);
    for byte in head.as_bytes() {
        connection.send_bytes(std::slice::from_ref(byte));
    }
    connection.receive().expect(200, &format!("{} 0", head.len()));
    // A partial head in the socket must not keep the supervisor's processor busy.
    let before = cpu_ticks(host.supervisor.id());
    std::thread::sleep(Duration::from_millis(300));
    assert!(cpu_ticks(host.supervisor.id()) - before <= 6);
    idle.send_bytes(&head.as_bytes()[20..]);
    idle.receive().expect(200, &format!("{} 0", head.len()));
}

fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    rest.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}

#[test]
fn what_follows_a_head_is_left_to_the_worker() {
    let host = plan(2).serve();
    let one = format!("GET {} HTTP/1.1\r\n\r\n", target("/who", 1));
    let mut connection = host.connect();
    connection.send_bytes(one.repeat(5).as_bytes());
    for _ in 0..5 {
        assert_eq!(index_of(connection.receive().text()), 1);
    }
}

#[test]
fn a_head_that_is_too_long_is_left_to_a_worker() {
    let host = plan(2).serve();
    let mut connection = host.connect();
    let head = format!("GET /length HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(40_000));
    connection.send_bytes(head.as_bytes());
    connection.receive().expect(200, &format!("{} 0", head.len()));
}

#[test]
fn whoever_sends_nothing_or_not_enough_is_closed_at_the_deadline() {
    let host = plan(1).set("HEAD_TIMEOUT", 300).serve();
    let mut silent = host.connect();
    let mut slow = host.connect();
    slow.send_bytes(b"GET /who HT");
    let mut gone = host.connect();
    gone.send_bytes(b"GET /who HT");
    gone.stream().finish_sending();
    assert!(gone.ends_within(Duration::from_millis(250)), "its end cannot bring more");
    assert!(silent.ends_within(PATIENCE));
    assert!(slow.ends_within(PATIENCE));
    host.wait_for("none undecided", |status| status.undecided == 0 && status.refused == 2);
}

#[test]
fn a_flood_of_silent_connections_keeps_nobody_out() {
    let host = plan(2).set("UNDECIDED", 20).serve();
    let mut silent: Vec<_> = (0..100).map(|_| host.connect()).collect();
    host.wait_for("twenty left", |status| status.undecided == 20 && status.refused == 80);
    assert_eq!(index_of(&host.get(&target("/who", 1))), 1);
    // The oldest were closed, the youngest can still speak.
    assert!(silent[0].ends_within(PATIENCE));
    let response = silent.pop().unwrap().get("/who");
    assert_eq!(response.status, 200);
}

#[test]
fn connections_wait_for_the_first_worker_and_no_longer_than_allowed() {
    let host = plan(1).set("LISTEN", "127.0.0.1:0").set("START_DELAY", 700).start();
    let listening = || control::status(&host.run_dir).is_ok();
    assert!(eventually(PATIENCE, listening), "{}", host.log());
    let address: SocketAddr = host.status().listening[0].parse().unwrap();
    let mut early = RawHttp::connect(address);
    assert_eq!(host.worker(0).state, WorkerState::Starting);
    assert_eq!(early.get("/who").status, 200);

    let host = plan(1).set("HANG_AT_START", 0).set("START_PATIENCE", 200).start();
    let listening = || control::status(&host.run_dir).is_ok();
    assert!(eventually(PATIENCE, listening), "{}", host.log());
    let address: SocketAddr = host.status().listening[0].parse().unwrap();
    let response = RawHttp::connect(address).get("/who");
    assert_eq!((response.status, response.header("retry-after")), (503, Some("2")));
    assert_eq!(response.header("connection"), Some("close"));
    assert_eq!(response.header("access-control-allow-origin"), None);
    // Scripts of other origins are told as well.
    let lines = [("origin", "http://example.com:81")];
    let response = RawHttp::connect(address).request("GET", "/who", &lines, b"");
    assert_eq!(response.status, 503);
    let allowed = response.header("access-control-allow-origin");
    assert_eq!(allowed, Some("http://example.com:81"));
    // TLS cannot be answered.
    let mut tls = RawHttp::connect(address);
    tls.send_bytes(&[22, 3, 1, 0, 200, 1]);
    assert!(tls.ends_within(PATIENCE));
}

#[test]
fn tls_is_routed_without_a_head() {
    let host = plan(2).serve();
    let mut connection = host.connect();
    connection.send_bytes(&[22, 3, 1, 0, 200, 1]);
    host.wait_for("passed", |status| status.passed == 1 && status.undecided == 0);
}

#[test]
fn a_proxy_header_is_taken_off_and_its_address_told() {
    let host = plan(2).set("PROXY", 1).serve();
    let mut connection = host.connect();
    let head = format!("GET {} HTTP/1.1\r\n\r\n", target("/about", 1));
    connection.send_bytes(format!("PROXY TCP4 192.0.2.7 10.0.0.1 5555 80\r\n{head}").as_bytes());
    connection.receive().expect(200, "Some(192.0.2.7:0) false 0");
    let mut without = host.connect();
    without.send_bytes(head.as_bytes());
    assert!(without.ends_within(PATIENCE));
}
