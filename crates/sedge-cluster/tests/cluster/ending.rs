//! Draining, stopping, and being stopped while at work.

use std::io::Read as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sedge_cluster::{ClusterState, WorkerState, control};
use sedge_testkit::eventually;

use super::host::{PATIENCE, index_of, is_alive, plan, target};

fn pids(host: &super::host::Host) -> Vec<u32> {
    host.status().workers.iter().filter_map(|worker| worker.pid).collect()
}

#[test]
fn a_signal_ends_everything_in_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut host = plan(2).set("DRAIN_DELAY", 300).serve();
        let workers = pids(&host);
        host.signal(signal);
        host.wait_for("draining", |status| status.state == ClusterState::Draining);
        // It still serves while balancers take notice.
        assert_eq!(index_of(&host.get(&target("/who", 1))), 1);
        assert_eq!(host.ended().code(), Some(0), "{}", host.log());
        assert!(workers.into_iter().all(|pid| !is_alive(pid)));
        assert!(TcpStream::connect(host.address()).is_err());
        let left = std::fs::read_dir(&host.run_dir).unwrap().flatten().map(|e| e.file_name());
        assert_eq!(left.collect::<Vec<_>>(), ["supervisor.lock"]);
    }
}

#[test]
fn workers_that_do_not_end_in_time_are_killed() {
    let mut host = plan(2).set("DRAIN", 200).set("IGNORE_DRAIN", 1).serve();
    let begin = Instant::now();
    control::drain(&host.run_dir, None).unwrap();
    assert_eq!(host.ended().code(), Some(1), "{}", host.log());
    assert!(begin.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut host = plan(2).set("DRAIN", 60_000).set("IGNORE_DRAIN", 1).serve();
    let workers = pids(&host);
    host.signal(Signal::TERM);
    host.wait_for_state(0, WorkerState::Draining);
    host.signal(Signal::TERM);
    assert_eq!(host.ended().code(), Some(143), "{}", host.log());
    assert!(workers.into_iter().all(|pid| !is_alive(pid)));
}

#[test]
fn the_control_socket_stops_at_once_too() {
    let mut host = plan(2).set("DRAIN", 60_000).set("IGNORE_DRAIN", 1).serve();
    control::stop(&host.run_dir).unwrap();
    assert_eq!(host.ended().code(), Some(143), "{}", host.log());
}

#[test]
fn one_worker_can_be_replaced_in_order() {
    let host = plan(2).serve();
    let old = host.worker(1).pid.unwrap();
    let mut kept = host.connect();
    assert_eq!(index_of(kept.get(&target("/who", 0)).text()), 0);
    control::drain(&host.run_dir, Some(1)).unwrap();
    host.wait_for("a successor", |status| {
        let worker = &status.workers[1];
        worker.pid.is_some_and(|pid| pid != old) && worker.state == WorkerState::Ready
    });
    let worker = host.worker(1);
    assert_eq!((worker.restarts, worker.last_exit.as_deref()), (1, Some("ended with status 0")));
    assert_eq!(index_of(kept.get("/who").text()), 0);
    let error = control::drain(&host.run_dir, Some(7)).unwrap_err().to_string();
    assert!(error.contains("there is no worker 7"), "{error}");
}

#[test]
fn a_worker_that_is_told_to_end_by_a_signal_does_so_in_order_and_is_replaced() {
    let host = plan(2).serve();
    let old = host.signal_worker(1, Signal::TERM);
    host.wait_for("a successor", |status| {
        let worker = &status.workers[1];
        worker.pid.is_some_and(|pid| pid != old) && worker.state == WorkerState::Ready
    });
    assert_eq!(host.worker(1).last_exit.as_deref(), Some("ended with status 0"));
}

#[test]
fn connections_under_way_when_it_ends_are_served_or_closed() {
    let mut host = plan(2).set("LINGER", 500).serve();
    let address = host.address();
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
            std::thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    // Enough to have some on their way at any time, and not all ports there are.
                    std::thread::park_timeout(Duration::from_millis(2));
                    let Ok(mut stream) = TcpStream::connect(address) else { continue };
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    let request = b"GET /who HTTP/1.1\r\n\r\n";
                    let _ = std::io::Write::write_all(&mut stream, request);
                    let _ = stream.shutdown(std::net::Shutdown::Write);
                    let mut answer = String::new();
                    // An answer, an end or a reset, but no silence.
                    match stream.read_to_string(&mut answer) {
                        Ok(_) => {
                            if answer.starts_with("HTTP/1.1 200") {
                                served.fetch_add(1, Ordering::SeqCst);
                            }
                        }
                        Err(error) => {
                            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
                        }
                    }
                }
            })
        })
        .collect();
    assert!(eventually(PATIENCE, || served.load(Ordering::SeqCst) > 200));
    host.signal(Signal::TERM);
    assert_eq!(host.ended().code(), Some(0), "{}", host.log());
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.join().unwrap();
    }
}

#[test]
fn a_stuck_worker_does_not_keep_others_from_ending() {
    let mut host = plan(2).set("DRAIN", 200).serve();
    host.signal_worker(0, Signal::STOP);
    host.signal(Signal::TERM);
    assert_eq!(host.ended().code(), Some(1), "{}", host.log());
}

#[test]
fn a_program_that_is_no_worker_is_told_so() {
    let mut host = plan(1).set("SEDGE_WORKER", "0").start();
    assert_eq!(host.ended().code(), Some(3));
    host.expect_log("standard input is no channel to a supervisor");
}
