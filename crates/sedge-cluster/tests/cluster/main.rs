//! Whole clusters: a supervisor and its workers, each a process, under load and under faults.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a failure is a panic, and fails the test")]

mod bus;
mod ending;
mod faults;
mod heads;
mod host;
mod passing;
mod subject;
mod telling;
mod waiting;
