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
    refusals: Arc<Refusals>,
    topics: Mutex<BTreeMap<String, i64>>,
}

/// What stands before the server.
struct Gate {
    name: Arc<str>,
    receiver: OnceLock<Arc<dyn BusReceiver>>,
    refusals: Arc<Refusals>,
    state: Mutex<State>,
}

/// Who refuses, in the whole cluster, and what was refused. The carrier under a tap takes a refused message all the
/// same, and hands it over when it likes; the receiver's tap throws away what the sender's has refused.
#[derive(Default)]
pub(crate) struct Refusals {
    names: Mutex<HashSet<Arc<str>>>,
    messages: Mutex<Vec<(Arc<str>, Bytes)>>,
}

impl Refusals {
    /// Makes what others have for a process be refused, or not any more.
    pub(crate) fn set(&self, name: &str, refuse: bool) {
        let mut names = lock(&self.names);
        if refuse {
            names.insert(name.into());
        } else {
            names.remove(name);
        }
    }

    /// Notes for all who refuse that they do not get a message. Returns their names.
    fn refuse(&self, message: &Bytes) -> HashSet<Arc<str>> {
        let names = lock(&self.names).clone();
        lock(&self.messages).extend(names.iter().map(|name| (Arc::clone(name), message.clone())));
        names
    }

    /// Whether a message was refused for somebody; then the note of it is gone.
    fn take(&self, name: &str, message: &Bytes) -> bool {
        let mut messages = lock(&self.messages);
        let noted = messages.iter().position(|(who, what)| **who == *name && what == message);
        noted.map(|at| messages.remove(at)).is_some()
    }
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
    pub(crate) fn new(name: &str, inner: Arc<dyn Bus>, refusals: Arc<Refusals>) -> Arc<Tap> {
        let gate = Gate {
            name: name.into(),
            receiver: OnceLock::new(),
            refusals: Arc::clone(&refusals),
            state: Mutex::default(),
        };
        Arc::new(Tap { inner, gate: Arc::new(gate), refusals, topics: Mutex::default() })
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
        let names = self.refusals.refuse(message);
        let mut published = self.inner.publish(audience, message);
        if names.is_empty() {
            return published;
        }
        let mut refused = self.inner.peers();
        refused.retain(|peer| names.contains(&peer.name) && published.reached.contains(&peer.id));
        for name in names.iter().filter(|name| refused.iter().all(|peer| peer.name != **name)) {
            self.refusals.take(name, message);
        }
        published.reached.retain(|id| refused.iter().all(|peer| peer.id != *id));
        published.refused.extend(refused.iter().map(|peer| peer.id));
        published
    }

    fn send(&self, to: PeerId, message: Bytes) -> Result<(), SendError> {
        let names = lock(&self.refusals.names);
        let refuses = |peer: Peer| peer.id == to && names.contains(&peer.name);
        if !names.is_empty() && self.inner.peers().into_iter().any(refuses) {
            return Err(SendError::Full);
        }
        drop(names);
        self.inner.send(to, message)
    }

    fn message_bytes_max(&self) -> usize {
        self.inner.message_bytes_max()
    }

    fn backlog(&self, to: PeerId) -> usize {
        self.inner.backlog(to)
    }

    fn close(&self) {
        self.inner.close();
    }
}

impl BusReceiver for Gate {
    fn on_message(&self, from: PeerId, message: Bytes) {
        if self.refusals.take(&self.name, &message) {
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

    fn on_left(&self, peer: PeerId, lost: u64) {
        self.receiver().on_left(peer, lost);
    }
}
