//! The cluster logic of a Socket.IO server as values: no driver, no I/O, no clock.
//!
//! One closed set of operations goes from the caller to everybody who holds sockets. A shard of
//! this process is simply the nearest node: the same [`Operation`] is handed to each shard, to
//! sibling workers and to other nodes, and each applies it to the sockets it owns.
//!
//! - [`rooms`]: who is in which room, one index per namespace and shard; the hot part of fan-out;
//! - [`target`]: which sockets an operation is meant for, and with which flags;
//! - [`message`]: the operations and the answers to them;
//! - [`request`]: the bookkeeping of whoever waits for the answers of several nodes;
//! - [`wire`]: the form in which operations and answers cross to other processes;
//! - [`bus`]: what is asked of whatever carries messages between processes;
//! - [`memory`]: a bus inside one process, for tests;
//! - [`limits`]: every bound of this crate, with its reason.

pub mod bus;
pub mod limits;
mod memberships;
pub mod memory;
pub mod message;
pub mod request;
pub mod rooms;
pub mod target;
mod tasks;
pub mod wire;

pub use bus::{Audience, Bus, BusReceiver, Peer, PeerId, Published, SendError, Topic};
pub use limits::RoomLimits;
pub use message::{Operation, Part, RemoteSocketData, RequestId, Response, ResponseBody};
pub use request::{AckRequest, Missing, MissingReason, Outcome, Request};
pub use rooms::{JoinError, Joined, Left, MemberId, Rooms};
pub use target::{Flags, IntoRooms, Room, RoomList, Target};
