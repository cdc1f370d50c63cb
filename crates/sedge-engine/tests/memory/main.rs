//! What hostile clients can make the server keep in memory. The memory of a whole process is looked
//! at, so these tests have one of their own and run one after the other.

#[path = "../engine/common.rs"]
#[expect(dead_code, reason = "the other tests need all of it")]
mod common;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use common::{PATH, Server, V4_WEBSOCKET, open_websocket};
use sedge_engine::CloseReason;
use sedge_testkit::{Form, PollingSession, RawWs, frame};

const MASK: Option<[u8; 4]> = Some([1, 2, 3, 4]);

static ALONE: Mutex<()> = Mutex::new(());

/// Bytes of memory that this process really has.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    status.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0_usize) * 4096
}

/// A header that announces a payload of any length.
fn announce(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first, 0x80 | 127];
    bytes.extend(length.to_be_bytes());
    bytes.extend([1, 2, 3, 4]);
    bytes
}

/// A claimed length costs nothing until the bytes are here.
#[test]
fn claims_allocate_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start(|config| config.max_payload(1 << 30).outbox_bytes_max(1 << 30));
    let server = server.watched();
    let before = resident();
    let sockets: Vec<RawWs> = (0..200)
        .map(|_| {
            let (mut ws, _) = open_websocket(server.at(), V4_WEBSOCKET);
            ws.stream().send(&announce(0x82, 1 << 30));
            ws
        })
        .collect();
    // The server has read the claims when it has read what came later.
    server.await_metrics(|m| m.bytes_in >= 200 * 14);
    let grown = resident().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes for 200 claims of a gigabyte");
    drop(sockets);
    server.settle().closed(&[(CloseReason::TransportClose, 200)]);
}

/// A client that sends the smallest messages and never reads the answers: their bookkeeping is larger
/// than they are, and counts.
#[test]
fn a_client_that_never_reads_small_messages() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start(|config| config.outbox_bytes_max(2_000_000)).watched();
    let (mut ws, _) = open_websocket(server.at(), V4_WEBSOCKET);
    let before = resident();
    let data: Vec<u8> = (0..5_000).flat_map(|_| frame(0x81, MASK, b"4")).collect();
    let mut most = 0;
    while ws.stream().try_send(&data).is_ok() {
        most = most.max(resident().saturating_sub(before));
    }
    assert!(most < 20 << 20, "{most} bytes of memory for 2 MB of messages");
    drop(ws);
    server.settle().closed(&[(CloseReason::SlowConsumer, 1)]);
}

/// A probe that asks again and again and reads nothing.
#[test]
fn a_flood_of_probes() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start(|config| config.upgrade_timeout(Duration::from_mins(1))).watched();
    let mut session = PollingSession::open(server.at(), PATH, Form::V4);
    let target = format!("{V4_WEBSOCKET}&sid={}", session.sid);
    let mut ws = RawWs::connect(server.at(), &target);
    let before = resident();
    let probes: Vec<u8> = (0..2000)
        .flat_map(|_| [frame(0x81, MASK, b"2probe"), frame(0x89, MASK, b"x")].concat())
        .collect();
    let (mut most, mut sent) = (0, 0);
    while sent < 30 << 20 && ws.stream().try_send(&probes).is_ok() {
        sent += probes.len();
        most = most.max(resident().saturating_sub(before));
    }
    assert!(most < 16 << 20, "{most} bytes were kept");
    drop(ws);
    server.await_metrics(|m| m.probes == 0);
    session.send_text("4alive");
    while session.receive() != "4alive".into() {}
    session.send_text("1");
    drop(session);
    server.settle().closed(&[(CloseReason::TransportClose, 1)]);
}
