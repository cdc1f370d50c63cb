//! What the tests and the demo need of a machine. All of it is looked for before the first step runs, and
//! what is missing is installed, or named in one list with the one command that gets it.
//!
//! What only the workspace uses (cargo-deny, npm and Python packages) is not here: the steps put it below
//! `target/xtask`, which needs nobody's leave.

use std::process::Command;

use crate::error::{Error, Result};
use crate::process;
use crate::workspace::{Workspace, is_root};

/// The oldest Node.js that the client and browser tests run on (`node --test` with globs of
/// its own, global fetch).
const NODE_FOR_TESTS: u32 = 20;
/// The oldest Node.js that can fetch the demo's client files.
const NODE_FOR_DEMO: u32 = 16;
/// The Node.js that is put among the workspace's own tools where the system's is too old: npm has it as a
/// package.
const OWN_NODE: &str = "node@22";

/// Something that is not part of the workspace.
struct Need {
    what: &'static str,
    /// The steps that use it.
    steps: &'static [&'static str],
    there: fn(&Workspace) -> bool,
    how: How,
}

/// How it is got.
#[derive(Clone, Copy)]
enum How {
    /// Packages of Debian, by names that Ubuntu has too.
    Packages(&'static [&'static str]),
    /// `rustup component add`.
    Component(&'static str),
}

const NEEDS: [Need; 9] = [
    Need {
        what: "git",
        steps: &["tidy", "deny", "suites"],
        there: |workspace| workspace.which("git").is_some(),
        how: How::Packages(&["git"]),
    },
    Need {
        what: "rustfmt",
        steps: &["fmt"],
        there: |workspace| process::succeeds(workspace.cargo().args(["fmt", "--version"])),
        how: How::Component("rustfmt"),
    },
    Need {
        what: "clippy",
        steps: &["clippy"],
        there: |workspace| process::succeeds(workspace.cargo().args(["clippy", "--version"])),
        how: How::Component("clippy"),
    },
    Need {
        what: "a C++ compiler",
        steps: &["fuzz"],
        there: |workspace| workspace.which("c++").is_some(),
        how: How::Packages(&["g++"]),
    },
    Need {
        what: "nginx",
        steps: &["unit"],
        there: |workspace| workspace.which("nginx").is_some(),
        how: How::Packages(&["nginx-light"]),
    },
    Need {
        what: "HAProxy",
        steps: &["unit"],
        there: |workspace| workspace.which("haproxy").is_some(),
        how: How::Packages(&["haproxy"]),
    },
    Need {
        what: "Node.js with npm",
        steps: &["demo", "clients", "browser", "suites"],
        there: |workspace| version(workspace, "node").and(version(workspace, "npm")).is_some(),
        how: How::Packages(&["nodejs", "npm"]),
    },
    Need {
        what: "Python 3 with venv",
        steps: &["clients"],
        // `ensurepip` is what Debian keeps apart, in python3-venv.
        there: |workspace| {
            let mut python = workspace.command(python());
            process::succeeds(python.args(["-c", "import venv, ensurepip"]))
        },
        how: How::Packages(&["python3", "python3-venv"]),
    },
    Need {
        what: "Chromium (or CHROMIUM with its path)",
        steps: &["browser"],
        there: |workspace| chromium(workspace).is_some(),
        how: How::Packages(&["chromium"]),
    },
];

/// Makes sure that a machine has all that these steps need. The error names everything that is missing.
pub(crate) fn ensure(workspace: &Workspace, steps: &[&str]) -> Result<()> {
    let missing = || {
        let needs = NEEDS.iter().filter(|need| need.steps.iter().any(|step| steps.contains(step)));
        needs.filter(|need| !(need.there)(workspace)).collect::<Vec<_>>()
    };
    let mut wanted = missing();
    if !wanted.is_empty() && workspace.may_install {
        for mut command in commands(workspace, &wanted) {
            // Whether it helped, the next look says; why it did not, its own output.
            if let Err(error) = process::run(&mut command) {
                println!("{error}");
            }
        }
        wanted = missing();
    }
    if !wanted.is_empty() {
        let names: Vec<&str> = wanted.iter().map(|need| need.what).collect();
        let lines = commands(workspace, &wanted);
        let lines: Vec<String> = lines.iter().map(process::line).collect();
        let how = format!("Get it with:\n\n    {}\n", lines.join(" && "));
        return Err(Error::missing(names.join(", "), how));
    }
    let oldest = |step: &&str| if *step == "demo" { NODE_FOR_DEMO } else { NODE_FOR_TESTS };
    let uses_node = |need: &&Need| need.how.packages().contains(&"nodejs");
    let node_steps = NEEDS.iter().find(uses_node).map_or(&[][..], |need| need.steps);
    match steps.iter().filter(|step| node_steps.contains(step)).map(oldest).max() {
        Some(oldest) => recent_node(workspace, oldest),
        None => Ok(()),
    }
}

impl How {
    fn packages(self) -> &'static [&'static str] {
        match self {
            How::Packages(names) => names,
            How::Component(_) => &[],
        }
    }
}

/// The commands that get what is missing.
fn commands(workspace: &Workspace, missing: &[&Need]) -> Vec<Command> {
    let mut commands = Vec::new();
    let packages: Vec<&str> =
        missing.iter().flat_map(|need| need.how.packages()).copied().collect();
    if !packages.is_empty() {
        let apt = |args: &[&str]| {
            let mut command = if is_root() {
                workspace.command("apt-get")
            } else {
                let mut sudo = workspace.command("sudo");
                // In CI there is nobody to ask for a password.
                sudo.args(workspace.may_install.then_some("-n")).arg("apt-get");
                sudo
            };
            command.env("DEBIAN_FRONTEND", "noninteractive").args(args);
            command
        };
        commands.push(apt(&["update", "-qq"]));
        let mut install = apt(&["install", "-y", "-qq", "--no-install-recommends"]);
        install.args(packages);
        commands.push(install);
    }
    let components = missing.iter().filter_map(|need| match need.how {
        How::Component(name) => Some(name),
        How::Packages(_) => None,
    });
    let mut rustup = workspace.command("rustup");
    rustup.args(["component", "add"]).args(components);
    if rustup.get_args().len() > 2 {
        commands.push(rustup);
    }
    commands
}

/// Makes sure that Node.js is recent enough. Debian 12 has version 18; npm carries newer ones as a package.
fn recent_node(workspace: &Workspace, oldest: u32) -> Result<()> {
    let recent = || {
        let found = version(workspace, "node").as_deref().and_then(major);
        found.is_some_and(|found| found >= oldest)
    };
    if !recent() {
        println!("Node.js is older than {oldest}: a newer one for this workspace");
        process::run(
            workspace
                .command("npm")
                .args(["install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"])
                .arg(workspace.tools())
                .arg(OWN_NODE),
        )?;
    }
    if recent() {
        return Ok(());
    }
    let what = format!("Node.js {oldest} or newer");
    Err(Error::missing(what, "Get it from https://nodejs.org/en/download"))
}

/// The Python that makes the environment of the Python tests.
pub(crate) fn python() -> std::ffi::OsString {
    std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into())
}

/// The browser for the browser tests.
pub(crate) fn chromium(workspace: &Workspace) -> Option<std::path::PathBuf> {
    match std::env::var_os("CHROMIUM").map(std::path::PathBuf::from) {
        Some(path) => path.is_file().then_some(path),
        None => ["chromium", "chromium-browser", "google-chrome"]
            .into_iter()
            .find_map(|name| workspace.which(name)),
    }
}

/// What a program says its version is, if it is there.
pub(crate) fn version(workspace: &Workspace, program: &str) -> Option<String> {
    process::text_of(workspace.command(program).arg("--version"))
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

    #[test]
    fn everything_that_is_missing_is_got_by_one_line() {
        let workspace = Workspace { root: "/".into(), target: "/".into(), may_install: false };
        let missing: Vec<&Need> = NEEDS.iter().collect();
        let lines: Vec<String> = commands(&workspace, &missing).iter().map(process::line).collect();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[0].ends_with("apt-get update -qq"));
        for word in ["git", "g++", "nginx-light", "haproxy", "npm", "python3-venv", "chromium"] {
            assert!(lines[1].split(' ').any(|found| found == word), "{word} in {}", lines[1]);
        }
        assert_eq!(lines[2], "rustup component add rustfmt clippy");
    }
}
