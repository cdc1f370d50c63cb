//! Where things are, and how strict to be; made once, passed to every task.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};
use crate::process;

pub(crate) struct Workspace {
    /// The folder with the workspace's Cargo.toml.
    pub(crate) root: PathBuf,
    /// Cargo's target folder: taken from this program's own place, so it follows any setting.
    pub(crate) target: PathBuf,
    /// Tools may be installed without asking: `CI` is set, or we are root.
    pub(crate) may_install: bool,
}

impl Workspace {
    pub(crate) fn find() -> Result<Self> {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest.parent().map(PathBuf::from).unwrap_or_default();
        let exe =
            std::env::current_exe().map_err(|e| Error::io("finding this program's path", e))?;
        // <target>/<profile>/xtask
        let target = exe.ancestors().nth(2).map_or_else(|| root.join("target"), Path::to_path_buf);
        let ci = std::env::var("CI").is_ok_and(|v| !v.is_empty() && v != "false" && v != "0");
        Ok(Self { root, target, may_install: ci || is_root() })
    }

    /// A folder for what the tasks themselves make: logs, the Python environment, copies.
    pub(crate) fn scratch(&self, name: &str) -> Result<PathBuf> {
        let dir = self.target.join("xtask").join(name);
        std::fs::create_dir_all(&dir)
            .map_err(|e| Error::io(format!("creating {}", dir.display()), e))?;
        Ok(dir)
    }

    /// Where tools are installed that only this workspace uses.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("xtask").join("tools")
    }

    /// A program, looked for among the workspace's own tools first, with those on its `PATH`.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("PATH", self.path());
        command
    }

    /// Cargo, as the one that runs us, in the workspace.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = self.command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.root);
        command
    }

    /// The full path of a program.
    pub(crate) fn which(&self, program: &str) -> Option<PathBuf> {
        let path = self.path();
        std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
    }

    /// `PATH` with the workspace's own tools in front, and the places of servers, which Debian keeps
    /// from users, behind.
    fn path(&self) -> OsString {
        let own = [self.tools().join("bin"), self.tools().join("node_modules/.bin")];
        let given = std::env::var_os("PATH").unwrap_or_default();
        let all = own.into_iter().chain(std::env::split_paths(&given));
        std::env::join_paths(all.chain(["/usr/sbin".into(), "/sbin".into()])).unwrap_or(given)
    }
}

pub(crate) fn is_root() -> bool {
    process::text_of(Command::new("id").arg("-u")).as_deref() == Some("0")
}
