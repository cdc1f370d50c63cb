//! Joining and leaving namespaces: who is let in, what is answered, and why sockets go.

mod common;

use std::time::Duration;

use common::{Fixture, notes};
use sedge::extract::{Auth, Data, Extension, State};
use sedge::limits::RoomLimits;
use sedge::{ConnectError, DisconnectReason, JoinError, Server, Socket, Value};
use sedge_testkit::{RawHttp, SioClient};

#[test]
fn a_socket_s_id_is_public_and_not_the_connection_s() {
    let server = Fixture::new();
    server.io.on_connect(async |socket: Socket| socket.emit("id", socket.id()));
    let (mut client, id) = server.client();
    assert_eq!(id.len(), 20);
    assert_ne!(id, client.sid());
    client.expect(&format!(r#"2["id","{id}"]"#));
}

#[test]
fn an_unknown_namespace_is_refused_and_the_connection_stays() {
    let server = Fixture::new();
    let mut client = SioClient::open(server.address);
    client.send("0/nowhere,");
    client.expect(r#"4/nowhere,{"message":"Invalid namespace"}"#);
    client.join("/");
}

#[test]
fn namespaces_share_a_connection_and_have_ids_of_their_own() {
    let server = Fixture::new();
    let chat = server.io.of("/chat").unwrap();
    chat.on("where", async |socket: Socket| socket.emit("here", socket.namespace().name()));
    let (mut client, root_id) = server.client();
    let chat_id = client.join("/chat");
    assert_ne!(root_id, chat_id);
    client.send(r#"2/chat,["where"]"#);
    client.expect(r#"2/chat,["here","/chat"]"#);
}

#[test]
fn the_auth_payload_is_there_and_an_empty_object_without_one() {
    let server = Fixture::new();
    server
        .io
        .on_connect(async |socket: Socket, Auth(auth): Auth<Value>| socket.emit("auth", &auth));
    let mut client = SioClient::open(server.address);
    client.send(r#"0{"token":"a"}"#);
    assert!(client.receive().starts_with("0{"));
    client.expect(r#"2["auth",{"token":"a"}]"#);
    let mut client = SioClient::open(server.address);
    client.send("0");
    assert!(client.receive().starts_with("0{"));
    client.expect(r#"2["auth",{}]"#);
}

#[test]
fn middlewares_run_in_order_and_the_first_refusal_counts() {
    let server = Fixture::with(Server::builder().shards(1).state(7_u32));
    let (note, notes) = notes();
    let (first, second) = (note.clone(), note);
    server.io.middleware(async move |socket: Socket| {
        tokio::task::yield_now().await;
        first.send((1, socket.connected())).unwrap();
        socket.extensions().insert(String::from("from the first"));
        Ok::<_, ConnectError>(())
    });
    server.io.middleware(
        async move |Auth(auth): Auth<Value>, given: Extension<String>, state: State<u32>| {
            assert_eq!((given.as_str(), *state.0), ("from the first", 7));
            second.send((2, false)).unwrap();
            match auth["token"].as_str() {
                Some("secret") => Ok(()),
                _ => Err(ConnectError::new("not authorized").data(&[401])),
            }
        },
    );
    server.io.on_connect(async |socket: Socket| socket.emit("in", &socket.connected()));

    let mut client = SioClient::open(server.address);
    client.send("0");
    client.expect(r#"4{"message":"not authorized","data":[401]}"#);
    client.send(r#"0{"token":"secret"}"#);
    assert!(client.receive().starts_with(r#"0{"sid":"#));
    client.expect(r#"2["in",true]"#);
    assert_eq!(notes.so_far(), [(1, false), (2, false), (1, false), (2, false)]);
    assert_eq!(server.io.metrics().total.connects_refused, 1);
}

#[test]
fn a_panicking_or_misfitting_middleware_refuses() {
    let server = Fixture::new();
    let broken = server.io.of("/broken").unwrap();
    broken.middleware(async || -> Result<(), ConnectError> { panic!("on purpose") });
    let typed = server.io.of("/typed").unwrap();
    typed.middleware(async |Auth(_): Auth<(u32,)>| Ok::<_, ConnectError>(()));
    let (mut client, _) = server.client();
    client.send("0/broken,");
    client.expect(r#"4/broken,{"message":"internal error"}"#);
    client.send(r#"0/typed,{"a":1}"#);
    assert!(client.receive().starts_with(r#"4/typed,{"message":"#));
}

#[test]
fn handlers_added_in_a_middleware_work() {
    let server = Fixture::new();
    server.io.middleware(async |socket: Socket| {
        assert!(socket.emit("too early", &()).is_err());
        socket.on("hi", async |socket: Socket| socket.emit("hi", &()));
        Ok::<_, ConnectError>(())
    });
    let (mut client, _) = server.client();
    client.send(r#"2["hi"]"#);
    client.expect(r#"2["hi"]"#);
}

#[test]
fn rooms_joined_in_a_middleware_are_joined_when_the_socket_connects() {
    for version in [3, 4] {
        let limits = RoomLimits { rooms_per_member: 3, name_len_max: 10, ..RoomLimits::default() };
        let builder = Server::builder().shards(1).allow_eio3(true).room_limits(limits);
        let server = Fixture::with(builder);
        server.io.middleware(async |socket: Socket| {
            tokio::task::yield_now().await;
            assert_eq!(socket.join(["a", "b", "b", "c"]), Ok(()));
            assert_eq!(socket.join(["a", "d"]), Err(JoinError::TooManyRooms { limit: 3 }.into()));
            socket.leave("b").expect("it is never too much");
            let too_long = JoinError::NameTooLong { len: 11, limit: 10 };
            assert_eq!(socket.join("12345678901"), Err(too_long.into()));
            let id = socket.id().as_str().into();
            assert_eq!(socket.rooms().await, [id, "a".into(), "c".into()]);
            Ok::<_, ConnectError>(())
        });
        server.io.on_connect(async |socket: Socket| {
            let rooms: Vec<String> =
                socket.rooms().await[1..].iter().map(ToString::to_string).collect();
            socket.emit("rooms", &rooms)
        });
        let target = format!("/socket.io/?EIO={version}&transport=websocket");
        let mut client = SioClient::open_at(server.address, &target);
        match version {
            3 => client.expect("0"),
            _ => drop(client.join("/")),
        }
        client.expect(r#"2["rooms",["a","c"]]"#);
        server.io.to("c").emit("to the room", &()).unwrap();
        client.expect(r#"2["to the room"]"#);
        server.io.to("b").emit("to another", &()).unwrap();
        server.io.to("a").emit("again", &()).unwrap();
        client.expect(r#"2["again"]"#);
        assert_eq!(server.io.metrics().total.handler_errors, 0);
    }
}

fn reasons(server: &Fixture) -> common::Notes<(String, &'static str)> {
    let (note, notes) = notes();
    for name in ["/", "/chat"] {
        let note = note.clone();
        server.io.of(name).expect("a valid name").on_disconnect(
            async move |socket: Socket, reason: DisconnectReason| {
                assert!(!socket.connected());
                let name = socket.namespace().name().to_owned();
                note.send((name, reason.as_str())).expect("the test listens");
            },
        );
    }
    notes
}

fn note(name: &str, reason: &'static str) -> (String, &'static str) {
    (name.to_owned(), reason)
}

#[test]
fn every_end_has_its_reason() {
    let server = Fixture::new();
    let reasons = reasons(&server);

    let (client, _) = server.client();
    client.close();
    assert_eq!(reasons.next(), note("/", "transport close"));

    let (mut client, _) = server.client();
    client.join("/chat");
    client.send("1/chat,");
    assert_eq!(reasons.next(), note("/chat", "client namespace disconnect"));
    client.send("1");
    assert_eq!(reasons.next(), note("/", "client namespace disconnect"));
    client.join("/chat");
    client.send("not a packet");
    client.expect_end();
    assert_eq!(reasons.next(), note("/chat", "parse error"));
}

#[test]
fn packets_out_of_order_end_the_connection() {
    let server = Fixture::new();
    let reasons = reasons(&server);
    for packet in ["0", r#"2/chat,["hi"]"#, "1/chat,", r#"4{"message":"?"}"#] {
        let (mut client, _) = server.client();
        client.send(packet);
        client.expect_end();
        assert_eq!(reasons.next(), note("/", "forced server close"), "{packet}");
    }
    let mut client = SioClient::open(server.address);
    client.send(r#"2["too early"]"#);
    client.expect_end();
    assert_eq!(server.io.metrics().total.state_errors, 5);
}

#[test]
fn the_server_disconnects_a_socket_or_the_whole_connection() {
    let server = Fixture::new();
    let reasons = reasons(&server);
    server.io.on("kick", async |socket: Socket, Data(close): Data<bool>| socket.disconnect(close));
    let (mut client, _) = server.client();
    client.join("/chat");
    client.send(r#"2["kick",false]"#);
    client.expect("1");
    assert_eq!(reasons.next(), note("/", "server namespace disconnect"));
    client.join("/");
    client.send(r#"2["kick",true]"#);
    client.expect("1/chat,");
    client.expect("1");
    client.expect_end();
    assert_eq!(reasons.next(), note("/chat", "server namespace disconnect"));
    assert_eq!(reasons.next(), note("/", "server namespace disconnect"));
    assert_eq!(server.io.socket_count(), 0);
}

#[test]
fn the_end_of_the_server_is_told_and_sends_no_disconnect_packet() {
    let server = Fixture::new();
    let reasons = reasons(&server);
    let (note_end, ended) = notes();
    server.io.on_disconnect(async move || {
        tokio::time::sleep(Duration::from_millis(20)).await;
        note_end.send(()).unwrap();
    });
    let (mut client, _) = server.client();
    server.wait(server.io.close(Duration::from_millis(500)));
    assert_eq!(reasons.next(), note("/", "server shutting down"));
    assert_eq!(ended.so_far(), [()], "handlers may finish");
    client.expect_end();
}

#[test]
fn who_joins_nothing_in_time_is_closed() {
    let server =
        Fixture::with(Server::builder().shards(1).connect_timeout(Duration::from_millis(50)));
    let mut client = SioClient::open(server.address);
    client.expect_end();
    let (mut client, _) = server.client();
    client.send("1");
    // It has been in a namespace once, so it may stay.
    std::thread::scope(|_| client.join("/"));
}

#[test]
fn too_many_namespaces_are_refused() {
    let server = Fixture::with(Server::builder().shards(1).namespaces_per_connection_max(2));
    for name in ["/a", "/b"] {
        server.io.of(name).unwrap();
    }
    let (mut client, _) = server.client();
    client.join("/a");
    client.send("0/b,");
    client.expect(r#"4/b,{"message":"Too many namespaces"}"#);
    client.send("1/a,");
    client.join("/b");
}

#[test]
fn old_clients_are_in_the_root_namespace_at_once() {
    let server = Fixture::with(Server::builder().shards(1).allow_eio3(true));
    server.io.on_connect(async |socket: Socket| socket.emit("id", socket.id()));
    let admin = server.io.of("/admin").unwrap();
    admin.middleware(async |Auth(auth): Auth<Value>| match auth["token"].as_str() {
        Some("s 1") => Ok(()),
        Some(_) => Err(ConnectError::new("wrong").data(&("details",))),
        None => Err(ConnectError::new("missing")),
    });
    admin.on_connect(async |socket: Socket| socket.emit("id", socket.id()));

    let mut client = SioClient::open_at(server.address, "/socket.io/?EIO=3&transport=websocket");
    let sid = client.sid().to_owned();
    client.expect("0");
    client.expect(&format!(r#"2["id","{sid}"]"#));
    client.send("0/admin,");
    client.expect(r#"4/admin,"missing""#);
    client.send("0/admin?token=2,");
    client.expect(r#"4/admin,["details"]"#);
    client.send("0/admin?token=s%201,");
    client.expect("0/admin,");
    client.expect(&format!(r#"2/admin,["id","/admin#{sid}"]"#));
    client.send("0/nowhere,");
    client.expect(r#"4/nowhere,{"message":"Invalid namespace"}"#);
}

#[test]
fn it_works_over_polling() {
    let server = Fixture::new();
    server
        .io
        .on("echo", async |socket: Socket, Data(text): Data<String>| socket.emit("echo", &text));
    let mut http = RawHttp::connect(server.address);
    let open = http.get("/socket.io/?EIO=4&transport=polling");
    let sid = open.text().split('"').nth(3).unwrap().to_owned();
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
    assert_eq!(http.post(&target, "40").text(), "ok");
    assert!(http.get(&target).text().starts_with(r#"40{"sid":"#));
    http.post(&target, r#"42["echo","hi"]"#);
    assert_eq!(http.get(&target).text(), r#"42["echo","hi"]"#);
}

#[test]
fn clients_that_come_and_go_leave_nothing_behind() {
    let server = Fixture::new();
    let (note, notes) = notes();
    server.io.on_connect(async |socket: Socket| socket.join("r"));
    server.io.on_disconnect(async move || note.send(()).expect("the test listens"));
    // Ends and beginnings in the same turn of the shard: the engine gives the slots of those that
    // have gone to those that come.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut former = server.client().0;
                for _ in 0..100 {
                    std::mem::replace(&mut former, SioClient::open(server.address)).abort();
                    former.join("/");
                }
            });
        }
    });
    for _ in 0..404 {
        notes.next();
    }
    assert_eq!(server.io.socket_count(), 0);
    let left = server.wait(server.io.in_("r").fetch_sockets()).expect("the shard answers");
    assert_eq!(left.len(), 0);
}
