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
//! - [`close`]: close codes (RFC 6455 §7.4).

pub mod close;
pub mod deflate;
pub mod frame;
pub mod handshake;
pub mod message;

pub use close::CloseCode;
pub use deflate::{Deflater, Inflater, negotiate};
pub use frame::{FrameError, MAX_HEADER, Opcode, close_frame, encode_header, put_frame, split};
pub use handshake::{HandshakeError, Key, SUPPORTED_VERSION, accept_key, validate};
pub use message::{Incoming, Input, MessageReader, ReadLimits, ReadScratch};
