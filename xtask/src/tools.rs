//! Finding, and in CI installing, the programs that are not part of the Rust toolchain.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Workspace;
use crate::error::{Error, Result};
use crate::process;

/// The oldest Node.js that the client and browser tests run on (`node --test` with globs of
/// its own, global fetch).
const NODE_FOR_TESTS: u32 = 20;
/// The oldest Node.js that can fetch the demo's client files.
const NODE_FOR_DEMO: u32 = 16;

const GET_NODE: &str = "Get it with `apt-get install nodejs npm` (Debian 13, Ubuntu 24.04), \
     `brew install node` (macOS), or from https://nodejs.org/en/download";

/// What Node.js is needed for; decides how old it may be.
#[derive(Clone, Copy)]
pub(crate) enum NodeFor {
    /// Only npm, to fetch the client files.
    Demo,
    /// Running the JavaScript tests.
    Tests,
}

/// Makes sure that node and npm are there and recent enough; returns their versions in words.
pub(crate) fn node(workspace: &Workspace, purpose: NodeFor) -> Result<String> {
    let wanted = match purpose {
        NodeFor::Demo => NODE_FOR_DEMO,
        NodeFor::Tests => NODE_FOR_TESTS,
    };
    let version_of = |program| process::text_of(Command::new(program).arg("--version"));
    if version_of("node").is_none() || version_of("npm").is_none() {
        apt_install(workspace, &["nodejs", "npm"])?;
    }
    let node = version_of("node").ok_or_else(|| {
        Error::missing(
            "Node.js (`node`)",
            format!("Version {wanted} or newer is needed. {GET_NODE}"),
        )
    })?;
    let npm = version_of("npm").ok_or_else(|| {
        Error::missing(
            "npm",
            format!("Node.js {node} is there, its package manager is not. {GET_NODE}"),
        )
    })?;
    match major(&node) {
        Some(found) if found >= wanted => Ok(format!("node {node}, npm {npm}")),
        _ => Err(Error::missing(
            format!("Node.js {wanted} or newer (found {node})"),
            GET_NODE.to_owned(),
        )),
    }
}

/// Installs the packages of a lock file into `dir/node_modules`, unless that was done for exactly
/// this lock file; true if something was installed.
pub(crate) fn npm_ci(dir: &Path) -> Result<bool> {
    let lock = dir.join("package-lock.json");
    let wanted =
        fs::read(&lock).map_err(|e| Error::io(format!("reading {}", lock.display()), e))?;
    let stamp = dir.join("node_modules").join(".installed-lock.json");
    if fs::read(&stamp).is_ok_and(|done| done == wanted) {
        return Ok(false);
    }
    process::run(
        Command::new("npm")
            .args(["ci", "--no-audit", "--no-fund", "--loglevel=error"])
            .current_dir(dir),
    )?;
    fs::write(&stamp, wanted).map_err(|e| Error::io(format!("writing {}", stamp.display()), e))?;
    Ok(true)
}

/// The interpreter of a Python environment under the target folder that has the packages of
/// `requirements` installed.
pub(crate) fn python(workspace: &Workspace, requirements: &Path) -> Result<PathBuf> {
    let wanted = fs::read(requirements)
        .map_err(|e| Error::io(format!("reading {}", requirements.display()), e))?;
    let venv = workspace.target.join("xtask").join("venv");
    let (python, stamp) = (venv.join("bin").join("python"), venv.join("installed.txt"));
    if fs::read(&stamp).is_ok_and(|done| done == wanted) {
        return Ok(python);
    }
    let system = std::env::var_os("PYTHON").unwrap_or_else(|| OsString::from("python3"));
    // `ensurepip` is what Debian keeps apart, in python3-venv.
    if !process::succeeds(Command::new(&system).args(["-c", "import venv, ensurepip"])) {
        apt_install(workspace, &["python3", "python3-venv"])?;
    }
    process::run(Command::new(&system).args(["-m", "venv", "--clear"]).arg(&venv)).map_err(
        |e| {
            let how = format!("Get it with `apt-get install python3 python3-venv`. ({e})");
            Error::missing("Python 3 with venv", how)
        },
    )?;
    process::run(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
            .arg(requirements),
    )?;
    fs::write(&stamp, wanted).map_err(|e| Error::io(format!("writing {}", stamp.display()), e))?;
    Ok(python)
}

/// The browser for the browser tests.
pub(crate) fn chromium(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("CHROMIUM").map(PathBuf::from) {
        if path.is_file() {
            return Ok(path);
        }
        let what = format!("the browser {} that CHROMIUM names", path.display());
        return Err(Error::missing(what, "Unset CHROMIUM to have it looked for"));
    }
    let find = || ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(which);
    if find().is_none() {
        apt_install(workspace, &["chromium"])?;
    }
    find().ok_or_else(|| {
        Error::missing(
            "a Chromium browser",
            "Get it with `apt-get install chromium`, or set CHROMIUM to its path",
        )
    })
}

/// Installs Debian packages where that is ours to do: in CI, as root, with apt-get there.
/// Elsewhere it does nothing, and the caller says what is missing.
fn apt_install(workspace: &Workspace, packages: &[&str]) -> Result<()> {
    let root = process::text_of(Command::new("id").arg("-u")).as_deref() == Some("0");
    if !workspace.ci || !root || which("apt-get").is_none() {
        return Ok(());
    }
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").arg("-qq");
        command
    };
    process::run(apt().arg("update"))?;
    process::run(apt().args(["install", "-y", "--no-install-recommends"]).args(packages))
}

/// The full path of a program on PATH.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// The first number of a version such as `v20.20.2`.
fn major(version: &str) -> Option<u32> {
    version.trim().trim_start_matches('v').split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_with_and_without_v() {
        assert_eq!(major("v20.20.2\n"), Some(20));
        assert_eq!(major("9.2.0"), Some(9));
        assert_eq!(major("unknown"), None);
    }
}
