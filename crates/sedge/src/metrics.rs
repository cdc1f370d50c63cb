//! Counters: plain atomics that one thread writes and any thread reads.

use std::sync::atomic::{AtomicU64, Ordering};

use sedge_engine::Counter;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// The counters of one shard.
        #[derive(Debug, Default)]
        pub(crate) struct ShardMetrics {
            $(pub(crate) $name: Counter,)*
        }

        /// The counters of one shard at one moment, from [`Server::metrics`](crate::Server::metrics).
        /// All but the first three only grow.
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
    /// Events that now wait because their connection has too many handlers under way.
    events_waiting,
    /// Sockets that have ever connected.
    connects,
    /// Requests to join a namespace that were refused.
    connects_refused,
    /// Events received.
    events_in,
    /// Of those, events that were not handled because their socket ended while they waited.
    events_dropped,
    /// Packets handed to the engine; a broadcast counts once per recipient.
    packets_out,
    /// Broadcasts applied on this shard.
    broadcasts,
    /// Acknowledgements received that were waited for.
    acks_in,
    /// Acknowledgements received that nobody waited for: late ones, mostly.
    acks_ignored,
    /// Handlers that failed, panicked, or were not called because of what the client sent.
    handler_errors,
    /// Connections closed because of something that is no packet.
    parse_errors,
    /// Connections closed because packets came in an order the protocol does not allow.
    state_errors,
}

macro_rules! bus_counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// The counters of a process on the bus. Several threads write them, once per message.
        #[derive(Debug, Default)]
        pub(crate) struct BusCounters {
            $(pub(crate) $name: AtomicU64,)*
        }

        /// What this process has to do with the others of its cluster at one moment. All but the
        /// first two only grow.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct BusMetrics {
            /// Other processes that are there now.
            pub peers: u64,
            /// Requests whose answers from other processes are awaited now.
            pub requests: u64,
            $($(#[$doc])* pub $name: u64,)*
        }

        impl BusCounters {
            pub(crate) fn snapshot(&self, peers: u64, requests: u64) -> BusMetrics {
                BusMetrics { peers, requests, $($name: self.$name.load(Ordering::Relaxed)),* }
            }
        }
    };
}

bus_counters! {
    /// Messages that other processes get; one that goes to two of them counts twice.
    sent,
    /// Messages that a process was meant to get and did not, because it does not read.
    refused,
    /// Messages that a process was meant to get and did not, because they are longer than the bus takes.
    too_long,
    /// Messages that were on their way to a process and had not been handed to it when it ended or was cut
    /// off.
    lost,
    /// Messages from other processes.
    received,
    /// Of those, messages of another version of the wire form, or broken ones.
    unreadable,
    /// Of those, what a shard did not get because its command queue was full.
    overflows,
    /// Answers of other processes that nobody waited for: late ones, mostly.
    answers_dropped,
    /// Requests that did not go to other processes because too many were waiting; see
    /// [`ServerBuilder::bus_requests_max`](crate::ServerBuilder::bus_requests_max).
    requests_refused,
}

/// The counters of a server: of sockets and handlers, and of the engine underneath.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ServerMetrics {
    /// One entry per shard, in the order of their indices.
    pub shards: Vec<SocketMetrics>,
    /// All shards together.
    pub total: SocketMetrics,
    /// What goes to other processes and comes from them; `None` without a
    /// [bus](crate::ServerBuilder::bus).
    pub bus: Option<BusMetrics>,
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
