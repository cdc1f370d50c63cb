//! The sessions of one shard and the rules for changing them.
//!
//! Everything that happens to a session goes through [`State::input`], which runs the protocol's state
//! machine and carries out what it decides.

use std::collections::HashMap;

use bytes::Bytes;
use foldhash::fast::FixedState;
use sedge_protocol::engine::session::{Input, Output, Reason, Refused, Session, Time};
use sedge_protocol::engine::{Data, Version};
use sedge_protocol::sid::SessionId;
use sedge_protocol::ws::close_frame;
use tokio::sync::oneshot;

use super::conn::{Carrier, Conn, Farewell, PollAnswer, Polling, Probe, WebSocket};
use super::env::Env;
use super::farewell;
use super::frames::{self, CLOSE, Dialect, Framer, NOOP, PING, PONG, PROBE_ANSWER, SharedMessage};
use super::outbox::Outbox;
use super::slots::Slots;
use super::wheel::{self, Wheel};
use crate::application::{CloseReason, Message, SendOptions, Sent, SessionKey};
use crate::config::Config;
use crate::limits::POLL_ANSWER_MAX;
use crate::net::io::Io;

/// All sessions of a shard.
pub(crate) struct State {
    slots: Slots,
    /// The ids are random and carry a MAC that was checked before, so a peer cannot choose them to
    /// collide and a fast hash without a random seed is enough.
    by_sid: HashMap<SessionId, u32, FixedState>,
    /// Sessions with something new in their outbox.
    pub(crate) dirty: Vec<SessionKey>,
    /// Sessions whose end the application has yet to be told.
    pub(crate) ended: Vec<(SessionKey, CloseReason)>,
    pub(crate) wheel: Wheel<SessionKey>,
    pub(crate) timers: Wheel<u64>,
    /// A timer was set that fires before the driver would look.
    pub(crate) earlier_timer: bool,
    /// When the driver looks at the wheels next.
    pub(crate) driver_looks: Option<Time>,
    framer: Framer,
    gather: Vec<u8>,
    next_websocket: u32,
}

impl State {
    pub(crate) fn new(config: &Config) -> State {
        State {
            slots: Slots::default(),
            by_sid: HashMap::default(),
            dirty: Vec::new(),
            ended: Vec::new(),
            wheel: Wheel::new(Time(0)),
            timers: Wheel::new(Time(0)),
            earlier_timer: false,
            driver_looks: None,
            framer: Framer::new(
                config.local.per_message_deflate.as_ref().map(|d| (d.threshold, d.level)),
            ),
            gather: Vec::new(),
            next_websocket: 0,
        }
    }

    /// The number of sessions, those that are closing included.
    pub(crate) fn len(&self) -> usize {
        self.by_sid.len()
    }

    pub(crate) fn conn(&mut self, key: SessionKey) -> Option<&mut Conn> {
        self.slots.get_mut(key)
    }

    pub(crate) fn find(&self, sid: &SessionId) -> Option<SessionKey> {
        self.slots.key(*self.by_sid.get(sid)?)
    }

    pub(crate) fn keys(&self) -> Vec<SessionKey> {
        self.by_sid.values().filter_map(|slot| self.slots.key(*slot)).collect()
    }

    pub(crate) fn wants_driver(&self) -> bool {
        !self.dirty.is_empty() || !self.ended.is_empty() || self.earlier_timer
    }

    /// Adds a session and queues its OPEN packet, if that has not been sent by itself.
    pub(crate) fn open(&mut self, env: &Env, conn: Conn, open: Option<Bytes>) -> SessionKey {
        env.metrics.opened.add(1);
        env.metrics.sessions(conn.transport()).add(1);
        let sid = conn.sid;
        let key = self.slots.insert(conn);
        self.by_sid.insert(sid, key.slot);
        if let Some(open) = open {
            self.queue(env, key, open);
        }
        self.schedule(env, key);
        key
    }

    /// Runs the state machine and carries out its decisions. Returns the data of a message.
    pub(crate) fn try_input<'a>(
        &mut self,
        env: &Env,
        now: Time,
        key: SessionKey,
        input: Input<'a>,
    ) -> Result<Option<Data<'a>>, Refused> {
        let Some(conn) = self.conn(key) else { return Err(Refused::Ended) };
        let result = conn.session.handle(now, &env.timing, input);
        while let Some(output) = self.conn(key).and_then(|conn| conn.session.poll()) {
            self.carry_out(env, key, output);
        }
        // A message can only put the deadline off, for which there is time when it fires.
        if !matches!(result, Ok(Some(_))) {
            self.schedule(env, key);
        }
        result
    }

    /// As [`State::try_input`], for inputs that cannot be refused.
    pub(crate) fn input<'a>(
        &mut self,
        env: &Env,
        now: Time,
        key: SessionKey,
        input: Input<'a>,
    ) -> Option<Data<'a>> {
        self.try_input(env, now, key, input).ok().flatten()
    }

    fn carry_out(&mut self, env: &Env, key: SessionKey, output: Output) {
        match output {
            Output::SendPing => self.queue(env, key, Bytes::from_static(PING)),
            Output::SendPong => self.queue(env, key, Bytes::from_static(PONG)),
            Output::AnswerGetNoop => {
                self.answer_get(env, key, |conn| Conn::single(conn.dialect.version, NOOP));
            }
            Output::AnswerGetClose => self.answer_get(env, key, |conn| {
                conn.outbox.push(Bytes::from_static(CLOSE));
                // There is no other answer in which the rest could go.
                conn.drain(usize::MAX)
            }),
            Output::AnswerProbe => self.answer_probe(env, key),
            Output::EndProbe => self.end_probe(env, key),
            Output::Upgraded => self.upgraded(env, key),
            Output::Ended(reason) => self.report(env, key, reason.into()),
            Output::Release => self.release(env, key),
        }
    }

    /// Queues one frame, without asking whether the session may still send.
    pub(crate) fn queue(&mut self, env: &Env, key: SessionKey, frame: Bytes) {
        let Some(conn) = self.conn(key) else { return };
        let len = frame.len();
        env.metrics.outbox_bytes.add(len as u64);
        conn.outbox.push(frame);
        let was_dirty = std::mem::replace(&mut conn.dirty, true);
        let too_much = conn.outbox.cost() > env.config.local.outbox_bytes_max;
        if !was_dirty {
            self.dirty.push(key);
        }
        if too_much {
            self.over_limit(env, key, len, !was_dirty);
        }
    }

    pub(crate) fn send<'a>(
        &mut self,
        env: &Env,
        key: SessionKey,
        messages: impl IntoIterator<Item = Message<'a>>,
        options: SendOptions,
    ) -> Sent {
        let Some(conn) = self.conn(key) else { return Sent::Closed };
        if let Some(outcome) = not_now(env, conn, options) {
            return outcome;
        }
        let dialect = conn.dialect;
        let blocked = matches!(&conn.carrier, Carrier::WebSocket(ws) if ws.blocked.is_some());
        let mut outcome = Sent::Queued;
        for message in messages {
            let mut frame = self.framer.message(dialect, message, options.compress);
            if blocked && frame.len() < 4096 {
                frame = Bytes::copy_from_slice(&frame);
            }
            outcome = self.queue_message(env, key, frame, options);
        }
        outcome
    }

    pub(crate) fn send_shared(
        &mut self,
        env: &Env,
        key: SessionKey,
        message: &SharedMessage,
        options: SendOptions,
    ) -> Sent {
        let Some(conn) = self.conn(key) else { return Sent::Closed };
        if let Some(outcome) = not_now(env, conn, options) {
            return outcome;
        }
        let dialect = conn.dialect;
        let mut outcome = Sent::Queued;
        for index in 0..message.len() {
            let frame = message.frame(index, dialect, options.compress, &mut self.framer);
            if let Some(frame) = frame.cloned() {
                outcome = self.queue_message(env, key, frame, options);
            }
        }
        outcome
    }

    fn queue_message(
        &mut self,
        env: &Env,
        key: SessionKey,
        frame: Bytes,
        options: SendOptions,
    ) -> Sent {
        env.metrics.messages_out.add(1);
        self.queue(env, key, frame);
        match self.conn(key) {
            Some(conn) => {
                if options.compress {
                    conn.outbox.mark_compressible();
                }
                Sent::Queued
            }
            None => Sent::Closed,
        }
    }

    pub(super) fn report(&mut self, env: &Env, key: SessionKey, reason: CloseReason) {
        if let Some(conn) = self.conn(key)
            && std::mem::take(&mut conn.told)
        {
            env.metrics.count_closed(reason);
            self.ended.push((key, reason));
        }
    }

    /// Reports that a polling session ends because its client reads an answer too slowly.
    pub(crate) fn too_slow(&mut self, env: &Env, key: SessionKey) {
        if self.conn(key).is_some_and(|conn| conn.polling().is_some()) {
            self.report(env, key, CloseReason::SlowConsumer);
        }
    }

    fn answer_get(
        &mut self,
        env: &Env,
        key: SessionKey,
        answer: impl FnOnce(&mut Conn) -> PollAnswer,
    ) {
        let Some(conn) = self.conn(key) else { return };
        let before = conn.outbox.bytes();
        let Some(get) = conn.polling().and_then(|polling| polling.get.take()) else { return };
        let answer = answer(conn);
        env.metrics.outbox_bytes.sub(before.saturating_sub(conn.outbox.bytes()) as u64);
        env.metrics.polls_waiting.sub(1);
        env.metrics.bytes_out.add(answer.payload.body.len() as u64);
        // An error means that the GET was aborted meanwhile; its guard reports that.
        let _ = get.send(answer);
    }

    fn answer_probe(&mut self, env: &Env, key: SessionKey) {
        let gather = &mut self.gather;
        let Some(conn) = self.slots.get_mut(key) else { return };
        if let Some(Probe { websocket: Some(websocket), outbox, .. }) =
            conn.polling().and_then(|polling| polling.probe.as_deref_mut())
        {
            let answer = Bytes::from_static(PROBE_ANSWER);
            // Answers that are not read must not pile up; all are the same.
            if !(websocket.blocked.is_some() && outbox.replace_last(answer[0], &answer)) {
                outbox.push(answer);
            }
            // A failure shows when the task reads or writes again.
            let (written, _) = websocket.write(env.now(), outbox, gather);
            env.metrics.bytes_out.add(written as u64);
        }
    }

    fn end_probe(&mut self, env: &Env, key: SessionKey) {
        let Some(polling) = self.conn(key).and_then(Conn::polling) else { return };
        if let Some(probe) = polling.probe.take() {
            drop_probe(env, *probe);
        }
    }

    fn upgraded(&mut self, env: &Env, key: SessionKey) {
        let Some(conn) = self.conn(key) else { return };
        let Some(polling) = conn.polling() else { return };
        let Some(probe) = polling.probe.take() else { return };
        let Probe { websocket: Some(websocket), mut outbox, deflate, base64, .. } = *probe else {
            return;
        };
        if let Some(get) = polling.get.take() {
            env.metrics.polls_waiting.sub(1);
            let _ = get.send(Conn::single(conn.dialect.version, NOOP));
        }
        conn.dialect = Dialect { base64, deflate, ..conn.dialect };
        if base64 {
            let before = conn.outbox.bytes();
            conn.outbox.map(|frame| frames::as_base64(conn.dialect.version, frame));
            env.metrics.outbox_bytes.add(conn.outbox.bytes() as u64);
            env.metrics.outbox_bytes.sub(before as u64);
        }
        if !outbox.is_empty() {
            // Not written yet, or in part: it goes first.
            env.metrics.outbox_bytes.add(outbox.bytes() as u64);
            while let Some(frame) = conn.outbox.pop() {
                outbox.push(frame);
            }
            conn.outbox = outbox;
        }
        conn.carrier = Carrier::WebSocket(websocket);
        if !std::mem::replace(&mut conn.dirty, true) {
            self.dirty.push(key);
        }
        env.metrics.sessions_polling.sub(1);
        env.metrics.sessions_websocket.add(1);
        env.metrics.probes.sub(1);
        env.metrics.upgrades.add(1);
    }

    /// Frees a session. A WebSocket gets what is queued and a close frame first, on a task of its
    /// own.
    pub(super) fn release(&mut self, env: &Env, key: SessionKey) {
        let Some(mut conn) = self.slots.remove(key) else { return };
        self.by_sid.remove(&conn.sid);
        farewell::gone();
        if let Some(waker) = conn.held.take() {
            waker.wake();
        }
        env.metrics.sessions(conn.transport()).sub(1);
        env.metrics.outbox_bytes.sub(conn.outbox.bytes() as u64);
        let outbox = std::mem::take(&mut conn.outbox);
        match conn.carrier {
            Carrier::Polling(polling) => {
                if let Some(get) = polling.get {
                    // A client that closes within one response cycle is answered with what is left.
                    env.metrics.polls_waiting.sub(1);
                    drop(get);
                }
                if let Some(probe) = polling.probe {
                    drop_probe(env, *probe);
                }
            }
            Carrier::WebSocket(websocket) => end_websocket(env, websocket, outbox),
        }
    }

    /// Sees to it that the wheel wakes the session at its deadline.
    fn schedule(&mut self, env: &Env, key: SessionKey) {
        let Some(conn) = self.conn(key) else { return };
        let Some(deadline) = conn.deadline(env.slow_timeout) else { return };
        let tick = (deadline.0.div_ceil(wheel::TICK)) as u32;
        // An entry that fires earlier is set anew when it does.
        let covered = conn.wheel_due != 0 && tick.wrapping_sub(conn.wheel_due).cast_signed() >= 0;
        if !covered {
            let due = self.wheel.insert(deadline, key);
            if let Some(conn) = self.conn(key) {
                conn.wheel_due = due as u32;
            }
            self.note_timer(deadline);
        }
    }

    pub(crate) fn set_timer(&mut self, at: Time, timer: u64) {
        self.timers.insert(at, timer);
        self.note_timer(at);
    }

    fn note_timer(&mut self, at: Time) {
        if self.driver_looks.is_none_or(|looks| at < looks) {
            self.earlier_timer = true;
        }
    }

    /// A wheel entry of a session has fired.
    pub(crate) fn fire(&mut self, env: &Env, now: Time, key: SessionKey, due: u32) {
        let Some(conn) = self.conn(key) else { return };
        if conn.wheel_due != due {
            return;
        }
        conn.wheel_due = 0;
        if !self.fire_due(env, now, key) {
            self.schedule(env, key);
        }
    }

    /// Tells the session if its deadline has passed, and returns whether it has.
    pub(crate) fn fire_due(&mut self, env: &Env, now: Time, key: SessionKey) -> bool {
        let Some(conn) = self.conn(key) else { return false };
        let due = |deadline: Option<Time>| deadline.is_some_and(|deadline| deadline <= now);
        if due(conn.session.deadline()) {
            self.input(env, now, key, Input::Timeout);
            return true;
        }
        if due(conn.stall_deadline(env.slow_timeout)) {
            self.stalled(env, now, key);
            self.schedule(env, key);
            return true;
        }
        false
    }

    /// Has the time of all closing sessions be up: their clients have had it.
    pub(crate) fn give_up(&mut self, env: &Env) {
        for key in self.keys() {
            let closing = self.conn(key).filter(|conn| !conn.is_open());
            if let Some(deadline) = closing.and_then(|conn| conn.session.deadline()) {
                self.input(env, deadline, key, Input::Timeout);
            }
        }
    }

    /// Has the memory of sessions fetched.
    pub(crate) fn touch(&mut self, keys: &[SessionKey]) {
        let touched = keys.iter().map(|key| match self.conn(*key) {
            Some(conn) => match &conn.carrier {
                Carrier::WebSocket(websocket) => websocket.id ^ conn.wheel_due,
                Carrier::Polling(_) => 0,
            },
            None => 0,
        });
        std::hint::black_box(touched.fold(0, |all, one| all ^ one));
    }

    /// Writes what a session has queued.
    pub(crate) fn flush(&mut self, env: &Env, now: Time, key: SessionKey) {
        let mut gather = std::mem::take(&mut self.gather);
        if let Some(conn) = self.conn(key) {
            conn.dirty = false;
            match &mut conn.carrier {
                Carrier::Polling(_) => {
                    let waits = conn.session.get_waits();
                    if waits && !conn.outbox.is_empty() {
                        self.answer_get(env, key, |conn| conn.drain(POLL_ANSWER_MAX));
                        self.input(env, now, key, Input::GetAnswered);
                    } else if waits && !conn.session.is_open() {
                        self.input(env, now, key, Input::Close { drained: true });
                    }
                }
                Carrier::WebSocket(websocket) if websocket.blocked.is_none() => {
                    let (written, result) = websocket.write(now, &mut conn.outbox, &mut gather);
                    let blocks = websocket.blocked.is_some();
                    self.written(env, now, key, written, result.is_err());
                    if blocks {
                        self.schedule(env, key);
                    }
                }
                Carrier::WebSocket(_) => {}
            }
        }
        self.gather = gather;
    }

    /// Goes on writing on a WebSocket whose task was woken because there is room again.
    pub(crate) fn resume_write(&mut self, env: &Env, now: Time, key: SessionKey, id: u32) {
        let mut gather = std::mem::take(&mut self.gather);
        if let Some((websocket, outbox, carries)) = self.conn(key).and_then(|c| c.websocket(id)) {
            let (written, result) = websocket.write(now, outbox, &mut gather);
            if carries {
                self.written(env, now, key, written, result.is_err());
            } else if result.is_err() {
                self.lost(env, now, key, id, Farewell::Gone, true);
            }
        }
        self.gather = gather;
    }

    pub(super) fn written(
        &mut self,
        env: &Env,
        now: Time,
        key: SessionKey,
        bytes: usize,
        failed: bool,
    ) {
        env.metrics.bytes_out.add(bytes as u64);
        env.metrics.outbox_bytes.sub(bytes as u64);
        if failed && let Some(Carrier::WebSocket(websocket)) = self.conn(key).map(|c| &c.carrier) {
            let id = websocket.id;
            self.lost(env, now, key, id, Farewell::Gone, true);
        }
    }

    /// A WebSocket of this session has ended or must be ended.
    pub(crate) fn lost(
        &mut self,
        env: &Env,
        now: Time,
        key: SessionKey,
        id: u32,
        farewell: Farewell,
        error: bool,
    ) {
        let Some((websocket, _, carries)) = self.conn(key).and_then(|conn| conn.websocket(id))
        else {
            return;
        };
        websocket.farewell = farewell;
        if carries {
            self.input(env, now, key, Input::Lost { error });
        } else {
            self.end_probe(env, key);
            self.input(env, now, key, Input::ProbeEnded);
        }
    }

    /// The client closes a WebSocket of this session. The answer says what it said (RFC 6455 §5.5.1).
    pub(crate) fn closed_by_client(
        &mut self,
        env: &Env,
        now: Time,
        key: SessionKey,
        id: u32,
        answer: Bytes,
    ) {
        if let Some((_, outbox, carries)) = self.conn(key).and_then(|conn| conn.websocket(id)) {
            if carries {
                env.metrics.outbox_bytes.add(answer.len() as u64);
            }
            outbox.push(answer);
            self.lost(env, now, key, id, Farewell::Answered, false);
        }
    }

    /// A pong that answers a WebSocket ping. Only the latest ping need be answered (RFC 6455
    /// §5.5.3), so pings that are not read cannot pile up pongs.
    pub(crate) fn pong(&mut self, env: &Env, key: SessionKey, id: u32, pong: Bytes) {
        let Some((websocket, outbox, carries)) = self.conn(key).and_then(|conn| conn.websocket(id))
        else {
            return;
        };
        let before = outbox.bytes();
        if websocket.blocked.is_some() && outbox.replace_last(pong[0], &pong) {
            let after = outbox.bytes();
            if carries {
                env.metrics.outbox_bytes.add(after as u64);
                env.metrics.outbox_bytes.sub(before as u64);
            }
        } else if carries {
            self.queue(env, key, pong);
        } else {
            outbox.push(pong);
            self.resume_write(env, env.now(), key, id);
        }
    }

    /// A number for a new WebSocket.
    pub(crate) fn next_websocket_id(&mut self) -> u32 {
        self.next_websocket = self.next_websocket.wrapping_add(1);
        self.next_websocket
    }

    /// Registers a GET that waits. The caller has given [`Input::Get`] and found that it may wait.
    pub(crate) fn wait(
        &mut self,
        env: &Env,
        key: SessionKey,
        base64: bool,
    ) -> Option<oneshot::Receiver<PollAnswer>> {
        let polling = self.conn(key)?.polling()?;
        let (sender, receiver) = oneshot::channel();
        polling.get = Some(sender);
        polling.get_base64 = base64;
        env.metrics.polls_waiting.add(1);
        Some(receiver)
    }

    /// The waiting GET's connection broke.
    pub(crate) fn abort_get(&mut self, env: &Env, key: SessionKey) {
        if let Some(polling) = self.conn(key).and_then(Conn::polling)
            && polling.get.as_ref().is_some_and(oneshot::Sender::is_closed)
        {
            polling.get = None;
            env.metrics.polls_waiting.sub(1);
        }
    }

    /// Makes a session that begins on a WebSocket. `answer` is what is left to write of the answer to
    /// the handshake, `open` the OPEN packet.
    pub(crate) fn open_websocket(
        &mut self,
        env: &Env,
        now: Time,
        io: Io,
        sid: SessionId,
        dialect: Dialect,
        [answer, open]: [Bytes; 2],
    ) -> (SessionKey, u32) {
        let id = self.next_websocket_id();
        let session = Session::websocket(now, dialect.version, &env.timing);
        let websocket = WebSocket::new(io, id, dialect.deflate);
        env.metrics.connections_websocket.add(1);
        let mut conn = Conn::new(session, Carrier::WebSocket(websocket), sid, dialect);
        env.metrics.outbox_bytes.add(answer.len() as u64);
        conn.outbox = Outbox::beginning_with(answer);
        (self.open(env, conn, Some(open)), id)
    }

    /// Makes a session that begins with polling. Its frames are binary where the messages are:
    /// a payload is made of them in the form that its GET asks for.
    pub(crate) fn open_polling(
        &mut self,
        env: &Env,
        now: Time,
        sid: SessionId,
        version: Version,
        base64: bool,
        open: Option<Bytes>,
    ) -> SessionKey {
        let session = Session::polling(now, version, &env.timing);
        let dialect = Dialect { version, base64: false, deflate: false };
        let polling = Polling { base64, ..Polling::default() };
        let conn = Conn::new(session, Carrier::Polling(polling), sid, dialect);
        self.open(env, conn, open)
    }
}

/// Whether a message cannot be queued now, and what becomes of it.
fn not_now(env: &Env, conn: &Conn, options: SendOptions) -> Option<Sent> {
    if !conn.is_open() {
        return Some(Sent::Closed);
    }
    if options.volatile && !conn.writable() {
        env.metrics.messages_dropped.add(1);
        return Some(Sent::Dropped);
    }
    None
}

fn drop_probe(env: &Env, probe: Probe) {
    env.metrics.probes.sub(1);
    env.metrics.upgrades_failed.add(1);
    if let Some(websocket) = probe.websocket {
        end_websocket(env, websocket, probe.outbox);
    }
}

/// Lets the task of a WebSocket end and says goodbye to the peer if it is still there.
fn end_websocket(env: &Env, mut websocket: WebSocket, mut outbox: Outbox) {
    env.metrics.connections_websocket.sub(1);
    if let Some(waker) = websocket.waker.take() {
        waker.wake();
    }
    match websocket.farewell {
        Farewell::Gone => return,
        Farewell::Answered => {}
        Farewell::Plain => outbox.push(close_frame(None, "")),
        Farewell::Code(code) => outbox.push(close_frame(Some(code), "")),
    }
    let reader = (websocket.farewell != Farewell::Answered).then_some(websocket.reader);
    farewell::linger(websocket.io, outbox, reader);
}

impl From<Reason> for CloseReason {
    fn from(reason: Reason) -> CloseReason {
        match reason {
            Reason::TransportError => CloseReason::TransportError,
            Reason::TransportClose => CloseReason::TransportClose,
            Reason::PingTimeout => CloseReason::PingTimeout,
            Reason::ParseError => CloseReason::ParseError,
        }
    }
}
