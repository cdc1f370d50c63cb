//! Socket.IO: namespaces, events and acknowledgements, by WebSocket and by polling in all its forms.

use std::collections::VecDeque;

use sedge_testkit::{Frame, Packet, RawWs};

use crate::subject::{Polling, SLOW, Subject, decode, expect_closed, socket_io};

/// A connection. Packets are shown with their Engine.IO type.
struct Client<'a> {
    subject: &'a Subject,
    link: Link<'a>,
}

enum Link<'a> {
    WebSocket(RawWs),
    Polling(Polling<'a>, VecDeque<Packet>),
}

/// Clients of all kinds, as they are after the handshake: of version 3 they are in the root namespace.
fn clients(subject: &Subject) -> Vec<Client<'_>> {
    let mut ws = Client { subject, link: Link::WebSocket(subject.websocket()) };
    if subject.version() == 3 {
        ws.expect("40");
        ws.expect(r#"42["auth",{}]"#);
    }
    let polling = |form| Link::Polling(subject.polling(form), VecDeque::new());
    let polling = subject.forms.iter().map(|form| Client { subject, link: polling(*form) });
    [ws].into_iter().chain(polling).collect()
}

/// Clients of all kinds in the root namespace.
fn joined(subject: &Subject) -> Vec<Client<'_>> {
    let mut clients = clients(subject);
    if subject.version() == 4 {
        for client in &mut clients {
            client.join("40", "", "{}");
        }
    }
    clients
}

impl Client<'_> {
    fn send_all(&mut self, packets: &[Packet]) {
        let ws = match &mut self.link {
            Link::Polling(session, _) => return session.send(packets),
            Link::WebSocket(ws) => ws,
        };
        for packet in packets {
            match packet {
                Packet::Text(text) => ws.send(text),
                Packet::Binary(data) if self.subject.version() == 4 => ws.send_binary(data),
                Packet::Binary(data) => ws.send_binary(&[&[4], &data[..]].concat()),
            }
        }
    }

    fn send(&mut self, packet: &str) {
        self.send_all(&[packet.into()]);
    }

    fn receive(&mut self) -> Packet {
        match &mut self.link {
            Link::WebSocket(ws) => match ws.receive() {
                Frame::Text(text) => Packet::Text(text),
                Frame::Binary(data) if self.subject.version() == 4 => Packet::Binary(data),
                Frame::Binary(data) => {
                    Packet::Binary(data.strip_prefix(&[4]).expect("a MESSAGE").to_vec())
                }
                Frame::Closed => panic!("{}: closed", self.subject.name),
            },
            Link::Polling(session, arrived) => {
                if arrived.is_empty() {
                    arrived.extend(decode(session.form, &session.get()));
                }
                arrived.pop_front().expect("an answer has packets")
            }
        }
    }

    #[track_caller]
    fn expect(&mut self, packet: &str) {
        assert_eq!(self.receive(), packet.into(), "{}", self.subject.name);
    }

    /// Joins a namespace (`/custom,` or nothing for the root) and is told its auth data by the server.
    #[track_caller]
    fn join(&mut self, request: &str, namespace: &str, auth: &str) {
        self.send(request);
        let Packet::Text(answer) = self.receive() else { panic!("no CONNECT packet") };
        let payload = answer.strip_prefix(&format!("40{namespace}"));
        let payload = payload.unwrap_or_else(|| panic!("{}: {answer}", self.subject.name));
        if self.subject.version() == 4 {
            let payload: serde_json::Value = serde_json::from_str(payload).expect("JSON");
            assert!(payload["sid"].is_string(), "{answer}");
            assert_eq!(payload.as_object().map(serde_json::Map::len), Some(1), "{answer}");
        } else {
            assert_eq!(payload, "", "{}", self.subject.name);
        }
        self.expect(&format!(r#"42{namespace}["auth",{auth}]"#));
    }

    /// Expects that nothing more was sent to it, and that it is still served.
    #[track_caller]
    fn expect_nothing(&mut self) {
        let [question, answer] = self.subject.question;
        self.send(question);
        self.expect(answer);
    }

    /// Expects that the server ends the connection; by polling, it says so in the next answer.
    #[track_caller]
    fn expect_end(self) {
        match self.link {
            Link::WebSocket(ws) => expect_closed(ws),
            Link::Polling(session, _) => {
                session.expect(&["1".into()]);
                session.expect_gone();
            }
        }
    }

    /// Sends something that is no packet, and expects the end.
    #[track_caller]
    fn fail_with(mut self, packet: &str) {
        match &mut self.link {
            Link::WebSocket(ws) => ws.send(packet),
            // Whether this request is answered well does not matter.
            Link::Polling(session, _) => {
                session.post(&session.form.encode(&[packet.into()]));
            }
        }
        self.expect_end();
    }
}

#[test]
fn the_root_namespace_is_joined() {
    socket_io(SLOW, |subject| {
        if subject.version() == 3 {
            // It was joined with the handshake, which `clients` has looked at.
            clients(subject).iter_mut().for_each(Client::expect_nothing);
            return;
        }
        for mut client in clients(subject) {
            client.join("40", "", "{}");
        }
        for mut client in clients(subject) {
            client.join(r#"40{"token":"123"}"#, "", r#"{"token":"123"}"#);
        }
    });
}

#[test]
fn another_namespace_is_joined() {
    socket_io(SLOW, |subject| {
        let with_auth = match subject.version() {
            4 => r#"40/custom,{"token":"abc"}"#,
            _ => "40/custom?token=abc,",
        };
        for (request, auth) in [("40/custom,", "{}"), (with_auth, r#"{"token":"abc"}"#)] {
            for mut client in clients(subject) {
                client.join(request, "/custom,", auth);
                client.expect_nothing();
            }
        }
    });
}

#[test]
fn an_unknown_namespace_is_refused() {
    socket_io(SLOW, |subject| {
        for mut client in clients(subject) {
            client.send("40/random");
            client.expect(r#"44/random,{"message":"Invalid namespace"}"#);
        }
    });
}

#[test]
fn who_joins_nothing_is_closed() {
    socket_io(SLOW, |subject| {
        if subject.version() == 4 {
            clients(subject).into_iter().for_each(Client::expect_end);
        }
    });
}

#[test]
fn a_namespace_is_left_and_the_others_stay() {
    socket_io(SLOW, |subject| {
        for mut client in joined(subject) {
            client.join("40/custom", "/custom,", "{}");
            client.send_all(&["41/custom".into(), r#"42["message","to the root"]"#.into()]);
            client.expect(r#"42["message-back","to the root"]"#);
        }
    });
}

#[test]
fn the_root_namespace_is_left_without_a_word() {
    socket_io(SLOW, |subject| {
        for mut client in joined(subject) {
            client.send("41");
            client.expect_nothing();
        }
    });
}

#[test]
fn events_arrive_and_are_answered() {
    socket_io(SLOW, |subject| {
        for mut client in joined(subject) {
            client.send(r#"42["message",1,"2",{"3":[true]}]"#);
            client.expect(r#"42["message-back",1,"2",{"3":[true]}]"#);
            client.send(r#"42456["message-with-ack",1,"2",{"3":[false]}]"#);
            client.expect(r#"43456[1,"2",{"3":[false]}]"#);
        }
    });
}

#[test]
fn attachments_arrive_and_are_sent_back() {
    const PLACES: &str = r#"{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}"#;
    socket_io(SLOW, |subject| {
        let data = [Packet::Binary(vec![1, 2, 3]), Packet::Binary(vec![4, 5, 6])];
        let cases = [
            (format!(r#"452-["message",{PLACES}]"#), format!(r#"452-["message-back",{PLACES}]"#)),
            (format!(r#"452-789["message-with-ack",{PLACES}]"#), format!("462-789[{PLACES}]")),
        ];
        for mut client in joined(subject) {
            for (sent, received) in &cases {
                client.send_all(&[&[Packet::from(sent.as_str())], &data[..]].concat());
                client.expect(received);
                for attachment in &data {
                    assert_eq!(&client.receive(), attachment, "{}", subject.name);
                }
            }
        }
    });
}

#[test]
fn what_is_no_packet_ends_the_connection() {
    socket_io(SLOW, |subject| {
        for packet in ["4abc", "42{}", r#"42abc["message-with-ack",1,"2",{"3":[false]}]"#] {
            for client in clients(subject).into_iter().chain(joined(subject)) {
                client.fail_with(packet);
            }
        }
    });
}
