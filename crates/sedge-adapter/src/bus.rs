//! The bus: how the processes of a cluster reach one another. A carrier (Unix sockets, Redis, …)
//! implements [`Bus`]; what is said over it, and to whom, is decided by whoever uses it.
//!
//! A process on the bus is a [`Peer`]. A process that is started again is another peer, so that
//! nothing meant for its predecessor reaches it. Messages are opaque to the carrier.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::target::Room;

/// One process on the bus, from its start to its end. Never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub u64);

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A process on the bus, and what people call it, such as `worker 2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Which process it is.
    pub id: PeerId,
    /// For messages to people.
    pub name: Arc<str>,
}

/// What a process may have sockets of. It tells the bus, so that it is not sent what concerns none
/// of its sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic<'a> {
    /// A namespace.
    Namespace(&'a str),
    /// A room of a namespace. The id of a socket is a room too.
    Room(&'a str, &'a str),
}

/// Whom a message is for.
#[derive(Clone, Copy, Debug)]
pub enum Audience<'a> {
    /// All other processes.
    Everybody,
    /// The others that have subscribed to the namespace.
    Namespace(&'a str),
    /// The others that have subscribed to at least one of these rooms of the namespace.
    Rooms(&'a str, &'a [Room]),
}

/// What became of a message. A peer that is in neither list was not meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// The peers that get it, unless they end first.
    pub reached: SmallVec<[PeerId; 8]>,
    /// The peers that were meant and do not get it: they have not read for so long that the queue
    /// to them is full.
    pub refused: SmallVec<[PeerId; 2]>,
    /// The peers that were meant and do not get it because it is longer than
    /// [`message_bytes_max`](Bus::message_bytes_max): all that were meant, or none.
    pub too_long: SmallVec<[PeerId; 2]>,
}

/// A message for one peer was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The peer is not on the bus, or no longer.
    #[error("the process is not on the bus any more")]
    Gone,
    /// The peer has not read for so long that the queue to it is full.
    #[error("the process does not read from the bus: the queue to it is full")]
    Full,
    /// The message is longer than [`message_bytes_max`](Bus::message_bytes_max). No peer ever gets it.
    #[error("the message is longer than the bus takes")]
    TooLong,
}

/// A carrier. No method blocks or waits; all may be called from any thread.
///
/// # What every carrier guarantees
///
/// - **Order.** Messages of one sender to one receiver arrive in the order in which they were published
///   or sent, each at most once, and none after [`on_left`](BusReceiver::on_left) has been called for the
///   sender.
/// - **Delivery.** A message that was `reached` (or for which [`send`](Self::send) returned `Ok`) is handed to the
///   receiver unless one of the two processes ends, or falls so far behind that it is cut off, which both see
///   as the other one leaving. It is not kept for longer than that, and not sent again.
/// - **Nothing is lost in silence.** A message that is not taken is named at once, with the reason: the peer
///   does not read (`refused`, [`SendError::Full`]) or the message is too long (`too_long`,
///   [`SendError::TooLong`]). What was taken and was still waiting here when its receiver left is counted in
///   [`on_left`](BusReceiver::on_left). Only what the operating system or a server in between had taken
///   already cannot be counted.
pub trait Bus: Send + Sync + 'static {
    /// Begins to hand over what comes. Called once, before anything else.
    fn start(&self, receiver: Arc<dyn BusReceiver>);

    /// The others that are on the bus at present.
    fn peers(&self) -> Vec<Peer>;

    /// This process wants what concerns the topic. Called again for each further reason to want it.
    ///
    /// A message that another process publishes after this has returned is not missed, if the carrier
    /// can see to that; carriers that cannot say so in their documentation.
    fn subscribe(&self, topic: Topic<'_>);

    /// One reason to want the topic is gone.
    fn unsubscribe(&self, topic: Topic<'_>);

    /// Hands a message to everybody it is meant for, except this process.
    fn publish(&self, audience: Audience<'_>, message: &Bytes) -> Published;

    /// Hands a message to one peer.
    fn send(&self, to: PeerId, message: Bytes) -> Result<(), SendError>;

    /// The longest message that is taken, in bytes.
    fn message_bytes_max(&self) -> usize;

    /// About how many bytes wait to be handed to a peer; 0 if it is not there. Who has much to tell one peer
    /// sends more when little waits, so that the queue has room for what others have for it.
    fn backlog(&self, to: PeerId) -> usize;

    /// Leaves the bus: there are no peers any more, and nothing is taken. What was taken before is still
    /// handed over, as far as that takes no waiting.
    fn close(&self);
}

/// Whoever uses a bus. Called by the carrier, on a thread of its own; must not block.
pub trait BusReceiver: Send + Sync + 'static {
    /// A message has come.
    fn on_message(&self, from: PeerId, message: Bytes);

    /// A process has joined. Those that were there before are told too.
    fn on_joined(&self, peer: Peer);

    /// A process has ended, or was cut off. Nothing comes from it any more. As many messages `lost` as were
    /// taken for it here and had not been handed over.
    fn on_left(&self, peer: PeerId, lost: u64);
}
