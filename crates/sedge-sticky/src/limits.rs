//! Every bound of the routing, with its reason.

use std::time::Duration;

use sedge_protocol::limits::HEADERS_ON_STACK;

/// Bytes of a request head, unless the caller says otherwise: Node's limit and the default of
/// the servers behind, so that what is refused here would be refused there.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Header lines of a request, as in the servers behind.
pub const HEADERS_MAX: usize = HEADERS_ON_STACK;

/// Bytes of a PROXY header of version 1, line ending included: the longest that its specification
/// allows.
pub const PROXY_V1_BYTES_MAX: usize = 107;

/// Bytes of a PROXY header of version 2. Addresses take 52 at most; the rest are extensions, of which
/// a client certificate's names are the longest in use. The format could claim 64 KiB.
pub const PROXY_V2_BYTES_MAX: usize = 4096;

/// Targets of one table: a worker's number in a session id has 8 bits, and a gateway has workers
/// of a few hosts behind it. A method looks at all of them for each new session.
pub const TARGETS_MAX: usize = 1024;

/// The largest weight of a target. The consistent hash has 160 points for each unit of weight.
pub const WEIGHT_MAX: u32 = 1000;

/// Units of weight of all targets together: 160 points of 8 bytes each are 20 MB then.
pub const WEIGHT_SUM_MAX: u32 = 16_384;

/// Bytes of a target's name, which is usually an address with a port.
pub const TARGET_NAME_BYTES_MAX: usize = 255;

/// Sessions of other servers whose target is remembered, unless configured otherwise: ten Node
/// workers with 20,000 clients each. A full table takes about 20 MB and forgets what was not asked
/// for the longest; such a session is then routed by cookie, hash or method.
pub const LEARNED_MAX: usize = 1 << 18;

/// What a client is told to wait if there is no target. A worker is replaced within a second
/// or two, and clients that come back earlier than that only cost connections.
pub const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Slots that hashes are compared over: as many as a table may have targets, one less for the one that
/// is added.
pub const HASH_BENCH_SLOTS_MAX: u16 = TARGETS_MAX as u16 - 1;

/// How many places nginx's `ip_hash` looks at before it gives up.
pub(crate) const IP_HASH_TRIES: u32 = 21;

// The longest head must have room for a session id and everything else.
const _: () = assert!(HEAD_BYTES_MAX > PROXY_V2_BYTES_MAX);
// Slots are numbered in 16 bits.
const _: () = assert!(TARGETS_MAX <= 1 << 16);
const _: () = assert!(WEIGHT_MAX <= WEIGHT_SUM_MAX);
// Every target can have a weight.
const _: () = assert!(TARGETS_MAX <= WEIGHT_SUM_MAX as usize);
// Places in the learned table are numbered in 32 bits.
const _: () = assert!(LEARNED_MAX < u32::MAX as usize);
