//! A bus inside one process, for tests: several servers of one program that act as if each were a
//! process of a cluster.
//!
//! It does what [`Bus`] asks for, with real concurrency (each member has a thread that hands over what
//! comes) and without doing anything that other carriers cannot do. For tests of what goes wrong it can
//! refuse, hold back, and cut off. Its locks and threads are the only ones of this crate: it stands here, and
//! not in a crate of its own, so that whoever writes against [`Bus`] has something to try it with.
//!
//! ```
//! use std::sync::Arc;
//! use sedge_adapter::memory::MemoryCluster;
//! use sedge_adapter::{Audience, Bus, BusReceiver, Peer, PeerId};
//!
//! struct Print;
//!
//! impl BusReceiver for Print {
//!     fn on_message(&self, from: PeerId, message: bytes::Bytes) {
//!         println!("{from}: {message:?}");
//!     }
//!     fn on_joined(&self, peer: Peer) {
//!         println!("{} is here", peer.name);
//!     }
//!     fn on_left(&self, peer: PeerId, lost: u64) {
//!         println!("{peer} has left and misses {lost} messages");
//!     }
//! }
//!
//! let cluster = MemoryCluster::new();
//! let (one, two) = (cluster.member("one"), cluster.member("two"));
//! one.start(Arc::new(Print));
//! two.start(Arc::new(Print));
//! let published = one.publish(Audience::Everybody, &"hello".into());
//! assert_eq!(published.reached.as_slice(), [two.id()]);
//! ```

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::bus::{Audience, Bus, BusReceiver, Peer, PeerId, Published, SendError, Topic};
use crate::limits::{MEMORY_BUS_MESSAGE_BYTES_MAX, MEMORY_BUS_QUEUE_MAX};
use crate::tasks;

/// Members of one process that reach one another. Clones are handles on the same cluster.
#[derive(Clone, Debug)]
pub struct MemoryCluster(Arc<Cluster>);

#[derive(Debug)]
struct Cluster {
    queue_max: usize,
    message_bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How many members there have been.
    made: u64,
    /// Those that have been started and have not left.
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    peer: Peer,
    topics: Topics,
    inbox: Arc<Inbox>,
    refuses: bool,
}

/// How many reasons a member has to want what.
#[derive(Debug, Default)]
struct Topics(HashMap<Box<str>, NamespaceTopics>);

#[derive(Debug, Default)]
struct NamespaceTopics {
    itself: u32,
    rooms: HashMap<Box<str>, u32>,
}

/// What waits for one member.
#[derive(Debug, Default)]
struct Inbox {
    state: Mutex<InboxState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct InboxState {
    queue: VecDeque<Notice>,
    /// Nothing is handed over for now.
    held: bool,
    /// Nothing more will come.
    ended: bool,
    /// Messages that have ever been taken.
    taken: u64,
}

#[derive(Debug)]
enum Notice {
    Message(PeerId, Bytes),
    Joined(Peer),
    Left(PeerId, u64),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for MemoryCluster {
    fn default() -> Self {
        MemoryCluster::new()
    }
}

impl MemoryCluster {
    /// A cluster without members. [`MEMORY_BUS_QUEUE_MAX`] messages may wait for each.
    pub fn new() -> MemoryCluster {
        MemoryCluster::with_queue_max(MEMORY_BUS_QUEUE_MAX)
    }

    /// A cluster without members, in which as many messages may wait for each. One more is
    /// [refused](Published::refused).
    pub fn with_queue_max(messages: usize) -> MemoryCluster {
        MemoryCluster::with_limits(messages, MEMORY_BUS_MESSAGE_BYTES_MAX)
    }

    /// A cluster without members, in which as many messages may wait for each, none of them longer than so
    /// many bytes.
    pub fn with_limits(queue_max: usize, message_bytes_max: usize) -> MemoryCluster {
        let state = Mutex::default();
        MemoryCluster(Arc::new(Cluster { queue_max, message_bytes_max, state }))
    }

    /// A new member, which others see as soon as it has been [started](Bus::start).
    pub fn member(&self, name: &str) -> MemoryBus {
        let mut state = lock(&self.0.state);
        state.made += 1;
        let peer = Peer { id: PeerId(state.made), name: name.into() };
        let seat = Seat { cluster: Arc::clone(&self.0), peer, inbox: Arc::default() };
        MemoryBus(Arc::new(seat))
    }
}

/// One member of a [`MemoryCluster`]. Clones are handles on the same member; it leaves when it is
/// [closed](Bus::close), or with the last handle.
#[derive(Clone)]
pub struct MemoryBus(Arc<Seat>);

struct Seat {
    cluster: Arc<Cluster>,
    peer: Peer,
    inbox: Arc<Inbox>,
}

impl MemoryBus {
    /// Who this member is for the others.
    pub fn id(&self) -> PeerId {
        self.0.peer.id
    }

    /// How many messages have been taken for this member so far, whether or not they have been handed
    /// over.
    pub fn messages(&self) -> u64 {
        lock(&self.0.inbox.state).taken
    }

    /// How many topics this member wants.
    pub fn topics(&self) -> usize {
        self.0.with_member(|member| member.topics.len()).unwrap_or_default()
    }

    /// Whether this member wants what concerns a topic.
    pub fn wants(&self, topic: Topic<'_>) -> bool {
        self.0.with_member(|member| member.topics.want(topic)).unwrap_or_default()
    }

    /// Makes this member refuse what others have for it, as if it did not read and the queue to it
    /// were full.
    pub fn refuse(&self, refuse: bool) {
        self.0.with_member(|member| member.refuses = refuse);
    }

    /// Holds back whatever comes for this member until it is let through again.
    pub fn hold(&self, hold: bool) {
        lock(&self.0.inbox.state).held = hold;
        self.0.inbox.changed.notify_all();
    }

    /// Cuts this member off at once, as if its process or the connections to it had ended: the
    /// others see it leave, and it sees all of them leave. What waits for it is lost.
    pub fn cut_off(&self) {
        let mut state = lock(&self.0.cluster.state);
        let others: Vec<_> = state.others(self.id()).map(|member| member.peer.id).collect();
        if !state.remove(self.id()) {
            return;
        }
        let mut inbox = lock(&self.0.inbox.state);
        inbox.held = false;
        // What it has published is in the others' hands already.
        inbox.queue.extend(others.into_iter().map(|id| Notice::Left(id, 0)));
        inbox.ended = true;
        self.0.inbox.changed.notify_all();
    }
}

impl Bus for MemoryBus {
    fn start(&self, receiver: Arc<dyn BusReceiver>) {
        let seat = &self.0;
        let mut state = lock(&seat.cluster.state);
        let inbox = Arc::clone(&seat.inbox);
        if tasks::member(&seat.peer.name, move || inbox.hand_over(&*receiver)).is_err() {
            // Then this member is never there.
            return;
        }
        for other in &state.members {
            other.inbox.push(Notice::Joined(seat.peer.clone()));
            seat.inbox.push(Notice::Joined(other.peer.clone()));
        }
        let (peer, inbox) = (seat.peer.clone(), Arc::clone(&seat.inbox));
        state.members.push(Member { peer, topics: Topics::default(), inbox, refuses: false });
    }

    fn peers(&self) -> Vec<Peer> {
        let state = lock(&self.0.cluster.state);
        state.others(self.id()).map(|member| member.peer.clone()).collect()
    }

    fn subscribe(&self, topic: Topic<'_>) {
        self.0.with_member(|member| member.topics.add(topic));
    }

    fn unsubscribe(&self, topic: Topic<'_>) {
        self.0.with_member(|member| member.topics.remove(topic));
    }

    fn publish(&self, audience: Audience<'_>, message: &Bytes) -> Published {
        let mut published = Published::default();
        let cluster = &self.0.cluster;
        let state = lock(&cluster.state);
        if !state.has(self.id()) {
            return published;
        }
        let meant = state.others(self.id()).filter(|other| other.topics.are_in(audience));
        if message.len() > cluster.message_bytes_max {
            published.too_long.extend(meant.map(|other| other.peer.id));
            return published;
        }
        for other in meant {
            match other.take(self.id(), message.clone(), cluster.queue_max) {
                Ok(()) => published.reached.push(other.peer.id),
                Err(_) => published.refused.push(other.peer.id),
            }
        }
        published
    }

    fn send(&self, to: PeerId, message: Bytes) -> Result<(), SendError> {
        let cluster = &self.0.cluster;
        let state = lock(&cluster.state);
        let other = state.others(self.id()).find(|other| other.peer.id == to);
        match other {
            Some(_) if message.len() > cluster.message_bytes_max => Err(SendError::TooLong),
            Some(other) if state.has(self.id()) => {
                other.take(self.id(), message, cluster.queue_max)
            }
            _ => Err(SendError::Gone),
        }
    }

    fn message_bytes_max(&self) -> usize {
        self.0.cluster.message_bytes_max
    }

    fn backlog(&self, to: PeerId) -> usize {
        let state = lock(&self.0.cluster.state);
        let inbox = state.others(self.id()).find(|other| other.peer.id == to);
        inbox.map_or(0, |other| lock(&other.inbox.state).bytes())
    }

    fn close(&self) {
        self.0.leave();
    }
}

impl Seat {
    /// Calls `f` if this member is in the cluster.
    fn with_member<R>(&self, f: impl FnOnce(&mut Member) -> R) -> Option<R> {
        let mut state = lock(&self.cluster.state);
        state.members.iter_mut().find(|member| member.peer.id == self.peer.id).map(f)
    }

    fn leave(&self) {
        lock(&self.cluster.state).remove(self.peer.id);
        let mut inbox = lock(&self.inbox.state);
        inbox.queue.clear();
        inbox.ended = true;
        self.inbox.changed.notify_all();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave();
    }
}

impl State {
    fn has(&self, id: PeerId) -> bool {
        self.members.iter().any(|member| member.peer.id == id)
    }

    fn others(&self, than: PeerId) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |member| member.peer.id != than)
    }

    /// Takes a member out, with what waits for it, and tells the others; `false` if it is not there.
    fn remove(&mut self, id: PeerId) -> bool {
        let Some(at) = self.members.iter().position(|member| member.peer.id == id) else {
            return false;
        };
        let waiting = std::mem::take(&mut lock(&self.members.remove(at).inbox.state).queue);
        for other in &self.members {
            let of_it = |notice: &&Notice| matches!(notice, Notice::Message(from, _) if *from == other.peer.id);
            let lost = waiting.iter().filter(of_it).count() as u64;
            other.inbox.push(Notice::Left(id, lost));
        }
        true
    }
}

impl Member {
    fn take(&self, from: PeerId, message: Bytes, max: usize) -> Result<(), SendError> {
        let mut inbox = lock(&self.inbox.state);
        if self.refuses || inbox.queue.len() >= max {
            return Err(SendError::Full);
        }
        inbox.taken += 1;
        inbox.queue.push_back(Notice::Message(from, message));
        self.inbox.changed.notify_all();
        Ok(())
    }
}

impl Topics {
    fn add(&mut self, topic: Topic<'_>) {
        match topic {
            Topic::Namespace(name) => self.0.entry(name.into()).or_default().itself += 1,
            Topic::Room(name, room) => {
                let rooms = &mut self.0.entry(name.into()).or_default().rooms;
                *rooms.entry(room.into()).or_default() += 1;
            }
        }
    }

    fn remove(&mut self, topic: Topic<'_>) {
        let (Topic::Namespace(name) | Topic::Room(name, _)) = topic;
        let Some(namespace) = self.0.get_mut(name) else { return };
        match topic {
            Topic::Namespace(_) => namespace.itself = namespace.itself.saturating_sub(1),
            Topic::Room(_, room) => {
                let count = namespace.rooms.get_mut(room);
                if count.is_some_and(|count| {
                    *count = count.saturating_sub(1);
                    *count == 0
                }) {
                    namespace.rooms.remove(room);
                }
            }
        }
        if namespace.itself == 0 && namespace.rooms.is_empty() {
            self.0.remove(name);
        }
    }

    fn want(&self, topic: Topic<'_>) -> bool {
        match topic {
            Topic::Namespace(name) => self.0.get(name).is_some_and(|topics| topics.itself > 0),
            Topic::Room(name, room) => {
                self.0.get(name).is_some_and(|topics| topics.rooms.contains_key(room))
            }
        }
    }

    fn are_in(&self, audience: Audience<'_>) -> bool {
        match audience {
            Audience::Everybody => true,
            Audience::Namespace(name) => self.want(Topic::Namespace(name)),
            Audience::Rooms(name, rooms) => {
                rooms.iter().any(|room| self.want(Topic::Room(name, room)))
            }
        }
    }

    fn len(&self) -> usize {
        let of = |topics: &NamespaceTopics| topics.rooms.len() + usize::from(topics.itself > 0);
        self.0.values().map(of).sum()
    }
}

impl InboxState {
    /// What waits, without what is being handed over.
    fn bytes(&self) -> usize {
        let bytes = |notice: &Notice| match notice {
            Notice::Message(_, message) => message.len(),
            Notice::Joined(_) | Notice::Left(..) => 0,
        };
        self.queue.iter().map(bytes).sum()
    }
}

impl Inbox {
    fn push(&self, notice: Notice) {
        lock(&self.state).queue.push_back(notice);
        self.changed.notify_all();
    }

    /// Hands over what comes until the member has left.
    fn hand_over(&self, receiver: &dyn BusReceiver) {
        while let Some(notice) = self.next() {
            match notice {
                Notice::Message(from, message) => receiver.on_message(from, message),
                Notice::Joined(peer) => receiver.on_joined(peer),
                Notice::Left(peer, lost) => receiver.on_left(peer, lost),
            }
        }
    }

    fn next(&self) -> Option<Notice> {
        let mut state = lock(&self.state);
        loop {
            if !state.held
                && let Some(notice) = state.queue.pop_front()
            {
                return Some(notice);
            }
            if state.ended {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl fmt::Debug for MemoryBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemoryBus").field(&self.0.peer).finish()
    }
}

#[cfg(test)]
mod tests;
