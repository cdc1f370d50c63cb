//! The tasks of this workspace: `cargo xtask demo | test | tidy | suites`.
//!
//! A plain program without dependencies, so that it starts in a second on a fresh machine. It
//! finds the workspace by itself and works from any clone and any current directory.

#![allow(clippy::print_stdout, reason = "talking to the developer is what this program is for")]

mod checks;
mod clients;
mod demo;
mod error;
mod process;
mod server;
mod suites;
mod test;
mod tidy;
mod tools;

use std::path::PathBuf;
use std::process::ExitCode;

use error::{Error, Result};

const HELP: &str = "\
Tasks of the Sedge workspace

Usage: cargo xtask <TASK> [OPTIONS]

Tasks:
  demo [ARGS]   Fetch the client files, build `sedge` in release and run the chat demo on a
                cluster. ARGS go to `sedge` (try `cargo xtask demo --help`)
  test          Run all tests, step by step, and sum them up (`cargo xtask test --help`)
  tidy          Check the rules of the source that no compiler checks
  suites        Run the public protocol test suites (`cargo xtask suites --help`)
  help          Print this

Environment:
  CI=true       Missing tools may be installed (apt-get as root, cargo-deny)
  CHROMIUM      The browser for the browser tests
  PYTHON        The Python interpreter for the Python tests (default: python3)
  SEDGE_SUITES  A checkout of the public protocol test suites
";

/// Where things are and how strict to be; made once, passed to every task.
pub(crate) struct Workspace {
    /// The folder with the workspace's Cargo.toml.
    pub(crate) root: PathBuf,
    /// Cargo's target folder: taken from this program's own place, so it follows any setting.
    pub(crate) target: PathBuf,
    /// `CI` is set: tools may be installed.
    pub(crate) ci: bool,
}

impl Workspace {
    fn find() -> Result<Self> {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest.parent().map(PathBuf::from).unwrap_or_default();
        let exe =
            std::env::current_exe().map_err(|e| Error::io("finding this program's path", e))?;
        // <target>/<profile>/xtask
        let target = exe
            .ancestors()
            .nth(2)
            .map_or_else(|| root.join("target"), std::path::Path::to_path_buf);
        let ci = std::env::var("CI").is_ok_and(|v| !v.is_empty() && v != "false" && v != "0");
        Ok(Self { root, target, ci })
    }

    /// A folder for what the tasks themselves make: logs, the Python environment, copies.
    pub(crate) fn scratch(&self, name: &str) -> Result<PathBuf> {
        let dir = self.target.join("xtask").join(name);
        std::fs::create_dir_all(&dir)
            .map_err(|e| Error::io(format!("creating {}", dir.display()), e))?;
        Ok(dir)
    }
}

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
        "suites" => suites::main(&Workspace::find()?, rest),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        other => Err(Error::Usage(format!("no task `{other}`; see `cargo xtask help`"))),
    }
}
