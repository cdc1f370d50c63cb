//! Heartbeats: who asks, who answers, and what happens to those who do not. In version 4 the server asks, in
//! version 3 the client.

use sedge_testkit::{Frame, Packet};

use crate::subject::{FAST, all, expect_closed};

const ROUNDS: usize = 3;

fn packet(text: &str) -> [Packet; 1] {
    [Packet::from(text)]
}

#[test]
fn heartbeats_go_on_by_polling() {
    all(FAST, |subject| {
        for form in subject.forms {
            let session = subject.polling(*form);
            for _ in 0..ROUNDS {
                if subject.version() == 4 {
                    session.expect(&packet("2"));
                    session.send(&packet("3"));
                } else {
                    session.send(&packet("2"));
                    session.expect(&packet("3"));
                }
            }
        }
    });
}

#[test]
fn heartbeats_go_on_by_websocket() {
    all(FAST, |subject| {
        let mut ws = subject.websocket();
        for _ in 0..ROUNDS {
            let (asks, answers) = ("2", "3");
            if subject.version() == 3 {
                ws.send(asks);
            }
            // What Socket.IO says of itself is not looked at here.
            let heard = loop {
                match ws.receive() {
                    Frame::Text(text) if text.starts_with('4') => {}
                    other => break other,
                }
            };
            if subject.version() == 3 {
                assert_eq!(heard, Frame::Text(answers.to_owned()), "{}", subject.name);
            } else {
                assert_eq!(heard, Frame::Text(asks.to_owned()), "{}", subject.name);
                ws.send(answers);
            }
        }
    });
}

#[test]
fn silence_ends_a_polling_session() {
    all(FAST, |subject| {
        for form in subject.forms {
            let session = subject.polling(*form);
            subject.await_metrics(|metrics| metrics.sessions() == 0);
            session.expect_gone();
            assert_eq!(session.post(b"3").status, 400, "{}", subject.name);
        }
    });
}

#[test]
fn silence_ends_a_websocket() {
    all(FAST, |subject| {
        expect_closed(subject.websocket());
        subject.await_metrics(|metrics| metrics.sessions() == 0);
    });
}
