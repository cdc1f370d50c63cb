//! The steps that drive our server with other people's clients: JavaScript, Python, a browser.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::programs::{built, example};
use crate::server::Server;
use crate::workspace::Workspace;
use crate::{needs, process, tools};

/// No client test run should come near this; it ends one that hangs.
const LIMIT: Duration = Duration::from_mins(5);
const ANY_PORT: [&str; 2] = ["--listen", "127.0.0.1:0"];

/// The official JavaScript clients of all generations, and python-socketio, against the example
/// `conformance`: first one process, then a cluster. What it does: `tests/clients/CONTRACT.md`.
pub(crate) fn clients(workspace: &Workspace) -> Result<Outcome> {
    let dir = workspace.root.join("tests/clients");
    tools::npm_ci(workspace, &dir)?;
    let python = |requirements| tools::python(workspace, &dir.join(requirements));
    let pythons = [
        ("python", python("python/requirements.txt")?),
        ("python-older", python("python-older/requirements-4.6.1.txt")?),
        ("python-older", python("python-older/requirements-5.11.2.txt")?),
    ];
    let program = example(workspace, "conformance")?;
    let rounds = Rounds { workspace, dir, pythons, program, logs: workspace.scratch("logs")? };
    println!("--- one process");
    let one = rounds.run(None, &["msgpack", "deflate"]);
    println!("--- a cluster of two workers");
    // Compression has nothing to do with the number of processes; the parser's bytes cross the bus.
    one.and(rounds.run(Some("2"), &["msgpack"]))?;
    Ok(Outcome::Passed(Some("one process, and a cluster of two workers".to_owned())))
}

/// What all runs of the clients' tests share.
struct Rounds<'a> {
    workspace: &'a Workspace,
    dir: PathBuf,
    /// Interpreters, and the folders of the tests for what each has installed.
    pythons: [(&'static str, PathBuf); 3],
    program: PathBuf,
    logs: PathBuf,
}

impl Rounds<'_> {
    /// One run, against servers of so many workers or of one process: one as it is, and one for each of
    /// the variants named. The tests of a variant that is not there skip themselves.
    fn run(&self, workers: Option<&str>, variants: &[&str]) -> Result<()> {
        let flags: Vec<&str> = workers.iter().flat_map(|count| ["--workers", *count]).collect();
        let kind = if workers.is_some() { "-cluster" } else { "" };
        let start = |variant: &str, extra: &[&str]| {
            let mut command = Command::new(&self.program);
            command.args(ANY_PORT).args(&flags).args(extra);
            let name = format!("conformance{kind}{variant}");
            Ok(Server::start(&name, &mut command, 1, &self.logs)?.of_processes(workers.is_some()))
        };
        let mut servers = vec![("SEDGE_URL", start("", &[])?)];
        for variant in variants {
            servers.push(match *variant {
                "msgpack" => ("SEDGE_MSGPACK_URL", start("-msgpack", &["--parser", "msgpack"])?),
                _ => ("SEDGE_DEFLATE_URL", start("-deflate", &["--deflate"])?),
            });
        }
        let program = self.program.to_string_lossy();
        let words: Vec<&str> = [&*program].into_iter().chain(flags.clone()).collect();
        let mut javascript = self.workspace.command("node");
        javascript.args(["--test", "--test-reporter=spec", "--test-concurrency=2"]);
        let snakes = self.pythons.iter().map(|(tests, python)| {
            let mut command = self.workspace.command(python);
            command.args(["-m", "unittest", "discover", "-s", tests, "-v"]);
            command
        });
        let mut result = Ok(());
        for command in &mut [javascript].into_iter().chain(snakes).collect::<Vec<_>>() {
            command.current_dir(&self.dir).env("SEDGE_SERVER_CMD", json_words(&words));
            command.envs(servers.iter().map(|(variable, server)| (variable, server.url(0))));
            command.envs(workers.map(|count| ("SEDGE_WORKERS", count)));
            // All of them run: the later may say more about what the first found.
            result = result.and(process::run_within(command, LIMIT));
        }
        if result.is_err() {
            for (_, server) in &servers {
                server.show_output();
            }
        }
        result
    }
}

/// In a real browser: the chat demo on a cluster, as `cargo xtask demo` serves it, and the clients of
/// all generations, which do there what they cannot do under Node (JSONP, binary polling).
pub(crate) fn browser(workspace: &Workspace) -> Result<Outcome> {
    let dir = workspace.root.join("tests/browser");
    let chromium = needs::chromium(workspace)
        .ok_or_else(|| Error::missing("Chromium", "Install it, or name it by CHROMIUM"))?;
    tools::npm_ci(workspace, &dir)?;
    tools::npm_ci(workspace, &workspace.root.join("web"))?;
    let sedge = built(workspace, &["--package", "sedge-cli", "--bin", "sedge"], "sedge")?;
    let conformance = example(workspace, "conformance")?;
    let logs = workspace.scratch("logs")?;
    let pictures = workspace.scratch("screenshots")?;
    let files = workspace.root.join("web/node_modules/socket.io-client/dist");
    let (program, files) = (sedge.to_string_lossy(), files.to_string_lossy());
    let demo = [&*program, "--workers", "2", "--log-level", "warn", "--client-dir", &*files];
    let mut conform = Command::new(conformance);
    let server = Server::start("conformance-browser", conform.args(ANY_PORT), 1, &logs)?;
    let result = process::run_within(
        workspace
            .command("node")
            .args(["--test", "--test-reporter=spec"])
            .current_dir(&dir)
            .env("SEDGE_URL", server.url(0))
            // The tests start it themselves: in some of them, it or a part of it goes away.
            .env("SEDGE_DEMO_CMD", json_words(&demo))
            .env_remove("SEDGE_DEMO_URL")
            .env("SEDGE_SCREENSHOTS", &pictures)
            .env("CHROMIUM", chromium),
        LIMIT,
    );
    if result.is_err() {
        server.show_output();
    }
    result.map(|()| Outcome::Passed(Some(format!("screenshots in {}", pictures.display()))))
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
