//! Broadcasts that clients of several processes acknowledge.

use sedge::MissingReason;

use super::{Carrier, Client, Cluster, LONG, SHORT, words};

const QUESTION: &str = r#"["question","?"]"#;

pub(crate) fn everybody_acknowledges<C: Carrier>() {
    Cluster::<C>::each(|cluster| {
        let mut clients = cluster.clients([&["r"], &["r"], &["r"], &["r"], &[]]);
        for node in &cluster.nodes {
            let question = node.io.to("r").emit_with_ack::<String>("question", "?");
            for client in &mut clients[..4] {
                let ack = client.asked(QUESTION);
                assert!(ack >= 1 << 30, "out of the way of single sockets' acknowledgements");
                let args = format!(r#"["{}","second"]"#, client.id);
                client.acknowledge(ack, &args);
            }
            let mut answers = cluster.wait(question).unwrap();
            let mut ids: Vec<_> = clients[..4].iter().map(|client| client.id.clone()).collect();
            answers.sort();
            ids.sort();
            assert_eq!(answers, ids);
            let nobody = node.io.to("nobody").emit_with_ack::<String>("question", "?");
            assert_eq!(cluster.wait(nobody), Ok(vec![]));
            let one = node.io.to(&clients[1].id).emit_with_ack::<()>("question", "?");
            let ack = clients[1].asked(QUESTION);
            clients[1].acknowledge(ack, "[]");
            assert_eq!(cluster.wait(one), Ok(vec![()]));
            clients.iter_mut().for_each(Client::nothing);
        }
    });
}

pub(crate) fn processes_ask_one_socket_at_once<C: Carrier>() {
    Cluster::<C>::each(|cluster| {
        let mut clients = cluster.clients([&[], &[], &[]]);
        let ask = |n: usize| cluster.node(n).io.emit_with_ack::<String>("question", &n);
        let questions: Vec<_> = (0..9).map(ask).collect();
        for client in &mut clients {
            let mut acks = Vec::new();
            for _ in 0..9 {
                let packet = client.client.receive();
                let (ack, rest) = packet[1..].split_once('[').unwrap();
                let n = rest.split_once(',').unwrap().1.trim_end_matches(']').to_owned();
                acks.push((ack.parse::<u32>().unwrap(), n));
            }
            acks.sort();
            assert!(acks.is_sorted_by(|a, b| a.0 < b.0), "no id is used twice: {acks:?}");
            for (ack, n) in acks {
                client.acknowledge(ack, &format!(r#"["{n} of {}"]"#, client.id));
            }
        }
        for (n, question) in questions.into_iter().enumerate() {
            let mut answers = cluster.wait(question).unwrap();
            let mut expected: Vec<_> = clients.iter().map(|c| format!("{n} of {}", c.id)).collect();
            answers.sort();
            expected.sort();
            assert_eq!(answers, expected);
        }
    });
}

pub(crate) fn silent_clients_are_missing<C: Carrier>() {
    Cluster::<C>::each(|cluster| {
        let mut clients = cluster.clients([&[], &[], &[]]);
        let question = cluster.nodes[0].io.timeout(SHORT).emit_with_ack::<u32>("question", "?");
        let acks: Vec<_> = clients.iter_mut().map(|client| client.asked(QUESTION)).collect();
        clients[1].acknowledge(acks[1], "[1]");
        clients[2].acknowledge(acks[2], r#"["no number"]"#);
        let error = cluster.wait(question).unwrap_err();
        assert_eq!((error.responses, error.missing, error.unreadable), (vec![1], 1, 1));
        assert_eq!(words(&error.missing_responders), [""; 0], "all have counted");
        // Late ones do no harm.
        clients[0].acknowledge(acks[0], "[1]");
        clients.iter_mut().for_each(Client::nothing);
    });
}

pub(crate) fn nobody_is_waited_for_in_vain<C: Carrier>() {
    Cluster::<C>::each(|cluster| {
        let mut clients = Vec::from(cluster.clients([&[], &[], &[]]));
        let question = cluster.nodes[0].io.timeout(LONG).emit_with_ack::<u32>("question", "?");
        let acks: Vec<_> = clients.iter_mut().map(|client| client.asked(QUESTION)).collect();
        clients[0].acknowledge(acks[0], "[1]");
        for client in clients.drain(1..) {
            client.client.abort();
        }
        let error = cluster.wait(question).unwrap_err();
        assert_eq!((error.responses, error.missing, error.unreadable), (vec![1], 2, 0));
        assert_eq!(words(&error.missing_responders), [""; 0]);
    });
}

pub(crate) fn a_process_that_leaves_is_named<C: Carrier>() {
    for shards in [1, 2] {
        let cluster = Cluster::<C>::new(3, shards);
        let mut clients = cluster.clients([&[], &[], &[]]);
        let question = cluster.nodes[0].io.timeout(LONG).emit_with_ack::<u32>("question", "?");
        let acks: Vec<_> = clients.iter_mut().map(|client| client.asked(QUESTION)).collect();
        clients[0].acknowledge(acks[0], "[1]");
        clients[2].acknowledge(acks[2], "[3]");
        sedge::Bus::close(&*cluster.nodes[1].tap);
        let error = cluster.wait(question).unwrap_err();
        let mut responses = error.responses.clone();
        responses.sort_unstable();
        assert_eq!(responses, [1, 3]);
        let missing = &error.missing_responders;
        assert!(missing.iter().all(|missing| missing.reason == MissingReason::Left), "{error}");
        assert!(missing.iter().all(|missing| missing.name.ends_with("two")), "{error}");
        assert!(!missing.is_empty(), "{error}");
        // The others go on as if it had never been there.
        let question = cluster.nodes[0].io.timeout(LONG).emit_with_ack::<u32>("question", "?");
        for client in [0, 2] {
            let ack = clients[client].asked(QUESTION);
            clients[client].acknowledge(ack, "[2]");
        }
        assert_eq!(cluster.wait(question), Ok(vec![2, 2]));
    }
}

pub(crate) fn a_process_that_is_late_is_named<C: Carrier>() {
    let cluster = Cluster::<C>::new(3, 2);
    let mut clients = cluster.clients([&[], &[], &[]]);
    cluster.nodes[2].tap.hold(true);
    let io = &cluster.nodes[0].io;
    let question = io.timeout(SHORT).emit_with_ack::<u32>("question", "?");
    for client in &mut clients[..2] {
        let ack = client.asked(QUESTION);
        client.acknowledge(ack, "[1]");
    }
    let error = cluster.wait(question).unwrap_err();
    assert_eq!((error.responses, error.missing), (vec![1, 1], 0));
    assert_eq!(words(&error.missing_responders), ["three (it did not answer in time)"]);
    let dropped = cluster.nodes[0].bus().answers_dropped;
    cluster.nodes[2].tap.hold(false);
    clients[2].asked(QUESTION);
    cluster.nodes[0].eventually(|bus| bus.answers_dropped > dropped);
}

pub(crate) fn a_process_that_refuses_is_named<C: Carrier>() {
    let cluster = Cluster::<C>::new(3, 2);
    let mut clients = cluster.clients([&[], &[], &[]]);
    cluster.refuse("three", true);
    let question = cluster.nodes[0].io.timeout(LONG).emit_with_ack::<u32>("question", "?");
    for client in &mut clients[..2] {
        let ack = client.asked(QUESTION);
        client.acknowledge(ack, "[1]");
    }
    let error = cluster.wait(question).unwrap_err();
    assert_eq!((error.responses, error.missing), (vec![1, 1], 0));
    assert_eq!(words(&error.missing_responders), ["three (it has too much to do)"]);
    cluster.refuse("three", false);
    clients[2].nothing();
}

pub(crate) fn a_question_may_be_forgotten<C: Carrier>() {
    let cluster = Cluster::<C>::new(2, 1);
    let mut clients = cluster.clients([&[], &[]]);
    for _ in 0..10 {
        drop(cluster.nodes[0].io.timeout(LONG).emit_with_ack::<u32>("question", "?"));
        for client in &mut clients {
            let ack = client.asked(QUESTION);
            client.acknowledge(ack, "[1]");
        }
    }
    assert_eq!(cluster.nodes[0].bus().requests, 0);
    clients.iter_mut().for_each(Client::nothing);
}
