//! JSON nested so deeply that whoever recurses over it overflows the stack.

use std::fmt::Write as _;

use sedge::extract::{Args, Data, TryData};
use sedge::{AckError, Socket, Value};

use crate::common::notes;
use crate::stage::{Stage, ask};

const LEVELS: usize = 100_000;

/// Arrays or objects within each other, or both in turn.
fn nested(levels: usize, open: &str, close: &str) -> String {
    format!("{}1{}", open.repeat(levels), close.repeat(levels))
}

fn deep() -> [String; 3] {
    [
        nested(LEVELS, "[", "]"),
        nested(LEVELS, r#"{"a":"#, "}"),
        nested(LEVELS / 2, r#"[{"":"#, "}]"),
    ]
}

#[test]
fn deep_arguments_reach_only_who_takes_them_unread() {
    let mut stage = Stage::new();
    stage.io.on("value", async |socket: Socket, Data(_): Data<Value>| socket.emit("read", &()));
    stage.io.on("number", async |socket: Socket, Data(_): Data<u8>| socket.emit("read", &()));
    stage.io.on("try", async |socket: Socket, TryData(value): TryData<Value>| {
        socket.emit("failed", &value.is_err())
    });
    stage.io.on(
        "ignored",
        async |socket: Socket, Data((n, _)): Data<(u8, serde::de::IgnoredAny)>| {
            socket.emit("first", &n)
        },
    );
    stage.io.on("whole", async |socket: Socket, args: Args| socket.emit("count", &args.len()));
    stage.io.on("echo", async |socket: Socket, args: Args| {
        socket.emit("echo", &args).or_else(|_| socket.emit("unsendable", &()))
    });
    let (mut client, _) = stage.client();
    for deep in deep() {
        for event in ["value", "number", "nobody listens"] {
            client.send(&format!(r#"2["{event}",{deep}]"#));
            ask(&mut client);
        }
        client.send(&format!(r#"2["try",{deep}]"#));
        client.expect(r#"2["failed",true]"#);
        client.send(&format!(r#"2["ignored",7,{deep}]"#));
        client.expect(r#"2["first",7]"#);
        client.send(&format!(r#"2["whole",{deep},[]]"#));
        client.expect(r#"2["count",2]"#);
        client.send(&format!(r#"2["echo",{deep}]"#));
        let answer = client.receive();
        assert!(answer == r#"2["unsendable"]"# || answer == format!(r#"2["echo",{deep}]"#));
        stage.all_is_well();
    }
    assert_eq!(stage.io.metrics().total.handler_errors, 6, "value and number, three times");
    client.close();
    stage.finish();
}

#[test]
fn deep_acknowledgements_are_errors_of_who_asked() {
    let stage = Stage::new();
    let (note, notes) = notes();
    stage.io.on("start", async move |socket: Socket| {
        let value = socket.emit_with_ack::<Value>("question", &()).await;
        note.send(matches!(value, Err(AckError::Decode(_)))).unwrap();
        let args = socket.emit_with_ack::<Args>("question", &()).await;
        note.send(args.is_ok_and(|args| args.len() == 1)).unwrap();
        let broadcast = socket.namespace().to(socket.id());
        let answers = broadcast.emit_with_ack::<Value>("question", &()).await;
        note.send(answers.is_err_and(|error| error.unreadable == 1)).unwrap();
    });
    for deep in deep() {
        let (mut client, _) = stage.client();
        client.send(r#"2["start"]"#);
        for _ in 0..3 {
            let question = client.receive();
            let id = question.trim_start_matches('2').trim_end_matches(r#"["question"]"#);
            // The first digit of an id may be a 2 too.
            let id = if question.starts_with("22") { format!("2{id}") } else { id.to_owned() };
            client.send(&format!("3{id}[{deep}]"));
            assert!(notes.next());
        }
        ask(&mut client);
        client.close();
    }
    stage.finish();
}

#[test]
fn deep_auth_payloads_and_attachment_packets_end_the_connection() {
    let mut stage = Stage::with_namespaces(Stage::builder(), &["/chat"]);
    for deep in deep() {
        for packet in
            [format!(r#"0/chat,{{"token":{deep}}}"#), format!(r#"4/chat,{{"message":{deep}}}"#)]
        {
            let (mut client, _) = stage.client();
            client.send(&packet);
            client.expect_end();
        }
        let (mut client, _) = stage.client();
        client.send(&format!(r#"51-["a",{deep},{{"_placeholder":true,"num":0}}]"#));
        client.send_binary(b"x");
        client.expect_end();
        stage.all_is_well();
    }
    stage.finish();
}

#[test]
fn nesting_that_never_closes_is_no_packet() {
    let mut stage = Stage::new();
    for open in ["[", r#"{"a":"#, r#"[{"":"#] {
        let (mut client, _) = stage.client();
        client.send(&format!(r#"2["a",{}"#, open.repeat(LEVELS)));
        client.expect_end();
        stage.all_is_well();
    }
    assert_eq!(stage.io.metrics().total.parse_errors, 3);
    stage.finish();
}

#[test]
fn wide_arguments_are_fine() {
    let stage = Stage::new();
    stage.io.on("wide", async |socket: Socket, args: Args| socket.emit("count", &args.len()));
    stage.io.on("value", async |socket: Socket, Data(value): Data<Value>| {
        socket.emit("read", &value.as_array().map(<[Value]>::len))
    });
    let (mut client, _) = stage.client();
    let mut numbers = String::new();
    for number in 0..100_000 {
        let _ = write!(numbers, ",{}", number % 10);
    }
    client.send(&format!(r#"2["wide"{numbers}]"#));
    client.expect(r#"2["count",100000]"#);
    client.send(&format!(r#"2["value",[{}]]"#, &numbers[1..]));
    client.expect(r#"2["read",100000]"#);
    client.close();
    stage.finish();
}
