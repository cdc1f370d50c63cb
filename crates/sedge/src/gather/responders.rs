//! Who answers: the shards of this process, and other processes with their shards.

use std::fmt;
use std::sync::Arc;

use sedge_adapter::{Missing, MissingReason, Part, Peer, PeerId};
use smallvec::SmallVec;

/// Somebody who is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Responder {
    /// A shard of this process.
    Shard(usize),
    /// Another process, as long as it has not said of how many shards it consists.
    Process(PeerId),
    /// A shard of another process.
    ShardOf(PeerId, u16),
}

/// Where something was heard from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A shard of this process.
    Shard(usize),
    /// A part of another process.
    Peer(PeerId, Part),
}

impl Responder {
    pub(crate) fn is_of(self, peer: PeerId) -> bool {
        match self {
            Responder::Shard(_) => false,
            Responder::Process(process) | Responder::ShardOf(process, _) => process == peer,
        }
    }

    /// All shards of a process.
    pub(super) fn parts(peer: PeerId, of: u16) -> impl Iterator<Item = Responder> {
        (0..of).map(move |shard| Responder::ShardOf(peer, shard))
    }
}

/// The other processes that were meant.
#[derive(Clone, Debug, Default)]
pub(crate) struct Others {
    /// They have been asked.
    pub(crate) reached: SmallVec<[Peer; 2]>,
    /// They cannot be asked.
    pub(crate) refused: SmallVec<[Peer; 1]>,
    /// They cannot be asked: what they would be asked is too long for the bus.
    pub(crate) too_long: SmallVec<[Peer; 1]>,
}

impl Others {
    fn all(&self) -> impl Iterator<Item = &Peer> {
        self.reached.iter().chain(&self.refused).chain(&self.too_long)
    }

    pub(super) fn responders(&self) -> impl Iterator<Item = Responder> {
        self.all().map(|peer| Responder::Process(peer.id))
    }

    /// What people call a responder.
    pub(crate) fn name(&self, responder: Responder) -> Arc<str> {
        let process = |id| {
            let known = self.all().find(|peer| peer.id == id);
            known.map_or_else(|| format!("process {id}").into(), |peer| Arc::clone(&peer.name))
        };
        match responder {
            Responder::Shard(shard) => format!("shard {shard} of this process").into(),
            Responder::Process(id) => process(id),
            Responder::ShardOf(id, shard) => format!("shard {shard} of {}", process(id)).into(),
        }
    }

    /// Those who are missing, with their names, in the order of these.
    pub(crate) fn named(
        &self,
        missing: impl IntoIterator<Item = Missing<Responder>>,
    ) -> Vec<MissingResponder> {
        let named = |missing: Missing<Responder>| MissingResponder {
            name: self.name(missing.responder),
            reason: missing.reason,
        };
        let mut all: Vec<_> = missing.into_iter().map(named).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}

/// A shard or another process that did not answer, or not in full.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MissingResponder {
    /// For messages to people: `shard 1 of this process`, the name of another process, such as `worker 2`,
    /// or `shard 0 of worker 2`.
    pub name: Arc<str>,
    /// Why it is missing.
    pub reason: MissingReason,
}

impl fmt::Display for MissingResponder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.reason)
    }
}

/// The names of all of them.
pub(crate) fn write_list(f: &mut fmt::Formatter<'_>, all: &[MissingResponder]) -> fmt::Result {
    for (n, missing) in all.iter().enumerate() {
        write!(f, "{}{missing}", if n == 0 { "" } else { ", " })?;
    }
    Ok(())
}
