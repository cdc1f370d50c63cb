//! Sockets of other processes are found, and acted on.

use sedge::extract::{Auth, Data};
use sedge::{AckError, RemoteSocket, Socket, Value};
use sedge_testkit::SioClient;

use super::{Carrier, Client, Cluster, LONG, SHORT, words};

fn ids(sockets: &[RemoteSocket]) -> Vec<&str> {
    let mut ids: Vec<_> = sockets.iter().map(RemoteSocket::id).collect();
    ids.sort_unstable();
    ids
}

pub(crate) fn sockets_of_all_processes_are_found<C: Carrier>() {
    Cluster::<C>::each(|cluster| {
        let clients = cluster.clients([&["r"], &["r", "s"], &[], &["r"]]);
        let mut in_r = [0, 1, 3].map(|n: usize| clients[n].id.as_str());
        in_r.sort_unstable();
        for node in &cluster.nodes {
            assert_eq!(cluster.wait(node.io.fetch_sockets()).unwrap().len(), 4);
            let found = cluster.wait(node.io.in_("r").fetch_sockets()).unwrap();
            assert_eq!(ids(&found), in_r);
            let id = &clients[1].id;
            let found = cluster.wait(node.io.to(id).fetch_sockets()).unwrap();
            let [remote] = found.as_slice() else { panic!("{found:?}") };
            assert_eq!(remote.id(), id);
            assert!(remote.is_in("r") && remote.is_in("s") && &*remote.rooms()[0] == id.as_str());
            let found = cluster.wait(node.io.in_("r").except(id).fetch_sockets()).unwrap();
            assert_eq!(found.len(), 2);
            assert!(cluster.wait(node.io.in_("nobody").fetch_sockets()).unwrap().is_empty());
        }
    });
}

pub(crate) fn what_sockets_carry_crosses<C: Carrier>() {
    Cluster::<C>::each(|cluster| {
        for node in &cluster.nodes {
            node.io.on("set", async |socket: Socket, Data(data): Data<Value>| {
                socket.set_data(&data).unwrap();
            });
            node.io.on_connect(async |_: Auth<Value>| {});
        }
        let mut client = SioClient::open(cluster.nodes.last().unwrap().address);
        client.send(r#"0{"token":[1,null,"ä"]}"#);
        let id = client.receive().split('"').nth(3).unwrap().to_owned();
        client.send(r#"2["set",{"name":"Ada","nested":[{"n":-1.5}],"big":18446744073709551615}]"#);
        client.expect_nothing_but(r#"29["ping"]"#, r#"39["pong"]"#);
        for node in &cluster.nodes {
            let found = cluster.wait(node.io.to(&id).fetch_sockets()).unwrap();
            let [remote] = found.as_slice() else { panic!("{found:?}") };
            let data: Value = remote.data().unwrap();
            assert_eq!(data["name"].as_str(), Some("Ada"));
            assert_eq!(data["nested"][0]["n"].as_f64(), Some(-1.5));
            assert_eq!(data["big"].as_u64(), Some(u64::MAX));
            let handshake = remote.handshake();
            assert_eq!(handshake["query"]["EIO"].as_str(), Some("4"));
            assert_eq!(handshake["address"].as_str(), Some("127.0.0.1"));
            assert_eq!(handshake["auth"]["token"][2].as_str(), Some("ä"));
            assert_eq!(handshake["headers"]["host"].as_str(), Some("localhost"));
        }
    });
}

pub(crate) fn remote_sockets_can_be_acted_on<C: Carrier>() {
    Cluster::<C>::each(|cluster| {
        for node in &cluster.nodes {
            let mut clients = cluster.clients([&[], &[], &[]]);
            for client in &mut clients {
                let found = cluster.wait(node.io.to(&client.id).fetch_sockets()).unwrap();
                let [remote] = found.as_slice() else { panic!("{found:?}") };
                remote.emit("hi", &1).unwrap();
                client.expect(r#"2["hi",1]"#);
                cluster.wait(remote.join(["r", "s"])).unwrap();
                node.io.to("r").emit("in r", &()).unwrap();
                client.expect(r#"2["in r"]"#);
                cluster.wait(remote.leave("r")).unwrap();
                let found = cluster.wait(node.io.in_("r").fetch_sockets()).unwrap();
                assert!(found.is_empty());
                node.io.to("s").emit("in s", &()).unwrap();
                client.expect(r#"2["in s"]"#);
                cluster.wait(remote.disconnect(true)).unwrap();
                client.expect("1");
                client.client.expect_end();
                assert_eq!(cluster.wait(remote.disconnect(true)), Ok(()), "nobody is there");
            }
        }
    });
}

pub(crate) fn remote_sockets_acknowledge<C: Carrier>() {
    Cluster::<C>::each(|cluster| {
        let io = &cluster.nodes[0].io;
        let mut client = cluster.nodes.last().unwrap().client(&[]);
        let found = cluster.wait(io.fetch_sockets()).unwrap();
        let remote = found[0].timeout(LONG);
        let mut ask = |args| {
            let answer = remote.emit_with_ack::<u32>("question", &());
            let ack = client.asked(r#"["question"]"#);
            client.acknowledge(ack, args);
            cluster.wait(answer)
        };
        assert_eq!(ask("[7,8]"), Ok(7));
        assert!(matches!(ask(r#"["no number"]"#), Err(AckError::Decode(_))));
        assert!(matches!(ask("[]"), Err(AckError::Decode(_))));
        let silent = remote.timeout(SHORT).emit_with_ack::<u32>("question", &());
        assert_eq!(cluster.wait(silent), Err(AckError::Timeout));
        client.asked(r#"["question"]"#);
        let gone = remote.emit_with_ack::<u32>("question", &());
        client.asked(r#"["question"]"#);
        client.client.abort();
        assert_eq!(cluster.wait(gone), Err(AckError::Disconnected));
        let gone = remote.emit_with_ack::<u32>("question", &());
        assert_eq!(cluster.wait(gone), Err(AckError::Disconnected));
    });
}

pub(crate) fn a_partial_list_names_who_is_missing<C: Carrier>() {
    let cluster = Cluster::<C>::new(3, 2);
    let mut clients = cluster.clients([&[], &[], &[]]);
    let io = &cluster.nodes[0].io;
    cluster.nodes[1].tap.hold(true);
    let error = cluster.wait(io.timeout(SHORT).fetch_sockets()).unwrap_err();
    assert_eq!(words(&error.missing), ["two (it did not answer in time)"]);
    assert_eq!(error.to_string(), "without an answer of two (it did not answer in time)");
    assert_eq!(error.partial.len(), 2);
    cluster.refuse("three", true);
    let question = io.timeout(LONG).fetch_sockets();
    sedge::Bus::close(&*cluster.nodes[1].tap);
    let error = cluster.wait(question).unwrap_err();
    assert_eq!(words(&error.missing), ["three (it has too much to do)", "two (it has left)"]);
    assert_eq!(ids(&error.partial), [clients[0].id.as_str()]);
    cluster.refuse("three", false);
    assert_eq!(cluster.wait(io.timeout(LONG).fetch_sockets()).unwrap().len(), 2);
    cluster.nodes[1].tap.hold(false);
    clients.iter_mut().for_each(Client::nothing);
}
