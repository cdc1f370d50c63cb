//! Several servers on the memory bus: everything that is asked of a cluster, whatever carries it.

mod suite;

use std::sync::Arc;

use sedge::{Bus, memory::MemoryCluster};

/// Servers of one process.
#[derive(Default)]
pub(crate) struct Memory(MemoryCluster);

impl suite::Carrier for Memory {
    fn bus(&mut self, name: &str) -> Arc<dyn Bus> {
        Arc::new(self.0.member(name))
    }
}

suite::cluster_suite!(crate::Memory);
