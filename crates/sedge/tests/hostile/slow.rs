//! Clients that do not read what they are sent.

use sedge::extract::Data;
use sedge::{CloseReason, Server, Socket};
use sedge_testkit::{Form, PollingSession, SioClient};

use crate::stage::Stage;

const MIB: usize = 1 << 20;

/// Bytes that may wait for a client. The kernel's buffers take some more.
const OUTBOX: usize = 4 * MIB;

/// Far more than outboxes and kernel buffers take together.
const FAR_TOO_MUCH: usize = 200 * MIB;

const PIECE: usize = 100_000;

fn stage() -> Stage {
    Stage::with(Stage::builder().outbox_bytes_max(OUTBOX))
}

fn closed_as_slow(io: &Server) -> u64 {
    io.metrics().engine[0].closed[CloseReason::SlowConsumer as usize]
}

fn outbox_bytes(io: &Server) -> usize {
    io.metrics().engine[0].outbox_bytes as usize
}

/// Sends pieces to everybody until `done`; the bystander gets each of them.
fn broadcast_until(stage: &mut Stage, mut done: impl FnMut(&Server) -> bool) {
    let piece = "x".repeat(PIECE);
    let expected = format!(r#"2["piece","{piece}"]"#);
    for _ in 0..FAR_TOO_MUCH / PIECE {
        stage.io.emit("piece", &piece).expect("a queue that is not full");
        stage.bystander().expect(&expected);
        if done(&stage.io) {
            return;
        }
    }
    panic!("it goes on for ever");
}

#[test]
fn clients_that_do_not_read_broadcasts_are_closed_at_the_limit() {
    const CLIENTS: u64 = 4;
    let mut stage = stage();
    let silent: Vec<(SioClient, String)> = (0..CLIENTS).map(|_| stage.client()).collect();
    let mut most = 0;
    broadcast_until(&mut stage, |io| {
        most = most.max(outbox_bytes(io));
        closed_as_slow(io) == CLIENTS
    });
    assert!(most > OUTBOX / 2, "they were given time: {most}");
    assert!(most <= (CLIENTS as usize + 1) * (OUTBOX + 2 * PIECE), "each is bounded: {most}");
    let mut gone: Vec<_> = (0..CLIENTS).map(|_| stage.next_reason()).collect();
    let mut expected: Vec<_> =
        silent.iter().map(|(_, id)| (id.clone(), "slow consumer".to_owned())).collect();
    gone.sort();
    expected.sort();
    assert_eq!(gone, expected);
    assert_eq!(stage.io.socket_count(), 1);
    drop(silent);
    stage.finish();
}

#[test]
fn a_client_that_never_polls_is_closed_at_the_limit() {
    let mut stage = stage();
    let mut silent = PollingSession::open(stage.address, "/socket.io/", Form::V4);
    silent.send_text("40");
    let connect = silent.receive();
    let mut most = 0;
    broadcast_until(&mut stage, |io| {
        most = most.max(outbox_bytes(io));
        closed_as_slow(io) == 1
    });
    assert!((OUTBOX / 2..OUTBOX + 4 * PIECE).contains(&most), "{most}");
    let (id, reason) = stage.next_reason();
    assert_eq!(connect, format!(r#"40{{"sid":"{id}"}}"#).as_str().into());
    assert_eq!(reason, "slow consumer");
    silent.expect_gone();
    drop(silent);
    stage.finish();
}

/// What one handler sends says nothing about its client, but that it takes none of it does.
#[test]
fn a_client_that_asks_and_never_reads_is_closed_after_a_time() {
    let timeout = std::time::Duration::from_secs(1);
    let builder = Stage::builder().outbox_bytes_max(OUTBOX).slow_client_timeout(timeout);
    let mut stage = Stage::with(builder);
    stage.io.on("pieces", async |socket: Socket, Data(count): Data<u32>| {
        let piece = "x".repeat(PIECE);
        (0..count).try_for_each(|_| socket.emit("piece", &piece))
    });
    let (mut client, id) = stage.client();
    // One question, and far more answers than may wait.
    client.send(&format!(r#"2["pieces",{}]"#, 10 * OUTBOX / PIECE));
    stage.expect_reason(&id, "slow consumer");
    assert_eq!(closed_as_slow(&stage.io), 1);
    stage.all_is_well();
    client.abort();
    stage.finish();
}

#[test]
fn volatile_events_are_dropped_for_who_does_not_read() {
    let mut stage = stage();
    let (mut silent, _) = stage.client();
    let piece = "x".repeat(PIECE);
    let dropped = |io: &Server| io.metrics().engine[0].messages_dropped;
    let mut sent = 0;
    while dropped(&stage.io) < 100 {
        stage.io.volatile().emit("piece", &piece).unwrap();
        // Its turn comes behind the broadcast.
        stage.bystander().send(r#"21["well?"]"#);
        while stage.bystander().receive() != r#"31["well"]"# {}
        sent += 1;
        assert!(sent < FAR_TOO_MUCH / PIECE, "it goes on for ever");
    }
    assert!(outbox_bytes(&stage.io) <= 2 * PIECE, "{}", outbox_bytes(&stage.io));
    assert_eq!(closed_as_slow(&stage.io), 0);
    // It has only to read to be in step again.
    silent.send(r#"21["well?"]"#);
    while silent.receive() != r#"31["well"]"# {}
    silent.close();
    stage.finish();
}
