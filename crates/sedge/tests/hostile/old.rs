//! Clients of Engine.IO 3, which are in the root namespace before they have said a word, and know
//! no payloads of CONNECT.

use std::sync::Arc;
use std::time::Duration;

use sedge::extract::{Auth, Data};
use sedge::{ConnectError, Socket, Value};
use sedge_testkit::{Form, PollingSession, SioClient};
use tokio::sync::Semaphore;

use crate::common::notes;
use crate::stage::{Stage, ask};

const TARGET: &str = "/socket.io/?EIO=3&transport=websocket";

fn stage(names: &[&str]) -> Stage {
    Stage::with_namespaces(Stage::builder().allow_eio3(true), names)
}

/// An old client, in the root namespace.
fn old(stage: &Stage) -> (SioClient, String) {
    let mut client = SioClient::open_at(stage.address, TARGET);
    client.expect("0");
    let id = client.sid().to_owned();
    (client, id)
}

#[test]
fn nonsense_ends_the_connection_as_ever() {
    let mut stage = stage(&["/chat"]);
    let cases = [
        ("", "parse error"),
        ("9", "parse error"),
        (r#"2["disconnect"]"#, "parse error"),
        ("511-[\"a\"]", "parse error"),
        ("2/chat?token=1,[", "parse error"),
        // It is in the root namespace already.
        ("0", "forced server close"),
        ("0/?token=1,", "forced server close"),
        (r#"2/chat,["well?"]"#, "forced server close"),
        (r#"4"bare""#, "forced server close"),
    ];
    for (packet, reason) in cases {
        let (mut client, id) = old(&stage);
        client.send(packet);
        client.expect_end();
        stage.expect_reason(&id, reason);
    }
    let deep = "[".repeat(100_000);
    let (mut client, id) = old(&stage);
    client.send(&format!(r#"2["a",{deep}]"#));
    client.expect_end();
    stage.expect_reason(&id, "parse error");
    stage.all_is_well();
    stage.finish();
}

#[test]
fn a_query_belongs_to_the_namespace_only_for_old_clients() {
    let stage = stage(&["/chat"]);
    let chat = stage.io.of("/chat").unwrap();
    chat.on_connect(async |socket: Socket, Auth(auth): Auth<Value>| socket.emit("auth", &auth));
    let (mut client, _) = old(&stage);
    for (query, auth) in [
        ("token=1", r#"{"token":"1"}"#),
        ("a=%20b&a=c", r#"{"a":"c"}"#),
        ("", "{}"),
        ("=", r#"{"":""}"#),
        ("a&b=%zz&=", r#"{"a":"","b":"%zz","":""}"#),
        ("__proto__=x", r#"{"__proto__":"x"}"#),
        ("a=?b=/c", r#"{"a":"?b=/c"}"#),
    ] {
        client.send(&format!("0/chat?{query},"));
        client.expect("0/chat,");
        client.expect(&format!(r#"2/chat,["auth",{auth}]"#));
        // Further packets repeat the query.
        client.send(&format!(r#"2/chat?{query},1["well?"]"#));
        client.expect(r#"3/chat,1["well"]"#);
        client.send(&format!("1/chat?{query},"));
    }
    client.close();

    // Of a later client, it is part of a name that nobody has.
    let (mut client, _) = stage.client();
    client.join("/chat");
    client.expect(r#"2/chat,["auth",{}]"#);
    for name in ["/chat?token=1", "/?token=1"] {
        client.send(&format!("0{name},"));
        client.expect(&format!(r#"4{name},{{"message":"Invalid namespace"}}"#));
    }
    client.send(r#"2/chat?token=1,1["well?"]"#);
    client.expect_end();
    stage.finish();
}

#[test]
fn refusals_are_bare() {
    let stage = Stage::with_namespaces(
        Stage::builder().allow_eio3(true).connect_timeout(Duration::from_millis(100)),
        &["/no", "/why", "/panic"],
    );
    stage.io.of("/no").unwrap().middleware(async || Err::<(), _>(ConnectError::new("no")));
    stage
        .io
        .of("/why")
        .unwrap()
        .middleware(async || Err::<(), _>(ConnectError::new("no").data(&Value::from("because"))));
    stage.io.of("/panic").unwrap().middleware(async |Data2(_): Data2| Ok::<_, ConnectError>(()));
    let (mut client, _) = old(&stage);
    for (name, answer) in [("/no", r#""no""#), ("/why", r#""because""#)] {
        client.send(&format!("0{name},"));
        client.expect(&format!("4{name},{answer}"));
    }
    client.send("0/panic,");
    client.expect(r#"4/panic,"internal error""#);
    ask(&mut client);
    client.close();
    stage.finish();
}

/// An argument that panics when it is made.
struct Data2(#[allow(dead_code, reason = "it is never made")] u8);

impl sedge::extract::FromContext<sedge::stage::Middleware> for Data2 {
    fn from_context(
        _: &sedge::stage::Context<'_, sedge::stage::Middleware>,
    ) -> Result<Self, sedge::ExtractError> {
        panic!("on purpose")
    }
}

#[test]
fn who_is_refused_at_the_root_is_told_so_and_closed_in_time() {
    let server = crate::common::Fixture::with(
        Stage::builder().allow_eio3(true).connect_timeout(Duration::from_millis(100)),
    );
    server.io.middleware(async || Err::<(), _>(ConnectError::new("no")));
    for _ in 0..3 {
        let mut client = SioClient::open_at(server.address, TARGET);
        client.expect(r#"4"no""#);
        client.expect_end();
    }
    // It does not know yet that it is refused, and speaks.
    let mut client = SioClient::open_at(server.address, TARGET);
    client.send(r#"2["well?"]"#);
    client.expect(r#"4"no""#);
    client.expect_end();
    assert_eq!(server.io.metrics().total.state_errors, 1);
}

#[test]
fn who_speaks_before_it_is_let_in_is_closed() {
    let server = crate::common::Fixture::with(Stage::builder().allow_eio3(true));
    let gate = Arc::new(Semaphore::new(0));
    let (note, notes) = notes();
    let opened = Arc::clone(&gate);
    server.io.middleware(async move || {
        note.send(()).unwrap();
        let _permit = opened.acquire().await;
        Ok::<_, ConnectError>(())
    });
    let mut client = SioClient::open_at(server.address, TARGET);
    notes.next();
    client.send(r#"2["well?"]"#);
    client.expect_end();
    gate.add_permits(10);
    let mut client = SioClient::open_at(server.address, TARGET);
    client.expect("0");
    client.close();
}

#[test]
fn the_root_namespace_can_be_left_and_not_joined_again_by_itself() {
    let stage = stage(&[]);
    let (mut client, id) = old(&stage);
    client.send("1");
    stage.expect_reason(&id, "client namespace disconnect");
    // The same id again: it is the connection's.
    client.send("0");
    client.expect("0");
    stage.io.to(&id).emit("to you", &()).unwrap();
    client.expect(r#"2["to you"]"#);
    client.close();
    stage.expect_reason(&id, "transport close");
    stage.finish();
}

#[test]
fn over_polling_in_every_form() {
    let mut stage = stage(&[]);
    stage
        .io
        .on("echo", async |socket: Socket, Data(text): Data<String>| socket.emit("echo", &text));
    for form in [Form::V3Text, Form::V3Binary, Form::Jsonp] {
        let mut client = PollingSession::open(stage.address, "/socket.io/", form);
        client.expect_text("40");
        client.send_text(r#"42["echo","a"]"#);
        client.expect_text(r#"42["echo","a"]"#);
        client.send_text("4nonsense");
        client.expect_text("1");
        client.expect_gone();
        stage.all_is_well();
    }
    stage.finish();
}
