//! Processes that do not read, are busy, or say what makes no sense.

use std::sync::mpsc::sync_channel;

use bytes::Bytes;
use sedge_adapter::{
    MissingReason, Operation, Part, RemoteSocketData, RequestId, ResponseBody, Target, wire,
};
use sedge_testkit::{DEADLINE, eventually};

use super::{Carrier, Client, Cluster, LONG, SHORT, words};

pub(crate) fn a_process_that_does_not_read<C: Carrier>() {
    let cluster = Cluster::<C>::new(3, 2);
    let mut clients = cluster.clients([&[], &[], &[]]);
    cluster.refuse("three", true);
    for n in 0..10 {
        cluster.nodes[0].io.emit("n", &n).unwrap();
    }
    for client in &mut clients[..2] {
        for n in 0..10 {
            client.expect(&format!(r#"2["n",{n}]"#));
        }
    }
    assert_eq!(cluster.nodes[0].bus().refused, 10);
    cluster.refuse("three", false);
    cluster.nodes[0].io.emit("again", &()).unwrap();
    for client in &mut clients {
        client.expect(r#"2["again"]"#);
        client.nothing();
    }
    assert_eq!(cluster.nodes[0].bus().refused, 10);
}

pub(crate) fn a_shard_that_is_busy<C: Carrier>() {
    let cluster =
        Cluster::<C>::with(
            2,
            1,
            |builder, n| {
                if n == 1 { builder.command_queue_max(4) } else { builder }
            },
        );
    let mut clients = cluster.clients([&[], &[]]);
    let (begun, begins) = sync_channel(1);
    let (release, released) = sync_channel::<()>(1);
    let released = std::sync::Mutex::new(released);
    cluster.nodes[1].io.on("block", async move || {
        begun.send(()).unwrap();
        let _ = released.lock().unwrap().recv_timeout(DEADLINE);
    });
    clients[1].client.send(r#"2["block"]"#);
    begins.recv_timeout(DEADLINE).unwrap();
    let io = &cluster.nodes[0].io;
    for n in 0..20 {
        io.emit("n", &n).unwrap();
    }
    // Each of these is told at once that the shard has too much to do.
    let error = cluster.wait(io.timeout(LONG).fetch_sockets()).unwrap_err();
    assert_eq!(words(&error.missing), ["two (it has too much to do)"]);
    let error = cluster.wait(io.timeout(LONG).sockets_join("r")).unwrap_err();
    assert_eq!(words(&error.missing), ["two (it has too much to do)"]);
    let question = io.timeout(LONG).emit_with_ack::<u32>("question", &());
    for n in 0..20 {
        clients[0].expect(&format!(r#"2["n",{n}]"#));
    }
    let ack = clients[0].asked(r#"["question"]"#);
    clients[0].acknowledge(ack, "[1]");
    let error = cluster.wait(question).unwrap_err();
    assert_eq!(words(&error.missing_responders), ["two (it has too much to do)"]);
    let asked = cluster.wait(io.server_side_emit_with_ack::<()>("event", &()).timeout(LONG));
    assert_eq!(words(&asked.unwrap_err().missing), ["two (it has too much to do)"]);
    cluster.nodes[1].eventually(|bus| bus.overflows >= 16 + 4);
    release.send(()).unwrap();
    // What was in the queue is there, the rest is not, and all is well again.
    for n in 0..4 {
        clients[1].expect(&format!(r#"2["n",{n}]"#));
    }
    clients[1].nothing();
    assert_eq!(cluster.wait(io.fetch_sockets()).unwrap().len(), 2);
}

pub(crate) fn too_many_requests<C: Carrier>() {
    let cluster = Cluster::<C>::with(2, 1, |builder, _| builder.bus_requests_max(2));
    let mut clients = cluster.clients([&[], &[]]);
    let io = &cluster.nodes[0].io;
    let waiting = [io.timeout(LONG).fetch_sockets(), io.timeout(LONG).fetch_sockets()];
    let error = cluster.wait(io.timeout(LONG).fetch_sockets()).unwrap_err();
    assert_eq!(words(&error.missing), ["two (it has too much to do)"]);
    assert_eq!(error.partial.len(), 1, "this process is asked");
    let error = cluster.wait(io.server_side_emit_with_ack::<()>("event", &()).timeout(LONG));
    assert_eq!(words(&error.unwrap_err().missing), ["two (it has too much to do)"]);
    assert_eq!(cluster.nodes[0].bus().requests_refused, 2);
    for sockets in waiting {
        assert_eq!(cluster.wait(sockets).unwrap().len(), 2);
    }
    assert_eq!(cluster.wait(io.fetch_sockets()).unwrap().len(), 2, "there is room again");
    clients.iter_mut().for_each(Client::nothing);
}

pub(crate) fn too_many_server_side_handlers<C: Carrier>() {
    let cluster = Cluster::<C>::with(2, 1, |builder, _| builder.server_side_in_flight_max(2));
    let (note, notes) = sync_channel(10);
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let opened = std::sync::Arc::clone(&gate);
    cluster.nodes[1].io.on_server_side("wait", async move |ack: sedge::extract::Ack| {
        note.send(()).unwrap();
        opened.acquire().await.unwrap().forget();
        ack.send(&1)
    });
    let io = &cluster.nodes[0].io;
    let ask = || io.server_side_emit_with_ack::<u32>("wait", &()).timeout(LONG);
    let waiting = [ask(), ask()];
    for _ in 0..2 {
        notes.recv_timeout(DEADLINE).unwrap();
    }
    let error = cluster.wait(ask()).unwrap_err();
    assert_eq!(words(&error.missing), ["two (it has too much to do)"]);
    gate.add_permits(3);
    for asked in waiting {
        assert_eq!(cluster.wait(asked), Ok(vec![1]));
    }
    assert_eq!(cluster.wait(ask()), Ok(vec![1]), "there is room again");
}

pub(crate) fn garbage_is_counted<C: Carrier>() {
    let mut cluster = Cluster::<C>::new(2, 2);
    let puppet = cluster.puppet("puppet");
    let mut clients = cluster.clients([&[], &[]]);
    let garbage: [&[u8]; 6] = [b"", b"\x01", b"\x02", b"\x02\x03\x01/", b"\x02\xff", &[0xff; 1000]];
    for message in garbage {
        puppet.publish(&Bytes::copy_from_slice(message));
    }
    for node in &cluster.nodes {
        node.eventually(|bus| bus.unreadable == garbage.len() as u64);
    }
    // A broadcast to be acknowledged whose packet has no id, another id, or no message at all.
    let no_id = wire::WirePacket::Event { name: "disconnect", args: vec![] };
    let packet = |messages: &[_], id| wire::WirePacket::Messages { messages: messages.into(), id };
    let text = wire_text(r#"21["e"]"#);
    let broken = [packet(&[text], None), packet(&[text], Some(2)), packet(&[], Some(1)), no_id];
    for (n, packet) in broken.into_iter().enumerate() {
        let ack = Some(RequestId(n as u64));
        let target = Target::everyone();
        puppet.publish(&wire::encode_operation("/", &Operation::Broadcast { packet, target, ack }));
        for _ in 0..2 {
            let response = puppet.answered();
            assert_eq!(response.request, RequestId(n as u64));
            assert_eq!(response.body, ResponseBody::Missing(MissingReason::Unreadable));
        }
    }
    cluster.nodes[0].io.emit("well", &()).unwrap();
    for client in &mut clients {
        client.expect(r#"2["well"]"#);
        client.nothing();
    }
}

fn wire_text(text: &str) -> sedge::MessageRef<'_> {
    sedge::MessageRef::Text(text)
}

fn socket(id: &str) -> RemoteSocketData<sedge::Value> {
    let nothing = sedge::Value::Null;
    RemoteSocketData { id: id.into(), handshake: nothing.clone(), rooms: vec![], data: nothing }
}

pub(crate) fn answers_nobody_waits_for<C: Carrier>() {
    let mut cluster = Cluster::<C>::new(2, 1);
    let puppet = cluster.puppet("puppet");
    let io = &cluster.nodes[0].io;
    let question = io.timeout(LONG).fetch_sockets();
    let (from, request) = puppet.asked();
    let list = |id| ResponseBody::Sockets(vec![socket(id)]);
    // Of another request, of another kind, and one of a process that was not asked.
    puppet.answer(from, RequestId(request.0 + 77), Part::WHOLE, list("unasked"));
    puppet.answer(from, request, Part::WHOLE, ResponseBody::Applied);
    puppet.answer(from, request, Part::WHOLE, ResponseBody::ClientCount(1));
    cluster.nodes[0].eventually(|bus| bus.answers_dropped == 3);
    puppet.answer(from, request, Part::WHOLE, list("right"));
    puppet.answer(from, request, Part::WHOLE, list("repeated"));
    let found = cluster.wait(question).unwrap();
    assert_eq!(found.iter().map(sedge::RemoteSocket::id).collect::<Vec<_>>(), ["right"]);
    puppet.answer(from, request, Part::WHOLE, list("late"));
    cluster.nodes[0].eventually(|bus| bus.answers_dropped >= 4);
    assert!(!cluster.nodes[1].bus().answers_dropped > 0);

    let question = io.timeout(SHORT).emit_with_ack::<u32>("question", &());
    let (from, request) = puppet.asked();
    puppet.answer(from, request, Part::WHOLE, ResponseBody::ClientCount(2));
    puppet.answer(from, request, Part::WHOLE, ResponseBody::ClientCount(1));
    for n in 0_u64..5 {
        puppet.answer(from, request, Part::WHOLE, ResponseBody::Ack(Some(n.into())));
    }
    assert_eq!(cluster.wait(question), Ok(vec![0, 1]), "as many as were counted, once");
}

pub(crate) fn several_shards_of_a_stranger<C: Carrier>() {
    let mut cluster = Cluster::<C>::new(1, 1);
    let puppet = cluster.puppet("puppet");
    let io = &cluster.nodes[0].io;
    let question = io.timeout(SHORT).sockets_join("r");
    let (from, request) = puppet.asked();
    for shard in [2, 0, 2] {
        puppet.answer(from, request, Part { shard, of: 3 }, ResponseBody::Applied);
    }
    let error = cluster.wait(question).unwrap_err();
    assert_eq!(words(&error.missing), ["shard 1 of puppet (it did not answer in time)"]);

    let question = io.timeout(LONG).fetch_sockets();
    let (from, request) = puppet.asked();
    let list = ResponseBody::Sockets(vec![socket("a")]);
    puppet.answer(from, request, Part { shard: 1, of: 2 }, list);
    puppet.leave();
    let error = cluster.wait(question).unwrap_err();
    assert_eq!(words(&error.missing), ["shard 0 of puppet (it has left)"]);
    assert_eq!(error.partial[0].id(), "a");
}

pub(crate) fn strangers_ask_too<C: Carrier>() {
    let mut cluster = Cluster::<C>::new(1, 2);
    let puppet = cluster.puppet("puppet");
    let mut clients = cluster.clients([&["r"]]);
    type Plain = Operation<std::convert::Infallible, sedge::Value>;
    let fetch = Plain::Fetch { target: Target::rooms("r"), request: RequestId(9) };
    puppet.publish(&wire::encode_operation("/", &fetch));
    let mut sockets = 0;
    let mut parts = Vec::new();
    for _ in 0..2 {
        let response = puppet.answered();
        let ResponseBody::Sockets(list) = response.body else { panic!("a list") };
        sockets += list.len();
        parts.push((response.part.shard, response.part.of));
    }
    parts.sort_unstable();
    assert_eq!((sockets, parts), (1, vec![(0, 2), (1, 2)]));
    // What expects no answer gets none: the next thing heard is the answer to a later question.
    let target = Target::rooms("r");
    let rooms = ["x".into()].into_iter().collect();
    let join = Plain::Join { target: target.clone(), rooms, request: None };
    puppet.publish(&wire::encode_operation("/", &join));
    let disconnect = Plain::Disconnect { target, close: false, request: Some(RequestId(10)) };
    puppet.publish(&wire::encode_operation("/", &disconnect));
    for _ in 0..2 {
        let response = puppet.answered();
        assert_eq!((response.request, response.body), (RequestId(10), ResponseBody::Applied));
    }
    clients[0].expect("1");
    let gone = eventually(DEADLINE, || cluster.nodes[0].io.socket_count() == 0);
    assert!(gone);
}

pub(crate) fn another_namespace_is_no_one_s<C: Carrier>() {
    let mut cluster = Cluster::<C>::new(1, 2);
    let puppet = cluster.puppet("puppet");
    type Plain<'a> = Operation<wire::WirePacket<'a>, sedge::Value>;
    let request = RequestId(1);
    let target = Target::everyone;
    let event = wire::WirePacket::Event { name: "e", args: vec![] };
    let questions = [
        (Plain::Fetch { target: target(), request }, ResponseBody::Sockets(vec![])),
        (
            Plain::Broadcast { packet: event, target: target(), ack: Some(request) },
            ResponseBody::ClientCount(0),
        ),
        (
            Plain::Leave { target: target(), rooms: target().rooms, request: Some(request) },
            ResponseBody::Applied,
        ),
        (
            Plain::ServerSideEmit { event: "e".into(), args: vec![], request: Some(request) },
            ResponseBody::Missing(MissingReason::NoListener),
        ),
    ];
    for (question, answer) in questions {
        puppet.publish(&wire::encode_operation("/nobody has it", &question));
        let response = puppet.answered();
        assert_eq!((response.part, response.body), (Part::WHOLE, answer));
    }
}
