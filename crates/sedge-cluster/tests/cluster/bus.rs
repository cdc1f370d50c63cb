//! The bus among processes.

use rustix::process::Signal;
use sedge_testkit::eventually;

use super::host::{Host, PATIENCE, plan, target};

fn heard(host: &Host, worker: u8) -> Vec<String> {
    host.get(&target("/heard", worker)).lines().map(str::to_owned).collect()
}

#[test]
fn workers_hear_one_another_in_order_from_the_moment_they_are_ready() {
    let host = plan(3).serve();
    for worker in 0..3 {
        assert_eq!(host.get(&target("/peers", worker)), "2");
    }
    for number in 0..50 {
        assert_eq!(host.get(&target(&format!("/publish?{number}"), 0)), "2");
    }
    let expected: Vec<_> =
        (0..50).map(|number| format!("{number}&sid={} of 0", super::host::sid(0))).collect();
    for worker in 1..3 {
        let messages = || {
            let heard = heard(&host, worker).into_iter();
            heard.filter(|line| line.ends_with(" of 0")).collect::<Vec<_>>()
        };
        assert!(eventually(PATIENCE, || messages().len() == 50));
        assert_eq!(messages(), expected);
    }
    assert!(heard(&host, 0).iter().all(|line| line.starts_with("joined")));
}

#[test]
fn a_worker_without_members_of_a_room_is_not_asked_and_a_dead_one_wants_nothing() {
    let host = plan(3).serve();
    assert_eq!(host.get(&format!("/room?room+1&sid={}", super::host::sid(0))), "0");
    let mut connection = host.connect();
    assert_eq!(connection.get(&target("/who", 0)).status, 200);
    assert_eq!(connection.get("/room?room+1").text(), "1");
    assert_eq!(connection.get("/room?room+7").text(), "0");
    let old = host.signal_worker(1, Signal::KILL);
    assert!(eventually(PATIENCE, || connection.get("/peers").text() == "1"));
    assert_eq!(connection.get("/room?room+1").text(), "0");
    host.wait_for("a successor", |status| {
        let worker = &status.workers[1];
        worker.pid.is_some_and(|pid| pid != old) && worker.state.name() == "ready"
    });
    // A worker that says it is ready is on the bus.
    assert_eq!(connection.get("/peers").text(), "2");
    assert_eq!(connection.get("/room?room+1").text(), "1");
}
