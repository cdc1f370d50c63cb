//! Status, health and metrics.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;

use rustix::process::Signal;
use sedge_cluster::{ClusterState, WorkerState};
use sedge_testkit::{RawHttp, eventually, free_ports};

use super::host::{PATIENCE, plan, target};

fn free_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_ports(1)))
}

#[test]
fn the_status_tells_of_every_worker() {
    let host = plan(2).serve();
    let mut connection = host.connect();
    assert_eq!(connection.get(&target("/who", 1)).status, 200);
    host.wait_for("reported", |status| status.workers[1].connections == 1);
    let status = host.status();
    assert_eq!(status.pid, host.supervisor.id());
    assert_eq!((status.version.as_str(), status.state), ("7.8.9", ClusterState::Serving));
    assert_eq!(status.listening, host.addresses);
    assert!(status.uptime_seconds > 0.0 && status.passed >= 1);
    for (index, worker) in status.workers.iter().enumerate() {
        assert_eq!((usize::from(worker.index), worker.state), (index, WorkerState::Ready));
        assert_eq!(worker.version.as_deref(), Some("7.8.9"));
        assert!(worker.memory_bytes > 1_000_000 && worker.uptime_seconds > 0.0);
        assert_eq!((worker.restarts, &worker.last_exit), (0, &None));
    }
    assert_eq!(status.workers[1].sessions["http"], 1);
    let mode = std::fs::metadata(host.run_dir.join("control.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// Two programs of one user, neither of which says where its sockets are to be.
#[test]
fn clusters_on_different_ports_run_side_by_side() {
    let hosts = [plan(1), plan(1)].map(|plan| plan.default_run_dir().serve());
    for host in &hosts {
        assert_eq!(host.status().pid, host.supervisor.id());
    }
}

#[test]
fn the_control_socket_answers_nonsense_in_words() {
    let host = plan(1).serve();
    let ask = |line: &str| {
        let mut stream = UnixStream::connect(host.run_dir.join("control.sock")).unwrap();
        writeln!(stream, "{line}").unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        answer
    };
    assert!(ask("dance").contains(r#""answer":"refused","reason":"no command"#));
    assert!(ask(&"x".repeat(10_000)).contains(r#""answer":"refused""#));
    assert!(ask(r#"{"command":"reload"}"#).contains("cannot replace its program while it runs"));
    assert!(ask(r#"{"command":"status"}"#).contains(r#""answer":"status""#));
}

#[test]
fn health_and_metrics_are_those_of_the_host() {
    let admin = free_address();
    let host = plan(2).set("ADMIN", admin).set("DRAIN_DELAY", 60_000).set("MISSED", 10_000).serve();
    let mut http = RawHttp::connect(admin);
    let health = http.get("/health");
    assert_eq!(health.status, 200);
    assert_eq!(health.text().trim(), r#"{"ready":2,"status":"serving","workers":2}"#);
    assert_eq!(http.get("/else").status, 404);
    assert_eq!(http.post("/health", "").status, 405);
    for path in ["/", "*", "/health", "/metrics"] {
        let response = http.request("OPTIONS", path, &[], b"");
        let allowed = (response.status, response.header("allow"));
        assert_eq!(allowed, (204, Some("GET, HEAD, OPTIONS")), "{path}");
    }
    let mut kept = host.connect();
    assert_eq!(kept.get(&target("/who", 1)).status, 200);
    let metrics = http.get("/metrics");
    let text = metrics.text();
    for line in [
        "sedge_cluster_info{version=\"7.8.9\"} 1",
        "sedge_cluster_routed_total{by=\"sid\"} 1",
        "sedge_worker_up{worker=\"0\"} 1",
        "# TYPE test_connections gauge",
        "test_connections{worker=\"0\"} 0",
        "test_connections{worker=\"1\"} 1",
        "sedge_cluster_metrics_missing_total 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line:?} in {text}");
    }
    assert_eq!(text.matches("# TYPE test_connections").count(), 1);
    // A worker that does not answer in time is left out.
    host.signal_worker(1, Signal::STOP);
    let metrics = http.get("/metrics");
    assert!(!metrics.text().contains("test_connections{worker=\"1\"}"));
    assert!(metrics.text().contains("test_connections{worker=\"0\"} 0"));
    let later = http.get("/metrics");
    assert!(!later.text().contains("sedge_cluster_metrics_missing_total 0"));
    host.signal_worker(1, Signal::CONT);
    host.signal(Signal::TERM);
    assert!(eventually(PATIENCE, || http.get("/health").status == 503));
    assert!(http.get("/health").text().contains("draining"));
    assert_eq!(http.request("OPTIONS", "/", &[], b"").status, 503);
}
