//! Processes are sent what concerns their sockets, and nothing else.

use super::{Carrier, Client, Cluster};

/// How many messages have come to each process.
fn received<C>(cluster: &Cluster<C>) -> Vec<u64> {
    cluster.nodes.iter().map(|node| node.tap.received()).collect()
}

/// Does something at the first process, waits until it has arrived wherever it goes, and says how
/// many messages came to each process for it.
fn cost<C: Carrier>(
    cluster: &Cluster<C>,
    barriers: &mut [Client],
    act: impl FnOnce(&sedge::Server),
) -> Vec<u64> {
    let before = received(cluster);
    act(&cluster.nodes[0].io);
    cluster.nodes[0].io.to("barrier").emit("barrier", &()).unwrap();
    for client in barriers {
        client.expect(r#"2["barrier"]"#);
    }
    let barrier = |n: usize| u64::from(n > 0);
    let costs = received(cluster).into_iter().zip(before).enumerate();
    costs.map(|(n, (after, before))| after - before - barrier(n)).collect()
}

pub(crate) fn a_room_is_sent_to_its_members_processes<C: Carrier>() {
    for shards in [1, 2] {
        let cluster = Cluster::<C>::new(3, shards);
        let mut barriers = cluster.clients([&["barrier"], &["barrier"], &["barrier"]]);
        let mut two = cluster.nodes[1].client(&["r"]);
        let id = two.id.clone();
        let to_r = |io: &sedge::Server| io.to("r").emit("r", &()).unwrap();
        assert_eq!(cost(&cluster, &mut barriers, to_r), [0, 1, 0]);
        assert_eq!(
            cost(&cluster, &mut barriers, |io| io.to(&id).emit("r", &()).unwrap()),
            [0, 1, 0]
        );
        let nobody = |io: &sedge::Server| io.to("nobody").emit("r", &()).unwrap();
        assert_eq!(cost(&cluster, &mut barriers, nobody), [0, 0, 0]);
        let both = |io: &sedge::Server| io.to(["nobody", "r", "barrier"]).local().emit("x", &());
        assert_eq!(cost(&cluster, &mut barriers[1..], |io| both(io).unwrap()), [0, 0, 0]);
        barriers[0].expect(r#"2["x"]"#);
        barriers[0].expect(r#"2["barrier"]"#);
        for _ in 0..2 {
            two.expect(r#"2["r"]"#);
        }
        two.nothing();
        // Who is asked is only who may have something to say.
        let (asked, found) = (received(&cluster), cluster.nodes[0].io.in_("r").fetch_sockets());
        assert_eq!(cluster.wait(found).unwrap().len(), 1);
        let asked: Vec<_> =
            received(&cluster).iter().zip(asked).map(|(now, then)| now - then).collect();
        assert_eq!(asked, [shards as u64, 1, 0], "a question, and an answer from each shard");
    }
}

pub(crate) fn a_room_crosses_once_for_all_members<C: Carrier>() {
    let cluster = Cluster::<C>::new(2, 2);
    let mut barriers = cluster.clients([&["barrier"], &["barrier"]]);
    let mut members: Vec<_> = (0..20).map(|_| cluster.nodes[1].client(&["r", "s"])).collect();
    let act = |io: &sedge::Server| io.to(["r", "s"]).emit("r", &()).unwrap();
    assert_eq!(cost(&cluster, &mut barriers, act), [0, 1]);
    for member in &mut members {
        member.expect(r#"2["r"]"#);
        member.nothing();
    }
}

pub(crate) fn who_has_left_is_not_sent_to<C: Carrier>() {
    for shards in [1, 2] {
        let cluster = Cluster::<C>::new(3, shards);
        let mut barriers = cluster.clients([&["barrier"], &["barrier"], &["barrier"]]);
        let to_r = |io: &sedge::Server| io.to("r").emit("r", &()).unwrap();
        let mut members: Vec<_> = (0..4).map(|_| cluster.nodes[1].client(&["r"])).collect();
        assert_eq!(cost(&cluster, &mut barriers, to_r), [0, 1, 0]);
        for member in &mut members[1..] {
            member.expect(r#"2["r"]"#);
            member.leave("r");
        }
        assert_eq!(cost(&cluster, &mut barriers, to_r), [0, 1, 0], "one is left");
        members[0].expect(r#"2["r"]"#);
        members[0].expect(r#"2["r"]"#);
        members[0].leave("r");
        assert_eq!(cost(&cluster, &mut barriers, to_r), [0, 0, 0]);
        members[0].join("r");
        assert_eq!(cost(&cluster, &mut barriers, to_r), [0, 1, 0], "and again");
        for (n, member) in members.iter_mut().enumerate() {
            if n == 0 {
                member.expect(r#"2["r"]"#);
            }
            member.nothing();
        }
    }
}

pub(crate) fn whole_namespaces<C: Carrier>() {
    let cluster = Cluster::<C>::new(3, 2);
    for node in &cluster.nodes {
        node.io.of("/other").unwrap();
    }
    let mut barriers = cluster.clients([&["barrier"], &["barrier"], &["barrier"]]);
    let other = |io: &sedge::Server| io.of("/other").unwrap().emit("other", &()).unwrap();
    assert_eq!(cost(&cluster, &mut barriers, other), [0, 0, 0]);
    let mut client = cluster.nodes[2].client(&[]);
    client.client.join("/other");
    assert_eq!(cost(&cluster, &mut barriers, other), [0, 0, 1]);
    client.expect(r#"2/other,["other"]"#);
    client.client.send("1/other,");
    client.nothing();
    assert_eq!(cost(&cluster, &mut barriers, other), [0, 0, 0]);
}

pub(crate) fn rooms_end_with_their_last_member<C: Carrier>() {
    let cluster = Cluster::<C>::new(2, 2);
    let tap = &cluster.nodes[1].tap;
    assert_eq!(tap.topics(), [""; 0]);
    let mut clients: Vec<_> = (0..4).map(|_| cluster.nodes[1].client(&["r", "s"])).collect();
    assert_eq!(tap.topics().len(), 1 + 2 + 4, "the namespace, the rooms, and each socket");
    clients[0].leave("s");
    clients[0].leave("never joined");
    // A socket's own room is not one that it can join or leave.
    let own = clients[0].id.clone();
    clients[0].join(&own);
    clients[0].leave(&own);
    assert_eq!(tap.topics().len(), 7);
    clients.pop().unwrap().abort();
    clients.pop().unwrap().close();
    let settled = sedge_testkit::eventually(sedge_testkit::DEADLINE, || tap.topics().len() == 5);
    assert!(settled, "{:?}", tap.topics());
    cluster.wait(cluster.nodes[0].io.disconnect_sockets(true)).unwrap();
    assert_eq!(tap.topics(), [""; 0]);
}

pub(crate) fn joining_takes_effect_at_once<C: Carrier>() {
    Cluster::<C>::each(|cluster| {
        let mut member = cluster.nodes.last().unwrap().client(&[]);
        for n in 0..50 {
            let room = format!("room {n}");
            member.join(&room);
            cluster.nodes[0].io.to(&room).emit("n", &n).unwrap();
            member.expect(&format!(r#"2["n",{n}]"#));
            if n % 2 == 0 {
                member.leave(&room);
            }
        }
    });
}

impl Client {
    fn abort(self) {
        self.client.abort();
    }

    fn close(self) {
        self.client.close();
    }
}
