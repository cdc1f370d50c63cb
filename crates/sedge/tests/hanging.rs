//! Workers of a cluster that hang, and some that only have much to do.
//!
//! The cluster is this very test program, started again with another purpose.
#![cfg(all(feature = "cluster", target_os = "linux"))]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sedge::extract::{Data, State};
use sedge::{EmitError, ListenOptions, Server, Socket};
use sedge_cluster::{Cluster, Ended, Worker, WorkerState, WorkerStatus, control};
use sedge_testkit::{SioClient, eventually};

const RUN_DIR: &str = "SEDGE_TEST_HANGING";

/// Processes have to start on a machine that does other things too.
const PATIENCE: Duration = Duration::from_mins(1);

/// A worker is killed after five seconds: longer than a busy machine makes a healthy one wait.
const BEAT: Duration = Duration::from_millis(100);
const MISSED_MAX: u32 = 50;

struct Here {
    worker: u8,
    worked: AtomicU32,
}

/// No test: what the processes under test run.
#[test]
fn subject() {
    let Some(run_dir) = std::env::var_os(RUN_DIR) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let address: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let cluster = Cluster::builder()
        .workers(2)
        .listen(address)
        .run_dir(run_dir)
        .heartbeat(BEAT, MISSED_MAX)
        .on_serving(|addresses| {
            let _ = writeln!(std::io::stdout(), "SERVING {}", addresses[0]);
        });
    let ended = runtime.expect("a runtime").block_on(cluster.run(work));
    std::process::exit(ended.map_or(3, Ended::code));
}

async fn work(worker: Worker) -> Result<(), Box<dyn std::error::Error>> {
    let here = Here { worker: worker.index(), worked: AtomicU32::new(0) };
    let io = Server::builder().cluster(&worker).state(here).build()?;
    io.on_connect(async |socket: Socket, State(here): State<Here>| {
        socket.emit("served by", &here.worker)
    });
    io.on("block", async || std::thread::sleep(Duration::from_hours(1)));
    io.on("flood", async |io: Server, Data(count): Data<u32>| {
        (0..count).try_for_each(|number| io.emit("noise", &number))?;
        io.local().emit("flooded", &())
    });
    io.on("give work", async |io: Server, Data(count): Data<u32>| {
        (0..count).try_for_each(|_| io.server_side_emit("work", &count))
    });
    io.on_server_side(
        "work",
        async |io: Server, State(here): State<Here>, Data(count): Data<u32>| {
            std::thread::sleep(Duration::from_millis(2));
            let worked = here.worked.fetch_add(1, Ordering::SeqCst) + 1;
            if worked % 500 == 0 || worked == count {
                io.emit("worked", &worked)?;
            }
            Ok::<(), EmitError>(())
        },
    );
    io.serve_worker(worker, ListenOptions::new()).await?;
    Ok(())
}

struct Host {
    supervisor: Child,
    run_dir: PathBuf,
    address: SocketAddr,
}

fn start(name: &str) -> Host {
    let run_dir = std::env::temp_dir().join(format!("sedge-{name}-{}", std::process::id()));
    let mut supervisor = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "subject", "--nocapture", "--test-threads=1"])
        .env(RUN_DIR, &run_dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let stdout = BufReader::new(supervisor.stdout.take().expect("a pipe"));
    let mut lines = stdout.lines().map_while(Result::ok);
    let address = lines.find_map(|line| line.split_once("SERVING ")?.1.parse().ok());
    // The test harness in the processes must be able to go on talking.
    std::thread::spawn(move || lines.for_each(drop));
    Host { supervisor, run_dir, address: address.expect("it serves") }
}

impl Host {
    fn worker(&self, index: usize) -> WorkerStatus {
        control::status(&self.run_dir).expect("a status").workers.swap_remove(index)
    }

    /// A client on each of the two workers.
    fn clients(&self) -> [SioClient; 2] {
        let mut found = [None, None];
        while let [None, _] | [_, None] = found {
            let mut client = SioClient::open(self.address);
            client.join("/");
            let packet = client.receive();
            let worker = packet.strip_prefix(r#"2["served by","#).and_then(|rest| rest.get(..1));
            let worker: usize = worker.and_then(|text| text.parse().ok()).expect("a worker");
            found[worker] = Some(client);
        }
        found.map(|client| client.expect("found"))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The workers go with it, at once.
        let _ = control::stop(&self.run_dir);
        let ended =
            eventually(PATIENCE, || self.supervisor.try_wait().is_ok_and(|end| end.is_some()));
        if !ended {
            let _ = self.supervisor.kill();
        }
        let _ = std::fs::remove_dir_all(&self.run_dir);
    }
}

/// Nothing can be asked of it any more, not even whether it lives.
#[test]
fn a_shard_that_is_blocked_with_a_full_queue_is_found_and_replaced() {
    let host = start("blocked");
    let [mut ada, mut blocked] = host.clients();
    let old = host.worker(1).pid;
    blocked.send(r#"2["block"]"#);
    // More than a shard's queue holds.
    ada.send(r#"2["flood",20000]"#);
    while ada.receive() != r#"2["flooded"]"# {}
    let replaced = || {
        let worker = host.worker(1);
        worker.pid != old && worker.state == WorkerState::Ready
    };
    assert!(eventually(PATIENCE, replaced), "{:?}", host.worker(1));
    let last = host.worker(1).last_exit.expect("one has ended");
    assert!(last.starts_with("hung: 50 heartbeats were not answered"), "{last}");
}

#[test]
fn a_shard_that_has_much_to_do_is_left_alone() {
    let host = start("busy");
    let [mut ada, _other] = host.clients();
    let old = host.worker(1).pid;
    // Twice as long as a worker may be silent.
    ada.send(r#"2["give work",5000]"#);
    while ada.receive() != r#"2["worked",5000]"# {}
    let worker = host.worker(1);
    assert_eq!((worker.pid, worker.restarts), (old, 0), "{worker:?}");
}
