//! Joining, leaving and disconnecting from afar.

use super::{Carrier, Client, Cluster, LONG, SHORT, words};

pub(crate) fn sockets_join_and_leave<C: Carrier>() {
    Cluster::<C>::each(|cluster| {
        let mut clients = cluster.clients([&["r"], &["r"], &[], &["r"], &["r"], &[]]);
        for node in &cluster.nodes {
            cluster.wait(node.io.in_("r").sockets_join(["x", "y"])).unwrap();
            cluster.wait(node.io.sockets_leave("y")).unwrap();
            node.io.to("x").emit("x", &()).unwrap();
            node.io.to("y").emit("y", &()).unwrap();
            for (n, client) in clients.iter_mut().enumerate() {
                if n % 3 < 2 {
                    client.expect(r#"2["x"]"#);
                }
                client.nothing();
            }
            // Locally, for the sockets of that process only.
            cluster.wait(node.io.in_("x").local().sockets_leave("x")).unwrap();
            let left = cluster.wait(node.io.in_("x").fetch_sockets()).unwrap().len();
            let here = node.io.in_("r").local().fetch_sockets();
            assert_eq!(left, 4 - cluster.wait(here).unwrap().len());
            cluster.wait(node.io.sockets_leave("x")).unwrap();
        }
    });
}

pub(crate) fn sockets_are_disconnected<C: Carrier>() {
    Cluster::<C>::each(|cluster| {
        for node in &cluster.nodes {
            let mut clients = cluster.clients([&["r"], &["r"], &["r"], &[]]);
            cluster.wait(node.io.in_("r").disconnect_sockets(false)).unwrap();
            assert_eq!(cluster.wait(node.io.fetch_sockets()).unwrap().len(), 1);
            for client in &mut clients[..3] {
                client.expect("1");
                client.client.join("/");
            }
            cluster.wait(node.io.disconnect_sockets(true)).unwrap();
            let left: u64 = cluster.nodes.iter().map(|node| node.io.socket_count()).sum();
            assert_eq!(left, 0);
            for client in &mut clients {
                client.expect("1");
                client.client.expect_end();
            }
        }
    });
}

pub(crate) fn who_does_not_answer_is_named<C: Carrier>() {
    let cluster = Cluster::<C>::new(3, 1);
    let mut clients = cluster.clients([&[], &[], &[]]);
    let io = &cluster.nodes[0].io;
    cluster.nodes[1].tap.hold(true);
    cluster.refuse("three", true);
    let error = cluster.wait(io.timeout(SHORT).sockets_join("x")).unwrap_err();
    let missing = ["three (it has too much to do)", "two (it did not answer in time)"];
    assert_eq!(words(&error.missing), missing);
    // It does what it was asked all the same, later.
    cluster.nodes[1].tap.hold(false);
    cluster.refuse("three", false);
    // (To ask for the members of the room would be too early: nobody has waited until they are in.)
    let found = cluster.wait(io.timeout(LONG).fetch_sockets()).unwrap();
    assert_eq!(found.iter().filter(|socket| socket.is_in("x")).count(), 2);
    clients.iter_mut().for_each(Client::nothing);
}
