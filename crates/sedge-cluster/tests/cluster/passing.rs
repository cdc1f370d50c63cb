//! Where connections come in, and how workers pass them on among themselves.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;

use rustix::process::Signal;
use sedge_testkit::{RawHttp, eventually, free_ports};

use super::host::{PATIENCE, index_of, plan, target};

#[test]
fn a_worker_passes_a_connection_on_with_what_it_has_read() {
    let host = plan(2).serve();
    // Kept alive, each request goes to another worker than the one before.
    let mut connection = host.connect();
    for to in [1, 0, 1, 1, 0] {
        let body = connection.get(&format!("/pass?{to}"));
        assert_eq!(index_of(body.text()), to);
    }
    // Pipelined, and too long for one message.
    let filler = "z".repeat(100_000);
    let mut connection = host.connect();
    let request = |to: u8| format!("GET /pass?{to} HTTP/1.1\r\nfiller: {filler}\r\n\r\n");
    connection.send_bytes((request(0) + &request(1) + &request(0)).as_bytes());
    for to in [0, 1, 0] {
        assert_eq!(index_of(connection.receive().text()), to);
    }
}

#[test]
fn a_connection_for_a_worker_that_is_not_there_is_answered_by_whoever_has_it() {
    let host = plan(2).serve();
    let response = host.connect().get(&format!("{}&", target("/pass?9", 0)));
    // A worker that does not exist.
    assert_eq!((response.status, response.header("why")), (502, Some("it is not there")));
}

#[test]
fn a_successor_takes_what_siblings_pass() {
    let host = plan(2).serve();
    let mut connection = host.connect();
    assert_eq!(index_of(connection.get("/pass?1").text()), 1);
    let old = host.signal_worker(1, Signal::KILL);
    host.wait_for("a successor", |status| {
        let worker = &status.workers[1];
        worker.pid.is_some_and(|pid| pid != old) && worker.state.name() == "ready"
    });
    let mut connection = host.connect();
    assert_eq!(index_of(connection.get(&target("/who", 0)).text()), 0);
    assert_eq!(index_of(connection.get("/pass?1").text()), 1);
}

#[test]
fn it_listens_in_several_places() {
    let socket = std::env::temp_dir().join(format!("sedge-it-{}.sock", std::process::id()));
    let listen = format!("127.0.0.1:0 [::1]:0 unix:{}", socket.display());
    let mut host = plan(2).set("LISTEN", listen).serve();
    assert_eq!(host.addresses.len(), 3);
    let six: SocketAddr = host.addresses[1].parse().unwrap();
    let about = RawHttp::connect(six).get("/about");
    assert!(about.text().starts_with("Some([::1]:"), "{}", about.text());
    assert!(about.text().ends_with(" false 1"), "{}", about.text());
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.write_all(b"GET /about HTTP/1.1\r\n\r\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("None false 2"), "{answer}");
    // Also there, sessions find their worker, and are passed on.
    let mut stream = UnixStream::connect(&socket).unwrap();
    write!(stream, "GET {} HTTP/1.1\r\n\r\n", target("/who", 1)).unwrap();
    stream.write_all(b"GET /pass?0 HTTP/1.1\r\n\r\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let indices: Vec<_> = answer.split("\r\n\r\n").skip(1).map(|body| &body[..1]).collect();
    assert_eq!(indices, ["1", "0"], "{answer}");
    // In the end, its file goes.
    host.signal(Signal::TERM);
    assert_eq!(host.ended().code(), Some(0), "{}", host.log());
    assert!(!socket.exists());
}

#[test]
fn a_service_manager_can_have_opened_the_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let script = r#"exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@""#;
    let host = plan(2)
        .set("LISTEN", "")
        .set("ACTIVATION", 1)
        .through_shell(script)
        .stdin(std::os::fd::OwnedFd::from(listener))
        .serve();
    assert_eq!(host.addresses, [address.to_string()]);
    assert_eq!(index_of(&host.get(&target("/who", 1))), 1);
    // Workers do not hold it.
    let worker = host.worker(0).pid.unwrap();
    let links = std::fs::read_dir(format!("/proc/{worker}/fd")).unwrap().flatten();
    let own = |pid: u32, fd: &str| std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap();
    let held = own(host.supervisor.id(), "3");
    assert!(links.flat_map(|entry| std::fs::read_link(entry.path())).all(|to| to != held));
}

#[test]
fn each_worker_can_have_a_port_of_its_own() {
    let base = SocketAddr::from(([127, 0, 0, 1], free_ports(2)));
    let host = plan(2).set("LISTEN", "").set("PORT_PER_WORKER", base).serve();
    for index in 0..2 {
        let mut address = base;
        address.set_port(base.port() + index);
        assert_eq!(index_of(RawHttp::connect(address).get("/who").text()), usize::from(index));
        // Behind a balancer that does not know sessions, the wrong worker passes on.
        let other = 1 - index;
        let body = RawHttp::connect(address).get(&format!("/pass?{other}"));
        assert_eq!(index_of(body.text()), usize::from(other));
    }
    host.signal_worker(1, Signal::KILL);
    let mut second = base;
    second.set_port(base.port() + 1);
    assert!(eventually(PATIENCE, || std::net::TcpStream::connect(second).is_ok()));
}
