//! The tasks of this workspace: `cargo xtask demo | test | tidy | flaky | fuzz | suites`.
//!
//! A plain program without dependencies, so that it starts in a second on a fresh machine. It
//! finds the workspace by itself and works from any clone and any current directory.

#![allow(clippy::print_stdout, reason = "talking to the developer is what this program is for")]

mod checks;
mod clients;
mod demo;
mod error;
mod flaky;
mod fuzz;
mod needs;
mod outcome;
mod process;
mod programs;
mod server;
mod suites;
mod test;
mod tidy;
mod tools;
mod workspace;

use std::process::ExitCode;

use error::{Error, Result};
use workspace::Workspace;

const HELP: &str = "\
Tasks of the Sedge workspace

Usage: cargo xtask <TASK> [OPTIONS]

Tasks:
  demo [ARGS]   Fetch the client files, build `sedge` in release and run the chat demo on a
                cluster. ARGS go to `sedge` (try `cargo xtask demo --help`)
  test          Run all tests, step by step, and sum them up (`cargo xtask test --help`)
  tidy          Check the rules of the source that no compiler checks
  flaky         Run the unit tests many times on a busy machine (`cargo xtask flaky --help`)
  fuzz          Run fuzz targets for longer than a test does (`cargo xtask fuzz --help`)
  suites        Run the public protocol test suites (`cargo xtask suites --help`)
  help          Print this

Environment:
  CI=true           Missing tools are installed without asking, as they are for root
  CHROMIUM          The browser for the browser tests
  PYTHON            The Python interpreter for the Python tests (default: python3)
  SEDGE_SUITES      A checkout of the public protocol test suites
  SEDGE_ADVISORIES  A clone of RustSec's advisory-db, where theirs cannot be reached
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            if matches!(error, Error::Usage(_)) { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

fn run(args: &[String]) -> Result<()> {
    let (task, rest) = match args.split_first() {
        Some((task, rest)) => (task.as_str(), rest),
        None => ("help", args),
    };
    match task {
        "demo" => demo::main(&Workspace::find()?, rest),
        "test" => test::main(&Workspace::find()?, rest),
        "tidy" => tidy::main(&Workspace::find()?, rest),
        "flaky" => flaky::main(&Workspace::find()?, rest),
        "fuzz" => fuzz::main(&Workspace::find()?, rest),
        "suites" => suites::main(&Workspace::find()?, rest),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        other => Err(Error::Usage(format!("no task `{other}`; see `cargo xtask help`"))),
    }
}
