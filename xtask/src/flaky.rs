//! `cargo xtask flaky`: the unit step many times over, beside loops that burn the processors. A test that
//! passes only on a quiet machine fails here.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::workspace::Workspace;
use crate::{needs, process};

const HELP: &str = "\
Run the unit step again and again on a busy machine, and name every test that failed

Usage: cargo xtask flaky [--runs N] [--loops N]

Options:
  --runs N   How often (10)
  --loops N  How many threads burn processor time meanwhile (2)
";

/// One run may take this long; what hangs is a failure too.
const LIMIT: Duration = Duration::from_mins(20);

/// The command line.
pub(crate) fn main(workspace: &Workspace, args: &[String]) -> Result<()> {
    let (mut runs, mut loops) = (10, 2);
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let mut number = || {
            let number = rest.next().and_then(|number| number.parse().ok());
            number.ok_or_else(|| Error::Usage(format!("{arg} needs a number")))
        };
        match arg.as_str() {
            "--runs" => runs = number()?,
            "--loops" => loops = number()?,
            "--help" | "-h" => {
                print!("{HELP}");
                return Ok(());
            }
            other => {
                let text = format!("no option `{other}`; see `cargo xtask flaky --help`");
                return Err(Error::Usage(text));
            }
        }
    }
    needs::ensure(workspace, &["unit"])?;
    let tests = ["test", "--workspace", "--all-features", "--no-fail-fast"];
    process::run(workspace.cargo().args(tests).arg("--no-run"))?;
    let logs = workspace.scratch("logs")?;
    let stop = AtomicBool::new(false);
    let failed = std::thread::scope(|scope| {
        for _ in 0..loops {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let failed: Result<Vec<usize>> = (1..=runs)
            .map(|run| Ok((run, one(workspace, &tests, &logs.join(format!("flaky-{run}.log")))?)))
            .filter_map(|ran| ran.map(|(run, passed)| (!passed).then_some(run)).transpose())
            .collect();
        stop.store(true, Ordering::Relaxed);
        failed
    })?;
    if failed.is_empty() {
        println!("{runs} runs, none failed");
        return Ok(());
    }
    Err(Error::Check(format!("{} of {runs} runs failed: {failed:?}", failed.len())))
}

/// One run; true if it passed. What failed is named, the rest stands in the log.
fn one(workspace: &Workspace, tests: &[&str], log: &Path) -> Result<bool> {
    let began = Instant::now();
    let passed = match process::run_logged(workspace.cargo().args(tests), log, LIMIT) {
        Err(Error::Timeout { .. }) => false,
        ended => ended?,
    };
    let report = fs::read(log).map_err(|e| Error::io(format!("reading {}", log.display()), e))?;
    let report = String::from_utf8_lossy(&report);
    let word = if passed { "ok" } else { "FAILED" };
    println!("{word} after {:.0} s: {}", began.elapsed().as_secs_f64(), log.display());
    for line in report.lines().filter(|line| line.ends_with("... FAILED")) {
        println!("    {line}");
    }
    Ok(passed)
}
