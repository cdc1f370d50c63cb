//! Clients that join nothing, everything, twice, or leave while they are examined.

use std::sync::Arc;
use std::time::Duration;

use sedge::{ConnectError, Socket};
use sedge_testkit::{DEADLINE, Form, PollingSession, SioClient, eventually};
use tokio::sync::Semaphore;

use crate::common::notes;
use crate::stage::{Stage, ask};

#[test]
fn unknown_namespaces_are_refused_in_full_and_cost_nothing() {
    let mut stage = Stage::new();
    let (mut client, _) = stage.client();
    let long = format!("/{}", "n".repeat(511));
    for name in ["/nowhere", "//", "/a/../", "/__proto__", "/constructor", "/\u{0}", "/é", &long] {
        client.send(&format!("0{name},"));
        client.expect(&format!(r#"4{name},{{"message":"Invalid namespace"}}"#));
        client.send(&format!(r#"0{name},{{"token":1}}"#));
        client.expect(&format!(r#"4{name},{{"message":"Invalid namespace"}}"#));
    }
    // With Engine.IO 4 a query is part of the name, as in the official server.
    client.send("0/?token=1,");
    client.expect(r#"4/?token=1,{"message":"Invalid namespace"}"#);
    for number in 0..2000 {
        client.send(&format!("0/n{number},"));
    }
    for number in 0..2000 {
        client.expect(&format!(r#"4/n{number},{{"message":"Invalid namespace"}}"#));
    }
    ask(&mut client);
    client.close();
    stage.all_is_well();
    stage.finish();
}

#[test]
fn names_that_are_too_long_end_the_connection() {
    let stage = Stage::new();
    for len in [512, 100_000] {
        let name = format!("/{}", "n".repeat(len));
        for packet in [format!("0{name},"), format!(r#"2{name},["a"]"#), format!("1{name},")] {
            let (mut client, id) = stage.client();
            client.send(&packet);
            client.expect_end();
            stage.expect_reason(&id, "parse error");
        }
    }
    stage.finish();
}

#[test]
fn who_never_joins_is_closed_whatever_it_tries() {
    let mut stage = Stage::with_namespaces(
        Stage::builder().connect_timeout(Duration::from_millis(100)),
        &["/no"],
    );
    let refusing = stage.io.of("/no").unwrap();
    refusing.middleware(async || Err::<(), _>(ConnectError::new("no")));
    let mut silent = SioClient::open(stage.address);
    let mut polling = PollingSession::open(stage.address, "/socket.io/", Form::V4);
    let mut refused = SioClient::open(stage.address);
    refused.send("0/no,");
    refused.expect(r#"4/no,{"message":"no"}"#);
    let mut lost = SioClient::open(stage.address);
    lost.send("0/nowhere,");
    lost.expect(r#"4/nowhere,{"message":"Invalid namespace"}"#);
    for client in [&mut silent, &mut refused, &mut lost] {
        client.expect_end();
    }
    polling.expect_text("1");
    polling.expect_gone();
    drop((polling, silent, refused, lost));
    stage.all_is_well();
    stage.finish();
}

#[test]
fn the_limit_of_namespaces_holds_for_those_that_are_asked_for_too() {
    let names: Vec<String> = (0..20).map(|number| format!("/n{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut stage =
        Stage::with_namespaces(Stage::builder().namespaces_per_connection_max(5), &names);
    let gate = Arc::new(Semaphore::new(0));
    for name in &names {
        let gate = Arc::clone(&gate);
        stage.io.of(name).unwrap().middleware(async move || {
            let _ = gate.acquire().await;
            Ok::<_, ConnectError>(())
        });
    }
    let mut client = SioClient::open(stage.address);
    for name in &names {
        client.send(&format!("0{name},"));
    }
    for name in &names[5..] {
        client.expect(&format!(r#"4{name},{{"message":"Too many namespaces"}}"#));
    }
    stage.all_is_well();
    gate.add_permits(100);
    for name in &names[..5] {
        assert!(client.receive().starts_with(&format!("0{name},")));
    }
    // What was left makes room again, as often as one likes.
    for _ in 0..100 {
        client.send("1/n0,");
        client.join("/n0");
    }
    assert_eq!(stage.io.socket_count(), 6);
    client.close();
    stage.finish();
}

#[test]
fn packets_for_a_namespace_that_is_still_examined_end_the_connection() {
    let stage = Stage::with_namespaces(Stage::builder(), &["/slow"]);
    let gate = Arc::new(Semaphore::new(0));
    let (note, notes) = notes();
    let (begun, opened) = (note.clone(), Arc::clone(&gate));
    let slow = stage.io.of("/slow").unwrap();
    slow.middleware(async move || {
        begun.send("begun").unwrap();
        opened.acquire().await.unwrap().forget();
        Ok::<_, ConnectError>(())
    });
    slow.on_connect(async move || note.send("connected").unwrap());
    for packet in ["0/slow,", r#"2/slow,["well?"]"#, "1/slow,", "3/slow,1[]"] {
        let (mut client, id) = stage.client();
        client.send("0/slow,");
        assert_eq!(notes.next(), "begun");
        client.send(packet);
        client.expect_end();
        stage.expect_reason(&id, "forced server close");
    }
    assert_eq!(stage.io.metrics().total.handlers_in_flight, 4, "nobody stops a middleware");
    gate.add_permits(4);
    stage.finish();
    assert_eq!(notes.so_far(), ["0"; 0], "nobody was let in");
}

#[test]
fn clients_that_go_while_they_are_examined_leave_nothing() {
    let stage = Stage::with_namespaces(Stage::builder(), &["/slow"]);
    let gate = Arc::new(Semaphore::new(0));
    let (note, notes) = notes();
    let (begun, opened) = (note.clone(), Arc::clone(&gate));
    let slow = stage.io.of("/slow").unwrap();
    slow.middleware(async move |socket: Socket| {
        begun.send("begun").unwrap();
        opened.acquire().await.unwrap().forget();
        assert!(!socket.connected());
        Ok::<_, ConnectError>(())
    });
    slow.on_connect(async move || note.send("connected").unwrap());
    for number in 0..100 {
        let mut client = SioClient::open(stage.address);
        client.send("0/slow,");
        assert_eq!(notes.next(), "begun");
        if number % 2 == 0 { client.close() } else { client.abort() }
    }
    let sessions = || stage.io.metrics().engine[0].sessions();
    assert!(eventually(DEADLINE, || sessions() == 1), "{}", sessions());
    gate.add_permits(100);
    stage.finish();
    assert_eq!(notes.so_far(), ["0"; 0], "nobody was let in");
}

#[test]
fn joining_and_leaving_in_one_write() {
    let stage = Stage::with_namespaces(Stage::builder(), &["/chat"]);
    let mut client = SioClient::open(stage.address);
    let packets: Vec<&str> = ["0/chat,", r#"2/chat,7["well?"]"#, "1/chat,"].repeat(200);
    client.send_all(&packets);
    for _ in 0..200 {
        assert!(client.receive().starts_with(r#"0/chat,{"sid":"#));
        client.expect(r#"3/chat,7["well"]"#);
    }
    client.close();
    stage.finish();
}
