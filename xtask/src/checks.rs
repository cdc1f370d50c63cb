//! The steps that need only Rust: format, lints, documentation, tests, dependencies.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::workspace::Workspace;
use crate::{process, tools};

/// The crates that only compute and must build where there is no operating system.
const PURE_CRATES: [&str; 3] = ["sedge-protocol", "sedge-adapter", "sedge-sticky"];
const WASM: &str = "wasm32-unknown-unknown";
/// What would give them sockets, threads, files, clocks or random numbers.
const IMPURE_CRATES: [&str; 9] =
    ["tokio", "mio", "socket2", "hyper", "libc", "rustix", "getrandom", "rand", "time"];
/// Where cargo-deny looks for advisories.
const ADVISORIES: &str = "https://github.com/RustSec/advisory-db";
/// How long the advisory database may take to arrive.
const FETCH: Duration = Duration::from_mins(1);

pub(crate) fn fmt(workspace: &Workspace) -> Result<Outcome> {
    process::run(workspace.cargo().args(["fmt", "--all", "--check"]))?;
    Ok(Outcome::passed())
}

pub(crate) fn clippy(workspace: &Workspace) -> Result<Outcome> {
    let lint = |what: &[&str]| {
        let mut command = workspace.cargo();
        command.args(["clippy", "--all-targets"]).args(what).args(["--", "-D", "warnings"]);
        process::run(&mut command)
    };
    lint(&["--workspace", "--all-features"])?;
    // Without its features the library is another one: no TLS, no cluster, and not only for Linux.
    lint(&["--package", "sedge"])?;
    Ok(Outcome::passed())
}

pub(crate) fn doc(workspace: &Workspace) -> Result<Outcome> {
    process::run(workspace.cargo().env("RUSTDOCFLAGS", "-D warnings").args([
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
    process::run(workspace.cargo().args(flags))?;
    Ok(Outcome::passed())
}

/// The crates that only compute depend on nothing that reaches the operating system, and build for a
/// target that has none, where that can be had. What the standard library has of it, their `clippy.toml` bans.
pub(crate) fn pure(workspace: &Workspace) -> Result<Outcome> {
    for name in PURE_CRATES {
        let mut tree = workspace.cargo();
        tree.args(["tree", "--all-features", "--edges=normal", "--prefix=none", "--package", name]);
        let tree = process::text_of(&mut tree)
            .ok_or_else(|| Error::Check(format!("cargo tree says nothing of {name}")))?;
        let mut names = tree.lines().filter_map(|line| line.split_whitespace().next());
        if let Some(found) = names.find(|found| IMPURE_CRATES.contains(found)) {
            return Err(Error::Check(format!("{name} only computes, but depends on {found}")));
        }
    }
    let installed = || {
        process::text_of(workspace.command("rustup").args(["target", "list", "--installed"]))
            .is_some_and(|list| list.lines().any(|line| line.trim() == WASM))
    };
    if !installed() {
        // Its failure is no news: the next look decides.
        let _ = process::run(workspace.command("rustup").args(["target", "add", WASM]));
    }
    if !installed() {
        return Ok(Outcome::Passed(Some(format!(
            "by their dependencies; the target {WASM}, to build them for, can't be had here"
        ))));
    }
    let mut build = workspace.cargo();
    build.args(["build", "--all-features", "--target", WASM]);
    for name in PURE_CRATES {
        build.args(["--package", name]);
    }
    process::run(&mut build)?;
    Ok(Outcome::Passed(Some(format!("also built for {WASM}"))))
}

/// Licences, duplicates and origins of all dependencies; and known advisories, by a database that is
/// fetched, or was before, or that `SEDGE_ADVISORIES` names.
pub(crate) fn deny(workspace: &Workspace) -> Result<Outcome> {
    tools::cargo_deny(workspace)?;
    let log = workspace.scratch("logs")?.join("advisories.log");
    let deny = |args: &[&str]| {
        let mut command = workspace.cargo();
        command.arg("deny").args(args);
        if let Some(place) = std::env::var_os("SEDGE_ADVISORIES") {
            let mut key = std::ffi::OsString::from("url.");
            key.push(place);
            key.push(".insteadOf");
            command.env("CARGO_NET_GIT_FETCH_WITH_CLI", "true").env("GIT_CONFIG_COUNT", "1");
            command.env("GIT_CONFIG_KEY_0", key).env("GIT_CONFIG_VALUE_0", ADVISORIES);
        }
        command
    };
    // A fetch that hangs is as good as one that fails.
    if process::run_logged(&mut deny(&["fetch", "db"]), &log, FETCH).unwrap_or(false) {
        process::run(&mut deny(&["check"]))?;
        return Ok(Outcome::Passed(Some("advisories too".to_owned())));
    }
    process::run(&mut deny(&["check", "bans", "licenses", "sources"]))?;
    if fetched_before() {
        process::run(&mut deny(&["--offline", "check", "advisories"]))?;
        return Ok(Outcome::Passed(Some("advisories by a database fetched before".to_owned())));
    }
    Ok(Outcome::Passed(Some("advisories NOT checked: no database can be had here".to_owned())))
}

/// Whether there is a database of advisories where cargo-deny keeps it.
fn fetched_before() -> bool {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let entries = home.and_then(|home| std::fs::read_dir(home.join("advisory-dbs")).ok());
    entries.is_some_and(|entries| entries.flatten().any(|entry| entry.path().join(".git").is_dir()))
}
