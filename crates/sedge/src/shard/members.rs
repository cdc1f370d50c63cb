//! A namespace on one shard: its sockets here, their rooms, and the handlers as this thread has them.

use std::rc::Rc;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashTable};
use sedge_adapter::{MemberId, Room, Rooms, Target};
use sedge_engine::SessionKey;
use slab::Slab;
use std::hash::BuildHasher;

use super::dispatch::PendingAck;
use crate::core::Namespace;
use crate::core::socket::Socket;
use crate::core::stage::Registration;
use crate::handler::listener::Table;
use crate::limits::ACKS_SWEEP_AT_LEAST;

/// A namespace on one shard.
pub(super) struct LocalNamespace {
    namespace: Namespace,
    table: Rc<Table>,
    /// How many registrations the table is made of.
    registered: u32,
    members: Slab<Member>,
    hasher: RandomState,
    /// Members by socket id; the ids stand in the sockets.
    ids: HashTable<u32>,
    pub(super) rooms: Rooms,
}

/// A connected socket.
pub(super) struct Member {
    pub(super) socket: Socket,
    /// Beside the socket, so that a broadcast need not visit every socket's own memory.
    pub(super) session: SessionKey,
    /// Handlers of this socket only.
    pub(super) own: Option<Rc<Table>>,
    acks: Option<Box<AckTable>>,
}

#[derive(Default)]
struct AckTable {
    pending: HashMap<u32, PendingAck, RandomState>,
    /// When the table has grown to this size, those nobody waits for are swept out.
    sweep_at: usize,
}

impl LocalNamespace {
    pub(super) fn new(namespace: Namespace) -> Self {
        let limits = namespace.core().options.limits.rooms;
        LocalNamespace {
            namespace,
            table: Rc::default(),
            registered: 0,
            members: Slab::new(),
            hasher: RandomState::default(),
            ids: HashTable::new(),
            rooms: Rooms::new(limits),
        }
    }

    pub(super) fn name(&self) -> &str {
        self.namespace.name()
    }

    /// The handlers, brought up to date if some were added since.
    pub(super) fn table(&mut self) -> Rc<Table> {
        if self.registered != self.namespace.shared().registered() {
            let registrations = self.namespace.shared().registrations();
            self.registered = registrations.len() as u32;
            self.table = Rc::new(Table::of(&registrations));
        }
        Rc::clone(&self.table)
    }

    pub(super) fn insert(&mut self, socket: Socket) -> MemberId {
        let hash = self.hasher.hash_one(socket.id().as_str());
        let member = Member { session: socket.session(), socket, own: None, acks: None };
        let slot = self.members.insert(member) as u32;
        let (members, hasher) = (&self.members, &self.hasher);
        let rehash = |slot: &u32| hasher.hash_one(members[*slot as usize].socket.id().as_str());
        self.ids.insert_unique(hash, slot, rehash);
        MemberId(slot)
    }

    pub(super) fn get(&self, member: MemberId) -> Option<&Member> {
        self.members.get(member.0 as usize)
    }

    /// The entry of a socket, if it is still here.
    pub(super) fn find(&mut self, socket: &Socket) -> Option<&mut Member> {
        let member = self.members.get_mut(socket.member().0 as usize)?;
        member.socket.is(socket).then_some(member)
    }

    /// Whether there are no sockets here.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Takes a member out of everything. Returns its entry and the rooms it was in, and tells `ended`
    /// those that have ceased to exist.
    pub(super) fn remove(
        &mut self,
        member: MemberId,
        mut ended: impl FnMut(&Room),
    ) -> Option<(Member, Vec<Room>)> {
        let entry = self.members.try_remove(member.0 as usize)?;
        let hash = self.hasher.hash_one(entry.socket.id().as_str());
        if let Ok(found) = self.ids.find_entry(hash, |slot| *slot == member.0) {
            found.remove();
        }
        let mut rooms = Vec::new();
        self.rooms.leave_all(member, |room, deleted| {
            let room = Room::from(room);
            if deleted {
                ended(&room);
            }
            rooms.push(room);
        });
        Some((entry, rooms))
    }

    /// The members that a target means.
    pub(super) fn select(&mut self, target: &Target, out: &mut Vec<MemberId>) {
        let (members, ids, hasher) = (&self.members, &self.ids, &self.hasher);
        let everybody = members.iter().map(|(slot, _)| MemberId(slot as u32));
        let own = |name: &str| {
            let is_it = |slot: &u32| members[*slot as usize].socket.id().as_str() == name;
            ids.find(hasher.hash_one(name), is_it).map(|slot| MemberId(*slot))
        };
        self.rooms.select(target, everybody, own, out);
    }

    /// The rooms of a member, that of its own id first.
    pub(super) fn rooms_of(&self, socket: &Socket) -> Vec<Room> {
        let joined = self.rooms.rooms_of(socket.member()).map(Room::from);
        std::iter::once(socket.id().room()).chain(joined).collect()
    }

    /// Has an acknowledgement awaited; the answer says whether the limit allows it.
    pub(super) fn expect_ack(
        &mut self,
        member: MemberId,
        id: u32,
        ack: PendingAck,
        max: usize,
    ) -> bool {
        let Some(member) = self.members.get_mut(member.0 as usize) else { return false };
        member.acks.get_or_insert_default().insert(id, ack, max)
    }
}

impl Member {
    /// Adds a handler of this socket only.
    pub(super) fn register(&mut self, registration: &Registration) {
        Rc::make_mut(self.own.get_or_insert_default()).add(registration);
    }

    /// Takes out who waits for an acknowledgement.
    pub(super) fn take_ack(&mut self, id: u32) -> Option<PendingAck> {
        self.acks.as_mut()?.pending.remove(&id)
    }

    /// Takes out all who wait for an acknowledgement.
    pub(super) fn take_acks(&mut self) -> Vec<PendingAck> {
        self.acks.take().map_or_else(Vec::new, |acks| acks.pending.into_values().collect())
    }
}

impl AckTable {
    /// Nobody says when a waiting future is dropped, so from time to time those are looked for.
    fn insert(&mut self, id: u32, ack: PendingAck, max: usize) -> bool {
        if self.pending.len() >= self.sweep_at.max(ACKS_SWEEP_AT_LEAST).min(max) {
            self.pending.retain(|_, ack| !ack.is_abandoned());
            self.sweep_at = self.pending.len() * 2;
        }
        if self.pending.len() >= max {
            return false;
        }
        self.pending.insert(id, ack);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[test]
    fn acknowledgements_nobody_waits_for_make_room() {
        let mut acks = AckTable::default();
        let mut waiting = Vec::new();
        for id in 0..100 {
            let (reply, answer) = oneshot::channel();
            assert!(acks.insert(id, PendingAck::One(reply), 20), "{id}");
            if id < 10 {
                waiting.push(answer);
            }
        }
        assert!(acks.pending.len() <= 20);
        assert!((0..10).all(|id| acks.pending.contains_key(&id)));
    }

    #[test]
    fn the_limit_of_acknowledgements_holds() {
        let mut acks = AckTable::default();
        let mut waiting = Vec::new();
        for id in 0..30 {
            let (reply, answer) = oneshot::channel();
            waiting.push(answer);
            assert_eq!(acks.insert(id, PendingAck::One(reply), 20), id < 20);
        }
    }

    #[test]
    fn a_member_is_small() {
        assert!(size_of::<Member>() <= 32);
    }
}
