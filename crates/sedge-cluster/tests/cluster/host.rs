//! Starting and watching a cluster.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use sedge_cluster::{Status, WorkerState, WorkerStatus, control};
use sedge_protocol::sid::{Owner, SidCodec};
use sedge_testkit::{RawHttp, eventually};

use super::subject::{ROLE, SECRET};

/// Longer than the testkit's: processes have to start on a machine that does other things too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A cluster to be started.
pub(crate) struct Plan {
    command: Command,
    run_dir: PathBuf,
    keep_run_dir: bool,
}

/// A running cluster.
pub(crate) struct Host {
    pub(crate) supervisor: Child,
    pub(crate) run_dir: PathBuf,
    pub(crate) addresses: Vec<String>,
    keep_run_dir: bool,
    log: Arc<Mutex<Vec<String>>>,
    serving: Arc<Mutex<Option<String>>>,
    signalled: Mutex<BTreeMap<usize, u32>>,
}

/// A cluster of this many workers on a port of 127.0.0.1.
pub(crate) fn plan(workers: u16) -> Plan {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let run_dir = std::env::temp_dir().join(format!("sedge-it-{}-{number}", std::process::id()));
    let _ = std::fs::remove_dir_all(&run_dir);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "subject::subject", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, "1").env("RUST_BACKTRACE", "1");
    command.env_remove("LISTEN_FDS").env_remove("LISTEN_PID");
    let plan = Plan { command, run_dir, keep_run_dir: false };
    plan.set("WORKERS", workers).set("LISTEN", "127.0.0.1:0")
}

impl Plan {
    pub(crate) fn set(mut self, name: &str, value: impl std::fmt::Display) -> Plan {
        self.command.env(name, value.to_string());
        self
    }

    /// Uses the run directory of another cluster.
    pub(crate) fn run_dir(mut self, path: &Path) -> Plan {
        path.clone_into(&mut self.run_dir);
        self.keep_run_dir = true;
        self
    }

    /// Leaves it to the cluster where its sockets are.
    pub(crate) fn default_run_dir(mut self) -> Plan {
        self.run_dir = PathBuf::new();
        self
    }

    /// Has the process started by a shell, after these commands. They must end in `exec "$@"`.
    pub(crate) fn through_shell(mut self, script: &str) -> Plan {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script, "sh"]).arg(self.command.get_program());
        command.args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        self.command = command;
        self
    }

    pub(crate) fn stdin(mut self, stdin: impl Into<Stdio>) -> Plan {
        self.command.stdin(stdin);
        self
    }

    /// Starts it, and waits until it serves.
    pub(crate) fn serve(self) -> Host {
        let mut host = self.start();
        assert!(eventually(PATIENCE, || host.serving.lock().unwrap().is_some()), "{}", host.log());
        let line = host.serving.lock().unwrap().clone().unwrap();
        host.addresses = line.split_whitespace().map(str::to_owned).collect();
        if host.run_dir.as_os_str().is_empty() {
            host.run_dir = sedge_cluster::default_run_dir(host.address().port());
        }
        host
    }

    /// Starts it.
    pub(crate) fn start(mut self) -> Host {
        let mut supervisor = self
            .command
            .env("RUN_DIR", &self.run_dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (log, serving) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<Mutex<_>>::default());
        let (lines, said) = (Arc::clone(&log), Arc::clone(&serving));
        let stdout = BufReader::new(supervisor.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // The test harness of the process may have begun the line.
                if let Some((_, rest)) = line.split_once("SERVING ") {
                    *said.lock().unwrap() = Some(rest.to_owned());
                }
            }
        });
        let stderr = BufReader::new(supervisor.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        let Plan { run_dir, keep_run_dir, .. } = self;
        Host {
            supervisor,
            run_dir,
            addresses: Vec::new(),
            keep_run_dir,
            log,
            serving,
            signalled: Mutex::default(),
        }
    }
}

impl Host {
    /// Its first address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0].parse().unwrap()
    }

    pub(crate) fn connect(&self) -> RawHttp {
        RawHttp::connect(self.address())
    }

    /// The body of the answer to a GET on a connection of its own.
    #[track_caller]
    pub(crate) fn get(&self, target: &str) -> String {
        let response = self.connect().get(target);
        assert_eq!(response.status, 200, "{target}: {}", response.text());
        response.text().to_owned()
    }

    /// What it has written to standard error.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    #[track_caller]
    pub(crate) fn expect_log(&self, text: &str) {
        assert!(eventually(PATIENCE, || self.log().contains(text)), "{text:?} in {}", self.log());
    }

    pub(crate) fn status(&self) -> Status {
        control::status(&self.run_dir).expect("a status")
    }

    pub(crate) fn worker(&self, index: usize) -> WorkerStatus {
        self.status().workers.swap_remove(index)
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, what: &str, mut condition: impl FnMut(&Status) -> bool) {
        let last = std::cell::RefCell::new(None);
        let met = eventually(PATIENCE, || match control::status(&self.run_dir) {
            Ok(status) => {
                let met = condition(&status);
                last.replace(Some(status));
                met
            }
            Err(_) => false,
        });
        assert!(met, "{what}: {:#?}\n{}", last.take(), self.log());
    }

    #[track_caller]
    pub(crate) fn wait_for_state(&self, worker: usize, state: WorkerState) {
        self.wait_for(&format!("worker {worker} {state}"), |status| {
            status.workers[worker].state == state
        });
    }

    /// Sends a signal to one of this host's workers.
    pub(crate) fn signal_worker(&self, index: usize, signal: Signal) -> u32 {
        let pid = self.worker(index).pid.expect("a process");
        kill_process(process(pid), signal).unwrap();
        if signal == Signal::STOP {
            // The call returns when the signal is sent; a thread that runs may answer something yet.
            assert!(eventually(PATIENCE, || is_stopped(pid)), "worker {index} goes on");
        }
        self.signalled.lock().unwrap().insert(index, pid);
        pid
    }

    /// The process that was last sent a signal, for when the supervisor cannot be asked.
    pub(crate) fn worker_without_asking(&self, index: usize) -> u32 {
        self.signalled.lock().unwrap()[&index]
    }

    /// Waits until a worker has a ready successor.
    #[track_caller]
    pub(crate) fn wait_for_successor(&self, index: usize, old: u32) {
        self.wait_for("a successor", |status| {
            let worker = &status.workers[index];
            worker.pid.is_some_and(|pid| pid != old) && worker.state == WorkerState::Ready
        });
    }

    /// The descriptors that the supervisor has open.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.supervisor.id())).unwrap().count()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(process(self.supervisor.id()), signal).unwrap();
    }

    /// Waits for the supervisor to end.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        let ended = eventually(PATIENCE, || {
            status = self.supervisor.try_wait().unwrap();
            status.is_some()
        });
        assert!(ended, "the supervisor goes on: {}", self.log());
        status.unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Its workers are this test's too; they may not be able to end by themselves.
        let workers: Vec<_> = control::status(&self.run_dir)
            .into_iter()
            .filter(|status| status.pid == self.supervisor.id())
            .flat_map(|status| status.workers)
            .filter_map(|worker| worker.pid)
            .collect();
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
        let signalled = std::mem::take(&mut *self.signalled.lock().unwrap());
        for pid in workers.into_iter().chain(signalled.into_values()) {
            let _ = kill_process(process(pid), Signal::KILL);
        }
        if !self.keep_run_dir {
            let _ = std::fs::remove_dir_all(&self.run_dir);
        }
    }
}

pub(crate) fn process(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

/// Whether a process exists.
pub(crate) fn is_alive(pid: u32) -> bool {
    test_kill_process(process(pid)).is_ok()
}

/// The text of a session id of a worker.
pub(crate) fn sid(worker: u8) -> String {
    let owner = Owner { node: 0, worker, shard: 0 };
    SidCodec::new(SECRET).encode(owner, [7; 8]).text().as_str().to_owned()
}

/// The index of the worker that has answered `body`.
pub(crate) fn index_of(body: &str) -> usize {
    body.split(' ').next().unwrap().parse().unwrap()
}

/// A target that belongs to a worker's session.
pub(crate) fn target(path: &str, worker: u8) -> String {
    format!("{path}{}sid={}", if path.contains('?') { '&' } else { '?' }, sid(worker))
}

/// Whether all threads of a process stand still.
fn is_stopped(pid: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The name of the thread, in parentheses, stands in front of its state.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    })
}
