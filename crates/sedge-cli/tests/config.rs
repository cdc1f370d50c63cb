//! The command line, the environment and the file, as they reach the running program.

mod common;

use common::{Folder, Sedge, output, sedge};
use sedge_testkit::RawHttp;

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// Runs `check-config` with flags and variables beside a file `sedge.toml`.
fn check(file: &str, flags: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let folder = Folder::new();
    folder.write("sedge.toml", file);
    let mut command = sedge(&folder);
    command.args(["--config", "sedge.toml", "check-config"]).args(flags);
    let output = command.envs(variables.iter().copied()).output().expect("the program starts");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn help_and_version_succeed() {
    for args in [&["--help"][..], &["help"], &["serve", "--help"], &["help", "check-config"]] {
        let output = output(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(text(&output.stdout).contains("--ping-interval"), "{args:?}");
    }
    for args in [["hash-bench", "--help"], ["help", "hash-bench"]] {
        let output = output(&args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(text(&output.stdout).contains("node-cluster-socket.io"), "{args:?}");
        assert!(!text(&output.stdout).contains("--ping-interval"), "not of this command");
    }
    let version = output(&["--version"]);
    assert_eq!(text(&version.stdout), format!("sedge {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_exits_with_2_and_says_what_is_wrong() {
    for (args, words) in [
        (&["--ping-intervall", "1s"][..], "--ping-interval"),
        (&["dance"], "dance"),
        (&["hash-bench", "1"], "2..=1023"),
        (&["--ping-interval", "soon"], "--ping-interval: \"soon\" is not a duration"),
        (&["--listen", "everywhere"], "--listen: \"everywhere\" is not an address"),
        (&["--ping-timeout", "0s"], "given by --ping-timeout"),
        (&["--client-dir", "/nowhere"], "npm install socket.io-client"),
        (&["--config", "/nowhere.toml"], "cannot read /nowhere.toml"),
        (&["--tls-cert", "/nowhere.pem", "--tls-key", "/nowhere.pem"], "/nowhere.pem"),
        (&["--cors-origin", "*", "--cors-credentials"], "given by --cors-origin"),
    ] {
        let output = output(args);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(words), "{args:?}: {stderr}");
        assert_eq!(text(&output.stdout), "", "{args:?}");
    }
}

#[test]
fn hash_bench_needs_no_configuration() {
    let folder = Folder::new();
    let mut command = sedge(&folder);
    command.args(["hash-bench", "4", "--addresses", "1000"]).env("SEDGE_PING_TIMEOUT", "soon");
    let output = command.output().expect("the program starts");
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    assert!(text(&output.stdout).starts_with("1,000 random IPv4 addresses over 4 slots"));
}

#[test]
fn check_config_shows_what_is_in_effect_and_why() {
    let file = "ping-interval = '5s'\nping-timeout = '5s'\nmax-payload = '2MB'\nsecret = '0123456789abcdef'\n";
    let variables = [("SEDGE_PING_TIMEOUT", "6s"), ("SEDGE_MAX_PAYLOAD", "3MB")];
    let (code, shown, stderr) = check(file, &["--max-payload", "4MB"], &variables);
    assert_eq!((code, &*stderr), (Some(0), ""));
    let line = |name: &str| {
        let line = shown.lines().find(|line| line.starts_with(&format!("{name} =")));
        let line = line.unwrap_or_else(|| panic!("{name} in {shown}"));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("ping-interval"), "ping-interval = \"5s\" # sedge.toml:1");
    assert_eq!(line("ping-timeout"), "ping-timeout = \"6s\" # SEDGE_PING_TIMEOUT");
    assert_eq!(line("max-payload"), "max-payload = \"4MB\" # --max-payload");
    assert_eq!(line("path"), "path = \"/socket.io\" # default");
    assert!(
        shown.contains("# secret = (hidden)") && !shown.contains("0123456789abcdef"),
        "{shown}"
    );
}

#[test]
fn check_config_tells_every_fault_with_its_place() {
    let (code, shown, stderr) = check("ping_interval = '5s'\nshards = 'x'\n", &[], &[]);
    assert_eq!((code, &*shown), (Some(2), ""));
    assert_eq!(
        stderr,
        "sedge: sedge.toml:1: there is no option ping_interval, did you mean ping-interval?\n"
    );
    let variables = [("SEDGE_SHARDS", "x")];
    let (code, _, stderr) = check("log-level = 'loud'", &["--cookie", "a b"], &variables);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("SEDGE_SHARDS: \"x\" is neither a number nor auto"), "{stderr}");
    assert!(stderr.contains("sedge.toml:1: log-level: \"loud\" is not a log level"), "{stderr}");
}

#[test]
fn a_nearly_right_variable_is_remarked_on() {
    let (code, _, stderr) = check("", &[], &[("SEDGE_PING_INTERVALL", "1s")]);
    assert_eq!(code, Some(0));
    assert!(stderr.contains("SEDGE_PING_INTERVALL has no meaning"), "{stderr}");
}

#[test]
fn options_reach_the_server() {
    let folder = Folder::new();
    folder.write("sedge.toml", "ping-interval = '7s'\npath = '/file'\ncookie = 'node'\n");
    let mut command = sedge(&folder);
    command
        .args(["serve", "--config", "sedge.toml", "--listen", "127.0.0.1:0", "--path", "/chat"])
        .envs([
            ("SEDGE_PING_TIMEOUT", "3s"),
            ("SEDGE_CORS_ORIGIN", "https://a.example,https://b.example"),
        ])
        .args(["--cors-credentials", "--max-payload", "5kB", "--allow-eio3"]);
    let server = Sedge::run(command, folder);
    let mut http = RawHttp::connect(server.address);
    let origin = [("origin", "https://b.example")];
    let open = http.request("GET", "/chat/?EIO=4&transport=polling", &origin, b"");
    for part in ["\"pingInterval\":7000", "\"pingTimeout\":3000", "\"maxPayload\":5000"] {
        assert!(open.text().contains(part), "{part} in {}", open.text());
    }
    assert_eq!(open.header("access-control-allow-origin"), Some("https://b.example"));
    assert_eq!(open.header("access-control-allow-credentials"), Some("true"));
    assert!(open.header("set-cookie").expect("a cookie").starts_with("node="));
    assert_eq!(http.get("/chat/?EIO=3&transport=polling").status, 200);
    assert_eq!(http.get("/socket.io/?EIO=4&transport=polling").status, 404);
}

#[test]
fn several_addresses_are_listened_on() {
    let mut server = Sedge::start(&["--listen", "127.0.0.1:0"]);
    let second = server.next_address("http");
    assert_ne!(second, server.address);
    for address in [server.address, second] {
        assert_eq!(RawHttp::connect(address).get("/health").status, 200);
    }
}

#[test]
fn a_port_in_use_is_told_with_a_hint() {
    let server = Sedge::start(&[]);
    let address = server.address.to_string();
    for command in ["serve", "cluster"] {
        let output = output(&[command, "--listen", &address, "--run-dir", "run"]);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(&format!("cannot listen on {address}")), "{stderr}");
        assert!(stderr.contains("Another program listens there"), "{stderr}");
        assert_eq!(text(&output.stdout), "");
    }
}

#[test]
fn the_log_can_be_json() {
    let server = Sedge::start(&["--log-format", "json"]);
    server.signal(rustix::process::Signal::TERM);
    let end = server.wait();
    assert!(!end.log.is_empty());
    for line in end.log.lines() {
        assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
        assert!(line.contains("\"level\":\""), "{line}");
    }
}
