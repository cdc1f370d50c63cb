//! Where a cluster's sockets are, and that no other user of the machine gets to them: the real program as real
//! users, on real mounts. What takes root to arrange is skipped, in words, where the tests are not root's.

mod common;

use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use common::{Folder, Sedge, output, sedge};
use rustix::net::{AddressFamily, RecvFlags, SocketAddrUnix, SocketType};
use rustix::process::{Pid, Signal, Uid, geteuid, kill_process, test_kill_process};
use rustix::thread::set_thread_res_uid;
use sedge_testkit::{DEADLINE, RawHttp, eventually, free_ports};
use serde_json::Value;

/// Processes have to start and end on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the metrics say when the workers are on the bus.
const LINKED: &str = "sedge_bus_peers{worker=\"0\"} 1\nsedge_bus_peers{worker=\"1\"} 1\n";

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";

/// Users that nobody has.
const USER: u32 = 61_234;
const STRANGER: u32 = 61_235;

fn is_root() -> bool {
    let root = geteuid().is_root();
    if !root {
        eprintln!("skipped: it takes root to be several users and to mount");
    }
    root
}

/// The program as another user, who may not be able to read where it was built.
fn sedge_of(user: u32, folder: &Folder) -> Command {
    let program = folder.path().join("sedge");
    if !program.exists() {
        fs::copy(env!("CARGO_BIN_EXE_sedge"), &program).expect("a copy");
    }
    let mut command = Command::new(program);
    command.env_clear().current_dir("/").stdin(Stdio::null()).uid(user).gid(user);
    command
}

fn status(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("permissions");
}

/// Runs a function as the stranger, whom the kernel tells apart by thread.
fn as_stranger<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = thread::spawn(move || {
        let uid = Uid::from_raw(STRANGER);
        set_thread_res_uid(uid, uid, uid).expect("root may be anybody");
        run()
    });
    thread.join().expect("no panic")
}

/// Two workers, each with a port of its own.
struct Pair {
    sedge: Sedge,
    ports: u16,
}

impl Pair {
    fn start(command: Command, folder: Folder) -> Pair {
        Pair::start_at("127.0.0.1:0", command, folder)
    }

    fn start_at(listen: &str, mut command: Command, folder: Folder) -> Pair {
        let ports = free_ports(2);
        command.args(["--workers", "2", "--listen", listen, "--no-demo"]);
        command.args(["--worker-ports", &format!("127.0.0.1:{ports}")]);
        Pair { sedge: Sedge::run(command, folder), ports }
    }

    fn worker(&self, index: u16) -> RawHttp {
        RawHttp::connect(SocketAddr::from(([127, 0, 0, 1], self.ports + index)))
    }

    /// The target of requests for a new session of worker 1.
    fn session(&self) -> String {
        let open = self.worker(1).get(POLLING);
        let sid = open.text().split('"').nth(3).expect("OPEN names the session").to_owned();
        format!("{POLLING}&sid={sid}")
    }

    /// Connections are passed between the workers, and the bus is there.
    fn is_whole(&self) {
        let target = self.session();
        self.worker(0).post(&target, "40").expect(200, "ok");
        let linked = || self.worker(0).get("/metrics").text().contains(LINKED);
        assert!(eventually(PATIENCE, linked), "the bus");
    }

    /// Ends it in order; returns what it has logged.
    fn end(self) -> String {
        self.sedge.signal(Signal::TERM);
        let end = self.sedge.wait();
        assert_eq!(end.code, Some(0), "{}", end.log);
        end.log
    }
}

/// Whoever is first can make the directory of another user: the cluster does without.
#[test]
fn a_default_directory_that_another_user_has_made_is_not_used() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    let taken = Taken::new(PathBuf::from(format!("/tmp/sedge-{USER}")));
    let command = sedge_of(USER, &folder);
    let mut ask = sedge_of(USER, &folder);
    let pair = Pair::start(command, folder);
    pair.is_whole();
    assert_eq!(fs::read_dir(&taken.0).expect("it is there").count(), 0, "nothing is put there");
    ask.args(["status", "--json", "--listen", &pair.sedge.address.to_string()]);
    assert_eq!(status(&ask.output().expect("it starts"))["state"], "serving");
    let log = pair.end();
    assert!(log.contains("belongs to another user"), "{log}");
}

/// One that was asked for is used or refused.
#[test]
fn a_directory_that_others_can_rename_is_refused_in_words() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    let taken = Taken::new(folder.path().join("taken"));
    let mut command = sedge_of(USER, &folder);
    command.args(["--listen", "127.0.0.1:0", "--run-dir"]).arg(taken.0.join("run"));
    let output = command.output().expect("it starts");
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("taken belongs to another user"), "{words}");
}

/// A directory of the stranger's, open to all.
struct Taken(PathBuf);

impl Taken {
    fn new(path: PathBuf) -> Taken {
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).expect("a directory");
        set_mode(&path, 0o777);
        chown(&path, Some(STRANGER), Some(STRANGER)).expect("root may");
        Taken(path)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// As a volume of Kubernetes is: it belongs to root and to a group that may write to it.
#[test]
fn a_volume_that_may_only_be_written_to_gets_a_private_directory() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    let volume = folder.path().join("volume");
    fs::create_dir(&volume).expect("a directory");
    chown(&volume, Some(0), Some(USER)).expect("root may");
    set_mode(&volume, 0o2777);
    let mut command = sedge_of(USER, &folder);
    command.arg("--run-dir").arg(&volume);
    let mut ask = sedge_of(USER, &folder);
    ask.args(["status", "--json", "--run-dir"]).arg(&volume);
    let pair = Pair::start(command, folder);
    pair.is_whole();
    assert_eq!(status(&ask.output().expect("it starts"))["state"], "serving");
    let private = fs::metadata(volume.join(format!("sedge-{USER}"))).expect("it was made");
    assert_eq!((private.uid(), private.mode() & 0o777), (USER, 0o700));
    pair.end();
}

/// A container whose file systems are all read-only.
#[test]
fn nothing_needs_to_be_written() {
    if !is_root() {
        return;
    }
    let pair = Pair::start(on_read_only_mounts(), Folder::new());
    pair.is_whole();
    // By the same rule as the cluster itself: the port.
    let listen = pair.sedge.address.to_string();
    let ask = |words: &[&str]| output(&[words, &["--listen", &listen]].concat());
    let before = status(&ask(&["status", "--json"]));
    assert_eq!(before["state"], "serving", "{before:#}");
    kill_process(worker(&before, 1).expect("a process"), Signal::KILL).expect("it runs");
    let replaced = || {
        let now = status(&ask(&["status", "--json"]));
        now["workers"][1]["state"] == "ready" && worker(&now, 1) != worker(&before, 1)
    };
    assert!(eventually(PATIENCE, replaced), "{:#}", status(&ask(&["status", "--json"])));
    pair.is_whole();
    assert_eq!(ask(&["drain"]).status.code(), Some(0));
    let end = pair.sedge.wait();
    assert_eq!(end.code, Some(0), "{}", end.log);
    assert!(end.log.contains("it is not used: the cluster's sockets have no files"), "{}", end.log);
}

/// The workers of a supervisor that was killed and those of its successor, without any file between them.
#[test]
fn a_successor_is_found_without_files_too() {
    if !is_root() {
        return;
    }
    let mut first = Pair::start(on_read_only_mounts(), Folder::new());
    let listen = first.sedge.address.to_string();
    let asked = output(&["status", "--json", "--listen", &listen]);
    let orphans = [0, 1].map(|index| worker(&status(&asked), index).expect("a process"));
    // They have somebody to serve.
    let mut kept = [first.worker(0), first.worker(1)];
    for http in &mut kept {
        assert_eq!(http.get(POLLING).status, 200);
    }
    first.sedge.signal(Signal::KILL);
    first.sedge.wait_for_process();
    let second = Pair::start_at(&listen, on_read_only_mounts(), Folder::new());
    let ended = || orphans.iter().all(|pid| test_kill_process(*pid).is_err());
    assert!(eventually(PATIENCE, ended), "they let their clients go");
    second.is_whole();
    let log = second.end();
    assert!(log.contains("workers of an earlier start still serve"), "{log}");
}

fn worker(status: &Value, index: usize) -> Option<Pid> {
    Pid::from_raw(status["workers"][index]["pid"].as_i64()? as i32)
}

/// The program where every file system is read-only.
fn on_read_only_mounts() -> Command {
    let mut command = Command::new("unshare");
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
    let mounts = "for at in / /run /tmp /dev/shm; do \
                    if [ -d $at ]; then mount --bind $at $at; mount -o remount,ro,bind $at; fi; \
                  done; exec \"$0\" \"$@\"";
    command.args(["-m", "sh", "-ec", mounts, env!("CARGO_BIN_EXE_sedge")]);
    command
}

/// The directory of the start in a run directory.
fn start_of(run_dir: &Path) -> PathBuf {
    let entries = fs::read_dir(run_dir).expect("it is there").flatten();
    let mut starts = entries.map(|entry| entry.path()).filter(|path| path.is_dir());
    starts.next().expect("one start")
}

/// Should another user get to the sockets, for want of care of whoever has the directory.
#[test]
fn strangers_are_turned_away_at_every_socket() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    let run_dir = folder.path().join("run");
    let mut command = sedge(&folder);
    command.arg("--run-dir").arg(&run_dir);
    let pair = Pair::start(command, folder);
    pair.is_whole();
    let start = start_of(&run_dir);
    set_mode(&run_dir, 0o711);
    set_mode(&start, 0o711);
    let (control, bus, pass) =
        (run_dir.join("control.sock"), start.join("1.bus"), start.join("1.pass"));
    for socket in [&control, &bus, &pass] {
        set_mode(socket, 0o666);
    }
    for path in [control, bus] {
        let shown = path.display().to_string();
        let heard = as_stranger(move || {
            let mut stream = UnixStream::connect(path).expect("it may connect");
            stream.set_read_timeout(Some(DEADLINE)).expect("a socket option");
            // It may be closed before.
            let _ = stream.write_all(b"{\"command\":\"status\"}\n");
            let mut heard = Vec::new();
            // A reset is an end too.
            let _ = stream.read_to_end(&mut heard);
            heard
        });
        assert_eq!(String::from_utf8_lossy(&heard), "", "{shown}");
    }
    let heard = as_stranger(move || {
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None);
        let socket = socket.expect("a socket");
        let address = SocketAddrUnix::new(&pass).expect("a path");
        rustix::net::connect(&socket, &address).expect("it may connect");
        let mut buffer = [0; 64];
        rustix::net::recv(&socket, &mut buffer[..], RecvFlags::empty()).map_or(0, |(len, _)| len)
    });
    assert_eq!(heard, 0);
    pair.is_whole();
    let log = pair.end();
    let words = format!("turned away: a process of another user user={STRANGER}");
    assert!(log.contains(&words), "{log}");
}

#[test]
fn a_stranger_in_a_worker_s_place_is_given_nothing() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    let run_dir = folder.path().join("run");
    let mut command = sedge(&folder);
    command.arg("--run-dir").arg(&run_dir);
    let pair = Pair::start(command, folder);
    let target = pair.session();
    let start = start_of(&run_dir);
    set_mode(&run_dir, 0o711);
    set_mode(&start, 0o777);
    let place = start.join("1.pass");
    fs::remove_file(&place).expect("root may");
    let (listens, listening) = mpsc::channel();
    let stranger = thread::spawn(move || {
        as_stranger(move || {
            let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None);
            let socket = socket.expect("a socket");
            let address = SocketAddrUnix::new(&place).expect("a path");
            rustix::net::bind(&socket, &address).expect("it may bind");
            rustix::net::listen(&socket, 8).expect("it may listen");
            listens.send(()).expect("somebody waits");
            let connection = rustix::net::accept(&socket).expect("a worker connects");
            let mut buffer = [0; 64];
            let heard = rustix::net::recv(&connection, &mut buffer[..], RecvFlags::empty());
            heard.map_or(0, |(len, _)| len)
        })
    });
    listening.recv_timeout(DEADLINE).expect("it listens");
    let response = pair.worker(0).get(&target);
    assert_ne!(response.status, 200, "{response:?}");
    assert_eq!(stranger.join().expect("no panic"), 0, "not even a byte");
}
