//! The targets: who can be given requests, how much each can take, and how much it has.
//!
//! The load that new sessions are spread by is what a target *reported* and what was *assigned* to
//! it since. A burst of handshakes that comes between two reports is thus spread, where a
//! balancer that only counts sessions it was told of sends all of it to one worker. An assignment
//! becomes a session that is reported, or nothing: a failed handshake, a file that was fetched. So it
//! counts until the target reports a session opened, at most until its second report from then.

use thiserror::Error;

use crate::limits::{TARGET_NAME_BYTES_MAX, TARGETS_MAX, WEIGHT_MAX, WEIGHT_SUM_MAX};

/// One life of a target in a table. When a target has been [restarted](crate::Router::restarted) or
/// removed, its old id means nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TargetId {
    slot: u16,
    life: u32,
}

impl TargetId {
    /// The place in the table: the lowest free one when the target was added, counted from 0. It stays
    /// the same when the target is restarted.
    pub fn slot(self) -> usize {
        usize::from(self.slot)
    }
}

/// What a target may be given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Availability {
    /// Everything.
    #[default]
    Up,
    /// Requests of sessions that it has, and no new sessions.
    Draining,
    /// Nothing.
    Down,
}

/// Which self-routing session ids belong to a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Home {
    /// None: it is a server of another kind, whose sessions are [learned](crate::Router::learn).
    #[default]
    Foreign,
    /// Those of all workers of this node.
    Node(u16),
    /// Those of one worker.
    Worker {
        /// The node's tag.
        node: u16,
        /// The worker's number on it.
        worker: u8,
    },
}

/// A target, as it is put into a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    name: String,
    weight: u32,
    home: Home,
    availability: Availability,
}

impl Target {
    /// A target of weight 1 that is up and has no self-routing sessions.
    ///
    /// Hashes place clients by the name, so it must stay the same over restarts and be the same on
    /// all balancers. For the placement of nginx it has to be what stands behind `server` there:
    /// usually `address:port`.
    pub fn new(name: impl Into<String>) -> Target {
        let (home, availability) = (Home::default(), Availability::default());
        Target { name: name.into(), weight: 1, home, availability }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// How many times as much it gets as a target of weight 1, up to [`WEIGHT_MAX`]. Default 1.
    pub fn weight(mut self, weight: u32) -> Target {
        self.weight = weight;
        self
    }

    /// Which self-routing session ids are its own. Default none.
    pub fn home(mut self, home: Home) -> Target {
        self.home = home;
        self
    }

    /// Where it starts. Default [`Availability::Up`].
    pub fn availability(mut self, availability: Availability) -> Target {
        self.availability = availability;
        self
    }
}

/// Why a target cannot be added.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TargetError {
    /// The name is empty or longer than [`TARGET_NAME_BYTES_MAX`] bytes.
    #[error("a target's name must have 1 to {TARGET_NAME_BYTES_MAX} bytes")]
    Name,
    /// Another target has the name.
    #[error("there is already a target {0:?}")]
    NameTaken(String),
    /// Another target has these session ids.
    #[error("there is already a target for the sessions of {0:?}")]
    HomeTaken(Home),
    /// The weight is 0 or larger than [`WEIGHT_MAX`].
    #[error("a weight must be 1 to {WEIGHT_MAX}")]
    Weight,
    /// All weights together would be more than [`WEIGHT_SUM_MAX`].
    #[error("the weights of all targets may come to {WEIGHT_SUM_MAX}")]
    WeightSum,
    /// There are [`TARGETS_MAX`] targets.
    #[error("more than {TARGETS_MAX} targets")]
    TooMany,
}

/// What a target says about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Sessions that are open.
    pub open: u64,
    /// Sessions that it has opened since it started.
    pub opened: u64,
}

/// How much a target has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Sessions that are open, as far as it is known.
    pub open: u64,
    /// Assigned since the last report, without those known to have become sessions.
    fresh: u64,
    /// The same of the time before: at the next report they will have become nothing.
    older: u64,
    /// From the last report.
    opened: u64,
}

impl Load {
    /// Assigned, and not known to have become a session or nothing.
    pub fn pending(&self) -> u64 {
        self.fresh + self.older
    }

    /// What targets are compared by.
    pub fn total(&self) -> u64 {
        self.open.saturating_add(self.pending())
    }

    pub(crate) fn assign(&mut self) {
        self.fresh = self.fresh.saturating_add(1);
    }

    /// Some of what was pending has become sessions, the oldest first.
    fn settle(&mut self, opened: u64) {
        let rest = opened.saturating_sub(self.older);
        self.older = self.older.saturating_sub(opened);
        self.fresh = self.fresh.saturating_sub(rest);
    }

    pub(crate) fn report(&mut self, report: Report) {
        self.settle(report.opened.saturating_sub(self.opened));
        (self.open, self.opened) = (report.open, report.opened);
        (self.older, self.fresh) = (self.fresh, 0);
    }

    pub(crate) fn opened(&mut self) {
        self.settle(1);
        self.open = self.open.saturating_add(1);
        self.opened = self.opened.saturating_add(1);
    }

    pub(crate) fn abandoned(&mut self) {
        self.settle(1);
    }

    pub(crate) fn closed(&mut self) {
        self.open = self.open.saturating_sub(1);
    }
}

/// A target in the table.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) id: TargetId,
    pub(crate) name: String,
    pub(crate) weight: u32,
    pub(crate) home: Home,
    pub(crate) availability: Availability,
    pub(crate) load: Load,
    /// Round robin's account of what the target is owed.
    pub(crate) owed: i64,
    /// Stands for the name in the rendezvous hash.
    pub(crate) seed: u64,
    /// Stands for the name in a sticky cookie.
    pub(crate) tag: u64,
}

/// For what a target is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A new session.
    New,
    /// A request that says it belongs to a session.
    Existing,
}

impl Entry {
    pub(crate) fn takes(&self, purpose: Purpose) -> bool {
        match self.availability {
            Availability::Up => true,
            Availability::Draining => purpose == Purpose::Existing,
            Availability::Down => false,
        }
    }

    /// Whether it has less than the other for its weight.
    pub(crate) fn is_freer_than(&self, other: &Entry) -> bool {
        let load = |entry: &Entry, weight: u32| u128::from(entry.load.total()) * u128::from(weight);
        load(self, other.weight) < load(other, self.weight)
    }
}

/// All targets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    slots: Vec<Option<Entry>>,
    /// Sorted by the key of the home.
    homes: Vec<(u32, u16)>,
    lives: u32,
}

/// Where a session id leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HomeOf<'a> {
    Target(&'a Entry),
    /// There are targets of the node, and none is this worker.
    NoWorker,
    NoNode,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.id == other.id
    }
}

impl Eq for Entry {}

impl Home {
    /// Workers of a node stand together, the node itself first.
    fn key(self) -> Option<u32> {
        match self {
            Home::Foreign => None,
            Home::Node(node) => Some(u32::from(node) << 9),
            Home::Worker { node, worker } => {
                Some(u32::from(node) << 9 | 1 << 8 | u32::from(worker))
            }
        }
    }
}

impl Table {
    pub(crate) fn add(
        &mut self,
        target: Target,
        seed: u64,
        tag: u64,
    ) -> Result<TargetId, TargetError> {
        let Target { name, weight, home, availability } = target;
        if name.is_empty() || name.len() > TARGET_NAME_BYTES_MAX {
            return Err(TargetError::Name);
        }
        if weight == 0 || weight > WEIGHT_MAX {
            return Err(TargetError::Weight);
        }
        if self.iter().any(|entry| entry.name == name) {
            return Err(TargetError::NameTaken(name));
        }
        if home != Home::Foreign && self.iter().any(|entry| entry.home == home) {
            return Err(TargetError::HomeTaken(home));
        }
        if self.weight_sum() + weight > WEIGHT_SUM_MAX {
            return Err(TargetError::WeightSum);
        }
        let free = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        if free >= TARGETS_MAX {
            return Err(TargetError::TooMany);
        }
        if free == self.slots.len() {
            self.slots.push(None);
        }
        let id = TargetId { slot: free as u16, life: self.next_life() };
        let load = Load::default();
        self.slots[free] =
            Some(Entry { id, name, weight, home, availability, load, owed: 0, seed, tag });
        self.index_homes();
        Ok(id)
    }

    pub(crate) fn remove(&mut self, id: TargetId) -> bool {
        let found = self.get(id).is_some();
        if found {
            self.slots[id.slot()] = None;
            self.index_homes();
        }
        found
    }

    /// The target begins a new life, without load.
    pub(crate) fn restart(&mut self, id: TargetId) -> Option<TargetId> {
        let life = self.next_life();
        let entry = self.get_mut(id)?;
        entry.id.life = life;
        entry.load = Load::default();
        Some(entry.id)
    }

    fn next_life(&mut self) -> u32 {
        self.lives = self.lives.wrapping_add(1);
        self.lives
    }

    fn index_homes(&mut self) {
        let homes = self.slots.iter().flatten();
        let keyed = homes.filter_map(|entry| Some((entry.home.key()?, entry.id.slot)));
        self.homes = keyed.collect();
        self.homes.sort_unstable();
    }

    pub(crate) fn get(&self, id: TargetId) -> Option<&Entry> {
        self.at(id.slot()).filter(|entry| entry.id == id)
    }

    pub(crate) fn get_mut(&mut self, id: TargetId) -> Option<&mut Entry> {
        self.slots.get_mut(id.slot())?.as_mut().filter(|entry| entry.id == id)
    }

    pub(crate) fn at(&self, slot: usize) -> Option<&Entry> {
        self.slots.get(slot)?.as_ref()
    }

    /// In the order of the slots.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.slots.iter().flatten()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.slots.iter_mut().flatten()
    }

    /// Slots in use and holes between them.
    pub(crate) fn slot_count(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn weight_sum(&self) -> u32 {
        self.iter().map(|entry| entry.weight).sum()
    }

    pub(crate) fn home_of(&self, node: u16, worker: u8) -> HomeOf<'_> {
        let find = |home: Home| {
            let key = home.key()?;
            let at = self.homes.binary_search_by_key(&key, |(key, _)| *key).ok()?;
            self.at(usize::from(self.homes.get(at)?.1))
        };
        if let Some(entry) = find(Home::Worker { node, worker }).or_else(|| find(Home::Node(node)))
        {
            return HomeOf::Target(entry);
        }
        let node = u32::from(node);
        let first = self.homes.partition_point(|(key, _)| key >> 9 < node);
        match self.homes.get(first) {
            Some((key, _)) if key >> 9 == node => HomeOf::NoWorker,
            _ => HomeOf::NoNode,
        }
    }
}
