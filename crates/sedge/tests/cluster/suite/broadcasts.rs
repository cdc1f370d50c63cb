//! Broadcasts without acknowledgements.

use sedge::extract::Ack;
use sedge::{PerMessageDeflate, Socket};
use sedge_testkit::{Form, Frame, PollingSession, RawFrame, RawWs, SioClient};

use super::{Carrier, Client, Cluster};

/// Everybody has been sent this, and nothing else.
#[track_caller]
fn all_expect(clients: &mut [Client], packet: &str) {
    for client in clients {
        client.expect(packet);
        client.nothing();
    }
}

pub(crate) fn all_sockets_of_all_processes<C: Carrier>() {
    Cluster::<C>::each(|cluster| {
        let mut clients = cluster.clients([&[], &[], &[], &[], &[], &[]]);
        for (n, node) in cluster.nodes.iter().enumerate() {
            node.io.emit("from", &n).unwrap();
            all_expect(&mut clients, &format!(r#"2["from",{n}]"#));
        }
        assert!(cluster.nodes.iter().all(|node| node.bus().unreadable == 0));
    });
}

pub(crate) fn rooms_span_processes<C: Carrier>() {
    Cluster::<C>::each(|cluster| {
        let mut clients = cluster.clients([&["a"], &["a", "b"], &["b"], &[], &["a"], &["a", "b"]]);
        for node in &cluster.nodes {
            let io = &node.io;
            io.to("a").emit("a", &1).unwrap();
            io.to(["a", "b"]).emit("union", &("once",)).unwrap();
            io.in_("a").except("b").emit("a, not b", &()).unwrap();
            io.except(["a", "b"]).emit("outside", &()).unwrap();
            let expected: [&[&str]; 6] = [
                &[r#"["a",1]"#, r#"["union","once"]"#, r#"["a, not b"]"#],
                &[r#"["a",1]"#, r#"["union","once"]"#],
                &[r#"["union","once"]"#],
                &[r#"["outside"]"#],
                &[r#"["a",1]"#, r#"["union","once"]"#, r#"["a, not b"]"#],
                &[r#"["a",1]"#, r#"["union","once"]"#],
            ];
            // From one sender in order, wherever the sockets are; but others may be elsewhere still.
            for (client, expected) in clients.iter_mut().zip(expected) {
                for packet in expected {
                    client.expect(&format!("2{packet}"));
                }
            }
            clients.iter_mut().for_each(Client::nothing);
        }
    });
}

pub(crate) fn sockets_are_rooms_everywhere<C: Carrier>() {
    Cluster::<C>::each(|cluster| {
        let mut clients = cluster.clients([&["r"], &["r"], &["r"]]);
        let ids = [0, 1, 2].map(|n: usize| clients[n].id.clone());
        for node in &cluster.nodes {
            for (n, id) in ids.iter().enumerate() {
                node.io.to(id).emit("to you", &n).unwrap();
                clients[n].expect(&format!(r#"2["to you",{n}]"#));
                node.io.to("r").except(id).emit("not you", &n).unwrap();
                node.io.except(id).emit("nor you", &n).unwrap();
                for (other, client) in clients.iter_mut().enumerate() {
                    if other != n {
                        client.expect(&format!(r#"2["not you",{n}]"#));
                        client.expect(&format!(r#"2["nor you",{n}]"#));
                    }
                    client.nothing();
                }
            }
            node.io.to([&ids[0], &ids[2]]).except(&ids[2]).emit("one", &()).unwrap();
            clients[0].expect(r#"2["one"]"#);
            clients.iter_mut().for_each(Client::nothing);
        }
    });
}

pub(crate) fn only_this_process<C: Carrier>() {
    Cluster::<C>::each(|cluster| {
        let mut clients = cluster.clients([&["r"], &["r"], &["r"]]);
        for (n, node) in cluster.nodes.iter().enumerate() {
            node.io.local().emit("local", &n).unwrap();
            node.io.to("r").local().emit("local room", &n).unwrap();
            node.io.emit("barrier", &n).unwrap();
            for (place, client) in clients.iter_mut().enumerate() {
                if place % cluster.nodes.len() == n {
                    client.expect(&format!(r#"2["local",{n}]"#));
                    client.expect(&format!(r#"2["local room",{n}]"#));
                }
                client.expect(&format!(r#"2["barrier",{n}]"#));
                client.nothing();
            }
            let found = cluster.wait(node.io.local().fetch_sockets()).unwrap();
            assert_eq!(found.len() as u64, node.io.socket_count());
        }
    });
}

pub(crate) fn sockets_leave_out_themselves<C: Carrier>() {
    Cluster::<C>::each(|cluster| {
        let mut clients = cluster.clients([&["r"], &["r"], &["r"], &[]]);
        for sender in 0..clients.len() {
            clients[sender].client.send(r#"2["to","r","hi"]"#);
            clients[sender].client.send(r#"2["others","all"]"#);
            for (n, client) in clients.iter_mut().enumerate().filter(|(n, _)| *n != sender) {
                if n < 3 {
                    client.expect(r#"2["said","hi"]"#);
                }
                client.expect(r#"2["said","all"]"#);
            }
            clients.iter_mut().for_each(Client::nothing);
        }
    });
}

pub(crate) fn order_is_kept<C: Carrier>() {
    Cluster::<C>::each(|cluster| {
        let mut clients =
            cluster.clients([&["a"], &["a", "b"], &["b"], &["a"], &["a", "b"], &["b"]]);
        let last = cluster.nodes.last().unwrap();
        for n in 0..200 {
            last.io.to(if n % 2 == 0 { "a" } else { "b" }).emit("n", &n).unwrap();
        }
        let parities = [Some(0), None, Some(1)];
        for (client, parity) in clients.iter_mut().zip(parities.into_iter().cycle()) {
            for n in (0..200).filter(|n| parity.is_none_or(|parity| n % 2 == parity)) {
                client.expect(&format!(r#"2["n",{n}]"#));
            }
            client.nothing();
        }
    });
}

pub(crate) fn attachments_cross<C: Carrier>() {
    Cluster::<C>::each(|cluster| {
        let mut clients = cluster.clients([&["r"], &["r"], &["r"]]);
        let data = bytes::Bytes::from_static(&[0, 1, 255]);
        cluster.nodes[0].io.to("r").emit("data", &(&data, "text", &data)).unwrap();
        for Client { client, .. } in &mut clients {
            let placeholder = |n| format!(r#"{{"_placeholder":true,"num":{n}}}"#);
            client.expect(&format!(r#"52-["data",{},"text",{}]"#, placeholder(0), placeholder(1)));
            assert_eq!(client.receive_frame(), Frame::Binary(data.to_vec()));
            assert_eq!(client.receive_frame(), Frame::Binary(data.to_vec()));
        }
        clients.iter_mut().for_each(Client::nothing);
    });
}

/// A client that takes compressed messages; the first bytes of the frames it is sent tell which are.
fn deflating(cluster: &Cluster<impl Carrier>, place: usize) -> RawWs {
    let headers = [("sec-websocket-extensions", "permessage-deflate")];
    let target = "/socket.io/?EIO=4&transport=websocket";
    let mut ws = RawWs::connect_with(cluster.node(place).address, target, &headers, b"");
    assert!(matches!(ws.receive(), Frame::Text(open) if open.starts_with('0')));
    ws.send("40");
    assert!(matches!(ws.receive(), Frame::Text(joined) if joined.starts_with("40")));
    ws
}

fn is_compressed(ws: &mut RawWs) -> bool {
    let Some(RawFrame { first, .. }) = ws.receive_raw() else { panic!("the connection ended") };
    first & 0x40 != 0
}

pub(crate) fn flags_hold_everywhere<C: Carrier>() {
    let deflate = || PerMessageDeflate { threshold: 64, ..PerMessageDeflate::default() };
    Cluster::<C>::each_with(
        |builder, _| builder.per_message_deflate(deflate()),
        |cluster| {
            let first = &cluster.nodes[0].io;
            let text = "a".repeat(1000);
            let mut clients: Vec<_> = (0..3).map(|n| deflating(&cluster, n)).collect();
            first.emit("long", &text).unwrap();
            first.compress(false).emit("long", &text).unwrap();
            for client in &mut clients {
                assert!(is_compressed(client));
                assert!(!is_compressed(client));
            }
            for place in 0..3 {
                let address = cluster.node(place).address;
                let mut polling = PollingSession::open(address, "/socket.io/", Form::V4);
                polling.send_text("40");
                assert!(!polling.poll().is_empty(), "the answer to CONNECT");
                // Nobody polls, so what is volatile is dropped.
                first.volatile().emit("lost", &()).unwrap();
                first.emit("kept", &()).unwrap();
                // Nor does anybody before both have arrived: an answer follows what was sent before.
                cluster.wait(first.fetch_sockets()).unwrap();
                polling.expect_text(r#"42["kept"]"#);
            }
        },
    );
}

pub(crate) fn namespaces_do_not_hear_each_other<C: Carrier>() {
    Cluster::<C>::each(|cluster| {
        for node in &cluster.nodes {
            let other = node.io.of("/other").unwrap();
            other.on_connect(async |socket: Socket| socket.join("r"));
            other.on("ping", async |ack: Ack| ack.send("pong"));
        }
        let mut clients = cluster.clients([&["r"], &["r"], &["r"]]);
        for client in &mut clients {
            client.client.join("/other");
        }
        for node in &cluster.nodes {
            node.io.of("/other").unwrap().to("r").emit("other", &()).unwrap();
            node.io.to("r").emit("root", &()).unwrap();
            for client in &mut clients {
                client.expect(r#"2/other,["other"]"#);
                client.expect(r#"2["root"]"#);
                client.nothing();
            }
        }
    });
}

pub(crate) fn old_clients_have_their_ids<C: Carrier>() {
    Cluster::<C>::each_with(
        |builder, _| builder.allow_eio3(true),
        |cluster| {
            for node in &cluster.nodes {
                node.io.of("/chat").unwrap();
            }
            let old = |place: usize| {
                let target = "/socket.io/?EIO=3&transport=websocket";
                let mut client = SioClient::open_at(cluster.node(place).address, target);
                client.expect("0");
                client.send("0/chat");
                client.expect("0/chat,");
                client
            };
            let mut clients: Vec<_> = (0..3).map(old).collect();
            let ids: Vec<_> = clients.iter().map(|client| client.sid().to_owned()).collect();
            for node in &cluster.nodes {
                for (client, id) in clients.iter_mut().zip(&ids) {
                    node.io.to(id).emit("root", &()).unwrap();
                    client.expect(r#"2["root"]"#);
                    let chat = node.io.of("/chat").unwrap();
                    chat.to(format!("/chat#{id}")).emit("chat", &()).unwrap();
                    client.expect(r#"2/chat,["chat"]"#);
                    let data = bytes::Bytes::from_static(b"abc");
                    node.io.to(id).emit("data", &(&data,)).unwrap();
                    client.expect(r#"51-["data",{"_placeholder":true,"num":0}]"#);
                    assert_eq!(client.receive_frame(), Frame::Binary(b"\x04abc".to_vec()));
                }
            }
        },
    );
}
