//! `sedge status`, `drain` and `stop`: asking the supervisor of a running cluster.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use sedge_cluster::control::{self, ControlError};
use sedge_cluster::{ClusterState, Status, WorkerStatus};

use crate::failure::Failure;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// How it is doing; as JSON or for people.
    Status { json: bool },
    /// End in order: all of it, or one worker, which is replaced.
    Drain { worker: Option<u8> },
    /// End at once.
    Stop,
}

/// Asks. A cluster in which no worker serves is a failure, so that scripts can ask too.
pub(crate) fn ask(question: Question, run_dir: &Path) -> Result<ExitCode, Failure> {
    match question {
        Question::Status { json } => {
            let status = control::status(run_dir).map_err(Failure::Control)?;
            let text = if json { as_json(&status)? } else { as_table(&status) };
            // Nobody may be reading, which is no fault.
            let _ = std::io::stdout().write_all(text.as_bytes());
            Ok(match status.state {
                ClusterState::Serving => ExitCode::SUCCESS,
                _ => ExitCode::FAILURE,
            })
        }
        Question::Drain { worker } => done(control::drain(run_dir, worker)),
        Question::Stop => done(control::stop(run_dir)),
    }
}

fn done(result: Result<(), ControlError>) -> Result<ExitCode, Failure> {
    result.map(|()| ExitCode::SUCCESS).map_err(Failure::Control)
}

fn as_json(status: &Status) -> Result<String, Failure> {
    let json = serde_json::to_string_pretty(status);
    json.map(|json| json + "\n").map_err(|error| Failure::Start(error.to_string()))
}

const COLUMNS: [&str; 11] = [
    "WORKER",
    "PID",
    "STATE",
    "UPTIME",
    "VERSION",
    "CONNS",
    "POLLING",
    "WEBSOCKET",
    "CPU",
    "MEMORY",
    "RESTARTS",
];

/// The status for people.
fn as_table(status: &Status) -> String {
    let mut out = String::new();
    let state = match status.state {
        ClusterState::Starting => "starting",
        ClusterState::Serving => "serving",
        ClusterState::Down => "down: no worker is ready",
        ClusterState::Draining => "draining",
    };
    let (pid, version) = (status.pid, &status.version);
    let uptime = duration(status.uptime_seconds);
    let _ = writeln!(out, "{state}, supervisor {pid}, version {version}, up {uptime}");
    for address in &status.listening {
        let _ = writeln!(out, "listening on {address}");
    }
    let (passed, refused, undecided) = (status.passed, status.refused, status.undecided);
    let _ =
        writeln!(out, "connections: {passed} passed, {refused} refused, {undecided} undecided\n");
    let rows: Vec<_> = status.workers.iter().map(row).collect();
    let mut widths = COLUMNS.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    write_row(&mut out, &widths, COLUMNS);
    for (row, worker) in rows.iter().zip(&status.workers) {
        write_row(&mut out, &widths, row.each_ref().map(String::as_str));
        if let Some(exit) = &worker.last_exit {
            let _ = writeln!(out, "        last process: {exit}");
        }
    }
    out
}

fn write_row(out: &mut String, widths: &[usize], cells: [&str; COLUMNS.len()]) {
    let mut line = String::new();
    for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
        // Words to the left, numbers to the right.
        let _ = match index {
            2 | 4 => write!(line, "{cell:<width$}  "),
            _ => write!(line, "{cell:>width$}  "),
        };
    }
    let _ = writeln!(out, "{}", line.trim_end());
}

fn row(worker: &WorkerStatus) -> [String; COLUMNS.len()] {
    let sessions = |kind: &str| worker.sessions.get(kind).copied().unwrap_or(0).to_string();
    let known = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    [
        worker.index.to_string(),
        known(worker.pid.map(|pid| pid.to_string())),
        worker.state.to_string(),
        duration(worker.uptime_seconds),
        known(worker.version.clone()),
        worker.connections.to_string(),
        sessions("polling"),
        sessions("websocket"),
        format!("{:.1}s", worker.cpu_seconds),
        format!("{:.1}MiB", worker.memory_bytes as f64 / f64::from(1 << 20)),
        worker.restarts.to_string(),
    ]
}

/// A duration in its two largest units.
fn duration(seconds: f64) -> String {
    #[expect(clippy::cast_sign_loss, reason = "a negative one is shown as 0")]
    let seconds = seconds as u64;
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest}s"),
        (0, 0, _) => format!("{minutes}m{rest:02}s"),
        (0, ..) => format!("{hours}h{minutes:02}m"),
        _ => format!("{days}d{hours:02}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sedge_cluster::WorkerState;

    fn worker(index: u8, state: WorkerState) -> WorkerStatus {
        WorkerStatus {
            index,
            pid: (state == WorkerState::Ready).then_some(1234),
            version: Some("1.2.3".to_owned()),
            state,
            uptime_seconds: 3725.9,
            restarts: 2,
            connections: 7,
            sessions: [("polling".to_owned(), 3), ("websocket".to_owned(), 40)].into(),
            passed: 9,
            cpu_seconds: 12.34,
            memory_bytes: 3 << 20,
            last_exit: (index == 1).then(|| "killed by signal 9".to_owned()),
        }
    }

    fn status() -> Status {
        Status {
            pid: 1,
            version: "1.2.3".to_owned(),
            uptime_seconds: 90_061.0,
            state: ClusterState::Serving,
            node: 0,
            listening: vec!["127.0.0.1:3000".to_owned()],
            undecided: 0,
            passed: 10,
            refused: 0,
            workers: vec![worker(0, WorkerState::Ready), worker(1, WorkerState::CrashLoop)],
        }
    }

    #[test]
    fn the_table_says_what_a_person_asks_first() {
        let table = as_table(&status());
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "serving, supervisor 1, version 1.2.3, up 1d01h");
        assert_eq!(lines[1], "listening on 127.0.0.1:3000");
        assert!(lines[4].starts_with("WORKER"), "{table}");
        let words: Vec<&str> = lines[5].split_whitespace().collect();
        let expected =
            ["0", "1234", "ready", "1h02m", "1.2.3", "7", "3", "40", "12.3s", "3.0MiB", "2"];
        assert_eq!(words, expected);
        assert!(lines[6].contains("crash_loop"), "{table}");
        assert!(lines[7].contains("killed by signal 9"), "{table}");
    }

    #[test]
    fn durations_are_short() {
        for (seconds, text) in [(0.9, "0s"), (59.0, "59s"), (61.0, "1m01s"), (7260.0, "2h01m")] {
            assert_eq!(duration(seconds), text);
        }
    }
}
