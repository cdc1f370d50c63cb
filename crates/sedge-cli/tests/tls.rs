//! HTTPS from certificate files.

mod common;

use std::net::SocketAddr;
use std::sync::Arc;

use common::{Folder, Sedge, output, sedge};
use rcgen::{CertifiedKey, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use sedge_testkit::{
    DEADLINE, Endpoint, Form, Frame, PollingSession, RawHttp, RawWs, eventually, free_ports,
};

#[test]
fn health_is_answered_over_tls() {
    let serve: &[&str] = &["serve"];
    // A supervisor passes on what it cannot read.
    let cluster: &[&str] = &["cluster", "--workers", "2", "--run-dir", "run"];
    for command in [serve, cluster] {
        health_over_tls(command);
    }
}

fn health_over_tls(arguments: &[&str]) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let folder = Folder::new();
    let cert = folder.write("cert.pem", &made.cert.pem());
    let key = folder.write("key.pem", &made.signing_key.serialize_pem());
    let mut command = sedge(&folder);
    command.args(arguments);
    command.args(["--listen", "127.0.0.1:0", "--tls-cert", &cert, "--tls-key", &key]);
    let server = Sedge::run_with(command, folder, "https");

    let mut stream = endpoint(server.address, &trusting(&made)).connect();
    stream.send(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    // The end may come without TLS's own goodbye; the length says that it is whole.
    let response = String::from_utf8(stream.read_to_end()).expect("text");
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    assert!(response.ends_with("{\"status\":\"ok\"}\n"), "{response}");
}

/// Trusts this certificate and no other.
fn trusting(made: &CertifiedKey<KeyPair>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

fn endpoint(address: SocketAddr, config: &Arc<ClientConfig>) -> Endpoint {
    let config = Arc::clone(config);
    Endpoint::wrapped(
        address,
        Arc::new(move |tcp| {
            let name = ServerName::try_from("localhost").expect("a name");
            let connection = ClientConnection::new(Arc::clone(&config), name);
            Box::new(StreamOwned::new(connection.expect("a connection"), tcp))
        }),
    )
}

/// A cluster of two workers with a port each, which take TLS off: what they carry for one another they
/// cannot pass on.
struct Encrypted {
    server: Sedge,
    config: Arc<ClientConfig>,
    ports: u16,
    admin: SocketAddr,
}

impl Encrypted {
    fn start() -> Encrypted {
        let names = ["localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let folder = Folder::new();
        let cert = folder.write("cert.pem", &made.cert.pem());
        let key = folder.write("key.pem", &made.signing_key.serialize_pem());
        let (ports, admin) = (free_ports(2), SocketAddr::from(([127, 0, 0, 1], free_ports(1))));
        let (worker_ports, admin_address) = (format!("127.0.0.1:{ports}"), admin.to_string());
        let mut command = sedge(&folder);
        command.args(["cluster", "--workers", "2", "--run-dir", "run", "--listen", "127.0.0.1:0"]);
        command.args(["--worker-ports", &worker_ports, "--admin", &admin_address]);
        command.args(["--tls-cert", &cert, "--tls-key", &key]);
        let server = Sedge::run_with(command, folder, "https");
        Encrypted { server, config: trusting(&made), ports, admin }
    }

    /// A worker's own port.
    fn at(&self, worker: u16) -> Endpoint {
        endpoint(SocketAddr::from(([127, 0, 0, 1], self.ports + worker)), &self.config)
    }

    /// The sum of a gauge over what a worker tells of it.
    fn gauge(&self, name: &str, worker: u8) -> u64 {
        let metrics = RawHttp::connect(self.admin).get("/metrics");
        let begin = format!("{name}{{worker=\"{worker}\"");
        let samples = metrics.text().lines().filter(|line| line.starts_with(&begin));
        samples.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    fn status(&self) -> String {
        let run_dir = self.server.folder().join("run").to_str().expect("UTF-8").to_owned();
        let status = output(&["status", "--json", "--run-dir", &run_dir]);
        String::from_utf8_lossy(&status.stdout).into_owned()
    }

    /// A session of worker 0 whose WebSocket worker 1 carries.
    fn carried(&self) -> RawWs {
        let session = PollingSession::open(self.at(0), "/socket.io/", Form::V4);
        let target = session.target.replace("polling", "websocket");
        let mut socket = RawWs::upgrade(RawHttp::connect(self.at(1)), &target, &[], b"");
        socket.send("2probe");
        assert_eq!(socket.receive(), Frame::Text("3probe".to_owned()));
        socket.send("5");
        socket
    }
}

/// Its clients close their WebSockets and keep their TCP connections.
#[test]
fn nothing_is_left_of_connections_that_were_carried() {
    let cluster = Encrypted::start();
    let pids: Vec<String> = cluster
        .status()
        .split("\"pid\":")
        .skip(1)
        .map(|rest| rest.trim_start().chars().take_while(char::is_ascii_digit).collect())
        .collect();
    let descriptors = || -> Vec<usize> {
        let count =
            |pid: &String| std::fs::read_dir(format!("/proc/{pid}/fd")).map(Iterator::count);
        pids.iter().map(|pid| count(pid).unwrap_or_default()).collect()
    };
    let come_and_go = |count: u64| {
        let mut sockets: Vec<_> = (0..count).map(|_| cluster.carried()).collect();
        assert!(eventually(DEADLINE, || cluster.gauge("sedge_connections", 1) == count));
        for socket in &mut sockets {
            socket.send_frame(0x88, b"\x03\xe8");
            while let Frame::Text(_) = socket.receive() {}
        }
        for worker in [0, 1] {
            assert!(eventually(DEADLINE, || cluster.gauge("sedge_connections", worker) == 0));
            assert_eq!(cluster.gauge("sedge_sessions", worker), 0);
        }
        sockets
    };
    // What the workers need to pass connections is there from the first one on.
    let first = come_and_go(1);
    let before = descriptors();
    let others = come_and_go(40);
    // Fewer are well too: what was counted before may have had a question for the metrics on its way.
    let none_left = || descriptors().iter().zip(&before).all(|(now, before)| now <= before);
    assert!(eventually(DEADLINE, none_left), "{before:?} {:?}", descriptors());
    drop((first, others));
}

/// Worker 1 has connections of worker 0's sessions, and cannot pass them on.
#[test]
fn a_worker_that_is_drained_breaks_no_session_of_another_one() {
    let cluster = Encrypted::start();
    let at = |worker: u16| cluster.at(worker);
    let sessions: Vec<_> =
        (0..6).map(|_| PollingSession::open(at(0), "/socket.io/", Form::V4)).collect();
    let poll = |session: &PollingSession| {
        let mut http = RawHttp::connect(at(1));
        http.send("GET", &session.target, &[], b"");
        http
    };
    let polls: Vec<_> = sessions.iter().map(poll).collect();
    let mut socket = cluster.carried();
    assert!(eventually(DEADLINE, || cluster.gauge("sedge_polls_waiting", 0) == 6));

    let run_dir = cluster.server.folder().join("run").to_str().expect("UTF-8").to_owned();
    assert!(output(&["drain", "1", "--run-dir", &run_dir]).status.success());
    for mut http in polls {
        http.receive().expect(200, "6");
    }
    // A WebSocket is let go as those of the worker's own sessions are.
    while let Frame::Text(_) = socket.receive() {}
    // The sessions go on, by another connection.
    for session in &sessions {
        RawHttp::connect(at(0)).post(&session.target, "40").expect(200, "ok");
    }
    let replaced = || cluster.status().contains("ended with status 0");
    // A process has to end and another one to start.
    assert!(eventually(DEADLINE * 3, replaced));
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let certificate = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("one");
    let folder = Folder::new();
    let cert = folder.write("cert.pem", &certificate().cert.pem());
    let key = folder.write("key.pem", &certificate().signing_key.serialize_pem());
    let empty = folder.write("empty.pem", "");
    for (cert, key, words) in [
        (&cert, &key, "cert.pem and "),
        (&empty, &key, "empty.pem: there is no certificate in it"),
        (&cert, &empty, "empty.pem: "),
    ] {
        let output = sedge(&folder)
            .args(["check-config", "--tls-cert", cert, "--tls-key", key])
            .output()
            .expect("the program starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(words), "{stderr}");
    }
}
