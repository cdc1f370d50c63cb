//! Counters: plain atomics that one thread writes and any thread reads.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter with a single writer, so that counting needs no locked instruction.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds; only the owning thread may.
    pub(crate) fn add(&self, count: u64) {
        self.0.store(self.get().wrapping_add(count), Ordering::Relaxed);
    }

    /// Takes away; only the owning thread may.
    pub(crate) fn sub(&self, count: u64) {
        self.0.store(self.get().wrapping_sub(count), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// The counters of one shard.
        #[derive(Debug, Default)]
        pub(crate) struct ShardMetrics {
            $(pub(crate) $name: Counter,)*
        }

        /// The counters of one shard at one moment, from [`Server::metrics`](crate::Server::metrics).
        /// All but the first two only grow.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct SocketMetrics {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl ShardMetrics {
            pub(crate) fn snapshot(&self) -> SocketMetrics {
                SocketMetrics { $($name: self.$name.get(),)* }
            }
        }

        impl std::ops::AddAssign for SocketMetrics {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counters! {
    /// Sockets connected now, over all namespaces.
    sockets,
    /// Handlers and middlewares now waiting at an `.await`.
    handlers_in_flight,
    /// Sockets that have ever connected.
    connects,
    /// Requests to join a namespace that were refused.
    connects_refused,
    /// Events received.
    events_in,
    /// Packets handed to the engine; a broadcast counts once per recipient.
    packets_out,
    /// Broadcasts applied on this shard.
    broadcasts,
    /// Acknowledgements received that were waited for.
    acks_in,
    /// Handlers that failed, panicked, or were not called because of what the client sent.
    handler_errors,
    /// Connections closed because of something that is no packet.
    parse_errors,
    /// Connections closed because packets came in an order the protocol does not allow.
    state_errors,
}

/// The counters of a server: of sockets and handlers, and of the engine underneath.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ServerMetrics {
    /// One entry per shard, in the order of their indices.
    pub shards: Vec<SocketMetrics>,
    /// All shards together.
    pub total: SocketMetrics,
    /// The engine's counters, one entry per shard.
    pub engine: Vec<sedge_engine::Metrics>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_adds_up() {
        let shard = ShardMetrics::default();
        shard.sockets.add(3);
        shard.sockets.sub(1);
        let mut total = shard.snapshot();
        total += shard.snapshot();
        assert_eq!(total.sockets, 4);
        assert_eq!(total.events_in, 0);
    }
}
