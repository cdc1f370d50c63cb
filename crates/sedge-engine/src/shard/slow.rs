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

/// How far an outbox may be over its limit.
#[derive(Default)]
pub(crate) struct Excess {
    /// What may wait before anything is queued in a later turn: as much again as the limit was exceeded by, so
    /// that the application can go on while the client reads.
    ceiling: u32,
    /// The turn in which the limit was exceeded is not over yet.
    rising: bool,
}

impl Excess {
    /// Whether a frame may have been added. `before` waited without it and `cost` with it, which is over the
    /// limit; it is the `first` of its turn.
    fn admits(&mut self, first: bool, before: usize, cost: usize, limit: usize) -> bool {
        if before <= limit {
            *self = Excess { ceiling: 0, rising: true };
        } else if first {
            self.rising = false;
        }
        if self.rising {
            self.ceiling = u32::try_from(2 * cost - limit).unwrap_or(u32::MAX);
        }
        self.rising || !first || before <= self.ceiling as usize
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1000;

    /// Adds frames of these costs in one turn, and returns whether the client is still there.
    fn turn(excess: &mut Excess, waits: &mut usize, frames: &[usize]) -> bool {
        for (index, cost) in frames.iter().enumerate() {
            let before = *waits;
            *waits += cost;
            if *waits > LIMIT && !excess.admits(index == 0, before, *waits, LIMIT) {
                return false;
            }
        }
        true
    }

    #[test]
    fn one_turn_is_never_too_much() {
        let (mut excess, mut waits) = (Excess::default(), 0);
        assert!(turn(&mut excess, &mut waits, &[100; 500]));
        // Whoever takes some of it may be sent more, turn after turn.
        for _ in 0..100 {
            waits -= 400;
            assert!(turn(&mut excess, &mut waits, &[100, 100, 100]));
        }
        // Below the limit all is as it was.
        waits = 900;
        assert!(turn(&mut excess, &mut waits, &[50, 50_000, 50]));
        waits -= 1;
        assert!(turn(&mut excess, &mut waits, &[50]));
    }

    #[test]
    fn one_message_may_be_too_long() {
        let (mut excess, mut waits) = (Excess::default(), 0);
        assert!(turn(&mut excess, &mut waits, &[5000]));
        assert!(turn(&mut excess, &mut waits, &[10]));
    }

    #[test]
    fn whoever_takes_nothing_stays_within_bounds() {
        for frames in [&[100][..], &[70, 30], &[1; 100]] {
            let (mut excess, mut waits) = (Excess::default(), 0);
            let turns = (0..100).take_while(|_| turn(&mut excess, &mut waits, frames)).count();
            assert!((10..=13).contains(&turns), "{turns} {frames:?}");
        }
        // A great deal at once, and then nothing is read: about as much again.
        let (mut excess, mut waits) = (Excess::default(), 0);
        assert!(turn(&mut excess, &mut waits, &[10_000]));
        while turn(&mut excess, &mut waits, &[100, 100]) {}
        assert!(waits < 20_000, "{waits}");
    }

    #[test]
    fn slow_is_also_who_falls_behind_while_it_reads() {
        let (mut excess, mut waits) = (Excess::default(), 0_usize);
        let turns = (0..1000).take_while(|_| {
            waits = waits.saturating_sub(90);
            turn(&mut excess, &mut waits, &[100])
        });
        assert!(turns.count() < 200);
    }
}
