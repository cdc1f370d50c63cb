//! The steps that need only Rust: format, lints, documentation, tests, dependencies, fuzzing.

use std::process::Command;
use std::time::Duration;

use crate::Workspace;
use crate::error::{Error, Result};
use crate::process;
use crate::test::Outcome;

/// The crates that only compute and must build where there is no operating system.
const PURE_CRATES: [&str; 3] = ["sedge-protocol", "sedge-adapter", "sedge-sticky"];
const WASM: &str = "wasm32-unknown-unknown";
/// How long each fuzz target runs: enough to notice a target that is broken or falls at once.
const FUZZ_SECONDS: u32 = 10;
/// How long the advisory database may take to arrive.
const FETCH: Duration = Duration::from_mins(1);

/// Cargo, as the one that runs us, in the workspace.
pub(crate) fn cargo(workspace: &Workspace) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(&workspace.root);
    command
}

pub(crate) fn fmt(workspace: &Workspace) -> Result<Outcome> {
    process::run(cargo(workspace).args(["fmt", "--all", "--check"]))?;
    Ok(Outcome::passed())
}

pub(crate) fn clippy(workspace: &Workspace) -> Result<Outcome> {
    let lint = |what: &[&str]| {
        let mut command = cargo(workspace);
        command.args(["clippy", "--all-targets"]).args(what).args(["--", "-D", "warnings"]);
        process::run(&mut command)
    };
    lint(&["--workspace", "--all-features"])?;
    // Without its features the library is another one: no TLS, no cluster, and not only for Linux.
    lint(&["--package", "sedge"])?;
    Ok(Outcome::passed())
}

pub(crate) fn doc(workspace: &Workspace) -> Result<Outcome> {
    process::run(cargo(workspace).env("RUSTDOCFLAGS", "-D warnings").args([
        "doc",
        "--no-deps",
        "--workspace",
        "--all-features",
    ]))?;
    Ok(Outcome::passed())
}

/// Unit, integration and documentation tests; the examples are built along.
pub(crate) fn unit(workspace: &Workspace) -> Result<Outcome> {
    let flags = ["test", "--workspace", "--all-features", "--no-fail-fast"];
    process::run(cargo(workspace).args(flags))?;
    Ok(Outcome::passed())
}

/// The pure crates build for a target that has no sockets, no threads and no clock.
pub(crate) fn wasm(workspace: &Workspace) -> Result<Outcome> {
    let installed = || {
        process::text_of(Command::new("rustup").args(["target", "list", "--installed"]))
            .is_some_and(|list| list.lines().any(|line| line.trim() == WASM))
    };
    if !installed() {
        // Its failure is no news: the next look decides.
        let _ = process::run(Command::new("rustup").args(["target", "add", WASM]));
    }
    if !installed() {
        return Ok(Outcome::Skipped(format!(
            "the target {WASM} can't be had here; clippy's disallowed-methods still hold"
        )));
    }
    let mut build = cargo(workspace);
    build.args(["build", "--all-features", "--target", WASM]);
    for name in PURE_CRATES {
        build.args(["--package", name]);
    }
    process::run(&mut build)?;
    Ok(Outcome::passed())
}

/// Licences, duplicates and origins of all dependencies, and known advisories when their
/// database can be reached.
pub(crate) fn deny(workspace: &Workspace) -> Result<Outcome> {
    let there = || process::succeeds(cargo(workspace).args(["deny", "--version"]));
    if !there() && workspace.ci {
        process::run(cargo(workspace).args(["install", "cargo-deny", "--locked", "--quiet"]))?;
    }
    if !there() {
        let how = "Get it with `cargo install cargo-deny --locked` (some minutes)";
        return Err(Error::missing("cargo-deny", how));
    }
    let log = workspace.scratch("logs")?.join("advisories.log");
    let mut fetch = cargo(workspace);
    fetch.args(["deny", "fetch", "db"]);
    // A fetch that hangs is as good as one that fails.
    if process::run_logged(&mut fetch, &log, FETCH).unwrap_or(false) {
        process::run(cargo(workspace).args(["deny", "check"]))?;
        return Ok(Outcome::passed());
    }
    process::run(cargo(workspace).args(["deny", "check", "bans", "licenses", "sources"]))?;
    Ok(Outcome::Passed(Some("advisories not checked: no database".to_owned())))
}

/// Each fuzz target for a few seconds, from its kept seeds. Optional: wants nightly Rust.
pub(crate) fn fuzz(workspace: &Workspace) -> Result<Outcome> {
    if !workspace.root.join("fuzz/Cargo.toml").is_file() {
        return Ok(Outcome::Skipped("no fuzz targets".to_owned()));
    }
    // `cargo` by name: the one that runs us is a toolchain's own and takes no `+nightly`.
    let cargo_fuzz = || {
        let mut command = Command::new("cargo");
        command.current_dir(&workspace.root).env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
        command.args(["+nightly", "fuzz"]);
        command
    };
    let Some(list) = process::text_of(cargo_fuzz().arg("list")) else {
        return Ok(Outcome::Skipped("nightly Rust or cargo-fuzz is missing".to_owned()));
    };
    let targets: Vec<&str> = list.split_whitespace().collect();
    for target in &targets {
        let mut run = cargo_fuzz();
        run.args(["run", target]);
        for folder in ["corpus", "seeds"] {
            let dir = workspace.root.join("fuzz").join(folder).join(target);
            if folder == "corpus" {
                std::fs::create_dir_all(&dir)
                    .map_err(|e| Error::io(format!("creating {}", dir.display()), e))?;
            }
            if dir.is_dir() {
                run.arg(dir);
            }
        }
        run.arg("--").arg(format!("-max_total_time={FUZZ_SECONDS}")).arg("-verbosity=0");
        process::run(&mut run)?;
    }
    Ok(Outcome::Passed(Some(format!("{} targets, {FUZZ_SECONDS} s each", targets.len()))))
}
