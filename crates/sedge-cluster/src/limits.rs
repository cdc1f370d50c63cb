//! Every bound of this crate, with its reason. What is an option starts from a `DEFAULT_` value
//! here; everything else always holds.

use std::time::Duration;

// Workers.

/// A session id names its worker in one byte.
pub const WORKERS_MAX: u16 = 1 << 8;

/// From the start of a worker's process until it says that it is ready: a large program reads its
/// data and warms up in this time, or it should say so by setting its own limit.
pub(crate) const DEFAULT_START_TIMEOUT: Duration = Duration::from_secs(30);

/// Between two heartbeats. An answer also brings the worker's figures.
pub(crate) const DEFAULT_HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// Heartbeats without an answer after which a worker is killed and replaced. Ten seconds are
/// longer than any pause of a healthy process, and shorter than its clients' patience (45 s).
pub(crate) const DEFAULT_HEARTBEATS_MISSED_MAX: u32 = 10;

/// Heartbeats without an answer after which a worker is given no new sessions: it may be short
/// of processor time, and the others are better off.
pub(crate) const HEARTBEATS_MISSED_SUSPECT: u32 = 3;

/// Between two looks at a worker's work that stands still: it is found to go on again soon after it does.
pub(crate) const PROGRESS_LOOK: Duration = Duration::from_millis(20);

/// A worker that served for this long has not failed at its start: its next end is the first.
pub(crate) const STABLE_AFTER: Duration = Duration::from_secs(30);

/// Before a worker that ended is started again; doubled for each further end in a row.
pub(crate) const RESTART_DELAY: Duration = Duration::from_millis(100);

/// The longest of those delays.
pub(crate) const RESTART_DELAY_MAX: Duration = Duration::from_secs(5);

/// The longest time between two starts while no worker serves: nobody is spared by waiting then.
pub(crate) const ALONE_DELAY_MAX: Duration = Duration::from_secs(2);

/// Ends in a row, none after a stable time, that make a crash loop.
pub(crate) const DEFAULT_CRASHES_MAX: u32 = 5;

/// Between two starts of a worker in a crash loop: often enough to notice that whatever
/// it lacks is back, rarely enough to leave the processor to the others.
pub(crate) const DEFAULT_CRASH_LOOP_DELAY: Duration = Duration::from_secs(30);

/// For a worker that has closed its channel to end: what remains is the end of `main`.
pub(crate) const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

/// For clients to be closed when the cluster ends. Together with what follows it is 8 s: `docker stop`
/// kills after 10 s.
pub(crate) const DEFAULT_DRAIN_DEADLINE: Duration = Duration::from_secs(7);

/// What a worker gets beyond the deadline before it is killed: its goodbyes are under way.
pub(crate) const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// Between two batches of clients that are closed, and how far that may deviate, in percent.
pub(crate) const DEFAULT_DRAIN_INTERVAL: Duration = Duration::from_millis(100);
pub(crate) const DEFAULT_DRAIN_JITTER_PERCENT: u8 = 30;
/// The share of the time that batches may take, in percent; the rest is for goodbyes.
pub(crate) const DRAIN_PACED_PERCENT: u32 = 80;
/// Clients that may well come back at once: with few of them nobody has to wait.
pub(crate) const DRAIN_BATCH_MIN: usize = 20;

/// How long workers serve on without a supervisor, at most: a service manager has started another
/// one long before, to whose workers their clients go.
pub(crate) const DEFAULT_ORPHAN_DEADLINE: Duration = Duration::from_mins(10);

/// Between two looks of an orphan at whether it still has connections, and whether a successor serves.
pub(crate) const ORPHAN_LOOK: Duration = Duration::from_millis(250);

/// Between the line of the log that says why a worker ends itself and its end: a log may be written by a
/// thread of its own, which such an end does not wait for.
pub(crate) const LAST_WORDS: Duration = Duration::from_millis(100);

/// For a port of a worker's own to become free: its predecessor, or an orphan, is letting go of it.
pub(crate) const BIND_PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of the secret that is made up if none is configured.
pub(crate) const RANDOM_SECRET_BYTES: usize = 32;

/// Bytes of a secret: what fits into a message with everything else, with room to spare.
pub(crate) const SECRET_BYTES_MAX: usize = 1024;

/// Former secrets that are still accepted: each one costs a MAC for ids that are not current.
pub(crate) const PREVIOUS_SECRETS_MAX: usize = 8;

// Connections on their way to a worker.

/// Connections the kernel keeps for us until they are accepted: room for a burst of reconnects.
pub(crate) const BACKLOG: i32 = 4096;

/// How long accepting pauses when the process is out of descriptors or memory.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Descriptors that one message can carry: the first message to a worker has two.
pub(crate) const DESCRIPTORS_MAX: usize = 4;

/// Sockets that a service manager can have opened: more than any service has, and a bound for what an
/// environment variable can claim.
pub(crate) const ACTIVATED_MAX: i32 = 64;

/// Descriptors that a worker keeps free while it is given connections: for files, for links to siblings,
/// and for those that another thread opens at the same moment.
pub(crate) const DESCRIPTORS_RESERVED: i32 = 16;

/// For the head of the first request to arrive, counted from the accept.
pub(crate) const DEFAULT_HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections whose head is waited for. Beyond it the one that has waited longest is closed: most
/// likely it never meant to send one. Each costs a descriptor and about a kilobyte.
pub(crate) const DEFAULT_UNDECIDED_MAX: usize = 4096;

/// How long a connection waits for a worker to become ready before it is answered 503.
pub(crate) const DEFAULT_START_PATIENCE: Duration = Duration::from_secs(5);

/// Connections that may wait for one worker beyond those that its socket holds (about 250): two
/// seconds' worth at a rate that one process can take in.
pub(crate) const DEFAULT_PASS_QUEUE_MAX: usize = 4096;

/// Between two attempts when this user has too many descriptors under way.
pub(crate) const PASS_PAUSE: Duration = Duration::from_millis(20);

/// How long a connection that was refused may take to end, and how much it may still send: closing
/// at once would make the kernel take the answer back with a reset.
pub(crate) const REFUSAL_LINGER: Duration = Duration::from_secs(2);
pub(crate) const REFUSAL_LINGER_BYTES_MAX: usize = 64 * 1024;

/// Between two looks at whether all refusals have ended, when the cluster ends.
pub(crate) const REFUSAL_LOOK: Duration = Duration::from_millis(5);

/// Refusals under way at a time; beyond it connections are closed without an answer.
pub(crate) const REFUSALS_MAX: usize = 1024;

/// Bytes already read that can be passed with a connection: what a server's HTTP buffer holds (a
/// quarter of a megabyte), and a head.
pub const PASSED_BYTES_MAX: usize = 256 * 1024 + 64 * 1024;

/// Bytes of one message between workers. A Unix socket holds about 200 KiB.
pub(crate) const PASS_PART_BYTES: usize = 32 * 1024;

/// For a sibling to take a connection, or a part of one.
pub(crate) const PASS_TIMEOUT: Duration = Duration::from_secs(2);

/// Connections taken in from siblings and from a port of the worker's own that wait for it.
pub(crate) const INCOMING_QUEUE: usize = 64;

/// Siblings' links at a time: each sibling has one, and one more for each connection that is passed
/// in parts.
pub(crate) const SIBLING_LINKS_MAX: usize = 1024;

// Messages between supervisor and worker.

/// Bytes of one control message.
pub(crate) const CONTROL_BYTES_MAX: usize = 64 * 1024;

/// Bytes of one part of a worker's metrics: JSON can make it six times as long.
pub(crate) const TEXT_PART_BYTES: usize = 8 * 1024;

/// Bytes of one worker's metrics: hundreds of shards.
pub(crate) const METRICS_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Requests that may wait for one worker, such as those for its metrics; beyond it, those are answered
/// without it.
pub(crate) const REQUESTS_WAITING_MAX: usize = 8;

/// For all workers to answer with their metrics.
pub(crate) const METRICS_TIMEOUT: Duration = Duration::from_secs(1);

/// For a control message to be taken by its receiver.
pub(crate) const CONTROL_SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// Kinds of sessions a worker may report, and bytes of their names: there are three transports.
pub(crate) const SESSION_KINDS_MAX: usize = 16;
pub(crate) const SESSION_KIND_BYTES_MAX: usize = 32;

/// Bytes of what a worker says about why it ends.
pub(crate) const FAILURE_BYTES_MAX: usize = 2048;

// The control socket and the admin address.

/// Bytes of a request on the control socket.
pub(crate) const COMMAND_BYTES_MAX: usize = 4096;

/// Bytes of an answer there: 256 workers at about 400 bytes.
pub(crate) const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of an answer with the metrics of a host: 256 workers with far more than the server's.
pub(crate) const HOST_METRICS_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How long a worker says the same metrics of the host again: whoever asks often costs all workers little.
pub(crate) const HOST_METRICS_FRESH: Duration = Duration::from_secs(1);

/// For a request to arrive and to be answered.
pub(crate) const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);

/// Control and admin connections at a time.
pub(crate) const ADMIN_CONNECTIONS_MAX: usize = 64;

/// For the head of a request on the admin address.
pub(crate) const ADMIN_HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Symbolic links on the way to the run directory, as many as the kernel follows.
pub(crate) const SYMLINKS_MAX: usize = 40;

/// Bytes of a Unix socket's path, its final zero included.
pub(crate) const SOCKET_PATH_BYTES: usize = 108;

// The bus.

/// Bytes of one message: 16 of the largest payloads the engine takes by default.
pub(crate) const DEFAULT_BUS_MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes that may wait for one peer. The messages are shared among the peers they are for.
pub(crate) const DEFAULT_BUS_QUEUE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What a waiting message counts for beyond its bytes, so that empty ones cannot fill the memory.
pub(crate) const BUS_MESSAGE_OVERHEAD: usize = 64;

/// How long a peer may take nothing of what waits for it before it is cut off.
pub(crate) const DEFAULT_BUS_STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Messages of one write: half of the kernel's limit, as each is a length and its bytes.
pub(crate) const BUS_WRITE_MESSAGES: usize = 256;

/// Bytes a link reads at a time: enough for hundreds of small messages. A message keeps the block it was
/// read into alive.
pub(crate) const BUS_READ_BYTES: usize = 64 * 1024;

/// For a peer that connects to say who it is.
pub(crate) const BUS_HELLO_TIMEOUT: Duration = Duration::from_secs(2);

/// Peers that connect and have not said who they are.
pub(crate) const BUS_HELLOS_MAX: usize = 512;

/// Bytes of a peer's name.
pub(crate) const BUS_NAME_BYTES_MAX: usize = 64;

/// Before a peer that was cut off is linked to again.
pub(crate) const BUS_REDIAL: Duration = Duration::from_millis(500);

/// Between two looks for a peer that is not there. It says itself when it comes; this is for the case
/// that it could not.
pub(crate) const BUS_LOOK: Duration = Duration::from_secs(5);

/// How long a worker that starts waits for the bus before it says that it is ready.
pub(crate) const BUS_SETTLE_TIMEOUT: Duration = Duration::from_secs(2);

const _: () = assert!(DEFAULT_BUS_MESSAGE_BYTES_MAX <= DEFAULT_BUS_QUEUE_BYTES_MAX);
// A frame's length is written in 32 bits.
const _: () = assert!(DEFAULT_BUS_QUEUE_BYTES_MAX <= u32::MAX as usize);
// IOV_MAX is 1024.
const _: () = assert!(BUS_WRITE_MESSAGES * 2 <= 1024);
const _: () = assert!(TEXT_PART_BYTES * 6 + 1024 <= CONTROL_BYTES_MAX);
const _: () = assert!(FAILURE_BYTES_MAX * 6 + 1024 <= CONTROL_BYTES_MAX);
const _: () =
    assert!(SECRET_BYTES_MAX * 2 * (1 + PREVIOUS_SECRETS_MAX) + 16 * 1024 <= CONTROL_BYTES_MAX);
const _: () = assert!(DEFAULT_DRAIN_DEADLINE.as_secs() + DRAIN_GRACE.as_secs() <= 8);
const _: () = assert!(HEARTBEATS_MISSED_SUSPECT < DEFAULT_HEARTBEATS_MISSED_MAX);
const _: () = assert!(WORKERS_MAX as usize - 1 <= BUS_HELLOS_MAX);
