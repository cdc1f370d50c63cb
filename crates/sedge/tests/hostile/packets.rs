//! Messages that are no packets, and packets that have no business there.

use sedge::{Server, Socket};
use sedge_testkit::SioClient;

use crate::stage::{Stage, ask};

/// Each message ends the connection, as something that is no packet.
fn parse_errors(stage: &mut Stage, messages: &[String]) {
    let before = stage.io.metrics().total.parse_errors;
    for message in messages {
        let (mut client, id) = stage.client();
        client.send(message);
        client.expect_end();
        stage.expect_reason(&id, "parse error");
    }
    assert_eq!(stage.io.metrics().total.parse_errors - before, messages.len() as u64);
    stage.all_is_well();
}

#[test]
fn what_is_no_packet_ends_the_connection() {
    let mut stage = Stage::new();
    let kinds = ["", " ", "7", "8[]", "9", "a", "-1", "\u{0}", "é", "{}", "[]", "null"];
    let events = [
        "2[",
        "2[]",
        r#"2["a""#,
        r#"2["a"]]"#,
        r#"2["a"] x"#,
        r#"2{"a":1}"#,
        r#"2"a""#,
        "2null",
        "2[null]",
        "2[true]",
        "2[{}]",
        r#"2[["a"]]"#,
        r#"2["a",]"#,
        r#"2["a",nul]"#,
        "2['a']",
        r#"2["a",1e]"#,
        r#"2["a","\x"]"#,
        "2[\"a\nb\"]",
        r#"2-1["a"]"#,
        r#"2 ["a"] 1"#,
        "2/,x",
        r#"21.5["a"]"#,
        r#"2+1["a"]"#,
        r#"2١["a"]"#,
    ];
    let others = [
        "3{}",
        "31{}",
        "31null",
        r#"31["a""#,
        r#"31"a""#,
        "1[]",
        "1{}",
        "1null",
        "0[]",
        "0null",
        "0true",
        r#"0"text""#,
        "0{",
        r#"0{"a"}"#,
        "0{}{}",
        "4",
        "4[]",
        "4null",
        "41",
        r#"5["a"]"#,
        r#"6["a"]"#,
    ];
    let all: Vec<String> =
        [&kinds[..], &events, &others].concat().into_iter().map(str::to_owned).collect();
    parse_errors(&mut stage, &all);
    stage.finish();
}

#[test]
fn reserved_event_names_end_the_connection() {
    let mut stage = Stage::new();
    stage.io.on_fallback(async |socket: Socket| socket.emit("called", &()));
    let mut messages = Vec::new();
    for name in
        ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"]
    {
        messages.push(format!(r#"2["{name}"]"#));
        messages.push(format!(r#"21["{name}","transport close"]"#));
        // The same name, in other letters.
        let first = name.as_bytes()[0];
        messages.push(format!(r#"2["\u{first:04x}{}"]"#, &name[1..]));
    }
    parse_errors(&mut stage, &messages);

    let (mut client, id) = stage.client();
    client.send(r#"51-["disconnect",{"_placeholder":true,"num":0}]"#);
    client.expect_end();
    stage.expect_reason(&id, "parse error");
    // These only look like it.
    let (mut client, _) = stage.client();
    for name in ["Connect", "connect ", "error", "__proto__", "constructor", "toString", ""] {
        client.send(&format!(r#"2["{name}"]"#));
        client.expect(r#"2["called"]"#);
    }
    client.close();
    stage.finish();
}

#[test]
fn ids_are_numbers_of_64_bits_and_come_back_unchanged() {
    let mut stage = Stage::new();
    let (mut client, id) = stage.client();
    for id in ["0", "1", "4294967296", "9007199254740993", "18446744073709551615"] {
        client.send(&format!(r#"2{id}["well?"]"#));
        client.expect(&format!(r#"3{id}["well"]"#));
    }
    // What is larger stays unanswered.
    let huge = "9".repeat(100_000);
    client.send(r#"218446744073709551616["well?"]"#);
    client.send(&format!(r#"2{huge}["well?"]"#));
    client.send(&format!(r#"3{huge}["well"]"#));
    // Leading zeros are a matter of writing.
    client.send(r#"2007["well?"]"#);
    client.expect(r#"37["well"]"#);
    client.close();
    stage.expect_reason(&id, "transport close");
    let messages = [format!("5{huge}-[\"well?\"]"), huge];
    parse_errors(&mut stage, &messages);
    stage.finish();
}

#[test]
fn packets_for_namespaces_that_are_not_joined_end_the_connection() {
    let mut stage = Stage::with_namespaces(Stage::builder(), &["/chat"]);
    let state_errors = |io: &Server| io.metrics().total.state_errors;
    let packets = [
        r#"2/chat,["well?"]"#,
        "3/chat,1[]",
        "1/chat,",
        r#"2/nowhere,["well?"]"#,
        "2/nowhere",
        "2/nowhere,",
        "3/nowhere",
        "1/nowhere,",
        r#"4/chat,{"message":"?"}"#,
        r#"4{"message":"?"}"#,
        r#"4"bare""#,
        "0",
        "0{}",
    ];
    for packet in packets {
        let before = state_errors(&stage.io);
        let (mut client, id) = stage.client();
        client.send(packet);
        client.expect_end();
        stage.expect_reason(&id, "forced server close");
        assert_eq!(state_errors(&stage.io), before + 1, "{packet}");
        // Before any namespace was joined it is the same, but for what would join one.
        if !packet.starts_with('0') {
            let mut client = SioClient::open(stage.address);
            client.send(packet);
            client.expect_end();
            assert_eq!(state_errors(&stage.io), before + 2, "{packet}");
        }
    }
    stage.all_is_well();
    let before = state_errors(&stage.io);
    // Left is not joined any more.
    let (mut client, id) = stage.client();
    client.join("/chat");
    client.send_all(&["1", r#"2["well?"]"#]);
    client.expect_end();
    stage.expect_reason(&id, "client namespace disconnect");
    assert_eq!(state_errors(&stage.io), before + 1);
    stage.finish();
}

#[test]
fn what_follows_in_the_same_write_is_not_looked_at() {
    let mut stage = Stage::new();
    stage.io.on("seen", async |socket: Socket| socket.broadcast().emit("seen", &()));
    for bad in ["not a packet", "0", "2/nowhere,[\"a\"]"] {
        let (mut client, _) = stage.client();
        client.send_all(&[bad, r#"2["seen"]"#, r#"2["seen"]"#]);
        client.expect_end();
    }
    // Nothing has come: its own question is answered next.
    ask(stage.bystander());
    stage.finish();
}
