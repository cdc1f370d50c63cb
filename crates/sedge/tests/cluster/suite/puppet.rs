//! A member of the bus that says what a test makes it say.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use sedge::{Bus, Value};
use sedge_adapter::wire::{self, Incoming};
use sedge_adapter::{
    Audience, BusReceiver, Part, Peer, PeerId, RequestId, Response, ResponseBody, Topic,
};
use sedge_testkit::DEADLINE;

/// A process that is no server.
pub(crate) struct Puppet {
    bus: Arc<dyn Bus>,
    heard: Receiver<(PeerId, Bytes)>,
}

struct Ear(Mutex<Sender<(PeerId, Bytes)>>);

impl BusReceiver for Ear {
    fn on_message(&self, from: PeerId, message: Bytes) {
        let _ = self.0.lock().expect("no panic").send((from, message));
    }

    fn on_joined(&self, _: Peer) {}

    fn on_left(&self, _: PeerId, _: u64) {}
}

impl Puppet {
    pub(crate) fn new(bus: Arc<dyn Bus>) -> Puppet {
        let (sender, heard) = channel();
        bus.start(Arc::new(Ear(Mutex::new(sender))));
        bus.subscribe(Topic::Namespace("/"));
        Puppet { bus, heard }
    }

    /// The next message.
    pub(crate) fn hear(&self) -> (PeerId, Bytes) {
        self.heard.recv_timeout(DEADLINE).expect("a message before the deadline")
    }

    /// The next message, which is a request.
    pub(crate) fn asked(&self) -> (PeerId, RequestId) {
        let (from, message) = self.hear();
        match wire::decode(&message) {
            Ok(Incoming::Operation { operation, .. }) => {
                (from, operation.request().expect("a request"))
            }
            other => panic!("{other:?}"),
        }
    }

    /// The next message, which is an answer.
    pub(crate) fn answered(&self) -> Response<Value> {
        match wire::decode(&self.hear().1) {
            Ok(Incoming::Response(response)) => response,
            other => panic!("{other:?}"),
        }
    }

    /// Answers one process.
    pub(crate) fn answer(
        &self,
        to: PeerId,
        request: RequestId,
        part: Part,
        body: ResponseBody<Value>,
    ) {
        let response = Response { request, part, body };
        self.bus.send(to, wire::encode_response(&response)).expect("a process that reads");
    }

    /// Says something to all.
    pub(crate) fn publish(&self, message: &Bytes) {
        self.bus.publish(Audience::Everybody, message);
    }

    /// Leaves.
    pub(crate) fn leave(&self) {
        self.bus.close();
    }
}
