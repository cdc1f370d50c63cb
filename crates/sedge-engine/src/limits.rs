//! The engine's limits and defaults, each with its reason. What is an option starts from a
//! `DEFAULT_` value here; everything else always holds.

use std::time::Duration;

// Engine.IO. The values are the official server's unless a reason says otherwise.

/// Between a pong and the next ping.
pub(crate) const DEFAULT_PING_INTERVAL: Duration = Duration::from_secs(25);

/// For the answer to a ping.
pub(crate) const DEFAULT_PING_TIMEOUT: Duration = Duration::from_secs(20);

/// From the opening of a probing WebSocket to the end of the upgrade.
pub(crate) const DEFAULT_UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of one message or one polling body.
pub(crate) const DEFAULT_MAX_PAYLOAD: usize = 1_000_000;

/// With less, the client's probe (`2probe`) would be too large and no upgrade could succeed.
pub(crate) const MAX_PAYLOAD_MIN: usize = "2probe".len();

/// Keeps every length computed from a payload (base64 takes 4/3 of it, escapes in JSON up to six
/// times as much) inside 64 bits, and the message itself within what one client may cost.
pub(crate) const MAX_PAYLOAD_MAX: usize = 1 << 30;

/// Before an upgrade request that nobody handles is cut off.
pub(crate) const DEFAULT_DESTROY_UPGRADE_TIMEOUT: Duration = Duration::from_secs(1);

/// Bytes from which on a message or a poll response is worth compressing.
pub(crate) const DEFAULT_COMPRESSION_THRESHOLD: usize = 1024;

/// zlib's own default, and that of Node.
pub(crate) const DEFAULT_COMPRESSION_LEVEL: u32 = 6;

/// zlib's strongest level.
pub(crate) const COMPRESSION_LEVEL_MAX: u32 = 9;

/// A JavaScript timer with a longer delay fires at once, and the client sets one to the sum of
/// ping interval and ping timeout: it would close the connection immediately.
pub(crate) const JAVASCRIPT_TIMER_MAX: Duration = Duration::from_millis(i32::MAX as u64);

/// Timers count whole milliseconds; a shorter wait would never have begun.
pub(crate) const TIMER_MIN: Duration = Duration::from_millis(1);

/// The session state machine counts milliseconds in 32 bits.
pub(crate) const TIMER_MAX: Duration = Duration::from_millis(u32::MAX as u64);

// Shards and clusters.

/// A session id names its shard in one byte.
pub(crate) const SHARDS_MAX: usize = 1 << 8;

/// Bytes of the secret a process makes up if it is given none.
pub(crate) const RANDOM_SECRET_BYTES: usize = 32;

/// The key made from the secret has 128 bits: a shorter secret cannot fill it.
pub(crate) const SECRET_BYTES_MIN: usize = 16;

/// Commands that may wait for one shard. At some hundred bytes each a full queue holds a few
/// megabytes; a shard that is this far behind will not catch up by queueing more.
pub(crate) const DEFAULT_COMMAND_QUEUE_MAX: usize = 65_536;

/// Sessions of one shard: about 1.5 GB of idle ones, more than one thread can serve heartbeats to
/// without delay.
pub(crate) const DEFAULT_SESSIONS_MAX: usize = 1 << 20;

/// TCP connections of one shard: each session can use two or three at a time while it polls and
/// upgrades, but not all of them do so at once.
pub(crate) const DEFAULT_CONNECTIONS_MAX: usize = 1 << 21;

// HTTP.

/// For a request head to arrive in full, counted from the accept or its first byte. Half-open heads must
/// not hold connections for long; a mobile client needs a few seconds at worst.
pub(crate) const DEFAULT_HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// For the next request on a kept-alive connection. Balancers keep idle connections for 60 s (AWS, nginx) and
/// must be the ones to close them: a request that meets our close on its way is lost to a 502.
pub(crate) const DEFAULT_KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(75);

/// For a request body to arrive, and for an answer to be taken, before their rate counts: no honest client
/// is that far from its rate.
pub(crate) const DEFAULT_BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes a second of a request body or an answer, on an average, behind that grace: a tenth of what the
/// slowest mobile networks give. Slower than this, a client holds memory and a connection for next to nothing.
pub(crate) const DEFAULT_TRANSFER_RATE_MIN: usize = 500;

/// Bytes of the answer to a poll, unless a single packet is larger: as much as one message may have by
/// default. The rest waits for the next poll, in frames that all recipients of a broadcast share; an answer
/// is a copy of its client's own.
pub(crate) const POLL_ANSWER_MAX: usize = DEFAULT_MAX_PAYLOAD;

/// Bytes of a request head: Node's limit, 16 KiB.
pub(crate) const DEFAULT_HEAD_BYTES_MAX: usize = 16 * 1024;

/// hyper refuses to work with a smaller read buffer.
pub(crate) const HEAD_BYTES_MIN: usize = 8 * 1024;

/// A connection may make the server keep this much before it has said who it is.
pub(crate) const HEAD_BYTES_MAX: usize = 1024 * 1024;

/// Header lines of a request: hyper's own default. Browsers behind several proxies send about 40.
pub(crate) const DEFAULT_HEADERS_MAX: usize = 100;

/// A browser's WebSocket handshake has about 15 header lines.
pub(crate) const HEADERS_MIN: usize = 16;

/// Bytes that may wait for one slow client before it is disconnected: 16 messages of the default
/// largest size. A healthy client never has more than a few kilobytes waiting.
pub(crate) const DEFAULT_OUTBOX_BYTES_MAX: usize = 16 * 1024 * 1024;

/// For a client on a WebSocket to take anything at all of what waits for it. Mobile links stall for some
/// seconds, and whoever is gone for longer than the heartbeat allows is gone anyway.
pub(crate) const DEFAULT_SLOW_CLIENT_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest limit that can be set: outboxes count in 32 bits, and one message more must fit.
pub const OUTBOX_BYTES_MAX_MAX: usize = 1 << 31;

/// Bytes of one client file: the largest one, a map, has a third of a megabyte.
pub(crate) const CLIENT_FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

// Connections.

/// Connections the kernel keeps for us until they are accepted: room for a burst of reconnects.
pub(crate) const BACKLOG: u32 = 4096;

/// How long accepting pauses when the process runs out of file descriptors or memory.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// For a closed WebSocket to deliver what is queued and to answer the close frame.
pub(crate) const CLOSE_FRAME_TIMEOUT: Duration = Duration::from_secs(5);

/// For the bytes that a tunnel still has for its client once the worker behind it has closed, and for
/// the client to take any when it has not done so for long: more than a stalled radio link needs.
pub(crate) const TUNNEL_STALL_MAX: Duration = Duration::from_secs(30);

/// Bytes that are read behind a request for another protocol before it is answered. Clients that are early
/// send a packet or two; the rest waits in the kernel.
pub(crate) const EARLY_BYTES_MAX: usize = 16 * 1024;

/// For a client to stop sending a request that was answered before all of it was read. Closing before would
/// take the answer from it.
pub(crate) const UNREAD_REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes read and thrown away from a client that does not stop after the last answer or the close frame.
pub(crate) const LINGER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long a shutdown waits for polling clients to come for their last answer. One that is well polls
/// again as soon as it has an answer.
pub(crate) const LAST_POLL: Duration = Duration::from_secs(2);

/// How long a POST whose session is held waits before it looks whether the session has ended.
pub(crate) const HELD_LOOK: Duration = Duration::from_secs(1);

/// Turns of a shard's loop in which a connection that has reached the process is accepted, registered and read.
pub(crate) const READ_TURNS: usize = 3;

/// Shards one after the other by which a connection may come to its session's: the one that accepts, and the
/// one that is given it.
pub(crate) const ORDER_ROUNDS: usize = 2;

/// How long a CLOSE waits for a GET that may have been sent before it. A shard reads what has arrived within
/// a millisecond; one that is held up for longer must not hold up the others' clients.
pub(crate) const ORDER_TIMEOUT: Duration = Duration::from_millis(100);

/// The longest that a shard without work sleeps: whoever watches its progress expects some every half
/// second.
pub(crate) const SLEEP_MAX: Duration = Duration::from_millis(400);

/// Bytes read from a connection at once; a connection that fills it lets the others go first.
pub(crate) const READ_BUFFER: usize = 64 * 1024;

/// An answer up to this size is copied behind its head and leaves with it in one write.
pub(crate) const ONE_WRITE_MAX: usize = 16 * 1024;

/// Messages longer than this get memory of their own instead of a piece of the shard's arena.
pub(crate) const ARENA_MESSAGE_MAX: usize = 8 * 1024;

/// Frames up to this many bytes in all are gathered into one buffer: for little ones, copying is
/// cheaper than the kernel's handling of a vector.
pub(crate) const GATHER_MAX: usize = 4096;

/// Bytes of little frames that are gathered for one write when very many wait.
pub(crate) const CROWD_MAX: usize = 64 * 1024;

/// Slices given to one vectored write.
pub(crate) const VECTOR_MAX: usize = 64;

// The relations that the validation of a configuration checks must hold for the defaults.
const _: () = assert!(DEFAULT_MAX_PAYLOAD >= MAX_PAYLOAD_MIN);
const _: () = assert!(DEFAULT_MAX_PAYLOAD <= MAX_PAYLOAD_MAX);
const _: () = assert!(DEFAULT_OUTBOX_BYTES_MAX >= DEFAULT_MAX_PAYLOAD);
const _: () = assert!(DEFAULT_OUTBOX_BYTES_MAX <= OUTBOX_BYTES_MAX_MAX);
// Base64 makes a message longer by a third.
const _: () = assert!(OUTBOX_BYTES_MAX_MAX + MAX_PAYLOAD_MAX / 3 * 4 < u32::MAX as usize);
const _: () = assert!(DEFAULT_HEAD_BYTES_MAX >= HEAD_BYTES_MIN);
const _: () = assert!(DEFAULT_HEAD_BYTES_MAX <= HEAD_BYTES_MAX);
const _: () = assert!(DEFAULT_HEADERS_MAX >= HEADERS_MIN);
const _: () = assert!(DEFAULT_COMPRESSION_LEVEL <= COMPRESSION_LEVEL_MAX);
const _: () = assert!(RANDOM_SECRET_BYTES >= SECRET_BYTES_MIN);
const _: () = assert!(DEFAULT_CONNECTIONS_MAX >= DEFAULT_SESSIONS_MAX);
const _: () = assert!(
    DEFAULT_PING_INTERVAL.as_millis() + DEFAULT_PING_TIMEOUT.as_millis()
        <= JAVASCRIPT_TIMER_MAX.as_millis()
);
// An upgrade must be able to fail and be tried again before the heartbeat gives up.
const _: () = assert!(
    DEFAULT_UPGRADE_TIMEOUT.as_millis()
        < DEFAULT_PING_INTERVAL.as_millis() + DEFAULT_PING_TIMEOUT.as_millis()
);
