//! Connections that wait for a worker that hangs or ends: nobody is left without an answer.

use std::net::{Ipv4Addr, SocketAddr};

use rustix::process::{Signal, kill_process};
use sedge_cluster::WorkerState;
use sedge_testkit::{RawHttp, eventually, free_ports};

use super::host::{Host, PATIENCE, index_of, is_alive, plan, process, target};

/// Connections with a request for a worker's session under way, all of them passed.
fn asking(host: &Host, worker: u8, count: u64) -> Vec<RawHttp> {
    let before = host.status().passed;
    let connections = (0..count)
        .map(|_| {
            let mut connection = host.connect();
            connection.send("GET", &target("/who", worker), &[], b"");
            connection
        })
        .collect();
    host.wait_for("passed", |status| status.passed == before + count);
    connections
}

#[test]
fn what_a_worker_has_not_taken_when_it_is_killed_is_served_by_others() {
    let host = plan(3).set("MISSED", 100_000).serve();
    let before = host.descriptors();
    let old = [1, 2].map(|index| host.signal_worker(index, Signal::STOP));
    // They are in the sockets of the two, and nobody will read them.
    let mut waiting = asking(&host, 1, 40);
    waiting.extend(asking(&host, 2, 40));
    for pid in old {
        kill_process(process(pid), Signal::KILL).unwrap();
    }
    for mut connection in waiting {
        assert_eq!(connection.receive().status, 200);
    }
    for (index, pid) in [1, 2].into_iter().zip(old) {
        host.wait_for_successor(index, pid);
    }
    // Nothing is left over of it.
    assert_eq!(host.status().refused, 0);
    assert!(eventually(PATIENCE, || host.descriptors() == before), "{}", host.descriptors());
    host.wait_for("no connections", |status| status.workers.iter().all(|w| w.connections == 0));
}

#[test]
fn a_proxys_address_stays_when_the_worker_that_was_to_take_it_is_killed() {
    let host = plan(2).set("PROXY", 1).set("MISSED", 100_000).serve();
    // One that no proxy is, and one of those who are trusted to send such a header themselves.
    for client in ["192.0.2.7", "127.0.0.9"] {
        let old = host.signal_worker(1, Signal::STOP);
        let before = host.status().passed;
        let mut connection = host.connect();
        let head = format!("GET {} HTTP/1.1\r\n\r\n", target("/about", 1));
        let header = format!("PROXY TCP4 {client} 10.0.0.1 5555 80\r\n");
        connection.send_bytes((header + &head).as_bytes());
        host.wait_for("passed", |status| status.passed == before + 1);
        kill_process(process(old), Signal::KILL).unwrap();
        connection.receive().expect(200, &format!("Some({client}:0) false 0"));
        host.wait_for_successor(1, old);
    }
}

#[test]
fn workers_that_do_not_answer_are_better_than_none() {
    let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, free_ports(1)));
    let host = plan(2).set("ADMIN", admin).set("MISSED", 100_000).serve();
    for index in 0..2 {
        host.signal_worker(index, Signal::STOP);
    }
    host.wait_for("both suspected", |status| {
        status.workers.iter().all(|worker| worker.state == WorkerState::Suspect)
    });
    // Clients wait instead of being sent away, and balancers are not told to leave.
    let mut waiting = host.connect();
    waiting.send("GET", "/who", &[], b"");
    host.wait_for("passed", |status| status.passed == 1);
    assert_eq!(RawHttp::connect(admin).get("/health").status, 200);
    // One that answers again is preferred from then on.
    host.signal_worker(1, Signal::CONT);
    host.wait_for_state(1, WorkerState::Ready);
    for _ in 0..4 {
        assert_eq!(index_of(&host.get("/who")), 1);
    }
    host.signal_worker(0, Signal::CONT);
    assert_eq!(waiting.receive().status, 200);
    assert_eq!(host.status().refused, 0);
}

#[test]
fn a_sibling_that_is_killed_before_it_has_taken_a_connection_gives_it_back() {
    let base = SocketAddr::from((Ipv4Addr::LOCALHOST, free_ports(2)));
    let host =
        plan(2).set("LISTEN", "").set("PORT_PER_WORKER", base).set("MISSED", 100_000).serve();
    // The link is there already when the sibling stops.
    assert_eq!(index_of(RawHttp::connect(base).get("/pass?1").text()), 1);
    let old = host.signal_worker(1, Signal::STOP);
    let mut kept = RawHttp::connect(base);
    let mut waiting: Vec<_> = (0..20).map(|_| RawHttp::connect(base)).collect();
    for connection in &mut waiting {
        connection.send("GET", "/pass?1", &[], b"");
    }
    // Those that came before it have been read by now.
    assert_eq!(index_of(kept.get("/who").text()), 0);
    kill_process(process(old), Signal::KILL).unwrap();
    for mut connection in waiting {
        let response = connection.receive();
        // If the successor was quick, it has taken it.
        let gone = (response.status, response.header("why")) == (502, Some("it is not there"));
        assert!(gone || index_of(response.text()) == 1, "{response:?}");
    }
    host.wait_for_successor(1, old);
    assert_eq!(index_of(kept.get("/pass?1").text()), 1);
}

/// It answers no heartbeat at that moment, and still has to notice that nobody asks any more.
#[test]
fn a_supervisor_that_is_killed_while_a_worker_is_stopped_leaves_an_orphan_that_ends() {
    let mut host = plan(1).set("MISSED", 100_000).set("ORPHAN", 300).set("DRAIN", 200).serve();
    let mut kept = host.connect();
    assert_eq!(kept.get("/stuck?400").status, 200);
    host.wait_for_state(0, WorkerState::Suspect);
    let worker = host.signal_worker(0, Signal::STOP);
    host.supervisor.kill().unwrap();
    host.supervisor.wait().unwrap();
    kill_process(process(worker), Signal::CONT).unwrap();
    assert!(eventually(PATIENCE, || !is_alive(worker)), "{}", host.log());
    assert!(kept.ends_within(PATIENCE));
}
