//! Counters of one shard. Only the shard's thread writes them, so a plain load and store will do;
//! anybody may read them at any time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::application::{CloseReason, Transport};
use crate::http::error::ErrorCode;

/// A number that one thread changes and others read, so that counting needs no locked instruction.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; only the thread that owns the counter may.
    pub fn add(&self, n: u64) {
        self.0.store(self.get().wrapping_add(n), Ordering::Relaxed);
    }

    /// Takes away; only the thread that owns the counter may.
    pub fn sub(&self, n: u64) {
        self.0.store(self.get().wrapping_sub(n), Ordering::Relaxed);
    }

    /// As [`add`](Self::add), if other threads change the number too.
    fn add_from_anywhere(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    fn sub_from_anywhere(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    /// What it is at; any thread may ask.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The body of a large answer, counted until it has been written or given up. It may end on another thread
/// than the shard's.
pub(crate) struct Unwritten {
    body: Vec<u8>,
    metrics: Arc<ShardMetrics>,
}

impl Unwritten {
    pub(crate) fn new(body: Vec<u8>, metrics: &Arc<ShardMetrics>) -> Unwritten {
        metrics.answer_bytes.add_from_anywhere(body.len() as u64);
        Unwritten { body, metrics: Arc::clone(metrics) }
    }
}

impl AsRef<[u8]> for Unwritten {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl Drop for Unwritten {
    fn drop(&mut self) {
        self.metrics.answer_bytes.sub_from_anywhere(self.body.len() as u64);
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        #[derive(Debug, Default)]
        pub(crate) struct ShardMetrics {
            /// Grows while the shard's thread goes round; see `Engine::progress`.
            pub(crate) progress: Counter,
            $(pub(crate) $name: Counter,)*
            pub(crate) closed: [Counter; CloseReason::ALL.len()],
            pub(crate) refused: [Counter; ErrorCode::ALL.len()],
        }

        /// What one shard has counted. Gauges are named for what there is now, counters (since the
        /// start) for what has happened.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Metrics {
            $($(#[$doc])* pub $name: u64,)*
            /// Counter: sessions ended, by reason, in the order of [`CloseReason::ALL`].
            pub closed: [u64; CloseReason::ALL.len()],
            /// Counter: requests refused with an Engine.IO error, in the order of its codes.
            pub refused: [u64; ErrorCode::ALL.len()],
        }

        impl ShardMetrics {
            pub(crate) fn snapshot(&self) -> Metrics {
                Metrics {
                    $($name: self.$name.get(),)*
                    closed: self.closed.each_ref().map(Counter::get),
                    refused: self.refused.each_ref().map(Counter::get),
                }
            }
        }

        impl Metrics {
            /// Adds another shard's figures.
            pub fn merge(&mut self, other: &Metrics) {
                $(self.$name += other.$name;)*
                for (own, theirs) in self.closed.iter_mut().zip(other.closed) {
                    *own += theirs;
                }
                for (own, theirs) in self.refused.iter_mut().zip(other.refused) {
                    *own += theirs;
                }
            }
        }
    };
}

counters! {
    /// Gauge: open sessions on HTTP long-polling.
    sessions_polling,
    /// Gauge: open sessions on a WebSocket.
    sessions_websocket,
    /// Gauge: HTTP connections of the native listeners, WebSockets not included.
    connections_http,
    /// Gauge: WebSocket connections, those that are being tested for an upgrade included.
    connections_websocket,
    /// Gauge: connections whose bytes are carried to another worker of the host and back, since the
    /// connection itself cannot be passed on.
    tunnels,
    /// Gauge: WebSockets being tested for an upgrade.
    probes,
    /// Gauge: polling GETs that wait.
    polls_waiting,
    /// Gauge: bytes that stand in outboxes.
    outbox_bytes,
    /// Gauge: bytes of poll answers that are being written. Answers up to 16 KiB do not count.
    answer_bytes,
    /// Counter: sessions opened.
    opened,
    /// Counter: upgrades that succeeded.
    upgrades,
    /// Counter: upgrades that failed: a wrong packet, a broken connection, a timeout.
    upgrades_failed,
    /// Counter: MESSAGE packets received.
    messages_in,
    /// Counter: MESSAGE packets queued to be sent.
    messages_out,
    /// Counter: volatile messages dropped because the transport was not writable.
    messages_dropped,
    /// Counter: bytes received on WebSockets and in POST bodies.
    bytes_in,
    /// Counter: bytes sent on WebSockets and in poll responses, before TLS and HTTP compression.
    bytes_out,
}

impl ShardMetrics {
    pub(crate) fn sessions(&self, transport: Transport) -> &Counter {
        match transport {
            Transport::Polling => &self.sessions_polling,
            Transport::WebSocket => &self.sessions_websocket,
        }
    }

    pub(crate) fn count_closed(&self, reason: CloseReason) {
        self.closed[reason as usize].add(1);
    }
}

impl Metrics {
    /// Connections of any kind.
    pub fn connections(&self) -> u64 {
        self.connections_http + self.connections_websocket + self.tunnels
    }

    /// Open sessions on any transport.
    pub fn sessions(&self) -> u64 {
        self.sessions_polling + self.sessions_websocket
    }
}
