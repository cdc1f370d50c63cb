//! Acknowledgements that nobody asked for, and those that never come.

use std::time::Duration;

use sedge::extract::{Ack, Data};
use sedge::{AckError, EmitError, Socket, Value};

use crate::common::notes;
use crate::stage::{Stage, ask};

#[test]
fn acknowledgements_nobody_asked_for_are_ignored() {
    let mut stage = Stage::new();
    let (mut client, _) = stage.client();
    for _ in 0..20 {
        let acks: Vec<String> = (0..500).map(|id| format!(r#"3{id}["surplus"]"#)).collect();
        client.send_all(&acks.iter().map(String::as_str).collect::<Vec<_>>());
    }
    for id in [u64::from(u32::MAX), 1 << 32, 1 << 53, u64::MAX] {
        client.send(&format!("3{id}[]"));
    }
    client.send(r#"61-9[{"_placeholder":true,"num":0}]"#);
    client.send_binary(&[0; 1000]);
    client.send(r#"3["without an id"]"#);
    ask(&mut client);
    let metrics = stage.io.metrics().total;
    assert_eq!((metrics.acks_in, metrics.acks_ignored), (0, 20 * 500 + 4 + 1 + 1));
    stage.all_is_well();
    client.close();
    stage.finish();
}

#[test]
fn only_the_right_acknowledgement_counts_and_only_once() {
    let stage = Stage::with_namespaces(Stage::builder(), &["/chat"]);
    let (note, notes) = notes();
    let chat = stage.io.of("/chat").unwrap();
    chat.on("start", async move |socket: Socket| {
        let answer = socket.emit_with_ack::<String>("question", &()).await;
        note.send(answer).unwrap();
    });
    let (mut client, _) = stage.client();
    let (mut other, _) = stage.client();
    client.join("/chat");
    other.join("/chat");
    client.send(r#"2/chat,["start"]"#);
    client.expect(r#"2/chat,1["question"]"#);
    // Another socket of the same connection, the same namespace of another one, another id.
    client.send(r#"31["wrong namespace"]"#);
    other.send(r#"3/chat,1["wrong client"]"#);
    client.send(r#"3/chat,2["wrong id"]"#);
    client.send(r#"3/chat,["no id"]"#);
    // An id that only looks the same if it is cut to 32 bits.
    client.send(r#"3/chat,4294967297["wrong id"]"#);
    ask(&mut other);
    ask(&mut client);
    assert_eq!(notes.so_far(), []);
    client.send_all(&[r#"3/chat,1["right"]"#, r#"3/chat,1["late"]"#, r#"3/chat,1["late"]"#]);
    assert_eq!(notes.next(), Ok("right".to_owned()));
    ask(&mut client);
    assert_eq!(stage.io.metrics().total.acks_in, 1);
    client.close();
    other.close();
    stage.finish();
}

#[test]
fn clients_that_never_acknowledge_are_asked_up_to_the_limit() {
    let mut stage = Stage::with(Stage::builder().pending_acks_max(100));
    let (note, notes) = notes();
    stage.io.on("start", async move |socket: Socket| {
        let asked: Vec<_> = (0..200).map(|_| socket.emit_with_ack::<()>("question", &())).collect();
        for question in asked {
            note.send(question.await).unwrap();
        }
        // The socket is gone by now.
        note.send(socket.emit_with_ack::<()>("question", &()).await).unwrap();
    });
    let (mut client, _) = stage.client();
    client.send(r#"2["start"]"#);
    for id in 1..=100 {
        client.expect(&format!(r#"2{id}["question"]"#));
    }
    ask(&mut client);
    stage.all_is_well();
    client.abort();
    let full = Err(AckError::Emit(EmitError::TooManyPendingAcks));
    for question in 0..200 {
        let expected = if question < 100 { Err(AckError::Disconnected) } else { full.clone() };
        assert_eq!(notes.next(), expected, "{question}");
    }
    assert_eq!(notes.next(), Err(AckError::Emit(EmitError::NotConnected)));
    stage.finish();
}

#[test]
fn questions_that_were_given_up_do_not_count() {
    let mut stage = Stage::with(Stage::builder().pending_acks_max(100));
    stage.io.on("dropped", async |socket: Socket, ack: Ack| {
        for _ in 0..1000 {
            drop(socket.emit_with_ack::<()>("question", &()));
        }
        for _ in 0..1000 {
            drop(socket.namespace().to(socket.id()).emit_with_ack::<()>("question", &()));
        }
        ack.send(&())
    });
    stage.io.on("timed out", async |socket: Socket, ack: Ack| {
        let short = Duration::from_millis(1);
        for _ in 0..150 {
            let answer = socket.timeout(short).emit_with_ack::<()>("question", &()).await;
            assert_eq!(answer, Err(AckError::Timeout));
        }
        for _ in 0..150 {
            let room = socket.namespace().to(socket.id()).timeout(short);
            let error = room.emit_with_ack::<()>("question", &()).await.unwrap_err();
            assert_eq!((error.missing, error.responses.len()), (1, 0));
        }
        ack.send(&())
    });
    let (mut client, _) = stage.client();
    for event in ["dropped", "timed out"] {
        client.send(&format!(r#"27["{event}"]"#));
        let mut questions = 0;
        while client.receive() != "37[]" {
            questions += 1;
        }
        assert_eq!(questions, if event == "dropped" { 2000 } else { 300 });
    }
    assert_eq!(stage.io.metrics().total.handler_errors, 0);
    stage.all_is_well();
    client.close();
    stage.finish();
}

#[test]
fn a_broadcast_waits_for_nobody_who_goes_or_is_full() {
    let stage = Stage::with(Stage::builder().pending_acks_max(1));
    let (note, notes) = notes();
    stage.io.on("fill", async |socket: Socket, ack: Ack| {
        let question = socket.emit_with_ack::<()>("fill", &());
        ack.send(&())?;
        let _ = question.await;
        Ok::<_, EmitError>(())
    });
    stage.io.on("join", async |socket: Socket| socket.join("asked"));
    stage.io.on("start", async move |socket: Socket| {
        let room = socket.namespace().to("asked").timeout(Duration::from_mins(1));
        let error = room.emit_with_ack::<u32>("vote", &()).await.unwrap_err();
        note.send((error.responses, error.missing, error.unreadable)).unwrap();
    });
    let [(mut voter, _), (mut wrong, _), (mut full, _), (mut leaver, _), (mut starter, _)] =
        [(); 5].map(|()| stage.client());
    for client in [&mut voter, &mut wrong, &mut full, &mut leaver] {
        client.send(r#"2["join"]"#);
        ask(client);
    }
    full.send(r#"21["fill"]"#);
    full.expect(r#"21["fill"]"#);
    full.expect("31[]");
    starter.send(r#"2["start"]"#);
    let vote = voter.receive();
    let id = vote.strip_prefix('2').and_then(|vote| vote.strip_suffix(r#"["vote"]"#)).unwrap();
    // Many times, and for others: each client's first answer to its own question counts.
    voter.send_all(&[format!("3{id}[1]"), format!("3{id}[2]")].each_ref().map(String::as_str));
    full.send(&format!("3{id}[3]"));
    starter.send(&format!("3{id}[4]"));
    assert_eq!(wrong.receive(), vote);
    wrong.send(&format!(r#"3{id}["no number"]"#));
    assert_eq!(leaver.receive(), vote);
    ask(&mut full);
    ask(&mut starter);
    assert_eq!(notes.so_far(), []);
    leaver.abort();
    assert_eq!(notes.next(), (vec![1], 2, 1));
    for client in [voter, wrong, full, starter] {
        client.close();
    }
    stage.finish();
}

#[test]
fn events_that_ask_for_acknowledgements_nobody_sends_cost_nothing() {
    let mut stage = Stage::new();
    stage.io.on("silence", async |Data(_): Data<Value>, ack: Ack| drop(ack));
    let (mut client, _) = stage.client();
    for round in 0..20 {
        let events: Vec<String> =
            (0..500).map(|n| format!(r#"2{}["silence",{{}}]"#, round * 500 + n)).collect();
        client.send_all(&events.iter().map(String::as_str).collect::<Vec<_>>());
    }
    ask(&mut client);
    stage.all_is_well();
    client.close();
    stage.finish();
}
