//! The command line, the environment and the file, as they reach the running program.

mod common;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use common::{Folder, Sedge, output, sedge};
use rustix::process::Signal;
use sedge_testkit::{RawHttp, free_ports};

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
fn mirror_lets_every_origin_send_cookies() {
    let flags = ["--cors-origin", "mirror", "--cors-credentials"];
    let server = Sedge::start(&flags);
    let origin = [("origin", "https://anywhere.example")];
    let target = "/socket.io/?EIO=4&transport=polling";
    let open = RawHttp::connect(server.address).request("GET", target, &origin, b"");
    assert_eq!(open.header("access-control-allow-origin"), Some("https://anywhere.example"));
    assert_eq!(open.header("access-control-allow-credentials"), Some("true"));
    server.signal(Signal::TERM);
    let log = server.wait().log;
    assert!(log.contains("--cors-credentials: with cors-origin mirror, every page"), "{log}");
    let (code, _, stderr) = check("", &["--cors-origin", "*", "--cors-credentials"], &[]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("mirror"), "{stderr}");
}

/// Each option where it is often given: on the command line, in the environment, and in a file that
/// several ways to serve share.
#[test]
fn the_start_says_what_has_no_effect() {
    let folder = Folder::new();
    let file = "workers = 3\nping-interval = '20s'\ntransports = ['websocket']\n";
    folder.write("sedge.toml", file);
    let mut command = sedge(&folder);
    command.args(["serve", "--listen", "127.0.0.1:0", "--config", "sedge.toml"]);
    command.args(["--admin", "127.0.0.1:0", "--trusted-proxy", "10.0.0.0/8", "--proxy-protocol"]);
    command.envs([("SEDGE_RUN_DIR", "run"), ("SEDGE_UPGRADE_TIMEOUT", "5s"), ("LISTEN_FDS", "1")]);
    let server = Sedge::run(command, folder);
    server.signal(Signal::TERM);
    let log = server.wait().log;
    for words in [
        "sedge.toml:1: workers has no effect: `sedge serve` is one process",
        "--admin has no effect: `sedge serve` is one process",
        "--trusted-proxy has no effect: nothing says where proxies name the client",
        "--proxy-protocol has no effect: `sedge serve`",
        "SEDGE_RUN_DIR has no effect: `sedge serve`",
        "SEDGE_UPGRADE_TIMEOUT has no effect: with one transport there are no upgrades",
        "LISTEN_FDS is set, but `sedge serve` takes no sockets",
    ] {
        let line = log.lines().find(|line| line.contains(words));
        assert!(line.is_some_and(|line| line.contains("WARN")), "{words}: {log}");
    }
    assert_eq!(log.matches("has no effect").count(), 6, "{log}");

    let file = "method = 'weighted'\nunix-mode = '660'\n";
    let flags = ["--trusted-proxy", "10.0.0.0/8"];
    let (code, _, stderr) = check(file, &flags, &[("SEDGE_NODE_NAME", "a"), ("SEDGE_DEMO", "off")]);
    assert_eq!(code, Some(0), "{stderr}");
    for words in [
        "sedge.toml:1: method: all workers weigh the same",
        "sedge.toml:2: unix-mode has no effect: there is no listen-unix",
        "--trusted-proxy has no effect: nothing says where proxies name the client",
        "SEDGE_NODE_NAME has no effect: only the demo shows it",
    ] {
        assert!(stderr.contains(words), "{words}: {stderr}");
    }
    assert_eq!(stderr.lines().count(), 4, "{stderr}");
}

#[test]
fn the_application_is_told_the_client_that_a_trusted_proxy_names() {
    for command in ["serve", "cluster"] {
        for (trusted, told) in [("127.0.0.0/8", true), ("10.0.0.0/8", false)] {
            let folder = Folder::new();
            let mut program = sedge(&folder);
            program.args([command, "--listen", "127.0.0.1:0", "--log-level", "sedge=debug"]);
            program.args(["--trusted-proxy", trusted, "--forwarded", "x-forwarded-for"]);
            if command == "cluster" {
                program.args(["--workers", "2", "--run-dir", "run"]);
            }
            let server = Sedge::run(program, folder);
            let mut http = RawHttp::connect(server.address);
            let proxied = [("x-forwarded-for", "203.0.113.7")];
            let target = "/socket.io/?EIO=4&transport=polling";
            let open = http.request("GET", target, &proxied, b"");
            let sid = open.text().split('"').nth(3).expect("OPEN names the session").to_owned();
            let target = format!("{target}&sid={sid}");
            http.post(&target, "40").expect(200, "ok");
            assert!(http.get(&target).text().contains("\"server\""));
            // Nobody is left to be let go in batches.
            http.post(&target, "1").expect(200, "ok");
            server.signal(Signal::TERM);
            let log = server.wait().log;
            let line = log.lines().find(|line| line.contains("somebody came"));
            let line = line.unwrap_or_else(|| panic!("{log}"));
            assert_eq!(line.contains("203.0.113.7"), told, "{line}");
            assert_eq!(line.contains("127.0.0.1"), !told, "{line}");
        }
    }
}

#[test]
fn port_is_listened_on_by_all_addresses() {
    for command in ["serve", "cluster"] {
        let folder = Folder::new();
        let port = free_ports(1);
        let mut program = sedge(&folder);
        program.args([command, "--no-demo"]).env("PORT", port.to_string());
        if command == "cluster" {
            program.args(["--workers", "1", "--run-dir", "run"]);
        }
        let server = Sedge::run(program, folder);
        assert!(server.address.ip().is_unspecified(), "{}", server.address);
        assert_eq!(server.address.port(), port);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(RawHttp::connect(address).get("/health").status, 200);
    }
    let (code, _, stderr) = check("", &[], &[("PORT", "http")]);
    assert_eq!(code, Some(2));
    assert!(stderr.starts_with("sedge: PORT: "), "{stderr}");
}

/// As in a container.
#[test]
fn the_first_process_says_that_nobody_outside_reaches_it() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: it takes root to be the first process of a system");
        return;
    }
    let warning = "only the container itself reaches 127.0.0.1:";
    for (listen, warned) in [("127.0.0.1:0", true), ("0.0.0.0:0", false)] {
        let folder = Folder::new();
        let mut command = Command::new("unshare");
        command.current_dir(folder.path()).stdin(Stdio::null());
        command.args(["--pid", "--fork", "--kill-child", env!("CARGO_BIN_EXE_sedge"), "serve"]);
        command.args(["--listen", listen]);
        let log = Sedge::run(command, folder).kill();
        assert_eq!(log.contains(warning), warned, "{log}");
    }
}

#[test]
fn a_unix_socket_has_the_mode_that_its_proxy_needs() {
    let folder = Folder::new();
    let path = folder.path().join("front.sock");
    let mut command = sedge(&folder);
    command.args(["--workers", "1", "--run-dir", "run", "--listen", "127.0.0.1:0"]);
    command.args(["--listen-unix", path.to_str().expect("UTF-8"), "--unix-mode", "660"]);
    let _server = Sedge::run(command, folder);
    let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
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
    server.signal(Signal::TERM);
    let end = server.wait();
    assert!(!end.log.is_empty());
    for line in end.log.lines() {
        assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
        assert!(line.contains("\"level\":\""), "{line}");
    }
}
