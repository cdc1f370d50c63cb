//! A server under test: started on a free port, awaited by its own word, always ended.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::process;

/// How long a server may take until it listens.
const READY: Duration = Duration::from_secs(20);
/// What a server prints for each of its listeners when it accepts connections.
const LISTENING: &str = "listening on http://";
/// How much of a server's output is shown when a test failed.
const SHOWN_LINES: usize = 60;

/// How long a cluster may take to end in order.
const END: Duration = Duration::from_secs(10);

/// A running server. Dropping it ends it.
pub(crate) struct Server {
    name: String,
    child: Child,
    /// The process is the supervisor of others.
    cluster: bool,
    log: PathBuf,
    addresses: Vec<String>,
}

impl Server {
    /// Starts the server and waits until it has named `listeners` addresses and each of them
    /// accepts a connection. Its output goes to `<logs>/<name>.log`.
    pub(crate) fn start(
        name: &str,
        command: &mut Command,
        listeners: usize,
        logs: &Path,
    ) -> Result<Self> {
        let log = logs.join(format!("{name}.log"));
        let doing = || format!("writing {}", log.display());
        let out = File::create(&log).map_err(|e| Error::io(doing(), e))?;
        let err = out.try_clone().map_err(|e| Error::io(doing(), e))?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(err)
            .spawn()
            .map_err(|e| Error::io(format!("starting `{}`", process::line(command)), e))?;
        let lines = child.stdout.take().map(|pipe| follow(pipe, out));
        let mut server =
            Self { name: name.to_owned(), child, cluster: false, log, addresses: Vec::new() };
        let ready = match lines {
            Some(lines) => server.await_listeners(&lines, listeners),
            None => Err(Error::Check(format!("{name}: no standard output"))),
        };
        if let Err(error) = ready {
            server.show_output();
            return Err(error);
        }
        println!("{name}: {}", server.addresses.join(", "));
        Ok(server)
    }

    /// Says whether the process has others under it, which it must be given the time to end: if it is
    /// killed, they go on serving.
    pub(crate) fn of_processes(mut self, cluster: bool) -> Self {
        self.cluster = cluster;
        self
    }

    /// The URL of the listener that the server named at this position.
    pub(crate) fn url(&self, index: usize) -> String {
        self.addresses.get(index).map(|address| format!("http://{address}")).unwrap_or_default()
    }

    /// Prints the end of what the server printed: for when a test failed.
    pub(crate) fn show_output(&self) {
        let bytes = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        println!("--- output of {} (all of it: {})", self.name, self.log.display());
        for line in lines.iter().skip(lines.len().saturating_sub(SHOWN_LINES)) {
            println!("    {line}");
        }
        println!("---");
    }

    fn await_listeners(&mut self, lines: &mpsc::Receiver<String>, listeners: usize) -> Result<()> {
        let deadline = Instant::now() + READY;
        while self.addresses.len() < listeners {
            let left = deadline.saturating_duration_since(Instant::now());
            match lines.recv_timeout(left) {
                Ok(line) => self.addresses.extend(address_in(&line).map(str::to_owned)),
                Err(RecvTimeoutError::Timeout) => return Err(self.late()),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::Check(format!("{} ended before it listened", self.name)));
                }
            }
        }
        for address in &self.addresses {
            TcpStream::connect(address)
                .map_err(|e| Error::io(format!("{}: connecting to {address}", self.name), e))?;
        }
        Ok(())
    }

    fn late(&self) -> Error {
        let what = format!("{}: waiting for \"{LISTENING}…\"", self.name);
        Error::Timeout { what, seconds: READY.as_secs() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Failures mean that it has ended already; then waiting only collects its status.
        if self.cluster {
            let pid = self.child.id();
            // A shell has `kill` built in, whatever else the machine lacks.
            let _ = process::capture(Command::new("sh").arg("-c").arg(format!("kill {pid}")));
            let _ = process::wait_within(&mut self.child, END);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Copies the server's standard output to its log and passes each line on. Goes on for the
/// server's whole life: a full pipe would stop it.
fn follow(pipe: std::process::ChildStdout, mut log: File) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(std::io::Result::ok) {
            // Neither a full disk nor a reader that has heard enough may stop the server.
            let _ = writeln!(log, "{line}");
            let _ = sender.send(line);
        }
    });
    receiver
}

/// The address in a line such as `listening on http://127.0.0.1:41001`.
fn address_in(line: &str) -> Option<&str> {
    let rest = line.trim().strip_prefix(LISTENING)?;
    rest.split(|c: char| c.is_whitespace() || c == '/').next().filter(|a| a.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_from_the_listening_line_only() {
        assert_eq!(address_in("listening on http://127.0.0.1:41001"), Some("127.0.0.1:41001"));
        assert_eq!(address_in("listening on http://127.0.0.1:1/ (v4)"), Some("127.0.0.1:1"));
        assert_eq!(address_in("not listening on http://127.0.0.1:1"), None);
        assert_eq!(address_in("listening on http://"), None);
    }

    #[test]
    fn a_server_that_ends_early_is_reported() {
        let logs = std::env::temp_dir();
        let name = format!("xtask-early-{}", std::process::id());
        let result = Server::start(&name, Command::new("sh").args(["-c", "exit 1"]), 1, &logs);
        let _ = fs::remove_file(logs.join(format!("{name}.log")));
        let Err(error) = result else { panic!("a server that ended counts as ready") };
        assert!(error.to_string().contains("ended before it listened"), "{error}");
    }
}
