//! Applications whose own code panics, wherever it is called. The call is over, and nothing else is.

use std::panic::panic_any;
use std::sync::Arc;

use sedge::extract::{Ack, Args, Auth, Data};
use sedge::{
    ConnectError, CustomDecoder, CustomParser, DisconnectReason, EncodeError, HandlerErrorKind,
    Parser, Socket, Value,
};
use sedge_protocol::socketio::{Message, MessageRef, PacketKind, ParseError, ValuePacket};
use sedge_testkit::SioClient;
use serde::de::Deserializer;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use crate::common::{Fixture, notes};
use crate::stage::{Stage, ask};

/// A value that cannot be sent or read.
struct Unwilling;

impl Serialize for Unwilling {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("Serialize")
    }
}

impl<'de> Deserialize<'de> for Unwilling {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("Deserialize")
    }
}

/// A value that does not go quietly.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        // A panic while another one unwinds would end the process, as anywhere in Rust.
        assert!(std::thread::panicking(), "Drop");
    }
}

fn fail(words: &'static str) {
    panic!("{words}");
}

/// A panic whose payload panics once more.
fn blow_up() {
    panic_any(Bomb);
}

#[test]
fn panicking_handlers_are_reported_and_the_socket_lives() {
    let (note, notes) = notes();
    let mut stage = Stage::with(Stage::builder().on_error(move |_, error| {
        if let HandlerErrorKind::Panicked(words) = error.kind() {
            note.send((error.event().to_owned(), words.to_owned())).unwrap();
        }
    }));
    let io = &stage.io;
    io.on_connect(async || fail("connect"));
    io.on_any(async |event: sedge::extract::Event| {
        fail(if &*event == "well?" { "any" } else { "other" });
    });
    io.on_fallback(async || fail("fallback"));
    io.on_disconnect(async || fail("disconnect"));
    io.on("serialize", async |socket: Socket| socket.emit("x", &("first", Unwilling)));
    io.on("broadcast", async |socket: Socket| socket.broadcast().emit("x", &Unwilling));
    io.on("answer", async |ack: Ack| ack.send(&Unwilling));
    io.on("data", async |socket: Socket| socket.set_data(&Unwilling));
    io.on("deserialize", async |Data(_): Data<Unwilling>| {});
    io.on("late", async |args: Args| {
        tokio::task::yield_now().await;
        args.decode::<Unwilling>().map(drop)
    });
    io.on("drop", async |socket: Socket| {
        let _bomb = Bomb;
        socket.emit("dropped", &())
    });
    io.on("drop later", async || {
        let _bomb = Bomb;
        tokio::task::yield_now().await;
    });
    io.on("payload", async || blow_up());
    io.on("payload later", async || {
        tokio::task::yield_now().await;
        blow_up();
    });

    let (mut client, _) = stage.client();
    assert_eq!(notes.next(), ("connect".into(), "connect".into()));
    let expected = [
        ("serialize", "Serialize"),
        ("broadcast", "Serialize"),
        ("answer", "Serialize"),
        ("data", "Serialize"),
        ("deserialize", "Deserialize"),
        ("late", "Deserialize"),
        ("drop", "Drop"),
        ("drop later", "Drop"),
        ("payload", "?"),
        ("payload later", "?"),
        ("nobody listens", "fallback"),
    ];
    for (event, words) in expected {
        client.send(&format!(r#"21["{event}",1]"#));
        assert_eq!(notes.next(), (event.into(), "other".into()));
        if event == "drop" {
            client.expect(r#"2["dropped"]"#);
        }
        assert_eq!(notes.next(), (event.into(), words.into()), "{event}");
        ask(&mut client);
        assert_eq!(notes.next(), ("well?".into(), "any".into()));
    }
    client.close();
    assert_eq!(notes.next(), ("disconnect".into(), "disconnect".into()));
    stage.all_is_well();
    stage.finish();
}

#[test]
fn panicking_middlewares_refuse() {
    let mut stage = Stage::with_namespaces(Stage::builder(), &["/now", "/later", "/drop", "/auth"]);
    let of = |name: &str| stage.io.of(name).unwrap();
    of("/now").middleware(async || -> Result<(), ConnectError> { panic_any(Bomb) });
    of("/later").middleware(async || -> Result<(), ConnectError> {
        tokio::task::yield_now().await;
        panic_any(Bomb)
    });
    of("/drop").middleware(async || {
        let _bomb = Bomb;
        tokio::task::yield_now().await;
        Ok::<_, ConnectError>(())
    });
    of("/auth").middleware(async |Auth(_): Auth<Unwilling>| Ok::<_, ConnectError>(()));
    let (mut client, _) = stage.client();
    for name in ["/now", "/later", "/drop", "/auth", "/now"] {
        client.send(&format!("0{name},{{}}"));
        client.expect(&format!(r#"4{name},{{"message":"internal error"}}"#));
    }
    ask(&mut client);
    client.close();
    stage.all_is_well();
    stage.finish();
}

#[test]
fn a_panicking_hook_for_errors_is_survived() {
    let mut stage = Stage::with(Stage::builder().on_error(|_, _| blow_up()));
    stage.io.on("fail", async || blow_up());
    stage.io.on_disconnect(async || blow_up());
    let (mut client, _) = stage.client();
    for _ in 0..10 {
        client.send(r#"2["fail"]"#);
        ask(&mut client);
    }
    client.abort();
    stage.all_is_well();
    stage.finish();
}

#[test]
fn what_is_attached_to_a_socket_may_panic_when_it_goes() {
    let mut stage = Stage::with_namespaces(Stage::builder(), &["/chat", "/refused"]);
    let attach = async |socket: Socket| {
        socket.extensions().insert(Bomb);
    };
    stage.io.on("attach", attach);
    stage.io.of("/chat").unwrap().on_connect(attach);
    let refused = stage.io.of("/refused").unwrap();
    refused.middleware(async move |socket: Socket| {
        socket.extensions().insert(Bomb);
        tokio::task::yield_now().await;
        Err::<(), _>(ConnectError::new("no"))
    });
    stage.io.on("kick", async |socket: Socket| socket.disconnect(true));
    for end in ["close", "abort", "leave", "kick", "nonsense"] {
        let (mut client, id) = stage.client();
        client.join("/chat");
        client.send("0/refused,");
        client.expect(r#"4/refused,{"message":"no"}"#);
        client.send(r#"2["attach"]"#);
        ask(&mut client);
        let reason = match end {
            "close" => {
                client.close();
                "transport close"
            }
            "abort" => {
                client.abort();
                "transport close"
            }
            "leave" => {
                client.send("1");
                stage.expect_reason(&id, "client namespace disconnect");
                client.join("/");
                client.close();
                continue;
            }
            "kick" => {
                client.send(r#"2["kick"]"#);
                client.expect("1");
                client.expect("1/chat,");
                client.expect_end();
                "server namespace disconnect"
            }
            _ => {
                client.send("nonsense");
                client.expect_end();
                "parse error"
            }
        };
        let ended = stage.next_reason();
        if ended.0 == id {
            assert_eq!(ended.1, reason);
            stage.next_reason();
        }
        stage.all_is_well();
    }
    stage.finish();
}

/// A parser that knows three texts and panics at the third.
struct Fragile;

impl CustomParser for Fragile {
    fn encode(&self, packet: &ValuePacket) -> Result<Vec<Message>, EncodeError> {
        Ok(vec![Message::Text(format!("{:?}", packet.kind))])
    }

    fn decoder(&self) -> Box<dyn CustomDecoder> {
        Box::new(Fragile)
    }
}

impl CustomDecoder for Fragile {
    fn decode(&mut self, message: MessageRef<'_>) -> Result<Option<ValuePacket>, ParseError> {
        let (kind, id, data) = match message {
            MessageRef::Text("join") => (PacketKind::Connect, None, None),
            MessageRef::Text("ask") => {
                (PacketKind::Event, Some(1), Some(Value::Array(vec!["well?".into()])))
            }
            _ => panic_any(Bomb),
        };
        Ok(Some(ValuePacket { kind, nsp: "/".into(), id, data }))
    }
}

#[test]
fn a_panicking_parser_costs_its_connection() {
    let server = Fixture::with(Stage::builder().parser(Parser::Custom(Arc::new(Fragile))));
    let (note, notes) = notes();
    server.io.on("well?", async |ack: Ack| ack.send("well"));
    server.io.on_disconnect(async move |reason: DisconnectReason| note.send(reason).unwrap());
    let join = || {
        let mut client = SioClient::open(server.address);
        client.send("join");
        client.expect("Connect");
        client
    };
    let mut bystander = join();
    for _ in 0..5 {
        let mut client = join();
        client.send("ask");
        client.expect("Ack");
        client.send("what panics");
        client.expect_end();
        assert_eq!(notes.next(), DisconnectReason::ForcedServerClose);
        bystander.send("ask");
        bystander.expect("Ack");
    }
    bystander.close();
    assert_eq!(notes.next(), DisconnectReason::TransportClose);
}
