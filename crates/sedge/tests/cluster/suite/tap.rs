//! A tap between a server and its carrier: it counts, refuses and holds back, whatever the carrier is.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use bytes::Bytes;
use sedge::Bus;
use sedge_adapter::{Audience, BusReceiver, Peer, PeerId, Published, SendError, Topic};

/// The bus that a server is given.
pub(crate) struct Tap {
    inner: Arc<dyn Bus>,
    gate: Arc<Gate>,
    /// The names of those who refuse, in the whole cluster.
    refusing: Arc<Mutex<HashSet<Arc<str>>>>,
    topics: Mutex<BTreeMap<String, i64>>,
}

/// What stands before the server.
struct Gate {
    name: Arc<str>,
    receiver: OnceLock<Arc<dyn BusReceiver>>,
    refusing: Arc<Mutex<HashSet<Arc<str>>>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: bool,
    waiting: Vec<(PeerId, Bytes)>,
    received: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic")
}

impl Tap {
    pub(crate) fn new(
        name: &str,
        inner: Arc<dyn Bus>,
        refusing: Arc<Mutex<HashSet<Arc<str>>>>,
    ) -> Arc<Tap> {
        let gate = Gate {
            name: name.into(),
            receiver: OnceLock::new(),
            refusing: Arc::clone(&refusing),
            state: Mutex::default(),
        };
        Arc::new(Tap { inner, gate: Arc::new(gate), refusing, topics: Mutex::default() })
    }

    /// How many messages have come.
    pub(crate) fn received(&self) -> u64 {
        lock(&self.gate.state).received
    }

    /// Holds messages back, or lets them through again.
    pub(crate) fn hold(&self, hold: bool) {
        let mut state = lock(&self.gate.state);
        state.held = hold;
        if !hold {
            for (from, message) in std::mem::take(&mut state.waiting) {
                self.gate.receiver().on_message(from, message);
            }
        }
    }

    /// What the server wants at present.
    pub(crate) fn topics(&self) -> Vec<String> {
        lock(&self.topics).keys().cloned().collect()
    }

    fn count(&self, topic: Topic<'_>, change: i64) {
        let name = match topic {
            Topic::Namespace(name) => name.to_owned(),
            Topic::Room(name, room) => format!("{name} {room}"),
        };
        let mut topics = lock(&self.topics);
        let count = topics.entry(name.clone()).or_default();
        *count += change;
        assert!(*count >= 0, "{name} is unsubscribed once for each subscription");
        if *count == 0 {
            topics.remove(&name);
        }
    }

    fn refuses(&self, peer: PeerId) -> bool {
        let refusing = lock(&self.refusing);
        if refusing.is_empty() {
            return false;
        }
        let peers = self.inner.peers();
        peers.iter().any(|known| known.id == peer && refusing.contains(&known.name))
    }
}

impl Gate {
    fn receiver(&self) -> &Arc<dyn BusReceiver> {
        self.receiver.get().expect("it has been started")
    }
}

impl Bus for Tap {
    fn start(&self, receiver: Arc<dyn BusReceiver>) {
        assert!(self.gate.receiver.set(receiver).is_ok(), "it is started once");
        self.inner.start(Arc::clone(&self.gate) as Arc<dyn BusReceiver>);
    }

    fn peers(&self) -> Vec<Peer> {
        self.inner.peers()
    }

    fn subscribe(&self, topic: Topic<'_>) {
        self.inner.subscribe(topic);
        self.count(topic, 1);
    }

    fn unsubscribe(&self, topic: Topic<'_>) {
        self.count(topic, -1);
        self.inner.unsubscribe(topic);
    }

    fn publish(&self, audience: Audience<'_>, message: &Bytes) -> Published {
        let published = self.inner.publish(audience, message);
        let mut result = Published { refused: published.refused, ..Published::default() };
        for peer in published.reached {
            if self.refuses(peer) {
                result.refused.push(peer);
            } else {
                result.reached.push(peer);
            }
        }
        result
    }

    fn send(&self, to: PeerId, message: Bytes) -> Result<(), SendError> {
        if self.refuses(to) {
            return Err(SendError::Full);
        }
        self.inner.send(to, message)
    }

    fn close(&self) {
        self.inner.close();
    }
}

impl BusReceiver for Gate {
    fn on_message(&self, from: PeerId, message: Bytes) {
        // Whoever published it was told that it would be refused.
        if lock(&self.refusing).contains(&self.name) {
            return;
        }
        let mut state = lock(&self.state);
        state.received += 1;
        if state.held {
            state.waiting.push((from, message));
        } else {
            self.receiver().on_message(from, message);
        }
    }

    fn on_joined(&self, peer: Peer) {
        self.receiver().on_joined(peer);
    }

    fn on_left(&self, peer: PeerId) {
        self.receiver().on_left(peer);
    }
}
