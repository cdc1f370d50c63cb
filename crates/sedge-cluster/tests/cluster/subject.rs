//! The program under test: this very test program, started again with another purpose.
//!
//! Its workers answer HTTP requests and know nothing of Socket.IO. What a worker does is said by
//! the path of a request; what the cluster is like, by environment variables.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sedge_adapter::{Audience, Bus, BusReceiver, Peer, PeerId, Topic};
use sedge_cluster::{Cluster, ClusterBuilder, Listen, Passed, Siblings, Stats, Stream, Worker};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Set in the processes under test.
pub(crate) const ROLE: &str = "SEDGE_TEST_CLUSTER";
/// The secret of clusters under test.
pub(crate) const SECRET: &[u8] = b"the secret of a cluster under test";

/// A former secret, whose session ids are still known.
pub(crate) const FORMER: &[u8] = b"the secret of the year before";

/// No test: what the processes under test run.
#[test]
fn subject() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).init();
    let mut runtime = match variable::<usize>("THREADS") {
        None => tokio::runtime::Builder::new_current_thread(),
        Some(threads) => {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            runtime.worker_threads(threads);
            runtime
        }
    };
    let runtime = runtime.enable_all().build().unwrap();
    let code = runtime.block_on(async {
        match configured().run(work).await {
            Ok(ended) => ended.code(),
            Err(error) => {
                eprintln!("cluster: {error}");
                3
            }
        }
    });
    std::process::exit(code);
}

fn variable<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

fn configured() -> ClusterBuilder {
    let millis = |name, default| Duration::from_millis(variable(name).unwrap_or(default));
    let mut builder = Cluster::builder()
        .workers(variable("WORKERS").unwrap_or(2))
        .secret(SECRET)
        .previous_secret(FORMER)
        .version("7.8.9")
        .heartbeat(millis("HEARTBEAT", 50), variable("MISSED").unwrap_or(20))
        .crash_loop(variable("CRASHES").unwrap_or(5), millis("CRASH_PACE", 30_000))
        .start_timeout(millis("START_TIMEOUT", 10_000))
        .start_patience(millis("START_PATIENCE", 5000))
        .head_timeout(millis("HEAD_TIMEOUT", 10_000))
        .undecided_max(variable("UNDECIDED").unwrap_or(4096))
        .pass_queue_max(variable("PASS_QUEUE").unwrap_or(4096))
        .drain_deadline(millis("DRAIN", 5000))
        .drain_delay(millis("DRAIN_DELAY", 0))
        .orphan_deadline(millis("ORPHAN", 60_000))
        .activation(std::env::var_os("ACTIVATION").is_some())
        .on_serving(|listening| {
            let mut out = io::stdout().lock();
            let _ = writeln!(out, "SERVING {}", listening.join(" "));
            let _ = out.flush();
        });
    if let Some(run_dir) = variable::<PathBuf>("RUN_DIR").filter(|dir| !dir.as_os_str().is_empty())
    {
        builder = builder.run_dir(run_dir);
    }
    for address in std::env::var("LISTEN").unwrap_or_default().split_whitespace() {
        builder = match address.strip_prefix("unix:") {
            Some(path) => builder.listen(Listen::unix(path)),
            None => builder.listen(address.parse::<SocketAddr>().unwrap()),
        };
    }
    if let Some(base) = variable("PORT_PER_WORKER") {
        builder = builder.port_per_worker(base);
    }
    if let Some(admin) = variable("ADMIN") {
        builder = builder.admin(admin);
    }
    if std::env::var_os("PROXY").is_some() {
        let loopback = sedge_sticky::Network::new("127.0.0.0".parse().unwrap(), 8).unwrap();
        let routing = sedge_sticky::Config {
            proxy_protocol: true,
            trusted: sedge_sticky::Networks::new([loopback]).unwrap(),
            ..sedge_sticky::Config::default()
        };
        builder = builder.routing(routing);
    }
    builder
}

struct Site {
    index: u8,
    connections: AtomicU64,
    opened: AtomicU64,
    /// Until when the work stands still.
    stuck: Mutex<Option<Instant>>,
    progress: AtomicU64,
    siblings: Siblings,
    bus: Arc<sedge_cluster::UnixBus>,
    heard: Arc<Heard>,
}

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl BusReceiver for Heard {
    fn on_message(&self, _from: PeerId, message: Bytes) {
        self.0.lock().unwrap().push(String::from_utf8_lossy(&message).into_owned());
    }

    fn on_joined(&self, peer: Peer) {
        self.0.lock().unwrap().push(format!("joined {}", peer.name));
    }

    fn on_left(&self, peer: PeerId, _: u64) {
        self.0.lock().unwrap().push(format!("left {peer}"));
    }
}

/// Whether this worker is the one that a variable such as `EXIT_AT_START=1` names.
fn is_named(variable_name: &str, index: u8) -> bool {
    std::env::var(variable_name).is_ok_and(|text| text == "all" || text == index.to_string())
}

async fn work(mut worker: Worker) -> Result<(), io::Error> {
    let index = worker.index();
    if is_named("FAIL_AT_START", index) {
        return Err(io::Error::other("the data file is missing"));
    }
    if is_named("HANG_AT_START", index) {
        tokio::time::sleep(Duration::from_hours(1)).await;
    }
    assert_eq!(worker.secret(), SECRET);
    assert_eq!(worker.previous_secrets().collect::<Vec<_>>(), [FORMER]);
    if std::env::var_os("RAISE_NOFILE").is_some() {
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    }
    let site = open(&worker);
    let mut connections = worker.connections().unwrap();
    if let Some(delay) = variable("START_DELAY") {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    worker.ready().await?;
    let mut drains = worker.drains();
    loop {
        tokio::select! {
            passed = connections.next() => match passed {
                Some(passed) => {
                    tokio::spawn(serve(Arc::clone(&site), passed));
                }
                None => break,
            },
            _ = drains.wait() => break,
        }
    }
    if std::env::var_os("IGNORE_DRAIN").is_some() {
        std::future::pending::<()>().await;
    }
    // What is on its way is still answered; those that stay are closed after a while.
    let deadline =
        tokio::time::Instant::now() + Duration::from_millis(variable("LINGER").unwrap_or(300));
    while site.connections.load(Ordering::SeqCst) > 0 && tokio::time::Instant::now() < deadline {
        tokio::select! {
            Some(passed) = connections.next() => {
                tokio::spawn(serve(Arc::clone(&site), passed));
            }
            () = tokio::time::sleep(Duration::from_millis(10)) => {}
        }
    }
    Ok(())
}

/// Gets on the bus, and lets the worker be asked.
fn open(worker: &Worker) -> Arc<Site> {
    let index = worker.index();
    let heard = Arc::new(Heard::default());
    let site = Arc::new(Site {
        index,
        connections: AtomicU64::new(0),
        opened: AtomicU64::new(0),
        stuck: Mutex::default(),
        progress: AtomicU64::new(0),
        siblings: worker.siblings(),
        bus: worker.bus(),
        heard: Arc::clone(&heard),
    });
    worker.bus().start(heard);
    worker.bus().subscribe(Topic::Namespace("/"));
    worker.bus().subscribe(Topic::Room("/", &format!("room {index}")));
    let asked = Arc::clone(&site);
    worker.report_from(move || {
        let connections = asked.connections.load(Ordering::SeqCst);
        let opened = asked.opened.load(Ordering::SeqCst);
        let sessions = [("http".to_owned(), connections)].into_iter().collect();
        Stats { connections, opened, sessions }
    });
    let asked = Arc::clone(&site);
    worker.metrics_from(move || {
        let connections = asked.connections.load(Ordering::SeqCst);
        let head = "# HELP test_connections Open.\n# TYPE test_connections gauge\n";
        format!("{head}test_connections {connections}\n")
    });
    let asked = Arc::clone(&site);
    worker.progress_from(move || {
        // As a thread would that looks after itself.
        if asked.stuck.lock().unwrap().is_none_or(|until| until <= Instant::now()) {
            asked.progress.fetch_add(1, Ordering::SeqCst);
        }
        vec![asked.progress.load(Ordering::SeqCst)]
    });
    site
}

async fn serve(site: Arc<Site>, passed: Passed) {
    site.connections.fetch_add(1, Ordering::SeqCst);
    site.opened.fetch_add(1, Ordering::SeqCst);
    let about = About {
        peer: passed.peer,
        secure: passed.secure,
        listener: passed.listener,
        unix: matches!(passed.stream, Stream::Unix(_)),
    };
    let read = BytesMut::from(&passed.read[..]);
    let _ = match passed.stream {
        Stream::Tcp(stream) => match tokio::net::TcpStream::from_std(stream) {
            Ok(stream) => answer_all(&site, stream, about, read).await,
            Err(error) => Err(error),
        },
        Stream::Unix(stream) => match tokio::net::UnixStream::from_std(stream) {
            Ok(stream) => answer_all(&site, stream, about, read).await,
            Err(error) => Err(error),
        },
    };
    site.connections.fetch_sub(1, Ordering::SeqCst);
}

#[derive(Clone, Copy)]
struct About {
    peer: Option<SocketAddr>,
    secure: bool,
    listener: u16,
    unix: bool,
}

async fn answer_all(
    site: &Arc<Site>,
    mut stream: impl AsyncRead + AsyncWrite + AsFd + Unpin,
    about: About,
    mut read: BytesMut,
) -> io::Result<()> {
    let already = read.len();
    loop {
        let end = loop {
            if let Some(at) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&read[..end]).into_owned();
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let body = match path {
            "/pass" if query != site.index.to_string() => {
                let to = query.parse().unwrap_or(0);
                let copy = stream.as_fd().try_clone_to_owned()?;
                drop(stream);
                return pass_on(site, to, copy, about, read.split()).await;
            }
            "/wait" => {
                let mut byte = [0];
                let _ = stream.read(&mut byte).await?;
                return Ok(());
            }
            _ => act(site, path, query, &head, already, about),
        };
        let _ = read.split_to(end);
        let length = body.len();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).await?;
    }
}

async fn pass_on(
    site: &Site,
    to: u8,
    copy: OwnedFd,
    about: About,
    read: BytesMut,
) -> io::Result<()> {
    let stream = if about.unix { Stream::Unix(copy.into()) } else { Stream::Tcp(copy.into()) };
    let About { peer, secure, listener, .. } = about;
    let passed = Passed { stream, peer, secure, listener, read: read.freeze() };
    if let Err(not) = site.siblings.pass(to, passed).await {
        let answer =
            format!("HTTP/1.1 502 Not Passed\r\ncontent-length: 0\r\nwhy: {}\r\n\r\n", not.reason);
        rustix::io::write(not.passed.stream.as_fd(), answer.as_bytes())?;
    }
    Ok(())
}

fn act(site: &Site, path: &str, query: &str, head: &str, already: usize, about: About) -> String {
    match path {
        "/exit" => std::process::exit(query.parse().unwrap_or(1)),
        "/hang" => {
            std::thread::sleep(Duration::from_hours(1));
            String::new()
        }
        "/stuck" => {
            let millis = query.split('&').next().and_then(|text| text.parse().ok());
            let until = Instant::now() + Duration::from_millis(millis.unwrap_or(3_600_000));
            *site.stuck.lock().unwrap() = Some(until);
            String::new()
        }
        "/publish" => {
            let message = Bytes::from(format!("{query} of {}", site.index));
            let published = site.bus.publish(Audience::Namespace("/"), &message);
            format!("{}", published.reached.len())
        }
        "/room" => {
            let room = Arc::from(query.replace('+', " "));
            let message = Bytes::from(format!("in {query}"));
            format!("{}", site.bus.publish(Audience::Rooms("/", &[room]), &message).reached.len())
        }
        "/heard" => site.heard.0.lock().unwrap().join("\n"),
        "/peers" => format!("{}", site.bus.peers().len()),
        "/about" => format!("{:?} {} {}", about.peer, about.secure, about.listener),
        "/length" => format!("{} {already}", head.len()),
        _ => format!("{} {}", site.index, std::process::id()),
    }
}
