//! Whatever becomes of the log, serving goes on: the real program with a full disk, a reader that has gone,
//! and one that does not read.

mod common;

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Folder, Sedge, output, sedge};
use rustix::fs::{CWD, FileType, Mode, OFlags, fcntl_getfl, fcntl_setfl, mknodat};
use rustix::process::{Pid, Signal, kill_process};
use sedge_testkit::{RawHttp, SioClient, eventually};
use serde_json::Value;

/// Processes have to start and end on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(30);

/// Places for a log that is of no use, with what has to be kept for them to stay so.
fn useless_logs() -> Vec<(&'static str, Stdio, Option<io::PipeReader>)> {
    let full = OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let (reader, gone) = io::pipe().expect("a pipe");
    drop(reader);
    let (unread, mut stuck) = io::pipe().expect("a pipe");
    let flags = fcntl_getfl(&stuck).expect("its flags");
    fcntl_setfl(&stuck, flags | OFlags::NONBLOCK).expect("flags can be set");
    while stuck.write(&[b'x'; 512]).is_ok() {}
    fcntl_setfl(&stuck, flags).expect("flags can be set");
    vec![
        ("a full disk", full.into(), None),
        ("a reader that has gone", gone.into(), None),
        ("a reader that does not read", stuck.into(), Some(unread)),
    ]
}

/// The lost lines, as they are counted.
fn lost(server: &Sedge) -> u64 {
    let metrics = RawHttp::connect(server.address).get("/metrics");
    let lines =
        metrics.text().lines().filter(|line| line.starts_with("sedge_log_lines_lost_total"));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

fn is_served(server: &Sedge) {
    for _ in 0..5 {
        let mut http = RawHttp::connect(server.address);
        assert_eq!(http.get("/health").status, 200);
        assert_eq!(http.get("/socket.io/?EIO=4&transport=pigeon").status, 400);
        let target = "/socket.io/?EIO=4&transport=polling";
        let open = http.get(target);
        let sid = open.text().split('"').nth(3).expect("OPEN names the session").to_owned();
        // Nobody is left to be let go in batches at the end.
        http.post(&format!("{target}&sid={sid}"), "1").expect(200, "ok");
    }
    SioClient::open(server.address).join("/");
}

#[test]
fn one_process_serves_on_without_a_log() {
    for (place, stderr, kept) in useless_logs() {
        let folder = Folder::new();
        let mut command = sedge(&folder);
        command.args(["serve", "--listen", "127.0.0.1:0", "--log-level", "trace"]);
        let mut server = Sedge::run_logging_to(stderr, command, folder, "http");
        is_served(&server);
        assert!(kept.is_some() || lost(&server) > 0, "{place}");
        server.signal(Signal::TERM);
        assert_eq!(server.wait_for_process(), Some(0), "{place}");
    }
}

#[test]
fn a_cluster_replaces_its_workers_without_a_log() {
    for (place, stderr, kept) in useless_logs() {
        let folder = Folder::new();
        let run_dir = folder.path().join("run").display().to_string();
        let mut command = sedge(&folder);
        command.args(["--workers", "2", "--listen", "127.0.0.1:0", "--run-dir", &run_dir]);
        command.args(["--log-level", "debug"]);
        let mut server = Sedge::run_logging_to(stderr, command, folder, "http");
        is_served(&server);
        let status = || -> Value {
            let output = output(&["status", "--json", "--run-dir", &run_dir]);
            serde_json::from_slice(&output.stdout).unwrap_or_default()
        };
        let pid = |status: &Value| status["workers"][0]["pid"].as_i64();
        let before = pid(&status()).expect("a process");
        let worker = Pid::from_raw(before as i32).expect("a process");
        kill_process(worker, Signal::KILL).expect("it runs");
        let replaced = || {
            let status = status();
            status["workers"][0]["state"] == "ready" && pid(&status) != Some(before)
        };
        assert!(eventually(PATIENCE, replaced), "{place}: {:#}", status());
        is_served(&server);
        assert!(kept.is_some() || lost(&server) > 0, "{place}");
        server.signal(Signal::TERM);
        assert_eq!(server.wait_for_process(), Some(0), "{place}");
    }
}

/// Accepting fails for want of descriptors, which is a line of the log that fails too.
#[test]
fn the_port_survives_a_lack_of_descriptors_without_a_log() {
    for (place, stderr, _kept) in useless_logs() {
        let folder = Folder::new();
        let mut command = Command::new("sh");
        command.env_clear().current_dir(folder.path()).stdin(Stdio::null());
        command.args(["-c", "ulimit -n 40; exec \"$0\" serve --listen 127.0.0.1:0 --shards 1"]);
        command.arg(env!("CARGO_BIN_EXE_sedge"));
        let mut server = Sedge::run_logging_to(stderr, command, folder, "http");
        let many: Vec<_> = (0..60).map(|_| TcpStream::connect(server.address)).collect();
        assert!(many.iter().all(Result::is_ok), "{place}: the kernel takes them");
        drop(many);
        is_served(&server);
        server.signal(Signal::TERM);
        assert_eq!(server.wait_for_process(), Some(0), "{place}");
    }
}

/// A named pipe: readers come and go.
struct Fifo(PathBuf);

impl Fifo {
    fn new(folder: &Folder) -> Fifo {
        let path = folder.path().join("log");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a named pipe");
        Fifo(path)
    }

    /// Opens the reading end, without waiting for anybody.
    fn reader(&self) -> File {
        let nonblock = OFlags::NONBLOCK.bits().cast_signed();
        OpenOptions::new().read(true).custom_flags(nonblock).open(&self.0).expect("the pipe")
    }
}

#[test]
fn lost_lines_are_told_of_when_there_can_be_lines_again() {
    for format in ["text", "json"] {
        let folder = Folder::new();
        let fifo = Fifo::new(&folder);
        let reader = fifo.reader();
        let stderr = OpenOptions::new().write(true).open(&fifo.0).expect("the other end");
        let mut command = sedge(&folder);
        command.args(["serve", "--listen", "127.0.0.1:0", "--log-format", format]);
        command.args(["--log-level", "trace"]);
        let server = Sedge::run_logging_to(stderr.into(), command, folder, "http");
        drop(reader);
        let some_lost = || {
            is_served(&server);
            lost(&server) > 0
        };
        assert!(eventually(PATIENCE, some_lost));
        let reader = fifo.reader();
        fcntl_setfl(&reader, OFlags::empty()).expect("flags can be set");
        is_served(&server);
        server.signal(Signal::TERM);
        let lines: Vec<String> = BufReader::new(reader).lines().map_while(Result::ok).collect();
        let words = "lines of the log were lost: standard error did not take them";
        let told: Vec<_> = lines.iter().filter(|line| line.contains(words)).collect();
        assert_eq!(told.len(), 1, "{lines:#?}");
        assert!(told[0].contains("WARN"), "{told:?}");
        if format == "json" {
            for line in &lines {
                assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
            }
        }
    }
}

#[test]
fn every_line_of_a_worker_says_which_it_is() {
    for format in ["text", "json"] {
        let folder = Folder::new();
        let mut command = sedge(&folder);
        command.args(["--workers", "2", "--listen", "127.0.0.1:0", "--run-dir", "run"]);
        command.args(["--log-format", format, "--log-level", "debug"]);
        let server = Sedge::run(command, folder);
        is_served(&server);
        server.signal(Signal::TERM);
        let end = server.wait();
        assert_eq!(end.code, Some(0), "{}", end.log);
        let of = |worker: &str, line: &str| match format {
            "json" => line.contains(&format!("\"worker\":{worker}")),
            _ => line.ends_with(&format!(" worker={worker}")),
        };
        // Sessions are the shards' affair: their threads log these.
        let from_shards: Vec<&str> =
            end.log.lines().filter(|line| line.contains("sedge_engine")).collect();
        assert!(!from_shards.is_empty(), "{}", end.log);
        for line in from_shards {
            assert!(of("0", line) || of("1", line), "{line}");
            if format == "json" {
                let line: Value = serde_json::from_str(line).expect("JSON");
                assert!(line["worker"].is_u64() && line["timestamp"].is_string(), "{line}");
            }
        }
        for worker in ["0", "1"] {
            assert!(end.log.lines().any(|line| of(worker, line)), "{}", end.log);
        }
        let supervisor = end.log.lines().find(|line| line.contains("the cluster starts"));
        assert!(!supervisor.expect("it says so").contains("worker=0"), "{supervisor:?}");
    }
}

/// A command that cannot do what it is told ends with its own code, whether or not anybody hears why.
#[test]
fn failures_keep_their_exit_codes_without_standard_error() {
    for (place, stderr, kept) in useless_logs() {
        // A command that has not begun to serve may wait for whoever is to read its words.
        if kept.is_some() {
            continue;
        }
        let folder = Folder::new();
        let mut command = sedge(&folder);
        let status = command.args(["check-config", "--shards", "x"]).stderr(stderr).status();
        assert_eq!(status.expect("it starts").code(), Some(2), "{place}");
    }
}
