//! The members' side of the room index: which rooms each member is in, and at which position.
//!
//! One entry of 24 bytes per member. One or two rooms, the common case, stay inside the entry;
//! more go to a small hash map. Every step is O(1) however many rooms a member is in.

use hashbrown::HashMap;
use slab::Slab;
use smallvec::SmallVec;

use crate::rooms::MemberId;

/// Rooms kept inside an entry.
const INLINE: usize = 2;

/// A map with no more room than this is never shrunk: there is nothing worth winning.
const MAP_CAPACITY_MIN: usize = 28;

/// One membership: the slot of the room, and the member's position in that room's list.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    pub(crate) room: u32,
    pub(crate) at: u32,
}

#[derive(Debug)]
enum Held {
    /// The first `len` places count.
    Few { len: u8, places: [Place; INLINE] },
    /// The slot of a map from room to position.
    Many(u32),
}

impl Default for Held {
    fn default() -> Self {
        Self::Few { len: 0, places: [Place::default(); INLINE] }
    }
}

#[derive(Debug, Default)]
struct Entry {
    /// The epoch in which this member was last marked.
    stamp: u32,
    held: Held,
}

// What a socket costs here while it is in two rooms or fewer: whoever sizes a server counts on it.
const _: () = assert!(size_of::<Entry>() == 24);

/// All members' memberships, and a mark on each member that is cleared for all at once.
#[derive(Debug, Default)]
pub(crate) struct Memberships {
    /// Indexed by member id.
    entries: Vec<Entry>,
    maps: Slab<HashMap<u32, u32>>,
    /// A member is marked if its stamp equals this. Zero marks nobody.
    epoch: u32,
}

impl Memberships {
    /// How many rooms the member is in.
    pub(crate) fn count(&self, member: MemberId) -> usize {
        match self.held(member) {
            None => 0,
            Some(Held::Few { len, .. }) => usize::from(*len),
            Some(Held::Many(map)) => self.maps[*map as usize].len(),
        }
    }

    /// The member's position in the room; `None` if it is not in it.
    pub(crate) fn find(&self, member: MemberId, room: u32) -> Option<u32> {
        match self.held(member)? {
            Held::Few { len, places } => {
                places.iter().take(usize::from(*len)).find(|place| place.room == room).map(|p| p.at)
            }
            Held::Many(map) => self.maps[*map as usize].get(&room).copied(),
        }
    }

    /// All rooms of the member, in no particular order.
    pub(crate) fn rooms(&self, member: MemberId) -> impl Iterator<Item = u32> + '_ {
        let (few, many) = match self.held(member) {
            None => (&[][..], None),
            Some(Held::Few { len, places }) => (&places[..usize::from(*len)], None),
            Some(Held::Many(map)) => (&[][..], Some(&self.maps[*map as usize])),
        };
        few.iter()
            .map(|place| place.room)
            .chain(many.into_iter().flat_map(|map| map.keys().copied()))
    }

    /// Notes a membership that does not exist yet.
    pub(crate) fn insert(&mut self, member: MemberId, place: Place) {
        let held = &mut entry(&mut self.entries, member).held;
        match held {
            Held::Few { len, places } => {
                if let Some(free) = places.get_mut(usize::from(*len)) {
                    *free = place;
                    *len += 1;
                } else {
                    let all = places.iter().chain([&place]).map(|place| (place.room, place.at));
                    *held = Held::Many(self.maps.insert(all.collect()) as u32);
                }
            }
            Held::Many(map) => {
                self.maps[*map as usize].insert(place.room, place.at);
            }
        }
    }

    /// Notes that the member stands elsewhere in the room's list now.
    pub(crate) fn relocate(&mut self, member: MemberId, place: Place) {
        let known = match &mut entry(&mut self.entries, member).held {
            Held::Few { len, places } => places
                .iter_mut()
                .take(usize::from(*len))
                .find(|known| known.room == place.room)
                .map(|known| &mut known.at),
            Held::Many(map) => self.maps[*map as usize].get_mut(&place.room),
        };
        debug_assert!(known.is_some(), "whoever stands in a room's list knows the room");
        if let Some(at) = known {
            *at = place.at;
        }
    }

    /// Ends a membership and says at which position it was; `None` if there was none.
    pub(crate) fn remove(&mut self, member: MemberId, room: u32) -> Option<u32> {
        let held = &mut self.entries.get_mut(member.0 as usize)?.held;
        match held {
            Held::Few { len, places } => {
                let index =
                    places.iter().take(usize::from(*len)).position(|place| place.room == room)?;
                let at = places[index].at;
                *len -= 1;
                places.swap(index, usize::from(*len));
                Some(at)
            }
            Held::Many(slot) => {
                let slot = *slot as usize;
                let map = &mut self.maps[slot];
                let at = map.remove(&room)?;
                // Back inside only well below the size that went outside, so that a member at
                // the border does not move to and fro.
                if map.len() < INLINE {
                    let mut places = [Place::default(); INLINE];
                    for (place, (&room, &at)) in places.iter_mut().zip(map.iter()) {
                        *place = Place { room, at };
                    }
                    *held = Held::Few { len: map.len() as u8, places };
                    self.maps.remove(slot);
                } else if map.capacity() > MAP_CAPACITY_MIN && map.len() < map.capacity() / 4 {
                    map.shrink_to(map.len() * 2);
                }
                Some(at)
            }
        }
    }

    /// Ends all memberships of the member and returns them.
    pub(crate) fn take(&mut self, member: MemberId) -> SmallVec<[Place; INLINE]> {
        let Some(entry) = self.entries.get_mut(member.0 as usize) else { return SmallVec::new() };
        match std::mem::take(&mut entry.held) {
            Held::Few { len, places } => places.into_iter().take(usize::from(len)).collect(),
            Held::Many(map) => {
                let map = self.maps.remove(map as usize);
                map.into_iter().map(|(room, at)| Place { room, at }).collect()
            }
        }
    }

    /// Begins a new selection: nobody is marked.
    pub(crate) fn unmark_all(&mut self) {
        self.epoch = self.epoch.checked_add(1).unwrap_or_else(|| {
            // Once in four billion selections old stamps could be mistaken for new ones.
            self.entries.iter_mut().for_each(|entry| entry.stamp = 0);
            1
        });
    }

    /// Marks the member; `true` if it was not marked before.
    pub(crate) fn mark(&mut self, member: MemberId) -> bool {
        let stamp = &mut entry(&mut self.entries, member).stamp;
        std::mem::replace(stamp, self.epoch) != self.epoch
    }

    /// Whether the member is marked.
    pub(crate) fn is_marked(&self, member: MemberId) -> bool {
        self.entries.get(member.0 as usize).is_some_and(|entry| entry.stamp == self.epoch)
    }

    /// Gives back memory that a smaller crowd does not need.
    pub(crate) fn shrink_to_fit(&mut self) {
        let in_rooms = |entry: &Entry| !matches!(entry.held, Held::Few { len: 0, .. });
        let used = self.entries.iter().rposition(in_rooms).map_or(0, |last| last + 1);
        self.entries.truncate(used);
        self.entries.shrink_to_fit();
        self.maps.shrink_to_fit();
    }

    fn held(&self, member: MemberId) -> Option<&Held> {
        self.entries.get(member.0 as usize).map(|entry| &entry.held)
    }

    #[cfg(test)]
    pub(crate) fn set_epoch(&mut self, epoch: u32) {
        self.epoch = epoch;
    }

    /// How many entries, how many maps, and how many places the maps have room for.
    #[cfg(test)]
    pub(crate) fn footprint(&self) -> (usize, usize, usize) {
        let capacity = self.maps.iter().map(|(_, map)| map.capacity()).sum();
        (self.entries.len(), self.maps.len(), capacity)
    }
}

/// The member's entry, made if it has none. Not a method, so that the maps stay free to borrow.
fn entry(entries: &mut Vec<Entry>, member: MemberId) -> &mut Entry {
    let index = member.0 as usize;
    if index >= entries.len() {
        entries.resize_with(index + 1, Entry::default);
    }
    &mut entries[index]
}
