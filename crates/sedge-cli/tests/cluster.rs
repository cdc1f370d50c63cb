//! The cluster as a whole: real processes, killed, hung and cut off, with Socket.IO clients that must
//! not notice what does not concern them.

mod common;

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use common::{Folder, Sedge, output, sedge};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use sedge_testkit::{
    Form, Frame, PollingSession, RawHttp, RawWs, SioClient, eventually, free_ports, requests,
};
use serde_json::Value;

const PATH: &str = "/socket.io/";
const UNKNOWN: &str = r#"{"code":1,"message":"Session ID unknown"}"#;
const POLLING: &str = "/socket.io/?EIO=4&transport=polling";

/// Processes have to start and end on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(30);

/// A cluster in a folder of its own.
struct Host {
    sedge: Sedge,
    run_dir: String,
}

fn start(workers: u8, args: &[&str]) -> Host {
    start_in(Folder::new(), workers, args)
}

fn start_in(folder: Folder, workers: u8, args: &[&str]) -> Host {
    let run_dir = folder.path().join("run").to_str().expect("UTF-8").to_owned();
    let given = args.iter().skip_while(|arg| **arg != "--run-dir").nth(1);
    let run_dir = given.map_or(run_dir, |given| (*given).to_owned());
    let mut command = sedge(&folder);
    command.args(["--workers", &workers.to_string()]);
    if given.is_none() {
        command.args(["--run-dir", &run_dir]);
    }
    if !args.contains(&"--listen") {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    command.args(args);
    Host { sedge: Sedge::run(command, folder), run_dir }
}

impl Host {
    fn at(&self) -> SocketAddr {
        self.sedge.address
    }

    fn status(&self) -> Value {
        let output = output(&["status", "--json", "--run-dir", &self.run_dir]);
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    fn worker(&self, index: usize) -> Value {
        self.status()["workers"][index].clone()
    }

    fn pid(&self, index: usize) -> Pid {
        let pid = self.worker(index)["pid"].as_i64().expect("a process") as i32;
        Pid::from_raw(pid).expect("a process")
    }

    #[track_caller]
    fn await_status(&self, wanted: impl Fn(&Value) -> bool) {
        let reached = eventually(PATIENCE, || wanted(&self.status()));
        assert!(reached, "{:#}", self.status());
    }

    fn await_ready(&self) {
        self.await_status(|status| {
            let workers = status["workers"].as_array().map(Vec::as_slice).unwrap_or_default();
            !workers.is_empty() && workers.iter().all(|worker| worker["state"] == "ready")
        });
    }

    /// A client of the demo on each worker: new sessions go to whoever has fewest.
    fn client_on(&self, worker: u8) -> SioClient {
        let mut spare = Vec::new();
        for _ in 0..20 {
            let mut client = SioClient::open(self.at());
            client.join("/");
            let served: Value = event(&client.receive(), "server");
            if served["worker"] == worker {
                return client;
            }
            spare.push(client);
        }
        panic!("no session goes to worker {worker}: {:#}", self.status());
    }
}

/// The argument of an event.
fn event(packet: &str, name: &str) -> Value {
    let array = packet.strip_prefix('2').unwrap_or_else(|| panic!("{packet}"));
    let mut array: Vec<Value> = serde_json::from_str(array).expect("an event");
    assert_eq!(array[0], name, "{packet}");
    array.remove(1)
}

/// Reads until an event of this name whose argument is as wanted.
fn until(client: &mut SioClient, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let begin = format!("2[\"{name}\"");
    loop {
        let packet = client.receive();
        if packet.starts_with(&begin) {
            let argument = event(&packet, name);
            if wanted(&argument) {
                return argument;
            }
        }
    }
}

/// Enters the lobby and waits until everybody who should be there is listed.
fn hello(client: &mut SioClient, name: &str) {
    client.send(&format!(r#"21["hello",{{"name":"{name}","room":"lobby"}}]"#));
    loop {
        let packet = client.receive();
        if packet.starts_with("31[") {
            assert!(packet.starts_with(r#"31[{"ok":true"#), "{packet}");
            return;
        }
    }
}

/// Says something; everybody in the list hears it.
fn say(from: &mut SioClient, text: &str, listeners: &mut [&mut SioClient]) {
    from.send(&format!(r#"2["say",{{"text":"{text}","key":"k"}}]"#));
    for listener in listeners {
        until(listener, "message", |message| message["text"] == text);
    }
    until(from, "message", |message| message["text"] == text);
}

/// Reads until the end.
fn ends(client: &mut SioClient) {
    while client.receive_frame() != Frame::Closed {}
}

fn people(argument: &Value) -> BTreeSet<String> {
    let list = argument["people"].as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(|person| person["name"].as_str().map(str::to_owned)).collect()
}

#[test]
fn clients_of_different_workers_meet() {
    let host = start(2, &[]);
    let (mut ada, mut grace) = (host.client_on(0), host.client_on(1));
    hello(&mut ada, "Ada");
    hello(&mut grace, "Grace");
    let both = BTreeSet::from(["Ada".to_owned(), "Grace".to_owned()]);
    until(&mut ada, "people", |list| people(list) == both);
    say(&mut ada, "from worker 0", &mut [&mut grace]);
    say(&mut grace, "from worker 1", &mut [&mut ada]);
}

/// As behind a balancer that knows nothing of sessions and keeps its connections alive.
#[test]
fn no_stickiness_is_needed() {
    let base = free_ports(3);
    let ports = format!("127.0.0.1:{base}");
    let host = start(3, &["--worker-ports", &ports]);
    let at = |worker: usize| SocketAddr::from(([127, 0, 0, 1], base + worker as u16));
    let mut kept: Vec<_> = (0..6).map(|n| RawHttp::connect(at(n % 3))).collect();
    let mut turns = (1_usize..).map(|n| n * 7919 / 13);
    let mut turn = |below: usize| turns.next().expect("endless") % below;
    let mut sessions = Vec::new();
    for _ in 0..6 {
        let open = kept[turn(6)].get(POLLING);
        let sid = open.text().split('"').nth(3).expect("OPEN names the session").to_owned();
        sessions.push(format!("{POLLING}&sid={sid}"));
    }
    for target in &sessions {
        kept[turn(6)].post(target, "40").expect(200, "ok");
        // The acknowledgement of the CONNECT, and the demo's greeting.
        let mut answer = String::new();
        while !answer.contains("\"server\"") {
            answer += kept[turn(6)].get(target).text();
        }
    }
    for round in 0..15 {
        for target in &sessions {
            let question = format!("42{round}[\"say\",{{\"text\":\"x\",\"key\":\"k\"}}]");
            kept[turn(6)].post(target, &question).expect(200, "ok");
            let refused = format!("43{round}[{{\"ok\":false,\"error\":\"Say hello first\"}}]");
            kept[turn(6)].get(target).expect(200, &refused);
        }
    }
    for target in &sessions {
        // The upgrade arrives at any worker too, on a connection that has carried other requests.
        let http = RawHttp::connect(at(turn(3)));
        let socket = target.replace("polling", "websocket");
        let mut ws = RawWs::upgrade(http, &socket, &[], b"");
        ws.send("2probe");
        assert_eq!(ws.receive(), Frame::Text("3probe".to_owned()));
        ws.send("5");
        ws.send("4299[\"say\",{\"text\":\"x\",\"key\":\"k\"}]");
        loop {
            match ws.receive() {
                Frame::Text(text) if text.starts_with("4399[") => break,
                Frame::Text(_) => {}
                other => panic!("{other:?}"),
            }
        }
        ws.close();
    }
    host.await_status(|status| status["workers"][0]["sessions"]["polling"] == 0);
}

/// Whoever reads a request: the supervisor and a worker, a worker on a connection that hyper has, and then
/// perhaps a sibling.
#[test]
fn a_request_means_the_same_on_every_worker() {
    let host = start(2, &[]);
    let fresh = || RawHttp::connect(host.at());
    let kept = || {
        let mut http = fresh();
        assert_eq!(http.get("/elsewhere").status, 404);
        http
    };
    for case in &requests::cases() {
        for http in [fresh(), kept(), kept()] {
            let session = PollingSession::open(host.at(), PATH, Form::V4);
            let outcome = requests::ask(http, case, &session.sid);
            assert_eq!(outcome, case.outcome, "{}", case.name);
        }
    }
}

#[test]
fn a_killed_worker_is_replaced_and_nobody_else_notices() {
    let host = start(2, &[]);
    let (mut gone, mut stays) = (host.client_on(0), host.client_on(1));
    let mut other = host.client_on(1);
    let polling = PollingSession::open(host.at(), PATH, Form::V4);
    for (client, name) in [(&mut gone, "Gone"), (&mut stays, "Stays"), (&mut other, "Other")] {
        hello(client, name);
    }
    let before = host.pid(0);
    kill_process(before, Signal::KILL).expect("the worker runs");
    ends(&mut gone);
    // Who was there is told without anybody leaving in order.
    let left = BTreeSet::from(["Stays".to_owned(), "Other".to_owned()]);
    until(&mut stays, "people", |list| people(list) == left);
    say(&mut stays, "still here", &mut [&mut other]);
    host.await_ready();
    assert_ne!(host.pid(0), before);
    let worker = host.worker(0);
    assert_eq!(worker["restarts"], 1);
    assert!(worker["last_exit"].as_str().expect("words").contains("signal 9"), "{worker:#}");
    // A session of the worker that was killed is unknown to its successor, and nothing else is.
    let response = RawHttp::connect(host.at()).get(&polling.target);
    assert!(response.status == 200 || response.text() == UNKNOWN, "{response:?}");
    let mut again = host.client_on(0);
    hello(&mut again, "Back");
    say(&mut again, "and back", &mut [&mut stays, &mut other]);
}

/// As behind a balancer that spreads connections over the workers' own ports: to it, a connection that is
/// closed without an answer is a fault of the worker that had it.
#[test]
fn requests_for_a_worker_that_is_being_killed_are_answered_by_its_siblings() {
    let base = free_ports(2);
    let host = start(2, &["--worker-ports", &format!("127.0.0.1:{base}")]);
    let at = |worker: u16| SocketAddr::from(([127, 0, 0, 1], base + worker));
    let sessions: Vec<_> =
        (0..20).map(|_| PollingSession::open(at(1), PATH, Form::V4).target).collect();
    // The link between the two is there.
    RawHttp::connect(at(0)).post(&sessions[0], "40").expect(200, "ok");
    let killed = host.pid(1);
    kill_process(killed, Signal::STOP).expect("the worker runs");
    // They have reached the worker and wait in its socket.
    let asking: Vec<_> = sessions
        .iter()
        .map(|target| {
            let mut http = RawHttp::connect(at(0));
            http.send("GET", target, &[], b"");
            http
        })
        .collect();
    assert_eq!(RawHttp::connect(at(0)).get("/health").status, 200);
    kill_process(killed, Signal::KILL).expect("the worker runs");
    for mut http in asking {
        http.receive().expect(400, UNKNOWN);
    }
    host.await_ready();
}

#[test]
fn a_worker_that_hangs_is_replaced() {
    let host = start(2, &[]);
    let mut stays = host.client_on(1);
    let hanging = host.pid(0);
    kill_process(hanging, Signal::STOP).expect("the worker runs");
    host.await_status(|status| status["workers"][0]["state"] != "ready");
    // As soon as that is known, new sessions go to the other one.
    for _ in 0..4 {
        SioClient::open(host.at()).join("/");
    }
    let replaced = || host.pid_or_none(0).is_some_and(|pid| pid != hanging);
    assert!(eventually(PATIENCE, replaced), "{:#}", host.status());
    host.await_ready();
    hello(&mut stays, "Ada");
}

impl Host {
    fn pid_or_none(&self, index: usize) -> Option<Pid> {
        Pid::from_raw(self.worker(index)["pid"].as_i64()? as i32)
    }
}

#[test]
fn workers_outlive_their_supervisor_and_a_new_one_takes_the_port() {
    let mut host = start(2, &[]);
    let address = host.at();
    let (mut ada, mut grace) = (host.client_on(0), host.client_on(1));
    hello(&mut ada, "Ada");
    hello(&mut grace, "Grace");
    let polling = PollingSession::open(address, PATH, Form::V4);
    let workers = [host.pid(0), host.pid(1)];
    host.sedge.signal(Signal::KILL);
    host.sedge.wait_for_process();
    say(&mut ada, "nobody watches over us", &mut [&mut grace]);
    let next = start(2, &["--listen", &address.to_string(), "--run-dir", &host.run_dir]);
    assert_eq!(next.at(), address);
    // What clients of the old workers say does not reach those of the new. So their transports close,
    // without a packet that would keep them from coming back.
    for client in [&mut ada, &mut grace] {
        while let Frame::Text(packet) = client.receive_frame() {
            assert!(packet.starts_with("2["), "{packet}");
        }
    }
    // Whoever polls on a connection of its own is told that the session is gone.
    RawHttp::connect(address).get(&polling.target).expect(400, UNKNOWN);
    // They come back, and all hear one another again.
    let (mut ada, mut grace) = (next.client_on(0), next.client_on(1));
    hello(&mut ada, "Ada");
    hello(&mut grace, "Grace");
    say(&mut grace, "all is well", &mut [&mut ada]);
    let ended = || workers.iter().all(|pid| test_kill_process(*pid).is_err());
    assert!(eventually(PATIENCE, ended), "the orphans end");
}

#[test]
fn a_worker_can_be_replaced_in_order() {
    let host = start(2, &[]);
    let (mut gone, mut stays) = (host.client_on(0), host.client_on(1));
    hello(&mut stays, "Ada");
    let before = host.pid(0);
    let answer = output(&["drain", "0", "--run-dir", &host.run_dir]);
    assert_eq!(answer.status.code(), Some(0), "{answer:?}");
    ends(&mut gone);
    assert!(eventually(PATIENCE, || host.pid_or_none(0).is_some_and(|pid| pid != before)));
    host.await_ready();
    say(&mut stays, "unimpressed", &mut []);
    let unknown = output(&["drain", "7", "--run-dir", &host.run_dir]);
    assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");
}

#[test]
fn a_signal_ends_everything_in_order() {
    let host = start(2, &["--admin", "127.0.0.1:0"]);
    let (ada, grace) = (host.client_on(0), host.client_on(1));
    let (workers, address) = ([host.pid(0), host.pid(1)], host.at());
    // As from a terminal: the whole group gets it.
    host.sedge.signal(Signal::INT);
    for mut client in [ada, grace] {
        ends(&mut client);
    }
    let end = host.sedge.wait();
    assert_eq!(end.code, Some(0), "{}", end.log);
    assert!(workers.iter().all(|pid| test_kill_process(*pid).is_err()), "{}", end.log);
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let host = start(2, &["--drain-delay", "1m"]);
    let _client = host.client_on(0);
    let workers = [host.pid(0), host.pid(1)];
    host.sedge.signal(Signal::TERM);
    host.await_status(|status| status["state"] == "draining");
    host.sedge.signal(Signal::TERM);
    let end = host.sedge.wait();
    assert_eq!(end.code, Some(128 + 15), "{}", end.log);
    let ended = || workers.iter().all(|pid| test_kill_process(*pid).is_err());
    assert!(eventually(PATIENCE, ended), "{}", end.log);
}

#[test]
fn a_stop_loses_no_client_without_a_word() {
    let host = start(2, &[]);
    let address = host.at();
    // Connections come all the time; each is served, refused, or closed, and none hangs.
    let clients: Vec<_> = (0..4)
        .map(|_| {
            thread::spawn(move || {
                let request = format!("GET {POLLING} HTTP/1.1\r\nhost: a\r\n\r\n");
                while let Ok(mut stream) = TcpStream::connect(address) {
                    stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
                    let mut head = [0; 12];
                    // Closed without an answer is an answer too; only silence is none.
                    let answered =
                        stream.write_all(request.as_bytes()).and_then(|()| stream.read(&mut head));
                    match answered {
                        Ok(12) => assert!(
                            [b"HTTP/1.1 200", b"HTTP/1.1 503"].contains(&&head),
                            "{}",
                            String::from_utf8_lossy(&head)
                        ),
                        Ok(_) => {}
                        Err(error) => assert_ne!(error.kind(), ErrorKind::WouldBlock, "silence"),
                    }
                    // Enough of them to have some on their way at any time, and not all ports there are.
                    thread::park_timeout(Duration::from_millis(5));
                }
            })
        })
        .collect();
    host.await_status(|status| status["passed"].as_u64() > Some(50));
    host.sedge.signal(Signal::TERM);
    assert_eq!(host.sedge.wait().code, Some(0));
    for client in clients {
        client.join().expect("no answer but 200 and 503, and no hanging");
    }
}

#[test]
fn made_up_session_ids_are_unknown() {
    let host = start(2, &[]);
    let session = PollingSession::open(host.at(), PATH, Form::V4);
    let (before, sid) = session.target.split_once("sid=").expect("a session");
    let swapped: String = sid.chars().rev().collect();
    for forged in [&*swapped, "AAABAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAA", "short", "a b"] {
        let mut http = RawHttp::connect(host.at());
        let response = http.get(&format!("{before}sid={}", forged.replace(' ', "%20")));
        response.expect(400, UNKNOWN);
    }
    // A cluster with another secret, as after a change of it.
    let other = start(2, &[]);
    RawHttp::connect(other.at()).get(&session.target).expect(400, UNKNOWN);
    let mut session = session;
    session.send_text("40");
    assert_eq!(host.status()["refused"], 0);
}

#[test]
fn the_status_is_for_people_and_programs() {
    let host = start(2, &[]);
    let _clients = [host.client_on(0), host.client_on(1)];
    host.await_status(|status| {
        (0..2).all(|n| status["workers"][n]["sessions"]["websocket"].as_u64() >= Some(1))
    });
    let status = host.status();
    assert_eq!((&status["state"], &status["node"]), (&"serving".into(), &0.into()));
    assert_eq!(status["listening"][0], host.at().to_string());
    assert_eq!(status["workers"].as_array().map(Vec::len), Some(2));
    let table = output(&["status", "--run-dir", &host.run_dir]);
    assert_eq!(table.status.code(), Some(0));
    let table = String::from_utf8(table.stdout).expect("text");
    assert!(table.starts_with("serving, supervisor "), "{table}");
    assert_eq!(table.lines().filter(|line| line.contains("  ready  ")).count(), 2, "{table}");
    let nobody = output(&["status", "--run-dir", "/nowhere"]);
    assert_eq!(nobody.status.code(), Some(1));
    let words = String::from_utf8(nobody.stderr).expect("text");
    assert!(words.contains("no cluster runs here"), "{words}");
}

#[test]
fn health_and_metrics_are_of_the_whole_host() {
    let port = free_ports(1);
    let host = start(2, &["--admin", &format!("127.0.0.1:{port}")]);
    let admin = SocketAddr::from(([127, 0, 0, 1], port));
    let _clients = [host.client_on(0), host.client_on(1)];
    let mut http = RawHttp::connect(admin);
    let health = http.get("/health");
    assert_eq!(health.status, 200);
    let health: Value = serde_json::from_str(health.text()).expect("JSON");
    assert_eq!((&health["status"], &health["ready"]), (&"serving".into(), &2.into()));
    // The port of the clients says the same as the admin address, whichever worker it comes to.
    for address in [admin, host.at(), host.at()] {
        let metrics = RawHttp::connect(address).get("/metrics");
        for worker in ["0", "1"] {
            for family in ["sedge_worker_up", "sedge_sessions", "sedge_bus_peers"] {
                let line = format!("{family}{{worker=\"{worker}\"");
                assert!(metrics.text().contains(&line), "{line}: {}", metrics.text());
            }
            let lost = format!("sedge_log_lines_lost_total{{worker=\"{worker}\"}} 0\n");
            assert!(metrics.text().contains(&lost), "{}", metrics.text());
        }
        assert!(metrics.text().contains("sedge_cluster_log_lines_lost_total 0\n"));
        // Each family is named once, however many workers have it.
        let types = metrics.text().lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let names: Vec<&str> = types.filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }
}

#[test]
fn a_worker_without_a_supervisor_says_its_own_metrics() {
    let base = free_ports(1);
    let mut host = start(1, &["--worker-ports", &format!("127.0.0.1:{base}")]);
    let mut kept = RawHttp::connect(SocketAddr::from(([127, 0, 0, 1], base)));
    let _client = host.client_on(0);
    assert!(kept.get("/metrics").text().contains("sedge_worker_up{worker=\"0\"} 1\n"));
    host.sedge.signal(Signal::KILL);
    host.sedge.wait_for_process();
    let alone = || {
        let metrics = kept.get("/metrics");
        let text = metrics.text();
        text.contains("sedge_sockets{worker=\"0\",") && !text.contains("sedge_worker_up")
    };
    assert!(eventually(PATIENCE, alone));
}

#[test]
fn a_browser_comes_back_to_the_worker_of_its_cookie() {
    let host = start(2, &["--cookie", "io"]);
    let open = |cookie: &str| {
        let mut http = RawHttp::connect(host.at());
        let response = http.request("GET", POLLING, &[("cookie", cookie)], b"");
        let set = response.header("set-cookie").expect("a cookie").to_owned();
        let value = set.split_once(';').map_or(&*set, |(value, _)| value).to_owned();
        (value.strip_prefix("io=").expect("its name").to_owned(), value)
    };
    // The first four characters of a session id are its node and worker.
    let (first, cookie) = open("a=b");
    for _ in 0..6 {
        assert_eq!(open(&format!("a=b; {cookie}")).0[..4], first[..4]);
    }
    // Without it, the other one has its turn.
    assert!((0..6).any(|_| open("a=b").0[..4] != first[..4]));
}
