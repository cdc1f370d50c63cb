//! Every bound of this crate, with its reason and its default. All can be changed on
//! [`ServerBuilder`](crate::ServerBuilder).

use std::time::Duration;

pub use sedge_adapter::RoomLimits;

/// A client that has joined no namespace after this long is closed, as in the official server.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(45);

/// How long a broadcast waits for acknowledgements, and a request for the answers of all shards,
/// unless the caller says otherwise.
///
/// The official server waits one millisecond for a broadcast without a time limit, by an
/// oversight, and five seconds for requests in a cluster.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Namespaces one connection may be in, or be waiting for, at a time. One more is answered with
/// `CONNECT_ERROR`.
///
/// Applications have a handful of namespaces; the official server's lack of a limit lets one
/// connection make ten thousand sockets.
pub const NAMESPACES_PER_CONNECTION_MAX: usize = 100;

/// Acknowledgements one socket may owe at a time. One more `emit_with_ack` is an error.
///
/// Each costs some 40 bytes until it is answered, times out or the socket goes; ten thousand are
/// far beyond what a client works off in a sensible time.
pub const PENDING_ACKS_MAX: usize = 10_000;

/// Handlers of one connection that may be waiting at an `.await` at a time. Beyond it the events of the
/// connection wait until one has ended, up to [`EVENTS_WAITING_BYTES_MAX`].
///
/// A handler under way costs what its author keeps in it, so many more of them at a time are rather a
/// client that sends faster than they finish than one that needs them.
pub const HANDLERS_IN_FLIGHT_MAX: usize = 1_000;

/// Bytes of the events of one connection that wait for [`HANDLERS_IN_FLIGHT_MAX`], each counted with about
/// what it costs in memory, at least some 200. Beyond it the connection is not read until some have been
/// handled: a client that sends faster than its handlers finish then waits in its own kernel's buffers
/// instead of in this process's memory.
///
/// It is enough for more than ten thousand short events, and for what a client sends at once that asks for as many
/// acknowledgements as it may ([`PENDING_ACKS_MAX`]). Acknowledgements and heartbeats that stand behind
/// more than that are not read either; if no handler ends without them, the ping timeout ends the connection.
pub const EVENTS_WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Events that have waited which are handled in one turn of the shard; then others come first.
pub(crate) const EVENTS_PER_TURN: usize = 32;

/// Namespaces a server may have. Each costs a table on every shard.
pub const NAMESPACES_MAX: usize = 10_000;

/// The longest namespace name in bytes; it stands in every packet of the namespace.
pub const NAMESPACE_LEN_MAX: usize = 512;

/// Binary attachments of one packet, as in the official parser.
pub const ATTACHMENTS_MAX: usize = 10;

/// The attachments of one packet together, in bytes. Each of them is also bounded by
/// [`max_payload`](crate::ServerBuilder::max_payload).
pub const ATTACHMENT_BYTES_MAX: usize = 10_000_000;

/// Requests to other processes whose answers may be awaited at a time. One more asks only the shards of
/// this process, and the other processes are missing in its answer as overloaded.
///
/// Each costs some hundred bytes until it is answered or its time is over; a process that asks faster
/// than the others answer would otherwise keep what it asks without end.
pub const BUS_REQUESTS_MAX: usize = 65_536;

/// Handlers of server-side events that may be waiting at an `.await` on one shard at a time. One more
/// event is not handled: it is counted as a handler's error, and whoever asked is told that this
/// process is overloaded.
///
/// No connection can be slowed down for them, as it is for [`EVENTS_WAITING_BYTES_MAX`].
pub const SERVER_SIDE_IN_FLIGHT_MAX: usize = 10_000;

/// Kinds of mistakes of handlers, by event and cause, that are told apart in the log. Events have names that
/// clients may make up; what is beyond this is one kind.
pub(crate) const COMPLAINTS_MAX: usize = 256;

/// Bytes of an error that the log shows: it may contain what a client has sent, up to a whole message.
pub(crate) const COMPLAINT_WORDS_MAX: usize = 500;

/// Bytes of one part of an answer to another process that asks for sockets, or the longest message of the
/// bus if that is less. A list of sockets may take any number of parts.
///
/// It is little enough for others' messages not to wait behind it, and enough for a thousand sockets.
pub(crate) const ANSWER_PART_BYTES: usize = 1024 * 1024;

/// Sockets that a shard describes in one turn. The rest is described in later ones, so that clients are
/// not kept waiting while a list of all is made.
pub(crate) const SOCKETS_PER_TURN: usize = 256;

/// How much may wait for another process while it is sent more parts of an answer: enough to keep it busy,
/// and little of what the queue to it takes, which is there for broadcasts.
pub(crate) const ANSWER_BACKLOG_BYTES: usize = 4 * ANSWER_PART_BYTES;

/// Between two looks whether another process has taken enough for the next part of an answer.
pub(crate) const ANSWER_PAUSE: Duration = Duration::from_millis(5);

/// Fields looked at in the query behind a namespace of an old client; more are ignored, as by Node's
/// `querystring` module.
pub(crate) const QUERY_FIELDS_MAX: usize = 1000;

/// Acknowledgements that a socket owes before those nobody waits for are looked for: below that, looking
/// costs more than they do.
pub(crate) const ACKS_SWEEP_AT_LEAST: usize = 16;

/// Bytes that an event counts for while it waits, beside its name and arguments: what its parts cost on the
/// heap. Many small ones are not to be cheap.
pub(crate) const WAITING_EVENT_OVERHEAD: usize = 256;

/// How many names of processes that have left are kept for requests that name them.
pub(crate) const GONE_NAMES_KEPT: usize = 64;

/// The capacity an encoding buffer keeps after a larger packet.
pub(crate) const ENCODE_BUFFER_KEPT: usize = 64 * 1024;

/// The first acknowledgement id of a socket. Some clients take 0 for none (those for Arduino among them), or
/// leave it out when they answer (python-socketio before 5.11.3 with msgpack).
pub(crate) const FIRST_ACK_ID: u32 = 1;

/// Acknowledgement ids of single sockets are below this, those of broadcasts are not, so the two
/// never meet in one socket's table. Both stay below 2^31 because some clients (the official Java
/// client among them) read ids as 32-bit signed numbers.
pub(crate) const BROADCAST_ACK_IDS: u32 = 1 << 30;

const _: () = assert!(0 < FIRST_ACK_ID && FIRST_ACK_ID < BROADCAST_ACK_IDS);

/// The limits of one server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) namespaces_per_connection: usize,
    pub(crate) pending_acks: usize,
    pub(crate) handlers_in_flight: usize,
    pub(crate) events_waiting_bytes: usize,
    pub(crate) server_side_in_flight: usize,
    pub(crate) bus_requests: usize,
    pub(crate) attachments: usize,
    pub(crate) attachment_bytes: usize,
    pub(crate) rooms: RoomLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            namespaces_per_connection: NAMESPACES_PER_CONNECTION_MAX,
            pending_acks: PENDING_ACKS_MAX,
            handlers_in_flight: HANDLERS_IN_FLIGHT_MAX,
            events_waiting_bytes: EVENTS_WAITING_BYTES_MAX,
            server_side_in_flight: SERVER_SIDE_IN_FLIGHT_MAX,
            bus_requests: BUS_REQUESTS_MAX,
            attachments: ATTACHMENTS_MAX,
            attachment_bytes: ATTACHMENT_BYTES_MAX,
            rooms: RoomLimits::default(),
        }
    }
}

/// Parameters of a handshake's query that other processes are shown. Names are compared with all before
/// them, and a head has room for thousands; the limit of the `querystring` module of Node.js.
pub(crate) const QUERY_PARAMETERS_MAX: usize = 1000;
