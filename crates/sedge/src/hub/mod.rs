//! What this process has to do with the other processes of its cluster: what is published, who waits for
//! answers, and who is there. The carrier is a [`Bus`]; without one there is no hub.
//!
//! Nothing here waits, and nothing that goes wrong here keeps an operation from the process's own
//! sockets: a process that does not read, and a message that is too long, are counted and logged, and the
//! process is missing in answers.

pub(crate) mod answers;
pub(crate) mod requests;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use requests::{Asker, Requests, Ticket};
use sedge_adapter::{
    Audience, Bus, BusReceiver, Peer, PeerId, Published, Response, SendError, Target, Topic, wire,
};
use sedge_protocol::socketio::Value;
use smallvec::SmallVec;

use crate::error::Overloaded;
use crate::gather::responders::Others;
use crate::limits::{ANSWER_PART_BYTES, GONE_NAMES_KEPT};
use crate::metrics::{BusCounters, BusMetrics};

type Names = SmallVec<[Arc<str>; 2]>;

/// This process on the bus.
pub(crate) struct Hub {
    bus: Arc<dyn Bus>,
    peers: Mutex<Peers>,
    /// What other processes have been asked.
    requests: Arc<Requests>,
    /// Processes that do not read at present.
    stalled: AtomicUsize,
    /// Shards that could not take the last thing that came for them. Nearly always empty.
    overflowing: Mutex<Vec<usize>>,
    overflows_now: AtomicUsize,
    /// Nothing more is handed to the carrier.
    closed: AtomicBool,
    counters: BusCounters,
}

#[derive(Default)]
struct Peers {
    here: HashMap<PeerId, Known>,
    /// The names of those that left last, for requests that still name them.
    gone: VecDeque<Peer>,
}

struct Known {
    name: Arc<str>,
    /// Whether it has been logged that it does not read.
    stalled: bool,
    /// Whether it has been logged that it says what cannot be read.
    unreadable: bool,
}

/// How an operation goes beyond this process.
pub(crate) enum Beyond {
    /// It does not.
    No,
    /// It should, but there is no room for one more request.
    Full,
    /// To whom it concerns.
    Message(Bytes),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    pub(crate) fn new(bus: Arc<dyn Bus>, requests_max: usize) -> Arc<Hub> {
        Arc::new(Hub {
            bus,
            peers: Mutex::default(),
            requests: Requests::new(requests_max),
            stalled: AtomicUsize::new(0),
            overflowing: Mutex::default(),
            overflows_now: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            counters: BusCounters::default(),
        })
    }

    /// Begins to take what comes.
    pub(crate) fn start(&self, receiver: Arc<dyn BusReceiver>) {
        self.bus.start(receiver);
    }

    /// Leaves the bus. Whoever still waits for other processes is told that they are gone.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.bus.close();
        let here: Vec<PeerId> = lock(&self.peers).here.keys().copied().collect();
        for peer in here {
            self.left(peer, 0);
        }
    }

    /// This process has sockets that this concerns.
    pub(crate) fn subscribe(&self, topic: Topic<'_>) {
        self.bus.subscribe(topic);
    }

    /// It has one reason less to want it.
    pub(crate) fn unsubscribe(&self, topic: Topic<'_>) {
        self.bus.unsubscribe(topic);
    }

    /// Enters a request, so that answers find who waits for them.
    pub(crate) fn enter(&self, asker: Asker) -> Result<Ticket, Overloaded> {
        self.requests.enter(asker).inspect_err(|_| {
            self.counters.requests_refused.fetch_add(1, Ordering::Relaxed);
        })
    }

    /// Hands an operation on the target's sockets to the other processes that may have such sockets.
    pub(crate) fn publish(
        &self,
        namespace: &str,
        target: Option<&Target>,
        message: &Bytes,
    ) -> Published {
        if self.closed.load(Ordering::Relaxed) {
            return Published::default();
        }
        let audience = match target {
            None => Audience::Everybody,
            Some(target) if target.rooms.is_empty() => Audience::Namespace(namespace),
            Some(target) => Audience::Rooms(namespace, &target.rooms),
        };
        let published = self.bus.publish(audience, message);
        if !published.reached.is_empty() {
            self.counters.sent.fetch_add(published.reached.len() as u64, Ordering::Relaxed);
        }
        if !published.refused.is_empty() {
            self.counters.refused.fetch_add(published.refused.len() as u64, Ordering::Relaxed);
        }
        if !published.too_long.is_empty() {
            self.note_too_long(message.len(), published.too_long.len());
        }
        if !published.refused.is_empty() || self.stalled.load(Ordering::Relaxed) > 0 {
            self.note_stalls(&published.reached, &published.refused);
        }
        published
    }

    /// Hands an answer to the process that asked. If it is not taken, the asker waits until its deadline.
    fn answer(&self, peer: PeerId, message: Bytes) -> Result<(), SendError> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(SendError::Gone);
        }
        let bytes = message.len();
        let sent = self.bus.send(peer, message);
        match sent {
            Ok(()) => {
                self.counters.sent.fetch_add(1, Ordering::Relaxed);
                if self.stalled.load(Ordering::Relaxed) > 0 {
                    self.note_stalls(&[peer], &[]);
                }
            }
            Err(SendError::Full) => {
                self.counters.refused.fetch_add(1, Ordering::Relaxed);
                self.note_stalls(&[], &[peer]);
            }
            Err(SendError::TooLong) => self.note_too_long(bytes, 1),
            Err(SendError::Gone) => {}
        }
        sent
    }

    /// About how many bytes wait to be handed to a process.
    pub(crate) fn backlog(&self, peer: PeerId) -> usize {
        self.bus.backlog(peer)
    }

    /// How many bytes of sockets a part of an answer should have at most.
    pub(crate) fn part_bytes_max(&self) -> usize {
        let whole = ANSWER_PART_BYTES.min(self.bus.message_bytes_max());
        whole.saturating_sub(wire::ANSWER_HEAD_BYTES)
    }

    /// A message that is longer than the bus takes is whoever sends it's fault.
    fn note_too_long(&self, bytes: usize, processes: usize) {
        self.counters.too_long.fetch_add(processes as u64, Ordering::Relaxed);
        let max = self.bus.message_bytes_max();
        sedge_log::warn_rarely!(
            bytes,
            max,
            "a message is too long for the bus: other processes miss it"
        );
    }

    /// A process that does not read is logged once, and once more when it reads again.
    fn note_stalls(&self, reached: &[PeerId], refused: &[PeerId]) {
        let (mut stalls, mut reads) = (Names::new(), Names::new());
        {
            let mut peers = lock(&self.peers);
            for id in refused {
                if let Some(known) = peers.here.get_mut(id)
                    && !std::mem::replace(&mut known.stalled, true)
                {
                    self.stalled.fetch_add(1, Ordering::Relaxed);
                    stalls.push(Arc::clone(&known.name));
                }
            }
            for id in reached {
                if let Some(known) = peers.here.get_mut(id)
                    && std::mem::replace(&mut known.stalled, false)
                {
                    self.stalled.fetch_sub(1, Ordering::Relaxed);
                    reads.push(Arc::clone(&known.name));
                }
            }
        }
        for process in stalls {
            tracing::warn!(
                %process,
                "a process does not read from the bus; its sockets miss what concerns them"
            );
        }
        for process in reads {
            tracing::info!(%process, "a process reads from the bus again");
        }
    }

    /// A shard that cannot take what comes is logged once, and once more when it does again.
    pub(crate) fn note_overflow(&self, shard: usize, taken: bool) {
        if taken && self.overflows_now.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut overflowing = lock(&self.overflowing);
        let at = overflowing.iter().position(|known| *known == shard);
        match at {
            Some(at) if taken => drop(overflowing.swap_remove(at)),
            None if !taken => overflowing.push(shard),
            _ => {}
        }
        self.overflows_now.store(overflowing.len(), Ordering::Relaxed);
        drop(overflowing);
        match (taken, at) {
            (true, Some(_)) => {
                tracing::info!(shard, "a shard takes what comes from other processes again");
            }
            (false, None) => tracing::warn!(
                shard,
                "the command queue of a shard is full; its sockets miss what comes from other processes"
            ),
            _ => {}
        }
        if !taken {
            self.counters.overflows.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Something that cannot be read is dropped, which is logged once for each process.
    pub(crate) fn note_unreadable(&self, from: PeerId, error: &dyn fmt::Display) {
        self.counters.unreadable.fetch_add(1, Ordering::Relaxed);
        let first = lock(&self.peers).here.get_mut(&from).and_then(|known| {
            let before = std::mem::replace(&mut known.unreadable, true);
            (!before).then(|| Arc::clone(&known.name))
        });
        if let Some(process) = first {
            sedge_log::warn_rarely!(%process, %error, "what a process sends is dropped");
        }
    }

    /// Who was meant, by name.
    pub(crate) fn others(&self, published: Published) -> Others {
        let peers = lock(&self.peers);
        let named = |id: PeerId| Peer { id, name: peers.name(id) };
        Others {
            reached: published.reached.into_iter().map(named).collect(),
            refused: published.refused.into_iter().map(named).collect(),
            too_long: published.too_long.into_iter().map(named).collect(),
        }
    }

    /// Something has come.
    pub(crate) fn count_received(&self) {
        self.counters.received.fetch_add(1, Ordering::Relaxed);
    }

    /// Everybody, as those who cannot be asked.
    pub(crate) fn nobody_asked(&self) -> Others {
        Others { refused: self.bus.peers().into(), ..Others::default() }
    }

    /// A process is there.
    pub(crate) fn joined(&self, peer: Peer) {
        tracing::info!(process = %peer.name, "a process has joined");
        let known = Known { name: peer.name, stalled: false, unreadable: false };
        let former = lock(&self.peers).here.insert(peer.id, known);
        if former.is_some_and(|known| known.stalled) {
            self.stalled.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A process has left: nobody waits for it any more.
    pub(crate) fn left(&self, peer: PeerId, lost: u64) {
        self.counters.lost.fetch_add(lost, Ordering::Relaxed);
        let known = lock(&self.peers).forget(peer);
        if let Some(Known { name, stalled, .. }) = known {
            if stalled {
                self.stalled.fetch_sub(1, Ordering::Relaxed);
            }
            if !self.closed.load(Ordering::Relaxed) {
                tracing::info!(process = %name, lost, "a process has left");
            }
        }
        self.requests.left(peer);
    }

    /// An answer has come. Those that nobody waits for, late, repeated or made up, are dropped.
    pub(crate) fn answered(&self, peer: PeerId, response: Response<Value>) {
        if !self.requests.answered(peer, response) {
            self.counters.answers_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The counters.
    pub(crate) fn metrics(&self) -> BusMetrics {
        let peers = lock(&self.peers).here.len() as u64;
        let requests = self.requests.len() as u64;
        self.counters.snapshot(peers, requests)
    }
}

impl Peers {
    fn forget(&mut self, id: PeerId) -> Option<Known> {
        let known = self.here.remove(&id)?;
        self.gone.push_back(Peer { id, name: Arc::clone(&known.name) });
        if self.gone.len() > GONE_NAMES_KEPT {
            self.gone.pop_front();
        }
        Some(known)
    }

    fn name(&self, id: PeerId) -> Arc<str> {
        let here = self.here.get(&id).map(|known| &known.name);
        let gone = || self.gone.iter().rev().find(|peer| peer.id == id).map(|peer| &peer.name);
        here.or_else(gone).map_or_else(|| format!("process {id}").into(), Arc::clone)
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}
