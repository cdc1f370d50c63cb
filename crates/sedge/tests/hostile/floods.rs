//! Clients that send faster than handlers finish.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sedge::extract::Data;
use sedge::{ConnectError, Server, Socket};
use sedge_testkit::{DEADLINE, Form, Packet, PollingSession, SioClient, eventually};
use tokio::sync::Semaphore;

use crate::common::{Notes, notes};
use crate::stage::{Stage, ask};

const LIMIT: u64 = 10;

/// What the server reads from a connection at once. It handles all of it before it stops reading.
const READ: usize = 64 * 1024;

/// A server whose handlers of `wait` stand at a gate, and note their number behind it.
fn stage() -> (Stage, Arc<Semaphore>, Notes<u32>) {
    let stage = Stage::with(Stage::builder().handlers_in_flight_max(LIMIT as usize));
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
    let (mut stage, gate, handled) = stage();
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
    let bound = LIMIT + (READ / PADDING) as u64 + 1;
    for _ in 0..100 {
        stage.all_is_well();
        assert!(in_flight(&stage.io) <= bound, "{} are under way", in_flight(&stage.io));
    }
    assert!(!flood.is_finished(), "20 MB are more than the kernel takes");
    // From here on each end lets another one in.
    for number in 0..EVENTS {
        gate.add_permits(1);
        assert_eq!(handled.next(), number, "in the order in which they were sent");
        if number % 500 == 0 {
            stage.all_is_well();
            assert!(in_flight(&stage.io) <= bound, "{} are under way", in_flight(&stage.io));
        }
    }
    let mut client = flood.join().unwrap();
    ask(&mut client);
    client.close();
    stage.finish();
}

#[test]
fn a_flood_that_goes_away_is_worked_off_and_forgotten() {
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
    gate.add_permits(5000);
    // What was not read before a connection broke may be lost; what was read is handled.
    let events = || stage.io.metrics().total.events_in - before;
    assert!(eventually(DEADLINE, || stage.io.socket_count() == 1 && in_flight(&stage.io) == 0));
    assert_eq!(handled.load(Ordering::Relaxed), events());
    stage.all_is_well();
    stage.finish();
}

#[test]
fn a_flood_by_polling_holds_the_next_post_back() {
    let (mut stage, gate, handled) = stage();
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
        assert_eq!(in_flight(&stage.io), LIMIT, "the rest of the body waits");
    }
    assert!(!sender.is_finished(), "the POST is answered when all of it was taken");
    gate.add_permits(1000);
    for number in 0..1000 {
        assert_eq!(handled.next(), number);
    }
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
    let stage = Stage::with(
        Stage::builder().handlers_in_flight_max(1).ping_interval(timing).ping_timeout(timing),
    );
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
    assert_eq!(stage.io.metrics().total.events_in, 1);
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
