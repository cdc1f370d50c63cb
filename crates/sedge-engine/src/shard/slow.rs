//! Clients that do not take what is sent to them.
//!
//! What waits for a client stands in its outbox, up to a limit. A handler can send more than that before the
//! connection could be written to at all, or one message can be longer: that says nothing about the client,
//! so what is queued in one turn is never judged in the same turn. A client is slow if it is over the limit
//! and still behind in a later turn, or if it takes nothing for a time while anything waits.

use sedge_protocol::engine::session::Time;

use super::conn::{Carrier, Farewell};
use super::env::Env;
use super::outbox::{FRAME_COST, Outbox};
use super::state::State;
use crate::application::{CloseReason, SessionKey};
use crate::limits::OUTBOX_BYTES_MAX_MAX;

impl State {
    /// A frame of this length has taken the outbox over its limit; it is the `first` of its turn.
    #[cold]
    pub(super) fn over_limit(&mut self, env: &Env, key: SessionKey, len: usize, first: bool) {
        let limit = env.config.local.outbox_bytes_max;
        // It may be full only because this turn has not written yet.
        self.flush(env, env.now(), key);
        let Some(conn) = self.conn(key) else { return };
        // It stands in the list still.
        conn.dirty = true;
        let cost = conn.outbox.cost();
        if cost <= limit {
            return;
        }
        let before = cost.saturating_sub(len + FRAME_COST);
        let admitted = conn.excess.admits(first, before, cost, limit);
        // Beyond that the outbox could not count, whatever the application wants.
        if !admitted || conn.outbox.bytes() > OUTBOX_BYTES_MAX_MAX {
            self.give_up_on(env, key);
        }
    }

    /// A WebSocket was not writable for as long as it may while something waits.
    #[cold]
    pub(super) fn stalled(&mut self, env: &Env, now: Time, key: SessionKey) {
        let Some(conn) = self.conn(key) else { return };
        let Carrier::WebSocket(websocket) = &mut conn.carrier else { return };
        let (before, mut moved) = (conn.outbox.bytes(), false);
        let broken = loop {
            // All that there is room for, so that what is still taken the next time is the client's doing.
            match websocket.io.push(conn.outbox.front().map_or(&[][..], |frame| frame)) {
                Ok(pushed) => {
                    conn.outbox.advance(pushed.taken);
                    moved |= pushed.moved;
                    if !pushed.moved {
                        break false;
                    }
                }
                Err(error) => {
                    tracing::debug!(session = ?key, %error, "a WebSocket that did not read broke");
                    break true;
                }
            }
        };
        if moved {
            websocket.blocked = Some(now);
        }
        let written = before - conn.outbox.bytes();
        self.written(env, now, key, written, broken);
        if !moved && !broken {
            self.give_up_on(env, key);
        }
    }

    /// A client that does not read is given up, and what it would not read is dropped with it.
    fn give_up_on(&mut self, env: &Env, key: SessionKey) {
        self.report(env, key, CloseReason::SlowConsumer);
        let Some(conn) = self.conn(key) else { return };
        env.metrics.outbox_bytes.sub(conn.outbox.bytes() as u64);
        conn.outbox = Outbox::default();
        if let Carrier::WebSocket(websocket) = &mut conn.carrier {
            websocket.farewell = Farewell::Gone;
        }
        self.release(env, key);
    }
}
