//! One suite of behaviours over everything that can carry a session.

use std::time::Duration;

use sedge_engine::{CloseReason, ListenOptions};
use sedge_testkit::{Endpoint, Form, Frame, Packet, PollingSession, RawWs};

use crate::common::{PATH, Server, V3_WEBSOCKET, V4_WEBSOCKET, open_websocket};

/// A session, whatever carries it. Text packets have their type digit.
pub(crate) trait Carrier {
    /// Sends packets together, as far as the transport can.
    fn send(&mut self, packets: &[Packet]);
    /// The next packet; `None` is the end.
    fn receive(&mut self) -> Option<Packet>;
    /// Closes the session as a client does.
    fn close(self: Box<Self>);
    /// Which side pings.
    fn server_pings(&self) -> bool;
}

pub(crate) struct Polling(PollingSession, Form);

impl Polling {
    pub(crate) fn open(at: Endpoint, form: Form) -> Box<dyn Carrier> {
        Box::new(Polling(PollingSession::open(at, PATH, form), form))
    }
}

impl Carrier for Polling {
    fn send(&mut self, packets: &[Packet]) {
        self.0.send(packets);
    }

    fn receive(&mut self) -> Option<Packet> {
        let packet = self.0.receive();
        if packet != "1".into() {
            return Some(packet);
        }
        self.0.expect_gone();
        None
    }

    fn close(mut self: Box<Self>) {
        self.0.send_text("1");
        self.0.expect_gone();
    }

    fn server_pings(&self) -> bool {
        self.1 == Form::V4
    }
}

pub(crate) struct WebSocket {
    ws: RawWs,
    version: u8,
}

impl WebSocket {
    pub(crate) fn open(at: Endpoint, target: &str) -> Box<dyn Carrier> {
        let (ws, _) = open_websocket(at, target);
        Box::new(WebSocket { ws, version: if target.contains("EIO=4") { 4 } else { 3 } })
    }

    /// A session that begins with polling and moves.
    pub(crate) fn upgraded(at: Endpoint) -> Box<dyn Carrier> {
        let mut polling = PollingSession::open(&at, PATH, Form::V4);
        let target = format!("{V4_WEBSOCKET}&sid={}", polling.sid);
        let mut ws = RawWs::connect(at, &target);
        polling.begin_get();
        ws.send("2probe");
        ws.expect_text("3probe");
        assert_eq!(polling.finish_get().text(), "6");
        ws.send("5");
        Box::new(WebSocket { ws, version: 4 })
    }
}

impl Carrier for WebSocket {
    fn send(&mut self, packets: &[Packet]) {
        for packet in packets {
            match packet {
                Packet::Text(text) => self.ws.send(text),
                Packet::Binary(data) if self.version == 4 => self.ws.send_binary(data),
                Packet::Binary(data) => self.ws.send_binary(&[&[4], &data[..]].concat()),
            }
        }
    }

    fn receive(&mut self) -> Option<Packet> {
        match self.ws.receive() {
            Frame::Text(text) => Some(Packet::Text(text)),
            Frame::Binary(data) if self.version == 4 => Some(Packet::Binary(data)),
            Frame::Binary(data) => {
                assert_eq!(data[0], 4);
                Some(Packet::Binary(data[1..].to_vec()))
            }
            Frame::Closed => None,
        }
    }

    fn close(self: Box<Self>) {
        self.ws.close();
    }

    fn server_pings(&self) -> bool {
        self.version == 4
    }
}

/// The next packet that is not a heartbeat.
fn next(client: &mut dyn Carrier) -> Option<Packet> {
    loop {
        let packet = client.receive();
        if !(client.server_pings() && packet == Some("2".into())) {
            return packet;
        }
        client.send(&["3".into()]);
    }
}

fn echoes(client: &mut dyn Carrier, packet: &Packet) {
    client.send(std::slice::from_ref(packet));
    assert_eq!(next(client).as_ref(), Some(packet));
}

fn keeps_order(client: &mut dyn Carrier) {
    let packets: Vec<Packet> = (0..1000).map(|n| Packet::Text(format!("4number {n}"))).collect();
    for part in packets.chunks(125) {
        client.send(part);
    }
    for packet in packets {
        assert_eq!(next(client), Some(packet));
    }
}

fn heartbeats(client: &mut dyn Carrier) {
    for _ in 0..3 {
        if client.server_pings() {
            // An interval after the last pong.
            assert_eq!(client.receive(), Some("2".into()));
            client.send(&["3".into()]);
        } else {
            client.send(&["2".into()]);
            assert_eq!(client.receive(), Some("3".into()));
        }
    }
    echoes(client, &"4alive".into());
}

/// Everything that must work on every transport.
pub(crate) fn suite(open: &dyn Fn() -> Box<dyn Carrier>) {
    let mut client = open();
    let client = &mut *client;
    echoes(client, &"4hello".into());
    echoes(client, &"4".into());
    echoes(client, &"4h\u{e9} \u{20ac} \u{1f600} \u{2028} \" \\ \\n \n \0".into());
    echoes(client, &Packet::Binary(vec![0, 4, 30, 127, 128, 254, 255, b'b']));
    echoes(client, &Packet::Binary(vec![]));
    echoes(client, &Packet::Text(format!("4{}", "large ".repeat(150_000))));
    echoes(client, &Packet::Binary((0..500_000_u32).map(|n| n as u8).collect()));
    client.send(&["4a".into(), Packet::Binary(vec![1]), "4b".into()]);
    let got: Vec<_> = (0..3).map(|_| next(client)).collect();
    assert_eq!(got, [Some("4a".into()), Some(Packet::Binary(vec![1])), Some("4b".into())]);
    keeps_order(client);
    heartbeats(client);

    // Closed by the server: what it sent before arrives.
    client.send(&["4last".into(), "4!close".into()]);
    assert_eq!(next(client), Some("4last".into()));
    assert_eq!(next(client), None);

    let mut second = open();
    echoes(&mut *second, &"4again".into());
    second.close();
}

fn server() -> Server {
    // The pong may take long on a busy machine; the interval decides how long the test takes.
    Server::start(|config| config.ping_interval(Duration::from_millis(250)).allow_eio3(true))
        .watched()
}

fn run(open: impl Fn(Endpoint) -> Box<dyn Carrier>) {
    let server = server();
    suite(&|| open(server.at()));
    server.settle().closed(&[(CloseReason::TransportClose, 1)]).refused(&[]);
}

/// As [`run`], for polling clients, who make sure that their session is gone.
fn run_polling(form: Form) {
    let server = server();
    suite(&|| Polling::open(server.at(), form));
    let counted = server.settle();
    counted.closed(&[(CloseReason::TransportClose, 1)]);
    counted.refused(&[(sedge_engine::hooks::ErrorCode::SessionIdUnknown, 2)]);
}

#[test]
fn version_4_polling() {
    run_polling(Form::V4);
}

#[test]
fn version_3_polling_as_text() {
    run_polling(Form::V3Text);
}

#[test]
fn version_3_polling_as_bytes() {
    run_polling(Form::V3Binary);
}

#[test]
fn jsonp() {
    run_polling(Form::Jsonp);
}

#[test]
fn version_4_websocket() {
    run(|at| WebSocket::open(at, V4_WEBSOCKET));
}

#[test]
fn version_3_websocket() {
    run(|at| WebSocket::open(at, V3_WEBSOCKET));
}

#[test]
fn upgraded() {
    run(WebSocket::upgraded);
}

#[test]
fn polling_only_and_websocket_only_servers() {
    use sedge_engine::Transport;
    let server = Server::start(|config| config.transports([Transport::Polling]));
    let mut polling = PollingSession::open(server.at(), PATH, Form::V4);
    assert!(polling.open.contains(r#""upgrades":[]"#), "{}", polling.open);
    polling.send_text("4a");
    polling.expect_text("4a");
    let refused = RawWs::refused(server.at(), V4_WEBSOCKET, &RawWs::handshake());
    refused.expect(400, "Transport unknown");
    polling.send_text("1");
    drop(polling);
    server.settle();

    let server = Server::listen(
        |config| {
            config.transports([Transport::WebSocket]).ping_interval(Duration::from_millis(250))
        },
        ListenOptions::new(),
    );
    suite(&|| WebSocket::open(server.at(), V4_WEBSOCKET));
    let response = sedge_testkit::RawHttp::connect(server.at()).get(crate::common::V4_POLLING);
    response.expect(400, r#"{"code":0,"message":"Transport unknown"}"#);
    server.settle();
}
