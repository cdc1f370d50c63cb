//! What is read, what is refused with which words, and what is shown.

use super::*;
use crate::config::{Given, Layer, file};

/// Settings from the text of a file.
fn from(text: &str) -> Result<Settings, Vec<String>> {
    let given = file::parse("s.toml", text).unwrap();
    Settings::read(Typed { given, ..Typed::default() }).map_err(|problems| problems.0)
}

#[test]
fn the_defaults_are_valid_and_the_library_s() {
    let settings = from("").unwrap();
    settings.check().unwrap();
    assert_eq!(settings.listen, ["127.0.0.1:3000".parse().unwrap()]);
    assert_eq!(settings.server.connect_timeout, sedge::limits::CONNECT_TIMEOUT);
    assert_eq!(settings.drain_deadline, Duration::from_secs(7));
    assert!(settings.demo && settings.metrics && settings.tls.is_none());
    // Several clusters of one user do not get into each other's way.
    assert_eq!(settings.run_dir(), None);
    assert_eq!(settings.run_dir_of_running(), sedge_cluster::default_run_dir(3000));
}

#[test]
fn every_option_of_the_table_is_read() {
    let secret_free = OPTIONS.iter().filter(|spec| spec.name != "secret-file");
    let mut given = Layer::new();
    for spec in secret_free {
        let value = match spec.name {
            "cookie" => "io",
            "cors-origin" => "https://example.com",
            "address-hash" => "rendezvous",
            "trusted-proxy" => "10.0.0.0/8",
            "worker-ports" | "admin" => "127.0.0.1:4000",
            _ => spec.default.unwrap_or("/some/path"),
        };
        let values = crate::config::split(spec, value);
        given.insert(spec.name, Given { values, source: Source::Flag });
    }
    let settings = Settings::read(Typed { given, ..Typed::default() }).unwrap();
    let read: Vec<&str> = settings.effective.iter().map(|effective| effective.spec.name).collect();
    let all: Vec<&str> =
        OPTIONS.iter().map(|spec| spec.name).filter(|name| *name != "secret-file").collect();
    assert_eq!(read, all);
}

#[test]
fn faults_name_the_place_and_what_would_be_right() {
    let table = [
        ("ping-interval = 25", "s.toml:1: ping-interval: \"25\" has no unit: write 25s or 25ms"),
        (
            "max-payload = 'big'",
            "s.toml:1: max-payload: \"big\" is not a size: write it like 64kB, 1MB, 16MiB or 1000000",
        ),
        ("shards = 'all'", "s.toml:1: shards: \"all\" is neither a number nor auto"),
        ("shards = -1", "s.toml:1: shards: \"-1\" is neither a number nor auto"),
        ("demo = 'perhaps'", "s.toml:1: demo: \"perhaps\" is neither true nor false"),
        ("log-format = 'xml'", "s.toml:1: log-format: \"xml\" is neither text nor json"),
        (
            "transports = ['polling', 'webtransport']",
            "s.toml:1: transports: \"webtransport\" is not a transport: there are polling and websocket",
        ),
        ("tls-cert = 'a.pem'", "s.toml:1: tls-cert needs tls-key too"),
        ("\ntls-key = 'a.pem'", "s.toml:2: tls-key needs tls-cert too"),
        ("cors-credentials = true", "s.toml:1: cors-credentials has no effect without cors-origin"),
        ("workers = 0", "s.toml:1: workers: \"0\" is neither a number from 1 to 256 nor auto"),
        (
            "method = 'best'",
            "s.toml:1: method: \"best\": not a method: least-connection, round-robin, weighted, random or two-choices",
        ),
        (
            "forwarded = 'x-forwarded-for'",
            "s.toml:1: forwarded has no effect without trusted-proxy",
        ),
        ("listen = []", "s.toml:1: listen: at least one value is needed"),
        (
            "secret = 'a'\nsecret-file = 'b'",
            "s.toml:1: secret and s.toml:2: secret-file contradict each other: give one",
        ),
    ];
    for (text, problem) in table {
        assert_eq!(from(text).err().unwrap(), [problem], "{text}");
    }
}

#[test]
fn all_faults_are_found_at_once() {
    let problems = from("ping-interval = 1\nshards = 'x'\nlog-level = 'loud'").err().unwrap();
    assert_eq!(problems.len(), 3, "{problems:?}");
}

#[test]
fn the_library_s_objections_name_the_place() {
    let table = [
        ("ping-timeout = '0s'", "ping_timeout is 0ns", "given by s.toml:1: ping-timeout"),
        ("path = 'chat'", "path \"chat\": must begin with '/'", "given by s.toml:1: path"),
        ("transports = []", "transports: at least one", "given by s.toml:1: transports"),
        ("secret = 'short'", "secret has 5 bytes", "given by s.toml:1: secret"),
        ("outbox-limit = '1kB'", "outbox_bytes_max is 1000", "given by s.toml:1: outbox-limit"),
        ("cookie = 'a b'", "cookie: ", "given by s.toml:1: cookie"),
        ("client-dir = '/nowhere'", "serve_client: ", "given by s.toml:1: client-dir"),
        ("shards = 1000", "shards is 1000", "given by s.toml:1: shards"),
    ];
    for (text, words, place) in table {
        let problem = from(text).unwrap().check().unwrap_err().to_string();
        assert!(problem.contains(words) && problem.contains(place), "{text}: {problem}");
    }
    let cors = "cors-origin = '*'\ncors-credentials = true";
    let problem = from(cors).unwrap().check().unwrap_err().to_string();
    assert!(problem.starts_with("cors: "), "{problem}");
}

#[test]
fn what_is_shown_can_be_read_again_and_hides_the_secret() {
    let text = "secret = 'correct horse battery'\nlisten = ['127.0.0.1:1', '[::1]:2']\nshards = 3\n\
                ping-interval = '90s'\nhttp-compression = '2048B'\n";
    let settings = from(text).unwrap();
    let shown = settings.show();
    assert!(!shown.contains("horse"), "{shown}");
    assert!(shown.contains("# secret = (hidden)"), "{shown}");
    assert!(shown.contains("listen = [\"127.0.0.1:1\", \"[::1]:2\"]"), "{shown}");
    let lines: Vec<&str> = shown.lines().filter(|line| line.starts_with("ping-interval")).collect();
    assert!(lines[0].ends_with("# s.toml:4"), "{lines:?}");
    assert!(shown.contains("http-compression = \"2KiB\""), "{shown}");

    let again = from(&shown).unwrap();
    assert_eq!(again.listen, settings.listen);
    assert_eq!(again.server.ping_interval, settings.server.ping_interval);
    assert_eq!(again.server.shards, Shards::Count(3));
}

#[test]
fn a_secret_comes_from_a_file_without_its_line_end() {
    let path = std::env::temp_dir().join(format!("sedge-secret-{}", std::process::id()));
    std::fs::write(&path, "0123456789abcdef\n").unwrap();
    let settings = from(&format!("secret-file = '{}'", path.display()));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(settings.unwrap().server.secret.as_deref(), Some("0123456789abcdef"));
    let problems = from(&format!("secret-file = '{}'", path.display())).err().unwrap();
    assert!(problems[0].starts_with("s.toml:1: secret-file: cannot read "), "{problems:?}");
}
