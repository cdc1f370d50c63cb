//! From polling to a WebSocket.

use sedge_testkit::{Packet, RawWs};

use crate::subject::{Polling, SLOW, all, decode, expect_closed};

/// The WebSocket of an upgrade, tested by its client.
fn probed(session: &Polling<'_>) -> RawWs {
    let subject = session.subject;
    let query = format!("EIO={}&transport=websocket&sid={}", subject.version(), session.sid);
    let mut ws = RawWs::connect(subject.address, &subject.target(&query));
    ws.send("2probe");
    ws.expect_text("3probe");
    ws
}

/// The WebSocket of an upgrade that is done.
fn upgraded(session: &Polling<'_>) -> RawWs {
    let mut ws = probed(session);
    ws.send("5");
    session.subject.expect_answer(&mut ws);
    ws
}

#[test]
fn a_session_moves_to_a_websocket() {
    all(SLOW, |subject| {
        for form in subject.forms {
            let session = subject.polling(*form);
            let mut ws = probed(&session);
            // A poll is let go, so that nothing is left on the old transport.
            let noop = decode(*form, &session.get());
            assert_eq!(noop, [Packet::from("6")], "{}", subject.name);
            ws.send("5");
            subject.expect_answer(&mut ws);
        }
    });
}

#[test]
fn a_waiting_poll_is_let_go_by_an_upgrade() {
    all(SLOW, |subject| {
        for form in subject.forms {
            let session = subject.polling(*form);
            let mut poll = session.waiting_get();
            let mut ws = probed(&session);
            let noop = decode(*form, &poll.receive());
            assert_eq!(noop, [Packet::from("6")], "{}", subject.name);
            ws.send("5");
            subject.expect_answer(&mut ws);
        }
    });
}

#[test]
fn a_poll_after_the_upgrade_is_refused() {
    all(SLOW, |subject| {
        for form in subject.forms {
            let session = subject.polling(*form);
            let mut ws = upgraded(&session);
            assert_eq!(session.get().status, 400, "{}", subject.name);
            subject.expect_answer(&mut ws);
        }
    });
}

#[test]
fn a_second_websocket_after_the_upgrade_is_closed() {
    all(SLOW, |subject| {
        for form in subject.forms {
            let session = subject.polling(*form);
            let mut ws = upgraded(&session);
            let query = format!("EIO={}&transport=websocket", subject.version());
            let target = subject.target(&format!("{query}&sid={}", session.sid));
            expect_closed(RawWs::connect(subject.address, &target));
            subject.expect_answer(&mut ws);
        }
    });
}
