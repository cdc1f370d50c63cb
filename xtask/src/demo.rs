//! `cargo xtask demo`: the chat demo from nothing but Rust and Node.js, in one command.

use std::process::Command;

use crate::error::{Error, Result};
use crate::workspace::Workspace;
use crate::{needs, process, tools};

const HELP: &str = "\
Run the chat demo on a cluster: as many workers as processors, on one port

Usage: cargo xtask demo [ARGS for `sedge`]

Steps: checks Node.js and npm, fetches the client files into web/node_modules (once), builds
the command `sedge` in release, and runs
    sedge --client-dir web/node_modules/socket.io-client/dist ARGS
in the foreground until Ctrl-C. What ARGS can be: cargo run -p sedge-cli -- --help
";

/// What the demo has otherwise than the command has by default. Flags and the caller's own
/// environment go before it.
const DEFAULTS: [(&str, &str); 2] = [
    // So that the address is what one sees. A worker that dies is a warning.
    ("SEDGE_LOG_LEVEL", "warn"),
    // Whoever presses Ctrl-C does not want to wait until clients have been let go gently.
    ("SEDGE_DRAIN_DEADLINE", "1s"),
];

/// Prepares everything and becomes the demo server.
pub(crate) fn main(workspace: &Workspace, args: &[String]) -> Result<()> {
    // As many tools want it between their arguments and another program's.
    let args = match args {
        [first, rest @ ..] if first == "--" => rest,
        all => all,
    };
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        print!("{HELP}");
        return Ok(());
    }
    needs::ensure(workspace, &["demo"])?;
    let version = |program| needs::version(workspace, program).unwrap_or_default();
    println!("[1/4] node {}, npm {}", version("node"), version("npm"));
    println!("[2/4] client files in web/node_modules");
    if !tools::npm_ci(workspace, &workspace.root.join("web"))? {
        println!("      already there");
    }
    println!("[3/4] building `sedge` in release; the first time this takes a few minutes");
    process::run(workspace.cargo().args(["build", "--release", "--package", "sedge-cli"]))?;
    let mut sedge = Command::new(workspace.target.join("release").join("sedge"));
    sedge
        .arg("--client-dir")
        .arg(workspace.root.join("web/node_modules/socket.io-client/dist"))
        .args(args)
        .envs(DEFAULTS.iter().filter(|(name, _)| std::env::var_os(name).is_none()).copied());
    println!("[4/4] {}", process::line(&sedge));
    println!("\nOpen the address that it listens on in two tabs of a browser. Ctrl-C ends it.\n");
    become_it(&mut sedge)
}

/// The server takes this process's place: signals reach it directly, and its status is ours.
#[cfg(unix)]
fn become_it(command: &mut Command) -> Result<()> {
    use std::os::unix::process::CommandExt;
    let error = command.exec();
    Err(Error::io(format!("starting `{}`", process::line(command)), error))
}

#[cfg(not(unix))]
fn become_it(command: &mut Command) -> Result<()> {
    process::run(command)
}
