//! Events that wait because their connection has as many handlers under way as it may.

use std::collections::VecDeque;

use sedge_protocol::socketio::{Args, Event};

use crate::core::socket::Socket;
use crate::limits::WAITING_EVENT_OVERHEAD;

/// The events of a connection that wait, in the order in which they came.
#[derive(Default)]
pub(super) struct Waiting {
    events: VecDeque<WaitingEvent>,
    bytes: usize,
    /// Whether the connection is not read because they are too many.
    held: bool,
    /// Whether a task is at work on them.
    pub(super) worked_off: bool,
}

const _: () = assert!(size_of::<WaitingEvent>() <= WAITING_EVENT_OVERHEAD);

/// An event that waits.
pub(super) struct WaitingEvent {
    pub(super) socket: Socket,
    pub(super) name: Box<str>,
    pub(super) args: Args<'static>,
    pub(super) ack: Option<u64>,
    bytes: usize,
}

impl WaitingEvent {
    pub(super) fn new(socket: &Socket, event: &Event<'_>, ack: Option<u64>) -> Self {
        let bytes = WAITING_EVENT_OVERHEAD + event.name.len() + event.args.memory();
        let (name, args) = (event.name.into(), event.args.clone().into_owned());
        WaitingEvent { socket: socket.clone(), name, args, ack, bytes }
    }
}

impl Waiting {
    /// Adds an event. Returns whether the connection is not to be read from here on, because they have
    /// reached so many bytes.
    pub(super) fn push(&mut self, event: WaitingEvent, bytes_max: usize) -> bool {
        self.bytes += event.bytes;
        self.events.push_back(event);
        let hold = !self.held && self.bytes >= bytes_max;
        self.held |= hold;
        hold
    }

    /// Takes the first one out. Returns too whether the connection is to be read again.
    pub(super) fn pop(&mut self, bytes_max: usize) -> Option<(WaitingEvent, bool)> {
        let event = self.events.pop_front()?;
        self.bytes -= event.bytes;
        let release = self.held && self.bytes < bytes_max;
        self.held &= !release;
        Some((event, release))
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }
}
