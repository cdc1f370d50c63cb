//! The session machine in virtual time: each test is a transcript of inputs and outputs.

use super::*;

const TIMING: Timing =
    Timing { ping_interval: 25_000, ping_timeout: 20_000, upgrade_timeout: 10_000 };

/// A session and its clock.
struct Script {
    session: Session,
    now: Time,
}

impl Script {
    fn polling(version: Version) -> Script {
        Script { session: Session::polling(Time(0), version, &TIMING), now: Time(0) }
    }

    fn websocket(version: Version) -> Script {
        Script { session: Session::websocket(Time(0), version, &TIMING), now: Time(0) }
    }

    /// A polling session whose WebSocket has been answered `3probe`.
    fn tested() -> Script {
        let mut script = Script::polling(Version::V4);
        assert_eq!(script.give(Input::Probe), []);
        assert_eq!(script.give(Input::ProbePacket(probe())), [Output::AnswerProbe]);
        script
    }

    fn give(&mut self, input: Input<'_>) -> Vec<Output> {
        self.session.handle(self.now, &TIMING, input).unwrap();
        self.outputs()
    }

    fn refuse(&mut self, input: Input<'_>) -> (Refused, Vec<Output>) {
        let refused = self.session.handle(self.now, &TIMING, input).unwrap_err();
        (refused, self.outputs())
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.session.poll()).collect()
    }

    /// Jumps to the session's deadline and returns the time passed and the outputs.
    fn wait(&mut self) -> (u64, Vec<Output>) {
        let before = self.now;
        self.now = self.session.deadline().expect("a session that lives has a deadline");
        (self.now.0 - before.0, self.give(Input::Timeout))
    }
}

fn probe() -> Packet<'static> {
    Packet { kind: PacketType::Ping, data: Data::Text("probe") }
}

fn packet(kind: PacketType) -> Input<'static> {
    Input::Packet(Packet::empty(kind))
}

#[test]
fn server_pings_a_version_4_client_and_gives_up_without_a_pong() {
    let mut script = Script::websocket(Version::V4);
    assert_eq!(script.wait(), (25_000, vec![Output::SendPing]));
    script.now = script.now + 5_000;
    assert_eq!(script.give(packet(PacketType::Pong)), []);
    // The interval counts from the pong.
    assert_eq!(script.wait(), (25_000, vec![Output::SendPing]));
    assert_eq!(script.wait(), (20_000, vec![Output::Ended(Reason::PingTimeout), Output::Release]));
    assert_eq!(script.session.deadline(), None);
}

#[test]
fn another_packet_extends_the_wait_for_a_pong_once() {
    let mut script = Script::websocket(Version::V4);
    script.wait();
    for _ in 0..3 {
        script.now = script.now + 9_000;
        script.give(packet(PacketType::Message));
    }
    // Extended to 9 s + 20 s after the ping, of which 27 s have passed.
    assert_eq!(script.wait().0, 2_000);
    assert!(!script.session.is_open());
}

#[test]
fn version_3_client_pings_and_is_given_up_after_interval_and_timeout() {
    let mut script = Script::polling(Version::V3);
    script.now = Time(40_000);
    assert_eq!(script.give(packet(PacketType::Ping)), [Output::SendPong]);
    assert_eq!(script.wait(), (45_000, vec![Output::Ended(Reason::PingTimeout), Output::Release]));
}

#[test]
fn heartbeat_in_the_wrong_direction_ends_the_session() {
    for (version, kind) in [(Version::V4, PacketType::Ping), (Version::V3, PacketType::Pong)] {
        let mut script = Script::websocket(version);
        assert_eq!(
            script.give(packet(kind)),
            [Output::Ended(Reason::TransportError), Output::Release]
        );
    }
}

#[test]
fn message_is_delivered_until_the_end() {
    let mut session = Session::websocket(Time(0), Version::V4, &TIMING);
    let hello = || Input::Packet(Packet { kind: PacketType::Message, data: Data::Text("hello") });
    assert_eq!(session.handle(Time(1), &TIMING, hello()), Ok(Some(Data::Text("hello"))));
    session.handle(Time(2), &TIMING, Input::Lost { error: false }).unwrap();
    assert_eq!(session.poll(), Some(Output::Ended(Reason::TransportClose)));
    assert_eq!(session.handle(Time(3), &TIMING, hello()), Ok(None));
}

#[test]
fn second_get_ends_the_session_and_tells_the_first() {
    let mut script = Script::polling(Version::V4);
    script.give(Input::Get);
    assert_eq!(
        script.refuse(Input::Get),
        (
            Refused::OverlappingGet,
            vec![Output::AnswerGetClose, Output::Ended(Reason::TransportError), Output::Release]
        )
    );
    assert_eq!(script.refuse(Input::Get).0, Refused::Ended);
}

#[test]
fn second_post_ends_the_session() {
    let mut script = Script::polling(Version::V4);
    script.give(Input::Post);
    let (refused, outputs) = script.refuse(Input::Post);
    assert_eq!(refused, Refused::OverlappingPost);
    assert_eq!(outputs, [Output::Ended(Reason::TransportError), Output::Release]);
}

#[test]
fn posts_one_after_the_other_and_a_get_meanwhile_are_fine() {
    let mut script = Script::polling(Version::V4);
    script.give(Input::Get);
    for _ in 0..3 {
        assert_eq!(script.give(Input::Post), []);
        assert_eq!(script.give(Input::PostEnded), []);
    }
    assert!(script.session.get_waits());
    assert_eq!(script.give(Input::GetAnswered), []);
    assert_eq!(script.give(Input::Get), []);
}

#[test]
fn aborted_poll_and_aborted_post_end_the_session() {
    for (begin, abort) in [(Input::Get, Input::GetAborted), (Input::Post, Input::PostAborted)] {
        let mut script = Script::polling(Version::V4);
        script.give(begin);
        assert_eq!(script.give(abort), [Output::Ended(Reason::TransportError), Output::Release]);
    }
}

#[test]
fn old_polling_connections_do_not_matter_after_an_upgrade() {
    for (begin, abort) in [(Input::Get, Input::GetAborted), (Input::Post, Input::PostAborted)] {
        let mut script = Script::tested();
        script.give(begin);
        script.give(Input::ProbePacket(Packet::empty(PacketType::Upgrade)));
        assert!(script.session.is_websocket());
        assert_eq!(script.give(abort), []);
        assert!(script.session.is_open());
    }
}

#[test]
fn close_packet_answers_the_waiting_get_with_noop() {
    let mut script = Script::polling(Version::V4);
    script.give(Input::Get);
    assert_eq!(
        script.give(packet(PacketType::Close)),
        [Output::AnswerGetNoop, Output::Ended(Reason::TransportClose), Output::Release]
    );
}

#[test]
fn malformed_packet_is_a_parse_error() {
    let mut script = Script::websocket(Version::V4);
    assert_eq!(script.give(Input::Malformed), [Output::Ended(Reason::ParseError), Output::Release]);
}

#[test]
fn upgrade_moves_the_session() {
    let mut script = Script::polling(Version::V4);
    script.give(Input::Get);
    script.give(Input::Probe);
    assert!(script.session.is_upgrading());
    // The waiting GET is let go at once so that the client can stop polling.
    assert_eq!(
        script.give(Input::ProbePacket(probe())),
        [Output::AnswerProbe, Output::AnswerGetNoop]
    );
    assert_eq!(
        script.give(Input::ProbePacket(Packet::empty(PacketType::Upgrade))),
        [Output::Upgraded]
    );
    assert!(script.session.is_websocket());
    assert_eq!(script.refuse(Input::Get), (Refused::TransportMismatch, vec![]));
    assert_eq!(script.refuse(Input::Post), (Refused::TransportMismatch, vec![]));
    assert_eq!(script.refuse(Input::Probe), (Refused::SecondUpgrade, vec![]));
}

#[test]
fn tested_upgrade_answers_each_get_with_noop_at_once() {
    let mut script = Script::tested();
    script.give(Input::Get);
    assert_eq!(script.wait(), (0, vec![Output::AnswerGetNoop]));
    assert_eq!(script.wait(), (100, vec![]));
    script.give(Input::Get);
    assert_eq!(script.wait(), (0, vec![Output::AnswerGetNoop]));
}

#[test]
fn get_that_waits_at_the_switch_is_answered() {
    let mut script = Script::tested();
    script.give(Input::Get);
    assert_eq!(
        script.give(Input::ProbePacket(Packet::empty(PacketType::Upgrade))),
        [Output::Upgraded, Output::AnswerGetNoop]
    );
}

#[test]
fn an_upgrade_without_a_test_moves_the_session() {
    for version in [Version::V3, Version::V4] {
        for (get, outputs) in
            [(false, &[Output::Upgraded][..]), (true, &[Output::Upgraded, Output::AnswerGetNoop])]
        {
            let mut script = Script::polling(version);
            script.give(Input::Probe);
            if get {
                script.give(Input::Get);
            }
            let five = Packet::empty(PacketType::Upgrade);
            assert_eq!(script.give(Input::ProbePacket(five)), outputs);
            assert!(script.session.is_websocket());
        }
    }
}

#[test]
fn failed_probe_leaves_polling_alive_and_can_be_repeated() {
    for wrong in [PacketType::Message, PacketType::Noop, PacketType::Ping, PacketType::Close] {
        let mut script = Script::polling(Version::V4);
        script.give(Input::Probe);
        assert_eq!(script.give(Input::ProbePacket(Packet::empty(wrong))), [Output::EndProbe]);
        assert!(script.session.is_open());
        assert_eq!(script.give(Input::Get), []);
        assert_eq!(script.give(Input::Probe), []);
    }
}

#[test]
fn silent_probe_is_ended_after_the_upgrade_timeout() {
    let mut script = Script::polling(Version::V4);
    script.give(Input::Probe);
    assert_eq!(script.wait(), (10_000, vec![Output::EndProbe]));
    assert!(script.session.is_open() && !script.session.is_upgrading());

    let mut script = Script::tested();
    let outputs: Vec<Output> = (0..100).flat_map(|_| script.wait().1).collect();
    assert_eq!(outputs, [Output::EndProbe]);
    assert_eq!(script.now, Time(10_000));
}

#[test]
fn second_probe_is_refused_and_the_first_goes_on() {
    let mut script = Script::tested();
    assert_eq!(script.refuse(Input::Probe), (Refused::SecondUpgrade, vec![]));
    assert_eq!(
        script.give(Input::ProbePacket(Packet::empty(PacketType::Upgrade))),
        [Output::Upgraded]
    );
}

#[test]
fn lost_probe_leaves_polling_alive() {
    let mut script = Script::tested();
    assert_eq!(script.give(Input::ProbeEnded), []);
    assert!(script.session.is_open() && !script.session.is_upgrading());
}

#[test]
fn application_closes_with_a_get_waiting() {
    let mut script = Script::polling(Version::V4);
    script.give(Input::Get);
    assert_eq!(
        script.give(Input::Close { drained: true }),
        [Output::AnswerGetClose, Output::Release]
    );
}

#[test]
fn what_is_queued_is_delivered_before_the_client_is_told_to_close() {
    let mut script = Script::polling(Version::V4);
    script.give(Input::Get);
    assert_eq!(script.give(Input::Close { drained: false }), []);
    assert!(script.session.get_waits() && !script.session.is_open());
    assert_eq!(script.give(Input::GetAnswered), []);
    // The client may still send; nobody looks at it.
    assert_eq!(script.give(Input::Post), []);
    assert_eq!(script.give(packet(PacketType::Message)), []);
    assert_eq!(script.give(Input::Get), []);
    assert_eq!(
        script.give(Input::Close { drained: true }),
        [Output::AnswerGetClose, Output::Release]
    );
}

#[test]
fn application_closes_and_the_next_get_is_told() {
    let mut script = Script::polling(Version::V4);
    assert_eq!(script.give(Input::Close { drained: true }), []);
    assert_eq!(script.give(Input::Get), []);
    assert_eq!(
        script.give(Input::Close { drained: true }),
        [Output::AnswerGetClose, Output::Release]
    );
}

#[test]
fn application_closes_and_no_get_comes() {
    let mut script = Script::polling(Version::V4);
    script.give(Input::Close { drained: false });
    assert_eq!(script.wait(), (30_000, vec![Output::Release]));
}

#[test]
fn close_during_an_upgrade_ends_the_probe_too() {
    let mut script = Script::tested();
    assert_eq!(script.give(Input::Close { drained: true }), [Output::EndProbe]);

    let mut script = Script::tested();
    script.give(Input::Get);
    assert_eq!(
        script.give(packet(PacketType::Close)),
        [
            Output::EndProbe,
            Output::AnswerGetNoop,
            Output::Ended(Reason::TransportClose),
            Output::Release
        ]
    );
}

#[test]
fn application_closes_a_websocket() {
    let mut script = Script::websocket(Version::V4);
    assert_eq!(script.give(Input::Close { drained: false }), [Output::Release]);
    assert_eq!(script.give(Input::Close { drained: true }), []);
}

#[test]
fn a_hurried_get_is_answered_and_the_session_goes_on() {
    let mut script = Script::polling(Version::V4);
    assert_eq!(script.give(Input::GetHurried), [], "there is none");
    assert_eq!(script.give(Input::Get), []);
    assert_eq!(script.give(Input::GetHurried), [Output::AnswerGetNoop]);
    assert_eq!(script.give(Input::Get), [], "the next one waits");
    let mut script = Script::websocket(Version::V4);
    assert_eq!(script.give(Input::GetHurried), []);
}

#[test]
fn session_is_small() {
    assert!(size_of::<Session>() <= 64, "{}", size_of::<Session>());
}
