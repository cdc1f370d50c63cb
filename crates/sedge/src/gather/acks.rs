//! The acknowledgements of a broadcast. The wait ends as soon as nobody is left who could acknowledge.

use std::time::Instant;

use sedge_adapter::{AckRequest, Missing, MissingReason};
use sedge_protocol::socketio::Args;

use super::inquiry::{Book, Inquiry};
use super::responders::Responder;

/// The acknowledgements of one broadcast.
pub(crate) type Acks = Inquiry<AckRequest<Responder, Args<'static>>>;

/// What shards and processes tell of their clients.
pub(crate) enum AckEvent {
    /// The packet was sent to as many.
    Counted(u32),
    /// One has acknowledged.
    Acknowledged(Args<'static>),
    /// As many were disconnected before they acknowledged, or could not be asked.
    Lost(u32),
}

impl Book for AckRequest<Responder, Args<'static>> {
    type Event = AckEvent;

    fn begin(expected: Vec<Responder>, deadline: Instant) -> Self {
        AckRequest::new(expected, deadline)
    }

    fn tell(&mut self, from: Responder, event: AckEvent) {
        match event {
            AckEvent::Counted(clients) => self.on_client_count(from, clients),
            AckEvent::Acknowledged(args) => self.on_ack(from, args),
            AckEvent::Lost(clients) => self.on_clients_lost(from, clients),
        };
    }

    fn split(&mut self, whole: Responder, parts: impl Iterator<Item = Responder>) {
        AckRequest::split(self, whole, parts);
    }

    fn give_up(&mut self, which: impl Fn(Responder) -> bool, reason: MissingReason) {
        self.give_up_where(which, reason);
    }

    fn is_done(&self) -> bool {
        self.deadline().is_none()
    }

    fn end(&mut self) {
        if let Some(deadline) = self.deadline() {
            self.on_deadline(deadline);
        }
    }

    fn missing(&self) -> Vec<Missing<Responder>> {
        self.unheard().collect()
    }
}
