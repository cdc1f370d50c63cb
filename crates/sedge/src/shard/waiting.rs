//! Events that wait because their connection has as many handlers under way as it may.
//!
//! Only events wait. Acknowledgements, heartbeats and the end of a socket are taken as they come, so that a
//! handler that asks its own client gets the answer whatever else the client has sent before. What waits is
//! bounded by bytes; only beyond that is the connection not read, until there is room again.

use std::collections::VecDeque;
use std::rc::Rc;

use sedge_engine::SessionKey;
use sedge_protocol::socketio::{Args, Event};

use super::LocalShard;
use crate::limits::EVENTS_PER_TURN;
use crate::socket::Socket;

/// The events of a connection that wait, in the order in which they came.
#[derive(Default)]
pub(super) struct Waiting {
    events: VecDeque<WaitingEvent>,
    bytes: usize,
    /// Whether the connection is not read because there are too many.
    held: bool,
    /// Whether a task is at work on them.
    worked_off: bool,
}

/// An event that waits.
struct WaitingEvent {
    socket: Socket,
    name: Box<str>,
    args: Args<'static>,
    ack: Option<u64>,
    bytes: usize,
}

impl WaitingEvent {
    fn new(socket: &Socket, event: &Event<'_>, ack: Option<u64>) -> Self {
        // With what its parts cost on the heap: many small ones are not to be cheap.
        const OVERHEAD: usize = size_of::<WaitingEvent>() + 128;
        let bytes = OVERHEAD + event.name.len() + event.args.memory();
        let (name, args) = (event.name.into(), event.args.clone().into_owned());
        WaitingEvent { socket: socket.clone(), name, args, ack, bytes }
    }
}

impl LocalShard {
    /// Has an event wait if it has to. Returns whether it does.
    pub(super) fn wait(&self, socket: &Socket, event: &Event<'_>, ack: Option<u64>) -> bool {
        let limits = &self.core.options.limits;
        let has_to_wait = self.with_client(socket.session(), |client| {
            client.waiting.is_some() || client.in_flight as usize >= limits.handlers_in_flight
        });
        if has_to_wait != Some(true) {
            return false;
        }
        let event = WaitingEvent::new(socket, event, ack);
        let hold = self.with_client(socket.session(), |client| {
            let waiting = client.waiting.get_or_insert_default();
            waiting.bytes += event.bytes;
            waiting.events.push_back(event);
            let hold = !waiting.held && waiting.bytes >= limits.events_waiting_bytes;
            waiting.held |= hold;
            hold
        });
        let Some(hold) = hold else { return true };
        self.metrics.events_waiting.add(1);
        if hold {
            sedge_log::warn_rarely!(
                socket = %socket.id(),
                "a client sends faster than its handlers finish, and is not read meanwhile"
            );
            self.engine.hold(socket.session());
        }
        true
    }

    /// Handles what waits, as far as the limit of handlers under way allows. Called when one has ended.
    pub(super) async fn work_off(self: &Rc<Self>, session: SessionKey) {
        let begun = self.with_client(session, |client| {
            let waiting = client.waiting.as_mut()?;
            (!std::mem::replace(&mut waiting.worked_off, true)).then_some(())
        });
        if begun.flatten().is_none() {
            return;
        }
        // Those that may end at the same time come first.
        tokio::task::yield_now().await;
        let mut turn = 0;
        while let Some(event) = self.next_waiting(session) {
            self.metrics.events_waiting.sub(1);
            let WaitingEvent { socket, name, args, ack, .. } = event;
            match self.target(&socket) {
                Some(target) => self.handle(&target, &Event { name: &name, args }, ack),
                None => self.metrics.events_dropped.add(1),
            }
            turn += 1;
            if turn == EVENTS_PER_TURN {
                turn = 0;
                tokio::task::yield_now().await;
            }
        }
    }

    /// Takes the next event out, if one more handler may begin.
    fn next_waiting(&self, session: SessionKey) -> Option<WaitingEvent> {
        let limits = &self.core.options.limits;
        let (event, release, empty) = self.with_client(session, |client| {
            let free = (client.in_flight as usize) < limits.handlers_in_flight;
            let waiting = client.waiting.as_mut()?;
            let event = if free { waiting.events.pop_front() } else { None };
            waiting.bytes -= event.as_ref().map_or(0, |event| event.bytes);
            let release = waiting.held && waiting.bytes < limits.events_waiting_bytes;
            waiting.held &= !release;
            if event.is_none() {
                waiting.worked_off = false;
            }
            let done = event.is_none() && waiting.events.is_empty();
            Some((event, release, if done { client.waiting.take() } else { None }))
        })??;
        drop(empty);
        if release {
            self.engine.release(session);
        }
        event
    }

    /// A connection has ended: its events are not handled any more, as in the official server.
    pub(super) fn drop_waiting(&self, waiting: Option<Box<Waiting>>) {
        let Some(waiting) = waiting else { return };
        let count = waiting.events.len() as u64;
        self.metrics.events_waiting.sub(count);
        self.metrics.events_dropped.add(count);
    }
}
