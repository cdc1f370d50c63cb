//! Sockets that are disconnected in the middle of their own handlers, of every kind.

use std::sync::Arc;

use sedge::extract::{Ack, Args};
use sedge::{ConnectError, EmitError, JoinRoomError, Socket};
use sedge_testkit::{Form, PollingSession, SioClient};
use tokio::sync::Semaphore;

use crate::common::notes;
use crate::stage::{Stage, ask};

/// What a handler finds after it has disconnected its socket: everything says so, nothing fails.
fn assert_gone(socket: &Socket) {
    assert!(!socket.connected());
    assert_eq!(socket.emit("late", &()), Err(EmitError::NotConnected));
    assert_eq!(socket.join("late"), Err(JoinRoomError::NotConnected));
    assert_eq!(socket.leave("late"), Ok(()));
    assert_eq!(socket.disconnect(true), Ok(()));
    socket.on("late", async || {});
    assert_eq!(socket.broadcast().emit("gone", &()), Ok(()));
}

const NAMESPACE: &str = "server namespace disconnect";

#[test]
fn in_an_event_handler() {
    for close in [false, true] {
        let mut stage = Stage::new();
        let (note, notes) = notes();
        stage.io.on_any(async move |socket: Socket, event: sedge::extract::Event| {
            if &*event == "kick" {
                socket.disconnect(close).unwrap();
                assert_gone(&socket);
            }
        });
        // The handlers of the event itself still run, as with Node's emitters.
        stage.io.on("kick", async move |socket: Socket, args: Args, ack: Ack| {
            assert_gone(&socket);
            note.send((args.len(), ack.send(&()))).unwrap();
        });
        let (mut client, id) = stage.client();
        client.send_all(&[r#"21["kick",1,2]"#, r#"2["kick"]"#, r#"2["well?"]"#]);
        assert_eq!(notes.next(), (2, Err(EmitError::NotConnected)));
        client.expect("1");
        client.expect_end();
        stage.expect_reason(&id, NAMESPACE);
        stage.bystander().expect(r#"2["gone"]"#);
        stage.bystander().expect(r#"2["gone"]"#);
        assert_eq!(stage.io.metrics().total.handler_errors, 0);
        // What came behind it was for a namespace it was not in any more, or for nobody.
        assert_eq!(stage.io.metrics().total.state_errors, u64::from(!close));
        assert_eq!(notes.so_far(), []);
        stage.finish();
    }
}

#[test]
fn in_a_connect_handler() {
    for close in [false, true] {
        let mut stage = Stage::with_namespaces(Stage::builder(), &["/brief"]);
        let (note, notes) = notes();
        let brief = stage.io.of("/brief").unwrap();
        brief.on_connect(async move |socket: Socket| {
            socket.emit("hello", &()).unwrap();
            socket.disconnect(close).unwrap();
            assert_gone(&socket);
        });
        brief.on_connect(async move |socket: Socket| note.send(socket.connected()).unwrap());
        let (mut client, _) = stage.client();
        for _ in 0..3 {
            client.join("/brief");
            client.expect(r#"2/brief,["hello"]"#);
            if close {
                client.expect("1");
            }
            client.expect("1/brief,");
            assert!(!notes.next());
            if close {
                client.expect_end();
                client = stage.client().0;
            } else {
                ask(&mut client);
            }
        }
        assert_eq!(stage.io.metrics().total.handler_errors, 0);
        client.close();
        stage.all_is_well();
        stage.finish();
    }
}

#[test]
fn in_a_middleware_it_does_nothing_yet() {
    // As in the official server: who is not connected cannot be disconnected, only refused.
    let stage = Stage::with_namespaces(Stage::builder(), &["/strict"]);
    stage.io.of("/strict").unwrap().middleware(async |socket: Socket| {
        socket.disconnect(true).unwrap();
        tokio::task::yield_now().await;
        socket.disconnect(false).unwrap();
        if socket.auth::<(u8,)>().is_err() { Ok(()) } else { Err(ConnectError::new("no")) }
    });
    let (mut client, _) = stage.client();
    client.join("/strict");
    client.send(r#"2/strict,1["well?"]"#);
    client.expect(r#"3/strict,1["well"]"#);
    client.close();
    stage.finish();
}

#[test]
fn in_a_disconnect_handler_it_is_over_already() {
    let stage = Stage::new();
    let (note, notes) = notes();
    stage.io.on_disconnect(async move |socket: Socket| {
        assert_gone(&socket);
        tokio::task::yield_now().await;
        assert_gone(&socket);
        note.send(()).unwrap();
    });
    for _ in 0..10 {
        let (client, id) = stage.client();
        client.abort();
        stage.expect_reason(&id, "transport close");
        notes.next();
    }
    // The bystander has been told by all of them.
    let mut stage = stage;
    for _ in 0..20 {
        stage.bystander().expect(r#"2["gone"]"#);
    }
    assert_eq!(stage.io.metrics().total.handler_errors, 0);
    stage.finish();
}

#[test]
fn behind_an_await_and_by_somebody_else() {
    let stage = Stage::new();
    let gate = Arc::new(Semaphore::new(0));
    let (note, notes) = notes();
    let opened = Arc::clone(&gate);
    stage.io.on("wait", async move |socket: Socket| {
        note.send(socket.connected()).unwrap();
        let _permit = opened.acquire().await;
        assert_gone(&socket);
        note.send(socket.connected()).unwrap();
    });
    stage.io.on("all", async |socket: Socket, ack: Ack| {
        socket.join("survivors").unwrap();
        let others = socket.namespace().except("survivors");
        others.disconnect_sockets(true).await.unwrap();
        ack.send(&())
    });
    let (mut survivor, _) = stage.client();
    let waiting: Vec<(SioClient, String)> = (0..10)
        .map(|_| {
            let (mut client, id) = stage.client();
            client.send(r#"2["wait"]"#);
            assert!(notes.next());
            (client, id)
        })
        .collect();
    survivor.send(r#"21["all"]"#);
    survivor.expect("31[]");
    for (mut client, _) in waiting {
        client.expect("1");
        client.expect_end();
    }
    // The bystander was among those who had to go.
    assert_eq!(stage.io.socket_count(), 1);
    gate.add_permits(100);
    for _ in 0..10 {
        assert!(!notes.next());
        survivor.expect(r#"2["gone"]"#);
    }
    ask(&mut survivor);
    survivor.close();
    stage.finish_alone();
}

#[test]
fn in_the_hook_for_errors_and_after_an_acknowledgement() {
    let stage = Stage::with(Stage::builder().on_error(|socket, _| {
        socket.disconnect(true).unwrap();
    }));
    stage.io.on("fail", async || Err::<(), _>("on purpose"));
    stage.io.on("ask", async |socket: Socket| {
        let _ = socket.emit_with_ack::<()>("question", &()).await;
        socket.disconnect(true).unwrap();
        assert_gone(&socket);
    });
    let (mut client, id) = stage.client();
    client.send_all(&[r#"2["fail"]"#, r#"2["fail"]"#]);
    client.expect("1");
    client.expect_end();
    stage.expect_reason(&id, NAMESPACE);
    let (mut client, id) = stage.client();
    client.send(r#"2["ask"]"#);
    client.expect(r#"21["question"]"#);
    client.send("31[]");
    client.expect("1");
    client.expect_end();
    stage.expect_reason(&id, NAMESPACE);
    assert_eq!(stage.io.metrics().total.handler_errors, 1);
    let mut stage = stage;
    stage.bystander().expect(r#"2["gone"]"#);
    stage.finish();
}

#[test]
fn over_polling_the_rest_of_the_payload_is_not_looked_at() {
    let stage = Stage::new();
    let (note, notes) = notes();
    stage.io.on("kick", async move |socket: Socket| {
        note.send(()).unwrap();
        socket.disconnect(true)
    });
    let mut client = PollingSession::open(stage.address, "/socket.io/", Form::V4);
    client.send_text("40");
    client.receive();
    let kick = r#"42["kick"]"#;
    client.send(&[kick.into(), kick.into(), "4nonsense".into(), "40".into()]);
    notes.next();
    client.expect_text("41");
    client.expect_text("1");
    client.expect_gone();
    assert_eq!(notes.so_far(), []);
    drop(client);
    stage.finish();
}
