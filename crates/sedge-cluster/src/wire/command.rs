//! What is asked of a running supervisor on its control socket: one line of JSON each way, then the
//! connection ends.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub(crate) enum Command {
    Status,
    /// The metrics of the host.
    Metrics,
    /// Ends the cluster in order, or replaces one worker.
    Drain {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        worker: Option<u8>,
    },
    /// Ends the cluster at once.
    Stop,
    /// Kept for replacing the program while its clients stay connected.
    Reload,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub(crate) enum Answer {
    Status(Box<Status>),
    /// In Prometheus' text format.
    Metrics {
        text: String,
    },
    /// It has begun.
    Done,
    Refused {
        reason: String,
    },
}

/// A cluster on one host, as its supervisor sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The supervisor's process.
    pub pid: u32,
    /// The version of the supervisor's program.
    pub version: String,
    /// Seconds since it started.
    pub uptime_seconds: f64,
    /// What the cluster as a whole is doing.
    pub state: ClusterState,
    /// The node's tag in session ids.
    pub node: u16,
    /// Where it listens, such as `127.0.0.1:3000`.
    pub listening: Vec<String>,
    /// Connections of which it has not yet seen enough to pass them on.
    pub undecided: u64,
    /// Connections passed to workers since the start.
    pub passed: u64,
    /// Connections that were closed or answered with an error instead, since the start.
    pub refused: u64,
    /// Its workers, by index.
    pub workers: Vec<WorkerStatus>,
}

/// What a cluster as a whole is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterState {
    /// No worker has been ready yet.
    Starting,
    /// At least one worker is ready.
    Serving,
    /// No worker is ready at present.
    Down,
    /// It ends, and its clients are being closed.
    Draining,
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its place, which a successor takes over.
    pub index: u8,
    /// Its process, if there is one.
    pub pid: Option<u32>,
    /// The version of its program, once it has said so.
    pub version: Option<String>,
    /// What it is doing.
    pub state: WorkerState,
    /// Seconds since its process started; 0 without one.
    pub uptime_seconds: f64,
    /// How often it was started again.
    pub restarts: u64,
    /// Open connections, as it last reported.
    pub connections: u64,
    /// Sessions by what carries them, as it last reported.
    pub sessions: BTreeMap<String, u64>,
    /// Connections passed to this process.
    pub passed: u64,
    /// Processor time its process has used, in seconds.
    pub cpu_seconds: f64,
    /// Memory its process has resident, in bytes.
    pub memory_bytes: u64,
    /// How its last process ended, in words; `None` if none has.
    pub last_exit: Option<String>,
}

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// Its process runs and has not said that it is ready.
    Starting,
    /// It takes connections.
    Ready,
    /// It has not answered for some seconds, and takes new sessions only if no other worker does.
    Suspect,
    /// It closes its clients and ends.
    Draining,
    /// It is being killed: it hangs, or its time is up.
    Killed,
    /// Its process has ended and is about to be started again.
    Waiting,
    /// Its process ended several times in a row, soon after its start; it is started again at a slow
    /// pace.
    CrashLoop,
    /// It has ended, with the cluster.
    Stopped,
}

impl WorkerState {
    /// The name of the state, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            WorkerState::Starting => "starting",
            WorkerState::Ready => "ready",
            WorkerState::Suspect => "suspect",
            WorkerState::Draining => "draining",
            WorkerState::Killed => "killed",
            WorkerState::Waiting => "waiting",
            WorkerState::CrashLoop => "crash_loop",
            WorkerState::Stopped => "stopped",
        }
    }
}

impl std::fmt::Display for WorkerState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_written_as_documented() {
        let wanted = [
            (r#"{"command":"status"}"#, Command::Status),
            (r#"{"command":"metrics"}"#, Command::Metrics),
            (r#"{"command":"drain"}"#, Command::Drain { worker: None }),
            (r#"{"command":"drain","worker":3}"#, Command::Drain { worker: Some(3) }),
            (r#"{"command":"stop"}"#, Command::Stop),
            (r#"{"command":"reload"}"#, Command::Reload),
        ];
        for (text, command) in wanted {
            assert_eq!(serde_json::to_string(&command).unwrap(), text);
            assert_eq!(serde_json::from_str::<Command>(text).unwrap(), command);
        }
        assert!(serde_json::from_str::<Command>(r#"{"command":"dance"}"#).is_err());
    }

    #[test]
    fn the_names_of_states_are_those_of_the_wire() {
        for state in [WorkerState::Suspect, WorkerState::CrashLoop, WorkerState::Stopped] {
            assert_eq!(serde_json::to_string(&state).unwrap(), format!("\"{}\"", state.name()));
        }
    }
}
