//! Which worker wants what, in shared memory: each has a row of counters, and a topic has the counter
//! that its hash says.
//!
//! A worker counts up before it says that it has subscribed, and everybody who publishes looks at the
//! rows of the others. So nothing is missed between the two, and no message is needed. Topics that
//! share a counter are sent to a worker that does not want them, which does no harm.

use std::hash::Hasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use sedge_adapter::{Audience, Topic};
use siphasher::sip::SipHasher13;
use smallvec::SmallVec;

use crate::fd::shared::{ROW_LEN, SharedTable};

/// A place in a row.
type Slot = u16;

const _: () = assert!(ROW_LEN == 1 << Slot::BITS);

/// The table, from the point of view of one worker.
#[derive(Debug)]
pub(crate) struct Interest {
    table: Arc<SharedTable>,
    own: u16,
}

/// What has to be wanted so that a message is.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// Everybody gets it.
    Always,
    /// One of these must be counted.
    AnyOf(SmallVec<[Slot; 4]>),
}

impl Interest {
    /// `None` if the table has no such row.
    pub(crate) fn new(table: Arc<SharedTable>, own: u16) -> Option<Interest> {
        table.row(own.into())?;
        Some(Interest { table, own })
    }

    /// One more reason to want the topic.
    pub(crate) fn add(&self, topic: Topic<'_>) {
        if let Some(counter) = self.counter(self.own, slot(topic)) {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// One reason less. A reason that was never added is not taken away.
    pub(crate) fn remove(&self, topic: Topic<'_>) {
        let Some(counter) = self.counter(self.own, slot(topic)) else { return };
        let less = |count: u32| count.checked_sub(1);
        let removed = counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        debug_assert!(removed.is_ok(), "unsubscribed more often than subscribed");
    }

    /// Whether the worker with this row wants a message.
    pub(crate) fn wants(&self, row: u16, wanted: &Wanted) -> bool {
        match wanted {
            Wanted::Always => true,
            Wanted::AnyOf(slots) => slots.iter().any(|slot| {
                self.counter(row, *slot).is_some_and(|counter| counter.load(Ordering::SeqCst) > 0)
            }),
        }
    }

    fn counter(&self, row: u16, slot: Slot) -> Option<&AtomicU32> {
        Some(&self.table.row(row.into())?[usize::from(slot)])
    }
}

/// Forgets what a worker that has ended wanted.
pub(crate) fn clear(table: &SharedTable, row: u16) {
    for counter in table.row(row.into()).into_iter().flatten() {
        // Writing to a page gives it memory; most were never touched.
        if counter.load(Ordering::SeqCst) != 0 {
            counter.store(0, Ordering::SeqCst);
        }
    }
}

impl Wanted {
    /// What the audience of a message has subscribed to.
    pub(crate) fn of(audience: Audience<'_>) -> Wanted {
        match audience {
            Audience::Everybody => Wanted::Always,
            Audience::Namespace(name) => {
                Wanted::AnyOf(SmallVec::from_slice(&[slot(Topic::Namespace(name))]))
            }
            Audience::Rooms(name, rooms) => {
                Wanted::AnyOf(rooms.iter().map(|room| slot(Topic::Room(name, room))).collect())
            }
        }
    }
}

/// The same in every process and every version: the keys are constants.
fn slot(topic: Topic<'_>) -> Slot {
    let mut hasher = SipHasher13::new_with_keys(0x5ed6_e000_0000_0001, 0x5ed6_e000_0000_0002);
    // No text contains the byte 0xff, so the parts cannot run into one another.
    match topic {
        Topic::Namespace(name) => {
            hasher.write(name.as_bytes());
            hasher.write(&[0xff, 0]);
        }
        Topic::Room(name, room) => {
            hasher.write(name.as_bytes());
            hasher.write(&[0xff, 1]);
            hasher.write(room.as_bytes());
        }
    }
    (hasher.finish() >> (u64::BITS - Slot::BITS)) as Slot
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> (Interest, Interest) {
        let table = Arc::new(SharedTable::create(2).unwrap());
        let first = Interest::new(Arc::clone(&table), 0).unwrap();
        assert!(Interest::new(Arc::clone(&table), 2).is_none());
        (first, Interest::new(table, 1).unwrap())
    }

    #[test]
    fn the_others_see_what_a_worker_wants_until_its_last_reason_is_gone() {
        let (first, second) = two();
        let rooms = ["a".into(), "b".into()];
        let wanted = Wanted::of(Audience::Rooms("/", &rooms));
        assert!(!second.wants(0, &wanted));
        first.add(Topic::Room("/", "b"));
        first.add(Topic::Room("/", "b"));
        assert!(second.wants(0, &wanted));
        assert!(!first.wants(1, &wanted));
        first.remove(Topic::Room("/", "b"));
        assert!(second.wants(0, &wanted));
        first.remove(Topic::Room("/", "b"));
        assert!(!second.wants(0, &wanted));
        assert!(second.wants(0, &Wanted::of(Audience::Everybody)));
        assert!(!second.wants(0, &Wanted::of(Audience::Rooms("/", &[]))));
    }

    #[test]
    fn a_cleared_row_wants_nothing_and_the_others_keep_theirs() {
        let (first, second) = two();
        first.add(Topic::Namespace("/chat"));
        second.add(Topic::Namespace("/chat"));
        let wanted = Wanted::of(Audience::Namespace("/chat"));
        clear(&first.table, 0);
        assert!(!second.wants(0, &wanted));
        assert!(first.wants(1, &wanted));
    }

    #[test]
    fn topics_have_places_of_their_own() {
        let topics = [
            Topic::Namespace("/"),
            Topic::Namespace("/chat"),
            Topic::Room("/", "chat"),
            Topic::Room("/chat", ""),
            Topic::Room("/", "/chat"),
        ];
        let slots: std::collections::BTreeSet<_> = topics.into_iter().map(slot).collect();
        assert_eq!(slots.len(), topics.len());
        // Processes of different versions share one table, so a place may never change.
        assert_eq!(slot(Topic::Room("/", "lobby")), slot(Topic::Room("/", "lobby")));
    }
}
