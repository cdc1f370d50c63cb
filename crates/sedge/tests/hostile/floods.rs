//! Clients that send faster than handlers finish.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sedge::extract::{Ack, Data};
use sedge::{ConnectError, DisconnectReason, Server, Socket};
use sedge_testkit::{DEADLINE, Form, Packet, PollingSession, SioClient, eventually};
use tokio::sync::Semaphore;

use crate::common::{Fixture, Notes, notes};
use crate::stage::{Stage, ask};

const LIMIT: u64 = 10;

/// What the server reads from a connection at once. It takes all of it before it stops reading.
const READ: usize = 64 * 1024;

/// A server whose handlers of `wait` stand at a gate, and note their number behind it. Events of so many
/// bytes may wait for them.
fn stage(waiting: usize) -> (Stage, Arc<Semaphore>, Notes<u32>) {
    let builder = Stage::builder().handlers_in_flight_max(LIMIT as usize);
    let stage = Stage::with(builder.events_waiting_bytes_max(waiting));
    let gate = Arc::new(Semaphore::new(0));
    let (note, handled) = notes();
    let opened = Arc::clone(&gate);
    stage.io.on("wait", async move |Data((number, _)): Data<(u32, String)>| {
        opened.acquire().await.expect("an open gate").forget();
        note.send(number).expect("the test listens");
    });
    (stage, gate, handled)
}

fn in_flight(io: &Server) -> u64 {
    io.metrics().total.handlers_in_flight
}

#[test]
fn events_beyond_the_limit_wait_in_the_client_s_own_buffers() {
    const EVENTS: u32 = 5_000;
    const PADDING: usize = 4_000;
    const WAITING: usize = 1_000_000;
    let (mut stage, gate, handled) = stage(WAITING);
    let address = stage.address;
    let (joined, wait_joined) = std::sync::mpsc::channel();
    let flood = std::thread::spawn(move || {
        let (mut client, _) = SioClient::connect(address);
        joined.send(()).unwrap();
        let padding = "x".repeat(PADDING);
        for number in 0..EVENTS {
            client.send(&format!(r#"2["wait",{number},"{padding}"]"#));
        }
        client
    });
    wait_joined.recv().unwrap();
    assert!(eventually(DEADLINE, || in_flight(&stage.io) >= LIMIT));
    let bound = ((WAITING + READ) / PADDING) as u64 + 1;
    let bounded = |io: &Server| {
        let metrics = io.metrics().total;
        assert!(metrics.handlers_in_flight <= LIMIT, "{metrics:?}");
        assert!(metrics.events_waiting <= bound, "{metrics:?}");
    };
    for _ in 0..100 {
        stage.all_is_well();
        bounded(&stage.io);
    }
    assert!(!flood.is_finished(), "20 MB are more than the kernel takes");
    // From here on each end lets another one in.
    for number in 0..EVENTS {
        gate.add_permits(1);
        assert_eq!(handled.next(), number, "in the order in which they were sent");
        if number % 500 == 0 {
            stage.all_is_well();
            bounded(&stage.io);
        }
    }
    let mut client = flood.join().unwrap();
    ask(&mut client);
    client.close();
    stage.finish();
}

#[test]
fn a_flood_that_goes_away_is_forgotten() {
    let mut stage = Stage::with(Stage::builder().handlers_in_flight_max(LIMIT as usize));
    let gate = Arc::new(Semaphore::new(0));
    let handled = Arc::new(AtomicU64::new(0));
    let (opened, counted) = (Arc::clone(&gate), Arc::clone(&handled));
    stage.io.on("wait", async move || {
        opened.acquire().await.expect("an open gate").forget();
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let mut clients: Vec<(SioClient, String)> = (0..5).map(|_| stage.client()).collect();
    let before = stage.io.metrics().total.events_in;
    for (client, _) in &mut clients {
        client.send_all(&[r#"2["wait"]"#; 1000]);
    }
    assert!(eventually(DEADLINE, || in_flight(&stage.io) >= 5 * LIMIT));
    for (client, _) in clients {
        client.abort();
    }
    // That they have gone is noticed, whatever their handlers wait for.
    assert!(eventually(DEADLINE, || stage.io.socket_count() == 1));
    assert_eq!(in_flight(&stage.io), 5 * LIMIT);
    gate.add_permits(5000);
    assert!(eventually(DEADLINE, || in_flight(&stage.io) == 0));
    // Handlers under way come to their end. What was waiting is not handled after its socket has ended.
    let metrics = stage.io.metrics().total;
    assert_eq!(handled.load(Ordering::Relaxed), 5 * LIMIT);
    assert_eq!(metrics.events_in - before, 5 * LIMIT + metrics.events_dropped);
    stage.all_is_well();
    stage.finish();
}

#[test]
fn a_flood_by_polling_holds_the_next_post_back() {
    let (mut stage, gate, handled) = stage(1);
    let mut client = PollingSession::open(stage.address, "/socket.io/", Form::V4);
    client.send_text("40");
    client.receive();
    let events: Vec<Packet> =
        (0..1000).map(|number| format!(r#"42["wait",{number},""]"#).as_str().into()).collect();
    let sender = std::thread::spawn(move || {
        client.send(&events);
        client
    });
    assert!(eventually(DEADLINE, || in_flight(&stage.io) == LIMIT));
    for _ in 0..20 {
        stage.all_is_well();
        let metrics = stage.io.metrics().total;
        assert_eq!((metrics.handlers_in_flight, metrics.events_waiting), (LIMIT, 1));
    }
    assert!(!sender.is_finished(), "the POST is answered when all of it was taken");
    gate.add_permits(1000);
    // They begin in order; those that waited at the gate may be overtaken by those that find it open.
    let mut numbers: Vec<_> = (0..1000).map(|_| handled.next()).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..1000));
    let mut client = sender.join().unwrap();
    client.send_text(r#"421["well?"]"#);
    client.expect_text(r#"431["well"]"#);
    client.send_text("41");
    client.send_text("1");
    drop(client);
    stage.finish();
}

#[test]
fn a_held_post_ends_with_its_session() {
    let timing = Duration::from_millis(200);
    let builder = Stage::builder().handlers_in_flight_max(1).events_waiting_bytes_max(1);
    let stage = Stage::with(builder.ping_interval(timing).ping_timeout(timing));
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    stage.io.on("wait", async move || {
        let _permit = opened.acquire().await;
    });
    let mut client = PollingSession::open(stage.address, "/socket.io/", Form::V4);
    client.send_text("40");
    client.receive();
    let event = r#"42["wait"]"#;
    client.send(&[event.into(), event.into(), event.into()]);
    client.expect_gone();
    let (_, reason) = stage.next_reason();
    assert_eq!(reason, "ping timeout");
    drop(client);
    let metrics = stage.io.metrics().total;
    assert_eq!((metrics.events_in, metrics.events_dropped), (2, 1), "the third was not taken");
    gate.add_permits(1);
    drop(stage);
}

#[test]
fn a_flood_of_events_that_wait_for_nothing_is_served_in_turn() {
    const EVENTS: usize = 50_000;
    let mut stage = Stage::new();
    let (note, done) = notes();
    stage.io.on("count", async move |Data(number): Data<usize>| {
        if number == EVENTS {
            note.send(()).expect("the test listens");
        }
    });
    let address = stage.address;
    let flood = std::thread::spawn(move || {
        let (mut client, _) = SioClient::connect(address);
        for number in (0..=EVENTS).step_by(10) {
            let events: Vec<String> =
                (number..number + 10).map(|n| format!(r#"2["count",{n}]"#)).collect();
            client.send_all(&events.iter().map(String::as_str).collect::<Vec<_>>());
        }
        client
    });
    while done.so_far().is_empty() {
        stage.all_is_well();
    }
    flood.join().unwrap().close();
    stage.finish();
}

#[test]
fn floods_of_joins_and_leaves_leave_nothing() {
    let stage = Stage::with_namespaces(Stage::builder(), &["/slow"]);
    stage.io.of("/slow").unwrap().middleware(async |socket: Socket| {
        socket.extensions().insert(vec![0_u8; 1000]);
        tokio::task::yield_now().await;
        Err::<(), _>(ConnectError::new("no").data(&"x".repeat(100)))
    });
    let (mut client, _) = stage.client();
    for _ in 0..1000 {
        client.send("0/slow,");
        assert!(client.receive().starts_with(r#"4/slow,{"message":"no""#));
    }
    client.close();
    assert_eq!(stage.io.metrics().total.connects_refused, 1000);
    stage.finish();
}

/// Lets a client ask itself by way of the server: `ask me` is answered by `answered` when the client has
/// acknowledged `ask`.
fn questions(stage: &Stage) {
    stage.io.on("ask me", async |socket: Socket, Data(number): Data<u32>| {
        let answer = socket.emit_with_ack::<u32>("ask", &number).await?;
        socket.emit("answered", &answer)?;
        Ok::<_, Box<dyn std::error::Error>>(())
    });
}

#[test]
fn acknowledgements_do_not_wait_for_the_handlers_that_await_them() {
    for (limit, questions_asked, version) in [(1, 3, 4), (1, 3, 3), (10, 500, 4)] {
        let builder = Stage::builder().allow_eio3(true).handlers_in_flight_max(limit);
        let mut stage = Stage::with(builder);
        questions(&stage);
        let target = format!("/socket.io/?EIO={version}&transport=websocket");
        let mut client = SioClient::open_at(stage.address, &target);
        match version {
            3 => client.expect("0"),
            _ => drop(client.join("/")),
        }
        let events: Vec<String> =
            (0..questions_asked).map(|number| format!(r#"2["ask me",{number}]"#)).collect();
        client.send_all(&events.iter().map(String::as_str).collect::<Vec<_>>());
        let mut answered = 0;
        while answered < questions_asked {
            let packet = client.receive();
            if let Some((id, number)) = packet.split_once(r#"["ask","#) {
                client.send(&format!("3{}[{number}", &id[1..]));
            } else {
                assert_eq!(packet, format!(r#"2["answered",{answered}]"#));
                answered += 1;
            }
        }
        ask(&mut client);
        client.close();
        stage.all_is_well();
        let metrics = stage.io.metrics().total;
        assert_eq!((metrics.handler_errors, metrics.events_dropped), (0, 0));
        stage.finish();
    }
}

#[test]
fn acknowledgements_do_not_wait_over_polling_either() {
    let mut stage = Stage::with(Stage::builder().handlers_in_flight_max(1));
    questions(&stage);
    let mut client = PollingSession::open(stage.address, "/socket.io/", Form::V4);
    client.send_text("40");
    client.receive();
    client.send(&[0, 1, 2].map(|number| format!(r#"42["ask me",{number}]"#).as_str().into()));
    for number in 0..3 {
        client.expect_text(&format!(r#"42{}["ask",{number}]"#, number + 1));
        client.send_text(&format!("43{}[{number}]", number + 1));
        client.expect_text(&format!(r#"42["answered",{number}]"#));
    }
    client.send_text("41");
    client.send_text("1");
    drop(client);
    stage.all_is_well();
    stage.finish();
}

#[test]
fn heartbeats_and_ends_are_seen_while_events_wait() {
    let timing = Duration::from_millis(300);
    let builder = Stage::builder().handlers_in_flight_max(1);
    let server = Fixture::with(builder.ping_interval(timing).ping_timeout(timing));
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    server.io.on("wait", async move || {
        opened.acquire().await.expect("an open gate").forget();
    });
    server.io.on("well?", async |ack: Ack| ack.send("well"));
    let chat = server.io.of("/chat").unwrap();
    chat.on("never", async |socket: Socket| socket.emit("never", &()));
    let (note, reasons) = notes();
    for namespace in [server.io.root(), &chat] {
        let note = note.clone();
        namespace.on_disconnect(async move |reason: DisconnectReason| {
            note.send(reason.to_string()).expect("the test listens");
        });
    }
    let (mut client, _) = server.client();
    client.join("/chat");
    let events = [r#"2["wait"]"#, r#"2["wait"]"#, r#"2/chat,["never"]"#, r#"21["well?"]"#];
    client.send_all(&events);
    assert!(eventually(DEADLINE, || server.io.metrics().total.events_waiting == 3));
    client.send("1/chat,");
    assert_eq!(reasons.next(), "client namespace disconnect");
    // It lives for many heartbeats because its answers are read.
    for _ in 0..4 {
        client.expect_ping();
    }
    assert_eq!(in_flight(&server.io), 1);
    gate.add_permits(2);
    client.expect(r#"31["well"]"#);
    let metrics = server.io.metrics().total;
    assert_eq!((metrics.events_in, metrics.events_dropped), (4, 1));
    client.send_all(&[r#"2["wait"]"#, r#"2["wait"]"#]);
    assert!(eventually(DEADLINE, || server.io.metrics().total.events_waiting == 1));
    client.close();
    assert_eq!(reasons.next(), "transport close");
    assert_eq!(server.io.metrics().total.events_dropped, 2);
    gate.add_permits(1);
}
