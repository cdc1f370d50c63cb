//! A session on HTTP long-polling, in any of the body forms.

use std::collections::VecDeque;

use crate::http::{HttpResponse, RawHttp};
use crate::payload::{Form, Packet};
use crate::stream::Endpoint;

/// A polling session: one connection for GETs and one for POSTs, as browsers do it.
pub struct PollingSession {
    endpoint: Endpoint,
    form: Form,
    /// The session's id.
    pub sid: String,
    /// The target of every further request.
    pub target: String,
    /// What the OPEN packet said, as JSON.
    pub open: String,
    get: RawHttp,
    post: RawHttp,
    arrived: VecDeque<Packet>,
}

impl PollingSession {
    /// Opens a session; `path` is the engine's, with its last slash.
    pub fn open(endpoint: impl Into<Endpoint>, path: &str, form: Form) -> PollingSession {
        let endpoint = endpoint.into();
        let (mut get, post) = (RawHttp::connect(&endpoint), RawHttp::connect(&endpoint));
        let response = get.get(&format!("{path}?{}", form.query()));
        let mut arrived: VecDeque<Packet> = decode(form, &response).into();
        let Some(Packet::Text(open)) = arrived.pop_front() else { panic!("no OPEN packet") };
        let open = open.strip_prefix('0').expect("an OPEN packet").to_owned();
        let sid = open.split('"').nth(3).expect("OPEN names the session first").to_owned();
        assert_eq!(sid.len(), 20);
        let target = format!("{path}?{}&sid={sid}", form.query());
        PollingSession { endpoint, form, sid, target, open, get, post, arrived }
    }

    /// Sends packets in one POST and expects that it is accepted.
    #[track_caller]
    pub fn send(&mut self, packets: &[Packet]) {
        self.post_bytes(&self.form.encode(packets)).expect(200, "ok");
    }

    /// Sends a text packet, type digit included.
    #[track_caller]
    pub fn send_text(&mut self, packet: &str) {
        self.send(&[packet.into()]);
    }

    /// Sends any body and returns the answer. A connection that the server has closed after an
    /// earlier answer is replaced.
    pub fn post_bytes(&mut self, body: &[u8]) -> HttpResponse {
        let headers = [("content-type", self.form.content_type())];
        let response = self.post.request("POST", &self.target, &headers, body);
        if response.header("connection") == Some("close") || response.status != 200 {
            self.post = RawHttp::connect(&self.endpoint);
        }
        response
    }

    /// Begins a GET without waiting for its answer.
    pub fn begin_get(&mut self) {
        self.get.send("GET", &self.target, &[], b"");
    }

    /// Waits for the answer of a GET that was begun.
    pub fn finish_get(&mut self) -> HttpResponse {
        self.get.receive()
    }

    /// Ends the connection of the GETs without a word.
    pub fn abort_get(&mut self) {
        self.get = RawHttp::connect(&self.endpoint);
    }

    /// Polls once: the packets of one response.
    pub fn poll(&mut self) -> Vec<Packet> {
        self.begin_get();
        let response = self.finish_get();
        assert_eq!(response.status, 200, "{response:?}");
        decode(self.form, &response)
    }

    /// The next packet, polling if there is none.
    pub fn receive(&mut self) -> Packet {
        while self.arrived.is_empty() {
            let packets = self.poll();
            self.arrived.extend(packets);
        }
        self.arrived.pop_front().expect("it is not empty")
    }

    /// Expects a text packet next, type digit included.
    #[track_caller]
    pub fn expect_text(&mut self, packet: &str) {
        assert_eq!(self.receive(), packet.into());
    }

    /// Expects that the session is gone.
    #[track_caller]
    pub fn expect_gone(&mut self) {
        let response = RawHttp::connect(&self.endpoint).get(&self.target);
        response.expect(400, r#"{"code":1,"message":"Session ID unknown"}"#);
    }
}

fn decode(form: Form, response: &HttpResponse) -> Vec<Packet> {
    assert_eq!(response.status, 200, "{response:?}");
    form.decode(response.header("content-type").unwrap_or_default(), &response.body)
}
