//! Every bound of the cluster logic, with its reason.

use sedge_protocol::socketio::DEPTH_MAX;

/// How many rooms one socket may be in at a time, unless configured otherwise.
///
/// A socket is usually in one or two rooms; applications that subscribe a socket to each channel
/// of its user need hundreds, seldom thousands.
pub const ROOMS_PER_MEMBER: usize = 4096;

/// The longest room name in bytes of UTF-8, unless configured otherwise.
///
/// Names made of a few UUIDs stay far below it.
pub const ROOM_NAME_LEN_MAX: usize = 512;

// A peer that chooses its rooms' names must not be able to make one socket's room list a memory
// problem for whoever asks for that list: it stays in the order of one large message.
const _: () = assert!(ROOMS_PER_MEMBER * ROOM_NAME_LEN_MAX <= 2 << 20);

/// How many acknowledgements a broadcast request keeps from one responder before that responder
/// has said how many clients it reached.
///
/// An ordered carrier delivers the count first, so this is met only by reordering buses; it keeps a
/// confused node from filling the requester's memory.
pub const ACKS_BEFORE_COUNT_MAX: u32 = 65_536;

/// How many shards one process may say it has when it answers.
///
/// Session ids have one byte for the shard, so no process has more; it keeps a confused one from
/// making a requester wait for shards without number.
pub const PARTS_MAX: u16 = 256;

/// How deeply values may be nested on the [wire](crate::wire). It bounds the recursion of whoever
/// decodes; what is nested deeper is left out when it is encoded.
///
/// Values of clients and of applications are nested [`DEPTH_MAX`] deep at most; a socket's handshake
/// has the client's payload inside an object of its own.
pub const WIRE_DEPTH_MAX: usize = DEPTH_MAX + 8;

/// Elements for which room is made at once when a list is decoded; more are made room for as they
/// come. A list may claim any length.
pub(crate) const WIRE_LIST_GUESS_MAX: usize = 256;

/// Messages that may wait for one member of a [memory bus](crate::memory), unless configured
/// otherwise.
pub const MEMORY_BUS_QUEUE_MAX: usize = 65_536;

/// Bytes of a message on a [memory bus](crate::memory), unless configured otherwise: those of the bus of
/// one host.
pub const MEMORY_BUS_MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a room index lets its members do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomLimits {
    /// Rooms one member may be in at a time. Default [`ROOMS_PER_MEMBER`].
    pub rooms_per_member: usize,
    /// The longest room name in bytes. Default [`ROOM_NAME_LEN_MAX`].
    pub name_len_max: usize,
    /// Rooms that may exist at a time in one index (one namespace on one shard). By default only
    /// the width of the slot numbers limits it, as the other two limits bound what a socket costs.
    pub rooms_max: u32,
}

impl Default for RoomLimits {
    fn default() -> Self {
        Self {
            rooms_per_member: ROOMS_PER_MEMBER,
            name_len_max: ROOM_NAME_LEN_MAX,
            rooms_max: u32::MAX,
        }
    }
}
