//! Packets with attachments: too many, too few, too large, in the wrong place.

use bytes::Bytes;
use sedge::Socket;
use sedge::extract::{Args, Data};
use sedge_testkit::{Form, Frame, PollingSession};

use crate::stage::{Stage, ask};

fn stage() -> Stage {
    let stage = Stage::with(Stage::builder().attachment_bytes_max(1000));
    stage.io.on("bytes", async |socket: Socket, Data(data): Data<Bytes>| {
        socket.emit("length", &data.len())
    });
    stage.io.on("echo", async |socket: Socket, args: Args| socket.emit("echo", &args));
    stage
}

/// A header, what follows it, and the end: the last message is the one at fault.
#[derive(Clone, Copy)]
enum Sent<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
}

use Sent::{Binary, Text};

const ONE: &str = r#"51-["bytes",{"_placeholder":true,"num":0}]"#;
const TWO: &str = r#"52-["echo",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;

#[test]
fn attachments_out_of_place_end_the_connection() {
    let mut stage = stage();
    let wrong: [&[Sent<'_>]; 12] = [
        // Nothing announced it.
        &[Binary(b"surplus")],
        &[Binary(b"")],
        // Text while attachments are awaited: a packet, the same header again, or nonsense.
        &[Text(ONE), Text(r#"2["well?"]"#)],
        &[Text(ONE), Text(ONE)],
        &[Text(ONE), Text("")],
        &[Text(TWO), Binary(b"one"), Text("1")],
        // In front of its header.
        &[Binary(b"early"), Text(ONE)],
        // More bytes than one packet may have, at once or in all.
        &[Text(ONE), Binary(&[0; 1001])],
        &[Text(TWO), Binary(&[0; 500]), Binary(&[0; 501])],
        // Placeholders for attachments that were not announced, and none that could be meant.
        &[Text(r#"51-["echo",{"_placeholder":true,"num":1}]"#), Binary(b"x")],
        &[Text(r#"51-["echo",{"_placeholder":true,"num":-1}]"#), Binary(b"x")],
        &[Text(r#"51-["echo",{"_placeholder":true,"num":1e99}]"#), Binary(b"x")],
    ];
    for messages in wrong {
        let (mut client, id) = stage.client();
        for message in messages {
            match message {
                Text(text) => client.send(text),
                Binary(data) => client.send_binary(data),
            }
        }
        client.expect_end();
        stage.expect_reason(&id, "parse error");
        stage.all_is_well();
    }
    stage.finish();
}

#[test]
fn wrong_counts_end_the_connection() {
    let stage = stage();
    let endless = format!("5{}-[\"echo\"]", u64::MAX);
    let counts = [
        r#"50-["echo"]"#,
        "60-[]",
        r#"5-["echo"]"#,
        r#"511-["echo"]"#,
        r#"5-1-["echo"]"#,
        r#"51["echo"]"#,
        r#"51.0-["echo"]"#,
        r#"5 1-["echo"]"#,
        "51-/,1x",
        "51-[",
        "61-{}",
        endless.as_str(),
    ];
    for header in counts {
        let (mut client, id) = stage.client();
        client.send(header);
        client.expect_end();
        stage.expect_reason(&id, "parse error");
    }
    stage.finish();
}

#[test]
fn ten_attachments_are_taken_and_an_eleventh_is_surplus() {
    let stage = stage();
    let (mut client, id) = stage.client();
    let placeholders: Vec<String> =
        (0..10).map(|num| format!(r#"{{"_placeholder":true,"num":{num}}}"#)).collect();
    let packet = format!(r#"510-["echo",{}]"#, placeholders.join(","));
    client.send(&packet);
    for byte in 0..10 {
        client.send_binary(&[byte; 100]);
    }
    client.expect(&packet);
    for byte in 0..10 {
        assert_eq!(client.receive_frame(), Frame::Binary(vec![byte; 100]));
    }
    client.send_binary(b"endless");
    client.expect_end();
    stage.expect_reason(&id, "parse error");
    stage.finish();
}

#[test]
fn attachments_that_never_come_cost_what_was_sent_and_go_with_the_client() {
    let mut stage = stage();
    let waiting: Vec<_> = (0..50)
        .map(|_| {
            let (mut client, id) = stage.client();
            client.send(TWO);
            client.send_binary(&[0; 999]);
            (client, id)
        })
        .collect();
    stage.all_is_well();
    for (client, id) in waiting {
        client.abort();
        stage.expect_reason(&id, "transport close");
    }
    stage.finish();
}

#[test]
fn placeholders_are_data_unless_attachments_were_announced() {
    let stage = stage();
    let (mut client, _) = stage.client();
    let alike = r#"2["echo",{"_placeholder":true,"num":0}]"#;
    client.send(alike);
    client.expect(alike);
    // One attachment may stand in several places.
    client.send(r#"51-["bytes",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]"#);
    client.send_binary(b"twice");
    client.expect(r#"2["length",5]"#);
    ask(&mut client);
    client.close();
    stage.finish();
}

#[test]
fn a_binary_packet_for_a_namespace_that_is_not_joined_ends_the_connection() {
    let stage = stage();
    let (mut client, id) = stage.client();
    client.send(r#"51-/nowhere,["bytes",{"_placeholder":true,"num":0}]"#);
    client.send_binary(b"x");
    client.expect_end();
    stage.expect_reason(&id, "forced server close");
    stage.finish();
}

#[test]
fn the_same_holds_over_polling() {
    let stage = stage();
    let mut client = PollingSession::open(stage.address, "/socket.io/", Form::V4);
    client.send_text("40");
    client.receive();
    client.send_text(&format!("4{ONE}"));
    // Text instead of the attachment: the next poll is told, and then the session is gone.
    client.send_text(r#"42["well?"]"#);
    client.expect_text("1");
    client.expect_gone();
    drop(client);
    stage.finish();
}
