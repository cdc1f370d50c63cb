//! The life of one Engine.IO session as a value: transports, upgrade, heartbeats and closing.
//!
//! [`Session::handle`] takes what happened, [`Session::poll`] says what to do about it (call it until
//! it returns `None` after each `handle`), and [`Session::deadline`] says when [`Input::Timeout`] is
//! due. The session decides; it holds neither packets nor connections. Queued packets belong to the
//! caller's outbox, so "send" means: append to the outbox, which drains into whatever transport the
//! session is on ([`Session::is_websocket`]).
//!
//! Rules are those of the official server (engine.io 6.6, `lib/socket.ts` and
//! `lib/transports/polling.ts`) unless a comment says otherwise.

use std::borrow::Cow;
use std::ops::Add;

use thiserror::Error;

use super::packet::{Data, Packet, PacketType, Version};

/// Milliseconds since an origin the caller chose. Only differences matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub u64);

impl Add<u32> for Time {
    type Output = Time;

    fn add(self, millis: u32) -> Time {
        Time(self.0 + u64::from(millis))
    }
}

/// How long a session waits for what, in milliseconds. The same for all sessions of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Between a pong and the next ping (version 4). Version 3 clients ping at this interval.
    pub ping_interval: u32,
    /// For the pong to a ping. Version 3: the grace after `ping_interval` for the client's ping.
    pub ping_timeout: u32,
    /// From the opening of a probing WebSocket to the client's UPGRADE packet.
    pub upgrade_timeout: u32,
}

/// While an upgrade waits for its UPGRADE packet, the session looks this often for a waiting GET to
/// answer with NOOP, so that the client can let go of polling.
const UPGRADE_NOOP_INTERVAL: u32 = 100;

/// A polling session that the server closes waits this long for a GET to tell the client.
const POLLING_CLOSE_TIMEOUT: u32 = 30_000;

/// A timer that fires at most this late counts as punctual.
const COARSE_TIMER: u32 = 50;

/// What happened to a session.
#[derive(Debug)]
pub enum Input<'a> {
    /// A polling GET has arrived and begins to wait.
    Get,
    /// The waiting GET has been answered from the outbox.
    GetAnswered,
    /// The connection of the waiting GET broke.
    GetAborted,
    /// The connection of the GET will not be there for much longer: if it waits, it is answered.
    GetHurried,
    /// A polling POST has arrived; its packets follow as [`Input::Packet`].
    Post,
    /// The POST has been answered.
    PostEnded,
    /// The connection of the POST broke, or its body was not all sent.
    PostAborted,
    /// A packet arrived by POST or on the WebSocket that carries the session.
    Packet(Packet<'a>),
    /// Something arrived there that is not a packet.
    Malformed,
    /// A WebSocket that names this session wants to open.
    Probe,
    /// A packet arrived on the probing WebSocket. What is not a packet is [`Input::ProbeEnded`]
    /// after the caller closed it.
    ProbePacket(Packet<'a>),
    /// The probing WebSocket has ended or broke the protocol.
    ProbeEnded,
    /// The WebSocket that carries the session has ended.
    Lost {
        /// By an error, not by a close frame or an orderly end of the stream.
        error: bool,
    },
    /// The application closes the session; also, once it has, the outbox has become empty while a
    /// GET waits.
    Close {
        /// Whether the outbox is empty.
        drained: bool,
    },
    /// The deadline has passed. Too early does no harm.
    Timeout,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Append a PING to the outbox.
    SendPing,
    /// Append a PONG to the outbox.
    SendPong,
    /// Answer the waiting GET with a single NOOP now, whatever the outbox holds.
    AnswerGetNoop,
    /// Answer the waiting GET with what the outbox holds and then CLOSE.
    AnswerGetClose,
    /// Answer `3probe` on the probing WebSocket.
    AnswerProbe,
    /// Close the probing WebSocket; the session goes on without it.
    EndProbe,
    /// The probing WebSocket carries the session from now on; drain the outbox into it.
    Upgraded,
    /// Tell the application that the session has ended. A session that the application closed
    /// itself is not told.
    Ended(Reason),
    /// Nothing is left to do: close the WebSocket if there is one (after draining the outbox) and
    /// free the session.
    Release,
}

/// Why a session ended, as far as the protocol can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A connection broke or a rule of the transport was broken.
    TransportError,
    /// The client closed.
    TransportClose,
    /// No heartbeat in time.
    PingTimeout,
    /// Not a packet.
    ParseError,
}

/// Why a request that names a session is refused. The HTTP status is 400 in every case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refused {
    /// A GET while another one waits; the session ends.
    #[error("a GET is already waiting")]
    OverlappingGet,
    /// A POST while another one is being read; the session ends.
    #[error("a POST is already under way")]
    OverlappingPost,
    /// A polling request for a session that is on a WebSocket, or the reverse.
    #[error("the session uses another transport")]
    TransportMismatch,
    /// A second WebSocket for a session that is upgrading or has upgraded.
    #[error("the session is already upgrading or upgraded")]
    SecondUpgrade,
    /// The session has ended.
    #[error("the session has ended")]
    Ended,
}

/// One session.
///
/// ```text
///             Probe            2probe           5
///  Polling ──────────▶ Testing ─────▶ Tested ──────▶ WebSocket
///     │  ▲                │ │            │            ▲ │
///     │  │                │ └────────────┼─── 5 ──────┘ │
///     │  └── other packet, lost, timeout ┘              │
///     │                                                 │
///     └──── error, close, ping timeout ──▶ Ended ◀──────┘
///     └──── Close with something to deliver ─▶ Closing ──told or 30 s──▶ Ended
/// ```
#[derive(Debug)]
pub struct Session {
    state: State,
    heartbeat: Heartbeat,
    version: Version,
    outputs: Outputs,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Polling {
        get: bool,
        post: bool,
        upgrade: Upgrade,
    },
    WebSocket,
    /// Closed by the application. What is queued is delivered by a GET of its own before another
    /// one is told CLOSE: clients take note of a CLOSE before they look at the packets beside it.
    Closing {
        until: Time,
        get: bool,
    },
    Ended,
}

#[derive(Debug, Clone, Copy)]
enum Upgrade {
    None,
    /// The WebSocket is open and has to send `2probe`. Some clients leave the test out and send `5`.
    Testing {
        until: Time,
    },
    /// It was answered and has to send `5`.
    Tested {
        until: Time,
        noop_at: Time,
    },
}

#[derive(Debug, Clone, Copy)]
enum Heartbeat {
    /// Version 4: the next ping is due at this time.
    Ping { at: Time },
    /// Version 4: a pong is awaited. The first other packet extends the wait once, since a busy link
    /// can hold a pong up behind data (engine.io 6.6.11).
    Pong { until: Time, extended: bool },
    /// Version 3: the client pings.
    Client { until: Time },
}

/// The pending outputs; each occurs at most once, in the order of the fields.
#[derive(Debug, Clone, Copy, Default)]
struct Outputs {
    flags: u8,
    ended: Option<Reason>,
    release: bool,
}

const IN_ORDER: [Output; 7] = [
    Output::SendPong,
    Output::SendPing,
    Output::AnswerProbe,
    Output::EndProbe,
    Output::Upgraded,
    Output::AnswerGetNoop,
    Output::AnswerGetClose,
];

impl Outputs {
    fn push(&mut self, output: Output) {
        match output {
            Output::Ended(reason) => self.ended = Some(reason),
            Output::Release => self.release = true,
            simple => {
                for (bit, known) in IN_ORDER.iter().enumerate() {
                    if *known == simple {
                        self.flags |= 1 << bit;
                    }
                }
            }
        }
    }

    fn pop(&mut self) -> Option<Output> {
        if self.flags != 0 {
            let bit = self.flags.trailing_zeros();
            self.flags &= self.flags - 1;
            return IN_ORDER.get(bit as usize).copied();
        }
        if let Some(reason) = self.ended.take() {
            return Some(Output::Ended(reason));
        }
        std::mem::take(&mut self.release).then_some(Output::Release)
    }
}

impl Session {
    /// A session whose first transport is polling; the OPEN packet is the caller's to send.
    pub fn polling(now: Time, version: Version, timing: &Timing) -> Session {
        let state = State::Polling { get: false, post: false, upgrade: Upgrade::None };
        Session::new(state, now, version, timing)
    }

    /// A session that begins on a WebSocket.
    pub fn websocket(now: Time, version: Version, timing: &Timing) -> Session {
        Session::new(State::WebSocket, now, version, timing)
    }

    fn new(state: State, now: Time, version: Version, timing: &Timing) -> Session {
        let heartbeat = match version {
            // The first ping comes a whole interval after the handshake.
            Version::V4 => Heartbeat::Ping { at: now + timing.ping_interval },
            Version::V3 => Heartbeat::Client { until: client_ping_due(now, timing) },
        };
        Session { state, heartbeat, version, outputs: Outputs::default() }
    }

    /// The protocol version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether a WebSocket carries the session.
    pub fn is_websocket(&self) -> bool {
        matches!(self.state, State::WebSocket)
    }

    /// Whether a GET is waiting to be answered.
    pub fn get_waits(&self) -> bool {
        matches!(self.state, State::Polling { get: true, .. } | State::Closing { get: true, .. })
    }

    /// Whether a WebSocket is being tested for an upgrade.
    pub fn is_upgrading(&self) -> bool {
        matches!(
            self.state,
            State::Polling { upgrade: Upgrade::Testing { .. } | Upgrade::Tested { .. }, .. }
        )
    }

    /// Whether messages of the application are still taken and delivered.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Polling { .. } | State::WebSocket)
    }

    /// When [`Input::Timeout`] is due; never before an open session has one.
    pub fn deadline(&self) -> Option<Time> {
        let heartbeat = match self.heartbeat {
            Heartbeat::Ping { at } => at,
            Heartbeat::Pong { until, .. } | Heartbeat::Client { until } => until,
        };
        match self.state {
            State::Ended => None,
            State::Closing { until, .. } => Some(until),
            State::WebSocket => Some(heartbeat),
            State::Polling { upgrade, .. } => Some(match upgrade {
                Upgrade::None => heartbeat,
                Upgrade::Testing { until } => heartbeat.min(until),
                Upgrade::Tested { until, noop_at } => heartbeat.min(until).min(noop_at),
            }),
        }
    }

    /// The next thing to do, if any.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop()
    }

    /// Takes note of what happened. Returns the data of a message for the application. An error
    /// refuses the request that was the input and may have ended the session as well.
    pub fn handle<'a>(
        &mut self,
        now: Time,
        timing: &Timing,
        input: Input<'a>,
    ) -> Result<Option<Data<'a>>, Refused> {
        match input {
            Input::Packet(packet) => return Ok(self.packet(now, timing, packet)),
            Input::Malformed => self.end(Reason::ParseError),
            Input::Get => self.get(now)?,
            Input::Post => self.post()?,
            Input::Probe => self.probe(now, timing)?,
            Input::GetAnswered => self.set_get(false),
            Input::GetHurried => self.answer_get_with_noop(),
            Input::PostEnded => self.set_post(false),
            // What becomes of polling connections no longer matters to a session that has moved.
            Input::GetAborted | Input::PostAborted if self.is_websocket() => {}
            Input::GetAborted => {
                self.set_get(false);
                self.end(Reason::TransportError);
            }
            Input::PostAborted => self.end(Reason::TransportError),
            Input::ProbePacket(packet) => self.probe_packet(now, &packet),
            Input::ProbeEnded => self.set_upgrade(Upgrade::None),
            Input::Lost { error } => {
                self.end(if error { Reason::TransportError } else { Reason::TransportClose });
            }
            Input::Close { drained } => self.close(now, drained),
            Input::Timeout => self.timeout(now, timing),
        }
        Ok(None)
    }

    fn get(&mut self, now: Time) -> Result<(), Refused> {
        match self.state {
            State::Polling { get: true, .. } | State::Closing { get: true, .. } => {
                self.end(Reason::TransportError);
                Err(Refused::OverlappingGet)
            }
            State::Polling { .. } | State::Closing { .. } => {
                self.set_get(true);
                // A client that has not seen the answer to its probe yet; it shall not wait for
                // nothing, so the session is due at once.
                if let State::Polling { upgrade: Upgrade::Tested { noop_at, .. }, .. } =
                    &mut self.state
                {
                    *noop_at = now;
                }
                Ok(())
            }
            State::WebSocket => Err(Refused::TransportMismatch),
            State::Ended => Err(Refused::Ended),
        }
    }

    fn post(&mut self) -> Result<(), Refused> {
        match self.state {
            State::Polling { post: true, .. } => {
                self.end(Reason::TransportError);
                Err(Refused::OverlappingPost)
            }
            State::Polling { .. } => {
                self.set_post(true);
                Ok(())
            }
            State::WebSocket => Err(Refused::TransportMismatch),
            // The client cannot know yet. What it sends is not looked at.
            State::Closing { .. } => Ok(()),
            State::Ended => Err(Refused::Ended),
        }
    }

    fn probe(&mut self, now: Time, timing: &Timing) -> Result<(), Refused> {
        match self.state {
            State::Polling { upgrade: Upgrade::None, .. } => {
                self.set_upgrade(Upgrade::Testing { until: now + timing.upgrade_timeout });
                Ok(())
            }
            State::Polling { .. } | State::WebSocket => Err(Refused::SecondUpgrade),
            State::Closing { .. } | State::Ended => Err(Refused::Ended),
        }
    }

    fn packet<'a>(&mut self, now: Time, timing: &Timing, packet: Packet<'a>) -> Option<Data<'a>> {
        if !self.is_open() {
            return None;
        }
        match (packet.kind, self.version) {
            (PacketType::Message, _) => {
                self.extend_pong(now, timing);
                return Some(packet.data);
            }
            (PacketType::Pong, Version::V4) => {
                self.heartbeat = Heartbeat::Ping { at: now + timing.ping_interval };
            }
            (PacketType::Ping, Version::V3) => {
                self.heartbeat = Heartbeat::Client { until: client_ping_due(now, timing) };
                self.outputs.push(Output::SendPong);
            }
            // A heartbeat in the wrong direction.
            (PacketType::Pong, Version::V3) | (PacketType::Ping, Version::V4) => {
                self.end(Reason::TransportError);
            }
            (PacketType::Close, _) => {
                // The official server answers a waiting GET with NOOP here, not with CLOSE.
                self.answer_get_with_noop();
                self.end(Reason::TransportClose);
            }
            (PacketType::Open | PacketType::Upgrade | PacketType::Noop, _) => {
                self.extend_pong(now, timing);
            }
        }
        None
    }

    fn extend_pong(&mut self, now: Time, timing: &Timing) {
        if let Heartbeat::Pong { until, extended } = &mut self.heartbeat
            && !*extended
        {
            *until = now + timing.ping_timeout;
            *extended = true;
        }
    }

    fn probe_packet(&mut self, now: Time, packet: &Packet<'_>) {
        let State::Polling { get, upgrade, .. } = self.state else { return };
        match (upgrade, packet.kind, &packet.data) {
            (
                Upgrade::Testing { until } | Upgrade::Tested { until, .. },
                PacketType::Ping,
                Data::Text("probe"),
            ) => {
                self.outputs.push(Output::AnswerProbe);
                // The client stops polling only once its GET has returned: answer it at once.
                if get {
                    self.set_get(false);
                    self.outputs.push(Output::AnswerGetNoop);
                }
                self.set_upgrade(Upgrade::Tested { until, noop_at: now + UPGRADE_NOOP_INTERVAL });
            }
            (Upgrade::Testing { .. } | Upgrade::Tested { .. }, PacketType::Upgrade, _) => {
                if get {
                    self.outputs.push(Output::AnswerGetNoop);
                }
                self.state = State::WebSocket;
                self.outputs.push(Output::Upgraded);
            }
            _ => {
                self.set_upgrade(Upgrade::None);
                self.outputs.push(Output::EndProbe);
            }
        }
    }

    fn close(&mut self, now: Time, drained: bool) {
        match self.state {
            State::Polling { get: true, .. } | State::Closing { get: true, .. } if drained => {
                self.release();
            }
            State::Polling { get, .. } => {
                self.end_probe();
                self.state = State::Closing { until: now + POLLING_CLOSE_TIMEOUT, get };
            }
            State::WebSocket => self.release(),
            State::Closing { .. } | State::Ended => {}
        }
    }

    /// Ends the session for a reason the application has to be told.
    fn end(&mut self, reason: Reason) {
        if self.is_open() {
            self.outputs.push(Output::Ended(reason));
            self.release();
        } else if matches!(self.state, State::Closing { .. }) {
            self.release();
        }
    }

    fn release(&mut self) {
        if self.get_waits() {
            self.outputs.push(Output::AnswerGetClose);
        }
        self.end_probe();
        self.state = State::Ended;
        self.outputs.push(Output::Release);
    }

    fn end_probe(&mut self) {
        if self.is_upgrading() {
            self.set_upgrade(Upgrade::None);
            self.outputs.push(Output::EndProbe);
        }
    }

    fn timeout(&mut self, now: Time, timing: &Timing) {
        match self.state {
            State::Ended => return,
            State::Closing { until, .. } => {
                if now >= until {
                    self.release();
                }
                return;
            }
            State::Polling { get, upgrade, .. } => self.upgrade_timeout(now, get, upgrade),
            State::WebSocket => {}
        }
        match self.heartbeat {
            Heartbeat::Ping { at } if now >= at => {
                self.outputs.push(Output::SendPing);
                // A coarse timer's delay does not add to the wait; a thread that was held up for
                // longer grants it in full.
                let sent = if now < at + COARSE_TIMER { at } else { now };
                self.heartbeat =
                    Heartbeat::Pong { until: sent + timing.ping_timeout, extended: false };
            }
            Heartbeat::Pong { until, .. } | Heartbeat::Client { until } if now >= until => {
                self.end(Reason::PingTimeout);
            }
            _ => {}
        }
    }

    fn upgrade_timeout(&mut self, now: Time, get: bool, upgrade: Upgrade) {
        match upgrade {
            Upgrade::Testing { until } | Upgrade::Tested { until, .. } if now >= until => {
                self.end_probe();
            }
            Upgrade::Tested { until, noop_at } if now >= noop_at => {
                if get {
                    self.set_get(false);
                    self.outputs.push(Output::AnswerGetNoop);
                }
                self.set_upgrade(Upgrade::Tested { until, noop_at: now + UPGRADE_NOOP_INTERVAL });
            }
            _ => {}
        }
    }

    fn answer_get_with_noop(&mut self) {
        if self.get_waits() {
            self.set_get(false);
            self.outputs.push(Output::AnswerGetNoop);
        }
    }

    fn set_get(&mut self, waits: bool) {
        if let State::Polling { get, .. } | State::Closing { get, .. } = &mut self.state {
            *get = waits;
        }
    }

    fn set_post(&mut self, under_way: bool) {
        if let State::Polling { post, .. } = &mut self.state {
            *post = under_way;
        }
    }

    fn set_upgrade(&mut self, next: Upgrade) {
        if let State::Polling { upgrade, .. } = &mut self.state {
            *upgrade = next;
        }
    }
}

fn client_ping_due(now: Time, timing: &Timing) -> Time {
    Time(now.0 + u64::from(timing.ping_interval) + u64::from(timing.ping_timeout))
}

/// A packet without data, as the tests and the engine's own code write it.
impl Packet<'static> {
    /// A packet of this type with no data.
    pub const fn empty(kind: PacketType) -> Packet<'static> {
        Packet { kind, data: Data::Text("") }
    }
}

impl Data<'_> {
    /// The content as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Data::Text(text) => text.as_bytes(),
            Data::Binary(Cow::Borrowed(bytes)) => bytes,
            Data::Binary(Cow::Owned(bytes)) => bytes,
        }
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
