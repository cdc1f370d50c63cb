//! Several servers on the bus that the workers of a host have: everything that is asked of a cluster,
//! whatever carries it.
#![cfg(all(feature = "cluster", target_os = "linux"))]

#[path = "cluster/suite/mod.rs"]
mod suite;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use sedge::Bus;
use sedge_adapter::{Audience, BusReceiver, Peer, PeerId, Published, SendError, Topic};
use sedge_cluster::UnixBus;

/// Workers of one process, in a directory that is removed with them.
pub(crate) struct Host {
    directory: PathBuf,
    free: VecDeque<UnixBus>,
    names: Names,
}

/// What the suite calls the workers, by their index.
type Names = Arc<Mutex<Vec<Arc<str>>>>;

impl Default for Host {
    fn default() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("sedge-bus-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).expect("a directory");
        // The suite has strangers on the bus too.
        let workers = suite::NAMES.len() as u8 + 2;
        let free = UnixBus::in_one_process(&directory, workers).expect("buses").into();
        Host { directory, free, names: Names::default() }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl suite::Carrier for Host {
    fn bus(&mut self, name: &str) -> Arc<dyn Bus> {
        self.names.lock().expect("no panic").push(name.into());
        let bus = self.free.pop_front().expect("no more workers than names");
        Arc::new(Named { bus, names: Arc::clone(&self.names) })
    }
}

/// The bus calls its members `worker 0` and so on, and the suite has names of its own.
struct Named {
    bus: UnixBus,
    names: Names,
}

fn renamed(names: &Names, peer: &Peer) -> Peer {
    let index = peer.name.strip_prefix("worker ").and_then(|index| index.parse::<usize>().ok());
    let names = names.lock().expect("no panic");
    let name = index.and_then(|index| names.get(index)).expect("a known worker");
    Peer { id: peer.id, name: Arc::clone(name) }
}

impl Bus for Named {
    fn start(&self, receiver: Arc<dyn BusReceiver>) {
        self.bus.start(Arc::new(NamedReceiver { receiver, names: Arc::clone(&self.names) }));
    }

    fn peers(&self) -> Vec<Peer> {
        self.bus.peers().into_iter().map(|peer| renamed(&self.names, &peer)).collect()
    }

    fn subscribe(&self, topic: Topic<'_>) {
        self.bus.subscribe(topic);
    }

    fn unsubscribe(&self, topic: Topic<'_>) {
        self.bus.unsubscribe(topic);
    }

    fn publish(&self, audience: Audience<'_>, message: &Bytes) -> Published {
        self.bus.publish(audience, message)
    }

    fn send(&self, to: PeerId, message: Bytes) -> Result<(), SendError> {
        self.bus.send(to, message)
    }

    fn message_bytes_max(&self) -> usize {
        self.bus.message_bytes_max()
    }

    fn backlog(&self, to: PeerId) -> usize {
        self.bus.backlog(to)
    }

    fn close(&self) {
        self.bus.close();
    }
}

struct NamedReceiver {
    receiver: Arc<dyn BusReceiver>,
    names: Names,
}

impl BusReceiver for NamedReceiver {
    fn on_message(&self, from: PeerId, message: Bytes) {
        self.receiver.on_message(from, message);
    }

    fn on_joined(&self, peer: Peer) {
        self.receiver.on_joined(renamed(&self.names, &peer));
    }

    fn on_left(&self, peer: PeerId, lost: u64) {
        self.receiver.on_left(peer, lost);
    }
}

suite::cluster_suite!(crate::Host);
