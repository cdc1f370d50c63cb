//! Building the programs that other people's clients are set on.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::process;
use crate::workspace::Workspace;

/// Builds an example of the crate `sedge`; returns the program's path.
pub(crate) fn example(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    let path = Path::new("examples").join(name);
    built(workspace, &["--package", "sedge", "--all-features", "--example", name], &path)
}

/// Builds with the given flags in the development profile; returns the path of the result.
pub(crate) fn built(
    workspace: &Workspace,
    flags: &[&str],
    result: impl AsRef<Path>,
) -> Result<PathBuf> {
    process::run(workspace.cargo().arg("build").args(flags))?;
    let path = workspace.target.join("debug").join(result);
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::Check(format!("cargo built no {}", path.display())))
}
