//! The limits of the protocol layer, each with its reason. What depends on configuration (the
//! largest payload, timeouts) is an option elsewhere; these hold always.

// Engine.IO payloads.

/// Packets in one polling payload.
///
/// The official server has no limit but the size of the body. Packets are read one at a time, so
/// this bounds neither memory nor copying, only how many tiny packets (half a million pings fit in
/// a megabyte) one request can put to the session. It is above what a body of the default size,
/// 10^6 bytes, can hold of the shortest real events: 125,000 times `42["a"]` and a separator.
pub const MAX_PACKETS_PER_PAYLOAD: usize = 131_072;

/// Decimal digits of a packet length in a version 3 payload: enough for every body that fits in
/// memory here, too few to overflow 64 bits.
pub const MAX_LENGTH_DIGITS: usize = 10;

const _: () = assert!(MAX_LENGTH_DIGITS < 20, "a length must fit in 64 bits");

/// Fields looked at in a JSONP form, of which only one is expected: the limit of the
/// `querystring` module of Node.js.
pub const MAX_FORM_FIELDS: usize = 1000;

// WebSocket.

/// Frames that one message may consist of, unless [`ReadLimits`](crate::ws::ReadLimits) says otherwise. No sender has a
/// reason for more; without a limit, empty fragments cost the peer nothing and never end.
pub const FRAGMENTS_MAX: u32 = 16_384;

/// Payload bytes of a control frame at most (RFC 6455 §5.5).
pub const CONTROL_MAX: usize = 125;

/// Longest reason in bytes: a control frame holds 125, two of them are the code.
pub const REASON_MAX: usize = CONTROL_MAX - 2;

// Bodies of requests.

/// Bytes of the line in front of a chunk: sixteen digits, and extensions, which nobody sends.
pub const CHUNK_LINE_BYTES_MAX: usize = 256;

/// Bytes of the lines behind the last chunk. Nobody reads them.
pub const TRAILERS_BYTES_MAX: usize = 4096;

// Heads of requests.

/// Header lines of which the places are kept on the stack while a head is read, 32 bytes each: as many as
/// a server allows unless told otherwise. For more, memory is allocated.
pub const HEADERS_ON_STACK: usize = 100;

/// Networks that can be trusted to name the client: the whole list of a large content network
/// has about twenty, and each is looked at for each hop.
pub const NETWORKS_MAX: usize = 256;

// Values.

/// How deeply arrays and objects may be nested in a value that is built from the wire or from a
/// `Serialize` type. It bounds the recursion of everything that later walks the value, dropping
/// it included. The limit of `serde_json` is the same.
pub const DEPTH_MAX: usize = 128;
