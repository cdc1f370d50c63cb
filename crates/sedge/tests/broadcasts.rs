//! Rooms and broadcasts, on one shard and across two.

mod common;

use std::time::Duration;

use common::Fixture;
use sedge::extract::{Ack, Data, Extension};
use sedge::{DisconnectReason, Server, Socket, Value};
use sedge_testkit::SioClient;

/// A server whose clients can join rooms.
fn server(shards: usize) -> Fixture {
    let server = Fixture::with(Server::builder().shards(shards));
    server.io.on("join", async |socket: Socket, Data(room): Data<String>, ack: Ack| {
        socket.join(room).expect("within the limits");
        ack.send(&())
    });
    server.io.on("leave", async |socket: Socket, Data(room): Data<String>, ack: Ack| {
        socket.leave(room).expect("a queue that is not full");
        ack.send(&())
    });
    server.io.on("ping", async |ack: Ack| ack.send("pong"));
    server.io.on("to", async |socket: Socket, Data((room, text)): Data<(String, String)>| {
        socket.to(room).emit("said", &text)
    });
    server.io.on("others", async |socket: Socket, Data(text): Data<String>| {
        socket.broadcast().emit("said", &text)
    });
    server
}

/// Clients that have joined rooms of these names.
fn clients<const N: usize>(server: &Fixture, rooms: [&[&str]; N]) -> [(SioClient, String); N] {
    rooms.map(|rooms| {
        let (mut client, id) = server.client();
        for room in rooms {
            client.expect_nothing_but(&format!(r#"21["join","{room}"]"#), "31[]");
        }
        (client, id)
    })
}

/// Nothing was sent to this client: the next packet is the answer to its own question.
fn nothing(client: &mut SioClient) {
    client.expect_nothing_but(r#"29["ping"]"#, r#"39["pong"]"#);
}

#[test]
fn operators_choose_by_rooms() {
    for shards in [1, 2] {
        let server = server(shards);
        let [(mut a, _), (mut ab, _), (mut b, b_id), (mut none, none_id)] =
            clients(&server, [&["a"], &["a", "b"], &["b"], &[]]);
        let io = &server.io;
        // Each client asks after each broadcast, so shards have caught up before the next one.
        io.emit("everybody", &()).unwrap();
        for client in [&mut a, &mut ab, &mut b, &mut none] {
            client.expect(r#"2["everybody"]"#);
        }
        io.to("a").emit("a", &1).unwrap();
        a.expect(r#"2["a",1]"#);
        ab.expect(r#"2["a",1]"#);
        io.to(["a", "b"]).emit("union", &("once",)).unwrap();
        for client in [&mut a, &mut ab, &mut b] {
            client.expect(r#"2["union","once"]"#);
        }
        io.in_("a").except("b").emit("a, not b", &()).unwrap();
        a.expect(r#"2["a, not b"]"#);
        io.except(["a", "b"]).emit("outside", &()).unwrap();
        none.expect(r#"2["outside"]"#);
        io.to(&b_id).emit("by id", &()).unwrap();
        b.expect(r#"2["by id"]"#);
        io.to("b").except(&b_id).emit("not by id", &()).unwrap();
        ab.expect(r#"2["not by id"]"#);
        io.to(none_id).to("nobody").emit("id or room", &()).unwrap();
        none.expect(r#"2["id or room"]"#);
        for client in [&mut a, &mut ab, &mut b, &mut none] {
            nothing(client);
        }
    }
}

#[test]
fn sockets_leave_out_themselves() {
    for shards in [1, 2] {
        let server = server(shards);
        let [(mut one, one_id), (mut two, _), (mut out, _)] =
            clients(&server, [&["r"], &["r"], &[]]);
        one.send(r#"2["to","r","hi"]"#);
        two.expect(r#"2["said","hi"]"#);
        one.send(r#"2["others","all"]"#);
        two.expect(r#"2["said","all"]"#);
        out.expect(r#"2["said","all"]"#);
        out.send(&format!(r#"2["to","{one_id}","whisper"]"#));
        one.expect(r#"2["said","whisper"]"#);
        for client in [&mut one, &mut two, &mut out] {
            nothing(client);
        }
    }
}

#[test]
fn who_has_left_hears_nothing() {
    let server = server(1);
    let [(mut one, _), (mut two, _)] = clients(&server, [&["r"], &["r"]]);
    one.expect_nothing_but(r#"21["leave","r"]"#, "31[]");
    server.io.to("r").emit("said", "hi").unwrap();
    two.expect(r#"2["said","hi"]"#);
    nothing(&mut one);
}

#[test]
fn one_sender_s_broadcasts_keep_their_order() {
    let server = server(2);
    let mut clients = clients(&server, [&["a"], &["a", "b"], &["b"], &["a"]]);
    for n in 0..200 {
        server.io.to(if n % 2 == 0 { "a" } else { "b" }).emit("n", &n).unwrap();
    }
    for ((client, _), parity) in clients.iter_mut().zip([Some(0), None, Some(1), Some(0)]) {
        for n in (0..200).filter(|n| parity.is_none_or(|parity| n % 2 == parity)) {
            client.expect(&format!(r#"2["n",{n}]"#));
        }
    }
}

#[test]
fn everybody_acknowledges() {
    for shards in [1, 2] {
        let server = server(shards);
        let mut all = clients(&server, [&["r"], &["r"], &["r"]]);
        let question = server.io.to("r").emit_with_ack::<String>("question", "?");
        for (client, id) in &mut all {
            let packet = client.receive();
            let ack = packet.strip_prefix('2').unwrap().split('[').next().unwrap();
            let number: u32 = ack.parse().unwrap();
            assert!(number >= 1 << 30, "out of the way of single sockets' acknowledgements");
            client.send(&format!(r#"3{ack}["{id}"]"#));
        }
        let mut answers = server.wait(question).unwrap();
        let mut ids = all.map(|(_, id)| id);
        answers.sort();
        ids.sort();
        assert_eq!(answers, ids);
        let nobody = server.io.to("nobody").emit_with_ack::<String>("question", "?");
        assert_eq!(server.wait(nobody), Ok(vec![]));
    }
}

#[test]
fn acknowledgements_that_do_not_come_do_not_spoil_the_others() {
    let server = server(2);
    let [(mut answers, _), (mut silent, _), (mut leaves, _)] = clients(&server, [&[], &[], &[]]);
    let question =
        server.io.timeout(Duration::from_millis(300)).emit_with_ack::<u32>("question", &());
    let packet = answers.receive();
    let ack = packet.strip_prefix('2').unwrap().split('[').next().unwrap();
    answers.send(&format!("3{ack}[1]"));
    silent.receive();
    leaves.receive();
    leaves.abort();
    let error = server.wait(question).unwrap_err();
    assert_eq!((error.responses, error.missing, error.unreadable), (vec![1], 2, 0));
}

#[test]
fn an_acknowledgement_is_not_waited_for_when_nobody_is_left() {
    let server = server(2);
    let [(mut one, _), (mut two, _)] = clients(&server, [&[], &[]]);
    // Without a limit of its own the wait would be longer than the test's deadline.
    let question = server.io.timeout(Duration::from_hours(1)).emit_with_ack::<u32>("question", &());
    for client in [&mut one, &mut two] {
        client.receive();
    }
    one.abort();
    two.abort();
    assert_eq!(server.wait(question).unwrap_err().missing, 2);
}

#[test]
fn sockets_are_fetched_from_all_shards() {
    let server = server(2);
    server.io.on_connect(async |socket: Socket| socket.set_data(&("data", 1)).unwrap());
    let all = clients(&server, [&["r"], &["r", "s"], &[]]);
    let mut found = server.wait(server.io.in_("r").fetch_sockets()).unwrap();
    found.sort_by_key(|socket| socket.rooms().len());
    assert_eq!(found.len(), 2);
    assert_eq!((found[0].id(), found[1].id()), (all[0].1.as_str(), all[1].1.as_str()));
    assert!(found[1].is_in("s") && found[1].is_in(&all[1].1) && !found[0].is_in("s"));
    assert_eq!(found[0].data::<(String, u32)>(), Ok(("data".to_owned(), 1)));
    let handshake = found[0].handshake();
    assert_eq!(handshake["query"]["EIO"].as_str(), Some("4"));
    assert_eq!(handshake["address"].as_str(), Some("127.0.0.1"));
    assert_eq!(handshake["auth"].as_object(), Some(&[][..]));
    assert_eq!(server.wait(server.io.fetch_sockets()).unwrap().len(), 3);
}

#[test]
fn a_fetched_socket_can_be_acted_on() {
    let server = server(2);
    let [(mut one, one_id), (mut two, _)] = clients(&server, [&[], &[]]);
    let found = server.wait(server.io.to(&one_id).fetch_sockets()).unwrap();
    let [remote] = found.as_slice() else { panic!("{found:?}") };
    remote.emit("hi", &()).unwrap();
    one.expect(r#"2["hi"]"#);
    server.wait(remote.join("r")).unwrap();
    server.io.to("r").emit("in r", &()).unwrap();
    one.expect(r#"2["in r"]"#);
    server.wait(remote.leave("r")).unwrap();
    assert_eq!(server.wait(server.io.in_("r").fetch_sockets()).unwrap().len(), 0);
    server.wait(remote.disconnect(true)).unwrap();
    one.expect("1");
    one.expect_end();
    nothing(&mut two);
}

#[test]
fn many_sockets_join_leave_and_are_disconnected() {
    let server = server(2);
    let mut all = clients(&server, [&["r"], &["r"], &[]]);
    let io = &server.io;
    server.wait(io.in_("r").sockets_join(["x", "y"])).unwrap();
    server.wait(io.sockets_leave("y")).unwrap();
    assert_eq!(server.wait(io.in_("x").fetch_sockets()).unwrap().len(), 2);
    assert_eq!(server.wait(io.in_("y").fetch_sockets()).unwrap().len(), 0);
    server.wait(io.in_("x").disconnect_sockets(false)).unwrap();
    assert_eq!(server.io.socket_count(), 1);
    for (client, _) in &mut all[..2] {
        client.expect("1");
        client.join("/");
    }
    server.wait(io.disconnect_sockets(true)).unwrap();
    assert_eq!(server.io.socket_count(), 0);
    for (client, _) in &mut all {
        client.expect("1");
        client.expect_end();
    }
}

#[test]
fn a_handler_on_one_shard_reaches_the_sockets_of_another() {
    let server = server(2);
    server.io.on("count", async |io: Server, ack: Ack| {
        let sockets = io.fetch_sockets().await.unwrap();
        io.emit("counted", &sockets.len()).unwrap();
        ack.send(&())
    });
    let mut all = clients(&server, [&[], &[], &[], &[]]);
    let used = server.io.metrics().shards.iter().filter(|shard| shard.sockets > 0).count();
    assert_eq!(used, 2, "the connections are spread over the shards");
    all[0].0.send(r#"21["count"]"#);
    for (client, _) in &mut all {
        client.expect(r#"2["counted",4]"#);
    }
    all[0].0.expect("31[]");
}

#[test]
fn a_socket_that_is_gone_is_in_no_room_and_still_knows_them() {
    let server = server(1);
    server
        .io
        .on_connect(async |socket: Socket| socket.extensions().insert(1_u8).map_or((), |_| ()));
    server.io.on_disconnect(
        async |socket: Socket, reason: DisconnectReason, kept: Extension<u8>| {
            assert_eq!(*kept.0, 1);
            let rooms = socket.rooms().await;
            let left: Vec<&str> = rooms.iter().map(|room| &**room).collect();
            let still_there = socket.namespace().in_("r").fetch_sockets().await.unwrap().len();
            socket.to(&left[..]).emit("left", &(left.len(), still_there, reason.as_str())).unwrap();
        },
    );
    let [(one, _), (mut two, _)] = clients(&server, [&["r", "s"], &["r"]]);
    one.close();
    two.expect(r#"2["left",3,1,"transport close"]"#);
}

#[test]
fn without_a_bus_there_are_no_other_processes() {
    let server = server(1);
    server.io.on_server_side("event", async |ack: Ack| ack.send("nobody hears this"));
    assert_eq!(server.io.server_side_emit("event", &()), Ok(()));
    let asked = server.io.server_side_emit_with_ack::<u32>("event", &());
    assert_eq!(server.wait(asked), Ok(vec![]));
    assert!(server.io.server_side_emit("connection", &()).is_err());
    assert_eq!(server.io.metrics().bus, None);
}

#[test]
fn namespaces_do_not_hear_each_other() {
    let server = server(2);
    let other = server.io.of("/other").unwrap();
    let (mut client, _) = server.client();
    client.join("/other");
    other.emit("other", &Value::Null).unwrap();
    client.expect(r#"2/other,["other",null]"#);
    server.io.emit("root", &()).unwrap();
    client.expect(r#"2["root"]"#);
}
