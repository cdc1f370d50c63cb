//! `cargo xtask suites`: the public protocol test suites against our server.
//!
//! Their code is not ours and not kept here: it is copied from a checkout or cloned at a pinned
//! commit. The copy is changed in two places, see [`CHANGES`]; no check is touched.
//! `tests/suites/README.md` says what the server must offer.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::server::Server;
use crate::workspace::Workspace;
use crate::{needs, process, programs, tools};

const HELP: &str = "\
Run the public protocol test suites of the Socket.IO project

Usage: cargo xtask suites [--dir DIR] [--reference]

Options:
  --dir DIR     A checkout of the repository socketio/socket.io, or its docs folder.
                Default: the variable SEDGE_SUITES, else a clone at a pinned commit
  --reference   Against the official Node.js server instead of ours: checks this harness
";

const REPOSITORY: &str = "https://github.com/socketio/socket.io.git";
const COMMIT: &str = "d2d753fed4435015c2d83fe62e676b44e07fa3f7";
/// How long the clone may take before it counts as unreachable.
const CLONE: Duration = Duration::from_mins(2);
/// The slowest suite takes about 5 s, and 64 s if every test runs into its own limit.
const LIMIT: Duration = Duration::from_mins(2);
/// How many shards our servers have, one after the other: requests of one session arrive on any of them.
const SHARDS: [&str; 2] = ["1", "3"];
/// What is changed in the copies: (file, text, what stands there instead). `URL` in the last is
/// the server's.
///
/// - The suites have the server's address in their source.
/// - In a browser each WebSocket event is a task of its own. The package `ws` does not do so by
///   default, and the v3 suite then misses a handshake that arrives together with the 101.
const CHANGES: [(&str, &str, &str); 2] = [
    ("test-suite.js", "http://localhost:3000", "URL"),
    (
        "node-imports.js",
        "globalThis.WebSocket = WebSocket;",
        "globalThis.WebSocket = class extends WebSocket {\n  constructor(url) {\n    \
         super(url, { allowSynchronousEvents: false });\n  }\n};",
    ),
];
/// The files of a suite that a run needs.
const FILES: [&str; 4] = ["test-suite.js", "node-imports.js", "package.json", "package-lock.json"];

struct Suite {
    /// Also the server's flag, with two dashes, for the listener that this suite talks to.
    name: &'static str,
    folder: &'static str,
    /// How many tests must pass at least: guards against a suite that silently runs nothing.
    tests: u32,
}

const SUITES: [Suite; 3] = [
    Suite { name: "v4", folder: "engine.io-protocol/v4-test-suite", tests: 25 },
    Suite { name: "v3", folder: "engine.io-protocol/v3-test-suite", tests: 23 },
    Suite { name: "v5", folder: "socket.io-protocol/v5-test-suite", tests: 32 },
];

/// The command line.
pub(crate) fn main(workspace: &Workspace, args: &[String]) -> Result<()> {
    let (mut dir, mut reference) = (None, false);
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "--dir" => {
                let given = rest.next();
                dir = Some(given.ok_or_else(|| Error::Usage("--dir needs a folder".to_owned()))?);
            }
            "--reference" => reference = true,
            "--help" | "-h" => {
                print!("{HELP}");
                return Ok(());
            }
            other => {
                let text = format!("no option `{other}`; see `cargo xtask suites --help`");
                return Err(Error::Usage(text));
            }
        }
    }
    needs::ensure(workspace, &["suites"])?;
    match run(workspace, dir.map(PathBuf::from), reference)? {
        Outcome::Passed(note) => println!("passed: {}", note.unwrap_or_default()),
        Outcome::Skipped(why) | Outcome::Extra(why) => println!("not run: {why}"),
    }
    Ok(())
}

/// The step of `cargo xtask test`.
pub(crate) fn step(workspace: &Workspace) -> Result<Outcome> {
    run(workspace, None, false)
}

fn run(workspace: &Workspace, dir: Option<PathBuf>, reference: bool) -> Result<Outcome> {
    let given = dir.or_else(|| std::env::var_os("SEDGE_SUITES").map(PathBuf::from));
    let Some(checkout) = given.map_or_else(|| cloned(workspace), |dir| Ok(Some(dir)))? else {
        let why = "their code can't be cloned here; give a checkout by SEDGE_SUITES";
        return Ok(Outcome::Extra(why.to_owned()));
    };
    let docs = docs_folder(&checkout)?;
    let servers: &[Option<&str>] = if reference { &[None] } else { &SHARDS.map(Some) };
    let mut result = Ok(());
    let mut passed = Vec::new();
    for shards in servers {
        println!(
            "--- {}",
            shards.map_or("the reference".to_owned(), |count| format!("{count} shards"))
        );
        let server = start_server(workspace, *shards)?;
        for (index, suite) in SUITES.iter().enumerate() {
            let copy = workspace.scratch(&format!("suites/{}", suite.name))?;
            prepare(workspace, &docs.join(suite.folder), &copy, &server.url(index))?;
            match run_one(workspace, suite, &copy) {
                Ok(count) => passed.push(format!("{} {count}", suite.name)),
                Err(error) => {
                    println!("error: {error}");
                    result = Err(Error::Check("a protocol suite failed, see above".to_owned()));
                }
            }
        }
        if result.is_err() {
            server.show_output();
            break;
        }
    }
    result.map(|()| Outcome::Passed(Some(format!("tests passed: {}", passed.join(", ")))))
}

/// Our server with so many shards, or the official one.
fn start_server(workspace: &Workspace, shards: Option<&str>) -> Result<Server> {
    let mut command = if let Some(shards) = shards {
        let mut ours = Command::new(programs::example(workspace, "protocol_suites")?);
        ours.args(["--shards", shards]);
        ours
    } else {
        let dir = workspace.root.join("tests/suites");
        tools::npm_ci(workspace, &dir)?;
        let mut node = workspace.command("node");
        node.arg(dir.join("reference-server.mjs"));
        node
    };
    for suite in &SUITES {
        command.arg(format!("--{}", suite.name)).arg("127.0.0.1:0");
    }
    Server::start("protocol_suites", &mut command, SUITES.len(), &workspace.scratch("logs")?)
}

/// The folder with the protocol documents in a checkout, or the checkout's docs folder itself.
fn docs_folder(dir: &Path) -> Result<PathBuf> {
    let holds_suites = |docs: &Path| SUITES.iter().all(|suite| docs.join(suite.folder).is_dir());
    [dir.join("docs"), dir.to_path_buf()].into_iter().find(|docs| holds_suites(docs)).ok_or_else(
        || {
            let what = format!("the protocol test suites in {}", dir.display());
            Error::missing(what, "It must be a checkout of socketio/socket.io or its docs folder")
        },
    )
}

/// A clone at the pinned commit, only as deep and as wide as needed; none if the repository is
/// out of reach.
fn cloned(workspace: &Workspace) -> Result<Option<PathBuf>> {
    let dir = workspace.scratch("suites/repository")?;
    if docs_folder(&dir).is_ok() {
        return Ok(Some(dir));
    }
    let log = workspace.scratch("logs")?.join("suites-clone.log");
    let folders: Vec<String> =
        SUITES.iter().map(|suite| format!("docs/{}", suite.folder)).collect();
    let mut checkout = vec!["checkout", "--quiet", COMMIT, "--"];
    checkout.extend(folders.iter().map(String::as_str));
    let fetch = ["fetch", "--quiet", "--depth=1", "--filter=blob:none", "origin", COMMIT];
    let steps: [&[&str]; 4] =
        [&["init", "--quiet"], &["remote", "add", "origin", REPOSITORY], &fetch, &checkout];
    println!("cloning {REPOSITORY} at {COMMIT}");
    for args in steps {
        let mut git = Command::new("git");
        git.current_dir(&dir).env("GIT_TERMINAL_PROMPT", "0").args(args);
        // "remote add" fails when an earlier try left it; the fetch decides.
        let done = process::run_logged(&mut git, &log, CLONE).unwrap_or(false);
        if !done && args[0] != "remote" {
            return Ok(None);
        }
    }
    Ok(Some(dir))
}

/// Copies the suite and puts the server's address into the copy.
fn prepare(workspace: &Workspace, suite: &Path, copy: &Path, url: &str) -> Result<()> {
    for name in FILES {
        let (from, to) = (suite.join(name), copy.join(name));
        let text = fs::read_to_string(&from)
            .map_err(|e| Error::io(format!("reading {}", from.display()), e))?;
        let text = changed(name, text, url)?;
        fs::write(&to, text).map_err(|e| Error::io(format!("writing {}", to.display()), e))?;
    }
    tools::npm_ci(workspace, copy).map(drop)
}

fn changed(name: &str, mut text: String, url: &str) -> Result<String> {
    for (_, before, after) in CHANGES.iter().filter(|(file, ..)| *file == name) {
        if !text.contains(before) {
            let words = format!("{name} of the suite no longer has `{before}`; adapt this program");
            return Err(Error::Check(words));
        }
        text = text.replace(before, if *after == "URL" { url } else { after });
    }
    Ok(text)
}

/// Runs the suite; returns how many tests passed. Its report is shown only if it failed.
fn run_one(workspace: &Workspace, suite: &Suite, copy: &Path) -> Result<u32> {
    let log = workspace.scratch("logs")?.join(format!("suite-{}.log", suite.name));
    // Not `npm test`: mocha as our direct child can be ended when it hangs. `--exit`, since the
    // suites leave WebSockets open.
    let mut mocha = workspace.command("node");
    mocha.args(["node_modules/mocha/bin/mocha", "--exit", "test-suite.js"]).current_dir(copy);
    let ended = process::run_logged(&mut mocha, &log, LIMIT);
    let bytes = fs::read(&log).map_err(|e| Error::io(format!("reading {}", log.display()), e))?;
    let report = String::from_utf8_lossy(&bytes);
    let passed = count(&report, "passing");
    let skipped = count(&report, "pending");
    println!("suite {}: {passed} passing, {skipped} skipped by itself", suite.name);
    match ended {
        Ok(true) if passed >= suite.tests => return Ok(passed),
        Err(error) => println!("error: {error}"),
        Ok(_) => {}
    }
    println!("{report}");
    Err(Error::Check(format!("suite {}: {passed} of {} passed", suite.name, suite.tests)))
}

/// The number in a closing line such as `  25 passing (4s)`; 0 without such a line.
fn count(report: &str, word: &str) -> u32 {
    let number = |line: &str| {
        let mut words = line.split_whitespace();
        let number = words.next()?.parse().ok()?;
        (words.next()? == word).then_some(number)
    };
    report.lines().rev().find_map(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_lines_are_counted() {
        let report = "  Engine.IO\n    ok 3 passing things\n\n  23 passing (2s)\n  1 pending\n\n";
        assert_eq!(count(report, "passing"), 23);
        assert_eq!(count(report, "pending"), 1);
        assert_eq!(count(report, "failing"), 0);
    }

    #[test]
    fn the_copy_gets_the_address_and_a_changed_suite_is_refused() {
        let change = |name, text: &str| changed(name, text.to_owned(), "http://127.0.0.1:9");
        let script = change("test-suite.js", "const URL = \"http://localhost:3000\";");
        assert!(matches!(script, Ok(text) if text == "const URL = \"http://127.0.0.1:9\";"));
        assert!(change("test-suite.js", "const URL = location.href;").is_err());
        let imports = change("node-imports.js", "globalThis.WebSocket = WebSocket;\n");
        assert!(matches!(imports, Ok(text) if text.contains("allowSynchronousEvents: false")));
        assert!(matches!(change("package.json", "{}"), Ok(text) if text == "{}"));
    }
}
