//! The fuzz targets, built with the stable compiler and run for a while.
//!
//! cargo-fuzz would do the same with nightly Rust and an address sanitizer. The crates under test have no
//! `unsafe`, so what counts is coverage, which stable Rust can record for libFuzzer; and one build serves all
//! targets.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::process;
use crate::workspace::Workspace;

const HELP: &str = "\
Run fuzz targets, with what was found before in target/xtask/fuzz

Usage: cargo xtask fuzz [TARGET…] [--seconds N]

Without a TARGET all of them run, for 10 s each unless told otherwise.
";

/// Enough to notice a target that is broken or falls at once.
const SECONDS: u64 = 10;
/// How much longer than told a target may take.
const GRACE: Duration = Duration::from_secs(30);
/// What libFuzzer needs to see which ways the code takes, and the checks of a debug build.
const FLAGS: [&str; 7] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cdebug-assertions",
];

/// The command line.
pub(crate) fn main(workspace: &Workspace, args: &[String]) -> Result<()> {
    let all = targets(workspace)?;
    let (mut chosen, mut seconds) = (Vec::new(), SECONDS);
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "--seconds" => {
                let number = rest.next().and_then(|number| number.parse().ok());
                seconds =
                    number.ok_or_else(|| Error::Usage("--seconds needs a number".to_owned()))?;
            }
            "--help" | "-h" => {
                print!("{HELP}\nTargets: {}\n", all.join(", "));
                return Ok(());
            }
            name if all.iter().any(|target| target == name) => chosen.push(name.to_owned()),
            other => {
                let text = format!("no target or option `{other}`; see `cargo xtask fuzz --help`");
                return Err(Error::Usage(text));
            }
        }
    }
    run(workspace, if chosen.is_empty() { &all } else { &chosen }, seconds)
}

/// The step of `cargo xtask test`.
pub(crate) fn step(workspace: &Workspace) -> Result<Outcome> {
    let targets = targets(workspace)?;
    run(workspace, &targets, SECONDS)?;
    Ok(Outcome::Passed(Some(format!("{} targets, {SECONDS} s each", targets.len()))))
}

fn targets(workspace: &Workspace) -> Result<Vec<String>> {
    let dir = workspace.root.join("fuzz/fuzz_targets");
    let reading = || format!("reading {}", dir.display());
    let entries = fs::read_dir(&dir).map_err(|e| Error::io(reading(), e))?;
    let names = entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        let name = path.file_stem()?.to_str()?.to_owned();
        path.extension().is_some_and(|extension| extension == "rs").then_some(name)
    });
    let mut names: Vec<String> = names.collect();
    names.sort();
    Ok(names)
}

/// Builds all targets and runs these, one on each processor at a time.
fn run(workspace: &Workspace, targets: &[String], seconds: u64) -> Result<()> {
    let programs = build(workspace)?;
    let at_once = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut result = Ok(());
    for group in targets.chunks(at_once) {
        let running: Result<Vec<Running>> = group
            .iter()
            .map(|target| Running::start(workspace, &programs, target, seconds))
            .collect();
        for target in running? {
            // The others are waited for even if one has failed: each may have found something.
            result = result.and(target.finish(seconds));
        }
    }
    result
}

/// Builds all targets; returns the folder with the programs.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    let about = process::text_of(workspace.command("rustc").arg("-vV")).unwrap_or_default();
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).ok_or_else(|| {
        Error::missing("`rustc`", "Its `-vV` says for which system fuzz targets are built")
    })?;
    let folder = workspace.target.join("fuzz");
    let mut build = workspace.cargo();
    // A target that is named keeps the flags from build scripts and macros.
    build
        .args(["build", "--release", "--manifest-path", "fuzz/Cargo.toml", "--target", host])
        .arg("--target-dir")
        .arg(&folder)
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
    process::run(&mut build)?;
    Ok(folder.join(host).join("release"))
}

/// A target at work.
struct Running {
    name: String,
    log: PathBuf,
    command: Command,
    child: Child,
}

impl Running {
    fn start(workspace: &Workspace, programs: &Path, name: &str, seconds: u64) -> Result<Running> {
        let corpus = workspace.scratch(&format!("fuzz/{name}"))?;
        let log = workspace.scratch("logs")?.join(format!("fuzz-{name}.log"));
        let seeds = workspace.root.join("fuzz/seeds").join(name);
        let mut command = Command::new(programs.join(name));
        command
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-artifact_prefix={}/found-", corpus.display()))
            .arg(&corpus)
            .args(seeds.is_dir().then_some(seeds));
        let child = process::start_logged(&mut command, &log)?;
        Ok(Running { name: name.to_owned(), log, command, child })
    }

    fn finish(mut self, seconds: u64) -> Result<()> {
        let limit = Duration::from_secs(seconds) + GRACE;
        let result = process::finish_within(&mut self.child, &self.command, limit);
        let report = fs::read(&self.log).unwrap_or_default();
        let report = String::from_utf8_lossy(&report);
        let last = report.lines().rev().find(|line| line.starts_with("Done "));
        match &result {
            Ok(()) => println!("{}: {}", self.name, last.unwrap_or("no report")),
            Err(_) => println!("{report}\n{}: failed, see above", self.name),
        }
        result
    }
}
