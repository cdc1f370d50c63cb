//! The table of sessions whose ids do not say where they live: those of Node servers. Whoever sees the
//! answers of the servers tells it which target opened which session.
//!
//! It is bounded: when it is full, a new session takes the place of one that was not asked for since
//! the hand last came by (the clock algorithm, which needs one bit a session where an order of
//! use would need two links).

use hashbrown::HashMap;
use sedge_protocol::sid::SessionId;

use crate::target::TargetId;

#[derive(Clone, Copy, Debug)]
struct Place {
    sid: SessionId,
    target: TargetId,
    /// Asked for since the hand came by.
    used: bool,
}

/// Which target has which session.
#[derive(Clone, Debug)]
pub(crate) struct Learned {
    places: Vec<Place>,
    index: HashMap<SessionId, u32>,
    hand: usize,
    capacity: usize,
    evicted: u64,
}

impl Learned {
    pub(crate) fn new(capacity: usize) -> Learned {
        Learned { places: Vec::new(), index: HashMap::new(), hand: 0, capacity, evicted: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Sessions that had to make room.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted
    }

    pub(crate) fn get(&mut self, sid: &SessionId) -> Option<TargetId> {
        let place = self.places.get_mut(*self.index.get(sid)? as usize)?;
        place.used = true;
        Some(place.target)
    }

    pub(crate) fn insert(&mut self, sid: SessionId, target: TargetId) {
        if self.capacity == 0 {
            return;
        }
        let known = self.index.get(&sid).map(|at| *at as usize);
        if let Some(place) = known.and_then(|at| self.places.get_mut(at)) {
            (place.target, place.used) = (target, true);
            return;
        }
        let place = Place { sid, target, used: false };
        let at = if self.places.len() < self.capacity {
            self.places.push(place);
            self.places.len() - 1
        } else {
            let at = self.victim();
            self.index.remove(&self.places[at].sid);
            self.places[at] = place;
            self.evicted += 1;
            at
        };
        self.index.insert(sid, at as u32);
    }

    /// The next place whose session was not asked for; after one round it is the first, as all
    /// marks are taken away in passing.
    fn victim(&mut self) -> usize {
        loop {
            let at = self.hand % self.places.len();
            self.hand = at + 1;
            if !std::mem::take(&mut self.places[at].used) {
                return at;
            }
        }
    }

    pub(crate) fn remove(&mut self, sid: &SessionId) -> bool {
        let Some(at) = self.index.remove(sid) else { return false };
        self.places.swap_remove(at as usize);
        if let Some(moved) = self.places.get(at as usize) {
            self.index.insert(moved.sid, at);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::{Table, Target};

    fn sid(number: u32) -> SessionId {
        SessionId::parse(format!("{number:020}").as_bytes()).unwrap()
    }

    fn ids() -> [TargetId; 2] {
        let mut table = Table::default();
        ["a", "b"].map(|name| table.add(Target::new(name), 0, 0).unwrap())
    }

    #[test]
    fn a_full_table_forgets_what_nobody_asked_for() {
        let [a, b] = ids();
        let mut learned = Learned::new(100);
        (0..100).for_each(|number| learned.insert(sid(number), a));
        // Every tenth is in use.
        for round in 1..20 {
            (0..100).step_by(10).for_each(|number| assert_eq!(learned.get(&sid(number)), Some(a)));
            (0..50).for_each(|number| learned.insert(sid(round * 1000 + number), b));
            assert_eq!((learned.len(), learned.index.len()), (100, 100));
        }
        assert_eq!(learned.evicted(), 19 * 50);
        assert_eq!(learned.get(&sid(1)), None);
    }

    #[test]
    fn what_all_asked_for_is_forgotten_in_turn() {
        let [a, _] = ids();
        let mut learned = Learned::new(3);
        for number in 0..10 {
            learned.insert(sid(number), a);
            for known in 0..=number {
                learned.get(&sid(known));
            }
        }
        assert_eq!(learned.len(), 3);
    }

    #[test]
    fn removal_and_change() {
        let [a, b] = ids();
        let mut learned = Learned::new(8);
        (0..8).for_each(|number| learned.insert(sid(number), a));
        learned.insert(sid(3), b);
        assert!(learned.remove(&sid(0)) && learned.remove(&sid(7)) && !learned.remove(&sid(0)));
        for number in 1..7 {
            let target = if number == 3 { b } else { a };
            assert_eq!(learned.get(&sid(number)), Some(target), "{number}");
        }
        (1..7).for_each(|number| assert!(learned.remove(&sid(number))));
        assert_eq!((learned.len(), learned.index.len(), learned.evicted()), (0, 0, 0));
        let mut none = Learned::new(0);
        none.insert(sid(1), a);
        assert_eq!(none.get(&sid(1)), None);
    }
}
