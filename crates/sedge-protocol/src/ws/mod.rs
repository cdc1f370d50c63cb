//! WebSocket as a server speaks it: the handshake, frames, messages and compression.
//!
//! Bytes go in and come out of values; there is no socket here. The parts, in the order in which a
//! connection meets them:
//!
//! - [`handshake`]: is this request a WebSocket handshake, and what is its accept key (RFC 6455 §4.2);
//! - [`deflate`]: permessage-deflate without context takeover (RFC 7692), so that one compressed
//!   frame serves every recipient;
//! - [`frame`]: the header of one frame, masking, and frames to send (RFC 6455 §5.2, §5.3);
//! - [`message`]: from received bytes to whole messages, borrowed from the read buffer where possible;
//! - [`close`]: close codes and close frames (RFC 6455 §7.4).

pub mod close;
pub mod deflate;
pub mod frame;
pub mod handshake;
pub mod message;

pub use close::{CloseCode, close_frame};
pub use deflate::{Deflater, Inflater, negotiate};
pub use frame::{FrameError, MAX_HEADER, Opcode, encode_header, put_frame, split};
pub use handshake::{HandshakeError, Key, SUPPORTED_VERSION, accept_key, validate};
pub use message::{Incoming, Input, MessageReader, ReadLimits, ReadScratch};

/// Frames that one message may consist of, unless [`ReadLimits`] says otherwise. No sender has a
/// reason for more; without a limit, empty fragments cost the peer nothing and never end.
pub const FRAGMENTS_MAX: u32 = 16_384;

/// Payload bytes of a control frame at most (RFC 6455 §5.5).
pub const CONTROL_MAX: usize = 125;
