//! A thread of the server that is lost ends its process with words, alone and as a worker of a cluster.
//!
//! Each test runs this program once more, as the server. What it loses its thread by is a subscriber that
//! panics when something is logged as an error: handlers and hooks are guarded, logging is not.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use sedge::Server;
use sedge::extract::Ack;
use sedge_testkit::{SioClient, eventually};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// A process has to start on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the server's process ends with if it has noticed.
const NOTICED: i32 = 3;

struct Fragile;

impl Subscriber for Fragile {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        // Others are to tell of it.
        let thread = std::thread::current();
        assert!(
            thread.name().is_none_or(|name| !name.starts_with("sedge-shard")),
            "the log is full"
        );
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Loses a thread when a client goes.
fn install(io: &Server) {
    tracing::subscriber::set_global_default(Fragile).expect("the only one");
    io.on("pid", async |ack: Ack| ack.send(&std::process::id()));
    io.on_disconnect(async || -> Result<(), String> { Err("as asked".to_owned()) });
}

/// Not a test: what [`Process`] runs.
#[test]
#[ignore = "a process of the tests beside it"]
fn server() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let failed = runtime.expect("a runtime").block_on(async {
        match std::env::var("RUN_DIR") {
            Err(_) => alone().await,
            Ok(run_dir) => cluster(&run_dir).await,
        }
    });
    say(&failed);
    std::process::exit(NOTICED);
}

/// A line in one piece: the panic's own words come from another thread at the same time.
fn say(line: &str) {
    std::io::stderr().write_all(format!("\n{line}\n").as_bytes()).expect("a reader");
}

async fn alone() -> String {
    let io = Server::builder().shards(3).build().expect("a server");
    install(&io);
    let listening = io.listen("127.0.0.1:0".parse().expect("an address")).await;
    say(&format!("SERVING {}", listening.expect("a free port").local_addr()));
    io.failed().await.to_string()
}

#[cfg(feature = "cluster")]
async fn cluster(run_dir: &str) -> String {
    let ended = sedge_cluster::Cluster::builder()
        .listen("127.0.0.1:0".parse::<SocketAddr>().expect("an address"))
        .workers(1)
        .run_dir(run_dir)
        .on_serving(|addresses| say(&format!("SERVING {}", addresses[0])))
        .run(async |worker| {
            let io = Server::builder().cluster(&worker).build()?;
            install(&io);
            let served = io.serve_worker(worker, sedge::ListenOptions::new()).await;
            if let Err(error) = &served {
                say(&format!("WORKER {error}"));
            }
            served.map_err(Box::<dyn std::error::Error>::from)
        })
        .await;
    format!("{:?}", ended.map(sedge_cluster::Ended::code).map_err(|error| error.to_string()))
}

#[cfg(not(feature = "cluster"))]
#[expect(clippy::unused_async, reason = "it stands in for one that waits")]
async fn cluster(_: &str) -> String {
    unreachable!("asked for by tests of the feature only")
}

struct Process {
    child: Child,
    address: SocketAddr,
    /// The lines of its standard error.
    log: Receiver<String>,
}

impl Process {
    fn start(run_dir: Option<&std::path::Path>) -> Process {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", "server", "--ignored", "--nocapture", "--test-threads=1"]);
        if let Some(run_dir) = run_dir {
            command.env("RUN_DIR", run_dir);
        }
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("a process");
        let lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let (sender, log) = mpsc::channel();
        std::thread::spawn(move || {
            lines.map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let address = line_with(&log, "SERVING ").parse().expect("an address");
        Process { child, address, log }
    }

    fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        let ended = eventually(PATIENCE, || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        assert!(ended, "the process does not end");
        status.expect("a status")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What follows these words in the next line that has them.
#[track_caller]
fn line_with(log: &Receiver<String>, words: &str) -> String {
    let mut others = String::new();
    loop {
        let Ok(line) = log.recv_timeout(PATIENCE) else {
            panic!("no line with {words:?}:\n{others}")
        };
        if let Some((_, rest)) = line.split_once(words) {
            return rest.to_owned();
        }
        others += &(line + "\n");
    }
}

/// The process that serves a client.
fn pid(client: &mut SioClient) -> String {
    client.send(r#"20["pid"]"#);
    client.receive()
}

#[test]
fn a_server_ends_with_words() {
    let mut process = Process::start(None);
    let mut others: Vec<_> = (0..5).map(|_| SioClient::connect(process.address).0).collect();
    pid(&mut others[0]);
    SioClient::connect(process.address).0.abort();
    assert_eq!(process.wait().code(), Some(NOTICED));
    line_with(&process.log, "its driver panicked: the log is full");
    for mut other in others {
        other.expect_end();
    }
}

#[cfg(feature = "cluster")]
#[test]
fn a_worker_ends_with_words_and_is_replaced() {
    let run_dir = std::env::temp_dir().join(format!("sedge-failure-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&run_dir);
    let mut process = Process::start(Some(&run_dir));
    let mut client = SioClient::connect(process.address).0;
    let first = pid(&mut client);
    SioClient::connect(process.address).0.abort();
    let words = line_with(&process.log, "WORKER ");
    assert!(words.contains("its driver panicked: the log is full"), "{words}");
    client.expect_end();
    // Whoever asks meanwhile is told to come again.
    let polling = "/socket.io/?EIO=4&transport=polling";
    let replaced = eventually(PATIENCE, || {
        sedge_testkit::RawHttp::connect(process.address).get(polling).status == 200
    });
    assert!(replaced);
    let mut client = SioClient::connect(process.address).0;
    assert_ne!(pid(&mut client), first);
    let supervisor = process.child.id().to_string();
    assert!(Command::new("kill").arg(supervisor).status().expect("kill").success());
    process.wait();
    let _ = std::fs::remove_dir_all(&run_dir);
}
