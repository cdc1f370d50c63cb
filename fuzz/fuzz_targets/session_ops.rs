//! The session machine on arbitrary sequences of inputs and time steps. A model beside it knows what
//! is open, what waits and what is being tested, mostly from what the session says it did: every
//! output must be one that this input allows in this state, what the session refuses must be what the
//! model refuses, and the session's own account must agree at every step. A session whose peer falls
//! silent must end in bounded time.

#![no_main]

use std::borrow::Cow;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sedge_protocol::engine::session::{Input, Output, Reason, Refused, Session, Time, Timing};
use sedge_protocol::engine::{Data, Packet, PacketType, Version};

#[derive(Arbitrary, Debug)]
struct Case {
    v4: bool,
    websocket: bool,
    ping_interval: u16,
    ping_timeout: u16,
    upgrade_timeout: u16,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    /// Milliseconds pass, and nobody looks at the deadline.
    Pass(u16),
    /// The deadline is kept, with this delay.
    Deadline(u8),
    /// A timer fires at any time.
    Timeout,
    Get,
    GetAnswered,
    GetAborted,
    Post,
    PostEnded,
    PostAborted,
    Packet(Content),
    Malformed,
    Probe,
    ProbePacket(Content),
    ProbeEnded,
    Lost(bool),
    Close(bool),
}

#[derive(Arbitrary, Debug)]
enum Content {
    /// What the client sends on the WebSocket it tests.
    PingProbe,
    Empty(u8),
    Text(u8, String),
    Binary(Vec<u8>),
}

impl Content {
    fn packet(&self) -> Packet<'_> {
        let kind = |number: u8| PacketType::from_number(number % 7).expect("there are seven");
        match self {
            Self::PingProbe => Packet { kind: PacketType::Ping, data: Data::Text("probe") },
            Self::Empty(number) => Packet::empty(kind(*number)),
            Self::Text(number, text) => Packet { kind: kind(*number), data: Data::Text(text) },
            Self::Binary(data) => {
                Packet { kind: PacketType::Message, data: Data::Binary(Cow::Borrowed(data)) }
            }
        }
    }
}

impl Step {
    /// The input, or `None` for a step of time.
    fn input(&self) -> Option<Input<'_>> {
        Some(match self {
            Self::Pass(_) => return None,
            Self::Deadline(_) | Self::Timeout => Input::Timeout,
            Self::Get => Input::Get,
            Self::GetAnswered => Input::GetAnswered,
            Self::GetAborted => Input::GetAborted,
            Self::Post => Input::Post,
            Self::PostEnded => Input::PostEnded,
            Self::PostAborted => Input::PostAborted,
            Self::Packet(content) => Input::Packet(content.packet()),
            Self::Malformed => Input::Malformed,
            Self::Probe => Input::Probe,
            Self::ProbePacket(content) => Input::ProbePacket(content.packet()),
            Self::ProbeEnded => Input::ProbeEnded,
            Self::Lost(error) => Input::Lost { error: *error },
            Self::Close(drained) => Input::Close { drained: *drained },
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Polling,
    WebSocket,
    /// Closed by the application, and the client is yet to be told.
    Closing,
    Ended,
}

/// What an input must bring about at once, whatever else it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// The session goes on.
    Stays,
    /// Only a heartbeat that is due may end it.
    MayTimeOut,
    /// It ends and, if it was open, the application is told this.
    Ends(Reason),
    /// The application ends it; it may have to wait for a GET.
    Closes { drained: bool },
}

#[derive(Debug)]
struct Model {
    version: Version,
    place: Place,
    get: bool,
    post: bool,
    /// A WebSocket is being tested.
    probe: bool,
    /// A ping was sent and no pong has come since.
    pinged: bool,
}

impl Model {
    fn is_open(&self) -> bool {
        matches!(self.place, Place::Polling | Place::WebSocket)
    }

    /// What a request must be answered with.
    fn refusal(&self, input: &Input<'_>) -> Option<Refused> {
        match (input, self.place) {
            (Input::Get | Input::Post | Input::Probe, Place::Ended) => Some(Refused::Ended),
            (Input::Get | Input::Post, Place::WebSocket) => Some(Refused::TransportMismatch),
            (Input::Get, _) if self.get => Some(Refused::OverlappingGet),
            (Input::Post, Place::Polling) if self.post => Some(Refused::OverlappingPost),
            (Input::Probe, Place::Closing) => Some(Refused::Ended),
            (Input::Probe, Place::WebSocket) => Some(Refused::SecondUpgrade),
            (Input::Probe, _) if self.probe => Some(Refused::SecondUpgrade),
            _ => None,
        }
    }

    fn verdict(&self, input: &Input<'_>, refusal: Option<Refused>) -> Verdict {
        let on_websocket = self.place == Place::WebSocket;
        match (input, refusal) {
            (_, Some(Refused::OverlappingGet | Refused::OverlappingPost)) => {
                Verdict::Ends(Reason::TransportError)
            }
            (Input::Packet(packet), _) if self.is_open() => match (packet.kind, self.version) {
                (PacketType::Close, _) => Verdict::Ends(Reason::TransportClose),
                (PacketType::Ping, Version::V4) | (PacketType::Pong, Version::V3) => {
                    Verdict::Ends(Reason::TransportError)
                }
                _ => Verdict::Stays,
            },
            (Input::Malformed, _) => Verdict::Ends(Reason::ParseError),
            (Input::GetAborted | Input::PostAborted, _) if !on_websocket => {
                Verdict::Ends(Reason::TransportError)
            }
            (Input::Lost { error: true }, _) => Verdict::Ends(Reason::TransportError),
            (Input::Lost { error: false }, _) => Verdict::Ends(Reason::TransportClose),
            (Input::Close { drained }, _) => Verdict::Closes { drained: *drained },
            (Input::Timeout, _) => Verdict::MayTimeOut,
            _ => Verdict::Stays,
        }
    }

    /// Notes an input that was taken.
    fn take(&mut self, input: &Input<'_>, refusal: Option<Refused>) {
        match input {
            Input::Get if refusal.is_none() => self.get = true,
            Input::GetAnswered | Input::GetAborted => self.get = false,
            Input::Post if refusal.is_none() => self.post = true,
            Input::PostEnded => self.post = false,
            Input::Probe if refusal.is_none() => self.probe = true,
            // The caller has closed it, so it is not told to.
            Input::ProbeEnded => self.probe = false,
            Input::Packet(packet) if packet.kind == PacketType::Pong => self.pinged = false,
            _ => {}
        }
    }

    /// Checks one output against the state and the input, and notes it.
    fn output(&mut self, output: Output, step: &Step, told: &mut Option<Reason>) {
        assert_ne!(self.place, Place::Ended, "{output:?} after the end");
        let input = step.input();
        match output {
            Output::SendPing => {
                assert!(matches!(input, Some(Input::Timeout)) && self.is_open());
                assert_eq!(self.version, Version::V4);
                assert!(!std::mem::replace(&mut self.pinged, true), "a second ping");
            }
            Output::SendPong => {
                assert_eq!(self.version, Version::V3);
                assert!(
                    matches!(input, Some(Input::Packet(packet)) if packet.kind == PacketType::Ping)
                );
            }
            Output::AnswerGetNoop | Output::AnswerGetClose => {
                assert!(std::mem::take(&mut self.get), "no GET waits for {output:?}");
            }
            Output::AnswerProbe => {
                assert!(matches!(input, Some(Input::ProbePacket(_))) && self.probe);
            }
            Output::EndProbe => {
                // A packet on a WebSocket that is not being tested (any more) ends that WebSocket.
                let stray = matches!(input, Some(Input::ProbePacket(_)));
                assert!(std::mem::take(&mut self.probe) || stray, "there is no probe");
            }
            Output::Upgraded => {
                let upgrades = matches!(input, Some(Input::ProbePacket(packet)) if packet.kind == PacketType::Upgrade);
                assert!(upgrades && self.place == Place::Polling);
                assert!(std::mem::take(&mut self.probe), "there is no probe");
                self.place = Place::WebSocket;
            }
            Output::Ended(reason) => {
                assert!(self.is_open(), "the application closed it itself");
                assert_eq!(told.replace(reason), None, "told once");
            }
            Output::Release => {
                assert!(!self.get, "a waiting GET was forgotten");
                assert!(!self.probe, "a probe was forgotten");
                self.place = Place::Ended;
            }
        }
    }

    /// Checks what the outputs of one input came to.
    fn judge(&mut self, verdict: Verdict, before: Place, told: Option<Reason>, get: bool) {
        let ended = self.place == Place::Ended;
        match verdict {
            _ if before == Place::Ended => {}
            Verdict::Stays => assert!(!ended && told.is_none(), "{told:?}"),
            Verdict::MayTimeOut => {
                assert!(told.is_none_or(|reason| reason == Reason::PingTimeout));
                assert_eq!(ended, told.is_some() || before == Place::Closing && ended);
            }
            Verdict::Ends(reason) => {
                assert!(ended);
                assert_eq!(told, (before != Place::Closing).then_some(reason));
            }
            Verdict::Closes { drained } => {
                assert_eq!(told, None, "the application knows");
                assert_eq!(ended, before == Place::WebSocket || get && drained);
                if !ended {
                    self.place = Place::Closing;
                }
            }
        }
    }

    fn compare(&self, session: &Session) {
        assert_eq!(session.is_open(), self.is_open());
        assert_eq!(session.is_websocket(), self.place == Place::WebSocket);
        assert_eq!(session.is_upgrading(), self.probe);
        let polls = matches!(self.place, Place::Polling | Place::Closing);
        assert_eq!(session.get_waits(), polls && self.get);
        assert_eq!(session.deadline().is_some(), self.place != Place::Ended);
        assert_eq!(session.version(), self.version);
    }
}

fn apply(session: &mut Session, model: &mut Model, now: Time, timing: &Timing, step: &Step) {
    let Some(input) = step.input() else { return };
    let before = model.place;
    let refusal = model.refusal(&input);
    let verdict = model.verdict(&input, refusal);
    let expected = match step {
        Step::Packet(content) if model.is_open() => {
            let packet = content.packet();
            (packet.kind == PacketType::Message).then_some(packet.data)
        }
        _ => None,
    };
    let get = model.get;
    model.take(&input, refusal);
    assert_eq!(session.handle(now, timing, input), refusal.map_or(Ok(expected), Err));
    let mut told = None;
    while let Some(output) = session.poll() {
        model.output(output, step, &mut told);
    }
    if model.place == Place::Ended {
        (model.get, model.post, model.probe) = (false, false, false);
    }
    model.judge(verdict, before, told, get);
    model.compare(session);
}

/// From now on the peer says nothing, and timers are punctual.
fn fall_silent(session: &mut Session, model: &mut Model, mut now: Time, timing: &Timing) {
    /// What a polling session that was closed waits for a GET.
    const CLOSING: u64 = 30_000;
    /// A ping that is late by less counts as sent in time.
    const COARSE: u64 = 50;
    let Timing { ping_interval, ping_timeout, upgrade_timeout } = *timing;
    let heartbeats = u64::from(ping_interval) + 2 * u64::from(ping_timeout) + COARSE;
    let end = now.0 + heartbeats.max(CLOSING);
    // While an upgrade is tested there is a timer every 100 ms.
    let mut timers = u64::from(upgrade_timeout) / 100 + 10;
    while let Some(deadline) = session.deadline() {
        now = now.max(deadline);
        assert!(now.0 <= end, "it should have ended at {end}, and waits until {now:?}");
        timers = timers.checked_sub(1).expect("a timer that never gets anywhere");
        apply(session, model, now, timing, &Step::Timeout);
    }
    assert_eq!(model.place, Place::Ended);
}

fuzz_target!(|case: Case| {
    // An interval of 0 is refused by the configuration.
    let millis = |value: u16| u32::from(value) + 1;
    let timing = Timing {
        ping_interval: millis(case.ping_interval),
        ping_timeout: millis(case.ping_timeout),
        upgrade_timeout: millis(case.upgrade_timeout),
    };
    let version = if case.v4 { Version::V4 } else { Version::V3 };
    let mut now = Time(0);
    let (mut session, place) = match case.websocket {
        true => (Session::websocket(now, version, &timing), Place::WebSocket),
        false => (Session::polling(now, version, &timing), Place::Polling),
    };
    let mut model = Model { version, place, get: false, post: false, probe: false, pinged: false };
    for step in case.steps.iter().take(1000) {
        match (step, session.deadline()) {
            (Step::Pass(millis), _) => now = now + u32::from(*millis),
            (Step::Deadline(late), Some(deadline)) => now = now.max(deadline + u32::from(*late)),
            _ => {}
        }
        apply(&mut session, &mut model, now, &timing, step);
    }
    fall_silent(&mut session, &mut model, now, &timing);
});
