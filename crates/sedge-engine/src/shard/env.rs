//! What surrounds the sessions of a shard and does not change while it lives.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sedge_protocol::engine::session::{Time, Timing};
use sedge_protocol::sid::SidCodec;

use super::metrics::ShardMetrics;
use crate::config::Config;

/// The configuration, the clock and the counters of one shard.
pub(crate) struct Env {
    pub(crate) index: usize,
    pub(crate) config: Arc<Config>,
    pub(crate) timing: Timing,
    /// Milliseconds that a WebSocket may take nothing of what waits for it.
    pub(crate) slow_timeout: u32,
    pub(crate) codec: SidCodec,
    pub(crate) metrics: Arc<ShardMetrics>,
    origin: Instant,
}

impl Env {
    pub(crate) fn new(
        index: usize,
        config: Arc<Config>,
        codec: SidCodec,
        metrics: Arc<ShardMetrics>,
    ) -> Env {
        let slow_timeout = config.local.slow_client_timeout.as_millis();
        Env {
            index,
            timing: config.timing(),
            slow_timeout: u32::try_from(slow_timeout).unwrap_or(u32::MAX),
            config,
            codec,
            metrics,
            origin: Instant::now(),
        }
    }

    /// The time that sessions go by: milliseconds since the shard began.
    pub(crate) fn now(&self) -> Time {
        Time(u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn instant(&self, time: Time) -> Instant {
        self.origin + Duration::from_millis(time.0)
    }
}
