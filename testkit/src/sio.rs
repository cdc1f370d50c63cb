//! Socket.IO over a WebSocket, packets as text: `2["event",1]`.

use std::net::SocketAddr;

use crate::ws::{Frame, RawWs};

/// A connection that answers heartbeats by itself and shows everything else. Packets are written and
/// shown without the Engine.IO type.
pub struct SioClient {
    ws: RawWs,
    sid: String,
}

impl SioClient {
    /// Opens a connection with Engine.IO 4; no namespace is joined yet.
    pub fn open(address: SocketAddr) -> Self {
        Self::open_at(address, "/socket.io/?EIO=4&transport=websocket")
    }

    /// Opens a connection with a URL.
    pub fn open_at(address: SocketAddr, target: &str) -> Self {
        let mut ws = RawWs::connect(address, target);
        let Frame::Text(open) = ws.receive() else { panic!("no OPEN packet") };
        let sid = open.split('"').nth(3).expect("OPEN names the session first").to_owned();
        SioClient { ws, sid }
    }

    /// Opens a connection and joins the root namespace.
    pub fn connect(address: SocketAddr) -> (Self, String) {
        let mut client = Self::open(address);
        let id = client.join("/");
        (client, id)
    }

    /// Joins a namespace and returns the socket's id.
    pub fn join(&mut self, namespace: &str) -> String {
        let prefix = if namespace == "/" { String::new() } else { format!("{namespace},") };
        self.send(&format!("0{prefix}"));
        let answer = self.receive();
        let id = answer.strip_prefix(&format!("0{prefix}{{\"sid\":\""));
        id.and_then(|id| id.strip_suffix("\"}")).unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// The secret id of the connection.
    pub fn sid(&self) -> &str {
        &self.sid
    }

    /// Sends a packet.
    pub fn send(&mut self, packet: &str) {
        self.ws.send(&format!("4{packet}"));
    }

    /// Sends packets in one write.
    pub fn send_all(&mut self, packets: &[&str]) {
        let packets: Vec<String> = packets.iter().map(|packet| format!("4{packet}")).collect();
        self.ws.send_all(packets.iter().map(String::as_str));
    }

    /// Sends an attachment.
    pub fn send_binary(&mut self, data: &[u8]) {
        self.ws.send_binary(data);
    }

    /// The next packet. Panics if the connection has ended, or nothing comes before the deadline.
    pub fn receive(&mut self) -> String {
        match self.receive_frame() {
            Frame::Text(packet) => packet,
            other => panic!("a packet was expected, not {other:?}"),
        }
    }

    /// The next packet, attachment, or end.
    pub fn receive_frame(&mut self) -> Frame {
        loop {
            match self.ws.receive() {
                Frame::Text(ping) if ping == "2" => self.ws.send("3"),
                Frame::Text(message) if message.starts_with('4') => {
                    return Frame::Text(message[1..].to_owned());
                }
                Frame::Text(_) => {}
                other => return other,
            }
        }
    }

    /// Expects a heartbeat next, and answers it.
    pub fn expect_ping(&mut self) {
        assert_eq!(self.ws.receive(), Frame::Text("2".to_owned()));
        self.ws.send("3");
    }

    /// Expects a packet next.
    pub fn expect(&mut self, packet: &str) {
        assert_eq!(self.receive(), packet);
    }

    /// Expects the end next.
    pub fn expect_end(&mut self) {
        assert_eq!(self.receive_frame(), Frame::Closed);
    }

    /// Expects that nothing more was sent: what the server answers to this is what comes next.
    pub fn expect_nothing_but(&mut self, question: &str, answer: &str) {
        self.send(question);
        self.expect(answer);
    }

    /// Ends the connection without a word.
    pub fn abort(self) {
        self.ws.abort();
    }

    /// Closes the connection in an orderly way.
    pub fn close(self) {
        self.ws.close();
    }
}
