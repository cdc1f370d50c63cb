//! Several servers on the memory bus: everything that is asked of a cluster, whatever carries it.

mod suite;

use std::sync::Arc;

use sedge::{Bus, memory::MemoryCluster};
use sedge_adapter::{BusReceiver, Peer, PeerId};

/// Servers of one process.
#[derive(Default)]
pub(crate) struct Memory(MemoryCluster);

impl suite::Carrier for Memory {
    fn bus(&mut self, name: &str) -> Arc<dyn Bus> {
        Arc::new(self.0.member(name))
    }
}

suite::cluster_suite!(crate::Memory);

struct Deaf;

impl BusReceiver for Deaf {
    fn on_message(&self, _: PeerId, _: bytes::Bytes) {}
    fn on_joined(&self, _: Peer) {}
    fn on_left(&self, _: PeerId, _: u64) {}
}

#[test]
fn what_was_on_its_way_to_a_process_that_is_cut_off_is_counted() {
    let members = MemoryCluster::new();
    let io = sedge::Server::builder().shards(1).bus(Arc::new(members.member("one"))).build();
    let io = io.expect("valid options");
    let other = members.member("two");
    other.start(Arc::new(Deaf));
    let bus = || io.metrics().bus.expect("it has one");
    let eventually = |holds: &dyn Fn() -> bool| {
        assert!(sedge_testkit::eventually(sedge_testkit::DEADLINE, holds), "{:?}", bus());
    };
    eventually(&|| bus().peers == 1);
    other.subscribe(sedge_adapter::Topic::Namespace("/"));
    other.hold(true);
    for n in 0..5 {
        io.emit("n", &n).expect("it is taken");
    }
    assert_eq!((bus().sent, bus().lost), (5, 0));
    other.cut_off();
    eventually(&|| (bus().peers, bus().lost) == (0, 5));
}
