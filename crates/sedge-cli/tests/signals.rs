//! Signals that must not end a server abruptly, and what the first process of a container owes others.

mod common;

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use common::{Folder, Sedge, output, sedge};
use rustix::process::{Pid, Signal, kill_process};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use sedge_testkit::{Frame, RawHttp, SioClient, eventually};
use serde_json::Value;

/// Processes have to start and end on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(30);

const SERVE: &[&str] = &["serve"];
const CLUSTER: &[&str] = &["cluster", "--workers", "2", "--run-dir", "run"];

fn start(arguments: &[&str]) -> Sedge {
    let folder = Folder::new();
    let mut command = sedge(&folder);
    command.args(arguments).args(["--listen", "127.0.0.1:0"]);
    Sedge::run(command, folder)
}

fn status(run_dir: &Path) -> Value {
    let run_dir = run_dir.to_str().expect("UTF-8");
    let output = output(&["status", "--json", "--run-dir", run_dir]);
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

fn process(pid: u64) -> Pid {
    i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id")
}

/// A closed terminal, `systemctl reload` and logrotate send it.
#[test]
fn a_hangup_ends_nobody_and_says_what_it_does() {
    for arguments in [SERVE, CLUSTER] {
        let server = start(arguments);
        let (mut client, _) = SioClient::connect(server.address);
        assert!(client.receive().starts_with("2[\"server\""));
        // Other servers reopen their logs by these.
        server.signal(Signal::USR1);
        server.signal(Signal::USR2);
        server.signal(Signal::HUP);
        if arguments == CLUSTER {
            let workers = status(&server.folder().join("run"))["workers"].clone();
            for worker in workers.as_array().expect("workers") {
                let pid = process(worker["pid"].as_u64().expect("a process"));
                kill_process(pid, Signal::USR1).expect("it runs");
                kill_process(pid, Signal::HUP).expect("it runs");
            }
        }
        client.send(r#"21["hello",{"name":"Ada","room":"lobby"}]"#);
        while !client.receive().starts_with("31[{\"ok\":true") {}
        assert_eq!(RawHttp::connect(server.address).get("/health").status, 200);
        server.signal(Signal::QUIT);
        while client.receive_frame() != Frame::Closed {}
        let end = server.wait();
        assert_eq!(end.code, Some(0), "{}", end.log);
        assert!(end.log.contains("settings and program stay until a restart"), "{}", end.log);
        assert!(end.log.contains("SIGQUIT"), "{}", end.log);
    }
}

#[test]
fn a_worker_that_is_told_to_quit_does_so_in_order() {
    let server = start(CLUSTER);
    let run_dir = server.folder().join("run");
    let pid = |status: &Value| status["workers"][1]["pid"].as_u64();
    let old = pid(&status(&run_dir)).expect("a worker");
    kill_process(process(old), Signal::QUIT).expect("it runs");
    let replaced = || {
        let status = status(&run_dir);
        pid(&status).is_some_and(|pid| pid != old) && status["workers"][1]["state"] == "ready"
    };
    assert!(eventually(PATIENCE, replaced), "{:#}", status(&run_dir));
    assert_eq!(status(&run_dir)["workers"][1]["last_exit"], "ended with status 0");
}

/// Takes any certificate: the tests look at which one it is.
#[derive(Debug)]
struct Anything;

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// The certificate that a new connection is shown.
fn shown(address: SocketAddr) -> Vec<u8> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything))
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let mut tls = ClientConnection::new(Arc::new(config), name).expect("a connection");
    let mut stream = TcpStream::connect(address).expect("the server accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    while tls.is_handshaking() {
        tls.complete_io(&mut stream).expect("a handshake");
    }
    tls.peer_certificates().and_then(<[_]>::first).expect("a certificate").to_vec()
}

type Made = rcgen::CertifiedKey<rcgen::KeyPair>;

#[test]
fn a_hangup_has_certificates_read_again() {
    let made = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("one");
    for arguments in [SERVE, CLUSTER] {
        let (folder, first, second) = (Folder::new(), made(), made());
        let cert = folder.write("cert.pem", &first.cert.pem());
        let key = folder.write("key.pem", &first.signing_key.serialize_pem());
        let path = folder.path().to_owned();
        let log = std::fs::File::create(path.join("log")).expect("a file");
        let mut command = sedge(&folder);
        command.args(arguments);
        command.args(["--listen", "127.0.0.1:0", "--tls-cert", &cert, "--tls-key", &key]);
        let mut server = Sedge::run_logging_to(log.into(), command, folder, "https");
        let shows = |wanted: &Made| {
            // Connections go to the workers in turn.
            (0..4).all(|_| shown(server.address) == **wanted.cert.der())
        };
        let write = |name: &str, text: &str| std::fs::write(path.join(name), text).expect("a file");
        let logged = |text: &str| {
            let log = std::fs::read_to_string(path.join("log")).expect("a log");
            log.matches(text).count() == if arguments == SERVE { 1 } else { 2 }
        };
        assert!(shows(&first));
        // Files that are not what they must be change nothing.
        write("cert.pem", "no certificate");
        server.signal(Signal::HUP);
        assert!(eventually(PATIENCE, || logged("there is no certificate in it")));
        assert!(shows(&first));
        write("cert.pem", &second.cert.pem());
        write("key.pem", &second.signing_key.serialize_pem());
        server.signal(Signal::HUP);
        assert!(eventually(PATIENCE, || logged("the certificate was read again")));
        assert!(shows(&second));
        server.signal(Signal::TERM);
        assert_eq!(server.wait_for_process(), Some(0));
    }
}

/// `docker stop` sends SIGTERM, and SIGKILL ten seconds later.
#[test]
fn ten_seconds_are_enough_to_end_in_order() {
    let server = start(CLUSTER);
    // They do not answer that the connection is to be closed.
    let _silent: Vec<_> = (0..30).map(|_| SioClient::connect(server.address).0).collect();
    let mut idle = RawHttp::connect(server.address);
    assert_eq!(idle.get("/health").status, 200);
    let pid = server.pid();
    let (ended, end) = channel::<()>();
    let stop = thread::spawn(move || {
        kill_process(pid, Signal::TERM).expect("it runs");
        if end.recv_timeout(Duration::from_secs(10)).is_err() {
            let _ = kill_process(pid, Signal::KILL);
        }
    });
    let end = server.wait();
    drop(ended);
    assert_eq!(end.code, Some(0), "{}", end.log);
    stop.join().expect("no panic");
}

/// Processes that have lost their parents, such as those of a shell in the container, become children of
/// the first process.
#[test]
fn the_first_process_of_a_container_reaps_everybody() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = Folder::new();
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child", "/bin/sh", "-c"]);
    // The shell is the first process, and the server takes its place; the others end later.
    command.arg(r#"(sleep 0.3 & sleep 0.3 & sleep 0.6 &) ; sleep 0.4 & exec "$@""#).arg("sh");
    command.arg(env!("CARGO_BIN_EXE_sedge")).args(CLUSTER).args(["--listen", "127.0.0.1:0"]);
    command.env_clear().env("PATH", "/usr/bin:/bin").current_dir(folder.path());
    let server = Sedge::run(command, folder);
    let [first] = children(server.pid())[..] else { panic!("one process in the namespace") };
    let workers_only = || children(first).len() == 2;
    assert!(eventually(PATIENCE, workers_only), "{:?}", children(first));
    // Its own are still waited for by whoever keeps them.
    let before = children(first);
    kill_process(before[1], Signal::KILL).expect("a worker");
    let replaced = || {
        let now = children(first);
        now.len() == 2 && !now.contains(&before[1])
    };
    assert!(eventually(PATIENCE, replaced), "{:?}", children(first));
    assert!(eventually(PATIENCE, || RawHttp::connect(server.address).get("/health").status == 200));
    kill_process(first, Signal::TERM).expect("it runs");
    let end = server.wait();
    assert_eq!(end.code, Some(0), "{}", end.log);
    assert!(end.log.contains("was killed (signal 9)"), "{}", end.log);
}

/// The children of a process, zombies included.
fn children(pid: Pid) -> Vec<Pid> {
    let pid = pid.as_raw_nonzero();
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let list = list.expect("the process runs");
    list.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}
