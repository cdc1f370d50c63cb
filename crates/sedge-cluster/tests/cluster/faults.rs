//! What happens when something breaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use sedge_cluster::{ClusterState, WorkerState, control};
use sedge_testkit::{RawHttp, eventually};

use super::host::{Host, PATIENCE, index_of, is_alive, plan, target};

#[test]
fn a_killed_worker_is_replaced_and_the_others_notice_nothing() {
    let host = plan(2).serve();
    let address = host.address();
    let stop = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicU32::new(0));
    let (ended, counter) = (Arc::clone(&stop), Arc::clone(&served));
    // A client of worker 0, on one connection, and others that come and go.
    let client = std::thread::spawn(move || {
        let mut kept = RawHttp::connect(address);
        while !ended.load(Ordering::SeqCst) {
            assert_eq!(index_of(kept.get(&target("/who", 0)).text()), 0);
            let response = RawHttp::connect(address).get(&target("/who", 0));
            assert_eq!(index_of(response.text()), 0);
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    assert!(eventually(PATIENCE, || served.load(Ordering::SeqCst) > 20));
    let mut lost = host.connect();
    assert_eq!(index_of(lost.get(&target("/who", 1)).text()), 1);
    let old = host.signal_worker(1, Signal::KILL);
    assert!(lost.ends_within(PATIENCE));
    // From now on its clients are served by somebody, who can tell them that their session is gone.
    for _ in 0..20 {
        assert_eq!(host.connect().get(&target("/who", 1)).status, 200);
    }
    host.wait_for_successor(1, old);
    let worker = host.worker(1);
    assert_eq!(worker.last_exit.as_deref(), Some("was killed (signal 9)"));
    assert_eq!(worker.restarts, 1);
    assert_eq!(index_of(&host.get(&target("/who", 1))), 1);
    let before = served.load(Ordering::SeqCst);
    assert!(eventually(PATIENCE, || served.load(Ordering::SeqCst) > before + 20));
    stop.store(true, Ordering::SeqCst);
    client.join().unwrap();
}

#[test]
fn a_worker_that_ends_by_itself_is_replaced() {
    let host = plan(2).serve();
    let old = host.worker(1).pid.unwrap();
    let mut connection = host.connect();
    connection.send("GET", &format!("/exit?7&sid={}", super::host::sid(1)), &[], b"");
    let _ = connection.ends_within(PATIENCE);
    host.wait_for_successor(1, old);
    assert!(host.worker(1).last_exit.unwrap().starts_with("ended with status"));
}

#[test]
fn a_worker_that_hangs_is_suspected_then_killed_and_replaced() {
    // Stopped from outside, blocked by its own code, and at work that never ends.
    for by_itself in [None, Some("/hang"), Some("/stuck")] {
        let host = plan(2).set("HEARTBEAT", 50).set("MISSED", 20).serve();
        let old = host.worker(1).pid.unwrap();
        match by_itself {
            Some(path) => host.connect().send("GET", &target(path, 1), &[], b""),
            None => drop(host.signal_worker(1, Signal::STOP)),
        }
        host.wait_for_state(1, WorkerState::Suspect);
        // No new sessions go there meanwhile.
        for _ in 0..4 {
            assert_eq!(index_of(&host.get("/who")), 0);
        }
        host.wait_for_successor(1, old);
        let last = host.worker(1).last_exit.unwrap();
        assert!(last.starts_with("hung: 20 heartbeats were not answered"), "{last}");
        assert!(!is_alive(old));
    }
}

#[test]
fn a_worker_that_is_only_slow_comes_back() {
    let host = plan(2).set("HEARTBEAT", 50).set("MISSED", 10_000).serve();
    let pid = host.signal_worker(1, Signal::STOP);
    host.wait_for_state(1, WorkerState::Suspect);
    let mut waiting = host.connect();
    waiting.send("GET", &target("/who", 1), &[], b"");
    host.signal_worker(1, Signal::CONT);
    host.wait_for_state(1, WorkerState::Ready);
    assert_eq!(index_of(waiting.receive().text()), 1);
    assert_eq!(host.worker(1).pid, Some(pid));
}

#[test]
fn a_supervisor_that_was_stopped_for_a_while_blames_nobody_for_it() {
    // Long enough that a busy machine delays nobody by so much.
    let host = plan(2).set("HEARTBEAT", 100).set("MISSED", 5).serve();
    let pids = || host.status().workers.iter().map(|worker| worker.pid).collect::<Vec<_>>();
    let before = pids();
    host.signal(Signal::STOP);
    // The time of ten heartbeats passes without any.
    std::thread::sleep(Duration::from_secs(1));
    host.signal(Signal::CONT);
    // After as many more, everybody is still there.
    let answered = host.status().uptime_seconds + 1.0;
    host.wait_for("time passes", |status| status.uptime_seconds > answered);
    assert_eq!(pids(), before);
}

#[test]
fn any_runtime_will_do() {
    let host = plan(2).set("THREADS", 2).serve();
    for worker in [1, 0] {
        assert_eq!(index_of(&host.get(&target("/who", worker))), usize::from(worker));
    }
    let mut connection = host.connect();
    for to in [1, 0, 1] {
        assert_eq!(index_of(connection.get(&format!("/pass?{to}")).text()), to);
    }
    let old = host.signal_worker(1, Signal::KILL);
    host.wait_for_successor(1, old);
}

#[test]
fn a_worker_that_cannot_start_leaves_the_others_serving() {
    let host = plan(2).set("FAIL_AT_START", 1).set("CRASHES", 3).set("CRASH_PACE", 60_000).serve();
    host.wait_for_state(1, WorkerState::CrashLoop);
    let worker = host.worker(1);
    let last = worker.last_exit.unwrap();
    assert_eq!(last, "ended with status 3: the data file is missing");
    assert_eq!(worker.pid, None);
    host.expect_log("the data file is missing");
    for _ in 0..3 {
        assert_eq!(index_of(&host.get("/who")), 0);
    }
    assert_eq!(host.status().state, ClusterState::Serving);
}

#[test]
fn a_worker_in_a_crash_loop_is_tried_again_at_a_slow_pace() {
    let host = plan(2).set("FAIL_AT_START", 1).set("CRASHES", 2).set("CRASH_PACE", 300).serve();
    host.wait_for("more starts", |status| status.workers[1].restarts >= 4);
}

#[test]
fn a_cluster_of_which_no_worker_starts_ends_and_says_why() {
    let mut host = plan(2).set("FAIL_AT_START", "all").set("CRASHES", 2).start();
    assert_eq!(host.ended().code(), Some(3));
    host.expect_log(
        "no worker starts; the last one: ended with status 3: the data file is missing",
    );
}

#[test]
fn a_worker_that_is_not_ready_in_time_is_replaced() {
    let host = plan(2).set("HANG_AT_START", 1).set("START_TIMEOUT", 300).set("CRASHES", 2).serve();
    host.wait_for_state(1, WorkerState::CrashLoop);
    let last = host.worker(1).last_exit.unwrap();
    assert!(last.starts_with("was not ready in time"), "{last}");
}

#[test]
fn workers_outlive_a_killed_supervisor_and_a_new_one_takes_its_place() {
    let mut host = plan(2).serve();
    let workers: Vec<_> = host.status().workers.iter().filter_map(|worker| worker.pid).collect();
    let mut kept = host.connect();
    assert_eq!(index_of(kept.get(&target("/who", 1)).text()), 1);
    host.supervisor.kill().unwrap();
    host.supervisor.wait().unwrap();
    // The one with a client serves on, the other one ends.
    assert!(eventually(PATIENCE, || !is_alive(workers[0])), "{}", host.log());
    assert_eq!(index_of(kept.get("/who").text()), 1);
    // As long as there is nobody else, it serves.
    assert!(is_alive(workers[1]));
    assert_eq!(index_of(kept.get("/who").text()), 1);
    let successor = plan(2).run_dir(&host.run_dir).set("LISTEN", host.address()).serve();
    assert_eq!(index_of(&successor.get(&target("/who", 1))), 1);
    assert_eq!(successor.get(&target("/peers", 1)), "1");
    // The two do not hear one another, so the old one lets its clients go now.
    successor.expect_log("workers of an earlier start");
    assert!(kept.ends_within(PATIENCE));
    assert!(eventually(PATIENCE, || !is_alive(workers[1])), "{}", host.log());
    host.expect_log("a new supervisor's workers serve");
}

/// A supervisor that starts and has no worker yet is nobody to go to.
#[test]
fn an_orphan_serves_until_its_successor_does() {
    let mut host = plan(1).serve();
    let worker = host.worker(0).pid.unwrap();
    let mut kept = host.connect();
    assert_eq!(kept.get("/who").status, 200);
    host.supervisor.kill().unwrap();
    host.supervisor.wait().unwrap();
    let successor = plan(1)
        .run_dir(&host.run_dir)
        .set("LISTEN", host.address())
        .set("HANG_AT_START", 0)
        .start();
    host.wait_for("starting", |status| {
        status.pid == successor.supervisor.id() && status.workers[0].version.is_some()
    });
    assert_eq!(kept.get("/who").status, 200);
    assert!(is_alive(worker));
    drop(kept);
    assert!(eventually(PATIENCE, || !is_alive(worker)), "{}", host.log());
}

#[test]
fn an_orphan_has_a_deadline() {
    let mut host = plan(1).set("ORPHAN", 300).set("DRAIN", 200).serve();
    let worker = host.worker(0).pid.unwrap();
    let mut kept = host.connect();
    assert_eq!(kept.get("/who").status, 200);
    host.supervisor.kill().unwrap();
    host.supervisor.wait().unwrap();
    assert!(eventually(PATIENCE, || !is_alive(worker)), "{}", host.log());
    assert!(kept.ends_within(PATIENCE));
}

#[test]
fn workers_that_are_starting_end_with_their_supervisor() {
    let mut host = plan(2).set("HANG_AT_START", "all").start();
    let mut workers = Vec::new();
    let known = eventually(PATIENCE, || {
        let status = control::status(&host.run_dir);
        workers = status
            .map(|status| status.workers.into_iter().filter(|w| w.version.is_some()))
            .map(|known| known.filter_map(|worker| worker.pid).collect())
            .unwrap_or_default();
        workers.len() == 2
    });
    assert!(known, "{}", host.log());
    host.supervisor.kill().unwrap();
    host.supervisor.wait().unwrap();
    assert!(eventually(PATIENCE, || workers.iter().all(|pid| !is_alive(*pid))), "{}", host.log());
}

#[test]
fn a_second_supervisor_is_told_of_the_first() {
    let host = plan(1).serve();
    let mut second = plan(1).run_dir(&host.run_dir).start();
    assert_eq!(second.ended().code(), Some(3));
    second.expect_log(&format!("another supervisor (process {})", host.supervisor.id()));
    assert_eq!(host.get("/who").split(' ').next(), Some("0"));
}

#[test]
fn a_worker_that_takes_nothing_keeps_its_own_clients_waiting_within_a_bound() {
    let host = plan(2).set("PASS_QUEUE", 10).set("MISSED", 100_000).serve();
    let stuck = host.signal_worker(1, Signal::STOP);
    let mut waiting = Vec::new();
    // Its own sessions wait, until as many wait as may; then they are told to come again.
    let refused = loop {
        let mut connection = host.connect();
        connection.send("GET", &target("/who", 1), &[], b"");
        let before = host.status();
        host.wait_for("settled", |status| status.undecided == 0);
        if host.status().refused > 0 || before.refused > 0 {
            break connection;
        }
        waiting.push(connection);
        assert!(waiting.len() < 5000);
    };
    let mut refused = refused;
    let response = refused.receive();
    assert_eq!((response.status, response.header("retry-after")), (503, Some("2")));
    // New sessions go to the other one.
    for _ in 0..4 {
        assert_eq!(index_of(&host.get("/who")), 0);
    }
    // When it dies, those that waited are answered by somebody else.
    rustix::process::kill_process(super::host::process(stuck), Signal::KILL).unwrap();
    let last = waiting.last_mut().unwrap();
    assert_eq!(last.receive().status, 200);
}

/// Connections with a request under way.
fn asking(host: &Host, count: usize) -> Vec<RawHttp> {
    let ask = |_| {
        let mut connection = host.connect();
        connection.send("GET", "/who", &[], b"");
        connection
    };
    (0..count).map(ask).collect()
}

#[test]
fn without_descriptors_accepting_pauses_and_goes_on() {
    let host = plan(1)
        .set("MISSED", 100_000)
        .set("RAISE_NOFILE", 1)
        .through_shell(r#"ulimit -S -n 60; exec "$@""#)
        .serve();
    host.signal_worker(0, Signal::STOP);
    // More connections than the supervisor has descriptors wait for a worker that takes none.
    let mut connections = asking(&host, 1000);
    host.expect_log("cannot accept connections; pausing");
    let pid = host.worker_without_asking(0);
    rustix::process::kill_process(super::host::process(pid), Signal::CONT).unwrap();
    // All are served when their turn comes.
    for connection in &mut connections {
        assert_eq!(connection.receive().status, 200);
    }
    host.expect_log("accepting connections again");
    assert_eq!(host.get("/who").split(' ').next(), Some("0"));
}

#[test]
fn a_worker_without_descriptors_leaves_connections_where_they_are() {
    let host = plan(1).set("MISSED", 100_000).through_shell(r#"ulimit -n 80; exec "$@""#).serve();
    let connections = asking(&host, 200);
    host.expect_log("next to no file descriptors left");
    // Each takes the place of one before it, and none is lost.
    for mut connection in connections {
        assert_eq!(connection.receive().status, 200);
    }
    assert_eq!(host.get("/who").split(' ').next(), Some("0"));
}
