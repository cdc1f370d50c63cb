//! The chat demo keeps its contract (`demo/CONTRACT.md`).

mod common;

use common::Sedge;
use sedge_testkit::SioClient;

/// A client that has been told who serves it.
fn connect(server: &Sedge) -> (SioClient, String) {
    let (mut client, id) = SioClient::connect(server.address);
    let served = client.receive();
    assert!(
        served.starts_with("2[\"server\",{\"node\":\"here\",\"worker\":0,\"shard\":"),
        "{served}"
    );
    (client, id)
}

/// Receives until a packet begins so, and returns it with what came before.
fn until(client: &mut SioClient, prefix: &str) -> (String, Vec<String>) {
    let mut before = Vec::new();
    loop {
        let packet = client.receive();
        if packet.starts_with(prefix) {
            return (packet, before);
        }
        before.push(packet);
    }
}

/// Receives until the list of a room's people is without this one. Lists made before somebody left
/// can still come after the notice.
fn until_without(client: &mut SioClient, room: &str, id: &str) -> String {
    loop {
        let (people, _) = until(client, &format!("2[\"people\",{{\"room\":\"{room}\""));
        if !people.contains(id) {
            return people;
        }
    }
}

fn hello(client: &mut SioClient, name: &str, room: &str) -> String {
    client.send(&format!("21[\"hello\",{{\"name\":\"{name}\",\"room\":\"{room}\"}}]"));
    until(client, "31[").0
}

fn start() -> Sedge {
    Sedge::start(&["--node-name", "here"])
}

#[test]
fn two_people_meet_talk_and_part() {
    let server = start();
    let (mut ada, ada_id) = connect(&server);
    let (mut grace, grace_id) = connect(&server);

    let entered = hello(&mut ada, " Ada ", "tea");
    let alone = format!("[{{\"id\":\"{ada_id}\",\"name\":\"Ada\",\"worker\":0}}]");
    let rooms = "[{\"name\":\"lobby\",\"count\":0},{\"name\":\"tea\",\"count\":1}]";
    assert_eq!(
        entered,
        format!(
            "31[{{\"ok\":true,\"id\":\"{ada_id}\",\"name\":\"Ada\",\"room\":\"tea\",\
             \"rooms\":{rooms},\"people\":{alone}}}]"
        )
    );

    assert!(hello(&mut grace, "Grace", "tea").contains("\"count\":2"));
    let (notice, _) = until(&mut ada, "2[\"notice\"");
    assert!(notice.contains("\"kind\":\"join\",\"name\":\"Grace\",\"room\":\"tea\""), "{notice}");
    let both = format!(
        "[{{\"id\":\"{ada_id}\",\"name\":\"Ada\",\"worker\":0}},\
         {{\"id\":\"{grace_id}\",\"name\":\"Grace\",\"worker\":0}}]"
    );
    until(&mut ada, &format!("2[\"people\",{{\"room\":\"tea\",\"people\":{both}}}]"));
    until(
        &mut ada,
        "2[\"rooms\",[{\"name\":\"lobby\",\"count\":0},{\"name\":\"tea\",\"count\":2}]]",
    );

    // The message goes to the sender too, before the acknowledgement.
    ada.send("22[\"say\",{\"text\":\" Hello\\nGrace \",\"key\":\"k1\"}]");
    let (ack, before) = until(&mut ada, "32[");
    assert!(ack.starts_with("32[{\"ok\":true,\"id\":\""), "{ack}");
    let message = before.iter().find(|packet| packet.starts_with("2[\"message\""));
    let message = message.expect("the message before the acknowledgement").clone();
    let parts = format!(
        "\"key\":\"k1\",\"from\":\"Ada\",\"fromId\":\"{ada_id}\",\"text\":\"Hello\\nGrace\",\"at\":1"
    );
    assert!(message.contains(&parts), "{message}");
    assert_eq!(until(&mut grace, "2[\"message\"").0, message);

    ada.send("2[\"typing\",{\"on\":true}]");
    let typing = |on| format!("2[\"typing\",{{\"id\":\"{ada_id}\",\"name\":\"Ada\",\"on\":{on}}}]");
    until(&mut grace, &typing(true));
    ada.abort();
    until(&mut grace, &typing(false));
    let (notice, _) = until(&mut grace, "2[\"notice\"");
    assert!(notice.contains("\"kind\":\"leave\",\"name\":\"Ada\",\"room\":\"tea\""), "{notice}");
    assert!(until_without(&mut grace, "tea", &ada_id).contains(&grace_id));
    until(
        &mut grace,
        "2[\"rooms\",[{\"name\":\"lobby\",\"count\":0},{\"name\":\"tea\",\"count\":1}]]",
    );
}

#[test]
fn joining_another_room_leaves_the_old_one() {
    let server = start();
    let (mut ada, ada_id) = connect(&server);
    let (mut grace, _) = connect(&server);
    hello(&mut ada, "Ada", "lobby");
    hello(&mut grace, "Grace", "lobby");
    ada.send("23[\"join\",{\"room\":\"tea\"}]");
    let (entered, _) = until(&mut ada, "33[");
    assert!(entered.starts_with("33[{\"ok\":true,\"room\":\"tea\",\"rooms\":[{\"name\":\"lobby\",\"count\":1},{\"name\":\"tea\",\"count\":1}],\"people\":[{"), "{entered}");
    let (notice, _) = until(&mut grace, "2[\"notice\"");
    assert!(notice.contains("\"kind\":\"leave\",\"name\":\"Ada\",\"room\":\"lobby\""), "{notice}");
    until_without(&mut grace, "lobby", &ada_id);
    // What is said in the old room is not heard in the new one.
    grace.send("24[\"say\",{\"text\":\"gone?\",\"key\":\"k\"}]");
    until(&mut grace, "34[{\"ok\":true");
    ada.send("25[\"say\",{\"text\":\"here\",\"key\":\"k\"}]");
    let (_, before) = until(&mut ada, "35[{\"ok\":true");
    assert!(!before.iter().any(|packet| packet.contains("gone?")), "{before:?}");
}

#[test]
fn what_breaks_the_rules_is_refused_in_words() {
    let server = start();
    let (mut client, _) = connect(&server);
    for packet in ["21[\"say\",{\"text\":\"a\",\"key\":\"k\"}]", "21[\"join\",{\"room\":\"a\"}]"] {
        client.send(packet);
        client.expect("31[{\"ok\":false,\"error\":\"Say hello first\"}]");
    }
    // Ignored before hello.
    client.send("2[\"typing\",{\"on\":true}]");
    let long = "a".repeat(33);
    for payload in [
        "{\"name\":\"\",\"room\":\"lobby\"}",
        "{\"name\":\"Ada\",\"room\":\"  \"}",
        "{\"name\":\"A\\u0000da\",\"room\":\"lobby\"}",
        &format!("{{\"name\":\"{long}\",\"room\":\"lobby\"}}"),
        "{\"name\":7,\"room\":\"lobby\"}",
        "{\"name\":\"Ada\"}",
        "null",
        "\"hello\"",
    ] {
        client.send(&format!("21[\"hello\",{payload}]"));
        let answer = client.receive();
        assert!(answer.starts_with("31[{\"ok\":false,\"error\":\""), "{payload}: {answer}");
    }
    client.send("21[\"hello\"]");
    assert!(client.receive().starts_with("31[{\"ok\":false"));

    assert!(hello(&mut client, "Ada", "lobby").contains("\"ok\":true"));
    let (text, key) = ("a".repeat(2001), "k".repeat(65));
    for payload in [
        "{\"text\":\"  \",\"key\":\"k\"}",
        &format!("{{\"text\":\"{text}\",\"key\":\"k\"}}"),
        &format!("{{\"text\":\"a\",\"key\":\"{key}\"}}"),
        "{\"text\":\"a\"}",
        "{\"text\":\"a\\u0007\",\"key\":\"k\"}",
    ] {
        client.send(&format!("26[\"say\",{payload}]"));
        let (answer, _) = until(&mut client, "36[");
        assert!(answer.starts_with("36[{\"ok\":false,\"error\":\""), "{payload}: {answer}");
    }
}

#[test]
fn a_crowd_that_comes_at_once_sees_itself_whole() {
    let server = start();
    let mut clients: Vec<SioClient> = (0..40).map(|_| connect(&server).0).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(&format!("21[\"hello\",{{\"name\":\"n{number}\",\"room\":\"lobby\"}}]"));
    }
    // The last list is the whole one, for everybody; it can come before the answer.
    let whole = |packet: &str| {
        packet.starts_with("2[\"people\"") && packet.matches("\"name\":").count() == 40
    };
    for client in &mut clients {
        let (mut answered, mut complete) = (false, false);
        while !(answered && complete) {
            let packet = client.receive();
            answered |= packet.starts_with("31[{\"ok\":true");
            complete |= whole(&packet);
        }
    }
}
