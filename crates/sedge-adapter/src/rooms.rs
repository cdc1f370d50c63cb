//! Who is in which room: one index per namespace and shard, and the hot part of fan-out.
//!
//! Rooms are interned: a room has a slot, its name is stored once, and its members stand in a
//! dense list that can be copied as it is. Each member knows its position in each of its
//! lists, so joining and leaving take constant time. A room exists as long as it has members.
//!
//! A socket's own id is a room too, in the official server, but it is never stored here: the caller
//! resolves it when a target is selected, so a socket in no room costs nothing but its entry.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use slab::Slab;
use smallvec::SmallVec;

use crate::limits::RoomLimits;
use crate::memberships::{Memberships, Place};
use crate::target::{Room, Target};

/// A member of a namespace on one shard: the slot of a dense table that the caller owns.
///
/// Memory grows with the highest id, so ids are meant to be reused: after [`Rooms::leave_all`] an
/// id may stand for somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberId(pub u32);

/// What [`Rooms::join`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// The member was in the room before.
    AlreadyIn,
    /// The member is in the room now.
    Joined {
        /// Whether it is the first member, so that the room has come into being.
        room_created: bool,
    },
}

/// What [`Rooms::leave`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// The member was not in the room.
    NotIn,
    /// The member is out of the room now.
    Left {
        /// Whether it was the last member, so that the room has ceased to exist.
        room_deleted: bool,
    },
}

/// Why a member may not join a room. It is the application that asked too much, on its own or on
/// behalf of its peer; nothing has changed and the member stays in its other rooms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// [`RoomLimits::rooms_per_member`] is reached.
    #[error("the socket is in {limit} rooms already, which is the limit")]
    TooManyRooms {
        /// The configured limit.
        limit: usize,
    },
    /// [`RoomLimits::name_len_max`] is exceeded.
    #[error("the room name has {len} bytes, the limit is {limit}")]
    NameTooLong {
        /// The length of the refused name in bytes.
        len: usize,
        /// The configured limit in bytes.
        limit: usize,
    },
    /// [`RoomLimits::rooms_max`] is reached.
    #[error("there are {limit} rooms already, which is the limit")]
    IndexFull {
        /// The configured limit.
        limit: u32,
    },
}

/// The rooms of one namespace on one shard.
#[derive(Debug, Default)]
pub struct Rooms {
    limits: RoomLimits,
    /// Keyed at random, since peers may choose names: nobody can aim at one bucket.
    hasher: RandomState,
    /// Slots by name. The names themselves stand in the slots.
    by_name: HashTable<u32>,
    slots: Slab<Slot>,
    memberships: Memberships,
}

#[derive(Debug)]
struct Slot {
    name: Box<str>,
    /// Up to four members need no allocation of their own; many rooms are one user's devices.
    members: SmallVec<[MemberId; 4]>,
}

/// Whom `Rooms::select` leaves out.
#[derive(Clone, Copy)]
enum Excluded {
    Nobody,
    One(MemberId),
    /// Everybody who is marked.
    Marked,
}

impl Rooms {
    /// An index without rooms. It allocates nothing before somebody joins.
    pub fn new(limits: RoomLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Writes the members that `target` means into `out`, which is cleared first: the union of its
    /// rooms, each member once, minus the union of the excepted rooms; everybody if it names no
    /// rooms. The order means nothing.
    ///
    /// `universe` yields every member of the namespace on this shard, each once, and is consulted
    /// only if the target names no rooms. `own` says which member has this name as its socket id;
    /// that member is meant in addition to those who joined a room of the same name.
    ///
    /// Takes time in proportion to the rooms' sizes, and no memory but `out`'s, except that a
    /// member addressed by its id may get its entry. One room without exceptions is a plain copy,
    /// and so is one room except one socket.
    pub fn select(
        &mut self,
        target: &Target,
        universe: impl IntoIterator<Item = MemberId>,
        own: impl Fn(&str) -> Option<MemberId>,
        out: &mut Vec<MemberId>,
    ) {
        out.clear();
        let excluded = self.exclude(&target.except, &own);
        match target.rooms.as_slice() {
            [] => {
                let members = universe.into_iter();
                match excluded {
                    Excluded::Nobody => out.extend(members),
                    Excluded::One(one) => out.extend(members.filter(|member| *member != one)),
                    Excluded::Marked => {
                        out.extend(members.filter(|member| !self.memberships.is_marked(*member)));
                    }
                }
            }
            [room] => self.select_one(room, excluded, own(room), out),
            rooms => self.select_union(rooms, excluded, &own, out),
        }
    }

    /// The members of a room, densely and in no particular order; empty if there is no such room.
    pub fn members(&self, room: &str) -> &[MemberId] {
        self.find(room).map_or(&[], |slot| &self.slots[slot as usize].members)
    }

    /// Puts a member into a room, which comes into being if nobody was in it.
    pub fn join(&mut self, member: MemberId, room: &str) -> Result<Joined, JoinError> {
        let limit = self.limits.name_len_max;
        if room.len() > limit {
            return Err(JoinError::NameTooLong { len: room.len(), limit });
        }
        let known = self.find(room);
        if known.is_some_and(|slot| self.memberships.find(member, slot).is_some()) {
            return Ok(Joined::AlreadyIn);
        }
        let limit = self.limits.rooms_per_member;
        if self.memberships.count(member) >= limit {
            return Err(JoinError::TooManyRooms { limit });
        }
        let slot = match known {
            Some(slot) => slot,
            None => self.create(room)?,
        };
        let members = &mut self.slots[slot as usize].members;
        self.memberships.insert(member, Place { room: slot, at: members.len() as u32 });
        members.push(member);
        Ok(Joined::Joined { room_created: known.is_none() })
    }

    /// Takes a member out of a room, which ceases to exist with its last member.
    pub fn leave(&mut self, member: MemberId, room: &str) -> Left {
        let left = self.find(room).and_then(|slot| {
            let at = self.memberships.remove(member, slot)?;
            Some(self.vacate(Place { room: slot, at }))
        });
        match left {
            None => Left::NotIn,
            Some(kept) => Left::Left { room_deleted: kept.is_err() },
        }
    }

    /// Takes a member out of all its rooms, as its departure demands, and tells `on_left` each room
    /// left and whether that was its end. Afterwards the id may be given to somebody else.
    pub fn leave_all(&mut self, member: MemberId, mut on_left: impl FnMut(&str, bool)) {
        for place in self.memberships.take(member) {
            match self.vacate(place) {
                Ok(slot) => on_left(&self.slots[slot as usize].name, false),
                Err(deleted) => on_left(&deleted, true),
            }
        }
    }

    /// Whether the member has joined the room.
    pub fn is_in(&self, member: MemberId, room: &str) -> bool {
        self.find(room).is_some_and(|slot| self.memberships.find(member, slot).is_some())
    }

    /// The rooms a member has joined, in no particular order.
    pub fn rooms_of(&self, member: MemberId) -> impl Iterator<Item = &str> + '_ {
        self.memberships.rooms(member).map(|slot| &*self.slots[slot as usize].name)
    }

    /// How many rooms a member has joined.
    pub fn count_of(&self, member: MemberId) -> usize {
        self.memberships.count(member)
    }

    /// How many members a room has; zero if there is no such room.
    pub fn len(&self, room: &str) -> usize {
        self.members(room).len()
    }

    /// Whether nobody is in the room, in which case it does not exist.
    pub fn is_empty(&self, room: &str) -> bool {
        self.len(room) == 0
    }

    /// How many rooms there are.
    pub fn room_count(&self) -> usize {
        self.slots.len()
    }

    /// All rooms with their members, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[MemberId])> + '_ {
        self.slots.iter().map(|(_, slot)| (&*slot.name, slot.members.as_slice()))
    }

    /// Gives back memory kept since the index was larger. Walks all of it: meant for a sweep now
    /// and then, not for every departure. A room's own list shrinks without it.
    pub fn shrink_to_fit(&mut self) {
        self.memberships.shrink_to_fit();
        self.slots.shrink_to_fit();
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.by_name.shrink_to_fit(|&slot| hasher.hash_one(&*slots[slot as usize].name));
    }

    /// Finds out whom `except` leaves out, marking them if they are more than one.
    fn exclude(&mut self, except: &[Room], own: &impl Fn(&str) -> Option<MemberId>) -> Excluded {
        // What `socket.to(room)` makes: everybody but the sender, whose id nobody else has joined.
        if let [name] = except
            && self.find(name).is_none()
        {
            return own(name).map_or(Excluded::Nobody, Excluded::One);
        }
        if except.is_empty() {
            return Excluded::Nobody;
        }
        self.memberships.unmark_all();
        for name in except {
            if let Some(slot) = self.find(name) {
                for &member in &self.slots[slot as usize].members {
                    self.memberships.mark(member);
                }
            }
            if let Some(member) = own(name) {
                self.memberships.mark(member);
            }
        }
        Excluded::Marked
    }

    /// One room: its members are distinct already, so nothing needs marking.
    fn select_one(
        &self,
        room: &str,
        excluded: Excluded,
        own: Option<MemberId>,
        out: &mut Vec<MemberId>,
    ) {
        let slot = self.find(room);
        let members = slot.map_or(&[][..], |slot| &self.slots[slot as usize].members);
        let position = |member| self.memberships.find(member, slot?);
        let is_excluded = |member: MemberId| match excluded {
            Excluded::Nobody => false,
            Excluded::One(one) => member == one,
            Excluded::Marked => self.memberships.is_marked(member),
        };
        match excluded {
            Excluded::Nobody => out.extend_from_slice(members),
            Excluded::One(one) => match position(one) {
                None => out.extend_from_slice(members),
                Some(at) => {
                    let (before, from) = members.split_at(at as usize);
                    out.reserve(members.len());
                    out.extend_from_slice(before);
                    out.extend(from.iter().skip(1));
                }
            },
            Excluded::Marked => {
                out.extend(members.iter().copied().filter(|member| !is_excluded(*member)));
            }
        }
        if let Some(own) = own
            && position(own).is_none()
            && !is_excluded(own)
        {
            out.push(own);
        }
    }

    /// Several rooms: who has been taken is marked, and looks the same as who is left out.
    fn select_union(
        &mut self,
        rooms: &[Room],
        excluded: Excluded,
        own: &impl Fn(&str) -> Option<MemberId>,
        out: &mut Vec<MemberId>,
    ) {
        if !matches!(excluded, Excluded::Marked) {
            self.memberships.unmark_all();
        }
        if let Excluded::One(one) = excluded {
            self.memberships.mark(one);
        }
        for name in rooms {
            let slot = self.find(name);
            let members = slot.map_or(&[][..], |slot| &self.slots[slot as usize].members);
            for member in members.iter().copied().chain(own(name)) {
                if self.memberships.mark(member) {
                    out.push(member);
                }
            }
        }
    }

    fn find(&self, name: &str) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let hash = self.hasher.hash_one(name);
        self.by_name.find(hash, |&slot| &*self.slots[slot as usize].name == name).copied()
    }

    /// Makes a room that does not exist yet, without members.
    fn create(&mut self, name: &str) -> Result<u32, JoinError> {
        let limit = self.limits.rooms_max;
        if self.slots.len() >= limit as usize {
            return Err(JoinError::IndexFull { limit });
        }
        let slot = self.slots.insert(Slot { name: name.into(), members: SmallVec::new() }) as u32;
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.by_name.insert_unique(hasher.hash_one(name), slot, |&slot| {
            hasher.hash_one(&*slots[slot as usize].name)
        });
        Ok(slot)
    }

    /// Removes whoever stands at `place` from the room's list. Returns the room's slot, or the name
    /// of a room that has ceased to exist.
    fn vacate(&mut self, place: Place) -> Result<u32, Box<str>> {
        let members = &mut self.slots[place.room as usize].members;
        members.swap_remove(place.at as usize);
        if let Some(&moved) = members.get(place.at as usize) {
            self.memberships.relocate(moved, place);
        }
        if members.is_empty() {
            return Err(self.delete(place.room));
        }
        // A quarter, so that growing and shrinking at one size do not alternate.
        if members.spilled() && members.len() < members.capacity() / 4 {
            members.shrink_to_fit();
        }
        Ok(place.room)
    }

    fn delete(&mut self, slot: u32) -> Box<str> {
        let name = self.slots.remove(slot as usize).name;
        let hash = self.hasher.hash_one(&*name);
        if let Ok(entry) = self.by_name.find_entry(hash, |&known| known == slot) {
            entry.remove();
        }
        name
    }
}

#[cfg(test)]
mod tests;
