//! A hashed timer wheel: many coarse timers on one thread for a few bytes each.
//!
//! Entries are never cancelled or moved. Whoever sets a timer keeps its due time and recognises a
//! stale entry when it fires; most deadlines only ever move further away, so moving one costs nothing.

use sedge_protocol::engine::session::Time;

/// Milliseconds between two looks at the wheel: the precision of every timer.
pub(crate) const TICK: u64 = 5;

/// Slots of the wheel. Timers beyond one turn (5 s) are passed over once per turn.
const SLOTS: usize = 1024;

pub(crate) struct Wheel<T> {
    slots: Box<[Vec<Entry<T>>]>,
    /// Everything due up to this tick has fired.
    fired: u64,
    len: usize,
}

struct Entry<T> {
    /// The low bits of the tick: half the range is 120 days.
    due: u32,
    what: T,
}

impl<T> Wheel<T> {
    pub(crate) fn new(now: Time) -> Wheel<T> {
        let slots = (0..SLOTS).map(|_| Vec::new()).collect();
        Wheel { slots, fired: now.0 / TICK, len: 0 }
    }

    /// Adds an entry and returns the tick at which it fires: never before `at`.
    pub(crate) fn insert(&mut self, at: Time, what: T) -> u64 {
        let due = at.0.div_ceil(TICK).max(self.fired + 1);
        self.slots[(due % SLOTS as u64) as usize].push(Entry { due: due as u32, what });
        self.len += 1;
        due
    }

    /// Appends what is due to `out`, with the tick each entry was set to.
    pub(crate) fn advance(&mut self, now: Time, out: &mut Vec<(u32, T)>) {
        let tick = now.0 / TICK;
        let from = self.fired.max(tick.saturating_sub(SLOTS as u64)) + 1;
        for passed in from..=tick {
            let slot = &mut self.slots[(passed % SLOTS as u64) as usize];
            let due = |entry: &mut Entry<T>| (tick as u32).wrapping_sub(entry.due) < u32::MAX / 2;
            for entry in slot.extract_if(.., due) {
                self.len -= 1;
                out.push((entry.due, entry.what));
            }
            if slot.is_empty() && slot.capacity() > 64 {
                *slot = Vec::new();
            }
        }
        self.fired = self.fired.max(tick);
    }

    /// When to advance next: the time of the next slot with an entry in it, which may be of a later
    /// turn.
    pub(crate) fn next(&self) -> Option<Time> {
        if self.len == 0 {
            return None;
        }
        (self.fired + 1..=self.fired + SLOTS as u64)
            .find(|tick| !self.slots[(tick % SLOTS as u64) as usize].is_empty())
            .map(|tick| Time(tick * TICK))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the wheel as a driver does and returns when each entry fired.
    fn run(wheel: &mut Wheel<u32>, until: u64) -> Vec<(u64, u32)> {
        let mut fired = Vec::new();
        let mut due = Vec::new();
        while let Some(at) = wheel.next().filter(|at| at.0 <= until) {
            wheel.advance(at, &mut due);
            fired.extend(due.drain(..).map(|(_, what)| (at.0, what)));
        }
        fired
    }

    #[test]
    fn fires_in_time_and_never_early() {
        let mut wheel = Wheel::new(Time(1_003));
        let times = [1_003, 1_004, 1_010, 1_011, 5_000, 26_003, 46_003, 1_000_000];
        for (what, at) in times.iter().enumerate() {
            wheel.insert(Time(*at), what as u32);
        }
        let fired = run(&mut wheel, 2_000_000);
        assert_eq!(fired.len(), times.len());
        for (at, what) in fired {
            let wanted = times[what as usize];
            assert!(at >= wanted && at <= wanted + 2 * TICK, "{wanted} fired at {at}");
        }
        assert_eq!(wheel.len, 0);
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn survives_a_long_pause() {
        let mut wheel = Wheel::new(Time(0));
        for at in (0..60_000).step_by(7) {
            wheel.insert(Time(at), at as u32);
        }
        let mut due = Vec::new();
        wheel.advance(Time(60_000), &mut due);
        assert_eq!(due.len(), 60_000_usize.div_ceil(7));
        assert_eq!(wheel.len, 0);
    }
}
