//! WebSocket frames that break RFC 6455 or the limits.

use sedge_engine::CloseReason;
use sedge_testkit::{Form, Frame, PollingSession, RawHttp, RawWs, frame};

use crate::common::{PATH, Server, V3_WEBSOCKET, V4_WEBSOCKET, open_websocket};

const MASK: Option<[u8; 4]> = Some([1, 2, 3, 4]);

/// A header that announces a payload of any length.
fn announce(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first, 0x80 | 127];
    bytes.extend(length.to_be_bytes());
    bytes.extend([1, 2, 3, 4]);
    bytes
}

#[test]
fn violations_get_their_close_code() {
    let server = Server::start(|config| config.max_payload(10_000)).watched();
    let mut fragments = frame(0x01, MASK, b"4");
    fragments.extend((0..200_000).flat_map(|_| frame(0x00, MASK, b"")));
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("unmasked", frame(0x81, None, b"4a"), 1002),
        ("RSV1 without an extension", frame(0xc1, MASK, b"4a"), 1002),
        ("RSV2", frame(0xa1, MASK, b"4a"), 1002),
        ("RSV3", frame(0x91, MASK, b"4a"), 1002),
        ("reserved data opcode", frame(0x83, MASK, b"4a"), 1002),
        ("reserved control opcode", frame(0x8b, MASK, b""), 1002),
        ("continuation of nothing", frame(0x80, MASK, b"4a"), 1002),
        (
            "text within a message",
            [frame(0x01, MASK, b"4"), frame(0x81, MASK, b"4")].concat(),
            1002,
        ),
        ("fragmented ping", frame(0x09, MASK, b""), 1002),
        ("fragmented close", frame(0x08, MASK, b""), 1002),
        ("long ping", frame(0x89, MASK, &[b'x'; 126]), 1002),
        ("long close", frame(0x88, MASK, &[b'x'; 126]), 1002),
        ("close of one byte", frame(0x88, MASK, &[3]), 1002),
        ("close with 1005", frame(0x88, MASK, &1005_u16.to_be_bytes()), 1002),
        ("close reason not UTF-8", frame(0x88, MASK, b"\x03\xe8\xff"), 1007),
        ("length not minimal", vec![0x81, 0xfe, 0, 2, 1, 2, 3, 4, 0, 0], 1002),
        ("length with the top bit", announce(0x81, 1 << 63), 1002),
        ("text not UTF-8", frame(0x81, MASK, b"4\xff"), 1007),
        ("text cut in a character", frame(0x81, MASK, b"4\xc3"), 1007),
        ("surrogate", frame(0x81, MASK, b"4\xed\xa0\x80"), 1007),
        (
            "fragments not UTF-8",
            [frame(0x01, MASK, b"4\xc3"), frame(0x80, MASK, b"\x28")].concat(),
            1007,
        ),
        ("one byte too many", frame(0x81, MASK, &[b'4'; 10_001]), 1009),
        ("a claim of 4 GB", announce(0x82, 1 << 32), 1009),
        ("a claim of the largest length", announce(0x82, (1 << 63) - 1), 1009),
        (
            "too much in fragments",
            [frame(0x02, MASK, &[0; 6_000]), frame(0x80, MASK, &[0; 6_000])].concat(),
            1009,
        ),
        ("endless fragments", fragments, 1008),
    ];
    let count = cases.len() as u64;
    for (what, bytes, code) in cases {
        let (mut ws, _) = open_websocket(server.at(), V4_WEBSOCKET);
        // The server may close before it has read all.
        let _ = ws.stream().try_send(&bytes);
        let close = ws.receive_raw().unwrap_or_else(|| panic!("{what}: no close frame"));
        assert_eq!((close.first, &close.payload[..]), (0x88, &code.to_be_bytes()[..]), "{what}");
        let _ = ws.stream().try_send(&frame(0x88, MASK, &close.payload));
        ws.expect_eof();
    }
    server.settle().closed(&[(CloseReason::TransportError, count)]);
}

#[test]
fn packets_that_are_none_end_the_session() {
    let server = Server::start(|config| config.allow_eio3(true)).watched();
    let cases: [(&str, u8, &[u8], CloseReason); 11] = [
        (V4_WEBSOCKET, 0x81, b"", CloseReason::ParseError),
        (V4_WEBSOCKET, 0x81, b"7", CloseReason::ParseError),
        (V4_WEBSOCKET, 0x81, b"hello", CloseReason::ParseError),
        (V4_WEBSOCKET, 0x81, b"b!", CloseReason::ParseError),
        (V4_WEBSOCKET, 0x81, "\u{1f600}".as_bytes(), CloseReason::ParseError),
        (V4_WEBSOCKET, 0x81, b"2", CloseReason::TransportError),
        (V4_WEBSOCKET, 0x81, b"2probe", CloseReason::TransportError),
        (V3_WEBSOCKET, 0x82, b"", CloseReason::ParseError),
        (V3_WEBSOCKET, 0x82, b"\x02", CloseReason::ParseError),
        (V3_WEBSOCKET, 0x81, b"3", CloseReason::TransportError),
        (V3_WEBSOCKET, 0x81, b"b7", CloseReason::ParseError),
    ];
    for (target, first, payload, _) in &cases {
        let (mut ws, _) = open_websocket(server.at(), target);
        ws.send_frame(*first, payload);
        ws.expect_close(None);
    }
    let count = |wanted| cases.iter().filter(|(.., reason)| *reason == wanted).count() as u64;
    let reasons = [CloseReason::ParseError, CloseReason::TransportError];
    server.settle().closed(&reasons.map(|reason| (reason, count(reason))));
}

/// Packets that mean nothing on a WebSocket are ignored, as in the official server.
#[test]
fn harmless_packets_are_ignored() {
    let server = Server::start(|config| config).watched();
    let (mut ws, _) = open_websocket(server.at(), V4_WEBSOCKET);
    ws.send_all(["3", "0", "5", "6", "3probe", "4a"]);
    ws.expect_text("4a");
    ws.send("1");
    ws.expect_close(None);
    drop(ws);
    server.settle().closed(&[(CloseReason::TransportClose, 1)]);
}

#[test]
fn fragments_pings_and_cuts_in_all_places() {
    let server = Server::start(|config| config).watched();
    let (mut ws, _) = open_websocket(server.at(), V4_WEBSOCKET);
    let stream = [
        frame(0x01, MASK, b"4h\xc3"),
        frame(0x89, MASK, b"ping"),
        frame(0x00, MASK, b""),
        frame(0x80, MASK, b"\xa9llo"),
        frame(0x82, MASK, &[7; 200]),
    ]
    .concat();
    for byte in &stream {
        ws.stream().send(&[*byte]);
    }
    let pong = ws.receive_raw().expect("a pong");
    assert_eq!((pong.first, &pong.payload[..]), (0x8a, &b"ping"[..]));
    ws.expect_text("4h\u{e9}llo");
    assert_eq!(ws.receive(), Frame::Binary(vec![7; 200]));
    for cut in 1..stream.len() {
        ws.stream().send(&stream[..cut]);
        ws.stream().send(&stream[cut..]);
        ws.expect_text("4h\u{e9}llo");
        assert_eq!(ws.receive(), Frame::Binary(vec![7; 200]));
    }
    ws.close();
    server.settle().closed(&[(CloseReason::TransportClose, 1)]);
}

#[test]
fn closing_handshakes() {
    let server = Server::start(|config| config).watched();
    // The answer says the same, as the official server's does; then the connection ends.
    for payload in [&b""[..], b"\x03\xe8", b"\x03\xe9bye", b"\x0f\xa0"] {
        let (mut ws, _) = open_websocket(server.at(), V4_WEBSOCKET);
        ws.send_frame(0x88, payload);
        ws.send("4ignored");
        let close = ws.receive_raw().expect("a close frame");
        assert_eq!((close.first, &close.payload[..]), (0x88, payload));
        ws.expect_eof();
    }
    // A WebSocket that is only being tested too.
    let session = PollingSession::open(server.at(), PATH, Form::V4);
    for test in [false, true] {
        let mut ws = RawWs::connect(server.at(), &format!("{V4_WEBSOCKET}&sid={}", session.sid));
        if test {
            ws.send("2probe");
            ws.expect_text("3probe");
        }
        ws.send_frame(0x88, b"\x03\xe9");
        ws.expect_close(Some(1001));
    }
    RawHttp::connect(server.at()).post(&session.target, "1").expect(200, "ok");
    drop(session);
    let (ws, _) = open_websocket(server.at(), V4_WEBSOCKET);
    ws.abort();
    server.settle().closed(&[(CloseReason::TransportClose, 6)]);
}

/// A session is closed in the middle of what its client has sent: the rest is ignored, and the
/// closing handshake is still understood.
#[test]
fn closed_by_the_server_within_a_burst() {
    let server = Server::start(|config| config).watched();
    let (mut ws, _) = open_websocket(server.at(), V4_WEBSOCKET);
    ws.send_all(["4a", "4!close", "4b", "4c"]);
    ws.expect_text("4a");
    // The next frame of the client is cut where the server stops to listen.
    let last = frame(0x81, MASK, &[b'4'; 100]);
    ws.stream().send(&last[..50]);
    ws.stream().send(&last[50..]);
    ws.expect_close(None);
    drop(ws);
    server.settle().closed(&[]);
}
