//! What the workspace installs for itself below `target/xtask` and in `node_modules`: packages of npm and
//! Python, and cargo-deny.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::workspace::Workspace;
use crate::{needs, process};

/// Installs the packages of a lock file into `dir/node_modules`, unless that was done for exactly
/// this lock file; true if something was installed.
pub(crate) fn npm_ci(workspace: &Workspace, dir: &Path) -> Result<bool> {
    let lock = dir.join("package-lock.json");
    let stamp = dir.join("node_modules").join(".installed-lock.json");
    once(&lock, &stamp, || {
        process::run(
            workspace
                .command("npm")
                .args(["ci", "--no-audit", "--no-fund", "--loglevel=error"])
                .current_dir(dir),
        )
    })
}

/// The interpreter of a Python environment under the target folder that has the packages of
/// `requirements` installed. Each file of requirements, by its name, has an environment of its own.
pub(crate) fn python(workspace: &Workspace, requirements: &Path) -> Result<PathBuf> {
    let name = requirements.file_stem().unwrap_or_default().to_string_lossy();
    let venv = workspace.target.join("xtask").join("venv").join(&*name);
    let python = venv.join("bin").join("python");
    once(requirements, &venv.join("installed.txt"), || {
        let mut make = workspace.command(needs::python());
        process::run(make.args(["-m", "venv", "--clear"]).arg(&venv))?;
        process::run(
            workspace
                .command(&python)
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
                .arg(requirements),
        )
    })?;
    Ok(python)
}

/// Runs an installation unless it was done for exactly this file; true if it ran.
fn once(wanted: &Path, stamp: &Path, install: impl FnOnce() -> Result<()>) -> Result<bool> {
    let wanted =
        fs::read(wanted).map_err(|e| Error::io(format!("reading {}", wanted.display()), e))?;
    if fs::read(stamp).is_ok_and(|done| done == wanted) {
        return Ok(false);
    }
    install()?;
    fs::write(stamp, wanted).map_err(|e| Error::io(format!("writing {}", stamp.display()), e))?;
    Ok(true)
}

/// Makes sure that `cargo deny` can be run: a build without optimisation takes minutes less.
pub(crate) fn cargo_deny(workspace: &Workspace) -> Result<()> {
    if workspace.which("cargo-deny").is_some() {
        return Ok(());
    }
    process::run(
        workspace
            .cargo()
            .args(["install", "cargo-deny", "--locked", "--debug", "--quiet", "--root"])
            .arg(workspace.tools()),
    )
}
