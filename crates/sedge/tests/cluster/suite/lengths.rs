//! Lists, events and answers that are longer than one message of the bus may be.

use sedge::extract::{Ack, Data};
use sedge::{EmitError, Socket};
use sedge_testkit::SioClient;

use super::{Carrier, Client, Cluster, LONG, words};

/// Longer than any carrier takes; the largest message of both is 16 MiB.
const TOO_LONG: usize = 17 << 20;

fn long_text() -> String {
    "x".repeat(TOO_LONG)
}

/// The sockets of the second process have data of so many bytes.
fn with_data<C: Carrier>(shards: usize) -> Cluster<C> {
    let cluster = Cluster::<C>::new(2, shards);
    cluster.nodes[1].io.on("data", async |socket: Socket, Data(len): Data<usize>, ack: Ack| {
        socket.set_data(&"x".repeat(len)).unwrap();
        ack.send(&())
    });
    cluster
}

fn set_data(client: &mut SioClient, len: usize) {
    client.expect_nothing_but(&format!(r#"21["data",{len}]"#), "31[]");
}

pub(crate) fn a_long_list_comes_in_parts<C: Carrier>() {
    for shards in [1, 2] {
        let cluster = with_data::<C>(shards);
        let mut clients: Vec<Client> = (0..300).map(|_| cluster.nodes[1].client(&["r"])).collect();
        for client in &mut clients {
            set_data(&mut client.client, 64 * 1024);
        }
        let all = cluster.wait(cluster.nodes[0].io.timeout(LONG).fetch_sockets()).unwrap();
        let mut found: Vec<_> = all.iter().map(|socket| socket.id().to_owned()).collect();
        let mut ids: Vec<_> = clients.iter().map(|client| client.id.clone()).collect();
        found.sort_unstable();
        ids.sort_unstable();
        assert_eq!(found, ids, "each of them once");
        let bytes: usize = all.iter().map(|socket| socket.data::<String>().unwrap().len()).sum();
        assert!(bytes > TOO_LONG, "more than one message could carry");
        assert!(all.iter().all(|socket| socket.is_in("r")));
        // Those of this process too, which needs no bus.
        assert_eq!(cluster.wait(cluster.nodes[1].io.local().fetch_sockets()).unwrap().len(), 300);
        let bus = cluster.nodes[1].bus();
        assert_eq!((bus.refused, bus.too_long, bus.lost), (0, 0, 0));
        clients.iter_mut().for_each(Client::nothing);
    }
}

pub(crate) fn a_socket_too_long_is_left_out_and_told<C: Carrier>() {
    let cluster = with_data::<C>(1);
    let mut clients = [(); 3].map(|()| cluster.nodes[1].client(&[]));
    set_data(&mut clients[1].client, TOO_LONG);
    for _ in 0..2 {
        let error = cluster.wait(cluster.nodes[0].io.timeout(LONG).fetch_sockets()).unwrap_err();
        assert_eq!(words(&error.missing), ["two (the message is too long for the bus)"]);
        let mut found: Vec<_> = error.partial.iter().map(sedge::RemoteSocket::id).collect();
        let mut others = [clients[0].id.as_str(), clients[2].id.as_str()];
        found.sort_unstable();
        others.sort_unstable();
        assert_eq!(found, others);
    }
    assert_eq!(cluster.nodes[1].bus().too_long, 2);
    set_data(&mut clients[1].client, 1);
    assert_eq!(cluster.wait(cluster.nodes[0].io.fetch_sockets()).unwrap().len(), 3);
}

pub(crate) fn whoever_emits_too_much_is_told<C: Carrier>() {
    let cluster = Cluster::<C>::new(2, 2);
    let mut clients = cluster.clients([&["here"], &["there"]]);
    let (io, text) = (&cluster.nodes[0].io, long_text());
    let too_long = |error: &EmitError| matches!(error, EmitError::TooLong(len) if *len > TOO_LONG);
    assert!(too_long(&io.to("there").emit("long", &text).unwrap_err()));
    assert_eq!(io.to("nobody").emit("long", &text), Ok(()), "nobody misses it");
    let acks = cluster.wait(io.to("there").timeout(LONG).emit_with_ack::<()>("long", &text));
    let error = acks.unwrap_err();
    assert!(error.emit.as_ref().is_some_and(too_long), "{error}");
    assert_eq!(words(&error.missing_responders), ["two (the message is too long for the bus)"]);
    assert!(too_long(&io.server_side_emit("long", &text).unwrap_err()));
    let answers = io.server_side_emit_with_ack::<()>("long", &text).timeout(LONG);
    let error = cluster.wait(answers).unwrap_err();
    assert_eq!(words(&error.missing), ["two (the message is too long for the bus)"]);
    let bus = cluster.nodes[0].bus();
    assert_eq!((bus.too_long, bus.refused), (4, 0), "a process that reads is not blamed");
    io.emit("short", &()).unwrap();
    for client in &mut clients {
        client.expect(r#"2["short"]"#);
        client.nothing();
    }
}

pub(crate) fn answers_that_are_too_long_end_the_wait<C: Carrier>() {
    let cluster = Cluster::<C>::with(2, 1, |builder, _| {
        builder.max_payload(2 * TOO_LONG).outbox_bytes_max(4 * TOO_LONG)
    });
    cluster.nodes[1]
        .io
        .on_server_side("say", async |Data(len): Data<usize>, ack: Ack| ack.send(&"x".repeat(len)));
    let io = &cluster.nodes[0].io;
    let ask = |len| cluster.wait(io.server_side_emit_with_ack::<String>("say", &len).timeout(LONG));
    let error = ask(TOO_LONG).unwrap_err();
    assert_eq!(words(&error.missing), ["two (the message is too long for the bus)"]);
    assert_eq!(ask(3), Ok(vec!["xxx".to_owned()]));
    // A client's acknowledgement counts as one that does not come.
    let mut client = cluster.nodes[1].client(&[]);
    let question = io.timeout(LONG).emit_with_ack::<String>("question", &());
    let id = client.asked(r#"["question"]"#);
    client.acknowledge(id, &format!(r#"["{}"]"#, long_text()));
    let error = cluster.wait(question).unwrap_err();
    assert_eq!((error.missing, error.responses.len()), (1, 0));
    assert_eq!(cluster.nodes[1].bus().too_long, 2);
    client.nothing();
}
