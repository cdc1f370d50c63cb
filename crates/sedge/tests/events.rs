//! Events and acknowledgements: which handlers run, in which order, and what becomes of their mistakes.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Fixture, notes};
use sedge::extract::{Ack, Args, Data, Event, RoomName, TryData};
use sedge::{
    AckError, ArgsError, EmitError, ExtractError, HandlerErrorKind, Server, Socket, Value,
};
use sedge_testkit::{Frame, SioClient};

#[test]
fn arguments_are_tuples_and_the_first_one_otherwise() {
    let server = Fixture::new();
    server.io.on("pair", async |socket: Socket, Data((a, b)): Data<(u32, String)>| {
        socket.emit("pair", &(b, a))
    });
    server
        .io
        .on("one", async |socket: Socket, Data(list): Data<Vec<u32>>| socket.emit("one", &list));
    server.io.on("none", async |socket: Socket, Data(()): Data<()>| socket.emit("none", &()));
    server.io.on("all", async |socket: Socket, args: Args| socket.emit("all", &args));
    let (mut client, _) = server.client();
    client.send(r#"2["pair",1,"a"]"#);
    client.expect(r#"2["pair","a",1]"#);
    client.send(r#"2["one",[1,2]]"#);
    client.expect(r#"2["one",[1,2]]"#);
    client.send(r#"2["none"]"#);
    client.expect(r#"2["none"]"#);
    client.send(r#"2["all",1,{"a":null},"x"]"#);
    client.expect(r#"2["all",1,{"a":null},"x"]"#);
}

#[test]
fn binary_data_travels_as_attachments() {
    let server = Fixture::new();
    server.io.on("echo", async |socket: Socket, Data(data): Data<bytes::Bytes>| {
        socket.emit("echo", &data)
    });
    let (mut client, _) = server.client();
    client.send(r#"51-["echo",{"_placeholder":true,"num":0}]"#);
    client.send_binary(&[1, 2, 3]);
    client.expect(r#"51-["echo",{"_placeholder":true,"num":0}]"#);
    assert_eq!(client.receive_frame(), Frame::Binary(vec![1, 2, 3]));
}

#[test]
fn handlers_of_an_event_run_in_the_order_they_were_added() {
    let server = Fixture::new();
    let io = &server.io;
    io.on("go", async |socket: Socket| socket.emit("namespace 1", &()));
    io.on_connect(async |socket: Socket| {
        socket.on("go", async |socket: Socket| socket.emit("socket", &()));
        socket.on_any(async |socket: Socket, event: Event| socket.emit("socket any", &*event));
    });
    io.on("go", async |socket: Socket| socket.emit("namespace 2", &()));
    io.on_any(async |socket: Socket, event: Event| socket.emit("any", &*event));
    io.on_fallback(async |socket: Socket, Event(name): Event| socket.emit("fallback", &name));
    let (mut client, _) = server.client();
    client.send(r#"2["go"]"#);
    for event in [r#""any","go""#, r#""socket any","go""#, r#""namespace 1""#, r#""namespace 2""#] {
        client.expect(&format!("2[{event}]"));
    }
    client.expect(r#"2["socket"]"#);
    client.send(r#"2["unheard"]"#);
    client.expect(r#"2["any","unheard"]"#);
    client.expect(r#"2["socket any","unheard"]"#);
    client.expect(r#"2["fallback","unheard"]"#);
}

#[test]
fn handlers_can_be_added_while_clients_are_connected() {
    let server = Fixture::new();
    let (mut client, _) = server.client();
    server.io.on("late", async |socket: Socket| socket.emit("late", &()));
    client.send(r#"2["late"]"#);
    client.expect(r#"2["late"]"#);
}

#[test]
fn the_part_before_the_first_await_runs_in_order() {
    let server = Fixture::new();
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let opened = Arc::clone(&gate);
    server.io.on("step", async move |socket: Socket, Data(n): Data<u32>| {
        socket.emit("before", &n)?;
        let _permit = gate.acquire().await;
        socket.emit("after", &n)
    });
    let (mut client, _) = server.client();
    client.send_all(&[r#"2["step",1]"#, r#"2["step",2]"#, r#"2["step",3]"#]);
    for n in 1..=3 {
        client.expect(&format!(r#"2["before",{n}]"#));
    }
    opened.add_permits(1);
    for n in 1..=3 {
        client.expect(&format!(r#"2["after",{n}]"#));
    }
}

#[test]
fn handlers_end_in_any_order() {
    let server = Fixture::new();
    let gate = Arc::new(tokio::sync::Notify::new());
    let opened = Arc::clone(&gate);
    server.io.on("slow", async move |ack: Ack| {
        gate.notified().await;
        ack.send("slow")
    });
    server.io.on("fast", async |ack: Ack| ack.send("fast"));
    let (mut client, _) = server.client();
    client.send_all(&[r#"21["slow"]"#, r#"22["fast"]"#]);
    client.expect(r#"32["fast"]"#);
    opened.notify_one();
    client.expect(r#"31["slow"]"#);
}

#[test]
fn acknowledgements_are_sent_once_and_only_if_asked_for() {
    let server = Fixture::new();
    server.io.on("add", async |Data((a, b)): Data<(i64, i64)>, ack: Ack| ack.send(&(a + b)));
    server.io.on("asked?", async |socket: Socket, ack: Option<Ack>| {
        socket.emit("asked", &ack.is_some())
    });
    let (mut client, _) = server.client();
    client.send(r#"27["add",1,2]"#);
    client.expect("37[3]");
    client.send(r#"2["add",1,2]"#);
    client.send(r#"2["asked?"]"#);
    client.expect(r#"2["asked",false]"#);
    client.send(r#"20["asked?"]"#);
    client.expect(r#"2["asked",true]"#);
}

#[test]
fn clients_acknowledge_what_they_are_asked() {
    let server = Fixture::new();
    let (note, notes) = notes();
    server.io.on("start", async move |socket: Socket| {
        let first = socket.emit_with_ack::<String>("question", "a?").await;
        note.send(format!("{first:?}")).unwrap();
        let pair = socket.emit_with_ack::<(u32, Option<u32>)>("question", "b?").await;
        note.send(format!("{pair:?}")).unwrap();
        let args = socket.emit_with_ack::<Args>("question", "c?").await;
        note.send(args.map(|args| args.len()).unwrap().to_string()).unwrap();
        let wrong = socket.emit_with_ack::<u32>("question", "d?").await;
        note.send(matches!(wrong, Err(AckError::Decode(_))).to_string()).unwrap();
    });
    let (mut client, _) = server.client();
    client.send(r#"2["start"]"#);
    client.expect(r#"21["question","a?"]"#);
    client.send_all(&[r#"32["not asked"]"#, r#"31["a!"]"#, r#"31["again"]"#]);
    client.expect(r#"22["question","b?"]"#);
    client.send("32[5.0]");
    client.expect(r#"23["question","c?"]"#);
    client.send("33[1,2,3]");
    client.expect(r#"24["question","d?"]"#);
    client.send(r#"34["no number"]"#);
    let expected = [r#"Ok("a!")"#, "Ok((5, None))", "3", "true"];
    assert_eq!([notes.next(), notes.next(), notes.next(), notes.next()], expected);
}

#[test]
fn packets_without_a_payload_and_ids_that_do_not_fit_do_no_harm() {
    for version in [3, 4] {
        let server = Fixture::with(Server::builder().shards(1).allow_eio3(true));
        server.io.on_any(async |socket: Socket, Event(name): Event, ack: Ack| {
            socket.emit("seen", &(name, ack.is_expected()))
        });
        server.io.on("ask", async |socket: Socket| {
            let answer = socket.emit_with_ack::<Args>("question", &()).await;
            socket.emit("answered", &answer.map(|args| args.len()).ok())
        });
        let target = format!("/socket.io/?EIO={version}&transport=websocket");
        let mut client = SioClient::open_at(server.address, &target);
        // The old protocol has a type in front of binary data too.
        let data: &[u8] = if version == 4 { b"x" } else { b"\x04x" };
        if version == 4 {
            client.join("/");
        } else {
            client.expect("0");
        }
        // An event without a payload is ignored, whether or not it wants an answer.
        client.send_all(&["2", "27", "2/,"]);
        client.send("51-");
        client.send_binary(data);
        // Acknowledgements of nothing, of what nobody asked, and of ids that do not fit.
        let huge = "9".repeat(1000);
        client.send_all(&["3", "3[]", "30", "3999[1]", &format!("3{huge}[1]")]);
        client.send("61-");
        client.send_binary(data);
        // It is handled, and stays unanswered.
        client.send(&format!(r#"2{huge}["far"]"#));
        client.expect(r#"2["seen","far",false]"#);
        client.send("2[1e400]");
        client.expect(r#"2["seen","Infinity",false]"#);
        client.send(r#"2["ask"]"#);
        client.expect(r#"2["seen","ask",false]"#);
        client.expect(r#"21["question"]"#);
        client.send("31");
        client.expect(r#"2["answered",0]"#);
        let metrics = server.io.metrics().total;
        assert_eq!((metrics.acks_in, metrics.acks_ignored), (1, 6));
        assert_eq!((metrics.parse_errors, metrics.handler_errors), (0, 0));
    }
}

#[test]
fn numbers_are_those_of_javascript() {
    let server = Fixture::new();
    server
        .io
        .on("add", async |Data((a, b)): Data<(u8, i64)>, ack: Ack| ack.send(&(i64::from(a) + b)));
    server.io.on("half", async |Data(number): Data<f64>, ack: Ack| ack.send(&(number / 2.0)));
    let (mut client, _) = server.client();
    client.send(r#"21["add",3.0,-1e2]"#);
    client.expect("31[-97]");
    client.send(r#"22["half",1e400]"#);
    client.expect("32[null]");
    client.send(r#"23["half",3]"#);
    client.expect("33[1.5]");
}

#[test]
fn numbers_are_names_of_rooms() {
    let server = Fixture::new();
    server.io.on("join", async |socket: Socket, Data(room): Data<RoomName>, ack: Ack| {
        socket.join(&room)?;
        ack.send(room.as_str())?;
        Ok::<_, Box<dyn std::error::Error>>(())
    });
    server.io.on("tell", async |io: Server, Data(rooms): Data<(Vec<RoomName>,)>| {
        io.to(rooms.0).emit("told", &())
    });
    let (mut client, _) = server.client();
    for (sent, name) in
        [("42", "42"), (r#""42""#, "42"), ("1.0", "1"), ("-1.5", "-1.5"), ("1e21", "1e+21")]
    {
        client.send(&format!(r#"21["join",{sent}]"#));
        client.expect(&format!(r#"31["{name}"]"#));
    }
    client.send(r#"2["tell",[42,"none"]]"#);
    client.expect(r#"2["told"]"#);
    for no_name in ["null", "true", "[]", "{}"] {
        client.send(&format!(r#"21["join",{no_name}]"#));
    }
    client.send(r#"2["tell",["42"]]"#);
    client.expect(r#"2["told"]"#);
    assert_eq!(server.io.metrics().total.handler_errors, 4);
}

#[test]
fn a_client_that_takes_the_id_0_for_none_is_asked_with_others() {
    let server = Fixture::new();
    server.io.on("ask", async |socket: Socket| {
        let mut answers = vec![socket.emit_with_ack::<u32>("question", &()).await?];
        let room = socket.namespace().to(socket.id());
        answers.extend(room.emit_with_ack::<u32>("question", &()).await?);
        socket.emit("answers", &answers)?;
        Ok::<_, Box<dyn std::error::Error>>(())
    });
    let outside = server.io.clone();
    let (mut client, id) = server.client();
    let answer = |client: &mut SioClient, value: u32| {
        let packet = client.receive();
        let id = packet.strip_prefix('2').and_then(|rest| rest.strip_suffix(r#"["question"]"#));
        // As such clients read it: an id that is missing or 0 wants no answer.
        match id.unwrap_or_default().parse::<i32>().unwrap_or_default() {
            0 => panic!("not asked: {packet}"),
            id => client.send(&format!("3{id}[{value}]")),
        }
    };
    client.send(r#"2["ask"]"#);
    answer(&mut client, 1);
    answer(&mut client, 2);
    client.expect(r#"2["answers",[1,2]]"#);
    let asked = outside.to(id.as_str()).emit_with_ack::<u32>("question", &());
    answer(&mut client, 3);
    assert_eq!(server.wait(asked), Ok(vec![3]));
}

#[test]
fn what_blocks_runs_beside_the_shard() {
    let server = Fixture::new();
    let (enter, entered) = notes();
    let (leave, left) = std::sync::mpsc::channel();
    let left = std::sync::Mutex::new(Some(left));
    server.io.on("block", async move |ack: Ack| {
        let (enter, left) = (enter.clone(), left.lock().unwrap().take().expect("sent once"));
        let work = move || {
            enter.send(()).unwrap();
            left.recv_timeout(sedge_testkit::DEADLINE).unwrap()
        };
        let result: u32 = tokio::task::spawn_blocking(work).await?;
        ack.send(&result)?;
        Ok::<_, Box<dyn std::error::Error>>(())
    });
    server.io.on("well?", async |ack: Ack| ack.send("well"));
    let (mut client, _) = server.client();
    client.send(r#"21["block"]"#);
    entered.next();
    // Its shard serves on meanwhile.
    client.send(r#"22["well?"]"#);
    client.expect(r#"32["well"]"#);
    leave.send(7).unwrap();
    client.expect("31[7]");
}

#[test]
fn waiting_for_an_acknowledgement_ends() {
    let server = Fixture::with(Server::builder().shards(1).pending_acks_max(2));
    let (note, notes) = notes();
    server.io.on("start", async move |socket: Socket| {
        let limited = socket.timeout(Duration::from_millis(10)).emit_with_ack::<()>("a", &());
        note.send(limited.await).unwrap();
        let [first, second, third] = [(); 3].map(|()| socket.emit_with_ack::<()>("b", &()));
        note.send(third.await).unwrap();
        note.send(first.await).unwrap();
        note.send(second.await).unwrap();
        note.send(socket.emit_with_ack("c", &()).await).unwrap();
    });
    let (mut client, _) = server.client();
    client.send(r#"2["start"]"#);
    client.expect(r#"21["a"]"#);
    assert_eq!(notes.next(), Err(AckError::Timeout));
    client.expect(r#"22["b"]"#);
    client.expect(r#"23["b"]"#);
    assert_eq!(notes.next(), Err(AckError::Emit(EmitError::TooManyPendingAcks)));
    client.abort();
    assert_eq!(notes.next(), Err(AckError::Disconnected));
    assert_eq!(notes.next(), Err(AckError::Disconnected));
    assert_eq!(notes.next(), Err(AckError::Emit(EmitError::NotConnected)));
}

fn fail() {
    panic!("on purpose");
}

#[test]
fn what_handlers_do_wrong_is_told_and_changes_nothing() {
    let (note, notes) = notes();
    let server = Fixture::with(Server::builder().shards(1).on_error(move |socket, error| {
        assert!(socket.connected());
        note.send((error.event().to_owned(), error.kind().clone())).unwrap();
    }));
    let io = &server.io;
    io.on("typed", async |Data(_): Data<u32>| {});
    io.on("failing", async || Err::<(), _>("on purpose"));
    io.on("panicking", async || fail());
    io.on("panicking later", async || {
        tokio::task::yield_now().await;
        fail();
    });
    io.on("lenient", async |socket: Socket, TryData(number): TryData<u32>| {
        socket.emit("lenient", &number.is_err())
    });
    let (mut client, _) = server.client();
    let events = ["typed", "failing", "panicking", "panicking later"];
    for event in events {
        client.send(&format!(r#"2["{event}"]"#));
        client.expect_nothing_but(r#"2["lenient","x"]"#, r#"2["lenient",true]"#);
    }
    let panicked = || HandlerErrorKind::Panicked("on purpose".into());
    let expected = [
        HandlerErrorKind::Extract(ExtractError::Decode(ArgsError::Missing(1))),
        HandlerErrorKind::Failed("on purpose".into()),
        panicked(),
        panicked(),
    ];
    for (event, kind) in events.iter().zip(expected) {
        assert_eq!(notes.next(), ((*event).to_owned(), kind));
    }
    assert_eq!(server.io.metrics().total.handler_errors, 4);
}

#[test]
fn reserved_names_and_unsendable_values_are_errors() {
    let server = Fixture::new();
    let (note, notes) = notes();
    server.io.on_connect(async move |socket: Socket| {
        note.send(socket.emit("disconnect", &())).unwrap();
        let map = std::collections::BTreeMap::from([((1, 2), 3)]);
        note.send(socket.emit("map", &map)).unwrap();
    });
    let (_client, _) = server.client();
    assert!(matches!(notes.next(), Err(EmitError::Encode(_))));
    assert!(matches!(notes.next(), Err(EmitError::Encode(_))));
    assert!(matches!(server.io.emit("connect", &()), Err(EmitError::Encode(_))));
}

#[test]
fn a_connection_with_too_many_waiting_handlers_is_not_read() {
    let server = Fixture::with(Server::builder().shards(1).handlers_in_flight_max(3));
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let (note, notes) = notes();
    server.io.on("wait", async move |Data(n): Data<u32>| {
        note.send(n).unwrap();
        gate.acquire().await.unwrap().forget();
    });
    let (mut client, _) = server.client();
    for n in 1..=3 {
        client.send(&format!(r#"2["wait",{n}]"#));
        assert_eq!(notes.next(), n);
    }
    client.send(r#"2["wait",4]"#);
    // Another connection is served meanwhile, and shows that time has passed on the shard.
    let (_other, _) = server.client();
    assert_eq!(notes.so_far(), [0_u32; 0]);
    opened.add_permits(1);
    assert_eq!(notes.next(), 4);
    opened.add_permits(100);
}

#[test]
fn data_and_extensions_stay_with_the_socket() {
    let server = Fixture::new();
    server.io.on("set", async |socket: Socket, Data(value): Data<Value>, ack: Ack| {
        socket.set_data(&value)?;
        ack.send(&())
    });
    server.io.on("get", async |socket: Socket, ack: Ack| {
        ack.send(&socket.data::<Value>().unwrap_or_default())
    });
    let (mut client, _) = server.client();
    client.send(r#"21["get"]"#);
    client.expect("31[null]");
    client.send(r#"22["set",{"a":[1]}]"#);
    client.expect("32[]");
    client.send(r#"23["get"]"#);
    client.expect(r#"33[{"a":[1]}]"#);
}

#[test]
fn another_thread_can_use_a_socket() {
    let server = Fixture::new();
    let (note, notes) = notes();
    server.io.on_connect(async move |socket: Socket| note.send(socket).unwrap());
    let (mut client, id) = server.client();
    let socket = notes.next();
    socket.join(["a", "b"]).unwrap();
    socket.leave("a").unwrap();
    let rooms = server.wait(socket.rooms());
    assert_eq!(rooms.iter().map(|room| &**room).collect::<Vec<_>>(), [id.as_str(), "b"]);
    let transport = server.wait(socket.transport());
    assert_eq!(transport, Some(sedge::Transport::WebSocket));
    socket.on("late", async |socket: Socket| socket.emit("late", &()));
    socket.emit("hello", &(1, 2)).unwrap();
    client.expect(r#"2["hello",1,2]"#);
    client.send(r#"2["late"]"#);
    client.expect(r#"2["late"]"#);
    let question = socket.emit_with_ack::<u32>("question", &());
    client.expect(r#"21["question"]"#);
    client.send("31[42]");
    assert_eq!(server.wait(question), Ok(42));
    socket.disconnect(true).unwrap();
    client.expect("1");
    client.expect_end();
    let gone = server.wait(socket.emit_with_ack::<u32>("question", &()));
    assert_eq!(gone, Err(AckError::Emit(EmitError::NotConnected)));
    assert_eq!(server.wait(socket.transport()), None);
}
