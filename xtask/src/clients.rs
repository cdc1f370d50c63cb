//! The steps that drive our server with other people's clients: JavaScript, Python, a browser.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::Workspace;
use crate::error::{Error, Result};
use crate::server::Server;
use crate::test::Outcome;
use crate::tools::{self, NodeFor};
use crate::{checks, process};

/// No client test run should come near this; it ends one that hangs.
const LIMIT: Duration = Duration::from_mins(5);
const ANY_PORT: [&str; 2] = ["--listen", "127.0.0.1:0"];

/// The official JavaScript clients of all generations, and python-socketio, against the example
/// `conformance` in its three forms. What it does: `tests/clients/CONTRACT.md`.
pub(crate) fn clients(workspace: &Workspace) -> Result<Outcome> {
    let dir = workspace.root.join("tests/clients");
    println!("{}", tools::node(workspace, NodeFor::Tests)?);
    tools::npm_ci(&dir)?;
    let python = tools::python(workspace, &dir.join("python/requirements.txt"))?;
    let program = example(workspace, "conformance")?;
    let logs = workspace.scratch("logs")?;
    let start = |name, extra: &[&str]| {
        Server::start(name, Command::new(&program).args(ANY_PORT).args(extra), 1, &logs)
    };
    let servers = [
        start("conformance", &[])?,
        start("conformance-msgpack", &["--parser", "msgpack"])?,
        start("conformance-deflate", &["--deflate"])?,
    ];
    let with_addresses = |command: &mut Command| {
        command
            .current_dir(&dir)
            .env("SEDGE_URL", servers[0].url(0))
            .env("SEDGE_MSGPACK_URL", servers[1].url(0))
            .env("SEDGE_DEFLATE_URL", servers[2].url(0))
            .env("SEDGE_SERVER_CMD", json_words(&[&program.to_string_lossy()]));
    };
    let mut javascript = Command::new("node");
    javascript.args(["--test", "--test-reporter=spec", "--test-concurrency=2"]);
    let mut snakes = Command::new(&python);
    snakes.args(["-m", "unittest", "discover", "-s", "python", "-v"]);
    let mut result = Ok(());
    for command in [&mut javascript, &mut snakes] {
        with_addresses(command);
        // Both always run: the second may say more about what the first found.
        result = result.and(process::run_within(command, LIMIT));
    }
    if result.is_err() {
        servers.iter().for_each(Server::show_output);
    }
    result.map(|()| Outcome::passed())
}

/// In a real browser: the chat demo, as `cargo xtask demo` serves it, and the clients of all
/// generations, which do there what they cannot do under Node (JSONP, binary polling).
pub(crate) fn browser(workspace: &Workspace) -> Result<Outcome> {
    let dir = workspace.root.join("tests/browser");
    println!("{}", tools::node(workspace, NodeFor::Tests)?);
    let chromium = tools::chromium(workspace)?;
    tools::npm_ci(&dir)?;
    tools::npm_ci(&workspace.root.join("web"))?;
    let sedge = built(workspace, &["--package", "sedge-cli", "--bin", "sedge"], "sedge")?;
    let conformance = example(workspace, "conformance")?;
    let logs = workspace.scratch("logs")?;
    let pictures = workspace.scratch("screenshots")?;
    let files = workspace.root.join("web/node_modules/socket.io-client/dist");
    let (program, files) = (sedge.to_string_lossy(), files.to_string_lossy());
    let words = [&*program, "serve", "--client-dir", &*files];
    let mut serve = Command::new(&sedge);
    let server = Server::start("demo", serve.args(&words[1..]).args(ANY_PORT), 1, &logs)?;
    let mut conform = Command::new(conformance);
    let other = Server::start("conformance-browser", conform.args(ANY_PORT), 1, &logs)?;
    let result = process::run_within(
        Command::new("node")
            .args(["--test", "--test-reporter=spec"])
            .current_dir(&dir)
            .env("SEDGE_DEMO_URL", server.url(0))
            .env("SEDGE_URL", other.url(0))
            // For the test in which the server goes away: it starts one of its own.
            .env("SEDGE_DEMO_CMD", json_words(&words))
            .env("SEDGE_SCREENSHOTS", &pictures)
            .env("CHROMIUM", chromium),
        LIMIT,
    );
    if result.is_err() {
        server.show_output();
        other.show_output();
    }
    result.map(|()| Outcome::Passed(Some(format!("screenshots in {}", pictures.display()))))
}

/// Builds an example of the crate `sedge`; returns the program's path.
pub(crate) fn example(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    let path = Path::new("examples").join(name);
    built(workspace, &["--package", "sedge", "--example", name], &path)
}

/// Builds with the given flags in the development profile; returns the path of the result.
fn built(workspace: &Workspace, flags: &[&str], result: impl AsRef<Path>) -> Result<PathBuf> {
    process::run(checks::cargo(workspace).arg("build").args(flags))?;
    let path = workspace.target.join("debug").join(result);
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::Check(format!("cargo built no {}", path.display())))
}

/// Words as a JSON array of strings. Paths hold no control characters, so two escapes are enough.
fn json_words(words: &[&str]) -> String {
    let quoted = words.iter().map(|word| {
        let escaped = word.replace('\\', "\\\\").replace('"', "\\\"");
        format!("\"{escaped}\"")
    });
    format!("[{}]", quoted.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_spaces_and_quotes_survives() {
        assert_eq!(json_words(&["/a b/c\"d", "x\\y"]), r#"["/a b/c\"d","x\\y"]"#);
    }
}
