//! Runs the real program.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use sedge_testkit::DEADLINE;

/// The program with an empty environment, in an empty directory.
pub(crate) fn sedge(folder: &Folder) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sedge"));
    command.env_clear().current_dir(&folder.0).stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub(crate) fn output(args: &[&str]) -> Output {
    let folder = Folder::new();
    sedge(&folder).args(args).output().expect("the program starts")
}

/// A directory of its own that is removed at the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sedge-cli-{}-{count}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Folder(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file, with the folders above it, and returns its path.
    pub(crate) fn write(&self, name: &str, content: &str) -> String {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("folders");
        fs::write(&path, content).expect("a file");
        path.to_str().expect("a path in UTF-8").to_owned()
    }

    /// Something like the client's files, in this folder of it.
    pub(crate) fn write_client(&self, dist: &str) {
        self.write(&format!("{dist}/socket.io.js"), "/*! Socket.IO v4.8.4 */ // client");
        self.write(&format!("{dist}/socket.io.min.js"), "/* Socket.IO v4.8.4 */ // small client");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The program as a server.
pub(crate) struct Sedge {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// What it wrote to standard error, sent when it has ended.
    log: Receiver<String>,
    folder: Folder,
    pub(crate) address: SocketAddr,
}

/// How the program ended.
pub(crate) struct End {
    pub(crate) code: Option<i32>,
    pub(crate) log: String,
}

impl Sedge {
    /// Starts a server on a free port with more flags.
    pub(crate) fn start(args: &[&str]) -> Sedge {
        Sedge::start_in(Folder::new(), args)
    }

    /// Starts a server in a folder.
    pub(crate) fn start_in(folder: Folder, args: &[&str]) -> Sedge {
        let mut command = sedge(&folder);
        command.args(["serve", "--listen", "127.0.0.1:0", "--shards", "2"]).args(args);
        Sedge::run(command, folder)
    }

    /// Starts a server by a command, and waits until it listens.
    pub(crate) fn run(command: Command, folder: Folder) -> Sedge {
        Sedge::run_with(command, folder, "http")
    }

    /// The same, with this scheme.
    pub(crate) fn run_with(command: Command, folder: Folder, scheme: &str) -> Sedge {
        Sedge::run_logging_to(Stdio::piped(), command, folder, scheme)
    }

    /// The same, with the log going there. Only a log that goes to a pipe is known at the end.
    pub(crate) fn run_logging_to(
        stderr: Stdio,
        mut command: Command,
        folder: Folder,
        scheme: &str,
    ) -> Sedge {
        command.stdout(Stdio::piped()).stderr(stderr);
        let mut child = command.spawn().expect("the program starts");
        // The command holds a copy of its own.
        drop(command);
        let (ended, log) = channel();
        if let Some(mut stderr) = child.stderr.take() {
            thread::spawn(move || {
                let mut text = String::new();
                let _ = stderr.read_to_string(&mut text);
                let _ = ended.send(text);
            });
        }
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let address = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut sedge = Sedge { child, stdout, log, folder, address };
        sedge.address = sedge.next_address(scheme);
        sedge
    }

    /// The address in the next line of standard output, which must be of the promised form.
    pub(crate) fn next_address(&mut self, scheme: &str) -> SocketAddr {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("a line");
        let address =
            line.strip_prefix("listening on ").and_then(|url| url.trim_end().split_once("://"));
        match address {
            Some((found, address)) if found == scheme => address.parse().expect("an address"),
            _ => panic!("{line:?}; log: {}", self.log.recv_timeout(DEADLINE).unwrap_or_default()),
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The directory it runs in.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the program runs");
    }

    /// Waits for the end of the process itself; others that it started may go on.
    pub(crate) fn wait_for_process(&mut self) -> Option<i32> {
        self.child.wait().expect("its end").code()
    }

    /// Ends it and whatever it has started at once, and returns the log.
    pub(crate) fn kill(mut self) -> String {
        self.child.kill().expect("it runs");
        self.log.recv_timeout(DEADLINE).expect("nobody has it open any more")
    }

    /// Waits for the end.
    pub(crate) fn wait(mut self) -> End {
        let log = self.log.recv_timeout(DEADLINE).expect("it ends before the deadline");
        End { code: self.child.wait().expect("its end").code(), log }
    }
}

impl Drop for Sedge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
