//! What an application's author sees of mistakes: each once, in the log or on standard error.

mod common;

use std::process::Command;
use std::{env, io};

use common::Fixture;
use sedge::extract::{Ack, Data, State};
use sedge::{Server, ServerBuilder, Socket};
use sedge_testkit::{MemoryLog, SioClient};

/// How often the client does each thing.
const TIMES: usize = 50;

/// An application with mistakes, and a client that meets all of them many times.
fn run(builder: ServerBuilder) {
    let server = Fixture::with(builder);
    let io = &server.io;
    io.on("typed", async |Data(_): Data<u32>| {});
    io.on("stateful", async |_: State<u128>| {});
    io.on("failing", async || Err::<(), _>("on purpose"));
    io.on("chained", async || -> Result<(), Box<dyn std::error::Error>> {
        Err(io::Error::other(SecondCause(io::Error::from(io::ErrorKind::TimedOut))).into())
    });
    io.on("gone", async |socket: Socket| {
        socket.disconnect(false)?;
        socket.join("r")?;
        Ok::<_, Box<dyn std::error::Error>>(())
    });
    io.on("well?", async |ack: Ack| ack.send("well"));
    io.on("connection", async || {});
    let of_server = io.clone();
    io.on_connect(async move || {
        of_server.on("late", async || {});
    });
    for name in ["/", "/chat"] {
        io.of(name).expect("a valid name").on_any(async |Data(()): Data<()>| {});
    }
    let (mut client, _) = SioClient::connect(server.address);
    for _ in 0..TIMES {
        client.send_all(&[r#"2["typed","3"]"#, r#"2["stateful"]"#, r#"2["failing"]"#]);
        client.send(r#"2["chained"]"#);
    }
    client.send(&format!(r#"2["typed","{}"]"#, "long".repeat(10_000)));
    client.send(r#"21["well?"]"#);
    client.expect(r#"31["well"]"#);
    for _ in 0..3 {
        client.send(r#"2["gone"]"#);
        client.expect("1");
        client.join("/");
    }
    let errors = server.io.metrics().total.handler_errors;
    assert_eq!(errors, 4 * TIMES as u64 + 1 + 3, "each is counted");
}

#[derive(Debug, thiserror::Error)]
#[error("no order")]
struct SecondCause(#[source] io::Error);

/// Each mistake is told of in one line, in words.
#[track_caller]
fn check(text: &str) {
    let lines = |word: &str| text.lines().filter(|line| line.contains(word)).collect::<Vec<_>>();
    let one = |word: &str| {
        let lines = lines(word);
        assert_eq!(lines.len(), 1, "{word}: {text}");
        lines[0].to_owned()
    };
    assert!(one("\"typed\"").contains("argument 1: invalid type: string"), "{text}");
    assert!(one("\"typed\"").len() < 1000, "{text}");
    assert!(one("\"stateful\"").contains("no state of the type u128"), "{text}");
    assert!(one("\"failing\"").contains("on purpose"), "{text}");
    assert!(one("\"chained\"").contains("no order: timed out"), "{text}");
    assert!(one("\"connection\"").contains("on_connect"), "{text}");
    assert!(one("added within a handler").contains("Socket::on"), "{text}");
    assert_eq!(lines("\"gone\""), [""; 0], "that a client goes is no mistake");
}

#[test]
fn the_log_has_each_mistake_once() {
    let log = MemoryLog::default();
    let writer = log.clone();
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
    run(Server::builder().shards(1));
    let text = log.text();
    check(&text);
    let level = |event: &str| text.lines().find(|line| line.contains(event)).map(str::trim_start);
    assert!(level("\"typed\"").is_some_and(|line| line.contains("WARN")), "{text}");
    assert!(level("\"failing\"").is_some_and(|line| line.contains("ERROR")), "{text}");
}

/// The same program, in a process of its own that installs no subscriber.
const ALONE: &str = "SEDGE_TEST_WITHOUT_SUBSCRIBER";

#[test]
fn standard_error_has_them_without_a_subscriber() {
    const NAME: &str = "standard_error_has_them_without_a_subscriber";
    match env::var(ALONE).as_deref() {
        Ok("hooked") => {
            return run(Server::builder().shards(1).on_error(|_, error| drop(error.to_string())));
        }
        Ok(_) => return run(Server::builder().shards(1)),
        Err(_) => {}
    }
    let program = env::current_exe().expect("this test");
    let stderr = |mode: &str| {
        let mut command = Command::new(&program);
        command.args(["--exact", NAME, "--nocapture"]).env(ALONE, mode);
        let output = command.output().expect("it can be started");
        let text = String::from_utf8(output.stderr).expect("text");
        assert!(output.status.success(), "{text}");
        text
    };
    check(&stderr("plain"));
    let hooked = stderr("hooked");
    assert!(!hooked.contains("\"typed\""), "the application takes care of them: {hooked}");
    assert!(hooked.contains("\"connection\""), "{hooked}");
}
